/* Convolutions: by a library where the device has one, as matrix products over columns, or by direct loops. */
#include <stdlib.h>

#include "backend/cuda/internal.h"

enum route { ROUTE_LIBRARY, ROUTE_PRODUCT, ROUTE_DIRECT };

/* Direct loops win below this many input channels per group: products that narrow keep a device idle. */
enum { DIRECT_CHANNELS = 4 };
/* Columns of as many images at a time as fit in this many floats. */
enum { MOST_COLUMNS = 1 << 26 };

struct conv_plan {
    struct conv_desc desc;
    enum route route;
    struct device_conv *library;
    int per_in, per_out, taps;
    void *own;       /* reordered weights, narrow ones where the library wants them; NULL where Darknet's order is ours */
    const void *w;   /* what the convolution computes with: own, or the caller's */
    size_t count;
};

static bool dense(const struct tensor *t) { return view_of(t).kind == VIEW_FLAT; }

static bool rows(const struct tensor *t) { return view_of(t).kind != VIEW_ANY; }

static ptrdiff_t step_of(const struct tensor *t) { return view_of(t).sw; }

/* The input itself is the matrix of columns. */
static bool pointwise(const struct conv_desc *d) { return d->size == 1 && d->stride_x == 1 && d->stride_y == 1 && d->pad == 0; }

static void cuda_conv_free(struct backend *be, struct conv_plan *plan) {
    struct device *dev = cuda_device(be);
    if (!plan) return;
    if (plan->library) dev->ops->conv->close(dev, plan->library);
    be->ops->free(be, plan->own);
    free(plan);
}

static bool narrow(const struct conv_plan *p) { return p->library && p->library->factor != FACTOR_FLOAT; }

static bool brain(const struct conv_plan *p) { return p->library->factor == FACTOR_BRAIN; }

static int images_at_once(const struct conv_plan *p, const struct tensor *y) {
    double per = (double)y->h * y->w * p->taps * p->per_in;
    int n = pointwise(&p->desc) ? y->n : (int)(MOST_COLUMNS / per);
    return n < 1 ? 1 : n > y->n ? y->n : n;
}

/* Takes the scratch memory of all passes now, as none may be taken while they run. */
static void reserve(struct backend *be, const struct conv_plan *p) {
    const struct conv_desc *d = &p->desc;
    struct device *dev = cuda_device(be);
    size_t x = elements_of(&d->x), y = elements_of(&d->y), largest = x > y ? x : y;
    if (p->count > largest) largest = p->count;
    if (narrow(p)) {
        cuda_scratch(be, SCRATCH_NARROW_X, x * sizeof(uint16_t));
        if (d->backward) cuda_scratch(be, SCRATCH_NARROW_Y, y * sizeof(uint16_t));
        cuda_scratch(be, SCRATCH_RESULT, largest * sizeof(uint16_t));
    }
    if (d->backward && p->route != ROUTE_DIRECT && (p->library || p->own)) cuda_scratch(be, SCRATCH_SLOPES, p->count * sizeof(float));
    if (p->route != ROUTE_PRODUCT) return;
    int cells = images_at_once(p, &d->y) * d->y.h * d->y.w, depth = p->taps * p->per_in;
    if (!pointwise(d)) cuda_scratch(be, SCRATCH_COLUMNS, (size_t)cells * (size_t)depth * sizeof(float));
    if (!dev->ops->product_plan || dev->failed) return;
    ptrdiff_t step = pointwise(d) ? view_of(&d->x).sw : depth, out = view_of(&d->y).sw;
    dev->ops->product_plan(dev, &(struct product){ .tb = true, .m = cells, .n = p->per_out, .k = depth, .lda = step, .ldb = depth, .ldc = out });
    if (!d->backward) return;
    dev->ops->product_plan(dev, &(struct product){ .m = cells, .n = depth, .k = p->per_out, .lda = out, .ldb = depth, .ldc = step });
    dev->ops->product_plan(dev, &(struct product){ .ta = true, .m = p->per_out, .n = depth, .k = cells, .lda = out, .ldb = step, .ldc = depth, .beta = 1 });
}

