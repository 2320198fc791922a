#include "vision/box.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PI 3.14159265358979323846

/* --- Overlaps --------------------------------------------------------------------------------- */

struct edges { double l, r, t, b; };

static struct edges edges_of(struct box a) {
    double x = a.x, y = a.y, w = a.w, h = a.h;
    return (struct edges){ x - w / 2, x + w / 2, y - h / 2, y + h / 2 };
}

/* Everything that the four overlaps are made of. */
struct pair { double inter, uni, cw, ch, distance2; };

static struct pair pair_of(struct box a, struct box b) {
    struct edges p = edges_of(a), q = edges_of(b);
    double iw = fmin(p.r, q.r) - fmax(p.l, q.l), ih = fmin(p.b, q.b) - fmax(p.t, q.t);
    double dx = (double)a.x - b.x, dy = (double)a.y - b.y;
    struct pair r;
    r.inter = iw < 0 || ih < 0 ? 0 : iw * ih;
    r.uni = (double)a.w * a.h + (double)b.w * b.h - r.inter;
    r.cw = fmax(p.r, q.r) - fmin(p.l, q.l);
    r.ch = fmax(p.b, q.b) - fmin(p.t, q.t);
    r.distance2 = dx * dx + dy * dy;
    return r;
}

/* At most 1: rounding must not lift equal boxes over a threshold of 1. */
static double pair_iou(const struct pair *p) {
    return p->inter == 0 || p->uni == 0 ? 0 : fmin(1, p->inter / p->uni);
}
static double pair_diagonal2(const struct pair *p) { return p->cw * p->cw + p->ch * p->ch; }

double box_iou(struct box a, struct box b) {
    /* Most pairs are apart: two float comparisons per axis decide that. */
    if (fabsf(a.x - b.x) * 2 > (a.w + b.w) * 1.0001f || fabsf(a.y - b.y) * 2 > (a.h + b.h) * 1.0001f)
        return 0;
    struct pair p = pair_of(a, b);
    return pair_iou(&p);
}

double box_giou(struct box a, struct box b) {
    struct pair p = pair_of(a, b);
    double hull = p.cw * p.ch;
    return hull == 0 ? pair_iou(&p) : pair_iou(&p) - (hull - p.uni) / hull;
}

/* IoU - (d^2/c^2)^exponent. */
static double box_iou_apart(struct box a, struct box b, double exponent) {
    struct pair p = pair_of(a, b);
    double c = pair_diagonal2(&p);
    return c == 0 ? pair_iou(&p) : pair_iou(&p) - pow(p.distance2 / c, exponent);
}

double box_diou(struct box a, struct box b) { return box_iou_apart(a, b, 0.6); }

/* The aspect term of CIoU: *trade_off is alpha; the return value is (4/pi^2)*angle^2. */
static double aspect_term(struct box a, struct box b, double iou, double *angle, double *trade_off) {
    *angle = atan((double)b.w / b.h) - atan((double)a.w / a.h);
    double v = 4 / (PI * PI) * *angle * *angle;
    *trade_off = v / (1 - iou + v + 0.000001);
    return v;
}

double box_ciou(struct box a, struct box b) {
    struct pair p = pair_of(a, b);
    double c = pair_diagonal2(&p), iou = pair_iou(&p), angle, alpha;
    if (c == 0) return iou;
    double v = aspect_term(a, b, iou, &angle, &alpha);
    return iou - (p.distance2 / c + alpha * v);
}

double box_iou_of(enum iou_kind kind, struct box a, struct box b) {
    switch (kind) {
    case IOU_GIOU: return box_giou(a, b);
    case IOU_DIOU: return box_diou(a, b);
    case IOU_CIOU: return box_ciou(a, b);
    case IOU_PLAIN:
    case IOU_MSE: break;
    }
    return box_iou(a, b);
}

/* --- Derivatives ------------------------------------------------------------------------------ */

