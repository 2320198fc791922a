/* The pruner on real networks, and whole runs through files: masked = cut within 1e-4 on the fast backend,
 * what was written opens again as the same detector, and a recorded plan makes the same bytes. */
#include "golden.h"

#include <unistd.h>

#include "eval/detect.h"
#include "prune/saliency.h"
#include "prune/select.h"
#include "in_folder.h"
#include "prune_nets.h"
#include "recipe/compare.h"
#include "vision/image.h"

/* --- one network
 * -----------------------------------------------------------------------------------------------------------
 */

enum { PICTURES = 4 };
struct pictures {
    size_t floats;
    float *x;
};

static enum status get_picture(void *user, struct ctx *ctx, int i, struct score_image *out) {
    struct pictures *p = user;
    (void)ctx;
    out->x = p->x + (size_t)i * p->floats;
    out->truth = (struct truth_list){ 0, 0, NULL };
    return ST_OK;
}

static struct pictures read_pictures(struct ctx *ctx, const struct net *net, const char *const *path) {
    struct pictures p = { nets_image(net), NULL };
    p.x = nets_input(net, PICTURES, 77); /* stands in where there is no file */
    for (int i = 0; i < PICTURES && path; ++i) {
        struct image picture = { 0 }, input = { 0 };
        CHECK(image_read(ctx, path[i], net->opt.channels, &picture) == ST_OK &&
                  detect_input(ctx, net, &picture, false, &input) == ST_OK,
              "%s", ctx->error);
        if (input.data) memcpy(p.x + (size_t)i * p.floats, input.data, p.floats * sizeof *p.x);
        image_free(&picture);
        image_free(&input);
    }
    return p;
}

/* What a network says about a picture: boxes, or without a head the values of its output (caller frees). */
static float *answers(struct ctx *ctx, struct backend *be, struct net *net, const float *x, struct detection_list *list) {
    struct detect_options opt = { .thresh = .005f, .nms = .45f };
    float *y = NULL;
    CHECK(net_bind(ctx, net, be, NET_INFER, 1) == ST_OK && net_forward(ctx, net, x) == ST_OK, "%s",
          ctx->error);
    if (net_heads(net, NULL, 0)) {
        CHECK(detect_collect(ctx, net, 0, net->opt.width, net->opt.height, &opt, list) == ST_OK, "%s",
              ctx->error);
    } else if (net->be) {
        int last = net_output_layer(net);
        y = calloc(shape_count(net->layer[last].out), sizeof *y);
        net_output(net, last, y);
    }
    net_unbind(net);
    return y;
}

/* Written, opened again: the same boxes with the same probabilities, or the same output. */
static void check_files(struct ctx *ctx, struct backend *be, const char *name, struct net *small,
                        const float *x) {
    char cfg[256], weights[256], *text = NULL;
    size_t size;
    struct net *again = NULL;
    struct detection_list a = { 0 }, b = { 0 };
    snprintf(cfg, sizeof cfg, "%s/real.cfg", folder);
    snprintf(weights, sizeof weights, "%s/real.weights", folder);
    CHECK(cfg_text(ctx, small->doc, &text, &size) == ST_OK && io_write(ctx, cfg, text, size) == ST_OK,
          "%s: %s", name, ctx->error);
    CHECK(net_save(ctx, small, weights, -1) == ST_OK, "%s: %s", name, ctx->error);
    CHECK(net_open(ctx, cfg, false, &again) == ST_OK &&
              net_load(ctx, again, weights, LOAD_WHOLE, NULL) == ST_OK,
          "%s: %s", name, ctx->error);
    free(text);
    if (!again) return;
    float *y = answers(ctx, be, small, x, &a), *z = answers(ctx, be, again, x, &b);
    size_t values = y && z ? shape_count(small->layer[net_output_layer(small)].out) : 0;
    CHECK(!y == !z && !memcmp(y ? y : x, z ? z : x, values * sizeof *y), "%s: the output changed", name);
    CHECK(a.n == b.n && a.classes == b.classes, "%s: %d and %d detections", name, a.n, b.n);
    for (int i = 0; i < a.n && i < b.n; ++i)
        CHECK(!memcmp(&a.item[i].box, &b.item[i].box, sizeof a.item[i].box) &&
                  !memcmp(a.item[i].prob, b.item[i].prob, (size_t)a.classes * sizeof(float)),
              "%s: detection %d changed", name, i);
    detections_free(&a);
    detections_free(&b);
    free(y), free(z);
    net_close(again);
    unlink(cfg);
    unlink(weights);
}