static enum status cuda_conv_new(struct backend *be, struct ctx *ctx, const struct conv_desc *d, struct conv_plan **out) {
    struct device *dev = cuda_device(be);
    struct conv_plan *plan = *out = mem_zero(ctx, 1, sizeof *plan);
    if (!plan) return ST_MEMORY;
    plan->desc = *d;
    plan->per_in = d->x.c / d->groups;
    plan->per_out = d->y.c / d->groups;
    plan->taps = d->size * d->size;
    plan->count = (size_t)d->y.c * (size_t)plan->per_in * (size_t)plan->taps;
    bool few = d->groups > 1 && plan->per_in < DIRECT_CHANNELS, matrices = rows(&d->x) && rows(&d->y);
    plan->route = few || !matrices ? ROUTE_DIRECT : ROUTE_PRODUCT;
    if (!few && dev->ops->conv && dense(&d->x) && dense(&d->y) && !dev->failed) plan->library = dev->ops->conv->open(dev, ctx, d);
    if (plan->library) plan->route = ROUTE_LIBRARY;
    /* Parameters lie anywhere in their arena; a library wants its weights where 16 divides the address. */
    if (plan->library || (plan->taps > 1 && plan->per_in > 1)) {
        plan->own = be->ops->alloc(be, ctx, narrow(plan) ? (plan->count + 1) / 2 : plan->count);
        plan->w = plan->own;
    }
    if (ctx->code == ST_OK) reserve(be, plan);
    enum status status = ctx->code != ST_OK ? ctx->code : cuda_fault(be, ctx);
    if (status == ST_OK) return ST_OK;
    cuda_conv_free(be, plan);
    *out = NULL;
    return status;
}

static enum status cuda_conv_weights(struct backend *be, struct ctx *ctx, struct conv_plan *plan, const real *w) {
    struct order_args a = { .from = w, .to = plan->own, .narrow = narrow(plan) ? plan->own : NULL, .per_in = (uint32_t)plan->per_in,
                            .taps = (uint32_t)plan->taps, .brain = narrow(plan) && brain(plan) };
    if (plan->own) RUN_EACH(be, order, &a, plan->count);
    else plan->w = w;
    return cuda_fault(be, ctx);
}

static struct conv_args conv_arguments(const struct conv_plan *p, const struct tensor *x, const struct tensor *y) {
    const struct conv_desc *d = &p->desc;
    return (struct conv_args){ .x = view_of(x), .y = view_of(y), .w = p->w, .per_in = (uint32_t)p->per_in, .per_out = (uint32_t)p->per_out,
                               .size = (uint32_t)d->size, .stride_x = d->stride_x, .stride_y = d->stride_y, .dilation = d->dilation,
                               .pad = d->pad };
}

/* --- Matrix products -------------------------------------------------------------------------------------------------------- */

/* A few images and one group at a time. */
struct part {
    struct tensor x, y;
    const float *w;      /* of the group */
    float *columns;      /* NULL: pointwise */
    int first, cells, depth; /* the group's first input channel; output cells; columns per cell */
};

static float *channel(const struct tensor *t, int c) { return (float *)t->data + (ptrdiff_t)c * t->sc; }

/* Part number `number`; false behind the last one. */
static bool part_of(struct backend *be, const struct conv_plan *p, const struct tensor *x, const struct tensor *y, int number,
                    struct part *part) {
    int images = images_at_once(p, y), group = number % p->desc.groups, from = number / p->desc.groups * images;
    if (from >= y->n) return false;
    int count = y->n - from < images ? y->n - from : images;
    part->x = tensor_images(be, x, from, count);
    part->y = tensor_images(be, y, from, count);
    part->depth = p->taps * p->per_in;
    part->first = group * p->per_in;
    part->w = (const float *)p->w + (size_t)group * (size_t)p->per_out * (size_t)part->depth;
    part->cells = (int)cells_of(&part->y);
    part->y.data = channel(&part->y, group * p->per_out);
    part->columns = NULL;
    if (pointwise(&p->desc)) return true;
    part->columns = cuda_scratch(be, SCRATCH_COLUMNS, (size_t)part->cells * (size_t)part->depth * sizeof(float));
    return part->columns != NULL;
}

