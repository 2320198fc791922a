/* -target_latency: selection by a table of layer times, then cut, measure and correct until the clock agrees. */
#ifndef RECIPE_LATENCY_TARGET_H
#define RECIPE_LATENCY_TARGET_H

#include "recipe/prune_job.h"

enum { LATENCY_TOLERANCE_PERCENT = 5 };

/* The table of layer times for job->net, measured once per job (and read from the cache). */
enum status latency_prepare(struct ctx *, struct prune_job *);
/* Fills job->selection and job->latency_outcome.  `opt` is complete but for `latency`. */
enum status latency_select(struct ctx *, struct prune_job *, const struct select_options *opt);
/* Measures job->small once more and compares it with the target; job->latency_outcome.why says why when it was missed. */
enum status latency_judge(struct ctx *, struct prune_job *);

#endif
