/* Overlaps against hand values, derivatives against differences, suppression per kind. */
#include "vision/box.h"

#include "base/rng.h"
#include "test.h"

static const enum iou_kind kinds[] = { IOU_PLAIN, IOU_GIOU, IOU_MSE, IOU_DIOU, IOU_CIOU };

/* An independent reading of the formulas in double, for differences; DIoU in the differentiable form IoU -
 * d^2/c^2. */
struct wide { double x, y, w, h; };

static double overlap(enum iou_kind kind, struct wide a, struct wide b, double alpha) {
    double l = fmax(a.x - a.w / 2, b.x - b.w / 2), r = fmin(a.x + a.w / 2, b.x + b.w / 2);
    double t = fmax(a.y - a.h / 2, b.y - b.h / 2), bo = fmin(a.y + a.h / 2, b.y + b.h / 2);
    double inter = r > l && bo > t ? (r - l) * (bo - t) : 0, uni = a.w * a.h + b.w * b.h - inter,
           iou = inter / uni;
    double cw = fmax(a.x + a.w / 2, b.x + b.w / 2) - fmin(a.x - a.w / 2, b.x - b.w / 2);
    double ch = fmax(a.y + a.h / 2, b.y + b.h / 2) - fmin(a.y - a.h / 2, b.y - b.h / 2);
    double far = ((a.x - b.x) * (a.x - b.x) + (a.y - b.y) * (a.y - b.y)) / (cw * cw + ch * ch);
    double angle = atan(b.w / b.h) - atan(a.w / a.h), v = 4 / (M_PI * M_PI) * angle * angle;
    switch (kind) {
    case IOU_GIOU: return iou - (cw * ch - uni) / (cw * ch);
    case IOU_DIOU: return iou - far;
    case IOU_CIOU: return iou - far - (alpha < 0 ? v / (1 - iou + v + 1e-6) : alpha) * v;
    default: return iou;
    }
}

static double trade_off(struct wide a, struct wide b) {
    double angle = atan(b.w / b.h) - atan(a.w / a.h), v = 4 / (M_PI * M_PI) * angle * angle;
    return v / (1 - overlap(IOU_PLAIN, a, b, -1) + v + 1e-6);
}

static struct wide widen(struct box b) { return (struct wide){ b.x, b.y, b.w, b.h }; }

static struct box random_box(struct rng *r) {
    return (struct box){ (float)rng_between(r, .2, .8), (float)rng_between(r, .2, .8),
                         (float)rng_between(r, .05, .6), (float)rng_between(r, .05, .6) };
}

static void hand_values(void) {
    struct box a = { .25f, .25f, .5f, .5f }, b = { .5f, .5f, .5f, .5f }, far = { .875f, .25f, .25f, .5f };
    CHECK_NEAR(box_iou(a, b), 1. / 7, 1e-7, "quarter overlap");
    CHECK_NEAR(box_giou(a, b), 1. / 7 - (.5625 - .4375) / .5625, 1e-7, "hull 0.75^2");
    CHECK_NEAR(box_diou(a, b), 1. / 7 - pow(.125 / 1.125, .6), 1e-7, "Darknet's exponent 0.6");
    CHECK_NEAR(box_ciou(a, b), 1. / 7 - .125 / 1.125, 1e-7, "same aspect");
    CHECK(box_iou(a, far) == 0, "apart");
    CHECK_NEAR(box_giou(a, far), -(.5 - .375) / .5, 1e-7, "hull 1 x 0.5");
    CHECK(box_iou(a, a) == 1 && box_giou(a, a) == 1 && box_diou(a, a) == 1 && box_ciou(a, a) == 1,
          "a box and itself");
    struct box touch = { .75f, .25f, .5f, .5f };
    CHECK(box_iou(a, touch) == 0, "sharing an edge");
    struct box point = { .25f, .25f, 0, 0 };
    CHECK(box_iou(point, point) == 0, "no area");
    CHECK(box_iou_of(IOU_MSE, a, b) == box_iou(a, b), "mse is plain");
}

