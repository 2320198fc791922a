/* Surgery on random networks over every layer type: the original with removed channels masked and the cut
 * network are one function; cutting nothing changes no byte; cutting twice is cutting once; only `filters`
 * and `groups` change in the cfg. */
#include "prune_nets.h"

#include "base/text.h"

static int seeds(int usual) {
    const char *text = getenv("TEST_SEEDS"), *sanitize = getenv("SANITIZE");
    if (text && *text) return atoi(text);
    return sanitize && *sanitize == '1' ? usual / 3 : usual;
}

/* --- masked = cut
 * ----------------------------------------------------------------------------------------------------------
 */

static void check_cut(struct ctx *ctx, struct backend *be, const char *name, struct net *net,
                      const struct channels *ch, const uint8_t *keep, const float *param, uint64_t seed) {
    struct net *small;
    double worst = -1;
    CHECK(slice_apply(ctx, net, ch, keep, param, &small) == ST_OK, "%s: %s", name, ctx->error);
    if (!small) {
        ctx_clear(ctx);
        return;
    }
    float *x = nets_input(net, 2, seed);
    CHECK(slice_check(ctx, be, net, ch, keep, param, small, x, 2, &worst) == ST_OK, "%s: %s", name,
          ctx->error);
    CHECK(worst <= 1e-5, "%s: masked and cut networks differ by %g", name, worst);
    double every = nets_difference(ctx, net, ch, keep, param, small, x);
    CHECK(every >= 0 && every <= 1e-9, "%s: layers of the masked and the cut network differ by %g %s", name,
          every, ctx->error);
    free(x);
    net_close(small);
    ctx_clear(ctx);
}

static void random_means(const struct channels *ch, uint64_t seed, double *mean) {
    struct rng r = rng_stream(seed, 0x6d65616e, 4);
    for (int i = 0; i < ch->n_node; ++i) mean[i] = rng_between(&r, -1, 1);
}

/* Is the name one of those in the list, each with a blank behind it? */
static bool listed(const char *list, const char *name) {
    size_t n = strlen(name);
    for (const char *p = list; *p; p += strcspn(p, " ") + 1)
        if (!strncmp(p, name, n) && p[n] == ' ') return true;
    return false;
}

static void check_random(uint64_t seed, struct backend *be, int *removed, char *types, size_t size) {
    static struct nets_gen gen;
    struct ctx ctx = { 0 };
    struct channels *ch = NULL;
    char name[64];
    snprintf(name, sizeof name, "seed %llu", (unsigned long long)seed);
    nets_write(&gen, seed, NETS_GROUPED | (seed % 4 ? 0 : NETS_COMMENTS));
    struct net *net = nets_open(&ctx, name, gen.text, seed);
    if (!net) printf("%s is\n%s", name, gen.text);
    if (!net) return;
    CHECK(channels_build(&ctx, net, &ch) == ST_OK, "%s: %s", name, ctx.error);
    if (ch) {
        uint8_t *keep = calloc((size_t)ch->n_group, 1);
        double *mean = calloc((size_t)ch->n_node, sizeof *mean);
        float *param = calloc(net->n_param, sizeof *param);
        *removed += nets_choose(ch, seed, seed % 3 == 0 ? .8 : .4, 1, keep);
        random_means(ch, seed, mean);
        memcpy(param, net->param, net->n_param * sizeof *param);
        if (seed % 2) slice_compensate(net, ch, keep, mean, param);
        int before = test_failed_;
        check_cut(&ctx, be, name, net, ch, keep, param, seed);
        if (test_failed_ > before) printf("%s is\n%s", name, gen.text);
        free(keep), free(mean), free(param);
    }
    for (int i = 0; i < net->n; ++i)
        if (!listed(types, net->layer[i].ops->name))
            snprintf(types + strlen(types), size - strlen(types), "%s ", net->layer[i].ops->name);
    channels_drop(ch);
    net_close(net);
}

