/* Mean average precision as Darknet's `detector map` computes and prints it (darknet-compat 7.1), and the same by object
 * size at network input scale. */
#ifndef EVAL_MAP_H
#define EVAL_MAP_H

#include "data/dataset.h"
#include "eval/detect.h"

struct map_options {
    float thresh;       /* confidence for TP/FP/F1; 0.25 */
    float iou_thresh;   /* 0.5 */
    int points;         /* 0: area under the curve, 11, 101, ... */
    const int *class_map; /* as in struct detect_options: n_map classes of a head with a word tree; NULL: all */
    int n_map;
    void (*progress)(void *user, int done, int total);
    void *user;
    const volatile int *stop; /* NULL, or becomes non-zero: ST_INTERRUPTED */
    bool curves;        /* fill map_result.curve */
    /* NULL, or called after every image, in order, with its detections (above .005, suppressed) and its truths. */
    enum status (*each)(struct ctx *, void *user, int image, const struct detection_list *, const struct truth_list *);
    void *each_user;
};
struct map_class { double ap; int tp, fp, truths; };
enum { MAP_CURVE = 101 };
enum { MAP_SMALL, MAP_MEDIUM, MAP_LARGE, MAP_SIZES };  /* area at network input scale: 32^2, 96^2 */
struct map_result {
    int classes;
    struct map_class *of;          /* per class */
    float (*curve)[MAP_CURVE];     /* per class, with opt.curves, else NULL: best precision at recall >= 0, 0.01, ..., 1 */
    double map;                    /* 0..1; classes without truth count as 0, as upstream */
    double map_present;            /* mean over the classes that have truth */
    double map_size[MAP_SIZES];    /* mean over classes with truths of that size; detections matched to truths of another
                                    * size, and unmatched ones whose own area is of another size, are ignored; -1: no truth */
    int truths_size[MAP_SIZES];
    int detections, unique_truths, tp, fp, fn;
    double precision, recall, f1, avg_iou;   /* at `thresh` */
    double seconds;
};
/* net bound for INFER; any batch size is used.  images: paths; labels beside them. `difficult`: index-aligned list or NULL. */
enum status map_evaluate(struct ctx *, struct net *, const struct text_list *images, const struct text_list *difficult,
                         const struct map_options *, struct map_result *);
void map_free(struct map_result *);

/* The same from detections of any origin: begin, add image by image (boxes relative to the picture; w, h: pixels of the
 * network's input that the picture fills; difficult: truths that excuse a detection), end.  map_end takes the status so far,
 * frees the tally (which may be NULL) and, on failure, the result. */
struct map_tally;
enum status map_begin(struct ctx *, int classes, const struct map_options *, struct map_result *, struct map_tally **);
enum status map_add(struct ctx *, struct map_tally *, const struct detection_list *, const struct truth_list *truth,
                    const struct truth_list *difficult, double w, double h);
enum status map_end(struct ctx *, struct map_tally *, enum status so_far);
/* Upstream's printed block from " detections_count" to "mean average precision", byte for byte; caller frees. */
enum status map_print(struct ctx *, const struct map_result *, const struct text_list *names, const struct map_options *, char **text);

#endif
