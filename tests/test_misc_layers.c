/* The layer types that few networks use: gradients, the fast backend, values against their definition, files, resizing,
 * pruning, bad input. */
#include "net_check.h"
#include "prune_nets.h"

#include <unistd.h>

#define NET "[net]\nwidth=16\nheight=12\nchannels=3\nbatch=2\nsubdivisions=1\n"
#define CONV(f, k, s, act) "[convolutional]\nbatch_normalize=1\nfilters=" #f "\nsize=" #k "\nstride=" #s "\npad=1\nactivation=" act "\n"
#define PLAIN(f, k, s, act) "[convolutional]\nfilters=" #f "\nsize=" #k "\nstride=" #s "\npad=1\nactivation=" act "\n"
#define FIRST NET CONV(6, 3, 2, "leaky")
#define LAST PLAIN(4, 1, 1, "linear")
/* after the layer under test: a second reader of what it reads, so that both must add up */
#define JOIN(c) CONV(c, 1, 1, "leaky") "[shortcut]\nfrom=0\nactivation=leaky\n" LAST

/* prunable: some group can go */
static const struct { const char *name, *text; bool prunable; } cases[] = {
    { "batchnorm", FIRST "[batchnorm]\n" JOIN(6), true },
    { "batchnorm twice", NET PLAIN(5, 3, 2, "linear") "[batchnorm]\n[activation]\nactivation=leaky\n[batchnorm]\n[route]\nlayers=-1,0\n" LAST, true },
    { "activation", FIRST "[activation]\nactivation=mish\n" JOIN(6), true },
    { "activations", FIRST "[activation]\nactivation=swish\n" CONV(4, 1, 1, "linear") "[activation]\nactivation=logistic\n" CONV(4, 1, 1, "linear")
      "[activation]\nactivation=hard_mish\n" CONV(4, 1, 1, "linear") "[activation]\nactivation=gelu\n" CONV(4, 1, 1, "linear")
      "[activation]\n" CONV(4, 1, 1, "linear") "[activation]\nactivation=selu\n" LAST, true },
    { "local", FIRST "[local]\nfilters=5\nsize=3\nstride=1\npad=1\nactivation=leaky\n" JOIN(6), false },
    { "local without padding", FIRST "[local]\nfilters=4\nsize=2\nstride=2\nactivation=mish\n" CONV(4, 1, 1, "leaky") LAST, true },
    { "normalization", FIRST "[normalization]\nalpha=.1\nkappa=2\nsize=3\n" JOIN(6), false },
    { "lrn wider than its input", FIRST "[lrn]\nalpha=.02\nsize=9\nkappa=3\n" CONV(5, 1, 1, "leaky") LAST, true },
    { "local_avgpool", FIRST "[local_avgpool]\nsize=3\nstride=1\n" JOIN(6), true },
    { "local_avgpool strides", FIRST "[local_avg]\nsize=3\nstride_x=2\nstride_y=1\n" LAST, true },
    { "reorg", NET CONV(8, 3, 2, "leaky") "[reorg]\nstride=2\n" CONV(5, 1, 1, "leaky") "[route]\nlayers=0\n" CONV(6, 3, 2, "leaky")
      "[route]\nlayers=-1,2\n" LAST, true },
    { "reorg reverse", NET CONV(8, 3, 2, "leaky") "[reorg]\nstride=2\nreverse=1\n" CONV(5, 3, 2, "leaky") "[route]\nlayers=-1,0\n" LAST, true },
    { "empty", FIRST "[empty]\n" CONV(5, 1, 1, "leaky") "[silence]\n[route]\nlayers=-1,0\n" LAST, true },
    { "implicit gate", FIRST "[implicit]\nfilters=6\nmean=1\n[scale_channels]\nfrom=0\n" LAST, true },
    { "implicit atoms", NET CONV(6, 3, 2, "leaky") "[avgpool]\n[implicit]\nfilters=6\natoms=1\n[shortcut]\nfrom=-2\nactivation=leaky\n"
      "[connected]\noutput=3\nactivation=linear\n", true },
    { "implicit tall", FIRST "[implicit]\nfilters=5\natoms=3\nstd=1\n[connected]\noutput=6\nactivation=tanh\n[scale_channels]\nfrom=0\n" LAST, true },
    { "gates", FIRST CONV(1, 1, 1, "logistic") "[scale_channels]\nfrom=0\nscale_wh=1\nactivation=mish\n" CONV(6, 1, 1, "logistic")
      "[sam]\nfrom=-2\nactivation=swish\n[upsample]\nstride=-2\nscale=.5\n" LAST, true },
    { "crop in the middle", FIRST "[crop]\ncrop_width=5\ncrop_height=4\nflip=1\n" CONV(5, 1, 1, "leaky") LAST, true },
    { "history", "[net]\nwidth=16\nheight=12\nchannels=3\nbatch=6\nsubdivisions=1\ntime_steps=3\n" CONV(4, 3, 2, "leaky")
      "[history]\nhistory_size=3\n" CONV(5, 1, 1, "leaky") "[route]\nlayers=-1,0\n" LAST, true },
    { "history of one", FIRST "[history]\nhistory_size=2\n" CONV(5, 1, 1, "leaky") LAST, true },
};

