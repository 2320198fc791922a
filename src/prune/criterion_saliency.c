/* saliency: how much the detections inside and around the labelled boxes depend on a group (pruning.md 4). */
#include <string.h>

#include "prune/blocks.h"
#include "prune/criterion.h"

static enum status score(struct ctx *ctx, const struct criterion_input *in, double *out) {
    (void)ctx;
    memcpy(out, in->detail->score, (size_t)in->channels->n_group * sizeof *out);
    return ST_OK;
}

static enum status blocks(struct ctx *ctx, const struct criterion_input *in, double *out) {
    (void)ctx;
    memcpy(out, in->detail->block, (size_t)in->blocks->n * sizeof *out);
    return ST_OK;
}

const struct criterion saliency_criterion = { "saliency", "box-weighted gradient saliency of the detections", NEEDS_OBJECTS | JOINT, 0.5, score, blocks, true };
