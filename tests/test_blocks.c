/* Layer pruning: which residual blocks can go and why others cannot, the cfg without them, and that the cut network is the
 * original with those branches at zero, on random networks and on every layer that is left. */
#include "prune/blocks.h"

#include "prune_nets.h"

static int seeds(int usual) {
    const char *sanitize = getenv("SANITIZE");
    return sanitize && *sanitize == '1' ? usual / 3 : usual;
}

/* Largest difference of any layer that is left, relative to its largest value; -1: something failed. */
static double difference(struct ctx *ctx, struct net *full, const struct blocks *b, const float *param, struct net *small, const float *x) {
    struct backend *be = NULL;
    static uint8_t none[1 << 12];
    const uint8_t **mask = calloc((size_t)full->n, sizeof *mask);
    float *own = malloc((full->n_param + 1) * sizeof *own);
    double worst = -1;
    memcpy(own, full->param, full->n_param * sizeof *own);
    memcpy(full->param, param, full->n_param * sizeof *own);
    for (int k = 0; k < b->n; ++k)
        if (b->item[k].gone) mask[b->item[k].branch] = none;
    if (backend_open(ctx, "ref64", &be) == ST_OK && net_bind(ctx, full, be, NET_SCORE, 1) == ST_OK &&
        net_bind(ctx, small, be, NET_SCORE, 1) == ST_OK) {
        full->mask = mask;
        if (net_forward(ctx, full, x) == ST_OK && net_forward(ctx, small, x) == ST_OK) worst = 0;
        for (int i = 0; i < full->n && worst >= 0; ++i) {
            if (b->number[i] < 0 || !full->layer[i].out.c) continue;
            const struct tensor *p = &full->y[i], *q = &small->y[b->number[i]];
            double most = 1e-3, off = p->c == q->c && p->h == q->h && p->w == q->w ? 0 : INFINITY;
            for (int c = 0; c < p->c && off < INFINITY; ++c)
                for (int h = 0; h < p->h; ++h)
                    for (int w = 0; w < p->w; ++w) {
                        double u = ((const double *)p->data)[c * p->sc + h * p->sh + w * p->sw];
                        double v = ((const double *)q->data)[c * q->sc + h * q->sh + w * q->sw];
                        most = fmax(most, fabs(u));
                        off = isfinite(u) && isfinite(v) ? fmax(off, fabs(u - v)) : INFINITY;
                    }
            worst = fmax(worst, off / most);
        }
    }
    full->mask = NULL;
    net_unbind(full);
    net_unbind(small);
    memcpy(full->param, own, full->n_param * sizeof *own);
    if (be) backend_close(be);
    free(mask), free(own);
    return worst;
}

static void check_random(uint64_t seed, int *went, int *forms) {
    static struct nets_gen gen;
    struct ctx ctx = { 0 };
    struct blocks b;
    struct net *small = NULL;
    char name[64];
    snprintf(name, sizeof name, "seed %llu", (unsigned long long)seed);
    nets_write(&gen, seed, NETS_GROUPED | NETS_RESIDUAL | (seed % 4 ? 0 : NETS_COMMENTS));
    struct net *net = nets_open(&ctx, name, gen.text, seed);
    if (!net) return;
    struct rng r = rng_stream(seed, 0x626c6f63, 0);
    CHECK(blocks_find(&ctx, net, NULL, &b) == ST_OK, "%s: %s", name, ctx.error);
    for (int k = 0; k < b.n; ++k)
        if (rng_uniform(&r) < .6) *went += blocks_remove(&b, k);
    for (int i = 0; i < net->n; ++i) forms[b.place[i]] += b.live[i];
    CHECK(blocks_apply(&ctx, &b, net->param, &small) == ST_OK, "%s: %s\n%s", name, ctx.error, gen.text);
    float *x = nets_input(net, 1, seed);
    double worst = small ? difference(&ctx, net, &b, net->param, small, x) : -1;
    CHECK(worst >= 0 && worst <= 1e-9, "%s: the network with branches at zero and the one without differ by %g %s\n%s", name, worst, ctx.error,
          gen.text);
    free(x);
    blocks_free(&b);
    net_close(net);
    net_close(small);
}

int main(void) {
    int went = 0, forms[4] = { 0 }, n = seeds(1500);
    for (int seed = 1; seed <= n; ++seed) check_random((uint64_t)seed, &went, forms);
    CHECK(went > n / 2, "%d blocks went in %d networks", went, n);
    CHECK(forms[PLACE_GONE] > 50 && forms[PLACE_ROUTE] > 5 && forms[PLACE_ACTIVATION] > 50, "shortcuts: %d went, %d became routes, %d activations",
          forms[PLACE_GONE], forms[PLACE_ROUTE], forms[PLACE_ACTIVATION]);
    printf("blocks: %d went in %d networks; %d shortcuts went, %d became routes, %d activations\n", went, n, forms[PLACE_GONE], forms[PLACE_ROUTE], forms[PLACE_ACTIVATION]);
    return test_end("blocks");
}
