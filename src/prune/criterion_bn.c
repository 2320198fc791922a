/* bn: magnitude of the batch-norm scale (Liu et al. 2017, Network Slimming); 1 where a filter has none. */
#include <math.h>

#include "prune/criterion_weights.h"

static double scale(const struct net *net, const struct layer *l, int filter) {
    for (int k = 0; k < l->n_param; ++k)
        if (l->param[k].role == PARAM_SCALE) return fabs((double)net->param[l->param[k].offset + (size_t)filter]);
    return 1;
}

static enum status score(struct ctx *ctx, const struct criterion_input *in, double *out) {
    return criterion_by_filter(ctx, in, scale, out);
}

static enum status blocks(struct ctx *ctx, const struct criterion_input *in, double *out) {
    (void)ctx;
    criterion_of_last_filters(in, scale, out);
    return ST_OK;
}

const struct criterion bn_criterion = { "bn", "magnitude of the batch-norm scale", 0, 0, score, blocks, false };
