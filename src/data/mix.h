/* What becomes one image of a batch: one picture, or several mixed (darknet-compat 5.6, 5.7).  Where upstream tosses one
 * coin per loader thread, every image tosses its own: the same share of mixed images, whatever the number of threads. */
#ifndef DATA_MIX_H
#define DATA_MIX_H

#include "data/augment.h"
#include "data/dataset.h"
#include "data/parts.h"

/* Where the pictures come from: the loader's cache, or the files. */
struct picture_source {
    const struct text_list *images;
    /* Picture `i`, decoded for a network input of w x h; read into *own, which the caller frees, unless it is shared.
     * ST_IO, ST_FORMAT, ST_UNSUPPORTED: there is no such picture, another one is drawn. */
    enum status (*get)(struct ctx *, void *user, int i, int w, int h, struct sample *own, const struct sample **);
    void *user;
    bool strict;                  /* a picture that cannot be had is an error */
};
/* The image's place in a sequence: frame 0 of a random start, and following ones `speed` entries of the list apart,
 * speed = 1..augment_speed.  augment_speed 0: no sequence. */
struct frame { int number, augment_speed; };

struct image_out {
    int w, h, c;
    float *x;                     /* (c, h, w) */
    struct parts *parts;          /* written instead of x; NULL: x */
    const char *path;             /* of the first picture */
};
/* An image of a detector; truth is overwritten: at most max_boxes, in coordinates of the image. */
enum status compose_boxes(struct ctx *, const struct picture_source *, const struct augment_options *,
                          const struct image_key *, struct frame, struct image_out *, struct truth_list *truth);

/* Draws the number of picture `pass` and gets it. */
enum status draw_picture(struct ctx *, const struct picture_source *, const struct image_key *, int pass, struct frame,
                         int need_w, int need_h, struct sample *own, const struct sample **, const char **path);
/* Whether this image is a mixed one. */
bool draw_mixed(const struct image_key *);
/* Mosaic's centre: 0.2 to 0.8 of each side. */
void draw_cut(struct rng *, int w, int h, int *cut_x, int *cut_y);
/* Copies a w x h rectangle of all channels from (from_x, from_y) of one image to (x, y) of another of the same size. */
void copy_rect(const struct image_out *size, const float *from, int from_x, int from_y, float *to, int x, int y, int w, int h);

#endif
