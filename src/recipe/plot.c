#include "recipe/plot.h"

#include <math.h>
#include <stdio.h>

#include "vision/draw.h"

enum { WIDTH = 1280, HEIGHT = 720, LEFT = 90, RIGHT = 1250, TOP = 110, BOTTOM = 640, TEXT = 24 };
static const struct colour paper = { 255, 255, 255, 1 }, ink = { 40, 44, 52, 1 }, grey = { 110, 116, 126, 1 }, grid = { 228, 231, 235, 1 };
static const struct colour palette[PLOT_SERIES] = { { 31, 97, 182, 1 },  { 230, 140, 30, 1 }, { 60, 150, 80, 1 },  { 200, 48, 40, 1 },
                                                    { 130, 90, 170, 1 }, { 120, 85, 70, 1 },  { 215, 110, 170, 1 }, { 90, 90, 90, 1 } };

struct scale { double low, high, step; };

static double spread_of(const struct plot_series *s, int g) { return s->spread && isfinite(s->spread[g]) ? s->spread[g] : 0; }

/* The number 1, 2 or 5 times a power of ten that divides `range` in about `parts` parts. */
static double tick_step(double range, int parts) {
    double rough = range / parts, power = pow(10, floor(log10(rough))), rest = rough / power;
    return power * (rest < 1.5 ? 1 : rest < 3.5 ? 2 : rest < 7.5 ? 5 : 10);
}

/* The axis holds 0 and every whisker. */
static struct scale scale_of(const struct plot *p) {
    struct scale a = { 0, 0, 0 };
    for (int s = 0; s < p->n; ++s)
        for (int g = 0; g < p->groups; ++g) {
            double v = p->series[s].value[g], off = spread_of(&p->series[s], g);
            if (!isfinite(v)) continue;
            a.low = fmin(a.low, v - off);
            a.high = fmax(a.high, v + off);
        }
    if (a.high - a.low < 1e-9) a.high = a.low + 1;
    a.step = tick_step(a.high - a.low, 8);
    a.low = floor(a.low / a.step + 1e-9) * a.step;
    a.high = ceil(a.high / a.step - 1e-9) * a.step;
    return a;
}

static float y_of(const struct scale *a, double v) { return (float)(BOTTOM - (BOTTOM - TOP) * (v - a->low) / (a->high - a->low)); }
static double slot(const struct plot *p) { return (double)(RIGHT - LEFT) / p->groups; }
static float x_of(const struct plot *p, double g) { return (float)(LEFT + slot(p) * (g + .5)); }

static void draw_axes(struct pixels *px, const struct plot *p, const struct scale *a) {
    char text[32];
    for (int i = 0; a->low + i * a->step <= a->high + a->step / 2; ++i) {
        double v = a->low + i * a->step;
        float y = y_of(a, v);
        draw_rect(px, LEFT, y, RIGHT - LEFT, 1, fabs(v) < a->step / 2 ? grey : grid);
        snprintf(text, sizeof text, "%.4g", fabs(v) < a->step / 1e6 ? 0 : v);
        draw_text(px, LEFT - 12 - draw_text(NULL, 0, 0, TEXT, text, grey), y - 10, TEXT, text, grey);
    }
    float free_from = 0;
    for (int g = 0; g < p->groups; ++g) {
        float w = draw_text(NULL, 0, 0, TEXT, p->group[g], grey), x = x_of(p, g) - w / 2;
        if (x < free_from) continue;
        draw_rect(px, x_of(p, g), BOTTOM, 1, 8, grey);
        draw_text(px, floorf(x), BOTTOM + 16, TEXT, p->group[g], grey);
        free_from = x + w + 12;
    }
    if (p->axis) draw_text(px, (LEFT + RIGHT - draw_text(NULL, 0, 0, TEXT, p->axis, grey)) / 2, BOTTOM + 46, TEXT, p->axis, grey);
    draw_text(px, LEFT, 20, TEXT, p->title, ink);
    draw_text(px, 12, TOP - 36, TEXT, p->unit, grey);
}

static void draw_legend(struct pixels *px, const struct plot *p) {
    float x = LEFT + 150;
    for (int s = 0; s < p->n; ++s) {
        draw_rect(px, x, TOP - 34, 18, 18, palette[s]);
        x += 26 + draw_text(px, x + 26, TOP - 36, TEXT, p->series[s].name, ink) + 30;
    }
}

static void draw_whisker(struct pixels *px, const struct scale *a, float x, double v, double off) {
    if (off <= 0) return;
    draw_line(px, x, y_of(a, v - off), x, y_of(a, v + off), 2, ink);
    for (int end = -1; end <= 1; end += 2) draw_line(px, x - 5, y_of(a, v + end * off), x + 5, y_of(a, v + end * off), 2, ink);
}

static void draw_bars(struct pixels *px, const struct plot *p, const struct scale *a, int s) {
    double width = .8 * slot(p) / p->n;
    for (int g = 0; g < p->groups; ++g) {
        double v = p->series[s].value[g];
        if (!isfinite(v)) continue;
        float x = (float)(LEFT + slot(p) * (g + .1) + width * s), y = y_of(a, v), zero = y_of(a, 0);
        draw_rect(px, x, fminf(y, zero), (float)width - 1, fmaxf(fabsf(y - zero), 1), palette[s]);
        draw_whisker(px, a, x + (float)width / 2, v, spread_of(&p->series[s], g));
    }
}

static void draw_series(struct pixels *px, const struct plot *p, const struct scale *a, int s) {
    int before = -1;
    for (int g = 0; g < p->groups; ++g) {
        double v = p->series[s].value[g];
        if (!isfinite(v)) continue;
        if (before >= 0) draw_line(px, x_of(p, before), y_of(a, p->series[s].value[before]), x_of(p, g), y_of(a, v), 2.5f, palette[s]);
        draw_ellipse(px, x_of(p, g), y_of(a, v), 4, 4, palette[s]);
        draw_whisker(px, a, x_of(p, g), v, spread_of(&p->series[s], g));
        before = g;
    }
}

enum status plot_write(struct ctx *ctx, const struct plot *p, const char *path) {
    struct pixels px = { 0 };
    struct scale a = scale_of(p);
    TRY(pixels_new(ctx, WIDTH, HEIGHT, 3, &px));
    draw_rect(&px, 0, 0, WIDTH, HEIGHT, paper);
    draw_axes(&px, p, &a);
    draw_legend(&px, p);
    for (int s = 0; s < p->n; ++s) p->lines ? draw_series(&px, p, &a, s) : draw_bars(&px, p, &a, s);
    enum status st = pixels_write(ctx, path, &px, 90);
    pixels_free(&px);
    return st;
}
