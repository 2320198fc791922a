/* Training batches: threads read, augment and stack images ahead of the trainer.  A batch depends on (seed, number,
 * size) alone, never on the number of threads. */
#ifndef DATA_LOADER_H
#define DATA_LOADER_H

#include "data/classify.h"
#include "data/dataset.h"

struct batch {
    int n, w, h, c;
    float *x;                     /* (n, c, h, w) */
    const struct picture_block *const *block; /* n images for a device to draw, x is NULL then; or NULL */
    struct truth_list *truth;     /* n lists, relative to the network input; or NULL */
    const float *target;          /* target_size values per image; or NULL */
    int target_size;
    const char **path;            /* n image paths, owned by the source; or NULL where samples have no files */
};
/* Where a trainer gets its batches from: the image loader below, a classifier's, a text's. */
struct batch_source {
    void *self;
    /* The next batch, in order; valid until the following call.  *wait: seconds blocked. */
    enum status (*next)(struct ctx *, void *self, const struct batch **, double *wait);
    /* The batch that `next` will deliver, when it is there already; else NULL.  It stays where it is when `next` delivers it.  May be NULL. */
    const struct batch *(*ahead)(void *self);
    void (*close)(void *self);
};
/* What a trainer asks of a source.  Batches are numbered from 0, all sub-batches of a step counted; both functions are pure
 * functions of the number. */
struct batch_request {
    void (*plan)(void *user, uint64_t i, int *n, int *w, int *h); /* images in all, and their size */
    /* The batch with which the sequences of batch i began: where it is i itself, they begin anew. */
    uint64_t (*sequence)(void *user, uint64_t i);
    void *user;
    int steps;                    /* frames per sequence in one batch; image k is frame k / (n/steps) of sequence k % (n/steps) */
    uint64_t first;               /* first batch number to deliver */
    uint64_t seed;
    int threads;                  /* 0: as many as processors */
    const struct block_memory *blocks; /* not NULL: images may come as blocks in such memory; a source may give x all the same */
};
struct loader_options {
    const struct text_list *images;
    struct augment_options augment;
    const struct class_options *classes; /* targets from the paths instead of boxes from label files; NULL: boxes */
    int channels;
    uint64_t seed;
    int threads;
    /* Size and number of images of batch number i (0-based, all sub-batches counted); must be a pure function of i. */
    void (*plan)(void *user, uint64_t i, int *n, int *w, int *h);
    /* Frames in order, `steps` of a sequence in each batch, from the batch on that `sequence` gives (see batch_request), the
     * entries of the list 1..augment_speed apart and all frames augmented alike.  NULL: every image stands alone. */
    uint64_t (*sequence)(void *user, uint64_t i);
    int steps, augment_speed;
    void *user;
    uint64_t first;               /* first batch number to deliver */
    const struct block_memory *blocks; /* images come as blocks in such memory; NULL: as x */
    size_t cache_bytes;           /* decoded pictures kept in memory, so that small sets are decoded once; 0: 512 MiB */
    bool strict;                  /* a picture that cannot be read fails the batch; else others are drawn, with a warning */
};
struct loader;
/* Checks nothing but that there are images.  Images are drawn uniformly with replacement, as Darknet does; with contrastive
 * images 2k and 2k+1 are views of one picture. */
enum status loader_open(struct ctx *, const struct loader_options *, struct loader **);
const struct batch *loader_ahead(struct loader *); /* see batch_source.ahead */
/* The next batch, in order; valid until the following call.  Blocks; *wait: seconds blocked. */
enum status loader_next(struct ctx *, struct loader *, const struct batch **, double *wait);
void loader_close(struct loader *);
struct batch_source loader_source(struct loader *); /* its close closes the loader */

#endif
