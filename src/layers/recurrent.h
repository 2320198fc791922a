/* What the recurrent layers share: states and saved tensors of a sequence, cut into steps, and the gradient of the input.
 *
 * One step of a batch is `images` images, one of every sequence, next to each other in memory.  A pass goes on from the state
 * in which the last one ended, unless reset; back-propagation goes through the steps of one pass and takes the state before
 * them as given.  In SCORE images stand alone: every pass starts at 0. */
#ifndef LAYERS_RECURRENT_H
#define LAYERS_RECURRENT_H

#include "layers/affine.h"

int recurrent_images(const struct pass *);
/* Zeroed memory for `slices` steps; a tensor of one slice serves all steps. */
struct tensor recurrent_room(struct pass *, struct shape, int slices);
struct tensor recurrent_slice(const struct pass *, const struct tensor *, int step);

/* A state has steps + 1 slices: slice t before step t, the last one after all of them. */
void recurrent_start(struct pass *, struct tensor *state);
void recurrent_forget(struct pass *, struct tensor *state);

/* y (+)= x; y (+)= a*b, element by element. */
void recurrent_copy(struct pass *, const struct tensor *x, struct tensor *y, bool add);
void recurrent_times(struct pass *, const struct tensor *a, const struct tensor *b, struct tensor *y, bool add);

/* Fails when one map has more weights than can be counted. */
enum status recurrent_fits(struct ctx *, const struct layer *, const struct affine_desc *);
/* Completes a convolution over an input of shape d->x: padding in pixels, y.h and y.w; fails when it does not fit.
 * recurrent_keeps_size fails unless it maps a map onto one of the same size, as everything that reads a state must. */
enum status recurrent_convolution(struct ctx *, const struct layer *, struct affine_desc *);
enum status recurrent_keeps_size(struct ctx *, const struct layer *, const struct affine_desc *);

/* Where the maps that read the input at one step send its gradient; dx is NULL when nobody wants it.  The first one does as
 * `add` says, the others add.  Opened once per backward pass, cut per step. */
struct recurrent_edge { struct tensor whole, x, step, *dx; bool wanted, first_adds, add; };
void recurrent_edge_begin(const struct layer *, struct pass *, struct recurrent_edge *);
void recurrent_edge_step(struct pass *, int step, struct recurrent_edge *);
enum status recurrent_edge_end(const struct layer *, struct pass *, struct recurrent_edge *);

#endif
