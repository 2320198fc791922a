/* Training on pictures that the devices draw, copied ahead, is training on pictures that the loader draws. */
#include "kinds.h"
#include "net_harness.h"
#include "train_tiny.h"

static const char *kind; /* of all devices */
static bool emulated(void) { return strcmp(kind, "cuda") != 0; }

/* Watches the order of sending and drawing on the way to the backend's own operations. */
static struct picture_ops own_ops, watched_ops;
static struct { int sent, drawn; bool waits; size_t left; /* bytes */ } flow;

static enum status watch_send(struct backend *be, struct ctx *ctx, struct picture_stage *s, const struct picture_block *const *b, int n) {
    CHECK(!flow.waits, "a batch is sent over one that has not been drawn");
    ++flow.sent;
    flow.waits = true;
    return own_ops.send(be, ctx, s, b, n);
}
static enum status watch_draw(struct backend *be, struct ctx *ctx, struct picture_stage *s, struct tensor *x) {
    CHECK(flow.waits, "a batch is drawn that has not been sent");
    ++flow.drawn;
    flow.waits = false;
    return own_ops.draw(be, ctx, s, x);
}

enum who { HOST, DEVICE, WATCHED };
/* The weights after a run of `n` devices, *count of them; NULL: it failed, r->ctx says why. */
static float *trained(struct run *r, enum who who, int n, const char *keys, const char *layers, size_t *count) {
    static char text[4096];
    struct backend *be[4] = { NULL };
    snprintf(text, sizeof text, "[net]\nwidth=64\nheight=64\nchannels=3\n%s%s\n%s", strstr(keys, "learning_rate") ? "" : "learning_rate=0.005\n", keys, layers);
    memset(r, 0, sizeof *r);
    struct net *net = nets_open(&r->ctx, "feed", text, 5);
    if (!net) printf("%s\n", r->ctx.error), exit(1);
    memset(&flow, 0, sizeof flow);
    for (int i = 0; i < n; ++i) {
        if (backend_open(&r->ctx, kind, &be[i]) != ST_OK) return net_close(net), NULL; /* too small a device even for that */
        if (who == HOST) be[i]->pictures = NULL;
        if (who != WATCHED) continue;
        own_ops = watched_ops = *be[i]->pictures;
        watched_ops.send = watch_send, watched_ops.draw = watch_draw;
        be[i]->pictures = &watched_ops;
    }
    r->opt = (struct train_options){ .base = "feed", .seed = 21, .loader_threads = 2, .others = be + 1, .n_other = n - 1, .sum_piece = 100 };
    struct data_options data = { .backup = dir };
    enum status st = train_run(&r->ctx, be[0], net, &data, &images, &images, &r->opt, &r->result);
    float *w = st == ST_OK ? malloc(net->n_param * sizeof *w) : NULL;
    *count = net->n_param;
    if (w) memcpy(w, net->param, net->n_param * sizeof *w);
    net_close(net);
    for (int i = 0; i < n; ++i) {
        flow.left = be[i]->bytes;
        backend_close(be[i]);
    }
    return w;
}

static const char DETECTOR[] =
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[dropout]\nprobability=0.2\n"
    "[convolutional]\nbatch_normalize=1\nfilters=12\nsize=3\nstride=4\npad=1\nactivation=leaky\n"
    "[convolutional]\nsize=1\nfilters=14\nactivation=linear\n"
    "[yolo]\nmask=0,1\nanchors=18,18,26,26\nclasses=2\nnum=2\njitter=.2\nresize=1.3\nrandom=0\n";
static const char RESIZED[] =
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[convolutional]\nsize=1\nstride=4\nfilters=14\nactivation=linear\n"
    "[yolo]\nmask=0,1\nanchors=18,18,26,26\nclasses=2\nnum=2\njitter=.2\nrandom=1\n";
static const char SEQUENCES[] =
    "[convolutional]\nfilters=6\nsize=3\nstride=4\npad=1\nactivation=leaky\n"
    "[crnn]\noutput=5\nhidden=4\nactivation=leaky\nsize=3\npad=1\n"
    "[convolutional]\nsize=1\nstride=2\nfilters=14\nactivation=linear\n"
    "[yolo]\nmask=0,1\nanchors=18,18,26,26\nclasses=2\nnum=2\njitter=.1\nrandom=0\n";

