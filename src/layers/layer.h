/* A layer is one section of the cfg: what the user writes, what from=-3 counts, what the weights file orders and what the
 * pruner rewrites.  A layer type is one file that ends in a `const struct layer_ops`, and one line in list.inc.
 *
 * Phases: keys_read -> inputs -> shape (no memory yet) -> prepare (buffers and plans on a backend) -> refresh (weights are
 * new) -> forward / backward -> release.  Listing, surgery and FLOP counts need only the first three. */
#ifndef LAYERS_LAYER_H
#define LAYERS_LAYER_H

#include "backend/backend.h"
#include "base/rng.h"
#include "cfg/keys.h"
#include "cfg/net_options.h"
#include "vision/box.h"

enum { LAYER_MAX_PARAM = 64, LAYER_INPUT = -1 };

/* What a pass is for.  INFER: outputs only.  SCORE: as INFER (batch norm on its rolling statistics, dropout off), and the
 * gradient of any utility with respect to activations.  TRAIN: batch statistics and parameter gradients. */
enum net_mode { NET_INFER, NET_SCORE, NET_TRAIN };

/* One stored array, in .weights order.  dim[out_axis] runs over this layer's output channels, dim[in_axis] over the
 * channels of input 0 (within one group); -1: no such axis.  Slicing, counting, loading, saving, updating are loops over these.
 * PARAM_LIMIT_STEP: its velocity stays within +-1, as for the weights of a shortcut.
 * PARAM_MATRIX: old files may hold it transposed.
 * PARAM_SHARED: the array is row `owner_row` of layer `owner` (share_index); it is stored, counted, sliced and updated there. */
enum param_role { PARAM_BIAS, PARAM_SCALE, PARAM_MEAN, PARAM_VARIANCE, PARAM_WEIGHT, PARAM_MIX /* weights of whole inputs */ };
enum { PARAM_TRAIN = 1, PARAM_DECAY = 2, PARAM_SHARED = 4, PARAM_FLIPPED = 8 /* stored with dim[0] innermost */, PARAM_LIMIT_STEP = 16, PARAM_MATRIX = 32 };
struct param {
    const char *name;
    enum param_role role;
    int dim[3], out_axis, in_axis;
    unsigned flags;
    double reverse;               /* of the update rule (struct update_range); 0: none */
    double init_mean, init_span;  /* a fresh value is init_mean + init_span * U(-1, 1) */
    size_t offset;                /* in the network's parameter arena, in elements */
    int owner, owner_row;         /* with PARAM_SHARED */
};
/* Momentum of rolling statistics: the value of upstream's GPU path, which all published weights were trained with. */
#define BN_MOMENTUM 0.99
size_t param_count(const struct param *);
bool param_owned(const struct param *); /* not PARAM_SHARED */

/* Keys that every layer accepts (darknet-compat 1.8). */
struct layer_common {
    int dontload, dontloadscales, onlyforward, stopbackward, train_only_bn, dont_update, burnin_update;
    double learning_rate, clip;
};

struct layer {
    const struct layer_ops *ops;
    const struct cfg_section *section;
    int index;
    struct layer_common common;
    int n_in;
    int *in;                      /* indices of the layers read; LAYER_INPUT: the network's input; in[0] is always there */
    struct shape *in_shape;       /* of one image: n = 1 */
    struct shape out;             /* of one image; c = 0: a head without output tensor */
    struct param param[LAYER_MAX_PARAM];
    int n_param;
    uint64_t thaw;                /* before a stopbackward=N layer: frozen in the first N iterations; N = 1: in all of them */
    bool frozen;                  /* bound for training before thaw, or onlyforward: runs as in INFER while the rest trains */
    bool only_bn;                 /* at or before a train_only_bn=1 layer: nothing but batch norm adapts */
    double flops;                 /* per image, as Darknet's table counts them */
    void *state;                  /* the type's options, ops->state_size bytes */
    void *run;                    /* the type's buffers and plans between prepare and release */
    float *head_x, *head_delta;   /* heads and losses: input and dU/dinput on the host, (batch, C, H, W) */
};

/* What a layer may touch during one pass.  Pointers of inputs that want no gradient are NULL in dx.
 * Sequences: image n of the batch is frame n / (batch/steps) of sequence n % (batch/steps), as upstream orders them. */
