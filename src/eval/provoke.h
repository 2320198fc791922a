/* A picture changed, a little at a time, until a detector sees an object that is not there: how easily can it be fooled, and
 * by what.  Gradient ascent on the picture with a bound on every change (Kurakin et al. 2016). */
#ifndef EVAL_PROVOKE_H
#define EVAL_PROVOKE_H

#include "eval/detect.h"

struct provoke_options {
    struct truth object;      /* what is to be seen, relative to the picture */
    int rounds;
    float step, limit;        /* largest change of a value in one round, and in all; values are 0..1 */
    float thresh;             /* seen: that class, with this confidence, overlap above 0.5 */
};
struct provoke_result { int rounds; float confidence, iou, change; }; /* of the best box of that class; change: the largest */
/* The net is bound for SCORE with batch 1 and wants_dinput; x is its input (0..1), changed in place.  Ends when the
 * object is seen or after `rounds`. */
enum status provoke(struct ctx *, struct net *, const struct provoke_options *, struct image *x,
                    void (*each)(void *user, const struct provoke_result *), void *user, struct provoke_result *);

#endif
