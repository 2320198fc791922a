/* [rnn], [crnn], [gru], [lstm], [conv_lstm]: gradients through time, values against their formulas, order of stored arrays,
 * state between passes, freezing, resizing, pruning, bad input, and the cfgs that Darknet ships. */
#include "net_check.h"
#include "prune_nets.h"

#include "base/io.h"
#include "train/optimizer.h"

#include <unistd.h>

#define NET "[net]\nwidth=10\nheight=6\nchannels=3\nbatch=5\ntime_steps=3\n"
#define CONV(f, k, s, act) "[convolutional]\nbatch_normalize=1\nfilters=" #f "\nsize=" #k "\nstride=" #s "\npad=1\nactivation=" act "\n"
#define LAST "[convolutional]\nfilters=3\nsize=1\nactivation=linear\n"

static const struct { const char *name, *text; } cases[] = {
    { "rnn", NET CONV(4, 3, 2, "leaky") "[rnn]\noutput=5\nhidden=6\nactivation=leaky\n" LAST },
    { "rnn with everything", NET CONV(4, 3, 2, "leaky") CONV(4, 1, 1, "mish") "[rnn]\noutput=5\nhidden=6\nactivation=tanh\nlogistic=1\n"
      "shortcut=1\nbatch_normalize=1\n[rnn]\noutput=4\nhidden=3\nactivation=mish\nlogistic=2\n" LAST },
    { "crnn", NET CONV(4, 3, 2, "leaky") "[crnn]\noutput=5\nhidden=6\npad=1\nactivation=leaky\n" LAST },
    { "crnn with everything", NET CONV(4, 3, 1, "leaky") "[crnn]\noutput=5\nhidden=6\npadding=1\nstride=2\ndilation=2\nbatch_normalize=1\n"
      "shortcut=1\nactivation=swish\n[crnn]\nsize=1\noutput=4\nhidden=3\n" LAST },
    { "crnn with groups", NET CONV(4, 3, 2, "leaky") CONV(4, 1, 1, "leaky")
      "[crnn]\noutput=6\nhidden=4\ngroups=2\npad=1\nactivation=mish\n" LAST },
    { "gru", NET CONV(4, 3, 2, "leaky") "[gru]\noutput=5\n" LAST },
    { "gru with batch norm", NET CONV(4, 3, 2, "leaky") "[gru]\noutput=5\nbatch_normalize=1\n[gru]\noutput=4\n" LAST },
    { "lstm", NET CONV(4, 3, 2, "leaky") "[lstm]\noutput=5\n" LAST },
    { "lstm with batch norm", NET CONV(4, 3, 2, "leaky") "[lstm]\noutput=5\nbatch_normalize=1\n[lstm]\noutput=4\n" LAST },
    { "conv_lstm", NET CONV(4, 3, 2, "leaky") "[conv_lstm]\noutput=5\npad=1\n" LAST },
    { "conv_lstm with everything", NET CONV(4, 3, 1, "leaky") "[conv_lstm]\noutput=5\npad=1\nstride=2\nactivation=leaky\npeephole=1\n"
      "batch_normalize=1\nlstm_activation=relu\nstate_constrain=1\n[conv_lstm]\noutput=4\nsize=1\npeephole=1\nactivation=mish\n" LAST },
    { "conv_lstm with groups", NET CONV(4, 3, 2, "leaky") CONV(4, 1, 1, "leaky") "[conv_lstm]\noutput=6\ngroups=2\npad=1\n" LAST },
    { "conv_lstm with bottleneck", NET CONV(4, 3, 2, "leaky") CONV(4, 1, 1, "leaky") "[conv_lstm]\noutput=4\npad=1\nbottleneck=1\n"
      "shortcut=1\nbatch_normalize=1\nactivation=leaky\n[conv_lstm]\noutput=4\npad=1\nbottleneck=1\npeephole=1\n" LAST },
    { "several readers", NET CONV(4, 3, 2, "leaky") CONV(4, 3, 1, "leaky") "[crnn]\noutput=4\nhidden=3\npad=1\n[route]\nlayers=1\n"
      "[conv_lstm]\noutput=4\npad=1\n[route]\nlayers=1\n[conv_lstm]\noutput=4\npad=1\nbottleneck=1\n[route]\nlayers=2,4,6\n"
      CONV(4, 1, 1, "leaky") "[route]\nlayers=1\n[avgpool]\n[connected]\noutput=4\n[gru]\noutput=4\n[scale_channels]\nfrom=-5\n" LAST },
};

/* --- values by formula ---------------------------------------------------------------------------------------------- */

enum { IN = 4, OUT = 4, STEPS = 6, SEQUENCES = 2 };

/* y = act(W*x + b) with arrays taken in file order: biases, weights. */
struct tape { const float *at; };

static void take(struct tape *tape, int n_in, int n_out, const double *x, enum activation act, double *y) {
    for (int o = 0; o < n_out; ++o) {
        double sum = tape->at[o];
        for (int i = 0; i < n_in; ++i) sum += (double)tape->at[n_out + o * n_in + i] * x[i];
        y[o] = activation_value(act, sum);
    }
    tape->at += n_out + n_out * n_in;
}

