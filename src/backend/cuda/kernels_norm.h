/* Kernels of batch normalisation, activations and normalisation across channels.  What each computes stands in backend.h. */
#ifndef BACKEND_CUDA_KERNELS_NORM_H
#define BACKEND_CUDA_KERNELS_NORM_H

#include "backend/cuda/element.h"

#define BN_EPS 1e-5f

/* pre.data NULL: none.  Columns are channels, rows cells. */
struct bn_args {
    struct view x, pre, y, dy, dx;
    const float *scale, *bias;
    float *mean, *var, *moment; /* moment: blended statistics, see bn_blend_forward */
    float *dscale, *dbias;
    float *sums;                /* backward, 2 per channel: sum of g, sum of g times the normed x */
    double cells;
    float share;                /* of these statistics in mean and var, over the number of cells: 1/cells but in blended norms */
    double alpha;
    enum activation act;
};

/* Sums about the channel's first value: one pass without cancellation, as long as that value is not far off. */
ELEMENT_FN void bn_stats_term(const struct bn_args *a, size_t c, size_t row, float *t) {
    t[0] = in_cell(&a->x, row, c) - in_cell(&a->x, 0, c);
    t[1] = t[0] * t[0];
}
ELEMENT_FN void bn_stats_finish(const struct bn_args *a, size_t c, const double *sum) {
    double m = a->cells, shift = sum[0] / m, var = sum[1] / m - shift * shift;
    a->mean[c] = (float)(in_cell(&a->x, 0, c) + shift);
    a->var[c] = var > 0 || isnan(var) ? (float)var : 0;
}

ELEMENT_FN void bn_blend_term(const struct bn_args *a, size_t c, size_t row, double *t) {
    t[0] = in_cell(&a->x, row, c);
    t[1] = t[0] * t[0];
}
ELEMENT_FN void bn_blend_finish(const struct bn_args *a, size_t c, const double *sum) {
    float *first = &a->moment[c], *second = &a->moment[a->x.c + c];
    double mean, var;
    *first = (float)(a->alpha * sum[0] / a->cells + (1 - a->alpha) * *first);
    *second = (float)(a->alpha * sum[1] / a->cells + (1 - a->alpha) * *second);
    mean = *first, var = *second - mean * mean;
    a->mean[c] = (float)mean;
    a->var[c] = var > 0 || isnan(var) ? (float)var : 0;
}

ELEMENT_FN void bn_apply_each(const struct bn_args *a, size_t i) {
    uint32_t c = channel_of(&a->x, i);
    float factor = a->scale[c] / sqrtf(a->var[c] + BN_EPS);
    float value = factor * (element(&a->x, i) - a->mean[c]) + a->bias[c];
    if (a->pre.data) set_element(&a->pre, i, value, false);
    set_element(&a->y, i, act_value(a->act, value), false);
}

ELEMENT_FN void bn_slopes_term(const struct bn_args *a, size_t c, size_t row, float *t) {
    t[0] = in_cell(&a->dy, row, c) * act_slope(a->act, a->pre.data ? in_cell(&a->pre, row, c) : 0, in_cell(&a->y, row, c));
    t[1] = t[0] * (in_cell(&a->x, row, c) - a->mean[c]);
}
ELEMENT_FN void bn_slopes_finish(const struct bn_args *a, size_t c, const double *sum) {
    double by_scale = sum[1] / sqrt((double)a->var[c] + BN_EPS);
    a->sums[2 * c] = (float)sum[0];
    a->sums[2 * c + 1] = (float)by_scale;
    a->dbias[c] = (float)(a->dbias[c] + sum[0]);
    a->dscale[c] = (float)(a->dscale[c] + by_scale);
}

