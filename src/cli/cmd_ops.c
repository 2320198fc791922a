/* What a network is: ops (its table and cost), statistics (of its weights), speed. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/device.h"
#include "cli/options.h"
#include "net/net.h"
#include "net/ranges.h"

struct ops_flags {
    bool strict;
    const char *json;
};

#define STRICT                                                                                                             \
    { "strict", OPTION_FLAG, offsetof(struct ops_flags, strict), NULL, "unknown cfg keys are errors", NULL, 1, 0 }
static const struct option plain_options[] = { STRICT, OPTION_END };
static const struct option ops_options[] = {
    { "json", OPTION_TEXT, offsetof(struct ops_flags, json), "FILE", "write layers and totals as JSON, too", NULL, 1, 0 },
    STRICT, OPTION_END
};

/* --- ops ------------------------------------------------------------------------------------------------ */

static void print_row(void *user, const char *text) {
    (void)user;
    fprintf(stderr, "%s\n", text);
}

/* Darknet counts matrix products alone here; unlike it, groups are honoured, as in the table. */
static double product_flops(const struct net *net) {
    static const char *const product[] = { "convolutional", "connected", "rnn", "gru", "lstm" };
    double sum = 0;
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        bool counted = false;
        for (size_t k = 0; k < sizeof product / sizeof *product; ++k) counted |= strcmp(l->ops->name, product[k]) == 0;
        if (!counted) continue;
        /* the table shows none for some recurrent layers */
        sum += l->flops > 0 || !l->ops->flops_at ? l->flops : l->ops->flops_at(l, l->in_shape[0].c, l->out.c);
    }
    return sum;
}

static size_t layer_params(const struct layer *l) {
    size_t n = 0;
    for (int k = 0; k < l->n_param; ++k)
        if (param_owned(&l->param[k])) n += param_count(&l->param[k]);
    return n;
}

static cJSON *json_layer(const struct layer *l) {
    cJSON *o = cJSON_CreateObject(), *inputs = NULL;
    struct shape out = l->out.c ? l->out : l->in_shape[0]; /* a head's is its input, as in Darknet */
    cJSON_AddNumberToObject(o, "index", l->index);
    cJSON_AddStringToObject(o, "type", l->ops->name);
    inputs = cJSON_AddArrayToObject(o, "inputs");
    for (int k = 0; k < l->n_in; ++k) cJSON_AddItemToArray(inputs, cJSON_CreateNumber(l->in[k]));
    cJSON_AddNumberToObject(o, "out_w", out.w);
    cJSON_AddNumberToObject(o, "out_h", out.h);
    cJSON_AddNumberToObject(o, "out_c", out.c);
    cJSON_AddNumberToObject(o, "outputs", (double)out.c * out.h * out.w);
    cJSON_AddNumberToObject(o, "parameters", (double)layer_params(l));
    cJSON_AddNumberToObject(o, "bflops", l->flops / 1e9);
    return o;
}

static enum status write_json(struct ctx *ctx, const struct net *net, const char *path) {
    cJSON *root = cJSON_CreateObject(), *layers = NULL;
    cJSON_AddStringToObject(root, "cfg", net->doc->path);
    cJSON_AddNumberToObject(root, "width", net->opt.width);
    cJSON_AddNumberToObject(root, "height", net->opt.height);
    cJSON_AddNumberToObject(root, "channels", net->opt.channels);
    cJSON_AddNumberToObject(root, "parameters", (double)net->n_param);
    cJSON_AddNumberToObject(root, "weights_bytes", 20 + 4 * (double)net->n_param);
    cJSON_AddNumberToObject(root, "activations", (double)net_activation_count(net));
    cJSON_AddNumberToObject(root, "bflops", net_flops(net) / 1e9);
    layers = cJSON_AddArrayToObject(root, "layers"); /* inputs: -1 is the picture */
    for (int i = 0; i < net->n; ++i) cJSON_AddItemToArray(layers, json_layer(&net->layer[i]));
    char *text = cJSON_Print(root);
    enum status st = text ? io_write(ctx, path, text, strlen(text)) : ctx_fail(ctx, ST_MEMORY, "%s: out of memory", path);
    free(text);
    cJSON_Delete(root);
    return st;
}

static int ops_run(const struct command *self, int argc, char **argv) {
    struct ctx ctx = console_ctx();
    struct ops_flags flags = { 0 };
    struct arguments words;
    struct net *net = NULL;
    enum status st = options_parse(&ctx, argc, argv, self->options, &flags, &words, 1);
    if (st == ST_OK && words.n < 1) st = ctx_fail(&ctx, ST_USAGE, "ops: needs %s", self->words);
    if (st == ST_OK) st = net_open(&ctx, words.word[0], flags.strict, &net);
    if (st == ST_OK && flags.json) st = write_json(&ctx, net, flags.json);
    if (st == ST_OK) {
        net_describe(net, print_row, NULL);
        printf("Floating Point Operations: %.0f\n", product_flops(net));
        printf("Floating Point Operations: %.2f Bn\n", product_flops(net) / 1e9);
        printf("Parameters: %zu (%.2f million, %.0f KiB of weights)\n", net->n_param, (double)net->n_param / 1e6,
               (20 + 4 * (double)net->n_param) / 1024);
    }
    net_close(net);
    return st == ST_OK ? 0 : console_fail(&ctx);
}

