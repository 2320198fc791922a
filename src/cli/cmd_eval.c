/* detector eval: COCO's, KITTI's and VOC's figures, of a network or of any detector's result files. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/console.h"
#include "cli/options.h"
#include "cli/session.h"
#include "data/loader.h"
#include "eval/coco_metric.h"
#include "eval/eval_run.h"
#include "eval/kitti_metric.h"
#include "eval/voc_metric.h"

enum { METRIC_COCO, METRIC_KITTI, METRIC_VOC };
struct eval_flags {
    int metric;
    double thresh, nms, iou_thresh;
    const char *gt, *dt;
    bool json, letter_box, strict;
};

static const struct option_choice metrics[] = { { "coco", METRIC_COCO }, { "kitti", METRIC_KITTI }, { "voc", METRIC_VOC }, { NULL, 0 } };
static const struct option eval_options[] = {
    { "metric", OPTION_CHOICE, offsetof(struct eval_flags, metric), "coco|kitti|voc", "which benchmark's rules (coco)", metrics, 1, 0 },
    { "gt", OPTION_TEXT, offsetof(struct eval_flags, gt), "PATH",
      "ground truth: COCO JSON, or a folder of KITTI label files (annotations= where it fits the metric, else the labels of the valid= list)", NULL, 1, 0 },
    { "dt", OPTION_TEXT, offsetof(struct eval_flags, dt), "PATH",
      "detections of any detector: COCO results JSON, or a folder of KITTI files; needs -gt and no DATA CFG WEIGHTS", NULL, 1, 0 },
    { "json", OPTION_FLAG, offsetof(struct eval_flags, json), NULL, "print the figures as JSON", NULL, 1, 0 },
    { "thresh", OPTION_FLOAT, offsetof(struct eval_flags, thresh), "T", "least confidence of a detection (0.001)", NULL, 0, 1 },
    { "nms", OPTION_FLOAT, offsetof(struct eval_flags, nms), "T", "overlap from which the weaker of two boxes goes (0.45)", NULL, 0, 1 },
    { "iou_thresh", OPTION_FLOAT, offsetof(struct eval_flags, iou_thresh), "T", "overlap from which a detection is right, -metric voc (0.5)",
      NULL, 0, 1 },
    { "letter_box", OPTION_FLAG, offsetof(struct eval_flags, letter_box), NULL, "keep the pictures' aspect", NULL, 1, 0 },
    { "strict", OPTION_FLAG, offsetof(struct eval_flags, strict), NULL, "unknown cfg keys and bad labels are errors", NULL, 1, 0 },
    OPTION_END
};

/* --- Input -------------------------------------------------------------------------------------------------- */

static bool is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static enum status read_truth(struct ctx *ctx, const char *path, struct eval_set *set) {
    return is_folder(path) ? eval_read_kitti_truth(ctx, path, set) : eval_read_coco_truth(ctx, path, set);
}

static enum status read_detections(struct ctx *ctx, const char *path, struct eval_set *set) {
    int missing = 0;
    if (!is_folder(path)) return eval_read_coco_detections(ctx, path, set);
    TRY(eval_read_kitti_detections(ctx, path, set, &missing));
    if (missing) ctx_log(ctx, LOG_WARN, "%s: %d of %d pictures have no file there: taken as no detections", path, missing, set->n_image);
    return ST_OK;
}

static void show(void *user, int done, int total) { progress_show(user, done, total); }

/* What annotations= names knows crowds and outlines (a file, COCO) or difficulties (a folder, KITTI); labels know neither. */
static const char *own_truth(const struct data_options *data, int metric) {
    if (!data->annotations) return NULL;
    return metric == METRIC_COCO && !is_folder(data->annotations) ? data->annotations
         : metric == METRIC_KITTI && is_folder(data->annotations) ? data->annotations : NULL;
}

