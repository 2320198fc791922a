#include "recipe/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "recipe/audit.h"
#include "recipe/compare_trained.h"
#include "recipe/plot.h"
#include "recipe/prune_blocks.h"

static void add_run(struct compare_figure *f, int run, double value) { /* spread: sum of squared distances from the mean */
    double off = value - f->mean;
    f->mean += off / (run + 1);
    f->spread += off * (value - f->mean);
}

static void conclude(struct compare_figure *f, int runs) { f->spread = runs > 1 ? sqrt(f->spread / (runs - 1)) : 0; }

void compare_add(struct compare_row *row, const struct map_result *map, double cut, struct cost cost, double ms, double whole_ms) {
    add_run(&row->cut, row->runs, cut);
    add_run(&row->map, row->runs, map->map);
    for (int i = 0; i < MAP_SIZES; ++i) add_run(&row->map_size[i], row->runs, map->map_size[i]);
    add_run(&row->params, row->runs, cost.params);
    add_run(&row->flops, row->runs, cost.flops);
    add_run(&row->ms, row->runs, ms);
    add_run(&row->time, row->runs, whole_ms > 0 ? ms / whole_ms : -1);
    ++row->runs;
}

/* Selects, cuts, proves and measures by job->score. */
static enum status run_one(struct ctx *ctx, struct prune_job *job, const struct criterion *c, struct compare_row *row) {
    struct prune_options asked = job->opt;
    struct map_result map = { 0 };
    struct speed whole = { 0 }, small = { 0 };
    job->opt.criterion = c->name;
    enum status st = prune_select(ctx, job);
    row->cost_power = job->opt.select.cost_power;
    row->reached &= job->selection.reached;
    if (st == ST_OK) st = prune_cut(ctx, job);
    if (st == ST_OK) st = speed_compare(ctx, job->be, prune_before(job), job->small, 30, 3, &whole, &small);
    if (st == ST_OK) st = prune_map(ctx, job, job->small, &map);
    if (st == ST_OK) compare_add(row, &map, -1, job->selection.after, small.ms, whole.ms);
    job->opt = asked;
    map_free(&map);
    free(whole.layer_ms), free(small.layer_ms);
    selection_free(&job->selection);
    net_close(job->small);
    free(job->compensated);
    job->small = NULL;
    job->compensated = NULL;
    return st;
}

static enum status run_uncut(struct ctx *ctx, struct prune_job *job, struct compare_row *row) {
    struct map_result map = { 0 };
    struct speed speed = { 0 };
    int *kept = mem_zero(ctx, (size_t)job->net->n, sizeof *kept);
    enum status st = ctx->code;
    for (int i = 0; st == ST_OK && i < job->net->n; ++i) kept[i] = job->net->layer[i].out.c;
    if (st == ST_OK) st = speed_compare(ctx, job->be, job->net, NULL, 30, 3, &speed, NULL);
    if (st == ST_OK) st = prune_map(ctx, job, job->net, &map);
    if (st == ST_OK) compare_add(row, &map, -1, cost_at(job->net, kept), speed.ms, speed.ms);
    map_free(&map);
    free(speed.layer_ms), free(kept);
    return st;
}

static enum status run_criterion(struct ctx *ctx, struct prune_job *job, const struct criterion *c, const double *score,
                                 struct compare_row *row) {
    bool drawn = !strcmp(c->name, "random");
    uint64_t seed = job->opt.saliency.seed;
    enum status st = ST_OK;
    row->criterion = c;
    for (int i = 0; i < (drawn ? job->opt.seeds : 1) && st == ST_OK; ++i) {
        struct saliency_options opt = job->opt.saliency;
        struct criterion_input in = { .net = job->net, .be = job->be, .channels = job->channels, .options = &opt };
        opt.seed = seed + (uint64_t)i;
        if (drawn) st = criteria_score(ctx, &in, &c, 1, &job->score);
        else memcpy(job->score, score, (size_t)job->channels->n_group * sizeof *score);
        if (st == ST_OK) st = run_one(ctx, job, c, row);
    }
    return st;
}

/* Whole blocks go by each criterion's own choice, so that the filters are those of another network: everything anew. */
static enum status run_with_blocks(struct ctx *ctx, const struct prune_job *job, const struct criterion *c, int draw, struct compare_row *row) {
    struct prune_options opt = job->opt;
    struct prune_job *own = NULL;
    opt.criterion = c->name, opt.compare = false, opt.force = true;
    opt.saliency.seed += (uint64_t)draw;
    enum status st = prune_open(ctx, job->be, &opt, &own);
    if (st == ST_OK) st = prune_ready(ctx, own);
    if (st == ST_OK) st = prune_blocks(ctx, own, NULL);
    if (st == ST_OK && !opt.blocks_only) st = prune_score(ctx, own);
    if (st == ST_OK) st = run_one(ctx, own, c, row);
    prune_close(own);
    return st;
}

static enum status run_all_with_blocks(struct ctx *ctx, const struct prune_job *job, const struct criterion *const *list, int n, struct comparison *out) {
    for (int i = 0; i < n; ++i) {
        out->row[i + 1].criterion = list[i];
        for (int draw = 0; draw < (!strcmp(list[i]->name, "random") ? job->opt.seeds : 1); ++draw)
            TRY(run_with_blocks(ctx, job, list[i], draw, &out->row[i + 1]));
    }
    return ST_OK;
}

