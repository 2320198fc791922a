#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/rng.h"
#include "train/checkpoint.h"
#include "train/optimizer.h"
#include "train/schedule.h"

enum { NAMED_IMAGES = 4, MAP_BATCH = 8 };
static const uint64_t NOISE_STREAM = 0x6e6f697365, RATE_STREAM = 0x72617465;

struct trainer {
    struct backend *be;
    struct net *net, *eval;         /* eval: a second net for mAP, bound only while it measures */
    const struct data_options *data;
    const struct text_list *images, *valid;
    const struct train_options *opt;
    struct train_options defaults;  /* copy of *opt with its zeros filled in */
    struct text_list difficult;

    int mini, subdivisions, step_images, max;
    struct scale_plan scale;
    int cfg_w, cfg_h, cfg_max;
    struct head_info head;          /* the last one: Darknet takes classes, jitter and random from it */

    struct loader *loader;
    struct optimizer optimizer;
    struct checkpoint files;
    bool files_open, begun;         /* begun: iteration and seen are those of this run */
    float *momentum;                /* host copy, for the state file */
    struct loss_stats *stats;
    const char **step_path;         /* images of the current step */
    char *lines;
    size_t lines_cap, lines_n;
    uint64_t boxes, rewritten;      /* trained so far; of them on a place that another box had */

    uint64_t iteration;             /* finished ones */
    uint64_t last_numbered, last_last;
    struct train_state state;
    double map, smooth_seconds;
    double seconds, wait_seconds;
};

/* --- Before the first iteration ------------------------------------------------------------------------- */

static void fill_defaults(struct trainer *t, const struct train_options *opt) {
    struct train_options *o = &t->defaults;
    *o = *opt;
    if (o->map_epochs <= 0) o->map_epochs = 4;
    if (!(o->map_thresh > 0)) o->map_thresh = 0.25f;
    if (!(o->map_iou > 0)) o->map_iou = 0.5f;
    if (o->rate_factor == 0) o->rate_factor = 1;
    t->max = o->max_iterations > 0 ? o->max_iterations : t->net->opt.max_batches;
    if (o->save_every <= 0) o->save_every = t->data->save_weights;
    if (o->save_every <= 0) o->save_every = t->max < 10000 ? 1000 : 10000;
    if (o->last_every <= 0) o->last_every = t->data->save_last;
    if (o->last_every <= 0) o->last_every = 100;
    t->opt = o;
}

static enum status check_head(struct ctx *ctx, struct trainer *t) {
    bool any = false;
    for (int i = 0; i < t->net->n; ++i) {
        const struct layer *l = &t->net->layer[i];
        if (!l->ops->head) continue;
        l->ops->head->info(l, &t->head);
        any = true;
    }
    if (any) return ST_OK;
    return ctx_fail(ctx, ST_CFG, "%s: has no detection head ([yolo], [Gaussian_yolo], [region] or [detection]) to train",
                    t->net->doc->path);
}

static enum status check_schedule(struct ctx *ctx, struct trainer *t) {
    const struct net_options *o = &t->net->opt;
    const char *cfg = t->net->doc->path;
    if (o->adam)
        return ctx_fail(ctx, ST_UNSUPPORTED,
                        "%s: [net] adam: not supported in this version, remove it to train with SGD", cfg);
    if (t->max < 1)
        return ctx_fail(ctx, ST_CFG, "%s: [net] max_batches: missing, it says how many iterations to train",
                        cfg);
    if (t->opt->clear) t->net->seen = 0;
    t->iteration = t->net->seen / (uint64_t)t->step_images;
    if (t->iteration >= (uint64_t)t->max)
        return ctx_fail(ctx, ST_USAGE,
                        "%s: the weights have seen %llu images = %llu iterations already, max_batches=%d "
                        "ends training there; give -clear to start at iteration 0, or raise max_batches",
                        cfg, (unsigned long long)t->net->seen, (unsigned long long)t->iteration, t->max);
    if (t->step_images == 1)
        ctx_log(ctx, LOG_WARN,
                "%s: batch=1: batch norm over one image and steps this noisy seldom train well; use batch=64",
                cfg);
    else if (t->step_images < 8)
        ctx_log(ctx, LOG_WARN, "%s: %d images per step are few, batch=64 is usual", cfg, t->step_images);
    return ST_OK;
}

