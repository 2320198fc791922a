#include "prune/heatmap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "prune/utility.h"

/* --- sites ------------------------------------------------------------------------------------------------------------ */

static int cells(struct shape s) { return s.w * s.h; }

int heatmap_sites(const struct net *net, struct heatmap_site *site, int cap) {
    int head[UTILITY_MAX_HEADS], n = net_heads(net, head, UTILITY_MAX_HEADS), made = 0;
    for (int h = 0; h < n && h < UTILITY_MAX_HEADS && made < cap; ++h) {
        bool *ancestor = calloc((size_t)net->n, sizeof *ancestor);
        if (!ancestor) return made;
        int grid = cells(net->layer[head[h]].in_shape[0]), best = -1, fallback = -1;
        ancestor[head[h]] = true;
        for (int i = head[h]; i >= 0; --i) {
            const struct layer *l = &net->layer[i];
            for (int k = 0; ancestor[i] && k < l->n_in; ++k)
                if (l->in[k] != LAYER_INPUT) ancestor[l->in[k]] = true;
            if (!ancestor[i] || i == head[h] || l->out.c == 0) continue;
            if (fallback < 0) fallback = i;
            if (best < 0 && cells(l->out) > grid) best = i;
        }
        free(ancestor);
        if (best < 0) best = fallback;
        if (best >= 0) site[made++] = (struct heatmap_site){ head[h], best };
    }
    return made;
}

enum status heatmap_check(struct ctx *ctx, const struct net *net, struct heatmap_site s) {
    if (s.layer < 0 || s.layer >= net->n)
        return ctx_fail(ctx, ST_USAGE, "layer %d: layers of this network are 0 to %d", s.layer, net->n - 1);
    const struct layer *l = &net->layer[s.layer];
    if (l->out.c == 0 || cells(l->out) < 2)
        return ctx_fail(ctx, ST_USAGE, "layer %d [%s] has no map of places to look at", s.layer, l->section->type);
    if (s.head != HEATMAP_ALL_HEADS && (s.head < 0 || s.head >= net->n || !net->layer[s.head].ops->head))
        return ctx_fail(ctx, ST_USAGE, "layer %d is no detection head", s.head);
    return ST_OK;
}

/* --- computing --------------------------------------------------------------------------------------------------------- */

/* The maps that one backward pass fills: those of one head. */
struct looking { struct net *net; int head, n; struct heatmap *map; float **grid; };

/* A layer that passes its input on has that layer's tensor. */
static bool same_output(const struct net *net, int a, const struct layer *b) { return net->y[a].data == net->y[b->index].data; }

static enum status sum_channels(struct pass *p, const struct tensor *y, const struct tensor *dy, float *grid) {
    size_t plane = (size_t)y->h * (size_t)y->w, n = plane * (size_t)y->c;
    float *a = mem_zero(p->ctx, n, sizeof *a), *g = mem_zero(p->ctx, n, sizeof *g);
    if (a && g) {
        p->be->ops->to_nchw(p->be, y, a);
        p->be->ops->to_nchw(p->be, dy, g);
        for (size_t i = 0; i < n; ++i) grid[i % plane] += fabsf(a[i] * g[i]);
    }
    free(a), free(g);
    return p->ctx->code;
}

static enum status look(void *user, struct pass *p, const struct layer *l, const struct tensor *y, const struct tensor *dy) {
    struct looking *s = user;
    for (int i = 0; i < s->n; ++i)
        if (s->map[i].site.head == s->head && same_output(s->net, s->map[i].site.layer, l)) TRY(sum_channels(p, y, dy, s->grid[i]));
    return ST_OK;
}

/* Cubic B-spline: weights of the four cells around position u, counted from the first cell's centre. */
static int spline(double u, float w[4]) {
    double at = floor(u);
    float f = (float)(u - at);
    w[0] = (1 - f) * (1 - f) * (1 - f) / 6;
    w[1] = (3 * f * f * f - 6 * f * f + 4) / 6;
    w[2] = (-3 * f * f * f + 3 * f * f + 3 * f + 1) / 6;
    w[3] = f * f * f / 6;
    return (int)at - 1;
}

static int within(int i, int n) { return i < 0 ? 0 : i < n ? i : n - 1; }

