/* saliency: how much the detections inside and around the labelled boxes depend on a group (pruning.md 4). */
#include <string.h>

#include "prune/criterion.h"

static enum status score(struct ctx *ctx, const struct criterion_input *in, double *out) {
    struct saliency own, *s = in->detail ? in->detail : &own;
    TRY(saliency_score(ctx, in->net, in->be, in->channels, in->images, in->options, in->mean, s));
    memcpy(out, s->score, (size_t)in->channels->n_group * sizeof *out);
    if (s == &own) saliency_free(s);
    return ST_OK;
}

const struct criterion saliency_criterion = { "saliency", "box-weighted gradient saliency of the detections", true, true, score };