static void make_columns(struct backend *be, const struct conv_plan *p, const struct part *part) {
    struct conv_args a = conv_arguments(p, &part->x, &part->y);
    a.out = part->columns;
    a.first = (uint32_t)part->first;
    RUN_EACH(be, columns, &a, (size_t)part->cells * (size_t)part->depth);
}

static void product(struct backend *be, const struct product *p) {
    struct device *dev = cuda_device(be);
    if (!dev->failed) dev->ops->product(dev, p);
}

static const float *columns_or_input(const struct conv_plan *p, const struct part *part, ptrdiff_t *step) {
    *step = part->columns ? part->depth : step_of(&part->x);
    (void)p;
    return part->columns ? part->columns : channel(&part->x, part->first);
}

static void product_forward(struct backend *be, const struct conv_plan *p, const struct tensor *x, struct tensor *y) {
    struct part part;
    ptrdiff_t step;
    for (int i = 0; part_of(be, p, x, y, i, &part); ++i) {
        if (part.columns) make_columns(be, p, &part);
        const float *a = columns_or_input(p, &part, &step);
        product(be, &(struct product){ .tb = true, .m = part.cells, .n = p->per_out, .k = part.depth, .a = a, .lda = step, .b = part.w,
                                       .ldb = part.depth, .c = part.y.data, .ldc = step_of(y) });
    }
}

static void product_backward_data(struct backend *be, const struct conv_plan *p, const struct tensor *dy, struct tensor *dx, bool add) {
    struct part part;
    for (int i = 0; part_of(be, p, dx, dy, i, &part); ++i) {
        struct product m = { .m = part.cells, .n = part.depth, .k = p->per_out, .a = part.y.data, .lda = step_of(dy), .b = part.w,
                             .ldb = part.depth, .c = part.columns, .ldc = part.depth };
        if (!part.columns) m.c = channel(&part.x, part.first), m.ldc = step_of(dx), m.beta = add ? 1 : 0;
        product(be, &m);
        if (!part.columns) continue;
        struct conv_args a = conv_arguments(p, &part.x, &part.y);
        a.w = part.columns;
        a.first = (uint32_t)part.first;
        a.add = add;
        RUN_EACH(be, columns_back, &a, cells_of(&part.x) * (size_t)p->per_in);
    }
}

/* slopes (F, tap, C/groups) are added to. */
static void product_backward_weights(struct backend *be, const struct conv_plan *p, const struct tensor *x, const struct tensor *dy,
                                     float *slopes) {
    struct part part;
    ptrdiff_t step;
    for (int i = 0; part_of(be, p, x, dy, i, &part); ++i) {
        if (part.columns) make_columns(be, p, &part);
        const float *b = columns_or_input(p, &part, &step);
        product(be, &(struct product){ .ta = true, .m = p->per_out, .n = part.depth, .k = part.cells, .a = part.y.data, .lda = step_of(dy),
                                       .b = b, .ldb = step, .c = slopes + (part.w - (const float *)p->w), .ldc = part.depth, .beta = 1 });
    }
}

/* --- The operations ---------------------------------------------------------------------------------------------------------- */

static bool cuda_conv_borrows(const struct conv_plan *p) { return p->own == NULL; }

/* x as the library wants it: itself, or 16-bit numbers. */
static const void *factors(struct backend *be, const struct conv_plan *p, enum cuda_scratch use, const struct tensor *x) {
    if (!narrow(p)) return x->data;
    struct narrow_args a = { .wide = x->data, .narrow = cuda_scratch(be, use, elements_of(x) * sizeof(uint16_t)), .brain = brain(p) };
    if (a.narrow) RUN_EACH(be, narrow, &a, elements_of(x));
    return a.narrow;
}

/* Where the library's result goes: `to`, or 16-bit memory. */
static void *result(struct backend *be, const struct conv_plan *p, enum conv_pass pass, void *to, size_t n) {
    return p->library->narrow[pass] ? cuda_scratch(be, SCRATCH_RESULT, n * sizeof(uint16_t)) : to;
}