static void check_fuzz(void) {
    struct ctx ctx = { 0 };
    struct backend *be;
    char types[1024] = "";
    int removed = 0, n = seeds(3000);
    if (backend_open(&ctx, "ref64", &be) != ST_OK) {
        CHECK(false, "%s", ctx.error);
        return;
    }
    for (int seed = 1; seed <= n; ++seed) check_random((uint64_t)seed, be, &removed, types, sizeof types);
    CHECK(removed > 5 * n, "%d groups were removed in %d networks", removed, n);
    static const char *const wanted[] = { "convolutional", "maxpool",  "avgpool", "route",
                                          "shortcut",      "upsample", "dropout", "scale_channels",
                                          "sam",           "reorg3d",  "yolo",    "batchnorm",
                                          "local_avgpool", "empty",    "activation", "implicit",
                                          "connected", "crnn", "conv_lstm", "gru", "lstm", "rnn", "normalization",
                                          "local", "reorg", "Gaussian_yolo", "region", "detection", "softmax", "cost" };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; ++i)
        CHECK(listed(types, wanted[i]), "no network had a [%s]", wanted[i]);
    backend_close(be);
}

#define NET "[net]\nwidth=16\nheight=16\nchannels=3\nbatch=1\nsubdivisions=1\n"
#define CONV(f, k, act) \
    "[convolutional]\nbatch_normalize=1\nfilters=" #f "\nsize=" #k "\nstride=1\npad=1\nactivation=" act "\n"

/* The comparison itself must be able to fail: a value that moved, a cut at the wrong channel. */
static void check_power(void) {
    struct ctx ctx = { 0 };
    struct net *net = nets_open(&ctx, "power",
                                NET CONV(6, 3, "leaky") CONV(5, 3, "mish") CONV(3, 1, "linear"), 5),
               *small = NULL;
    struct channels *ch;
    struct backend *be;
    double worst;
    if (!net || channels_build(&ctx, net, &ch) != ST_OK || backend_open(&ctx, "ref64", &be) != ST_OK) return;
    uint8_t *keep = calloc((size_t)ch->n_group, 1), *other = calloc((size_t)ch->n_group, 1);
    memset(keep, 1, (size_t)ch->n_group);
    keep[channels_group(ch, 0, 2)] = 0;
    memcpy(other, keep, (size_t)ch->n_group);
    other[channels_group(ch, 0, 2)] = 1;
    other[channels_group(ch, 0, 3)] = 0;
    float *x = nets_input(net, 1, 5);
    CHECK(slice_apply(&ctx, net, ch, keep, net->param, &small) == ST_OK, "%s", ctx.error);
    if (small) {
        CHECK(slice_check(&ctx, be, net, ch, keep, net->param, small, x, 1, &worst) == ST_OK && worst <= 1e-6,
              "%g", worst);
        CHECK(slice_check(&ctx, be, net, ch, other, net->param, small, x, 1, &worst) == ST_OK && worst > 1e-3,
              "another channel was masked than cut, and the check says %g", worst);
        small->param[small->layer[1].param[0].offset] += 0.01f;
        CHECK(slice_check(&ctx, be, net, ch, keep, net->param, small, x, 1, &worst) == ST_OK && worst > 1e-5,
              "a bias moved by 0.01, and the check says %g", worst);
    }
    free(keep), free(other), free(x);
    channels_drop(ch);
    net_close(net);
    net_close(small);
    backend_close(be);
}

/* --- compensation
 * ------------------------------------------------------------------------------------------------------------
 */

