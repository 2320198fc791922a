/* [convolutional]: cross-correlation, batch norm or bias, activation (darknet-compat 2.1).
 * x (N, C, H, W), weights (filters, C/groups, size, size) -> inner (N, filters, OH, OW) -> y.
 *
 * Stages, most of them absent in most layers:
 *   x -> signs (xnor) -> convolution -> batch norm or bias -> activation -> excitation -> blur (antialiasing) -> coordinates
 * Weights on their way to the convolution: tied kernels (training) -> batch norm folded in (else) -> signs (binary, xnor). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "layers/blur.h"
#include "layers/excitation.h"
#include "layers/kernels.h"
#include "layers/layer.h"

enum { NOT_SHARED = -1000000000 };

struct conv {
    int filters, groups, size, stride, stride_x, stride_y, dilation, pad, padding, batch_normalize, activation;
    int cbn, binary, xnor, bin_output, antialiasing, share_index, grad_centr, coordconv, flipped;
    int sway, rotate, stretch, stretch_sway;
    double assisted_excitation, angle, reverse;
    struct shape inner; /* of one image, before the blur */
    int owner;          /* layer whose arrays these are; -1: its own */
};

struct conv_run {
    struct conv_plan *plan;
    real *w, *bias;            /* what the convolution computes with, where that is not what is stored */
    real *mean, *var;          /* of the batch */
    real *moment;              /* cbn: means of x and x*x over the mini-batches of this iteration so far */
    uint64_t iteration;
    int minibatches;
    struct tensor linear, pre; /* the convolution's output; the input of an activation whose slope needs it */
    struct tensor acted, boxes;/* excitation: the activation's output, and the map of labelled cells */
    struct tensor signs, dsigns; /* xnor: the input as the convolution sees it, and its gradient */
    double *maps;              /* tied kernels, as tie_kernels wants them */
    struct blur blur;
};

enum { BIAS = 0, SCALE = 1, MEAN = 2, VARIANCE = 3 }; /* rows of layer.param with batch norm; the weights come last */

/* dot, stream, wait_stream: read upstream, without effect there or here.  reverse belongs to the update rule. */
static const struct cfg_key keys[] = {
    CFG_INT(struct conv, filters, 1, 1, 1 << 20),
    CFG_INT(struct conv, groups, 1, 1, 1 << 20),
    CFG_INT(struct conv, size, 1, 1, 1024),
    CFG_INT(struct conv, stride, 1, 1, 1024),
    CFG_INT(struct conv, stride_x, -1, -1, 1024),
    CFG_INT(struct conv, stride_y, -1, -1, 1024),
    CFG_INT(struct conv, dilation, 1, 1, 1024),
    CFG_BOOL(struct conv, pad, 0),
    CFG_INT(struct conv, padding, 0, 0, 1024),
    CFG_BOOL(struct conv, batch_normalize, 0),
    { .name = "activation", .type = CFG_T_CHOICE, .offset = offsetof(struct conv, activation), .def = ACT_LOGISTIC,
      .choices = conv_activation_choices },
    CFG_BOOL(struct conv, cbn, 0), CFG_BOOL(struct conv, binary, 0), CFG_BOOL(struct conv, xnor, 0),
    CFG_BOOL(struct conv, bin_output, 0), CFG_INT(struct conv, antialiasing, BLUR_NONE, BLUR_NONE, BLUR_BOX),
    CFG_INT(struct conv, share_index, NOT_SHARED, NOT_SHARED, 1 << 20),
    CFG_BOOL(struct conv, sway, 0), CFG_BOOL(struct conv, rotate, 0), CFG_BOOL(struct conv, stretch, 0),
    CFG_BOOL(struct conv, stretch_sway, 0), CFG_FLOAT(struct conv, angle, 15),
    CFG_BOOL(struct conv, flipped, 0), CFG_BOOL(struct conv, coordconv, 0), CFG_BOOL(struct conv, grad_centr, 0),
    CFG_FLOAT_IN(struct conv, assisted_excitation, 0, 0, 1e9),
    CFG_FLOAT_IN(struct conv, reverse, 0, -100, 100),
    CFG_IGNORED("dot"), CFG_IGNORED("stream"), CFG_IGNORED("wait_stream"),
    CFG_END
};

