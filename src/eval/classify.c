#include "eval/classify.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "vision/word_tree.h"

static int output_layer(const struct net *net) { return net_output_layer(net); }

enum status classify_outputs(struct ctx *ctx, const struct net *net, int *outputs) {
    int layer = output_layer(net);
    if (net_heads(net, NULL, 0) > 0)
        return ctx_fail(ctx, ST_CFG, "%s: is a detector, a classifier ends in [softmax] or [cost]", net->doc->path);
    if (layer < 0) return ctx_fail(ctx, ST_CFG, "%s: has no output", net->doc->path);
    struct shape s = net->layer[layer].out;
    *outputs = s.c * s.h * s.w;
    return ST_OK;
}

const struct word_tree *classify_tree(const struct net *net) {
    const struct layer *l = &net->layer[output_layer(net)];
    return l->ops->tree ? l->ops->tree(l) : NULL;
}

/* One forward pass, added to p. */
static enum status see(struct ctx *ctx, struct net *net, const struct image *view, int outputs, float *p) {
    int now, layer = output_layer(net);
    if (view->w != net->opt.width || view->h != net->opt.height) TRY(net_resize(ctx, net, view->w, view->h));
    TRY(classify_outputs(ctx, net, &now));
    if (now != outputs)
        return ctx_fail(ctx, ST_UNSUPPORTED, "%s: has %d outputs at %d x %d, so only its own size can be scored", net->doc->path, now,
                        view->w, view->h);
    TRY(net_forward(ctx, net, view->data));
    float *y = mem_zero(ctx, (size_t)outputs, sizeof *y);
    if (!y) return ST_MEMORY;
    net_output(net, layer, y);
    for (int i = 0; i < outputs; ++i) p[i] += y[i];
    free(y);
    return ST_OK;
}

static enum status see_crop(struct ctx *ctx, struct net *net, const struct image *im, const struct classify_options *o, int x, int y,
                            bool mirrored, int outputs, float *p) {
    struct image view = { 0 };
    TRY(image_crop(ctx, im, x, y, o->w, o->h, &view));
    if (mirrored) image_flip(&view);
    enum status st = see(ctx, net, &view, outputs, p);
    image_free(&view);
    return st;
}

static int anywhere(struct rng *r, int surplus) { return surplus < 0 ? rng_int(r, surplus, 0) : rng_int(r, 0, surplus); }

static enum status see_one(struct ctx *ctx, struct net *net, const struct image *im, const struct classify_options *o, int outputs,
                           float *p) {
    struct image r = { 0 };
    struct rng rng = rng_stream(o->draw, 0, 0);
    TRY(image_resize_shorter(ctx, im, o->w, &r));
    int x = r.w - o->w, y = r.h - o->h;
    bool random = o->view == VIEW_CROP;
    x = random ? anywhere(&rng, x) : x / 2;
    y = random ? anywhere(&rng, y) : y / 2;
    enum status st = o->view == VIEW_FULL ? see(ctx, net, &r, outputs, p) : see_crop(ctx, net, &r, o, x, y, false, outputs, p);
    image_free(&r);
    return st;
}

static enum status see_ten(struct ctx *ctx, struct net *net, const struct image *im, const struct classify_options *o, int outputs,
                           float *p) {
    enum { SURPLUS = 32 };
    static const int at[][2] = { { 0, 0 }, { SURPLUS, 0 }, { SURPLUS / 2, SURPLUS / 2 }, { 0, SURPLUS }, { SURPLUS, SURPLUS } };
    struct image r = { 0 };
    enum status st = image_resize(ctx, im, o->w + SURPLUS, o->h + SURPLUS, &r);
    for (int i = 0; i < 10 && st == ST_OK; ++i) st = see_crop(ctx, net, &r, o, at[i % 5][0], at[i % 5][1], i >= 5, outputs, p);
    image_free(&r);
    return st;
}

static enum status see_multi(struct ctx *ctx, struct net *net, const struct image *im, int outputs, float *p) {
    static const int side[] = { 224, 288, 320, 352, 384 };
    enum status st = ST_OK;
    for (int i = 0; i < 5 && st == ST_OK; ++i) {
        struct image r = { 0 };
        st = image_resize_shorter(ctx, im, side[i], &r);
        if (st == ST_OK) st = see(ctx, net, &r, outputs, p);
        if (st == ST_OK) image_flip(&r);
        if (st == ST_OK) st = see(ctx, net, &r, outputs, p);
        image_free(&r);
    }
    return st;
}

