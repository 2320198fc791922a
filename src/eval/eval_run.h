/* A network's detections, and the labels beside its pictures, as an eval_set. */
#ifndef EVAL_EVAL_RUN_H
#define EVAL_EVAL_RUN_H

#include "data/dataset.h"
#include "eval/detect.h"
#include "eval/eval_set.h"

struct eval_run {
    const struct text_list *images, *names, *difficult; /* names: of the network's classes; difficult: index-aligned list or NULL */
    struct detect_options detect;
    bool have_truth;  /* the set holds ground truth already: pictures are found in it by name without folder and extension,
                       * classes by name; else labels are read and pictures, classes added */
    void (*progress)(void *user, int done, int total);
    void *user;
};
/* net: bound for INFER, batch 1.  A class that the ground truth does not know, or a picture that it lacks, is an error. */
enum status eval_run(struct ctx *, struct net *, const struct eval_run *, struct eval_set *);

#endif
