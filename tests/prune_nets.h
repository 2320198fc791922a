/* Networks for the pruner's tests: random cfg texts over every layer type, values that are nowhere neutral,
 * random choices of what to remove, and the comparison of a masked with a cut network, element by element, on
 * every layer. */
#ifndef TESTS_PRUNE_NETS_H
#define TESTS_PRUNE_NETS_H

#include "base/rng.h"
#include "net/net.h"
#include "prune/channels.h"
#include "prune/slice.h"
#include "test.h"

/* --- writing a cfg
 * ----------------------------------------------------------------------------------------------------- */

enum { NETS_MAX = 96 };
enum {
    NETS_GROUPED = 1,
    NETS_YOLO = 2,
    NETS_COMMENTS = 4,
    NETS_RESIDUAL = 8
}; /* grouped convolutions; [yolo] heads only; comments and blanks; mostly residual blocks */
struct nets_gen {
    struct rng r;
    unsigned flags;
    char text[16384];
    size_t len;
    int n, c[NETS_MAX], h[NETS_MAX], w[NETS_MAX];
};

static inline __attribute__((format(printf, 2, 3))) void nets_put(struct nets_gen *g, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    g->len += (size_t)vsnprintf(g->text + g->len, sizeof g->text - g->len, fmt, args);
    va_end(args);
}

static inline void nets_layer(struct nets_gen *g, int c, int h, int w) {
    g->c[g->n] = c, g->h[g->n] = h, g->w[g->n] = w;
    ++g->n;
}

static inline int nets_pick(struct nets_gen *g, int low, int high) { return rng_int(&g->r, low, high); }

static inline const char *nets_activation(struct nets_gen *g) {
    static const char *const names[] = { "leaky", "leaky", "mish",     "swish",
                                         "relu",  "relu6", "logistic", "linear" };
    return names[nets_pick(g, 0, 7)];
}

static inline void nets_conv(struct nets_gen *g, int filters, int size, int stride, int groups,
                             const char *activation) {
    int last = g->n - 1, h = last < 0 ? 16 : g->h[last], w = last < 0 ? 16 : g->w[last];
    bool comments = (g->flags & NETS_COMMENTS) != 0;
    if (comments) nets_put(g, "\n# layer %d of %d filters=99\n  ; and a note\n", g->n, filters);
    nets_put(g, "[convolutional]\n");
    if (nets_pick(g, 0, 3)) nets_put(g, "batch_normalize=1\n");
    if (groups > 1) nets_put(g, comments ? "groups = %d\n" : "groups=%d\n", groups);
    nets_put(g, "size=%d\nstride=%d\npad=1\n", size, stride);
    nets_put(g, comments ? "filters = %d  \nunknown_key=7\nactivation=%s\n" : "filters=%d\nactivation=%s\n",
             filters, activation);
    nets_layer(g, filters, (h - 1) / stride + 1, (w - 1) / stride + 1);
}

static inline void nets_plain(struct nets_gen *g, int filters) {
    nets_conv(g, filters, nets_pick(g, 0, 1) ? 3 : 1, 1, 1, nets_activation(g));
}

/* An earlier layer of the same map size, or -1. */
static inline int nets_earlier(struct nets_gen *g) {
    int found = -1, seen = 0;
    for (int i = 0; i < g->n - 1; ++i)
        if (g->c[i] && g->h[i] == g->h[g->n - 1] && g->w[i] == g->w[g->n - 1] && nets_pick(g, 0, seen++) == 0)
            found = i;
    return found;
}

