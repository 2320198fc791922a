#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "data/dataset.h"
#include "vision/image.h"

static enum status add_line(struct ctx *ctx, struct dataset_report *r, const char *text) {
    size_t n = strlen(text);
    TRY(mem_grow(ctx, &r->text, &r->text_cap, r->text_size + n + 2, 1));
    memcpy(r->text + r->text_size, text, n);
    memcpy(r->text + r->text_size + n, "\n", 2);
    r->text_size += n + 1;
    return ST_OK;
}

static enum status add_issues(struct ctx *ctx, struct dataset_report *r, const char *path,
                              const struct label_issues *issues) {
    char line[sizeof ctx->error];
    for (int i = 0; i < issues->n; ++i) {
        snprintf(line, sizeof line, "%s:%d: %s", path, issues->item[i].line, issues->item[i].text);
        TRY(add_line(ctx, r, line));
    }
    r->bad_lines += issues->n;
    r->bad_files += issues->n > 0;
    return ST_OK;
}

static enum status survey_labels(struct ctx *ctx, const char *image, int classes, struct truth_list *truth,
                                 struct label_issues *issues, struct dataset_report *r) {
    char line[sizeof ctx->error];
    char *path = label_path(ctx, image);
    if (!path) return ctx->code;
    enum status st = ST_OK;
    truth->n = issues->n = 0;
    if (!io_exists(path)) {
        ++r->no_labels;
        snprintf(line, sizeof line, "%s: label file missing (of %s); an image without objects needs an empty one", path, image);
        st = add_line(ctx, r, line);
    } else {
        struct ctx own = { 0 };
        st = labels_read(&own, path, classes, truth, issues);
        if (st == ST_OK) st = add_issues(ctx, r, path, issues);
        else if (st == ST_MEMORY) st = ctx_fail(ctx, st, "%s", own.error);
        else ++r->bad_files, st = add_line(ctx, r, own.error);
    }
    free(path);
    return st;
}

static enum status survey_image(struct ctx *ctx, const char *image, struct dataset_report *r) {
    struct ctx own = { 0 };
    int w, h, c;
    if (pixels_probe(&own, image, &w, &h, &c) == ST_OK) return ST_OK;
    ++r->unreadable;
    return add_line(ctx, r, own.error);
}

enum status dataset_survey(struct ctx *ctx, const struct text_list *images, int classes, struct dataset_report *r) {
    struct truth_list truth = { 0, 0, NULL };
    struct label_issues issues = { 0, 0, NULL };
    *r = (struct dataset_report){ .images = images->n };
    r->per_class = mem_zero(ctx, (size_t)(classes > 0 ? classes : 0), sizeof *r->per_class);
    enum status st = r->per_class ? ST_OK : ST_MEMORY;
    for (int i = 0; i < images->n && st == ST_OK; ++i) st = survey_image(ctx, images->item[i], r);
    for (int i = 0; i < images->n && st == ST_OK; ++i) {
        st = survey_labels(ctx, images->item[i], classes, &truth, &issues, r);
        if (st != ST_OK) break;
        r->boxes += truth.n;
        r->background += truth.n == 0;
        for (int k = 0; k < truth.n; ++k) {
            int id = truth.item[k].class_id;
            if (id >= 0 && id < classes) ++r->per_class[id];
        }
    }
    free(truth.item);
    free(issues.item);
    if (st != ST_OK) dataset_report_free(r);
    return st;
}

void dataset_report_free(struct dataset_report *r) {
    free(r->per_class);
    free(r->text);
    *r = (struct dataset_report){ 0 };
}

/* The length of the file's name in front of ":12: reason" or ": reason". */
static size_t name_length(const char *line) {
    const char *colon = strstr(line, ": ");
    size_t n = colon ? (size_t)(colon - line) : strlen(line), digits = n;
    while (digits > 0 && line[digits - 1] >= '0' && line[digits - 1] <= '9') --digits;
    return digits > 0 && digits < n && line[digits - 1] == ':' ? digits - 1 : n;
}

