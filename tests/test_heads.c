/* Detection heads: decoding, training deltas, assignment and the utility's gradient, on layers made from cfg
 * text. */
#include "head_rig.h"

/* Small three-anchor head of three classes on a 64 x 48 network: 5 columns, 4 rows. */
#define SMALL "[yolo]\nmask=1,2\nanchors=10,12, 20,16, 30,40\nnum=3\nclasses=3\n"
enum { PER = 8, ROWS = 4, COLS = 5, NET_W = 64, NET_H = 48 };
static const double anchors[3][2] = { { 10, 12 }, { 20, 16 }, { 30, 40 } };

/* --- Decoding --------------------------------------------------------------------------------- */

static void expect_box(struct box b, struct box want, const char *what) {
    CHECK_NEAR(b.x, want.x, 1e-6, "%s", what);
    CHECK_NEAR(b.y, want.y, 1e-6, "%s", what);
    CHECK_NEAR(b.w, want.w, 1e-6, "%s", what);
    CHECK_NEAR(b.h, want.h, 1e-6, "%s", what);
}

/* Writes raw values that mean `b` into the cell that owns its centre. */
static void write_box(struct rig *r, int image, int local, struct box b, double scale, bool new_coords,
                      int *row, int *col) {
    *col = (int)(b.x * COLS), *row = (int)(b.y * ROWS);
    double sx = ((double)b.x * COLS - *col + (scale - 1) / 2) / scale,
           sy = ((double)b.y * ROWS - *row + (scale - 1) / 2) / scale;
    double w = b.w * NET_W / anchors[local + 1][0], h = b.h * NET_H / anchors[local + 1][1];
    double v[4] = { logit(sx), logit(sy), log(w), log(h) };
    if (new_coords) v[0] = sx, v[1] = sy, v[2] = sqrt(w) / 2, v[3] = sqrt(h) / 2;
    for (int e = 0; e < 4; ++e) r->l.head_x[at(r, PER, image, local, *row, *col, e)] = (float)v[e];
}

static void round_trip(const char *text, double scale, bool new_coords) {
    struct rig r;
    OPEN(&r, text, 2 * PER, ROWS, COLS, 2, NET_INFER);
    struct box b = { .47f, .81f, .35f, .2f };
    int row, col;
    for (size_t i = 0; i < rig_count(&r); ++i) r.l.head_x[i] = new_coords ? .001f : -9;
    write_box(&r, 1, 1, b, scale, new_coords, &row, &col);
    const double p[4] = { .9, .7, .2, .3 };
    for (int e = 0; e < 4; ++e)
        r.l.head_x[at(&r, PER, 1, 1, row, col, 4 + e)] = (float)(new_coords ? p[e] : logit(p[e]));
    struct detection_list list = { .classes = 3 };
    CHECK(r.l.ops->head->decode(&ctx, &r.l, 0, NET_W, NET_H, .25f, &list) == ST_OK && list.n == 0,
          "nothing in image 0");
    CHECK(r.l.ops->head->decode(&ctx, &r.l, 1, NET_W, NET_H, .25f, &list) == ST_OK && list.n == 1,
          "%d detections", list.n);
    if (list.n == 1) {
        expect_box(list.item[0].box, b, text);
        CHECK_NEAR(list.item[0].objectness, .9, 1e-6, "objectness");
        CHECK_NEAR(list.item[0].prob[0], .63, 1e-6, "probability");
        CHECK(list.item[0].prob[1] == 0, "0.18 is not above the threshold");
        CHECK_NEAR(list.item[0].prob[2], .27, 1e-6, "probability");
        CHECK(list.item[0].best_class == -1, "only region heads fill it");
    }
    detections_free(&list);
    rig_close(&r);
}

/* Every cell and anchor against the formulas of the format, in upstream's order. */
static void decode_all(const char *text, double scale, bool new_coords, float thresh) {
    struct rig r;
    OPEN(&r, text, 2 * PER, ROWS, COLS, 1, NET_INFER);
    fill_random(&r, 3, new_coords ? .01 : -4, new_coords ? .99 : 4);
    struct detection_list list = { .classes = 3 };
    r.l.ops->head->decode(&ctx, &r.l, 0, NET_W, NET_H, thresh, &list);
    float *active = calloc(rig_count(&r), sizeof *active);
    r.l.ops->head->activate(&r.l, r.l.head_x, active);
    int n = 0;
    for (int row = 0; row < ROWS; ++row)
        for (int col = 0; col < COLS; ++col)
            for (int a = 0; a < 2; ++a) {
                double v[PER];
                for (int e = 0; e < PER; ++e) {
                    v[e] = r.l.head_x[at(&r, PER, 0, a, row, col, e)];
                    if (!new_coords && e != 2 && e != 3) v[e] = sigmoid(v[e]);
                    if (e < 2) v[e] = v[e] * scale - (scale - 1) / 2;
                    CHECK_NEAR(active[at(&r, PER, 0, a, row, col, e)], v[e], 1e-6, "activated entry %d", e);
                }
                if (!(v[4] > thresh)) continue;
                if (n >= list.n) { ++n; continue; }
                const struct detection *d = &list.item[n++];
                double w = new_coords ? 4 * v[2] * v[2] : exp(v[2]),
                       h = new_coords ? 4 * v[3] * v[3] : exp(v[3]);
                struct box want = { (float)((col + v[0]) / COLS), (float)((row + v[1]) / ROWS),
                                    (float)(w * anchors[a + 1][0] / NET_W),
                                    (float)(h * anchors[a + 1][1] / NET_H) };
                expect_box(d->box, want, text);
                for (int k = 0; k < 3; ++k)
                    CHECK_NEAR(d->prob[k], v[4] * v[5 + k] > thresh ? v[4] * v[5 + k] : 0, 1e-6, "class %d",
                               k);
            }
    CHECK(n == list.n && n > 5, "%d detections, %d expected", list.n, n);
    free(active);
    detections_free(&list);
    rig_close(&r);
}

