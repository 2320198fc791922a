/* Training of [yolo] and [Gaussian_yolo] (darknet-compat 3.4, 3.5; filtering of deltas: 1.7). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/yolo.h"

static float multiplier(const struct yolo_job *j, int class_id) {
    return j->run && j->run->multiplier ? j->run->multiplier[class_id] : 1;
}

/* --- Classes ---------------------------------------------------------------------------------- */

/* COMPAT: cls_normalizer counts only together with counters_per_class; a class that is already set is renewed
 * alone. */
static void class_delta(const struct yolo_job *j, const struct head_cell *c, int class_id) {
    const struct yolo *y = j->y;
    bool weighted = j->run && j->run->multiplier;
    float *delta = j->delta + c->at + (size_t)yolo_class(y, 0) * c->plane, eps = (float)y->label_smooth_eps;
    float on = 1 - eps + .5f * eps, off = .5f * eps, own = yolo_value(y, j->x, c, yolo_class(y, class_id));
    float *mine = delta + (size_t)class_id * c->plane;
    if ((y->form->first_class_decides ? *delta : *mine) != 0) {
        if (isfinite(on - own)) *mine = on - own;
        *mine *= multiplier(j, class_id);
        return;
    }
    float focal = y->focal_loss ? head_focal(own) : 1;
    if (y->focal_loss) on = 1, off = 0;
    for (int k = 0; k < y->classes; ++k, delta += c->plane) {
        float d = (k == class_id ? on : off) - yolo_value(y, j->x, c, yolo_class(y, k));
        if (isfinite(d) || y->focal_loss) *delta = d * focal;
    }
    if (weighted && !y->focal_loss) *mine *= multiplier(j, class_id) * (float)y->cls_normalizer;
}

static bool any_class_above(const struct yolo_job *j, const struct head_cell *c, float limit) {
    for (int k = 0; k < j->y->classes; ++k)
        if (yolo_value(j->y, j->x, c, yolo_class(j->y, k)) > limit) return true;
    return false;
}

/* --- Boxes ------------------------------------------------------------------------------------ */

float yolo_clipped(const struct yolo *y, double v) {
    float d = (float)v;
    if (!isfinite(d)) return 0;
    return y->max_delta < FLT_MAX ? fmaxf(-(float)y->max_delta, fminf((float)y->max_delta, d)) : d;
}

static void squared_delta(const struct yolo_job *j, const struct head_cell *c, struct box t, double scale, float *d) {
    const struct yolo *y = j->y;
    int number = yolo_anchor_number(y, c->anchor);
    double w = (double)t.w * j->net_w / head_anchor(&y->anchors, 2 * number);
    double h = (double)t.h * j->net_h / head_anchor(&y->anchors, 2 * number + 1);
    double f = (2 - (double)t.w * t.h) * scale;
    d[HEAD_X] = (float)(f * (t.x * (float)j->g.w - (float)c->col - yolo_value(y, j->x, c, HEAD_X)));
    d[HEAD_Y] = (float)(f * (t.y * (float)j->g.h - (float)c->row - yolo_value(y, j->x, c, HEAD_Y)));
    d[HEAD_W] = (float)(f * ((y->new_coords ? sqrt(w / 4) : log(w)) - yolo_value(y, j->x, c, HEAD_W)));
    d[HEAD_H] = (float)(f * ((y->new_coords ? sqrt(h / 4) : log(h)) - yolo_value(y, j->x, c, HEAD_H)));
}

void yolo_overlap_delta(const struct yolo *y, const struct head_cell *c, const float *x, struct box pred, struct box t, double *v) {
    struct box_grad g = box_iou_darknet_grad((enum iou_kind)y->iou_loss, pred, t);
    v[HEAD_X] = g.x, v[HEAD_Y] = g.y, v[HEAD_W] = g.w, v[HEAD_H] = g.h;
    /* COMPAT: no factor at all in the new coordinates, none for x and y in the old ones. */
    if (y->new_coords) return;
    v[HEAD_W] *= exp(yolo_value(y, x, c, yolo_coord(y, HEAD_W)));
    v[HEAD_H] *= exp(yolo_value(y, x, c, yolo_coord(y, HEAD_H)));
}

void yolo_box_delta(const struct yolo_job *j, const struct head_cell *c, struct box pred, struct box t, double factor, float *d) {
    double v[4], scale = j->y->iou_normalizer * factor;
    if (j->y->iou_loss == IOU_MSE) {
        squared_delta(j, c, t, scale, d);
        return;
    }
    yolo_overlap_delta(j->y, c, j->x, pred, t, v);
    for (int e = 0; e < 4; ++e) d[e] = yolo_clipped(j->y, v[e] * scale);
}

