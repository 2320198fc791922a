#include "recipe/score_images.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "eval/classify.h"
#include "eval/detect.h"

/* Pictures are read a few at a time, one per processor. */
enum { READ_AT_ONCE = 16 };

struct reading {
    struct ctx ctx;
    struct image input;
    struct truth_list truth;
    float *target;
};

struct score_images {
    const struct net *net;
    const struct text_list *list;
    int n, classes, *chosen;
    const struct text_list *labels; /* of a classifier, or NULL */
    struct reading reading[READ_AT_ONCE];
    int first, n_read;              /* images first .. first + n_read - 1 are read */
};

static int by_value(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

/* A seeded draw without repetition, then in list order, so that the disk is read forwards. */
static void choose(struct score_images *s, int total, uint64_t seed, int *pool) {
    struct rng r = rng_stream(seed, 0x696d6773, 0);
    for (int i = 0; i < total; ++i) pool[i] = i;
    for (int i = 0; i < s->n; ++i) {
        int k = s->n == total ? i : rng_int(&r, i, total - 1), t = pool[i];
        pool[i] = pool[k];
        pool[k] = t;
        s->chosen[i] = pool[i];
    }
    qsort(s->chosen, (size_t)s->n, sizeof *s->chosen, by_value);
}

/* Before the long part: every picture readable, a label file for each; bad lines are told and left out. */
static enum status check(struct ctx *ctx, const struct score_images *s) {
    struct text_list chosen = { .n = s->n, .item = mem_zero(ctx, (size_t)s->n, sizeof *chosen.item) };
    struct dataset_report r;
    if (!chosen.item) return ST_MEMORY;
    for (int i = 0; i < s->n; ++i) chosen.item[i] = s->list->item[s->chosen[i]];
    enum status st = dataset_survey(ctx, &chosen, s->classes, &r);
    free(chosen.item);
    TRY(st);
    st = dataset_usable(ctx, &r, DATASET_TRAIN);
    if (st == ST_OK && r.unreadable)
        st = ctx_fail(ctx, ST_FORMAT, "%d of the %d images to score on cannot be read; the first: %.*s", r.unreadable, r.images,
                      (int)strcspn(r.text, "\n"), r.text);
    if (st == ST_OK && r.no_labels) {
        const char *line = strstr(r.text, "label file missing"); /* the first of them */
        while (line > r.text && line[-1] != '\n') --line;
        st = ctx_fail(ctx, ST_IO, "%d of the %d images to score on have no label file; the first: %.*s", r.no_labels, r.images,
                      (int)strcspn(line, "\n"), line);
    }
    if (st == ST_OK && r.bad_lines && !r.boxes)
        st = ctx_fail(ctx, ST_FORMAT, "none of the %lld lines in the label files can be used; the first: %.*s", r.bad_lines, (int)strcspn(r.text, "\n"), r.text);
    if (st == ST_OK) st = dataset_tell(ctx, &r, NULL);
    if (st == ST_OK && !r.boxes) ctx_log(ctx, LOG_WARN, "none of the %d images to score on holds a labelled object: the background alone decides", r.images);
    dataset_report_free(&r);
    return st;
}

static enum status draw(struct ctx *ctx, const struct net *net, const struct text_list *list, int count, uint64_t seed, int classes,
                        struct score_images **out) {
    *out = NULL;
    if (list->n < 1) return ctx_fail(ctx, ST_USAGE, "the image list is empty");
    struct score_images *s = mem_zero(ctx, 1, sizeof *s);
    int *pool = mem_zero(ctx, (size_t)list->n, sizeof *pool);
    if (s) {
        s->net = net;
        s->list = list;
        s->classes = classes;
        s->n = count > 0 && count < list->n ? count : list->n;
        s->chosen = mem_zero(ctx, (size_t)s->n, sizeof *s->chosen);
    }
    if (ctx->code == ST_OK) choose(s, list->n, seed, pool);
    free(pool);
    *out = s;
    if (ctx->code == ST_OK) return ST_OK;
    score_images_close(s);
    *out = NULL;
    return ctx->code;
}

enum status score_images_open(struct ctx *ctx, const struct net *net, const struct text_list *list, int count, uint64_t seed, int classes,
                              struct score_images **out) {
    TRY(draw(ctx, net, list, count, seed, classes, out));
    check(ctx, *out);
    if (ctx->code == ST_OK) return ST_OK;
    score_images_close(*out);
    *out = NULL;
    return ctx->code;
}

/* Labels are relative to the picture; a letterboxed picture covers only part of the input. */
static void into_input(struct truth_list *truth, const struct image *picture, int w, int h) {
    int nw = w, nh = h;
    if ((float)w / (float)picture->w < (float)h / (float)picture->h) nh = picture->h * w / picture->w;
    else nw = picture->w * h / picture->h;
    for (int i = 0; i < truth->n; ++i) {
        struct box *b = &truth->item[i].box;
        b->x = (b->x * (float)nw + (float)((w - nw) / 2)) / (float)w;
        b->y = (b->y * (float)nh + (float)((h - nh) / 2)) / (float)h;
        b->w *= (float)nw / (float)w;
        b->h *= (float)nh / (float)h;
    }
}

/* As `classifier valid` sees it. */
static enum status read_class(const struct score_images *s, struct reading *r, const char *path, const struct image *picture) {
    struct image shorter = { 0 };
    int w = s->net->opt.width, h = s->net->opt.height;
    enum status st = image_resize_shorter(&r->ctx, picture, w, &shorter);
    if (st == ST_OK) st = image_crop(&r->ctx, &shorter, (shorter.w - w) / 2, (shorter.h - h) / 2, w, h, &r->input);
    image_free(&shorter);
    for (int k = 0; k < s->labels->n; ++k) r->target[k] = 0;
    r->target[classify_label(s->labels, path)] = 1;
    return st;
}

static enum status read_boxes(const struct score_images *s, struct reading *r, const char *path, const struct image *picture) {
    const struct net_options *opt = &s->net->opt;
    TRY(labels_of(&r->ctx, path, s->classes, false, &r->truth));
    TRY(detect_input(&r->ctx, s->net, picture, opt->letter_box, &r->input));
    if (opt->letter_box) into_input(&r->truth, picture, opt->width, opt->height);
    return ST_OK;
}

static enum status read_one(const struct score_images *s, struct reading *r, int i) {
    const char *path = score_images_path(s, i);
    struct image picture = { 0 };
    ctx_clear(&r->ctx);
    image_free(&r->input);
    TRY(image_read(&r->ctx, path, s->net->opt.channels, &picture));
    enum status st = s->labels ? read_class(s, r, path, &picture) : read_boxes(s, r, path, &picture);
    image_free(&picture);
    return st;
}

static enum status get(void *user, struct ctx *ctx, int i, struct score_image *out) {
    struct score_images *s = user;
    if (i < s->first || i >= s->first + s->n_read) {
        s->first = i;
        s->n_read = s->n - i < READ_AT_ONCE ? s->n - i : READ_AT_ONCE;
#pragma omp parallel for schedule(dynamic)
        for (int k = 0; k < s->n_read; ++k) (void)read_one(s, &s->reading[k], i + k);
    }
    const struct reading *r = &s->reading[i - s->first];
    if (r->ctx.code != ST_OK) return ctx_fail(ctx, r->ctx.code, "%s", r->ctx.error);
    *out = (struct score_image){ .x = r->input.data, .truth = r->truth, .target = r->target };
    return ST_OK;
}

enum status score_images_open_classes(struct ctx *ctx, const struct net *net, const struct text_list *list, const struct text_list *labels, int count,
                                      uint64_t seed, struct score_images **out) {
    TRY(draw(ctx, net, list, count, seed, labels->n, out));
    struct score_images *s = *out;
    s->labels = labels;
    for (int k = 0; k < READ_AT_ONCE && ctx->code == ST_OK; ++k)
        s->reading[k].target = mem_zero(ctx, (size_t)labels->n, sizeof *s->reading[k].target);
    for (int i = 0; i < s->n && ctx->code == ST_OK; ++i)
        if (classify_label(labels, score_images_path(s, i)) < 0)
            ctx_fail(ctx, ST_FORMAT, "%s: no label occurs in this path, so its class is not known", score_images_path(s, i));
    if (ctx->code == ST_OK) return ST_OK;
    score_images_close(s);
    *out = NULL;
    return ctx->code;
}

enum status score_images_again(struct ctx *ctx, const struct score_images *s, struct score_images **out) {
    struct score_images *copy = *out = mem_zero(ctx, 1, sizeof *copy);
    if (!copy) return ST_MEMORY;
    *copy = *s;
    copy->n_read = 0;
    copy->chosen = mem_zero(ctx, (size_t)s->n, sizeof *copy->chosen);
    if (copy->chosen) memcpy(copy->chosen, s->chosen, (size_t)s->n * sizeof *copy->chosen);
    for (int k = 0; k < READ_AT_ONCE; ++k) {
        copy->reading[k] = (struct reading){ .ctx.code = ST_OK };
        if (s->labels) copy->reading[k].target = mem_zero(ctx, (size_t)s->labels->n, sizeof *copy->reading[k].target);
    }
    return ctx->code;
}

struct score_source score_images_source(struct score_images *s) {
    return (struct score_source){ .count = s->n, .target_size = s->labels ? s->labels->n : 0, .get = get, .user = s };
}
int score_images_count(const struct score_images *s) { return s->n; }
const char *score_images_path(const struct score_images *s, int i) { return s->list->item[s->chosen[i]]; }

void score_images_close(struct score_images *s) {
    if (!s) return;
    for (int k = 0; k < READ_AT_ONCE; ++k) {
        image_free(&s->reading[k].input);
        free(s->reading[k].truth.item);
        free(s->reading[k].target);
    }
    free(s->chosen);
    free(s);
}
