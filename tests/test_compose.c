/* Cutting twice is cutting once with the composition (pruning.md 8, invariant 5), over random networks of all layer types. */
#include "prune/compose.h"
#include "prune_nets.h"

static struct net *cut(struct ctx *ctx, const struct net *net, const struct channels *ch, const uint8_t *keep, const double *mean) {
    struct net *small = NULL;
    float *param = malloc(net->n_param * sizeof *param);
    memcpy(param, net->param, net->n_param * sizeof *param);
    if (mean) slice_compensate(net, ch, keep, mean, param);
    CHECK(slice_apply(ctx, net, ch, keep, param, &small) == ST_OK, "%s", ctx->error);
    free(param);
    return small;
}

/* What is left of the means of the full network. */
static double *means_left(const struct channels *full, const uint8_t *alive, const double *mean, int n) {
    double *left = calloc((size_t)n, sizeof *left);
    int at = 0;
    for (int k = 0; k < full->n_node; ++k)
        if (alive[k]) left[at++] = mean[k];
    CHECK(at == n, "%d channels are left, the network has %d", at, n);
    return left;
}

static double worst_difference(const struct net *a, const struct net *b) {
    double worst = 0;
    for (size_t i = 0; i < a->n_param; ++i) worst = test_worse(worst, fabs((double)a->param[i] - (double)b->param[i]) / fmax(1, fabs((double)a->param[i])));
    return worst;
}

static bool same_text(struct ctx *ctx, const struct net *a, const struct net *b) {
    char *x = NULL, *y = NULL;
    size_t n = 0, m = 1;
    bool same = cfg_text(ctx, a->doc, &x, &n) == ST_OK && cfg_text(ctx, b->doc, &y, &m) == ST_OK && n == m && !memcmp(x, y, n);
    free(x), free(y);
    return same;
}

static void check(uint64_t seed, unsigned flags, bool compensate) {
    struct ctx ctx = { 0 };
    struct nets_gen g;
    nets_write(&g, seed, flags);
    struct net *net = nets_open(&ctx, "random", g.text, seed), *first = NULL, *second = NULL, *once = NULL;
    struct channels *ch = NULL, *then = NULL;
    if (!net || channels_build(&ctx, net, &ch) != ST_OK) {
        CHECK(false, "seed %d: %s", (int)seed, ctx.error);
        net_close(net);
        return;
    }
    uint8_t *keep = calloc((size_t)ch->n_group, 1), *alive = malloc((size_t)ch->n_node), *again = NULL;
    double *mean = calloc((size_t)ch->n_node, sizeof *mean), *left = NULL;
    struct rng r = rng_stream(seed, 7, 7);
    for (int k = 0; compensate && k < ch->n_node; ++k) mean[k] = rng_between(&r, -1, 1);
    memset(alive, 1, (size_t)ch->n_node);
    int gone = nets_choose(ch, seed, .3, 1, keep), more = 0;
    compose_cut(ch, ch, keep, alive);
    first = cut(&ctx, net, ch, keep, compensate ? mean : NULL);
    if (first && channels_build_within(&ctx, first, ch, alive, &then) == ST_OK) {
        again = calloc((size_t)then->n_group, 1);
        left = means_left(ch, alive, mean, then->n_node);
        more = nets_choose(then, seed + 1, .3, 1, again);
        compose_cut(ch, then, again, alive);
        compose_groups(ch, alive, keep);
        second = cut(&ctx, first, then, again, compensate ? left : NULL);
        once = cut(&ctx, net, ch, keep, compensate ? mean : NULL);
    }
    CHECK(second && once && same_text(&ctx, second, once), "seed %d: another cfg %s", (int)seed, ctx.error);
    if (second && once && second->n_param == once->n_param) {
        double worst = worst_difference(second, once);
        CHECK(compensate ? worst < 1e-5 : worst == 0, "seed %d, %d and %d groups: parameters differ by %g", (int)seed, gone, more, worst);
    } else CHECK(false, "seed %d: another size", (int)seed);
    net_close(net), net_close(first), net_close(second), net_close(once);
    channels_drop(ch), channels_drop(then);
    free(keep), free(alive), free(again), free(mean), free(left);
}

int main(void) {
    for (uint64_t seed = 1; seed <= 150; ++seed) check(seed, seed % 2 ? NETS_GROUPED : NETS_YOLO | NETS_COMMENTS, seed % 3 == 0);
    return test_end("compose");
}
