/* Weights files into other weights files: partial, average, reset, denormalize, normalize, rescale, rgbgr, oneoff. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/options.h"
#include "net/convert.h"

struct weights_flags {
    bool strict;
    const char *cfg_out;
};

#define STRICT                                                                                                             \
    { "strict", OPTION_FLAG, offsetof(struct weights_flags, strict), NULL, "unknown cfg keys are errors", NULL, 1, 0 }
static const struct option plain_options[] = { STRICT, OPTION_END };
static const struct option norm_options[] = {
    { "cfg_out", OPTION_TEXT, offsetof(struct weights_flags, cfg_out), "FILE", "write the cfg that goes with OUT, too", NULL, 1, 0 },
    STRICT, OPTION_END
};

struct job {
    struct ctx ctx;
    struct weights_flags flags;
    struct arguments words;
    struct net *net;
};

static enum status save(struct job *j, const struct net *net, const char *out, int layers) {
    TRY(net_save(&j->ctx, net, out, layers));
    fprintf(stderr, "Saving weights to %s\n", out);
    return ST_OK;
}

static enum status load(struct job *j) {
    TRY(net_open(&j->ctx, j->words.word[0], j->flags.strict, &j->net));
    return net_load(&j->ctx, j->net, j->words.word[1], LOAD_WHOLE, NULL);
}

/* One command: `work` on at least `least` and at most `most` words. */
static int run(const struct command *self, int argc, char **argv, int least, int most, enum status (*work)(struct job *)) {
    struct job j = { .ctx = console_ctx() };
    enum status st = options_parse(&j.ctx, argc, argv, self->options, &j.flags, &j.words, most);
    if (st == ST_OK && j.words.n < least) st = ctx_fail(&j.ctx, ST_USAGE, "%s: needs %s", self->name, self->words);
    if (st == ST_OK) st = work(&j);
    net_close(j.net);
    return st == ST_OK ? 0 : console_fail(&j.ctx);
}

/* --- partial, average ----------------------------------------------------------------------------------- */

/* Layers behind the last one with parameters leave no trace in a weights file. */
static int layers_stored(const struct net *net, int layers) {
    while (layers > 0 && net->layer[layers - 1].n_param == 0) --layers;
    return layers;
}

static enum status cut(struct job *j) {
    const char *rest, *weights = j->words.word[1];
    int layers = 0, loaded = 0;
    if (!text_int(j->words.word[3], &layers, &rest) || *rest || layers < 1)
        return ctx_fail(&j->ctx, ST_USAGE, "partial: '%s' is no count of layers", j->words.word[3]);
    TRY(net_open(&j->ctx, j->words.word[0], j->flags.strict, &j->net));
    if (layers > j->net->n)
        return ctx_fail(&j->ctx, ST_USAGE, "partial: %s has %d layers, not %d", j->words.word[0], j->net->n, layers);
    TRY(net_load(&j->ctx, j->net, weights, LOAD_PREFIX, &loaded));
    if (loaded < layers_stored(j->net, layers))
        return ctx_fail(&j->ctx, ST_FORMAT, "%s: holds only %d of the %d layers", weights, loaded, layers);
    j->net->seen = 0;
    return save(j, j->net, j->words.word[2], layers);
}

static enum status average(struct job *j) {
    TRY(net_open(&j->ctx, j->words.word[0], j->flags.strict, &j->net));
    TRY(convert_average(&j->ctx, j->net, j->words.word + 2, j->words.n - 2));
    return save(j, j->net, j->words.word[1], -1);
}

static int partial_run(const struct command *self, int argc, char **argv) { return run(self, argc, argv, 4, 4, cut); }
static int average_run(const struct command *self, int argc, char **argv) { return run(self, argc, argv, 3, 64, average); }

/* --- Batch norm ----------------------------------------------------------------------------------------- */

static enum status reset(struct job *j) {
    int folded;
    TRY(load(j));
    convert_reset(j->net, &folded);
    TRY(save(j, j->net, j->words.word[2], -1));
    printf("reset: %d batch norms went into their weights; they are still there and change nothing\n", folded);
    return ST_OK;
}

