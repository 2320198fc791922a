#include "recipe/prune_job.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/text.h"
#include "recipe/latency_target.h"
#include "recipe/prune_blocks.h"

struct prune_options prune_defaults(void) {
    return (struct prune_options){ .criterion = "saliency", .compensate = true, .images = 1000, .report_images = -1, .map_thresh = 0.25, .map_iou = 0.5, .seeds = 3,
                                   .loop = { .steps = 1, .rate_factor = 1, .max_map_drop = -1, .seed = 1 }, .saliency = saliency_defaults(), .select = select_defaults() };
}

static char *joined(struct ctx *ctx, const char *a, const char *b) {
    size_t n = strlen(a) + strlen(b) + 1;
    char *s = mem_zero(ctx, n, 1);
    if (s) snprintf(s, n, "%s%s", a, b);
    return s;
}

static enum status out_names(struct ctx *ctx, struct prune_job *job) {
    const char *slash = strrchr(job->opt.cfg, '/'), *base = slash ? slash + 1 : job->opt.cfg;
    char *stem = mem_text(ctx, base);
    if (stem && text_ends_with(stem, ".cfg")) stem[strlen(stem) - 4] = '\0';
    char *prefix = job->opt.out ? mem_text(ctx, job->opt.out) : stem ? joined(ctx, stem, "_pruned") : NULL;
    free(stem);
    if (!prefix) return ctx->code;
    job->cfg_out = joined(ctx, prefix, ".cfg");
    job->weights_out = joined(ctx, prefix, ".weights");
    job->plan_out = joined(ctx, prefix, ".prune.json");
    job->html_out = joined(ctx, prefix, ".html");
    job->compare_out = joined(ctx, prefix, ".compare.json");
    free(prefix);
    return ctx->code;
}

/* Of a classifier: the labels as they stand in the paths. */
static enum status load_classes(struct ctx *ctx, struct prune_job *job) {
    const char *path = job->data.labels ? job->data.labels : "data/labels.list";
    int outputs;
    TRY(classify_outputs(ctx, job->net, &outputs));
    TRY(list_read(ctx, path, &job->labels));
    if (job->labels.n != outputs)
        return ctx_fail(ctx, ST_FORMAT, "%s: %d classes, but the network %s has %d outputs", path, job->labels.n, job->opt.cfg, outputs);
    return score_images_open_classes(ctx, job->net, &job->list, &job->labels, job->opt.images, job->opt.saliency.seed, &job->images);
}

static enum status load(struct ctx *ctx, struct prune_job *job) {
    int head[1];
    TRY(data_read(ctx, job->opt.data, &job->data));
    TRY(net_open(ctx, job->opt.cfg, job->opt.strict, &job->net));
    TRY(net_load(ctx, job->net, job->opt.weights, LOAD_WHOLE, NULL));
    TRY(channels_build(ctx, job->net, &job->channels));
    const char *list = job->opt.use_valid ? job->data.valid : job->data.train;
    if (!list) return ctx_fail(ctx, ST_CFG, "%s: has no '%s=' list of images", job->opt.data, job->opt.use_valid ? "valid" : "train");
    TRY(list_read(ctx, list, &job->list));
    if (job->list.n < 1) return ctx_fail(ctx, ST_FORMAT, "%s: the list of images is empty", list);
    if (job->opt.classifier) return load_classes(ctx, job);
    if (net_heads(job->net, head, 1) < 1)
        return ctx_fail(ctx, ST_UNSUPPORTED, "%s: has no detection head; `detector` needs a detector, `classifier prune` does the others", job->opt.cfg);
    job->net->layer[head[0]].ops->head->info(&job->net->layer[head[0]], &job->head);
    return score_images_open(ctx, job->net, &job->list, job->opt.images, job->opt.saliency.seed, job->head.classes, &job->images);
}

