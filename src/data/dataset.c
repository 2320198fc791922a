#include "data/dataset.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "cfg/keys.h"

static const char BLANKS[] = " \t\r\n\v\f";

/* --- Lines ---------------------------------------------------------------------------------------------- */

/* A text file's lines, cut in place.  The text has a NUL behind it. */
struct lines { char *bytes, *next, *end; int number; };

static enum status lines_open(struct ctx *ctx, const char *path, struct lines *l) {
    size_t size;
    *l = (struct lines){ NULL, NULL, NULL, 0 };
    TRY(io_read(ctx, path, &l->bytes, &size));
    l->next = l->bytes;
    l->end = l->bytes + size;
    if (size >= 3 && !memcmp(l->bytes, "\xEF\xBB\xBF", 3)) l->next += 3;
    if (!memchr(l->bytes, '\0', size)) return ST_OK;
    free(l->bytes);
    l->bytes = NULL;
    return ctx_fail(ctx, ST_FORMAT, "%s: contains NUL bytes, a text file was expected", path);
}

static char *lines_next(struct lines *l) {
    if (l->next >= l->end) return NULL;
    char *line = l->next, *lf = memchr(line, '\n', (size_t)(l->end - line));
    l->next = lf ? lf + 1 : l->end;
    if (lf) *lf = '\0';
    text_chomp(line);
    ++l->number;
    return line;
}

static bool blank(const char *s) { return s[strspn(s, BLANKS)] == '\0'; }

/* --- Lists ---------------------------------------------------------------------------------------------- */

static enum status list_add(struct ctx *ctx, struct text_list *list, const char *text) {
    size_t cap = (size_t)list->cap;
    TRY(mem_grow(ctx, &list->item, &cap, (size_t)list->n + 1, sizeof *list->item));
    list->cap = (int)cap;
    list->item[list->n] = mem_text(ctx, text);
    if (!list->item[list->n]) return ST_MEMORY;
    ++list->n;
    return ST_OK;
}

enum status list_read(struct ctx *ctx, const char *path, struct text_list *list) {
    struct lines l;
    *list = (struct text_list){ 0, 0, NULL };
    TRY(lines_open(ctx, path, &l));
    enum status st = ST_OK;
    int first_blank = 0;
    bool warned = false;
    for (char *line; st == ST_OK && (line = lines_next(&l));) {
        if (blank(line)) {
            if (!first_blank) first_blank = l.number;
            continue;
        }
        if (first_blank && !warned) {
            ctx_log(ctx, LOG_WARN, "%s:%d: blank line skipped, it does not count as an entry", path,
                    first_blank);
            warned = true;
        }
        st = list_add(ctx, list, line);
    }
    free(l.bytes);
    if (st != ST_OK) list_free(list);
    return st;
}

void list_free(struct text_list *list) {
    for (int i = 0; i < list->n; ++i) free(list->item[i]);
    free(list->item);
    *list = (struct text_list){ 0, 0, NULL };
}

/* --- .data files ---------------------------------------------------------------------------------------- */

struct data_numbers { int classes, saveweights, savelast, top; };

static const struct cfg_key data_keys[] = {
    CFG_INT(struct data_numbers, classes, 0, 0, 1 << 24),
    CFG_INT(struct data_numbers, saveweights, 0, 0, 1 << 30),
    CFG_INT(struct data_numbers, savelast, 0, 0, 1 << 30),
    CFG_INT(struct data_numbers, top, 0, 0, 1 << 24),
    /* Text, taken from the raw line because blanks count there. */
    CFG_IGNORED("train"), CFG_IGNORED("valid"), CFG_IGNORED("names"), CFG_IGNORED("backup"),
    CFG_IGNORED("results"), CFG_IGNORED("difficult"), CFG_IGNORED("eval"), CFG_IGNORED("map"),
    CFG_IGNORED("annotations"), /* ours */
    /* Of classifiers. */
    CFG_IGNORED("labels"), CFG_IGNORED("test"), CFG_IGNORED("leaves"),
    CFG_END
};

/* The value as written, without the blanks around it. */
static enum status raw_value(struct ctx *ctx, const struct cfg_doc *doc, const char *key, char **out) {
    const struct cfg_entry *e = cfg_entry(&doc->section[0], key);
    *out = NULL;
    if (!e || !e->value) return ST_OK;
    const char *from = strchr(doc->text[e->line - 1], '=') + 1;
    from += strspn(from, BLANKS);
    *out = mem_text(ctx, from);
    if (!*out) return ST_MEMORY;
    size_t n = strlen(*out);
    while (n && strchr(BLANKS, (*out)[n - 1])) (*out)[--n] = '\0';
    return ST_OK;
}

