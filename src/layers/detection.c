/* [detection]: cells with one class distribution and `num` boxes each, all values linear (darknet-compat 3.7; YOLOv1).
 * Input of one image: side^2 * classes class scores (cell by cell), side^2 * num confidences, side^2 * num * 4 boxes;
 * no output tensor.  Dense truth of one image: per cell [object?, one-hot class, x, y, w, h], x and y within the cell. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/head.h"

/* With random=1 the responsible box is drawn, not chosen, while fewer images than this have been seen. */
enum { RANDOM_IMAGES = 64000 };
static const double SMALLEST = .005; /* boxes with a smaller side are no truth */

struct detector {
    int coords, classes, num, side, max, rescore, softmax, sqrt, forced, random;
    double coord_scale, object_scale, noobject_scale, class_scale, jitter, resize;
};

static const struct cfg_key keys[] = {
    CFG_INT(struct detector, coords, 1, 1, 1 << 10),
    CFG_INT(struct detector, classes, 1, 1, 1 << 20),
    CFG_INT(struct detector, num, 1, 1, 1 << 10),
    CFG_INT(struct detector, side, 7, 1, 1 << 10),
    CFG_INT(struct detector, max, 200, 1, 1 << 20),
    CFG_BOOL(struct detector, rescore, 0),
    CFG_BOOL(struct detector, softmax, 0),
    CFG_BOOL(struct detector, sqrt, 0),
    CFG_BOOL(struct detector, forced, 0),
    CFG_BOOL(struct detector, random, 0),
    CFG_FLOAT(struct detector, coord_scale, 1),
    CFG_FLOAT(struct detector, object_scale, 1),
    CFG_FLOAT(struct detector, noobject_scale, 1),
    CFG_FLOAT(struct detector, class_scale, 1),
    CFG_FLOAT(struct detector, jitter, .2),
    CFG_FLOAT(struct detector, resize, 1),
    CFG_IGNORED("reorg"), /* read by upstream, used nowhere */
    CFG_END
};

/* --- Addressing: places within one image ------------------------------------------------------------------------------ */

static int cells_of(const struct detector *d) { return d->side * d->side; }
static size_t class_at(const struct detector *d, int cell, int k) { return (size_t)cell * (size_t)d->classes + (size_t)k; }
static size_t object_at(const struct detector *d, int cell, int j) {
    return (size_t)cells_of(d) * (size_t)d->classes + (size_t)cell * (size_t)d->num + (size_t)j;
}
static size_t box_at(const struct detector *d, int cell, int j) {
    return (size_t)cells_of(d) * (size_t)(d->classes + d->num) + 4 * ((size_t)cell * (size_t)d->num + (size_t)j);
}
static size_t image_size(const struct layer *l) { return shape_count(l->in_shape[0]); }
static int target_size(const struct detector *d) { return cells_of(d) * (5 + d->classes); }

static int cell_of(const struct detector *d, struct box truth) {
    return head_cell_of(truth.y, d->side) * d->side + head_cell_of(truth.x, d->side);
}

/* x: one image. */
static struct box predicted(const struct detector *d, const float *x, int cell, int j) {
    const float *v = x + box_at(d, cell, j);
    struct box b = { (v[0] + (float)(cell % d->side)) / (float)d->side, (v[1] + (float)(cell / d->side)) / (float)d->side, v[2], v[3] };
    if (d->sqrt) b.w *= v[2], b.h *= v[3];
    return b;
}

static void class_scores(const struct detector *d, const float *x, int cell, float *scores) {
    memcpy(scores, x + class_at(d, cell, 0), (size_t)d->classes * sizeof *scores);
    if (d->softmax) head_softmax(scores, 1, d->classes, 1, scores);
}

/* --- Layer -------------------------------------------------------------------------------------------------------------- */

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)all, (void)net;
    const struct detector *d = l->state;
    if (d->coords != 4) return layer_fail(ctx, l, "coords", "%d values are no box, only coords=4 is", d->coords);
    double want = (double)cells_of(d) * (5. * d->num + d->classes), have = (double)image_size(l);
    if (want != have)
        return layer_fail(ctx, l, "side", "the layer before has %.0f outputs; %d x %d cells of %d boxes and %d classes need %.0f", have,
                          d->side, d->side, d->num, d->classes, want);
    l->out = (struct shape){ 1, 0, l->in_shape[0].h, l->in_shape[0].w };
    l->flops = 0;
    return ST_OK;
}

static enum status prepare(struct layer *l, struct pass *p) { return head_prepare(l, p, ((struct detector *)l->state)->classes, NULL); }

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    channels_freeze(ch, l->in[0], "read by [detection]");
}

static void describe(const struct layer *l, char *text, size_t size) {
    (void)l;
    snprintf(text, size, "Detection Layer");
}