/* What is left to do after the convolution itself: bias, activation, skip. */
static void finish(struct backend *be, const struct conv_plan *p, const real *bias, const struct tensor *skip, struct tensor *y, void *made) {
    const struct conv_desc *d = &p->desc;
    struct finish_args a = { .y = view_of(y), .skip = view_of(skip), .bias = d->bias ? bias : NULL, .act = d->act };
    if (made != y->data) a.narrow = made, a.brain = brain(p);
    if (a.bias || d->act != ACT_LINEAR || skip || a.narrow) RUN_EACH(be, finish, &a, elements_of(y));
}

static void library_forward(struct backend *be, struct conv_plan *p, const struct tensor *x, const real *bias, const struct tensor *skip,
                            struct tensor *y) {
    struct device *dev = cuda_device(be);
    bool fused = p->library->fused;
    const void *from = factors(be, p, SCRATCH_NARROW_X, x);
    void *to = result(be, p, CONV_FORWARD, y->data, elements_of(y));
    if (dev->failed || !from || !to) return;
    dev->ops->conv->forward(dev, p->library, from, p->w, fused && p->desc.bias ? bias : NULL, fused && skip ? skip->data : NULL, to);
    if (!fused) finish(be, p, bias, skip, y, to);
}

static enum status forward(struct backend *be, struct ctx *ctx, struct conv_plan *p, const struct tensor *x, const real *bias,
                           const struct tensor *skip, struct tensor *y) {
    if (p->route == ROUTE_LIBRARY) {
        library_forward(be, p, x, bias, skip, y);
        return cuda_fault(be, ctx);
    }
    if (p->route == ROUTE_PRODUCT) {
        product_forward(be, p, x, y);
    } else {
        struct conv_args a = conv_arguments(p, x, y);
        RUN_EACH(be, direct, &a, elements_of(y));
    }
    finish(be, p, bias, skip, y, y->data);
    return cuda_fault(be, ctx);
}

static enum status cuda_conv_forward(struct backend *be, struct ctx *ctx, struct conv_plan *p, const struct tensor *x, const real *bias,
                                     struct tensor *y) {
    return forward(be, ctx, p, x, bias, NULL, y);
}

static enum status cuda_conv_forward_add(struct backend *be, struct ctx *ctx, struct conv_plan *p, const struct tensor *x, const real *bias,
                                         const struct tensor *skip, struct tensor *y) {
    bool together = !p->library || !p->library->fused || (p->desc.skip && dense(skip));
    if (together) return forward(be, ctx, p, x, bias, skip, y);
    TRY(forward(be, ctx, p, x, bias, NULL, y));
    be->ops->copy_channels(be, skip, 0, y, 0, y->c, 1, true);
    return cuda_fault(be, ctx);
}

static void library_backward_data(struct backend *be, struct conv_plan *p, const struct tensor *dy, struct tensor *dx, bool add) {
    struct device *dev = cuda_device(be);
    size_t n = elements_of(dx);
    bool apart = p->library->narrow[CONV_DATA];
    const void *from = factors(be, p, SCRATCH_NARROW_Y, dy);
    void *to = result(be, p, CONV_DATA, dx->data, n);
    if (dev->failed || !from || !to) return;
    dev->ops->conv->backward_data(dev, p->library, p->w, from, to, add && !apart);
    struct narrow_args a = { .wide = dx->data, .narrow = to, .brain = apart && brain(p), .add = add };
    if (apart) RUN_EACH(be, widen, &a, n);
}

static enum status cuda_conv_backward_data(struct backend *be, struct ctx *ctx, struct conv_plan *p, const struct tensor *dy,
                                           struct tensor *dx, bool add) {
    if (p->route == ROUTE_LIBRARY) {
        library_backward_data(be, p, dy, dx, add);
    } else if (p->route == ROUTE_PRODUCT) {
        product_backward_data(be, p, dy, dx, add);
    } else {
        struct conv_args a = conv_arguments(p, dx, dy);
        a.add = add;
        RUN_EACH(be, direct_back, &a, elements_of(dx));
    }
    return cuda_fault(be, ctx);
}

