/* [activation]: y = act(x), element by element (darknet-compat 2.16). */
#include <stdio.h>

#include "layers/layer.h"

struct activation_keys { int activation; };

static const struct cfg_key keys[] = {
    { .name = "activation", .type = CFG_T_CHOICE, .offset = offsetof(struct activation_keys, activation), .def = ACT_LINEAR,
      .choices = activation_choices },
    CFG_END
};

static enum activation kind(const struct layer *l) { return (enum activation)((const struct activation_keys *)l->state)->activation; }

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)ctx, (void)all, (void)net;
    l->out = l->in_shape[0];
    return ST_OK;
}

static bool transparent(const struct layer *l, enum net_mode mode) {
    (void)mode;
    return kind(l) == ACT_LINEAR;
}

static enum status forward(struct layer *l, struct pass *p) {
    p->be->ops->act_forward(p->be, kind(l), p->x[0], p->y);
    return ST_OK;
}

static enum status backward(struct layer *l, struct pass *p) {
    const struct tensor *x = activation_needs_input(kind(l)) ? p->x[0] : NULL;
    if (p->dx[0]) p->be->ops->act_backward(p->be, kind(l), x, p->y, p->dy, p->dx[0], p->add[0]);
    return ST_OK;
}

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    channels_tie_all(ch, l, 0);
}

static void describe(const struct layer *l, char *text, size_t size) {
    snprintf(text, size, "Activation Layer: %zu inputs", shape_count(l->out));
}

const struct layer_ops activation_ops = {
    .name = "activation", .state_size = sizeof(struct activation_keys), .keys = keys, .shape = shape, .transparent = transparent,
    .steady = layer_steady, .forward = forward, .backward = backward, .narrow = layer_views, .couple = couple, .describe = describe, .uncounted = true
};
