/* [shortcut] with weights: values by hand, gradients, pruning, the file's order, the table. */
#include "net_harness.h"

#define BODY CONV(6, 3, 2, "leaky") CONV(4, 1, 1, "mish") CONV(6, 3, 1, "leaky")

static const struct { const char *name, *text; } cases[] = {
    { "per layer", NET BODY "[shortcut]\nfrom=0,1\nweights_type=per_layer\nactivation=leaky\n" PLAIN(3, 1, 1, "linear") },
    { "per feature, softmax", NET BODY "[shortcut]\nfrom=-3,-2\nweights_type=per_feature\nweights_normalization=softmax\n" PLAIN(3, 1, 1, "linear") },
    { "per channel", NET BODY "[shortcut]\nfrom=-3\nweights_type=per_channel\nactivation=swish\n" PLAIN(3, 1, 1, "linear") },
    { "per channel, relu", NET BODY "[shortcut]\nfrom=-3,-2\nweights_type=per_channel\nweights_normalization=relu\n" PLAIN(3, 1, 1, "linear") },
    { "per channel, softmax", NET BODY "[shortcut]\nfrom=0,1\nweights_type=per_channel\nweights_normalization=softmax\nactivation=mish\n"
      PLAIN(3, 1, 1, "linear") },
    { "from a wider layer", NET CONV(8, 3, 2, "leaky") CONV(5, 1, 1, "leaky") "[shortcut]\nfrom=-2\nweights_type=per_channel\n"
      "weights_normalization=avg_relu\n" PLAIN(3, 1, 1, "linear") },
    { "from a map twice as large", NET CONV(8, 3, 1, "leaky") CONV(8, 3, 2, "leaky") CONV(5, 1, 1, "leaky")
      "[shortcut]\nfrom=0\nactivation=leaky\n" PLAIN(3, 1, 1, "linear") },
    { "from a larger map, weighted", NET CONV(6, 3, 1, "leaky") CONV(5, 3, 2, "leaky") CONV(4, 3, 2, "leaky")
      "[shortcut]\nfrom=0,1\nweights_type=per_channel\nweights_normalization=relu\n" PLAIN(3, 1, 1, "linear") },
};

static void spread_weights(struct net *net) {
    struct rng r = rng_stream(4, 4, 4);
    for (int i = 0; i < net->n; ++i)
        for (int k = 0; k < net->layer[i].n_param; ++k) {
            const struct param *p = &net->layer[i].param[k];
            for (size_t j = 0; j < param_count(p) && p->role == PARAM_MIX; ++j) net->param[p->offset + j] = (float)rng_between(&r, -.5, 2);
        }
}

/* One cell, one channel: y = w0*a + w1*b with the stated normalisation. */
static void check_value(const char *normalization, float w0, float w1, double want0, double want1) {
    char text[1024];
    struct rig r;
    snprintf(text, sizeof text,
             NET "[convolutional]\nfilters=1\nsize=12\nactivation=linear\n[convolutional]\nfilters=1\nactivation=linear\n"
                 "[shortcut]\nfrom=0\nweights_type=per_layer\nweights_normalization=%s\n", normalization);
    if (!rig_open(&r, normalization, text, "ref64", NET_INFER, NULL)) return;
    const struct param *w = &r.net->layer[2].param[0];
    r.net->param[w->offset] = w0;
    r.net->param[w->offset + 1] = w1;
    net_push(&r.ctx, r.net);
    net_forward(&r.ctx, r.net, r.x);
    float y[2];
    net_output(r.net, 2, y);
    float a = 0, b = 0; /* layer 0's output is overwritten by now: compute both from the weights */
    const float *v = r.net->param + r.net->layer[0].param[1].offset;
    double sum = (double)r.net->param[r.net->layer[0].param[0].offset];
    for (int i = 0; i < 3 * 144; ++i) sum += (double)v[i] * (double)r.x[i];
    b = (float)sum;
    a = r.net->param[r.net->layer[1].param[0].offset] + r.net->param[r.net->layer[1].param[1].offset] * b;
    CHECK_NEAR((double)y[0], want0 * (double)a + want1 * (double)b, 1e-5, "%s of %g, %g", normalization, (double)w0, (double)w1);
    rig_close(&r);
}