/* A net bound to a backend, or NULL after a failed check. */
static struct net *bound(struct ctx *ctx, const char *text, const char *kind, enum net_mode mode, int batch, struct backend **be) {
    struct net *net = opened(ctx, "net", text);
    if (net && backend_open(ctx, kind, be) == ST_OK && net_bind(ctx, net, *be, mode, batch) == ST_OK) return net;
    CHECK(false, "%s", ctx->error);
    return NULL;
}

static void done(struct net *net, struct backend *be) {
    net_close(net);
    backend_close(be);
}

static float *output(struct ctx *ctx, struct net *net, const float *x, int layer) {
    float *y = calloc((size_t)net->batch * shape_count(net->layer[layer].out), sizeof *y);
    CHECK(net_forward(ctx, net, x) == ST_OK, "%s", ctx->error);
    net_output(net, layer, y);
    return y;
}

/* The formula of darknet-compat 2.10 on flat arrays, exactly. */
static void check_reorg(const char *kind, int c, int h, int w, int s, int reverse) {
    struct ctx ctx = { 0 };
    struct backend *be;
    char text[256];
    snprintf(text, sizeof text, "[net]\nwidth=%d\nheight=%d\nchannels=%d\nbatch=1\nsubdivisions=1\n[reorg]\nstride=%d\nreverse=%d\n", w, h, c, s, reverse);
    struct net *net = bound(&ctx, text, kind, NET_INFER, 2, &be);
    if (!net) return;
    int n = c * h * w, wrong = 0, in_c = c / (s * s);
    float *x = calloc(2 * (size_t)n, sizeof *x), *want = calloc(2 * (size_t)n, sizeof *want);
    for (int i = 0; i < 2 * n; ++i) x[i] = (float)i;
    for (int b = 0; b < 2; ++b)
        for (int k = 0; k < c; ++k)
            for (int j = 0; j < h; ++j)
                for (int i = 0; i < w; ++i) {
                    int dst = i + w * (j + h * k), c2 = k % in_c, o = k / in_c, w2 = i * s + o % s, h2 = j * s + o / s;
                    int src = w2 + w * s * (h2 + h * s * c2);
                    want[b * n + (reverse ? src : dst)] = x[b * n + (reverse ? dst : src)];
                }
    float *y = output(&ctx, net, x, 0);
    for (int i = 0; i < 2 * n; ++i) wrong += y[i] != want[i];
    CHECK(wrong == 0, "%s %d x %d x %d stride %d: %d values are elsewhere", kind, w, h, c, s, wrong);
    free(x), free(y), free(want);
    done(net, be);
}

