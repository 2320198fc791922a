/* Layer pruning: whole residual blocks, y = act(skip + branch), whose branch goes with every layer that only it needs.
 *
 * The cut network is one with that branch at zero: readers of the shortcut read `skip` instead, the cfg loses the sections
 * and every index in it is renumbered, relative ones stay relative. */
#ifndef PRUNE_BLOCKS_H
#define PRUNE_BLOCKS_H

#include "prune/saliency.h"

struct block {
    int shortcut, skip, branch;  /* layers */
    int first, n_gone;           /* what goes with it alone: the lowest layer, and how many (the shortcut among them) */
    struct cost cost;            /* what that frees */
    const char *stays;           /* NULL, or why it cannot go */
    int stays_by;                /* the layer that is meant */
    double score, rank;          /* rank: score / cost^gamma, low = remove first */
    bool gone, compensated;
};
enum block_place { PLACE_KEPT, PLACE_GONE, PLACE_ROUTE, PLACE_ACTIVATION }; /* the last two: what is left of a shortcut */
struct blocks {
    const struct net *net;
    int n;
    struct block *item;          /* every [shortcut] of two inputs, in network order */
    uint8_t *place;              /* per layer: an enum block_place, for the blocks that are gone */
    int *source;                 /* per layer: the layer whose output stands for its own; -1: nobody needs it */
    int *number;                 /* per layer: number of `source` in the cut network, or -1 */
    int n_left;                  /* layers of the cut network */
    uint8_t *live, *root;        /* work space: needed; read by nobody in the uncut network */
};
/* `keep_layer`: per layer or NULL, blocks that would take one of these along stay. */
enum status blocks_find(struct ctx *, const struct net *, const uint8_t *keep_layer, struct blocks *);
void blocks_free(struct blocks *);
/* Takes block i out, too, unless it cannot go any more; false then. */
bool blocks_remove(struct blocks *, int i);
/* Brings it back. */
void blocks_restore(struct blocks *, int i);
/* Sets item[].rank from item[].score and the share of the network's cost (the layers' FLOPs in place of times). */
void blocks_rank(struct blocks *, enum cost_kind, double cost_power);
/* Ranks and takes out the `count` lowest that can go; returns how many went. */
int blocks_select(struct blocks *, int count, enum cost_kind, double cost_power);
/* The layer with filters whose output ends the branch of block i, or -1. */
int blocks_last_filters(const struct blocks *, int i);

/* What the branch of removed block i leaves behind on average (per channel of its output) goes into the biases or rolling
 * means of those who read the sum, through layers that pass a constant on.  False, and nothing changed, when it would meet a
 * layer that does not: then the branch leaves zero.  `param`: full-size parameters. */
bool blocks_compensate(struct ctx *, const struct blocks *, int i, const double *mean, float *param);
/* The network without the removed blocks, parameters taken from `param`. */
enum status blocks_apply(struct ctx *, const struct blocks *, const float *param, struct net **);
/* The original with `param` and every removed branch at zero against the cut one, as slice_check. */
enum status blocks_check(struct ctx *, struct backend *, struct net *full, const struct blocks *, const float *param, struct net *small,
                         const float *x, int count, double *worst);

#endif