static int padding_of(const struct conv *c) { return (c->pad ? c->size / 2 : c->padding) * c->dilation; }
static bool normed(const struct conv *c) { return c->batch_normalize || c->cbn; }
static bool binary(const struct conv *c) { return c->binary || c->xnor; }

/* Activation per element, or over the channels of a cell: one of them is at rest. */
static enum activation activation_of(const struct conv *c) { return c->activation < ACT_COUNT ? (enum activation)c->activation : ACT_LINEAR; }
static enum channel_norm channel_norm_of(const struct conv *c) {
    return c->activation < ACT_COUNT ? CHANNEL_NORM_NONE : (enum channel_norm)(c->activation - ACT_COUNT);
}

static enum deformation deformation_of(const struct conv *c) {
    return c->sway ? DEFORM_SWAY : c->rotate ? DEFORM_ROTATE : c->stretch ? DEFORM_STRETCH : c->stretch_sway ? DEFORM_STRETCH_SWAY : DEFORM_NONE;
}

/* With antialiasing the steps are the blur's. */
static int step_x(const struct conv *c) { return c->antialiasing ? 1 : c->stride_x; }
static int step_y(const struct conv *c) { return c->antialiasing ? 1 : c->stride_y; }

static bool depthwise(const struct layer *l) {
    const struct conv *c = l->state;
    return c->groups > 1 && c->groups == l->in_shape[0].c;
}

static double flops_at(const struct layer *l, int in_c, int out_c) {
    const struct conv *c = l->state;
    int per_group = depthwise(l) ? 1 : in_c / c->groups;
    return 2.0 * out_c * per_group * c->size * c->size * c->inner.h * c->inner.w / (c->xnor ? 32 : 1);
}

/* --- Shape and parameters ---------------------------------------------------------------------------------------------- */

static enum status check_deformation(struct ctx *ctx, const struct layer *l) {
    const struct conv *c = l->state;
    int stages = deformation_stages(deformation_of(c));
    if (c->sway + c->rotate + c->stretch + c->stretch_sway > 1)
        return layer_fail(ctx, l, c->sway ? "sway" : c->rotate ? "rotate" : "stretch",
                          "only one of sway, rotate, stretch and stretch_sway can be used");
    if (stages > 1 && c->size < 3) return layer_fail(ctx, l, "size", "a kernel of %d cannot be deformed, at least 3 is needed", c->size);
    if (c->filters % stages) return layer_fail(ctx, l, "filters", "%d is no multiple of the %d deformations of a kernel", c->filters, stages);
    return ST_OK;
}

static enum status find_owner(struct ctx *ctx, const struct layer *l, const struct layer *all) {
    struct conv *c = l->state;
    c->owner = -1;
    if (c->share_index == NOT_SHARED) return ST_OK;
    int at = c->share_index < 0 ? l->index + c->share_index : c->share_index;
    if (at < 0 || at >= l->index)
        return layer_fail(ctx, l, "share_index", "%d names layer %d, but this is layer %d and only layers before it can share", c->share_index,
                          at, l->index);
    const struct layer *other = &all[at];
    if (other->ops != l->ops) return layer_fail(ctx, l, "share_index", "layer %d is no convolution", at);
    const struct conv *o = other->state;
    if (o->size != c->size || o->filters != c->filters || o->groups != c->groups || other->in_shape[0].c != l->in_shape[0].c ||
        normed(o) != normed(c))
        return layer_fail(ctx, l, "share_index", "layer %d has %d filters of size %d over %d channels in %d groups, %s batch norm; the same is needed here",
                          at, o->filters, o->size, other->in_shape[0].c, o->groups, normed(o) ? "with" : "without");
    c->owner = o->owner >= 0 ? o->owner : at;
    return ST_OK;
}

static void declare(struct layer *l, struct param p) {
    const struct conv *c = l->state;
    if (c->owner >= 0) p.flags |= PARAM_SHARED, p.owner = c->owner, p.owner_row = l->n_param;
    layer_param(l, &p);
}