static enum status run_network(struct session *s, const struct eval_flags *flags, const struct arguments *words, struct eval_set *set) {
    struct text_list images = { 0 }, difficult = { 0 };
    struct session_request request = { .data = words->word[0], .cfg = words->word[1], .weights = words->word[2], .strict = flags->strict };
    struct progress progress = { 0 };
    enum status st = session_open(s, &request);
    if (st == ST_OK) st = session_valid(s, &images);
    const char *gt = flags->gt ? flags->gt : st == ST_OK ? own_truth(&s->data, flags->metric) : NULL;
    if (st == ST_OK && gt) st = read_truth(&s->ctx, gt, set);
    else if (st == ST_OK) st = session_check_set(s, &images, flags->strict ? DATASET_STRICT : DATASET_SCORE, NULL);
    if (st == ST_OK && s->data.difficult) st = list_read(&s->ctx, s->data.difficult, &difficult);
    if (st == ST_OK && difficult.n && difficult.n != images.n)
        st = ctx_fail(&s->ctx, ST_FORMAT, "%s: has %d entries, the list of images %d; they must go line by line", s->data.difficult, difficult.n,
                      images.n);
    if (st == ST_OK) st = net_bind(&s->ctx, s->net, s->be, NET_INFER, 1);
    if (st == ST_OK) {
        struct eval_run run = { .images = &images, .names = s->names.n ? &s->names : NULL, .difficult = difficult.n ? &difficult : NULL,
                                .detect = { .thresh = (float)flags->thresh, .nms = (float)flags->nms,
                                            .letter_box = flags->letter_box || s->net->opt.letter_box },
                                .have_truth = gt != NULL, .progress = show, .user = &progress };
        progress_start(&progress, "detecting", "images");
        st = eval_run(&s->ctx, s->net, &run, set);
        progress_end(&progress);
    }
    list_free(&images);
    list_free(&difficult);
    return st;
}

/* --- Output ------------------------------------------------------------------------------------------------- */

static void add_figure(cJSON *o, const char *name, double v) {
    if (v < 0) cJSON_AddNullToObject(o, name);
    else cJSON_AddNumberToObject(o, name, v);
}

static enum status print_json(struct ctx *ctx, cJSON *root) {
    char *text = cJSON_Print(root);
    cJSON_Delete(root);
    if (!text) return ctx_fail(ctx, ST_MEMORY, "out of memory for the figures");
    puts(text);
    free(text);
    return ST_OK;
}

static void print_number(double v, double scale) {
    if (v < 0) printf(" %8s", "-");
    else printf(" %8.3f", v * scale);
}

static enum status report_coco(struct ctx *ctx, const struct eval_set *set, bool json) {
    struct coco_result r;
    TRY(coco_evaluate(ctx, set, &r));
    enum status st = ST_OK;
    if (json) {
        cJSON *root = cJSON_CreateObject(), *list;
        for (int f = 0; f < COCO_FIGURES; ++f) add_figure(root, coco_figure_name[f], r.figure[f]);
        list = cJSON_AddArrayToObject(root, "classes");
        for (int c = 0; c < r.n_category; ++c) {
            cJSON *o = cJSON_CreateObject();
            cJSON_AddStringToObject(o, "name", set->category[c].name);
            for (int f = 0; f < COCO_FIGURES; ++f) add_figure(o, coco_figure_name[f], r.category[c][f]);
            cJSON_AddItemToArray(list, o);
        }
        st = print_json(ctx, root);
    } else {
        printf("%-20s", "class");
        for (int f = 0; f < COCO_FIGURES; ++f) printf(" %8s", coco_figure_name[f]);
        for (int c = 0; c <= r.n_category; ++c) {
            const double *figure = c < r.n_category ? r.category[c] : r.figure;
            if (figure[COCO_AP] < 0 && c < r.n_category) continue;
            printf("\n%-20s", c < r.n_category ? set->category[c].name : "all");
            for (int f = 0; f < COCO_FIGURES; ++f) print_number(figure[f], 1);
        }
        printf("\n");
    }
    coco_free(&r);
    return st;
}

static enum status report_kitti(struct ctx *ctx, const struct eval_set *set, bool json) {
    struct kitti_result r;
    TRY(kitti_evaluate(ctx, set, &r));
    if (json) {
        cJSON *root = cJSON_CreateObject();
        for (int c = 0; c < KITTI_CLASSES; ++c) {
            cJSON *class = cJSON_AddObjectToObject(root, kitti_class_name[c]);
            for (int l = 0; l < KITTI_LEVELS; ++l) {
                cJSON *level = cJSON_AddObjectToObject(class, kitti_level_name[l]);
                add_figure(level, "AP_R11", r.of[c][l].truths ? r.of[c][l].r11 : -1);
                add_figure(level, "AP_R40", r.of[c][l].truths ? r.of[c][l].r40 : -1);
                cJSON_AddNumberToObject(level, "truths", r.of[c][l].truths);
            }
        }
        return print_json(ctx, root);
    }
    printf("%-12s %-10s %9s %9s %8s\n", "class", "difficulty", "AP R40 %", "AP R11 %", "objects");
    for (int c = 0; c < KITTI_CLASSES; ++c)
        for (int l = 0; l < KITTI_LEVELS; ++l) {
            const int truths = r.of[c][l].truths;
            if (truths) printf("%-12s %-10s %9.2f %9.2f %8d\n", kitti_class_name[c], kitti_level_name[l], r.of[c][l].r40, r.of[c][l].r11, truths);
            else printf("%-12s %-10s %9s %9s %8d\n", kitti_class_name[c], kitti_level_name[l], "-", "-", 0);
        }
    return ST_OK;
}

