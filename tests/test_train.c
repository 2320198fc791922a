/* Training: schedules, the update rule, learning, resuming exactly, stopping, saving, failing well. */
#include "test.h"

#include <unistd.h>

#include "base/io.h"
#include "base/rng.h"
#include "data/loader.h"
#include "train/checkpoint.h"
#include "train/optimizer.h"
#include "train/schedule.h"
#include "train/trainer.h"
#include "vision/image.h"

static char dir[64];

static char *path_of(char *to, const char *name) {
    snprintf(to, 256, "%s/%s", dir, name);
    return to;
}

/* --- Schedules ------------------------------------------------------------------------------------------ */

static void test_sizes(void) {
    struct scale_plan p = { .seed = 3, .random = 1, .w = 608, .h = 416, .step = 32, .max_iterations = 5000 };
    int w, h, low = 9999, high = 0, changes = 0, before = 0;
    for (uint64_t i = 0; i < 5000; ++i) {
        schedule_size(&p, i, &w, &h);
        if (i % 10) CHECK(w == before, "the size stays for ten iterations");
        changes += i % 10 == 0 && w != before;
        CHECK(schedule_resizes(&p, i) == (i % 10 ? 0 : 1.4), "iteration %d: factor %g", (int)i, schedule_resizes(&p, i));
        before = w;
        CHECK(w % 32 == 0 && h % 32 == 0, "%d x %d on the grid", w, h);
        if (i < 10 || i >= 4910)
            CHECK(w == 896 && h == 608, "%d x %d: the largest at the beginning and the end", w, h);
        low = w < low ? w : low, high = w > high ? w : high;
    }
    CHECK(low == 480 && high == 896, "608 gives %d..%d", low, high);
    CHECK(changes > 300, "%d changes", changes);
    p.random = 0;
    schedule_size(&p, 40, &w, &h);
    CHECK(w == 608 && h == 416 && schedule_resizes(&p, 40) == 0, "random=0: one size");
    p.random = 1.2;
    schedule_size(&p, 0, &w, &h);
    CHECK(w == 768, "random=1.2: up to %d", w);
}

static void test_saving_rules(void) {
    uint64_t numbered[] = { 7, 14 }, last[] = { 4, 8 };
    int n = 0, l = 0;
    uint64_t before = 0, before_last = 0;
    for (uint64_t i = 1; i <= 15; ++i) {
        if (schedule_numbered(i, before, 7)) {
            CHECK(n < 2 && i == numbered[n], "numbered at %d", (int)i);
            ++n, before = i;
        }
        if (i < 10 && schedule_last(i, before_last, 7, 4)) {
            CHECK(l < 2 && i == last[l], "last at %d", (int)i);
            ++l, before_last = i;
        }
    }
    CHECK(n == 2 && l == 2, "%d numbered, %d last", n, l);
    CHECK(!schedule_last(100, 0, 100, 100), "_last only where it is more frequent than the numbered ones");
    CHECK(!schedule_last(1, 0, 1000, 2) && schedule_last(2, 0, 1000, 2), "every second");
    CHECK(schedule_numbered(137, 37, 100), "100 iterations after a start at 37");
    CHECK(schedule_next_map(0, 4, 8000, 64, 0) == 500, "4 epochs of 8000 in steps of 64");
    CHECK(schedule_next_map(500, 4, 100, 64, 0) == 600, "100 iterations at least");
    CHECK(schedule_next_map(0, 4, 100, 64, 1000) == 1000, "not before burn_in");
}

/* --- A small detector and its data ---------------------------------------------------------------------- */

enum { IMAGES = 8 };
static char image_path[IMAGES][256];
static char *image_item[IMAGES];
static struct text_list images = { IMAGES, IMAGES, image_item };

