/* Which channels live and die together: one small network per rule, with the groups written down by hand. */
#include "prune_nets.h"

#define NET "[net]\nwidth=16\nheight=16\nchannels=3\nbatch=1\nsubdivisions=1\n"
#define CONV(f) \
    "[convolutional]\nbatch_normalize=1\nfilters=" #f "\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
#define GROUPED(f, g) \
    "[convolutional]\nfilters=" #f "\ngroups=" #g "\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
#define END CONV(2)

/* "layer.channel" of one group's members in network order, groups apart by '|' in the order of their first
 * members; a group that must stay ends with '!' and the layer that says so. */
static void groups_text(const struct channels *ch, char *text, size_t size) {
    size_t n = 0;
    text[0] = '\0';
    for (int g = 0; g < ch->n_group && n + 32 < size; ++g) {
        const struct channel_group *group = &ch->group[g];
        if (g) n += (size_t)snprintf(text + n, size - n, " | ");
        for (int k = 0; k < group->size && n + 32 < size; ++k) {
            int node = ch->node_of_group[group->first + k], layer = ch->layer_of[node];
            n += (size_t)snprintf(text + n, size - n, "%s%d.%d", k ? " " : "", layer,
                                  node - ch->first_node[layer]);
        }
        if (group->frozen) n += (size_t)snprintf(text + n, size - n, " !%d", group->frozen_by);
    }
}

