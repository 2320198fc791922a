/* include/darknet.h: layouts that wrappers rely on, and the same answers as the library gives. */
#include "test.h"

#include <stddef.h>
#include <unistd.h>

#include "base/io.h"
#include "darknet.h"
#include "eval/detect.h"

static char dir[64];

static char *in_dir(char *to, const char *name) {
    snprintf(to, 256, "%s/%s", dir, name);
    return to;
}

/* What is written to stderr between the two calls must be one line that holds `part`. */
static int stderr_before;

static void expect_complaint(void) {
    char path[256];
    fflush(stderr);
    stderr_before = dup(STDERR_FILENO);
    if (!freopen(in_dir(path, "err"), "w", stderr)) exit(1);
}

static void check_complaint(const char *part) {
    struct ctx ctx = { 0 };
    char path[256], *text = NULL;
    size_t size = 0;
    fflush(stderr);
    dup2(stderr_before, STDERR_FILENO);
    close(stderr_before);
    CHECK(io_read(&ctx, in_dir(path, "err"), &text, &size) == ST_OK, "%s", ctx.error);
    const char *end = text ? strchr(text, '\n') : NULL;
    CHECK(end && end[1] == '\0' && strncmp(text, "darknet: ", 9) == 0 && strstr(text, part), "one line: %s",
          text ? text : "");
    free(text);
}

static const char network_cfg[] =
    "[net]\nbatch=6\nsubdivisions=2\nwidth=32\nheight=32\nchannels=3\nmax_batches=6\nlearning_rate=0.001\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=4\npad=1\nactivation=leaky\n"
    "[convolutional]\nfilters=14\nsize=1\nstride=2\nactivation=linear\n"
    "[yolo]\nmask=0,1\nanchors=16,16, 8,24\nclasses=2\nnum=2\n";

static void make_files(void) {
    struct ctx ctx = { 0 };
    struct net *net = NULL;
    char cfg[256], path[256], text[700];
    io_write(&ctx, in_dir(cfg, "t.cfg"), network_cfg, strlen(network_cfg));
    CHECK(net_open(&ctx, cfg, false, &net) == ST_OK, "%s", ctx.error);
    if (!net) exit(test_end("api"));
    net_init_weights(net, 3);
    net->seen = 640;
    /* A wide spread of the last layer makes the answers differ from picture to picture. */
    const struct param *last = &net->layer[1].param[1];
    for (size_t i = 0; i < param_count(last); ++i) net->param[last->offset + i] *= 0.4f;
    for (int k = 0; k < net->layer[0].n_param; ++k) {
        const struct param *p = &net->layer[0].param[k];
        for (size_t i = 0; p->role == PARAM_VARIANCE && i < param_count(p); ++i)
            net->param[p->offset + i] = 1;
    }
    CHECK(net_save(&ctx, net, in_dir(path, "t.weights"), -1) == ST_OK, "%s", ctx.error);
    net_close(net);
    io_write(&ctx, in_dir(path, "t.names"), "cat\nbig dog\n", 12);
    snprintf(text, sizeof text, "classes=2\nnames=%s\n", path);
    io_write(&ctx, in_dir(path, "t.data"), text, strlen(text));
}

static void test_layouts(void) {
    CHECK(sizeof(image) == 24 && offsetof(image, data) == 16, "image");
    CHECK(sizeof(box) == 16, "box");
    CHECK(sizeof(metadata) == 16 && offsetof(metadata, names) == 8, "metadata");
    CHECK(offsetof(detection, classes) == 16 && offsetof(detection, best_class_idx) == 20 &&
              offsetof(detection, prob) == 24 && offsetof(detection, mask) == 32 &&
              offsetof(detection, objectness) == 40 && offsetof(detection, sort_class) == 44 &&
              offsetof(detection, uc) == 48 && offsetof(detection, points) == 56 &&
              offsetof(detection, embeddings) == 64 && offsetof(detection, embedding_size) == 72 &&
              offsetof(detection, sim) == 76 && offsetof(detection, track_id) == 80 &&
              sizeof(detection) == 88,
          "detection");
    CHECK(sizeof(det_num_pair) == 16 && offsetof(det_num_pair, dets) == 8, "det_num_pair");
}

/* A picture of `n` stacked ones, each with its own pattern. */
static image pattern(int w, int h, int n) {
    image im = make_image(w, h, 3 * n);
    for (int i = 0; i < w * h * 3 * n; ++i)
        im.data[i] = (float)((unsigned)i * 2654435761u >> 8) / 16777216.0f;
    im.c = 3;
    return im;
}

