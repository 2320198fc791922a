/* The half of a comparison that trains.  For recipe/compare.c and compare_trained.c only. */
#ifndef RECIPE_COMPARE_TRAINED_H
#define RECIPE_COMPARE_TRAINED_H

#include "recipe/compare.h"
#include "recipe/loop.h"

/* One run's figures into a row; cut: mAP right after the cut, or -1. */
void compare_add(struct compare_row *, const struct map_result *, double cut, struct cost, double ms, double whole_ms);
/* Rows 1..n, and, with -baseline, one more for the network as it is after the same training. */
enum status compare_trained(struct ctx *, const struct prune_job *, const struct criterion *const *list, int n, struct comparison *);

#endif
