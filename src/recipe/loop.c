#include "recipe/loop.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "prune/compose.h"
#include "recipe/audit.h"
#include "recipe/finetune.h"
#include "recipe/latency_target.h"
#include "recipe/loop_record.h"
#include "recipe/prune_blocks.h"

enum { PATH = 1300 };

/* One run.  `job` is about the unpruned network, or, once whole blocks have gone from it, about what they left: step 0; each step
 * works on a job of its own (view_open).  What the steps are compared with is the network as it came (prune_before). */
struct loop {
    struct prune_job *job;
    const struct loop_options *opt;
    cJSON *log;                      /* job->loop */
    struct text_list train, valid;
    char dir[1200];                  /* PREFIX.steps */
    uint8_t *alive;                  /* per node of the unpruned network */
    int *whole;                      /* per layer of step 0: its widths */
    struct selection before;         /* cost and filters of the network as it came */
    bool resumed;
    int steps;
    bool trained;                    /* something, in this process */
    char what[64];                   /* the step at work, for whoever shows it */
    /* how long things take, for the estimate: seconds, 0 unknown */
    double per_iteration, per_score, per_map;
    int first;                       /* iterations of the schedule before the training at work */
    int iterations_left;             /* of the whole run, those of the training at work included */
};

bool loop_wanted(const struct loop_options *o) {
    return o->steps > 1 || o->finetune > 0 || o->final_finetune > 0 || o->max_map_drop >= 0;
}

double loop_progress(const struct loop_options *o, int s) {
    double share = (double)s / o->steps;
    if (o->schedule == SCHEDULE_ONESHOT || s >= o->steps) return 1;
    return o->schedule == SCHEDULE_CUBIC ? 1 - pow(1 - share, 3) : share;
}

/* One-shot: all that would have come between the steps comes behind the one cut. */
static int steps_of(const struct loop_options *o) { return o->schedule == SCHEDULE_ONESHOT ? 1 : o->steps; }
static int iterations_of(const struct loop_options *o, int s) {
    int last = o->final_finetune > 0 ? o->final_finetune : o->finetune;
    if (o->schedule == SCHEDULE_ONESHOT) return (o->steps - 1) * o->finetune + last;
    return s < o->steps ? o->finetune : last;
}

/* The iterations of steps before s. */
static int iterations_before(const struct loop_options *o, int s) {
    int sum = 0;
    for (int i = 1; i < s; ++i) sum += iterations_of(o, i);
    return sum;
}

static void path_of(const struct loop *l, char path[PATH], const char *format, int step) {
    char name[64];
    snprintf(name, sizeof name, format, step);
    snprintf(path, PATH, "%s/%s", l->dir, name);
}

/* --- Showing --------------------------------------------------------------------------------------------------------- */

static void show_phase(void *user, const char *what, int done, int total) {
    struct loop *l = user;
    char text[96];
    snprintf(text, sizeof text, "%s%s", l->what, what);
    if (l->job->opt.progress) l->job->opt.progress(l->job->opt.user, text, done, total);
}

static int steps_left(const struct loop *l) { return l->steps - record_steps(l->log); }

static void show_training(void *user, const struct train_news *n) {
    struct loop *l = user;
    double now = n->seconds + n->load_seconds;
    l->per_iteration = l->per_iteration > 0 ? 0.9 * l->per_iteration + 0.1 * now : now;
    int left = l->iterations_left - ((int)n->iteration - l->first);
    double seconds = left * l->per_iteration + steps_left(l) * l->per_score + (2 * steps_left(l) + 1) * l->per_map;
    if (l->job->opt.training) l->job->opt.training(l->job->opt.user, l->what, n, seconds);
}

/* --- Networks of the steps ------------------------------------------------------------------------------------------- */

/* What every network of a run is: one that was trained before. */
static enum status opened(struct ctx *ctx, const struct loop *l, const struct ctx *quiet, struct net **net) {
    if (quiet->code == ST_OK) {
        (*net)->seen_before = prune_before(l->job)->seen;
        return ST_OK;
    }
    net_close(*net);
    *net = NULL;
    return ctx_fail(ctx, quiet->code, "%s", quiet->error);
}