static void test_pictures(void) {
    image im = make_image(3, 2, 3);
    char bytes[18];
    for (int i = 0; i < 18; ++i) bytes[i] = (char)(i * 14);
    copy_image_from_bytes(im, bytes);
    CHECK(im.data[0] == 0 && im.data[1] == 42 / 255.0f && im.data[6] == 14 / 255.0f &&
              im.data[17] == 238 / 255.0f,
          "planes from bytes");
    rgbgr_image(im);
    CHECK(im.data[0] == 28 / 255.0f && im.data[12] == 0 && im.data[6] == 14 / 255.0f,
          "red and blue change places");
    image wide = resize_image(im, 6, 4), letter = letterbox_image(im, 6, 6);
    CHECK(wide.w == 6 && wide.h == 4 && wide.c == 3 && wide.data[0] == im.data[0], "resize");
    CHECK(letter.w == 6 && letter.h == 6 && letter.data[0] == 0.5f && letter.data[6] == im.data[0],
          "letter box");
    struct ctx ctx = { 0 };
    struct image view = { im.w, im.h, im.c, im.data };
    struct pixels px = { 0 };
    char path[256];
    CHECK(pixels_from_image(&ctx, &view, &px) == ST_OK &&
              pixels_write(&ctx, in_dir(path, "p.png"), &px, 90) == ST_OK,
          "%s", ctx.error);
    image back = load_image_color(path, 0, 0), sized = load_image_color(path, 9, 5);
    CHECK(back.w == 3 && back.h == 2 && fabsf(back.data[5] - im.data[5]) < 1e-6f, "load");
    CHECK(sized.w == 9 && sized.h == 5, "load at a size");
    pixels_free(&px);
    free_image(im), free_image(wide), free_image(letter), free_image(back), free_image(sized);
    expect_complaint();
    image none = load_image_color("/nowhere/x.png", 0, 0);
    check_complaint("/nowhere/x.png");
    CHECK(!none.data && none.w == 0, "an unreadable picture is empty");

    metadata meta = get_metadata(in_dir(path, "t.data"));
    CHECK(meta.classes == 2 && meta.names && strcmp(meta.names[1], "big dog") == 0, "metadata");
    free_ptrs((void **)meta.names, meta.classes);
}

/* What the library itself finds in the picture. */
static int reference(const char *cfg, const char *weights, image im, struct detection_list *list) {
    struct ctx ctx = { 0 };
    struct net *net = NULL;
    struct backend *be = NULL;
    struct image view = { im.w, im.h, im.c, im.data };
    struct detect_options opt = { .thresh = 0.05f };
    bool ok = net_open(&ctx, cfg, false, &net) == ST_OK &&
              net_load(&ctx, net, weights, LOAD_WHOLE, NULL) == ST_OK &&
              backend_open(&ctx, "cpu", &be) == ST_OK && net_bind(&ctx, net, be, NET_INFER, 1) == ST_OK &&
              detect_image(&ctx, net, &view, &opt, list) == ST_OK;
    CHECK(ok, "%s", ctx.error);
    net_close(net);
    backend_close(be);
    return list->n;
}

static void same_boxes(const char *what, const detection *dets, int n, const struct detection_list *list,
                       float sx, float sy) {
    CHECK(n == list->n && n > 0, "%s: %d boxes, the library finds %d", what, n, list->n);
    for (int i = 0; i < n && i < list->n; ++i) {
        const struct detection *d = &list->item[i];
        CHECK(d->box.w < 9 && d->box.h < 9, "the network's boxes are sane");
        CHECK_NEAR(dets[i].bbox.x, d->box.x * sx, 1e-5, "%s: x of %d", what, i);
        CHECK_NEAR(dets[i].bbox.h, d->box.h * sy, 1e-5, "%s: h of %d", what, i);
        CHECK_NEAR(dets[i].prob[1], d->prob[1], 1e-5, "%s: probability of %d", what, i);
        CHECK(dets[i].classes == 2, "%s", what);
    }
}

