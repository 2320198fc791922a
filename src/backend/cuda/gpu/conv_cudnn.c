/* Convolutions by cuDNN, on NHWC maps.  Algorithms are chosen by trial among those whose results repeat, once per shape and kind
 * of pass; a table keeps what was found, so that a network that changes its size and comes back need not try again. */
#include <cudnn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/gpu/gpu.h"

enum pass_kind { PASS_FORWARD, PASS_DATA, PASS_WEIGHTS, PASSES };
enum { MOST_ALGORITHMS = 16 };
/* More than this is not worth what it takes from the batch. */
#define WORKSPACE_LIMIT ((size_t)1 << 30)

/* What a choice depends on. */
struct key { int n, c, h, w, filters, groups, size, stride_x, stride_y, dilation, pad, pass; };
struct found { struct key key; int algorithm; size_t bytes; cudnnMathType_t math; };

struct library {
    cudnnHandle_t handle;
    struct found *found;
    size_t n_found, cap_found;
};

struct device_conv {
    struct key key;
    cudnnTensorDescriptor_t x, y;
    cudnnFilterDescriptor_t w;
    cudnnConvolutionDescriptor_t conv;
    struct found choice[PASSES]; /* algorithm -1: not yet chosen */
};

static struct library *library_of(struct device *d) { return ((struct gpu *)d->own)->conv; }

static bool failed(struct device *d, cudnnStatus_t st, const char *what) {
    if (st == CUDNN_STATUS_SUCCESS) return false;
    device_fault(d, ST_BACKEND, "GPU: cuDNN: %s: %s", what, cudnnGetErrorString(st));
    return true;
}

/* --- Plans ------------------------------------------------------------------------------------------------------------------ */

static cudnnMathType_t math_of(enum precision p) {
    return p == PRECISION_FP32 ? CUDNN_FMA_MATH : p == PRECISION_TF32 ? CUDNN_TENSOR_OP_MATH : CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION;
}