static double logistic(double x) { return 1 / (1 + exp(-x)); }

/* [rnn], [crnn]: input, self, output; hidden as wide as the output. */
static void want_rnn(const float *w, bool shortcut, enum activation act, enum activation own, double *state, const double *x, double *y) {
    struct tape t = { w };
    double in[OUT], self[OUT];
    take(&t, IN, OUT, x, act, in);
    take(&t, OUT, OUT, state, own, self);
    for (int k = 0; k < OUT; ++k) state[k] = in[k] + self[k] + (shortcut ? state[k] : 0);
    take(&t, OUT, OUT, state, act, y);
}

/* [gru]: input z, r, h, state z, r, h. */
static void want_gru(const float *w, double *h, const double *x, double *y) {
    struct tape t = { w };
    double wz[OUT], wr[OUT], wh[OUT], uz[OUT], ur[OUT], uh[OUT], forgot[OUT];
    take(&t, IN, OUT, x, ACT_LINEAR, wz), take(&t, IN, OUT, x, ACT_LINEAR, wr), take(&t, IN, OUT, x, ACT_LINEAR, wh);
    take(&t, OUT, OUT, h, ACT_LINEAR, uz), take(&t, OUT, OUT, h, ACT_LINEAR, ur);
    for (int k = 0; k < OUT; ++k) forgot[k] = logistic(wr[k] + ur[k]) * h[k];
    take(&t, OUT, OUT, forgot, ACT_LINEAR, uh);
    for (int k = 0; k < OUT; ++k) {
        double z = logistic(wz[k] + uz[k]);
        y[k] = h[k] = z * h[k] + (1 - z) * logistic(wh[k] + uh[k]);
    }
}

struct lstm_case { bool peephole, bottleneck, shortcut; enum activation act, cell; double limit; };

/* [lstm], [conv_lstm]: [vf, vi, vo], wf, [wi, wg, wo], uf, ui, ug, uo. */
static void want_lstm(const float *w, const struct lstm_case *k, double *c, double *h, const double *x, double *y) {
    struct tape t = { w }, vo;
    double vf[OUT] = { 0 }, vi[OUT] = { 0 }, v[OUT] = { 0 }, wide[2 * OUT], mixed[OUT], sw[4][OUT] = { { 0 } }, su[4][OUT], held[OUT], next[OUT];
    for (int i = 0; i < OUT; ++i) held[i] = k->limit > 0 ? fmax(-k->limit, fmin(k->limit, c[i])) : c[i];
    if (k->peephole) take(&t, OUT, OUT, held, k->act, vf), take(&t, OUT, OUT, held, k->act, vi);
    vo = t;
    if (k->peephole) take(&t, OUT, OUT, held, k->act, v);
    if (k->bottleneck) {
        for (int i = 0; i < OUT; ++i) wide[i] = h[i], wide[OUT + i] = x[i];
        take(&t, 2 * OUT, OUT, wide, k->act, mixed);
        for (int i = 0; i < OUT; ++i) mixed[i] = activation_value(k->cell, mixed[i]);
        x = mixed;
    } else {
        for (int g = 0; g < 4; ++g) take(&t, OUT, OUT, h, k->act, sw[g]);
    }
    for (int g = 0; g < 4; ++g) take(&t, IN, OUT, x, k->act, su[g]);
    for (int i = 0; i < OUT; ++i)
        next[i] = logistic(sw[0][i] + su[0][i] + vf[i]) * held[i] +
                  logistic(sw[1][i] + su[1][i] + vi[i]) * activation_value(k->cell, sw[2][i] + su[2][i]);
    if (k->peephole) take(&vo, OUT, OUT, next, k->act, v);
    for (int i = 0; i < OUT; ++i) {
        c[i] = next[i];
        h[i] = logistic(sw[3][i] + su[3][i] + v[i]) * activation_value(k->cell, c[i]);
        y[i] = h[i] + (k->bottleneck && k->shortcut && i < OUT / 2 ? mixed[i] : 0);
    }
}