/* By hand: what a removed channel leaves goes into the reader's bias, or out of its rolling mean. */
static void check_compensation(void) {
    struct ctx ctx = { 0 };
    struct net *net = nets_open(
        &ctx, "compensation",
        NET CONV(4, 1, "leaky") "[convolutional]\nfilters=2\nsize=3\nstride=1\npad=1\nactivation=linear\n"
                                "[route]\nlayers=0\n[convolutional]\nbatch_normalize=1\nfilters=2\ngroups="
                                "2\nsize=1\nactivation=linear\n",
        3);
    struct channels *ch;
    if (!net || channels_build(&ctx, net, &ch) != ST_OK) {
        CHECK(false, "%s", ctx.error);
        return;
    }
    uint8_t *keep = calloc((size_t)ch->n_group, 1);
    double *mean = calloc((size_t)ch->n_node, sizeof *mean);
    float *param = calloc(net->n_param, sizeof *param);
    memset(keep, 1, (size_t)ch->n_group);
    memcpy(param, net->param, net->n_param * sizeof *param);
    keep[channels_group(ch, 0, 1)] = 0; /* takes channel 3 along: the reader has two groups of two */
    CHECK(!keep[channels_group(ch, 0, 3)], "channels 1 and 3 are not tied");
    mean[ch->first_node[0] + 1] = mean[ch->first_node[2] + 1] = .5;
    mean[ch->first_node[0] + 3] = mean[ch->first_node[2] + 3] = -2;
    slice_compensate(net, ch, keep, mean, param);
    const struct layer *plain = &net->layer[1], *grouped = &net->layer[3];
    for (int f = 0; f < 2; ++f) {
        const float *w = net->param + plain->param[1].offset + f * 4 * 9,
                    *g = net->param + grouped->param[4].offset + f * 2;
        double left = 0;
        for (int j = 0; j < 9; ++j) left += .5 * (double)w[9 + j] - 2 * (double)w[27 + j];
        size_t bias = plain->param[0].offset + (size_t)f, rolling = grouped->param[2].offset + (size_t)f;
        CHECK_NEAR(param[bias], net->param[bias] + left, 1e-6, "bias of filter %d", f);
        CHECK_NEAR(param[rolling], net->param[rolling] - (f ? -2 : .5) * (double)g[1], 1e-6,
                   "rolling mean of filter %d", f);
    }
    size_t changed = 0;
    for (size_t i = 0; i < net->n_param; ++i) changed += param[i] != net->param[i];
    CHECK(changed == 4, "%zu values changed, 4 should", changed);
    free(keep), free(mean), free(param);
    channels_drop(ch);
    net_close(net);
}

/* A channel that is constant over images and cells may go without any effect where no padding is. */
static void check_exact_compensation(void) {
    struct ctx ctx = { 0 };
    struct net *net = nets_open(&ctx, "constant channel",
                                NET CONV(5, 3, "mish") CONV(4, 1, "leaky") CONV(3, 1, "linear"), 4),
               *small = NULL;
    struct channels *ch;
    struct backend *be;
    if (!net || channels_build(&ctx, net, &ch) != ST_OK || backend_open(&ctx, "ref64", &be) != ST_OK) return;
    const struct layer *l = &net->layer[0];
    net->param[l->param[1].offset + 2] = 0; /* scale */
    net->param[l->param[0].offset + 2] = .75f;
    uint8_t *keep = calloc((size_t)ch->n_group, 1), *whole = calloc((size_t)ch->n_group, 1);
    double *mean = calloc((size_t)ch->n_node, sizeof *mean), worst;
    float *param = calloc(net->n_param, sizeof *param), *x = nets_input(net, 2, 9);
    memset(keep, 1, (size_t)ch->n_group);
    memset(whole, 1, (size_t)ch->n_group);
    keep[channels_group(ch, 0, 2)] = 0;
    mean[ch->first_node[0] + 2] = activation_value(ACT_MISH, .75);
    memcpy(param, net->param, net->n_param * sizeof *param);
    slice_compensate(net, ch, keep, mean, param);
    CHECK(slice_apply(&ctx, net, ch, keep, param, &small) == ST_OK, "%s", ctx.error);
    /* nothing masked: the untouched original against the cut network */
    if (small && slice_check(&ctx, be, net, ch, whole, net->param, small, x, 2, &worst) == ST_OK)
        CHECK(worst < 1e-6, "the original and the compensated cut differ by %g", worst);
    free(keep), free(whole), free(mean), free(param), free(x);
    channels_drop(ch);
    net_close(net);
    net_close(small);
    backend_close(be);
}

/* --- bytes
 * -------------------------------------------------------------------------------------------------------------------
 */

static char *text_of(struct ctx *ctx, const struct net *net) {
    char *text = NULL;
    size_t size;
    CHECK(cfg_text(ctx, net->doc, &text, &size) == ST_OK, "%s", ctx->error);
    return text;
}

static struct net *cut(struct ctx *ctx, const struct net *net, const struct channels *ch,
                       const uint8_t *keep) {
    struct net *small = NULL;
    CHECK(slice_apply(ctx, net, ch, keep, net->param, &small) == ST_OK, "%s", ctx->error);
    return small;
}

