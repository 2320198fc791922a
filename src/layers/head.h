/* What the detection heads share: addressing of their planes, memory, truth handling, the focal factor.
 *
 * A head's input of one image is, per anchor, the planes x, y, w, h, objectness, class 0 .. class C-1, each
 * (H, W).  head_x holds them raw, as the convolution wrote them (batch, n*(5+C), H, W); activation happens
 * where a value is needed. */
#ifndef LAYERS_HEAD_H
#define LAYERS_HEAD_H

#include "layers/layer.h"

enum { HEAD_X, HEAD_Y, HEAD_W, HEAD_H, HEAD_OBJECT, HEAD_CLASS };

struct head_grid { int w, h, n, classes, box; /* planes before the objectness */ };
/* Where one prediction lives: its entry e is element at + e*plane of head_x and head_delta. */
struct head_cell { size_t at, plane; int anchor, row, col; };

struct head_grid head_grid(const struct layer *, int n, int classes); /* box = 4 */
int head_entries(const struct head_grid *);            /* planes of one anchor */
size_t head_image(const struct head_grid *);           /* elements of one image */
int head_predictions(const struct head_grid *);        /* of one image */
struct head_cell head_cell(const struct head_grid *, int image, int prediction);
struct head_cell head_cell_at(const struct head_grid *, int image, int anchor, int row, int col);
int head_prediction(const struct head_grid *, int anchor, int row, int col);
/* Cell of a centre coordinate; 1.0 falls into the last one. */
int head_cell_of(float centre, int cells);

float head_logistic(float x);
double head_logit(double p);                           /* -inf for p <= 0, inf for p >= 1 */
/* Focal factor for a class whose probability is p: half of -(1-p)(2p ln p + p - 1). */
float head_focal(float p);
/* Anchor number i (width 2i, height 2i+1) of a list that may be shorter than it should: 0.5, as upstream. */
double head_anchor(const struct cfg_floats *, int i);
/* A list that is there but too short for `num` anchors: a warning, and 0.5 for those missing. */
enum status head_fill_anchors(struct ctx *, const struct layer *, struct cfg_floats *, int num);
/* Overlap of two sizes put on the same centre. */
double head_size_iou(enum iou_kind, double w, double h, struct box truth);
/* a/b, or the negative NaN that upstream's logs show for 0/0. */
double head_ratio(double a, double b);

/* y = softmax(x / temperature) over n elements, `stride` apart in both; may be in place. */
void head_softmax(const float *x, size_t stride, int n, double temperature, float *y);
/* Dense truth must be there, `n` values per image: else one line that names the layer. */
enum status head_target(struct ctx *, const struct layer *, const struct loss_args *, int n);
/* Boxes must be there: else one line that names the layer. */
enum status head_boxes(struct ctx *, const struct layer *, const struct loss_args *);
/* Reads the word tree of key tree=, which must have n classes. */
enum status head_tree(struct ctx *, const struct layer *, const char *path, int n, struct word_tree **);

/* What a bound head keeps beside head_x and head_delta. */
struct head_run {
    float *multiplier;     /* per class, or NULL */
    int *map, n_map;       /* class remap of truth, or NULL */
    struct word_tree *tree;
    int *label, *label_class; /* per image and prediction: track and class of the truth assigned to it in the last loss, or -1 */
    float *embedding;      /* (batch, C, H, W) of the embedding layer, or NULL */
    struct yolo_plan *plan; /* the loss is computed where the network is: head_x and head_delta are NULL; else NULL */
    real *delta;           /* with plan: +dL/dx, laid out as the backend likes */
};
const struct word_tree *head_word_tree(const struct layer *); /* of a bound head; NULL: none */
/* A class map: one class number per line, each below `classes`.  The caller frees *map. */
enum status head_map_read(struct ctx *, const char *path, int classes, int **map, int *n);
/* The class that a truth record trains; -1 when it is none of this head's. */
int head_class(const struct layer *, int class_id, int classes);
/* For head_ops.imitate: below this share of an object, classes and box are not looked at. */
#define HEAD_SEEN 1e-3
/* Cross entropy of probability `own` where it should be `other`, less what it is at best. */
double head_divergence(double own, double other);
/* Sum of squares over all entries, and over the box entries alone. */
void head_norms(const struct layer *, const struct head_grid *, int batch, double *all, double *box);

/* Pieces of layer_ops.  head_shape: input channels must be those of the grid; `unit` names the key behind its n. */
enum status head_shape(struct ctx *, struct layer *, const struct head_grid *, const char *unit);
/* map_path: one class number per line, or NULL. */
enum status head_prepare(struct layer *, struct pass *, int classes, const char *map_path);
void head_release(struct layer *, struct backend *);
enum status head_forward(struct layer *, struct pass *);
enum status head_backward(struct layer *, struct pass *);
bool head_reads(const struct layer *);

#endif
