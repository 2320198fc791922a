/* Images for a device that draws them (backend/picture.h): what mix.c and classify.c write in place of pixels. */
#ifndef DATA_PARTS_H
#define DATA_PARTS_H

#include "data/augment.h"

/* Where blocks lie, so that a device copies them fast; both functions are called by the loader's threads. */
struct block_memory {
    void *(*get)(void *user, size_t bytes);
    void (*put)(void *user, void *); /* NULL is fine */
    void *user;
};
/* One image in the making.  block NULL: no memory yet; it stays for the next image. */
struct parts { const struct block_memory *memory; struct picture_block *block; size_t cap; };

/* Which rectangle of a view (from_x, from_y) goes where in the image (x, y). */
struct tile { int from_x, from_y, x, y, w, h; };

enum status parts_clear(struct ctx *, struct parts *);
void parts_free(struct parts *);
/* Adds a rectangle of a view of w x h; share: see struct picture_part.  *done false: the view is one that the host has to draw (blurred,
 * noisy, or it would send far more pixels than it shows), nothing was added. */
enum status parts_view(struct ctx *, struct parts *, const struct sample *, const struct view *, int w, int h, const struct tile *,
                       float share, bool *done);
/* The same of a turned view (data/classify.h) with its colours; the tile lies in view and image at the same place. */
struct turned { struct turn turn; double hue, saturation, exposure; int kernel; /* of a blur; 0: none */ };
enum status parts_turn(struct ctx *, struct parts *, const struct sample *, const struct turned *, int w, int h, const struct tile *,
                       float share, bool *done);
/* A rectangle of a view that the host has drawn, x (c, h, w). */
enum status parts_values(struct ctx *, struct parts *, const float *x, int c, int w, int h, const struct tile *, float share);

#endif
