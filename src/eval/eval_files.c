/* Readers of COCO JSON and KITTI label folders. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "data/coco_file.h"
#include "data/json.h"
#include "data/kitti_file.h"
#include "eval/eval_set.h"

/* --- COCO ------------------------------------------------------------------------------------------------- */

static enum status add_annotation(struct ctx *ctx, const char *path, int n, const struct coco_box *b, struct eval_set *s) {
    if (!b->ids_given) return ctx_fail(ctx, ST_FORMAT, "%s:%d: annotations[%d]: needs numbers image_id and category_id", path, b->line, n);
    if (b->image < 0)
        return ctx_fail(ctx, ST_FORMAT, "%s:%d: annotations[%d]: image_id %lld is not among the images", path, b->line, n, b->image_id);
    if (b->category < 0)
        return ctx_fail(ctx, ST_FORMAT, "%s:%d: annotations[%d]: category_id %lld is not among the categories", path, b->line, n, b->category_id);
    if (!b->box_given)
        return ctx_fail(ctx, ST_FORMAT, "%s:%d: annotations[%d]: bbox must be four numbers: left, top, width, height", path, b->line, n);
    return eval_add_truth(ctx, s, &(struct eval_truth){ .image = b->image, .category = b->category, .x = b->x, .y = b->y, .w = b->w,
                                                        .h = b->h, .area = b->area, .crowd = b->crowd });
}

enum status eval_read_coco_truth(struct ctx *ctx, const char *path, struct eval_set *s) {
    struct coco_file f;
    enum status st = coco_read(ctx, path, &f);
    for (int i = 0; i < f.n_image && st == ST_OK; ++i)
        st = eval_add_image(ctx, s, f.image[i].name, f.image[i].id, f.image[i].w, f.image[i].h, NULL);
    for (int i = 0; i < f.n_category && st == ST_OK; ++i) st = eval_add_category(ctx, s, f.category[i].name, f.category[i].id, NULL);
    for (int i = 0; i < f.n_box && st == ST_OK; ++i) st = add_annotation(ctx, path, i, &f.box[i], s);
    coco_file_free(&f);
    return st;
}

struct results { struct eval_set *set; struct id_map images, categories; bool found; };

static enum status add_result(struct ctx *ctx, void *user, const struct json_item *it) {
    struct results *r = user;
    if (*it->key && strcmp(it->key, "annotations") != 0) return ST_OK; /* some tools wrap the list */
    r->found |= it->value == NULL;
    if (it->index < 0) return ST_OK;
    long long image_id, category_id;
    double b[4];
    if (!json_whole(it->value, "image_id", &image_id) || !json_whole(it->value, "category_id", &category_id))
        return ctx_fail(ctx, ST_FORMAT, "%s:%d: results[%d]: needs numbers image_id and category_id", it->path, it->line, it->index);
    struct eval_detection d = { .image = id_map_find(&r->images, image_id), .category = id_map_find(&r->categories, category_id),
                                .score = json_number(it->value, "score", NAN) };
    if (d.image < 0)
        return ctx_fail(ctx, ST_FORMAT, "%s:%d: results[%d]: image_id %lld is not among the images of the ground truth", it->path, it->line, it->index,
                        image_id);
    if (d.category < 0)
        return ctx_fail(ctx, ST_FORMAT, "%s:%d: results[%d]: category_id %lld is not among the categories of the ground truth", it->path, it->line,
                        it->index, category_id);
    if (!coco_box_of(it->value, b) || !isfinite(d.score))
        return ctx_fail(ctx, ST_FORMAT, "%s:%d: results[%d]: needs a bbox of four numbers and a score", it->path, it->line, it->index);
    d.x = b[0], d.y = b[1], d.w = b[2], d.h = b[3];
    return eval_add_detection(ctx, r->set, &d);
}

