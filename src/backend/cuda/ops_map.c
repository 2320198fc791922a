/* Operations on feature maps: arguments for kernels_map.h. */
#include <stdlib.h>

#include "backend/cuda/internal.h"

static void cuda_fill(struct backend *be, struct tensor *y, double value) {
    struct fill_args a = { view_of(y), (float)value };
    RUN_EACH(be, fill, &a, elements_of(y));
}

static void cuda_to_nchw(struct backend *be, const struct tensor *x, float *dst) {
    struct device *dev = cuda_device(be);
    size_t n = elements_of(x);
    struct planar_args a = { view_of(x), n ? cuda_scratch(be, SCRATCH_STAGE, n * sizeof(float)) : NULL, false };
    if (!a.planar) return;
    RUN_EACH(be, to_planar, &a, n);
    dev->ops->download(dev, a.planar, n * sizeof *dst, dst);
}

static void cuda_from_nchw(struct backend *be, const float *src, struct tensor *y, bool add) {
    size_t n = elements_of(y);
    struct planar_args a = { view_of(y), n ? cuda_table(be, SCRATCH_STAGE, src, n * sizeof *src) : NULL, add };
    if (a.planar) RUN_EACH(be, from_planar, &a, n);
}

/* --- Pooling ------------------------------------------------------------------------------------------------------------ */

static void cuda_maxpool(struct backend *be, const struct pool_desc *p, const struct tensor *x, struct tensor *y, int32_t *argmax) {
    struct pool_args a = { view_of(x), view_of(y), *p, argmax, false };
    RUN_EACH(be, maxpool, &a, elements_of(y));
}

static void cuda_maxpool_backward(struct backend *be, const struct pool_desc *p, const int32_t *argmax, const struct tensor *dy,
                                  struct tensor *dx) {
    struct pool_args a = { view_of(dx), view_of(dy), *p, (int32_t *)argmax, true };
    RUN_EACH(be, maxpool_back, &a, elements_of(dx));
}

static void cuda_avgpool(struct backend *be, const struct tensor *x, struct tensor *y) {
    struct mean_args a = { view_of(x), view_of(y) };
    RUN_COLUMNS(be, avgpool, &a, (size_t)x->n * (size_t)x->c, (size_t)x->h * (size_t)x->w);
}

static void cuda_avgpool_backward(struct backend *be, const struct tensor *dy, struct tensor *dx, bool add) {
    struct spread_args a = { .from = view_of(dy), .to = view_of(dx), .scale = (float)(1. / ((double)dx->h * dx->w)), .add = add };
    RUN_EACH(be, avgpool_back, &a, elements_of(dx));
}

static void cuda_local_avgpool(struct backend *be, const struct pool_desc *p, const struct tensor *x, struct tensor *y) {
    struct pool_args a = { view_of(x), view_of(y), *p, NULL, false };
    RUN_EACH(be, local_avgpool, &a, elements_of(y));
}

static void cuda_local_avgpool_backward(struct backend *be, const struct pool_desc *p, const struct tensor *dy, struct tensor *dx,
                                        bool add) {
    struct pool_args a = { view_of(dx), view_of(dy), *p, NULL, add };
    RUN_EACH(be, local_avgpool_back, &a, elements_of(dx));
}

/* --- Copies ------------------------------------------------------------------------------------------------------------- */

static struct view channels_of(struct backend *be, const struct tensor *t, int first, int count) {
    struct tensor part = tensor_channels(be, t, first, count);
    return view_of(&part);
}

static size_t count_of(const struct tensor *t, int channels) { return cells_of(t) * (size_t)channels; }

static void cuda_copy_channels(struct backend *be, const struct tensor *x, int xc, struct tensor *y, int yc, int count, double alpha,
                               bool add) {
    struct copy_args a = { .x = channels_of(be, x, xc, count), .y = channels_of(be, y, yc, count), .add = add, .alpha = (float)alpha };
    RUN_EACH(be, copy, &a, count_of(y, count));
}

static void cuda_copy_weighted(struct backend *be, const struct tensor *x, const real *weight, bool per_channel, int count,
                               struct tensor *y, bool add) {
    struct copy_args a = { channels_of(be, x, 0, count), channels_of(be, y, 0, count), weight, per_channel, add, 1 };
    RUN_EACH(be, copy, &a, count_of(y, count));
}