static void strange_values(void) {
    struct rig r;
    OPEN(&r, SMALL, 2 * PER, ROWS, COLS, 1, NET_INFER);
    for (size_t i = 0; i < rig_count(&r); ++i) r.l.head_x[i] = NAN;
    struct detection_list list = { .classes = 3 };
    r.l.ops->head->decode(&ctx, &r.l, 0, NET_W, NET_H, .1f, &list);
    CHECK(list.n == 0, "NaN never passes");
    for (size_t i = 0; i < rig_count(&r); ++i) r.l.head_x[i] = 60;
    r.l.ops->head->decode(&ctx, &r.l, 0, NET_W, NET_H, .999f, &list);
    CHECK(list.n == 2 * ROWS * COLS && list.item[0].prob[0] == 1, "saturated values pass: %d", list.n);
    detections_clear(&list);
    for (size_t i = 0; i < rig_count(&r); ++i) r.l.head_x[i] = -60;
    r.l.ops->head->decode(&ctx, &r.l, 0, NET_W, NET_H, 0, &list);
    CHECK(list.n == 2 * ROWS * COLS, "a threshold of 0 lets everything positive through: %d", list.n);
    detections_free(&list);
    rig_close(&r);
}

static void region_decode(void) {
    struct rig r;
    OPEN(&r, "[region]\nanchors=1,2, 3,1.5\nnum=2\nclasses=3\nsoftmax=1\n", 2 * PER, ROWS, COLS, 1,
         NET_INFER);
    fill_random(&r, 4, -3, 3);
    struct detection_list list = { .classes = 3 };
    r.l.ops->head->decode(&ctx, &r.l, 0, NET_W, NET_H, .3f, &list);
    float *active = calloc(rig_count(&r), sizeof *active);
    r.l.ops->head->activate(&r.l, r.l.head_x, active);
    int n = 0, place = 0;
    for (int row = 0; row < ROWS; ++row)
        for (int col = 0; col < COLS; ++col)
            for (int a = 0; a < 2; ++a) {
                double v[PER], sum = 0, best = 0;
                for (int e = 0; e < PER; ++e) v[e] = r.l.head_x[at(&r, PER, 0, a, row, col, e)];
                CHECK_NEAR(active[place], v[0], 1e-7, "cell-major, raw x");
                for (int k = 5; k < PER; ++k) sum += exp(v[k]);
                for (int k = 5; k < PER; ++k) v[k] = exp(v[k]) / sum;
                v[4] = sigmoid(v[4]);
                for (int e = 4; e < PER; ++e)
                    CHECK_NEAR(active[place + e], v[e], 1e-6, "activated entry %d", e);
                place += PER;
                int best_class = -1;
                for (int k = 5; k < PER; ++k)
                    if (v[4] * v[k] > .3 && v[4] * v[k] > best) best = v[4] * v[k], best_class = k - 5;
                if (best_class < 0) continue;
                if (n >= list.n) { ++n; continue; }
                const struct detection *d = &list.item[n++];
                const double aw[2] = { 1, 3 }, ah[2] = { 2, 1.5 };
                struct box want = { (float)((col + sigmoid(v[0])) / COLS),
                                    (float)((row + sigmoid(v[1])) / ROWS), (float)(exp(v[2]) * aw[a] / COLS),
                                    (float)(exp(v[3]) * ah[a] / ROWS) };
                expect_box(d->box, want, "region");
                CHECK(d->best_class == best_class && d->objectness == 1, "best class %d", d->best_class);
                CHECK_NEAR(d->prob[best_class], best, 1e-6, "probability");
            }
    CHECK(n == list.n && n > 3, "%d detections, %d expected", list.n, n);
    free(active);
    detections_free(&list);
    rig_close(&r);
}

/* --- Cross checks of the section -------------------------------------------------------------- */

static void expect_error(const char *text, int channels, const char *part) {
    struct rig r;
    CHECK(!rig_open(&r, text, channels, ROWS, COLS, 1, NET_TRAIN), "accepted: %s", text);
    CHECK(strstr(ctx.error, part), "'%s' has no '%s'", ctx.error, part);
    rig_close(&r);
}

static void errors(void) {
    expect_error(SMALL, 17, "filters=16");
    expect_error("[region]\nnum=5\nclasses=2\n", 16, "filters=35");
    expect_error("[yolo]\nmask=0,3\nnum=3\nclasses=3\n", 16, "mask");
    expect_error(SMALL "counters_per_class=1,2\n", 16, "counters_per_class");
    expect_error(SMALL "map=/no/such/file\n", 16, "/no/such/file");
}

