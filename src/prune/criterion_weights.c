#include "prune/criterion_weights.h"

#include <stdlib.h>

static void divide_by_unit_mean(struct ctx *ctx, const struct channels *ch, double *score) {
    double *sum = mem_zero(ctx, (size_t)ch->n_unit, sizeof *sum);
    int *count = mem_zero(ctx, (size_t)ch->n_unit, sizeof *count);
    if (sum && count) {
        for (int g = 0; g < ch->n_group; ++g) sum[ch->group[g].unit] += score[g], ++count[ch->group[g].unit];
        for (int g = 0; g < ch->n_group; ++g) {
            int u = ch->group[g].unit;
            if (sum[u] > 0) score[g] *= count[u] / sum[u];
        }
    }
    free(sum), free(count);
}

enum status criterion_by_filter(struct ctx *ctx, const struct criterion_input *in,
                                double (*value)(const struct net *, const struct layer *, int filter), double *score) {
    const struct channels *ch = in->channels;
    for (int g = 0; g < ch->n_group; ++g) {
        double sum = 0;
        int filters = 0;
        for (int k = 0; k < ch->group[g].size; ++k) {
            int node = ch->node_of_group[ch->group[g].first + k], layer = ch->layer_of[node];
            const struct layer *l = &in->net->layer[layer];
            if (!layer_has_filters(l)) continue;
            sum += value(in->net, l, node - ch->first_node[layer]);
            ++filters;
        }
        score[g] = filters ? sum / filters : 0;
    }
    divide_by_unit_mean(ctx, ch, score);
    return ctx->code;
}