static void declare_params(struct layer *l) {
    const struct conv *c = l->state;
    int n = c->filters, per = l->in_shape[0].c / c->groups, cells = c->size * c->size;
    struct param channel = { .role = PARAM_BIAS, .dim = { n, 1, 1 }, .out_axis = 0, .in_axis = -1, .flags = PARAM_TRAIN };
    channel.name = "biases";
    l->n_param = 0;
    declare(l, channel);
    if (normed(c)) {
        channel.name = "scales", channel.role = PARAM_SCALE, channel.init_mean = 1;
        declare(l, channel);
        channel.name = "rolling_mean", channel.role = PARAM_MEAN, channel.init_mean = 0, channel.flags = 0;
        declare(l, channel);
        channel.name = "rolling_variance", channel.role = PARAM_VARIANCE;
        declare(l, channel);
    }
    declare(l, (struct param){ .name = "weights", .role = PARAM_WEIGHT, .dim = { n, per, cells }, .out_axis = 0,
                               .in_axis = depthwise(l) ? -1 : 1, .flags = PARAM_TRAIN | PARAM_DECAY | (c->flipped ? PARAM_FLIPPED : 0),
                               .init_span = sqrt(2.0 / ((double)cells * per)), .reverse = c->reverse });
}

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)net;
    struct conv *c = l->state;
    struct shape in = l->in_shape[0];
    if (c->stride_x < 1) c->stride_x = c->stride;
    if (c->stride_y < 1) c->stride_y = c->stride;
    if (c->size == 1) c->dilation = 1;
    if (c->xnor) c->groups = 1;
    if (in.c % c->groups || c->filters % c->groups)
        return layer_fail(ctx, l, "groups", "%d does not divide both the %d input channels and the %d filters", c->groups, in.c,
                          c->filters);
    int span = c->dilation * (c->size - 1) + 1, pad = padding_of(c);
    int w = in.w + 2 * pad - span, h = in.h + 2 * pad - span;
    if (w < 0 || h < 0)
        return layer_fail(ctx, l, "size", "a kernel over %d cells with padding %d does not fit into an input of %d x %d", span, pad,
                          in.w, in.h);
    l->out = c->inner = (struct shape){ 1, c->filters, h / step_y(c) + 1, w / step_x(c) + 1 };
    if (c->antialiasing) l->out = blur_out(c->antialiasing, c->inner, c->stride_x, c->stride_y);
    if (l->out.w < 1 || l->out.h < 1)
        return layer_fail(ctx, l, "antialiasing", "its window does not fit into a map of %d x %d", c->inner.w, c->inner.h);
    TRY(check_deformation(ctx, l));
    TRY(find_owner(ctx, l, all));
    declare_params(l);
    l->flops = flops_at(l, in.c, c->filters);
    return ST_OK;
}

static int weights_row(const struct layer *l) { return l->n_param - 1; }

/* Batch norm on rolling statistics is a convolution with other weights and bias. */
static bool folded(const struct layer *l, enum net_mode mode) { return normed(l->state) && mode != NET_TRAIN; }

static bool keeps_pre(const struct layer *l, enum net_mode mode) {
    const struct conv *c = l->state;
    return mode != NET_INFER && (activation_needs_input(activation_of(c)) || channel_norm_of(c));
}

static bool excited(const struct layer *l, enum net_mode mode) {
    return mode == NET_TRAIN && (int)((const struct conv *)l->state)->assisted_excitation > 0;
}

/* Quirk of upstream's bit arithmetic, which the published xnor weights are used with: outside of training cells beyond
 * the border count as -1.  (Training pads with 0.) */
static int padding_of_signs(const struct layer *l, enum net_mode mode) {
    const struct conv *c = l->state;
    return mode != NET_TRAIN && step_x(c) == step_y(c) ? padding_of(c) : 0;
}

/* --- Buffers -------------------------------------------------------------------------------------------------------- */

/* What backward needs of the forward pass: the convolution's output, and the input of an activation. */
static size_t kept_elements(const struct layer *l, enum net_mode mode, int batch, size_t *one) {
    const struct conv *c = l->state;
    enum { ALIGN = 16 };
    *one = shape_count((struct shape){ batch, c->inner.c, c->inner.h, c->inner.w });
    *one = (*one + ALIGN - 1) / ALIGN * ALIGN;
    return (normed(c) && mode == NET_TRAIN ? *one : 0) + (keeps_pre(l, mode) ? *one : 0);
}

