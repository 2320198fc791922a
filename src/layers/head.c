#include "layers/head.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "vision/word_tree.h"

struct head_grid head_grid(const struct layer *l, int n, int classes) {
    return (struct head_grid){ l->in_shape[0].w, l->in_shape[0].h, n, classes, HEAD_OBJECT };
}

int head_entries(const struct head_grid *g) { return g->box + 1 + g->classes; }

size_t head_image(const struct head_grid *g) {
    return (size_t)g->n * (size_t)head_entries(g) * (size_t)g->h * (size_t)g->w;
}

int head_predictions(const struct head_grid *g) { return g->n * g->h * g->w; }

int head_prediction(const struct head_grid *g, int anchor, int row, int col) {
    return (anchor * g->h + row) * g->w + col;
}

struct head_cell head_cell_at(const struct head_grid *g, int image, int anchor, int row, int col) {
    size_t plane = (size_t)g->h * (size_t)g->w, per_anchor = plane * (size_t)head_entries(g);
    size_t at = (size_t)image * head_image(g) + (size_t)anchor * per_anchor + (size_t)row * (size_t)g->w +
                (size_t)col;
    return (struct head_cell){ at, plane, anchor, row, col };
}

struct head_cell head_cell(const struct head_grid *g, int image, int prediction) {
    int plane = g->h * g->w, place = prediction % plane;
    return head_cell_at(g, image, prediction / plane, place / g->w, place % g->w);
}

int head_cell_of(float centre, int cells) {
    float place = centre * (float)cells;
    if (!(place > 0)) return 0;
    return place < (float)cells ? (int)place : cells - 1;
}

float head_logistic(float x) { return 1.f / (1.f + expf(-x)); }

double head_logit(double p) { return p <= 0 ? -INFINITY : p >= 1 ? INFINITY : log(p / (1 - p)); }

float head_focal(float p) {
    float pt = p + 1e-15f;
    return -.5f * (1 - pt) * (2 * pt * logf(pt) + pt - 1);
}

void head_softmax(const float *x, size_t stride, int n, double temperature, float *y) {
    double largest = -INFINITY, sum = 0;
    for (int k = 0; k < n; ++k) largest = fmax(largest, x[(size_t)k * stride]);
    for (int k = 0; k < n; ++k) sum += exp((x[(size_t)k * stride] - largest) / temperature);
    for (int k = 0; k < n; ++k)
        y[(size_t)k * stride] = (float)(exp((x[(size_t)k * stride] - largest) / temperature) / sum);
}

enum status head_target(struct ctx *ctx, const struct layer *l, const struct loss_args *args, int n) {
    if (!args->target)
        return layer_fail(ctx, l, NULL, "trains on %d values per image, but the data has boxes only", n);
    if (args->target_size != n)
        return layer_fail(ctx, l, NULL, "trains on %d values per image, but the data has %d", n, args->target_size);
    return ST_OK;
}

enum status head_boxes(struct ctx *ctx, const struct layer *l, const struct loss_args *args) {
    return args->truth ? ST_OK : layer_fail(ctx, l, NULL, "trains on boxes, but the data has none");
}

enum status head_tree(struct ctx *ctx, const struct layer *l, const char *path, int n, struct word_tree **tree) {
    struct ctx own = { 0 };
    if (word_tree_read(&own, path, tree) != ST_OK) return layer_fail(ctx, l, "tree", "%s", own.error);
    if ((*tree)->n == n) return ST_OK;
    return layer_fail(ctx, l, "tree", "%s has %d classes, but this layer has %d", path, (*tree)->n, n);
}

double head_anchor(const struct cfg_floats *anchors, int i) { return i < anchors->n ? anchors->v[i] : .5; }

enum status head_fill_anchors(struct ctx *ctx, const struct layer *l, struct cfg_floats *anchors, int num) {
    size_t cap = (size_t)anchors->n;
    if (!anchors->n || anchors->n >= 2 * num) return ST_OK;
    cfg_warn(ctx, l->section, 0, "anchors", "%d numbers, but num=%d anchors need %d; those missing are taken as 0.5", anchors->n,
             num, 2 * num);
    TRY(mem_grow(ctx, &anchors->v, &cap, (size_t)(2 * num), sizeof *anchors->v));
    while (anchors->n < 2 * num) anchors->v[anchors->n++] = .5;
    return ST_OK;
}

double head_size_iou(enum iou_kind kind, double w, double h, struct box truth) {
    return box_iou_of(kind, (struct box){ 0, 0, (float)w, (float)h }, (struct box){ 0, 0, truth.w, truth.h });
}

double head_ratio(double a, double b) { return b != 0 ? a / b : -NAN; }

