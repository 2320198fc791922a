/* Weights into other weights: averages, batch norm folded away or added, other input ranges, a classifier's last layer in a
 * detector.  All work on the host copy of networks that are not bound. */
#ifndef NET_CONVERT_H
#define NET_CONVERT_H

#include "net/net.h"

/* Mean of every stored array over the files, of which there is at least one, in double; `seen` is the first one's. */
enum status convert_average(struct ctx *, struct net *, const char *const *weights, int n);

/* The batch norm of one convolution, matrix or recurrent cell: which rows of layer.param belong together. -1: there is none. */
struct norm_rows { int bias, weight, scale, mean, variance; };
/* The sets of rows of a layer, in order, at most `cap`; shared ones and those without bias are left out. */
int convert_rows(const struct layer *, struct norm_rows *, int cap);

/* Rolling statistics, scale and bias go into weights and bias; the batch norm that stays changes nothing (scale 1, mean 0, a
 * variance that is 1 with the epsilon).  *folded: how many. */
void convert_reset(struct net *, int *folded);
/* The same network without batch norm (batch_normalize=0 in every section; `net` itself is reset on the way), and with one that
 * changes nothing wherever a section can have it.  Caller closes *out. */
enum status convert_denormalize(struct ctx *, struct net *, struct net **out, int *folded);
enum status convert_normalize(struct ctx *, const struct net *, struct net **out, int *added);

/* The first layer, which must be a [convolutional] of 3 channels: from inputs -1..1 to 0..1, and RGB against BGR. */
enum status convert_rescale(struct ctx *, struct net *);
enum status convert_swap_channels(struct ctx *, struct net *);

/* `weights` holds a classifier: this network up to the convolution before its last head, which there has as many filters as the
 * head has classes.  It becomes the class outputs of every anchor; *classes: how many. */
enum status convert_classifier(struct ctx *, struct net *, const char *weights, int *classes);

#endif