static void check_identity(uint64_t seed) {
    static struct nets_gen gen;
    struct ctx ctx = { 0 };
    struct channels *ch = NULL;
    nets_write(&gen, seed, NETS_GROUPED | (seed % 2 ? NETS_COMMENTS : 0));
    struct net *net = nets_open(&ctx, "nothing", gen.text, seed), *small = NULL;
    if (!net) return;
    net->seen = 1234567890123ull;
    if (channels_build(&ctx, net, &ch) == ST_OK) {
        uint8_t *keep = malloc((size_t)ch->n_group);
        memset(keep, 1, (size_t)ch->n_group);
        small = cut(&ctx, net, ch, keep);
        free(keep);
    }
    if (small) {
        char *text = text_of(&ctx, small), *a = NULL, *b = NULL;
        size_t n = 0, m = 1;
        CHECK(text && !strcmp(text, gen.text), "seed %llu: the cfg changed", (unsigned long long)seed);
        CHECK(net_save_bytes(&ctx, net, -1, &a, &n) == ST_OK &&
                  net_save_bytes(&ctx, small, -1, &b, &m) == ST_OK,
              "%s", ctx.error);
        CHECK(n == m && !memcmp(a, b, n), "seed %llu: the weights changed", (unsigned long long)seed);
        free(text), free(a), free(b);
    }
    channels_drop(ch);
    net_close(net);
    net_close(small);
}

/* Removing by `first`, then by `second` on the result, is removing both at once.  The first cut leaves two
 * channels everywhere and there are no grouped convolutions: one that is left with one channel per group has
 * become depthwise, and a depthwise one on a single channel has become an ordinary one, so that a second cut
 * may do what one cut cannot. */
static void check_composition(uint64_t seed) {
    static struct nets_gen gen;
    struct ctx ctx = { 0 };
    struct channels *ch = NULL, *ch1 = NULL;
    struct net *net, *once = NULL, *twice = NULL, *both = NULL;
    nets_write(&gen, seed, NETS_COMMENTS);
    net = nets_open(&ctx, "composition", gen.text, seed);
    if (!net || channels_build(&ctx, net, &ch) != ST_OK) return;
    uint8_t *first = calloc((size_t)ch->n_group, 1), *joint = calloc((size_t)ch->n_group, 1), *second = NULL;
    nets_choose(ch, seed, .4, 2, first);
    once = cut(&ctx, net, ch, first);
    if (once && channels_build(&ctx, once, &ch1) == ST_OK) {
        int disagree = 0;
        second = calloc((size_t)ch1->n_group, 1);
        nets_choose(ch1, seed + 1000, .4, 1, second);
        twice = cut(&ctx, once, ch1, second);
        memset(joint, 2, (size_t)ch->n_group);
        for (int i = 0; i < net->n; ++i)
            for (int k = 0, at = 0; k < net->layer[i].out.c; ++k) {
                int g = channels_group(ch, i, k);
                uint8_t keep = first[g] && second[channels_group(ch1, i, at)];
                at += first[g];
                disagree += joint[g] != 2 && joint[g] != keep;
                joint[g] = keep;
            }
        CHECK(disagree == 0, "seed %llu: groups fell apart after the first cut", (unsigned long long)seed);
        both = cut(&ctx, net, ch, joint);
    }
    if (both && twice) {
        char *a = text_of(&ctx, both), *b = text_of(&ctx, twice);
        CHECK(a && b && !strcmp(a, b), "seed %llu: the cfgs differ", (unsigned long long)seed);
        CHECK(both->n_param == twice->n_param &&
                  !memcmp(both->param, twice->param, both->n_param * sizeof *both->param),
              "seed %llu: the weights differ", (unsigned long long)seed);
        free(a), free(b);
    }
    free(first), free(joint), free(second);
    channels_drop(ch), channels_drop(ch1);
    net_close(net), net_close(once), net_close(twice), net_close(both);
}

