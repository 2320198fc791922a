#include "recipe/loop_record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "data/json.h"
#include "recipe/audit.h"

static const char *const schedule_name[] = { "linear", "cubic", "oneshot" };
static const char *const size_name[MAP_SIZES] = { "map_small", "map_medium", "map_large" };

cJSON *record_new(const struct prune_job *job) {
    const struct loop_options *o = &job->opt.loop;
    cJSON *loop = cJSON_CreateObject();
    cJSON_AddNumberToObject(loop, "steps_planned", o->steps);
    cJSON_AddStringToObject(loop, "schedule", schedule_name[o->schedule]);
    cJSON_AddNumberToObject(loop, "finetune", o->finetune);
    cJSON_AddNumberToObject(loop, "final_finetune", o->final_finetune);
    cJSON_AddStringToObject(loop, "finetune_schedule", o->each_schedule ? "each" : "all");
    cJSON_AddNumberToObject(loop, "finetune_lr", o->rate_factor);
    cJSON_AddNumberToObject(loop, "distill", o->distill);
    if (o->max_map_drop >= 0) cJSON_AddNumberToObject(loop, "max_map_drop", o->max_map_drop);
    cJSON_AddNumberToObject(loop, "train_seed", (double)o->seed);
    cJSON_AddBoolToObject(loop, "finished", false);
    cJSON_AddArrayToObject(loop, "steps");
    cJSON_AddArrayToObject(loop, "baseline");
    return loop;
}

/* --- Taking up an earlier run ------------------------------------------------------------------------------------------ */

/* The command without what may differ between a run and its continuation. */
static char *plain(struct ctx *ctx, const char *command) {
    char *text = mem_text(ctx, command ? command : "");
    for (char *at; text && (at = strstr(text, " -force"));) memmove(at, at + 7, strlen(at + 7) + 1);
    return text;
}

static enum status check_command(struct ctx *ctx, const struct prune_job *job, const cJSON *root) {
    const char *before = json_text(root, "command");
    char *a = plain(ctx, before), *b = plain(ctx, job->opt.flags);
    enum status st = ctx->code;
    if (st == ST_OK && strcmp(a, b))
        st = ctx_fail(ctx, ST_USAGE, "%s: -resume goes on with the very command that began it: %s", job->plan_out, before ? before : "?");
    free(a), free(b);
    return st;
}

static enum status check_inputs(struct ctx *ctx, const struct prune_job *job, const cJSON *root) {
    cJSON *now = cJSON_CreateObject();
    enum status st = audit_add_inputs(ctx, job, now);
    const cJSON *item, *before = cJSON_GetObjectItem(root, "inputs");
    for (item = now->child; st == ST_OK && item; item = item->next)
        if (!cJSON_Compare(item, cJSON_GetObjectItem(before, item->string), true))
            st = ctx_fail(ctx, ST_FORMAT, "%s: the %s have changed since that run began; without -resume, -force begins anew", job->plan_out,
                          item->string);
    cJSON_Delete(now);
    return st;
}

enum status record_read(struct ctx *ctx, const struct prune_job *job, cJSON **loop) {
    cJSON *root;
    TRY(json_read(ctx, job->plan_out, &root));
    enum status st = ST_OK;
    if (!cJSON_IsArray(cJSON_GetObjectItem(cJSON_GetObjectItem(root, "loop"), "steps")))
        st = ctx_fail(ctx, ST_FORMAT, "%s: is not the record of a run in steps, there is nothing to resume; -force begins anew", job->plan_out);
    if (st == ST_OK) st = check_command(ctx, job, root);
    if (st == ST_OK) st = check_inputs(ctx, job, root);
    if (st == ST_OK) *loop = cJSON_DetachItemFromObject(root, "loop");
    cJSON_Delete(root);
    return st;
}

enum status record_add_sets(struct ctx *ctx, cJSON *loop, const char *const *name, char (*hex)[65], int n) {
    cJSON *o = cJSON_AddObjectToObject(loop, "sha256");
    for (int i = 0; i < n; ++i)
        if (!cJSON_AddStringToObject(o, name[i], hex[i])) return ctx_fail(ctx, ST_MEMORY, "out of memory for the record");
    return ST_OK;
}

