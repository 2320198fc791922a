/* [yolo]: anchors over a grid with independent classes (darknet-compat 3.1 to 3.4; YOLOv3, YOLOv4 and, with
 * new_coords, Scaled-YOLOv4 and YOLOv7).
 * Input (N, n*(5+C), H, W), n = number of mask entries; no output tensor. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/head.h"

struct yolo {
    int classes, num, max, iou_thresh_kind, iou_loss, new_coords, objectness_smooth, focal_loss, nms_kind,
        show_details;
    struct cfg_ints mask, counters_per_class;
    struct cfg_floats anchors;
    double jitter, resize, random, ignore_thresh, truth_thresh, iou_thresh;
    double iou_normalizer, obj_normalizer, cls_normalizer, delta_normalizer, max_delta, scale_x_y,
        label_smooth_eps, beta_nms;
    const char *map;
};

static const struct cfg_choice iou_losses[] = { { "mse", IOU_MSE },   { "iou", IOU_PLAIN },
                                                { "giou", IOU_GIOU }, { "diou", IOU_DIOU },
                                                { "ciou", IOU_CIOU }, { NULL, 0 } };
static const struct cfg_choice iou_kinds[] = {
    { "iou", IOU_PLAIN }, { "giou", IOU_GIOU }, { "diou", IOU_DIOU }, { "ciou", IOU_CIOU }, { NULL, 0 }
};
static const struct cfg_choice nms_kinds[] = {
    { "default", NMS_DEFAULT }, { "greedynms", NMS_GREEDY }, { "diounms", NMS_DIOU }, { NULL, 0 }
};

static const struct cfg_key keys[] = {
    CFG_INT(struct yolo, classes, 20, 1, 1 << 20),
    CFG_INT(struct yolo, num, 1, 1, 1 << 16),
    CFG_INTS(struct yolo, mask),
    CFG_FLOATS(struct yolo, anchors),
    CFG_INT(struct yolo, max, 200, 1, 1 << 20),
    CFG_FLOAT(struct yolo, jitter, .2),
    CFG_FLOAT(struct yolo, resize, 1),
    CFG_FLOAT(struct yolo, random, 0),
    CFG_FLOAT(struct yolo, ignore_thresh, .5),
    CFG_FLOAT(struct yolo, truth_thresh, 1),
    CFG_FLOAT(struct yolo, iou_thresh, 1),
    { .name = "iou_thresh_kind", .type = CFG_T_CHOICE, .offset = offsetof(struct yolo, iou_thresh_kind),
      .def = IOU_PLAIN, .choices = iou_kinds, .lenient = true },
    CFG_CHOICE(struct yolo, iou_loss, IOU_MSE, iou_losses),
    CFG_FLOAT(struct yolo, iou_normalizer, .75),
    CFG_FLOAT(struct yolo, obj_normalizer, 1),
    CFG_FLOAT(struct yolo, cls_normalizer, 1),
    CFG_FLOAT(struct yolo, delta_normalizer, 1),
    CFG_FLOAT(struct yolo, max_delta, FLT_MAX),
    CFG_FLOAT(struct yolo, scale_x_y, 1),
    CFG_BOOL(struct yolo, new_coords, 0),
    CFG_BOOL(struct yolo, objectness_smooth, 0),
    CFG_BOOL(struct yolo, focal_loss, 0),
    CFG_FLOAT(struct yolo, label_smooth_eps, 0),
    CFG_INTS(struct yolo, counters_per_class),
    { .name = "nms_kind", .type = CFG_T_CHOICE, .offset = offsetof(struct yolo, nms_kind), .def = NMS_DEFAULT,
      .choices = nms_kinds, .lenient = true },
    CFG_FLOAT(struct yolo, beta_nms, .6),
    CFG_BOOL(struct yolo, show_details, 1),
    CFG_TEXT(struct yolo, map),
    CFG_TRAINING("embedding_layer", 999999),
    CFG_IGNORED("track_history_size"), CFG_IGNORED("sim_thresh"), CFG_IGNORED("dets_for_track"),
    CFG_IGNORED("dets_for_show"), CFG_IGNORED("track_ciou_norm"), CFG_IGNORED("uc_normalizer"),
    CFG_IGNORED("beta1"),
    CFG_END
};

/* --- Geometry and activation ------------------------------------------------------------------ */

