/* [upsample]: nearest-neighbour enlargement times scale; negative stride: sums of blocks (darknet-compat 2.8).
 * x (N, C, H, W) -> y (N, C, sH, sW). */
#include <stdio.h>

#include "layers/layer.h"

struct upsample { int stride; double scale; };

static const struct cfg_key keys[] = {
    CFG_INT(struct upsample, stride, 2, -64, 64),
    CFG_FLOAT(struct upsample, scale, 1),
    CFG_END
};

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)all, (void)net;
    const struct upsample *u = l->state;
    struct shape in = l->in_shape[0];
    if (u->stride == 0) return layer_fail(ctx, l, "stride", "must not be 0");
    if (u->stride < 0 && (in.w % -u->stride || in.h % -u->stride))
        return layer_fail(ctx, l, "stride", "blocks of %d do not fill an input of %d x %d", -u->stride, in.w, in.h);
    long long up = u->stride > 0 ? u->stride : 1, down = u->stride < 0 ? -u->stride : 1;
    return layer_out(ctx, l, in.c, in.h * up / down, in.w * up / down);
}

static enum status forward(struct layer *l, struct pass *p) {
    const struct upsample *u = l->state;
    p->be->ops->upsample(p->be, p->x[0], p->y, u->stride, u->scale);
    return ST_OK;
}

static enum status backward(struct layer *l, struct pass *p) {
    const struct upsample *u = l->state;
    if (p->dx[0]) p->be->ops->upsample_backward(p->be, p->dy, p->dx[0], u->stride, u->scale, p->add[0]);
    return ST_OK;
}

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    channels_tie_all(ch, l, 0);
}

static void describe(const struct layer *l, char *text, size_t size) {
    const struct upsample *u = l->state;
    struct shape in = l->in_shape[0];
    snprintf(text, size, "%s              %2dx  %4d x%4d x%4d -> %4d x%4d x%4d", u->stride > 0 ? "upsample  " : "downsample",
             u->stride > 0 ? u->stride : -u->stride, in.w, in.h, in.c, l->out.w, l->out.h, l->out.c);
}

const struct layer_ops upsample_ops = {
    .name = "upsample", .state_size = sizeof(struct upsample), .keys = keys, .shape = shape, .repeats = layer_repeats, .views = layer_views, .narrow = layer_views, .steady = layer_steady, .forward = forward,
    .backward = backward, .couple = couple, .describe = describe
};
