/* Loss of [yolo] on the device: memory and order of kernels_yolo.h. */
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/internal.h"

/* Memory that grows as batches hold more objects. */
struct room { void *at; size_t bytes; };

struct yolo_plan {
    struct yolo_desc y;
    struct room tables, objects, hits, accepted, sums;
    const double *size; /* in tables */
    const int32_t *number;
    const float *multiplier;
    int32_t *first;     /* host: where each image's objects begin */
    size_t first_cap, n_sum, channels;
    bool queued;
};

static enum status grow(struct backend *be, struct ctx *ctx, struct room *r, size_t bytes) {
    if (bytes <= r->bytes && r->at) return ST_OK;
    be->ops->free(be, r->at);
    size_t wanted = bytes + bytes / 2 + 64;
    r->at = be->ops->alloc(be, ctx, (wanted + sizeof(float) - 1) / sizeof(float));
    r->bytes = r->at ? wanted : 0;
    return r->at ? ST_OK : ctx->code;
}

static void yolo_free(struct backend *be, struct yolo_plan *p) {
    if (!p) return;
    struct room *all[] = { &p->tables, &p->objects, &p->hits, &p->accepted, &p->sums };
    for (size_t i = 0; i < sizeof all / sizeof *all; ++i) be->ops->free(be, all[i]->at);
    free(p->first);
    free(p);
}

static enum status yolo_new(struct backend *be, struct ctx *ctx, const struct yolo_desc *y, const struct yolo_tables *t, struct yolo_plan **out) {
    struct device *dev = cuda_device(be);
    struct yolo_plan *p = *out = mem_zero(ctx, 1, sizeof *p);
    size_t size = 2 * (size_t)y->num * sizeof *t->size, number = (size_t)y->anchors * sizeof *t->number;
    size_t multiplier = t->multiplier ? (size_t)y->classes * sizeof *t->multiplier : 0;
    if (!p) return ST_MEMORY;
    p->y = *y;
    if (grow(be, ctx, &p->tables, size + number + multiplier) != ST_OK) {
        yolo_free(be, p);
        *out = NULL;
        return ctx->code;
    }
    char *at = p->tables.at;
    dev->ops->upload(dev, t->size, size, at);
    dev->ops->upload(dev, t->number, number, at + size);
    if (multiplier) dev->ops->upload(dev, t->multiplier, multiplier, at + size + number);
    p->size = (const double *)(void *)at;
    p->number = (const int32_t *)(void *)(at + size);
    p->multiplier = multiplier ? (const float *)(void *)(at + size + number) : NULL;
    return ST_OK;
}

/* first[n] .. first[n + 1] - 1 are the objects of image n. */
static enum status list_images(struct ctx *ctx, struct yolo_plan *p, const struct yolo_object *object, int n, int images) {
    TRY(mem_grow(ctx, &p->first, &p->first_cap, (size_t)images + 1, sizeof *p->first));
    for (int i = 0, k = 0; i <= images; ++i) {
        while (k < n && object[k].image < i) ++k;
        p->first[i] = k;
    }
    p->first[images] = n;
    return ST_OK;
}

