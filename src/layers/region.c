/* [region]: anchors in grid cells with one softmax over the classes, or with a word tree one per group of siblings
 * (darknet-compat 3.6; YOLOv2, YOLO9000).
 * Input (N, num*(5+C), H, W), planes as [yolo]; no output tensor. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/head.h"
#include "vision/word_tree.h"

/* While fewer images than this have been seen, every box is drawn to its anchor. */
enum { WARM_UP_IMAGES = 12800 };
/* Truth whose centre lies beyond this has no box: it labels the whole image (only with a tree). */
static const float IMAGE_LEVEL = 100000;

struct region {
    int coords, classes, num, max, softmax, focal_loss, rescore, classfix, bias_match;
    struct cfg_floats anchors;
    double jitter, resize, random, thresh, coord_scale, object_scale, noobject_scale, class_scale;
    const char *map, *tree;
};

static const struct cfg_key keys[] = {
    CFG_INT(struct region, coords, 4, 4, 4),
    CFG_INT(struct region, classes, 20, 1, 1 << 20),
    CFG_INT(struct region, num, 1, 1, 1 << 16),
    CFG_FLOATS(struct region, anchors),
    CFG_INT(struct region, max, 200, 1, 1 << 20),
    CFG_BOOL(struct region, softmax, 0),
    CFG_BOOL(struct region, focal_loss, 0),
    CFG_FLOAT(struct region, jitter, .2),
    CFG_FLOAT(struct region, resize, 1),
    CFG_FLOAT(struct region, random, 0),
    CFG_BOOL(struct region, rescore, 0),
    CFG_FLOAT(struct region, thresh, .5),
    CFG_INT(struct region, classfix, 0, -1, 2),
    CFG_FLOAT(struct region, coord_scale, 1),
    CFG_FLOAT(struct region, object_scale, 1),
    CFG_FLOAT(struct region, noobject_scale, 1),
    CFG_FLOAT(struct region, class_scale, 1),
    CFG_BOOL(struct region, bias_match, 0),
    CFG_TEXT(struct region, map),
    CFG_TEXT(struct region, tree),
    /* Upstream reads them and looks at them nowhere. */
    CFG_IGNORED("absolute"), CFG_IGNORED("log"), CFG_IGNORED("sqrt"), CFG_IGNORED("mask_scale"),
    CFG_END
};

/* --- Geometry and activation ------------------------------------------------------------------ */

static struct head_grid grid_of(const struct layer *l) {
    const struct region *r = l->state;
    return head_grid(l, r->num, r->classes);
}

static float raw(const float *x, const struct head_cell *c, int entry) {
    return x[c->at + (size_t)entry * c->plane];
}

static double anchor_w(const struct region *r, const struct head_grid *g, int i) {
    return head_anchor(&r->anchors, 2 * i) / g->w;
}
static double anchor_h(const struct region *r, const struct head_grid *g, int i) {
    return head_anchor(&r->anchors, 2 * i + 1) / g->h;
}

static struct box predicted(const struct region *r, const struct head_grid *g, const float *x,
                            const struct head_cell *c) {
    struct box b;
    b.x = ((float)c->col + head_logistic(raw(x, c, HEAD_X))) / (float)g->w;
    b.y = ((float)c->row + head_logistic(raw(x, c, HEAD_Y))) / (float)g->h;
    b.w = (float)(exp(raw(x, c, HEAD_W)) * anchor_w(r, g, c->anchor));
    b.h = (float)(exp(raw(x, c, HEAD_H)) * anchor_h(r, g, c->anchor));
    return b;
}

/* The class scores of one prediction: softmax over all or per group of siblings, or the raw values. */
static void class_scores(const struct layer *l, const float *x, const struct head_cell *c, float *scores) {
    const struct region *r = l->state;
    const struct word_tree *tree = head_word_tree(l);
    for (int k = 0; k < r->classes; ++k) scores[k] = raw(x, c, HEAD_CLASS + k);
    for (int g = 0; tree && g < tree->groups; ++g) {
        float *group = scores + tree->group_offset[g];
        head_softmax(group, 1, tree->group_size[g], 1, group);
    }
    if (!tree && r->softmax) head_softmax(scores, 1, r->classes, 1, scores);
}