enum { SMALL = 8 * 1000 * 1000 };

static void check_cut(struct ctx *ctx, struct backend *be, const char *name, struct net *net,
                      const char *const *picture) {
    struct channels *ch = NULL;
    struct selection chosen = { 0 };
    struct net *small = NULL;
    double worst = 1;
    CHECK(channels_build(ctx, net, &ch) == ST_OK, "%s: %s", name, ctx->error);
    if (!ch) return;
    struct pictures p = read_pictures(ctx, net, picture);
    struct score_source src = { .count = picture ? PICTURES : 1, .get = get_picture, .user = &p };
    double *score = calloc((size_t)ch->n_group, sizeof *score),
           *mean = calloc((size_t)ch->n_node, sizeof *mean);
    float *param = calloc(net->n_param + 1, sizeof *param);
    struct rng r = rng_stream(9, 9, 9);
    for (int g = 0; g < ch->n_group; ++g) score[g] = rng_uniform(&r);
    struct select_options opt = select_defaults();
    opt.target = TARGET_RATIO, opt.value = .3, opt.round = 1, opt.min_filters = 1, opt.cost_power = 0;
    int movable = 0, checked = picture ? PICTURES : 1;
    for (int g = 0; g < ch->n_group; ++g) movable += !ch->group[g].frozen;
    bool enough = movable > .4 * ch->n_group; /* binary convolutions hold on to what they read */
    CHECK(select_groups(ctx, ch, score, &opt, &chosen) == ST_OK && (chosen.reached || !enough), "%s: %s", name,
          ctx->error);
    bool small_one = picture || net->n_param < SMALL;
    if (small_one) CHECK(saliency_means(ctx, net, be, ch, &src, 1, mean) == ST_OK, "%s: %s", name, ctx->error);
    for (int i = 0; !small_one && i < ch->n_node; ++i) mean[i] = rng_between(&r, -.2, .2); /* holds for any; saves a pass */
    memcpy(param, net->param, net->n_param * sizeof *param);
    if (chosen.keep) slice_compensate(net, ch, chosen.keep, mean, param);
    if (chosen.keep)
        CHECK(slice_apply(ctx, net, ch, chosen.keep, param, &small) == ST_OK, "%s: %s", name, ctx->error);
    if (small) {
        CHECK(small->n_param < net->n_param || !enough, "%s: nothing was removed", name);
        CHECK(slice_check(ctx, be, net, ch, chosen.keep, param, small, p.x, checked, &worst) == ST_OK,
              "%s: %s", name, ctx->error);
        CHECK(worst <= 1e-4, "%s: masked and cut networks differ by %g", name, worst);
        if (small_one) check_files(ctx, be, name, small, p.x);
        net_close(small);
        small = NULL;
    }
    if (chosen.keep && small_one) {
        CHECK(slice_apply(ctx, net, ch, chosen.keep, net->param, &small) == ST_OK, "%s: %s", name, ctx->error);
        if (small)
            CHECK(slice_check(ctx, be, net, ch, chosen.keep, net->param, small, p.x, 1, &worst) == ST_OK && worst <= 1e-4,
                  "%s: without compensation masked and cut networks differ by %g %s", name, worst, ctx->error);
    }
    selection_free(&chosen);
    free(score), free(mean), free(param), free(p.x);
    channels_drop(ch);
    net_close(small);
}

