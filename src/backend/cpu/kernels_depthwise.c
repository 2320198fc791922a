/* Depthwise convolution forward, one filter per channel: vectors of channels, several neighbouring outputs at a time, so that each
 * tap's weights are loaded once for all of them.  The interface is that of the other direct kernels. */
#include "backend/cpu/direct.h"

#include "backend/cpu/vec.h"

enum { RUN = 4 }; /* outputs at a time */

/* Per tap one row of channels, padded to whole vectors. */
static size_t weights_size(const struct conv_desc *d) { return (size_t)d->size * (size_t)d->size * (size_t)round_up(d->y.c, WIDTH); }

static size_t scratch_size(const struct conv_desc *d, int threads) {
    (void)d, (void)threads;
    return 0;
}

static void pack(struct direct *direct, const float *w) {
    ptrdiff_t channels = direct->desc.y.c, step = round_up(channels, WIDTH), taps = (ptrdiff_t)direct->desc.size * direct->desc.size;
    for (ptrdiff_t t = 0; t < taps; ++t)
        for (ptrdiff_t c = 0; c < step; ++c) direct->weights[t * step + c] = c < channels ? w[c * taps + t] : 0;
}

struct job {
    const struct direct *direct;
    const struct tensor *x, *skip;
    struct tensor *y;
    const float *bias;
    float slope; /* of the activation below zero */
    bool bent;   /* the slope is all there is to it */
};

/* One vector of channels at one place of a row. */
struct place { int n, y, x; ptrdiff_t c; };

/* Activations with more to them than a slope; not inlined, as it would be once per case below. */
static __attribute__((noinline)) vec bend(enum activation a, vec v) { return activate(a, v); }

ALWAYS_INLINE vec part(const float *p, ptrdiff_t n, bool full) { return full ? load(p) : load_lanes(p, n); }

/* `count` outputs side by side; edge: their windows may leave the map to the left and right. */
ALWAYS_INLINE void outputs(const struct job *j, int size, int stride, int dilation, int count, bool edge, bool full, struct place at) {
    const struct conv_desc *d = &j->direct->desc;
    ptrdiff_t left = d->y.c - at.c, step = round_up(d->y.c, WIDTH);
    vec sum[RUN], none = { 0 }, bias = j->bias ? part(j->bias + at.c, left, full) : none;
#pragma GCC unroll 4
    for (int i = 0; i < count; ++i) sum[i] = bias;
    for (int ky = 0; ky < size; ++ky) {
        int iy = at.y * d->stride_y - d->pad + ky * dilation, ix = at.x * stride - d->pad;
        if (iy < 0 || iy >= j->x->h) continue;
        const float *row = pixel(j->x, at.n, iy, 0) + at.c, *w = j->direct->weights + ky * size * step + at.c;
#pragma GCC unroll 8
        for (int kx = 0; kx < size; ++kx) {
            vec tap = load(w + kx * step);
#pragma GCC unroll 4
            for (int i = 0; i < count; ++i) {
                int column = ix + i * stride + kx * dilation;
                if (edge && (column < 0 || column >= j->x->w)) continue;
                sum[i] += tap * part(row + column * j->x->sw, left, full);
            }
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < count; ++i) {
        vec v = j->bent ? choose(sum[i], j->slope * sum[i]) : bend(d->act, sum[i]);
        if (j->skip) v += part(pixel(j->skip, at.n, at.y, at.x + i) + at.c, left, full);
        float *to = pixel(j->y, at.n, at.y, at.x + i) + at.c;
        if (full) store(to, v);
        else store_lanes(to, v, left);
    }
}

ALWAYS_INLINE void row(const struct job *j, int size, int stride, int dilation, bool full, struct place at) {
    const struct conv_desc *d = &j->direct->desc;
    int reach = d->x.w - 1 + d->pad - (size - 1) * dilation; /* the last place where a window may begin, counted from the padding */
    int first = (d->pad + stride - 1) / stride, last = reach < 0 ? 0 : reach / stride + 1;
    if (last > d->y.w) last = d->y.w;
    for (; at.x < first && at.x < d->y.w; ++at.x) outputs(j, size, stride, dilation, 1, true, full, at);
    for (; at.x + RUN <= last; at.x += RUN) outputs(j, size, stride, dilation, RUN, false, full, at);
    for (; at.x < d->y.w; ++at.x) outputs(j, size, stride, dilation, 1, true, full, at);
}

ALWAYS_INLINE void channels(const struct job *j, int size, int stride, int dilation, struct place at) {
    for (; at.c + WIDTH <= j->y->c; at.c += WIDTH) row(j, size, stride, dilation, true, at);
    if (at.c < j->y->c) row(j, size, stride, dilation, false, at);
}

static void rows_3_1(const struct job *j, struct place at) { channels(j, 3, 1, 1, at); }
static void rows_3_2(const struct job *j, struct place at) { channels(j, 3, 2, 1, at); }
static void rows_5_1(const struct job *j, struct place at) { channels(j, 5, 1, 1, at); }
static void rows_5_2(const struct job *j, struct place at) { channels(j, 5, 2, 1, at); }
static void rows_any(const struct job *j, struct place at) {
    const struct conv_desc *d = &j->direct->desc;
    channels(j, d->size, d->stride_x, d->dilation, at);
}

static void forward(const struct direct *direct, int threads, float *scratch, const struct tensor *x, const float *bias, const struct tensor *skip,
                    struct tensor *y) {
    const struct conv_desc *d = &direct->desc;
    struct job j = { .direct = direct, .x = x, .skip = skip, .y = y, .bias = bias };
    j.bent = bent(d->act, &j.slope);
    bool small = d->dilation == 1 && (d->size == 3 || d->size == 5) && (d->stride_x == 1 || d->stride_x == 2);
    void (*run)(const struct job *, struct place) = !small ? rows_any : d->size == 3 ? (d->stride_x == 1 ? rows_3_1 : rows_3_2)
                                                                                     : (d->stride_x == 1 ? rows_5_1 : rows_5_2);
    (void)threads, (void)scratch;
    PARALLEL_FOR(elements(y) * d->size)
    for (int r = 0; r < y->n * y->h; ++r) run(&j, (struct place){ .n = r / y->h, .y = r % y->h });
}

const struct direct_ops CPU_NAME(depthwise_) = { weights_size, scratch_size, pack, forward };
