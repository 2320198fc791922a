#include "cli/precision.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/device.h"
#include "eval/calibrate.h"

enum { USUAL_IMAGES = 64 };

/* Set by main before a command runs, and read from then on. */
static struct { const char *list; int images; } choice = { NULL, USUAL_IMAGES };

enum status precision_flags(struct ctx *ctx, int *n, char **word) {
    int kept = 0;
    bool wanted = device_precision() == DEVICE_INT8;
    const char *rest;
    for (int i = 0; i < *n; ++i) wanted = wanted || strcmp(word[i], "-calibrate") == 0;
    for (int i = 0; i < *n; ++i) {
        const char *flag = word[i];
        bool list = strcmp(flag, "-calibrate") == 0;
        if (!list && (!wanted || strcmp(flag, "-images") != 0)) {
            word[kept++] = word[i];
            continue;
        }
        if (++i == *n) return ctx_fail(ctx, ST_USAGE, "%s: needs a value", flag);
        if (list) choice.list = word[i];
        else if (!text_int(word[i], &choice.images, &rest) || *rest || choice.images < 1)
            return ctx_fail(ctx, ST_USAGE, "-images: '%s' is no number of pictures to calibrate on, at least 1", word[i]);
    }
    *n = kept;
    return ST_OK;
}

/* Commands that do nothing with a network but run it. */
static bool only_runs(const struct command *c) {
    static const char *const name[][2] = {
        { "detector", "test" }, { "detector", "demo" }, { "detector", "map" }, { "detector", "valid" }, { "detector", "eval" },
        { "detector", "recall" }, { "detector", "bench" }, { "classifier", "predict" }, { "classifier", "valid" },
        { "classifier", "valid10" }, { "classifier", "validmulti" }, { "classifier", "validfull" }, { "classifier", "validcrop" },
        { "classifier", "test" }, { "classifier", "label" }, { "classifier", "try" }, { "", "speed" }
    };
    for (size_t i = 0; i < sizeof name / sizeof *name; ++i)
        if (strcmp(name[i][0], c->group ? c->group : "") == 0 && strcmp(name[i][1], c->name) == 0) return true;
    return false;
}

enum status precision_check(struct ctx *ctx, const struct command *c) {
    enum device_precision p = device_precision();
    if (choice.list && p != DEVICE_INT8) return ctx_fail(ctx, ST_USAGE, "-calibrate: is for -precision int8");
    if ((p != DEVICE_BF16 && p != DEVICE_INT8) || only_runs(command_meant(c))) return ST_OK;
    return ctx_fail(ctx, ST_UNSUPPORTED, "-precision %s: is for commands that only run a network; %s%s%s computes in f32",
                    p == DEVICE_BF16 ? "bf16" : "int8", c->group ? c->group : "", c->group ? " " : "", c->name);
}

/* --- Ranges ----------------------------------------------------------------------------------------------------------- */

static void show(void *user, int done, int total) { progress_show(user, done, total); }

static enum status look(struct ctx *ctx, struct net *net, const char *list, int *seen) {
    struct progress progress = { 0 };
    struct calibrate_options opt = { .images = choice.images, .progress = show, .user = &progress, .stop = console_stop() };
    struct text_list images = { 0 };
    struct backend *be = NULL;
    enum status st = list_read(ctx, list, &images);
    if (st == ST_OK && !images.n) st = ctx_fail(ctx, ST_FORMAT, "%s: the list of pictures to calibrate on is empty", list);
    if (st == ST_OK) st = backend_open(ctx, "cpu", &be);
    if (st == ST_OK) {
        progress_start(&progress, "calibration", "looks");
        st = calibrate(ctx, net, be, &images, &opt, seen);
        progress_end(&progress);
    }
    backend_close(be);
    list_free(&images);
    return st;
}

static enum status make_ranges(struct ctx *ctx, struct net *net, const char *cfg, const char *weights, const char *list, const char *path) {
    int seen = 0;
    if (!list)
        return ctx_fail(ctx, ST_USAGE, "-precision int8: %s is not there; -calibrate LIST makes it from a list of pictures", path);
    TRY(io_writable(ctx, path));
    TRY(look(ctx, net, list, &seen));
    TRY(ranges_save(ctx, net, path, cfg, weights, seen));
    ctx_log(ctx, LOG_INFO, "%s: ranges of %d pictures of %s", path, seen, list);
    return ST_OK;
}

enum status precision_prepare(struct ctx *ctx, struct net *net, const char *cfg, const char *weights, const char *list) {
    char *path;
    if (device_precision() != DEVICE_INT8) return ST_OK;
    if (!weights) return ctx_fail(ctx, ST_USAGE, "-precision int8: needs trained weights");
    TRY(ranges_path(ctx, weights, &path));
    enum status st = choice.list || !io_exists(path) ? make_ranges(ctx, net, cfg, weights, choice.list ? choice.list : list, path)
                                                     : ranges_load(ctx, net, path, cfg, weights, NULL);
    free(path);
    return st;
}
