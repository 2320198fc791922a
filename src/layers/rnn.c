/* [rnn]: three matrices per step, [crnn]: three convolutions (darknet-compat 2.20).  Over steps t, with state s:
 *   s <- input(x) + self(s) (+ s with shortcut),  y = output(s)
 * x (N, C, H, W) -> y (N, output, OH, OW); [rnn]: x flattened, y one cell.  `stride` is the input convolution's: the other
 * two work on the state and keep its size. */
#include <stdio.h>
#include <stdlib.h>

#include "layers/recurrent.h"

enum { INPUT, SELF, OUTPUT, MAPS };

struct rnn {
    int output, hidden, activation, batch_normalize, logistic, shortcut;
    int size, stride, dilation, pad, padding, groups; /* [crnn]; all 0 for [rnn] */
    struct affine_desc map[MAPS];
    struct affine_rows rows[MAPS];
};

struct rnn_run {
    struct affine map[MAPS];
    struct tensor input, self, state;
    struct tensor dstate[2], dself; /* of one step: two that take turns, and a copy for self */
};

static const struct cfg_key rnn_keys[] = {
    CFG_INT(struct rnn, output, 1, 1, 1 << 20),
    CFG_INT(struct rnn, hidden, 1, 1, 1 << 20),
    { .name = "activation", .type = CFG_T_CHOICE, .offset = offsetof(struct rnn, activation), .def = ACT_LOGISTIC,
      .choices = activation_choices },
    CFG_BOOL(struct rnn, batch_normalize, 0),
    CFG_INT(struct rnn, logistic, 0, 0, 2),
    CFG_BOOL(struct rnn, shortcut, 0),
    CFG_END
};

static const struct cfg_key crnn_keys[] = {
    CFG_INT(struct rnn, output, 1, 1, 1 << 20),
    CFG_INT(struct rnn, hidden, 1, 1, 1 << 20),
    CFG_INT(struct rnn, groups, 1, 1, 1 << 20),
    CFG_INT(struct rnn, size, 3, 1, 1024),
    CFG_INT(struct rnn, stride, 1, 1, 1024),
    CFG_INT(struct rnn, dilation, 1, 1, 1024),
    CFG_BOOL(struct rnn, pad, 0),
    CFG_INT(struct rnn, padding, 0, 0, 1024),
    { .name = "activation", .type = CFG_T_CHOICE, .offset = offsetof(struct rnn, activation), .def = ACT_LOGISTIC,
      .choices = activation_choices },
    CFG_BOOL(struct rnn, batch_normalize, 0),
    CFG_BOOL(struct rnn, shortcut, 0),
    CFG_MISSING("xnor", 0),
    CFG_END
};

/* --- shapes --------------------------------------------------------------------------------------------------------- */

static double flops_at(const struct layer *l, int in_c, int out_c) {
    const struct rnn *r = l->state;
    return affine_flops(&r->map[INPUT]) * in_c / l->in_shape[0].c + affine_flops(&r->map[SELF]) +
           affine_flops(&r->map[OUTPUT]) * out_c / l->out.c;
}

/* The hidden state keeps its width: pruning sees the channels of the input and of the output only. */
static void declare(struct layer *l) {
    static const unsigned sides[MAPS] = { AFFINE_IN, 0, AFFINE_OUT };
    struct rnn *r = l->state;
    l->out = r->map[OUTPUT].y;
    l->n_param = 0;
    for (int k = 0; k < MAPS; ++k) r->rows[k] = affine_params(l, &r->map[k], sides[k]);
    l->flops = flops_at(l, l->in_shape[0].c, l->out.c);
}

static enum status rnn_shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)all, (void)net;
    struct rnn *r = l->state;
    enum activation act = (enum activation)r->activation, own = r->logistic == 2 ? ACT_LOGGY : r->logistic ? ACT_LOGISTIC : act;
    bool bn = r->batch_normalize;
    struct shape hidden = { 1, r->hidden, 1, 1 };
    r->map[INPUT] = affine_matrix(l->in_shape[0], r->hidden, bn, act);
    r->map[SELF] = affine_matrix(hidden, r->hidden, bn, own);
    r->map[OUTPUT] = affine_matrix(hidden, r->output, bn, act);
    for (int k = 0; k < MAPS; ++k) TRY(recurrent_fits(ctx, l, &r->map[k]));
    declare(l);
    l->flops = 0; /* Darknet's table counts none */
    return ST_OK;
}

