/* Every recorded cfg: its table, a forward pass, and, where it has a loss, training on one fixed batch until the loss falls.
 *
 * Inputs are as small as the layers allow.  With arguments, the cfgs of those names alone, trained whatever their size, with a
 * line of figures each; "all" is every cfg. */
#include <dirent.h>
#include <unistd.h>

#include "base/io.h"
#include "base/rng.h"
#include "base/text.h"
#include "net/net.h"
#include "test.h"
#include "train/optimizer.h"

enum { MAX_FILES = 200, MAX_STEPS = 40, SEQUENCES = 2, FRAMES = 3, TREE_CLASSES = 9418 };

static char tree_path[64], map_path[64];
static bool sanitized, by_hand;

/* Stands in for the tree of 9418 classes, ten children each, that is not among the data. */
static void make_tree(const char *folder) {
    snprintf(tree_path, sizeof tree_path, "%.40s/9k.tree", folder);
    snprintf(map_path, sizeof map_path, "%.40s/9k.map", folder);
    FILE *tree = fopen(tree_path, "w"), *map = fopen(map_path, "w");
    for (int i = 0; tree && i < TREE_CLASSES; ++i) fprintf(tree, "n%08d %d\n", i, i / 10 - 1);
    for (int i = 0; map && i < 80; ++i) fprintf(map, "%d\n", TREE_CLASSES - 1 - i);
    CHECK(tree && map && fclose(tree) == 0 && fclose(map) == 0, "no room for %s", tree_path);
}

/* side 0: the cfg's own input. */
static struct net *open_at(struct ctx *ctx, const char *path, int side) {
    struct cfg_doc *doc;
    struct net *net = NULL;
    if (cfg_read(ctx, path, true, &doc) != ST_OK) return NULL;
    const char *steps = cfg_value(&doc->section[0], "time_steps");
    if (side) cfg_set_int(ctx, doc, 0, "width", side), cfg_set_int(ctx, doc, 0, "height", side);
    if (steps && atoi(steps) > 1) cfg_set_int(ctx, doc, 0, "time_steps", FRAMES);
    for (int i = 0; i < doc->n; ++i) {
        if (cfg_value(&doc->section[i], "tree")) cfg_set_text(ctx, doc, i, "tree", tree_path);
        if (cfg_value(&doc->section[i], "map")) cfg_set_text(ctx, doc, i, "map", map_path);
    }
    net_open_doc(ctx, doc, false, &net);
    return net;
}

/* The smallest input whose weights are those of the whole one, and whose maps are no single cells, where batch norm over two
 * images could not learn. */
static struct net *open_small(const char *path, const struct net *whole) {
    static const int sides[] = { 64, 128, 256 };
    for (size_t i = 0; i < sizeof sides / sizeof sides[0]; ++i) {
        struct ctx ctx = { 0 };
        if (whole->opt.height <= 1 || whole->opt.width <= sides[i]) break;
        struct net *net = open_at(&ctx, path, sides[i]);
        bool fits = net && net->n_param == whole->n_param;
        for (int k = 0; fits && k < net->n; ++k) {
            struct shape a = net->layer[k].in_shape[0], b = whole->layer[k].in_shape[0];
            fits = a.w > 1 || b.w <= 1;
        }
        if (fits) return net;
        net_close(net);
    }
    struct ctx ctx = { 0 };
    return open_at(&ctx, path, 0);
}

/* --- The table -------------------------------------------------------------------------------------------------------- */

struct table { const char *name; int rows, layer; double bflops; };
static void table_row(void *user, const char *text) {
    struct table *t = user;
    int index;
    if (sscanf(text, "Total BFLOPS %lf", &t->bflops) == 1) return;
    if (t->rows++ == 0 || !strncmp(text, "avg_outputs", 11)) return;
    CHECK(sscanf(text, "%d", &index) == 1 && index == t->layer && strlen(text) > 8 && !strstr(text, "-1") && !strstr(text, "nan"), "%s: row '%s'",
          t->name, text);
    ++t->layer;
}

static void check_table(const char *name, const struct net *net) {
    struct table t = { .name = name };
    net_describe(net, table_row, &t);
    CHECK(t.layer == net->n && t.bflops == t.bflops && t.bflops >= 0 && t.bflops < 5000, "%s: %d rows for %d layers, %g BFLOPs", name, t.layer,
          net->n, t.bflops);
    /* Those for which no table could be recorded. */
    static const struct { const char *name; int layers, outputs; } own[] = {
        { "resnet50.cfg", 70, 1000 }, { "resnet152.cfg", 206, 1000 }, { "gru.cfg", 6, 256 },
        { "rnn.train.cfg", 6, 256 },  { "crnn.train.cfg", 7, 256 },   { "yolo9000.cfg", 25, 17 * 17 * 3 * (5 + TREE_CLASSES) },
    };
    for (size_t i = 0; i < sizeof own / sizeof own[0]; ++i) {
        if (strcmp(name, own[i].name)) continue;
        size_t outputs = shape_count(net->layer[net->n - 1].in_shape[0]);
        CHECK(net->n == own[i].layers && outputs == (size_t)own[i].outputs, "%s: %d layers, %zu outputs; %d, %d are right", name, net->n, outputs,
              own[i].layers, own[i].outputs);
    }
}

