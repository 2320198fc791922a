/* [yolo]: anchors over a grid with independent classes (darknet-compat 3.1 to 3.4; YOLOv3, YOLOv4 and, with
 * new_coords, Scaled-YOLOv4 and YOLOv7).
 * Input (N, n*(5+C), H, W), n = number of mask entries; no output tensor.  Training is in yolo_loss.c. */
#include "layers/yolo.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct cfg_choice yolo_iou_losses[] = { { "mse", IOU_MSE },   { "iou", IOU_PLAIN },
                                              { "giou", IOU_GIOU }, { "diou", IOU_DIOU },
                                              { "ciou", IOU_CIOU }, { NULL, 0 } };
const struct cfg_choice yolo_iou_kinds[] = {
    { "iou", IOU_PLAIN }, { "giou", IOU_GIOU }, { "diou", IOU_DIOU }, { "ciou", IOU_CIOU }, { NULL, 0 }
};
static const struct cfg_choice nms_kinds[] = {
    { "default", NMS_DEFAULT }, { "greedynms", NMS_GREEDY }, { "diounms", NMS_DIOU }, { NULL, 0 }
};

static const struct cfg_key keys[] = {
    YOLO_KEYS,
    CFG_BOOL(struct yolo, new_coords, 0),
    CFG_BOOL(struct yolo, focal_loss, 0),
    { .name = "nms_kind", .type = CFG_T_CHOICE, .offset = offsetof(struct yolo, nms_kind), .def = NMS_DEFAULT,
      .choices = nms_kinds, .lenient = true },
    CFG_BOOL(struct yolo, show_details, 1),
    CFG_INT(struct yolo, embedding_layer, NO_EMBEDDING, -NO_EMBEDDING, NO_EMBEDDING),
    CFG_INT(struct yolo, track_history_size, 5, 1, 1 << 20),
    CFG_FLOAT(struct yolo, sim_thresh, .8),
    CFG_INT(struct yolo, dets_for_track, 1, 0, 1 << 20),
    CFG_INT(struct yolo, dets_for_show, 1, 0, 1 << 20),
    CFG_FLOAT(struct yolo, track_ciou_norm, .01),
    CFG_IGNORED("uc_normalizer"), CFG_IGNORED("beta1"),
    CFG_END
};

/* --- Anchors ---------------------------------------------------------------------------------- */

int yolo_anchors(const struct yolo *y) { return y->mask.n ? y->mask.n : y->num; }
int yolo_anchor_number(const struct yolo *y, int local) { return y->mask.n ? y->mask.v[local] : local; }

/* First place of an anchor in the mask, -1 when another head owns it. */
static int place_in_mask(const struct yolo *y, int number) {
    for (int i = 0; i < yolo_anchors(y); ++i)
        if (yolo_anchor_number(y, i) == number) return i;
    return -1;
}

