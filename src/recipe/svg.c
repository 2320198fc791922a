#include "recipe/svg.h"

#include <math.h>
#include <string.h>

#include "recipe/html.h"

/* 1, 2 or 5 times a power of ten, so that about `count` steps cover the span. */
static double step_of(double span, int count) {
    if (!(span > 0)) return 1;
    double raw = span / count, power = pow(10, floor(log10(raw))), lead = raw / power;
    return (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 5 ? 5 : 10) * power;
}

static double largest(const struct svg_bars *b) {
    double max = b->max;
    for (int s = 0; s < b->n_series && !(b->max > 0); ++s)
        for (int i = 0; i < b->n; ++i)
            if (b->series[s].value[i] > max) max = b->series[s].value[i];
    return max > 0 ? max : 1;
}

static void begin(FILE *to, double w, double h, const char *title) {
    fprintf(to, "<svg class=\"chart\" viewBox=\"0 0 %g %g\" role=\"img\" aria-label=\"", w, h);
    html_text(to, title);
    fputs("\">\n", to);
}

void svg_rows(FILE *to, const struct svg_bars *b) {
    enum { WIDTH = 480, LABEL = 148, VALUE = 50, BAR = 11, GAP = 9, NAME = 15 };
    double max = largest(b), length = WIDTH - LABEL - VALUE;
    int row = b->n_series * BAR + GAP, left = b->label ? LABEL : 0;
    begin(to, WIDTH, b->n * row + GAP, b->title);
    for (int i = 0; i < b->n; ++i) {
        double top = i * row + GAP, middle = top + b->n_series * BAR / 2.;
        fprintf(to, "<text class=\"label\" x=\"%d\" y=\"%g\" dy=\".35em\"><title>", left - 8, middle);
        html_text(to, b->label[i]);
        fputs("</title>", to);
        html_short(to, b->label[i], NAME);
        if (b->note) {
            fputs(" <tspan class=\"soft\">", to);
            html_text(to, b->note[i]);
            fputs("</tspan>", to);
        }
        fputs("</text>\n", to);
        for (int s = 0; s < b->n_series; ++s) {
            double v = b->series[s].value[i], y = top + s * BAR, w = isfinite(v) ? fmax(v / max * length, 0) : 0;
            fprintf(to, "<rect class=\"%s\" x=\"%d\" y=\"%g\" width=\"%.2f\" height=\"%d\"/>", b->series[s].style, left, y + .5, fmin(w, length), BAR - 1);
            fprintf(to, "<text class=\"value\" x=\"%.2f\" y=\"%g\" dy=\".35em\">", left + fmin(w, length) + 5, y + BAR / 2.);
            if (isfinite(v)) fprintf(to, "%.*f", b->digits, v * b->scale);
            else fputs("no objects", to);
            fputs("</text>\n", to);
        }
    }
    fprintf(to, "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>\n</svg>\n", left, left, GAP / 2, b->n * row + GAP / 2);
}

void svg_columns(FILE *to, const struct svg_bars *b, const char *x_label, const char *y_label) {
    enum { WIDTH = 960, HEIGHT = 250, LEFT = 54, RIGHT = 8, TOP = 22, BOTTOM = 36, ROOM = 26 /* of one number below */ };
    double step = step_of(largest(b), 5), max = ceil(largest(b) / step) * step, h = HEIGHT - TOP - BOTTOM, w = WIDTH - LEFT - RIGHT;
    double slot = b->n ? w / b->n : w;
    int every = 1 + (int)(ROOM / slot);
    begin(to, WIDTH, HEIGHT, b->title);
    for (double t = 0; t <= max * 1.0001; t += step) {
        double y = TOP + h * (1 - t / max);
        fprintf(to, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.2f\" y2=\"%.2f\"/><text class=\"tick end\" x=\"%d\" y=\"%.2f\" dy=\".35em\">%g</text>\n",
                LEFT, WIDTH - RIGHT, y, y, LEFT - 6, y, t * b->scale);
    }
    for (int i = 0; i < b->n; ++i) {
        double x = LEFT + slot * i;
        fputs("<g><title>", to);
        html_text(to, b->note ? b->note[i] : b->label[i]);
        fputs("</title>", to);
        for (int s = 0; s < b->n_series; ++s) {
            double v = b->series[s].value[i], width = slot * (s ? .5 : .84);
            if (!isfinite(v)) continue;
            fprintf(to, "<rect class=\"%s\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\"/>", b->series[s].style, x + (slot - width) / 2,
                    TOP + h * (1 - v / max), width, h * v / max);
        }
        fputs("</g>\n", to);
        if (i % every == 0)
            fprintf(to, "<text class=\"tick middle\" x=\"%.2f\" y=\"%d\">", x + slot / 2, HEIGHT - BOTTOM + 15), html_text(to, b->label[i]), fputs("</text>\n", to);
    }
    fprintf(to, "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>\n", LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, HEIGHT - BOTTOM);
    fputs("<text class=\"tick\" x=\"8\" y=\"12\">", to);
    html_text(to, y_label);
    fprintf(to, "</text><text class=\"tick end\" x=\"%d\" y=\"%d\">", WIDTH - RIGHT, HEIGHT - 4);
    html_text(to, x_label);
    fputs("</text>\n</svg>\n", to);
}