struct net_hook;
struct word_tree;
struct pass {
    struct ctx *ctx;
    struct backend *be;
    enum net_mode mode;
    int batch, net_w, net_h;
    int first_image;              /* place of image 0 in a mini-batch of which other devices compute the rest; draws go by it */
    int steps;                    /* frames per sequence; divides batch; 1 without recurrence */
    struct tensor **x, *y;
    struct tensor **dx, *dy;
    const bool *add;              /* per input: add to dx (somebody has written it) instead of overwriting */
    real *param[LAYER_MAX_PARAM], *grad[LAYER_MAX_PARAM];
    real *scratch;                /* room for the largest input of any layer; free between two layers */
    real *kept;                   /* what ops->kept asked for; NULL without */
    const struct tensor *skip;    /* INFER: the layer itself sums it into y; NULL: nothing (see layer_ops.sums) */
    bool again;                   /* the second forward pass of this batch: statistics have been taken */
    uint64_t seed, iteration;
    double loss_scale;            /* what losses send back is multiplied by it; head_delta has been already */
    int max_batches;
    const struct truth_list *boxes; /* of every image, for layers that look at them in training; NULL: not known */
    const struct net_hook *hook;  /* may be NULL */
    bool host_heads;              /* TRAIN: somebody looks at head_x and head_delta, so losses stay on the host */
    const struct conv_range *range; /* what x[0] is expected to hold; NULL: not known */
};

/* reader: sees the gradient that one convolution (not depthwise) sends to its input: where deleting a channel acts.
 * output: sees a layer's output and its whole gradient, once every reader has sent its part and before the layer's own turn; not
 * called for layers that pass their input through.  joint: sees the gradient of a [shortcut]'s sum, before its activation: where
 * removing one of its inputs acts.  input: sees what a layer is about to read in a forward pass.  Any may be NULL. */
struct net_hook {
    void *user;
    enum status (*input)(void *user, struct pass *, const struct layer *);
    enum status (*reader)(void *user, struct pass *, const struct layer *, const struct tensor *x, const struct tensor *dx);
    enum status (*output)(void *user, struct pass *, const struct layer *, const struct tensor *y, const struct tensor *dy);
    enum status (*joint)(void *user, struct pass *, const struct layer *, const struct tensor *dsum);
};

/* --- Coupling of channels for pruning (implemented by prune/channels.c). ------------------------------------------- */
struct channels;
/* Channel `a_channel` of layer a's output lives and dies with channel b_channel of layer b's.  LAYER_INPUT: frozen. */
void channels_tie(struct channels *, int a, int a_channel, int b, int b_channel);
void channels_tie_all(struct channels *, const struct layer *, int input); /* channel k <-> channel k of input */
void channels_freeze(struct channels *, int layer, const char *reason);    /* all output channels of `layer` stay */

/* --- Detection heads ------------------------------------------------------------------------------------------------ */
struct track_options { int history, for_track, for_show; double similarity, ciou_norm; };
struct head_info {
    int classes, max_boxes, predictions;   /* predictions per image: anchors * h * w */
    double jitter, resize, random;
    enum nms_kind nms_kind;
    double beta_nms;
    int type_number;                       /* upstream's layer type number, printed */
    int point;                             /* of the box that its cell holds: 1 centre, 2 left top, 4 right bottom */
    int embedding;                         /* values per embedding; 0: the head has none */
    struct track_options track;            /* of [yolo], for following objects over frames */
};
struct loss_stats { bool none; /* this layer has no loss after all (noloss=1): it does not count */ double loss, averaged /* part of loss that is a mean over count */, iou_sum, class_loss, iou_loss; int count; long long boxes, rewritten; char line[512]; };
struct loss_args {
    const struct truth_list *truth;        /* boxes: one list per image of the batch; NULL where the data has none */
    const float *target;                   /* dense truth, target_size values per image (class vector, values); or NULL */
    int target_size;
    int batch, net_w, net_h, steps;        /* steps: frames per sequence, as in struct pass */
    uint64_t seen, iteration;              /* before this batch */
    int max_batches;
    struct backend *be;
    const struct tensor *x;                /* the layer's first input */
    bool adversarial;                      /* the pass that looks for a disturbance of the input (darknet-compat 1.7, 3.4) */
};
/* The utility of one prediction for one object (pruning.md 2): obj*z_obj + cls*z_class + iou*IoU(box, truth). */
struct utility_weights { double obj, cls, iou; bool probability; /* p_obj * p_cls * IoU instead */ };

