#include "recipe/sensitivity.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "data/json.h"
#include "recipe/audit.h"
#include "recipe/plot.h"
#include "recipe/prune_blocks.h"

enum { BATCH = 8 };

struct probe {
    struct prune_job *job;
    struct sensitivity *out;
    struct score_images *images;     /* loss */
    struct text_list valid;          /* mAP; the paths belong to valid_all */
    struct text_list valid_all;
    struct score_images *valid_chosen;
    cJSON *record;
    const char *prefix;
    int measured, to_measure;        /* networks */
};

enum status sensitivity_ratios(struct ctx *ctx, const char *text, struct sensitivity *s) {
    const char *p = text ? text : "0.25,0.5,0.75";
    for (s->n_ratio = 0;; ++p) {
        char *end;
        double v = strtod(p, &end);
        if (end == p || !(v > 0 && v < 1) || (*end && *end != ',') || s->n_ratio == SENSITIVITY_RATIOS)
            return ctx_fail(ctx, ST_USAGE, "-ratios %s: up to %d shares between 0 and 1, e.g. 0.25,0.5", text, SENSITIVITY_RATIOS);
        s->ratio[s->n_ratio++] = v;
        p = end;
        if (!*p) return ST_OK;
    }
}

/* --- Measuring one network ---------------------------------------------------------------------------------------------- */

static enum status loss_of_batch(struct ctx *ctx, struct net *net, struct score_source *src, int first, float *x, struct truth_list *truth,
                                 double *sum) {
    size_t image = (size_t)net->opt.channels * (size_t)net->opt.height * (size_t)net->opt.width;
    for (int b = 0; b < net->batch; ++b) {
        struct score_image im;
        TRY(src->get(src->user, ctx, first + b, &im));
        memcpy(x + (size_t)b * image, im.x, image * sizeof *x);
        size_t cap = (size_t)truth[b].cap;
        TRY(mem_grow(ctx, &truth[b].item, &cap, (size_t)im.truth.n, sizeof *truth[b].item));
        truth[b].cap = (int)cap;
        truth[b].n = im.truth.n;
        if (im.truth.n) memcpy(truth[b].item, im.truth.item, (size_t)im.truth.n * sizeof *truth[b].item);
    }
    double loss = 0;
    struct net_truth boxes = { .boxes = truth };
    TRY(net_forward(ctx, net, x));
    TRY(net_loss(ctx, net, &boxes, &loss, NULL));
    *sum += loss;
    return ST_OK;
}

static enum status mean_loss(struct ctx *ctx, struct probe *p, struct net *net, double *mean) {
    struct score_source src = score_images_source(p->images);
    struct truth_list truth[BATCH] = { { 0 } };
    size_t image = (size_t)net->opt.channels * (size_t)net->opt.height * (size_t)net->opt.width;
    float *x = mem_zero(ctx, BATCH * image, sizeof *x);
    enum status st = x ? net_bind(ctx, net, p->job->be, NET_SCORE, src.count < BATCH ? src.count : BATCH) : ST_MEMORY;
    *mean = 0;
    for (int first = 0; first < src.count && st == ST_OK; first += net->batch) {
        int left = src.count - first;
        if (left < net->batch) st = net_rebind(ctx, net, net->opt.width, net->opt.height, left);
        if (st == ST_OK) st = loss_of_batch(ctx, net, &src, first, x, truth, mean);
    }
    *mean /= src.count;
    net_unbind(net);
    for (int b = 0; b < BATCH; ++b) free(truth[b].item);
    free(x);
    return st;
}

static enum status measure(struct ctx *ctx, struct probe *p, struct net *net, struct sensitivity_point *at) {
    struct prune_job *job = p->job;
    struct map_options opt = { .thresh = (float)job->opt.map_thresh, .iou_thresh = (float)job->opt.map_iou, .stop = job->opt.stop };
    struct map_result map = { 0 };
    TRY(mean_loss(ctx, p, net, &at->loss));
    enum status st = net_bind(ctx, net, job->be, NET_INFER, 4);
    if (st == ST_OK) st = map_evaluate(ctx, net, &p->valid, NULL, &opt, &map);
    net_unbind(net);
    at->map = map.map;
    memcpy(at->map_size, map.map_size, sizeof at->map_size);
    map_free(&map);
    ++p->measured;
    if (st == ST_OK && job->opt.progress) job->opt.progress(job->opt.user, "sensitivity", p->measured, p->to_measure);
    return st;
}

/* --- Cutting one unit ---------------------------------------------------------------------------------------------------- */

