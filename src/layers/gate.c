/* [scale_channels] and [sam]: an earlier layer multiplied by the previous one, the gate (darknet-compat 2.9).
 * scale_channels: gate (N, C, 1, 1) per channel, or with scale_wh=1 (N, 1, H, W) per pixel; sam: gate of equal shape. */
#include <stdio.h>
#include <stdlib.h>

#include "layers/layer.h"

struct gate { struct cfg_ints from; int scale_wh, activation; };
struct gate_run { struct tensor pre; };

enum { GATE = 0, GATED = 1 }; /* order of the inputs */

#define FROM_AND_ACTIVATION                                                                                \
    CFG_INTS(struct gate, from),                                                                           \
    { .name = "activation", .type = CFG_T_CHOICE, .offset = offsetof(struct gate, activation),             \
      .def = ACT_LINEAR, .choices = activation_choices }

static const struct cfg_key scale_keys[] = { FROM_AND_ACTIVATION, CFG_BOOL(struct gate, scale_wh, 0), CFG_END };
static const struct cfg_key sam_keys[] = { FROM_AND_ACTIVATION, CFG_END };

static enum status inputs(struct ctx *ctx, struct layer *l) {
    const struct gate *g = l->state;
    if (g->from.n != 1) return layer_fail(ctx, l, "from", "needs exactly one layer, e.g. from=-4");
    if (l->index == 0) return layer_fail(ctx, l, "from", "the first layer has nothing before it");
    return layer_inputs(ctx, l, "from", (int[]){ -1, g->from.v[0] }, 2);
}

static enum status scale_shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)all, (void)net;
    const struct gate *g = l->state;
    struct shape gate = l->in_shape[GATE], in = l->in_shape[GATED];
    if (!g->scale_wh && (gate.w != 1 || gate.h != 1 || gate.c != in.c))
        return layer_fail(ctx, l, "from", "the layer before is %d x %d x %d, it must be 1 x 1 x %d, one factor for each channel of layer %d",
                          gate.w, gate.h, gate.c, in.c, l->in[GATED]);
    if (g->scale_wh && (gate.c != 1 || gate.w != in.w || gate.h != in.h))
        return layer_fail(ctx, l, "from", "with scale_wh=1 the layer before must be %d x %d x 1, it is %d x %d x %d", in.w, in.h,
                          gate.w, gate.h, gate.c);
    l->out = in;
    return ST_OK;
}

static enum status sam_shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)all, (void)net;
    struct shape gate = l->in_shape[GATE], in = l->in_shape[GATED];
    if (gate.w != in.w || gate.h != in.h || gate.c != in.c)
        return layer_fail(ctx, l, "from", "layer %d is %d x %d x %d but the layer before is %d x %d x %d; they must be equal",
                          l->in[GATED], in.w, in.h, in.c, gate.w, gate.h, gate.c);
    l->out = in;
    return ST_OK;
}

static enum status prepare(struct layer *l, struct pass *p) {
    struct gate_run *run = l->run = mem_zero(p->ctx, 1, sizeof *run);
    if (!run) return ST_MEMORY;
    if (p->mode != NET_INFER && activation_needs_input((enum activation)((struct gate *)l->state)->activation)) {
        size_t n = shape_count((struct shape){ p->batch, l->out.c, l->out.h, l->out.w });
        run->pre = shape_tensor(p->be, l->out, p->batch, p->be->ops->alloc(p->be, p->ctx, n));
    }
    return p->ctx->code;
}

static void release(struct layer *l, struct backend *be) {
    struct gate_run *run = l->run;
    if (run) be->ops->free(be, run->pre.data);
    free(run);
    l->run = NULL;
}

static enum status forward(struct layer *l, struct pass *p) {
    const struct gate *g = l->state;
    struct gate_run *run = l->run;
    struct tensor *product = run->pre.data ? &run->pre : p->y;
    p->be->ops->gate(p->be, p->x[GATED], p->x[GATE], product);
    if (g->activation != ACT_LINEAR) p->be->ops->act_forward(p->be, (enum activation)g->activation, product, p->y);
    return ST_OK;
}

static enum status backward(struct layer *l, struct pass *p) {
    const struct gate *g = l->state;
    struct gate_run *run = l->run;
    if (g->activation != ACT_LINEAR)
        p->be->ops->act_backward(p->be, (enum activation)g->activation, run->pre.data ? &run->pre : NULL, p->y, p->dy, p->dy, false);
    if (p->dx[GATE]) p->be->ops->gate_backward_gate(p->be, p->x[GATED], p->dy, p->dx[GATE], p->add[GATE]);
    if (p->dx[GATED]) p->be->ops->gate_backward_x(p->be, p->x[GATE], p->dy, p->dx[GATED], p->add[GATED]);
    return ST_OK;
}

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    channels_tie_all(ch, l, GATED);
    if (l->in_shape[GATE].c == l->out.c) channels_tie_all(ch, l, GATE);
    else channels_freeze(ch, l->in[GATE], "one-channel gate of [scale_channels]");
}

static void describe(const struct layer *l, char *text, size_t size) { snprintf(text, size, "scale Layer: %d", l->in[GATED]); }

const struct layer_ops scale_channels_ops = {
    .name = "scale_channels", .state_size = sizeof(struct gate), .keys = scale_keys, .inputs = inputs, .shape = scale_shape, .repeats = layer_repeats,
    .prepare = prepare, .steady = layer_steady, .forward = forward, .backward = backward, .release = release, .narrow = layer_views, .couple = couple, .describe = describe
};

const struct layer_ops sam_ops = {
    .name = "sam", .state_size = sizeof(struct gate), .keys = sam_keys, .inputs = inputs, .shape = sam_shape, .repeats = layer_repeats,
    .prepare = prepare, .steady = layer_steady, .forward = forward, .backward = backward, .release = release, .narrow = layer_views, .couple = couple, .describe = describe
};
