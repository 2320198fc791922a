#include "data/coco_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/json.h"

/* --- Ids ---------------------------------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b) {
    long long x = ((const struct id_entry *)a)->id, y = ((const struct id_entry *)b)->id;
    return x < y ? -1 : x > y;
}

enum status id_map_new(struct ctx *ctx, int n, struct id_map *m) {
    *m = (struct id_map){ n, mem_zero(ctx, (size_t)n, sizeof *m->entry) };
    return m->entry ? ST_OK : ST_MEMORY;
}

void id_map_sort(struct id_map *m) { qsort(m->entry, (size_t)m->n, sizeof *m->entry, by_id); }

int id_map_find(const struct id_map *m, long long id) {
    struct id_entry key = { id, 0 }, *e = bsearch(&key, m->entry, (size_t)m->n, sizeof key, by_id);
    return e ? e->index : -1;
}

void id_map_free(struct id_map *m) {
    free(m->entry);
    *m = (struct id_map){ 0, NULL };
}

/* --- Lists -------------------------------------------------------------------------------------------------- */

bool coco_box_of(const cJSON *o, double v[4]) {
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(o, "bbox"), *item;
    int n = 0;
    cJSON_ArrayForEach(item, list) {
        if (n == 4 || !cJSON_IsNumber(item) || !isfinite(item->valuedouble)) return false;
        v[n++] = item->valuedouble;
    }
    return n == 4 && v[2] >= 0 && v[3] >= 0;
}

struct reading { struct coco_file *file; bool seen[3]; };

static enum status add_image(struct ctx *ctx, struct coco_file *f, const struct json_item *it) {
    const char *name = json_text(it->value, "file_name");
    long long id;
    if (!json_whole(it->value, "id", &id)) return ctx_fail(ctx, ST_FORMAT, "%s:%d: images[%d]: has no id", it->path, it->line, it->index);
    TRY(mem_grow(ctx, &f->image, &f->image_cap, (size_t)f->n_image + 1, sizeof *f->image));
    struct coco_image image = { mem_text(ctx, name ? name : ""), id, json_number(it->value, "width", 0),
                                json_number(it->value, "height", 0) };
    if (!image.name) return ST_MEMORY;
    f->image[f->n_image++] = image;
    return ST_OK;
}

static enum status add_category(struct ctx *ctx, struct coco_file *f, const struct json_item *it) {
    const char *name = json_text(it->value, "name");
    long long id;
    if (!json_whole(it->value, "id", &id)) return ctx_fail(ctx, ST_FORMAT, "%s:%d: categories[%d]: has no id", it->path, it->line, it->index);
    TRY(mem_grow(ctx, &f->category, &f->category_cap, (size_t)f->n_category + 1, sizeof *f->category));
    struct coco_category category = { mem_text(ctx, name ? name : ""), id };
    if (!category.name) return ST_MEMORY;
    f->category[f->n_category++] = category;
    return ST_OK;
}

static enum status add_box(struct ctx *ctx, struct coco_file *f, const struct json_item *it) {
    double v[4] = { 0 };
    struct coco_box b = { .line = it->line, .image = -1, .category = -1 };
    b.ids_given = json_whole(it->value, "image_id", &b.image_id) && json_whole(it->value, "category_id", &b.category_id);
    b.box_given = coco_box_of(it->value, v);
    b.x = v[0], b.y = v[1], b.w = v[2], b.h = v[3];
    b.area = json_number(it->value, "area", b.w * b.h);
    b.crowd = json_true(it->value, "iscrowd");
    TRY(mem_grow(ctx, &f->box, &f->box_cap, (size_t)f->n_box + 1, sizeof *f->box));
    f->box[f->n_box++] = b;
    return ST_OK;
}

static enum status visit(struct ctx *ctx, void *user, const struct json_item *it) {
    struct reading *r = user;
    static const struct { const char *key; enum status (*add)(struct ctx *, struct coco_file *, const struct json_item *); } lists[] = {
        { "images", add_image }, { "annotations", add_box }, { "categories", add_category }
    };
    for (int i = 0; i < 3; ++i) {
        if (strcmp(it->key, lists[i].key) != 0) continue;
        if (it->index >= 0) return lists[i].add(ctx, r->file, it);
        r->seen[i] |= it->value == NULL;
    }
    return ST_OK;
}

static enum status resolve(struct ctx *ctx, struct coco_file *f) {
    struct id_map images, categories = { 0 };
    enum status st = id_map_new(ctx, f->n_image, &images);
    if (st == ST_OK) st = id_map_new(ctx, f->n_category, &categories);
    if (st == ST_OK) {
        for (int i = 0; i < f->n_image; ++i) images.entry[i] = (struct id_entry){ f->image[i].id, i };
        for (int i = 0; i < f->n_category; ++i) categories.entry[i] = (struct id_entry){ f->category[i].id, i };
        id_map_sort(&images), id_map_sort(&categories);
        for (int i = 0; i < f->n_box; ++i) {
            if (!f->box[i].ids_given) continue;
            f->box[i].image = id_map_find(&images, f->box[i].image_id);
            f->box[i].category = id_map_find(&categories, f->box[i].category_id);
        }
    }
    id_map_free(&images), id_map_free(&categories);
    return st;
}

enum status coco_read(struct ctx *ctx, const char *path, struct coco_file *f) {
    struct reading r = { f, { false } };
    *f = (struct coco_file){ 0 };
    TRY(json_each(ctx, path, visit, &r));
    if (!r.seen[0] || !r.seen[1] || !r.seen[2])
        return ctx_fail(ctx, ST_FORMAT, "%s: no COCO ground truth: it needs the lists 'images', 'annotations', 'categories'", path);
    return resolve(ctx, f);
}

void coco_file_free(struct coco_file *f) {
    for (int i = 0; i < f->n_image; ++i) free(f->image[i].name);
    for (int i = 0; i < f->n_category; ++i) free(f->category[i].name);
    free(f->image), free(f->category), free(f->box);
    *f = (struct coco_file){ 0 };
}
