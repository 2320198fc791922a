#include <math.h>
#include <string.h>

#include "base/io.h"
#include "net/internal.h"

static bool passes_through(const struct net *net, int i) { return net->buffers->owner[i] != i; }

/* A device that has no memory in the middle of a pass: where that was. */
static enum status where_memory_ended(struct ctx *ctx, const struct net *net, const struct layer *l, enum status st) {
    char why[sizeof ctx->error];
    if (st != ST_MEMORY || !net->be->room) return st;
    memcpy(why, ctx->error, sizeof why);
    ctx_clear(ctx);
    return cfg_fail_as(ctx, st, l->section, NULL, "layer %d: %s; a smaller batch or more subdivisions need less", l->index, why);
}

static enum status forward_layer(struct ctx *ctx, struct net *net, int i, bool again) {
    struct layer *l = &net->layer[i];
    struct pass p;
    net_pass(ctx, net, i, &p);
    p.again = again;
    if (net->hook && net->hook->input) TRY(net->hook->input(net->hook->user, &p, l));
    double start = net->layer_seconds ? io_seconds() : 0;
    TRY(where_memory_ended(ctx, net, l, l->ops->forward(l, &p)));
    if (!net->layer_seconds) return ST_OK;
    TRY(net->be->ops->sync(net->be, ctx));
    net->layer_seconds[i] += io_seconds() - start;
    return ST_OK;
}

enum status net_forward_layer(struct ctx *ctx, struct net *net, int i) {
    if (!passes_through(net, i)) TRY(forward_layer(ctx, net, i, false));
    if (net->mask && net->mask[i] && net->y[i].data) net->be->ops->mask_channels(net->be, &net->y[i], net->mask[i]);
    return ST_OK;
}

enum status net_forward(struct ctx *ctx, struct net *net, const float *x) {
    net->be->ops->from_nchw(net->be, x, &net->input, false);
    return net_forward_input(ctx, net);
}

enum status net_forward_input(struct ctx *ctx, struct net *net) {
    for (int i = 0; i < net->n;) TRY(net_play(ctx, net, false, i, &i));
    return net->be->ops->sync(net->be, ctx);
}

static enum status segment_again(struct ctx *ctx, struct net *net, int s) {
    const struct net_buffers *b = net->buffers;
    for (int i = b->segment[s]; i < b->segment[s + 1]; ++i)
        if (b->again[i]) TRY(forward_layer(ctx, net, i, true));
    return ST_OK;
}

static bool queued(const struct layer *l) { return l->ops->loss_queued && l->ops->loss_queued(l); }

bool net_loss_queued(const struct net *net) {
    for (int i = 0; i < net->n; ++i)
        if (queued(&net->layer[i])) return true;
    return false;
}

enum status net_loss_begin(struct ctx *ctx, struct net *net, const struct net_truth *truth) {
    struct net_buffers *b = net->buffers;
    b->loss = (struct loss_args){ .truth = truth->boxes, .target = truth->target, .target_size = truth->target_size, .batch = net->batch,
                                  .net_w = net->opt.width, .net_h = net->opt.height, .steps = net->steps, .seen = net->seen + net->seen_before,
                                  .iteration = net->iteration, .max_batches = net->opt.max_batches, .be = net->be,
                                  .adversarial = truth->adversarial };
    for (int i = 0; i < net->n; ++i) {
        struct layer *l = &net->layer[i];
        if (!l->ops->loss) continue;
        b->stats[i] = (struct loss_stats){ 0 };
        b->loss.x = l->in[0] == LAYER_INPUT ? &net->input : &net->y[l->in[0]];
        TRY(l->ops->loss(ctx, l, &b->loss, &b->stats[i]));
    }
    return ST_OK;
}

enum status net_loss_end(struct ctx *ctx, struct net *net, double *loss, struct loss_stats *stats) {
    struct net_buffers *b = net->buffers;
    double sum = 0;
    int losses = 0;
    for (int i = 0; i < net->n; ++i) {
        struct layer *l = &net->layer[i];
        if (!l->ops->loss) continue;
        if (queued(l)) TRY(l->ops->loss_end(ctx, l, &b->loss, &b->stats[i]));
        if (stats) stats[i] = b->stats[i];
        if (b->stats[i].none) continue;
        sum += b->stats[i].loss;
        ++losses;
    }
    if (!losses) return ctx_fail(ctx, ST_UNSUPPORTED, "%s: no layer of this network has a loss to train on", net->doc->path);
    *loss = sum / losses;
    return isfinite(*loss) ? ST_OK : ctx_fail(ctx, ST_NUMERIC, "the loss is %g", *loss);
}