static const struct { const char *section; int kind; struct lstm_case lstm; } formulas[] = {
    { "[rnn]\noutput=4\nhidden=4\nactivation=tanh\n", 0, { .act = ACT_TANH, .cell = ACT_TANH } },
    { "[rnn]\noutput=4\nhidden=4\nactivation=leaky\nlogistic=1\nshortcut=1\n", 0, { .shortcut = true, .act = ACT_LEAKY, .cell = ACT_LOGISTIC } },
    { "[rnn]\noutput=4\nhidden=4\nlogistic=2\n", 0, { .act = ACT_LOGISTIC, .cell = ACT_LOGGY } },
    { "[crnn]\nsize=1\noutput=4\nhidden=4\nactivation=mish\nshortcut=1\n", 0, { .shortcut = true, .act = ACT_MISH, .cell = ACT_MISH } },
    { "[gru]\noutput=4\n", 1, { .act = ACT_LINEAR } },
    { "[lstm]\noutput=4\n", 2, { .act = ACT_LINEAR, .cell = ACT_TANH } },
    { "[conv_lstm]\nsize=1\noutput=4\n", 2, { .act = ACT_LINEAR, .cell = ACT_TANH } },
    { "[conv_lstm]\nsize=1\noutput=4\npeephole=1\nactivation=leaky\nlstm_activation=relu\nstate_constrain=1\n", 2,
      { .peephole = true, .act = ACT_LEAKY, .cell = ACT_RELU, .limit = 1 } },
    { "[conv_lstm]\nsize=1\noutput=4\nbottleneck=1\nshortcut=1\n", 2, { .bottleneck = true, .shortcut = true, .act = ACT_LINEAR, .cell = ACT_TANH } },
    { "[conv_lstm]\nsize=1\noutput=4\nbottleneck=1\npeephole=1\n", 2, { .peephole = true, .bottleneck = true, .act = ACT_LINEAR, .cell = ACT_TANH } },
};

static void fill_values(struct net *net, float *x) {
    struct rng r = rng_stream(12, 4, 1);
    for (size_t i = 0; i < net->n_param; ++i) net->param[i] = (float)rng_between(&r, -1, 1);
    for (int i = 0; i < IN * STEPS * SEQUENCES; ++i) x[i] = (float)rng_between(&r, -1.5, 1.5);
}

/* All steps at once in training, and step by step at inference, are the formula; memory lasts until reset. */
static void check_formula(const char *kind, size_t n) {
    struct ctx ctx = { 0 };
    struct backend *be = NULL;
    char text[512];
    float x[IN * STEPS * SEQUENCES], all[OUT * STEPS * SEQUENCES], one[OUT * SEQUENCES];
    double want[STEPS * SEQUENCES][OUT], state[SEQUENCES][OUT] = { { 0 } }, cell[SEQUENCES][OUT] = { { 0 } };
    snprintf(text, sizeof text, "[net]\ninputs=%d\nbatch=%d\ntime_steps=%d\n%s", IN, SEQUENCES, STEPS, formulas[n].section);
    const char *name = formulas[n].section;
    struct net *net = opened(&ctx, "formula", text);
    if (!net || backend_open(&ctx, kind, &be) != ST_OK) {
        CHECK(false, "%s", ctx.error);
        return;
    }
    fill_values(net, x);
    for (int t = 0; t < STEPS; ++t)
        for (int s = 0; s < SEQUENCES; ++s) {
            const struct lstm_case *k = &formulas[n].lstm;
            double in[IN], *y = want[t * SEQUENCES + s];
            for (int i = 0; i < IN; ++i) in[i] = x[(t * SEQUENCES + s) * IN + i];
            if (formulas[n].kind == 0) want_rnn(net->param, k->shortcut, k->act, k->cell, state[s], in, y);
            if (formulas[n].kind == 1) want_gru(net->param, state[s], in, y);
            if (formulas[n].kind == 2) want_lstm(net->param, k, cell[s], state[s], in, y);
        }
    CHECK(net_bind(&ctx, net, be, NET_TRAIN, STEPS * SEQUENCES) == ST_OK && net_forward(&ctx, net, x) == ST_OK, "%s", ctx.error);
    net_output(net, 0, all);
    for (int i = 0; i < STEPS * SEQUENCES * OUT; ++i) CHECK_NEAR(all[i], want[i / OUT][i % OUT], 1e-5, "%s %s value %d", kind, name, i);
    CHECK(net_bind(&ctx, net, be, NET_INFER, SEQUENCES) == ST_OK, "%s", ctx.error);
    for (int round = 0; round < 2; ++round) {
        for (int t = 0; t < STEPS; ++t) {
            CHECK(net_forward(&ctx, net, x + t * SEQUENCES * IN) == ST_OK, "%s", ctx.error);
            net_output(net, 0, one);
            for (int i = 0; i < SEQUENCES * OUT; ++i)
                CHECK_NEAR(one[i], all[t * SEQUENCES * OUT + i], 1e-5, "%s %s round %d step %d value %d", kind, name, round, t, i);
        }
        net_forward(&ctx, net, x);
        net_output(net, 0, one);
        double moved = 0;
        for (int i = 0; i < SEQUENCES * OUT; ++i) moved = fmax(moved, fabs((double)one[i] - (double)all[i]));
        CHECK(moved > 1e-3, "%s: nothing is remembered: %g", name, moved);
        CHECK(net_reset(&ctx, net) == ST_OK, "%s", ctx.error);
    }
    net_close(net);
    backend_close(be);
}

