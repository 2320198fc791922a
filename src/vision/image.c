#include "vision/image.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/colour.h"

static enum status check_size(struct ctx *ctx, int w, int h, int c) {
    if (w > 0 && h > 0 && c > 0) return ST_OK;
    return ctx_fail(ctx, ST_USAGE, "picture of %d x %d, %d channels: all three must be at least 1", w, h, c);
}

enum status image_new(struct ctx *ctx, int w, int h, int c, struct image *out) {
    TRY(check_size(ctx, w, h, c));
    float *data = mem_zero(ctx, (size_t)w * (size_t)h * (size_t)c, sizeof *data);
    if (!data) return ST_MEMORY;
    *out = (struct image){w, h, c, data};
    return ST_OK;
}

void image_free(struct image *im) {
    free(im->data);
    *im = (struct image){0, 0, 0, NULL};
}

enum status pixels_new(struct ctx *ctx, int w, int h, int c, struct pixels *out) {
    TRY(check_size(ctx, w, h, c));
    uint8_t *data = mem_zero(ctx, (size_t)w * (size_t)h * (size_t)c, sizeof *data);
    if (!data) return ST_MEMORY;
    *out = (struct pixels){w, h, c, data};
    return ST_OK;
}

void pixels_free(struct pixels *px) {
    free(px->data);
    *px = (struct pixels){0, 0, 0, NULL};
}

enum status image_from_pixels(struct ctx *ctx, const struct pixels *px, struct image *out) {
    TRY(image_new(ctx, px->w, px->h, px->c, out));
    size_t plane = (size_t)px->w * (size_t)px->h, channels = (size_t)px->c;
    for (size_t k = 0; k < channels; ++k) {
        float *to = out->data + k * plane;
        for (size_t i = 0; i < plane; ++i) to[i] = (float)px->data[i * channels + k] / 255.0f;
    }
    return ST_OK;
}

static float clamp01(float v) { return v > 0 ? (v < 1 ? v : 1.0f) : 0.0f; } /* NaN becomes 0 */

enum status pixels_from_image(struct ctx *ctx, const struct image *im, struct pixels *out) {
    TRY(pixels_new(ctx, im->w, im->h, im->c, out));
    size_t plane = (size_t)im->w * (size_t)im->h, channels = (size_t)im->c;
    for (size_t k = 0; k < channels; ++k) {
        const float *from = im->data + k * plane;
        for (size_t i = 0; i < plane; ++i)
            out->data[i * channels + k] = (uint8_t)(clamp01(from[i]) * 255.0f + 0.5f);
    }
    return ST_OK;
}

/* One axis of the resize: where output position i reads, and the share of the neighbour after it.  The last
 * position is the last source sample, whatever rounding makes of i * scale. */
struct tap { int at, next; float share; };

static struct tap *axis_taps(struct ctx *ctx, int from, int to) {
    struct tap *taps = mem_zero(ctx, (size_t)to, sizeof *taps);
    if (!taps) return NULL;
    float scale = to > 1 ? (float)(from - 1) / (float)(to - 1) : 0.0f;
    for (int i = 0; i < to; ++i) {
        if (i == to - 1 || from == 1) {
            taps[i] = (struct tap){from - 1, from - 1, 0.0f};
            continue;
        }
        float s = (float)i * scale;
        int at = (int)s;
        if (at > from - 1) at = from - 1;
        taps[i] = (struct tap){at, at + 1 < from ? at + 1 : at, s - (float)at};
    }
    return taps;
}

static void resize_rows(const struct image *im, const struct tap *taps, int w, float *part) {
    size_t rows = (size_t)im->h * (size_t)im->c;
    for (size_t r = 0; r < rows; ++r) {
        const float *from = im->data + r * (size_t)im->w;
        float *to = part + r * (size_t)w;
        for (int x = 0; x < w; ++x)
            to[x] = (1 - taps[x].share) * from[taps[x].at] + taps[x].share * from[taps[x].next];
    }
}

static void resize_columns(const float *part, int from_h, const struct tap *taps, struct image *out) {
    size_t w = (size_t)out->w;
    for (int k = 0; k < out->c; ++k) {
        const float *plane = part + (size_t)k * (size_t)from_h * w;
        for (int y = 0; y < out->h; ++y) {
            const float *a = plane + (size_t)taps[y].at * w, *b = plane + (size_t)taps[y].next * w;
            float share = taps[y].share, *to = out->data + ((size_t)k * (size_t)out->h + (size_t)y) * w;
            for (size_t x = 0; x < w; ++x) to[x] = (1 - share) * a[x] + share * b[x];
        }
    }
}

