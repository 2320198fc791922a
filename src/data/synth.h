/* Procedural road scenes with YOLO labels: data to try, test and demonstrate training with, from nothing but
 * a seed. Every picture is a pure function of (seed, split, index, size); drawing is 8-bit with coverage
 * anti-aliasing, in perspective (a camera on a vehicle), far objects first so that near ones hide them. */
#ifndef DATA_SYNTH_H
#define DATA_SYNTH_H

#include "base/ctx.h"
#include "vision/box.h"
#include "vision/image.h"

enum synth_class { SYNTH_CAR, SYNTH_TRUCK, SYNTH_PEDESTRIAN, SYNTH_CYCLIST, SYNTH_LIGHT, SYNTH_CLASSES };
extern const char *const synth_class_name[SYNTH_CLASSES];

enum synth_split { SYNTH_TRAIN, SYNTH_VALID };

struct synth_options {
    const char *dir;      /* created; written into the lists as given, so they work from the current folder */
    int train, valid;     /* pictures of each split */
    int width, height;    /* at least 96 x 64 */
    uint64_t seed;
};
struct synth_options synth_defaults(const char *dir); /* 600 + 150 pictures of 416 x 256, seed 1 */

typedef void (*synth_progress)(void *user, int done, int total);

/* Writes DIR/images/train/NNNNNN.jpg and .txt beside it, DIR/images/valid/..., DIR/train.txt, DIR/valid.txt,
 * DIR/synth.names, DIR/synth.data and the empty folder DIR/backup.  Files of the same name are replaced.
 * ST_USAGE for counts or sizes that cannot be, ST_IO with the path when a file cannot be written. */
enum status synth_write(struct ctx *ctx, const struct synth_options *options, synth_progress progress,
                        void *user);

/* One picture with what is in it.  truth: boxes of the visible pixels, relative; objects that are less than a
 * quarter visible (hidden or cut by the border) or under 3 pixels wide or high are not in it.  owner (w * h):
 * 0 background and unlabelled, else 1 + index into truth of the object seen at that pixel. */
struct synth_picture {
    struct pixels px;
    struct truth_list truth;
    int *owner;
};
enum status synth_render(struct ctx *ctx, uint64_t seed, enum synth_split split, int index, int w, int h,
                         struct synth_picture *out);
void synth_picture_free(struct synth_picture *picture);

#endif
