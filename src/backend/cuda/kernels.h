/* All kernels of the CUDA backend (element.h says how they are written). */
#ifndef BACKEND_CUDA_KERNELS_H
#define BACKEND_CUDA_KERNELS_H

#include "backend/cuda/kernels_conv.h"
#include "backend/cuda/kernels_map.h"
#include "backend/cuda/kernels_norm.h"
#include "backend/cuda/kernels_picture.h"
#include "backend/cuda/kernels_vector.h"
#include "backend/cuda/kernels_yolo.h"

#endif
