#include "eval/detect.h"

#include <stdlib.h>

enum { MAX_HEADS = 64 };

/* Size of the part of the network's input that the picture fills when its aspect is kept
 * (darknet-compat 3.3). */
static void inner_size(int net_w, int net_h, int w0, int h0, int *w, int *h) {
    *w = net_w, *h = net_h;
    if ((float)net_w / (float)w0 < (float)net_h / (float)h0) *h = (int)((long long)h0 * net_w / w0);
    else *w = (int)((long long)w0 * net_h / h0);
}

static void undo_letterbox(struct detection_list *list, int net_w, int net_h, int w0, int h0) {
    int w, h;
    inner_size(net_w, net_h, w0, h0, &w, &h);
    double margin_x = (net_w - w) / 2. / net_w, margin_y = (net_h - h) / 2. / net_h;
    float ratio_w = (float)w / (float)net_w, ratio_h = (float)h / (float)net_h;
    for (int i = 0; i < list->n; ++i) {
        struct box *b = &list->item[i].box;
        b->x = (float)((b->x - margin_x) / ratio_w);
        b->y = (float)((b->y - margin_y) / ratio_h);
        b->w *= 1 / ratio_w;
        b->h *= 1 / ratio_h;
    }
}

enum status detect_input(struct ctx *ctx, const struct net *net, const struct image *im, bool letter_box,
                         struct image *dst) {
    int w = net->opt.width, h = net->opt.height;
    return letter_box ? image_letterbox(ctx, im, w, h, dst) : image_resize(ctx, im, w, h, dst);
}

enum status detect_collect(struct ctx *ctx, struct net *net, int b, int w0, int h0,
                           const struct detect_options *options, struct detection_list *list) {
    int heads[MAX_HEADS], n = net_heads(net, heads, MAX_HEADS), classes = 0;
    if (n > MAX_HEADS) n = MAX_HEADS;
    if (n == 0)
        return ctx_fail(ctx, ST_UNSUPPORTED, "the network has no detection head ([yolo] or [region])");
    struct head_info info = { 0 };
    bool tree = false;
    for (int i = 0; i < n; ++i) {
        const struct layer *l = &net->layer[heads[i]];
        l->ops->head->info(l, &info);
        if (info.classes > classes) classes = info.classes;
        tree = tree || (l->ops->tree && l->ops->tree(l));
    }
    list->class_map = tree ? options->class_map : NULL;
    if (list->class_map) classes = options->n_map;
    if (list->classes != classes) {
        detections_free(list); /* the items' probabilities have another length */
        list->classes = classes;
    }
    detections_clear(list);
    for (int i = 0; i < n; ++i) {
        const struct layer *l = &net->layer[heads[i]];
        TRY(l->ops->head->decode(ctx, l, b, net->opt.width, net->opt.height, options->thresh, list));
    }
    if (options->letter_box) undo_letterbox(list, net->opt.width, net->opt.height, w0, h0);
    if (options->nms > 0) {
        enum nms_kind kind = options->default_nms ? NMS_DEFAULT : info.nms_kind; /* of the last head */
        detections_nms(list, options->nms, kind, (float)info.beta_nms);
    }
    return ST_OK;
}

enum status detect_image(struct ctx *ctx, struct net *net, const struct image *im,
                         const struct detect_options *options, struct detection_list *list) {
    struct image input = { 0 };
    if (net->batch != 1)
        return ctx_fail(ctx, ST_USAGE, "detecting in one image needs a network of batch 1, not %d",
                        net->batch);
    if (im->c != net->opt.channels)
        return ctx_fail(ctx, ST_USAGE, "the image has %d channels, the network takes %d", im->c,
                        net->opt.channels);
    enum status s = detect_input(ctx, net, im, options->letter_box, &input);
    if (s == ST_OK) s = net_forward(ctx, net, input.data);
    image_free(&input);
    if (s != ST_OK) return s;
    return detect_collect(ctx, net, 0, im->w, im->h, options, list);
}