/* Adds the box's delta; returns the predicted box. */
static struct box add_box(struct yolo_job *j, const struct head_cell *c, struct box t, int class_id) {
    float *delta = j->delta + c->at, d[8];
    size_t n = (size_t)j->y->form->box_entries;
    bool written = false;
    for (size_t e = 0; e < n; ++e) written = written || delta[e * c->plane] != 0;
    ++j->stats->boxes;
    j->stats->rewritten += written;
    struct box pred = yolo_box(j->y, &j->g, j->x, c, j->net_w, j->net_h);
    j->y->form->box_delta(j, c, pred, t, multiplier(j, class_id), d);
    for (size_t e = 0; e < n; ++e) delta[e * c->plane] += d[e];
    return pred;
}

/* With several anchors per truth a cell's box can serve several classes: the mean of their deltas. */
static void average_boxes(const struct yolo_job *j) {
    const struct yolo *y = j->y;
    size_t n = (size_t)y->form->box_entries;
    for (int p = 0; p < head_predictions(&j->g); ++p) {
        struct head_cell c = head_cell(&j->g, j->image, p);
        float *d = j->delta + c.at;
        bool empty = true;
        for (size_t e = 0; e < n; ++e) empty = empty && d[e * c.plane] == 0;
        if (empty || (!y->form->averages_always && d[(size_t)yolo_object(y) * c.plane] == 0)) continue;
        int positive = 0;
        for (int k = 0; k < j->g.classes; ++k) positive += d[(size_t)yolo_class(y, k) * c.plane] > 0;
        for (size_t e = 0; positive && e < n; ++e) d[e * c.plane] /= (float)positive;
    }
}

/* --- Predictions ------------------------------------------------------------------------------ */

static float object_value(const struct yolo_job *j, const struct head_cell *c) {
    float v = yolo_value(j->y, j->x, c, yolo_object(j->y));
    return isfinite(v) ? v : 0;
}

static float *object_delta(const struct yolo_job *j, const struct head_cell *c) {
    return &j->delta[c->at + (size_t)yolo_object(j->y) * c->plane];
}

/* The prediction of one cell overlaps a truth by more than truth_thresh: trained as if it were assigned. */
static void accept(struct yolo_job *j, const struct head_cell *c, const struct truth *t, double iou) {
    const struct yolo *y = j->y;
    int class_id = head_class(j->l, t->class_id, y->classes);
    float target = y->objectness_smooth ? (float)(iou * iou) : 1;
    *object_delta(j, c) = (float)y->obj_normalizer * (target - object_value(j, c));
    if (class_id < 0) return;
    class_delta(j, c, class_id);
    if (y->objectness_smooth)
        j->delta[c->at + (size_t)yolo_class(y, class_id) * c->plane] =
            multiplier(j, class_id) * (target - yolo_value(y, j->x, c, yolo_class(y, class_id)));
    add_box(j, c, t->box, class_id);
}

/* What an adversarial pass asks of a prediction that matches nothing: less objectness, less of the classes that it shows and
 * more of the others, a smaller box, all the more the larger the box is. */
static void deceive(struct yolo_job *j, const struct head_cell *c, struct box pred) {
    const struct yolo *y = j->y;
    float object = object_value(j, c), scale = pred.w * pred.h, *delta = j->delta + c->at;
    bool found = false;
    if (scale > 0) scale = sqrtf(scale);
    *object_delta(j, c) = scale * (float)y->obj_normalizer * (0 - object);
    for (int k = 0; k < y->classes; ++k) {
        float p = yolo_value(y, j->x, c, yolo_class(y, k));
        if (!(p * object > .25f)) continue;
        delta[(size_t)yolo_class(y, k) * c->plane] = scale * (0 - p);
        found = true;
    }
    for (int k = 0; found && k < y->classes; ++k) {
        float p = yolo_value(y, j->x, c, yolo_class(y, k));
        if (p * object < .25f) delta[(size_t)yolo_class(y, k) * c->plane] = scale * (1 - p);
    }
    for (int e = HEAD_X; found && e <= HEAD_H; ++e)
        delta[(size_t)yolo_coord(y, e) * c->plane] += scale * (0 - yolo_value(y, j->x, c, yolo_coord(y, e)));
}

/* Step A: every prediction is background unless it overlaps something. */
static void background(struct yolo_job *j, const struct head_cell *c) {
    const struct yolo *y = j->y;
    float object = object_value(j, c), *delta = object_delta(j, c);
    j->any_object += object;
    *delta = (float)y->obj_normalizer * (0 - object);
    if (!j->n_truth && !j->adversarial) return;
    struct box pred = yolo_box(y, &j->g, j->x, c, j->net_w, j->net_h);
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
    } else if (j->adversarial) deceive(j, c, pred);
    if (nearest && best > y->truth_thresh) accept(j, c, nearest, best);
}

