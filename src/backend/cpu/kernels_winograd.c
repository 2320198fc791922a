/* Winograd convolution F(4x4, 3x3).  Each 4x4 tile of outputs (with the 6x6 inputs it reads) becomes 36 points; per point, all
 * tiles form a matrix product over channels.  y = A'[(G g G') * (B' d B)]A; the gradients use the transposed maps. */
#include "backend/cpu/vec.h"

enum { TILE = 4, SPAN = 6, STEP = 4 };

/* ---- the one-dimensional maps, each applied to rows and columns ---- */

/* B': six inputs to six points. */
ALWAYS_INLINE void map_input(const vec d[SPAN], vec p[SPAN]) {
    vec a = d[4] - 4 * d[2], b = d[3] - 4 * d[1], c = d[4] - d[2], e = 2 * (d[3] - d[1]);
    p[0] = 4 * d[0] - 5 * d[2] + d[4];
    p[1] = a + b;
    p[2] = a - b;
    p[3] = c + e;
    p[4] = c - e;
    p[5] = 4 * d[1] - 5 * d[3] + d[5];
}

/* A': six points to four outputs. */
ALWAYS_INLINE void map_output(const vec p[SPAN], vec y[TILE]) {
    vec a = p[1] + p[2], b = p[1] - p[2], c = p[3] + p[4], d = p[3] - p[4];
    y[0] = p[0] + a + c;
    y[1] = b + 2 * d;
    y[2] = a + 4 * c;
    y[3] = b + 8 * d + p[5];
}

/* A: four gradients of outputs to six points. */
ALWAYS_INLINE void map_output_back(const vec y[TILE], vec p[SPAN]) {
    vec a = y[0] + y[2], b = y[1] + y[3], c = y[0] + 4 * y[2], d = 2 * y[1] + 8 * y[3];
    p[0] = y[0];
    p[1] = a + b;
    p[2] = a - b;
    p[3] = c + d;
    p[4] = c - d;
    p[5] = y[3];
}

/* G: three weights to six points. */
ALWAYS_INLINE void map_weights(const vec g[3], vec p[SPAN]) {
    vec a = (g[0] + g[2]) * (-1.f / 6), b = g[1] * (1.f / 6), c = g[0] * (1.f / 24) + g[2] * (1.f / 6), d = g[1] * (1.f / 12);
    p[0] = g[0] * .25f;
    p[1] = a - b;
    p[2] = a + b;
    p[3] = c + d;
    p[4] = c - d;
    p[5] = g[2];
}

/* G': six points to three gradients of weights. */
ALWAYS_INLINE void map_weights_back(const vec p[SPAN], vec g[3]) {
    vec a = p[1] + p[2], b = p[2] - p[1], c = p[3] + p[4], d = p[3] - p[4];
    g[0] = p[0] * .25f - a * (1.f / 6) + c * (1.f / 24);
    g[1] = b * (1.f / 6) + d * (1.f / 12);
    g[2] = (c - a) * (1.f / 6) + p[5];
}

#include "backend/cpu/winograd_tiles.inc"

static void pack(struct winograd *win, const float *w) {
    ptrdiff_t in = win->desc.x.c, out = win->desc.y.c;
    pack_forward(win, w);
    if (!win->backward) return;
    PARALLEL_FOR(in * out)
    for (ptrdiff_t t = 0; t < (in + PANEL - 1) / PANEL; ++t) pack_panel(w, in, 9, out, in * 9, true, t * PANEL, win->backward);
}

/* ---- gradients ---- */

/* A dy A' of one tile into row `row` of the matrices, which are `matrix` apart. */
static void gradient_tile(const struct tensor *dy, int n, int y0, int x0, float *row, ptrdiff_t matrix) {
    const float *at[TILE * TILE];
    square(dy, n, y0, x0, TILE, at);
    for (ptrdiff_t c = 0; c < dy->c; c += WIDTH) {
        vec half[SPAN][TILE], d[TILE], p[SPAN];
        for (int i = 0; i < TILE; ++i) {
            for (int j = 0; j < TILE; ++j) d[j] = load_pixel(at[j * TILE + i] ? at[j * TILE + i] + c : NULL, dy->c - c);
            map_output_back(d, p);
            for (int j = 0; j < SPAN; ++j) half[j][i] = p[j];
        }
        for (int j = 0; j < SPAN; ++j) {
            map_output_back(half[j], p);
            for (int i = 0; i < SPAN; ++i) store(row + (j * SPAN + i) * matrix + c, p[i]);
        }
    }
}