/* A bright square on dark noise. */
static void make_images(void) {
    for (int i = 0; i < IMAGES; ++i) {
        struct ctx ctx = { 0 };
        struct rng r = rng_stream(11, (uint64_t)i, 0);
        struct pixels px = { 0 };
        char name[64], label[128], path[256];
        int size = 64, side = rng_int(&r, 18, 26), x = rng_int(&r, 2, size - side - 2),
            y = rng_int(&r, 2, size - side - 2);
        CHECK(pixels_new(&ctx, size, size, 3, &px) == ST_OK, "%s", ctx.error);
        for (int k = 0; k < size * size * 3; ++k) px.data[k] = (uint8_t)(rng_u64(&r) & 63);
        for (int v = y; v < y + side; ++v)
            for (int u = x; u < x + side; ++u) px.data[(v * size + u) * 3 + i % 2] = 250;
        snprintf(name, sizeof name, "train%d.png", i);
        image_item[i] = path_of(image_path[i], name);
        CHECK(pixels_write(&ctx, image_item[i], &px, 90) == ST_OK, "%s", ctx.error);
        pixels_free(&px);
        snprintf(label, sizeof label, "%d %.6f %.6f %.6f %.6f\n", i % 2, (x + side / 2.0) / size,
                 (y + side / 2.0) / size, (double)side / size, (double)side / size);
        snprintf(name, sizeof name, "train%d.txt", i);
        CHECK(io_write(&ctx, path_of(path, name), label, strlen(label)) == ST_OK, "%s", ctx.error);
    }
}

static const char LAYERS[] =
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[dropout]\nprobability=0.1\n"
    "[convolutional]\nbatch_normalize=1\nfilters=24\nsize=3\nstride=2\npad=1\nactivation=leaky%s\n"
    "[convolutional]\nsize=1\nfilters=14\nactivation=linear\n"
    "[yolo]\nmask=0,1\nanchors=18,18,26,26\nclasses=2\nnum=2\njitter=.1\nrandom=%d\n";

static struct net *open_net(const char *net_keys, const char *extra, int random) {
    struct ctx ctx = { 0 };
    char text[2048], layers[1500];
    struct cfg_doc *doc;
    struct net *net = NULL;
    snprintf(layers, sizeof layers, LAYERS, extra, random);
    snprintf(text, sizeof text, "[net]\nwidth=64\nheight=64\nchannels=3\n%s\n%s", net_keys, layers);
    CHECK(cfg_parse(&ctx, "tiny.cfg", text, strlen(text), true, &doc) == ST_OK, "%s", ctx.error);
    CHECK(net_open_doc(&ctx, doc, true, &net) == ST_OK, "%s", ctx.error);
    if (!net) exit(test_end("train"));
    net_init_weights(net, 5);
    return net;
}

struct watch {
    int calls, stop_at, maps;
    volatile int stop;
    double first, last, rate[64], first_map;
    struct train_news news;
};
static void watch_news(void *user, const struct train_news *n) {
    struct watch *w = user;
    if (w->calls == 0) w->first = n->loss;
    if (n->iteration == 1) CHECK_NEAR(n->avg_loss, n->loss, 1e-12, "the average begins with the first loss");
    if (w->calls) CHECK_NEAR(n->avg_loss, 0.9 * w->last + 0.1 * n->loss, 1e-12, "then takes a tenth of each");
    if (n->iteration < 64) w->rate[n->iteration] = n->rate;
    w->last = n->avg_loss;
    w->news = *n;
    w->maps += n->new_map;
    CHECK(n->head_lines && strstr(n->head_lines, "class_loss"), "the heads' lines come along: %s",
          n->head_lines);
    if (++w->calls == w->stop_at) w->stop = 1;
}

struct run {
    struct watch watch;
    struct train_options opt;
    struct data_options data;
    struct train_result result;
    struct ctx ctx;
    char log[4096];
};
static void keep_log(void *user, enum log_level level, const char *line) {
    struct run *r = user;
    (void)level;
    size_t n = strlen(r->log);
    snprintf(r->log + n, sizeof r->log - n, "%s\n", line);
}