/* Step s's network: as cut, or trained.  Warnings about its cfg were given when the user's was opened. */
static enum status open_step(struct ctx *ctx, const struct loop *l, int s, bool cut, struct net **net) {
    char cfg[PATH], weights[PATH];
    struct ctx quiet = { 0 };
    path_of(l, cfg, "step%d.cfg", s);
    path_of(l, weights, cut ? "step%d_cut.weights" : "step%d.weights", s);
    *net = NULL;
    bool own = s || l->job->whole; /* step 0 has files of its own where blocks have gone */
    if (net_open(&quiet, own ? cfg : l->job->opt.cfg, false, net) == ST_OK)
        net_load(&quiet, *net, own ? weights : l->job->opt.weights, LOAD_WHOLE, NULL);
    return opened(ctx, l, &quiet, net);
}

static enum status open_whole(struct ctx *ctx, const struct loop *l, struct net **net) {
    struct ctx quiet = { 0 };
    *net = NULL;
    if (net_open(&quiet, l->job->opt.cfg, false, net) == ST_OK) net_load(&quiet, *net, l->job->opt.weights, LOAD_WHOLE, NULL);
    return opened(ctx, l, &quiet, net);
}

static enum status save_net(struct ctx *ctx, struct net *net, uint64_t seen, const char *path) {
    net->seen = seen;
    return net_save(ctx, net, path, -1);
}

static enum status save_cfg(struct ctx *ctx, const struct net *net, const char *path) {
    char *text;
    size_t size;
    TRY(cfg_text(ctx, net->doc, &text, &size));
    enum status st = io_write(ctx, path, text, size);
    free(text);
    return st;
}

/* A job about one step's network, with what the steps share. */
static enum status view_open(struct ctx *ctx, struct loop *l, struct net *net, struct prune_job *v) {
    const struct prune_job *job = l->job;
    *v = (struct prune_job){ .opt = job->opt, .be = job->be, .data = job->data, .net = net, .images = job->images, .head = job->head,
                             .keep_layer = job->keep_layer, .timed = prune_before(job) };
    v->opt.progress = show_phase;
    v->opt.user = l;
    TRY(channels_build_within(ctx, net, job->channels, l->alive, &v->channels));
    v->mean = mem_zero(ctx, (size_t)v->channels->n_node, sizeof *v->mean);
    v->score = mem_zero(ctx, (size_t)v->channels->n_group, sizeof *v->score);
    return ctx->code;
}

static void view_close(struct prune_job *v) {
    channels_drop(v->channels);
    latency_drop(v->latency);
    saliency_free(&v->detail);
    selection_free(&v->selection);
    net_close(v->small);
    free(v->mean), free(v->score), free(v->compensated);
}

static enum status measure(struct ctx *ctx, struct loop *l, struct net *net, struct map_result *map) {
    struct prune_job v = { .opt = l->job->opt, .be = l->job->be, .data = l->job->data };
    double start = io_seconds();
    v.opt.progress = show_phase;
    v.opt.user = l;
    map_free(map);
    TRY(prune_map(ctx, &v, net, map));
    l->per_map = io_seconds() - start;
    return ST_OK;
}

/* --- The record ------------------------------------------------------------------------------------------------------ */

/* job->selection from what is alive. */
static enum status bring_up(struct ctx *ctx, struct loop *l) {
    struct prune_job *job = l->job;
    int n = job->net->n, *kept = mem_zero(ctx, (size_t)n, sizeof *kept);
    if (!kept) return ST_MEMORY;
    struct selection *s = &job->selection;
    compose_groups(job->channels, l->alive, s->keep);
    s->before = l->before.before;
    s->filters_before = l->before.filters_before;
    channels_widths(job->channels, s->keep, kept);
    s->after = cost_at(job->net, kept);
    s->filters_after = 0;
    for (int i = 0; i < n; ++i)
        if (layer_has_filters(&job->net->layer[i])) s->filters_after += kept[i];
    free(kept);
    return ST_OK;
}

