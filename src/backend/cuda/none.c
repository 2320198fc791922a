/* In the place of gpu/ where the build has no CUDA. */
#include <stdio.h>

#include "backend/cuda/device.h"

enum status device_cuda_open(struct ctx *ctx, int n, enum precision precision, struct device **out) {
    (void)n, (void)precision;
    *out = NULL;
    return ctx_fail(ctx, ST_UNSUPPORTED, "this build computes on the CPU: 'make GPU=1 CUDNN=1' makes one for NVIDIA GPUs");
}

enum precision device_fast_precision(void) { return PRECISION_TF32; }

int device_cuda_count(char *why, size_t size) {
    snprintf(why, size, "this build computes on the CPU");
    return -1;
}

enum status device_cuda_collective(struct ctx *ctx, struct device *const *dev, int n, struct collective **out) {
    (void)ctx, (void)dev, (void)n;
    *out = NULL;
    return ST_OK;
}