static size_t kept(const struct layer *l, enum net_mode mode, int batch) {
    size_t one;
    return kept_elements(l, mode, batch, &one);
}

/* Blended batch norm and excitation change with the iteration, deformed kernels are tied by tables of the host's. */
static bool steady(const struct layer *l, enum net_mode mode) {
    const struct conv *c = l->state;
    return mode != NET_TRAIN || (!c->cbn && !excited(l, mode) && !deformation_of(c));
}

/* Blended batch norm counts its mini-batches. */
static bool repeats(const struct layer *l) { return !((const struct conv *)l->state)->cbn; }

static struct tensor new_tensor(struct pass *p, struct shape s) {
    size_t n = shape_count((struct shape){ p->batch, s.c, s.h, s.w });
    return shape_tensor(p->be, s, p->batch, p->be->ops->alloc(p->be, p->ctx, n));
}

static enum status prepare_maps(const struct conv *c, struct conv_run *run, struct ctx *ctx) {
    enum deformation d = deformation_of(c);
    size_t cells = (size_t)c->size * (size_t)c->size;
    run->maps = mem_zero(ctx, (size_t)deformation_stages(d) * cells * cells, sizeof *run->maps);
    if (run->maps) deformation_maps(d, c->size, c->angle, run->maps);
    return ctx->code;
}

/* What the convolution itself reads. */
static struct tensor prepare_input(const struct layer *l, struct pass *p) {
    const struct conv *c = l->state;
    struct conv_run *run = l->run;
    struct shape in = l->in_shape[0];
    int pad = padding_of_signs(l, p->mode);
    if (!c->xnor) return *p->x[0];
    in.h += 2 * pad, in.w += 2 * pad;
    run->signs = new_tensor(p, in);
    if (p->mode != NET_INFER) run->dsigns = new_tensor(p, in);
    if (run->signs.data) p->be->ops->fill(p->be, &run->signs, -1);
    return run->signs;
}

/* Nothing stands between the convolution with its activation and the output. */
static bool plain(const struct layer *l) {
    const struct conv *c = l->state;
    return !c->xnor && !c->antialiasing && !c->coordconv && !channel_norm_of(c);
}

static bool separate(const struct layer *l) { return plain(l) && depthwise(l) && ((const struct conv *)l->state)->filters == l->in_shape[0].c; }

/* Excitation has maps of its own, in training. */
static bool narrow(const struct layer *l) { return plain(l) && ((const struct conv *)l->state)->assisted_excitation == 0; }

static enum status prepare(struct layer *l, struct pass *p) {
    const struct conv *c = l->state;
    const struct backend_ops *ops = p->be->ops;
    struct conv_run *run = l->run = mem_zero(p->ctx, 1, sizeof *run);
    if (!run) return ST_MEMORY;
    bool batch_stats = normed(c) && p->mode == NET_TRAIN, pre = keeps_pre(l, p->mode);
    struct tensor inner = plain(l) && p->mode == NET_INFER ? *p->y : shape_tensor(p->be, c->inner, p->batch, NULL);
    inner.type = p->y->type;
    struct conv_desc d = { .x = prepare_input(l, p), .y = inner, .groups = c->groups, .size = c->size, .stride_x = step_x(c),
                           .stride_y = step_y(c), .dilation = c->dilation, .bias = !batch_stats,
                           .pad = c->xnor && padding_of_signs(l, p->mode) ? 0 : padding_of(c),
                           .act = batch_stats || pre ? ACT_LINEAR : activation_of(c), .backward = p->mode != NET_INFER,
                           .range = c->xnor ? NULL : p->range, .skip = p->skip != NULL,
                           .skip_type = p->skip ? p->skip->type : ELEMENT_REAL };
    if (p->ctx->code == ST_OK) TRY(ops->conv_new(p->be, p->ctx, &d, &run->plan));
    size_t n = (size_t)c->filters, one;
    kept_elements(l, p->mode, p->batch, &one);
    if (batch_stats) {
        run->linear = shape_tensor(p->be, c->inner, p->batch, p->kept);
        run->linear.type = p->y->type;
        run->mean = ops->alloc(p->be, p->ctx, n);
        run->var = ops->alloc(p->be, p->ctx, n);
        if (c->cbn) run->moment = ops->alloc(p->be, p->ctx, 2 * n);
    }
    if (pre) {
        size_t at = batch_stats ? one * element_size(p->be, p->y->type) / p->be->elem_size : 0;
        run->pre = shape_tensor(p->be, c->inner, p->batch, ops->at(p->be, p->kept, at));
        run->pre.type = p->y->type;
    }
    if (excited(l, p->mode)) {
        run->acted = new_tensor(p, c->inner);
        run->boxes = new_tensor(p, (struct shape){ 1, 1, c->inner.h, c->inner.w });
    }
    if (folded(l, p->mode)) run->bias = ops->alloc(p->be, p->ctx, n);
    if (p->ctx->code == ST_OK && c->antialiasing)
        TRY(blur_new(p, c->antialiasing, c->inner, c->stride_x, c->stride_y, &run->blur));
    if (deformation_of(c) && p->mode == NET_TRAIN) TRY(prepare_maps(c, run, p->ctx));
    return p->ctx->code;
}

