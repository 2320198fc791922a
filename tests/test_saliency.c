/* Scores: box weights by hand; the response of a channel is the derivative of the utility for scaling it;
 * batches, order and threads do not matter; object sizes count alike. */
#include <omp.h>

#include "net/internal.h"
#include "prune/saliency.h"
#include "kinds.h"
#include "prune_nets.h"

#define NET "[net]\nwidth=32\nheight=32\nchannels=3\nbatch=1\nsubdivisions=1\n"
#define BN(f, k, s, act)                                                                                     \
    "[convolutional]\nbatch_normalize=1\nfilters=" #f "\nsize=" #k "\nstride=" #s "\npad=1\nactivation=" act \
    "\n"
#define PLAIN(f, k, s, act) \
    "[convolutional]\nfilters=" #f "\nsize=" #k "\nstride=" #s "\npad=1\nactivation=" act "\n"
#define DEPTHWISE(f, act) \
    "[convolutional]\nbatch_normalize=1\nfilters=" #f "\ngroups=" #f "\nsize=3\npad=1\nactivation=" act "\n"
#define YOLO(mask) \
    "[yolo]\nmask=" mask "\nanchors=6,8, 18,14\nclasses=2\nnum=2\niou_loss=giou\niou_thresh=.2\n"

/* --- maps
 * --------------------------------------------------------------------------------------------------------------------
 */

static struct box pixels(double left, double top, double right, double bottom, double net) {
    return (struct box){ (float)((left + right) / 2 / net), (float)((top + bottom) / 2 / net),
                         (float)((right - left) / net), (float)((bottom - top) / net) };
}

static void check_maps(void) {
    float m[64];
    /* cells of 8 pixels; the box covers cells 2..3 in both directions; ring of max(8, 1 cell, 8 pixels) */
    saliency_map(pixels(16, 16, 32, 32, 64), 8, 8, 64, 64, .5, .02, m);
    CHECK_NEAR(m[2 * 8 + 2], 1, 1e-6, "inside");
    CHECK_NEAR(m[3 * 8 + 3], 1, 1e-6, "inside");
    CHECK_NEAR(m[2 * 8 + 4], .25, 1e-6, "beside: 4 of 8 pixels away");
    CHECK_NEAR(m[1 * 8 + 3], .25, 1e-6, "above");
    CHECK_NEAR(m[1 * 8 + 1], .5 * (1 - sqrt(32) / 8), 1e-6, "across the corner");
    CHECK_NEAR(m[2 * 8 + 5], .02, 1e-6, "two cells beside");
    CHECK_NEAR(m[0], .02, 1e-6, "far away");
    /* without a ring: covered fractions only */
    saliency_map(pixels(18, 20, 30, 28, 64), 8, 8, 64, 64, 0, .02, m);
    CHECK_NEAR(m[2 * 8 + 2], 6. / 8 * 4 / 8, 1e-5, "a part of the cell");
    CHECK_NEAR(m[3 * 8 + 3], 6. / 8 * 4 / 8, 1e-5, "a part of the cell");
    CHECK_NEAR(m[2 * 8 + 4], .02, 1e-6, "beside the hard box");
    /* a box below one cell is not lost */
    saliency_map(pixels(26, 18, 30, 20, 64), 8, 8, 64, 64, 0, .02, m);
    CHECK_NEAR(m[2 * 8 + 3], 8. / 64, 1e-5, "4 x 2 of 8 x 8 pixels");
    double sum = 0;
    for (int i = 0; i < 64; ++i) sum += (double)m[i];
    CHECK_NEAR(sum, 8. / 64 + 63 * .02, 1e-5, "everything else is background");
    saliency_map(pixels(26, 18, 30, 20, 64), 2, 2, 64, 64, .5, .02,
                 m); /* cells of 32: the ring is one cell wide */
    CHECK(m[0] > .25f && m[0] < .5f && m[1] > .02f && m[1] < m[0] && m[3] < m[1], "%g %g %g %g", m[0], m[1],
          m[2], m[3]);
    /* a large box has a wide ring: 32 of 128 pixels to each side */
    float wide[256];
    saliency_map(pixels(32, 32, 96, 96, 128), 16, 16, 128, 128, .5, .02, wide);
    CHECK_NEAR(wide[8 * 16 + 12], .5 * (1 - 4. / 32), 1e-5, "4 pixels beside");
    CHECK_NEAR(wide[8 * 16 + 15], .5 * (1 - 28. / 32), 1e-5, "28 pixels beside");
    saliency_map(pixels(0, 0, 4, 4, 64), 1, 1, 64, 64, .5, .02, m);
    CHECK_NEAR(m[0], 1, 1e-6, "a 1 x 1 map has no places");
}

/* The maps of two boxes and of what no box claims, from the rows that the sums run over. */
static void whole_maps(const struct truth *two, float *maps) {
    float rows[4 * 16];
    saliency_rows(two, 2, 4, 4, 32, 32, 0, .02, rows);
    for (int p = 0; p < 16; ++p) {
        CHECK(rows[48 + p] == 1, "the row of ones");
        for (int o = 0; o < 3; ++o) maps[o * 16 + p] = rows[o * 16 + p] + (o < 2 ? .02f : 1) * rows[48 + p];
    }
    CHECK(rows[0] == 0 && rows[16] == 0 && rows[32] == 0, "far from the boxes there is nothing to visit");
}