/* The running window of darknet-compat 2.15, channel by channel. */
static void check_lrn(const char *kind, int channels, int size) {
    struct ctx ctx = { 0 };
    struct backend *be;
    char text[256];
    snprintf(text, sizeof text, "[net]\nwidth=2\nheight=1\nchannels=%d\nbatch=1\nsubdivisions=1\n[lrn]\nsize=%d\nalpha=.01\nbeta=.6\nkappa=1.5\n", channels, size);
    struct net *net = bound(&ctx, text, kind, NET_INFER, 1, &be);
    if (!net) return;
    float x[32];
    for (int i = 0; i < 2 * channels; ++i) x[i] = (float)(i % 5) - 1.5f;
    float *y = output(&ctx, net, x, 0);
    for (int at = 0; at < 2; ++at) {
        double norm = 1.5;
        for (int c = 0; c < size / 2 && c < channels; ++c) norm += .01 * pow(x[2 * c + at], 2);
        for (int k = 0; k < channels; ++k) {
            int gone = k - (size - 1) / 2 - 1, come = k + size / 2;
            if (k && gone >= 0) norm -= .01 * pow(x[2 * gone + at], 2);
            if (k && come < channels) norm += .01 * pow(x[2 * come + at], 2);
            CHECK_NEAR(y[2 * k + at], x[2 * k + at] * pow(norm, -.6), 1e-6, "%s size %d channel %d of %d", kind, size, k, channels);
        }
    }
    free(y);
    done(net, be);
}

static void check_local(const char *kind) {
    struct ctx ctx = { 0 };
    struct backend *be;
    struct net *net = bound(&ctx, "[net]\nwidth=4\nheight=3\nchannels=2\nbatch=1\nsubdivisions=1\n"
                                  "[local]\nfilters=2\nsize=3\nstride=1\npad=1\nactivation=linear\n", kind, NET_INFER, 1, &be);
    if (!net) return;
    const struct layer *l = &net->layer[0];
    CHECK(l->param[0].role == PARAM_BIAS && param_count(&l->param[0]) == 24 && param_count(&l->param[1]) == 12 * 2 * 18, "%zu and %zu values",
          param_count(&l->param[0]), param_count(&l->param[1]));
    float x[24];
    for (int i = 0; i < 24; ++i) x[i] = (float)sin(i);
    float *y = output(&ctx, net, x, 0);
    for (int f = 0; f < 2; ++f)
        for (int place = 0; place < 12; ++place) {
            double want = net->param[f * 12 + place];
            for (int k = 0; k < 18; ++k) {
                int iy = place / 4 - 1 + k / 3 % 3, ix = place % 4 - 1 + k % 3;
                bool inside = iy >= 0 && iy < 3 && ix >= 0 && ix < 4;
                if (inside) want += net->param[24 + (place * 2 + f) * 18 + k] * x[k / 9 * 12 + iy * 4 + ix];
            }
            CHECK_NEAR(y[f * 12 + place], want, 1e-5, "%s filter %d place %d", kind, f, place);
        }
    free(y);
    done(net, be);
}

static void check_local_avgpool(void) {
    struct ctx ctx = { 0 };
    struct backend *be;
    struct net *net = bound(&ctx, "[net]\nwidth=3\nheight=2\nchannels=1\nbatch=1\nsubdivisions=1\n[local_avgpool]\nsize=2\nstride=1\n", "cpu",
                            NET_INFER, 1, &be);
    if (!net) return;
    float x[6] = { 1, 2, 3, 4, 5, 7 }, want[6] = { 3, 4.25f, 5, 4.5f, 6, 7 }; /* the last column and row see less */
    float *y = output(&ctx, net, x, 0);
    for (int i = 0; i < 6; ++i) CHECK_NEAR(y[i], want[i], 1e-6, "cell %d", i);
    free(y);
    done(net, be);
}