/* A training pass goes on from the last one, and its gradient stops there; after a reset it starts at 0. */
static void check_continues(size_t n) {
    struct ctx ctx = { 0 };
    struct backend *be = NULL;
    char text[512];
    float x[IN * STEPS * SEQUENCES], whole[OUT * STEPS * SEQUENCES], part[OUT * STEPS * SEQUENCES / 2];
    snprintf(text, sizeof text, "[net]\ninputs=%d\nbatch=%d\ntime_steps=%d\n%s", IN, SEQUENCES, STEPS, formulas[n].section);
    struct net *net = opened(&ctx, "continues", text);
    if (!net || backend_open(&ctx, "cpu", &be) != ST_OK) return;
    fill_values(net, x);
    CHECK(net_bind(&ctx, net, be, NET_TRAIN, STEPS * SEQUENCES) == ST_OK && net_forward(&ctx, net, x) == ST_OK, "%s", ctx.error);
    net_output(net, 0, whole);
    net->opt.time_steps = STEPS / 2;
    CHECK(net_bind(&ctx, net, be, NET_TRAIN, STEPS / 2 * SEQUENCES) == ST_OK, "%s", ctx.error);
    for (int half = 0; half < 3; ++half) {
        if (half == 2) net_reset(&ctx, net);
        CHECK(net_forward(&ctx, net, x + half % 2 * IN * STEPS * SEQUENCES / 2) == ST_OK, "%s", ctx.error);
        net_output(net, 0, part);
        for (int i = 0; i < OUT * STEPS * SEQUENCES / 2; ++i)
            CHECK_NEAR(part[i], whole[half % 2 * OUT * STEPS * SEQUENCES / 2 + i], 1e-5, "%s half %d value %d", formulas[n].section, half, i);
    }
    net_close(net);
    backend_close(be);
}

/* In SCORE images stand alone: the same image gives the same twice. */
static void check_score(size_t n) {
    struct ctx ctx = { 0 };
    struct backend *be = NULL;
    char text[512];
    float x[IN * STEPS * SEQUENCES], a[OUT * 2], b[OUT * 2];
    snprintf(text, sizeof text, "[net]\ninputs=%d\n%s", IN, formulas[n].section);
    struct net *net = opened(&ctx, "score", text);
    if (!net || backend_open(&ctx, "cpu", &be) != ST_OK) return;
    fill_values(net, x);
    CHECK(net_bind(&ctx, net, be, NET_SCORE, 2) == ST_OK && net_forward(&ctx, net, x) == ST_OK, "%s", ctx.error);
    net_output(net, 0, a);
    net_forward(&ctx, net, x);
    net_output(net, 0, b);
    CHECK(!memcmp(a, b, sizeof a), "%s: a pass depends on the one before", formulas[n].section);
    net_close(net);
    backend_close(be);
}

/* --- order of arrays ------------------------------------------------------------------------------------------------ */

static void check_arrays(const char *section, int maps, const char *const *order, int per_map, size_t values) {
    struct ctx ctx = { 0 };
    char text[512];
    snprintf(text, sizeof text, "[net]\nwidth=4\nheight=4\nchannels=3\n%s", section);
    struct net *a = opened(&ctx, "arrays", text), *b = opened(&ctx, "arrays", text);
    char path[] = "/tmp/test_recurrent_XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0 || !a || !b) {
        CHECK(false, "%s", ctx.error);
        return;
    }
    close(fd);
    CHECK(a->layer[0].n_param == maps * per_map, "%s: %d arrays", section, a->layer[0].n_param);
    for (int k = 0; k < a->layer[0].n_param; ++k)
        CHECK(!strcmp(a->layer[0].param[k].name, order[k % per_map]), "%s: array %d is %s", section, k, a->layer[0].param[k].name);
    CHECK(a->n_param == values, "%s: %zu values, not %zu", section, a->n_param, values);
    for (size_t i = 0; i < a->n_param; ++i) a->param[i] = 0.5f + (float)i;
    CHECK(net_save(&ctx, a, path, -1) == ST_OK && net_load(&ctx, b, path, LOAD_WHOLE, NULL) == ST_OK, "%s", ctx.error);
    CHECK(!memcmp(a->param, b->param, a->n_param * sizeof *a->param), "%s: values changed on the way", section);
    unlink(path);
    net_close(a), net_close(b);
}

static void check_files(void) {
    static const char *const matrix[] = { "biases", "weights", "scales", "rolling_mean", "rolling_variance" };
    static const char *const conv[] = { "biases", "scales", "rolling_mean", "rolling_variance", "weights" };
    check_arrays("[rnn]\noutput=5\nhidden=6\n", 3, matrix, 2, 6 * 49 + 6 * 7 + 5 * 7);
    check_arrays("[rnn]\noutput=5\nhidden=6\nbatch_normalize=1\n", 3, matrix, 5, 6 * 52 + 6 * 10 + 5 * 10);
    check_arrays("[crnn]\noutput=5\nhidden=6\npad=1\nbatch_normalize=1\n", 3, conv, 5, 6 * 31 + 6 * 58 + 5 * 58);
    check_arrays("[gru]\noutput=5\nbatch_normalize=1\n", 6, matrix, 5, 3 * 5 * 52 + 3 * 5 * 9);
    check_arrays("[lstm]\noutput=5\nbatch_normalize=1\n", 8, matrix, 5, 4 * 5 * 52 + 4 * 5 * 9);
    check_arrays("[conv_lstm]\noutput=5\npad=1\nbatch_normalize=1\n", 8, conv, 5, 4 * 5 * 31 + 4 * 5 * 49);
    check_arrays("[conv_lstm]\noutput=5\npad=1\npeephole=1\nbatch_normalize=1\n", 11, conv, 5, 4 * 5 * 31 + 7 * 5 * 49);
    check_arrays("[conv_lstm]\noutput=3\npad=1\npeephole=1\nbottleneck=1\nbatch_normalize=1\n", 8, conv, 5,
                 4 * 3 * 31 + 3 * 3 * 31 + 3 * 58);
}

