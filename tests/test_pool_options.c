/* The options of [maxpool] and [dropout]: values by hand, gradients, the fast backend, pruning, tables, faults. */
#include "net_harness.h"

#define HEAD PLAIN(3, 1, 1, "linear")
#define BEGIN NET CONV(6, 3, 1, "leaky") "[maxpool]\n"

static void midway(struct net *net) { net->iteration = 50; }

static const struct { const char *name, *text; bool prunable; } cases[] = {
    { "steps", BEGIN "size=3\nstride=1\nstride_y=2\n" HEAD, true },
    { "padding", BEGIN "size=2\nstride=2\npadding=0\n" CONV(6, 3, 1, "leaky") "[maxpool]\nsize=3\nstride=2\npadding=3\n" HEAD, true },
    { "depth", BEGIN "maxpool_depth=1\nout_channels=4\n" HEAD, false },
    { "depth, dividing", BEGIN "maxpool_depth=1\nout_channels=3\n" CONV(4, 3, 1, "mish") HEAD, false },
    { "zero non-maxima", BEGIN "size=3\nstride=1\nmaxpool_zero_nonmax=1\n" HEAD, true },
    { "blurred", BEGIN "size=2\nstride=2\nantialiasing=1\n" HEAD, true },
    { "blurred by the box", BEGIN "size=3\nstride_x=2\nstride_y=3\nantialiasing=2\n" HEAD, true },
    { "blurred depth", BEGIN "size=1\nstride=2\nmaxpool_depth=1\nout_channels=2\nantialiasing=1\n" HEAD, false },
    { "blocks", NET CONV(6, 3, 1, "leaky") "[dropout]\ndropblock=1\nprobability=.3\ndropblock_size_abs=5\n" CONV(5, 3, 1, "leaky")
      "[dropout]\ndropblock=1\nprobability=.4\ndropblock_size_rel=.4\n" HEAD, true },
};

static float *output_of(struct rig *r, int layer) {
    float *y = calloc(2 * shape_count(r->net->layer[layer].out), sizeof *y);
    CHECK(net_forward(&r->ctx, r->net, r->x) == ST_OK, "%s", r->ctx.error);
    net_output(r->net, layer, y);
    return y;
}

static void check_depth(void) {
    struct rig r;
    if (!rig_open(&r, "depth", BEGIN "maxpool_depth=1\nout_channels=4\n", "cpu", NET_SCORE, NULL)) return;
    float *x = output_of(&r, 0), *y = output_of(&r, 1);
    CHECK(r.net->layer[1].out.c == 4, "%d channels", r.net->layer[1].out.c);
    for (int n = 0; n < 2; ++n)
        for (int g = 0; g < 4; ++g)
            for (int i = 0; i < 144; ++i) {
                float want = x[(n * 6 + g) * 144 + i];
                if (g + 4 < 6) want = fmaxf(want, x[(n * 6 + g + 4) * 144 + i]);
                CHECK(y[(n * 4 + g) * 144 + i] == want, "channel %d, cell %d", g, i);
            }
    free(x), free(y);
    rig_close(&r);
}

static void check_nonmax(void) {
    struct rig r;
    if (!rig_open(&r, "non-maxima", BEGIN "size=3\nstride=1\nmaxpool_zero_nonmax=1\n", "cpu", NET_SCORE, NULL)) return;
    float *x = output_of(&r, 0), *y = output_of(&r, 1);
    int kept = 0;
    for (int k = 0; k < 12; ++k)
        for (int i = 0; i < 144; ++i) {
            float own = x[k * 144 + i], most = own;
            for (int j = 0; j < 144; ++j)
                if (abs(i / 12 - j / 12) <= 1 && abs(i % 12 - j % 12) <= 1) most = fmaxf(most, x[k * 144 + j]);
            CHECK(y[k * 144 + i] == (own == most ? own : 0), "map %d, cell %d", k, i);
            kept += own == most;
        }
    CHECK(kept > 20 && kept < 12 * 144 / 3, "%d maxima", kept);
    free(x), free(y);
    rig_close(&r);
}

