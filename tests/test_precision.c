/* Convolutions in bf16 and 8 bits against the reference, exactly where the operands are whole numbers that both hold; ranges of inputs,
 * their file, and where they come from; whole networks beside their f32 selves. */
#include <unistd.h>

#include "backend_rig.h"
#include "base/io.h"
#include "data/dataset.h"
#include "eval/calibrate.h"
#include "eval/detect.h"
#include "in_folder.h"
#include "prune_nets.h"

static const char *const kinds[] = { "cpu:bf16", "cpu:int8" };

/* NULL, after a visible skip, where the CPU cannot. */
static struct backend *open_or_skip(const char *kind) {
    struct ctx ctx = { 0 };
    struct backend *be = NULL;
    if (backend_open(&ctx, kind, &be) == ST_OK) return be;
    CHECK(ctx.code == ST_UNSUPPORTED && strstr(ctx.error, "f32"), "%s", ctx.error);
    SKIP("%s: %s", kind, ctx.error);
    return NULL;
}

/* --- One convolution -------------------------------------------------------------------------------------------------- */

static void set_whole(struct run *r, struct tensor *t, int low, int high) {
    size_t n = shape_count((struct shape){ t->n, t->c, t->h, t->w });
    float *v = host(n);
    for (size_t i = 0; i < n; ++i) v[i] = (float)rng_int(&r->rng, low, high);
    set_values(r, t, v);
    free(v);
}

/* a: filters, b: size, c: stride, d: lowest value of x (the highest is 255 above it), e: padding. */
static void whole_body(struct run *r) {
    const struct parity_case *k = r->k;
    struct shape ys = { k->x.n, k->a, (k->x.h + 2 * k->e - k->b) / k->c + 1, (k->x.w + 2 * k->e - k->b) / k->c + 1 };
    bool add = r->add;
    r->add = false;
    struct tensor x = bare(r, k->x), y = target(r, ys), skip = random_map(r, ys);
    set_whole(r, &x, k->d, k->d + 255);
    size_t per = (size_t)(k->x.c * k->b * k->b), n = (size_t)k->a * per;
    float *w = host(n), *low = host((size_t)k->x.c), *high = host((size_t)k->x.c);
    for (size_t i = 0; i < n; ++i) w[i] = (float)(i % per == i / per % per ? 127 : rng_int(&r->rng, -127, 127));
    for (int c = 0; c < k->x.c; ++c) low[c] = (float)k->d, high[c] = (float)(k->d + 255);
    real *weights = block(r, n), *bias = random_vector(r, (size_t)k->a, -1, 1);
    r->be->ops->put(r->be, w, n, weights);
    struct conv_range range = { low, high };
    struct conv_desc d = { .x = x, .y = y, .groups = 1, .size = k->b, .stride_x = k->c, .stride_y = k->c, .dilation = 1, .pad = k->e,
                           .bias = !add, .act = k->act, .range = &range };
    struct conv_plan *plan = NULL;
    const struct backend_ops *ops = r->be->ops;
    CHECK(ops->conv_new(r->be, &r->ctx, &d, &plan) == ST_OK, "%s: %s", k->name, r->ctx.error);
    if (plan) {
        ops->conv_weights(r->be, &r->ctx, plan, weights);
        if (add) ops->conv_forward_add(r->be, &r->ctx, plan, &x, NULL, &skip, &y);
        else ops->conv_forward(r->be, &r->ctx, plan, &x, bias, &y);
        ops->conv_free(r->be, plan);
    }
    CHECK(r->ctx.code == ST_OK, "%s: %s", k->name, r->ctx.error);
    emit_map(r, &y);
    free(w), free(low), free(high);
}

