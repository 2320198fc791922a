#include "eval/ceiling.h"

#include <math.h>

#include "base/io.h"

enum { CHANNELS = 1024, SIDE = 64, ROUNDS = 5 };
/* A device of its own needs more work per call than a processor to show what it can. */
enum { DEVICE_IMAGES = 32, HOST_IMAGES = 1, DEVICE_FLOATS = 1 << 28, HOST_FLOATS = 1 << 24 };

static bool device(const struct backend *be) { return be->memory > 0; }

/* A 1x1 convolution is a matrix product in the precision of convolutions, between maps as narrow as they may be. */
struct product { struct tensor x, y; real *w, *bias; struct conv_plan *plan; };

static enum status product_open(struct ctx *ctx, struct backend *be, struct product *p) {
    struct shape s = { device(be) ? DEVICE_IMAGES : HOST_IMAGES, CHANNELS, SIDE, SIDE };
    p->x = tensor_of(be, s, be->ops->alloc(be, ctx, shape_count(s)));
    p->y = tensor_of(be, s, be->ops->alloc(be, ctx, shape_count(s)));
    p->x.type = p->y.type = be->narrow_maps;
    p->w = be->ops->alloc(be, ctx, (size_t)CHANNELS * CHANNELS);
    if (ctx->code != ST_OK) return ctx->code;
    struct conv_desc d = { .x = p->x, .y = p->y, .groups = 1, .size = 1, .stride_x = 1, .stride_y = 1, .dilation = 1, .act = ACT_LINEAR };
    TRY(be->ops->conv_new(be, ctx, &d, &p->plan));
    be->ops->fill(be, &p->x, .5); /* cards are faster on zeros */
    return be->ops->conv_weights(be, ctx, p->plan, p->w);
}

static void product_close(struct backend *be, struct product *p) {
    if (p->plan) be->ops->conv_free(be, p->plan);
    be->ops->free(be, p->x.data), be->ops->free(be, p->y.data), be->ops->free(be, p->w);
}

static enum status measure_flops(struct ctx *ctx, struct backend *be, double *flops) {
    struct product p = { 0 };
    double least = INFINITY;
    enum status st = product_open(ctx, be, &p);
    for (int i = 0; i <= ROUNDS && st == ST_OK; ++i) {
        double start = io_seconds();
        st = be->ops->conv_forward(be, ctx, p.plan, &p.x, NULL, &p.y);
        if (st == ST_OK) st = be->ops->sync(be, ctx);
        if (i > 0) least = fmin(least, io_seconds() - start);
    }
    *flops = 2. * p.x.n * SIDE * SIDE * CHANNELS * CHANNELS / least;
    product_close(be, &p);
    return st;
}

static enum status measure_bytes(struct ctx *ctx, struct backend *be, double *bytes) {
    size_t n = device(be) ? DEVICE_FLOATS : HOST_FLOATS;
    real *x = be->ops->alloc(be, ctx, n), *y = be->ops->alloc(be, ctx, n);
    double least = INFINITY;
    enum status st = ctx->code;
    for (int i = 0; i <= ROUNDS && st == ST_OK; ++i) {
        double start = io_seconds();
        be->ops->axpy(be, n, 1, x, y);
        st = be->ops->sync(be, ctx);
        if (i > 0) least = fmin(least, io_seconds() - start);
    }
    *bytes = 3. * (double)n * (double)be->elem_size / least;
    be->ops->free(be, x), be->ops->free(be, y);
    return st;
}

enum status ceiling_measure(struct ctx *ctx, struct backend *be, struct ceiling *c) {
    TRY(measure_flops(ctx, be, &c->flops));
    return measure_bytes(ctx, be, &c->bytes);
}

double ceiling_ms(const struct ceiling *c, const struct net *net, int i, int batch, double bytes, bool *moves) {
    double compute = batch * net->layer[i].flops / c->flops, move = bytes / c->bytes;
    *moves = move > compute;
    return 1e3 * fmax(compute, move);
}