enum status record_check_sets(struct ctx *ctx, const cJSON *loop, const char *path, const char *const *name, char (*hex)[65], int n) {
    for (int i = 0; i < n; ++i) {
        const char *before = json_text(cJSON_GetObjectItem(loop, "sha256"), name[i]);
        if (!before || strcmp(before, hex[i]))
            return ctx_fail(ctx, ST_FORMAT, "%s: the %s of training or mAP have changed since that run began; without -resume, -force begins anew", path, name[i]);
    }
    return ST_OK;
}

/* --- Writing ------------------------------------------------------------------------------------------------------------ */

static cJSON *steps_of(const cJSON *loop) { return cJSON_GetObjectItem(loop, "steps"); }
static cJSON *step_of(const cJSON *loop, int s) { return cJSON_GetArrayItem(steps_of(loop), s - 1); }

static void add_cost(cJSON *o, int filters, struct cost c) {
    cJSON_AddNumberToObject(o, "filters", filters);
    cJSON_AddNumberToObject(o, "flops", c.flops);
    cJSON_AddNumberToObject(o, "params", c.params);
    cJSON_AddNumberToObject(o, "activations", c.activations);
}

/* Per layer: which channels of the unpruned network are left, and the scores that all of the network before it had. */
static void add_layers(cJSON *o, const struct prune_job *job, const struct prune_job *v, const uint8_t *alive) {
    cJSON *layers = cJSON_AddArrayToObject(o, "layers");
    for (int i = 0; i < job->net->n; ++i) {
        const struct channels *all = job->channels, *now = v->channels;
        if (job->net->layer[i].out.c == 0) continue;
        cJSON *row = cJSON_CreateObject(), *kept, *score;
        cJSON_AddItemToArray(layers, row);
        cJSON_AddNumberToObject(row, "layer", i);
        kept = cJSON_AddArrayToObject(row, "kept");
        for (int k = all->first_node[i]; k < all->first_node[i + 1]; ++k)
            if (alive[k]) cJSON_AddItemToArray(kept, cJSON_CreateNumber(k - all->first_node[i]));
        if (!job->net->layer[i].n_param || job->opt.from_plan || job->opt.blocks_only) continue;
        score = cJSON_AddArrayToObject(row, "score");
        for (int k = now->first_node[i]; k < now->first_node[i + 1]; ++k) cJSON_AddItemToArray(score, cJSON_CreateNumber(v->score[now->group_of[k]]));
    }
}

static enum status add_values(struct ctx *ctx, cJSON *loop, const struct prune_job *job) {
    cJSON *o = cJSON_AddObjectToObject(loop, "unpruned");
    cJSON_AddItemToObject(o, "mean", cJSON_CreateDoubleArray(job->mean, job->channels->n_node));
    cJSON_AddItemToObject(o, "score", cJSON_CreateDoubleArray(job->score, job->channels->n_group));
    cJSON_AddItemToObject(o, "votes", cJSON_CreateIntArray(job->detail.bin_count, 4));
    cJSON_AddNumberToObject(o, "n_votes", job->detail.n_object);
    cJSON_AddNumberToObject(o, "tau", job->detail.tau);
    cJSON_AddNumberToObject(o, "cost_power", job->opt.select.cost_power);
    cJSON_AddBoolToObject(o, "compensated", job->opt.compensate);
    return cJSON_GetArraySize(cJSON_GetObjectItem(o, "score")) ? ST_OK : ctx_fail(ctx, ST_MEMORY, "out of memory for the record");
}

enum status record_add_step(struct ctx *ctx, cJSON *loop, const struct prune_job *job, const struct prune_job *v, const uint8_t *alive, int s,
                            int iterations) {
    if (s == 1) TRY(add_values(ctx, loop, job));
    cJSON *o = cJSON_CreateObject();
    cJSON_AddItemToArray(steps_of(loop), o);
    cJSON_AddNumberToObject(o, "step", s);
    cJSON_AddNumberToObject(o, "share_of_cut", loop_progress(&job->opt.loop, s));
    cJSON_AddNumberToObject(o, "iterations", iterations);
    add_cost(o, v->selection.filters_after, v->selection.after);
    cJSON_AddBoolToObject(o, "target_reached", v->selection.reached);
    cJSON_AddNumberToObject(o, "masked_vs_pruned", v->worst);
    if (v->detail.n_object) cJSON_AddNumberToObject(o, "kendall_tau_halves", v->detail.tau);
    if (v->latency_outcome.asked) cJSON_AddNumberToObject(o, "cuts_measured", v->latency_outcome.rounds);
    audit_add_map(o, "map_after_cut", &job->map_after, job->opt.map_iou);
    add_layers(o, job, v, alive);
    return ST_OK;
}

