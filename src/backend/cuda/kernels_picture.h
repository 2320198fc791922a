/* The network's input from pictures (backend/picture.h), a thread per pixel.  Views are those of data/augment.c and data/classify.c, with
 * its sums in its order. */
#ifndef BACKEND_CUDA_KERNELS_PICTURE_H
#define BACKEND_CUDA_KERNELS_PICTURE_H

#include "backend/cuda/element.h"
#include "backend/picture.h"
#include "base/colour.h"

/* Image n's block lies n * stride bytes behind the first one's; the input has at most PICTURE_CHANNELS channels. */
struct draw_args { const unsigned char *block; size_t stride; struct view y; };

ELEMENT_FN const struct picture_block *draw_block(const struct draw_args *a, uint32_t image) {
    return (const struct picture_block *)(const void *)(a->block + (size_t)image * a->stride);
}

ELEMENT_FN const unsigned char *draw_at(const struct picture_block *b, size_t offset) { return (const unsigned char *)b + offset; }

/* x, y: in the part's rectangle. */
ELEMENT_FN void draw_view(const struct picture_block *b, const struct picture_part *p, int x, int y, int channels, float *v) {
    const struct tap *taps = (const struct tap *)(const void *)draw_at(b, p->taps), *tx = taps + x, *ty = taps + p->w + y;
    const unsigned char *upper = draw_at(b, p->pixels) + (size_t)ty->a * (size_t)p->columns * (size_t)channels;
    const unsigned char *lower = draw_at(b, p->pixels) + (size_t)ty->b * (size_t)p->columns * (size_t)channels;
    size_t left = (size_t)tx->a * (size_t)channels, right = (size_t)tx->b * (size_t)channels;
    float wa = ty->wa / 255, wb = ty->wb / 255;
    int k;
    for (k = 0; k < PICTURE_CHANNELS; ++k) {
        float above, below;
        if (k >= channels) continue;
        above = tx->wa * upper[left + (size_t)k] + tx->wb * upper[right + (size_t)k] + tx->outside * p->outside[k];
        below = tx->wa * lower[left + (size_t)k] + tx->wb * lower[right + (size_t)k] + tx->outside * p->outside[k];
        v[k] = wa * above + wb * below + ty->outside * p->outside[k] / 255;
    }
}

/* x, y: in the image. */
ELEMENT_FN void draw_turn(const struct picture_block *b, const struct picture_part *p, int x, int y, int channels, float *v) {
    const struct turn *t = &p->turn;
    double px = (t->x0 + t->xx * (x + .5) + t->xy * (y + .5)) / p->divisor - .5, py = (t->y0 + t->yx * (x + .5) + t->yy * (y + .5)) / p->divisor - .5;
    double bx = floor(px), by = floor(py);
    float fx = (float)(px - bx), fy = (float)(py - by);
    int n, k;
    for (k = 0; k < PICTURE_CHANNELS; ++k) v[k] = 0;
    if (!(bx >= -1 && by >= -1 && bx < p->columns && by < p->rows)) return;
    for (n = 0; n < 4; ++n) {
        int ix = (int)bx + (n & 1), iy = (int)by + (n >> 1);
        const unsigned char *at_;
        float weight = ((n & 1) ? fx : 1 - fx) * ((n >> 1) ? fy : 1 - fy) / 255;
        if (ix < 0 || iy < 0 || ix >= p->columns || iy >= p->rows) continue;
        at_ = draw_at(b, p->pixels) + ((size_t)iy * (size_t)p->columns + (size_t)ix) * (size_t)channels;
        for (k = 0; k < PICTURE_CHANNELS; ++k)
            if (k < channels) v[k] += weight * at_[k];
    }
}

ELEMENT_FN void draw_values(const struct picture_block *b, const struct picture_part *p, int x, int y, int channels, float *v) {
    const float *from = (const float *)(const void *)draw_at(b, p->pixels);
    int k;
    for (k = 0; k < PICTURE_CHANNELS; ++k)
        if (k < channels) v[k] = from[((size_t)k * (size_t)p->h + (size_t)y) * (size_t)p->w + (size_t)x];
}

ELEMENT_FN void draw_part(const struct picture_block *b, const struct picture_part *p, int x, int y, int channels, float *v) {
    int k;
    if (p->kind == PART_VIEW) draw_view(b, p, x - p->x, y - p->y, channels, v);
    else if (p->kind == PART_TURN) draw_turn(b, p, x, y, channels, v);
    else draw_values(b, p, x - p->x, y - p->y, channels, v);
    if (p->colour == COLOUR_TURNED) colour_turn(&v[0], &v[1], &v[2], p->hue, p->chroma, p->exposure);
    for (k = 0; k < PICTURE_CHANNELS && p->colour == COLOUR_SCALED; ++k)
        if (k < channels) v[k] = v[k] * p->exposure > 1 ? 1 : v[k] * p->exposure;
}

/* i counts the input's cells. */
ELEMENT_FN void draw_each(const struct draw_args *a, size_t i) {
    struct place at_ = place_of_cell(&a->y, i);
    const struct picture_block *b = draw_block(a, at_.n);
    int x = (int)at_.x, y = (int)at_.y, channels = (int)a->y.c, part, k;
    float sum[PICTURE_CHANNELS] = { 0, 0, 0, 0 }, v[PICTURE_CHANNELS] = { 0, 0, 0, 0 };
    for (part = b->parts - 1; part >= 0; --part) {
        const struct picture_part *p = &b->part[part];
        if (x < p->x || y < p->y || x >= p->x + p->w || y >= p->y + p->h) continue;
        draw_part(b, p, x, y, channels, v);
        for (k = 0; k < PICTURE_CHANNELS; ++k) sum[k] += p->share * v[k];
        if (p->share >= 1) break;
    }
    for (k = 0; k < PICTURE_CHANNELS && k < channels; ++k) {
        at_.c = (uint32_t)k;
        set_at(&a->y, at_, sum[k], false);
    }
}

#endif
