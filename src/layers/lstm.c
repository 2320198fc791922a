/* [lstm]: long short-term memory with matrices, [conv_lstm]: with convolutions (darknet-compat 2.20).  U act on the input x,
 * W on the state h, V (peephole) on the cell c; c' is c held within +-state_constrain.  Per step:
 *   f, i = logistic(U x + W h + V c'),  g = act(U x + W h),  c <- f*c' + i*g,  o = logistic(U x + W h + V c),  h <- o*act(c),  y = h
 * act is tanh, or lstm_activation.  With bottleneck one map W of (h, x) makes m = act(W (h, x)), and U act on m alone; then
 * shortcut adds the first half of m's channels to y.  x (N, C, H, W) -> y (N, output, OH, OW), one cell for [lstm]. */
#include <stdio.h>
#include <stdlib.h>

#include "layers/recurrent.h"

enum gate { F, I, G, O, GATES };
enum side { V, W, U, SIDES }; /* side by side, gate by gate: the order in .weights */

struct lstm {
    int output, batch_normalize;
    int size, stride, dilation, pad, padding, groups, activation; /* [conv_lstm], as all that follow */
    int peephole, bottleneck, shortcut, state_constrain, lstm_activation;
    double time_normalizer;
    struct affine_desc map[SIDES];
    struct affine_rows rows[SIDES][GATES];
};

struct lstm_run {
    struct affine map[SIDES][GATES];
    struct tensor out[SIDES][GATES];           /* the maps' outputs, where backward wants them */
    struct tensor gate[GATES], active, mixed;  /* f, i, g, o; act(c); m */
    struct tensor cell, state;                 /* c, h: steps + 1 */
    struct tensor part, held, both;            /* of one step, as all that follow: a map's output; c'; (h, x) */
    struct tensor dgate[GATES], dout, dactive, dmixed, dboth, dheld, dstate;
    double limit;                              /* of the cell; 0: none */
};

#define COMMON_KEYS                                     \
    CFG_INT(struct lstm, output, 1, 1, 1 << 20),        \
    CFG_BOOL(struct lstm, batch_normalize, 0)
#define ACTIVATION_KEY(field, value)                                                                  \
    { .name = #field, .type = CFG_T_CHOICE, .offset = offsetof(struct lstm, field), .def = (value), \
      .choices = activation_choices }

static const struct cfg_key lstm_keys[] = { COMMON_KEYS, CFG_END };

static const struct cfg_key conv_lstm_keys[] = {
    COMMON_KEYS,
    CFG_INT(struct lstm, groups, 1, 1, 1 << 20),
    CFG_INT(struct lstm, size, 3, 1, 1024),
    CFG_INT(struct lstm, stride, 1, 1, 1024),
    CFG_INT(struct lstm, dilation, 1, 1, 1024),
    CFG_BOOL(struct lstm, pad, 0),
    CFG_INT(struct lstm, padding, 0, 0, 1024),
    ACTIVATION_KEY(activation, ACT_LINEAR),
    CFG_BOOL(struct lstm, peephole, 0),
    CFG_BOOL(struct lstm, bottleneck, 0),
    CFG_BOOL(struct lstm, shortcut, 0),
    CFG_INT(struct lstm, state_constrain, -1, -1, 1 << 30),
    ACTIVATION_KEY(lstm_activation, ACT_TANH),
    CFG_FLOAT(struct lstm, time_normalizer, 1),
    CFG_MISSING("xnor", 0),
    CFG_END
};

/* --- shapes --------------------------------------------------------------------------------------------------------- */

static bool has(const struct lstm *s, int side, int gate) {
    if (side == V) return s->peephole && gate != G;
    return side == U || !s->bottleneck || gate == F;
}

static double flops_at(const struct layer *l, int in_c, int out_c) {
    (void)out_c;
    const struct lstm *s = l->state;
    double sum = 0, out = (double)shape_count(l->out);
    for (int side = 0; side < SIDES; ++side)
        for (int k = 0; k < GATES; ++k)
            if (has(s, side, k)) sum += affine_flops(&s->map[side]) * (side == U ? (double)in_c / l->in_shape[0].c : 1);
    return s->size == 0 ? sum : sum + (s->peephole ? 12 : 9) * out; /* as upstream counts what is done per element */
}

static void declare(struct layer *l) {
    struct lstm *s = l->state;
    l->out = s->map[U].y;
    l->n_param = 0;
    for (int side = 0; side < SIDES; ++side)
        for (int k = 0; k < GATES; ++k)
            if (has(s, side, k)) s->rows[side][k] = affine_params(l, &s->map[side], side == U && !s->bottleneck ? AFFINE_IN : 0);
    l->flops = flops_at(l, l->in_shape[0].c, l->out.c);
}