int yolo_anchors_for(const struct yolo *y, struct box truth, int net_w, int net_h, int *local, int cap) {
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

/* Which half of its size lies between a box's centre and the point that a cell codes: -1 left and top, 1 right and bottom. */
static int point_side(const struct yolo *y) { return y->yolo_point == POINT_LEFT_TOP ? -1 : y->yolo_point == POINT_RIGHT_BOTTOM; }

void yolo_cell_of(const struct yolo *y, const struct head_grid *g, struct box truth, int *row, int *col) {
    *col = head_cell_of(truth.x + (float)point_side(y) * truth.w / 2, g->w);
    *row = head_cell_of(truth.y + (float)point_side(y) * truth.h / 2, g->h);
}

/* --- Geometry and activation ------------------------------------------------------------------ */

struct head_grid yolo_grid(const struct layer *l) {
    const struct yolo *y = l->state;
    struct head_grid g = head_grid(l, yolo_anchors(y), y->classes);
    g.box = y->form->box_entries;
    return g;
}

int yolo_coord(const struct yolo *y, int e) { return y->form->box_entries == 8 ? 2 * e : e; }
int yolo_sigma(const struct yolo *y, int e) { return yolo_coord(y, e) + 1; }
int yolo_object(const struct yolo *y) { return y->form->box_entries; }
int yolo_class(const struct yolo *y, int class_id) { return y->form->box_entries + 1 + class_id; }

static bool is_place(const struct yolo *y, int plane) { return plane == yolo_coord(y, HEAD_X) || plane == yolo_coord(y, HEAD_Y); }
static bool is_size(const struct yolo *y, int plane) { return plane == yolo_coord(y, HEAD_W) || plane == yolo_coord(y, HEAD_H); }

float yolo_value(const struct yolo *y, const float *x, const struct head_cell *c, int plane) {
    float v = x[c->at + (size_t)plane * c->plane];
    if (!y->new_coords && !is_size(y, plane)) v = head_logistic(v);
    if (is_place(y, plane)) v = v * (float)y->scale_x_y + (float)(-.5 * (y->scale_x_y - 1));
    return v;
}

struct box yolo_box(const struct yolo *y, const struct head_grid *g, const float *x, const struct head_cell *c, int net_w, int net_h) {
    int number = yolo_anchor_number(y, c->anchor);
    double w = x[c->at + (size_t)yolo_coord(y, HEAD_W) * c->plane], h = x[c->at + (size_t)yolo_coord(y, HEAD_H) * c->plane];
    double sx = head_anchor(&y->anchors, 2 * number) / net_w,
           sy = head_anchor(&y->anchors, 2 * number + 1) / net_h;
    struct box b;
    b.w = (float)((y->new_coords ? w * w * 4 : exp(w)) * sx);
    b.h = (float)((y->new_coords ? h * h * 4 : exp(h)) * sy);
    b.x = ((float)c->col + yolo_value(y, x, c, yolo_coord(y, HEAD_X))) / (float)g->w;
    b.y = ((float)c->row + yolo_value(y, x, c, yolo_coord(y, HEAD_Y))) / (float)g->h;
    if (point_side(y)) b.x -= (float)point_side(y) * b.w / 2, b.y -= (float)point_side(y) * b.h / 2;
    return b;
}

/* 1 - the mean of the four uncertainties; 1 where there are none. */
static double certainty(const struct yolo *y, const float *x, const struct head_cell *c) {
    double sum = 0;
    if (y->form->box_entries != 8) return 1;
    for (int e = HEAD_X; e <= HEAD_H; ++e) sum += yolo_value(y, x, c, yolo_sigma(y, e));
    return 1 - sum / 4;
}

/* --- Layer ------------------------------------------------------------------------------------ */

static enum status inputs(struct ctx *ctx, struct layer *l) {
    const struct yolo *y = l->state;
    if (l->index == 0) return layer_fail(ctx, l, NULL, "the first layer has nothing before it to read");
    int from[2] = { -1, y->embedding_layer };
    return layer_inputs(ctx, l, "embedding_layer", from, y->embedding_layer == NO_EMBEDDING ? 1 : 2);
}

static enum status check_embedding(struct ctx *ctx, const struct layer *l) {
    struct shape e = l->in_shape[1], in = l->in_shape[0];
    int n = yolo_anchors(l->state);
    if (e.w != in.w || e.h != in.h)
        return layer_fail(ctx, l, "embedding_layer", "layer %d is %d x %d, but this head is %d x %d", l->in[1], e.w, e.h, in.w, in.h);
    if (e.c % n) return layer_fail(ctx, l, "embedding_layer", "layer %d has %d channels, which %d anchors do not divide", l->in[1], e.c, n);
    return ST_OK;
}

enum status yolo_shape(struct ctx *ctx, struct layer *l, const struct yolo_form *form, const struct net_options *net) {
    struct yolo *y = l->state;
    y->form = form;
    if (net) {
        y->rejection.percentage = net->badlabels_rejection_percentage;
        y->rejection.sigmas = net->num_sigmas_reject_badlabels;
        y->rejection.equidistant_point = net->equidistant_point;
    }
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
    if (l->n_in > 1) TRY(check_embedding(ctx, l));
    struct head_grid g = yolo_grid(l);
    return head_shape(ctx, l, &g, y->mask.n ? "mask" : "num");
}

static enum status class_multipliers(struct ctx *ctx, const struct yolo *y, struct head_run *run) {
    run->multiplier = mem_zero(ctx, (size_t)y->classes, sizeof *run->multiplier);
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

enum status yolo_prepare(struct layer *l, struct pass *p) {
    const struct yolo *y = l->state;
    TRY(head_prepare(l, p, y->classes, y->map));
    struct head_run *run = l->run;
    struct head_grid g = yolo_grid(l);
    size_t cells = (size_t)p->batch * (size_t)head_predictions(&g);
    if (l->n_in > 1) {
        run->embedding = mem_zero(p->ctx, (size_t)p->batch * shape_count(l->in_shape[1]), sizeof *run->embedding);
        if (!run->embedding) return ST_MEMORY;
    }
    if (p->mode == NET_INFER) return ST_OK;
    if (y->counters_per_class.n) TRY(class_multipliers(p->ctx, y, run));
    TRY(yolo_device_prepare(l, p));
    if (run->plan) return ST_OK;
    run->label = mem_zero(p->ctx, cells, sizeof *run->label);
    run->label_class = mem_zero(p->ctx, cells, sizeof *run->label_class);
    return p->ctx->code;
}

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    static const struct yolo_form form = { .box_entries = 4, .box_delta = yolo_box_delta, .summarise = yolo_summarise };
    (void)all;
    return yolo_shape(ctx, l, &form, net);
}

enum status yolo_forward(struct layer *l, struct pass *p) {
    const struct head_run *run = l->run;
    return run->plan ? ST_OK : head_forward(l, p);
}

enum status yolo_backward(struct layer *l, struct pass *p) {
    const struct head_run *run = l->run;
    if (!run->plan) return head_backward(l, p);
    struct tensor delta = shape_tensor(p->be, l->in_shape[0], p->batch, run->delta);
    if (p->dx[0]) p->be->ops->copy_channels(p->be, &delta, 0, p->dx[0], 0, delta.c, p->loss_scale, p->add[0]);
    return ST_OK;
}

static enum status forward(struct layer *l, struct pass *p) {
    struct head_run *run = l->run;
    if (run->embedding) p->be->ops->to_nchw(p->be, p->x[1], run->embedding);
    return yolo_forward(l, p);
}

/* [contrastive] trains the embeddings; the head only reports them. */
static bool overwrites(const struct layer *l, int input) {
    (void)l;
    return input == 0;
}

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    channels_freeze(ch, l->in[0], "read by [yolo]");
    if (l->n_in > 1) channels_freeze(ch, l->in[1], "read by [yolo] as embeddings");
}

