/* data import: KITTI, COCO, Pascal VOC and BDD100K as Darknet data sets. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/console.h"
#include "cli/options.h"
#include "data/import.h"

struct import_flags {
    const char *images, *classes, *map, *train_list, *valid_list;
    int split, seed;
    double valid_share, min_size;
    bool with_objects, copy, force;
};

static const struct option_choice splits[] = { { "halves", IMPORT_HALVES }, { "chen", IMPORT_CHEN }, { NULL, 0 } };
static const struct option import_options_table[] = {
    { "classes", OPTION_TEXT, offsetof(struct import_flags, classes), "A,B,C",
      "these classes, in this order; all; traffic: COCO's eight of the road (kitti: car, pedestrian, cyclist)", NULL, 1, 0 },
    { "map", OPTION_TEXT, offsetof(struct import_flags, map), "FILE",
      "lines 'source name = class'; nothing behind the = drops, DontCare makes a region where detections are excused", NULL, 1, 0 },
    { "split", OPTION_CHOICE, offsetof(struct import_flags, split), NULL,
      "halves: by name; chen: KITTI's 3712 and 3769 frames, by ImageSets/train.txt and val.txt beside the data", splits, 1, 0 },
    { "train_list", OPTION_TEXT, offsetof(struct import_flags, train_list), "FILE", "names of the pictures to train with", NULL, 1, 0 },
    { "valid_list", OPTION_TEXT, offsetof(struct import_flags, valid_list), "FILE", "names of the pictures to validate with; one list alone: the rest is the other",
      NULL, 1, 0 },
    { "valid_share", OPTION_FLOAT, offsetof(struct import_flags, valid_share), "S",
      "share drawn for validation (the source's own split, where it has none .2); frames of one drive look alike: lists split better", NULL, 0, 1 },
    { "seed", OPTION_INT, offsetof(struct import_flags, seed), "N", "of that draw (1)", NULL, 0, 2147483647 },
    { "images", OPTION_TEXT, offsetof(struct import_flags, images), "DIR", "where the pictures are, when not where the format has them", NULL, 1, 0 },
    { "min_size", OPTION_FLOAT, offsetof(struct import_flags, min_size), "PX", "boxes with a shorter side are left out (1)", NULL, 0, 100000 },
    { "with_objects", OPTION_FLAG, offsetof(struct import_flags, with_objects), NULL, "leave out pictures where no box is left", NULL, 1, 0 },
    { "copy", OPTION_FLAG, offsetof(struct import_flags, copy), NULL, "copy the pictures; else they are linked", NULL, 1, 0 },
    { "force", OPTION_FLAG, offsetof(struct import_flags, force), NULL, "replace an import of before", NULL, 1, 0 },
    OPTION_END
};

static void show(void *user, const char *what, int done, int total) {
    struct progress *p = user;
    if (!p->what || strcmp(p->what, what) != 0) {
        progress_end(p);
        progress_start(p, what, "files");
    }
    progress_show(p, done, total);
}

static enum status kind_of(struct ctx *ctx, const char *word, enum import_kind *kind) {
    for (int k = 0; k < IMPORT_KINDS; ++k)
        if (!strcmp(word, import_kind_name[k])) {
            *kind = (enum import_kind)k;
            return ST_OK;
        }
    return ctx_fail(ctx, ST_USAGE, "data import: '%s' is none of kitti, coco, voc, bdd", word);
}

static int import_run_command(const struct command *self, int argc, char **argv) {
    struct ctx ctx = console_ctx();
    struct import_options o = import_defaults(IMPORT_KITTI, "", "");
    struct import_flags flags = { .seed = (int)o.seed, .valid_share = o.valid_share, .min_size = o.min_size };
    struct arguments words;
    struct progress progress = { 0 };
    char *report = NULL;
    enum import_kind kind = IMPORT_KITTI;
    enum status st = options_parse(&ctx, argc, argv, self->options, &flags, &words, 3);
    if (st == ST_OK && words.n < 3) st = ctx_fail(&ctx, ST_USAGE, "data import: needs %s", self->words);
    if (st == ST_OK) st = kind_of(&ctx, words.word[0], &kind);
    if (st != ST_OK) return console_fail(&ctx);
    o = (struct import_options){ .kind = kind, .source = words.word[1], .out = words.word[2], .images = flags.images, .classes = flags.classes,
                                 .map = flags.map, .split = (enum import_split_rule)flags.split, .train_list = flags.train_list,
                                 .valid_list = flags.valid_list, .valid_share = flags.valid_share, .seed = (uint64_t)flags.seed,
                                 .min_size = flags.min_size, .with_objects = flags.with_objects, .copy = flags.copy, .force = flags.force, .progress = show, .user = &progress,
                                 .stop = console_stop() };
    st = import_run(&ctx, &o, &report);
    progress_end(&progress);
    if (st != ST_OK) return console_fail(&ctx);
    fputs(report, stdout);
    free(report);
    return 0;
}

const struct command data_import_command = {
    "data", "import", "kitti|coco|voc|bdd SRC OUT", "makes a Darknet data set of one in another format", import_options_table, import_run_command
};