/* Inference: the middle, 2x - 1.  Training: a window of the picture, which (seed, iteration) alone decides, mirrored for some. */
static void check_crop(void) {
    struct ctx ctx = { 0 };
    struct backend *be;
    const char *text = "[net]\nwidth=9\nheight=7\nchannels=1\nbatch=8\nsubdivisions=1\n[crop]\ncrop_width=4\ncrop_height=3\nflip=1\n";
    struct net *net = bound(&ctx, text, "cpu", NET_INFER, 1, &be);
    if (!net) return;
    float x[8 * 63];
    for (int i = 0; i < 8 * 63; ++i) x[i] = (float)(i % 63) / 63;
    float *y = output(&ctx, net, x, 0);
    for (int i = 0; i < 12; ++i) CHECK_NEAR(y[i], 2 * x[(2 + i / 4) * 9 + 2 + i % 4] - 1, 1e-6, "cell %d", i);
    free(y);
    CHECK(net_bind(&ctx, net, be, NET_TRAIN, 8) == ST_OK, "%s", ctx.error);
    int mirrored = 0, places[5 * 6] = { 0 }, different = 0;
    for (int iteration = 0; iteration < 40; ++iteration) {
        net->iteration = (uint64_t)iteration;
        y = output(&ctx, net, x, 0);
        float *again = output(&ctx, net, x, 0);
        CHECK(!memcmp(y, again, 8 * 12 * sizeof *y), "iteration %d: two passes differ", iteration);
        for (int n = 0; n < 8; ++n) {
            bool flip = y[n * 12] > y[n * 12 + 1];
            int first = (int)lround((y[n * 12 + (flip ? 3 : 0)] + 1) / 2 * 63), wrong = 0;
            for (int i = 0; i < 12; ++i) {
                int at = first + i / 4 * 9 + (flip ? 3 - i % 4 : i % 4);
                wrong += at > 62 || fabs(y[n * 12 + i] - (2 * at / 63. - 1)) > 1e-6;
            }
            CHECK(wrong == 0 && first % 9 <= 5 && first / 9 <= 4, "iteration %d image %d: no window", iteration, n);
            mirrored += flip;
            if (!wrong) ++places[first / 9 * 6 + first % 9];
            different += n && memcmp(y, y + n * 12, 12 * sizeof *y) != 0;
        }
        free(y), free(again);
    }
    for (int i = 0; i < 30; ++i) CHECK(places[i] > 0, "no window began at row %d column %d", i / 6, i % 6);
    CHECK(mirrored > 100 && mirrored < 220 && different > 200, "%d of 320 mirrored, %d differ from their batch's first", mirrored, different);
    done(net, be);
}

/* saturation and exposure in HSV: hue stays, S and V are multiplied. */
static void check_crop_colours(void) {
    struct ctx ctx = { 0 };
    struct backend *be;
    const char *text = "[net]\nwidth=4\nheight=4\nchannels=3\nbatch=32\nsubdivisions=1\n"
                       "[crop]\ncrop_width=4\ncrop_height=4\nnoadjust=1\nsaturation=1.5\nexposure=1.3\nshift=.2\n";
    struct net *net = bound(&ctx, text, "cpu", NET_TRAIN, 32, &be);
    if (!net) return;
    float *x = calloc(32 * 48, sizeof *x);
    for (int i = 0; i < 32 * 48; ++i) x[i] = i % 48 < 16 ? .6f : i % 48 < 32 ? .3f : .4f; /* V .6, S .5 */
    float *y = output(&ctx, net, x, 0);
    double least = 9, most = 0, least_s = 9, most_s = 0;
    for (int n = 0; n < 32; ++n) {
        double r = y[n * 48], g = y[n * 48 + 16], b = y[n * 48 + 32];
        CHECK(y[n * 48] == y[n * 48 + 15], "image %d: a flat picture is flat no more", n);
        double spread = r - g;
        least = fmin(least, r), most = fmax(most, r), least_s = fmin(least_s, spread), most_s = fmax(most_s, spread);
        CHECK(fabs((r - b) / spread - 2. / 3) < .7, "image %d: hue", n);
    }
    CHECK(least > .6 / 1.3 - .101 && most < .6 * 1.3 + .101 && most - least > .1, "value %g to %g", least, most);
    CHECK(least_s > .3 / 1.3 / 1.5 - .201 && most_s < .3 * 1.3 * 1.5 + .201 && most_s - least_s > .1, "spread %g to %g", least_s, most_s);
    free(y);
    CHECK(net_bind(&ctx, net, be, NET_INFER, 32) == ST_OK, "%s", ctx.error);
    y = output(&ctx, net, x, 0);
    CHECK(!memcmp(x, y, 32 * 48 * sizeof *x), "colours change at inference");
    free(x), free(y);
    done(net, be);
}

