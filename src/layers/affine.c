#include "layers/affine.h"

#include <math.h>
#include <stdlib.h>

struct affine_slice {
    real *mean, *var;          /* of the batch */
    struct tensor linear, pre; /* W*x; the input of an activation whose slope needs it */
    struct tensor flat;        /* x in the order c, h, w, kept for the weights' gradient */
};

struct affine_desc affine_matrix(struct shape x, int outputs, bool batch_normalize, enum activation act) {
    return (struct affine_desc){ .x = x, .y = { 1, outputs, 1, 1 }, .groups = 1, .batch_normalize = batch_normalize, .act = act };
}

static bool matrix(const struct affine_desc *d) { return d->size == 0; }

/* Cells of the kernel; of the whole map for a matrix. */
static int cells(const struct affine_desc *d) { return matrix(d) ? d->x.h * d->x.w : d->size * d->size; }

static size_t weights_per_output(const struct affine_desc *d) { return (size_t)(d->x.c / d->groups) * (size_t)cells(d); }

double affine_flops(const struct affine_desc *d) {
    return 2.0 * (double)weights_per_output(d) * d->y.c * d->y.h * d->y.w;
}

static void weights_param(struct layer *l, const struct affine_desc *d, int out_axis, int in_axis) {
    double span = sqrt(2.0 / (double)weights_per_output(d));
    unsigned flags = PARAM_TRAIN | PARAM_DECAY | (matrix(d) ? PARAM_MATRIX : 0u);
    layer_param(l, &(struct param){ .name = "weights", .role = PARAM_WEIGHT, .dim = { d->y.c, d->x.c / d->groups, cells(d) },
                                    .out_axis = out_axis, .in_axis = in_axis, .flags = flags, .init_span = span });
}

struct affine_rows affine_params(struct layer *l, const struct affine_desc *d, unsigned sides) {
    int out_axis = sides & AFFINE_OUT ? 0 : -1, in_axis = sides & AFFINE_IN ? 1 : -1;
    struct affine_rows rows = { .bias = l->n_param, .scale = -1 };
    struct param channel = { .name = "biases", .role = PARAM_BIAS, .dim = { d->y.c, 1, 1 }, .out_axis = out_axis, .in_axis = -1,
                             .flags = PARAM_TRAIN };
    layer_param(l, &channel);
    if (matrix(d)) {
        rows.weights = l->n_param;
        weights_param(l, d, out_axis, in_axis);
    }
    if (d->batch_normalize) {
        rows.scale = l->n_param;
        channel.name = "scales", channel.role = PARAM_SCALE, channel.init_mean = 1;
        layer_param(l, &channel);
        channel.name = "rolling_mean", channel.role = PARAM_MEAN, channel.init_mean = 0, channel.flags = 0;
        layer_param(l, &channel);
        channel.name = "rolling_variance", channel.role = PARAM_VARIANCE;
        layer_param(l, &channel);
    }
    if (!matrix(d)) {
        rows.weights = l->n_param;
        weights_param(l, d, out_axis, in_axis);
    }
    return rows;
}

/* --- memory --------------------------------------------------------------------------------------------------------- */

static struct tensor room(struct affine *a, struct pass *p, struct shape s) {
    return shape_tensor(p->be, s, a->images, p->be->ops->alloc(p->be, p->ctx, (size_t)a->images * shape_count(s)));
}

static struct shape flat_shape(const struct affine_desc *d) { return (struct shape){ 1, (int)shape_count(d->x), 1, 1 }; }

/* Batch norm on rolling statistics is a map with other weights and bias. */
static bool folded(const struct affine *a, enum net_mode mode) { return a->d.batch_normalize && mode != NET_TRAIN; }

static enum status open_slices(struct affine *a, struct pass *p, bool batch_stats, bool pre, bool copies) {
    a->slice = mem_zero(p->ctx, (size_t)a->slices, sizeof *a->slice);
    if (!a->slice) return ST_MEMORY;
    for (int i = 0; i < a->slices && p->ctx->code == ST_OK; ++i) {
        struct affine_slice *s = &a->slice[i];
        if (batch_stats) {
            s->mean = p->be->ops->alloc(p->be, p->ctx, (size_t)a->d.y.c);
            s->var = p->be->ops->alloc(p->be, p->ctx, (size_t)a->d.y.c);
            s->linear = room(a, p, a->d.y);
        }
        if (pre) s->pre = room(a, p, a->d.y);
        if (copies && p->mode == NET_TRAIN) s->flat = room(a, p, flat_shape(&a->d));
    }
    return p->ctx->code;
}

enum status affine_open(struct affine *a, struct pass *p, const struct affine_desc *d, struct affine_rows rows, int images, int slices) {
    const struct backend_ops *ops = p->be->ops;
    *a = (struct affine){ .d = *d, .rows = rows, .images = images, .slices = slices };
    bool batch_stats = d->batch_normalize && p->mode == NET_TRAIN, pre = p->mode != NET_INFER && activation_needs_input(d->act);
    struct conv_desc conv = { .x = shape_tensor(p->be, d->x, images, NULL), .y = shape_tensor(p->be, d->y, images, NULL),
                              .groups = d->groups, .size = d->size, .stride_x = d->stride, .stride_y = d->stride,
                              .dilation = d->dilation, .pad = d->pad, .bias = !batch_stats,
                              .act = batch_stats || pre ? ACT_LINEAR : d->act, .backward = p->mode != NET_INFER };
    bool copies = false;
    if (matrix(d)) {
        copies = !tensor_planar(&conv.x);
        conv.x = shape_tensor(p->be, flat_shape(d), images, NULL);
        conv.size = conv.stride_x = conv.stride_y = conv.dilation = 1;
        conv.pad = 0;
    }
    TRY(ops->conv_new(p->be, p->ctx, &conv, &a->plan));
    TRY(open_slices(a, p, batch_stats, pre, copies));
    if (copies && p->mode != NET_TRAIN) a->flat = room(a, p, flat_shape(d));
    if (copies && p->mode != NET_INFER) a->dflat = room(a, p, flat_shape(d));
    if (folded(a, p->mode)) {
        a->w = ops->alloc(p->be, p->ctx, (size_t)d->y.c * weights_per_output(d));
        a->bias = ops->alloc(p->be, p->ctx, (size_t)d->y.c);
    }
    return p->ctx->code;
}

