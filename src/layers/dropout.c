/* [dropout]: training only; kept values are divided by 1 - probability (darknet-compat 2.11).
 * dropblock=1: at most one square of zeros per channel, and each image scaled by all/kept; probability and side grow over
 * the first 85 % of max_batches (Ghiasi et al. 2018). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "backend/hash.h"
#include "layers/layer.h"

struct dropout {
    double probability, dropblock_size_rel, dropblock_size_abs;
    int dropblock;
    int side; /* at most; 0: dropblock_size_rel of the map */
};

static const struct cfg_key keys[] = {
    CFG_FLOAT_IN(struct dropout, probability, .2, 0, .999),
    CFG_BOOL(struct dropout, dropblock, 0),
    CFG_FLOAT_IN(struct dropout, dropblock_size_rel, 0, 0, 1),
    CFG_FLOAT_IN(struct dropout, dropblock_size_abs, 0, 0, 1e6),
    CFG_END
};

static int smaller(int a, int b) { return a < b ? a : b; }

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)ctx, (void)all, (void)net;
    struct dropout *d = l->state;
    l->out = l->in_shape[0];
    d->side = (int)d->dropblock_size_abs; /* wins over the relative size */
    if (d->side == 0 && d->dropblock_size_rel <= 0) d->side = 7;
    if (d->side > l->out.w || d->side > l->out.h) d->side = smaller(l->out.w, l->out.h);
    return ST_OK;
}

static bool transparent(const struct layer *l, enum net_mode mode) {
    return mode != NET_TRAIN || ((const struct dropout *)l->state)->probability <= 0;
}

/* One mask per image batch and layer; the backward pass draws the same one again. */
static uint64_t mask_seed(const struct layer *l, const struct pass *p) {
    struct rng r = rng_stream(p->seed, p->iteration, 0x100000000u + (uint64_t)l->index);
    return rng_u64(&r);
}

/* The squares of this pass: corner per image and channel (-1: none), factor per image. */
static void draw_blocks(const struct layer *l, const struct pass *p, int side, double seed_probability, int32_t *corner, double *factor) {
    struct shape s = l->out;
    struct rng r = rng_stream(mask_seed(l, p), p->iteration, 1);
    double some = 1 - pow(1 - seed_probability, (double)s.h * s.w), all = (double)s.c * s.h * s.w;
    for (int n = -p->first_image; n < p->batch; ++n) {
        double dropped = 0;
        for (int c = 0; c < s.c; ++c) {
            bool drop = rng_uniform(&r) < some;
            int x = rng_int(&r, 0, s.w - side), y = rng_int(&r, 0, s.h - side);
            if (n >= 0) *corner++ = drop ? y * s.w + x : -1;
            if (drop) dropped += (double)side * side;
        }
        if (n >= 0) factor[n] = dropped < all ? all / (all - dropped) : 0;
    }
}

static enum status drop_blocks(const struct layer *l, struct pass *p, const struct tensor *x, struct tensor *y, bool add) {
    const struct dropout *d = l->state;
    struct shape s = l->out;
    double ramp = p->max_batches > 0 ? fmin(1, (double)p->iteration / (.85 * p->max_batches)) : 1;
    double w = d->side ? d->side : d->dropblock_size_rel * s.w, h = d->side ? d->side : d->dropblock_size_rel * s.h;
    int side = smaller((int)(w * ramp), (int)(h * ramp));
    side = smaller(side < 1 ? 1 : side, smaller(s.w, s.h));
    int32_t *corner = mem_zero(p->ctx, (size_t)p->batch * (size_t)s.c, sizeof *corner);
    double *factor = mem_zero(p->ctx, (size_t)p->batch, sizeof *factor);
    if (corner && factor) {
        draw_blocks(l, p, side, d->probability * ramp / (side * side), corner, factor);
        p->be->ops->drop_blocks(p->be, x, y, corner, side, factor, add);
    }
    free(corner), free(factor);
    return p->ctx->code;
}

static enum status drop(const struct layer *l, struct pass *p, const struct tensor *x, struct tensor *y, bool add) {
    const struct dropout *d = l->state;
    if (d->dropblock) return drop_blocks(l, p, x, y, add);
    uint64_t first = (uint64_t)p->first_image * shape_count(l->out);
    p->be->ops->dropout(p->be, x, y, d->probability, hash_seed_from(mask_seed(l, p), first), add);
    return ST_OK;
}

static enum status forward(struct layer *l, struct pass *p) { return drop(l, p, p->x[0], p->y, false); }

static enum status backward(struct layer *l, struct pass *p) { return p->dx[0] ? drop(l, p, p->dy, p->dx[0], p->add[0]) : ST_OK; }

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    channels_tie_all(ch, l, 0);
}

static void describe(const struct layer *l, char *text, size_t size) {
    const struct dropout *d = l->state;
    int n = l->out.c * l->out.h * l->out.w;
    if (!d->dropblock)
        snprintf(text, size, "dropout    p = %.3f        %4d  ->   %4d", d->probability, n, n);
    else if (d->side)
        snprintf(text, size, "dropblock    p = %.3f   l.dropblock_size_abs = %d    %4d  ->   %4d", d->probability, d->side, n, n);
    else
        snprintf(text, size, "dropblock    p = %.3f   l.dropblock_size_rel = %.2f    %4d  ->   %4d", d->probability, d->dropblock_size_rel, n, n);
}

const struct layer_ops dropout_ops = {
    .name = "dropout", .state_size = sizeof(struct dropout), .keys = keys, .shape = shape, .repeats = layer_repeats, .transparent = transparent,
    .forward = forward, .backward = backward, .narrow = layer_views, .couple = couple, .describe = describe, .uncounted = true
};
