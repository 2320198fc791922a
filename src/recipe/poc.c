#include "recipe/poc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "data/json.h"
#include "recipe/loop.h"
#include "recipe/report.h"

enum { PATH = 1200, PASSES = 3, FEWEST_ITERATIONS = 100 };

enum status poc_budgets(struct ctx *ctx, const char *text, struct poc_options *o) {
    o->n_budget = 0;
    for (const char *p = text; *p;) {
        const char *rest;
        double v;
        if (!text_double(p, &v, &rest) || (*rest && *rest != ',') || !(v > 0 && v < 1))
            return ctx_fail(ctx, ST_USAGE, "-budgets %s: wants shares between 0 and 1 with commas between, e.g. 0.9,0.7,0.5", text);
        if (o->n_budget == POC_MOST) return ctx_fail(ctx, ST_USAGE, "-budgets: at most %d", (int)POC_MOST);
        for (int i = 0; i < o->n_budget; ++i)
            if (o->budget[i] == v) return ctx_fail(ctx, ST_USAGE, "-budgets %s: %g stands there twice", text, v);
        o->budget[o->n_budget++] = v;
        p = *rest ? rest + 1 : rest;
    }
    for (int i = 1; i < o->n_budget; ++i) /* falling */
        for (int k = i; k > 0 && o->budget[k] > o->budget[k - 1]; --k) {
            double t = o->budget[k];
            o->budget[k] = o->budget[k - 1], o->budget[k - 1] = t;
        }
    return o->n_budget ? ST_OK : ctx_fail(ctx, ST_USAGE, "-budgets: is empty");
}

/* --- Before the long part ------------------------------------------------------------------------------- */

/* What would only show in figures that mean nothing: no labels to judge or train by. */
static enum status check_list(struct ctx *ctx, const struct poc_options *o, const char *key, const char *path, int classes, int *images) {
    struct text_list list = { 0 };
    struct dataset_report survey;
    if (!path) return ctx_fail(ctx, ST_CFG, "%s: has no '%s=' list of images", o->prune.data, key);
    TRY(list_read(ctx, path, &list));
    *images = list.n;
    enum status st = list.n ? dataset_survey(ctx, &list, classes, &survey) : ctx_fail(ctx, ST_FORMAT, "%s: the list of images is empty", path);
    if (st == ST_OK) {
        st = dataset_usable(ctx, &survey, strcmp(key, "train") ? DATASET_SCORE : DATASET_TRAIN);
        if (st == ST_OK) st = dataset_tell(ctx, &survey, NULL);
        if (st == ST_OK && survey.boxes == 0)
            st = ctx_fail(ctx, ST_FORMAT, "%s: its %d images have no labelled objects; nothing can be %s", path, list.n, strcmp(key, "train") ? "judged by them" : "trained on them");
        dataset_report_free(&survey);
    }
    list_free(&list);
    return st;
}

static enum status check(struct ctx *ctx, struct backend *be, struct poc_options *o) {
    struct prune_options probe = o->prune;
    struct prune_job *job = NULL;
    int train = 0, valid = 0;
    probe.out = o->out;
    TRY(prune_open(ctx, be, &probe, &job));
    enum status st = check_list(ctx, o, "valid", job->data.valid, job->head.classes, &valid);
    if (st == ST_OK) st = check_list(ctx, o, "train", job->data.train, job->head.classes, &train);
    int batch = job->net->opt.batch, passes = (int)(((long long)PASSES * train + batch - 1) / batch);
    if (o->prune.loop.finetune < 0) o->prune.loop.finetune = passes > FEWEST_ITERATIONS ? passes : FEWEST_ITERATIONS;
    prune_close(job);
    return st;
}

/* --- One budget ----------------------------------------------------------------------------------------- */

static const char *target_flag(enum target_kind k) {
    return k == TARGET_PARAMS ? "target_params" : k == TARGET_MEMORY ? "target_memory" : "target_flops";
}

