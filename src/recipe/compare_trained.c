#include "recipe/compare_trained.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "recipe/prune_blocks.h"

/* What stands around the run at work, for whoever shows it. */
struct around { const struct prune_options *opt; char what[64]; int left; double started, per_run; int done; };

static void show_phase(void *user, const char *what, int done, int total) {
    struct around *a = user;
    char text[160];
    snprintf(text, sizeof text, "%s%s", a->what, what);
    if (a->opt->progress) a->opt->progress(a->opt->user, text, done, total);
}

static void show_training(void *user, const char *what, const struct train_news *news, double left) {
    struct around *a = user;
    char text[160];
    snprintf(text, sizeof text, "%s%s", a->what, what);
    double now = io_seconds() - a->started + left, per_run = a->done ? a->per_run : now;
    if (a->opt->training) a->opt->training(a->opt->user, text, news, left + a->left * per_run);
}

static enum status add_run(struct ctx *ctx, struct prune_job *job, struct compare_row *row, struct compare_row *base) {
    struct speed whole = { 0 }, small = { 0 };
    const struct map_result *map = job->have_tuned ? &job->map_tuned : &job->map_after;
    struct loop_step trained;
    TRY(speed_compare(ctx, job->be, prune_before(job), job->small, 30, 3, &whole, &small));
    row->cost_power = job->opt.select.cost_power;
    row->reached &= loop_reached(job);
    compare_add(row, map, job->map_after.map, job->selection.after, small.ms, whole.ms);
    if (base && loop_baseline(job, &trained)) {
        struct map_result m = { .map = trained.map };
        memcpy(m.map_size, trained.map_size, sizeof m.map_size);
        compare_add(base, &m, -1, job->selection.before, whole.ms, whole.ms);
    }
    free(whole.layer_ms), free(small.layer_ms);
    return ST_OK;
}

static enum status run_one(struct ctx *ctx, const struct prune_job *job, const struct criterion *c, int seed, struct around *a,
                           struct compare_row *row, struct compare_row *base) {
    char out[1200], flags[64];
    struct prune_options opt = job->opt;
    struct prune_job *own = NULL;
    size_t stem = strlen(job->compare_out) - strlen(".json"), n = opt.flags ? strlen(opt.flags) : 0;
    snprintf(out, sizeof out, "%.*s/%s-%d", (int)stem, job->compare_out, c->name, seed);
    snprintf(flags, sizeof flags, " [%s, run %d]", c->name, seed);
    char *command = mem_zero(ctx, n + sizeof flags, 1);
    if (!command) return ST_MEMORY;
    snprintf(command, n + sizeof flags, "%s%s", opt.flags ? opt.flags : "", flags);
    opt.criterion = c->name, opt.out = out, opt.flags = command;
    opt.compare = false, opt.force = true;
    opt.loop.baseline = base != NULL && opt.loop.baseline;
    opt.loop.seed += (uint64_t)(seed - 1);
    if (!strcmp(c->name, "random")) opt.saliency.seed += (uint64_t)(seed - 1);
    opt.progress = show_phase, opt.training = show_training, opt.user = a;
    a->started = io_seconds();
    enum status st = prune_open(ctx, job->be, &opt, &own);
    if (st == ST_OK) st = prune_ready(ctx, own);
    if (st == ST_OK) st = loop_run(ctx, own);
    if (st == ST_OK) st = add_run(ctx, own, row, base);
    prune_close(own);
    free(command);
    a->per_run = (a->per_run * a->done + io_seconds() - a->started) / (a->done + 1);
    ++a->done;
    return st;
}

enum status compare_trained(struct ctx *ctx, const struct prune_job *job, const struct criterion *const *list, int n, struct comparison *out) {
    struct around a = { .opt = &job->opt, .left = n * job->opt.seeds };
    char folder[1200];
    snprintf(folder, sizeof folder, "%.*s", (int)(strlen(job->compare_out) - strlen(".json")), job->compare_out);
    TRY(io_make_dirs(ctx, folder));
    io_sweep(folder);
    struct compare_row *base = job->opt.loop.baseline ? &out->row[out->n++] : NULL;
    if (base) base->trained = true;
    for (int i = 0; i < n; ++i) {
        out->row[i + 1].criterion = list[i];
        out->row[i + 1].trained = true;
    }
    /* Seed by seed, so that what there is after a while says something about all criteria. */
    for (int seed = 1; seed <= job->opt.seeds; ++seed)
        for (int i = 0; i < n; ++i) {
            --a.left;
            snprintf(a.what, sizeof a.what, "%s, run %d/%d, ", list[i]->name, seed, job->opt.seeds);
            TRY(run_one(ctx, job, list[i], seed, &a, &out->row[i + 1], i == 0 ? base : NULL));
        }
    return ST_OK;
}