static void test_network(void) {
    char cfg[256], weights[256];
    in_dir(cfg, "t.cfg"), in_dir(weights, "t.weights");
    expect_complaint();
    CHECK(!load_network("/nowhere/t.cfg", weights, 0), "no cfg, no network");
    check_complaint("/nowhere/t.cfg");
    expect_complaint();
    CHECK(!load_network_custom(cfg, "/nowhere/t.weights", 0, 1), "no weights, no network");
    check_complaint("/nowhere/t.weights");
    network *net = load_network_custom(cfg, weights, 0, 1);
    CHECK(net, "loads");
    if (!net) return;
    CHECK(network_width(net) == 32 && network_height(net) == 32 && net->inputs == 3072 &&
              net->outputs == 14 * 16 && net->n == 3,
          "sizes");
    int num = -1;
    expect_complaint();
    CHECK(!get_network_boxes(net, 32, 32, .1f, .5f, NULL, 1, &num, 0) && num == 0,
          "no boxes before a prediction");
    check_complaint("before a prediction");

    image im = pattern(50, 40, 1);
    struct detection_list want = { 0 };
    reference(cfg, weights, im, &want);
    float *out = network_predict_image(net, im);
    CHECK(out && out[0] > 0 && out[0] < 1 && out[4 * 16] > 0 && out[4 * 16] < 1, "activated output");
    detection *dets = get_network_boxes(net, 50, 40, 0.05f, .5f, NULL, 0, &num, 0);
    same_boxes("one picture", dets, num, &want, 50, 40);
    do_nms_sort(dets, num, 2, 0.3f);
    int left = 0, dropped = 0;
    for (int i = 0; i < num; ++i)
        left += dets[i].prob[0] > 0 || dets[i].prob[1] > 0,
            dropped += !(dets[i].prob[0] > 0) && !(dets[i].prob[1] > 0);
    CHECK(left > 0 && dropped > 0, "suppression keeps some and drops some: %d, %d", left, dropped);
    free_detections(dets, num);
    detections_free(&want);

    /* Every picture of a batch gets its own answer, also when the batch grows. */
    image two = pattern(32, 32, 2), second = { 32, 32, 3, two.data + 3072 };
    det_num_pair *pairs = network_predict_batch(net, two, 2, 32, 32, 0.05f, .5f, NULL, 1, 0);
    CHECK(pairs, "batch");
    reference(cfg, weights, second, &want);
    if (pairs) same_boxes("second of a batch", pairs[1].dets, pairs[1].num, &want, 1, 1);
    free_batch_detections(pairs, 2);
    detections_free(&want);
    set_batch_network(net, 2);
    out = network_predict(*net, two.data);
    float first = out[0], other = out[14 * 16];
    set_batch_network(net, 1);
    out = network_predict_ptr(net, second.data);
    CHECK_NEAR(out[0], other, 1e-5, "the second picture alone, and in a batch");
    out = network_predict_image_letterbox(net, two);
    CHECK_NEAR(out[0], first, 1e-5, "the first picture alone, and in a batch");
    free_image(im), free_image(two);
    reset_rnn(net), init_cpu(), cuda_set_device(0);
    free_network_ptr(net);
    free(net);
    net = load_network(cfg, weights, 1);
    CHECK(net && net->batch == 3, "load_network takes the cfg's batch of one subdivision");
    free_network_ptr(net);
    free(net);
}

static void test_nms_obj(void) {
    float prob[3][2] = { { .9f, .1f }, { .2f, .8f }, { .5f, .5f } };
    detection d[3] = {
        { .bbox = { .5f, .5f, .4f, .4f }, .objectness = .5f, .prob = prob[0], .classes = 2, .track_id = 7 },
        { .bbox = { .5f, .52f, .4f, .4f }, .objectness = .9f, .prob = prob[1], .classes = 2, .track_id = 8 },
        { .bbox = { .1f, .1f, .1f, .1f }, .objectness = .7f, .prob = prob[2], .classes = 2, .track_id = 9 }
    };
    do_nms_obj(d, 3, 2, .45f);
    CHECK(d[0].track_id == 8 && d[1].track_id == 9 && d[2].track_id == 7, "by objectness");
    CHECK(d[0].prob[1] > 0 && d[1].prob[0] > 0 && d[2].objectness == 0 && d[2].prob[0] == 0 &&
              d[2].prob[1] == 0,
          "the overlapping one is cleared");
    d[2].objectness = .5f, d[2].prob[0] = .9f;
    diounms_sort(d, 3, 2, .45f, GREEDY_NMS, .6f);
    int kept = 0;
    for (int i = 0; i < 3; ++i) kept += d[i].prob[0] > 0 && d[i].prob[0] > .3f;
    CHECK(kept == 2, "class 0 keeps its best and the far one: %d", kept);
    for (int i = 0; i < 3; ++i)
        CHECK((d[i].track_id == 9) == (d[i].bbox.x < .2f), "entries stay whole when they move");
}

