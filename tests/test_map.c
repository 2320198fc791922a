/* mAP on pictures whose pixels are the detections: a 1x1 convolution turns red into objectness, green and
 * blue into the two class scores, so every case has an AP that a pencil can find. */
#include "eval/map.h"

#include <dirent.h>
#include <unistd.h>

#include "base/io.h"
#include "test.h"

static struct ctx ctx;
static char folder[64];

enum { SIDE = 32 };
static const char cfg[] = "[net]\nwidth=32\nheight=32\nchannels=3\nbatch=1\n"
                          "[convolutional]\nfilters=7\nsize=1\nstride=1\nactivation=linear\n"
                          "[yolo]\nmask=0\nanchors=4,4\nnum=1\nclasses=2\n";

static struct net *open_net(struct backend *be, int batch) {
    struct cfg_doc *doc;
    struct net *net;
    if (cfg_parse(&ctx, "toy.cfg", cfg, sizeof cfg - 1, true, &doc) != ST_OK ||
        net_open_doc(&ctx, doc, true, &net) != ST_OK)
        return NULL;
    for (size_t i = 0; i < net->n_param; ++i) net->param[i] = 0;
    float *bias = net->param,
          *weight = net->param + 7; /* x = y = 0: the cell's centre; w = h = 0: the anchor's size */
    for (int k = 0; k < 3; ++k) {
        bias[4 + k] = -10;
        weight[(4 + k) * 3 + k] = 20;
    }
    if (net_bind(&ctx, net, be, NET_INFER, batch) != ST_OK || net_push(&ctx, net) != ST_OK) return NULL;
    return net;
}

static struct pixels canvas;

static void dot(int x, int y, double class0, double class1) {
    uint8_t *p = &canvas.data[(y * SIDE + x) * 3];
    const double prob[3] = { .9999, class0, class1 };
    for (int k = 0; k < 3; ++k) {
        double v = prob[k] <= 0 ? 0 : (log(prob[k] / (1 - prob[k])) + 10) / 20;
        p[k] = (uint8_t)lround(v * 255);
    }
}