static enum status lstm_shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)all, (void)net;
    struct lstm *s = l->state;
    s->lstm_activation = ACT_TANH;
    s->time_normalizer = 1;
    s->map[U] = affine_matrix(l->in_shape[0], s->output, s->batch_normalize, ACT_LINEAR);
    s->map[W] = affine_matrix(s->map[U].y, s->output, s->batch_normalize, ACT_LINEAR);
    TRY(recurrent_fits(ctx, l, &s->map[U]));
    TRY(recurrent_fits(ctx, l, &s->map[W]));
    declare(l);
    l->flops = 0; /* Darknet's table counts none */
    return ST_OK;
}

static enum status conv_lstm_shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)all, (void)net;
    struct lstm *s = l->state;
    if (activation_needs_input((enum activation)s->lstm_activation))
        return layer_fail(ctx, l, "lstm_activation", "%s is not possible here: its slope does not follow from its value",
                          activation_name((enum activation)s->lstm_activation));
    struct affine_desc d = { .x = l->in_shape[0], .y = { 1, s->output, 0, 0 }, .groups = s->groups, .size = s->size,
                             .stride = s->stride, .dilation = s->dilation, .pad = s->pad ? s->size / 2 : s->padding,
                             .batch_normalize = s->batch_normalize, .act = (enum activation)s->activation };
    s->map[U] = s->map[W] = d;
    TRY(recurrent_convolution(ctx, l, &s->map[U]));
    s->map[W].x = s->map[U].y;
    s->map[W].stride = 1;
    s->map[V] = s->map[W];
    if (s->bottleneck) {
        if (d.x.c != s->output || s->stride != 1)
            return layer_fail(ctx, l, "bottleneck", "needs as many input channels as outputs (%d, not %d) and stride 1", s->output, d.x.c);
        s->map[W].x.c = 2 * s->output;
    }
    TRY(recurrent_convolution(ctx, l, &s->map[W]));
    TRY(recurrent_convolution(ctx, l, &s->map[V]));
    TRY(recurrent_keeps_size(ctx, l, &s->map[W]));
    declare(l);
    return ST_OK;
}

/* --- memory --------------------------------------------------------------------------------------------------------- */

static enum status open_maps(struct layer *l, struct pass *p, int kept) {
    const struct lstm *s = l->state;
    struct lstm_run *run = l->run;
    for (int side = 0; side < SIDES; ++side)
        for (int k = 0; k < GATES; ++k) {
            if (!has(s, side, k)) continue;
            TRY(affine_open(&run->map[side][k], p, &s->map[side], s->rows[side][k], recurrent_images(p), p->steps));
            if (p->mode != NET_INFER && s->map[side].act != ACT_LINEAR) run->out[side][k] = recurrent_room(p, l->out, kept);
        }
    return p->ctx->code;
}

static enum status prepare(struct layer *l, struct pass *p) {
    const struct lstm *s = l->state;
    struct lstm_run *run = l->run = mem_zero(p->ctx, 1, sizeof *run);
    if (!run) return ST_MEMORY;
    int kept = p->mode == NET_INFER ? 1 : p->steps;
    TRY(open_maps(l, p, kept));
    /* QUIRK: the default depends on the steps of this very pass, so that it is 32 at inference */
    if (s->size > 0) run->limit = s->state_constrain < 0 ? 32.0 * p->steps : s->state_constrain;
    for (int k = 0; k < GATES; ++k) run->gate[k] = recurrent_room(p, l->out, kept);
    run->active = recurrent_room(p, l->out, kept);
    run->cell = recurrent_room(p, l->out, p->steps + 1);
    run->state = recurrent_room(p, l->out, p->steps + 1);
    run->part = recurrent_room(p, l->out, 1);
    run->held = recurrent_room(p, l->out, 1);
    if (s->bottleneck) {
        run->mixed = recurrent_room(p, l->out, kept);
        run->both = recurrent_room(p, s->map[W].x, 1);
    }
    if (p->mode == NET_INFER) return p->ctx->code;
    for (int k = 0; k < GATES; ++k) run->dgate[k] = recurrent_room(p, l->out, 1);
    struct tensor *d[] = { &run->dout, &run->dactive, &run->dheld, &run->dstate };
    for (size_t k = 0; k < sizeof d / sizeof d[0]; ++k) *d[k] = recurrent_room(p, l->out, 1);
    if (s->bottleneck) {
        run->dmixed = recurrent_room(p, l->out, 1);
        run->dboth = recurrent_room(p, s->map[W].x, 1);
    }
    return p->ctx->code;
}

