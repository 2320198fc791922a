#include "vision/box.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- Overlaps --------------------------------------------------------------------------------- */

double box_iou(struct box a, struct box b) { return overlap_iou(a, b); }
double box_giou(struct box a, struct box b) { return overlap_giou(a, b); }
double box_diou(struct box a, struct box b) { return overlap_apart(a, b, 0.6); }
double box_ciou(struct box a, struct box b) { return overlap_ciou(a, b); }
double box_iou_of(enum iou_kind kind, struct box a, struct box b) { return overlap_of(kind, a, b); }

/* --- Derivatives ------------------------------------------------------------------------------ */

struct box_grad box_iou_darknet_grad(enum iou_kind kind, struct box pred, struct box truth) {
    return overlap_darknet_grad(kind, pred, truth);
}

/* Slope of max(0, x): one half at the kink, so that the derivative there is what central differences give. */
static double step(double x) { return x > 0 ? 1 : x < 0 ? 0 : .5; }

/* Centre x (or y) and width (or height) from the two edges of one axis. */
static void to_centre(double low, double high, double *centre, double *size) {
    *centre = low + high;
    *size = (high - low) / 2;
}

struct box_grad box_iou_exact_grad(enum iou_kind kind, struct box pred, struct box truth, double *value) {
    struct overlap_edges p = overlap_edges_of(pred), q = overlap_edges_of(truth);
    double w = pred.w, h = pred.h;
    double iw = fmin(p.r, q.r) - fmax(p.l, q.l), ih = fmin(p.b, q.b) - fmax(p.t, q.t);
    bool meet = iw > 0 && ih > 0;
    double inter = meet ? iw * ih : 0, uni = w * h + (double)truth.w * truth.h - inter;
    double di_x = 0, di_w = 0, di_y = 0, di_h = 0;
    if (meet) {
        to_centre(-step(p.l - q.l) * ih, step(q.r - p.r) * ih, &di_x, &di_w);
        to_centre(-step(p.t - q.t) * iw, step(q.b - p.b) * iw, &di_y, &di_h);
    }
    double iou = uni > 0 ? inter / uni : 0;
    struct box_grad g = { 0, 0, 0, 0 };
    if (uni > 0) {
        g.x = overlap_quotient(inter, di_x, uni, -di_x);
        g.y = overlap_quotient(inter, di_y, uni, -di_y);
        g.w = overlap_quotient(inter, di_w, uni, h - di_w);
        g.h = overlap_quotient(inter, di_h, uni, w - di_h);
    }
    *value = iou;
    if (kind == IOU_PLAIN || kind == IOU_MSE) return g;

    double cw = fmax(p.r, q.r) - fmin(p.l, q.l), ch = fmax(p.b, q.b) - fmin(p.t, q.t), cw_x, cw_w, ch_y, ch_h;
    to_centre(-step(q.l - p.l), step(p.r - q.r), &cw_x, &cw_w);
    to_centre(-step(q.t - p.t), step(p.b - q.b), &ch_y, &ch_h);
    if (kind == IOU_GIOU) { /* IoU - 1 + U/A */
        double hull = cw * ch;
        if (hull <= 0) return g;
        *value = iou - (hull - uni) / hull;
        g.x += overlap_quotient(uni, -di_x, hull, cw_x * ch);
        g.y += overlap_quotient(uni, -di_y, hull, ch_y * cw);
        g.w += overlap_quotient(uni, h - di_w, hull, cw_w * ch);
        g.h += overlap_quotient(uni, w - di_h, hull, ch_h * cw);
        return g;
    }
    double c = cw * cw + ch * ch, dx = (double)pred.x - truth.x, dy = (double)pred.y - truth.y,
           s = dx * dx + dy * dy;
    if (c <= 0) return g;
    *value = iou - s / c;
    g.x -= overlap_quotient(s, 2 * dx, c, 2 * cw * cw_x);
    g.y -= overlap_quotient(s, 2 * dy, c, 2 * ch * ch_y);
    g.w -= overlap_quotient(s, 0, c, 2 * cw * cw_w);
    g.h -= overlap_quotient(s, 0, c, 2 * ch * ch_h);
    if (kind == IOU_CIOU) {
        double angle, alpha, v = overlap_aspect(pred, truth, iou, &angle, &alpha), r2 = w * w + h * h;
        *value -= alpha * v;
        if (r2 > 0) { /* d atan(w/h) = (h dw - w dh)/(w^2 + h^2) */
            g.w += alpha * 8 / (OVERLAP_PI * OVERLAP_PI) * angle * h / r2;
            g.h -= alpha * 8 / (OVERLAP_PI * OVERLAP_PI) * angle * w / r2;
        }
    }
    return g;
}

/* --- Detections ------------------------------------------------------------------------------- */

