#include "prune/criterion_weights.h"

#include <stdlib.h>

#include "prune/blocks.h"

enum status criterion_by_unit(struct ctx *ctx, const struct channels *ch, double *score) {
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
    return ctx->code;
}

static void gather(const struct channels *ch, const double *value, bool mean, double *score) {
    for (int g = 0; g < ch->n_group; ++g) {
        double sum = 0;
        int filters = 0;
        for (int k = 0; k < ch->group[g].size; ++k) {
            double own = value[ch->node_of_group[ch->group[g].first + k]];
            if (own < 0) continue;
            sum += own;
            ++filters;
        }
        score[g] = mean && filters ? sum / filters : sum;
    }
}

void criterion_group_mean(const struct channels *ch, const double *value, double *score) { gather(ch, value, true, score); }
void criterion_group_sum(const struct channels *ch, const double *value, double *score) { gather(ch, value, false, score); }

enum status criterion_by_filter(struct ctx *ctx, const struct criterion_input *in,
                                double (*value)(const struct net *, const struct layer *, int filter), double *score) {
    const struct channels *ch = in->channels;
    double *of = mem_zero(ctx, (size_t)ch->n_node, sizeof *of);
    if (!of) return ST_MEMORY;
    for (int node = 0; node < ch->n_node; ++node) {
        const struct layer *l = &in->net->layer[ch->layer_of[node]];
        of[node] = layer_has_filters(l) ? value(in->net, l, node - ch->first_node[l->index]) : -1;
    }
    criterion_group_mean(ch, of, score);
    free(of);
    return criterion_by_unit(ctx, ch, score);
}

void criterion_of_last_filters(const struct criterion_input *in, double (*value)(const struct net *, const struct layer *, int filter),
                               double *block) {
    for (int k = 0; k < in->blocks->n; ++k) {
        int at = blocks_last_filters(in->blocks, k);
        const struct layer *l = at < 0 ? NULL : &in->net->layer[at];
        block[k] = 0;
        for (int f = 0; l && f < l->out.c; ++f) block[k] += value(in->net, l, f) / l->out.c;
    }
}

double filter_squares(const struct net *net, const struct layer *l, int filter) {
    const struct param *w = layer_filters(l);
    if (!w) return -1;
    size_t per = param_count(w) / (size_t)w->dim[0];
    const float *v = net->param + w->offset + per * (size_t)filter;
    double sum = 0;
    for (size_t i = 0; i < per; ++i) sum += (double)v[i] * (double)v[i];
    return sum;
}