static inline void nets_residual(struct nets_gen *g) {
    int from = g->n - 1, same = nets_pick(g, 0, 1), wide = same ? g->c[from] : nets_pick(g, 3, 8);
    nets_plain(g, nets_pick(g, 3, 6));
    if (nets_pick(g, 0, 2) == 0) {
        nets_put(g, "[dropout]\nprobability=.3\n");
        nets_layer(g, g->c[g->n - 1], g->h[from], g->w[from]);
    }
    nets_plain(g, wide);
    if (nets_pick(g, 0, 3) == 0 && nets_earlier(g) >= 0)
        nets_put(g, "[shortcut]\nfrom=%d,%d\n", from - g->n, nets_earlier(g));
    else
        nets_put(g, "[shortcut]\nfrom=%d\n", from - g->n);
    nets_put(g, "activation=%s\n", nets_activation(g));
    if (nets_pick(g, 0, 2) == 0) {
        static const char *const norms[] = { "none", "relu", "softmax" };
        nets_put(g, "weights_type=per_%s\nweights_normalization=%s\n", (const char *[]){ "channel", "layer", "feature" }[nets_pick(g, 0, 2)],
                 norms[nets_pick(g, 0, 2)]);
    }
    nets_layer(g, wide, g->h[from], g->w[from]);
}

/* Two convolutions over one set of weights. */
static inline void nets_shared(struct nets_gen *g) {
    int c = g->c[g->n - 1], h = g->h[g->n - 1], w = g->w[g->n - 1];
    if (c > 8) return;
    for (int k = 0; k < 2; ++k) {
        nets_put(g, "[convolutional]\nbatch_normalize=1\nsize=3\nstride=1\npad=1\nfilters=%d\nactivation=%s\n", c, nets_activation(g));
        if (k) nets_put(g, "share_index=-1\ndilation=2\n");
        nets_layer(g, c, h, w);
    }
}

static inline void nets_concat(struct nets_gen *g) {
    int last = g->n - 1, a = nets_earlier(g), b = nets_earlier(g), groups = 1;
    if (a < 0) return;
    bool three = nets_pick(g, 0, 2) == 0;
    int sum = g->c[last] + g->c[a] + (three ? g->c[b] : 0);
    if (g->c[last] % 2 == 0 && g->c[a] % 2 == 0 && (!three || g->c[b] % 2 == 0) && nets_pick(g, 0, 1))
        groups = 2;
    if (three)
        nets_put(g, "[route]\nlayers=-1,%d,%d\n", a, b);
    else
        nets_put(g, "[route]\nlayers=%d,-1\n", a);
    if (groups > 1) nets_put(g, "groups=2\ngroup_id=%d\n", nets_pick(g, 0, 1));
    nets_layer(g, sum / groups, g->h[last], g->w[last]);
}

static inline void nets_split(struct nets_gen *g) {
    int last = g->n - 1, groups = g->c[last] % 3 == 0 ? 3 : 2;
    if (g->c[last] % groups) return;
    nets_put(g, "[route]\nlayers=-1\ngroups=%d\ngroup_id=%d\n", groups, nets_pick(g, 0, groups - 1));
    nets_layer(g, g->c[last] / groups, g->h[last], g->w[last]);
    nets_plain(g, nets_pick(g, 3, 6));
    if (nets_pick(g, 0, 1)) {
        nets_put(g, "[route]\nlayers=-1,-2,%d\n", last);
        nets_layer(g, g->c[g->n - 1] + g->c[g->n - 2] + g->c[last], g->h[last], g->w[last]);
    }
}

static inline void nets_depthwise(struct nets_gen *g) {
    int c = g->c[g->n - 1], multiplier = nets_pick(g, 0, 2) ? 1 : 2;
    if (c > 10 || c < 2) return;
    nets_conv(g, c * multiplier, 3, 1, c, nets_activation(g));
}

static inline void nets_grouped(struct nets_gen *g) {
    int c = g->c[g->n - 1], groups = c % 3 == 0 ? 3 : 2;
    if (!(g->flags & NETS_GROUPED) || c % groups || c == groups) return;
    nets_conv(g, groups * nets_pick(g, 2, 3), nets_pick(g, 0, 1) ? 3 : 1, 1, groups, nets_activation(g));
}

