/* The optimiser: update rules against their formulas, the keys that steer a layer's update, averaging, redrawn filters. */
#include "train_tiny.h"

#include "train/optimizer.h"
#include "train/reject.h"
#include "train/schedule.h"

struct bench {
    struct ctx ctx;
    struct backend *be;
    struct net *net;
    struct optimizer o;
    size_t n;
    float *start, *now, *g;
};

static void bench_open(struct bench *b, const char *kind, const char *net_keys, const char *extra) {
    memset(b, 0, sizeof *b);
    b->net = open_net(net_keys, extra, 0);
    b->n = b->net->n_param;
    b->start = calloc(b->n, sizeof *b->start);
    b->now = calloc(b->n, sizeof *b->now);
    b->g = calloc(b->n, sizeof *b->g);
    memcpy(b->start, b->net->param, b->n * sizeof *b->start);
    CHECK(backend_open(&b->ctx, kind, &b->be) == ST_OK && net_bind(&b->ctx, b->net, b->be, NET_TRAIN, 2) == ST_OK,
          "%s", b->ctx.error);
    CHECK(optimizer_open(&b->ctx, b->net, &b->o) == ST_OK, "%s", b->ctx.error);
}

static void bench_close(struct bench *b) {
    optimizer_close(&b->o);
    net_close(b->net);
    CHECK(b->be->bytes == 0 || strcmp(b->be->ops->name, "ref"), "%zu bytes left", b->be->bytes);
    backend_close(b->be);
    free(b->start), free(b->now), free(b->g);
}

/* Sets a gradient that depends on the step, makes one update and fetches the parameters. */
static void bench_step(struct bench *b, int step, double rate) {
    double squares = 0;
    for (size_t i = 0; i < b->n; ++i) b->g[i] = (float)sin((double)i + step), squares += (double)b->g[i] * b->g[i];
    b->be->ops->put(b->be, b->g, b->n, b->net->dev_grad);
    struct update u = { .number = (uint64_t)step + 1, .rate = rate, .images = 8, .squares = squares };
    optimizer_step(&b->o, b->net, &u);
    b->be->ops->get(b->be, b->net->dev_param, b->n, b->now);
}

static bool rolling(const struct param *p) { return p->role == PARAM_MEAN || p->role == PARAM_VARIANCE; }

/* --- Formulas ------------------------------------------------------------------------------------------- */

struct rule { const char *keys; bool adam, decoupled; double max_norm; };

/* One element's update as darknet-compat 1.6 has it; g: gradient of the step. */
static void expect(const struct rule *r, int t, double rate, double decay, double g, double *w, double *m, double *v) {
    if (!r->adam) {
        *m = 0.8 * *m - g - decay * 8 * *w;
        *w += rate / 8 * *m;
        return;
    }
    double d = -g - (r->decoupled ? 0 : decay * 8 * *w);
    *m = 0.85 * *m + 0.15 * d;
    *v = 0.97 * *v + 0.03 * d * d;
    if (r->decoupled) *w -= rate * decay * *w;
    *w += rate * (*m / (1 - pow(0.85, t))) / (sqrt(*v / (1 - pow(0.97, t))) + 0.001);
}

static void test_rule(const char *kind, const struct rule *r) {
    struct bench b;
    bench_open(&b, kind, r->keys, "\nlearning_rate=0.5");
    double *want = calloc(b.n, sizeof *want), *m = calloc(b.n, sizeof *m), *v = calloc(b.n, sizeof *v), worst = 0;
    for (size_t i = 0; i < b.n; ++i) want[i] = b.start[i];
    for (int step = 0; step < 4; ++step) {
        double rate = 0.1 / (step + 1), norm = 0;
        bench_step(&b, step, rate);
        for (size_t i = 0; i < b.n; ++i) norm += (double)b.g[i] * b.g[i];
        norm = sqrt(norm) / 8;
        double scale = r->max_norm > 0 && norm > r->max_norm ? r->max_norm / norm : 1;
        for (int l = 0; l < b.net->n; ++l)
            for (int k = 0; k < b.net->layer[l].n_param; ++k) {
                const struct param *p = &b.net->layer[l].param[k];
                double decay = p->role == PARAM_WEIGHT ? 0.01 : 0, own = l == 3 ? 0.5 : 1;
                for (size_t i = p->offset; !rolling(p) && i < p->offset + param_count(p); ++i)
                    expect(r, step + 1, rate * own, decay, scale * b.g[i], &want[i], &m[i], &v[i]);
            }
    }
    for (size_t i = 0; i < b.n; ++i) worst = test_worse(worst, fabs(b.now[i] - want[i]));
    CHECK(worst < 4e-6, "%s, %s: four updates are off by %g", kind, r->keys, worst);
    b.be->ops->get(b.be, b.net->dev_grad, b.n, b.g);
    double left = 0;
    for (int l = 0; l < b.net->n; ++l)
        for (int k = 0; k < b.net->layer[l].n_param; ++k) {
            const struct param *p = &b.net->layer[l].param[k];
            for (size_t i = p->offset; !rolling(p) && i < p->offset + param_count(p); ++i) left += fabs(b.g[i]);
        }
    CHECK(left == 0, "gradients are cleared");
    free(want), free(m), free(v);
    bench_close(&b);
}

