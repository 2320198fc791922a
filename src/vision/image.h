/* Pictures: planar float RGB as Darknet works with them, and 8-bit interleaved RGB as files and screens have them.
 * Values of `struct image` are 0..1 (0..255 / 255), channel planes in RGB order, row-major: data[(c*h + y)*w + x]. */
#ifndef VISION_IMAGE_H
#define VISION_IMAGE_H

#include "base/ctx.h"

struct image { int w, h, c; float *data; };
struct pixels { int w, h, c; uint8_t *data; }; /* interleaved: data[(y*w + x)*c + channel] */

enum status image_new(struct ctx *ctx, int w, int h, int c, struct image *out); /* black */
void image_free(struct image *im);
enum status pixels_new(struct ctx *ctx, int w, int h, int c, struct pixels *out);
void pixels_free(struct pixels *px);

enum status image_from_pixels(struct ctx *ctx, const struct pixels *px, struct image *out); /* v / 255 */
enum status pixels_from_image(struct ctx *ctx, const struct image *im, struct pixels *out); /* clamp, round */

/* Reading (codec.c): JPEG, PNG, BMP, TGA, PNM, ... by content.  channels 0: as in the file; 1 or 3 converts.  JPEGs give
 * the very values that Darknet computes with, whatever libraries the build has: small detectors notice one grey level. */
enum status pixels_read(struct ctx *ctx, const char *path, int channels, struct pixels *out);
enum status image_read(struct ctx *ctx, const char *path, int channels, struct image *out);
/* For training, which does not: by the fastest decoder there is; and where the picture is much larger than what is needed of it, only every 2nd, 4th or 8th pixel is made, each
 * the mean of the block it stands for (JPEG: a shorter inverse transform).  The divisor follows from the two sizes alone. */
struct pixels_small {
    int need_w, need_h;  /* in: at least so many pixels stay; 0: the whole picture */
    int w, h, divisor;   /* out: the picture's own size; `out` has ceil(w / divisor) x ceil(h / divisor) */
};
int pixels_divisor(int w, int h, int need_w, int need_h);
enum status pixels_read_small(struct ctx *ctx, const char *path, int channels, struct pixels_small *, struct pixels *out);
/* Size and channels from the file's head; ST_FORMAT when it is no picture. */
enum status pixels_probe(struct ctx *ctx, const char *path, int *w, int *h, int *c);
/* Writing by extension: .jpg/.jpeg (quality 1..100), .png, .bmp.  Temporary name, then rename. */
enum status pixels_write(struct ctx *ctx, const char *path, const struct pixels *px, int quality);
/* A JPEG in memory; caller frees. */
enum status pixels_jpeg(struct ctx *ctx, const struct pixels *px, int quality, char **bytes, size_t *size);

/* Darknet's resize: corners aligned, bilinear, two passes (darknet-compat 5.11).  Upstream loses the bottom row for some
 * source heights; here the last row is the last source row. */
enum status image_resize(struct ctx *ctx, const struct image *im, int w, int h, struct image *out);
/* Aspect kept, centred, the rest 0.5 grey. */
enum status image_letterbox(struct ctx *ctx, const struct image *im, int w, int h, struct image *out);
/* Aspect kept, the shorter side becomes `side`. */
enum status image_resize_shorter(struct ctx *ctx, const struct image *im, int side, struct image *out);
/* The w x h window whose top left corner lies at (x, y), anywhere; outside, the border pixels go on. */
enum status image_crop(struct ctx *ctx, const struct image *im, int x, int y, int w, int h, struct image *out);
void image_flip(struct image *im); /* left-right */
/* hue is added (fraction of the circle, wraps), saturation and exposure multiply; RGB only; result clamped to 0..1. */
void image_distort(struct image *im, float hue, float saturation, float exposure);
/* Gaussian blur with `kernel` taps (odd; 1: nothing happens), deviation 0.3 * ((kernel-1)/2 - 1) + 0.8; mirrored at the border. */
enum status image_blur(struct ctx *ctx, struct image *im, int kernel);

#endif
