/* [gru]: gated recurrent unit (darknet-compat 2.20).  W act on the flattened input x, U on the state h, per step:
 *   z = logistic(Wz x + Uz h),  r = logistic(Wr x + Ur h),  n = logistic(Wh x + Uh (r*h)),  h <- z*h + (1 - z)*n,  y = h
 * QUIRK: n is a logistic, not the usual tanh: what upstream is built with.  (N, C, H, W) -> (N, output, 1, 1). */
#include <stdio.h>
#include <stdlib.h>

#include "layers/recurrent.h"

enum gate { Z, R, H, GATES };    /* in file order */
enum side { ON_INPUT, ON_STATE, SIDES };

struct gru {
    int output, batch_normalize;
    struct affine_desc map[SIDES];
    struct affine_rows rows[SIDES][GATES];
};

struct gru_run {
    struct affine map[SIDES][GATES];
    struct tensor gate[GATES];   /* z, r, n of every step */
    struct tensor reset, state;  /* r*h; h, steps + 1 */
    struct tensor part;          /* of one step, as all that follow: one map's output, or a copy of its gradient */
    struct tensor dgate[GATES], dreset, dstate[2];
};

static const struct cfg_key keys[] = {
    CFG_INT(struct gru, output, 1, 1, 1 << 20),
    CFG_BOOL(struct gru, batch_normalize, 0),
    CFG_END
};

/* For the pruner only: Darknet's table counts none, l->flops stays 0. */
static double flops_at(const struct layer *l, int in_c, int out_c) {
    (void)out_c;
    const struct gru *g = l->state;
    return GATES * (affine_flops(&g->map[ON_INPUT]) * in_c / l->in_shape[0].c + affine_flops(&g->map[ON_STATE]));
}

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)all, (void)net;
    struct gru *g = l->state;
    l->out = (struct shape){ 1, g->output, 1, 1 };
    l->n_param = 0;
    g->map[ON_INPUT] = affine_matrix(l->in_shape[0], g->output, g->batch_normalize, ACT_LINEAR);
    g->map[ON_STATE] = affine_matrix(l->out, g->output, g->batch_normalize, ACT_LINEAR);
    for (int side = 0; side < SIDES; ++side) {
        TRY(recurrent_fits(ctx, l, &g->map[side]));
        for (int k = 0; k < GATES; ++k) g->rows[side][k] = affine_params(l, &g->map[side], side == ON_INPUT ? AFFINE_IN : 0);
    }
    return ST_OK;
}

static enum status prepare(struct layer *l, struct pass *p) {
    const struct gru *g = l->state;
    struct gru_run *run = l->run = mem_zero(p->ctx, 1, sizeof *run);
    if (!run) return ST_MEMORY;
    int kept = p->mode == NET_INFER ? 1 : p->steps;
    for (int side = 0; side < SIDES; ++side)
        for (int k = 0; k < GATES; ++k)
            TRY(affine_open(&run->map[side][k], p, &g->map[side], g->rows[side][k], recurrent_images(p), p->steps));
    for (int k = 0; k < GATES; ++k) run->gate[k] = recurrent_room(p, l->out, kept);
    run->reset = recurrent_room(p, l->out, kept);
    run->state = recurrent_room(p, l->out, p->steps + 1);
    run->part = recurrent_room(p, l->out, 1);
    if (p->mode == NET_INFER) return p->ctx->code;
    for (int k = 0; k < GATES; ++k) run->dgate[k] = recurrent_room(p, l->out, 1);
    run->dreset = recurrent_room(p, l->out, 1);
    for (int k = 0; k < 2; ++k) run->dstate[k] = recurrent_room(p, l->out, 1);
    return p->ctx->code;
}

static void release(struct layer *l, struct backend *be) {
    struct gru_run *run = l->run;
    if (!run) return;
    for (int k = 0; k < GATES; ++k) {
        for (int side = 0; side < SIDES; ++side) affine_close(&run->map[side][k], be);
        be->ops->free(be, run->gate[k].data);
        be->ops->free(be, run->dgate[k].data);
    }
    be->ops->free(be, run->reset.data);
    be->ops->free(be, run->state.data);
    be->ops->free(be, run->part.data);
    be->ops->free(be, run->dreset.data);
    be->ops->free(be, run->dstate[0].data);
    be->ops->free(be, run->dstate[1].data);
    free(run);
    l->run = NULL;
}

static enum status refresh(struct layer *l, struct pass *p) {
    struct gru_run *run = l->run;
    for (int side = 0; side < SIDES; ++side)
        for (int k = 0; k < GATES; ++k) TRY(affine_refresh(&run->map[side][k], p));
    return ST_OK;
}

static enum status reset(struct layer *l, struct pass *p) {
    recurrent_forget(p, &((struct gru_run *)l->run)->state);
    return ST_OK;
}

/* gate = logistic(W x + U h); h: what U of this gate reads. */
static enum status gate_forward(struct gru_run *run, struct pass *p, int t, enum gate k, const struct tensor *x, const struct tensor *h) {
    struct tensor gate = recurrent_slice(p, &run->gate[k], t);
    TRY(affine_forward(&run->map[ON_INPUT][k], p, t, x, &gate));
    TRY(affine_forward(&run->map[ON_STATE][k], p, t, h, &run->part));
    recurrent_copy(p, &run->part, &gate, true);
    p->be->ops->act_forward(p->be, ACT_LOGISTIC, &gate, &gate);
    return ST_OK;
}

