/* Kernels of [yolo]'s loss.  What each number means stands in layers/yolo_loss.c, which is the specification; sums and factors are
 * those of the host, in its order, so that thresholds fall alike.
 *
 * Several objects may train one prediction, and the order counts.  So the first of them in the list works off all of them: no
 * two threads write one place, and the result is that of one loop over the objects. */
#ifndef BACKEND_CUDA_KERNELS_YOLO_H
#define BACKEND_CUDA_KERNELS_YOLO_H

#include "backend/cuda/element.h"
#include "backend/yolo.h"

enum { YOLO_X, YOLO_Y, YOLO_W, YOLO_H };
enum { YOLO_R_IOU, YOLO_R_IOU_ERROR, YOLO_R_GIOU_ERROR, YOLO_R_OVERLAP, YOLO_R_OVER50, YOLO_R_OVER75, YOLO_R_OBJECT, YOLO_R_CLASS,
       YOLO_R_COUNT, YOLO_R_REWRITTEN, YOLO_RECORDS };

struct yolo_args {
    struct view x, d;                /* the head's input and its deltas, (batch, anchors*entries, h, w) */
    struct yolo_desc y;
    const double *size;              /* tables of struct yolo_tables */
    const int32_t *number;
    const float *multiplier;         /* may be NULL */
    const struct yolo_object *object;
    const int32_t *first;            /* objects of image n: first[n] .. first[n + 1] - 1 */
    int32_t *hit;                    /* per object and anchor: the cell y*w + x that it trains, or -1 */
    int32_t *accepted;               /* per prediction: trained by truth_thresh; NULL: none can be */
    double *record;                  /* per object and anchor, YOLO_RECORDS */
    double *sums;                    /* squares per channel; objectness, then accepted per anchor; records */
};

/* One prediction: where its entry 0 is in x; entry e's delta is d[e * d_step].  Deltas are floats. */
struct yolo_cell { const struct view *x; float *d; ptrdiff_t at, d_step; int anchor, row, col; };

ELEMENT_FN int yolo_entries(const struct yolo_desc *y) { return y->box + 1 + y->classes; }

ELEMENT_FN struct yolo_cell yolo_cell_at(const struct yolo_args *a, uint32_t image, int anchor, uint32_t row, uint32_t col) {
    struct yolo_cell c;
    struct place p;
    p.n = image, p.c = (uint32_t)(anchor * yolo_entries(&a->y)), p.y = row, p.x = col;
    c.x = &a->x, c.at = offset_of(&a->x, p);
    c.d = (float *)a->d.data + offset_of(&a->d, p), c.d_step = a->d.sc;
    c.anchor = anchor, c.row = (int)row, c.col = (int)col;
    return c;
}

ELEMENT_FN int yolo_coord_of(const struct yolo_desc *y, int e) { return y->box == 8 ? 2 * e : e; }

ELEMENT_FN float yolo_raw(const struct yolo_cell *c, int e) { return load(c->x->data, c->x->type, c->at + e * c->x->sc); }
ELEMENT_FN float *yolo_delta(const struct yolo_cell *c, int e) { return &c->d[e * c->d_step]; }

ELEMENT_FN float yolo_activated(const struct yolo_desc *y, const struct yolo_cell *c, int e) {
    float v = yolo_raw(c, e);
    bool size = e == yolo_coord_of(y, YOLO_W) || e == yolo_coord_of(y, YOLO_H);
    bool place = e == yolo_coord_of(y, YOLO_X) || e == yolo_coord_of(y, YOLO_Y);
    if (!y->new_coords && !size) v = logistic(v);
    if (place) v = v * (float)y->scale_x_y + (float)(-.5 * (y->scale_x_y - 1));
    return v;
}

ELEMENT_FN float yolo_object_value(const struct yolo_desc *y, const struct yolo_cell *c) {
    float v = yolo_activated(y, c, y->box);
    return isfinite(v) ? v : 0;
}

ELEMENT_FN float yolo_factor(const struct yolo_args *a, int class_id) { return a->multiplier ? a->multiplier[class_id] : 1; }