static enum status crnn_shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)all, (void)net;
    struct rnn *r = l->state;
    struct affine_desc d = { .x = l->in_shape[0], .y = { 1, r->hidden, 0, 0 }, .groups = r->groups, .size = r->size,
                             .stride = r->stride, .dilation = r->dilation, .pad = r->pad ? r->size / 2 : r->padding,
                             .batch_normalize = r->batch_normalize, .act = (enum activation)r->activation };
    r->map[INPUT] = r->map[SELF] = d;
    TRY(recurrent_convolution(ctx, l, &r->map[INPUT]));
    r->map[SELF].x = r->map[INPUT].y;
    r->map[SELF].stride = 1;
    r->map[OUTPUT] = r->map[SELF];
    r->map[OUTPUT].y.c = r->output;
    TRY(recurrent_convolution(ctx, l, &r->map[SELF]));
    TRY(recurrent_convolution(ctx, l, &r->map[OUTPUT]));
    TRY(recurrent_keeps_size(ctx, l, &r->map[SELF]));
    declare(l);
    return ST_OK;
}

/* --- memory --------------------------------------------------------------------------------------------------------- */

static enum status prepare(struct layer *l, struct pass *p) {
    const struct rnn *r = l->state;
    struct rnn_run *run = l->run = mem_zero(p->ctx, 1, sizeof *run);
    if (!run) return ST_MEMORY;
    for (int k = 0; k < MAPS; ++k)
        TRY(affine_open(&run->map[k], p, &r->map[k], r->rows[k], recurrent_images(p), p->steps));
    struct shape hidden = r->map[SELF].y;
    int kept = p->mode == NET_INFER ? 1 : p->steps;
    run->input = recurrent_room(p, hidden, kept);
    run->self = recurrent_room(p, hidden, kept);
    run->state = recurrent_room(p, hidden, p->steps + 1);
    if (p->mode == NET_INFER) return p->ctx->code;
    for (int k = 0; k < 2; ++k) run->dstate[k] = recurrent_room(p, hidden, 1);
    run->dself = recurrent_room(p, hidden, 1);
    return p->ctx->code;
}

static void release(struct layer *l, struct backend *be) {
    struct rnn_run *run = l->run;
    if (!run) return;
    for (int k = 0; k < MAPS; ++k) affine_close(&run->map[k], be);
    be->ops->free(be, run->input.data);
    be->ops->free(be, run->self.data);
    be->ops->free(be, run->state.data);
    be->ops->free(be, run->dstate[0].data);
    be->ops->free(be, run->dstate[1].data);
    be->ops->free(be, run->dself.data);
    free(run);
    l->run = NULL;
}

static enum status refresh(struct layer *l, struct pass *p) {
    struct rnn_run *run = l->run;
    for (int k = 0; k < MAPS; ++k) TRY(affine_refresh(&run->map[k], p));
    return ST_OK;
}

static enum status reset(struct layer *l, struct pass *p) {
    recurrent_forget(p, &((struct rnn_run *)l->run)->state);
    return ST_OK;
}

/* --- passes --------------------------------------------------------------------------------------------------------- */

static enum status forward(struct layer *l, struct pass *p) {
    const struct rnn *r = l->state;
    struct rnn_run *run = l->run;
    recurrent_start(p, &run->state);
    for (int t = 0; t < p->steps; ++t) {
        struct tensor x = recurrent_slice(p, p->x[0], t), y = recurrent_slice(p, p->y, t);
        struct tensor input = recurrent_slice(p, &run->input, t), self = recurrent_slice(p, &run->self, t);
        struct tensor old = recurrent_slice(p, &run->state, t), state = recurrent_slice(p, &run->state, t + 1);
        TRY(affine_forward(&run->map[INPUT], p, t, &x, &input));
        TRY(affine_forward(&run->map[SELF], p, t, &old, &self));
        recurrent_copy(p, &input, &state, false);
        recurrent_copy(p, &self, &state, true);
        if (r->shortcut) recurrent_copy(p, &old, &state, true);
        TRY(affine_forward(&run->map[OUTPUT], p, t, &state, &y));
    }
    return ST_OK;
}

