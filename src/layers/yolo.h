/* What [yolo] and [Gaussian_yolo] share: options, anchors, decoding (yolo.c) and training (yolo_loss.c).  They differ in what
 * a box is coded by, which struct yolo_form says. */
#ifndef LAYERS_YOLO_H
#define LAYERS_YOLO_H

#include <float.h>

#include "layers/head.h"

/* Which point of a box the cell's x and y give, with upstream's numbers. */
enum yolo_point { POINT_CENTER = 1, POINT_LEFT_TOP = 2, POINT_RIGHT_BOTTOM = 4 };
enum { NO_EMBEDDING = 999999 };

/* Filtering of deltas late in training (darknet-compat 1.7): keys of [net], and the averages that it keeps. */
struct yolo_rejection {
    double percentage, sigmas; /* badlabels_rejection_percentage, num_sigmas_reject_badlabels */
    int equidistant_point;
    double max, average, deviation, threshold; /* running, in this order layer_ops.memory; they outlive resizing */
};

struct yolo {
    int classes, num, max, iou_thresh_kind, iou_loss, new_coords, objectness_smooth, focal_loss, nms_kind, show_details;
    struct cfg_ints mask, counters_per_class;
    struct cfg_floats anchors;
    double jitter, resize, random, ignore_thresh, truth_thresh, iou_thresh;
    double iou_normalizer, obj_normalizer, cls_normalizer, delta_normalizer, max_delta, scale_x_y, label_smooth_eps, beta_nms;
    const char *map;
    /* [yolo] alone */
    int embedding_layer, track_history_size, dets_for_track, dets_for_show;
    double sim_thresh, track_ciou_norm;
    /* [Gaussian_yolo] alone */
    int yolo_point;
    double uc_normalizer;

    const struct yolo_form *form;
    struct yolo_rejection rejection;
};

#define YOLO_KEYS                                                                                                        \
    CFG_INT(struct yolo, classes, 20, 1, 1 << 20), CFG_INT(struct yolo, num, 1, 1, 1 << 16), CFG_INTS(struct yolo, mask), \
    CFG_FLOATS(struct yolo, anchors), CFG_INT(struct yolo, max, 200, 1, 1 << 20), CFG_FLOAT(struct yolo, jitter, .2),     \
    CFG_FLOAT(struct yolo, resize, 1), CFG_FLOAT(struct yolo, random, 0), CFG_FLOAT(struct yolo, ignore_thresh, .5),      \
    CFG_FLOAT(struct yolo, truth_thresh, 1), CFG_FLOAT(struct yolo, iou_thresh, 1),                                       \
    { .name = "iou_thresh_kind", .type = CFG_T_CHOICE, .offset = offsetof(struct yolo, iou_thresh_kind),                  \
      .def = IOU_PLAIN, .choices = yolo_iou_kinds, .lenient = true },                                                     \
    CFG_CHOICE(struct yolo, iou_loss, IOU_MSE, yolo_iou_losses), CFG_FLOAT(struct yolo, iou_normalizer, .75),             \
    CFG_FLOAT(struct yolo, obj_normalizer, 1), CFG_FLOAT(struct yolo, cls_normalizer, 1),                                 \
    CFG_FLOAT(struct yolo, delta_normalizer, 1), CFG_FLOAT(struct yolo, max_delta, FLT_MAX),                              \
    CFG_FLOAT(struct yolo, scale_x_y, 1), CFG_BOOL(struct yolo, objectness_smooth, 0),                                    \
    CFG_FLOAT(struct yolo, label_smooth_eps, 0), CFG_INTS(struct yolo, counters_per_class),                               \
    CFG_FLOAT(struct yolo, beta_nms, .6), CFG_TEXT(struct yolo, map)

extern const struct cfg_choice yolo_iou_losses[], yolo_iou_kinds[];
const char *yolo_iou_name(const struct yolo *); /* of iou_loss */

/* One loss.  delta is Darknet's: the direction that lowers the loss. */
struct yolo_job {
    const struct layer *l;
    const struct yolo *y;
    struct head_run *run;
    struct head_grid g;
    int image, net_w, net_h, n_truth;
    bool adversarial;
    const struct truth *truth;
    const float *x;
    float *delta;
    struct loss_stats *stats;
    double iou_error, giou_error;                        /* sums over assigned boxes of 1 - overlap */
    double own_class, object, any_object, over50, over75, overlap; /* sums for the log line of [Gaussian_yolo] */
    double all, box, sigma;                              /* squares of deltas: all, of boxes, of uncertainties */
};