static void check_shared_maps(void) {
    /* both boxes cover cell (1,1) whole; the first also (1,2); 4 x 4 cells of 8 pixels, no ring */
    struct truth two[] = { { pixels(8, 8, 24, 16, 32), 0, -1 }, { pixels(8, 8, 16, 16, 32), 1, -1 } };
    float maps[3 * 16];
    whole_maps(two, maps);
    CHECK_NEAR(maps[5], .5, 1e-6, "a cell of two");
    CHECK_NEAR(maps[16 + 5], .5, 1e-6, "a cell of two");
    CHECK_NEAR(maps[6], 1, 1e-6, "a cell of the first");
    CHECK_NEAR(maps[16 + 6], .02, 1e-6, "background of the second");
    CHECK_NEAR(maps[32 + 5], 0, 1e-6, "nothing is left for the background");
    CHECK_NEAR(maps[32 + 6], 0, 1e-6, "nothing is left for the background");
    CHECK_NEAR(maps[32], 1, 1e-6, "nobody's cell");
    /* claims that do not fill a cell are left alone */
    two[0].box = pixels(8, 8, 12, 16, 32), two[1].box = pixels(12, 8, 14, 16, 32);
    whole_maps(two, maps);
    CHECK_NEAR(maps[5], .5, 1e-6, "half a cell");
    CHECK_NEAR(maps[16 + 5], .25, 1e-6, "a quarter");
    CHECK_NEAR(maps[32 + 5], .25, 1e-6, "the rest");
}

static void check_tau(void) {
    const double a[] = { 1, 2, 3, 4 }, back[] = { 4, 3, 2, 1 }, swapped[] = { 1, 3, 2, 4 },
                 tied[] = { 1, 1, 2, 3 }, flat[] = { 5, 5, 5, 5 };
    const uint8_t all[] = { 1, 1, 1, 1 }, some[] = { 1, 0, 1, 1 };
    CHECK_NEAR(kendall_tau(a, a, all, 4), 1, 1e-12, "the same order");
    CHECK_NEAR(kendall_tau(a, back, all, 4), -1, 1e-12, "the opposite order");
    CHECK_NEAR(kendall_tau(a, swapped, all, 4), 4. / 6, 1e-12, "one exchange");
    CHECK_NEAR(kendall_tau(a, swapped, some, 4), 1, 1e-12, "the exchanged one left out");
    CHECK_NEAR(kendall_tau(a, tied, all, 4), 5 / sqrt(6 * 5), 1e-12, "a tie on one side");
    CHECK_NEAR(kendall_tau(a, flat, all, 4), 0, 1e-12, "no order at all");
}

/* --- images
 * -------------------------------------------------------------------------------------------------------------------
 */

enum { IMAGES = 9, OBJECTS = 3 };
struct images {
    size_t floats;
    const int *order; /* NULL: as they are */
    float *x;
    struct truth item[IMAGES][OBJECTS];
    int n[IMAGES];
};

static enum status get_image(void *user, struct ctx *ctx, int i, struct score_image *out) {
    struct images *im = user;
    int k = im->order ? im->order[i] : i;
    (void)ctx;
    out->x = im->x + (size_t)k * im->floats;
    out->truth = (struct truth_list){ im->n[k], OBJECTS, im->item[k] };
    return ST_OK;
}

static struct images *random_images(const struct net *net, uint64_t seed) {
    struct images *im = calloc(1, sizeof *im);
    struct rng r = rng_stream(seed, 0x696d6773, 9);
    im->floats = nets_image(net);
    im->x = nets_input(net, IMAGES, seed);
    for (int i = 0; i < IMAGES; ++i) {
        im->n[i] = i % (OBJECTS + 1);
        for (int k = 0; k < im->n[i]; ++k) {
            double size = k == 0 ? .2 : .6;
            im->item[i][k] =
                (struct truth){ { (float)rng_between(&r, .3, .7), (float)rng_between(&r, .3, .7),
                                  (float)rng_between(&r, .1, size), (float)rng_between(&r, .1, size) },
                                rng_int(&r, 0, 1),
                                -1 };
        }
    }
    return im;
}

static void drop_images(struct images *im) {
    free(im->x);
    free(im);
}

static struct score_source source_of(struct images *im, int count) {
    return (struct score_source){ .count = count, .get = get_image, .user = im };
}

/* Everything unmasked and unshaped: score = |t| of the only object. */
static struct saliency_options bare(void) {
    struct saliency_options opt = saliency_defaults();
    opt.background_guard = 0;
    opt.context = 0;
    opt.background = 1;
    opt.balance = BALANCE_NONE;
    opt.centred = false;
    opt.batch = 1;
    return opt;
}

/* --- property (a): central differences
 * --------------------------------------------------------------------------------------- */

/* Smooth activations only; a residual, a concatenation, a depthwise convolution and a gate, so that channels
 * have several readers and gradients meet. */
static const char smooth[] = NET BN(6, 3, 2, "mish") PLAIN(5, 1, 1, "swish")
    BN(6, 3, 1, "linear") "[shortcut]\nfrom=-3\nactivation=swish\n" DEPTHWISE(6, "mish")
        BN(7, 1, 2, "swish") "[avgpool]\n" PLAIN(3, 1, 1, "swish")
            PLAIN(7, 1, 1, "logistic") "[scale_channels]\nfrom=5\n" PLAIN(7, 1, 1, "linear") YOLO(
                "1") "[route]\nlayers=9\n[upsample]\nstride=2\n[route]\nlayers=-1,3\n" BN(6, 3, 1, "mish")
                PLAIN(7, 1, 1, "linear") YOLO("0");

