/* The options of [convolutional]: values by hand, gradients, the fast backend, pruning, tables, faults. */
#include "net_harness.h"
#include "train/optimizer.h"

#define OPTION(f, k, s, act, more) \
    "[convolutional]\nbatch_normalize=1\nfilters=" #f "\nsize=" #k "\nstride=" #s "\npad=1\nactivation=" act "\n" more "\n"
#define BARE(f, k, s, act, more) "[convolutional]\nfilters=" #f "\nsize=" #k "\nstride=" #s "\npad=1\nactivation=" act "\n" more "\n"
#define HEAD PLAIN(3, 1, 1, "linear")

static struct truth boxes[2][2] = { { { { .31f, .41f, .37f, .52f }, 0, -1 }, { { .9f, .9f, .55f, .55f }, 1, -1 } }, { { { .62f, .2f, .3f, .33f }, 0, -1 } } };
static const struct truth_list lists[2] = { { 2, 2, boxes[0] }, { 1, 2, boxes[1] } };

static void label(struct net *net) {
    net->boxes = lists;
    net->iteration = 30;
}

static const struct { const char *name, *text; bool exact, prunable; } cases[] = {
    { "shared", NET CONV(6, 3, 2, "leaky") CONV(6, 3, 1, "leaky") OPTION(6, 3, 1, "mish", "share_index=-1") HEAD, true, true },
    { "shared by three", NET CONV(6, 3, 2, "leaky") CONV(6, 3, 1, "mish") OPTION(6, 3, 1, "leaky", "share_index=1\ndilation=2")
      CONV(6, 1, 1, "leaky") OPTION(6, 3, 1, "swish", "share_index=-2") HEAD, true, true },
    { "shared without batch norm", NET CONV(4, 3, 2, "leaky") BARE(4, 3, 1, "leaky", "") BARE(4, 3, 1, "tanh", "share_index=1") HEAD, true, true },
    { "antialiasing 1", NET OPTION(5, 3, 2, "leaky", "antialiasing=1") CONV(6, 3, 1, "mish") HEAD, true, true },
    { "antialiasing 2", NET CONV(4, 3, 1, "leaky") OPTION(5, 3, 2, "mish", "antialiasing=2") BARE(4, 3, 2, "swish", "antialiasing=1") HEAD, true, true },
    { "antialiasing, unequal steps", NET CONV(4, 3, 1, "leaky") "[convolutional]\nfilters=5\nsize=3\npad=1\nstride_x=2\nstride_y=3\n"
      "antialiasing=1\nactivation=leaky\n" HEAD, true, true },
    { "normalize_channels", NET CONV(5, 3, 2, "leaky") OPTION(6, 3, 1, "normalize_channels", "") BARE(6, 1, 1, "normalize_channels", "") HEAD, true, false },
    { "normalize_channels_softmax", NET CONV(5, 3, 2, "leaky") OPTION(6, 3, 1, "normalize_channels_softmax", "") BARE(6, 1, 1,
      "normalize_channels_softmax", "") HEAD, true, false },
    { "normalize_channels_softmax_maxval", NET CONV(5, 3, 2, "leaky") OPTION(6, 3, 1, "normalize_channels_softmax_maxval", "") BARE(6, 1, 1,
      "normalize_channels_softmax_maxval", "antialiasing=1") HEAD, true, false },
    { "excitation", NET CONV(4, 3, 2, "leaky") OPTION(5, 3, 1, "leaky", "assisted_excitation=1") BARE(6, 3, 2, "mish",
      "assisted_excitation=1e2\nantialiasing=1") HEAD, true, true },
    { "coordinates", NET CONV(4, 3, 2, "leaky") OPTION(6, 3, 1, "leaky", "coordconv=1") BARE(2, 3, 1, "mish", "coordconv=1") HEAD, true, false },
    { "rotate", NET CONV(4, 3, 2, "leaky") OPTION(8, 3, 1, "leaky", "rotate=1") HEAD, true, true },
    { "sway", NET CONV(4, 3, 2, "leaky") OPTION(8, 5, 1, "leaky", "sway=1\nangle=20") HEAD, true, true },
    { "stretch", NET CONV(4, 3, 2, "leaky") BARE(8, 3, 1, "leaky", "stretch=1") HEAD, true, true },
    { "stretch and sway", NET CONV(4, 3, 2, "leaky") OPTION(16, 3, 1, "leaky", "stretch_sway=1") HEAD, true, true },
    { "cbn, one mini-batch", NET CONV(4, 3, 2, "leaky") "[convolutional]\ncbn=1\nfilters=5\nsize=3\npad=1\nactivation=mish\n" HEAD, false, true },
    { "binary", NET CONV(4, 3, 2, "leaky") OPTION(6, 3, 1, "leaky", "binary=1") HEAD, false, false },
    { "xnor", NET CONV(4, 3, 2, "leaky") OPTION(6, 3, 1, "leaky", "xnor=1\nbin_output=1") OPTION(8, 3, 2, "linear", "xnor=1") HEAD, false, false },
    { "centred gradients", NET CONV(4, 3, 2, "leaky") OPTION(6, 3, 1, "leaky", "grad_centr=1") HEAD, false, true },
    { "dilation and padding", NET "[convolutional]\nfilters=4\nsize=1\nstride=1\npadding=2\nactivation=relu6\n"
      "[convolutional]\nbatch_normalize=1\nfilters=5\nsize=3\nstride_x=1\nstride_y=2\npadding=2\ndilation=3\nactivation=leaky\n" HEAD, true, true },
};

