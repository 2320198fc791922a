/* How much each layer bears: the lowest-scoring groups of one unit at a time are cut at several ratios, and loss and mAP measured
 * without any training; and, where blocks are asked about, each residual block is taken out alone. */
#ifndef RECIPE_SENSITIVITY_H
#define RECIPE_SENSITIVITY_H

#include "recipe/prune_job.h"

enum { SENSITIVITY_RATIOS = 8 };
struct sensitivity_point { int removed; double loss, map, map_size[MAP_SIZES]; };  /* loss: per image, as training logs it */
struct sensitivity_row {
    int layer;                       /* the unit's first with filters of its own */
    int layers, groups;              /* of the unit; groups that may go */
    struct sensitivity_point at[SENSITIVITY_RATIOS];
};
struct sensitivity_block {           /* a residual block that can go */
    int shortcut, first, layers;     /* its sum; the lowest layer that goes, and how many */
    double score;                    /* by the criterion, as -blocks ranks it */
    struct sensitivity_point at;     /* without its branch */
};
struct sensitivity {
    int n_ratio, images, valid;      /* how many images loss and mAP were measured on */
    double ratio[SENSITIVITY_RATIOS];
    struct sensitivity_point whole;
    int n;
    struct sensitivity_row *row;
    int n_block;                     /* with opt.blocks; else 0 */
    struct sensitivity_block *block;
};

/* Ratios as "0.25,0.5"; NULL: 0.25, 0.5 and 0.75. */
enum status sensitivity_ratios(struct ctx *, const char *text, struct sensitivity *);
/* Scores, then measures unit by unit on at most `images` images of the scoring and of the valid list each (0: all).
 * PREFIX.sensitivity.json is written after every unit and taken up with opt.loop.resume; at the end PREFIX.sensitivity.csv and .png.
 * Free with sensitivity_free. */
enum status sensitivity_run(struct ctx *, struct prune_job *, const char *prefix, int images, struct sensitivity *);
void sensitivity_free(struct sensitivity *);

#endif