/* --- Plots ------------------------------------------------------------------------------------------------ */

enum { PLOT_LEFT = 50, PLOT_RIGHT = 14, PLOT_TOP = 24, PLOT_BOTTOM = 40 };

static double place_x(const struct svg_plot *p, double x) {
    return PLOT_LEFT + (x - p->x.min) / (p->x.max - p->x.min) * (p->w - PLOT_LEFT - PLOT_RIGHT);
}
static double place_y(const struct svg_plot *p, double y) {
    return p->h - PLOT_BOTTOM - (y - p->y.min) / (p->y.max - p->y.min) * (p->h - PLOT_TOP - PLOT_BOTTOM);
}

void svg_axis_fit(struct svg_axis *a, double min, double max) {
    double scale = a->scale != 0 ? a->scale : 1;
    if (!(max > min)) max = min + fmax(fabs(min) * .1, 1e-9), min -= fmax(fabs(min) * .1, 1e-9);
    double step = step_of((max - min) * scale, 5); /* round as written */
    a->min = floor(min * scale / step) * step / scale;
    a->max = ceil(max * scale / step) * step / scale;
}

void svg_plot_begin(const struct svg_plot *p) {
    double sx = step_of((p->x.max - p->x.min) * p->x.scale, p->w / 90) / p->x.scale, sy = step_of((p->y.max - p->y.min) * p->y.scale, p->h / 50) / p->y.scale;
    int bottom = p->h - PLOT_BOTTOM, right = p->w - PLOT_RIGHT;
    begin(p->to, p->w, p->h, p->title);
    for (double t = ceil(p->y.min / sy - 1e-6) * sy + 0.0; t <= p->y.max + sy * 1e-6; t += sy)
        fprintf(p->to, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.2f\" y2=\"%.2f\"/><text class=\"tick end\" x=\"%d\" y=\"%.2f\" dy=\".35em\">%.*f</text>\n",
                PLOT_LEFT, right, place_y(p, t), place_y(p, t), PLOT_LEFT - 6, place_y(p, t), p->y.digits, t * p->y.scale);
    for (double t = ceil(p->x.min / sx - 1e-6) * sx + 0.0; t <= p->x.max + sx * 1e-6; t += sx)
        fprintf(p->to, "<line class=\"grid\" x1=\"%.2f\" x2=\"%.2f\" y1=\"%d\" y2=\"%d\"/><text class=\"tick middle\" x=\"%.2f\" y=\"%d\">%.*f</text>\n",
                place_x(p, t), place_x(p, t), PLOT_TOP, bottom, place_x(p, t), bottom + 15, p->x.digits, t * p->x.scale);
    fprintf(p->to, "<path class=\"axis\" d=\"M%d %dV%dH%d\"/>\n<text class=\"tick\" x=\"8\" y=\"13\">", PLOT_LEFT, PLOT_TOP, bottom, right);
    html_text(p->to, p->y.label);
    fprintf(p->to, "</text><text class=\"tick end\" x=\"%d\" y=\"%d\">", right, p->h - 6);
    html_text(p->to, p->x.label);
    fputs("</text>\n", p->to);
}

void svg_plot_line(const struct svg_plot *p, const char *style, const double *x, const double *y, int n) {
    bool gap = true;
    fprintf(p->to, "<path class=\"line %s\" d=\"", style);
    for (int i = 0; i < n; ++i) {
        bool known = isfinite(x[i]) && isfinite(y[i]);
        if (known) fprintf(p->to, "%s%.2f %.2f", gap ? "M" : "L", place_x(p, x[i]), place_y(p, y[i]));
        gap = !known;
    }
    fputs("\"/>\n", p->to);
}

void svg_plot_mark(const struct svg_plot *p, const char *style, double x, double y, double radius, const char *label, int left,
                   const char *tip) {
    double cx = place_x(p, x), cy = place_y(p, y);
    fprintf(p->to, "<g><circle class=\"mark %s\" cx=\"%.2f\" cy=\"%.2f\" r=\"%.2f\">", style, cx, cy, radius);
    if (tip) {
        fputs("<title>", p->to);
        html_text(p->to, tip);
        fputs("</title>", p->to);
    }
    fputs("</circle>", p->to);
    if (label) {
        double off = radius + 5;
        fprintf(p->to, "<text class=\"name%s\" x=\"%.2f\" y=\"%.2f\" dy=\".35em\">", left ? " end" : "", left ? cx - off : cx + off, cy);
        html_text(p->to, label);
        fputs("</text>", p->to);
    }
    fputs("</g>\n", p->to);
}

void svg_plot_end(const struct svg_plot *p) { fputs("</svg>\n", p->to); }