enum status dataset_tell(struct ctx *ctx, const struct dataset_report *r, const char *path) {
    enum { SHOWN = 10 };
    const char *line = r->text;
    int files = 0;
    if (!r->text) return ST_OK;
    while (line && *line) {
        size_t name = name_length(line), n = strcspn(line, "\n");
        const char *next = line + n + 1;
        int more = 0;
        while (*next && !strncmp(next, line, name) && next[name] == ':') next = strchr(next, '\n') + 1, ++more;
        if (++files <= SHOWN && more)
            ctx_log(ctx, LOG_WARN, "%.*s (and %d more in this file)", (int)n, line, more);
        else if (files <= SHOWN)
            ctx_log(ctx, LOG_WARN, "%.*s", (int)n, line);
        line = next;
    }
    if (files > SHOWN) ctx_log(ctx, LOG_WARN, "... and %d more files", files - SHOWN);
    ctx_log(ctx, LOG_WARN,
            "%d of %d images cannot be read, %d have no label file, %d label files hold %lld bad lines; they are left out%s%s",
            r->unreadable, r->images, r->no_labels, r->bad_files, r->bad_lines, path ? "; all of them stand in " : "",
            path ? path : "");
    if (!path) return ST_OK;
    struct ctx own = { 0 };
    if (io_write(&own, path, r->text, r->text_size) != ST_OK) ctx_log(ctx, LOG_WARN, "%s", own.error);
    return ST_OK;
}

void dataset_describe(struct ctx *ctx, const struct dataset_report *r, int classes, const struct text_list *names) {
    enum { WIDTH = 100 };
    char line[WIDTH + 200];
    size_t at = 0;
    int absent = 0;
    for (int k = 0; k < classes; ++k) {
        if (!r->per_class[k]) {
            ++absent;
            continue;
        }
        char number[16];
        snprintf(number, sizeof number, "%d", k);
        at += (size_t)snprintf(line + at, sizeof line - at, "%s%.60s %lld", at ? ", " : "  boxes: ",
                               names && k < names->n ? names->item[k] : number, r->per_class[k]);
        if (at < WIDTH) continue;
        ctx_log(ctx, LOG_INFO, "%s", line);
        at = 0;
    }
    if (at) ctx_log(ctx, LOG_INFO, "%s", line);
    if (absent) ctx_log(ctx, LOG_INFO, "  %d of %d classes have no box", absent, classes);
}

enum status dataset_usable(struct ctx *ctx, const struct dataset_report *r, enum dataset_use use) {
    int n = (int)strcspn(r->text ? r->text : "", "\n");
    /* Images stand first in the text. */
    if ((r->images > 1 || use == DATASET_TRAIN) && r->images > 0 && r->unreadable == r->images)
        return ctx_fail(ctx, ST_FORMAT, "none of the %d images can be read; the first: %.*s", r->images, n, r->text);
    if (r->unreadable > 1 && use != DATASET_TRAIN)
        return ctx_fail(ctx, ST_FORMAT, "%d of the %d images cannot be read; the first: %.*s", r->unreadable, r->images, n, r->text);
    if (r->text && (use == DATASET_STRICT || (use == DATASET_SCORE && r->unreadable)))
        return ctx_fail(ctx, ST_FORMAT, "%.*s", n, r->text);
    if (r->images > 0 && r->no_labels == r->images)
        return ctx_fail(ctx, ST_FORMAT, "none of the %d images has a label file; the first: %.*s", r->images, n, r->text);
    if (use == DATASET_SCORE && r->boxes == 0 && r->bad_lines)
        return ctx_fail(ctx, ST_FORMAT, "none of the %lld lines in the label files can be used; the first: %.*s", r->bad_lines, n, r->text);
    if (use == DATASET_SCORE && r->boxes == 0)
        return ctx_fail(ctx, ST_FORMAT, "the label files of the %d images hold no object: nothing can be measured", r->images);
    return ST_OK;
}

enum status dataset_check(struct ctx *ctx, const struct text_list *images, int classes, enum dataset_use use,
                          struct dataset_report *counts) {
    struct dataset_report r;
    TRY(dataset_survey(ctx, images, classes, &r));
    enum status st = dataset_usable(ctx, &r, use);
    if (counts) {
        *counts = r;
        counts->text = NULL, counts->text_size = counts->text_cap = 0;
        counts->per_class = NULL;
    }
    dataset_report_free(&r);
    return st;
}