static void head_infos(void) {
    struct rig r;
    struct head_info i;
    OPEN(&r, SMALL "nms_kind=greedynms\nbeta_nms=.7\njitter=.3\nrandom=1\nmax=33\n", 2 * PER, ROWS, COLS, 1,
         NET_INFER);
    r.l.ops->head->info(&r.l, &i);
    CHECK(i.classes == 3 && i.max_boxes == 33 && i.predictions == 2 * ROWS * COLS && i.nms_kind == NMS_GREEDY,
          "info");
    CHECK(i.beta_nms == .7 && i.jitter == .3 && i.random == 1 && i.resize == 1 && i.type_number == 28,
          "info");
    CHECK(r.l.head_delta == NULL, "no gradient memory for inference");
    char text[512];
    r.l.ops->describe(&r.l, text, sizeof text);
    CHECK(!strcmp(text, "yolo\n[yolo] params: iou loss: mse (2), iou_norm: 0.75, obj_norm: 1.00, "
                        "cls_norm: 1.00, delta_norm: 1.00, scale_x_y: 1.00"),
          "%s", text);
    rig_close(&r);
}

/* --- Training --------------------------------------------------------------------------------- */

static struct truth truths[4];
static struct truth_list lists[2];

static struct loss_args one_image(int n) {
    lists[0] = (struct truth_list){ n, 4, truths };
    lists[1] = (struct truth_list){ 0, 0, NULL };
    return (struct loss_args){ .truth = lists,
                               .batch = 1,
                               .net_w = NET_W,
                               .net_h = NET_H,
                               .seen = 100000,
                               .iteration = 1,
                               .max_batches = 10 };
}

static struct truth truth_of(float x, float y, float w, float h, int class_id) {
    return (struct truth){ { x, y, w, h }, class_id, -1 };
}

static double sum_squares(const struct rig *r) {
    double s = 0;
    for (size_t i = 0; i < rig_count(r); ++i) s += (double)r->l.head_delta[i] * r->l.head_delta[i];
    return s;
}

static void loss_of(struct rig *r, const struct loss_args *a, struct loss_stats *s) {
    CHECK(r->l.ops->loss(&ctx, &r->l, a, s) == ST_OK, "%s", ctx.error);
}

/* One truth, everything written out. */
static void plain_loss(void) {
    struct rig r;
    OPEN(&r, SMALL "iou_normalizer=.5\nobj_normalizer=.8\n", 2 * PER, ROWS, COLS, 1, NET_TRAIN);
    fill_random(&r, 11, -1, 1);
    truths[0] = truth_of(.47f, .81f, 19 / 64.f, 17 / 48.f, 2); /* nearest anchor: 20 x 16, place 0 */
    struct loss_args a = one_image(1);
    struct loss_stats s;
    loss_of(&r, &a, &s);
    const float *x = r.l.head_x, *d = r.l.head_delta;
    double cost = 0, box = 0;
    for (int anchor = 0; anchor < 2; ++anchor)
        for (int row = 0; row < ROWS; ++row)
            for (int col = 0; col < COLS; ++col) {
                bool mine = anchor == 0 && row == 3 && col == 2;
                double o = sigmoid(x[at(&r, PER, 0, anchor, row, col, 4)]), want[PER] = { 0 };
                want[4] = .8 * (mine ? o - 1 : o); /* the derivative of the cross-entropy */
                if (mine) {
                    double f = .5 * (2 - (double)truths[0].box.w * truths[0].box.h);
                    const float *v = &x[at(&r, PER, 0, 0, 3, 2, 0)];
                    size_t plane = ROWS * COLS;
                    want[0] = f * (sigmoid(v[0]) - (.47f * COLS - 2));
                    want[1] = f * (sigmoid(v[plane]) - (.81f * ROWS - 3));
                    want[2] = f * (v[2 * plane] - log(19. / 20));
                    want[3] = f * (v[3 * plane] - log(17. / 16));
                    for (int k = 0; k < 3; ++k) want[5 + k] = sigmoid(v[(size_t)(5 + k) * plane]) - (k == 2);
                }
                for (int e = 0; e < PER; ++e) {
                    float got = d[at(&r, PER, 0, anchor, row, col, e)];
                    if (e == 4 && !mine && got == 0) continue; /* ignored: overlaps the truth */
                    CHECK_NEAR(got, want[e], 1e-5, "anchor %d row %d column %d entry %d", anchor, row, col,
                               e);
                }
            }
    for (int e = 0; e < 4; ++e) box += pow(d[at(&r, PER, 0, 0, 3, 2, e)], 2);
    cost = sum_squares(&r);
    CHECK_NEAR(s.loss, cost, 1e-6, "mse: the sum of squares");
    CHECK_NEAR(s.class_loss, .8 * (cost - box), 1e-6, "class loss");
    CHECK_NEAR(s.iou_loss, cost - .8 * (cost - box), 1e-6, "iou loss is the rest");
    CHECK(s.count == 1 && s.boxes == 1 && s.rewritten == 0, "counts");
    char want[512];
    snprintf(want, sizeof want,
             "v3 (mse loss, Normalizer: (iou: 0.50, obj: 0.80, cls: 1.00) Region 7 Avg (IOU: %f), count: 1, "
             "class_loss = %f, iou_loss = %f, total_loss = %f ",
             s.iou_sum, s.class_loss, s.iou_loss, s.loss);
    CHECK(!strcmp(s.line, want), "'%s' is not '%s'", s.line, want);
    rig_close(&r);
}