static void backward_data(const struct winograd *win, int threads, float *scratch, const struct tensor *dy, struct tensor *dx, bool add) {
    struct task t = task_of(dy, dx, win->backward, 2 - win->desc.pad);
    t.add = add ? dx : NULL;
    run(&t, threads, scratch);
}

/* G'UG of one panel of filters; sums (36 matrices of in x out_step). */
static void add_weights(const float *sums, ptrdiff_t in, ptrdiff_t out, ptrdiff_t out_step, ptrdiff_t f0, float *dw) {
    for (ptrdiff_t c = 0; c < in; ++c) {
        const float *at = sums + c * out_step + f0;
        vec half[3][SPAN], p[SPAN], g[3];
        for (int i = 0; i < SPAN; ++i) {
            for (int j = 0; j < SPAN; ++j) p[j] = load(at + (j * SPAN + i) * matrix_step(in, out_step));
            map_weights_back(p, g);
            for (int j = 0; j < 3; ++j) half[j][i] = g[j];
        }
        for (int j = 0; j < 3; ++j) {
            map_weights_back(half[j], g);
            for (int i = 0; i < 3; ++i)
                for (int f = 0; f < WIDTH && f0 + f < out; ++f) dw[((f0 + f) * in + c) * 9 + j * 3 + i] += g[i][f];
        }
    }
}

static void backward_weights(const struct winograd *win, int threads, float *scratch, const struct tensor *x, const struct tensor *dy, float *dw) {
    (void)threads;
    struct grid grid = grid_of(dy);
    ptrdiff_t in = x->c, out = dy->c, x_step = row_step(in), y_step = row_step(out), most = most_tiles(grid.count, x_step, y_step);
    float *from = scratch, *slopes = from + POINTS * matrix_step(most, x_step), *sums = slopes + POINTS * matrix_step(most, y_step);
    for (ptrdiff_t first = 0; first < grid.count; first += most) {
        ptrdiff_t n = grid.count - first < most ? grid.count - first : most;
#pragma omp parallel for schedule(static) num_threads(threads)
        for (ptrdiff_t i = 0; i < n; ++i) {
            int b, py, px;
            tile_place(&grid, first + i, &b, &py, &px);
            input_tile(x, b, py - win->desc.pad, px - win->desc.pad, from + i * x_step, matrix_step(n, x_step));
            gradient_tile(dy, b, py, px, slopes + i * y_step, matrix_step(n, y_step));
        }
#pragma omp parallel for schedule(static) num_threads(threads)
        for (int p = 0; p < POINTS; ++p)
            for (ptrdiff_t f = 0; f < out; f += PANEL)
                product_panel(panel_width(out, f), in, from + p * matrix_step(n, x_step), 1, x_step, slopes + p * matrix_step(n, y_step) + f,
                              y_step, n, sums + p * matrix_step(in, y_step) + f, y_step, first > 0);
    }
#pragma omp parallel for schedule(static) num_threads(threads)
    for (ptrdiff_t f = 0; f < out; f += WIDTH) add_weights(sums, in, out, y_step, f, dw);
}

static size_t scratch_size(const struct winograd *win, int threads) {
    const struct conv_desc *d = &win->desc;
    ptrdiff_t count = grid_of(&d->y).count, back = grid_of(&d->x).count;
    size_t size = tiles_scratch(d, count > back ? count : back, threads);
    return d->backward ? size + (size_t)POINTS * (size_t)matrix_step(d->x.c, row_step(d->y.c)) : size;
}

const struct winograd_ops CPU_NAME(winograd_) = { weights_size, scratch_size, pack, forward, backward_data, backward_weights };