static void cuda_weight_backward(struct backend *be, const struct tensor *x, const struct tensor *dy, bool per_channel, int count,
                                 real *dw) {
    double *sums = per_channel || !count ? NULL : cuda_scratch(be, SCRATCH_SUMS, (size_t)count * sizeof *sums);
    struct channel_args a = { .x = channels_of(be, x, 0, count), .dy = channels_of(be, dy, 0, count), .target = dw, .wide = sums };
    if (!per_channel && !sums) return;
    RUN_COLUMNS(be, weight_back, &a, (size_t)count, cells_of(dy));
    struct total_args t = { sums, (size_t)count, dw };
    if (!per_channel) RUN_EACH(be, total, &t, 1);
}

static void cuda_upsample(struct backend *be, const struct tensor *x, struct tensor *y, int stride, double scale) {
    struct spread_args a = { view_of(x), view_of(y), (uint32_t)abs(stride), (float)scale, false };
    if (stride > 0) RUN_EACH(be, spread, &a, elements_of(y));
    else RUN_EACH(be, gather, &a, elements_of(y));
}

static void cuda_upsample_backward(struct backend *be, const struct tensor *dy, struct tensor *dx, int stride, double scale, bool add) {
    struct spread_args a = { view_of(dy), view_of(dx), (uint32_t)abs(stride), (float)scale, add };
    if (stride > 0) RUN_EACH(be, gather, &a, elements_of(dx));
    else RUN_EACH(be, spread, &a, elements_of(dx));
}

static void cuda_reorg(struct backend *be, const struct tensor *x, struct tensor *y, int stride, bool reverse, bool add) {
    struct reorg_args a = { .x = view_of(x), .y = view_of(y), .stride = (uint32_t)stride, .reverse = reverse, .add = add };
    RUN_EACH(be, reorg, &a, elements_of(reverse ? x : y));
}

static void cuda_reorg_old(struct backend *be, const struct tensor *x, struct tensor *y, struct shape deep, int stride, bool reverse,
                           bool add) {
    struct reorg_args a = { view_of(x), view_of(y), deep, (uint32_t)stride, reverse, add };
    RUN_EACH(be, reorg_old, &a, (size_t)y->n * (size_t)deep.c * (size_t)deep.h * (size_t)deep.w);
}

static void cuda_reshape(struct backend *be, const struct tensor *x, struct tensor *y, bool add) {
    struct reshape_args a = { view_of(x), view_of(y), add };
    RUN_EACH(be, reshape, &a, elements_of(y));
}

static void cuda_crop(struct backend *be, const struct tensor *x, struct tensor *y, const struct crop_place *place, double scale,
                      double offset) {
    struct crop_args a = { .x = view_of(x), .y = view_of(y), .scale = (float)scale, .offset = (float)offset };
    a.place = cuda_table(be, SCRATCH_TABLE, place, (size_t)y->n * sizeof *place);
    if (a.place) RUN_EACH(be, crop, &a, elements_of(y));
}

static void cuda_crop_backward(struct backend *be, const struct tensor *dy, struct tensor *dx, const struct crop_place *place,
                               double scale, bool add) {
    struct crop_args a = { .x = view_of(dx), .y = view_of(dy), .scale = (float)scale, .add = add };
    a.place = cuda_table(be, SCRATCH_TABLE, place, (size_t)dy->n * sizeof *place);
    if (a.place) RUN_EACH(be, crop_back, &a, elements_of(dx));
}

/* --- Gates, limits, masks ------------------------------------------------------------------------------------------------ */

static void cuda_gate(struct backend *be, const struct tensor *x, const struct tensor *gate, struct tensor *y) {
    struct gate_args a = { view_of(x), view_of(gate), view_of(y), false };
    RUN_EACH(be, gate, &a, elements_of(y));
}

static void cuda_gate_backward_x(struct backend *be, const struct tensor *gate, const struct tensor *dy, struct tensor *dx, bool add) {
    struct gate_args a = { view_of(dy), view_of(gate), view_of(dx), add };
    RUN_EACH(be, gate, &a, elements_of(dx));
}