/* Zeros form one square per channel, the rest is scaled by all/kept; size and number grow with the iterations. */
static int blocks_at(int iteration, int *side) {
    struct rig r;
    int blocks = 0;
    *side = 0;
    if (!rig_open(&r, "blocks", NET PLAIN(40, 1, 1, "logistic") "[dropout]\ndropblock=1\nprobability=.5\ndropblock_size_abs=6\n", "cpu", NET_TRAIN, NULL)) return 0;
    r.net->iteration = (uint64_t)iteration;
    float *x = output_of(&r, 0), *y = output_of(&r, 1);
    for (int n = 0; n < 2; ++n) {
        int zeros = 0;
        double factor = 0;
        for (int i = 0; i < 40 * 144; ++i) zeros += y[n * 5760 + i] == 0;
        for (int c = 0; c < 40; ++c) {
            int x0 = 12, x1 = -1, y0 = 12, y1 = -1, area = 0;
            for (int i = 0; i < 144; ++i) {
                int at = (n * 40 + c) * 144 + i;
                if (y[at] != 0) {
                    factor = (double)y[at] / (double)x[at];
                    CHECK_NEAR(factor, 5760. / (5760 - zeros), 1e-5, "image %d", n);
                    continue;
                }
                ++area;
                x0 = i % 12 < x0 ? i % 12 : x0, x1 = i % 12 > x1 ? i % 12 : x1;
                y0 = i / 12 < y0 ? i / 12 : y0, y1 = i / 12 > y1 ? i / 12 : y1;
            }
            if (!area) continue;
            CHECK(x1 - x0 == y1 - y0 && area == (x1 - x0 + 1) * (y1 - y0 + 1), "channel %d: %d zeros are no square", c, area);
            *side = x1 - x0 + 1;
            ++blocks;
        }
    }
    free(x), free(y);
    rig_close(&r);
    return blocks;
}

static void check_blocks(void) {
    int early, half, late, n0 = blocks_at(0, &early), n1 = blocks_at(43, &half), n2 = blocks_at(99, &late);
    CHECK(n0 == 0, "%d blocks at the start", n0);
    CHECK(n1 > 10 && half == 3, "half way: %d blocks of %d", n1, half);
    CHECK(n2 > 40 && n2 < 80 && late == 6, "in the end: %d blocks of %d", n2, late);
}

int main(void) {
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        const char *name = cases[i].name, *text = cases[i].text;
        CHECK(check_gradients(name, text, NET_TRAIN, midway) > 6, "%s: gradients are all zero", name);
        check_activation_gradients(name, text);
        check_backends(name, text, NET_INFER, midway);
        check_backends(name, text, NET_TRAIN, midway);
        int removed = check_cut(name, text);
        if (cases[i].prunable) CHECK(removed > 2, "%s: %d groups were cut", name, removed);
        check_resize(name, text, midway);
    }
    check_depth();
    check_nonmax();
    check_blocks();
    check_row(BEGIN "maxpool_depth=1\nout_channels=2\nsize=1\n", "   1 max-depth          1x 1/ 1     12 x  12 x   6 ->   12 x  12 x   2 0.000 BF");
    check_row(BEGIN "size=2\nstride=2\nantialiasing=1\n", "   1 max                2x 2/ 1     12 x  12 x   6 ->   12 x  12 x   6 0.000 BF\n"
              "AA:  conv      6/   6  3 x 3/ 2     12 x  12 x   6 ->    6 x   6 x   6 0.000 BF");
    check_row(BEGIN "size=2\nstride_x=2\nstride_y=1\n", "   1 max               2x 2/ 2x 1   12 x  12 x   6 ->    6 x  12 x   6 0.000 BF");
    check_row(NET PLAIN(2, 1, 1, "leaky") "[dropout]\ndropblock=1\n", "   1 dropblock    p = 0.200   l.dropblock_size_abs = 7     288  ->    288");
    check_row(NET PLAIN(2, 1, 1, "leaky") "[dropout]\ndropblock=1\ndropblock_size_abs=1e4\n", "l.dropblock_size_abs = 12 ");
    check_row(NET PLAIN(2, 1, 1, "leaky") "[dropout]\ndropblock=1\ndropblock_size_rel=.25\n", "l.dropblock_size_rel = 0.25 ");
    check_refused(BEGIN "maxpool_depth=1\nout_channels=7\n", "out_channels: 7 is more than the 6 channels");
    check_refused(BEGIN "size=2\nstride=2\nmaxpool_zero_nonmax=1\n", "maxpool_zero_nonmax: compares cell by cell");
    check_refused(BEGIN "size=2\nantialiasing=7\n", "antialiasing: 7 is out of range");
    return test_end("pool_options");
}
