/* What every layer type is held to, for tests of whole small networks: gradients against central differences, the fast
 * backend against the reference. */
#ifndef TESTS_NET_CHECK_H
#define TESTS_NET_CHECK_H

#include <float.h>

#include "base/rng.h"
#include "kinds.h"
#include "net/internal.h"
#include "test.h"

static inline struct net *opened(struct ctx *ctx, const char *name, const char *text) {
    struct cfg_doc *doc;
    struct net *net = NULL;
    if (cfg_parse(ctx, name, text, strlen(text), true, &doc) == ST_OK) net_open_doc(ctx, doc, true, &net);
    CHECK(net != NULL, "%s: %s", name, ctx->error);
    if (!net) return NULL;
    net_init_weights(net, 7);
    struct rng r = rng_stream(3, 1, 4);
    for (int i = 0; i < net->n; ++i) /* statistics and scales that are not neutral */
        for (int k = 0; k < net->layer[i].n_param; ++k) {
            const struct param *p = &net->layer[i].param[k];
            for (size_t j = 0; j < param_count(p) && p->role != PARAM_WEIGHT; ++j)
                net->param[p->offset + j] = (float)((p->role == PARAM_SCALE || p->role == PARAM_VARIANCE ? 1 : 0) + rng_between(&r, -.3, .3));
        }
    return net;
}

/* Two images, or what the cfg's batch holds if it has sequences. */
static inline int images_of(const struct net *net, enum net_mode mode) {
    return mode == NET_TRAIN && net->opt.time_steps > 1 ? net->opt.batch / net->opt.subdivisions * net->opt.time_steps : 2;
}

static inline size_t input_size(const struct net *net) {
    return (size_t)net->batch * (size_t)net->opt.channels * (size_t)net->opt.height * (size_t)net->opt.width;
}

static inline void random_input(const struct net *net, float *x) {
    struct rng r = rng_stream(9, 2, 6);
    for (size_t i = 0; i < input_size(net); ++i) x[i] = (float)rng_uniform(&r);
}

/* A pass that remembers nothing of earlier ones. */
static inline enum status forward_anew(struct ctx *ctx, struct net *net, const float *x) {
    enum status st = net_reset(ctx, net);
    return st == ST_OK ? net_forward(ctx, net, x) : st;
}

/* sum of weights * output of the last layer, and its gradient seeded into dy */
static inline double functional(const struct net *net, bool seed) {
    int last = net_output_layer(net);
    struct tensor *y = &net->y[last], *dy = &net->dy[last];
    struct rng r = rng_stream(5, 5, 5);
    double sum = 0;
    const double *v = y->data;
    double *d = dy->data;
    for (int n = 0; n < y->n; ++n)
        for (int c = 0; c < y->c; ++c)
            for (int h = 0; h < y->h; ++h)
                for (int w = 0; w < y->w; ++w) {
                    double weight = rng_between(&r, -1, 1);
                    ptrdiff_t at = n * y->sn + c * y->sc + h * y->sh + w * y->sw;
                    sum += weight * v[at];
                    if (seed) d[at] = weight;
                }
    return sum;
}

/* net_backward starts with every unread gradient at zero; a test seeds the last layer's after that point. */
static inline enum status backward_from_last(struct ctx *ctx, struct net *net) {
    int last = net_output_layer(net);
    net->buffers->clear[last] = false;
    net->buffers->first_writer[last] = last;
    functional(net, true);
    return net_backward(ctx, net);
}

/* The same on any backend, from a gradient of random numbers. */
static inline enum status backward_from_random(struct ctx *ctx, struct net *net) {
    int last = net_output_layer(net);
    size_t n = (size_t)net->batch * shape_count(net->layer[last].out);
    float *seed = calloc(n, sizeof *seed);
    struct rng r = rng_stream(5, 5, 5);
    for (size_t i = 0; i < n; ++i) seed[i] = (float)rng_between(&r, -1, 1);
    net->buffers->clear[last] = false;
    net->buffers->first_writer[last] = last;
    net->be->ops->from_nchw(net->be, seed, &net->dy[last], false);
    free(seed);
    return net_backward(ctx, net);
}

/* Parameter gradients of every layer; each array is looked at in a few random places.  `prepare` sets what the network needs besides
 * (boxes, iteration); may be NULL.  Returns how many gradients were not zero. */
