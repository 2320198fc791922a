/* A network, scores drawn for its groups, and choices among them whose reported costs are checked. */
#ifndef TESTS_SELECT_RIG_H
#define TESTS_SELECT_RIG_H

#include "prune/select.h"
#include "prune_nets.h"

struct bench {
    struct net *net;
    struct channels *ch;
    double *score;
    int *kept;
};

static inline bool bench_open(struct bench *b, const char *text, uint64_t seed) {
    struct ctx ctx = { 0 };
    memset(b, 0, sizeof *b);
    b->net = nets_open(&ctx, "select", text, 3);
    if (!b->net || channels_build(&ctx, b->net, &b->ch) != ST_OK) {
        CHECK(false, "%s", ctx.error);
        return false;
    }
    struct rng r = rng_stream(seed, 0x73656c65, 1);
    b->score = calloc((size_t)b->ch->n_group, sizeof *b->score);
    b->kept = calloc((size_t)b->net->n, sizeof *b->kept);
    for (int g = 0; g < b->ch->n_group; ++g) b->score[g] = exp(4 * rng_uniform(&r));
    return true;
}

static inline void bench_close(struct bench *b) {
    free(b->score), free(b->kept);
    channels_drop(b->ch);
    net_close(b->net);
}

static inline struct selection choose(struct bench *b, const struct select_options *opt) {
    struct ctx ctx = { 0 };
    struct selection s;
    CHECK(select_groups(&ctx, b->ch, b->score, opt, &s) == ST_OK, "%s", ctx.error);
    channels_widths(b->ch, s.keep, b->kept);
    struct cost c = cost_at(b->net, b->kept);
    CHECK_NEAR(c.flops, s.after.flops, 1e-9, "the reported cost is not that of the reported choice");
    CHECK_NEAR(c.params, s.after.params, 1e-9, "the reported cost is not that of the reported choice");
    int frozen_gone = 0;
    for (int g = 0; g < b->ch->n_group; ++g) frozen_gone += !s.keep[g] && b->ch->group[g].frozen;
    CHECK(frozen_gone == 0, "%d groups went that must stay", frozen_gone);
    return s;
}

static inline struct select_options exact(enum target_kind target, double value) {
    struct select_options opt = select_defaults();
    opt.target = target, opt.value = value;
    opt.round = 1, opt.min_filters = 1, opt.max_layer_ratio = .95;
    return opt;
}

#endif
