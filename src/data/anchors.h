/* Anchors for a data set: k-means over the sizes of its boxes with distance 1 - IoU, both put on the same corner. */
#ifndef DATA_ANCHORS_H
#define DATA_ANCHORS_H

#include "data/dataset.h"
#include "vision/image.h"

struct anchor { double w, h; };

/* Sizes of all labelled boxes in pixels of a width x height network input; counts per class (`classes` entries). */
struct anchor_boxes { int n, cap; struct anchor *size; long long *per_class; int classes, images, bad_files; }; /* images: with labels */
/* classes 0: as many as the labels name.  Bad lines are left out and told as warnings. */
enum status anchors_read(struct ctx *, const struct text_list *images, int classes, int width, int height, struct anchor_boxes *);
void anchors_free(struct anchor_boxes *);

/* k clusters, sorted by area; *iou: mean overlap of the boxes with their best anchor.  k-means++ starts from `seed`, ten times;
 * the best result counts.  Rounds end when nothing changes, or after 1000.  At least k boxes of different size are needed.
 * cluster: per box the anchor it belongs to, or NULL. */
struct anchor_result { double iou; int rounds; };
enum status anchors_cluster(struct ctx *, const struct anchor *size, int n, int k, uint64_t seed, struct anchor *anchor, int *cluster,
                            struct anchor_result *);
double anchor_iou(struct anchor a, struct anchor b);
/* The boxes as dots at (width, height) in their cluster's colour, the anchors as frames; `out` is made. */
enum status anchors_draw(struct ctx *, const struct anchor *size, const int *cluster, int n, const struct anchor *anchor, int k,
                         int width, int height, struct pixels *out);

#endif