static void info(const struct layer *l, struct head_info *i) {
    const struct detector *d = l->state;
    /* random= is about boxes here, not about input sizes. */
    *i = (struct head_info){ .classes = d->classes, .max_boxes = d->max, .predictions = cells_of(d) * d->num, .jitter = d->jitter,
                             .resize = d->resize, .nms_kind = NMS_DEFAULT, .beta_nms = .6, .type_number = 6 };
}

/* --- Detections ----------------------------------------------------------------------------------------------------------- */

/* A prediction's number runs over boxes, then rows, then columns. */
static int prediction_of(const struct detector *d, int cell, int j) { return j * cells_of(d) + cell; }

static enum status decode_box(struct ctx *ctx, const struct layer *l, const float *x, int cell, int j, const float *scores, float thresh,
                              struct detection_list *list) {
    const struct detector *d = l->state;
    struct detection *found = NULL;
    int classes = d->classes < list->classes ? d->classes : list->classes;
    float object = x[object_at(d, cell, j)];
    for (int k = 0; k < classes; ++k) {
        if (!(object * scores[k] > thresh)) continue;
        if (!found) {
            TRY(detections_add(ctx, list, &found));
            found->box = predicted(d, x, cell, j);
            found->objectness = object;
            found->head = l->index;
            found->prediction = prediction_of(d, cell, j);
        }
        found->prob[k] = object * scores[k];
    }
    return ST_OK;
}

static enum status decode(struct ctx *ctx, const struct layer *l, int image, int net_w, int net_h, float thresh,
                          struct detection_list *list) {
    (void)net_w, (void)net_h;
    const struct detector *d = l->state;
    const float *x = l->head_x + (size_t)image * image_size(l);
    float *scores = mem_zero(ctx, (size_t)d->classes, sizeof *scores);
    enum status st = scores ? ST_OK : ST_MEMORY;
    for (int cell = 0; cell < cells_of(d) && st == ST_OK; ++cell) {
        class_scores(d, x, cell, scores);
        for (int j = 0; j < d->num && st == ST_OK; ++j) st = decode_box(ctx, l, x, cell, j, scores, thresh, list);
    }
    free(scores);
    return st;
}

static void activate(const struct layer *l, const float *raw, float *out) {
    const struct detector *d = l->state;
    memcpy(out, raw, image_size(l) * sizeof *out);
    for (int cell = 0; cell < cells_of(d); ++cell) class_scores(d, raw, cell, out + class_at(d, cell, 0));
}

/* --- Truth ------------------------------------------------------------------------------------------------------------------ */

/* One cell of dense truth. */
struct cell_truth { const float *classes; struct box box; /* relative to the image */ const float *raw; /* x, y in the cell, w, h */ };

static bool truth_at(const struct detector *d, const float *target, int cell, struct cell_truth *t) {
    const float *v = target + (size_t)cell * (size_t)(5 + d->classes);
    if ((int)v[0] == 0) return false;
    t->classes = v + 1;
    t->raw = v + 1 + d->classes;
    t->box = (struct box){ (t->raw[0] + (float)(cell % d->side)) / (float)d->side, (t->raw[1] + (float)(cell / d->side)) / (float)d->side,
                           t->raw[2], t->raw[3] };
    return true;
}

/* Dense truth from boxes: the first box of a cell has it.  Upstream leaves this to the loader of its `yolo` command, so that
 * its `detector train` cannot train this head. */
static void spread_boxes(const struct detector *d, const struct truth_list *list, float *target) {
    memset(target, 0, (size_t)target_size(d) * sizeof *target);
    for (int i = 0; i < list->n && i < d->max; ++i) {
        struct box b = list->item[i].box;
        int class_id = list->item[i].class_id, cell = cell_of(d, b);
        float *v = target + (size_t)cell * (size_t)(5 + d->classes);
        if (b.w < SMALLEST || b.h < SMALLEST || class_id < 0 || class_id >= d->classes || v[0] != 0) continue;
        v[0] = 1;
        v[1 + class_id] = 1;
        v += 1 + d->classes;
        v[0] = b.x * (float)d->side - (float)(cell % d->side);
        v[1] = b.y * (float)d->side - (float)(cell / d->side);
        v[2] = b.w, v[3] = b.h;
    }
}

/* --- Training loss ----------------------------------------------------------------------------------------------------------- */

static double distance(struct box a, struct box b) {
    double x = (double)a.x - b.x, y = (double)a.y - b.y, w = (double)a.w - b.w, h = (double)a.h - b.h;
    return sqrt(x * x + y * y + w * w + h * h);
}

