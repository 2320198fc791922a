/* Whole jobs on the CUDA backend, by the CPU and where there is a device: random networks, training, pruning. */
#include "net_harness.h"
#include "train_tiny.h"

/* Random networks over every layer type: outputs and gradients. */
static void check_networks(const char *kind, int seeds) {
    static struct nets_gen gen;
    char name[64];
    for (int seed = 1; seed <= seeds; ++seed) {
        nets_write(&gen, (uint64_t)seed, NETS_GROUPED);
        snprintf(name, sizeof name, "network %d", seed);
        check_backend(kind, name, gen.text, NET_INFER, NULL);
        check_backend(kind, name, gen.text, NET_TRAIN, NULL);
    }
}

/* The cut network computes what the masked one does, by the check that guards every pruning. */
static void check_cuts(const char *kind, int seeds) {
    static struct nets_gen gen;
    struct ctx ctx = { 0 };
    struct backend *be = NULL;
    int removed = 0;
    CHECK(backend_open(&ctx, kind, &be) == ST_OK, "%s: %s", kind, ctx.error);
    for (int seed = 1; be && seed <= seeds; ++seed) {
        struct channels *ch = NULL;
        struct net *small = NULL;
        nets_write(&gen, (uint64_t)seed, NETS_GROUPED);
        struct net *net = nets_open(&ctx, "cut", gen.text, (uint64_t)seed);
        if (!net || channels_build(&ctx, net, &ch) != ST_OK) continue;
        uint8_t *keep = calloc((size_t)ch->n_group, 1);
        float *x = nets_input(net, 2, (uint64_t)seed);
        double worst = -1;
        removed += nets_choose(ch, (uint64_t)seed, .4, 1, keep);
        if (slice_apply(&ctx, net, ch, keep, net->param, &small) == ST_OK) slice_check(&ctx, be, net, ch, keep, net->param, small, x, 2, &worst);
        CHECK(worst >= 0 && worst <= 1e-4, "%s, seed %d: masked and cut networks differ by %g %s", kind, seed, worst, ctx.error);
        free(x), free(keep);
        channels_drop(ch);
        net_close(net), net_close(small);
    }
    CHECK(removed > seeds, "%s: %d groups were removed", kind, removed);
    CHECK(!be || be->ops->sync(be, &ctx) == ST_OK, "%s: %s", kind, ctx.error);
    backend_close(be);
}

static float *trained(const char *kind, const char *keys, int iterations, double *loss) {
    static struct run r;
    char text[256];
    snprintf(text, sizeof text, "batch=4\nsubdivisions=2\nlearning_rate=0.005\nmax_batches=%d\n%s", iterations, keys);
    struct net *net = open_net(text, "", 0);
    memset(&r, 0, sizeof r);
    CHECK(train(&r, kind, net, "none") == ST_OK, "%s: %s", kind, r.ctx.error);
    *loss = r.watch.last;
    float *w = malloc((net->n_param + 1) * sizeof *w);
    memcpy(w, net->param, net->n_param * sizeof *w);
    w[net->n_param] = (float)net->n_param;
    net_close(net);
    return w;
}

/* A few steps lead where they lead on the CPU, and a second time to the same bits. */
static void check_training(const char *kind) {
    static const char *const keys[] = { "", "adam=1\n", "max_grad_norm=1\nema_alpha=0.9\n" };
    for (size_t k = 0; k < sizeof keys / sizeof *keys; ++k) {
        double a, b, c;
        float *cpu = trained("cpu", keys[k], 6, &a), *gpu = trained(kind, keys[k], 6, &b), *again = trained(kind, keys[k], 6, &c);
        struct net *net = open_net("", "", 0);
        CHECK(fabs(a - b) <= 1e-3 * fabs(a), "%s, %s: loss %g, on the cpu %g", kind, keys[k], b, a);
        double worst = rig_worst(cpu, gpu, net->n_param);
        CHECK(worst <= 2e-3, "%s, %s: weights are %g apart after 6 steps", kind, keys[k], worst);
        CHECK(!memcmp(gpu, again, net->n_param * sizeof *gpu), "%s, %s: training does not repeat", kind, keys[k]);
        net_close(net);
        free(cpu), free(gpu), free(again);
    }
}

int main(void) {
    const char *kinds[MAX_KINDS];
    int n = fast_kinds(kinds);
    tiny_start("gpu");
    for (int i = 1; i < n; ++i) { /* 0: the cpu */
        check_networks(kinds[i], 12);
        check_cuts(kinds[i], 12);
        check_training(kinds[i]);
    }
    return tiny_end("gpu");
}
