/* A network: the parsed cfg, its layers with shapes, its parameters, and, once bound, its buffers on a backend.
 *
 * Ownership: net owns the document, options, layers, parameters and every buffer; backend and ctx belong to the caller.
 * Parameters: `param` is the host copy, one arena in .weights order; a bound net computes with its own copy on the
 * backend, brought up to date by net_push and read back by net_pull. */
#ifndef NET_NET_H
#define NET_NET_H

#include "layers/layer.h"

struct weights_header { int major, minor, revision; bool wide_seen; };

struct net {
    struct cfg_doc *doc;
    struct net_options opt;
    int n;
    struct layer *layer;
    float *param;
    size_t n_param;
    struct weights_view *view;     /* the file that parts of param are a view of, not to be written to; NULL: param is memory */
    struct conv_range *range;      /* per layer, low NULL where there is none: what its input holds (ranges.h); NULL: not known.
                                    * Read by net_bind; backends that compute in 8 bits need it */
    uint64_t seen;
    uint64_t seen_before;          /* images of an earlier training that `seen` no longer counts (0): heads are told of both, so that a
                                    * network which is fine-tuned does not go through their warm-up again */
    struct weights_header header;  /* of the file the weights came from */

    /* bound */
    struct backend *be;
    enum net_mode mode;
    int batch, steps;              /* images per pass; frames per sequence among them */
    real *dev_param, *dev_grad;
    struct tensor input;           /* (batch, channels, height, width) */
    bool checkpoint_activations;   /* set before net_bind with TRAIN: less memory, segments are computed twice */
    bool wants_dinput;             /* set before net_bind with SCORE: backward leaves dU/dinput in dinput */
    struct tensor dinput;
    bool host_heads;               /* set before net_bind with TRAIN: head_x and head_delta of heads are wanted */
    bool wants_dweights;           /* set before net_bind with SCORE: backward adds the gradients of convolutions' and dense
                                    * layers' weights, with batch norm folded into them, to dev_grad */
    struct tensor *y, *dy;         /* per layer; y of aliases is the input's tensor; data NULL where there is none */
    struct net_buffers *buffers;
    const uint8_t *const *mask;    /* per layer: NULL or a keep flag per output channel; the pruner's self check */
    const struct net_hook *hook;
    const struct truth_list *boxes; /* of the batch to come, for layers that look at them in training; may stay NULL */
    uint64_t seed, iteration;
    int first_image;               /* see struct pass */
    /* During net_backward, NULL: nobody asks.  From element `from` of dev_grad on everything has been queued that this pass adds. */
    void (*gradients_done)(void *user, size_t from);
    void *gradients_user;
    double loss_scale;             /* backward multiplies what losses send back by it; 0 counts as 1 */
    double *layer_seconds;         /* NULL, or net->n sums to which every forward pass adds each layer's time */
    double *backward_seconds;      /* the same of backward passes */
};

/* Parse, resolve inputs, compute shapes.  `strict`: unknown keys are errors.  net_open_doc takes the document. */
enum status net_open(struct ctx *, const char *cfg_path, bool strict, struct net **);
enum status net_open_doc(struct ctx *, struct cfg_doc *, bool strict, struct net **);
/* Another network of net's cfg, input size and training options, with a copy of its parameters; not bound. */
enum status net_open_twin(struct ctx *, const struct net *, struct net **);
void net_close(struct net *);

/* --- weights.c: .weights files (darknet-compat 4) --- */
enum load_policy { LOAD_WHOLE, LOAD_PREFIX };
void net_init_weights(struct net *, uint64_t seed);
/* LOAD_WHOLE: the file must hold exactly this network.  LOAD_PREFIX (training): it may end at a layer's end; *layers is how
 * many layers were read.  A file that ends inside a layer, holds more than the network, or whose values cannot be this
 * network's (NaN, negative variance) is refused: "FILE: ...".  The net is unchanged on failure. */
enum status net_load(struct ctx *, struct net *, const char *path, enum load_policy, int *layers);
/* For a network that will only run: large arrays of weights stay in the file where that holds them as they are needed, and leave memory
 * as plans take their copies.  Writing to param is a fault then.  Else like net_init_weights and LOAD_WHOLE. */
