/* The detection utility of pruning.md 2: what saliency and heat maps differentiate. */
#ifndef PRUNE_UTILITY_H
#define PRUNE_UTILITY_H

#include "prune/saliency.h"

/* Predictions of one image that the training assignment gives to a box, on whichever head owns them. */
enum { UTILITY_MAX_HEADS = 16, UTILITY_MAX_MATCHES = 64, UTILITY_ALL_HEADS = -1 };
struct utility_match { int head, prediction; };
int utility_matches(const struct net *, const int *head, int n_head, int image, struct box, struct utility_match[UTILITY_MAX_MATCHES]);

/* After a forward pass: dU/dz into head_delta of every head, the places of the batch beyond `valid` left at 0.  truth: per image.
 * only_head: the layer of one head, whose part of the utility alone counts; or UTILITY_ALL_HEADS.  opt: utility (not the loss),
 * kappa, background_guard. */
enum status utility_seed(struct ctx *, struct net *, const struct saliency_options *opt, const struct truth_list *truth, int valid,
                         int only_head);

#endif