static double utility_of(struct net *net, const struct truth_list *truth, const struct utility_weights *w) {
    double sum = 0;
    int head[4], n_head = net_heads(net, head, 4);
    for (int o = 0; o < truth->n; ++o) {
        int at[16], of[16], n = 0;
        for (int h = 0; h < n_head; ++h) {
            const struct layer *l = &net->layer[head[h]];
            int found = l->ops->head->assign(l, 0, truth->item[o].box, net->opt.width, net->opt.height,
                                             at + n, 16 - n);
            for (int i = 0; i < found; ++i) of[n++] = head[h];
        }
        CHECK(n > 0 && (n_head == 1 || n > 1), "%d predictions are responsible for object %d", n, o);
        for (int i = 0; i < n; ++i) {
            struct layer *l = &net->layer[of[i]];
            sum += l->ops->head->utility(l, 0, at[i], &truth->item[o], w, 1. / n, net->opt.width,
                                         net->opt.height) /
                   n;
        }
    }
    return sum;
}

/* What the background guard of an image without objects adds: its surest prediction. */
static double guard_of(struct net *net, double lambda) {
    double z = -INFINITY;
    int head[4], n_head = net_heads(net, head, 4);
    for (int h = 0; h < n_head; ++h) {
        struct layer *l = &net->layer[head[h]];
        struct head_info info;
        l->ops->head->info(l, &info);
        for (int q = 0; q < info.predictions; ++q) z = fmax(z, l->ops->head->objectness(l, 0, q, 0));
    }
    return -lambda * log1p(exp(z));
}

/* The readers' weights on the group's channels times `factor`, from `whole`. */
static void scale_group(const struct net *net, const struct channels *ch, int group, double factor,
                        const double *whole, double *param) {
    memcpy(param, whole, net->n_param * sizeof *param);
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        if (!l->ops->reads || !l->ops->reads(l) || l->ops->head || l->in[0] == LAYER_INPUT) continue;
        const struct param *w = &l->param[l->n_param - 1];
        for (int f = 0; f < w->dim[0]; ++f)
            for (int c = 0; c < w->dim[1]; ++c) {
                if (channels_group(ch, l->in[0], c) != group) continue;
                for (int j = 0; j < w->dim[2]; ++j)
                    param[w->offset + (size_t)((f * w->dim[1] + c) * w->dim[2] + j)] *= factor;
            }
    }
}

enum response { OF_DETECTION, OF_PROBABILITY, OF_GUARD };

static void check_response(const char *name, enum response of) {
    struct ctx ctx = { 0 };
    struct channels *ch;
    struct backend *be;
    struct saliency s;
    struct net *net = nets_open(&ctx, name, smooth, 11);
    if (!net || channels_build(&ctx, net, &ch) != ST_OK || backend_open(&ctx, "ref64", &be) != ST_OK) {
        CHECK(false, "%s: %s", name, ctx.error);
        return;
    }
    struct images *im = random_images(net, 4);
    im->n[0] = of != OF_GUARD;
    im->item[0][0] = (struct truth){ { .45f, .55f, .3f, .25f }, 1, -1 };
    struct saliency_options opt = bare();
    opt.utility = of == OF_PROBABILITY ? UTILITY_PROBABILITY : UTILITY_DETECTION;
    opt.background_guard = of == OF_GUARD ? .5 : 0;
    double *mean = calloc((size_t)ch->n_node, sizeof *mean), *whole = calloc(net->n_param, sizeof *whole);
    struct score_source src = source_of(im, 1);
    CHECK(saliency_score(&ctx, net, be, ch, &src, &opt, mean, &s) == ST_OK, "%s: %s", name, ctx.error);
    struct utility_weights weights = { 1, 1, opt.kappa, of == OF_PROBABILITY };
    struct truth_list truth = { 1, 1, im->item[0] };
    double most = 0;
    for (int g = 0; s.score && g < ch->n_group; ++g) most = fmax(most, s.score[g]);
    if (s.score && net_bind(&ctx, net, be, NET_SCORE, 1) == ST_OK) {
        double *param = (double *)net->dev_param,
               h = .03; /* wide, of fourth order: heads keep their input as floats */
        static const double step[] = { -2, -1, 1, 2 }, weight[] = { 1, -8, 8, -1 };
        memcpy(whole, param, net->n_param * sizeof *whole);
        for (int g = 0; g < ch->n_group; ++g) {
            double slope = 0;
            for (int k = 0; k < 4; ++k) {
                scale_group(net, ch, g, 1 + step[k] * h, whole, param);
                net_refresh(&ctx, net);
                net_forward(&ctx, net, im->x);
                double u =
                    of == OF_GUARD ? guard_of(net, opt.background_guard) : utility_of(net, &truth, &weights);
                slope += weight[k] * u / (12 * h);
            }
            double want = fabs(slope);
            CHECK(fabs(s.score[g] - want) <= 1e-3 * fmax(want, .05 * most) + 1e-6,
                  "%s: group %d: response %.8g, central difference %.8g", name, g, s.score[g], want);
        }
    }
    CHECK(most > 1e-4, "%s: the largest response is %g", name, most);
    saliency_free(&s);
    free(mean), free(whole);
    drop_images(im);
    channels_drop(ch);
    net_close(net);
    backend_close(be);
}