const char *yolo_iou_name(const struct yolo *y) {
    const struct cfg_choice *c = yolo_iou_losses;
    while (c->name && c->value != y->iou_loss) ++c;
    return c->name ? c->name : "";
}

static void describe(const struct layer *l, char *text, size_t size) {
    const struct yolo *y = l->state;
    snprintf(text, size,
             "yolo\n[yolo] params: iou loss: %s (%d), iou_norm: %2.2f, obj_norm: %2.2f, cls_norm: %2.2f, "
             "delta_norm: %2.2f, scale_x_y: %2.2f",
             yolo_iou_name(y), y->iou_loss, y->iou_normalizer, y->obj_normalizer,
             y->cls_normalizer, y->delta_normalizer, y->scale_x_y);
}

void yolo_info(const struct layer *l, int type_number, struct head_info *i) {
    const struct yolo *y = l->state;
    struct head_grid g = yolo_grid(l);
    *i = (struct head_info){ .classes = y->classes,
                             .max_boxes = y->max,
                             .predictions = head_predictions(&g),
                             .jitter = y->jitter,
                             .resize = y->resize,
                             .random = y->random,
                             .nms_kind = (enum nms_kind)y->nms_kind,
                             .beta_nms = y->beta_nms,
                             .type_number = type_number };
}

