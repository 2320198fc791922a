/* weights_reject_freq (darknet-compat 1.7): of two filters that have become alike, one starts anew. */
#ifndef TRAIN_REJECT_H
#define TRAIN_REJECT_H

#include "net/net.h"

/* In each convolution but the first layer, those with linear activation and the three layers before a [yolo]: the first
 * filter of the most similar pair (cosine above 0.4) gets fresh weights, bias 0 and scale 1, in the host copy.  Returns how
 * many filters started anew.  Draws depend on (seed, iteration, layer) alone. */
int reject_similar(struct net *, uint64_t seed, uint64_t iteration);

#endif
