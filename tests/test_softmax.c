/* [softmax] and [cost]: outputs, losses and deltas against formulas written out here, gradients of whole networks against
 * central differences, the sibling groups of a word tree. */
#include "base/rng.h"
#include "net/internal.h"
#include "test.h"
#include "vision/word_tree.h"

#include <unistd.h>

#define NET "[net]\nwidth=6\nheight=4\nchannels=3\nbatch=2\nsubdivisions=1\n"
#define CONV(f) "[convolutional]\nfilters=" #f "\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
enum { BATCH = 2, IN = 3 * 4 * 6 };

static struct ctx ctx;

struct rig { struct net *net; struct backend *be; float x[BATCH * IN]; };

static bool rig_open(struct rig *r, const char *text, const char *kind, enum net_mode mode) {
    struct cfg_doc *doc;
    *r = (struct rig){ 0 };
    ctx_clear(&ctx);
    if (cfg_parse(&ctx, "test.cfg", text, strlen(text), true, &doc) != ST_OK) return false;
    if (net_open_doc(&ctx, doc, true, &r->net) != ST_OK || backend_open(&ctx, kind, &r->be) != ST_OK) return false;
    net_init_weights(r->net, 5);
    if (net_bind(&ctx, r->net, r->be, mode, BATCH) != ST_OK) return false;
    struct rng g = rng_stream(4, 0, 0);
    for (int i = 0; i < BATCH * IN; ++i) r->x[i] = (float)rng_between(&g, -2, 2);
    return net_forward(&ctx, r->net, r->x) == ST_OK;
}

static void rig_close(struct rig *r) {
    net_close(r->net);
    if (r->be) backend_close(r->be);
}

#define OPEN(r, ...) if (!rig_open(r, __VA_ARGS__)) { CHECK(false, "%s", ctx.error); rig_close(r); return; }

static size_t outputs(const struct net *net, int layer) { return shape_count(net->layer[layer].out); }

static float *output(const struct net *net, int layer) {
    float *y = calloc(BATCH * outputs(net, layer), sizeof *y);
    net_output(net, layer, y);
    return y;
}

/* --- Output --------------------------------------------------------------------------------------------------------- */

/* Softmax over elements first, first + stride, ... of x. */
static void expect_row(const float *x, const float *y, size_t first, size_t stride, int n, double temperature, const char *what) {
    double sum = 0;
    for (int k = 0; k < n; ++k) sum += exp(x[first + (size_t)k * stride] / temperature);
    for (int k = 0; k < n; ++k) {
        size_t at = first + (size_t)k * stride;
        CHECK_NEAR(y[at], exp(x[at] / temperature) / sum, 1e-6, "%s element %zu", what, at);
    }
}

static void check_outputs(const char *kind) {
    struct rig r;
    OPEN(&r, NET CONV(4) "[softmax]\ngroups=2\ntemperature=3\n[cost]\n", kind, NET_INFER);
    CHECK(net_output_layer(r.net) == 1, "[cost] is not the output: %d", net_output_layer(r.net));
    struct shape s = r.net->layer[1].out;
    CHECK(s.c == 96 && s.h == 1 && s.w == 1, "%d x %d x %d", s.w, s.h, s.c);
    rig_close(&r);
    for (int spatial = 0; spatial < 2; ++spatial) {
        const char *text = spatial ? NET CONV(4) "[softmax]\nspatial=1\n" : NET CONV(4) "[softmax]\ngroups=2\ntemperature=3\n";
        OPEN(&r, text, kind, NET_TRAIN); /* keeps the layer before */
        float *x = output(r.net, 0), *y = output(r.net, 1);
        for (int b = 0; b < BATCH; ++b) {
            for (int g = 0; g < 2 && !spatial; ++g) expect_row(x, y, (size_t)(b * 96 + g * 48), 1, 48, 3, "group");
            for (int c = 0; c < 24 && spatial; ++c) expect_row(x, y, (size_t)(b * 96 + c), 24, 4, 1, "cell");
        }
        free(x), free(y);
        rig_close(&r);
    }
}

static void check_large_values(void) {
    struct rig r;
    OPEN(&r, NET CONV(4) "[softmax]\n", "ref", NET_INFER);
    for (int i = 0; i < BATCH * IN; ++i) r.x[i] *= 1e4f;
    net_forward(&ctx, r.net, r.x);
    float *y = output(r.net, 1);
    double sum = 0;
    for (int i = 0; i < 96; ++i) sum += y[i];
    CHECK_NEAR(sum, 1, 1e-5, "large values neither overflow nor vanish");
    free(y);
    rig_close(&r);
}

