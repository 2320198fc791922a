#include "eval/kitti_metric.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const kitti_class_name[KITTI_CLASSES] = { "car", "pedestrian", "cyclist" };
const char *const kitti_level_name[KITTI_LEVELS] = { "easy", "moderate", "hard" };

enum { SAMPLES = 41 };
static const char *const neighbour[KITTI_CLASSES] = { "van", "person_sitting", NULL };
static const double least_overlap[KITTI_CLASSES] = { .7, .5, .5 };
static const double least_height[KITTI_LEVELS] = { 40, 25, 25 }, most_occlusion[KITTI_LEVELS] = { 0, 1, 2 },
                    most_truncation[KITTI_LEVELS] = { .15, .30, .50 };

/* VALID counts; EXCUSED neither counts nor harms; the others are not there. */
enum { VALID, EXCUSED, ABSENT };

struct picture { int truth, n_truth, detection, n_detection; }; /* first entries, in file order */
struct work {
    const struct eval_set *set;
    struct picture *picture;
    int *truth, *detection;         /* entries of all pictures, picture by picture, in file order */
    uint8_t *truth_state, *detection_state, *assigned;
    int dont_care;                  /* category, or -1 */
    double overlap;
    double *hit;                    /* scores of true positives */
    int n_hit;
};
struct count { int tp, fp, fn; };

static double intersection(const struct eval_detection *d, const struct eval_truth *t) {
    double w = fmin(d->x + d->w, t->x + t->w) - fmax(d->x, t->x), h = fmin(d->y + d->h, t->y + t->h) - fmax(d->y, t->y);
    return w <= 0 || h <= 0 ? 0 : w * h;
}

static double overlap_of(const struct eval_detection *d, const struct eval_truth *t) {
    double both = intersection(d, t);
    return both / (d->w * d->h + t->w * t->h - both);
}

/* Who counts for one class at one difficulty; returns the number of truths that do. */
static int set_states(struct work *w, int class, int level) {
    const struct eval_set *s = w->set;
    int own = eval_find_category(s, kitti_class_name[class]), near = neighbour[class] ? eval_find_category(s, neighbour[class]) : -1, n = 0;
    for (int i = 0; i < s->n_truth; ++i) {
        const struct eval_truth *t = &s->truth[i];
        bool hard = t->occlusion > most_occlusion[level] || t->truncation > most_truncation[level] || t->h < least_height[level];
        if (t->category == own) w->truth_state[i] = hard ? EXCUSED : VALID;
        else w->truth_state[i] = near >= 0 && t->category == near ? EXCUSED : ABSENT;
        n += own >= 0 && w->truth_state[i] == VALID;
    }
    for (int i = 0; i < s->n_detection; ++i) {
        const struct eval_detection *d = &s->detection[i];
        if (trunc(fabs(d->h)) < least_height[level]) w->detection_state[i] = EXCUSED; /* before the class is asked, as the devkit does */
        else w->detection_state[i] = d->category == own ? VALID : ABSENT;
    }
    return own >= 0 ? n : 0;
}

/* Which detection a truth takes.  Without `precise`: the one with the highest score; else the one that covers it best, and an
 * excused one only when there is no other. */
static int take(const struct work *w, const struct picture *p, const struct eval_truth *t, bool precise, double least_score) {
    int found = -1;
    double best = 0;
    bool excused = false;
    for (int k = 0; k < p->n_detection; ++k) {
        int i = w->detection[p->detection + k];
        const struct eval_detection *d = &w->set->detection[i];
        if (w->detection_state[i] == ABSENT || w->assigned[i] || (precise && d->score < least_score)) continue;
        double overlap = overlap_of(d, t);
        if (!(overlap > w->overlap)) continue;
        if (!precise) {
            if (found < 0 || d->score > best) found = i, best = d->score;
        } else if (w->detection_state[i] == VALID) {
            if (found < 0 || overlap > best || excused) found = i, best = overlap, excused = false;
        } else if (found < 0) {
            found = i, excused = true;
        }
    }
    return found;
}

static void count_picture(struct work *w, const struct picture *p, bool precise, double least_score, struct count *c) {
    const struct eval_set *s = w->set;
    for (int k = 0; k < p->n_detection; ++k) w->assigned[w->detection[p->detection + k]] = 0;
    for (int k = 0; k < p->n_truth; ++k) {
        int i = w->truth[p->truth + k];
        if (w->truth_state[i] == ABSENT) continue;
        int d = take(w, p, &s->truth[i], precise, least_score);
        if (d < 0) {
            c->fn += w->truth_state[i] == VALID;
            continue;
        }
        w->assigned[d] = 1;
        if (w->truth_state[i] != VALID || w->detection_state[d] != VALID) continue;
        ++c->tp;
        if (!precise) w->hit[w->n_hit++] = s->detection[d].score;
    }
    for (int k = 0; precise && k < p->n_detection; ++k) {
        int i = w->detection[p->detection + k];
        const struct eval_detection *d = &s->detection[i];
        if (w->assigned[i] || w->detection_state[i] != VALID || d->score < least_score) continue;
        bool excused = false;
        for (int g = 0; g < p->n_truth && !excused; ++g) {
            const struct eval_truth *t = &s->truth[w->truth[p->truth + g]];
            excused = t->category == w->dont_care && intersection(d, t) / (d->w * d->h) > w->overlap;
        }
        c->fp += !excused;
    }
}

