/* Every layer type of the registry, and every activation: gradients against central differences (of parameters, and through the layer
 * to those before it), both backends, weights through a file, another input size, and a cut network against the masked one.  A type
 * without a case fails.  What is special about a type has a test program of its own. */
#include "net_harness.h"

#define BEGIN CONV(6, 3, 1, "leaky")
#define END PLAIN(4, 3, 1, "linear")
#define SMALL "[net]\nwidth=5\nheight=4\nchannels=3\nbatch=2\nsubdivisions=1\nmax_batches=100\n"
#define SEQUENCE                                                                                                                     \
    "[net]\nwidth=6\nheight=6\nchannels=3\nbatch=2\nsubdivisions=1\ntime_steps=3\nmax_batches=100\n"
#define YOLO(name, filters) PLAIN(filters, 1, 1, "linear") "[" name "]\nmask=0,1\nnum=2\nclasses=2\nanchors=4,4, 8,8\n"

/* exact: the gradient is that of the forward pass.  The others train on deltas of their own rule: heads and losses, whose tests are
 * test_heads*, test_softmax and test_contrastive.  Without CUTS: the coupling rule keeps the layer and what it reads whole. */
enum { EXACT = 1, CUTS = 2, RESIZES = 4, ALL = EXACT | CUTS | RESIZES };

static const struct type_case { const char *type, *text; int checks; } cases[] = {
    { "convolutional", NET BEGIN CONV(5, 3, 2, "mish") END, ALL },
    { "maxpool", NET BEGIN "[maxpool]\nsize=3\nstride=2\n" END, ALL },
    { "avgpool", NET BEGIN "[avgpool]\n" PLAIN(4, 1, 1, "linear"), ALL },
    { "route", NET BEGIN CONV(4, 3, 1, "leaky") "[route]\nlayers=-1,0\n" END, ALL },
    { "shortcut", NET BEGIN CONV(6, 3, 1, "leaky") "[shortcut]\nfrom=-2\nactivation=leaky\n" END, ALL },
    { "upsample", NET CONV(6, 3, 2, "leaky") "[upsample]\nstride=2\n" END, ALL },
    { "dropout", NET BEGIN "[dropout]\nprobability=.3\n" END, ALL },
    { "scale_channels", NET BEGIN "[avgpool]\n" PLAIN(6, 1, 1, "logistic") "[scale_channels]\nfrom=0\n" END, ALL },
    { "sam", NET BEGIN CONV(6, 3, 1, "logistic") "[sam]\nfrom=0\n" END, ALL },
    { "reorg3d", NET BEGIN "[reorg3d]\nstride=2\n" END, ALL },
    { "reorg", NET CONV(8, 3, 1, "leaky") "[reorg]\nstride=2\n" END, EXACT | RESIZES },
    { "batchnorm", NET PLAIN(6, 3, 1, "leaky") "[batchnorm]\n" END, ALL },
    { "activation", NET BEGIN "[activation]\nactivation=swish\n" END, ALL },
    { "crop", NET BEGIN "[crop]\ncrop_width=8\ncrop_height=7\nflip=1\nangle=20\n" END, ALL },
    { "normalization", NET BEGIN "[normalization]\nsize=3\nalpha=.001\n" END, EXACT | RESIZES },
    { "local_avgpool", NET BEGIN "[local_avgpool]\nsize=3\nstride=2\n" END, ALL },
    { "empty", NET BEGIN "[empty]\n" END, ALL },
    { "implicit", NET BEGIN "[implicit]\nfilters=6\nmean=1\n[scale_channels]\nfrom=0\n" END, ALL },
    { "connected", NET BEGIN "[avgpool]\n[connected]\noutput=5\nactivation=leaky\nbatch_normalize=1\n[connected]\noutput=3\nactivation=linear\n", ALL },
    { "local", NET BEGIN "[local]\nfilters=5\nsize=3\nstride=2\npad=1\nactivation=leaky\n" END, EXACT },
    { "softmax", NET BEGIN "[avgpool]\n" PLAIN(4, 1, 1, "linear") "[softmax]\n", CUTS | RESIZES },
    { "cost", NET BEGIN "[avgpool]\n" PLAIN(4, 1, 1, "linear") "[cost]\n", CUTS | RESIZES },
    { "contrastive", NET BEGIN "[avgpool]\n" PLAIN(4, 1, 1, "linear") "[contrastive]\nclasses=2\n", CUTS | RESIZES },
    { "history", SEQUENCE BEGIN "[history]\nhistory_size=3\n" END, EXACT | RESIZES },
    { "rnn", SEQUENCE BEGIN "[avgpool]\n[rnn]\noutput=5\nhidden=4\nactivation=tanh\n[connected]\noutput=3\nactivation=linear\n", ALL },
    { "crnn", SEQUENCE BEGIN "[crnn]\noutput=5\nhidden=4\npad=1\nactivation=tanh\n" END, ALL },
    { "gru", SEQUENCE BEGIN "[avgpool]\n[gru]\noutput=5\n[connected]\noutput=3\nactivation=linear\n", ALL },
    { "lstm", SEQUENCE BEGIN "[avgpool]\n[lstm]\noutput=5\n[connected]\noutput=3\nactivation=linear\n", ALL },
    { "conv_lstm", SEQUENCE BEGIN "[conv_lstm]\noutput=5\npad=1\npeephole=1\nactivation=leaky\n" END, ALL },
    { "yolo", NET BEGIN YOLO("yolo", 14), CUTS | RESIZES },
    { "Gaussian_yolo", NET BEGIN YOLO("Gaussian_yolo", 22), CUTS | RESIZES },
    { "region", NET BEGIN PLAIN(14, 1, 1, "linear") "[region]\nnum=2\nclasses=2\ncoords=4\nanchors=1,1, 2,2\n", CUTS | RESIZES },
    { "detection", NET BEGIN "[avgpool]\n[connected]\noutput=48\nactivation=linear\n"
      "[detection]\nside=2\nnum=2\nclasses=2\ncoords=4\n", CUTS | RESIZES },
};
enum { CASES = sizeof cases / sizeof *cases };

