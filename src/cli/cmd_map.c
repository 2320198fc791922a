/* detector map: mean average precision over the validation list. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "cli/console.h"
#include "cli/device.h"
#include "cli/options.h"
#include "cli/precision_compare.h"
#include "cli/session.h"
#include "data/loader.h"
#include "eval/map.h"

struct map_flags {
    double thresh, iou_thresh;
    int points;
    const char *json;
    bool letter_box, dont_show, no_f32, strict;
};

static const struct option map_options_table[] = {
    { "thresh", OPTION_FLOAT, offsetof(struct map_flags, thresh), "T",
      "confidence from which a detection counts in precision, recall, F1 (0.25)", NULL, 0, 1 },
    { "iou_thresh", OPTION_FLOAT, offsetof(struct map_flags, iou_thresh), "T",
      "overlap from which a detection is right (0.5)", NULL, 0, 1 },
    { "points", OPTION_INT, offsetof(struct map_flags, points), "N",
      "recall points: 101 as COCO, 11 as VOC 2007, 0: area under the curve (0)", NULL, 0, 100000 },
    { "json", OPTION_TEXT, offsetof(struct map_flags, json), "FILE", "write the figures as JSON, too", NULL,
      1, 0 },
    { "letter_box", OPTION_FLAG, offsetof(struct map_flags, letter_box), NULL,
      "keep the pictures' aspect (Darknet: only through the cfg)", NULL, 1, 0 },
    { "dont_show", OPTION_FLAG, offsetof(struct map_flags, dont_show), NULL,
      "no window; there never is one here", NULL, 1, 0 },
    { "no_f32", OPTION_FLAG, offsetof(struct map_flags, no_f32), NULL,
      "with -precision bf16 or int8: do not run in f32, too, to tell the change", NULL, 1, 0 },
    { "strict", OPTION_FLAG, offsetof(struct map_flags, strict), NULL, "unknown cfg keys and bad labels are errors", NULL, 1,
      0 },
    OPTION_END
};

enum { BATCH = 8 };
static const char *const size_name[MAP_SIZES] = { "small", "medium", "large" };

static void show(void *user, int done, int total) { progress_show(user, done, total); }

/* --- JSON ----------------------------------------------------------------------------------------------- */

static void json_class(const struct session *s, const struct map_result *r, int k, cJSON *list) {
    char number[16];
    cJSON *o = cJSON_CreateObject();
    cJSON_AddNumberToObject(o, "class_id", k);
    cJSON_AddStringToObject(o, "name", session_name(s, k, number));
    cJSON_AddNumberToObject(o, "ap", r->of[k].ap);
    cJSON_AddNumberToObject(o, "tp", r->of[k].tp);
    cJSON_AddNumberToObject(o, "fp", r->of[k].fp);
    cJSON_AddNumberToObject(o, "truths", r->of[k].truths);
    cJSON_AddItemToArray(list, o);
}

static cJSON *json_of(const struct session *s, const struct map_options *opt, const struct map_result *r) {
    cJSON *root = cJSON_CreateObject(), *size = NULL, *classes = NULL;
    const struct {
        const char *name;
        double value;
    } figure[] = { { "thresh", (double)opt->thresh },
                   { "iou_thresh", (double)opt->iou_thresh },
                   { "points", opt->points },
                   { "map", r->map },
                   { "map_present", r->map_present },
                   { "detections", r->detections },
                   { "truths", r->unique_truths },
                   { "tp", r->tp },
                   { "fp", r->fp },
                   { "fn", r->fn },
                   { "precision", r->precision },
                   { "recall", r->recall },
                   { "f1", r->f1 },
                   { "average_iou", r->avg_iou },
                   { "seconds", r->seconds } };
    for (size_t i = 0; i < sizeof figure / sizeof *figure; ++i)
        cJSON_AddNumberToObject(root, figure[i].name, figure[i].value);
    size = cJSON_AddObjectToObject(root, "size");
    for (int i = 0; i < MAP_SIZES; ++i) {
        cJSON *o = cJSON_AddObjectToObject(size, size_name[i]);
        if (r->map_size[i] >= 0) cJSON_AddNumberToObject(o, "map", r->map_size[i]);
        else cJSON_AddNullToObject(o, "map");
        cJSON_AddNumberToObject(o, "truths", r->truths_size[i]);
    }
    classes = cJSON_AddArrayToObject(root, "classes");
    for (int k = 0; k < r->classes; ++k) json_class(s, r, k, classes);
    return root;
}

/* side: f32 and what was asked for, or NULL. */
static enum status write_json(struct session *s, const char *path, const struct map_options *opt, const struct map_result *r,
                              const struct precision_side *side) {
    cJSON *root = json_of(s, opt, r), *precision = side ? cJSON_AddObjectToObject(root, "precisions") : NULL;
    for (int i = 0; side && i < 2; ++i) cJSON_AddItemToObject(precision, side[i].name, precision_json(&side[i]));
    char *text = cJSON_Print(root);
    enum status st = text ? io_write(&s->ctx, path, text, strlen(text))
                          : ctx_fail(&s->ctx, ST_MEMORY, "%s: out of memory", path);
    free(text);
    cJSON_Delete(root);
    return st;
}