/* --- property (b): weights
 * ------------------------------------------------------------------------------------------------------ */

struct sums {
    const struct net *net;
    double *dot;
    int *readers;
}; /* per node: sum of g*a over its readers */

static enum status add_dot(void *user, struct pass *p, const struct layer *l, const struct tensor *x,
                           const struct tensor *dx) {
    struct sums *s = user;
    int node = 0;
    (void)p;
    for (int i = 0; i < l->in[0]; ++i) node += s->net->layer[i].out.c;
    const double *a = x->data, *g = dx->data;
    for (int c = 0; c < x->c; ++c) {
        ++s->readers[node + c];
        for (int y = 0; y < x->h; ++y)
            for (int k = 0; k < x->w; ++k)
                s->dot[node + c] +=
                    a[c * x->sc + y * x->sh + k * x->sw] * g[c * dx->sc + y * dx->sh + k * dx->sw];
    }
    return ST_OK;
}

/* sum over cells of g*a of a channel = sum over its reader's input slice of w*dU/dw.  Without batch norm the
 * training pass computes the same function, and its parameter gradients come from another kernel. */
static void check_weight_identity(void) {
    static const char text[] =
        NET PLAIN(6, 3, 2, "leaky")
            PLAIN(5, 3, 1, "mish") "[maxpool]\nsize=2\nstride=2\n" PLAIN(
                6, 3, 1, "swish") "[convolutional]\nfilters=6\ngroups=2\nsize=3\npad=1\nactivation="
                                  "leaky\n" PLAIN(7, 1, 1, "linear") YOLO("1");
    struct ctx ctx = { 0 };
    struct backend *be;
    struct net *net = nets_open(&ctx, "weight identity", text, 21);
    if (!net || backend_open(&ctx, "ref64", &be) != ST_OK || net_bind(&ctx, net, be, NET_TRAIN, 1) != ST_OK) {
        CHECK(false, "%s", ctx.error);
        return;
    }
    float *x = nets_input(net, 1, 3);
    double dot[64] = { 0 };
    int readers[64] = { 0 }, node = 0;
    struct sums sums = { net, dot, readers };
    struct net_hook hook = { .user = &sums, .reader = add_dot };
    struct truth object = { { .4f, .6f, .5f, .3f }, 0, -1 };
    struct truth_list truth = { 1, 1, &object };
    struct utility_weights weights = { 1, 1, 4, false };
    net->hook = &hook;
    CHECK(net_forward(&ctx, net, x) == ST_OK, "%s", ctx.error);
    utility_of(net, &truth, &weights);
    CHECK(net_backward(&ctx, net) == ST_OK, "%s", ctx.error);
    const double *w = (const double *)net->dev_param, *dw = (const double *)net->dev_grad;
    for (int i = 0; i + 2 < net->n; node += net->layer[i++].out.c) {
        const struct layer *reader = &net->layer[i + 1];
        if (reader->n_param == 0) continue;
        const struct param *p = &reader->param[reader->n_param - 1];
        int groups = net->layer[i].out.c / p->dim[1], per_out = p->dim[0] / groups;
        for (int c = 0; c < net->layer[i].out.c; ++c) {
            double want = 0;
            for (int f = c / p->dim[1] * per_out; f < (c / p->dim[1] + 1) * per_out; ++f)
                for (int j = 0; j < p->dim[2]; ++j) {
                    size_t at = p->offset + (size_t)((f * p->dim[1] + c % p->dim[1]) * p->dim[2] + j);
                    want += w[at] * dw[at];
                }
            CHECK(readers[node + c] == 1 && fabs(dot[node + c] - want) <= 1e-10 * fmax(fabs(want), 1e-3),
                  "layer %d channel %d: sum of g*a %.12g, sum of w*dU/dw %.12g, %d readers", i, c,
                  dot[node + c], want, readers[node + c]);
        }
    }
    net->hook = NULL;
    free(x);
    net_close(net);
    backend_close(be);
}

/* --- centring, masks, groups
 * ----------------------------------------------------------------------------------------------------- */

/* The centred, box-weighted score of one object, recomputed from the hook's tensors by the formulas. */
struct recompute {
    const struct channels *ch;
    const double *mean;
    struct box box;
    double *t;
};

static enum status add_weighted(void *user, struct pass *p, const struct layer *l, const struct tensor *x,
                                const struct tensor *dx) {
    struct recompute *r = user;
    float map[1024];
    saliency_map(r->box, x->w, x->h, p->net_w, p->net_h, .5, .02, map);
    const double *a = x->data, *g = dx->data;
    for (int c = 0; c < x->c; ++c)
        for (int y = 0; y < x->h; ++y)
            for (int k = 0; k < x->w; ++k)
                r->t[channels_group(r->ch, l->in[0], c)] +=
                    (double)map[y * x->w + k] * g[c * dx->sc + y * dx->sh + k * dx->sw] *
                    (a[c * x->sc + y * x->sh + k * x->sw] - r->mean[r->ch->first_node[l->in[0]] + c]);
    return ST_OK;
}

