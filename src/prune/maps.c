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
    for (int y = 0; y < h; ++y) {
        double y0 = y * cell_h, cover_y = overlap(y0, y0 + cell_h, top, bottom) / cell_h;
        double cy = y0 + cell_h / 2, dy = fmax(fmax(top - cy, cy - bottom), 0);
        for (int x = 0; x < w; ++x) {
            double x0 = x * cell_w, cover = cover_y * overlap(x0, x0 + cell_w, left, right) / cell_w;
            double cx = x0 + cell_w / 2, dx = fmax(fmax(left - cx, cx - right), 0), d = sqrt(dx * dx + dy * dy);
            double near = ring > 0 && d <= ring ? 0.5 * (1 - d / ring) : 0;
            map[y * w + x] = (float)fmax(fmax(cover, near), background);
        }
    }
}

void saliency_maps(const struct truth *object, int k, int w, int h, int net_w, int net_h, double context, double background, float *maps) {
    int cells = w * h;
    float *rest = maps + (size_t)k * (size_t)cells;
    for (int o = 0; o < k; ++o)
        saliency_map(object[o].box, w, h, net_w, net_h, context, background, maps + (size_t)o * (size_t)cells);
    for (int p = 0; p < cells; ++p) {
        double claimed = 0;
        for (int o = 0; o < k; ++o) claimed += maps[o * cells + p] > (float)background ? (double)maps[o * cells + p] : 0;
        rest[p] = cells == 1 ? 1 : (float)fmax(0, 1 - claimed);
        if (claimed <= 1 || cells == 1) continue;
        for (int o = 0; o < k; ++o)
            if (maps[o * cells + p] > (float)background) maps[o * cells + p] = (float)(maps[o * cells + p] / claimed);
    }
}
