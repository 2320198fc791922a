/* COCO: annotations/instances_train2017.json, instances_val2017.json and folders train2017, val2017; or one such file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "data/coco_file.h"
#include "data/import_json.h"

static bool fits(const char *name) { return !strncmp(name, "instances", 9) || !strcmp(name, "_annotations.coco.json"); }

static enum status add_images(struct ctx *ctx, const struct import_options *o, struct json_source *source, const struct coco_file *f,
                              struct import_set *s, int *image) {
    for (int i = 0; i < f->n_image; ++i) {
        const struct coco_image *c = &f->image[i];
        char *path;
        bool sized = c->w >= 1 && c->h >= 1 && c->w < 1e6 && c->h < 1e6;
        struct import_image like = { .w = sized ? (int)c->w : 0, .h = sized ? (int)c->h : 0, .id = c->id, .given = source->part };
        image[i] = -1;
        TRY(json_source_picture(ctx, source, c->name, &path));
        enum status st = path ? import_add_image(ctx, s, path, c->name, &like, &image[i])
                              : import_note(ctx, s, ISSUE_NO_PICTURE, "%s: picture '%s' is in none of the folders looked at", source->path, c->name);
        free(path);
        TRY(st);
        TRY(import_step(ctx, o, "looking for pictures", i + 1, f->n_image));
    }
    return ST_OK;
}

static enum status add_boxes(struct ctx *ctx, const char *path, const struct coco_file *f, const int *image, const int *type, struct import_set *s) {
    for (int i = 0; i < f->n_box; ++i) {
        const struct coco_box *b = &f->box[i];
        const char *wrong = !b->ids_given ? "has no image_id and category_id" : b->image < 0 ? "its image_id is not among the images" :
                            b->category < 0 ? "its category_id is not among the categories" : !b->box_given ? "its bbox is no four numbers of a rectangle" : NULL;
        if (wrong) TRY(import_note(ctx, s, ISSUE_BAD_BOX, "%s:%d: annotations[%d]: %s", path, b->line, i, wrong));
        else if (image[b->image] >= 0)
            TRY(import_add_box(ctx, s, &(struct import_box){ .image = image[b->image], .type = type[b->category], .x = b->x, .y = b->y, .w = b->w,
                                                             .h = b->h, .area = b->area, .crowd = b->crowd }));
    }
    return ST_OK;
}

static enum status read_file(struct ctx *ctx, const struct import_options *o, struct json_source *source, struct import_set *s) {
    struct coco_file f;
    int *image = NULL, *type = NULL;
    enum status st = coco_read(ctx, source->path, &f);
    if (st == ST_OK) {
        image = mem_zero(ctx, (size_t)f.n_image, sizeof *image);
        type = mem_zero(ctx, (size_t)f.n_category, sizeof *type);
        if (!image || !type) st = ST_MEMORY;
    }
    for (int i = 0; i < f.n_category && st == ST_OK; ++i) st = import_add_type(ctx, s, f.category[i].name, f.category[i].id, &type[i]);
    if (st == ST_OK) st = add_images(ctx, o, source, &f, s, image);
    if (st == ST_OK) st = add_boxes(ctx, source->path, &f, image, type, s);
    free(image), free(type);
    coco_file_free(&f);
    return st;
}

enum status import_read_coco(struct ctx *ctx, const struct import_options *o, struct import_set *s) {
    static const char *const folders[] = { "%s", "images/%s", "images", "", NULL };
    static const struct json_pattern pattern = { fits, folders, "COCO file (annotations/instances_train*.json, instances_val*.json)" };
    struct json_sources sources;
    enum status st = json_sources_find(ctx, o, &pattern, &sources);
    for (int i = 0; i < sources.n && st == ST_OK; ++i) st = read_file(ctx, o, &sources.item[i], s);
    json_sources_free(&sources);
    s->coco_truth = true;
    return st;
}
