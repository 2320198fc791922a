/* Where the two networks look in the example pictures. */
#ifndef RECIPE_REPORT_HEAT_H
#define RECIPE_REPORT_HEAT_H

#include "net/net.h"
#include "recipe/report_views.h"
#include "vision/image.h"

/* The layer that a report looks at: the earliest of those that the heads' own maps are taken at, seen from all heads; -1: none. */
int heat_layer(struct ctx *, const struct net *);
/* Heat map of one picture over `small` (RGB), as JPEG.  net: bound for SCORE with batch 1; objects: the labelled ones, or, without
 * labels, what the network before has seen, relative to the picture.  *inside: share of the map in the objects' boxes; -1, and no
 * JPEG, where no head is asked for any object. */
enum status heat_over(struct ctx *, struct net *, int layer, const char *path, const struct view_list *objects, const struct pixels *small, int quality,
                      char **jpeg, size_t *size, double *inside);

#endif
