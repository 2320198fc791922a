#include "prune/spectrum.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- eigenvalues -------------------------------------------------------------------------------------------------------- */

/* Householder: a = Q T Q', T with `diagonal` and `beside` (beside[k] between k and k + 1); Q takes a's place where it is wanted. */
static void tridiagonal(double *a, int n, bool vectors, double *diagonal, double *beside, double *v, double *w) {
    size_t m = (size_t)n;
    for (int k = 0; k + 2 < n; ++k) { /* the reflection stays in column k below the diagonal */
        double squares = 0;
        for (int i = k + 1; i < n; ++i) v[i] = a[(size_t)i * m + (size_t)k], squares += v[i] * v[i];
        double length = sqrt(squares), target = v[k + 1] > 0 ? -length : length;
        beside[k] = target;
        v[k + 1] -= target;
        squares = 0;
        for (int i = k + 1; i < n; ++i) squares += v[i] * v[i];
        double inverse = squares > 0 ? 1 / sqrt(squares) : 0, dot = 0;
        for (int i = k + 1; i < n; ++i) v[i] *= inverse;
        for (int i = k + 1; i < n; ++i) {
            w[i] = 0;
            for (int j = k + 1; j < n; ++j) w[i] += a[(size_t)i * m + (size_t)j] * v[j];
            dot += w[i] * v[i];
        }
        for (int i = k + 1; i < n; ++i) w[i] = 2 * (w[i] - dot * v[i]);
        for (int i = k + 1; i < n; ++i)
            for (int j = k + 1; j < n; ++j) a[(size_t)i * m + (size_t)j] -= v[i] * w[j] + w[i] * v[j];
        for (int i = k + 1; i < n; ++i) a[(size_t)i * m + (size_t)k] = v[i];
    }
    for (int i = 0; i < n; ++i) diagonal[i] = a[(size_t)i * m + (size_t)i];
    if (n > 1) beside[n - 2] = a[(m - 1) * m + m - 2];
    for (int k = n - 1; k >= 0 && vectors; --k) { /* Q from its last reflection to its first; rows and columns above k are still a's */
        for (int i = k + 1; i < n; ++i) v[i] = k + 2 < n ? a[(size_t)i * m + (size_t)k] : 0;
        for (int i = k; i < n; ++i) a[(size_t)i * m + (size_t)k] = a[(size_t)k * m + (size_t)i] = i == k;
        for (int j = k + 1; j < n; ++j) w[j] = 0;
        for (int i = k + 1; i < n; ++i)
            for (int j = k + 1; j < n; ++j) w[j] += v[i] * a[(size_t)i * m + (size_t)j];
        for (int i = k + 1; i < n; ++i)
            for (int j = k + 1; j < n; ++j) a[(size_t)i * m + (size_t)j] -= 2 * v[i] * w[j];
    }
}

/* Turns rows i and i + 1 of the transposed eigenvectors. */
static void turn(double *q, int n, int i, double c, double s) {
    double *x = q + (size_t)i * (size_t)n, *y = x + n;
    for (int k = 0; k < n; ++k) {
        double t = x[k];
        x[k] = c * t + s * y[k];
        y[k] = c * y[k] - s * t;
    }
}

/* One implicit step on the block first..last of T (d beside e): the shift is the eigenvalue of the last 2 x 2 that is nearer to
 * its end; the bulge is chased down by rotations.  q: NULL, or the transposed eigenvectors. */
static void chase(double *d, double *e, int first, int last, double *q, int n) {
    double half = (d[last - 1] - d[last]) / 2, b = e[last - 1];
    double shift = d[last] - b * b / (half + copysign(hypot(half, b), half)), x = d[first] - shift, z = e[first];
    for (int k = first; k < last; ++k) {
        double r = hypot(x, z), c = r > 0 ? x / r : 1, s = r > 0 ? z / r : 0;
        if (k > first) e[k - 1] = r;
        double p = d[k], t = d[k + 1], o = e[k];
        d[k] = c * c * p + 2 * c * s * o + s * s * t;
        d[k + 1] = s * s * p - 2 * c * s * o + c * c * t;
        e[k] = (c * c - s * s) * o + c * s * (t - p);
        x = e[k];
        if (k + 1 < last) z = s * e[k + 1], e[k + 1] *= c;
        if (q) turn(q, n, k, c, s);
    }
}

static void transpose(double *a, int n) {
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < i; ++j) {
            double *x = a + (size_t)i * (size_t)n + (size_t)j, *y = a + (size_t)j * (size_t)n + (size_t)i, t = *x;
            *x = *y;
            *y = t;
        }
}

static enum status eigen(struct ctx *ctx, double *a, int n, bool vectors, double *value) {
    double *room = mem_zero(ctx, 3 * (size_t)n, sizeof *room), *beside = room, *largest = value;
    if (!room) return ST_MEMORY;
    tridiagonal(a, n, vectors, largest, beside, room + n, room + 2 * n);
    if (vectors) transpose(a, n);
    double scale = 0;
    for (int i = 0; i < n; ++i) scale = fmax(scale, fabs(value[i]) + (i + 1 < n ? fabs(beside[i]) : 0));
    int last = n - 1, steps = 0;
    while (last > 0 && steps < 60 * n) {
        int first = last;
        while (first > 0 && fabs(beside[first - 1]) > DBL_EPSILON * (fabs(value[first - 1]) + fabs(value[first])) &&
               fabs(beside[first - 1]) > DBL_MIN + 1e-18 * scale)
            --first;
        if (first == last) --last;
        else chase(value, beside, first, last, vectors ? a : NULL, n), ++steps;
    }
    if (vectors) transpose(a, n);
    free(room);
    return last > 0 ? ctx_fail(ctx, ST_NUMERIC, "eigenvalues of feature maps did not settle") : ST_OK;
}

