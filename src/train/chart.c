#include "train/chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "vision/draw.h"

enum { SIDE = 1000, LEFT = 96, RIGHT = 904, TOP = 132, BOTTOM = 896, TEXT = 24 /* twice the font's own size: crisp */ };

static const struct colour paper = { 255, 255, 255, 1 }, ink = { 40, 44, 52, 1 }, grey = { 110, 116, 126, 1 },
                           grid = { 228, 231, 235, 1 }, loss_colour = { 31, 97, 182, 1 }, score_colour = { 200, 48, 40, 1 };

/* The number 1, 2 or 5 times a power of ten that divides `range` in about `parts` parts. */
static double tick_step(double range, int parts) {
    double rough = range / parts, power = pow(10, floor(log10(rough))), rest = rough / power;
    return power * (rest < 1.5 ? 1 : rest < 3.5 ? 2 : rest < 7.5 ? 5 : 10);
}

enum align { AT_LEFT, AT_CENTRE, AT_RIGHT };
static void write_text(struct pixels *px, float x, float y, enum align align, struct colour c, const char *text) {
    float width = draw_text(NULL, 0, 0, TEXT, text, c);
    draw_text(px, floorf(x - (align == AT_CENTRE ? width / 2 : align == AT_RIGHT ? width : 0)), floorf(y), TEXT, text, c);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The top of the loss axis: the curve fills it except for the steep beginning, where a loss is hundreds of times larger. */
static enum status loss_top(struct ctx *ctx, const struct chart *c, double *top) {
    const struct history *h = c->history;
    size_t n = 0;
    *top = c->top_loss > 0 ? c->top_loss : 1;
    if (c->top_loss > 0) return ST_OK;
    double *sorted = mem_zero(ctx, h->n, sizeof *sorted);
    if (!sorted) return ST_MEMORY;
    for (size_t i = 0; i < h->n; ++i)
        if (isfinite(h->point[i].loss) && h->point[i].loss > 0) sorted[n++] = h->point[i].loss;
    qsort(sorted, n, sizeof *sorted, by_value);
    double most = n ? 1.4 * sorted[n * 85 / 100] : 1, step = tick_step(most, 8);
    free(sorted);
    *top = ceil(most / step) * step;
    return ST_OK;
}

struct axes { double top, last; };
static float x_of(const struct axes *a, double iteration) { return (float)(LEFT + (RIGHT - LEFT) * iteration / a->last); }
static float y_of(double share) { return (float)(BOTTOM - (BOTTOM - TOP) * fmin(fmax(share, 0), 1)); }

static bool any_score(const struct history *h) {
    for (size_t i = 0; i < h->n; ++i)
        if (h->point[i].map >= 0) return true;
    return false;
}

static void draw_axes(struct pixels *px, const struct chart *c, const struct axes *a, bool scores) {
    char text[64];
    double step = tick_step(a->top, 8);
    for (double v = 0; v <= a->top * 1.0001; v += step) {
        float y = y_of(v / a->top);
        draw_rect(px, LEFT, y, RIGHT - LEFT, 1, grid);
        snprintf(text, sizeof text, "%.4g", v);
        write_text(px, LEFT - 12, y - 8, AT_RIGHT, loss_colour, text);
    }
    step = tick_step(a->last, 6);
    for (double v = 0; v <= a->last * 1.0001; v += step) {
        float x = x_of(a, v);
        draw_rect(px, x, TOP, 1, BOTTOM - TOP, grid);
        draw_rect(px, x, BOTTOM, 1, 8, grey);
        snprintf(text, sizeof text, "%.10g", v);
        write_text(px, x, BOTTOM + 16, AT_CENTRE, grey, text);
    }
    for (int k = 0; scores && k <= 10; ++k) {
        float y = y_of(k / 10.0);
        draw_rect(px, RIGHT, y, 8, 1, score_colour);
        snprintf(text, sizeof text, "%d %%", 10 * k);
        write_text(px, RIGHT + 16, y - 8, AT_LEFT, score_colour, text);
    }
    draw_rect(px, LEFT - 1, TOP, 2, BOTTOM - TOP, grey);
    draw_rect(px, LEFT, BOTTOM - 1, RIGHT - LEFT, 2, grey);
    write_text(px, LEFT, TOP - 36, AT_LEFT, loss_colour, "average loss");
    if (scores) write_text(px, RIGHT, TOP - 36, AT_RIGHT, score_colour, c->score);
    write_text(px, (LEFT + RIGHT) / 2, BOTTOM + 52, AT_CENTRE, grey, "iteration");
}

/* Points above the axis are cut off where the line leaves it. */
static void draw_loss(struct pixels *px, const struct chart *c, const struct axes *a) {
    const struct history *h = c->history;
    for (size_t i = 1; i < h->n; ++i) {
        const struct train_point *p = &h->point[i - 1], *q = &h->point[i];
        double from = p->loss / a->top, to = q->loss / a->top, x0 = (double)p->iteration, x1 = (double)q->iteration;
        if (!isfinite(from) || !isfinite(to) || (from > 1 && to > 1)) continue;
        if (from > 1) x0 += (x1 - x0) * (from - 1) / (from - to), from = 1;
        else if (to > 1) x1 -= (x1 - x0) * (to - 1) / (to - from), to = 1;
        draw_line(px, x_of(a, x0), y_of(from), x_of(a, x1), y_of(to), 2.5f, loss_colour);
    }
}

static void draw_scores(struct pixels *px, const struct chart *c, const struct axes *a) {
    const struct history *h = c->history;
    const struct train_point *before = NULL, *best = NULL;
    for (size_t i = 0; i < h->n; ++i) {
        const struct train_point *p = &h->point[i];
        if (p->map < 0) continue;
        float x = x_of(a, (double)p->iteration), y = y_of(p->map);
        if (before) draw_line(px, x_of(a, (double)before->iteration), y_of(before->map), x, y, 2.5f, score_colour);
        draw_ellipse(px, x, y, 4, 4, score_colour);
        if (!best || p->map >= best->map) best = p;
        before = p;
    }
    if (!best) return;
    char text[64];
    float x = x_of(a, (double)best->iteration), y = y_of(best->map);
    snprintf(text, sizeof text, "%.1f %%", 100 * best->map);
    draw_ellipse(px, x, y, 8, 8, score_colour);
    draw_ellipse(px, x, y, 5, 5, paper);
    bool left = x > (LEFT + RIGHT) / 2;
    write_text(px, left ? x - 16 : x + 16, y > TOP + 40 ? y - 30 : y + 14, left ? AT_RIGHT : AT_LEFT, score_colour, text);
}

/* Where the run is, in the two lines above the curves. */
static void draw_heading(struct pixels *px, const struct chart *c, bool scores) {
    const struct history *h = c->history;
    const struct train_point *last = h->n ? &h->point[h->n - 1] : NULL;
    char text[200];
    size_t at = 0;
    double now = -1, best = -1;
    write_text(px, LEFT, 24, AT_LEFT, ink, c->title);
    if (!last) return;
    for (size_t i = 0; i < h->n; ++i)
        if (h->point[i].map >= 0) now = h->point[i].map, best = fmax(best, now);
    at += (size_t)snprintf(text, sizeof text, "iteration %llu of %d, average loss %.4g", (unsigned long long)last->iteration,
                           c->max_iterations, last->loss);
    if (scores)
        at += (size_t)snprintf(text + at, sizeof text - at, ", %s %.1f %% (best %.1f %%)", c->score, 100 * now, 100 * best);
    write_text(px, LEFT, 56, AT_LEFT, grey, text);
    if (c->eta_seconds <= 0 || last->iteration >= (uint64_t)c->max_iterations) return;
    double hours = floor(c->eta_seconds / 3600);
    snprintf(text, sizeof text, "%.0f:%02d h left", hours, (int)(c->eta_seconds / 60 - 60 * hours));
    write_text(px, RIGHT, 24, AT_RIGHT, grey, text);
}

enum status chart_draw(struct ctx *ctx, const struct chart *c, struct pixels *px) {
    struct axes a = { 1, c->max_iterations > 0 ? c->max_iterations : 1 };
    bool scores = any_score(c->history);
    TRY(loss_top(ctx, c, &a.top));
    TRY(pixels_new(ctx, SIDE, SIDE, 3, px));
    draw_rect(px, 0, 0, SIDE, SIDE, paper);
    draw_axes(px, c, &a, scores);
    draw_loss(px, c, &a);
    if (scores) draw_scores(px, c, &a);
    draw_heading(px, c, scores);
    return ST_OK;
}

enum status chart_write(struct ctx *ctx, const struct chart *c, const char *path) {
    struct pixels px = { 0 };
    TRY(chart_draw(ctx, c, &px));
    enum status st = pixels_write(ctx, path, &px, 90);
    pixels_free(&px);
    return st;
}