static void line_without_details(void) {
    struct rig r;
    OPEN(&r, SMALL "show_details=0\niou_loss=ciou\ndelta_normalizer=.25\n", 2 * PER, ROWS, COLS, 2,
         NET_TRAIN);
    fill_random(&r, 12, -1, 1);
    struct loss_args a = one_image(0);
    a.batch = 2;
    struct loss_stats s;
    loss_of(&r, &a, &s);
    char want[512];
    snprintf(
        want, sizeof want,
        "v3 (iou loss, Normalizer: (iou: 0.75, obj: 1.00, cls: 1.00) Region 7 Avg (IOU: 0.000000), count: 1, "
        "total_loss = %f ",
        s.loss / 2);
    CHECK(!strcmp(s.line, want), "'%s' is not '%s'", s.line, want);
    CHECK_NEAR(16 * sum_squares(&r), s.loss, 1e-5,
               "delta_normalizer scales what goes back, not what is logged");
    rig_close(&r);
}

/* A prediction that overlaps a truth is left alone, but only where it also believes in some class. */
static void ignored_predictions(void) {
    struct rig r;
    OPEN(&r, SMALL "ignore_thresh=.6\n", 2 * PER, ROWS, COLS, 1, NET_TRAIN);
    int row, col;
    for (int likely = 0; likely < 2; ++likely) {
        for (size_t i = 0; i < rig_count(&r); ++i) r.l.head_x[i] = -5;
        struct box b = { .47f, .81f, 19 / 64.f, 17 / 48.f };
        write_box(&r, 0, 1, b, 1, false, &row, &col); /* the other anchor predicts it perfectly */
        r.l.head_x[at(&r, PER, 0, 1, row, col, 5)] = likely ? -1.f : -1.2f; /* 0.269, 0.231 */
        truths[0] = (struct truth){ b, 1, -1 };
        struct loss_args a = one_image(1);
        struct loss_stats s;
        loss_of(&r, &a, &s);
        float d = r.l.head_delta[at(&r, PER, 0, 1, row, col, 4)];
        CHECK((d == 0) == (likely == 1), "delta %g", (double)d);
    }
    rig_close(&r);
    OPEN(&r, SMALL "ignore_thresh=.6\nobjectness_smooth=1\n", 2 * PER, ROWS, COLS, 1, NET_TRAIN);
    for (size_t i = 0; i < rig_count(&r); ++i) r.l.head_x[i] = -5;
    write_box(&r, 0, 1, (struct box){ .47f, .81f, 19 / 64.f, 17 / 48.f }, 1, false, &row, &col);
    r.l.head_x[at(&r, PER, 0, 1, row, col, 5)] = 1;
    struct loss_args a = one_image(1);
    struct loss_stats s;
    loss_of(&r, &a, &s);
    CHECK_NEAR(r.l.head_delta[at(&r, PER, 0, 1, row, col, 4)], sigmoid(-5) - 1, 1e-5,
               "smooth: the target is the overlap");
    /* Assigned, but its objectness delta is set already: it stays with the background's. */
    CHECK_NEAR(r.l.head_delta[at(&r, PER, 0, 0, row, col, 4)], sigmoid(-5), 1e-5,
               "smooth keeps a delta that is not 0");
    rig_close(&r);
}

/* Sum of the GIoUs of both anchors' predictions in cell (2, 3). */
static double giou_sum(const struct rig *r, struct box t) {
    double sum = 0;
    for (int a = 0; a < 2; ++a) {
        const float *v = &r->l.head_x[at(r, PER, 0, a, 3, 2, 0)];
        size_t plane = ROWS * COLS;
        struct box p = { (float)((2 + sigmoid(v[0])) / COLS), (float)((3 + sigmoid(v[plane])) / ROWS),
                         (float)(exp(v[2 * plane]) * anchors[a + 1][0] / NET_W),
                         (float)(exp(v[3 * plane]) * anchors[a + 1][1] / NET_H) };
        sum += box_giou(p, t);
    }
    return sum;
}

static void many_anchors(void) {
    struct rig r;
    OPEN(&r, SMALL "iou_thresh=.2\niou_loss=giou\n", 2 * PER, ROWS, COLS, 1, NET_TRAIN);
    fill_random(&r, 13, -1, 1);
    int got[8];
    struct box b = { .47f, .81f, 19 / 64.f, 17 / 48.f };
    int n = r.l.ops->head->assign(&r.l, 0, b, NET_W, NET_H, got, 8);
    /* sizes: 20 x 16 is best; 30 x 40 overlaps 19*17/1200 = .269; 10 x 12 belongs to another head */
    CHECK(n == 2 && got[0] == 3 * COLS + 2 && got[1] == (ROWS + 3) * COLS + 2, "%d: %d %d", n, got[0],
          got[1]);
    CHECK(r.l.ops->head->assign(&r.l, 0, b, NET_W, NET_H, got, 1) == 1, "capacity");
    truths[0] = (struct truth){ b, 0, -1 };
    truths[1] = (struct truth){ b, 2, -1 };
    struct loss_args a = one_image(1);
    struct loss_stats s, twice;
    loss_of(&r, &a, &s);
    CHECK(s.count == 2 && s.boxes == 2 && s.rewritten == 0, "two anchors for one truth");
    double once[4];
    for (int e = 0; e < 4; ++e) once[e] = r.l.head_delta[at(&r, PER, 0, 0, 3, 2, e)];
    CHECK_NEAR(s.loss, .75 * (2 - giou_sum(&r, b)) / 2 + s.class_loss, 1e-5, "giou cost");
    a = one_image(2);
    loss_of(&r, &a, &twice);
    CHECK(twice.count == 4 && twice.rewritten == 2, "the second truth writes over the first");
    for (int e = 0; e < 4; ++e)
        CHECK_NEAR(r.l.head_delta[at(&r, PER, 0, 0, 3, 2, e)], once[e], 1e-5,
                   "the same box for two classes: the mean");
    for (int k = 0; k < 3; ++k) {
        double p = sigmoid(r.l.head_x[at(&r, PER, 0, 0, 3, 2, 5 + k)]);
        CHECK_NEAR(r.l.head_delta[at(&r, PER, 0, 0, 3, 2, 5 + k)], p - (k != 1), 1e-5,
                   "class %d: renewed alone", k);
    }
    rig_close(&r);
}

