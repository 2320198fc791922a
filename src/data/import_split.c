/* Which pictures train and which validate. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/rng.h"
#include "data/import_set.h"

enum { CHEN_TRAIN = 3712, CHEN_VALID = 3769 };
static const double DEFAULT_SHARE = .2;

static int by_name(const void *a, const void *b, void *user) {
    const struct import_image *image = user;
    int x = *(const int *)a, y = *(const int *)b, order = strcmp(image[x].name, image[y].name);
    return order ? order : x - y;
}

/* Pictures from `first` on in the order of their names; caller frees. */
static int *sorted_images(struct ctx *ctx, const struct import_set *s, int first) {
    int n = s->n_image - first, *order = mem_zero(ctx, (size_t)n, sizeof *order);
    for (int i = 0; order && i < n; ++i) order[i] = first + i;
    if (order) qsort_r(order, (size_t)n, sizeof *order, by_name, s->image);
    return order;
}

/* First entry of `order` with that name, or -1. */
static int find_name(const struct import_set *s, const int *order, int n, const char *name) {
    int low = 0, high = n;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (strcmp(s->image[order[middle]].name, name) < 0) low = middle + 1;
        else high = middle;
    }
    return low < n && !strcmp(s->image[order[low]].name, name) ? low : -1;
}

/* A list names pictures as they are, by path, or with something behind a blank. */
static int find_listed(const struct import_set *s, const int *order, int n, char *line) {
    static const char *const picture[] = { ".png", ".jpg", ".jpeg", ".bmp", ".txt", ".xml", ".PNG", ".JPG", ".JPEG" };
    char *slash = strrchr(line, '/'), *name = slash ? slash + 1 : line;
    int at = find_name(s, order, n, name);
    for (size_t i = 0; at < 0 && i < sizeof picture / sizeof *picture; ++i) {
        size_t length = strlen(name), m = strlen(picture[i]);
        if (length <= m || strcmp(name + length - m, picture[i]) != 0) continue;
        name[length - m] = '\0';
        at = find_name(s, order, n, name);
    }
    size_t word = strcspn(name, " \t");
    if (at >= 0 || !name[word]) return at;
    name[word] = '\0';
    return find_name(s, order, n, name);
}

enum status import_mark_listed(struct ctx *ctx, struct import_set *s, int first, const char *list, enum import_part part, int *names,
                               int *missing) {
    struct text_list lines;
    *names = *missing = 0;
    TRY(list_read(ctx, list, &lines));
    int n = s->n_image - first, *order = sorted_images(ctx, s, first);
    enum status st = order ? ST_OK : ST_MEMORY;
    for (int i = 0; i < lines.n && st == ST_OK; ++i) {
        int at = find_listed(s, order, n, lines.item[i]);
        *missing += at < 0;
        for (const char *name = at < 0 ? NULL : s->image[order[at]].name; at >= 0 && at < n; ++at) {
            struct import_image *im = &s->image[order[at]];
            if (strcmp(im->name, name) != 0) break;
            if (im->part != PART_NONE && im->part != part) {
                st = ctx_fail(ctx, ST_FORMAT, "%s: '%s' is in the other list, too: a picture trains or validates, not both", list, name);
                break;
            }
            im->part = part;
        }
    }
    *names = lines.n;
    list_free(&lines);
    free(order);
    return st;
}

static enum status use_list(struct ctx *ctx, struct import_set *s, const char *list, enum import_part part, int *names) {
    int missing;
    TRY(import_mark_listed(ctx, s, 0, list, part, names, &missing));
    if (*names == missing) return ctx_fail(ctx, ST_FORMAT, "%s: none of its %d names is that of a labelled picture", list, *names);
    if (!missing) return ST_OK;
    return import_note(ctx, s, ISSUE_NO_PICTURE, "%s: %d of its %d names are those of no labelled picture", list, missing, *names);
}

static enum status use_lists(struct ctx *ctx, struct import_set *s, const char *train, const char *valid) {
    int n_train = 0, n_valid = 0;
    if (train) TRY(use_list(ctx, s, train, PART_TRAIN, &n_train));
    if (valid) TRY(use_list(ctx, s, valid, PART_VALID, &n_valid));
    if (!train || !valid)
        for (int i = 0; i < s->n_image; ++i)
            if (s->image[i].part == PART_NONE) s->image[i].part = train ? PART_VALID : PART_TRAIN;
    snprintf(s->split, sizeof s->split, "the list%s %s%s%s", train && valid ? "s" : "", train ? train : valid, train && valid ? " and " : "",
             train && valid ? valid : "");
    return ST_OK;
}

