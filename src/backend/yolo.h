/* Target assignment and loss of [yolo] and [Gaussian_yolo] on a device: what layers/yolo_loss.c does on the host, of which the
 * backend needs to know the numbers only.  Entries of an anchor's prediction: box, objectness, classes (layers/head.h). */
#ifndef BACKEND_YOLO_H
#define BACKEND_YOLO_H

#include <stdint.h>

#include "base/overlap.h"

struct yolo_desc {
    int anchors, num, classes; /* of this head; that all heads share; */
    int box;                   /* entries before the objectness: 4, or 8 with an uncertainty behind each */
    int net_w, net_h;
    enum iou_kind iou_loss, iou_thresh_kind;
    bool new_coords, smooth, focal, first_class_decides, averages, averages_always;
    int side;                  /* -1, 0, 1: which half of its size lies between a box's centre and the point that a cell codes */
    double ignore_thresh, truth_thresh, iou_thresh, iou_normalizer, obj_normalizer, cls_normalizer, uc_normalizer, delta_normalizer;
    double max_delta, scale_x_y, label_smooth_eps;
};
/* Host arrays that go with it: width and height of `num` anchors in pixels, the numbers of this head's, a factor per class or NULL. */
struct yolo_tables { const double *size; const int32_t *number; const float *multiplier; };

/* One labelled object; class_id -1: no class of this head's, it trains nothing but keeps predictions from being background. */
struct yolo_object { struct box box; int32_t class_id, image; };

/* Sums over what was trained, for the lines that Darknet logs. */
struct yolo_sums {
    double all, box, sigma;    /* squares of deltas: of all entries, of the box's, of the uncertainties */
    double any_object;         /* objectness of all predictions */
    double iou, iou_error, giou_error, overlap, over50, over75, object, own_class; /* of assigned ones */
    long long count, boxes, rewritten;
};

#endif
