#include "prune/ablate.h"

#include <stdlib.h>
#include <string.h>

#include "prune/slice.h"

struct ablation {
    struct net *net;
    const struct channels *ch;
    const double *mean;
    const volatile int *stop;
    int count;                 /* images, a multiple of the batch */
    float *x, *own, *param;    /* images; the network's parameters; those of the cut */
    struct truth_list *truth;  /* per image */
    float *target;             /* target_size values per image, or NULL */
    int target_size;
    uint8_t *flags;            /* per node */
    const uint8_t **mask;
};

static size_t image_floats(const struct net *net) {
    return (size_t)net->opt.channels * (size_t)net->opt.height * (size_t)net->opt.width;
}

static enum status read_images(struct ctx *ctx, struct ablation *a, const struct score_source *src) {
    size_t floats = image_floats(a->net);
    for (int i = 0; i < a->count; ++i) {
        struct score_image im;
        TRY(src->get(src->user, ctx, (int)((long long)i * src->count / a->count), &im));
        memcpy(a->x + (size_t)i * floats, im.x, floats * sizeof *a->x);
        if (im.target && a->target) memcpy(a->target + (size_t)i * (size_t)a->target_size, im.target, (size_t)a->target_size * sizeof *a->target);
        size_t cap = 0;
        TRY(mem_grow(ctx, &a->truth[i].item, &cap, (size_t)im.truth.n + 1, sizeof *a->truth[i].item));
        if (im.truth.n) memcpy(a->truth[i].item, im.truth.item, (size_t)im.truth.n * sizeof *im.truth.item);
        a->truth[i].n = im.truth.n;
        a->truth[i].cap = (int)cap;
    }
    return ST_OK;
}

enum status ablation_open(struct ctx *ctx, struct net *net, struct backend *be, const struct channels *ch, const struct score_source *src,
                          int most, int batch, const double *mean, struct ablation **out) {
    struct ablation *a = *out = mem_zero(ctx, 1, sizeof *a);
    if (!a) return ST_MEMORY;
    *a = (struct ablation){ .net = net, .ch = ch, .mean = mean, .stop = src->stop };
    a->count = src->count < most ? src->count : most;
    while (batch > 1 && a->count % batch) --batch; /* every batch is full */
    a->x = mem_zero(ctx, (size_t)a->count * image_floats(net), sizeof *a->x);
    a->target_size = src->target_size;
    if (a->target_size) a->target = mem_zero(ctx, (size_t)a->count * (size_t)a->target_size, sizeof *a->target);
    a->truth = mem_zero(ctx, (size_t)a->count, sizeof *a->truth);
    a->own = mem_zero(ctx, net->n_param, sizeof *a->own);
    a->param = mem_zero(ctx, net->n_param, sizeof *a->param);
    a->flags = mem_zero(ctx, (size_t)ch->n_node, 1);
    a->mask = mem_zero(ctx, (size_t)net->n, sizeof *a->mask);
    enum status st = ctx->code;
    if (st == ST_OK) {
        memcpy(a->own, net->param, net->n_param * sizeof *a->own);
        for (int i = 0; i < net->n; ++i) a->mask[i] = net->layer[i].out.c ? a->flags + ch->first_node[i] : NULL;
        st = read_images(ctx, a, src);
    }
    if (st == ST_OK) st = net_bind(ctx, net, be, NET_SCORE, batch);
    if (st == ST_OK) return ST_OK;
    ablation_close(a);
    *out = NULL;
    return st;
}

static enum status mean_loss(struct ctx *ctx, struct ablation *a, double *loss) {
    double sum = 0, one;
    int batch = a->net->batch;
    for (int first = 0; first < a->count; first += batch) {
        struct net_truth truth = { .boxes = a->truth + first, .target = a->target ? a->target + (size_t)first * (size_t)a->target_size : NULL, .target_size = a->target_size };
        if (a->stop && *a->stop) return ctx_fail(ctx, ST_INTERRUPTED, "interrupted; nothing was written");
        TRY(net_forward(ctx, a->net, a->x + (size_t)first * image_floats(a->net)));
        TRY(net_loss(ctx, a->net, &truth, &one, NULL));
        sum += one;
    }
    *loss = sum / a->count; /* a batch's loss is the sum of its images' */
    return ST_OK;
}

enum status ablation_loss(struct ctx *ctx, struct ablation *a, const uint8_t *keep, double *loss) {
    struct net *net = a->net;
    memcpy(a->param, a->own, net->n_param * sizeof *a->own);
    for (int i = 0; i < a->ch->n_node; ++i) a->flags[i] = keep ? keep[a->ch->group_of[i]] : 1;
    if (keep && a->mean) slice_compensate(net, a->ch, keep, a->mean, a->param);
    memcpy(net->param, a->param, net->n_param * sizeof *a->own);
    enum status st = net_push(ctx, net);
    net->mask = keep ? a->mask : NULL;
    if (st == ST_OK) st = mean_loss(ctx, a, loss);
    net->mask = NULL;
    memcpy(net->param, a->own, net->n_param * sizeof *a->own);
    return st;
}

int ablation_images(const struct ablation *a) { return a->count; }

void ablation_close(struct ablation *a) {
    if (!a) return;
    net_unbind(a->net);
    for (int i = 0; a->truth && i < a->count; ++i) free(a->truth[i].item);
    free(a->target);
    free(a->x), free(a->truth), free(a->own), free(a->param), free(a->flags), free(a->mask), free(a);
}
