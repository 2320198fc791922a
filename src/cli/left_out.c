/* Commands of Darknet that this program does not have, so that an old script learns why instead of meeting a guess. */
#include <string.h>

#include "cli/options.h"

static const struct {
    const char *group, *name; /* name NULL: the whole group, or a top-level command */
    const char *line;
} table[] = {
#define VIDEO "left out; 'detector demo' takes videos and cameras in builds with OPENCV=1"
#define EXPERIMENT "an experiment of Darknet's early days that is left out here"
    { "yolo", "demo", "yolo demo: " VIDEO },
    { "coco", "demo", "coco demo: " VIDEO },
    { "classifier", "demo", "classifier demo: " VIDEO },
    { "classifier", "gun", "classifier gun: " VIDEO },
    { "classifier", "threat", "classifier threat: " VIDEO },
    { "rnn", "validtactic", "rnn validtactic: " EXPERIMENT },
    { "rnn", "generatetactic", "rnn generatetactic: " EXPERIMENT },
    { "rnn", "vec", "rnn vec: " EXPERIMENT },
    { "vid", NULL, "vid: " VIDEO },
    { "nightmare", NULL, "nightmare: " EXPERIMENT },
    { "cifar", NULL, "cifar: left out; 'classifier train' takes the same cfg with a .data file" },
    { "tag", NULL, "tag: left out; 'classifier' trains and scores pictures with labels" },
    { "go", NULL, "go: " EXPERIMENT },
    { "captcha", NULL, "captcha: " EXPERIMENT },
    { "writing", NULL, "writing: " EXPERIMENT },
    { "dice", NULL, "dice: " EXPERIMENT },
    { "compare", NULL, "compare: " EXPERIMENT },
    { "super", NULL, "super: " EXPERIMENT },
    { "voxel", NULL, "voxel: " EXPERIMENT },
    { "art", NULL, "art: " EXPERIMENT },
    { "3d", NULL, "3d: " EXPERIMENT },
    { "test", NULL, "test: Darknet's trial of its resizing is left out; 'detector train -show_imgs' shows augmented pictures" },
    { "imtest", NULL, "imtest: Darknet's trial of its resizing is left out" },
};

const char *left_out(int n, char **word) {
    for (size_t i = 0; i < sizeof table / sizeof *table; ++i) {
        if (strcmp(table[i].group, word[0]) != 0) continue;
        if (!table[i].name || (n > 1 && strcmp(table[i].name, word[1]) == 0)) return table[i].line;
    }
    return NULL;
}
