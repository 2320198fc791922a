/* taylor: first-order change of the training loss when the group's activations go, mean over the images of its magnitude
 * (Molchanov et al. 2017, Pruning Convolutional Neural Networks for Resource Efficient Inference; summed over the map, which is
 * the change itself, and without their division by the layer's length, which ruins a global ranking). */
#include <string.h>

#include "prune/blocks.h"
#include "prune/criterion.h"

static enum status score(struct ctx *ctx, const struct criterion_input *in, double *out) {
    (void)ctx;
    memcpy(out, in->loss->magnitude, (size_t)in->channels->n_group * sizeof *out);
    return ST_OK;
}

static enum status blocks(struct ctx *ctx, const struct criterion_input *in, double *out) {
    (void)ctx;
    memcpy(out, in->loss->block, (size_t)in->blocks->n * sizeof *out);
    return ST_OK;
}

const struct criterion taylor_criterion = { "taylor", "first-order change of the loss by a group's activations", NEEDS_LOSS, 0.5, score, blocks, true };