static void check_implicit(void) {
    struct ctx ctx = { 0 };
    struct backend *be;
    const char *text = "[net]\nwidth=4\nheight=4\nchannels=3\nbatch=2\nsubdivisions=1\n[implicit]\nfilters=50\natoms=20\nmean=3\nstd=.5\n";
    struct net *net = bound(&ctx, text, "cpu", NET_INFER, 2, &be);
    if (!net) return;
    struct shape out = net->layer[0].out;
    CHECK(out.c == 50 && out.h == 20 && out.w == 1 && net->n_param == 1000, "%d x %d x %d", out.w, out.h, out.c);
    net_init_weights(net, 5);
    double sum = 0, least = 9, most = -9;
    for (int i = 0; i < 1000; ++i) {
        double v = net->param[i];
        sum += v, least = fmin(least, v), most = fmax(most, v);
    }
    CHECK(fabs(sum / 1000 - 3) < .05 && least >= 2.5 && least < 2.52 && most <= 3.5 && most > 3.48, "%g, %g to %g", sum / 1000, least, most);
    net_push(&ctx, net);
    float x[96] = { 0 }, *y = output(&ctx, net, x, 0);
    CHECK(!memcmp(y, net->param, 4000) && !memcmp(y + 1000, net->param, 4000), "the output is not the weights, once per image");
    free(y);
    done(net, be);
}

/* Frames as channels, newest first; what inference remembers, and reset. */
static void check_history(void) {
    struct ctx ctx = { 0 };
    struct backend *be;
    const char *text = "[net]\nwidth=1\nheight=1\nchannels=2\nbatch=6\nsubdivisions=1\ntime_steps=3\n[history]\nhistory_size=3\n";
    struct net *net = bound(&ctx, text, "cpu", NET_TRAIN, 6, &be);
    if (!net) return;
    float x[12];
    for (int i = 0; i < 12; ++i) x[i] = (float)(i + 1);
    float *y = output(&ctx, net, x, 0), *again = output(&ctx, net, x, 0);
    for (int n = 0; n < 6; ++n) /* frame n / 2 of sequence n % 2 */
        for (int j = 0; j < 3; ++j)
            for (int c = 0; c < 2; ++c)
                CHECK(y[n * 6 + j * 2 + c] == (n / 2 >= j ? x[(n - 2 * j) * 2 + c] : 0), "image %d block %d: %g", n, j, (double)y[n * 6 + j * 2 + c]);
    CHECK(!memcmp(y, again, 36 * sizeof *y), "training remembers the batch before");
    free(y), free(again);
    CHECK(net_bind(&ctx, net, be, NET_INFER, 2) == ST_OK, "%s", ctx.error);
    for (int t = 0; t < 5; ++t) {
        float frame[4] = { (float)t + 1, 10, (float)-t - 1, 20 };
        if (t == 3) CHECK(net_reset(&ctx, net) == ST_OK, "%s", ctx.error);
        y = output(&ctx, net, frame, 0);
        int known = t < 3 ? t : t - 3;
        for (int j = 0; j < 3; ++j) {
            CHECK(y[2 * j] == (float)(j <= known ? t + 1 - j : 0) && y[2 * j + 1] == (float)(j <= known ? 10 : 0), "frame %d block %d: %g", t, j, (double)y[2 * j]);
            CHECK(y[6 + 2 * j] == (float)(j <= known ? j - t - 1 : 0), "frame %d block %d of the second sequence", t, j);
        }
        free(y);
    }
    done(net, be);
    net = bound(&ctx, "[net]\nwidth=1\nheight=1\nchannels=2\nbatch=1\nsubdivisions=1\n[history]\nhistory_size=2\n", "cpu", NET_INFER, 1, &be);
    for (int t = 0; net && t < 2; ++t) {
        y = output(&ctx, net, x, 0);
        CHECK(y[0] == 1 && y[1] == 2 && y[2] == 0 && y[3] == 0, "without time_steps older frames are 0");
        free(y);
    }
    done(net, be);
}