/* --- statistics ----------------------------------------------------------------------------------------- */

static void print_statistics(const struct net *net) {
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        if (l->n_param) printf("%4d %s\n", i, l->ops->name);
        for (int k = 0; k < l->n_param; ++k) {
            const struct param *p = &l->param[k];
            struct array_stats s = net_param_stats(net, p);
            printf("     %-18s %9zu  RMS: %f, Mean: %f, Variance: %f, Min: %f, Max: %f%s\n", p->name, param_count(p), s.rms,
                   s.mean, s.variance, s.min, s.max, param_owned(p) ? "" : " (shared)");
        }
    }
}

static int statistics_run(const struct command *self, int argc, char **argv) {
    struct ctx ctx = console_ctx();
    struct ops_flags flags = { 0 };
    struct arguments words;
    struct net *net = NULL;
    enum status st = options_parse(&ctx, argc, argv, self->options, &flags, &words, 2);
    if (st == ST_OK && words.n < 2) st = ctx_fail(&ctx, ST_USAGE, "statistics: needs %s", self->words);
    if (st == ST_OK) st = net_open(&ctx, words.word[0], flags.strict, &net);
    if (st == ST_OK) st = net_load(&ctx, net, words.word[1], LOAD_WHOLE, NULL);
    if (st == ST_OK) print_statistics(net);
    net_close(net);
    return st == ST_OK ? 0 : console_fail(&ctx);
}

/* --- speed ---------------------------------------------------------------------------------------------- */

static enum status measure(struct ctx *ctx, struct net *net, struct backend *be, int runs) {
    const volatile int *stop = console_stop();
    float *x = mem_zero(ctx, (size_t)net->opt.inputs, sizeof *x);
    struct progress progress = { 0 };
    int done = 0;
    enum status st = x ? net_bind(ctx, net, be, NET_INFER, 1) : ST_MEMORY;
    for (int i = 0; i < 3 && st == ST_OK; ++i) st = net_forward(ctx, net, x); /* warm-up; some backends note the second pass */
    progress_start(&progress, "speed", "evals");
    double start = io_seconds();
    for (; done < runs && st == ST_OK && !*stop; ++done) {
        st = net_forward(ctx, net, x);
        progress_show(&progress, done + 1, runs);
    }
    double seconds = io_seconds() - start;
    progress_end(&progress);
    free(x);
    TRY(st);
    if (!done) return ctx_fail(ctx, ST_INTERRUPTED, "stopped before the first forward pass");
    printf("\n%d evals, %f Seconds\n", done, seconds);
    printf("Speed: %f sec/eval\n", seconds / done);
    printf("Speed: %f Hz\n", done / seconds);
    return ST_OK;
}

static enum status speed(struct ctx *ctx, const struct arguments *words, bool strict, struct net **net, struct backend **be) {
    const char *rest = "";
    int runs = 1000;
    if (words->n > 1 && (!text_int(words->word[1], &runs, &rest) || *rest || runs < 1))
        return ctx_fail(ctx, ST_USAGE, "speed: '%s' is no count of forward passes", words->word[1]);
    TRY(net_open(ctx, words->word[0], strict, net));
    net_init_weights(*net, 1);
    TRY(device_open(ctx, false, be));
    if (device_precision() == DEVICE_INT8) TRY(ranges_guess(ctx, *net));
    return measure(ctx, *net, *be, runs);
}

static int speed_run(const struct command *self, int argc, char **argv) {
    struct ctx ctx = console_ctx();
    struct ops_flags flags = { 0 };
    struct arguments words;
    struct net *net = NULL;
    struct backend *be = NULL;
    enum status st = options_parse(&ctx, argc, argv, self->options, &flags, &words, 2);
    if (st == ST_OK && words.n < 1) st = ctx_fail(&ctx, ST_USAGE, "speed: needs %s", self->words);
    if (st == ST_OK) st = speed(&ctx, &words, flags.strict, &net, &be);
    net_close(net);
    backend_close(be);
    return st == ST_OK ? 0 : console_fail(&ctx);
}

const struct command ops_command = { .name = "ops",
                                     .words = "CFG",
                                     .summary = "the network's layers, parameters and FLOPs",
                                     .options = ops_options,
                                     .run = ops_run };
const struct command statistics_command = { .name = "statistics",
                                            .words = "CFG WEIGHTS",
                                            .summary = "mean, variance and range of every array of the weights",
                                            .options = plain_options,
                                            .run = statistics_run };
const struct command speed_command = { .name = "speed",
                                       .words = "CFG [N]",
                                       .summary = "times N (1000) forward passes of one empty picture",
                                       .options = plain_options,
                                       .run = speed_run };