enum status detections_add(struct ctx *ctx, struct detection_list *list, struct detection **out) {
    size_t cap = (size_t)list->cap, classes = (size_t)list->classes;
    TRY(mem_grow(ctx, &list->item, &cap, (size_t)list->n + 1, sizeof *list->item));
    list->cap = (int)cap;
    struct detection *d = &list->item[list->n];
    if (!d->prob) {
        d->prob = mem_zero(ctx, classes, sizeof *d->prob);
        if (!d->prob) return ST_MEMORY;
    }
    memset(d->prob, 0, classes * sizeof *d->prob);
    d->box = (struct box){ 0, 0, 0, 0 };
    d->objectness = 0;
    d->best_class = d->head = d->prediction = -1;
    ++list->n;
    *out = d;
    return ST_OK;
}

void detections_clear(struct detection_list *list) { list->n = 0; }

void detections_free(struct detection_list *list) {
    for (int i = 0; i < list->cap; ++i) free(list->item[i].prob);
    free(list->item);
    *list = (struct detection_list){ .class_map = list->class_map };
}

/* --- Non-maximum suppression ------------------------------------------------------------------ */

/* rank: place in the order so far; index: of the detection, -1 once suppressed. */
struct candidate { float prob; int rank, index; };

static int by_prob(const void *a, const void *b) {
    const struct candidate *p = a, *q = b;
    if (p->prob != q->prob) return p->prob < q->prob ? 1 : -1;
    return p->rank < q->rank ? -1 : p->rank > q->rank;
}

static bool suppresses(struct box a, struct box b, float thresh, enum nms_kind kind, float beta) {
    double iou = box_iou(a, b);
    if (kind == NMS_DEFAULT || kind == NMS_CORNERS) return iou > thresh;
    /* The distance term only lowers the overlap, so most pairs never reach pow. */
    if (thresh >= 0 && !(iou > thresh)) return false;
    return overlap_apart(a, b, kind == NMS_GREEDY ? 0.6 : (double)beta) > thresh;
}

/* Upstream swaps with the last one, which decides the order of equal probabilities later. */
static int move_empty_to_end(struct detection *item, int n) {
    int last = n - 1;
    for (int i = 0; i <= last; ++i) {
        if (item[i].objectness != 0) continue;
        struct detection d = item[i];
        item[i] = item[last];
        item[last] = d;
        --last;
        --i;
    }
    return last + 1;
}

/* One class.  order[]: detections in their current order; afterwards those with a probability stand in front,
 * in falling probability: what sorting all of them stably would give, at the price of sorting the few that
 * matter. */
static void nms_class(struct detection *item, int n, int class_id, int *order, int *rest,
                      struct candidate *cand, float thresh, enum nms_kind kind, float beta) {
    int m = 0, others = 0;
    for (int i = 0; i < n; ++i) {
        float prob = item[order[i]].prob[class_id];
        if (prob > 0) cand[m++] = (struct candidate){ prob, i, order[i] };
        else rest[others++] = order[i];
    }
    if (m == 0) return;
    qsort(cand, (size_t)m, sizeof *cand, by_prob);
    for (int i = 0; i < m; ++i) order[i] = cand[i].index;
    memcpy(order + m, rest, (size_t)others * sizeof *order);
    for (int i = 0; i < m; ++i) {
        if (cand[i].index < 0) continue;
        struct box best = item[cand[i].index].box;
        for (int j = i + 1; j < m; ++j) {
            if (cand[j].index < 0 || !suppresses(best, item[cand[j].index].box, thresh, kind, beta)) continue;
            item[cand[j].index].prob[class_id] = 0;
            cand[j].index = -1;
        }
    }
}

void detections_nms(struct detection_list *list, float thresh, enum nms_kind kind, float beta) {
    int n = move_empty_to_end(list->item, list->n);
    if (n < 1) return;
    size_t count = (size_t)n;
    int *order = malloc(2 * count * sizeof *order);
    struct candidate *cand = malloc(count * sizeof *cand);
    struct detection *sorted = malloc(count * sizeof *sorted);
    if (order && cand && sorted) {
        for (int i = 0; i < n; ++i) order[i] = i;
        for (int k = 0; k < list->classes; ++k)
            nms_class(list->item, n, k, order, order + n, cand, thresh, kind, beta);
        for (int i = 0; i < n; ++i) sorted[i] = list->item[order[i]];
        memcpy(list->item, sorted, count * sizeof *sorted);
    }
    free(order);
    free(cand);
    free(sorted);
}

static int by_objectness(const void *a, const void *b) {
    float p = ((const struct detection *)a)->objectness, q = ((const struct detection *)b)->objectness;
    return p < q ? 1 : p > q ? -1 : 0;
}

void detections_nms_objectness(struct detection_list *list, float thresh) {
    if (list->n < 1) return;
    qsort(list->item, (size_t)list->n, sizeof *list->item, by_objectness);
    for (int i = 0; i < list->n; ++i) {
        if (list->item[i].objectness == 0) continue;
        for (int j = i + 1; j < list->n; ++j) {
            struct detection *d = &list->item[j];
            if (d->objectness == 0 || !(box_iou(list->item[i].box, d->box) > thresh)) continue;
            d->objectness = 0;
            memset(d->prob, 0, (size_t)list->classes * sizeof *d->prob);
        }
    }
}
