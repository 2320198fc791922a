/* Batch normalisation, activations and per-channel sums, channels-last. */
#include <math.h>

#include "backend/cpu/kernels.h"
#include "backend/cpu/math.h"

#define BN_EPS 1e-5

/* Reductions split the pixels into chunks by their number alone, so that the result does not depend on the threads. */
enum { MAX_CHUNKS = 32 };

static ptrdiff_t chunks_of(ptrdiff_t count) {
    return count >= 16 * MAX_CHUNKS ? MAX_CHUNKS : count / 16 + 1;
}

static ptrdiff_t chunk_start(ptrdiff_t count, ptrdiff_t chunk) {
    return count * chunk / chunks_of(count);
}

/* ---- activations ---- */

ALWAYS_INLINE void value_row(enum activation a, const float *x, float *y, ptrdiff_t n) {
    ELEMENTWISE
    for (ptrdiff_t i = 0; i < n; ++i) y[i] = value_f(a, x[i]);
}

static void act_row(enum activation act, const float *x, float *y, ptrdiff_t n) {
#define CALL(a) value_row(a, x, y, n)
    DISPATCH_ACTIVATION(act, CALL)
#undef CALL
}

static void act_forward(struct backend *be, enum activation act, const struct tensor *x, struct tensor *y) {
    struct rows from, to;
    if (!rows_of(x, &from) || !rows_of(y, &to)) {
        ref_f32_ops.act_forward(be, act, x, y);
        return;
    }
    ptrdiff_t fold = fold_of(&to, from.step == from.c && to.step == to.c);
    fold_rows(&from, fold), fold_rows(&to, fold);
    PARALLEL_FOR(to.count * to.c)
    for (ptrdiff_t p = 0; p < to.count; ++p) act_row(act, from.data + p * from.step, to.data + p * to.step, to.c);
}

ALWAYS_INLINE void slope_row(enum activation a, const float *x, const float *y, const float *dy, float *dx, ptrdiff_t n,
                             bool add) {
    if (add) {
        ELEMENTWISE
        for (ptrdiff_t i = 0; i < n; ++i) dx[i] += dy[i] * slope_f(a, x[i], y[i]);
    } else {
        ELEMENTWISE
        for (ptrdiff_t i = 0; i < n; ++i) dx[i] = dy[i] * slope_f(a, x[i], y[i]);
    }
}

/* x may be NULL when the slope does not need it: y then stands in for the pointer, unread. */
static void act_back_row(enum activation act, const float *x, const float *y, const float *dy, float *dx, ptrdiff_t n,
                         bool add) {
    const float *in = x ? x : y;
#define CALL(a) slope_row(a, in, y, dy, dx, n, add)
    DISPATCH_ACTIVATION(act, CALL)
#undef CALL
}

static void act_backward(struct backend *be, enum activation act, const struct tensor *x, const struct tensor *y,
                         const struct tensor *dy, struct tensor *dx, bool add) {
    struct rows in, out, from, to;
    if (!rows_of(x ? x : y, &in) || !rows_of(y, &out) || !rows_of(dy, &from) || !rows_of(dx, &to)) {
        ref_f32_ops.act_backward(be, act, x, y, dy, dx, add);
        return;
    }
    bool dense = in.step == in.c && out.step == out.c && from.step == from.c && to.step == to.c;
    ptrdiff_t fold = fold_of(&to, dense);
    fold_rows(&in, fold), fold_rows(&out, fold), fold_rows(&from, fold), fold_rows(&to, fold);
    PARALLEL_FOR(2 * to.count * to.c)
    for (ptrdiff_t p = 0; p < to.count; ++p)
        act_back_row(act, in.data + p * in.step, out.data + p * out.step, from.data + p * from.step,
                     to.data + p * to.step, to.c, add);
}

/* ---- sums per channel ---- */

/* sums[0..c) of x, sums[c..2c) of (x - shift)*g, where `g` and `shift` may be NULL; row buffers of r.c doubles each. */
static void add_row(const float *x, const float *g, const float *shift, double *sum, double *product, ptrdiff_t n) {
    if (!g) {
        ELEMENTWISE
        for (ptrdiff_t i = 0; i < n; ++i) sum[i] += (double)x[i];
        if (!product) return;
        ELEMENTWISE
        for (ptrdiff_t i = 0; i < n; ++i) product[i] += (double)x[i] * (double)x[i];
        return;
    }
    if (sum) {
        ELEMENTWISE
        for (ptrdiff_t i = 0; i < n; ++i) sum[i] += (double)g[i];
    }
    if (shift) {
        ELEMENTWISE
        for (ptrdiff_t i = 0; i < n; ++i) product[i] += (double)(x[i] - shift[i]) * (double)g[i];
    } else {
        ELEMENTWISE
        for (ptrdiff_t i = 0; i < n; ++i) product[i] += (double)x[i] * (double)g[i];
    }
}

