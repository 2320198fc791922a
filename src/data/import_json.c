#include "data/import_json.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"

enum { DEPTH = 3, PATH_ROOM = 4096 };

void json_sources_free(struct json_sources *s) {
    for (int i = 0; i < s->n; ++i) {
        free(s->item[i].path);
        for (int k = 0; k < s->item[i].n_folder; ++k) free(s->item[i].folder[k]);
    }
    *s = (struct json_sources){ 0 };
}

static enum import_part part_of_name(const char *name) {
    if (strstr(name, "train")) return PART_TRAIN;
    return strstr(name, "val") ? PART_VALID : PART_NONE;
}

/* The file's own name decides, else its folder's. */
static enum import_part part_of(const char *path) {
    const char *slash = strrchr(path, '/'), *folder = slash;
    enum import_part part = part_of_name(slash ? slash + 1 : path);
    if (part != PART_NONE || !slash) return part;
    char name[256];
    while (folder > path && folder[-1] != '/') --folder;
    snprintf(name, sizeof name, "%.*s", (int)(slash - folder), folder);
    return part_of_name(name);
}

static enum status add_folder(struct ctx *ctx, struct json_source *s, const char *path) {
    if (!import_is_folder(path) || s->n_folder == (int)(sizeof s->folder / sizeof *s->folder)) return ST_OK;
    s->folder[s->n_folder] = mem_text(ctx, path);
    return s->folder[s->n_folder++] ? ST_OK : ST_MEMORY;
}

/* The last word of the file's name: train2017 of instances_train2017.json. */
static void word_of(const char *path, char *word, size_t size) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *score = strrchr(name, '_'), *from = score ? score + 1 : name;
    snprintf(word, size, "%.*s", (int)strcspn(from, "."), from);
}

static enum status find_folders(struct ctx *ctx, const struct import_options *o, const struct json_pattern *p, struct json_source *s) {
    char word[128], base[PATH_ROOM], path[PATH_ROOM + 256];
    word_of(s->path, word, sizeof word);
    if (o->images) {
        snprintf(path, sizeof path, "%s/%s", o->images, word);
        TRY(add_folder(ctx, s, path));
        TRY(add_folder(ctx, s, o->images));
        return s->n_folder ? ST_OK : ctx_fail(ctx, ST_IO, "%s: is no folder", o->images);
    }
    snprintf(base, sizeof base, "%s", s->path);
    for (int up = 0; up < DEPTH; ++up) {
        char *slash = strrchr(base, '/');
        if (slash) *slash = '\0';
        else strcpy(base, ".");
        for (int k = 0; p->folders[k]; ++k) {
            int n = snprintf(path, sizeof path, "%s/", base);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(path + n, sizeof path - (size_t)n, p->folders[k], word);
#pragma GCC diagnostic pop
            TRY(add_folder(ctx, s, path));
        }
        if (!slash || !strcmp(base, o->source)) break; /* not above the source */
    }
    return ST_OK;
}

static enum status add_source(struct ctx *ctx, const struct json_pattern *p, const char *path, enum import_part part, struct json_sources *s) {
    for (int i = 0; i < s->n; ++i)
        if (s->item[i].part == part)
            return ctx_fail(ctx, ST_USAGE, "%s and %s: which one? Name the file in place of the folder, or take a folder with one %s", s->item[i].path, path,
                            p->what);
    struct json_source *item = &s->item[s->n];
    *item = (struct json_source){ .path = mem_text(ctx, path), .part = part };
    if (!item->path) return ST_MEMORY;
    ++s->n;
    return ST_OK;
}

static int may_hold_json(const struct dirent *e) {
    return e->d_name[0] != '.' && (e->d_type == DT_DIR || e->d_type == DT_LNK || e->d_type == DT_UNKNOWN || text_ends_with(e->d_name, ".json"));
}

static enum status scan(struct ctx *ctx, const struct json_pattern *p, const char *folder, int depth, struct json_sources *s) {
    struct dirent **entry;
    int n = scandir(folder, &entry, may_hold_json, alphasort);
    enum status st = ST_OK;
    for (int i = 0; i < n; ++i) {
        char path[PATH_ROOM];
        bool fits = snprintf(path, sizeof path, "%s/%s", folder, entry[i]->d_name) < (int)sizeof path && st == ST_OK;
        if (fits && text_ends_with(path, ".json") && p->fits(entry[i]->d_name) && part_of(path) != PART_NONE)
            st = add_source(ctx, p, path, part_of(path), s);
        else if (fits && depth > 1 && !text_ends_with(path, ".json") && !text_ends_with(path, ".jpg") && import_is_folder(path))
            st = scan(ctx, p, path, depth - 1, s);
        free(entry[i]);
    }
    if (n >= 0) free(entry);
    return st;
}

enum status json_sources_find(struct ctx *ctx, const struct import_options *o, const struct json_pattern *p, struct json_sources *s) {
    *s = (struct json_sources){ 0 };
    if (import_is_folder(o->source)) TRY(scan(ctx, p, o->source, DEPTH, s));
    else TRY(add_source(ctx, p, o->source, part_of(o->source), s));
    if (!s->n) return ctx_fail(ctx, ST_FORMAT, "%s: has no %s; a file of another name can be given itself, in place of the folder", o->source, p->what);
    for (int i = 0; i < s->n; ++i) TRY(find_folders(ctx, o, p, &s->item[i]));
    return ST_OK;
}

enum status json_source_picture(struct ctx *ctx, struct json_source *s, const char *name, char **path) {
    *path = NULL;
    for (int i = 0; i < s->n_folder; ++i) {
        int k = (s->last + i) % s->n_folder;
        char *candidate = import_path(ctx, s->folder[k], name);
        if (!candidate) return ST_MEMORY;
        if (io_exists(candidate)) {
            s->last = k;
            *path = candidate;
            return ST_OK;
        }
        free(candidate);
    }
    return ST_OK;
}
