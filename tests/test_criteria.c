/* Every pruning criterion against an independent, plain computation on small networks; what does not matter (batch, order,
 * threads, company) does not. */
#include <omp.h>

#include "prune/criterion.h"
#include "prune/criterion_maps.h"
#include "prune/spectrum.h"
#include "prune_nets.h"

#define NET "[net]\nwidth=32\nheight=32\nchannels=3\nbatch=1\nsubdivisions=1\n"
#define CONV(bn, f, k, s, act) \
    "[convolutional]\nbatch_normalize=" bn "\nfilters=" #f "\nsize=" #k "\nstride=" #s "\npad=1\nactivation=" act "\n"
#define YOLO(mask) "[yolo]\nmask=" mask "\nanchors=6,8, 18,14\nclasses=2\nnum=2\niou_loss=giou\niou_thresh=.2\n"
/* A residual, a depthwise convolution, squeeze and excite, a concatenation with two readers, two heads. */
#define DETECTOR(bn) \
    NET CONV(bn, 6, 3, 2, "mish") CONV("0", 5, 1, 1, "swish") CONV(bn, 6, 3, 1, "linear") \
    "[shortcut]\nfrom=-3\nactivation=swish\n[convolutional]\nbatch_normalize=" bn "\nfilters=6\ngroups=6\nsize=3\npad=1\nactivation=leaky\n" \
    CONV(bn, 7, 1, 2, "leaky") "[avgpool]\n" CONV("0", 3, 1, 1, "relu") CONV("0", 7, 1, 1, "logistic") "[scale_channels]\nfrom=5\n" \
    CONV("0", 7, 1, 1, "linear") YOLO("1") "[route]\nlayers=9\n[upsample]\nstride=2\n[route]\nlayers=-1,3\n" CONV(bn, 6, 3, 1, "mish") \
    CONV(bn, 6, 3, 1, "leaky") CONV("0", 7, 1, 1, "linear") YOLO("0")

enum { IMAGES = 5 };
struct rig {
    struct ctx ctx;
    struct backend *be;
    struct net *net;
    struct channels *ch;
    float *x;
    struct truth object[IMAGES][2];
    int objects[IMAGES], order[12], gets;
    struct score_source src;
    struct saliency_options opt;
    double *mean;
};

static enum status get_image(void *user, struct ctx *ctx, int i, struct score_image *out) {
    struct rig *r = user;
    int k = r->order[i];
    (void)ctx;
    ++r->gets;
    out->x = r->x + (size_t)k * nets_image(r->net);
    out->truth = (struct truth_list){ r->objects[k], 2, r->object[k] };
    return ST_OK;
}

static struct rig *rig_on(const char *kind, struct net *net) {
    struct rig *r = calloc(1, sizeof *r);
    r->net = net;
    if (!net || channels_build(&r->ctx, net, &r->ch) != ST_OK || backend_open(&r->ctx, kind, &r->be) != ST_OK) {
        printf("rig: %s\n", r->ctx.error);
        exit(1);
    }
    struct rng g = rng_stream(31, 1, 1);
    r->x = nets_input(net, IMAGES, 8);
    for (int i = 0; i < 12; ++i) r->order[i] = i % IMAGES;
    for (int i = 0; i < IMAGES; ++i) {
        r->objects[i] = i % 3;
        for (int k = 0; k < 2; ++k)
            r->object[i][k] = (struct truth){ { (float)rng_between(&g, .3, .7), (float)rng_between(&g, .3, .7),
                                                (float)rng_between(&g, .1, .5), (float)rng_between(&g, .1, .5) }, k, -1 };
    }
    r->src = (struct score_source){ .count = IMAGES, .get = get_image, .user = r };
    r->opt = saliency_defaults();
    r->opt.batch = 2;
    r->mean = calloc((size_t)r->ch->n_node, sizeof *r->mean);
    return r;
}

static struct rig *rig_of(const char *kind, const char *text, uint64_t seed) {
    struct ctx ctx = { 0 };
    return rig_on(kind, nets_open(&ctx, "criteria", text, seed));
}