static bool may_go(const struct prune_job *job, int g, int unit) {
    const struct channels *ch = job->channels;
    if (ch->group[g].unit != unit || ch->group[g].frozen) return false;
    for (int k = 0; k < ch->group[g].size; ++k)
        if (job->keep_layer[ch->layer_of[ch->node_of_group[ch->group[g].first + k]]]) return false;
    return true;
}

/* Clears the `count` lowest of the unit's groups that may go; never the last channel of a layer. */
static int clear_lowest(const struct prune_job *job, int unit, int count, uint8_t *keep, int *kept) {
    const struct channels *ch = job->channels;
    int removed = 0;
    for (int tries = ch->n_group; tries > 0 && removed < count; --tries) {
        int lowest = -1;
        for (int g = 0; g < ch->n_group; ++g)
            if (keep[g] == 1 && may_go(job, g, unit) && (lowest < 0 || job->score[g] < job->score[lowest])) lowest = g;
        if (lowest < 0) break;
        keep[lowest] = 0;
        channels_widths(ch, keep, kept);
        bool emptied = false;
        for (int i = 0; i < ch->net->n; ++i) emptied |= kept[i] == 0 && ch->net->layer[i].out.c > 0;
        if (emptied) keep[lowest] = 2; /* stays, and is not looked at again */
        else ++removed;
    }
    return removed;
}

static enum status probe_unit(struct ctx *ctx, struct probe *p, int unit, double ratio, int groups, struct sensitivity_point *at) {
    struct prune_job *job = p->job;
    uint8_t *keep = mem_zero(ctx, (size_t)job->channels->n_group, 1);
    int *kept = mem_zero(ctx, (size_t)job->net->n, sizeof *kept);
    float *param = mem_zero(ctx, job->net->n_param, sizeof *param);
    struct net *small = NULL;
    enum status st = ctx->code;
    if (st == ST_OK) {
        memset(keep, 1, (size_t)job->channels->n_group);
        at->removed = clear_lowest(job, unit, (int)(ratio * groups + .5), keep, kept);
        memcpy(param, job->net->param, job->net->n_param * sizeof *param);
        if (job->opt.compensate) slice_compensate(job->net, job->channels, keep, job->mean, param);
        st = slice_apply(ctx, job->net, job->channels, keep, param, &small);
    }
    if (st == ST_OK) st = measure(ctx, p, small, at);
    net_close(small);
    free(keep), free(kept), free(param);
    return st;
}

/* Without block k alone, its mean left behind where that can be. */
static enum status probe_block(struct ctx *ctx, struct probe *p, int k, struct sensitivity_point *at) {
    struct prune_job *job = p->job;
    struct blocks *b = &job->blocks;
    float *param = mem_zero(ctx, job->net->n_param, sizeof *param);
    struct net *small = NULL;
    if (!param) return ST_MEMORY;
    memcpy(param, job->net->param, job->net->n_param * sizeof *param);
    bool goes = blocks_remove(b, k);
    if (goes && job->opt.compensate) blocks_compensate(ctx, b, k, job->mean + job->channels->first_node[b->item[k].branch], param);
    enum status st = ctx->code;
    if (st == ST_OK) st = blocks_apply(ctx, b, param, &small);
    if (st == ST_OK) st = measure(ctx, p, small, at);
    if (goes) blocks_restore(b, k);
    net_close(small);
    free(param);
    return st;
}

/* --- Record -------------------------------------------------------------------------------------------------------------- */

static const char *const size_name[MAP_SIZES] = { "map_small", "map_medium", "map_large" };

static cJSON *point_json(const struct sensitivity_point *at) {
    cJSON *o = cJSON_CreateObject();
    cJSON_AddNumberToObject(o, "removed", at->removed);
    cJSON_AddNumberToObject(o, "loss", at->loss);
    cJSON_AddNumberToObject(o, "map", at->map);
    for (int i = 0; i < MAP_SIZES; ++i) cJSON_AddNumberToObject(o, size_name[i], at->map_size[i]);
    return o;
}

static void read_point(const cJSON *o, struct sensitivity_point *at) {
    *at = (struct sensitivity_point){ .removed = (int)json_number(o, "removed", 0), .loss = json_number(o, "loss", 0), .map = json_number(o, "map", 0) };
    for (int i = 0; i < MAP_SIZES; ++i) at->map_size[i] = json_number(o, size_name[i], -1);
}

static enum status write_json(struct ctx *ctx, const struct probe *p) {
    char path[1200], *text = cJSON_Print(p->record);
    snprintf(path, sizeof path, "%s.sensitivity.json", p->prefix);
    enum status st = text ? io_write(ctx, path, text, strlen(text)) : ctx_fail(ctx, ST_MEMORY, "out of memory writing the record");
    free(text);
    return st;
}

