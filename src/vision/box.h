/* Boxes, their overlaps with derivatives, truth records, detections and non-maximum suppression. */
#ifndef VISION_BOX_H
#define VISION_BOX_H

#include "base/ctx.h"
#include "base/overlap.h" /* struct box, enum iou_kind, struct box_grad */

/* One labelled object.  track is -1 when unknown. */
struct truth { struct box box; int class_id; int track; };
struct truth_list { int n, cap; struct truth *item; };

/* In dense truth (class vectors, values): this entry trains nothing. */
#define TRUTH_IGNORED (-1234.f)

/* Darknet's numbers (they are printed). */
enum nms_kind { NMS_DEFAULT = 0, NMS_GREEDY = 1, NMS_DIOU = 2, NMS_CORNERS = 3 };

double box_iou(struct box a, struct box b);
double box_giou(struct box a, struct box b);
double box_diou(struct box a, struct box b); /* upstream's: IoU - (d^2/c^2)^0.6 */
double box_ciou(struct box a, struct box b);
double box_iou_of(enum iou_kind kind, struct box a, struct box b); /* MSE: plain */

/* What Darknet's training adds to its deltas (ascent direction; darknet-compat 3.4 "IoU gradient", with its signs and
 * scales: w,h not halved, DIoU's cross term, CIoU without 1/(w^2+h^2)).  COMPAT: kept, published weights were trained so. */
struct box_grad box_iou_darknet_grad(enum iou_kind kind, struct box pred, struct box truth);
/* The exact derivative of box_iou_of (DIoU as IoU - d^2/c^2, CIoU with the trade-off alpha held constant). *value: the
 * overlap whose derivative this is. */
struct box_grad box_iou_exact_grad(enum iou_kind kind, struct box pred, struct box truth, double *value);

/* A detection: one box with a probability per class. */
struct detection {
    struct box box;
    float objectness;
    float *prob;   /* classes entries; 0 = not above the threshold, or suppressed */
    int best_class; /* filled by region heads, else -1 */
    int head, prediction; /* the layer it comes from and the prediction's number there; -1: unknown */
};
/* class_map: from a [region] with a word tree, prob[j] is that of class class_map[j] (`classes` entries); NULL: of class j. */
struct detection_list { int n, cap, classes; struct detection *item; const int *class_map; };

enum status detections_add(struct ctx *ctx, struct detection_list *list, struct detection **out); /* prob zeroed */
void detections_clear(struct detection_list *list);  /* keeps the memory */
void detections_free(struct detection_list *list);

/* Per class, in falling probability: j is dropped (its prob of that class = 0) when the overlap with a better i exceeds
 * `thresh`; what "overlap" means per kind: darknet-compat 7.2.  Entries with objectness 0 move to the end first.  The order
 * after the call is that of the last class sorted, as upstream leaves it. Equal probabilities keep their order (stable). */
void detections_nms(struct detection_list *list, float thresh, enum nms_kind kind, float beta);
/* Whatever the class, in falling objectness: a box that overlaps a better one (IoU) loses objectness and all probabilities. */
void detections_nms_objectness(struct detection_list *list, float thresh);

#endif