static void assignment(void) {
    struct rig r;
    OPEN(&r, SMALL, 2 * PER, ROWS, COLS, 1, NET_TRAIN);
    int got[8];
    CHECK(r.l.ops->head->assign(&r.l, 0, (struct box){ .5f, .5f, 10 / 64.f, 11 / 48.f }, NET_W, NET_H, got, 8) ==
              0,
          "the best anchor is another head's");
    int n = r.l.ops->head->assign(&r.l, 0, (struct box){ 1, 1, .5f, .9f }, NET_W, NET_H, got, 8);
    CHECK(n == 1 && got[0] == (ROWS + 3) * COLS + 4, "a centre on the border falls into the last cell: %d",
          got[0]);
    truths[0] = truth_of(1, 1, .5f, .9f, 0);
    truths[1] = truth_of(.5f, .5f, .5f, .9f, 3);
    truths[2] = truth_of(.5f, .5f, .5f, .9f, -1);
    struct loss_args a = one_image(3);
    struct loss_stats s;
    loss_of(&r, &a, &s);
    CHECK(s.count == 1, "classes out of range are skipped: %d", s.count);
    rig_close(&r);
    OPEN(&r, SMALL "max=1\n", 2 * PER, ROWS, COLS, 1, NET_TRAIN);
    truths[1] = truth_of(.5f, .5f, .5f, .9f, 1);
    loss_of(&r, &a, &s);
    CHECK(s.count == 1, "at most max boxes: %d", s.count);
    rig_close(&r);
}

static double class_delta_of(const char *text, int class_id, int k) {
    struct rig r;
    if (!rig_open(&r, text, 2 * PER, ROWS, COLS, 1, NET_TRAIN)) {
        CHECK(false, "%s", ctx.error);
        rig_close(&r);
        return 0;
    }
    for (size_t i = 0; i < rig_count(&r); ++i) r.l.head_x[i] = (float)logit(.3);
    truths[0] = truth_of(.47f, .81f, 19 / 64.f, 17 / 48.f, class_id);
    struct loss_args a = one_image(1);
    struct loss_stats s;
    loss_of(&r, &a, &s);
    double d = -r.l.head_delta[at(&r, PER, 0, 0, 3, 2, k < 0 ? 4 : 5 + k)];
    rig_close(&r);
    return d;
}

static void class_options(void) {
    CHECK_NEAR(class_delta_of(SMALL "cls_normalizer=5\n", 1, 1), .7, 1e-6,
               "cls_normalizer alone does nothing");
    CHECK_NEAR(class_delta_of(SMALL "label_smooth_eps=.1\n", 1, 1), .95 - .3, 1e-6, "smoothing, own class");
    CHECK_NEAR(class_delta_of(SMALL "label_smooth_eps=.1\n", 1, 0), .05 - .3, 1e-6, "smoothing, other class");
    double focal = -.5 * .7 * (2 * .3 * log(.3) + .3 - 1);
    CHECK_NEAR(class_delta_of(SMALL "focal_loss=1\n", 1, 1), .7 * focal, 1e-6, "focal, own class");
    CHECK_NEAR(class_delta_of(SMALL "focal_loss=1\n", 1, 2), -.3 * focal, 1e-6, "focal, other class");
#define COUNTED SMALL "counters_per_class=100,50,0\ncls_normalizer=.5\n"
    CHECK_NEAR(class_delta_of(COUNTED, 1, 1), .7 * 2 * .5, 1e-6, "class multiplier 100/50");
    CHECK_NEAR(class_delta_of(COUNTED, 1, 0), -.3, 1e-6, "other classes are not multiplied");
    CHECK_NEAR(class_delta_of(COUNTED, 1, -1), .7 * 2, 1e-6, "objectness is");
    CHECK_NEAR(class_delta_of(COUNTED "max_delta=10\n", 2, 2), .7 * 10 * .5, 1e-5,
               "a count of 0 is 1, capped by max_delta");
}

