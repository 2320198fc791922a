/* The loss of [yolo] and [Gaussian_yolo] on a device against the one on the host, which tests/test_heads*.c hold to Darknet's: on every
 * option, deltas, numbers and the line that is logged. */
#include <unistd.h>

#include "net/internal.h"
#include "kinds.h"
#include "prune_nets.h"
#include "test.h"

enum { BATCH = 3, CLASSES = 3, MOST = 12 };

/* Heads read a layer that only copies values: both sides see the same bits. */
#define ANCHORS "anchors=10,14, 23,27, 37,58, 81,82\nnum=4\nclasses=3\n"

static struct truth_list truth[BATCH];
static struct truth item[BATCH][MOST];

/* Boxes of all sizes, several on one place, one that fills the picture, classes that there are not, an image without any. */
static void make_truth(uint64_t seed, bool strange) {
    struct rng r = rng_stream(seed, 77, 1);
    for (int i = 0; i < BATCH; ++i) {
        truth[i] = (struct truth_list){ i == 1 ? 0 : MOST, MOST, item[i] };
        for (int k = 0; k < MOST; ++k) {
            struct box b = { (float)rng_between(&r, 0, 1), (float)rng_between(&r, 0, 1), (float)rng_between(&r, .02, .9), (float)rng_between(&r, .02, .9) };
            if (k % 4 == 3) b = item[i][k - 1].box, b.x += .01f;
            if (k == 5) b = (struct box){ 1, 1, 1, 1 };
            item[i][k] = (struct truth){ b, strange && k % 5 == 4 ? (k % 2 ? -1 : 7) : rng_int(&r, 0, CLASSES - 1), k };
        }
    }
}

/* What a head makes of x: the delta in planar order, its numbers. */
struct made { float *delta; size_t n; struct loss_stats stats; double loss; };

static bool make(const char *kind, const char *text, const float *x, bool host, struct made *out) {
    struct ctx ctx = { 0 };
    struct backend *be = NULL;
    struct net *net = nets_open(&ctx, "yolo", text, 3);
    struct loss_stats *stats = calloc((size_t)net->n, sizeof *stats);
    struct net_truth t = { .boxes = truth };
    net->host_heads = host;
    bool ok = backend_open(&ctx, kind, &be) == ST_OK && net_bind(&ctx, net, be, NET_TRAIN, BATCH) == ST_OK && net_forward(&ctx, net, x) == ST_OK;
    ok = ok && net_loss(&ctx, net, &t, &out->loss, stats) == ST_OK;
    CHECK(ok, "%s: %s\n%s", kind, ctx.error, text);
    struct layer *l = &net->layer[net->n - 1];
    out->n = (size_t)BATCH * shape_count(l->in_shape[0]);
    out->delta = calloc(out->n + 1, sizeof *out->delta);
    out->stats = stats[net->n - 1];
    if (ok && l->head_delta) memcpy(out->delta, l->head_delta, out->n * sizeof *out->delta);
    CHECK(!ok || (l->head_delta == NULL) == (!host && be->yolo && !strstr(text, "num_sigmas")), "%s: where the loss is computed", kind);
    if (ok && !l->head_delta) { /* through the layer's backward pass */
        struct pass p;
        struct shape in = l->in_shape[0];
        in.n = BATCH;
        struct tensor dx = tensor_of(be, in, be->ops->alloc(be, &ctx, shape_count(in))), *to = &dx;
        bool add = false;
        net_pass(&ctx, net, net->n - 1, &p);
        p.dx = &to, p.add = &add;
        CHECK(l->ops->backward(l, &p) == ST_OK, "%s", ctx.error);
        add = true; /* twice the delta */
        CHECK(l->ops->backward(l, &p) == ST_OK, "%s", ctx.error);
        be->ops->to_nchw(be, &dx, out->delta);
        for (size_t i = 0; i < out->n; ++i) out->delta[i] /= 2;
        be->ops->free(be, dx.data);
    }
    net_close(net);
    backend_close(be);
    free(stats);
    return ok;
}

/* The numbers of two lines of a log are near each other, the words are equal. */
static bool lines_agree(const char *a, const char *b) {
    while (*a && *b) {
        char *end_a, *end_b;
        double va = strtod(a, &end_a), vb = strtod(b, &end_b);
        if (end_a != a && end_b != b) {
            if (!(fabs(va - vb) <= 2e-4 * fmax(1, fabs(va))) && !(isnan(va) && isnan(vb))) return false;
            a = end_a, b = end_b;
        } else if (*a++ != *b++) return false;
    }
    return *a == *b;
}

static long long trained, rewritten;