/* Adds the chunks' rows of n = c*fold partial sums up into total[c], in a fixed order. */
static void join_chunks(const double *parts, ptrdiff_t chunks, ptrdiff_t stride, ptrdiff_t c, ptrdiff_t fold, double *total) {
    for (ptrdiff_t i = 0; i < c; ++i) total[i] = 0;
    for (ptrdiff_t k = 0; k < chunks; ++k) {
        for (ptrdiff_t f = 0; f < fold; ++f) {
            const double *row = parts + k * stride + f * c;
            for (ptrdiff_t i = 0; i < c; ++i) total[i] += row[i];
        }
    }
}

/* Sums of x (and of its squares when `squares`) per channel; total holds c or 2c doubles.  False: no memory. */
static bool sum_channels(struct backend *be, struct rows r, ptrdiff_t fold, bool squares, double *total) {
    ptrdiff_t c = r.c;
    fold_rows(&r, fold);
    ptrdiff_t stride = 2 * r.c, chunks = chunks_of(r.count);
    double *parts = cpu_scratch(be, SCRATCH_SUM, (size_t)(chunks * stride) * sizeof *parts);
    if (!parts) return false;
    memset(parts, 0, (size_t)(chunks * stride) * sizeof *parts);
    PARALLEL_FOR(r.count * r.c)
    for (ptrdiff_t k = 0; k < chunks; ++k) {
        double *sum = parts + k * stride;
        for (ptrdiff_t p = chunk_start(r.count, k); p < chunk_start(r.count, k + 1); ++p)
            add_row(r.data + p * r.step, NULL, NULL, sum, squares ? sum + r.c : NULL, r.c);
    }
    join_chunks(parts, chunks, stride, c, fold, total);
    if (squares) join_chunks(parts + r.c, chunks, stride, c, fold, total + c);
    return true;
}

static void channel_sum(struct backend *be, const struct tensor *x, double *total) {
    struct rows r;
    double *sum = NULL;
    if (rows_of(x, &r)) sum = calloc((size_t)r.c, sizeof *sum);
    if (sum && sum_channels(be, r, fold_of(&r, r.step == r.c), false, sum)) {
        for (ptrdiff_t i = 0; i < r.c; ++i) total[i] += sum[i];
    } else {
        ref_f32_ops.channel_sum(be, x, total);
    }
    free(sum);
}

static void bias_backward(struct backend *be, const struct tensor *dy, real *db) {
    struct rows r;
    double *sum = NULL;
    if (rows_of(dy, &r)) sum = calloc((size_t)r.c, sizeof *sum);
    if (sum && sum_channels(be, r, fold_of(&r, r.step == r.c), false, sum)) {
        for (ptrdiff_t i = 0; i < r.c; ++i) ((float *)db)[i] += (float)sum[i];
    } else {
        ref_f32_ops.bias_backward(be, dy, db);
    }
    free(sum);
}

static void weight_backward(struct backend *be, const struct tensor *x, const struct tensor *dy, bool per_channel,
                            int count, real *dw) {
    struct rows in, out;
    double *parts = NULL;
    ptrdiff_t c = count, chunks = chunks_of((ptrdiff_t)dy->n * dy->h * dy->w);
    if (rows_of(x, &in) && rows_of(dy, &out)) parts = cpu_scratch(be, SCRATCH_SUM, (size_t)((chunks + 1) * c) * sizeof *parts);
    if (!parts) {
        ref_f32_ops.weight_backward(be, x, dy, per_channel, count, dw);
        return;
    }
    memset(parts, 0, (size_t)((chunks + 1) * c) * sizeof *parts);
    PARALLEL_FOR(2 * out.count * c)
    for (ptrdiff_t k = 0; k < chunks; ++k)
        for (ptrdiff_t p = chunk_start(out.count, k); p < chunk_start(out.count, k + 1); ++p)
            add_row(in.data + p * in.step, out.data + p * out.step, NULL, NULL, parts + k * c, c);
    double *total = parts + chunks * c, all = 0;
    join_chunks(parts, chunks, c, c, 1, total);
    for (ptrdiff_t i = 0; i < c; ++i) {
        if (per_channel) ((float *)dw)[i] += (float)total[i];
        all += total[i];
    }
    if (!per_channel) ((float *)dw)[0] += (float)all;
}

/* ---- batch normalisation ---- */