/* Writes PREFIX.prune.json. */
static enum status commit(struct ctx *ctx, struct loop *l) {
    char *text;
    TRY(bring_up(ctx, l));
    TRY(audit_text(ctx, l->job, &text));
    enum status st = io_write(ctx, l->job->plan_out, text, strlen(text));
    free(text);
    return st;
}

/* PREFIX.steps/labels.sha256, as sha256sum writes it: every label file that training and mAP read.  *hex: its own hash. */
static enum status hash_labels(struct ctx *ctx, const struct loop *l, const char *path, char hex[65]) {
    const struct text_list *const list[] = { &l->train, &l->valid };
    struct io_out out;
    TRY(io_create(ctx, path, &out));
    enum status st = ST_OK;
    for (int i = 0; i < 2; ++i)
        for (int k = 0; k < list[i]->n && st == ST_OK; ++k) {
            char own[65], *label = label_path(ctx, list[i]->item[k]);
            st = label ? ST_OK : ST_MEMORY;
            bool there = st == ST_OK && io_exists(label); /* without: an image without objects */
            if (there) st = io_sha256(ctx, label, own);
            if (there && st == ST_OK) fprintf(out.file, "%s  %s\n", own, label);
            free(label);
        }
    if (st == ST_OK) st = io_commit(ctx, &out);
    else io_abort(&out);
    return st == ST_OK ? io_sha256(ctx, path, hex) : st;
}

/* What the steps read beyond what a cut reads: written to the record, or, in a resumed run, compared with it. */
static enum status check_sets(struct ctx *ctx, struct loop *l, bool resumed) {
    char path[PATH], hex[3][65];
    static const char *const name[] = { "train_list", "valid_list", "labels" };
    TRY(io_sha256(ctx, l->job->data.train, hex[0]));
    TRY(io_sha256(ctx, l->job->data.valid, hex[1]));
    path_of(l, path, resumed ? "labels_now.sha256" : "labels.sha256", 0);
    TRY(hash_labels(ctx, l, path, hex[2]));
    if (resumed) unlink(path);
    return resumed ? record_check_sets(ctx, l->log, l->job->plan_out, name, hex, 3) : record_add_sets(ctx, l->log, name, hex, 3);
}

static enum status start_anew(struct ctx *ctx, struct loop *l) {
    struct prune_job *job = l->job;
    l->log = job->loop = record_new(job);
    TRY(check_sets(ctx, l, false));
    TRY(measure(ctx, l, prune_before(job), &job->map_before));
    job->have_map = true;
    audit_add_map(l->log, "map_before", &job->map_before, job->opt.map_iou);
    return commit(ctx, l); /* a run that ends before its first cut keeps this, and its choice of blocks */
}

/* What the record says was done, into job and alive. */
static enum status take_up(struct ctx *ctx, struct loop *l) {
    struct prune_job *job = l->job;
    TRY(check_sets(ctx, l, true));
    TRY(audit_read_map(ctx, l->log, "map_before", &job->map_before));
    job->have_map = true;
    if (record_steps(l->log) > 0) TRY(record_get_values(ctx, l->log, job));
    TRY(record_get_maps(ctx, l->log, record_steps(l->log), job));
    TRY(record_get_alive(ctx, l->log, record_steps(l->log), job->channels, l->alive));
    if (job->opt.select.target == TARGET_LATENCY && !record_finished(l->log))
        job->latency_outcome = (struct latency_outcome){ .asked = true, .target_ms = job->opt.target_ms, .target_share = job->opt.select.value,
                                                         .rounds = record_rounds(l->log) };
    ctx_log(ctx, LOG_INFO, "%s: goes on after %d of %d steps", job->plan_out, record_steps_trained(l->log), l->steps);
    return ST_OK;
}

