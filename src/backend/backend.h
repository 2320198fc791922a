/* Tensors and the operations that a compute device offers.
 *
 * Layer code describes work; it never touches elements.  A tensor carries its strides, so the memory layout is the
 * backend's business: channels-last (NHWC) on the CPU, where oneDNN's convolutions run at full speed at any width.
 * The reference backend computes every operation as plain loops over strides, sums in double; in its 64-bit form elements
 * are double, too: it is the readable specification and the oracle of the tests.  Other backends start from a copy of its
 * table and overlay what they do faster.
 *
 * Conventions: x input, y output, dx = dU/dx and dy = dU/dy of the same shapes (U: what is differentiated; for training the
 * loss, so gradients are +dL/dtheta).  `add`: accumulate into the target instead of overwriting it.  Sizes are elements.
 * Pointers of type `real *` are backend memory of the backend's element type; `double *`/`float *` are host memory. */
#ifndef BACKEND_BACKEND_H
#define BACKEND_BACKEND_H

#include "backend/picture.h"
#include "backend/yolo.h"
#include "base/ctx.h"

typedef void real; /* opaque outside the backends */

struct shape { int n, c, h, w; };
/* What a tensor's elements are; what is computed with them is float in any case. */
enum element { ELEMENT_REAL /* the backend's real */, ELEMENT_HALF /* IEEE binary16 */, ELEMENT_BRAIN /* the upper half of a float */ };
struct tensor {
    int n, c, h, w;
    ptrdiff_t sn, sc, sh, sw; /* strides in elements */
    real *data;
    int spare;                /* channels-last: elements behind the channels of each pixel that belong to this tensor, too, and mean
                               * nothing: operations may overwrite them and compute with them */
    enum element type;        /* another than REAL only on backends that have it (backend.narrow_maps) */
};

/* Darknet's numbers and names; values and derivatives: darknet-compat 2.0. */
enum activation {
    ACT_LOGISTIC, ACT_RELU, ACT_RELU6, ACT_RELIE, ACT_LINEAR, ACT_RAMP, ACT_TANH, ACT_PLSE, ACT_REVLEAKY, ACT_LEAKY,
    ACT_ELU, ACT_LOGGY, ACT_STAIR, ACT_HARDTAN, ACT_LHTAN, ACT_SELU, ACT_GELU, ACT_SWISH, ACT_MISH, ACT_HARD_MISH,
    ACT_COUNT
};
const char *activation_name(enum activation a);
/* True when the derivative is taken from the input, not the output (swish, mish, hard_mish, gelu, stair). */
bool activation_needs_input(enum activation a);
double activation_value(enum activation a, double x);
/* Derivative at input x with output y = activation_value(a, x); each uses what it needs. */
double activation_slope(enum activation a, double x, double y);

/* The values that a map is expected to hold, per channel; those beyond are cut off. */
struct conv_range { float *low, *high; };

/* One convolution, cross-correlation with zero padding, on tensors of fixed shape.
 * x (N, C, H, W), w (F, C/groups, size, size), y (N, F, OH, OW);
 * OH = (H + 2*pad - dilation*(size-1) - 1)/stride_y + 1.  `pad` is in input pixels, already multiplied by dilation. */
struct conv_desc {
    struct tensor x, y;       /* shapes and strides; data is not looked at */
    int groups, size, stride_x, stride_y, dilation, pad;
    bool bias;                /* y += bias */
    enum activation act;      /* fused, after the bias */
    bool backward;            /* backward_data / backward_weights will be asked for */
    const struct conv_range *range; /* of x, for backends that may compute in 8 bits; NULL: not known.  conv_new reads it */
    bool skip;                /* conv_forward_add will be asked for, always with a dense tensor of y's layout */
    enum element skip_type;   /* and of these elements */
};
struct conv_plan;

/* Activations that mix channels (darknet-compat 2.0), and how a weighted shortcut normalises its weights (2.7). */
enum channel_norm { CHANNEL_NORM_NONE, CHANNEL_NORM_RELU, CHANNEL_NORM_SOFTMAX, CHANNEL_NORM_MAXVAL };
enum mix_norm { MIX_NORM_NONE, MIX_NORM_RELU, MIX_NORM_SOFTMAX }; /* Darknet's numbers */