/* --- Losses --------------------------------------------------------------------------------------------------------- */

/* One hot class per row of `per` values, softened; every image another. */
static void make_target(float *t, int n, int per) {
    for (int i = 0; i < BATCH * n; ++i) t[i] = i % per == (i / per * 3 + 1) % per ? .9f + .1f / (float)per : .1f / (float)per;
}

static double loss_of(struct rig *r, const float *t, int n, struct loss_stats *stats) {
    struct net_truth truth = { .target = t, .target_size = n };
    double loss = NAN;
    CHECK(net_loss(&ctx, r->net, &truth, &loss, stats) == ST_OK, "%s", ctx.error);
    return loss;
}

static double entropy(const float *y, const float *t, int n) {
    double sum = 0;
    for (int i = 0; i < BATCH * n; ++i) sum -= t[i] ? t[i] * log(y[i]) : 0;
    return sum;
}

static void check_entropy(void) {
    struct rig r;
    float t[BATCH * 6];
    struct loss_stats stats[3];
    OPEN(&r, NET CONV(6) "[avgpool]\n[softmax]\ngroups=2\n", "ref64", NET_TRAIN);
    make_target(t, 6, 3);
    float *y = output(r.net, 2);
    CHECK_NEAR(loss_of(&r, t, 6, stats), entropy(y, t, 6), 1e-5, "cross-entropy");
    for (int i = 0; i < BATCH * 6; ++i) CHECK_NEAR(r.net->layer[2].head_delta[i], y[i] - t[i], 1e-6, "delta %d", i);
    t[4] = t[7] = TRUTH_IGNORED;
    loss_of(&r, t, 6, stats);
    CHECK(r.net->layer[2].head_delta[4] == 0 && r.net->layer[2].head_delta[7] == 0, "an ignored entry trains nothing");
    CHECK(stats[2].loss > 0 && stats[2].loss < 100, "and costs nothing: %g", stats[2].loss);
    free(y);
    rig_close(&r);
}

static void check_cost_types(void) {
    static const char *const types[] = { "sse", "masked", "smooth" };
    for (int k = 0; k < 3; ++k) {
        char text[512];
        snprintf(text, sizeof text, NET CONV(5) "[avgpool]\n[cost]\ntype=%s\nscale=.5\n", types[k]);
        struct rig r;
        float t[BATCH * 5];
        OPEN(&r, text, "ref64", NET_TRAIN);
        float *x = output(r.net, 1);
        for (int i = 0; i < BATCH * 5; ++i) t[i] = x[i] + (i % 2 ? 1.75f : -.5f);
        t[3] = k == 1 ? TRUTH_IGNORED : t[3];
        double want = 0;
        struct loss_stats stats[3];
        double loss = loss_of(&r, t, 5, stats);
        for (int i = 0; i < BATCH * 5; ++i) {
            double d = i % 2 ? 1.75 : -.5, e = d * d, g = d;
            if (k == 1 && i == 3) e = g = 0;
            if (k == 2 && i % 2) e = 2 * 1.75 - 1, g = 1;
            want += e;
            CHECK_NEAR(r.net->layer[2].head_delta[i], -.5 * g, 1e-6, "%s delta %d", types[k], i);
        }
        CHECK_NEAR(loss, want, 1e-5, "%s", types[k]);
        free(x);
        rig_close(&r);
    }
}

/* Both layers count and both train, as upstream: the mean of the two costs, and p - t twice. */
static void check_softmax_and_cost(void) {
    struct rig r;
    float t[BATCH * 6], dx[BATCH * 6];
    OPEN(&r, NET CONV(6) "[avgpool]\n[softmax]\n[cost]\n", "ref64", NET_TRAIN);
    make_target(t, 6, 6);
    float *y = output(r.net, 2);
    double squares = 0;
    for (int i = 0; i < BATCH * 6; ++i) squares += pow(y[i] - t[i], 2);
    struct loss_stats stats[4];
    CHECK_NEAR(loss_of(&r, t, 6, stats), (entropy(y, t, 6) + squares) / 2, 1e-5, "mean of both");
    CHECK(net_backward(&ctx, r.net) == ST_OK, "%s", ctx.error);
    r.be->ops->to_nchw(r.be, &r.net->dy[1], dx);
    for (int i = 0; i < BATCH * 6; ++i) CHECK_NEAR(dx[i], 2 * (y[i] - t[i]), 1e-5, "gradient %d", i);
    free(y);
    rig_close(&r);
    OPEN(&r, NET CONV(6) "[avgpool]\n[softmax]\nnoloss=1\n[cost]\n", "ref64", NET_TRAIN);
    CHECK_NEAR(loss_of(&r, t, 6, stats), squares, 1e-5, "noloss: [cost] alone counts");
    CHECK(stats[2].none && !stats[3].none, "noloss");
    rig_close(&r);
}

