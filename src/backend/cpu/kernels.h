/* What the per-instruction-set kernel files share.  Each is compiled several times with -DCPU_ISA=base|avx2|avx512 and
 * exports one function per copy, which overlays its entries on an operation table. */
#ifndef BACKEND_CPU_KERNELS_H
#define BACKEND_CPU_KERNELS_H

#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "backend/cpu/cpu.h"
#include "backend/cpu/direct.h"
#include "backend/cpu/plain_conv.h"
#include "backend/cpu/winograd.h"
#include "backend/ref/ref.h"

#define CPU_KERNELS(isa)                                     \
    void cpu_norm_kernels_##isa(struct backend_ops *ops);    \
    void cpu_map_kernels_##isa(struct backend_ops *ops);     \
    void cpu_vector_kernels_##isa(struct backend_ops *ops);  \
    extern const struct plain_conv_ops plain_conv_##isa;     \
    extern const struct winograd_ops winograd_##isa;         \
    extern const struct winograd_ops winograd_strided_##isa; \
    extern const struct direct_ops direct_##isa;
CPU_KERNELS(base)
CPU_KERNELS(avx2)
CPU_KERNELS(avx512)

#define CPU_JOIN_(a, b) a##b
#define CPU_JOIN(a, b) CPU_JOIN_(a, b)
#define CPU_NAME(name) CPU_JOIN(name, CPU_ISA)

/* A loop over independent tasks; `work` is about the number of elements touched: little work stays on one thread. */
#define CPU_PRAGMA(text) _Pragma(#text)
#ifdef _OPENMP
#define PARALLEL_FOR(work) CPU_PRAGMA(omp parallel for schedule(static) if ((work) > 30000))
#define PARALLEL_TASKS(work) CPU_PRAGMA(omp parallel for schedule(dynamic) if ((work) > 30000)) /* of unequal size */
#else
#define PARALLEL_FOR(work)
#define PARALLEL_TASKS(work)
#endif

/* The next loop touches only element i in step i: operands are the same memory or apart. */
#ifdef __clang__
#pragma clang diagnostic ignored "-Wpass-failed" /* loops over rare activations call a function and stay scalar */
#define ELEMENTWISE CPU_PRAGMA(clang loop vectorize(assume_safety))
#else
#define ELEMENTWISE CPU_PRAGMA(GCC ivdep)
#endif

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Unit stride over channels, so that a pixel is one contiguous row. */
static inline bool unit(const struct tensor *t) {
    return t->c == 1 || t->sc == 1;
}

static inline float *pixel(const struct tensor *t, int n, int y, int x) {
    return (float *)t->data + n * t->sn + y * t->sh + x * t->sw;
}

/* A tensor as `count` pixels of c contiguous floats, `step` apart.  Also fits a slice of the channels of a wider map. */
struct rows {
    float *data;
    ptrdiff_t count, step, c;
};

static inline bool rows_of(const struct tensor *t, struct rows *r) {
    ptrdiff_t step = t->w > 1 ? t->sw : t->h > 1 ? t->sh : t->n > 1 ? t->sn : t->c;
    *r = (struct rows){t->data, (ptrdiff_t)t->n * t->h * t->w, step, t->c};
    return unit(t) && (t->h == 1 || t->sh == t->w * step) && (t->n == 1 || t->sn == (ptrdiff_t)t->h * t->w * step);
}

static inline ptrdiff_t elements(const struct tensor *t) {
    return (ptrdiff_t)t->n * t->c * t->h * t->w;
}

/* How many neighbouring pixels form one long row, so that narrow maps fill vectors, too: 1 unless every view is dense. */
static inline ptrdiff_t fold_of(const struct rows *r, bool dense) {
    ptrdiff_t fold = 1;
    if (!dense) return fold;
    while (r->count % (2 * fold) == 0 && 2 * fold * r->c <= 512) fold *= 2;
    return fold;
}

static inline void fold_rows(struct rows *r, ptrdiff_t fold) {
    r->count /= fold;
    r->c *= fold;
    if (fold > 1) r->step = r->c;
}

#endif
