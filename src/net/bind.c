/* Memory and plans: where every output and gradient lives, and each layer's own buffers. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "net/internal.h"

static size_t out_count(const struct net *net, int i) {
    struct shape s = net->layer[i].out;
    return (size_t)net->batch * (size_t)s.c * (size_t)s.h * (size_t)s.w;
}

enum net_mode net_layer_mode(const struct net *net, int i) {
    return net->layer[i].frozen ? NET_INFER : net->mode;
}

void net_pass(struct ctx *ctx, struct net *net, int i, struct pass *p) {
    struct net_buffers *b = net->buffers;
    struct layer *l = &net->layer[i];
    memset(p, 0, sizeof *p);
    p->ctx = ctx;
    p->be = net->be;
    p->mode = net_layer_mode(net, i);
    p->batch = net->batch;
    p->first_image = net->first_image;
    p->net_w = net->opt.width;
    p->net_h = net->opt.height;
    p->x = b->in;
    p->dx = b->din;
    for (int k = 0; k < l->n_in; ++k) {
        int from = l->in[k];
        b->in[k] = from == LAYER_INPUT ? &net->input : &net->y[from];
        int owner = from == LAYER_INPUT ? -1 : b->owner[from];
        if (owner < 0) b->din[k] = net->dinput.data ? &net->dinput : NULL;
        else b->din[k] = b->differentiable[owner] && net->dy[owner].data ? &net->dy[owner] : NULL;
    }
    p->y = &net->y[i];
    p->skip = b->skip[i] == LAYER_INPUT ? NULL : &net->y[b->skip[i]];
    p->dy = b->owner[i] >= 0 ? &net->dy[b->owner[i]] : NULL;
    p->add = b->add[i];
    for (int k = 0; k < l->n_param; ++k) {
        p->param[k] = net->be->ops->at(net->be, net->dev_param, l->param[k].offset);
        if (net->dev_grad) p->grad[k] = net->be->ops->at(net->be, net->dev_grad, l->param[k].offset);
    }
    p->scratch = b->scratch;
    p->kept = b->kept ? b->kept[i] : NULL;
    p->seed = net->seed;
    p->iteration = net->iteration;
    p->loss_scale = net->loss_scale == 0 ? 1 : net->loss_scale;
    p->steps = net->steps;
    p->max_batches = net->opt.max_batches;
    p->boxes = net->boxes;
    p->hook = net->hook;
    p->host_heads = net->host_heads || b->labels_read;
    p->range = net->range && net->range[i].low ? &net->range[i] : NULL;
}

static bool passes_through(const struct net *net, int i) { return net->buffers->owner[i] != i; }

static enum status buffers_new(struct ctx *ctx, struct net *net) {
    struct net_buffers *b = net->buffers = mem_zero(ctx, 1, sizeof *b);
    size_t n = (size_t)net->n;
    int widest = 1;
    if (!b) return ST_MEMORY;
    b->short_layer = -1;
    b->owner = mem_zero(ctx, n, sizeof *b->owner);
    b->channel = mem_zero(ctx, n, sizeof *b->channel);
    b->home = mem_zero(ctx, n, sizeof *b->home);
    b->place = mem_zero(ctx, n, sizeof *b->place);
    b->skip = mem_zero(ctx, n, sizeof *b->skip);
    b->spare = mem_zero(ctx, n, sizeof *b->spare);
    b->narrow = mem_zero(ctx, n, sizeof *b->narrow);
    b->add = mem_zero(ctx, n, sizeof *b->add);
    b->first_writer = mem_zero(ctx, n, sizeof *b->first_writer);
    b->clear = mem_zero(ctx, n, sizeof *b->clear);
    b->differentiable = mem_zero(ctx, n, sizeof *b->differentiable);
    b->again = mem_zero(ctx, n, sizeof *b->again);
    b->stats = mem_zero(ctx, n, sizeof *b->stats);
    net->y = mem_zero(ctx, n, sizeof *net->y);
    net->dy = mem_zero(ctx, n, sizeof *net->dy);
    if (ctx->code != ST_OK) return ctx->code;
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        if (l->n_in > widest) widest = l->n_in;
        b->labels_read |= strcmp(l->ops->name, "contrastive") == 0;
        b->add[i] = mem_zero(ctx, (size_t)l->n_in, sizeof **b->add);
        b->first_writer[i] = -1;
    }
    net_own(net);
    net_settle(net);
    net_choose_elements(net);
    b->in = mem_zero(ctx, (size_t)widest, sizeof *b->in);
    b->din = mem_zero(ctx, (size_t)widest, sizeof *b->din);
    return ctx->code;
}

/* Layers whose gradient somebody needs: parameters to train, or, for scoring, everything.  A tensor is differentiable when
 * its owner is; the network's input never is. */
static void mark_differentiable(struct net *net) {
    struct net_buffers *b = net->buffers;
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        if (net->mode == NET_INFER || l->frozen) continue;
        b->differentiable[i] = net->mode == NET_SCORE || l->n_param > 0;
        for (int k = 0; k < l->n_in && !b->differentiable[i]; ++k)
            b->differentiable[i] = l->in[k] != LAYER_INPUT && b->owner[l->in[k]] >= 0 && b->differentiable[b->owner[l->in[k]]];
    }
}

