/* Boxes, their overlaps, and the derivatives that Darknet trains with, in the subset that C11 and CUDA C++ share: vision/box.h
 * offers them to the host, the CUDA backend's kernels to a device. */
#ifndef BASE_OVERLAP_H
#define BASE_OVERLAP_H

#include <math.h>
#include <stdbool.h>

#include "base/element_fn.h"

struct box { float x, y, w, h; }; /* centre form; relative to the image unless said otherwise */

/* Darknet's numbers (they are printed). */
enum iou_kind { IOU_PLAIN = 0, IOU_GIOU = 1, IOU_MSE = 2, IOU_DIOU = 3, IOU_CIOU = 4 };

/* Derivative of an overlap with respect to the predicted box (x, y, w, h). */
struct box_grad { double x, y, w, h; };

#define OVERLAP_PI 3.14159265358979323846

struct overlap_edges { double l, r, t, b; };

ELEMENT_FN struct overlap_edges overlap_edges_of(struct box a) {
    double x = a.x, y = a.y, w = a.w, h = a.h;
    struct overlap_edges e;
    e.l = x - w / 2, e.r = x + w / 2, e.t = y - h / 2, e.b = y + h / 2;
    return e;
}

/* Everything that the four overlaps are made of. */
struct overlap_pair { double inter, uni, cw, ch, distance2; };

ELEMENT_FN struct overlap_pair overlap_pair_of(struct box a, struct box b) {
    struct overlap_edges p = overlap_edges_of(a), q = overlap_edges_of(b);
    double iw = fmin(p.r, q.r) - fmax(p.l, q.l), ih = fmin(p.b, q.b) - fmax(p.t, q.t);
    double dx = (double)a.x - b.x, dy = (double)a.y - b.y;
    struct overlap_pair r;
    r.inter = iw < 0 || ih < 0 ? 0 : iw * ih;
    r.uni = (double)a.w * a.h + (double)b.w * b.h - r.inter;
    r.cw = fmax(p.r, q.r) - fmin(p.l, q.l);
    r.ch = fmax(p.b, q.b) - fmin(p.t, q.t);
    r.distance2 = dx * dx + dy * dy;
    return r;
}

/* At most 1: rounding must not lift equal boxes over a threshold of 1. */
ELEMENT_FN double overlap_pair_iou(const struct overlap_pair *p) {
    return p->inter == 0 || p->uni == 0 ? 0 : fmin(1.0, p->inter / p->uni);
}
ELEMENT_FN double overlap_diagonal2(const struct overlap_pair *p) { return p->cw * p->cw + p->ch * p->ch; }

ELEMENT_FN double overlap_iou(struct box a, struct box b) {
    struct overlap_pair p;
    /* Most pairs are apart: two float comparisons per axis decide that. */
    if (fabsf(a.x - b.x) * 2 > (a.w + b.w) * 1.0001f || fabsf(a.y - b.y) * 2 > (a.h + b.h) * 1.0001f) return 0;
    p = overlap_pair_of(a, b);
    return overlap_pair_iou(&p);
}

ELEMENT_FN double overlap_giou(struct box a, struct box b) {
    struct overlap_pair p = overlap_pair_of(a, b);
    double hull = p.cw * p.ch;
    return hull == 0 ? overlap_pair_iou(&p) : overlap_pair_iou(&p) - (hull - p.uni) / hull;
}

/* IoU - (d^2/c^2)^exponent. */
ELEMENT_FN double overlap_apart(struct box a, struct box b, double exponent) {
    struct overlap_pair p = overlap_pair_of(a, b);
    double c = overlap_diagonal2(&p);
    return c == 0 ? overlap_pair_iou(&p) : overlap_pair_iou(&p) - pow(p.distance2 / c, exponent);
}

/* The aspect term of CIoU: *trade_off is alpha; the return value is (4/pi^2)*angle^2. */
ELEMENT_FN double overlap_aspect(struct box a, struct box b, double iou, double *angle, double *trade_off) {
    double v;
    *angle = atan((double)b.w / b.h) - atan((double)a.w / a.h);
    v = 4 / (OVERLAP_PI * OVERLAP_PI) * *angle * *angle;
    *trade_off = v / (1 - iou + v + 0.000001);
    return v;
}

ELEMENT_FN double overlap_ciou(struct box a, struct box b) {
    struct overlap_pair p = overlap_pair_of(a, b);
    double c = overlap_diagonal2(&p), iou = overlap_pair_iou(&p), angle, alpha, v;
    if (c == 0) return iou;
    v = overlap_aspect(a, b, iou, &angle, &alpha);
    return iou - (p.distance2 / c + alpha * v);
}

ELEMENT_FN double overlap_of(enum iou_kind kind, struct box a, struct box b) {
    switch (kind) {
    case IOU_GIOU: return overlap_giou(a, b);
    case IOU_DIOU: return overlap_apart(a, b, 0.6);
    case IOU_CIOU: return overlap_ciou(a, b);
    case IOU_PLAIN:
    case IOU_MSE: break;
    }
    return overlap_iou(a, b);
}

/* --- Derivatives as Darknet trains with them ----------------------------------------------------------------------------- */

/* Derivatives with respect to the predicted edges. */
struct overlap_slopes { double l, r, t, b; };

struct overlap_parts {
    struct overlap_edges p, q;
    double iw, ih, inter, uni, cw, ch;
    struct overlap_slopes di, du, dcw, dch;
};

ELEMENT_FN struct overlap_slopes overlap_slopes_of(double l, double r, double t, double b) {
    struct overlap_slopes s;
    s.l = l, s.r = r, s.t = t, s.b = b;
    return s;
}