static void info(const struct layer *l, struct head_info *i) {
    const struct yolo *y = l->state;
    yolo_info(l, 28, i);
    if (l->n_in > 1) i->embedding = l->in_shape[1].c / yolo_anchors(y);
    i->track = (struct track_options){ .history = y->track_history_size, .for_track = y->dets_for_track, .for_show = y->dets_for_show,
                                       .similarity = y->sim_thresh, .ciou_norm = y->track_ciou_norm };
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
    float object = yolo_value(y, l->head_x, c, yolo_object(y));
    if (!(object > thresh)) return ST_OK;
    struct detection *d;
    TRY(detections_add(ctx, list, &d));
    d->box = yolo_box(y, g, l->head_x, c, net_w, net_h);
    d->objectness = object;
    d->head = l->index;
    d->prediction = head_prediction(g, c->anchor, c->row, c->col);
    double sure = certainty(y, l->head_x, c);
    float limit = raw_limit(y, (double)thresh / (object * sure));
    int classes = y->classes < list->classes ? y->classes : list->classes;
    const float *raw = l->head_x + c->at + (size_t)yolo_class(y, 0) * c->plane;
    for (int k = 0; k < classes; ++k, raw += c->plane) {
        if (!(*raw > limit)) continue;
        float prob = (float)(object * yolo_value(y, l->head_x, c, yolo_class(y, k)) * sure);
        if (prob > thresh) d->prob[k] = prob;
    }
    return ST_OK;
}

enum status yolo_decode(struct ctx *ctx, const struct layer *l, int image, int net_w, int net_h,
                        float thresh, struct detection_list *list) {
    struct head_grid g = yolo_grid(l);
    size_t object = (size_t)yolo_object(l->state);
    float limit = raw_limit(l->state, thresh);
    for (int row = 0; row < g.h; ++row)
        for (int col = 0; col < g.w; ++col)
            for (int a = 0; a < g.n; ++a) {
                struct head_cell c = head_cell_at(&g, image, a, row, col);
                if (!(l->head_x[c.at + object * c.plane] > limit)) continue;
                TRY(decode_cell(ctx, l, &g, &c, net_w, net_h, thresh, list));
            }
    return ST_OK;
}

void yolo_activate(const struct layer *l, const float *raw, float *out) {
    const struct yolo *y = l->state;
    struct head_grid g = yolo_grid(l);
    for (int p = 0; p < head_predictions(&g); ++p) {
        struct head_cell c = head_cell(&g, 0, p);
        for (int e = 0; e < head_entries(&g); ++e)
            out[c.at + (size_t)e * c.plane] = yolo_value(y, raw, &c, e);
    }
}

static void embedding(const struct layer *l, int image, int prediction, float *dst) {
    const struct head_run *run = l->run;
    struct head_grid g = yolo_grid(l);
    struct head_cell c = head_cell(&g, 0, prediction);
    int size = l->in_shape[1].c / g.n;
    const float *e = run->embedding + (size_t)image * shape_count(l->in_shape[1]) + (size_t)(c.anchor * size) * c.plane +
                     (size_t)(c.row * g.w + c.col);
    for (int k = 0; k < size; ++k) dst[k] = e[(size_t)k * c.plane];
}

/* --- Utility of single predictions (pruning.md 2) --------------------------------------------- */

