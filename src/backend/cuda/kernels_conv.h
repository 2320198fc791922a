/* Kernels of convolutions: order of weights, columns for matrix products, direct loops, local filters.
 *
 * The device keeps weights as (F, tap, C/groups), tap = ky*size + kx: neighbouring numbers meet neighbouring channels. */
#ifndef BACKEND_CUDA_KERNELS_CONV_H
#define BACKEND_CUDA_KERNELS_CONV_H

#include "backend/cuda/element.h"

/* i counts `to`, of the elements that the convolution multiplies; back: i counts dw in Darknet's order (F, C/groups, tap), to which
 * `from`, elements as they come, is added. */
struct order_args { const void *from; void *to; enum element type; uint32_t per_in, taps; };
ELEMENT_FN void order_each(const struct order_args *a, size_t i) {
    size_t rest, f;
    uint32_t c = split(i, a->per_in, &rest), tap = split(rest, a->taps, &f);
    store(a->to, a->type, (ptrdiff_t)i, ((const float *)a->from)[(f * a->per_in + c) * a->taps + tap]);
}
ELEMENT_FN void order_back_each(const struct order_args *a, size_t i) {
    size_t rest, f;
    uint32_t tap = split(i, a->taps, &rest), c = split(rest, a->per_in, &f);
    put((float *)a->to + i, load(a->from, a->type, (ptrdiff_t)((f * a->taps + tap) * a->per_in + c)), true);
}

/* What follows a convolution: y = act(conv + bias) + skip; conv may be y itself. */
struct finish_args { struct view conv, y, skip; const float *bias; enum activation act; };
ELEMENT_FN void finish_each(const struct finish_args *a, size_t i) {
    float value = element(&a->conv, i);
    if (a->bias) value += a->bias[channel_of(&a->y, i)];
    value = act_value(a->act, value);
    set_element(&a->y, i, a->skip.data ? value + element(&a->skip, i) : value, false);
}

struct conv_args {
    struct view x, y;      /* or their gradients */
    const float *w;        /* (F, tap, C/groups) */
    void *columns;         /* of elements of this type */
    enum element type;
    float *out;            /* dw in Darknet's order */
    uint32_t per_in, per_out, size;
    int stride_x, stride_y, dilation, pad;
    uint32_t first;        /* columns: the group's first input channel */
    bool add;
};

/* Input cell that output (oy, ox) meets through a tap; false outside the map. */
ELEMENT_FN bool conv_tap(const struct conv_args *a, struct place out, uint32_t tap, struct place *in) {
    int y = (int)out.y * a->stride_y - a->pad + (int)(tap / a->size) * a->dilation;
    int x = (int)out.x * a->stride_x - a->pad + (int)(tap % a->size) * a->dilation;
    in->n = out.n;
    in->c = 0;
    in->y = (uint32_t)y;
    in->x = (uint32_t)x;
    return y >= 0 && y < (int)a->x.h && x >= 0 && x < (int)a->x.w;
}

/* The output coordinate that meets input coordinate i through tap k, or -1. */
ELEMENT_FN int conv_output(const struct conv_args *a, uint32_t i, uint32_t k, int stride, uint32_t outputs) {
    int o = (int)i + a->pad - (int)k * a->dilation;
    return o >= 0 && o % stride == 0 && o / stride < (int)outputs ? o / stride : -1;
}

/* columns[cell][tap][c]; i counts it.  Cells are those of y. */
ELEMENT_FN void columns_each(const struct conv_args *a, size_t i) {
    size_t rest, cell;
    uint32_t c = split(i, a->per_in, &rest), tap = split(rest, a->size * a->size, &cell);
    struct place in;
    bool inside = conv_tap(a, place_of_cell(&a->y, cell), tap, &in);
    in.c = a->first + c;
    store(a->columns, a->type, (ptrdiff_t)i, inside ? at(&a->x, in) : 0);
}