static enum status record_start(struct ctx *ctx, struct probe *p) {
    struct sensitivity *s = p->out;
    cJSON *o = p->record = cJSON_CreateObject();
    if (p->job->opt.flags) cJSON_AddStringToObject(o, "command", p->job->opt.flags);
    TRY(audit_add_inputs(ctx, p->job, cJSON_AddObjectToObject(o, "inputs")));
    cJSON_AddStringToObject(o, "criterion", p->job->opt.criterion);
    cJSON_AddNumberToObject(o, "images", s->images);
    cJSON_AddNumberToObject(o, "valid_images", s->valid);
    cJSON_AddItemToObject(o, "ratios", cJSON_CreateDoubleArray(s->ratio, s->n_ratio));
    TRY(measure(ctx, p, p->job->net, &s->whole));
    cJSON_AddItemToObject(o, "uncut", point_json(&s->whole));
    cJSON_AddArrayToObject(o, "units");
    if (p->job->opt.blocks) cJSON_AddArrayToObject(o, "blocks");
    return ST_OK;
}

/* An earlier run's record, when it was of the same command and files; else a new one. */
static enum status record_open(struct ctx *ctx, struct probe *p) {
    char path[1200];
    snprintf(path, sizeof path, "%s.sensitivity.json", p->prefix);
    if (!p->job->opt.loop.resume || !io_exists(path)) return record_start(ctx, p);
    cJSON *inputs = cJSON_CreateObject();
    enum status st = json_read(ctx, path, &p->record);
    if (st == ST_OK) st = audit_add_inputs(ctx, p->job, inputs);
    const char *command = json_text(p->record, "command");
    if (st == ST_OK && (!cJSON_Compare(inputs, cJSON_GetObjectItem(p->record, "inputs"), true) ||
                        strcmp(command ? command : "", p->job->opt.flags ? p->job->opt.flags : "")))
        st = ctx_fail(ctx, ST_USAGE, "%s: was begun by another command or from other files (%s), -resume cannot go on with it", path,
                      command ? command : "?");
    cJSON_Delete(inputs);
    if (st == ST_OK) read_point(cJSON_GetObjectItem(p->record, "uncut"), &p->out->whole);
    return st;
}

static bool taken_up(const struct probe *p, struct sensitivity_row *row) {
    const cJSON *o, *points;
    cJSON_ArrayForEach(o, cJSON_GetObjectItem(p->record, "units")) {
        if ((int)json_number(o, "layer", -1) != row->layer) continue;
        points = cJSON_GetObjectItem(o, "at");
        for (int r = 0; r < p->out->n_ratio; ++r) read_point(cJSON_GetArrayItem(points, r), &row->at[r]);
        return true;
    }
    return false;
}

static enum status record_row(struct ctx *ctx, struct probe *p, const struct sensitivity_row *row) {
    cJSON *o = cJSON_CreateObject(), *points;
    cJSON_AddItemToArray(cJSON_GetObjectItem(p->record, "units"), o);
    cJSON_AddNumberToObject(o, "layer", row->layer);
    cJSON_AddNumberToObject(o, "layers", row->layers);
    cJSON_AddNumberToObject(o, "groups", row->groups);
    points = cJSON_AddArrayToObject(o, "at");
    for (int r = 0; r < p->out->n_ratio; ++r) cJSON_AddItemToArray(points, point_json(&row->at[r]));
    return write_json(ctx, p);
}

static bool block_taken_up(const struct probe *p, struct sensitivity_block *block) {
    const cJSON *o;
    cJSON_ArrayForEach(o, cJSON_GetObjectItem(p->record, "blocks")) {
        if ((int)json_number(o, "shortcut", -1) != block->shortcut) continue;
        read_point(cJSON_GetObjectItem(o, "at"), &block->at);
        return true;
    }
    return false;
}

static enum status record_block(struct ctx *ctx, struct probe *p, const struct sensitivity_block *block) {
    cJSON *o = cJSON_CreateObject();
    cJSON_AddItemToArray(cJSON_GetObjectItem(p->record, "blocks"), o);
    cJSON_AddNumberToObject(o, "shortcut", block->shortcut);
    cJSON_AddNumberToObject(o, "first", block->first);
    cJSON_AddNumberToObject(o, "layers", block->layers);
    cJSON_AddNumberToObject(o, "score", block->score);
    cJSON_AddItemToObject(o, "at", point_json(&block->at));
    return write_json(ctx, p);
}