static inline void nets_gate(struct nets_gen *g) {
    int at = g->n - 1, c = g->c[at], h = g->h[at], w = g->w[at], kind = nets_pick(g, 0, 3);
    if (c > 10) return;
    if (kind <= 1) { /* squeeze and excite */
        nets_put(g, "[avgpool]\n");
        nets_layer(g, c, 1, 1);
        nets_conv(g, nets_pick(g, 2, 4), 1, 1, 1, nets_activation(g));
        nets_conv(g, c, 1, 1, 1, "logistic");
        nets_put(g, "[scale_channels]\nfrom=%d\n", at - g->n);
    } else if (kind == 2) { /* one gate per pixel */
        nets_conv(g, 1, 1, 1, 1, "logistic");
        nets_put(g, "[scale_channels]\nfrom=%d\nscale_wh=1\n", at - g->n);
    } else {
        nets_conv(g, c, 1, 1, 1, "logistic");
        nets_put(g, "[sam]\nfrom=%d\n", at);
    }
    if (nets_pick(g, 0, 1)) nets_put(g, "activation=%s\n", nets_activation(g));
    nets_layer(g, c, h, w);
}

static inline void nets_pyramid(struct nets_gen *g) {
    int at = g->n - 1, c = g->c[at], h = g->h[at], w = g->w[at];
    if (c > 8) return;
    nets_put(g,
             "[maxpool]\nsize=5\nstride=1\n[route]\nlayers=-2\n[maxpool]\nsize=3\nstride=1\n[route]\nlayers=-"
             "1,-3,%d\n",
             at);
    for (int i = 0; i < 3; ++i) nets_layer(g, c, h, w);
    nets_layer(g, 3 * c, h, w);
}

static inline void nets_resample(struct nets_gen *g) {
    int at = g->n - 1, c = g->c[at], h = g->h[at], w = g->w[at], kind = nets_pick(g, 0, 4);
    if (kind == 0 && h % 2 == 0 && h > 2 && c <= 6) {
        nets_put(g, "[reorg3d]\nstride=2\n");
        nets_layer(g, 4 * c, h / 2, w / 2);
        nets_plain(g, nets_pick(g, 4, 8));
    } else if (kind == 1 && h <= 4) {
        nets_put(g, "[upsample]\nstride=2\n");
        nets_layer(g, c, 2 * h, 2 * w);
    } else if (kind == 2 && h % 2 == 0 && h > 2) {
        nets_put(g, "[maxpool]\nsize=2\nstride=2\n");
        nets_layer(g, c, h / 2, w / 2);
    } else if (kind == 3 && c % 4 == 0 && c >= 8 && h <= 4) {
        nets_put(g, "[reorg3d]\nstride=2\nreverse=1\n");
        nets_layer(g, c / 4, 2 * h, 2 * w);
    } else if (h > 2) {
        nets_conv(g, nets_pick(g, 4, 8), 3, 2, 1, nets_activation(g));
        if (nets_pick(g, 0, 3) == 0) nets_put(g, "antialiasing=1\n");
    }
}

/* Learned values added to squeezed ones, which gate the map; a grouped route of a grouped route. */
static inline void nets_implicit_sum(struct nets_gen *g) {
    int at = g->n - 1, c = g->c[at], h = g->h[at], w = g->w[at];
    nets_put(g, "[implicit]\nfilters=%d\nmean=.5\n[route]\nlayers=%d\n[avgpool]\n[shortcut]\nfrom=-3\nactivation=%s\n[scale_channels]\nfrom=%d\n", c, at,
             nets_activation(g), at);
    for (int i = 0; i < 4; ++i) nets_layer(g, c, i == 1 ? h : 1, i == 1 ? w : 1);
    nets_layer(g, c, h, w);
}

static inline void nets_nested(struct nets_gen *g) {
    int a = g->n - 1, b = nets_earlier(g), h = g->h[a], w = g->w[a];
    if (b < 0 || g->c[a] % 2 || g->c[b] % 2) return;
    nets_put(g, "[route]\nlayers=-1, %d\ngroups=2\ngroup_id=%d\n", b, nets_pick(g, 0, 1));
    nets_layer(g, (g->c[a] + g->c[b]) / 2, h, w);
    int groups = g->c[g->n - 1] % 3 == 0 ? 3 : 2;
    if (g->c[g->n - 1] % groups) return;
    nets_put(g, "[route]\nlayers=-1\ngroups=%d\ngroup_id=%d\n", groups, nets_pick(g, 0, groups - 1));
    nets_layer(g, g->c[g->n - 1] / groups, h, w);
}

