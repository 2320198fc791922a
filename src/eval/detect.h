/* From a picture to boxes: resize as the network expects, forward, decode every head, map back, suppress. */
#ifndef EVAL_DETECT_H
#define EVAL_DETECT_H

#include "net/net.h"
#include "vision/image.h"

struct detect_options {
    float thresh, nms;          /* nms <= 0: none */
    bool letter_box;
    bool default_nms;           /* plain IoU whatever nms_kind the heads ask for */
    const int *class_map;       /* n_map classes to report of a head with a word tree (head_map_read); NULL: the deepest likely one */
    int n_map;
};
/* The net is bound for INFER with batch 1 (detect_image) and `im` has the net's channel count; boxes come out relative to
 * the picture (0..1).  `list` is cleared first; list->classes is set. */
enum status detect_image(struct ctx *, struct net *, const struct image *im, const struct detect_options *, struct detection_list *list);
/* The network's input for a picture: stretched or letterboxed to the net's size, planar floats; caller frees dst->data. */
enum status detect_input(struct ctx *, const struct net *, const struct image *im, bool letter_box, struct image *dst);
/* After net_forward of a batch: detections of image `b`, whose picture was w0 x h0. */
enum status detect_collect(struct ctx *, struct net *, int b, int w0, int h0, const struct detect_options *, struct detection_list *list);

#endif