static enum status write_csv(struct ctx *ctx, const struct probe *p) {
    char path[1200];
    struct io_out out;
    const struct sensitivity *s = p->out;
    snprintf(path, sizeof path, "%s.sensitivity.csv", p->prefix);
    TRY(io_create(ctx, path, &out));
    fprintf(out.file, "layer,layers_in_unit,groups,ratio,removed,loss,loss_change,map,map_change,map_small,map_medium,map_large\n");
    for (int i = 0; i < s->n; ++i)
        for (int r = 0; r < s->n_ratio; ++r) {
            const struct sensitivity_point *at = &s->row[i].at[r];
            fprintf(out.file, "%d,%d,%d,%g,%d,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g\n", s->row[i].layer, s->row[i].layers, s->row[i].groups, s->ratio[r],
                    at->removed, at->loss, at->loss - s->whole.loss, at->map, at->map - s->whole.map, at->map_size[0], at->map_size[1], at->map_size[2]);
        }
    for (int i = 0; i < s->n_block; ++i) { /* whole blocks: ratio 1, no groups */
        const struct sensitivity_block *b = &s->block[i];
        fprintf(out.file, "%d,%d,0,1,%d,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g\n", b->shortcut, b->layers, b->layers, b->at.loss, b->at.loss - s->whole.loss,
                b->at.map, b->at.map - s->whole.map, b->at.map_size[0], b->at.map_size[1], b->at.map_size[2]);
    }
    return io_commit(ctx, &out);
}

static enum status write_plot(struct ctx *ctx, const struct probe *p) {
    const struct sensitivity *s = p->out;
    size_t n = (size_t)s->n;
    char path[1200], name[SENSITIVITY_RATIOS][32], (*layer)[16] = mem_zero(ctx, n, sizeof *layer);
    const char **group = mem_zero(ctx, n, sizeof *group);
    double *value = mem_zero(ctx, n * SENSITIVITY_RATIOS, sizeof *value);
    enum status st = ctx->code;
    if (st == ST_OK && n) {
        struct plot plot = { .title = "What each layer bears: change of mAP when only its lowest filters go", .unit = "mAP, points", .axis = "layer",
                             .groups = s->n, .group = group, .n = s->n_ratio, .lines = true };
        for (int r = 0; r < s->n_ratio; ++r) {
            snprintf(name[r], sizeof name[r], "%g %% of the layer", 100 * s->ratio[r]);
            plot.series[r] = (struct plot_series){ .name = name[r], .value = value + n * (size_t)r };
            for (size_t i = 0; i < n; ++i) value[n * (size_t)r + i] = 100 * (s->row[i].at[r].map - s->whole.map);
        }
        for (size_t i = 0; i < n; ++i) snprintf(layer[i], sizeof layer[i], "%d", s->row[i].layer), group[i] = layer[i];
        snprintf(path, sizeof path, "%s.sensitivity.png", p->prefix);
        st = plot_write(ctx, &plot, path);
    }
    free(layer), free(group), free(value);
    return st;
}

/* --- All of it ------------------------------------------------------------------------------------------------------------ */

static enum status list_units(struct ctx *ctx, const struct prune_job *job, struct sensitivity *s, int *unit_of_row) {
    const struct channels *ch = job->channels;
    s->row = mem_zero(ctx, (size_t)ch->n_unit, sizeof *s->row);
    if (!s->row) return ST_MEMORY;
    for (int i = 0; i < job->net->n; ++i) {
        int u = ch->unit_of_layer[i];
        bool first = layer_has_filters(&job->net->layer[i]);
        for (int k = 0; k < i; ++k) first = first && !(ch->unit_of_layer[k] == u && layer_has_filters(&job->net->layer[k]));
        if (!first) continue;
        struct sensitivity_row row = { .layer = i };
        for (int k = i; k < job->net->n; ++k) row.layers += ch->unit_of_layer[k] == u && layer_has_filters(&job->net->layer[k]);
        for (int g = 0; g < ch->n_group; ++g) row.groups += may_go(job, g, u);
        if (row.groups < 2) continue;
        unit_of_row[s->n] = u;
        s->row[s->n++] = row;
    }
    return ST_OK;
}

