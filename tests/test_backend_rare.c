/* The operations of options that few networks use, on every fast backend against the reference. */
#include "backend_rig.h"
#include "kinds.h"

static void sign_body(struct run *r) {
    const struct backend_ops *ops = r->be->ops;
    struct tensor x = random_map(r, r->k->x), dy = random_map(r, r->k->x), dx = target(r, r->k->x), y = bare(r, r->k->x);
    ops->fill(r->be, &y, (double)NAN);
    ops->sign(r->be, &x, &y);
    ops->sign_backward(r->be, &x, &dy, &dx, r->add);
    emit_map(r, &y), emit_map(r, &dx);
}

/* a: what normalises; b: in place */
static void norm_channels_body(struct run *r) {
    const struct backend_ops *ops = r->be->ops;
    enum channel_norm kind = (enum channel_norm)r->k->a;
    r->add = false;
    struct tensor x = random_map(r, r->k->x), dy = random_map(r, r->k->x), y = target(r, r->k->x);
    struct tensor dx = r->k->b ? dy : target(r, r->k->x);
    ops->norm_channels(r->be, kind, &x, &y);
    ops->norm_channels_backward(r->be, kind, &x, &y, &dy, &dx);
    emit_map(r, &y), emit_map(r, &dx);
    if (r->k->b) ops->norm_channels(r->be, kind, &x, &x);
    emit_map(r, &x);
}

static void excite_body(struct run *r) {
    struct shape s = r->k->x, one = { s.n, 1, s.h, s.w };
    struct tensor x = random_map(r, s), map = random_map(r, one), y = bare(r, s), z = random_map(r, s), w = random_map(r, s);
    r->be->ops->excite(r->be, &x, &map, .7, &y);
    r->be->ops->excite(r->be, &x, &map, -.5, &x);
    r->be->ops->coordinates(r->be, &z, false);
    r->be->ops->coordinates(r->be, &w, true);
    emit_map(r, &y), emit_map(r, &x), emit_map(r, &z), emit_map(r, &w);
}

/* a: filters, b: channels per filter, c: cells, d: stages */
static void weights_body(struct run *r) {
    const struct parity_case *k = r->k;
    const struct backend_ops *ops = r->be->ops;
    size_t n = (size_t)k->a * (size_t)k->b * (size_t)k->c, maps = (size_t)k->d * (size_t)k->c * (size_t)k->c;
    real *w = random_vector(r, n, -1, 1), *dw = random_vector(r, n, -1, 1), *out = random_vector(r, n, -1, 1), *rows = random_vector(r, n, -1, 1);
    double *map = calloc(maps, sizeof *map);
    for (size_t i = 0; map && i < maps; ++i) map[i] = rng_between(&r->rng, -1, 1);
    ops->tie_kernels(r->be, w, k->a, k->b, k->c, k->d, map);
    ops->tie_kernels_backward(r->be, dw, k->a, k->b, k->c, k->d, map);
    ops->binarize_weights(r->be, w, (size_t)(k->b * k->c), k->a, out);
    ops->centre_rows(r->be, rows, k->a, (size_t)(k->b * k->c));
    emit_vector(r, w, n), emit_vector(r, dw, n), emit_vector(r, out, n), emit_vector(r, rows, n);
    ops->binarize_weights(r->be, w, (size_t)(k->b * k->c), k->a, w);
    emit_vector(r, w, n);
    free(map);
}

/* a: in place */
static void blend_body(struct run *r) {
    const struct backend_ops *ops = r->be->ops;
    size_t c = (size_t)r->k->x.c;
    r->add = false;
    struct tensor x = random_map(r, r->k->x), y = target(r, r->k->x), pre = target(r, r->k->x), dy = random_map(r, r->k->x);
    struct tensor dx = r->k->a ? dy : target(r, r->k->x);
    real *scale = random_vector(r, c, .5, 2), *bias = random_vector(r, c, -1, 1), *moment = random_vector(r, 2 * c, .5, 1.5);
    real *mean = random_vector(r, c, 7, 8), *var = random_vector(r, c, 7, 8), *dscale = random_vector(r, c, -1, 1), *dbias = random_vector(r, c, -1, 1);
    ops->bn_blend_forward(r->be, &x, scale, bias, .3, moment, mean, var, r->k->act, &pre, &y);
    ops->bn_blend_backward(r->be, &x, scale, .3, mean, var, r->k->act, &pre, &y, &dy, &dx, dscale, dbias);
    emit_vector(r, moment, 2 * c), emit_vector(r, mean, c), emit_vector(r, var, c), emit_map(r, &pre), emit_map(r, &y), emit_map(r, &dx);
    emit_vector(r, dscale, c), emit_vector(r, dbias, c);
}

/* a: rows, b: columns */
static void mix_body(struct run *r) {
    const struct backend_ops *ops = r->be->ops;
    int rows = r->k->a, columns = r->k->b;
    size_t n = (size_t)rows * (size_t)columns;
    real *raw = random_vector(r, n, -1, 1), *dw = random_vector(r, n, -1, 1);
    for (int kind = MIX_NORM_NONE; kind <= MIX_NORM_SOFTMAX; ++kind) {
        real *w = random_vector(r, n, 7, 8), *draw = random_vector(r, n, -1, 1);
        ops->mix_weights(r->be, (enum mix_norm)kind, raw, rows, columns, w);
        ops->mix_weights_backward(r->be, (enum mix_norm)kind, raw, w, dw, rows, columns, draw);
        emit_vector(r, w, n), emit_vector(r, draw, n);
    }
}

