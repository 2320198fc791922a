/* [cost]: squared or smooth absolute error of its input against dense truth (darknet-compat 2.13).
 * x (N, C, H, W) against C*H*W values per image; no output tensor: the network's output is the layer before. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "layers/head.h"

enum cost_type { COST_SSE, COST_MASKED, COST_SMOOTH };
struct cost { int type; double scale; };

static const struct cfg_choice types[] = { { "sse", COST_SSE }, { "masked", COST_MASKED }, { "smooth", COST_SMOOTH }, { NULL, 0 } };

static const struct cfg_key keys[] = {
    { .name = "type", .type = CFG_T_CHOICE, .offset = offsetof(struct cost, type), .def = COST_SSE, .choices = types, .lenient = true },
    CFG_FLOAT(struct cost, scale, 1),
    CFG_IGNORED("ratio"), /* upstream sorts the deltas, then overwrites the threshold it found with 0 */
    CFG_END
};

static int inputs_of(const struct layer *l) { return (int)shape_count(l->in_shape[0]); }

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)ctx, (void)all, (void)net;
    l->out = (struct shape){ 1, 0, l->in_shape[0].h, l->in_shape[0].w };
    l->flops = 0;
    return ST_OK;
}

static enum status prepare(struct layer *l, struct pass *p) { return head_prepare(l, p, 0, NULL); }

static enum status loss(struct ctx *ctx, struct layer *l, const struct loss_args *args, struct loss_stats *stats) {
    const struct cost *c = l->state;
    int n = inputs_of(l);
    *stats = (struct loss_stats){ .none = !l->head_delta };
    if (stats->none) return ST_OK;
    TRY(head_target(ctx, l, args, n));
    for (size_t i = 0; i < (size_t)n * (size_t)args->batch; ++i) {
        double d = (double)args->target[i] - l->head_x[i];
        if (c->type == COST_MASKED && args->target[i] == TRUTH_IGNORED) d = 0;
        bool linear = c->type == COST_SMOOTH && fabs(d) >= 1;
        stats->loss += linear ? 2 * fabs(d) - 1 : d * d;
        /* COMPAT: half the derivative. */
        l->head_delta[i] = (float)(-c->scale * (linear ? copysign(1, d) : d));
    }
    return ST_OK;
}

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    channels_freeze(ch, l->in[0], "read by [cost]");
}

static void describe(const struct layer *l, char *text, size_t size) {
    snprintf(text, size, "cost                                           %4d", inputs_of(l));
}

const struct layer_ops cost_ops = {
    .name = "cost", .state_size = sizeof(struct cost), .keys = keys, .shape = shape, .prepare = prepare, .forward = head_forward,
    .backward = head_backward, .release = head_release, .loss = loss, .only_loss = true, .couple = couple, .reads = head_reads,
    .describe = describe
};
