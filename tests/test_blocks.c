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

static void check_random(uint64_t seed, struct backend *cpu, int *went, int *forms) {
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
    double worst = small ? difference(&ctx, net, &b, net->param, small, x) : -1, fast = 0;
    CHECK(!small || seed % 50 || (blocks_check(&ctx, cpu, net, &b, net->param, small, x, 1, &fast) == ST_OK && fast <= 1e-4), "%s: blocks_check says %g %s\n%s", name, fast,
          ctx.error, gen.text);
    CHECK(worst >= 0 && worst <= 1e-9, "%s: the network with branches at zero and the one without differ by %g %s\n%s", name, worst, ctx.error,
          gen.text);
    free(x);
    blocks_free(&b);
    net_close(net);
    net_close(small);
}


/* --- written down by hand ------------------------------------------------------------------------------------------------ */

#define NET "[net]\nwidth=16\nheight=16\nchannels=3\nbatch=1\nsubdivisions=1\n"
#define CONV(f) "[convolutional]\nfilters=" #f "\nsize=1\nactivation=leaky\n"
#define SUM(from, act) "[shortcut]\nfrom=" #from "\nactivation=" act "\n"

/* Block `remove` (or none, -1) goes: the text becomes `left`, or it stays for the reason `left`. */
static const struct { const char *name, *text, *left; int remove; } cases[] = {
    { "a linear shortcut goes with its branch; relative and absolute numbers each stay what they are",
      NET CONV(4) "\n# the block\n[convolutional]\nfilters=2\n# inside\nsize=1\n\n\n" CONV(4) SUM(-3, "linear") "\n# behind\n" CONV(4)
          "[route]\nlayers = -1, 3 , 0 # all\n" CONV(2),
      NET CONV(4) "\n# behind\n" CONV(4) "[route]\nlayers = -1, 0 , 0 # all\n" CONV(2), 0 },
    { "an activation that still does something stays as a layer", NET CONV(4) CONV(4) SUM(-2, "leaky") CONV(2),
      NET CONV(4) "[activation]\nactivation=leaky\n" CONV(2), 0 },
    { "relu of relu is relu", NET "[convolutional]\nfilters=4\nsize=1\nactivation=relu\n" CONV(4) SUM(-2, "relu") CONV(2),
      NET "[convolutional]\nfilters=4\nsize=1\nactivation=relu\n" CONV(2), 0 },
    { "a layer within that others read stays, and a route leads past it", NET CONV(4) CONV(3) CONV(4) SUM(-3, "linear") CONV(2) "[route]\nlayers=1\n" CONV(2),
      NET CONV(4) CONV(3) "[route]\nlayers=-2\n" CONV(2) "[route]\nlayers=1\n" CONV(2), 0 },
    { "the second of a chain", NET CONV(4) CONV(4) SUM(-2, "linear") CONV(4) SUM(-2, "linear") CONV(2) "[route]\nlayers=4\n" CONV(4) "[sam]\nfrom=-2\n",
      NET CONV(4) CONV(4) SUM(-2, "linear") CONV(2) "[route]\nlayers=2\n" CONV(4) "[sam]\nfrom=-2\n", 1 },
    { "shared weights and gates", NET CONV(4) CONV(4) SUM(-2, "linear") CONV(4) "[convolutional]\nfilters=4\nsize=1\nactivation=leaky\nshare_index=3\n"
      "[sam]\nfrom=-2\n" CONV(2),
      NET CONV(4) CONV(4) "[convolutional]\nfilters=4\nsize=1\nactivation=leaky\nshare_index=1\n[sam]\nfrom=-2\n" CONV(2), 0 },
    { "another width", NET CONV(3) CONV(4) SUM(-2, "linear") CONV(2), "its input has another shape than its output", 0 },
    { "two paths", NET CONV(4) CONV(4) "[route]\nlayers=0\n" CONV(4) SUM(1, "linear") CONV(2), "adds two paths, neither of which begins with the other", 0 },
    { "weights", NET CONV(4) CONV(4) "[shortcut]\nfrom=-2\nweights_type=per_feature\n" CONV(2), "weighs its inputs", 0 },
    { "the branch is read elsewhere", NET CONV(4) CONV(4) SUM(-2, "linear") "[route]\nlayers=-1,1\n" CONV(2), "its branch is read elsewhere, too", 0 },
    { "the network's output", NET CONV(4) CONV(4) SUM(-2, "linear"), "leaves the network", 0 },
    { "its weights are shared", NET CONV(4) CONV(4) SUM(-2, "linear") "[convolutional]\nfilters=4\nsize=1\nactivation=leaky\nshare_index=1\n" CONV(2),
      "a layer elsewhere shares weights with its branch", 0 },
    { "stopbackward within", NET CONV(4) "[convolutional]\nfilters=4\nsize=1\nstopbackward=1\n" SUM(-2, "linear") CONV(2),
      "a layer of its branch says which layers before it train", 0 },
};