/* --- Layer ------------------------------------------------------------------------------------ */

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all,
                         const struct net_options *net) {
    (void)all, (void)net;
    struct region *r = l->state;
    struct head_grid g = grid_of(l);
    TRY(head_fill_anchors(ctx, l, &r->anchors, r->num));
    return head_shape(ctx, l, &g, "num");
}

static enum status prepare(struct layer *l, struct pass *p) {
    const struct region *r = l->state;
    TRY(head_prepare(l, p, r->classes, r->map));
    struct head_run *run = l->run;
    return r->tree ? head_tree(p->ctx, l, r->tree, r->classes, &run->tree) : ST_OK;
}

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    channels_freeze(ch, l->in[0], "read by [region]");
}

static void describe(const struct layer *l, char *text, size_t size) {
    (void)l;
    snprintf(text, size, "detection");
}

static void info(const struct layer *l, struct head_info *i) {
    const struct region *r = l->state;
    struct head_grid g = grid_of(l);
    *i = (struct head_info){ .classes = r->classes,
                             .max_boxes = r->max,
                             .predictions = head_predictions(&g),
                             .jitter = r->jitter,
                             .resize = r->resize,
                             .random = r->random,
                             .nms_kind = NMS_DEFAULT,
                             .beta_nms = .6,
                             .type_number = 27 };
}

/* --- Detections ------------------------------------------------------------------------------- */

/* With a tree and no class map: the class furthest down the file that is more likely than not, and nothing else. */
static void keep_deepest(float *p, int classes) {
    bool found = false;
    for (int k = classes - 1; k >= 0; --k) {
        if (found || !(p[k] > .5f)) p[k] = 0;
        found = found || p[k] > 0;
    }
}

/* prob: class_scores of the cell; overwritten. */
static enum status decode_cell(struct ctx *ctx, const struct layer *l, const struct head_grid *g, const struct head_cell *c,
                               float thresh, float *prob, struct detection_list *list) {
    const struct region *r = l->state;
    const struct word_tree *tree = head_word_tree(l);
    float object = head_logistic(raw(l->head_x, c, HEAD_OBJECT)), factor = object;
    if (r->classfix == -1 && object < .5f) return ST_OK;
    if ((r->softmax || tree) && !(object > thresh)) return ST_OK; /* no class reaches it */
    class_scores(l, l->head_x, c, prob);
    const int *map = tree ? list->class_map : NULL;
    if (tree) word_tree_hierarchy(tree, prob, 1, false);
    if (tree && !map) {
        keep_deepest(prob, r->classes);
        factor = 1; /* COMPAT: reported as it is, neither times the objectness nor held against the threshold */
    }
    struct detection *d = NULL;
    float best = 0;
    int classes = map || r->classes > list->classes ? list->classes : r->classes;
    for (int k = 0; k < classes; ++k) {
        float v = factor * prob[map ? map[k] : k];
        if (!(v > (tree && !map ? 0 : thresh))) continue;
        if (!d) {
            TRY(detections_add(ctx, list, &d));
            d->box = predicted(r, g, l->head_x, c);
            d->head = l->index;
            d->prediction = head_prediction(g, c->anchor, c->row, c->col);
            d->objectness = 1; /* COMPAT: suppression must not drop it for its objectness */
        }
        d->prob[k] = v;
        if (v > best) best = v, d->best_class = k;
    }
    return ST_OK;
}

/* Upstream returns an entry for every prediction; those without a class above the threshold change nothing
 * and are left out. */
static enum status decode(struct ctx *ctx, const struct layer *l, int image, int net_w, int net_h,
                          float thresh, struct detection_list *list) {
    (void)net_w, (void)net_h;
    struct head_grid g = grid_of(l);
    float *prob = mem_zero(ctx, (size_t)g.classes, sizeof *prob);
    enum status st = prob ? ST_OK : ST_MEMORY;
    for (int row = 0; row < g.h; ++row)
        for (int col = 0; col < g.w; ++col)
            for (int a = 0; a < g.n && st == ST_OK; ++a) {
                struct head_cell c = head_cell_at(&g, image, a, row, col);
                st = decode_cell(ctx, l, &g, &c, thresh, prob, list);
            }
    free(prob);
    return st;
}

