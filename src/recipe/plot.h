/* Plots of a comparison: one value per group and series, as bars beside each other or as lines over the groups.  PNG. */
#ifndef RECIPE_PLOT_H
#define RECIPE_PLOT_H

#include "base/ctx.h"

enum { PLOT_SERIES = 8 };
struct plot_series { const char *name; const double *value, *spread; }; /* per group; NaN: none; spread NULL: no whiskers */
struct plot {
    const char *title, *unit;        /* unit: of the vertical axis */
    const char *axis;                /* what the groups are, below them; NULL: nothing */
    int groups;
    const char *const *group;        /* names, written below as far as there is room */
    int n;
    struct plot_series series[PLOT_SERIES];
    bool lines;
};
enum status plot_write(struct ctx *, const struct plot *, const char *path); /* replaced as a whole */

#endif
