/* What the inputs of a network's convolutions hold on the user's own pictures (net/ranges.h). */
#ifndef EVAL_CALIBRATE_H
#define EVAL_CALIBRATE_H

#include "data/dataset.h"
#include "net/ranges.h"

struct calibrate_options {
    int images;                /* at most so many, spread evenly over the list */
    void (*progress)(void *user, int done, int total);
    void *user;
    const volatile int *stop;  /* NULL, or becomes non-zero: ST_INTERRUPTED */
};
/* Sets net->range from `images` pictures; the network is bound for INFER to `be`, which should compute in float, and unbound after.
 * Each picture is looked at twice: for the extremes of every channel, then for the range that loses least.
 * *seen (may be NULL): how many pictures there were. */
enum status calibrate(struct ctx *, struct net *, struct backend *be, const struct text_list *images, const struct calibrate_options *, int *seen);

#endif