/* Window of pooling; x0 = ox*stride_x + offset_x is the first input column of output column ox; cells outside are ignored. */
struct pool_desc { int size, stride_x, stride_y, offset_x, offset_y; };

/* A stretch of the parameter arena whose elements are updated alike; limits are infinite where there are none. */
struct update_range {
    size_t offset, n;
    double rate, decay, limit, clip;
    bool hold;                /* nothing moves; the gradient is dropped */
    double reverse;           /* not 0 (SGD alone): the step is sign(m) * (10|m| + 1)^reverse in place of m */
};
struct adam_rule { double scale, beta1, beta2, eps, correction1, correction2; bool decoupled; };

/* Across channels: N(c) = kappa + alpha * sum of squares over a window of `size` channels around c, y = x * N^-beta. */
struct lrn_desc { int size; double alpha, beta, kappa; };

/* A convolution whose filters differ from place to place: x (N, C, H, W), w (OH*OW, F, C*size*size), y (N, F, OH, OW). */
struct local_desc { int size, stride, pad; };

/* Where the window of one image begins, whether it is read from right to left, and what happens to its colours (images of 3
 * channels): HSV saturation and value times a factor, then an offset per channel.  1, 1, 0: nothing.
 * angle: radians that the window is turned about the middle of the picture, read bilinearly, 0 outside. */
struct crop_place { int x, y; bool flip; double saturation, exposure, shift[3], angle; };

struct backend;
struct backend_ops {
    const char *name;

    /* Memory. alloc gives zeroed memory. get/put convert between backend elements and host floats, flat. */
    real *(*alloc)(struct backend *, struct ctx *, size_t n); /* NULL and ctx error when there is none */
    void (*free)(struct backend *, real *);
    void (*get)(struct backend *, const real *src, size_t n, float *dst);
    void (*put)(struct backend *, const float *src, size_t n, real *dst);
    /* Waits for all work.  Operations without a status leave a fault of the device until this one or one that has a status. */
    enum status (*sync)(struct backend *, struct ctx *);
    /* Offset in elements into a block. */
    real *(*at)(struct backend *, real *, size_t offset);
    void (*fill)(struct backend *, struct tensor *y, double value);
    /* Between a tensor of any strides and Darknet's planar order n, c, h, w in host floats. */
    void (*to_nchw)(struct backend *, const struct tensor *x, float *dst);
    void (*from_nchw)(struct backend *, const float *src, struct tensor *y, bool add);

    /* Convolution: plan once per shape; weights are given in Darknet's order whenever they changed, and stay valid until then. */
    enum status (*conv_new)(struct backend *, struct ctx *, const struct conv_desc *, struct conv_plan **);
    void (*conv_free)(struct backend *, struct conv_plan *);
    enum status (*conv_weights)(struct backend *, struct ctx *, struct conv_plan *, const real *w);
    /* True where conv_weights keeps the caller's array and forward reads it; false: it has copied what it needs. */
    bool (*conv_borrows)(const struct conv_plan *);
    enum status (*conv_forward)(struct backend *, struct ctx *, struct conv_plan *, const struct tensor *x, const real *bias,
                                struct tensor *y);
    /* As conv_forward, then y += skip, a tensor of y's shape in other memory: the sum of a residual block. */
    enum status (*conv_forward_add)(struct backend *, struct ctx *, struct conv_plan *, const struct tensor *x, const real *bias,
                                    const struct tensor *skip, struct tensor *y);
    enum status (*conv_backward_data)(struct backend *, struct ctx *, struct conv_plan *, const struct tensor *dy,
                                      struct tensor *dx, bool add);
    /* dw += , in Darknet's weight order. */
    enum status (*conv_backward_weights)(struct backend *, struct ctx *, struct conv_plan *, const struct tensor *x,
                                         const struct tensor *dy, real *dw);

