/* ops: the network's table and its cost.  partial: the first layers of a weights file. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "cli/console.h"
#include "cli/options.h"
#include "net/net.h"

struct ops_flags {
    bool strict;
};

static const struct option ops_options[] = { { "strict", OPTION_FLAG, offsetof(struct ops_flags, strict),
                                               NULL, "unknown cfg keys are errors", NULL, 1, 0 },
                                             OPTION_END };

static void print_row(void *user, const char *text) {
    (void)user;
    fprintf(stderr, "%s\n", text);
}

/* Darknet counts matrix products alone here; unlike it, groups are honoured, as in the table. */
static double product_flops(const struct net *net) {
    double sum = 0;
    for (int i = 0; i < net->n; ++i) {
        const char *name = net->layer[i].ops->name;
        if (strcmp(name, "convolutional") == 0 || strcmp(name, "connected") == 0) sum += net->layer[i].flops;
    }
    return sum;
}

static int ops_run(const struct command *self, int argc, char **argv) {
    struct ctx ctx = console_ctx();
    struct ops_flags flags = { 0 };
    struct arguments words;
    struct net *net = NULL;
    enum status st = options_parse(&ctx, argc, argv, self->options, &flags, &words, 1);
    if (st == ST_OK && words.n < 1) st = ctx_fail(&ctx, ST_USAGE, "ops: needs %s", self->words);
    if (st == ST_OK) st = net_open(&ctx, words.word[0], flags.strict, &net);
    if (st != ST_OK) return console_fail(&ctx);
    net_describe(net, print_row, NULL);
    printf("Floating Point Operations: %.0f\n", product_flops(net));
    printf("Floating Point Operations: %.2f Bn\n", product_flops(net) / 1e9);
    printf("Parameters: %zu (%.2f million, %.0f KiB of weights)\n", net->n_param, (double)net->n_param / 1e6,
           (20 + 4 * (double)net->n_param) / 1024);
    net_close(net);
    return 0;
}

/* Layers behind the last one with parameters leave no trace in a weights file. */
static int layers_stored(const struct net *net, int layers) {
    while (layers > 0 && net->layer[layers - 1].n_param == 0) --layers;
    return layers;
}

static enum status cut(struct ctx *ctx, const struct arguments *words, bool strict, struct net **net) {
    const char *rest, *weights = words->word[1], *out = words->word[2];
    int layers = 0, loaded = 0;
    if (!text_int(words->word[3], &layers, &rest) || *rest || layers < 1)
        return ctx_fail(ctx, ST_USAGE, "partial: '%s' is no count of layers", words->word[3]);
    TRY(net_open(ctx, words->word[0], strict, net));
    if (layers > (*net)->n)
        return ctx_fail(ctx, ST_USAGE, "partial: %s has %d layers, not %d", words->word[0], (*net)->n,
                        layers);
    TRY(net_load(ctx, *net, weights, LOAD_PREFIX, &loaded));
    if (loaded < layers_stored(*net, layers))
        return ctx_fail(ctx, ST_FORMAT, "%s: holds only %d of the %d layers", weights, loaded, layers);
    (*net)->seen = 0;
    TRY(net_save(ctx, *net, out, layers));
    fprintf(stderr, "Saving weights to %s\n", out);
    return ST_OK;
}

static int partial_run(const struct command *self, int argc, char **argv) {
    struct ctx ctx = console_ctx();
    struct ops_flags flags = { 0 };
    struct arguments words;
    struct net *net = NULL;
    enum status st = options_parse(&ctx, argc, argv, self->options, &flags, &words, 4);
    if (st == ST_OK && words.n < 4) st = ctx_fail(&ctx, ST_USAGE, "partial: needs %s", self->words);
    if (st == ST_OK) st = cut(&ctx, &words, flags.strict, &net);
    net_close(net);
    return st == ST_OK ? 0 : console_fail(&ctx);
}

const struct command ops_command = { NULL,        "ops",  "CFG", "the network's layers, parameters and FLOPs",
                                     ops_options, ops_run };
const struct command partial_command = { NULL,
                                         "partial",
                                         "CFG WEIGHTS OUT N",
                                         "writes the first N layers' weights, to start a training from",
                                         ops_options,
                                         partial_run };
