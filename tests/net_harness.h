/* Whole small networks under test: gradients against central differences, the fast backend against the reference, a cut
 * network against the masked one, weights through a file and back. */
#ifndef TESTS_NET_HARNESS_H
#define TESTS_NET_HARNESS_H

#include <unistd.h>

#include "kinds.h"
#include "net/internal.h"
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
    bool ok = r->net && backend_open(&r->ctx, kind, &r->be) == ST_OK && net_bind(&r->ctx, r->net, r->be, mode, 2) == ST_OK;
    CHECK(ok, "%s: %s", name, r->ctx.error);
    if (ok) r->x = nets_input(r->net, 2, 3);
    return ok;
}

static inline void rig_close(struct rig *r) {
    free(r->x);
    net_close(r->net);
    if (r->be) backend_close(r->be);
}

/* sum of random weights * output of the last layer; `seed`: and its gradient into dy.  On ref64. */
static inline double rig_functional(const struct net *net, bool seed) {
    int last = net_output_layer(net);
    const struct tensor *y = &net->y[last];
    struct rng r = rng_stream(5, 5, 5);
    double sum = 0;
    for (int n = 0; n < y->n; ++n)
        for (int c = 0; c < y->c; ++c)
            for (int h = 0; h < y->h; ++h)
                for (int w = 0; w < y->w; ++w) {
                    double weight = rng_between(&r, -1, 1);
                    ptrdiff_t at = n * y->sn + c * y->sc + h * y->sh + w * y->sw;
                    sum += weight * ((double *)y->data)[at];
                    if (seed) ((double *)net->dy[last].data)[at] = weight;
                }
    return sum;
}

static inline double rig_value(struct rig *r) {
    CHECK(net_refresh(&r->ctx, r->net) == ST_OK && net_forward(&r->ctx, r->net, r->x) == ST_OK, "%s", r->ctx.error);
    return rig_functional(r->net, false);
}

/* net_backward starts with every unread gradient at zero; a test seeds the last layer's after that point. */
static inline void rig_backward(struct rig *r) {
    int last = net_output_layer(r->net);
    r->net->buffers->clear[last] = false;
    r->net->buffers->first_writer[last] = last;
    rig_functional(r->net, true);
    CHECK(net_backward(&r->ctx, r->net) == ST_OK, "%s", r->ctx.error);
}

static inline double rig_difference(struct rig *r, size_t at) {
    double *w = (double *)r->net->dev_param, keep = w[at], h = 1e-6;
    w[at] = keep + h;
    double up = rig_value(r);
    w[at] = keep - h;
    double down = rig_value(r);
    w[at] = keep;
    return (up - down) / (2 * h);
}

/* Parameter gradients of every layer; each is looked at in a few random places.  Returns how many were not zero. */
static inline int check_gradients(const char *name, const char *text, void (*prepare)(struct net *)) {
    struct rig r;
    int nonzero = 0;
    if (!rig_open(&r, name, text, "ref64", NET_TRAIN, prepare)) return 0;
    rig_value(&r);
    rig_backward(&r);
    struct rng random = rng_stream(8, 8, 8);
    const double *g = (double *)r.net->dev_grad;
    for (int i = 0; i < r.net->n; ++i)
        for (int k = 0; k < r.net->layer[i].n_param; ++k) {
            const struct param *p = &r.net->layer[i].param[k];
            if (!(p->flags & PARAM_TRAIN) || !param_owned(p)) continue;
            for (int t = 0; t < 6; ++t) {
                size_t j = p->offset + (size_t)rng_int(&random, 0, (int)param_count(p) - 1);
                double want = rig_difference(&r, j), error = fabs(g[j] - want) / fmax(fmax(fabs(want), fabs(g[j])), 1e-2);
                CHECK(error < 1e-4, "%s layer %d %s[%zu]: gradient %.8g, central difference %.8g", name, i, p->name,
                      j - p->offset, g[j], want);
                nonzero += fabs(want) > 1e-9;
            }
        }
    rig_close(&r);
    return nonzero;
}