/* --- A step ---------------------------------------------------------------------------------------------------------- */

/* A latency on the way from the unpruned network's to the target: of its share of the time, which is measured side by side, or, where
 * milliseconds were asked for, of those. */
static enum status aim_latency(struct ctx *ctx, struct loop *l, double share, struct prune_job *v) {
    struct prune_job *job = l->job;
    struct net *uncut = prune_before(job);
    struct latency_outcome *o = &job->latency_outcome;
    v->opt.select.value = 1 - share * (1 - job->opt.select.value);
    if (job->opt.target_ms <= 0) return ST_OK;
    if (o->uncut_ms <= 0) TRY(latency_time(ctx, job->be, &uncut, 1, &o->uncut_ms, NULL));
    v->opt.target_ms = o->uncut_ms - share * (o->uncut_ms - job->opt.target_ms);
    return ST_OK;
}

/* The last word on the target is about the whole cut. */
static void note_latency(struct prune_job *job, const struct prune_job *v) {
    struct latency_outcome *o = &job->latency_outcome;
    double uncut = o->uncut_ms;
    if (!v->latency_outcome.asked) return;
    *o = v->latency_outcome;
    o->uncut_ms = uncut;
    o->target_ms = job->opt.target_ms;
    o->target_share = job->opt.target_ms > 0 ? job->opt.target_ms / uncut : job->opt.select.value;
    job->latency_report = v->latency_report;
}

/* What is left to select in the network at hand so that the whole cut has come as far as step s should. */
static enum status aim(struct ctx *ctx, struct loop *l, int s, struct prune_job *v) {
    const struct select_options *end = &l->job->opt.select;
    double share = loop_progress(l->opt, s), left = 1, all = 1;
    int n = v->net->n, *now = mem_zero(ctx, (size_t)n, sizeof *now), filters_now = 0;
    if (!now) return ST_MEMORY;
    for (int i = 0; i < n; ++i) {
        now[i] = v->net->layer[i].out.c;
        if (layer_has_filters(&v->net->layer[i])) filters_now += now[i];
    }
    struct cost whole = l->before.before, cost = cost_at(v->net, now);
    free(now);
    if (end->target == TARGET_RATIO) all = l->before.filters_before, left = filters_now;
    if (end->target == TARGET_FLOPS) all = whole.flops, left = cost.flops;
    if (end->target == TARGET_PARAMS) all = whole.params, left = cost.params;
    if (end->target == TARGET_MEMORY) all = whole.activations, left = cost.activations;
    if (end->target == TARGET_LATENCY) TRY(aim_latency(ctx, l, share, v));
    else if (end->target == TARGET_RATIO) v->opt.select.value = fmax(0, 1 - (1 - share * end->value) * all / left);
    else if (end->target != TARGET_THRESHOLD) v->opt.select.value = fmin(1, (1 - share * (1 - end->value)) * all / left);
    v->opt.select.whole = l->whole;
    return ST_OK;
}

/* Scores, selects and cuts v's network; its files and its entry of the record. */
static enum status cut_view(struct ctx *ctx, struct loop *l, int s, struct prune_job *v) {
    struct prune_job *job = l->job;
    char path[PATH], train[32];
    double start = io_seconds();
    if (!v->opt.from_plan && !v->opt.blocks_only) TRY(prune_score(ctx, v));
    l->per_score = io_seconds() - start;
    TRY(aim(ctx, l, s, v));
    TRY(prune_select(ctx, v));
    note_latency(job, v);
    TRY(prune_cut(ctx, v));
    if (s == 1) {
        memcpy(job->mean, v->mean, (size_t)job->channels->n_node * sizeof *job->mean);
        memcpy(job->score, v->score, (size_t)job->channels->n_group * sizeof *job->score);
        job->opt.select.cost_power = v->opt.select.cost_power;
        job->opt.compensate = v->opt.compensate;
        job->detail.tau = v->detail.tau, job->detail.n_object = v->detail.n_object;
        memcpy(job->detail.bin_count, v->detail.bin_count, sizeof job->detail.bin_count);
    }
    compose_cut(job->channels, v->channels, v->selection.keep, l->alive);
    TRY(measure(ctx, l, v->small, &job->map_after));
    job->have_tuned = false;
    job->worst = fmax(job->worst, v->worst);
    path_of(l, path, "step%d.cfg", s);
    TRY(save_cfg(ctx, v->small, path));
    path_of(l, path, "step%d_cut.weights", s);
    TRY(save_net(ctx, v->small, 0, path));
    snprintf(train, sizeof train, "step%d_train", s);
    finetune_forget(l->dir, train); /* of a run that was here before */
    return record_add_step(ctx, l->log, job, v, l->alive, s, iterations_of(l->opt, s));
}

