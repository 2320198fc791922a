/* What stands behind the smaller commands: anchors, averages, batch norm folded away, other input ranges, prefixes, classifiers
 * that become detectors, recall, classification, filters as pictures. */
#include "test.h"

#include <unistd.h>

#include "base/io.h"
#include "base/rng.h"
#include "data/anchors.h"
#include "eval/classify.h"
#include "eval/provoke.h"
#include "eval/recall.h"
#include "eval/visualize.h"
#include "net/convert.h"

static struct ctx ctx;

static struct net *open_net(const char *text, uint64_t seed) {
    struct cfg_doc *doc;
    struct net *net = NULL;
    ctx_clear(&ctx);
    if (cfg_parse(&ctx, "test.cfg", text, strlen(text), true, &doc) != ST_OK || net_open_doc(&ctx, doc, true, &net) != ST_OK) {
        CHECK(false, "%s", ctx.error);
        exit(test_end("commands"));
    }
    net_init_weights(net, seed);
    struct rng r = rng_stream(seed, 77, 0);
    for (int i = 0; i < net->n; ++i)
        for (int k = 0; k < net->layer[i].n_param; ++k) {
            const struct param *p = &net->layer[i].param[k];
            for (size_t j = 0; p->role != PARAM_WEIGHT && j < param_count(p); ++j)
                net->param[p->offset + j] =
                    (float)(p->role == PARAM_VARIANCE || p->role == PARAM_SCALE ? rng_between(&r, .5, 2) : rng_between(&r, -1, 1));
        }
    return net;
}

/* The network's answer to one picture of random values in low..high, in double; caller frees. */
static float *answer(struct net *net, double low, double high, size_t *n) {
    struct backend *be = NULL;
    struct rng r = rng_stream(5, 0, 0);
    size_t inputs = (size_t)net->opt.channels * (size_t)net->opt.height * (size_t)net->opt.width;
    float *x = calloc(inputs, sizeof *x), *y;
    for (size_t i = 0; i < inputs; ++i) x[i] = (float)(low + (high - low) * rng_uniform(&r));
    int last = net_output_layer(net);
    *n = shape_count(net->layer[last].out);
    y = calloc(*n, sizeof *y);
    CHECK(backend_open(&ctx, "ref64", &be) == ST_OK && net_bind(&ctx, net, be, NET_INFER, 1) == ST_OK &&
              net_forward(&ctx, net, x) == ST_OK,
          "%s", ctx.error);
    net_output(net, last, y);
    net_unbind(net);
    backend_close(be);
    free(x);
    return y;
}

