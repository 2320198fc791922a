/* [avgpool]: mean over the whole map.  x (N, C, H, W) -> y (N, C, 1, 1). */
#include <stdio.h>

#include "layers/layer.h"

static const struct cfg_key keys[] = { CFG_END };

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)ctx, (void)all, (void)net;
    l->out = (struct shape){ 1, l->in_shape[0].c, 1, 1 };
    return ST_OK;
}

static enum status forward(struct layer *l, struct pass *p) {
    (void)l;
    p->be->ops->avgpool(p->be, p->x[0], p->y);
    return ST_OK;
}

static enum status backward(struct layer *l, struct pass *p) {
    (void)l;
    if (p->dx[0]) p->be->ops->avgpool_backward(p->be, p->dy, p->dx[0], p->add[0]);
    return ST_OK;
}

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    channels_tie_all(ch, l, 0);
}

static void describe(const struct layer *l, char *text, size_t size) {
    struct shape in = l->in_shape[0];
    snprintf(text, size, "avg                          %4d x%4d x%4d ->   %4d", in.w, in.h, in.c, in.c);
}

const struct layer_ops avgpool_ops = {
    .name = "avgpool", .alias = "avg", .keys = keys, .shape = shape, .repeats = layer_repeats, .views = layer_views, .narrow = layer_views, .steady = layer_steady, .forward = forward, .backward = backward, .couple = couple,
    .describe = describe
};
