/* KITTI: a folder with label_2/NAME.txt and image_2/NAME.png (or .jpg), or one that holds such a folder as training/. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "data/import_set.h"
#include "data/kitti_file.h"

struct reading { struct import_set *set; int image; };

static enum status add_line(struct ctx *ctx, void *user, const struct kitti_line *k) {
    const struct reading *r = user;
    if (k->wrong) return import_note(ctx, r->set, ISSUE_BAD_BOX, "%s:%d: %s", k->path, k->number, k->wrong);
    struct import_box b = { .image = r->image, .x = k->left, .y = k->top, .w = k->right - k->left, .h = k->bottom - k->top };
    b.area = b.w * b.h;
    TRY(import_add_type(ctx, r->set, k->type, 0, &b.type));
    return import_add_box(ctx, r->set, &b);
}

static enum status read_one(struct ctx *ctx, const char *labels, const char *images, const char *file, struct import_set *s) {
    char stem[256], *path = import_path(ctx, labels, file), *picture = NULL;
    snprintf(stem, sizeof stem, "%.*s", (int)strlen(file) - 4, file);
    struct reading r = { s, 0 };
    enum status st = path ? import_find_picture(ctx, images, stem, &picture) : ST_MEMORY;
    if (st == ST_OK && !picture) st = import_note(ctx, s, ISSUE_NO_PICTURE, "%s: there is no picture of that name in %s", path, images);
    else if (st == ST_OK) {
        st = import_add_image(ctx, s, picture, stem, &(struct import_image){ .labels = path }, &r.image);
        if (st == ST_OK) st = kitti_each(ctx, path, add_line, &r);
    }
    free(path), free(picture);
    return st;
}

/* Pictures that nobody labelled would teach that there is nothing: they are not in the set. */
static enum status count_unlabelled(struct ctx *ctx, const char *labels, const char *images, struct import_set *s) {
    struct dirent **entry;
    int n = scandir(images, &entry, NULL, alphasort);
    enum status st = ST_OK;
    for (int i = 0; i < n; ++i) {
        char stem[300], *dot, *path;
        snprintf(stem, sizeof stem, "%.250s", entry[i]->d_name);
        dot = strrchr(stem, '.');
        if (dot && *stem != '.' && st == ST_OK) { /* not the folder itself, nor hidden files */
            memcpy(dot, ".txt", 5);
            path = import_path(ctx, labels, stem);
            if (!path) st = ST_MEMORY;
            else if (!io_exists(path)) st = import_note(ctx, s, ISSUE_NO_LABELS, "%s/%s: has no label file", images, entry[i]->d_name);
            free(path);
        }
        free(entry[i]);
    }
    if (n >= 0) free(entry);
    return st;
}

static enum status read_folder(struct ctx *ctx, const struct import_options *o, const char *labels, const char *images, struct import_set *s) {
    struct dirent **entry;
    int n = scandir(labels, &entry, NULL, alphasort);
    if (n < 0 || !import_is_folder(images)) {
        if (n >= 0) free(entry);
        return ctx_fail(ctx, ST_FORMAT, "%s: no KITTI data: it needs the folders label_2 and image_2%s", o->source,
                        n < 0 ? "" : " (-images names another folder of pictures)");
    }
    enum status st = ST_OK;
    for (int i = 0; i < n; ++i) {
        if (st == ST_OK && text_ends_with(entry[i]->d_name, ".txt") && strlen(entry[i]->d_name) > 4)
            st = read_one(ctx, labels, images, entry[i]->d_name, s);
        if (st == ST_OK) st = import_step(ctx, o, "reading labels", i + 1, n);
        free(entry[i]);
    }
    free(entry);
    return st == ST_OK ? count_unlabelled(ctx, labels, images, s) : st;
}

char *import_kitti_root(struct ctx *ctx, const char *source) {
    char *inner = import_path(ctx, source, "training/label_2");
    if (!inner) return NULL;
    if (import_is_folder(inner)) *strrchr(inner, '/') = '\0';
    else strcpy(inner, source);
    return inner;
}

enum status import_read_kitti(struct ctx *ctx, const struct import_options *o, struct import_set *s) {
    char *root = import_kitti_root(ctx, o->source);
    char *labels = root ? import_path(ctx, root, "label_2") : NULL, *images = root ? import_path(ctx, root, "image_2") : NULL;
    enum status st = labels && images ? read_folder(ctx, o, labels, o->images ? o->images : images, s) : ST_MEMORY;
    free(root), free(labels), free(images);
    return st;
}
