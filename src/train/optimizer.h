/* Stochastic gradient descent with momentum over a bound net's parameters (darknet-compat 1.6).
 *
 * Which arrays move, and which of them decay, is in the parameters' flags; frozen layers stay as they are.
 * The momentum lives on the net's backend, one arena of the parameters' own layout, and survives a
 * net_resize. */
#ifndef TRAIN_OPTIMIZER_H
#define TRAIN_OPTIMIZER_H

#include "net/net.h"

struct optimizer {
    struct backend *be;
    size_t n;          /* elements: net->n_param */
    real *momentum;    /* velocity of each parameter; zero at first */
};

/* net is bound for training.  Close before the backend. */
enum status optimizer_open(struct ctx *, const struct net *, struct optimizer *);
void optimizer_close(struct optimizer *);
/* One update from the gradients summed over `images` images, which are cleared; call net_refresh afterwards.
 */
void optimizer_step(struct optimizer *, struct net *, double rate, double images);
/* Host copies of the momentum, n floats. */
void optimizer_get(const struct optimizer *, float *momentum);
void optimizer_put(struct optimizer *, const float *momentum);

#endif
