/* Sparsity training, the first half of network slimming (Liu et al., Learning Efficient Convolutional Networks through Network
 * Slimming, ICCV 2017, arXiv 1708.06519): an L1 penalty on the scales of batch norm drives those of needless channels to 0, where
 * `prune -criterion bn` finds them. */
#ifndef TRAIN_SPARSITY_H
#define TRAIN_SPARSITY_H

#include "net/net.h"

/* dev_grad += pull * sign(scale) for every scale of batch norm that trains.  The net is bound for training. */
enum status sparsity_pull(struct ctx *, struct net *, double pull);

/* Of the host copy: how many scales there are, the mean of their sizes, and the share of those below `small`. */
struct sparsity { size_t n; double mean, share_small; };
struct sparsity sparsity_of(const struct net *, double small);

#endif
