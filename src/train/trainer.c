#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/rng.h"
#include "train/adversarial.h"
#include "train/checkpoint.h"
#include "train/diagnose.h"
#include "train/loss_scale.h"
#include "train/optimizer.h"
#include "train/reject.h"
#include "train/schedule.h"
#include "train/sparsity.h"
#include "train/team.h"

enum { NAMED_IMAGES = 4, MAP_BATCH = 8 };
static const uint64_t NOISE_STREAM = 0x6e6f697365, RATE_STREAM = 0x72617465, ADVERSARY_STREAM = 0x616476;

struct trainer {
    struct backend *be;
    struct net *net, *eval;         /* eval: a second net for mAP, bound only while it measures */
    const struct data_options *data;
    const struct text_list *images, *valid;
    const struct train_options *opt;
    struct train_options defaults;  /* copy of *opt with its zeros filled in */
    struct text_list difficult;

    int mini, subdivisions, step_images, max, end, epoch_images; /* end: of this run, at most max */
    struct scale_plan scale;
    int cfg_w, cfg_h, cfg_max;
    struct head_info head;          /* the last one: Darknet takes classes, jitter and random from it */

    struct batch_source source;
    struct block_memory blocks;     /* of pictures that the devices draw */
    struct team team;               /* member 0: net on be */
    struct adversary adversary;     /* with adversarial_lr */
    struct checkpoint files;
    bool files_open, begun;         /* begun: iteration and seen are those of this run */
    struct part { const struct batch *b, *next; const float *x; uint64_t number; bool last; } part; /* the sub-batch at work */
    struct update update;           /* the update at work */
    double squares, unscale;        /* of the summed gradient, without the loss scale; 1 over that scale */
    bool ready;                     /* there is to be an update */
    uint64_t average_start, average_apply; /* ema_alpha */
    char *lines;
    size_t lines_cap, lines_n;
    uint64_t boxes, rewritten;      /* trained so far; of them on a place that another box had */

    uint64_t iteration;             /* finished ones */
    uint64_t last_numbered, last_last;
    struct train_state state;
    struct loss_scale scaler;
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
    t->end = o->end > 0 && o->end < t->max ? o->end : t->max;
    if (o->save_every <= 0) o->save_every = t->data->save_weights;
    if (o->save_every <= 0) o->save_every = t->max < 10000 ? 1000 : 10000;
    if (o->last_every <= 0) o->last_every = t->data->save_last;
    if (o->last_every <= 0) o->last_every = 100;
    t->opt = o;
}

/* Boxes from label files and mAP need a detection head; other data need any loss. */
static enum status check_losses(struct ctx *ctx, struct trainer *t) {
    bool head = false, loss = false;
    for (int i = 0; i < t->net->n; ++i) {
        const struct layer *l = &t->net->layer[i];
        loss |= l->ops->loss != NULL;
        if (!l->ops->head) continue;
        l->ops->head->info(l, &t->head);
        head = true;
    }
    bool boxes = !t->opt->open_source || (t->opt->calc_map && !t->opt->measure);
    if (boxes && !head)
        return ctx_fail(ctx, ST_CFG, "%s: has no detection head ([yolo], [Gaussian_yolo], [region] or [detection]) to train",
                        t->net->doc->path);
    if (!loss) return ctx_fail(ctx, ST_CFG, "%s: no layer of this network has a loss to train on", t->net->doc->path);
    return ST_OK;
}

