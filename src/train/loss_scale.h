/* Scaling of the loss, for backends whose gradients pass through half precision (backend.narrow_gradients): multiplied by a power of
 * two, small gradients stay above what half precision rounds to zero; before the update they are divided by it again, exactly.
 * Where the scale was too large some gradient is no finite number: that step is left out and the scale halved; after a number of
 * good steps it is doubled (Micikevicius et al., Mixed Precision Training, 2018). */
#ifndef TRAIN_LOSS_SCALE_H
#define TRAIN_LOSS_SCALE_H

#include "net/net.h"

/* Good steps in a row before a larger scale is tried. */
enum { LOSS_SCALE_PATIENCE = 1000 };

struct loss_scale {
    double scale;         /* 1: off */
    uint64_t good;        /* steps since it last changed */
    bool on, overflow;    /* overflow: a gradient of this step is not finite */
};

/* state: of an earlier run, scale 0: none. */
void loss_scale_open(struct loss_scale *, const struct backend *, double scale, uint64_t good);
/* The gradient so far, as the backend has it, has this sum of squares; returns it without the scale.  false: it is not finite, and
 * a smaller scale would not help. */
bool loss_scale_seen(struct loss_scale *, double *squares);
/* Before the update: the gradients of the network without the scale.  false: one of them is not finite; they are cleared, and there is
 * to be no update. */
bool loss_scale_ready(struct loss_scale *, struct net *);

#endif
