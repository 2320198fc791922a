/* Several criteria through the same coupling, rounding and budget: what each cut costs right away. */
#ifndef RECIPE_COMPARE_H
#define RECIPE_COMPARE_H

#include "recipe/prune_job.h"

struct compare_figure { double mean, spread; };  /* over the seeds; spread: standard deviation, 0 for one */
struct compare_row {
    const struct criterion *criterion;           /* NULL: the network as it is */
    int runs;
    bool reached;                                /* the target, by all runs */
    double cost_power;
    struct compare_figure map, map_size[MAP_SIZES], params, flops, ms; /* maps -1 where there is no such object */
    struct compare_figure time;                  /* share of the whole network's, run side by side: what rows may be compared by */
};
struct comparison {
    int n;
    struct compare_row row[CRITERIA_MAX + 1];    /* the first: the network as it is */
};
/* job->opt.criterion is the list. */
enum status prune_compare(struct ctx *, struct prune_job *, struct comparison *);
enum status compare_write(struct ctx *, const struct prune_job *, const struct comparison *); /* PREFIX.compare.json */

#endif