/* Layers that remember, mix channels or know places: they hold on to some or all of what they read. */
static inline void nets_holding(struct nets_gen *g) {
    int at = g->n - 1, c = g->c[at], h = g->h[at], w = g->w[at], f = nets_pick(g, 3, 6);
    switch (nets_pick(g, 0, 9)) {
    case 0:
        nets_put(g, "[crnn]\nhidden=%d\noutput=%d\npad=1\nbatch_normalize=%d\nactivation=leaky\n", nets_pick(g, 2, 4), f, nets_pick(g, 0, 1));
        break;
    case 1:
        nets_put(g, "[conv_lstm]\noutput=%d\npad=1\nbatch_normalize=%d\npeephole=%d\n", f, nets_pick(g, 0, 1), nets_pick(g, 0, 1));
        break;
    case 2:
    case 3: {
        static const char *const types[] = { "gru", "lstm", "rnn" };
        int kind = nets_pick(g, 0, 2);
        nets_put(g, "[%s]\noutput=%d\nbatch_normalize=%d\n%s[connected]\noutput=%d\nactivation=logistic\n[scale_channels]\nfrom=%d\n", types[kind], f,
                 nets_pick(g, 0, 1), kind == 2 ? "hidden=3\nactivation=leaky\n" : "", c, at);
        nets_layer(g, f, 1, 1);
        nets_layer(g, f = c, 1, 1);
        break;
    }
    case 4: nets_put(g, "[normalization]\nsize=3\n"), f = c; break;
    case 5: nets_put(g, "[maxpool]\nmaxpool_depth=1\nout_channels=%d\n", f = 2); break;
    case 6: nets_put(g, "[local]\nfilters=%d\nsize=1\nactivation=leaky\n", f); break;
    case 7:
        if (c % 4 || h > 4) return;
        nets_put(g, "[reorg]\nstride=2\nreverse=1\n"), f = c / 4, h *= 2, w *= 2;
        break;
    case 8:
        nets_put(g, "[convolutional]\nsize=1\nfilters=%d\nactivation=normalize_channels%s\n", f, nets_pick(g, 0, 1) ? "_softmax" : "");
        break;
    default:
        if (h <= 2) return;
        nets_put(g, "[maxpool]\nsize=2\nstride=2\nantialiasing=1\n"), f = c, h = (h - 1) / 2 + 1, w = (w - 1) / 2 + 1;
    }
    nets_layer(g, f, h, w);
}

/* Types that few networks use; learned values or a dense layer as a gate. */
static inline void nets_rare(struct nets_gen *g) {
    int at = g->n - 1, c = g->c[at], h = g->h[at], w = g->w[at], kind = nets_pick(g, 0, 6);
    if (kind <= 3) {
        static const char *const same[] = { "[batchnorm]\n", "[local_avgpool]\nsize=3\nstride=1\n", "[empty]\n", "[activation]\n" };
        nets_put(g, "%s", same[kind]);
        if (kind == 3) nets_put(g, "activation=%s\n", nets_activation(g));
    } else if (kind == 4) {
        nets_put(g, "[implicit]\nfilters=%d\nmean=1\n[scale_channels]\nfrom=%d\n", c, at);
        nets_layer(g, c, 1, 1);
    } else {
        if (kind == 6) {
            int filters = nets_pick(g, 2, 4);
            nets_put(g, "[implicit]\nfilters=%d\natoms=2\n", filters);
            nets_layer(g, filters, 2, 1);
        }
        nets_put(g, "[connected]\noutput=%d\nbatch_normalize=%d\nactivation=logistic\n[scale_channels]\nfrom=%d\n", c, nets_pick(g, 0, 1), at);
        nets_layer(g, c, 1, 1);
    }
    nets_layer(g, c, h, w);
}