static void check_values(void) {
    double e = exp(-1.);
    check_value("none", .5f, -2, .5, -2);
    check_value("relu", 1, 3, 1 / 4.0001, 3 / 4.0001);
    check_value("avg_relu", 1, -3, 1 / 1.0011, .001 / 1.0011);
    check_value("softmax", 1, 2, e / (1 + e + 1e-4), 1 / (1 + e + 1e-4));
}

/* Values start at 1; the file holds them row by row, the previous layer first. */
static void check_storage(void) {
    struct ctx ctx = { 0 };
    struct net *net = nets_parse(&ctx, "storage", cases[3].text, strlen(cases[3].text));
    if (!net) return;
    const struct param *p = &net->layer[3].param[0];
    net_init_weights(net, 1);
    CHECK(net->layer[3].n_param == 1 && p->dim[0] == 3 && p->dim[1] == 6, "%d x %d weights", p->dim[0], p->dim[1]);
    for (size_t i = 0; i < param_count(p); ++i) CHECK(net->param[p->offset + i] == 1, "weight %zu starts at %g", i, (double)net->param[p->offset + i]);
    char *bytes;
    size_t size;
    for (size_t i = 0; i < param_count(p); ++i) net->param[p->offset + i] = 100 + (float)i;
    CHECK(net_save_bytes(&ctx, net, 4, &bytes, &size) == ST_OK, "%s", ctx.error);
    float last[18];
    memcpy(last, bytes + size - sizeof last, sizeof last);
    for (int i = 0; i < 18; ++i) CHECK(last[i] == 100 + (float)i, "value %d in the file is %g", i, (double)last[i]);
    free(bytes);
    net_close(net);
}

int main(void) {
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        CHECK(check_gradients(cases[i].name, cases[i].text, NET_TRAIN, spread_weights) > 10, "%s: gradients are all zero", cases[i].name);
        check_activation_gradients(cases[i].name, cases[i].text);
        check_backends(cases[i].name, cases[i].text, NET_INFER, spread_weights);
        check_backends(cases[i].name, cases[i].text, NET_TRAIN, spread_weights);
        CHECK(check_cut(cases[i].name, cases[i].text) > 4, "%s: nothing was cut", cases[i].name);
        check_round_trip(cases[i].name, cases[i].text);
        check_resize(cases[i].name, cases[i].text, spread_weights);
    }
    check_values();
    check_storage();
    check_row(cases[0].text, "   3 Shortcut Layer: 0, 1,  wt = 1, wn = 0, outputs:   6 x   6 x   6 0.000 BF");
    check_row(cases[4].text, "   3 Shortcut Layer: 0, 1,  wt = 2, wn = 2, outputs:   6 x   6 x   6 0.000 BF");
    check_row(cases[3].text, " wt = 2, wn = 1, ");
    check_refused(NET CONV(6, 3, 2, "leaky") "[upsample]\nstride=2\n[shortcut]\nfrom=0\n", "one a multiple of it");
    check_refused(NET BODY "[shortcut]\nfrom=0\nweights_type=per_chanel\n", "did you mean 'per_channel'");
    check_refused(NET BODY "[shortcut]\nfrom=0\nweights_type=per_layer\nweights_normalization=sofmax\n", "weights_normalization: 'sofmax' is not known");
    struct ctx ctx = { 0 };
    CHECK(harness_opens(&ctx, NET BODY "[shortcut]\nfrom=0\nweights_normalization=whatever\n"), "%s", ctx.error);
    return test_end("shortcut_weights");
}
