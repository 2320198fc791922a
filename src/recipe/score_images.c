#include "recipe/score_images.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "eval/detect.h"

struct score_images {
    const struct net *net;
    const struct text_list *list;
    int n, classes, *chosen;
    struct image input;
    struct truth_list truth;
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

enum status score_images_open(struct ctx *ctx, const struct net *net, const struct text_list *list, int count, uint64_t seed, int classes,
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
    if (ctx->code == ST_OK) check(ctx, s);
    if (ctx->code != ST_OK) {
        score_images_close(s);
        return ctx->code;
    }
    *out = s;
    return ST_OK;
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

static enum status get(void *user, struct ctx *ctx, int i, struct score_image *out) {
    struct score_images *s = user;
    const char *path = s->list->item[s->chosen[i]];
    struct image picture;
    enum status st = labels_of(ctx, path, s->classes, false, &s->truth);
    if (st == ST_OK) st = image_read(ctx, path, s->net->opt.channels, &picture);
    if (st != ST_OK) return st;
    image_free(&s->input);
    st = detect_input(ctx, s->net, &picture, s->net->opt.letter_box, &s->input);
    if (st == ST_OK && s->net->opt.letter_box) into_input(&s->truth, &picture, s->net->opt.width, s->net->opt.height);
    image_free(&picture);
    out->x = s->input.data;
    out->truth = s->truth;
    return st;
}

struct score_source score_images_source(struct score_images *s) { return (struct score_source){ .count = s->n, .get = get, .user = s }; }
int score_images_count(const struct score_images *s) { return s->n; }
const char *score_images_path(const struct score_images *s, int i) { return s->list->item[s->chosen[i]]; }

void score_images_close(struct score_images *s) {
    if (!s) return;
    image_free(&s->input);
    free(s->truth.item);
    free(s->chosen);
    free(s);
}