static void test_rules(void) {
    static const struct rule rules[] = {
        { "momentum=0.8\ndecay=0.01", false, false, 0 },
        { "momentum=0.8\ndecay=0.01\nmax_grad_norm=2", false, false, 2 },
        { "momentum=0.8\ndecay=0.01\nmax_grad_norm=1e9", false, false, 1e9 },
        { "adam=1\nB1=0.85\nB2=0.97\neps=0.001\ndecay=0.01", true, false, 0 },
        { "adamw=1\nB1=0.85\nB2=0.97\neps=0.001\ndecay=0.01", true, true, 0 },
        { "adamw=1\nB1=0.85\nB2=0.97\neps=0.001\ndecay=0.01\nmax_grad_norm=1", true, true, 1 },
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; ++i) test_rule("ref64", &rules[i]), test_rule("cpu", &rules[i]);
}

/* --- Keys of layers ------------------------------------------------------------------------------------- */

static bool moved(const struct bench *b, int layer, int row) {
    const struct param *p = &b->net->layer[layer].param[row];
    return memcmp(b->start + p->offset, b->now + p->offset, param_count(p) * sizeof *b->now) != 0;
}

static void test_held(void) {
    struct bench b;
    bench_open(&b, "cpu", "decay=0", "\ndont_update=2");
    for (int i = 0; i < 3; ++i) {
        bench_step(&b, i, .1);
        CHECK(moved(&b, 3, 4) == (i == 2), "dont_update=2: update %d", i + 1);
        CHECK(moved(&b, 1, 4) && moved(&b, 4, 0), "the others move");
    }
    double most = 0;
    const struct param *p = &b.net->layer[3].param[4];
    for (size_t i = p->offset; i < p->offset + param_count(p); ++i) most = fmax(most, fabs(b.now[i] - b.start[i]));
    CHECK(most <= .1 / 8 * 1.0001, "the gradients of skipped updates do not come later: %g", most);
    bench_close(&b);

    bench_open(&b, "cpu", "decay=0\nburn_in=2", "\nburnin_update=2");
    for (int i = 0; i < 4; ++i) {
        bench_step(&b, i, .1);
        CHECK(moved(&b, 3, 4) == (i == 3), "burnin_update=2, burn_in=2: update %d", i + 1);
    }
    bench_close(&b);

    bench_open(&b, "cpu", "decay=0.1", "\ntrain_only_bn=1");
    bench_step(&b, 0, .1);
    for (int l = 0; l <= 3; ++l)
        if (l != 2) CHECK(moved(&b, l, 0) && moved(&b, l, 1) && !moved(&b, l, 4), "layer %d: batch norm alone adapts", l);
    CHECK(moved(&b, 4, 0) && moved(&b, 4, 1), "layers behind it train whole");
    bench_close(&b);
}

