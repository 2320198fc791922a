#include "eval/coco_metric.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const coco_figure_name[COCO_FIGURES] = { "AP",  "AP50", "AP75",  "AP_S", "AP_M", "AP_L",
                                                     "AR1", "AR10", "AR100", "AR_S", "AR_M", "AR_L" };

enum { OVERLAPS = 10, RECALLS = 101, MOST = 100 };
enum { ALL, SMALL, MEDIUM, LARGE, AREAS };
static const double area_range[AREAS][2] = { { 0, 1e10 }, { 0, 1024 }, { 1024, 9216 }, { 9216, 1e10 } };
static const int most_of[3] = { 1, 10, MOST };

/* One detection of one category, as the curve needs it: outcome per overlap. */
struct match { double score; int rank, serial; uint8_t hit[OVERLAPS], ignored[OVERLAPS]; };

struct work {
    const struct eval_set *set;
    struct eval_index truth, detection;
    struct match *match; /* of one category and area */
    int n_match, positives;
    double *overlap;     /* detections x truths of one picture */
    uint8_t *taken;      /* overlaps x truths of one picture */
    int *order;          /* its truths, ignored ones last */
    int *picture;        /* by rising id: equal scores rank in that order, as the official evaluator has it */
    uint8_t *ignore;
};

static double overlap_of(const struct eval_detection *d, const struct eval_truth *t) {
    double w = fmin(d->x + d->w, t->x + t->w) - fmax(d->x, t->x), h = fmin(d->y + d->h, t->y + t->h) - fmax(d->y, t->y);
    if (w <= 0 || h <= 0) return 0;
    double both = w * h, other = t->crowd ? d->w * d->h : d->w * d->h + t->w * t->h - both;
    return both / other;
}

static bool outside(double area, const double range[2]) { return area < range[0] || area > range[1]; }

/* The truths of a pair with those that do not count behind the others. */
static int order_truths(struct work *w, int first, int n, const double range[2]) {
    int at = 0, counted = 0;
    for (int pass = 0; pass < 2; ++pass)
        for (int k = 0; k < n; ++k) {
            int i = w->truth.order[first + k];
            const struct eval_truth *t = &w->set->truth[i];
            bool ignore = t->crowd || outside(t->area, range);
            if (ignore != (pass == 1)) continue;
            w->ignore[at] = ignore;
            w->order[at++] = i;
            counted += !ignore;
        }
    return counted;
}

static void match_one(struct work *w, struct match *m, const double *overlap, int n_truth, int k) {
    double best = fmin(.5 + .05 * k, 1 - 1e-10);
    int found = -1;
    uint8_t *taken = w->taken + (size_t)k * (size_t)n_truth;
    for (int g = 0; g < n_truth; ++g) {
        if (taken[g] && !w->set->truth[w->order[g]].crowd) continue;
        if (found >= 0 && !w->ignore[found] && w->ignore[g]) break;
        if (overlap[g] < best) continue;
        best = overlap[g];
        found = g;
    }
    if (found < 0) return;
    m->hit[k] = 1;
    m->ignored[k] = w->ignore[found];
    taken[found] = 1;
}

static void match_picture(struct work *w, int image, int category, const double range[2]) {
    const struct eval_set *s = w->set;
    size_t pair = (size_t)image * (size_t)s->n_category + (size_t)category;
    int n_truth = w->truth.first[pair + 1] - w->truth.first[pair];
    int n = w->detection.first[pair + 1] - w->detection.first[pair];
    if (n > MOST) n = MOST;
    w->positives += order_truths(w, w->truth.first[pair], n_truth, range);
    memset(w->taken, 0, (size_t)n_truth * OVERLAPS);
    for (int i = 0; i < n; ++i) {
        const struct eval_detection *d = &s->detection[w->detection.order[w->detection.first[pair] + i]];
        struct match *m = &w->match[w->n_match];
        *m = (struct match){ .score = d->score, .rank = i, .serial = w->n_match };
        ++w->n_match;
        for (int g = 0; g < n_truth; ++g) w->overlap[g] = overlap_of(d, &s->truth[w->order[g]]);
        for (int k = 0; k < OVERLAPS; ++k) {
            match_one(w, m, w->overlap, n_truth, k);
            if (!m->hit[k] && outside(d->w * d->h, range)) m->ignored[k] = 1;
        }
    }
}

static int by_score(const void *a, const void *b) {
    const struct match *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    return x->serial - y->serial;
}

/* Precision averaged over 101 recalls, and the recall reached, at overlap k with at most `most` detections per picture. */
static void curve(const struct work *w, int k, int most, double *precision_at, double *ap, double *recall) {
    int tp = 0, fp = 0, n = 0;
    double *precision = precision_at, *reached = precision_at + w->n_match;
    for (int i = 0; i < w->n_match; ++i) {
        const struct match *m = &w->match[i];
        if (m->rank >= most) continue;
        tp += m->hit[k] && !m->ignored[k];
        fp += !m->hit[k] && !m->ignored[k];
        reached[n] = (double)tp / w->positives;
        precision[n++] = tp / (tp + fp + 2.220446049250313e-16);
    }
    for (int i = n - 1; i > 0; --i)
        if (precision[i] > precision[i - 1]) precision[i - 1] = precision[i];
    double sum = 0;
    for (int r = 0, i = 0; r < RECALLS; ++r) {
        while (i < n && reached[i] < r * .01) ++i;
        if (i < n) sum += precision[i];
    }
    *ap = sum / RECALLS;
    *recall = n ? reached[n - 1] : 0;
}