/* dstate: what later steps send to the state after step t; receives this step's output's share, and is used up.
 * dold: receives what this step sends to the state before it. */
static enum status backward_step(struct layer *l, struct pass *p, int t, struct recurrent_edge *edge, struct tensor *dstate,
                                 struct tensor *dold) {
    const struct rnn *r = l->state;
    struct rnn_run *run = l->run;
    struct tensor y = recurrent_slice(p, p->y, t), dy = recurrent_slice(p, p->dy, t);
    struct tensor input = recurrent_slice(p, &run->input, t), self = recurrent_slice(p, &run->self, t);
    struct tensor old = recurrent_slice(p, &run->state, t), state = recurrent_slice(p, &run->state, t + 1);
    TRY(affine_backward(&run->map[OUTPUT], p, t, &state, &y, &dy, dstate, true));
    recurrent_copy(p, dstate, &run->dself, false);
    if (r->shortcut) recurrent_copy(p, dstate, dold, false);
    TRY(affine_backward(&run->map[SELF], p, t, &old, &self, &run->dself, t > 0 ? dold : NULL, r->shortcut));
    recurrent_edge_step(p, t, edge);
    return affine_backward(&run->map[INPUT], p, t, &edge->x, &input, dstate, edge->dx, edge->add);
}

static enum status backward(struct layer *l, struct pass *p) {
    struct rnn_run *run = l->run;
    struct recurrent_edge edge;
    recurrent_edge_begin(l, p, &edge);
    p->be->ops->fill(p->be, &run->dstate[p->steps % 2], 0);
    for (int t = p->steps - 1; t >= 0; --t) TRY(backward_step(l, p, t, &edge, &run->dstate[(t + 1) % 2], &run->dstate[t % 2]));
    return recurrent_edge_end(l, p, &edge);
}

/* --- pruning and the table ------------------------------------------------------------------------------------------ */

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    if (((const struct rnn *)l->state)->groups <= 1) return; /* the hidden state is no node: it stays */
    channels_freeze(ch, l->index, "leaves a recurrent layer with groups");
    channels_freeze(ch, l->in[0], "is read by a recurrent layer with groups");
}

static enum status rewrite(struct ctx *ctx, const struct layer *l, int kept_in, int kept_out, struct cfg_doc *doc) {
    (void)kept_in;
    return kept_out == l->out.c ? ST_OK : cfg_set_int(ctx, doc, l->index + 1, "output", kept_out);
}

static bool reads(const struct layer *l) { return (void)l, true; }

static void rnn_describe(const struct layer *l, char *text, size_t size) {
    snprintf(text, size, "RNN Layer: %zu inputs, %d outputs", shape_count(l->in_shape[0]), l->out.c);
}

static void crnn_describe(const struct layer *l, char *text, size_t size) {
    struct shape in = l->in_shape[0];
    snprintf(text, size, "CRNN Layer: %d x %d x %d image, %d filters", in.h, in.w, in.c, l->out.c);
}

#define COMMON                                                                                                              \
    .state_size = sizeof(struct rnn), .prepare = prepare, .refresh = refresh, .forward = forward, .backward = backward,     \
    .release = release, .reset = reset, .couple = couple, .rewrite = rewrite, .flops_at = flops_at, .reads = reads

const struct layer_ops rnn_ops = { .name = "rnn", .keys = rnn_keys, .shape = rnn_shape, .describe = rnn_describe, COMMON };
const struct layer_ops crnn_ops = { .name = "crnn", .keys = crnn_keys, .shape = crnn_shape, .describe = crnn_describe, COMMON };
