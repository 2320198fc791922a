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
    struct saliency *detail;             /* filled by data-driven criteria; may be NULL */
};
struct criterion {
    const char *name, *help;
    bool needs_images;
    bool priced;          /* divide by cost^gamma (saliency); weight criteria rank by themselves */
    enum status (*score)(struct ctx *, const struct criterion_input *, double *score);
};
const struct criterion *criterion_find(const char *name);
int criterion_count(void);
const struct criterion *criterion_at(int i);

#endif