/* Per-channel numbers, repeated `fold` times, that a pass over long rows reads. */
static void repeat(float *row, ptrdiff_t c, ptrdiff_t fold) {
    for (ptrdiff_t f = 1; f < fold; ++f) memcpy(row + f * c, row, (size_t)c * sizeof *row);
}

ALWAYS_INLINE void normalise_row(enum activation a, const float *x, const float *mean, const float *factor,
                                 const float *bias, float *pre, float *y, ptrdiff_t n) {
    if (pre) {
        ELEMENTWISE
        for (ptrdiff_t i = 0; i < n; ++i) {
            float u = (x[i] - mean[i]) * factor[i] + bias[i];
            pre[i] = u;
            y[i] = value_f(a, u);
        }
    } else {
        ELEMENTWISE
        for (ptrdiff_t i = 0; i < n; ++i) y[i] = value_f(a, (x[i] - mean[i]) * factor[i] + bias[i]);
    }
}

static void bn_row(enum activation act, const float *x, const float *mean, const float *factor, const float *bias,
                   float *pre, float *y, ptrdiff_t n) {
#define CALL(a) normalise_row(a, x, mean, factor, bias, pre, y, n)
    DISPATCH_ACTIVATION(act, CALL)
#undef CALL
}

static void bn_apply(struct rows in, struct rows out, struct rows pre, const float *mean, const float *factor,
                     const float *bias, enum activation act) {
    PARALLEL_FOR(2 * in.count * in.c)
    for (ptrdiff_t p = 0; p < in.count; ++p)
        bn_row(act, in.data + p * in.step, mean, factor, bias, pre.data ? pre.data + p * pre.step : NULL,
               out.data + p * out.step, in.c);
}

static void bn_forward(struct backend *be, const struct tensor *x, const real *scale, const real *bias, real *mean,
                       real *var, enum activation act, struct tensor *pre, struct tensor *y) {
    struct rows in, out, kept = {0};
    bool rows = rows_of(x, &in) && rows_of(y, &out) && (!pre || rows_of(pre, &kept));
    bool dense = rows && in.step == in.c && out.step == out.c && kept.step == kept.c;
    if (!pre && rows) dense = in.step == in.c && out.step == out.c;
    ptrdiff_t c = x->c, fold = rows ? fold_of(&in, dense) : 1;
    double *moments = rows ? calloc((size_t)(2 * c), sizeof *moments) : NULL;
    /* Asked for first: the sums need more scratch than the rows, so the pointer taken after them is the same block. */
    bool done = moments && sum_channels(be, in, fold, true, moments);
    float *row = done ? cpu_scratch(be, SCRATCH_SUM, (size_t)(3 * c * fold) * sizeof *row) : NULL;
    if (row) {
        float *mu = row, *factor = row + c * fold, *beta = factor + c * fold;
        for (ptrdiff_t i = 0; i < c; ++i) {
            double m = moments[i] / (double)in.count, v = moments[c + i] / (double)in.count - m * m;
            if (v < 0) v = 0;
            ((float *)mean)[i] = mu[i] = (float)m;
            ((float *)var)[i] = (float)v;
            factor[i] = (float)(((const float *)scale)[i] / sqrt(v + BN_EPS));
            beta[i] = ((const float *)bias)[i];
        }
        repeat(mu, c, fold), repeat(factor, c, fold), repeat(beta, c, fold);
        fold_rows(&in, fold), fold_rows(&out, fold), fold_rows(&kept, fold);
        bn_apply(in, out, kept, mu, factor, beta, act);
    } else {
        ref_f32_ops.bn_forward(be, x, scale, bias, mean, var, act, pre, y);
    }
    free(moments);
}

/* What bn_backward works on, as long rows; u stands for the input of the activation, or is y where that is not read. */
struct bn_rows {
    struct rows x, u, y, dy, dx;
};

static bool bn_rows_of(struct bn_rows *r, const struct tensor *x, const struct tensor *pre, const struct tensor *y,
                       const struct tensor *dy, const struct tensor *dx, ptrdiff_t *fold) {
    if (!rows_of(x, &r->x) || !rows_of(pre ? pre : y, &r->u) || !rows_of(y, &r->y) || !rows_of(dy, &r->dy) ||
        !rows_of(dx, &r->dx))
        return false;
    bool dense = r->x.step == r->x.c && r->u.step == r->u.c && r->y.step == r->y.c && r->dy.step == r->dy.c &&
                 r->dx.step == r->dx.c;
    *fold = fold_of(&r->x, dense);
    fold_rows(&r->x, *fold), fold_rows(&r->u, *fold), fold_rows(&r->y, *fold);
    fold_rows(&r->dy, *fold), fold_rows(&r->dx, *fold);
    return true;
}

