/* Kernels over flat vectors, and over weights.  What each computes stands in backend.h. */
#ifndef BACKEND_CUDA_KERNELS_VECTOR_H
#define BACKEND_CUDA_KERNELS_VECTOR_H

#include "backend/cuda/element.h"

/* y = keep*y + alpha*x */
struct blend_args { const float *x; float *y; float keep, alpha; };
ELEMENT_FN void axpy_each(const struct blend_args *a, size_t i) { a->y[i] += a->alpha * a->x[i]; }
ELEMENT_FN void scale_each(const struct blend_args *a, size_t i) { a->y[i] *= a->keep; }
ELEMENT_FN void blend_each(const struct blend_args *a, size_t i) { a->y[i] = a->keep * a->y[i] + a->alpha * a->x[i]; }

/* The vector as rows of SQUARES_COLUMNS. */
enum { SQUARES_COLUMNS = 1024 };
struct squares_args { const float *x; size_t n; double *sums; };
ELEMENT_FN void squares_term(const struct squares_args *a, size_t column, size_t row, double *t) {
    size_t i = row * SQUARES_COLUMNS + column;
    double v = i < a->n ? a->x[i] : 0;
    t[0] = v * v;
}
ELEMENT_FN void squares_finish(const struct squares_args *a, size_t column, const double *sum) { a->sums[column] = sum[0]; }

/* One wide sum over n values, in their order. */
struct total_args { const double *x; size_t n; float *target; };
ELEMENT_FN void total_each(const struct total_args *a, size_t i) {
    double sum = 0;
    size_t k;
    for (k = 0; k < a->n; ++k) sum += a->x[k];
    a->target[i] = (float)(a->target[i] + sum);
}

/* --- Optimisers: i counts ranges and the places of the longest one ----------------------------------------------------- */

struct update_args {
    const struct update_range *range;
    uint32_t longest;
    float *w, *g, *m, *v;
    double scale, momentum;
    struct adam_rule rule;
};

ELEMENT_FN float within(double v, double limit) { return (float)(v > limit ? limit : v < -limit ? -limit : v); }

/* Element i's place in the arena, its range in *r; SIZE_MAX beyond the range's end. */
ELEMENT_FN size_t update_place(const struct update_args *a, size_t i, const struct update_range **r) {
    size_t k;
    uint32_t j = split(i, a->longest, &k);
    *r = &a->range[k];
    return j < (*r)->n ? (*r)->offset + j : SIZE_MAX;
}

ELEMENT_FN void sgd_each(const struct update_args *a, size_t i) {
    const struct update_range *r;
    size_t k = update_place(a, i, &r);
    if (k == SIZE_MAX) return;
    if (!r->hold) {
        double decay = r->decay * a->w[k], own = r->reverse != 0 ? 0 : decay, step;
        a->m[k] = within(a->momentum * a->m[k] - a->scale * a->g[k] - own, r->limit);
        step = a->m[k];
        if (r->reverse != 0) step = (a->m[k] == 0 ? 0 : copysign(pow(10 * fabs(a->m[k]) + 1, r->reverse), a->m[k])) - decay;
        a->w[k] = within(a->w[k] + r->rate * step, r->clip);
    }
    a->g[k] = 0;
}

ELEMENT_FN void adam_each(const struct update_args *a, size_t i) {
    const struct adam_rule *u = &a->rule;
    const struct update_range *r;
    size_t k = update_place(a, i, &r);
    if (k == SIZE_MAX) return;
    if (!r->hold) {
        double d = u->scale * a->g[k] + (u->decoupled ? 0 : r->decay * a->w[k]);
        double shrunk = a->w[k] - (u->decoupled ? r->rate * r->decay * a->w[k] : 0);
        a->m[k] = (float)(u->beta1 * a->m[k] - (1 - u->beta1) * d);
        a->v[k] = (float)(u->beta2 * a->v[k] + (1 - u->beta2) * d * d);
        a->w[k] = within(shrunk + r->rate * (a->m[k] / u->correction1 / (sqrt(a->v[k] / u->correction2) + u->eps)), r->clip);
    }
    a->g[k] = 0;
}

/* --- Weights ------------------------------------------------------------------------------------------------------------ */

/* A column per filter or row of `per` values. */
struct rows_args { const float *w; float *out, *mean; uint32_t per; };
ELEMENT_FN void row_magnitude_term(const struct rows_args *a, size_t column, size_t row, float *t) {
    t[0] = fabsf(a->w[column * a->per + row]);
}
ELEMENT_FN void row_magnitude_finish(const struct rows_args *a, size_t column, const double *sum) {
    a->mean[column] = (float)(sum[0] / a->per);
}
ELEMENT_FN void row_mean_term(const struct rows_args *a, size_t column, size_t row, float *t) { t[0] = a->w[column * a->per + row]; }
ELEMENT_FN void row_mean_finish(const struct rows_args *a, size_t column, const double *sum) {
    a->mean[column] = (float)(sum[0] / a->per);
}
ELEMENT_FN void binarize_each(const struct rows_args *a, size_t i) {
    size_t f;
    split(i, a->per, &f);
    a->out[i] = a->w[i] > 0 ? a->mean[f] : -a->mean[f];
}
ELEMENT_FN void centre_each(const struct rows_args *a, size_t i) {
    size_t f;
    split(i, a->per, &f);
    a->out[i] = a->w[i] - a->mean[f];
}

