/* Several criteria through the same coupling, rounding and budget: what each cut costs right away, or, where the options ask for
 * training, what is left after the same steps and the same training (loop.h). */
#ifndef RECIPE_COMPARE_H
#define RECIPE_COMPARE_H

#include "recipe/prune_job.h"

struct compare_figure { double mean, spread; };  /* over the seeds; spread: standard deviation, 0 for one */
struct compare_row {
    const struct criterion *criterion;           /* NULL: the network as it is */
    bool trained;                                /* without criterion: it had the same training (-baseline) */
    int runs;
    bool reached;                                /* the target, by all runs */
    double cost_power;
    struct compare_figure map, map_size[MAP_SIZES], params, flops, ms; /* maps -1 where there is no such object */
    struct compare_figure cut;                   /* with training: mAP right after the last cut; else -1 */
    struct compare_figure time;                  /* share of the whole network's, run side by side: what rows may be compared by */
};
struct comparison {
    int n;
    struct compare_row row[CRITERIA_MAX + 2];    /* the first: the network as it is */
};
const char *compare_name(const struct compare_row *);
/* job->opt.criterion is the list.  With training every criterion runs job->opt.seeds times, each with training draws of its own; the
 * runs lie in PREFIX.compare/CRITERION-SEED.*, and opt.loop.resume goes on with them. */
enum status prune_compare(struct ctx *, struct prune_job *, struct comparison *);
enum status compare_write(struct ctx *, const struct prune_job *, const struct comparison *); /* PREFIX.compare.json and .png */

#endif
