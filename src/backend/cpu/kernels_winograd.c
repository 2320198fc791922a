/* Winograd convolution F(4x4, 3x3).  Each 4x4 tile of outputs (with the 6x6 inputs it reads) becomes 36 points; per point, all
 * tiles form a matrix product over channels.  y = A'[(G g G') * (B' d B)]A; the gradients use the transposed maps. */
#include "backend/cpu/winograd.h"

#include "backend/cpu/vec.h"

enum { TILE = 4, SPAN = 6, POINTS = SPAN * SPAN };

/* Distance of the rows of a transformed map: whole vectors, and no power of two, or they would share few cache sets. */
static ptrdiff_t row_step(ptrdiff_t channels) {
    ptrdiff_t n = round_up(channels, WIDTH);
    return n % 256 ? n : n + WIDTH;
}

/* Distance of the matrices of a block of `rows` rows: an odd number of vectors, so that the points of one tile, which are read
 * and written together, fall into different cache sets. */
static ptrdiff_t matrix_step(ptrdiff_t rows, ptrdiff_t step) { return rows * step + (rows * step / WIDTH % 2 ? 0 : WIDTH); }

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

/* ---- matrix products ---- */

/* c (rows x wide*WIDTH, rows c_step apart) = or += a (rows x k) * b (k x wide*WIDTH). */
ALWAYS_INLINE void product(int rows, int wide, const float *restrict a, ptrdiff_t a_row, ptrdiff_t a_k, const float *restrict b, ptrdiff_t b_k,
                           ptrdiff_t k, float *restrict c, ptrdiff_t c_step, bool add) {
    vec sum[ROWS][2];
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) sum[i][0] = sum[i][1] = (vec){0};
    for (ptrdiff_t j = 0; j < k; ++j) {
        vec b0 = load(b + j * b_k), b1 = wide > 1 ? load(b + j * b_k + WIDTH) : b0;
#pragma GCC unroll 16
        for (int i = 0; i < rows; ++i) {
            float x = a[i * a_row + j * a_k];
            sum[i][0] += x * b0;
            if (wide > 1) sum[i][1] += x * b1;
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
        float *to = c + i * c_step;
        if (add) sum[i][0] += load(to);
        store(to, sum[i][0]);
        if (wide > 1 && add) sum[i][1] += load(to + WIDTH);
        if (wide > 1) store(to + WIDTH, sum[i][1]);
    }
}

ALWAYS_INLINE void product_rows(int wide, ptrdiff_t rows, const float *a, ptrdiff_t a_row, ptrdiff_t a_k, const float *b, ptrdiff_t b_k, ptrdiff_t k,
                                float *c, ptrdiff_t c_step, bool add) {
    ptrdiff_t i = 0;
    for (; i + ROWS <= rows; i += ROWS) product(ROWS, wide, a + i * a_row, a_row, a_k, b, b_k, k, c + i * c_step, c_step, add);
    for (; i + 4 <= rows; i += 4) product(4, wide, a + i * a_row, a_row, a_k, b, b_k, k, c + i * c_step, c_step, add);
    for (; i < rows; ++i) product(1, wide, a + i * a_row, a_row, a_k, b, b_k, k, c + i * c_step, c_step, add);
}

static void product_panel(ptrdiff_t width, ptrdiff_t rows, const float *a, ptrdiff_t a_row, ptrdiff_t a_k, const float *b, ptrdiff_t b_k, ptrdiff_t k,
                          float *c, ptrdiff_t c_step, bool add) {
    if (width == PANEL) product_rows(2, rows, a, a_row, a_k, b, b_k, k, c, c_step, add);
    else product_rows(1, rows, a, a_row, a_k, b, b_k, k, c, c_step, add);
}

/* ---- weights ---- */

static size_t weights_size(int in, int out) { return (size_t)POINTS * (size_t)in * (size_t)round_up(out, WIDTH); }