static void test_limits(void) {
    struct bench b;
    bench_open(&b, "cpu", "decay=0", "\nclip=0.05");
    bench_step(&b, 0, .2);
    double most = 0, bias = 0, other = 0;
    const struct layer *l = &b.net->layer[3];
    for (size_t i = 0; i < param_count(&l->param[4]); ++i) most = fmax(most, fabs(b.now[l->param[4].offset + i]));
    for (size_t i = 0; i < param_count(&l->param[1]); ++i) bias = fmax(bias, fabs(b.now[l->param[1].offset + i]));
    l = &b.net->layer[1];
    for (size_t i = 0; i < param_count(&l->param[4]); ++i) other = fmax(other, fabs(b.now[l->param[4].offset + i]));
    CHECK(most <= .0500001 && most > .0499, "clip=0.05 holds weights: %g", most);
    CHECK(bias > .5 && other > .06, "and nothing else: %g, %g", bias, other);
    bench_close(&b);

    bench_open(&b, "cpu", "decay=0\nmomentum=1", "");
    b.net->layer[3].param[4].flags |= PARAM_LIMIT_STEP;
    for (int i = 0; i < 9; ++i) {
        for (size_t k = 0; k < b.n; ++k) b.g[k] = -.5f;
        b.be->ops->put(b.be, b.g, b.n, b.net->dev_grad);
        optimizer_step(&b.o, b.net, &(struct update){ .number = 1, .rate = 8, .images = 8 });
    }
    b.be->ops->get(b.be, b.o.momentum, b.n, b.now);
    CHECK(b.now[b.net->layer[3].param[4].offset] == 1 && b.now[b.net->layer[1].param[4].offset] == 4.5f,
          "a velocity with a limit stays at 1: %g", b.now[b.net->layer[3].param[4].offset]);
    bench_close(&b);
}

/* --- Runs ----------------------------------------------------------------------------------------------- */

enum { KEPT = 64 };
struct keep { struct watch watch; struct net *net; float *param[KEPT]; };

static void keep_params(void *user, const struct train_news *n) {
    struct keep *k = user;
    k->param[n->iteration] = calloc(k->net->n_param, sizeof(float));
    k->net->be->ops->get(k->net->be, k->net->dev_param, k->net->n_param, k->param[n->iteration]);
    ++k->watch.calls;
}

/* Trains and keeps the parameters after every iteration. */
static void keep_run(struct keep *k, const char *net_keys, const char *extra, const char *folder) {
    struct ctx ctx = { 0 };
    struct backend *be;
    char path[256];
    struct data_options data = { .save_last = 5, .backup = path_of(path, folder) };
    struct train_options opt = { .base = "tiny", .seed = 4, .save = true, .news = keep_params, .user = k, .loader_threads = 1 };
    memset(k, 0, sizeof *k);
    k->net = open_net(net_keys, extra, 0);
    k->param[0] = calloc(k->net->n_param, sizeof(float));
    memcpy(k->param[0], k->net->param, k->net->n_param * sizeof(float));
    CHECK(backend_open(&ctx, "cpu", &be) == ST_OK, "%s", ctx.error);
    CHECK(train_run(&ctx, be, k->net, &data, &images, NULL, &opt, NULL) == ST_OK, "%s", ctx.error);
    backend_close(be);
}

static void keep_free(struct keep *k) {
    for (int i = 0; i < KEPT; ++i) free(k->param[i]);
    net_close(k->net);
}

static bool same(const struct keep *k, int a, int b, int layer, int row) {
    const struct param *p = &k->net->layer[layer].param[row];
    return !memcmp(k->param[a] + p->offset, k->param[b] + p->offset, param_count(p) * sizeof(float));
}

