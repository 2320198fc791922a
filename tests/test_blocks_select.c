/* Residual blocks against filters on the way to a target: the rule word for word, computed from the networks that are left. */
#include "prune/blocks.h"
#include "prune/slice.h"
#include "select_rig.h"

#define NET "[net]\nwidth=32\nheight=32\nchannels=3\nbatch=1\nsubdivisions=1\n"
#define CONV(f, k, s) "[convolutional]\nbatch_normalize=1\nfilters=" #f "\nsize=" #k "\nstride=" #s "\npad=1\nactivation=leaky\n"
#define BLOCK(f) CONV(f, 1, 1) CONV(24, 3, 1) "[shortcut]\nfrom=-3\nactivation=linear\n"
#define HEAD "[convolutional]\nfilters=14\nsize=1\nactivation=linear\n[yolo]\nanchors=4,4, 9,9\nmask=0,1\nnum=2\nclasses=2\n"
static const char chain[] = NET CONV(24, 3, 2) BLOCK(8) BLOCK(12) BLOCK(20) CONV(32, 3, 2) HEAD;
enum { BLOCKS = 3, LAYERS = 13 };

/* FLOPs of what is left at these widths (per layer of the whole network). */
static double flops_left(struct bench *b, struct blocks *k, const int *width) {
    struct ctx ctx = { 0 };
    struct net *small = NULL;
    int narrow[LAYERS];
    CHECK(blocks_apply(&ctx, k, b->net->param, &small) == ST_OK, "%s", ctx.error);
    for (int i = 0; i < b->net->n; ++i)
        if (k->place[i] == PLACE_KEPT) narrow[k->number[i]] = width[i];
    double flops = cost_at(small, narrow).flops;
    net_close(small);
    return flops;
}

/* In turn the lowest score per power of what it saves now, of a block no more than the target still asks for. */
static int by_the_rule(struct bench *b, struct blocks *k, const struct select_options *opt, int *order) {
    int n = b->net->n, full[LAYERS], now[LAYERS], went = 0;
    uint8_t *keep = malloc((size_t)b->ch->n_group);
    for (int i = 0; i < n; ++i) full[i] = now[i] = b->net->layer[i].out.c;
    memset(keep, 1, (size_t)b->ch->n_group);
    double whole = flops_left(b, k, full);
    for (;;) {
        double left = flops_left(b, k, now), lowest = INFINITY, needed = left / whole - opt->value;
        int group = -1, block = -1;
        if (needed <= 1e-9) break;
        for (int g = 0; g < b->ch->n_group; ++g) {
            int less[LAYERS];
            bool allowed = keep[g] && !b->ch->group[g].frozen;
            for (int i = 0; i < n && allowed; ++i) {
                less[i] = now[i] - channels_in_layer(b->ch, g, i);
                allowed = less[i] == now[i] || less[i] >= ceil(full[i] * (1 - opt->max_layer_ratio) - 1e-9);
            }
            double saved = allowed ? (left - flops_left(b, k, less)) / whole : 0;
            if (saved > 0 && b->score[g] / pow(saved, opt->cost_power) < lowest) lowest = b->score[g] / pow(saved, opt->cost_power), group = g;
        }
        for (int i = 0; i < k->n; ++i) {
            if (k->item[i].gone || !blocks_remove(k, i)) continue;
            double saved = fmin((left - flops_left(b, k, now)) / whole, needed);
            blocks_restore(k, i);
            if (k->item[i].score / pow(saved, opt->cost_power) < lowest) lowest = k->item[i].score / pow(saved, opt->cost_power), block = i;
        }
        if (block >= 0) blocks_remove(k, block), order[went++] = block;
        else if (group < 0) break;
        else {
            keep[group] = 0;
            for (int i = 0; i < n; ++i) now[i] -= channels_in_layer(b->ch, group, i);
        }
    }
    for (int i = went; i-- > 0;) blocks_restore(k, order[i]);
    free(keep);
    return went;
}

static void check_rule(void) {
    int went[BLOCKS + 1] = { 0 };
    for (uint64_t seed = 1; seed <= 8; ++seed) {
        struct ctx ctx = { 0 };
        struct bench b;
        struct blocks k;
        if (!bench_open(&b, chain, seed) || blocks_find(&ctx, b.net, NULL, &k) != ST_OK) return;
        struct rng r = rng_stream(seed, 7, 7);
        for (int i = 0; i < k.n; ++i) k.item[i].score = exp(1 + 3 * rng_uniform(&r));
        for (int p = 1; p <= 2; ++p)
            for (double share = .9; share > .3; share -= .25) {
                struct select_options opt = exact(TARGET_FLOPS, share);
                int want[BLOCKS], got[BLOCKS], n = -1;
                opt.cost_power = p / 2.;
                int expected = by_the_rule(&b, &k, &opt, want);
                CHECK(select_blocks(&ctx, b.ch, b.score, &opt, &k, got, &n) == ST_OK, "%s", ctx.error);
                CHECK(n == expected && !memcmp(want, got, (size_t)expected * sizeof *want), "seed %d, %g of the FLOPs, power %g: %d blocks go, should be %d", (int)seed, share,
                      opt.cost_power, n, expected);
                for (int i = 0; i < k.n; ++i) CHECK(!k.item[i].gone, "blocks are back afterwards");
                ++went[expected];
            }
        blocks_free(&k);
        bench_close(&b);
    }
    CHECK(went[0] && went[1] && went[2] + went[3], "0, 1, 2, 3 blocks: %d %d %d %d times", went[0], went[1], went[2], went[3]);
}

