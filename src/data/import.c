#include "data/import_set.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/io.h"
#include "vision/image.h"

const char *const import_kind_name[IMPORT_KINDS] = { "kitti", "coco", "voc", "bdd" };

struct import_options import_defaults(enum import_kind kind, const char *source, const char *out) {
    return (struct import_options){ .kind = kind, .source = source, .out = out, .valid_share = -1, .seed = 1, .min_size = 1 };
}

/* --- The set ------------------------------------------------------------------------------------------------ */

void import_set_free(struct import_set *s) {
    for (int i = 0; i < s->n_type; ++i) free(s->type[i].name);
    for (int i = 0; i < s->n_image; ++i) free(s->image[i].path), free(s->image[i].name), free(s->image[i].labels);
    free(s->type), free(s->image), free(s->box), free(s->note);
    list_free(&s->classes);
    *s = (struct import_set){ 0 };
}

enum status import_add_type(struct ctx *ctx, struct import_set *s, const char *name, long long id, int *index) {
    for (*index = 0; *index < s->n_type; ++*index)
        if (!strcasecmp(s->type[*index].name, name)) return ST_OK;
    TRY(mem_grow(ctx, &s->type, &s->type_cap, (size_t)s->n_type + 1, sizeof *s->type));
    struct import_type type = { .name = mem_text(ctx, name), .class_id = IMPORT_UNKNOWN, .id = id };
    if (!type.name) return ST_MEMORY;
    s->type[s->n_type++] = type;
    return ST_OK;
}

/* What a picture is called in the set: one part of a path, no extension, nothing that would break a line. */
static char *picture_name(struct ctx *ctx, const char *path) {
    char *name = mem_text(ctx, path);
    if (!name) return NULL;
    char *dot = strrchr(name, '.'), *slash = strrchr(name, '/');
    if (dot && dot > name && (!slash || dot > slash + 1)) *dot = '\0';
    for (char *p = name; *p; ++p)
        if (*p == '/' || *p == '\\' || (unsigned char)*p < ' ') *p = '_';
    return name;
}

enum status import_add_image(struct ctx *ctx, struct import_set *s, const char *path, const char *name, const struct import_image *like,
                             int *index) {
    TRY(mem_grow(ctx, &s->image, &s->image_cap, (size_t)s->n_image + 1, sizeof *s->image));
    struct import_image *im = &s->image[s->n_image];
    *im = *like;
    im->path = mem_text(ctx, path);
    im->name = picture_name(ctx, name);
    im->labels = like->labels ? mem_text(ctx, like->labels) : NULL;
    if (index) *index = s->n_image;
    ++s->n_image;
    return im->path && im->name && !im->labels == !like->labels ? ST_OK : ST_MEMORY;
}

enum status import_add_box(struct ctx *ctx, struct import_set *s, const struct import_box *b) {
    TRY(mem_grow(ctx, &s->box, &s->box_cap, (size_t)s->n_box + 1, sizeof *s->box));
    s->box[s->n_box++] = *b;
    return ST_OK;
}

enum status import_note(struct ctx *ctx, struct import_set *s, enum import_issue issue, const char *fmt, ...) {
    char line[1024];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line, sizeof line - 1, fmt, args);
    va_end(args);
    size_t length = n < 0 ? 0 : (size_t)n < sizeof line - 2 ? (size_t)n : sizeof line - 2;
    line[length] = '\n';
    ++s->issue[issue];
    ++s->n_notes;
    TRY(mem_grow(ctx, &s->note, &s->note_cap, s->note_size + length + 2, 1));
    memcpy(s->note + s->note_size, line, length + 1);
    s->note_size += length + 1;
    return ST_OK;
}

enum status import_step(struct ctx *ctx, const struct import_options *o, const char *what, int done, int total) {
    if (o->progress && total > 0) o->progress(o->user, what, done, total);
    return o->stop && *o->stop ? ctx_fail(ctx, ST_INTERRUPTED, "stopped; nothing was written") : ST_OK;
}

/* --- Paths -------------------------------------------------------------------------------------------------- */

char *import_path(struct ctx *ctx, const char *folder, const char *name) {
    size_t n = strlen(folder) + strlen(name) + 2;
    char *path = mem_zero(ctx, n, 1);
    if (path) snprintf(path, n, "%s/%s", folder, name);
    return path;
}

bool import_is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