static void release(struct layer *l, struct backend *be) {
    struct lstm_run *run = l->run;
    if (!run) return;
    for (int k = 0; k < GATES; ++k) {
        for (int side = 0; side < SIDES; ++side) {
            affine_close(&run->map[side][k], be);
            be->ops->free(be, run->out[side][k].data);
        }
        be->ops->free(be, run->gate[k].data);
        be->ops->free(be, run->dgate[k].data);
    }
    struct tensor *t[] = { &run->active, &run->mixed, &run->cell, &run->state, &run->part, &run->held, &run->both,
                           &run->dout, &run->dactive, &run->dmixed, &run->dboth, &run->dheld, &run->dstate };
    for (size_t k = 0; k < sizeof t / sizeof t[0]; ++k) be->ops->free(be, t[k]->data);
    free(run);
    l->run = NULL;
}

static enum status refresh(struct layer *l, struct pass *p) {
    struct lstm_run *run = l->run;
    for (int side = 0; side < SIDES; ++side)
        for (int k = 0; k < GATES; ++k)
            if (has(l->state, side, k)) TRY(affine_refresh(&run->map[side][k], p));
    return ST_OK;
}

static enum status reset(struct layer *l, struct pass *p) {
    struct lstm_run *run = l->run;
    recurrent_forget(p, &run->cell);
    recurrent_forget(p, &run->state);
    return ST_OK;
}

/* --- forward -------------------------------------------------------------------------------------------------------- */

static struct tensor output_of(struct lstm_run *run, struct pass *p, int side, int gate, int t) {
    const struct tensor *kept = &run->out[side][gate];
    return kept->data ? recurrent_slice(p, kept, t) : run->part;
}

/* The gate's sum over its maps, activated.  x: what U reads; h and c: what W and V read. */
static enum status gate_forward(const struct lstm *s, struct lstm_run *run, struct pass *p, int t, int k, const struct tensor *x,
                                const struct tensor *h, const struct tensor *c) {
    const struct tensor *from[SIDES] = { c, h, x };
    struct tensor gate = recurrent_slice(p, &run->gate[k], t);
    enum activation act = k == G ? (enum activation)s->lstm_activation : ACT_LOGISTIC;
    for (int side = U; side >= V; --side) {
        if (!has(s, side, k) || (side == W && s->bottleneck)) continue;
        struct tensor out = output_of(run, p, side, k, t);
        TRY(affine_forward(&run->map[side][k], p, t, from[side], &out));
        recurrent_copy(p, &out, &gate, side != U);
    }
    p->be->ops->act_forward(p->be, act, &gate, &gate);
    return ST_OK;
}

/* Channels of h, then of x. */
static void join(struct lstm_run *run, struct pass *p, const struct tensor *h, const struct tensor *x) {
    p->be->ops->copy_channels(p->be, h, 0, &run->both, 0, h->c, 1, false);
    p->be->ops->copy_channels(p->be, x, 0, &run->both, h->c, x->c, 1, false);
}

static enum status mix_forward(const struct lstm *s, struct lstm_run *run, struct pass *p, int t, const struct tensor *h,
                               const struct tensor *x, struct tensor *mixed) {
    struct tensor out = output_of(run, p, W, F, t);
    join(run, p, h, x);
    TRY(affine_forward(&run->map[W][F], p, t, &run->both, &out));
    p->be->ops->act_forward(p->be, (enum activation)s->lstm_activation, &out, mixed);
    return ST_OK;
}

/* c' of the cell. */
static void hold(const struct lstm_run *run, struct pass *p, const struct tensor *cell, struct tensor *held) {
    if (run->limit > 0) p->be->ops->constrain(p->be, cell, run->limit, held);
    else recurrent_copy(p, cell, held, false);
}