/* Derivatives with respect to the predicted edges. */
struct edge_grad { double l, r, t, b; };

struct derivation {
    struct edges p, q;
    double iw, ih, inter, uni, cw, ch;
    struct edge_grad di, du, dcw, dch;
};

/* COMPAT: derivatives of Darknet hold without overlap, too: Iw and Ih are then negative lengths, and it uses
 * them so. */
static struct derivation darknet_parts(struct box pred, struct box truth) {
    struct derivation d = { .p = edges_of(pred), .q = edges_of(truth) };
    if (d.p.l > d.p.r) { double s = d.p.l; d.p.l = d.p.r; d.p.r = s; }
    if (d.p.t > d.p.b) { double s = d.p.t; d.p.t = d.p.b; d.p.b = s; }
    double w = d.p.r - d.p.l, h = d.p.b - d.p.t;
    d.iw = fmin(d.p.r, d.q.r) - fmax(d.p.l, d.q.l);
    d.ih = fmin(d.p.b, d.q.b) - fmax(d.p.t, d.q.t);
    d.inter = d.iw * d.ih;
    d.uni = w * h + (d.q.b - d.q.t) * (d.q.r - d.q.l) - d.inter;
    d.cw = fmax(d.p.r, d.q.r) - fmin(d.p.l, d.q.l);
    d.ch = fmax(d.p.b, d.q.b) - fmin(d.p.t, d.q.t);
    d.di = (struct edge_grad){ d.p.l > d.q.l ? -d.ih : 0, d.p.r < d.q.r ? d.ih : 0, d.p.t > d.q.t ? -d.iw : 0,
                               d.p.b < d.q.b ? d.iw : 0 };
    d.du = (struct edge_grad){ -h - d.di.l, h - d.di.r, -w - d.di.t, w - d.di.b };
    d.dcw = (struct edge_grad){ .l = d.p.l < d.q.l ? -1 : 0, .r = d.p.r > d.q.r ? 1 : 0 };
    d.dch = (struct edge_grad){ .t = d.p.t < d.q.t ? -1 : 0, .b = d.p.b > d.q.b ? 1 : 0 };
    return d;
}

static double quotient(double num, double dnum, double den, double dden) {
    return (den * dnum - num * dden) / (den * den);
}

/* Edges to centre form, width and height at full weight (the edges move by half of them). */
static struct box_grad darknet_centre(struct edge_grad g) {
    return (struct box_grad){ g.l + g.r, g.t + g.b, g.r - g.l, g.b - g.t };
}

/* The distance and aspect terms of DIoU and CIoU as Darknet trains with them. */
static struct box_grad darknet_distance(const struct derivation *d, enum iou_kind kind, struct box pred,
                                        struct box truth) {
    double c = d->cw * d->cw + d->ch * d->ch;
    double dx = (double)truth.x - pred.x, dy = (double)truth.y - pred.y, s = dx * dx + dy * dy;
    struct box_grad g = { 0, 0, 0, 0 };
    if (c <= 0) return g;
    double cw_x = d->dcw.r + d->dcw.l, ch_y = d->dch.b + d->dch.t;
    double cw_w = (d->dcw.r - d->dcw.l) / 2, ch_h = (d->dch.b - d->dch.t) / 2;
    g.x = (2 * dx * c - 2 * d->cw * cw_x * s) / (c * c);
    g.y = (2 * dy * c - 2 * d->ch * ch_y * s) / (c * c);
    g.w = 2 * d->cw * cw_w * s / (c * c);
    g.h = 2 * d->ch * ch_h * s / (c * c);
    if (kind == IOU_CIOU) {
        double angle, alpha;
        aspect_term(pred, truth, d->inter / d->uni, &angle, &alpha);
        g.w += alpha * 8 / (PI * PI) * angle * pred.h;
        g.h -= alpha * 8 / (PI * PI) * angle * pred.w;
    }
    return g;
}