/* G g G' of WIDTH channels from t0 on, one input channel: tap k of channel t at w[t*t_step + k]. */
ALWAYS_INLINE void pack_one(const float *w, ptrdiff_t t_step, ptrdiff_t n, bool flip, float *to, ptrdiff_t point) {
    float taps[9][WIDTH] = {{0}};
    vec g[3], rows[3][SPAN], p[SPAN];
    for (ptrdiff_t i = 0; i < n; ++i)
        for (int k = 0; k < 9; ++k) taps[flip ? 8 - k : k][i] = w[i * t_step + k];
    for (int x = 0; x < 3; ++x) {
        for (int y = 0; y < 3; ++y) g[y] = load(taps[3 * y + x]);
        map_weights(g, p);
        for (int y = 0; y < SPAN; ++y) rows[x][y] = p[y];
    }
    for (int y = 0; y < SPAN; ++y) {
        for (int x = 0; x < 3; ++x) g[x] = rows[x][y];
        map_weights(g, p);
        for (int x = 0; x < SPAN; ++x) store(to + (y * SPAN + x) * point, p[x]);
    }
}

enum { PACK = 16 }; /* input channels that are collected before they go to 36 far places */

/* The part of all matrices that belongs to one panel of `to` channels. */
static void pack_panel(const float *w, ptrdiff_t to, ptrdiff_t t_step, ptrdiff_t from, ptrdiff_t f_step, bool flip, ptrdiff_t t0, float *packed) {
    ptrdiff_t width = panel_width(to, t0), matrix = round_up(to, WIDTH) * from;
    float block[POINTS][PACK * PANEL];
    for (ptrdiff_t f0 = 0; f0 < from; f0 += PACK) {
        ptrdiff_t n = from - f0 < PACK ? from - f0 : PACK;
        for (ptrdiff_t v = 0; v < width; v += WIDTH) {
            ptrdiff_t left = to - t0 - v < WIDTH ? to - t0 - v : WIDTH;
            for (ptrdiff_t f = 0; f < n; ++f)
                pack_one(w + (t0 + v) * t_step + (f0 + f) * f_step, t_step, left, flip, &block[0][f * width + v], PACK * PANEL);
        }
        for (int p = 0; p < POINTS; ++p)
            memcpy(packed + p * matrix + t0 * from + f0 * width, block[p], (size_t)(n * width) * sizeof *packed);
    }
}

static void pack(struct winograd *win, const float *w) {
    ptrdiff_t in = win->desc.x.c, out = win->desc.y.c;
    PARALLEL_FOR(in * out)
    for (ptrdiff_t t = 0; t < (out + PANEL - 1) / PANEL; ++t) pack_panel(w, out, in * 9, in, 9, false, t * PANEL, win->forward);
    if (!win->backward) return;
    PARALLEL_FOR(in * out)
    for (ptrdiff_t t = 0; t < (in + PANEL - 1) / PANEL; ++t) pack_panel(w, in, 9, out, in * 9, true, t * PANEL, win->backward);
}

/* ---- tiles ---- */

struct grid { int across, down; ptrdiff_t count; }; /* tiles of one map, and of all */

static struct grid grid_of(const struct tensor *out) {
    struct grid g = { (out->w + TILE - 1) / TILE, (out->h + TILE - 1) / TILE, 0 };
    g.count = (ptrdiff_t)out->n * g.across * g.down;
    return g;
}

static void tile_place(const struct grid *g, ptrdiff_t tile, int *n, int *y, int *x) {
    ptrdiff_t each = (ptrdiff_t)g->across * g->down;
    *n = (int)(tile / each);
    *y = (int)(tile % each) / g->across * TILE;
    *x = (int)(tile % each) % g->across * TILE;
}

/* A square of pixels of a map from (y, x) on; pixels outside are NULL. */
ALWAYS_INLINE void square(const struct tensor *t, int n, int y, int x, int side, const float **at) {
    for (int j = 0; j < side; ++j)
        for (int i = 0; i < side; ++i) {
            bool inside = y + j >= 0 && y + j < t->h && x + i >= 0 && x + i < t->w;
            at[j * side + i] = inside ? pixel(t, n, y + j, x + i) : NULL;
        }
}

/* B'dB of one tile into row `row` of the 36 matrices, which are `matrix` apart. */
static void input_tile(const struct tensor *x, int n, int y0, int x0, float *row, ptrdiff_t matrix) {
    const float *at[POINTS];
    square(x, n, y0, x0, SPAN, at);
    for (ptrdiff_t c = 0; c < x->c; c += WIDTH) {
        vec half[SPAN][SPAN], d[SPAN], p[SPAN];
        for (int i = 0; i < SPAN; ++i) {
            for (int j = 0; j < SPAN; ++j) d[j] = load_pixel(at[j * SPAN + i] ? at[j * SPAN + i] + c : NULL, x->c - c);
            map_input(d, p);
            for (int j = 0; j < SPAN; ++j) half[j][i] = p[j];
        }
        for (int j = 0; j < SPAN; ++j) {
            map_input(half[j], p);
            for (int i = 0; i < SPAN; ++i) store(row + (j * SPAN + i) * matrix + c, p[i]);
        }
    }
}

