#include "backend/cpu/narrow.h"

#ifdef __AVX512BF16__

#include "backend/cpu/vec.h"

enum { CHANNELS = 2, SCALED = 0 };
typedef __m512 acc;

ALWAYS_INLINE acc dot(acc sum, __m512i a, __m512i w) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)w); }
ALWAYS_INLINE vec value(acc sum) { return (vec)sum; }

static void narrow_row(const struct narrow *narrow, const float *from, ptrdiff_t pixels, ptrdiff_t step, uint32_t *to) {
    ptrdiff_t c = narrow->desc.x.c, k = (c + 1) / 2;
    for (ptrdiff_t i = 0; i < pixels; ++i, from += step, to += k)
        for (ptrdiff_t at = 0; at < c; at += WIDTH) {
            __m256i pairs = (__m256i)_mm512_cvtneps_pbh((__m512)load_some(from + at, c - at));
            if (c - at >= WIDTH) _mm256_storeu_si256((__m256i *)(void *)(to + at / 2), pairs);
            else _mm256_mask_storeu_epi32(to + at / 2, (__mmask8)((1u << (c - at + 1) / 2) - 1), pairs);
        }
}

/* Nearest, ties to even. */
static uint32_t narrow_weight(const struct narrow *narrow, float value, ptrdiff_t f, ptrdiff_t c) {
    union { float f; uint32_t u; } v = { value };
    (void)narrow, (void)f, (void)c;
    return (v.u + 0x7fff + (v.u >> 16 & 1)) >> 16;
}

#include "backend/cpu/narrow.inc"

static void pack(struct narrow *narrow, const float *w) { pack_words(narrow, w); }

static const struct narrow_ops ops = { weights_size, scratch_size, pack, forward };
const struct narrow_ops *narrow_bf16(void) { return &ops; }

#else

const struct narrow_ops *narrow_bf16(void) { return NULL; }

#endif