void record_add_tuned(cJSON *loop, int s, const struct map_result *map, double iou, bool held) {
    cJSON *o = step_of(loop, s);
    audit_add_map(o, "map_after_finetune", map, iou);
    cJSON_AddBoolToObject(o, "held", held);
}

void record_stop(cJSON *loop, int s, double points, double limit) {
    char text[160];
    snprintf(text, sizeof text, "step %d lost %.2f points of mAP, more than -max_map_drop %g", s, points, limit);
    cJSON_AddStringToObject(loop, "stopped", text);
}

void record_add_final(cJSON *loop, const struct map_result *map, double iou, int iterations) {
    cJSON *o = cJSON_AddObjectToObject(loop, "final");
    cJSON_AddNumberToObject(o, "iterations", iterations);
    audit_add_map(o, "map_after_finetune", map, iou);
}

void record_add_baseline(cJSON *loop, const struct map_result *map, double iou, int s, int iterations) {
    cJSON *o = cJSON_CreateObject();
    cJSON_AddItemToArray(cJSON_GetObjectItem(loop, "baseline"), o);
    cJSON_AddNumberToObject(o, "step", s);
    cJSON_AddNumberToObject(o, "iterations", iterations);
    audit_add_map(o, "map_after_finetune", map, iou);
}

void record_finish(cJSON *loop) { cJSON_ReplaceItemInObject(loop, "finished", cJSON_CreateTrue()); }

/* --- Reading ------------------------------------------------------------------------------------------------------------ */

int record_steps(const cJSON *loop) { return cJSON_GetArraySize(steps_of(loop)); }

int record_steps_trained(const cJSON *loop) {
    int n = 0;
    const cJSON *o;
    cJSON_ArrayForEach(o, steps_of(loop)) n += cJSON_HasObjectItem(o, "held");
    return n;
}

int record_rounds(const cJSON *loop) { return (int)json_number(step_of(loop, record_steps(loop)), "cuts_measured", 0); }
int record_baseline_steps(const cJSON *loop) { return cJSON_GetArraySize(cJSON_GetObjectItem(loop, "baseline")); }
bool record_has_final(const cJSON *loop) { return cJSON_HasObjectItem(loop, "final"); }
bool record_finished(const cJSON *loop) { return cJSON_IsTrue(cJSON_GetObjectItem(loop, "finished")); }

static enum status get_numbers(struct ctx *ctx, const cJSON *o, const char *name, int n, double *to) {
    const cJSON *list = cJSON_GetObjectItem(o, name), *v;
    int i = 0;
    if (cJSON_GetArraySize(list) != n) return ctx_fail(ctx, ST_FORMAT, "the record's '%s' has %d numbers, this network needs %d", name, cJSON_GetArraySize(list), n);
    cJSON_ArrayForEach(v, list) to[i++] = v->valuedouble;
    return ST_OK;
}

enum status record_get_values(struct ctx *ctx, const cJSON *loop, struct prune_job *job) {
    const cJSON *o = cJSON_GetObjectItem(loop, "unpruned");
    double votes[4];
    TRY(get_numbers(ctx, o, "mean", job->channels->n_node, job->mean));
    TRY(get_numbers(ctx, o, "score", job->channels->n_group, job->score));
    TRY(get_numbers(ctx, o, "votes", 4, votes));
    for (int i = 0; i < 4; ++i) job->detail.bin_count[i] = (int)votes[i];
    job->detail.n_object = (int)json_number(o, "n_votes", 0);
    job->detail.tau = json_number(o, "tau", 0);
    job->opt.select.cost_power = json_number(o, "cost_power", 0);
    job->opt.compensate = json_true(o, "compensated");
    return ST_OK;
}