static void test_average(void) {
    struct keep k;
    uint64_t start, apply;
    schedule_average(10000, &start, &apply);
    CHECK(start == 5000 && apply == 9000, "from the middle to 1000 before the end");
    schedule_average(1600, &start, &apply);
    CHECK(start == 800 && apply == 1200, "three quarters of a short run");
    keep_run(&k, "batch=2\nlearning_rate=0.01\nmax_batches=40\nema_alpha=0.8\ndecay=0", "\nlearning_rate=3", "ema");
    double *want = calloc(k.net->n_param, sizeof *want), worst = 0, step = 0;
    for (size_t i = 0; i < k.net->n_param; ++i) want[i] = k.param[21][i];
    for (int n = 22; n < 30; ++n)
        for (size_t i = 0; i < k.net->n_param; ++i) want[i] = .8 * want[i] + .2 * k.param[n][i];
    for (int l = 0; l < k.net->n; ++l)
        for (int r = 0; r < k.net->layer[l].n_param; ++r) {
            const struct param *p = &k.net->layer[l].param[r];
            for (size_t i = p->offset; !rolling(p) && i < p->offset + param_count(p); ++i) {
                worst = test_worse(worst, fabs(k.param[30][i] - want[i]));
                step = fmax(step, fabs(k.param[30][i] - k.param[29][i]));
            }
        }
    CHECK(worst < 1e-5 && step > 1e-3, "after 30 of 40 iterations the average takes over: off by %g, moved %g", worst, step);
    CHECK(!same(&k, 29, 30, 0, 2), "rolling statistics go on");
    CHECK(io_exists(path_of((char[256]){ 0 }, "ema/tiny_ema.weights")), "_ema is saved beside _last");
    struct ctx ctx = { 0 };
    char path[256];
    CHECK(net_load(&ctx, k.net, path_of(path, "ema/tiny_ema.weights"), LOAD_WHOLE, NULL) == ST_OK, "%s", ctx.error);
    CHECK(k.net->seen == 50, "the last one of iteration 25: %d", (int)k.net->seen);
    free(want);
    keep_free(&k);
}

static void test_freezing(void) {
    struct keep k;
    keep_run(&k, "batch=2\nlearning_rate=0.01\nmax_batches=6\ndecay=0.01", "\nstopbackward=3", "thaw");
    CHECK(same(&k, 0, 3, 0, 4) && same(&k, 0, 3, 1, 4) && same(&k, 0, 3, 1, 2), "stopbackward=3: frozen for 3 iterations");
    CHECK(!same(&k, 3, 4, 0, 4) && !same(&k, 3, 4, 1, 4) && !same(&k, 3, 4, 1, 2), "and then no longer");
    CHECK(!same(&k, 0, 1, 3, 4), "the layer itself trains from the start");
    keep_free(&k);

    keep_run(&k, "batch=2\nlearning_rate=0.01\nmax_batches=2\ndecay=0", "\nonlyforward=1", "forward");
    CHECK(same(&k, 0, 2, 3, 4) && same(&k, 0, 2, 3, 0) && same(&k, 0, 2, 3, 2), "onlyforward=1: the layer stays as it is");
    CHECK(same(&k, 0, 2, 1, 4) && !same(&k, 0, 2, 4, 1), "no gradient passes through it");
    keep_free(&k);
}

static void test_reject(void) {
    struct net *net = open_net("", "", 0);
    net_init_weights(net, 6); /* no two filters alike by chance */
    CHECK(reject_similar(net, 1, 10) == 0, "random filters are not alike");
    const struct layer *l = &net->layer[1];
    size_t per = param_count(&l->param[4]) / (size_t)l->out.c;
    float *w = net->param + l->param[4].offset;
    for (size_t i = 0; i < per; ++i) w[5 * per + i] = 2 * w[9 * per + i];
    net->param[l->param[0].offset + 5] = 7, net->param[l->param[1].offset + 5] = 7;
    float *before = malloc(net->n_param * sizeof *before);
    memcpy(before, net->param, net->n_param * sizeof *before);
    CHECK(reject_similar(net, 1, 10) == 1, "one pair is alike");
    CHECK(net->param[l->param[0].offset + 5] == 0 && net->param[l->param[1].offset + 5] == 1, "bias 0, scale 1");
    size_t first = l->param[4].offset + 5 * per, changed = 0, outside = 0;
    for (size_t i = 0; i < net->n_param; ++i) {
        bool own = i >= first && i < first + per;
        if (net->param[i] != before[i]) own ? ++changed : ++outside;
    }
    CHECK(changed == per && outside == 2, "%zu weights drawn anew, %zu others", changed, outside);
    CHECK(reject_similar(net, 1, 10) == 0, "now none");
    CHECK(schedule_reject(20, 10, 100) && !schedule_reject(25, 10, 100) && !schedule_reject(80, 10, 100) && !schedule_reject(20, 0, 100),
          "every 10 iterations in the first three quarters");
    free(before);
    net_close(net);
}

int main(void) {
    tiny_start("optimizer");
    test_rules();
    test_held();
    test_limits();
    test_average();
    test_freezing();
    test_reject();
    return tiny_end("optimizer");
}