/* The pruning run that this is, as one would type it. */
static void command_of(const struct prune_options *p, char *text, size_t size) {
    size_t at = (size_t)snprintf(text, size, "detector prune %s %s %s -out %s -%s %g -criterion %s -images %d -seed %llu -steps %d -finetune %d -finetune_lr %g", p->data,
                                 p->cfg, p->weights, p->out, target_flag(p->select.target), p->select.value, p->criterion, p->images,
                                 (unsigned long long)p->saliency.seed, p->loop.steps, p->loop.finetune, p->loop.rate_factor);
    if (at < size && p->loop.distill > 0) at += (size_t)snprintf(text + at, size - at, " -distill %g", p->loop.distill);
    if (at < size && p->select.round != select_defaults().round) at += (size_t)snprintf(text + at, size - at, " -round %d", p->select.round);
    if (at < size && p->loop.baseline) snprintf(text + at, size - at, " -baseline");
}

static bool has_report(const char *record, const char *page) {
    struct ctx own = { 0 };
    cJSON *root = NULL;
    bool there = io_exists(page) && json_read(&own, record, &root) == ST_OK && cJSON_GetObjectItem(root, "report") != NULL;
    cJSON_Delete(root);
    return there;
}

static enum status run_budget(struct ctx *ctx, struct backend *be, const struct poc_options *o, int i, const char *prefix) {
    struct prune_options p = o->prune;
    struct prune_job *job = NULL;
    char command[4000], record[PATH + 16];
    snprintf(record, sizeof record, "%s.prune.json", prefix);
    p.out = prefix;
    p.select.value = o->budget[i];
    p.loop.baseline = o->baseline && i == 0;
    p.loop.resume = !p.force && io_exists(record);
    command_of(&p, command, sizeof command);
    p.flags = command;
    TRY(prune_open(ctx, be, &p, &job));
    enum status st = prune_ready(ctx, job);
    if (st == ST_OK) st = loop_run(ctx, job);
    if (st == ST_OK && !has_report(job->plan_out, job->html_out)) st = prune_report(ctx, job);
    prune_close(job);
    if (st != ST_INTERRUPTED) return st;
    ctx_clear(ctx);
    return ctx_fail(ctx, ST_INTERRUPTED, "interrupted at budget %g; the same command goes on", o->budget[i]);
}

/* --- The comparison ------------------------------------------------------------------------------------- */

static const cJSON *item(const cJSON *o, const char *name) { return cJSON_GetObjectItem(o, name); }

static void copy(cJSON *to, const char *name, const cJSON *from) {
    cJSON_AddItemToObject(to, name, from ? cJSON_Duplicate(from, true) : cJSON_CreateNull());
}

static cJSON *new_point(const char *name, const cJSON *side, double ms, double share) {
    static const char *const cost[] = { "params", "flops", "weight_bytes", "activation_bytes", "peak_bytes", "load_ms" };
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "name", name);
    cJSON_AddStringToObject(o, "cfg", json_text(item(side, "cfg"), "path"));
    cJSON_AddStringToObject(o, "weights", json_text(item(side, "weights"), "path"));
    for (size_t i = 0; i < sizeof cost / sizeof *cost; ++i) copy(o, cost[i], item(side, cost[i]));
    cJSON_AddNumberToObject(o, "ms", ms);
    cJSON_AddNumberToObject(o, "time_share", share);
    return o;
}