struct box_grad box_iou_darknet_grad(enum iou_kind kind, struct box pred, struct box truth) {
    if (pred.w == 0) pred.w = 1;
    if (pred.h == 0) pred.h = 1;
    struct derivation d = darknet_parts(pred, truth);
    bool apart = d.iw <= 0 || d.ih <= 0;
    struct edge_grad e = { 0, 0, 0, 0 };
    if (d.uni > 0)
        e = (struct edge_grad){ quotient(d.inter, d.di.l, d.uni, d.du.l),
                                quotient(d.inter, d.di.r, d.uni, d.du.r),
                                quotient(d.inter, d.di.t, d.uni, d.du.t),
                                quotient(d.inter, d.di.b, d.uni, d.du.b) };
    double hull = d.cw * d.ch;
    if (kind == IOU_GIOU && (hull > 0 || apart)) {
        struct edge_grad g = { quotient(d.uni, d.du.l, hull, d.dcw.l * d.ch),
                               quotient(d.uni, d.du.r, hull, d.dcw.r * d.ch),
                               quotient(d.uni, d.du.t, hull, d.dch.t * d.cw),
                               quotient(d.uni, d.du.b, hull, d.dch.b * d.cw) };
        if (apart) e = g;
        else e = (struct edge_grad){ e.l + g.l, e.r + g.r, e.t + g.t, e.b + g.b };
    }
    struct box_grad out = darknet_centre(e);
    if (kind == IOU_DIOU || kind == IOU_CIOU) {
        struct box_grad g = darknet_distance(&d, kind, pred, truth);
        if (apart) return g;
        out.x += g.x, out.y += g.y, out.w += g.w, out.h += g.h;
    }
    return out;
}

/* Slope of max(0, x): one half at the kink, so that the derivative there is what central differences give. */
static double step(double x) { return x > 0 ? 1 : x < 0 ? 0 : .5; }

/* Centre x (or y) and width (or height) from the two edges of one axis. */
static void to_centre(double low, double high, double *centre, double *size) {
    *centre = low + high;
    *size = (high - low) / 2;
}

struct box_grad box_iou_exact_grad(enum iou_kind kind, struct box pred, struct box truth, double *value) {
    struct edges p = edges_of(pred), q = edges_of(truth);
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
        g.x = quotient(inter, di_x, uni, -di_x);
        g.y = quotient(inter, di_y, uni, -di_y);
        g.w = quotient(inter, di_w, uni, h - di_w);
        g.h = quotient(inter, di_h, uni, w - di_h);
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
        g.x += quotient(uni, -di_x, hull, cw_x * ch);
        g.y += quotient(uni, -di_y, hull, ch_y * cw);
        g.w += quotient(uni, h - di_w, hull, cw_w * ch);
        g.h += quotient(uni, w - di_h, hull, ch_h * cw);
        return g;
    }
    double c = cw * cw + ch * ch, dx = (double)pred.x - truth.x, dy = (double)pred.y - truth.y,
           s = dx * dx + dy * dy;
    if (c <= 0) return g;
    *value = iou - s / c;
    g.x -= quotient(s, 2 * dx, c, 2 * cw * cw_x);
    g.y -= quotient(s, 2 * dy, c, 2 * ch * ch_y);
    g.w -= quotient(s, 0, c, 2 * cw * cw_w);
    g.h -= quotient(s, 0, c, 2 * ch * ch_h);
    if (kind == IOU_CIOU) {
        double angle, alpha, v = aspect_term(pred, truth, iou, &angle, &alpha), r2 = w * w + h * h;
        *value -= alpha * v;
        if (r2 > 0) { /* d atan(w/h) = (h dw - w dh)/(w^2 + h^2) */
            g.w += alpha * 8 / (PI * PI) * angle * h / r2;
            g.h -= alpha * 8 / (PI * PI) * angle * w / r2;
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
    return box_iou_apart(a, b, kind == NMS_GREEDY ? 0.6 : (double)beta) > thresh;
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
