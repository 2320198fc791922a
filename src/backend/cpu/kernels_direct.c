#include "backend/cpu/direct.h"

#include "backend/cpu/vec.h"

enum { BAND = 64 * 1024 }; /* floats of input that a thread works on at a time: a quarter of a second-level cache */

/* ---- weights ---- */

static ptrdiff_t taps(const struct conv_desc *d) { return (ptrdiff_t)d->size * d->size * d->x.c; }

/* Filters of the panel that begins at `first`: two vectors, at the end one or half of one. */
static ptrdiff_t width_at(ptrdiff_t filters, ptrdiff_t first) {
    ptrdiff_t left = filters - first;
    return left > WIDTH + HALF ? PANEL : left > HALF ? WIDTH : HALF;
}

static size_t weights_size(const struct conv_desc *d) { return (size_t)taps(d) * (size_t)round_up(d->y.c, HALF ? HALF : WIDTH); }

static void pack_panel(const struct direct *direct, const float *w, ptrdiff_t f0) {
    const struct conv_desc *d = &direct->desc;
    ptrdiff_t in = d->x.c, cells = (ptrdiff_t)d->size * d->size, width = width_at(d->y.c, f0);
    float *panel = direct->weights + f0 * taps(d);
    for (ptrdiff_t f = 0; f < width; ++f)
        for (ptrdiff_t c = 0; c < in; ++c)
            for (ptrdiff_t t = 0; t < cells; ++t) panel[(t * in + c) * width + f] = f0 + f < d->y.c ? w[((f0 + f) * in + c) * cells + t] : 0;
}

static void pack(struct direct *direct, const float *w) {
    ptrdiff_t filters = direct->desc.y.c;
    PARALLEL_FOR(taps(&direct->desc) * filters)
    for (ptrdiff_t block = 0; block < filters; block += PANEL)
        for (ptrdiff_t f = block; f < block + PANEL && f < filters; f += width_at(filters, f)) pack_panel(direct, w, f);
}

/* ---- products ---- */

/* One panel of filters over a run of pixels.  Pixel i begins at a + i*a_step; its `spans` stretches of `k` values are span_step
 * apart. */
struct run {
    const float *a;
    ptrdiff_t a_step, span_step, k;
    int spans;
    const float *w, *bias, *skip;
    float *y;
    ptrdiff_t skip_step, y_step, columns; /* columns: filters in this panel, at most its width */
    float slope;                          /* of the activation below zero; 1: none, or it comes afterwards */
};

ALWAYS_INLINE void finish_vector(const struct run *r, vec v, ptrdiff_t row, ptrdiff_t column) {
    ptrdiff_t left = r->columns - column;
    v = choose(v, r->slope * v);
    if (r->skip) v += load_some(r->skip + row * r->skip_step + column, left);
    store_some(r->y + row * r->y_step + column, v, left);
}

ALWAYS_INLINE void product(int rows, int width, const struct run *r, ptrdiff_t first) {
    const bool two = width > WIDTH, half = width < WIDTH;
    vec sum[ROWS][2], bias[2] = { load_pixel(r->bias, r->columns), { 0 } };
    const float *w = r->w, *a = r->a + first * r->a_step;
    ptrdiff_t step = r->a_step, k = r->k;
    if (two) bias[1] = load_pixel(r->bias ? r->bias + WIDTH : NULL, r->columns - WIDTH);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) sum[i][0] = bias[0], sum[i][1] = bias[1];
    for (int s = 0; s < r->spans; ++s, a += r->span_step)
        for (ptrdiff_t j = 0; j < k; ++j, w += width) {
            vec w0 = half ? load_half(w) : load(w), w1 = two ? load(w + WIDTH) : w0;
#pragma GCC unroll 16
            for (int i = 0; i < rows; ++i) {
                float x = a[i * step + j];
                if (half) sum[i][0] = add_half(sum[i][0], x, w0);
                else sum[i][0] += x * w0;
                if (two) sum[i][1] += x * w1;
            }
        }
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
        finish_vector(r, sum[i][0], first + i, 0);
        if (two) finish_vector(r, sum[i][1], first + i, WIDTH);
    }
}

ALWAYS_INLINE void product_rows(int width, const struct run *r, ptrdiff_t i, ptrdiff_t rows) {
    for (; i + ROWS <= rows; i += ROWS) product(ROWS, width, r, i);
    for (; i + 4 <= rows; i += 4) product(4, width, r, i);
    for (; i + 2 <= rows; i += 2) product(2, width, r, i);
    for (; i < rows; ++i) product(1, width, r, i);
}

/* What the products do on the way: the slope below zero; NAN-free activations that take more follow in a pass over the tile. */
static bool bent(enum activation a, float *slope) {
    *slope = a == ACT_LEAKY || a == ACT_REVLEAKY ? .1f : a == ACT_RELU ? 0 : a == ACT_RELIE ? .01f : 1;
    return *slope != 1 || a == ACT_LINEAR;
}