/* --- Gradients through the network ------------------------------------------------------------------------------------ */

/* `factor`: upstream's deltas are this much of the derivative of what is printed. */
static void check_gradient(const char *text, int n, int per, double factor) {
    struct rig r;
    float *t = calloc((size_t)(BATCH * n), sizeof *t);
    OPEN(&r, text, "ref64", NET_TRAIN);
    make_target(t, n, per);
    struct loss_stats stats[8];
    loss_of(&r, t, n, stats);
    CHECK(net_backward(&ctx, r.net) == ST_OK, "%s", ctx.error);
    double *w = (double *)r.net->dev_param, *g = (double *)r.net->dev_grad;
    for (size_t j = 0; j < r.net->n_param; j += 3) {
        double keep = w[j], h = 1e-3, e[2];
        for (int side = 0; side < 2; ++side) {
            w[j] = keep + (side ? h : -h);
            net_refresh(&ctx, r.net);
            net_forward(&ctx, r.net, r.x);
            e[side] = loss_of(&r, t, n, stats);
        }
        w[j] = keep;
        CHECK_NEAR(g[j], factor * (e[1] - e[0]) / (2 * h), 3e-4, "%s parameter %zu", text, j);
    }
    free(t);
    rig_close(&r);
}

/* SCORE: the derivative of a weighted sum of probabilities. */
static void check_score(const char *text) {
    struct rig r;
    OPEN(&r, text, "ref64", NET_SCORE);
    int last = net_output_layer(r.net);
    size_t n = BATCH * outputs(r.net, last), inputs = BATCH * outputs(r.net, last - 1);
    float *seed = calloc(n, sizeof *seed), *dx = calloc(inputs, sizeof *dx);
    struct rng g = rng_stream(6, 0, 0);
    for (size_t i = 0; i < n; ++i) seed[i] = (float)rng_between(&g, -1, 1);
    r.net->buffers->clear[last] = false;
    r.net->buffers->first_writer[last] = last;
    r.be->ops->from_nchw(r.be, seed, &r.net->dy[last], false);
    struct pass p;
    net_pass(&ctx, r.net, last, &p);
    CHECK(r.net->layer[last].ops->backward(&r.net->layer[last], &p) == ST_OK, "%s", ctx.error);
    r.be->ops->to_nchw(r.be, &r.net->dy[last - 1], dx);
    float *x = output(r.net, last - 1), *y = calloc(n, sizeof *y);
    for (size_t i = 0; i < inputs; i += 5) {
        float keep = x[i], h = 1e-2f;
        double e[2] = { 0, 0 };
        for (int side = 0; side < 2; ++side) {
            x[i] = keep + (side ? h : -h);
            r.be->ops->from_nchw(r.be, x, &r.net->y[last - 1], false);
            r.net->layer[last].ops->forward(&r.net->layer[last], &p);
            net_output(r.net, last, y);
            for (size_t k = 0; k < n; ++k) e[side] += (double)seed[k] * y[k];
        }
        x[i] = keep;
        CHECK_NEAR(dx[i], (e[1] - e[0]) / (2 * (double)h), 1e-4, "%s element %zu", text, i);
    }
    free(seed), free(dx), free(x), free(y);
    rig_close(&r);
}

/* --- Word tree -------------------------------------------------------------------------------------------------------- */

/* animal(cat, dog(poodle, beagle)), thing: groups {0,1} {2,3} {4,5} */
static const char tree_text[] = "animal -1\nthing -1\r\n\ncat 0\ndog 0\npoodle 3\nbeagle 3\n";

static bool write_file(char *path, const char *text) {
    int fd = mkstemp(path);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0) close(fd);
    if (!ok) SKIP("word tree: no temporary file");
    return ok;
}