/* Whole numbers up to 256 are bf16 and 8-bit values, and their sums are exact: only bias and activation round. */
static const struct parity_case whole[] = {
    { "conv whole 1x1", whole_body, { 1, 16, 9, 7 }, 32, 1, 1, 0, 0, ACT_LINEAR },
    { "conv whole 1x1 odd", whole_body, { 2, 17, 7, 5 }, 19, 1, 1, -100, 0, ACT_LEAKY },
    { "conv whole 1x1 pruned", whole_body, { 1, 24, 13, 13 }, 56, 1, 1, -30, 0, ACT_RELU },
    { "conv whole 1x1 wide", whole_body, { 3, 56, 6, 11 }, 40, 1, 1, -255, 0, ACT_SWISH },
    { "conv whole 1x1 few pixels", whole_body, { 1, 40, 2, 2 }, 255, 1, 1, -7, 0, ACT_LINEAR },
    { "conv whole 1x1 stride 2", whole_body, { 1, 19, 9, 8 }, 24, 1, 2, -20, 0, ACT_RELIE },
    { "conv whole 1x1 padded", whole_body, { 1, 16, 4, 5 }, 8, 1, 1, -77, 2, ACT_LINEAR },
    { "conv whole 3x3 stride 2", whole_body, { 2, 24, 12, 15 }, 40, 3, 2, -128, 1, ACT_LEAKY },
    { "conv whole 3x3 stride 2 tail", whole_body, { 1, 33, 11, 13 }, 35, 3, 2, -1, 1, ACT_MISH },
    { "conv whole 3x3", whole_body, { 1, 40, 14, 13 }, 24, 3, 1, -60, 1, ACT_LEAKY },
    { "conv whole 3x3 few rows", whole_body, { 1, 56, 3, 29 }, 70, 3, 1, 0, 1, ACT_LOGISTIC },
    { "conv whole 3x3 one filter", whole_body, { 2, 18, 8, 9 }, 1, 3, 1, -128, 1, ACT_LINEAR },
    { "conv whole 5x5 stride 3", whole_body, { 1, 16, 17, 19 }, 7, 5, 3, -50, 0, ACT_LINEAR },
    { "conv whole 2x2 stride 2", whole_body, { 1, 20, 9, 9 }, 48, 2, 2, -90, 1, ACT_RELU6 },
    { "conv whole many pixels", whole_body, { 1, 16, 60, 62 }, 33, 3, 1, -128, 1, ACT_LEAKY },
    { "conv whole many filters", whole_body, { 1, 64, 5, 5 }, 130, 3, 1, -128, 1, ACT_LINEAR },
};

static void test_whole(void) {
    struct ctx ctx = { 0 };
    struct backend *ref = NULL;
    CHECK(backend_open(&ctx, "ref", &ref) == ST_OK, "%s", ctx.error);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; ++i) {
        struct backend *be = open_or_skip(kinds[i]);
        for (size_t k = 0; be && k < sizeof whole / sizeof *whole; ++k)
            for (int layout = OWN; layout <= SLICE; ++layout)
                for (int add = 0; add < 2; ++add) {
                    struct run a = run_case(ref, &whole[k], (enum layout)layout, add), b = run_case(be, &whole[k], (enum layout)layout, add);
                    /* bf16 leaves 3x3 with stride 1 to Winograd, whose sums cancel. */
                    bool winograd = !strcmp(kinds[i], "cpu:bf16") && whole[k].b == 3 && whole[k].c == 1;
                    compare(&a, &b, winograd ? 5e-5 : 2e-6);
                    run_done(&a), run_done(&b);
                }
        backend_close(be);
    }
    backend_close(ref);
}

