/* [route]: concatenation along channels of block group_id of `groups` equal blocks of each listed layer
 * (darknet-compat 2.6). */
#include <stdio.h>
#include <string.h>

#include "layers/layer.h"

struct route { struct cfg_ints layers; int groups, group_id; };

static const struct cfg_key keys[] = {
    CFG_INTS(struct route, layers),
    CFG_INT(struct route, groups, 1, 1, 1 << 20),
    CFG_INT(struct route, group_id, 0, 0, 1 << 20),
    CFG_IGNORED("stream"), CFG_IGNORED("wait_stream"),
    CFG_END
};

static enum status inputs(struct ctx *ctx, struct layer *l) {
    const struct route *r = l->state;
    if (r->layers.n == 0) return layer_fail(ctx, l, "layers", "is missing: name the layers to concatenate, e.g. layers=-1,8");
    if (r->group_id >= r->groups)
        return layer_fail(ctx, l, "group_id", "%d is not below groups=%d", r->group_id, r->groups);
    return layer_inputs(ctx, l, "layers", r->layers.v, r->layers.n);
}

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)all, (void)net;
    const struct route *r = l->state;
    struct shape first = l->in_shape[0];
    long long channels = 0;
    for (int i = 0; i < l->n_in; ++i) {
        struct shape in = l->in_shape[i];
        if (in.c == 0) return layer_fail(ctx, l, "layers", "layer %d is a detection head and has no output to route", l->in[i]);
        if (in.w != first.w || in.h != first.h)
            return layer_fail(ctx, l, "layers", "layer %d is %d x %d but layer %d is %d x %d; routed layers must have one size",
                              l->in[0], first.w, first.h, l->in[i], in.w, in.h);
        if (in.c % r->groups)
            return layer_fail(ctx, l, "groups", "%d does not divide the %d channels of layer %d", r->groups, in.c, l->in[i]);
        channels += in.c / r->groups;
    }
    return layer_out(ctx, l, channels, first.h, first.w);
}

static bool transparent(const struct layer *l, enum net_mode mode) {
    (void)mode;
    return l->n_in == 1 && ((const struct route *)l->state)->groups == 1;
}

static bool joins(const struct layer *l) { return l->n_in > 1 && ((const struct route *)l->state)->groups == 1; }

static int window(const struct layer *l) {
    const struct route *r = l->state;
    return l->n_in == 1 ? l->in_shape[0].c / r->groups * r->group_id : -1;
}

/* Its place in y is where the layer that made x has put it. */
static bool in_place(struct pass *p, const struct tensor *x, int channel) {
    return x->data == tensor_channels(p->be, p->y, channel, x->c).data && x->sw == p->y->sw && x->sh == p->y->sh;
}

static enum status forward(struct layer *l, struct pass *p) {
    const struct route *r = l->state;
    for (int i = 0, to = 0; i < l->n_in; ++i) {
        int block = l->in_shape[i].c / r->groups;
        if (r->groups > 1 || !in_place(p, p->x[i], to))
            p->be->ops->copy_channels(p->be, p->x[i], block * r->group_id, p->y, to, block, 1, false);
        to += block;
    }
    return ST_OK;
}

static enum status backward(struct layer *l, struct pass *p) {
    const struct route *r = l->state;
    for (int i = 0, from = 0; i < l->n_in; ++i) {
        int block = l->in_shape[i].c / r->groups;
        if (p->dx[i]) p->be->ops->copy_channels(p->be, p->dy, from, p->dx[i], block * r->group_id, block, 1, p->add[i]);
        from += block;
    }
    return ST_OK;
}

static bool overwrites(const struct layer *l, int input) {
    (void)input;
    return ((const struct route *)l->state)->groups == 1;
}

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    const struct route *r = l->state;
    for (int i = 0, to = 0; i < l->n_in; ++i) {
        int block = l->in_shape[i].c / r->groups;
        for (int k = 0; k < block; ++k) {
            channels_tie(ch, l->index, to + k, l->in[i], block * r->group_id + k);
            /* every block keeps the same positions, or block group_id would begin elsewhere */
            for (int g = 1; g < r->groups; ++g) channels_tie(ch, l->in[i], k, l->in[i], g * block + k);
        }
        to += block;
    }
}

static void describe(const struct layer *l, char *text, size_t size) {
    const struct route *r = l->state;
    char list[256] = "route ", groups[32];
    for (int i = 0; i < l->n_in; ++i) {
        size_t n = strlen(list);
        snprintf(list + n, sizeof list - n, " %d", l->in[i]);
    }
    const char *gap = l->n_in == 1 ? " \t\t            " : l->n_in <= 3 ? " \t            " : " \t    ";
    if (r->groups > 1) snprintf(groups, sizeof groups, "%d/%d", r->group_id, r->groups);
    else snprintf(groups, sizeof groups, "   ");
    snprintf(text, size, "%s%s           %s -> %4d x%4d x%4d ", list, gap, groups, l->out.w, l->out.h, l->out.c);
}

const struct layer_ops route_ops = {
    .name = "route", .state_size = sizeof(struct route), .keys = keys, .inputs = inputs, .shape = shape, .repeats = layer_repeats, .transparent = transparent,
    .views = layer_views, .narrow = layer_views, .joins = joins, .window = window,
    .steady = layer_steady, .forward = forward, .backward = backward, .overwrites = overwrites, .couple = couple, .describe = describe
};
