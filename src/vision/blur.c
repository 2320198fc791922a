#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "vision/image.h"

enum { MAX_KERNEL = 255 };

static int gaussian(int kernel, float tap[MAX_KERNEL]) {
    int n = kernel > MAX_KERNEL ? MAX_KERNEL : kernel;
    double sigma = 0.3 * ((n - 1) * 0.5 - 1) + 0.8, sum = 0;
    for (int i = 0; i < n; ++i) {
        double d = i - (n - 1) / 2;
        tap[i] = (float)exp(-d * d / (2 * sigma * sigma));
        sum += tap[i];
    }
    for (int i = 0; i < n; ++i) tap[i] = (float)(tap[i] / sum);
    return n;
}

/* Position i of a row of n, mirrored at its ends without repeating them. */
static int mirrored(int i, int n) {
    if (n == 1) return 0;
    while (i < 0 || i >= n) i = i < 0 ? -i : 2 * (n - 1) - i;
    return i;
}

/* One row of the horizontal pass; `wide` has room for the row and the mirrored ends. */
static void blur_row(const float *from, size_t w, const float *tap, int n, float *wide, float *restrict to) {
    int r = n / 2, end = (int)w + r;
    for (int i = -r; i < end; ++i) wide[i + r] = from[mirrored(i, (int)w)];
    memset(to, 0, w * sizeof *to);
    for (int k = 0; k < n; ++k) {
        const float *restrict at = wide + k;
        for (size_t i = 0; i < w; ++i) to[i] += tap[k] * at[i];
    }
}

enum status image_blur(struct ctx *ctx, struct image *im, int kernel) {
    float tap[MAX_KERNEL];
    size_t w = (size_t)im->w, plane = w * (size_t)im->h;
    if (kernel <= 1) return ST_OK;
    int n = gaussian(kernel, tap);
    float *rows = mem_zero(ctx, plane + w + (size_t)n, sizeof *rows), *wide = rows ? rows + plane : NULL;
    if (!rows) return ST_MEMORY;
    for (int c = 0; c < im->c; ++c) {
        float *to = im->data + (size_t)c * plane;
        for (int y = 0; y < im->h; ++y) blur_row(to + (size_t)y * w, w, tap, n, wide, rows + (size_t)y * w);
        memset(to, 0, plane * sizeof *to);
        for (int y = 0; y < im->h; ++y)
            for (int k = 0; k < n; ++k) {
                const float *restrict from = rows + (size_t)mirrored(y + k - n / 2, im->h) * w;
                float *restrict row = to + (size_t)y * w;
                for (size_t i = 0; i < w; ++i) row[i] += tap[k] * from[i];
            }
    }
    free(rows);
    return ST_OK;
}