struct head_ops {
    void (*info)(const struct layer *, struct head_info *);
    /* Detections of one image above thresh, appended; boxes relative to the network input. */
    enum status (*decode)(struct ctx *, const struct layer *, int image, int net_w, int net_h, float thresh,
                          struct detection_list *);
    /* Predictions that the training assignment gives to this object; returns how many were written, at most `cap`.
     * A prediction's number: (anchor*h + row)*w + column. */
    int (*assign)(const struct layer *, int image, struct box truth, int net_w, int net_h, int *prediction, int cap);
    /* Value of the utility; its gradient times `weight` is added to head_delta. */
    double (*utility)(struct layer *, int image, int prediction, const struct truth *, const struct utility_weights *,
                      double weight, int net_w, int net_h);
    /* Objectness logit, and weight * d/dz added to head_delta when weight != 0 (background guard). */
    double (*objectness)(struct layer *, int image, int prediction, double weight);
    /* How far a prediction is from that of the same head in another network (both after forward): objectness, and, as far as the
     * other one sees an object there, classes and decoded box; by the measures that training uses.  The gradient of `weight` times
     * that is added to head_delta, as of a loss.  NULL: the head has no such measure. */
    double (*imitate)(struct layer *, const struct layer *other, int image, int prediction, double weight, int net_w, int net_h);
    /* The activated output as Darknet's network_predict returns it, one image, in place of the raw values. */
    void (*activate)(const struct layer *, const float *raw, float *out);
    /* NULL unless the head can have them: the embedding of a prediction (info.embedding values; ask only when that is not 0),
     * and the uncertainties of its x, y, w, h. */
    void (*embedding)(const struct layer *, int image, int prediction, float *dst);
    void (*uncertainty)(const struct layer *, int image, int prediction, float *dst);
};

struct layer_ops {
    const char *name, *alias;      /* section names */
    size_t state_size;
    const struct cfg_key *keys;    /* of the type, besides the common ones */
    /* Reads keys' cross relations and sets in/n_in through layer_inputs; NULL: one input, the previous layer. */
    enum status (*inputs)(struct ctx *, struct layer *);
    enum status (*shape)(struct ctx *, struct layer *, const struct layer *all, const struct net_options *);
    /* True when y can be the very tensor of input 0 in this mode.  NULL: never. */
    bool (*transparent)(const struct layer *, enum net_mode);
    /* Shortcuts of INFER on backends with views, all of them optional.
     * views: forward takes inputs and an output that are slices of the channels of wider maps.  joins: y is the inputs' channels one
     * after another, so they can be written there by whoever makes them.  window: y is a slice of input 0 from this channel on; -1:
     * it is not.  sums: y is input 0 + input 1, of one shape.  adds: forward adds pass.skip, which it may get from a layer with sums.
     * separate: every channel of y is made of the same channel of input 0 alone, by a depthwise convolution. */
    bool (*views)(const struct layer *);
    bool (*joins)(const struct layer *);
    int (*window)(const struct layer *);
    bool (*sums)(const struct layer *);
    bool (*adds)(const struct layer *);
    bool (*separate)(const struct layer *);
    /* True when inputs, output and their gradients may be of the backend's narrow_maps, each or all, outside of SCORE; NULL: they are
     * reals.  The layer touches elements through operations alone, and tells its plans what they will get. */
    bool (*narrow)(const struct layer *);
    /* Elements, of y's type, that forward leaves for backward beside y; the memory is pass.kept, the same in every pass. */
    size_t (*kept)(const struct layer *, enum net_mode, int batch);
    /* True when forward may run a second time on a batch with the same result (see pass.again).  NULL: it may not. */
    bool (*repeats)(const struct layer *);
    /* True when forward and backward ask the same of the backend in every pass while the network stays bound: no random numbers, no
     * iteration, nothing of the host's.  Such layers may be noted once and replayed (pass_ops).  NULL: they may not. */
    bool (*steady)(const struct layer *, enum net_mode);
    enum status (*prepare)(struct layer *, struct pass *);
    enum status (*refresh)(struct layer *, struct pass *);
    enum status (*forward)(struct layer *, struct pass *);
    enum status (*backward)(struct layer *, struct pass *);
    void (*release)(struct layer *, struct backend *);
    /* Forgets what earlier passes left behind (recurrent state).  NULL: the layer keeps nothing. */
    enum status (*reset)(struct layer *, struct pass *);
    /* Heads and losses: training loss as Darknet logs it, and its +gradient into head_delta (overwritten). */
    enum status (*loss)(struct ctx *, struct layer *, const struct loss_args *, struct loss_stats *);
    /* NULL, or what makes stats of a loss that was only queued; true for `loss_queued` of a bound layer whose loss is. */
    bool (*loss_queued)(const struct layer *);
    enum status (*loss_end)(struct ctx *, struct layer *, const struct loss_args *, struct loss_stats *);
    /* Running numbers of training, apart from parameters, without which a run cannot go on as if it had not stopped; returns
     * how many there are at *value.  NULL: none. */
    int (*memory)(struct layer *, double **value);
    bool only_loss;                         /* [cost]: not the network's output, which is the layer before */
    /* The word tree of a bound layer, NULL when it has none. */
    const struct word_tree *(*tree)(const struct layer *);
    /* True when backward overwrites all of dx[input] if asked to; false when it can only add.  NULL: true. */
    bool (*overwrites)(const struct layer *, int input);
    /* Which channels live and die together (pruning.md 6).  NULL: no rule, pruning stops with the layer's name. */
    void (*couple)(const struct layer *, const struct layer *all, struct channels *);
    /* Writes the new widths into the section. in/out: kept channels of input 0 and of the output. */
    enum status (*rewrite)(struct ctx *, const struct layer *, int kept_in, int kept_out, struct cfg_doc *);
    /* FLOPs of one image at other widths, for the pruner (with what Darknet's table leaves out); NULL: flops scaled by out
     * channels. */
    double (*flops_at)(const struct layer *, int in_c, int out_c);
    bool (*reads)(const struct layer *);    /* true: a reader (weights over input channels), false/NULL: passes channels on */
    void (*describe)(const struct layer *, char *text, size_t size); /* the table row behind the index */
    bool uncounted;                         /* left out of the table's avg_outputs, as upstream does */
    const struct head_ops *head;
};

