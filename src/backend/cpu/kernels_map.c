/* What moves or combines elements of channels-last maps.  Every function wants unit stride over channels; other tensors
 * go to the reference. */
#include <float.h>
#include <math.h>

#include "backend/cpu/kernels.h"
#include "backend/cpu/vec.h"
#include "backend/hash.h"

/* Tasks that need a channel block to themselves (sums over pixels, scattering) take this many channels. */
enum { BLOCK = 64 };

static ptrdiff_t blocks_of(ptrdiff_t c) {
    return (c + BLOCK - 1) / BLOCK;
}

static ptrdiff_t block_width(ptrdiff_t c, ptrdiff_t first) {
    return c - first < BLOCK ? c - first : BLOCK;
}

/* ---- rows ---- */

static void copy_row(const float *x, float *y, ptrdiff_t n, float alpha, bool add) {
    if (add) {
        ELEMENTWISE
        for (ptrdiff_t i = 0; i < n; ++i) y[i] += alpha * x[i];
    } else {
        ELEMENTWISE
        for (ptrdiff_t i = 0; i < n; ++i) y[i] = alpha * x[i];
    }
}

static void multiply_row(const float *x, const float *w, float *y, ptrdiff_t n, bool add) {
    if (add) {
        ELEMENTWISE
        for (ptrdiff_t i = 0; i < n; ++i) y[i] += x[i] * w[i];
    } else {
        ELEMENTWISE
        for (ptrdiff_t i = 0; i < n; ++i) y[i] = x[i] * w[i];
    }
}

/* ---- layout ---- */

/* Pixels in Darknet's order: how many lie in a row without a gap in channels-last memory, the whole map where rows follow each other. */
static struct tensor long_rows(const struct tensor *t) {
    struct tensor flat = *t;
    if (t->h == 1 || t->sh == t->w * t->sw) flat.w = t->w * t->h, flat.h = 1;
    return flat;
}

/* n pixels of x, `step` apart, to planes of `plane` floats, WIDTH channels of WIDTH pixels at a time. */
static void pixels_to_planes(const float *x, ptrdiff_t step, ptrdiff_t n, int channels, float *dst, ptrdiff_t plane) {
    vec tile[WIDTH];
    for (int c = 0; c < channels; c += WIDTH) {
        for (int i = 0; i < WIDTH; ++i) tile[i] = load_pixel(i < n ? x + i * step + c : NULL, channels - c);
        transpose(tile);
        for (int k = 0; k < WIDTH && c + k < channels; ++k) store_some(dst + (c + k) * plane, tile[k], n);
    }
}

static void planes_to_pixels(const float *src, ptrdiff_t plane, ptrdiff_t n, int channels, float *y, ptrdiff_t step, bool add) {
    vec tile[WIDTH];
    for (int c = 0; c < channels; c += WIDTH) {
        for (int k = 0; k < WIDTH; ++k) tile[k] = load_pixel(c + k < channels ? src + (c + k) * plane : NULL, n);
        transpose(tile);
        for (int i = 0; i < WIDTH && i < n; ++i) {
            float *to = y + i * step + c;
            if (add) tile[i] += load_some(to, channels - c);
            store_some(to, tile[i], channels - c);
        }
    }
}

static void to_nchw(struct backend *be, const struct tensor *x, float *dst) {
    if (!unit(x)) {
        ref_f32_ops.to_nchw(be, x, dst);
        return;
    }
    struct tensor t = long_rows(x);
    ptrdiff_t plane = (ptrdiff_t)t.h * t.w, tiles = (t.w + WIDTH - 1) / WIDTH;
    PARALLEL_FOR(elements(x))
    for (ptrdiff_t task = 0; task < t.n * t.h * tiles; ++task) {
        int row = (int)(task / tiles), n = row / t.h, y = row % t.h, i = (int)(task % tiles) * WIDTH;
        pixels_to_planes(pixel(&t, n, y, i), t.sw, t.w - i, t.c, dst + n * t.c * plane + (ptrdiff_t)y * t.w + i, plane);
    }
}