ELEMENT_FN struct box yolo_predicted(const struct yolo_args *a, const struct yolo_cell *c) {
    const struct yolo_desc *y = &a->y;
    int number = a->number[c->anchor];
    double w = yolo_raw(c, yolo_coord_of(y, YOLO_W)), h = yolo_raw(c, yolo_coord_of(y, YOLO_H));
    double sx = a->size[2 * number] / y->net_w, sy = a->size[2 * number + 1] / y->net_h;
    struct box b;
    b.w = (float)((y->new_coords ? w * w * 4 : exp(w)) * sx);
    b.h = (float)((y->new_coords ? h * h * 4 : exp(h)) * sy);
    b.x = ((float)c->col + yolo_activated(y, c, yolo_coord_of(y, YOLO_X))) / (float)a->x.w;
    b.y = ((float)c->row + yolo_activated(y, c, yolo_coord_of(y, YOLO_Y))) / (float)a->x.h;
    if (y->side) b.x -= (float)y->side * b.w / 2, b.y -= (float)y->side * b.h / 2;
    return b;
}

/* --- Which predictions an object trains; i counts objects ---------------------------------------------------------------- */

ELEMENT_FN int yolo_cell_of_centre(float centre, uint32_t cells) {
    float place = centre * (float)cells;
    if (!(place > 0)) return 0;
    return place < (float)cells ? (int)place : (int)cells - 1;
}

ELEMENT_FN double yolo_size_iou(enum iou_kind kind, double w, double h, struct box truth) {
    struct box b;
    b.x = b.y = 0, b.w = (float)w, b.h = (float)h;
    truth.x = truth.y = 0;
    return overlap_of(kind, b, truth);
}

ELEMENT_FN void yolo_match_each(const struct yolo_args *a, size_t i) {
    const struct yolo_desc *y = &a->y;
    const struct yolo_object *o = &a->object[i];
    int32_t *hit = a->hit + i * (size_t)y->anchors;
    int col = yolo_cell_of_centre(o->box.x + (float)y->side * o->box.w / 2, a->x.w);
    int row = yolo_cell_of_centre(o->box.y + (float)y->side * o->box.h / 2, a->x.h);
    double best = 0;
    int best_number = 0, k, n;
    for (k = 0; k < y->anchors; ++k) hit[k] = -1;
    if (o->class_id < 0) return;
    for (n = 0; n < y->num; ++n) {
        double iou = yolo_size_iou(IOU_PLAIN, a->size[2 * n] / y->net_w, a->size[2 * n + 1] / y->net_h, o->box);
        if (iou > best) best = iou, best_number = n;
    }
    for (k = 0; k < y->anchors; ++k) {
        int number = a->number[k], before = 0;
        bool first = true;
        for (; before < k; ++before) first = first && a->number[before] != number;
        if (!first) continue; /* a mask that names an anchor twice means its first place */
        if (number == best_number) hit[k] = row * (int)a->x.w + col;
        else if (y->iou_thresh < 1 && number >= 0 && number < y->num &&
                 yolo_size_iou(y->iou_thresh_kind, a->size[2 * number] / y->net_w, a->size[2 * number + 1] / y->net_h, o->box) > y->iou_thresh)
            hit[k] = row * (int)a->x.w + col;
    }
}

/* --- Deltas ---------------------------------------------------------------------------------------------------------------- */

ELEMENT_FN float yolo_focal(float p) {
    float pt = p + 1e-15f;
    return -.5f * (1 - pt) * (2 * pt * logf(pt) + pt - 1);
}

ELEMENT_FN void yolo_class_delta(const struct yolo_args *a, const struct yolo_cell *c, int class_id) {
    const struct yolo_desc *y = &a->y;
    int first = y->box + 1, k;
    float eps = (float)y->label_smooth_eps, on = 1 - eps + .5f * eps, off = .5f * eps, focal;
    float own = yolo_activated(y, c, first + class_id), *mine = yolo_delta(c, first + class_id);
    if ((y->first_class_decides ? *yolo_delta(c, first) : *mine) != 0) {
        if (isfinite(on - own)) *mine = on - own;
        *mine *= yolo_factor(a, class_id);
        return;
    }
    focal = y->focal ? yolo_focal(own) : 1;
    if (y->focal) on = 1, off = 0;
    for (k = 0; k < y->classes; ++k) {
        float d = (k == class_id ? on : off) - yolo_activated(y, c, first + k);
        if (isfinite(d) || y->focal) *yolo_delta(c, first + k) = d * focal;
    }
    if (a->multiplier && !y->focal) *mine *= yolo_factor(a, class_id) * (float)y->cls_normalizer;
}