/* COMPAT: the output is (row, column, anchor, entry), with x, y, w, h still raw. */
static void activate(const struct layer *l, const float *x, float *out) {
    struct head_grid g = grid_of(l);
    for (int row = 0; row < g.h; ++row)
        for (int col = 0; col < g.w; ++col)
            for (int a = 0; a < g.n; ++a) {
                struct head_cell c = head_cell_at(&g, 0, a, row, col);
                for (int e = HEAD_X; e <= HEAD_H; ++e) *out++ = raw(x, &c, e);
                *out++ = head_logistic(raw(x, &c, HEAD_OBJECT));
                class_scores(l, x, &c, out);
                out += g.classes;
            }
}

/* --- Training loss ---------------------------------------------------------------------------- */

/* delta is Darknet's: the direction that lowers the loss. */
struct job {
    const struct layer *l;
    const struct region *r;
    struct head_grid g;
    int image, n_truth;
    const struct truth *truth;
    const float *x;
    float *delta, *scores;  /* scores: room for one prediction's classes */
    bool warm_up;
    struct loss_stats *stats;
    double recall, class_sum, object_sum, any_object_sum;
    int class_count;
};

static void box_delta(const struct job *j, const struct head_cell *c, struct box t, double scale) {
    float *d = j->delta + c->at;
    double sx = head_logistic(raw(j->x, c, HEAD_X)), sy = head_logistic(raw(j->x, c, HEAD_Y));
    double w = log(t.w / anchor_w(j->r, &j->g, c->anchor)), h = log(t.h / anchor_h(j->r, &j->g, c->anchor));
    d[HEAD_X * c->plane] = (float)(scale * (t.x * (float)j->g.w - (float)c->col - sx) * sx * (1 - sx));
    d[HEAD_Y * c->plane] = (float)(scale * (t.y * (float)j->g.h - (float)c->row - sy) * sy * (1 - sy));
    d[HEAD_W * c->plane] = (float)(scale * (w - raw(j->x, c, HEAD_W)));
    d[HEAD_H * c->plane] = (float)(scale * (h - raw(j->x, c, HEAD_H)));
}

/* Every group on the way from the class to its root learns which of its members the way takes. */
static void path_delta(struct job *j, const struct word_tree *tree, float *delta, size_t plane, int class_id, double scale) {
    j->class_sum += word_tree_probability(tree, j->scores, 1, class_id);
    for (; class_id >= 0; class_id = tree->parent[class_id]) {
        int first = tree->group_offset[tree->group[class_id]], n = tree->group_size[tree->group[class_id]];
        for (int k = first; k < first + n; ++k) delta[(size_t)k * plane] = (float)(scale * ((k == class_id) - j->scores[k]));
    }
}

static void class_delta(struct job *j, const struct head_cell *c, int class_id, double scale) {
    const struct word_tree *tree = head_word_tree(j->l);
    float *d = j->delta + c->at + HEAD_CLASS * c->plane;
    class_scores(j->l, j->x, c, j->scores);
    ++j->class_count;
    if (tree) {
        path_delta(j, tree, d, c->plane, class_id, scale);
        return;
    }
    float own = j->scores[class_id];
    if (j->r->focal_loss) scale *= head_focal(own);
    for (int k = 0; k < j->r->classes; ++k, d += c->plane) *d = (float)(scale * ((k == class_id) - j->scores[k]));
    j->class_sum += own;
}

static bool usable(const struct job *j, const struct truth *t) {
    return t->class_id >= 0 && t->class_id < j->r->classes;
}

static void background(struct job *j, const struct head_cell *c) {
    const struct region *r = j->r;
    float object = head_logistic(raw(j->x, c, HEAD_OBJECT)),
          *delta = &j->delta[c->at + HEAD_OBJECT * c->plane];
    double slope = (double)object * (1 - object), best = 0;
    const struct truth *nearest = NULL;
    struct box pred = predicted(r, &j->g, j->x, c);
    for (int t = 0; t < j->n_truth; ++t) {
        if (!usable(j, &j->truth[t])) continue;
        double iou = box_iou(pred, j->truth[t].box);
        if (iou > best) best = iou, nearest = &j->truth[t];
    }
    j->any_object_sum += object;
    *delta = (float)(r->noobject_scale * ((r->classfix == -1 ? best : 0) - object) * slope);
    if (r->classfix != -1 && nearest && best > r->thresh) {
        *delta = 0;
        if (r->classfix > 0)
            class_delta(j, c, nearest->class_id, r->class_scale * (r->classfix == 2 ? object : 1));
    }
    if (j->warm_up) {
        struct box at_anchor = { ((float)c->col + .5f) / (float)j->g.w, ((float)c->row + .5f) / (float)j->g.h,
                                 (float)anchor_w(r, &j->g, c->anchor), (float)anchor_h(r, &j->g, c->anchor) };
        box_delta(j, c, at_anchor, .01);
    }
}