enum status prune_open(struct ctx *ctx, struct backend *be, const struct prune_options *opt, struct prune_job **out) {
    struct prune_job *job = *out = mem_zero(ctx, 1, sizeof *job);
    if (!job) return ST_MEMORY;
    job->opt = *opt;
    job->be = be;
    const struct criterion *list[CRITERIA_MAX];
    int n = 0;
    if (criteria_parse(ctx, opt->criterion, list, &n) == ST_OK && n > 1 && !opt->compare && !opt->validate)
        ctx_fail(ctx, ST_USAGE, "-criterion %s: several are for -compare and -validate", opt->criterion);
    for (int i = 0; i < n && opt->classifier; ++i)
        if (list[i]->needs & NEEDS_OBJECTS)
            ctx_fail(ctx, ST_USAGE, "-criterion %s: is about labelled boxes, which a classifier has none of; taylor is its like", list[i]->name);
    if (ctx->code == ST_OK) out_names(ctx, job);
    if (ctx->code == ST_OK) load(ctx, job);
    if (ctx->code == ST_OK) {
        job->mean = mem_zero(ctx, (size_t)job->channels->n_node, sizeof *job->mean);
        job->score = mem_zero(ctx, (size_t)job->channels->n_group, sizeof *job->score);
        job->keep_layer = mem_zero(ctx, (size_t)job->net->n, 1);
    }
    if (ctx->code == ST_OK) return ST_OK;
    prune_close(job);
    *out = NULL;
    return ctx->code;
}

void prune_close(struct prune_job *job) {
    if (!job) return;
    score_images_close(job->images);
    prune_blocks_free(job);
    saliency_free(&job->detail);
    selection_free(&job->selection);
    latency_drop(job->latency);
    channels_drop(job->channels);
    net_close(job->net);
    net_close(job->small);
    list_free(&job->list);
    list_free(&job->names);
    list_free(&job->labels);
    data_free(&job->data);
    map_free(&job->map_before);
    map_free(&job->map_after);
    map_free(&job->map_tuned);
    cJSON_Delete(job->loop);
    free(job->speed_before.layer_ms), free(job->speed_after.layer_ms);
    free(job->mean), free(job->score), free(job->compensated), free(job->keep_layer);
    free(job->cfg_out), free(job->weights_out), free(job->plan_out), free(job->html_out), free(job->compare_out);
    free(job);
}

struct score_source prune_source(struct prune_job *job) {
    struct score_source src = score_images_source(job->images);
    src.progress = job->opt.progress;
    src.progress_user = job->opt.user;
    src.stop = job->opt.stop;
    return src;
}

static enum status refuse_existing(struct ctx *ctx, const struct prune_job *job) {
    const char *cut[] = { job->cfg_out, job->weights_out, job->plan_out, job->opt.report_images < 0 ? NULL : job->html_out, NULL }, *table[] = { job->compare_out, NULL };
    const char *const *out = job->opt.compare ? table : cut;
    bool goes_on = job->opt.loop.resume && io_exists(job->opt.compare ? job->compare_out : job->plan_out);
    for (int i = 0; out[i] && !job->opt.force && !job->opt.dry_run && !goes_on; ++i)
        if (io_exists(out[i])) return ctx_fail(ctx, ST_USAGE, "%s: exists already; -force overwrites it, -out PREFIX writes elsewhere", out[i]);
    return ST_OK;
}

static enum status writable_folder(struct ctx *ctx, const char *path) {
    char *folder = mem_text(ctx, strchr(path, '/') ? path : "./"), *slash = folder ? strrchr(folder, '/') : NULL;
    if (!folder) return ST_MEMORY;
    slash[1] = '\0';
    bool writable = access(folder, W_OK) == 0;
    free(folder);
    if (writable) return ST_OK;
    return ctx_fail(ctx, ST_IO, "%s: cannot be written: %s", path, strerror(errno));
}

/* "0,5-9" */
static enum status parse_layers(struct ctx *ctx, const char *text, int n, uint8_t *keep) {
    for (const char *p = text; *p;) {
        char *end;
        long a = strtol(p, &end, 10), b = a;
        if (end != p && *end == '-') {
            p = end + 1;
            b = strtol(p, &end, 10);
        }
        if (end == p || a < 0 || b < a || b >= n || (*end && *end != ','))
            return ctx_fail(ctx, ST_USAGE, "-keep_layers %s: layers of this network are 0 to %d, e.g. 0,5-9", text, n - 1);
        for (long i = a; i <= b; ++i) keep[i] = 1;
        p = *end ? end + 1 : end;
    }
    return ST_OK;
}