struct sign_args { struct view x, dy, y; bool add; };
ELEMENT_FN void sign_each(const struct sign_args *a, size_t i) { set_element(&a->y, i, element(&a->x, i) > 0 ? 1.f : -1.f, false); }
ELEMENT_FN void sign_back_each(const struct sign_args *a, size_t i) {
    float u = element(&a->x, i);
    set_element(&a->y, i, u > -1 && u < 1 ? element(&a->dy, i) : 0, a->add);
}

/* kernels: how many of n cells each block of filters has; i counts those of blocks 1 and up (forward), of block 0 (back). */
struct tie_args { float *w; const double *maps; size_t kernels; uint32_t cells; int stages; };
ELEMENT_FN void tie_each(const struct tie_args *a, size_t i) {
    size_t kernel, stage, from;
    uint32_t n = a->cells, cell = split(i, n, &kernel), j;
    const double *map;
    double sum = 0;
    stage = 1 + kernel / a->kernels;
    from = kernel % a->kernels * n;
    map = a->maps + (stage * n + cell) * n;
    for (j = 0; j < n; ++j) sum += map[j] * a->w[from + j];
    a->w[a->kernels * n + i] = (float)sum;
}
ELEMENT_FN void tie_back_each(const struct tie_args *a, size_t i) {
    size_t kernel;
    uint32_t n = a->cells, cell = split(i, n, &kernel), j;
    float value = a->w[i];
    int s;
    for (s = 1; s < a->stages; ++s) {
        const double *map = a->maps + (size_t)s * n * n;
        const float *from = a->w + ((size_t)s * a->kernels + kernel) * n;
        double sum = 0;
        for (j = 0; j < n; ++j) sum += map[(size_t)j * n + cell] * from[j];
        value = (float)(value + sum);
    }
    a->w[i] = value;
}

#define MIX_EPS 1e-4
#define MIX_LEAST .001

/* i counts the columns of n rows of k. */
struct mix_args { const float *raw, *w, *dw; float *out; int n, k; enum mix_norm kind; };

ELEMENT_FN double mix_term(enum mix_norm kind, double w, double most) {
    if (kind == MIX_NORM_RELU) return w > MIX_LEAST ? w : MIX_LEAST;
    return exp(w - most);
}

ELEMENT_FN double mix_sum(const struct mix_args *a, size_t column, int *top) {
    double sum = MIX_EPS;
    size_t k = (size_t)a->k;
    int i;
    *top = 0;
    for (i = 1; i < a->n; ++i)
        if (a->raw[(size_t)i * k + column] > a->raw[(size_t)*top * k + column]) *top = i;
    for (i = 0; i < a->n; ++i) sum += mix_term(a->kind, a->raw[(size_t)i * k + column], a->raw[(size_t)*top * k + column]);
    return sum;
}

ELEMENT_FN void mix_each(const struct mix_args *a, size_t column) {
    int top, i;
    double sum = mix_sum(a, column, &top), most = a->raw[(size_t)top * (size_t)a->k + column];
    for (i = 0; i < a->n; ++i) {
        size_t at_ = (size_t)i * (size_t)a->k + column;
        a->out[at_] = a->kind == MIX_NORM_NONE ? a->raw[at_] : (float)(mix_term(a->kind, a->raw[at_], most) / sum);
    }
}

ELEMENT_FN void mix_back_each(const struct mix_args *a, size_t column) {
    int top, i;
    double sum = mix_sum(a, column, &top), dot = 0;
    for (i = 0; i < a->n; ++i) dot += (double)a->w[(size_t)i * (size_t)a->k + column] * a->dw[(size_t)i * (size_t)a->k + column];
    for (i = 0; i < a->n; ++i) {
        size_t at_ = (size_t)i * (size_t)a->k + column;
        double slope = a->dw[at_];
        if (a->kind == MIX_NORM_RELU) slope = a->raw[at_] > MIX_LEAST ? (slope - dot) / sum : 0;
        if (a->kind == MIX_NORM_SOFTMAX) slope = a->w[at_] * (slope - dot) - (i == top ? dot * MIX_EPS / sum : 0);
        a->out[at_] = (float)(a->out[at_] + slope);
    }
}

/* --- Pooling over channels ---------------------------------------------------------------------------------------------- */

struct depth_args { struct view x, y; int32_t *argmax; };
ELEMENT_FN void maxpool_depth_each(const struct depth_args *a, size_t i) {
    struct place p = place_of(&a->y, i), k = p, best = p;
    for (; k.c < a->x.c; k.c += a->y.c)
        if (at(&a->x, k) > at(&a->x, best)) best = k;
    set_at(&a->y, p, at(&a->x, best), false);
    if (a->argmax) a->argmax[i] = (int32_t)best.c;
}
/* x is dx, y is dy: the one output that looks at this channel chose it or not. */
ELEMENT_FN void maxpool_depth_back_each(const struct depth_args *a, size_t i) {
    struct place p = place_of(&a->x, i), o = p;
    size_t out;
    o.c = p.c % a->y.c;
    out = (((size_t)o.n * a->y.h + o.y) * a->y.w + o.x) * a->y.c + o.c;
    if (a->argmax[out] == (int32_t)p.c) set_at(&a->x, p, at(&a->y, o), true);
}
ELEMENT_FN void zero_nonmax_each(const struct depth_args *a, size_t i) {
    struct place p = place_of(&a->y, i);
    bool top = at(&a->x, p) == at(&a->y, p);
    if (!top) set_at(&a->y, p, 0, false);
    if (a->argmax) a->argmax[i] = top ? (int32_t)(p.y * a->y.w + p.x) : -1;
}

#endif
