/* One training sample: a decoded picture with its boxes, and the random view of it that a batch receives
 * (darknet-compat 5.4-5.6). */
#ifndef DATA_AUGMENT_H
#define DATA_AUGMENT_H

#include "data/loader.h"
#include "vision/image.h"

/* Read once, then never changed: threads may share it. */
struct sample {
    struct pixels px;
    double mean[4];               /* per channel, 0..255: what lies outside the picture */
    struct truth_list truth;      /* as in the label file, relative to the picture */
};
/* Picture with `channels` channels and its label file; boxes of a class outside 0..classes-1 are an error. */
enum status sample_load(struct ctx *, const char *image_path, int channels, int classes, struct sample *);
void sample_free(struct sample *);
size_t sample_bytes(const struct sample *);

/* The random view number (seed, batch, index) of a sample: x (c, h, w) in 0..1; truth is overwritten. */
enum status sample_augment(struct ctx *, const struct sample *, const struct augment_options *, uint64_t seed,
                           uint64_t batch, int index, int w, int h, float *x, struct truth_list *truth);

#endif
