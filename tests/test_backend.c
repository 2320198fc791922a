/* Every operation of the cpu backend against the reference, on odd shapes, three memory layouts, add and overwrite; and
 * the reference's derivatives against central differences in double. */
#include <float.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "backend_rig.h"
#include "kinds.h"

/* ---- bodies ---- */

static size_t channels(const struct run *r) {
    return (size_t)r->k->x.c;
}

/* a: filters, b: size, c: stride, d: groups, e: dilation (negative: no padding) */
static void conv_body(struct run *r) {
    const struct parity_case *k = r->k;
    int dilation = abs(k->e), pad = k->e < 0 ? 0 : k->b / 2 * dilation, reach = dilation * (k->b - 1) + 1;
    struct shape ys = {k->x.n, k->a, (k->x.h + 2 * pad - reach) / k->c + 1, (k->x.w + 2 * pad - reach) / k->c + 1};
    struct tensor x = random_map(r, k->x), dy = random_map(r, ys), dx = target(r, k->x);
    bool add = r->add;
    r->add = false;
    struct tensor y = target(r, ys);
    size_t n = (size_t)k->a * (size_t)(k->x.c / k->d * k->b * k->b);
    real *w = random_vector(r, n, -1, 1), *bias = random_vector(r, (size_t)k->a, -1, 1), *dw = random_vector(r, n, -1, 1);
    struct conv_desc d = {.x = x, .y = y, .groups = k->d, .size = k->b, .stride_x = k->c, .stride_y = k->c,
                          .dilation = dilation, .pad = pad, .bias = true, .act = k->act, .backward = true};
    struct conv_plan *plan = NULL;
    const struct backend_ops *ops = r->be->ops;
    CHECK(ops->conv_new(r->be, &r->ctx, &d, &plan) == ST_OK, "%s: %s", k->name, r->ctx.error);
    if (!plan) return;
    ops->conv_weights(r->be, &r->ctx, plan, w);
    ops->conv_forward(r->be, &r->ctx, plan, &x, bias, &y);
    ops->conv_backward_data(r->be, &r->ctx, plan, &dy, &dx, add);
    ops->conv_backward_weights(r->be, &r->ctx, plan, &x, &dy, dw);
    ops->conv_free(r->be, plan);
    CHECK(r->ctx.code == ST_OK, "%s: %s", k->name, r->ctx.error);
    emit_map(r, &y), emit_map(r, &dx), emit_vector(r, dw, n);
}

/* The same letters; forward alone, as networks that only run: other kernels, and `add` sums a residual on top. */
static void conv_run_body(struct run *r) {
    const struct parity_case *k = r->k;
    int dilation = abs(k->e), pad = k->e < 0 ? 0 : k->b / 2 * dilation, reach = dilation * (k->b - 1) + 1;
    struct shape ys = {k->x.n, k->a, (k->x.h + 2 * pad - reach) / k->c + 1, (k->x.w + 2 * pad - reach) / k->c + 1};
    bool add = r->add;
    r->add = false;
    struct tensor x = random_map(r, k->x), y = target(r, ys), skip = random_map(r, ys);
    size_t n = (size_t)k->a * (size_t)(k->x.c / k->d * k->b * k->b);
    real *w = random_vector(r, n, -1, 1), *bias = random_vector(r, (size_t)k->a, -1, 1);
    struct conv_desc d = {.x = x, .y = y, .groups = k->d, .size = k->b, .stride_x = k->c, .stride_y = k->c,
                          .dilation = dilation, .pad = pad, .bias = !add, .act = k->act, .skip = add, .skip_type = skip.type};
    struct conv_plan *plan = NULL;
    const struct backend_ops *ops = r->be->ops;
    CHECK(ops->conv_new(r->be, &r->ctx, &d, &plan) == ST_OK, "%s: %s", k->name, r->ctx.error);
    if (!plan) return;
    ops->conv_weights(r->be, &r->ctx, plan, w);
    if (add) ops->conv_forward_add(r->be, &r->ctx, plan, &x, NULL, &skip, &y);
    else ops->conv_forward(r->be, &r->ctx, plan, &x, bias, &y);
    ops->conv_free(r->be, plan);
    CHECK(r->ctx.code == ST_OK, "%s: %s", k->name, r->ctx.error);
    emit_map(r, &y);
}

/* a: in place (dx is dy's memory) */
static void bn_body(struct run *r) {
    size_t c = channels(r);
    const struct backend_ops *ops = r->be->ops;
    r->add = false;
    struct tensor x = random_map(r, r->k->x), y = target(r, r->k->x), pre = target(r, r->k->x);
    struct tensor again = target(r, r->k->x), dy = random_map(r, r->k->x);
    struct tensor dx = r->k->a ? dy : target(r, r->k->x);
    real *scale = random_vector(r, c, .5, 2), *bias = random_vector(r, c, -1, 1), *mean = block(r, c), *var = block(r, c);
    real *dscale = random_vector(r, c, -1, 1), *dbias = random_vector(r, c, -1, 1);
    ops->bn_forward(r->be, &x, scale, bias, mean, var, r->k->act, &pre, &y);
    ops->bn_forward(r->be, &x, scale, bias, mean, var, r->k->act, NULL, &again);
    ops->bn_backward(r->be, &x, scale, mean, var, r->k->act, &pre, &y, &dy, &dx, dscale, dbias);
    emit_vector(r, mean, c), emit_vector(r, var, c), emit_map(r, &pre), emit_map(r, &y), emit_map(r, &again);
    emit_map(r, &dx), emit_vector(r, dscale, c), emit_vector(r, dbias, c);
}

static void bn_numbers_body(struct run *r) {
    size_t c = channels(r);
    const struct backend_ops *ops = r->be->ops;
    real *w = random_vector(r, 9 * c, -1, 1), *scale = random_vector(r, c, .5, 2), *bias = random_vector(r, c, -1, 1);
    real *mean = random_vector(r, c, -1, 1), *var = random_vector(r, c, .1, 2), *rolling = random_vector(r, c, -1, 1);
    real *w_out = random_vector(r, 9 * c, 7, 8), *bias_out = random_vector(r, c, 7, 8);
    ops->bn_fold(r->be, w, 9, (int)c, scale, bias, mean, var, w_out, bias_out);
    float *value = host(c);
    real *rolled = block(r, c);
    ops->get(r->be, var, c, value);
    value[0] = NAN, value[1] = INFINITY, value[2] = -INFINITY; /* no statistics */
    ops->put(r->be, value, c, rolled);
    free(value);
    ops->bn_roll(r->be, rolling, rolled, c, .99, 1.25);
    emit_vector(r, w_out, 9 * c), emit_vector(r, bias_out, c), emit_vector(r, rolling, c);
}

static void act_body(struct run *r) {
    const struct backend_ops *ops = r->be->ops;
    struct tensor x = random_map(r, r->k->x), dy = random_map(r, r->k->x), dx = target(r, r->k->x);
    bool add = r->add, input = activation_needs_input(r->k->act);
    r->add = false;
    struct tensor y = target(r, r->k->x);
    r->be->ops->copy_channels(r->be, &x, 0, &x, 0, x.c, 6, false); /* reach the flat and the steep ends */
    ops->act_forward(r->be, r->k->act, &x, &y);
    ops->act_backward(r->be, r->k->act, input ? &x : NULL, &y, &dy, &dx, add);
    if (!add) ops->act_backward(r->be, r->k->act, input ? &x : NULL, &y, &dy, &dy, false);
    ops->act_forward(r->be, r->k->act, &x, &x);
    emit_map(r, &y), emit_map(r, &dx), emit_map(r, &dy), emit_map(r, &x);
}