static void cuda_gate_backward_gate(struct backend *be, const struct tensor *x, const struct tensor *dy, struct tensor *dgate, bool add) {
    struct gate_args a = { view_of(x), view_of(dy), view_of(dgate), add };
    RUN_COLUMNS(be, gate_back, &a, elements_of(dgate), elements_of(x) / elements_of(dgate));
}

static void cuda_constrain(struct backend *be, const struct tensor *x, double limit, struct tensor *y) {
    struct constrain_args a = { .x = view_of(x), .y = view_of(y), .limit = (float)limit };
    RUN_EACH(be, constrain, &a, elements_of(y));
}

static void cuda_constrain_backward(struct backend *be, const struct tensor *x, double limit, const struct tensor *dy, struct tensor *dx,
                                    bool add) {
    struct constrain_args a = { view_of(x), view_of(dy), view_of(dx), (float)limit, add };
    RUN_EACH(be, constrain_back, &a, elements_of(dx));
}

static void cuda_dropout(struct backend *be, const struct tensor *x, struct tensor *y, double probability, uint64_t seed, bool add) {
    struct dropout_args a = { view_of(x), view_of(y), (float)probability, (float)(1 / (1 - probability)), seed, add };
    RUN_EACH(be, dropout, &a, elements_of(y));
}

static void cuda_mask_channels(struct backend *be, struct tensor *y, const uint8_t *keep) {
    struct mask_args a = { view_of(y), cuda_table(be, SCRATCH_TABLE, keep, (size_t)y->c) };
    if (a.keep) RUN_EACH(be, mask, &a, elements_of(y));
}

static void cuda_drop_blocks(struct backend *be, const struct tensor *x, struct tensor *y, const int32_t *corner, int side,
                             const double *scale, bool add) {
    struct drop_blocks_args a = { .x = view_of(x), .y = view_of(y), .side = side, .add = add };
    a.corner = cuda_table(be, SCRATCH_TABLE, corner, (size_t)y->n * (size_t)y->c * sizeof *corner);
    a.scale = cuda_table(be, SCRATCH_SUMS, scale, (size_t)y->n * sizeof *scale);
    if (a.corner && a.scale) RUN_EACH(be, drop_blocks, &a, elements_of(y));
}

static void cuda_maxpool_depth(struct backend *be, const struct tensor *x, struct tensor *y, int32_t *argmax) {
    struct depth_args a = { view_of(x), view_of(y), argmax };
    RUN_EACH(be, maxpool_depth, &a, elements_of(y));
}

static void cuda_maxpool_depth_backward(struct backend *be, const int32_t *argmax, const struct tensor *dy, struct tensor *dx) {
    struct depth_args a = { view_of(dx), view_of(dy), (int32_t *)argmax };
    RUN_EACH(be, maxpool_depth_back, &a, elements_of(dx));
}

static void cuda_zero_nonmax(struct backend *be, const struct tensor *x, struct tensor *y, int32_t *argmax) {
    struct depth_args a = { view_of(x), view_of(y), argmax };
    RUN_EACH(be, zero_nonmax, &a, elements_of(y));
}

/* --- Sums ----------------------------------------------------------------------------------------------------------------- */

static void cuda_bias_backward(struct backend *be, const struct tensor *dy, real *db) {
    struct channel_args a = { .dy = view_of(dy), .target = db };
    RUN_COLUMNS(be, bias_back, &a, (size_t)dy->c, cells_of(dy));
}

/* Adds n sums of the device to the host's, and n behind them to `second`, which may be NULL: one copy for both. */
static void collect(struct backend *be, const double *sums, size_t n, double *target, double *second) {
    struct device *dev = cuda_device(be);
    size_t all = second ? 2 * n : n;
    double *host = malloc((all + 1) * sizeof *host);
    if (!host) {
        device_fault(dev, ST_MEMORY, "out of memory: %zu sums", all);
        return;
    }
    dev->ops->download(dev, sums, all * sizeof *host, host);
    for (size_t i = 0; i < n && !dev->failed; ++i) target[i] += host[i];
    for (size_t i = 0; second && i < n && !dev->failed; ++i) second[i] += host[n + i];
    free(host);
}

