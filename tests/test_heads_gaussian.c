/* [Gaussian_yolo]: decoding, deltas against the formulas of the format, the utility's gradient.  And what [yolo] has for
 * special trainings: adversarial deltas, rejection of labels, embeddings, recorded labels. */
#include "head_rig.h"
#include "layers/head.h"

#define HEAD "[Gaussian_yolo]\nmask=1,2\nanchors=10,12, 20,16, 30,40\nnum=3\nclasses=3\n"
enum { PER = 12, ROWS = 4, COLS = 5, NET_W = 64, NET_H = 48, CHANNELS = 2 * PER, PLANE = ROWS * COLS };
static const double anchors[3][2] = { { 10, 12 }, { 20, 16 }, { 30, 40 } };
static const struct { const char *name; double side; } points[] = { { "center", 0 }, { "left_top", -1 }, { "right_bottom", 1 } };

static struct truth truths[4];
static struct truth_list lists[1];

static struct loss_args one_image(int n) {
    lists[0] = (struct truth_list){ n, 4, truths };
    return (struct loss_args){ .truth = lists, .batch = 1, .net_w = NET_W, .net_h = NET_H, .seen = 100000, .iteration = 1, .max_batches = 10 };
}

/* Activated entry e of a prediction. */
static double entry(const struct rig *r, int anchor, int row, int col, int e, double scale) {
    double v = r->l.head_x[at(r, PER, 0, anchor, row, col, e)];
    if (e != 4 && e != 6) v = sigmoid(v);
    return e == 0 || e == 2 ? v * scale - (scale - 1) / 2 : v;
}

static struct box box_of(const struct rig *r, int anchor, int row, int col, double scale, double side) {
    double w = exp(entry(r, anchor, row, col, 4, scale)) * anchors[anchor + 1][0] / NET_W;
    double h = exp(entry(r, anchor, row, col, 6, scale)) * anchors[anchor + 1][1] / NET_H;
    double x = (col + entry(r, anchor, row, col, 0, scale)) / COLS - side * w / 2;
    double y = (row + entry(r, anchor, row, col, 2, scale)) / ROWS - side * h / 2;
    return (struct box){ (float)x, (float)y, (float)w, (float)h };
}

/* --- Decoding ------------------------------------------------------------------------------------------------------- */

static void decode(int point, double scale) {
    char text[256];
    snprintf(text, sizeof text, HEAD "scale_x_y=%g\nyolo_point=%s\n", scale, points[point].name);
    struct rig r;
    OPEN(&r, text, CHANNELS, ROWS, COLS, 1, NET_INFER);
    fill_random(&r, 31, -3, 3);
    struct detection_list list = { .classes = 3 };
    CHECK(r.l.ops->head->decode(&ctx, &r.l, 0, NET_W, NET_H, .2f, &list) == ST_OK, "%s", ctx.error);
    float *active = calloc(rig_count(&r), sizeof *active);
    r.l.ops->head->activate(&r.l, r.l.head_x, active);
    int n = 0, likely = 0;
    for (int row = 0; row < ROWS; ++row)
        for (int col = 0; col < COLS; ++col)
            for (int a = 0; a < 2; ++a) {
                double v[PER], uncertain = 0;
                for (int e = 0; e < PER; ++e) {
                    v[e] = entry(&r, a, row, col, e, scale);
                    CHECK_NEAR(active[at(&r, PER, 0, a, row, col, e)], v[e], 1e-6, "activated entry %d", e);
                }
                if (!(v[8] > .2)) continue;
                if (n >= list.n) { ++n; continue; }
                const struct detection *d = &list.item[n++];
                struct box b = box_of(&r, a, row, col, scale, points[point].side);
                CHECK(fabsf(d->box.x - b.x) < 1e-5f && fabsf(d->box.y - b.y) < 1e-5f && fabsf(d->box.w - b.w) < 1e-5f && fabsf(d->box.h - b.h) < 1e-5f,
                      "%s: box %g %g, not %g %g", text, d->box.x, d->box.y, b.x, b.y);
                float uc[4];
                r.l.ops->head->uncertainty(&r.l, 0, d->prediction, uc);
                for (int e = 0; e < 4; ++e) {
                    uncertain += v[2 * e + 1] / 4;
                    CHECK_NEAR(uc[e], v[2 * e + 1], 1e-6, "uncertainty %d", e);
                }
                for (int k = 0; k < 3; ++k) {
                    double p = v[8] * v[9 + k] * (1 - uncertain);
                    CHECK_NEAR(d->prob[k], p > .2 ? p : 0, 1e-6, "class %d", k);
                    likely += p > .2;
                }
            }
    CHECK(n == list.n && n > 5 && likely > 3, "%d detections, %d expected", list.n, n);
    free(active);
    detections_free(&list);
    rig_close(&r);
}