static void release(struct layer *l, struct backend *be) {
    struct conv_run *run = l->run;
    if (!run) return;
    if (run->plan) be->ops->conv_free(be, run->plan);
    real *blocks[] = { run->w, run->bias, run->mean, run->var, run->moment, run->acted.data,
                       run->boxes.data, run->signs.data, run->dsigns.data };
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; ++i) be->ops->free(be, blocks[i]);
    blur_free(be, &run->blur);
    free(run->maps);
    free(run);
    l->run = NULL;
}

static enum status refresh(struct layer *l, struct pass *p) {
    const struct conv *c = l->state;
    struct conv_run *run = l->run;
    const struct backend_ops *ops = p->be->ops;
    int row = weights_row(l);
    size_t per = param_count(&l->param[row]) / (size_t)c->filters;
    real *w = p->param[row];
    if ((folded(l, p->mode) || binary(c)) && !run->w && !(run->w = ops->alloc(p->be, p->ctx, param_count(&l->param[row])))) return p->ctx->code;
    if (run->maps)
        ops->tie_kernels(p->be, w, c->filters, l->param[row].dim[1], l->param[row].dim[2], deformation_stages(deformation_of(c)), run->maps);
    if (folded(l, p->mode)) {
        ops->bn_fold(p->be, w, per, c->filters, p->param[SCALE], p->param[BIAS], p->param[MEAN], p->param[VARIANCE], run->w, run->bias);
        w = run->w;
    }
    if (binary(c)) {
        ops->binarize_weights(p->be, w, per, c->filters, run->w);
        w = run->w;
    }
    TRY(ops->conv_weights(p->be, p->ctx, run->plan, w));
    if (p->mode != NET_INFER || !run->w || ops->conv_borrows(run->plan)) return ST_OK;
    ops->free(p->be, run->w); /* a network that only runs is refreshed rarely, and its plans have their own weights */
    run->w = NULL;
    return ST_OK;
}

/* --- Forward -------------------------------------------------------------------------------------------------------- */

/* The part of a padded map that is the map. */
static struct tensor inside(const struct layer *l, struct pass *p, const struct tensor *padded) {
    struct tensor t = *padded;
    int pad = padding_of_signs(l, p->mode);
    t.h = l->in_shape[0].h, t.w = l->in_shape[0].w;
    t.data = p->be->ops->at(p->be, padded->data, (size_t)(pad * (t.sh + t.sw)));
    return t;
}

static const struct tensor *conv_input(const struct layer *l, struct pass *p) {
    struct conv_run *run = l->run;
    return run->signs.data ? &run->signs : p->x[0];
}

/* Where the activation's output goes, and what it starts from. */
static struct tensor *acted_of(const struct layer *l, struct pass *p) {
    struct conv_run *run = l->run;
    return run->acted.data ? &run->acted : run->blur.plan ? &run->blur.inner : p->y;
}