static void cuda_channel_sum(struct backend *be, const struct tensor *x, double *total) {
    struct channel_args a = { .x = view_of(x), .wide = cuda_scratch(be, SCRATCH_SUMS, (size_t)x->c * sizeof *a.wide) };
    if (!a.wide) return;
    RUN_COLUMNS(be, channel_sum, &a, (size_t)x->c, cells_of(x));
    collect(be, a.wide, (size_t)x->c, total, NULL);
}

static void cuda_channel_dot(struct backend *be, const struct tensor *x, const struct tensor *g, int n, int k, const float *maps,
                             double *dot, double *sum) {
    struct tensor one_x = tensor_images(be, x, n, 1), one_g = tensor_images(be, g, n, 1);
    size_t columns = (size_t)k * (size_t)x->c, cells = cells_of(&one_x);
    struct dot_args a = { .x = view_of(&one_x), .g = view_of(&one_g) };
    a.maps = cuda_table(be, SCRATCH_TABLE, maps, (size_t)k * cells * sizeof *maps);
    a.dot = cuda_scratch(be, SCRATCH_SUMS, 2 * columns * sizeof *a.dot);
    if (!a.maps || !a.dot) return;
    a.sum = a.dot + columns;
    RUN_COLUMNS(be, channel_dot, &a, columns, cells);
    collect(be, a.dot, columns, dot, sum);
}

static void cuda_channel_abs_dot(struct backend *be, const struct tensor *x, const struct tensor *g, int n, int k, const float *maps,
                                 const double *mean, double *dot) {
    struct tensor one_x = tensor_images(be, x, n, 1), one_g = tensor_images(be, g, n, 1);
    size_t columns = (size_t)k * (size_t)x->c, cells = cells_of(&one_x);
    struct dot_args a = { .x = view_of(&one_x), .g = view_of(&one_g) };
    a.maps = cuda_table(be, SCRATCH_TABLE, maps, (size_t)k * cells * sizeof *maps);
    a.mean = mean ? cuda_table(be, SCRATCH_STAGE, mean, (size_t)x->c * sizeof *mean) : NULL;
    a.dot = cuda_scratch(be, SCRATCH_SUMS, columns * sizeof *a.dot);
    if (!a.maps || !a.dot || (mean && !a.mean)) return;
    RUN_COLUMNS(be, channel_abs_dot, &a, columns, cells);
    collect(be, a.dot, columns, dot, NULL);
}

void cuda_map_ops(struct backend_ops *ops) {
    ops->fill = cuda_fill;
    ops->to_nchw = cuda_to_nchw;
    ops->from_nchw = cuda_from_nchw;
    ops->maxpool = cuda_maxpool;
    ops->maxpool_backward = cuda_maxpool_backward;
    ops->avgpool = cuda_avgpool;
    ops->avgpool_backward = cuda_avgpool_backward;
    ops->local_avgpool = cuda_local_avgpool;
    ops->local_avgpool_backward = cuda_local_avgpool_backward;
    ops->copy_channels = cuda_copy_channels;
    ops->copy_weighted = cuda_copy_weighted;
    ops->weight_backward = cuda_weight_backward;
    ops->upsample = cuda_upsample;
    ops->upsample_backward = cuda_upsample_backward;
    ops->reorg = cuda_reorg;
    ops->reorg_old = cuda_reorg_old;
    ops->reshape = cuda_reshape;
    ops->crop = cuda_crop;
    ops->crop_backward = cuda_crop_backward;
    ops->gate = cuda_gate;
    ops->gate_backward_x = cuda_gate_backward_x;
    ops->gate_backward_gate = cuda_gate_backward_gate;
    ops->constrain = cuda_constrain;
    ops->constrain_backward = cuda_constrain_backward;
    ops->dropout = cuda_dropout;
    ops->mask_channels = cuda_mask_channels;
    ops->drop_blocks = cuda_drop_blocks;
    ops->maxpool_depth = cuda_maxpool_depth;
    ops->maxpool_depth_backward = cuda_maxpool_depth_backward;
    ops->zero_nonmax = cuda_zero_nonmax;
    ops->bias_backward = cuda_bias_backward;
    ops->channel_sum = cuda_channel_sum;
    ops->channel_dot = cuda_channel_dot;
    ops->channel_abs_dot = cuda_channel_abs_dot;
}