/* Backward visits layers from the last to the first: the first visitor of a tensor overwrites, the others add.  A visitor
 * that cannot overwrite all of it makes it a cleared tensor to which everybody adds. */
static void mark_writers(struct net *net) {
    struct net_buffers *b = net->buffers;
    for (int i = net->n - 1; i >= 0; --i) {
        const struct layer *l = &net->layer[i];
        if (!b->differentiable[i] || passes_through(net, i)) continue;
        for (int k = 0; k < l->n_in; ++k) {
            int owner = l->in[k] == LAYER_INPUT ? -1 : b->owner[l->in[k]];
            if (owner < 0) b->add[i][k] = true; /* the network's input: cleared, where its gradient is wanted */
            if (owner < 0 || !b->differentiable[owner]) continue;
            b->add[i][k] = b->first_writer[owner] >= 0;
            if (b->first_writer[owner] < 0) {
                b->first_writer[owner] = i;
                if (l->ops->overwrites && !l->ops->overwrites(l, k)) b->clear[owner] = b->add[i][k] = true;
            }
        }
    }
    for (int i = 0; i < net->n; ++i)
        if (b->first_writer[i] < 0) b->clear[i] = true; /* nobody reads it: its gradient is zero */
}

static enum status bind_layers(struct ctx *ctx, struct net *net) {
    for (int i = 0; i < net->n; ++i) {
        struct layer *l = &net->layer[i];
        struct pass p;
        net_pass(ctx, net, i, &p);
        enum status st = l->ops->prepare ? l->ops->prepare(l, &p) : ST_OK;
        if (st == ST_MEMORY) net->buffers->short_layer = i;
        if (st == ST_MEMORY && !net->be->room) { /* say where */
            char why[sizeof ctx->error];
            memcpy(why, ctx->error, sizeof why);
            ctx_clear(ctx);
            return cfg_fail_as(ctx, st, l->section, NULL, "%s", why);
        }
        TRY(st);
    }
    return ST_OK;
}

/* What travels between host and device in a pass: pictures, and what heads and losses look at. */
static void reserve_copies(const struct net *net) {
    size_t most = shape_count((struct shape){ net->batch, net->opt.channels, net->opt.height, net->opt.width });
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        size_t n = (size_t)net->batch * shape_count(l->in_shape[0]);
        if ((l->ops->loss || l->ops->head) && n > most) most = n;
    }
    if (net->be->passes) net->be->passes->reserve(net->be, most);
}

/* Nothing changes parameters while a network only runs, so host memory needs no second copy. */
static bool borrows_params(const struct net *net) { return net->mode == NET_INFER && net->be->host; }

static enum status allocate(struct ctx *ctx, struct net *net) {
    const struct backend_ops *ops = net->be->ops;
    TRY(buffers_new(ctx, net));
    mark_differentiable(net);
    mark_writers(net);
    struct shape in = { net->batch, net->opt.channels, net->opt.height, net->opt.width };
    size_t picture = net_reals(net, LAYER_INPUT, shape_count(in));
    double fixed = (double)picture + (net->mode == NET_TRAIN ? 2. : 1.) * (double)net->n_param;
    TRY(net_check_memory(ctx, net, "input and weights", fixed * (double)net->be->elem_size));
    net->input = tensor_of(net->be, in, ops->alloc(net->be, ctx, picture));
    net->input.type = net_element(net, LAYER_INPUT);
    if (net->wants_dinput && net->mode == NET_SCORE)
        net->dinput = tensor_of(net->be, in, ops->alloc(net->be, ctx, shape_count(in)));
    TRY(net_place(ctx, net));
    net_point(net);
    size_t widest = net->wants_dinput ? shape_count(in) : 0;
    for (int i = 0; i < net->n && net->mode != NET_INFER; ++i)
        if (out_count(net, i) > widest) widest = out_count(net, i);
    if (net->mode != NET_INFER) net->buffers->scratch = ops->alloc(net->be, ctx, widest);
    net->dev_param = borrows_params(net) ? net->param : ops->alloc(net->be, ctx, net->n_param);
    if (net->mode == NET_TRAIN || (net->wants_dweights && net->mode == NET_SCORE)) net->dev_grad = ops->alloc(net->be, ctx, net->n_param);
    reserve_copies(net);
    return ctx->code;
}