    /* Batch normalisation over n, h, w per channel, eps 1e-5 inside the root, biased variance, fused with activation:
     * y = act(scale*(x - mean)/sqrt(var + eps) + bias).  x is the convolution's output.  mean, var (C) are outputs.
     * The pre-activation is kept in `pre` when it is not NULL (activations that need their input). */
    void (*bn_forward)(struct backend *, const struct tensor *x, const real *scale, const real *bias, real *mean, real *var,
                       enum activation, struct tensor *pre, struct tensor *y);
    /* From dy (derivative after the activation) to dx (derivative at the convolution's output; may be dy's own memory);
     * dscale, dbias (C) are added to. */
    void (*bn_backward)(struct backend *, const struct tensor *x, const real *scale, const real *mean, const real *var,
                        enum activation, const struct tensor *pre, const struct tensor *y, const struct tensor *dy,
                        struct tensor *dx, real *dscale, real *dbias);
    /* rolling = momentum*rolling + (1 - momentum)*value; the variance with the unbiased correction m/(m-1) given in `factor`.  A value
     * that is no finite number changes nothing: the step that it belongs to is left out, or the last one. */
    void (*bn_roll)(struct backend *, real *rolling, const real *value, size_t n, double momentum, double factor);
    /* Folded inference weights: factor_f = scale_f/sqrt(var_f + eps); w_out = w*factor (per filter of `per` weights),
     * bias_out = bias - factor*mean. */
    void (*bn_fold)(struct backend *, const real *w, size_t per, int filters, const real *scale, const real *bias,
                    const real *mean, const real *var, real *w_out, real *bias_out);

    void (*act_forward)(struct backend *, enum activation, const struct tensor *x, struct tensor *y); /* may be in place */
    /* dx (+)= dy * slope.  x may be NULL unless activation_needs_input.  dx may be dy's own memory when !add. */
    void (*act_backward)(struct backend *, enum activation, const struct tensor *x, const struct tensor *y,
                         const struct tensor *dy, struct tensor *dx, bool add);
    /* db (C) += sum over n, h, w of dy. */
    void (*bias_backward)(struct backend *, const struct tensor *dy, real *db);

    /* Pooling.  argmax: int32 position (y*W + x) per output element, -1 for none, in the backend's own order
     * (tensor_of); NULL when not wanted. */
    void (*maxpool)(struct backend *, const struct pool_desc *, const struct tensor *x, struct tensor *y, int32_t *argmax);
    void (*maxpool_backward)(struct backend *, const struct pool_desc *, const int32_t *argmax, const struct tensor *dy,
                             struct tensor *dx); /* always adds */
    int32_t *(*alloc_index)(struct backend *, struct ctx *, size_t n);
    void (*free_index)(struct backend *, int32_t *);
    void (*avgpool)(struct backend *, const struct tensor *x, struct tensor *y);  /* over the whole map: y (N, C, 1, 1) */
    void (*avgpool_backward)(struct backend *, const struct tensor *dy, struct tensor *dx, bool add);

    /* Means over the cells of the window that exist. */
    void (*local_avgpool)(struct backend *, const struct pool_desc *, const struct tensor *x, struct tensor *y);
    void (*local_avgpool_backward)(struct backend *, const struct pool_desc *, const struct tensor *dy, struct tensor *dx,
                                   bool add);

    /* Channels [xc, xc+count) of x to [yc, yc+count) of y, times alpha; the maps have one size. */
    void (*copy_channels)(struct backend *, const struct tensor *x, int xc, struct tensor *y, int yc, int count, double alpha,
                          bool add);
    /* y[c] (+)= x[c] * weight[c or 0]: weighted shortcut, `per_channel` chooses. */
    void (*copy_weighted)(struct backend *, const struct tensor *x, const real *weight, bool per_channel, int count,
                          struct tensor *y, bool add);
    /* dw[c or 0] += sum x*dy over the first `count` channels. */
    void (*weight_backward)(struct backend *, const struct tensor *x, const struct tensor *dy, bool per_channel, int count,
                            real *dw);

