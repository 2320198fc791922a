/* Winograd convolution F(4x4, 3x3).  Each 4x4 tile of outputs (with the 6x6 inputs it reads) becomes 36 points; per point, all
 * tiles form a matrix product over channels.  y = A'[(G g G') * (B' d B)]A; the gradients use the transposed maps. */
#include "backend/cpu/vec.h"

enum { TILE = 4, SPAN = 6, STEP = 4 };

/* ---- the one-dimensional maps, each applied to rows and columns ---- */

/* B': six inputs to six points.  The factors of the usual G (1/4, -1/6, 1/24) are here: there are more weights than inputs. */
ALWAYS_INLINE void map_input(const vec d[SPAN], vec p[SPAN]) {
    vec a = d[2] * (2.f / 3) - d[4] * (1.f / 6), b = d[1] * (2.f / 3) - d[3] * (1.f / 6);
    vec c = (d[4] - d[2]) * (1.f / 24), e = (d[3] - d[1]) * (1.f / 12);
    p[0] = d[0] - 1.25f * d[2] + .25f * d[4];
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
    vec a = g[0] + g[2], b = g[0] + 4 * g[2];
    p[0] = g[0];
    p[1] = a + g[1];
    p[2] = a - g[1];
    p[3] = b + 2 * g[1];
    p[4] = b - 2 * g[1];
    p[5] = g[2];
}

/* G': six points to three gradients of weights. */
ALWAYS_INLINE void map_weights_back(const vec p[SPAN], vec g[3]) {
    vec a = p[1] + p[2], b = p[3] + p[4];
    g[0] = p[0] + a + b;
    g[1] = p[1] - p[2] + 2 * (p[3] - p[4]);
    g[2] = a + 4 * b + p[5];
}

#include "backend/cpu/winograd_tiles.inc"

static void pack(const struct winograd *win, const float *w) {
    ptrdiff_t in = win->desc.x.c;
    pack_forward(win, w);
    if (win->backward) pack_taps(w, in, 9, win->desc.y.c, in * 9, true, win->backward);
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

/* G'UG of one panel of filters, input channels first to first + n; sums: matrices of n rows of a panel, `point` apart. */
static void add_weights(const float *sums, ptrdiff_t point, ptrdiff_t first, ptrdiff_t n, ptrdiff_t in, ptrdiff_t f0, ptrdiff_t filters, float *dw) {
    for (ptrdiff_t c = 0; c < n; ++c)
        for (ptrdiff_t v = 0; v < filters; v += WIDTH) {
            vec half[3][SPAN], p[SPAN], g[3];
            for (int i = 0; i < SPAN; ++i) {
                for (int j = 0; j < SPAN; ++j) p[j] = load(sums + (j * SPAN + i) * point + c * PANEL + v);
                map_weights_back(p, g);
                for (int j = 0; j < 3; ++j) half[j][i] = g[j];
            }
            for (int j = 0; j < 3; ++j) {
                map_weights_back(half[j], g);
                for (int i = 0; i < 3; ++i)
                    for (int f = 0; f < WIDTH && v + f < filters; ++f) dw[((f0 + v + f) * in + first + c) * 9 + j * 3 + i] += g[i][f];
            }
        }
}

enum { ROWS_CHUNK = 64, SUMS_POINT = ROWS_CHUNK * PANEL + WIDTH }; /* input channels at a time: sums stay in the second-level cache */

static void backward_weights(const struct winograd *win, int threads, float *scratch, const struct tensor *x, const struct tensor *dy, float *dw) {
    struct grid grid = grid_of(dy);
    ptrdiff_t in = x->c, out = dy->c, x_step = row_step(in), y_step = row_step(out), most = most_tiles(grid.count, x_step + y_step);
    ptrdiff_t chunks = (in + ROWS_CHUNK - 1) / ROWS_CHUNK, panels = (out + PANEL - 1) / PANEL, items = chunks * panels;
    float *from = scratch, *slopes = from + POINTS * matrix_step(most, x_step), *own = slopes + POINTS * matrix_step(most, y_step);
    (void)threads;
    for (ptrdiff_t first = 0; first < grid.count; first += most) {
        ptrdiff_t n = grid.count - first < most ? grid.count - first : most, y_matrix = matrix_step(n, y_step);
        struct layout l = rows_layout(n, x_step);
#pragma omp parallel num_threads(threads)
        {
#pragma omp for schedule(static)
            for (ptrdiff_t i = 0; i < n; ++i) {
                int b, py, px;
                tile_place(&grid, first + i, &b, &py, &px);
                input_tile(x, b, py - win->desc.pad, px - win->desc.pad, from + i * x_step, &l);
                gradient_tile(dy, b, py, px, slopes + i * y_step, y_matrix);
            }
#pragma omp for schedule(static)
            for (int thread = 0; thread < threads; ++thread)
                for (ptrdiff_t item = thread * items / threads; item < (thread + 1) * items / threads; ++item) {
                    ptrdiff_t c = item % chunks * ROWS_CHUNK, f = item / chunks * PANEL, rows = in - c < ROWS_CHUNK ? in - c : ROWS_CHUNK;
                    float *sums = own + thread * (ptrdiff_t)WEIGHTS * SUMS_POINT;
                    for (int p = 0; p < POINTS; ++p)
                        product_panel(out - f, rows, from + p * l.matrix + c, 1, x_step, slopes + p * y_matrix + f, y_step, n,
                                      sums + p * SUMS_POINT, PANEL, false);
                    add_weights(sums, SUMS_POINT, c, rows, in, f, out - f < PANEL ? out - f : PANEL, dw);
                }
        }
    }
}

static size_t scratch_size(const struct winograd *win, int threads) {
    size_t most = forward_scratch(win, threads);
    if (!win->desc.backward) return most;
    struct tensor x = win->desc.x, y = win->desc.y;
    struct task back = task_of(&y, &x, win->backward, 0);
    ptrdiff_t x_step = row_step(x.c), y_step = row_step(y.c), tiles = most_tiles(grid_of(&y).count, x_step + y_step);
    size_t data = task_scratch(&back, threads);
    size_t weights = (size_t)(POINTS * (matrix_step(tiles, x_step) + matrix_step(tiles, y_step)) + threads * (ptrdiff_t)WEIGHTS * SUMS_POINT);
    if (data > most) most = data;
    return weights > most ? weights : most;
}

const struct winograd_ops CPU_NAME(winograd_) = { weights_size, scratch_size, pack, forward, backward_data, backward_weights };
