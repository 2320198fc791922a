/* Whole runs with -blocks, of detectors and of classifiers: proved, recorded, and made again byte for byte from the record. */
#include <ftw.h>
#include <unistd.h>

#include "base/io.h"
#include "in_folder.h"
#include "prune_nets.h"
#include "recipe/prune_blocks.h"
#include "vision/image.h"

#define CONV(f, s) "[convolutional]\nbatch_normalize=1\nfilters=" #f "\nsize=3\nstride=" #s "\npad=1\nactivation=leaky\n"
#define BLOCK CONV(8, 1) CONV(16, 1) "[shortcut]\nfrom=-3\nactivation=linear\n"
#define BODY "[net]\nwidth=32\nheight=32\nchannels=3\nbatch=4\n" CONV(16, 2) BLOCK BLOCK BLOCK CONV(16, 2) "[route]\nlayers=-1\n"
static const char detector[] = BODY "[convolutional]\nfilters=7\nsize=1\nactivation=linear\n[yolo]\nanchors=8,8\nnum=1\nclasses=2\n";
static const char classifier[] = BODY "[convolutional]\nfilters=2\nsize=1\nactivation=linear\n[avgpool]\n[softmax]\n";

/* Five pictures with a class in each name; classifiers need nothing beside them. */
static bool make_files(struct ctx *ctx) {
    char text[1024] = "", line[256];
    struct rng r = rng_stream(1, 2, 3);
    for (int i = 0; i < 5; ++i) {
        struct pixels px;
        char name[32];
        if (pixels_new(ctx, 40, 36, 3, &px) != ST_OK) return false;
        for (int k = 0; k < 40 * 36 * 3; ++k) px.data[k] = (uint8_t)rng_int(&r, 0, 255);
        snprintf(name, sizeof name, "%d_%s.png", i, i % 2 ? "odd" : "even");
        pixels_write(ctx, in_folder(name), &px, 90);
        pixels_free(&px);
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s\n", in_folder(name));
    }
    io_write(ctx, in_folder("list.txt"), text, strlen(text));
    io_write(ctx, in_folder("labels"), "even\nodd\n", 9);
    snprintf(line, sizeof line, "classes=2\ntrain=%s\nvalid=%s\nlabels=%s\n", in_folder("list.txt"), in_folder("list.txt"), in_folder("labels"));
    io_write(ctx, in_folder("a.data"), line, strlen(line));
    return ctx->code == ST_OK;
}

static void add_boxes(struct ctx *ctx) {
    for (int i = 0; i < 5; ++i) {
        char name[32];
        const char *boxes = "0 0.4 0.5 0.3 0.3\n1 0.7 0.3 0.2 0.1\n";
        snprintf(name, sizeof name, "%d_%s.txt", i, i % 2 ? "odd" : "even");
        io_write(ctx, in_folder(name), boxes, strlen(boxes));
    }
}

static enum status run(struct ctx *ctx, struct backend *be, const struct prune_options *opt, int *layers) {
    struct prune_job *job;
    ctx_clear(ctx);
    enum status st = prune_open(ctx, be, opt, &job);
    if (st == ST_OK) st = prune_ready(ctx, job);
    if (st == ST_OK) st = prune_blocks(ctx, job, NULL);
    if (st == ST_OK && !opt->from_plan) st = prune_score(ctx, job);
    if (st == ST_OK) st = prune_select(ctx, job);
    if (st == ST_OK) st = prune_cut(ctx, job);
    if (st == ST_OK) CHECK(job->worst <= 1e-5 && job->worst_blocks <= 1e-5, "differ by %g and %g", job->worst, job->worst_blocks);
    if (st == ST_OK) CHECK(job->selection.before.params == (double)prune_before(job)->n_param, "before is not the network as it came");
    if (st == ST_OK) *layers = job->small->n;
    if (st == ST_OK && opt->calc_map) st = prune_measure(ctx, job);
    if (st == ST_OK && opt->classifier && opt->calc_map) CHECK(job->classes_before.images == 5 && job->classes_after.images == 5, "accuracy was not measured");
    if (st == ST_OK) st = prune_write(ctx, job);
    prune_close(job);
    return st;
}

static void same_file(const char *a, const char *b) {
    struct ctx ctx = { 0 };
    char one[65] = "", other[65] = "-";
    CHECK(io_sha256(&ctx, in_folder(a), one) == ST_OK && io_sha256(&ctx, in_folder(b), other) == ST_OK, "%s", ctx.error);
    CHECK(!strcmp(one, other), "%s and %s differ", a, b);
}