/* Each activation alone, in both directions. */
static void check_activations(void) {
    for (int a = 0; a < ACT_COUNT; ++a) {
        char text[1024];
        const char *name = activation_name((enum activation)a);
        snprintf(text, sizeof text, NET CONV(4, 3, 2, "linear") "[convolutional]\nbatch_normalize=1\nfilters=5\nsize=3\npad=1\nactivation=%s\n"
                 "[convolutional]\nfilters=4\nactivation=%s\n" HEAD, name, name);
        CHECK(check_gradients(name, text, NET_TRAIN, NULL) > 3, "%s: gradients are all zero", name);
        check_backends(name, text, NET_TRAIN, NULL);
        check_backends(name, text, NET_INFER, NULL);
    }
}

static float *output_of(struct rig *r, int layer) {
    float *y = calloc(2 * shape_count(r->net->layer[layer].out), sizeof *y);
    CHECK(net_forward(&r->ctx, r->net, r->x) == ST_OK, "%s", r->ctx.error);
    net_output(r->net, layer, y);
    return y;
}

/* --- Upstream's numbers: its CPU build (weights folded, bits packed) on the values of nets_open and nets_input ------------ */

#define MIXED(weights) \
    NET CONV(8, 3, 2, "leaky") CONV(6, 1, 1, "leaky") CONV(8, 3, 1, "leaky") "[shortcut]\nfrom=-3,-2\nactivation=leaky\n" weights "\n"

/* Values 0, n/3, n/2 and n-1 of the last layer. */
static const struct { const char *name, *text; float value[4]; } golden[] = {
    { "shared",
      NET CONV(6, 3, 2, "leaky") CONV(6, 3, 1, "leaky") OPTION(6, 3, 1, "mish", "share_index=-1") HEAD,
      { -0.2025626f, 0.3441983f, 0.2663413f, 0.3720182f } },
    { "antialiasing 1",
      NET OPTION(6, 3, 2, "leaky", "antialiasing=1") HEAD,
      { 0.2301979f, -0.08853567f, -0.1752804f, 1.154569f } },
    { "antialiasing 2",
      NET OPTION(6, 3, 2, "leaky", "antialiasing=2") HEAD,
      { 0.3548463f, -0.2227788f, -0.299053f, 1.133737f } },
    { "antialiased pooling",
      NET CONV(6, 3, 1, "leaky") "[maxpool]\nsize=2\nstride=2\nantialiasing=1\n" HEAD,
      { -0.2203973f, -0.1050009f, -0.1924926f, 0.3471141f } },
    { "pooling over channels",
      NET CONV(8, 3, 1, "leaky") "[maxpool]\nsize=1\nstride=1\nmaxpool_depth=1\nout_channels=3\n" HEAD,
      { -1.058653f, -0.734614f, -0.2994337f, 0.1138329f } },
    { "normalize_channels",
      NET CONV(8, 3, 2, "normalize_channels") HEAD,
      { -0.1921995f, -0.07859524f, -0.1569453f, -0.1374661f } },
    { "normalize_channels_softmax",
      NET CONV(8, 3, 2, "normalize_channels_softmax") HEAD,
      { -0.07221694f, -0.1319609f, -0.1474081f, -0.1532778f } },
    { "normalize_channels_softmax_maxval",
      NET CONV(8, 3, 2, "normalize_channels_softmax_maxval") HEAD,
      { -0.07221862f, -0.1319634f, -0.1474094f, -0.1532777f } },
    { "xnor, 32 channels",
      NET CONV(32, 3, 2, "leaky") OPTION(64, 3, 1, "leaky", "xnor=1") OPTION(8, 3, 2, "leaky", "xnor=1") HEAD,
      { -0.1743781f, 0.4550172f, 0.7169223f, 0.7268378f } },
    { "xnor, 20 channels",
      NET CONV(20, 3, 2, "leaky") OPTION(12, 3, 1, "linear", "xnor=1") HEAD,
      { 0.1304625f, 0.905888f, 1.182998f, -0.287319f } },
    { "weights per layer, relu",
      MIXED("weights_type=per_feature\nweights_normalization=relu") HEAD,
      { 0.2806864f, 0.07597993f, 0.01788908f, -0.1942145f } },
    { "weights per layer, softmax",
      MIXED("weights_type=per_feature\nweights_normalization=softmax") HEAD,
      { 0.2306255f, 0.03977103f, 0.008454112f, -0.2314328f } },
    { "weights per channel, relu",
      MIXED("weights_type=per_channel\nweights_normalization=relu") HEAD,
      { -0.519927f, 0.3037369f, 0.345001f, -0.1578582f } },
    { "weights per channel, softmax",
      MIXED("weights_type=per_channel\nweights_normalization=softmax") HEAD,
      { -0.3790144f, 0.4422821f, 0.4517338f, -0.1006303f } },
};