static void compare(const char *kind, const char *name, const char *text, const float *x) {
    struct made host = { 0 }, device = { 0 };
    if (make("cpu", text, x, true, &host) && make(kind, text, x, false, &device)) {
        double worst = 0;
        size_t at = 0;
        for (size_t i = 0; i < host.n; ++i) {
            double d = fabs((double)host.delta[i] - (double)device.delta[i]) / fmax(1, fabs((double)host.delta[i]));
            if (!(d <= worst)) worst = d, at = i;
        }
        CHECK(worst <= 1e-5, "%s, %s: delta %zu is %g, on the host %g", kind, name, at, (double)device.delta[at], (double)host.delta[at]);
        CHECK_NEAR(host.loss, device.loss, 1e-5, "%s, %s: loss", kind, name);
        CHECK_NEAR(host.stats.averaged, device.stats.averaged, 1e-5, "%s, %s: averaged part", kind, name);
        CHECK_NEAR(host.stats.iou_sum, device.stats.iou_sum, 1e-5, "%s, %s", kind, name);
        CHECK_NEAR(host.stats.class_loss, device.stats.class_loss, 1e-5, "%s, %s", kind, name);
        CHECK_NEAR(host.stats.iou_loss, device.stats.iou_loss, 1e-5, "%s, %s", kind, name);
        CHECK(host.stats.count == device.stats.count && host.stats.boxes == device.stats.boxes && host.stats.rewritten == device.stats.rewritten,
              "%s, %s: %d %lld %lld, on the host %d %lld %lld", kind, name, device.stats.count, device.stats.boxes, device.stats.rewritten,
              host.stats.count, host.stats.boxes, host.stats.rewritten);
        CHECK(lines_agree(host.stats.line, device.stats.line), "%s, %s:\n%s\n%s", kind, name, host.stats.line, device.stats.line);
        trained += host.stats.count, rewritten += host.stats.rewritten;
    }
    free(host.delta), free(device.delta);
}

static float *input(int channels, uint64_t seed, bool activated) {
    size_t n = (size_t)BATCH * (size_t)channels * 64 * 96;
    float *x = malloc(n * sizeof *x);
    struct rng r = rng_stream(seed, 78, 1);
    for (size_t i = 0; i < n; ++i) x[i] = activated ? (float)rng_uniform(&r) : (float)rng_between(&r, -3, 1.5);
    return x;
}

/* [maxpool] size=1 stride=16 copies one cell of 16 x 16. */
static const char *const options[] = {
    "", "iou_loss=iou\n", "iou_loss=giou\n", "iou_loss=diou\n", "iou_loss=ciou\n",
    "iou_thresh=0.2\n", "iou_thresh=0.2\niou_thresh_kind=giou\niou_loss=ciou\n", "iou_thresh=0.1\niou_thresh_kind=diou\niou_loss=giou\n",
    "iou_thresh=0.15\niou_thresh_kind=ciou\niou_loss=iou\n",
    "scale_x_y=1.2\niou_loss=ciou\niou_normalizer=0.07\n", "objectness_smooth=1\niou_loss=ciou\nobj_normalizer=0.4\n",
    "ignore_thresh=0.05\n", "ignore_thresh=0.05\nobjectness_smooth=1\n", "truth_thresh=0.1\nignore_thresh=0.05\n",
    "truth_thresh=0.1\nobjectness_smooth=1\niou_loss=giou\niou_thresh=0.3\n", "max_delta=0.3\n", "max_delta=0.05\niou_loss=ciou\niou_normalizer=3\n",
    "label_smooth_eps=0.1\n", "counters_per_class=100,20,3\n", "counters_per_class=100,20,3\ncls_normalizer=0.7\niou_loss=ciou\niou_thresh=0.2\n",
    "counters_per_class=100,20,3\nmax_delta=2\ntruth_thresh=0.1\nobjectness_smooth=1\n",
    "delta_normalizer=0.3\ncls_normalizer=2\nobj_normalizer=3\n", "max=4\n", "beta_nms=0.8\nshow_details=0\niou_loss=giou\n",
    "iou_loss=ciou\nlabel_smooth_eps=0.05\niou_thresh=0.2\nscale_x_y=1.1\nobjectness_smooth=1\nmax_delta=1\ntruth_thresh=0.4\n",
};

