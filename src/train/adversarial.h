/* adversarial_lr (darknet-compat 1.7): a second network with the same weights, on rolling statistics, looks for the
 * disturbance of a batch's pictures that would hide what is in them; the trained one then learns from the disturbed ones. */
#ifndef TRAIN_ADVERSARIAL_H
#define TRAIN_ADVERSARIAL_H

#include "net/net.h"

struct adversary {
    struct net *net;              /* opened from the trained network's cfg; owned by the caller */
    float *x;                     /* the disturbed pictures */
    size_t cap;
};
/* The pictures `x` of the trained net's batch, moved by `rate` times the gradient that the heads ask for when they are told
 * that nothing is there, within 0..1; `every` 2: only every second picture, from the second on.  Valid until the next call. */
enum status adversary_disturb(struct ctx *, struct adversary *, struct net *trained, const float *x, double rate, int every,
                              const float **disturbed);
void adversary_close(struct adversary *);

#endif
