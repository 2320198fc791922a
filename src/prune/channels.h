/* Which channels live and die together: a union-find over single channels (pruning.md 6).
 *
 * A node is one output channel of one layer.  Every layer type states its ties in couple(); what is left are groups, kept
 * or removed as a whole, and units: sets of layers whose groups belong to each other. */
#ifndef PRUNE_CHANNELS_H
#define PRUNE_CHANNELS_H

#include "net/net.h"

struct channel_group {
    int size;             /* nodes */
    int first;            /* its nodes are node_of_group[first .. first + size) */
    int unit;
    const char *frozen;   /* NULL, or why it must stay */
    int frozen_by;        /* the layer that says so */
};
struct channels {
    const struct net *net;
    int *first_node;      /* per layer; node of (layer, k) = first_node[layer] + k; n + 1 entries */
    int n_node, *parent;
    const char **why;     /* per node, until grouped */
    int *why_layer;
    int n_group, *group_of, *node_of_group, *layer_of;
    struct channel_group *group;
    int n_unit, *unit_of_layer;
};

/* Fails with the layer's name and cfg line when a type has no rule. */
enum status channels_build(struct ctx *, const struct net *, struct channels **);
/* Of a network that was cut from `whole` (alive: a flag per node of that): the same, and groups of the whole network stay together
 * where the smaller one could part them (a grouped convolution with one channel left per group looks depthwise), so that whatever
 * is cut next could have been cut from the whole at once. */
enum status channels_build_within(struct ctx *, const struct net *, const struct channels *whole, const uint8_t *alive, struct channels **);
void channels_drop(struct channels *);
static inline int channels_group(const struct channels *c, int layer, int k) { return c->group_of[c->first_node[layer] + k]; }

/* Kept output channels per layer, from a keep flag per group. */
void channels_widths(const struct channels *, const uint8_t *keep_group, int *kept);

/* How many channels of a layer belong to a group. */
int channels_in_layer(const struct channels *, int group, int layer);

/* What a network costs at given output widths, and one of its layers.  `ms` stays 0 here: it takes a table of measured
 * times (latency.h). */
struct cost { double flops, params, activations, ms; };
struct cost cost_at(const struct net *, const int *kept);
struct cost cost_of_layer(const struct layer *, int in, int out);
struct cost cost_add(struct cost a, struct cost b, double sign);
/* What removing one group alone saves from the full network. */
struct cost cost_of_group(const struct channels *, int group);

#endif