static void check_case(size_t i) {
    struct ctx ctx = { 0 };
    struct blocks b;
    struct net *net = nets_open(&ctx, cases[i].name, cases[i].text, 3), *small = NULL;
    char *text = NULL;
    size_t size;
    if (!net) return;
    CHECK(blocks_find(&ctx, net, NULL, &b) == ST_OK && b.n > cases[i].remove, "%s: %s", cases[i].name, ctx.error);
    bool reason = cases[i].left && *cases[i].left != '[';
    if (reason) {
        CHECK(b.item[0].stays && !strcmp(b.item[0].stays, cases[i].left), "%s: %s", cases[i].name, b.item[0].stays ? b.item[0].stays : "can go");
        CHECK(!blocks_remove(&b, 0), "%s: went all the same", cases[i].name);
    } else {
        CHECK(blocks_remove(&b, cases[i].remove), "%s: stays: %s", cases[i].name, b.item[0].stays ? b.item[0].stays : "?");
        CHECK(blocks_apply(&ctx, &b, net->param, &small) == ST_OK && cfg_text(&ctx, small->doc, &text, &size) == ST_OK, "%s: %s", cases[i].name, ctx.error);
        if (cases[i].left && text) CHECK(!strcmp(text, cases[i].left), "%s: the cfg became\n%s", cases[i].name, text);
        float *x = nets_input(net, 1, 3);
        double worst = small ? difference(&ctx, net, &b, net->param, small, x) : -1;
        CHECK(worst >= 0 && worst <= 1e-9, "%s: differ by %g", cases[i].name, worst);
        free(x);
    }
    free(text);
    blocks_free(&b);
    net_close(net);
    net_close(small);
}

/* A branch whose output is constant may go without any effect: the constant is in its readers' biases, along the chain. */
static void check_compensation(const char *rest, bool possible) {
    struct ctx ctx = { 0 };
    struct blocks b;
    struct backend *be = NULL;
    char text[2048];
    snprintf(text, sizeof text, NET CONV(4) CONV(4) SUM(-2, "linear") CONV(4) SUM(-2, "linear") "%s", rest);
    struct net *net = nets_open(&ctx, "constant branch", text, 4), *small = NULL;
    if (!net || blocks_find(&ctx, net, NULL, &b) != ST_OK || backend_open(&ctx, "ref64", &be) != ST_OK) return;
    const struct layer *branch = &net->layer[1];
    double mean[4], worst = 0;
    for (size_t k = 0; k < param_count(&branch->param[1]); ++k) net->param[branch->param[1].offset + k] = 0;
    for (int k = 0; k < 4; ++k) mean[k] = activation_value(ACT_LEAKY, net->param[branch->param[0].offset + (size_t)k] = (float)(k - 1.5));
    float *param = malloc(net->n_param * sizeof *param), *x = nets_input(net, 1, 8);
    memcpy(param, net->param, net->n_param * sizeof *param);
    CHECK(blocks_remove(&b, 0), "%s", b.item[0].stays);
    bool done = blocks_compensate(&ctx, &b, 0, mean, param);
    CHECK(done == possible, "%s: the constant %s", rest, done ? "was passed on" : "was not passed on");
    if (!done) CHECK(!memcmp(param, net->param, net->n_param * sizeof *param), "%s: parameters changed all the same", rest);
    CHECK(blocks_apply(&ctx, &b, param, &small) == ST_OK, "%s", ctx.error);
    if (small && net_bind(&ctx, net, be, NET_INFER, 1) == ST_OK && net_bind(&ctx, small, be, NET_INFER, 1) == ST_OK)
        CHECK(slice_compare(&ctx, net, small, b.number, x, 1, &worst) == ST_OK && (worst < 1e-6) == possible, "%s: differs by %g", rest, worst);
    free(param), free(x);
    blocks_free(&b);
    net_close(net);
    net_close(small);
    backend_close(be);
}