static enum status check_data(struct ctx *ctx, struct trainer *t) {
    long long boxes = 0;
    int background = 0;
    if (t->images->n < 1) return ctx_fail(ctx, ST_USAGE, "the list of training images is empty");
    TRY(dataset_check(ctx, t->images, t->head.classes, &boxes, &background, NULL));
    ctx_log(ctx, LOG_INFO, "Training set: %d images, %lld boxes, %d images without objects", t->images->n,
            boxes, background);
    if (!t->opt->calc_map) return ST_OK;
    if (!t->valid || t->valid->n < 1)
        return ctx_fail(ctx, ST_USAGE, "mAP during training needs a list of validation images (valid=)");
    TRY(dataset_check(ctx, t->valid, t->head.classes, &boxes, &background, NULL));
    if (t->data->difficult) TRY(list_read(ctx, t->data->difficult, &t->difficult));
    return ST_OK;
}

static enum status open_eval(struct ctx *ctx, struct trainer *t) {
    char *text;
    size_t size;
    struct cfg_doc *doc;
    TRY(cfg_text(ctx, t->net->doc, &text, &size));
    enum status st = cfg_parse(ctx, t->net->doc->path, text, size, true, &doc);
    free(text);
    TRY(st);
    struct ctx quiet = { 0 }; /* warnings about this cfg were given when the caller opened it */
    st = net_open_doc(&quiet, doc, false, &t->eval);
    if (st != ST_OK) return ctx_fail(ctx, st, "%s", quiet.error);
    if (t->eval->n_param != t->net->n_param)
        return ctx_fail(ctx, ST_CFG, "%s: the network for mAP differs from the one trained",
                        t->net->doc->path);
    return ST_OK;
}

static void plan_batch(void *user, uint64_t i, int *n, int *w, int *h) {
    const struct trainer *t = user;
    *n = t->mini;
    schedule_size(&t->scale, i / (uint64_t)t->subdivisions, w, h);
}

static enum status open_loader(struct ctx *ctx, struct trainer *t) {
    const struct net_options *o = &t->net->opt;
    struct loader_options lo = {
        .images = t->images,
        .augment = { .jitter = t->head.jitter,
                     .resize = t->head.resize,
                     .hue = o->hue,
                     .saturation = o->saturation,
                     .exposure = o->exposure,
                     .flip = o->flip,
                     .letter_box = o->letter_box,
                     .max_boxes = t->head.max_boxes,
                     .classes = t->head.classes },
        .channels = o->channels,
        .seed = t->opt->seed,
        .threads = t->opt->loader_threads,
        .plan = plan_batch,
        .user = t,
        .first = t->iteration * (uint64_t)t->subdivisions,
    };
    return loader_open(ctx, &lo, &t->loader);
}

/* Momentum and averages of an earlier run, when its state file belongs to these weights. */
static enum status resume(struct ctx *ctx, struct trainer *t) {
    bool found = false;
    t->state = (struct train_state){ .last_map = t->iteration, .avg_loss = -1, .best_map = -1 };
    t->last_numbered = t->last_last = t->iteration;
    if (!t->iteration) return ST_OK;
    if (t->files_open)
        TRY(checkpoint_resume(ctx, &t->files, t->net, t->iteration, &t->state, t->momentum, &found));
    if (found)
        optimizer_put(&t->optimizer, t->momentum);
    else
        ctx_log(ctx, LOG_INFO,
                "Training goes on at iteration %llu; no state file belongs to these weights, so momentum "
                "starts at 0",
                (unsigned long long)t->iteration);
    return ST_OK;
}

static enum status prepare(struct ctx *ctx, struct trainer *t) {
    TRY(check_head(ctx, t));
    TRY(check_schedule(ctx, t));
    if (t->opt->save) {
        t->files_open = true;
        TRY(checkpoint_open(ctx, t->data->backup ? t->data->backup : "backup", t->opt->base, &t->files));
    }
    TRY(check_data(ctx, t));
    if (t->opt->calc_map) TRY(open_eval(ctx, t));
    t->scale = (struct scale_plan){ .seed = t->opt->seed,
                                    .random = t->head.random,
                                    .w = t->cfg_w,
                                    .h = t->cfg_h,
                                    .step = t->net->opt.resize_step > 0 ? t->net->opt.resize_step : 32,
                                    .max_iterations = t->max };
    t->momentum = mem_zero(ctx, t->net->n_param, sizeof *t->momentum);
    t->stats = mem_zero(ctx, (size_t)t->net->n, sizeof *t->stats);
    t->step_path = mem_zero(ctx, (size_t)t->step_images, sizeof *t->step_path);
    if (!t->momentum || !t->stats || !t->step_path) return ST_MEMORY;
    t->net->opt.max_batches = t->max; /* heads and rate policies look at it */
    t->net->seen = t->iteration * (uint64_t)t->step_images;
    t->begun = true;
    TRY(open_loader(ctx, t)); /* reads ahead while the net is bound */
    TRY(net_bind(ctx, t->net, t->be, NET_TRAIN, t->mini));
    TRY(optimizer_open(ctx, t->net, &t->optimizer));
    return resume(ctx, t);
}

