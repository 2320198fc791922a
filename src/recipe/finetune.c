#include "recipe/finetune.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"

static int squeezed(int n, double factor) { return n <= 0 ? n : (int)fmin(fmax(1, round(n * factor)), INT_MAX); }

void finetune_schedule(struct net_options *o, int iterations) {
    if (o->max_batches < 1) return;
    double factor = (double)iterations / o->max_batches;
    o->burn_in = o->burn_in > 0 ? (int)(o->burn_in * factor) : o->burn_in;
    o->step = squeezed(o->step, factor);
    o->sgdr_cycle = squeezed(o->sgdr_cycle, factor);
    for (int i = 0; i < o->steps.n; ++i) o->steps.v[i] = squeezed(o->steps.v[i], factor);
    if (o->policy == POLICY_EXP) o->gamma = pow(o->gamma, 1 / factor);
    if (o->policy == POLICY_SIGMOID) o->gamma /= factor;
    o->max_batches = iterations;
}

/* Only what the user must know: each checkpoint would be a line otherwise. */
static void pass_warnings(void *user, enum log_level level, const char *line) {
    const struct ctx *outer = user;
    if (level == LOG_WARN && outer->log) outer->log(outer->log_user, level, line);
}

static int step_images(const struct net *net) {
    const struct net_options *o = &net->opt;
    return o->batch / o->subdivisions * o->time_steps * o->subdivisions;
}

/* Where a killed run was; *done: it had finished. */
static enum status go_on(struct ctx *ctx, struct net *net, const struct finetune *f, bool *done) {
    char path[1200];
    *done = false;
    net->seen = (uint64_t)f->first * (uint64_t)step_images(net);
    snprintf(path, sizeof path, "%s/%s_last.weights", f->dir, f->base);
    if (!io_exists(path)) return ST_OK;
    TRY(net_load(ctx, net, path, LOAD_WHOLE, NULL));
    *done = net->seen >= (uint64_t)(f->first + f->iterations) * (uint64_t)step_images(net);
    return ST_OK;
}

static enum status train(struct ctx *ctx, struct backend *be, struct net *net, const struct data_options *data,
                         const struct text_list *images, const struct finetune *f) {
    struct data_options here = *data;
    struct train_options opt = { .base = f->base, .seed = f->seed, .max_iterations = f->total, .end = f->first + f->iterations, .rate_factor = f->rate_factor,
                                 .save = true, .save_every = INT_MAX, .last_every = f->iterations > 1000 ? 100 : f->iterations / 10 + 1,
                                 .news = f->news, .user = f->user, .stop = f->stop };
    struct net_options own = net->opt;
    struct ctx inner = { .log = f->quiet ? NULL : pass_warnings, .log_user = ctx };
    if (f->teacher) opt.second_loss = distill_loss, opt.second_user = f->teacher;
    else if (net->opt.batch / net->opt.subdivisions % (1 + f->n_other) == 0) opt.others = f->others, opt.n_other = f->n_other;
    here.backup = mem_text(ctx, f->dir);
    int *steps = mem_zero(ctx, (size_t)net->opt.steps.n, sizeof *steps);
    if (!here.backup || !steps) {
        free(here.backup), free(steps);
        return ST_MEMORY;
    }
    if (net->opt.steps.n) memcpy(steps, net->opt.steps.v, (size_t)net->opt.steps.n * sizeof *steps); /* v is NULL where there are none */
    finetune_schedule(&net->opt, f->total);
    enum status st = train_run(&inner, be, net, &here, images, NULL, &opt, NULL);
    if (net->opt.steps.n) memcpy(net->opt.steps.v, steps, (size_t)net->opt.steps.n * sizeof *steps);
    net->opt = own;
    free(here.backup), free(steps);
    return st == ST_OK ? ST_OK : ctx_fail(ctx, st, "%s", inner.error);
}

enum status finetune_run(struct ctx *ctx, struct backend *be, struct net *net, const struct data_options *data,
                         const struct text_list *images, const struct finetune *f) {
    bool done;
    TRY(go_on(ctx, net, f, &done));
    return done ? ST_OK : train(ctx, be, net, data, images, f);
}

void finetune_forget(const char *dir, const char *base) {
    static const char *const rest[] = { "_last.weights", "_last.state", "_next.state", "_final.weights", "_ema.weights" };
    for (size_t i = 0; i < sizeof rest / sizeof *rest; ++i) {
        char path[1200];
        snprintf(path, sizeof path, "%s/%s%s", dir, base, rest[i]);
        unlink(path);
    }
}
