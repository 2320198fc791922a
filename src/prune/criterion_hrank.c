/* hrank: mean rank of the maps that a filter produces, relative to its unit (Lin et al. 2020, HRank).
 *
 * The rank is numerical, as numpy.linalg.matrix_rank has it.  Most maps of a detector have full rank: behind leaky or linear activations
 * nothing is exactly zero, so that whole layers tie.  Between filters of one mean rank the flatness of the spectrum decides, by less
 * than one rank in one image can: of two maps with one rank, the one whose singular values are more alike carries more. */
#include <stdlib.h>

#include "prune/criterion_maps.h"
#include "prune/spectrum.h"

static enum status ranks(struct ctx *ctx, const float *map, int c, int h, int w, double *out) {
    size_t plane = (size_t)h * (size_t)w, n = (size_t)(h < w ? h : w);
    double *value = mem_zero(ctx, (size_t)c * n, sizeof *value);
    if (!value) return ST_MEMORY;
    enum status st = ST_OK;
#pragma omp parallel for schedule(dynamic)
    for (int k = 0; k < c; ++k) {
        struct ctx own = { 0 };
        enum status one = singular_values(&own, map + (size_t)k * plane, h, w, value + (size_t)k * n);
        out[k] = spectrum_rank(value + (size_t)k * n, h, w) + spectrum_flatness(value + (size_t)k * n, (int)n) / (MAPS_IMAGES + 1);
        if (one != ST_OK) {
#pragma omp critical
            st = one;
        }
    }
    free(value);
    return st == ST_OK ? ST_OK : ctx_fail(ctx, st, "the ranks of feature maps could not be had");
}

static enum status score(struct ctx *ctx, const struct criterion_input *in, double *out) {
    return criterion_by_maps(ctx, in, ranks, out);
}

const struct criterion hrank_criterion = { "hrank", "mean rank of a filter's feature maps", NEEDS_MAPS, 0, score, NULL, false };