static void rig_drop(struct rig *r) {
    channels_drop(r->ch);
    net_close(r->net);
    backend_close(r->be);
    free(r->mean), free(r->x), free(r);
}

static double *scores_of(struct rig *r, const char *name) {
    const struct criterion *c = criterion_find(name);
    double *score = calloc((size_t)r->ch->n_group, sizeof *score);
    struct criterion_input in = { r->net, r->be, r->ch, &r->src, &r->opt, r->mean, NULL, NULL, NULL };
    CHECK(c && criteria_score(&r->ctx, &in, &c, 1, &score) == ST_OK, "%s: %s", name, r->ctx.error);
    return score;
}

static double most(const double *v, int n) {
    double m = 0;
    for (int i = 0; i < n; ++i) m = fmax(m, fabs(v[i]));
    return m;
}

static void same(const char *what, const double *got, const double *want, int n, double tolerance) {
    double scale = most(want, n);
    CHECK(scale > 0, "%s: all are 0", what);
    for (int g = 0; g < n; ++g)
        CHECK(fabs(got[g] - want[g]) <= tolerance * scale, "%s: group %d: %.9g, should be %.9g", what, g, got[g], want[g]);
}

/* --- by hand: what a group is, and what a unit is ------------------------------------------------------------------ */

static bool in_group(const struct channels *ch, int layer, int k, int g) { return ch->group_of[ch->first_node[layer] + k] == g; }

static const float *row(const struct net *net, int layer, int f, size_t *per) {
    const struct layer *l = &net->layer[layer];
    const struct param *p = l->n_param ? &l->param[l->n_param - 1] : NULL; /* convolutions keep their weights last */
    if (!p || strcmp(l->section->type, "convolutional")) return NULL;
    *per = (size_t)p->dim[1] * (size_t)p->dim[2];
    return net->param + p->offset + (size_t)f * *per;
}

static void over_unit_mean(const struct channels *ch, double *v) {
    double *out = calloc((size_t)ch->n_group, sizeof *out);
    for (int g = 0; g < ch->n_group; ++g) {
        double sum = 0;
        int n = 0;
        for (int h = 0; h < ch->n_group; ++h)
            if (ch->group[h].unit == ch->group[g].unit) sum += v[h], ++n;
        out[g] = sum > 0 ? v[g] * n / sum : v[g];
    }
    memcpy(v, out, (size_t)ch->n_group * sizeof *v);
    free(out);
}

static void by_weights(const struct rig *r, double *length, double *lamp, double *median) {
    const struct channels *ch = r->ch;
    for (int g = 0; g < ch->n_group; ++g) {
        double squares = 0, apart = 0;
        int filters = 0;
        for (int i = 0; i < r->net->n; ++i)
            for (int k = 0; k < r->net->layer[i].out.c; ++k) {
                size_t per;
                const float *own = row(r->net, i, k, &per);
                if (!own || !in_group(ch, i, k, g)) continue;
                ++filters;
                for (size_t j = 0; j < per; ++j) squares += pow((double)own[j], 2);
                for (int f = 0; f < r->net->layer[i].out.c; ++f) {
                    const float *other = row(r->net, i, f, &per);
                    double d = 0;
                    for (size_t j = 0; j < per; ++j) d += pow((double)own[j] - (double)other[j], 2);
                    apart += sqrt(d);
                }
            }
        length[g] = sqrt(squares);
        lamp[g] = squares;
        median[g] = filters ? apart / filters : 0;
    }
    double *squares = calloc((size_t)ch->n_group, sizeof *squares);
    memcpy(squares, lamp, (size_t)ch->n_group * sizeof *squares);
    for (int g = 0; g < ch->n_group; ++g) {
        double sum = 0;
        for (int h = 0; h < ch->n_group; ++h)
            if (ch->group[h].unit == ch->group[g].unit && squares[h] >= squares[g]) sum += squares[h];
        lamp[g] = sum > 0 ? squares[g] / sum : 0;
    }
    free(squares);
    over_unit_mean(ch, length);
    over_unit_mean(ch, median);
}