    /* Nearest neighbour: y = scale * x[y/s][x/s]; negative stride: y = scale * sum of the s x s block. */
    void (*upsample)(struct backend *, const struct tensor *x, struct tensor *y, int stride, double scale);
    void (*upsample_backward)(struct backend *, const struct tensor *dy, struct tensor *dx, int stride, double scale, bool add);
    /* Space to depth: y[o*C + c][j][i] = x[c][j*s + o/s][i*s + o%s]; reverse: the inverse.  backward = the other direction,
     * with `add`. */
    void (*reorg)(struct backend *, const struct tensor *x, struct tensor *y, int stride, bool reverse, bool add);

    /* The permutation of Darknet's old reorg.  Both sides are read flat in the order c, h, w; `deep` (C, H, W) names the shape
     * by which it is defined, the layer's input: y[i + W(j + H k)] = x[i*s + o%s + W*s(j*s + o/s + H*s(k % D))] with D = C/s^2,
     * o = k/D, for every k < C, j < H, i < W; reverse: x and y change places. */
    void (*reorg_old)(struct backend *, const struct tensor *x, struct tensor *y, struct shape deep, int stride, bool reverse,
                      bool add);
    /* y = scale * (window of x) + offset, one place per image; backward gives 0 outside the window and takes colours as
     * unchanged. */
    void (*crop)(struct backend *, const struct tensor *x, struct tensor *y, const struct crop_place *, double scale,
                 double offset);
    void (*crop_backward)(struct backend *, const struct tensor *dy, struct tensor *dx, const struct crop_place *, double scale,
                          bool add);
    /* norm (N of lrn_desc) may be NULL forward. */
    void (*lrn)(struct backend *, const struct lrn_desc *, const struct tensor *x, struct tensor *norm, struct tensor *y);
    void (*lrn_backward)(struct backend *, const struct lrn_desc *, const struct tensor *x, const struct tensor *norm,
                         const struct tensor *dy, struct tensor *dx, bool add);
    /* bias (F, OH, OW); dw += in the weights' order. */
    void (*local)(struct backend *, const struct local_desc *, const struct tensor *x, const real *w, const real *bias,
                  struct tensor *y);
    void (*local_backward_data)(struct backend *, const struct local_desc *, const real *w, const struct tensor *dy,
                                struct tensor *dx, bool add);
    void (*local_backward_weights)(struct backend *, const struct local_desc *, const struct tensor *x, const struct tensor *dy,
                                   real *dw, real *db);

    /* The elements of each image in the order c, h, w, laid out anew in that order: equal counts, any shapes. */
    void (*reshape)(struct backend *, const struct tensor *x, struct tensor *y, bool add);

    /* y = x * gate, gate broadcast where its h = w = 1 (per channel) or its c = 1 (per pixel) or equal in shape (sam). */
    void (*gate)(struct backend *, const struct tensor *x, const struct tensor *gate, struct tensor *y);
    void (*gate_backward_x)(struct backend *, const struct tensor *gate, const struct tensor *dy, struct tensor *dx, bool add);
    void (*gate_backward_gate)(struct backend *, const struct tensor *x, const struct tensor *dy, struct tensor *dgate, bool add);

    /* y = x held within +-limit (0: no limit); values that are no finite number become 0.  y may be x's own memory. */
    void (*constrain)(struct backend *, const struct tensor *x, double limit, struct tensor *y);
    /* dx (+)= dy where x lies within the limit, else 0. */
    void (*constrain_backward)(struct backend *, const struct tensor *x, double limit, const struct tensor *dy, struct tensor *dx,
                               bool add);

    /* Inverted dropout with a mask that depends on (seed, element index in n, c, h, w order) alone. */
    void (*dropout)(struct backend *, const struct tensor *x, struct tensor *y, double probability, uint64_t seed, bool add);

    /* y[c] = 0 where keep[c] == 0: the masked network of the pruner's self check. keep: host. */
    void (*mask_channels)(struct backend *, struct tensor *y, const uint8_t *keep);

