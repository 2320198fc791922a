#include "eval/voc_metric.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct ranked { double score; int detection; };

static int by_score(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    return x->detection - y->detection;
}

/* Pixels have an extent of one, so that a box from 10 to 20 is 11 wide: as the devkit counts. */
static double overlap_of(const struct eval_detection *d, const struct eval_truth *t) {
    double w = fmin(d->x + d->w, t->x + t->w) - fmax(d->x, t->x) + 1, h = fmin(d->y + d->h, t->y + t->h) - fmax(d->y, t->y) + 1;
    if (w <= 0 || h <= 0) return 0;
    return w * h / ((d->w + 1) * (d->h + 1) + (t->w + 1) * (t->h + 1) - w * h);
}

/* 1: right, 0: wrong, -1: does not count. */
static int judge(const struct eval_set *s, const struct eval_index *truth, const struct eval_detection *d, double overlap, uint8_t *found) {
    size_t pair = (size_t)d->image * (size_t)s->n_category + (size_t)d->category;
    int best = -1;
    double most = -1;
    for (int k = truth->first[pair]; k < truth->first[pair + 1]; ++k) {
        double o = overlap_of(d, &s->truth[truth->order[k]]);
        if (o > most) most = o, best = truth->order[k];
    }
    if (best < 0 || most < overlap) return 0;
    if (s->truth[best].difficult || s->truth[best].crowd) return -1;
    if (found[best]) return 0;
    found[best] = 1;
    return 1;
}

static void curve(const double *recall, double *precision, int n, struct voc_figure *f) {
    for (int i = n - 2; i >= 0; --i) precision[i] = fmax(precision[i], precision[i + 1]);
    f->area = f->ap11 = 0;
    double before = 0;
    for (int i = 0; i < n; before = recall[i++]) f->area += (recall[i] - before) * precision[i];
    for (int r = 0, i = 0; r <= 10; ++r) {
        while (i < n && recall[i] < r * .1) ++i;
        if (i < n) f->ap11 += precision[i] / 11;
    }
}

static enum status category_figure(struct ctx *ctx, const struct eval_set *s, const struct eval_index *truth, int category, double overlap,
                                   struct voc_figure *f) {
    struct ranked *rank = mem_zero(ctx, (size_t)s->n_detection + 1, sizeof *rank);
    double *recall = mem_zero(ctx, (size_t)s->n_detection + 1, sizeof *recall), *precision = mem_zero(ctx, (size_t)s->n_detection + 1, sizeof *precision);
    uint8_t *found = mem_zero(ctx, (size_t)s->n_truth, 1);
    int n = 0, kept = 0, tp = 0, fp = 0;
    *f = (struct voc_figure){ -1, -1, 0 };
    for (int i = 0; i < s->n_truth; ++i)
        f->truths += s->truth[i].category == category && !s->truth[i].difficult && !s->truth[i].crowd;
    if (ctx->code == ST_OK && f->truths) {
        for (int i = 0; i < s->n_detection; ++i)
            if (s->detection[i].category == category) rank[n++] = (struct ranked){ s->detection[i].score, i };
        qsort(rank, (size_t)n, sizeof *rank, by_score);
        for (int i = 0; i < n; ++i) {
            int right = judge(s, truth, &s->detection[rank[i].detection], overlap, found);
            if (right < 0) continue;
            tp += right, fp += !right;
            recall[kept] = (double)tp / f->truths;
            precision[kept++] = (double)tp / (tp + fp);
        }
        curve(recall, precision, kept, f);
    }
    free(rank), free(recall), free(precision), free(found);
    return ctx->code;
}

enum status voc_evaluate(struct ctx *ctx, const struct eval_set *s, double overlap, struct voc_result *r) {
    struct eval_index truth;
    int present = 0;
    memset(r, 0, sizeof *r);
    r->n_category = s->n_category;
    r->category = mem_zero(ctx, (size_t)s->n_category, sizeof *r->category);
    enum status st = eval_index_truths(ctx, s, &truth);
    for (int c = 0; c < s->n_category && st == ST_OK; ++c) {
        st = category_figure(ctx, s, &truth, c, overlap, &r->category[c]);
        if (r->category[c].truths == 0) continue;
        r->ap11 += r->category[c].ap11, r->area += r->category[c].area;
        ++present;
    }
    r->ap11 = present ? r->ap11 / present : -1, r->area = present ? r->area / present : -1;
    eval_index_free(&truth);
    if (st != ST_OK) voc_free(r);
    return st;
}

void voc_free(struct voc_result *r) {
    free(r->category);
    memset(r, 0, sizeof *r);
}