struct yolo_form {
    int box_entries;          /* planes before the objectness: 4, or 8 with an uncertainty behind each */
    bool first_class_decides; /* COMPAT: a class delta counts as set when that of class 0 is */
    bool averages_always;     /* box deltas are averaged over the classes of a cell even with one anchor per truth */
    /* Box deltas for truth t at a cell whose present prediction is `pred`, d[box_entries], scaled by all but what is there. */
    void (*box_delta)(const struct yolo_job *, const struct head_cell *, struct box pred, struct box t, double multiplier, float *d);
    void (*summarise)(const struct yolo_job *, int batch);
};

/* Anchors: `local` counts those of this head, `number` all that the heads share. */
int yolo_anchors(const struct yolo *);
int yolo_anchor_number(const struct yolo *, int local);
/* Anchors of this head (local) that train on a box, in upstream's order: the best of all heads' anchors when it is here, then the
 * others over iou_thresh. */
int yolo_anchors_for(const struct yolo *, struct box truth, int net_w, int net_h, int *local, int cap);
/* The cell that trains on a box. */
void yolo_cell_of(const struct yolo *, const struct head_grid *, struct box truth, int *row, int *col);

struct head_grid yolo_grid(const struct layer *);
/* Plane of coordinate HEAD_X .. HEAD_H, and of its uncertainty (which only [Gaussian_yolo] has). */
int yolo_coord(const struct yolo *, int e);
int yolo_sigma(const struct yolo *, int e);
int yolo_object(const struct yolo *);
int yolo_class(const struct yolo *, int class_id);
float yolo_value(const struct yolo *, const float *x, const struct head_cell *, int plane); /* activated */
struct box yolo_box(const struct yolo *, const struct head_grid *, const float *x, const struct head_cell *, int net_w, int net_h);

/* The form of [yolo]. */
void yolo_box_delta(const struct yolo_job *, const struct head_cell *, struct box pred, struct box t, double multiplier, float *d);
void yolo_summarise(const struct yolo_job *, int batch);
/* Box deltas of an overlap loss: its gradient for x, y, w, h with Darknet's factors, as yet without iou_normalizer. */
void yolo_overlap_delta(const struct yolo *, const struct head_cell *, const float *x, struct box pred, struct box t, double *v);
/* v, or 0 when it is no number, within max_delta. */
float yolo_clipped(const struct yolo *, double v);

/* yolo_device.c: the same on backends that can.  yolo_device_prepare decides whether they shall. */
enum status yolo_device_prepare(struct layer *, struct pass *);
enum status yolo_device_loss(struct ctx *, struct layer *, const struct loss_args *);
bool yolo_loss_queued(const struct layer *);
enum status yolo_loss_end(struct ctx *, struct layer *, const struct loss_args *, struct loss_stats *);

/* Pieces of both layer_ops. */
enum status yolo_shape(struct ctx *, struct layer *, const struct yolo_form *, const struct net_options *);
enum status yolo_prepare(struct layer *, struct pass *);
enum status yolo_forward(struct layer *, struct pass *);
enum status yolo_backward(struct layer *, struct pass *);
enum status yolo_loss(struct ctx *, struct layer *, const struct loss_args *, struct loss_stats *);
void yolo_info(const struct layer *, int type_number, struct head_info *);
enum status yolo_decode(struct ctx *, const struct layer *, int image, int net_w, int net_h, float thresh, struct detection_list *);
int yolo_assign(const struct layer *, int image, struct box truth, int net_w, int net_h, int *prediction, int cap);
double yolo_utility(struct layer *, int image, int prediction, const struct truth *, const struct utility_weights *, double weight,
                    int net_w, int net_h);
double yolo_objectness(struct layer *, int image, int prediction, double weight);
double yolo_imitate(struct layer *, const struct layer *other, int image, int prediction, double weight, int net_w, int net_h);
void yolo_activate(const struct layer *, const float *raw, float *out);

#endif
