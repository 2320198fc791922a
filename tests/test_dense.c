/* [connected], and the affine map under it and the recurrent layers: gradients, values by hand in Darknet's c, h, w order
 * on every backend, slices, stored order and transposed files, resizing, pruning, bad input. */
#include "layers/affine.h"
#include "net_check.h"
#include "prune/criterion.h"
#include "prune_nets.h"

#include <unistd.h>

#define NET "[net]\nwidth=10\nheight=6\nchannels=3\nbatch=2\nsubdivisions=1\n"
#define CONV(f, k, s, act) "[convolutional]\nbatch_normalize=1\nfilters=" #f "\nsize=" #k "\nstride=" #s "\npad=1\nactivation=" act "\n"
#define DENSE(n, bn, act) "[connected]\noutput=" #n "\nbatch_normalize=" #bn "\nactivation=" act "\n"

static const struct { const char *name, *text; } cases[] = {
    { "after a map", NET CONV(5, 3, 2, "leaky") DENSE(7, 0, "leaky") DENSE(4, 0, "linear") },
    { "batch norm", NET CONV(5, 3, 2, "leaky") DENSE(7, 1, "mish") DENSE(6, 1, "leaky") DENSE(4, 0, "linear") },
    { "needs its input", NET CONV(4, 3, 2, "mish") DENSE(5, 0, "swish") "[conn]\noutput=4\n" },
    { "several readers", NET CONV(4, 3, 2, "leaky") DENSE(6, 0, "leaky") "[route]\nlayers=0\n" CONV(4, 3, 2, "leaky") DENSE(6, 1, "tanh")
      "[route]\nlayers=0\n" DENSE(5, 0, "leaky") "[route]\nlayers=1,-1,4\n" "[connected]\noutput=3\nactivation=linear\n" },
    { "squeezed", NET CONV(5, 3, 2, "leaky") "[avgpool]\n" DENSE(5, 0, "logistic") "[scale_channels]\nfrom=0\n" DENSE(4, 0, "linear") },
};

/* y = W*x + b with x in the order c, h, w, whatever the backend's layout. */
static void check_by_hand(const char *kind) {
    struct ctx ctx = { 0 };
    struct backend *be = NULL;
    struct net *net = opened(&ctx, "by hand", "[net]\nwidth=3\nheight=2\nchannels=2\nbatch=1\nsubdivisions=1\n"
                                              "[connected]\noutput=2\nactivation=linear\n");
    if (!net || backend_open(&ctx, kind, &be) != ST_OK) {
        CHECK(false, "%s", ctx.error);
        return;
    }
    CHECK(net->n_param == 2 + 24 && net->layer[0].param[1].role == PARAM_WEIGHT, "%zu values", net->n_param);
    float x[12], y[2];
    for (int i = 0; i < 12; ++i) x[i] = (float)(i * i - 20);
    for (int o = 0; o < 2; ++o) {
        net->param[o] = (float)(o + 1);
        for (int i = 0; i < 12; ++i) net->param[2 + 12 * o + i] = (float)(o ? 3 - i : i + 1);
    }
    CHECK(net_bind(&ctx, net, be, NET_INFER, 1) == ST_OK && net_forward(&ctx, net, x) == ST_OK, "%s", ctx.error);
    net_output(net, 0, y);
    for (int o = 0; o < 2; ++o) {
        double want = o + 1;
        for (int i = 0; i < 12; ++i) want += (o ? 3 - i : i + 1) * (i * i - 20);
        CHECK_NEAR(y[o], want, 1e-5, "%s output %d", kind, o);
    }
    net_close(net);
    backend_close(be);
}

