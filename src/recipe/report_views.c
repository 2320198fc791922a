#include "recipe/report_views.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum status views_open(struct ctx *ctx, int images, float thresh, const volatile int *stop, struct views *v) {
    *v = (struct views){ .n = images, .thresh = thresh, .stop = stop, .image = mem_zero(ctx, (size_t)images, sizeof *v->image) };
    return v->image ? ST_OK : ST_MEMORY;
}

void views_close(struct views *v) {
    for (int i = 0; v->image && i < v->n; ++i) {
        free(v->image[i].truth.item);
        for (int s = 0; s < REPORT_SIDES; ++s) free(v->image[i].seen[s].item);
    }
    free(v->image);
    v->image = NULL;
}

static enum status add(struct ctx *ctx, struct view_list *l, struct box box, int class_id, float prob) {
    TRY(mem_grow(ctx, &l->item, &l->cap, (size_t)l->n + 1, sizeof *l->item));
    l->item[l->n++] = (struct view_box){ box, class_id, prob, VIEW_WRONG };
    return ST_OK;
}

static int by_prob(const void *a, const void *b) {
    const struct view_box *p = a, *q = b;
    return (p->prob < q->prob) - (p->prob > q->prob);
}

enum status views_add(struct ctx *ctx, void *user, int image, const struct detection_list *list, const struct truth_list *truth) {
    struct views *v = user;
    struct view *at = &v->image[image];
    struct view_list *seen = &at->seen[v->side];
    if (v->stop && *v->stop) return ctx_fail(ctx, ST_INTERRUPTED, "interrupted: no report was written");
    for (int t = 0; t < truth->n && v->side == 0; ++t) TRY(add(ctx, &at->truth, truth->item[t].box, truth->item[t].class_id, 1));
    for (int i = 0; i < list->n; ++i)
        for (int k = 0; k < list->classes; ++k)
            if (list->item[i].prob[k] > v->thresh) TRY(add(ctx, seen, list->item[i].box, k, list->item[i].prob[k]));
    if (seen->n) qsort(seen->item, (size_t)seen->n, sizeof *seen->item, by_prob);
    return ST_OK;
}

/* Which truth each detection finds, surest first: the one of its class that it overlaps best, if nobody has found it; owner[t]: its
 * detection or -1. */
static void find(const struct view_list *seen, const struct view_list *truth, double iou_thresh, int *owner) {
    for (int t = 0; t < truth->n; ++t) owner[t] = -1;
    for (int i = 0; i < seen->n; ++i) {
        double best = iou_thresh;
        int of = -1;
        for (int t = 0; t < truth->n; ++t) {
            if (owner[t] >= 0 || truth->item[t].class_id != seen->item[i].class_id) continue;
            double iou = box_iou(seen->item[i].box, truth->item[t].box);
            if (iou > best) best = iou, of = t;
        }
        if (of >= 0) owner[of] = i;
    }
}

static void match_truths(struct view *v, double iou_thresh, int *before, int *after) {
    find(&v->seen[REPORT_BEFORE], &v->truth, iou_thresh, before);
    find(&v->seen[REPORT_AFTER], &v->truth, iou_thresh, after);
    for (int t = 0; t < v->truth.n; ++t) {
        enum view_state state = before[t] >= 0 ? after[t] >= 0 ? VIEW_BOTH : VIEW_LOST : after[t] >= 0 ? VIEW_GAINED : VIEW_MISSED;
        v->truth.item[t].state = state;
        if (before[t] >= 0) v->seen[REPORT_BEFORE].item[before[t]].state = state;
        if (after[t] >= 0) v->seen[REPORT_AFTER].item[after[t]].state = state;
        v->lost += state == VIEW_LOST;
        v->gained += state == VIEW_GAINED;
    }
}

