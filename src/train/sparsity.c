#include "train/sparsity.h"

#include <math.h>
#include <stdlib.h>

static bool is_scale(const struct param *p) { return p->role == PARAM_SCALE && param_owned(p); }

static enum status pull_array(struct ctx *ctx, struct net *net, const struct param *p, double pull) {
    const struct backend_ops *ops = net->be->ops;
    size_t n = param_count(p);
    real *grad = ops->at(net->be, net->dev_grad, p->offset);
    float *scale = mem_zero(ctx, n, sizeof *scale), *g = mem_zero(ctx, n, sizeof *g);
    if (scale && g) {
        ops->get(net->be, ops->at(net->be, net->dev_param, p->offset), n, scale);
        ops->get(net->be, grad, n, g);
        for (size_t i = 0; i < n; ++i) g[i] += (float)(pull * ((scale[i] > 0) - (scale[i] < 0)));
        ops->put(net->be, g, n, grad);
    }
    free(scale), free(g);
    return ctx->code;
}

enum status sparsity_pull(struct ctx *ctx, struct net *net, double pull) {
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        for (int k = 0; k < l->n_param && !l->frozen; ++k)
            if (is_scale(&l->param[k])) TRY(pull_array(ctx, net, &l->param[k], pull));
    }
    return ST_OK;
}

struct sparsity sparsity_of(const struct net *net, double small) {
    struct sparsity s = { 0 };
    for (int i = 0; i < net->n; ++i)
        for (int k = 0; k < net->layer[i].n_param; ++k) {
            const struct param *p = &net->layer[i].param[k];
            for (size_t j = 0; is_scale(p) && j < param_count(p); ++j) {
                double v = fabs((double)net->param[p->offset + j]);
                ++s.n, s.mean += v, s.share_small += v < small;
            }
        }
    if (s.n) s.mean /= (double)s.n, s.share_small /= (double)s.n;
    return s;
}
