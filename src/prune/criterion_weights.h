/* What the criteria that judge single filters share: how a group follows from its filters. */
#ifndef PRUNE_CRITERION_WEIGHTS_H
#define PRUNE_CRITERION_WEIGHTS_H

#include "prune/criterion.h"

/* Over a group's filters, where the value per node is not negative (a layer without what is looked at). */
void criterion_group_mean(const struct channels *, const double *value, double *score);
void criterion_group_sum(const struct channels *, const double *value, double *score);
/* Divides by the unit's mean, so that units of different scale can be ranked together. */
enum status criterion_by_unit(struct ctx *, const struct channels *, double *score);

/* Group means of value(filter), divided by the unit's mean. */
enum status criterion_by_filter(struct ctx *, const struct criterion_input *,
                                double (*value)(const struct net *, const struct layer *, int filter), double *score);
/* Of a residual block: mean of value(filter) over the last filters of its branch (0: it has none). */
void criterion_of_last_filters(const struct criterion_input *, double (*value)(const struct net *, const struct layer *, int filter),
                               double *block);
/* Squared length of a filter's weights; -1: it has none. */
double filter_squares(const struct net *, const struct layer *, int filter);

#endif