/* Rolling statistics: 0.99 old + 0.01 new with the unbiased variance; inference uses them. */
static void check_batchnorm(void) {
    struct ctx ctx = { 0 };
    struct backend *be;
    struct net *net = bound(&ctx, "[net]\nwidth=2\nheight=1\nchannels=1\nbatch=2\nsubdivisions=1\n[batchnorm]\n", "cpu", NET_TRAIN, 2, &be);
    if (!net) return;
    float x[4] = { 1, 2, 4, 9 }, before[4];
    memcpy(before, net->param, sizeof before);
    free(output(&ctx, net, x, 0));
    net_pull(net);
    CHECK_NEAR(net->param[2], .99 * before[2] + .01 * 4, 1e-6, "rolling mean");
    CHECK_NEAR(net->param[3], .99 * before[3] + .01 * 38 / 3, 1e-6, "rolling variance");
    CHECK(net_bind(&ctx, net, be, NET_INFER, 2) == ST_OK, "%s", ctx.error);
    float *y = output(&ctx, net, x, 0);
    for (int i = 0; i < 4; ++i)
        CHECK_NEAR(y[i], net->param[1] * (x[i] - net->param[2]) / sqrt(net->param[3] + 1e-5) + net->param[0], 1e-5, "value %d", i);
    free(y);
    done(net, be);
}

/* Every stored array of every case goes to a file and comes back. */
static void check_files(void) {
    struct ctx ctx = { 0 };
    char path[] = "/tmp/test_misc_XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0) {
        CHECK(false, "no temporary file");
        return;
    }
    close(fd);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct net *a = opened(&ctx, cases[i].name, cases[i].text), *b = opened(&ctx, cases[i].name, cases[i].text);
        for (size_t j = 0; j < a->n_param; ++j) a->param[j] = .5f + (float)j;
        CHECK(net_save(&ctx, a, path, -1) == ST_OK && net_load(&ctx, b, path, LOAD_WHOLE, NULL) == ST_OK, "%s: %s", cases[i].name, ctx.error);
        CHECK(!memcmp(a->param, b->param, a->n_param * sizeof *a->param), "%s: values changed on the way", cases[i].name);
        net_close(a), net_close(b);
    }
    struct net *net = opened(&ctx, "order", cases[0].text);
    static const char *const order[] = { "biases", "scales", "rolling_mean", "rolling_variance" };
    for (int k = 0; k < 4; ++k) CHECK(!strcmp(net->layer[1].param[k].name, order[k]), "array %d is %s", k, net->layer[1].param[k].name);
    net_close(net);
    unlink(path);
}

/* All of them run at another size, except those with weights per place. */
static void check_resize(void) {
    struct backend *be;
    struct ctx open = { 0 };
    if (backend_open(&open, "cpu", &be) != ST_OK) return;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct ctx ctx = { 0 };
        struct net *net = opened(&ctx, cases[i].name, cases[i].text);
        bool fixed = strstr(cases[i].text, "[local]") != NULL;
        CHECK(net_bind(&ctx, net, be, NET_INFER, 1) == ST_OK, "%s", ctx.error);
        enum status st = net_resize(&ctx, net, 32, 48);
        CHECK(fixed ? st == ST_CFG && strstr(ctx.error, "one input size") : st == ST_OK, "%s: %s", cases[i].name, ctx.error);
        CHECK(net->layer[0].out.h == (fixed ? 6 : 24), "%s: %d", cases[i].name, net->layer[0].out.h);
        ctx_clear(&ctx);
        float *x = calloc(input_size(net), sizeof *x);
        random_input(net, x);
        float *y = output(&ctx, net, x, net_output_layer(net));
        CHECK(isfinite(y[0]), "%s", cases[i].name);
        if (strstr(cases[i].name, "crop")) CHECK(net->layer[1].out.w == 10 && net->layer[1].out.h == 16, "%d x %d", net->layer[1].out.w, net->layer[1].out.h);
        free(x), free(y);
        net_close(net);
    }
    backend_close(be);
}

static void check_row(const char *text, int layer, const char *want) {
    struct ctx ctx = { 0 };
    char row[256];
    struct net *net = opened(&ctx, "row", text);
    if (net) net->layer[layer].ops->describe(&net->layer[layer], row, sizeof row);
    CHECK(net && !strcmp(row, want), "\"%s\"", row);
    net_close(net);
}

static void check_rows(void) {
    check_row(cases[0].text, 1, "Batch Normalization Layer: 8 x 6 x 6 image");
    check_row(cases[2].text, 1, "Activation Layer: 288 inputs");
    check_row(cases[4].text, 1, "Local Layer: 6 x 8 x 6 image, 5 filters -> 6 x 8 x 5 image");
    check_row(cases[6].text, 1, "Local Response Normalization Layer: 8 x 6 x 6 image, 3 size");
    check_row(cases[8].text, 1, "avg                3x 3/ 1      8 x   6 x   6 ->    8 x   6 x   6 0.000 BF");
    check_row(cases[10].text, 1, "reorg_old              / 2     8 x   6 x   8   ->     4 x   3 x  32");
    check_row(cases[12].text, 1, "empty ");
    check_row(cases[17].text, 1, "Crop Layer: 6 x 8 -> 4 x 5 x 6 image");
}