static enum status list_blocks(struct ctx *ctx, struct prune_job *job, struct sensitivity *s) {
    if (!job->opt.blocks) return ST_OK;
    TRY(prune_blocks_score(ctx, job));
    s->block = mem_zero(ctx, (size_t)job->blocks.n + 1, sizeof *s->block);
    if (!s->block) return ST_MEMORY;
    for (int k = 0; k < job->blocks.n; ++k) {
        const struct block *b = &job->blocks.item[k];
        if (!b->stays) s->block[s->n_block++] = (struct sensitivity_block){ .shortcut = b->shortcut, .first = b->first, .layers = b->n_gone, .score = b->score };
    }
    return ST_OK;
}

static int block_number(const struct prune_job *job, int shortcut) {
    int k = 0;
    while (job->blocks.item[k].shortcut != shortcut) ++k;
    return k;
}

static enum status open_lists(struct ctx *ctx, struct probe *p, int images) {
    struct prune_job *job = p->job;
    uint64_t seed = job->opt.saliency.seed;
    if (!job->data.valid) return ctx_fail(ctx, ST_CFG, "%s: has no 'valid=' list of images to measure mAP on", job->opt.data);
    TRY(score_images_open(ctx, job->net, &job->list, images, seed, job->head.classes, &p->images));
    TRY(list_read(ctx, job->data.valid, &p->valid_all));
    TRY(score_images_open(ctx, job->net, &p->valid_all, images, seed, job->head.classes, &p->valid_chosen));
    p->out->images = score_images_count(p->images);
    p->out->valid = p->valid.n = score_images_count(p->valid_chosen);
    p->valid.item = mem_zero(ctx, (size_t)p->valid.n, sizeof *p->valid.item);
    if (!p->valid.item) return ST_MEMORY;
    for (int i = 0; i < p->valid.n; ++i)
        for (int k = 0; k < p->valid_all.n && !p->valid.item[i]; ++k)
            if (p->valid_all.item[k] == score_images_path(p->valid_chosen, i)) p->valid.item[i] = p->valid_all.item[k];
    return ST_OK;
}

static enum status run(struct ctx *ctx, struct probe *p, int *unit_of_row) {
    struct sensitivity *s = p->out;
    TRY(list_blocks(ctx, p->job, s));
    TRY(prune_score(ctx, p->job));
    TRY(list_units(ctx, p->job, s, unit_of_row));
    p->to_measure = 1 + s->n * s->n_ratio + s->n_block;
    TRY(record_open(ctx, p));
    for (int i = 0; i < s->n; ++i) {
        if (taken_up(p, &s->row[i])) {
            p->to_measure -= s->n_ratio;
            continue;
        }
        for (int r = 0; r < s->n_ratio; ++r) {
            if (p->job->opt.stop && *p->job->opt.stop)
                return ctx_fail(ctx, ST_INTERRUPTED, "interrupted after %d of %d layers; the same command with -resume goes on", i, s->n);
            TRY(probe_unit(ctx, p, unit_of_row[i], s->ratio[r], s->row[i].groups, &s->row[i].at[r]));
        }
        TRY(record_row(ctx, p, &s->row[i]));
    }
    for (int i = 0; i < s->n_block; ++i) {
        if (block_taken_up(p, &s->block[i])) {
            --p->to_measure;
            continue;
        }
        if (p->job->opt.stop && *p->job->opt.stop)
            return ctx_fail(ctx, ST_INTERRUPTED, "interrupted after %d of %d blocks; the same command with -resume goes on", i, s->n_block);
        TRY(probe_block(ctx, p, block_number(p->job, s->block[i].shortcut), &s->block[i].at));
        TRY(record_block(ctx, p, &s->block[i]));
    }
    TRY(write_json(ctx, p));
    TRY(write_csv(ctx, p));
    TRY(write_plot(ctx, p));
    char stem[1200];
    snprintf(stem, sizeof stem, "%s.sensitivity.", p->prefix);
    io_sweep(stem);
    return ST_OK;
}

enum status sensitivity_run(struct ctx *ctx, struct prune_job *job, const char *prefix, int images, struct sensitivity *out) {
    struct probe p = { .job = job, .out = out, .prefix = prefix };
    int *unit_of_row = mem_zero(ctx, (size_t)job->channels->n_unit, sizeof *unit_of_row);
    enum status st = unit_of_row ? open_lists(ctx, &p, images) : ST_MEMORY;
    if (st == ST_OK) st = run(ctx, &p, unit_of_row);
    score_images_close(p.images);
    score_images_close(p.valid_chosen);
    list_free(&p.valid_all);
    free(p.valid.item);
    cJSON_Delete(p.record);
    free(unit_of_row);
    return st;
}

void sensitivity_free(struct sensitivity *s) {
    free(s->row), free(s->block);
    s->row = NULL, s->block = NULL;
    s->n = s->n_block = 0;
}