/* A word tree of roots only, for cfgs whose own tree is not at hand. */
static void plant_tree(struct ctx *ctx, struct cfg_doc *doc, int section) {
    const char *classes = cfg_value(&doc->section[section], "classes"), *path = in_folder("flat.tree");
    int n = classes ? atoi(classes) : 0;
    char *text = calloc((size_t)n + 1, 16), *at = text;
    for (int i = 0; i < n; ++i) at += sprintf(at, "n%d -1\n", i);
    io_write(ctx, path, text, strlen(text));
    cfg_set_text(ctx, doc, section, "tree", path);
    free(text);
}

/* `size` 0: the cfg's own. */
static struct net *open_at(struct ctx *ctx, const char *cfg, int size) {
    struct cfg_doc *doc;
    struct net *net = NULL;
    ctx_clear(ctx);
    if (cfg_read(ctx, cfg, true, &doc) != ST_OK) return NULL;
    if (size) {
        cfg_set_int(ctx, doc, 0, "width", size);
        cfg_set_int(ctx, doc, 0, "height", size);
    }
    for (int i = 1; i < doc->n; ++i)
        if (cfg_value(&doc->section[i], "tree")) plant_tree(ctx, doc, i);
    net_open_doc(ctx, doc, false, &net);
    return net;
}

/* Without weights: random ones, at the smallest size that the network takes. */
static void open_and_check(const char *cfg, const char *weights, const char *const *picture) {
    static const int sizes[] = { 64, 128, 227, 0 };
    struct ctx ctx = { 0 };
    struct backend *be;
    const char *name = strrchr(cfg, '/') + 1;
    struct net *net = NULL;
    for (size_t i = weights ? 3 : 0; i < sizeof sizes / sizeof sizes[0] && !net; ++i) net = open_at(&ctx, cfg, sizes[i]);
    CHECK(net, "%s", ctx.error);
    ctx_clear(&ctx);
    if (!net || backend_open(&ctx, "cpu", &be) != ST_OK) return;
    if (weights)
        CHECK(net_load(&ctx, net, weights, LOAD_WHOLE, NULL) == ST_OK, "%s", ctx.error);
    else
        nets_values(net, 5);
    check_cut(&ctx, be, name, net, picture);
    net_close(net);
    backend_close(be);
}

/* --- the recorded ones
 * -------------------------------------------------------------------------------------------------------- */

static char pictures[PICTURES][2048];
static const char *picture_path[PICTURES];
static int pictures_found;

static void note_picture(const char *root, const char *path, const char *stem) {
    (void)root, (void)stem;
    if (pictures_found < PICTURES) snprintf(pictures[pictures_found++], sizeof pictures[0], "%s", path);
}

static void check_recorded(const char *root) {
    char weights[1100], stem[300];
    struct text_list cfg = golden_all(root, "weights", ".cfg");
    golden_each(root, "coco/val2017", ".jpg", note_picture);
    for (int i = 0; i < PICTURES; ++i) picture_path[i] = pictures[i];
    bool photos = pictures_found == PICTURES;
    if (!photos && cfg.n) SKIP("no %d pictures in coco/val2017 under %s: noise stands in", PICTURES, root);
    for (int i = 0; i < cfg.n; ++i) {
        const char *name = strrchr(cfg.item[i], '/') + 1;
        snprintf(stem, sizeof stem, "%.*s", (int)strlen(name) - 4, name);
        snprintf(weights, sizeof weights, "%s", golden_weights(root, stem));
        if (weights[0]) open_and_check(cfg.item[i], weights, photos ? picture_path : NULL);
        else SKIP("%s: no weights for it under weights/", cfg.item[i]);
    }
    if (!cfg.n) SKIP("no weights/*/*.cfg under %s", root);
    list_free(&cfg);
}

