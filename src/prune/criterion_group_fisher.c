/* group-fisher: mean over the images of the squared response of a whole group to the training loss, per unit of cost
 * (Liu et al. 2021, Group Fisher Pruning for Practical Network Acceleration). */
#include <string.h>

#include "prune/blocks.h"
#include "prune/criterion.h"

static enum status score(struct ctx *ctx, const struct criterion_input *in, double *out) {
    (void)ctx;
    memcpy(out, in->loss->square, (size_t)in->channels->n_group * sizeof *out);
    return ST_OK;
}

static enum status blocks(struct ctx *ctx, const struct criterion_input *in, double *out) {
    (void)ctx; /* behind the groups */
    memcpy(out, in->loss->square + in->channels->n_group, (size_t)in->blocks->n * sizeof *out);
    return ST_OK;
}

const struct criterion group_fisher_criterion = { "group-fisher", "squared response of a group to the loss", NEEDS_LOSS, 1, score, blocks, true };
