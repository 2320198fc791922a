/* How the images of a batch are made of pictures, for devices that draw them: the host decodes and draws the random numbers; the part
 * of a picture that an image shows travels as 8-bit pixels; resampling, colours and mixing are the device's work.
 *
 * An image is one block of bytes that may be moved as a whole: a header, then what its parts name by offsets from the block's
 * beginning.  Parts lie one over the other in their order and cover the image together. */
#ifndef BACKEND_PICTURE_H
#define BACKEND_PICTURE_H

#include <stddef.h>
#include <stdint.h>

enum { PICTURE_PARTS = 4, PICTURE_CHANNELS = 4 };

/* Where an output row or column comes from: two source positions with their weights, and the weight of the colour outside the picture.
 * wa + wb + outside = 1. */
struct tap { int32_t a, b; float wa, wb, outside; };

/* From pixels of the image to those of the whole picture: the middle of pixel (i, j) shows x = x0 + xx*(i + .5) + xy*(j + .5),
 * y = y0 + yx*(i + .5) + yy*(j + .5). */
struct turn { double xx, xy, yx, yy, x0, y0; };

enum part_kind {
    PART_VIEW,   /* an upright rectangle of the picture, by taps */
    PART_TURN,   /* a turned one, bilinear, black outside */
    PART_VALUES  /* the finished values of the part's rectangle, as floats (c, h, w) */
};
enum part_colour {
    COLOUR_KEPT,
    COLOUR_SCALED, /* value times exposure, at most 1 */
    COLOUR_TURNED  /* colour_turn by hue (0..6), chroma and exposure; of 3 channels */
};

struct picture_part {
    enum part_kind kind;
    int32_t x, y, w, h;       /* the rectangle of the image that it covers; not empty */
    float share;              /* 1: it hides the parts below; else this share of it is added to theirs */
    int32_t columns, rows;    /* the pixels that are there: interleaved, row by row */
    size_t pixels;            /* their offset; or that of the values */
    size_t taps;              /* VIEW: offset of w taps of columns and h of rows, which count the pixels that are there */
    float outside[PICTURE_CHANNELS]; /* VIEW: the colour outside, 0..255 */
    struct turn turn;
    int32_t divisor;          /* TURN: one pixel stands for divisor x divisor of the whole picture's */
    enum part_colour colour;
    float hue, chroma, exposure;
};
struct picture_block {
    size_t size;              /* bytes in all */
    int32_t parts;
    struct picture_part part[PICTURE_PARTS];
};

#endif