/* Slices of one map: each like a map of its own on that part of the batch; the gradients add up. */
static void check_slices(bool batch_normalize) {
    struct ctx ctx = { 0 };
    struct backend *be = NULL;
    char text[512];
    snprintf(text, sizeof text, "[net]\nwidth=3\nheight=2\nchannels=2\nbatch=6\nsubdivisions=1\n"
             "[convolutional]\nfilters=2\nsize=1\nactivation=linear\n" "[connected]\noutput=4\nactivation=mish\nbatch_normalize=%d\n", batch_normalize);
    struct net *net = opened(&ctx, "slices", text);
    if (!net || backend_open(&ctx, "cpu", &be) != ST_OK || net_bind(&ctx, net, be, NET_TRAIN, 6) != ST_OK) {
        CHECK(false, "%s", ctx.error);
        return;
    }
    struct pass p;
    struct affine whole = { 0 }, part = { 0 };
    const struct layer *l = &net->layer[1];
    struct affine_desc d = affine_matrix(l->in_shape[0], 4, batch_normalize, ACT_MISH);
    struct affine_rows rows = { 0, 1, batch_normalize ? 2 : -1 };
    float *x = calloc(input_size(net), sizeof *x), dy[24], y[24], g[72], dx[72], want_y[24], want_g[72], want_dx[72];
    random_input(net, x);
    for (int i = 0; i < 24; ++i) dy[i] = (float)sin(i);
    net_forward(&ctx, net, x);
    net_pass(&ctx, net, 1, &p);
    size_t n_g = 0;
    for (int k = 0; k < l->n_param; ++k) n_g += param_count(&l->param[k]); /* they stand one behind the other */
    CHECK(affine_open(&whole, &p, &d, rows, 2, 1) == ST_OK && affine_open(&part, &p, &d, rows, 2, 3) == ST_OK, "%s", ctx.error);
    affine_refresh(&whole, &p), affine_refresh(&part, &p);
    for (int way = 0; way < 2; ++way) { /* 0: every part alone, forward and backward; 1: all forward, then all backward */
        be->ops->from_nchw(be, dy, p.dy, false);
        struct tensor grad = tensor_of(be, (struct shape){ 1, (int)n_g, 1, 1 }, p.grad[0]);
        be->ops->fill(be, &grad, 0);
        for (int s = 0; s < 3; ++s) {
            struct tensor xs = tensor_images(be, p.x[0], 2 * s, 2), ys = tensor_images(be, p.y, 2 * s, 2);
            struct tensor dys = tensor_images(be, p.dy, 2 * s, 2), dxs = tensor_images(be, p.dx[0], 2 * s, 2);
            if (way == 1) CHECK(affine_forward(&part, &p, s, &xs, &ys) == ST_OK, "%s", ctx.error);
            if (way == 1) continue;
            CHECK(affine_forward(&whole, &p, 0, &xs, &ys) == ST_OK, "%s", ctx.error);
            CHECK(affine_backward(&whole, &p, 0, &xs, &ys, &dys, &dxs, false) == ST_OK, "%s", ctx.error);
        }
        for (int s = 2; s >= 0 && way == 1; --s) {
            struct tensor xs = tensor_images(be, p.x[0], 2 * s, 2), ys = tensor_images(be, p.y, 2 * s, 2);
            struct tensor dys = tensor_images(be, p.dy, 2 * s, 2), dxs = tensor_images(be, p.dx[0], 2 * s, 2);
            CHECK(affine_backward(&part, &p, s, &xs, &ys, &dys, &dxs, false) == ST_OK, "%s", ctx.error);
        }
        be->ops->to_nchw(be, p.y, way ? y : want_y);
        be->ops->to_nchw(be, p.dx[0], way ? dx : want_dx);
        be->ops->get(be, p.grad[0], n_g, way ? g : want_g);
    }
    for (int i = 0; i < 24; ++i) CHECK_NEAR(y[i], want_y[i], 1e-6, "output %d", i);
    for (int i = 0; i < 72; ++i) CHECK_NEAR(dx[i], want_dx[i], 1e-5, "input gradient %d", i);
    for (size_t i = 0; i < n_g; ++i) CHECK_NEAR(g[i], want_g[i], 1e-5, "parameter gradient %zu", i);
    affine_close(&whole, be), affine_close(&part, be);
    free(x);
    net_close(net);
    backend_close(be);
}