static enum status train(struct run *r, const char *kind, struct net *net, const char *backup) {
    char folder[256];
    struct backend *be;
    memset(&r->ctx, 0, sizeof r->ctx);
    memset(&r->watch.news, 0, sizeof r->watch.news);
    r->watch.calls = r->watch.maps = 0;
    r->watch.stop = 0;
    r->log[0] = '\0';
    r->ctx.log = keep_log;
    r->ctx.log_user = r;
    CHECK(backend_open(&r->ctx, kind, &be) == ST_OK, "%s", r->ctx.error);
    r->data.backup = path_of(folder, backup);
    r->opt.base = "tiny";
    r->opt.seed = 21;
    r->opt.news = watch_news;
    r->opt.user = &r->watch;
    r->opt.stop = &r->watch.stop;
    r->opt.loader_threads = 2;
    enum status st = train_run(&r->ctx, be, net, &r->data, &images, &images, &r->opt, &r->result);
    CHECK(net->be == NULL && net->opt.width == 64 && net->opt.height == 64,
          "the net comes back unbound, in its own size");
    CHECK(strcmp(kind, "ref") || be->bytes == 0, "%zu bytes are still allocated on the backend", be->bytes);
    backend_close(be);
    return st;
}

static bool there(const char *name) {
    char path[256];
    return io_exists(path_of(path, name));
}

/* --- The update rule ------------------------------------------------------------------------------------ */

static void test_update(const char *kind) {
    struct ctx ctx = { 0 };
    struct backend *be;
    struct optimizer o;
    struct net *net = open_net("batch=4\nsubdivisions=2\nmomentum=0.8\ndecay=0.01\nmax_batches=10",
                               "\nlearning_rate=0.5", 0);
    CHECK(backend_open(&ctx, kind, &be) == ST_OK && net_bind(&ctx, net, be, NET_TRAIN, 2) == ST_OK, "%s",
          ctx.error);
    CHECK(optimizer_open(&ctx, net, &o) == ST_OK, "%s", ctx.error);
    size_t n = net->n_param;
    float *before = calloc(n, sizeof *before), *g = calloc(n, sizeof *g);
    memcpy(before, net->param, n * sizeof *before);
    double *want = calloc(n, sizeof *want), *m = calloc(n, sizeof *m);
    for (size_t i = 0; i < n; ++i) want[i] = before[i];
    for (int step = 0; step < 3; ++step) {
        double rate = 0.1 / (step + 1);
        for (size_t i = 0; i < n; ++i) g[i] = (float)sin((double)i + step);
        be->ops->put(be, g, n, net->dev_grad);
        optimizer_step(&o, net, rate, 8);
        for (int l = 0; l < net->n; ++l)
            for (int k = 0; k < net->layer[l].n_param; ++k) {
                const struct param *p = &net->layer[l].param[k];
                bool moves = p->role != PARAM_MEAN && p->role != PARAM_VARIANCE;
                double decay = p->role == PARAM_WEIGHT ? 0.01 : 0, own = l == 3 ? 0.5 : 1;
                for (size_t i = p->offset; moves && i < p->offset + param_count(p); ++i) {
                    m[i] = 0.8 * m[i] - g[i] - decay * 8 * want[i];
                    want[i] += rate * own / 8 * m[i];
                }
            }
    }
    net_pull(net);
    double worst = 0;
    for (size_t i = 0; i < n; ++i) worst = fmax(worst, fabs(net->param[i] - want[i]));
    CHECK(worst < 2e-6, "%s: three updates are off by %g", kind, worst);
    be->ops->get(be, net->dev_grad, n, g);
    bool cleared = true;
    for (size_t i = 0; i < n; ++i) {
        bool rolling = false;
        for (int l = 0; l < net->n; ++l)
            for (int k = 0; k < net->layer[l].n_param; ++k) {
                const struct param *p = &net->layer[l].param[k];
                bool inside = i >= p->offset && i < p->offset + param_count(p);
                rolling |= inside && (p->role == PARAM_MEAN || p->role == PARAM_VARIANCE);
            }
        cleared &= rolling || g[i] == 0;
    }
    CHECK(cleared, "gradients are cleared");
    free(before), free(g), free(want), free(m);
    optimizer_close(&o);
    net_close(net);
    backend_close(be);
}

