/* data synth: a made-up data set of road scenes. */
#include <stdio.h>

#include "cli/console.h"
#include "cli/options.h"
#include "data/synth.h"

struct synth_flags {
    int train, valid, width, height, seed;
};

static const struct option synth_options_table[] = {
    { "train", OPTION_INT, offsetof(struct synth_flags, train), "N", "pictures to train on (600)", NULL, 0,
      10000000 },
    { "valid", OPTION_INT, offsetof(struct synth_flags, valid), "N", "pictures to validate on (150)", NULL, 0,
      10000000 },
    { "width", OPTION_INT, offsetof(struct synth_flags, width), "N", "of a picture, pixels (416)", NULL, 96,
      8192 },
    { "height", OPTION_INT, offsetof(struct synth_flags, height), "N", "of a picture, pixels (256)", NULL, 64,
      8192 },
    { "seed", OPTION_INT, offsetof(struct synth_flags, seed), "N",
      "the same seed gives the same pictures (1)", NULL, 0, 2147483647 },
    OPTION_END
};

static void show(void *user, int done, int total) { progress_show(user, done, total); }

static int synth_run(const struct command *self, int argc, char **argv) {
    struct ctx ctx = console_ctx();
    struct synth_options opt = synth_defaults("");
    struct synth_flags flags = { opt.train, opt.valid, opt.width, opt.height, (int)opt.seed };
    struct arguments words;
    struct progress progress = { 0 };
    enum status st = options_parse(&ctx, argc, argv, self->options, &flags, &words, 1);
    if (st == ST_OK && words.n < 1) st = ctx_fail(&ctx, ST_USAGE, "data synth: needs %s", self->words);
    if (st != ST_OK) return console_fail(&ctx);
    opt = (struct synth_options){ .dir = words.word[0],
                                  .train = flags.train,
                                  .valid = flags.valid,
                                  .width = flags.width,
                                  .height = flags.height,
                                  .seed = (uint64_t)flags.seed };
    progress_start(&progress, "drawing", "pictures");
    st = synth_write(&ctx, &opt, show, &progress);
    progress_end(&progress);
    if (st != ST_OK) return console_fail(&ctx);
    printf("%d training and %d validation pictures of %d x %d, %d classes: %s/synth.data\n", opt.train,
           opt.valid, opt.width, opt.height, (int)SYNTH_CLASSES, opt.dir);
    return 0;
}

const struct command data_synth_command = {
    "data",
    "synth",
    "DIR",
    "draws labelled road scenes into DIR, a data set to try things with",
    synth_options_table,
    synth_run
};