static void check_options(const char *kind, const char *section, int entries, const char *more, bool new_coords) {
    static const char *const masks[] = { "mask=0,1,2,3\n", "mask=3,1\n" };
    char text[4096], name[512];
    for (size_t m = 0; m < 2; ++m) {
        int anchors = m ? 2 : 4, channels = anchors * entries;
        float *x = input(channels, 5 + m, new_coords);
        for (size_t k = 0; k < sizeof options / sizeof *options; k += getenv("YOLO_FEW") ? 7 : 1) { /* few: for slow tools */
            const char *option = options[k];
            if (!strcmp(section, "Gaussian_yolo") && strstr(option, "show_details")) continue;
            snprintf(name, sizeof name, "[%s] %s%s%s", section, masks[m], option, more);
            snprintf(text, sizeof text, "[net]\nwidth=96\nheight=64\nchannels=%d\nbatch=3\nsubdivisions=1\nmax_batches=100\n"
                     "[maxpool]\nsize=1\nstride=16\n[%s]\n" ANCHORS "%s%s%s", channels, section, masks[m], option, more);
            make_truth(11 + k, k % 3 == 0);
            compare(kind, name, text, x);
        }
        free(x);
    }
}

/* map= sends classes elsewhere, or nowhere. */
static void check_map(const char *kind) {
    char path[] = "/tmp/test_yolo_device_XXXXXX", text[4096];
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, "2\n0\n", 4) != 4) exit(1);
    close(fd);
    float *x = input(16, 3, false);
    snprintf(text, sizeof text, "[net]\nwidth=96\nheight=64\nchannels=16\nbatch=3\nsubdivisions=1\nmax_batches=100\n[maxpool]\nsize=1\nstride=16\n"
             "[yolo]\n" ANCHORS "mask=1,2\nmap=%s\nignore_thresh=0.1\ntruth_thresh=0.3\niou_loss=ciou\n", path);
    make_truth(5, true);
    compare(kind, "map", text, x);
    free(x);
    unlink(path);
}

/* Values that are no numbers train nothing, on either side. */
static void check_numbers(const char *kind) {
    char text[4096];
    float *x = input(16, 4, false);
    for (int i = 0; i < 16 * 64 * 96; i += 4001) x[i] = i % 2 ? NAN : 120;
    snprintf(text, sizeof text, "[net]\nwidth=96\nheight=64\nchannels=16\nbatch=3\nsubdivisions=1\nmax_batches=100\n[activation]\nactivation=linear\n"
             "[yolo]\n" ANCHORS "mask=1,2\niou_loss=ciou\nmax_delta=5\n");
    make_truth(6, false);
    struct made host = { 0 }, device = { 0 };
    if (make("cpu", text, x, true, &host) && make(kind, text, x, false, &device)) {
        size_t apart = 0;
        for (size_t i = 0; i < host.n; ++i) {
            double a = host.delta[i], b = device.delta[i];
            apart += isfinite(a) != isfinite(b) || (isfinite(a) && fabs(a - b) > 1e-5 * fmax(1, fabs(a)));
        }
        CHECK(apart == 0, "%s: %zu deltas differ", kind, apart);
    }
    free(host.delta), free(device.delta), free(x);
}

/* Filtering late in training, and whoever looks at the heads, stay on the host. */
static void check_left_to_host(const char *kind) {
    char text[4096];
    float *x = input(16, 4, false);
    snprintf(text, sizeof text, "[net]\nwidth=96\nheight=64\nchannels=16\nbatch=3\nsubdivisions=1\nmax_batches=100\nnum_sigmas_reject_badlabels=2\n"
             "[maxpool]\nsize=1\nstride=16\n[yolo]\n" ANCHORS "mask=1,2\n");
    make_truth(6, false);
    compare(kind, "num_sigmas_reject_badlabels", text, x);
    free(x);
}

int main(void) {
    const char *kinds[MAX_KINDS];
    int n = fast_kinds(kinds);
    for (int i = 1; i < n; ++i) { /* 0: the cpu */
        check_options(kinds[i], "yolo", 5 + CLASSES, "", false);
        check_options(kinds[i], "yolo", 5 + CLASSES, "new_coords=1\nscale_x_y=2\n", true);
        check_options(kinds[i], "yolo", 5 + CLASSES, "focal_loss=1\n", false);
        check_options(kinds[i], "Gaussian_yolo", 9 + CLASSES, "uc_normalizer=0.7\n", false);
        check_options(kinds[i], "Gaussian_yolo", 9 + CLASSES, "yolo_point=left_top\nmax_delta=5\n", false);
        check_options(kinds[i], "Gaussian_yolo", 9 + CLASSES, "yolo_point=right_bottom\n", false);
        check_map(kinds[i]);
        check_numbers(kinds[i]);
        check_left_to_host(kinds[i]);
    }
    CHECK(getenv("YOLO_FEW") || (trained > 1000 && rewritten > 100), "%lld predictions were trained, %lld more than once", trained, rewritten);
    return test_end("yolo_device");
}