static enum status check_schedule(struct ctx *ctx, struct trainer *t) {
    const char *cfg = t->net->doc->path;
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

/* What several devices can share. */
static enum status check_team(struct ctx *ctx, const struct trainer *t) {
    const struct net_options *o = &t->net->opt;
    const char *cfg = t->net->doc->path;
    int devices = 1 + t->opt->n_other, each = o->batch / o->subdivisions, fits = o->subdivisions;
    if (devices == 1) return ST_OK;
    while (fits > 1 && (o->batch % fits || o->batch / fits % devices)) --fits;
    if (each % devices && o->batch % devices)
        return ctx_fail(ctx, ST_CFG, "%s: batch=%d cannot be shared equally by %d devices; make it a multiple of %d", cfg, o->batch, devices, devices);
    if (each % devices)
        return ctx_fail(ctx, ST_CFG, "%s: batch=%d subdivisions=%d gives %d images at a time, which %d devices cannot share equally; subdivisions=%d would do",
                        cfg, o->batch, o->subdivisions, each, devices, fits);
    if (o->contrastive && each / devices % 2)
        return ctx_fail(ctx, ST_CFG, "%s: contrastive=1 trains on pairs, but batch=%d subdivisions=%d gives each of %d devices %d images", cfg,
                        o->batch, o->subdivisions, devices, each / devices);
    if (o->adversarial_lr > 0) return ctx_fail(ctx, ST_UNSUPPORTED, "%s: adversarial_lr: with one device only", cfg);
    if (t->opt->second_loss) return ctx_fail(ctx, ST_UNSUPPORTED, "%s: training by another network's outputs: with one device only", cfg);
    ctx_log(ctx, LOG_INFO, "%d devices train on %d images each at a time, %d in all per iteration: learning_rate, burn_in and max_batches mean what they mean on one device",
            devices, each / devices, o->batch);
    return ST_OK;
}

static enum status check_data(struct ctx *ctx, struct trainer *t) {
    struct dataset_report found;
    if (!t->opt->open_source) {
        if (!t->images || t->images->n < 1) return ctx_fail(ctx, ST_USAGE, "the list of training images is empty");
        TRY(dataset_check(ctx, t->images, t->head.classes, DATASET_TRAIN, &found));
        ctx_log(ctx, LOG_INFO, "Training set: %d images, %lld boxes, %d images without objects", found.images, found.boxes,
                found.background);
    }
    t->epoch_images = t->opt->epoch_images > 0 ? t->opt->epoch_images : t->images ? t->images->n : 1;
    if (!t->opt->calc_map || t->opt->measure) return ST_OK;
    if (!t->valid || t->valid->n < 1)
        return ctx_fail(ctx, ST_USAGE, "mAP during training needs a list of validation images (valid=)");
    TRY(dataset_check(ctx, t->valid, t->head.classes, DATASET_SCORE, NULL));
    if (t->data->difficult) TRY(list_read(ctx, t->data->difficult, &t->difficult));
    return ST_OK;
}

/* Images of a mini-batch of that size; as many for each device. */
static int images_at(const struct trainer *t, int w, int h) {
    int n = schedule_images(&t->scale, w, h), unit = (1 + t->opt->n_other) * t->net->opt.time_steps;
    return n / unit * unit;
}

static void plan_batch(void *user, uint64_t i, int *n, int *w, int *h) {
    const struct trainer *t = user;
    schedule_size(&t->scale, i / (uint64_t)t->subdivisions, w, h);
    *n = images_at(t, *w, *h);
}

/* With track=1 sequences go on through several mini-batches of a step; else each has its own. */
static uint64_t plan_sequence(void *user, uint64_t i) {
    const struct trainer *t = user;
    uint64_t parts = (uint64_t)t->subdivisions, step = i / parts;
    if (!t->net->opt.track) return i;
    uint64_t batches = (uint64_t)net_sequence_batches(&t->net->opt, (long long)step + 1);
    return i - i % parts % batches;
}

/* The images of the list with their label files. */
static enum status open_images(struct ctx *ctx, void *user, const struct batch_request *r, struct batch_source *out) {
    struct trainer *t = user;
    const struct net_options *o = &t->net->opt;
    struct loader *loader;
    struct loader_options lo = {
        .images = t->images,
        .augment = { .jitter = t->head.jitter,
                     .resize = t->head.resize,
                     .max_boxes = t->head.max_boxes,
                     .classes = t->head.classes },
        .channels = o->channels,
        .seed = r->seed,
        .threads = r->threads,
        .plan = r->plan,
        .sequence = o->track ? r->sequence : NULL,
        .steps = r->steps,
        .augment_speed = o->augment_speed,
        .user = r->user,
        .first = r->first,
        .blocks = r->blocks,
    };
    augment_from_net(o, &lo.augment);
    TRY(loader_open(ctx, &lo, &loader));
    *out = loader_source(loader);
    return ST_OK;
}

static void *block_get(void *user, size_t bytes) {
    struct backend *be = user;
    return be->pictures->memory(be, bytes);
}

static void block_put(void *user, void *at) {
    struct backend *be = user;
    be->pictures->release(be, at);
}

/* Whether the devices draw their pictures: all of them can, and nobody on the host looks at the input. */
static bool devices_draw(const struct trainer *t) {
    bool can = t->net->opt.channels <= PICTURE_CHANNELS && !t->adversary.net && !t->opt->second_loss;
    for (int i = 0; i < t->team.n; ++i) can = can && t->team.member[i].be->pictures;
    return can;
}

static enum status open_source(struct ctx *ctx, struct trainer *t) {
    t->blocks = (struct block_memory){ .get = block_get, .put = block_put, .user = t->be };
    struct batch_request r = { .plan = plan_batch,
                               .sequence = plan_sequence,
                               .user = t,
                               .steps = t->net->opt.time_steps,
                               .first = t->iteration * (uint64_t)t->subdivisions,
                               .seed = t->opt->seed,
                               .threads = t->opt->loader_threads,
                               .blocks = devices_draw(t) ? &t->blocks : NULL };
    if (t->opt->open_source) return t->opt->open_source(ctx, t->opt->source_user, &r, &t->source);
    return open_images(ctx, t, &r, &t->source);
}

/* Momentum and averages of an earlier run, when its state file belongs to these weights. */
static enum status resume(struct ctx *ctx, struct trainer *t) {
    bool found = false;
    t->state = (struct train_state){ .last_map = t->iteration, .avg_loss = -1, .best_map = -1 };
    t->last_numbered = t->last_last = t->iteration;
    TRY(checkpoint_forget(ctx, t->net));
    if (!t->iteration) return ST_OK;
    if (t->files_open)
        TRY(checkpoint_resume(ctx, &t->files, t->net, t->iteration, &t->state, &t->team.member->optimizer, &found));
    if (!found)
        ctx_log(ctx, LOG_INFO,
                "Training goes on at iteration %llu; no state file belongs to these weights, so momentum "
                "starts at 0",
                (unsigned long long)t->iteration);
    return ST_OK;
}

static enum status bind_member(struct ctx *ctx, void *user, struct member *m) {
    const struct trainer *t = user;
    TRY(net_bind(ctx, m->net, m->be, NET_TRAIN, t->mini / t->team.n));
    return optimizer_open(ctx, m->net, &m->optimizer);
}

static enum status prepare(struct ctx *ctx, struct trainer *t) {
    TRY(check_losses(ctx, t));
    TRY(check_schedule(ctx, t));
    TRY(check_team(ctx, t));
    if (t->opt->save) {
        t->files_open = true;
        TRY(checkpoint_open(ctx, t->data->backup ? t->data->backup : "backup", t->opt->base, &t->files));
    }
    TRY(check_data(ctx, t));
    if (t->opt->calc_map) TRY(net_open_twin(ctx, t->net, &t->eval));
    if (t->net->opt.adversarial_lr > 0) TRY(net_open_twin(ctx, t->net, &t->adversary.net));
    t->scale = (struct scale_plan){ .seed = t->opt->seed,
                                    .random = t->head.random,
                                    .w = t->cfg_w,
                                    .h = t->cfg_h,
                                    .step = t->net->opt.resize_step > 0 ? t->net->opt.resize_step : 32,
                                    .max_iterations = t->max,
                                    .images = t->mini,
                                    .dynamic = t->net->opt.dynamic_minibatch };
    schedule_average(t->max, &t->average_start, &t->average_apply);
    t->net->iteration = t->iteration; /* decides which layers are frozen */
    t->net->opt.max_batches = t->max; /* heads and rate policies look at it */
    t->net->seen = t->iteration * (uint64_t)t->step_images;
    t->net->checkpoint_activations = t->opt->checkpoint_activations;
    t->net->host_heads = t->opt->second_loss != NULL;
    t->begun = true;
    TRY(team_open(ctx, t->be, t->net, t->opt->others, t->opt->n_other, &t->team));
    if (t->opt->sum_piece) t->team.piece = t->opt->sum_piece;
    TRY(open_source(ctx, t)); /* reads ahead while the net is bound */
    TRY(team_each(ctx, &t->team, bind_member, t));
    TRY(resume(ctx, t));
    team_copy_memory(&t->team);
    loss_scale_open(&t->scaler, t->be, t->state.loss_scale, t->state.loss_good);
    return team_each(ctx, &t->team, team_follow, NULL);
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

/* Darknet's lines of one sub-batch: one per head and device, then the boxes of all of them since the start. */
static enum status add_lines(struct ctx *ctx, struct trainer *t) {
    char totals[96];
    for (int m = 0; m < t->team.n; ++m)
        for (int i = 0; i < t->net->n; ++i) {
            const struct loss_stats *s = &t->team.member[m].stats[i];
            TRY(add_line(ctx, t, s->line));
            t->boxes += (uint64_t)s->boxes;
            t->rewritten += (uint64_t)s->rewritten;
        }
    if (!t->boxes) return ST_OK;
    snprintf(totals, sizeof totals, " total_bbox = %llu, rewritten_bbox = %f %% ", (unsigned long long)t->boxes,
             100 * (double)t->rewritten / (double)t->boxes);
    return add_line(ctx, t, totals);
}

/* Training has failed in numbers: names the layer, the iteration and the images that did it. */
static enum status not_finite(struct ctx *ctx, const struct trainer *t, const char *what, const struct batch *b) {
    char names[560] = "";
    size_t at = 0;
    int named = 0;
    for (; b->path && named < b->n && named < NAMED_IMAGES && b->path[named]; ++named) {
        size_t need = strlen(b->path[named]) + 2;
        if (at + need >= sizeof names) break;
        at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", at ? ", " : "", b->path[named]);
    }
    for (int i = named; b->path && i < b->n && b->path[i]; ++i)
        ctx_log(ctx, LOG_INFO, "also in the failing batch: %s", b->path[i]);
    ctx_clear(ctx);
    return ctx_fail(ctx, ST_NUMERIC, "iteration %llu: %s; saved weights are kept; lower learning_rate or give the heads a max_delta (5)%s%s%s%s",
                    (unsigned long long)t->iteration + 1, what,
                    t->net->be->narrow_maps == ELEMENT_HALF ? ", or take -precision bf16 for numbers beyond 65504" : "",
                    at ? " or look at the images: " : "", names, at && named < b->n ? ", ..." : "");
}

/* adversarial_lr: after the burn-in, in every second sub-batch by chance, *x becomes the disturbed pictures. */
static enum status disturb(struct ctx *ctx, struct trainer *t, uint64_t number, const float **x) {
    const struct net_options *o = &t->net->opt;
    struct rng r = rng_stream(t->opt->seed, number, ADVERSARY_STREAM);
    if (!t->adversary.net || t->iteration <= (uint64_t)o->burn_in || rng_uniform(&r) >= .5) return ST_OK;
    double rate = o->adversarial_lr * (double)t->iteration / t->max;
    return adversary_disturb(ctx, &t->adversary, t->net, *x, rate, o->contrastive ? 2 : 1, x);
}

/* The loss's numbers.  When they are none it tells why: by what the pass has left, or, when backward has taken the outputs' memory,
 * by another one. */
static enum status member_loss(struct ctx *ctx, const struct trainer *t, struct member *m) {
    char what[256];
    bool again = net_loss_queued(m->net);
    enum status st = net_loss_end(ctx, m->net, &m->loss, m->stats);
    if (st != ST_NUMERIC && (st != ST_OK || isfinite(m->loss))) return st;
    struct ctx quiet = { 0 };
    if (again) net_forward_input(&quiet, m->net);
    diagnose_forward(m->net, what, sizeof what);
    return not_finite(ctx, t, what, t->part.b);
}

/* Forward, loss and backward of a member's share of a sub-batch. */
static enum status member_step(struct ctx *ctx, void *user, struct member *m) {
    const struct trainer *t = user;
    const struct part *part = &t->part;
    struct net *net = m->net;
    struct team_share share;
    struct rng noise = rng_stream(t->opt->seed, part->number, NOISE_STREAM);
    TRY(team_share(ctx, m, part->b, part->x, net->batch * t->team.n, &share));
    net->seed = rng_u64(&noise);
    net->first_image = net->batch * m->rank;
    if (m->rank) net->seen = t->net->seen;
    net->boxes = share.boxes;
    memset(m->stats, 0, (size_t)net->n * sizeof *m->stats);
    if (plan_sequence((void *)t, part->number) == part->number) TRY(net_reset(ctx, net));
    struct net_truth truth = { .boxes = share.boxes, .target = share.target, .target_size = part->b->target_size };
    if (part->b->block) {
        TRY(team_draw(ctx, m, part->b, part->next));
        TRY(net_forward_input(ctx, net));
    } else TRY(net_forward(ctx, net, share.x));
    TRY(net_loss_begin(ctx, net, &truth));
    bool later = net_loss_queued(net); /* a device computes it: on to the backward pass */
    if (!later) TRY(member_loss(ctx, t, m));
    if (t->opt->second_loss) TRY(t->opt->second_loss(ctx, t->opt->second_user, net, share.x, share.boxes, &m->loss));
    net->loss_scale = t->scaler.scale;
    if (part->last) team_send_gradients(ctx, m);
    TRY(net_backward(ctx, net));
    if (later) TRY(member_loss(ctx, t, m));
    if (!m->sending) m->squares = m->be->ops->sum_squares(m->be, net->n_param, net->dev_grad);
    return ctx->code;
}

static enum status check_gradient(struct ctx *ctx, void *user, struct member *m) {
    const struct trainer *t = user;
    char what[256];
    if (isfinite(m->squares)) return ST_OK;
    diagnose_backward(m->net, what, sizeof what);
    return not_finite(ctx, t, what, t->part.b);
}

/* One of the step's sub-batches, by all devices. */
static enum status sub_step(struct ctx *ctx, struct trainer *t, int sub, double *loss, double *wait) {
    double waited = 0;
    const struct batch *b;
    TRY(t->source.next(ctx, t->source.self, &b, &waited));
    *wait += waited;
    const struct batch *next = b->block && t->source.ahead ? t->source.ahead(t->source.self) : NULL;
    t->part = (struct part){ b, next, b->x, t->iteration * (uint64_t)t->subdivisions + (uint64_t)sub, sub + 1 == t->subdivisions };
    t->net->boxes = b->truth;
    TRY(disturb(ctx, t, t->part.number, &t->part.x));
    TRY(team_each(ctx, &t->team, member_step, t));
    if (t->part.last) TRY(team_each(ctx, &t->team, team_sum_gradients, NULL));
    t->squares = t->team.member->squares;
    for (int m = 0; m < t->team.n; ++m) {
        t->team.member[m].settled = true;
        if (!isfinite(t->team.member[m].squares)) t->squares = NAN;
    }
    if (!loss_scale_seen(&t->scaler, &t->squares)) TRY(team_each(ctx, &t->team, check_gradient, t));
    TRY(add_lines(ctx, t));
    t->net->seen += (uint64_t)t->mini;
    *loss += team_loss(&t->team);
    return ST_OK;
}

/* Another size or number of images than in the step before, or layers that are frozen no longer. */
static enum status shape_member(struct ctx *ctx, void *user, struct member *m) {
    const struct trainer *t = user;
    struct net *net = m->net;
    int w, h;
    schedule_size(&t->scale, t->iteration, &w, &h);
    int images = images_at(t, w, h) / t->team.n;
    bool changed = w != net->opt.width || h != net->opt.height || images != net->batch;
    bool thaw = false;
    net->iteration = t->iteration;
    for (int i = 0; i < net->n; ++i)
        thaw |= net->layer[i].frozen && !net->layer[i].common.onlyforward && t->iteration >= net->layer[i].thaw;
    if (!changed && !thaw) return ST_OK;
    m->settled = false;
    return net_rebind(ctx, net, w, h, images);
}

/* What [net] asks for beside the update: ema_alpha, weights_reject_freq. */
static enum status after_update(struct ctx *ctx, struct trainer *t) {
    struct net *net = t->net;
    struct optimizer *o = &t->team.member->optimizer;
    uint64_t n = t->iteration;
    bool changed = false;
    if (net->opt.ema_alpha > 0 && n > t->average_start && n < t->average_apply)
        TRY(optimizer_average(ctx, o, net, net->opt.ema_alpha));
    if (o->average && n == t->average_apply) {
        optimizer_get_average(o, net);
        optimizer_drop_average(o);
        ctx_log(ctx, LOG_INFO, "Iteration %llu: the averaged weights (ema_alpha) take the place of the trained ones",
                (unsigned long long)n);
        TRY(net_push(ctx, net));
        changed = true;
    }
    if (schedule_reject(n, net->opt.weights_reject_freq, t->max)) {
        net_pull(net);
        if (reject_similar(net, t->opt->seed, n)) {
            TRY(net_push(ctx, net));
            changed = true;
        }
    }
    return changed ? team_each(ctx, &t->team, team_follow, NULL) : ST_OK;
}

static enum status update_member(struct ctx *ctx, void *user, struct member *m) {
    const struct trainer *t = user;
    if (m->rank && !t->ready) net_clear_gradients(m->net); /* of member 0 loss_scale_ready has seen to it */
    if (m->rank && t->ready && t->unscale != 1) m->be->ops->scale(m->be, m->net->n_param, t->unscale, m->net->dev_grad);
    if (t->ready && t->opt->sparsity > 0) TRY(sparsity_pull(ctx, m->net, t->opt->sparsity * t->update.images));
    if (t->ready) optimizer_step(&m->optimizer, m->net, &t->update);
    return net_refresh(ctx, m->net);
}

/* The update from the gradients of `images` images; *rate: what the cfg's policy says. */
static enum status update(struct ctx *ctx, struct trainer *t, double images, double *rate) {
    uint64_t n = t->iteration + 1;
    struct rng chance = rng_stream(t->opt->seed, n, RATE_STREAM);
    *rate = net_learning_rate(&t->net->opt, (long long)n, rng_uniform(&chance)) * t->opt->rate_factor;
    t->update = (struct update){ .number = n, .rate = *rate, .images = images, .squares = t->squares };
    t->unscale = 1 / t->scaler.scale;
    t->ready = loss_scale_ready(&t->scaler, t->net);
    if (!t->ready)
        ctx_log(ctx, LOG_INFO, "Iteration %llu: gradients overflow half precision, no update; loss scale %g from here on", (unsigned long long)n, t->scaler.scale);
    TRY(team_each(ctx, &t->team, update_member, t));
    team_copy_memory(&t->team);
    t->iteration = n;
    t->net->seen = n * (uint64_t)t->step_images;
    return after_update(ctx, t);
}

static enum status step(struct ctx *ctx, struct trainer *t, struct train_news *news) {
    struct net *net = t->net;
    double start = io_seconds(), loss = 0, wait = 0, rate;
    t->lines_n = 0;
    if (t->lines) t->lines[0] = '\0';
    TRY(team_each(ctx, &t->team, shape_member, t));
    for (int s = 0; s < t->subdivisions; ++s) TRY(sub_step(ctx, t, s, &loss, &wait));
    int mini = net->batch * t->team.n;
    double images = (double)mini * t->subdivisions;
    loss /= images;
    TRY(update(ctx, t, images, &rate));