/* Every layer type, by section name; NULL when unknown. */
const struct layer_ops *layer_find(const char *section);
int layer_type_count(void);
const struct layer_ops *layer_type(int i);

/* Sets the inputs from indices relative (negative) or absolute; fails naming the key when one is not an earlier layer. */
enum status layer_inputs(struct ctx *, struct layer *, const char *key, const int *index, int n);
/* Sets the output from sides that may go beyond an int; fails where their product does, as readers count elements in ints. */
enum status layer_out(struct ctx *, struct layer *, long long c, long long h, long long w);
/* Declares a parameter; call in .weights order from shape().  shape() may be called again after a resize: it starts anew. */
void layer_param(struct layer *, const struct param *);
/* True when the layer makes its channels itself, with weights of its own or shared ones: they are filters to the pruner. */
bool layer_has_filters(const struct layer *);
/* The array of a layer's weights whose rows are its output channels; NULL: it has none. */
const struct param *layer_filters(const struct layer *);
enum status layer_fail(struct ctx *, const struct layer *, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
bool layer_repeats(const struct layer *); /* for ops->repeats: always */
bool layer_steady(const struct layer *, enum net_mode); /* for ops->steady: always */
bool layer_views(const struct layer *);   /* for ops->views and ops->narrow: always */
extern const struct cfg_key layer_common_keys[];
/* Activations.  A convolution also knows those that mix channels: ACT_COUNT + an enum channel_norm, first in its table. */
extern const struct cfg_choice conv_activation_choices[];
#define activation_choices (conv_activation_choices + CHANNEL_NORM_MAXVAL)
struct tensor shape_tensor(const struct backend *, struct shape, int batch, real *data);
/* Deleting a channel acts on what its readers receive, so the pruner looks at each reader's own gradient.  A reader computes
 * what it sends to input 0 into edge_begin()'s tensor, overwriting or adding as *add says, and calls edge_end(). */
struct tensor edge_begin(const struct layer *, struct pass *, bool *add);
enum status edge_end(const struct layer *, struct pass *, const struct tensor *edge);

#endif