/* x (+)= the columns' entries that came from it; i counts cells of x and channels of the group. */
ELEMENT_FN void columns_back_each(const struct conv_args *a, size_t i) {
    size_t cell;
    uint32_t c = split(i, a->per_in, &cell), ky, kx;
    struct place p = place_of_cell(&a->x, cell);
    float sum = 0;
    for (ky = 0; ky < a->size; ++ky) {
        int oy = conv_output(a, p.y, ky, a->stride_y, a->y.h);
        if (oy < 0) continue;
        for (kx = 0; kx < a->size; ++kx) {
            int ox = conv_output(a, p.x, kx, a->stride_x, a->y.w);
            size_t out = ((size_t)p.n * a->y.h + (size_t)oy) * a->y.w + (size_t)ox;
            if (ox >= 0) sum += load(a->columns, a->type, (ptrdiff_t)((out * a->size * a->size + ky * a->size + kx) * a->per_in + c));
        }
    }
    p.c = a->first + c;
    set_at(&a->x, p, sum, a->add);
}

/* --- Direct: a few channels per group, or memory that no matrix product takes -------------------------------------------- */

ELEMENT_FN void direct_each(const struct conv_args *a, size_t i) {
    struct place p = place_of(&a->y, i), in;
    uint32_t taps = a->size * a->size, first = p.c / a->per_out * a->per_in, tap, c;
    float sum = 0;
    for (tap = 0; tap < taps; ++tap) {
        const float *w = a->w + ((size_t)p.c * taps + tap) * a->per_in;
        ptrdiff_t from;
        if (!conv_tap(a, p, tap, &in)) continue;
        in.c = first;
        from = offset_of(&a->x, in);
        for (c = 0; c < a->per_in; ++c) sum += w[c] * load(a->x.data, a->x.type, from + (ptrdiff_t)c * a->x.sc);
    }
    set_at(&a->y, p, sum, false);
}

/* x is dx, y is dy. */
ELEMENT_FN void direct_back_each(const struct conv_args *a, size_t i) {
    struct place p = place_of(&a->x, i), o = p;
    uint32_t taps = a->size * a->size, first = p.c / a->per_in * a->per_out, own = p.c % a->per_in, ky, kx, f;
    float sum = 0;
    for (ky = 0; ky < a->size; ++ky) {
        int oy = conv_output(a, p.y, ky, a->stride_y, a->y.h);
        if (oy < 0) continue;
        for (kx = 0; kx < a->size; ++kx) {
            int ox = conv_output(a, p.x, kx, a->stride_x, a->y.w);
            if (ox < 0) continue;
            o.y = (uint32_t)oy, o.x = (uint32_t)ox;
            for (f = first; f < first + a->per_out; ++f) {
                o.c = f;
                sum += a->w[((size_t)f * taps + ky * a->size + kx) * a->per_in + own] * at(&a->y, o);
            }
        }
    }
    set_at(&a->x, p, sum, a->add);
}

/* A column per weight, filters innermost; a row per output cell.  y is dy. */
ELEMENT_FN void direct_slopes_term(const struct conv_args *a, size_t column, size_t row, float *t) {
    size_t rest, tap;
    uint32_t f = split(column, a->y.c, &rest), c = split(rest, a->per_in, &tap);
    struct place p = place_of_cell(&a->y, row), in;
    bool inside = conv_tap(a, p, (uint32_t)tap, &in);
    p.c = f, in.c = f / a->per_out * a->per_in + c;
    t[0] = inside ? at(&a->x, in) * at(&a->y, p) : 0;
}
ELEMENT_FN void direct_slopes_finish(const struct conv_args *a, size_t column, const double *sum) {
    size_t rest, tap;
    uint32_t f = split(column, a->y.c, &rest), c = split(rest, a->per_in, &tap);
    put(&a->out[((size_t)f * a->per_in + c) * a->size * a->size + tap], (float)sum[0], true);
}