enum status net_bind(struct ctx *ctx, struct net *net, struct backend *be, enum net_mode mode, int batch) {
    net_unbind(net);
    assert(mode != NET_TRAIN || !net->view);
    if (mode == NET_TRAIN) TRY(net_options_check_training(ctx, net->doc, &net->opt));
    net->be = be;
    net->mode = mode;
    net->batch = batch;
    for (int i = 0; i < net->n; ++i) {
        struct layer *l = &net->layer[i];
        l->frozen = mode == NET_TRAIN && (l->common.onlyforward || net->iteration < l->thaw);
    }
    net->steps = mode == NET_TRAIN ? net->opt.time_steps : 1;
    assert(batch % net->steps == 0);
    double left = 0, total = 0;
    if (be->room) be->room(be, &left, &total);
    enum status st = allocate(ctx, net);
    if (st == ST_OK) st = bind_layers(ctx, net);
    if (st == ST_OK) st = net_find_stretches(ctx, net);
    if (st == ST_OK) st = net_push(ctx, net);
    if (st == ST_MEMORY && be->room && net->buffers) st = net_explain_memory(ctx, net, net->buffers->short_layer, left);
    if (st != ST_OK) net_unbind(net);
    return st;
}

void net_unbind(struct net *net) {
    if (!net->be) return;
    const struct backend_ops *ops = net->be->ops;
    net_drop_stretches(net);
    for (int i = 0; i < net->n; ++i)
        if (net->layer[i].ops->release) net->layer[i].ops->release(&net->layer[i], net->be);
    struct net_buffers *b = net->buffers;
    if (b) {
        ops->free(net->be, b->arena);
        ops->free(net->be, b->scratch);
        for (int i = 0; b->add && i < net->n; ++i) free(b->add[i]);
        free(b->owner), free(b->channel), free(b->home), free(b->place), free(b->narrow), free(b->skip), free(b->spare), free(b->add), free(b->first_writer), free(b->clear), free(b->differentiable), free(b->in), free(b->din);
        free(b->kept), free(b->segment), free(b->again), free(b->stats);
        free(b);
    }
    ops->free(net->be, net->input.data);
    ops->free(net->be, net->dinput.data);
    if (!borrows_params(net)) ops->free(net->be, net->dev_param);
    ops->free(net->be, net->dev_grad);
    free(net->y), free(net->dy);
    net->y = net->dy = NULL;
    net->dev_param = net->dev_grad = net->input.data = net->dinput.data = NULL;
    net->buffers = NULL;
    net->be = NULL;
}

static size_t stored_values(const struct layer *l) {
    size_t n = 0;
    for (int k = 0; k < l->n_param; ++k) n += param_owned(&l->param[k]) ? param_count(&l->param[k]) : 0;
    return n;
}

/* Shapes for another input size; a layer whose stored arrays depend on it refuses. */
static enum status reshape(struct ctx *ctx, struct net *net, int w, int h) {
    size_t *had = mem_zero(ctx, (size_t)net->n, sizeof *had);
    if (!had) return ST_MEMORY;
    for (int i = 0; i < net->n; ++i) had[i] = stored_values(&net->layer[i]);
    net->opt.width = w;
    net->opt.height = h;
    enum status st = net_shapes(ctx, net);
    for (int i = 0; i < net->n && st == ST_OK; ++i)
        if (stored_values(&net->layer[i]) != had[i])
            st = layer_fail(ctx, &net->layer[i], NULL, "its weights fit one input size only, the network cannot run at %d x %d", w, h);
    free(had);
    return st;
}

enum status net_rebind(struct ctx *ctx, struct net *net, int w, int h, int batch) {
    struct backend *be = net->be;
    if (be) net_pull(net);
    enum net_mode mode = net->mode;
    int old_w = net->opt.width, old_h = net->opt.height, old_batch = net->batch;
    net_unbind(net);
    enum status st = reshape(ctx, net, w, h);
    if (st == ST_OK) return be ? net_bind(ctx, net, be, mode, batch) : ST_OK;
    struct ctx quiet = { 0 }; /* the way back was there before; ctx says why it is taken */
    net->opt.width = old_w;
    net->opt.height = old_h;
    net_shapes(&quiet, net);
    if (be) net_bind(&quiet, net, be, mode, old_batch);
    return st;
}

enum status net_resize(struct ctx *ctx, struct net *net, int w, int h) {
    if (w == net->opt.width && h == net->opt.height) return ST_OK;
    return net_rebind(ctx, net, w, h, net->batch);
}

void net_pull(struct net *net) {
    if (!borrows_params(net) && !net->view) net->be->ops->get(net->be, net->dev_param, net->n_param, net->param);
}

enum status net_push(struct ctx *ctx, struct net *net) {
    TRY(net_check_param(ctx, net));
    if (!borrows_params(net)) net->be->ops->put(net->be, net->param, net->n_param, net->dev_param);
    return net_refresh(ctx, net);
}

enum status net_refresh_layer(struct ctx *ctx, struct net *net, int i) {
    struct layer *l = &net->layer[i];
    struct pass p;
    if (!l->ops->refresh) return ST_OK;
    net_pass(ctx, net, i, &p);
    TRY(l->ops->refresh(l, &p));
    net_leave_param(net, l);
    return ST_OK;
}

enum status net_reset(struct ctx *ctx, struct net *net) {
    for (int i = 0; i < net->n; ++i) {
        struct layer *l = &net->layer[i];
        struct pass p;
        if (!l->ops->reset) continue;
        net_pass(ctx, net, i, &p);
        TRY(l->ops->reset(l, &p));
    }
    return ST_OK;
}
