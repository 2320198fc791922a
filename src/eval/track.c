#include "eval/track.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One box of an earlier frame. */
struct seen { struct box box; int object, frame; float *embedding; };
struct pair { double likeness; int seen, box; };

struct tracker {
    struct track_options opt;
    int width;                 /* values per embedding */
    int frame, objects;
    struct seen *seen;
    size_t n, cap;
    int *times;                /* per object: frames it was seen in */
    size_t times_cap;
    struct pair *pair;
    size_t n_pair, pair_cap;
};

enum status tracker_open(struct ctx *ctx, const struct net *net, struct tracker **out) {
    *out = NULL;
    for (int i = 0; i < net->n && !*out; ++i) {
        const struct layer *l = &net->layer[i];
        struct head_info info = { 0 };
        if (!l->ops->head || !l->ops->head->embedding) continue;
        l->ops->head->info(l, &info);
        if (info.embedding < 1) continue;
        *out = mem_zero(ctx, 1, sizeof **out);
        if (!*out) return ST_MEMORY;
        (*out)->opt = info.track;
        (*out)->width = info.embedding;
    }
    return ST_OK;
}

static double cosine(const float *a, const float *b, int n) {
    double dot = 0, aa = 0, bb = 0;
    for (int i = 0; i < n; ++i) {
        dot += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return aa > 0 && bb > 0 ? dot / sqrt(aa * bb) : 0;
}

static bool wanted(const struct detection_list *list, int i, float thresh) {
    for (int k = 0; k < list->classes; ++k)
        if (list->item[i].prob[k] > thresh) return true;
    return false;
}

/* Likest first; ties in the order of the boxes. */
static int likest_first(const void *a, const void *b) {
    const struct pair *p = a, *q = b;
    if (p->likeness != q->likeness) return p->likeness > q->likeness ? -1 : 1;
    return p->box != q->box ? p->box - q->box : p->seen - q->seen;
}

static enum status find_pairs(struct ctx *ctx, struct tracker *t, int box, struct box place, const float *embedding) {
    double near = t->opt.ciou_norm;
    for (size_t i = 0; i < t->n; ++i) {
        const struct seen *old = &t->seen[i];
        if (t->times[old->object - 1] < t->opt.for_track) continue;
        double likeness = cosine(old->embedding, embedding, t->width) * (1 - near) + box_iou(old->box, place) * near;
        if (!(likeness > t->opt.similarity)) continue;
        TRY(mem_grow(ctx, &t->pair, &t->pair_cap, t->n_pair + 1, sizeof *t->pair));
        t->pair[t->n_pair++] = (struct pair){ likeness, (int)i, box };
    }
    return ST_OK;
}

/* Each object takes one box, each box one object. */
static void join(const struct tracker *t, int *id) {
    for (size_t k = 0; k < t->n_pair; ++k) {
        const struct pair *p = &t->pair[k];
        bool free_box = id[p->box] == 0;
        for (size_t j = 0; j < k && free_box; ++j) /* has the object a box in this frame? */
            if (t->seen[t->pair[j].seen].object == t->seen[p->seen].object && id[t->pair[j].box] == t->seen[p->seen].object) free_box = false;
        if (free_box) id[p->box] = t->seen[p->seen].object;
    }
}

static void forget(struct tracker *t) {
    size_t kept = 0;
    for (size_t i = 0; i < t->n; ++i) {
        if (t->seen[i].frame > t->frame - t->opt.history) t->seen[kept++] = t->seen[i];
        else free(t->seen[i].embedding);
    }
    t->n = kept;
}

static enum status remember(struct ctx *ctx, struct tracker *t, struct box place, int *id, float *embedding) {
    if (*id == 0) {
        TRY(mem_grow(ctx, &t->times, &t->times_cap, (size_t)t->objects + 1, sizeof *t->times));
        t->times[t->objects] = 0;
        *id = ++t->objects;
    }
    TRY(mem_grow(ctx, &t->seen, &t->cap, t->n + 1, sizeof *t->seen));
    t->seen[t->n++] = (struct seen){ place, *id, t->frame, embedding };
    ++t->times[*id - 1];
    return ST_OK;
}

enum status tracker_follow(struct ctx *ctx, struct tracker *t, const struct net *net, const struct detection_list *list, float thresh, int *id) {
    float **embedding = mem_zero(ctx, (size_t)list->n, sizeof *embedding);
    enum status st = embedding ? ST_OK : ST_MEMORY;
    ++t->frame;
    t->n_pair = 0;
    for (int i = 0; i < list->n; ++i) id[i] = 0;
    for (int i = 0; i < list->n && st == ST_OK; ++i) {
        const struct detection *d = &list->item[i];
        struct head_info info = { 0 };
        if (!wanted(list, i, thresh) || d->head < 0) continue;
        const struct layer *l = &net->layer[d->head];
        l->ops->head->info(l, &info);
        if (info.embedding != t->width) continue; /* of a head without */
        embedding[i] = mem_zero(ctx, (size_t)t->width, sizeof **embedding);
        if (!embedding[i]) { st = ST_MEMORY; break; }
        l->ops->head->embedding(l, 0, d->prediction, embedding[i]);
        st = find_pairs(ctx, t, i, d->box, embedding[i]);
    }
    if (st == ST_OK) {
        if (t->n_pair) qsort(t->pair, t->n_pair, sizeof *t->pair, likest_first);
        join(t, id);
    }
    for (int i = 0; embedding && i < list->n; ++i) {
        if (st == ST_OK && embedding[i]) st = remember(ctx, t, list->item[i].box, &id[i], embedding[i]);
        else free(embedding[i]);
        if (id[i] && t->times[id[i] - 1] < t->opt.for_show) id[i] = 0;
    }
    free(embedding);
    forget(t);
    return st;
}

void tracker_close(struct tracker *t) {
    if (!t) return;
    for (size_t i = 0; i < t->n; ++i) free(t->seen[i].embedding);
    free(t->seen), free(t->times), free(t->pair), free(t);
}