    /* The pruner's response (pruning.md 4.1) of image n: dot[k*C + c] += sum_p map_k(p)*g_c(p)*x_c(p) and
     * sum[k*C + c] += sum_p map_k(p)*g_c(p), in double, for K maps (K, H, W) on the host. */
    void (*channel_dot)(struct backend *, const struct tensor *x, const struct tensor *g, int n, int k, const float *maps,
                        double *dot, double *sum);
    /* As channel_dot with |g_c(p)*(x_c(p) - mean[c])| for every cell; mean (C, host) may be NULL for 0. */
    void (*channel_abs_dot)(struct backend *, const struct tensor *x, const struct tensor *g, int n, int k, const float *maps,
                            const double *mean, double *dot);
    /* total[c] += sum over n, h, w of x (host, double). */
    void (*channel_sum)(struct backend *, const struct tensor *x, double *total);

    /* --- Options that few networks use. --- */

    /* Binary networks: out = +-(mean of |w| over the filter) with w's sign, 0 counting as negative; out may be w. */
    void (*binarize_weights)(struct backend *, const real *w, size_t per, int filters, real *out);
    /* y = x > 0 ? 1 : -1, and its straight-through gradient dx (+)= dy where |x| < 1, else 0. */
    void (*sign)(struct backend *, const struct tensor *x, struct tensor *y);
    void (*sign_backward)(struct backend *, const struct tensor *x, const struct tensor *dy, struct tensor *dx, bool add);
    /* Per image and cell over the channels, y may be x.  RELU: r/(sum r + 1e-4) with r = max(x, 0); SOFTMAX:
     * e^x/(sum e^x + 1e-4); MAXVAL: that of x less its maximum.  Backward: x as given to forward; dx may be dy's own memory. */
    void (*norm_channels)(struct backend *, enum channel_norm, const struct tensor *x, struct tensor *y);
    void (*norm_channels_backward)(struct backend *, enum channel_norm, const struct tensor *x, const struct tensor *y,
                                   const struct tensor *dy, struct tensor *dx);
    /* y = x + alpha*map*mean_c(x), map (N, 1, H, W); y may be x.  Its own transpose: backward is the same call. */
    void (*excite)(struct backend *, const struct tensor *x, const struct tensor *map, double alpha, struct tensor *y);
    /* The first three channels become column and row, scaled to [-1, 1), and their distance from the centre; or, with
     * `zero`, 0 (the gradient). */
    void (*coordinates)(struct backend *, struct tensor *y, bool zero);
    /* Filters in `stages` equal blocks: those of block s become maps[s] (cells x cells, row-major, host) times the filters
     * of block 0.  Backward: block 0 of dw collects what the others got, transposed; theirs becomes 0. */
    void (*tie_kernels)(struct backend *, real *w, int filters, int per, int cells, int stages, const double *maps);
    void (*tie_kernels_backward)(struct backend *, real *dw, int filters, int per, int cells, int stages, const double *maps);
    /* Each of `rows` rows of `n` values less its mean. */
    void (*centre_rows)(struct backend *, real *x, int rows, size_t n);
    /* Batch norm over several mini-batches: moment[0..C) = mean of x, moment[C..2C) = mean of x*x, both blended into what is
     * there: moment = alpha*new + (1 - alpha)*old; then mean, var (C) of the blend and y as in bn_forward.  Backward
     * differentiates through this mini-batch's share alpha. */
    void (*bn_blend_forward)(struct backend *, const struct tensor *x, const real *scale, const real *bias, double alpha,
                             real *moment, real *mean, real *var, enum activation, struct tensor *pre, struct tensor *y);
    void (*bn_blend_backward)(struct backend *, const struct tensor *x, const real *scale, double alpha, const real *mean,
                              const real *var, enum activation, const struct tensor *pre, const struct tensor *y,
                              const struct tensor *dy, struct tensor *dx, real *dscale, real *dbias);
    /* Weighted sums: w (n rows of k) normalised over its rows.  NONE: w; RELU: r/(sum r + 1e-4) with r = max(w, 0.001);
     * SOFTMAX: e^(w - max)/(sum + 1e-4).  Backward adds to draw. */
    void (*mix_weights)(struct backend *, enum mix_norm, const real *raw, int n, int k, real *w);
    void (*mix_weights_backward)(struct backend *, enum mix_norm, const real *raw, const real *w, const real *dw, int n, int k,
                                 real *draw);
    /* y[g] = max over the channels k of x with k mod y.c = g.  argmax: the channel, as maxpool's; NULL when not wanted. */
    void (*maxpool_depth)(struct backend *, const struct tensor *x, struct tensor *y, int32_t *argmax);
    void (*maxpool_depth_backward)(struct backend *, const int32_t *argmax, const struct tensor *dy, struct tensor *dx); /* adds */
    /* y, x pooled at stride 1, becomes 0 where x is not its window's maximum; argmax (NULL: not wanted) becomes -1 there
     * and the cell itself elsewhere. */
    void (*zero_nonmax)(struct backend *, const struct tensor *x, struct tensor *y, int32_t *argmax);
    /* y (+)= scale[n]*x outside the block of `side` cells whose first is corner[n*C + c] (y*W + x; -1: no block), 0 inside.
     * corner and scale: host. */
    void (*drop_blocks)(struct backend *, const struct tensor *x, struct tensor *y, const int32_t *corner, int side,
                        const double *scale, bool add);