/* --- Filters of their own at every place: w (OH*OW, F, C*size*size) ---------------------------------------------------- */

struct local_args { struct view x, y; struct local_desc d; const float *w, *bias; float *dw, *db; bool add; };

/* Offset of the filter of output p, channel f. */
ELEMENT_FN size_t local_filter(const struct local_args *a, uint32_t y, uint32_t x, uint32_t f) {
    size_t taps = (size_t)a->x.c * (size_t)(a->d.size * a->d.size);
    return (((size_t)y * a->y.w + x) * a->y.c + f) * taps;
}

ELEMENT_FN bool local_tap(const struct local_args *a, struct place out, uint32_t k, struct place *in) {
    uint32_t size = (uint32_t)a->d.size;
    int y = (int)out.y * a->d.stride - a->d.pad + (int)(k / size % size);
    int x = (int)out.x * a->d.stride - a->d.pad + (int)(k % size);
    in->n = out.n;
    in->c = k / (size * size);
    in->y = (uint32_t)y;
    in->x = (uint32_t)x;
    return y >= 0 && y < (int)a->x.h && x >= 0 && x < (int)a->x.w;
}

ELEMENT_FN void local_each(const struct local_args *a, size_t i) {
    struct place p = place_of(&a->y, i), in;
    const float *w = a->w + local_filter(a, p.y, p.x, p.c);
    uint32_t k, taps = a->x.c * (uint32_t)(a->d.size * a->d.size);
    float sum = a->bias[(p.c * a->y.h + p.y) * a->y.w + p.x];
    for (k = 0; k < taps; ++k)
        if (local_tap(a, p, k, &in)) sum += w[k] * at(&a->x, in);
    set_at(&a->y, p, sum, false);
}

/* x is dx, y is dy. */
ELEMENT_FN void local_back_each(const struct local_args *a, size_t i) {
    struct place p = place_of(&a->x, i), o = p;
    int size = a->d.size, ky, kx;
    float sum = 0;
    for (ky = 0; ky < size; ++ky) {
        int y = (int)p.y + a->d.pad - ky;
        if (y < 0 || y % a->d.stride || y / a->d.stride >= (int)a->y.h) continue;
        for (kx = 0; kx < size; ++kx) {
            int x = (int)p.x + a->d.pad - kx;
            if (x < 0 || x % a->d.stride || x / a->d.stride >= (int)a->y.w) continue;
            o.y = (uint32_t)(y / a->d.stride), o.x = (uint32_t)(x / a->d.stride);
            for (o.c = 0; o.c < a->y.c; ++o.c)
                sum += a->w[local_filter(a, o.y, o.x, o.c) + (p.c * (uint32_t)size + (uint32_t)ky) * (uint32_t)size + (uint32_t)kx] *
                       at(&a->y, o);
        }
    }
    set_at(&a->x, p, sum, a->add);
}

/* i counts weights. */
ELEMENT_FN void local_slopes_each(const struct local_args *a, size_t i) {
    uint32_t taps = a->x.c * (uint32_t)(a->d.size * a->d.size);
    size_t filter, place;
    uint32_t k = split(i, taps, &filter), f = split(filter, a->y.c, &place);
    struct place p, in;
    float sum = 0;
    p.y = (uint32_t)place / a->y.w, p.x = (uint32_t)place % a->y.w, p.c = f;
    for (p.n = 0; p.n < a->y.n; ++p.n)
        if (local_tap(a, p, k, &in)) sum += at(&a->x, in) * at(&a->y, p);
    a->dw[i] += sum;
}
/* i counts biases (F, OH, OW). */
ELEMENT_FN void local_bias_each(const struct local_args *a, size_t i) {
    struct place p = place_of_planar(&a->y, i);
    float sum = 0;
    for (p.n = 0; p.n < a->y.n; ++p.n) sum += at(&a->y, p);
    a->db[i] += sum;
}

#endif
