#include "data/anchors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/rng.h"
#include "vision/draw.h"

enum { RESTARTS = 10, MAX_ROUNDS = 1000 };

/* --- Boxes ---------------------------------------------------------------------------------------------- */

static enum status count_class(struct ctx *ctx, struct anchor_boxes *b, int class_id, size_t *cap) {
    enum { MAX_CLASSES = 1 << 20 };
    if (class_id >= MAX_CLASSES) return ctx_fail(ctx, ST_FORMAT, "class %d in the labels: classes= of the .data file is needed", class_id);
    if (class_id >= b->classes) {
        TRY(mem_grow(ctx, &b->per_class, cap, (size_t)class_id + 1, sizeof *b->per_class));
        memset(b->per_class + b->classes, 0, (size_t)(class_id + 1 - b->classes) * sizeof *b->per_class);
        b->classes = class_id + 1;
    }
    ++b->per_class[class_id];
    return ST_OK;
}

/* Problems are told file by file, the first ones. */
static void tell(struct ctx *ctx, struct anchor_boxes *b, const char *path, const struct label_issues *issues) {
    enum { SHOWN = 10 };
    if (issues->n && ++b->bad_files <= SHOWN)
        ctx_log(ctx, LOG_WARN, "%s:%d: %s (%d bad lines in this file are left out)", path, issues->item[0].line, issues->item[0].text,
                issues->n);
}

static enum status read_one(struct ctx *ctx, const char *image, int classes, int width, int height, struct truth_list *truth,
                            struct label_issues *issues, struct anchor_boxes *b, size_t *class_cap) {
    char *path = label_path(ctx, image);
    if (!path) return ctx->code;
    bool there = io_exists(path);
    truth->n = issues->n = 0;
    enum status st = there ? labels_read(ctx, path, classes, truth, issues) : ST_OK;
    if (st == ST_OK) tell(ctx, b, path, issues);
    free(path);
    TRY(st);
    b->images += there;
    size_t cap = (size_t)b->cap;
    TRY(mem_grow(ctx, &b->size, &cap, (size_t)b->n + (size_t)truth->n, sizeof *b->size));
    b->cap = (int)cap;
    for (int i = 0; i < truth->n; ++i) {
        const struct truth *t = &truth->item[i];
        b->size[b->n++] = (struct anchor){ (double)t->box.w * width, (double)t->box.h * height };
        TRY(count_class(ctx, b, t->class_id, class_cap));
    }
    return ST_OK;
}

enum status anchors_read(struct ctx *ctx, const struct text_list *images, int classes, int width, int height,
                         struct anchor_boxes *b) {
    struct truth_list truth = { 0 };
    struct label_issues issues = { 0 };
    size_t class_cap = (size_t)classes;
    *b = (struct anchor_boxes){ .classes = classes, .per_class = mem_zero(ctx, class_cap, sizeof *b->per_class) };
    enum status st = b->per_class ? ST_OK : ST_MEMORY;
    for (int i = 0; i < images->n && st == ST_OK; ++i)
        st = read_one(ctx, images->item[i], classes, width, height, &truth, &issues, b, &class_cap);
    free(truth.item);
    free(issues.item);
    if (st != ST_OK) anchors_free(b);
    return st;
}

void anchors_free(struct anchor_boxes *b) {
    free(b->size);
    free(b->per_class);
    *b = (struct anchor_boxes){ 0 };
}

/* --- Clusters ------------------------------------------------------------------------------------------- */

double anchor_iou(struct anchor a, struct anchor b) {
    double both = fmin(a.w, b.w) * fmin(a.h, b.h), either = a.w * a.h + b.w * b.h - both;
    return either > 0 ? both / either : 0;
}

static int by_area(const void *a, const void *b) {
    const struct anchor *p = a, *q = b;
    double x = p->w * p->h, y = q->w * q->h;
    if (x != y) return x < y ? -1 : 1;
    return p->w < q->w ? -1 : p->w > q->w;
}

/* k-means++ (Arthur & Vassilvitskii 2007): each next centre is a box drawn by its squared distance to the centres so far.
 * False when all boxes lie on fewer than k centres. */
static bool start(const struct anchor *size, int n, int k, struct rng *r, double *far, struct anchor *anchor) {
    for (int i = 0; i < n; ++i) far[i] = 1;
    for (int c = 0; c < k; ++c) {
        double sum = 0;
        int pick = -1;
        for (int i = 0; i < n; ++i) sum += far[i];
        if (!(sum > 0)) return false;
        double at = rng_uniform(r) * sum;
        for (int i = 0; i < n && (pick < 0 || at >= 0); ++i) {
            if (far[i] > 0) pick = i;
            at -= far[i];
        }
        anchor[c] = size[pick];
        for (int i = 0; i < n; ++i) {
            double d = 1 - anchor_iou(size[i], anchor[c]);
            if (size[i].w == anchor[c].w && size[i].h == anchor[c].h) d = 0;
            far[i] = fmin(far[i], d * d);
        }
    }
    return true;
}