static int anchors_here(const struct yolo *y) { return y->mask.n ? y->mask.n : y->num; }
static int anchor_number(const struct yolo *y, int local) { return y->mask.n ? y->mask.v[local] : local; }

static struct head_grid grid_of(const struct layer *l) {
    const struct yolo *y = l->state;
    return head_grid(l, anchors_here(y), y->classes);
}

/* First place of an anchor in the mask, -1 when another head owns it. */
static int place_in_mask(const struct yolo *y, int number) {
    for (int i = 0; i < anchors_here(y); ++i)
        if (anchor_number(y, i) == number) return i;
    return -1;
}

static float value(const struct yolo *y, const float *x, const struct head_cell *c, int entry) {
    float v = x[c->at + (size_t)entry * c->plane];
    if (!y->new_coords && entry != HEAD_W && entry != HEAD_H) v = head_logistic(v);
    if (entry <= HEAD_Y) v = v * (float)y->scale_x_y + (float)(-.5 * (y->scale_x_y - 1));
    return v;
}

static struct box predicted(const struct yolo *y, const struct head_grid *g, const float *x,
                            const struct head_cell *c, int net_w, int net_h) {
    int number = anchor_number(y, c->anchor);
    double w = x[c->at + HEAD_W * c->plane], h = x[c->at + HEAD_H * c->plane];
    double sx = head_anchor(&y->anchors, 2 * number) / net_w,
           sy = head_anchor(&y->anchors, 2 * number + 1) / net_h;
    struct box b;
    b.x = ((float)c->col + value(y, x, c, HEAD_X)) / (float)g->w;
    b.y = ((float)c->row + value(y, x, c, HEAD_Y)) / (float)g->h;
    b.w = (float)((y->new_coords ? w * w * 4 : exp(w)) * sx);
    b.h = (float)((y->new_coords ? h * h * 4 : exp(h)) * sy);
    return b;
}

/* --- Layer ------------------------------------------------------------------------------------ */

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all,
                         const struct net_options *net) {
    (void)all, (void)net;
    struct yolo *y = l->state;
    for (int i = 0; i < y->mask.n; ++i)
        if (y->mask.v[i] >= y->num && y->mask.v[i] < y->anchors.n / 2) { /* cspx-p7-mish lists more anchors than its num */
            cfg_warn(ctx, l->section, l->section->line, "num", "is %d, but anchors lists %d pairs and mask uses them: all are taken",
                     y->num, y->anchors.n / 2);
            y->num = y->anchors.n / 2;
        }
    for (int i = 0; i < y->mask.n; ++i)
        if (y->mask.v[i] < 0 || y->mask.v[i] >= y->num)
            return layer_fail(ctx, l, "mask", "anchor %d does not exist, num=%d gives 0 to %d", y->mask.v[i],
                              y->num, y->num - 1);
    TRY(head_fill_anchors(ctx, l, &y->anchors, y->num));
    if (y->counters_per_class.n && y->counters_per_class.n != y->classes)
        return layer_fail(ctx, l, "counters_per_class", "%d numbers, but classes=%d", y->counters_per_class.n,
                          y->classes);
    return head_shape(ctx, l, anchors_here(y), y->classes, y->mask.n ? "mask" : "num");
}

