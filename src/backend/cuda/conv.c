/* Convolutions: by a library where the device has one, as matrix products over columns, or by direct loops. */
#include <assert.h>
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
    enum element factor; /* what is multiplied: weights are kept as such */
    int per_in, per_out, taps;
    void *own;       /* reordered weights; NULL where Darknet's order is ours */
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

static int images_at_once(const struct conv_plan *p, const struct tensor *y) {
    double per = (double)y->h * y->w * p->taps * p->per_in;
    int n = pointwise(&p->desc) ? y->n : (int)(MOST_COLUMNS / per);
    return n < 1 ? 1 : n > y->n ? y->n : n;
}

/* What the product of a pass is made of, but for addresses. */
static struct product product_of(const struct conv_plan *p, enum conv_pass pass, int cells, ptrdiff_t step, ptrdiff_t out, enum element result) {
    int depth = p->taps * p->per_in;
    struct product m = { .m = cells, .factor = p->factor, .result = result };
    if (pass == CONV_FORWARD) m.tb = true, m.n = p->per_out, m.k = depth, m.lda = step, m.ldb = depth, m.ldc = out;
    else if (pass == CONV_DATA) m.n = depth, m.k = p->per_out, m.lda = out, m.ldb = depth, m.ldc = step;
    else m.ta = true, m.m = p->per_out, m.n = depth, m.k = cells, m.lda = out, m.ldb = step, m.ldc = depth, m.beta = 1;
    return m;
}

/* The matrix products that the passes will ask for; whole batches of images only, as the rest of one is asked for rarely. */
static void plan_products(struct backend *be, const struct conv_plan *p) {
    const struct conv_desc *d = &p->desc;
    struct device *dev = cuda_device(be);
    bool point = pointwise(d);
    int cells = images_at_once(p, &d->y) * d->y.h * d->y.w, depth = p->taps * p->per_in;
    ptrdiff_t step = !point ? depth : d->x.type == p->factor ? step_of(&d->x) : d->x.c, out = step_of(&d->y), dy = d->y.type == p->factor ? out : d->y.c;
    struct product all[CONV_PASSES] = { product_of(p, CONV_FORWARD, cells, step, out, d->y.type),
                                        product_of(p, CONV_DATA, cells, point ? step_of(&d->x) : depth, dy, point ? d->x.type : p->factor),
                                        product_of(p, CONV_WEIGHTS, cells, step, dy, ELEMENT_REAL) };
    if (!point) cuda_scratch(be, SCRATCH_COLUMNS, (size_t)cells * (size_t)depth * element_size(be, p->factor));
    for (int pass = 0; pass < (d->backward ? CONV_PASSES : 1) && dev->ops->product_plan && !dev->failed; ++pass) dev->ops->product_plan(dev, &all[pass]);
}