/* Nobody knows what is right: what one sees and the other does not. */
static void match_each_other(struct view *v, double iou_thresh, int *owner) {
    struct view_list *before = &v->seen[REPORT_BEFORE], *after = &v->seen[REPORT_AFTER];
    find(after, before, iou_thresh, owner);
    for (int i = 0; i < after->n; ++i) after->item[i].state = VIEW_GAINED;
    for (int i = 0; i < before->n; ++i) {
        before->item[i].state = owner[i] >= 0 ? VIEW_BOTH : VIEW_LOST;
        if (owner[i] >= 0) after->item[owner[i]].state = VIEW_BOTH;
        else ++v->lost;
    }
    for (int i = 0; i < after->n; ++i) v->gained += after->item[i].state == VIEW_GAINED;
}

enum status views_match(struct ctx *ctx, struct views *v, double iou_thresh, bool judged) {
    for (int i = 0; i < v->n && ctx->code == ST_OK; ++i) {
        struct view *at = &v->image[i];
        int most = judged ? at->truth.n : at->seen[REPORT_BEFORE].n;
        int *a = mem_zero(ctx, (size_t)most, sizeof *a), *b = mem_zero(ctx, (size_t)most, sizeof *b);
        if (a && b && judged) match_truths(at, iou_thresh, a, b);
        else if (a && b) match_each_other(at, iou_thresh, a);
        free(a), free(b);
    }
    return ctx->code;
}

int views_choose(const struct views *v, int count, int *chosen, bool *changed) {
    int n = count < v->n ? count : v->n, taken = 0;
    char *use = calloc((size_t)v->n + 1, 1); /* 1: evenly, 2: for its changes */
    if (!use) return 0;
    for (; taken < (n + 1) / 2; ++taken) {
        int best = -1, most = 0;
        for (int i = 0; i < v->n; ++i) {
            int changes = v->image[i].lost + v->image[i].gained;
            if (!use[i] && changes > most) most = changes, best = i;
        }
        if (best < 0) break;
        use[best] = 2;
    }
    for (int k = 0, rest = n - taken; k < rest; ++k) { /* the next free one behind each even step, around the end */
        int i = (int)((double)v->n * (k + .5) / rest);
        while (use[i]) i = (i + 1) % v->n;
        use[i] = 1;
    }
    n = 0;
    for (int i = 0; i < v->n; ++i)
        if (use[i]) chosen[n] = i, changed[n] = use[i] == 2, ++n;
    free(use);
    return n;
}

/* --- The record ------------------------------------------------------------------------------------------- */

static void add_boxes(cJSON *to, const char *name, const struct view_list *l, const struct text_list *names, bool scores) {
    static const char *const state[] = { "both", "lost", "gained", "missed", "wrong" };
    cJSON *list = cJSON_AddArrayToObject(to, name);
    for (int i = 0; i < l->n; ++i) {
        const struct view_box *b = &l->item[i];
        double side[] = { (double)b->box.x, (double)b->box.y, (double)b->box.w, (double)b->box.h };
        char number[16];
        cJSON *o = cJSON_CreateObject(), *box;
        cJSON_AddItemToArray(list, o);
        snprintf(number, sizeof number, "%d", b->class_id);
        cJSON_AddNumberToObject(o, "class", b->class_id);
        cJSON_AddStringToObject(o, "name", b->class_id < names->n ? names->item[b->class_id] : number);
        if (scores) cJSON_AddNumberToObject(o, "score", (double)b->prob);
        cJSON_AddStringToObject(o, "state", state[b->state]);
        box = cJSON_AddArrayToObject(o, "box");
        for (int k = 0; k < 4; ++k) cJSON_AddItemToArray(box, cJSON_CreateNumber(side[k]));
    }
}

cJSON *views_json(const struct view *v, const char *path, int w, int h, bool changed, const struct text_list *names) {
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "image", path);
    cJSON_AddNumberToObject(o, "width", w);
    cJSON_AddNumberToObject(o, "height", h);
    cJSON_AddStringToObject(o, "chosen", changed ? "most changes" : "evenly");
    cJSON_AddNumberToObject(o, "lost", v->lost);
    cJSON_AddNumberToObject(o, "gained", v->gained);
    add_boxes(o, "truth", &v->truth, names, false);
    add_boxes(o, "before", &v->seen[REPORT_BEFORE], names, true);
    add_boxes(o, "after", &v->seen[REPORT_AFTER], names, true);
    return o;
}
