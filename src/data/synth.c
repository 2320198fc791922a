/* The synthetic data set on disk: pictures, labels, lists, names and the .data file. */
#include "data/synth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/rng.h"

const char *const synth_class_name[SYNTH_CLASSES] = {"car", "truck", "pedestrian", "cyclist",
                                                     "traffic light"};

struct synth_options synth_defaults(const char *dir) {
    return (struct synth_options){dir, 600, 150, 416, 256, 1};
}

enum { PATH_ROOM = 4096 };
static const char *const split_name[] = {"train", "valid"};

static enum status make_path(struct ctx *ctx, char *out, const char *dir, const char *rest) {
    int n = snprintf(out, PATH_ROOM, "%s/%s", dir, rest);
    if (n > 0 && n < PATH_ROOM) return ST_OK;
    return ctx_fail(ctx, ST_USAGE, "%s: folder name of more than %d characters", dir, PATH_ROOM - 64);
}

static enum status make_folders(struct ctx *ctx, const char *dir) {
    static const char *const folders[] = {"images/train", "images/valid", "backup"};
    char path[PATH_ROOM];
    for (size_t i = 0; i < sizeof folders / sizeof *folders; ++i) {
        TRY(make_path(ctx, path, dir, folders[i]));
        TRY(io_make_dirs(ctx, path));
    }
    return ST_OK;
}

static enum status write_labels(struct ctx *ctx, const char *path, const struct truth_list *truth) {
    struct io_out out;
    TRY(io_create(ctx, path, &out));
    for (int i = 0; i < truth->n; ++i) {
        struct box b = truth->item[i].box;
        fprintf(out.file, "%d %.6f %.6f %.6f %.6f\n", truth->item[i].class_id, (double)b.x, (double)b.y,
                (double)b.w, (double)b.h);
    }
    return io_commit(ctx, &out);
}

static enum status write_picture(struct ctx *ctx, const struct synth_options *o, enum synth_split split,
                                 int index) {
    struct synth_picture picture;
    char name[64], path[PATH_ROOM];
    TRY(synth_render(ctx, o->seed, split, index, o->width, o->height, &picture));
    struct rng r = rng_stream(o->seed, 1000 + (uint64_t)split, (uint64_t)index);
    int quality = rng_int(&r, 82, 95);
    snprintf(name, sizeof name, "images/%s/%06d.jpg", split_name[split], index);
    enum status st = make_path(ctx, path, o->dir, name);
    if (st == ST_OK) st = pixels_write(ctx, path, &picture.px, quality);
    if (st == ST_OK) {
        memcpy(path + strlen(path) - 3, "txt", 3);
        st = write_labels(ctx, path, &picture.truth);
    }
    synth_picture_free(&picture);
    return st;
}

static enum status write_list(struct ctx *ctx, const struct synth_options *o, enum synth_split split,
                              int count) {
    char name[64], path[PATH_ROOM];
    snprintf(name, sizeof name, "%s.txt", split_name[split]);
    TRY(make_path(ctx, path, o->dir, name));
    struct io_out out;
    TRY(io_create(ctx, path, &out));
    for (int i = 0; i < count; ++i)
        fprintf(out.file, "%s/images/%s/%06d.jpg\n", o->dir, split_name[split], i);
    return io_commit(ctx, &out);
}

static enum status write_description(struct ctx *ctx, const char *dir) {
    char path[PATH_ROOM];
    struct io_out out;
    TRY(make_path(ctx, path, dir, "synth.names"));
    TRY(io_create(ctx, path, &out));
    for (int i = 0; i < SYNTH_CLASSES; ++i) fprintf(out.file, "%s\n", synth_class_name[i]);
    TRY(io_commit(ctx, &out));
    TRY(make_path(ctx, path, dir, "synth.data"));
    TRY(io_create(ctx, path, &out));
    fprintf(out.file,
            "classes = %d\ntrain = %s/train.txt\nvalid = %s/valid.txt\n"
            "names = %s/synth.names\nbackup = %s/backup\n",
            SYNTH_CLASSES, dir, dir, dir, dir);
    return io_commit(ctx, &out);
}

enum status synth_write(struct ctx *ctx, const struct synth_options *o, synth_progress progress, void *user) {
    if (!o->dir || !*o->dir) return ctx_fail(ctx, ST_USAGE, "data synth: the name of a folder is missing");
    if (o->train < 0 || o->valid < 0 || o->train > 999999 || o->valid > 999999 || o->train + o->valid == 0)
        return ctx_fail(ctx, ST_USAGE,
                        "data synth: %d training and %d validation pictures: 1 to 999999 can be written",
                        o->train, o->valid);
    struct synth_options options = *o;
    char dir[PATH_ROOM];
    int n = snprintf(dir, sizeof dir, "%s", o->dir);
    if (n >= PATH_ROOM - 64)
        return ctx_fail(ctx, ST_USAGE, "data synth: folder name of %d characters is too long", n);
    while (n > 1 && dir[n - 1] == '/') dir[--n] = '\0';
    options.dir = dir;
    TRY(make_folders(ctx, dir));
    int total = o->train + o->valid;
    for (int i = 0; i < total; ++i) {
        bool valid = i >= o->train;
        TRY(write_picture(ctx, &options, valid ? SYNTH_VALID : SYNTH_TRAIN, valid ? i - o->train : i));
        if (progress) progress(user, i + 1, total);
    }
    TRY(write_list(ctx, &options, SYNTH_TRAIN, o->train));
    TRY(write_list(ctx, &options, SYNTH_VALID, o->valid));
    return write_description(ctx, dir);
}