/* Cross-iteration batch norm: statistics of all mini-batches of this iteration up to now. */
static double blend_share(struct conv_run *run, const struct pass *p) {
    if (run->iteration != p->iteration) run->minibatches = 0;
    run->iteration = p->iteration;
    return 1. / ++run->minibatches;
}

static void normalise(struct layer *l, struct pass *p, struct tensor *pre, struct tensor *y) {
    const struct conv *c = l->state;
    struct conv_run *run = l->run;
    const struct backend_ops *ops = p->be->ops;
    enum activation act = activation_of(c);
    double m = (double)p->batch * c->inner.h * c->inner.w, unbiased = m > 1 ? m / (m - 1) : 1;
    if (c->cbn) {
        ops->bn_blend_forward(p->be, &run->linear, p->param[SCALE], p->param[BIAS], blend_share(run, p), run->moment, run->mean,
                              run->var, act, pre, y);
        unbiased = 1;
    } else {
        ops->bn_forward(p->be, &run->linear, p->param[SCALE], p->param[BIAS], run->mean, run->var, act, pre, y);
    }
    if (p->again) return;
    ops->bn_roll(p->be, p->param[MEAN], run->mean, (size_t)c->filters, BN_MOMENTUM, 1);
    ops->bn_roll(p->be, p->param[VARIANCE], run->var, (size_t)c->filters, BN_MOMENTUM, unbiased);
}

static enum status convolve(struct layer *l, struct pass *p) {
    const struct conv *c = l->state;
    struct conv_run *run = l->run;
    const struct backend_ops *ops = p->be->ops;
    enum channel_norm over_channels = channel_norm_of(c);
    struct tensor *acted = acted_of(l, p), *pre = run->pre.data ? &run->pre : NULL, *raw = pre ? pre : acted;
    if (!normed(c) || folded(l, p->mode)) {
        const real *bias = run->bias ? run->bias : p->param[BIAS];
        if (p->skip) return ops->conv_forward_add(p->be, p->ctx, run->plan, conv_input(l, p), bias, p->skip, raw);
        TRY(ops->conv_forward(p->be, p->ctx, run->plan, conv_input(l, p), bias, raw));
        if (pre && !over_channels) ops->act_forward(p->be, activation_of(c), pre, acted);
    } else {
        TRY(ops->conv_forward(p->be, p->ctx, run->plan, conv_input(l, p), NULL, &run->linear));
        if (over_channels) normalise(l, p, NULL, raw);
        else normalise(l, p, pre, acted);
    }
    if (over_channels) ops->norm_channels(p->be, over_channels, raw, acted);
    return ST_OK;
}

static double alpha_of(const struct layer *l, const struct pass *p) {
    return excitation_alpha((int)((const struct conv *)l->state)->assisted_excitation, p->iteration, p->max_batches);
}

static enum status forward(struct layer *l, struct pass *p) {
    const struct conv *c = l->state;
    struct conv_run *run = l->run;
    const struct backend_ops *ops = p->be->ops;
    if (run->signs.data) {
        struct tensor to = inside(l, p, &run->signs);
        ops->sign(p->be, p->x[0], &to);
    }
    TRY(convolve(l, p));
    if (run->acted.data) {
        TRY(excitation_map(p, &run->boxes));
        ops->excite(p->be, &run->acted, &run->boxes, alpha_of(l, p), run->blur.plan ? &run->blur.inner : p->y);
    }
    if (run->blur.plan) TRY(blur_forward(p, &run->blur));
    if (c->coordconv) ops->coordinates(p->be, p->y, false);
    return ST_OK;
}

/* --- Backward ------------------------------------------------------------------------------------------------------- */

/* dx (+)= from dy, the gradient at the convolution's output. */
static enum status data_gradient(struct layer *l, struct pass *p, const struct tensor *dy, struct tensor *dx, bool add) {
    struct conv_run *run = l->run;
    const struct backend_ops *ops = p->be->ops;
    if (!run->signs.data) return ops->conv_backward_data(p->be, p->ctx, run->plan, dy, dx, add);
    TRY(ops->conv_backward_data(p->be, p->ctx, run->plan, dy, &run->dsigns, false));
    struct tensor from = inside(l, p, &run->dsigns);
    ops->sign_backward(p->be, p->x[0], &from, dx, add);
    return ST_OK;
}