/* What the pruner sees at the inputs of readers. */
struct seen { double sum[8], size[8]; int calls; };
static enum status look(void *user, struct pass *p, const struct layer *l, const struct tensor *x, const struct tensor *dx) {
    struct seen *s = user;
    size_t n = shape_count(l->in_shape[0]) * (size_t)p->batch;
    float *g = calloc(n, sizeof *g), *v = calloc(n, sizeof *v);
    p->be->ops->to_nchw(p->be, dx, g);
    p->be->ops->to_nchw(p->be, x, v);
    for (size_t i = 0; i < n; ++i) s->sum[s->calls] += (double)g[i] * (double)v[i] * (1 + sin((double)i)), s->size[s->calls] += fabs(g[i]);
    ++s->calls;
    free(g), free(v);
    return ST_OK;
}

/* A matrix over a square map is a convolution of the map's size without padding: equal outputs, gradients, and equal
 * gradients at each reader's own edge, whoever has written to the map's gradient before. */
static void check_against_convolution(enum net_mode mode) {
    static const char *const readers[] = { "[connected]\noutput=6\nactivation=mish\n",
                                           "[convolutional]\nfilters=6\nsize=4\nstride=1\nactivation=mish\n" };
    struct ctx ctx = { 0 };
    struct seen seen[2] = { 0 };
    float *y[2], *g[2];
    size_t n = 0, n_g = 0;
    for (int way = 0; way < 2; ++way) {
        struct backend *be;
        char text[1024];
        snprintf(text, sizeof text, "[net]\nwidth=8\nheight=8\nchannels=3\nbatch=2\nsubdivisions=1\n" CONV(5, 3, 2, "leaky") "%s"
                 "[route]\nlayers=0\n%s[shortcut]\nfrom=1\nactivation=linear\n", readers[way], readers[way]);
        struct net *net = opened(&ctx, "pair", text);
        if (!net || backend_open(&ctx, "cpu", &be) != ST_OK || net_bind(&ctx, net, be, mode, 2) != ST_OK) {
            CHECK(false, "%s", ctx.error);
            return;
        }
        struct net_hook hook = { .user = &seen[way], .reader = look };
        net->hook = &hook;
        int last = net->n - 1;
        n = 2 * shape_count(net->layer[last].out), n_g = mode == NET_TRAIN ? net->n_param : 0;
        float *x = calloc(input_size(net), sizeof *x), *seed = calloc(n, sizeof *seed);
        y[way] = calloc(n, sizeof **y), g[way] = calloc(n_g + 1, sizeof **g);
        random_input(net, x);
        for (size_t i = 0; i < n; ++i) seed[i] = (float)cos((double)i);
        CHECK(net_forward(&ctx, net, x) == ST_OK, "%s", ctx.error);
        net_output(net, last, y[way]);
        net->buffers->clear[last] = false;
        net->buffers->first_writer[last] = last;
        be->ops->from_nchw(be, seed, &net->dy[last], false);
        CHECK(net_backward(&ctx, net) == ST_OK, "%s", ctx.error);
        if (n_g) be->ops->get(be, net->dev_grad, n_g, g[way]);
        free(x), free(seed);
        net_close(net);
        backend_close(be);
    }
    for (size_t i = 0; i < n; ++i) CHECK_NEAR(y[0][i], y[1][i], 1e-5, "output %zu", i);
    for (size_t i = 0; i < n_g; ++i) CHECK_NEAR(g[0][i], g[1][i], 1e-4, "gradient %zu", i);
    CHECK(seen[0].calls >= 1 && seen[0].calls == seen[1].calls, "%d and %d readers seen", seen[0].calls, seen[1].calls);
    for (int i = 0; i < seen[0].calls; ++i) {
        CHECK(seen[0].size[i] > 0, "reader %d sends nothing", i);
        CHECK_NEAR(seen[0].sum[i], seen[1].sum[i], 1e-4, "reader %d", i);
        CHECK_NEAR(seen[0].size[i], seen[1].size[i], 1e-4, "reader %d", i);
    }
    free(y[0]), free(y[1]), free(g[0]), free(g[1]);
}