/* Worthless blocks go first, priceless ones never, those of kept layers neither; none when nothing has to go. */
static void check_ends(void) {
    struct ctx ctx = { 0 };
    struct bench b;
    struct blocks k;
    int order[BLOCKS], n = -1;
    uint8_t keep[LAYERS] = { 0 };
    keep[4] = 1; /* of the second block */
    if (!bench_open(&b, chain, 3) || blocks_find(&ctx, b.net, keep, &k) != ST_OK) return;
    struct select_options opt = exact(TARGET_FLOPS, .6);
    opt.keep_layer = keep;
    for (int i = 0; i < k.n; ++i) k.item[i].score = 1e-6 * (3 - i);
    CHECK(select_blocks(&ctx, b.ch, b.score, &opt, &k, order, &n) == ST_OK && n == 2 && order[0] == 2 && order[1] == 0, "%d went: %d", n, order[0]);
    CHECK(k.item[2].rank > 0 && k.item[2].rank < k.item[0].rank, "ranks: %g, %g", k.item[2].rank, k.item[0].rank);
    for (int i = 0; i < k.n; ++i) k.item[i].score = 1e9;
    CHECK(select_blocks(&ctx, b.ch, b.score, &opt, &k, order, &n) == ST_OK && n == 0, "%d went", n);
    for (int i = 0; i < k.n; ++i) k.item[i].score = 0;
    opt.value = 1;
    CHECK(select_blocks(&ctx, b.ch, b.score, &opt, &k, order, &n) == ST_OK && n == 0, "%d went for a target of 1", n);
    /* by filters: those of a block that went count as gone */
    opt = exact(TARGET_RATIO, .2);
    CHECK(select_blocks(&ctx, b.ch, b.score, &opt, &k, order, &n) == ST_OK && n == 2, "32 and 36 of 178 filters: %d blocks went", n);
    blocks_free(&k);
    bench_close(&b);
}

/* A table of times goes along to the network without a block. */
static void check_table(void) {
    struct ctx ctx = { 0 };
    struct bench b;
    struct blocks k;
    struct latency_model *m, *less = NULL;
    int order[BLOCKS], n;
    if (!bench_open(&b, chain, 3) || blocks_find(&ctx, b.net, NULL, &k) != ST_OK || latency_new(&ctx, b.net->n, &m) != ST_OK) return;
    for (int i = 0; i < b.net->n; ++i) m->layer[i].full_ms = 1 + i;
    /* by the clock the first block is most of the network, and worth the same as the others */
    m->layer[1].full_ms = 300;
    struct latency_layer *l = &m->layer[2];
    l->n_in = 1, l->n_out = 2, l->in = malloc(sizeof *l->in), l->out = malloc(2 * sizeof *l->out), l->ms = malloc(2 * sizeof *l->ms);
    l->in[0] = 8, l->out[0] = 12, l->out[1] = 24, l->ms[0] = 1, l->ms[1] = 3;
    for (int i = 0; i < k.n; ++i) k.item[i].score = 1e-3;
    struct select_options opt = exact(TARGET_LATENCY, .7);
    opt.cost = COST_LATENCY, opt.latency = m;
    CHECK(select_blocks(&ctx, b.ch, b.score, &opt, &k, order, &n) == ST_OK && n == 1 && order[0] == 0, "the first block saves the time: %d", n);
    CHECK(blocks_remove(&k, 1) && latency_without(&ctx, m, &k, &less) == ST_OK && less->n == b.net->n - 3, "%s", ctx.error);
    CHECK_NEAR(latency_whole(less), latency_whole(m) - 5 - 6 - 7, 1e-9, "without layers 4 to 6");
    CHECK_NEAR(latency_of_layer(less, &b.net->layer[2], 8, 18), 2, 1e-9, "tables go along");
    latency_drop(m), latency_drop(less);
    blocks_free(&k);
    bench_close(&b);
}

int main(void) {
    check_rule();
    check_ends();
    check_table();
    return test_end("blocks_select");
}
