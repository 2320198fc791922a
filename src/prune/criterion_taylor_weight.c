/* taylor-weight: first-order change of the training loss when a group's weights go one by one: sum of |w * dL/dw| over all its
 * filters (Molchanov et al. 2019, Importance Estimation for Neural Network Pruning).  Their joint form |sum w * dL/dw| says
 * nothing in front of batch norm, which makes that sum vanish. */
#include <math.h>

#include "prune/blocks.h"
#include "prune/criterion_weights.h"

static enum status score(struct ctx *ctx, const struct criterion_input *in, double *out) {
    (void)ctx;
    criterion_group_sum(in->channels, in->loss->weight, out);
    return ST_OK;
}

/* Over all filters that go with the block. */
static enum status blocks(struct ctx *ctx, const struct criterion_input *in, double *out) {
    struct blocks *b = in->blocks;
    const struct channels *ch = in->channels;
    (void)ctx;
    for (int k = 0; k < b->n; ++k) {
        out[k] = 0;
        if (!blocks_remove(b, k)) continue;
        for (int node = 0; node < ch->n_node; ++node)
            if (b->place[ch->layer_of[node]] == PLACE_GONE) out[k] += fmax(in->loss->weight[node], 0);
        blocks_restore(b, k);
    }
    return ST_OK;
}

const struct criterion taylor_weight_criterion = { "taylor-weight", "first-order change of the loss by a filter's weights",
                                                   NEEDS_LOSS | NEEDS_WEIGHT_GRADIENTS, 0.5, score, blocks, true };
