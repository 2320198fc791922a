/* KITTI's 2D object figures: average precision of car, pedestrian and cyclist at three difficulties, over 11 recalls as until
 * 2019 and over 40 as since (Geiger et al. 2012; Simonelli et al. 2019, arXiv 1905.12365). */
#ifndef EVAL_KITTI_METRIC_H
#define EVAL_KITTI_METRIC_H

#include "eval/eval_set.h"

enum { KITTI_CAR, KITTI_PEDESTRIAN, KITTI_CYCLIST, KITTI_CLASSES };
enum { KITTI_EASY, KITTI_MODERATE, KITTI_HARD, KITTI_LEVELS };
extern const char *const kitti_class_name[KITTI_CLASSES], *const kitti_level_name[KITTI_LEVELS];

struct kitti_figure { double r11, r40; int truths; }; /* percent; truths: that count at this level */
struct kitti_result { struct kitti_figure of[KITTI_CLASSES][KITTI_LEVELS]; };
/* Categories by name: car, pedestrian, cyclist; van and person_sitting excuse a detection of their neighbour, dontcare areas
 * excuse any; all others do not exist. */
enum status kitti_evaluate(struct ctx *, const struct eval_set *, struct kitti_result *);

#endif
