/* [implicit]: learned values that read no image; every image of the batch gets the same (darknet-compat 2.19).
 * weights (filters, atoms) -> y (N, filters, atoms, 1). */
#include <stdio.h>

#include "layers/layer.h"

struct implicit { int filters, atoms; double mean, std; };

static const struct cfg_key keys[] = {
    CFG_INT(struct implicit, filters, 128, 1, 1 << 20),
    CFG_INT(struct implicit, atoms, 1, 1, 1 << 20),
    CFG_FLOAT(struct implicit, mean, 0),
    CFG_FLOAT(struct implicit, std, .2),
    CFG_END
};

static enum status inputs(struct ctx *ctx, struct layer *l) { return layer_inputs(ctx, l, NULL, NULL, 0); }

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)all, (void)net;
    const struct implicit *k = l->state;
    if ((double)k->filters * k->atoms > 1 << 30) return layer_fail(ctx, l, "atoms", "%d x %d values are too many", k->filters, k->atoms);
    l->out = (struct shape){ 1, k->filters, k->atoms, 1 };
    layer_param(l, &(struct param){ .name = "weights", .role = PARAM_WEIGHT, .dim = { k->filters, k->atoms, 1 }, .out_axis = 0, .in_axis = -1,
                                    .flags = PARAM_TRAIN | PARAM_DECAY, .init_mean = k->mean, .init_span = k->std });
    return ST_OK;
}

/* The weights, or their gradient, as one image. */
static struct tensor stored(const struct layer *l, const struct pass *p, real *block) {
    struct tensor t = tensor_of(p->be, (struct shape){ 1, (int)shape_count(l->out), 1, 1 }, block);
    return t;
}

static enum status forward(struct layer *l, struct pass *p) {
    struct tensor w = stored(l, p, p->param[0]);
    for (int n = 0; n < p->batch; ++n) {
        struct tensor y = tensor_images(p->be, p->y, n, 1);
        p->be->ops->reshape(p->be, &w, &y, false);
    }
    return ST_OK;
}

static enum status backward(struct layer *l, struct pass *p) {
    if (p->mode != NET_TRAIN) return ST_OK;
    struct tensor dw = stored(l, p, p->grad[0]);
    for (int n = 0; n < p->batch; ++n) {
        struct tensor dy = tensor_images(p->be, p->dy, n, 1);
        p->be->ops->reshape(p->be, &dy, &dw, true);
    }
    return ST_OK;
}

/* Its channels follow those they are added to or multiplied with, which tie them. */
static void couple(const struct layer *l, const struct layer *all, struct channels *ch) { (void)l, (void)all, (void)ch; }

static enum status rewrite(struct ctx *ctx, const struct layer *l, int kept_in, int kept_out, struct cfg_doc *doc) {
    (void)kept_in;
    return kept_out != l->out.c ? cfg_set_int(ctx, doc, l->index + 1, "filters", kept_out) : ST_OK;
}

static void describe(const struct layer *l, char *text, size_t size) {
    snprintf(text, size, "implicit Layer: %d x %d ", l->out.c, l->out.h);
}

const struct layer_ops implicit_ops = {
    .name = "implicit", .state_size = sizeof(struct implicit), .keys = keys, .inputs = inputs, .shape = shape, .forward = forward,
    .backward = backward, .couple = couple, .rewrite = rewrite, .describe = describe, .uncounted = true
};
