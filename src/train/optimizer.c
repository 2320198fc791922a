#include "train/optimizer.h"

#include <string.h>

enum status optimizer_open(struct ctx *ctx, const struct net *net, struct optimizer *o) {
    o->be = net->be;
    o->n = net->n_param;
    o->momentum = net->be->ops->alloc(net->be, ctx, o->n);
    return o->momentum ? ST_OK : ctx->code;
}

void optimizer_close(struct optimizer *o) {
    if (o->momentum) o->be->ops->free(o->be, o->momentum);
    memset(o, 0, sizeof *o);
}

void optimizer_step(struct optimizer *o, struct net *net, double rate, double images) {
    struct backend *be = o->be;
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        if (l->frozen) continue;
        for (int k = 0; k < l->n_param; ++k) {
            const struct param *p = &l->param[k];
            if (!(p->flags & PARAM_TRAIN) || !param_owned(p)) continue;
            real *w = be->ops->at(be, net->dev_param, p->offset),
                 *g = be->ops->at(be, net->dev_grad, p->offset);
            double decay = p->flags & PARAM_DECAY ? net->opt.decay : 0;
            be->ops->sgd(be, param_count(p), w, g, be->ops->at(be, o->momentum, p->offset),
                         rate * l->common.learning_rate, net->opt.momentum, decay, images);
        }
    }
}

void optimizer_get(const struct optimizer *o, float *momentum) {
    o->be->ops->get(o->be, o->momentum, o->n, momentum);
}

void optimizer_put(struct optimizer *o, const float *momentum) {
    o->be->ops->put(o->be, momentum, o->n, o->momentum);
}
