/* Whole small networks under test, beside net_check.h: a bound network with an input, a cut network against the masked one, weights
 * through a file and back, another input size, refusals, rows of the table. */
#ifndef TESTS_NET_HARNESS_H
#define TESTS_NET_HARNESS_H

#include <unistd.h>

#include "net_check.h"
#include "prune_nets.h"

#define NET "[net]\nwidth=12\nheight=12\nchannels=3\nbatch=2\nsubdivisions=1\nmax_batches=100\n"
#define CONV(f, k, s, act) \
    "[convolutional]\nbatch_normalize=1\nfilters=" #f "\nsize=" #k "\nstride=" #s "\npad=1\nactivation=" act "\n"
#define PLAIN(f, k, s, act) "[convolutional]\nfilters=" #f "\nsize=" #k "\nstride=" #s "\npad=1\nactivation=" act "\n"

/* A bound network with an input. */
struct rig {
    struct ctx ctx;
    struct backend *be;
    struct net *net;
    float *x;
};

/* `prepare`: sets what the network needs besides (boxes, iteration); may be NULL. */
static inline bool rig_open(struct rig *r, const char *name, const char *text, const char *kind, enum net_mode mode,
                            void (*prepare)(struct net *)) {
    memset(r, 0, sizeof *r);
    r->net = nets_open(&r->ctx, name, text, 7);
    if (r->net && prepare) prepare(r->net);
    bool ok = r->net && backend_open(&r->ctx, kind, &r->be) == ST_OK && net_bind(&r->ctx, r->net, r->be, mode, images_of(r->net, mode)) == ST_OK;
    CHECK(ok, "%s: %s", name, r->ctx.error);
    if (ok) r->x = nets_input(r->net, r->net->batch, 3);
    return ok;
}

static inline void rig_close(struct rig *r) {
    free(r->x);
    net_close(r->net);
    if (r->be) backend_close(r->be);
}

static inline double rig_value(struct rig *r) {
    CHECK(net_refresh(&r->ctx, r->net) == ST_OK && net_forward(&r->ctx, r->net, r->x) == ST_OK, "%s", r->ctx.error);
    return functional(r->net, false);
}

static inline void rig_backward(struct rig *r) { CHECK(backward_from_last(&r->ctx, r->net) == ST_OK, "%s", r->ctx.error); }

static inline double rig_worst(const float *a, const float *b, size_t n) {
    double most = 1e-6, worst = 0;
    for (size_t i = 0; i < n; ++i) {
        most = fmax(most, fabs((double)a[i]));
        worst = fmax(worst, isfinite(b[i]) ? fabs((double)a[i] - (double)b[i]) : INFINITY);
    }
    return worst / most;
}

/* Removing random channels: masked and cut networks agree on every layer.  Returns how many groups went in all trials. */
static inline int check_cut(const char *name, const char *text) {
    struct ctx ctx = { 0 };
    struct backend *be = NULL;
    struct channels *ch = NULL;
    struct net *net = nets_open(&ctx, name, text, 7);
    int removed = 0;
    CHECK(net && backend_open(&ctx, "ref64", &be) == ST_OK && channels_build(&ctx, net, &ch) == ST_OK, "%s: %s", name, ctx.error);
    for (uint64_t seed = 1; ch && seed <= 4; ++seed) {
        struct net *small = NULL;
        uint8_t *keep = calloc((size_t)ch->n_group, 1);
        removed += nets_choose(ch, seed, .4, 1, keep);
        CHECK(slice_apply(&ctx, net, ch, keep, net->param, &small) == ST_OK, "%s: %s", name, ctx.error);
        float *x = nets_input(net, 2, seed);
        double worst = -1;
        if (small) {
            CHECK(slice_check(&ctx, be, net, ch, keep, net->param, small, x, 2, &worst) == ST_OK, "%s: %s", name, ctx.error);
            CHECK(worst >= 0 && worst <= 1e-5, "%s: masked and cut networks differ by %g", name, worst);
            double every = nets_difference(&ctx, net, ch, keep, net->param, small, x);
            CHECK(every >= 0 && every <= 1e-9, "%s: layers of the masked and the cut network differ by %g %s", name, every, ctx.error);
        }
        free(x), free(keep);
        net_close(small);
    }
    channels_drop(ch);
    net_close(net);
    if (be) backend_close(be);
    return removed;
}