/* A dy A' of one tile likewise. */
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

/* A'MA of one tile, with bias and activation, plus `add` (NULL: nothing; may be y); parts of the tile outside the map are dropped. */
ALWAYS_INLINE void output_tile(enum activation a, const float *row, ptrdiff_t matrix, const float *bias, const struct tensor *add, struct tensor *y,
                               int n, int y0, int x0) {
    for (ptrdiff_t c = 0; c < y->c; c += WIDTH) {
        ptrdiff_t left = y->c - c;
        vec half[TILE][SPAN], p[SPAN], out[TILE], b = load_pixel(bias ? bias + c : NULL, left);
        for (int i = 0; i < SPAN; ++i) {
            for (int j = 0; j < SPAN; ++j) p[j] = load(row + (j * SPAN + i) * matrix + c);
            map_output(p, out);
            for (int j = 0; j < TILE; ++j) half[j][i] = out[j];
        }
        for (int j = 0; j < TILE && y0 + j < y->h; ++j) {
            map_output(half[j], out);
            for (int i = 0; i < TILE && x0 + i < y->w; ++i) {
                float *to = pixel(y, n, y0 + j, x0 + i) + c;
                vec v = activate(a, out[i] + b);
                if (add) v += load_some(pixel(add, n, y0 + j, x0 + i) + c, left);
                store_some(to, v, left);
            }
        }
    }
}

/* ---- passes ---- */

/* One convolution of `from` to `to` with a set of matrices. */
struct task {
    const struct tensor *from;
    struct tensor *to;
    const float *weights, *bias;
    const struct tensor *add; /* summed into the result; NULL: nothing */
    int pad;
    enum activation act;
    struct grid grid;
    ptrdiff_t from_step, to_step; /* rows of the transformed maps */
};

/* Enough tiles to use a panel of weights many times, few enough that both transformed maps stay in the second-level cache. */
static ptrdiff_t block_of(ptrdiff_t from_step, ptrdiff_t to_step) {
    ptrdiff_t n = 1200000 / (POINTS * (ptrdiff_t)sizeof(float) * (from_step + to_step));
    n = n / ROWS * ROWS;
    return n < 2 * ROWS ? 2 * ROWS : n > 8 * ROWS ? 8 * ROWS : n;
}

static size_t block_size(ptrdiff_t tiles, ptrdiff_t from_step, ptrdiff_t to_step) {
    return (size_t)POINTS * (size_t)(matrix_step(tiles, from_step) + matrix_step(tiles, to_step));
}

static void inputs(const struct task *t, ptrdiff_t tile, float *row, ptrdiff_t matrix) {
    int n, y, x;
    tile_place(&t->grid, tile, &n, &y, &x);
    input_tile(t->from, n, y - t->pad, x - t->pad, row, matrix);
}

static void outputs(const struct task *t, ptrdiff_t tile, const float *row, ptrdiff_t matrix) {
    int n, y, x;
    tile_place(&t->grid, tile, &n, &y, &x);
#define CALL(act) output_tile(act, row, matrix, t->bias, t->add, t->to, n, y, x)
    DISPATCH_ACTIVATION(t->act, CALL)
#undef CALL
}

/* Point p of `tiles` tiles. */
static void multiply(const struct task *t, int p, ptrdiff_t tiles, const float *from, float *to) {
    ptrdiff_t k = t->from->c, out = t->to->c;
    const float *w = t->weights + p * k * round_up(out, WIDTH);
    for (ptrdiff_t f = 0; f < out; f += PANEL) {
        ptrdiff_t width = panel_width(out, f);
        product_panel(width, tiles, from + p * matrix_step(tiles, t->from_step), t->from_step, 1, w + f * k, width, k,
                      to + p * matrix_step(tiles, t->to_step) + f, t->to_step, false);
    }
}