/* Deleting a channel acts on what its readers receive, so the pruner looks at this edge's own gradient. */
static enum status send_to_input(struct layer *l, struct pass *p, const struct tensor *dy) {
    bool watched = p->hook && p->hook->reader && !depthwise(l);
    if (!watched || !p->add[0]) {
        TRY(data_gradient(l, p, dy, p->dx[0], p->add[0]));
        return watched ? p->hook->reader(p->hook->user, p, l, p->x[0], p->dx[0]) : ST_OK;
    }
    struct tensor edge = shape_tensor(p->be, l->in_shape[0], p->batch, p->scratch);
    TRY(data_gradient(l, p, dy, &edge, false));
    TRY(p->hook->reader(p->hook->user, p, l, p->x[0], &edge));
    p->be->ops->copy_channels(p->be, &edge, 0, p->dx[0], 0, edge.c, 1, true);
    return ST_OK;
}

/* From the gradient at the activation's output to the one at the convolution's, in place. */
static void through_activation(struct layer *l, struct pass *p, struct tensor *dy) {
    const struct conv *c = l->state;
    struct conv_run *run = l->run;
    const struct backend_ops *ops = p->be->ops;
    const struct tensor *y = acted_of(l, p), *pre = run->pre.data ? &run->pre : NULL;
    enum activation act = activation_of(c);
    if (channel_norm_of(c)) ops->norm_channels_backward(p->be, channel_norm_of(c), pre, y, dy, dy);
    if (!normed(c) || p->mode != NET_TRAIN) {
        if (act != ACT_LINEAR) ops->act_backward(p->be, act, pre, y, dy, dy, false);
        if (p->mode == NET_TRAIN) ops->bias_backward(p->be, dy, p->grad[BIAS]);
    } else if (c->cbn) {
        ops->bn_blend_backward(p->be, &run->linear, p->param[SCALE], 1. / run->minibatches, run->mean, run->var, act, pre, y, dy, dy,
                               p->grad[SCALE], p->grad[BIAS]);
    } else {
        ops->bn_backward(p->be, &run->linear, p->param[SCALE], run->mean, run->var, act, pre, y, dy, dy, p->grad[SCALE], p->grad[BIAS]);
    }
}

/* Straight through the binarisation: the stored weights take the gradient of the binary ones. */
static enum status weights_gradient(struct layer *l, struct pass *p, const struct tensor *dy) {
    const struct conv *c = l->state;
    struct conv_run *run = l->run;
    const struct backend_ops *ops = p->be->ops;
    const struct param *w = &l->param[weights_row(l)];
    real *dw = p->grad[weights_row(l)];
    TRY(ops->conv_backward_weights(p->be, p->ctx, run->plan, conv_input(l, p), dy, dw));
    if (run->maps) ops->tie_kernels_backward(p->be, dw, c->filters, w->dim[1], w->dim[2], deformation_stages(deformation_of(c)), run->maps);
    /* Gradient centralisation (Yong et al. 2020), as upstream only beside batch norm; a projection, so sums may be centred again. */
    if (c->grad_centr && normed(c) && p->mode == NET_TRAIN) ops->centre_rows(p->be, dw, c->filters, param_count(w) / (size_t)c->filters);
    return ST_OK;
}

static enum status backward(struct layer *l, struct pass *p) {
    const struct conv *c = l->state;
    struct conv_run *run = l->run;
    struct tensor *dy = run->blur.plan ? &run->blur.dinner : p->dy;
    if (c->coordconv) p->be->ops->coordinates(p->be, p->dy, true);
    if (run->blur.plan) TRY(blur_backward(p, &run->blur));
    if (run->acted.data) p->be->ops->excite(p->be, dy, &run->boxes, alpha_of(l, p), dy);
    through_activation(l, p, dy);
    if (p->grad[weights_row(l)]) TRY(weights_gradient(l, p, dy));
    return p->dx[0] ? send_to_input(l, p, dy) : ST_OK;
}

/* --- Pruning and the table ------------------------------------------------------------------------------------------ */