/* --- Data ------------------------------------------------------------------------------------------------------------- */

struct batch { int n; float *x; struct truth_list *boxes; struct truth *box; float *target; int n_target; };

static void fill_images(const struct net *net, struct batch *b, struct rng *r) {
    size_t plane = (size_t)net->opt.height * (size_t)net->opt.width, one = plane * (size_t)net->opt.channels;
    bool symbols = plane == 1;
    b->x = calloc((size_t)b->n * one, sizeof *b->x);
    for (int i = 0; i < b->n; ++i)
        for (size_t k = 0; k < one; ++k) {
            double wave = .5 + .4 * sin((double)(k % plane) * (i + 1) * .05 + (double)(k / plane));
            b->x[(size_t)i * one + k] = symbols ? (float)(k == (size_t)(31 * i + 5) % one) : (float)(.8 * wave + .2 * rng_uniform(r));
        }
}

/* Dense truth: a class each behind a softmax, else values between 0 and 1. */
static void fill_target(const struct net *net, struct batch *b) {
    bool classes = false;
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        classes |= !strcmp(l->ops->name, "softmax");
        if (l->ops->loss && !l->ops->head) b->n_target = (int)shape_count(l->in_shape[0]);
    }
    b->target = calloc((size_t)b->n * (size_t)b->n_target + 1, sizeof *b->target);
    for (int i = 0; i < b->n; ++i)
        for (int k = 0; k < b->n_target; ++k)
            b->target[i * b->n_target + k] = classes ? k == (17 * i + 3) % b->n_target : (float)(.5 + .5 * sin(k * .1));
}

static void fill_boxes(const struct net *net, struct batch *b) {
    int head, classes = 1;
    if (net_heads(net, &head, 1)) {
        struct head_info info;
        net->layer[head].ops->head->info(&net->layer[head], &info);
        classes = info.classes;
    }
    b->boxes = calloc((size_t)b->n, sizeof *b->boxes);
    b->box = calloc((size_t)b->n, 2 * sizeof *b->box);
    for (int i = 0; i < b->n; ++i) {
        struct truth *two = b->box + 2 * i;
        two[0] = (struct truth){ .box = { .3f, .4f, .25f, .3f }, .class_id = (5 * i + 1) % classes };
        two[1] = (struct truth){ .box = { .7f, .6f, .5f, .45f }, .class_id = classes - 1 };
        b->boxes[i] = (struct truth_list){ .n = 2, .cap = 2, .item = two };
    }
}

static struct batch batch_new(const struct net *net, int n) {
    struct batch b = { .n = n };
    struct rng r = rng_stream(3, 1, 4);
    fill_images(net, &b, &r);
    fill_target(net, &b);
    fill_boxes(net, &b);
    return b;
}

static void batch_free(struct batch *b) { free(b->x), free(b->boxes), free(b->box), free(b->target); }

/* --- Running and training --------------------------------------------------------------------------------------------- */

/* Fresh statistics of batch norm are 0, with which values would grow 300-fold in each layer. */
static void init_weights(struct net *net) {
    net_init_weights(net, 7);
    for (int i = 0; i < net->n; ++i)
        for (int k = 0; k < net->layer[i].n_param; ++k) {
            const struct param *p = &net->layer[i].param[k];
            for (size_t j = 0; p->role == PARAM_VARIANCE && j < param_count(p); ++j) net->param[p->offset + j] = 1;
        }
}

static bool runs(struct ctx *ctx, const char *name, struct net *net, struct backend *be) {
    struct batch b = batch_new(net, 1);
    bool ok = net_bind(ctx, net, be, NET_INFER, 1) == ST_OK && net_forward(ctx, net, b.x) == ST_OK;
    CHECK(ok, "%s: %s", name, ctx->error);
    int last = net_output_layer(net);
    if (ok && last >= 0) {
        size_t n = shape_count(net->layer[last].out), odd = 0;
        float *y = calloc(n, sizeof *y);
        net_output(net, last, y);
        for (size_t i = 0; i < n; ++i) odd += isfinite(y[i]) ? 0 : 1;
        CHECK(odd == 0, "%s: %zu of %zu outputs are no numbers", name, odd, n);
        free(y);
    }
    batch_free(&b);
    return ok;
}

struct course { double first, last; int steps; bool fell; };