static void check_tree_layer(void) {
    char path[] = "/tmp/test_softmax_XXXXXX", text[512];
    if (!write_file(path, tree_text)) return;
    snprintf(text, sizeof text, NET CONV(6) "[avgpool]\n[softmax]\ntree=%s\n", path);
    struct rig r;
    OPEN(&r, text, "ref64", NET_TRAIN);
    const struct word_tree *tree = r.net->layer[2].ops->tree(&r.net->layer[2]);
    CHECK(tree && tree->n == 6 && tree->groups == 3, "the layer's tree");
    float *x = output(r.net, 1), *y = output(r.net, 2);
    for (int b = 0; b < BATCH; ++b)
        for (int g = 0; g < 3; ++g) expect_row(x, y, (size_t)(b * 6 + 2 * g), 1, 2, 1, "siblings");
    free(x), free(y);
    /* A thing: nothing is known below animal.  A dog: not which. */
    const float i = TRUTH_IGNORED, t[BATCH * 6] = { 0, 1, i, i, i, i, 1, 0, 0, 1, i, i };
    struct loss_stats stats[3];
    loss_of(&r, t, 6, stats);
    const float *d = r.net->layer[2].head_delta;
    for (int k = 0; k < BATCH * 6; ++k) CHECK((d[k] == 0) == (t[k] == i), "delta %d: %g", k, d[k]);
    rig_close(&r);
    snprintf(text, sizeof text, NET CONV(7) "[avgpool]\n[softmax]\ntree=%s\n", path);
    CHECK(!rig_open(&r, text, "ref", NET_INFER) && strstr(ctx.error, "has 6 classes, but this layer has 7"), "%s", ctx.error);
    rig_close(&r);
    unlink(path);
    snprintf(text, sizeof text, NET CONV(6) "[softmax]\ntree=/no/such/tree\n");
    CHECK(!rig_open(&r, text, "ref", NET_INFER) && strstr(ctx.error, "[softmax] tree") && strstr(ctx.error, "/no/such/tree") &&
              !strchr(ctx.error, '\n'), "%s", ctx.error);
    CHECK(r.net != NULL, "a network can be listed without its tree");
    rig_close(&r);
}

/* --- Errors ------------------------------------------------------------------------------------------------------------ */

static void expect_error(const char *text, const char *part) {
    struct rig r;
    CHECK(!rig_open(&r, text, "ref", NET_TRAIN) && strstr(ctx.error, part), "'%s' has no '%s'", ctx.error, part);
    rig_close(&r);
}

static void check_errors(void) {
    expect_error(NET CONV(5) "[softmax]\ngroups=7\n", "groups");
    expect_error(NET CONV(5) "[softmax]\ntemperature=0\n", "temperature");
    expect_error(NET CONV(6) "[softmax]\ngroups=2\ntree=x\n", "tree");
    struct rig r;
    OPEN(&r, NET CONV(6) "[avgpool]\n[softmax]\n", "ref", NET_TRAIN);
    float t[BATCH * 6] = { 0 };
    double loss;
    struct net_truth wrong = { .target = t, .target_size = 4 }, none = { 0 };
    CHECK(net_loss(&ctx, r.net, &wrong, &loss, NULL) == ST_CFG && strstr(ctx.error, "6 values per image, but the data has 4"), "%s", ctx.error);
    ctx_clear(&ctx);
    CHECK(net_loss(&ctx, r.net, &none, &loss, NULL) == ST_CFG && strstr(ctx.error, "boxes only"), "%s", ctx.error);
    rig_close(&r);
}

static void check_rows(void) {
    struct rig r;
    char text[256];
    OPEN(&r, NET CONV(6) "[avgpool]\n[soft]\n[cost]\n", "ref", NET_INFER);
    r.net->layer[2].ops->describe(&r.net->layer[2], text, sizeof text);
    CHECK(!strcmp(text, "softmax                                           6"), "%s", text);
    r.net->layer[3].ops->describe(&r.net->layer[3], text, sizeof text);
    CHECK(!strcmp(text, "cost                                              6"), "%s", text);
    CHECK(net_resize(&ctx, r.net, 10, 8) == ST_OK, "%s", ctx.error);
    rig_close(&r);
}

int main(void) {
    check_outputs("ref");
    check_outputs("cpu");
    check_large_values();
    check_entropy();
    check_cost_types();
    check_softmax_and_cost();
    check_gradient(NET CONV(6) "[avgpool]\n[softmax]\ngroups=2\n", 6, 3, 1);
    check_gradient(NET CONV(2) "[softmax]\n", 48, 48, 1);
    check_gradient(NET CONV(6) "[avgpool]\n[cost]\n", 6, 3, .5);
    check_gradient(NET CONV(6) "[avgpool]\n[cost]\ntype=smooth\nscale=1\n", 6, 3, .5);
    check_score(NET CONV(6) "[softmax]\ngroups=2\ntemperature=2\n");
    check_score(NET CONV(6) "[softmax]\nspatial=1\n");
    check_tree_layer();
    check_errors();
    check_rows();
    return test_end("softmax");
}
