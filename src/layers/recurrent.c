#include "layers/recurrent.h"

int recurrent_images(const struct pass *p) { return p->batch / p->steps; }

struct tensor recurrent_room(struct pass *p, struct shape s, int slices) {
    int images = recurrent_images(p) * slices;
    return shape_tensor(p->be, s, images, p->be->ops->alloc(p->be, p->ctx, (size_t)images * shape_count(s)));
}

struct tensor recurrent_slice(const struct pass *p, const struct tensor *t, int step) {
    int images = recurrent_images(p);
    return tensor_images(p->be, t, t->n == images ? 0 : step * images, images);
}

void recurrent_start(struct pass *p, struct tensor *state) {
    struct tensor first = recurrent_slice(p, state, 0), last = recurrent_slice(p, state, p->steps);
    if (p->mode != NET_SCORE) recurrent_copy(p, &last, &first, false);
    else p->be->ops->fill(p->be, &first, 0);
}

void recurrent_forget(struct pass *p, struct tensor *state) {
    struct tensor last = recurrent_slice(p, state, p->steps);
    p->be->ops->fill(p->be, &last, 0);
}

void recurrent_copy(struct pass *p, const struct tensor *x, struct tensor *y, bool add) {
    p->be->ops->copy_channels(p->be, x, 0, y, 0, x->c, 1, add);
}

/* The product is what a gate of equal shape does to a gradient. */
void recurrent_times(struct pass *p, const struct tensor *a, const struct tensor *b, struct tensor *y, bool add) {
    p->be->ops->gate_backward_x(p->be, a, b, y, add);
}

enum status recurrent_fits(struct ctx *ctx, const struct layer *l, const struct affine_desc *d) {
    double weights = (double)d->x.c / d->groups * d->y.c * (d->size ? (double)d->size * d->size : (double)d->x.h * d->x.w);
    if (weights <= 0x7fffffff) return ST_OK;
    return layer_fail(ctx, l, "output", "%.0f weights between two of its layers are more than can be", weights);
}

enum status recurrent_convolution(struct ctx *ctx, const struct layer *l, struct affine_desc *d) {
    if (d->size == 1) d->dilation = 1;
    d->pad *= d->dilation;
    if (d->x.c % d->groups || d->y.c % d->groups)
        return layer_fail(ctx, l, "groups", "%d does not divide both %d and %d channels", d->groups, d->x.c, d->y.c);
    TRY(recurrent_fits(ctx, l, d));
    int span = d->dilation * (d->size - 1) + 1, h = d->x.h + 2 * d->pad - span, w = d->x.w + 2 * d->pad - span;
    if (w < 0 || h < 0)
        return layer_fail(ctx, l, "size", "a kernel over %d cells with padding %d does not fit into a map of %d x %d", span, d->pad,
                          d->x.w, d->x.h);
    d->y.h = h / d->stride + 1;
    d->y.w = w / d->stride + 1;
    return ST_OK;
}

enum status recurrent_keeps_size(struct ctx *ctx, const struct layer *l, const struct affine_desc *d) {
    if (d->y.h == d->x.h && d->y.w == d->x.w) return ST_OK;
    return layer_fail(ctx, l, "size", "%d with padding %d makes maps of %d x %d from the state's %d x %d; the state must keep its size, "
                      "as with an odd size and pad=1", d->size, d->pad, d->y.w, d->y.h, d->x.w, d->x.h);
}

void recurrent_edge_begin(const struct layer *l, struct pass *p, struct recurrent_edge *e) {
    *e = (struct recurrent_edge){ .wanted = p->dx[0] != NULL };
    if (e->wanted) e->whole = edge_begin(l, p, &e->first_adds);
}

void recurrent_edge_step(struct pass *p, int step, struct recurrent_edge *e) {
    e->x = recurrent_slice(p, p->x[0], step);
    e->add = e->first_adds;
    if (!e->wanted) return;
    e->step = recurrent_slice(p, &e->whole, step);
    e->dx = &e->step;
}

enum status recurrent_edge_end(const struct layer *l, struct pass *p, struct recurrent_edge *e) {
    return e->wanted ? edge_end(l, p, &e->whole) : ST_OK;
}