/* Three planes to pixels of three, as pictures come: no wider vector is needed than compilers find. */
static void three_planes(const float *src, ptrdiff_t plane, ptrdiff_t n, float *restrict y) {
    const float *a = src, *b = a + plane, *c = b + plane;
    for (ptrdiff_t i = 0; i < n; ++i) y[3 * i] = a[i], y[3 * i + 1] = b[i], y[3 * i + 2] = c[i];
}

static void from_nchw(struct backend *be, const float *src, struct tensor *y, bool add) {
    if (!unit(y)) {
        ref_f32_ops.from_nchw(be, src, y, add);
        return;
    }
    struct tensor t = long_rows(y);
    bool picture = t.c == 3 && t.sw == 3 && !add;
    int part = picture ? 1024 : WIDTH; /* pixels */
    ptrdiff_t plane = (ptrdiff_t)t.h * t.w, parts = (t.w + part - 1) / part;
    PARALLEL_FOR(elements(y))
    for (ptrdiff_t task = 0; task < t.n * t.h * parts; ++task) {
        int row = (int)(task / parts), n = row / t.h, j = row % t.h, i = (int)(task % parts) * part;
        const float *from = src + n * t.c * plane + (ptrdiff_t)j * t.w + i;
        if (picture) three_planes(from, plane, t.w - i < part ? t.w - i : part, pixel(&t, n, j, i));
        else planes_to_pixels(from, plane, t.w - i, t.c, pixel(&t, n, j, i), t.sw, add);
    }
}

static void fill(struct backend *be, struct tensor *y, double value) {
    struct rows r;
    if (!rows_of(y, &r)) {
        ref_f32_ops.fill(be, y, value);
        return;
    }
    fold_rows(&r, fold_of(&r, r.step == r.c));
    float v = (float)value;
    PARALLEL_FOR(r.count * r.c)
    for (ptrdiff_t p = 0; p < r.count; ++p)
        for (ptrdiff_t i = 0; i < r.c; ++i) r.data[p * r.step + i] = v;
}

/* ---- pooling ---- */

static void argmax_row(const float *x, int32_t here, float *best, int32_t *where, ptrdiff_t n) {
    ELEMENTWISE
    for (ptrdiff_t i = 0; i < n; ++i) {
        bool more = x[i] > best[i];
        best[i] = more ? x[i] : best[i];
        where[i] = more ? here : where[i];
    }
}

static void argmax_pixel(const struct pool_desc *p, const struct tensor *x, int n, int oy, int ox, float *best, int32_t *where) {
    for (int c = 0; c < x->c; ++c) best[c] = -FLT_MAX, where[c] = -1;
    for (int ky = 0; ky < p->size; ++ky) {
        int iy = oy * p->stride_y + p->offset_y + ky;
        if (iy < 0 || iy >= x->h) continue;
        for (int kx = 0; kx < p->size; ++kx) {
            int ix = ox * p->stride_x + p->offset_x + kx;
            if (ix >= 0 && ix < x->w) argmax_row(pixel(x, n, iy, ix), iy * x->w + ix, best, where, x->c);
        }
    }
}

/* The largest of `count` vectors, `step` apart, of n floats: elements that lie beneath each other in rows, or side by side in pixels. */
ALWAYS_INLINE void max_of(const float *x, ptrdiff_t step, int count, ptrdiff_t n, float *to) {
    for (ptrdiff_t i = 0; i < n; i += WIDTH) {
        vec v = (vec){0} - FLT_MAX;
        for (int k = 0; k < count; ++k) v = larger(load_some(x + k * step + i, n - i), v);
        store_some(to + i, v, n - i);
    }
}

/* Cells [first, end) of a side of `size` cells that the window of output o covers. */
struct stretch { int first, end; };
static struct stretch covered(int o, int stride, int offset, int window, int size) {
    struct stretch s = { o * stride + offset, o * stride + offset + window };
    if (s.first < 0) s.first = 0;
    if (s.end > size) s.end = size;
    if (s.end < s.first) s.end = s.first;
    return s;
}

enum { LINE = 4096 }; /* floats of a piece of one row that stay in the first-level cache */

