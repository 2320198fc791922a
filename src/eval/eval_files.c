/* Readers of COCO JSON and KITTI label folders. */
#include <cjson/cJSON.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "eval/eval_set.h"

/* --- COCO ------------------------------------------------------------------------------------------------- */

static enum status read_json(struct ctx *ctx, const char *path, cJSON **out) {
    char *bytes;
    size_t size;
    const char *end = NULL;
    TRY(io_read(ctx, path, &bytes, &size));
    *out = cJSON_ParseWithLengthOpts(bytes, size + 1, &end, false);
    enum status st = ST_OK;
    if (!*out) {
        int line = 1;
        for (const char *p = bytes; end && p < end; ++p) line += *p == '\n';
        st = ctx_fail(ctx, ST_FORMAT, "%s:%d: broken JSON near byte %zu of %zu", path, line, end ? (size_t)(end - bytes) : 0, size);
    }
    free(bytes);
    return st;
}

/* Ids to indices: sorted once, searched often. */
struct id_map { int n; struct id_entry { long long id; int index; } *entry; };

static int by_id(const void *a, const void *b) {
    long long x = ((const struct id_entry *)a)->id, y = ((const struct id_entry *)b)->id;
    return x < y ? -1 : x > y;
}

static int id_index(const struct id_map *m, long long id) {
    struct id_entry key = { id, 0 }, *e = bsearch(&key, m->entry, (size_t)m->n, sizeof key, by_id);
    return e ? e->index : -1;
}

static enum status id_maps(struct ctx *ctx, const struct eval_set *s, struct id_map *images, struct id_map *categories) {
    *images = (struct id_map){ s->n_image, mem_zero(ctx, (size_t)s->n_image, sizeof *images->entry) };
    *categories = (struct id_map){ s->n_category, mem_zero(ctx, (size_t)s->n_category, sizeof *categories->entry) };
    if (!images->entry || !categories->entry) return ST_MEMORY;
    for (int i = 0; i < s->n_image; ++i) images->entry[i] = (struct id_entry){ s->image[i].id, i };
    for (int i = 0; i < s->n_category; ++i) categories->entry[i] = (struct id_entry){ s->category[i].id, i };
    qsort(images->entry, (size_t)s->n_image, sizeof *images->entry, by_id);
    qsort(categories->entry, (size_t)s->n_category, sizeof *categories->entry, by_id);
    return ST_OK;
}

static double number(const cJSON *o, const char *name, double otherwise) {
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, name);
    return cJSON_IsNumber(v) ? v->valuedouble : otherwise;
}

static bool read_box(const cJSON *o, double v[4]) {
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(o, "bbox"), *item;
    int n = 0;
    cJSON_ArrayForEach(item, list) {
        if (n == 4 || !cJSON_IsNumber(item) || !isfinite(item->valuedouble)) return false;
        v[n++] = item->valuedouble;
    }
    return n == 4 && v[2] >= 0 && v[3] >= 0;
}

/* Image and category of an annotation or result. */
static enum status read_place(struct ctx *ctx, const char *path, const char *list, int n, const cJSON *o, const struct id_map *images,
                              const struct id_map *categories, int *image, int *category) {
    double image_id = number(o, "image_id", NAN), category_id = number(o, "category_id", NAN);
    if (!isfinite(image_id) || !isfinite(category_id))
        return ctx_fail(ctx, ST_FORMAT, "%s: %s[%d]: needs numbers image_id and category_id", path, list, n);
    *image = id_index(images, (long long)image_id);
    *category = id_index(categories, (long long)category_id);
    if (*image < 0) return ctx_fail(ctx, ST_FORMAT, "%s: %s[%d]: image_id %.0f is not among the images of the ground truth", path, list, n, image_id);
    if (*category < 0)
        return ctx_fail(ctx, ST_FORMAT, "%s: %s[%d]: category_id %.0f is not among the categories of the ground truth", path, list, n, category_id);
    return ST_OK;
}

static enum status read_lists(struct ctx *ctx, const char *path, const cJSON *root, struct eval_set *s) {
    const cJSON *images = cJSON_GetObjectItemCaseSensitive(root, "images"), *o;
    const cJSON *categories = cJSON_GetObjectItemCaseSensitive(root, "categories");
    if (!cJSON_IsArray(images) || !cJSON_IsArray(categories))
        return ctx_fail(ctx, ST_FORMAT, "%s: no COCO ground truth: it needs the lists 'images', 'annotations', 'categories'", path);
    cJSON_ArrayForEach(o, images) {
        const cJSON *name = cJSON_GetObjectItemCaseSensitive(o, "file_name");
        double id = number(o, "id", NAN);
        if (!isfinite(id)) return ctx_fail(ctx, ST_FORMAT, "%s: images[%d]: has no id", path, s->n_image);
        TRY(eval_add_image(ctx, s, cJSON_IsString(name) ? name->valuestring : "", (long long)id, number(o, "width", 0),
                           number(o, "height", 0), NULL));
    }
    cJSON_ArrayForEach(o, categories) {
        const cJSON *name = cJSON_GetObjectItemCaseSensitive(o, "name");
        double id = number(o, "id", NAN);
        if (!isfinite(id)) return ctx_fail(ctx, ST_FORMAT, "%s: categories[%d]: has no id", path, s->n_category);
        TRY(eval_add_category(ctx, s, cJSON_IsString(name) ? name->valuestring : "", (long long)id, NULL));
    }
    return ST_OK;
}

