/* Surgery (pruning.md 8): a network without the removed groups, as an edit of the cfg and slices of every stored array. */
#ifndef PRUNE_SLICE_H
#define PRUNE_SLICE_H

#include "prune/channels.h"

/* What removed channels leave behind: into `param` (a full-size copy of net->param) goes, for every reader, the sum of its
 * weights on removed channels times their mean activation: added to the bias, or taken from the rolling mean where batch
 * norm follows.  `mean` per node as saliency_means gives it. */
void slice_compensate(const struct net *, const struct channels *, const uint8_t *keep_group, const double *mean, float *param);

/* The same for one convolution or dense layer (depthwise ones, too) whose input has lost a constant per channel. */
void slice_absorb(const struct net *, const struct layer *, const double *constant, float *param);

/* The smaller network, with the new cfg text in its document.  `param`: full-size parameters to slice (compensated or not). */
enum status slice_apply(struct ctx *, const struct net *, const struct channels *, const uint8_t *keep_group, const float *param,
                        struct net **out);

/* Both networks on the same `count` inputs (planar floats): the original with compensated parameters and every removed
 * channel set to zero, and the small one.  *worst: largest difference of a head input (or of the last layer's output),
 * relative to the largest magnitude of that tensor. */
enum status slice_check(struct ctx *, struct backend *, struct net *full, const struct channels *, const uint8_t *keep_group,
                        const float *param, struct net *small, const float *x, int count, double *worst);
/* Its inner part: both bound in INFER; layer i of `full` is layer number[i] of `small` (NULL: the same number).  *worst
 * grows. */
enum status slice_compare(struct ctx *, struct net *full, struct net *small, const int *number, const float *x, int count, double *worst);

#endif