/* The anchor of a cell whose size fits best: predicted sizes, or with image < 0 or bias_match the anchors
 * themselves. */
static int best_anchor(const struct layer *l, int image, int row, int col, struct box truth) {
    const struct region *r = l->state;
    struct head_grid g = grid_of(l);
    double best = 0;
    int anchor = 0;
    for (int a = 0; a < g.n; ++a) {
        double w = anchor_w(r, &g, a), h = anchor_h(r, &g, a);
        if (image >= 0 && !r->bias_match) {
            struct head_cell c = head_cell_at(&g, image, a, row, col);
            struct box pred = predicted(r, &g, l->head_x, &c);
            w = pred.w, h = pred.h;
        }
        double iou = head_size_iou(IOU_PLAIN, w, h, truth);
        if (iou > best) best = iou, anchor = a;
    }
    return anchor;
}

static void assign_truth(struct job *j, const struct truth *t) {
    const struct region *r = j->r;
    int class_id = head_class(j->l, t->class_id, r->classes);
    if (class_id < 0) return;
    int col = head_cell_of(t->box.x, j->g.w), row = head_cell_of(t->box.y, j->g.h);
    struct head_cell c =
        head_cell_at(&j->g, j->image, best_anchor(j->l, j->image, row, col, t->box), row, col);
    double iou = box_iou(predicted(r, &j->g, j->x, &c), t->box),
           object = head_logistic(raw(j->x, &c, HEAD_OBJECT));
    box_delta(j, &c, t->box, r->coord_scale);
    j->delta[c.at + HEAD_OBJECT * c.plane] =
        (float)(r->object_scale * ((r->rescore ? iou : 1) - object) * object * (1 - object));
    class_delta(j, &c, class_id, r->class_scale);
    j->recall += iou > .5;
    j->object_sum += object;
    j->stats->iou_sum += iou;
    ++j->stats->count;
    ++j->stats->boxes;
}

/* The first label without a box, or NULL. */
static const struct truth *image_label(const struct job *j) {
    for (int t = 0; head_word_tree(j->l) && t < j->n_truth; ++t)
        if (j->truth[t].box.x > IMAGE_LEVEL && j->truth[t].box.y > IMAGE_LEVEL && usable(j, &j->truth[t])) return &j->truth[t];
    return NULL;
}

/* A label of the whole image trains the classes of the prediction that is surest of it, and nothing else. */
static void assign_image(struct job *j, const struct truth *t) {
    double best = 0;
    struct head_cell at = head_cell(&j->g, j->image, 0);
    for (int p = 0; p < head_predictions(&j->g); ++p) {
        struct head_cell c = head_cell(&j->g, j->image, p);
        class_scores(j->l, j->x, &c, j->scores);
        double sure = head_logistic(raw(j->x, &c, HEAD_OBJECT)) *
                      word_tree_probability(head_word_tree(j->l), j->scores, 1, t->class_id);
        if (sure > best) best = sure, at = c;
    }
    class_delta(j, &at, t->class_id, j->r->class_scale);
}

static void loss_image(struct job *j) {
    const struct truth *label = image_label(j);
    if (label) {
        assign_image(j, label);
        return;
    }
    for (int p = 0; p < head_predictions(&j->g); ++p) {
        struct head_cell c = head_cell(&j->g, j->image, p);
        background(j, &c);
    }
    for (int t = 0; t < j->n_truth; ++t)
        if (usable(j, &j->truth[t])) assign_truth(j, &j->truth[t]);
}

static void summarise(const struct job *j, int batch, struct loss_stats *s) {
    double all, box;
    head_norms(j->l, &j->g, batch, &all, &box);
    s->loss = all;
    s->class_loss = (all - box) / batch;
    s->iou_loss = box / batch;
    snprintf(s->line, sizeof s->line,
             "Region Avg IOU: %f, Class: %f, Obj: %f, No Obj: %f, Avg Recall: %f,  count: %d",
             head_ratio(s->iou_sum, s->count), head_ratio(j->class_sum, j->class_count),
             head_ratio(j->object_sum, s->count),
             j->any_object_sum / ((double)head_predictions(&j->g) * batch), head_ratio(j->recall, s->count),
             s->count);
}

