/* Pruning in steps (pruning.md 9): remove a part, train, score again, go on; one run that survives being killed at any moment.
 *
 * What a run has done stands in PREFIX.prune.json, written anew after every phase, and the networks in PREFIX.steps/: stepN.cfg,
 * stepN_cut.weights (right after cut N) and stepN.weights (trained).  A phase's files are in place before the record speaks of
 * them, and every phase is a pure function of what the record holds, so a killed run goes on from its last phase, inside a training
 * from the trainer's own checkpoint, and ends in the same bytes. */
#ifndef RECIPE_LOOP_H
#define RECIPE_LOOP_H

#include "recipe/prune_job.h"

/* Whether the options ask for more than one cut without training. */
bool loop_wanted(const struct loop_options *);
/* The share of the whole cut that is done after step s (1..steps). */
double loop_progress(const struct loop_options *, int s);

struct loop_step {
    int step, iterations;            /* 0: the unpruned network, with the measurements of `cut`; iterations of training after the cut */
    int filters;
    struct cost cost;
    double masked_vs_pruned;
    double map_cut, map_cut_size[MAP_SIZES], map, map_size[MAP_SIZES]; /* after the cut; after training (the same without) */
    bool held;                       /* by -max_map_drop */
};

/* From job as prune_ready leaves it to the files of a finished run: PREFIX.cfg, PREFIX.weights, PREFIX.prune.json, with several
 * steps PREFIX_best.cfg and .weights (of the step with the best mAP), with `baseline` PREFIX_baseline.weights.  job then holds what
 * the plain steps leave there: small (the final network), selection (relative to the unpruned network, all steps as one), score and
 * mean (of the unpruned network), map_before, map_after (the last cut), map_tuned, speeds, worst.
 * ST_INTERRUPTED: saved, `resume` goes on.  ST_USAGE where no step held. */
enum status loop_run(struct ctx *, struct prune_job *);

/* Reading job->loop.  Steps are numbered from 0, the unpruned network. */
int loop_step_count(const struct prune_job *);
void loop_step_at(const struct prune_job *, int i, struct loop_step *);
int loop_final_step(const struct prune_job *); /* the step whose network the run ended with */
int loop_best_step(const struct prune_job *);
/* mAP of the unpruned network after the same training; false: there is none. */
bool loop_baseline(const struct prune_job *, struct loop_step *);
bool loop_reached(const struct prune_job *);   /* the target, by the final step */
const char *loop_stopped(const struct prune_job *); /* why the run ended before its last step, or NULL */

#endif