static void sums_body(struct run *r) {
    size_t c = channels(r);
    const struct backend_ops *ops = r->be->ops;
    struct tensor x = random_map(r, r->k->x), dy = random_map(r, r->k->x);
    real *db = random_vector(r, c, -1, 1), *dw = random_vector(r, c, -1, 1), *one = random_vector(r, 1, -1, 1);
    double *total = calloc(c, sizeof *total);
    ops->bias_backward(r->be, &dy, db);
    ops->weight_backward(r->be, &x, &dy, true, (int)c - 1, dw);
    ops->weight_backward(r->be, &x, &dy, false, (int)c, one);
    total[0] = 3;
    ops->channel_sum(r->be, &x, total);
    emit_vector(r, db, c), emit_vector(r, dw, c), emit_vector(r, one, 1), emit_doubles(r, total, c);
    free(total);
}

/* a: size, b: stride, c: total padding */
static void maxpool_body(struct run *r) {
    const struct parity_case *k = r->k;
    struct pool_desc p = {k->a, k->b, k->b, -k->c / 2, -k->c / 2};
    struct shape ys = {k->x.n, k->x.c, (k->x.h + k->c - k->a) / k->b + 1, (k->x.w + k->c - k->a) / k->b + 1};
    struct tensor x = random_map(r, k->x), dy = random_map(r, ys), y = bare(r, ys), plain = bare(r, ys);
    struct tensor dx = random_map(r, k->x);
    r->be->ops->fill(r->be, &y, (double)NAN), r->be->ops->fill(r->be, &plain, (double)NAN);
    int32_t *argmax = r->be->ops->alloc_index(r->be, &r->ctx, shape_count(ys));
    r->be->ops->maxpool(r->be, &p, &x, &y, argmax);
    r->be->ops->maxpool(r->be, &p, &x, &plain, NULL);
    r->be->ops->maxpool_backward(r->be, &p, argmax, &dy, &dx);
    r->be->ops->free_index(r->be, argmax);
    emit_map(r, &y), emit_map(r, &plain), emit_map(r, &dx);
}

static void avgpool_body(struct run *r) {
    struct shape ys = {r->k->x.n, r->k->x.c, 1, 1};
    struct tensor x = random_map(r, r->k->x), dy = random_map(r, ys), dx = target(r, r->k->x), y = bare(r, ys);
    r->be->ops->fill(r->be, &y, (double)NAN);
    r->be->ops->avgpool(r->be, &x, &y);
    r->be->ops->avgpool_backward(r->be, &dy, &dx, r->add);
    emit_map(r, &y), emit_map(r, &dx);
}

static void copy_body(struct run *r) {
    struct shape s = r->k->x, wide = s;
    wide.c += 4;
    size_t c = channels(r);
    const struct backend_ops *ops = r->be->ops;
    struct tensor x = random_map(r, s), y = random_map(r, wide), z = target(r, s), u = target(r, s), v = target(r, s);
    struct tensor all = target(r, s);
    real *w = random_vector(r, c, -1, 1);
    ops->copy_channels(r->be, &x, 1, &y, 3, s.c - 1, 1, r->add);
    ops->copy_channels(r->be, &y, 4, &z, 0, s.c, .5, r->add);
    ops->copy_channels(r->be, &x, 0, &all, 0, s.c, 1, r->add);
    ops->copy_weighted(r->be, &x, w, true, s.c, &u, r->add);
    ops->copy_weighted(r->be, &x, w, false, s.c, &v, r->add);
    emit_map(r, &y), emit_map(r, &z), emit_map(r, &u), emit_map(r, &v), emit_map(r, &all);
}

/* a: stride, may be negative */
static void upsample_body(struct run *r) {
    int s = r->k->a;
    struct shape xs = r->k->x, ys = s > 0 ? (struct shape){xs.n, xs.c, xs.h * s, xs.w * s}
                                          : (struct shape){xs.n, xs.c, xs.h / -s, xs.w / -s};
    struct tensor x = random_map(r, xs), y = bare(r, ys), dy = random_map(r, ys), dx = target(r, xs);
    r->be->ops->fill(r->be, &y, (double)NAN);
    r->be->ops->upsample(r->be, &x, &y, s, 1.5);
    r->be->ops->upsample_backward(r->be, &dy, &dx, s, 1.5, r->add);
    emit_map(r, &y), emit_map(r, &dx);
}

/* a: stride */
static void reorg_body(struct run *r) {
    int s = r->k->a;
    struct shape flat = r->k->x, deep = {flat.n, flat.c * s * s, flat.h / s, flat.w / s};
    struct tensor x = random_map(r, flat), y = target(r, deep), back = target(r, flat);
    r->be->ops->reorg(r->be, &x, &y, s, false, r->add);
    r->be->ops->reorg(r->be, &y, &back, s, true, r->add);
    emit_map(r, &y), emit_map(r, &back);
}

/* a map, its flat form, and another map of as many values */
static void reshape_body(struct run *r) {
    struct shape s = r->k->x, flat = {s.n, s.c * s.h * s.w, 1, 1}, other = {s.n, s.h, s.w, s.c};
    struct tensor x = random_map(r, s), y = target(r, flat), back = target(r, s), z = target(r, other);
    r->be->ops->reshape(r->be, &x, &y, r->add);
    r->be->ops->reshape(r->be, &y, &back, r->add);
    r->be->ops->reshape(r->be, &x, &z, r->add);
    emit_map(r, &y), emit_map(r, &back), emit_map(r, &z);
}

/* a: stride; the input is as deep as it must be */
static void reorg_old_body(struct run *r) {
    int s = r->k->a;
    struct shape in = r->k->x, out = {in.n, in.c * s * s, in.h / s, in.w / s};
    struct tensor x = random_map(r, in), y = target(r, out), back = target(r, in);
    r->be->ops->reorg_old(r->be, &x, &y, in, s, false, r->add);
    r->be->ops->reorg_old(r->be, &y, &back, in, s, true, r->add);
    emit_map(r, &y), emit_map(r, &back);
}

static void crop_body(struct run *r) {
    struct shape s = r->k->x, small = {s.n, s.c, s.h - 2, s.w - 3};
    struct crop_place at[2] = {{1, 2, false, 1.5, .7, {.1, .2, .3}, 0}, {3, 0, true, 1, 1, {0}, .4}};
    struct tensor x = random_map(r, s), dy = random_map(r, small), dx = target(r, s), y = bare(r, small);
    r->be->ops->fill(r->be, &y, (double)NAN);
    r->be->ops->crop(r->be, &x, &y, at, 2, -1);
    r->be->ops->crop_backward(r->be, &dy, &dx, at, 2, r->add);
    emit_map(r, &y), emit_map(r, &dx);
}

/* a: window */
static void lrn_body(struct run *r) {
    struct lrn_desc d = {r->k->a, .01, .75, 2};
    struct tensor x = random_map(r, r->k->x), dy = random_map(r, r->k->x), dx = target(r, r->k->x);
    struct tensor norm = bare(r, r->k->x), y = bare(r, r->k->x);
    r->be->ops->lrn(r->be, &d, &x, &norm, &y);
    r->be->ops->lrn_backward(r->be, &d, &x, &norm, &dy, &dx, r->add);
    emit_map(r, &y), emit_map(r, &dx);
}

