/* Pascal VOC: Annotations/NAME.xml, JPEGImages/NAME.jpg, ImageSets/Main; or a folder of such folders (VOCdevkit). */
#include "data/import_set.h"

#ifdef HAVE_EXPAT

#include <dirent.h>
#include <expat.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"

enum { PATH_ROOM = 4096, TEXT_ROOM = 256 };

struct object { char name[TEXT_ROOM]; double side[4]; bool difficult; };
/* What the parser's calls share.  where: the open elements, "annotation/object/bndbox/xmin"; parts of an object have boxes of
 * their own, deeper down. */
struct reading {
    struct ctx *ctx;
    struct import_set *set;
    XML_Parser parser;
    const char *path;
    enum status st;
    char where[TEXT_ROOM], text[TEXT_ROOM], file_name[TEXT_ROOM];
    size_t where_n, text_n;
    bool annotation;
    double w, h;
    struct object object;
    int image;
};

static void add_object(struct reading *r) {
    static const char *const side[] = { "xmin", "ymin", "xmax", "ymax" };
    const struct object *o = &r->object;
    const char *wrong = *o->name ? NULL : "name";
    for (int i = 0; i < 4 && !wrong; ++i)
        if (!isfinite(o->side[i])) wrong = side[i];
    if (wrong) {
        r->st = import_note(r->ctx, r->set, ISSUE_BAD_BOX, "%s:%lu: an object without %s", r->path, (unsigned long)XML_GetCurrentLineNumber(r->parser), wrong);
        return;
    }
    /* Pixels are counted from 1, and the last one belongs to the box. */
    struct import_box b = { .image = r->set->n_image, .x = o->side[0] - 1, .y = o->side[1] - 1, .w = o->side[2] - o->side[0] + 1,
                            .h = o->side[3] - o->side[1] + 1, .difficult = o->difficult };
    b.area = b.w * b.h;
    r->st = import_add_type(r->ctx, r->set, o->name, 0, &b.type);
    if (r->st == ST_OK) r->st = import_add_box(r->ctx, r->set, &b);
}

static void begin(void *user, const XML_Char *name, const XML_Char **attributes) {
    struct reading *r = user;
    (void)attributes;
    size_t n = strlen(name) + (r->where_n > 0);
    if (r->where_n + n + 1 > sizeof r->where) {
        if (r->st == ST_OK) r->st = ctx_fail(r->ctx, ST_FORMAT, "%s: elements too deep for VOC", r->path);
        XML_StopParser(r->parser, XML_FALSE);
        return;
    }
    r->where_n += (size_t)snprintf(r->where + r->where_n, sizeof r->where - r->where_n, "%s%s", r->where_n ? "/" : "", name);
    r->text_n = 0;
    if (!strcmp(r->where, "annotation")) r->annotation = true;
    if (!strcmp(r->where, "annotation/object")) r->object = (struct object){ .side = { NAN, NAN, NAN, NAN } };
}

static void text(void *user, const XML_Char *s, int n) {
    struct reading *r = user;
    for (int i = 0; i < n && r->text_n + 1 < sizeof r->text; ++i) r->text[r->text_n++] = s[i];
}

static double number(const char *s) {
    double v;
    const char *rest;
    return text_double(s, &v, &rest) && !*rest ? v : NAN;
}

static void end(void *user, const XML_Char *name) {
    struct reading *r = user;
    (void)name;
    while (r->text_n && strchr(" \t\r\n", r->text[r->text_n - 1])) --r->text_n;
    r->text[r->text_n] = '\0';
    const char *value = r->text + strspn(r->text, " \t\r\n"), *at = r->where;
    struct object *o = &r->object;
    if (!strcmp(at, "annotation/filename")) snprintf(r->file_name, sizeof r->file_name, "%s", value);
    else if (!strcmp(at, "annotation/size/width")) r->w = number(value);
    else if (!strcmp(at, "annotation/size/height")) r->h = number(value);
    else if (!strcmp(at, "annotation/object/name")) snprintf(o->name, sizeof o->name, "%s", value);
    else if (!strcmp(at, "annotation/object/difficult")) o->difficult = number(value) > 0;
    else if (!strcmp(at, "annotation/object/bndbox/xmin")) o->side[0] = number(value);
    else if (!strcmp(at, "annotation/object/bndbox/ymin")) o->side[1] = number(value);
    else if (!strcmp(at, "annotation/object/bndbox/xmax")) o->side[2] = number(value);
    else if (!strcmp(at, "annotation/object/bndbox/ymax")) o->side[3] = number(value);
    else if (!strcmp(at, "annotation/object") && r->st == ST_OK) add_object(r);
    r->text_n = 0;
    char *slash = strrchr(r->where, '/');
    r->where_n = slash ? (size_t)(slash - r->where) : 0;
    r->where[r->where_n] = '\0';
    if (r->st != ST_OK) XML_StopParser(r->parser, XML_FALSE);
}

/* *wrong: the file is not what it should be, and was noted. */
static enum status parse(struct reading *r, const char *bytes, size_t size, bool *wrong) {
    r->parser = XML_ParserCreate(NULL);
    if (!r->parser) return ctx_fail(r->ctx, ST_MEMORY, "out of memory for %s", r->path);
    XML_SetUserData(r->parser, r);
    XML_SetElementHandler(r->parser, begin, end);
    XML_SetCharacterDataHandler(r->parser, text);
    bool ok = size < (1u << 30) && XML_Parse(r->parser, bytes, (int)size, 1) == XML_STATUS_OK;
    *wrong = r->st == ST_OK && (!ok || !r->annotation);
    if (*wrong)
        r->st = import_note(r->ctx, r->set, ISSUE_BAD_FILE, "%s:%lu: %s", r->path, (unsigned long)XML_GetCurrentLineNumber(r->parser),
                            ok ? "no <annotation>" : XML_ErrorString(XML_GetErrorCode(r->parser)));
    XML_ParserFree(r->parser);
    return r->st;
}