/* Fields that only some heads fill. */
static void test_extras(void) {
    static const char gaussian[] = "[net]\nwidth=16\nheight=16\nchannels=3\n"
                                   "[convolutional]\nfilters=22\nsize=3\nstride=8\npad=1\nactivation=linear\n"
                                   "[Gaussian_yolo]\nmask=0,1\nanchors=16,16, 8,24\nclasses=2\nnum=2\nyolo_point=left_top\n";
    static const char embedded[] = "[net]\nwidth=16\nheight=16\nchannels=3\n"
                                   "[convolutional]\nfilters=6\nsize=3\nstride=8\npad=1\nactivation=linear\n"
                                   "[convolutional]\nfilters=14\nsize=1\nactivation=linear\n"
                                   "[yolo]\nmask=0,1\nanchors=16,16, 8,24\nclasses=2\nnum=2\nembedding_layer=0\n";
    char cfg[256];
    struct ctx ctx = { 0 };
    image im = make_image(16, 16, 3);
    for (int i = 0; i < 3 * 16 * 16; ++i) im.data[i] = (float)(i % 97) / 97;
    for (int kind = 0; kind < 2; ++kind) {
        const char *text = kind ? embedded : gaussian;
        io_write(&ctx, in_dir(cfg, "t.cfg"), text, strlen(text));
        network *net = load_network_custom(cfg, NULL, 0, 1);
        CHECK(net != NULL, "%s", text);
        if (!net) continue;
        int n = 0;
        network_predict_image(net, im);
        detection *d = get_network_boxes(net, 16, 16, 1e-3f, .5f, NULL, 1, &n, 0);
        CHECK(n == 8, "%d boxes", n);
        bool differ = false;
        for (int i = 0; i < n; ++i) {
            const float *v = kind ? d[i].embeddings : d[i].uc;
            CHECK(v && (kind ? !d[i].uc && d[i].embedding_size == 3 && d[i].points == 0 : !d[i].embeddings && d[i].points == 2),
                  "kind %d: uc %d, embedding %d of %d, points %d", kind, d[i].uc != NULL, d[i].embeddings != NULL, d[i].embedding_size,
                  d[i].points);
            for (int k = 0; v && k < (kind ? 3 : 4); ++k) {
                CHECK(v[k] != 0 && (kind || (v[k] > 0 && v[k] < 1)), "kind %d: %g", kind, (double)v[k]);
                differ |= i > 0 && v[k] != (kind ? d[0].embeddings : d[0].uc)[k];
            }
        }
        CHECK(differ, "kind %d: every box has its own", kind);
        free_detections(d, n);
        free_network_ptr(net);
        free(net);
    }
    free_image(im);
}

/* Symbols in, symbols out, with a memory that reset_rnn empties. */
static void test_reset(void) {
    static const char text[] = "[net]\nwidth=4\nheight=4\nchannels=1\ntime_steps=1\n"
                               "[crnn]\noutput=2\nhidden=3\nsize=3\npad=1\nactivation=tanh\n";
    char cfg[256];
    struct ctx ctx = { 0 };
    float x[16], first, second, again;
    io_write(&ctx, in_dir(cfg, "t.cfg"), text, strlen(text));
    network *net = load_network_custom(cfg, NULL, 0, 1);
    CHECK(net != NULL, "%s", text);
    if (!net) return;
    for (int i = 0; i < 16; ++i) x[i] = (float)i / 16;
    reset_rnn(net);
    first = network_predict_ptr(net, x)[5];
    second = network_predict_ptr(net, x)[5];
    reset_rnn(net);
    again = network_predict_ptr(net, x)[5];
    CHECK(first != second && first == again, "%g %g %g", (double)first, (double)second, (double)again);
    free_network_ptr(net);
    free(net);
}

int main(void) {
    snprintf(dir, sizeof dir, "/tmp/test_api.XXXXXX");
    if (!mkdtemp(dir)) return 1;
    make_files();
    test_layouts();
    test_pictures();
    test_network();
    test_nms_obj();
    test_extras();
    test_reset();
    const char *const files[] = { "t.cfg", "t.weights", "t.names", "t.data", "p.png", "err" };
    char path[256];
    for (int i = 0; i < 6; ++i) unlink(in_dir(path, files[i]));
    rmdir(dir);
    return test_end("api");
}
