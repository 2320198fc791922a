#include "layers/pool.h"

#include <stdio.h>

void pool_defaults(struct pool_keys *k) {
    if (!k->size) k->size = k->stride;
    if (!k->stride_x) k->stride_x = k->stride;
    if (!k->stride_y) k->stride_y = k->stride;
    if (k->padding < 0) k->padding = k->size - 1; /* of both sides together */
}

enum status pool_out(struct ctx *ctx, const struct layer *l, const struct pool_keys *k, struct shape *out) {
    struct shape in = l->in_shape[0];
    int w = in.w + k->padding - k->size, h = in.h + k->padding - k->size;
    if (w < 0 || h < 0)
        return layer_fail(ctx, l, "size", "a window of %d does not fit into an input of %d x %d", k->size, in.w, in.h);
    *out = (struct shape){ 1, in.c, h / k->stride_y + 1, w / k->stride_x + 1 };
    return ST_OK;
}

struct pool_desc pool_window(const struct pool_keys *k) {
    int offset = -k->padding / 2; /* C division: padding 1 and 2 start at 0 and -1, 3 at -1 */
    return (struct pool_desc){ k->size, k->stride_x, k->stride_y, offset, offset };
}

double pool_flops(const struct layer *l, const struct pool_keys *k, struct shape out) {
    return (double)k->size * k->size * l->in_shape[0].c * out.h * out.w;
}

int pool_describe(const struct layer *l, const struct pool_keys *k, struct shape out, const char *tag, char *text, size_t size) {
    struct shape in = l->in_shape[0];
    char head[64];
    if (k->stride_x == k->stride_y) snprintf(head, sizeof head, "%-18s%2dx%2d/%2d   ", tag, k->size, k->size, k->stride_x);
    else snprintf(head, sizeof head, "%-17s%2dx%2d/%2dx%2d ", tag, k->size, k->size, k->stride_x, k->stride_y);
    return snprintf(text, size, "%s%4d x%4d x%4d -> %4d x%4d x%4d %5.3f BF", head, in.w, in.h, in.c, out.w, out.h, out.c, l->flops / 1e9);
}