/* --- size, table, pruning, bad input -------------------------------------------------------------------------------- */

/* Maps may change their size, and the state then starts anew; matrices fit one size. */
static void check_resize(enum net_mode mode) {
    struct ctx ctx = { 0 };
    struct backend *be;
    if (backend_open(&ctx, "cpu", &be) != ST_OK) return;
    struct net *net = opened(&ctx, "maps", NET CONV(4, 3, 2, "leaky") "[crnn]\noutput=5\nhidden=6\npad=1\n[conv_lstm]\noutput=4\npad=1\npeephole=1\n" LAST);
    int n = images_of(net, mode);
    float *x = calloc((size_t)n * 3 * 24 * 32, sizeof *x);
    CHECK(net_bind(&ctx, net, be, mode, n) == ST_OK && net_forward(&ctx, net, x) == ST_OK, "%s", ctx.error);
    CHECK(net_resize(&ctx, net, 32, 24) == ST_OK && net->layer[2].out.w == 16 && net->layer[2].out.h == 12, "%s", ctx.error);
    CHECK(net_forward(&ctx, net, x) == ST_OK, "%s", ctx.error);
    if (mode == NET_TRAIN) CHECK(net_backward(&ctx, net) == ST_OK, "%s", ctx.error);
    net_close(net);
    net = opened(&ctx, "matrices", NET CONV(4, 3, 2, "leaky") "[lstm]\noutput=5\n");
    CHECK(net_bind(&ctx, net, be, mode, n) == ST_OK, "%s", ctx.error);
    CHECK(net_resize(&ctx, net, 32, 24) == ST_CFG && strstr(ctx.error, "matrices:14: [lstm]") && net->layer[1].in_shape[0].w == 5,
          "%s", ctx.error);
    net_close(net);
    free(x);
    backend_close(be);
}

static void check_rows(void) {
    struct ctx ctx = { 0 };
    static const char *const want[] = { "RNN Layer: 48 inputs, 5 outputs", "CRNN Layer: 1 x 1 x 5 image, 7 filters", "GRU Layer: 7 inputs, 8 outputs",
                                        "LSTM Layer: 8 inputs, 9 outputs", "CONV_LSTM Layer: 1 x 1 x 9 image, 2 filters" };
    struct net *net = opened(&ctx, "rows", "[net]\nwidth=4\nheight=4\nchannels=3\n[rnn]\noutput=5\nhidden=6\n[crnn]\noutput=7\nhidden=2\npad=1\n"
                             "[gru]\noutput=8\n[lstm]\noutput=9\n[conv_lstm]\noutput=2\npad=1\npeephole=1\n");
    for (int i = 0; net && i < 5; ++i) {
        char row[256];
        net->layer[i].ops->describe(&net->layer[i], row, sizeof row);
        CHECK(!strcmp(row, want[i]), "%s", row);
    }
    if (net) CHECK_NEAR(net->layer[1].flops, 2. * 9 * (5 * 2 + 2 * 2 + 2 * 7), 1e-12, "crnn");
    if (net) CHECK_NEAR(net->layer[4].flops, 2. * 9 * 2 * (4 * 9 + 7 * 2) + 12 * 2, 1e-12, "conv_lstm");
    net_close(net);
}

/* A constant input channel leaves what it gave in the biases of all maps that read it. */
static void check_compensation(const char *section) {
    struct ctx ctx = { 0 };
    struct backend *be;
    char text[512];
    double worst;
    snprintf(text, sizeof text, NET CONV(5, 3, 2, "mish") "%s" LAST, section);
    struct net *net = nets_open(&ctx, "compensation", text, 3), *small = NULL;
    struct channels *ch = NULL;
    if (!net || channels_build(&ctx, net, &ch) != ST_OK || backend_open(&ctx, "ref64", &be) != ST_OK) {
        CHECK(false, "%s", ctx.error);
        return;
    }
    const struct layer *l = &net->layer[0];
    net->param[l->param[1].offset + 2] = 0; /* scale */
    net->param[l->param[0].offset + 2] = .75f;
    uint8_t *keep = calloc((size_t)ch->n_group, 1), *whole = calloc((size_t)ch->n_group, 1);
    double *mean = calloc((size_t)ch->n_node, sizeof *mean);
    float *param = calloc(net->n_param, sizeof *param), *x = nets_input(net, 2, 9);
    memset(keep, 1, (size_t)ch->n_group);
    memset(whole, 1, (size_t)ch->n_group);
    keep[channels_group(ch, 0, 2)] = 0;
    mean[ch->first_node[0] + 2] = activation_value(ACT_MISH, .75);
    memcpy(param, net->param, net->n_param * sizeof *param);
    slice_compensate(net, ch, keep, mean, param);
    CHECK(slice_apply(&ctx, net, ch, keep, param, &small) == ST_OK, "%s", ctx.error);
    if (small && slice_check(&ctx, be, net, ch, whole, net->param, small, x, 2, &worst) == ST_OK)
        CHECK(worst < 1e-6, "%s: the original and the compensated cut differ by %g", section, worst);
    free(keep), free(whole), free(mean), free(param), free(x);
    channels_drop(ch);
    net_close(net), net_close(small);
    backend_close(be);
}

