/* How many labelled objects the proposals of a detector cover, whatever their class (darknet-compat 6.7). */
#ifndef EVAL_RECALL_H
#define EVAL_RECALL_H

#include "data/dataset.h"
#include "eval/detect.h"

struct recall { int images, truths, correct; long long proposals; double iou_sum; }; /* iou_sum: of the best ones */
/* Proposals are the boxes with objectness above .001 that suppression by objectness (.4) leaves; a truth is covered when the
 * best of them overlaps it by more than .5.  The net is bound for INFER with batch 1; pictures are always stretched. */
enum status recall_evaluate(struct ctx *, struct net *, const struct text_list *images,
                            void (*each)(void *user, const struct recall *so_far), void *user, struct recall *);
/* One picture more; `list` is suppressed on the way. */
void recall_add(struct recall *, struct detection_list *list, const struct truth_list *truth);

#endif