static void test_rates(void) {
    static struct run r;
    struct net *net = open_net(
        "batch=4\nsubdivisions=2\nlearning_rate=0.01\nburn_in=4\npolicy=steps\nsteps=6,8\nscales=.1,.5\n"
        "max_batches=10",
        "", 0);
    CHECK(train(&r, "cpu", net, "rates") == ST_OK, "%s", r.ctx.error);
    for (int i = 1; i <= 10; ++i) {
        double want = i < 4 ? 0.01 * pow(i / 4.0, 4) : i < 6 ? 0.01 : i < 8 ? 0.001 : 0.0005;
        CHECK_NEAR(r.watch.rate[i] / want, 1, 1e-6, "rate of update %d", i);
    }
    CHECK(r.watch.news.images == 40 && r.watch.news.iteration == 10 && net->seen == 40, "4 images per step");
    CHECK(r.result.iteration == 10 && r.watch.calls == 10, "ten iterations");
    CHECK(!there("rates"), "save=0 writes nothing");
    net->seen = 0;
    r.opt.rate_factor = 0.5;
    r.opt.max_iterations = 3;
    CHECK(train(&r, "cpu", net, "rates") == ST_OK, "%s", r.ctx.error);
    CHECK(r.watch.calls == 3 && net->opt.max_batches == 10, "max_iterations stands in for max_batches");
    CHECK_NEAR(r.watch.rate[2] / (0.005 * pow(0.5, 4)), 1, 1e-6, "rate_factor");
    net_close(net);
}

/* --- Learning ------------------------------------------------------------------------------------------- */

static void test_learns(const char *kind) {
    static struct run r;
    char path[256];
    struct ctx ctx = { 0 };
    struct net *net = open_net(
        "batch=8\nsubdivisions=1\nlearning_rate=0.01\nburn_in=10\nmax_batches=150\nflip=1\nexposure=1.2", "",
        0);
    memset(&r, 0, sizeof r);
    r.opt.save = r.opt.calc_map = true;
    CHECK(train(&r, kind, net, "learn/deep") == ST_OK, "%s", r.ctx.error);
    CHECK(r.watch.last < r.watch.first / 5, "%s: loss from %g to %g in 150 iterations", kind, r.watch.first,
          r.watch.last);
    CHECK(r.watch.maps == 2 && r.result.best_map > 0.5, "%s: mAP %g, measured %d times", kind,
          r.result.best_map, r.watch.maps);
    CHECK(there("learn/deep/tiny_last.weights") && there("learn/deep/tiny_final.weights") &&
              there("learn/deep/tiny_best.weights"),
          "weights are saved, the folder was made");
    float *trained = malloc(net->n_param * sizeof *trained);
    memcpy(trained, net->param, net->n_param * sizeof *trained);
    CHECK(net_load(&ctx, net, path_of(path, "learn/deep/tiny_final.weights"), LOAD_WHOLE, NULL) == ST_OK,
          "%s", ctx.error);
    CHECK(!memcmp(trained, net->param, net->n_param * sizeof *trained) && net->seen == 1200,
          "what came back is what was saved");
    free(trained);
    net_close(net);
}

/* --- Any source of batches ------------------------------------------------------------------------------ */

/* Batches made up from their number; counts what it was asked for. */
struct made_up {
    struct batch_request request;
    struct batch batch;
    struct truth_list truth[4];
    struct truth box;
    uint64_t next;
    int opened, closed;
};