static void class_map(void) {
    char path[] = "/tmp/test_heads_XXXXXX";
    int fd = mkstemp(path);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!f) {
        SKIP("class map: no temporary file");
        return;
    }
    fputs("2\n0\r\n", f);
    fclose(f);
    char text[256];
    snprintf(text, sizeof text, SMALL "map=%s\n", path);
    CHECK_NEAR(class_delta_of(text, 0, 2), .7, 1e-6, "class 0 trains class 2");
    CHECK_NEAR(class_delta_of(text, 1, 0), .7, 1e-6, "class 1 trains class 0");
    CHECK_NEAR(class_delta_of(text, 2, 2), 0, 1e-6, "class 2 is not in the map");
    remove(path);
}

static void box_losses(void) {
    static const struct { const char *name; enum iou_kind kind; } kinds[] = {
        { "iou", IOU_PLAIN }, { "giou", IOU_GIOU }, { "diou", IOU_DIOU }, { "ciou", IOU_CIOU }
    };
    for (int k = 0; k < 4; ++k)
        for (int new_coords = 0; new_coords < 2; ++new_coords) {
            char text[256];
            snprintf(text, sizeof text, SMALL "iou_loss=%s\niou_normalizer=.07\nnew_coords=%d\nscale_x_y=2\n",
                     kinds[k].name, new_coords);
            struct rig r;
            OPEN(&r, text, 2 * PER, ROWS, COLS, 1, NET_TRAIN);
            int row, col;
            for (size_t i = 0; i < rig_count(&r); ++i) r.l.head_x[i] = .3f;
            struct box p = { .45f, .82f, .3f, .3f }, t = { .47f, .81f, 19 / 64.f, 17 / 48.f };
            write_box(&r, 0, 0, p, 2, new_coords, &row, &col);
            truths[0] = (struct truth){ t, 0, -1 };
            struct loss_args a = one_image(1);
            struct loss_stats s;
            loss_of(&r, &a, &s);
            struct box_grad g = box_iou_darknet_grad(kinds[k].kind, p, t);
            double ew = new_coords ? 1 : p.w * NET_W / 20, eh = new_coords ? 1 : p.h * NET_H / 16;
            const double want[4] = { g.x, g.y, g.w * ew, g.h * eh };
            for (int e = 0; e < 4; ++e)
                CHECK_NEAR(-r.l.head_delta[at(&r, PER, 0, 0, row, col, e)], .07 * want[e], 1e-5,
                           "%s entry %d", text, e);
            double error = 1 - (k == 1 ? box_giou(p, t) : box_iou(p, t));
            CHECK_NEAR(s.loss, .07 * error + s.class_loss, 1e-5, "cost of %s", kinds[k].name);
            rig_close(&r);
        }
    struct rig r;
    OPEN(&r, SMALL "iou_loss=iou\niou_normalizer=100\nmax_delta=2\n", 2 * PER, ROWS, COLS, 1, NET_TRAIN);
    fill_random(&r, 14, -1, 1);
    struct loss_args a = one_image(1);
    struct loss_stats s;
    loss_of(&r, &a, &s);
    double most = 0;
    for (int e = 0; e < 4; ++e) most = fmax(most, fabsf(r.l.head_delta[at(&r, PER, 0, 0, 3, 2, e)]));
    CHECK(most == 2, "clipped at max_delta: %g", most);
    rig_close(&r);
}

static void accepted_predictions(void) {
    struct rig r;
    OPEN(&r, SMALL "truth_thresh=.8\n", 2 * PER, ROWS, COLS, 1, NET_TRAIN);
    int row, col;
    for (size_t i = 0; i < rig_count(&r); ++i) r.l.head_x[i] = -2;
    struct box b = { .47f, .81f, 19 / 64.f, 17 / 48.f };
    write_box(&r, 0, 1, b, 1, false, &row, &col); /* by the anchor that the truth is not assigned to */
    truths[0] = (struct truth){ b, 1, -1 };
    struct loss_args a = one_image(1);
    struct loss_stats s;
    loss_of(&r, &a, &s);
    CHECK_NEAR(r.l.head_delta[at(&r, PER, 0, 1, row, col, 4)], sigmoid(-2) - 1, 1e-5, "trained as an object");
    CHECK_NEAR(r.l.head_delta[at(&r, PER, 0, 1, row, col, 6)], sigmoid(-2) - 1, 1e-5,
               "with the truth's class");
    CHECK(s.boxes == 2 && s.count == 1, "counted as a box, not as an assignment");
    rig_close(&r);
}

/* --- Region training -------------------------------------------------------------------------- */

#define REGION                                                                                               \
    "[region]\nanchors=1,2, 3,1.5\nnum=2\nclasses=3\nsoftmax=1\ncoord_scale=2\nobject_scale=5\nthresh=.6\n"

/* What the deltas are the gradient of: squared errors after the sigmoid, cross-entropy of the softmax. */
static double region_energy(const struct rig *r, int anchor, int row, int col, struct truth t,
                            double noobject) {
    double e = 0;
    for (int a = 0; a < 2; ++a)
        for (int y = 0; y < ROWS; ++y)
            for (int x = 0; x < COLS; ++x) {
                double v[PER], sum = 0;
                for (int k = 0; k < PER; ++k) v[k] = r->l.head_x[at(r, PER, 0, a, y, x, k)];
                double o = sigmoid(v[4]);
                if (a != anchor || y != row || x != col) {
                    e += noobject * o * o / 2;
                    continue;
                }
                const double aw[2] = { 1, 3 }, ah[2] = { 2, 1.5 };
                double dx = sigmoid(v[0]) - ((double)t.box.x * COLS - x),
                       dy = sigmoid(v[1]) - ((double)t.box.y * ROWS - y);
                double dw = v[2] - log(t.box.w * COLS / aw[a]), dh = v[3] - log(t.box.h * ROWS / ah[a]);
                for (int k = 5; k < PER; ++k) sum += exp(v[k]);
                e += (dx * dx + dy * dy + dw * dw + dh * dh) + 5 * (1 - o) * (1 - o) / 2 -
                     log(exp(v[5 + t.class_id]) / sum);
            }
    return e;
}