/* --- One iteration -------------------------------------------------------------------------------------- */

static enum status add_line(struct ctx *ctx, struct trainer *t, const char *line) {
    size_t n = strlen(line);
    if (!n) return ST_OK;
    TRY(mem_grow(ctx, &t->lines, &t->lines_cap, t->lines_n + n + 2, 1));
    memcpy(t->lines + t->lines_n, line, n);
    t->lines_n += n;
    if (t->lines[t->lines_n - 1] != '\n') t->lines[t->lines_n++] = '\n';
    t->lines[t->lines_n] = '\0';
    return ST_OK;
}

/* Darknet's lines of one sub-batch: one per head, then the boxes of all of them since the start. */
static enum status add_lines(struct ctx *ctx, struct trainer *t) {
    char totals[96];
    for (int i = 0; i < t->net->n; ++i) {
        TRY(add_line(ctx, t, t->stats[i].line));
        t->boxes += (uint64_t)t->stats[i].boxes;
        t->rewritten += (uint64_t)t->stats[i].rewritten;
    }
    if (!t->boxes) return ST_OK;
    snprintf(totals, sizeof totals, " total_bbox = %llu, rewritten_bbox = %f %% ", (unsigned long long)t->boxes,
             100 * (double)t->rewritten / (double)t->boxes);
    return add_line(ctx, t, totals);
}

/* Training has failed in numbers: names the iteration and the images that did it. */
static enum status not_finite(struct ctx *ctx, struct trainer *t, const char *what, const char *const *path,
                              int n) {
    char names[700] = "";
    size_t at = 0;
    int named = 0;
    for (; named < n && named < NAMED_IMAGES; ++named) {
        size_t need = strlen(path[named]) + 2;
        if (at + need >= sizeof names) break;
        at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", at ? ", " : "", path[named]);
    }
    for (int i = named; i < n; ++i) ctx_log(ctx, LOG_INFO, "also in the failing batch: %s", path[i]);
    ctx_clear(ctx);
    return ctx_fail(
        ctx, ST_NUMERIC,
        "iteration %llu: %s; saved weights are kept; lower learning_rate or look at the images: %s%s",
        (unsigned long long)t->iteration + 1, what, names, named < n ? ", ..." : "");
}

/* Forward, loss and backward of one of the step's sub-batches. */
static enum status sub_step(struct ctx *ctx, struct trainer *t, int sub, double *loss, double *wait) {
    struct net *net = t->net;
    const struct batch *b;
    double waited = 0, one = 0;
    TRY(loader_next(ctx, t->loader, &b, &waited));
    *wait += waited;
    uint64_t number = t->iteration * (uint64_t)t->subdivisions + (uint64_t)sub;
    struct rng noise = rng_stream(t->opt->seed, number, NOISE_STREAM);
    net->seed = rng_u64(&noise);
    net->iteration = t->iteration;
    memset(t->stats, 0, (size_t)net->n * sizeof *t->stats);
    for (int i = 0; i < b->n; ++i) t->step_path[sub * t->mini + i] = b->path[i];
    struct net_truth truth = { .boxes = b->truth, .target = b->target, .target_size = b->target_size };
    net->boxes = b->truth;
    TRY(net_forward(ctx, net, b->x));
    enum status st = net_loss(ctx, net, &truth, &one, t->stats);
    if (st == ST_NUMERIC || (st == ST_OK && !isfinite(one)))
        return not_finite(ctx, t, "the loss is not finite", b->path, b->n);
    TRY(st);
    TRY(net_backward(ctx, net));
    TRY(add_lines(ctx, t));
    net->seen += (uint64_t)t->mini;
    *loss += one;
    return ST_OK;
}