/* Outputs [from, to) of one row, channels [c0, c0+c): first the largest values of each column, then those of neighbouring columns. */
static void maxpool_piece(const struct pool_desc *p, const struct tensor *x, int n, int oy, struct tensor *y, int from, int to, ptrdiff_t c0,
                          ptrdiff_t c) {
    float line[LINE];
    struct stretch down = covered(oy, p->stride_y, p->offset_y, p->size, x->h);
    struct stretch all = { covered(from, p->stride_x, p->offset_x, p->size, x->w).first, covered(to - 1, p->stride_x, p->offset_x, p->size, x->w).end };
    const float *in = pixel(x, n, down.first, all.first) + c0;
    bool flat = x->sw == c; /* several pixels in a vector */
    for (int i = all.first; i < all.end; i += flat ? all.end - all.first : 1)
        max_of(in + (i - all.first) * x->sw, x->sh, down.end - down.first, flat ? (all.end - all.first) * c : c, line + (i - all.first) * c);
    for (int ox = from; ox < to; ++ox) {
        struct stretch s = covered(ox, p->stride_x, p->offset_x, p->size, x->w);
        max_of(line + (s.first - all.first) * c, c, s.end - s.first, c, pixel(y, n, oy, ox) + c0);
    }
}

static void maxpool_row(const struct pool_desc *p, const struct tensor *x, int n, int oy, struct tensor *y) {
    ptrdiff_t block = x->c < BLOCK ? x->c : BLOCK;
    int piece = (int)((LINE / block - p->size) / p->stride_x) + 1;
    for (ptrdiff_t c = 0; c < x->c; c += block)
        for (int ox = 0; ox < y->w; ox += piece)
            maxpool_piece(p, x, n, oy, y, ox, ox + piece < y->w ? ox + piece : y->w, c, block_width(x->c, c));
}

static void maxpool(struct backend *be, const struct pool_desc *p, const struct tensor *x, struct tensor *y,
                    int32_t *argmax) {
    if (!unit(x) || !unit(y) || (!argmax && p->size > LINE / BLOCK)) {
        ref_f32_ops.maxpool(be, p, x, y, argmax);
        return;
    }
    PARALLEL_FOR(elements(y) * p->size * p->size)
    for (int row = 0; row < y->n * y->h; ++row) {
        int n = row / y->h, oy = row % y->h;
        if (!argmax) maxpool_row(p, x, n, oy, y);
        for (int ox = 0; argmax && ox < y->w; ++ox)
            argmax_pixel(p, x, n, oy, ox, pixel(y, n, oy, ox), argmax + ((ptrdiff_t)row * y->w + ox) * y->c);
    }
}

static void maxpool_backward(struct backend *be, const struct pool_desc *p, const int32_t *argmax,
                             const struct tensor *dy, struct tensor *dx) {
    if (!unit(dy) || !unit(dx)) {
        ref_f32_ops.maxpool_backward(be, p, argmax, dy, dx);
        return;
    }
    ptrdiff_t blocks = blocks_of(dy->c);
    PARALLEL_FOR(4 * elements(dy))
    for (ptrdiff_t task = 0; task < dy->n * blocks; ++task) {
        int n = (int)(task / blocks);
        ptrdiff_t first = task % blocks * BLOCK, end = first + block_width(dy->c, first);
        for (int i = 0; i < dy->h * dy->w; ++i) {
            const float *g = pixel(dy, n, i / dy->w, i % dy->w);
            const int32_t *where = argmax + ((ptrdiff_t)n * dy->h * dy->w + i) * dy->c;
            for (ptrdiff_t c = first; c < end; ++c)
                if (where[c] >= 0) pixel(dx, n, where[c] / dx->w, where[c] % dx->w)[c] += g[c];
        }
    }
}

static void avgpool(struct backend *be, const struct tensor *x, struct tensor *y) {
    if (!unit(x) || !unit(y)) {
        ref_f32_ops.avgpool(be, x, y);
        return;
    }
    ptrdiff_t blocks = blocks_of(x->c);
    PARALLEL_FOR(elements(x))
    for (ptrdiff_t task = 0; task < x->n * blocks; ++task) {
        ptrdiff_t first = task % blocks * BLOCK, width = block_width(x->c, first);
        int n = (int)(task / blocks);
        double sum[BLOCK] = {0};
        for (int i = 0; i < x->h * x->w; ++i) {
            const float *in = pixel(x, n, i / x->w, i % x->w) + first;
            for (ptrdiff_t c = 0; c < width; ++c) sum[c] += (double)in[c];
        }
        float *out = pixel(y, n, 0, 0) + first;
        for (ptrdiff_t c = 0; c < width; ++c) out[c] = (float)(sum[c] / ((double)x->h * x->w));
    }
}

