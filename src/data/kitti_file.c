#include "data/kitti_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

static void parse(struct kitti_line *k) {
    double angle;
    int at = 0, n = sscanf(k->text, "%63s %lf %lf %lf %lf %lf %lf %lf%n", k->type, &k->truncation, &k->occlusion, &angle, &k->left, &k->top,
                           &k->right, &k->bottom, &at);
    if (n < 8 || !isfinite(k->left) || !isfinite(k->top) || !isfinite(k->right) || !isfinite(k->bottom)) {
        k->wrong = "no KITTI line: a type and 14 numbers are needed";
        return;
    }
    int more = 0;
    for (char *end; more < 8; ++more, at = (int)(end - k->text)) {
        k->score = strtod(k->text + at, &end);
        if (end == k->text + at) break;
    }
    k->has_score = more == 8;
}

enum status kitti_each(struct ctx *ctx, const char *path, kitti_visit visit, void *user) {
    char *bytes;
    size_t size;
    int number = 0;
    TRY(io_read(ctx, path, &bytes, &size));
    enum status st = ST_OK;
    for (char *next = bytes, *text; st == ST_OK && (text = next) && *text;) {
        next = strchr(text, '\n');
        if (next) *next++ = '\0';
        ++number;
        if (text[strspn(text, " \t\r")] == '\0') continue;
        text[strcspn(text, "\r")] = '\0';
        struct kitti_line k = { .path = path, .text = text, .number = number };
        parse(&k);
        st = visit(ctx, user, &k);
    }
    free(bytes);
    return st;
}