/* --- Deltas ---------------------------------------------------------------------------------------------------------- */

/* What one coordinate with value v and uncertainty s learns from target t. */
static void normal(double v, double s, double t, double weight, double *coord, double *sigma) {
    double d = t - v, n = exp(-.5 * pow(d / s, 2)) / (sqrt(2 * acos(-1)) * (s + .3));
    double k = .5 * n / (n + 1e-9) * weight;
    *coord = k * (d / s) / s;
    *sigma = k * (pow(d / s, 2) / s - 1 / (s + .3));
}

static void loss_of(int point, const char *kind, enum iou_kind iou) {
    char text[512];
    double side = points[point].side;
    snprintf(text, sizeof text, HEAD "yolo_point=%s\niou_loss=%s\niou_normalizer=.5\nuc_normalizer=.25\nobj_normalizer=.8\nscale_x_y=1.1\n",
             points[point].name, kind);
    struct rig r;
    OPEN(&r, text, CHANNELS, ROWS, COLS, 1, NET_TRAIN);
    fill_random(&r, 32, -1, 1);
    struct box t = { .47f, .61f, 19 / 64.f, 17 / 48.f }; /* nearest anchor: 20 x 16, place 0 */
    truths[0] = (struct truth){ t, 2, 77 };
    struct loss_args args = one_image(1);
    struct loss_stats s;
    CHECK(r.l.ops->loss(&ctx, &r.l, &args, &s) == ST_OK && s.count == 1, "%s", ctx.error);
    double px = t.x + side * t.w / 2, py = t.y + side * t.h / 2, classes = 0, boxes = 0, sigmas = 0;
    int row = (int)(py * ROWS), col = (int)(px * COLS), prediction;
    CHECK(r.l.ops->head->assign(&r.l, 0, t, NET_W, NET_H, &prediction, 1) == 1 && prediction == row * COLS + col, "%s: cell of the point", text);
    const double target[4] = { px * COLS - col, py * ROWS - row, log(19. / 20), log(17. / 16) };
    struct box pred = box_of(&r, 0, row, col, 1.1, side);
    struct box_grad g = box_iou_darknet_grad(iou, pred, t);
    const double by_iou[4] = { g.x + side * g.w / 2, g.y + side * g.h / 2, g.w * exp(entry(&r, 0, row, col, 4, 1)),
                               g.h * exp(entry(&r, 0, row, col, 6, 1)) };
    for (int a = 0; a < 2; ++a)
        for (int y = 0; y < ROWS; ++y)
            for (int x = 0; x < COLS; ++x) {
                bool mine = a == 0 && y == row && x == col;
                double want[PER] = { 0 };
                want[8] = .8 * (mine - entry(&r, a, y, x, 8, 1));
                for (int e = 0; mine && e < 4; ++e) {
                    double c, u;
                    normal(entry(&r, 0, row, col, 2 * e, 1.1), entry(&r, 0, row, col, 2 * e + 1, 1), target[e], 2 - (double)t.w * t.h, &c, &u);
                    want[2 * e] = .5 * (iou == IOU_MSE ? c : by_iou[e]);
                    want[2 * e + 1] = .25 * u;
                }
                for (int k = 0; mine && k < 3; ++k) want[9 + k] = (k == 2) - entry(&r, 0, row, col, 9 + k, 1);
                for (int e = 0; e < PER; ++e) {
                    double got = -r.l.head_delta[at(&r, PER, 0, a, y, x, e)];
                    (e >= 8 ? (classes += got * got) : e % 2 ? (sigmas += got * got) : (boxes += got * got));
                    if (e == 8 && !mine && got == 0) continue; /* overlaps the truth */
                    CHECK_NEAR(got, want[e], 1e-5, "%s anchor %d row %d column %d entry %d", text, a, y, x, e);
                }
            }
    CHECK_NEAR(s.loss, rig_squares(&r), 1e-6, "cost");
    char part[128];
    double overlap = iou == IOU_MSE ? box_iou(pred, t) : box_giou(pred, t);
    snprintf(part, sizeof part, "Region 7 Avg IOU: %f, Class: %f, Obj: %f, No Obj: ", overlap, entry(&r, 0, row, col, 11, 1), entry(&r, 0, row, col, 8, 1));
    CHECK(!strncmp(s.line, part, strlen(part)), "%s, not %s", s.line, part);
    snprintf(part, sizeof part, ",  count: 1, class_loss = %.2f, iou_loss = %.2f, uc_loss = %.2f, total_loss = %.2f ", classes, boxes, sigmas, s.loss);
    CHECK(strstr(s.line, part), "%s has no %s", s.line, part);
    const struct head_run *run = r.l.run;
    CHECK(run->label[row * COLS + col] == 77 && run->label_class[row * COLS + col] == 2 && run->label[0] == -1, "recorded label");
    rig_close(&r);
}