static inline int check_gradients(const char *name, const char *text, enum net_mode mode, void (*prepare)(struct net *)) {
    struct ctx ctx = { 0 };
    struct backend *be = NULL;
    struct net *net = opened(&ctx, name, text);
    int nonzero = 0;
    if (net && prepare) prepare(net);
    if (!net || backend_open(&ctx, "ref64", &be) != ST_OK || net_bind(&ctx, net, be, mode, images_of(net, mode)) != ST_OK) {
        CHECK(false, "%s: %s", name, ctx.error);
        return 0;
    }
    float *x = calloc(input_size(net), sizeof *x);
    double *w = (double *)net->dev_param, *g = (double *)net->dev_grad;
    random_input(net, x);
    forward_anew(&ctx, net, x);
    CHECK(backward_from_last(&ctx, net) == ST_OK, "%s: %s", name, ctx.error);
    struct rng r = rng_stream(8, 8, 8);
    for (int i = 0; i < net->n; ++i)
        for (int k = 0; k < net->layer[i].n_param; ++k) {
            const struct param *p = &net->layer[i].param[k];
            if (!(p->flags & PARAM_TRAIN) || !param_owned(p)) continue;
            for (int t = 0; t < 6; ++t) {
                size_t j = p->offset + (size_t)rng_int(&r, 0, (int)param_count(p) - 1);
                double keep = w[j], h = 1e-6;
                w[j] = keep + h;
                net_refresh(&ctx, net);
                forward_anew(&ctx, net, x);
                double up = functional(net, false);
                w[j] = keep - h;
                net_refresh(&ctx, net);
                forward_anew(&ctx, net, x);
                double down = functional(net, false);
                w[j] = keep;
                double want = (up - down) / (2 * h), error = fabs(g[j] - want) / fmax(fmax(fabs(want), fabs(g[j])), 1e-2);
                CHECK(error < 1e-4, "%s layer %d %s[%zu]: gradient %.8g, central difference %.8g", name, i, p->name, j - p->offset, g[j], want);
                nonzero += fabs(want) > 1e-9;
            }
        }
    free(x);
    net_close(net);
    backend_close(be);
    return nonzero;
}

/* SCORE: the gradient of every activation, through frozen statistics. */
static inline void check_activation_gradients(const char *name, const char *text) {
    struct ctx ctx = { 0 };
    struct backend *be = NULL;
    struct net *net = opened(&ctx, name, text);
    if (!net || backend_open(&ctx, "ref64", &be) != ST_OK || net_bind(&ctx, net, be, NET_SCORE, 2) != ST_OK) {
        CHECK(false, "%s: %s", name, ctx.error);
        return;
    }
    float *x = calloc(input_size(net), sizeof *x);
    random_input(net, x);
    forward_anew(&ctx, net, x);
    backward_from_last(&ctx, net);
    /* Bias of layer 0 moves its pre-activation; compare through the folded convolution: d/dbias = sum of dy*slope, so look at
     * the parameter instead: the response to a small change of one bias equals the sum of that channel's gradient. */
    const struct layer *l = &net->layer[0];
    struct tensor *dy = &net->dy[0];
    double *w = (double *)net->dev_param, *d = dy->data;
    for (int c = 0; c < l->out.c && d; ++c) {
        double sum = 0;
        forward_anew(&ctx, net, x);
        net->buffers->clear[net_output_layer(net)] = false;
        backward_from_last(&ctx, net);
        for (int n = 0; n < dy->n; ++n)
            for (int i = 0; i < dy->h; ++i)
                for (int j = 0; j < dy->w; ++j) sum += d[n * dy->sn + c * dy->sc + i * dy->sh + j * dy->sw];
        double keep = w[l->param[0].offset + (size_t)c], h = 1e-6, value[2];
        for (int s = 0; s < 2; ++s) {
            w[l->param[0].offset + (size_t)c] = keep + (s ? -h : h);
            net_refresh(&ctx, net);
            forward_anew(&ctx, net, x);
            value[s] = functional(net, false);
        }
        w[l->param[0].offset + (size_t)c] = keep;
        net_refresh(&ctx, net);
        /* dy of layer 0 is overwritten by its own backward with the derivative before the activation */
        double want = (value[0] - value[1]) / (2 * h);
        CHECK(fabs(sum - want) <= 1e-4 * fmax(fabs(want), 1e-2), "%s channel %d: %.8g, central difference %.8g", name, c, sum, want);
    }
    free(x);
    net_close(net);
    backend_close(be);
}

/* How far b is from a: of the largest value, and root mean square by root mean square; infinite where b is no number. */
static inline double off_most(const float *a, const float *b, size_t n) {
    double most = 1e-6, worst = 0;
    for (size_t i = 0; i < n; ++i) {
        double off = fabs((double)a[i] - (double)b[i]);
        most = fmax(most, fabs((double)a[i])), worst = test_worse(worst, off);
    }
    return worst / most;
}
static inline double off_all(const float *a, const float *b, size_t n) {
    double all = 1e-12, off = 0;
    for (size_t i = 0; i < n; ++i) all += (double)a[i] * (double)a[i], off += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return test_worse(0, sqrt(off / all));
}