    /* Flat vectors. */
    void (*axpy)(struct backend *, size_t n, double alpha, const real *x, real *y);      /* y += alpha*x */
    void (*scale)(struct backend *, size_t n, double alpha, real *x);                    /* x *= alpha */
    double (*sum_squares)(struct backend *, size_t n, const real *x);                    /* NaN or inf when one is in x */
    /* y = keep*y + (1 - keep)*x. */
    void (*blend)(struct backend *, size_t n, double keep, const real *x, real *y);
    /* One step of the optimiser over ranges of the parameters w, in one pass; g (gradient sums) is cleared there.
     * With d = scale*g + decay*w:  m = momentum*m - d, kept in +-limit;  w += rate*m, kept in +-clip.
     * reverse: d = scale*g;  w += rate*(step - decay*w). */
    void (*sgd)(struct backend *, const struct update_range *, int n_range, real *w, real *g, real *m, double scale, double momentum);
    /* m = beta1*m - (1-beta1)*d;  v = beta2*v + (1-beta2)*d*d;  w += rate * (m/correction1) / (sqrt(v/correction2) + eps).
     * decoupled: d = scale*g, and w -= rate*decay*w before the step. */
    void (*adam)(struct backend *, const struct update_range *, int n_range, real *w, real *g, real *m, real *v, const struct adam_rule *);
};

/* Target assignment and loss of [yolo] (backend/yolo.h).  `loss` only queues: objects of one image stand side by side, images in
 * their order; delta, dense, of x's shape (N, anchors*entries, H, W), becomes +dL/dx.  `sums` waits for what was queued last. */
struct yolo_plan;
struct yolo_ops {
    enum status (*open)(struct backend *, struct ctx *, const struct yolo_desc *, const struct yolo_tables *, struct yolo_plan **);
    void (*close)(struct backend *, struct yolo_plan *);
    enum status (*loss)(struct backend *, struct ctx *, struct yolo_plan *, const struct yolo_object *, int n, const struct tensor *x,
                        struct tensor *delta);
    enum status (*sums)(struct backend *, struct ctx *, struct yolo_plan *, struct yolo_sums *);
};

/* Network inputs that the device draws (backend/picture.h).  Blocks of one batch are sent ahead, beside what computes, and drawn when
 * their pass begins: a stage holds one batch, the next one may be sent as soon as `draw` has been called. */
struct picture_stage;
struct picture_ops {
    /* Host memory from which blocks travel fastest; by any thread at any time.  NULL: there is none left. */
    void *(*memory)(struct backend *, size_t bytes);
    void (*release)(struct backend *, void *);
    enum status (*open)(struct backend *, struct ctx *, struct picture_stage **);
    void (*close)(struct backend *, struct picture_stage *); /* waits for what is on its way */
    /* Queues the copies; the blocks must stay as they are until the work that was queued behind `draw` is done. */
    enum status (*send)(struct backend *, struct ctx *, struct picture_stage *, const struct picture_block *const *, int n);
    /* x (n, c, h, w) from the blocks sent last. */
    enum status (*draw)(struct backend *, struct ctx *, struct picture_stage *, struct tensor *x);
};

