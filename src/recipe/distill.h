/* Distillation while a cut network is fine-tuned: the unpruned one teaches (pruning.md 9).
 *
 * Source of the idea: Hinton, Vinyals & Dean, Distilling the Knowledge in a Neural Network, arXiv 1503.02531; that what the teacher
 * sees as background teaches objectness alone: Mehta & Ozturk, Object Detection at 200 Frames per Second, arXiv 1805.06361.
 * Where on the grid it teaches is this project's own: every prediction counts by the box weights of its cell (pruning.md 3). */
#ifndef RECIPE_DISTILL_H
#define RECIPE_DISTILL_H

#include "prune/saliency.h"

struct distill {
    struct backend *be;
    struct net *teacher;          /* unbound and in its cfg's size, before and after */
    double weight;                /* lambda */
    double context, background;   /* as in saliency_options */
    float *map;
    size_t map_cap;
    int w, h;                     /* the teacher's own size, to return to */
};

/* Fails where a head of the network has no measure to teach by, or frames come in sequences. */
enum status distill_open(struct ctx *, struct distill *, struct backend *, struct net *teacher, double weight, double context,
                         double background);
/* For train_options.second_loss: the teacher looks at the same mini-batch. */
enum status distill_loss(struct ctx *, void *distill, struct net *student, const float *x, const struct truth_list *boxes, double *loss);
void distill_close(struct distill *);

#endif
