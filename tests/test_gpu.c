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
        check_cuts(kinds[i], 1e-4, 12);
        check_training(kinds[i]);
    }
    return tiny_end("gpu");
}