static enum status enlarge(struct ctx *ctx, const float *grid, struct heatmap *m) {
    float *rows = mem_zero(ctx, (size_t)m->grid_h * (size_t)m->w, sizeof *rows), w[4]; /* enlarged in x */
    if (!rows) return ST_MEMORY;
    for (int x = 0; x < m->w; ++x) {
        int first = spline((x + .5) * m->grid_w / m->w - .5, w);
        for (int y = 0; y < m->grid_h; ++y)
            for (int k = 0; k < 4; ++k) rows[y * m->w + x] += w[k] * grid[y * m->grid_w + within(first + k, m->grid_w)];
    }
    m->peak = 0;
    for (int y = 0; y < m->h; ++y) {
        int first = spline((y + .5) * m->grid_h / m->h - .5, w);
        float *to = m->map + (size_t)y * (size_t)m->w;
        for (int x = 0; x < m->w; ++x) {
            for (int k = 0; k < 4; ++k) to[x] += w[k] * rows[within(first + k, m->grid_h) * m->w + x];
            if (to[x] > m->peak) m->peak = to[x];
        }
    }
    free(rows);
    return isfinite(m->peak) ? ST_OK : ctx_fail(ctx, ST_NUMERIC, "the gradients of layer %d are not finite", m->site.layer);
}

static int objects_of(const struct net *net, const struct truth_list *objects, int head) {
    int heads[UTILITY_MAX_HEADS], n = net_heads(net, heads, UTILITY_MAX_HEADS), count = 0;
    struct utility_match m[UTILITY_MAX_MATCHES];
    for (int o = 0; o < objects->n; ++o) {
        int found = utility_matches(net, heads, n < UTILITY_MAX_HEADS ? n : UTILITY_MAX_HEADS, 0, objects->item[o].box, m);
        bool own = head == HEATMAP_ALL_HEADS && found > 0;
        for (int i = 0; i < found; ++i) own = own || m[i].head == head;
        count += own;
    }
    return count;
}

static enum status prepare(struct ctx *ctx, const struct net *net, const struct truth_list *objects, struct heatmap_site site,
                           struct heatmap *m, float **grid) {
    TRY(heatmap_check(ctx, net, site));
    struct shape s = net->layer[site.layer].out;
    *m = (struct heatmap){ .site = site, .grid_w = s.w, .grid_h = s.h, .w = net->opt.width, .h = net->opt.height };
    m->objects = objects_of(net, objects, site.head);
    m->map = mem_zero(ctx, (size_t)m->w * (size_t)m->h, sizeof *m->map);
    *grid = mem_zero(ctx, (size_t)cells(s), sizeof **grid);
    return ctx->code;
}

/* One backward pass per head asked for; the outputs of the one forward pass stay in SCORE. */
static enum status look_from_heads(struct ctx *ctx, struct net *net, const struct truth_list *objects, struct looking *s) {
    struct saliency_options opt = saliency_defaults();
    struct net_hook hook = { .user = s, .output = look };
    opt.background_guard = 0;
    for (int i = 0; i < s->n; ++i) {
        bool done = false;
        for (int k = 0; k < i; ++k) done = done || s->map[k].site.head == s->map[i].site.head;
        if (done || s->map[i].objects == 0) continue;
        s->head = s->map[i].site.head;
        TRY(utility_seed(ctx, net, &opt, objects, 1, s->head));
        const struct net_hook *before = net->hook;
        net->hook = &hook;
        enum status st = net_backward(ctx, net);
        net->hook = before;
        TRY(st);
    }
    return ST_OK;
}

enum status heatmap_compute(struct ctx *ctx, struct net *net, const float *x, const struct truth_list *objects,
                            const struct heatmap_site *site, int n, struct heatmap *out) {
    memset(out, 0, (size_t)n * sizeof *out);
    if (net->mode != NET_SCORE || net->batch != 1) return ctx_fail(ctx, ST_USAGE, "heat maps need a network bound for scoring, batch 1");
    float **grid = mem_zero(ctx, (size_t)n, sizeof *grid);
    enum status st = ctx->code;
    for (int i = 0; i < n && st == ST_OK; ++i) st = prepare(ctx, net, objects, site[i], &out[i], &grid[i]);
    if (st == ST_OK) st = net_forward(ctx, net, x);
    if (st == ST_OK) st = look_from_heads(ctx, net, objects, &(struct looking){ net, 0, n, out, grid });
    for (int i = 0; i < n && st == ST_OK; ++i) st = enlarge(ctx, grid[i], &out[i]);
    for (int i = 0; i < n; ++i) {
        if (grid) free(grid[i]);
        if (st != ST_OK) heatmap_free(&out[i]);
    }
    free(grid);
    return st;
}

void heatmap_free(struct heatmap *m) {
    free(m->map);
    m->map = NULL;
}