static enum status prepare(struct layer *l, struct pass *p) {
    const struct yolo *y = l->state;
    TRY(head_prepare(l, p, y->classes, y->map));
    if (p->mode == NET_INFER || !y->counters_per_class.n) return ST_OK;
    struct head_run *run = l->run;
    run->multiplier = mem_zero(p->ctx, (size_t)y->classes, sizeof *run->multiplier);
    if (!run->multiplier) return ST_MEMORY;
    int most = 1;
    for (int i = 0; i < y->classes; ++i)
        if (y->counters_per_class.v[i] > most) most = y->counters_per_class.v[i];
    for (int i = 0; i < y->classes; ++i) {
        int count = y->counters_per_class.v[i];
        run->multiplier[i] = (float)fmin((double)most / (count < 1 ? 1 : count), y->max_delta);
    }
    return ST_OK;
}

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    channels_freeze(ch, l->in[0], "read by [yolo]");
}

static const char *choice_name(const struct cfg_choice *c, int v) {
    while (c->name && c->value != v) ++c;
    return c->name ? c->name : "";
}

static void describe(const struct layer *l, char *text, size_t size) {
    const struct yolo *y = l->state;
    snprintf(text, size,
             "yolo\n[yolo] params: iou loss: %s (%d), iou_norm: %2.2f, obj_norm: %2.2f, cls_norm: %2.2f, "
             "delta_norm: %2.2f, scale_x_y: %2.2f",
             choice_name(iou_losses, y->iou_loss), y->iou_loss, y->iou_normalizer, y->obj_normalizer,
             y->cls_normalizer, y->delta_normalizer, y->scale_x_y);
}

static void info(const struct layer *l, struct head_info *i) {
    const struct yolo *y = l->state;
    struct head_grid g = grid_of(l);
    *i = (struct head_info){ .classes = y->classes,
                             .max_boxes = y->max,
                             .predictions = head_predictions(&g),
                             .jitter = y->jitter,
                             .resize = y->resize,
                             .random = y->random,
                             .nms_kind = (enum nms_kind)y->nms_kind,
                             .beta_nms = y->beta_nms,
                             .type_number = 28 };
}

/* --- Detections ------------------------------------------------------------------------------- */

/* Raw values up to this one cannot give an activated value above `limit`; generous by more than float
 * rounding, and capped where the float sigmoid rounds to 1. */
static float raw_limit(const struct yolo *y, double limit) {
    double raw = y->new_coords ? limit : fmin(head_logit(limit), 12);
    return (float)(raw - 1e-4 * (1 + (isfinite(raw) ? fabs(raw) : 0)));
}

static enum status decode_cell(struct ctx *ctx, const struct layer *l, const struct head_grid *g,
                               const struct head_cell *c, int net_w, int net_h, float thresh,
                               struct detection_list *list) {
    const struct yolo *y = l->state;
    float object = value(y, l->head_x, c, HEAD_OBJECT);
    if (!(object > thresh)) return ST_OK;
    struct detection *d;
    TRY(detections_add(ctx, list, &d));
    d->box = predicted(y, g, l->head_x, c, net_w, net_h);
    d->objectness = object;
    float limit = raw_limit(y, (double)thresh / object);
    int classes = y->classes < list->classes ? y->classes : list->classes;
    const float *raw = l->head_x + c->at + HEAD_CLASS * c->plane;
    for (int k = 0; k < classes; ++k, raw += c->plane) {
        if (!(*raw > limit)) continue;
        float prob = object * value(y, l->head_x, c, HEAD_CLASS + k);
        if (prob > thresh) d->prob[k] = prob;
    }
    return ST_OK;
}

static enum status decode(struct ctx *ctx, const struct layer *l, int image, int net_w, int net_h,
                          float thresh, struct detection_list *list) {
    struct head_grid g = grid_of(l);
    float limit = raw_limit(l->state, thresh);
    for (int row = 0; row < g.h; ++row)
        for (int col = 0; col < g.w; ++col)
            for (int a = 0; a < g.n; ++a) {
                struct head_cell c = head_cell_at(&g, image, a, row, col);
                if (!(l->head_x[c.at + HEAD_OBJECT * c.plane] > limit)) continue;
                TRY(decode_cell(ctx, l, &g, &c, net_w, net_h, thresh, list));
            }
    return ST_OK;
}

