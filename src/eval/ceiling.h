/* What a backend computes and moves at most, measured on itself, and how near to that a layer comes. */
#ifndef EVAL_CEILING_H
#define EVAL_CEILING_H

#include "net/net.h"

struct ceiling { double flops, bytes; /* per second: of a large matrix product; read and written by a sum of long vectors */ };
enum status ceiling_measure(struct ctx *, struct backend *, struct ceiling *);

/* The least milliseconds that layer i takes for `batch` images: for its multiplications, or for reading and writing so many bytes
 * (net_layer_bytes), whichever takes longer; *moves: it is the latter. */
double ceiling_ms(const struct ceiling *, const struct net *, int i, int batch, double bytes, bool *moves);

#endif