/* Takes the scratch memory of all passes now, as none may be taken while they run. */
static void reserve(struct backend *be, const struct conv_plan *p) {
    const struct conv_desc *d = &p->desc;
    size_t x = elements_of(&d->x), y = elements_of(&d->y), factor = element_size(be, p->factor), apart = 0;
    if (p->route == ROUTE_DIRECT) return;
    if (d->x.type != p->factor && (p->library || pointwise(d))) cuda_scratch(be, SCRATCH_NARROW_X, x * factor);
    if (d->backward && d->y.type != p->factor) cuda_scratch(be, SCRATCH_NARROW_Y, y * factor);
    if (d->backward && (p->library || p->own)) cuda_scratch(be, SCRATCH_SLOPES, p->count * sizeof(float));
    if (p->route == ROUTE_PRODUCT) plan_products(be, p);
    if (!p->library) return;
    enum element forward = p->library->result[CONV_FORWARD], data = p->library->result[CONV_DATA];
    if (forward != d->y.type) apart = y * element_size(be, forward);
    if (d->backward && (data != ELEMENT_REAL || data != d->x.type) && x * element_size(be, data) > apart) apart = x * element_size(be, data);
    if (apart) cuda_scratch(be, SCRATCH_RESULT, apart);
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
    /* Matrices of 16 bits where one of the maps is that narrow. */
    plan->factor = plan->library ? plan->library->factor : plan->route == ROUTE_DIRECT ? ELEMENT_REAL : d->x.type != ELEMENT_REAL ? d->x.type : d->y.type;
    /* Parameters lie anywhere in their arena; a library wants its weights where 16 divides the address. */
    if (plan->library || plan->factor != ELEMENT_REAL || (plan->taps > 1 && plan->per_in > 1)) {
        plan->own = be->ops->alloc(be, ctx, plan->factor != ELEMENT_REAL ? (plan->count + 1) / 2 : plan->count);
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
    struct order_args a = { w, plan->own, plan->factor, (uint32_t)plan->per_in, (uint32_t)plan->taps };
    if (plan->own) RUN_EACH(be, order, &a, plan->count);
    else plan->w = w;
    return cuda_fault(be, ctx);
}

static struct conv_args conv_arguments(const struct conv_plan *p, const struct tensor *x, const struct tensor *y) {
    const struct conv_desc *d = &p->desc;
    return (struct conv_args){ .x = view_of(x), .y = view_of(y), .w = p->w, .per_in = (uint32_t)p->per_in, .per_out = (uint32_t)p->per_out,
                               .size = (uint32_t)d->size, .stride_x = d->stride_x, .stride_y = d->stride_y, .dilation = d->dilation,
                               .pad = d->pad, .type = p->factor };
}

/* t as factors: itself, or a dense copy in scratch memory; data NULL: a fault was kept. */
static struct tensor factors(struct backend *be, const struct conv_plan *p, enum cuda_scratch use, const struct tensor *t) {
    if (t->type == p->factor) return *t;
    struct tensor copy = tensor_of(be, (struct shape){ t->n, t->c, t->h, t->w }, cuda_scratch(be, use, elements_of(t) * element_size(be, p->factor)));
    copy.type = p->factor;
    if (copy.data) be->ops->copy_channels(be, t, 0, &copy, 0, t->c, 1, false);
    return copy;
}

/* --- Matrix products -------------------------------------------------------------------------------------------------------- */

/* A few images and one group at a time. */
struct part {
    struct tensor x, y;
    const void *w;       /* of the group */
    void *columns;       /* NULL: pointwise */
    int group, first, cells, depth; /* number; the group's first input channel; output cells; columns per cell */
};

/* The group's first weight. */
static size_t group_weight(const struct conv_plan *p, int group) { return (size_t)group * (size_t)p->per_out * (size_t)(p->taps * p->per_in); }

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
    part->w = (const char *)p->w + group_weight(p, group) * element_size(be, p->factor);
    part->group = group;
    part->cells = (int)cells_of(&part->y);
    part->y = tensor_channels(be, &part->y, group * p->per_out, p->per_out);
    part->columns = NULL;
    if (pointwise(&p->desc)) return true;
    part->columns = cuda_scratch(be, SCRATCH_COLUMNS, (size_t)part->cells * (size_t)part->depth * element_size(be, p->factor));
    return part->columns != NULL;
}

static void make_columns(struct backend *be, const struct conv_plan *p, const struct part *part) {
    struct conv_args a = conv_arguments(p, &part->x, &part->y);
    a.columns = part->columns;
    a.first = (uint32_t)part->first;
    RUN_EACH(be, columns, &a, (size_t)part->cells * (size_t)part->depth);
}

static void product(struct backend *be, const struct product *p) {
    struct device *dev = cuda_device(be);
    if (!dev->failed) dev->ops->product(dev, p);
}

