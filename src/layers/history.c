/* [history]: the last history_size frames as channels, the newest first (darknet-compat 2.20).
 * x (N, C, H, W) -> y (N, C*history_size, H, W); image n is frame n/(N/steps) of sequence n % (N/steps).
 * With time_steps=1 in [net] there is no sequence: older frames are 0, as upstream has it.  Else: training starts every batch
 * with no older frames, inference keeps those of earlier calls until reset, scoring knows none. */
#include <stdio.h>
#include <stdlib.h>

#include "layers/layer.h"

struct history { int history_size; bool sequences; };
struct history_run { struct tensor last; }; /* y of the last frame of the pass before */

static const struct cfg_key keys[] = { CFG_INT(struct history, history_size, 4, 1, 1024), CFG_END };

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)all;
    struct history *h = l->state;
    struct shape in = l->in_shape[0];
    if ((double)in.c * h->history_size > 1 << 24)
        return layer_fail(ctx, l, "history_size", "%d frames of %d channels are too many", h->history_size, in.c);
    h->sequences = net->time_steps > 1;
    l->out = (struct shape){ 1, in.c * h->history_size, in.h, in.w };
    return ST_OK;
}

static bool remembers(const struct layer *l, const struct pass *p) {
    return ((const struct history *)l->state)->sequences && p->mode == NET_INFER && p->steps == 1;
}

static enum status prepare(struct layer *l, struct pass *p) {
    struct history_run *run = l->run = mem_zero(p->ctx, 1, sizeof *run);
    if (!run) return ST_MEMORY;
    if (remembers(l, p))
        run->last = shape_tensor(p->be, l->out, p->batch, p->be->ops->alloc(p->be, p->ctx, (size_t)p->batch * shape_count(l->out)));
    return p->ctx->code;
}

static void release(struct layer *l, struct backend *be) {
    struct history_run *run = l->run;
    if (run) be->ops->free(be, run->last.data);
    free(run);
    l->run = NULL;
}

static enum status reset(struct layer *l, struct pass *p) {
    struct history_run *run = l->run;
    if (run->last.data) p->be->ops->fill(p->be, &run->last, 0);
    return ST_OK;
}

/* Frame t of all sequences in a layer's tensor. */
static struct tensor frame(const struct pass *p, const struct tensor *t, int step) {
    int sequences = p->batch / p->steps;
    return tensor_images(p->be, t, step * sequences, sequences);
}

static enum status forward(struct layer *l, struct pass *p) {
    const struct backend_ops *ops = p->be->ops;
    struct history_run *run = l->run;
    int c = l->in_shape[0].c, old = l->out.c - c;
    struct tensor before = run->last;
    for (int t = 0; t < p->steps; ++t) {
        struct tensor x = frame(p, p->x[0], t), y = frame(p, p->y, t);
        if (before.data) ops->copy_channels(p->be, &before, 0, &y, c, old, 1, false);
        else ops->fill(p->be, &y, 0);
        ops->copy_channels(p->be, &x, 0, &y, 0, c, 1, false);
        before = y;
    }
    if (run->last.data) ops->copy_channels(p->be, p->y, 0, &run->last, 0, l->out.c, 1, false);
    return ST_OK;
}

/* Frame t is block j of frame t + j. */
static enum status backward(struct layer *l, struct pass *p) {
    const struct history *h = l->state;
    int c = l->in_shape[0].c;
    for (int t = 0; p->dx[0] && t < p->steps; ++t) {
        struct tensor dx = frame(p, p->dx[0], t);
        for (int j = 0; j < h->history_size && t + j < p->steps; ++j) {
            struct tensor dy = frame(p, p->dy, t + j);
            p->be->ops->copy_channels(p->be, &dy, j * c, &dx, 0, c, 1, j > 0 || p->add[0]);
        }
    }
    return ST_OK;
}

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    channels_freeze(ch, l->in[0], "[history] keeps older frames of it");
    channels_freeze(ch, l->index, "[history] keeps older frames");
}

static void describe(const struct layer *l, char *text, size_t size) {
    struct shape in = l->in_shape[0];
    snprintf(text, size, "history %2d               %4d x%4d x%4d -> %4d x%4d x%4d", ((const struct history *)l->state)->history_size, in.w,
             in.h, in.c, l->out.w, l->out.h, l->out.c);
}

const struct layer_ops history_ops = {
    .name = "history", .state_size = sizeof(struct history), .keys = keys, .shape = shape, .prepare = prepare, .forward = forward,
    .backward = backward, .release = release, .reset = reset, .couple = couple, .describe = describe
};