enum status import_find_picture(struct ctx *ctx, const char *folder, const char *stem, char **path) {
    static const char *const extension[] = { "png", "jpg", "jpeg", "JPG", "PNG", "JPEG", "bmp", "ppm" };
    size_t n = strlen(folder) + strlen(stem) + 8;
    *path = mem_zero(ctx, n, 1);
    if (!*path) return ST_MEMORY;
    for (size_t i = 0; i < sizeof extension / sizeof *extension; ++i) {
        snprintf(*path, n, "%s/%s.%s", folder, stem, extension[i]);
        if (io_exists(*path)) return ST_OK;
    }
    free(*path);
    *path = NULL;
    return ST_OK;
}

/* --- Pictures and boxes ------------------------------------------------------------------------------------- */

static int by_part_and_name(const void *a, const void *b, void *user) {
    const struct import_image *image = user, *x = &image[*(const int *)a], *y = &image[*(const int *)b];
    int order = (int)x->part - (int)y->part;
    if (!order) order = strcmp(x->name, y->name);
    return order ? order : *(const int *)a - *(const int *)b;
}

/* Two pictures of one part that would share their label file: the second one is left out. */
static enum status check_names(struct ctx *ctx, struct import_set *s) {
    int *order = mem_zero(ctx, (size_t)s->n_image, sizeof *order);
    if (!order) return ST_MEMORY;
    for (int i = 0; i < s->n_image; ++i) order[i] = i;
    qsort_r(order, (size_t)s->n_image, sizeof *order, by_part_and_name, s->image);
    enum status st = ST_OK;
    for (int i = 1, first = 0; i < s->n_image && st == ST_OK; ++i) {
        struct import_image *a = &s->image[order[first]], *b = &s->image[order[i]];
        if (b->part == PART_NONE || a->part != b->part || strcmp(a->name, b->name) != 0) {
            first = i;
            continue;
        }
        b->left_out = true;
        st = import_note(ctx, s, ISSUE_NAME_TAKEN, "%s: left out, %s has the same name without extension", b->path, a->path);
    }
    free(order);
    return st;
}

static enum status check_picture(struct ctx *ctx, struct import_set *s, struct import_image *im) {
    int w, h, c;
    struct ctx quiet = { 0 };
    if (pixels_probe(&quiet, im->path, &w, &h, &c) != ST_OK) {
        im->left_out = true;
        return import_note(ctx, s, quiet.code == ST_IO ? ISSUE_NO_PICTURE : ISSUE_BAD_PICTURE, "%s", quiet.error);
    }
    if (im->w < 1 || im->h < 1) im->w = w, im->h = h;
    im->scale_x = (double)w / im->w;
    im->scale_y = (double)h / im->h;
    if (w == im->w && h == im->h) return ST_OK;
    int said_w = im->w, said_h = im->h;
    im->w = w, im->h = h;
    if (said_w != h || said_h != w)
        return import_note(ctx, s, ISSUE_SIZE, "%s: is %d x %d, its labels say %d x %d", im->path, w, h, said_w, said_h);
    im->left_out = true; /* turned by its EXIF mark, which nobody here follows */
    return import_note(ctx, s, ISSUE_BAD_PICTURE, "%s: is %d x %d, but labelled lying on its side, as %d x %d", im->path, w, h, said_w, said_h);
}

static enum status check_pictures(struct ctx *ctx, const struct import_options *o, struct import_set *s) {
    TRY(check_names(ctx, s));
    for (int i = 0; i < s->n_image; ++i) {
        struct import_image *im = &s->image[i];
        if (im->part == PART_NONE) ++s->issue[ISSUE_NOT_LISTED];
        else if (!im->left_out) TRY(check_picture(ctx, s, im));
        TRY(import_step(ctx, o, "checking pictures", i + 1, s->n_image));
    }
    for (int i = 0; i < s->n_image; ++i)
        if (s->image[i].part != PART_NONE && !s->image[i].left_out) return ST_OK;
    const char *end = s->note ? memchr(s->note, '\n', s->note_size) : NULL;
    return ctx_fail(ctx, ST_FORMAT, "%s: no picture with labels can be used%s%.*s", o->source, end ? "; the first trouble: " : "",
                    end ? (int)(end - s->note) : 0, end ? s->note : "");
}

bool import_clip(const struct import_image *im, const struct import_box *b, double v[4]) {
    v[0] = fmax(b->x, 0), v[1] = fmax(b->y, 0);
    v[2] = fmin(b->x + b->w, im->w), v[3] = fmin(b->y + b->h, im->h);
    return v[0] < v[2] && v[1] < v[3];
}

