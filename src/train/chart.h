/* The picture of a training run: running loss and measured score over the iterations, 1000 x 1000 as Darknet's. */
#ifndef TRAIN_CHART_H
#define TRAIN_CHART_H

#include "train/history.h"
#include "vision/image.h"

struct chart {
    const char *title;            /* base name of the run */
    const char *score;            /* what the score is called, e.g. "mAP@0.50" */
    const struct history *history;
    int max_iterations;
    double top_loss;              /* of the loss axis; 0: chosen so that the curve fills it */
    double eta_seconds;           /* < 0: not known */
};
enum status chart_draw(struct ctx *, const struct chart *, struct pixels *); /* pixels_free afterwards */
enum status chart_write(struct ctx *, const struct chart *, const char *path); /* PNG, replaced as a whole */

#endif