/* Every published cfg that is a detector or a classifier, and ours, with random weights on small pictures. */
static bool of_pictures(const char *path) {
    struct ctx ctx = { 0 };
    struct cfg_doc *doc;
    if (cfg_read(&ctx, path, true, &doc) != ST_OK) return false; /* test_layers_table says why */
    bool yes = cfg_value(&doc->section[0], "width") != NULL && !cfg_value(&doc->section[0], "inputs");
    cfg_free(doc);
    return yes;
}

static void check_published(const char *root) {
    struct text_list cfg = golden_all(root, "cfg", ".cfg"), own = golden_all(".", "cfg", ".cfg");
    int cut = 0;
    for (int i = 0; i < cfg.n + own.n; ++i) {
        const char *path = i < cfg.n ? cfg.item[i] : own.item[i - cfg.n];
        if (!of_pictures(path)) continue;
        if (getenv("VERBOSE")) printf("%s %.1f\n", path, io_seconds()), fflush(stdout);
        open_and_check(path, NULL, NULL);
        ++cut;
    }
    if (!cfg.n) SKIP("no cfg/*.cfg under %s", root);
    printf("prune_real: %d of %d cfgs cut\n", cut, cfg.n + own.n);
    list_free(&cfg);
    list_free(&own);
}

/* --- runs through files
 * ----------------------------------------------------------------------------------------------------------
 */

static const char run_cfg[] =
    "# a detector\n[net]\nwidth=64\nheight=64\nchannels=3\nbatch=4\nsubdivisions=1\nmax_batches=10\n"
    "[convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[convolutional]\nbatch_normalize=1\nfilters=16\ngroups=16\nsize=3\nstride=2\npad=1\nactivation=leaky\n# "
    "depthwise\n"
    "[convolutional]\nbatch_normalize=1\nfilters=24\nsize=1\nactivation=mish\n[convolutional]\nfilters="
    "24\nsize=3\npad=1\nactivation=linear\n"
    "[shortcut]\nfrom=-2\nactivation=leaky\n[maxpool]\nsize=2\nstride=2\n[convolutional]\nfilters=14\nsize="
    "1\nactivation=linear\n"
    "[yolo]\nanchors=8,8, 20,24\nnum=2\nclasses=2\n";

static bool make_files(struct ctx *ctx) {
    char text[512] = "", line[256];
    struct pixels px;
    struct rng r = rng_stream(1, 2, 3);
    for (int i = 0; i < 5; ++i) {
        char name[32];
        if (pixels_new(ctx, 64, 64, 3, &px) != ST_OK) return false;
        for (int k = 0; k < 64 * 64 * 3; ++k) px.data[k] = (uint8_t)rng_int(&r, 0, 255);
        snprintf(name, sizeof name, "%d.png", i);
        pixels_write(ctx, in_folder(name), &px, 90);
        pixels_free(&px);
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s\n", in_folder(name));
        snprintf(name, sizeof name, "%d.txt", i);
        snprintf(line, sizeof line, "%d 0.4 0.5 0.%d 0.3\n1 0.7 0.3 0.2 0.1\n", i % 2, i + 2);
        io_write(ctx, in_folder(name), line, strlen(line));
    }
    io_write(ctx, in_folder("list.txt"), text, strlen(text));
    snprintf(line, sizeof line, "classes=2\ntrain=%s\nvalid=%s\n", in_folder("list.txt"),
             in_folder("list.txt"));
    io_write(ctx, in_folder("a.data"), line, strlen(line));
    io_write(ctx, in_folder("a.cfg"), run_cfg, strlen(run_cfg));
    struct net *net = nets_open(ctx, "run", run_cfg, 6);
    if (!net) return false;
    net->seen = 4711;
    net_save(ctx, net, in_folder("a.weights"), -1);
    nets_values(net, 7);
    net_save(ctx, net, in_folder("other.weights"), -1);
    net_close(net);
    CHECK(ctx->code == ST_OK, "%s", ctx->error);
    return ctx->code == ST_OK;
}

