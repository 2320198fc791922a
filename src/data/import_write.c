/* The data set on disk. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/text.h"
#include "data/import_report.h"
#include "data/json.h"
#include "data/kitti_file.h"

enum { PATH_ROOM = 4096 };
static const char *const part_name[] = { "", "train", "valid" };

/* Written under `temp`, read later under `out`. */
struct writer {
    const struct import_options *options;
    struct import_set *set;
    char out[PATH_ROOM], temp[PATH_ROOM];
    int *order, *first;              /* boxes by picture: order[first[i]] .. order[first[i + 1] - 1] */
    bool difficult, kitti;
};

static enum status path_in(struct ctx *ctx, char path[PATH_ROOM], const char *folder, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static enum status path_in(struct ctx *ctx, char path[PATH_ROOM], const char *folder, const char *fmt, ...) {
    int n = snprintf(path, PATH_ROOM, "%s/", folder);
    va_list args;
    va_start(args, fmt);
    if (n < PATH_ROOM) n += vsnprintf(path + n, (size_t)(PATH_ROOM - n), fmt, args);
    va_end(args);
    return n < PATH_ROOM ? ST_OK : ctx_fail(ctx, ST_USAGE, "%s: path of more than %d characters", folder, PATH_ROOM);
}

/* Files below `temp` need no temporary name and no sync of their own: the folder gets both. */
static enum status open_in(struct ctx *ctx, const struct writer *w, FILE **file, char path[PATH_ROOM], const char *name) {
    TRY(path_in(ctx, path, w->temp, "%s", name));
    *file = fopen(path, "wb");
    return *file ? ST_OK : ctx_fail(ctx, ST_IO, "%s: cannot be written: %s", path, strerror(errno));
}

static enum status close_in(struct ctx *ctx, FILE *file, const char *path) {
    errno = 0;
    bool ok = !ferror(file);
    ok = fclose(file) == 0 && ok;
    return ok ? ST_OK : ctx_fail(ctx, ST_IO, "%s: cannot be written: %s", path, errno ? strerror(errno) : "write error");
}

/* --- Pictures and labels ------------------------------------------------------------------------------------ */

static bool used(const struct import_image *im) { return im->part != PART_NONE && !im->left_out; }

/* Darknet finds labels by these extensions only, in one case. */
static void file_name(const struct import_image *im, char name[PATH_ROOM]) {
    const char *dot = strrchr(im->path, '.'), *slash = strrchr(im->path, '/');
    int n = snprintf(name, PATH_ROOM, "%s%s", im->name, dot && (!slash || dot > slash) ? dot : ".jpg");
    for (char *p = name + strlen(im->name); n < PATH_ROOM && *p; ++p)
        if (*p >= 'A' && *p <= 'Z') *p = (char)(*p - 'A' + 'a');
}

static enum status copy_file(struct ctx *ctx, const char *from, const char *to) {
    char block[65536];
    size_t got;
    FILE *in = fopen(from, "rb");
    if (!in) return ctx_fail(ctx, ST_IO, "%s: %s", from, strerror(errno));
    FILE *out = fopen(to, "wb");
    if (!out) {
        fclose(in);
        return ctx_fail(ctx, ST_IO, "%s: cannot be written: %s", to, strerror(errno));
    }
    while ((got = fread(block, 1, sizeof block, in)) > 0 && fwrite(block, 1, got, out) == got) {}
    bool failed = ferror(in);
    fclose(in);
    enum status st = close_in(ctx, out, to);
    return failed ? ctx_fail(ctx, ST_IO, "%s: cannot be read", from) : st;
}

static enum status link_file(struct ctx *ctx, const char *from, const char *to) {
    char *whole = realpath(from, NULL);
    if (!whole) return ctx_fail(ctx, ST_IO, "%s: %s", from, strerror(errno));
    bool ok = symlink(whole, to) == 0;
    if (!ok) ctx_fail(ctx, ST_IO, "%s: cannot be linked (%s); -copy copies the pictures", to, strerror(errno));
    free(whole);
    return ok ? ST_OK : ST_IO;
}

static enum status write_labels(struct ctx *ctx, const struct writer *w, int image, const char *name, bool difficult) {
    const struct import_set *s = w->set;
    const struct import_image *im = &s->image[image];
    char path[PATH_ROOM];
    FILE *file;
    TRY(open_in(ctx, w, &file, path, name));
    for (int k = w->first[image]; k < w->first[image + 1]; ++k) {
        const struct import_box *b = &s->box[w->order[k]];
        double v[4];
        bool wanted = difficult ? b->difficult && s->type[b->type].class_id >= 0 : b->kept;
        if (!wanted || !import_clip(im, b, v)) continue;
        fprintf(file, "%d %.6f %.6f %.6f %.6f\n", s->type[b->type].class_id, (v[0] + v[2]) / 2 / im->w, (v[1] + v[3]) / 2 / im->h,
                (v[2] - v[0]) / im->w, (v[3] - v[1]) / im->h);
    }
    return close_in(ctx, file, path);
}

/* --- What KITTI's rules need -------------------------------------------------------------------------------- */

struct kitti_copy { const struct import_set *set; FILE *file; };

/* The benchmark's own names stay where its rules know them beside the class: a van is excused for car, not counted as one.  All
 * other names become those that the network says. */
static enum status copy_line(struct ctx *ctx, void *user, const struct kitti_line *k) {
    static const struct { const char *type, *class; } neighbour[] = { { "Van", "car" }, { "Person_sitting", "pedestrian" } };
    const struct kitti_copy *c = user;
    const char *name = k->type;
    (void)ctx;
    if (k->wrong) return ST_OK;
    for (int i = 0; i < c->set->n_type; ++i) {
        const struct import_type *t = &c->set->type[i];
        if (strcasecmp(t->name, k->type) != 0) continue;
        if (t->class_id == IMPORT_REGION) name = "DontCare";
        if (t->class_id < 0) break;
        const char *class = c->set->classes.item[t->class_id];
        bool stays = strpbrk(class, " \t") != NULL; /* no name that a KITTI line could hold */
        for (int n = 0; n < 2; ++n) stays |= !strcasecmp(neighbour[n].type, k->type) && !strcasecmp(neighbour[n].class, class);
        if (!stays && strcasecmp(class, k->type) != 0) name = class;
    }
    fputs(name, c->file);
    fprintf(c->file, "%s\n", k->text + strspn(k->text, " \t") + strlen(k->type));
    return ST_OK;
}

static enum status copy_kitti(struct ctx *ctx, const struct writer *w, const struct import_image *im) {
    char path[PATH_ROOM], name[PATH_ROOM];
    struct kitti_copy c = { w->set, NULL };
    snprintf(name, sizeof name, "label_2/%s.txt", im->name);
    TRY(open_in(ctx, w, &c.file, path, name));
    enum status st = kitti_each(ctx, im->labels, copy_line, &c), closed = close_in(ctx, c.file, path);
    return st != ST_OK ? st : closed;
}

/* --- What COCO's rules need --------------------------------------------------------------------------------- */

static void print_text(FILE *file, const char *text) {
    cJSON *o = cJSON_CreateString(text);
    char *quoted = o ? cJSON_PrintUnformatted(o) : NULL;
    fputs(quoted ? quoted : "\"\"", file);
    free(quoted);
    cJSON_Delete(o);
}

static int by_number(const void *a, const void *b) {
    long long x = *(const long long *)a, y = *(const long long *)b;
    return x < y ? -1 : x > y;
}

/* Two files may have numbered their pictures alike. */
static enum status unique_ids(struct ctx *ctx, struct import_set *s) {
    long long *id = mem_zero(ctx, (size_t)s->n_image, sizeof *id);
    if (!id) return ST_MEMORY;
    bool twice = false;
    for (int i = 0; i < s->n_image; ++i) id[i] = s->image[i].id;
    qsort(id, (size_t)s->n_image, sizeof *id, by_number);
    for (int i = 1; i < s->n_image; ++i) twice |= id[i] == id[i - 1];
    free(id);
    for (int i = 0; twice && i < s->n_image; ++i) s->image[i].id = i + 1;
    return ST_OK;
}

/* A class keeps the number of the name it came from, so that other detectors' result files fit. */
static long long class_number(const struct import_set *s, int class_id) {
    for (int i = 0; i < s->n_type; ++i)
        if (s->type[i].class_id == class_id && s->type[i].id > 0) return s->type[i].id;
    return class_id + 1;
}

static void print_truth(const struct writer *w, FILE *file) {
    const struct import_set *s = w->set;
    const char *between = "";
    char name[PATH_ROOM];
    int n = 0;
    fputs("{\"images\":[", file);
    for (int i = 0; i < s->n_image; ++i) {
        const struct import_image *im = &s->image[i];
        if (!used(im) || im->part != PART_VALID) continue;
        file_name(im, name);
        fprintf(file, "%s\n{\"id\":%lld,\"width\":%d,\"height\":%d,\"file_name\":", between, im->id, im->w, im->h);
        print_text(file, name);
        fputs("}", file);
        between = ",";
    }
    fputs("],\n\"annotations\":[", file);
    between = "";
    for (int i = 0; i < s->n_image; ++i) {
        const struct import_image *im = &s->image[i];
        for (int k = w->first[i]; used(im) && im->part == PART_VALID && k < w->first[i + 1]; ++k) {
            const struct import_box *b = &s->box[w->order[k]];
            int class_id = s->type[b->type].class_id;
            if (class_id < 0 || b->w < 0 || b->h < 0) continue;
            fprintf(file, "%s\n{\"id\":%d,\"image_id\":%lld,\"category_id\":%lld,\"bbox\":[%.15g,%.15g,%.15g,%.15g],\"area\":%.15g,\"iscrowd\":%d}", between, ++n,
                    im->id, class_number(s, class_id), b->x, b->y, b->w, b->h, b->area, b->crowd);
            between = ",";
        }
    }
    fputs("],\n\"categories\":[", file);
    for (int c = 0; c < s->classes.n; ++c) {
        fprintf(file, "%s\n{\"id\":%lld,\"name\":", c ? "," : "", class_number(s, c));
        print_text(file, s->classes.item[c]);
        fputs("}", file);
    }
    fputs("]}\n", file);
}

static enum status write_truth(struct ctx *ctx, const struct writer *w) {
    char path[PATH_ROOM];
    FILE *file;
    TRY(unique_ids(ctx, w->set));
    TRY(open_in(ctx, w, &file, path, "annotations.json"));
    print_truth(w, file);
    return close_in(ctx, file, path);
}

/* --- The set ------------------------------------------------------------------------------------------------ */

static enum status index_boxes(struct ctx *ctx, struct writer *w) {
    const struct import_set *s = w->set;
    w->order = mem_zero(ctx, (size_t)s->n_box, sizeof *w->order);
    w->first = mem_zero(ctx, (size_t)s->n_image + 2, sizeof *w->first);
    if (!w->order || !w->first) return ST_MEMORY;
    for (int i = 0; i < s->n_box; ++i) ++w->first[s->box[i].image + 2];
    for (int i = 2; i <= s->n_image; ++i) w->first[i] += w->first[i - 1];
    for (int i = 0; i < s->n_box; ++i) w->order[w->first[s->box[i].image + 1]++] = i;
    return ST_OK;
}

static enum status write_picture(struct ctx *ctx, const struct writer *w, int i) {
    const struct import_image *im = &w->set->image[i];
    char name[PATH_ROOM], path[PATH_ROOM], labels[2 * PATH_ROOM];
    file_name(im, name);
    TRY(path_in(ctx, path, w->temp, "images/%s/%s", part_name[im->part], name));
    TRY(w->options->copy ? copy_file(ctx, im->path, path) : link_file(ctx, im->path, path));
    snprintf(labels, sizeof labels, "images/%s/%s.txt", part_name[im->part], im->name);
    TRY(write_labels(ctx, w, i, labels, false));
    if (im->part != PART_VALID) return ST_OK;
    snprintf(labels, sizeof labels, "difficult/%s.txt", im->name);
    if (w->difficult) TRY(write_labels(ctx, w, i, labels, true));
    return w->kitti ? copy_kitti(ctx, w, im) : ST_OK;
}

static enum status write_list(struct ctx *ctx, const struct writer *w, const char *file, enum import_part part, const char *folder, int *count) {
    char path[PATH_ROOM], name[PATH_ROOM];
    FILE *list;
    TRY(open_in(ctx, w, &list, path, file));
    *count = 0;
    for (int i = 0; i < w->set->n_image; ++i) {
        if (!used(&w->set->image[i]) || w->set->image[i].part != part) continue;
        file_name(&w->set->image[i], name);
        fprintf(list, "%s/%s/%s\n", w->out, folder, name);
        ++*count;
    }
    TRY(close_in(ctx, list, path));
    if (*count == 0) unlink(path); /* an empty list is one more thing to wonder about */
    return ST_OK;
}

static enum status write_description(struct ctx *ctx, const struct writer *w) {
    const char *kind = import_kind_name[w->options->kind];
    char path[PATH_ROOM], name[64];
    int train, valid, difficult;
    FILE *file;
    snprintf(name, sizeof name, "%s.names", kind);
    TRY(open_in(ctx, w, &file, path, name));
    for (int c = 0; c < w->set->classes.n; ++c) fprintf(file, "%s\n", w->set->classes.item[c]);
    TRY(close_in(ctx, file, path));
    TRY(write_list(ctx, w, "train.txt", PART_TRAIN, "images/train", &train));
    TRY(write_list(ctx, w, "valid.txt", PART_VALID, "images/valid", &valid));
    if (w->difficult) TRY(write_list(ctx, w, "difficult.txt", PART_VALID, "difficult", &difficult));
    if (w->set->coco_truth && valid) TRY(write_truth(ctx, w));
    snprintf(name, sizeof name, "%s.data", kind);
    TRY(open_in(ctx, w, &file, path, name));
    fprintf(file, "classes = %d\n", w->set->classes.n);
    if (train) fprintf(file, "train = %s/train.txt\n", w->out);
    if (valid) fprintf(file, "valid = %s/valid.txt\n", w->out);
    fprintf(file, "names = %s/%s.names\nbackup = %s/backup\n", w->out, kind, w->out);
    if (w->difficult && valid) fprintf(file, "difficult = %s/difficult.txt\n", w->out);
    if (w->kitti && valid) fprintf(file, "annotations = %s/label_2\n", w->out);
    if (w->set->coco_truth && valid) fprintf(file, "annotations = %s/annotations.json\n", w->out);
    return close_in(ctx, file, path);
}

static enum status make_folders(struct ctx *ctx, const struct writer *w) {
    const struct { const char *name; bool wanted; } folder[] = {
        { "images/train", true }, { "images/valid", true }, { "backup", true }, { "label_2", w->kitti }, { "difficult", w->difficult }
    };
    char path[PATH_ROOM];
    for (size_t i = 0; i < sizeof folder / sizeof *folder; ++i) {
        if (!folder[i].wanted) continue;
        TRY(path_in(ctx, path, w->temp, "%s", folder[i].name));
        TRY(io_make_dirs(ctx, path));
    }
    return ST_OK;
}

static enum status write_report(struct ctx *ctx, const struct writer *w, char **report) {
    char path[PATH_ROOM], *whole = NULL;
    FILE *file;
    TRY(import_report(ctx, w->options, w->set, w->out, -1, &whole));
    enum status st = open_in(ctx, w, &file, path, "import.txt");
    if (st == ST_OK) {
        fputs(whole, file);
        st = close_in(ctx, file, path);
    }
    free(whole);
    return st == ST_OK ? import_report(ctx, w->options, w->set, w->out, 10, report) : st;
}

static enum status write_all(struct ctx *ctx, struct writer *w, char **report) {
    struct import_set *s = w->set;
    int total = 0, done = 0;
    TRY(make_folders(ctx, w));
    TRY(index_boxes(ctx, w));
    for (int i = 0; i < s->n_image; ++i) total += used(&s->image[i]);
    for (int i = 0; i < s->n_image; ++i) {
        if (!used(&s->image[i])) continue;
        TRY(write_picture(ctx, w, i));
        TRY(import_step(ctx, w->options, "writing", ++done, total));
    }
    TRY(write_description(ctx, w));
    return write_report(ctx, w, report);
}

/* --- The folder --------------------------------------------------------------------------------------------- */

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)st, (void)type, (void)at;
    return remove(path);
}