static enum status step(struct ctx *ctx, struct trainer *t, struct train_news *news) {
    struct net *net = t->net;
    double start = io_seconds(), loss = 0, wait = 0;
    int w, h;
    t->lines_n = 0;
    if (t->lines) t->lines[0] = '\0';
    schedule_size(&t->scale, t->iteration, &w, &h);
    if (w != net->opt.width || h != net->opt.height) TRY(net_resize(ctx, net, w, h));
    for (int s = 0; s < t->subdivisions; ++s) TRY(sub_step(ctx, t, s, &loss, &wait));
    loss /= t->step_images;
    if (!isfinite(t->be->ops->sum_squares(t->be, net->n_param, net->dev_grad)))
        return not_finite(ctx, t, "the gradient is not finite", t->step_path, t->step_images);

    uint64_t n = net->seen / (uint64_t)t->step_images;
    struct rng chance = rng_stream(t->opt->seed, n, RATE_STREAM);
    double rate = net_learning_rate(&net->opt, (long long)n, rng_uniform(&chance)) * t->opt->rate_factor;
    optimizer_step(&t->optimizer, net, rate, t->step_images);
    TRY(net_refresh(ctx, net));
    ++t->iteration;

    double average = t->state.avg_loss;
    t->state.avg_loss = average < 0 || !isfinite(average) ? loss : 0.9 * average + 0.1 * loss;
    double seconds = io_seconds() - start;
    t->smooth_seconds = t->smooth_seconds > 0 ? 0.95 * t->smooth_seconds + 0.05 * seconds : seconds;
    t->wait_seconds += wait;
    *news = (struct train_news){
        .iteration = t->iteration, .images = t->iteration * (uint64_t)t->step_images,
        .max_iterations = t->max, .loss = loss, .avg_loss = t->state.avg_loss, .rate = rate,
        .seconds = seconds - wait, .load_seconds = wait,
        .images_per_second = seconds > 0 ? t->step_images / seconds : 0,
        .eta_seconds = (double)((uint64_t)t->max - t->iteration) * t->smooth_seconds,
        .net_w = w, .net_h = h, .random_coef = schedule_resizes(&t->scale, t->iteration - 1), .head_lines = t->lines_n ? t->lines : "",
    };
    return ST_OK;
}

/* --- After an iteration --------------------------------------------------------------------------------- */

static enum status measure(struct ctx *ctx, struct trainer *t) {
    memcpy(t->eval->param, t->net->param, t->net->n_param * sizeof *t->eval->param);
    TRY(net_bind(ctx, t->eval, t->be, NET_INFER, t->mini < MAP_BATCH ? t->mini : MAP_BATCH));
    struct map_options mo = { .thresh = t->opt->map_thresh, .iou_thresh = t->opt->map_iou };
    struct map_result result;
    memset(&result, 0, sizeof result);
    enum status st =
        map_evaluate(ctx, t->eval, t->valid, t->difficult.n ? &t->difficult : NULL, &mo, &result);
    net_unbind(t->eval);
    t->map = result.map;
    map_free(&result);
    return st;
}

static uint64_t next_map(const struct trainer *t) {
    uint64_t next = schedule_next_map(t->state.last_map, t->opt->map_epochs, t->images->n, t->step_images,
                                      t->net->opt.burn_in);
    return next < (uint64_t)t->max ? next : (uint64_t)t->max;
}

static enum status map_if_due(struct ctx *ctx, struct trainer *t, bool *measured) {
    uint64_t n = t->iteration;
    *measured = false;
    if (!t->opt->calc_map || n < next_map(t)) return ST_OK;
    net_pull(t->net);
    TRY(measure(ctx, t));
    *measured = true;
    t->state.last_map = n;
    if (t->map < t->state.best_map) return ST_OK;
    t->state.best_map = t->map;
    return t->opt->save ? checkpoint_save(ctx, &t->files, t->net, "best") : ST_OK;
}

/* The host copy of net must be up to date. */
static enum status save_last(struct ctx *ctx, struct trainer *t) {
    t->state.iteration = t->iteration;
    optimizer_get(&t->optimizer, t->momentum);
    return checkpoint_save_last(ctx, &t->files, t->net, &t->state, t->momentum);
}