/* a: groups of channels */
static void depth_body(struct run *r) {
    const struct backend_ops *ops = r->be->ops;
    struct shape s = r->k->x, ys = { s.n, r->k->a, s.h, s.w };
    struct tensor x = random_map(r, s), y = bare(r, ys), plain = bare(r, ys), dy = random_map(r, ys), dx = random_map(r, s);
    int32_t *argmax = ops->alloc_index(r->be, &r->ctx, shape_count(ys));
    ops->maxpool_depth(r->be, &x, &y, argmax);
    ops->maxpool_depth(r->be, &x, &plain, NULL);
    ops->maxpool_depth_backward(r->be, argmax, &dy, &dx);
    ops->free_index(r->be, argmax);
    emit_map(r, &y), emit_map(r, &plain), emit_map(r, &dx);
}

static void nonmax_body(struct run *r) {
    const struct backend_ops *ops = r->be->ops;
    struct pool_desc p = { 3, 1, 1, -1, -1 };
    struct tensor x = random_map(r, r->k->x), y = bare(r, r->k->x), dy = random_map(r, r->k->x), dx = random_map(r, r->k->x);
    int32_t *argmax = ops->alloc_index(r->be, &r->ctx, shape_count(r->k->x));
    ops->maxpool(r->be, &p, &x, &y, argmax);
    ops->zero_nonmax(r->be, &x, &y, argmax);
    ops->maxpool_backward(r->be, &p, argmax, &dy, &dx);
    ops->free_index(r->be, argmax);
    emit_map(r, &y), emit_map(r, &dx);
}

static void drop_body(struct run *r) {
    struct shape s = r->k->x;
    struct tensor x = random_map(r, s), y = target(r, s);
    int32_t corner[64];
    const double scale[] = { 1.25, .5, 2 };
    for (int i = 0; i < s.n * s.c; ++i) corner[i] = i % 3 == 2 ? -1 : (i * 7) % (s.h * s.w);
    r->be->ops->drop_blocks(r->be, &x, &y, corner, 3, scale, r->add);
    emit_map(r, &y);
}

static const struct parity_case cases[] = {
    { "sign", sign_body, { 2, 9, 5, 6 }, .a = 0 },
    { "sign wide", sign_body, { 1, 300, 17, 3 }, .a = 0 },
    { "channels relu", norm_channels_body, { 2, 9, 5, 6 }, .a = CHANNEL_NORM_RELU, .b = 0 },
    { "channels softmax", norm_channels_body, { 2, 70, 3, 5 }, .a = CHANNEL_NORM_SOFTMAX, .b = 1 },
    { "channels maxval", norm_channels_body, { 3, 5, 4, 7 }, .a = CHANNEL_NORM_MAXVAL, .b = 1 },
    { "excite", excite_body, { 2, 11, 6, 5 }, .a = 0 },
    { "coordinates of two", excite_body, { 1, 2, 3, 3 }, .a = 0 },
    { "tied kernels", weights_body, { 1, 1, 1, 1 }, .a = 8, .b = 5, .c = 9, .d = 4 },
    { "tied kernels 8", weights_body, { 1, 1, 1, 1 }, .a = 16, .b = 3, .c = 25, .d = 8 },
    { "free kernels", weights_body, { 1, 1, 1, 1 }, .a = 7, .b = 300, .c = 1, .d = 1 },
    { "blended norm", blend_body, { 3, 7, 5, 6 }, .act = ACT_MISH },
    { "blended norm in place", blend_body, { 2, 40, 9, 8 }, .a = 1, .act = ACT_LEAKY },
    { "mixed weights", mix_body, { 1, 1, 1, 1 }, .a = 3, .b = 7 },
    { "mixed weights of one", mix_body, { 1, 1, 1, 1 }, .a = 4, .b = 1 },
    { "depth", depth_body, { 2, 12, 5, 4 }, .a = 4 },
    { "depth uneven", depth_body, { 1, 10, 3, 3 }, .a = 4 },
    { "non-maxima", nonmax_body, { 2, 9, 7, 5 }, .a = 0 },
    { "blocks", drop_body, { 3, 5, 8, 7 }, .a = 0 },
};

static void check_narrow_parity(struct backend *ref, struct backend *be) {
    for (size_t k = 0; k < sizeof cases / sizeof *cases; ++k) check_narrow_case(ref, be, &cases[k]);
}

int main(void) {
    struct ctx ctx = { 0 };
    const char *kinds[MAX_KINDS];
    int n = fast_kinds(kinds);
    struct backend *ref = NULL;
    CHECK(backend_open(&ctx, "ref", &ref) == ST_OK, "%s", ctx.error);
    for (int i = 0; ref && i < n; ++i) {
        struct backend *be = NULL;
        CHECK(backend_open(&ctx, kinds[i], &be) == ST_OK, "%s: %s", kinds[i], ctx.error);
        for (size_t k = 0; be && k < sizeof cases / sizeof *cases; ++k) check_case(ref, be, &cases[k]);
        CHECK(be && be->ops->sync(be, &ctx) == ST_OK, "%s: %s", kinds[i], ctx.error);
        backend_close(be);
    }
    check_narrow(ref, check_narrow_parity);
    backend_close(ref);
    return test_end("backend_rare");
}