static void conv_close(struct device_conv *c) {
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

static cudnnStatus_t describe(struct device *d, struct device_conv *c, const struct conv_desc *desc) {
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
    if (st == CUDNN_STATUS_SUCCESS) st = cudnnSetConvolutionMathType(c->conv, math_of(d->precision));
    return st;
}

static bool usable(cudnnStatus_t status, cudnnDeterminism_t repeats, size_t bytes) {
    return status == CUDNN_STATUS_SUCCESS && repeats == CUDNN_DETERMINISTIC && bytes <= WORKSPACE_LIMIT;
}

/* The three kinds of lists of algorithms, best first, are three types. */
#define FIRST_USABLE(list, n, choice)                                                                                \
    for (int i_ = 0; i_ < (n); ++i_)                                                                                 \
        if (usable((list)[i_].status, (list)[i_].determinism, (list)[i_].memory)) {                                  \
            (choice)->algorithm = (int)(list)[i_].algo, (choice)->bytes = (list)[i_].memory, (choice)->math = (list)[i_].mathType; \
            break;                                                                                                   \
        }

/* What cuDNN expects to be best; false when nothing can be used. */
static bool guess(struct library *lib, struct device_conv *c, int pass) {
    struct found *choice = &c->choice[pass];
    int n = 0;
    choice->algorithm = -1;
    if (pass == PASS_FORWARD) {
        cudnnConvolutionFwdAlgoPerf_t list[MOST_ALGORITHMS];
        if (cudnnGetConvolutionForwardAlgorithm_v7(lib->handle, c->x, c->w, c->conv, c->y, MOST_ALGORITHMS, &n, list) == CUDNN_STATUS_SUCCESS)
            FIRST_USABLE(list, n, choice)
    } else if (pass == PASS_DATA) {
        cudnnConvolutionBwdDataAlgoPerf_t list[MOST_ALGORITHMS];
        if (cudnnGetConvolutionBackwardDataAlgorithm_v7(lib->handle, c->w, c->y, c->conv, c->x, MOST_ALGORITHMS, &n, list) == CUDNN_STATUS_SUCCESS)
            FIRST_USABLE(list, n, choice)
    } else {
        cudnnConvolutionBwdFilterAlgoPerf_t list[MOST_ALGORITHMS];
        if (cudnnGetConvolutionBackwardFilterAlgorithm_v7(lib->handle, c->x, c->y, c->conv, c->w, MOST_ALGORITHMS, &n, list) == CUDNN_STATUS_SUCCESS)
            FIRST_USABLE(list, n, choice)
    }
    return choice->algorithm >= 0;
}

static struct device_conv *conv_open(struct device *d, const struct conv_desc *desc) {
    struct ctx quiet = { 0 };
    struct device_conv *c = mem_zero(&quiet, 1, sizeof *c);
    if (!c) return NULL;
    c->key = (struct key){ desc->x.n, desc->x.c, desc->x.h, desc->x.w, desc->y.c, desc->groups, desc->size, desc->stride_x, desc->stride_y,
                           desc->dilation, desc->pad, 0 };
    bool fits = describe(d, c, desc) == CUDNN_STATUS_SUCCESS;
    for (int pass = 0; fits && pass < (desc->backward ? PASSES : PASS_DATA); ++pass) fits = guess(library_of(d), c, pass);
    if (fits) return c;
    conv_close(c);
    return NULL;
}

/* --- Trials ------------------------------------------------------------------------------------------------------------------ */

static bool remembered(const struct library *lib, struct device_conv *c, int pass) {
    struct key key = c->key;
    key.pass = pass;
    for (size_t i = 0; i < lib->n_found; ++i)
        if (memcmp(&lib->found[i].key, &key, sizeof key) == 0) {
            c->choice[pass] = lib->found[i];
            return true;
        }
    return false;
}

static void remember(struct library *lib, struct device_conv *c, int pass) {
    struct ctx quiet = { 0 };
    c->choice[pass].key = c->key;
    c->choice[pass].key.pass = pass;
    if (mem_grow(&quiet, &lib->found, &lib->cap_found, lib->n_found + 1, sizeof *lib->found) == ST_OK)
        lib->found[lib->n_found++] = c->choice[pass];
}

/* Tries what there is on the memory of this pass, of which `out` is about to be overwritten anyway; nothing that can be used
 * leaves the guess. */
static void try_all(struct device *d, struct device_conv *c, int pass, const void *a, const void *b, void *out) {
    struct library *lib = library_of(d);
    struct found *choice = &c->choice[pass], guessed = *choice;
    size_t bytes = guessed.bytes > ((size_t)1 << 28) ? guessed.bytes : (size_t)1 << 28;
    void *space = gpu_workspace(d, bytes);
    int n = 0;
    if (!space) return;
    choice->algorithm = -1;
    if (pass == PASS_FORWARD) {
        cudnnConvolutionFwdAlgoPerf_t list[MOST_ALGORITHMS];
        if (cudnnFindConvolutionForwardAlgorithmEx(lib->handle, c->x, a, c->w, b, c->conv, c->y, out, MOST_ALGORITHMS, &n, list, space, bytes) ==
            CUDNN_STATUS_SUCCESS)
            FIRST_USABLE(list, n, choice)
    } else if (pass == PASS_DATA) {
        cudnnConvolutionBwdDataAlgoPerf_t list[MOST_ALGORITHMS];
        if (cudnnFindConvolutionBackwardDataAlgorithmEx(lib->handle, c->w, a, c->y, b, c->conv, c->x, out, MOST_ALGORITHMS, &n, list, space,
                                                        bytes) == CUDNN_STATUS_SUCCESS)
            FIRST_USABLE(list, n, choice)
    } else {
        cudnnConvolutionBwdFilterAlgoPerf_t list[MOST_ALGORITHMS];
        if (cudnnFindConvolutionBackwardFilterAlgorithmEx(lib->handle, c->x, a, c->y, b, c->conv, c->w, out, MOST_ALGORITHMS, &n, list, space,
                                                          bytes) == CUDNN_STATUS_SUCCESS)
            FIRST_USABLE(list, n, choice)
    }
    if (choice->algorithm < 0) *choice = guessed;
    remember(lib, c, pass);
}

/* The pass's algorithm is chosen and its workspace there. */
static void *ready(struct device *d, struct device_conv *c, int pass, const void *a, const void *b, void *out) {
    if (d->failed) return NULL;
    cudaSetDevice(((struct gpu *)d->own)->number);
    bool known = c->choice[pass].key.n != 0 || remembered(library_of(d), c, pass);
    if (!known && out) try_all(d, c, pass, a, b, out);
    if (d->failed || failed(d, cudnnSetConvolutionMathType(c->conv, c->choice[pass].math), "mode of arithmetic")) return NULL;
    return gpu_workspace(d, c->choice[pass].bytes ? c->choice[pass].bytes : 1);
}

static void conv_forward(struct device *d, struct device_conv *c, const float *x, const float *w, float *y) {
    const float one = 1, zero = 0;
    void *space = ready(d, c, PASS_FORWARD, x, w, y);
    const struct found *f = &c->choice[PASS_FORWARD];
    if (space)
        failed(d, cudnnConvolutionForward(library_of(d)->handle, &one, c->x, x, c->w, w, c->conv, (cudnnConvolutionFwdAlgo_t)f->algorithm, space,
                                          f->bytes, &zero, c->y, y), "forward pass");
}

/* A gradient that is added to must not be tried on: the guess serves until there is a pass that overwrites. */
static void conv_backward_data(struct device *d, struct device_conv *c, const float *w, const float *dy, float *dx, bool add) {
    const float one = 1, beta = add ? 1 : 0;
    void *space = ready(d, c, PASS_DATA, w, dy, add ? NULL : dx);
    const struct found *f = &c->choice[PASS_DATA];
    if (space)
        failed(d, cudnnConvolutionBackwardData(library_of(d)->handle, &one, c->w, w, c->y, dy, c->conv, (cudnnConvolutionBwdDataAlgo_t)f->algorithm,
                                               space, f->bytes, &beta, c->x, dx), "backward pass");
}

static void conv_backward_weights(struct device *d, struct device_conv *c, const float *x, const float *dy, float *dw) {
    const float one = 1, zero = 0;
    void *space = ready(d, c, PASS_WEIGHTS, x, dy, dw);
    const struct found *f = &c->choice[PASS_WEIGHTS];
    if (space)
        failed(d, cudnnConvolutionBackwardFilter(library_of(d)->handle, &one, c->x, x, c->y, dy, c->conv,
                                                 (cudnnConvolutionBwdFilterAlgo_t)f->algorithm, space, f->bytes, &zero, c->w, dw), "weight gradients");
}

static const struct device_conv_ops conv_ops = { .open = conv_open, .close = conv_close, .forward = conv_forward,
                                                 .backward_data = conv_backward_data, .backward_weights = conv_backward_weights };

enum status gpu_conv_open(struct ctx *ctx, struct device *d) {
    struct gpu *g = d->own;
    struct library *lib = g->conv = mem_zero(ctx, 1, sizeof *lib);
    if (!lib) return ST_MEMORY;
    cudnnStatus_t st = cudnnCreate(&lib->handle);
    if (st == CUDNN_STATUS_SUCCESS) st = cudnnSetStream(lib->handle, g->stream);
    if (st != CUDNN_STATUS_SUCCESS) return ctx_fail(ctx, ST_BACKEND, "GPU %d: cuDNN: %s", g->number, cudnnGetErrorString(st));
    size_t version = cudnnGetVersion();
    static const char *const digits[] = { "fp32", "tf32", "fp16" };
    snprintf(g->library, sizeof g->library, "cuDNN %zu.%zu.%zu, %s", version / 10000, version / 100 % 100, version % 100, digits[d->precision]);
    g->ops.conv = &conv_ops;
    return ST_OK;
}

void gpu_conv_close(struct device *d) {
    struct library *lib = library_of(d);
    if (!lib) return;
    if (lib->handle) cudnnDestroy(lib->handle);
    free(lib->found);
    free(lib);
}
