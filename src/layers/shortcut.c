/* [shortcut]: y = act(w_0 * previous + sum_i w_i * layer_i) over the common prefix of channels (darknet-compat 2.7).
 * Shapes: y as the previous layer; maps of that size, or s times as large, of which every s-th cell counts (the residuals of
 * resnet50.cfg, which Darknet once read so).  Weights, where there are any: one row per input, each a number or a
 * number per channel, normalised over the rows before use. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/layer.h"

struct shortcut { struct cfg_ints from; int activation, weights_type, weights_normalization; };
struct shortcut_run {
    struct tensor pre;
    real *w, *dw; /* normalised weights and the gradient with respect to them */
};

enum { WEIGHTS_NONE, WEIGHTS_PER_LAYER, WEIGHTS_PER_CHANNEL }; /* Darknet's numbers */
static const struct cfg_choice weights_types[] = { { "none", WEIGHTS_NONE },           { "per_feature", WEIGHTS_PER_LAYER },
                                                   { "per_layer", WEIGHTS_PER_LAYER }, { "per_channel", WEIGHTS_PER_CHANNEL },
                                                   { NULL, 0 } };
static const struct cfg_choice normalizations[] = {
    { "none", MIX_NORM_NONE }, { "relu", MIX_NORM_RELU }, { "avg_relu", MIX_NORM_RELU }, { "softmax", MIX_NORM_SOFTMAX }, { NULL, 0 }
};

/* Darknet takes any weights_normalization where there are no weights, and refuses `none` where there are some; here `none`
 * means plain weights. */
static const struct cfg_key keys[] = {
    CFG_INTS(struct shortcut, from),
    { .name = "activation", .type = CFG_T_CHOICE, .offset = offsetof(struct shortcut, activation), .def = ACT_LINEAR,
      .choices = activation_choices },
    CFG_CHOICE(struct shortcut, weights_type, WEIGHTS_NONE, weights_types),
    { .name = "weights_normalization", .type = CFG_T_CHOICE, .offset = offsetof(struct shortcut, weights_normalization),
      .def = MIX_NORM_NONE, .choices = normalizations, .lenient = true },
    CFG_END
};

static enum status check_normalization(struct ctx *ctx, const struct layer *l) {
    const char *name = cfg_value(l->section, "weights_normalization");
    const struct cfg_choice *c = normalizations;
    while (name && c->name && strcmp(c->name, name)) ++c;
    if (!name || c->name || !((const struct shortcut *)l->state)->weights_type) return ST_OK;
    return layer_fail(ctx, l, "weights_normalization", "'%.60s' is not known, it must be one of none, relu, avg_relu, softmax", name);
}

static enum status inputs(struct ctx *ctx, struct layer *l) {
    const struct shortcut *s = l->state;
    TRY(check_normalization(ctx, l));
    if (s->from.n == 0) return layer_fail(ctx, l, "from", "is missing: name the layer to add, e.g. from=-3");
    if (l->index == 0) return layer_fail(ctx, l, "from", "the first layer has nothing before it to add");
    int *all = mem_zero(ctx, (size_t)s->from.n + 1, sizeof *all);
    if (!all) return ST_MEMORY;
    all[0] = -1;
    for (int i = 0; i < s->from.n; ++i) all[i + 1] = s->from.v[i];
    enum status st = layer_inputs(ctx, l, "from", all, s->from.n + 1);
    free(all);
    return st;
}