enum status image_resize(struct ctx *ctx, const struct image *im, int w, int h, struct image *out) {
    TRY(image_new(ctx, w, h, im->c, out));
    if (im->w == w && im->h == h) {
        memcpy(out->data, im->data, (size_t)w * (size_t)h * (size_t)im->c * sizeof *im->data);
        return ST_OK;
    }
    struct tap *columns = axis_taps(ctx, im->w, w), *rows = axis_taps(ctx, im->h, h);
    float *part = mem_zero(ctx, (size_t)w * (size_t)im->h * (size_t)im->c, sizeof *part);
    bool ready = columns && rows && part;
    if (ready) {
        resize_rows(im, columns, w, part);
        resize_columns(part, im->h, rows, out);
    } else {
        image_free(out);
    }
    free(columns);
    free(rows);
    free(part);
    return ready ? ST_OK : ST_MEMORY;
}

enum status image_letterbox(struct ctx *ctx, const struct image *im, int w, int h, struct image *out) {
    int nw = w, nh = h;
    if ((float)w / (float)im->w < (float)h / (float)im->h)
        nh = (int)((long long)im->h * w / im->w);
    else
        nw = (int)((long long)im->w * h / im->h);
    if (nw < 1) nw = 1; /* extreme shapes: upstream would paste nothing */
    if (nh < 1) nh = 1;
    struct image inner;
    TRY(image_resize(ctx, im, nw, nh, &inner));
    enum status st = image_new(ctx, w, h, im->c, out);
    if (st == ST_OK) {
        size_t total = (size_t)w * (size_t)h * (size_t)im->c;
        for (size_t i = 0; i < total; ++i) out->data[i] = 0.5f;
        int left = (w - nw) / 2, top = (h - nh) / 2;
        for (int k = 0; k < im->c; ++k)
            for (int y = 0; y < nh; ++y)
                memcpy(out->data + ((size_t)k * (size_t)h + (size_t)(top + y)) * (size_t)w + left,
                       inner.data + ((size_t)k * (size_t)nh + (size_t)y) * (size_t)nw,
                       (size_t)nw * sizeof *inner.data);
    }
    image_free(&inner);
    return st;
}

enum status image_resize_shorter(struct ctx *ctx, const struct image *im, int side, struct image *out) {
    int w = side, h = side;
    if (im->w < im->h) h = (int)((long long)im->h * side / im->w);
    else w = (int)((long long)im->w * side / im->h);
    return image_resize(ctx, im, w, h, out);
}

static int inside(int i, int n) { return i < 0 ? 0 : i < n ? i : n - 1; }

enum status image_crop(struct ctx *ctx, const struct image *im, int x, int y, int w, int h, struct image *out) {
    TRY(image_new(ctx, w, h, im->c, out));
    float *to = out->data;
    for (int k = 0; k < im->c; ++k)
        for (int row = 0; row < h; ++row) {
            const float *from = im->data + ((size_t)k * (size_t)im->h + (size_t)inside(y + row, im->h)) * (size_t)im->w;
            for (int col = 0; col < w; ++col) *to++ = from[inside(x + col, im->w)];
        }
    return ST_OK;
}

void image_flip(struct image *im) {
    size_t rows = (size_t)im->h * (size_t)im->c;
    for (size_t r = 0; r < rows; ++r) {
        float *row = im->data + r * (size_t)im->w;
        for (int a = 0, b = im->w - 1; a < b; ++a, --b) {
            float keep = row[a];
            row[a] = row[b];
            row[b] = keep;
        }
    }
}

static void distort_row(float *restrict red, float *restrict green, float *restrict blue, size_t n, float turn,
                        float chroma_scale, float exposure) {
    for (size_t i = 0; i < n; ++i) {
        float r = red[i], g = green[i], b = blue[i];
        colour_turn(&r, &g, &b, turn, chroma_scale, exposure);
        red[i] = r, green[i] = g, blue[i] = b;
    }
}

void image_distort(struct image *im, float hue, float saturation, float exposure) {
    size_t plane = (size_t)im->w * (size_t)im->h, total = plane * (size_t)im->c;
    bool change = hue < 0 || hue > 0 || saturation < 1 || saturation > 1 || exposure < 1 || exposure > 1;
    if (change && im->c == 3)
        distort_row(im->data, im->data + plane, im->data + 2 * plane, plane, 6 * (hue - floorf(hue)), saturation * exposure,
                    exposure);
    else
        for (size_t i = 0; i < total; ++i) im->data[i] = clamp01(im->data[i]);
}
