/* [dropout]: training only; kept values are divided by 1 - probability (darknet-compat 2.11). */
#include <stdio.h>

#include "layers/layer.h"

struct dropout { double probability; };

static const struct cfg_key keys[] = {
    CFG_FLOAT_IN(struct dropout, probability, .2, 0, .999),
    CFG_TRAINING("dropblock", 0), CFG_IGNORED("dropblock_size_rel"), CFG_IGNORED("dropblock_size_abs"),
    CFG_END
};

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)ctx, (void)all, (void)net;
    l->out = l->in_shape[0];
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

static enum status forward(struct layer *l, struct pass *p) {
    p->be->ops->dropout(p->be, p->x[0], p->y, ((struct dropout *)l->state)->probability, mask_seed(l, p), false);
    return ST_OK;
}

static enum status backward(struct layer *l, struct pass *p) {
    if (p->dx[0])
        p->be->ops->dropout(p->be, p->dy, p->dx[0], ((struct dropout *)l->state)->probability, mask_seed(l, p), p->add[0]);
    return ST_OK;
}

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    channels_tie_all(ch, l, 0);
}

static void describe(const struct layer *l, char *text, size_t size) {
    int n = l->out.c * l->out.h * l->out.w;
    snprintf(text, size, "dropout    p = %.3f        %4d  ->   %4d", ((const struct dropout *)l->state)->probability, n, n);
}

const struct layer_ops dropout_ops = {
    .name = "dropout", .state_size = sizeof(struct dropout), .keys = keys, .shape = shape, .transparent = transparent,
    .forward = forward, .backward = backward, .couple = couple, .describe = describe, .uncounted = true
};