ELEMENT_FN float yolo_clip(const struct yolo_desc *y, double v) {
    float d = (float)v, most = (float)y->max_delta;
    if (!isfinite(d)) return 0;
    return y->max_delta < FLT_MAX ? fmaxf(-most, fminf(most, d)) : d;
}

ELEMENT_FN void yolo_overlap_slopes(const struct yolo_desc *y, const struct yolo_cell *c, struct box pred, struct box t, double *v) {
    struct box_grad g = overlap_darknet_grad(y->iou_loss, pred, t);
    v[YOLO_X] = g.x, v[YOLO_Y] = g.y, v[YOLO_W] = g.w, v[YOLO_H] = g.h;
    if (y->new_coords) return;
    v[YOLO_W] *= exp((double)yolo_activated(y, c, yolo_coord_of(y, YOLO_W)));
    v[YOLO_H] *= exp((double)yolo_activated(y, c, yolo_coord_of(y, YOLO_H)));
}

ELEMENT_FN void yolo_plain_delta(const struct yolo_args *a, const struct yolo_cell *c, struct box pred, struct box t, double factor, float *d) {
    const struct yolo_desc *y = &a->y;
    double v[4], scale = y->iou_normalizer * factor, w, h, f;
    int number = a->number[c->anchor], e;
    if (y->iou_loss != IOU_MSE) {
        yolo_overlap_slopes(y, c, pred, t, v);
        for (e = 0; e < 4; ++e) d[e] = yolo_clip(y, v[e] * scale);
        return;
    }
    w = (double)t.w * y->net_w / a->size[2 * number];
    h = (double)t.h * y->net_h / a->size[2 * number + 1];
    f = (2 - (double)t.w * t.h) * scale;
    d[YOLO_X] = (float)(f * (t.x * (float)a->x.w - (float)c->col - yolo_activated(y, c, YOLO_X)));
    d[YOLO_Y] = (float)(f * (t.y * (float)a->x.h - (float)c->row - yolo_activated(y, c, YOLO_Y)));
    d[YOLO_W] = (float)(f * ((y->new_coords ? sqrt(w / 4) : log(w)) - yolo_activated(y, c, YOLO_W)));
    d[YOLO_H] = (float)(f * ((y->new_coords ? sqrt(h / 4) : log(h)) - yolo_activated(y, c, YOLO_H)));
}

/* Of a normal distribution: the distance d to the target, the uncertainty s, the weight f of the box. */
ELEMENT_FN void yolo_normal_delta(double d, double s, double f, double *coord, double *sigma) {
    double e = d / s, wide = s + .3, density = exp(-e * e / 2) / (sqrt(2 * OVERLAP_PI) * wide);
    double k = f * density / (density + 1e-9) / 2;
    *coord = k * e / s;
    *sigma = k * (e * e / s - 1 / wide);
}

ELEMENT_FN void yolo_gaussian_delta(const struct yolo_args *a, const struct yolo_cell *c, struct box pred, struct box t, double factor, float *d) {
    const struct yolo_desc *y = &a->y;
    int number = a->number[c->anchor], e;
    double target[4], coord[4], sigma[4];
    target[YOLO_X] = (t.x + (double)y->side * t.w / 2) * a->x.w - c->col;
    target[YOLO_Y] = (t.y + (double)y->side * t.h / 2) * a->x.h - c->row;
    target[YOLO_W] = log((double)t.w * y->net_w / a->size[2 * number]);
    target[YOLO_H] = log((double)t.h * y->net_h / a->size[2 * number + 1]);
    for (e = YOLO_X; e <= YOLO_H; ++e)
        yolo_normal_delta(target[e] - yolo_activated(y, c, 2 * e), yolo_activated(y, c, 2 * e + 1), 2 - (double)t.w * t.h, &coord[e], &sigma[e]);
    if (y->iou_loss != IOU_MSE) {
        struct box_grad g = overlap_darknet_grad(y->iou_loss, pred, t);
        yolo_overlap_slopes(y, c, pred, t, coord);
        coord[YOLO_X] += y->side * g.w / 2;
        coord[YOLO_Y] += y->side * g.h / 2;
    }
    for (e = YOLO_X; e <= YOLO_H; ++e) {
        d[2 * e] = yolo_clip(y, coord[e] * y->iou_normalizer * factor);
        d[2 * e + 1] = yolo_clip(y, sigma[e] * y->uc_normalizer);
    }
}

