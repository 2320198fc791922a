/* detector valid: all detections of the validation list in the file layouts that benchmarks read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/options.h"
#include "cli/session.h"
#include "eval/detect.h"

struct valid_flags {
    const char *out;
    bool letter_box, dont_show, strict;
};

static const struct option valid_options[] = {
    { "out", OPTION_TEXT, offsetof(struct valid_flags, out), "NAME",
      "name of the result files (Darknet's of the eval= kind)", NULL, 1, 0 },
    { "letter_box", OPTION_FLAG, offsetof(struct valid_flags, letter_box), NULL,
      "keep the pictures' aspect (Darknet: only through the cfg)", NULL, 1, 0 },
    { "dont_show", OPTION_FLAG, offsetof(struct valid_flags, dont_show), NULL,
      "no window; there never is one here", NULL, 1, 0 },
    { "strict", OPTION_FLAG, offsetof(struct valid_flags, strict), NULL, "unknown cfg keys are errors", NULL,
      1, 0 },
    OPTION_END
};

struct writer;
struct format {
    const char *name, *default_out;
    int max_classes; /* of a fixed table; 0: any number */
    bool folder;     /* one file per picture, below PREFIX/NAME/data */
    bool per_class;  /* one file per class */
    const char *suffix;
    /* One box of class k in the picture: edges in pixels, clipped to it. */
    void (*box)(struct writer *, int k, float prob, const float edge[4]);
    bool json;
};

struct writer {
    struct session *s;
    const struct format *format;
    const char *path;    /* of the picture */
    char id[256];        /* its name up to the first dot */
    int number;          /* 1-based */
    struct io_out *file; /* one, or one per class */
    int n_file;
    bool any;
    char *dir;
};

/* Official ids of the 80 classes: 1..90 with gaps. */
static int coco_category(int k) {
    static const int gap[] = { 12, 26, 29, 30, 45, 66, 68, 69, 71, 83 };
    int id = k + 1;
    for (size_t i = 0; i < sizeof gap / sizeof *gap; ++i)
        if (id >= gap[i]) ++id;
    return id;
}

/* The last run of digits in the name: 139 for 000000000139 and 42 for COCO_val2014_000000000042. */
static long coco_image(const char *id) {
    size_t end = strlen(id);
    while (end && (id[end - 1] < '0' || id[end - 1] > '9')) --end;
    size_t start = end;
    while (start && id[start - 1] >= '0' && id[start - 1] <= '9') --start;
    return strtol(id + start, NULL, 10);
}

static void coco_box(struct writer *w, int k, float prob, const float e[4]) {
    fprintf(w->file->file,
            "%s{\"image_id\":%ld, \"category_id\":%d, \"bbox\":[%f, %f, %f, %f], \"score\":%f}",
            w->any ? ",\n" : "", coco_image(w->id), coco_category(k), (double)e[0], (double)e[1],
            (double)(e[2] - e[0]), (double)(e[3] - e[1]), (double)prob);
}

static void voc_box(struct writer *w, int k, float prob, const float e[4]) {
    fprintf(w->file[k].file, "%s %f %f %f %f %f\n", w->id, (double)prob, (double)e[0], (double)e[1],
            (double)e[2], (double)e[3]);
}

static void imagenet_box(struct writer *w, int k, float prob, const float e[4]) {
    fprintf(w->file->file, "%d %d %f %f %f %f %f\n", w->number, k + 1, (double)prob, (double)e[0],
            (double)e[1], (double)e[2], (double)e[3]);
}

static void kitti_box(struct writer *w, int k, float prob, const float e[4]) {
    static const char *const name[] = { "car", "pedestrian", "cyclist" };
    fprintf(w->file->file, "%s -1 -1 -10 %f %f %f %f -1 -1 -1 -1000 -1000 -1000 -10 %f\n", name[k],
            (double)e[0], (double)e[1], (double)e[2], (double)e[3], (double)prob);
}

static void bdd_box(struct writer *w, int k, float prob, const float e[4]) {
    static const char *const name[] = { "bike",  "bus",           "car",          "motor", "person",
                                        "rider", "traffic light", "traffic sign", "train", "truck" };
    FILE *f = w->file->file;
    fprintf(f, "%s\t{\n\t\t\"name\":\"", w->any ? ",\n" : "");
    text_write_json(f, w->id);
    fprintf(f, "\",\n\t\t\"category\":\"%s\",\n\t\t\"bbox\":[%f, %f, %f, %f],\n\t\t\"score\":%f\n\t}", name[k], (double)e[0],
            (double)e[1], (double)e[2], (double)e[3], (double)prob);
}

