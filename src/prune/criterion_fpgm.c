/* fpgm: how far a filter lies from all others of its layer together; near their geometric median it can be replaced by them
 * (He et al. 2019, Filter Pruning via Geometric Median). */
#include <math.h>

#include "prune/criterion_weights.h"

static double distance(const struct net *net, const struct layer *l, int filter) {
    const struct param *w = layer_filters(l);
    if (!w) return -1;
    size_t per = param_count(w) / (size_t)w->dim[0];
    const float *all = net->param + w->offset, *own = all + per * (size_t)filter;
    double sum = 0;
    for (int f = 0; f < w->dim[0]; ++f) {
        const float *other = all + per * (size_t)f;
        double squares = 0;
        for (size_t i = 0; i < per; ++i) {
            double d = (double)own[i] - (double)other[i];
            squares += d * d;
        }
        sum += sqrt(squares);
    }
    return sum;
}

static enum status score(struct ctx *ctx, const struct criterion_input *in, double *out) {
    return criterion_by_filter(ctx, in, distance, out);
}

const struct criterion fpgm_criterion = { "fpgm", "distance of a filter from all others of its layer", 0, 0, score, NULL, false };