static void check_golden(void) {
    for (size_t k = 0; k < sizeof golden / sizeof golden[0]; ++k) {
        struct rig r;
        if (!rig_open(&r, golden[k].name, golden[k].text, "cpu", NET_INFER, NULL)) continue;
        int last = net_output_layer(r.net);
        size_t n = shape_count(r.net->layer[last].out), at[4] = { 0, n / 3, n / 2, n - 1 };
        float *y = output_of(&r, last);
        for (int i = 0; i < 4; ++i)
            CHECK_NEAR((double)y[at[i]], (double)golden[k].value[i], 2e-6, "%s: value %zu", golden[k].name, at[i]);
        free(y);
        rig_close(&r);
    }
}

/* --- Sharing --------------------------------------------------------------------------------------------------------- */

static void check_sharing(void) {
    struct rig r;
    if (!rig_open(&r, "sharing", cases[1].text, "ref64", NET_INFER, NULL)) return;
    const struct layer *l = r.net->layer;
    size_t own = 0;
    for (int i = 0; i < r.net->n; ++i)
        for (int k = 0; k < l[i].n_param; ++k) own += param_owned(&l[i].param[k]) ? param_count(&l[i].param[k]) : 0;
    CHECK(own == r.net->n_param, "%zu values are owned, %zu stored", own, r.net->n_param);
    for (int k = 0; k < 5; ++k)
        CHECK(!param_owned(&l[4].param[k]) && l[4].param[k].owner == 1 && l[4].param[k].offset == l[1].param[k].offset, "array %d of layer 4", k);
    CHECK(fabs(l[4].flops - l[1].flops) < 1, "a shared convolution counts: %g", l[4].flops);
    rig_close(&r);
}

/* --- Blur by hand -------------------------------------------------------------------------------------------------------- */

static void check_blur(int kind) {
    struct rig r, plain;
    char text[512], without[512];
    static const double box[] = { 0, 0, 0, 0, .25, .25, 0, .25, .25 };
    static const double binomial[] = { .0625, .125, .0625, .125, .25, .125, .0625, .125, .0625 };
    const double *k = kind == 1 ? binomial : box;
    snprintf(text, sizeof text, NET "[convolutional]\nfilters=4\nsize=3\npad=1\nstride=2\nactivation=leaky\nantialiasing=%d\n", kind);
    snprintf(without, sizeof without, NET "[convolutional]\nfilters=4\nsize=3\npad=1\nstride=1\nactivation=leaky\n");
    if (!rig_open(&r, "blur", text, "ref64", NET_INFER, NULL) || !rig_open(&plain, "no blur", without, "ref64", NET_INFER, NULL)) return;
    float *y = output_of(&r, 0), *x = output_of(&plain, 0);
    struct shape out = r.net->layer[0].out;
    CHECK(out.w == 6 && out.h == 6 && plain.net->layer[0].out.w == 12, "%d x %d", out.w, out.h);
    for (int c = 0; c < 4; ++c)
        for (int i = 0; i < out.h; ++i)
            for (int j = 0; j < out.w; ++j) {
                double want = 0;
                for (int a = -1; a <= 1; ++a)
                    for (int b = -1; b <= 1; ++b) {
                        int row = 2 * i + a, column = 2 * j + b;
                        if (row >= 0 && row < 12 && column >= 0 && column < 12)
                            want += k[(a + 1) * 3 + b + 1] * (double)x[(c * 12 + row) * 12 + column];
                    }
                CHECK_NEAR((double)y[(c * out.h + i) * out.w + j], want, 1e-5, "blur %d at %d, %d, %d", kind, c, i, j);
            }
    free(x), free(y);
    rig_close(&r), rig_close(&plain);
}