enum status net_load_to_run(struct ctx *, struct net *, const char *path, uint64_t seed, int *layers);
/* Writes header 0.2.5 and the first `layers` layers (-1: all) of the host copy. */
enum status net_save(struct ctx *, const struct net *, const char *path, int layers);
enum status net_save_bytes(struct ctx *, const struct net *, int layers, char **bytes, size_t *size); /* caller frees */

/* --- bind.c: memory and plans --- */
/* NET_TRAIN: sequences of opt.time_steps frames, which must divide `batch`; else every image stands alone. */
enum status net_bind(struct ctx *, struct net *, struct backend *, enum net_mode, int batch);
void net_unbind(struct net *);
/* Other input size: shapes, buffers and plans anew; parameters stay (a bound net pulls them first).  The net is unchanged
 * when a layer's shape or weights do not permit it. */
enum status net_resize(struct ctx *, struct net *, int w, int h);
/* The same with another number of images per pass, or to let frozen layers thaw at net->iteration. */
enum status net_rebind(struct ctx *, struct net *, int w, int h, int batch);
void net_pull(struct net *);                          /* backend -> host copy */
enum status net_push(struct ctx *, struct net *);     /* host copy -> backend; folds and packs */
enum status net_refresh(struct ctx *, struct net *);  /* backend parameters changed in place: fold and pack anew */
/* Recurrent layers forget: they go on from pass to pass where the last one ended, but in SCORE, where images stand alone.
 * A trainer calls this wherever a batch begins new sequences. */
enum status net_reset(struct ctx *, struct net *);

/* --- run.c --- */
/* x: batch images, planar (n, c, h, w), 0..1. */
enum status net_forward(struct ctx *, struct net *, const float *x);
enum status net_forward_input(struct ctx *, struct net *); /* of what `input` holds already */
/* What the images of a batch should have given: boxes for detection heads, target_size values per image for [softmax] and
 * [cost]; a network uses what its losses ask for. */
struct net_truth { const struct truth_list *boxes; const float *target; int target_size; bool adversarial; };
/* Losses of all layers that have one; *loss as Darknet counts it (their mean).  stats: per layer, may be NULL. */
enum status net_loss(struct ctx *, struct net *, const struct net_truth *, double *loss, struct loss_stats *stats);
/* The same in two steps, so that a device need not wait in between: net_loss_begin leaves what backward needs, net_loss_end, not
 * later than the next forward pass, the numbers.  net_loss_queued: numbers are not there yet. */
enum status net_loss_begin(struct ctx *, struct net *, const struct net_truth *);
bool net_loss_queued(const struct net *);
enum status net_loss_end(struct ctx *, struct net *, double *loss, struct loss_stats *stats);
/* Back-propagates head_delta of every head; TRAIN: parameter gradients are added to dev_grad, and outputs give up their
 * memory to gradients. */
enum status net_backward(struct ctx *, struct net *);
void net_clear_gradients(struct net *); /* dev_grad = 0 */
/* Between forward and backward with checkpoint_activations: where layer i begins a segment, computes it again, so that the
 * outputs of its layers can be looked at. */
enum status net_recompute(struct ctx *, struct net *, int i);
/* Output of layer i as planar floats (n, c, h, w): net->batch * c*h*w. */
void net_output(const struct net *, int layer, float *dst);
/* Index of the last layer that has an output tensor and is no head; and of the layer Darknet calls the output. */
int net_output_layer(const struct net *);

/* --- elements.c --- */
/* Bytes that a forward pass of the bound network has to move in layer i: inputs, weights, output. */
double net_layer_bytes(const struct net *, int i);

/* --- describe.c --- */
/* Darknet's table, line by line through `line`, then Total BFLOPS and avg_outputs. */
void net_describe(const struct net *, void (*line)(void *user, const char *text), void *user);
double net_flops(const struct net *);                 /* Darknet's count, per image */
size_t net_activation_count(const struct net *);      /* elements of all layer outputs, one image */
struct array_stats { double rms, mean, variance, min, max; };  /* variance over n - 1 */
struct array_stats net_param_stats(const struct net *, const struct param *); /* of the host copy */
int net_heads(const struct net *, int *layer, int cap); /* indices of detection heads; returns how many there are */

#endif