enum status prune_ready(struct ctx *ctx, struct prune_job *job) {
    TRY(refuse_existing(ctx, job));
    if (!job->opt.dry_run) TRY(writable_folder(ctx, job->cfg_out));
    return job->opt.keep_layers ? parse_layers(ctx, job->opt.keep_layers, job->net->n, job->keep_layer) : ST_OK;
}

enum status prune_score_all(struct ctx *ctx, struct prune_job *job, const struct criterion *const *list, int n, double *const *score) {
    struct score_source src = prune_source(job);
    struct saliency_options opt = job->opt.saliency;
    opt.centred = job->opt.compensate; /* score what removal will do */
    saliency_free(&job->detail); /* that of the blocks */
    if (job->opt.compensate) TRY(saliency_means(ctx, job->net, job->be, job->channels, &src, opt.batch, job->mean));
    struct criterion_input in = { job->net, job->be, job->channels, &src, &opt, job->mean, &job->detail, NULL, NULL };
    return criteria_score(ctx, &in, list, n, score);
}

enum status prune_score(struct ctx *ctx, struct prune_job *job) {
    const struct criterion *criterion = criterion_find(job->opt.criterion);
    return prune_score_all(ctx, job, &criterion, 1, &job->score);
}

enum status prune_select(struct ctx *ctx, struct prune_job *job) {
    if (job->opt.from_plan) {
        TRY(audit_read_plan(ctx, job, job->opt.from_plan));
        return prune_blocks_before(ctx, job, &job->selection);
    }
    struct select_options opt = job->opt.select;
    opt.keep_layer = job->keep_layer;
    if (opt.cost_power < 0) opt.cost_power = criterion_find(job->opt.criterion)->cost_power;
    job->opt.select.cost_power = opt.cost_power;
    if ((criterion_find(job->opt.criterion)->needs & JOINT) && job->opt.saliency.form == FORM_ABS && job->opt.saliency.normalize == NORMALIZE_NONE)
        opt.response = job->detail.response, opt.n_response = job->detail.n_response;
    TRY(prune_blocks_share(ctx, job, &opt));
    if (opt.target == TARGET_LATENCY || opt.cost == COST_LATENCY) TRY(latency_prepare(ctx, job));
    opt.latency = job->latency;
    TRY(opt.target == TARGET_LATENCY && !job->by_table ? latency_select(ctx, job, &opt) : select_groups(ctx, job->channels, job->score, &opt, &job->selection));
    TRY(prune_blocks_before(ctx, job, &job->selection));
    if (!job->selection.reached && opt.target != TARGET_LATENCY)
        ctx_log(ctx, LOG_WARN, "the target is out of reach: -max_layer_ratio %g and -min_filters %d allow no more than what follows",
                opt.max_layer_ratio, opt.min_filters);
    return ST_OK;
}

enum status prune_proof_images(struct ctx *ctx, struct prune_job *job, float **x, int *count) {
    struct score_source src = prune_source(job);
    size_t image = (size_t)job->net->opt.channels * (size_t)job->net->opt.height * (size_t)job->net->opt.width;
    *count = src.count < 4 ? src.count : 4;
    *x = mem_zero(ctx, image * (size_t)*count, sizeof **x);
    for (int i = 0; i < *count && ctx->code == ST_OK; ++i) {
        struct score_image im;
        if (src.get(src.user, ctx, i, &im) == ST_OK) memcpy(*x + (size_t)i * image, im.x, image * sizeof **x);
    }
    if (ctx->code == ST_OK) return ST_OK;
    free(*x);
    *x = NULL;
    return ctx->code;
}

static enum status prove(struct ctx *ctx, struct prune_job *job) {
    int count;
    float *x;
    TRY(prune_proof_images(ctx, job, &x, &count));
    enum status st =
        slice_check(ctx, job->be, job->net, job->channels, job->selection.keep, job->compensated, job->small, x, count, &job->worst);
    free(x);
    return st;
}