static enum status data_fill(struct ctx *ctx, const struct cfg_doc *doc, struct data_options *o) {
    const struct { const char *key; char **to; } text[] = {
        { "train", &o->train }, { "valid", &o->valid }, { "names", &o->names }, { "backup", &o->backup },
        { "results", &o->results }, { "difficult", &o->difficult }, { "eval", &o->eval }, { "map", &o->map },
        { "annotations", &o->annotations }, { "labels", &o->labels }, { "test", &o->test }, { "leaves", &o->leaves }
    };
    const struct cfg_key *tables[] = { data_keys };
    struct data_numbers numbers;
    TRY(keys_read(ctx, &doc->section[0], data_keys, &numbers));
    o->classes = numbers.classes;
    o->save_weights = numbers.saveweights;
    o->save_last = numbers.savelast;
    o->top = numbers.top;
    o->path = mem_text(ctx, doc->path);
    if (!o->path) return ST_MEMORY;
    for (size_t i = 0; i < sizeof text / sizeof *text; ++i) TRY(raw_value(ctx, doc, text[i].key, text[i].to));
    return keys_check_unused(ctx, &doc->section[0], tables, 1, false);
}

enum status data_read(struct ctx *ctx, const char *path, struct data_options *o) {
    struct cfg_doc *doc;
    *o = (struct data_options){ 0 };
    TRY(cfg_read(ctx, path, false, &doc));
    enum status st = data_fill(ctx, doc, o);
    cfg_free(doc);
    if (st != ST_OK) data_free(o);
    return st;
}

void data_free(struct data_options *o) {
    char *text[] = { o->train, o->valid, o->names, o->backup, o->results,
                     o->difficult, o->eval, o->map, o->annotations, o->labels, o->test, o->leaves, o->path };
    for (size_t i = 0; i < sizeof text / sizeof *text; ++i) free(text[i]);
    *o = (struct data_options){ 0 };
}

/* --- Label paths ---------------------------------------------------------------------------------------- */

/* In the order upstream applies them, each to its first occurrence. */
static const struct { const char *from, *to; } folders[] = {
    { "/images/train2017/", "/labels/train2017/" }, { "/images/val2017/", "/labels/val2017/" },
    { "/JPEGImages/", "/labels/" },
    { "\\images\\train2017\\", "\\labels\\train2017\\" }, { "\\images\\val2017\\", "\\labels\\val2017\\" },
    { "\\images\\train2014\\", "\\labels\\train2014\\" }, { "\\images\\val2014\\", "\\labels\\val2014\\" },
    { "/images/train2014/", "/labels/train2014/" }, { "/images/val2014/", "/labels/val2014/" },
    { "\\JPEGImages\\", "\\labels\\" }
};

static const char *const extensions[] = {
    ".jpg", ".JPG", ".jpeg", ".JPEG", ".png", ".PNG", ".bmp", ".BMP", ".ppm", ".PPM", ".tiff", ".TIFF"
};

/* The first `from` in s becomes `to`, which is not longer. */
static void exchange(char *s, const char *from, const char *to) {
    char *at = strstr(s, from);
    size_t old = strlen(from), fresh = strlen(to);
    if (!at) return;
    memcpy(at, to, fresh);
    memmove(at + fresh, at + old, strlen(at + old) + 1);
}

static void trim(char *s) {
    size_t from = strspn(s, BLANKS), n = strlen(s + from);
    memmove(s, s + from, n + 1);
    while (n && strchr(BLANKS, s[n - 1])) s[--n] = '\0';
}

static void label_extension(char *s) {
    for (size_t i = 0; i < sizeof extensions / sizeof *extensions; ++i)
        if (text_ends_with(s, extensions[i])) {
            memcpy(s + strlen(s) - strlen(extensions[i]), ".txt", 5);
            return;
        }
}

char *label_path(struct ctx *ctx, const char *image_path) {
    char *path = mem_text(ctx, image_path);
    if (!path) return NULL;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; ++i)
        exchange(path, folders[i].from, folders[i].to);
    trim(path);
    label_extension(path);
    if (!strstr(path, "/images/") || io_exists(path)) return path;
    char *other = mem_text(ctx, path);
    if (!other) {
        free(path);
        return NULL;
    }
    exchange(other, "/images/", "/labels/");
    bool better = io_exists(other);
    free(better ? path : other);
    return better ? other : path;
}

/* --- Labels --------------------------------------------------------------------------------------------- */

static const double ROUNDING = 1e-5;
static const char *const column[] = { "class", "x", "y", "width", "height" };

