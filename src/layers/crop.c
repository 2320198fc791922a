/* [crop]: a window of the picture, in training at a random place and perhaps mirrored, otherwise in the middle; values 0..1
 * become -1..1 unless noadjust=1 (darknet-compat 2.14).  x (N, C, H, W) -> y (N, C, crop_height, crop_width).
 * Every image has a place of its own, as on upstream's GPU path; with it come angle, saturation, exposure and shift. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "layers/layer.h"

struct crop {
    int crop_height, crop_width, flip, noadjust;
    double saturation, exposure, shift, angle;
    struct shape first; /* the input that the cfg's sizes are for */
};

static const struct cfg_key keys[] = {
    CFG_INT(struct crop, crop_height, 1, 1, 1 << 20),
    CFG_INT(struct crop, crop_width, 1, 1, 1 << 20),
    CFG_BOOL(struct crop, flip, 0),
    CFG_BOOL(struct crop, noadjust, 0),
    CFG_FLOAT_IN(struct crop, saturation, 1, 1e-3, 1e3),
    CFG_FLOAT_IN(struct crop, exposure, 1, 1e-3, 1e3),
    CFG_FLOAT_IN(struct crop, shift, 0, 0, 1e3),
    CFG_FLOAT_IN(struct crop, angle, 0, 0, 180),
    CFG_END
};

/* After a resize the window keeps its share of the picture, as upstream's does. */
static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)all, (void)net;
    struct crop *c = l->state;
    struct shape in = l->in_shape[0];
    if (!c->first.c) c->first = in;
    bool resized = in.w != c->first.w || in.h != c->first.h;
    double share = (double)c->crop_height / c->first.h;
    int w = resized ? (int)(share * in.w) : c->crop_width, h = resized ? (int)(share * in.h) : c->crop_height;
    if (w < 1 || w > in.w) return layer_fail(ctx, l, "crop_width", "a window %d wide does not fit an input of %d x %d", w, in.w, in.h);
    if (h < 1 || h > in.h) return layer_fail(ctx, l, "crop_height", "a window %d high does not fit an input of %d x %d", h, in.w, in.h);
    l->out = (struct shape){ 1, in.c, h, w };
    return ST_OK;
}

static enum status prepare(struct layer *l, struct pass *p) {
    l->run = mem_zero(p->ctx, (size_t)p->batch, sizeof(struct crop_place));
    return p->ctx->code;
}

static void release(struct layer *l, struct backend *be) {
    (void)be;
    free(l->run);
    l->run = NULL;
}

/* Between 1 and `most`, or as often its inverse. */
static double random_factor(struct rng *r, double most) {
    double f = 1 + rng_uniform(r) * (most - 1);
    return rng_uniform(r) < .5 ? 1 / f : f;
}

static void random_place(const struct layer *l, struct rng *r, struct crop_place *at) {
    const struct crop *c = l->state;
    at->x = rng_int(r, 0, l->in_shape[0].w - l->out.w);
    at->y = rng_int(r, 0, l->in_shape[0].h - l->out.h);
    at->flip = rng_int(r, 0, 1) && c->flip;
    if (c->angle > 0) at->angle = rng_between(r, -c->angle, c->angle) * acos(-1) / 180;
    if (l->in[0] != LAYER_INPUT) return; /* colours are the picture's business */
    at->saturation = random_factor(r, c->saturation);
    at->exposure = random_factor(r, c->exposure);
    for (int k = 0; k < 3; ++k) at->shift[k] = (rng_uniform(r) - .5) * c->shift;
}

static enum status forward(struct layer *l, struct pass *p) {
    const struct crop *c = l->state;
    struct crop_place *at = l->run;
    struct rng r = rng_stream(p->seed, p->iteration, 0x200000000u + (uint64_t)l->index);
    for (int n = 0; n < p->first_image && p->mode == NET_TRAIN; ++n) random_place(l, &r, at);
    for (int n = 0; n < p->batch; ++n) {
        at[n] = (struct crop_place){ .x = (l->in_shape[0].w - l->out.w) / 2, .y = (l->in_shape[0].h - l->out.h) / 2,
                                     .saturation = 1, .exposure = 1 };
        if (p->mode == NET_TRAIN) random_place(l, &r, &at[n]);
    }
    p->be->ops->crop(p->be, p->x[0], p->y, at, c->noadjust ? 1 : 2, c->noadjust ? 0 : -1);
    return ST_OK;
}

static enum status backward(struct layer *l, struct pass *p) {
    const struct crop *c = l->state;
    if (p->dx[0]) p->be->ops->crop_backward(p->be, p->dy, p->dx[0], l->run, c->noadjust ? 1 : 2, p->add[0]);
    return ST_OK;
}

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    channels_tie_all(ch, l, 0);
}

static void describe(const struct layer *l, char *text, size_t size) {
    struct shape in = l->in_shape[0];
    snprintf(text, size, "Crop Layer: %d x %d -> %d x %d x %d image", in.h, in.w, l->out.h, l->out.w, l->out.c);
}

const struct layer_ops crop_ops = {
    .name = "crop", .state_size = sizeof(struct crop), .keys = keys, .shape = shape, .prepare = prepare, .forward = forward,
    .backward = backward, .release = release, .narrow = layer_views, .couple = couple, .describe = describe
};