int head_class(const struct layer *l, int class_id, int classes) {
    const struct head_run *run = l->run;
    if (class_id < 0 || class_id >= classes) return -1;
    if (!run || !run->map) return class_id;
    return class_id < run->n_map ? run->map[class_id] : -1;
}

static double plogq(double p, double q) { return p > 0 ? p * log(p / fmax(q, 1e-12)) : 0; }
double head_divergence(double own, double other) { return plogq(other, own) + plogq(1 - other, 1 - own); }

void head_norms(const struct layer *l, const struct head_grid *g, int batch, double *all, double *box) {
    size_t plane = (size_t)g->h * (size_t)g->w;
    int entries = head_entries(g);
    const float *d = l->head_delta;
    *all = *box = 0;
    for (int k = 0; k < batch * g->n * entries; ++k) {
        double sum = 0;
        for (size_t i = 0; i < plane; ++i, ++d) sum += (double)*d * *d;
        *all += sum;
        if (k % entries < g->box) *box += sum;
    }
}

enum status head_shape(struct ctx *ctx, struct layer *l, const struct head_grid *g, const char *unit) {
    struct shape in = l->in_shape[0];
    long long want = (long long)g->n * head_entries(g);
    if (in.c != want)
        return layer_fail(ctx, l, unit, "the layer before has %d channels; %d anchors of %d + %d classes need filters=%lld there", in.c,
                          g->n, g->box + 1, g->classes, want);
    l->out = (struct shape){ 1, 0, in.h, in.w };
    l->flops = 0;
    return ST_OK;
}

const struct word_tree *head_word_tree(const struct layer *l) {
    const struct head_run *run = l->run;
    return run ? run->tree : NULL;
}

enum status head_map_read(struct ctx *ctx, const char *path, int classes, int **map, int *n) {
    char *bytes;
    size_t size, cap = 0;
    int line = 0;
    *map = NULL, *n = 0;
    TRY(io_read(ctx, path, &bytes, &size));
    enum status s = ST_OK;
    char *next = bytes;
    while (s == ST_OK && *next) {
        char *text = next, *end = strchr(next, '\n');
        const char *rest;
        int value;
        next = end ? end + 1 : next + strlen(next);
        if (end) *end = '\0';
        ++line;
        if (text[strspn(text, " \t\r")] == '\0') continue;
        if (!text_int(text, &value, &rest) || value < 0 || value >= classes)
            s = ctx_fail(ctx, ST_FORMAT, "%s:%d: must be a class from 0 to %d", path, line, classes - 1);
        else if ((s = mem_grow(ctx, map, &cap, (size_t)*n + 1, sizeof **map)) == ST_OK)
            (*map)[(*n)++] = value;
    }
    free(bytes);
    if (s == ST_OK && *n == 0) s = ctx_fail(ctx, ST_FORMAT, "%s: no class numbers in this map", path);
    return s;
}

enum status head_prepare(struct layer *l, struct pass *p, int classes, const char *map_path) {
    struct shape in = l->in_shape[0];
    size_t count = shape_count((struct shape){ p->batch, in.c, in.h, in.w });
    struct head_run *run = l->run = mem_zero(p->ctx, 1, sizeof *run);
    l->head_x = mem_zero(p->ctx, count, sizeof *l->head_x);
    if (!run || !l->head_x) return ST_MEMORY;
    if (p->mode == NET_INFER) return ST_OK;
    l->head_delta = mem_zero(p->ctx, count, sizeof *l->head_delta);
    if (!l->head_delta) return ST_MEMORY;
    struct ctx own = { 0 };
    if (map_path && head_map_read(&own, map_path, classes, &run->map, &run->n_map) != ST_OK)
        return layer_fail(p->ctx, l, "map", "%s", own.error);
    return ST_OK;
}

void head_release(struct layer *l, struct backend *be) {
    struct head_run *run = l->run;
    if (run) {
        if (run->plan) {
            be->yolo->close(be, run->plan);
            be->ops->free(be, run->delta);
        }
        free(run->multiplier);
        free(run->map);
        word_tree_free(run->tree);
        free(run->label);
        free(run->label_class);
        free(run->embedding);
    }
    free(run);
    free(l->head_x);
    free(l->head_delta);
    l->run = NULL;
    l->head_x = l->head_delta = NULL;
}

enum status head_forward(struct layer *l, struct pass *p) {
    p->be->ops->to_nchw(p->be, p->x[0], l->head_x);
    return ST_OK;
}

enum status head_backward(struct layer *l, struct pass *p) {
    if (p->dx[0]) p->be->ops->from_nchw(p->be, l->head_delta, p->dx[0], p->add[0]);
    return ST_OK;
}

bool head_reads(const struct layer *l) {
    (void)l;
    return true;
}