static enum status forward(struct layer *l, struct pass *p) {
    struct gru_run *run = l->run;
    recurrent_start(p, &run->state);
    for (int t = 0; t < p->steps; ++t) {
        struct tensor x = recurrent_slice(p, p->x[0], t), y = recurrent_slice(p, p->y, t);
        struct tensor h = recurrent_slice(p, &run->state, t), after = recurrent_slice(p, &run->state, t + 1);
        struct tensor z = recurrent_slice(p, &run->gate[Z], t), r = recurrent_slice(p, &run->gate[R], t);
        struct tensor n = recurrent_slice(p, &run->gate[H], t), reset_h = recurrent_slice(p, &run->reset, t);
        TRY(gate_forward(run, p, t, Z, &x, &h));
        TRY(gate_forward(run, p, t, R, &x, &h));
        recurrent_times(p, &r, &h, &reset_h, false);
        TRY(gate_forward(run, p, t, H, &x, &reset_h));
        recurrent_copy(p, &h, &run->part, false); /* h - n */
        p->be->ops->copy_channels(p->be, &n, 0, &run->part, 0, n.c, -1, true);
        recurrent_copy(p, &n, &after, false);
        recurrent_times(p, &z, &run->part, &after, true);
        recurrent_copy(p, &after, &y, false);
    }
    return ST_OK;
}

/* From dU/dgate, which is used up, to the parameters, to `dh` (may be NULL) and to the input. */
static enum status gate_backward(struct gru_run *run, struct pass *p, int t, enum gate k, const struct tensor *h, struct tensor *dh,
                                 bool add, struct recurrent_edge *edge) {
    struct tensor gate = recurrent_slice(p, &run->gate[k], t), *d = &run->dgate[k];
    p->be->ops->act_backward(p->be, ACT_LOGISTIC, NULL, &gate, d, d, false);
    recurrent_copy(p, d, &run->part, false);
    TRY(affine_backward(&run->map[ON_STATE][k], p, t, h, &gate, &run->part, dh, add));
    TRY(affine_backward(&run->map[ON_INPUT][k], p, t, &edge->x, &gate, d, edge->dx, edge->add));
    edge->add = true;
    return ST_OK;
}

/* dafter: the gradient of the state after step t; receives dy's share, and is used up.  dh: of the state before it. */
static enum status backward_step(struct layer *l, struct pass *p, int t, struct recurrent_edge *edge, struct tensor *dafter,
                                 struct tensor *dh) {
    struct gru_run *run = l->run;
    struct tensor dy = recurrent_slice(p, p->dy, t), h = recurrent_slice(p, &run->state, t);
    struct tensor z = recurrent_slice(p, &run->gate[Z], t), r = recurrent_slice(p, &run->gate[R], t);
    struct tensor n = recurrent_slice(p, &run->gate[H], t), reset_h = recurrent_slice(p, &run->reset, t);
    struct tensor *dz = &run->dgate[Z], *dr = &run->dgate[R], *dn = &run->dgate[H];
    recurrent_copy(p, &dy, dafter, true);
    recurrent_times(p, dafter, &z, dh, false);
    recurrent_copy(p, dafter, dn, false); /* dn = dafter*(1 - z) */
    p->be->ops->copy_channels(p->be, dh, 0, dn, 0, dh->c, -1, true);
    recurrent_copy(p, &h, &run->part, false); /* dz = dafter*(h - n) */
    p->be->ops->copy_channels(p->be, &n, 0, &run->part, 0, n.c, -1, true);
    recurrent_times(p, dafter, &run->part, dz, false);
    recurrent_edge_step(p, t, edge);
    TRY(gate_backward(run, p, t, H, &reset_h, &run->dreset, false, edge));
    recurrent_times(p, &run->dreset, &h, dr, false);
    recurrent_times(p, &run->dreset, &r, dh, true);
    TRY(gate_backward(run, p, t, R, &h, dh, true, edge));
    return gate_backward(run, p, t, Z, &h, dh, true, edge);
}

static enum status backward(struct layer *l, struct pass *p) {
    struct gru_run *run = l->run;
    struct recurrent_edge edge;
    recurrent_edge_begin(l, p, &edge);
    p->be->ops->fill(p->be, &run->dstate[p->steps % 2], 0);
    for (int t = p->steps - 1; t >= 0; --t) TRY(backward_step(l, p, t, &edge, &run->dstate[(t + 1) % 2], &run->dstate[t % 2]));
    return recurrent_edge_end(l, p, &edge);
}

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    channels_freeze(ch, l->index, "is the state of a recurrent layer");
}

static bool reads(const struct layer *l) { return (void)l, true; }

static void describe(const struct layer *l, char *text, size_t size) {
    snprintf(text, size, "GRU Layer: %zu inputs, %d outputs", shape_count(l->in_shape[0]), l->out.c);
}

const struct layer_ops gru_ops = {
    .name = "gru", .state_size = sizeof(struct gru), .keys = keys, .shape = shape, .prepare = prepare, .refresh = refresh,
    .forward = forward, .backward = backward, .release = release, .reset = reset, .couple = couple, .flops_at = flops_at,
    .reads = reads, .describe = describe
};
