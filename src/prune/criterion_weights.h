/* What the criteria that look at weights alone share. */
#ifndef PRUNE_CRITERION_WEIGHTS_H
#define PRUNE_CRITERION_WEIGHTS_H

#include "prune/criterion.h"

/* Mean over a group's filters of value(filter), where that is not negative (a layer without what is looked at); then divided
 * by the unit's mean, so that units of different scale can be ranked together. */
enum status criterion_by_filter(struct ctx *, const struct criterion_input *,
                                double (*value)(const struct net *, const struct layer *, int filter), double *score);

#endif