static void activate(const struct layer *l, const float *raw, float *out) {
    const struct yolo *y = l->state;
    struct head_grid g = grid_of(l);
    for (int p = 0; p < head_predictions(&g); ++p) {
        struct head_cell c = head_cell(&g, 0, p);
        for (int e = 0; e < HEAD_CLASS + g.classes; ++e)
            out[c.at + (size_t)e * c.plane] = value(y, raw, &c, e);
    }
}

/* --- Training loss ---------------------------------------------------------------------------- */

/* One image of one loss.  delta is Darknet's: the direction that lowers the loss. */
struct job {
    const struct layer *l;
    const struct yolo *y;
    const struct head_run *run;
    struct head_grid g;
    int image, net_w, net_h, n_truth;
    const struct truth *truth;
    const float *x;
    float *delta;
    struct loss_stats *stats;
    double iou_error, giou_error;  /* sums over assigned boxes of 1 - overlap */
};

static float multiplier(const struct job *j, int class_id) {
    return j->run && j->run->multiplier ? j->run->multiplier[class_id] : 1;
}

/* COMPAT: cls_normalizer counts only together with counters_per_class; a class that is already set is renewed
 * alone. */
static void class_delta(const struct job *j, const struct head_cell *c, int class_id) {
    const struct yolo *y = j->y;
    bool weighted = j->run && j->run->multiplier;
    float *delta = j->delta + c->at + HEAD_CLASS * c->plane, eps = (float)y->label_smooth_eps;
    float on = 1 - eps + .5f * eps, off = .5f * eps, own = value(y, j->x, c, HEAD_CLASS + class_id);
    float *mine = delta + (size_t)class_id * c->plane;
    if (*mine != 0) {
        if (isfinite(on - own)) *mine = on - own;
        *mine *= multiplier(j, class_id);
        return;
    }
    float focal = y->focal_loss ? head_focal(own) : 1;
    if (y->focal_loss) on = 1, off = 0;
    for (int k = 0; k < y->classes; ++k, delta += c->plane) {
        float d = (k == class_id ? on : off) - value(y, j->x, c, HEAD_CLASS + k);
        if (isfinite(d) || y->focal_loss) *delta = d * focal;
    }
    if (weighted && !y->focal_loss) *mine *= multiplier(j, class_id) * (float)y->cls_normalizer;
}

static void box_delta_squared(const struct job *j, const struct head_cell *c, struct box t, double scale,
                              float *d) {
    const struct yolo *y = j->y;
    int number = anchor_number(y, c->anchor);
    double w = (double)t.w * j->net_w / head_anchor(&y->anchors, 2 * number);
    double h = (double)t.h * j->net_h / head_anchor(&y->anchors, 2 * number + 1);
    double f = (2 - (double)t.w * t.h) * scale;
    d[HEAD_X] = (float)(f * (t.x * (float)j->g.w - (float)c->col - value(y, j->x, c, HEAD_X)));
    d[HEAD_Y] = (float)(f * (t.y * (float)j->g.h - (float)c->row - value(y, j->x, c, HEAD_Y)));
    d[HEAD_W] = (float)(f * ((y->new_coords ? sqrt(w / 4) : log(w)) - value(y, j->x, c, HEAD_W)));
    d[HEAD_H] = (float)(f * ((y->new_coords ? sqrt(h / 4) : log(h)) - value(y, j->x, c, HEAD_H)));
}

static void box_delta_overlap(const struct job *j, const struct head_cell *c, struct box pred, struct box t,
                              double scale, float *d) {
    const struct yolo *y = j->y;
    struct box_grad g = box_iou_darknet_grad((enum iou_kind)y->iou_loss, pred, t);
    double v[4] = { g.x, g.y, g.w, g.h };
    /* COMPAT: no factor at all in the new coordinates, none for x and y in the old ones. */
    if (!y->new_coords) {
        v[HEAD_W] *= exp(value(y, j->x, c, HEAD_W));
        v[HEAD_H] *= exp(value(y, j->x, c, HEAD_H));
    }
    for (int e = 0; e < 4; ++e) {
        d[e] = (float)(v[e] * scale);
        if (!isfinite(d[e])) d[e] = 0;
        if (y->max_delta < FLT_MAX) d[e] = fmaxf(-(float)y->max_delta, fminf((float)y->max_delta, d[e]));
    }
}

