/* Shared by the files that know CUDA's libraries. */
#ifndef BACKEND_CUDA_GPU_GPU_H
#define BACKEND_CUDA_GPU_GPU_H

#include <cublasLt.h>
#include <cublas_v2.h>
#include <cuda_runtime.h>

#include "backend/cuda/device.h"
#include "backend/cuda/store.h"

struct gpu {
    struct device_ops ops;
    int number, units;       /* of the device; its multiprocessors */
    char name[256];
    char library[64];        /* what computes convolutions; "": cuBLAS */
    cudaStream_t stream;
    cudaStream_t aside;      /* copies beside it */
    cudaEvent_t begun, sent; /* of its work when copies begin; of the copies */
    cublasHandle_t blas;
    double *part;            /* sums of chunks of rows */
    size_t part_bytes;
    void *workspace;         /* of the library's convolutions */
    size_t workspace_bytes;
    void *conv;              /* the library's own */
    struct store store;      /* what trials found */
    struct products *products; /* product.c's own */
};

/* NULL, and a fault of the device, when there is no memory. */
void *gpu_workspace(struct device *, size_t bytes);
/* product.c: matrix products. */
enum status gpu_products_open(struct ctx *, struct device *);
void gpu_products_close(struct device *);
void gpu_product(struct device *, const struct product *);
void gpu_product_plan(struct device *, const struct product *);
/* conv_cudnn.c, or conv_none.c without it: fills ops.conv and library. */
enum status gpu_conv_open(struct ctx *, struct device *);
void gpu_conv_close(struct device *);

#endif