static void add_accuracy(cJSON *point, const cJSON *accuracy) {
    static const char *const size[] = { "small", "medium", "large" };
    char name[32];
    copy(point, "map", item(accuracy, "map"));
    for (int i = 0; i < 3; ++i) {
        snprintf(name, sizeof name, "map_%s", size[i]);
        copy(point, name, item(item(item(accuracy, "size"), size[i]), "map"));
    }
    copy(point, "precision", item(accuracy, "precision"));
    copy(point, "recall", item(accuracy, "recall"));
    cJSON *list = cJSON_AddArrayToObject(point, "ap");
    const cJSON *c;
    cJSON_ArrayForEach(c, item(accuracy, "classes")) {
        const cJSON *ap = item(c, "ap");
        cJSON_AddItemToArray(list, cJSON_IsNumber(ap) ? cJSON_CreateNumber(ap->valuedouble) : cJSON_CreateNull());
    }
}

/* The unpruned network, and the same with the training that the cuts had. */
static void add_uncut(cJSON *points, const cJSON *record) {
    static const char *const name[] = { "map", "map_small", "map_medium", "map_large", "ap" };
    const cJSON *before = item(item(record, "report"), "before"), *base = item(item(record, "loop"), "baseline"),
                *last = cJSON_GetArrayItem(base, cJSON_GetArraySize(base) - 1);
    double ms = json_number(before, "ms", 0);
    cJSON *uncut = new_point("uncut", before, ms, 1);
    add_accuracy(uncut, item(before, "accuracy"));
    cJSON_AddItemToArray(points, uncut);
    if (!last) return;
    cJSON *trained = new_point("uncut, trained on", before, ms, 1);
    for (int i = 0; i < 5; ++i) copy(trained, name[i], item(item(last, "map_after_finetune"), name[i]));
    cJSON_AddItemToArray(points, trained);
}

static void add_cut(cJSON *points, const cJSON *record, double budget, double uncut_ms, const char *prefix) {
    char name[64], page[PATH + 8];
    const cJSON *report = item(record, "report"), *after = item(report, "after"), *ratio = item(report, "time_ratio");
    double share = json_number(ratio, "median", 0);
    snprintf(name, sizeof name, "%g %%", 100 * budget);
    snprintf(page, sizeof page, "%s.html", prefix);
    cJSON *o = new_point(name, after, uncut_ms * share, share);
    cJSON_AddNumberToObject(o, "budget", budget);
    copy(o, "time_share_low", item(ratio, "low"));
    copy(o, "time_share_high", item(ratio, "high"));
    copy(o, "map_after_cut", item(item(record, "map_after_cut"), "map"));
    add_accuracy(o, item(after, "accuracy"));
    cJSON_AddStringToObject(o, "page", page);
    copy(o, "command", item(record, "command"));
    cJSON_AddItemToArray(points, o);
}

static double value(const cJSON *point, const char *name) { return json_number(point, name, 0); }

void poc_mark_front(cJSON *points) {
    cJSON *p;
    const cJSON *q;
    cJSON_ArrayForEach(p, points) {
        bool front = true;
        cJSON_ArrayForEach(q, points) {
            bool as_good = value(q, "map") >= value(p, "map") && value(q, "time_share") <= value(p, "time_share") && value(q, "weight_bytes") <= value(p, "weight_bytes");
            bool better = value(q, "map") > value(p, "map") || value(q, "time_share") < value(p, "time_share") || value(q, "weight_bytes") < value(p, "weight_bytes");
            front = front && !(as_good && better);
        }
        cJSON_DeleteItemFromObject(p, "front");
        cJSON_AddBoolToObject(p, "front", front);
    }
}

const cJSON *poc_fastest_within(const cJSON *points, double drop) {
    const cJSON *p, *best = NULL, *first = points ? points->child : NULL;
    cJSON_ArrayForEach(p, points) {
        bool near = value(p, "map") >= value(first, "map") - drop / 100;
        if (near && value(p, "time_share") < value(best ? best : first, "time_share")) best = p;
    }
    return best;
}

static void prefix_of(const struct poc_options *o, int i, char path[PATH]) {
    snprintf(path, PATH, "%s_%g", o->out, 100 * o->budget[i]);
    for (char *p = path + strlen(o->out); *p; ++p)
        if (*p == '.') *p = '_';
}