void affine_close(struct affine *a, struct backend *be) {
    if (a->plan) be->ops->conv_free(be, a->plan);
    be->ops->free(be, a->w);
    be->ops->free(be, a->bias);
    be->ops->free(be, a->flat.data);
    be->ops->free(be, a->dflat.data);
    for (int i = 0; a->slice && i < a->slices; ++i) {
        be->ops->free(be, a->slice[i].mean);
        be->ops->free(be, a->slice[i].var);
        be->ops->free(be, a->slice[i].linear.data);
        be->ops->free(be, a->slice[i].pre.data);
        be->ops->free(be, a->slice[i].flat.data);
    }
    free(a->slice);
    *a = (struct affine){ 0 };
}

/* --- passes --------------------------------------------------------------------------------------------------------- */

enum status affine_refresh(struct affine *a, struct pass *p) {
    const struct backend_ops *ops = p->be->ops;
    const real *w = p->param[a->rows.weights];
    if (!folded(a, p->mode)) return ops->conv_weights(p->be, p->ctx, a->plan, w);
    int scale = a->rows.scale;
    ops->bn_fold(p->be, w, weights_per_output(&a->d), a->d.y.c, p->param[scale], p->param[a->rows.bias], p->param[scale + 1],
                 p->param[scale + 2], a->w, a->bias);
    return ops->conv_weights(p->be, p->ctx, a->plan, a->w);
}

/* The values of t as one column per image: another view where the layout permits, else through `copy` (which the caller
 * fills). */
static struct tensor flat_view(const struct tensor *t, const struct tensor *copy) {
    if (copy->data) return *copy;
    struct tensor view = *t;
    view.c = t->c * t->h * t->w;
    view.h = view.w = 1;
    view.sc = 1;
    view.sh = view.sw = view.sn;
    return view;
}

static const struct tensor *flat_copy(const struct affine *a, int slice) {
    return a->flat.data ? &a->flat : &a->slice[slice].flat;
}

enum status affine_forward(struct affine *a, struct pass *p, int slice, const struct tensor *x, struct tensor *y) {
    const struct backend_ops *ops = p->be->ops;
    struct affine_slice *s = &a->slice[slice];
    struct tensor in = *x, *pre = s->pre.data ? &s->pre : NULL;
    if (matrix(&a->d)) {
        in = flat_view(x, flat_copy(a, slice));
        if (in.data != x->data) ops->reshape(p->be, x, &in, false);
    }
    if (!s->linear.data) {
        TRY(ops->conv_forward(p->be, p->ctx, a->plan, &in, a->bias ? a->bias : p->param[a->rows.bias], pre ? pre : y));
        if (pre) ops->act_forward(p->be, a->d.act, pre, y);
        return ST_OK;
    }
    int scale = a->rows.scale;
    size_t n = (size_t)a->d.y.c;
    TRY(ops->conv_forward(p->be, p->ctx, a->plan, &in, NULL, &s->linear));
    ops->bn_forward(p->be, &s->linear, p->param[scale], p->param[a->rows.bias], s->mean, s->var, a->d.act, pre, y);
    double m = (double)a->images * a->d.y.h * a->d.y.w;
    ops->bn_roll(p->be, p->param[scale + 1], s->mean, n, BN_MOMENTUM, 1);
    ops->bn_roll(p->be, p->param[scale + 2], s->var, n, BN_MOMENTUM, m > 1 ? m / (m - 1) : 1);
    return ST_OK;
}

enum status affine_backward(struct affine *a, struct pass *p, int slice, const struct tensor *x, const struct tensor *y,
                            struct tensor *dy, struct tensor *dx, bool add) {
    const struct backend_ops *ops = p->be->ops;
    struct affine_slice *s = &a->slice[slice];
    struct tensor *pre = s->pre.data ? &s->pre : NULL;
    bool train = p->mode == NET_TRAIN;
    int scale = a->rows.scale;
    if (s->linear.data) {
        ops->bn_backward(p->be, &s->linear, p->param[scale], s->mean, s->var, a->d.act, pre, y, dy, dy, p->grad[scale],
                         p->grad[a->rows.bias]);
    } else {
        if (a->d.act != ACT_LINEAR) ops->act_backward(p->be, a->d.act, pre, y, dy, dy, false);
        if (train) ops->bias_backward(p->be, dy, p->grad[a->rows.bias]);
    }
    if (p->grad[a->rows.weights]) {
        struct tensor in = matrix(&a->d) ? flat_view(x, flat_copy(a, slice)) : *x;
        TRY(ops->conv_backward_weights(p->be, p->ctx, a->plan, &in, dy, p->grad[a->rows.weights]));
    }
    if (!dx) return ST_OK;
    if (!matrix(&a->d)) return ops->conv_backward_data(p->be, p->ctx, a->plan, dy, dx, add);
    struct tensor to = flat_view(dx, &a->dflat);
    bool copied = a->dflat.data != NULL;
    TRY(ops->conv_backward_data(p->be, p->ctx, a->plan, dy, &to, add && !copied));
    if (copied) ops->reshape(p->be, &to, dx, add);
    return ST_OK;
}
