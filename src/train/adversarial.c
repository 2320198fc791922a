#include "train/adversarial.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Brings the rival to the trained network's size, batch and weights. */
static enum status follow(struct ctx *ctx, struct net *rival, struct net *trained) {
    net_pull(trained);
    memcpy(rival->param, trained->param, trained->n_param * sizeof *rival->param);
    rival->wants_dinput = true;
    rival->seen = trained->seen;
    rival->iteration = trained->iteration;
    rival->opt.max_batches = trained->opt.max_batches;
    bool fits = rival->be && rival->batch == trained->batch && rival->opt.width == trained->opt.width &&
                rival->opt.height == trained->opt.height;
    if (fits) return net_push(ctx, rival);
    net_unbind(rival);
    TRY(net_resize(ctx, rival, trained->opt.width, trained->opt.height));
    return net_bind(ctx, rival, trained->be, NET_SCORE, trained->batch);
}

/* The gradient with respect to the pictures, into `gradient`. */
static enum status look(struct ctx *ctx, struct net *rival, const float *x, float *gradient) {
    struct truth_list *nothing = mem_zero(ctx, (size_t)rival->batch, sizeof *nothing);
    if (!nothing) return ST_MEMORY;
    struct net_truth truth = { .boxes = nothing, .adversarial = true };
    double loss;
    enum status st = net_forward(ctx, rival, x);
    if (st == ST_OK) st = net_loss(ctx, rival, &truth, &loss, NULL);
    if (st == ST_OK) st = net_backward(ctx, rival);
    if (st == ST_OK) rival->be->ops->to_nchw(rival->be, &rival->dinput, gradient);
    free(nothing);
    return st;
}

/* Rolling statistics say little at the start of training, and numbers may overflow on them: that is no disturbance. */
static enum status look_or_not(struct ctx *ctx, struct net *rival, const float *x, size_t n, float *gradient) {
    struct ctx own = { .log = ctx->log, .log_user = ctx->log_user };
    enum status st = look(&own, rival, x, gradient);
    if (st != ST_OK && st != ST_NUMERIC) return ctx_fail(ctx, st, "%s", own.error);
    for (size_t i = 0; i < n; ++i)
        if (st == ST_NUMERIC || !isfinite(gradient[i])) gradient[i] = 0;
    return ST_OK;
}

enum status adversary_disturb(struct ctx *ctx, struct adversary *a, struct net *trained, const float *x, double rate, int every,
                              const float **disturbed) {
    size_t image = (size_t)trained->opt.channels * (size_t)trained->opt.width * (size_t)trained->opt.height;
    TRY(follow(ctx, a->net, trained));
    TRY(mem_grow(ctx, &a->x, &a->cap, image * (size_t)trained->batch, sizeof *a->x));
    TRY(look_or_not(ctx, a->net, x, image * (size_t)trained->batch, a->x));
    for (int n = 0; n < trained->batch; ++n) {
        bool moves = n % every == every - 1;
        for (size_t i = (size_t)n * image; i < (size_t)(n + 1) * image; ++i) {
            float v = x[i] - (moves ? (float)rate * a->x[i] : 0);
            a->x[i] = v < 0 ? 0 : v > 1 ? 1 : v;
        }
    }
    *disturbed = a->x;
    return ST_OK;
}

void adversary_close(struct adversary *a) {
    if (a->net) net_close(a->net);
    free(a->x);
    memset(a, 0, sizeof *a);
}