ELEMENT_FN void bn_back_each(const struct bn_args *a, size_t i) {
    uint32_t c = channel_of(&a->x, i);
    float g = element(&a->dy, i) * act_slope(a->act, a->pre.data ? element(&a->pre, i) : 0, element(&a->y, i));
    float inverse = 1 / sqrtf(a->var[c] + BN_EPS);
    float normed = (element(&a->x, i) - a->mean[c]) * inverse;
    set_element(&a->dx, i, a->scale[c] * inverse * (g - a->share * (a->sums[2 * c] + normed * a->sums[2 * c + 1])), false);
}

struct bn_roll_args { float *rolling; const float *value; float momentum, rest; };
ELEMENT_FN void bn_roll_each(const struct bn_roll_args *a, size_t i) {
    if (isfinite(a->value[i])) a->rolling[i] = a->momentum * a->rolling[i] + a->rest * a->value[i];
}

/* i counts weights; the first of each filter sees to its bias. */
struct bn_fold_args { const float *w, *scale, *bias, *mean, *var; float *w_out, *bias_out; uint32_t per; };
ELEMENT_FN void bn_fold_each(const struct bn_fold_args *a, size_t i) {
    size_t f;
    uint32_t k = split(i, a->per, &f);
    float factor = a->scale[f] / sqrtf(a->var[f] + BN_EPS);
    a->w_out[i] = a->w[i] * factor;
    if (k == 0) a->bias_out[f] = a->bias[f] - factor * a->mean[f];
}

/* --- Activations ------------------------------------------------------------------------------------------------------- */

struct act_args { struct view x, y, dy, dx; enum activation act; bool add; };
ELEMENT_FN void act_each(const struct act_args *a, size_t i) {
    set_element(&a->y, i, act_value(a->act, element(&a->x, i)), false);
}
ELEMENT_FN void act_back_each(const struct act_args *a, size_t i) {
    float slope = act_slope(a->act, a->x.data ? element(&a->x, i) : 0, element(&a->y, i));
    set_element(&a->dx, i, element(&a->dy, i) * slope, a->add);
}

/* --- Across channels; i counts elements in lrn, cells in the others ---------------------------------------------------- */

struct lrn_args { struct view x, norm, y, dy, dx; struct lrn_desc d; bool add; };

/* What backend/ref's lrn_member says, as ranges: the window of channel c without channel `ahead`, and whether that one is
 * subtracted. */
ELEMENT_FN void lrn_each(const struct lrn_args *a, size_t i) {
    struct place p = place_of(&a->y, i);
    int ahead = a->d.size / 2, behind = (a->d.size - 1) / 2, c = (int)p.c, k;
    float sum = 0, value, v;
    for (k = c - behind < 0 ? 0 : c - behind; k <= c + ahead && k < (int)a->x.c; ++k) {
        v = at4(&a->x, p.n, (uint32_t)k, p.y, p.x);
        if (k != ahead) sum += v * v;
    }
    v = c > ahead + behind ? at4(&a->x, p.n, (uint32_t)ahead, p.y, p.x) : 0;
    sum -= v * v;
    value = (float)a->d.kappa + (float)a->d.alpha * sum;
    if (a->norm.data) set_at(&a->norm, p, value, false);
    set_at(&a->y, p, at(&a->x, p) * powf(value, -(float)a->d.beta), false);
}

ELEMENT_FN float lrn_through(const struct lrn_args *a, struct place p, int k) {
    p.c = (uint32_t)k;
    return at(&a->dy, p) * at(&a->x, p) * powf(at(&a->norm, p), -(float)a->d.beta - 1);
}

ELEMENT_FN void lrn_back_each(const struct lrn_args *a, size_t i) {
    struct place p = place_of(&a->dx, i);
    int ahead = a->d.size / 2, behind = (a->d.size - 1) / 2, c = (int)p.c, k;
    float through = 0, own;
    if (c == ahead)
        for (k = ahead + behind + 1; k < (int)a->x.c; ++k) through -= lrn_through(a, p, k);
    else
        for (k = c - ahead < 0 ? 0 : c - ahead; k <= c + behind && k < (int)a->x.c; ++k) through += lrn_through(a, p, k);
    own = at(&a->dy, p) * powf(at(&a->norm, p), -(float)a->d.beta);
    set_at(&a->dx, p, own - 2 * (float)a->d.alpha * (float)a->d.beta * at(&a->x, p) * through, a->add);
}