static enum status cut_step(struct ctx *ctx, struct loop *l, int s) {
    struct net *net = NULL;
    struct prune_job v = { 0 };
    TRY(open_step(ctx, l, s - 1, false, &net));
    enum status st = view_open(ctx, l, net, &v);
    if (st == ST_OK) st = cut_view(ctx, l, s, &v);
    view_close(&v);
    net_close(net);
    return st == ST_OK ? commit(ctx, l) : st;
}

/* Trains net for as long as a phase lasts.  All phases are one training, with one schedule, or each has its own; then `phase` keys its
 * draw of images, which else goes on. */
static enum status train_net(struct ctx *ctx, struct loop *l, struct net *net, const char *base, int phase, int iterations, bool taught) {
    struct prune_job *job = l->job;
    struct distill teacher = { 0 };
    bool each = l->opt->each_schedule;
    int total = iterations_before(l->opt, l->steps + 1);
    l->first = each ? 0 : phase > l->steps ? total - iterations : iterations_before(l->opt, phase);
    struct finetune f = { .dir = l->dir, .base = base, .iterations = iterations, .first = l->first, .total = each ? iterations : total,
                          .rate_factor = l->opt->rate_factor, .seed = l->opt->seed * 1000003u + (uint64_t)(each ? phase : 0), .quiet = l->trained, .news = show_training, .user = l, .stop = job->opt.stop };
    enum status st = ST_OK;
    if (iterations < 1) return ST_OK;
    if (taught && l->opt->distill > 0) {
        st = distill_open(ctx, &teacher, job->be, prune_before(job), l->opt->distill, job->opt.saliency.context, job->opt.saliency.background);
        f.teacher = &teacher;
    }
    if (st == ST_OK) st = finetune_run(ctx, job->be, net, &job->data, &l->train, &f);
    if (f.teacher) distill_close(&teacher);
    l->trained = true;
    l->iterations_left -= iterations;
    return st;
}

static bool holds(const struct loop *l, double map) {
    return l->opt->max_map_drop < 0 || 100 * (l->job->map_before.map - map) <= l->opt->max_map_drop + 1e-9;
}

static enum status train_step(struct ctx *ctx, struct loop *l, int s) {
    struct prune_job *job = l->job;
    struct net *net = NULL;
    char path[PATH], base[32];
    int iterations = iterations_of(l->opt, s);
    snprintf(base, sizeof base, "step%d_train", s);
    TRY(open_step(ctx, l, s, true, &net));
    enum status st = train_net(ctx, l, net, base, s, iterations, true);
    if (st == ST_OK) st = iterations ? measure(ctx, l, net, &job->map_tuned) : record_get_cut_map(ctx, l->log, s, &job->map_tuned);
    job->have_tuned = true;
    path_of(l, path, "step%d.weights", s);
    if (st == ST_OK) st = save_net(ctx, net, 0, path);
    net_close(net);
    TRY(st);
    bool held = holds(l, job->map_tuned.map);
    record_add_tuned(l->log, s, &job->map_tuned, job->opt.map_iou, held);
    if (!held) record_stop(l->log, s, 100 * (job->map_before.map - job->map_tuned.map), l->opt->max_map_drop);
    TRY(commit(ctx, l));
    finetune_forget(l->dir, base);
    struct loop_step step;
    loop_step_at(job, s, &step);
    ctx_log(ctx, LOG_INFO, "step %d of %d: %.1f %% of the FLOPs kept, mAP %.2f %% after the cut, %.2f %% after %d iterations of training", s,
            l->steps, 100 * step.cost.flops / job->selection.before.flops, 100 * step.map_cut, 100 * step.map, iterations);
    return ST_OK;
}

