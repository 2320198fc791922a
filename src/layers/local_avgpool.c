/* [local_avgpool]: mean over the cells of a window that exist; `padding` is the total of both sides (darknet-compat 2.4).
 * x (N, C, H, W) -> y (N, C, (H + padding - size)/stride_y + 1, (W + padding - size)/stride_x + 1).
 * The gradient is divided by the number of those cells, as the mean is; upstream divides it by size*size at the border, too. */
#include "layers/pool.h"

static const struct cfg_key keys[] = { POOL_KEYS, CFG_END };

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)all, (void)net;
    pool_defaults(l->state);
    TRY(pool_out(ctx, l, l->state, &l->out));
    l->flops = pool_flops(l, l->state, l->out);
    return ST_OK;
}

static enum status forward(struct layer *l, struct pass *p) {
    struct pool_desc d = pool_window(l->state);
    p->be->ops->local_avgpool(p->be, &d, p->x[0], p->y);
    return ST_OK;
}

static enum status backward(struct layer *l, struct pass *p) {
    struct pool_desc d = pool_window(l->state);
    if (p->dx[0]) p->be->ops->local_avgpool_backward(p->be, &d, p->dy, p->dx[0], p->add[0]);
    return ST_OK;
}

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    channels_tie_all(ch, l, 0);
}

static void describe(const struct layer *l, char *text, size_t size) { pool_describe(l, l->state, l->out, "avg", text, size); }

const struct layer_ops local_avgpool_ops = {
    .name = "local_avgpool", .alias = "local_avg", .state_size = sizeof(struct pool_keys), .keys = keys, .shape = shape,
    .steady = layer_steady, .forward = forward, .backward = backward, .narrow = layer_views, .couple = couple, .describe = describe
};
