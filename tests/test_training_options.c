/* Options of layers that act in training alone: [convolutional] reverse, [crop] angle; the second name of swish. */
#include "net_harness.h"
#include "train/optimizer.h"

/* One step of two nets from the same gradients: with reverse=-1 the step of a weight is sign(m) / (10|m| + 1), decay apart. */
static void check_reverse(const char *kind) {
    static const char plain[] = NET "decay=0.1\nmomentum=0.9\n" PLAIN(3, 3, 1, "leaky"), turned[] = NET "decay=0.1\nmomentum=0.9\n" PLAIN(3, 3, 1, "leaky") "reverse=-1\n";
    float *before[2], *after[2];
    size_t n = 0;
    for (int k = 0; k < 2; ++k) {
        struct rig r;
        struct optimizer o = { 0 };
        if (!rig_open(&r, "reverse", k ? turned : plain, kind, NET_TRAIN, NULL)) return;
        CHECK(net_forward(&r.ctx, r.net, r.x) == ST_OK && optimizer_open(&r.ctx, r.net, &o) == ST_OK, "%s", r.ctx.error);
        n = r.net->n_param;
        float *g = calloc(n, sizeof *g);
        for (size_t i = 0; i < n; ++i) g[i] = i % 7 ? (float)((int)(i % 11) - 5) / 10 : 0;
        r.be->ops->put(r.be, g, n, r.net->dev_grad);
        before[k] = calloc(n, sizeof **before), after[k] = calloc(n, sizeof **after);
        r.be->ops->get(r.be, r.net->dev_param, n, before[k]);
        optimizer_step(&o, r.net, &(struct update){ .number = 1, .rate = .01, .images = 1 });
        r.be->ops->get(r.be, r.net->dev_param, n, after[k]);
        const struct param *weights = &r.net->layer[0].param[1], *biases = &r.net->layer[0].param[0];
        for (size_t i = 0; k && i < param_count(weights); ++i) {
            size_t at = weights->offset + i;
            double m = -(double)g[at], step = m == 0 ? 0 : copysign(1 / (10 * fabs(m) + 1), m), w = (double)before[1][at];
            CHECK_NEAR(after[1][at], w + .01 * (step - .1 * w), 1e-6, "%s: weight %zu", kind, i);
        }
        for (size_t i = 0; k && i < param_count(biases); ++i)
            CHECK_NEAR(after[1][biases->offset + i], after[0][biases->offset + i], 1e-7, "%s: bias %zu", kind, i);
        free(g);
        optimizer_close(&o);
        rig_close(&r);
    }
    for (int k = 0; k < 2; ++k) free(before[k]), free(after[k]);
}

/* A quarter turn of a square moves every cell to a known place; what lies outside is 0. */
static void check_quarter_turn(const char *kind) {
    enum { SIDE = 6 };
    struct ctx ctx = { 0 };
    struct backend *be = NULL;
    CHECK(backend_open(&ctx, kind, &be) == ST_OK, "%s", ctx.error);
    if (!be) return;
    struct shape s = { 1, 1, SIDE, SIDE };
    struct tensor x = shape_tensor(be, s, 1, be->ops->alloc(be, &ctx, SIDE * SIDE)), y = shape_tensor(be, s, 1, be->ops->alloc(be, &ctx, SIDE * SIDE));
    float in[SIDE * SIDE], out[SIDE * SIDE];
    for (int i = 0; i < SIDE * SIDE; ++i) in[i] = (float)i + 1;
    be->ops->from_nchw(be, in, &x, false);
    const struct crop_place at = { .saturation = 1, .exposure = 1, .angle = acos(-1) / 2 };
    be->ops->crop(be, &x, &y, &at, 1, 0);
    be->ops->to_nchw(be, &y, out);
    for (int j = 0; j < SIDE; ++j) /* (x, y) reads (6 - y, x): the middle is the corner of four cells' places */
        for (int i = 0; i < SIDE; ++i)
            CHECK_NEAR(out[j * SIDE + i], j == 0 ? 0 : in[i * SIDE + SIDE - j], 1e-4, "%s: %d %d", kind, j, i);
    be->ops->free(be, x.data), be->ops->free(be, y.data);
    backend_close(be);
}

/* Every image of a training batch turns by its own angle; at rest nothing turns. */
static void check_angle(void) {
    static const char still[] = NET "[crop]\ncrop_width=12\ncrop_height=12\nnoadjust=1\n",
                      turning[] = NET "[crop]\ncrop_width=12\ncrop_height=12\nnoadjust=1\nangle=40\n";
    float y[3][2 * 3 * 12 * 12];
    for (int k = 0; k < 3; ++k) {
        struct rig r;
        if (!rig_open(&r, "angle", k ? turning : still, "cpu", k == 1 ? NET_TRAIN : NET_INFER, NULL)) return;
        memcpy(r.x + 3 * 12 * 12, r.x, 3 * 12 * 12 * sizeof *r.x);
        CHECK(net_forward(&r.ctx, r.net, r.x) == ST_OK, "%s", r.ctx.error);
        net_output(r.net, 0, y[k]);
        rig_close(&r);
    }
    const size_t one = 3 * 12 * 12;
    CHECK(rig_worst(y[0], y[2], 2 * one) == 0, "no turn when not training");
    CHECK(rig_worst(y[0], y[1], one) > .05 && rig_worst(y[1], y[1] + one, one) > .05, "each image its own turn");
}

static void check_silu(void) {
    struct ctx ctx = { 0 };
    struct net *net = nets_open(&ctx, "silu", NET "[convolutional]\nfilters=2\nactivation=silu\n[activation]\nactivation=silu\n", 1);
    CHECK(net != NULL, "%s", ctx.error);
    net_close(net);
}

int main(void) {
    static const char *const kinds[] = { "ref", "cpu", "cpu-plain" };
    for (int k = 0; k < 3; ++k) check_reverse(kinds[k]), check_quarter_turn(kinds[k]);
    check_angle();
    check_silu();
    return test_end("training_options");
}