/* Until the loss was below nine tenths of the first twice in a row: with dropout, once could be chance. */
static bool follow(struct ctx *ctx, struct net *net, struct backend *be, double rate, struct course *c) {
    struct optimizer o = { 0 };
    int frames = net->opt.time_steps, below = 0;
    struct batch b = batch_new(net, SEQUENCES * frames);
    struct net_truth truth = { .boxes = b.boxes, .target = b.target, .target_size = b.n_target };
    bool ok = net_bind(ctx, net, be, NET_TRAIN, b.n) == ST_OK && optimizer_open(ctx, net, &o) == ST_OK;
    *c = (struct course){ 0 };
    net->boxes = b.boxes;
    for (int i = 0; ok && i < MAX_STEPS && below < 2; ++i) {
        net->seed = (uint64_t)i;
        ok = net_reset(ctx, net) == ST_OK && net_forward(ctx, net, b.x) == ST_OK && net_loss(ctx, net, &truth, &c->last, NULL) == ST_OK &&
             net_backward(ctx, net) == ST_OK;
        if (!ok) break;
        if (i == 0) c->first = c->last;
        below = c->last < .9 * c->first ? below + 1 : 0;
        c->steps = i + 1;
        optimizer_step(&o, net, &(struct update){ .number = (uint64_t)i + 1, .rate = rate, .images = b.n });
        ok = net_refresh(ctx, net) == ST_OK;
    }
    c->fell = below == 2;
    net->boxes = NULL;
    optimizer_close(&o);
    net_unbind(net);
    batch_free(&b);
    return ok;
}

static bool has_loss(const struct net *net) {
    for (int i = 0; i < net->n; ++i)
        if (net->layer[i].ops->loss) return true;
    return false;
}

static void trains(const char *name, struct net *net, struct backend *be) {
    struct course c = { 0 };
    double rate = net_heads(net, NULL, 0) ? .001 : .01, largest = sanitized ? 3e6 : 15e6; /* the others: test_all_cfgs all */
    if (!has_loss(net)) return;
    if (!by_hand && (double)net->n_param > largest) {
        SKIP("%s: %.0f million weights, trained by test_all_cfgs all", name, (double)net->n_param / 1e6);
        return;
    }
    for (int i = 0; i < 3 && !c.fell; ++i, rate /= 10) {
        struct ctx ctx = { 0 };
        init_weights(net);
        bool ok = follow(&ctx, net, be, rate, &c);
        if (by_hand) printf("    rate %g: loss %.4g -> %.4g in %d steps %s\n", rate, c.first, c.last, c.steps, ctx.error);
        CHECK(ok || ctx.code == ST_NUMERIC, "%s: %s", name, ctx.error);
    }
    CHECK(c.fell, "%s: loss %g -> %g in %d steps", name, c.first, c.last, c.steps);
}

static void one_cfg(const char *path) {
    const char *name = strrchr(path, '/') + 1;
    struct ctx ctx = { 0 };
    struct backend *be = NULL;
    double start = io_seconds(), ran = 0;
    struct net *whole = open_at(&ctx, path, 0), *net = whole ? open_small(path, whole) : NULL;
    CHECK(net != NULL, "%s: %s", name, ctx.error);
    if (net) {
        check_table(name, whole);
        net_close(whole);
        whole = NULL;
        init_weights(net);
        CHECK(backend_open(&ctx, "cpu", &be) == ST_OK, "%s", ctx.error);
        bool ok = be && runs(&ctx, name, net, be);
        ran = io_seconds() - start;
        if (by_hand) printf("%-36s %4d x %4d, %6.1f M weights: runs after %.2f s\n", name, net->opt.width, net->opt.height, (double)net->n_param / 1e6, ran);
        if (ok) trains(name, net, be);
        if (by_hand) printf("    %.2f s\n", io_seconds() - start), fflush(stdout);
    }
    net_close(net), net_close(whole);
    if (be) backend_close(be);
}

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

int main(int argc, char **argv) {
    static char path[MAX_FILES][1200];
    const char *root = test_data("passes and training steps of the recorded cfg files"), *sanitize = getenv("SANITIZE");
    char folder[1000], own[] = "/tmp/test_all_cfgs_XXXXXX";
    int n = 0;
    if (!root) return test_end("all_cfgs");
    sanitized = sanitize && *sanitize;
    by_hand = argc > 1;
    CHECK(mkdtemp(own) != NULL, "no temporary folder");
    make_tree(own);
    snprintf(folder, sizeof folder, "%.900s/cfg", root);
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && n < MAX_FILES && (e = readdir(dir));)
        if (text_ends_with(e->d_name, ".cfg")) snprintf(path[n++], sizeof path[0], "%.900s/%s", folder, e->d_name);
    if (dir) closedir(dir);
    CHECK(n > 0, "no cfg in %s", folder);
    qsort(path, (size_t)n, sizeof path[0], by_name);
    for (int i = 0; i < n; ++i) {
        bool wanted = argc == 1 || !strcmp(argv[1], "all");
        for (int k = 1; k < argc; ++k) wanted |= strstr(path[i], argv[k]) != NULL;
        if (wanted) one_cfg(path[i]);
    }
    unlink(tree_path), unlink(map_path), rmdir(own);
    return test_end("all_cfgs");
}