/* --- Binary networks --------------------------------------------------------------------------------------------------- */

static const char *const xnor_text = NET BARE(3, 1, 1, "linear", "") OPTION(4, 3, 1, "linear", "xnor=1");

static double xnor_value(const struct net *net, const float *x, bool train, int f, int row, int column) {
    const struct layer *l = &net->layer[1];
    const float *w = net->param + l->param[4].offset + f * 27;
    double mean = 0, sum = 0, scale = (double)net->param[l->param[1].offset + (size_t)f], var = (double)net->param[l->param[3].offset + (size_t)f];
    for (int i = 0; i < 27; ++i) mean += fabs((double)w[i]) / 27;
    for (int i = 0; i < 27; ++i) {
        int a = row + i % 9 / 3 - 1, b = column + i % 3 - 1;
        bool inside = a >= 0 && a < 12 && b >= 0 && b < 12;
        double input = inside ? (x[(i / 9 * 12 + a) * 12 + b] > 0 ? 1 : -1) : train ? 0 : -1;
        sum += (w[i] > 0 ? mean : -mean) * input;
    }
    if (train) return sum;
    return scale * (sum - (double)net->param[l->param[2].offset + (size_t)f]) / sqrt(var + 1e-5) + (double)net->param[l->param[0].offset + (size_t)f];
}

static void check_xnor_value(void) {
    struct rig r;
    if (!rig_open(&r, "xnor", xnor_text, "ref64", NET_SCORE, NULL)) return;
    for (size_t i = 0; i < 144 * 6; ++i) r.x[i] -= .5f;
    float *x = output_of(&r, 0), *y = output_of(&r, 1);
    for (int f = 0; f < 4; ++f)
        for (int i = 0; i < 144; ++i)
            CHECK_NEAR((double)y[f * 144 + i], xnor_value(r.net, x, false, f, i / 12, i % 12), 1e-5, "xnor, filter %d, cell %d", f, i);
    free(x), free(y);
    rig_close(&r);
}

/* Straight through: the gradients are those of an ordinary convolution with the binary weights and inputs, the one to the input
 * only where |x| < 1. */
static void check_straight_through(bool xnor) {
    struct rig r, same;
    char text[1024], ordinary[1024];
    snprintf(text, sizeof text, NET BARE(3, 1, 1, "linear", "") BARE(4, 3, 1, "leaky", "%s=1"), xnor ? "xnor" : "binary");
    snprintf(ordinary, sizeof ordinary, "[net]\nwidth=12\nheight=12\nchannels=3\nbatch=2\n" BARE(4, 3, 1, "leaky", ""));
    if (!rig_open(&r, "binary", text, "ref64", NET_TRAIN, NULL) || !rig_open(&same, "ordinary", ordinary, "ref64", NET_TRAIN, NULL)) return;
    for (size_t i = 0; i < 144 * 6; ++i) r.x[i] = 4 * r.x[i] - 2;
    float *x = output_of(&r, 0);
    for (size_t i = 0; i < 144 * 6; ++i) same.x[i] = xnor ? (x[i] > 0 ? 1.f : -1.f) : x[i];
    const struct param *from = &r.net->layer[1].param[1], *to = &same.net->layer[0].param[1];
    for (int f = 0; f < 4; ++f) {
        const float *w = r.net->param + from->offset + f * 27;
        double mean = 0;
        for (int i = 0; i < 27; ++i) mean += fabs((double)w[i]) / 27;
        for (int i = 0; i < 27; ++i) same.net->param[to->offset + (size_t)(f * 27 + i)] = (float)(w[i] > 0 ? mean : -mean);
        same.net->param[(size_t)f] = r.net->param[r.net->layer[1].param[0].offset + (size_t)f];
    }
    net_push(&same.ctx, same.net);
    float *y = output_of(&r, 1), *z = output_of(&same, 0);
    CHECK(rig_worst(z, y, 2 * 4 * 144) < 1e-6, "outputs differ by %g", rig_worst(z, y, 2 * 4 * 144));
    rig_backward(&r);
    rig_backward(&same);
    const double *g = (double *)r.net->dev_grad + from->offset, *h = (double *)same.net->dev_grad + to->offset;
    for (int i = 0; i < 108; ++i) CHECK_NEAR(g[i], h[i], 1e-6, "weight %d", i);
    /* the gradient at layer 0's output reaches its biases: sum over the cells with |x| < 1 of the transposed convolution */
    const struct tensor *dy = &same.net->dy[0];
    for (int c = 0; c < 3; ++c) {
        double want = 0;
        for (int n = 0; n < 2; ++n)
            for (int cell = 0; cell < 144; ++cell) {
                if (xnor && fabs((double)x[(n * 3 + c) * 144 + cell]) >= 1) continue;
                for (int f = 0; f < 4; ++f)
                    for (int k = 0; k < 9; ++k) {
                        int row = cell / 12 - k / 3 + 1, column = cell % 12 - k % 3 + 1;
                        if (row < 0 || row >= 12 || column < 0 || column >= 12) continue;
                        double d = ((double *)dy->data)[n * dy->sn + f * dy->sc + row * dy->sh + column * dy->sw];
                        want += d * (double)same.net->param[to->offset + (size_t)(f * 27 + c * 9 + k)];
                    }
            }
        CHECK_NEAR(((double *)r.net->dev_grad)[r.net->layer[0].param[0].offset + (size_t)c], want, 1e-6, "bias %d", c);
    }
    free(x), free(y), free(z);
    rig_close(&r), rig_close(&same);
}

