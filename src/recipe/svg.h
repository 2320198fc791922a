/* Charts as inline SVG.  Colours and fonts come from the page's style: a series is a class ("s0" before, "s1" after, ...). */
#ifndef RECIPE_SVG_H
#define RECIPE_SVG_H

#include <stdio.h>

struct svg_series { const char *name, *style; const double *value; /* per label; NaN: not known */ };
struct svg_bars {
    const char *title;                 /* what the chart says, for those who cannot see it */
    int n;
    const char *const *label;
    const char *const *note;           /* muted, behind the label; may be NULL */
    int n_series;
    const struct svg_series *series;
    double max;                        /* end of the axis; 0: the largest value */
    double scale;                      /* of the figures that are written: value * scale */
    int digits;
};
/* A row per label, a bar per series, its figure behind it: for few labels with names. */
void svg_rows(FILE *, const struct svg_bars *);
/* Columns, series one within the other: for many labels; notes are tooltips. */
void svg_columns(FILE *, const struct svg_bars *, const char *x_label, const char *y_label);

struct svg_axis { const char *label; double min, max, scale; int digits; }; /* written: value * scale, with so many digits */
struct svg_plot { const char *title; int w, h; struct svg_axis x, y; FILE *to; };
/* Makes the axis end at round figures (as written) around min .. max. */
void svg_axis_fit(struct svg_axis *, double min, double max);
void svg_plot_begin(const struct svg_plot *);
void svg_plot_line(const struct svg_plot *, const char *style, const double *x, const double *y, int n); /* NaN: a gap */
/* label: beside the mark, may be NULL; left: on its left side; tip: may be NULL */
void svg_plot_mark(const struct svg_plot *, const char *style, double x, double y, double radius, const char *label, int left,
                   const char *tip);
void svg_plot_end(const struct svg_plot *);

#endif