static enum status forward_step(struct layer *l, struct pass *p, int t) {
    const struct lstm *s = l->state;
    struct lstm_run *run = l->run;
    struct tensor x = recurrent_slice(p, p->x[0], t), y = recurrent_slice(p, p->y, t);
    struct tensor h = recurrent_slice(p, &run->state, t), next_h = recurrent_slice(p, &run->state, t + 1);
    struct tensor c = recurrent_slice(p, &run->cell, t), next_c = recurrent_slice(p, &run->cell, t + 1);
    struct tensor f = recurrent_slice(p, &run->gate[F], t), i = recurrent_slice(p, &run->gate[I], t);
    struct tensor g = recurrent_slice(p, &run->gate[G], t), o = recurrent_slice(p, &run->gate[O], t);
    struct tensor active = recurrent_slice(p, &run->active, t);
    if (s->bottleneck) {
        struct tensor mixed = recurrent_slice(p, &run->mixed, t);
        TRY(mix_forward(s, run, p, t, &h, &x, &mixed));
        x = mixed;
    }
    hold(run, p, &c, &run->held);
    for (int k = F; k <= G; ++k) TRY(gate_forward(s, run, p, t, k, &x, &h, &run->held));
    recurrent_times(p, &f, &run->held, &next_c, false);
    recurrent_times(p, &i, &g, &next_c, true);
    TRY(gate_forward(s, run, p, t, O, &x, &h, &next_c));
    p->be->ops->act_forward(p->be, (enum activation)s->lstm_activation, &next_c, &active);
    recurrent_times(p, &o, &active, &next_h, false);
    if (s->size > 0) p->be->ops->constrain(p->be, &next_h, 0, &next_h);
    recurrent_copy(p, &next_h, &y, false);
    if (s->bottleneck && s->shortcut) p->be->ops->copy_channels(p->be, &x, 0, &y, 0, y.c / 2, 1, true);
    return ST_OK;
}

static enum status forward(struct layer *l, struct pass *p) {
    struct lstm_run *run = l->run;
    recurrent_start(p, &run->cell);
    recurrent_start(p, &run->state);
    for (int t = 0; t < p->steps; ++t) TRY(forward_step(l, p, t));
    return ST_OK;
}

/* --- backward ------------------------------------------------------------------------------------------------------- */

/* One map of a gate: parameters, and dx where it is wanted. */
static enum status map_backward(struct lstm_run *run, struct pass *p, int t, int side, int k, const struct tensor *x, struct tensor *dx,
                                bool add) {
    struct tensor out = output_of(run, p, side, k, t);
    recurrent_copy(p, &run->dgate[k], &run->dout, false);
    return affine_backward(&run->map[side][k], p, t, x, &out, &run->dout, dx, add);
}

/* dgate of all gates (before their activations), dheld: of c' before the step; dstate comes in as dU/dh after the step. */
static enum status gates_backward(struct layer *l, struct pass *p, int t) {
    const struct lstm *s = l->state;
    struct lstm_run *run = l->run;
    const struct backend_ops *ops = p->be->ops;
    struct tensor gate[GATES], active = recurrent_slice(p, &run->active, t);
    struct tensor c = recurrent_slice(p, &run->cell, t), next_c = recurrent_slice(p, &run->cell, t + 1);
    for (int k = 0; k < GATES; ++k) gate[k] = recurrent_slice(p, &run->gate[k], t);
    recurrent_times(p, &run->dstate, &active, &run->dgate[O], false);
    ops->act_backward(p->be, ACT_LOGISTIC, NULL, &gate[O], &run->dgate[O], &run->dgate[O], false);
    /* of the cell after the step: through h, through the next step, through o's peephole */
    struct tensor *dcell = &run->dactive;
    recurrent_times(p, &run->dstate, &gate[O], dcell, false);
    ops->act_backward(p->be, (enum activation)s->lstm_activation, NULL, &active, dcell, dcell, false);
    if (run->limit > 0) ops->constrain_backward(p->be, &next_c, run->limit, &run->dheld, dcell, true);
    else recurrent_copy(p, &run->dheld, dcell, true);
    if (s->peephole) TRY(map_backward(run, p, t, V, O, &next_c, dcell, true));
    hold(run, p, &c, &run->held);
    recurrent_times(p, dcell, &run->held, &run->dgate[F], false);
    recurrent_times(p, dcell, &gate[G], &run->dgate[I], false);
    recurrent_times(p, dcell, &gate[I], &run->dgate[G], false);
    recurrent_times(p, dcell, &gate[F], &run->dheld, false);
    for (int k = F; k <= G; ++k) {
        enum activation act = k == G ? (enum activation)s->lstm_activation : ACT_LOGISTIC;
        ops->act_backward(p->be, act, NULL, &gate[k], &run->dgate[k], &run->dgate[k], false);
        if (has(s, V, k)) TRY(map_backward(run, p, t, V, k, &run->held, &run->dheld, true));
    }
    return ST_OK;
}