/* --- Tied kernels, centred gradients, blended batch norm --------------------------------------------------------------- */

static void check_rotation(void) {
    struct rig r;
    if (!rig_open(&r, "rotation", NET BARE(4, 3, 1, "linear", "rotate=1"), "ref64", NET_TRAIN, NULL)) return;
    static const int turned[4][9] = { { 0, 1, 2, 3, 4, 5, 6, 7, 8 }, { 6, 3, 0, 7, 4, 1, 8, 5, 2 }, { 8, 7, 6, 5, 4, 3, 2, 1, 0 },
                                      { 2, 5, 8, 1, 4, 7, 0, 3, 6 } };
    const double *w = (double *)r.net->dev_param + r.net->layer[0].param[1].offset;
    for (int s = 0; s < 4; ++s)
        for (int c = 0; c < 3; ++c)
            for (int i = 0; i < 9; ++i) CHECK_NEAR(w[(s * 3 + c) * 9 + i], w[c * 9 + turned[s][i]], 1e-12, "quarter %d, cell %d", s, i);
    rig_close(&r);
    /* outside of training the stored kernels count, whatever they are */
    if (!rig_open(&r, "stored", NET BARE(4, 3, 1, "linear", "rotate=1"), "ref64", NET_INFER, NULL)) return;
    const float *stored = r.net->param + r.net->layer[0].param[1].offset;
    w = (double *)r.net->dev_param + r.net->layer[0].param[1].offset;
    for (int i = 0; i < 108; ++i) CHECK_NEAR(w[i], (double)stored[i], 1e-7, "weight %d", i);
    rig_close(&r);
}

static void check_centred(void) {
    struct rig a, b;
    if (!rig_open(&a, "centred", NET CONV(4, 3, 2, "leaky") OPTION(6, 3, 1, "leaky", "grad_centr=1"), "ref64", NET_TRAIN, NULL) ||
        !rig_open(&b, "not centred", NET CONV(4, 3, 2, "leaky") CONV(6, 3, 1, "leaky"), "ref64", NET_TRAIN, NULL)) return;
    for (int pass = 0; pass < 2; ++pass) rig_value(&a), rig_backward(&a), rig_value(&b), rig_backward(&b);
    const double *g = (double *)a.net->dev_grad + a.net->layer[1].param[4].offset, *h = (double *)b.net->dev_grad + b.net->layer[1].param[4].offset;
    for (int f = 0; f < 6; ++f) {
        double mean = 0;
        for (int i = 0; i < 36; ++i) mean += h[f * 36 + i] / 36;
        CHECK(fabs(mean) > 1e-9, "nothing to centre");
        for (int i = 0; i < 36; ++i) CHECK_NEAR(g[f * 36 + i], h[f * 36 + i] - mean, 1e-9, "filter %d", f);
    }
    rig_close(&a), rig_close(&b);
}

static const char *const blended = NET "[convolutional]\ncbn=1\nfilters=4\nsize=3\npad=1\nactivation=mish\n";

/* The first mini-batch of an iteration is plain batch norm; after equal mini-batches the blend is the same again. */
static void check_blend(void) {
    struct rig a, b;
    if (!rig_open(&a, "blend", blended, "ref64", NET_TRAIN, NULL) || !rig_open(&b, "plain", NET CONV(4, 3, 1, "mish"), "ref64", NET_TRAIN, NULL)) return;
    float *want = output_of(&b, 0);
    for (int i = 0; i < 3; ++i) {
        float *y = output_of(&a, 0);
        CHECK(rig_worst(want, y, 2 * 4 * 144) < 1e-6, "mini-batch %d differs by %g", i, rig_worst(want, y, 2 * 4 * 144));
        free(y);
    }
    /* another mini-batch: its statistics are those of both together */
    for (size_t i = 0; i < 6 * 144; ++i) a.x[i] *= i % 3 ? .5f : 2.f;
    a.net->iteration = 7;
    free(output_of(&a, 0));
    for (size_t i = 0; i < 6 * 144; ++i) a.x[i] = b.x[i];
    float *y = output_of(&a, 0);
    CHECK(rig_worst(want, y, 2 * 4 * 144) > 1e-3, "the mini-batch before has no effect");
    free(y), free(want);
    rig_close(&a), rig_close(&b);
}

