/* Heat maps of the images of a run, as PNG files: one per image and head, and per image and chosen layer. */
#ifndef RECIPE_HEAT_PICTURES_H
#define RECIPE_HEAT_PICTURES_H

#include "prune/heatmap.h"
#include "recipe/prune_job.h"

struct heat_options {
    const char *folder;       /* made when it is not there */
    const char *layers;       /* "10,20": seen from all heads, besides the heads' own maps; or NULL */
    const char *class_name;   /* the objects of one class alone, by name or number; NULL: all */
    int images;               /* evenly from those scored on; 0: all */
};
struct heat_tally {
    int images, files;
    int detected;             /* images without labels, whose maps are of the network's own detections */
    int empty;                /* maps left out: no object of the image is for that head */
    int without;              /* images left out: no object (of the class), no detection either */
};
/* "-heatmap_layers", "-heatmap_class" and the folder, before anything long begins. */
enum status heat_pictures_ready(struct ctx *, const struct prune_job *, const struct heat_options *);
/* A file that is there already is replaced.  job->opt's progress and stop apply. */
enum status heat_pictures_write(struct ctx *, struct prune_job *, const struct heat_options *, struct heat_tally *);

#endif