/* Adds the box's delta; returns the predicted box. */
static struct box box_delta(struct job *j, const struct head_cell *c, struct box t, int class_id) {
    float *delta = j->delta + c->at, d[4];
    bool written = false;
    for (size_t e = 0; e < 4; ++e) written = written || delta[e * c->plane] != 0;
    ++j->stats->boxes;
    j->stats->rewritten += written;
    struct box pred = predicted(j->y, &j->g, j->x, c, j->net_w, j->net_h);
    double scale = j->y->iou_normalizer * multiplier(j, class_id);
    if (j->y->iou_loss == IOU_MSE) box_delta_squared(j, c, t, scale, d);
    else box_delta_overlap(j, c, pred, t, scale, d);
    for (size_t e = 0; e < 4; ++e) delta[e * c->plane] += d[e];
    return pred;
}

static bool any_class_above(const struct job *j, const struct head_cell *c, float limit) {
    for (int k = 0; k < j->y->classes; ++k)
        if (value(j->y, j->x, c, HEAD_CLASS + k) > limit) return true;
    return false;
}

static float object_value(const struct job *j, const struct head_cell *c) {
    float v = value(j->y, j->x, c, HEAD_OBJECT);
    return isfinite(v) ? v : 0;
}

/* The prediction of one cell overlaps a truth by more than truth_thresh: trained as if it were assigned. */
static void accept(struct job *j, const struct head_cell *c, const struct truth *t, double iou) {
    const struct yolo *y = j->y;
    int class_id = head_class(j->l, t->class_id, y->classes);
    float target = y->objectness_smooth ? (float)(iou * iou) : 1;
    j->delta[c->at + HEAD_OBJECT * c->plane] = (float)y->obj_normalizer * (target - object_value(j, c));
    if (class_id < 0) return;
    class_delta(j, c, class_id);
    if (y->objectness_smooth)
        j->delta[c->at + (size_t)(HEAD_CLASS + class_id) * c->plane] =
            multiplier(j, class_id) * (target - value(y, j->x, c, HEAD_CLASS + class_id));
    box_delta(j, c, t->box, class_id);
}

/* Step A: every prediction is background unless it overlaps something. */
static void background(struct job *j, const struct head_cell *c) {
    const struct yolo *y = j->y;
    float object = object_value(j, c), *delta = &j->delta[c->at + HEAD_OBJECT * c->plane];
    *delta = (float)y->obj_normalizer * (0 - object);
    if (!j->n_truth) return;
    struct box pred = predicted(y, &j->g, j->x, c, j->net_w, j->net_h);
    double best = 0;
    const struct truth *nearest = NULL;
    for (int t = 0; t < j->n_truth; ++t) {
        if (j->truth[t].class_id < 0 || j->truth[t].class_id >= y->classes) continue;
        double iou = box_iou(pred, j->truth[t].box);
        if (iou > best) best = iou, nearest = &j->truth[t];
    }
    /* The match counts only where some class is likely; which truth it is does not matter for that. */
    if (best > 0 && best > y->ignore_thresh && any_class_above(j, c, .25f)) {
        float smooth = (float)(y->obj_normalizer * (best - object));
        if (!y->objectness_smooth) *delta = 0;
        else if (smooth > *delta) *delta = smooth;
    }
    if (nearest && best > y->truth_thresh) accept(j, c, nearest, best);
}

