/* [empty]: the layer before it under another index (darknet-compat 2.18). */
#include <stdio.h>

#include "layers/layer.h"

static const struct cfg_key keys[] = { CFG_END };

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)all, (void)net;
    if (l->index == 0) return layer_fail(ctx, l, NULL, "may not be the first layer: there is nothing to pass on");
    l->out = l->in_shape[0];
    return ST_OK;
}

static bool transparent(const struct layer *l, enum net_mode mode) {
    (void)l, (void)mode;
    return true;
}

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    channels_tie_all(ch, l, 0);
}

static void describe(const struct layer *l, char *text, size_t size) {
    (void)l;
    snprintf(text, size, "empty ");
}

const struct layer_ops empty_ops = {
    .name = "empty", .alias = "silence", .keys = keys, .shape = shape, .transparent = transparent, .narrow = layer_views, .couple = couple,
    .describe = describe, .uncounted = true
};
