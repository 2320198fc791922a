/* The update rules over a bound net's parameters: SGD with momentum, Adam (darknet-compat 1.6), AdamW; the running average
 * of the parameters (EMA, 1.7).
 *
 * Which arrays move, and which of them decay, is in the parameters' flags; what a layer's keys say about its update
 * (learning_rate, clip, dont_update, burnin_update, train_only_bn) is applied here.  The arrays lie on the net's backend, each
 * an arena of the parameters' own layout, and survive a net_resize. */
#ifndef TRAIN_OPTIMIZER_H
#define TRAIN_OPTIMIZER_H

#include "net/net.h"

enum optimizer_kind { OPTIMIZER_SGD, OPTIMIZER_ADAM, OPTIMIZER_ADAMW };
struct optimizer {
    struct backend *be;
    enum optimizer_kind kind;
    size_t n;                     /* elements: net->n_param */
    real *momentum;               /* velocity, or first moment; zero at first */
    real *second;                 /* second moment; NULL with SGD */
    real *average;                /* of the parameters; NULL before optimizer_average */
    uint64_t updates;             /* since the moments were zero */
    struct update_range *range;   /* room for the arena's pieces */
};

/* net is bound for training.  Close before the backend. */
enum status optimizer_open(struct ctx *, const struct net *, struct optimizer *);
void optimizer_close(struct optimizer *);

/* Moments to zero, no average. */
void optimizer_reset(struct optimizer *);

struct update {
    uint64_t number;              /* counts from 1 */
    double rate, images;          /* images whose gradients were summed */
    double squares;               /* sum of the gradient's squares, for max_grad_norm */
};
/* One update from the summed gradients, which are cleared; call net_refresh afterwards. */
void optimizer_step(struct optimizer *, struct net *, const struct update *);

/* average = keep*average + (1 - keep)*parameters; the first call copies them. */
enum status optimizer_average(struct ctx *, struct optimizer *, const struct net *, double keep);
void optimizer_drop_average(struct optimizer *);
/* The average in place of the parameters on the host, except statistics of batch norm, which are not averaged: net_push makes
 * it the net's own. */
void optimizer_get_average(const struct optimizer *, struct net *);

#endif