/* --- The command ---------------------------------------------------------------------------------------- */

static enum status print_result(struct session *s, const struct map_options *opt,
                                const struct map_result *r) {
    char *text;
    TRY(map_print(&s->ctx, r, &s->names, opt, &text));
    fputs(text, stdout);
    free(text);
    fflush(stdout);
    fprintf(stderr, "Total Detection Time: %d Seconds\n", (int)r->seconds);
    printf(
        "\nSet -points flag:\n `-points 101` for MS COCO \n"
        " `-points 11` for PascalVOC 2007 (uncomment `difficult` in voc.data) \n"
        " `-points 0` (AUC) for ImageNet, PascalVOC 2010-2012, your custom dataset\n");
    int present = 0;
    for (int k = 0; k < r->classes; ++k) present += r->of[k].truths > 0;
    printf("\n mAP@%0.2f over the %d classes that have objects = %2.2f %%\n", (double)opt->iou_thresh,
           present, r->map_present * 100);
    for (int i = 0; i < MAP_SIZES; ++i)
        if (r->map_size[i] >= 0)
            printf(" mAP@%0.2f of %s objects (%d) = %2.2f %%\n", (double)opt->iou_thresh, size_name[i],
                   r->truths_size[i], r->map_size[i] * 100);
    printf(" (sizes by area at the network's %d x %d: small below 32 x 32, large from 96 x 96)\n",
           s->net->opt.width, s->net->opt.height);
    fflush(stdout);
    return ST_OK;
}

static enum status measure(struct session *s, const struct map_flags *flags, const struct text_list *images,
                           const struct text_list *difficult) {
    struct progress progress = { 0 };
    struct precision_side side[2] = { 0 };
    struct map_result *result = &side[1].map;
    bool compare = device_precision() >= DEVICE_BF16 && !flags->no_f32;
    struct map_options opt = { .thresh = (float)flags->thresh,
                               .iou_thresh = (float)flags->iou_thresh,
                               .points = flags->points,
                               .class_map = s->map,
                               .n_map = s->n_map,
                               .progress = show,
                               .user = &progress };
    TRY(net_bind(&s->ctx, s->net, s->be, NET_INFER, images->n < BATCH ? images->n : BATCH));
    printf("\n calculation mAP (mean average precision)...\n");
    session_print_heads(s);
    fflush(stdout);
    progress_start(&progress, "mAP", "images");
    enum status st = map_evaluate(&s->ctx, s->net, images, difficult, &opt, result);
    progress_end(&progress);
    if (st == ST_OK) st = print_result(s, &opt, result);
    if (st == ST_OK && compare) st = precision_compare(&s->ctx, s->net, images, difficult, &opt, side);
    if (st == ST_OK && compare) precision_print(side, flags->iou_thresh);
    if (st == ST_OK && flags->json) st = write_json(s, flags->json, &opt, result, compare ? side : NULL);
    map_free(&side[0].map);
    map_free(&side[1].map);
    return st;
}

static enum status work(struct session *s, const struct map_flags *flags, const struct arguments *words) {
    struct text_list images = { 0 }, difficult = { 0 };
    struct session_request request = { .data = words->word[0],
                                       .cfg = words->word[1],
                                       .weights = words->word[2],
                                       .strict = flags->strict,
                                       .class_map = true,
                                       .exact_names = true };
    enum status st = session_open(s, &request);
    if (st == ST_OK) st = session_valid(s, &images);
    if (st == ST_OK)
        st = session_check_set(s, &images, flags->strict ? DATASET_STRICT : DATASET_SCORE, NULL); /* before anything is printed */
    if (st == ST_OK && s->data.difficult) st = list_read(&s->ctx, s->data.difficult, &difficult);
    if (st == ST_OK) {
        if (flags->letter_box) s->net->opt.letter_box = 1;
        session_print(s, words->word[2]);
        st = measure(s, flags, &images, s->data.difficult ? &difficult : NULL);
    }
    list_free(&images);
    list_free(&difficult);
    return st;
}

static int map_run(const struct command *self, int argc, char **argv) {
    struct map_flags flags = { .thresh = .25, .iou_thresh = .5 };
    struct arguments words;
    struct session s = { .ctx = console_ctx() };
    enum status st = options_parse(&s.ctx, argc, argv, self->options, &flags, &words, 3);
    if (st == ST_OK && flags.points == 1)
        st = ctx_fail(&s.ctx, ST_USAGE, "-points: 1 is no curve; 0, 11 or 101 are usual");
    if (st == ST_OK && words.n < 3) st = ctx_fail(&s.ctx, ST_USAGE, "detector map: needs %s", self->words);
    if (st == ST_OK) st = work(&s, &flags, &words);
    int status = st == ST_OK ? 0 : console_fail(&s.ctx);
    session_close(&s);
    return status;
}

const struct command detector_map_command = {
    "detector",        "map",  "DATA CFG WEIGHTS", "mean average precision over the valid= list",
    map_options_table, map_run
};
