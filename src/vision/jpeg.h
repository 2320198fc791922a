/* JPEG through libjpeg, where the build has it: twice as fast as the portable decoder, and able to read a picture smaller. */
#ifndef VISION_JPEG_H
#define VISION_JPEG_H

#include "vision/image.h"

/* *done: whether this decoder takes such a file (no: the portable one reads it).  `small` as in pixels_read_small. */
enum status jpeg_decode(struct ctx *ctx, const char *path, const char *bytes, size_t size, int channels,
                        struct pixels_small *small, struct pixels *out, bool *done);

#endif
