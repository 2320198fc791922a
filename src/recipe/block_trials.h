/* Does it pay to take whole blocks out?  What blocks are worth is a first-order estimate, and a branch is a large change: so the cut to
 * the target is made with none, one, two, ... of the blocks that would go, and what counts is the loss on the images scored on. */
#ifndef RECIPE_BLOCK_TRIALS_H
#define RECIPE_BLOCK_TRIALS_H

#include "recipe/prune_job.h"

/* At most: images to score on, images to measure the loss on; and so many trials in a row that were no better than the best before
 * end it (on yolo-fastest-1.1-xl the loss rose with one or two blocks and fell below that of none with four). */
enum { TRIAL_IMAGES = 128, TRIAL_LOSS_IMAGES = 64, TRIAL_PATIENCE = 4 };

/* job: before any block went, with means and, for latency targets, its table; `select` complete.  *n: of order[], reduced to as many as
 * give the smallest loss.  Nothing of job changes. */
enum status block_trials(struct ctx *, const struct prune_job *job, const struct select_options *select, const int *order, int *n);

#endif