static enum status run(struct ctx *ctx, struct backend *be, const struct prune_options *opt) {
    struct prune_job *job;
    enum status st = prune_open(ctx, be, opt, &job);
    if (st == ST_OK) st = prune_ready(ctx, job);
    if (st == ST_OK && !opt->from_plan) st = prune_score(ctx, job);
    if (st == ST_OK) st = prune_select(ctx, job);
    if (st == ST_OK) st = prune_cut(ctx, job);
    if (st == ST_OK) CHECK(job->worst <= 1e-5, "masked and cut networks differ by %g", job->worst);
    if (st == ST_OK) st = prune_write(ctx, job);
    prune_close(job);
    return st;
}

static void same_file(const char *a, const char *b, bool same) {
    struct ctx ctx = { 0 };
    char one[65] = "", other[65] = "-";
    CHECK(io_sha256(&ctx, in_folder(a), one) == ST_OK && io_sha256(&ctx, in_folder(b), other) == ST_OK, "%s",
          ctx.error);
    CHECK(!strcmp(one, other) == same, "%s and %s are%s the same", a, b, same ? " not" : "");
}

static uint64_t seen_of(const char *cfg, const char *weights) {
    struct ctx ctx = { 0 };
    struct net *net = NULL;
    uint64_t seen = 0;
    if (net_open(&ctx, in_folder(cfg), true, &net) == ST_OK &&
        net_load(&ctx, net, in_folder(weights), LOAD_WHOLE, NULL) == ST_OK)
        seen = net->seen;
    CHECK(ctx.code == ST_OK, "%s", ctx.error);
    net_close(net);
    return seen;
}

/* Plans that are no plans: one line, nothing written, no crash. */
static void check_damaged_plans(struct ctx *ctx, struct backend *be, struct prune_options opt, const char *plan) {
    static const struct {
        const char *from, *to, *message;
    } damage[] = {
        { "\"layers\"", "\"lawyers\"", "layers" },
        { "\"kept\"", "\"cept\"", "kept" },
        { "\"kept\":\t[", "\"kept\":\t[99, ", "outside" },
        { "\"kept\":\t[", "\"kept\":\t[\"a\", ", "outside" },
        { "\"layer\":\t0", "\"layer\":\t77", "'layer'" },
        { "\"mean_of_removed\":\t{", "\"mean_of_removed\":\t[1], \"x\":\t{", NULL },
        { "{", "[", "JSON" },
    };
    char *bytes, path[256], out[256];
    size_t size;
    snprintf(path, sizeof path, "%s", in_folder("damaged.prune.json"));
    snprintf(out, sizeof out, "%s", in_folder("damaged_out"));
    opt.from_plan = path, opt.out = out;
    CHECK(io_read(ctx, plan, &bytes, &size) == ST_OK, "%s", ctx->error);
    for (size_t i = 0; i < sizeof damage / sizeof damage[0]; ++i) {
        char *at = strstr(bytes, damage[i].from), *text = malloc(size + 64);
        if (!at) { /* nothing was compensated */
            free(text);
            continue;
        }
        snprintf(text, size + 64, "%.*s%s%s", (int)(at - bytes), bytes, damage[i].to, at + strlen(damage[i].from));
        CHECK(io_write(ctx, path, text, strlen(text)) == ST_OK, "%s", ctx->error);
        enum status st = run(ctx, be, &opt);
        if (damage[i].message) {
            CHECK(st == ST_FORMAT && strstr(ctx->error, damage[i].message) && strstr(ctx->error, "damaged.prune.json"),
                  "%s for %s: %s", damage[i].to, damage[i].from, ctx->error);
            CHECK(!io_exists(in_folder("damaged_out.cfg")), "%s: something was written", damage[i].to);
        }
        ctx_clear(ctx);
        unlink(in_folder("damaged_out.cfg"));
        free(text);
    }
    free(bytes);
}

