#define REAL double
#define REF_NAME "ref64"
#define REF_OPS ref_f64_ops
#include "backend/ref/ref.inc"