/* Gradient of the second mini-batch of an iteration, the first one's statistics being constants. */
static double second_value(struct rig *r, const float *first, const float *second) {
    ++r->net->iteration;
    CHECK(net_refresh(&r->ctx, r->net) == ST_OK, "%s", r->ctx.error);
    memcpy(r->x, first, 6 * 144 * sizeof *first);
    net_forward(&r->ctx, r->net, r->x);
    memcpy(r->x, second, 6 * 144 * sizeof *first);
    net_forward(&r->ctx, r->net, r->x);
    return functional(r->net, false);
}

static void check_blend_gradient(void) {
    struct rig r;
    if (!rig_open(&r, "blend", NET PLAIN(3, 1, 1, "linear") "[convolutional]\ncbn=1\nfilters=4\nsize=3\npad=1\nactivation=mish\n", "ref64", NET_TRAIN, NULL)) return;
    float *first = nets_input(r.net, 2, 5), *second = nets_input(r.net, 2, 6);
    /* first layer moves too, and with it the first mini-batch: vary only what the first mini-batch does not see, its input */
    second_value(&r, first, second);
    rig_backward(&r);
    const double *g = (double *)r.net->dev_grad + r.net->layer[0].param[0].offset;
    double h = 1e-3, *w = (double *)r.net->dev_param + r.net->layer[0].param[1].offset;
    for (int c = 0; c < 3; ++c) { /* a bias of layer 0 = a shift of its input along the inverse weights; solve 3x3 by Cramer */
        double det = 0, shift[3];
        for (int i = 0; i < 3; ++i) det += w[i] * (w[3 + (i + 1) % 3] * w[6 + (i + 2) % 3] - w[3 + (i + 2) % 3] * w[6 + (i + 1) % 3]);
        for (int i = 0; i < 3; ++i) {
            int p = (i + 1) % 3, q = (i + 2) % 3, u = (c + 1) % 3, v = (c + 2) % 3;
            shift[i] = (w[u * 3 + p] * w[v * 3 + q] - w[u * 3 + q] * w[v * 3 + p]) / det;
        }
        double value[2];
        for (int s = 0; s < 2; ++s) {
            float *moved = calloc(6 * 144, sizeof *moved);
            for (int i = 0; i < 6 * 144; ++i) moved[i] = second[i] + (float)((s ? -h : h) * shift[i / 144 % 3]);
            value[s] = second_value(&r, first, moved);
            free(moved);
        }
        double want = (value[0] - value[1]) / (2 * h);
        CHECK(fabs(g[c] - want) < 2e-2 * fmax(fabs(want), .1), "shift of channel %d: %g, central difference %g", c, g[c], want);
    }
    free(first), free(second);
    rig_close(&r);
}

/* --- Excitation and coordinates by hand ---------------------------------------------------------------------------------- */

static void check_excitation(void) {
    struct rig a, b;
    if (!rig_open(&a, "excited", NET BARE(4, 3, 1, "leaky", "assisted_excitation=1"), "ref64", NET_TRAIN, label) ||
        !rig_open(&b, "calm", NET BARE(4, 3, 1, "leaky", ""), "ref64", NET_TRAIN, NULL)) return;
    float *y = output_of(&a, 0), *x = output_of(&b, 0);
    double alpha = 1 + cos(3.14159265358979 * 30 / 100);
    for (int n = 0; n < 2; ++n)
        for (int cell = 0; cell < 144; ++cell) {
            double mean = 0, row = (cell / 12 + .5) / 12, column = (cell % 12 + .5) / 12;
            bool inside = false;
            for (int c = 0; c < 4; ++c) mean += (double)x[(n * 4 + c) * 144 + cell] / 4;
            for (int i = 0; i < lists[n].n; ++i) {
                struct box t = lists[n].item[i].box;
                inside |= column > floor((double)(t.x - t.w / 2) * 12) / 12 && column < ceil((double)(t.x + t.w / 2) * 12) / 12 &&
                          row > floor((double)(t.y - t.h / 2) * 12) / 12 && row < ceil((double)(t.y + t.h / 2) * 12) / 12;
            }
            for (int c = 0; c < 4; ++c)
                CHECK_NEAR((double)y[(n * 4 + c) * 144 + cell], (double)x[(n * 4 + c) * 144 + cell] + (inside ? alpha * mean : 0), 1e-5, "image %d, cell %d", n, cell);
        }
    a.net->iteration = 101;
    free(y);
    y = output_of(&a, 0);
    CHECK(rig_worst(x, y, 2 * 4 * 144) < 1e-7, "after max_batches it goes on");
    a.net->iteration = 30, a.net->boxes = NULL;
    free(y);
    y = output_of(&a, 0);
    CHECK(rig_worst(x, y, 2 * 4 * 144) < 1e-7, "without boxes something happens");
    free(x), free(y);
    rig_close(&a), rig_close(&b);
}

