/* Training batches: threads read, augment and stack images ahead of the trainer.  A batch depends on (seed, iteration,
 * subdivision, size) alone, never on the number of threads. */
#ifndef DATA_LOADER_H
#define DATA_LOADER_H

#include "cfg/net_options.h"
#include "data/dataset.h"

struct augment_options {
    double jitter, resize, hue, saturation, exposure;
    int flip, letter_box;
    int max_boxes, classes;
};
struct batch {
    int n, w, h, c;
    float *x;                     /* (n, c, h, w) */
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
};
struct loader_options {
    const struct text_list *images;
    struct augment_options augment;
    int channels;
    uint64_t seed;
    int threads;
    /* Size and number of images of batch number i (0-based, all sub-batches counted); must be a pure function of i. */
    void (*plan)(void *user, uint64_t i, int *n, int *w, int *h);
    void *user;
    uint64_t first;               /* first batch number to deliver */
    size_t cache_bytes;           /* decoded pictures kept in memory, so that small sets are decoded once; 0: 512 MiB */
};
struct loader;
/* Checks nothing but that there are images; a label or image that cannot be read fails the batch that draws it.  Images are
 * drawn uniformly with replacement, as Darknet does. */
enum status loader_open(struct ctx *, const struct loader_options *, struct loader **);
/* The next batch, in order; valid until the following call.  Blocks; *wait: seconds blocked. */
enum status loader_next(struct ctx *, struct loader *, const struct batch **, double *wait);
void loader_close(struct loader *);
struct batch_source loader_source(struct loader *); /* its close closes the loader */

/* One augmented sample, the loader's work for one image; also what -show_imgs writes. */
enum status augment_sample(struct ctx *, const char *image_path, const struct augment_options *, uint64_t seed, uint64_t batch,
                           int index, int w, int h, int c, float *x, struct truth_list *truth);

/* Before training: every label file of the list is read once.  *boxes, *background: counts; per_class: boxes of each class
 * (may be NULL).  The first missing label file or bad line is an error naming it (nothing is trained on a broken set). */
enum status dataset_check(struct ctx *, const struct text_list *images, int classes, long long *boxes, int *background, long long *per_class);

#endif
