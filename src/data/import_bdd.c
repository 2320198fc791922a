/* BDD100K: lists of frames, of the first release (bdd100k_labels_images_train.json, ..._val.json) and as scalabel writes them now
 * (det_train.json, det_val.json); pictures in images/100k/train and val. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/import_json.h"
#include "data/json.h"

static bool fits(const char *name) { return !strncmp(name, "bdd100k_labels_images_", 22) || !strncmp(name, "det_", 4); }

struct reading {
    const struct import_options *options;
    struct json_source *source;
    struct import_set *set;
    bool frames;
    int done;
};

/* Whether the label, or its attributes as scalabel has them, says so. */
static bool says(const cJSON *label, const char *what) {
    return json_true(label, what) || json_true(cJSON_GetObjectItemCaseSensitive(label, "attributes"), what);
}

static enum status add_label(struct ctx *ctx, const struct reading *r, const struct json_item *it, int n, const cJSON *label, int image) {
    const cJSON *box = cJSON_GetObjectItemCaseSensitive(label, "box2d");
    const char *category = json_text(label, "category");
    if (!cJSON_IsObject(box)) return ST_OK; /* lanes, drivable areas: drawn otherwise */
    double left = json_number(box, "x1", NAN), top = json_number(box, "y1", NAN), right = json_number(box, "x2", NAN), bottom = json_number(box, "y2", NAN);
    if (!category || !isfinite(left) || !isfinite(top) || !isfinite(right) || !isfinite(bottom))
        return import_note(ctx, r->set, ISSUE_BAD_BOX, "%s:%d: frame %d: labels[%d]: %s", it->path, it->line, it->index, n,
                           category ? "box2d needs the numbers x1, y1, x2, y2" : "has no category");
    struct import_box b = { .image = image, .x = left, .y = top, .w = right - left, .h = bottom - top, .crowd = says(label, "crowd") || says(label, "ignored") };
    b.area = b.w * b.h;
    TRY(import_add_type(ctx, r->set, category, 0, &b.type));
    return import_add_box(ctx, r->set, &b);
}

static enum status add_frame(struct ctx *ctx, void *user, const struct json_item *it) {
    struct reading *r = user;
    if (*it->key && strcmp(it->key, "frames") != 0) return ST_OK;
    r->frames |= it->value == NULL;
    if (it->index < 0) return ST_OK;
    const char *name = json_text(it->value, "name");
    char *path;
    int image, n = 0;
    if (!name) return import_note(ctx, r->set, ISSUE_BAD_FILE, "%s:%d: frame %d has no name", it->path, it->line, it->index);
    TRY(json_source_picture(ctx, r->source, name, &path));
    if (!path) return import_note(ctx, r->set, ISSUE_NO_PICTURE, "%s:%d: picture '%s' is in none of the folders looked at", it->path, it->line, name);
    enum status st = import_add_image(ctx, r->set, path, name, &(struct import_image){ .id = r->set->n_image + 1, .given = r->source->part }, &image);
    free(path);
    const cJSON *label;
    cJSON_ArrayForEach(label, cJSON_GetObjectItemCaseSensitive(it->value, "labels")) {
        if (st == ST_OK) st = add_label(ctx, r, it, n++, label, image);
    }
    return st == ST_OK ? import_step(ctx, r->options, "reading frames", ++r->done, 0) : st;
}

enum status import_read_bdd(struct ctx *ctx, const struct import_options *o, struct import_set *s) {
    static const char *const folders[] = { "images/100k/%s", "images/%s", "100k/%s", "%s", "images", "", NULL };
    static const struct json_pattern pattern = { fits, folders, "BDD100K file (bdd100k_labels_images_train.json, det_train.json and the like)" };
    struct json_sources sources;
    enum status st = json_sources_find(ctx, o, &pattern, &sources);
    for (int i = 0; i < sources.n && st == ST_OK; ++i) {
        struct reading r = { .options = o, .source = &sources.item[i], .set = s };
        st = json_each(ctx, sources.item[i].path, add_frame, &r);
        if (st == ST_OK && !r.frames) st = ctx_fail(ctx, ST_FORMAT, "%s: no BDD100K labels: a list of frames is needed", sources.item[i].path);
    }
    json_sources_free(&sources);
    s->coco_truth = true;
    return st;
}