static void check_coordinates(void) {
    struct rig r;
    if (!rig_open(&r, "coordinates", NET OPTION(5, 3, 2, "leaky", "coordconv=1"), "cpu", NET_INFER, NULL)) return;
    float *y = output_of(&r, 0);
    for (int i = 0; i < 36; ++i) {
        double column = 2. * (i % 6) / 6 - 1, row = 2. * (i / 6) / 6 - 1;
        CHECK_NEAR((double)y[i], column, 1e-6, "cell %d", i);
        CHECK_NEAR((double)y[36 + i], row, 1e-6, "cell %d", i);
        CHECK_NEAR((double)y[72 + i], sqrt(column * column + row * row), 1e-6, "cell %d", i);
    }
    free(y);
    rig_close(&r);
}

/* --- Training -------------------------------------------------------------------------------------------------------- */

/* One batch by heart: everything at once, and a binary network alone. */
static void check_learning(const char *name, const char *body, double share) {
    struct rig r;
    struct optimizer o = { 0 };
    char text[4096];
    snprintf(text, sizeof text, "%s%s", body, "[convolutional]\nfilters=14\nsize=1\nactivation=linear\n[yolo]\nmask=0,1\nanchors=4,4, 9,7\nclasses=2\nnum=2\n");
    if (!rig_open(&r, name, text, "cpu", NET_TRAIN, label) || optimizer_open(&r.ctx, r.net, &o) != ST_OK) return;
    double first = 0, loss = 0;
    for (int i = 0; i < 120; ++i) {
        struct net_truth truth = { .boxes = lists };
        r.net->iteration = (uint64_t)i;
        bool done = net_forward(&r.ctx, r.net, r.x) == ST_OK && net_loss(&r.ctx, r.net, &truth, &loss, NULL) == ST_OK &&
                    net_backward(&r.ctx, r.net) == ST_OK;
        optimizer_step(&o, r.net, &(struct update){ .number = (uint64_t)i + 1, .rate = .01, .images = 2 });
        CHECK(done && net_refresh(&r.ctx, r.net) == ST_OK, "%s: %s", name, r.ctx.error);
        if (i == 0) first = loss;
    }
    CHECK(loss < share * first, "%s: the loss went from %g to %g", name, first, loss);
    net_pull(r.net);
    optimizer_close(&o);
    rig_close(&r);
}

/* --- Files and tables ------------------------------------------------------------------------------------------------- */

static void check_flipped(void) {
    struct ctx ctx = { 0 };
    struct net *net = nets_open(&ctx, "flipped", NET BARE(2, 1, 1, "linear", "flipped=1"), 1);
    char *bytes;
    size_t size;
    float v[8];
    if (!net) return;
    for (int i = 0; i < 8; ++i) net->param[i] = (float)i; /* two biases, then weights 2..4 and 5..7 of the filters */
    CHECK(net_save_bytes(&ctx, net, -1, &bytes, &size) == ST_OK && size == 20 + sizeof v, "%zu bytes", size);
    memcpy(v, bytes + 20, sizeof v);
    static const float want[] = { 0, 1, 2, 5, 3, 6, 4, 7 };
    for (int i = 0; i < 8; ++i) CHECK(v[i] == want[i], "value %d is %g", i, (double)v[i]);
    free(bytes);
    net_close(net);
    check_round_trip("flipped", NET CONV(5, 3, 1, "leaky") OPTION(7, 3, 1, "leaky", "flipped=1") HEAD);
}