static void avgpool_backward(struct backend *be, const struct tensor *dy, struct tensor *dx, bool add) {
    if (!unit(dy) || !unit(dx)) {
        ref_f32_ops.avgpool_backward(be, dy, dx, add);
        return;
    }
    float share = 1.0f / ((float)dx->h * (float)dx->w);
    PARALLEL_FOR(elements(dx))
    for (int row = 0; row < dx->n * dx->h; ++row)
        for (int x = 0; x < dx->w; ++x)
            copy_row(pixel(dy, row / dx->h, 0, 0), pixel(dx, row / dx->h, row % dx->h, x), dx->c, share, add);
}

/* ---- copies ---- */

static void copy_channels(struct backend *be, const struct tensor *x, int xc, struct tensor *y, int yc, int count,
                          double alpha, bool add) {
    if (!unit(x) || !unit(y)) {
        ref_f32_ops.copy_channels(be, x, xc, y, yc, count, alpha, add);
        return;
    }
    bool plain = !add && alpha == 1;
    struct rows from, to;
    if (count == x->c && count == y->c && rows_of(x, &from) && rows_of(y, &to) && from.step == count &&
        to.step == count) {
        ptrdiff_t fold = fold_of(&to, true);
        fold_rows(&from, fold), fold_rows(&to, fold);
        PARALLEL_FOR(to.count * to.c)
        for (ptrdiff_t p = 0; p < to.count; ++p)
            copy_row(from.data + p * from.step, to.data + p * to.step, to.c, (float)alpha, add);
        return;
    }
    PARALLEL_FOR((ptrdiff_t)y->n * y->h * y->w * count)
    for (int row = 0; row < y->n * y->h; ++row) {
        for (int i = 0; i < y->w; ++i) {
            const float *in = pixel(x, row / y->h, row % y->h, i) + xc;
            float *out = pixel(y, row / y->h, row % y->h, i) + yc;
            if (plain) memcpy(out, in, (size_t)count * sizeof *out);
            else copy_row(in, out, count, (float)alpha, add);
        }
    }
}

static void copy_weighted(struct backend *be, const struct tensor *x, const real *weight, bool per_channel, int count,
                          struct tensor *y, bool add) {
    if (!unit(x) || !unit(y)) {
        ref_f32_ops.copy_weighted(be, x, weight, per_channel, count, y, add);
        return;
    }
    const float *w = weight;
    PARALLEL_FOR((ptrdiff_t)y->n * y->h * y->w * count)
    for (int row = 0; row < y->n * y->h; ++row) {
        for (int i = 0; i < y->w; ++i) {
            const float *in = pixel(x, row / y->h, row % y->h, i);
            float *out = pixel(y, row / y->h, row % y->h, i);
            if (per_channel) multiply_row(in, w, out, count, add);
            else copy_row(in, out, count, w[0], add);
        }
    }
}

static void mask_channels(struct backend *be, struct tensor *y, const uint8_t *keep) {
    if (!unit(y)) {
        ref_f32_ops.mask_channels(be, y, keep);
        return;
    }
    PARALLEL_FOR(elements(y))
    for (int row = 0; row < y->n * y->h; ++row) {
        for (int i = 0; i < y->w; ++i) {
            float *out = pixel(y, row / y->h, row % y->h, i);
            for (int c = 0; c < y->c; ++c) out[c] = keep[c] ? out[c] : 0;
        }
    }
}

static void dropout(struct backend *be, const struct tensor *x, struct tensor *y, double probability, uint64_t seed,
                    bool add) {
    if (!unit(x) || !unit(y)) {
        ref_f32_ops.dropout(be, x, y, probability, seed, add);
        return;
    }
    float factor = (float)(1 / (1 - probability)), limit = (float)probability;
    PARALLEL_FOR(8 * elements(y))
    for (int row = 0; row < y->n * y->h; ++row) {
        int n = row / y->h, j = row % y->h;
        for (int i = 0; i < y->w; ++i) {
            const float *in = pixel(x, n, j, i);
            float *out = pixel(y, n, j, i);
            for (int c = 0; c < y->c; ++c) {
                uint64_t index = (((uint64_t)n * (uint64_t)y->c + (uint64_t)c) * (uint64_t)y->h + (uint64_t)j) *
                                     (uint64_t)y->w + (uint64_t)i;
                float value = hash_uniform(seed, index) >= limit ? factor * in[c] : 0;
                out[c] = value + (add ? out[c] : 0);
            }
        }
    }
}

