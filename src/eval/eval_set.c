#include "eval/eval_set.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void eval_set_free(struct eval_set *s) {
    for (int i = 0; i < s->n_category; ++i) free(s->category[i].name);
    for (int i = 0; i < s->n_image; ++i) free(s->image[i].name);
    free(s->category), free(s->image), free(s->truth), free(s->detection);
    memset(s, 0, sizeof *s);
}

enum status eval_add_category(struct ctx *ctx, struct eval_set *s, const char *name, long long id, int *index) {
    TRY(mem_grow(ctx, &s->category, &s->category_cap, (size_t)s->n_category + 1, sizeof *s->category));
    char *copy = mem_text(ctx, name);
    if (!copy) return ST_MEMORY;
    if (index) *index = s->n_category;
    s->category[s->n_category++] = (struct eval_category){ copy, id };
    return ST_OK;
}

enum status eval_add_image(struct ctx *ctx, struct eval_set *s, const char *name, long long id, double w, double h, int *index) {
    TRY(mem_grow(ctx, &s->image, &s->image_cap, (size_t)s->n_image + 1, sizeof *s->image));
    char *copy = mem_text(ctx, name);
    if (!copy) return ST_MEMORY;
    if (index) *index = s->n_image;
    s->image[s->n_image++] = (struct eval_image){ copy, id, w, h };
    return ST_OK;
}

enum status eval_add_truth(struct ctx *ctx, struct eval_set *s, const struct eval_truth *t) {
    TRY(mem_grow(ctx, &s->truth, &s->truth_cap, (size_t)s->n_truth + 1, sizeof *s->truth));
    s->truth[s->n_truth++] = *t;
    return ST_OK;
}

enum status eval_add_detection(struct ctx *ctx, struct eval_set *s, const struct eval_detection *d) {
    TRY(mem_grow(ctx, &s->detection, &s->detection_cap, (size_t)s->n_detection + 1, sizeof *s->detection));
    s->detection[s->n_detection++] = *d;
    return ST_OK;
}

int eval_find_category(const struct eval_set *s, const char *name) {
    for (int i = 0; i < s->n_category; ++i)
        if (!strcasecmp(s->category[i].name, name)) return i;
    return -1;
}

/* Counting sort by pair: stable, so that entries stay as they came. */
static enum status index_pairs(struct ctx *ctx, const struct eval_set *s, int n, const void *entries, size_t size, struct eval_index *out) {
    size_t pairs = (size_t)s->n_image * (size_t)s->n_category;
    out->order = mem_zero(ctx, (size_t)n, sizeof *out->order);
    out->first = mem_zero(ctx, pairs + 2, sizeof *out->first);
    if (!out->order || !out->first) return ST_MEMORY;
    for (int pass = 0; pass < 2; ++pass) {
        for (int i = 0; i < n; ++i) {
            const int *head = (const int *)(const void *)((const char *)entries + (size_t)i * size); /* image, category */
            size_t pair = (size_t)head[0] * (size_t)s->n_category + (size_t)head[1];
            if (pass == 0) ++out->first[pair + 2];
            else out->order[out->first[pair + 1]++] = i;
        }
        for (size_t k = 1; pass == 0 && k < pairs + 2; ++k) out->first[k] += out->first[k - 1];
    }
    return ST_OK;
}

enum status eval_index_truths(struct ctx *ctx, const struct eval_set *s, struct eval_index *out) {
    *out = (struct eval_index){ NULL, NULL };
    return index_pairs(ctx, s, s->n_truth, s->truth, sizeof *s->truth, out);
}

static int by_score(const void *a, const void *b, void *user) {
    const struct eval_detection *d = user;
    int i = *(const int *)a, k = *(const int *)b;
    if (d[i].score != d[k].score) return d[i].score < d[k].score ? 1 : -1;
    return i - k;
}

enum status eval_index_detections(struct ctx *ctx, const struct eval_set *s, struct eval_index *out) {
    *out = (struct eval_index){ NULL, NULL };
    TRY(index_pairs(ctx, s, s->n_detection, s->detection, sizeof *s->detection, out));
    for (int pair = 0; pair < s->n_image * s->n_category; ++pair)
        qsort_r(out->order + out->first[pair], (size_t)(out->first[pair + 1] - out->first[pair]), sizeof(int), by_score, s->detection);
    return ST_OK;
}

void eval_index_free(struct eval_index *x) {
    free(x->order), free(x->first);
    *x = (struct eval_index){ NULL, NULL };
}