static void assign_truth(struct job *j, const struct truth *t, int anchor, int row, int col) {
    const struct yolo *y = j->y;
    int class_id = head_class(j->l, t->class_id, y->classes);
    if (class_id < 0) return;
    struct head_cell c = head_cell_at(&j->g, j->image, anchor, row, col);
    struct box pred = box_delta(j, &c, t->box, class_id);
    double iou = box_iou(pred, t->box);
    j->stats->iou_sum += iou;
    j->iou_error += 1 - iou;
    j->giou_error += 1 - box_giou(pred, t->box);
    ++j->stats->count;
    float *delta = &j->delta[c.at + HEAD_OBJECT * c.plane];
    if (!y->objectness_smooth || *delta == 0)
        *delta = multiplier(j, class_id) * (float)y->obj_normalizer * (1 - object_value(j, &c));
    class_delta(j, &c, class_id);
}

/* Anchors of this head that train on a box, in upstream's order: the best of all heads' anchors when it is
 * here, then the others over iou_thresh. */
static int anchors_for(const struct yolo *y, struct box truth, int net_w, int net_h, int *local, int cap) {
    double best = 0;
    int best_number = 0, n = 0;
    for (int i = 0; i < y->num; ++i) {
        double w = head_anchor(&y->anchors, 2 * i) / net_w, h = head_anchor(&y->anchors, 2 * i + 1) / net_h;
        double iou = head_size_iou(IOU_PLAIN, w, h, truth);
        if (iou > best) best = iou, best_number = i;
    }
    int place = place_in_mask(y, best_number);
    if (place >= 0 && n < cap) local[n++] = place;
    for (int i = 0; y->iou_thresh < 1 && i < y->num; ++i) {
        place = i == best_number ? -1 : place_in_mask(y, i);
        if (place < 0) continue;
        double w = head_anchor(&y->anchors, 2 * i) / net_w, h = head_anchor(&y->anchors, 2 * i + 1) / net_h;
        if (head_size_iou((enum iou_kind)y->iou_thresh_kind, w, h, truth) > y->iou_thresh && n < cap)
            local[n++] = place;
    }
    return n;
}

/* With several anchors per truth a cell's box can serve several classes: the mean of their deltas. */
static void average_boxes(const struct job *j) {
    for (int p = 0; p < head_predictions(&j->g); ++p) {
        struct head_cell c = head_cell(&j->g, j->image, p);
        float *d = j->delta + c.at;
        if (d[HEAD_X * c.plane] == 0 && d[HEAD_Y * c.plane] == 0 && d[HEAD_W * c.plane] == 0 &&
            d[HEAD_H * c.plane] == 0)
            continue;
        if (d[HEAD_OBJECT * c.plane] == 0) continue;
        int positive = 0;
        for (int k = 0; k < j->g.classes; ++k) positive += d[(size_t)(HEAD_CLASS + k) * c.plane] > 0;
        for (size_t e = 0; positive && e < 4; ++e) d[e * c.plane] /= (float)positive;
    }
}

static enum status loss_image(struct ctx *ctx, struct job *j) {
    int *local = mem_zero(ctx, (size_t)j->y->num, sizeof *local);
    if (!local) return ST_MEMORY;
    for (int p = 0; p < head_predictions(&j->g); ++p) {
        struct head_cell c = head_cell(&j->g, j->image, p);
        background(j, &c);
    }
    for (int t = 0; t < j->n_truth; ++t) {
        const struct truth *truth = &j->truth[t];
        if (truth->class_id < 0 || truth->class_id >= j->y->classes) continue;
        int col = head_cell_of(truth->box.x, j->g.w), row = head_cell_of(truth->box.y, j->g.h);
        int n = anchors_for(j->y, truth->box, j->net_w, j->net_h, local, j->y->num);
        for (int i = 0; i < n; ++i) assign_truth(j, truth, local[i], row, col);
    }
    if (j->y->iou_thresh < 1) average_boxes(j);
    free(local);
    return ST_OK;
}

