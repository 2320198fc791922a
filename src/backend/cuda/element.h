/* How the CUDA backend's kernels are written: once, in the subset that C11 and CUDA C++ share, so that the tests run them on
 * the host, under sanitizers, where no device is at hand.
 *
 * There are two kinds.  EACH: a function NAME_each(args, i) for every i below n; no two i write one place.  COLUMNS:
 * NAME_term(args, column, row, t) gives K terms, which are summed over the rows of each column in a fixed order, and
 * NAME_finish(args, column, sum) takes the sums; neighbouring columns should lie side by side in memory.  gpu/device.cu runs
 * them on a device, host.c in loops. */
#ifndef BACKEND_CUDA_ELEMENT_H
#define BACKEND_CUDA_ELEMENT_H

#include <float.h>
#include <math.h>
#include <string.h>

#include "backend/backend.h"
#include "backend/hash.h"
#include "base/element_fn.h"

/* --- Elements of 16 bits, rounded to nearest, ties to even; beyond the largest one they are infinite ---------------------- */

ELEMENT_FN uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
ELEMENT_FN float of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

#ifdef __CUDA_ARCH__ /* one instruction each */
ELEMENT_FN uint16_t half_of(float x) {
    uint16_t h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
    return h;
}
ELEMENT_FN float of_half(uint16_t h) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h));
    return x;
}
#else
ELEMENT_FN uint16_t half_of(float x) {
    uint32_t bits = bits_of(x), sign = bits >> 16 & 0x8000;
    bits &= 0x7fffffff;
    if (bits > 0x7f800000) return (uint16_t)(sign | 0x7e00);
    if (bits >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* 65520 and more */
    if (bits >= 0x38800000) return (uint16_t)(sign | (bits - 0x38000000 + 0xfff + (bits >> 13 & 1)) >> 13);
    return (uint16_t)(sign | (bits_of(of_bits(bits) + .5f) - 0x3f000000)); /* the last bit of .5 is the smallest half */
}
ELEMENT_FN float of_half(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = h & 0x7fff;
    if (rest < 0x400) return of_bits(sign | bits_of((float)rest * 5.9604644775390625e-8f));
    return of_bits(sign | (rest >= 0x7c00 ? 0x7f800000 | (rest & 0x3ff) << 13 : (rest << 13) + 0x38000000));
}
#endif
ELEMENT_FN uint16_t brain_of(float x) {
    uint32_t bits = bits_of(x);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
ELEMENT_FN float of_brain(uint16_t b) { return of_bits((uint32_t)b << 16); }

/* Number i of an array of such elements. */
ELEMENT_FN float load(const void *from, enum element type, ptrdiff_t i) {
    if (type == ELEMENT_REAL) return ((const float *)from)[i];
    return type == ELEMENT_BRAIN ? of_brain(((const uint16_t *)from)[i]) : of_half(((const uint16_t *)from)[i]);
}
ELEMENT_FN void store(void *to, enum element type, ptrdiff_t i, float value) {
    if (type == ELEMENT_REAL) ((float *)to)[i] = value;
    else ((uint16_t *)to)[i] = type == ELEMENT_BRAIN ? brain_of(value) : half_of(value);
}

ELEMENT_FN void put(float *target, float value, bool add) { *target = add ? *target + value : value; }

/* --- Maps: every kernel reads and writes their elements through `load` and `store`, and computes in float ------------------ */

/* How element i, counted channels-last through n, h, w, c, is found. */
enum view_kind {
    VIEW_FLAT, /* data[i] */
    VIEW_ROWS, /* cells a fixed step apart, channels side by side */
    VIEW_ANY   /* by all four strides */
};
struct view {
    void *data;
    enum element type;
    enum view_kind kind;
    uint32_t n, c, h, w;
    ptrdiff_t sn, sc, sh, sw; /* in elements */
};

struct place { uint32_t n, c, y, x; };

/* i = *quotient * d + rest.  64-bit divisions are slow on a device and hardly ever needed. */
ELEMENT_FN uint32_t split(size_t i, uint32_t d, size_t *quotient) {
    if (i <= UINT32_MAX) {
        *quotient = (uint32_t)i / d;
        return (uint32_t)i % d;
    }
    *quotient = i / d;
    return (uint32_t)(i % d);
}

ELEMENT_FN ptrdiff_t offset_of(const struct view *v, struct place p) {
    return (ptrdiff_t)p.n * v->sn + (ptrdiff_t)p.c * v->sc + (ptrdiff_t)p.y * v->sh + (ptrdiff_t)p.x * v->sw;
}
ELEMENT_FN float at(const struct view *v, struct place p) { return load(v->data, v->type, offset_of(v, p)); }
ELEMENT_FN float at4(const struct view *v, uint32_t n, uint32_t c, uint32_t y, uint32_t x) {
    struct place p;
    p.n = n, p.c = c, p.y = y, p.x = x;
    return at(v, p);
}
ELEMENT_FN void set_offset(const struct view *v, ptrdiff_t i, float value, bool add) {
    store(v->data, v->type, i, add ? load(v->data, v->type, i) + value : value);
}
ELEMENT_FN void set_at(const struct view *v, struct place p, float value, bool add) { set_offset(v, offset_of(v, p), value, add); }

/* Cell number `cell`, counted through n, h, w. */
ELEMENT_FN struct place place_of_cell(const struct view *v, size_t cell) {
    struct place p;
    size_t row, image;
    p.c = 0;
    p.x = split(cell, v->w, &row);
    p.y = split(row, v->h, &image);
    p.n = (uint32_t)image;
    return p;
}

ELEMENT_FN struct place place_of(const struct view *v, size_t i) {
    size_t cell;
    uint32_t c = split(i, v->c, &cell);
    struct place p = place_of_cell(v, cell);
    p.c = c;
    return p;
}

/* Element number i in Darknet's order n, c, h, w. */
ELEMENT_FN struct place place_of_planar(const struct view *v, size_t i) {
    struct place p;
    size_t row, plane, image;
    p.x = split(i, v->w, &row);
    p.y = split(row, v->h, &plane);
    p.c = split(plane, v->c, &image);
    p.n = (uint32_t)image;
    return p;
}

/* Where channel 0 of a cell is. */
ELEMENT_FN ptrdiff_t cell_of(const struct view *v, size_t cell) {
    return v->kind == VIEW_ANY ? offset_of(v, place_of_cell(v, cell)) : (ptrdiff_t)cell * v->sw;
}
/* Channel c of a cell. */
ELEMENT_FN float in_cell(const struct view *v, size_t cell, size_t c) {
    return load(v->data, v->type, cell_of(v, cell) + (ptrdiff_t)c * v->sc);
}

ELEMENT_FN ptrdiff_t element_offset(const struct view *v, size_t i) {
    size_t cell;
    uint32_t c;
    if (v->kind == VIEW_FLAT) return (ptrdiff_t)i;
    c = split(i, v->c, &cell);
    return cell_of(v, cell) + (ptrdiff_t)c * v->sc;
}
ELEMENT_FN float element(const struct view *v, size_t i) { return load(v->data, v->type, element_offset(v, i)); }
ELEMENT_FN void set_element(const struct view *v, size_t i, float value, bool add) { set_offset(v, element_offset(v, i), value, add); }

ELEMENT_FN uint32_t channel_of(const struct view *v, size_t i) {
    size_t cell;
    return split(i, v->c, &cell);
}

/* --- Activations, as activation.c defines them, in float -------------------------------------------------------------- */

ELEMENT_FN float logistic(float x) { return 1 / (1 + expf(-x)); }

ELEMENT_FN float mish_gate(float x) {
    float e, n;
    if (x > 20) return 1;
    e = expf(x), n = e * (e + 2);
    return n / (n + 2);
}

ELEMENT_FN float stairs(float x) {
    float whole = floorf(x), half = floorf(x / 2);
    return fmodf(whole, 2) == 0 ? half : x - whole + half;
}

ELEMENT_FN float gelu_tanh(float x) { return tanhf(.797885f * x + .035677f * x * x * x); }

ELEMENT_FN float act_value(enum activation a, float x) {
    switch (a) {
    case ACT_LOGISTIC: return logistic(x);
    case ACT_LOGGY: return 2 * logistic(x) - 1;
    case ACT_RELU: return x < 0 ? 0 : x;
    case ACT_RELU6: return x < 0 ? 0 : x > 6 ? 6 : x;
    case ACT_RELIE: return x > 0 ? x : .01f * x;
    case ACT_RAMP: return x > 0 ? x + .1f * x : .1f * x;
    case ACT_TANH: return tanhf(x);
    case ACT_PLSE: return x < -4 ? .01f * (x + 4) : x > 4 ? .01f * (x - 4) + 1 : .125f * x + .5f;
    case ACT_REVLEAKY:
    case ACT_LEAKY: return x > 0 ? x : .1f * x;
    case ACT_ELU: return x >= 0 ? x : expm1f(x);
    case ACT_SELU: return x >= 0 ? 1.0507f * x : 1.0507f * 1.6732f * expm1f(x);
    case ACT_GELU: return .5f * x * (1 + gelu_tanh(x));
    case ACT_STAIR: return stairs(x);
    case ACT_HARDTAN: return x < -1 ? -1 : x > 1 ? 1 : x;
    case ACT_LHTAN: return x < 0 ? .001f * x : x > 1 ? .001f * (x - 1) + 1 : x;
    case ACT_SWISH: return x * logistic(x);
    case ACT_MISH: return x * mish_gate(x);
    case ACT_HARD_MISH: return x < -2 ? 0 : x > 0 ? x : x * x / 2 + x;
    case ACT_LINEAR:
    case ACT_COUNT: break;
    }
    return x;
}

ELEMENT_FN float act_slope(enum activation a, float x, float y) {
    float t;
    switch (a) {
    case ACT_LOGISTIC: return y * (1 - y);
    case ACT_LOGGY: return (1 - y * y) / 2;
    case ACT_RELU: return y > 0 ? 1.f : 0.f;
    case ACT_RELU6: return y > 0 && y < 6 ? 1.f : 0.f;
    case ACT_RELIE: return y > 0 ? 1 : .01f;
    case ACT_RAMP: return y > 0 ? 1.1f : .1f;
    case ACT_TANH: return 1 - y * y;
    case ACT_PLSE: return y < 0 || y > 1 ? .01f : .125f;
    case ACT_REVLEAKY:
    case ACT_LEAKY: return y > 0 ? 1 : .1f;
    case ACT_ELU: return y >= 0 ? 1 : y + 1;
    case ACT_SELU: return y >= 0 ? 1.0507f : y + 1.0507f * 1.6732f;
    case ACT_GELU:
        t = gelu_tanh(x);
        return .5f * (1 + t) + .5f * x * (1 - t * t) * (.797885f + 3 * .035677f * x * x);
    case ACT_STAIR: return fmodf(floorf(x), 2) == 0 ? 0.f : 1.f;
    case ACT_HARDTAN: return y > -1 && y < 1 ? 1.f : 0.f;
    case ACT_LHTAN: return y > 0 && y < 1 ? 1 : .001f;
    case ACT_SWISH: return y + logistic(x) * (1 - y);
    case ACT_MISH:
        t = mish_gate(x);
        return t + x * (1 - t * t) * logistic(x);
    case ACT_HARD_MISH: return x > 0 ? 1 : x > -2 ? x + 1 : 0;
    case ACT_LINEAR:
    case ACT_COUNT: break;
    }
    return 1;
}

#endif