/* y = conv(x) on one backend, all of it in the backend's layout; range: of x, as given. */
static float *convolve(struct backend *be, struct shape xs, int filters, int size, int stride, const float *x, const float *w,
                       struct conv_range *range, struct shape *ys) {
    struct ctx ctx = { 0 };
    const struct backend_ops *ops = be->ops;
    int pad = size / 2;
    *ys = (struct shape){ xs.n, filters, (xs.h + 2 * pad - size) / stride + 1, (xs.w + 2 * pad - size) / stride + 1 };
    size_t n = (size_t)filters * (size_t)(xs.c * size * size);
    struct tensor tx = tensor_of(be, xs, ops->alloc(be, &ctx, shape_count(xs))), ty = tensor_of(be, *ys, ops->alloc(be, &ctx, shape_count(*ys)));
    real *weights = ops->alloc(be, &ctx, n);
    struct conv_desc d = { .x = tx, .y = ty, .groups = 1, .size = size, .stride_x = stride, .stride_y = stride, .dilation = 1, .pad = pad,
                           .act = ACT_LINEAR, .range = range };
    struct conv_plan *plan = NULL;
    float *y = host(shape_count(*ys));
    ops->from_nchw(be, x, &tx, false);
    ops->put(be, w, n, weights);
    CHECK(ops->conv_new(be, &ctx, &d, &plan) == ST_OK && ops->conv_weights(be, &ctx, plan, weights) == ST_OK &&
              ops->conv_forward(be, &ctx, plan, &tx, NULL, &ty) == ST_OK, "%s", ctx.error);
    ops->to_nchw(be, &ty, y);
    if (plan) ops->conv_free(be, plan);
    ops->free(be, tx.data), ops->free(be, ty.data), ops->free(be, weights);
    return y;
}

static double relative(const float *a, const float *b, size_t n) {
    double error = 0, size = 0;
    for (size_t i = 0; i < n; ++i) {
        error += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        size += (double)a[i] * (double)a[i];
    }
    return sqrt(error / size);
}

/* Values as networks have them: channels of very different width, after a leaky activation.  Relative error (rms) of the output:
 * bf16 0.3 %, int8 1 %. */
static void test_real_values(void) {
    static const struct { int c, h, filters, size, stride; } shape[] = {
        { 24, 13, 40, 1, 1 }, { 56, 10, 24, 3, 2 }, { 40, 9, 33, 3, 1 }, { 130, 7, 20, 1, 2 }, { 16, 21, 64, 3, 2 }
    };
    struct ctx ctx = { 0 };
    struct backend *ref = NULL;
    CHECK(backend_open(&ctx, "ref", &ref) == ST_OK, "%s", ctx.error);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; ++i) {
        struct backend *be = open_or_skip(kinds[i]);
        for (size_t s = 0; be && s < sizeof shape / sizeof *shape; ++s) {
            struct rng rng = rng_stream(5, i, s);
            struct shape xs = { 1, shape[s].c, shape[s].h, shape[s].h + 2 }, ys;
            size_t cells = (size_t)(xs.h * xs.w), n = shape_count(xs), weights = (size_t)(shape[s].filters * xs.c * shape[s].size * shape[s].size);
            float *x = host(n), *w = host(weights), *low = host((size_t)xs.c), *high = host((size_t)xs.c);
            for (int c = 0; c < xs.c; ++c) {
                double width = exp(2 * rng_normal(&rng));
                low[c] = high[c] = 0;
                for (size_t k = 0; k < cells; ++k) {
                    double v = width * rng_normal(&rng);
                    float f = x[(size_t)c * cells + k] = (float)(v < 0 ? .1 * v : v);
                    low[c] = f < low[c] ? f : low[c], high[c] = f > high[c] ? f : high[c];
                }
            }
            for (size_t k = 0; k < weights; ++k) w[k] = (float)rng_normal(&rng);
            struct conv_range range = { low, high };
            float *a = convolve(ref, xs, shape[s].filters, shape[s].size, shape[s].stride, x, w, NULL, &ys);
            float *b = convolve(be, xs, shape[s].filters, shape[s].size, shape[s].stride, x, w, &range, &ys);
            double error = relative(a, b, shape_count(ys));
            CHECK(error < (i ? .02 : .006), "%s, shape %zu: relative error %g", kinds[i], s, error);
            if (i) CHECK(error > 1e-4, "%s, shape %zu: error %g: that was not 8 bits", kinds[i], s, error);
            free(x), free(w), free(low), free(high), free(a), free(b);
        }
        backend_close(be);
    }
    backend_close(ref);
}