static const struct {
    const char *name, *text, *groups;
} cases[] = {
    { "convolutional: every output on its own; the last leaves the network", NET CONV(3) CONV(2),
      "0.0 | 0.1 | 0.2 | 1.0 !1 | 1.1 !1" },
    { "depthwise: output k with input k", NET CONV(3) GROUPED(3, 3) END,
      "0.0 1.0 | 0.1 1.1 | 0.2 1.2 | 2.0 !2 | 2.1 !2" },
    { "depthwise with a multiplier: input k with outputs 2k and 2k + 1", NET CONV(2) GROUPED(4, 2) END,
      "0.0 1.0 1.1 | 0.1 1.2 1.3 | 2.0 !2 | 2.1 !2" },
    { "depthwise on the network's input stays", NET GROUPED(3, 3) END,
      "0.0 !0 | 0.1 !0 | 0.2 !0 | 1.0 !1 | 1.1 !1" },
    { "grouped: the same place in every group, inputs and outputs apart", NET CONV(4) GROUPED(6, 2) END,
      "0.0 0.2 | 0.1 0.3 | 1.0 1.3 | 1.1 1.4 | 1.2 1.5 | 2.0 !2 | 2.1 !2" },
    { "maxpool, dropout and upsample pass channels on",
      NET CONV(2) "[maxpool]\nsize=2\nstride=2\n[dropout]\nprobability=.5\n[upsample]\nstride=2\n" END,
      "0.0 1.0 2.0 3.0 | 0.1 1.1 2.1 3.1 | 4.0 !4 | 4.1 !4" },
    { "avgpool passes channels on", NET CONV(2) "[avgpool]\n" END, "0.0 1.0 | 0.1 1.1 | 2.0 !2 | 2.1 !2" },
    { "maxpool of the network's input stays", NET "[maxpool]\nsize=2\nstride=2\n" END,
      "0.0 !0 | 0.1 !0 | 0.2 !0 | 1.0 !1 | 1.1 !1" },
    { "shortcut of equal widths", NET CONV(2) CONV(2) "[shortcut]\nfrom=-2\nactivation=linear\n" END,
      "0.0 1.0 2.0 | 0.1 1.1 2.1 | 3.0 !3 | 3.1 !3" },
    { "shortcut with a narrower source: the common prefix",
      NET CONV(2) CONV(3) "[shortcut]\nfrom=-2\nactivation=leaky\n" END,
      "0.0 1.0 2.0 | 0.1 1.1 2.1 | 1.2 2.2 | 3.0 !3 | 3.1 !3" },
    { "shortcut with a wider source", NET CONV(3) CONV(2) "[shortcut]\nfrom=-2\nactivation=linear\n" END,
      "0.0 1.0 2.0 | 0.1 1.1 2.1 | 0.2 | 3.0 !3 | 3.1 !3" },
    { "shortcut of three", NET CONV(2) CONV(1) CONV(2) "[shortcut]\nfrom=0,-2\nactivation=linear\n" END,
      "0.0 1.0 2.0 3.0 | 0.1 2.1 3.1 | 4.0 !4 | 4.1 !4" },
    { "residual chain",
      NET CONV(2) CONV(1) CONV(2) "[shortcut]\nfrom=-3\nactivation=linear\n" CONV(1)
          CONV(2) "[shortcut]\nfrom=-3\nactivation=linear\n" END,
      "0.0 2.0 3.0 5.0 6.0 | 0.1 2.1 3.1 5.1 6.1 | 1.0 | 4.0 | 7.0 !7 | 7.1 !7" },
    { "route: concatenation in the order of its list", NET CONV(2) CONV(1) "[route]\nlayers=-1,0\n" END,
      "0.0 2.1 | 0.1 2.2 | 1.0 2.0 | 3.0 !3 | 3.1 !3" },
    { "route of one layer", NET CONV(2) CONV(1) "[route]\nlayers=0\n" END,
      "0.0 2.0 | 0.1 2.1 | 1.0 !1 | 3.0 !3 | 3.1 !3" },
    { "route of a block: every block keeps the same places",
      NET CONV(4) "[route]\nlayers=-1\ngroups=2\ngroup_id=1\n" END,
      "0.0 0.2 1.0 | 0.1 0.3 1.1 | 2.0 !2 | 2.1 !2" },
    { "route of blocks of two layers", NET CONV(2) CONV(4) "[route]\nlayers=-1,-2\ngroups=2\n" END,
      "0.0 0.1 2.2 | 1.0 1.2 2.0 | 1.1 1.3 2.1 | 3.0 !3 | 3.1 !3" },
    { "route of a block of a concatenation",
      NET CONV(3) CONV(1) "[route]\nlayers=0,1\n[route]\nlayers=-1\ngroups=2\n" END,
      "0.0 0.2 2.0 2.2 3.0 | 0.1 1.0 2.1 2.3 3.1 | 4.0 !4 | 4.1 !4" },
    { "squeeze and excite: gate with gated, the squeezed layer on its own",
      NET CONV(2) "[avgpool]\n" CONV(1) CONV(2) "[scale_channels]\nfrom=0\n" END,
      "0.0 1.0 3.0 4.0 | 0.1 1.1 3.1 4.1 | 2.0 | 5.0 !5 | 5.1 !5" },
    { "one gate per pixel stays", NET CONV(2) CONV(1) "[scale_channels]\nfrom=0\nscale_wh=1\n" END,
      "0.0 2.0 | 0.1 2.1 | 1.0 !1 | 3.0 !3 | 3.1 !3" },
    { "sam: gate with gated", NET CONV(2) CONV(2) "[sam]\nfrom=0\n" END,
      "0.0 1.0 2.0 | 0.1 1.1 2.1 | 3.0 !3 | 3.1 !3" },
    { "reorg3d: a channel and its four copies", NET CONV(2) "[reorg3d]\nstride=2\n" END,
      "0.0 1.0 1.2 1.4 1.6 | 0.1 1.1 1.3 1.5 1.7 | 2.0 !2 | 2.1 !2" },
    { "reorg3d backwards", NET CONV(8) "[reorg3d]\nstride=2\nreverse=1\n" END,
      "0.0 0.2 0.4 0.6 1.0 | 0.1 0.3 0.5 0.7 1.1 | 2.0 !2 | 2.1 !2" },
    { "yolo fixes what it reads, through the layers that pass channels on",
      NET CONV(2) CONV(6) "[maxpool]\nsize=2\nstride=2\n[yolo]\nclasses=1\nnum=1\nanchors=4,4\n",
      "0.0 | 0.1 | 1.0 2.0 !2 | 1.1 2.1 !2 | 1.2 2.2 !2 | 1.3 2.3 !2 | 1.4 2.4 !2 | 1.5 2.5 !2" },
    { "region fixes what it reads", NET CONV(2) CONV(6) "[region]\nclasses=1\nnum=1\nanchors=1,1\ncoords=4\n",
      "0.0 | 0.1 | 1.0 !1 | 1.1 !1 | 1.2 !1 | 1.3 !1 | 1.4 !1 | 1.5 !1" },
    { "a layer that nobody reads leaves the network", NET CONV(2) CONV(1) "[route]\nlayers=-2\n" CONV(1) END,
      "0.0 2.0 | 0.1 2.1 | 1.0 !1 | 3.0 | 4.0 !4 | 4.1 !4" },
};