/* What Darknet logs; the loss is for the log only, the deltas above are what trains. */
static void summarise(const struct layer *l, const struct job *j, int batch, struct loss_stats *s) {
    const struct yolo *y = l->state;
    double all, box;
    head_norms(l, &j->g, batch, &all, &box);
    int count = s->count ? s->count : 1;
    double class_loss = y->obj_normalizer * (all - box);
    s->loss = all;
    if (y->show_details && y->iou_loss != IOU_MSE)
        s->loss =
            y->iou_normalizer * (y->iou_loss == IOU_GIOU ? j->giou_error : j->iou_error) / count + class_loss;
    s->class_loss = class_loss / batch;
    s->iou_loss = (all - class_loss) / batch;
    const char *kind = y->iou_loss == IOU_MSE ? "mse" : y->iou_loss == IOU_GIOU ? "giou" : "iou";
    int used = snprintf(s->line, sizeof s->line,
                        "v3 (%s loss, Normalizer: (iou: %.2f, obj: %.2f, cls: %.2f) Region %d Avg (IOU: %f), "
                        "count: %d, ",
                        kind, y->iou_normalizer, y->obj_normalizer, y->cls_normalizer, l->index,
                        s->iou_sum / count, count);
    if (used < 0 || (size_t)used >= sizeof s->line) return;
    if (!y->show_details)
        snprintf(s->line + used, sizeof s->line - (size_t)used, "total_loss = %f ", all / batch);
    else
        snprintf(s->line + used, sizeof s->line - (size_t)used,
                 "class_loss = %f, iou_loss = %f, total_loss = %f ", s->class_loss, s->iou_loss, all / batch);
}

static enum status loss(struct ctx *ctx, struct layer *l, const struct loss_args *args,
                        struct loss_stats *stats) {
    const struct yolo *y = l->state;
    struct job j = { .l = l,
                     .y = y,
                     .run = l->run,
                     .g = grid_of(l),
                     .net_w = args->net_w,
                     .net_h = args->net_h,
                     .x = l->head_x,
                     .delta = l->head_delta,
                     .stats = stats };
    size_t count = head_image(&j.g) * (size_t)args->batch;
    *stats = (struct loss_stats){ 0 };
    memset(l->head_delta, 0, count * sizeof *l->head_delta);
    for (j.image = 0; j.image < args->batch; ++j.image) {
        const struct truth_list *list = &args->truth[j.image];
        j.truth = list->item;
        j.n_truth = list->n < y->max ? list->n : y->max;
        TRY(loss_image(ctx, &j));
    }
    summarise(l, &j, args->batch, stats);
    float scale = -(float)y->delta_normalizer;
    for (size_t i = 0; i < count; ++i) l->head_delta[i] *= scale;
    return ST_OK;
}

/* --- Utility of single predictions (pruning.md 2) --------------------------------------------- */

static int assign(const struct layer *l, int image, struct box truth, int net_w, int net_h, int *prediction, int cap) {
    (void)image;
    struct head_grid g = grid_of(l);
    int col = head_cell_of(truth.x, g.w), row = head_cell_of(truth.y, g.h);
    int n = anchors_for(l->state, truth, net_w, net_h, prediction, cap);
    for (int i = 0; i < n; ++i) prediction[i] = head_prediction(&g, prediction[i], row, col);
    return n;
}

/* A logit or probability and its derivative with respect to the raw value. */
struct slope { double value, d; };

static struct slope logit_at(const struct yolo *y, const float *x, const struct head_cell *c, int entry) {
    double v = x[c->at + (size_t)entry * c->plane];
    if (!y->new_coords) return (struct slope){ v, 1 };
    v = fmin(fmax(v, 1e-7), 1 - 1e-7);
    return (struct slope){ log(v / (1 - v)), 1 / (v * (1 - v)) };
}

static struct slope probability_at(const struct yolo *y, const float *x, const struct head_cell *c,
                                   int entry) {
    double v = x[c->at + (size_t)entry * c->plane];
    if (y->new_coords) return (struct slope){ v, 1 };
    double p = 1 / (1 + exp(-v));
    return (struct slope){ p, p * (1 - p) };
}

