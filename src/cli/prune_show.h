/* What detector prune shows: progress, and the tables of runs that measure more than one network. */
#ifndef CLI_PRUNE_SHOW_H
#define CLI_PRUNE_SHOW_H

#include "cli/console.h"
#include "recipe/compare.h"
#include "recipe/loop.h"
#include "recipe/sensitivity.h"

struct display { struct progress progress; char what[200]; bool open; };
/* For prune_options.progress and .training. */
void display_phase(void *display, const char *what, int done, int total);
void display_training(void *display, const char *what, const struct train_news *, double run_seconds_left);
void display_end(struct display *);

/* The table of the steps, the baseline beside it, and what was written. */
void print_loop(const struct prune_job *);
void print_comparison(const struct prune_job *, const struct comparison *);
void print_sensitivity(const struct sensitivity *);

#endif