enum status net_loss(struct ctx *ctx, struct net *net, const struct net_truth *truth, double *loss, struct loss_stats *stats) {
    TRY(net_loss_begin(ctx, net, truth));
    return net_loss_end(ctx, net, loss, stats);
}

enum status net_recompute(struct ctx *ctx, struct net *net, int i) {
    const struct net_buffers *b = net->buffers;
    for (int s = 0; s < b->n_segment; ++s)
        if (b->segment[s] == i) return segment_again(ctx, net, s);
    return ST_OK;
}

/* What a loss on the host sends back, times the loss scale. */
static void scale_delta(const struct pass *p, struct layer *l) {
    size_t n = (size_t)p->batch * shape_count(l->in_shape[0]);
    if (p->loss_scale == 1 || !l->ops->loss || !l->head_delta) return;
    for (size_t i = 0; i < n; ++i) l->head_delta[i] *= (float)p->loss_scale;
}

void net_clear_gradients(struct net *net) {
    enum { MOST = 1 << 30 };
    for (size_t at = 0, n; at < net->n_param; at += n) {
        n = net->n_param - at < MOST ? net->n_param - at : MOST;
        struct tensor part = tensor_of(net->be, (struct shape){ 1, 1, 1, (int)n }, net->be->ops->at(net->be, net->dev_grad, at));
        net->be->ops->fill(net->be, &part, 0);
    }
}

enum status net_backward_layer(struct ctx *ctx, struct net *net, int i) {
    const struct net_buffers *b = net->buffers;
    if (!b->differentiable[i] || passes_through(net, i)) return ST_OK;
    struct layer *l = &net->layer[i];
    struct pass p;
    net_pass(ctx, net, i, &p);
    for (int k = 0; k < l->n_in; ++k) {
        int owner = l->in[k] == LAYER_INPUT ? -1 : b->owner[l->in[k]];
        if (owner >= 0 && b->clear[owner] && b->first_writer[owner] == i && p.dx[k])
            net->be->ops->fill(net->be, p.dx[k], 0);
    }
    if (b->first_writer[i] < 0 && p.dy && p.dy->data) net->be->ops->fill(net->be, p.dy, 0);
    if (net->hook && net->hook->output && p.dy && p.dy->data) TRY(net->hook->output(net->hook->user, &p, l, p.y, p.dy));
    double start = net->backward_seconds ? io_seconds() : 0;
    scale_delta(&p, l);
    TRY(where_memory_ended(ctx, net, l, l->ops->backward(l, &p)));
    if (net->backward_seconds) net->backward_seconds[i] += io_seconds() - start;
    return ST_OK;
}

/* Layers come from last to first, as do their arrays; an array that several layers share belongs to the first of them. */
static void tell_gradients(const struct net *net, int i) {
    const struct layer *l = &net->layer[i];
    if (!net->buffers->differentiable[i] || passes_through(net, i)) return;
    for (int k = 0; k < l->n_param && net->gradients_done; ++k) {
        if (!param_owned(&l->param[k])) continue;
        net->gradients_done(net->gradients_user, l->param[k].offset);
        return;
    }
}

static bool any_differentiable(const struct net_buffers *b, int s) {
    for (int i = b->segment[s]; i < b->segment[s + 1]; ++i)
        if (b->differentiable[i]) return true;
    return false;
}

enum status net_backward(struct ctx *ctx, struct net *net) {
    const struct net_buffers *b = net->buffers;
    if (net->dinput.data) net->be->ops->fill(net->be, &net->dinput, 0);
    for (int s = b->n_segment - 1; s >= 0; --s) {
        if (!any_differentiable(b, s)) continue;
        TRY(segment_again(ctx, net, s));
        for (int i = b->segment[s + 1] - 1, from; i >= b->segment[s];) {
            from = i;
            TRY(net_play(ctx, net, true, i, &i));
            for (; from > i; --from) tell_gradients(net, from);
        }
    }
    return net->be->ops->sync(net->be, ctx);
}

void net_output(const struct net *net, int layer, float *dst) { net->be->ops->to_nchw(net->be, &net->y[layer], dst); }

int net_output_layer(const struct net *net) {
    for (int i = net->n - 1; i >= 0; --i)
        if (net->layer[i].out.c > 0 && !net->layer[i].ops->only_loss) return i;
    return -1;
}