static void check_case(size_t i) {
    struct ctx ctx = { 0 };
    struct channels *ch = NULL;
    char text[2048];
    struct net *net = nets_open(&ctx, cases[i].name, cases[i].text, 1);
    if (!net) return;
    CHECK(channels_build(&ctx, net, &ch) == ST_OK, "%s: %s", cases[i].name, ctx.error);
    if (ch) {
        groups_text(ch, text, sizeof text);
        CHECK(!strcmp(text, cases[i].groups), "%s:\n got %s\nwant %s", cases[i].name, text, cases[i].groups);
    }
    channels_drop(ch);
    net_close(net);
}

static void check_reasons(void) {
    static const struct {
        const char *text;
        int layer;
        const char *reason;
    } frozen[] = {
        { NET CONV(2) CONV(2), 1, "leaves the network" },
        { NET CONV(2) CONV(6) "[yolo]\nclasses=1\nnum=1\nanchors=4,4\n", 1, "read by [yolo]" },
        { NET CONV(2) CONV(6) "[region]\nclasses=1\nnum=1\nanchors=1,1\ncoords=4\n", 1, "read by [region]" },
        { NET GROUPED(3, 3) END, 0, "carries a channel of the network's input" },
        { NET CONV(2) CONV(1) "[scale_channels]\nfrom=0\nscale_wh=1\n" END, 1,
          "one-channel gate of [scale_channels]" },
    };
    for (size_t i = 0; i < sizeof frozen / sizeof frozen[0]; ++i) {
        struct ctx ctx = { 0 };
        struct channels *ch = NULL;
        struct net *net = nets_open(&ctx, "reason", frozen[i].text, 1);
        if (!net) continue;
        CHECK(channels_build(&ctx, net, &ch) == ST_OK, "%s", ctx.error);
        const char *got = ch ? ch->group[channels_group(ch, frozen[i].layer, 0)].frozen : NULL;
        CHECK(got && !strcmp(got, frozen[i].reason), "layer %d is kept because it \"%s\", not \"%s\"",
              frozen[i].layer, got ? got : "(free)", frozen[i].reason);
        channels_drop(ch);
        net_close(net);
    }
}

/* Layers whose filters can only go together form a unit; a concatenation does not unite what it puts side by
 * side. */
static void check_units(void) {
    struct ctx ctx = { 0 };
    struct channels *ch = NULL;
    struct net *net = nets_open(
        &ctx, "units",
        NET CONV(2) CONV(2) "[shortcut]\nfrom=-2\nactivation=linear\n" CONV(3) "[route]\nlayers=-1,2\n" END,
        1);
    if (!net) return;
    CHECK(channels_build(&ctx, net, &ch) == ST_OK, "%s", ctx.error);
    if (ch) {
        int a = ch->group[channels_group(ch, 0, 0)].unit;
        CHECK(ch->group[channels_group(ch, 1, 1)].unit == a, "the two sides of a shortcut are two units");
        CHECK(ch->group[channels_group(ch, 3, 0)].unit != a, "a route made one unit of its sources");
        CHECK(ch->group[channels_group(ch, 3, 0)].unit == ch->group[channels_group(ch, 3, 2)].unit,
              "a layer is more than one unit");
    }
    channels_drop(ch);
    net_close(net);
}