static void check_centred(void) {
    struct ctx ctx = { 0 };
    struct channels *ch;
    struct backend *be;
    struct saliency s;
    struct net *net = nets_open(&ctx, "centred", smooth, 12);
    if (!net || channels_build(&ctx, net, &ch) != ST_OK || backend_open(&ctx, "ref64", &be) != ST_OK) return;
    struct images *im = random_images(net, 5);
    struct score_source nine = source_of(im, IMAGES), src = source_of(im, 1);
    im->n[0] = 1;
    im->item[0][0] = (struct truth){ { .45f, .55f, .3f, .25f }, 1, -1 };
    double *mean = calloc((size_t)ch->n_node, sizeof *mean), *t = calloc((size_t)ch->n_group, sizeof *t),
           most = 0;
    CHECK(saliency_means(&ctx, net, be, ch, &nine, 4, mean) == ST_OK, "%s", ctx.error);
    struct saliency_options opt = saliency_defaults();
    opt.background_guard = 0;
    opt.balance = BALANCE_NONE;
    CHECK(saliency_score(&ctx, net, be, ch, &src, &opt, mean, &s) == ST_OK, "%s", ctx.error);
    struct recompute again = { ch, mean, im->item[0][0].box, t };
    struct net_hook hook = { .user = &again, .reader = add_weighted };
    struct truth_list truth = { 1, 1, im->item[0] };
    struct utility_weights weights = { 1, 1, opt.kappa, false };
    if (s.score && net_bind(&ctx, net, be, NET_SCORE, 1) == ST_OK) {
        net->hook = &hook;
        net_forward(&ctx, net, im->x);
        utility_of(net, &truth, &weights);
        CHECK(net_backward(&ctx, net) == ST_OK, "%s", ctx.error);
        net->hook = NULL;
        for (int g = 0; g < ch->n_group; ++g) most = fmax(most, fabs(t[g]));
        for (int g = 0; g < ch->n_group; ++g)
            CHECK(fabs(s.score[g] - fabs(t[g])) <= 1e-6 * most, "group %d: %.9g, by the formula %.9g", g,
                  s.score[g], fabs(t[g]));
    }
    saliency_free(&s);
    free(mean), free(t);
    drop_images(im);
    channels_drop(ch);
    net_close(net);
    backend_close(be);
}

/* Means over images and cells, of what readers read. */
static void check_means(void) {
    struct ctx ctx = { 0 };
    struct channels *ch;
    struct backend *be;
    struct net *net = nets_open(&ctx, "means", smooth, 13);
    if (!net || channels_build(&ctx, net, &ch) != ST_OK || backend_open(&ctx, "ref64", &be) != ST_OK) return;
    struct images *im = random_images(net, 6);
    struct score_source src = source_of(im, 5);
    double *mean = calloc((size_t)ch->n_node, sizeof *mean), want = 0;
    CHECK(saliency_means(&ctx, net, be, ch, &src, 2, mean) == ST_OK, "%s",
          ctx.error); /* the last batch is half full */
    if (net_bind(&ctx, net, be, NET_SCORE, 1) == ST_OK) {
        const struct tensor *y = &net->y[4]; /* the depthwise layer, read by layer 5 */
        for (int i = 0; i < 5; ++i) {
            net_forward(&ctx, net, im->x + (size_t)i * im->floats);
            for (int r = 0; r < y->h; ++r)
                for (int k = 0; k < y->w; ++k)
                    want += ((const double *)y->data)[2 * y->sc + r * y->sh + k * y->sw];
        }
        want /= 5. * y->h * y->w;
    }
    CHECK_NEAR(mean[ch->first_node[4] + 2], want, 1e-10, "mean of channel 2 of layer 4");
    free(mean);
    drop_images(im);
    channels_drop(ch);
    net_close(net);
    backend_close(be);
}

/* --- property (c): batches, order, threads
 * ------------------------------------------------------------------------------------ */

static double *scores(const char *kind, struct net *net, const struct channels *ch, struct images *im,
                      int batch, const struct saliency_options *base, struct saliency *s) {
    struct ctx ctx = { 0 };
    struct backend *be;
    struct saliency_options opt = *base;
    struct score_source src = source_of(im, IMAGES);
    double *mean = calloc((size_t)ch->n_node, sizeof *mean);
    memset(s, 0, sizeof *s);
    opt.batch = batch;
    if (backend_open(&ctx, kind, &be) == ST_OK &&
        saliency_means(&ctx, net, be, ch, &src, batch, mean) == ST_OK)
        saliency_score(&ctx, net, be, ch, &src, &opt, mean, s);
    CHECK(s->score, "%s: %s", kind, ctx.error);
    backend_close(be);
    free(mean);
    return s->score;
}

static void same_scores(const char *what, const double *a, const double *b, int n, double tolerance) {
    double most = 0, worst = 0;
    for (int g = 0; a && b && g < n; ++g) most = fmax(most, fabs(a[g]));
    for (int g = 0; a && b && g < n; ++g)
        worst = test_worse(worst, fabs(a[g] - b[g]) / fmax(fabs(a[g]), 1e-2 * most));
    CHECK(a && b && worst <= tolerance, "%s: scores moved by %g", what, worst);
}

