/* One picture of a training set and its random view, as a batch receives it (darknet-compat 5.4-5.6): crop, resize, flip,
 * hue, saturation and exposure, blur, noise, in this order.  mix.h composes images from views. */
#ifndef DATA_AUGMENT_H
#define DATA_AUGMENT_H

#include "backend/picture.h"
#include "base/rng.h"
#include "cfg/net_options.h"
#include "vision/box.h"
#include "vision/image.h"

/* [net]'s part is filled in by augment_from_net; the detection head's is the caller's. */
struct augment_options {
    /* of the last head */
    double jitter, resize;
    int max_boxes, classes;
    /* of [net] */
    double hue, saturation, exposure;
    int flip, letter_box;
    int blur;                     /* 1: the background, or everything; above: the kernel */
    double gaussian_noise;        /* deviation in grey levels, for half of the images */
    enum mix_kind mix;            /* for half of the images */
    int mosaic_bound;
    int contrastive, contrastive_jit_flip, contrastive_color;
    /* of [net], for classifiers only */
    double angle, aspect, label_smooth_eps;
    int min_crop, max_crop;
};
void augment_from_net(const struct net_options *, struct augment_options *);

/* Read once, then never changed: threads may share it. */
struct sample {
    int w, h;                     /* of the picture in its file */
    int divisor;                  /* px holds ceil(w / divisor) x ceil(h / divisor) pixels */
    struct pixels px;
    double mean[4];               /* per channel, 0..255: what lies outside the picture */
    struct truth_list truth;      /* as in the label file, relative to the picture */
};
/* The picture with `channels` channels, decoded as small as a network input of need_w x need_h allows (0: whole). */
enum status sample_picture(struct ctx *, const char *image_path, int channels, int need_w, int need_h, struct sample *);
/* ... and the boxes of its label file.  Lines that are no box of a class in 0..classes-1 are left out, a missing file
 * counts as empty: dataset_survey has reported them.  Box i of a file has track i + 4000 * (a hash of the file's name). */
enum status sample_load(struct ctx *, const char *image_path, int channels, int classes, int need_w, int need_h,
                        struct sample *);
int sample_divisor(int w, int h, int need_w, int need_h); /* the divisor of a w x h picture read for this need */
void sample_free(struct sample *);
size_t sample_bytes(const struct sample *);

/* The random numbers of one image are split by purpose, so that images that belong together can share some of them:
 * frames of a sequence all but the last kind, the two views of a pair the choice, and by default geometry and colour. */
enum draw_kind { DRAW_CHOICE, DRAW_GEOMETRY, DRAW_COLOUR, DRAW_LAYOUT, DRAW_OWN, DRAW_KINDS };
struct image_key {
    uint64_t seed;
    struct { uint64_t batch, index; } of[DRAW_KINDS];
};
struct image_key image_key(uint64_t seed, uint64_t batch, uint64_t index); /* shares nothing */
/* Stream of one purpose for picture `pass` (0..3) of the image. */
struct rng image_stream(const struct image_key *, enum draw_kind, int pass);

enum blur_kind { BLUR_NONE, BLUR_BACKGROUND, BLUR_WHOLE };

/* The part of the picture that becomes the network input, in the picture's pixels; it may reach over the edges. */
struct view {
    int left, top, w, h;
    bool flip;
    double hue, saturation, exposure;
    enum blur_kind blur;
    int kernel;
    double noise;
};
/* corner 0..3 (top left, top right, bottom left, bottom right): with equal chances the view stays, or the picture moves
 * into this corner of it, as mosaic's tiles want it; -1: it stays. */
struct view view_random(const struct image_key *, int pass, const struct augment_options *, const struct sample *, int w,
                        int h, int corner);
/* x (c, h, w) in 0..1; truth is overwritten: at most max_boxes (0: all), in random order, in coordinates of the view. */
enum status view_render(struct ctx *, const struct view *, const struct image_key *, int pass,
                        const struct augment_options *, const struct sample *, int w, int h, float *x,
                        struct truth_list *truth);
/* The parts of view_render: its boxes, and where its columns (w) and rows (h) come from, in the sample's pixels. */
enum status view_truth(struct ctx *, const struct view *, struct rng *own, const struct augment_options *, const struct sample *,
                       int w, int h, struct truth_list *truth);
void view_taps(const struct view *, const struct sample *, int w, int h, struct tap *columns, struct tap *rows);
/* Both for an image that is one picture. */
enum status sample_augment(struct ctx *, const struct sample *, const struct augment_options *, uint64_t seed,
                           uint64_t batch, int index, int w, int h, float *x, struct truth_list *truth);

/* A factor in [1, s] or its inverse, with equal chances. */
double random_factor(struct rng *, double s);
/* Hue is turned, saturation and exposure multiply; other than three channels: exposure alone. */
void colour_shift(double hue, double saturation, double exposure, struct image *);
enum status truth_reserve(struct ctx *, struct truth_list *, int n);

#endif