static void check_runs(bool compensate) {
    struct ctx ctx = { 0 };
    struct backend *be;
    char plan[256], out[256], data[256], cfg[256], weights[256], other[256];
    if (!make_files(&ctx) || backend_open(&ctx, "cpu", &be) != ST_OK) return;
    snprintf(data, sizeof data, "%s", in_folder("a.data"));
    snprintf(cfg, sizeof cfg, "%s", in_folder("a.cfg"));
    snprintf(weights, sizeof weights, "%s", in_folder("a.weights"));
    snprintf(other, sizeof other, "%s", in_folder("other.weights"));
    struct prune_options opt = prune_defaults();
    opt.data = data, opt.cfg = cfg, opt.weights = weights, opt.out = out;
    opt.compensate = compensate;
    opt.force = true;
    opt.select.target = TARGET_FLOPS, opt.select.value = .6, opt.select.cost_power = -1,
    opt.select.min_filters = 4, opt.select.round = 1;
    snprintf(out, sizeof out, "%s", in_folder("one"));
    CHECK(run(&ctx, be, &opt) == ST_OK, "%s", ctx.error);
    CHECK(seen_of("one.cfg", "one.weights") == 0, "seen was kept");
    same_file("a.cfg", "one.cfg", false);
    snprintf(plan, sizeof plan, "%s", in_folder("one.prune.json"));
    snprintf(out, sizeof out, "%s", in_folder("two"));
    opt.from_plan = plan;
    opt.compensate = !compensate; /* the plan knows better */
    CHECK(run(&ctx, be, &opt) == ST_OK, "%s", ctx.error);
    same_file("one.cfg", "two.cfg", true);
    same_file("one.weights", "two.weights", true);
    opt.keep_seen = true;
    CHECK(run(&ctx, be, &opt) == ST_OK && seen_of("two.cfg", "two.weights") == 4711, "seen was not kept %s",
          ctx.error);

    check_damaged_plans(&ctx, be, opt, plan);
    opt.weights = other; /* a plan belongs to its files */
    CHECK(run(&ctx, be, &opt) == ST_FORMAT && strstr(ctx.error, "another weights"), "%s", ctx.error);
    ctx_clear(&ctx);
    backend_close(be);
}

static void keep_warning(void *user, enum log_level level, const char *text) {
    bool *told = user;
    *told = *told || (level == LOG_WARN && strstr(text, "2.txt:1: class 2 is out of range"));
}

/* Lists and labels that cannot be scored on: one line that says which file and why, nothing written.  A bad line in a label file
 * is told and left out. */
static void check_bad_data(void) {
    bool told = false;
    struct ctx ctx = { .log = keep_warning, .log_user = &told };
    struct backend *be;
    char line[512], data[256], cfg[256], weights[256], out[256], other[256];
    if (!make_files(&ctx) || backend_open(&ctx, "cpu", &be) != ST_OK) return;
    snprintf(data, sizeof data, "%s", in_folder("a.data"));
    snprintf(cfg, sizeof cfg, "%s", in_folder("a.cfg"));
    snprintf(weights, sizeof weights, "%s", in_folder("a.weights"));
    snprintf(out, sizeof out, "%s", in_folder("bad"));
    snprintf(other, sizeof other, "%s", in_folder("told"));
    struct prune_options opt = prune_defaults();
    opt.data = data, opt.cfg = cfg, opt.weights = weights, opt.out = out;
    unlink(in_folder("2.txt"));
    CHECK(run(&ctx, be, &opt) == ST_IO && strstr(ctx.error, "2.txt: label file missing"), "%s", ctx.error);
    ctx_clear(&ctx);
    snprintf(line, sizeof line, "2 0.5 0.5 0.1 0.1\n");
    io_write(&ctx, in_folder("2.txt"), line, strlen(line));
    opt.out = other;
    CHECK(run(&ctx, be, &opt) == ST_OK && told, "%s", ctx.error);
    opt.out = out;
    io_write(&ctx, in_folder("list.txt"), "\n", 1);
    CHECK(run(&ctx, be, &opt) == ST_FORMAT && strstr(ctx.error, "list.txt: the list of images is empty"), "%s", ctx.error);
    CHECK(!io_exists(in_folder("bad.cfg")) && !io_exists(in_folder("bad.weights")), "something was written");
    backend_close(be);
}