/* Everything that this batch needs, and where it is. */
static enum status prepare(struct backend *be, struct ctx *ctx, struct yolo_plan *p, const struct yolo_object *object, int n,
                           const struct tensor *x, const struct tensor *delta, struct yolo_args *a) {
    struct device *dev = cuda_device(be);
    size_t anchors = (size_t)p->y.anchors, objects = (size_t)n * sizeof *object, first = ((size_t)x->n + 1) * sizeof *p->first;
    size_t hits = (size_t)n * anchors, records = hits * YOLO_RECORDS * sizeof *a->record, predictions = cells_of(x) * anchors;
    TRY(list_images(ctx, p, object, n, x->n));
    p->channels = (size_t)x->c;
    p->n_sum = p->channels + 2 * anchors + YOLO_RECORDS;
    TRY(grow(be, ctx, &p->objects, objects + first));
    TRY(grow(be, ctx, &p->hits, records + hits * sizeof *a->hit));
    TRY(grow(be, ctx, &p->sums, p->n_sum * sizeof *a->sums));
    if (p->y.truth_thresh < 1) TRY(grow(be, ctx, &p->accepted, predictions * sizeof *a->accepted));
    char *to = p->objects.at;
    if (n) dev->ops->upload(dev, object, objects, to);
    dev->ops->upload(dev, p->first, first, to + objects);
    *a = (struct yolo_args){ .x = view_of(x), .d = view_of(delta), .y = p->y, .size = p->size, .number = p->number, .multiplier = p->multiplier,
                             .object = (const struct yolo_object *)(void *)to, .first = (const int32_t *)(void *)(to + objects),
                             .record = p->hits.at, .hit = (int32_t *)(void *)((char *)p->hits.at + records),
                             .accepted = p->y.truth_thresh < 1 ? p->accepted.at : NULL, .sums = p->sums.at };
    return ST_OK;
}

static enum status yolo_loss(struct backend *be, struct ctx *ctx, struct yolo_plan *p, const struct yolo_object *object, int n,
                             const struct tensor *x, struct tensor *delta) {
    struct yolo_args a;
    size_t anchors = (size_t)p->y.anchors, cells = cells_of(x), work = (size_t)n * anchors;
    TRY(prepare(be, ctx, p, object, n, x, delta, &a));
    RUN_EACH(be, yolo_match, &a, (size_t)n);
    RUN_EACH(be, yolo_background, &a, cells * anchors);
    RUN_EACH(be, yolo_assign, &a, work);
    if (p->y.averages) RUN_EACH(be, yolo_average, &a, cells * anchors);
    RUN_COLUMNS(be, yolo_squares, &a, p->channels, cells);
    RUN_COLUMNS(be, yolo_objects, &a, anchors, cells);
    RUN_COLUMNS(be, yolo_records, &a, (size_t)YOLO_RECORDS, work);
    be->ops->scale(be, elements_of(delta), -(double)(float)p->y.delta_normalizer, delta->data);
    p->queued = true;
    return cuda_fault(be, ctx);
}

static enum status yolo_sums(struct backend *be, struct ctx *ctx, struct yolo_plan *p, struct yolo_sums *s) {
    struct device *dev = cuda_device(be);
    double *v = mem_zero(ctx, p->n_sum, sizeof *v);
    memset(s, 0, sizeof *s);
    if (!v) return ST_MEMORY;
    if (p->queued) dev->ops->download(dev, p->sums.at, p->n_sum * sizeof *v, v);
    int entries = yolo_entries(&p->y);
    for (size_t k = 0; k < p->channels; ++k) {
        int e = (int)k % entries;
        s->all += v[k];
        if (e < p->y.box) s->box += v[k];
        if (p->y.box == 8 && e < 8 && e % 2) s->sigma += v[k];
    }
    double accepted = 0;
    for (size_t k = 0; k < (size_t)p->y.anchors; ++k) s->any_object += v[p->channels + 2 * k], accepted += v[p->channels + 2 * k + 1];
    const double *r = v + p->channels + 2 * (size_t)p->y.anchors;
    s->iou = r[YOLO_R_IOU], s->iou_error = r[YOLO_R_IOU_ERROR], s->giou_error = r[YOLO_R_GIOU_ERROR], s->overlap = r[YOLO_R_OVERLAP];
    s->over50 = r[YOLO_R_OVER50], s->over75 = r[YOLO_R_OVER75], s->object = r[YOLO_R_OBJECT], s->own_class = r[YOLO_R_CLASS];
    s->count = (long long)r[YOLO_R_COUNT];
    s->boxes = s->count + (long long)accepted;
    s->rewritten = (long long)r[YOLO_R_REWRITTEN];
    free(v);
    return cuda_fault(be, ctx);
}

const struct yolo_ops cuda_yolo_ops = { .open = yolo_new, .close = yolo_free, .loss = yolo_loss, .sums = yolo_sums };