/* The matrix that weights meet: columns, or the input's channels of this group. */
static void *columns_or_input(struct backend *be, const struct part *part, ptrdiff_t *step) {
    *step = part->columns ? part->depth : step_of(&part->x);
    return part->columns ? part->columns : tensor_channels(be, &part->x, part->first, 1).data;
}

static void product_forward(struct backend *be, const struct conv_plan *p, const struct tensor *input, struct tensor *y) {
    struct tensor x = pointwise(&p->desc) ? factors(be, p, SCRATCH_NARROW_X, input) : *input;
    struct part part;
    ptrdiff_t step;
    for (int i = 0; x.data && part_of(be, p, &x, y, i, &part); ++i) {
        if (part.columns) make_columns(be, p, &part);
        const void *a = columns_or_input(be, &part, &step);
        struct product m = product_of(p, CONV_FORWARD, part.cells, step, step_of(y), y->type);
        m.a = a, m.b = part.w, m.c = part.y.data;
        product(be, &m);
    }
}

static void product_backward_data(struct backend *be, const struct conv_plan *p, const struct tensor *gradient, struct tensor *dx, bool add) {
    struct tensor dy = factors(be, p, SCRATCH_NARROW_Y, gradient);
    struct part part;
    ptrdiff_t step;
    for (int i = 0; dy.data && part_of(be, p, dx, &dy, i, &part); ++i) {
        void *c = columns_or_input(be, &part, &step);
        struct product m = product_of(p, CONV_DATA, part.cells, step, step_of(&dy), part.columns ? p->factor : dx->type);
        m.a = part.y.data, m.b = part.w, m.c = c;
        if (!part.columns) m.beta = add ? 1 : 0;
        product(be, &m);
        if (!part.columns) continue;
        struct conv_args a = conv_arguments(p, &part.x, &part.y);
        a.columns = part.columns;
        a.first = (uint32_t)part.first;
        a.add = add;
        RUN_EACH(be, columns_back, &a, cells_of(&part.x) * (size_t)p->per_in);
    }
}

/* slopes (F, tap, C/groups) are added to. */
static void product_backward_weights(struct backend *be, const struct conv_plan *p, const struct tensor *input, const struct tensor *gradient,
                                     float *slopes) {
    struct tensor x = pointwise(&p->desc) ? factors(be, p, SCRATCH_NARROW_X, input) : *input, dy = factors(be, p, SCRATCH_NARROW_Y, gradient);
    struct part part;
    ptrdiff_t step;
    for (int i = 0; x.data && dy.data && part_of(be, p, &x, &dy, i, &part); ++i) {
        if (part.columns) make_columns(be, p, &part);
        const void *b = columns_or_input(be, &part, &step);
        struct product m = product_of(p, CONV_WEIGHTS, part.cells, step, step_of(&dy), ELEMENT_REAL);
        m.a = part.y.data, m.b = b, m.c = slopes + group_weight(p, part.group);
        product(be, &m);
    }
}

/* --- The operations ---------------------------------------------------------------------------------------------------------- */

static bool cuda_conv_borrows(const struct conv_plan *p) { return p->own == NULL; }

/* Where the library's result goes: t itself, or dense scratch memory; data NULL: a fault was kept. */
static struct tensor result(struct backend *be, const struct conv_plan *p, enum conv_pass pass, const struct tensor *t, bool apart) {
    enum element type = p->library->result[pass];
    if (!apart && type == t->type) return *t;
    size_t n = elements_of(t);
    struct tensor made = tensor_of(be, (struct shape){ t->n, t->c, t->h, t->w }, cuda_scratch(be, SCRATCH_RESULT, n * element_size(be, type)));
    made.type = type;
    return made;
}

/* What is left to do after the convolution itself, which is in `made`, perhaps y: bias, activation, skip. */
static void finish(struct backend *be, const struct conv_plan *p, const real *bias, const struct tensor *skip, struct tensor *y, const struct tensor *made) {
    const struct conv_desc *d = &p->desc;
    struct finish_args a = { .conv = view_of(made), .y = view_of(y), .skip = view_of(skip), .bias = d->bias ? bias : NULL, .act = d->act };
    if (a.bias || d->act != ACT_LINEAR || skip || made->data != y->data) RUN_EACH(be, finish, &a, elements_of(y));
}