/* dx = dy*slope, and its sums: total[0..c) of it and total[c..2c) of it times (x - mean). */
static bool bn_slopes(struct backend *be, const struct bn_rows *r, enum activation act, const float *mean, ptrdiff_t c,
                      ptrdiff_t fold, double *total) {
    ptrdiff_t n = r->x.c, stride = 2 * n, count = r->x.count, chunks = chunks_of(count);
    double *parts = cpu_scratch(be, SCRATCH_SUM, (size_t)(chunks * stride + n) * sizeof *parts);
    if (!parts) return false;
    memset(parts, 0, (size_t)(chunks * stride) * sizeof *parts);
    float *shift = (float *)(parts + chunks * stride);
    memcpy(shift, mean, (size_t)c * sizeof *shift);
    repeat(shift, c, fold);
    PARALLEL_FOR(4 * count * n)
    for (ptrdiff_t k = 0; k < chunks; ++k) {
        double *sum = parts + k * stride;
        for (ptrdiff_t p = chunk_start(count, k); p < chunk_start(count, k + 1); ++p) {
            float *g = r->dx.data + p * r->dx.step;
            act_back_row(act, r->u.data + p * r->u.step, r->y.data + p * r->y.step, r->dy.data + p * r->dy.step, g, n,
                         false);
            add_row(r->x.data + p * r->x.step, g, shift, sum, sum + n, n);
        }
    }
    join_chunks(parts, chunks, stride, c, fold, total);
    join_chunks(parts + n, chunks, stride, c, fold, total + c);
    return true;
}

static void centre_row(const float *x, const float *mean, const float *factor, const float *level, const float *tilt,
                       float *dx, ptrdiff_t n) {
    ELEMENTWISE
    for (ptrdiff_t i = 0; i < n; ++i) dx[i] = factor[i] * (dx[i] - level[i] - (x[i] - mean[i]) * tilt[i]);
}

static void bn_backward(struct backend *be, const struct tensor *x, const real *scale, const real *mean, const real *var,
                        enum activation act, const struct tensor *pre, const struct tensor *y, const struct tensor *dy,
                        struct tensor *dx, real *dscale, real *dbias) {
    struct bn_rows r;
    ptrdiff_t c = x->c, fold = 1;
    double m = (double)x->n * x->h * x->w;
    double *total = bn_rows_of(&r, x, pre, y, dy, dx, &fold) ? calloc((size_t)(2 * c), sizeof *total) : NULL;
    /* Both scratch uses are tried before dx is written, which may be dy's own memory and is then lost for a second try. */
    bool room = total && cpu_scratch(be, SCRATCH_SUM, (size_t)(MAX_CHUNKS * 2 * r.x.c + r.x.c) * sizeof(double));
    if (!room) {
        free(total);
        ref_f32_ops.bn_backward(be, x, scale, mean, var, act, pre, y, dy, dx, dscale, dbias);
        return;
    }
    bn_slopes(be, &r, act, mean, c, fold, total);
    ptrdiff_t n = r.x.c;
    float *mu = cpu_scratch(be, SCRATCH_SUM, (size_t)(4 * n) * sizeof *mu), *factor = mu + n, *level = factor + n, *tilt = level + n;
    for (ptrdiff_t i = 0; i < c; ++i) {
        double inv = 1 / sqrt((double)((const float *)var)[i] + BN_EPS);
        mu[i] = ((const float *)mean)[i];
        factor[i] = (float)(((const float *)scale)[i] * inv);
        level[i] = (float)(total[i] / m);
        tilt[i] = (float)(total[c + i] * inv * inv / m);
        ((float *)dbias)[i] += (float)total[i];
        ((float *)dscale)[i] += (float)(total[c + i] * inv);
    }
    repeat(mu, c, fold), repeat(factor, c, fold), repeat(level, c, fold), repeat(tilt, c, fold);
    PARALLEL_FOR(2 * r.x.count * n)
    for (ptrdiff_t p = 0; p < r.x.count; ++p)
        centre_row(r.x.data + p * r.x.step, mu, factor, level, tilt, r.dx.data + p * r.dx.step, n);
    free(total);
}

void CPU_NAME(cpu_norm_kernels_)(struct backend_ops *ops) {
    ops->act_forward = act_forward;
    ops->act_backward = act_backward;
    ops->channel_sum = channel_sum;
    ops->bias_backward = bias_backward;
    ops->weight_backward = weight_backward;
    ops->bn_forward = bn_forward;
    ops->bn_backward = bn_backward;
}