/* Passes that are noted once and played again: what launching work costs is paid once.  See layer_ops.steady. */
struct recording;
struct pass_ops {
    /* to_nchw and from_nchw of so many elements take no memory from now on. */
    void (*reserve)(struct backend *, size_t n);
    /* From here on operations are noted instead of done, with their arguments as they are; false: they are not, as before. */
    bool (*record)(struct backend *);
    /* Ends that.  NULL: something in between cannot be noted (it waits for the host or takes memory); nothing was done. */
    struct recording *(*recorded)(struct backend *, struct ctx *);
    /* Does what was noted.  false: memory that the note holds has moved since; nothing was done. */
    bool (*replay)(struct backend *, struct recording *);
    void (*drop)(struct backend *, struct recording *);
};

struct backend {
    const struct backend_ops *ops;
    const struct yolo_ops *yolo; /* NULL: the host does it */
    const struct pass_ops *passes; /* NULL: none */
    const struct picture_ops *pictures; /* NULL: the host draws */
    size_t elem_size;  /* bytes of a real */
    bool channels_last;
    bool host;         /* elements are floats in the caller's memory, which operations may be given as they are */
    bool views;        /* forward operations take slices of the channels of wider maps */
    int lanes;         /* with views: depthwise convolutions that only run like pixels to be multiples of so many elements, with spare
                        * ones behind the channels; 0: they do not care */
    bool sums;         /* conv_forward_add is there */
    enum element narrow_maps; /* elements of half the size that maps may have, too: operations on tensors take any mix; REAL: none */
    bool narrow_gradients; /* gradients pass through half precision, of which small ones are lost: training scales the loss */
    void *state;       /* engine, streams, ... */
    size_t bytes, peak_bytes; /* allocated through alloc/alloc_index now, and at most so far */
    double memory;     /* bytes of a device's own memory; 0: it is the machine's */
    void (*room)(struct backend *, double *left, double *total); /* of that memory now; NULL: it is the machine's */
    double refused;    /* bytes of the last allocation that there was no memory for */
};

/* kind: "cpu" (oneDNN where built in, else the plain kernels, for the best instruction set), "cpu:bf16", "cpu:int8" (what convolutions
 * that only run multiply by, where that is faster; ST_UNSUPPORTED where the CPU cannot);
 * "cuda", "cuda:N", "cuda:N:PRECISION" with fp32, tf32, bf16, fp16 or fast (GPU number N, 0; what convolutions multiply, fp32 otherwise,
 * fast: tf32, or fp16 in a build with CUDNN_HALF=1);
 * "auto" (the first GPU, else, with a warning where the build could have used one, the cpu); "ref" (float), "ref64" (double);
 * for tests "cpu-plain" (baseline instructions, no oneDNN) and "cuda-emulated", "cuda-emulated:PRECISION" (the CUDA backend, its kernels
 * run by the CPU; "cuda-emulated@N": with N MB of memory). */
enum status backend_open(struct ctx *, const char *kind, struct backend **);
void backend_close(struct backend *);
/* What this backend computes with, e.g. "CPU: oneDNN 2.6.3, AVX2, 2 threads". */
void backend_describe(const struct backend *, char *text, size_t size);
/* How many GPUs there are to compute on; 0: `why`, one line, says what is wrong; -1: this build has no use for them. */
int backend_gpus(char *why, size_t size);

/* A tensor of the backend's own layout over `data` (which may be NULL). */
struct tensor tensor_of(const struct backend *, struct shape, real *data);
size_t shape_count(struct shape); /* n*c*h*w */
size_t element_size(const struct backend *, enum element); /* bytes */
/* Images, or channels, [first, first + count) of t. */
struct tensor tensor_images(struct backend *, const struct tensor *t, int first, int count);
struct tensor tensor_channels(struct backend *, const struct tensor *t, int first, int count);
/* True when each image of t lies in memory in the order c, h, w: reshaping it takes no copy. */
bool tensor_planar(const struct tensor *t);

#endif
