/* [maxpool]: maximum over a window; `padding` is the total of both sides (darknet-compat 2.3).
 * x (N, C, H, W) -> y (N, C, (H + padding - size)/stride_y + 1, (W + padding - size)/stride_x + 1).
 * maxpool_depth: y (N, out_channels, H, W), the maximum over channels k, k + out_channels, ...
 * maxpool_zero_nonmax: x where it is its own window's maximum, else 0.  antialiasing: stride 1, then the blur steps. */
#include <stdlib.h>

#include "layers/blur.h"
#include "layers/pool.h"

struct maxpool {
    struct pool_keys window;
    int maxpool_depth, out_channels, antialiasing, maxpool_zero_nonmax;
    struct shape inner; /* of one image, before the blur */
};
struct maxpool_run { int32_t *argmax; struct blur blur; };

static const struct cfg_key keys[] = {
    POOL_KEYS,
    CFG_BOOL(struct maxpool, maxpool_depth, 0),
    CFG_INT(struct maxpool, out_channels, 1, 1, 1 << 20),
    CFG_INT(struct maxpool, antialiasing, BLUR_NONE, BLUR_NONE, BLUR_BOX),
    CFG_BOOL(struct maxpool, maxpool_zero_nonmax, 0),
    CFG_END
};

/* The window as it slides: the blur takes over the steps. */
static struct pool_keys sliding(const struct layer *l) {
    const struct maxpool *m = l->state;
    struct pool_keys k = m->window;
    if (m->antialiasing) k.stride_x = k.stride_y = 1;
    return k;
}

static enum status depth_shape(struct ctx *ctx, const struct layer *l, struct shape *out) {
    const struct maxpool *m = l->state;
    *out = l->in_shape[0];
    if (m->out_channels > out->c)
        return layer_fail(ctx, l, "out_channels", "%d is more than the %d channels of the input", m->out_channels, out->c);
    out->c = m->out_channels;
    return ST_OK;
}

static enum status window_shape(struct ctx *ctx, const struct layer *l, struct shape *out) {
    const struct maxpool *m = l->state;
    struct shape in = l->in_shape[0];
    struct pool_keys window = sliding(l);
    TRY(pool_out(ctx, l, &window, out));
    if (m->maxpool_zero_nonmax && (out->w != in.w || out->h != in.h))
        return layer_fail(ctx, l, "maxpool_zero_nonmax", "compares cell by cell, but %d x %d becomes %d x %d; use stride=1", in.w, in.h,
                          out->w, out->h);
    return ST_OK;
}

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)all, (void)net;
    struct maxpool *m = l->state;
    pool_defaults(&m->window);
    TRY(m->maxpool_depth ? depth_shape(ctx, l, &m->inner) : window_shape(ctx, l, &m->inner));
    l->out = m->inner;
    if (m->antialiasing) l->out = blur_out(m->antialiasing, m->inner, m->window.stride_x, m->window.stride_y);
    if (l->out.w < 1 || l->out.h < 1)
        return layer_fail(ctx, l, "antialiasing", "its window does not fit into a map of %d x %d", m->inner.w, m->inner.h);
    l->flops = pool_flops(l, &m->window, m->inner);
    return ST_OK;
}

static struct pool_desc desc(const struct layer *l) {
    struct pool_keys window = sliding(l);
    return pool_window(&window);
}

static enum status prepare(struct layer *l, struct pass *p) {
    const struct maxpool *m = l->state;
    struct maxpool_run *run = l->run = mem_zero(p->ctx, 1, sizeof *run);
    if (!run) return ST_MEMORY;
    if (p->mode != NET_INFER)
        run->argmax = p->be->ops->alloc_index(p->be, p->ctx, shape_count((struct shape){ p->batch, m->inner.c, m->inner.h, m->inner.w }));
    if (p->ctx->code == ST_OK && m->antialiasing) TRY(blur_new(p, m->antialiasing, m->inner, m->window.stride_x, m->window.stride_y, &run->blur));
    return p->ctx->code;
}

static void release(struct layer *l, struct backend *be) {
    struct maxpool_run *run = l->run;
    if (!run) return;
    if (run->argmax) be->ops->free_index(be, run->argmax);
    blur_free(be, &run->blur);
    free(run);
    l->run = NULL;
}

static enum status forward(struct layer *l, struct pass *p) {
    const struct maxpool *m = l->state;
    struct maxpool_run *run = l->run;
    const struct backend_ops *ops = p->be->ops;
    struct tensor *y = run->blur.plan ? &run->blur.inner : p->y;
    struct pool_desc d = desc(l);
    if (m->maxpool_depth) ops->maxpool_depth(p->be, p->x[0], y, run->argmax);
    else ops->maxpool(p->be, &d, p->x[0], y, run->argmax);
    if (m->maxpool_zero_nonmax && !m->maxpool_depth) ops->zero_nonmax(p->be, p->x[0], y, run->argmax);
    return run->blur.plan ? blur_forward(p, &run->blur) : ST_OK;
}

static enum status backward(struct layer *l, struct pass *p) {
    struct maxpool_run *run = l->run;
    const struct backend_ops *ops = p->be->ops;
    struct tensor *dy = run->blur.plan ? &run->blur.dinner : p->dy;
    struct pool_desc d = desc(l);
    if (!p->dx[0]) return ST_OK;
    if (run->blur.plan) TRY(blur_backward(p, &run->blur));
    if (((const struct maxpool *)l->state)->maxpool_depth) ops->maxpool_depth_backward(p->be, run->argmax, dy, p->dx[0]);
    else ops->maxpool_backward(p->be, &d, run->argmax, dy, p->dx[0]);
    return ST_OK;
}

static bool overwrites(const struct layer *l, int input) {
    (void)l, (void)input;
    return false;
}

static bool views(const struct layer *l) {
    const struct maxpool *m = l->state;
    return !m->maxpool_depth && !m->maxpool_zero_nonmax && !m->antialiasing;
}

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    if (!((const struct maxpool *)l->state)->maxpool_depth) {
        channels_tie_all(ch, l, 0);
        return;
    }
    channels_freeze(ch, l->in[0], "maxpool_depth chooses among its channels");
    channels_freeze(ch, l->index, "maxpool_depth chooses among the channels of its input");
}

static void describe(const struct layer *l, char *text, size_t size) {
    const struct maxpool *m = l->state;
    struct pool_keys window = sliding(l);
    if (m->maxpool_depth) window.stride_y = window.stride_x;
    int n = pool_describe(l, &window, m->inner, m->maxpool_depth ? "max-depth" : "max", text, size);
    if (m->antialiasing && n > 0 && (size_t)n < size)
        blur_describe(m->antialiasing, m->inner, l->out, m->window.stride_x, m->window.stride_y, text + n, size - (size_t)n);
}

const struct layer_ops maxpool_ops = {
    .name = "maxpool", .alias = "max", .state_size = sizeof(struct maxpool), .keys = keys, .shape = shape, .repeats = layer_repeats, .prepare = prepare,
    .views = views, .narrow = views, .steady = layer_steady, .forward = forward, .backward = backward, .release = release, .overwrites = overwrites, .couple = couple, .describe = describe
};