/* Two classes on one prediction: the box's deltas are averaged; whether classes are set is read off class 0. */
static void shared_prediction(void) {
    float once[8], twice[PER];
    for (int n = 1; n <= 2; ++n) {
        struct rig r;
        OPEN(&r, HEAD, CHANNELS, ROWS, COLS, 1, NET_TRAIN);
        fill_random(&r, 33, -1, 1);
        for (int i = 0; i < 2; ++i) truths[i] = (struct truth){ { .47f, .61f, 19 / 64.f, 17 / 48.f }, 1 + i, -1 };
        struct loss_args args = one_image(n);
        struct loss_stats s;
        r.l.ops->loss(&ctx, &r.l, &args, &s);
        for (int e = 0; e < (n == 1 ? 8 : PER); ++e) (n == 1 ? once : twice)[e] = r.l.head_delta[at(&r, PER, 0, 0, 2, 2, e)];
        if (n == 2) {
            for (int e = 0; e < 8; ++e) CHECK_NEAR(twice[e], once[e], 1e-6, "entry %d: the mean of two equal deltas", e);
            CHECK_NEAR(twice[10], entry(&r, 0, 2, 2, 10, 1) - 1, 1e-6, "class 1 stays");
            CHECK_NEAR(twice[11], entry(&r, 0, 2, 2, 11, 1) - 1, 1e-6, "class 2 is renewed alone");
            CHECK(s.boxes == 2 && s.rewritten == 1, "counted as rewritten");
        }
        rig_close(&r);
    }
}

static void clipping(void) {
    struct rig r;
    OPEN(&r, HEAD "max_delta=.01\niou_loss=ciou\n", CHANNELS, ROWS, COLS, 1, NET_TRAIN);
    fill_random(&r, 34, -1, 1);
    truths[0] = (struct truth){ { .47f, .61f, 19 / 64.f, 17 / 48.f }, 1, -1 };
    struct loss_args args = one_image(1);
    struct loss_stats s;
    r.l.ops->loss(&ctx, &r.l, &args, &s);
    int clipped = 0;
    for (int e = 0; e < 8; ++e) {
        float d = fabsf(r.l.head_delta[at(&r, PER, 0, 0, 2, 2, e)]);
        CHECK(d <= .01f, "entry %d: %g", e, d);
        clipped += d == .01f;
    }
    CHECK(clipped >= 6, "%d are at the limit", clipped);
    rig_close(&r);
}

/* --- Utility ---------------------------------------------------------------------------------------------------------- */

static void utility(int point, bool probability) {
    char text[256];
    snprintf(text, sizeof text, HEAD "scale_x_y=1.1\niou_loss=giou\nyolo_point=%s\n", points[point].name);
    struct rig r;
    OPEN(&r, text, CHANNELS, ROWS, COLS, 1, NET_SCORE);
    fill_random(&r, 35, -1, 1);
    struct box b = box_of(&r, 1, 2, 3, 1.1, points[point].side);
    struct truth t = { { b.x + .2f * b.w, b.y - .15f * b.h, b.w * 1.1f, b.h * .9f }, 2, -1 };
    struct utility_weights u = { 1, .7, 4, probability };
    int prediction = (ROWS + 2) * COLS + 3, touched = 0;
    r.l.ops->head->utility(&r.l, 0, prediction, &t, &u, 1, NET_W, NET_H);
    float *grad = calloc(rig_count(&r), sizeof *grad);
    memcpy(grad, r.l.head_delta, rig_count(&r) * sizeof *grad);
    for (size_t i = 0; i < rig_count(&r); ++i) {
        float keep = r.l.head_x[i], step = 2e-3f;
        r.l.head_x[i] = keep + step;
        double up = r.l.ops->head->utility(&r.l, 0, prediction, &t, &u, 0, NET_W, NET_H);
        r.l.head_x[i] = keep - step;
        double down = r.l.ops->head->utility(&r.l, 0, prediction, &t, &u, 0, NET_W, NET_H);
        r.l.head_x[i] = keep;
        CHECK_NEAR(grad[i], (up - down) / (2 * (double)step), probability ? 1e-4 : 1e-3, "%s element %zu", text, i);
        touched += grad[i] != 0;
    }
    CHECK(touched == (probability ? 10 : 6), "%d values have a gradient", touched);
    free(grad);
    rig_close(&r);
}

