#define REAL float
#define REF_NAME "ref"
#define REF_OPS ref_f32_ops
#include "backend/ref/ref.inc"