static enum status report_voc(struct ctx *ctx, const struct eval_set *set, double overlap, bool json) {
    struct voc_result r;
    TRY(voc_evaluate(ctx, set, overlap, &r));
    enum status st = ST_OK;
    if (json) {
        cJSON *root = cJSON_CreateObject(), *list;
        add_figure(root, "mAP", r.area);
        add_figure(root, "mAP_11", r.ap11);
        list = cJSON_AddArrayToObject(root, "classes");
        for (int c = 0; c < r.n_category; ++c) {
            cJSON *o = cJSON_CreateObject();
            cJSON_AddStringToObject(o, "name", set->category[c].name);
            add_figure(o, "AP", r.category[c].area);
            add_figure(o, "AP_11", r.category[c].ap11);
            cJSON_AddNumberToObject(o, "truths", r.category[c].truths);
            cJSON_AddItemToArray(list, o);
        }
        st = print_json(ctx, root);
    } else {
        printf("%-20s %9s %12s %8s\n", "class", "AP", "AP (2007)", "objects");
        for (int c = 0; c < r.n_category; ++c)
            if (r.category[c].truths)
                printf("%-20s %9.3f %12.3f %8d\n", set->category[c].name, r.category[c].area, r.category[c].ap11, r.category[c].truths);
        printf("%-20s %9.3f %12.3f\n", "mean", r.area, r.ap11);
    }
    voc_free(&r);
    return st;
}

static enum status report(struct ctx *ctx, const struct eval_set *set, const struct eval_flags *flags) {
    int counted = 0;
    for (int i = 0; i < set->n_truth; ++i) counted += !set->truth[i].crowd && !set->truth[i].difficult;
    if (!counted) return ctx_fail(ctx, ST_FORMAT, "the ground truth holds no objects (%d pictures): nothing can be measured", set->n_image);
    switch (flags->metric) {
    case METRIC_KITTI: return report_kitti(ctx, set, flags->json);
    case METRIC_VOC: return report_voc(ctx, set, flags->iou_thresh, flags->json);
    default: return report_coco(ctx, set, flags->json);
    }
}

static int eval_command_run(const struct command *self, int argc, char **argv) {
    struct eval_flags flags = { .thresh = .001, .nms = .45, .iou_thresh = .5 };
    struct arguments words;
    struct eval_set set = { 0 };
    struct session s = { .ctx = console_ctx() };
    enum status st = options_parse(&s.ctx, argc, argv, self->options, &flags, &words, 3);
    if (st == ST_OK && flags.dt && (!flags.gt || words.n)) st = ctx_fail(&s.ctx, ST_USAGE, "detector eval: -dt goes with -gt and without %s", self->words);
    if (st == ST_OK && !flags.dt && words.n < 3) st = ctx_fail(&s.ctx, ST_USAGE, "detector eval: needs %s, or -gt and -dt", self->words);
    if (st == ST_OK && flags.dt) {
        st = read_truth(&s.ctx, flags.gt, &set);
        if (st == ST_OK) st = read_detections(&s.ctx, flags.dt, &set);
    } else if (st == ST_OK) {
        st = run_network(&s, &flags, &words, &set);
    }
    if (st == ST_OK) st = report(&s.ctx, &set, &flags);
    int status = st == ST_OK ? 0 : console_fail(&s.ctx);
    eval_set_free(&set);
    session_close(&s);
    return status;
}

const struct command detector_eval_command = { "detector",   "eval", "DATA CFG WEIGHTS", "COCO's, KITTI's or VOC's figures of a network or of result files",
                                               eval_options, eval_command_run };