/* dmixed -> W -> the state before the step and the input. */
static enum status mix_backward(struct layer *l, struct pass *p, int t, const struct tensor *h, const struct recurrent_edge *edge) {
    const struct lstm *s = l->state;
    struct lstm_run *run = l->run;
    struct tensor mixed = recurrent_slice(p, &run->mixed, t), out = output_of(run, p, W, F, t);
    p->be->ops->act_backward(p->be, (enum activation)s->lstm_activation, NULL, &mixed, &run->dmixed, &run->dmixed, false);
    join(run, p, h, &edge->x);
    TRY(affine_backward(&run->map[W][F], p, t, &run->both, &out, &run->dmixed, &run->dboth, false));
    p->be->ops->copy_channels(p->be, &run->dboth, 0, &run->dstate, 0, h->c, 1, false);
    if (edge->dx) p->be->ops->copy_channels(p->be, &run->dboth, h->c, edge->dx, 0, edge->x.c, 1, edge->add);
    return ST_OK;
}

static enum status backward_step(struct layer *l, struct pass *p, int t, struct recurrent_edge *edge) {
    const struct lstm *s = l->state;
    struct lstm_run *run = l->run;
    struct tensor dy = recurrent_slice(p, p->dy, t), h = recurrent_slice(p, &run->state, t), mixed;
    recurrent_copy(p, &dy, &run->dstate, true);
    TRY(gates_backward(l, p, t));
    recurrent_edge_step(p, t, edge);
    struct tensor *x = &edge->x, *dx = edge->dx;
    bool add = edge->add;
    if (s->bottleneck) {
        mixed = recurrent_slice(p, &run->mixed, t);
        x = &mixed, dx = &run->dmixed, add = s->shortcut;
        if (s->shortcut) p->be->ops->fill(p->be, dx, 0);
        if (s->shortcut) p->be->ops->copy_channels(p->be, &dy, 0, dx, 0, dy.c / 2, 1, false);
    }
    for (int k = 0; k < GATES; ++k) {
        if (!s->bottleneck) TRY(map_backward(run, p, t, W, k, &h, t > 0 ? &run->dstate : NULL, k > 0));
        TRY(map_backward(run, p, t, U, k, x, dx, add || k > 0));
    }
    if (s->bottleneck) TRY(mix_backward(l, p, t, &h, edge));
    if (s->time_normalizer != 1)
        p->be->ops->scale(p->be, shape_count((struct shape){ h.n, h.c, h.h, h.w }), s->time_normalizer, run->dstate.data);
    return ST_OK;
}

static enum status backward(struct layer *l, struct pass *p) {
    struct lstm_run *run = l->run;
    struct recurrent_edge edge;
    recurrent_edge_begin(l, p, &edge);
    p->be->ops->fill(p->be, &run->dstate, 0);
    p->be->ops->fill(p->be, &run->dheld, 0);
    for (int t = p->steps - 1; t >= 0; --t) TRY(backward_step(l, p, t, &edge));
    return recurrent_edge_end(l, p, &edge);
}

/* --- pruning and the table ------------------------------------------------------------------------------------------ */

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    const struct lstm *s = l->state;
    channels_freeze(ch, l->index, "is the state of a recurrent layer");
    if (s->groups > 1) channels_freeze(ch, l->in[0], "is read by a recurrent layer with groups");
    if (s->bottleneck) channels_freeze(ch, l->in[0], "is as wide as the recurrent layer's state (bottleneck=1)");
}

static bool reads(const struct layer *l) { return !((const struct lstm *)l->state)->bottleneck; }

static void lstm_describe(const struct layer *l, char *text, size_t size) {
    snprintf(text, size, "LSTM Layer: %zu inputs, %d outputs", shape_count(l->in_shape[0]), l->out.c);
}

static void conv_lstm_describe(const struct layer *l, char *text, size_t size) {
    struct shape in = l->in_shape[0];
    snprintf(text, size, "CONV_LSTM Layer: %d x %d x %d image, %d filters", in.h, in.w, in.c, l->out.c);
}

#define COMMON                                                                                                              \
    .state_size = sizeof(struct lstm), .prepare = prepare, .refresh = refresh, .forward = forward, .backward = backward,    \
    .release = release, .reset = reset, .couple = couple, .flops_at = flops_at, .reads = reads

const struct layer_ops lstm_ops = { .name = "lstm", .keys = lstm_keys, .shape = lstm_shape, .describe = lstm_describe, COMMON };
const struct layer_ops conv_lstm_ops = { .name = "conv_lstm", .keys = conv_lstm_keys, .shape = conv_lstm_shape,
                                         .describe = conv_lstm_describe, COMMON };