static void check_weights(const char *text) {
    struct rig *r = rig_of("ref64", text, 3);
    int n = r->ch->n_group;
    double *want[3], *got[3];
    static const char *const name[] = { "l2", "lamp", "fpgm" };
    for (int i = 0; i < 3; ++i) want[i] = calloc((size_t)n, sizeof **want), got[i] = scores_of(r, name[i]);
    by_weights(r, want[0], want[1], want[2]);
    for (int i = 0; i < 3; ++i) same(name[i], got[i], want[i], n, 1e-9), free(want[i]), free(got[i]);
    rig_drop(r);
}

/* --- by the gradients of training -------------------------------------------------------------------------------------- */

/* Without batch norm, training computes the same function, and its weight gradients come from another kernel: the response
 * of a group is the sum of w*dL/dw over the slices that read it (pruning.md 8, b). */
static void slices(const struct rig *r, const double *w, const double *dw, double *t) {
    const struct net *net = r->net;
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        if (strcmp(l->section->type, "convolutional") || l->in[0] == LAYER_INPUT) continue;
        const struct param *p = &l->param[l->n_param - 1];
        if (p->dim[1] != l->in_shape[0].c) continue; /* depthwise: no reader */
        for (int f = 0; f < p->dim[0]; ++f)
            for (int c = 0; c < p->dim[1]; ++c)
                for (int j = 0; j < p->dim[2]; ++j) {
                    size_t at = p->offset + (size_t)((f * p->dim[1] + c) * p->dim[2] + j);
                    t[channels_group(r->ch, l->in[0], c)] += w[at] * dw[at];
                }
    }
}

static void own_filters(const struct rig *r, const double *w, const double *dw, double *t) {
    for (int i = 0; i < r->net->n; ++i) {
        const struct layer *l = &r->net->layer[i];
        if (strcmp(l->section->type, "convolutional")) continue;
        const struct param *p = &l->param[l->n_param - 1];
        size_t per = (size_t)p->dim[1] * (size_t)p->dim[2];
        for (int f = 0; f < p->dim[0]; ++f)
            for (size_t j = p->offset + (size_t)f * per; j < p->offset + (size_t)(f + 1) * per; ++j)
                t[channels_group(r->ch, i, f)] += fabs(w[j] * dw[j]);
    }
}

/* magnitude, square, weight: per group, from one training pass per image. */
static void by_training(struct rig *r, double *magnitude, double *square, double *weight) {
    int n = r->ch->n_group;
    double *sum = calloc(r->net->n_param, sizeof *sum), *t = calloc((size_t)n, sizeof *t), loss;
    for (int i = 0; i < IMAGES; ++i) {
        struct truth_list truth = { r->objects[i], 2, r->object[i] };
        struct net_truth all = { .boxes = &truth };
        CHECK(net_bind(&r->ctx, r->net, r->be, NET_TRAIN, 1) == ST_OK &&
                  net_forward(&r->ctx, r->net, r->x + (size_t)i * nets_image(r->net)) == ST_OK &&
                  net_loss(&r->ctx, r->net, &all, &loss, NULL) == ST_OK && net_backward(&r->ctx, r->net) == ST_OK,
              "%s", r->ctx.error);
        const double *w = (const double *)r->net->dev_param, *dw = (const double *)r->net->dev_grad;
        memset(t, 0, (size_t)n * sizeof *t);
        slices(r, w, dw, t);
        for (int g = 0; g < n; ++g) magnitude[g] += fabs(t[g]) / IMAGES, square[g] += t[g] * t[g] / IMAGES;
        for (size_t k = 0; k < r->net->n_param; ++k) sum[k] += dw[k] / IMAGES;
        if (i == IMAGES - 1) own_filters(r, w, sum, weight);
    }
    net_unbind(r->net);
    free(sum), free(t);
}

static void check_gradients(void) {
    struct rig *r = rig_of("ref64", DETECTOR("0"), 5);
    int n = r->ch->n_group;
    static const char *const name[] = { "taylor", "group-fisher", "taylor-weight" };
    double *want[3], *got[3];
    r->opt.centred = false;
    for (int i = 0; i < 3; ++i) want[i] = calloc((size_t)n, sizeof **want), got[i] = scores_of(r, name[i]);
    by_training(r, want[0], want[1], want[2]);
    for (int i = 0; i < 3; ++i) same(name[i], got[i], want[i], n, 1e-6), free(want[i]), free(got[i]);
    rig_drop(r);
}

