/* COCO's detection figures: average precision over ten overlaps, by object size, and average recall by number of detections
 * (cocodataset.org, "Detection Evaluation"; Lin et al. 2014). */
#ifndef EVAL_COCO_METRIC_H
#define EVAL_COCO_METRIC_H

#include "eval/eval_set.h"

enum coco_figure {
    COCO_AP, COCO_AP50, COCO_AP75, COCO_AP_S, COCO_AP_M, COCO_AP_L, COCO_AR1, COCO_AR10, COCO_AR100, COCO_AR_S, COCO_AR_M, COCO_AR_L,
    COCO_FIGURES
};
extern const char *const coco_figure_name[COCO_FIGURES];
/* 0..1, or -1 where there is no object to find. */
struct coco_result { double figure[COCO_FIGURES]; int n_category; double (*category)[COCO_FIGURES]; };
/* Areas in pixels of the original picture: small to 32^2, medium to 96^2, both ends inclusive. */
enum status coco_evaluate(struct ctx *, const struct eval_set *, struct coco_result *);
void coco_free(struct coco_result *);

#endif
