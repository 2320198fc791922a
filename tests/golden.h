/* Finding recorded models and files by pattern. */
#ifndef TESTS_GOLDEN_H
#define TESTS_GOLDEN_H

#include <cjson/cJSON.h>
#include <dirent.h>
#include <ftw.h>

#include "base/ctx.h"
#include "base/io.h"
#include "base/text.h"
#include "test.h"

static char golden_wanted_[512], golden_found_[1024];

static inline int golden_visit_(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)st;
    if (type != FTW_F || strcmp(path + at->base, golden_wanted_)) return 0;
    snprintf(golden_found_, sizeof golden_found_, "%s", path);
    return 1;
}

/* Path of the file called `name` somewhere under root/folder; "" when there is none. */
static inline const char *golden_find(const char *root, const char *folder, const char *name) {
    char top[1024];
    snprintf(top, sizeof top, "%s/%s", root, folder);
    snprintf(golden_wanted_, sizeof golden_wanted_, "%s", name);
    golden_found_[0] = '\0';
    nftw(top, golden_visit_, 16, FTW_PHYS);
    return golden_found_;
}

/* Calls visit for every file of root/folder whose name ends with `suffix`, in name order. */
static inline int golden_each(const char *root, const char *folder, const char *suffix,
                              void (*visit)(const char *root, const char *path, const char *stem)) {
    char dir[1024];
    struct dirent **entry;
    int done = 0;
    snprintf(dir, sizeof dir, "%s/%s", root, folder);
    int n = scandir(dir, &entry, NULL, alphasort);
    for (int i = 0; i < n; ++i) {
        if (text_ends_with(entry[i]->d_name, suffix)) {
            char path[2048], stem[256];
            snprintf(path, sizeof path, "%s/%s", dir, entry[i]->d_name);
            snprintf(stem, sizeof stem, "%.*s", (int)(strlen(entry[i]->d_name) - strlen(suffix)), entry[i]->d_name);
            visit(root, path, stem);
            ++done;
        }
        free(entry[i]);
    }
    if (n >= 0) free(entry);
    return done;
}

static inline cJSON *golden_json(const char *path) {
    struct ctx ctx = { 0 };
    char *bytes;
    size_t size;
    if (io_read(&ctx, path, &bytes, &size) != ST_OK) return NULL;
    cJSON *json = cJSON_Parse(bytes);
    free(bytes);
    return json;
}

static inline double golden_number(const cJSON *o, const char *name) {
    const cJSON *v = cJSON_GetObjectItem(o, name);
    return cJSON_IsNumber(v) ? v->valuedouble : NAN;
}

#endif