/* A run that stopped early has not had its last, longer training: the step that it falls back to gets it. */
static enum status train_last(struct ctx *ctx, struct loop *l) {
    int s = loop_final_step(l->job);
    struct net *net = NULL;
    char path[PATH];
    snprintf(l->what, sizeof l->what, "back to step %d, ", s);
    TRY(open_step(ctx, l, s, false, &net));
    enum status st = train_net(ctx, l, net, "final_train", l->steps + 1, l->opt->final_finetune, true);
    if (st == ST_OK) st = measure(ctx, l, net, &l->job->map_tuned);
    path_of(l, path, "final.weights", 0);
    if (st == ST_OK) st = save_net(ctx, net, 0, path);
    net_close(net);
    TRY(st);
    record_add_final(l->log, &l->job->map_tuned, l->job->opt.map_iou, l->opt->final_finetune);
    TRY(commit(ctx, l));
    finetune_forget(l->dir, "final_train");
    return ST_OK;
}

/* --- The unpruned network with the same training ------------------------------------------------------------------------ */

static enum status train_baseline(struct ctx *ctx, struct loop *l, int s, int iterations) {
    struct net *net = NULL;
    struct map_result map = { 0 };
    char path[PATH], base[32];
    TRY(open_whole(ctx, l, &net));
    path_of(l, path, "baseline%d.weights", s - 1);
    enum status st = s > 1 ? net_load(ctx, net, path, LOAD_WHOLE, NULL) : ST_OK;
    snprintf(base, sizeof base, "baseline%d_train", s);
    snprintf(l->what, sizeof l->what, "baseline %d/%d, ", s, loop_final_step(l->job));
    if (st == ST_OK) st = train_net(ctx, l, net, base, s <= loop_final_step(l->job) ? s : l->steps + 1, iterations, false);
    if (st == ST_OK) st = measure(ctx, l, net, &map);
    path_of(l, path, "baseline%d.weights", s);
    if (st == ST_OK) st = save_net(ctx, net, 0, path);
    if (st == ST_OK) record_add_baseline(l->log, &map, l->job->opt.map_iou, s, iterations);
    map_free(&map);
    net_close(net);
    TRY(st);
    TRY(commit(ctx, l));
    finetune_forget(l->dir, base);
    return ST_OK;
}

/* The same trainings, on the same images, as the final network had. */
static enum status run_baseline(struct ctx *ctx, struct loop *l) {
    int done = record_baseline_steps(l->log), last = loop_final_step(l->job);
    bool extra = record_has_final(l->log);
    for (int s = done + 1; s <= last + extra; ++s)
        TRY(train_baseline(ctx, l, s, s <= last ? iterations_of(l->opt, s) : l->opt->final_finetune));
    return ST_OK;
}

/* --- The end --------------------------------------------------------------------------------------------------------- */

static enum status copy_file(struct ctx *ctx, const char *from, const char *to) {
    char *bytes;
    size_t size;
    TRY(io_read(ctx, from, &bytes, &size));
    enum status st = io_write(ctx, to, bytes, size);
    free(bytes);
    return st;
}

static void beside(const struct loop *l, char path[PATH], const char *rest) { /* PREFIX + rest */
    snprintf(path, PATH, "%.*s%s", (int)(strlen(l->job->cfg_out) - 4), l->job->cfg_out, rest);
}

/* What killed runs left behind. */
static void sweep(const struct loop *l) {
    char path[PATH];
    beside(l, path, "");
    io_sweep(path);
    path_of(l, path, "", 0);
    io_sweep(path);
}

