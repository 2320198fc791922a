/* [local]: a convolution whose filters differ from place to place (darknet-compat 2.17).
 * x (N, C, H, W), weights (OH*OW, filters, C*size*size), biases (filters, OH, OW) -> y (N, filters, OH, OW).
 * pad=1 pads by size/2; upstream pads by 1, which fits its output size for size=3 only. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "layers/layer.h"

struct local { int filters, size, stride, pad, activation; };
enum { BIASES, WEIGHTS };

static const struct cfg_key keys[] = {
    CFG_INT(struct local, filters, 1, 1, 1 << 20),
    CFG_INT(struct local, size, 1, 1, 1024),
    CFG_INT(struct local, stride, 1, 1, 1024),
    CFG_BOOL(struct local, pad, 0),
    { .name = "activation", .type = CFG_T_CHOICE, .offset = offsetof(struct local, activation), .def = ACT_LOGISTIC,
      .choices = activation_choices },
    CFG_END
};

static struct local_desc desc(const struct layer *l) {
    const struct local *k = l->state;
    return (struct local_desc){ k->size, k->stride, k->pad ? k->size / 2 : 0 };
}

static enum activation act(const struct layer *l) { return (enum activation)((const struct local *)l->state)->activation; }

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)all, (void)net;
    const struct local *k = l->state;
    struct shape in = l->in_shape[0];
    int less = k->pad ? 1 : k->size;
    if (in.w < less || in.h < less)
        return layer_fail(ctx, l, "size", "filters of %d x %d do not fit an input of %d x %d", k->size, k->size, in.w, in.h);
    l->out = (struct shape){ 1, k->filters, (in.h - less) / k->stride + 1, (in.w - less) / k->stride + 1 };
    int places = l->out.h * l->out.w;
    double taps = (double)in.c * k->size * k->size;
    if (taps * k->filters * places > 0x7fffffff)
        return layer_fail(ctx, l, "filters", "%d filters for %d places are more weights than can be", k->filters, places);
    layer_param(l, &(struct param){ .name = "biases", .role = PARAM_BIAS, .dim = { k->filters, places, 1 }, .out_axis = -1, .in_axis = -1,
                                    .flags = PARAM_TRAIN });
    layer_param(l, &(struct param){ .name = "weights", .role = PARAM_WEIGHT, .dim = { places, k->filters, (int)taps }, .out_axis = -1,
                                    .in_axis = -1, .flags = PARAM_TRAIN | PARAM_DECAY, .init_span = sqrt(2 / taps) });
    return ST_OK;
}

static enum status prepare(struct layer *l, struct pass *p) {
    struct tensor *pre = l->run = mem_zero(p->ctx, 1, sizeof *pre);
    if (!pre) return ST_MEMORY;
    if (p->mode != NET_INFER && activation_needs_input(act(l)))
        *pre = shape_tensor(p->be, l->out, p->batch, p->be->ops->alloc(p->be, p->ctx, (size_t)p->batch * shape_count(l->out)));
    return p->ctx->code;
}

static void release(struct layer *l, struct backend *be) {
    struct tensor *pre = l->run;
    if (pre) be->ops->free(be, pre->data);
    free(pre);
    l->run = NULL;
}

static enum status forward(struct layer *l, struct pass *p) {
    struct local_desc d = desc(l);
    struct tensor *pre = l->run, *sum = pre->data ? pre : p->y;
    p->be->ops->local(p->be, &d, p->x[0], p->param[WEIGHTS], p->param[BIASES], sum);
    if (act(l) != ACT_LINEAR) p->be->ops->act_forward(p->be, act(l), sum, p->y);
    return ST_OK;
}

static enum status backward(struct layer *l, struct pass *p) {
    const struct backend_ops *ops = p->be->ops;
    struct local_desc d = desc(l);
    struct tensor *pre = l->run;
    if (act(l) != ACT_LINEAR) ops->act_backward(p->be, act(l), pre->data ? pre : NULL, p->y, p->dy, p->dy, false);
    if (p->mode == NET_TRAIN) ops->local_backward_weights(p->be, &d, p->x[0], p->dy, p->grad[WEIGHTS], p->grad[BIASES]);
    if (p->dx[0]) ops->local_backward_data(p->be, &d, p->param[WEIGHTS], p->dy, p->dx[0], p->add[0]);
    return ST_OK;
}

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    channels_freeze(ch, l->in[0], "read by [local], which has weights for every place");
    channels_freeze(ch, l->index, "[local] has weights for every place");
}

static void describe(const struct layer *l, char *text, size_t size) {
    struct shape in = l->in_shape[0];
    snprintf(text, size, "Local Layer: %d x %d x %d image, %d filters -> %d x %d x %d image", in.h, in.w, in.c, l->out.c, l->out.h, l->out.w,
             l->out.c);
}

const struct layer_ops local_ops = {
    .name = "local", .state_size = sizeof(struct local), .keys = keys, .shape = shape, .prepare = prepare, .forward = forward,
    .backward = backward, .release = release, .narrow = layer_views, .couple = couple, .describe = describe
};