static enum status find_picture(struct ctx *ctx, const char *images, const char *stem, const char *file_name, char **picture) {
    TRY(import_find_picture(ctx, images, stem, picture));
    if (*picture || !*file_name || strchr(file_name, '/')) return ST_OK;
    *picture = import_path(ctx, images, file_name);
    if (!*picture) return ST_MEMORY;
    if (io_exists(*picture)) return ST_OK;
    free(*picture);
    *picture = NULL;
    return ST_OK;
}

static enum status read_file(struct ctx *ctx, const char *path, const char *images, const char *stem, struct import_set *s) {
    struct reading r = { .ctx = ctx, .set = s, .path = path };
    char *bytes, *picture = NULL;
    size_t size;
    bool wrong = false;
    int boxes = s->n_box;
    TRY(io_read(ctx, path, &bytes, &size));
    enum status st = parse(&r, bytes, size, &wrong);
    free(bytes);
    if (st == ST_OK && !wrong) {
        st = find_picture(ctx, images, stem, r.file_name, &picture);
        if (st == ST_OK && !picture) st = import_note(ctx, s, ISSUE_NO_PICTURE, "%s: there is no picture of that name in %s", path, images);
    }
    if (st == ST_OK && picture) {
        struct import_image like = { .w = r.w >= 1 && r.w < 1e6 ? (int)r.w : 0, .h = r.h >= 1 && r.h < 1e6 ? (int)r.h : 0 };
        st = import_add_image(ctx, s, picture, stem, &like, NULL);
    } else {
        s->n_box = boxes; /* of a picture that is not there */
    }
    free(picture);
    return st;
}

/* Lists of ImageSets/Main.  Of a devkit with several years: the test list of 2007 validates, all others train (the "07+12" of the
 * literature); of one folder: train and val, or test where there is no val. */
static enum status mark(struct ctx *ctx, const char *root, int first, bool several, struct import_set *s) {
    char path[PATH_ROOM];
    snprintf(path, sizeof path, "%s/ImageSets/Main/val.txt", root);
    const char *const list[] = { several ? "trainval" : "train", several || !io_exists(path) ? "test" : "val" };
    for (int i = 0; i < 2; ++i) {
        int names, missing;
        snprintf(path, sizeof path, "%s/ImageSets/Main/%s.txt", root, list[i]);
        if (io_exists(path)) TRY(import_mark_listed(ctx, s, first, path, i ? PART_VALID : PART_TRAIN, &names, &missing));
    }
    for (int i = first; i < s->n_image; ++i) {
        s->image[i].given = s->image[i].part;
        s->image[i].part = PART_NONE;
    }
    return ST_OK;
}

static int is_xml(const struct dirent *e) { return text_ends_with(e->d_name, ".xml"); }

static enum status read_folder(struct ctx *ctx, const struct import_options *o, const char *root, bool several, struct import_set *s) {
    struct dirent **entry;
    char folder[PATH_ROOM], images[PATH_ROOM], stem[TEXT_ROOM];
    snprintf(folder, sizeof folder, "%s/Annotations", root);
    if (o->images) snprintf(images, sizeof images, "%s", o->images);
    else snprintf(images, sizeof images, "%s/JPEGImages", root);
    if (!import_is_folder(images)) return ctx_fail(ctx, ST_FORMAT, "%s: is no folder; -images names another one", images);
    int n = scandir(folder, &entry, is_xml, alphasort), first = s->n_image;
    enum status st = ST_OK;
    for (int i = 0; i < n; ++i) {
        char *path = import_path(ctx, folder, entry[i]->d_name);
        snprintf(stem, sizeof stem, "%.*s", (int)strlen(entry[i]->d_name) - 4, entry[i]->d_name);
        if (!path) st = ST_MEMORY;
        if (st == ST_OK) st = read_file(ctx, path, images, stem, s);
        if (st == ST_OK) st = import_step(ctx, o, "reading labels", i + 1, n);
        free(path);
        free(entry[i]);
    }
    if (n >= 0) free(entry);
    return st == ST_OK ? mark(ctx, root, first, several, s) : st;
}

enum status import_read_voc(struct ctx *ctx, const struct import_options *o, struct import_set *s) {
    struct dirent **entry;
    char path[PATH_ROOM];
    snprintf(path, sizeof path, "%s/Annotations", o->source);
    if (import_is_folder(path)) return read_folder(ctx, o, o->source, false, s);
    int n = scandir(o->source, &entry, NULL, alphasort), found = 0;
    enum status st = ST_OK;
    for (int i = 0; i < n; ++i) {
        bool fits = snprintf(path, sizeof path, "%s/%s/Annotations", o->source, entry[i]->d_name) < (int)sizeof path;
        if (fits && entry[i]->d_name[0] != '.' && import_is_folder(path) && st == ST_OK) {
            *strrchr(path, '/') = '\0';
            st = read_folder(ctx, o, path, true, s);
            ++found;
        }
        free(entry[i]);
    }
    if (n >= 0) free(entry);
    if (st == ST_OK && !found) st = ctx_fail(ctx, ST_FORMAT, "%s: no Pascal VOC data: it needs the folders Annotations and JPEGImages", o->source);
    return st;
}

#else

enum status import_read_voc(struct ctx *ctx, const struct import_options *o, struct import_set *s) {
    (void)s;
    return ctx_fail(ctx, ST_UNSUPPORTED, "%s: Pascal VOC's labels are XML, and this build has no libexpat; scripts/setup installs it", o->source);
}

#endif