static enum status write_others(struct ctx *ctx, const struct loop *l) {
    char from[PATH], to[PATH];
    int best = loop_best_step(l->job), trained = record_baseline_steps(l->log);
    if (l->steps > 1) {
        path_of(l, from, "step%d.cfg", best);
        beside(l, to, "_best.cfg");
        TRY(copy_file(ctx, from, to));
        path_of(l, from, "step%d.weights", best);
        beside(l, to, "_best.weights");
        TRY(copy_file(ctx, from, to));
    }
    if (!trained) return ST_OK;
    path_of(l, from, "baseline%d.weights", trained);
    beside(l, to, "_baseline.weights");
    return copy_file(ctx, from, to);
}

/* job as a plain cut leaves it, from the record and the files of the final step. */
static enum status load_end(struct ctx *ctx, struct loop *l) {
    struct prune_job *job = l->job;
    int s = loop_final_step(job);
    char path[PATH];
    TRY(record_get_maps(ctx, l->log, s, job));
    TRY(record_get_alive(ctx, l->log, s, job->channels, l->alive));
    TRY(open_step(ctx, l, s, false, &job->small));
    path_of(l, path, "final.weights", 0);
    if (record_has_final(l->log)) TRY(net_load(ctx, job->small, path, LOAD_WHOLE, NULL));
    job->small->seen = job->opt.keep_seen ? prune_before(job)->seen : 0;
    job->worst = 0;
    for (int i = 1; i <= s; ++i) {
        struct loop_step step;
        loop_step_at(job, i, &step);
        job->worst = fmax(job->worst, step.masked_vs_pruned);
    }
    return ST_OK;
}

static enum status finish(struct ctx *ctx, struct loop *l) {
    struct prune_job *job = l->job;
    if (loop_final_step(job) < 1)
        return ctx_fail(ctx, ST_USAGE, "%s; no step held, so no network was written (%s tells what was measured)", loop_stopped(job), job->plan_out);
    TRY(load_end(ctx, l));
    TRY(speed_compare(ctx, job->be, prune_before(job), job->small, 50, 5, &job->speed_before, &job->speed_after));
    TRY(latency_judge(ctx, job));
    TRY(save_cfg(ctx, job->small, job->cfg_out));
    TRY(net_save(ctx, job->small, job->weights_out, -1));
    TRY(write_others(ctx, l));
    record_finish(l->log);
    TRY(commit(ctx, l));
    sweep(l);
    return ST_OK;
}

static int iterations_planned(const struct loop *l) {
    int sum = 0, twice = l->opt->baseline ? 2 : 1, done = record_baseline_steps(l->log);
    for (int s = 1; s <= l->steps; ++s) {
        if (s > record_steps_trained(l->log)) sum += iterations_of(l->opt, s);
        if (twice == 2 && s > done) sum += iterations_of(l->opt, s);
    }
    return sum;
}

static enum status run(struct ctx *ctx, struct loop *l) {
    TRY(l->resumed ? take_up(ctx, l) : start_anew(ctx, l));
    if (record_finished(l->log)) {
        TRY(load_end(ctx, l));
        return bring_up(ctx, l);
    }
    l->iterations_left = iterations_planned(l);
    for (int s = record_steps_trained(l->log) + 1; s <= l->steps && !loop_stopped(l->job); ++s) {
        snprintf(l->what, sizeof l->what, "step %d/%d, ", s, l->steps);
        if (s > record_steps(l->log)) TRY(cut_step(ctx, l, s));
        TRY(train_step(ctx, l, s));
    }
    bool early = loop_stopped(l->job) && loop_final_step(l->job) > 0;
    if (early && l->opt->final_finetune > 0 && !record_has_final(l->log)) TRY(train_last(ctx, l));
    if (l->opt->baseline && loop_final_step(l->job) > 0) TRY(run_baseline(ctx, l));
    l->what[0] = '\0';
    return finish(ctx, l);
}