static void check_frozen_groups(void) {
    struct ctx ctx = { 0 };
    struct channels *ch = NULL;
    struct net *net = nets_open(&ctx, "frozen", NET CONV(4, 3, 2, "leaky") "[crnn]\noutput=5\nhidden=6\npad=1\n" "[lstm]\noutput=4\n"
                                "[convolutional]\nfilters=4\nsize=1\n[gru]\noutput=3\n" LAST, 1);
    static const bool free_layer[] = { true, true, false, true, false, false };
    CHECK(net && channels_build(&ctx, net, &ch) == ST_OK, "%s", ctx.error);
    for (int i = 0; ch && i < net->n; ++i)
        CHECK(!ch->group[channels_group(ch, i, 0)].frozen == free_layer[i], "layer %d is %s", i, free_layer[i] ? "frozen" : "free");
    channels_drop(ch);
    net_close(net);
}

/* Frozen by stopbackward, a recurrent layer still runs through all steps of a training batch, and starts anew with each. */
static void check_frozen(void) {
    struct ctx ctx = { 0 };
    struct backend *be;
    static const char *const keys[] = { "", "stopbackward=1\n" };
    float *y[2] = { NULL, NULL };
    if (backend_open(&ctx, "cpu", &be) != ST_OK) return;
    for (int k = 0; k < 2; ++k) {
        char text[1024];
        snprintf(text, sizeof text, "[net]\nwidth=5\nheight=3\nchannels=4\nbatch=5\ntime_steps=3\n[crnn]\noutput=5\nhidden=3\npad=1\n"
                 "[conv_lstm]\noutput=3\npad=1\n[lstm]\noutput=4\n[gru]\noutput=4\n[rnn]\noutput=4\nhidden=2\n" LAST "%s", keys[k]);
        struct net *net = opened(&ctx, "frozen", text);
        int n = images_of(net, NET_TRAIN);
        CHECK(net_bind(&ctx, net, be, NET_TRAIN, n) == ST_OK, "%s", ctx.error);
        float *x = calloc(input_size(net), sizeof *x);
        y[k] = calloc((size_t)n * 3, sizeof **y);
        random_input(net, x);
        CHECK(forward_anew(&ctx, net, x) == ST_OK && forward_anew(&ctx, net, x) == ST_OK, "%s", ctx.error);
        net_output(net, net->n - 1, y[k]);
        CHECK(net->layer[0].frozen == (k == 1), "frozen");
        free(x);
        net_close(net);
        if (k) CHECK(!memcmp(y[0], y[1], (size_t)n * 3 * sizeof **y), "a frozen layer computes something else");
    }
    free(y[0]), free(y[1]);
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

static void check_errors(void) {
    check_error(NET "[rnn]\noutput=0\n", "bad:8: [rnn] output");
    check_error(NET "[rnn]\nlogistic=3\n", "bad:8: [rnn] logistic");
    check_error(NET "[rnn]\nhidden=100000\n", "bad:7: [rnn]");
    check_error(NET "[crnn]\noutput=4\n", "bad:7: [crnn] size");
    check_error(NET "[crnn]\nsize=4\npad=1\n", "bad:8: [crnn] size");
    check_error(NET "[crnn]\npadding=2\n", "bad:7: [crnn] size");
    check_error(NET "[crnn]\ngroups=2\npad=1\nhidden=4\n", "bad:8: [crnn] groups");
    check_error(NET "[crnn]\nxnor=1\npad=1\n", "bad:8: [crnn] xnor");
    check_error(NET "[conv_lstm]\nsize=33\n", "bad:8: [conv_lstm] size");
    check_error(NET "[conv_lstm]\npad=1\nbottleneck=1\noutput=4\n", "bad:9: [conv_lstm] bottleneck");
    check_error(NET "[conv_lstm]\npad=1\nlstm_activation=mish\n", "bad:9: [conv_lstm] lstm_activation");
    check_error(NET "[lstm]\noutput=many\n", "bad:8: [lstm] output");
    check_error(NET "[gru]\noutput=1\nhidden=5\n", "bad:9: [gru]");
}

/* --- the cfgs that Darknet ships ------------------------------------------------------------------------------------ */

/* Opens a recorded cfg with other sizes in [net]. */
static struct net *shipped(struct ctx *ctx, const char *root, const char *name, int batch, int steps, int side) {
    char path[1024];
    struct cfg_doc *doc = NULL;
    struct net *net = NULL;
    snprintf(path, sizeof path, "%s/cfg/%s.cfg", root, name);
    enum status st = cfg_read(ctx, path, true, &doc);
    if (st == ST_OK) st = cfg_set_int(ctx, doc, 0, "batch", batch);
    if (st == ST_OK) st = cfg_set_int(ctx, doc, 0, "subdivisions", 1);
    if (st == ST_OK && steps > 1) st = cfg_set_int(ctx, doc, 0, "time_steps", steps);
    if (st == ST_OK && side) st = cfg_set_int(ctx, doc, 0, "width", side);
    if (st == ST_OK && side) st = cfg_set_int(ctx, doc, 0, "height", side);
    if (st == ST_OK && side) st = cfg_set_int(ctx, doc, 0, "track", 0);
    if (st == ST_OK) net_open_doc(ctx, doc, false, &net);
    CHECK(net != NULL, "%s: %s", name, ctx->error);
    return net;
}

/* A few steps on one batch: the loss falls, and every trained array of every layer has moved. */
static void check_training(const char *name, struct net *net, const float *x, const struct net_truth *truth, double rate) {
    struct ctx ctx = { 0 };
    struct backend *be;
    struct optimizer sgd = { 0 };
    double first = 0, last = 0;
    int n = net->opt.batch * net->opt.time_steps;
    net_init_weights(net, 5);
    float *before = calloc(net->n_param, sizeof *before);
    memcpy(before, net->param, net->n_param * sizeof *before);
    if (backend_open(&ctx, "cpu", &be) != ST_OK || net_bind(&ctx, net, be, NET_TRAIN, n) != ST_OK || optimizer_open(&ctx, net, &sgd) != ST_OK) {
        CHECK(false, "%s: %s", name, ctx.error);
        return;
    }
    for (int i = 0; i < 6; ++i) {
        CHECK(forward_anew(&ctx, net, x) == ST_OK && net_loss(&ctx, net, truth, &last, NULL) == ST_OK && net_backward(&ctx, net) == ST_OK,
              "%s: %s", name, ctx.error);
        if (i == 0) first = last;
        optimizer_step(&sgd, net, &(struct update){ .number = (uint64_t)i + 1, .rate = rate, .images = n });
        net_refresh(&ctx, net);
    }
    CHECK(last < first, "%s: the loss went from %g to %g", name, first, last);
    net_pull(net);
    for (int i = 0; i < net->n; ++i)
        for (int k = 0; k < net->layer[i].n_param; ++k) {
            const struct param *p = &net->layer[i].param[k];
            size_t moved = 0;
            for (size_t j = 0; j < param_count(p) && p->role == PARAM_WEIGHT; ++j) moved += net->param[p->offset + j] != before[p->offset + j];
            CHECK(p->role != PARAM_WEIGHT || moved > 0, "%s: weights %d of layer %d [%s] did not move", name, k, i, net->layer[i].ops->name);
        }
    optimizer_close(&sgd);
    net_close(net);
    backend_close(be);
    free(before);
}

static int count_line(void *user, const char *text) {
    (void)text;
    return ++*(int *)user;
}
static void one_line(void *user, const char *text) { count_line(user, text); }

/* Next characters of a text, one symbol per image. */
static void text_batch(int sequences, int steps, int symbols, float *x, float *target) {
    static const char text[] = "to be, or not to be, that is the question: whether 'tis nobler in the mind to suffer ";
    size_t len = sizeof text - 1;
    for (int t = 0; t < steps; ++t)
        for (int s = 0; s < sequences; ++s) {
            size_t at = (size_t)(s * 17 + t), row = (size_t)(t * sequences + s) * (size_t)symbols;
            x[row + (unsigned char)text[at % len]] = target[row + (unsigned char)text[(at + 1) % len]] = 1;
        }
}

static void check_text_cfg(const char *name, struct net *net, double rate) {
    int lines = 0, n = net->opt.batch * net->opt.time_steps, symbols = net->opt.channels;
    float *x = calloc((size_t)(n * symbols), sizeof *x), *target = calloc((size_t)(n * symbols), sizeof *target);
    net_describe(net, one_line, &lines);
    CHECK(lines == net->n + 3, "%s: %d lines", name, lines);
    text_batch(net->opt.batch, net->opt.time_steps, symbols, x, target);
    check_training(name, net, x, &(struct net_truth){ .target = target, .target_size = symbols }, rate);
    free(x), free(target);
}

static void check_shipped(void) {
    struct ctx ctx = { 0 };
    const char *root = test_data("recurrent cfgs");
    if (!root) return;
    struct net *net;
    if ((net = shipped(&ctx, root, "rnn.train", 4, 4, 0))) check_text_cfg("rnn.train", net, .1);
    if ((net = shipped(&ctx, root, "crnn.train", 4, 4, 0))) check_text_cfg("crnn.train", net, .1);
    if ((net = shipped(&ctx, root, "gru", 1, 1, 0))) check_text_cfg("gru", net, .1);
    if ((net = shipped(&ctx, root, "gru", 4, 4, 0))) check_text_cfg("gru on sequences", net, .1);
    net = shipped(&ctx, root, "yolov3-tiny_occlusion_track", 2, 3, 64);
    if (!net) return;
    float *x = calloc(6 * 3 * 64 * 64, sizeof *x);
    struct rng r = rng_stream(2, 2, 2);
    for (int i = 0; i < 6 * 3 * 64 * 64; ++i) x[i] = (float)rng_uniform(&r);
    struct truth box = { .box = { .4f, .6f, .3f, .5f } };
    struct truth_list boxes[6];
    for (int i = 0; i < 6; ++i) boxes[i] = (struct truth_list){ .n = 1, .cap = 1, .item = &box };
    check_training("yolov3-tiny_occlusion_track", net, x, &(struct net_truth){ .boxes = boxes }, .001);
    free(x);
}

/* An LSTM learns what came two characters before: more than the last symbol tells. */
static void check_memory(const char *layer, double rate) {
    struct ctx ctx = { 0 };
    struct backend *be;
    struct optimizer sgd = { 0 };
    char text[512];
    enum { LENGTH = 12, MANY = 8, SYMBOLS = 4 };
    static float x[LENGTH * MANY * SYMBOLS], target[LENGTH * MANY * SYMBOLS];
    double loss = 0;
    snprintf(text, sizeof text, "[net]\ninputs=%d\nbatch=%d\ntime_steps=%d\nmomentum=.9\ndecay=0\n%s[connected]\noutput=%d\nactivation=linear\n[softmax]\n",
             SYMBOLS, MANY, LENGTH, layer, SYMBOLS);
    struct net *net = opened(&ctx, "memory", text);
    if (!net || backend_open(&ctx, "cpu", &be) != ST_OK || net_bind(&ctx, net, be, NET_TRAIN, LENGTH * MANY) != ST_OK ||
        optimizer_open(&ctx, net, &sgd) != ST_OK) {
        CHECK(false, "%s", ctx.error);
        return;
    }
    for (int step = 0; step < 600; ++step) {
        struct rng r = rng_stream(77, (uint64_t)step, 1);
        int symbol[LENGTH][MANY];
        memset(x, 0, sizeof x), memset(target, 0, sizeof target);
        for (int t = 0; t < LENGTH; ++t)
            for (int s = 0; s < MANY; ++s) {
                symbol[t][s] = rng_int(&r, 0, SYMBOLS - 1);
                x[(t * MANY + s) * SYMBOLS + symbol[t][s]] = 1;
                target[(t * MANY + s) * SYMBOLS + symbol[t >= 2 ? t - 2 : 0][s]] = 1; /* the one before the last */
            }
        if (forward_anew(&ctx, net, x) != ST_OK ||
            net_loss(&ctx, net, &(struct net_truth){ .target = target, .target_size = SYMBOLS }, &loss, NULL) != ST_OK || net_backward(&ctx, net) != ST_OK) {
            CHECK(false, "%s", ctx.error);
            break;
        }
        loss /= LENGTH * MANY;
        optimizer_step(&sgd, net, &(struct update){ .number = (uint64_t)step + 1, .rate = rate, .images = LENGTH * MANY });
        net_refresh(&ctx, net);
    }
    CHECK(loss < .3, "%s: %g nats per symbol, by chance %g", layer, loss, log(SYMBOLS));
    optimizer_close(&sgd);
    net_close(net);
    backend_close(be);
}

int main(void) {
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        check_gradients(cases[i].name, cases[i].text, NET_TRAIN, NULL);
        check_activation_gradients(cases[i].name, cases[i].text);
        check_backends(cases[i].name, cases[i].text, NET_INFER, NULL);
        check_backends(cases[i].name, cases[i].text, NET_TRAIN, NULL);
        nets_check_cut(cases[i].name, cases[i].text);
    }
    for (size_t i = 0; i < sizeof formulas / sizeof formulas[0]; ++i) {
        check_formula("ref", i), check_formula("cpu", i);
        check_continues(i);
        check_score(i);
    }
    check_files();
    check_resize(NET_INFER), check_resize(NET_TRAIN);
    check_rows();
    check_compensation("[rnn]\noutput=4\nhidden=6\nactivation=tanh\n");
    check_compensation("[crnn]\noutput=4\nhidden=6\nsize=1\nbatch_normalize=1\nactivation=mish\n");
    check_compensation("[gru]\noutput=4\n");
    check_compensation("[lstm]\noutput=4\nbatch_normalize=1\n");
    check_compensation("[conv_lstm]\noutput=4\nsize=1\npeephole=1\n");
    check_frozen_groups();
    check_frozen();
    check_errors();
    check_memory("[rnn]\noutput=24\nhidden=24\nactivation=tanh\n", .3);
    check_memory("[gru]\noutput=24\n", 1);
    check_memory("[lstm]\noutput=24\n", .3);
    check_shipped();
    return test_end("recurrent");
}
