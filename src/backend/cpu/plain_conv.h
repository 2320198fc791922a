/* Convolution as direct loops over channels-last maps: for builds without oneDNN, and for what oneDNN refuses. */
#ifndef BACKEND_CPU_PLAIN_CONV_H
#define BACKEND_CPU_PLAIN_CONV_H

#include "backend/backend.h"

/* Packed weights, each F*(C/groups)*size*size floats (depthwise: C*size*size, in the order ky, kx, c):
 * forward: group, ky, kx, input channel, output channel; backward: group, ky, kx, output channel, input channel. */
struct plain_conv {
    struct conv_desc desc;
    size_t count;
    float *forward, *backward; /* backward is NULL unless desc.backward */
    float *slopes;             /* scratch of backward_weights, in the forward order */
};

struct plain_conv_ops {
    void (*pack)(struct plain_conv *, const float *w); /* w in Darknet's order */
    void (*forward)(const struct plain_conv *, const struct tensor *x, const float *bias, struct tensor *y);
    void (*backward_data)(const struct plain_conv *, const struct tensor *dy, struct tensor *dx, bool add);
    void (*backward_weights)(struct plain_conv *, const struct tensor *x, const struct tensor *dy, float *dw);
};

#endif