/* a: filters, b: size, c: stride */
static void local_body(struct run *r) {
    const struct parity_case *k = r->k;
    struct local_desc d = {k->b, k->c, k->b / 2};
    struct shape ys = {k->x.n, k->a, (k->x.h - 1) / k->c + 1, (k->x.w - 1) / k->c + 1};
    size_t nb = (size_t)(ys.c * ys.h * ys.w), nw = nb * (size_t)(k->x.c * k->b * k->b);
    struct tensor x = random_map(r, k->x), dy = random_map(r, ys), dx = target(r, k->x), y = bare(r, ys);
    real *w = random_vector(r, nw, -1, 1), *b = random_vector(r, nb, -1, 1);
    real *dw = random_vector(r, nw, -1, 1), *db = random_vector(r, nb, -1, 1);
    r->be->ops->local(r->be, &d, &x, w, b, &y);
    r->be->ops->local_backward_data(r->be, &d, w, &dy, &dx, r->add);
    r->be->ops->local_backward_weights(r->be, &d, &x, &dy, dw, db);
    emit_map(r, &y), emit_map(r, &dx), emit_vector(r, dw, nw), emit_vector(r, db, nb);
}

/* a: size, b: stride, c: total padding */
static void local_avgpool_body(struct run *r) {
    const struct parity_case *k = r->k;
    struct pool_desc p = {k->a, k->b, k->b, -k->c / 2, -k->c / 2};
    struct shape ys = {k->x.n, k->x.c, (k->x.h + k->c - k->a) / k->b + 1, (k->x.w + k->c - k->a) / k->b + 1};
    struct tensor x = random_map(r, k->x), dy = random_map(r, ys), dx = target(r, k->x), y = bare(r, ys);
    r->be->ops->fill(r->be, &y, (double)NAN);
    r->be->ops->local_avgpool(r->be, &p, &x, &y);
    r->be->ops->local_avgpool_backward(r->be, &p, &dy, &dx, r->add);
    emit_map(r, &y), emit_map(r, &dx);
}

/* a: gate's channels are 1; b: gate's map is 1 x 1 */
static void gate_body(struct run *r) {
    struct shape s = r->k->x, gs = {s.n, r->k->a ? 1 : s.c, r->k->b ? 1 : s.h, r->k->b ? 1 : s.w};
    const struct backend_ops *ops = r->be->ops;
    struct tensor x = random_map(r, s), gate = random_map(r, gs), dy = random_map(r, s), y = bare(r, s);
    struct tensor dx = target(r, s), dgate = target(r, gs);
    ops->fill(r->be, &y, (double)NAN);
    ops->gate(r->be, &x, &gate, &y);
    ops->gate_backward_x(r->be, &gate, &dy, &dx, r->add);
    ops->gate_backward_gate(r->be, &x, &dy, &dgate, r->add);
    emit_map(r, &y), emit_map(r, &dx), emit_map(r, &dgate);
}

static void constrain_body(struct run *r) {
    struct tensor x = random_map(r, r->k->x), dy = random_map(r, r->k->x), y = target(r, r->k->x), dx = target(r, r->k->x);
    r->be->ops->constrain(r->be, &x, r->k->a * .5, &y);
    r->be->ops->constrain_backward(r->be, &x, r->k->a * .5, &dy, &dx, r->add);
    emit_map(r, &y), emit_map(r, &dx);
}

static void mask_body(struct run *r) {
    const struct backend_ops *ops = r->be->ops;
    struct tensor x = random_map(r, r->k->x), y = target(r, r->k->x), z = random_map(r, r->k->x);
    uint8_t keep[64];
    for (int i = 0; i < 64; ++i) keep[i] = i % 3 != 1;
    ops->dropout(r->be, &x, &y, .3, UINT64_C(99999999999), r->add);
    ops->mask_channels(r->be, &z, keep);
    emit_map(r, &y), emit_map(r, &z);
}

/* a: maps */
static void dot_body(struct run *r) {
    struct shape s = r->k->x;
    struct tensor x = random_map(r, s), g = random_map(r, s);
    size_t plane = (size_t)s.h * (size_t)s.w, maps = (size_t)r->k->a, c = channels(r);
    float *map = host(maps * plane);
    for (size_t i = 0; i < maps * plane; ++i) map[i] = i % 3 ? (float)rng_uniform(&r->rng) : 0;
    double *dot = calloc(maps * c, sizeof *dot), *sum = calloc(maps * c, sizeof *sum);
    dot[0] = 5;
    r->be->ops->channel_dot(r->be, &x, &g, s.n - 1, (int)maps, map, dot, sum);
    emit_doubles(r, dot, maps * c), emit_doubles(r, sum, maps * c);
    double mean[128];
    for (size_t i = 0; i < c; ++i) mean[i] = rng_normal(&r->rng);
    r->be->ops->channel_abs_dot(r->be, &x, &g, 0, (int)maps, map, mean, dot);
    r->be->ops->channel_abs_dot(r->be, &x, &g, 0, (int)maps, map, NULL, sum);
    emit_doubles(r, dot, maps * c), emit_doubles(r, sum, maps * c);
    free(map), free(dot), free(sum);
}

/* a: length */
static void vector_body(struct run *r) {
    size_t n = (size_t)r->k->a;
    const struct backend_ops *ops = r->be->ops;
    real *x = random_vector(r, n, -1, 1), *y = random_vector(r, n, -1, 1), *m = random_vector(r, n, -1, 1), *v = random_vector(r, n, 0, 1);
    double squares = ops->sum_squares(r->be, n, x);
    emit_doubles(r, &squares, 1);
    ops->axpy(r->be, n, -.5, x, y);
    ops->scale(r->be, n, 3, x);
    emit_vector(r, x, n), emit_vector(r, y, n);
    ops->blend(r->be, n, .9, y, x);
    emit_vector(r, x, n);
    const struct update_range ranges[] = {
        { 0, n / 4, .01, .05, INFINITY, INFINITY, false, 0 },
        { n / 4, n / 4, .02, .03, .5, .3, false, .reverse = -.5 },
        { n / 2, n / 8, 1, 1, INFINITY, INFINITY, true, 0 },
        { n / 2 + n / 8, n - n / 2 - n / 8, .1, .01, INFINITY, INFINITY, false, 0 },
    };
    ops->sgd(r->be, ranges, 4, x, y, m, .75, .9);
    emit_vector(r, x, n), emit_vector(r, y, n), emit_vector(r, m, n);
    ops->axpy(r->be, n, -.5, x, y);
    for (int decoupled = 0; decoupled < 2; ++decoupled) {
        const struct adam_rule rule = { .scale = .5, .beta1 = .9, .beta2 = .99, .eps = 1e-3, .correction1 = .2, .correction2 = .1,
                                        .decoupled = decoupled };
        ops->adam(r->be, ranges, 4, x, y, m, v, &rule);
        emit_vector(r, x, n), emit_vector(r, y, n), emit_vector(r, m, n), emit_vector(r, v, n);
        ops->axpy(r->be, n, .25, x, y);
    }
}

/* Copies between host order and tensor, with add. */
static void layout_body(struct run *r) {
    struct tensor x = random_map(r, r->k->x), y = target(r, r->k->x);
    size_t n = shape_count(r->k->x);
    float *values = host(n);
    r->be->ops->to_nchw(r->be, &x, values);
    emit(r, values, n);
    r->be->ops->from_nchw(r->be, values, &y, r->add);
    emit_map(r, &y);
    free(values);
}

