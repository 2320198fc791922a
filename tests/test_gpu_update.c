/* What follows the update of a training step (weights packed for their convolutions) is noted and replayed: the same bits as without. */
#include "kinds.h"
#include "net_harness.h"
#include "train_tiny.h"

static const char HEAD[] =
    "[convolutional]\nsize=1\nfilters=14\nactivation=linear\n"
    "[yolo]\nmask=0,1\nanchors=18,18,26,26\nclasses=2\nnum=2\njitter=.2\nrandom=0\n";
static const char PLAIN[] =
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
    "[convolutional]\nbatch_normalize=1\nfilters=12\ngroups=4\nsize=3\nstride=4\npad=1\nactivation=mish\n";
static const char WEIGHTED[] =
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=4\npad=1\nactivation=leaky\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
    "[shortcut]\nfrom=-2\nactivation=linear\nweights_type=per_channel\nweights_normalization=softmax\n"
    "[convolutional]\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n";
static const char BINARY[] =
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[convolutional]\nbatch_normalize=1\nxnor=1\nfilters=8\nsize=3\nstride=4\npad=1\nactivation=leaky\n";
static const char THAWING[] =
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=4\npad=1\nactivation=leaky\nstopbackward=3\n";
static const char TURNED[] = /* its kernels' maps come from the host in every step, which no note can hold */
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nrotate=1\nactivation=leaky\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=4\npad=1\nactivation=leaky\n";

/* Counts on the way to the backend's own operations. */
static struct pass_ops own, counted;
static int notes, replays;
static struct recording *count_recorded(struct backend *be, struct ctx *ctx) {
    struct recording *r = own.recorded(be, ctx);
    notes += r != NULL;
    return r;
}
static bool count_replay(struct backend *be, struct recording *r) {
    ++replays;
    return own.replay(be, r);
}
static void count(struct backend *be) {
    own = counted = *be->passes;
    counted.recorded = count_recorded, counted.replay = count_replay;
    be->passes = &counted;
    notes = replays = 0;
}

static float *trained(const char *kind, bool passes, const char *keys, const char *layers, size_t *n, struct run *r) {
    static char text[4096];
    struct backend *be;
    snprintf(text, sizeof text, "[net]\nwidth=64\nheight=64\nchannels=3\nlearning_rate=0.005\nbatch=4\n%s\n%s%s", keys, layers, HEAD);
    memset(r, 0, sizeof *r);
    r->ctx.log = keep_log, r->ctx.log_user = r;
    struct net *net = nets_open(&r->ctx, "update", text, 5);
    CHECK(net && backend_open(&r->ctx, kind, &be) == ST_OK, "%s", r->ctx.error);
    if (!net) exit(1);
    if (passes) count(be);
    else be->passes = NULL;
    struct data_options data = { .backup = dir };
    struct train_options opt = { .base = "update", .seed = 21, .loader_threads = 1 };
    enum status st = train_run(&r->ctx, be, net, &data, &images, &images, &opt, &r->result);
    CHECK(st == ST_OK, "%s, %s: %s", kind, keys, r->ctx.error);
    float *w = malloc((net->n_param + 1) * sizeof *w);
    memcpy(w, net->param, net->n_param * sizeof *w);
    *n = net->n_param;
    net_close(net);
    backend_close(be);
    return w;
}

/* wanted: how many notes there are; -1: some. */
static void check(const char *kind, const char *keys, const char *layers, int wanted, bool overflows) {
    static struct run plain, noted;
    size_t n;
    float *a = trained(kind, false, keys, layers, &n, &plain), *b = trained(kind, true, keys, layers, &n, &noted);
    CHECK(!memcmp(a, b, n * sizeof *a) && plain.result.avg_loss == noted.result.avg_loss, "%s, %s: other bits with notes", kind, keys);
    CHECK((notes == wanted || wanted < 0) && replays > notes, "%s, %s: %d notes, %d replays", kind, keys, notes, replays);
    CHECK((strstr(noted.log, "no update") != NULL) == overflows && (strstr(plain.log, "no update") != NULL) == overflows, "%s: overflow: %s", keys, noted.log);
    free(a), free(b);
}

/* Packed weights follow the parameters: the pass after an update is that of a network bound with them. */
static void check_follows(const char *kind) {
    static char text[2048];
    struct ctx ctx = { 0 };
    struct backend *be;
    snprintf(text, sizeof text, "[net]\nwidth=32\nheight=32\nchannels=3\n%s[convolutional]\nsize=1\nfilters=5\nactivation=linear\n", PLAIN);
    struct net *net = nets_open(&ctx, "follows", text, 5), *fresh = nets_open(&ctx, "follows", text, 5);
    CHECK(backend_open(&ctx, kind, &be) == ST_OK, "%s", ctx.error);
    count(be);
    CHECK(net_bind(&ctx, net, be, NET_TRAIN, 2) == ST_OK, "%s", ctx.error);
    float *x = nets_input(net, 2, 9);
    size_t n = 2 * shape_count(net->layer[net->n - 1].out);
    float *y = calloc(n, sizeof *y), *z = calloc(n, sizeof *z);
    replays = 0;
    for (int step = 0; step < 4; ++step) {
        net_forward(&ctx, net, x); /* moves the rolling statistics */
        net->be->ops->scale(be, net->n_param, 1.1, net->dev_param);
        CHECK(net_refresh(&ctx, net) == ST_OK, "%s", ctx.error);
    }
    CHECK(replays >= 3, "%d replays", replays);
    net_pull(net);
    memcpy(fresh->param, net->param, net->n_param * sizeof *x);
    CHECK(net_forward(&ctx, net, x) == ST_OK, "%s", ctx.error);
    net_output(net, net->n - 1, y);
    CHECK(net_bind(&ctx, fresh, be, NET_TRAIN, 2) == ST_OK && net_forward(&ctx, fresh, x) == ST_OK, "%s", ctx.error);
    net_output(fresh, net->n - 1, z);
    CHECK(!memcmp(y, z, n * sizeof *y), "%s: a pass after the update is not that of its weights", kind);
    net_close(net), net_close(fresh);
    backend_close(be);
    free(x), free(y), free(z);
}

int main(void) {
    const char *found[MAX_KINDS];
    int n = fast_kinds(found);
    static const char *const kinds[] = { "cuda-emulated", "cuda-emulated:tf32", "cuda-emulated:fp16", "cuda-emulated:bf16" };
    tiny_start("gpu_update");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; ++i) {
        bool half = strstr(kinds[i], "fp16") != NULL;
        check(kinds[i], half ? "max_batches=14" : "max_batches=5\nsubdivisions=2\nburn_in=2", PLAIN, i ? 1 : 3, half); /* the host's loops that stand for a library are not noted */
        check_follows(kinds[i]);
    }
    for (int i = 2; i < n; ++i) {
        check(found[i], "max_batches=5\nsubdivisions=2\nburn_in=2", PLAIN, -1, false);
        check(found[i], "max_batches=5\nadam=1", WEIGHTED, -1, false);
        check_follows(found[i]);
    }
    check(kinds[0], "max_batches=5\npolicy=steps\nsteps=2,3\nscales=.5,.1\nadam=1\nmax_grad_norm=.5", PLAIN, 3, false);
    check(kinds[0], "max_batches=6", THAWING, 5, false);
    check(kinds[0], "max_batches=4", BINARY, 3, false);
    check(kinds[0], "max_batches=4", WEIGHTED, 3, false);
    check(kinds[0], "max_batches=4", TURNED, 2, false);
    return tiny_end("gpu_update");
}