/* One line's columns; false: `why` says what is wrong. */
static bool parse_columns(char *line, double v[5], char *why, size_t size) {
    char *at = line;
    for (int i = 0; i < 5; ++i) {
        char *token = at + strspn(at, BLANKS);
        at = token + strcspn(token, BLANKS);
        if (at == token) {
            snprintf(why, size, "%d columns, but 'class x y width height' is needed", i);
            return false;
        }
        if (*at) *at++ = '\0';
        const char *rest = token;
        int id = 0;
        bool ok = i == 0 ? text_int(token, &id, &rest) : text_double(token, &v[i], &rest);
        if (i == 0) v[0] = id;
        if (!ok || *rest) {
            snprintf(why, size, "%s '%.40s' is not a %s", column[i], token,
                     i == 0 ? "whole number" : "finite number");
            return false;
        }
    }
    return true;
}

static bool check_box(const double v[5], int classes, char *why, size_t size) {
    if (v[0] < 0 || (classes > 0 && v[0] >= classes)) {
        if (classes > 0)
            snprintf(why, size, "class %.0f is out of range, 0 to %d is allowed", v[0], classes - 1);
        else
            snprintf(why, size, "class %.0f is negative", v[0]);
        return false;
    }
    for (int i = 1; i < 3; ++i)
        if (v[i] < -ROUNDING || v[i] > 1 + ROUNDING) {
            snprintf(why, size, "centre %s %g lies outside the image, 0 to 1 is allowed", column[i], v[i]);
            return false;
        }
    for (int i = 3; i < 5; ++i)
        if (!((float)v[i] > 0)) {
            snprintf(why, size, "%s %g gives a box without extent, it must be above 0", column[i], v[i]);
            return false;
        }
    return true;
}

static float clip(double v) { return (float)fmin(fmax(v, 0), 1); }

static enum status add_truth(struct ctx *ctx, struct truth_list *list, const double v[5]) {
    size_t cap = (size_t)list->cap;
    TRY(mem_grow(ctx, &list->item, &cap, (size_t)list->n + 1, sizeof *list->item));
    list->cap = (int)cap;
    list->item[list->n++] =
        (struct truth){ { clip(v[1]), clip(v[2]), clip(v[3]), clip(v[4]) }, (int)v[0], -1 };
    return ST_OK;
}

static enum status report(struct ctx *ctx, struct label_issues *issues, const char *path, int line,
                          const char *why) {
    if (!issues) return ctx_fail(ctx, ST_FORMAT, "%s:%d: %s", path, line, why);
    size_t cap = (size_t)issues->cap;
    TRY(mem_grow(ctx, &issues->item, &cap, (size_t)issues->n + 1, sizeof *issues->item));
    issues->cap = (int)cap;
    struct label_issue *issue = &issues->item[issues->n++];
    issue->line = line;
    snprintf(issue->text, sizeof issue->text, "%s", why);
    return ST_OK;
}

static enum status read_label(struct ctx *ctx, char *line, int number, const char *path, int classes,
                              struct truth_list *list, struct label_issues *issues) {
    double v[5];
    char why[sizeof ((struct label_issue *)0)->text];
    if (!parse_columns(line, v, why, sizeof why) || !check_box(v, classes, why, sizeof why))
        return report(ctx, issues, path, number, why);
    for (int i = 3; i < 5; ++i)
        if (v[i] > 1 + ROUNDING) {
            snprintf(why, sizeof why, "%s %g is larger than the image, at most 1 is allowed", column[i],
                     v[i]);
            TRY(report(ctx, issues, path, number, why));
        }
    return add_truth(ctx, list, v);
}

enum status labels_read(struct ctx *ctx, const char *path, int classes, struct truth_list *list,
                        struct label_issues *issues) {
    struct lines l;
    TRY(lines_open(ctx, path, &l));
    enum status st = ST_OK;
    for (char *line; st == ST_OK && (line = lines_next(&l));)
        if (!blank(line)) st = read_label(ctx, line, l.number, path, classes, list, issues);
    free(l.bytes);
    return st;
}

enum status labels_of(struct ctx *ctx, const char *image_path, int classes, bool strict, struct truth_list *truth) {
    char *path = label_path(ctx, image_path);
    if (!path) return ctx->code;
    struct label_issues issues = { 0, 0, NULL };
    enum status st = ST_OK;
    truth->n = 0;
    if (io_exists(path))
        st = labels_read(ctx, path, classes, truth, strict ? NULL : &issues);
    else if (strict)
        st = ctx_fail(ctx, ST_IO, "%s: label file missing (of %s); an image without objects needs an empty one", path,
                      image_path);
    free(issues.item);
    free(path);
    return st;
}