static enum status made_up_next(struct ctx *ctx, void *self, const struct batch **batch, double *wait) {
    struct made_up *m = self;
    struct batch *b = &m->batch;
    (void)ctx;
    m->request.plan(m->request.user, m->next, &b->n, &b->w, &b->h);
    CHECK(b->n == 2 && b->w == 64 && b->h == 64, "%d images of %d x %d", b->n, b->w, b->h);
    CHECK(m->request.sequence(m->request.user, m->next) == m->next, "without track every batch begins anew");
    struct rng r = rng_stream(m->request.seed, m->next++, 0);
    for (int i = 0; i < 2 * 3 * 64 * 64; ++i) b->x[i] = (float)rng_uniform(&r);
    *batch = b;
    *wait = 0.25;
    return ST_OK;
}

static void made_up_close(void *self) {
    struct made_up *m = self;
    ++m->closed;
    free(m->batch.x);
}

static enum status made_up_open(struct ctx *ctx, void *user, const struct batch_request *r,
                                struct batch_source *out) {
    struct made_up *m = user;
    (void)ctx;
    ++m->opened;
    m->request = *r;
    m->next = r->first;
    m->box = (struct truth){ .box = { .5f, .5f, .3f, .3f } };
    for (int i = 0; i < 4; ++i) m->truth[i] = (struct truth_list){ .n = 1, .cap = 1, .item = &m->box };
    m->batch.truth = m->truth;
    m->batch.x = calloc(2 * 3 * 64 * 64, sizeof(float));
    *out = (struct batch_source){ .self = m, .next = made_up_next, .close = made_up_close };
    return ST_OK;
}

static enum status made_up_score(struct ctx *ctx, void *user, struct net *eval, double *score) {
    int *calls = user;
    CHECK(ctx && eval->be && eval->mode == NET_INFER, "a bound net to measure");
    *score = 0.25 * ++*calls;
    return ST_OK;
}

static void test_source(void) {
    static struct run r;
    static struct made_up m;
    int calls = 0;
    struct net *net = open_net("batch=4\nsubdivisions=2\nlearning_rate=0.01\nmax_batches=120", "", 0);
    memset(&r, 0, sizeof r);
    r.opt = (struct train_options){ .open_source = made_up_open, .source_user = &m, .epoch_images = 20,
                                    .calc_map = true, .measure = made_up_score, .measure_user = &calls };
    int n = images.n;
    images.n = 0; /* the list is not looked at */
    CHECK(train(&r, "cpu", net, "none") == ST_OK, "%s", r.ctx.error);
    images.n = n;
    CHECK(m.opened == 1 && m.closed == 1 && m.next == 240, "%llu batches", (unsigned long long)m.next);
    CHECK(m.request.seed == 21 && m.request.first == 0 && m.request.steps == 1 && m.request.threads == 2,
          "the request");
    CHECK(calls == 2 && r.result.map == 0.5 && r.watch.maps == 2, "measured %d times", calls);
    CHECK_NEAR(r.result.wait_seconds, 240 * .25, 1e-9, "waiting is summed");
    net->seen = 4 * 5;
    r.opt.max_iterations = 6;
    CHECK(train(&r, "cpu", net, "none") == ST_OK && m.request.first == 10, "resumes at batch 10: %s", r.ctx.error);
    net_close(net);
}

static void test_frozen(void) {
    static struct run r;
    struct net *net = open_net("batch=4\nlearning_rate=0.01\nmax_batches=5", "\nstopbackward=1", 0);
    float *before = malloc(net->n_param * sizeof *before);
    memcpy(before, net->param, net->n_param * sizeof *before);
    CHECK(train(&r, "cpu", net, "none") == ST_OK, "%s", r.ctx.error);
    size_t first = net->layer[3].param[0].offset;
    CHECK(!memcmp(before, net->param, first * sizeof *before), "layers before stopbackward=1 do not move");
    CHECK(memcmp(before + first, net->param + first, (net->n_param - first) * sizeof *before),
          "the others do");
    free(before);
    net_close(net);
}