ALWAYS_INLINE void activate_rows(enum activation a, const struct run *r, const float *skip, ptrdiff_t i, ptrdiff_t rows) {
    for (; i < rows; ++i)
        for (ptrdiff_t c = 0; c < r->columns; c += WIDTH) {
            float *to = r->y + i * r->y_step + c;
            vec v = activate(a, load_some(to, r->columns - c));
            if (skip) v += load_some(skip + i * r->skip_step + c, r->columns - c);
            store_some(to, v, r->columns - c);
        }
}

/* Activations that take more than a slope follow a few rows later, from the first-level cache. */
static void run_rows(enum activation act, struct run *r, ptrdiff_t width, ptrdiff_t rows) {
    const float *skip = r->skip;
    bool done = bent(act, &r->slope);
    ptrdiff_t step = done ? rows : 4 * ROWS;
    if (!done) r->skip = NULL;
    for (ptrdiff_t i = 0; i < rows; i += step) {
        ptrdiff_t end = rows - i < step ? rows : i + step;
        if (width == PANEL) product_rows(PANEL, r, i, end);
        else if (width == WIDTH) product_rows(WIDTH, r, i, end);
        else product_rows(HALF, r, i, end);
        if (done) continue;
#define CALL(a) activate_rows(a, r, skip, i, end)
        DISPATCH_ACTIVATION(act, CALL)
#undef CALL
    }
}

/* ---- convolutions ---- */

struct job {
    const struct direct *direct;
    const struct tensor *x, *skip;
    struct tensor *y;
    const float *bias;
    struct rows to, from, add; /* pixels of y, of x (1x1 only) and of skip */
};

/* Panels [first, last) over `rows` pixels of y from `pixel` on, which are read at a. */
static void run_panels(const struct job *j, ptrdiff_t first, ptrdiff_t last, struct run *r, ptrdiff_t at, ptrdiff_t rows) {
    const struct conv_desc *d = &j->direct->desc;
    for (ptrdiff_t f = first * PANEL, width; f < last * PANEL && f < d->y.c; f += width) {
        width = width_at(d->y.c, f);
        r->w = j->direct->weights + f * taps(d);
        r->bias = j->bias ? j->bias + f : NULL;
        r->columns = d->y.c - f < width ? d->y.c - f : width;
        r->y = j->to.data + at * j->to.step + f;
        r->y_step = j->to.step;
        r->skip = j->skip ? j->add.data + at * j->add.step + f : NULL;
        r->skip_step = j->add.step;
        run_rows(d->act, r, width, rows);
    }
}

static ptrdiff_t panels(const struct conv_desc *d) { return (d->y.c + PANEL - 1) / PANEL; }

/* The weights are the larger part, and their panels can be shared out evenly: each thread takes some of the filters, else some of the
 * pixels. */
static bool by_filters(const struct conv_desc *d, int threads) {
    ptrdiff_t most = (panels(d) + threads - 1) / threads * PANEL;
    return 16 * most * threads <= 17 * (ptrdiff_t)d->y.c && (double)taps(d) * d->y.c > (double)d->x.n * d->x.c * d->x.h * d->x.w;
}

static void run_points(const struct job *j, int threads) {
    const struct conv_desc *d = &j->direct->desc;
    ptrdiff_t all = panels(d), block = BAND / d->x.c / ROWS * ROWS, share = threads;
    bool split = by_filters(d, threads);
    if ((double)j->to.count * d->x.c * d->y.c < 100000) share = 1;
    if (block < 4 * ROWS) block = 4 * ROWS;
#pragma omp parallel for schedule(static) num_threads((int)share)
    for (ptrdiff_t t = 0; t < share; ++t) {
        ptrdiff_t groups = (j->to.count + ROWS - 1) / ROWS;
        ptrdiff_t begin = split ? 0 : groups * t / share * ROWS, end = split ? j->to.count : groups * (t + 1) / share * ROWS;
        if (end > j->to.count) end = j->to.count;
        for (ptrdiff_t p = begin; p < end; p += block) {
            struct run r = { .a = j->from.data + p * j->from.step, .a_step = j->from.step, .k = d->x.c, .spans = 1 };
            run_panels(j, split ? all * t / share : 0, split ? all * (t + 1) / share : all, &r, p, end - p < block ? end - p : block);
        }
    }
}

/* ---- windows ---- */

static ptrdiff_t band_row(const struct conv_desc *d) { return ((ptrdiff_t)(d->y.w - 1) * d->stride_x + d->size) * d->x.c; }
static ptrdiff_t band_height(const struct conv_desc *d, ptrdiff_t rows) { return (rows - 1) * d->stride_y + d->size; }

/* Rows of output whose input fits the band. */
static ptrdiff_t band_rows(const struct conv_desc *d) {
    ptrdiff_t n = (BAND / band_row(d) - d->size) / d->stride_y + 1;
    return n < 1 ? 1 : n > d->y.h ? d->y.h : n;
}

