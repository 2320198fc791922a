/* l2: length of all weights of a group's filters together, relative to its unit (Li et al. 2017, compared there with l1). */
#include <math.h>
#include <stdlib.h>

#include "prune/criterion_weights.h"

static enum status score(struct ctx *ctx, const struct criterion_input *in, double *out) {
    const struct channels *ch = in->channels;
    double *squares = mem_zero(ctx, (size_t)ch->n_node, sizeof *squares);
    if (!squares) return ST_MEMORY;
    for (int node = 0; node < ch->n_node; ++node) {
        const struct layer *l = &in->net->layer[ch->layer_of[node]];
        squares[node] = filter_squares(in->net, l, node - ch->first_node[l->index]);
    }
    criterion_group_sum(ch, squares, out);
    for (int g = 0; g < ch->n_group; ++g) out[g] = sqrt(out[g]);
    free(squares);
    return criterion_by_unit(ctx, ch, out);
}

static double length(const struct net *net, const struct layer *l, int filter) { return sqrt(fmax(filter_squares(net, l, filter), 0)); }

static enum status blocks(struct ctx *ctx, const struct criterion_input *in, double *out) {
    (void)ctx;
    criterion_of_last_filters(in, length, out);
    return ST_OK;
}

const struct criterion l2_criterion = { "l2", "length of a group's filters", 0, 0, score, blocks, false };
