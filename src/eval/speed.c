#include "eval/speed.h"

#include <stdlib.h>
#include <string.h>

#include "base/io.h"

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static enum status time_once(struct ctx *ctx, struct net *net, const float *x, double *ms) {
    double start = io_seconds();
    TRY(net_forward(ctx, net, x));
    *ms = (io_seconds() - start) * 1e3;
    return ST_OK;
}

static enum status alternate(struct ctx *ctx, struct net **net, struct speed **out, int nets, const float *x, int runs, double seconds) {
    double *ms[2] = { NULL, NULL }, started = io_seconds();
    int done = 0;
    enum status st = ST_OK;
    for (int i = 0; i < nets; ++i) ms[i] = mem_zero(ctx, (size_t)runs, sizeof **ms);
    for (int warm = 0; warm < 2 && ctx->code == ST_OK; ++warm)
        for (int i = 0; i < nets; ++i) st = net_forward(ctx, net[i], x);
    for (int i = 0; i < nets && ctx->code == ST_OK; ++i)
        net[i]->layer_seconds = out[i]->layer_ms = mem_zero(ctx, (size_t)net[i]->n, sizeof(double));
    while (done < runs && ctx->code == ST_OK && (done < 3 || io_seconds() - started < seconds)) {
        for (int i = 0; i < nets && ctx->code == ST_OK; ++i) st = time_once(ctx, net[i], x, &ms[i][done]);
        ++done;
    }
    for (int i = 0; i < nets; ++i) {
        net[i]->layer_seconds = NULL;
        if (ctx->code == ST_OK && done) {
            qsort(ms[i], (size_t)done, sizeof **ms, ascending);
            out[i]->ms = ms[i][done / 2];
            for (int k = 0; k < net[i]->n; ++k) out[i]->layer_ms[k] *= 1e3 / done;
        }
        free(ms[i]);
    }
    return ctx->code != ST_OK ? ctx->code : st;
}

enum status speed_compare(struct ctx *ctx, struct backend *be, struct net *a, struct net *b, int runs, double seconds,
                          struct speed *of_a, struct speed *of_b) {
    struct net *net[2] = { a, b };
    struct speed *out[2] = { of_a, of_b };
    int nets = b ? 2 : 1;
    memset(of_a, 0, sizeof *of_a);
    if (of_b) memset(of_b, 0, sizeof *of_b);
    float *x = mem_zero(ctx, (size_t)a->opt.channels * (size_t)a->opt.height * (size_t)a->opt.width, sizeof *x);
    if (!x) return ST_MEMORY;
    for (size_t i = 0; i < (size_t)a->opt.channels * (size_t)a->opt.height * (size_t)a->opt.width; ++i) x[i] = (float)(i % 251) / 251;
    enum status st = ST_OK;
    for (int i = 0; i < nets && st == ST_OK; ++i) st = net_bind(ctx, net[i], be, NET_INFER, 1);
    if (st == ST_OK) st = alternate(ctx, net, out, nets, x, runs, seconds);
    for (int i = 0; i < nets; ++i) net_unbind(net[i]);
    free(x);
    return st;
}