static void check_invariance(const char *kind, const struct saliency_options *opt, const char *what) {
    static const int reversed[] = { 8, 7, 6, 5, 4, 3, 2, 1, 0 }, mixed[] = { 3, 8, 0, 5, 1, 7, 2, 6, 4 };
    struct ctx ctx = { 0 };
    struct channels *ch;
    struct saliency one, other;
    char name[128];
    struct net *net = nets_open(&ctx, "invariance", smooth, 14);
    if (!net || channels_build(&ctx, net, &ch) != ST_OK) return;
    struct images *im = random_images(net, 7);
    float *before = malloc(net->n_param * sizeof *before);
    memcpy(before, net->param, net->n_param * sizeof *before);
    net->seen = 77;
    scores(kind, net, ch, im, 1, opt, &one);
    static const int batches[] = { 3, 8, 64 };
    for (size_t i = 0; i < 3; ++i) {
        scores(kind, net, ch, im, batches[i], opt, &other);
        snprintf(name, sizeof name, "%s %s batch %d", kind, what, batches[i]);
        same_scores(name, one.score, other.score, ch->n_group, 1e-5);
        CHECK_NEAR(one.tau, other.tau, 1e-3, "%s: tau", name);
        saliency_free(&other);
    }
    for (int k = 0; k < 2; ++k) {
        im->order = k ? mixed : reversed;
        scores(kind, net, ch, im, 3, opt, &other);
        snprintf(name, sizeof name, "%s %s order %d", kind, what, k);
        same_scores(name, one.score, other.score, ch->n_group, 1e-5);
        saliency_free(&other);
    }
    im->order = NULL;
    int threads = omp_get_max_threads();
    omp_set_num_threads(threads == 1 ? 2 : 1);
    scores(kind, net, ch, im, 4, opt, &other);
    omp_set_num_threads(threads);
    snprintf(name, sizeof name, "%s %s threads", kind, what);
    same_scores(name, one.score, other.score, ch->n_group, 1e-5);
    saliency_free(&other);
    CHECK(!memcmp(before, net->param, net->n_param * sizeof *before) && net->seen == 77,
          "scoring changed the network");
    saliency_free(&one);
    free(before);
    drop_images(im);
    channels_drop(ch);
    net_close(net);
}

/* Every fast backend scores as the reference does. */
static void check_kinds(void) {
    struct ctx ctx = { 0 };
    struct channels *ch;
    struct saliency want, got;
    const char *kinds[MAX_KINDS];
    int n = fast_kinds(kinds);
    struct net *net = nets_open(&ctx, "kinds", smooth, 14);
    if (!net || channels_build(&ctx, net, &ch) != ST_OK) return;
    struct images *im = random_images(net, 7);
    struct saliency_options opt = saliency_defaults();
    for (int form = 0; form < 2; ++form) {
        opt.form = form ? FORM_ELEMENTWISE : FORM_ABS;
        scores("ref64", net, ch, im, 4, &opt, &want);
        for (int i = 0; i < n; ++i) {
            scores(kinds[i], net, ch, im, 4, &opt, &got);
            same_scores(kinds[i], want.score, got.score, ch->n_group, 1e-4);
            saliency_free(&got);
        }
        saliency_free(&want);
    }
    drop_images(im);
    channels_drop(ch);
    net_close(net);
}

static void check_invariances(void) {
    struct saliency_options opt = saliency_defaults();
    check_invariance("ref", &opt, "default");
    check_invariance("cpu", &opt, "default");
    opt.utility = UTILITY_LOSS;
    check_invariance("cpu", &opt, "loss");
    opt.utility = UTILITY_PROBABILITY;
    opt.form = FORM_ELEMENTWISE;
    check_invariance("cpu", &opt, "elementwise");
}

/* --- property (e): sizes
 * ----------------------------------------------------------------------------------------------------------
 */

/* Everything is uniform over the picture, both anchors see the same filters and the one is the other at half
 * size: a large object and the same at half size answer alike. */
static struct net *twin_anchors(struct ctx *ctx) {
    static const char text[] = "[net]\nwidth=128\nheight=128\nchannels=1\nbatch=1\nsubdivisions=1\n"
                               "[convolutional]\nfilters=6\nsize=1\nstride=16\nactivation=mish\n["
                               "convolutional]\nfilters=5\nsize=1\nactivation=swish\n"
                               "[convolutional]\nfilters=14\nsize=1\nactivation=linear\n"
                               "[yolo]\nmask=0,1\nanchors=50,50, 100,100\nclasses=2\nnum=2\niou_thresh=1\n";
    struct net *net = nets_open(ctx, "twin anchors", text, 31);
    if (!net) return NULL;
    float *w = net->param + net->layer[2].param[1].offset, *b = net->param + net->layer[2].param[0].offset;
    memcpy(w + 7 * 5, w, 7 * 5 * sizeof *w);
    memcpy(b + 7, b, 7 * sizeof *b);
    return net;
}