/* Adds the box's delta; true when there was one. */
ELEMENT_FN bool yolo_add_box(const struct yolo_args *a, const struct yolo_cell *c, struct box t, int class_id, struct box *pred) {
    float d[8];
    bool written = false;
    int e;
    for (e = 0; e < a->y.box; ++e) written = written || *yolo_delta(c, e) != 0;
    *pred = yolo_predicted(a, c);
    if (a->y.box == 8) yolo_gaussian_delta(a, c, *pred, t, yolo_factor(a, class_id), d);
    else yolo_plain_delta(a, c, *pred, t, yolo_factor(a, class_id), d);
    for (e = 0; e < a->y.box; ++e) *yolo_delta(c, e) += d[e];
    return written;
}

/* i counts predictions, anchors side by side in a cell. */
ELEMENT_FN struct yolo_cell yolo_cell_number(const struct yolo_args *a, size_t i, uint32_t *image) {
    size_t cell;
    int anchor = (int)split(i, (uint32_t)a->y.anchors, &cell);
    struct place p = place_of_cell(&a->x, cell);
    *image = p.n;
    return yolo_cell_at(a, p.n, anchor, p.y, p.x);
}

/* The prediction overlaps an object by more than truth_thresh: trained as if it were assigned. */
ELEMENT_FN void yolo_accept(const struct yolo_args *a, const struct yolo_cell *c, size_t i, const struct yolo_object *o, double iou) {
    const struct yolo_desc *y = &a->y;
    float target = y->smooth ? (float)(iou * iou) : 1;
    int own = y->box + 1 + o->class_id;
    struct box pred;
    *yolo_delta(c, y->box) = (float)y->obj_normalizer * (target - yolo_object_value(y, c));
    if (o->class_id < 0) return;
    yolo_class_delta(a, c, o->class_id);
    if (y->smooth) *yolo_delta(c, own) = yolo_factor(a, o->class_id) * (target - yolo_activated(y, c, own));
    yolo_add_box(a, c, o->box, o->class_id, &pred);
    if (a->accepted) a->accepted[i] = 1;
}

/* Every prediction is background unless it overlaps something. */
ELEMENT_FN void yolo_background_each(const struct yolo_args *a, size_t i) {
    const struct yolo_desc *y = &a->y;
    uint32_t image;
    struct yolo_cell c = yolo_cell_number(a, i, &image);
    float object = yolo_object_value(y, &c), *delta = yolo_delta(&c, y->box), smooth;
    int e, k, nearest = -1, entries = yolo_entries(y);
    double best = 0;
    bool likely = false;
    struct box pred;
    for (e = 0; e < entries; ++e) *yolo_delta(&c, e) = 0;
    if (a->accepted) a->accepted[i] = 0;
    *delta = (float)y->obj_normalizer * (0 - object);
    if (a->first[image] == a->first[image + 1]) return;
    pred = yolo_predicted(a, &c);
    for (k = a->first[image]; k < a->first[image + 1]; ++k) {
        double iou = overlap_iou(pred, a->object[k].box);
        if (iou > best) best = iou, nearest = k;
    }
    if (best > 0 && best > y->ignore_thresh)
        for (k = 0; k < y->classes && !likely; ++k) likely = yolo_activated(y, &c, y->box + 1 + k) > .25f;
    if (likely) {
        smooth = (float)(y->obj_normalizer * (best - object));
        if (!y->smooth) *delta = 0;
        else if (smooth > *delta) *delta = smooth;
    }
    if (nearest >= 0 && best > y->truth_thresh) yolo_accept(a, &c, i, &a->object[nearest], best);
}