#define CELL_EPS 1e-4f

struct cell_args { struct view x, y, dy, dx; enum channel_norm kind; };

ELEMENT_FN float cell_term(enum channel_norm kind, float value, float most) {
    if (kind == CHANNEL_NORM_RELU) return value > 0 ? value : 0;
    return expf(value - most);
}

ELEMENT_FN float cell_sum(const struct cell_args *a, size_t cell, float *most) {
    uint32_t c;
    float sum = CELL_EPS;
    *most = 0;
    for (c = 0; c < a->x.c && a->kind == CHANNEL_NORM_MAXVAL; ++c)
        if (c == 0 || in_cell(&a->x, cell, c) > *most) *most = in_cell(&a->x, cell, c);
    for (c = 0; c < a->x.c; ++c) sum += cell_term(a->kind, in_cell(&a->x, cell, c), *most);
    return sum;
}

ELEMENT_FN void set_in_cell(const struct view *v, size_t cell, size_t c, float value) {
    store(v->data, v->type, cell_of(v, cell) + (ptrdiff_t)c * v->sc, value);
}

ELEMENT_FN void norm_channels_each(const struct cell_args *a, size_t cell) {
    float most, sum = cell_sum(a, cell, &most);
    uint32_t c;
    for (c = 0; c < a->x.c; ++c) set_in_cell(&a->y, cell, c, cell_term(a->kind, in_cell(&a->x, cell, c), most) / sum);
}

ELEMENT_FN void norm_channels_back_each(const struct cell_args *a, size_t cell) {
    float most, sum = cell_sum(a, cell, &most), dot = 0;
    uint32_t c, top = UINT32_MAX;
    for (c = 0; c < a->x.c; ++c) {
        dot += in_cell(&a->y, cell, c) * in_cell(&a->dy, cell, c);
        if (top == UINT32_MAX && a->kind == CHANNEL_NORM_MAXVAL && in_cell(&a->x, cell, c) == most) top = c;
    }
    for (c = 0; c < a->x.c; ++c) {
        float term = a->kind == CHANNEL_NORM_RELU ? (in_cell(&a->x, cell, c) > 0 ? 1.f : 0.f) : in_cell(&a->y, cell, c) * sum;
        float slope = term * (in_cell(&a->dy, cell, c) - dot) / sum;
        if (c == top) slope -= dot * CELL_EPS / sum;
        set_in_cell(&a->dx, cell, c, slope);
    }
}

struct excite_args { struct view x, map, y; float alpha; };
ELEMENT_FN void excite_each(const struct excite_args *a, size_t cell) {
    float sum = 0, more;
    uint32_t c;
    for (c = 0; c < a->x.c; ++c) sum += in_cell(&a->x, cell, c);
    more = a->alpha * in_cell(&a->map, cell, 0) * sum / (float)a->x.c;
    for (c = 0; c < a->x.c; ++c) set_in_cell(&a->y, cell, c, in_cell(&a->x, cell, c) + more);
}

struct coordinates_args { struct view y; bool zero; };
ELEMENT_FN void coordinates_each(const struct coordinates_args *a, size_t cell) {
    struct place p = place_of_cell(&a->y, cell);
    float value[3];
    value[0] = 2.f * (float)p.x / (float)a->y.w - 1;
    value[1] = 2.f * (float)p.y / (float)a->y.h - 1;
    value[2] = sqrtf(value[0] * value[0] + value[1] * value[1]);
    for (; p.c < 3 && p.c < a->y.c; ++p.c) set_at(&a->y, p, a->zero ? 0 : value[p.c], false);
}

#endif