enum status classify_image(struct ctx *ctx, struct net *net, const struct image *im, const struct classify_options *o, float *p) {
    int n, views = o->view == VIEW_TEN || o->view == VIEW_MULTI ? 10 : 1;
    TRY(classify_outputs(ctx, net, &n));
    memset(p, 0, (size_t)n * sizeof *p);
    if (o->view == VIEW_TEN) TRY(see_ten(ctx, net, im, o, n, p));
    else if (o->view == VIEW_MULTI) TRY(see_multi(ctx, net, im, n, p));
    else TRY(see_one(ctx, net, im, o, n, p));
    for (int i = 0; i < n; ++i) p[i] /= (float)views;
    const struct word_tree *tree = classify_tree(net);
    if (tree) word_tree_hierarchy(tree, p, 1, o->only_leaves && !o->others);
    for (int i = 0; tree && o->only_leaves && o->others && i < n; ++i)
        if (o->others[i]) p[i] = 0;
    return ST_OK;
}

void classify_top(const float *p, int n, int k, int *index) {
    for (int i = 0; i < k; ++i) index[i] = -1;
    for (int i = 0; i < n; ++i) {
        int now = i; /* insertion: a better one moves the rest down */
        for (int j = 0; j < k; ++j) {
            if (index[j] >= 0 && !(p[now] > p[index[j]])) continue;
            int moved = index[j];
            index[j] = now;
            if (moved < 0) break;
            now = moved;
        }
    }
}

int classify_label(const struct text_list *labels, const char *path) {
    for (int i = 0; i < labels->n; ++i)
        if (strstr(path, labels->item[i])) return i;
    return -1;
}

enum status classify_check(struct ctx *ctx, const struct text_list *images, const struct text_list *labels) {
    int w, h, c;
    for (int i = 0; i < images->n; ++i) {
        if (classify_label(labels, images->item[i]) < 0)
            return ctx_fail(ctx, ST_FORMAT, "%s: no label occurs in this path, so its class is not known", images->item[i]);
        TRY(pixels_probe(ctx, images->item[i], &w, &h, &c));
    }
    return ST_OK;
}

static enum status evaluate(struct ctx *ctx, struct net *net, const struct text_list *images, const struct text_list *labels,
                            enum classify_view view, int k, const bool *others, void (*each)(void *user, const struct classify_score *),
                            void *user, struct classify_score *score, float *p, int *best) {
    struct classify_options opt = { .view = view, .w = net->opt.width, .h = net->opt.height, .only_leaves = true, .others = others };
    int outputs;
    TRY(classify_outputs(ctx, net, &outputs));
    for (int i = 0; i < images->n; ++i) {
        struct image im = { 0 };
        int truth = classify_label(labels, images->item[i]);
        TRY(image_read(ctx, images->item[i], net->opt.channels, &im));
        opt.draw = (uint64_t)i + 1;
        enum status st = classify_image(ctx, net, &im, &opt, p);
        image_free(&im);
        TRY(st);
        classify_top(p, outputs, k, best);
        ++score->images;
        score->top1 += best[0] == truth;
        for (int j = 0; j < k; ++j) score->topk += best[j] == truth;
        if (each) each(user, score);
    }
    return ST_OK;
}

enum status classify_evaluate(struct ctx *ctx, struct net *net, const struct text_list *images, const struct text_list *labels,
                              enum classify_view view, int k, const bool *others, void (*each)(void *user, const struct classify_score *),
                              void *user, struct classify_score *score) {
    int outputs;
    *score = (struct classify_score){ 0 };
    TRY(classify_outputs(ctx, net, &outputs));
    if (k > outputs) k = outputs;
    float *p = mem_zero(ctx, (size_t)outputs, sizeof *p);
    int *best = mem_zero(ctx, (size_t)k, sizeof *best);
    enum status st = p && best ? evaluate(ctx, net, images, labels, view, k, others, each, user, score, p, best) : ST_MEMORY;
    free(p);
    free(best);
    return st;
}