/* The weights fit another cfg now: write it, or say what has to be changed. */
static enum status save_with_cfg(struct job *j, struct net *net, const char *what, int count, int value) {
    char *text = NULL;
    size_t size;
    enum status st = j->flags.cfg_out ? cfg_text(&j->ctx, net->doc, &text, &size) : ST_OK;
    if (st == ST_OK) st = save(j, net, j->words.word[2], -1);
    if (st == ST_OK && text) st = io_write(&j->ctx, j->flags.cfg_out, text, size);
    free(text);
    net_close(net);
    TRY(st);
    printf("%s: %d batch norms %s; ", j->words.word[2], count, what);
    if (j->flags.cfg_out) printf("the cfg that goes with it is %s\n", j->flags.cfg_out);
    else printf("it goes with a cfg that has batch_normalize=%d everywhere, which -cfg_out FILE writes\n", value);
    return ST_OK;
}

static enum status denormalize(struct job *j) {
    struct net *out;
    int folded;
    TRY(load(j));
    TRY(convert_denormalize(&j->ctx, j->net, &out, &folded));
    return save_with_cfg(j, out, "went into their weights", folded, 0);
}

static enum status normalize(struct job *j) {
    struct net *out;
    int added;
    TRY(load(j));
    TRY(convert_normalize(&j->ctx, j->net, &out, &added));
    return save_with_cfg(j, out, "that change nothing were added", added, 1);
}

static int reset_run(const struct command *self, int argc, char **argv) { return run(self, argc, argv, 3, 3, reset); }
static int denormalize_run(const struct command *self, int argc, char **argv) { return run(self, argc, argv, 3, 3, denormalize); }
static int normalize_run(const struct command *self, int argc, char **argv) { return run(self, argc, argv, 3, 3, normalize); }

/* --- First and last layer ------------------------------------------------------------------------------- */

static enum status rescale(struct job *j) {
    TRY(load(j));
    TRY(convert_rescale(&j->ctx, j->net));
    return save(j, j->net, j->words.word[2], -1);
}

static enum status rgbgr(struct job *j) {
    TRY(load(j));
    TRY(convert_swap_channels(&j->ctx, j->net));
    return save(j, j->net, j->words.word[2], -1);
}

static enum status oneoff(struct job *j) {
    int classes;
    TRY(net_open(&j->ctx, j->words.word[0], j->flags.strict, &j->net));
    net_init_weights(j->net, 1);
    TRY(convert_classifier(&j->ctx, j->net, j->words.word[1], &classes));
    TRY(save(j, j->net, j->words.word[2], -1));
    printf("oneoff: the classifier's %d classes stand behind every anchor; boxes and objectness start at random\n", classes);
    return ST_OK;
}

static int rescale_run(const struct command *self, int argc, char **argv) { return run(self, argc, argv, 3, 3, rescale); }
static int rgbgr_run(const struct command *self, int argc, char **argv) { return run(self, argc, argv, 3, 3, rgbgr); }
static int oneoff_run(const struct command *self, int argc, char **argv) { return run(self, argc, argv, 3, 3, oneoff); }

/* --- The commands --------------------------------------------------------------------------------------- */

#define COMMAND(id, words_, summary_, options_)                                                                            \
    const struct command id##_command = { .name = #id, .words = (words_), .summary = (summary_), .options = (options_),     \
                                          .run = id##_run };
COMMAND(partial, "CFG WEIGHTS OUT N", "writes the first N layers' weights, to start a training from", plain_options)
COMMAND(average, "CFG OUT WEIGHTS...", "writes the mean of weights of one network", plain_options)
COMMAND(reset, "CFG WEIGHTS OUT", "moves batch norm into the weights and keeps one that changes nothing", plain_options)
COMMAND(denormalize, "CFG WEIGHTS OUT", "moves batch norm into the weights and drops it from the file", norm_options)
COMMAND(normalize, "CFG WEIGHTS OUT", "adds a batch norm that changes nothing to layers without", norm_options)
COMMAND(rescale, "CFG WEIGHTS OUT", "first layer: from pictures of -1..1 to pictures of 0..1", plain_options)
COMMAND(rgbgr, "CFG WEIGHTS OUT", "first layer: exchanges red and blue", plain_options)
COMMAND(oneoff, "CFG WEIGHTS OUT", "a detector that starts from a classifier with its classes (YOLO9000)", plain_options)