/* The split of 3712 and 3769 frames that most of the KITTI literature uses is a list, not a rule; its users have it in ImageSets. */
static enum status use_chen(struct ctx *ctx, const struct import_options *o, struct import_set *s) {
    static const char *const where[] = { "ImageSets", "../ImageSets", "../../ImageSets" };
    char *root = import_kitti_root(ctx, o->source), train[4096], valid[4096];
    if (!root) return ST_MEMORY;
    enum status st = ST_OK;
    bool found = false;
    for (size_t i = 0; i < sizeof where / sizeof *where && !found; ++i) {
        snprintf(train, sizeof train, "%s/%s/train.txt", root, where[i]);
        snprintf(valid, sizeof valid, "%s/%s/val.txt", root, where[i]);
        found = io_exists(train) && io_exists(valid);
    }
    if (!found)
        st = ctx_fail(ctx, ST_USAGE, "-split chen: needs the split's lists, ImageSets/train.txt and val.txt, in or beside %s; -train_list and -valid_list name them elsewhere", root);
    int n_train = 0, n_valid = 0;
    if (st == ST_OK) st = use_list(ctx, s, train, PART_TRAIN, &n_train);
    if (st == ST_OK) st = use_list(ctx, s, valid, PART_VALID, &n_valid);
    if (st == ST_OK && (n_train != CHEN_TRAIN || n_valid != CHEN_VALID))
        ctx_log(ctx, LOG_WARN, "%s: %d names, %d in val.txt; the split known as chen has %d and %d", train, n_train, n_valid, CHEN_TRAIN, CHEN_VALID);
    snprintf(s->split, sizeof s->split, "chen (%d and %d frames), by the lists of ImageSets", n_train, n_valid);
    free(root);
    return st;
}

static enum status use_halves(struct ctx *ctx, struct import_set *s) {
    int *order = sorted_images(ctx, s, 0);
    if (!order) return ST_MEMORY;
    for (int i = 0; i < s->n_image; ++i) s->image[order[i]].part = i < s->n_image / 2 ? PART_TRAIN : PART_VALID;
    snprintf(s->split, sizeof s->split, "halves in the order of their names");
    free(order);
    return ST_OK;
}

static enum status use_share(struct ctx *ctx, struct import_set *s, double share, uint64_t seed) {
    int *order = sorted_images(ctx, s, 0), n_valid = (int)lround(share * s->n_image);
    if (!order) return ST_MEMORY;
    if (share > 0 && n_valid == 0) n_valid = 1;
    if (share < 1 && n_valid == s->n_image && n_valid > 1) --n_valid;
    struct rng r = rng_stream(seed, 0, 0);
    for (int i = s->n_image - 1; i > 0; --i) {
        int k = rng_int(&r, 0, i), keep = order[i];
        order[i] = order[k], order[k] = keep;
    }
    for (int i = 0; i < s->n_image; ++i) s->image[order[i]].part = i < n_valid ? PART_VALID : PART_TRAIN;
    snprintf(s->split, sizeof s->split, "a share of %g drawn for validation (seed %llu)", share, (unsigned long long)seed);
    free(order);
    return ST_OK;
}

enum status import_split(struct ctx *ctx, const struct import_options *o, struct import_set *s) {
    bool train = false, valid = false;
    if (o->train_list || o->valid_list) return use_lists(ctx, s, o->train_list, o->valid_list);
    if (o->split == IMPORT_HALVES) return use_halves(ctx, s);
    if (o->split == IMPORT_CHEN) return use_chen(ctx, o, s);
    for (int i = 0; i < s->n_image; ++i) {
        train |= s->image[i].given == PART_TRAIN;
        valid |= s->image[i].given == PART_VALID;
    }
    if (o->valid_share >= 0 || !train || !valid) return use_share(ctx, s, o->valid_share >= 0 ? o->valid_share : DEFAULT_SHARE, o->seed);
    for (int i = 0; i < s->n_image; ++i) s->image[i].part = s->image[i].given;
    snprintf(s->split, sizeof s->split, "the source's own");
    return ST_OK;
}