static int falling(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Scores at which recall passes each fortieth. */
static int thresholds(struct work *w, int truths, double *out) {
    double current = 0;
    int n = 0;
    qsort(w->hit, (size_t)w->n_hit, sizeof *w->hit, falling);
    for (int i = 0; i < w->n_hit; ++i) {
        bool last = i == w->n_hit - 1;
        double left = (double)(i + 1) / truths, right = last ? left : (double)(i + 2) / truths;
        if (right - current < current - left && !last) continue;
        if (n < SAMPLES) out[n++] = w->hit[i];
        current += 1.0 / (SAMPLES - 1);
    }
    return n;
}

static void figure_of(struct work *w, int class, int level, struct kitti_figure *f) {
    double at[SAMPLES], precision[SAMPLES] = { 0 };
    struct count all = { 0, 0, 0 };
    *f = (struct kitti_figure){ 0, 0, set_states(w, class, level) };
    w->overlap = least_overlap[class];
    w->n_hit = 0;
    if (f->truths == 0) return;
    for (int i = 0; i < w->set->n_image; ++i) count_picture(w, &w->picture[i], false, 0, &all);
    int n = thresholds(w, f->truths, at);
    for (int k = 0; k < n; ++k) {
        struct count c = { 0, 0, 0 };
        for (int i = 0; i < w->set->n_image; ++i) count_picture(w, &w->picture[i], true, at[k], &c);
        precision[k] = c.tp + c.fp ? (double)c.tp / (c.tp + c.fp) : 0;
    }
    for (int k = SAMPLES - 2; k >= 0; --k) precision[k] = fmax(precision[k], precision[k + 1]);
    for (int k = 0; k < SAMPLES; ++k) {
        if (k % 4 == 0) f->r11 += 100 * precision[k] / 11;
        if (k > 0) f->r40 += 100 * precision[k] / 40;
    }
}

/* Entries by picture. */
static enum status group(struct ctx *ctx, const struct eval_set *s, struct work *w) {
    w->set = s;
    w->picture = mem_zero(ctx, (size_t)s->n_image + 1, sizeof *w->picture);
    w->truth = mem_zero(ctx, (size_t)s->n_truth, sizeof *w->truth);
    w->detection = mem_zero(ctx, (size_t)s->n_detection, sizeof *w->detection);
    w->truth_state = mem_zero(ctx, (size_t)s->n_truth, 1);
    w->detection_state = mem_zero(ctx, (size_t)s->n_detection, 1);
    w->assigned = mem_zero(ctx, (size_t)s->n_detection, 1);
    w->hit = mem_zero(ctx, (size_t)s->n_truth, sizeof *w->hit);
    if (ctx->code != ST_OK) return ctx->code;
    for (int i = 0; i < s->n_truth; ++i) ++w->picture[s->truth[i].image].n_truth;
    for (int i = 0; i < s->n_detection; ++i) ++w->picture[s->detection[i].image].n_detection;
    for (int i = 0; i < s->n_image; ++i) {
        struct picture *p = &w->picture[i];
        p[1].truth = p->truth + p->n_truth, p[1].detection = p->detection + p->n_detection;
        p->n_truth = p->n_detection = 0;
    }
    for (int i = 0; i < s->n_truth; ++i) {
        struct picture *p = &w->picture[s->truth[i].image];
        w->truth[p->truth + p->n_truth++] = i;
    }
    for (int i = 0; i < s->n_detection; ++i) {
        struct picture *p = &w->picture[s->detection[i].image];
        w->detection[p->detection + p->n_detection++] = i;
    }
    w->dont_care = eval_find_category(s, "dontcare");
    return ST_OK;
}

enum status kitti_evaluate(struct ctx *ctx, const struct eval_set *s, struct kitti_result *r) {
    struct work w = { 0 };
    memset(r, 0, sizeof *r);
    enum status st = group(ctx, s, &w);
    for (int class = 0; class < KITTI_CLASSES && st == ST_OK; ++class)
        for (int level = 0; level < KITTI_LEVELS; ++level) figure_of(&w, class, level, &r->of[class][level]);
    free(w.picture), free(w.truth), free(w.detection), free(w.truth_state), free(w.detection_state), free(w.assigned), free(w.hit);
    return st;
}
