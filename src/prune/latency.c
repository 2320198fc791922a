#include "prune/latency.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "prune/blocks.h"

enum status latency_new(struct ctx *ctx, int layers, struct latency_model **out) {
    struct latency_model *m = *out = mem_zero(ctx, 1, sizeof *m);
    if (!m) return ST_MEMORY;
    m->layer = mem_zero(ctx, (size_t)layers, sizeof *m->layer);
    if (m->layer) {
        m->n = layers;
        return ST_OK;
    }
    latency_drop(m);
    *out = NULL;
    return ST_MEMORY;
}

void latency_drop(struct latency_model *m) {
    if (!m) return;
    for (int i = 0; i < m->n; ++i) free(m->layer[i].in), free(m->layer[i].out), free(m->layer[i].ms);
    free(m->layer), free(m);
}

static enum status copy_layer(struct ctx *ctx, const struct latency_layer *from, struct latency_layer *to) {
    size_t in = (size_t)from->n_in, out = (size_t)from->n_out;
    *to = (struct latency_layer){ .full_ms = from->full_ms };
    if (from->n_in == 0) return ST_OK;
    to->in = mem_zero(ctx, in, sizeof *to->in);
    to->out = mem_zero(ctx, out, sizeof *to->out);
    to->ms = mem_zero(ctx, in * out, sizeof *to->ms);
    if (ctx->code != ST_OK) return ctx->code;
    memcpy(to->in, from->in, in * sizeof *to->in);
    memcpy(to->out, from->out, out * sizeof *to->out);
    memcpy(to->ms, from->ms, in * out * sizeof *to->ms);
    to->n_in = from->n_in, to->n_out = from->n_out;
    return ST_OK;
}

enum status latency_without(struct ctx *ctx, const struct latency_model *m, const struct blocks *b, struct latency_model **out) {
    TRY(latency_new(ctx, b->n_left, out));
    for (int i = 0; i < m->n && ctx->code == ST_OK; ++i)
        if (b->place[i] != PLACE_GONE) copy_layer(ctx, &m->layer[i], &(*out)->layer[b->number[i]]);
    if (ctx->code == ST_OK) return ST_OK;
    latency_drop(*out);
    *out = NULL;
    return ctx->code;
}

double latency_whole(const struct latency_model *m) {
    double sum = 0;
    for (int i = 0; i < m->n; ++i) sum += m->layer[i].full_ms;
    return sum;
}

void latency_doubt(const struct latency_layer *l, int *pairs, int *falling) {
    for (int a = 0; a < l->n_in; ++a)
        for (int b = 0; b < l->n_out; ++b) {
            double t = l->ms[a * l->n_out + b];
            if (b > 0) ++*pairs, *falling += t < .9 * l->ms[a * l->n_out + b - 1];
            if (a > 0) ++*pairs, *falling += t < .9 * l->ms[(a - 1) * l->n_out + b];
        }
}

void latency_settle(struct latency_layer *l) {
    for (int a = 0; a < l->n_in; ++a)
        for (int b = 0; b < l->n_out; ++b) {
            double *t = &l->ms[a * l->n_out + b];
            if (b > 0) *t = fmax(*t, l->ms[a * l->n_out + b - 1]);
            if (a > 0) *t = fmax(*t, l->ms[(a - 1) * l->n_out + b]);
        }
    int last = l->n_in * l->n_out - 1;
    double factor = last >= 0 && l->ms[last] > 0 ? l->full_ms / l->ms[last] : 1;
    for (int i = 0; i <= last; ++i) l->ms[i] *= factor;
}

/* Where x lies among ascending widths: index of the one below, *t the way to the next.  Below the first: the first. */
static int place(const int *width, int n, int x, double *t) {
    int i = 0;
    *t = 0;
    if (n < 2 || x <= width[0]) return 0;
    while (i < n - 2 && x > width[i + 1]) ++i;
    *t = fmin(1, (double)(x - width[i]) / (width[i + 1] - width[i]));
    return i;
}

double latency_of_layer(const struct latency_model *m, const struct layer *l, int in, int out) {
    const struct latency_layer *of = &m->layer[l->index];
    if (out <= 0 && l->out.c > 0) return 0;
    if (of->n_in == 0) {
        if (l->out.c == 0) return of->full_ms;
        double flops = l->ops->flops_at ? l->ops->flops_at(l, l->in_shape[0].c, l->out.c) : 0;
        return flops > 0 ? of->full_ms * l->ops->flops_at(l, in, out) / flops : of->full_ms * out / l->out.c;
    }
    double s, t;
    int a = place(of->in, of->n_in, in, &s), b = place(of->out, of->n_out, out, &t), a1 = a + (of->n_in > 1), b1 = b + (of->n_out > 1);
    const double *low = of->ms + a * of->n_out, *high = of->ms + a1 * of->n_out;
    return (1 - s) * ((1 - t) * low[b] + t * low[b1]) + s * ((1 - t) * high[b] + t * high[b1]);
}
