/* The reference backends: plain loops over strides, sums in double.  Float elements, and double elements. */
#ifndef BACKEND_REF_REF_H
#define BACKEND_REF_REF_H

#include "backend/backend.h"

extern const struct backend_ops ref_f32_ops, ref_f64_ops;

#endif