/* Removal that leaves the mean behind is scored as such: for one image with one object, what saliency makes of the loss with
 * every cell counting alike. */
static void check_centred(void) {
    struct rig *r = rig_of("ref64", DETECTOR("1"), 6);
    struct saliency s;
    int n = r->ch->n_group;
    CHECK(saliency_means(&r->ctx, r->net, r->be, r->ch, &r->src, 2, r->mean) == ST_OK, "%s", r->ctx.error);
    r->src.count = 1, r->order[0] = 1;
    double *centred = scores_of(r, "taylor"), *square = scores_of(r, "group-fisher");
    r->opt.utility = UTILITY_LOSS, r->opt.context = 0, r->opt.background = 1, r->opt.balance = BALANCE_NONE;
    CHECK(saliency_score(&r->ctx, r->net, r->be, r->ch, &r->src, &r->opt, r->mean, &s) == ST_OK, "%s", r->ctx.error);
    same("centred", centred, s.score, n, 1e-6);
    for (int g = 0; g < n; ++g) CHECK_NEAR(square[g], centred[g] * centred[g], 1e-9, "one image");
    r->opt.centred = false;
    double *plain = scores_of(r, "taylor"), apart = 0;
    for (int g = 0; g < n; ++g) apart = fmax(apart, fabs(plain[g] - centred[g]));
    CHECK(apart > .01 * most(plain, n), "centring changes nothing");
    saliency_free(&s);
    free(centred), free(square), free(plain);
    rig_drop(r);
}

/* Batch norm folded by hand into a network without: the same function, so the same scores; the weights of taylor-weight are
 * other numbers, their products with the gradient are not. */
static void check_folded(void) {
    static const char *const name[] = { "taylor", "group-fisher", "taylor-weight" };
    struct rig *r = rig_of("ref64", DETECTOR("1"), 7), *flat = rig_of("ref64", DETECTOR("0"), 8);
    for (int i = 0; i < r->net->n; ++i) {
        const struct layer *a = &r->net->layer[i], *b = &flat->net->layer[i];
        if (strcmp(a->section->type, "convolutional")) continue;
        const float *v = r->net->param;
        float *to = flat->net->param;
        size_t per = (size_t)b->param[1].dim[1] * (size_t)b->param[1].dim[2];
        for (int f = 0; f < a->out.c; ++f) {
            double factor = 1, mean = 0, bias = v[a->param[0].offset + (size_t)f];
            if (a->n_param == 5) { /* bias, scale, mean, variance, weights */
                factor = (double)v[a->param[1].offset + (size_t)f] / sqrt((double)v[a->param[3].offset + (size_t)f] + 1e-5);
                mean = v[a->param[2].offset + (size_t)f];
            }
            to[b->param[0].offset + (size_t)f] = (float)(bias - factor * mean);
            for (size_t j = 0; j < per; ++j)
                to[b->param[1].offset + (size_t)f * per + j] =
                    (float)(factor * (double)v[a->param[a->n_param - 1].offset + (size_t)f * per + j]);
        }
    }
    for (int i = 0; i < 3; ++i) {
        double *got = scores_of(r, name[i]), *want = scores_of(flat, name[i]);
        same(name[i], got, want, r->ch->n_group, 1e-4);
        free(got), free(want);
    }
    rig_drop(r), rig_drop(flat);
}

/* --- by singular values -------------------------------------------------------------------------------------------------- */