/* Numbers per input among the weights. */
static int row_size(const struct layer *l) {
    return ((const struct shortcut *)l->state)->weights_type == WEIGHTS_PER_CHANNEL ? l->out.c : 1;
}

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)all, (void)net;
    l->out = l->in_shape[0];
    if (l->out.c == 0) return layer_fail(ctx, l, NULL, "the layer before it is a detection head and has no output to add to");
    for (int i = 1; i < l->n_in; ++i) {
        struct shape in = l->in_shape[i];
        if (in.c == 0 || in.w / l->out.w < 1 || in.w / l->out.w != in.h / l->out.h || (in.w < 2 * l->out.w && (in.w != l->out.w || in.h != l->out.h)))
            return layer_fail(ctx, l, "from", "layer %d is %d x %d x %d but layer %d is %d x %d x %d; their maps must have one size, or one a multiple of it",
                              l->in[i], in.w, in.h, in.c, l->in[0], l->out.w, l->out.h, l->out.c);
    }
    const struct shortcut *s = l->state;
    l->flops = (double)l->out.c * l->out.h * l->out.w * (l->n_in - 1) * (s->weights_type ? 2 : 1);
    if (s->weights_type)
        layer_param(l, &(struct param){ .name = "weights", .role = PARAM_MIX, .dim = { l->n_in, row_size(l), 1 },
                                        .out_axis = s->weights_type == WEIGHTS_PER_CHANNEL ? 1 : -1, .in_axis = -1,
                                        .flags = PARAM_TRAIN | PARAM_LIMIT_STEP, .init_mean = 1 });
    return ST_OK;
}

/* Every s-th cell of input i, as many as the output has. */
static struct tensor cells_of(const struct layer *l, int i, const struct tensor *t) {
    struct tensor view = *t;
    int step = l->in_shape[i].w / l->out.w;
    view.w = l->out.w, view.h = l->out.h;
    view.sw *= step, view.sh *= step;
    return view;
}

static int common(const struct layer *l, int i) { return l->in_shape[i].c < l->out.c ? l->in_shape[i].c : l->out.c; }

static bool sums(const struct layer *l) {
    return l->n_in == 2 && !l->n_param && ((const struct shortcut *)l->state)->activation == ACT_LINEAR && l->in_shape[1].c == l->out.c &&
           l->in_shape[1].w == l->out.w && l->in_shape[1].h == l->out.h;
}

static bool keeps_pre(const struct layer *l, enum net_mode mode) {
    return mode != NET_INFER && activation_needs_input((enum activation)((const struct shortcut *)l->state)->activation);
}

static enum status prepare(struct layer *l, struct pass *p) {
    struct shortcut_run *run = l->run = mem_zero(p->ctx, 1, sizeof *run);
    if (!run) return ST_MEMORY;
    if (keeps_pre(l, p->mode)) {
        size_t n = shape_count((struct shape){ p->batch, l->out.c, l->out.h, l->out.w });
        run->pre = shape_tensor(p->be, l->out, p->batch, p->be->ops->alloc(p->be, p->ctx, n));
    }
    if (l->n_param) {
        run->w = p->be->ops->alloc(p->be, p->ctx, param_count(&l->param[0]));
        if (p->mode == NET_TRAIN) run->dw = p->be->ops->alloc(p->be, p->ctx, param_count(&l->param[0]));
    }
    return p->ctx->code;
}

static void release(struct layer *l, struct backend *be) {
    struct shortcut_run *run = l->run;
    if (!run) return;
    be->ops->free(be, run->pre.data);
    be->ops->free(be, run->w);
    be->ops->free(be, run->dw);
    free(run);
    l->run = NULL;
}

static enum status refresh(struct layer *l, struct pass *p) {
    const struct shortcut *s = l->state;
    struct shortcut_run *run = l->run;
    if (l->n_param)
        p->be->ops->mix_weights(p->be, (enum mix_norm)s->weights_normalization, p->param[0], l->n_in, row_size(l), run->w);
    return ST_OK;
}

/* y (+)= w_i * x over the channels that input i has in common with the output. */
static void weighted(const struct layer *l, struct pass *p, int i, const struct tensor *x, struct tensor *y, bool add) {
    const struct backend_ops *ops = p->be->ops;
    const struct shortcut_run *run = l->run;
    int n = row_size(l);
    if (!l->n_param) ops->copy_channels(p->be, x, 0, y, 0, common(l, i), 1, add);
    else ops->copy_weighted(p->be, x, ops->at(p->be, run->w, (size_t)i * (size_t)n), n > 1, common(l, i), y, add);
}