/* dw += slopes, from the library's order to Darknet's; slopes may be 16-bit numbers. */
static void add_slopes(struct backend *be, const struct conv_plan *p, void *slopes, bool narrow_ones, real *dw) {
    struct order_args a = { .from = slopes, .to = dw, .narrow = narrow_ones ? slopes : NULL, .per_in = (uint32_t)p->per_in,
                            .taps = (uint32_t)p->taps, .brain = narrow_ones && brain(p) };
    RUN_EACH(be, order_back, &a, p->count);
}

static void library_backward_weights(struct backend *be, struct conv_plan *p, const struct tensor *x, const struct tensor *dy, real *dw) {
    struct device *dev = cuda_device(be);
    void *slopes = cuda_scratch(be, SCRATCH_SLOPES, p->count * sizeof(float));
    const void *from = factors(be, p, SCRATCH_NARROW_X, x), *back = factors(be, p, SCRATCH_NARROW_Y, dy);
    void *to = result(be, p, CONV_WEIGHTS, slopes, p->count);
    if (dev->failed || !from || !back || !to) return;
    dev->ops->conv->backward_weights(dev, p->library, from, back, to);
    add_slopes(be, p, to, p->library->narrow[CONV_WEIGHTS], dw);
}

static enum status cuda_conv_backward_weights(struct backend *be, struct ctx *ctx, struct conv_plan *p, const struct tensor *x,
                                              const struct tensor *dy, real *dw) {
    struct device *dev = cuda_device(be);
    if (p->route == ROUTE_LIBRARY) {
        library_backward_weights(be, p, x, dy, dw);
    } else if (p->route == ROUTE_DIRECT) {
        struct conv_args a = conv_arguments(p, x, dy);
        a.out = dw;
        RUN_COLUMNS(be, direct_slopes, &a, p->count, cells_of(dy));
    } else if (!p->own) {
        product_backward_weights(be, p, x, dy, dw);
    } else {
        float *slopes = cuda_scratch(be, SCRATCH_SLOPES, p->count * sizeof *slopes);
        if (!slopes) return cuda_fault(be, ctx);
        dev->ops->zero(dev, slopes, p->count * sizeof *slopes);
        product_backward_weights(be, p, x, dy, slopes);
        add_slopes(be, p, slopes, false, dw);
    }
    return cuda_fault(be, ctx);
}

/* --- Filters of their own at every place --------------------------------------------------------------------------------------- */

static void cuda_local(struct backend *be, const struct local_desc *d, const struct tensor *x, const real *w, const real *bias,
                       struct tensor *y) {
    struct local_args a = { .x = view_of(x), .y = view_of(y), .d = *d, .w = w, .bias = bias };
    RUN_EACH(be, local, &a, elements_of(y));
}

static void cuda_local_backward_data(struct backend *be, const struct local_desc *d, const real *w, const struct tensor *dy,
                                     struct tensor *dx, bool add) {
    struct local_args a = { .x = view_of(dx), .y = view_of(dy), .d = *d, .w = w, .add = add };
    RUN_EACH(be, local_back, &a, elements_of(dx));
}

static void cuda_local_backward_weights(struct backend *be, const struct local_desc *d, const struct tensor *x, const struct tensor *dy,
                                        real *dw, real *db) {
    struct local_args a = { .x = view_of(x), .y = view_of(dy), .d = *d, .dw = dw, .db = db };
    size_t outputs = (size_t)dy->c * (size_t)dy->h * (size_t)dy->w;
    RUN_EACH(be, local_slopes, &a, outputs * (size_t)x->c * (size_t)(d->size * d->size));
    RUN_EACH(be, local_bias, &a, outputs);
}

void cuda_conv_ops(struct backend_ops *ops) {
    ops->conv_new = cuda_conv_new;
    ops->conv_free = cuda_conv_free;
    ops->conv_weights = cuda_conv_weights;
    ops->conv_borrows = cuda_conv_borrows;
    ops->conv_forward = cuda_conv_forward;
    ops->conv_forward_add = cuda_conv_forward_add;
    ops->conv_backward_data = cuda_conv_backward_data;
    ops->conv_backward_weights = cuda_conv_backward_weights;
    ops->local = cuda_local;
    ops->local_backward_data = cuda_local_backward_data;
    ops->local_backward_weights = cuda_local_backward_weights;
}