static void remove_tree(const char *path) { nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS); }

static bool made_by_import(const char *name) {
    static const char *const own[] = { "images", "label_2", "difficult", "train.txt", "valid.txt", "difficult.txt", "annotations.json", "import.txt" };
    for (size_t i = 0; i < sizeof own / sizeof *own; ++i)
        if (!strcmp(name, own[i])) return true;
    for (int k = 0; k < IMPORT_KINDS; ++k) {
        size_t n = strlen(import_kind_name[k]);
        if (!strncmp(name, import_kind_name[k], n) && (!strcmp(name + n, ".data") || !strcmp(name + n, ".names"))) return true;
    }
    return false;
}

/* What the user put into a former import (trained weights in backup/) moves into the new one. */
static enum status take_over(struct ctx *ctx, const char *old, const struct writer *w) {
    struct dirent **entry;
    int n = scandir(old, &entry, NULL, alphasort);
    enum status st = ST_OK;
    for (int i = 0; i < n; ++i) {
        char from[PATH_ROOM], to[PATH_ROOM];
        const char *name = entry[i]->d_name;
        if (st == ST_OK && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && !made_by_import(name)) {
            st = path_in(ctx, from, old, "%s", name);
            if (st == ST_OK) st = path_in(ctx, to, w->out, "%s", name);
            if (st == ST_OK) rmdir(to); /* the empty backup/ */
            if (st == ST_OK && rename(from, to) != 0) st = ctx_fail(ctx, ST_IO, "%s: cannot be moved to %s: %s", from, to, strerror(errno));
        }
        free(entry[i]);
    }
    if (n >= 0) free(entry);
    return st;
}

