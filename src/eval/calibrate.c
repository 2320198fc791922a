#include "eval/calibrate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval/detect.h"

enum { BINS = 512, LEVELS = 255 };

/* Per layer that wants a range, per input channel. */
struct counts { uint32_t (*bin)[BINS]; };
struct watch {
    struct net *net;
    struct counts *of;
    float *values;   /* the input of one layer */
    bool counting;   /* the second look */
};

/* --- Looking ---------------------------------------------------------------------------------------------------------- */

static void widen(struct conv_range *r, int channel, const float *v, size_t n) {
    float low = r->low[channel], high = r->high[channel];
    for (size_t i = 0; i < n; ++i) {
        low = v[i] < low ? v[i] : low;
        high = v[i] > high ? v[i] : high;
    }
    r->low[channel] = low, r->high[channel] = high;
}

static void count(const struct conv_range *r, int channel, const float *v, size_t n, uint32_t *bin) {
    float low = r->low[channel], width = r->high[channel] - low, factor = width > 0 ? BINS / width : 0;
    for (size_t i = 0; i < n; ++i) {
        int k = (int)((v[i] - low) * factor);
        ++bin[k < 0 ? 0 : k >= BINS ? BINS - 1 : k];
    }
}

static enum status look(void *user, struct pass *p, const struct layer *l) {
    struct watch *w = user;
    struct conv_range *r = &w->net->range[l->index];
    if (!r->low) return ST_OK;
    const struct tensor *x = p->x[0];
    size_t cells = (size_t)x->h * (size_t)x->w;
    p->be->ops->to_nchw(p->be, x, w->values);
    for (int c = 0; c < x->c; ++c) {
        const float *v = w->values + (size_t)c * cells;
        if (w->counting) count(r, c, v, cells, w->of[l->index].bin[c]);
        else widen(r, c, v, cells);
    }
    return ST_OK;
}

static enum status watch_new(struct ctx *ctx, struct watch *w, struct net *net) {
    size_t most = 1;
    *w = (struct watch){ .net = net, .of = mem_zero(ctx, (size_t)net->n, sizeof *w->of) };
    for (int i = 0; i < net->n && w->of; ++i) {
        struct shape s = net->layer[i].in_shape[0];
        if (!net->range[i].low) continue;
        w->of[i].bin = mem_zero(ctx, (size_t)s.c, sizeof *w->of[i].bin);
        if (shape_count(s) > most) most = shape_count(s);
    }
    w->values = mem_zero(ctx, most, sizeof *w->values);
    return ctx->code;
}

static void watch_free(struct watch *w) {
    for (int i = 0; w->of && i < w->net->n; ++i) free(w->of[i].bin);
    free(w->of);
    free(w->values);
}

static enum status show_picture(struct ctx *ctx, struct net *net, const char *path) {
    struct image im = { 0 }, input = { 0 };
    TRY(image_read(ctx, path, net->opt.channels, &im));
    enum status st = detect_input(ctx, net, &im, net->opt.letter_box, &input);
    if (st == ST_OK) st = net_forward(ctx, net, input.data);
    image_free(&im);
    image_free(&input);
    return st;
}

/* --- Choosing --------------------------------------------------------------------------------------------------------- */

/* By squared error: measured against the extremes and against leaving a ten-thousandth out on either side, the logits of
 * yolo-fastest-1.1 and of a MobileNetV2-YOLOv3 are off by 0.180, 0.187, 0.186 and 0.098, 0.112, 0.110 (rms). */

/* Squared error, in bins, when bins [first, last) keep their values to LEVELS steps and the others end at the border. */
static double loss(const uint32_t *bin, int first, int last) {
    double step = (double)(last - first) / LEVELS, noise = step * step / 12, sum = 0;
    for (int k = 0; k < BINS; ++k) {
        double beyond = k < first ? first - k - .5 : k >= last ? k + .5 - last : 0;
        sum += bin[k] * (beyond > 0 ? beyond * beyond + noise : noise);
    }
    return sum;
}

static void choose(const uint32_t *bin, float *low, float *high) {
    enum { STEP = BINS / 64 };
    int first = 0, last = BINS;
    double least = loss(bin, first, last);
    for (int k = BINS - STEP; k > 0; k -= STEP) {
        double l = loss(bin, 0, k);
        if (l < least) least = l, last = k;
    }
    for (int k = STEP; k < last; k += STEP) {
        double l = loss(bin, k, last);
        if (l < least) least = l, first = k;
    }
    float width = (*high - *low) / BINS, from = *low;
    *low = from + (float)first * width;
    *high = from + (float)last * width;
}

static void choose_all(struct net *net, const struct watch *w) {
    for (int i = 0; i < net->n; ++i)
        for (int c = 0; net->range[i].low && c < net->layer[i].in_shape[0].c; ++c)
            choose(w->of[i].bin[c], &net->range[i].low[c], &net->range[i].high[c]);
}

/* --- All of it -------------------------------------------------------------------------------------------------------- */

static enum status look_at_all(struct ctx *ctx, struct net *net, struct watch *w, const struct text_list *images, int n,
                               const struct calibrate_options *opt) {
    for (int i = 0; i < 2 * n; ++i) {
        w->counting = i >= n;
        if (opt->stop && *opt->stop) return ctx_fail(ctx, ST_INTERRUPTED, "calibration: stopped after %d of %d looks at pictures, nothing was written", i, 2 * n);
        TRY(show_picture(ctx, net, images->item[(size_t)(i % n) * (size_t)images->n / (size_t)n]));
        if (opt->progress) opt->progress(opt->user, i + 1, 2 * n);
    }
    return ST_OK;
}

enum status calibrate(struct ctx *ctx, struct net *net, struct backend *be, const struct text_list *images, const struct calibrate_options *opt,
                      int *seen) {
    int n = opt->images < images->n ? opt->images : images->n;
    if (n < 1) return ctx_fail(ctx, ST_USAGE, "calibration: the list of pictures is empty");
    struct watch w = { .net = net };
    struct net_hook hook = { .user = &w, .input = look };
    enum status st = ranges_new(ctx, net);
    if (st == ST_OK) st = watch_new(ctx, &w, net);
    if (st == ST_OK) st = net_bind(ctx, net, be, NET_INFER, 1);
    if (st == ST_OK) {
        net->hook = &hook;
        st = look_at_all(ctx, net, &w, images, n, opt);
        net->hook = NULL;
    }
    net_unbind(net);
    if (st == ST_OK) choose_all(net, &w);
    else ranges_free(net);
    watch_free(&w);
    if (seen) *seen = n;
    return st;
}
