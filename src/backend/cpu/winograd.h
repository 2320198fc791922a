/* 3x3 convolution by Winograd's minimal filtering on tiles of 4x4 outputs (Lavin & Gray 2015, arXiv 1509.09308), channels-last maps
 * of any width.  Stride 1: F(4x4, 3x3), 36 products per tile and pair of channels instead of 144, all three passes.  Stride 2:
 * 81 instead of 144, forward only. */
#ifndef BACKEND_CPU_WINOGRAD_H
#define BACKEND_CPU_WINOGRAD_H

#include "backend/backend.h"

/* Weights in panels of output channels (see winograd_tiles.inc); backward: of input channels, taps turned round. */
struct winograd {
    struct conv_desc desc;
    float *forward, *backward; /* backward is NULL unless desc.backward */
};

struct winograd_ops {
    size_t (*weights_size)(int in, int out);                                        /* floats of one set of weights */
    size_t (*scratch_size)(const struct winograd *, int threads);                   /* floats that a pass needs at most */
    void (*pack)(const struct winograd *, const float *w);                          /* w in Darknet's order */
    /* y = act(conv(x) + bias) + skip; bias and skip may be NULL. */
    void (*forward)(const struct winograd *, int threads, float *scratch, const struct tensor *x, const float *bias, const struct tensor *skip,
                    struct tensor *y);
    /* NULL with stride 2. */
    void (*backward_data)(const struct winograd *, int threads, float *scratch, const struct tensor *dy, struct tensor *dx, bool add);
    void (*backward_weights)(const struct winograd *, int threads, float *scratch, const struct tensor *x, const struct tensor *dy,
                             float *dw); /* dw +=, in Darknet's order */
};

#endif
