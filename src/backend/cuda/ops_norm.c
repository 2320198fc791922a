/* Batch normalisation, activations, normalisation across channels: arguments for kernels_norm.h. */
#include "backend/cuda/internal.h"

static void cuda_bn_forward(struct backend *be, const struct tensor *x, const real *scale, const real *bias, real *mean, real *var,
                            enum activation act, struct tensor *pre, struct tensor *y) {
    struct bn_args a = { .x = view_of(x), .pre = view_of(pre), .y = view_of(y), .scale = scale, .bias = bias, .mean = mean, .var = var,
                         .cells = (double)cells_of(x), .act = act };
    RUN_COLUMNS(be, bn_stats, &a, (size_t)x->c, cells_of(x));
    RUN_EACH(be, bn_apply, &a, elements_of(x));
}

/* share: what of mean and var these cells made, over their number. */
static void bn_backward(struct backend *be, const struct tensor *x, const real *scale, double share, const real *mean, const real *var,
                        enum activation act, const struct tensor *pre, const struct tensor *y, const struct tensor *dy,
                        struct tensor *dx, real *dscale, real *dbias) {
    struct bn_args a = { .x = view_of(x), .pre = view_of(pre), .y = view_of(y), .dy = view_of(dy), .dx = view_of(dx), .scale = scale,
                         .mean = (float *)mean, .var = (float *)var, .dscale = dscale, .dbias = dbias, .share = (float)share, .act = act };
    a.sums = cuda_scratch(be, SCRATCH_SUMS, 2 * (size_t)x->c * sizeof *a.sums);
    if (!a.sums) return;
    RUN_COLUMNS(be, bn_slopes, &a, (size_t)x->c, cells_of(x));
    RUN_EACH(be, bn_back, &a, elements_of(x));
}

static void cuda_bn_backward(struct backend *be, const struct tensor *x, const real *scale, const real *mean, const real *var,
                             enum activation act, const struct tensor *pre, const struct tensor *y, const struct tensor *dy,
                             struct tensor *dx, real *dscale, real *dbias) {
    bn_backward(be, x, scale, 1. / (double)cells_of(x), mean, var, act, pre, y, dy, dx, dscale, dbias);
}

static void cuda_bn_blend_forward(struct backend *be, const struct tensor *x, const real *scale, const real *bias, double alpha,
                                  real *moment, real *mean, real *var, enum activation act, struct tensor *pre, struct tensor *y) {
    struct bn_args a = { .x = view_of(x), .pre = view_of(pre), .y = view_of(y), .scale = scale, .bias = bias, .mean = mean, .var = var,
                         .moment = moment, .cells = (double)cells_of(x), .alpha = alpha, .act = act };
    RUN_COLUMNS(be, bn_blend, &a, (size_t)x->c, cells_of(x));
    RUN_EACH(be, bn_apply, &a, elements_of(x));
}

static void cuda_bn_blend_backward(struct backend *be, const struct tensor *x, const real *scale, double alpha, const real *mean,
                                   const real *var, enum activation act, const struct tensor *pre, const struct tensor *y,
                                   const struct tensor *dy, struct tensor *dx, real *dscale, real *dbias) {
    bn_backward(be, x, scale, alpha / (double)cells_of(x), mean, var, act, pre, y, dy, dx, dscale, dbias);
}

static void cuda_bn_roll(struct backend *be, real *rolling, const real *value, size_t n, double momentum, double factor) {
    struct bn_roll_args a = { rolling, value, (float)momentum, (float)((1 - momentum) * factor) };
    RUN_EACH(be, bn_roll, &a, n);
}

static void cuda_bn_fold(struct backend *be, const real *w, size_t per, int filters, const real *scale, const real *bias,
                         const real *mean, const real *var, real *w_out, real *bias_out) {
    struct bn_fold_args a = { w, scale, bias, mean, var, w_out, bias_out, (uint32_t)per };
    RUN_EACH(be, bn_fold, &a, per * (size_t)filters);
}

static void cuda_act_forward(struct backend *be, enum activation act, const struct tensor *x, struct tensor *y) {
    struct act_args a = { .x = view_of(x), .y = view_of(y), .act = act };
    RUN_EACH(be, act, &a, elements_of(y));
}

static void cuda_act_backward(struct backend *be, enum activation act, const struct tensor *x, const struct tensor *y,
                              const struct tensor *dy, struct tensor *dx, bool add) {
    struct act_args a = { .x = view_of(x), .y = view_of(y), .dy = view_of(dy), .dx = view_of(dx), .act = act, .add = add };
    RUN_EACH(be, act_back, &a, elements_of(dx));
}

static void cuda_lrn(struct backend *be, const struct lrn_desc *d, const struct tensor *x, struct tensor *norm, struct tensor *y) {
    struct lrn_args a = { .x = view_of(x), .norm = view_of(norm), .y = view_of(y), .d = *d };
    RUN_EACH(be, lrn, &a, elements_of(y));
}

static void cuda_lrn_backward(struct backend *be, const struct lrn_desc *d, const struct tensor *x, const struct tensor *norm,
                              const struct tensor *dy, struct tensor *dx, bool add) {
    struct lrn_args a = { .x = view_of(x), .norm = view_of(norm), .dy = view_of(dy), .dx = view_of(dx), .d = *d, .add = add };
    RUN_EACH(be, lrn_back, &a, elements_of(dx));
}

static void cuda_norm_channels(struct backend *be, enum channel_norm kind, const struct tensor *x, struct tensor *y) {
    struct cell_args a = { .x = view_of(x), .y = view_of(y), .kind = kind };
    RUN_EACH(be, norm_channels, &a, cells_of(x));
}

static void cuda_norm_channels_backward(struct backend *be, enum channel_norm kind, const struct tensor *x, const struct tensor *y,
                                        const struct tensor *dy, struct tensor *dx) {
    struct cell_args a = { view_of(x), view_of(y), view_of(dy), view_of(dx), kind };
    RUN_EACH(be, norm_channels_back, &a, cells_of(x));
}

static void cuda_excite(struct backend *be, const struct tensor *x, const struct tensor *map, double alpha, struct tensor *y) {
    struct excite_args a = { view_of(x), view_of(map), view_of(y), (float)alpha };
    RUN_EACH(be, excite, &a, cells_of(x));
}

static void cuda_coordinates(struct backend *be, struct tensor *y, bool zero) {
    struct coordinates_args a = { view_of(y), zero };
    RUN_EACH(be, coordinates, &a, cells_of(y));
}

void cuda_norm_ops(struct backend_ops *ops) {
    ops->bn_forward = cuda_bn_forward;
    ops->bn_backward = cuda_bn_backward;
    ops->bn_blend_forward = cuda_bn_blend_forward;
    ops->bn_blend_backward = cuda_bn_blend_backward;
    ops->bn_roll = cuda_bn_roll;
    ops->bn_fold = cuda_bn_fold;
    ops->act_forward = cuda_act_forward;
    ops->act_backward = cuda_act_backward;
    ops->lrn = cuda_lrn;
    ops->lrn_backward = cuda_lrn_backward;
    ops->norm_channels = cuda_norm_channels;
    ops->norm_channels_backward = cuda_norm_channels_backward;
    ops->excite = cuda_excite;
    ops->coordinates = cuda_coordinates;
}