static void check_no_rule(void) {
    struct ctx ctx = { 0 };
    struct channels *ch = NULL;
    struct net *net = nets_open(&ctx, "my.cfg", NET CONV(2) "[maxpool]\nsize=2\nstride=2\n" END, 1);
    if (!net) return;
    struct layer_ops ops = *net->layer[1].ops;
    ops.couple = NULL;
    net->layer[1].ops = &ops;
    CHECK(channels_build(&ctx, net, &ch) != ST_OK && !ch, "a type without a rule was accepted");
    CHECK(strstr(ctx.error, "my.cfg:14: [maxpool]") && strstr(ctx.error, "no rule"), "%s", ctx.error);
    channels_drop(ch);
    net_close(net);
    for (int i = 0; i < layer_type_count(); ++i)
        CHECK(layer_type(i)->couple, "[%s] has no rule for pruning", layer_type(i)->name);
}

/* Darknet's table, and the products of dense and recurrent layers that it leaves out. */
static double all_flops(const struct net *net) {
    static const char *const left_out[] = { "connected", "rnn", "gru", "lstm" };
    double sum = net_flops(net);
    for (int i = 0; i < net->n; ++i)
        for (int k = 0; k < net->layer[i].n_param; ++k)
            for (size_t t = 0; t < sizeof left_out / sizeof left_out[0]; ++t)
                if (!strcmp(net->layer[i].ops->name, left_out[t]) && net->layer[i].param[k].role == PARAM_WEIGHT)
                    sum += 2. * (double)param_count(&net->layer[i].param[k]);
    return sum;
}

/* Costs at given widths are those of the network that is cut to them; the price of a group is the difference.
 */
static void check_costs(uint64_t seed) {
    static struct nets_gen gen;
    struct ctx ctx = { 0 };
    struct channels *ch = NULL;
    struct net *small = NULL;
    nets_write(&gen, seed, NETS_GROUPED);
    struct net *net = nets_open(&ctx, "cost", gen.text, seed);
    if (!net || channels_build(&ctx, net, &ch) != ST_OK) {
        CHECK(false, "seed %llu: %s", (unsigned long long)seed, ctx.error);
        return;
    }
    uint8_t *keep = calloc((size_t)ch->n_group, 1);
    int kept[NETS_MAX + 1], n = ch->n_group, g = 0;
    nets_choose(ch, seed, .4, 1, keep);
    channels_widths(ch, keep, kept);
    CHECK(slice_apply(&ctx, net, ch, keep, net->param, &small) == ST_OK, "%s", ctx.error);
    if (small) {
        struct cost c = cost_at(net, kept);
        CHECK_NEAR(c.params, (double)small->n_param, 1e-12, "seed %llu: parameters",
                   (unsigned long long)seed);
        CHECK_NEAR(c.activations, (double)net_activation_count(small), 1e-12, "seed %llu: activations",
                   (unsigned long long)seed);
        CHECK_NEAR(c.flops, all_flops(small), 1e-9, "seed %llu: FLOPs", (unsigned long long)seed);
    }
    memset(keep, 1, (size_t)n);
    channels_widths(ch, keep, kept);
    struct cost full = cost_at(net, kept);
    CHECK_NEAR(full.flops, all_flops(net), 1e-9, "seed %llu: all FLOPs", (unsigned long long)seed);
    while (g < n && ch->group[g].frozen) ++g;
    if (g < n) {
        keep[g] = 0;
        channels_widths(ch, keep, kept);
        struct cost less = cost_at(net, kept), price = cost_of_group(ch, g);
        CHECK_NEAR(price.flops, full.flops - less.flops, 1e-9, "seed %llu: a group's FLOPs",
                   (unsigned long long)seed);
        CHECK_NEAR(price.params, full.params - less.params, 1e-9, "seed %llu: a group's parameters",
                   (unsigned long long)seed);
        CHECK_NEAR(price.activations, full.activations - less.activations, 1e-9,
                   "seed %llu: a group's memory", (unsigned long long)seed);
    }
    free(keep);
    channels_drop(ch);
    net_close(net);
    net_close(small);
}

int main(void) {
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) check_case(i);
    check_reasons();
    check_units();
    check_no_rule();
    for (uint64_t seed = 1; seed <= 100; ++seed) check_costs(seed);
    return test_end("channels");
}