static char *path_of(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_labels(const char *name, const char *text) {
    CHECK(io_write(&ctx, path_of(name), text, strlen(text)) == ST_OK, "%s", ctx.error);
}

static void save(const char *name, struct text_list *list) {
    CHECK(pixels_write(&ctx, path_of(name), &canvas, 100) == ST_OK, "%s", ctx.error);
    memset(canvas.data, 0, SIDE * SIDE * 3);
    list->item = realloc(list->item, (size_t)(list->n + 1) * sizeof *list->item);
    list->item[list->n++] = strdup(path_of(name));
}

/* A box of the anchor's size on the centre of cell (x, y). */
static void label(char *text, int class_id, int x, int y) {
    sprintf(text + strlen(text), "%d %.6f %.6f 0.125 0.125\n", class_id, (x + .5) / SIDE, (y + .5) / SIDE);
}

static void make_pictures(struct text_list *images, struct text_list *difficult) {
    char text[512] = "";
    /* Two dots at +-1 pixel overlap the truth by 12/20 each and one another by 8/24: both live, the second is
     * a duplicate. */
    dot(7, 8, .95, 0);
    dot(9, 8, .9, 0);
    dot(20, 8, .8, 0);
    dot(28, 28, .4, 0);
    label(text, 0, 8, 8), label(text, 0, 20, 8), label(text, 0, 20, 20);
    write_labels("one.txt", text);
    save("one.png", images);
    /* Order after suppression is class 1's: the box that is weak as class 0 comes first and takes the truth
     * at `thresh`, although in the ranking the strong one does. */
    text[0] = '\0';
    dot(7, 8, .2, .9);
    dot(9, 8, .7, 0);
    label(text, 0, 8, 8);
    write_labels("two.txt", text);
    save("two.png", images);
    /* A difficult object: its detection leaves the ranking. One truth of class 1 over the whole picture:
     * medium, missed. */
    text[0] = '\0';
    dot(16, 16, .99, 0);
    write_labels("three.txt", "1 0.5 0.5 1 1\n");
    save("three.png", images);
    label(text, 0, 16, 16);
    write_labels("hard.txt", text);
    write_labels("none.txt", "");
    static const char *const hard[] = { "none.png", "none.png", "hard.png" };
    difficult->item = calloc(3, sizeof *difficult->item);
    for (difficult->n = 0; difficult->n < 3; ++difficult->n)
        difficult->item[difficult->n] = strdup(path_of(hard[difficult->n]));
}

static void known_case(struct backend *be, int batch, const struct text_list *images,
                       const struct text_list *difficult) {
    struct net *net = open_net(be, batch);
    CHECK(net != NULL, "%s", ctx.error);
    if (!net) return;
    struct map_options o = { .thresh = .25f, .iou_thresh = .5f };
    struct map_result r;
    CHECK(map_evaluate(&ctx, net, images, difficult, &o, &r) == ST_OK, "%s", ctx.error);
    /* Class 0 by probability: .95 right, .9 duplicate, .8 right, .7 right (two.png), .4 wrong, .2 duplicate;
     * 4 truths. Precision 1 1/2 2/3 3/4 3/5 3/6, recall 1/4 1/4 2/4 3/4 3/4 3/4. */
    CHECK(r.classes == 2 && r.detections == 7 && r.unique_truths == 5, "%d detections, %d truths",
          r.detections, r.unique_truths);
    CHECK_NEAR(r.of[0].ap, .25 + .5 * .75, 1e-9, "area under the curve");
    CHECK(r.of[1].ap == 0, "class 1: nothing found");
    CHECK_NEAR(r.map, .3125, 1e-9, "mean");
    CHECK_NEAR(r.map_present, .3125, 1e-9, "both classes have truth");
    CHECK(r.of[0].tp == 2 && r.of[0].fp == 4, "class 0 at 0.25: %d right, %d wrong", r.of[0].tp, r.of[0].fp);
    CHECK(r.of[1].tp == 0 && r.of[1].fp == 1, "class 1 at 0.25: %d right, %d wrong", r.of[1].tp, r.of[1].fp);
    CHECK(r.tp == 2 && r.fp == 5 && r.fn == 3, "%d %d %d", r.tp, r.fp, r.fn);
    CHECK_NEAR(r.avg_iou, (.6 + 1) / 7, 1e-5, "mean overlap over right and wrong ones");
    CHECK_NEAR(r.precision, 2. / 7, 1e-9, "precision");
    CHECK_NEAR(r.recall, 2. / 5, 1e-9, "recall");
    CHECK_NEAR(r.f1, 1. / 3, 1e-9, "F1");
    CHECK(r.truths_size[MAP_SMALL] == 4 && r.truths_size[MAP_MEDIUM] == 1 && r.truths_size[MAP_LARGE] == 0,
          "sizes");
    CHECK_NEAR(r.map_size[MAP_SMALL], .625, 1e-9, "small: class 0 alone has truth");
    CHECK(r.map_size[MAP_MEDIUM] == 0 && r.map_size[MAP_LARGE] == -1, "medium missed, no large ones");
    map_free(&r);

    o.points = 11;
    CHECK(map_evaluate(&ctx, net, images, difficult, &o, &r) == ST_OK, "%s", ctx.error);
    CHECK_NEAR(r.of[0].ap, (3 * 1 + 5 * .75) / 11, 1e-9, "11 points: 0 to .2 at 1, .3 to .7 at 3/4");
    map_free(&r);
    CHECK(map_evaluate(&ctx, net, images, NULL, &o, &r) == ST_OK && r.detections == 8 && r.fp == 5,
          "without the difficult list");
    map_free(&r);
    o.iou_thresh = .65f;
    CHECK(map_evaluate(&ctx, net, images, difficult, &o, &r) == ST_OK && r.tp == 1,
          "a stricter overlap leaves the exact box");
    map_free(&r);
    net_unbind(net);
    net_close(net);
}

static void report(struct backend *be, const struct text_list *images, const struct text_list *difficult) {
    struct net *net = open_net(be, 1);
    struct map_options o = { .thresh = .25f, .iou_thresh = .5f };
    struct map_result r;
    char *text, *class_names[] = { "car", "traffic light" };
    struct text_list names = { 2, 2, class_names };
    CHECK(net && map_evaluate(&ctx, net, images, difficult, &o, &r) == ST_OK, "%s", ctx.error);
    CHECK(map_print(&ctx, &r, &names, &o, &text) == ST_OK, "%s", ctx.error);
    static const char want[] =
        "\n detections_count = 7, unique_truth_count = 5  \n"
        "class_id = 0, name = car, ap = 62.50%   \t (TP = 2, FP = 4) \n"
        "class_id = 1, name = traffic light, ap = 0.00%   \t (TP = 0, FP = 1) \n"
        "\n for conf_thresh = 0.25, precision = 0.29, recall = 0.40, F1-score = 0.33 \n"
        " for conf_thresh = 0.25, TP = 2, FP = 5, FN = 3, average IoU = 22.86 % \n"
        "\n IoU threshold = 50 %, used Area-Under-Curve for each unique Recall \n"
        " mean average precision (mAP@0.50) = 0.312500, or 31.25 % \n";
    CHECK(!strcmp(text, want), "got:\n%s", text);
    free(text);
    map_free(&r);
    net_unbind(net);
    net_close(net);
}

static void failures(struct backend *be, const struct text_list *images, const struct text_list *difficult) {
    struct net *net = open_net(be, 2);
    struct map_options o = { .thresh = .25f, .iou_thresh = .5f };
    struct map_result r;
    struct text_list two = { 2, 2, difficult->item };
    CHECK(map_evaluate(&ctx, net, images, &two, &o, &r) == ST_FORMAT && strstr(ctx.error, "difficult"), "%s",
          ctx.error);
    ctx_clear(&ctx);
    char *paths[] = { images->item[0], strdup(path_of("unlabelled.png")) };
    struct text_list list = { 2, 2, paths };
    CHECK(map_evaluate(&ctx, net, &list, NULL, &o, &r) == ST_IO && strstr(ctx.error, "unlabelled.png"),
          "no image: %s", ctx.error);
    ctx_clear(&ctx);
    CHECK(pixels_write(&ctx, paths[1], &canvas, 100) == ST_OK, "%s", ctx.error);
    CHECK(map_evaluate(&ctx, net, &list, NULL, &o, &r) == ST_OK, "a missing label file counts as empty: %s", ctx.error);
    int truths = r.unique_truths;
    map_free(&r);
    write_labels("unlabelled.txt", "5 .5 .5 .1 .1\n");
    CHECK(map_evaluate(&ctx, net, &list, NULL, &o, &r) == ST_OK && r.unique_truths == truths, "bad lines do not count: %s",
          ctx.error);
    map_free(&r);
    write_labels("unlabelled.txt", "");
    struct text_list empty = { 0, 0, NULL }, last = { 1, 1, paths + 1 };
    CHECK(map_evaluate(&ctx, net, &empty, NULL, &o, &r) == ST_OK && r.map == 0, "no images: %s", ctx.error);
    map_free(&r);
    CHECK(map_evaluate(&ctx, net, &last, NULL, &o, &r) == ST_OK && r.detections == 0, "no detections: %s",
          ctx.error);
    char *text;
    CHECK(map_print(&ctx, &r, NULL, &o, &text) == ST_OK &&
              strstr(text, "precision = -nan, recall = -nan, F1-score = -nan"),
          "%s", text);
    free(text);
    map_free(&r);
    free(paths[1]);
    net_unbind(net);
    net_close(net);
}

/* --- Detections: stretched and letterboxed ---------------------------------------------------- */

/* A picture twice as long as wide, with a dot of 2 x 2 pixels near its edge: one cell of the letterboxed
 * input. */
static void mapping_back(struct backend *be, bool tall) {
    struct net *net = open_net(be, 1);
    struct image im;
    struct detection_list list = { 0 };
    int w = tall ? 32 : 64, h = 96 - w, x0 = tall ? 2 : 20, y0 = tall ? 20 : 2;
    CHECK(image_new(&ctx, w, h, 3, &im) == ST_OK, "%s", ctx.error);
    for (int y = y0; y < y0 + 2; ++y)
        for (int x = x0; x < x0 + 2; ++x) im.data[y * w + x] = im.data[w * h + y * w + x] = 1;
    struct detect_options o = { .thresh = .25f, .nms = .45f, .letter_box = true };
    CHECK(detect_image(&ctx, net, &im, &o, &list) == ST_OK && list.classes == 2 && list.n > 0, "%s",
          ctx.error);
    struct box best = list.item[0].box;
    CHECK_NEAR(best.w, tall ? .25 : .125, 1e-6, "the bars are taken away");
    CHECK_NEAR(best.h, tall ? .125 : .25, 1e-6, "the bars are taken away");
    CHECK_NEAR(best.x, (x0 + 1.) / w, .04, "centre");
    CHECK_NEAR(best.y, (y0 + 1.) / h, .04, "centre");
    o.letter_box = false;
    CHECK(detect_image(&ctx, net, &im, &o, &list) == ST_OK && list.n > 0, "%s", ctx.error);
    best = list.item[0].box;
    CHECK(best.w == .125f && best.h == .125f, "stretched: relative sizes stay");
    CHECK_NEAR(best.x, (x0 + 1.) / w, .04, "centre");
    CHECK_NEAR(best.y, (y0 + 1.) / h, .04, "centre");
    image_free(&im);
    CHECK(image_new(&ctx, 8, 8, 1, &im) == ST_OK, "%s", ctx.error);
    CHECK(detect_image(&ctx, net, &im, &o, &list) == ST_USAGE, "one channel instead of three");
    ctx_clear(&ctx);
    image_free(&im);
    detections_free(&list);
    net_unbind(net);
    net_close(net);
}

/* A small box on an object that fills the picture: it belongs to the object's size. */
static void size_of_the_truth(struct backend *be) {
    struct net *net = open_net(be, 1);
    struct text_list one = { 0 };
    dot(16, 16, 0, .9);
    write_labels("four.txt", "1 0.5 0.5 1 1\n");
    save("four.png", &one);
    struct map_options o = { .thresh = .25f, .iou_thresh = .01f };
    struct map_result r;
    CHECK(net && map_evaluate(&ctx, net, &one, NULL, &o, &r) == ST_OK, "%s", ctx.error);
    CHECK(r.map_size[MAP_MEDIUM] == 1 && r.map_size[MAP_SMALL] == -1, "medium %g", r.map_size[MAP_MEDIUM]);
    CHECK(r.map == .5 && r.map_present == 1, "one of two classes has truth");
    map_free(&r);
    list_free(&one);
    net_unbind(net);
    net_close(net);
}

/* --- The recorded reports: read back and printed anew ----------------------------------------- */

static void chomp(char *s) {
    size_t n = strlen(s);
    while (n && strchr(" \t\r\n", s[n - 1])) s[--n] = '\0';
}

static bool reprint(const char *path) {
    FILE *f = fopen(path, "r");
    if (!f) return false;
    enum { MAX = 2000 };
    static char line[MAX][256], name[MAX][128];
    struct map_class *of = calloc(MAX, sizeof *of);
    char **names = calloc(MAX, sizeof *names);
    struct map_result r = { .of = of };
    struct map_options o = { 0 };
    int lines = 0, k, tp, fp;
    double v, w, x, u;
    while (lines < MAX && fgets(line[lines], sizeof line[0], f)) {
        char *s = line[lines];
        chomp(s);
        if (!*s || strstr(s, "calculation mAP")) continue;
        ++lines;
        sscanf(s, " detections_count = %d, unique_truth_count = %d", &r.detections, &r.unique_truths);
        if (sscanf(s, "class_id = %d,", &k) == 1 && k == r.classes && k < MAX) {
            char *from = strstr(s, "name = ") + 7, *to = strstr(s, ", ap = ");
            snprintf(name[k], sizeof name[0], "%.*s", (int)(to - from), from);
            sscanf(to, ", ap = %lf%% (TP = %d, FP = %d)", &v, &tp, &fp);
            of[k] = (struct map_class){ v / 100, tp, fp, 0 };
            names[k] = name[k];
            ++r.classes;
        }
        if (sscanf(s, " for conf_thresh = %lf, precision = %lf, recall = %lf, F1-score = %lf", &u, &v, &w,
                   &x) == 4)
            o.thresh = (float)u, r.precision = v, r.recall = w, r.f1 = x;
        if (sscanf(s, " for conf_thresh = %lf, TP = %d, FP = %d, FN = %d, average IoU = %lf", &u, &r.tp,
                   &r.fp, &r.fn, &v) == 5)
            r.avg_iou = v / 100;
        sscanf(s, " IoU threshold = %*d %%, used %d Recall", &o.points);
        if (sscanf(s, " mean average precision (mAP@%lf) = %lf", &u, &v) == 2)
            o.iou_thresh = (float)u, r.map = v;
    }
    fclose(f);
    struct text_list list = { r.classes, r.classes, names };
    char *text = NULL;
    CHECK(map_print(&ctx, &r, &list, &o, &text) == ST_OK, "%s", ctx.error);
    int at = 0, different = 0;
    for (char *s = strtok(text, "\n"); s; s = strtok(NULL, "\n")) {
        chomp(s);
        if (*s && (at >= lines || strcmp(s, line[at++]))) {
            ++different;
            printf("%s:\n  '%s'\n  '%s'\n", path, s, at ? line[at - 1] : "");
        }
    }
    CHECK(different == 0 && at == lines && r.classes > 0, "%s: %d different lines", path, different);
    free(text);
    free(of);
    free(names);
    return true;
}

static void recorded_layout(void) {
    const char *root = test_data("recorded mAP reports");
    char path[512];
    if (!root) return;
    snprintf(path, sizeof path, "%s/golden", root);
    DIR *d = opendir(path);
    int found = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        const char *dot_map = strstr(e->d_name, ".map");
        if (!dot_map || !strstr(dot_map, ".txt")) continue;
        snprintf(path, sizeof path, "%s/golden/%s", root, e->d_name);
        found += reprint(path);
    }
    if (d) closedir(d);
    if (!found) SKIP("no golden/*.map*.txt under %s", root);
}

static void remove_folder(void) {
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.') remove(path_of(e->d_name));
    if (d) closedir(d);
    rmdir(folder);
}

int main(void) {
    struct backend *be;
    strcpy(folder, "/tmp/test_map_XXXXXX");
    if (!mkdtemp(folder) || backend_open(&ctx, "ref", &be) != ST_OK ||
        pixels_new(&ctx, SIDE, SIDE, 3, &canvas) != ST_OK) {
        CHECK(false, "cannot set up: %s", ctx.error);
        return test_end("map");
    }
    struct text_list images = { 0 }, difficult = { 0 };
    make_pictures(&images, &difficult);
    known_case(be, 1, &images, &difficult);
    known_case(be, 2, &images, &difficult);
    known_case(be, 5, &images, &difficult);
    report(be, &images, &difficult);
    failures(be, &images, &difficult);
    mapping_back(be, false);
    mapping_back(be, true);
    size_of_the_truth(be);
    recorded_layout();
    list_free(&images);
    list_free(&difficult);
    pixels_free(&canvas);
    backend_close(be);
    remove_folder();
    return test_end("map");
}
