#include "backend/cuda/gpu/legacy_cudnn.h"

#include <stdlib.h>

enum { MOST_ALGORITHMS = 16 };

struct legacy {
    cudnnTensorDescriptor_t x, y;
    cudnnFilterDescriptor_t w;
    cudnnConvolutionDescriptor_t conv;
    struct choice { int algorithm; size_t bytes; cudnnMathType_t math; } choice[CONV_PASSES];
};

/* Half precision is what these calls can convert floats to; bf16 takes TF32, which is finer. */
static cudnnMathType_t math_of(enum precision p) {
    return p == PRECISION_FP32 ? CUDNN_FMA_MATH : p == PRECISION_FP16 ? CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION : CUDNN_TENSOR_OP_MATH;
}

void legacy_close(struct legacy *c) {
    if (!c) return;
    if (c->x) cudnnDestroyTensorDescriptor(c->x);
    if (c->y) cudnnDestroyTensorDescriptor(c->y);
    if (c->w) cudnnDestroyFilterDescriptor(c->w);
    if (c->conv) cudnnDestroyConvolutionDescriptor(c->conv);
    free(c);
}

static cudnnStatus_t describe_map(cudnnTensorDescriptor_t *out, const struct tensor *t) {
    cudnnStatus_t st = cudnnCreateTensorDescriptor(out);
    if (st != CUDNN_STATUS_SUCCESS) return st;
    return cudnnSetTensor4dDescriptor(*out, CUDNN_TENSOR_NHWC, CUDNN_DATA_FLOAT, t->n, t->c, t->h, t->w);
}

static cudnnStatus_t describe(struct legacy *c, enum precision precision, const struct conv_desc *desc) {
    cudnnStatus_t st = describe_map(&c->x, &desc->x);
    if (st == CUDNN_STATUS_SUCCESS) st = describe_map(&c->y, &desc->y);
    if (st == CUDNN_STATUS_SUCCESS) st = cudnnCreateFilterDescriptor(&c->w);
    if (st == CUDNN_STATUS_SUCCESS)
        st = cudnnSetFilter4dDescriptor(c->w, CUDNN_DATA_FLOAT, CUDNN_TENSOR_NHWC, desc->y.c, desc->x.c / desc->groups, desc->size, desc->size);
    if (st == CUDNN_STATUS_SUCCESS) st = cudnnCreateConvolutionDescriptor(&c->conv);
    if (st == CUDNN_STATUS_SUCCESS)
        st = cudnnSetConvolution2dDescriptor(c->conv, desc->pad, desc->pad, desc->stride_y, desc->stride_x, desc->dilation, desc->dilation,
                                             CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT);
    if (st == CUDNN_STATUS_SUCCESS) st = cudnnSetConvolutionGroupCount(c->conv, desc->groups);
    if (st == CUDNN_STATUS_SUCCESS) st = cudnnSetConvolutionMathType(c->conv, math_of(precision));
    return st;
}

/* The three kinds of lists of algorithms, best first, are three types. */
#define FIRST_USABLE(list, n, choice)                                                                                                \
    for (int i_ = 0; i_ < (n); ++i_)                                                                                                 \
        if ((list)[i_].status == CUDNN_STATUS_SUCCESS && (list)[i_].determinism == CUDNN_DETERMINISTIC && (list)[i_].memory <= WORKSPACE_LIMIT) { \
            *(choice) = (struct choice){ (int)(list)[i_].algo, (list)[i_].memory, (list)[i_].mathType };                             \
            return true;                                                                                                             \
        }

static bool choose(struct legacy *c, cudnnHandle_t handle, int pass) {
    struct choice *choice = &c->choice[pass];
    int n = 0;
    if (pass == CONV_FORWARD) {
        cudnnConvolutionFwdAlgoPerf_t list[MOST_ALGORITHMS];
        if (cudnnGetConvolutionForwardAlgorithm_v7(handle, c->x, c->w, c->conv, c->y, MOST_ALGORITHMS, &n, list) == CUDNN_STATUS_SUCCESS)
            FIRST_USABLE(list, n, choice)
    } else if (pass == CONV_DATA) {
        cudnnConvolutionBwdDataAlgoPerf_t list[MOST_ALGORITHMS];
        if (cudnnGetConvolutionBackwardDataAlgorithm_v7(handle, c->w, c->y, c->conv, c->x, MOST_ALGORITHMS, &n, list) == CUDNN_STATUS_SUCCESS)
            FIRST_USABLE(list, n, choice)
    } else {
        cudnnConvolutionBwdFilterAlgoPerf_t list[MOST_ALGORITHMS];
        if (cudnnGetConvolutionBackwardFilterAlgorithm_v7(handle, c->x, c->y, c->conv, c->w, MOST_ALGORITHMS, &n, list) == CUDNN_STATUS_SUCCESS)
            FIRST_USABLE(list, n, choice)
    }
    return false;
}

struct legacy *legacy_open(cudnnHandle_t handle, enum precision precision, const struct conv_desc *desc, size_t *bytes) {
    struct legacy *c = calloc(1, sizeof *c);
    *bytes = 0;
    if (!c) return NULL;
    bool fits = describe(c, precision, desc) == CUDNN_STATUS_SUCCESS;
    for (int pass = 0; fits && pass < (desc->backward ? CONV_PASSES : CONV_DATA); ++pass) {
        fits = choose(c, handle, pass);
        if (c->choice[pass].bytes > *bytes) *bytes = c->choice[pass].bytes;
    }
    if (fits) return c;
    legacy_close(c);
    return NULL;
}

cudnnStatus_t legacy_forward(struct legacy *c, cudnnHandle_t handle, const void *x, const void *w, void *y, void *space) {
    const float one = 1, zero = 0;
    const struct choice *f = &c->choice[CONV_FORWARD];
    cudnnStatus_t st = cudnnSetConvolutionMathType(c->conv, f->math);
    if (st != CUDNN_STATUS_SUCCESS) return st;
    return cudnnConvolutionForward(handle, &one, c->x, x, c->w, w, c->conv, (cudnnConvolutionFwdAlgo_t)f->algorithm, space, f->bytes, &zero, c->y, y);
}

cudnnStatus_t legacy_data(struct legacy *c, cudnnHandle_t handle, const void *w, const void *dy, void *dx, bool add, void *space) {
    const float one = 1, beta = add ? 1 : 0;
    const struct choice *f = &c->choice[CONV_DATA];
    cudnnStatus_t st = cudnnSetConvolutionMathType(c->conv, f->math);
    if (st != CUDNN_STATUS_SUCCESS) return st;
    return cudnnConvolutionBackwardData(handle, &one, c->w, w, c->y, dy, c->conv, (cudnnConvolutionBwdDataAlgo_t)f->algorithm, space, f->bytes,
                                        &beta, c->x, dx);
}

cudnnStatus_t legacy_weights(struct legacy *c, cudnnHandle_t handle, const void *x, const void *dy, void *dw, void *space) {
    const float one = 1, zero = 0;
    const struct choice *f = &c->choice[CONV_WEIGHTS];
    cudnnStatus_t st = cudnnSetConvolutionMathType(c->conv, f->math);
    if (st != CUDNN_STATUS_SUCCESS) return st;
    return cudnnConvolutionBackwardFilter(handle, &one, c->x, x, c->y, dy, c->conv, (cudnnConvolutionBwdFilterAlgo_t)f->algorithm, space, f->bytes,
                                          &zero, c->w, dw);
}