    double average = t->state.avg_loss;
    t->state.avg_loss = average < 0 || !isfinite(average) ? loss : 0.9 * average + 0.1 * loss;
    double seconds = io_seconds() - start;
    t->smooth_seconds = t->smooth_seconds > 0 ? 0.95 * t->smooth_seconds + 0.05 * seconds : seconds;
    t->wait_seconds += wait;
    *news = (struct train_news){
        .iteration = t->iteration, .images = t->iteration * (uint64_t)t->step_images,
        .max_iterations = t->max, .loss = loss, .avg_loss = t->state.avg_loss, .rate = rate,
        .seconds = seconds - wait, .load_seconds = wait,
        .images_per_second = seconds > 0 ? images / seconds : 0,
        .eta_seconds = (double)((uint64_t)t->max - t->iteration) * t->smooth_seconds,
        .net_w = net->opt.width, .net_h = net->opt.height, .mini_batch = mini,
        .random_coef = schedule_resizes(&t->scale, t->iteration - 1), .head_lines = t->lines_n ? t->lines : "",
    };
    return ST_OK;
}

/* --- After an iteration --------------------------------------------------------------------------------- */

static enum status measure(struct ctx *ctx, struct trainer *t) {
    memcpy(t->eval->param, t->net->param, t->net->n_param * sizeof *t->eval->param);
    TRY(net_bind(ctx, t->eval, t->be, NET_INFER, t->mini < MAP_BATCH ? t->mini : MAP_BATCH));
    if (t->opt->measure) {
        enum status st = t->opt->measure(ctx, t->opt->measure_user, t->eval, &t->map);
        net_unbind(t->eval);
        return st;
    }
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
    uint64_t next = schedule_next_map(t->state.last_map, t->opt->map_epochs, t->epoch_images, t->step_images,
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

/* The host copy of net must be up to date; it is so afterwards, too. */
static enum status save_last(struct ctx *ctx, struct trainer *t) {
    t->state.iteration = t->iteration;
    t->state.loss_scale = t->scaler.on ? t->scaler.scale : 0;
    t->state.loss_good = t->scaler.good;
    TRY(checkpoint_save_last(ctx, &t->files, t->net, &t->state, &t->team.member->optimizer));
    if (!t->team.member->optimizer.average) return ST_OK;
    optimizer_get_average(&t->team.member->optimizer, t->net);
    enum status st = checkpoint_save(ctx, &t->files, t->net, "ema");
    net_pull(t->net);
    return st;
}

static enum status save_if_due(struct ctx *ctx, struct trainer *t) {
    uint64_t n = t->iteration;
    const struct train_options *o = t->opt;
    if (!o->save) return ST_OK;
    bool numbered = schedule_numbered(n, t->last_numbered, o->save_every);
    bool last = schedule_last(n, t->last_last, o->save_every, o->last_every);
    bool backup = o->backup_every > 0 && n % (uint64_t)o->backup_every == 0;
    if (!numbered && !last && !backup) return ST_OK;
    net_pull(t->net);
    if (numbered) {
        char name[32];
        snprintf(name, sizeof name, "%llu", (unsigned long long)n);
        TRY(checkpoint_save(ctx, &t->files, t->net, name));
        t->last_numbered = n;
    }
    if (backup) TRY(checkpoint_save_bare(ctx, &t->files, t->net, "backup"));
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
    while (t->iteration < (uint64_t)t->end) {
        TRY(step(ctx, t, &news));
        TRY(map_if_due(ctx, t, &measured));
        news.map = t->map;
        news.best_map = t->state.best_map;
        news.new_map = measured;
        news.next_map = t->opt->calc_map && news.iteration < (uint64_t)t->max ? next_map(t) : 0;
        struct train_point point = { t->iteration, t->state.avg_loss, measured ? t->map : -1 };
        TRY(history_add(ctx, &t->state.history, &point));
        news.history = &t->state.history;
        news.stopping = stop_wanted(t);
        if (t->opt->news) t->opt->news(t->opt->user, &news);
        TRY(save_if_due(ctx, t));
        if (stop_wanted(t) && t->iteration < (uint64_t)t->end) break;
    }
    net_pull(t->net);
    bool finished = t->iteration == (uint64_t)t->end;
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
    if (!t->net->be || !t->team.member || !t->team.member->optimizer.momentum || ctx->code == ST_NUMERIC || ctx->code == ST_INTERRUPTED)
        return;
    t->net->seen = t->iteration * (uint64_t)t->step_images;
    net_pull(t->net);
    if (!t->opt->save || t->iteration == start) return;
    struct ctx own = { .log = ctx->log, .log_user = ctx->log_user };
    if (save_last(&own, t) != ST_OK) ctx_log(&own, LOG_WARN, "%s", own.error);
}

static void finish(struct trainer *t) {
    struct ctx quiet = { 0 };
    team_stop_pictures(&t->team);
    if (t->source.close) t->source.close(t->source.self);
    team_close(&t->team);
    net_unbind(t->net);
    t->net->loss_scale = 0;
    net_resize(&quiet, t->net, t->cfg_w, t->cfg_h);
    t->net->opt.max_batches = t->cfg_max;
    if (t->begun) t->net->seen = t->iteration * (uint64_t)t->step_images;
    adversary_close(&t->adversary);
    if (t->eval) net_close(t->eval);
    if (t->files_open) checkpoint_close(&t->files);
    list_free(&t->difficult);
    history_free(&t->state.history);
    free(t->lines);
}

enum status train_run(struct ctx *ctx, struct backend *be, struct net *net, const struct data_options *data,
                      const struct text_list *images, const struct text_list *valid,
                      const struct train_options *opt, struct train_result *result) {
    struct trainer t = { .be = be, .net = net, .data = data, .images = images, .valid = valid, .map = -1,
                         .cfg_w = net->opt.width, .cfg_h = net->opt.height, .cfg_max = net->opt.max_batches };
    double start = io_seconds();
    t.subdivisions = net->opt.subdivisions;
    t.mini = net->opt.batch / net->opt.subdivisions * net->opt.time_steps;
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
