#include "eval/provoke.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_HEADS = 64, MAX_MATCHES = 64 };

/* The detection that comes closest to the object: the surest one that lies there. */
static enum status look(struct ctx *ctx, struct net *net, const struct provoke_options *o, struct detection_list *list,
                        struct provoke_result *r) {
    struct detect_options opt = { .thresh = .005f };
    TRY(detect_collect(ctx, net, 0, net->opt.width, net->opt.height, &opt, list));
    r->confidence = r->iou = 0;
    for (int i = 0; i < list->n; ++i) {
        const struct detection *d = &list->item[i];
        double iou = box_iou(d->box, o->object.box);
        if (!(iou > .5) || !(d->prob[o->object.class_id] > r->confidence)) continue;
        r->confidence = d->prob[o->object.class_id];
        r->iou = (float)iou;
    }
    return ST_OK;
}

/* The utility of what training would assign to the object, and its gradient into the heads. */
static enum status seed(struct ctx *ctx, struct net *net, const struct provoke_options *o) {
    const struct utility_weights weights = { .obj = 1, .cls = 1, .iou = 4 };
    int head[MAX_HEADS], heads = net_heads(net, head, MAX_HEADS), found = 0;
    for (int h = 0; h < heads && h < MAX_HEADS; ++h) {
        struct layer *l = &net->layer[head[h]];
        int match[MAX_MATCHES];
        if (!l->ops->head->assign || !l->ops->head->utility)
            return ctx_fail(ctx, ST_UNSUPPORTED, "[%s] cannot say how to be sure of an object", l->section->type);
        memset(l->head_delta, 0, shape_count(l->in_shape[0]) * sizeof *l->head_delta);
        int n = l->ops->head->assign(l, 0, o->object.box, net->opt.width, net->opt.height, match, MAX_MATCHES);
        for (int i = 0; i < n; ++i)
            l->ops->head->utility(l, 0, match[i], &o->object, &weights, 1, net->opt.width, net->opt.height);
        found += n;
    }
    return found ? ST_OK : ctx_fail(ctx, ST_UNSUPPORTED, "%s: no anchor of this network takes such a box", net->doc->path);
}

static float within(float v, float low, float high) { return v < low ? low : v > high ? high : v; }

static enum status climb(struct ctx *ctx, struct net *net, const struct provoke_options *o, const float *first, struct image *x,
                         float *g, struct provoke_result *r) {
    size_t n = (size_t)x->w * (size_t)x->h * (size_t)x->c;
    float largest = 0;
    TRY(seed(ctx, net, o));
    TRY(net_backward(ctx, net));
    net->be->ops->to_nchw(net->be, &net->dinput, g);
    for (size_t i = 0; i < n; ++i) largest = fmaxf(largest, fabsf(g[i]));
    if (!(largest > 0)) return ctx_fail(ctx, ST_NUMERIC, "the picture has no influence on this box");
    r->change = 0;
    for (size_t i = 0; i < n; ++i) {
        float v = x->data[i] + (g[i] > 0 ? o->step : g[i] < 0 ? -o->step : 0);
        x->data[i] = within(within(v, first[i] - o->limit, first[i] + o->limit), 0, 1);
        r->change = fmaxf(r->change, fabsf(x->data[i] - first[i]));
    }
    return ST_OK;
}

enum status provoke(struct ctx *ctx, struct net *net, const struct provoke_options *o, struct image *x,
                    void (*each)(void *user, const struct provoke_result *), void *user, struct provoke_result *r) {
    size_t n = (size_t)x->w * (size_t)x->h * (size_t)x->c;
    float *first = mem_zero(ctx, n, sizeof *first), *g = mem_zero(ctx, n, sizeof *g);
    struct detection_list list = { 0 };
    enum status st = first && g ? ST_OK : ST_MEMORY;
    *r = (struct provoke_result){ 0 };
    if (st == ST_OK) memcpy(first, x->data, n * sizeof *first);
    while (st == ST_OK) {
        st = net_forward(ctx, net, x->data);
        if (st == ST_OK) st = look(ctx, net, o, &list, r);
        if (st == ST_OK && each) each(user, r);
        if (st != ST_OK || r->confidence > o->thresh || r->rounds == o->rounds) break;
        st = climb(ctx, net, o, first, x, g, r);
        ++r->rounds;
    }
    detections_free(&list);
    free(first);
    free(g);
    return st;
}