enum status symmetric_eigen(struct ctx *ctx, double *a, int n, double *value) { return eigen(ctx, a, n, true, value); }

/* --- nuclear norm ------------------------------------------------------------------------------------------------------- */

/* The smaller of A A' and A' A. */
static void gram(const float *a, int rows, int cols, double *g) {
    if (rows <= cols) {
        for (int i = 0; i < rows; ++i)
            for (int j = 0; j <= i; ++j) {
                const float *x = a + (size_t)i * (size_t)cols, *y = a + (size_t)j * (size_t)cols;
                double sum = 0;
                for (int p = 0; p < cols; ++p) sum += (double)x[p] * (double)y[p];
                g[(size_t)i * (size_t)rows + (size_t)j] = g[(size_t)j * (size_t)rows + (size_t)i] = sum;
            }
        return;
    }
    memset(g, 0, (size_t)cols * (size_t)cols * sizeof *g);
    for (int c = 0; c < rows; ++c) {
        const float *x = a + (size_t)c * (size_t)cols;
        for (int i = 0; i < cols; ++i)
            for (int j = 0; j < cols; ++j) g[(size_t)i * (size_t)cols + (size_t)j] += (double)x[i] * (double)x[j];
    }
}

static int descending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* The Gram matrix is in double, its entries in float: roots of its eigenvalues are right to 1e-8 of the largest, well below what
 * counts as zero. */
enum status singular_values(struct ctx *ctx, const float *a, int rows, int cols, double *value) {
    int r = rows < cols ? rows : cols;
    double *g = mem_zero(ctx, (size_t)r * (size_t)r, sizeof *g);
    if (!g) return ST_MEMORY;
    gram(a, rows, cols, g);
    enum status st = eigen(ctx, g, r, false, value);
    for (int i = 0; i < r; ++i) value[i] = sqrt(fmax(value[i], 0));
    qsort(value, (size_t)r, sizeof *value, descending);
    free(g);
    return st;
}

int spectrum_rank(const double *value, int rows, int cols) {
    int rank = 0, r = rows < cols ? rows : cols;
    while (rank < r && value[rank] > value[0] * (rows > cols ? rows : cols) * FLT_EPSILON) ++rank;
    return rank;
}

double spectrum_flatness(const double *value, int n) {
    double sum = 0, entropy = 0;
    for (int i = 0; i < n; ++i) sum += value[i];
    for (int i = 0; i < n; ++i)
        if (value[i] > 0) entropy -= value[i] / sum * log(value[i] / sum);
    return sum > 0 ? exp(entropy) / n : 0;
}

/* weight[c*r + i]: squared share of row c in the i-th left singular vector of A; g: eigenvectors of the Gram matrix. */
static void left_shares(const float *a, int rows, int cols, int r, const double *g, const double *value, double floor_, double *weight) {
    for (int c = 0; c < rows; ++c)
        for (int i = 0; i < r; ++i) {
            double u = 0;
            if (rows <= cols) u = g[(size_t)c * (size_t)r + (size_t)i];
            else if (value[i] > floor_) {
                for (int p = 0; p < cols; ++p) u += (double)a[(size_t)c * (size_t)cols + (size_t)p] * g[(size_t)p * (size_t)r + (size_t)i];
                u /= sqrt(value[i]);
            }
            weight[(size_t)c * (size_t)r + (size_t)i] = u * u;
        }
}

/* Without row c, A A' loses row and column c.  With tr sqrt(X) = 1/pi * integral of tr X/(X + t) / sqrt(t) over t > 0, and the
 * determinants of both in the ratio R(t) = sum_i u_ci^2/(lambda_i + t), the difference of the traces is
 *     1/pi * integral of (R + t R')/R / sqrt(t),    R + t R' = sum_i u_ci^2 lambda_i/(lambda_i + t)^2.
 * In log t the integrand is smooth and falls off on both sides: the trapezoidal rule converges geometrically, and no row needs
 * a decomposition of its own. */
static double trace_loss(const double *weight, const double *value, int r, double top) {
    const double step = 0.75, reach = 45;
    double rest = 1, sum = 0;
    for (int i = 0; i < r; ++i) rest -= weight[i];
    rest = fmax(rest, 0);
    for (double u = -reach; u <= reach; u += step) {
        double t = top * exp(u), ratio = rest / t, slope = 0;
        for (int i = 0; i < r; ++i) {
            double lambda = fmax(value[i], 0), part = weight[i] / (lambda + t);
            ratio += part;
            slope += part * lambda / (lambda + t);
        }
        if (ratio > 0) sum += sqrt(t) * slope / ratio;
    }
    return sum * step / acos(-1);
}

enum status nuclear_loss(struct ctx *ctx, const float *a, int rows, int cols, double *loss) {
    int r = rows < cols ? rows : cols;
    double *g = mem_zero(ctx, (size_t)r * (size_t)r, sizeof *g), *value = mem_zero(ctx, (size_t)r, sizeof *value);
    double *weight = mem_zero(ctx, (size_t)rows * (size_t)r, sizeof *weight), top = 0;
    enum status st = ctx->code;
    if (st == ST_OK) gram(a, rows, cols, g);
    if (st == ST_OK) st = symmetric_eigen(ctx, g, r, value);
    if (st == ST_OK) {
        for (int i = 0; i < r; ++i) top = fmax(top, value[i]);
        left_shares(a, rows, cols, r, g, value, top * r * DBL_EPSILON, weight);
#pragma omp parallel for schedule(static)
        for (int c = 0; c < rows; ++c) loss[c] = top > 0 ? trace_loss(weight + (size_t)c * (size_t)r, value, r, top) : 0;
    }
    free(g), free(value), free(weight);
    return st;
}