static void check_type(const struct type_case *c) {
    if (c->checks & EXACT) {
        CHECK(check_gradients(c->type, c->text, NET_TRAIN, NULL) > 6, "%s: gradients are all zero", c->type);
        check_backends(c->type, c->text, NET_TRAIN, NULL);
    }
    check_backends(c->type, c->text, NET_INFER, NULL);
    enum net_mode mode = c->checks & EXACT ? NET_TRAIN : NET_INFER;
    check_narrow_net("cuda-emulated:fp16", c->type, c->text, mode, 1e-2, .05);
    check_narrow_net("cuda-emulated:bf16", c->type, c->text, mode, 8e-2, .15);
    check_narrow_net("cuda-emulated:fp16", c->type, c->text, NET_INFER, 1e-2, 0);
    int narrow = check_narrow_net("cuda-emulated:bf16", c->type, c->text, NET_INFER, 8e-2, 0);
    CHECK(narrow > 0 || !layer_find(c->type)->narrow, "%s: no narrow maps", c->type);
    check_round_trip(c->type, c->text);
    if (c->checks & RESIZES) check_resize(c->type, c->text, NULL);
    int removed = check_cut(c->type, c->text);
    CHECK(((c->checks & CUTS) != 0) == (removed > 0), "%s: %d channels could be cut", c->type, removed);
}

static void check_complete(void) {
    for (int i = 0; i < layer_type_count(); ++i) {
        int n = 0;
        for (int k = 0; k < CASES; ++k) n += strcmp(cases[k].type, layer_type(i)->name) == 0;
        CHECK(n == 1, "[%s] has %d cases here", layer_type(i)->name, n);
    }
}

/* In a convolution, where it stands behind batch norm, and, unless it mixes channels, in the layers that have it as their own. */
static void check_activation(const struct cfg_choice *a, bool mixes) {
    static const char *const inside[] = { "[convolutional]\nbatch_normalize=1\nfilters=5\nsize=3\npad=1\nactivation=%s\n",
                                          "[activation]\nactivation=%s\n", "[shortcut]\nfrom=-1\nactivation=%s\n",
                                          "[local]\nfilters=5\nsize=3\npad=1\nactivation=%s\n", "[connected]\noutput=5\nactivation=%s\n" };
    enum { KINDS = sizeof inside / sizeof *inside };
    for (int k = 0; k < (mixes ? 1 : KINDS); ++k) {
        char text[1024], name[128];
        int at = snprintf(text, sizeof text, "%s", SMALL BEGIN);
        at += snprintf(text + at, sizeof text - (size_t)at, inside[k], a->name);
        snprintf(text + at, sizeof text - (size_t)at, "%s", k + 1 == KINDS ? "[connected]\noutput=3\nactivation=linear\n" : END);
        snprintf(name, sizeof name, "%s in %.12s", a->name, inside[k]);
        CHECK(check_gradients(name, text, NET_TRAIN, NULL) > 6, "%s: gradients are all zero", name);
        check_backends(name, text, NET_INFER, NULL);
        check_backends(name, text, NET_TRAIN, NULL);
        check_cut(name, text);
    }
}

int main(void) {
    check_complete();
    for (int i = 0; i < CASES; ++i) check_type(&cases[i]);
    for (const struct cfg_choice *a = conv_activation_choices; a->name; ++a) check_activation(a, a < activation_choices);
    return test_end("every_layer");
}