static void write_file(const char *path, int major, int minor, const float *v, size_t n) {
    FILE *f = fopen(path, "wb");
    int32_t head[3] = { major, minor, 0 };
    uint64_t seen = 64;
    fwrite(head, 4, 3, f), fwrite(&seen, 8, 1, f), fwrite(v, 4, n, f);
    fclose(f);
}

/* biases, weights, scales, mean, variance; files of version > 1000 hold the matrix, and nothing else, transposed. */
static void check_files(void) {
    struct ctx ctx = { 0 };
    const char *text = NET CONV(2, 3, 2, "leaky") DENSE(3, 1, "leaky");
    struct net *a = opened(&ctx, "files", text), *b = opened(&ctx, "files", text);
    char path[] = "/tmp/test_dense_XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0 || !a || !b) {
        CHECK(false, "no temporary file");
        return;
    }
    close(fd);
    static const char *const order[] = { "biases", "weights", "scales", "rolling_mean", "rolling_variance" };
    const struct layer *l = &a->layer[1];
    CHECK(l->n_param == 5, "%d arrays", l->n_param);
    for (int k = 0; k < 5; ++k) CHECK(!strcmp(l->param[k].name, order[k]), "array %d is %s", k, l->param[k].name);
    for (size_t i = 0; i < a->n_param; ++i) a->param[i] = .5f + (float)i;
    CHECK(net_save(&ctx, a, path, -1) == ST_OK && net_load(&ctx, b, path, LOAD_WHOLE, NULL) == ST_OK, "%s", ctx.error);
    CHECK(!memcmp(a->param, b->param, a->n_param * sizeof *a->param), "values changed on the way");

    size_t first = l->param[1].offset, inputs = param_count(&l->param[1]) / 3, other = a->layer[0].param[4].offset;
    float *file = calloc(a->n_param, sizeof *file);
    for (int way = 0; way < 2; ++way) {
        memcpy(file, a->param, a->n_param * sizeof *file);
        for (size_t i = 0; i < inputs; ++i)
            for (size_t o = 0; o < 3; ++o) file[first + i * 3 + o] = a->param[first + o * inputs + i];
        write_file(path, way ? 1001 : 0, way ? 0 : 1001, file, a->n_param);
        memset(b->param, 0, b->n_param * sizeof *b->param);
        CHECK(net_load(&ctx, b, path, LOAD_WHOLE, NULL) == ST_OK && b->seen == 64, "%s", ctx.error);
        CHECK(!memcmp(a->param + first, b->param + first, 3 * inputs * sizeof *file), "the matrix is not what was stored transposed");
        CHECK(!memcmp(a->param + other, b->param + other, 10 * sizeof *file), "a convolution's weights were transposed, too");
        CHECK(!memcmp(a->param, b->param, a->n_param * sizeof *file), "values changed on the way");
    }
    free(file);
    unlink(path);
    net_close(a), net_close(b);
}

/* The matrix fits one size of map; behind [avgpool] every input size will do. */
static void check_resize(void) {
    struct ctx ctx = { 0 };
    struct backend *be;
    float y[4];
    if (backend_open(&ctx, "cpu", &be) != ST_OK) return;
    struct net *fixed = opened(&ctx, "fixed", cases[0].text), *free_size = opened(&ctx, "free", cases[4].text);
    float *x = calloc(2 * 3 * 64 * 64, sizeof *x);
    CHECK(net_bind(&ctx, fixed, be, NET_INFER, 2) == ST_OK, "%s", ctx.error);
    CHECK(net_resize(&ctx, fixed, 64, 64) == ST_CFG && strstr(ctx.error, "fixed:14: [connected]") && strstr(ctx.error, "64 x 64"),
          "%s", ctx.error);
    ctx_clear(&ctx);
    CHECK(fixed->opt.width == 10 && fixed->layer[0].out.w == 5 && net_forward(&ctx, fixed, x) == ST_OK, "as before: %s", ctx.error);
    net_close(fixed);
    struct net *squeezed = opened(&ctx, "squeezed", NET CONV(5, 3, 2, "leaky") "[avgpool]\n" DENSE(2, 0, "linear"));
    CHECK(net_bind(&ctx, squeezed, be, NET_INFER, 2) == ST_OK && net_resize(&ctx, squeezed, 64, 32) == ST_OK &&
          net_forward(&ctx, squeezed, x) == ST_OK, "%s", ctx.error);
    net_output(squeezed, 2, y);
    net_close(squeezed), net_close(free_size);
    free(x);
    backend_close(be);
}