static double *size_scores(int large, int medium, enum score_balance balance, struct saliency *s) {
    struct ctx ctx = { 0 };
    struct channels *ch;
    struct backend *be;
    struct net *net = twin_anchors(&ctx);
    memset(s, 0, sizeof *s);
    if (!net || channels_build(&ctx, net, &ch) != ST_OK || backend_open(&ctx, "ref64", &be) != ST_OK)
        return NULL;
    struct images im = { .floats = nets_image(net), .x = calloc(nets_image(net) * IMAGES, sizeof(float)) };
    for (size_t i = 0; i < im.floats * IMAGES; ++i) im.x[i] = .5f;
    for (int i = 0; i < large + medium; ++i) {
        float size = i < large ? 104.f / 128 : 52.f / 128;
        im.n[i] = 1;
        im.item[i][0] = (struct truth){ { .5f + 1.f / 16, .5f + 1.f / 16, size, size }, 1, -1 };
    }
    double *mean = calloc((size_t)ch->n_node, sizeof *mean);
    struct score_source src = source_of(&im, large + medium);
    struct saliency_options opt = saliency_defaults();
    opt.background_guard = 0;
    opt.balance = balance;
    opt.centred = false;
    CHECK(saliency_score(&ctx, net, be, ch, &src, &opt, mean, s) == ST_OK, "%s", ctx.error);
    CHECK(s->bin_count[0] == 0 && s->bin_count[1] == medium && s->bin_count[2] == large &&
              s->bin_count[3] == 0,
          "%d %d %d %d objects", s->bin_count[0], s->bin_count[1], s->bin_count[2], s->bin_count[3]);
    free(mean), free(im.x);
    channels_drop(ch);
    net_close(net);
    backend_close(be);
    return s->score;
}

static void check_half_size(void) {
    struct saliency large, medium, both, many;
    const double *a = size_scores(1, 0, BALANCE_SIZE, &large), *b = size_scores(0, 1, BALANCE_SIZE, &medium);
    const double *c = size_scores(1, 1, BALANCE_SIZE, &both), *d = size_scores(7, 1, BALANCE_SIZE, &many);
    same_scores("half the size", a, b, large.n_group, 1e-5);
    same_scores("both sizes", a, c, large.n_group, 1e-5);
    same_scores("seven large, one at half size", a, d, large.n_group, 1e-5);
    saliency_free(&large), saliency_free(&medium), saliency_free(&both), saliency_free(&many);
}

/* Bins count the same however full they are: three images of one object and one of another score as one of
 * each.  A crowd of a third object holds the median of the votes' totals in place. */
static void check_balance(void) {
    struct ctx ctx = { 0 };
    struct channels *ch;
    struct saliency s[4];
    static const int few[] = { 0, 1, 2, 2, 2, 2, 2, 2, 2 }, crowd[] = { 0, 0, 0, 1, 2, 2, 2, 2, 2 };
    static const float side[] = { .3f, .6f, 1 }; /* of 96 pixels: small, medium, large */
    struct net *net = nets_open(&ctx, "balance", smooth, 15);
    if (!net || channels_build(&ctx, net, &ch) != ST_OK) return;
    CHECK(net_resize(&ctx, net, 96, 96) == ST_OK, "%s", ctx.error);
    struct images *im = random_images(net, 8);
    for (int i = 0; i < IMAGES; ++i) {
        im->n[i] = 1;
        im->item[i][0] = (struct truth){ { .5f, .5f, side[i % 3], side[i % 3] }, 1, -1 };
    }
    struct saliency_options opt = saliency_defaults();
    opt.background_guard = 0;
    opt.centred = false;
    for (int k = 0; k < 4; ++k) {
        opt.balance = k < 2 ? BALANCE_SIZE : BALANCE_OBJECT;
        im->order = k % 2 ? crowd : few;
        scores("cpu", net, ch, im, 1, &opt, &s[k]);
    }
    same_scores("balanced by size", s[0].score, s[1].score, ch->n_group, 1e-9);
    double moved = 0, most = 0;
    for (int g = 0; g < ch->n_group; ++g)
        most = fmax(most, s[2].score[g]), moved = fmax(moved, fabs(s[2].score[g] - s[3].score[g]));
    CHECK(moved > .02 * most, "without balance the crowd should show: %g of %g", moved, most);
    for (int k = 0; k < 4; ++k) saliency_free(&s[k]);
    drop_images(im);
    channels_drop(ch);
    net_close(net);
}

/* A vote is t over T + 0.05 of the median T; two objects vote with half the weight each. */
static void check_votes(void) {
    struct ctx ctx = { 0 };
    struct channels *ch;
    struct backend *be;
    struct saliency one[2], both;
    struct net *net = nets_open(&ctx, "votes", smooth, 18);
    if (!net || channels_build(&ctx, net, &ch) != ST_OK || backend_open(&ctx, "ref64", &be) != ST_OK) return;
    struct images *im = random_images(net, 11);
    double *mean = calloc((size_t)ch->n_node, sizeof *mean), total[2] = { 0, 0 };
    struct saliency_options opt = bare();
    int order[2];
    im->order = order;
    for (int i = 0; i < 2; ++i) {
        struct score_source src = source_of(im, 1);
        im->n[i] = 1;
        im->item[i][0] = (struct truth){ { .4f + .2f * (float)i, .5f, .2f + .5f * (float)i, .3f }, i, -1 };
        order[0] = i;
        CHECK(saliency_score(&ctx, net, be, ch, &src, &opt, mean, &one[i]) == ST_OK, "%s", ctx.error);
        for (int g = 0; g < ch->n_group; ++g) total[i] += one[i].score[g];
    }
    struct score_source src = source_of(im, 2);
    order[0] = 0, order[1] = 1;
    opt.balance = BALANCE_OBJECT;
    CHECK(saliency_score(&ctx, net, be, ch, &src, &opt, mean, &both) == ST_OK, "%s", ctx.error);
    double small = .05 * (total[0] + total[1]) / 2;
    CHECK(fabs(total[0] - total[1]) > .1 * small, "the two objects should differ: %g, %g", total[0],
          total[1]);
    for (int g = 0; g < ch->n_group; ++g) {
        double want = (one[0].score[g] / (total[0] + small) + one[1].score[g] / (total[1] + small)) / 2;
        CHECK(fabs(both.score[g] - want) <= 1e-5 * want + 1e-12, "group %d: %.9g, by the formula %.9g", g,
              both.score[g], want);
        CHECK(fabs(both.half[0][g] - one[0].score[g] / (total[0] + small)) <= 1e-5 * want + 1e-7,
              "group %d: the first half", g);
    }
    saliency_free(&one[0]), saliency_free(&one[1]), saliency_free(&both);
    free(mean);
    drop_images(im);
    channels_drop(ch);
    net_close(net);
    backend_close(be);
}