static double largest_difference(const float *a, const float *b, size_t n) {
    double most = 0;
    for (size_t i = 0; i < n; ++i) most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

/* --- Anchors -------------------------------------------------------------------------------------------- */

static void test_anchors(void) {
    static const struct anchor centre[] = { { 12, 16 }, { 40, 20 }, { 30, 90 }, { 120, 110 }, { 200, 320 } };
    enum { K = 5, N = 1000 };
    struct anchor size[N], found[K], again[K], other[K];
    int cluster[N];
    struct anchor_result result, repeated;
    struct rng r = rng_stream(3, 0, 0);
    for (int i = 0; i < N; ++i) {
        struct anchor c = centre[i % K];
        size[i] = (struct anchor){ c.w * rng_between(&r, .93, 1.07), c.h * rng_between(&r, .93, 1.07) };
    }
    ctx_clear(&ctx);
    CHECK(anchors_cluster(&ctx, size, N, K, 1, found, cluster, &result) == ST_OK, "%s", ctx.error);
    double mean = 0;
    for (int k = 0; k < K; ++k) {
        CHECK_NEAR(found[k].w, centre[k].w, .01, "width of cluster %d", k);
        CHECK_NEAR(found[k].h, centre[k].h, .01, "height of cluster %d", k);
    }
    for (int i = 0; i < N; ++i) {
        mean += anchor_iou(size[i], found[cluster[i]]) / N;
        CHECK(cluster[i] == i % K, "box %d in cluster %d", i, cluster[i]);
    }
    CHECK_NEAR(result.iou, mean, 1e-12, "mean overlap");
    anchors_cluster(&ctx, size, N, K, 1, again, NULL, &repeated);
    CHECK(memcmp(found, again, sizeof found) == 0 && repeated.iou == result.iou, "the same seed, the same anchors");
    anchors_cluster(&ctx, size, N, K, 2, other, NULL, &repeated);
    CHECK_NEAR(other[3].w, found[3].w, 1e-9, "clear clusters whatever the seed");
    CHECK_NEAR(anchor_iou(centre[0], centre[1]), 12. * 16 / (40 * 20), 1e-12, "overlap on one corner");
    for (int i = 0; i < N; ++i) size[i] = (struct anchor){ 10, 10 + i % 3 };
    CHECK(anchors_cluster(&ctx, size, N, 4, 1, found, NULL, &result) == ST_FORMAT && strstr(ctx.error, "4 clusters"),
          "three sizes cannot make four: %s", ctx.error);
    ctx_clear(&ctx);
    CHECK(anchors_cluster(&ctx, size, N, 3, 1, found, NULL, &result) == ST_OK && result.iou > 1 - 1e-9, "three do make three: %g", result.iou);

    /* rare sizes far from the many: what weighing by distance finds, and drawing evenly does not */
    for (int i = 0; i < N; ++i) size[i] = (struct anchor){ 50 + i % 7 * .005, 50 + i % 5 * .005 };
    for (int k = 0; k < K - 1; ++k) size[17 * k] = (struct anchor){ centre[k].w / 10, 4 * centre[k].h };
    CHECK(anchors_cluster(&ctx, size, N, K, 1, found, NULL, &result) == ST_OK && result.iou > .9, "%s", ctx.error);
    for (int k = 0; k < K - 1; ++k) {
        double best = 0;
        for (int j = 0; j < K; ++j) best = fmax(best, anchor_iou(found[j], size[17 * k]));
        CHECK(best > .999, "the rare size %d is found: %g", k, best);
    }

    struct pixels px = { 0 };
    CHECK(anchors_draw(&ctx, size, cluster, 0, centre, K, 400, 200, &px) == ST_OK && px.w == 800 && px.h == 40 + 360 + 40 + 16,
          "picture %d x %d", px.w, px.h);
    pixels_free(&px);
}

/* --- Weights -------------------------------------------------------------------------------------------- */

#define NORM_NET                                                                                                           \
    "[net]\nwidth=16\nheight=12\nchannels=3\n"                                                                              \
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=1\npad=1\nactivation=leaky\n"                              \
    "[convolutional]\nbatch_normalize=1\nfilters=8\ngroups=8\nsize=3\nstride=2\npad=1\nactivation=mish\n"                     \
    "[convolutional]\nfilters=8\nsize=1\nactivation=linear\n"                                                               \
    "[shortcut]\nfrom=-2\nactivation=linear\n"                                                                              \
    "[convolutional]\nbatch_normalize=1\nfilters=6\ngroups=2\nsize=3\npad=1\nactivation=linear\n"

static void test_average(void) {
    struct net *net = open_net(NORM_NET, 1);
    enum { K = 3 };
    static const char *const path[K] = { "average.1", "average.2", "average.3" };
    float *all[K];
    for (int i = 0; i < K; ++i) {
        struct net *one = open_net(NORM_NET, (uint64_t)i + 1);
        one->seen = 100 + (uint64_t)i;
        CHECK(net_save(&ctx, one, path[i], -1) == ST_OK, "%s", ctx.error);
        all[i] = malloc(one->n_param * sizeof(float));
        memcpy(all[i], one->param, one->n_param * sizeof(float));
        net_close(one);
    }
    CHECK(convert_average(&ctx, net, path, K) == ST_OK, "%s", ctx.error);
    int wrong = 0;
    for (size_t k = 0; k < net->n_param; ++k)
        wrong += net->param[k] != (float)(((double)all[0][k] + (double)all[1][k] + (double)all[2][k]) / K);
    CHECK(wrong == 0, "%d of %zu values are not the mean", wrong, net->n_param);
    CHECK(net->seen == 100, "seen of the first: %llu", (unsigned long long)net->seen);
    CHECK(convert_average(&ctx, net, path, 1) == ST_OK && memcmp(net->param, all[0], net->n_param * sizeof(float)) == 0,
          "one file stays itself");
    for (int i = 0; i < K; ++i) free(all[i]), unlink(path[i]);
    net_close(net);
}

static void test_batch_norm(void) {
    struct net *net = open_net(NORM_NET, 4), *flat = NULL, *normal = NULL;
    size_t n, m;
    int count = 0;
    float *want = answer(net, 0, 1, &n);
    CHECK(convert_normalize(&ctx, net, &normal, &count) == ST_OK && count == 1, "%s: %d", ctx.error, count);
    if (normal) {
        float *y = answer(normal, 0, 1, &m);
        CHECK(m == n && normal->n_param == net->n_param + 3 * 8, "one batch norm more: %zu", normal->n_param);
        CHECK(largest_difference(want, y, n) < 1e-6, "it changes nothing: %g", largest_difference(want, y, n));
        free(y);
    }
    CHECK(convert_denormalize(&ctx, net, &flat, &count) == ST_OK && count == 3, "%s: %d", ctx.error, count);
    float *reset = answer(net, 0, 1, &m);
    CHECK(largest_difference(want, reset, n) < 2e-6, "reset: %g", largest_difference(want, reset, n));
    if (flat) {
        float *y = answer(flat, 0, 1, &m);
        char *text;
        size_t size;
        CHECK(flat->n_param == net->n_param - 3 * (8 + 8 + 6), "no batch norm left: %zu", flat->n_param);
        CHECK(largest_difference(want, y, n) < 2e-6, "denormalized: %g", largest_difference(want, y, n));
        CHECK(cfg_text(&ctx, flat->doc, &text, &size) == ST_OK && !strstr(text, "batch_normalize=1"), "the cfg says so: %s", text);
        free(text);
        free(y);
    }
    free(want), free(reset);
    net_close(net), net_close(flat), net_close(normal);
}

/* Matrices store the batch norm behind their weights. */
static void test_batch_norm_of_matrices(void) {
    if (!layer_find("connected")) {
        SKIP("this version has no [connected]");
        return;
    }
    struct net *net = open_net("[net]\nwidth=6\nheight=5\nchannels=2\n"
                               "[connected]\nbatch_normalize=1\noutput=7\nactivation=leaky\n"
                               "[connected]\noutput=4\nactivation=linear\n", 21), *flat = NULL;
    size_t n, m;
    int count = 0;
    float *want = answer(net, 0, 1, &n);
    CHECK(convert_denormalize(&ctx, net, &flat, &count) == ST_OK && count == 1, "%s: %d", ctx.error, count);
    if (flat) {
        float *y = answer(flat, 0, 1, &m);
        CHECK(m == n && flat->n_param == net->n_param - 21 && largest_difference(want, y, n) < 2e-6, "%g", largest_difference(want, y, n));
        free(y);
    }
    free(want);
    net_close(net), net_close(flat);
}

/* A network for pictures of -1..1 without padding, so that every input counts in full. */
#define RANGE_NET(norm)                                                                                                    \
    "[net]\nwidth=10\nheight=8\nchannels=3\n"                                                                               \
    "[convolutional]\nbatch_normalize=" norm "\nfilters=5\nsize=3\nstride=1\npad=0\nactivation=leaky\n"                       \
    "[convolutional]\nfilters=2\nsize=1\nactivation=linear\n"

static void test_input(const char *text) {
    struct net *net = open_net(text, 9);
    size_t n;
    float *want = answer(net, -1, 1, &n);
    CHECK(convert_rescale(&ctx, net) == ST_OK, "%s", ctx.error);
    float *y = answer(net, 0, 1, &n); /* the same picture, from 0 to 1 */
    CHECK(largest_difference(want, y, n) < 3e-6, "rescaled: %g", largest_difference(want, y, n));
    float *before = malloc(net->n_param * sizeof(float));
    memcpy(before, net->param, net->n_param * sizeof(float));
    const struct param *w = &net->layer[0].param[net->layer[0].n_param - 1];
    CHECK(convert_swap_channels(&ctx, net) == ST_OK, "%s", ctx.error);
    int wrong = 0;
    for (int f = 0; f < 5; ++f)
        for (int c = 0; c < 3; ++c)
            for (int j = 0; j < 9; ++j)
                wrong += net->param[w->offset + (size_t)(f * 27 + c * 9 + j)] != before[w->offset + (size_t)(f * 27 + (2 - c) * 9 + j)];
    CHECK(wrong == 0, "%d weights are not those of the other channel", wrong);
    convert_swap_channels(&ctx, net);
    CHECK(memcmp(before, net->param, net->n_param * sizeof(float)) == 0, "twice is nothing");
    free(want), free(y), free(before);
    net_close(net);
}

static void test_input_refused(void) {
    struct net *net = open_net("[net]\nwidth=8\nheight=8\nchannels=1\n[convolutional]\nfilters=2\nsize=3\nactivation=linear\n", 1);
    CHECK(convert_rescale(&ctx, net) == ST_UNSUPPORTED && strstr(ctx.error, "3 channels"), "%s", ctx.error);
    net_close(net);
}

#define BODY                                                                                                               \
    "[net]\nwidth=32\nheight=32\nchannels=3\n"                                                                              \
    "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\nstride=4\npad=1\nactivation=leaky\n"

static void test_classifier_to_detector(void) {
    enum { CLASSES = 3, ANCHORS = 2, C = 4 };
    struct net *classifier = open_net(BODY "[convolutional]\nfilters=3\nsize=1\nactivation=linear\n[avgpool]\n", 6);
    struct net *net = open_net(BODY "[convolutional]\nfilters=16\nsize=1\nactivation=linear\n"
                                    "[region]\nanchors=1,1, 2,2\nclasses=3\nnum=2\n", 8);
    int classes = 0, wrong = 0;
    net_save(&ctx, classifier, "oneoff.weights", -1);
    struct norm_rows from, to;
    CHECK(convert_classifier(&ctx, net, "oneoff.weights", &classes) == ST_OK && classes == CLASSES, "%s", ctx.error);
    CHECK(memcmp(net->param, classifier->param, net->layer[1].param[0].offset * sizeof(float)) == 0, "layers before are the classifier's");
    convert_rows(&classifier->layer[1], &from, 1);
    convert_rows(&net->layer[1], &to, 1);
    const float *b = classifier->param + classifier->layer[1].param[from.bias].offset, *b2 = net->param + net->layer[1].param[to.bias].offset,
                *w = classifier->param + classifier->layer[1].param[from.weight].offset,
                *w2 = net->param + net->layer[1].param[to.weight].offset;
    for (int a = 0; a < ANCHORS; ++a)
        for (int k = 0; k < CLASSES; ++k) {
            int at = a * (5 + CLASSES) + 5 + k;
            wrong += b2[at] != b[k];
            wrong += memcmp(w2 + at * C, w + k * C, C * sizeof *w) != 0;
        }
    CHECK(wrong == 0, "%d class outputs are not the classifier's", wrong);
    unlink("oneoff.weights");
    net_close(classifier);
    net_close(net);
}

/* --- Recall --------------------------------------------------------------------------------------------- */

static void test_recall(void) {
    struct detection_list list = { .classes = 1 };
    static const struct { struct box box; float objectness; } box[] = {
        { { .3f, .3f, .2f, .2f }, .9f },  /* on the first truth */
        { { .31f, .3f, .2f, .2f }, .8f }, /* suppressed by it */
        { { .7f, .7f, .2f, .2f }, .5f },  /* half beside the second */
        { { .7f, .2f, .1f, .1f }, .0005f } /* below the threshold, though on the third */
    };
    struct truth item[] = { { { .3f, .3f, .2f, .2f }, 0, -1 }, { { .8f, .7f, .2f, .2f }, 0, -1 }, { { .7f, .2f, .1f, .1f }, 0, -1 } };
    struct truth_list truth = { .n = 3, .cap = 3, .item = item };
    struct recall r = { 0 };
    for (int i = 0; i < 4; ++i) {
        struct detection *d;
        CHECK(detections_add(&ctx, &list, &d) == ST_OK, "%s", ctx.error);
        d->box = box[i].box;
        d->objectness = box[i].objectness;
        d->prob[0] = .5f;
    }
    recall_add(&r, &list, &truth);
    CHECK(r.images == 1 && r.truths == 3 && r.correct == 1, "%d of %d", r.correct, r.truths);
    CHECK(r.proposals == 2, "proposals after suppression: %lld", r.proposals);
    CHECK_NEAR(r.iou_sum, 1 + 1. / 3, 1e-6, "best overlaps");
    detections_free(&list);
}

/* --- Classifiers ---------------------------------------------------------------------------------------- */

static void test_top(void) {
    static const float p[] = { .1f, .4f, .4f, .05f, .3f };
    int best[5];
    classify_top(p, 5, 3, best);
    CHECK(best[0] == 1 && best[1] == 2 && best[2] == 4, "%d %d %d", best[0], best[1], best[2]);
    classify_top(p, 5, 5, best);
    CHECK(best[3] == 0 && best[4] == 3, "%d %d", best[3], best[4]);
    char *label[] = { "dog", "cat" };
    struct text_list labels = { 2, 2, label };
    CHECK(classify_label(&labels, "/x/cat/1.png") == 1 && classify_label(&labels, "/x/dog_cat.png") == 0 &&
              classify_label(&labels, "/x/cow.png") == -1,
          "labels in paths");
}

/* Mean brightness of each channel: what a view shows can be read from the output. */
static const char mean_net[] = "[net]\nwidth=20\nheight=20\nchannels=3\n[avgpool]\n";

static void test_views(void) {
    struct net *net = open_net(mean_net, 1);
    struct backend *be = NULL;
    struct image im;
    float p[3];
    CHECK(backend_open(&ctx, "ref", &be) == ST_OK && net_bind(&ctx, net, be, NET_INFER, 1) == ST_OK, "%s", ctx.error);
    CHECK(image_new(&ctx, 80, 40, 3, &im) == ST_OK, "%s", ctx.error);
    for (int y = 0; y < 40; ++y)
        for (int x = 0; x < 80; ++x) {
            im.data[y * 80 + x] = x < 20 || x >= 60;              /* red: left and right quarter */
            im.data[(40 + y) * 80 + x] = (float)x / 79;           /* green: a ramp */
            im.data[(80 + y) * 80 + x] = y < 20;                  /* blue: the upper half */
        }
    struct classify_options opt = { .w = 20, .h = 20, .view = VIEW_CENTRE };
    CHECK(classify_image(&ctx, net, &im, &opt, p) == ST_OK, "%s", ctx.error);
    CHECK(p[0] < .04f && fabsf(p[1] - .5f) < .01f && fabsf(p[2] - .5f) < .01f, "the middle: %g %g %g", (double)p[0], (double)p[1], (double)p[2]);
    opt.view = VIEW_FULL;
    CHECK(classify_image(&ctx, net, &im, &opt, p) == ST_OK && net->opt.width == 40, "%s: width %d", ctx.error, net->opt.width);
    CHECK(fabsf(p[0] - .5f) < .03f, "the whole picture: %g", (double)p[0]);
    opt.view = VIEW_TEN;
    CHECK(classify_image(&ctx, net, &im, &opt, p) == ST_OK && net->opt.width == 20, "%s: width %d", ctx.error, net->opt.width);
    CHECK(fabsf(p[1] - .5f) < 1e-4f && fabsf(p[2] - .5f) < .01f, "ten crops lie evenly: %g %g", (double)p[1], (double)p[2]);
    opt.view = VIEW_MULTI;
    CHECK(classify_image(&ctx, net, &im, &opt, p) == ST_OK && net->opt.height == 384, "%s: height %d", ctx.error, net->opt.height);
    CHECK(fabsf(p[1] - .5f) < 1e-4f, "mirrored as often as not: %g", (double)p[1]);
    opt.view = VIEW_CROP;
    float left = 1, right = 0;
    for (opt.draw = 1; opt.draw < 30; ++opt.draw) {
        float again[3];
        CHECK(classify_image(&ctx, net, &im, &opt, p) == ST_OK && classify_image(&ctx, net, &im, &opt, again) == ST_OK &&
                  memcmp(p, again, sizeof p) == 0,
              "a crop depends on its number alone");
        left = fminf(left, p[1]);
        right = fmaxf(right, p[1]);
    }
    CHECK(left < .35f && right > .65f, "crops anywhere: %g to %g", (double)left, (double)right);
    struct image tall;
    CHECK(image_new(&ctx, 40, 80, 3, &tall) == ST_OK, "%s", ctx.error);
    for (int y = 0; y < 80; ++y)
        for (int x = 0; x < 40; ++x) tall.data[y * 40 + x] = (float)y / 79;
    opt.view = VIEW_CENTRE;
    CHECK(classify_image(&ctx, net, &tall, &opt, p) == ST_OK && fabsf(p[0] - .5f) < .01f, "the middle of a tall one: %g", (double)p[0]);
    opt.view = VIEW_CROP;
    left = 1, right = 0;
    for (opt.draw = 1; opt.draw < 30; ++opt.draw) {
        CHECK(classify_image(&ctx, net, &tall, &opt, p) == ST_OK, "%s", ctx.error);
        left = fminf(left, p[0]);
        right = fmaxf(right, p[0]);
    }
    CHECK(left < .35f && right > .65f, "up and down, too: %g to %g", (double)left, (double)right);
    image_free(&tall);
    image_free(&im);
    net_close(net);
    backend_close(be);
    net = open_net(BODY "[convolutional]\nfilters=16\nsize=1\nactivation=linear\n[region]\nanchors=1,1, 2,2\nclasses=3\nnum=2\n", 8);
    int outputs;
    CHECK(classify_outputs(&ctx, net, &outputs) == ST_CFG && strstr(ctx.error, "detector"), "%s", ctx.error);
    net_close(net);
}

/* The network sees what rises to the right alone; a mirrored view of such a picture gives nothing. */
static void test_mirrored_views(void) {
    struct net *net = open_net("[net]\nwidth=20\nheight=20\nchannels=3\n"
                               "[convolutional]\nfilters=1\nsize=3\nstride=1\nactivation=relu\n[avgpool]\n", 1);
    struct backend *be = NULL;
    struct image im;
    float p = 0;
    for (size_t i = 0; i < net->n_param; ++i) net->param[i] = 0;
    float *w = net->param + net->layer[0].param[1].offset; /* red, middle row */
    w[3] = -1, w[5] = 1;
    CHECK(backend_open(&ctx, "ref", &be) == ST_OK && net_bind(&ctx, net, be, NET_INFER, 1) == ST_OK, "%s", ctx.error);
    CHECK(image_new(&ctx, 80, 40, 3, &im) == ST_OK, "%s", ctx.error);
    for (int y = 0; y < 40; ++y)
        for (int x = 0; x < 80; ++x) im.data[y * 80 + x] = (float)x / 79;
    struct classify_options opt = { .w = 20, .h = 20, .view = VIEW_TEN };
    CHECK(classify_image(&ctx, net, &im, &opt, &p) == ST_OK, "%s", ctx.error);
    CHECK_NEAR(1000 * p, 1000. / 51, 1e-3, "half of ten crops are mirrored");
    opt.view = VIEW_MULTI;
    CHECK(classify_image(&ctx, net, &im, &opt, &p) == ST_OK, "%s", ctx.error);
    double sum = 0;
    static const int side[] = { 224, 288, 320, 352, 384 };
    for (int i = 0; i < 5; ++i) sum += 2. / (2 * side[i] - 1) / 10;
    CHECK_NEAR(1e4 * p, 1e4 * sum, 1e-3, "half of the sizes are mirrored");
    image_free(&im);
    net_close(net);
    backend_close(be);
}

/* --- Pictures of filters -------------------------------------------------------------------------------- */

static void test_filters(void) {
    struct net *net = open_net(NORM_NET, 3);
    struct pixels px = { 0 }, read = { 0 };
    struct montage m;
    CHECK(visualize_first(net) == 0, "%d", visualize_first(net));
    CHECK(visualize_filters(&ctx, net, 0, 2, &px, &m) == ST_OK, "%s", ctx.error);
    CHECK(px.c == 3 && px.w == 3 * 7 + 1 && px.h == 3 * 7 + 1 && m.columns == 3, "8 colour tiles of 6 x 6: %d x %d", px.w, px.h);
    const struct param *p = &net->layer[0].param[4];
    const float *w = net->param + p->offset + 4 * 27; /* filter 4: the middle tile */
    float low = w[0], high = w[0];
    for (int i = 0; i < 27; ++i) low = fminf(low, w[i]), high = fmaxf(high, w[i]);
    for (int c = 0; c < 3; ++c) {
        int x = 1 + 7 + 2 * 1, y = 1 + 7 + 2 * 2; /* its weight in row 2, column 1 */
        int want = (int)lrintf((w[c * 9 + 2 * 3 + 1] - low) / (high - low) * 255);
        CHECK(px.data[(y * px.w + x) * 3 + c] == want && px.data[((y + 1) * px.w + x + 1) * 3 + c] == want, "channel %d", c);
    }
    CHECK(pixels_write(&ctx, "filters.test.png", &px, 90) == ST_OK && pixels_read(&ctx, "filters.test.png", 0, &read) == ST_OK &&
              read.w == px.w && read.h == px.h && memcmp(read.data, px.data, (size_t)(px.w * px.h * 3)) == 0,
          "the PNG holds it: %s", ctx.error);
    unlink("filters.test.png");
    pixels_free(&px), pixels_free(&read);
    CHECK(visualize_filters(&ctx, net, 4, 1, &px, &m) == ST_OK && px.c == 1 && m.columns == 4 && m.rows == 6 && px.w == 4 * 4 + 1,
          "a row per filter, a tile per channel: %d x %d", m.columns, m.rows);
    pixels_free(&px);
    CHECK(visualize_filters(&ctx, net, 3, 1, &px, &m) == ST_USAGE && strstr(ctx.error, "layer 3 [shortcut]"), "%s", ctx.error);
    net_close(net);
}

/* --- Pictures that provoke a detection ------------------------------------------------------------------ */

#define SEER                                                                                                               \
    "[net]\nwidth=32\nheight=32\nchannels=3\n[dropout]\nprobability=.3\n"                                                 \
    "[convolutional]\nbatch_normalize=1\nfilters=6\nsize=3\nstride=2\npad=1\nactivation=mish\n"                           \
    "[convolutional]\nfilters=14\nsize=5\nstride=4\npad=1\nactivation=linear\n"                                           \
    "[yolo]\nmask=0,1\nanchors=16,16, 8,24\nclasses=2\nnum=2\n"
static const struct utility_weights seer_weights = { .obj = 1, .cls = 1, .iou = 4 };

static double utility(struct net *net, const float *x, const struct truth *t, float *gradient) {
    struct layer *l = &net->layer[3];
    int match[64];
    CHECK(net_forward(&ctx, net, x) == ST_OK, "%s", ctx.error);
    memset(l->head_delta, 0, shape_count(l->in_shape[0]) * sizeof *l->head_delta);
    int n = l->ops->head->assign(l, 0, t->box, 32, 32, match, 64);
    CHECK(n > 0, "an anchor takes the box");
    double u = 0;
    for (int i = 0; i < n; ++i) u += l->ops->head->utility(l, 0, match[i], t, &seer_weights, 1, 32, 32);
    if (!gradient) return u;
    CHECK(net_backward(&ctx, net) == ST_OK, "%s", ctx.error);
    net->be->ops->to_nchw(net->be, &net->dinput, gradient);
    return u;
}

static void test_input_gradient(void) {
    enum { N = 3 * 32 * 32 };
    static float x[N], g[N];
    const struct truth t = { { .45f, .55f, .5f, .4f }, 1, -1 };
    struct net *net = open_net(SEER, 12);
    struct backend *be = NULL;
    struct rng r = rng_stream(2, 0, 0);
    for (int i = 0; i < N; ++i) x[i] = (float)rng_uniform(&r);
    net->wants_dinput = true;
    CHECK(backend_open(&ctx, "ref64", &be) == ST_OK && net_bind(&ctx, net, be, NET_SCORE, 1) == ST_OK, "%s", ctx.error);
    utility(net, x, &t, g);
    int nonzero = 0;
    for (int k = 0; k < 200; ++k) {
        int i = rng_int(&r, 0, N - 1);
        const float h = 1.f / 256, old = x[i];
        nonzero += g[i] != 0;
        x[i] = old + h;
        double up = utility(net, x, &t, NULL);
        x[i] = old - h;
        double down = utility(net, x, &t, NULL);
        x[i] = old;
        CHECK_NEAR(g[i], (up - down) / (2 * (double)h), 2e-4, "value %d of the picture", i);
    }
    CHECK(nonzero > 5, "%d of 200 values matter", nonzero);
    net_close(net);
    backend_close(be);
}

static void test_provoke(void) {
    struct net *net = open_net(SEER, 12);
    struct backend *be = NULL;
    struct image x;
    struct provoke_options o = { .object = { { .45f, .55f, .5f, .45f }, 1, -1 }, .rounds = 60, .step = .02f, .limit = .5f, .thresh = .5f };
    struct provoke_result first = { 0 }, last = { 0 };
    net->wants_dinput = true;
    CHECK(backend_open(&ctx, "cpu", &be) == ST_OK && net_bind(&ctx, net, be, NET_SCORE, 1) == ST_OK, "%s", ctx.error);
    CHECK(image_new(&ctx, 32, 32, 3, &x) == ST_OK, "%s", ctx.error);
    for (int i = 0; i < 3 * 32 * 32; ++i) x.data[i] = .5f;
    o.rounds = 0;
    CHECK(provoke(&ctx, net, &o, &x, NULL, NULL, &first) == ST_OK && first.confidence < .5f, "%s: %g", ctx.error, (double)first.confidence);
    o.rounds = 60;
    CHECK(provoke(&ctx, net, &o, &x, NULL, NULL, &last) == ST_OK && last.confidence > .5f && last.rounds > 0, "%s: %g after %d rounds",
          ctx.error, (double)last.confidence, last.rounds);
    float change = 0;
    for (int i = 0; i < 3 * 32 * 32; ++i) change = fmaxf(change, fabsf(x.data[i] - .5f));
    CHECK_NEAR(change, last.change, 1e-6, "the largest change is told");
    CHECK(change <= .5f && change <= .02f * (float)last.rounds + 1e-5f, "steps and limit: %g", (double)change);
    for (int i = 0; i < 3 * 32 * 32; ++i) x.data[i] = .5f;
    o.limit = .03f, o.thresh = 1;
    CHECK(provoke(&ctx, net, &o, &x, NULL, NULL, &last) == ST_OK && last.rounds == 60, "%s", ctx.error);
    change = 0;
    for (int i = 0; i < 3 * 32 * 32; ++i) change = fmaxf(change, fabsf(x.data[i] - .5f));
    CHECK_NEAR(change, .03, 1e-6, "never beyond the limit");
    image_free(&x);
    net_close(net);
    backend_close(be);
}

int main(void) {
    test_anchors();
    test_input_gradient();
    test_provoke();
    test_average();
    test_batch_norm();
    test_batch_norm_of_matrices();
    test_input(RANGE_NET("0"));
    test_input(RANGE_NET("1"));
    test_input_refused();
    test_classifier_to_detector();
    test_recall();
    test_top();
    test_views();
    test_mirrored_views();
    test_filters();
    return test_end("commands");
}
