/* What the CUDA backend asks of a device: memory, kernels, matrix products, convolutions of a library.  Work is queued and
 * runs in order; a fault is kept in the device until it is asked for.  Two kinds: gpu/device.cu, and host.c for the tests. */
#ifndef BACKEND_CUDA_DEVICE_H
#define BACKEND_CUDA_DEVICE_H

#include "backend/collective.h"
#include "backend/cuda/kernels.h"

struct device;
struct device_conv;

/* Row-major C (m x n) = op(A) (m x k) * op(B) (k x n) + beta*C; ta, tb: transposed; ld: elements from row to row. */
struct product {
    bool ta, tb;
    int m, n, k;
    const float *a, *b;
    float *c;
    ptrdiff_t lda, ldb, ldc;
    float beta;
};

/* A library's convolutions, on dense NHWC maps and weights (F, tap, C/groups). */
struct device_conv_ops {
    /* NULL: the library has nothing for this one. */
    struct device_conv *(*open)(struct device *, const struct conv_desc *);
    void (*close)(struct device_conv *);
    void (*forward)(struct device *, struct device_conv *, const float *x, const float *w, float *y);
    void (*backward_data)(struct device *, struct device_conv *, const float *w, const float *dy, float *dx, bool add);
    void (*backward_weights)(struct device *, struct device_conv *, const float *x, const float *dy, float *dw); /* overwrites */
};

struct device_ops {
    void *(*alloc)(struct device *, size_t bytes); /* zeroed; NULL when there is none */
    void (*free)(struct device *, void *);
    void (*zero)(struct device *, void *, size_t bytes);
    void (*upload)(struct device *, const void *host, size_t bytes, void *to);   /* host memory may change when it returns */
    void (*download)(struct device *, const void *from, size_t bytes, void *host); /* waits */
    void (*wait)(struct device *);
    void (*room)(struct device *, double *free, double *total); /* bytes; total 0: not known */
    void (*product)(struct device *, const struct product *);
    void (*describe)(const struct device *, char *text, size_t size);
    void (*close)(struct device *);
    const struct device_conv_ops *conv; /* NULL: none */
#define EACH(name, args) void (*name)(struct device *, const struct args *, size_t n);
#define COLUMNS(name, args, terms, type) void (*name)(struct device *, const struct args *, size_t columns, size_t rows);
#include "backend/cuda/kernels.inc"
#undef EACH
#undef COLUMNS
};

/* How exactly convolutions and products multiply; sums and everything else are fp32.  TF32: 10 bits of mantissa; FP16: factors
 * are rounded to half precision, whose range ends at 65504. */
enum precision { PRECISION_FP32, PRECISION_TF32, PRECISION_FP16 };

struct device {
    const struct device_ops *ops;
    bool failed;
    enum status code;
    char error[256];
    enum precision precision;
    double memory; /* bytes in all; 0: not known */
    void *own;
};

/* Keeps the first fault. */
void device_fault(struct device *, enum status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The host in the device's place. */
/* limit: bytes that it is to have; 0: as many as the machine. */
enum status device_host_open(struct ctx *, double limit, struct device **);
/* Device number n. */
enum status device_cuda_open(struct ctx *, int n, enum precision, struct device **);
enum precision device_fast_precision(void); /* what this build prefers where digits need not be counted */
int device_cuda_count(char *why, size_t size); /* usable devices; 0: why says what is wrong */
/* *out stays NULL where two are one device, or without NCCL. */
enum status device_cuda_collective(struct ctx *, struct device *const *, int n, struct collective **out);

#endif
