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
    enum element factor, result; /* of A and B; of C: REAL or as the factors */
    const void *a, *b;
    void *c;
    ptrdiff_t lda, ldb, ldc;
    float beta;
};

/* A library's convolutions, on dense NHWC maps and weights (F, tap, C/groups), all of them at addresses that 16 divides. */
enum conv_pass { CONV_FORWARD, CONV_DATA, CONV_WEIGHTS, CONV_PASSES };
struct device_conv {          /* what the library begins its own with */
    enum element factor;      /* of x, w and dy */
    enum element result[CONV_PASSES]; /* what the passes give */
    bool fused;               /* forward adds bias, activates and adds skip, as far as conv_desc has them; else the caller does */
};
struct device_conv_ops {
    /* Chooses how, by trial where it was not known, and takes what memory the passes need; NULL: nothing for this one. */
    struct device_conv *(*open)(struct device *, struct ctx *, const struct conv_desc *);
    void (*close)(struct device *, struct device_conv *);
    void (*forward)(struct device *, struct device_conv *, const void *x, const void *w, const float *bias, const void *skip, void *y);
    void (*backward_data)(struct device *, struct device_conv *, const void *w, const void *dy, void *dx, bool add); /* add: to floats only */
    void (*backward_weights)(struct device *, struct device_conv *, const void *x, const void *dy, void *dw); /* overwrites */
};

struct device_ops {
    void *(*alloc)(struct device *, size_t bytes); /* zeroed; NULL when there is none */
    void (*free)(struct device *, void *);
    void (*zero)(struct device *, void *, size_t bytes);
    void (*upload)(struct device *, const void *host, size_t bytes, void *to);   /* host memory may change when it returns */
    void (*download)(struct device *, const void *from, size_t bytes, void *host); /* waits */
    void (*wait)(struct device *);
    /* Copies beside the queue, from any memory, at full speed from host_alloc's.  They begin when what was queued before send_begin is
     * done, and what is queued behind send_end waits for them; until then the host memory must stay as it is. */
    void (*send_begin)(struct device *);
    void (*send)(struct device *, const void *host, size_t bytes, void *to);
    void (*send_end)(struct device *);
    void *(*host_alloc)(struct device *, size_t bytes); /* these two: by any thread at any time; NULL when there is none */
    void (*host_free)(struct device *, void *);
    void (*room)(struct device *, double *free, double *total); /* bytes; total 0: not known */
    void (*product)(struct device *, const struct product *);
    /* Finds out how to compute such a product best and takes the memory for it; NULL: nothing to find out. */
    void (*product_plan)(struct device *, const struct product *);
    /* From here on work is noted instead of done; false: it is not, as before.  What waits for the host or takes memory spoils the
     * note, as does a fault. */
    bool (*record)(struct device *);
    void *(*recorded)(struct device *); /* the note; NULL: it is spoilt */
    void (*replay)(struct device *, void *note);
    void (*forget)(struct device *, void *note);
    void (*describe)(const struct device *, char *text, size_t size);
    void (*close)(struct device *);
    const struct device_conv_ops *conv; /* NULL: none */
#define EACH(name, args) void (*name)(struct device *, const struct args *, size_t n);
#define COLUMNS(name, args, terms, type) void (*name)(struct device *, const struct args *, size_t columns, size_t rows);
#include "backend/cuda/kernels.inc"
#undef EACH
#undef COLUMNS
};

/* How exactly convolutions and products multiply; sums are fp32.  TF32: 10 bits of mantissa;
 * BF16: 7, with the range of floats; FP16: 10, in a range from 6e-8 to 65504. */
enum precision { PRECISION_FP32, PRECISION_TF32, PRECISION_BF16, PRECISION_FP16 };

struct device {
    const struct device_ops *ops;
    bool failed;
    enum status code;
    char error[256];
    enum precision precision;
    double memory; /* bytes in all; 0: not known */
    bool recording, spoilt;
    size_t allocations;  /* so far */
    unsigned generation; /* changes whenever memory that notes may hold has moved */
    size_t notes, replays; /* made and played so far */
    void *own;
};

/* Keeps the first fault. */
void device_fault(struct device *, enum status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The host in the device's place. */
/* library: convolutions by loops that stand for a library's, with all its forms.  limit: bytes that the device is to have; 0: as many
 * as the machine. */
enum status device_host_open(struct ctx *, enum precision, bool library, double limit, struct device **);
extern const struct device_conv_ops device_host_conv;
/* Whether something may happen now that no note can hold; spoils the note otherwise. */
bool device_free_to(struct device *);
const char *precision_name(enum precision);
enum element precision_factor(enum precision);
/* Device number n. */
enum status device_cuda_open(struct ctx *, int n, enum precision, struct device **);
enum precision device_fast_precision(void); /* what this build prefers where digits need not be counted */
int device_cuda_count(char *why, size_t size); /* usable devices; 0: why says what is wrong */
/* *out stays NULL where two are one device, or without NCCL. */
enum status device_cuda_collective(struct ctx *, struct device *const *, int n, struct collective **out);

#endif