/* A ratio of 0 writes back what it read; existing files stay without -force; the same run twice makes the
 * same files. */
static void check_nothing(void) {
    struct ctx ctx = { 0 };
    struct backend *be;
    char out[256], data[256], cfg[256], weights[256];
    if (!make_files(&ctx) || backend_open(&ctx, "cpu", &be) != ST_OK) return;
    snprintf(data, sizeof data, "%s", in_folder("a.data"));
    snprintf(cfg, sizeof cfg, "%s", in_folder("a.cfg"));
    snprintf(weights, sizeof weights, "%s", in_folder("a.weights"));
    struct prune_options opt = prune_defaults();
    opt.data = data, opt.cfg = cfg, opt.weights = weights, opt.out = out;
    opt.select.value = 0, opt.select.cost_power = -1;
    snprintf(out, sizeof out, "%s", in_folder("none"));
    CHECK(run(&ctx, be, &opt) == ST_OK, "%s", ctx.error);
    same_file("a.cfg", "none.cfg", true);
    same_file("a.weights", "none.weights", true);
    opt.select.value = .5;
    CHECK(run(&ctx, be, &opt) == ST_USAGE && strstr(ctx.error, "none.cfg") && strstr(ctx.error, "-force"),
          "%s", ctx.error);
    same_file("a.cfg", "none.cfg", true);
    ctx_clear(&ctx);
    for (int i = 0; i < 2; ++i) {
        snprintf(out, sizeof out, "%s", in_folder(i ? "again" : "first"));
        opt.criterion = "random";
        CHECK(run(&ctx, be, &opt) == ST_OK, "%s", ctx.error);
    }
    same_file("first.weights", "again.weights", true);
    same_file("first.cfg", "again.cfg", true);
    for (int i = 0; i < criterion_count(); ++i) {
        snprintf(out, sizeof out, "%s/by_%s", folder, criterion_at(i)->name);
        opt.criterion = criterion_at(i)->name;
        CHECK(run(&ctx, be, &opt) == ST_OK, "%s: %s", opt.criterion, ctx.error);
    }
    opt.criterion = "salience";
    CHECK(run(&ctx, be, &opt) == ST_USAGE && strstr(ctx.error, "salience") && strstr(ctx.error, "random"),
          "%s", ctx.error);
    backend_close(be);
}

/* What a cut by one criterion alone has. */
static void check_row(struct ctx *ctx, struct backend *be, struct prune_options opt, const struct compare_row *row) {
    struct prune_job *job;
    opt.criterion = row->criterion->name, opt.compare = false;
    enum status st = prune_open(ctx, be, &opt, &job);
    if (st == ST_OK) st = prune_score(ctx, job);
    if (st == ST_OK) st = prune_select(ctx, job);
    if (st == ST_OK) st = prune_cut(ctx, job);
    if (st == ST_OK) st = prune_map(ctx, job, job->small, &job->map_after);
    CHECK(st == ST_OK, "%s: %s", opt.criterion, ctx->error);
    if (st != ST_OK) return;
    CHECK(row->flops.mean == job->selection.after.flops && row->params.mean == job->selection.after.params &&
              row->cost_power == job->opt.select.cost_power && row->reached == job->selection.reached,
          "%s: %g FLOPs, alone %g", opt.criterion, row->flops.mean, job->selection.after.flops);
    CHECK_NEAR(row->map.mean, job->map_after.map, 1e-6, opt.criterion);
    for (int i = 0; i < MAP_SIZES; ++i) CHECK_NEAR(row->map_size[i].mean, job->map_after.map_size[i], 1e-6, opt.criterion);
    prune_close(job);
}

