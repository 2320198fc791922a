#include "eval/recall.h"

#include <stdlib.h>

static const float THRESH = .001f, NMS = .4f;
static const double IOU = .5;

void recall_add(struct recall *r, struct detection_list *list, const struct truth_list *truth) {
    detections_nms_objectness(list, NMS);
    for (int i = 0; i < list->n; ++i) r->proposals += list->item[i].objectness > THRESH;
    for (int t = 0; t < truth->n; ++t) {
        double best = 0;
        for (int i = 0; i < list->n; ++i) {
            if (!(list->item[i].objectness > THRESH)) continue;
            double iou = box_iou(list->item[i].box, truth->item[t].box);
            if (iou > best) best = iou;
        }
        r->iou_sum += best;
        r->correct += best > IOU;
    }
    r->truths += truth->n;
    ++r->images;
}

static enum status one_image(struct ctx *ctx, struct net *net, const char *path, struct detection_list *list,
                             struct truth_list *truth, struct recall *r) {
    struct detect_options opt = { .thresh = THRESH };
    struct image im = { 0 };
    enum status st = labels_of(ctx, path, 0, false, truth); /* what is wrong with them dataset_survey tells */
    if (st == ST_OK) st = image_read(ctx, path, net->opt.channels, &im);
    if (st == ST_OK) st = detect_image(ctx, net, &im, &opt, list);
    if (st == ST_OK) recall_add(r, list, truth);
    image_free(&im);
    return st;
}

enum status recall_evaluate(struct ctx *ctx, struct net *net, const struct text_list *images,
                            void (*each)(void *user, const struct recall *so_far), void *user, struct recall *r) {
    struct detection_list list = { 0 };
    struct truth_list truth = { 0 };
    enum status st = ST_OK;
    *r = (struct recall){ 0 };
    for (int i = 0; i < images->n && st == ST_OK; ++i) {
        st = one_image(ctx, net, images->item[i], &list, &truth, r);
        if (st == ST_OK && each) each(user, r);
    }
    detections_free(&list);
    free(truth.item);
    return st;
}