static enum status run_cuts(struct ctx *ctx, struct prune_job *job, const struct criterion *const *list, int n, struct comparison *out) {
    double *score[CRITERIA_MAX] = { NULL };
    for (int i = 0; i < n; ++i) score[i] = mem_zero(ctx, (size_t)job->channels->n_group, sizeof **score);
    enum status st = ctx->code;
    if (st == ST_OK) st = prune_score_all(ctx, job, list, n, score);
    for (int i = 0; i < n && st == ST_OK; ++i) st = run_criterion(ctx, job, list[i], score[i], &out->row[i + 1]);
    for (int i = 0; i < n; ++i) free(score[i]);
    return st;
}

enum status prune_compare(struct ctx *ctx, struct prune_job *job, struct comparison *out) {
    const struct criterion *list[CRITERIA_MAX];
    int n;
    memset(out, 0, sizeof *out);
    TRY(criteria_parse(ctx, job->opt.criterion, list, &n));
    out->n = n + 1;
    for (int i = 0; i < n + 2; ++i) out->row[i].reached = true;
    TRY(run_uncut(ctx, job, &out->row[0]));
    enum status st = loop_wanted(&job->opt.loop) ? compare_trained(ctx, job, list, n, out)
                     : job->opt.blocks ? run_all_with_blocks(ctx, job, list, n, out) : run_cuts(ctx, job, list, n, out);
    for (int i = 0; i < out->n; ++i) {
        struct compare_row *row = &out->row[i];
        struct compare_figure *f[] = { &row->map, &row->params, &row->flops, &row->ms, &row->time, &row->cut, &row->map_size[MAP_SMALL],
                                       &row->map_size[MAP_MEDIUM], &row->map_size[MAP_LARGE] };
        for (size_t k = 0; k < sizeof f / sizeof f[0]; ++k) conclude(f[k], row->runs);
    }
    return st;
}

const char *compare_name(const struct compare_row *row) { return row->criterion ? row->criterion->name : row->trained ? "uncut, trained" : "uncut"; }

/* mAP of all and by size, with the spread over the seeds. */
static enum status write_plot(struct ctx *ctx, const struct prune_job *job, const struct comparison *c) {
    static const char *const name[] = { "all objects", "small", "medium", "large" };
    double value[4][CRITERIA_MAX + 2], spread[4][CRITERIA_MAX + 2];
    const char *group[CRITERIA_MAX + 2];
    char path[1200], title[160];
    snprintf(path, sizeof path, "%.*s.png", (int)(strlen(job->compare_out) - strlen(".json")), job->compare_out);
    snprintf(title, sizeof title, "%s, mAP@%.2f by criterion", loop_wanted(&job->opt.loop) ? "Pruned and trained alike" : "Right after the same cut", job->opt.map_iou);
    struct plot plot = { .title = title, .unit = "mAP, %", .groups = c->n, .group = group, .n = 4 };
    for (int s = 0; s < 4; ++s) plot.series[s] = (struct plot_series){ name[s], value[s], spread[s] };
    for (int i = 0; i < c->n; ++i) {
        const struct compare_row *row = &c->row[i];
        group[i] = compare_name(row);
        for (int s = 0; s < 4; ++s) {
            const struct compare_figure *f = s ? &row->map_size[s - 1] : &row->map;
            value[s][i] = f->mean < 0 ? NAN : 100 * f->mean;
            spread[s][i] = 100 * f->spread;
        }
    }
    return plot_write(ctx, &plot, path);
}

static void add_figure(cJSON *to, const char *name, const struct compare_row *row, const struct compare_figure *f) {
    char spread[64];
    cJSON_AddNumberToObject(to, name, f->mean);
    snprintf(spread, sizeof spread, "%s_spread", name);
    if (row->runs > 1) cJSON_AddNumberToObject(to, spread, f->spread);
}

enum status compare_write(struct ctx *ctx, const struct prune_job *job, const struct comparison *c) {
    static const char *const size[] = { "map_small", "map_medium", "map_large" };
    cJSON *root = cJSON_CreateObject(), *rows;
    if (job->opt.flags) cJSON_AddStringToObject(root, "command", job->opt.flags);
    enum status st = audit_add_inputs(ctx, job, cJSON_AddObjectToObject(root, "inputs"));
    cJSON_AddNumberToObject(root, "iou_thresh", job->opt.map_iou);
    cJSON_AddNumberToObject(root, "seed", (double)job->opt.saliency.seed);
    cJSON_AddNumberToObject(root, "images", score_images_count(job->images));
    rows = cJSON_AddArrayToObject(root, "rows");
    for (int i = 0; i < c->n; ++i) {
        const struct compare_row *row = &c->row[i];
        cJSON *o = cJSON_CreateObject();
        cJSON_AddItemToArray(rows, o);
        cJSON_AddStringToObject(o, "criterion", row->criterion ? row->criterion->name : "none");
        cJSON_AddBoolToObject(o, "trained", row->trained);
        cJSON_AddNumberToObject(o, "runs", row->runs);
        cJSON_AddBoolToObject(o, "target_reached", row->reached);
        cJSON_AddNumberToObject(o, "cost_power", row->cost_power);
        if (row->cut.mean >= 0) add_figure(o, "map_after_cut", row, &row->cut);
        add_figure(o, "map", row, &row->map);
        for (int k = 0; k < MAP_SIZES; ++k) add_figure(o, size[k], row, &row->map_size[k]);
        add_figure(o, "params", row, &row->params);
        add_figure(o, "flops", row, &row->flops);
        add_figure(o, "ms", row, &row->ms);
        add_figure(o, "time_share", row, &row->time);
    }
    char *text = st == ST_OK ? cJSON_Print(root) : NULL;
    if (st == ST_OK) st = text ? io_write(ctx, job->compare_out, text, strlen(text)) : ctx_fail(ctx, ST_MEMORY, "out of memory writing the record");
    free(text);
    cJSON_Delete(root);
    return st == ST_OK ? write_plot(ctx, job, c) : st;
}
