/* Short forms that Darknet has for single data sets: another command, with some words before the user's. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cli/console.h"
#include "cli/options.h"

extern const struct command detector_test_command, detector_train_command, detector_valid_command, detector_recall_command,
    classifier_predict_command;

static int short_run(const struct command *self, int argc, char **argv);

#define COCO "cfg/coco.data"
#define VOC "cfg/voc.data"
#define SHORT(id, group_, name_, words_, summary_)                                                                         \
    const struct command id##_command = { .group = (group_), .name = (name_), .words = (words_), .summary = (summary_),     \
                                          .run = short_run };
SHORT(detect, NULL, "detect", "CFG WEIGHTS [IMAGE]", "detector test with " COCO " and -thresh .24")
SHORT(classify, NULL, "classify", "CFG WEIGHTS [IMAGE]", "classifier predict with cfg/imagenet1k.data, five best")
SHORT(yolo_test, "yolo", "test", "CFG WEIGHTS [IMAGE]", "detector test with " VOC " and -thresh .2")
SHORT(yolo_train, "yolo", "train", "CFG [WEIGHTS]", "detector train with " VOC)
SHORT(yolo_valid, "yolo", "valid", "CFG WEIGHTS", "detector valid with " VOC)
SHORT(yolo_recall, "yolo", "recall", "CFG WEIGHTS", "detector recall with " VOC)
SHORT(coco_test, "coco", "test", "CFG WEIGHTS [IMAGE]", "detector test with " COCO " and -thresh .2")
SHORT(coco_train, "coco", "train", "CFG [WEIGHTS]", "detector train with " COCO)
SHORT(coco_valid, "coco", "valid", "CFG WEIGHTS", "detector valid with " COCO)
SHORT(coco_recall, "coco", "recall", "CFG WEIGHTS", "detector recall with " COCO)

enum { MAX_BEFORE = 4 };
static const struct {
    const struct command *self, *means;
    const char *before[MAX_BEFORE];
} table[] = {
    { &detect_command, &detector_test_command, { "-thresh", ".24", COCO } },
    { &classify_command, &classifier_predict_command, { "-t", "5", "cfg/imagenet1k.data" } },
    { &yolo_test_command, &detector_test_command, { "-thresh", ".2", VOC } },
    { &yolo_train_command, &detector_train_command, { VOC } },
    { &yolo_valid_command, &detector_valid_command, { VOC } },
    { &yolo_recall_command, &detector_recall_command, { VOC } },
    { &coco_test_command, &detector_test_command, { "-thresh", ".2", COCO } },
    { &coco_train_command, &detector_train_command, { COCO } },
    { &coco_valid_command, &detector_valid_command, { COCO } },
    { &coco_recall_command, &detector_recall_command, { COCO } },
};
enum { SHORTS = sizeof table / sizeof *table };

const struct command *command_meant(const struct command *c) {
    for (int i = 0; i < SHORTS; ++i)
        if (table[i].self == c) return table[i].means;
    return c;
}

static int short_run(const struct command *self, int argc, char **argv) {
    struct ctx ctx = console_ctx();
    struct command real = *command_meant(self);
    char **all = mem_zero(&ctx, (size_t)(MAX_BEFORE + argc), sizeof *all);
    int n = 0, k = 0;
    if (!all) return console_fail(&ctx);
    while (table[k].self != self) ++k;
    for (; n < MAX_BEFORE && table[k].before[n]; ++n) all[n] = (char *)(uintptr_t)table[k].before[n]; /* only read */
    if (argc) memcpy(all + n, argv, (size_t)argc * sizeof *all);
    real.words = self->words;
    int status = real.run(&real, n + argc, all);
    free(all);
    return status;
}