static void section(void) {
    struct rig r;
    struct head_info i;
    char text[512];
    OPEN(&r, HEAD "nms_kind=cornersnms\niou_loss=giou\nyolo_point=right_bottom\nmax=30\n", CHANNELS, ROWS, COLS, 1, NET_INFER);
    r.l.ops->head->info(&r.l, &i);
    CHECK(i.nms_kind == NMS_CORNERS && i.type_number == 29 && i.max_boxes == 30 && i.predictions == 40 && i.embedding == 0, "info");
    r.l.ops->describe(&r.l, text, sizeof text);
    CHECK(!strcmp(text, "[Gaussian_yolo] iou loss: giou (1), iou_norm: 0.75, obj_norm: 1.00, cls_norm: 1.00, delta_norm: 1.00, scale: 1.00, point: 4"),
          "%s", text);
    rig_close(&r);
    CHECK(!rig_open(&r, HEAD, CHANNELS - 1, ROWS, COLS, 1, NET_INFER) && strstr(ctx.error, "filters=24"), "%s", ctx.error);
    rig_close(&r);
}

/* --- [yolo] in special trainings -------------------------------------------------------------------------------------- */

#define YOLO "[yolo]\nmask=1,2\nanchors=10,12, 20,16, 30,40\nnum=3\nclasses=3\nobj_normalizer=.5\n"
enum { YPER = 8 };

static void adversarial(void) {
    struct rig r;
    OPEN(&r, YOLO, 2 * YPER, ROWS, COLS, 1, NET_TRAIN);
    fill_random(&r, 36, -2, 2);
    struct loss_args args = one_image(0);
    struct loss_stats s;
    args.adversarial = true;
    r.l.ops->loss(&ctx, &r.l, &args, &s);
    int found = 0;
    for (int a = 0; a < 2; ++a)
        for (int row = 0; row < ROWS; ++row)
            for (int col = 0; col < COLS; ++col) {
                double v[YPER], want[YPER] = { 0 };
                for (int e = 0; e < YPER; ++e) {
                    v[e] = r.l.head_x[at(&r, YPER, 0, a, row, col, e)];
                    if (e != 2 && e != 3) v[e] = sigmoid(v[e]);
                }
                double scale = sqrt(exp(v[2]) * anchors[a + 1][0] / NET_W * exp(v[3]) * anchors[a + 1][1] / NET_H);
                bool any = false;
                for (int k = 5; k < YPER; ++k) any = any || v[k] * v[4] > .25;
                want[4] = -.5 * scale * v[4];
                for (int k = 5; any && k < YPER; ++k) want[k] = v[k] * v[4] > .25 ? -scale * v[k] : scale * (1 - v[k]);
                for (int e = 0; any && e < 4; ++e) want[e] = -scale * v[e];
                found += any;
                for (int e = 0; e < YPER; ++e) CHECK_NEAR(-r.l.head_delta[at(&r, YPER, 0, a, row, col, e)], want[e], 1e-5, "entry %d", e);
            }
    CHECK(found > 5 && found < 35, "%d predictions show something", found);
    rig_close(&r);
}

static struct net_options late(double percentage, double sigmas, int point) {
    return (struct net_options){ .badlabels_rejection_percentage = percentage, .num_sigmas_reject_badlabels = sigmas, .equidistant_point = point };
}

