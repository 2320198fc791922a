/* hrank: mean rank of the maps that a filter produces, relative to its unit (Lin et al. 2020, HRank). */
#include <stdlib.h>

#include "prune/criterion_maps.h"
#include "prune/spectrum.h"

static enum status ranks(struct ctx *ctx, const float *map, int c, int h, int w, double *out) {
    size_t plane = (size_t)h * (size_t)w;
    double *a = mem_zero(ctx, (size_t)c * plane, sizeof *a);
    if (!a) return ST_MEMORY;
    for (size_t i = 0; i < (size_t)c * plane; ++i) a[i] = (double)map[i];
#pragma omp parallel for schedule(dynamic)
    for (int k = 0; k < c; ++k) out[k] = matrix_rank(a + (size_t)k * plane, h, w);
    free(a);
    return ST_OK;
}

static enum status score(struct ctx *ctx, const struct criterion_input *in, double *out) {
    return criterion_by_maps(ctx, in, ranks, out);
}

const struct criterion hrank_criterion = { "hrank", "mean rank of a filter's feature maps", NEEDS_MAPS, 0, score };
