/* Flat vectors, optimisers, weights: arguments for kernels_vector.h. */
#include "backend/cuda/internal.h"

static void cuda_axpy(struct backend *be, size_t n, double alpha, const real *x, real *y) {
    struct blend_args a = { x, y, 1, (float)alpha };
    RUN_EACH(be, axpy, &a, n);
}

static void cuda_scale(struct backend *be, size_t n, double alpha, real *x) {
    struct blend_args a = { .y = x, .keep = (float)alpha };
    RUN_EACH(be, scale, &a, n);
}

static void cuda_blend(struct backend *be, size_t n, double keep, const real *x, real *y) {
    struct blend_args a = { x, y, (float)keep, (float)(1 - keep) };
    RUN_EACH(be, blend, &a, n);
}

static double cuda_sum_squares(struct backend *be, size_t n, const real *x) {
    struct device *dev = cuda_device(be);
    struct squares_args a = { x, n, cuda_scratch(be, SCRATCH_SUMS, SQUARES_COLUMNS * sizeof *a.sums) };
    double sums[SQUARES_COLUMNS], sum = 0;
    if (!n) return 0;
    if (!a.sums) return NAN;
    RUN_COLUMNS(be, squares, &a, (size_t)SQUARES_COLUMNS, (n + SQUARES_COLUMNS - 1) / SQUARES_COLUMNS);
    dev->ops->download(dev, a.sums, sizeof sums, sums);
    if (dev->failed) return NAN;
    for (int i = 0; i < SQUARES_COLUMNS; ++i) sum += sums[i];
    return sum;
}

/* The ranges go to the device; a kernel counts through as many places for each as the longest has. */
static size_t update_ranges(struct backend *be, const struct update_range *range, int n, struct update_args *a) {
    size_t longest = 0;
    for (int i = 0; i < n; ++i)
        if (range[i].n > longest) longest = range[i].n;
    if (!n || !longest) return 0;
    a->longest = (uint32_t)longest;
    a->range = cuda_table(be, SCRATCH_TABLE, range, (size_t)n * sizeof *range);
    return a->range ? longest * (size_t)n : 0;
}

static void cuda_sgd(struct backend *be, const struct update_range *range, int n_range, real *w, real *g, real *m, double scale,
                     double momentum) {
    struct update_args a = { .w = w, .g = g, .m = m, .scale = scale, .momentum = momentum };
    size_t n = update_ranges(be, range, n_range, &a);
    RUN_EACH(be, sgd, &a, n);
}

static void cuda_adam(struct backend *be, const struct update_range *range, int n_range, real *w, real *g, real *m, real *v,
                      const struct adam_rule *rule) {
    struct update_args a = { .w = w, .g = g, .m = m, .v = v, .rule = *rule };
    size_t n = update_ranges(be, range, n_range, &a);
    RUN_EACH(be, adam, &a, n);
}

/* --- Weights -------------------------------------------------------------------------------------------------------------- */

static void cuda_binarize_weights(struct backend *be, const real *w, size_t per, int filters, real *out) {
    struct rows_args a = { w, out, cuda_scratch(be, SCRATCH_SUMS, (size_t)filters * sizeof(float)), (uint32_t)per };
    if (!a.mean) return;
    RUN_COLUMNS(be, row_magnitude, &a, (size_t)filters, per);
    RUN_EACH(be, binarize, &a, per * (size_t)filters);
}

static void cuda_centre_rows(struct backend *be, real *x, int rows, size_t n) {
    struct rows_args a = { x, x, cuda_scratch(be, SCRATCH_SUMS, (size_t)rows * sizeof(float)), (uint32_t)n };
    if (!a.mean) return;
    RUN_COLUMNS(be, row_mean, &a, (size_t)rows, n);
    RUN_EACH(be, centre, &a, n * (size_t)rows);
}

static void cuda_sign(struct backend *be, const struct tensor *x, struct tensor *y) {
    struct sign_args a = { .x = view_of(x), .y = view_of(y) };
    RUN_EACH(be, sign, &a, elements_of(y));
}

static void cuda_sign_backward(struct backend *be, const struct tensor *x, const struct tensor *dy, struct tensor *dx, bool add) {
    struct sign_args a = { view_of(x), view_of(dy), view_of(dx), add };
    RUN_EACH(be, sign_back, &a, elements_of(dx));
}

static size_t tie_maps(struct backend *be, struct tie_args *a, int filters, int per, const double *maps) {
    size_t cells = a->cells;
    a->kernels = (size_t)(filters / a->stages) * (size_t)per;
    a->maps = cuda_table(be, SCRATCH_TABLE, maps, (size_t)a->stages * cells * cells * sizeof *maps);
    return a->maps ? a->kernels * cells : 0;
}

static void cuda_tie_kernels(struct backend *be, real *w, int filters, int per, int cells, int stages, const double *maps) {
    struct tie_args a = { .w = w, .cells = (uint32_t)cells, .stages = stages };
    size_t block = tie_maps(be, &a, filters, per, maps);
    RUN_EACH(be, tie, &a, block * (size_t)(stages - 1));
}

static void cuda_tie_kernels_backward(struct backend *be, real *dw, int filters, int per, int cells, int stages, const double *maps) {
    struct device *dev = cuda_device(be);
    struct tie_args a = { .w = dw, .cells = (uint32_t)cells, .stages = stages };
    size_t block = tie_maps(be, &a, filters, per, maps);
    RUN_EACH(be, tie_back, &a, block);
    if (block && stages > 1) dev->ops->zero(dev, (float *)dw + block, block * (size_t)(stages - 1) * sizeof(float));
}

static void cuda_mix_weights(struct backend *be, enum mix_norm kind, const real *raw, int n, int k, real *w) {
    struct mix_args a = { .raw = raw, .out = w, .n = n, .k = k, .kind = kind };
    RUN_EACH(be, mix, &a, (size_t)k);
}

static void cuda_mix_weights_backward(struct backend *be, enum mix_norm kind, const real *raw, const real *w, const real *dw, int n,
                                      int k, real *draw) {
    struct mix_args a = { raw, w, dw, draw, n, k, kind };
    RUN_EACH(be, mix_back, &a, (size_t)k);
}

void cuda_vector_ops(struct backend_ops *ops) {
    ops->axpy = cuda_axpy;
    ops->scale = cuda_scale;
    ops->blend = cuda_blend;
    ops->sum_squares = cuda_sum_squares;
    ops->sgd = cuda_sgd;
    ops->adam = cuda_adam;
    ops->binarize_weights = cuda_binarize_weights;
    ops->centre_rows = cuda_centre_rows;
    ops->sign = cuda_sign;
    ops->sign_backward = cuda_sign_backward;
    ops->tie_kernels = cuda_tie_kernels;
    ops->tie_kernels_backward = cuda_tie_kernels_backward;
    ops->mix_weights = cuda_mix_weights;
    ops->mix_weights_backward = cuda_mix_weights_backward;
}
