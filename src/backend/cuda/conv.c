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
    float *own;      /* reordered weights; NULL where Darknet's order is ours */
    const float *w;  /* what the convolution computes with: own, or the caller's */
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
    if (plan->library) dev->ops->conv->close(plan->library);
    be->ops->free(be, plan->own);
    free(plan);
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
    bool narrow = d->groups > 1 && plan->per_in < DIRECT_CHANNELS, matrices = rows(&d->x) && rows(&d->y);
    plan->route = narrow || !matrices ? ROUTE_DIRECT : ROUTE_PRODUCT;
    if (!narrow && dev->ops->conv && dense(&d->x) && dense(&d->y)) plan->library = dev->ops->conv->open(dev, d);
    if (plan->library) plan->route = ROUTE_LIBRARY;
    if (plan->taps > 1 && plan->per_in > 1) {
        plan->own = be->ops->alloc(be, ctx, plan->count);
        plan->w = plan->own;
    }
    enum status status = ctx->code != ST_OK ? ctx->code : cuda_fault(be, ctx);
    if (status == ST_OK) return ST_OK;
    cuda_conv_free(be, plan);
    *out = NULL;
    return status;
}

static enum status cuda_conv_weights(struct backend *be, struct ctx *ctx, struct conv_plan *plan, const real *w) {
    struct order_args a = { w, plan->own, (uint32_t)plan->per_in, (uint32_t)plan->taps };
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

static int images_at_once(const struct conv_plan *p, const struct tensor *y) {
    double per = (double)y->h * y->w * p->taps * p->per_in;
    int n = pointwise(&p->desc) ? y->n : (int)(MOST_COLUMNS / per);
    return n < 1 ? 1 : n > y->n ? y->n : n;
}

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
    part->w = p->w + (size_t)group * (size_t)p->per_out * (size_t)part->depth;
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
                                       .b = b, .ldb = step, .c = slopes + (part.w - p->w), .ldc = part.depth, .beta = 1 });
    }
}

/* --- The operations ---------------------------------------------------------------------------------------------------------- */

static bool cuda_conv_borrows(const struct conv_plan *p) { return p->own == NULL; }

static enum status cuda_conv_forward(struct backend *be, struct ctx *ctx, struct conv_plan *p, const struct tensor *x, const real *bias,
                                     struct tensor *y) {
    struct device *dev = cuda_device(be);
    const struct conv_desc *d = &p->desc;
    struct act_args act = { .x = view_of(y), .y = view_of(y), .bias = d->bias ? bias : NULL, .act = d->act };
    if (p->route == ROUTE_LIBRARY) {
        dev->ops->conv->forward(dev, p->library, x->data, p->w, y->data);
    } else if (p->route == ROUTE_PRODUCT) {
        product_forward(be, p, x, y);
    } else {
        struct conv_args a = conv_arguments(p, x, y);
        RUN_EACH(be, direct, &a, elements_of(y));
    }
    if (act.bias || d->act != ACT_LINEAR) RUN_EACH(be, act, &act, elements_of(y));
    return cuda_fault(be, ctx);
}

static enum status cuda_conv_forward_add(struct backend *be, struct ctx *ctx, struct conv_plan *p, const struct tensor *x, const real *bias,
                                         const struct tensor *skip, struct tensor *y) {
    TRY(cuda_conv_forward(be, ctx, p, x, bias, y));
    be->ops->copy_channels(be, skip, 0, y, 0, y->c, 1, true);
    return cuda_fault(be, ctx);
}

static enum status cuda_conv_backward_data(struct backend *be, struct ctx *ctx, struct conv_plan *p, const struct tensor *dy,
                                           struct tensor *dx, bool add) {
    struct device *dev = cuda_device(be);
    if (p->route == ROUTE_LIBRARY) {
        dev->ops->conv->backward_data(dev, p->library, p->w, dy->data, dx->data, add);
    } else if (p->route == ROUTE_PRODUCT) {
        product_backward_data(be, p, dy, dx, add);
    } else {
        struct conv_args a = conv_arguments(p, dx, dy);
        a.add = add;
        RUN_EACH(be, direct_back, &a, elements_of(dx));
    }
    return cuda_fault(be, ctx);
}

static enum status cuda_conv_backward_weights(struct backend *be, struct ctx *ctx, struct conv_plan *p, const struct tensor *x,
                                              const struct tensor *dy, real *dw) {
    struct device *dev = cuda_device(be);
    if (p->route == ROUTE_DIRECT) {
        struct conv_args a = conv_arguments(p, x, dy);
        a.out = dw;
        RUN_COLUMNS(be, direct_slopes, &a, p->count, cells_of(dy));
        return cuda_fault(be, ctx);
    }
    if (p->route == ROUTE_PRODUCT && !p->own) {
        product_backward_weights(be, p, x, dy, dw);
        return cuda_fault(be, ctx);
    }
    float *slopes = cuda_scratch(be, SCRATCH_SLOPES, p->count * sizeof *slopes);
    if (!slopes) return cuda_fault(be, ctx);
    if (p->route == ROUTE_LIBRARY) {
        dev->ops->conv->backward_weights(dev, p->library, x->data, dy->data, slopes);
    } else {
        dev->ops->zero(dev, slopes, p->count * sizeof *slopes);
        product_backward_weights(be, p, x, dy, slopes);
    }
    struct order_args a = { slopes, dw, (uint32_t)p->per_in, (uint32_t)p->taps };
    RUN_EACH(be, order_back, &a, p->count);
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