/* One-sided Jacobi: rows are turned until they are orthogonal; their lengths are the singular values. */
static void singular(const double *from, int rows, int cols, double *value) {
    double *a = malloc((size_t)(rows * cols) * sizeof *a);
    memcpy(a, from, (size_t)(rows * cols) * sizeof *a);
    for (int sweep = 0; sweep < 60; ++sweep)
        for (int i = 0; i < rows; ++i)
            for (int j = i + 1; j < rows; ++j) {
                double x = 0, y = 0, z = 0, *u = a + i * cols, *v = a + j * cols;
                for (int k = 0; k < cols; ++k) x += u[k] * u[k], y += v[k] * v[k], z += u[k] * v[k];
                if (fabs(z) <= 1e-15 * sqrt(x * y)) continue;
                double angle = atan2(2 * z, x - y) / 2, c = cos(angle), s = sin(angle);
                for (int k = 0; k < cols; ++k) {
                    double p = u[k], q = v[k];
                    u[k] = c * p + s * q;
                    v[k] = c * q - s * p;
                }
            }
    for (int i = 0; i < rows; ++i) {
        value[i] = 0;
        for (int k = 0; k < cols; ++k) value[i] += a[i * cols + k] * a[i * cols + k];
        value[i] = sqrt(value[i]);
    }
    free(a);
}