static bool assign(const struct anchor *size, int n, int k, const struct anchor *anchor, int *cluster, double *iou) {
    bool changed = false;
    *iou = 0;
    for (int i = 0; i < n; ++i) {
        double best = -1;
        int c = 0;
        for (int j = 0; j < k; ++j) {
            double v = anchor_iou(size[i], anchor[j]);
            if (v > best) best = v, c = j;
        }
        if (c != cluster[i]) changed = true;
        cluster[i] = c;
        *iou += best / n;
    }
    return changed;
}

/* An empty cluster keeps its centre.  sum, count: room for k. */
static void move(const struct anchor *size, int n, int k, const int *cluster, struct anchor *sum, int *count, struct anchor *anchor) {
    memset(sum, 0, (size_t)k * sizeof *sum);
    memset(count, 0, (size_t)k * sizeof *count);
    for (int i = 0; i < n; ++i) {
        sum[cluster[i]].w += size[i].w;
        sum[cluster[i]].h += size[i].h;
        ++count[cluster[i]];
    }
    for (int c = 0; c < k; ++c)
        if (count[c]) anchor[c] = (struct anchor){ sum[c].w / count[c], sum[c].h / count[c] };
}

enum status anchors_cluster(struct ctx *ctx, const struct anchor *size, int n, int k, uint64_t seed, struct anchor *best, int *cluster,
                            struct anchor_result *result) {
    int *own = mem_zero(ctx, (size_t)n, sizeof *own), *count = mem_zero(ctx, (size_t)k, sizeof *count);
    double *far = mem_zero(ctx, (size_t)n, sizeof *far);
    struct anchor *anchor = mem_zero(ctx, (size_t)k, sizeof *anchor), *sum = mem_zero(ctx, (size_t)k, sizeof *sum);
    *result = (struct anchor_result){ .iou = -1 };
    for (int trial = 0; trial < RESTARTS && ctx->code == ST_OK; ++trial) {
        struct rng r = rng_stream(seed, (uint64_t)trial, (uint64_t)k);
        double iou = 0;
        int round = 0;
        for (int i = 0; i < n; ++i) own[i] = -1;
        if (!start(size, n, k, &r, far, anchor)) {
            ctx_fail(ctx, ST_FORMAT, "%d clusters need at least %d boxes of different sizes; there are %d boxes", k, k, n);
            break;
        }
        while (assign(size, n, k, anchor, own, &iou) && ++round < MAX_ROUNDS) move(size, n, k, own, sum, count, anchor);
        if (iou <= result->iou) continue;
        *result = (struct anchor_result){ iou, round };
        memcpy(best, anchor, (size_t)k * sizeof *best);
    }
    if (ctx->code == ST_OK) {
        qsort(best, (size_t)k, sizeof *best, by_area);
        if (cluster) assign(size, n, k, best, cluster, &result->iou);
    }
    free(own), free(count), free(far), free(anchor), free(sum);
    return ctx->code;
}

/* --- Picture -------------------------------------------------------------------------------------------- */

enum status anchors_draw(struct ctx *ctx, const struct anchor *size, const int *cluster, int n, const struct anchor *anchor, int k,
                         int width, int height, struct pixels *out) {
    enum { SIDE = 800, MARGIN = 40, TEXT = 16 };
    const struct colour ink = { 40, 40, 40, 1 }, paper = { 255, 255, 255, 1 };
    double scale = (SIDE - 2. * MARGIN) / fmax(width, height);
    float right = (float)(MARGIN + width * scale), bottom = (float)(MARGIN + height * scale);
    char text[128];
    TRY(pixels_new(ctx, (int)right + MARGIN, (int)bottom + MARGIN + TEXT, 3, out));
    draw_rect(out, 0, 0, (float)out->w, (float)out->h, paper);
    for (int i = 0; i < n; ++i) {
        struct colour c = draw_class_colour(cluster[i], k);
        c.alpha = .5f;
        draw_ellipse(out, (float)(MARGIN + size[i].w * scale), (float)(MARGIN + size[i].h * scale), 2, 2, c);
    }
    for (int i = 0; i < k; ++i) {
        float w = (float)(anchor[i].w * scale), h = (float)(anchor[i].h * scale);
        draw_frame(out, MARGIN, MARGIN, w, h, 2, draw_class_colour(i, k));
        draw_ellipse(out, MARGIN + w, MARGIN + h, 5, 5, ink);
    }
    draw_frame(out, MARGIN, MARGIN, right - MARGIN, bottom - MARGIN, 1, ink);
    snprintf(text, sizeof text, "%d boxes by width (to %d) and height (to %d), %d anchors", n, width, height, k);
    draw_text(out, MARGIN, bottom + TEXT / 2, TEXT, text, ink);
    return ST_OK;
}