/* Values beyond the range are cut off, never wrapped round; a channel that never changes does no harm. */
static void test_beyond(void) {
    struct backend *be = open_or_skip("cpu:int8");
    struct shape xs = { 1, 16, 1, 3 }, ys;
    float x[48], w[16], low[16], high[16];
    if (!be) return;
    for (int c = 0; c < 16; ++c) {
        low[c] = c == 5 ? 0 : -1, high[c] = c == 5 ? 0 : 2, w[c] = 1;
        x[3 * c] = 1e30f, x[3 * c + 1] = -1e30f, x[3 * c + 2] = c == 5 ? 0 : 1;
    }
    struct conv_range range = { low, high };
    float *y = convolve(be, xs, 1, 1, 1, x, w, &range, &ys);
    CHECK_NEAR((double)y[0], 30, .05, "the highest values");
    CHECK_NEAR((double)y[1], -15, .05, "the lowest values");
    CHECK_NEAR((double)y[2], 15, .05, "values within");
    free(y);
    backend_close(be);
}

/* --- Ranges ------------------------------------------------------------------------------------------------------------ */

#define HEAD_NET(width) "[net]\nwidth=64\nheight=64\nchannels=3\nbatch=1\n" \
    "[convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\nstride=2\npad=1\nactivation=leaky\n" \
    "[convolutional]\nbatch_normalize=1\nfilters=" width "\nsize=1\nstride=1\npad=1\nactivation=mish\n" \
    "[convolutional]\nbatch_normalize=1\nfilters=" width "\nsize=3\nstride=1\npad=1\nactivation=leaky\n" \
    "[shortcut]\nfrom=-2\nactivation=linear\n" \
    "[convolutional]\nbatch_normalize=1\ngroups=" width "\nfilters=" width "\nsize=3\nstride=1\npad=1\nactivation=relu6\n" \
    "[convolutional]\nbatch_normalize=1\nfilters=56\nsize=3\nstride=2\npad=1\nactivation=swish\n" \
    "[route]\nlayers=-1\ngroups=2\ngroup_id=1\n" \
    "[convolutional]\nbatch_normalize=1\nfilters=24\nsize=3\nstride=1\npad=1\nactivation=leaky\n" \
    "[upsample]\nstride=2\n" \
    "[route]\nlayers=-1,3\n" \
    "[convolutional]\nbatch_normalize=1\nfilters=40\nsize=1\nstride=1\npad=1\nactivation=leaky\n" \
    "[convolutional]\nfilters=21\nsize=1\nstride=1\nactivation=linear\n" \
    "[yolo]\nmask=0,1,2\nanchors=8,8, 16,16, 30,30\nclasses=2\nnum=3\n"

static void set_ranges(struct net *net) {
    struct rng rng = rng_stream(3, 1, 4);
    for (int i = 0; i < net->n; ++i)
        for (int c = 0; net->range[i].low && c < net->layer[i].in_shape[0].c; ++c) {
            net->range[i].low[c] = (float)-exp(rng_normal(&rng));
            net->range[i].high[c] = (float)exp(rng_normal(&rng));
        }
}

static void check_refused(struct net *net, const char *path, const char *cfg, const char *weights, const char *a, const char *b) {
    struct ctx ctx = { 0 };
    enum status st = ranges_load(&ctx, net, path, cfg, weights, NULL);
    CHECK(st == ST_FORMAT && strstr(ctx.error, a) && strstr(ctx.error, b) && strstr(ctx.error, path) == ctx.error, "'%s' and '%s' in: %s", a, b, ctx.error);
    CHECK(!net->range, "a refused file leaves no ranges");
}

