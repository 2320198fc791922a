/* Pascal VOC's average precision at one overlap, over 11 recalls as in 2007 and as the area under the curve as since 2010
 * (Everingham et al. 2010, devkit VOCevaldet). */
#ifndef EVAL_VOC_METRIC_H
#define EVAL_VOC_METRIC_H

#include "eval/eval_set.h"

struct voc_figure { double ap11, area; int truths; };  /* 0..1; -1 without truths; truths: that are not difficult */
struct voc_result { double ap11, area; int n_category; struct voc_figure *category; }; /* means over categories with truths */
/* A detection is right when the truth that it covers best reaches `overlap` (0.5) and was not found before; one on a difficult
 * truth does not count. */
enum status voc_evaluate(struct ctx *, const struct eval_set *, double overlap, struct voc_result *);
void voc_free(struct voc_result *);

#endif
