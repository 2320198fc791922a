/* chip: channel independence, the fall of the nuclear norm of a layer's maps (one row per channel) when the channel becomes
 * zero, relative to its unit (Sui et al. 2021, CHIP). */
#include "prune/criterion_maps.h"
#include "prune/spectrum.h"

static enum status independence(struct ctx *ctx, const float *map, int c, int h, int w, double *out) {
    return nuclear_loss(ctx, map, c, h * w, out);
}

static enum status score(struct ctx *ctx, const struct criterion_input *in, double *out) {
    return criterion_by_maps(ctx, in, independence, out);
}

const struct criterion chip_criterion = { "chip", "how little of a filter's feature maps the others can stand in for", NEEDS_MAPS, 0, score, NULL, false };
