#include "eval/speed.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* --- measuring --------------------------------------------------------------------------------------------------------- */

struct bench { int nets; struct net *const *net; float *x[2]; };

static enum status time_once(struct ctx *ctx, const struct bench *b, int i, double *ms) {
    double start = io_seconds();
    TRY(net_forward(ctx, b->net[i], b->x[i]));
    *ms = (io_seconds() - start) * 1e3;
    return ST_OK;
}

static bool wants_more(const struct speed_plan *plan, int done, double started) {
    const int least = 3;
    if (done >= plan->runs || (plan->stop && *plan->stop)) return false;
    return done < least || plan->seconds <= 0 || io_seconds() - started < plan->seconds;
}

/* Looking at single layers waits for each of them; where whole passes run ahead of that, they are timed by passes of their own. */
static bool apart(const struct bench *b) { return b->net[0]->be->passes != NULL; }

static void watch_layers(const struct bench *b, struct speed_record *r, bool on) {
    for (int i = 0; i < b->nets; ++i) b->net[i]->layer_seconds = on ? r->layer_ms[i] : NULL;
}

static enum status alternate(struct ctx *ctx, const struct bench *b, const struct speed_plan *plan, struct speed_record *r) {
    const int most = 20;
    double ignored;
    for (int k = 0; k < plan->warmup; ++k)
        for (int i = 0; i < b->nets; ++i) TRY(time_once(ctx, b, i, &ignored));
    watch_layers(b, r, !apart(b));
    double started = io_seconds();
    for (; wants_more(plan, r->runs, started); ++r->runs) {
        for (int k = 0; k < b->nets; ++k) {
            int i = b->nets == 2 && r->runs % 2 ? 1 - k : k;
            TRY(time_once(ctx, b, i, &r->ms[i][r->runs]));
        }
        if (plan->progress) plan->progress(plan->user, r->runs + 1, plan->runs);
    }
    int watched = apart(b) && r->runs > most ? most : r->runs;
    watch_layers(b, r, true);
    for (int n = 0; n < watched && apart(b); ++n)
        for (int i = 0; i < b->nets; ++i) TRY(time_once(ctx, b, i, &ignored));
    for (int i = 0; i < b->nets; ++i)
        for (int k = 0; k < b->net[i]->n && watched; ++k) r->layer_ms[i][k] *= 1e3 / watched;
    return ST_OK;
}

static enum status prepare(struct ctx *ctx, struct backend *be, struct net *net, const struct speed_plan *plan, int i, struct bench *b,
                           struct speed_record *r) {
    size_t n = (size_t)plan->batch * (size_t)net->opt.channels * (size_t)net->opt.height * (size_t)net->opt.width;
    b->x[i] = mem_zero(ctx, n, sizeof *b->x[i]);
    r->ms[i] = mem_zero(ctx, (size_t)plan->runs, sizeof *r->ms[i]);
    r->layer_ms[i] = mem_zero(ctx, (size_t)net->n, sizeof *r->layer_ms[i]);
    r->layer_bytes[i] = mem_zero(ctx, (size_t)net->n, sizeof *r->layer_bytes[i]);
    if (ctx->code != ST_OK) return ctx->code;
    for (size_t k = 0; k < n; ++k) b->x[i][k] = (float)(k % 251) / 251;
    TRY(net_bind(ctx, net, be, NET_INFER, plan->batch));
    for (int k = 0; k < net->n; ++k) r->layer_bytes[i][k] = net_layer_bytes(net, k);
    return ST_OK;
}

enum status speed_measure(struct ctx *ctx, struct backend *be, struct net *const *net, int nets, const struct speed_plan *plan,
                          struct speed_record *r) {
    struct bench b = { .nets = nets, .net = net };
    enum status st = ST_OK;
    memset(r, 0, sizeof *r);
    for (int i = 0; i < nets && st == ST_OK; ++i) st = prepare(ctx, be, net[i], plan, i, &b, r);
    if (st == ST_OK) st = alternate(ctx, &b, plan, r);
    if (st == ST_OK && r->runs == 0) st = ctx_fail(ctx, ST_INTERRUPTED, "stopped before the first forward pass");
    for (int i = 0; i < nets; ++i) {
        net[i]->layer_seconds = NULL;
        net_unbind(net[i]);
        free(b.x[i]);
    }
    if (st != ST_OK) speed_record_free(r);
    return st;
}