static inline void check_round_trip(const char *name, const char *text) {
    struct ctx ctx = { 0 };
    struct net *a = nets_open(&ctx, name, text, 7), *b = nets_open(&ctx, name, text, 8);
    char path[] = "/tmp/test_harness_XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0 && a && b, "%s: no temporary file", name);
    if (fd < 0 || !a || !b) return;
    close(fd);
    CHECK(net_save(&ctx, a, path, -1) == ST_OK && net_load(&ctx, b, path, LOAD_WHOLE, NULL) == ST_OK, "%s: %s", name, ctx.error);
    CHECK(!memcmp(a->param, b->param, a->n_param * sizeof *a->param), "%s: values changed on the way", name);
    unlink(path);
    net_close(a);
    net_close(b);
}

/* Another input size keeps the parameters and runs. */
static inline void check_resize(const char *name, const char *text, void (*prepare)(struct net *)) {
    struct rig r;
    if (!rig_open(&r, name, text, "cpu", NET_TRAIN, prepare)) return;
    float *before = calloc(r.net->n_param + 1, sizeof *before);
    memcpy(before, r.net->param, r.net->n_param * sizeof *before);
    CHECK(net_resize(&r.ctx, r.net, 20, 16) == ST_OK, "%s: %s", name, r.ctx.error);
    float *x = nets_input(r.net, r.net->batch, 4);
    CHECK(net_forward(&r.ctx, r.net, x) == ST_OK, "%s: %s", name, r.ctx.error);
    int last = net_output_layer(r.net);
    size_t n = (size_t)r.net->batch * shape_count(r.net->layer[last].out);
    float *y = calloc(n, sizeof *y);
    net_output(r.net, last, y);
    CHECK(isfinite(y[n - 1]), "%s: %g after the resize", name, (double)y[n - 1]);
    free(before), free(x), free(y);
    rig_close(&r);
}

static inline bool harness_opens(struct ctx *ctx, const char *text) {
    struct cfg_doc *doc;
    struct net *net = NULL;
    if (cfg_parse(ctx, "bad.cfg", text, strlen(text), true, &doc) == ST_OK) net_open_doc(ctx, doc, true, &net);
    net_close(net);
    return net != NULL;
}

/* A fault is told in one line with file, line and key. */
static inline void check_refused(const char *text, const char *part) {
    struct ctx ctx = { 0 };
    CHECK(!harness_opens(&ctx, text), "accepted: %s", text);
    CHECK(strstr(ctx.error, "bad.cfg:") && strstr(ctx.error, part) && !strchr(ctx.error, '\n'), "'%s' should say '%s'", ctx.error, part);
}

struct harness_text { char text[8192]; };
static inline void harness_line(void *user, const char *line) {
    struct harness_text *t = user;
    size_t n = strlen(t->text);
    snprintf(t->text + n, sizeof t->text - n, "%s\n", line);
}

/* The printed layer table holds this row. */
static inline void check_row(const char *text, const char *row) {
    struct ctx ctx = { 0 };
    struct net *net = nets_open(&ctx, "table", text, 1);
    struct harness_text table = { "" };
    if (!net) return;
    net_describe(net, harness_line, &table);
    CHECK(strstr(table.text, row), "no row '%s' in\n%s", row, table.text);
    net_close(net);
}

/* Cut networks compute what the masked ones do, by the check that guards every pruning. */
static inline void check_cuts(const char *kind, double tol, int seeds) {
    static struct nets_gen gen;
    struct ctx ctx = { 0 };
    struct backend *be = NULL;
    int removed = 0;
    CHECK(backend_open(&ctx, kind, &be) == ST_OK, "%s: %s", kind, ctx.error);
    for (int seed = 1; be && seed <= seeds; ++seed) {
        struct channels *ch = NULL;
        struct net *small = NULL;
        nets_write(&gen, (uint64_t)seed, NETS_GROUPED);
        struct net *net = nets_open(&ctx, "cut", gen.text, (uint64_t)seed);
        if (!net || channels_build(&ctx, net, &ch) != ST_OK) continue;
        uint8_t *keep = calloc((size_t)ch->n_group, 1);
        float *x = nets_input(net, 2, (uint64_t)seed);
        double worst = -1;
        removed += nets_choose(ch, (uint64_t)seed, .4, 1, keep);
        if (slice_apply(&ctx, net, ch, keep, net->param, &small) == ST_OK) slice_check(&ctx, be, net, ch, keep, net->param, small, x, 2, &worst);
        CHECK(worst >= 0 && worst <= tol, "%s, seed %d: masked and cut networks differ by %g %s", kind, seed, worst, ctx.error);
        free(x), free(keep);
        channels_drop(ch);
        net_close(net), net_close(small);
    }
    CHECK(removed > seeds, "%s: %d groups were removed", kind, removed);
    CHECK(!be || be->ops->sync(be, &ctx) == ST_OK, "%s: %s", kind, ctx.error);
    backend_close(be);
}

#endif
