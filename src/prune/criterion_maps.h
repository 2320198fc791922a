/* What the criteria that look at feature maps share. */
#ifndef PRUNE_CRITERION_MAPS_H
#define PRUNE_CRITERION_MAPS_H

#include "prune/criterion.h"

enum { MAPS_IMAGES = 8 };   /* as many as are looked at, spread evenly over those given */

/* Group means over filters and images of value(), divided by the unit's mean.  value: the output of one layer for one image,
 * planar (c, h, w), to a number per channel. */
enum status criterion_by_maps(struct ctx *, const struct criterion_input *,
                              enum status (*value)(struct ctx *, const float *map, int c, int h, int w, double *out),
                              double *score);

#endif