void speed_record_free(struct speed_record *r) {
    for (int i = 0; i < 2; ++i) free(r->ms[i]), free(r->layer_ms[i]), free(r->layer_bytes[i]);
    memset(r, 0, sizeof *r);
}

enum status speed_compare(struct ctx *ctx, struct backend *be, struct net *a, struct net *b, int runs, double seconds,
                          struct speed *of_a, struct speed *of_b) {
    struct net *net[2] = { a, b };
    struct speed *out[2] = { of_a, of_b };
    struct speed_plan plan = { .batch = 1, .warmup = 2, .runs = runs, .seconds = seconds };
    struct speed_record r;
    int nets = b ? 2 : 1;
    memset(of_a, 0, sizeof *of_a);
    if (of_b) memset(of_b, 0, sizeof *of_b);
    TRY(speed_measure(ctx, be, net, nets, &plan, &r));
    for (int i = 0; i < nets; ++i) {
        qsort(r.ms[i], (size_t)r.runs, sizeof *r.ms[i], ascending);
        out[i]->ms = r.ms[i][r.runs / 2];
        out[i]->layer_ms = r.layer_ms[i];
        r.layer_ms[i] = NULL;
    }
    speed_record_free(&r);
    return ST_OK;
}

/* --- figures ------------------------------------------------------------------------------------------------------------ */

static double *sorted_copy(struct ctx *ctx, const double *v, int n) {
    double *s = mem_zero(ctx, (size_t)n, sizeof *s);
    if (!s) return NULL;
    memcpy(s, v, (size_t)n * sizeof *s);
    qsort(s, (size_t)n, sizeof *s, ascending);
    return s;
}

/* Between the two nearest values, as spreadsheets have it. */
static double quantile(const double *sorted, int n, double q) {
    double at = q * (n - 1);
    int i = (int)at;
    return i + 1 < n ? sorted[i] + (at - i) * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}

enum status speed_figures(struct ctx *ctx, const double *ms, int n, struct speed_figures *f) {
    double *s = sorted_copy(ctx, ms, n);
    if (!s) return ST_MEMORY;
    *f = (struct speed_figures){ s[0], quantile(s, n, .5), quantile(s, n, .9), quantile(s, n, .99), 0 };
    for (int i = 0; i < n; ++i) f->mean += ms[i] / n;
    free(s);
    return ST_OK;
}

/* P(at most k of n fair coins show heads), n > 0. */
static double coins(int k, int n) {
    double sum = 0;
    for (int i = 0; i <= k; ++i) sum += exp(lgamma(n + 1.) - lgamma(i + 1.) - lgamma(n - i + 1.) - n * log(2));
    return fmin(sum, 1);
}

enum status speed_ratio_of(struct ctx *ctx, const double *a, const double *b, int n, struct speed_ratio *out) {
    double *ratio = mem_zero(ctx, (size_t)n, sizeof *ratio);
    int above = 0, below = 0, k = -1;
    if (!ratio) return ST_MEMORY;
    for (int i = 0; i < n; ++i) {
        ratio[i] = b[i] / a[i];
        above += ratio[i] > 1, below += ratio[i] < 1;
    }
    qsort(ratio, (size_t)n, sizeof *ratio, ascending);
    while (k + 1 < n / 2 && coins(k + 1, n) <= (1 - SPEED_CONFIDENCE) / 2) ++k; /* the values k+1 from either end */
    *out = (struct speed_ratio){ .median = quantile(ratio, n, .5), .quartile = { quantile(ratio, n, .25), quantile(ratio, n, .75) },
                                 .low = ratio[k < 0 ? 0 : k], .high = ratio[k < 0 ? n - 1 : n - 1 - k] };
    out->p = above + below ? fmin(1, 2 * coins(above < below ? above : below, above + below)) : 1;
    out->noise = out->p > 1 - SPEED_CONFIDENCE || fabs(out->median - 1) < SPEED_FLOOR;
    free(ratio);
    return ST_OK;
}