/* SCORE: the gradient before layer 0's activation, summed over a channel, is that of its bias (through folded batch norm). */
static inline void check_score(const char *name, const char *text) {
    struct rig r;
    if (!rig_open(&r, name, text, "ref64", NET_SCORE, NULL)) return;
    const struct tensor *dy = &r.net->dy[0];
    for (int c = 0; c < r.net->layer[0].out.c; ++c) {
        double want = rig_difference(&r, r.net->layer[0].param[0].offset + (size_t)c), sum = 0;
        rig_value(&r);
        rig_backward(&r);
        for (int n = 0; n < dy->n; ++n)
            for (int i = 0; i < dy->h; ++i)
                for (int j = 0; j < dy->w; ++j) sum += ((double *)dy->data)[n * dy->sn + c * dy->sc + i * dy->sh + j * dy->sw];
        CHECK(fabs(sum - want) <= 1e-4 * fmax(fabs(want), 1e-2), "%s channel %d: %.8g, central difference %.8g", name, c, sum, want);
    }
    rig_close(&r);
}

static inline double rig_worst(const float *a, const float *b, size_t n) {
    double most = 1e-6, worst = 0;
    for (size_t i = 0; i < n; ++i) {
        most = fmax(most, fabs((double)a[i]));
        worst = fmax(worst, isfinite(b[i]) ? fabs((double)a[i] - (double)b[i]) : INFINITY);
    }
    return worst / most;
}

static inline void check_backend(const char *kind, const char *name, const char *text, enum net_mode mode, void (*prepare)(struct net *)) {
    float *y[2] = { NULL, NULL }, *g[2] = { NULL, NULL };
    size_t n_y = 0, n_g = 0;
    for (int b = 0; b < 2; ++b) {
        struct rig r;
        if (!rig_open(&r, name, text, b ? kind : "ref", mode, prepare)) return;
        CHECK(net_forward(&r.ctx, r.net, r.x) == ST_OK, "%s: %s", name, r.ctx.error);
        int last = net_output_layer(r.net);
        n_y = 2 * shape_count(r.net->layer[last].out);
        n_g = r.net->n_param;
        y[b] = calloc(n_y, sizeof **y);
        g[b] = calloc(n_g + 1, sizeof **g);
        net_output(r.net, last, y[b]);
        if (mode == NET_TRAIN) {
            float *seed = calloc(n_y, sizeof *seed);
            struct rng random = rng_stream(5, 5, 5);
            for (size_t i = 0; i < n_y; ++i) seed[i] = (float)rng_between(&random, -1, 1);
            r.net->buffers->clear[last] = false;
            r.net->buffers->first_writer[last] = last;
            r.be->ops->from_nchw(r.be, seed, &r.net->dy[last], false);
            free(seed);
            CHECK(net_backward(&r.ctx, r.net) == ST_OK, "%s: %s", name, r.ctx.error);
            r.be->ops->get(r.be, r.net->dev_grad, n_g, g[b]);
        }
        rig_close(&r);
    }
    CHECK(rig_worst(y[0], y[1], n_y) <= 1e-5, "%s on %s: outputs differ by %g", name, kind, rig_worst(y[0], y[1], n_y));
    CHECK(rig_worst(g[0], g[1], n_g) <= 1e-4, "%s on %s: gradients differ by %g", name, kind, rig_worst(g[0], g[1], n_g));
    free(y[0]), free(y[1]), free(g[0]), free(g[1]);
}

/* Every fast backend computes what the reference does: outputs and parameter gradients. */
static inline void check_backends(const char *name, const char *text, enum net_mode mode, void (*prepare)(struct net *)) {
    const char *kinds[MAX_KINDS];
    int n = fast_kinds(kinds);
    for (int i = 0; i < n; ++i) check_backend(kinds[i], name, text, mode, prepare);
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
    float *x = nets_input(r.net, 2, 4);
    CHECK(net_forward(&r.ctx, r.net, x) == ST_OK, "%s: %s", name, r.ctx.error);
    int last = net_output_layer(r.net);
    size_t n = 2 * shape_count(r.net->layer[last].out);
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

#endif
