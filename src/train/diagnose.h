/* Where numbers stopped being numbers, for the message that ends a training run. */
#ifndef TRAIN_DIAGNOSE_H
#define TRAIN_DIAGNOSE_H

#include "net/net.h"

/* After a forward pass whose loss is not finite: the first layer whose parameters or output are not, in words. */
void diagnose_forward(const struct net *, char *text, size_t size);
/* After a backward pass: the layer where a gradient that is not finite comes from, the last one that has such. */
void diagnose_backward(const struct net *, char *text, size_t size);

#endif
