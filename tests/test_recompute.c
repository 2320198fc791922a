/* checkpoint_activations: computing segments twice changes memory, and nothing else. */
#include "train_tiny.h"

#include "net/internal.h"

static const char MANY[] =
    "[net]\nwidth=64\nheight=64\nchannels=3\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=1\npad=1\nactivation=mish\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\npad=1\nactivation=swish\n"
    "[shortcut]\nfrom=-2\nactivation=leaky\n"
    "[dropout]\nprobability=.2\n"
    "[convolutional]\nbatch_normalize=1\nfilters=16\nsize=1\nactivation=leaky\n"
    "[route]\nlayers=-1\ngroups=2\ngroup_id=1\n"
    "[convolutional]\nfilters=8\nsize=3\npad=1\nactivation=relu\n"
    "[route]\nlayers=-1,-3\n"
    "[maxpool]\nsize=2\nstride=2\n"
    "[convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\npad=1\nactivation=leaky\n"
    "[avgpool]\n"
    "[scale_channels]\nfrom=-2\n"
    "[convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[upsample]\nstride=2\n"
    "[route]\nlayers=-1,-5,-3\n"
    "[convolutional]\nsize=1\nfilters=14\nactivation=linear\n"
    "[yolo]\nmask=0,1\nanchors=18,18,26,26\nclasses=2\nnum=2\n";

struct pass_result { float *param, *grad; double loss; size_t peak; int segments; };

/* Two mini-batches of one step: loss, gradients, rolling statistics, memory. */
static void run_pass(const char *kind, struct net *net, int batch, bool twice, struct pass_result *r) {
    struct ctx ctx = { 0 };
    struct backend *be;
    struct truth box = { { .4f, .5f, .3f, .25f }, 1, -1 };
    struct truth_list truth[8];
    size_t n = (size_t)batch * shape_count((struct shape){ 1, net->opt.channels, net->opt.height, net->opt.width });
    float *x = malloc(n * sizeof *x);
    struct rng rng = rng_stream(3, 1, 0);
    for (size_t i = 0; i < n; ++i) x[i] = (float)rng_uniform(&rng);
    for (int i = 0; i < 8; ++i) truth[i] = (struct truth_list){ 1, 1, &box };
    net->checkpoint_activations = twice;
    CHECK(backend_open(&ctx, kind, &be) == ST_OK && net_bind(&ctx, net, be, NET_TRAIN, batch) == ST_OK, "%s", ctx.error);
    for (int k = 0; k < 2; ++k) {
        net->seed = (uint64_t)k + 1;
        enum status st = net_forward(&ctx, net, x);
        if (st == ST_OK) st = net_loss(&ctx, net, &(struct net_truth){ .boxes = truth }, &r->loss, NULL);
        if (st == ST_OK) st = net_backward(&ctx, net);
        CHECK(st == ST_OK, "%s", ctx.error);
    }
    net_pull(net);
    r->param = malloc(net->n_param * sizeof(float)), r->grad = malloc(net->n_param * sizeof(float));
    memcpy(r->param, net->param, net->n_param * sizeof(float));
    be->ops->get(be, net->dev_grad, net->n_param, r->grad);
    r->peak = be->bytes;
    r->segments = net->buffers->n_segment;
    net_close(net);
    backend_close(be);
    free(x);
}

static struct net *open_text(const char *text) {
    struct ctx ctx = { 0 };
    struct cfg_doc *doc;
    struct net *net = NULL;
    CHECK(cfg_parse(&ctx, "many.cfg", text, strlen(text), true, &doc) == ST_OK && net_open_doc(&ctx, doc, true, &net) == ST_OK, "%s",
          ctx.error);
    if (!net) exit(test_end("recompute"));
    net_init_weights(net, 5);
    return net;
}

static void compare(const char *name, struct pass_result *once, struct pass_result *twice, size_t n, double most) {
    CHECK(once->segments == 1 && twice->segments > 1, "%s: %d segments", name, twice->segments);
    CHECK(once->loss == twice->loss && !memcmp(once->grad, twice->grad, n * sizeof(float)) &&
              !memcmp(once->param, twice->param, n * sizeof(float)),
          "%s: loss %.9g and %.9g, gradients and statistics are the same", name, once->loss, twice->loss);
    CHECK((double)twice->peak < most * (double)once->peak, "%s: %zu KiB, %zu KiB in %d segments", name, once->peak >> 10, twice->peak >> 10,
          twice->segments);
    free(once->param), free(once->grad), free(twice->param), free(twice->grad);
}

static void test_equal(void) {
    for (int k = 0; k < 2; ++k) {
        struct pass_result once, twice;
        struct net *net = open_text(MANY);
        size_t n = net->n_param;
        run_pass(k ? "cpu" : "ref", net, 2, false, &once);
        run_pass(k ? "cpu" : "ref", open_text(MANY), 2, true, &twice);
        compare("many layers", &once, &twice, n, .9);
    }
}

static void test_real(void) {
    const char *root = test_data("yolov4-tiny");
    char cfg[1024];
    if (!root) return;
    snprintf(cfg, sizeof cfg, "%s/cfg/yolov4-tiny.cfg", root);
    struct pass_result result[2];
    size_t n = 0;
    for (int k = 0; k < 2; ++k) {
        struct ctx ctx = { 0 };
        struct net *net;
        CHECK(net_open(&ctx, cfg, false, &net) == ST_OK && net_resize(&ctx, net, 160, 160) == ST_OK, "%s", ctx.error);
        net_init_weights(net, 5);
        n = net->n_param;
        run_pass("cpu", net, 4, k == 1, &result[k]);
    }
    compare("yolov4-tiny", &result[0], &result[1], n, .95);
}

static void test_run(void) {
    static struct run r;
    struct net *net[2];
    for (int k = 0; k < 2; ++k) {
        net[k] = open_net("batch=4\nsubdivisions=2\nlearning_rate=0.005\nmax_batches=12", "", 1);
        memset(&r, 0, sizeof r);
        r.opt.checkpoint_activations = k == 1;
        CHECK(train(&r, "cpu", net[k], "none") == ST_OK, "%s", r.ctx.error);
    }
    CHECK(!memcmp(net[0]->param, net[1]->param, net[0]->n_param * sizeof(float)), "the same training");
    net_close(net[0]), net_close(net[1]);

    net[0] = open_net("batch=2\nlearning_rate=1e9\nmax_batches=10\nmomentum=0", "", 0);
    r.opt.rate_factor = 1e28;
    CHECK(train(&r, "cpu", net[0], "none") == ST_NUMERIC && strstr(r.ctx.error, "layer "), "%s", r.ctx.error);
    net_close(net[0]);
}

int main(void) {
    tiny_start("recompute");
    test_equal();
    test_real();
    test_run();
    return tiny_end("recompute");
}