enum status prune_cut(struct ctx *ctx, struct prune_job *job) {
    const struct net *net = job->net;
    job->compensated = mem_zero(ctx, net->n_param, sizeof *job->compensated);
    if (!job->compensated) return ST_MEMORY;
    memcpy(job->compensated, net->param, net->n_param * sizeof *net->param);
    if (job->opt.compensate) slice_compensate(net, job->channels, job->selection.keep, job->mean, job->compensated);
    TRY(slice_apply(ctx, net, job->channels, job->selection.keep, job->compensated, &job->small));
    bool whole = memchr(job->selection.keep, 0, (size_t)job->channels->n_group) == NULL;
    if (!job->opt.keep_seen && (!whole || job->whole)) job->small->seen = 0;
    TRY(prove(ctx, job));
    if (!(job->worst <= 1e-4))
        return ctx_fail(ctx, ST_NUMERIC, "the pruned network differs from the masked one by %g, more than 1e-4; nothing was written",
                        job->worst);
    return ST_OK;
}

static void map_progress(void *user, int done, int total) {
    struct prune_job *job = user;
    if (job->opt.progress) job->opt.progress(job->opt.user, "mAP", done, total);
}

enum status prune_map(struct ctx *ctx, struct prune_job *job, struct net *net, struct map_result *out) {
    struct map_options opt = { .thresh = (float)job->opt.map_thresh, .iou_thresh = (float)job->opt.map_iou, .progress = map_progress,
                               .user = job, .stop = job->opt.stop };
    struct text_list valid = { 0 };
    if (!job->data.valid) return ctx_fail(ctx, ST_CFG, "%s: has no 'valid=' list of images to measure mAP on", job->opt.data);
    enum status st = list_read(ctx, job->data.valid, &valid);
    if (st == ST_OK) st = net_bind(ctx, net, job->be, NET_INFER, 4);
    if (st == ST_OK) st = map_evaluate(ctx, net, &valid, NULL, &opt, out);
    net_unbind(net);
    list_free(&valid);
    return st;
}

static enum status accuracy(struct ctx *ctx, struct prune_job *job, struct net *net, const struct text_list *images, struct classify_score *out) {
    int k = job->data.top > 0 ? job->data.top : 5;
    job->top = k < job->labels.n ? k : job->labels.n;
    TRY(net_bind(ctx, net, job->be, NET_INFER, 1));
    enum status st = classify_evaluate(ctx, net, images, &job->labels, VIEW_CENTRE, job->top, NULL, NULL, NULL, out);
    net_unbind(net);
    return st;
}

static enum status measure_classes(struct ctx *ctx, struct prune_job *job) {
    struct text_list images = { 0 };
    if (!job->data.valid) return ctx_fail(ctx, ST_CFG, "%s: has no 'valid=' list of images to measure on", job->opt.data);
    enum status st = list_read(ctx, job->data.valid, &images);
    if (st == ST_OK) st = classify_check(ctx, &images, &job->labels);
    if (st == ST_OK) st = accuracy(ctx, job, prune_before(job), &images, &job->classes_before);
    if (st == ST_OK) st = accuracy(ctx, job, job->small, &images, &job->classes_after);
    list_free(&images);
    return st;
}

enum status prune_measure(struct ctx *ctx, struct prune_job *job) {
    TRY(speed_compare(ctx, job->be, prune_before(job), job->small, 50, 5, &job->speed_before, &job->speed_after));
    TRY(latency_judge(ctx, job));
    if (!job->opt.calc_map) return ST_OK;
    if (job->opt.classifier) return measure_classes(ctx, job);
    TRY(prune_map(ctx, job, prune_before(job), &job->map_before));
    TRY(prune_map(ctx, job, job->small, &job->map_after));
    job->have_map = true;
    return ST_OK;
}

enum status prune_write(struct ctx *ctx, struct prune_job *job) {
    char *cfg = NULL, *plan = NULL;
    size_t size;
    TRY(refuse_existing(ctx, job)); /* again: something may have come to lie there since prune_ready */
    enum status st = audit_text(ctx, job, &plan);
    if (st == ST_OK) st = cfg_text(ctx, job->small->doc, &cfg, &size);
    if (st == ST_OK) st = net_save(ctx, job->small, job->weights_out, -1);
    if (st == ST_OK) st = io_write(ctx, job->cfg_out, cfg, size);
    if (st == ST_OK) st = io_write(ctx, job->plan_out, plan, strlen(plan));
    free(cfg), free(plan);
    return st;
}
