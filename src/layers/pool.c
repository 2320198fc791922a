#include "layers/pool.h"

#include <stdio.h>

enum status pool_shape(struct ctx *ctx, struct layer *l, struct pool_keys *k) {
    struct shape in = l->in_shape[0];
    if (!k->size) k->size = k->stride;
    if (!k->stride_x) k->stride_x = k->stride;
    if (!k->stride_y) k->stride_y = k->stride;
    if (k->padding < 0) k->padding = k->size - 1; /* of both sides together */
    int w = in.w + k->padding - k->size, h = in.h + k->padding - k->size;
    if (w < 0 || h < 0)
        return layer_fail(ctx, l, "size", "a window of %d does not fit into an input of %d x %d", k->size, in.w, in.h);
    l->out = (struct shape){ 1, in.c, h / k->stride_y + 1, w / k->stride_x + 1 };
    l->flops = (double)k->size * k->size * in.c * l->out.h * l->out.w;
    return ST_OK;
}

struct pool_desc pool_window(const struct pool_keys *k) {
    int offset = -k->padding / 2; /* C division: padding 1 and 2 start at 0 and -1, 3 at -1 */
    return (struct pool_desc){ k->size, k->stride_x, k->stride_y, offset, offset };
}

void pool_describe(const struct layer *l, const struct pool_keys *k, const char *tag, char *text, size_t size) {
    struct shape in = l->in_shape[0];
    char head[64];
    if (k->stride_x == k->stride_y) snprintf(head, sizeof head, "%s               %2dx%2d/%2d   ", tag, k->size, k->size, k->stride_x);
    else snprintf(head, sizeof head, "%s              %2dx%2d/%2dx%2d ", tag, k->size, k->size, k->stride_x, k->stride_y);
    snprintf(text, size, "%s%4d x%4d x%4d -> %4d x%4d x%4d %5.3f BF", head, in.w, in.h, in.c, l->out.w, l->out.h, l->out.c,
             l->flops / 1e9);
}