static enum status forward(struct layer *l, struct pass *p) {
    const struct shortcut *s = l->state;
    struct shortcut_run *run = l->run;
    struct tensor *sum = run->pre.data ? &run->pre : p->y;
    for (int i = 0; i < l->n_in; ++i) {
        struct tensor x = cells_of(l, i, p->x[i]);
        weighted(l, p, i, &x, sum, i > 0);
    }
    if (s->activation != ACT_LINEAR) p->be->ops->act_forward(p->be, (enum activation)s->activation, sum, p->y);
    return ST_OK;
}

/* Through the normalisation to the stored weights. */
static void weights_backward(const struct layer *l, struct pass *p) {
    const struct shortcut *s = l->state;
    const struct backend_ops *ops = p->be->ops;
    struct shortcut_run *run = l->run;
    int n = row_size(l);
    struct tensor all = shape_tensor(p->be, (struct shape){ 1, (int)param_count(&l->param[0]), 1, 1 }, 1, run->dw);
    ops->fill(p->be, &all, 0);
    for (int i = 0; i < l->n_in; ++i) {
        struct tensor x = cells_of(l, i, p->x[i]);
        ops->weight_backward(p->be, &x, p->dy, n > 1, common(l, i), ops->at(p->be, run->dw, (size_t)i * (size_t)n));
    }
    ops->mix_weights_backward(p->be, (enum mix_norm)s->weights_normalization, p->param[0], run->w, run->dw, l->n_in, n, p->grad[0]);
}

static enum status backward(struct layer *l, struct pass *p) {
    const struct shortcut *s = l->state;
    struct shortcut_run *run = l->run;
    if (s->activation != ACT_LINEAR)
        p->be->ops->act_backward(p->be, (enum activation)s->activation, run->pre.data ? &run->pre : NULL, p->y, p->dy, p->dy, false);
    if (p->hook && p->hook->joint) TRY(p->hook->joint(p->hook->user, p, l, p->dy));
    if (run->dw) weights_backward(l, p);
    for (int i = 0; i < l->n_in; ++i) {
        if (!p->dx[i]) continue;
        struct tensor dx = cells_of(l, i, p->dx[i]);
        weighted(l, p, i, p->dy, &dx, p->add[i]);
    }
    return ST_OK;
}

static bool overwrites(const struct layer *l, int input) { return l->in_shape[input].c <= l->out.c && l->in_shape[input].w == l->out.w; }

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    for (int k = 0; k < l->out.c; ++k) channels_tie(ch, l->index, k, l->in[0], k);
    for (int i = 1; i < l->n_in; ++i)
        for (int k = 0; k < common(l, i); ++k) channels_tie(ch, l->index, k, l->in[i], k);
}

static void describe(const struct layer *l, char *text, size_t size) {
    const struct shortcut *s = l->state;
    int n = snprintf(text, size, "Shortcut Layer: ");
    for (int i = 1; i < l->n_in && n > 0 && (size_t)n < size; ++i) n += snprintf(text + n, size - (size_t)n, "%d, ", l->in[i]);
    if (n > 0 && (size_t)n < size)
        snprintf(text + n, size - (size_t)n, " wt = %d, wn = %d, outputs:%4d x%4d x%4d %5.3f BF", s->weights_type,
                 s->weights_normalization, l->out.w, l->out.h, l->out.c, l->flops / 1e9);
}

const struct layer_ops shortcut_ops = {
    .name = "shortcut", .state_size = sizeof(struct shortcut), .keys = keys, .inputs = inputs, .shape = shape, .repeats = layer_repeats, .views = layer_views, .narrow = layer_views, .sums = sums, .prepare = prepare,
    .refresh = refresh, .steady = layer_steady, .forward = forward, .backward = backward, .release = release, .overwrites = overwrites, .couple = couple, .describe = describe
};