static enum status compare(struct ctx *ctx, const struct poc_options *o, cJSON *root) {
    cJSON *poc = cJSON_AddObjectToObject(root, "poc"), *points = cJSON_CreateArray(), *record;
    double ms = 0;
    for (int i = 0; i < o->n_budget; ++i) {
        char prefix[PATH], path[PATH + 16];
        prefix_of(o, i, prefix);
        snprintf(path, sizeof path, "%s.prune.json", prefix);
        if (json_read(ctx, path, &record) != ST_OK) break;
        const cJSON *report = item(record, "report");
        if (i == 0) {
            copy(root, "inputs", item(record, "inputs"));
            copy(poc, "data", item(report, "data"));
            copy(poc, "device", item(report, "device"));
            copy(poc, "iou_thresh", item(report, "iou_thresh"));
            copy(poc, "classes", item(item(item(report, "before"), "accuracy"), "classes"));
            cJSON *c;
            cJSON_ArrayForEach(c, cJSON_GetObjectItem(poc, "classes")) {
                const char *const more[] = { "ap", "tp", "fp", "curve" };
                for (int k = 0; k < 4; ++k) cJSON_DeleteItemFromObject(c, more[k]);
            }
            cJSON_AddNumberToObject(poc, "finetune", o->prune.loop.finetune);
            cJSON_AddNumberToObject(poc, "finetune_lr", o->prune.loop.rate_factor);
            cJSON_AddNumberToObject(poc, "steps", o->prune.loop.steps);
            cJSON_AddNumberToObject(poc, "distill", o->prune.loop.distill);
            cJSON_AddStringToObject(poc, "target", target_flag(o->prune.select.target) + strlen("target_"));
            add_uncut(points, record);
            ms = value(points->child, "ms");
        }
        add_cut(points, record, o->budget[i], ms, prefix);
        cJSON_Delete(record);
    }
    cJSON_AddItemToObject(poc, "points", points);
    poc_mark_front(points);
    return ctx->code;
}

static enum status write(struct ctx *ctx, const struct poc_options *o, const cJSON *root) {
    char path[PATH], *page = NULL, *text = NULL;
    cJSON *back = NULL;
    enum status st = report_read_back(ctx, root, &text, &back);
    if (st == ST_OK) st = poc_page(ctx, back, &page);
    cJSON_Delete(back);
    snprintf(path, sizeof path, "%s.json", o->out);
    if (st == ST_OK) st = io_write(ctx, path, text, strlen(text));
    snprintf(path, sizeof path, "%s.html", o->out);
    if (st == ST_OK) st = io_write(ctx, path, page, strlen(page));
    free(text), free(page);
    return st;
}

enum status poc_run(struct ctx *ctx, struct backend *be, const struct poc_options *options, cJSON **record) {
    struct poc_options o = *options;
    *record = NULL;
    if (strlen(o.out) > PATH / 2) return ctx_fail(ctx, ST_USAGE, "-out: a name of %zu characters is too long", strlen(o.out));
    TRY(check(ctx, be, &o));
    for (int i = 0; i < o.n_budget; ++i) {
        char prefix[PATH], what[PATH + 64];
        prefix_of(&o, i, prefix);
        snprintf(what, sizeof what, "budget %d of %d: %g %% of the %s, %s", i + 1, o.n_budget, 100 * o.budget[i], target_flag(o.prune.select.target) + strlen("target_"), prefix);
        if (o.say) o.say(o.prune.user, what);
        TRY(run_budget(ctx, be, &o, i, prefix));
    }
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "version", "1.0");
    if (o.prune.flags) cJSON_AddStringToObject(root, "command", o.prune.flags);
    enum status st = compare(ctx, &o, root);
    if (st == ST_OK) st = write(ctx, &o, root);
    if (st == ST_OK) *record = root;
    else cJSON_Delete(root);
    return st;
}
