/* Whether two saliency runs over one network rank its filters alike: on another data set, on another day (pruning.md 10).
 *
 * Compared by rank: Kendall's tau-b between the two runs, over all groups that may be removed and per layer.  What tau two runs
 * over the same kind of images would reach is known from each run's own halves, so the verdict is relative to that: images of
 * another kind lower the agreement between the runs, not within them. */
#ifndef RECIPE_DRIFT_H
#define RECIPE_DRIFT_H

#include "base/ctx.h"

struct drift_run {
    char *path, *criterion, *cfg, *weights, *list; /* list: the image list, "" when the file does not say */
    int images, objects[3];                        /* small, medium, large */
    double tau;                                    /* between its halves; NAN when the criterion has none */
};
struct drift_layer {
    int layer, groups;
    char type[32];
    double tau, half[2];                           /* between the runs; within each (NAN: not known) */
};
/* If the lowest `share` of the groups went by the first run: the part of them that the second run would remove as well, and the part
 * of the second run's score that goes with them, beside what its own choice would cost. */
struct drift_cut { double share, common, lost, own; };
enum { DRIFT_CUTS = 3 };
enum drift_verdict { DRIFT_HOLDS, DRIFT_PARTLY, DRIFT_DIFFERS, DRIFT_UNKNOWN };
struct drift {
    struct drift_run run[2];
    int n_layer, groups;                           /* layers with a choice: frozen ones and those of a single group are left out */
    struct drift_layer *layer;
    double tau, expected;                          /* expected: geometric mean of the halves' tau; NAN when not known */
    struct drift_cut cut[DRIFT_CUTS];
    enum drift_verdict verdict;
    char text[512];                                /* the verdict in words */
};

/* Two files of `detector saliency`.  Runs of other networks, layers or criteria are refused with one line. */
enum status drift_compare(struct ctx *, const char *a, const char *b, struct drift *);
void drift_free(struct drift *);
enum status drift_write_json(struct ctx *, const struct drift *, const char *path);
enum status drift_write_svg(struct ctx *, const struct drift *, const char *path);

#endif