static const struct parity_case parity_cases[] = {
    {"conv 3x3", conv_body, {2, 5, 9, 7}, 6, 3, 1, 1, 1, ACT_LINEAR},
    {"conv 3x3 leaky", conv_body, {1, 16, 13, 10}, 33, 3, 1, 1, 1, ACT_LEAKY},
    {"conv 3x3 wide", conv_body, {2, 68, 21, 20}, 40, 3, 1, 1, 1, ACT_LEAKY},
    {"conv 3x3 stride 2 even", conv_body, {2, 8, 12, 14}, 24, 3, 2, 1, 1, ACT_MISH},
    {"conv 3x3 stride 2 odd", conv_body, {2, 3, 11, 13}, 16, 3, 2, 1, 1, ACT_SWISH},
    {"conv 1x1", conv_body, {3, 17, 7, 6}, 19, 1, 1, 1, 1, ACT_LOGISTIC},
    {"conv 1x1 stride 2", conv_body, {1, 16, 9, 8}, 8, 1, 2, 1, 1, ACT_RELU},
    {"conv 1x1 stride 2 narrow", conv_body, {5, 6, 16, 16}, 7, 1, 2, 1, 1, ACT_LEAKY},
    {"conv 1x1 on 1x1", conv_body, {4, 20, 1, 1}, 5, 1, 1, 1, 1, ACT_TANH},
    {"conv dilation 2", conv_body, {1, 8, 12, 12}, 8, 3, 1, 1, 2, ACT_RELU6},
    {"conv dilation 3 stride 2", conv_body, {1, 4, 13, 12}, 8, 3, 2, 1, 3, ACT_LINEAR},
    {"conv 5x5 stride 3 no pad", conv_body, {1, 6, 17, 19}, 7, 5, 3, 1, -1, ACT_LINEAR},
    {"conv 7x7 stride 2", conv_body, {1, 3, 20, 17}, 16, 7, 2, 1, 1, ACT_HARD_MISH},
    {"conv 2x2 stride 2", conv_body, {1, 3, 9, 9}, 4, 2, 2, 1, 1, ACT_ELU},
    {"conv groups 2", conv_body, {2, 8, 7, 9}, 12, 3, 1, 2, 1, ACT_RELIE},
    {"conv groups 32 wide", conv_body, {1, 64, 6, 6}, 64, 3, 1, 32, 1, ACT_LEAKY},
    {"conv groups 3 odd", conv_body, {1, 9, 8, 5}, 6, 3, 2, 3, 1, ACT_LINEAR},
    {"conv depthwise", conv_body, {2, 24, 10, 9}, 24, 3, 1, 24, 1, ACT_RELU6},
    {"conv depthwise stride 2", conv_body, {1, 19, 11, 8}, 19, 5, 2, 19, 1, ACT_SWISH},
    {"conv depthwise times 2", conv_body, {1, 6, 8, 8}, 12, 3, 1, 6, 1, ACT_LINEAR},
    {"conv one channel", conv_body, {1, 1, 8, 9}, 1, 3, 1, 1, 1, ACT_LEAKY},
    {"conv wide blocks", conv_body, {1, 35, 5, 6}, 70, 3, 1, 1, 1, ACT_SELU},
    {"conv many pixels", conv_body, {1, 8, 40, 42}, 16, 3, 1, 1, 1, ACT_LEAKY},
    {"run conv 3x3", conv_run_body, {2, 5, 9, 7}, 6, 3, 1, 1, 1, ACT_LINEAR},
    {"run conv 3x3 leaky", conv_run_body, {1, 16, 13, 10}, 33, 3, 1, 1, 1, ACT_LEAKY},
    {"run conv 3x3 stride 2 even", conv_run_body, {2, 8, 12, 14}, 24, 3, 2, 1, 1, ACT_MISH},
    {"run conv 3x3 stride 2 odd", conv_run_body, {2, 3, 11, 13}, 16, 3, 2, 1, 1, ACT_SWISH},
    {"run conv 1x1", conv_run_body, {3, 17, 7, 6}, 19, 1, 1, 1, 1, ACT_LOGISTIC},
    {"run conv 1x1 stride 2", conv_run_body, {1, 16, 9, 8}, 8, 1, 2, 1, 1, ACT_RELU},
    {"run conv 1x1 stride 2 narrow", conv_run_body, {5, 6, 16, 16}, 7, 1, 2, 1, 1, ACT_LEAKY},
    {"run conv 1x1 on 1x1", conv_run_body, {4, 20, 1, 1}, 5, 1, 1, 1, 1, ACT_TANH},
    {"run conv dilation 2", conv_run_body, {1, 8, 12, 12}, 8, 3, 1, 1, 2, ACT_RELU6},
    {"run conv dilation 3 stride 2", conv_run_body, {1, 4, 13, 12}, 8, 3, 2, 1, 3, ACT_LINEAR},
    {"run conv 5x5 stride 3 no pad", conv_run_body, {1, 6, 17, 19}, 7, 5, 3, 1, -1, ACT_LINEAR},
    {"run conv 7x7 stride 2", conv_run_body, {1, 3, 20, 17}, 16, 7, 2, 1, 1, ACT_HARD_MISH},
    {"run conv 2x2 stride 2", conv_run_body, {1, 3, 9, 9}, 4, 2, 2, 1, 1, ACT_ELU},
    {"run conv groups 2", conv_run_body, {2, 8, 7, 9}, 12, 3, 1, 2, 1, ACT_RELIE},
    {"run conv groups 32 wide", conv_run_body, {1, 64, 6, 6}, 64, 3, 1, 32, 1, ACT_LEAKY},
    {"run conv groups 3 odd", conv_run_body, {1, 9, 8, 5}, 6, 3, 2, 3, 1, ACT_LINEAR},
    {"run conv depthwise", conv_run_body, {2, 24, 10, 9}, 24, 3, 1, 24, 1, ACT_RELU6},
    {"run conv depthwise stride 2", conv_run_body, {1, 19, 11, 8}, 19, 5, 2, 19, 1, ACT_SWISH},
    {"run conv depthwise times 2", conv_run_body, {1, 6, 8, 8}, 12, 3, 1, 6, 1, ACT_LINEAR},
    {"run conv one channel", conv_run_body, {1, 1, 8, 9}, 1, 3, 1, 1, 1, ACT_LEAKY},
    {"run conv wide blocks", conv_run_body, {1, 35, 5, 6}, 70, 3, 1, 1, 1, ACT_SELU},
    {"run conv many pixels", conv_run_body, {1, 8, 40, 42}, 16, 3, 1, 1, 1, ACT_LEAKY},
    {"run conv 1x1 wide", conv_run_body, {2, 70, 9, 11}, 75, 1, 1, 1, 1, ACT_LEAKY},
    {"run conv 1x1 few pixels", conv_run_body, {1, 150, 3, 5}, 255, 1, 1, 1, 1, ACT_MISH},
    {"run conv 1x1 many pixels", conv_run_body, {2, 5, 61, 67}, 9, 1, 1, 1, 1, ACT_RELU},
    {"run conv 1x1 to 8", conv_run_body, {1, 19, 7, 11}, 8, 1, 1, 1, 1, ACT_LEAKY},
    {"run conv 1x1 to 24", conv_run_body, {2, 16, 7, 9}, 24, 1, 1, 1, 1, ACT_LINEAR},
    {"run conv 1x1 to 41", conv_run_body, {1, 40, 9, 5}, 41, 1, 1, 1, 1, ACT_SWISH},
    {"run conv 1x1 to 56, few pixels", conv_run_body, {1, 70, 3, 3}, 56, 1, 1, 1, 1, ACT_RELU},
    {"run conv 5x5 to 23", conv_run_body, {1, 7, 12, 13}, 23, 5, 2, 1, 1, ACT_LEAKY},
    {"run conv first layer to 40", conv_run_body, {1, 3, 33, 50}, 40, 3, 2, 1, 1, ACT_MISH},
    {"run conv stride 2 deep", conv_run_body, {1, 96, 7, 9}, 100, 3, 2, 1, 1, ACT_LEAKY},
    {"run conv stride 2 large", conv_run_body, {2, 20, 45, 47}, 37, 3, 2, 1, 1, ACT_SWISH},
    {"run conv first layer", conv_run_body, {1, 3, 61, 50}, 18, 3, 1, 1, 1, ACT_RELIE},
    {"run conv window wider than map", conv_run_body, {1, 3, 2, 3}, 5, 7, 1, 1, 1, ACT_LINEAR},
    {"run conv winograd odd", conv_run_body, {2, 24, 15, 21}, 56, 3, 1, 1, 1, ACT_MISH},
    {"run conv winograd many tiles", conv_run_body, {1, 17, 61, 58}, 16, 3, 1, 1, 1, ACT_SWISH},
    {"run conv winograd panels of many tiles", conv_run_body, {1, 68, 49, 40}, 184, 3, 1, 1, 1, ACT_LEAKY},
    {"run conv stride 2 no pad", conv_run_body, {1, 17, 65, 50}, 35, 3, 2, 1, -1, ACT_MISH},
    {"run conv stride 2 many tiles", conv_run_body, {2, 16, 88, 90}, 19, 3, 2, 1, 1, ACT_LOGISTIC},
    {"bn leaky", bn_body, {3, 7, 5, 6}, .act = ACT_LEAKY},
    {"bn mish", bn_body, {2, 16, 8, 8}, .act = ACT_MISH},
    {"bn swish in place", bn_body, {2, 19, 9, 8}, .a = 1, .act = ACT_SWISH},
    {"bn linear narrow", bn_body, {2, 3, 16, 32}, .act = ACT_LINEAR},
    {"bn relu in place", bn_body, {4, 8, 24, 24}, .a = 1, .act = ACT_RELU},
    {"bn logistic", bn_body, {1, 33, 3, 3}, .act = ACT_LOGISTIC},
    {"bn selu", bn_body, {1, 4, 6, 6}, .act = ACT_SELU},
    {"bn wide", bn_body, {2, 300, 40, 2}, .act = ACT_TANH},
    {"bn 1x1", bn_body, {8, 10, 1, 1}, .act = ACT_RELU6},
    {"bn numbers", bn_numbers_body, {1, 13, 1, 1}, .a = 0},
    {"sums", sums_body, {2, 5, 9, 7}, .a = 0},
    {"sums wide", sums_body, {3, 70, 40, 20}, .a = 0},
    {"maxpool 2/2", maxpool_body, {2, 5, 8, 9}, .a = 2, .b = 2, .c = 1},
    {"maxpool 2/1", maxpool_body, {1, 17, 6, 7}, .a = 2, .b = 1, .c = 1},
    {"maxpool 3/2", maxpool_body, {2, 9, 11, 8}, .a = 3, .b = 2, .c = 2},
    {"maxpool 5/1", maxpool_body, {1, 70, 7, 7}, .a = 5, .b = 1, .c = 4},
    {"maxpool 13/1", maxpool_body, {1, 3, 9, 10}, .a = 13, .b = 1, .c = 12},
    {"maxpool large", maxpool_body, {1, 16, 60, 50}, .a = 2, .b = 2, .c = 1},
    {"maxpool 5/3 in pieces", maxpool_body, {1, 70, 7, 150}, .a = 5, .b = 3, .c = 4},
    {"maxpool 3/1 few channels, long rows", maxpool_body, {2, 9, 3, 950}, .a = 3, .b = 1, .c = 2},
    {"maxpool 65/1", maxpool_body, {1, 3, 4, 5}, .a = 65, .b = 1, .c = 64},
    {"maxpool 2/2 wide", maxpool_body, {2, 24, 12, 13}, .a = 2, .b = 2, .c = 0},
    {"avgpool", avgpool_body, {2, 70, 7, 5}, .a = 0},
    {"avgpool large", avgpool_body, {2, 9, 60, 60}, .a = 0},
    {"copy", copy_body, {2, 6, 5, 7}, .a = 0},
    {"copy large", copy_body, {2, 16, 40, 32}, .a = 0},
    {"upsample 2", upsample_body, {2, 9, 4, 5}, .a = 2},
    {"upsample 3", upsample_body, {1, 3, 5, 3}, .a = 3},
    {"upsample -2", upsample_body, {2, 5, 7, 9}, .a = -2},
    {"reshape", reshape_body, {2, 5, 3, 4}, .a = 0},
    {"reorg 2", reorg_body, {2, 5, 6, 8}, .a = 2},
    {"reorg 3", reorg_body, {1, 4, 9, 6}, .a = 3},
    {"reorg old", reorg_old_body, {2, 8, 6, 4}, .a = 2},
    {"crop", crop_body, {2, 3, 7, 9}, .a = 0},
    {"lrn 5", lrn_body, {2, 9, 4, 5}, .a = 5},
    {"lrn 2", lrn_body, {1, 5, 3, 3}, .a = 2},
    {"local", local_body, {2, 5, 6, 7}, .a = 4, .b = 3, .c = 1},
    {"local 2", local_body, {2, 3, 7, 6}, .a = 5, .b = 2, .c = 2},
    {"local avgpool", local_avgpool_body, {2, 5, 8, 9}, .a = 3, .b = 2, .c = 2},
    {"gate per channel", gate_body, {2, 70, 5, 6}, .a = 0, .b = 1},
    {"gate per pixel", gate_body, {2, 9, 5, 6}, .a = 1, .b = 0},
    {"gate equal", gate_body, {2, 9, 5, 6}, .a = 0, .b = 0},
    {"constrain", constrain_body, {2, 9, 5, 6}, .a = 1},
    {"constrain without limit", constrain_body, {2, 9, 5, 6}, .a = 0},
    {"gate scalar", gate_body, {2, 9, 5, 6}, .a = 1, .b = 1},
    {"dropout and mask", mask_body, {2, 9, 7, 5}, .a = 0},
    {"channel dot", dot_body, {2, 70, 7, 9}, .a = 3},
    {"vectors 1", vector_body, {1, 1, 1, 1}, .a = 1},
    {"vectors 1003", vector_body, {1, 1, 1, 1}, .a = 1003},
    {"vectors 70001", vector_body, {1, 1, 1, 1}, .a = 70001},
    {"layout", layout_body, {3, 5, 7, 9}, .a = 0},
    {"layout large", layout_body, {2, 20, 40, 37}, .a = 0},
    {"layout of a picture", layout_body, {2, 3, 37, 43}, .a = 0},
    {"layout of one channel", layout_body, {2, 1, 9, 20}, .a = 0},
    {"layout of 33 channels", layout_body, {2, 33, 6, 17}, .a = 0},
};

