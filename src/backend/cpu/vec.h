/* Vectors of the instruction set that a kernel file is compiled for, and the shape of its matrix products: ROWS rows by a panel of
 * two vectors of columns, all sums in registers. */
#ifndef BACKEND_CPU_VEC_H
#define BACKEND_CPU_VEC_H

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#include "backend/cpu/math.h"

#if defined(__AVX512F__)
enum { WIDTH = 16, ROWS = 12 };
#elif defined(__AVX2__)
enum { WIDTH = 8, ROWS = 6 };
#elif defined(__aarch64__) /* 32 registers of 4: NEON, by the compiler's own vectors */
enum { WIDTH = 4, ROWS = 12 };
#else
enum { WIDTH = 4, ROWS = 6 };
#endif
enum { PANEL = 2 * WIDTH };

typedef float vec __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef int mask __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));

ALWAYS_INLINE vec load(const float *p) { return *(const vec *)p; }
ALWAYS_INLINE void store(float *p, vec v) { *(vec *)p = v; }

/* between(): the value held within two limits; no number stays no number.  larger(): v where v > than, else `than`. */
#if defined(__AVX512F__)
ALWAYS_INLINE __mmask16 lanes(ptrdiff_t n) { return (__mmask16)((1u << n) - 1); }
ALWAYS_INLINE vec load_lanes(const float *p, ptrdiff_t n) { return (vec)_mm512_maskz_loadu_ps(lanes(n), p); }
ALWAYS_INLINE void store_lanes(float *p, vec v, ptrdiff_t n) { _mm512_mask_storeu_ps(p, lanes(n), (__m512)v); }
ALWAYS_INLINE vec between(float low, vec v, float high) {
    return (vec)_mm512_min_ps(_mm512_set1_ps(high), _mm512_max_ps(_mm512_set1_ps(low), (__m512)v));
}
ALWAYS_INLINE vec larger(vec v, vec than) { return (vec)_mm512_max_ps((__m512)v, (__m512)than); }
#elif defined(__AVX2__)
ALWAYS_INLINE __m256i lanes(ptrdiff_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
ALWAYS_INLINE vec load_lanes(const float *p, ptrdiff_t n) { return (vec)_mm256_maskload_ps(p, lanes(n)); }
ALWAYS_INLINE void store_lanes(float *p, vec v, ptrdiff_t n) { _mm256_maskstore_ps(p, lanes(n), (__m256)v); }
ALWAYS_INLINE vec between(float low, vec v, float high) {
    return (vec)_mm256_min_ps(_mm256_set1_ps(high), _mm256_max_ps(_mm256_set1_ps(low), (__m256)v));
}
ALWAYS_INLINE vec larger(vec v, vec than) { return (vec)_mm256_max_ps((__m256)v, (__m256)than); }
#else
ALWAYS_INLINE vec load_lanes(const float *p, ptrdiff_t n) {
    vec v = {0};
    memcpy(&v, p, (size_t)n * sizeof *p);
    return v;
}
ALWAYS_INLINE void store_lanes(float *p, vec v, ptrdiff_t n) { memcpy(p, &v, (size_t)n * sizeof *p); }
ALWAYS_INLINE vec between(float low, vec v, float high) {
    mask below = v < low, above = v > high, rest = ~(below | above);
    vec least = (vec){0} + low, most = (vec){0} + high;
    return (vec)(((mask)v & rest) | ((mask)least & below) | ((mask)most & above));
}
ALWAYS_INLINE vec larger(vec v, vec than) {
    mask more = v > than;
    return (vec)(((mask)v & more) | ((mask)than & ~more));
}
#endif

/* Half vectors, for the ends of panels, where they take half the time of whole ones: sums of which the second half means nothing. */
#if defined(__AVX512F__)
enum { HALF = WIDTH / 2 };
ALWAYS_INLINE vec load_half(const float *p) { return (vec)_mm512_castps256_ps512(_mm256_loadu_ps(p)); }
ALWAYS_INLINE vec add_half(vec sum, float x, vec w) {
    __m256 s = _mm512_castps512_ps256((__m512)sum), v = _mm512_castps512_ps256((__m512)w);
    return (vec)_mm512_castps256_ps512(_mm256_fmadd_ps(_mm256_set1_ps(x), v, s));
}
#else
enum { HALF = 0 }; /* none */
ALWAYS_INLINE vec load_half(const float *p) { return load(p); }
ALWAYS_INLINE vec add_half(vec sum, float x, vec w) { return sum + x * w; }
#endif

/* The first n channels of a vector. */
ALWAYS_INLINE vec load_some(const float *p, ptrdiff_t n) { return n >= WIDTH ? load(p) : load_lanes(p, n); }

/* All zero where there is no pixel. */
ALWAYS_INLINE vec load_pixel(const float *p, ptrdiff_t n) {
    vec none = {0};
    return p ? load_some(p, n) : none;
}

ALWAYS_INLINE void store_some(float *p, vec v, ptrdiff_t n) {
    if (n >= WIDTH) store(p, v);
    else store_lanes(p, v, n);
}

#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (mask){ __VA_ARGS__ })
#endif
#define DEAL4(i, w) i, i + w, i + 1, i + 1 + w
#define DEAL8(i, w) DEAL4(i, w), DEAL4(i + 2, w)
#define DEAL16(i, w) DEAL8(i, w), DEAL8(i + 4, w)

/* Half a vector's lanes of a and b in turn, from lane `from` on. */
#if defined(__AVX512F__)
#define DEAL(a, b, from) SHUFFLE(a, b, DEAL16(from, 16))
#elif defined(__AVX2__)
#define DEAL(a, b, from) SHUFFLE(a, b, DEAL8(from, 8))
#else
#define DEAL(a, b, from) SHUFFLE(a, b, DEAL4(from, 4))
#endif

/* Lane i of row k becomes lane k of row i: as a pack of cards that is dealt out in halves, lane by lane. */
ALWAYS_INLINE void transpose(vec row[WIDTH]) {
    vec next[WIDTH];
    for (int round = 1; round < WIDTH; round *= 2) {
#pragma GCC unroll 16
        for (int i = 0; i < WIDTH / 2; ++i) {
            next[2 * i] = DEAL(row[i], row[i + WIDTH / 2], 0);
            next[2 * i + 1] = DEAL(row[i], row[i + WIDTH / 2], WIDTH / 2);
        }
#pragma GCC unroll 16
        for (int i = 0; i < WIDTH; ++i) row[i] = next[i];
    }
}

/* negative where v < 0, v elsewhere. */
ALWAYS_INLINE vec choose(vec v, vec negative) {
    mask m = v < 0;
    return (vec)(((mask)v & ~m) | ((mask)negative & m));
}

/* exp_within of math.h on vectors: compilers do not turn every loop over its lanes into vectors. */
ALWAYS_INLINE vec exp_vec(vec x) {
    vec shifted = x * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f, r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    return (vec)((mask)EXP_SERIES(r) + ((mask)shifted << 23));
}

ALWAYS_INLINE vec activate(enum activation a, vec v) {
    if (a == ACT_LINEAR) return v;
    if (a == ACT_LEAKY || a == ACT_REVLEAKY) return choose(v, .1f * v);
    if (a == ACT_RELU) return choose(v, 0 * v);
    if (a == ACT_LOGISTIC) return 1.0f / (1.0f + exp_vec(between(-87, -v, 88)));
    if (a == ACT_SWISH) return v / (1.0f + exp_vec(between(-87, -v, 88)));
    if (a == ACT_MISH) {
        vec e = exp_vec(between(-87, v, 20)), n = e * (e + 2.0f);
        return v * n / (n + 2.0f);
    }
    float lane[WIDTH];
    store(lane, v);
    for (int i = 0; i < WIDTH; ++i) lane[i] = value_f(a, lane[i]);
    return load(lane);
}

ALWAYS_INLINE ptrdiff_t round_up(ptrdiff_t n, ptrdiff_t to) { return (n + to - 1) / to * to; }

/* Panels are PANEL columns wide; what is left at the end of a matrix may be half of one. */
ALWAYS_INLINE ptrdiff_t panel_width(ptrdiff_t columns, ptrdiff_t first) { return columns - first > WIDTH ? PANEL : WIDTH; }

#endif
