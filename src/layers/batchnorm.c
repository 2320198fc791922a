/* [batchnorm] that stands alone: y = scale*(x - mean)/sqrt(variance + 1e-5) + bias per channel (darknet-compat 2.12).
 * On rolling statistics that is a depthwise convolution of size 1, and runs as one. */
#include <stdio.h>
#include <stdlib.h>

#include "layers/layer.h"

enum { BIAS, SCALE, MEAN, VARIANCE }; /* rows of layer.param */

struct batchnorm_run {
    real *mean, *var;        /* TRAIN: of the batch */
    struct conv_plan *plan;  /* else: the factor per channel as a convolution, */
    real *one, *w, *bias;    /* folded from weights of 1 */
};

static const struct cfg_key keys[] = { CFG_END };

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)ctx, (void)all, (void)net;
    l->out = l->in_shape[0];
    struct param channel = { .name = "biases", .role = PARAM_BIAS, .dim = { l->out.c, 1, 1 }, .out_axis = 0, .in_axis = -1,
                             .flags = PARAM_TRAIN };
    layer_param(l, &channel);
    channel.name = "scales", channel.role = PARAM_SCALE, channel.init_mean = 1;
    layer_param(l, &channel);
    channel.name = "rolling_mean", channel.role = PARAM_MEAN, channel.init_mean = 0, channel.flags = 0;
    layer_param(l, &channel);
    channel.name = "rolling_variance", channel.role = PARAM_VARIANCE;
    layer_param(l, &channel);
    return ST_OK;
}

static enum status prepare(struct layer *l, struct pass *p) {
    const struct backend_ops *ops = p->be->ops;
    struct batchnorm_run *run = l->run = mem_zero(p->ctx, 1, sizeof *run);
    size_t n = (size_t)l->out.c;
    if (!run) return ST_MEMORY;
    if (p->mode == NET_TRAIN) {
        run->mean = ops->alloc(p->be, p->ctx, n);
        run->var = ops->alloc(p->be, p->ctx, n);
        return p->ctx->code;
    }
    struct conv_desc d = { .x = *p->x[0], .y = *p->y, .groups = l->out.c, .size = 1, .stride_x = 1, .stride_y = 1, .dilation = 1,
                           .bias = true, .act = ACT_LINEAR, .backward = p->mode == NET_SCORE };
    TRY(ops->conv_new(p->be, p->ctx, &d, &run->plan));
    run->one = ops->alloc(p->be, p->ctx, n);
    run->w = ops->alloc(p->be, p->ctx, n);
    run->bias = ops->alloc(p->be, p->ctx, n);
    if (p->ctx->code != ST_OK) return p->ctx->code;
    struct tensor one = tensor_of(p->be, (struct shape){ 1, l->out.c, 1, 1 }, run->one);
    ops->fill(p->be, &one, 1);
    return ST_OK;
}

static void release(struct layer *l, struct backend *be) {
    struct batchnorm_run *run = l->run;
    if (!run) return;
    if (run->plan) be->ops->conv_free(be, run->plan);
    be->ops->free(be, run->mean);
    be->ops->free(be, run->var);
    be->ops->free(be, run->one);
    be->ops->free(be, run->w);
    be->ops->free(be, run->bias);
    free(run);
    l->run = NULL;
}

static enum status refresh(struct layer *l, struct pass *p) {
    struct batchnorm_run *run = l->run;
    const struct backend_ops *ops = p->be->ops;
    if (!run->plan) return ST_OK;
    ops->bn_fold(p->be, run->one, 1, l->out.c, p->param[SCALE], p->param[BIAS], p->param[MEAN], p->param[VARIANCE], run->w, run->bias);
    return ops->conv_weights(p->be, p->ctx, run->plan, run->w);
}

static enum status forward(struct layer *l, struct pass *p) {
    struct batchnorm_run *run = l->run;
    const struct backend_ops *ops = p->be->ops;
    if (run->plan) return ops->conv_forward(p->be, p->ctx, run->plan, p->x[0], run->bias, p->y);
    ops->bn_forward(p->be, p->x[0], p->param[SCALE], p->param[BIAS], run->mean, run->var, ACT_LINEAR, NULL, p->y);
    double m = (double)p->batch * l->out.h * l->out.w;
    ops->bn_roll(p->be, p->param[MEAN], run->mean, (size_t)l->out.c, BN_MOMENTUM, 1);
    ops->bn_roll(p->be, p->param[VARIANCE], run->var, (size_t)l->out.c, BN_MOMENTUM, m > 1 ? m / (m - 1) : 1);
    return ST_OK;
}

static enum status backward(struct layer *l, struct pass *p) {
    struct batchnorm_run *run = l->run;
    const struct backend_ops *ops = p->be->ops;
    if (run->plan) return p->dx[0] ? ops->conv_backward_data(p->be, p->ctx, run->plan, p->dy, p->dx[0], p->add[0]) : ST_OK;
    ops->bn_backward(p->be, p->x[0], p->param[SCALE], run->mean, run->var, ACT_LINEAR, NULL, p->y, p->dy, p->dy, p->grad[SCALE],
                     p->grad[BIAS]);
    if (p->dx[0]) ops->copy_channels(p->be, p->dy, 0, p->dx[0], 0, l->out.c, 1, p->add[0]);
    return ST_OK;
}

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    channels_tie_all(ch, l, 0);
}

static void describe(const struct layer *l, char *text, size_t size) {
    snprintf(text, size, "Batch Normalization Layer: %d x %d x %d image", l->out.w, l->out.h, l->out.c);
}

const struct layer_ops batchnorm_ops = {
    .name = "batchnorm", .keys = keys, .shape = shape, .prepare = prepare, .refresh = refresh, .steady = layer_steady, .forward = forward,
    .backward = backward, .release = release, .narrow = layer_views, .couple = couple, .describe = describe
};