enum status eval_read_coco_detections(struct ctx *ctx, const char *path, struct eval_set *s) {
    struct results r = { .set = s };
    enum status st = id_map_new(ctx, s->n_image, &r.images);
    if (st == ST_OK) st = id_map_new(ctx, s->n_category, &r.categories);
    if (st == ST_OK) {
        for (int i = 0; i < s->n_image; ++i) r.images.entry[i] = (struct id_entry){ s->image[i].id, i };
        for (int i = 0; i < s->n_category; ++i) r.categories.entry[i] = (struct id_entry){ s->category[i].id, i };
        id_map_sort(&r.images), id_map_sort(&r.categories);
        st = json_each(ctx, path, add_result, &r);
    }
    if (st == ST_OK && !r.found) st = ctx_fail(ctx, ST_FORMAT, "%s: no COCO results: a list of {image_id, category_id, bbox, score}", path);
    id_map_free(&r.images), id_map_free(&r.categories);
    return st;
}

/* --- KITTI ------------------------------------------------------------------------------------------------ */

static enum status kitti_category(struct ctx *ctx, struct eval_set *s, const char *type, int *index) {
    *index = eval_find_category(s, type);
    return *index >= 0 ? ST_OK : eval_add_category(ctx, s, type, s->n_category, index);
}

struct kitti_reading { struct eval_set *set; int image; bool detections; };

static enum status add_line(struct ctx *ctx, void *user, const struct kitti_line *k) {
    const struct kitti_reading *r = user;
    int category;
    char type[sizeof k->type];
    if (k->wrong) return ctx_fail(ctx, ST_FORMAT, "%s:%d: %s", k->path, k->number, k->wrong);
    if (r->detections && !k->has_score) return ctx_fail(ctx, ST_FORMAT, "%s:%d: has no score in column 16", k->path, k->number);
    for (size_t i = 0; i < sizeof type; ++i) type[i] = k->type[i] >= 'A' && k->type[i] <= 'Z' ? (char)(k->type[i] - 'A' + 'a') : k->type[i];
    TRY(kitti_category(ctx, r->set, type, &category));
    double w = k->right - k->left, h = k->bottom - k->top;
    if (r->detections) return eval_add_detection(ctx, r->set, &(struct eval_detection){ r->image, category, k->left, k->top, w, h, k->score });
    return eval_add_truth(ctx, r->set, &(struct eval_truth){ .image = r->image, .category = category, .x = k->left, .y = k->top, .w = w, .h = h,
                                                             .area = w * h, .truncation = k->truncation, .occlusion = k->occlusion });
}

static enum status read_kitti(struct ctx *ctx, const char *path, int image, bool detections, struct eval_set *s) {
    return kitti_each(ctx, path, add_line, &(struct kitti_reading){ s, image, detections });
}

enum status eval_read_kitti_truth(struct ctx *ctx, const char *folder, struct eval_set *s) {
    struct dirent **entry;
    int n = scandir(folder, &entry, NULL, alphasort), image;
    if (n < 0) return ctx_fail(ctx, ST_IO, "%s: is no folder that can be read", folder);
    enum status st = ST_OK;
    for (int i = 0; i < n; ++i) {
        char path[4096], stem[256];
        if (st == ST_OK && text_ends_with(entry[i]->d_name, ".txt")) {
            snprintf(path, sizeof path, "%s/%s", folder, entry[i]->d_name);
            snprintf(stem, sizeof stem, "%.*s", (int)strlen(entry[i]->d_name) - 4, entry[i]->d_name);
            st = eval_add_image(ctx, s, stem, s->n_image, 0, 0, &image);
            if (st == ST_OK) st = read_kitti(ctx, path, image, false, s);
        }
        free(entry[i]);
    }
    free(entry);
    if (st == ST_OK && s->n_image == 0) st = ctx_fail(ctx, ST_FORMAT, "%s: holds no KITTI label files (NAME.txt)", folder);
    return st;
}

enum status eval_read_kitti_detections(struct ctx *ctx, const char *folder, struct eval_set *s, int *missing) {
    int absent = 0;
    for (int i = 0; i < s->n_image; ++i) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s.txt", folder, s->image[i].name);
        if (io_exists(path)) TRY(read_kitti(ctx, path, i, true, s));
        else ++absent;
    }
    if (absent == s->n_image) return ctx_fail(ctx, ST_IO, "%s: holds no detections for any of the %d pictures", folder, s->n_image);
    if (missing) *missing = absent;
    return ST_OK;
}
