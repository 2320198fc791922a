/* Convolution forward with operands narrower than float, where the CPU multiplies several of them at once: bf16 (pairs, sums in
 * float, AVX512_BF16) and 8 bits (fours, sums in 32-bit integers, AVX512_VNNI).  Maps stay float in memory: a band of input that
 * fits the second-level cache is narrowed on its way, with its padding; bias, activation and a sum with another map follow in
 * registers or the first-level cache.
 *
 * int8: x of channel c becomes q = round(x/step_c) + zero_c, 0..255, weights of filter f become round(w*step_c/unit_f), -127..127;
 * so a channel's own range costs nothing: its step has moved into the weights (Nagel et al. 2019, arXiv 1906.04721, balance the
 * same quantity between layers). */
#ifndef BACKEND_CPU_NARROW_H
#define BACKEND_CPU_NARROW_H

#include "backend/backend.h"

/* groups = 1 and dilation = 1; made by narrow_new. */
struct narrow {
    struct conv_desc desc;
    uint32_t *weights;            /* per panel of filters: rows ky, kx, word of input channels; 16 words beside each other */
    float *unit, *offset;         /* per filter: what a sum counts, and what the zeros of x add to it */
    float *factor, *zero;         /* per input channel: 1/step_c and zero_c; whole vectors */
    uint32_t *pad;                /* a pixel beyond the border */
};

struct narrow_ops {
    size_t (*weights_size)(const struct conv_desc *);              /* words */
    size_t (*scratch_size)(const struct conv_desc *, int threads); /* words */
    void (*pack)(struct narrow *, const float *w);                 /* w in Darknet's order */
    /* y = act(conv(x) + bias) + skip; bias and skip may be NULL.  Tensors of any strides that rows_of() accepts. */
    void (*forward)(const struct narrow *, int threads, uint32_t *scratch, const struct tensor *x, const float *bias,
                    const struct tensor *skip, struct tensor *y);
};

bool narrow_new(struct backend *, struct ctx *, const struct narrow_ops *, struct narrow *, const struct conv_desc *, bool steps); /* steps: int8's, from desc.range; false: no memory */
void narrow_free(struct backend *, struct narrow *);

/* NULL: this build has none.  Whether the CPU has the instructions is for the caller to ask. */
const struct narrow_ops *narrow_bf16(void);
const struct narrow_ops *narrow_int8(void);

#endif