static void check_tables(void) {
    check_row(NET BARE(8, 3, 2, "leaky", "antialiasing=1"),
              "   0 conv      8       3 x 3/ 1     12 x  12 x   3 ->   12 x  12 x   8 0.000 BF\n"
              "AA:  conv      8/   8  3 x 3/ 2     12 x  12 x   8 ->    6 x   6 x   8 0.000 BF");
    check_row(NET BARE(8, 3, 2, "leaky", "antialiasing=2"), "\nAA:  conv      8/   8  2 x 2/ 2     12 x  12 x   8 ->    6 x   6 x   8 0.000 BF");
    check_row(NET BARE(8, 3, 1, "leaky", "xnor=1"), "   0 convX     8       3 x 3/ 1     12 x  12 x   3 ->   12 x  12 x   8 ");
    check_row(NET BARE(8, 3, 1, "leaky", "xnor=1\nbin_output=1"), "   0 convXB    8       3 x 3/ 1 ");
    check_row(NET BARE(3, 3, 1, "leaky", "") BARE(3, 3, 1, "leaky", "share_index=0"), "   1 convS     3       3 x 3/ 1 ");
    check_row(NET BARE(8, 3, 1, "leaky", "assisted_excitation=4000"), "   0 convAE    8       3 x 3/ 1 ");
    check_row(NET BARE(64, 3, 1, "leaky", "xnor=1\ngroups=3"), " 0.000 BF");
    struct ctx ctx = { 0 };
    struct net *net = nets_open(&ctx, "flops", NET BARE(64, 3, 1, "leaky", "xnor=1\ngroups=3"), 1);
    if (net) CHECK_NEAR(net_flops(net), 2. * 64 * 27 * 144 / 32, 1e-9, "xnor counts 1/32 and has no groups");
    net_close(net);
}

static void check_faults(void) {
    check_refused(NET BARE(4, 3, 1, "leaky", "share_index=-1"), "share_index: -1 names layer -1");
    check_refused(NET BARE(4, 3, 1, "leaky", "") BARE(4, 3, 1, "leaky", "share_index=0"), "share_index: layer 0 has 4 filters of size 3 over 3 channels");
    check_refused(NET BARE(3, 3, 1, "leaky", "") OPTION(3, 3, 1, "leaky", "share_index=0"), "without batch norm");
    check_refused(NET "[maxpool]\nsize=2\nstride=1\n" BARE(3, 3, 1, "leaky", "share_index=0"), "layer 0 is no convolution");
    check_refused(NET BARE(4, 3, 1, "leaky", "sway=1\nrotate=1"), "only one of");
    check_refused(NET BARE(4, 1, 1, "leaky", "rotate=1"), "size: a kernel of 1 cannot be deformed");
    check_refused(NET BARE(6, 3, 1, "leaky", "stretch_sway=1"), "filters: 6 is no multiple of the 8");
    check_refused(NET BARE(6, 3, 1, "leaky", "antialiasing=3"), "antialiasing: 3 is out of range");
    check_refused(NET BARE(6, 3, 1, "normalize_chanels", ""), "did you mean 'normalize_channels'");
    check_refused(NET BARE(6, 3, 1, "leaky", "") "[shortcut]\nfrom=-1\nactivation=normalize_channels\n", "activation:");
}

int main(void) {
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        const char *name = cases[i].name, *text = cases[i].text;
        if (cases[i].exact) CHECK(check_gradients(name, text, NET_TRAIN, label) > 10, "%s: gradients are all zero", name);
        if (cases[i].exact && strcmp(name, "antialiasing 1")) check_activation_gradients(name, text);
        check_backends(name, text, NET_INFER, label);
        check_backends(name, text, NET_TRAIN, label);
        int removed = check_cut(name, text);
        if (cases[i].prunable) CHECK(removed > 2, "%s: %d groups were cut", name, removed);
        check_round_trip(name, text);
        check_resize(name, text, label);
    }
    check_activations();
    check_golden();
    check_sharing();
    check_blur(1), check_blur(2);
    check_xnor_value();
    check_straight_through(false), check_straight_through(true);
    check_rotation();
    check_centred();
    check_blend();
    check_blend_gradient();
    check_excitation();
    check_coordinates();
    check_learning("options", NET OPTION(8, 3, 2, "leaky", "antialiasing=1") OPTION(8, 3, 1, "mish", "rotate=1\ngrad_centr=1") OPTION(8, 3, 1,
                   "leaky", "share_index=-1\nrotate=1") "[shortcut]\nfrom=-2\nweights_type=per_channel\nweights_normalization=softmax\n"
                   "[convolutional]\ncbn=1\nfilters=8\nsize=3\npad=1\nactivation=leaky\n[maxpool]\nsize=2\nstride=2\nantialiasing=2\n", .2);
    check_learning("xnor", NET CONV(16, 3, 2, "leaky") OPTION(16, 3, 1, "leaky", "xnor=1\nbin_output=1") OPTION(16, 3, 2, "leaky", "xnor=1"), .3);
    check_learning("binary", NET CONV(16, 3, 2, "leaky") OPTION(16, 3, 2, "leaky", "binary=1"), .3);
    check_flipped();
    check_tables();
    check_faults();
    return test_end("conv_options");
}