static void check_runs(struct ctx *ctx, struct backend *be, const char *text, bool classes) {
    char data[256], cfg[256], weights[256], plan[256], out[2][256];
    const char *kind = classes ? "classifier" : "detector";
    int layers = 0, again = 0;
    struct net *net = nets_open(ctx, kind, text, 6);
    snprintf(data, sizeof data, "%s", in_folder("a.data")), snprintf(cfg, sizeof cfg, "%s", in_folder("a.cfg"));
    snprintf(weights, sizeof weights, "%s", in_folder("a.weights")), snprintf(plan, sizeof plan, "%s", in_folder("one.prune.json"));
    snprintf(out[0], sizeof out[0], "%s", in_folder("one")), snprintf(out[1], sizeof out[1], "%s", in_folder("two"));
    io_write(ctx, cfg, text, strlen(text));
    if (!net || net_save(ctx, net, weights, -1) != ST_OK) return;
    struct prune_options opt = prune_defaults();
    opt.data = data, opt.cfg = cfg, opt.weights = weights, opt.out = out[0];
    opt.classifier = opt.calc_map = classes;
    opt.criterion = classes ? "taylor" : "saliency";
    opt.force = true, opt.blocks = 2;
    opt.select.target = TARGET_FLOPS, opt.select.value = .5, opt.select.round = 1, opt.select.min_filters = 2;
    opt.select.cost_power = -1;
    for (int compensate = 0; compensate < 2; ++compensate) {
        opt.compensate = compensate;
        CHECK(run(ctx, be, &opt, &layers) == ST_OK, "%s: %s", kind, ctx->error);
        CHECK(layers == net->n - 6, "%s: %d of %d layers are left", kind, layers, net->n);
        struct prune_options second = opt;
        second.blocks = 0, second.from_plan = plan, second.out = out[1];
        CHECK(run(ctx, be, &second, &again) == ST_OK && again == layers, "%s from the plan: %s", kind, ctx->error);
        same_file("one.cfg", "two.cfg");
        same_file("one.weights", "two.weights");
    }
    opt.blocks = BLOCKS_AUTO; /* by trial cuts, whose loss is that of the kind of network */
    CHECK(run(ctx, be, &opt, &layers) == ST_OK && (net->n - layers) % 3 == 0, "%s: auto leaves %d layers %s", kind, layers, ctx->error);
    opt.blocks = 2;
    opt.keep_layers = "1-6";
    CHECK(run(ctx, be, &opt, &layers) == ST_OK && layers == net->n - 3, "%s: blocks of kept layers went: %d of %d are left %s", kind, layers, net->n, ctx->error);
    net_close(net);
}

/* What cannot be: one line each. */
static void check_refused(struct ctx *ctx, struct backend *be) {
    char data[256], cfg[256], weights[256];
    int layers;
    struct prune_options opt = prune_defaults();
    snprintf(data, sizeof data, "%s", in_folder("a.data")), snprintf(cfg, sizeof cfg, "%s", in_folder("a.cfg"));
    snprintf(weights, sizeof weights, "%s", in_folder("a.weights"));
    opt.data = data, opt.cfg = cfg, opt.weights = weights, opt.classifier = true, opt.criterion = "saliency";
    CHECK(run(ctx, be, &opt, &layers) != ST_OK && strstr(ctx->error, "labelled boxes"), "%s", ctx->error);
    opt.criterion = "l1";
    CHECK(run(ctx, be, &opt, &layers) != ST_OK && strstr(ctx->error, "is a detector"), "%s", ctx->error);
    io_write(ctx, in_folder("labels"), "even\nnone\n", 10);
    io_write(ctx, in_folder("a.cfg"), classifier, strlen(classifier));
    struct net *net = nets_open(ctx, "classifier", classifier, 6);
    if (net) net_save(ctx, net, weights, -1);
    net_close(net);
    CHECK(run(ctx, be, &opt, &layers) != ST_OK && strstr(ctx->error, "1_odd.png: no label occurs"), "%s", ctx->error);
}

static int remove_visit(const char *path, const struct stat *st, int flag, struct FTW *f) { return (void)st, (void)flag, (void)f, remove(path); }

int main(void) {
    struct ctx ctx = { 0 };
    struct backend *be;
    snprintf(folder, sizeof folder, "/tmp/test_blocks_XXXXXX");
    if (!mkdtemp(folder) || !make_files(&ctx) || backend_open(&ctx, "cpu", &be) != ST_OK) return 1;
    check_runs(&ctx, be, classifier, true);
    add_boxes(&ctx);
    check_runs(&ctx, be, detector, false);
    check_refused(&ctx, be);
    backend_close(be);
    nftw(folder, remove_visit, 16, FTW_DEPTH | FTW_PHYS);
    return test_end("blocks_run");
}