/* Whether the box goes into a label file; counts why not. */
static bool keep(const struct import_options *o, struct import_set *s, const struct import_image *im, const struct import_box *b) {
    enum { NEARLY = 1 }; /* pixels: a border that is passed by less is one of rounding */
    struct import_type *type = &s->type[b->type];
    double v[4];
    ++type->boxes;
    if (type->class_id == IMPORT_REGION) ++s->issue[ISSUE_REGION];
    if (type->class_id < 0) return false;
    enum import_issue why = ISSUES;
    if (b->crowd) why = ISSUE_CROWD;
    else if (!(b->w > 0) || !(b->h > 0)) why = ISSUE_NO_EXTENT;
    else if (!import_clip(im, b, v)) why = ISSUE_OUTSIDE;
    else if (v[2] - v[0] < o->min_size || v[3] - v[1] < o->min_size) why = ISSUE_SMALL;
    else if (b->difficult) why = ISSUE_DIFFICULT;
    if (why != ISSUES) {
        ++s->issue[why];
        return false;
    }
    s->issue[ISSUE_CLIPPED] += v[0] - b->x > NEARLY || v[1] - b->y > NEARLY || b->x + b->w - v[2] > NEARLY || b->y + b->h - v[3] > NEARLY;
    return true;
}

static enum status leave_out_empty(struct ctx *ctx, struct import_set *s) {
    bool *holds = mem_zero(ctx, (size_t)s->n_image, sizeof *holds);
    if (!holds) return ST_MEMORY;
    for (int i = 0; i < s->n_box; ++i) holds[s->box[i].image] |= s->box[i].kept;
    for (int i = 0; i < s->n_image; ++i) {
        struct import_image *im = &s->image[i];
        if (holds[i] || im->part == PART_NONE || im->left_out) continue;
        im->left_out = true;
        ++s->issue[ISSUE_EMPTY];
    }
    free(holds);
    return ST_OK;
}

static enum status choose_boxes(struct ctx *ctx, const struct import_options *o, struct import_set *s) {
    long long kept = 0;
    for (int i = 0; i < s->n_box; ++i) {
        struct import_box *b = &s->box[i];
        const struct import_image *im = &s->image[b->image];
        if (im->part == PART_NONE || im->left_out) continue;
        b->x *= im->scale_x, b->w *= im->scale_x, b->y *= im->scale_y, b->h *= im->scale_y;
        b->area *= im->scale_x * im->scale_y;
        b->kept = keep(o, s, im, b);
        kept += b->kept;
    }
    if (kept) return o->with_objects ? leave_out_empty(ctx, s) : ST_OK;
    char names[256] = "";
    for (int i = 0, at = 0; i < s->n_type && at < (int)sizeof names; ++i)
        at += snprintf(names + at, sizeof names - (size_t)at, "%s%s", i ? ", " : "", s->type[i].name);
    return ctx_fail(ctx, ST_FORMAT, "%s: no box is left for the classes asked for; its classes are: %s", o->source, *names ? names : "none");
}

/* --- The whole ---------------------------------------------------------------------------------------------- */

static enum status check_options(struct ctx *ctx, const struct import_options *o) {
    if (!io_exists(o->source)) return ctx_fail(ctx, ST_IO, "%s: %s", o->source, strerror(ENOENT));
    if (o->split != IMPORT_BY_DEFAULT && (o->train_list || o->valid_list))
        return ctx_fail(ctx, ST_USAGE, "-split and lists of pictures: only one of the two can be");
    if (o->split != IMPORT_BY_DEFAULT && o->valid_share >= 0) return ctx_fail(ctx, ST_USAGE, "-split and -valid_share: only one of the two can be");
    if (o->valid_share >= 0 && (o->train_list || o->valid_list))
        return ctx_fail(ctx, ST_USAGE, "-valid_share and lists of pictures: only one of the two can be");
    if (o->split == IMPORT_CHEN && o->kind != IMPORT_KITTI) return ctx_fail(ctx, ST_USAGE, "-split chen: is a split of KITTI");
    return import_check_out(ctx, o);
}

enum status import_run(struct ctx *ctx, const struct import_options *o, char **report) {
    static enum status (*const read[IMPORT_KINDS])(struct ctx *, const struct import_options *, struct import_set *) = {
        import_read_kitti, import_read_coco, import_read_voc, import_read_bdd
    };
    struct import_set s = { 0 };
    *report = NULL;
    enum status st = check_options(ctx, o);
    if (st == ST_OK) st = read[o->kind](ctx, o, &s);
    if (st == ST_OK) st = import_map_classes(ctx, o, &s);
    if (st == ST_OK) st = import_split(ctx, o, &s);
    if (st == ST_OK) st = check_pictures(ctx, o, &s);
    if (st == ST_OK) st = choose_boxes(ctx, o, &s);
    if (st == ST_OK) st = import_write(ctx, o, &s, report);
    import_set_free(&s);
    return st;
}
