#include "layers/kernels.h"

#include <math.h>
#include <string.h>

int deformation_stages(enum deformation d) { return d == DEFORM_NONE ? 1 : d == DEFORM_STRETCH_SWAY ? 8 : 4; }

/* Source of target cell (x, y), about the centre: (xx*x + xy*y, yx*x + yy*y). */
struct affine { double xx, xy, yx, yy; };

/* Bilinear; returns the weight that fell outside. */
static double resample(int size, struct affine a, double *map) {
    int centre = size / 2, cells = size * size;
    double lost = 0;
    for (int y = 0; y < size; ++y)
        for (int x = 0; x < size; ++x) {
            double sx = centre + a.xx * (x - centre) + a.xy * (y - centre);
            double sy = centre + a.yx * (x - centre) + a.yy * (y - centre);
            int x0 = (int)floor(sx), y0 = (int)floor(sy);
            for (int k = 0; k < 4; ++k) {
                int cx = x0 + k % 2, cy = y0 + k / 2;
                double part = (1 - fabs(sx - cx)) * (1 - fabs(sy - cy));
                if (cx < 0 || cx >= size || cy < 0 || cy >= size) lost += part;
                else map[(y * size + x) * cells + cy * size + cx] += part;
            }
        }
    return lost;
}

static void scale_map(int size, double factor, double *map) {
    for (int i = 0; i < size * size * size * size; ++i) map[i] *= factor;
}

/* A turn by any angle; the weight lost over the border is made up for. */
static void sway(int size, double degrees, double *map) {
    double a = degrees * 3.14159265358979323846 / 180, cells = (double)size * size;
    double lost = resample(size, (struct affine){ cos(a), sin(a), -sin(a), cos(a) }, map);
    scale_map(size, cells / (cells - lost), map);
}

/* Larger about the centre; `keep_sum`: weaker by the same factor. */
static void stretch(int size, double scale, int keep_sum, double *map) {
    resample(size, (struct affine){ 1 / scale, 0, 0, 1 / scale }, map);
    if (keep_sum) scale_map(size, 1 / scale, map);
}

static void mirror(int size, double *map) {
    int cells = size * size;
    for (int y = 0; y < size; ++y)
        for (int x = 0; x < size; ++x) map[(y * size + size - 1 - x) * cells + y * size + x] = 1;
}

/* Clockwise, by quarters. */
static void rotate(int size, int quarters, double *map) {
    int cells = size * size;
    for (int y = 0; y < size; ++y)
        for (int x = 0; x < size; ++x) {
            int tx = x, ty = y;
            for (int q = 0; q < quarters; ++q) {
                int old = tx;
                tx = size - 1 - ty, ty = old;
            }
            map[(ty * size + tx) * cells + y * size + x] = 1;
        }
}

static void stage_map(enum deformation d, int s, int size, double degrees, double *map) {
    static const double alone[] = { 1, .65, .8, 1.3 }, mixed[] = { 1, .65, .8, 1.2, 1.4 };
    if (d == DEFORM_ROTATE || s == 0) {
        rotate(size, s, map);
    } else if (d == DEFORM_STRETCH) {
        stretch(size, alone[s], 1, map);
    } else if (d == DEFORM_STRETCH_SWAY && s <= 4) {
        stretch(size, mixed[s], mixed[s] > 1, map);
    } else { /* the last three: to either side, and mirrored */
        int last = deformation_stages(d) - 1;
        if (s == last) mirror(size, map);
        else sway(size, s == last - 2 ? degrees : -degrees, map);
    }
}

void deformation_maps(enum deformation d, int size, double degrees, double *maps) {
    size_t n = (size_t)size * (size_t)size, stages = (size_t)deformation_stages(d);
    memset(maps, 0, stages * n * n * sizeof *maps);
    for (int s = 0; s < (int)stages; ++s) stage_map(d, s, size, degrees, maps + (size_t)s * n * n);
}