/* The box of a cell that answers for its object: the largest overlap, without any the nearest in shape and place. */
static int responsible(const struct detector *d, const float *x, int cell, struct box truth) {
    double best = 0, nearest = INFINITY;
    int by_overlap = -1, by_distance = 0;
    for (int j = 0; j < d->num; ++j) {
        struct box b = predicted(d, x, cell, j);
        double iou = box_iou(b, truth), far = distance(b, truth);
        if (iou > best) best = iou, by_overlap = j;
        if (far < nearest) nearest = far, by_distance = j;
    }
    return by_overlap >= 0 ? by_overlap : by_distance;
}

struct job {
    const struct detector *d;
    const float *x, *target; /* of one image */
    float *delta, *scores;   /* Darknet's: the direction that lowers the loss */
    struct rng rng;
    bool draw;
    double own_class, all_class, object, any_object;
    struct loss_stats *stats;
};

static int chosen(struct job *j, int cell, struct box truth) {
    const struct detector *d = j->d;
    int best = responsible(d, j->x, cell, truth);
    if (d->forced) best = truth.w * truth.h < .1f && d->num > 1;
    return j->draw ? rng_int(&j->rng, 0, d->num - 1) : best;
}

static void object_deltas(struct job *j, int cell, const struct cell_truth *t) {
    const struct detector *d = j->d;
    class_scores(d, j->x, cell, j->scores);
    for (int k = 0; k < d->classes; ++k) { /* COMPAT: of squared errors, also behind a softmax */
        j->delta[class_at(d, cell, k)] = (float)(d->class_scale * (t->classes[k] - j->scores[k]));
        if (t->classes[k] != 0) j->own_class += j->scores[k];
        j->all_class += j->scores[k];
    }
    int best = chosen(j, cell, t->box);
    size_t o = object_at(d, cell, best), b = box_at(d, cell, best);
    double iou = box_iou(predicted(d, j->x, cell, best), t->box);
    j->delta[o] = (float)(d->object_scale * ((d->rescore ? iou : 1) - j->x[o]));
    for (size_t e = 0; e < 4; ++e) {
        float target = d->sqrt && e >= 2 ? sqrtf(t->raw[e]) : t->raw[e];
        j->delta[b + e] = (float)(d->coord_scale * (target - j->x[b + e]));
    }
    j->object += j->x[o];
    j->stats->iou_sum += iou;
    ++j->stats->count;
    ++j->stats->boxes;
}

static void loss_image(struct job *j) {
    const struct detector *d = j->d;
    for (int cell = 0; cell < cells_of(d); ++cell) {
        struct cell_truth t;
        for (int k = 0; k < d->num; ++k) {
            size_t o = object_at(d, cell, k);
            j->delta[o] = (float)(d->noobject_scale * (0 - j->x[o]));
            j->any_object += j->x[o];
        }
        if (truth_at(d, j->target, cell, &t)) object_deltas(j, cell, &t);
    }
}

static void summarise(const struct layer *l, const struct job *j, int batch) {
    const struct detector *d = j->d;
    struct loss_stats *s = j->stats;
    size_t first_box = box_at(d, 0, 0), n = image_size(l);
    double box = 0;
    for (size_t i = 0; i < n * (size_t)batch; ++i) {
        double square = (double)l->head_delta[i] * l->head_delta[i];
        s->loss += square;
        if (i % n >= first_box) box += square;
    }
    s->class_loss = (s->loss - box) / batch;
    s->iou_loss = box / batch;
    snprintf(s->line, sizeof s->line, "Detection Avg IOU: %f, Pos Cat: %f, All Cat: %f, Pos Obj: %f, Any Obj: %f, count: %d",
             head_ratio(s->iou_sum, s->count), head_ratio(j->own_class, s->count), head_ratio(j->all_class, (double)s->count * d->classes),
             head_ratio(j->object, s->count), j->any_object / ((double)batch * cells_of(d) * d->num), s->count);
}

static enum status loss(struct ctx *ctx, struct layer *l, const struct loss_args *args, struct loss_stats *stats) {
    const struct detector *d = l->state;
    struct job j = { .d = d, .stats = stats, .draw = d->random && args->seen < RANDOM_IMAGES };
    size_t n = image_size(l), targets = (size_t)target_size(d);
    *stats = (struct loss_stats){ .none = !l->head_delta };
    if (stats->none) return ST_OK;
    bool dense = args->target && (args->target_size == (int)targets || !args->truth);
    TRY(dense ? head_target(ctx, l, args, (int)targets) : head_boxes(ctx, l, args));
    float *spread = mem_zero(ctx, targets, sizeof *spread);
    j.scores = mem_zero(ctx, (size_t)d->classes, sizeof *j.scores);
    memset(l->head_delta, 0, n * (size_t)args->batch * sizeof *l->head_delta);
    for (int b = 0; b < args->batch && spread && j.scores; ++b) {
        if (!dense) spread_boxes(d, &args->truth[b], spread);
        j.target = dense ? args->target + (size_t)b * targets : spread;
        j.x = l->head_x + (size_t)b * n;
        j.delta = l->head_delta + (size_t)b * n;
        j.rng = rng_stream(args->seen, (uint64_t)b, (uint64_t)l->index);
        loss_image(&j);
    }
    free(spread), free(j.scores);
    if (ctx->code != ST_OK) return ctx->code;
    summarise(l, &j, args->batch);
    for (size_t i = 0; i < n * (size_t)args->batch; ++i) l->head_delta[i] = -l->head_delta[i];
    return ST_OK;
}