static void agree_with_formulas(void) {
    struct rng r = rng_stream(5, 1, 0);
    for (int i = 0; i < 2000; ++i) {
        struct box a = random_box(&r), b = random_box(&r);
        struct wide wa = widen(a), wb = widen(b);
        CHECK_NEAR(box_iou(a, b), overlap(IOU_PLAIN, wa, wb, -1), 1e-6, "pair %d", i);
        CHECK_NEAR(box_giou(a, b), overlap(IOU_GIOU, wa, wb, -1), 1e-6, "pair %d", i);
        CHECK_NEAR(box_ciou(a, b), overlap(IOU_CIOU, wa, wb, -1), 1e-6, "pair %d", i);
        double far = overlap(IOU_PLAIN, wa, wb, -1) - overlap(IOU_DIOU, wa, wb, -1);
        CHECK_NEAR(box_diou(a, b), overlap(IOU_PLAIN, wa, wb, -1) - pow(far, .6), 1e-6, "pair %d", i);
        CHECK(box_iou(a, b) == box_iou(b, a) && box_giou(a, b) <= box_iou(a, b), "pair %d", i);
    }
}

static void exact_gradient(void) {
    struct rng r = rng_stream(6, 1, 0);
    double step = 1e-6;
    for (int i = 0; i < 1000; ++i) {
        struct box p = random_box(&r), t = random_box(&r);
        struct wide wt = widen(t), wp = widen(p);
        double alpha = trade_off(wp, wt);
        for (int k = 0; k < 5; ++k) {
            double value;
            struct box_grad g = box_iou_exact_grad(kinds[k], p, t, &value);
            const double got[4] = { g.x, g.y, g.w, g.h };
            CHECK_NEAR(value, overlap(kinds[k], wp, wt, alpha), 1e-6, "value, kind %d", kinds[k]);
            for (int e = 0; e < 4; ++e) {
                double low[4] = { p.x, p.y, p.w, p.h }, high[4] = { p.x, p.y, p.w, p.h };
                low[e] -= step, high[e] += step;
                double want =
                    (overlap(kinds[k], (struct wide){ high[0], high[1], high[2], high[3] }, wt, alpha) -
                     overlap(kinds[k], (struct wide){ low[0], low[1], low[2], low[3] }, wt, alpha)) /
                    (2 * step);
                CHECK_NEAR(got[e], want, 1e-4, "pair %d, kind %d, entry %d", i, kinds[k], e);
            }
        }
    }
    double value;
    struct box same = { .5f, .5f, .25f, .25f };
    struct box_grad g = box_iou_exact_grad(IOU_PLAIN, same, same, &value);
    CHECK(value == 1 && fabs(g.x) + fabs(g.y) + fabs(g.w) + fabs(g.h) < 1e-12,
          "a perfect box has nothing to gain");
}

/* Darknet's training gradient follows from the exact one where it is one, and departs from it in the
 * documented ways. */