static enum status save_if_due(struct ctx *ctx, struct trainer *t) {
    uint64_t n = t->iteration;
    const struct train_options *o = t->opt;
    if (!o->save) return ST_OK;
    bool numbered = schedule_numbered(n, t->last_numbered, o->save_every);
    bool last = schedule_last(n, t->last_last, o->save_every, o->last_every);
    if (!numbered && !last) return ST_OK;
    net_pull(t->net);
    if (numbered) {
        char name[32];
        snprintf(name, sizeof name, "%llu", (unsigned long long)n);
        TRY(checkpoint_save(ctx, &t->files, t->net, name));
        t->last_numbered = n;
    }
    if (last) {
        TRY(save_last(ctx, t));
        t->last_last = n;
    }
    return ST_OK;
}

static bool stop_wanted(const struct trainer *t) { return t->opt->stop && *t->opt->stop; }

static enum status iterate(struct ctx *ctx, struct trainer *t) {
    struct train_news news;
    bool measured;
    while (t->iteration < (uint64_t)t->max) {
        TRY(step(ctx, t, &news));
        TRY(map_if_due(ctx, t, &measured));
        news.map = t->map;
        news.best_map = t->state.best_map;
        news.new_map = measured;
        news.next_map = t->opt->calc_map && news.iteration < (uint64_t)t->max ? next_map(t) : 0;
        if (t->opt->news) t->opt->news(t->opt->user, &news);
        TRY(save_if_due(ctx, t));
        if (stop_wanted(t) && t->iteration < (uint64_t)t->max) break;
    }
    net_pull(t->net);
    bool finished = t->iteration == (uint64_t)t->max;
    if (t->opt->save) {
        if (t->last_last != t->iteration) TRY(save_last(ctx, t));
        if (finished) TRY(checkpoint_save(ctx, &t->files, t->net, "final"));
    }
    if (finished) return ST_OK;
    return ctx_fail(ctx, ST_INTERRUPTED, "stopped after iteration %llu of %d%s%s%s%s%s",
                    (unsigned long long)t->iteration, t->max, t->opt->save ? ", saved as " : "",
                    t->opt->save ? t->files.dir : "", t->opt->save ? "/" : "",
                    t->opt->save ? t->files.base : "", t->opt->save ? "_last.weights" : "");
}

/* A step could not be finished, for want of an image say: what was trained before it is worth keeping. */
static void rescue(const struct ctx *ctx, struct trainer *t, uint64_t start) {
    if (!t->net->be || !t->optimizer.momentum || ctx->code == ST_NUMERIC || ctx->code == ST_INTERRUPTED)
        return;
    t->net->seen = t->iteration * (uint64_t)t->step_images;
    net_pull(t->net);
    if (!t->opt->save || t->iteration == start) return;
    struct ctx own = { .log = ctx->log, .log_user = ctx->log_user };
    if (save_last(&own, t) != ST_OK) ctx_log(&own, LOG_WARN, "%s", own.error);
}

static void finish(struct trainer *t) {
    struct ctx quiet = { 0 };
    loader_close(t->loader);
    optimizer_close(&t->optimizer);
    net_unbind(t->net);
    net_resize(&quiet, t->net, t->cfg_w, t->cfg_h);
    t->net->opt.max_batches = t->cfg_max;
    if (t->begun) t->net->seen = t->iteration * (uint64_t)t->step_images;
    if (t->eval) net_close(t->eval);
    if (t->files_open) checkpoint_close(&t->files);
    list_free(&t->difficult);
    free(t->momentum);
    free(t->stats);
    free(t->step_path);
    free(t->lines);
}

enum status train_run(struct ctx *ctx, struct backend *be, struct net *net, const struct data_options *data,
                      const struct text_list *images, const struct text_list *valid,
                      const struct train_options *opt, struct train_result *result) {
    struct trainer t = { .be = be, .net = net, .data = data, .images = images, .valid = valid, .map = -1,
                         .cfg_w = net->opt.width, .cfg_h = net->opt.height, .cfg_max = net->opt.max_batches };
    double start = io_seconds();
    t.subdivisions = net->opt.subdivisions;
    t.mini = net->opt.batch / net->opt.subdivisions;
    t.step_images = t.mini * t.subdivisions;
    t.state.best_map = -1;
    fill_defaults(&t, opt);
    enum status st = prepare(ctx, &t);
    uint64_t first = t.iteration;
    if (st == ST_OK) st = iterate(ctx, &t);
    if (st != ST_OK) rescue(ctx, &t, first);
    if (result)
        *result = (struct train_result){ .iteration = t.iteration, .avg_loss = t.state.avg_loss, .map = t.map,
                                         .best_map = t.state.best_map, .seconds = io_seconds() - start,
                                         .wait_seconds = t.wait_seconds };
    finish(&t);
    return st;
}
