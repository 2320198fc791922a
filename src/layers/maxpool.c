/* [maxpool]: maximum over a window, cells outside ignored; `padding` is the total of both sides (darknet-compat 2.3).
 * x (N, C, H, W) -> y (N, C, (H + padding - size)/stride_y + 1, (W + padding - size)/stride_x + 1). */
#include <stdio.h>
#include <stdlib.h>

#include "layers/layer.h"

struct maxpool { int size, stride, stride_x, stride_y, padding; };
struct maxpool_run { int32_t *argmax; };

static const struct cfg_key keys[] = {
    CFG_INT(struct maxpool, stride, 1, 1, 1024),
    CFG_INT(struct maxpool, size, 0, 0, 1024),
    CFG_INT(struct maxpool, stride_x, 0, 0, 1024),
    CFG_INT(struct maxpool, stride_y, 0, 0, 1024),
    CFG_INT(struct maxpool, padding, -1, -1, 4096),
    CFG_MISSING("maxpool_depth", 0), CFG_MISSING("antialiasing", 0), CFG_TRAINING("maxpool_zero_nonmax", 0),
    CFG_IGNORED("out_channels"),
    CFG_END
};

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)all, (void)net;
    struct maxpool *m = l->state;
    struct shape in = l->in_shape[0];
    if (!m->size) m->size = m->stride;
    if (!m->stride_x) m->stride_x = m->stride;
    if (!m->stride_y) m->stride_y = m->stride;
    if (m->padding < 0) m->padding = m->size - 1;
    int w = in.w + m->padding - m->size, h = in.h + m->padding - m->size;
    if (w < 0 || h < 0)
        return layer_fail(ctx, l, "size", "a window of %d does not fit into an input of %d x %d", m->size, in.w, in.h);
    l->out = (struct shape){ 1, in.c, h / m->stride_y + 1, w / m->stride_x + 1 };
    l->flops = (double)m->size * m->size * in.c * l->out.h * l->out.w;
    return ST_OK;
}

static struct pool_desc desc(const struct layer *l) {
    const struct maxpool *m = l->state;
    int offset = -m->padding / 2; /* C division: padding 1 and 2 start at 0 and -1, 3 at -1 */
    return (struct pool_desc){ m->size, m->stride_x, m->stride_y, offset, offset };
}

static enum status prepare(struct layer *l, struct pass *p) {
    struct maxpool_run *run = l->run = mem_zero(p->ctx, 1, sizeof *run);
    if (!run) return ST_MEMORY;
    if (p->mode != NET_INFER)
        run->argmax = p->be->ops->alloc_index(p->be, p->ctx, shape_count((struct shape){ p->batch, l->out.c, l->out.h, l->out.w }));
    return p->ctx->code;
}

static void release(struct layer *l, struct backend *be) {
    struct maxpool_run *run = l->run;
    if (run && run->argmax) be->ops->free_index(be, run->argmax);
    free(run);
    l->run = NULL;
}

static enum status forward(struct layer *l, struct pass *p) {
    struct pool_desc d = desc(l);
    p->be->ops->maxpool(p->be, &d, p->x[0], p->y, ((struct maxpool_run *)l->run)->argmax);
    return ST_OK;
}

static enum status backward(struct layer *l, struct pass *p) {
    struct pool_desc d = desc(l);
    if (p->dx[0]) p->be->ops->maxpool_backward(p->be, &d, ((struct maxpool_run *)l->run)->argmax, p->dy, p->dx[0]);
    return ST_OK;
}

static bool overwrites(const struct layer *l, int input) {
    (void)l, (void)input;
    return false;
}

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    channels_tie_all(ch, l, 0);
}

static void describe(const struct layer *l, char *text, size_t size) {
    const struct maxpool *m = l->state;
    struct shape in = l->in_shape[0];
    char head[64];
    if (m->stride_x == m->stride_y) snprintf(head, sizeof head, "max               %2dx%2d/%2d   ", m->size, m->size, m->stride_x);
    else snprintf(head, sizeof head, "max              %2dx%2d/%2dx%2d ", m->size, m->size, m->stride_x, m->stride_y);
    snprintf(text, size, "%s%4d x%4d x%4d -> %4d x%4d x%4d %5.3f BF", head, in.w, in.h, in.c, l->out.w, l->out.h, l->out.c,
             l->flops / 1e9);
}

const struct layer_ops maxpool_ops = {
    .name = "maxpool", .alias = "max", .state_size = sizeof(struct maxpool), .keys = keys, .shape = shape, .prepare = prepare,
    .forward = forward, .backward = backward, .release = release, .overwrites = overwrites, .couple = couple, .describe = describe
};