static void check_parity(struct backend *ref, struct backend *be) {
    for (size_t i = 0; i < sizeof parity_cases / sizeof *parity_cases; ++i) check_case(ref, be, &parity_cases[i]);
    for (int a = 0; a < ACT_COUNT; ++a) {
        struct parity_case k = {activation_name((enum activation)a), act_body, {2, 9, 8, 16}, .act = (enum activation)a};
        check_case(ref, be, &k);
    }
}

static void check_narrow_parity(struct backend *ref, struct backend *be) {
    for (size_t i = 0; i < sizeof parity_cases / sizeof *parity_cases; ++i) check_narrow_case(ref, be, &parity_cases[i]);
    for (int a = 0; a < ACT_COUNT; ++a) {
        struct parity_case k = {activation_name((enum activation)a), act_body, {2, 5, 3, 7}, .act = (enum activation)a};
        check_narrow_case(ref, be, &k);
    }
}

/* Convolutions in every form that a library of the CUDA backend may have, and as exact as their factors are. */
static void check_forms(struct backend *ref) {
    static const struct { const char *kind; double tol; } forms[] = {
        {"cuda-emulated:fp32", 5e-5}, {"cuda-emulated:tf32", 3e-3}, {"cuda-emulated:fp16", 4e-3}, {"cuda-emulated:bf16", 3e-2}};
    for (size_t f = 0; f < sizeof forms / sizeof *forms; ++f) {
        struct ctx ctx = { 0 };
        struct backend *be;
        CHECK(backend_open(&ctx, forms[f].kind, &be) == ST_OK, "%s: %s", forms[f].kind, ctx.error);
        CHECK(be->narrow_gradients == (f == 2), "%s: narrow gradients", forms[f].kind);
        for (size_t i = 0; i < sizeof parity_cases / sizeof *parity_cases; ++i)
            for (int add = 0; add < 2 && is_conv(&parity_cases[i]); ++add) {
                struct run a = run_case(ref, &parity_cases[i], OWN, add), b = run_case(be, &parity_cases[i], OWN, add);
                compare(&a, &b, forms[f].tol);
                run_done(&a), run_done(&b);
            }
        backend_close(be);
    }
}