static inline void nets_block(struct nets_gen *g) {
    switch (g->flags & NETS_RESIDUAL && nets_pick(g, 0, 1) ? 0 : nets_pick(g, 0, 14)) {
    case 0: nets_residual(g); break;
    case 1: nets_concat(g); break;
    case 2: nets_split(g); break;
    case 3: nets_depthwise(g); break;
    case 4: nets_grouped(g); break;
    case 5: nets_gate(g); break;
    case 6: nets_pyramid(g); break;
    case 7: nets_resample(g); break;
    case 8: nets_shared(g); break;
    case 11: nets_implicit_sum(g); break;
    case 12: nets_nested(g); break;
    case 13: nets_holding(g); break;
    case 9:
    case 10: nets_rare(g); break;
    default: nets_plain(g, nets_pick(g, 4, 8));
    }
    if (g->c[g->n - 1] > 12) nets_conv(g, nets_pick(g, 4, 8), 1, 1, 1, nets_activation(g));
}

enum nets_kind { NETS_NO_HEAD, NETS_HEAD_YOLO, NETS_HEAD_GAUSSIAN, NETS_HEAD_REGION, NETS_HEAD_DETECTION, NETS_HEAD_SOFTMAX, NETS_HEAD_COST };

static inline void nets_head(struct nets_gen *g, enum nets_kind kind) {
    if (nets_pick(g, 0, 1)) nets_plain(g, nets_pick(g, 4, 8));
    int anchors = nets_pick(g, 1, 2), h = g->h[g->n - 1], w = g->w[g->n - 1];
    const char *mask = anchors == 2 ? "0,1" : "1";
    int filters = kind == NETS_HEAD_YOLO || kind == NETS_HEAD_REGION ? anchors * 7 : kind == NETS_HEAD_GAUSSIAN ? anchors * 11 : nets_pick(g, 2, 5);
    if (kind == NETS_HEAD_DETECTION || (kind >= NETS_HEAD_SOFTMAX && nets_pick(g, 0, 1))) {
        filters = kind == NETS_HEAD_DETECTION ? 4 * (2 + anchors * 5) : filters; /* 2 x 2 cells, two classes */
        nets_put(g, "[connected]\noutput=%d\nactivation=linear\n", filters);
        h = w = 1;
    } else {
        nets_put(g, "[convolutional]\nsize=1\nstride=1\npad=1\nfilters=%d\nactivation=linear\n", filters);
    }
    nets_layer(g, filters, h, w);
    if (kind == NETS_HEAD_YOLO) nets_put(g, "[yolo]\nmask=%s\nanchors=4,4, 9,7\nclasses=2\nnum=2\n", mask);
    if (kind == NETS_HEAD_GAUSSIAN) nets_put(g, "[Gaussian_yolo]\nmask=%s\nanchors=4,4, 9,7\nclasses=2\nnum=2\n", mask);
    if (kind == NETS_HEAD_REGION) nets_put(g, "[region]\nanchors=1,1, 2,1.5\nclasses=2\nnum=%d\n", anchors);
    if (kind == NETS_HEAD_DETECTION) nets_put(g, "[detection]\nclasses=2\ncoords=4\nside=2\nnum=%d\n", anchors);
    if (kind == NETS_HEAD_SOFTMAX) nets_put(g, "[softmax]\n");
    if (kind == NETS_HEAD_COST) nets_put(g, "[cost]\ntype=sse\n");
    if (kind != NETS_NO_HEAD) nets_layer(g, 0, h, w); /* nobody reads on from it */
}

static inline enum nets_kind nets_kind_of_head(struct nets_gen *g) {
    if (g->flags & NETS_YOLO) return NETS_HEAD_YOLO;
    return nets_pick(g, 0, 1) ? (nets_pick(g, 0, 2) ? NETS_HEAD_YOLO : NETS_NO_HEAD) : (enum nets_kind)nets_pick(g, NETS_HEAD_GAUSSIAN, NETS_HEAD_COST);
}

