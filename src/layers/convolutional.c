/* [convolutional]: cross-correlation, batch norm or bias, activation (darknet-compat 2.1).
 * x (N, C, H, W), weights (filters, C/groups, size, size) -> y (N, filters, OH, OW). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "layers/layer.h"

struct conv {
    int filters, groups, size, stride, stride_x, stride_y, dilation, pad, padding, batch_normalize, activation;
};

struct conv_run {
    struct conv_plan *plan;
    real *w, *bias;            /* batch norm folded in, when it runs on rolling statistics */
    real *mean, *var;          /* of the batch */
    struct tensor linear, pre; /* the convolution's output; the input of an activation whose slope needs it */
};

enum { BIAS = 0, SCALE = 1, MEAN = 2, VARIANCE = 3 }; /* rows of layer.param with batch norm; the weights come last */

static const struct cfg_key keys[] = {
    CFG_INT(struct conv, filters, 1, 1, 1 << 20),
    CFG_INT(struct conv, groups, 1, 1, 1 << 20),
    CFG_INT(struct conv, size, 1, 1, 1024),
    CFG_INT(struct conv, stride, 1, 1, 1024),
    CFG_INT(struct conv, stride_x, -1, -1, 1024),
    CFG_INT(struct conv, stride_y, -1, -1, 1024),
    CFG_INT(struct conv, dilation, 1, 1, 1024),
    CFG_BOOL(struct conv, pad, 0),
    CFG_INT(struct conv, padding, 0, 0, 1024),
    CFG_BOOL(struct conv, batch_normalize, 0),
    { .name = "activation", .type = CFG_T_CHOICE, .offset = offsetof(struct conv, activation), .def = ACT_LOGISTIC,
      .choices = activation_choices },
    CFG_MISSING("cbn", 0), CFG_MISSING("binary", 0), CFG_MISSING("xnor", 0), CFG_MISSING("bin_output", 0),
    CFG_MISSING("antialiasing", 0), CFG_MISSING("share_index", -1000000000), CFG_MISSING("sway", 0),
    CFG_MISSING("rotate", 0), CFG_MISSING("stretch", 0), CFG_MISSING("stretch_sway", 0), CFG_MISSING("flipped", 0),
    CFG_MISSING("coordconv", 0), CFG_MISSING("reverse", 0),
    CFG_TRAINING("assisted_excitation", 0), CFG_TRAINING("grad_centr", 0), CFG_TRAINING("dot", 0),
    CFG_IGNORED("angle"), CFG_IGNORED("stream"), CFG_IGNORED("wait_stream"),
    CFG_END
};

static int padding_of(const struct conv *c) { return (c->pad ? c->size / 2 : c->padding) * c->dilation; }

static bool depthwise(const struct layer *l) {
    const struct conv *c = l->state;
    return c->groups > 1 && c->groups == l->in_shape[0].c;
}

static double flops_at(const struct layer *l, int in_c, int out_c) {
    const struct conv *c = l->state;
    int per_group = depthwise(l) ? 1 : in_c / c->groups;
    return 2.0 * out_c * per_group * c->size * c->size * l->out.h * l->out.w;
}

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)all, (void)net;
    struct conv *c = l->state;
    struct shape in = l->in_shape[0];
    if (c->stride_x < 1) c->stride_x = c->stride;
    if (c->stride_y < 1) c->stride_y = c->stride;
    if (c->size == 1) c->dilation = 1;
    if (in.c % c->groups || c->filters % c->groups)
        return layer_fail(ctx, l, "groups", "%d does not divide both the %d input channels and the %d filters", c->groups, in.c,
                          c->filters);
    int span = c->dilation * (c->size - 1) + 1, pad = padding_of(c);
    int w = in.w + 2 * pad - span, h = in.h + 2 * pad - span;
    if (w < 0 || h < 0)
        return layer_fail(ctx, l, "size", "a kernel over %d cells with padding %d does not fit into an input of %d x %d", span, pad,
                          in.w, in.h);
    l->out = (struct shape){ 1, c->filters, h / c->stride_y + 1, w / c->stride_x + 1 };

    int n = c->filters, per = in.c / c->groups, cells = c->size * c->size;
    double span_init = sqrt(2.0 / ((double)cells * per));
    l->n_param = 0;
    struct param channel = { .role = PARAM_BIAS, .dim = { n, 1, 1 }, .out_axis = 0, .in_axis = -1, .flags = PARAM_TRAIN };
    channel.name = "biases";
    layer_param(l, &channel);
    if (c->batch_normalize) {
        channel.name = "scales", channel.role = PARAM_SCALE, channel.init_mean = 1;
        layer_param(l, &channel);
        channel.name = "rolling_mean", channel.role = PARAM_MEAN, channel.init_mean = 0, channel.flags = 0;
        layer_param(l, &channel);
        channel.name = "rolling_variance", channel.role = PARAM_VARIANCE;
        layer_param(l, &channel);
    }
    layer_param(l, &(struct param){ .name = "weights", .role = PARAM_WEIGHT, .dim = { n, per, cells }, .out_axis = 0,
                                    .in_axis = depthwise(l) ? -1 : 1, .flags = PARAM_TRAIN | PARAM_DECAY, .init_span = span_init });
    l->flops = flops_at(l, in.c, n);
    return ST_OK;
}