/* --- guard, errors
 * ------------------------------------------------------------------------------------------------------------------
 */

static void check_unlabelled(void) {
    struct ctx ctx = { 0 };
    struct channels *ch;
    struct backend *be;
    struct saliency s;
    struct net *net = nets_open(&ctx, "unlabelled", smooth, 16);
    if (!net || channels_build(&ctx, net, &ch) != ST_OK || backend_open(&ctx, "cpu", &be) != ST_OK) return;
    struct images *im = random_images(net, 9);
    memset(im->n, 0, sizeof im->n);
    struct score_source src = source_of(im, IMAGES), none = source_of(im, 0);
    struct saliency_options opt = saliency_defaults();
    double *mean = calloc((size_t)ch->n_node, sizeof *mean), sum = 0;
    CHECK(saliency_score(&ctx, net, be, ch, &src, &opt, mean, &s) == ST_OK, "%s", ctx.error);
    for (int g = 0; s.score && g < s.n_group; ++g) sum += s.score[g];
    CHECK(s.bin_count[3] == IMAGES && s.n_object == IMAGES && sum > 0 && isfinite(sum), "%d votes, sum %g",
          s.n_object, sum);
    saliency_free(&s);
    opt.background_guard = 0;
    CHECK(saliency_score(&ctx, net, be, ch, &src, &opt, mean, &s) == ST_USAGE && !s.score &&
              strstr(ctx.error, "no labelled object"),
          "%s", ctx.error);
    ctx_clear(&ctx);
    CHECK(saliency_score(&ctx, net, be, ch, &none, &opt, mean, &s) == ST_USAGE, "%s", ctx.error);
    ctx_clear(&ctx);
    CHECK(saliency_means(&ctx, net, be, ch, &none, 4, mean) == ST_USAGE, "%s", ctx.error);
    ctx_clear(&ctx);
    volatile int stop = 1;
    src.stop = &stop;
    CHECK(saliency_score(&ctx, net, be, ch, &src, &opt, mean, &s) == ST_INTERRUPTED, "%s", ctx.error);
    free(mean);
    drop_images(im);
    channels_drop(ch);
    net_close(net);
    backend_close(be);
}

/* Forms of one vote: relu + its mirror = abs; asymmetric weighs what hurts at a quarter; square squares. */
static void check_forms(void) {
    static const enum score_form forms[] = { FORM_ABS, FORM_RELU, FORM_ASYMMETRIC, FORM_SQUARE };
    struct ctx ctx = { 0 };
    struct channels *ch;
    struct backend *be;
    struct saliency s[4];
    struct net *net = nets_open(&ctx, "forms", smooth, 17);
    if (!net || channels_build(&ctx, net, &ch) != ST_OK || backend_open(&ctx, "ref64", &be) != ST_OK) return;
    struct images *im = random_images(net, 10);
    im->n[0] = 1;
    im->item[0][0] = (struct truth){ { .5f, .5f, .4f, .4f }, 0, -1 };
    struct score_source src = source_of(im, 1);
    double *mean = calloc((size_t)ch->n_node, sizeof *mean);
    struct saliency_options opt = bare();
    int negative = 0;
    for (int k = 0; k < 4; ++k) {
        opt.form = forms[k];
        CHECK(saliency_score(&ctx, net, be, ch, &src, &opt, mean, &s[k]) == ST_OK, "%s", ctx.error);
    }
    for (int g = 0; g < ch->n_group; ++g) {
        double t = s[0].score[g], relu = s[1].score[g];
        CHECK(relu == 0 || relu == t, "relu of group %d: %g, abs %g", g, relu, t);
        CHECK_NEAR(s[2].score[g], relu > 0 ? t : t / 4, 1e-12, "asymmetric");
        CHECK_NEAR(s[3].score[g], t * t, 1e-9, "square");
        negative += t > 0 && relu == 0;
    }
    CHECK(negative > 0 && negative < ch->n_group, "%d of %d responses are negative", negative, ch->n_group);
    for (int k = 0; k < 4; ++k) saliency_free(&s[k]);
    free(mean);
    drop_images(im);
    channels_drop(ch);
    net_close(net);
    backend_close(be);
}

int main(void) {
    check_maps();
    check_shared_maps();
    check_tau();
    check_response("response, detection", OF_DETECTION);
    check_response("response, probability", OF_PROBABILITY);
    check_response("response, background guard", OF_GUARD);
    check_weight_identity();
    check_centred();
    check_means();
    check_invariances();
    check_kinds();
    check_half_size();
    check_balance();
    check_votes();
    check_unlabelled();
    check_forms();
    return test_end("saliency");
}