static void check_error(const char *text, const char *want) {
    struct ctx ctx = { 0 };
    struct cfg_doc *doc;
    struct net *net = NULL;
    if (cfg_parse(&ctx, "bad", text, strlen(text), true, &doc) == ST_OK) net_open_doc(&ctx, doc, true, &net);
    CHECK(!net && strstr(ctx.error, want), "\"%s\", not \"%s\"", ctx.error, want);
    net_close(net);
}

static void check_errors(void) {
    check_error(NET "[empty]\n", "bad:7: [empty] may not be the first layer");
    check_error(NET "[silence]\nx=1\n", "bad:8: [silence] unknown key");
    check_error(NET "[reorg]\nstride=2\n", "bad:8: [reorg] stride: 2 does not fit an input of 16 x 12 x 3");
    check_error(NET "[reorg]\nstride=0\n", "bad:8: [reorg] stride");
    check_error(NET "[crop]\ncrop_width=20\ncrop_height=3\n", "bad:8: [crop] crop_width: a window 20 wide does not fit an input of 16 x 12");
    check_error(NET "[crop]\ncrop_width=10\ncrop_height=13\n", "bad:9: [crop] crop_height");
    check_error(NET "[local]\nsize=13\n", "bad:8: [local] size: filters of 13 x 13 do not fit an input of 16 x 12");
    check_error(NET "[local]\nfilters=1000000\nsize=9\n", "bad:8: [local] filters");
    check_error(NET "[local]\nactivation=none\n", "bad:8: [local] activation");
    check_error(NET "[activation]\nactivation=mich\n", "bad:8: [activation] activation");
    check_error(NET "[lrn]\nsize=0\n", "bad:8: [lrn] size");
    check_error(NET "[lrn]\nalpha=big\n", "bad:8: [lrn] alpha");
    check_error(NET "[local_avgpool]\nsize=40\npadding=2\n", "bad:8: [local_avgpool] size: a window of 40");
    check_error(NET "[implicit]\nfilters=0\n", "bad:8: [implicit] filters");
    check_error(NET "[implicit]\nfilters=1000000\natoms=1000000\n", "bad:9: [implicit] atoms");
    check_error(NET "[history]\nhistory_size=0\n", "bad:8: [history] history_size");
    check_error(FIRST "[implicit]\nfilters=5\n[scale_channels]\nfrom=0\n", "bad:17: [scale_channels] from: the layer before is 1 x 1 x 5");
}

int main(void) {
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        check_gradients(cases[i].name, cases[i].text, NET_TRAIN, NULL);
        check_activation_gradients(cases[i].name, cases[i].text);
        check_backends(cases[i].name, cases[i].text, NET_INFER, NULL);
        check_backends(cases[i].name, cases[i].text, NET_TRAIN, NULL);
        if (cases[i].prunable) nets_check_cut(cases[i].name, cases[i].text);
    }
    static const char *const kinds[] = { "ref", "cpu", "cpu-plain", "cuda-emulated" };
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; ++k) {
        check_reorg(kinds[k], 64, 26, 26, 2, 0), check_reorg(kinds[k], 8, 4, 6, 2, 0), check_reorg(kinds[k], 9, 3, 6, 3, 0);
        check_reorg(kinds[k], 8, 5, 3, 2, 1);
        check_lrn(kinds[k], 7, 5), check_lrn(kinds[k], 9, 3), check_lrn(kinds[k], 6, 4), check_lrn(kinds[k], 3, 9), check_lrn(kinds[k], 5, 1);
        check_local(kinds[k]);
    }
    check_local_avgpool();
    check_crop();
    check_crop_colours();
    check_implicit();
    check_history();
    check_batchnorm();
    check_files();
    check_resize();
    check_rows();
    check_errors();
    return test_end("misc_layers");
}
