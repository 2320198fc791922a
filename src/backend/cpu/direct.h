/* Convolution forward as direct matrix products over channels-last maps: the `size` cells that lie side by side in a row, with all
 * their channels, are one long dot product.  1x1 convolutions read the map as it is, others a zero-padded copy of a few rows.
 * Bias, activation and a sum with another map happen while the results are in registers or in the first-level cache. */
#ifndef BACKEND_CPU_DIRECT_H
#define BACKEND_CPU_DIRECT_H

#include "backend/backend.h"

/* groups = 1 and dilation = 1.  Packed weights: per panel of output channels, rows ky, kx, input channel. */
struct direct {
    struct conv_desc desc;
    float *weights;
};

struct direct_ops {
    size_t (*weights_size)(const struct conv_desc *);               /* floats */
    size_t (*scratch_size)(const struct conv_desc *, int threads);  /* floats */
    void (*pack)(struct direct *, const float *w);                  /* w in Darknet's order */
    /* y = act(conv(x) + bias) + skip; bias and skip may be NULL.  Tensors of any strides that rows_of() accepts. */
    void (*forward)(const struct direct *, int threads, float *scratch, const struct tensor *x, const float *bias, const struct tensor *skip,
                    struct tensor *y);
};

#endif
