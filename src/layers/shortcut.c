/* [shortcut]: y = act(w_0 * previous + sum_i w_i * layer_i) over the common prefix of channels (darknet-compat 2.7).
 * Shapes: maps of one size; y as the previous layer. */
#include <stdio.h>
#include <stdlib.h>

#include "layers/layer.h"

struct shortcut { struct cfg_ints from; int activation, weights_type, weights_normalization; };
struct shortcut_run { struct tensor pre; };

enum { WEIGHTS_NONE };
static const struct cfg_choice weights_types[] = { { "none", WEIGHTS_NONE }, { NULL, 0 } };

static const struct cfg_key keys[] = {
    CFG_INTS(struct shortcut, from),
    { .name = "activation", .type = CFG_T_CHOICE, .offset = offsetof(struct shortcut, activation), .def = ACT_LINEAR,
      .choices = activation_choices },
    CFG_CHOICE(struct shortcut, weights_type, WEIGHTS_NONE, weights_types),
    CFG_IGNORED("weights_normalization"),
    CFG_END
};

static enum status inputs(struct ctx *ctx, struct layer *l) {
    const struct shortcut *s = l->state;
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

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)all, (void)net;
    l->out = l->in_shape[0];
    if (l->out.c == 0) return layer_fail(ctx, l, NULL, "the layer before it is a detection head and has no output to add to");
    for (int i = 1; i < l->n_in; ++i) {
        struct shape in = l->in_shape[i];
        if (in.c == 0 || in.w != l->out.w || in.h != l->out.h)
            return layer_fail(ctx, l, "from", "layer %d is %d x %d x %d but layer %d is %d x %d x %d; their maps must have one size",
                              l->in[i], in.w, in.h, in.c, l->in[0], l->out.w, l->out.h, l->out.c);
    }
    l->flops = (double)l->out.c * l->out.h * l->out.w * (l->n_in - 1);
    return ST_OK;
}

static int common(const struct layer *l, int i) { return l->in_shape[i].c < l->out.c ? l->in_shape[i].c : l->out.c; }

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
    return p->ctx->code;
}

static void release(struct layer *l, struct backend *be) {
    struct shortcut_run *run = l->run;
    if (run) be->ops->free(be, run->pre.data);
    free(run);
    l->run = NULL;
}

static enum status forward(struct layer *l, struct pass *p) {
    const struct shortcut *s = l->state;
    struct shortcut_run *run = l->run;
    struct tensor *sum = run->pre.data ? &run->pre : p->y;
    p->be->ops->copy_channels(p->be, p->x[0], 0, sum, 0, l->out.c, 1, false);
    for (int i = 1; i < l->n_in; ++i) p->be->ops->copy_channels(p->be, p->x[i], 0, sum, 0, common(l, i), 1, true);
    if (s->activation != ACT_LINEAR) p->be->ops->act_forward(p->be, (enum activation)s->activation, sum, p->y);
    return ST_OK;
}

static enum status backward(struct layer *l, struct pass *p) {
    const struct shortcut *s = l->state;
    struct shortcut_run *run = l->run;
    if (s->activation != ACT_LINEAR)
        p->be->ops->act_backward(p->be, (enum activation)s->activation, run->pre.data ? &run->pre : NULL, p->y, p->dy, p->dy, false);
    for (int i = 0; i < l->n_in; ++i)
        if (p->dx[i]) p->be->ops->copy_channels(p->be, p->dy, 0, p->dx[i], 0, common(l, i), 1, p->add[i]);
    return ST_OK;
}

static bool overwrites(const struct layer *l, int input) { return l->in_shape[input].c <= l->out.c; }

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    for (int k = 0; k < l->out.c; ++k) channels_tie(ch, l->index, k, l->in[0], k);
    for (int i = 1; i < l->n_in; ++i)
        for (int k = 0; k < common(l, i); ++k) channels_tie(ch, l->index, k, l->in[i], k);
}

static void describe(const struct layer *l, char *text, size_t size) {
    int n = snprintf(text, size, "Shortcut Layer: ");
    for (int i = 1; i < l->n_in && n > 0 && (size_t)n < size; ++i) n += snprintf(text + n, size - (size_t)n, "%d, ", l->in[i]);
    if (n > 0 && (size_t)n < size)
        snprintf(text + n, size - (size_t)n, " wt = 0, wn = 0, outputs:%4d x%4d x%4d %5.3f BF", l->out.w, l->out.h, l->out.c,
                 l->flops / 1e9);
}

const struct layer_ops shortcut_ops = {
    .name = "shortcut", .state_size = sizeof(struct shortcut), .keys = keys, .inputs = inputs, .shape = shape, .prepare = prepare,
    .forward = forward, .backward = backward, .release = release, .overwrites = overwrites, .couple = couple, .describe = describe
};