static enum status read_annotations(struct ctx *ctx, const char *path, const cJSON *list, const struct id_map *images,
                                    const struct id_map *categories, struct eval_set *s) {
    const cJSON *o;
    int n = 0;
    if (!cJSON_IsArray(list)) return ctx_fail(ctx, ST_FORMAT, "%s: has no list 'annotations'", path);
    cJSON_ArrayForEach(o, list) {
        struct eval_truth t = { 0 };
        double b[4];
        TRY(read_place(ctx, path, "annotations", n, o, images, categories, &t.image, &t.category));
        if (!read_box(o, b)) return ctx_fail(ctx, ST_FORMAT, "%s: annotations[%d]: bbox must be four numbers: left, top, width, height", path, n);
        t.x = b[0], t.y = b[1], t.w = b[2], t.h = b[3];
        t.area = number(o, "area", t.w * t.h);
        t.crowd = number(o, "iscrowd", 0) != 0;
        TRY(eval_add_truth(ctx, s, &t));
        ++n;
    }
    return ST_OK;
}

enum status eval_read_coco_truth(struct ctx *ctx, const char *path, struct eval_set *s) {
    cJSON *root;
    struct id_map images = { 0 }, categories = { 0 };
    TRY(read_json(ctx, path, &root));
    enum status st = read_lists(ctx, path, root, s);
    if (st == ST_OK) st = id_maps(ctx, s, &images, &categories);
    if (st == ST_OK) st = read_annotations(ctx, path, cJSON_GetObjectItemCaseSensitive(root, "annotations"), &images, &categories, s);
    free(images.entry), free(categories.entry);
    cJSON_Delete(root);
    return st;
}

enum status eval_read_coco_detections(struct ctx *ctx, const char *path, struct eval_set *s) {
    cJSON *root;
    const cJSON *o;
    struct id_map images = { 0 }, categories = { 0 };
    TRY(read_json(ctx, path, &root));
    const cJSON *list = cJSON_IsArray(root) ? root : cJSON_GetObjectItemCaseSensitive(root, "annotations"); /* some tools wrap them */
    enum status st = cJSON_IsArray(list) ? id_maps(ctx, s, &images, &categories)
                                         : ctx_fail(ctx, ST_FORMAT, "%s: no COCO results: a list of {image_id, category_id, bbox, score}", path);
    int n = 0;
    cJSON_ArrayForEach(o, list) {
        struct eval_detection d = { 0 };
        double b[4];
        if (st == ST_OK) st = read_place(ctx, path, "results", n, o, &images, &categories, &d.image, &d.category);
        d.score = number(o, "score", NAN);
        if (st == ST_OK && (!read_box(o, b) || !isfinite(d.score)))
            st = ctx_fail(ctx, ST_FORMAT, "%s: results[%d]: needs a bbox of four numbers and a score", path, n);
        if (st != ST_OK) break;
        d.x = b[0], d.y = b[1], d.w = b[2], d.h = b[3];
        st = eval_add_detection(ctx, s, &d);
        ++n;
    }
    free(images.entry), free(categories.entry);
    cJSON_Delete(root);
    return st;
}

/* --- KITTI ------------------------------------------------------------------------------------------------ */

struct kitti_line { char type[64]; double truncation, occlusion, left, top, right, bottom, score; };

/* type truncation occlusion alpha left top right bottom height width length x y z rotation [score] */
static enum status parse_line(struct ctx *ctx, const char *path, int line, const char *text, bool score, struct kitti_line *k) {
    double skip;
    int at = 0, n = sscanf(text, "%63s %lf %lf %lf %lf %lf %lf %lf%n", k->type, &k->truncation, &k->occlusion, &skip, &k->left, &k->top, &k->right,
                           &k->bottom, &at);
    if (n < 8 || !isfinite(k->left) || !isfinite(k->top) || !isfinite(k->right) || !isfinite(k->bottom))
        return ctx_fail(ctx, ST_FORMAT, "%s:%d: no KITTI line: a type and 14 numbers are needed", path, line);
    int more = 0;
    for (char *end; more < 8; ++more, at = (int)(end - text)) {
        k->score = strtod(text + at, &end);
        if (end == text + at) break;
    }
    if (score && more < 8) return ctx_fail(ctx, ST_FORMAT, "%s:%d: has no score in column 16", path, line);
    for (char *p = k->type; *p; ++p)
        if (*p >= 'A' && *p <= 'Z') *p = (char)(*p - 'A' + 'a');
    return ST_OK;
}

static enum status kitti_category(struct ctx *ctx, struct eval_set *s, const char *type, int *index) {
    *index = eval_find_category(s, type);
    return *index >= 0 ? ST_OK : eval_add_category(ctx, s, type, s->n_category, index);
}

static enum status read_kitti(struct ctx *ctx, const char *path, int image, bool detections, struct eval_set *s) {
    char *bytes;
    size_t size;
    int line = 0, category;
    TRY(io_read(ctx, path, &bytes, &size));
    enum status st = ST_OK;
    for (char *next = bytes, *text; st == ST_OK && (text = next) && *text;) {
        struct kitti_line k;
        next = strchr(text, '\n');
        if (next) *next++ = '\0';
        ++line;
        if (text[strspn(text, " \t\r")] == '\0') continue;
        st = parse_line(ctx, path, line, text, detections, &k);
        if (st == ST_OK) st = kitti_category(ctx, s, k.type, &category);
        double w = k.right - k.left, h = k.bottom - k.top;
        if (st == ST_OK && detections)
            st = eval_add_detection(ctx, s, &(struct eval_detection){ image, category, k.left, k.top, w, h, k.score });
        else if (st == ST_OK)
            st = eval_add_truth(ctx, s, &(struct eval_truth){ .image = image, .category = category, .x = k.left, .y = k.top, .w = w, .h = h,
                                                              .area = w * h, .truncation = k.truncation, .occlusion = k.occlusion });
    }
    free(bytes);
    return st;
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