/* Row iy of image n, with zeros where the window leaves the map. */
static void pad_row(const struct conv_desc *d, const struct tensor *x, int n, int iy, float *to) {
    ptrdiff_t c = d->x.c, width = band_row(d) / c, before = d->pad < width ? d->pad : width;
    if (iy < 0 || iy >= x->h) {
        memset(to, 0, (size_t)(width * c) * sizeof *to);
        return;
    }
    ptrdiff_t inside = width - before < x->w ? width - before : x->w, after = width - before - inside;
    memset(to, 0, (size_t)(before * c) * sizeof *to);
    if (x->sw == c) {
        memcpy(to + before * c, pixel(x, n, iy, 0), (size_t)(inside * c) * sizeof *to);
    } else {
        for (ptrdiff_t i = 0; i < inside; ++i) memcpy(to + (before + i) * c, pixel(x, n, iy, (int)i), (size_t)c * sizeof *to);
    }
    memset(to + (before + inside) * c, 0, (size_t)(after * c) * sizeof *to);
}

/* Panels over one row of output, whose padded input begins at `band`. */
static void run_row(const struct job *j, ptrdiff_t first, ptrdiff_t last, const float *band, ptrdiff_t row) {
    const struct conv_desc *d = &j->direct->desc;
    struct run r = { .a = band, .a_step = (ptrdiff_t)d->stride_x * d->x.c, .span_step = band_row(d), .k = (ptrdiff_t)d->size * d->x.c,
                     .spans = d->size };
    run_panels(j, first, last, &r, row * d->y.w, d->y.w);
}

static void run_bands(const struct job *j, int threads, float *scratch) {
    const struct conv_desc *d = &j->direct->desc;
    ptrdiff_t most = band_rows(d), size = round_up(band_row(d) * band_height(d, most), WIDTH), all = panels(d);
    ptrdiff_t total = (ptrdiff_t)j->y->n * d->y.h;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int t = 0; t < threads; ++t) {
        float *band = scratch + t * size;
        for (ptrdiff_t row = total * t / threads, end = total * (t + 1) / threads, n; row < end; row += n) {
            ptrdiff_t image = row / d->y.h, y = row % d->y.h;
            n = end - row < most ? end - row : most;
            if (n > d->y.h - y) n = d->y.h - y;
            for (ptrdiff_t i = 0; i < band_height(d, n); ++i)
                pad_row(d, j->x, (int)image, (int)(y * d->stride_y - d->pad + i), band + i * band_row(d));
            for (ptrdiff_t f = 0; f < all; ++f)
                for (ptrdiff_t i = 0; i < n; ++i) run_row(j, f, f + 1, band + i * d->stride_y * band_row(d), row + i);
        }
    }
}

/* All of one image is padded, then the filters are shared out. */
static void run_filters(const struct job *j, int threads, float *scratch) {
    const struct conv_desc *d = &j->direct->desc;
    ptrdiff_t all = panels(d), height = band_height(d, d->y.h);
    for (int n = 0; n < j->y->n; ++n) {
#pragma omp parallel for schedule(static) num_threads(threads)
        for (ptrdiff_t i = 0; i < height; ++i) pad_row(d, j->x, n, (int)i - d->pad, scratch + i * band_row(d));
#pragma omp parallel for schedule(static) num_threads(threads)
        for (ptrdiff_t f = 0; f < all; ++f)
            for (ptrdiff_t y = 0; y < d->y.h; ++y)
                run_row(j, f, f + 1, scratch + y * d->stride_y * band_row(d), (ptrdiff_t)n * d->y.h + y);
    }
    (void)threads;
}

static bool by_points(const struct conv_desc *d) { return d->size == 1 && d->stride_x == 1 && d->stride_y == 1 && d->pad == 0; }

static size_t scratch_size(const struct conv_desc *d, int threads) {
    if (by_points(d)) return 0;
    if (by_filters(d, threads)) return (size_t)band_row(d) * (size_t)band_height(d, d->y.h);
    return (size_t)threads * (size_t)round_up(band_row(d) * band_height(d, band_rows(d)), WIDTH);
}

static void forward(const struct direct *direct, int threads, float *scratch, const struct tensor *x, const float *bias, const struct tensor *skip,
                    struct tensor *y) {
    struct job j = { .direct = direct, .x = x, .skip = skip, .y = y, .bias = bias };
    rows_of(y, &j.to);
    rows_of(x, &j.from);
    if (skip) rows_of(skip, &j.add);
    if (by_points(&direct->desc)) run_points(&j, threads);
    else if (by_filters(&direct->desc, threads)) run_filters(&j, threads, scratch);
    else run_bands(&j, threads, scratch);
}

const struct direct_ops CPU_NAME(direct_) = { weights_size, scratch_size, pack, forward };