static void check_error(const char *text, const char *want) {
    struct ctx ctx = { 0 };
    struct cfg_doc *doc;
    struct net *net = NULL;
    if (cfg_parse(&ctx, "bad", text, strlen(text), true, &doc) == ST_OK) net_open_doc(&ctx, doc, true, &net);
    CHECK(!net && strstr(ctx.error, want), "\"%s\", not \"%s\"", ctx.error, want);
    net_close(net);
}

/* Criteria that look at weights find the matrix, which is not the last array; layers without one do not count. */
static void check_l1(void) {
    struct ctx ctx = { 0 };
    struct channels *ch = NULL;
    struct net *net = opened(&ctx, "l1", NET CONV(4, 3, 2, "leaky") "[batchnorm]\n[local]\nfilters=6\nsize=3\nactivation=leaky\n" DENSE(7, 1, "leaky") DENSE(3, 0, "linear"));
    if (!net || channels_build(&ctx, net, &ch) != ST_OK) {
        CHECK(false, "%s", ctx.error);
        return;
    }
    double *score = calloc((size_t)ch->n_group, sizeof *score), want[7];
    struct criterion_input in = { .net = net, .channels = ch };
    CHECK(criterion_find("l1")->score(&ctx, &in, score) == ST_OK, "%s", ctx.error);
    const struct param *w = &net->layer[3].param[1];
    size_t per = param_count(w) / 7;
    for (int f = 0; f < 7; ++f) {
        want[f] = 0;
        for (size_t i = 0; i < per; ++i) want[f] += fabs((double)net->param[w->offset + (size_t)f * per + i]);
        CHECK_NEAR(score[channels_group(ch, 3, f)] / score[channels_group(ch, 3, 0)], want[f] / want[0], 1e-9, "output %d", f);
    }
    free(score);
    channels_drop(ch);
    net_close(net);
}

static void check_row(void) {
    struct ctx ctx = { 0 };
    char row[256];
    struct net *net = opened(&ctx, "row", cases[0].text);
    net->layer[1].ops->describe(&net->layer[1], row, sizeof row);
    CHECK(!strcmp(row, "connected                              75  ->     7"), "%s", row);
    net_close(net);
}

int main(void) {
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        check_gradients(cases[i].name, cases[i].text, NET_TRAIN, NULL);
        check_activation_gradients(cases[i].name, cases[i].text);
        check_backends(cases[i].name, cases[i].text, NET_INFER, NULL);
        check_backends(cases[i].name, cases[i].text, NET_TRAIN, NULL);
        nets_check_cut(cases[i].name, cases[i].text);
    }
    check_by_hand("ref"), check_by_hand("cpu"), check_by_hand("cpu-plain");
    check_slices(false), check_slices(true);
    check_against_convolution(NET_SCORE), check_against_convolution(NET_TRAIN);
    check_files();
    check_resize();
    check_row();
    check_l1();
    check_error(NET "[connected]\noutput=0\n", "bad:8: [connected] output");
    check_error(NET "[connected]\noutput=many\n", "bad:8: [connected] output");
    check_error(NET "[connected]\noutput=4\nactivation=lekay\n", "bad:9: [connected] activation");
    check_error(NET "[connected]\noutput=1000000\n[connected]\noutput=1000000\n", "bad:10: [connected] output");
    return test_end("dense");
}