static enum status loss(struct ctx *ctx, struct layer *l, const struct loss_args *args,
                        struct loss_stats *stats) {
    const struct region *r = l->state;
    struct job j = {
        .l = l, .r = r, .g = grid_of(l), .x = l->head_x, .delta = l->head_delta, .stats = stats
    };
    *stats = (struct loss_stats){ .none = !l->head_delta };
    if (stats->none) return ST_OK;
    TRY(head_boxes(ctx, l, args));
    j.scores = mem_zero(ctx, (size_t)r->classes, sizeof *j.scores);
    if (!j.scores) return ST_MEMORY;
    /* COMPAT: this batch is already counted as seen when the head asks. */
    j.warm_up = args->seen + (uint64_t)args->batch < WARM_UP_IMAGES;
    size_t count = head_image(&j.g) * (size_t)args->batch;
    memset(l->head_delta, 0, count * sizeof *l->head_delta);
    for (j.image = 0; j.image < args->batch; ++j.image) {
        const struct truth_list *list = &args->truth[j.image];
        j.truth = list->item;
        j.n_truth = list->n < r->max ? list->n : r->max;
        loss_image(&j);
    }
    free(j.scores);
    summarise(&j, args->batch, stats);
    for (size_t i = 0; i < count; ++i) l->head_delta[i] = -l->head_delta[i];
    return ST_OK;
}

/* --- Utility of single predictions (pruning.md 2) --------------------------------------------- */

static int assign(const struct layer *l, int image, struct box truth, int net_w, int net_h, int *prediction, int cap) {
    (void)net_w, (void)net_h;
    if (cap < 1) return 0;
    struct head_grid g = grid_of(l);
    int col = head_cell_of(truth.x, g.w), row = head_cell_of(truth.y, g.h);
    prediction[0] = head_prediction(&g, best_anchor(l, image, row, col, truth), row, col);
    return 1;
}

/* Overlap with the truth, and its derivative with respect to the four raw box entries. */
static double overlap(const struct layer *l, const struct head_grid *g, const struct head_cell *c,
                      struct box truth, double *d) {
    struct box pred = predicted(l->state, g, l->head_x, c);
    double iou, sx = head_logistic(raw(l->head_x, c, HEAD_X)), sy = head_logistic(raw(l->head_x, c, HEAD_Y));
    struct box_grad b = box_iou_exact_grad(IOU_PLAIN, pred, truth, &iou);
    d[HEAD_X] = b.x * sx * (1 - sx) / g->w;
    d[HEAD_Y] = b.y * sy * (1 - sy) / g->h;
    d[HEAD_W] = b.w * pred.w;
    d[HEAD_H] = b.h * pred.h;
    for (int e = 0; e < 4; ++e)
        if (!isfinite(d[e])) d[e] = 0;
    return isfinite(iou) ? iou : 0;
}

/* p(class) of one prediction; its derivative times `weight` is added to head_delta. */
static double class_probability(struct layer *l, const struct head_cell *c, int class_id, double weight) {
    const struct region *r = l->state;
    const struct word_tree *tree = head_word_tree(l);
    float *delta = l->head_delta + c->at + HEAD_CLASS * c->plane, *s = malloc((size_t)r->classes * sizeof *s);
    if (!s) return 0;
    class_scores(l, l->head_x, c, s);
    double own = tree ? word_tree_probability(tree, s, 1, class_id) : s[class_id];
    for (int k = class_id; tree && k >= 0; k = tree->parent[k]) {
        int first = tree->group_offset[tree->group[k]];
        for (int i = first; i < first + tree->group_size[tree->group[k]]; ++i)
            delta[(size_t)i * c->plane] += (float)(weight * own * ((i == k) - (double)s[i]));
    }
    for (int k = 0; !tree && k < r->classes; ++k) {
        double slope = r->softmax ? own * ((k == class_id) - (double)s[k]) : k == class_id;
        delta[(size_t)k * c->plane] += (float)(weight * slope);
    }
    free(s);
    return own;
}