static void darknet_gradient(void) {
    struct rng r = rng_stream(7, 1, 0);
    int seen = 0;
    for (int i = 0; i < 2000; ++i) {
        struct box p = random_box(&r), t = random_box(&r);
        double value;
        if (box_iou(p, t) <= 0) continue;
        ++seen;
        for (int k = 0; k < 3; ++k) {
            struct box_grad e = box_iou_exact_grad(kinds[k], p, t, &value),
                            d = box_iou_darknet_grad(kinds[k], p, t);
            CHECK_NEAR(d.x, e.x, 1e-9, "x, kind %d", kinds[k]);
            CHECK_NEAR(d.y, e.y, 1e-9, "y, kind %d", kinds[k]);
            CHECK_NEAR(d.w, 2 * e.w, 1e-9, "w is not halved, kind %d", kinds[k]);
            CHECK_NEAR(d.h, 2 * e.h, 1e-9, "h is not halved, kind %d", kinds[k]);
        }
        struct box_grad iou = box_iou_darknet_grad(IOU_PLAIN, p, t),
                        diou = box_iou_darknet_grad(IOU_DIOU, p, t);
        struct box_grad ciou = box_iou_darknet_grad(IOU_CIOU, p, t),
                        exact = box_iou_exact_grad(IOU_DIOU, p, t, &value);
        struct box_grad plain = box_iou_exact_grad(IOU_PLAIN, p, t, &value);
        CHECK_NEAR(diou.w - iou.w, exact.w - plain.w, 1e-9, "distance term of w");
        CHECK_NEAR(diou.h - iou.h, exact.h - plain.h, 1e-9, "distance term of h");
        /* x, y: the part that comes from the enclosing box has the wrong sign, so the sum of both leaves the
         * other part twice. */
        double cw = fmax(p.x + p.w / 2, t.x + t.w / 2) - fmin(p.x - p.w / 2, t.x - t.w / 2);
        double ch = fmax(p.y + p.h / 2, t.y + t.h / 2) - fmin(p.y - p.h / 2, t.y - t.h / 2),
               c = cw * cw + ch * ch;
        CHECK_NEAR(diou.x - iou.x + exact.x - plain.x, 4 * ((double)t.x - p.x) / c, 1e-5,
                   "distance term of x");
        CHECK_NEAR(diou.y - iou.y + exact.y - plain.y, 4 * ((double)t.y - p.y) / c, 1e-5,
                   "distance term of y");
        double angle = atan((double)t.w / t.h) - atan((double)p.w / p.h),
               alpha = trade_off(widen(p), widen(t));
        CHECK_NEAR(ciou.x, diou.x, 1e-12, "aspect does not move x");
        CHECK_NEAR(ciou.w - diou.w, alpha * 8 / (M_PI * M_PI) * angle * p.h, 1e-9, "aspect term of w");
        CHECK_NEAR(ciou.h - diou.h, -alpha * 8 / (M_PI * M_PI) * angle * p.w, 1e-9, "aspect term of h");
    }
    CHECK(seen > 200, "%d overlapping pairs", seen);
    /* Apart: only the terms that still pull. */
    struct box corner = { .2f, .2f, .2f, .2f }, other = { .8f, .8f, .2f, .2f };
    struct box_grad g = box_iou_darknet_grad(IOU_GIOU, corner, other); /* I = .16 (!), U = -.08, A = .64 */
    CHECK_NEAR(g.x, .46875, 1e-5, "GIoU apart, x");
    CHECK_NEAR(g.h, 1.40625, 1e-5, "GIoU apart, h");
    struct box p = { .2f, .5f, .2f, .2f }, t = { .8f, .5f, .2f, .2f };
    struct box_grad d = box_iou_darknet_grad(IOU_DIOU, p, t);
    double s = .36, c = .64 + .04; /* enclosing 0.8 x 0.2 */
    CHECK_NEAR(d.x, (2 * .6 * c - 2 * .8 * -1 * s) / (c * c), 1e-5,
               "DIoU alone, with upstream's sign of the second part");
    CHECK_NEAR(d.w, 2 * .8 * .5 * s / (c * c), 1e-5, "DIoU alone, w");
    struct box flat = { .5f, .5f, 0, 0 };
    CHECK(isfinite(box_iou_darknet_grad(IOU_PLAIN, flat, t).w), "a size of 0 is replaced by 1");
}

/* --- Suppression ------------------------------------------------------------------------------ */

static struct ctx ctx;

static struct detection *add(struct detection_list *list, struct box b, float objectness, float p0,
                             float p1) {
    struct detection *d;
    CHECK(detections_add(&ctx, list, &d) == ST_OK, "add");
    d->box = b;
    d->objectness = objectness;
    d->prob[0] = p0;
    d->prob[1] = p1;
    return d;
}

static const struct detection *find(const struct detection_list *list, float x) {
    for (int i = 0; i < list->n; ++i)
        if (list->item[i].box.x == x) return &list->item[i];
    return NULL;
}

