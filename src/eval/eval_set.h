/* Ground truth and detections of a set of pictures, from any origin: COCO JSON, KITTI label folders, or a network's run.
 * What the COCO, KITTI and VOC metrics read.  Boxes in pixels of the original picture: left, top, width, height. */
#ifndef EVAL_EVAL_SET_H
#define EVAL_EVAL_SET_H

#include <stdint.h>

#include "base/ctx.h"

struct eval_category { char *name; long long id; };            /* id: of the file it came from, else the index */
struct eval_image { char *name; long long id; double w, h; };  /* sizes: 0 when not known */
struct eval_truth {
    int image, category;
    double x, y, w, h, area;      /* area: of the object's outline where known, else w*h */
    bool crowd, difficult;        /* crowd: a region of many (COCO); difficult: excused (VOC) */
    double truncation, occlusion; /* KITTI; 0 when not known */
};
struct eval_detection { int image, category; double x, y, w, h, score; };

struct eval_set {
    int n_category, n_image, n_truth, n_detection;
    size_t category_cap, image_cap, truth_cap, detection_cap;
    struct eval_category *category;
    struct eval_image *image;
    struct eval_truth *truth;
    struct eval_detection *detection;
};
void eval_set_free(struct eval_set *);

/* Indices of the new entries in *index (may be NULL).  Names are copied. */
enum status eval_add_category(struct ctx *, struct eval_set *, const char *name, long long id, int *index);
enum status eval_add_image(struct ctx *, struct eval_set *, const char *name, long long id, double w, double h, int *index);
enum status eval_add_truth(struct ctx *, struct eval_set *, const struct eval_truth *);
enum status eval_add_detection(struct ctx *, struct eval_set *, const struct eval_detection *);
int eval_find_category(const struct eval_set *, const char *name); /* without regard to case; -1: none */

/* instances_*.json: images, annotations, categories.  The set must be empty.  A broken file, an annotation of an image or
 * category that is not listed, or one without a box is ST_FORMAT naming file and entry. */
enum status eval_read_coco_truth(struct ctx *, const char *path, struct eval_set *);
/* A results file: [{"image_id", "category_id", "bbox", "score"}, ...] of the images and categories of the set, or such a list
 * as 'annotations' of an object. */
enum status eval_read_coco_detections(struct ctx *, const char *path, struct eval_set *);
/* A folder of KITTI label files (NAME.txt); categories are the types that occur, in lower case. */
enum status eval_read_kitti_truth(struct ctx *, const char *folder, struct eval_set *);
/* A folder of KITTI files with a score in the 16th column, for the images of the set; a missing file means no detections.
 * *missing: how many were (may be NULL). */
enum status eval_read_kitti_detections(struct ctx *, const char *folder, struct eval_set *, int *missing);

/* Entries sorted by (image, category), for the metrics: order[k] are indices into the array, first[image * n_category +
 * category] where that pair's begin (one more at the end).  Within a pair: truths as in the file; detections by falling score,
 * equal scores as in the file.  Caller frees both. */
struct eval_index { int *order, *first; };
enum status eval_index_truths(struct ctx *, const struct eval_set *, struct eval_index *);
enum status eval_index_detections(struct ctx *, const struct eval_set *, struct eval_index *);
void eval_index_free(struct eval_index *);

#endif
