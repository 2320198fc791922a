#include "backend/cpu/narrow.h"

#ifdef __AVX512VNNI__

#include <math.h>

#include "backend/cpu/vec.h"

enum { CHANNELS = 4, SCALED = 1 };
typedef __m512i acc;

ALWAYS_INLINE acc dot(acc sum, __m512i a, __m512i w) { return _mm512_dpbusd_epi32(sum, a, w); }
ALWAYS_INLINE vec value(acc sum) { return (vec)_mm512_cvtepi32_ps(sum); }

static void narrow_row(const struct narrow *narrow, const float *from, ptrdiff_t pixels, ptrdiff_t step, uint32_t *to) {
    ptrdiff_t c = narrow->desc.x.c, k = (c + 3) / 4;
    for (ptrdiff_t i = 0; i < pixels; ++i, from += step, to += k)
        for (ptrdiff_t at = 0; at < c; at += WIDTH) {
            vec v = load_some(from + at, c - at) * load(narrow->factor + at) + load(narrow->zero + at);
            __m512 least = _mm512_min_ps((__m512)v, _mm512_set1_ps(255)); /* what is no int would become the lowest one */
            __m512i q = _mm512_max_epi32(_mm512_cvtps_epi32(least), _mm512_setzero_si512());
            __m128i bytes = _mm512_cvtusepi32_epi8(q);
            if (c - at >= WIDTH) _mm_storeu_si128((__m128i *)(void *)(to + at / 4), bytes);
            else _mm_mask_storeu_epi32(to + at / 4, (__mmask8)((1u << (c - at + 3) / 4) - 1), bytes);
        }
}

static uint32_t narrow_weight(const struct narrow *narrow, float value, ptrdiff_t f, ptrdiff_t c) {
    float unit = narrow->unit[f];
    return unit > 0 ? (uint32_t)(uint8_t)(int8_t)lrintf(value / (narrow->factor[c] * unit)) : 0;
}

#include "backend/cpu/narrow.inc"

/* The largest weight of each filter becomes 127. */
static void pack(struct narrow *narrow, const float *w) {
    const struct conv_desc *d = &narrow->desc;
    ptrdiff_t in = d->x.c, cells = (ptrdiff_t)d->size * d->size;
    for (ptrdiff_t f = 0; f < d->y.c; ++f) {
        const float *at = w + f * in * cells;
        float most = 0;
        for (ptrdiff_t c = 0; c < in; ++c)
            for (ptrdiff_t t = 0; t < cells; ++t) most = fmaxf(most, fabsf(at[c * cells + t] / narrow->factor[c]));
        narrow->unit[f] = most / 127;
        double sum = 0;
        for (ptrdiff_t c = 0; c < in; ++c)
            for (ptrdiff_t t = 0; t < cells; ++t) sum += (double)(int8_t)narrow_weight(narrow, at[c * cells + t], f, c) * (double)narrow->zero[c];
        narrow->offset[f] = (float)(-(double)narrow->unit[f] * sum);
    }
    pack_words(narrow, w);
}

static const struct narrow_ops ops = { weights_size, scratch_size, pack, forward };
const struct narrow_ops *narrow_int8(void) { return &ops; }

#else

const struct narrow_ops *narrow_int8(void) { return NULL; }

#endif