/* Sizes are small: 16 x 16 input, maps of 8 x 8 and less, at most 12 channels or so. */
static inline void nets_write(struct nets_gen *g, uint64_t seed, unsigned flags) {
    memset(g, 0, sizeof *g);
    g->r = rng_stream(seed, 0x6e657473, 0);
    g->flags = flags;
    nets_put(g, "[net]\nwidth=16\nheight=16\nchannels=3\nbatch=1\nsubdivisions=1\n");
    nets_conv(g, nets_pick(g, 4, 8), 3, 2, 1, nets_activation(g));
    int heads = nets_pick(g, 1, 3);
    for (int k = 0; k < heads; ++k) {
        for (int i = 0, blocks = nets_pick(g, 2, 5); i < blocks && g->n < NETS_MAX - 24 * (heads - k); ++i)
            nets_block(g);
        nets_head(g, nets_kind_of_head(g));
        if (k + 1 == heads) break;
        int from = nets_pick(g, 0, g->n - 1);
        while (g->c[from] == 0) --from;
        nets_put(g, "[route]\nlayers=%d\n", from);
        nets_layer(g, g->c[from], g->h[from], g->w[from]);
    }
}

/* --- opening
 * ------------------------------------------------------------------------------------------------------------
 */

static inline struct net *nets_parse(struct ctx *ctx, const char *name, const char *text, size_t size) {
    struct cfg_doc *doc;
    struct net *net = NULL;
    if (cfg_parse(ctx, name, text, size, true, &doc) == ST_OK) net_open_doc(ctx, doc, false, &net);
    CHECK(net != NULL, "%s: %s", name, ctx->error);
    return net;
}

/* Weights, biases, scales and statistics that are not neutral. */
static inline void nets_values(struct net *net, uint64_t seed) {
    struct rng r = rng_stream(seed, 0x76616c75, 1);
    net_init_weights(net, seed);
    for (int i = 0; i < net->n; ++i)
        for (int k = 0; k < net->layer[i].n_param; ++k) {
            const struct param *p = &net->layer[i].param[k];
            bool positive = p->role == PARAM_SCALE || p->role == PARAM_VARIANCE;
            for (size_t j = 0; j < param_count(p) && p->role != PARAM_WEIGHT; ++j)
                net->param[p->offset + j] = (float)(positive + rng_between(&r, -.4, .4));
        }
}

static inline struct net *nets_open(struct ctx *ctx, const char *name, const char *text, uint64_t seed) {
    struct net *net = nets_parse(ctx, name, text, strlen(text));
    if (net) nets_values(net, seed);
    return net;
}

static inline size_t nets_image(const struct net *net) {
    return (size_t)net->opt.channels * (size_t)net->opt.height * (size_t)net->opt.width;
}

static inline float *nets_input(const struct net *net, int count, uint64_t seed) {
    size_t n = nets_image(net) * (size_t)count;
    float *x = calloc(n, sizeof *x);
    struct rng r = rng_stream(seed, 0x696e7075, 2);
    for (size_t i = 0; i < n; ++i) x[i] = (float)rng_uniform(&r);
    return x;
}

/* --- choosing
 * --------------------------------------------------------------------------------------------------------------
 */

/* Layers may not run empty: groups of a layer with fewer than `least` channels come back. */
static inline void nets_repair(const struct channels *ch, int least, uint8_t *keep) {
    for (int i = 0; i < ch->net->n; ++i) {
        int kept = 0, width = ch->net->layer[i].out.c;
        for (int k = 0; k < width; ++k) kept += keep[channels_group(ch, i, k)];
        for (int k = width - 1; k >= 0 && kept < least; --k) {
            kept += !keep[channels_group(ch, i, k)];
            keep[channels_group(ch, i, k)] = 1;
        }
    }
}

static inline int nets_choose(const struct channels *ch, uint64_t seed, double share, int least,
                              uint8_t *keep) {
    struct rng r = rng_stream(seed, 0x6b656570, 3);
    int gone = 0;
    for (int g = 0; g < ch->n_group; ++g) keep[g] = ch->group[g].frozen || rng_uniform(&r) >= share;
    nets_repair(ch, least, keep);
    for (int g = 0; g < ch->n_group; ++g) gone += !keep[g];
    return gone;
}