static void region_loss(void) {
    struct rig r;
    OPEN(&r, REGION "noobject_scale=.5\nbias_match=1\n", 2 * PER, ROWS, COLS, 1, NET_TRAIN);
    fill_random(&r, 15, -1, 1);
    truths[0] = truth_of(.47f, .81f, .55f, .4f, 1); /* 2.75 x 1.6 cells: anchor 1 */
    struct loss_args a = one_image(1);
    struct loss_stats s;
    loss_of(&r, &a, &s);
    CHECK_NEAR(s.loss, sum_squares(&r), 1e-6, "cost");
    int ignored = 0;
    for (size_t i = 0; i < rig_count(&r); ++i) {
        bool object = i / (ROWS * COLS) % PER == 4;
        if (object && r.l.head_delta[i] == 0) { ++ignored; continue; }
        float keep = r.l.head_x[i];
        double e[2];
        for (int side = 0; side < 2; ++side) {
            r.l.head_x[i] = keep + (side ? .01f : -.01f);
            e[side] = region_energy(&r, 1, 3, 2, truths[0], .5);
        }
        r.l.head_x[i] = keep;
        CHECK_NEAR(r.l.head_delta[i], (e[1] - e[0]) / .02, 2e-4, "element %zu", i);
    }
    CHECK(ignored < 5, "%d ignored", ignored);
    int got[2];
    CHECK(r.l.ops->head->assign(&r.l, 0, truths[0].box, NET_W, NET_H, got, 2) == 1 &&
              got[0] == (ROWS + 3) * COLS + 2,
          "assign %d", got[0]);
    a.seen = 0;
    loss_of(&r, &a, &s);
    double v = r.l.head_x[at(&r, PER, 0, 0, 0, 0, 2)], x = sigmoid(r.l.head_x[at(&r, PER, 0, 0, 0, 0, 0)]);
    CHECK_NEAR(r.l.head_delta[at(&r, PER, 0, 0, 0, 0, 2)], .01 * v, 1e-6,
               "warm-up draws the size to the anchor");
    CHECK_NEAR(r.l.head_delta[at(&r, PER, 0, 0, 0, 0, 0)], .01 * (x - .5) * x * (1 - x), 1e-6,
               "and the centre to the cell's");
    CHECK(!strncmp(s.line, "Region Avg IOU: ", 16) && strstr(s.line, ",  count: 1"), "%s", s.line);
    a = one_image(0);
    loss_of(&r, &a, &s);
    CHECK(strstr(s.line, "Region Avg IOU: -nan, Class: -nan, Obj: -nan, No Obj: 0."), "%s", s.line);
    rig_close(&r);
}

static void region_options(void) {
    struct rig r;
    OPEN(&r, REGION "rescore=1\nclassfix=-1\n", 2 * PER, ROWS, COLS, 1, NET_TRAIN);
    for (size_t i = 0; i < rig_count(&r); ++i) r.l.head_x[i] = 0;
    truths[0] = truth_of(.5f, .625f, .25f, .5f, 1); /* centre of cell (2, 2), a quarter wider than anchor 0 */
    struct loss_args a = one_image(1);
    struct loss_stats s;
    loss_of(&r, &a, &s);
    CHECK_NEAR(r.l.head_delta[at(&r, PER, 0, 0, 2, 2, 4)], 5 * (.5 - .8) / 4, 1e-5,
               "rescore: the target is the overlap");
    double iou = box_iou((struct box){ .5f, .375f, .2f, .5f }, truths[0].box);
    CHECK_NEAR(r.l.head_delta[at(&r, PER, 0, 0, 1, 2, 4)], (.5 - iou) / 4, 1e-5, "classfix=-1: everywhere");
    rig_close(&r);
}

/* --- Utility ---------------------------------------------------------------------------------- */