/* Overlap with the truth, and its derivative with respect to the four raw box entries. */
static double overlap(const struct layer *l, const struct head_grid *g, const struct head_cell *c,
                      struct box truth, int net_w, int net_h, double *d) {
    const struct yolo *y = l->state;
    struct box pred = predicted(y, g, l->head_x, c, net_w, net_h);
    double iou;
    struct box_grad b = box_iou_exact_grad((enum iou_kind)y->iou_loss, pred, truth, &iou);
    double chain[4] = { y->scale_x_y / g->w, y->scale_x_y / g->h, pred.w, pred.h };
    const double by_box[4] = { b.x, b.y, b.w, b.h };
    for (int e = 0; e < 4; ++e) {
        double v = l->head_x[c->at + (size_t)e * c->plane];
        if (y->new_coords && e >= HEAD_W) {
            int number = anchor_number(y, c->anchor);
            chain[e] =
                8 * v * head_anchor(&y->anchors, 2 * number + (e - HEAD_W)) / (e == HEAD_W ? net_w : net_h);
        } else if (!y->new_coords && e <= HEAD_Y) {
            double s = 1 / (1 + exp(-v));
            chain[e] *= s * (1 - s);
        }
        d[e] = by_box[e] * chain[e];
        if (!isfinite(d[e])) d[e] = 0;
    }
    return isfinite(iou) ? iou : 0;
}

static double utility(struct layer *l, int image, int prediction, const struct truth *t,
                      const struct utility_weights *u, double weight, int net_w, int net_h) {
    const struct yolo *y = l->state;
    struct head_grid g = grid_of(l);
    struct head_cell c = head_cell(&g, image, prediction);
    int class_id = head_class(l, t->class_id, y->classes);
    if (class_id < 0) return 0;
    double d[4], iou = overlap(l, &g, &c, t->box, net_w, net_h, d), total, by_object, by_class, by_iou;
    if (u->probability) {
        struct slope o = probability_at(y, l->head_x, &c, HEAD_OBJECT),
                     k = probability_at(y, l->head_x, &c, HEAD_CLASS + class_id);
        total = o.value * k.value * iou;
        by_object = o.d * k.value * iou;
        by_class = o.value * k.d * iou;
        by_iou = o.value * k.value;
    } else {
        struct slope o = logit_at(y, l->head_x, &c, HEAD_OBJECT),
                     k = logit_at(y, l->head_x, &c, HEAD_CLASS + class_id);
        total = u->obj * o.value + u->cls * k.value + u->iou * iou;
        by_object = u->obj * o.d;
        by_class = u->cls * k.d;
        by_iou = u->iou;
    }
    float *delta = l->head_delta + c.at;
    delta[HEAD_OBJECT * c.plane] += (float)(weight * by_object);
    delta[(size_t)(HEAD_CLASS + class_id) * c.plane] += (float)(weight * by_class);
    for (size_t e = 0; e < 4; ++e) delta[e * c.plane] += (float)(weight * by_iou * d[e]);
    return total;
}

static double objectness(struct layer *l, int image, int prediction, double weight) {
    struct head_grid g = grid_of(l);
    struct head_cell c = head_cell(&g, image, prediction);
    struct slope o = logit_at(l->state, l->head_x, &c, HEAD_OBJECT);
    if (weight != 0) l->head_delta[c.at + HEAD_OBJECT * c.plane] += (float)(weight * o.d);
    return o.value;
}

static const struct head_ops head = { .info = info,
                                      .decode = decode,
                                      .assign = assign,
                                      .utility = utility,
                                      .objectness = objectness,
                                      .activate = activate };

const struct layer_ops yolo_ops = { .name = "yolo",
                                    .state_size = sizeof(struct yolo),
                                    .keys = keys,
                                    .shape = shape,
                                    .prepare = prepare,
                                    .forward = head_forward,
                                    .backward = head_backward,
                                    .release = head_release,
                                    .couple = couple,
                                    .reads = head_reads,
                                    .describe = describe,
                                    .loss = loss,
                                    .head = &head };