enum status record_get_alive(struct ctx *ctx, const cJSON *loop, int s, const struct channels *ch, uint8_t *alive) {
    const cJSON *row, *k;
    memset(alive, 1, (size_t)ch->n_node);
    if (s < 1) return ST_OK;
    cJSON_ArrayForEach(row, cJSON_GetObjectItem(step_of(loop, s), "layers")) {
        int i = (int)json_number(row, "layer", -1);
        if (i < 0 || i >= ch->net->n) return ctx_fail(ctx, ST_FORMAT, "the record's step %d names layer %d, which is not there", s, i);
        int first = ch->first_node[i], width = ch->first_node[i + 1] - first;
        memset(alive + first, 0, (size_t)width);
        cJSON_ArrayForEach(k, cJSON_GetObjectItem(row, "kept"))
            if (k->valueint >= 0 && k->valueint < width) alive[first + k->valueint] = 1;
    }
    return ST_OK;
}

enum status record_get_maps(struct ctx *ctx, const cJSON *loop, int s, struct prune_job *job) {
    const cJSON *o = step_of(loop, s), *last = s == loop_final_step(job) && record_has_final(loop) ? cJSON_GetObjectItem(loop, "final") : o;
    job->have_tuned = cJSON_HasObjectItem(last, "map_after_finetune");
    if (!o) return ST_OK;
    TRY(audit_read_map(ctx, o, "map_after_cut", &job->map_after));
    return job->have_tuned ? audit_read_map(ctx, last, "map_after_finetune", &job->map_tuned) : ST_OK;
}

enum status record_get_cut_map(struct ctx *ctx, const cJSON *loop, int s, struct map_result *map) {
    return audit_read_map(ctx, step_of(loop, s), "map_after_cut", map);
}

static void get_map(const cJSON *o, const char *name, double *map, double size[MAP_SIZES]) {
    const cJSON *m = cJSON_GetObjectItem(o, name);
    *map = json_number(m, "map", -1);
    for (int i = 0; i < MAP_SIZES; ++i) size[i] = json_number(m, size_name[i], -1);
}

int loop_step_count(const struct prune_job *job) { return 1 + record_steps(job->loop); }

void loop_step_at(const struct prune_job *job, int s, struct loop_step *out) {
    const cJSON *o = step_of(job->loop, s);
    *out = (struct loop_step){ .step = s };
    if (s == 0) {
        out->filters = job->selection.filters_before;
        out->cost = job->selection.before;
        out->held = true;
        get_map(job->loop, "map_before", &out->map_cut, out->map_cut_size);
        get_map(job->loop, "map_before", &out->map, out->map_size);
        return;
    }
    out->iterations = (int)json_number(o, "iterations", 0);
    out->filters = (int)json_number(o, "filters", 0);
    out->cost = (struct cost){ json_number(o, "flops", 0), json_number(o, "params", 0), json_number(o, "activations", 0), 0 };
    out->masked_vs_pruned = json_number(o, "masked_vs_pruned", 0);
    out->held = json_true(o, "held");
    get_map(o, "map_after_cut", &out->map_cut, out->map_cut_size);
    get_map(o, "map_after_finetune", &out->map, out->map_size);
}

int loop_final_step(const struct prune_job *job) {
    int last = 0;
    for (int s = 1; s <= record_steps(job->loop); ++s)
        if (json_true(step_of(job->loop, s), "held")) last = s;
    return last;
}

int loop_best_step(const struct prune_job *job) {
    int best = 0;
    double most = -1;
    for (int s = 1; s <= record_steps(job->loop); ++s) {
        struct loop_step step;
        loop_step_at(job, s, &step);
        if (step.held && step.map > most) best = s, most = step.map;
    }
    return best;
}

bool loop_baseline(const struct prune_job *job, struct loop_step *out) {
    const cJSON *list = cJSON_GetObjectItem(job->loop, "baseline"), *o;
    *out = (struct loop_step){ .held = true };
    cJSON_ArrayForEach(o, list) {
        out->iterations += (int)json_number(o, "iterations", 0);
        get_map(o, "map_after_finetune", &out->map, out->map_size);
    }
    return cJSON_GetArraySize(list) > 0;
}

bool loop_reached(const struct prune_job *job) {
    return loop_final_step(job) == record_steps(job->loop) && json_true(step_of(job->loop, loop_final_step(job)), "target_reached");
}

const char *loop_stopped(const struct prune_job *job) { return json_text(job->loop, "stopped"); }