static double utility(struct layer *l, int image, int prediction, const struct truth *t,
                      const struct utility_weights *u, double weight, int net_w, int net_h) {
    (void)net_w, (void)net_h;
    const struct region *r = l->state;
    struct head_grid g = grid_of(l);
    struct head_cell c = head_cell(&g, image, prediction);
    int class_id = head_class(l, t->class_id, r->classes);
    if (class_id < 0) return 0;
    float *delta = l->head_delta + c.at;
    double d[4], iou = overlap(l, &g, &c, t->box, d), z = raw(l->head_x, &c, HEAD_OBJECT);
    double by_iou = u->iou,
           total = u->obj * z + u->cls * raw(l->head_x, &c, HEAD_CLASS + class_id) + u->iou * iou;
    if (u->probability) {
        double o = 1 / (1 + exp(-z)), own = class_probability(l, &c, class_id, weight * o * iou);
        total = o * own * iou;
        by_iou = o * own;
        delta[HEAD_OBJECT * c.plane] += (float)(weight * o * (1 - o) * own * iou);
    } else {
        delta[HEAD_OBJECT * c.plane] += (float)(weight * u->obj);
        delta[(size_t)(HEAD_CLASS + class_id) * c.plane] += (float)(weight * u->cls);
    }
    for (size_t e = 0; e < 4; ++e) delta[e * c.plane] += (float)(weight * by_iou * d[e]);
    return total;
}

static double objectness(struct layer *l, int image, int prediction, double weight) {
    struct head_grid g = grid_of(l);
    struct head_cell c = head_cell(&g, image, prediction);
    if (weight != 0) l->head_delta[c.at + HEAD_OBJECT * c.plane] += (float)weight;
    return raw(l->head_x, &c, HEAD_OBJECT);
}

static double imitate(struct layer *l, const struct layer *other, int image, int prediction, double weight, int net_w, int net_h) {
    (void)net_w, (void)net_h;
    const struct region *r = l->state;
    struct head_grid g = grid_of(l);
    struct head_cell c = head_cell(&g, image, prediction);
    float *delta = l->head_delta + c.at;
    double own = 1 / (1 + exp(-(double)raw(l->head_x, &c, HEAD_OBJECT))), seen = 1 / (1 + exp(-(double)raw(other->head_x, &c, HEAD_OBJECT)));
    double sum = r->object_scale * head_divergence(own, seen), d[4];
    delta[HEAD_OBJECT * c.plane] += (float)(weight * r->object_scale * (own - seen));
    float *a = seen > HEAD_SEEN ? malloc(2 * (size_t)r->classes * sizeof *a) : NULL, *b = a ? a + r->classes : NULL;
    if (!a) return sum;
    class_scores(l, l->head_x, &c, a);
    class_scores(l, other->head_x, &c, b);
    bool chances = r->softmax || head_word_tree(l);
    for (int k = 0; k < r->classes; ++k) {
        double off = (double)a[k] - (double)b[k];
        delta[(size_t)(HEAD_CLASS + k) * c.plane] += (float)(weight * seen * r->class_scale * off);
        sum += seen * r->class_scale * (!chances ? off * off / 2 : b[k] > 0 ? (double)b[k] * log((double)b[k] / fmax((double)a[k], 1e-12)) : 0);
    }
    free(a);
    double iou = overlap(l, &g, &c, predicted(r, &g, other->head_x, &c), d);
    for (size_t e = 0; e < 4; ++e) delta[e * c.plane] -= (float)(weight * seen * r->coord_scale * d[e]);
    return sum + seen * r->coord_scale * (1 - iou);
}

static const struct head_ops head = { .info = info,
                                      .decode = decode,
                                      .assign = assign,
                                      .utility = utility,
                                      .objectness = objectness,
                                      .imitate = imitate,
                                      .activate = activate };

const struct layer_ops region_ops = { .name = "region",
                                      .state_size = sizeof(struct region),
                                      .keys = keys,
                                      .shape = shape,
                                      .prepare = prepare,
                                      .views = layer_views, .forward = head_forward,
                                      .backward = head_backward,
                                      .release = head_release,
                                      .couple = couple,
                                      .reads = head_reads,
                                      .describe = describe,
                                      .loss = loss,
                                      .tree = head_word_tree,
                                      .head = &head };