/* Two boxes shifted against each other: IoU 0.6, (d^2/c^2)^0.6 = 0.059. */
static void suppression_kinds(void) {
    struct box a = { .5f, .5f, .4f, .4f }, b = { .6f, .5f, .4f, .4f };
    double iou = box_iou(a, b), diou = box_diou(a, b);
    CHECK_NEAR(iou, .6, 1e-6, "the case");
    struct { enum nms_kind kind; float beta, thresh; bool dropped; } cases[] = {
        { NMS_DEFAULT, .6f, (float)iou - .01f, true },  { NMS_DEFAULT, .6f, (float)iou + .01f, false },
        { NMS_CORNERS, .6f, (float)iou - .01f, true },  { NMS_GREEDY, .6f, (float)iou - .01f, false },
        { NMS_GREEDY, .6f, (float)diou - .01f, true },  { NMS_GREEDY, .1f, (float)diou - .01f, true },
        { NMS_DIOU, .6f, (float)diou - .01f, true },    { NMS_DIOU, .1f, (float)diou - .01f, false },
        { NMS_DIOU, 5, (float)iou - .01f, true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct detection_list list = { .classes = 2 };
        add(&list, b, .5f, .4f, .3f);
        add(&list, a, .9f, .8f, 0);
        detections_nms(&list, cases[i].thresh, cases[i].kind, cases[i].beta);
        const struct detection *worse = find(&list, b.x), *better = find(&list, a.x);
        CHECK(better->prob[0] == .8f, "case %zu: the better one stays", i);
        CHECK((worse->prob[0] == 0) == cases[i].dropped, "case %zu", i);
        CHECK(worse->prob[1] == .3f,
              "case %zu: another class is not touched, a box without that class suppresses nothing", i);
        detections_free(&list);
    }
}

static void suppression_order(void) {
    struct detection_list list = { .classes = 2 };
    /* Chain: a suppresses b; b, dropped, does not suppress c. */
    add(&list, (struct box){ .7f, .5f, .4f, .4f }, 1, .6f, 0);
    add(&list, (struct box){ .6f, .5f, .4f, .4f }, 1, .7f, .2f);
    add(&list, (struct box){ .1f, .1f, .1f, .1f }, 0, 0, 0);
    add(&list, (struct box){ .5f, .5f, .4f, .4f }, 1, .8f, .2f);
    detections_nms(&list, .45f, NMS_DEFAULT, .6f);
    CHECK(find(&list, .5f)->prob[0] > 0 && find(&list, .6f)->prob[0] == 0 && find(&list, .7f)->prob[0] > 0,
          "chain");
    CHECK(list.n == 4 && list.item[3].objectness == 0, "without objectness: last");
    CHECK(list.item[0].box.x == .5f && list.item[1].box.x == .6f && list.item[2].box.x == .7f,
          "order of the last class, equal probabilities in the order of the class before: %g %g %g",
          (double)list.item[0].box.x, (double)list.item[1].box.x, (double)list.item[2].box.x);
    CHECK(list.item[0].prob[1] == .2f && list.item[1].prob[1] == 0,
          "equal probabilities: the earlier one wins");
    detections_free(&list);
    detections_nms(&list, .45f, NMS_DEFAULT, .6f);
    CHECK(list.n == 0, "an empty list");
}

/* Against the plain statement of the rule: sort everything for every class, compare everything. */
static void suppression_reference(void) {
    enum { N = 300, CLASSES = 3 };
    struct rng r = rng_stream(8, 0, 0);
    struct detection_list list = { .classes = CLASSES };
    struct { struct box b; float p[CLASSES]; int order; } ref[N];
    for (int i = 0; i < N; ++i) {
        struct detection *d;
        detections_add(&ctx, &list, &d);
        d->objectness = 1;
        d->box = ref[i].b = random_box(&r);
        ref[i].order = i;
        d->box.x = ref[i].b.x = (float)i / N; /* names the box */
        for (int k = 0; k < CLASSES; ++k)
            d->prob[k] = ref[i].p[k] = rng_int(&r, 0, 2) ? (float)rng_int(&r, 1, 20) / 20 : 0;
    }
    for (int k = 0; k < CLASSES; ++k) {
        for (int i = 1; i < N; ++i) /* insertion sort: stable */
            for (int j = i; j > 0 && ref[j].p[k] > ref[j - 1].p[k]; --j) {
                __typeof__(ref[0]) s = ref[j];
                ref[j] = ref[j - 1];
                ref[j - 1] = s;
            }
        for (int i = 0; i < N; ++i)
            for (int j = i + 1; j < N && ref[i].p[k] != 0; ++j)
                if (box_diou(ref[i].b, ref[j].b) > .3) ref[j].p[k] = 0;
    }
    detections_nms(&list, .3f, NMS_GREEDY, .6f);
    int wrong = 0;
    for (int i = 0; i < N; ++i) {
        wrong += list.item[i].box.x != ref[i].b.x;
        for (int k = 0; k < CLASSES; ++k) wrong += list.item[i].prob[k] != ref[i].p[k];
    }
    CHECK(wrong == 0, "%d differences in order or probability", wrong);
    detections_free(&list);
}

static void lists(void) {
    struct detection_list list = { .classes = 4 };
    struct detection *d;
    for (int i = 0; i < 100; ++i) {
        detections_add(&ctx, &list, &d);
        d->prob[3] = 1;
        d->best_class = 2;
    }
    detections_clear(&list);
    CHECK(list.n == 0 && list.cap >= 100, "memory is kept");
    detections_add(&ctx, &list, &d);
    CHECK(d->prob[3] == 0 && d->best_class == -1 && d->objectness == 0, "a reused entry is clean");
    detections_free(&list);
    CHECK(list.item == NULL && list.cap == 0, "freed");
}

int main(void) {
    hand_values();
    agree_with_formulas();
    exact_gradient();
    darknet_gradient();
    suppression_kinds();
    suppression_order();
    suppression_reference();
    lists();
    return test_end("box");
}
