/* [reorg], the one that YOLOv2's weights were trained with (darknet-compat 2.10).
 * QUIRK, kept for published weights: it permutes x (C, H, W) by the rule for C/s^2 channels of sH x sW, and the result is then
 * read as (C*s^2, H/s, W/s).  reverse=1: the inverse permutation, read as (C/s^2, sH, sW).  [reorg3d] is the clean form. */
#include <stdio.h>

#include "layers/layer.h"

struct reorg { int stride, reverse; };

static const struct cfg_key keys[] = {
    CFG_INT(struct reorg, stride, 1, 1, 64),
    CFG_BOOL(struct reorg, reverse, 0),
    CFG_END
};

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)all, (void)net;
    const struct reorg *r = l->state;
    struct shape in = l->in_shape[0];
    int s = r->stride;
    if (in.c % (s * s) || (!r->reverse && (in.w % s || in.h % s)))
        return layer_fail(ctx, l, "stride", "%d does not fit an input of %d x %d x %d", s, in.w, in.h, in.c);
    if (r->reverse) return layer_out(ctx, l, in.c / (s * s), (long long)in.h * s, (long long)in.w * s);
    return layer_out(ctx, l, (long long)in.c * s * s, in.h / s, in.w / s);
}

static enum status forward(struct layer *l, struct pass *p) {
    const struct reorg *r = l->state;
    p->be->ops->reorg_old(p->be, p->x[0], p->y, l->in_shape[0], r->stride, r->reverse, false);
    return ST_OK;
}

static enum status backward(struct layer *l, struct pass *p) {
    const struct reorg *r = l->state;
    if (p->dx[0]) p->be->ops->reorg_old(p->be, p->dy, p->dx[0], l->in_shape[0], r->stride, !r->reverse, p->add[0]);
    return ST_OK;
}

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    channels_freeze(ch, l->in[0], "[reorg] mixes channels and cells");
    channels_freeze(ch, l->index, "[reorg] mixes channels and cells");
}

static void describe(const struct layer *l, char *text, size_t size) {
    struct shape in = l->in_shape[0];
    snprintf(text, size, "reorg_old              /%2d  %4d x%4d x%4d   ->  %4d x%4d x%4d", ((const struct reorg *)l->state)->stride,
             in.w, in.h, in.c, l->out.w, l->out.h, l->out.c);
}

const struct layer_ops reorg_ops = {
    .name = "reorg", .state_size = sizeof(struct reorg), .keys = keys, .shape = shape, .steady = layer_steady, .forward = forward, .backward = backward,
    .narrow = layer_views, .couple = couple, .describe = describe
};
