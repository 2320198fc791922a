#include "layers/excitation.h"

#include <math.h>
#include <stdlib.h>

double excitation_alpha(int until, uint64_t iteration, int max_batches) {
    double last = until == 1 ? max_batches : until;
    if (last <= 0 || (double)iteration > last) return 0;
    return 1 + cos(3.14159265358979323846 * (double)iteration / last);
}

static int clamp(double v, int most) { return v < 0 ? 0 : v > most ? most : (int)v; }

static void fill_box(float *cells, int w, int h, struct box b) {
    double x0 = (double)b.x - (double)b.w / 2, x1 = x0 + (double)b.w, y0 = (double)b.y - (double)b.h / 2, y1 = y0 + (double)b.h;
    int left = clamp(floor(x0 * w), w), right = clamp(ceil(x1 * w), w), top = clamp(floor(y0 * h), h), bottom = clamp(ceil(y1 * h), h);
    for (int y = top; y < bottom; ++y)
        for (int x = left; x < right; ++x) cells[y * w + x] = 1;
}

enum status excitation_map(struct pass *p, struct tensor *map) {
    size_t image = (size_t)map->h * (size_t)map->w;
    float *cells = mem_zero(p->ctx, image * (size_t)map->n, sizeof *cells);
    if (!cells) return ST_MEMORY;
    for (int n = 0; n < map->n && p->boxes; ++n)
        for (int i = 0; i < p->boxes[n].n; ++i) fill_box(cells + (size_t)n * image, map->w, map->h, p->boxes[n].item[i].box);
    p->be->ops->from_nchw(p->be, cells, map, false);
    free(cells);
    return ST_OK;
}
