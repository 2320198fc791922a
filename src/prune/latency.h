/* How long each layer takes at given widths: a table of measured times at candidate widths, and lines between them.
 * recipe/latency_table.c fills it; selection prices groups and sums up networks with it. */
#ifndef PRUNE_LATENCY_H
#define PRUNE_LATENCY_H

#include "net/net.h"

struct latency_layer {
    double full_ms;         /* in the whole network, unpruned */
    int n_in, n_out;        /* measured widths, ascending; 0: the time goes with the layer's FLOPs, or with its width */
    int *in, *out;
    double *ms;             /* n_in rows of n_out; the last one, at the full widths, is full_ms */
};
struct latency_model { int n; struct latency_layer *layer; };

enum status latency_new(struct ctx *, int layers, struct latency_model **);
/* The model of the network without the blocks that are gone. */
struct blocks;
enum status latency_without(struct ctx *, const struct latency_model *, const struct blocks *, struct latency_model **);
/* Of the network at its full widths. */
double latency_whole(const struct latency_model *);
void latency_drop(struct latency_model *);
/* Adds the pairs of neighbouring widths, and those of them where the wider one took less than 0.9 times as long: many say that the machine
 * was busy with something else.  Before latency_settle. */
void latency_doubt(const struct latency_layer *, int *pairs, int *falling);
/* Makes times grow with the widths and the last one equal full_ms: what is measured alone on a busy machine does neither. */
void latency_settle(struct latency_layer *);
double latency_of_layer(const struct latency_model *, const struct layer *, int in, int out);

#endif