/* Step B, one anchor of one truth. */
static void assign_truth(struct yolo_job *j, const struct truth *t, int anchor, int row, int col) {
    const struct yolo *y = j->y;
    int class_id = head_class(j->l, t->class_id, y->classes);
    if (class_id < 0) return;
    struct head_cell c = head_cell_at(&j->g, j->image, anchor, row, col);
    struct box pred = add_box(j, &c, t->box, class_id);
    double iou = box_iou(pred, t->box), giou = box_giou(pred, t->box);
    double overlap = y->iou_loss == IOU_MSE ? iou : giou;
    j->stats->iou_sum += iou;
    j->iou_error += 1 - iou;
    j->giou_error += 1 - giou;
    j->overlap += overlap;
    j->over50 += overlap > .5;
    j->over75 += overlap > .75;
    j->object += object_value(j, &c);
    j->own_class += yolo_value(y, j->x, &c, yolo_class(y, class_id));
    ++j->stats->count;
    float *delta = object_delta(j, &c);
    if (!y->objectness_smooth || *delta == 0)
        *delta = multiplier(j, class_id) * (float)y->obj_normalizer * (1 - object_value(j, &c));
    class_delta(j, &c, class_id);
    if (j->run && j->run->label) {
        size_t p = (size_t)j->image * (size_t)head_predictions(&j->g) + (size_t)head_prediction(&j->g, anchor, row, col);
        j->run->label[p] = t->track;
        j->run->label_class[p] = class_id;
    }
}

static enum status loss_image(struct ctx *ctx, struct yolo_job *j) {
    int *local = mem_zero(ctx, (size_t)j->y->num, sizeof *local);
    if (!local) return ST_MEMORY;
    for (int p = 0; p < head_predictions(&j->g); ++p) {
        struct head_cell c = head_cell(&j->g, j->image, p);
        background(j, &c);
    }
    for (int t = 0; t < j->n_truth; ++t) {
        const struct truth *truth = &j->truth[t];
        if (truth->class_id < 0 || truth->class_id >= j->y->classes) continue;
        int row, col;
        yolo_cell_of(j->y, &j->g, truth->box, &row, &col);
        int n = yolo_anchors_for(j->y, truth->box, j->net_w, j->net_h, local, j->y->num);
        for (int i = 0; i < n; ++i) assign_truth(j, truth, local[i], row, col);
    }
    if (j->y->iou_thresh < 1 || j->y->form->averages_always) average_boxes(j);
    free(local);
    return ST_OK;
}

/* --- Filtering of deltas late in training ------------------------------------------------------ */

/* Zeroes deltas with |d| > limit; returns how many. */
static size_t reject_above(float *d, size_t n, double limit) {
    size_t rejected = 0;
    for (size_t i = 0; i < n; ++i)
        if (fabs((double)d[i]) > limit) d[i] = 0, ++rejected;
    return rejected;
}

static void roll(double *average, double value) { *average = .99 * *average + .01 * value; }

static double deviation_from(const float *d, size_t n, double mean, size_t used) {
    double sum = 0;
    for (size_t i = 0; i < n; ++i)
        if (d[i] != 0) sum += pow(d[i] - mean, 2);
    return sqrt(sum / (double)used);
}

/* The largest deltas are thought to come from wrong labels, the smallest from examples that are learnt already.  Upstream keeps
 * one set of averages for all heads together, here each head has its own. */
static void reject(struct yolo *y, const struct loss_args *args, float *d, size_t n) {
    struct yolo_rejection *r = &y->rejection;
    double iteration = (double)args->iteration, max = args->max_batches, start = floor(max * 3 / 4);
    bool late = iteration > start, sigmas = r->sigmas != 0 && late, percentage = r->percentage != 0 && late;
    bool equidistant = r->equidistant_point && iteration > r->equidistant_point;
    if (!sigmas && !percentage && !equidistant) return;
    double progress = (iteration - r->equidistant_point) / (max - r->equidistant_point);
    double low = r->average * progress * 1.4, most = 0, sum = 0;
    size_t used = 0;
    for (size_t i = 0; i < n; ++i) {
        used += d[i] != 0;
        sum += fabs((double)d[i]);
        most = fmax(most, fabs((double)d[i]));
    }
    if (!used) return;
    if (r->max == 0) r->max = most;
    roll(&r->max, most);
    roll(&r->average, sum / (double)used);
    if (sigmas) {
        double final = r->average + r->sigmas * r->deviation;
        roll(&r->deviation, deviation_from(d, n, r->average, used));
        reject_above(d, n, fmax(final, r->max - (iteration - start) / start * fabs(r->max - final)));
        low = fmin(final, r->average) * progress;
    }
    if (percentage) {
        used = 0;
        for (size_t i = 0; i < n; ++i) used += d[i] != 0;
        if (r->threshold == 0) r->threshold = r->max;
        double share = used ? 100. * (double)reject_above(d, n, r->threshold) * (y->classes + 5) / (double)used : 0;
        if (share > r->percentage) r->threshold += .01;
        else if (r->threshold > .01) r->threshold -= .01;
    }
    for (size_t i = 0; equidistant && i < n; ++i)
        if (fabs((double)d[i]) < low) d[i] = 0;
}