/* COMPAT: derivatives of Darknet hold without overlap, too: Iw and Ih are then negative lengths, and it uses
 * them so. */
ELEMENT_FN struct overlap_parts overlap_darknet_parts(struct box pred, struct box truth) {
    struct overlap_parts d;
    double s, w, h;
    d.p = overlap_edges_of(pred), d.q = overlap_edges_of(truth);
    if (d.p.l > d.p.r) s = d.p.l, d.p.l = d.p.r, d.p.r = s;
    if (d.p.t > d.p.b) s = d.p.t, d.p.t = d.p.b, d.p.b = s;
    w = d.p.r - d.p.l, h = d.p.b - d.p.t;
    d.iw = fmin(d.p.r, d.q.r) - fmax(d.p.l, d.q.l);
    d.ih = fmin(d.p.b, d.q.b) - fmax(d.p.t, d.q.t);
    d.inter = d.iw * d.ih;
    d.uni = w * h + (d.q.b - d.q.t) * (d.q.r - d.q.l) - d.inter;
    d.cw = fmax(d.p.r, d.q.r) - fmin(d.p.l, d.q.l);
    d.ch = fmax(d.p.b, d.q.b) - fmin(d.p.t, d.q.t);
    d.di = overlap_slopes_of(d.p.l > d.q.l ? -d.ih : 0, d.p.r < d.q.r ? d.ih : 0, d.p.t > d.q.t ? -d.iw : 0, d.p.b < d.q.b ? d.iw : 0);
    d.du = overlap_slopes_of(-h - d.di.l, h - d.di.r, -w - d.di.t, w - d.di.b);
    d.dcw = overlap_slopes_of(d.p.l < d.q.l ? -1 : 0, d.p.r > d.q.r ? 1 : 0, 0, 0);
    d.dch = overlap_slopes_of(0, 0, d.p.t < d.q.t ? -1 : 0, d.p.b > d.q.b ? 1 : 0);
    return d;
}

ELEMENT_FN double overlap_quotient(double num, double dnum, double den, double dden) {
    return (den * dnum - num * dden) / (den * den);
}

/* The distance and aspect terms of DIoU and CIoU as Darknet trains with them. */
ELEMENT_FN struct box_grad overlap_darknet_distance(const struct overlap_parts *d, enum iou_kind kind, struct box pred, struct box truth) {
    double c = d->cw * d->cw + d->ch * d->ch;
    double dx = (double)truth.x - pred.x, dy = (double)truth.y - pred.y, s = dx * dx + dy * dy;
    double cw_x, ch_y, cw_w, ch_h, angle, alpha;
    struct box_grad g;
    g.x = g.y = g.w = g.h = 0;
    if (c <= 0) return g;
    cw_x = d->dcw.r + d->dcw.l, ch_y = d->dch.b + d->dch.t;
    cw_w = (d->dcw.r - d->dcw.l) / 2, ch_h = (d->dch.b - d->dch.t) / 2;
    g.x = (2 * dx * c - 2 * d->cw * cw_x * s) / (c * c);
    g.y = (2 * dy * c - 2 * d->ch * ch_y * s) / (c * c);
    g.w = 2 * d->cw * cw_w * s / (c * c);
    g.h = 2 * d->ch * ch_h * s / (c * c);
    if (kind == IOU_CIOU) {
        overlap_aspect(pred, truth, d->inter / d->uni, &angle, &alpha);
        g.w += alpha * 8 / (OVERLAP_PI * OVERLAP_PI) * angle * pred.h;
        g.h -= alpha * 8 / (OVERLAP_PI * OVERLAP_PI) * angle * pred.w;
    }
    return g;
}

/* What box_iou_darknet_grad of vision/box.h says. */
ELEMENT_FN struct box_grad overlap_darknet_grad(enum iou_kind kind, struct box pred, struct box truth) {
    struct overlap_parts d;
    struct overlap_slopes e, g;
    struct box_grad out, far;
    double hull;
    bool apart;
    if (pred.w == 0) pred.w = 1;
    if (pred.h == 0) pred.h = 1;
    d = overlap_darknet_parts(pred, truth);
    apart = d.iw <= 0 || d.ih <= 0;
    e = overlap_slopes_of(0, 0, 0, 0);
    if (d.uni > 0)
        e = overlap_slopes_of(overlap_quotient(d.inter, d.di.l, d.uni, d.du.l), overlap_quotient(d.inter, d.di.r, d.uni, d.du.r),
                              overlap_quotient(d.inter, d.di.t, d.uni, d.du.t), overlap_quotient(d.inter, d.di.b, d.uni, d.du.b));
    hull = d.cw * d.ch;
    if (kind == IOU_GIOU && (hull > 0 || apart)) {
        g = overlap_slopes_of(overlap_quotient(d.uni, d.du.l, hull, d.dcw.l * d.ch), overlap_quotient(d.uni, d.du.r, hull, d.dcw.r * d.ch),
                              overlap_quotient(d.uni, d.du.t, hull, d.dch.t * d.cw), overlap_quotient(d.uni, d.du.b, hull, d.dch.b * d.cw));
        e = apart ? g : overlap_slopes_of(e.l + g.l, e.r + g.r, e.t + g.t, e.b + g.b);
    }
    /* Edges to centre form, width and height at full weight (the edges move by half of them). */
    out.x = e.l + e.r, out.y = e.t + e.b, out.w = e.r - e.l, out.h = e.b - e.t;
    if (kind == IOU_DIOU || kind == IOU_CIOU) {
        far = overlap_darknet_distance(&d, kind, pred, truth);
        if (apart) return far;
        out.x += far.x, out.y += far.y, out.w += far.w, out.h += far.h;
    }
    return out;
}

#endif