/* ---- resampling ---- */

static void spread(const struct tensor *from, struct tensor *to, int s, float scale, bool add) {
    PARALLEL_FOR(elements(to))
    for (int row = 0; row < to->n * to->h; ++row) {
        int n = row / to->h, y = row % to->h;
        for (int x = 0; x < to->w; ++x) {
            float *out = pixel(to, n, y, x);
            if (y / s < from->h && x / s < from->w) copy_row(pixel(from, n, y / s, x / s), out, to->c, scale, add);
            else if (!add) memset(out, 0, (size_t)to->c * sizeof *out);
        }
    }
}

static void gather(const struct tensor *from, struct tensor *to, int s, float scale, bool add) {
    PARALLEL_FOR(elements(from))
    for (int row = 0; row < to->n * to->h; ++row) {
        int n = row / to->h, y = row % to->h;
        for (int x = 0; x < to->w; ++x)
            for (int k = 0; k < s * s; ++k)
                copy_row(pixel(from, n, y * s + k / s, x * s + k % s), pixel(to, n, y, x), to->c, scale, add || k > 0);
    }
}

static void upsample(struct backend *be, const struct tensor *x, struct tensor *y, int stride, double scale) {
    if (!unit(x) || !unit(y)) ref_f32_ops.upsample(be, x, y, stride, scale);
    else if (stride > 0) spread(x, y, stride, (float)scale, false);
    else gather(x, y, -stride, (float)scale, false);
}

static void upsample_backward(struct backend *be, const struct tensor *dy, struct tensor *dx, int stride, double scale,
                              bool add) {
    if (!unit(dy) || !unit(dx)) ref_f32_ops.upsample_backward(be, dy, dx, stride, scale, add);
    else if (stride > 0) gather(dy, dx, stride, (float)scale, add);
    else spread(dy, dx, -stride, (float)scale, add);
}

static void reorg(struct backend *be, const struct tensor *x, struct tensor *y, int stride, bool reverse, bool add) {
    if (!unit(x) || !unit(y)) {
        ref_f32_ops.reorg(be, x, y, stride, reverse, add);
        return;
    }
    const struct tensor *deep = reverse ? x : y;
    int channels = reverse ? y->c : x->c;
    PARALLEL_FOR(elements(y))
    for (int row = 0; row < deep->n * deep->h; ++row) {
        int n = row / deep->h, j = row % deep->h;
        for (int i = 0; i < deep->w; ++i) {
            for (int o = 0; o < stride * stride; ++o) {
                int wide_y = j * stride + o / stride, wide_x = i * stride + o % stride;
                if (reverse) copy_row(pixel(x, n, j, i) + o * channels, pixel(y, n, wide_y, wide_x), channels, 1, add);
                else copy_row(pixel(x, n, wide_y, wide_x), pixel(y, n, j, i) + o * channels, channels, 1, add);
            }
        }
    }
}

/* ---- gates ---- */

enum gate_kind { GATE_CHANNEL, GATE_PIXEL, GATE_EQUAL, GATE_OTHER };

static enum gate_kind gate_kind(const struct tensor *gate, const struct tensor *x) {
    if (!unit(gate) || !unit(x)) return GATE_OTHER;
    bool c = gate->c == x->c, map = gate->h == x->h && gate->w == x->w;
    if (c && map) return GATE_EQUAL;
    if (c && gate->h == 1 && gate->w == 1) return GATE_CHANNEL;
    return gate->c == 1 && map ? GATE_PIXEL : GATE_OTHER;
}

