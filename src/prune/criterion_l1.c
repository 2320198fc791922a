/* l1: mean absolute weight of the filter (Li et al. 2017, Pruning Filters for Efficient ConvNets). */
#include <math.h>

#include "prune/criterion_weights.h"

static double mean_abs(const struct net *net, const struct layer *l, int filter) {
    const struct param *w = layer_filters(l);
    if (!w) return -1;
    size_t per = param_count(w) / (size_t)w->dim[0];
    const float *v = net->param + w->offset + per * (size_t)filter;
    double sum = 0;
    for (size_t i = 0; i < per; ++i) sum += fabs((double)v[i]);
    return sum / (double)per;
}

static enum status score(struct ctx *ctx, const struct criterion_input *in, double *out) {
    return criterion_by_filter(ctx, in, mean_abs, out);
}

static enum status blocks(struct ctx *ctx, const struct criterion_input *in, double *out) {
    (void)ctx;
    criterion_of_last_filters(in, mean_abs, out);
    return ST_OK;
}

const struct criterion l1_criterion = { "l1", "mean absolute weight of a filter", 0, 0, score, blocks, false };
