/* What happens at which iteration: the input size of random multi-scale, saving, mAP.  Pure functions, so
 * that a resumed run takes the same decisions.  "After iteration n" counts from 1, "of iteration i" from 0.
 */
#ifndef TRAIN_SCHEDULE_H
#define TRAIN_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

/* darknet-compat 5.8; random: the head's key (0: one size, 1: factor 1.4, else the factor). */
struct scale_plan { uint64_t seed; double random; int w, h, step, max_iterations, images; bool dynamic; };
void schedule_size(const struct scale_plan *, uint64_t iteration, int *w, int *h);
/* Images of a mini-batch of that size: `images`, or with `dynamic` (dynamic_minibatch) as many more as smaller pictures leave
 * room for. */
int schedule_images(const struct scale_plan *, int w, int h);

/* ema_alpha (darknet-compat 1.7): the average begins after iteration *start and replaces the weights after iteration *apply:
 * max - 1000, or in runs too short for that three quarters of the way. */
void schedule_average(int max_iterations, uint64_t *start, uint64_t *apply);
/* Whether weights_reject_freq acts after iteration n. */
bool schedule_reject(uint64_t n, int frequency, int max_iterations);

/* Darknet's saving rule (darknet-compat 4.3); `last`: when such a file was written before, at first the
 * starting iteration. */
bool schedule_numbered(uint64_t n, uint64_t last, int save_every);
bool schedule_last(uint64_t n, uint64_t last, int save_every, int last_every);

/* Iteration after which mAP is due next (darknet-compat 6.5). */
uint64_t schedule_next_map(uint64_t last_map, int epochs, int images, int images_per_step, int burn_in);

#endif
