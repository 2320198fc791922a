/* The course of a training run: what the chart shows and a resumed run goes on with.  Long runs are thinned to every 2nd,
 * 4th, ... iteration; measured scores all stay. */
#ifndef TRAIN_HISTORY_H
#define TRAIN_HISTORY_H

#include "base/ctx.h"

struct train_point { uint64_t iteration; double loss, map; /* loss: the running average; map -1: not measured here */ };
struct history {
    size_t n, cap;
    struct train_point *point;
    uint64_t stride;              /* iterations from one point without a score to the next; 0 counts as 1 */
};
enum status history_add(struct ctx *, struct history *, const struct train_point *);
void history_free(struct history *);

#endif
