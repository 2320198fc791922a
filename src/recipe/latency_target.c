#include "recipe/latency_target.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recipe/prune_blocks.h"

enum { ROUNDS = 8 };
static const double NEAR = 0.03; /* tighter than the tolerance, as the last measurement differs again */

enum status latency_prepare(struct ctx *ctx, struct prune_job *job) {
    if (job->latency) return ST_OK;
    struct latency_options opt = { .cache = job->opt.latency_cache, .round = job->opt.select.round, .progress = job->opt.progress,
                                   .user = job->opt.user, .stop = job->opt.stop };
    return latency_measure(ctx, job->be, job->net, job->channels, &opt, &job->latency, &job->latency_report);
}

static struct net *uncut(const struct prune_job *job) { return job->timed ? job->timed : prune_before(job); }

static enum status share_of_cut(struct ctx *ctx, struct prune_job *job, const uint8_t *keep, double *share, double *ms) {
    struct net *small = NULL;
    double took[2];
    enum status st = slice_apply(ctx, job->net, job->channels, keep, job->net->param, &small);
    if (st == ST_OK) st = latency_time(ctx, job->be, (struct net *[]){ uncut(job), small }, 2, took, NULL);
    if (st == ST_OK) *share = took[1] / took[0], *ms = took[1];
    net_close(small);
    return st;
}

/* What the table is told next: the last answer corrected by what the clock said, inside what is known to be too much and too
 * little. */
static double next_share(double told, double target, double measured, double low, double high) {
    double next = told * target / measured;
    return next > low && next < high ? next : (low + high) / 2;
}

static void explain_steps(struct latency_outcome *o, const struct select_options *opt) {
    snprintf(o->why, sizeof o->why, "widths that are multiples of %d give nothing nearer; -round 1 cuts finer", opt->round);
    if (opt->round == 1) snprintf(o->why, sizeof o->why, "one filter less makes the difference on this machine");
}

static enum status approach(struct ctx *ctx, struct prune_job *job, const struct select_options *opt) {
    struct latency_outcome *o = &job->latency_outcome;
    struct select_options step = *opt;
    double low = 0, high = 2, best = INFINITY;
    size_t n = (size_t)job->channels->n_group;
    for (int round = 0; round < ROUNDS; ++round) {
        struct selection s;
        double share = 1, ms = 0;
        if (job->opt.stop && *job->opt.stop) return ctx_fail(ctx, ST_INTERRUPTED, "interrupted; nothing was written");
        TRY(select_groups(ctx, job->channels, job->score, &step, &s));
        bool same = job->selection.keep && !memcmp(s.keep, job->selection.keep, n);
        enum status st = share_of_cut(ctx, job, s.keep, &share, &ms);
        if (st != ST_OK) {
            selection_free(&s);
            return st;
        }
        ++o->rounds;
        bool reached = s.reached;
        if (job->opt.progress) job->opt.progress(job->opt.user, "latency", round + 1, ROUNDS);
        if (fabs(share / o->target_share - 1) < best) {
            best = fabs(share / o->target_share - 1);
            selection_free(&job->selection);
            job->selection = s;
            o->share = share, o->ms = ms;
        } else {
            selection_free(&s);
        }
        if (best <= NEAR) break;
        if (share > o->target_share) high = step.value;
        else low = step.value;
        if (!reached && share > o->target_share) {
            snprintf(o->why, sizeof o->why, "-max_layer_ratio %g and -min_filters %d allow no more", opt->max_layer_ratio, opt->min_filters);
            job->selection.reached = false;
            break;
        }
        if (same || high - low < 0.002) {
            explain_steps(o, opt);
            break;
        }
        step.value = next_share(step.value, o->target_share, share, low, high < 1 ? high : 1);
    }
    if (job->opt.progress && o->rounds < ROUNDS) job->opt.progress(job->opt.user, "latency", ROUNDS, ROUNDS);
    if (job->selection.reached) job->selection.reached = best <= LATENCY_TOLERANCE_PERCENT / 100.0;
    if (!job->selection.reached && !o->why[0])
        snprintf(o->why, sizeof o->why, "the times did not settle in %d cuts: something else keeps this machine busy", ROUNDS);
    return ST_OK;
}

static void judge(struct latency_outcome *o, double uncut_ms) {
    o->off = o->target_ms > 0 ? o->ms / o->target_ms - 1 : o->share / o->target_share - 1;
    o->met = fabs(o->off) <= LATENCY_TOLERANCE_PERCENT / 100.0;
    if (o->met || o->why[0]) return;
    if (o->target_ms > 0 && fabs(uncut_ms / o->uncut_ms - 1) > 0.03)
        snprintf(o->why, sizeof o->why, "the uncut network itself took %.2f ms when the cut was chosen and %.2f ms now", o->uncut_ms, uncut_ms);
    else snprintf(o->why, sizeof o->why, "the times vary: when the cut was chosen it was within %d %%", LATENCY_TOLERANCE_PERCENT);
}

enum status latency_select(struct ctx *ctx, struct prune_job *job, const struct select_options *asked) {
    struct select_options opt = *asked;
    struct latency_outcome *o = &job->latency_outcome;
    *o = (struct latency_outcome){ .asked = true, .target_ms = job->opt.target_ms, .target_share = opt.value };
    bool smaller = uncut(job) != job->net; /* it has lost blocks, or been cut before */
    double took[2] = { 0, 0 }, left = 1;
    opt.latency = job->latency;
    if (o->target_ms > 0 || smaller) {
        TRY(latency_time(ctx, job->be, (struct net *[]){ uncut(job), job->net }, 1 + smaller, took, NULL));
        o->uncut_ms = took[0];
        if (smaller) left = took[1] / took[0];
        if (o->target_ms > 0) o->target_share = o->target_ms / o->uncut_ms;
    }
    opt.value = fmin(o->target_share / left, 1);
    if (o->target_share < left) {
        TRY(approach(ctx, job, &opt));
        judge(o, o->uncut_ms);
        return ST_OK;
    }
    TRY(select_groups(ctx, job->channels, job->score, &opt, &job->selection)); /* nothing has to go */
    o->share = left, o->ms = left * o->uncut_ms, o->rounds = 1;
    snprintf(o->why, sizeof o->why, smaller ? "without any further cut the network is that fast already" : "the uncut network is that fast already");
    judge(o, o->uncut_ms);
    return ST_OK;
}

enum status latency_judge(struct ctx *ctx, struct prune_job *job) {
    struct latency_outcome *o = &job->latency_outcome;
    double took[2];
    if (!o->asked) return ST_OK;
    TRY(latency_time(ctx, job->be, (struct net *[]){ uncut(job), job->small }, 2, took, NULL));
    o->share = took[1] / took[0], o->ms = took[1];
    judge(o, took[0]);
    return ST_OK;
}