static enum status put_in_place(struct ctx *ctx, const struct writer *w) {
    char old[PATH_ROOM + 32];
    int folder = open(w->temp, O_RDONLY | O_DIRECTORY);
    if (folder >= 0) {
        syncfs(folder);
        close(folder);
    }
    snprintf(old, sizeof old, "%s.old.%ld", w->out, (long)getpid());
    bool replaced = rename(w->out, old) == 0;
    if (!replaced && errno != ENOENT) return ctx_fail(ctx, ST_IO, "%s: cannot be replaced: %s", w->out, strerror(errno));
    if (rename(w->temp, w->out) != 0) {
        ctx_fail(ctx, ST_IO, "%s: cannot be made: %s", w->out, strerror(errno));
        if (replaced && rename(old, w->out) != 0) ctx_log(ctx, LOG_WARN, "%s: the data set of before is there", old);
        return ST_IO;
    }
    if (!replaced) return ST_OK;
    TRY(take_over(ctx, old, w));
    remove_tree(old);
    return ST_OK;
}

static enum status plain_out(struct ctx *ctx, const char *out, char path[PATH_ROOM]) {
    int n = snprintf(path, PATH_ROOM, "%s", out);
    if (n >= PATH_ROOM - 512) return ctx_fail(ctx, ST_USAGE, "%s: path of more than %d characters", out, PATH_ROOM - 512);
    while (n > 1 && path[n - 1] == '/') path[--n] = '\0';
    if (!n || strpbrk(path, "\r\n")) return ctx_fail(ctx, ST_USAGE, "'%s': is no name for a folder", out);
    return ST_OK;
}

