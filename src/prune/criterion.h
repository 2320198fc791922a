/* A pruning criterion: a number per channel group, low = remove first.  One file that ends in a `const struct criterion`,
 * and one line in criteria.inc. */
#ifndef PRUNE_CRITERION_H
#define PRUNE_CRITERION_H

#include "prune/saliency.h"

struct criterion_input {
    struct net *net;
    struct backend *be;
    const struct channels *channels;
    const struct score_source *images;   /* NULL when the criterion needs none and none were given */
    const struct saliency_options *options;
    const double *mean;
    struct saliency *detail;             /* with NEEDS_OBJECTS */
    struct loss_evidence *loss;          /* with NEEDS_LOSS */
    struct blocks *blocks;               /* residual blocks to rank, none of them gone; then options->blocks is the same; or NULL */
};
/* What a criterion looks at besides the weights; the driver gathers it, once for all criteria that run together. */
enum { NEEDS_OBJECTS = 1, NEEDS_LOSS = 2, NEEDS_WEIGHT_GRADIENTS = 4 /* of the loss */, NEEDS_MAPS = 8 /* runs the images itself */,
       JOINT = 16 /* selection may weigh its groups against each other by the responses in `detail` */ };
struct criterion {
    const char *name, *help;
    unsigned needs;
    double cost_power;    /* the score's usual divisor is cost^cost_power; 0: ranks by itself */
    enum status (*score)(struct ctx *, const struct criterion_input *, double *score);
    /* What the residual blocks of in->blocks are worth, one value each (those that stay: any); NULL: it has no word on them. */
    enum status (*blocks)(struct ctx *, const struct criterion_input *, double *block);
    bool blocks_alike;    /* in the same unit as score(): blocks and groups can be ranked together */
};
/* Scores by n criteria, score[i] per group by list[i].  in->detail (may be NULL) is filled where one needs objects. */
enum status criteria_score(struct ctx *, const struct criterion_input *, const struct criterion *const *list, int n,
                           double *const *score);
/* The same, and the residual blocks of in->blocks by criterion `by`, one value each into `block`.  n may be 0. */
enum status criteria_score_blocks(struct ctx *, const struct criterion_input *, const struct criterion *const *list, int n,
                                  double *const *score, const struct criterion *by, double *block);
/* Which criterion ranks the blocks: the filters' own, or, where that has no word on them, saliency; of a classifier taylor. */
const struct criterion *criterion_of_blocks(const struct criterion *, bool classifier);
const struct criterion *criterion_find(const char *name);
/* "a,b,c", or "all"; fails with the names that there are. */
enum { CRITERIA_MAX = 32 };
enum status criteria_parse(struct ctx *, const char *text, const struct criterion *list[CRITERIA_MAX], int *n);
int criterion_count(void);
const struct criterion *criterion_at(int i);

#endif
