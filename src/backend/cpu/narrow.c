#include "backend/cpu/narrow.h"

#include <math.h>
#include <stdlib.h>

#include "backend/cpu/cpu.h"
#include "backend/memory.h"

/* Steps and zeros of the input's channels.  A channel that is nearly constant gets no step below a thousandth of the widest one's:
 * its weights would be lost beside the others'. */
static void input_steps(struct narrow *n, const struct conv_range *range) {
    ptrdiff_t c = n->desc.x.c;
    float widest = 0;
    for (ptrdiff_t i = 0; i < c; ++i) widest = fmaxf(widest, fmaxf(range->high[i], 0) - fminf(range->low[i], 0));
    if (!(widest > 0)) widest = 1;
    for (ptrdiff_t i = 0; i < c; ++i) {
        float low = fminf(range->low[i], 0), width = fmaxf(fmaxf(range->high[i], 0) - low, widest / 1000);
        const char *al = getenv("ALPHA"); float a = al ? (float)atof(al) : .5f; float step = powf(width, a) * powf(widest, 1 - a) / 255;
        n->factor[i] = 1 / step;
        n->zero[i] = rintf(-low / step);
        ((uint8_t *)n->pad)[i] = (uint8_t)n->zero[i];
    }
}

bool narrow_new(struct backend *be, struct ctx *ctx, const struct narrow_ops *ops, struct narrow *n, const struct conv_desc *d, bool steps) {
    size_t in = (size_t)d->x.c + 64, out = (size_t)d->y.c + 64; /* whole vectors */
    n->desc = *d;
    n->desc.range = NULL;
    n->weights = block_alloc(be, ctx, ops->weights_size(d), sizeof *n->weights);
    n->pad = block_alloc(be, ctx, in, sizeof *n->pad);
    n->unit = block_alloc(be, ctx, out, sizeof *n->unit);
    n->offset = block_alloc(be, ctx, out, sizeof *n->offset);
    n->factor = block_alloc(be, ctx, in, sizeof *n->factor);
    n->zero = block_alloc(be, ctx, in, sizeof *n->zero);
    if (!n->weights || !n->pad || !n->unit || !n->offset || !n->factor || !n->zero) return false;
    if (steps) input_steps(n, d->range);
    return true;
}

void narrow_free(struct backend *be, struct narrow *n) {
    block_free(be, n->weights), block_free(be, n->pad), block_free(be, n->unit), block_free(be, n->offset);
    block_free(be, n->factor), block_free(be, n->zero);
}
