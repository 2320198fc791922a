#include "prune/criterion_maps.h"

#include <stdlib.h>

#include "prune/criterion_weights.h"

typedef enum status map_value(struct ctx *, const float *map, int c, int h, int w, double *out);

/* Layers whose filters are judged: what they produce is looked at where at least one channel may go. */
static bool judged(const struct channels *ch, const struct layer *l) {
    bool free_ = false;
    for (int k = 0; k < l->out.c; ++k) free_ |= ch->group[channels_group(ch, l->index, k)].frozen == NULL;
    return free_ && layer_has_filters(l);
}

static enum status add_image(struct ctx *ctx, const struct criterion_input *in, map_value *value, float *map, double *own, double *of) {
    const struct channels *ch = in->channels;
    for (int i = 0; i < in->net->n; ++i) {
        const struct layer *l = &in->net->layer[i];
        if (!judged(ch, l)) continue;
        net_output(in->net, i, map);
        TRY(value(ctx, map, l->out.c, l->out.h, l->out.w, own));
        for (int k = 0; k < l->out.c; ++k) of[ch->first_node[i] + k] += own[k];
    }
    return ST_OK;
}

static enum status run_images(struct ctx *ctx, const struct criterion_input *in, map_value *value, float *map, double *own, double *of) {
    const struct score_source *src = in->images;
    int n = src->count < MAPS_IMAGES ? src->count : MAPS_IMAGES;
    for (int i = 0; i < n; ++i) {
        struct score_image im;
        if (src->stop && *src->stop) return ctx_fail(ctx, ST_INTERRUPTED, "interrupted; nothing was written");
        TRY(src->get(src->user, ctx, (int)((long long)i * src->count / n), &im));
        TRY(net_forward(ctx, in->net, im.x));
        TRY(add_image(ctx, in, value, map, own, of));
        if (src->progress) src->progress(src->progress_user, "feature maps", i + 1, n);
    }
    return ST_OK;
}

enum status criterion_by_maps(struct ctx *ctx, const struct criterion_input *in, map_value *value, double *score) {
    const struct channels *ch = in->channels;
    size_t largest = 1, channels = 1;
    if (in->images->count < 1) return ctx_fail(ctx, ST_USAGE, "no images to score on");
    for (int i = 0; i < in->net->n; ++i) {
        struct shape out = in->net->layer[i].out;
        size_t n = (size_t)out.c * (size_t)out.h * (size_t)out.w;
        if (n > largest) largest = n;
        if ((size_t)out.c > channels) channels = (size_t)out.c;
    }
    double *of = mem_zero(ctx, (size_t)ch->n_node, sizeof *of), *own = mem_zero(ctx, channels, sizeof *own);
    float *map = mem_zero(ctx, largest, sizeof *map);
    enum status st = ctx->code != ST_OK ? ctx->code : net_bind(ctx, in->net, in->be, NET_SCORE, 1);
    for (int node = 0; node < ch->n_node && st == ST_OK; ++node) of[node] = judged(ch, &in->net->layer[ch->layer_of[node]]) ? 0 : -1;
    if (st == ST_OK) st = run_images(ctx, in, value, map, own, of);
    net_unbind(in->net);
    if (st == ST_OK) {
        criterion_group_mean(ch, of, score);
        st = criterion_by_unit(ctx, ch, score);
    }
    free(of), free(own), free(map);
    return st;
}