int yolo_assign(const struct layer *l, int image, struct box truth, int net_w, int net_h, int *prediction, int cap) {
    (void)image;
    struct head_grid g = yolo_grid(l);
    int row, col;
    yolo_cell_of(l->state, &g, truth, &row, &col);
    int n = yolo_anchors_for(l->state, truth, net_w, net_h, prediction, cap);
    for (int i = 0; i < n; ++i) prediction[i] = head_prediction(&g, prediction[i], row, col);
    return n;
}

/* A logit or probability and its derivative with respect to the raw value. */
struct slope { double value, d; };

static struct slope logit_at(const struct yolo *y, const float *x, const struct head_cell *c, int plane) {
    double v = x[c->at + (size_t)plane * c->plane];
    if (!y->new_coords) return (struct slope){ v, 1 };
    v = fmin(fmax(v, 1e-7), 1 - 1e-7);
    return (struct slope){ log(v / (1 - v)), 1 / (v * (1 - v)) };
}

static struct slope probability_at(const struct yolo *y, const float *x, const struct head_cell *c,
                                   int plane) {
    double v = x[c->at + (size_t)plane * c->plane];
    if (y->new_coords) return (struct slope){ v, 1 };
    double p = 1 / (1 + exp(-v));
    return (struct slope){ p, p * (1 - p) };
}

