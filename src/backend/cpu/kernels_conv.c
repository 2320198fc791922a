/* Direct convolution, channels-last.  The activation is the caller's. */
#include "backend/cpu/kernels.h"

/* Channels of the inner loop, and pixels that share one reading of the weights. */
enum { BLOCK = 16, PIXELS = 4 };

static bool depthwise(const struct conv_desc *d) {
    return d->groups > 1 && d->groups == d->x.c && d->groups == d->y.c;
}

static ptrdiff_t per_in(const struct conv_desc *d) {
    return d->x.c / d->groups;
}

static ptrdiff_t per_out(const struct conv_desc *d) {
    return d->y.c / d->groups;
}

/* Position of weight (filter, c, tap) in the two packed orders. */
static ptrdiff_t forward_at(const struct conv_desc *d, ptrdiff_t filter, ptrdiff_t c, ptrdiff_t tap) {
    if (depthwise(d)) return tap * d->groups + filter;
    ptrdiff_t in = per_in(d), out = per_out(d), taps = (ptrdiff_t)d->size * d->size;
    return ((filter / out * taps + tap) * in + c) * out + filter % out;
}

static ptrdiff_t backward_at(const struct conv_desc *d, ptrdiff_t filter, ptrdiff_t c, ptrdiff_t tap) {
    if (depthwise(d)) return tap * d->groups + filter;
    ptrdiff_t in = per_in(d), out = per_out(d), taps = (ptrdiff_t)d->size * d->size;
    return ((filter / out * taps + tap) * out + filter % out) * in + c;
}

static void pack(struct plain_conv *conv, const float *w) {
    const struct conv_desc *d = &conv->desc;
    ptrdiff_t in = per_in(d), taps = (ptrdiff_t)d->size * d->size;
    for (ptrdiff_t f = 0; f < d->y.c; ++f) {
        for (ptrdiff_t i = 0; i < in * taps; ++i) {
            float value = w[f * in * taps + i];
            conv->forward[forward_at(d, f, i / taps, i % taps)] = value;
            if (conv->backward) conv->backward[backward_at(d, f, i / taps, i % taps)] = value;
        }
    }
}

/* acc[p][o] += sum over i of x[p][i]*w[i][o] for PIXELS rows of `in` channels and one block of `n` outputs. */
ALWAYS_INLINE void multiply(const float *const x[PIXELS], ptrdiff_t in, const float *w, ptrdiff_t wide, ptrdiff_t n,
                            float acc[PIXELS][BLOCK]) {
    for (ptrdiff_t i = 0; i < in; ++i) {
        const float *row = w + i * wide;
        for (int p = 0; p < PIXELS; ++p) {
            float value = x[p][i];
            for (ptrdiff_t o = 0; o < n; ++o) acc[p][o] += value * row[o];
        }
    }
}

/* One tap for pixels that may lie outside: those have a NULL row and are left out. */
static void add_tap(const float *x[PIXELS], ptrdiff_t in, const float *w, ptrdiff_t wide, ptrdiff_t n,
                    float acc[PIXELS][BLOCK]) {
    if (x[0] && x[1] && x[2] && x[3]) {
        if (n == BLOCK) multiply(x, in, w, wide, BLOCK, acc);
        else multiply(x, in, w, wide, n, acc);
        return;
    }
    for (int p = 0; p < PIXELS; ++p)
        for (ptrdiff_t i = 0; x[p] && i < in; ++i)
            for (ptrdiff_t o = 0; o < n; ++o) acc[p][o] += x[p][i] * w[i * wide + o];
}

/* Input row or column that output o reads through tap k. */
static int input_of(const struct conv_desc *d, int o, int k, int stride) {
    return o * stride - d->pad + k * d->dilation;
}

/* Output row or column that reads input i through tap k, or -1. */
static int output_of(const struct conv_desc *d, int i, int k, int stride, int outputs) {
    int o = i + d->pad - k * d->dilation;
    return o >= 0 && o % stride == 0 && o / stride < outputs ? o / stride : -1;
}

/* The map that a pass reads, and where: forward reads x for pixels of y, backward reads dy for pixels of dx. */
struct pass {
    const struct conv_desc *desc;
    const struct tensor *from, *to;
    const float *weights;
    ptrdiff_t in, out; /* channels per group of `from` and `to` */
    bool back;
};

static int source_of(const struct pass *s, int i, int k, int stride, int size) {
    int at = s->back ? output_of(s->desc, i, k, stride, size) : input_of(s->desc, i, k, stride);
    return at < size ? at : -1;
}

/* PIXELS pixels from x0 on of one row, one group, one block of channels from o0 on. */
static void accumulate(const struct pass *s, int n, int y, int x0, ptrdiff_t g, ptrdiff_t o0, ptrdiff_t width,
                       float acc[PIXELS][BLOCK]) {
    const struct conv_desc *d = s->desc;
    for (int ky = 0; ky < d->size; ++ky) {
        int iy = source_of(s, y, ky, d->stride_y, s->from->h);
        if (iy < 0) continue;
        for (int kx = 0; kx < d->size; ++kx) {
            const float *rows[PIXELS];
            for (int p = 0; p < PIXELS; ++p) {
                int ix = x0 + p < s->to->w ? source_of(s, x0 + p, kx, d->stride_x, s->from->w) : -1;
                rows[p] = ix < 0 ? NULL : pixel(s->from, n, iy, ix) + g * s->in;
            }
            const float *w = s->weights + (g * d->size * d->size + ky * d->size + kx) * s->in * s->out + o0;
            add_tap(rows, s->in, w, s->out, width, acc);
        }
    }
}

