/* [normalization]: local response normalisation across channels (darknet-compat 2.15).  The window has upstream's quirk
 * (see the backend's lrn); the gradient is that of what forward computes, where upstream approximates. */
#include <stdio.h>
#include <stdlib.h>

#include "layers/layer.h"

struct normalization { int size; double alpha, beta, kappa; };

static const struct cfg_key keys[] = {
    CFG_INT(struct normalization, size, 5, 1, 1 << 20),
    CFG_FLOAT(struct normalization, alpha, .0001),
    CFG_FLOAT(struct normalization, beta, .75),
    CFG_FLOAT(struct normalization, kappa, 1),
    CFG_END
};

static struct lrn_desc desc(const struct layer *l) {
    const struct normalization *k = l->state;
    return (struct lrn_desc){ k->size, k->alpha, k->beta, k->kappa };
}

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)ctx, (void)all, (void)net;
    l->out = l->in_shape[0];
    return ST_OK;
}

static enum status prepare(struct layer *l, struct pass *p) {
    struct tensor *norm = l->run = mem_zero(p->ctx, 1, sizeof *norm);
    if (!norm) return ST_MEMORY;
    if (p->mode != NET_INFER)
        *norm = shape_tensor(p->be, l->out, p->batch, p->be->ops->alloc(p->be, p->ctx, (size_t)p->batch * shape_count(l->out)));
    return p->ctx->code;
}

static void release(struct layer *l, struct backend *be) {
    struct tensor *norm = l->run;
    if (norm) be->ops->free(be, norm->data);
    free(norm);
    l->run = NULL;
}

static enum status forward(struct layer *l, struct pass *p) {
    struct lrn_desc d = desc(l);
    struct tensor *norm = l->run;
    p->be->ops->lrn(p->be, &d, p->x[0], norm->data ? norm : NULL, p->y);
    return ST_OK;
}

static enum status backward(struct layer *l, struct pass *p) {
    struct lrn_desc d = desc(l);
    if (p->dx[0]) p->be->ops->lrn_backward(p->be, &d, p->x[0], l->run, p->dy, p->dx[0], p->add[0]);
    return ST_OK;
}

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    channels_freeze(ch, l->in[0], "[normalization] mixes channels");
    channels_freeze(ch, l->index, "[normalization] mixes channels");
}

static void describe(const struct layer *l, char *text, size_t size) {
    struct shape in = l->in_shape[0];
    snprintf(text, size, "Local Response Normalization Layer: %d x %d x %d image, %d size", in.w, in.h, in.c,
             ((const struct normalization *)l->state)->size);
}

const struct layer_ops normalization_ops = {
    .name = "normalization", .alias = "lrn", .state_size = sizeof(struct normalization), .keys = keys, .shape = shape,
    .prepare = prepare, .forward = forward, .backward = backward, .release = release, .narrow = layer_views, .couple = couple, .describe = describe
};