static void check_compare(void) {
    static const struct { const char *list; bool compare; const char *says; } bad[] = {
        { "l1,l2", false, "-compare" }, { "l1,salience,l2", true, "salience: unknown" }, { "l1,l2,l1", true, "l1 twice" },
        { "l1,", true, "unknown" } };
    struct ctx ctx = { 0 };
    struct backend *be;
    struct prune_job *job = NULL;
    struct comparison table;
    char out[256], data[256], cfg[256], weights[256], *text = NULL;
    size_t size;
    if (!make_files(&ctx) || backend_open(&ctx, "cpu", &be) != ST_OK) return;
    snprintf(data, sizeof data, "%s", in_folder("a.data"));
    snprintf(cfg, sizeof cfg, "%s", in_folder("a.cfg"));
    snprintf(weights, sizeof weights, "%s", in_folder("a.weights"));
    snprintf(out, sizeof out, "%s", in_folder("versus"));
    struct prune_options opt = prune_defaults();
    opt.data = data, opt.cfg = cfg, opt.weights = weights, opt.out = out;
    opt.compare = true, opt.seeds = 4;
    opt.select.target = TARGET_FLOPS, opt.select.value = .6, opt.select.cost_power = -1, opt.select.min_filters = 4, opt.select.round = 1;
    opt.criterion = "saliency,group-fisher,random,lamp";
    CHECK(prune_open(&ctx, be, &opt, &job) == ST_OK && prune_ready(&ctx, job) == ST_OK &&
              prune_compare(&ctx, job, &table) == ST_OK && compare_write(&ctx, job, &table) == ST_OK,
          "%s", ctx.error);
    if (ctx.code != ST_OK) return;
    CHECK(table.n == 5 && !table.row[0].criterion && table.row[3].runs == 4 && table.row[1].runs == 1, "%d rows", table.n);
    CHECK(table.row[3].flops.spread > 0 && table.row[1].flops.spread == 0 && table.row[0].flops.mean > table.row[1].flops.mean / .61,
          "spread %g, uncut %g, cut %g", table.row[3].flops.spread, table.row[0].flops.mean, table.row[1].flops.mean);
    for (int i = 1; i < table.n; ++i)
        if (i != 3) check_row(&ctx, be, opt, &table.row[i]);
    CHECK(io_read(&ctx, in_folder("versus.compare.json"), &text, &size) == ST_OK && strstr(text, "\"group-fisher\"") &&
              strstr(text, "\"map_small\"") && strstr(text, "\"flops_spread\""), "%s", text);
    CHECK(!io_exists(in_folder("versus.cfg")) && !io_exists(in_folder("versus.weights")), "a cut was written");
    CHECK(prune_ready(&ctx, job) == ST_USAGE && strstr(ctx.error, "versus.compare.json"), "%s", ctx.error);
    prune_close(job);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
        ctx_clear(&ctx);
        opt.criterion = bad[i].list, opt.compare = bad[i].compare;
        CHECK(prune_open(&ctx, be, &opt, &job) == ST_USAGE && strstr(ctx.error, bad[i].says), "%s: %s", bad[i].list, ctx.error);
    }
    free(text);
    backend_close(be);
}

static int remove_visit(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)st, (void)type, (void)at;
    return remove(path);
}

int main(void) {
    snprintf(folder, sizeof folder, "/tmp/test_prune_XXXXXX");
    if (!mkdtemp(folder)) return 1;
    check_runs(true);
    check_runs(false);
    check_nothing();
    check_compare();
    check_bad_data();
    const char *root = test_data("pruning real networks");
    if (root) {
        check_recorded(root);
        check_published(root);
    }
    nftw(folder, remove_visit, 16, FTW_DEPTH | FTW_PHYS);
    return test_end("prune_real");
}