static void check_same(int n, const char *keys, const char *layers) {
    static struct run r;
    size_t count;
    float *host = trained(&r, HOST, n, keys, layers, &count);
    CHECK(host, "%s: %s", keys, r.ctx.error);
    double loss = r.result.avg_loss;
    size_t left = flow.left;
    float *device = trained(&r, n == 1 ? WATCHED : DEVICE, n, keys, layers, &count);
    CHECK(device, "%s: %s", keys, r.ctx.error);
    if (!host || !device) return;
    double worst = 0;
    CHECK(flow.left <= left, "%s: %zu bytes stay on the device", keys, flow.left - left);
    for (size_t i = 0; i < count; ++i) worst = test_worse(worst, fabs((double)host[i] - (double)device[i]));
    /* A device multiplies and adds in one rounding: inputs are as many bits apart as the tests of pictures say. */
    CHECK(worst <= (emulated() ? 1e-6 : 2e-3), "%s, %s, %d devices: weights are %g apart", kind, keys, n, worst);
    CHECK_NEAR(loss, r.result.avg_loss, emulated() ? 1e-6 : 1e-2, "%s, %s", kind, keys);
    if (n == 1) CHECK(flow.drawn > 0 && flow.sent - flow.drawn >= 0 && flow.sent - flow.drawn <= 1, "%s: %d sent, %d drawn", keys, flow.sent, flow.drawn);
    free(host), free(device);
}

static void check_not_drawn(void) {
    static struct run r;
    size_t count;
    float *w = trained(&r, WATCHED, 1, "batch=4\nmax_batches=4\nburn_in=1\nadversarial_lr=0.1", DETECTOR, &count);
    CHECK(w && flow.sent == 0, "pictures that the adversary changes are the host's: %d sent, %s", flow.sent, r.ctx.error);
    free(w);
}

/* Numbers that fail are explained alike, though the batch behind is on its way already. */
static void check_failure(void) {
    static struct run r;
    static char why[2][sizeof r.ctx.error];
    static const char keys[] = "batch=4\nsubdivisions=2\nmax_batches=6\nburn_in=0\nlearning_rate=1e9";
    size_t count;
    for (int k = 0; k < 2; ++k) {
        float *w = trained(&r, k ? DEVICE : HOST, 1, keys, DETECTOR, &count);
        CHECK(!w && r.ctx.code == ST_NUMERIC, "a rate of 1e9 trains: %s", r.ctx.error);
        memcpy(why[k], r.ctx.error, sizeof why[k]);
        free(w);
    }
    CHECK(!emulated() || !strcmp(why[0], why[1]), "host: %s; device: %s", why[0], why[1]);
}

static void check_kind(void) {
    check_same(1, "batch=8\nsubdivisions=2\nmax_batches=6\nhue=.1\nsaturation=1.5\nexposure=1.5", DETECTOR);
    check_same(1, "batch=4\nmax_batches=5\nmosaic=1", DETECTOR);
    check_same(1, "batch=4\nmax_batches=14\nblur=1\ngaussian_noise=10", RESIZED);
    check_same(1, "batch=4\nsubdivisions=2\nmax_batches=14\ndynamic_minibatch=1", RESIZED);
    check_same(2, "batch=8\nsubdivisions=2\nmax_batches=5\nmosaic=1", DETECTOR);
    check_same(2, "batch=4\ntime_steps=2\ntrack=1\naugment_speed=2\nmax_batches=4", SEQUENCES);
    check_same(1, "batch=4\nsubdivisions=2\ntime_steps=2\ntrack=1\nmax_batches=4", SEQUENCES);
    check_not_drawn();
    check_failure();
}

/* A device with room for the network, but not for its pictures. */
static void check_memory(void) {
    static struct run r;
    bool said = false;
    size_t count;
    char small[64];
    kind = small;
    for (int tenths = 20; tenths < 120 && !said; ++tenths) {
        snprintf(small, sizeof small, "cuda-emulated@%d.%d", tenths / 10, tenths % 10);
        float *w = trained(&r, DEVICE, 1, "batch=8\nmax_batches=1\nblur=1\ngaussian_noise=9", DETECTOR, &count);
        said = !w && strstr(r.ctx.error, "pictures of 8 images: ") && strstr(r.ctx.error, "subdivisions");
        free(w);
        if (w) break;
    }
    CHECK(said, "no memory is too small for pictures alone: %s", r.ctx.error);
}

int main(void) {
    const char *kinds[MAX_KINDS];
    int n = fast_kinds(kinds);
    tiny_start("feed");
    for (int i = 1; i < n; ++i) kind = kinds[i], check_kind();
    check_memory();
    return tiny_end("feed");
}