/* Whole blocks go before the first step, by the options, the plan, or, resumed, as the record says; what they leave is step 0. */
static enum status first_network(struct ctx *ctx, struct loop *l) {
    struct prune_job *job = l->job;
    char path[PATH];
    int n = job->net->n, *width = mem_zero(ctx, (size_t)n, sizeof *width);
    if (!width) return ST_MEMORY;
    for (int i = 0; i < n; ++i) {
        width[i] = job->net->layer[i].out.c;
        if (layer_has_filters(&job->net->layer[i])) l->before.filters_before += width[i];
    }
    l->before.before = cost_at(job->net, width);
    free(width);
    TRY(prune_blocks(ctx, job, l->resumed ? job->plan_out : NULL));
    if (!job->whole) return ST_OK;
    path_of(l, path, "step%d.cfg", 0);
    TRY(save_cfg(ctx, job->net, path));
    path_of(l, path, "step%d.weights", 0);
    return save_net(ctx, job->net, 0, path);
}

static enum status open_loop(struct ctx *ctx, struct prune_job *job, struct loop *l) {
    *l = (struct loop){ .job = job, .opt = &job->opt.loop, .steps = steps_of(&job->opt.loop) };
    const struct loop_options *o = l->opt;
    char path[PATH];
    if (!job->data.valid) return ctx_fail(ctx, ST_CFG, "%s: has no 'valid=' list of images; a run in steps measures mAP on it", job->opt.data);
    if (!job->data.train) return ctx_fail(ctx, ST_CFG, "%s: has no 'train=' list of images to fine-tune on", job->opt.data);
    if (job->opt.select.target == TARGET_THRESHOLD && l->steps > 1)
        return ctx_fail(ctx, ST_USAGE, "-threshold says nothing about the size of the network, so there is nothing to divide into steps; give a target, or one step");
    if (job->opt.from_plan && l->steps > 1) return ctx_fail(ctx, ST_USAGE, "-from_plan cuts at once; leave out -steps");
    if (o->distill > 0) {
        struct distill probe;
        TRY(distill_open(ctx, &probe, job->be, job->net, o->distill, 0, 0));
    }
    TRY(list_read(ctx, job->data.train, &l->train));
    TRY(list_read(ctx, job->data.valid, &l->valid));
    beside(l, path, ".steps");
    snprintf(l->dir, sizeof l->dir, "%.1199s", path);
    TRY(io_make_dirs(ctx, l->dir));
    sweep(l);
    if (o->resume && io_exists(job->plan_out)) TRY(record_read(ctx, job, &l->log));
    job->loop = l->log;
    l->resumed = l->log != NULL;
    TRY(first_network(ctx, l));
    l->alive = mem_zero(ctx, (size_t)job->channels->n_node, 1);
    l->whole = mem_zero(ctx, (size_t)job->net->n, sizeof *l->whole);
    job->selection.keep = mem_zero(ctx, (size_t)job->channels->n_group, 1);
    job->selection.rank = mem_zero(ctx, (size_t)job->channels->n_group, sizeof *job->selection.rank);
    if (ctx->code != ST_OK) return ctx->code;
    memset(l->alive, 1, (size_t)job->channels->n_node);
    for (int i = 0; i < job->net->n; ++i) l->whole[i] = job->net->layer[i].out.c;
    job->selection.reached = true;
    return ST_OK;
}

enum status loop_run(struct ctx *ctx, struct prune_job *job) {
    struct loop l = { 0 };
    enum status st = open_loop(ctx, job, &l);
    if (st == ST_OK) st = run(ctx, &l);
    list_free(&l.train);
    list_free(&l.valid);
    free(l.alive), free(l.whole);
    if (st != ST_INTERRUPTED) return st;
    ctx_clear(ctx);
    return ctx_fail(ctx, ST_INTERRUPTED, "interrupted after %d of %d steps; the same command with -resume goes on",
                    l.log ? record_steps_trained(l.log) : 0, l.steps);
}