/* --- masked = cut, in double, on every layer
 * -------------------------------------------------------------------------------- */

static inline double nets_layer_difference(const struct net *full, const struct net *small,
                                           const struct channels *ch, const uint8_t *keep, int i,
                                           double *most) {
    const struct tensor *a = &full->y[i], *b = &small->y[i];
    double worst = 0;
    for (int c = 0, to = 0; c < a->c; ++c) {
        if (!keep[channels_group(ch, i, c)]) continue;
        for (int y = 0; y < a->h; ++y)
            for (int x = 0; x < a->w; ++x) {
                double u = ((const double *)a->data)[c * a->sc + y * a->sh + x * a->sw];
                double v = ((const double *)b->data)[to * b->sc + y * b->sh + x * b->sw];
                *most = fmax(*most, fabs(u));
                worst = isfinite(u) && isfinite(v) ? fmax(worst, fabs(u - v)) : INFINITY;
            }
        ++to;
    }
    return worst;
}

/* Largest difference of any kept channel of any layer, relative to that layer's largest value; -1 when
 * something failed. */
static inline double nets_difference(struct ctx *ctx, struct net *full, const struct channels *ch,
                                     const uint8_t *keep, const float *param, struct net *small,
                                     const float *x) {
    struct backend *be = NULL;
    uint8_t *flags = calloc((size_t)ch->n_node + 1, 1);
    const uint8_t **mask = calloc((size_t)full->n, sizeof *mask);
    float *own = calloc(full->n_param + 1, sizeof *own);
    double worst = -1;
    memcpy(own, full->param, full->n_param * sizeof *own);
    memcpy(full->param, param, full->n_param * sizeof *own);
    for (int k = 0; k < ch->n_node; ++k) flags[k] = keep[ch->group_of[k]];
    for (int i = 0; i < full->n; ++i) mask[i] = full->layer[i].out.c ? flags + ch->first_node[i] : NULL;
    if (backend_open(ctx, "ref64", &be) == ST_OK && net_bind(ctx, full, be, NET_SCORE, 1) == ST_OK &&
        net_bind(ctx, small, be, NET_SCORE, 1) == ST_OK) {
        full->mask = mask;
        if (net_forward(ctx, full, x) == ST_OK && net_forward(ctx, small, x) == ST_OK) worst = 0;
        for (int i = 0; i < full->n && worst >= 0; ++i) {
            double most = 1e-3, difference = full->layer[i].out.c
                                                 ? nets_layer_difference(full, small, ch, keep, i, &most)
                                                 : 0;
            worst = fmax(worst, difference / most);
        }
    }
    full->mask = NULL;
    net_unbind(full);
    net_unbind(small);
    memcpy(full->param, own, full->n_param * sizeof *own);
    if (be) backend_close(be);
    free(flags), free(mask), free(own);
    return worst;
}

/* A cfg text cut at random places several times: masked = cut; at least one group was free to go. */
static inline void nets_check_cut(const char *name, const char *text) {
    struct ctx ctx = { 0 };
    struct channels *ch = NULL;
    struct net *net = nets_open(&ctx, name, text, 11);
    int gone = 0;
    if (net) CHECK(channels_build(&ctx, net, &ch) == ST_OK, "%s: %s", name, ctx.error);
    for (uint64_t seed = 1; ch && seed <= 4; ++seed) {
        uint8_t *keep = calloc((size_t)ch->n_group, 1);
        float *x = nets_input(net, 1, seed);
        struct net *small;
        gone += nets_choose(ch, seed, .5, 1, keep);
        CHECK(slice_apply(&ctx, net, ch, keep, net->param, &small) == ST_OK, "%s: %s", name, ctx.error);
        double worst = small ? nets_difference(&ctx, net, ch, keep, net->param, small, x) : -1;
        CHECK(worst >= 0 && worst <= 1e-9, "%s: masked and cut networks differ by %g %s", name, worst, ctx.error);
        free(keep), free(x);
        net_close(small);
    }
    CHECK(gone > 0, "%s: nothing could be removed", name);
    channels_drop(ch);
    net_close(net);
}

#endif
