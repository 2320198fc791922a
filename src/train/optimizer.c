#include "train/optimizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A piece is one thread's share of work in an update. */
enum { PIECE = 1 << 14 };

static size_t piece_count(const struct net *net) {
    size_t n = 0;
    for (int i = 0; i < net->n; ++i)
        for (int k = 0; k < net->layer[i].n_param; ++k) n += 1 + param_count(&net->layer[i].param[k]) / PIECE;
    return n;
}

enum status optimizer_open(struct ctx *ctx, const struct net *net, struct optimizer *o) {
    const struct net_options *opt = &net->opt;
    o->be = net->be;
    o->kind = opt->adamw ? OPTIMIZER_ADAMW : opt->adam ? OPTIMIZER_ADAM : OPTIMIZER_SGD;
    o->n = net->n_param;
    o->range = mem_zero(ctx, piece_count(net), sizeof *o->range);
    o->momentum = o->be->ops->alloc(o->be, ctx, o->n);
    if (o->kind != OPTIMIZER_SGD) o->second = o->be->ops->alloc(o->be, ctx, o->n);
    return ctx->code;
}

void optimizer_close(struct optimizer *o) {
    if (o->be) {
        o->be->ops->free(o->be, o->momentum);
        o->be->ops->free(o->be, o->second);
        o->be->ops->free(o->be, o->average);
    }
    free(o->range);
    memset(o, 0, sizeof *o);
}

void optimizer_drop_average(struct optimizer *o) {
    o->be->ops->free(o->be, o->average);
    o->average = NULL;
}

void optimizer_reset(struct optimizer *o) {
    const struct backend_ops *ops = o->be->ops;
    ops->scale(o->be, o->n, 0, o->momentum);
    if (o->second) ops->scale(o->be, o->n, 0, o->second);
    optimizer_drop_average(o);
    o->updates = 0;
}

/* Batch norm's own parameters are the scales, and the biases that stand beside them. */
static bool is_batch_norm(const struct layer *l, int row) {
    if (l->param[row].role == PARAM_SCALE) return true;
    return l->param[row].role == PARAM_BIAS && row + 1 < l->n_param && l->param[row + 1].role == PARAM_SCALE;
}

/* Upstream lets gradients pile up in layers that it skips and sends them all when it no longer does; here they are dropped. */
static bool held(const struct net *net, const struct layer *l, int row, uint64_t number) {
    const struct layer_common *c = &l->common;
    if (number <= (uint64_t)c->dont_update) return true;
    if (number < (uint64_t)c->burnin_update * (uint64_t)net->opt.burn_in) return true;
    return l->only_bn && !is_batch_norm(l, row);
}

static int add_pieces(struct update_range *range, struct update_range r, size_t n) {
    int pieces = 0;
    for (size_t done = 0; done < n; done += r.n, ++pieces) {
        r.n = n - done < PIECE ? n - done : PIECE;
        range[pieces] = r;
        range[pieces].offset = r.offset + done;
    }
    return pieces;
}

/* The pieces of every array that trains. `rate` and `decay` as the backend's rules want them. */
static int list_pieces(struct optimizer *o, const struct net *net, uint64_t number, double rate, double decay) {
    int n = 0;
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        if (l->frozen) continue;
        for (int k = 0; k < l->n_param; ++k) {
            const struct param *p = &l->param[k];
            if (!(p->flags & PARAM_TRAIN) || !param_owned(p)) continue;
            struct update_range r = { .offset = p->offset,
                                      .rate = rate * l->common.learning_rate,
                                      .decay = p->flags & PARAM_DECAY ? decay : 0,
                                      .limit = p->flags & PARAM_LIMIT_STEP ? 1 : INFINITY,
                                      .clip = p->role == PARAM_WEIGHT && l->common.clip > 0 ? l->common.clip : INFINITY,
                                      .hold = held(net, l, k, number), .reverse = p->reverse };
            n += add_pieces(o->range + n, r, param_count(p));
        }
    }
    return n;
}

/* The factor that keeps the length of the mean gradient below max_grad_norm. */
static double gradient_scale(const struct net *net, const struct update *u) {
    double most = net->opt.max_grad_norm, length = sqrt(u->squares) / u->images;
    return most > 0 && length > most ? most / length : 1;
}

void optimizer_step(struct optimizer *o, struct net *net, const struct update *u) {
    const struct backend_ops *ops = o->be->ops;
    const struct net_options *opt = &net->opt;
    double scale = gradient_scale(net, u);
    ++o->updates;
    if (o->kind == OPTIMIZER_SGD) {
        int n = list_pieces(o, net, u->number, u->rate / u->images, opt->decay * u->images);
        ops->sgd(o->be, o->range, n, net->dev_param, net->dev_grad, o->momentum, scale, opt->momentum);
        return;
    }
    /* Adam's step does not depend on the gradient's length, so upstream leaves it summed. */
    bool decoupled = o->kind == OPTIMIZER_ADAMW;
    int n = list_pieces(o, net, u->number, u->rate, decoupled ? opt->decay : opt->decay * u->images);
    struct adam_rule rule = { .scale = scale, .beta1 = opt->B1, .beta2 = opt->B2, .eps = opt->eps,
                              .correction1 = 1 - pow(opt->B1, (double)o->updates),
                              .correction2 = 1 - pow(opt->B2, (double)o->updates), .decoupled = decoupled };
    ops->adam(o->be, o->range, n, net->dev_param, net->dev_grad, o->momentum, o->second, &rule);
}

enum status optimizer_average(struct ctx *ctx, struct optimizer *o, const struct net *net, double keep) {
    const struct backend_ops *ops = o->be->ops;
    if (!o->average) {
        o->average = ops->alloc(o->be, ctx, o->n);
        if (!o->average) return ST_MEMORY;
        keep = 0;
    }
    ops->blend(o->be, o->n, keep, net->dev_param, o->average);
    return ST_OK;
}

void optimizer_get_average(const struct optimizer *o, struct net *net) {
    const struct backend_ops *ops = o->be->ops;
    ops->get(o->be, o->average, o->n, net->param);
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        for (int k = 0; k < l->n_param; ++k) {
            const struct param *p = &l->param[k];
            if ((p->flags & PARAM_TRAIN) || !param_owned(p)) continue;
            ops->get(o->be, ops->at(o->be, net->dev_param, p->offset), param_count(p), net->param + p->offset);
        }
    }
}
