/* Finding recorded models and files by pattern. */
#ifndef TESTS_GOLDEN_H
#define TESTS_GOLDEN_H

#include <cjson/cJSON.h>
#include <dirent.h>
#include <ftw.h>

#include "base/ctx.h"
#include "base/io.h"
#include "base/text.h"
#include "data/dataset.h"
#include "test.h"

static char golden_wanted_[1024], golden_found_[1024];
static struct text_list golden_paths_;
static size_t golden_paths_cap_;

/* Links are followed: recorded data may be gathered from several places. */
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
    snprintf(golden_wanted_, sizeof golden_wanted_, "%s", name ? name : "");
    golden_found_[0] = '\0';
    nftw(top, golden_visit_, 16, 0);
    return golden_found_;
}

static inline int golden_collect_(const char *path, const struct stat *st, int type, struct FTW *at) {
    struct ctx ctx = { 0 };
    (void)st, (void)at;
    if (type != FTW_F || !text_ends_with(path, golden_wanted_)) return 0;
    if (mem_grow(&ctx, &golden_paths_.item, &golden_paths_cap_, (size_t)golden_paths_.n + 1, sizeof *golden_paths_.item) != ST_OK) return 1;
    golden_paths_.item[golden_paths_.n++] = mem_text(&ctx, path);
    return 0;
}

static inline int golden_by_name_(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* All files with this ending under root/folder and the folders in it, in name order; the caller frees the list. */
static inline struct text_list golden_all(const char *root, const char *folder, const char *suffix) {
    char top[1024];
    snprintf(top, sizeof top, "%s/%s", root, folder);
    snprintf(golden_wanted_, sizeof golden_wanted_, "%s", suffix);
    golden_paths_ = (struct text_list){ 0 };
    golden_paths_cap_ = 0;
    nftw(top, golden_collect_, 16, 0);
    if (golden_paths_.n) qsort(golden_paths_.item, (size_t)golden_paths_.n, sizeof *golden_paths_.item, golden_by_name_);
    return golden_paths_;
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

/* Weights of the network called `stem`: STEM.weights, those that its recorded detections name, or the first STEM*.weights; ""
 * when there are none. */
static inline const char *golden_weights(const char *root, const char *stem) {
    char name[1024];
    snprintf(name, sizeof name, "%s.weights", stem);
    if (*golden_find(root, "weights", name)) return golden_found_;
    snprintf(name, sizeof name, "%s/golden/%s.detections.json", root, stem);
    cJSON *record = golden_json(name);
    golden_find(root, "weights", cJSON_GetStringValue(cJSON_GetObjectItem(record, "weights")));
    cJSON_Delete(record);
    if (golden_found_[0]) return golden_found_;
    struct text_list all = golden_all(root, "weights", ".weights");
    for (int i = 0; i < all.n && !golden_found_[0]; ++i)
        if (!strncmp(strrchr(all.item[i], '/') + 1, stem, strlen(stem))) snprintf(golden_found_, sizeof golden_found_, "%s", all.item[i]);
    list_free(&all);
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

#endif