/* Each thread takes blocks of tiles through all three steps. */
static void run_by_tiles(const struct task *t, int threads, float *scratch) {
    ptrdiff_t block = block_of(t->from_step, t->to_step), groups = (t->grid.count + ROWS - 1) / ROWS;
    size_t size = block_size(block, t->from_step, t->to_step);
    (void)threads;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int thread = 0; thread < threads; ++thread) {
        float *from = scratch + (size_t)thread * size, *to = from + POINTS * matrix_step(block, t->from_step);
        ptrdiff_t end = (thread + 1) * groups / threads * ROWS;
        if (end > t->grid.count) end = t->grid.count;
        for (ptrdiff_t first = thread * groups / threads * ROWS, n; first < end; first += n) {
            n = end - first < block ? end - first : block;
            for (ptrdiff_t i = 0; i < n; ++i) inputs(t, first + i, from + i * t->from_step, matrix_step(n, t->from_step));
            for (int p = 0; p < POINTS; ++p) multiply(t, p, n, from, to);
            for (ptrdiff_t i = 0; i < n; ++i) outputs(t, first + i, to + i * t->to_step, matrix_step(n, t->to_step));
        }
    }
}

/* Many channels, few tiles: the weights are the larger part, so each thread reads its own points of them, once. */
static void run_by_points(const struct task *t, int threads, float *scratch, ptrdiff_t most) {
    (void)threads;
    for (ptrdiff_t first = 0; first < t->grid.count; first += most) {
        ptrdiff_t n = t->grid.count - first < most ? t->grid.count - first : most;
        float *from = scratch, *to = from + POINTS * matrix_step(n, t->from_step);
#pragma omp parallel for schedule(static) num_threads(threads)
        for (ptrdiff_t i = 0; i < n; ++i) inputs(t, first + i, from + i * t->from_step, matrix_step(n, t->from_step));
#pragma omp parallel for schedule(static) num_threads(threads)
        for (int p = 0; p < POINTS; ++p) multiply(t, p, n, from, to);
#pragma omp parallel for schedule(static) num_threads(threads)
        for (ptrdiff_t i = 0; i < n; ++i) outputs(t, first + i, to + i * t->to_step, matrix_step(n, t->to_step));
    }
}


static bool by_points(const struct task *t, int threads) {
    ptrdiff_t block = block_of(t->from_step, t->to_step);
    return t->grid.count < threads * block || (ptrdiff_t)t->from->c * t->to->c > 64 * 1024;
}

/* Both transformed maps of that many tiles stay in the last-level cache. */
static ptrdiff_t most_tiles(ptrdiff_t count, ptrdiff_t from_step, ptrdiff_t to_step) {
    ptrdiff_t n = 8000000 / (POINTS * (ptrdiff_t)sizeof(float) * (from_step + to_step));
    n = n < 64 ? 64 : n > 512 ? 512 : n;
    return count < n ? count : n;
}

static void run(struct task *t, int threads, float *scratch) {
    if (by_points(t, threads)) run_by_points(t, threads, scratch, most_tiles(t->grid.count, t->from_step, t->to_step));
    else run_by_tiles(t, threads, scratch);
}

static struct task task_of(const struct tensor *from, struct tensor *to, const float *weights, int pad) {
    return (struct task){ .from = from, .to = to, .weights = weights, .pad = pad, .act = ACT_LINEAR, .grid = grid_of(to),
                          .from_step = row_step(from->c), .to_step = row_step(to->c) };
}

static void forward(const struct winograd *win, int threads, float *scratch, const struct tensor *x, const float *bias, const struct tensor *skip,
                    struct tensor *y) {
    struct task t = task_of(x, y, win->forward, win->desc.pad);
    t.bias = bias;
    t.add = skip;
    t.act = win->desc.act;
    run(&t, threads, scratch);
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
    ptrdiff_t x_step = row_step(d->x.c), y_step = row_step(d->y.c), block = block_of(x_step, y_step);
    ptrdiff_t count = grid_of(&d->y).count, back = grid_of(&d->x).count;
    ptrdiff_t most = most_tiles(count > back ? count : back, x_step, y_step);
    size_t tiles = block_size(block, x_step, y_step) * (size_t)threads, points = block_size(most, x_step, y_step);
    if (d->backward) points += (size_t)POINTS * (size_t)matrix_step(d->x.c, y_step);
    return tiles > points ? tiles : points;
}

const struct winograd_ops CPU_NAME(winograd_) = { weights_size, scratch_size, pack, forward, backward_data, backward_weights };