/* The rule written anew; the averages of one head over several batches. */
struct rejection { double max, avg, std, threshold; };
static void expect_rejection(double *d, int n, const struct net_options *o, double it, double max_batches, struct rejection *r) {
    double start = (int)(max_batches * 3 / 4), progress = (it - o->equidistant_point) / (max_batches - o->equidistant_point);
    double thr = r->avg * progress * 1.4, most = 0, sum = 0, used = 0;
    bool p = o->badlabels_rejection_percentage && it > start, s = o->num_sigmas_reject_badlabels && it > start;
    bool e = o->equidistant_point && it > o->equidistant_point;
    if (!p && !s && !e) return;
    for (int i = 0; i < n; ++i) most = fmax(most, fabs(d[i])), sum += fabs(d[i]), used += d[i] != 0;
    r->max = .99 * (r->max == 0 ? most : r->max) + .01 * most;
    r->avg = .99 * r->avg + .01 * sum / used;
    if (s) {
        double square = 0, final = r->avg + o->num_sigmas_reject_badlabels * r->std, pb = (it - start) / start;
        for (int i = 0; i < n; ++i) square += d[i] != 0 ? pow(d[i] - r->avg, 2) : 0;
        r->std = .99 * r->std + .01 * sqrt(square / used);
        double t = fmax(final, r->max - pb * fabs(r->max - final));
        for (int i = 0; i < n; ++i) d[i] = fabs(d[i]) > t ? 0 : d[i];
        thr = fmin(final, r->avg) * progress;
    }
    if (p) {
        double rejected = 0, all = 0;
        if (r->threshold == 0) r->threshold = r->max;
        for (int i = 0; i < n; ++i) {
            all += d[i] != 0;
            if (fabs(d[i]) > r->threshold) d[i] = 0, ++rejected;
        }
        if (100 * rejected * 8 / all > o->badlabels_rejection_percentage) r->threshold += .01;
        else if (r->threshold > .01) r->threshold -= .01;
    }
    for (int i = 0; e && i < n; ++i) d[i] = fabs(d[i]) < thr ? 0 : d[i];
}

static void rejection(double percentage, double sigmas, int point) {
    struct rig r, plain;
    struct net_options o = late(percentage, sigmas, point);
    OPEN(&plain, YOLO, 2 * YPER, ROWS, COLS, 1, NET_TRAIN);
    if (!rig_open(&r, YOLO, 2 * YPER, ROWS, COLS, 1, NET_TRAIN)) { CHECK(false, "%s", ctx.error); return; }
    CHECK(r.l.ops->shape(&ctx, &r.l, NULL, &o) == ST_OK, "%s", ctx.error);
    struct rejection state = { 0 };
    int n = (int)rig_count(&r), zeroed = 0, kept = 0;
    double *want = calloc((size_t)n, sizeof *want);
    for (int it = 70; it < 100; ++it) {
        fill_random(&plain, (uint64_t)it, -2, 2);
        memcpy(r.l.head_x, plain.l.head_x, (size_t)n * sizeof(float));
        truths[0] = (struct truth){ { .47f, .61f, 19 / 64.f, 17 / 48.f }, 1, -1 };
        struct loss_args args = one_image(1);
        struct loss_stats s;
        args.iteration = (uint64_t)it, args.max_batches = 100;
        plain.l.ops->loss(&ctx, &plain.l, &args, &s);
        r.l.ops->loss(&ctx, &r.l, &args, &s);
        for (int i = 0; i < n; ++i) want[i] = -plain.l.head_delta[i];
        expect_rejection(want, n, &o, it, 100, &state);
        int wrong = 0;
        for (int i = 0; i < n; ++i) {
            wrong += fabs(want[i] + r.l.head_delta[i]) > 1e-6;
            zeroed += plain.l.head_delta[i] != 0 && r.l.head_delta[i] == 0;
            kept += r.l.head_delta[i] != 0;
        }
        CHECK(wrong == 0, "%g%%, %g sigmas, point %d, iteration %d: %d deltas differ", percentage, sigmas, point, it, wrong);
        if (it <= 75 && !point) CHECK(zeroed == 0, "not before three quarters");
    }
    CHECK(zeroed > 5 && kept > 5, "%g%%, %g sigmas, point %d: %d rejected, %d kept", percentage, sigmas, point, zeroed, kept);
    free(want);
    rig_close(&plain);
    rig_close(&r);
}

int main(void) {
    static const struct { const char *name; enum iou_kind kind; } losses[] = { { "mse", IOU_MSE }, { "iou", IOU_PLAIN }, { "giou", IOU_GIOU },
                                                                               { "diou", IOU_DIOU }, { "ciou", IOU_CIOU } };
    for (int p = 0; p < 3; ++p) {
        decode(p, 1);
        decode(p, 1.2);
        utility(p, false);
        utility(p, true);
        for (int k = 0; k < 5; ++k) loss_of(p, losses[k].name, losses[k].kind);
    }
    shared_prediction();
    clipping();
    section();
    adversarial();
    rejection(5, 0, 0);
    rejection(0, 3, 0);
    rejection(0, 0, 72);
    rejection(5, 2, 72);
    return test_end("heads_gaussian");
}
