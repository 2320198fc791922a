/* An affine map with bias or batch norm, then an activation: y = act(bn(W*x) + b).  The building block of [connected] and of
 * the recurrent layers; a layer may own several.
 *
 * In shape(): describe the map, affine_params() declares its arrays (call once per map, in file order) and says where they
 * stand.  prepare(): affine_open().  refresh(), forward(), backward(), release(): the function of that name.
 * One map serves `slices` tensors of `images` images by turns (the time steps of a sequence) with one plan and one set of
 * weights; what backward needs is kept per slice.  tensor_images() cuts such slices out of a layer's tensors. */
#ifndef LAYERS_AFFINE_H
#define LAYERS_AFFINE_H

#include "layers/layer.h"

struct affine_desc {
    struct shape x, y;                            /* of one image */
    int groups, size, stride, dilation, pad;      /* a convolution; size 0: a matrix over the c, h, w of the whole image */
    bool batch_normalize;
    enum activation act;
};
struct affine_desc affine_matrix(struct shape x, int outputs, bool batch_normalize, enum activation);

/* Rows of layer.param; mean and variance follow the scale, which is -1 without batch norm. */
struct affine_rows { int bias, weights, scale; };

/* Which of the map's sides are this layer's channels for the pruner: AFFINE_OUT its outputs, AFFINE_IN those of input 0. */
enum { AFFINE_IN = 1, AFFINE_OUT = 2 };

/* Declares biases, weights[, scales, mean, variance] of a matrix, biases[, scales, mean, variance], weights of a convolution. */
struct affine_rows affine_params(struct layer *, const struct affine_desc *, unsigned sides);
double affine_flops(const struct affine_desc *);

struct affine_slice;
struct affine {
    struct affine_desc d;
    struct affine_rows rows;
    struct conv_plan *plan;
    real *w, *bias;               /* batch norm folded in, when it runs on rolling statistics */
    struct tensor flat, dflat;    /* a matrix's input and its gradient, where the layout does not give them for nothing */
    struct affine_slice *slice;
    int images, slices;
};

/* On failure affine_close() releases what there is; it takes zeroed memory, too. */
enum status affine_open(struct affine *, struct pass *, const struct affine_desc *, struct affine_rows, int images, int slices);
void affine_close(struct affine *, struct backend *);
enum status affine_refresh(struct affine *, struct pass *);
/* TRAIN: also moves the rolling statistics. */
enum status affine_forward(struct affine *, struct pass *, int slice, const struct tensor *x, struct tensor *y);
/* x and y as forward had them.  dy is overwritten with the derivative before the activation.  TRAIN: adds to the parameter
 * gradients.  dx may be NULL. */
enum status affine_backward(struct affine *, struct pass *, int slice, const struct tensor *x, const struct tensor *y,
                            struct tensor *dy, struct tensor *dx, bool add);

#endif