static void gate_rows(enum gate_kind kind, const struct tensor *x, const struct tensor *gate, struct tensor *y,
                      bool add) {
    PARALLEL_FOR(elements(y))
    for (int row = 0; row < y->n * y->h; ++row) {
        int n = row / y->h, j = row % y->h;
        for (int i = 0; i < y->w; ++i) {
            const float *g = kind == GATE_CHANNEL ? pixel(gate, n, 0, 0) : pixel(gate, n, j, i);
            if (kind == GATE_PIXEL) copy_row(pixel(x, n, j, i), pixel(y, n, j, i), y->c, g[0], add);
            else multiply_row(pixel(x, n, j, i), g, pixel(y, n, j, i), y->c, add);
        }
    }
}

static void gate_forward(struct backend *be, const struct tensor *x, const struct tensor *gate, struct tensor *y) {
    enum gate_kind kind = unit(y) ? gate_kind(gate, x) : GATE_OTHER;
    if (kind == GATE_OTHER) ref_f32_ops.gate(be, x, gate, y);
    else gate_rows(kind, x, gate, y, false);
}

static void gate_backward_x(struct backend *be, const struct tensor *gate, const struct tensor *dy, struct tensor *dx,
                            bool add) {
    enum gate_kind kind = unit(dx) ? gate_kind(gate, dy) : GATE_OTHER;
    if (kind == GATE_OTHER) ref_f32_ops.gate_backward_x(be, gate, dy, dx, add);
    else gate_rows(kind, dy, gate, dx, add);
}

/* One slope per image and channel: a task owns a block of channels of one image. */
static void gate_slope_channel(const struct tensor *x, const struct tensor *dy, struct tensor *dgate, bool add) {
    ptrdiff_t blocks = blocks_of(x->c);
    PARALLEL_FOR(2 * elements(x))
    for (ptrdiff_t task = 0; task < x->n * blocks; ++task) {
        ptrdiff_t first = task % blocks * BLOCK, width = block_width(x->c, first);
        int n = (int)(task / blocks);
        double sum[BLOCK] = {0};
        for (int i = 0; i < x->h * x->w; ++i) {
            const float *in = pixel(x, n, i / x->w, i % x->w) + first, *g = pixel(dy, n, i / x->w, i % x->w) + first;
            for (ptrdiff_t c = 0; c < width; ++c) sum[c] += (double)in[c] * (double)g[c];
        }
        float *out = pixel(dgate, n, 0, 0) + first;
        for (ptrdiff_t c = 0; c < width; ++c) out[c] = (float)(sum[c] + (add ? (double)out[c] : 0));
    }
}

static void gate_backward_gate(struct backend *be, const struct tensor *x, const struct tensor *dy,
                               struct tensor *dgate, bool add) {
    enum gate_kind kind = unit(dy) ? gate_kind(dgate, x) : GATE_OTHER;
    if (kind == GATE_OTHER || kind == GATE_PIXEL) ref_f32_ops.gate_backward_gate(be, x, dy, dgate, add);
    else if (kind == GATE_CHANNEL) gate_slope_channel(x, dy, dgate, add);
    else gate_rows(kind, x, dy, dgate, add);
}

/* ---- the pruner's response ---- */

enum { LANES = 16 };            /* channels whose sums stay in registers */
struct window { int x0, y0, x1, y1; };

static bool any_weight(const float *weight, int n) {
    float largest = 0;
    for (int i = 0; i < n; ++i) largest = weight[i] * weight[i] > largest ? weight[i] * weight[i] : largest;
    return largest > 0;
}

/* The cells that count: boxes cover a small part of most maps. */
static struct window window_of(const float *map, int w, int h) {
    struct window v = { w, h, 0, 0 };
    for (int y = 0; y < h; ++y) {
        const float *row = map + (ptrdiff_t)y * w;
        if (!any_weight(row, w)) continue;
        int first = 0, last = w;
        while (row[first] == 0) ++first;
        while (row[last - 1] == 0) --last;
        v.x0 = first < v.x0 ? first : v.x0, v.x1 = last > v.x1 ? last : v.x1;
        v.y0 = y < v.y0 ? y : v.y0, v.y1 = y + 1;
    }
    return v;
}