static void write_text(const char *path, const char *text) {
    struct ctx ctx = { 0 };
    CHECK(io_write(&ctx, path, text, strlen(text)) == ST_OK, "%s", ctx.error);
}

/* The file with `from` replaced by `to`. */
static void edit(const char *path, const char *out, const char *from, const char *to) {
    struct ctx ctx = { 0 };
    char *text = NULL, *at;
    size_t size;
    CHECK(io_read(&ctx, path, &text, &size) == ST_OK && (at = strstr(text, from)), "%s: no '%s' %s", path, from, ctx.error);
    if (!text || !(at = strstr(text, from))) return;
    struct io_out f;
    if (io_create(&ctx, out, &f) == ST_OK) {
        fprintf(f.file, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
        CHECK(io_commit(&ctx, &f) == ST_OK, "%s", ctx.error);
    }
    free(text);
}

static void test_file(void) {
    struct ctx ctx = { 0 };
    struct net *a = NULL, *b = NULL;
    char *path = NULL, *other = NULL;
    int images = 0;
    snprintf(folder, sizeof folder, "/tmp/test_precision_XXXXXX");
    if (!mkdtemp(folder)) exit(2);
    char cfg[256], weights[256], changed[256];
    snprintf(cfg, sizeof cfg, "%s", in_folder("a.cfg"));
    snprintf(weights, sizeof weights, "%s", in_folder("a.weights"));
    snprintf(changed, sizeof changed, "%s", in_folder("changed.json"));
    write_text(cfg, HEAD_NET("24"));
    write_text(in_folder("b.cfg"), HEAD_NET("40"));
    CHECK(net_open(&ctx, cfg, true, &a) == ST_OK && net_open(&ctx, cfg, true, &b) == ST_OK, "%s", ctx.error);
    if (!a || !b) return;
    net_init_weights(a, 1);
    CHECK(net_save(&ctx, a, weights, -1) == ST_OK && ranges_path(&ctx, weights, &path) == ST_OK && ranges_path(&ctx, "x/y.conv.29", &other) == ST_OK, "%s", ctx.error);
    CHECK(path && !strcmp(path + strlen(folder), "/a.int8.json") && other && !strcmp(other, "x/y.conv.29.int8.json"), "%s and %s", path, other);
    CHECK(ranges_new(&ctx, a) == ST_OK, "%s", ctx.error);
    /* Not of the picture (0), depthwise (4), read by the head (11), nor of layers without weights. */
    for (int i = 0; i < a->n; ++i)
        CHECK((a->range[i].low != NULL) == (i == 1 || i == 2 || i == 5 || i == 7 || i == 10), "layer %d", i);
    set_ranges(a);
    CHECK(ranges_save(&ctx, a, path, cfg, weights, 17) == ST_OK && ranges_load(&ctx, b, path, cfg, weights, &images) == ST_OK, "%s", ctx.error);
    CHECK(images == 17, "%d images", images);
    for (int i = 0; i < a->n && b->range; ++i) {
        size_t bytes = (size_t)a->layer[i].in_shape[0].c * sizeof(float);
        if (!a->range[i].low) CHECK(!b->range[i].low, "layer %d has no range", i);
        else CHECK(b->range[i].low && !memcmp(a->range[i].low, b->range[i].low, bytes) && !memcmp(a->range[i].high, b->range[i].high, bytes), "layer %d", i);
    }
    check_refused(b, path, in_folder("b.cfg"), weights, "cfg_sha256", "another cfg");
    a->param[3] += 1;
    CHECK(net_save(&ctx, a, in_folder("b.weights"), -1) == ST_OK, "%s", ctx.error);
    check_refused(b, path, cfg, in_folder("b.weights"), "weights_sha256", "another weights file");
    edit(path, changed, "\"version\": 1", "\"version\": 2");
    check_refused(b, changed, cfg, weights, "version", "1");
    edit(path, changed, "\"layer\": 2", "\"layer\": 3");
    check_refused(b, changed, cfg, weights, "3", "no convolution");
    edit(path, changed, "\"low\": [", "\"low\": [0, ");
    check_refused(b, changed, cfg, weights, "layer 1", "16 numbers");
    edit(path, changed, "\"low\": [", "\"low\": [1e30, ");
    check_refused(b, changed, cfg, weights, "layer 1", "16 numbers");
    edit(path, changed, "\"high\": [", "\"high\": [\"\", ");
    check_refused(b, changed, cfg, weights, "layer 1", "numbers");
    edit(path, changed, "]}", "");
    check_refused(b, changed, cfg, weights, "", "");
    free(path), free(other);
    net_close(a), net_close(b);
}

/* --- Whole networks ----------------------------------------------------------------------------------------------------- */

static void forget_folder(void) {
    char line[128];
    snprintf(line, sizeof line, "rm -rf '%s'", folder);
    if (system(line) != 0) printf("%s is left behind\n", folder);
}

/* What the heads read, all of it in one array. */
static float *answers(struct ctx *ctx, struct net *net, struct backend *be, const float *x, size_t *n) {
    float *out = NULL;
    *n = 0;
    if (net_bind(ctx, net, be, NET_INFER, 1) != ST_OK || net_forward(ctx, net, x) != ST_OK) return host(0);
    for (int i = 0; i < net->n; ++i) {
        if (!net->layer[i].ops->head) continue;
        size_t more = shape_count(net->layer[i].in_shape[0]);
        out = realloc(out, (*n + more) * sizeof *out);
        net_output(net, net->layer[i].in[0], out + *n);
        *n += more;
    }
    return out;
}

/* `cfg` (and weights, NULL: fresh ones) in f32, bf16 and int8, calibrated on `images`, which then are looked at, too. */
static void check_net(const char *cfg, const char *weights, struct text_list *images, int pictures, const double limit[2]) {
    struct ctx ctx = { 0 };
    struct net *net = NULL;
    struct backend *be[3] = { NULL };
    struct calibrate_options opt = { .images = 4 };
    int seen = 0;
    CHECK(backend_open(&ctx, "cpu", &be[0]) == ST_OK && net_open(&ctx, cfg, false, &net) == ST_OK, "%s", ctx.error);
    if (!net) return;
    net_init_weights(net, 1);
    if (weights) CHECK(net_load(&ctx, net, weights, LOAD_WHOLE, NULL) == ST_OK, "%s", ctx.error);
    CHECK(calibrate(&ctx, net, be[0], images, &opt, &seen) == ST_OK && seen == 4, "%d seen: %s", seen, ctx.error);
    be[1] = open_or_skip(kinds[0]), be[2] = open_or_skip(kinds[1]);
    for (int p = 0; p < pictures && ctx.code == ST_OK; ++p) {
        struct image im = { 0 }, input = { 0 };
        size_t n, same;
        CHECK(image_read(&ctx, images->item[images->n - 1 - p], net->opt.channels, &im) == ST_OK && detect_input(&ctx, net, &im, false, &input) == ST_OK, "%s", ctx.error);
        float *a = answers(&ctx, net, be[0], input.data, &n);
        for (int k = 1; k < 3; ++k) {
            if (!be[k]) continue;
            float *b = answers(&ctx, net, be[k], input.data, &same);
            double error = same == n ? relative(a, b, n) : INFINITY;
            CHECK(error < limit[k - 1] && error > 0, "%s on %s: relative error %g", cfg, kinds[k - 1], error);
            free(b);
        }
        free(a);
        image_free(&im), image_free(&input);
    }
    CHECK(ctx.code == ST_OK, "%s", ctx.error);
    net_close(net);
    for (int k = 0; k < 3; ++k) backend_close(be[k]);
}

static void make_picture(const char *path, uint64_t seed) {
    struct ctx ctx = { 0 };
    struct pixels px;
    struct rng rng = rng_stream(seed, 9, 9);
    if (pixels_new(&ctx, 64, 64, 3, &px) != ST_OK) exit(2);
    for (int i = 0; i < 64 * 64 * 3; ++i) px.data[i] = (uint8_t)(128 + 127 * sin(i / 3 % 64 * .02 * (double)seed + i / 192 * .11) * rng_uniform(&rng));
    CHECK(pixels_write(&ctx, path, &px, 90) == ST_OK, "%s", ctx.error);
    pixels_free(&px);
}

/* Widths as pruning leaves them, with what networks that only run share: slices, sums, places of a concatenation. */
static void test_pruned_widths(void) {
    char *item[5];
    struct text_list images = { .item = item, .n = 5 };
    const double limit[2] = { .01, .04 };
    static const char *const text[] = { HEAD_NET("24"), HEAD_NET("40"), HEAD_NET("56") };
    for (int i = 0; i < 5; ++i) {
        char name[32];
        snprintf(name, sizeof name, "p%d.png", i);
        item[i] = strdup(in_folder(name));
        make_picture(item[i], (uint64_t)i + 1);
    }
    for (size_t i = 0; i < sizeof text / sizeof *text; ++i) {
        write_text(in_folder("w.cfg"), text[i]);
        check_net(in_folder("w.cfg"), NULL, &images, 2, limit);
    }
    struct ctx ctx = { 0 };
    struct net *net = NULL;
    struct backend *be = NULL;
    struct text_list none = { 0 };
    int stop = 1;
    struct calibrate_options opt = { .images = 4, .stop = &stop };
    CHECK(net_open(&ctx, in_folder("w.cfg"), true, &net) == ST_OK && backend_open(&ctx, "cpu", &be) == ST_OK, "%s", ctx.error);
    CHECK(net && calibrate(&ctx, net, be, &images, &opt, NULL) == ST_INTERRUPTED && !net->range && !net->be, "stopped: %s", ctx.error);
    ctx_clear(&ctx);
    CHECK(net && calibrate(&ctx, net, be, &none, &opt, NULL) == ST_USAGE && !net->range, "no pictures: %s", ctx.error);
    net_close(net);
    backend_close(be);
    for (int i = 0; i < 5; ++i) free(item[i]);
}

/* Published weights: what the heads read differs by 0.5 % in bf16 and 3 % in int8 (mean average precision: docs/performance.md). */
static void test_published(void) {
    const char *root = test_data("published weights in few bits");
    static const char *const model[] = { "yolo-fastest-1.1_coco/yolo-fastest-1.1", "mbv2-yolov3-nano-coco/MobileNetV2-YOLOv3-Nano-coco" };
    const double limit[2] = { .015, .06 };
    struct ctx ctx = { 0 };
    struct text_list images = { 0 };
    char cfg[600], weights[600], line[600];
    if (!root) return;
    snprintf(line, sizeof line, "ls %s/coco/val2017/*.jpg | head -12 > %s", root, in_folder("list.txt"));
    CHECK(system(line) == 0 && list_read(&ctx, in_folder("list.txt"), &images) == ST_OK && images.n == 12, "%s", ctx.error);
    for (size_t i = 0; i < sizeof model / sizeof *model && images.n; ++i) {
        snprintf(cfg, sizeof cfg, "%s/weights/%s.cfg", root, model[i]);
        snprintf(weights, sizeof weights, "%s/weights/%s.weights", root, model[i]);
        check_net(cfg, weights, &images, 1, limit);
    }
    list_free(&images);
}

int main(void) {
    test_whole();
    test_real_values();
    test_beyond();
    test_file();
    test_pruned_widths();
    test_published();
    forget_folder();
    return test_end("test_precision");
}