static int falling(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

static double nuclear(const double *a, int rows, int cols) {
    double *v = malloc((size_t)rows * sizeof *v), sum = 0;
    singular(a, rows, cols, v);
    for (int i = 0; i < rows; ++i) sum += v[i];
    free(v);
    return sum;
}

static int rank_of(const double *a, int rows, int cols) {
    double v[64], top = 0;
    int n = 0;
    singular(a, rows, cols, v);
    for (int i = 0; i < rows; ++i) top = fmax(top, v[i]);
    for (int i = 0; i < rows; ++i) n += v[i] > top * (rows > cols ? rows : cols) * 1.19e-7;
    return n;
}

/* Rank, and less than the least difference of mean ranks for how alike the singular values are. */
static double rank_and_flatness(const double *a, int rows, int cols) {
    double v[64], sum = 0, entropy = 0;
    int n = rows < cols ? rows : cols;
    singular(a, rows, cols, v);
    for (int i = 0; i < rows; ++i) sum += v[i];
    for (int i = 0; i < rows; ++i) entropy -= v[i] > 0 ? v[i] / sum * log(v[i] / sum) : 0;
    return rank_of(a, rows, cols) + (sum > 0 ? exp(entropy) / n : 0) / (MAPS_IMAGES + 1);
}

/* rows x cols of the given rank; then a row becomes zero and another a copy. */
static void make_matrix(struct rng *r, int rows, int cols, int rank, double *a) {
    memset(a, 0, (size_t)(rows * cols) * sizeof *a);
    for (int k = 0; k < rank; ++k) {
        double u[64], v[64];
        for (int i = 0; i < rows; ++i) u[i] = rng_between(r, -1, 1);
        for (int j = 0; j < cols; ++j) v[j] = rng_between(r, -1, 1);
        for (int i = 0; i < rows; ++i)
            for (int j = 0; j < cols; ++j) a[i * cols + j] += u[i] * v[j] / (1 + k);
    }
    for (int j = 0; j < cols && rows > 3; ++j) a[cols + j] = 0, a[2 * cols + j] = a[j];
    for (int i = 0; i < rows * cols; ++i) a[i] = (double)(float)a[i];
}

static void check_spectrum(void) {
    static const int shape[][3] = { { 1, 1, 1 }, { 1, 9, 1 }, { 9, 1, 1 }, { 2, 2, 2 }, { 5, 8, 5 }, { 8, 5, 3 }, { 12, 30, 12 }, { 30, 12, 12 }, { 20, 20, 4 }, { 17, 40, 0 } };
    struct rng r = rng_stream(4, 4, 4);
    struct ctx ctx = { 0 };
    double a[2048], copy[2048], loss[64];
    float f[2048];
    for (size_t s = 0; s < sizeof shape / sizeof shape[0]; ++s) {
        int rows = shape[s][0], cols = shape[s][1];
        make_matrix(&r, rows, cols, shape[s][2], a);
        for (int i = 0; i < rows * cols; ++i) f[i] = (float)a[i], copy[i] = a[i];
        double values[64], own[64];
        CHECK(singular_values(&ctx, f, rows, cols, values) == ST_OK, "%s", ctx.error);
        int want = rank_of(a, rows, cols), got = spectrum_rank(values, rows, cols);
        CHECK(got == want && want <= shape[s][2], "%d x %d: rank %d, should be %d", rows, cols, got, want);
        singular(a, rows, cols, own);
        qsort(own, (size_t)rows, sizeof *own, falling);
        for (int i = 0; i < (rows < cols ? rows : cols); ++i) CHECK_NEAR(values[i], own[i], 1e-7 * fmax(own[0], 1), "singular value %d of %d x %d", i, rows, cols);
        double whole = nuclear(a, rows, cols);
        CHECK(nuclear_loss(&ctx, f, rows, cols, loss) == ST_OK, "%s", ctx.error);
        for (int c = 0; c < rows; ++c) {
            memcpy(copy, a, sizeof copy);
            memset(copy + c * cols, 0, (size_t)cols * sizeof *copy);
            CHECK_NEAR(loss[c], whole - nuclear(copy, rows, cols), 1e-6 * fmax(whole, 1), "what a row adds to the nuclear norm");
        }
    }
    enum { N = 40 };
    double q[N * N], sym[N * N], value[N];
    for (int i = 0; i < N; ++i)
        for (int j = 0; j <= i; ++j) sym[i * N + j] = sym[j * N + i] = q[i * N + j] = q[j * N + i] = i % 7 == 3 ? 0 : rng_between(&r, -1, 1);
    CHECK(symmetric_eigen(&ctx, q, N, value) == ST_OK, "%s", ctx.error);
    for (int i = 0; i < N; ++i)
        for (int k = 0; k < N; ++k) {
            double image = 0, dot = 0;
            for (int j = 0; j < N; ++j) image += sym[i * N + j] * q[j * N + k], dot += q[j * N + i] * q[j * N + k];
            CHECK_NEAR(image, value[k] * q[i * N + k], 1e-12 * N, "A q = lambda q");
            CHECK_NEAR(dot, i == k, 1e-13 * N, "eigenvectors are orthonormal");
        }
}

/* Cases that can be worked out on paper. */
static void check_by_hand(void) {
    struct ctx ctx = { 0 };
    double v[3], loss[3];
    /* singular values 4 and 3: (3,0), (0,4), (0,0) */
    static const float apart[] = { 3, 0, 0, 4, 0, 0 };
    CHECK(singular_values(&ctx, apart, 3, 2, v) == ST_OK && spectrum_rank(v, 3, 2) == 2, "%s", ctx.error);
    CHECK_NEAR(v[0], 4, 1e-9, "the largest");
    CHECK_NEAR(v[1], 3, 1e-9, "the other");
    CHECK(nuclear_loss(&ctx, apart, 3, 2, loss) == ST_OK, "%s", ctx.error);
    CHECK_NEAR(loss[0], 3, 1e-6, "a row at right angles takes its own length along");
    CHECK_NEAR(loss[1], 4, 1e-6, "as does the other");
    CHECK_NEAR(loss[2], 0, 1e-6, "and one of zeros nothing");
    /* two rows (1,1): one value, 2; without one of them sqrt 2 is left */
    static const float alike[] = { 1, 1, 1, 1 };
    CHECK(singular_values(&ctx, alike, 2, 2, v) == ST_OK && spectrum_rank(v, 2, 2) == 1, "%s", ctx.error);
    CHECK(nuclear_loss(&ctx, alike, 2, 2, loss) == ST_OK, "%s", ctx.error);
    CHECK_NEAR(loss[0], 2 - sqrt(2), 1e-6, "rows that stand in for each other are worth less than their lengths");
    /* what counts as zero goes by the largest value and by the size, not by a fixed number */
    CHECK(spectrum_rank((double[]){ 1e6, 1, .5 }, 3, 9) == 1 && spectrum_rank((double[]){ 1e-6, 1e-8, 0 }, 3, 9) == 2, "the tolerance is relative");
    CHECK(spectrum_rank((double[]){ 0, 0, 0 }, 3, 9) == 0, "a map of zeros");
    CHECK_NEAR(spectrum_flatness((double[]){ 2, 2, 2 }, 3), 1, 1e-12, "all alike");
    CHECK_NEAR(spectrum_flatness((double[]){ 5, 0, 0 }, 3), 1. / 3, 1e-12, "one has it all");
}

/* Filters of squared lengths 1, 4, 9: 1/14, 4/13, 1. */
static void check_lamp_by_hand(void) {
    struct rig *r = rig_of("ref64", "[net]\nwidth=4\nheight=4\nchannels=1\n[convolutional]\nfilters=3\nsize=1\nactivation=leaky\n"
                                    "[convolutional]\nfilters=2\nsize=1\nactivation=linear\n", 1);
    const struct param *w = layer_filters(&r->net->layer[0]);
    for (int f = 0; f < 3; ++f) r->net->param[w->offset + (size_t)f] = (float)(f == 1 ? 2 : f == 2 ? -3 : 1);
    double *got = scores_of(r, "lamp");
    static const double want[] = { 1. / 14, 4. / 13, 1 };
    for (int f = 0; f < 3; ++f) CHECK_NEAR(got[channels_group(r->ch, 0, f)], want[f], 1e-9, "filter %d", f);
    free(got);
    rig_drop(r);
}

static void by_maps(struct rig *r, double *rank, double *independence) {
    const struct channels *ch = r->ch;
    double *node[2] = { calloc((size_t)ch->n_node, sizeof **node), calloc((size_t)ch->n_node, sizeof **node) };
    CHECK(net_bind(&r->ctx, r->net, r->be, NET_SCORE, 1) == ST_OK, "%s", r->ctx.error);
    for (int m = 0; m < IMAGES; ++m) {
        net_forward(&r->ctx, r->net, r->x + (size_t)m * nets_image(r->net));
        for (int i = 0; i < r->net->n; ++i) {
            struct shape s = r->net->layer[i].out;
            int c = s.c, plane = s.h * s.w;
            if (strcmp(r->net->layer[i].section->type, "convolutional")) continue;
            float *y = calloc((size_t)(c * plane), sizeof *y);
            double *a = calloc((size_t)(c * plane), sizeof *a);
            net_output(r->net, i, y);
            for (int k = 0; k < c * plane; ++k) a[k] = (double)y[k];
            double whole = nuclear(a, c, plane);
            for (int k = 0; k < c; ++k) {
                node[0][ch->first_node[i] + k] += rank_and_flatness(a + k * plane, s.h, s.w);
                for (int p = 0; p < plane; ++p) a[k * plane + p] = 0;
                node[1][ch->first_node[i] + k] += whole - nuclear(a, c, plane);
                for (int p = 0; p < plane; ++p) a[k * plane + p] = (double)y[k * plane + p];
            }
            free(y), free(a);
        }
    }
    net_unbind(r->net);
    for (int g = 0; g < ch->n_group; ++g) {
        int filters = 0;
        for (int i = 0; i < r->net->n; ++i)
            for (int k = 0; k < r->net->layer[i].out.c && !strcmp(r->net->layer[i].section->type, "convolutional"); ++k)
                if (in_group(ch, i, k, g)) {
                    ++filters;
                    rank[g] += node[0][ch->first_node[i] + k], independence[g] += node[1][ch->first_node[i] + k];
                }
        if (filters) rank[g] /= filters, independence[g] /= filters;
    }
    over_unit_mean(ch, rank);
    over_unit_mean(ch, independence);
    free(node[0]), free(node[1]);
}

static void check_maps(void) {
    struct rig *r = rig_of("ref64", DETECTOR("1"), 9);
    int n = r->ch->n_group;
    double *want[2] = { calloc((size_t)n, sizeof **want), calloc((size_t)n, sizeof **want) };
    double *got[2] = { scores_of(r, "hrank"), scores_of(r, "chip") };
    by_maps(r, want[0], want[1]);
    for (int g = 0; g < n; ++g) /* frozen groups are not looked at */
        if (r->ch->group[g].frozen) want[0][g] = want[1][g] = got[0][g] = got[1][g] = 0;
    same("hrank", got[0], want[0], n, 1e-9);
    same("chip", got[1], want[1], n, 1e-6);
    for (int i = 0; i < 2; ++i) free(want[i]), free(got[i]);
    /* no more images are run than are looked at */
    r->gets = 0, r->src.count = 12;
    free(scores_of(r, "hrank"));
    CHECK(r->gets == MAPS_IMAGES, "%d images", r->gets);
    rig_drop(r);
}

/* --- what does not matter -------------------------------------------------------------------------------------------------- */

static void check_invariances(void) {
    struct rig *r = rig_of("cpu", DETECTOR("1"), 10);
    int n = r->ch->n_group, threads = omp_get_max_threads();
    CHECK(saliency_means(&r->ctx, r->net, r->be, r->ch, &r->src, 2, r->mean) == ST_OK, "%s", r->ctx.error);
    for (int i = 0; i < criterion_count(); ++i) {
        const char *name = criterion_at(i)->name;
        r->opt.batch = 1;
        double *base = scores_of(r, name);
        for (int k = 0; k < 4; ++k) {
            r->opt.batch = k == 0 ? 2 : k == 1 ? 3 : 5; /* 2 and 3 leave the last batch half empty */
            for (int j = 0; j < IMAGES; ++j) r->order[j] = k == 2 ? (3 * j + 1) % IMAGES : j;
            if (k == 3) omp_set_num_threads(1);
            double *again = scores_of(r, name);
            same(name, again, base, n, 1e-5);
            omp_set_num_threads(threads);
            free(again);
        }
        free(base);
    }
    rig_drop(r);
}

/* All at once say what each says alone, and look at every image once for gradients. */
static void check_together(enum utility_kind utility) {
    struct rig *r = rig_of("ref64", DETECTOR("1"), 11);
    const struct criterion *list[16], *gradient[4] = { criterion_find("saliency"), criterion_find("taylor"), criterion_find("group-fisher"), criterion_find("taylor-weight") };
    double *score[16];
    int n = criterion_count();
    r->opt.utility = utility;
    for (int i = 0; i < n; ++i) list[i] = criterion_at(i), score[i] = calloc((size_t)r->ch->n_group, sizeof **score);
    struct criterion_input in = { r->net, r->be, r->ch, &r->src, &r->opt, r->mean, NULL, NULL, NULL };
    CHECK(criteria_score(&r->ctx, &in, list, n, score) == ST_OK, "%s", r->ctx.error);
    for (int i = 0; i < n; ++i) {
        double *alone = scores_of(r, list[i]->name);
        same(list[i]->name, score[i], alone, r->ch->n_group, 1e-9);
        free(alone);
    }
    r->gets = 0;
    CHECK(criteria_score(&r->ctx, &in, gradient, 4, score) == ST_OK && r->gets == IMAGES, "%d images %s", r->gets, r->ctx.error);
    in.images = NULL;
    CHECK(criteria_score(&r->ctx, &in, &gradient[1], 1, score) == ST_USAGE, "without images");
    for (int i = 0; i < n; ++i) free(score[i]);
    rig_drop(r);
}

static void check_registry(void) {
    static const char *const all[] = { "saliency", "random", "l1", "l2", "bn", "fpgm", "taylor", "taylor-weight", "group-fisher", "hrank", "chip", "lamp" };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; ++i) CHECK(criterion_find(all[i]), "%s is missing", all[i]);
    CHECK(criterion_find("taylor-weight")->cost_power == .5 && criterion_find("group-fisher")->cost_power == 1 &&
              criterion_find("l1")->cost_power == 0, "usual powers of the cost");
}

int main(void) {
    check_registry();
    check_weights(DETECTOR("1"));
    check_weights(DETECTOR("0"));
    for (uint64_t seed = 1; seed <= 5; ++seed) { /* grouped convolutions, long residual chains, nested routes */
        struct nets_gen *g = calloc(1, sizeof *g);
        nets_write(g, seed, NETS_GROUPED | NETS_YOLO);
        if (!strstr(g->text, "[connected]") && !strstr(g->text, "[implicit]") && !strstr(g->text, "share_index")) check_weights(g->text);
        free(g);
    }
    check_gradients();
    check_centred();
    check_folded();
    check_spectrum();
    check_by_hand();
    check_lamp_by_hand();
    check_maps();
    check_invariances();
    check_together(UTILITY_DETECTION);
    check_together(UTILITY_LOSS);
    return test_end("criteria");
}