/* ---- derivatives ---- */

/* U = sum of y times fixed random numbers, as a function of inputs held in double. */
struct probe {
    struct backend *be;
    struct ctx ctx;
    struct rng rng;
    const char *name;
    void (*forward)(struct probe *), (*backward)(struct probe *);
    struct tensor x, gate, y, dx, dgate, dy, pre;
    struct conv_plan *plan;
    double *w, *b, *dw, *db, *mean, *var;
    int32_t *argmax;
    size_t n_w, n_b;
    enum activation act;
    struct pool_desc pool;
    int stride;
};

static struct tensor double_map(struct probe *p, struct shape s, bool random) {
    double *data = p->be->ops->alloc(p->be, &p->ctx, shape_count(s));
    for (size_t i = 0; random && i < shape_count(s); ++i) data[i] = rng_normal(&p->rng);
    return tensor_of(p->be, s, data);
}

static double *doubles(struct probe *p, size_t n, bool random) {
    return double_map(p, (struct shape){1, (int)n, 1, 1}, random).data;
}

static struct probe probe_new(struct backend *be, const char *name, struct shape x, struct shape y) {
    struct probe p = {.be = be, .rng = rng_stream(3, 1, 4), .name = name};
    p.x = double_map(&p, x, true), p.dx = double_map(&p, x, false);
    p.y = double_map(&p, y, false), p.dy = double_map(&p, y, true);
    return p;
}

static double objective(struct probe *p) {
    p->forward(p);
    double u = 0;
    size_t n = shape_count((struct shape){p->y.n, p->y.c, p->y.h, p->y.w});
    for (size_t i = 0; i < n; ++i) u += ((double *)p->y.data)[i] * ((double *)p->dy.data)[i];
    return u;
}

static void check_input(struct probe *p, const char *what, double *v, const double *slope, size_t n) {
    const double h = 1e-5;
    double worst = 0;
    size_t at = 0;
    for (size_t i = 0; i < n; i += n / 60 + 1) {
        double kept = v[i];
        v[i] = kept + h;
        double up = objective(p);
        v[i] = kept - h;
        double numeric = (up - objective(p)) / (2 * h), e = fabs(numeric - slope[i]) / fmax(1, fabs(numeric));
        v[i] = kept;
        if (!(e <= worst)) worst = isnan(e) ? DBL_MAX : e, at = i;
    }
    CHECK(worst < 1e-6, "%s: dU/d%s[%zu] = %g is off by %g", p->name, what, at, slope[at], worst);
}

/* Runs both passes, compares every derivative that exists, and frees. */
static void check_probe(struct probe *p) {
    objective(p);
    p->backward(p);
    const struct backend_ops *ops = p->be->ops;
    size_t n = shape_count((struct shape){p->x.n, p->x.c, p->x.h, p->x.w});
    check_input(p, "x", p->x.data, p->dx.data, n);
    if (p->w) check_input(p, "w", p->w, p->dw, p->n_w);
    if (p->b) check_input(p, "b", p->b, p->db, p->n_b);
    if (p->gate.data)
        check_input(p, "gate", p->gate.data, p->dgate.data,
                    shape_count((struct shape){p->gate.n, p->gate.c, p->gate.h, p->gate.w}));
    void *blocks[] = {p->x.data, p->gate.data, p->y.data, p->dx.data, p->dgate.data, p->dy.data, p->pre.data,
                      p->w,      p->b,         p->dw,     p->db,      p->mean,       p->var};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; ++i) ops->free(p->be, blocks[i]);
    if (p->argmax) ops->free_index(p->be, p->argmax);
    if (p->plan) ops->conv_free(p->be, p->plan);
}

static void conv_up(struct probe *p) {
    p->be->ops->conv_weights(p->be, &p->ctx, p->plan, p->w);
    p->be->ops->conv_forward(p->be, &p->ctx, p->plan, &p->x, p->b, &p->y);
}

static void conv_down(struct probe *p) {
    p->be->ops->conv_backward_data(p->be, &p->ctx, p->plan, &p->dy, &p->dx, false);
    p->be->ops->conv_backward_weights(p->be, &p->ctx, p->plan, &p->x, &p->dy, p->dw);
    p->be->ops->bias_backward(p->be, &p->dy, p->db);
}

static void probe_conv(struct backend *be, int c, int f, int groups, int size, int stride, int dilation) {
    int pad = size / 2 * dilation, h = 9, w = 8, reach = dilation * (size - 1) + 1;
    struct shape ys = {2, f, (h + 2 * pad - reach) / stride + 1, (w + 2 * pad - reach) / stride + 1};
    struct probe p = probe_new(be, "conv", (struct shape){2, c, h, w}, ys);
    p.n_w = (size_t)(f * c / groups * size * size), p.n_b = (size_t)f;
    p.w = doubles(&p, p.n_w, true), p.dw = doubles(&p, p.n_w, false);
    p.b = doubles(&p, p.n_b, true), p.db = doubles(&p, p.n_b, false);
    struct conv_desc d = {.x = p.x, .y = p.y, .groups = groups, .size = size, .stride_x = stride, .stride_y = stride,
                          .dilation = dilation, .pad = pad, .bias = true, .act = ACT_LINEAR, .backward = true};
    CHECK(be->ops->conv_new(be, &p.ctx, &d, &p.plan) == ST_OK, "%s", p.ctx.error);
    p.forward = conv_up, p.backward = conv_down;
    check_probe(&p);
}