static void pass_row(const struct pass *s, int n, int y, const float *bias, bool add) {
    for (ptrdiff_t g = 0; g < s->desc->groups; ++g) {
        for (ptrdiff_t o0 = 0; o0 < s->out; o0 += BLOCK) {
            ptrdiff_t width = s->out - o0 < BLOCK ? s->out - o0 : BLOCK;
            for (int x0 = 0; x0 < s->to->w; x0 += PIXELS) {
                float acc[PIXELS][BLOCK] = {{0}};
                accumulate(s, n, y, x0, g, o0, width, acc);
                for (int p = 0; p < PIXELS && x0 + p < s->to->w; ++p) {
                    float *to = pixel(s->to, n, y, x0 + p) + g * s->out + o0;
                    for (ptrdiff_t o = 0; o < width; ++o)
                        to[o] = acc[p][o] + (bias ? bias[g * s->out + o0 + o] : 0) + (add ? to[o] : 0);
                }
            }
        }
    }
}

/* Depthwise: the channels are the inner loop. */
static void pass_row_depthwise(const struct pass *s, int n, int y, const float *bias, bool add) {
    const struct conv_desc *d = s->desc;
    ptrdiff_t c = d->groups;
    for (int x = 0; x < s->to->w; ++x) {
        float *restrict to = pixel(s->to, n, y, x);
        if (!add)
            for (ptrdiff_t i = 0; i < c; ++i) to[i] = bias ? bias[i] : 0;
        for (int ky = 0; ky < d->size; ++ky) {
            int iy = source_of(s, y, ky, d->stride_y, s->from->h);
            for (int kx = 0; iy >= 0 && kx < d->size; ++kx) {
                int ix = source_of(s, x, kx, d->stride_x, s->from->w);
                if (ix < 0) continue;
                const float *from = pixel(s->from, n, iy, ix), *w = s->weights + (ky * d->size + kx) * c;
                for (ptrdiff_t i = 0; i < c; ++i) to[i] += from[i] * w[i];
            }
        }
    }
}

static void run(const struct pass *s, const float *bias, bool add) {
    const struct tensor *to = s->to;
    bool deep = depthwise(s->desc);
    PARALLEL_FOR(elements(to) * s->in * s->desc->size * s->desc->size)
    for (int row = 0; row < to->n * to->h; ++row) {
        if (deep) pass_row_depthwise(s, row / to->h, row % to->h, bias, add);
        else pass_row(s, row / to->h, row % to->h, bias, add);
    }
}

static void forward(const struct plain_conv *conv, const struct tensor *x, const float *bias, struct tensor *y) {
    const struct conv_desc *d = &conv->desc;
    struct pass s = {d, x, y, conv->forward, per_in(d), per_out(d), false};
    run(&s, bias, false);
}

static void backward_data(const struct plain_conv *conv, const struct tensor *dy, struct tensor *dx, bool add) {
    const struct conv_desc *d = &conv->desc;
    struct pass s = {d, dy, dx, conv->backward, per_out(d), per_in(d), true};
    run(&s, NULL, add);
}

/* The slopes of one tap and one input channel of one group: a row of per_out sums, in the forward order. */
static void slope_rows(const struct conv_desc *d, const struct tensor *x, const struct tensor *dy, int tap,
                       ptrdiff_t channel, ptrdiff_t filter, ptrdiff_t n, bool deep, float *restrict sums) {
    for (ptrdiff_t i = 0; i < n; ++i) sums[i] = 0;
    for (int row = 0; row < dy->n * dy->h; ++row) {
        int b = row / dy->h, oy = row % dy->h, iy = input_of(d, oy, tap / d->size, d->stride_y);
        if (iy < 0 || iy >= x->h) continue;
        for (int ox = 0; ox < dy->w; ++ox) {
            int ix = input_of(d, ox, tap % d->size, d->stride_x);
            if (ix < 0 || ix >= x->w) continue;
            const float *in = pixel(x, b, iy, ix) + channel, *out = pixel(dy, b, oy, ox) + filter;
            if (deep) {
                for (ptrdiff_t i = 0; i < n; ++i) sums[i] += in[i] * out[i];
            } else {
                for (ptrdiff_t i = 0; i < n; ++i) sums[i] += in[0] * out[i];
            }
        }
    }
}

static void backward_weights(struct plain_conv *conv, const struct tensor *x, const struct tensor *dy, float *dw) {
    const struct conv_desc *d = &conv->desc;
    bool deep = depthwise(d);
    ptrdiff_t in = per_in(d), out = deep ? d->groups : per_out(d), taps = (ptrdiff_t)d->size * d->size;
    PARALLEL_FOR((ptrdiff_t)conv->count * dy->n * dy->h * dy->w)
    for (ptrdiff_t row = 0; row < (deep ? 1 : d->groups) * taps * in; ++row) {
        ptrdiff_t group = row / in / taps, c = row % in;
        slope_rows(d, x, dy, (int)(row / in % taps), group * in + c, group * out, out, deep, conv->slopes + row * out);
    }
    for (ptrdiff_t f = 0; f < d->y.c; ++f)
        for (ptrdiff_t i = 0; i < in * taps; ++i)
            dw[f * in * taps + i] += conv->slopes[forward_at(d, f, i / taps, i % taps)];
}

const struct plain_conv_ops CPU_NAME(plain_conv_) = {pack, forward, backward_data, backward_weights};