static void couple_options(const struct layer *l, const struct layer *all, struct channels *ch) {
    const struct conv *c = l->state;
    int block = c->filters / deformation_stages(deformation_of(c));
    for (int k = block; k < c->filters; ++k) channels_tie(ch, l->index, k, l->index, k % block);
    if (c->owner >= 0) { /* one array for both: its filters and what they read go together */
        for (int k = 0; k < c->filters; ++k) channels_tie(ch, l->index, k, c->owner, k);
        for (int k = 0; k < l->in_shape[0].c; ++k) channels_tie(ch, l->in[0], k, all[c->owner].in[0], k);
    }
    if (binary(c) && !depthwise(l)) channels_freeze(ch, l->in[0], "is read by a binary convolution, to which every channel counts");
    if (channel_norm_of(c)) channels_freeze(ch, l->index, "is normalised over all channels");
    if (c->coordconv) channels_freeze(ch, l->index, "begins with coordinates");
}

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    const struct conv *c = l->state;
    int in = l->in[0], per_in = l->in_shape[0].c / c->groups, per_out = c->filters / c->groups;
    couple_options(l, all, ch);
    if (c->groups == 1) return;
    if (depthwise(l)) {
        for (int k = 0; k < c->filters; ++k) channels_tie(ch, l->index, k, in, k / per_out);
        return;
    }
    for (int g = 1; g < c->groups; ++g) { /* the same local index in every group, or the groups would shift */
        for (int k = 0; k < per_in; ++k) channels_tie(ch, in, k, in, g * per_in + k);
        for (int k = 0; k < per_out; ++k) channels_tie(ch, l->index, k, l->index, g * per_out + k);
    }
}

static enum status rewrite(struct ctx *ctx, const struct layer *l, int kept_in, int kept_out, struct cfg_doc *doc) {
    const struct conv *c = l->state;
    if (kept_out != c->filters) TRY(cfg_set_int(ctx, doc, l->index + 1, "filters", kept_out));
    if (depthwise(l) && kept_in != c->groups) TRY(cfg_set_int(ctx, doc, l->index + 1, "groups", kept_in));
    return ST_OK;
}

static bool reads(const struct layer *l) { return !depthwise(l); }

static const char *tag(const struct conv *c) {
    if (c->xnor) return c->bin_output ? "convXB" : "convX ";
    if (c->owner >= 0) return "convS ";
    return c->assisted_excitation >= 1 ? "convAE" : "conv  ";
}

static void describe(const struct layer *l, char *text, size_t size) {
    const struct conv *c = l->state;
    struct shape in = l->in_shape[0], out = c->inner;
    char filters[32], kernel[64];
    if (c->groups > 1) snprintf(filters, sizeof filters, "%5d/%4d ", c->filters, c->groups);
    else snprintf(filters, sizeof filters, "%5d      ", c->filters);
    if (step_x(c) != step_y(c))
        snprintf(kernel, sizeof kernel, "%2dx%2d/%2dx%2d ", c->size, c->size, step_x(c), step_y(c));
    else if (c->dilation > 1)
        snprintf(kernel, sizeof kernel, "%2d x%2d/%2d(%1d)", c->size, c->size, step_x(c), c->dilation);
    else
        snprintf(kernel, sizeof kernel, "%2d x%2d/%2d   ", c->size, c->size, step_x(c));
    int n = snprintf(text, size, "%s%s%s%4d x%4d x%4d -> %4d x%4d x%4d %5.3f BF", tag(c), filters, kernel, in.w, in.h, in.c, out.w, out.h,
                     out.c, l->flops / 1e9);
    if (c->antialiasing && n > 0 && (size_t)n < size)
        blur_describe(c->antialiasing, c->inner, l->out, c->stride_x, c->stride_y, text + n, size - (size_t)n);
}

const struct layer_ops convolutional_ops = {
    .name = "convolutional", .alias = "conv", .state_size = sizeof(struct conv), .keys = keys, .shape = shape, .prepare = prepare,
    .refresh = refresh, .views = plain, .adds = plain, .separate = separate, .narrow = narrow, .forward = forward, .backward = backward, .release = release, .couple = couple, .rewrite = rewrite,
    .kept = kept, .repeats = repeats, .steady = steady, .flops_at = flops_at, .reads = reads, .describe = describe
};