static void bn_up(struct probe *p) {
    p->be->ops->bn_forward(p->be, &p->x, p->w, p->b, p->mean, p->var, p->act, &p->pre, &p->y);
}

static void bn_down(struct probe *p) {
    p->be->ops->bn_backward(p->be, &p->x, p->w, p->mean, p->var, p->act, &p->pre, &p->y, &p->dy, &p->dx, p->dw, p->db);
}

static void probe_bn(struct backend *be, enum activation act) {
    struct shape s = {3, 4, 3, 5};
    struct probe p = probe_new(be, "bn", s, s);
    p.n_w = p.n_b = 4;
    p.w = doubles(&p, 4, true), p.dw = doubles(&p, 4, false), p.b = doubles(&p, 4, true), p.db = doubles(&p, 4, false);
    p.mean = doubles(&p, 4, false), p.var = doubles(&p, 4, false), p.pre = double_map(&p, s, false);
    p.act = act, p.forward = bn_up, p.backward = bn_down;
    check_probe(&p);
}

static void act_up(struct probe *p) {
    p->be->ops->act_forward(p->be, p->act, &p->x, &p->y);
}

static void act_down(struct probe *p) {
    p->be->ops->act_backward(p->be, p->act, &p->x, &p->y, &p->dy, &p->dx, false);
}

/* Every activation's kinks lie at integers: probe between them. */
static void probe_act(struct backend *be, enum activation act) {
    struct shape s = {1, 1, 12, 5};
    struct probe p = probe_new(be, activation_name(act), s, s);
    for (int i = 0; i < 60; ++i) ((double *)p.x.data)[i] = i / 4 - 8 + rng_between(&p.rng, .1, .9);
    p.act = act, p.forward = act_up, p.backward = act_down;
    check_probe(&p);
}

static void maxpool_up(struct probe *p) {
    p->be->ops->maxpool(p->be, &p->pool, &p->x, &p->y, p->argmax);
}

static void maxpool_down(struct probe *p) {
    p->be->ops->maxpool_backward(p->be, &p->pool, p->argmax, &p->dy, &p->dx);
}

static void probe_maxpool(struct backend *be) {
    struct probe p = probe_new(be, "maxpool", (struct shape){2, 3, 7, 8}, (struct shape){2, 3, 4, 4});
    p.argmax = be->ops->alloc_index(be, &p.ctx, 2 * 3 * 4 * 4);
    p.pool = (struct pool_desc){3, 2, 2, -1, -1}, p.forward = maxpool_up, p.backward = maxpool_down;
    check_probe(&p);
}

static void avgpool_up(struct probe *p) {
    p->be->ops->avgpool(p->be, &p->x, &p->y);
}

static void avgpool_down(struct probe *p) {
    p->be->ops->avgpool_backward(p->be, &p->dy, &p->dx, false);
}

static void upsample_up(struct probe *p) {
    p->be->ops->upsample(p->be, &p->x, &p->y, p->stride, 1.5);
}

static void upsample_down(struct probe *p) {
    p->be->ops->upsample_backward(p->be, &p->dy, &p->dx, p->stride, 1.5, false);
}

static void reorg_up(struct probe *p) {
    p->be->ops->reorg(p->be, &p->x, &p->y, p->stride, false, false);
}

static void reorg_down(struct probe *p) {
    p->be->ops->reorg(p->be, &p->dy, &p->dx, p->stride, true, false);
}

static void copy_up(struct probe *p) {
    p->be->ops->fill(p->be, &p->y, 0);
    p->be->ops->copy_channels(p->be, &p->x, 1, &p->y, 2, 2, .7, true);
}

static void copy_down(struct probe *p) {
    p->be->ops->copy_channels(p->be, &p->dy, 2, &p->dx, 1, 2, .7, true);
}

static void weighted_up(struct probe *p) {
    p->be->ops->fill(p->be, &p->y, 0);
    p->be->ops->copy_weighted(p->be, &p->x, p->w, p->n_w > 1, p->x.c, &p->y, true);
}

static void weighted_down(struct probe *p) {
    p->be->ops->copy_weighted(p->be, &p->dy, p->w, p->n_w > 1, p->x.c, &p->dx, false);
    p->be->ops->weight_backward(p->be, &p->x, &p->dy, p->n_w > 1, p->x.c, p->dw);
}

static void gate_up(struct probe *p) {
    p->be->ops->gate(p->be, &p->x, &p->gate, &p->y);
}

static void gate_down(struct probe *p) {
    p->be->ops->gate_backward_x(p->be, &p->gate, &p->dy, &p->dx, false);
    p->be->ops->gate_backward_gate(p->be, &p->x, &p->dy, &p->dgate, false);
}

static void dropout_up(struct probe *p) {
    p->be->ops->dropout(p->be, &p->x, &p->y, .4, 12, false);
}

static void dropout_down(struct probe *p) {
    p->be->ops->dropout(p->be, &p->dy, &p->dx, .4, 12, false);
}

static void probe_pair(struct backend *be, const char *name, struct shape x, struct shape y, int stride,
                       void (*up)(struct probe *), void (*down)(struct probe *)) {
    struct probe p = probe_new(be, name, x, y);
    p.stride = stride, p.forward = up, p.backward = down;
    check_probe(&p);
}

static void check_derivatives(struct backend *be) {
    struct shape s = {2, 4, 6, 8}, gates[] = {{2, 4, 1, 1}, {2, 1, 6, 8}, {2, 4, 6, 8}};
    probe_conv(be, 3, 4, 1, 3, 1, 1);
    probe_conv(be, 4, 6, 2, 3, 2, 1);
    probe_conv(be, 4, 4, 4, 3, 1, 2);
    probe_conv(be, 3, 5, 1, 1, 1, 1);
    probe_bn(be, ACT_LINEAR);
    probe_bn(be, ACT_MISH);
    probe_bn(be, ACT_SWISH);
    probe_bn(be, ACT_LOGISTIC);
    for (int a = 0; a < ACT_COUNT; ++a) probe_act(be, (enum activation)a);
    probe_maxpool(be);
    probe_pair(be, "avgpool", s, (struct shape){2, 4, 1, 1}, 0, avgpool_up, avgpool_down);
    probe_pair(be, "upsample", s, (struct shape){2, 4, 12, 16}, 2, upsample_up, upsample_down);
    probe_pair(be, "downsample", s, (struct shape){2, 4, 3, 4}, -2, upsample_up, upsample_down);
    probe_pair(be, "reorg", s, (struct shape){2, 16, 3, 4}, 2, reorg_up, reorg_down);
    probe_pair(be, "copy", s, s, 0, copy_up, copy_down);
    probe_pair(be, "dropout", s, s, 0, dropout_up, dropout_down);
    for (int i = 0; i < 3; ++i) {
        struct probe p = probe_new(be, "gate", s, s);
        p.gate = double_map(&p, gates[i], true), p.dgate = double_map(&p, gates[i], false);
        p.forward = gate_up, p.backward = gate_down;
        check_probe(&p);
    }
    for (size_t n = 1; n <= 4; n += 3) {
        struct probe p = probe_new(be, "weighted copy", s, s);
        p.n_w = n, p.w = doubles(&p, n, true), p.dw = doubles(&p, n, false);
        p.forward = weighted_up, p.backward = weighted_down;
        check_probe(&p);
    }
}

/* ---- the rest of the contract ---- */

