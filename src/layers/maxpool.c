/* [maxpool]: maximum over a window; `padding` is the total of both sides (darknet-compat 2.3).
 * x (N, C, H, W) -> y (N, C, (H + padding - size)/stride_y + 1, (W + padding - size)/stride_x + 1).
 * maxpool_depth: y (N, out_channels, H, W), the maximum over channels k, k + out_channels, ...
 * maxpool_zero_nonmax: x where it is its own window's maximum, else 0.  antialiasing: stride 1, then the blur steps. */
#include <stdio.h>
#include <stdlib.h>

#include "layers/blur.h"

struct maxpool {
    int size, stride, stride_x, stride_y, padding, maxpool_depth, out_channels, antialiasing, maxpool_zero_nonmax;
    struct shape inner; /* of one image, before the blur */
};
struct maxpool_run { int32_t *argmax; struct blur blur; };

static const struct cfg_key keys[] = {
    CFG_INT(struct maxpool, stride, 1, 1, 1024),
    CFG_INT(struct maxpool, size, 0, 0, 1024),
    CFG_INT(struct maxpool, stride_x, 0, 0, 1024),
    CFG_INT(struct maxpool, stride_y, 0, 0, 1024),
    CFG_INT(struct maxpool, padding, -1, -1, 4096),
    CFG_BOOL(struct maxpool, maxpool_depth, 0),
    CFG_INT(struct maxpool, out_channels, 1, 1, 1 << 20),
    CFG_INT(struct maxpool, antialiasing, BLUR_NONE, BLUR_NONE, BLUR_BOX),
    CFG_BOOL(struct maxpool, maxpool_zero_nonmax, 0),
    CFG_END
};

static int step_x(const struct maxpool *m) { return m->antialiasing ? 1 : m->stride_x; }
static int step_y(const struct maxpool *m) { return m->antialiasing ? 1 : m->stride_y; }

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
    int w = in.w + m->padding - m->size, h = in.h + m->padding - m->size;
    if (w < 0 || h < 0)
        return layer_fail(ctx, l, "size", "a window of %d does not fit into an input of %d x %d", m->size, in.w, in.h);
    *out = (struct shape){ 1, in.c, h / step_y(m) + 1, w / step_x(m) + 1 };
    if (m->maxpool_zero_nonmax && (out->w != in.w || out->h != in.h))
        return layer_fail(ctx, l, "maxpool_zero_nonmax", "compares cell by cell, but %d x %d becomes %d x %d; use stride=1", in.w, in.h,
                          out->w, out->h);
    return ST_OK;
}

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)all, (void)net;
    struct maxpool *m = l->state;
    if (!m->size) m->size = m->stride;
    if (!m->stride_x) m->stride_x = m->stride;
    if (!m->stride_y) m->stride_y = m->stride;
    if (m->padding < 0) m->padding = m->size - 1;
    TRY(m->maxpool_depth ? depth_shape(ctx, l, &m->inner) : window_shape(ctx, l, &m->inner));
    l->out = m->inner;
    if (m->antialiasing) l->out = blur_out(m->antialiasing, m->inner, m->stride_x, m->stride_y);
    if (l->out.w < 1 || l->out.h < 1)
        return layer_fail(ctx, l, "antialiasing", "its window does not fit into a map of %d x %d", m->inner.w, m->inner.h);
    l->flops = (double)m->size * m->size * l->in_shape[0].c * m->inner.h * m->inner.w;
    return ST_OK;
}

static struct pool_desc desc(const struct layer *l) {
    const struct maxpool *m = l->state;
    int offset = -m->padding / 2; /* C division: padding 1 and 2 start at 0 and -1, 3 at -1 */
    return (struct pool_desc){ m->size, step_x(m), step_y(m), offset, offset };
}

static enum status prepare(struct layer *l, struct pass *p) {
    const struct maxpool *m = l->state;
    struct maxpool_run *run = l->run = mem_zero(p->ctx, 1, sizeof *run);
    if (!run) return ST_MEMORY;
    if (p->mode != NET_INFER)
        run->argmax = p->be->ops->alloc_index(p->be, p->ctx, shape_count((struct shape){ p->batch, m->inner.c, m->inner.h, m->inner.w }));
    if (p->ctx->code == ST_OK && m->antialiasing) TRY(blur_new(p, m->antialiasing, m->inner, m->stride_x, m->stride_y, &run->blur));
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
    struct shape in = l->in_shape[0], out = m->inner;
    char head[64];
    const char *name = m->maxpool_depth ? "max-depth         " : "max               ";
    if (m->maxpool_depth || step_x(m) == step_y(m)) snprintf(head, sizeof head, "%s%2dx%2d/%2d   ", name, m->size, m->size, step_x(m));
    else snprintf(head, sizeof head, "max              %2dx%2d/%2dx%2d ", m->size, m->size, step_x(m), step_y(m));
    int n = snprintf(text, size, "%s%4d x%4d x%4d -> %4d x%4d x%4d %5.3f BF", head, in.w, in.h, in.c, out.w, out.h, out.c, l->flops / 1e9);
    if (m->antialiasing && n > 0 && (size_t)n < size)
        blur_describe(m->antialiasing, m->inner, l->out, m->stride_x, m->stride_y, text + n, size - (size_t)n);
}

const struct layer_ops maxpool_ops = {
    .name = "maxpool", .alias = "max", .state_size = sizeof(struct maxpool), .keys = keys, .shape = shape, .prepare = prepare,
    .forward = forward, .backward = backward, .release = release, .overwrites = overwrites, .couple = couple, .describe = describe
};