static int weights_row(const struct layer *l) { return l->n_param - 1; }

/* Batch norm on rolling statistics is a convolution with other weights and bias. */
static bool folded(const struct layer *l, enum net_mode mode) {
    const struct conv *c = l->state;
    return c->batch_normalize && mode != NET_TRAIN;
}

static bool keeps_pre(const struct layer *l, enum net_mode mode) {
    const struct conv *c = l->state;
    return mode != NET_INFER && activation_needs_input((enum activation)c->activation);
}

static enum status prepare(struct layer *l, struct pass *p) {
    const struct conv *c = l->state;
    const struct backend_ops *ops = p->be->ops;
    struct conv_run *run = l->run = mem_zero(p->ctx, 1, sizeof *run);
    if (!run) return ST_MEMORY;
    bool batch_stats = c->batch_normalize && p->mode == NET_TRAIN, pre = keeps_pre(l, p->mode);
    struct conv_desc d = { .x = *p->x[0], .y = *p->y, .groups = c->groups, .size = c->size, .stride_x = c->stride_x,
                           .stride_y = c->stride_y, .dilation = c->dilation, .pad = padding_of(c), .bias = !batch_stats,
                           .act = batch_stats || pre ? ACT_LINEAR : (enum activation)c->activation,
                           .backward = p->mode != NET_INFER };
    TRY(ops->conv_new(p->be, p->ctx, &d, &run->plan));
    size_t n = (size_t)c->filters, out = shape_count((struct shape){ p->batch, l->out.c, l->out.h, l->out.w });
    if (batch_stats) {
        run->linear = shape_tensor(p->be, l->out, p->batch, ops->alloc(p->be, p->ctx, out));
        run->mean = ops->alloc(p->be, p->ctx, n);
        run->var = ops->alloc(p->be, p->ctx, n);
    }
    if (pre) run->pre = shape_tensor(p->be, l->out, p->batch, ops->alloc(p->be, p->ctx, out));
    if (folded(l, p->mode)) {
        run->w = ops->alloc(p->be, p->ctx, param_count(&l->param[weights_row(l)]));
        run->bias = ops->alloc(p->be, p->ctx, n);
    }
    return p->ctx->code;
}

static void release(struct layer *l, struct backend *be) {
    struct conv_run *run = l->run;
    if (!run) return;
    if (run->plan) be->ops->conv_free(be, run->plan);
    be->ops->free(be, run->w);
    be->ops->free(be, run->bias);
    be->ops->free(be, run->mean);
    be->ops->free(be, run->var);
    be->ops->free(be, run->linear.data);
    be->ops->free(be, run->pre.data);
    free(run);
    l->run = NULL;
}

static enum status refresh(struct layer *l, struct pass *p) {
    struct conv_run *run = l->run;
    const struct backend_ops *ops = p->be->ops;
    int w = weights_row(l);
    if (!folded(l, p->mode)) return ops->conv_weights(p->be, p->ctx, run->plan, p->param[w]);
    ops->bn_fold(p->be, p->param[w], param_count(&l->param[w]) / (size_t)l->out.c, l->out.c, p->param[SCALE], p->param[BIAS],
                 p->param[MEAN], p->param[VARIANCE], run->w, run->bias);
    return ops->conv_weights(p->be, p->ctx, run->plan, run->w);
}

static enum status forward(struct layer *l, struct pass *p) {
    const struct conv *c = l->state;
    struct conv_run *run = l->run;
    const struct backend_ops *ops = p->be->ops;
    struct tensor *pre = run->pre.data ? &run->pre : NULL;
    if (!c->batch_normalize || folded(l, p->mode)) {
        TRY(ops->conv_forward(p->be, p->ctx, run->plan, p->x[0], run->bias ? run->bias : p->param[BIAS], pre ? pre : p->y));
        if (pre) ops->act_forward(p->be, (enum activation)c->activation, pre, p->y);
        return ST_OK;
    }
    TRY(ops->conv_forward(p->be, p->ctx, run->plan, p->x[0], NULL, &run->linear));
    ops->bn_forward(p->be, &run->linear, p->param[SCALE], p->param[BIAS], run->mean, run->var, (enum activation)c->activation, pre, p->y);
    double m = (double)p->batch * l->out.h * l->out.w;
    ops->bn_roll(p->be, p->param[MEAN], run->mean, (size_t)l->out.c, BN_MOMENTUM, 1);
    ops->bn_roll(p->be, p->param[VARIANCE], run->var, (size_t)l->out.c, BN_MOMENTUM, m > 1 ? m / (m - 1) : 1);
    return ST_OK;
}