static void check_activations(void) {
    static const struct { enum activation a; double x, y; } known[] = {
        {ACT_LOGISTIC, 0, .5},       {ACT_LOGGY, 0, 0},      {ACT_RELU, -3, 0},     {ACT_RELU6, 7, 6},
        {ACT_ELU, -1, -.632120558},  {ACT_RELIE, -2, -.02},  {ACT_RAMP, 2, 2.2},    {ACT_LEAKY, -2, -.2},
        {ACT_TANH, 1, .761594156},   {ACT_PLSE, 8, 1.04},    {ACT_PLSE, 0, .5},     {ACT_STAIR, 4.5, 2},
        {ACT_STAIR, 5.25, 2.25},     {ACT_HARDTAN, -3, -1},  {ACT_LHTAN, 2, 1.001}, {ACT_SELU, -1, -1.111286},
        {ACT_GELU, 1, .841192},      {ACT_SWISH, 1, .731058579}, {ACT_MISH, 1, .865098388}, {ACT_MISH, -30, -2.80728689e-12},
        {ACT_HARD_MISH, -1, -.5},    {ACT_HARD_MISH, -3, 0}, {ACT_LINEAR, -4, -4},  {ACT_MISH, 50, 50},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; ++i) {
        double y = activation_value(known[i].a, known[i].x);
        CHECK_NEAR(y, known[i].y, 2e-6, "%s(%g)", activation_name(known[i].a), known[i].x);
    }
    CHECK(strcmp(activation_name(ACT_HARD_MISH), "hard_mish") == 0, "name");
    for (int a = 0; a < ACT_COUNT; ++a)
        CHECK(isnan(activation_value((enum activation)a, (double)NAN)), "%s hides NaN", activation_name((enum activation)a));
}

/* Every operation is there. */
static void check_table(const struct backend *be) {
    size_t from = offsetof(struct backend_ops, alloc), n = (sizeof *be->ops - from) / sizeof(void (*)(void));
    for (size_t i = 0; i < n; ++i) {
        void (*op)(void);
        memcpy(&op, (const char *)be->ops + from + i * sizeof op, sizeof op);
        CHECK(op != NULL, "%s: operation %zu is missing", be->ops->name, i);
    }
}

static void check_memory(struct backend *be) {
    struct ctx ctx = {0};
    size_t before = be->bytes;
    real *a = be->ops->alloc(be, &ctx, 1000);
    CHECK(a && (uintptr_t)a % 64 == 0, "alignment on %s", be->ops->name);
    CHECK(be->bytes >= before + 1000 * be->elem_size && be->peak_bytes >= be->bytes, "accounting on %s", be->ops->name);
    float out[3] = {1, 2, 3}, in[3] = {4, 5, 6};
    be->ops->get(be, be->ops->at(be, a, 997), 3, out);
    CHECK(out[0] == 0 && out[2] == 0, "memory is not zeroed");
    be->ops->put(be, in, 3, be->ops->at(be, a, 997));
    be->ops->get(be, be->ops->at(be, a, 998), 2, out);
    CHECK(out[0] == 5 && out[1] == 6, "get returns what put gave");
    be->ops->free(be, a);
    be->ops->free(be, NULL);
    CHECK(be->bytes == before, "%zu bytes left on %s", be->bytes - before, be->ops->name);
    CHECK(!be->ops->alloc(be, &ctx, SIZE_MAX / 2) && ctx.code == ST_MEMORY, "an impossible size must fail");
    float bad[2] = {1, NAN};
    real *b = be->ops->alloc(be, &ctx, 2);
    be->ops->put(be, bad, 2, b);
    CHECK(isnan(be->ops->sum_squares(be, 2, b)), "sum of squares hides NaN on %s", be->ops->name);
    be->ops->free(be, b);
    char text[128];
    backend_describe(be, text, sizeof text);
    CHECK(strstr(text, "thread") || strstr(text, "GPU"), "%s", text);
    printf("%s: %s\n", be->ops->name, text);
}

/* Sums must not depend on how many threads share them. */
static void check_threads(struct backend *be) {
#ifdef _OPENMP
    int most = omp_get_max_threads();
    for (size_t i = 0; i < sizeof parity_cases / sizeof *parity_cases; ++i) {
        const struct parity_case *k = &parity_cases[i];
        if (k->body != bn_body && k->body != sums_body && k->body != vector_body) continue;
        omp_set_num_threads(1);
        struct run a = run_case(be, k, OWN, false);
        omp_set_num_threads(3);
        struct run b = run_case(be, k, OWN, false);
        CHECK(a.n_out == b.n_out && !memcmp(a.out, b.out, a.n_out * sizeof *a.out), "%s depends on threads", k->name);
        run_done(&a), run_done(&b);
    }
    /* With many threads Winograd shares out the points, not the tiles, in more than one lot. */
    const struct parity_case lots = {"run conv winograd in lots", conv_run_body, {1, 16, 92, 92}, 16, 3, 1, 1, 1, ACT_LEAKY};
    omp_set_num_threads(1);
    struct run a = run_case(be, &lots, OWN, false);
    omp_set_num_threads(12);
    struct run b = run_case(be, &lots, OWN, false);
    compare(&a, &b, 5e-5);
    run_done(&a), run_done(&b);
    omp_set_num_threads(most);
#else
    (void)be;
    SKIP("thread independence: built without OpenMP");
#endif
}

/* The CUDA backend, by the CPU and where there is a device. */
static void check_gpus(struct backend *ref) {
    const char *kinds[MAX_KINDS];
    int n = fast_kinds(kinds);
    for (int i = 1; i < n; ++i) { /* 0: the cpu */
        struct ctx ctx = {0};
        struct backend *be = NULL;
        CHECK(backend_open(&ctx, kinds[i], &be) == ST_OK, "%s: %s", kinds[i], ctx.error);
        if (!be) continue;
        check_table(be);
        check_memory(be);
        check_parity(ref, be);
        CHECK(be->ops->sync(be, &ctx) == ST_OK, "%s: %s", kinds[i], ctx.error);
        backend_close(be);
    }
}

int main(void) {
    struct ctx ctx = {0};
    struct backend *ref = NULL, *ref64 = NULL, *cpu = NULL, *plain = NULL, *none = NULL;
    CHECK(backend_open(&ctx, "abacus", &none) != ST_OK && strstr(ctx.error, "abacus") && !none, "%s", ctx.error);
    ctx_clear(&ctx);
    CHECK(backend_open(&ctx, "ref", &ref) == ST_OK, "%s", ctx.error);
    CHECK(backend_open(&ctx, "ref64", &ref64) == ST_OK, "%s", ctx.error);
    CHECK(backend_open(&ctx, "cpu", &cpu) == ST_OK, "%s", ctx.error);
    CHECK(backend_open(&ctx, "cpu-plain", &plain) == ST_OK, "%s", ctx.error);
    if (!ref || !ref64 || !cpu || !plain) return test_end("backend");
    check_activations();
    check_table(ref), check_table(cpu);
    check_memory(ref), check_memory(ref64), check_memory(cpu), check_memory(plain);
    check_derivatives(ref64);
    check_parity(ref64, ref);
    check_parity(ref, cpu);
    check_parity(ref, plain);
    check_forms(ref);
    check_narrow(ref, check_narrow_parity);
    check_gpus(ref);
    check_threads(cpu), check_threads(plain);
    CHECK(ref->bytes == 0 && ref64->bytes == 0, "the reference leaks");
    backend_close(ref), backend_close(ref64), backend_close(cpu), backend_close(plain);
    backend_close(NULL);
    return test_end("backend");
}
