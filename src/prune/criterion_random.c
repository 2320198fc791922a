/* random: the floor that every other criterion has to beat; seeded. */
#include "base/rng.h"
#include "prune/blocks.h"
#include "prune/criterion.h"

static enum status score(struct ctx *ctx, const struct criterion_input *in, double *out) {
    (void)ctx;
    struct rng r = rng_stream(in->options->seed, 0x72616e64, 0);
    for (int g = 0; g < in->channels->n_group; ++g) out[g] = rng_uniform(&r);
    return ST_OK;
}

static enum status blocks(struct ctx *ctx, const struct criterion_input *in, double *out) {
    (void)ctx;
    struct rng r = rng_stream(in->options->seed, 0x626c6b73, 0);
    for (int k = 0; k < in->blocks->n; ++k) out[k] = rng_uniform(&r);
    return ST_OK;
}

const struct criterion random_criterion = { "random", "a seeded draw", 0, 0, score, blocks, false };