/* Deleting a channel acts on what its readers receive, so the pruner looks at this edge's own gradient. */
static enum status send_to_input(struct layer *l, struct pass *p) {
    struct conv_run *run = l->run;
    const struct backend_ops *ops = p->be->ops;
    bool watched = p->hook && p->hook->reader && !depthwise(l);
    if (!watched || !p->add[0]) {
        TRY(ops->conv_backward_data(p->be, p->ctx, run->plan, p->dy, p->dx[0], p->add[0]));
        return watched ? p->hook->reader(p->hook->user, p, l, p->x[0], p->dx[0]) : ST_OK;
    }
    struct tensor edge = shape_tensor(p->be, l->in_shape[0], p->batch, p->scratch);
    TRY(ops->conv_backward_data(p->be, p->ctx, run->plan, p->dy, &edge, false));
    TRY(p->hook->reader(p->hook->user, p, l, p->x[0], &edge));
    ops->copy_channels(p->be, &edge, 0, p->dx[0], 0, edge.c, 1, true);
    return ST_OK;
}

static enum status backward(struct layer *l, struct pass *p) {
    const struct conv *c = l->state;
    struct conv_run *run = l->run;
    const struct backend_ops *ops = p->be->ops;
    struct tensor *pre = run->pre.data ? &run->pre : NULL;
    bool train = p->mode == NET_TRAIN;
    if (c->batch_normalize && train) {
        ops->bn_backward(p->be, &run->linear, p->param[SCALE], run->mean, run->var, (enum activation)c->activation, pre, p->y, p->dy, p->dy,
                         p->grad[SCALE], p->grad[BIAS]);
    } else {
        if (c->activation != ACT_LINEAR) ops->act_backward(p->be, (enum activation)c->activation, pre, p->y, p->dy, p->dy, false);
        if (train) ops->bias_backward(p->be, p->dy, p->grad[BIAS]);
    }
    if (train) TRY(ops->conv_backward_weights(p->be, p->ctx, run->plan, p->x[0], p->dy, p->grad[weights_row(l)]));
    return p->dx[0] ? send_to_input(l, p) : ST_OK;
}

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    const struct conv *c = l->state;
    int in = l->in[0], per_in = l->in_shape[0].c / c->groups, per_out = c->filters / c->groups;
    if (c->groups == 1) return;
    if (depthwise(l)) {
        for (int k = 0; k < c->filters; ++k) channels_tie(ch, l->index, k, in, k / per_out);
        return;
    }
    for (int g = 1; g < c->groups; ++g) { /* the same local index in every group, or the groups would shift */
        for (int k = 0; k < per_in; ++k) channels_tie(ch, in, k, in, g * per_in + k);
        for (int k = 0; k < per_out; ++k) channels_tie(ch, l->index, k, l->index, g * per_out + k);
    }
}

static enum status rewrite(struct ctx *ctx, const struct layer *l, int kept_in, int kept_out, struct cfg_doc *doc) {
    const struct conv *c = l->state;
    if (kept_out != c->filters) TRY(cfg_set_int(ctx, doc, l->index + 1, "filters", kept_out));
    if (depthwise(l) && kept_in != c->groups) TRY(cfg_set_int(ctx, doc, l->index + 1, "groups", kept_in));
    return ST_OK;
}

static bool reads(const struct layer *l) { return !depthwise(l); }

static void describe(const struct layer *l, char *text, size_t size) {
    const struct conv *c = l->state;
    struct shape in = l->in_shape[0];
    char filters[32], kernel[64];
    if (c->groups > 1) snprintf(filters, sizeof filters, "%5d/%4d ", c->filters, c->groups);
    else snprintf(filters, sizeof filters, "%5d      ", c->filters);
    if (c->stride_x != c->stride_y)
        snprintf(kernel, sizeof kernel, "%2dx%2d/%2dx%2d ", c->size, c->size, c->stride_x, c->stride_y);
    else if (c->dilation > 1)
        snprintf(kernel, sizeof kernel, "%2d x%2d/%2d(%1d)", c->size, c->size, c->stride_x, c->dilation);
    else
        snprintf(kernel, sizeof kernel, "%2d x%2d/%2d   ", c->size, c->size, c->stride_x);
    snprintf(text, size, "conv  %s%s%4d x%4d x%4d -> %4d x%4d x%4d %5.3f BF", filters, kernel, in.w, in.h, in.c, l->out.w, l->out.h,
             l->out.c, l->flops / 1e9);
}

const struct layer_ops convolutional_ops = {
    .name = "convolutional", .alias = "conv", .state_size = sizeof(struct conv), .keys = keys, .shape = shape, .prepare = prepare,
    .refresh = refresh, .forward = forward, .backward = backward, .release = release, .couple = couple, .rewrite = rewrite,
    .flops_at = flops_at, .reads = reads, .describe = describe
};