/* --- Stop and resume ------------------------------------------------------------------------------------ */

static void load_last(struct net *net, const char *folder) {
    struct ctx ctx = { 0 };
    char path[256];
    snprintf(path, sizeof path, "%s/%s/tiny_last.weights", dir, folder);
    CHECK(net_load(&ctx, net, path, LOAD_WHOLE, NULL) == ST_OK, "%s", ctx.error);
}

static void test_resume(const char *kind, int iterations, int stop_at, int random) {
    static struct run r;
    char folder[64], path[256], keys[256];
    snprintf(
        keys, sizeof keys,
        "batch=4\nsubdivisions=2\nlearning_rate=0.005\nmax_batches=%d\nhue=.1\nsaturation=1.5\nexposure=1.5",
        iterations);
    memset(&r, 0, sizeof r);
    r.opt.save = true;
    struct net *whole = open_net(keys, "", random), *parts = open_net(keys, "", random),
               *plain = open_net(keys, "", random);
    snprintf(folder, sizeof folder, "whole_%s", kind);
    CHECK(train(&r, kind, whole, folder) == ST_OK, "%s", r.ctx.error);
    CHECK(r.watch.calls == iterations, "%d iterations", r.watch.calls);
    double average = r.result.avg_loss;

    snprintf(folder, sizeof folder, "parts_%s", kind);
    r.watch.stop_at = stop_at;
    CHECK(train(&r, kind, parts, folder) == ST_INTERRUPTED, "the stop flag stops");
    CHECK(strstr(r.ctx.error, "stopped after iteration") && strstr(r.ctx.error, "_last.weights"), "%s",
          r.ctx.error);
    CHECK((int)r.result.iteration == stop_at && parts->seen == (uint64_t)stop_at * 4,
          "after the step it was in: %d", (int)r.result.iteration);
    load_last(plain, folder);
    CHECK(plain->seen == parts->seen && !memcmp(plain->param, parts->param, parts->n_param * sizeof(float)),
          "everything was saved");
    net_close(parts);
    parts = open_net(keys, "", random);
    load_last(parts, folder);
    r.watch.stop_at = 0;
    CHECK(train(&r, kind, parts, folder) == ST_OK, "%s", r.ctx.error);
    CHECK(r.watch.calls == iterations - stop_at, "%d iterations were left", r.watch.calls);
    CHECK(!strstr(r.log, "momentum starts at 0"), "%s", r.log);
    CHECK(!memcmp(whole->param, parts->param, parts->n_param * sizeof(float)),
          "%s: stopped and resumed equals uninterrupted", kind);
    CHECK_NEAR(r.result.avg_loss, average, 1e-12, "average loss goes on");

    /* Without its state file the run goes on, with a note. */
    snprintf(path, sizeof path, "%s/%s/tiny_last.state", dir, folder);
    CHECK(io_exists(path), "state file");
    unlink(path);
    CHECK(train(&r, kind, plain, folder) == ST_OK, "%s", r.ctx.error);
    CHECK(strstr(r.log, "momentum starts at 0"), "%s", r.log);
    CHECK(memcmp(whole->param, plain->param, plain->n_param * sizeof(float)), "momentum was lost");
    net_close(whole), net_close(parts), net_close(plain);
}