enum status import_check_out(struct ctx *ctx, const struct import_options *o) {
    char out[PATH_ROOM], path[PATH_ROOM];
    TRY(plain_out(ctx, o->out, out));
    TRY(path_in(ctx, path, out, "images/train/x.jpg"));
    char *labels = label_path(ctx, path);
    if (!labels) return ST_MEMORY;
    bool beside = !strncmp(labels, path, strlen(path) - 4);
    free(labels);
    if (!beside) return ctx_fail(ctx, ST_USAGE, "%s: holds a name that Darknet exchanges for 'labels' (JPEGImages, images/train2017 and the like); choose another folder", out);
    struct stat st;
    if (stat(out, &st) != 0) return ST_OK;
    if (!S_ISDIR(st.st_mode)) return ctx_fail(ctx, ST_USAGE, "%s: is there already, and no folder", out);
    if (rmdir(out) == 0) return ST_OK; /* an empty one */
    TRY(path_in(ctx, path, out, "import.txt"));
    if (!io_exists(path)) return ctx_fail(ctx, ST_USAGE, "%s: is there already and was not made by an import; choose another folder", out);
    return o->force ? ST_OK : ctx_fail(ctx, ST_USAGE, "%s: is there already; -force replaces it (backup/ and files of yours stay)", out);
}

enum status import_write(struct ctx *ctx, const struct import_options *o, struct import_set *s, char **report) {
    struct writer w = { .options = o, .set = s, .kitti = o->kind == IMPORT_KITTI };
    TRY(plain_out(ctx, o->out, w.out));
    snprintf(w.temp, sizeof w.temp, "%.*s.tmp.%ld", PATH_ROOM - 64, w.out, (long)getpid());
    for (int i = 0; i < s->n_box; ++i) {
        const struct import_box *b = &s->box[i];
        w.difficult |= b->difficult && s->type[b->type].class_id >= 0 && used(&s->image[b->image]) && s->image[b->image].part == PART_VALID;
    }
    enum status st = write_all(ctx, &w, report);
    if (st == ST_OK) st = put_in_place(ctx, &w);
    if (st != ST_OK) {
        remove_tree(w.temp);
        free(*report);
        *report = NULL;
    }
    free(w.order), free(w.first);
    return st;
}