/* --- Loss ------------------------------------------------------------------------------------- */

/* What Darknet logs; the loss is for the log only, the deltas above are what trains. */
void yolo_summarise(const struct yolo_job *j, int batch) {
    const struct yolo *y = j->y;
    struct loss_stats *s = j->stats;
    double all = j->all, box = j->box;
    int count = s->count ? s->count : 1;
    double class_loss = y->obj_normalizer * (all - box);
    s->loss = all;
    if (y->show_details && y->iou_loss != IOU_MSE) {
        s->averaged = y->iou_normalizer * (y->iou_loss == IOU_GIOU ? j->giou_error : j->iou_error) / count;
        s->loss = s->averaged + class_loss;
    }
    s->class_loss = class_loss / batch;
    s->iou_loss = (all - class_loss) / batch;
    const char *kind = y->iou_loss == IOU_MSE ? "mse" : y->iou_loss == IOU_GIOU ? "giou" : "iou";
    int used = snprintf(s->line, sizeof s->line,
                        "v3 (%s loss, Normalizer: (iou: %.2f, obj: %.2f, cls: %.2f) Region %d Avg (IOU: %f), "
                        "count: %d, ",
                        kind, y->iou_normalizer, y->obj_normalizer, y->cls_normalizer, j->l->index,
                        s->iou_sum / count, count);
    if (used < 0 || (size_t)used >= sizeof s->line) return;
    if (!y->show_details)
        snprintf(s->line + used, sizeof s->line - (size_t)used, "total_loss = %f ", all / batch);
    else
        snprintf(s->line + used, sizeof s->line - (size_t)used,
                 "class_loss = %f, iou_loss = %f, total_loss = %f ", s->class_loss, s->iou_loss, all / batch);
}

static double uncertainty_norm(const struct yolo_job *j, int batch) {
    double sigma = 0;
    for (int b = 0; b < batch; ++b)
        for (int p = 0; p < head_predictions(&j->g); ++p) {
            struct head_cell c = head_cell(&j->g, b, p);
            for (int e = HEAD_X; e <= HEAD_H; ++e) sigma += pow(j->delta[c.at + (size_t)yolo_sigma(j->y, e) * c.plane], 2);
        }
    return sigma;
}

enum status yolo_loss(struct ctx *ctx, struct layer *l, const struct loss_args *args,
                      struct loss_stats *stats) {
    struct yolo *y = l->state;
    struct yolo_job j = { .l = l,
                          .y = y,
                          .run = l->run,
                          .g = yolo_grid(l),
                          .net_w = args->net_w,
                          .net_h = args->net_h,
                          .adversarial = args->adversarial,
                          .x = l->head_x,
                          .delta = l->head_delta,
                          .stats = stats };
    size_t count = head_image(&j.g) * (size_t)args->batch, predictions = (size_t)head_predictions(&j.g) * (size_t)args->batch;
    if (yolo_loss_queued(l)) return yolo_device_loss(ctx, l, args);
    *stats = (struct loss_stats){ .none = !l->head_delta };
    if (stats->none) return ST_OK;
    TRY(head_boxes(ctx, l, args));
    memset(l->head_delta, 0, count * sizeof *l->head_delta);
    for (size_t i = 0; j.run->label && i < predictions; ++i) j.run->label[i] = j.run->label_class[i] = -1;
    for (j.image = 0; j.image < args->batch; ++j.image) {
        const struct truth_list *list = &args->truth[j.image];
        j.truth = list->item;
        j.n_truth = list->n < y->max ? list->n : y->max;
        TRY(loss_image(ctx, &j));
    }
    reject(y, args, l->head_delta, count);
    head_norms(l, &j.g, args->batch, &j.all, &j.box);
    if (y->form->box_entries == 8) j.sigma = uncertainty_norm(&j, args->batch);
    y->form->summarise(&j, args->batch);
    float scale = -(float)y->delta_normalizer;
    for (size_t i = 0; i < count; ++i) l->head_delta[i] *= scale;
    return ST_OK;
}