/* Those maps are narrow, and only those, that layers say they take; returns how many. */
static inline int check_elements(const char *name, const struct net *net) {
    int narrow = 0, last = net_output_layer(net);
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        bool takes = l->ops->narrow && l->ops->narrow(l);
        enum element type = net->y[i].type;
        narrow += type != ELEMENT_REAL;
        CHECK(type == ELEMENT_REAL || (takes && type == net->be->narrow_maps && i != last), "%s: layer %d [%s] makes %d", name, i, l->ops->name, type);
        CHECK(net->dy[i].type == ELEMENT_REAL || net->buffers->owner[i] != i || net->dy[i].type == type, "%s: layer %d [%s] has gradients of %d", name, i, l->ops->name, type);
        for (int k = 0; k < l->n_in; ++k) {
            type = l->in[k] == LAYER_INPUT ? net->input.type : net->y[l->in[k]].type;
            CHECK(takes || type == ELEMENT_REAL, "%s: layer %d [%s] reads %d", name, i, l->ops->name, type);
        }
    }
    return narrow;
}

/* What a network gives on a backend for random input: its output, and in training the gradients of its parameters. */
struct given { float *y, *g; size_t n_y, n_g; int narrow; /* maps */ };

static inline bool give(const char *kind, const char *name, const char *text, enum net_mode mode, void (*prepare)(struct net *), struct given *out) {
    struct ctx ctx = { 0 };
    struct backend *be = NULL;
    struct net *net = opened(&ctx, name, text);
    if (net && prepare) prepare(net);
    if (!net || backend_open(&ctx, kind, &be) != ST_OK || net_bind(&ctx, net, be, mode, images_of(net, mode)) != ST_OK) {
        CHECK(false, "%s on %s: %s", name, kind, ctx.error);
        return false;
    }
    float *x = calloc(input_size(net), sizeof *x);
    int last = net_output_layer(net);
    random_input(net, x);
    CHECK(forward_anew(&ctx, net, x) == ST_OK, "%s: %s", name, ctx.error);
    *out = (struct given){ .n_y = (size_t)net->batch * shape_count(net->layer[last].out), .n_g = net->n_param, .narrow = check_elements(name, net) };
    out->y = calloc(out->n_y + 1, sizeof *out->y);
    out->g = calloc(out->n_g + 1, sizeof *out->g);
    net_output(net, last, out->y);
    if (mode == NET_TRAIN) {
        CHECK(backward_from_random(&ctx, net) == ST_OK, "%s: %s", name, ctx.error);
        be->ops->get(be, net->dev_grad, out->n_g, out->g);
    }
    free(x);
    net_close(net);
    backend_close(be);
    return true;
}

static inline void check_backend(const char *kind, const char *name, const char *text, enum net_mode mode, void (*prepare)(struct net *)) {
    struct given want = { 0 }, got = { 0 };
    if (give("ref", name, text, mode, prepare, &want) && give(kind, name, text, mode, prepare, &got)) {
        double off = off_most(want.y, got.y, got.n_y), off_g = off_most(want.g, got.g, got.n_g);
        CHECK(off <= 1e-5, "%s on %s: outputs differ by %g of the largest", name, kind, off);
        CHECK(off_g <= 1e-4, "%s on %s: gradients differ by %g of the largest", name, kind, off_g);
    }
    free(want.y), free(want.g), free(got.y), free(got.g);
}

/* A network with maps of 16 bits gives what the reference gives, as exactly as the kind's numbers permit, one rounding after another:
 * outputs to `tol` of the largest, gradients of parameters to `tol_g` in their root mean square.  Returns how many maps were narrow. */
static inline int check_narrow_net(const char *kind, const char *name, const char *text, enum net_mode mode, double tol, double tol_g) {
    struct given want = { 0 }, got = { 0 };
    if (give("ref", name, text, mode, NULL, &want) && give(kind, name, text, mode, NULL, &got)) {
        double off = off_most(want.y, got.y, got.n_y), off_g = off_all(want.g, got.g, got.n_g);
        CHECK(off <= tol, "%s on %s: outputs differ by %g of the largest", name, kind, off);
        CHECK(off_g <= tol_g, "%s on %s: gradients differ by %g of their size", name, kind, off_g);
    }
    free(want.y), free(want.g), free(got.y), free(got.g);
    return got.narrow;
}

/* Every fast backend computes what the reference does: outputs and parameter gradients. */
static inline void check_backends(const char *name, const char *text, enum net_mode mode, void (*prepare)(struct net *)) {
    const char *kinds[MAX_KINDS];
    int n = fast_kinds(kinds);
    for (int i = 0; i < n; ++i) check_backend(kinds[i], name, text, mode, prepare);
}

#endif