static const struct format formats[] = {
    /* the last one takes every other eval= name, as in Darknet */
    { .name = "coco",
      .default_out = "coco_results",
      .max_classes = 80,
      .suffix = ".json",
      .box = coco_box,
      .json = true },
    { .name = "bdd",
      .default_out = "bdd_results",
      .max_classes = 10,
      .suffix = ".json",
      .box = bdd_box,
      .json = true },
    { .name = "kitti",
      .default_out = "kitti_results",
      .max_classes = 3,
      .folder = true,
      .suffix = ".txt",
      .box = kitti_box },
    { .name = "imagenet",
      .default_out = "imagenet-detection",
      .max_classes = 200,
      .suffix = ".txt",
      .box = imagenet_box },
    { .name = "voc", .default_out = "comp4_det_test_", .per_class = true, .suffix = ".txt", .box = voc_box },
};

static const struct format *find_format(struct ctx *ctx, const char *eval) {
    const int n = sizeof formats / sizeof *formats;
    if (!eval) return &formats[n - 1];
    for (int i = 0; i < n; ++i)
        if (strcmp(formats[i].name, eval) == 0) return &formats[i];
    ctx_log(ctx, LOG_WARN, "eval=%s is none of coco, bdd, kitti, imagenet, voc: written as voc", eval);
    return &formats[n - 1];
}

/* --- Files ---------------------------------------------------------------------------------------------- */

static enum status create(struct writer *w, struct io_out *out, const char *a, const char *b, const char *c) {
    struct ctx *ctx = &w->s->ctx;
    size_t size = strlen(a) + strlen(b) + strlen(c) + strlen(w->format->suffix) + 3;
    char *path = mem_zero(ctx, size, 1);
    if (!path) return ST_MEMORY;
    snprintf(path, size, "%s/%s%s%s", a, b, c, w->format->suffix);
    enum status st = io_create(ctx, path, out);
    free(path);
    return st;
}

static enum status open_files(struct writer *w, const char *out) {
    struct session *s = w->s;
    const struct format *f = w->format;
    const char *prefix = s->data.results ? s->data.results : "results";
    if (!out) out = f->default_out;
    if (f->max_classes && s->classes > f->max_classes)
        return ctx_fail(&s->ctx, ST_USAGE, "eval=%s has %d classes, the network has %d", f->name,
                        f->max_classes, s->classes);
    if (f->per_class && s->names.n < s->classes)
        return ctx_fail(&s->ctx, ST_FORMAT,
                        "eval=voc names its files after the classes: names= must list all %d", s->classes);
    TRY(io_make_dirs(&s->ctx, prefix));
    w->n_file = f->per_class ? s->classes : 1;
    w->file = mem_zero(&s->ctx, (size_t)w->n_file, sizeof *w->file);
    if (!w->file) return ST_MEMORY;
    if (f->folder) {
        size_t size = strlen(prefix) + strlen(out) + 8;
        w->dir = mem_zero(&s->ctx, size, 1);
        if (!w->dir) return ST_MEMORY;
        snprintf(w->dir, size, "%s/%s/data", prefix, out);
        return io_make_dirs(&s->ctx, w->dir);
    }
    for (int i = 0; i < w->n_file; ++i)
        TRY(create(w, &w->file[i], prefix, out, f->per_class ? s->names.item[i] : ""));
    if (f->json) fputs("[\n", w->file->file);
    return ST_OK;
}

static enum status close_files(struct writer *w) {
    if (w->format->folder) return ST_OK;
    if (w->format->json) fputs("\n]\n", w->file->file);
    for (int i = 0; i < w->n_file; ++i) TRY(io_commit(&w->s->ctx, &w->file[i]));
    return ST_OK;
}

static void abandon_files(struct writer *w) {
    for (int i = 0; w->file && i < w->n_file; ++i) io_abort(&w->file[i]);
    free(w->file);
    free(w->dir);
}

/* --- Detections ----------------------------------------------------------------------------------------- */

static void set_id(struct writer *w, const char *path) {
    const char *start = path;
    for (const char *p = path; *p; ++p)
        if (*p == '/' || *p == '\\') start = p + 1;
    w->path = path;
    snprintf(w->id, sizeof w->id, "%.*s", (int)strcspn(start, "."), start);
}

static float at_most(float v, float limit) { return v > limit ? limit : v; }
static float at_least(float v, float limit) { return v < limit ? limit : v; }

/* Suppression in pixels of the picture, as Darknet does it here: distances weigh by the picture's shape. */
static void to_pixels(const struct session *s, struct detection_list *list, float width, float height) {
    struct head_info info = { 0 };
    const struct layer *head = &s->net->layer[s->last_head];
    head->ops->head->info(head, &info);
    for (int i = 0; i < list->n; ++i) {
        struct box *b = &list->item[i].box;
        *b = (struct box){ b->x * width, b->y * height, b->w * width, b->h * height };
    }
    detections_nms(list, 0.6f, info.nms_kind, (float)info.beta_nms);
}