/* Overlap with the truth, and its derivative with respect to the four raw coordinates. */
static double overlap(const struct layer *l, const struct head_grid *g, const struct head_cell *c,
                      struct box truth, int net_w, int net_h, double *d) {
    const struct yolo *y = l->state;
    struct box pred = yolo_box(y, g, l->head_x, c, net_w, net_h);
    double iou, shift = -point_side(y) / 2.;
    struct box_grad b = box_iou_exact_grad((enum iou_kind)y->iou_loss, pred, truth, &iou);
    double chain[4] = { y->scale_x_y / g->w, y->scale_x_y / g->h, pred.w, pred.h };
    const double by_box[4] = { b.x, b.y, b.w + shift * b.x, b.h + shift * b.y };
    for (int e = HEAD_X; e <= HEAD_H; ++e) {
        double v = l->head_x[c->at + (size_t)yolo_coord(y, e) * c->plane];
        if (y->new_coords && e >= HEAD_W) {
            int number = yolo_anchor_number(y, c->anchor);
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

double yolo_utility(struct layer *l, int image, int prediction, const struct truth *t,
                    const struct utility_weights *u, double weight, int net_w, int net_h) {
    const struct yolo *y = l->state;
    struct head_grid g = yolo_grid(l);
    struct head_cell c = head_cell(&g, image, prediction);
    int class_id = head_class(l, t->class_id, y->classes);
    if (class_id < 0) return 0;
    int object = yolo_object(y), own = yolo_class(y, class_id);
    double d[4], iou = overlap(l, &g, &c, t->box, net_w, net_h, d), total, by_object, by_class, by_iou;
    float *delta = l->head_delta + c.at;
    if (u->probability) {
        struct slope o = probability_at(y, l->head_x, &c, object), k = probability_at(y, l->head_x, &c, own);
        double sure = certainty(y, l->head_x, &c), all = o.value * k.value * iou;
        total = all * sure;
        by_object = o.d * k.value * iou * sure;
        by_class = o.value * k.d * iou * sure;
        by_iou = o.value * k.value * sure;
        for (int e = HEAD_X; e <= HEAD_H && y->form->box_entries == 8; ++e)
            delta[(size_t)yolo_sigma(y, e) * c.plane] -= (float)(weight * all * probability_at(y, l->head_x, &c, yolo_sigma(y, e)).d / 4);
    } else {
        struct slope o = logit_at(y, l->head_x, &c, object), k = logit_at(y, l->head_x, &c, own);
        total = u->obj * o.value + u->cls * k.value + u->iou * iou;
        by_object = u->obj * o.d;
        by_class = u->cls * k.d;
        by_iou = u->iou;
    }
    delta[(size_t)object * c.plane] += (float)(weight * by_object);
    delta[(size_t)own * c.plane] += (float)(weight * by_class);
    for (int e = HEAD_X; e <= HEAD_H; ++e) delta[(size_t)yolo_coord(y, e) * c.plane] += (float)(weight * by_iou * d[e]);
    return total;
}

double yolo_objectness(struct layer *l, int image, int prediction, double weight) {
    const struct yolo *y = l->state;
    struct head_grid g = yolo_grid(l);
    struct head_cell c = head_cell(&g, image, prediction);
    struct slope o = logit_at(y, l->head_x, &c, yolo_object(y));
    if (weight != 0) l->head_delta[c.at + (size_t)yolo_object(y) * c.plane] += (float)(weight * o.d);
    return o.value;
}

/* One plane that holds a probability.  Activated outputs (new_coords) train by their difference, as in the loss. */
static double imitate_plane(struct layer *l, const struct layer *other, const struct head_cell *c, int plane, double weight) {
    const struct yolo *y = l->state;
    double own = probability_at(y, l->head_x, c, plane).value, his = probability_at(y, other->head_x, c, plane).value;
    l->head_delta[c->at + (size_t)plane * c->plane] += (float)(weight * (own - his));
    return y->new_coords ? (own - his) * (own - his) / 2 : head_divergence(own, his);
}

double yolo_imitate(struct layer *l, const struct layer *other, int image, int prediction, double weight, int net_w, int net_h) {
    const struct yolo *y = l->state;
    struct head_grid g = yolo_grid(l);
    struct head_cell c = head_cell(&g, image, prediction);
    double seen = probability_at(y, other->head_x, &c, yolo_object(y)).value, d[4], sum;
    weight *= y->delta_normalizer;
    sum = y->obj_normalizer * imitate_plane(l, other, &c, yolo_object(y), weight * y->obj_normalizer);
    if (!(seen > HEAD_SEEN)) return y->delta_normalizer * sum;
    for (int k = 0; k < y->classes; ++k) sum += seen * imitate_plane(l, other, &c, yolo_class(y, k), weight * seen);
    for (int e = HEAD_X; e <= HEAD_H && y->form->box_entries == 8; ++e)
        sum += seen * imitate_plane(l, other, &c, yolo_sigma(y, e), weight * seen);
    double iou = overlap(l, &g, &c, yolo_box(y, &g, other->head_x, &c, net_w, net_h), net_w, net_h, d);
    for (int e = HEAD_X; e <= HEAD_H; ++e)
        l->head_delta[c.at + (size_t)yolo_coord(y, e) * c.plane] -= (float)(weight * seen * y->iou_normalizer * d[e]);
    return y->delta_normalizer * (sum + seen * y->iou_normalizer * (1 - iou));
}

static const struct head_ops head = { .info = info,
                                      .decode = yolo_decode,
                                      .assign = yolo_assign,
                                      .utility = yolo_utility,
                                      .objectness = yolo_objectness,
                                      .imitate = yolo_imitate,
                                      .activate = yolo_activate,
                                      .embedding = embedding };

static int memory(struct layer *l, double **value) {
    struct yolo_rejection *r = &((struct yolo *)l->state)->rejection;
    *value = &r->max;
    return (int)(&r->threshold - &r->max) + 1;
}

const struct layer_ops yolo_ops = { .name = "yolo",
                                    .state_size = sizeof(struct yolo),
                                    .keys = keys,
                                    .inputs = inputs,
                                    .shape = shape,
                                    .prepare = yolo_prepare,
                                    .views = layer_views, .forward = forward,
                                    .backward = yolo_backward,
                                    .release = head_release,
                                    .overwrites = overwrites,
                                    .couple = couple,
                                    .reads = head_reads,
                                    .describe = describe,
                                    .loss = yolo_loss, .loss_queued = yolo_loss_queued, .loss_end = yolo_loss_end,
                                    .memory = memory,
                                    .head = &head };