/* All figures of one category in one range of areas. */
static enum status category_figures(struct ctx *ctx, struct work *w, int category, int area, double *figure) {
    static const int ap_of[AREAS] = { COCO_AP, COCO_AP_S, COCO_AP_M, COCO_AP_L }, ar_of[AREAS] = { COCO_AR100, COCO_AR_S, COCO_AR_M, COCO_AR_L };
    w->n_match = w->positives = 0;
    for (int image = 0; image < w->set->n_image; ++image)
        match_picture(w, w->picture[image], category, area_range[area]);
    if (w->positives == 0) return ST_OK;
    qsort(w->match, (size_t)w->n_match, sizeof *w->match, by_score);
    double *room = mem_zero(ctx, 2 * (size_t)w->n_match + 1, sizeof *room), ap, recall;
    if (!room) return ST_MEMORY;
    figure[ap_of[area]] = figure[ar_of[area]] = 0;
    for (int k = 0; k < OVERLAPS; ++k) {
        curve(w, k, MOST, room, &ap, &recall);
        figure[ap_of[area]] += ap / OVERLAPS;
        figure[ar_of[area]] += recall / OVERLAPS;
        if (area == ALL && k == 0) figure[COCO_AP50] = ap;
        if (area == ALL && k == 5) figure[COCO_AP75] = ap;
    }
    for (int j = 0; area == ALL && j < 2; ++j) {
        figure[COCO_AR1 + j] = 0;
        for (int k = 0; k < OVERLAPS; ++k) {
            curve(w, k, most_of[j], room, &ap, &recall);
            figure[COCO_AR1 + j] += recall / OVERLAPS;
        }
    }
    free(room);
    return ST_OK;
}

static int by_id(const void *a, const void *b, void *user) {
    const struct eval_image *image = user;
    int i = *(const int *)a, k = *(const int *)b;
    if (image[i].id != image[k].id) return image[i].id < image[k].id ? -1 : 1;
    return i - k;
}

static enum status work_open(struct ctx *ctx, const struct eval_set *s, struct work *w) {
    int most_truths = 1;
    w->set = s;
    TRY(eval_index_truths(ctx, s, &w->truth));
    TRY(eval_index_detections(ctx, s, &w->detection));
    for (int pair = 0; pair < s->n_image * s->n_category; ++pair) {
        int n = w->truth.first[pair + 1] - w->truth.first[pair];
        if (n > most_truths) most_truths = n;
    }
    size_t n = (size_t)most_truths;
    w->match = mem_zero(ctx, (size_t)s->n_detection + 1, sizeof *w->match);
    w->overlap = mem_zero(ctx, n, sizeof *w->overlap);
    w->taken = mem_zero(ctx, n * OVERLAPS, 1);
    w->order = mem_zero(ctx, n, sizeof *w->order);
    w->ignore = mem_zero(ctx, n, 1);
    w->picture = mem_zero(ctx, (size_t)s->n_image, sizeof *w->picture);
    if (ctx->code != ST_OK) return ctx->code;
    for (int i = 0; i < s->n_image; ++i) w->picture[i] = i;
    qsort_r(w->picture, (size_t)s->n_image, sizeof *w->picture, by_id, s->image);
    return ST_OK;
}

/* Mean over the categories that have objects. */
static void average(struct coco_result *r) {
    for (int f = 0; f < COCO_FIGURES; ++f) {
        double sum = 0;
        int n = 0;
        for (int c = 0; c < r->n_category; ++c)
            if (r->category[c][f] >= 0) sum += r->category[c][f], ++n;
        r->figure[f] = n ? sum / n : -1;
    }
}

enum status coco_evaluate(struct ctx *ctx, const struct eval_set *s, struct coco_result *r) {
    struct work w = { 0 };
    memset(r, 0, sizeof *r);
    r->n_category = s->n_category;
    r->category = mem_zero(ctx, (size_t)s->n_category, sizeof *r->category);
    enum status st = r->category ? work_open(ctx, s, &w) : ST_MEMORY;
    for (int c = 0; c < s->n_category && st == ST_OK; ++c) {
        for (int f = 0; f < COCO_FIGURES; ++f) r->category[c][f] = -1;
        for (int area = 0; area < AREAS && st == ST_OK; ++area) st = category_figures(ctx, &w, c, area, r->category[c]);
    }
    if (st == ST_OK) average(r);
    eval_index_free(&w.truth), eval_index_free(&w.detection);
    free(w.match), free(w.overlap), free(w.taken), free(w.order), free(w.ignore), free(w.picture);
    if (st != ST_OK) coco_free(r);
    return st;
}

void coco_free(struct coco_result *r) {
    free(r->category);
    memset(r, 0, sizeof *r);
}