static void test_state_belongs(void) {
    struct ctx ctx = { 0 };
    struct checkpoint c;
    char folder[256], path[300];
    struct net *net = open_net("batch=4\nmax_batches=24", "", 0);
    float *m = calloc(net->n_param, sizeof *m), *back = calloc(net->n_param, sizeof *back);
    struct train_state s = { .iteration = 9, .last_map = 4, .avg_loss = 1.25, .best_map = 0.5 }, got;
    bool found;
    for (size_t i = 0; i < net->n_param; ++i) m[i] = (float)i * 0.25f - 3;
    CHECK(checkpoint_open(&ctx, path_of(folder, "state"), "tiny", &c) == ST_OK, "%s", ctx.error);
    CHECK(checkpoint_resume(&ctx, &c, net, 9, &got, back, &found) == ST_OK && !found,
          "no file, nothing found");
    CHECK(checkpoint_save_last(&ctx, &c, net, &s, m) == ST_OK, "%s", ctx.error);
    CHECK(checkpoint_resume(&ctx, &c, net, 9, &got, back, &found) == ST_OK && found, "found");
    CHECK(!memcmp(m, back, net->n_param * sizeof *m) && got.avg_loss == 1.25 && got.best_map == 0.5 &&
              got.last_map == 4,
          "as saved");
    CHECK(checkpoint_resume(&ctx, &c, net, 8, &got, back, &found) == ST_OK && !found, "another iteration");
    net->param[3] += 1;
    CHECK(checkpoint_resume(&ctx, &c, net, 9, &got, back, &found) == ST_OK && !found, "other weights");
    net->param[3] = NAN;
    CHECK(checkpoint_save(&ctx, &c, net, "nan") == ST_NUMERIC && !there("state/tiny_nan.weights"),
          "NaN is not saved");
    net->param[3] = 0;
    snprintf(path, sizeof path, "%s/tiny_last.state", folder);
    CHECK(truncate(path, 70) == 0, "cut");
    ctx_clear(&ctx);
    CHECK(checkpoint_resume(&ctx, &c, net, 9, &got, back, &found) == ST_OK && !found, "a cut file");
    checkpoint_close(&c);
    free(m), free(back);
    net_close(net);
}

static void test_saved_files(void) {
    static struct run r;
    struct net *net = open_net("batch=2\nlearning_rate=0.001\nmax_batches=10", "", 0);
    memset(&r, 0, sizeof r);
    r.opt.save = true;
    r.data.save_weights = 4;
    r.data.save_last = 3;
    CHECK(train(&r, "cpu", net, "names") == ST_OK, "%s", r.ctx.error);
    CHECK(there("names/tiny_4.weights") && there("names/tiny_8.weights") && there("names/tiny_final.weights"),
          "numbered files");
    CHECK(!there("names/tiny_3.weights") && !there("names/tiny_10.weights") &&
              !there("names/tiny_best.weights"),
          "and no others");
    CHECK(there("names/tiny_last.weights") && there("names/tiny_last.state"), "_last");
    net_close(net);
}

/* --- Failing well --------------------------------------------------------------------------------------- */

static void test_refusals(void) {
    static struct run r;
    char path[256];
    struct ctx ctx = { 0 };
    struct net *net = open_net("batch=2\nlearning_rate=0.001\nmax_batches=10", "", 0);
    memset(&r, 0, sizeof r);
    net->seen = 20;
    CHECK(train(&r, "cpu", net, "none") == ST_USAGE && strstr(r.ctx.error, "-clear") && r.watch.calls == 0,
          "%s", r.ctx.error);
    CHECK(net->seen == 20, "nothing changed");
    r.opt.clear = true;
    CHECK(train(&r, "cpu", net, "none") == ST_OK && r.watch.calls == 10, "%s", r.ctx.error);

    r.opt.save = true;
    CHECK(io_write(&ctx, path_of(path, "file"), "x", 1) == ST_OK, "%s", ctx.error);
    CHECK(train(&r, "cpu", net, "file/backup") == ST_IO && strstr(r.ctx.error, "file") && r.watch.calls == 0,
          "%s", r.ctx.error);
    r.opt.save = false;

    char label[256];
    path_of(label, "train5.txt");
    path_of(path, "train5.away");
    rename(label, path);
    CHECK(train(&r, "cpu", net, "none") == ST_IO && strstr(r.ctx.error, "train5.txt") && r.watch.calls == 0,
          "%s", r.ctx.error);
    rename(path, label);
    net_close(net);

    net = open_net("batch=2\nlearning_rate=0.001", "", 0);
    CHECK(train(&r, "cpu", net, "none") == ST_CFG && strstr(r.ctx.error, "max_batches"), "%s", r.ctx.error);
    net_close(net);
}

