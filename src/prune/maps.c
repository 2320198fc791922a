/* Box weights with context (pruning.md 3). */
#include <math.h>
#include <string.h>

#include "prune/saliency.h"

static double overlap(double a0, double a1, double b0, double b1) { return fmax(0, fmin(a1, b1) - fmax(a0, b0)); }

void saliency_map(struct box b, int w, int h, int net_w, int net_h, double context, double background, float *map) {
    if (w == 1 && h == 1) { /* place says nothing */
        map[0] = 1;
        return;
    }
    double cell_w = (double)net_w / w, cell_h = (double)net_h / h; /* input pixels */
    double left = (b.x - b.w / 2.0) * net_w, right = (b.x + b.w / 2.0) * net_w;
    double top = (b.y - b.h / 2.0) * net_h, bottom = (b.y + b.h / 2.0) * net_h;
    double side = sqrt(fmax(0, (right - left) * (bottom - top)));
    double ring = context > 0 ? fmax(fmax(context * side, 8), fmax(cell_w, cell_h)) : 0;
    int x_first = (int)fmin(w, fmax(0, floor((left - ring) / cell_w))), x_end = (int)fmax(0, fmin(w, ceil((right + ring) / cell_w)));
    int y_first = (int)fmin(h, fmax(0, floor((top - ring) / cell_h))), y_end = (int)fmax(0, fmin(h, ceil((bottom + ring) / cell_h)));
    for (int p = 0; p < w * h; ++p) map[p] = (float)background;
    for (int y = y_first; y < y_end; ++y) {
        double y0 = y * cell_h, cover_y = overlap(y0, y0 + cell_h, top, bottom) / cell_h;
        double cy = y0 + cell_h / 2, dy = fmax(fmax(top - cy, cy - bottom), 0);
        for (int x = x_first; x < x_end; ++x) {
            double x0 = x * cell_w, cover = cover_y * overlap(x0, x0 + cell_w, left, right) / cell_w;
            double cx = x0 + cell_w / 2, dx = fmax(fmax(left - cx, cx - right), 0), d = sqrt(dx * dx + dy * dy);
            double near = ring > 0 && d <= ring ? 0.5 * (1 - d / ring) : 0;
            map[y * w + x] = (float)fmax(fmax(cover, near), background);
        }
    }
}

void saliency_rows(const struct truth *object, int k, int w, int h, int net_w, int net_h, double context, double background, float *rows) {
    int cells = w * h;
    float *claimed = rows + (size_t)k * (size_t)cells, *ones = claimed + cells, low = (float)background;
    for (int p = 0; p < cells; ++p) claimed[p] = 0, ones[p] = 1;
    for (int o = 0; o < k; ++o) {
        float *map = rows + (size_t)o * (size_t)cells;
        saliency_map(object[o].box, w, h, net_w, net_h, context, background, map);
        for (int p = 0; p < cells && cells > 1; ++p) claimed[p] += map[p] > low ? map[p] : 0;
    }
    for (int o = 0; o < k; ++o) {
        float *map = rows + (size_t)o * (size_t)cells;
        for (int p = 0; p < cells; ++p) map[p] = (map[p] > low && claimed[p] > 1 ? map[p] / claimed[p] : map[p]) - low;
    }
    for (int p = 0; p < cells; ++p) claimed[p] = -fminf(1, claimed[p]);
}