/* --- Utility of single predictions (pruning.md 2) -------------------------------------------------------------------------------
 * The head's values are regressed, not logits: any real number may come, so they are scores as they are (class scores before
 * their softmax, where there is one). */

static int assign(const struct layer *l, int image, struct box truth, int net_w, int net_h, int *prediction, int cap) {
    (void)net_w, (void)net_h;
    const struct detector *d = l->state;
    if (cap < 1) return 0;
    int cell = cell_of(d, truth);
    prediction[0] = prediction_of(d, cell, responsible(d, l->head_x + (size_t)image * image_size(l), cell, truth));
    return 1;
}

/* Overlap with the truth and its derivative with respect to the four values of the box. */
static double overlap(const struct detector *d, const float *x, int cell, int j, struct box truth, double *slope) {
    const float *v = x + box_at(d, cell, j);
    double iou;
    struct box_grad g = box_iou_exact_grad(IOU_PLAIN, predicted(d, x, cell, j), truth, &iou);
    slope[0] = g.x / d->side, slope[1] = g.y / d->side;
    slope[2] = d->sqrt ? g.w * 2 * v[2] : g.w, slope[3] = d->sqrt ? g.h * 2 * v[3] : g.h;
    for (int e = 0; e < 4; ++e)
        if (!isfinite(slope[e])) slope[e] = 0;
    return isfinite(iou) ? iou : 0;
}

/* The class score as it is reported; its derivative times `weight` is added to delta (of one image). */
static double class_probability(const struct detector *d, const float *x, int cell, int class_id, double weight, float *delta) {
    double own = x[class_at(d, cell, class_id)];
    if (!d->softmax) {
        delta[class_at(d, cell, class_id)] += (float)weight;
        return own;
    }
    float *s = malloc((size_t)d->classes * sizeof *s);
    if (!s) return 0;
    class_scores(d, x, cell, s);
    own = s[class_id];
    for (int k = 0; k < d->classes; ++k) delta[class_at(d, cell, k)] += (float)(weight * own * ((k == class_id) - (double)s[k]));
    free(s);
    return own;
}

static double utility(struct layer *l, int image, int prediction, const struct truth *t, const struct utility_weights *u, double weight,
                      int net_w, int net_h) {
    (void)net_w, (void)net_h;
    const struct detector *d = l->state;
    int cell = prediction % cells_of(d), j = prediction / cells_of(d), class_id = t->class_id;
    if (class_id < 0 || class_id >= d->classes) return 0;
    const float *x = l->head_x + (size_t)image * image_size(l);
    float *delta = l->head_delta + (size_t)image * image_size(l);
    double slope[4], iou = overlap(d, x, cell, j, t->box, slope), object = x[object_at(d, cell, j)], total, by_object, by_iou;
    if (u->probability) {
        double own = class_probability(d, x, cell, class_id, weight * object * iou, delta);
        total = object * own * iou;
        by_object = own * iou;
        by_iou = object * own;
    } else {
        total = u->obj * object + u->cls * x[class_at(d, cell, class_id)] + u->iou * iou;
        delta[class_at(d, cell, class_id)] += (float)(weight * u->cls);
        by_object = u->obj;
        by_iou = u->iou;
    }
    delta[object_at(d, cell, j)] += (float)(weight * by_object);
    for (size_t e = 0; e < 4; ++e) delta[box_at(d, cell, j) + e] += (float)(weight * by_iou * slope[e]);
    return total;
}

static double objectness(struct layer *l, int image, int prediction, double weight) {
    const struct detector *d = l->state;
    size_t o = (size_t)image * image_size(l) + object_at(d, prediction % cells_of(d), prediction / cells_of(d));
    if (weight != 0) l->head_delta[o] += (float)weight;
    return l->head_x[o];
}

static const struct head_ops head = { .info = info, .decode = decode, .assign = assign, .utility = utility, .objectness = objectness,
                                      .activate = activate };

const struct layer_ops detection_ops = {
    .name = "detection", .state_size = sizeof(struct detector), .keys = keys, .shape = shape, .prepare = prepare,
    .forward = head_forward, .backward = head_backward, .release = head_release, .couple = couple, .reads = head_reads,
    .describe = describe, .loss = loss, .head = &head
};
