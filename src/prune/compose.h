/* Cuts one after the other, as one (pruning.md 8, invariant 5).  A cut keeps the order of what it keeps, so channel k of a layer of
 * the smaller network is the k-th one alive of that layer in the network before. */
#ifndef PRUNE_COMPOSE_H
#define PRUNE_COMPOSE_H

#include "prune/channels.h"

/* `now` comes from channels_build_within.  alive: a flag per node of `full`, of which `now` has as many left; cleared for those that keep_group (per group of `now`)
 * removes.  Both have the same layers. */
void compose_cut(const struct channels *full, const struct channels *now, const uint8_t *keep_group, uint8_t *alive);
/* The same flags per group of `full`: what slice_apply takes. */
void compose_groups(const struct channels *full, const uint8_t *alive, uint8_t *keep_group);

#endif