#define RESPONSE_OF(width)                                                                                                        \
    for (int py = v.y0; py < v.y1; ++py) {                                                                                        \
        const float *in = pixel(x, n, py, v.x0) + first, *slope = pixel(g, n, py, v.x0) + first, *row = map + (ptrdiff_t)py * x->w; \
        for (int px = v.x0; px < v.x1; ++px, in += x->sw, slope += g->sw) {                                                       \
            double weight = (double)row[px];                                                                                      \
            for (ptrdiff_t c = 0; c < (width); ++c) {                                                                             \
                double weighted = weight * (double)slope[c];                                                                      \
                sums[c] += weighted;                                                                                              \
                dots[c] += weighted * (double)in[c];                                                                              \
            }                                                                                                                     \
        }                                                                                                                         \
    }

static void respond(const struct tensor *x, const struct tensor *g, int n, const float *map, struct window v, ptrdiff_t first,
                    ptrdiff_t width, double *dot, double *sum) {
    double dots[LANES] = {0}, sums[LANES] = {0};
    if (width == LANES) { RESPONSE_OF(LANES) }
    else { RESPONSE_OF(width) }
    for (ptrdiff_t c = 0; c < width; ++c) dot[c] += dots[c], sum[c] += sums[c];
}

static void channel_dot(struct backend *be, const struct tensor *x, const struct tensor *g, int n, int k,
                        const float *maps, double *dot, double *sum) {
    if (!unit(x) || !unit(g)) {
        ref_f32_ops.channel_dot(be, x, g, n, k, maps, dot, sum);
        return;
    }
    ptrdiff_t plane = (ptrdiff_t)x->h * x->w, blocks = (x->c + LANES - 1) / LANES;
    PARALLEL_TASKS(plane * x->c * k)
    for (ptrdiff_t task = k * blocks - 1; task >= 0; --task) { /* a map of everything comes last, and costs most */
        ptrdiff_t row = task / blocks, first = task % blocks * LANES, width = x->c - first < LANES ? x->c - first : LANES;
        const float *map = maps + row * plane;
        respond(x, g, n, map, window_of(map, x->w, x->h), first, width, dot + row * x->c + first, sum + row * x->c + first);
    }
}

static void channel_abs_dot(struct backend *be, const struct tensor *x, const struct tensor *g, int n, int k,
                            const float *maps, const double *mean, double *dot) {
    if (!unit(x) || !unit(g)) {
        ref_f32_ops.channel_abs_dot(be, x, g, n, k, maps, mean, dot);
        return;
    }
    ptrdiff_t blocks = blocks_of(x->c), plane = (ptrdiff_t)x->h * x->w;
    PARALLEL_FOR(plane * x->c * k)
    for (ptrdiff_t task = 0; task < k * blocks; ++task) {
        ptrdiff_t row = task % k, first = task / k * BLOCK, width = block_width(x->c, first);
        const float *map = maps + row * plane;
        struct window v = window_of(map, x->w, x->h);
        double dots[BLOCK] = {0}, centre[BLOCK] = {0};
        if (mean) memcpy(centre, mean + first, (size_t)width * sizeof *mean);
        for (int py = v.y0; py < v.y1; ++py) {
            for (int px = v.x0; px < v.x1; ++px) {
                double weight = (double)map[py * x->w + px];
                const float *in = pixel(x, n, py, px) + first, *slope = pixel(g, n, py, px) + first;
                for (ptrdiff_t c = 0; c < width; ++c)
                    dots[c] += weight * fabs((double)slope[c] * ((double)in[c] - centre[c]));
            }
        }
        for (ptrdiff_t c = 0; c < width; ++c) dot[row * x->c + first + c] += dots[c];
    }
}

void CPU_NAME(cpu_map_kernels_)(struct backend_ops *ops) {
    ops->to_nchw = to_nchw;
    ops->from_nchw = from_nchw;
    ops->fill = fill;
    ops->maxpool = maxpool;
    ops->maxpool_backward = maxpool_backward;
    ops->avgpool = avgpool;
    ops->avgpool_backward = avgpool_backward;
    ops->copy_channels = copy_channels;
    ops->copy_weighted = copy_weighted;
    ops->mask_channels = mask_channels;
    ops->dropout = dropout;
    ops->upsample = upsample;
    ops->upsample_backward = upsample_backward;
    ops->reorg = reorg;
    ops->gate = gate_forward;
    ops->gate_backward_x = gate_backward_x;
    ops->gate_backward_gate = gate_backward_gate;
    ops->channel_dot = channel_dot;
    ops->channel_abs_dot = channel_abs_dot;
}
