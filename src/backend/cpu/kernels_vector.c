/* Flat vectors: what the optimiser does once per step. */
#include <math.h>

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

static void blend(struct backend *be, size_t size, double keep, const real *x, real *y) {
    (void)be;
    ptrdiff_t n = (ptrdiff_t)size;
    float k = (float)keep, rest = (float)(1 - keep);
    PARALLEL_FOR(n)
    for (ptrdiff_t start = 0; start < n; start += PIECE) {
        ELEMENTWISE
        for (ptrdiff_t i = start; i < piece_end(start, n); ++i)
            ((float *)y)[i] = k * ((float *)y)[i] + rest * ((const float *)x)[i];
    }
}

/* NaN passes, so that it is found. */
ALWAYS_INLINE float within(float v, float limit) {
    v = v > limit ? limit : v;
    return v < -limit ? -limit : v;
}

static ptrdiff_t range_work(const struct update_range *range, int n) {
    ptrdiff_t work = 0;
    for (int i = 0; i < n; ++i) work += (ptrdiff_t)range[i].n;
    return work;
}

static void sgd_range(const struct update_range *r, float *w, float *g, float *m, float scale, float momentum) {
    float decay = (float)r->decay, rate = (float)r->rate, limit = (float)r->limit, clip = (float)r->clip;
    ELEMENTWISE
    for (size_t i = 0; i < r->n; ++i) {
        float v = within(momentum * m[i] - scale * g[i] - decay * w[i], limit);
        m[i] = v;
        w[i] = within(w[i] + rate * v, clip);
        g[i] = 0;
    }
}

static void sgd(struct backend *be, const struct update_range *range, int n, real *w, real *g, real *m, double scale,
                double momentum) {
    PARALLEL_FOR(range_work(range, n))
    for (int k = 0; k < n; ++k) {
        size_t at = range[k].offset;
        if (range[k].hold) memset((float *)g + at, 0, range[k].n * sizeof(float));
        else if (range[k].reverse != 0) ref_f32_ops.sgd(be, &range[k], 1, w, g, m, scale, momentum);
        else sgd_range(&range[k], (float *)w + at, (float *)g + at, (float *)m + at, (float)scale, (float)momentum);
    }
}

static void adam_range(const struct update_range *r, float *w, float *g, float *m, float *v, const struct adam_rule *a) {
    float scale = (float)a->scale, clip = (float)r->clip, keep1 = (float)a->beta1, keep2 = (float)a->beta2, eps = (float)a->eps;
    float new1 = (float)(1 - a->beta1), new2 = (float)(1 - a->beta2);
    float decay = a->decoupled ? 0 : (float)r->decay, shrink = a->decoupled ? (float)(1 - r->rate * r->decay) : 1;
    float rate = (float)(r->rate / a->correction1), even = (float)(1 / a->correction2);
    ELEMENTWISE
    for (size_t i = 0; i < r->n; ++i) {
        float d = scale * g[i] + decay * w[i];
        float first = keep1 * m[i] - new1 * d, second = keep2 * v[i] + new2 * d * d;
        m[i] = first;
        v[i] = second;
        w[i] = within(shrink * w[i] + rate * first / (sqrtf(second * even) + eps), clip);
        g[i] = 0;
    }
}

static void adam(struct backend *be, const struct update_range *range, int n, real *w, real *g, real *m, real *v,
                 const struct adam_rule *rule) {
    (void)be;
    PARALLEL_FOR(range_work(range, n))
    for (int k = 0; k < n; ++k) {
        size_t at = range[k].offset;
        if (range[k].hold) memset((float *)g + at, 0, range[k].n * sizeof(float));
        else adam_range(&range[k], (float *)w + at, (float *)g + at, (float *)m + at, (float *)v + at, rule);
    }
}

void CPU_NAME(cpu_vector_kernels_)(struct backend_ops *ops) {
    ops->axpy = axpy;
    ops->scale = scale;
    ops->sum_squares = sum_squares;
    ops->blend = blend;
    ops->sgd = sgd;
    ops->adam = adam;
}