static const char edited[] =
    "\xef\xbb\xbf# a network of mine\r\n[net]\r\nwidth = "
    "16\r\nheight=16\r\nchannels=3\r\n\r\n[convolutional]\r\n"
    "activation = leaky\r\n filters = 6   \r\n; filters=9\r\nsize=3\r\nmine=yes\r\npad=1\r\n\r\n\r\n"
    "[convolutional]\r\nbatch_normalize=1\r\n# "
    "depthwise\r\ngroups=6\r\nfilters=12\r\nsize=3\r\npad=1\r\nactivation=mish\r\n"
    "[convolutional]\r\nfilters=3\r\n# groups=1\r\nactivation=linear\r\n# the end";
static const char expected[] =
    "\xef\xbb\xbf# a network of mine\r\n[net]\r\nwidth = "
    "16\r\nheight=16\r\nchannels=3\r\n\r\n[convolutional]\r\n"
    "activation = leaky\r\n filters = 4   \r\n; filters=9\r\nsize=3\r\nmine=yes\r\npad=1\r\n\r\n\r\n"
    "[convolutional]\r\nbatch_normalize=1\r\n# "
    "depthwise\r\ngroups=4\r\nfilters=8\r\nsize=3\r\npad=1\r\nactivation=mish\r\n"
    "[convolutional]\r\nfilters=3\r\n# groups=1\r\nactivation=linear\r\n# the end";

static void check_edit(void) {
    struct ctx ctx = { 0 };
    struct channels *ch = NULL;
    struct net *net = nets_open(&ctx, "edit", edited, 2), *small = NULL;
    if (!net) return;
    CHECK(channels_build(&ctx, net, &ch) == ST_OK, "%s", ctx.error);
    if (ch) {
        uint8_t *keep = malloc((size_t)ch->n_group);
        memset(keep, 1, (size_t)ch->n_group);
        keep[channels_group(ch, 0, 1)] = keep[channels_group(ch, 0, 4)] = 0;
        small = cut(&ctx, net, ch, keep);
        free(keep);
    }
    if (small) {
        char *text = text_of(&ctx, small);
        CHECK(text && !strcmp(text, expected), "the cfg became\n%s", text);
        free(text);
        /* kept rows, bit for bit: layer 1 holds outputs 2k and 2k+1 of input k */
        static const int rows[] = { 0, 1, 4, 5, 6, 7, 10, 11 };
        for (int p = 0; p < net->layer[1].n_param; ++p) {
            const struct param *from = &net->layer[1].param[p], *to = &small->layer[1].param[p];
            size_t per = param_count(from) / 12;
            for (size_t k = 0; k < 8; ++k)
                CHECK(!memcmp(net->param + from->offset + (size_t)rows[k] * per,
                              small->param + to->offset + k * per, per * sizeof(float)),
                      "%s of filter %d", from->name, rows[k]);
        }
    }
    channels_drop(ch);
    net_close(net);
    net_close(small);
}

/* No filters= in the section: the default is 1 and stays. */
static void check_default_filters(void) {
    struct ctx ctx = { 0 };
    struct channels *ch = NULL;
    struct net *net = nets_open(
        &ctx, "default",
        NET CONV(4, 1, "leaky") "[convolutional]\nactivation=linear\n[convolutional]\nfilters=2\n", 2);
    struct net *small = NULL;
    if (net && channels_build(&ctx, net, &ch) == ST_OK) {
        uint8_t keep[16];
        memset(keep, 1, sizeof keep);
        keep[channels_group(ch, 0, 0)] = 0;
        small = cut(&ctx, net, ch, keep);
        char *text = small ? text_of(&ctx, small) : NULL;
        CHECK(text && strstr(text, "[convolutional]\nactivation=linear\n[convolutional]\nfilters=2\n"),
              "the cfg became\n%s", text ? text : "");
        free(text);
    }
    channels_drop(ch);
    net_close(net);
    net_close(small);
}

int main(void) {
    check_power();
    check_compensation();
    check_exact_compensation();
    check_edit();
    check_default_filters();
    for (int seed = 1; seed <= seeds(200); ++seed) check_identity((uint64_t)seed);
    for (int seed = 1; seed <= seeds(300); ++seed) check_composition((uint64_t)seed);
    check_fuzz();
    return test_end("slice");
}
