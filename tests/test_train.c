/* Training: schedules, the update rule, learning, resuming exactly, stopping, saving, failing well. */
#include "train_tiny.h"

#include "train/schedule.h"

/* --- Schedules ------------------------------------------------------------------------------------------ */

static void test_sizes(void) {
    struct scale_plan p = { .seed = 3, .random = 1, .w = 608, .h = 416, .step = 32, .max_iterations = 5000 };
    int w, h, low = 9999, high = 0, changes = 0, before = 0;
    for (uint64_t i = 0; i < 5000; ++i) {
        schedule_size(&p, i, &w, &h);
        if (i % 10) CHECK(w == before, "the size stays for ten iterations");
        changes += i % 10 == 0 && w != before;
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
    CHECK(w == 608 && h == 416, "random=0: one size");
    p.random = 1.2;
    schedule_size(&p, 0, &w, &h);
    CHECK(w == 768, "random=1.2: up to %d", w);
    p.random = 1, p.images = 4;
    CHECK(schedule_images(&p, 480, 320) == 4, "dynamic_minibatch=0: always 4");
    p.dynamic = true;
    CHECK(schedule_images(&p, 896, 608) == 4 && schedule_images(&p, 480, 320) == (int)(.8 * (4 * 896 * 608 / (480 * 320))),
          "small pictures leave room for more: %d", schedule_images(&p, 480, 320));
    p.random = 0;
    CHECK(schedule_images(&p, 480, 320) == 4, "not without random");
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

/* --- Rates ---------------------------------------------------------------------------------------------- */

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

    char *none[] = { path_of(path, "nowhere.png") };
    struct text_list all = images;
    images = (struct text_list){ 1, 1, none };
    CHECK(train(&r, "cpu", net, "none") == ST_FORMAT && strstr(r.ctx.error, "nowhere.png") && r.watch.calls == 0,
          "nothing to train on: %s", r.ctx.error);
    images = all;
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
    CHECK(strstr(r.ctx.error, "layer ") && strstr(r.ctx.error, "[convolutional] in line "), "the layer: %s", r.ctx.error);
    CHECK(!there("nan/tiny_final.weights"), "nothing final");
    bool finite = true;
    for (size_t i = 0; i < net->n_param; ++i) finite &= isfinite(net->param[i]) != 0;
    CHECK(finite, "the net that comes back has numbers");
    net_close(net);
}

/* A source that breaks during training: what was reached is saved. */
static enum status failing_next(struct ctx *ctx, void *self, const struct batch **batch, double *wait) {
    struct made_up *m = self;
    if (m->next == 2) return ctx_fail(ctx, ST_IO, "batch 2: gone");
    return made_up_next(ctx, self, batch, wait);
}

static enum status failing_open(struct ctx *ctx, void *user, const struct batch_request *r, struct batch_source *out) {
    enum status st = made_up_open(ctx, user, r, out);
    out->next = failing_next;
    return st;
}

static void test_rescue(void) {
    static struct run r;
    static struct made_up made;
    struct net *net = open_net("batch=2\nlearning_rate=0.001\nmax_batches=400", "", 0);
    char folder[256];
    struct backend *be;
    memset(&r, 0, sizeof r);
    r.ctx.log = keep_log;
    r.ctx.log_user = &r;
    CHECK(backend_open(&r.ctx, "cpu", &be) == ST_OK, "%s", r.ctx.error);
    r.data.backup = path_of(folder, "rescue");
    r.opt = (struct train_options){ .base = "tiny", .save = true, .news = watch_news, .user = &r.watch,
                                    .loader_threads = 1, .seed = 2, .open_source = failing_open, .source_user = &made };
    enum status st = train_run(&r.ctx, be, net, &r.data, NULL, NULL, &r.opt, &r.result);
    CHECK(st == ST_IO && strstr(r.ctx.error, "batch 2: gone"), "%s", r.ctx.error);
    CHECK(r.result.iteration == 2 && there("rescue/tiny_last.weights"), "saved after %d", (int)r.result.iteration);
    CHECK(net->seen == r.result.iteration * 2, "seen counts finished steps");
    backend_close(be);
    net_close(net);
}

int main(void) {
    tiny_start("train");
    test_sizes();
    test_saving_rules();
    test_rates();
    test_learns("cpu");
    test_source();
    test_frozen();
    test_refusals();
    test_not_finite();
    test_rescue();
    return tiny_end("train");
}