static void utility_gradient(const char *text, double low, double high, bool same_shape, bool probability) {
    struct rig r;
    OPEN(&r, text, 2 * PER, ROWS, COLS, 2, NET_SCORE);
    fill_random(&r, 16, low, high);
    const struct head_ops *h = r.l.ops->head;
    int prediction = (1 * ROWS + 2) * COLS + 3;
    struct utility_weights u = { 1, .7, 4, probability };
    struct truth t = truth_of(.7f, .62f, .3f, .35f, 2);
    for (int a = 0; a < 2; ++a) r.l.head_x[at(&r, PER, 1, a, 2, 3, 4)] = (float)high; /* sure to be decoded */
    for (int k = 5; k < PER; ++k) r.l.head_x[at(&r, PER, 1, 1, 2, 3, k)] = (float)high - .1f * (float)k;
    struct detection_list list = { .classes = 3 };
    h->decode(&ctx, &r.l, 1, NET_W, NET_H, 1e-9f, &list);
    /* The truth lies beside the prediction.  CIoU's trade-off is held constant: compare where its aspect has
     * no slope. */
    for (int i = 0; i < list.n; ++i) {
        struct box b = list.item[i].box;
        if (b.x * COLS < 3 || b.x * COLS > 4 || b.y * ROWS < 2 || b.y * ROWS > 3) continue;
        t.box = (struct box){ b.x + .2f * b.w, b.y - .15f * b.h, b.w * (same_shape ? .9f : 1.1f), b.h * .9f };
    }
    detections_free(&list);
    memset(r.l.head_delta, 0, rig_count(&r) * sizeof *r.l.head_delta);
    double value = h->utility(&r.l, 1, prediction, &t, &u, 1, NET_W, NET_H);
    CHECK(isfinite(value) && value != 0, "%s: %g", text, value);
    float *grad = malloc(rig_count(&r) * sizeof *grad);
    memcpy(grad, r.l.head_delta, rig_count(&r) * sizeof *grad);
    int touched = 0;
    for (size_t i = 0; i < rig_count(&r); ++i) {
        float keep = r.l.head_x[i], step = 2e-3f;
        r.l.head_x[i] = keep + step;
        double up = h->utility(&r.l, 1, prediction, &t, &u, 0, NET_W, NET_H);
        r.l.head_x[i] = keep - step;
        double down = h->utility(&r.l, 1, prediction, &t, &u, 0, NET_W, NET_H);
        r.l.head_x[i] = keep;
        CHECK_NEAR(grad[i], (up - down) / (2 * (double)step), 1e-3, "%s%s element %zu", text,
                   probability ? " (probability)" : "", i);
        touched += grad[i] != 0;
    }
    CHECK(touched >= 6, "%d entries have a gradient", touched);
    h->utility(&r.l, 1, prediction, &t, &u, -.5, NET_W, NET_H);
    bool halved = true;
    for (size_t i = 0; i < rig_count(&r); ++i)
        halved = halved && fabsf(r.l.head_delta[i] - .5f * grad[i]) < 1e-5f;
    CHECK(halved, "weights add up");
    memset(r.l.head_delta, 0, rig_count(&r) * sizeof *r.l.head_delta);
    size_t o = at(&r, PER, 1, 1, 2, 3, 4);
    float keep = r.l.head_x[o];
    double z = h->objectness(&r.l, 1, prediction, 2), d = r.l.head_delta[o];
    r.l.head_x[o] = keep + 1e-3f;
    double up = h->objectness(&r.l, 1, prediction, 0);
    r.l.head_x[o] = keep - 1e-3f;
    double down = h->objectness(&r.l, 1, prediction, 0);
    CHECK_NEAR(d, 2 * (up - down) / 2e-3, 1e-3, "objectness gradient");
    CHECK(up > z && z > down, "objectness logit");
    free(grad);
    rig_close(&r);
}

static void utilities(void) {
    for (int probability = 0; probability < 2; ++probability) {
        utility_gradient(SMALL, -1, 1, false, probability);
        utility_gradient(SMALL "scale_x_y=1.2\niou_loss=giou\n", -1, 1, false, probability);
        utility_gradient(SMALL "scale_x_y=1.05\niou_loss=diou\n", -1, 1, false, probability);
        utility_gradient(SMALL "scale_x_y=1.05\niou_loss=ciou\n", -1, 1, true, probability);
        utility_gradient(SMALL "new_coords=1\nscale_x_y=2\niou_loss=ciou\n", .2, .8, true, probability);
        utility_gradient(SMALL "new_coords=1\nscale_x_y=2\niou_loss=iou\n", .2, .8, false, probability);
        utility_gradient(REGION, -1, 1, false, probability);
        utility_gradient("[region]\nanchors=1,2, 3,1.5\nnum=2\nclasses=3\n", -1, 1, false, probability);
    }
    struct rig r;
    OPEN(&r, SMALL "new_coords=1\n", 2 * PER, ROWS, COLS, 1, NET_SCORE);
    for (size_t i = 0; i < rig_count(&r); ++i) r.l.head_x[i] = 1; /* saturated */
    struct truth t = truth_of(.7f, .62f, .3f, .35f, 2);
    struct utility_weights u = { 1, 1, 4, false };
    CHECK(isfinite(r.l.ops->head->utility(&r.l, 0, 3, &t, &u, 1, NET_W, NET_H)),
          "saturated values stay finite");
    bool finite = true;
    for (size_t i = 0; i < rig_count(&r); ++i) finite = finite && isfinite(r.l.head_delta[i]);
    CHECK(finite, "and so does the gradient");
    rig_close(&r);
}

int main(void) {
    round_trip(SMALL, 1, false);
    round_trip(SMALL "scale_x_y=1.2\n", 1.2, false);
    round_trip(SMALL "new_coords=1\nscale_x_y=2\n", 2, true);
    decode_all(SMALL, 1, false, .24f);
    decode_all(SMALL "scale_x_y=1.05\n", 1.05, false, .005f);
    decode_all(SMALL "new_coords=1\nscale_x_y=2\n", 2, true, .3f);
    strange_values();
    region_decode();
    errors();
    head_infos();
    plain_loss();
    line_without_details();
    ignored_predictions();
    many_anchors();
    assignment();
    class_options();
    class_map();
    box_losses();
    accepted_predictions();
    region_loss();
    region_options();
    utilities();
    return test_end("heads");
}
