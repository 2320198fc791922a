#include "backend/cpu/local.h"

#include "backend/cpu/conv_onednn.h"
#include "backend/cpu/cpu.h"
#include "backend/ref/ref.h"

/* What one place of the output works on: the cells that its filters see, (N, C*size*size) in the weights' order with 0
 * outside the map, and its outputs, (N, F). */
struct place { float *cells, *values; int taps, y, x; };

static bool place_new(struct backend *be, const struct local_desc *d, const struct tensor *x, const struct tensor *y, struct place *p) {
    p->taps = x->c * d->size * d->size;
    size_t cells = (size_t)x->n * (size_t)p->taps, values = (size_t)y->n * (size_t)y->c;
    p->cells = cpu_scratch(be, SCRATCH_SUM, (cells + values) * sizeof *p->cells);
    p->values = p->cells + cells;
    return p->cells != NULL;
}

static float *value_at(const struct tensor *t, int n, int c, int y, int x) {
    return (float *)t->data + n * t->sn + c * t->sc + y * t->sh + x * t->sw;
}

/* Reads the cells from x, or adds them to it. */
static void move_cells(const struct local_desc *d, const struct place *p, const struct tensor *x, bool back) {
    float *cell = p->cells;
    for (int n = 0; n < x->n; ++n)
        for (int c = 0; c < x->c; ++c)
            for (int ky = 0; ky < d->size; ++ky)
                for (int kx = 0; kx < d->size; ++kx, ++cell) {
                    int iy = p->y * d->stride - d->pad + ky, ix = p->x * d->stride - d->pad + kx;
                    bool inside = iy >= 0 && iy < x->h && ix >= 0 && ix < x->w;
                    if (!back) *cell = inside ? *value_at(x, n, c, iy, ix) : 0;
                    else if (inside) *value_at(x, n, c, iy, ix) += *cell;
                }
}

static void read_values(const struct place *p, const struct tensor *y) {
    for (int n = 0; n < y->n; ++n)
        for (int f = 0; f < y->c; ++f) p->values[n * y->c + f] = *value_at(y, n, f, p->y, p->x);
}

#define EACH_PLACE(p, out) \
    for ((p).y = 0; (p).y < (out)->h; ++(p).y) \
        for ((p).x = 0; (p).x < (out)->w; ++(p).x)

static size_t weights_of(const struct place *p, const struct tensor *y) {
    return (size_t)(p->y * y->w + p->x) * (size_t)y->c * (size_t)p->taps;
}

static void local(struct backend *be, const struct local_desc *d, const struct tensor *x, const real *w, const real *bias,
                  struct tensor *y) {
    struct place p;
    bool done = place_new(be, d, x, y, &p);
    if (done) EACH_PLACE(p, y) {
        move_cells(d, &p, x, false);
        done = done && onednn_product(false, true, x->n, y->c, p.taps, p.cells, (const float *)w + weights_of(&p, y), 0, p.values);
        for (int n = 0; n < y->n; ++n)
            for (int f = 0; f < y->c; ++f)
                *value_at(y, n, f, p.y, p.x) = p.values[n * y->c + f] + ((const float *)bias)[(f * y->h + p.y) * y->w + p.x];
    }
    if (!done) ref_f32_ops.local(be, d, x, w, bias, y);
}

static void local_backward_data(struct backend *be, const struct local_desc *d, const real *w, const struct tensor *dy, struct tensor *dx,
                                bool add) {
    struct place p;
    if (!place_new(be, d, dx, dy, &p)) {
        ref_f32_ops.local_backward_data(be, d, w, dy, dx, add);
        return;
    }
    if (!add) be->ops->fill(be, dx, 0);
    EACH_PLACE(p, dy) {
        read_values(&p, dy);
        if (onednn_product(false, false, dx->n, p.taps, dy->c, p.values, (const float *)w + weights_of(&p, dy), 0, p.cells))
            move_cells(d, &p, dx, true);
    }
}

static void local_backward_weights(struct backend *be, const struct local_desc *d, const struct tensor *x, const struct tensor *dy, real *dw,
                                   real *db) {
    struct place p;
    if (!place_new(be, d, x, dy, &p)) {
        ref_f32_ops.local_backward_weights(be, d, x, dy, dw, db);
        return;
    }
    EACH_PLACE(p, dy) {
        move_cells(d, &p, x, false);
        read_values(&p, dy);
        onednn_product(true, false, dy->c, p.taps, dy->n, p.values, p.cells, 1, (float *)dw + weights_of(&p, dy));
        for (int n = 0; n < dy->n; ++n)
            for (int f = 0; f < dy->c; ++f) ((float *)db)[(f * dy->h + p.y) * dy->w + p.x] += p.values[n * dy->c + f];
    }
}

void cpu_local_products(struct backend_ops *ops) {
    ops->local = local;
    ops->local_backward_data = local_backward_data;
    ops->local_backward_weights = local_backward_weights;
}
