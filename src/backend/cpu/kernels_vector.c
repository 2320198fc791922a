/* Flat vectors: what the optimiser does once per step. */
#include "backend/cpu/kernels.h"

/* Pieces of fixed size, so that sums do not depend on the thread count. */
enum { PIECE = 1 << 15, MAX_PIECES = 64 };

static ptrdiff_t piece_end(ptrdiff_t start, ptrdiff_t n) {
    return n - start < PIECE ? n : start + PIECE;
}

static void axpy(struct backend *be, size_t size, double alpha, const real *x, real *y) {
    (void)be;
    ptrdiff_t n = (ptrdiff_t)size;
    float a = (float)alpha;
    PARALLEL_FOR(n)
    for (ptrdiff_t start = 0; start < n; start += PIECE) {
        ELEMENTWISE
        for (ptrdiff_t i = start; i < piece_end(start, n); ++i) ((float *)y)[i] += a * ((const float *)x)[i];
    }
}

static void scale(struct backend *be, size_t size, double alpha, real *x) {
    (void)be;
    ptrdiff_t n = (ptrdiff_t)size;
    float a = (float)alpha;
    PARALLEL_FOR(n)
    for (ptrdiff_t start = 0; start < n; start += PIECE) {
        for (ptrdiff_t i = start; i < piece_end(start, n); ++i) ((float *)x)[i] *= a;
    }
}

/* Eight sums side by side, because one alone waits for each addition. */
static double piece_squares(const float *x, ptrdiff_t n) {
    double sums[8] = {0}, rest = 0;
    ptrdiff_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; ++k) sums[k] += (double)x[i + k] * (double)x[i + k];
    for (; i < n; ++i) rest += (double)x[i] * (double)x[i];
    for (int k = 0; k < 8; ++k) rest += sums[k];
    return rest;
}

static double sum_squares(struct backend *be, size_t size, const real *x) {
    (void)be;
    ptrdiff_t n = (ptrdiff_t)size;
    double parts[MAX_PIECES] = {0}, total = 0;
    PARALLEL_FOR(n)
    for (ptrdiff_t k = 0; k < MAX_PIECES; ++k) {
        ptrdiff_t start = n * k / MAX_PIECES;
        parts[k] = piece_squares((const float *)x + start, n * (k + 1) / MAX_PIECES - start);
    }
    for (int k = 0; k < MAX_PIECES; ++k) total += parts[k];
    return total;
}

static void sgd(struct backend *be, size_t size, real *weights, real *gradient, real *momenta, double rate,
                double momentum, double decay, double images) {
    (void)be;
    ptrdiff_t n = (ptrdiff_t)size;
    float *w = weights, *g = gradient, *m = momenta;
    float keep = (float)momentum, pull = (float)(decay * images), step = (float)(rate / images);
    PARALLEL_FOR(2 * n)
    for (ptrdiff_t start = 0; start < n; start += PIECE) {
        ELEMENTWISE
        for (ptrdiff_t i = start; i < piece_end(start, n); ++i) {
            m[i] = keep * m[i] - g[i] - pull * w[i];
            w[i] += step * m[i];
            g[i] = 0;
        }
    }
}

void CPU_NAME(cpu_vector_kernels_)(struct backend_ops *ops) {
    ops->axpy = axpy;
    ops->scale = scale;
    ops->sum_squares = sum_squares;
    ops->sgd = sgd;
}