static void library_forward(struct backend *be, struct conv_plan *p, const struct tensor *x, const real *bias, const struct tensor *skip,
                            struct tensor *y) {
    struct device *dev = cuda_device(be);
    bool fused = p->library->fused;
    struct tensor from = factors(be, p, SCRATCH_NARROW_X, x), to = result(be, p, CONV_FORWARD, y, false);
    if (dev->failed || !from.data || !to.data) return;
    dev->ops->conv->forward(dev, p->library, from.data, p->w, fused && p->desc.bias ? bias : NULL, fused && skip ? skip->data : NULL, to.data);
    if (!fused) finish(be, p, bias, skip, y, &to);
    else if (to.data != y->data) be->ops->copy_channels(be, &to, 0, y, 0, y->c, 1, false);
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
    finish(be, p, bias, skip, y, y);
    return cuda_fault(be, ctx);
}

static enum status cuda_conv_forward(struct backend *be, struct ctx *ctx, struct conv_plan *p, const struct tensor *x, const real *bias,
                                     struct tensor *y) {
    return forward(be, ctx, p, x, bias, NULL, y);
}

static enum status cuda_conv_forward_add(struct backend *be, struct ctx *ctx, struct conv_plan *p, const struct tensor *x, const real *bias,
                                         const struct tensor *skip, struct tensor *y) {
    assert(!p->desc.skip || skip->type == p->desc.skip_type);
    bool together = !p->library || !p->library->fused || (p->desc.skip && dense(skip));
    if (together) return forward(be, ctx, p, x, bias, skip, y);
    TRY(forward(be, ctx, p, x, bias, NULL, y));
    be->ops->copy_channels(be, skip, 0, y, 0, y->c, 1, true);
    return cuda_fault(be, ctx);
}

static void library_backward_data(struct backend *be, struct conv_plan *p, const struct tensor *dy, struct tensor *dx, bool add) {
    struct device *dev = cuda_device(be);
    bool apart = add && p->library->result[CONV_DATA] != ELEMENT_REAL;
    struct tensor from = factors(be, p, SCRATCH_NARROW_Y, dy), to = result(be, p, CONV_DATA, dx, apart);
    if (dev->failed || !from.data || !to.data) return;
    apart = to.data != dx->data;
    dev->ops->conv->backward_data(dev, p->library, p->w, from.data, to.data, add && !apart);
    if (apart) be->ops->copy_channels(be, &to, 0, dx, 0, dx->c, 1, add);
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

/* dw += slopes, elements of this type, from the library's order to Darknet's. */
static void add_slopes(struct backend *be, const struct conv_plan *p, void *slopes, enum element type, real *dw) {
    struct order_args a = { slopes, dw, type, (uint32_t)p->per_in, (uint32_t)p->taps };
    RUN_EACH(be, order_back, &a, p->count);
}

static void library_backward_weights(struct backend *be, struct conv_plan *p, const struct tensor *x, const struct tensor *dy, real *dw) {
    struct device *dev = cuda_device(be);
    void *slopes = cuda_scratch(be, SCRATCH_SLOPES, p->count * sizeof(float)); /* enough for either type */
    struct tensor from = factors(be, p, SCRATCH_NARROW_X, x), back = factors(be, p, SCRATCH_NARROW_Y, dy);
    if (dev->failed || !from.data || !back.data || !slopes) return;
    dev->ops->conv->backward_weights(dev, p->library, from.data, back.data, slopes);
    add_slopes(be, p, slopes, p->library->result[CONV_WEIGHTS], dw);
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
        add_slopes(be, p, slopes, ELEMENT_REAL, dw);
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