/* The lowest rank first; blocks within one that went are gone, too; -keep_layers. */
static void check_selection(void) {
    struct ctx ctx = { 0 };
    struct blocks b;
    uint8_t keep[16] = { 0 };
    struct net *net = nets_open(&ctx, "chain", NET CONV(4) CONV(4) SUM(-2, "linear") CONV(4) SUM(-2, "linear") CONV(4) SUM(-2, "linear") SUM(0, "linear") CONV(2), 4);
    if (!net) return;
    keep[3] = 1;
    CHECK(blocks_find(&ctx, net, keep, &b) == ST_OK && b.n == 4, "%d blocks", b.n);
    CHECK(b.item[1].stays && b.item[1].stays_by == 3, "a kept layer's block may go");
    for (int k = 0; k < b.n; ++k) b.item[k].score = k == 2 ? 1 : 5;
    CHECK(blocks_select(&b, 1, COST_FLOPS, 0) == 1 && b.item[2].gone && !b.item[0].gone, "not the lowest went");
    CHECK(blocks_select(&b, 9, COST_FLOPS, 0) == 1 && b.item[0].gone && !b.item[1].gone, "the wrong ones went after it");
    blocks_free(&b);
    net_close(net);
}

int main(void) {
    int went = 0, forms[4] = { 0 }, n = seeds(1500);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) check_case(i);
    check_compensation(CONV(2), true);
    check_compensation("[maxpool]\nsize=2\nstride=2\n[dropout]\n" CONV(3) "[route]\nlayers=4\n[avgpool]\n[connected]\noutput=2\nactivation=linear\n", true);
    check_compensation("[convolutional]\nfilters=4\ngroups=4\nsize=1\nactivation=linear\n[route]\nlayers=4,-1\ngroups=2\ngroup_id=1\n" CONV(2), true);
    check_compensation("[activation]\nactivation=leaky\n" CONV(2), false);
    check_selection();
    struct ctx ctx = { 0 };
    struct backend *cpu;
    if (backend_open(&ctx, "cpu", &cpu) != ST_OK) return 1;
    for (int seed = 1; seed <= n; ++seed) check_random((uint64_t)seed, cpu, &went, forms);
    backend_close(cpu);
    CHECK(went > n / 2, "%d blocks went in %d networks", went, n);
    CHECK(forms[PLACE_GONE] > n / 30 && forms[PLACE_ROUTE] > n / 300 && forms[PLACE_ACTIVATION] > n / 30, "shortcuts: %d went, %d became routes, %d activations",
          forms[PLACE_GONE], forms[PLACE_ROUTE], forms[PLACE_ACTIVATION]);
    printf("blocks: %d went in %d networks; %d shortcuts went, %d became routes, %d activations\n", went, n, forms[PLACE_GONE], forms[PLACE_ROUTE], forms[PLACE_ACTIVATION]);
    return test_end("blocks");
}
