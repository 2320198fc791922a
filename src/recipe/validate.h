/* Is a criterion right?  Groups are removed one at a time, and what that does to the loss is held against the scores. */
#ifndef RECIPE_VALIDATE_H
#define RECIPE_VALIDATE_H

#include "recipe/prune_job.h"

enum { VALIDATE_IMAGES = 64, VALIDATE_LEAST = 4 };
struct validate_row {
    const struct criterion *criterion;
    double *score;            /* per group */
    double rho, rho_within;   /* Spearman's: over all samples; mean over the layers with VALIDATE_LEAST or more of them (NaN: none has;
                               * a layer that a criterion gives one score counts as 0) */
    int layers;               /* how many those are */
};
struct validation {
    int n, images;            /* groups removed; images that the loss is a mean of */
    int *group;
    double loss, *change;     /* of the whole network; per sample, what its removal adds */
    int n_row;
    struct validate_row row[CRITERIA_MAX];
};
/* Scores by every criterion of job->opt.criterion; job->score is the first one's. */
enum status prune_validate(struct ctx *, struct prune_job *, int samples, struct validation *);
enum status validation_write(struct ctx *, const struct prune_job *, const struct validation *, const char *path); /* JSON */
void validation_free(struct validation *);

/* Spearman's rank correlation; ties take the mean of their ranks.  0 when one side is constant. */
enum status spearman(struct ctx *, const double *a, const double *b, int n, double *rho);

#endif
