#include "eval/eval_run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *stem_of(const char *path, int *length) {
    const char *start = path;
    for (const char *p = path; *p; ++p)
        if (*p == '/' || *p == '\\') start = p + 1;
    const char *dot = strrchr(start, '.');
    *length = dot ? (int)(dot - start) : (int)strlen(start);
    return start;
}

static int find_image(const struct eval_set *s, const char *path, int hint) {
    int n, m;
    const char *stem = stem_of(path, &n);
    for (int k = 0; k < s->n_image; ++k) {
        int i = (hint + k) % s->n_image; /* lists mostly run in the same order */
        const char *other = stem_of(s->image[i].name, &m);
        if (n == m && !strncmp(stem, other, (size_t)n)) return i;
    }
    return -1;
}

/* Names in one line, the first few and how many more. */
struct roll { int n; char text[200]; };
static void roll_add(struct roll *r, const char *name) {
    size_t at = strlen(r->text);
    if (++r->n <= 8 && at + strlen(name) + 3 < sizeof r->text) snprintf(r->text + at, sizeof r->text - at, "%s%s", at ? ", " : "", name);
    else if (at + 5 < sizeof r->text && !(at > 3 && !strcmp(r->text + at - 3, "..."))) snprintf(r->text + at, sizeof r->text - at, " ...");
}

/* Classes of the ground truth that the network cannot find would score 0 in silence. */
static void tell_unmatched(struct ctx *ctx, const struct eval_set *s, const int *category, int classes, const struct roll *extra) {
    struct roll absent = { 0 };
    for (int c = 0; c < s->n_category; ++c) {
        bool matched = false, objects = false;
        for (int k = 0; k < classes && !matched; ++k) matched = category[k] == c;
        for (int i = 0; i < s->n_truth && !matched && !objects; ++i) objects = s->truth[i].category == c && !s->truth[i].crowd;
        if (objects && strcmp(s->category[c].name, "dontcare") != 0) roll_add(&absent, s->category[c].name);
    }
    if (extra->n) ctx_log(ctx, LOG_WARN, "%d of the network's %d classes are not in the ground truth, their detections are left out: %s", extra->n, classes, extra->text);
    if (absent.n)
        ctx_log(ctx, LOG_WARN, "%d classes of the ground truth are none of the network's, none of their objects can be found: %s; names= must use the same names",
                absent.n, absent.text);
}

static enum status map_classes(struct ctx *ctx, const struct eval_run *run, int classes, struct eval_set *s, int *category) {
    struct roll extra = { 0 };
    bool any = false;
    for (int k = 0; k < classes; ++k) {
        char number[16];
        snprintf(number, sizeof number, "%d", k);
        const char *name = run->names && k < run->names->n ? run->names->item[k] : number;
        category[k] = run->have_truth ? eval_find_category(s, name) : -1;
        if (category[k] < 0 && run->have_truth) roll_add(&extra, name);
        else if (category[k] < 0) TRY(eval_add_category(ctx, s, name, k, &category[k]));
        any = any || category[k] >= 0;
    }
    if (!any) return ctx_fail(ctx, ST_FORMAT, "none of the network's classes (%s) is in the ground truth; names= must use its names", extra.text);
    if (run->have_truth) tell_unmatched(ctx, s, category, classes, &extra);
    return ST_OK;
}

static enum status add_labels(struct ctx *ctx, const struct eval_run *run, int i, int image, int w, int h, int classes, struct eval_set *s) {
    struct truth_list truth = { 0 };
    enum status st = ST_OK;
    for (int hard = 0; hard < 2 && st == ST_OK; ++hard) {
        if (hard && !run->difficult) continue;
        st = labels_of(ctx, hard ? run->difficult->item[i] : run->images->item[i], classes, false, &truth);
        for (int k = 0; k < truth.n && st == ST_OK; ++k) {
            struct box b = truth.item[k].box;
            struct eval_truth t = { .image = image, .category = truth.item[k].class_id, .x = ((double)b.x - (double)b.w / 2) * w,
                                    .y = ((double)b.y - (double)b.h / 2) * h, .w = (double)b.w * w, .h = (double)b.h * h, .difficult = hard };
            t.area = t.w * t.h;
            st = eval_add_truth(ctx, s, &t);
        }
    }
    free(truth.item);
    return st;
}

static enum status add_detections(struct ctx *ctx, const struct detection_list *list, int image, int w, int h, const int *category,
                                  struct eval_set *s) {
    for (int i = 0; i < list->n; ++i) {
        const struct detection *d = &list->item[i];
        double left = fmax(0, ((double)d->box.x - (double)d->box.w / 2) * w), top = fmax(0, ((double)d->box.y - (double)d->box.h / 2) * h);
        double right = fmin(w, ((double)d->box.x + (double)d->box.w / 2) * w), bottom = fmin(h, ((double)d->box.y + (double)d->box.h / 2) * h);
        for (int k = 0; k < list->classes; ++k) {
            if (!(d->prob[k] > 0) || category[k] < 0 || right <= left || bottom <= top) continue;
            TRY(eval_add_detection(ctx, s, &(struct eval_detection){ image, category[k], left, top, right - left, bottom - top, (double)d->prob[k] }));
        }
    }
    return ST_OK;
}

static enum status one_image(struct ctx *ctx, struct net *net, const struct eval_run *run, int i, int classes, const int *category,
                             struct detection_list *list, struct eval_set *s) {
    const char *path = run->images->item[i];
    struct image im = { 0 };
    int image = run->have_truth ? find_image(s, path, i) : -1;
    if (run->have_truth && image < 0) return ctx_fail(ctx, ST_FORMAT, "%s: the ground truth has no picture of that name", path);
    TRY(image_read(ctx, path, net->opt.channels, &im));
    enum status st = detect_image(ctx, net, &im, &run->detect, list);
    if (st == ST_OK && !run->have_truth) st = eval_add_image(ctx, s, path, s->n_image, im.w, im.h, &image);
    if (st == ST_OK && !run->have_truth) st = add_labels(ctx, run, i, image, im.w, im.h, classes, s);
    if (st == ST_OK) st = add_detections(ctx, list, image, im.w, im.h, category, s);
    image_free(&im);
    return st;
}

enum status eval_run(struct ctx *ctx, struct net *net, const struct eval_run *run, struct eval_set *s) {
    struct detection_list list = { 0 };
    struct head_info info = { 0 };
    for (int i = 0; i < net->n; ++i)
        if (net->layer[i].ops->head) net->layer[i].ops->head->info(&net->layer[i], &info);
    if (info.classes < 1) return ctx_fail(ctx, ST_UNSUPPORTED, "%s: has no detection head", net->doc->path);
    int *category = mem_zero(ctx, (size_t)info.classes, sizeof *category);
    enum status st = category ? map_classes(ctx, run, info.classes, s, category) : ST_MEMORY;
    for (int i = 0; i < run->images->n && st == ST_OK; ++i) {
        st = one_image(ctx, net, run, i, info.classes, category, &list, s);
        if (run->progress) run->progress(run->user, i + 1, run->images->n);
    }
    detections_free(&list);
    free(category);
    return st;
}