/* VOC counts pixels from 1. */
static void write_boxes(struct writer *w, const struct detection_list *list, float width, float height) {
    float base = w->format->per_class ? 1 : 0;
    for (int i = 0; i < list->n; ++i) {
        const struct detection *d = &list->item[i];
        struct box b = d->box;
        float edge[4] = { at_least(b.x - b.w / 2 + base, base), at_least(b.y - b.h / 2 + base, base),
                          at_most(b.x + b.w / 2 + base, width), at_most(b.y + b.h / 2 + base, height) };
        for (int k = 0; k < list->classes; ++k) {
            if (!(d->prob[k] > 0)) continue;
            w->format->box(w, k, d->prob[k], edge);
            w->any = true;
        }
    }
}

static enum status one_image(struct writer *w, const struct detect_options *opt,
                             struct detection_list *list) {
    struct session *s = w->s;
    struct image im = { 0 };
    TRY(image_read(&s->ctx, w->path, s->net->opt.channels, &im));
    enum status st = detect_image(&s->ctx, s->net, &im, opt, list);
    if (st == ST_OK && w->format->folder) st = create(w, w->file, w->dir, w->id, "");
    if (st == ST_OK) {
        to_pixels(s, list, (float)im.w, (float)im.h);
        write_boxes(w, list, (float)im.w, (float)im.h);
    }
    if (st == ST_OK && w->format->folder) st = io_commit(&s->ctx, w->file);
    image_free(&im);
    return st;
}

static enum status all_images(struct writer *w, const struct text_list *images,
                              const struct detect_options *opt) {
    struct detection_list list = { 0 };
    struct progress progress = { 0 };
    enum status st = ST_OK;
    progress_start(&progress, "detecting", "images");
    for (int i = 0; i < images->n && st == ST_OK; ++i) {
        set_id(w, images->item[i]);
        w->number = i + 1;
        st = one_image(w, opt, &list);
        progress_show(&progress, i + 1, images->n);
    }
    progress_end(&progress);
    detections_free(&list);
    return st;
}

static enum status write_all(struct session *s, const struct valid_flags *flags,
                             const struct text_list *images, const char *weights) {
    struct writer w = { .s = s, .format = find_format(&s->ctx, s->data.eval) };
    struct detect_options opt = { .thresh = .001f,
                                  .letter_box = flags->letter_box || s->net->opt.letter_box,
                                  .class_map = s->map,
                                  .n_map = s->n_map };
    double start = io_seconds();
    enum status st = net_bind(&s->ctx, s->net, s->be, NET_INFER, 1);
    if (st == ST_OK) st = open_files(&w, flags->out);
    if (st == ST_OK) {
        session_print(s, weights);
        session_print_heads(s);
        fflush(stdout);
        st = all_images(&w, images, &opt);
    }
    if (st == ST_OK) st = close_files(&w);
    abandon_files(&w);
    if (st == ST_OK) fprintf(stderr, "Total Detection Time: %f Seconds\n", io_seconds() - start);
    return st;
}

/* Before a long run: one picture that is missing would end it without a result. */
static enum status check_pictures(struct session *s, const struct text_list *images) {
    int w, h, c;
    for (int i = 0; i < images->n; ++i) TRY(pixels_probe(&s->ctx, images->item[i], &w, &h, &c));
    return ST_OK;
}

static enum status work(struct session *s, const struct valid_flags *flags, const struct arguments *words) {
    struct text_list images = { 0 };
    struct session_request request = {
        .data = words->word[0], .cfg = words->word[1], .weights = words->word[2], .strict = flags->strict, .class_map = true
    };
    TRY(session_open(s, &request));
    TRY(session_valid(s, &images));
    enum status st = check_pictures(s, &images);
    if (st == ST_OK) st = write_all(s, flags, &images, words->word[2]);
    list_free(&images);
    return st;
}

static int valid_run(const struct command *self, int argc, char **argv) {
    struct valid_flags flags = { 0 };
    struct arguments words;
    struct session s = { .ctx = console_ctx() };
    enum status st = options_parse(&s.ctx, argc, argv, self->options, &flags, &words, 3);
    if (st == ST_OK && words.n < 3) st = ctx_fail(&s.ctx, ST_USAGE, "detector valid: needs %s", self->words);
    if (st == ST_OK) st = work(&s, &flags, &words);
    int status = st == ST_OK ? 0 : console_fail(&s.ctx);
    session_close(&s);
    return status;
}

const struct command detector_valid_command = {
    "detector",
    "valid",
    "DATA CFG WEIGHTS",
    "writes all detections of the valid= list for benchmarks (eval= coco, voc, kitti, ...)",
    valid_options,
    valid_run
};