ELEMENT_FN void yolo_assign_object(const struct yolo_args *a, const struct yolo_cell *c, const struct yolo_object *o, double *r) {
    const struct yolo_desc *y = &a->y;
    struct box pred;
    float *delta = yolo_delta(c, y->box);
    bool written = yolo_add_box(a, c, o->box, o->class_id, &pred);
    double iou = overlap_iou(pred, o->box), giou = overlap_giou(pred, o->box), overlap = y->iou_loss == IOU_MSE ? iou : giou;
    r[YOLO_R_IOU] = iou;
    r[YOLO_R_IOU_ERROR] = 1 - iou;
    r[YOLO_R_GIOU_ERROR] = 1 - giou;
    r[YOLO_R_OVERLAP] = overlap;
    r[YOLO_R_OVER50] = overlap > .5;
    r[YOLO_R_OVER75] = overlap > .75;
    r[YOLO_R_OBJECT] = yolo_object_value(y, c);
    r[YOLO_R_CLASS] = yolo_activated(y, c, y->box + 1 + o->class_id);
    r[YOLO_R_COUNT] = 1;
    r[YOLO_R_REWRITTEN] = written;
    if (!y->smooth || *delta == 0) *delta = yolo_factor(a, o->class_id) * (float)y->obj_normalizer * (1 - yolo_object_value(y, c));
    yolo_class_delta(a, c, o->class_id);
}

/* i counts objects and, within, this head's anchors. */
ELEMENT_FN void yolo_assign_each(const struct yolo_args *a, size_t i) {
    size_t object, anchors = (size_t)a->y.anchors, k, first, end;
    int anchor = (int)split(i, (uint32_t)anchors, &object), cell = a->hit[i], e;
    uint32_t image = (uint32_t)a->object[object].image;
    struct yolo_cell c;
    if (cell < 0) {
        for (e = 0; e < YOLO_RECORDS; ++e) a->record[i * YOLO_RECORDS + (size_t)e] = 0;
        return;
    }
    first = (size_t)a->first[image], end = (size_t)a->first[image + 1];
    for (k = first; k < object; ++k)
        if (a->hit[k * anchors + (size_t)anchor] == cell) return; /* that one sees to it */
    c = yolo_cell_at(a, image, anchor, (uint32_t)cell / a->x.w, (uint32_t)cell % a->x.w);
    for (k = object; k < end; ++k) {
        size_t at_ = k * anchors + (size_t)anchor;
        if (a->hit[at_] == cell) yolo_assign_object(a, &c, &a->object[k], a->record + at_ * YOLO_RECORDS);
    }
}

/* With several anchors per object a cell's box can serve several classes: the mean of their deltas. */
ELEMENT_FN void yolo_average_each(const struct yolo_args *a, size_t i) {
    const struct yolo_desc *y = &a->y;
    uint32_t image;
    struct yolo_cell c = yolo_cell_number(a, i, &image);
    bool empty = true;
    int e, k, positive = 0;
    for (e = 0; e < y->box; ++e) empty = empty && *yolo_delta(&c, e) == 0;
    if (empty || (!y->averages_always && *yolo_delta(&c, y->box) == 0)) return;
    for (k = 0; k < y->classes; ++k) positive += *yolo_delta(&c, y->box + 1 + k) > 0;
    for (e = 0; positive && e < y->box; ++e) *yolo_delta(&c, e) /= (float)positive;
}

/* --- Sums ------------------------------------------------------------------------------------------------------------------ */

ELEMENT_FN void yolo_squares_term(const struct yolo_args *a, size_t column, size_t row, double *t) {
    double d = in_cell(&a->d, row, column);
    t[0] = d * d;
}
ELEMENT_FN void yolo_squares_finish(const struct yolo_args *a, size_t column, const double *sum) { a->sums[column] = sum[0]; }

ELEMENT_FN void yolo_objects_term(const struct yolo_args *a, size_t column, size_t row, double *t) {
    size_t i = row * (size_t)a->y.anchors + column;
    uint32_t image;
    struct yolo_cell c = yolo_cell_number(a, i, &image);
    t[0] = yolo_object_value(&a->y, &c);
    t[1] = a->accepted ? a->accepted[i] : 0;
}
ELEMENT_FN void yolo_objects_finish(const struct yolo_args *a, size_t column, const double *sum) {
    double *to = a->sums + a->d.c + 2 * column;
    to[0] = sum[0], to[1] = sum[1];
}

ELEMENT_FN void yolo_records_term(const struct yolo_args *a, size_t column, size_t row, double *t) {
    t[0] = a->record[row * YOLO_RECORDS + column];
}
ELEMENT_FN void yolo_records_finish(const struct yolo_args *a, size_t column, const double *sum) {
    a->sums[a->d.c + 2 * (uint32_t)a->y.anchors + column] = sum[0];
}

#endif