static void test_not_finite(void) {
    static struct run r;
    struct net *net = open_net("batch=2\nlearning_rate=1e9\nmax_batches=10\nmomentum=0", "", 0);
    memset(&r, 0, sizeof r);
    r.opt.save = true;
    r.opt.rate_factor = 1e28;
    r.data.save_last = 1;
    CHECK(train(&r, "cpu", net, "nan") == ST_NUMERIC, "a rate of 1e37 cannot go well: %s", r.ctx.error);
    CHECK(strstr(r.ctx.error, "iteration") && strstr(r.ctx.error, "train") && strstr(r.ctx.error, ".png"),
          "%s", r.ctx.error);
    CHECK(!there("nan/tiny_final.weights"), "nothing final");
    bool finite = true;
    for (size_t i = 0; i < net->n_param; ++i) finite &= isfinite(net->param[i]) != 0;
    CHECK(finite, "the net that comes back has numbers");
    net_close(net);
}

/* An image that breaks during training: what was reached is saved. */
static void break_image(void *user, const struct train_news *n) {
    watch_news(user, n);
    if (n->iteration != 2) return;
    FILE *f = fopen(image_item[0], "wb");
    if (f) fclose(f);
}

static void test_rescue(void) {
    static struct run r;
    struct net *net = open_net("batch=2\nlearning_rate=0.001\nmax_batches=400", "", 0);
    char folder[256];
    struct backend *be;
    memset(&r, 0, sizeof r);
    r.ctx.log = keep_log;
    r.ctx.log_user = &r;
    CHECK(backend_open(&r.ctx, "cpu", &be) == ST_OK, "%s", r.ctx.error);
    r.data.backup = path_of(folder, "rescue");
    r.opt = (struct train_options){
        .base = "tiny", .save = true, .news = break_image, .user = &r.watch, .loader_threads = 1, .seed = 2
    };
    /* Only this image, and too many distinct paths for the cache to matter: the list is read anew by a fresh
     * loader. */
    char *one[64];
    char copy[64][256];
    for (int i = 0; i < 64; ++i) {
        snprintf(copy[i], sizeof copy[i], "%s/%.*s%s", dir, 2 * (i % 60),
                 "././././././././././././././././././././././././././././././"
                 "././././././././././././././././././././././././././././././",
                 "train0.png");
        one[i] = copy[i];
    }
    struct text_list list = { 60, 64, one };
    enum status st = train_run(&r.ctx, be, net, &r.data, &list, NULL, &r.opt, &r.result);
    CHECK(st != ST_OK && st != ST_NUMERIC && strstr(r.ctx.error, "train0.png"), "%s", r.ctx.error);
    CHECK(r.result.iteration >= 2 && there("rescue/tiny_last.weights"), "saved after %d",
          (int)r.result.iteration);
    CHECK(net->seen == r.result.iteration * 2, "seen counts finished steps");
    backend_close(be);
    net_close(net);
}

int main(void) {
    snprintf(dir, sizeof dir, "/tmp/test_train.XXXXXX");
    if (!mkdtemp(dir)) return 1;
    make_images();
    test_sizes();
    test_saving_rules();
    test_update("ref64");
    test_update("cpu");
    test_rates();
    test_learns("cpu");
    test_source();
    test_frozen();
    test_resume("ref", 6, 4, 0);
    test_resume("cpu", 24, 13, 1);
    test_state_belongs();
    test_saved_files();
    test_refusals();
    test_not_finite();
    test_rescue();
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    if (system(command) != 0) printf("skip: %s was not removed\n", dir);
    return test_end("train");
}
