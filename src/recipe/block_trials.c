#include "recipe/block_trials.h"

#include <math.h>

#include "prune/ablate.h"
#include "recipe/prune_blocks.h"

static enum status loss_of(struct ctx *ctx, struct prune_job *own, double *loss) {
    struct score_source src = score_images_source(own->images);
    struct channels *ch = NULL;
    struct ablation *a = NULL;
    src.stop = own->opt.stop;
    TRY(channels_build(ctx, own->small, &ch));
    enum status st = ablation_open(ctx, own->small, own->be, ch, &src, TRIAL_LOSS_IMAGES, own->opt.saliency.batch, NULL, &a);
    if (st == ST_OK) st = ablation_loss(ctx, a, NULL, loss);
    ablation_close(a);
    channels_drop(ch);
    return st;
}

/* A table of latencies goes along, and the share of it that is asked for, so that no trial depends on a clock. */
static enum status cut(struct ctx *ctx, const struct prune_job *job, struct prune_job *own, const struct select_options *select, double *loss) {
    own->opt.select.value = select->value;
    if (job->latency) {
        own->by_table = true;
        latency_drop(own->latency);
        TRY(latency_without(ctx, job->latency, &own->blocks, &own->latency));
        if (select->target == TARGET_LATENCY)
            own->opt.select.value = fmin(1, select->value * latency_whole(job->latency) / latency_whole(own->latency));
    }
    TRY(prune_score(ctx, own));
    TRY(prune_select(ctx, own));
    TRY(prune_cut(ctx, own));
    return loss_of(ctx, own, loss);
}

static enum status trial(struct ctx *ctx, const struct prune_job *job, const struct select_options *select, const int *order, int n, double *loss,
                         bool *reached) {
    struct ctx quiet = { 0 }; /* what there is to say about the files was said */
    struct prune_options opt = job->opt;
    struct prune_job *own = NULL;
    opt.blocks = 0;
    opt.images = opt.images > 0 && opt.images < TRIAL_IMAGES ? opt.images : TRIAL_IMAGES;
    enum status st = prune_open(&quiet, job->be, &opt, &own);
    if (st == ST_OK) {
        for (int i = 0; i < job->net->n; ++i) own->keep_layer[i] = job->keep_layer[i];
        st = blocks_find(&quiet, own->net, own->keep_layer, &own->blocks);
        own->left_behind = mem_zero(&quiet, (size_t)own->blocks.n + 1, sizeof *own->left_behind);
        if (st == ST_OK && own->left_behind) st = prune_blocks_mark(&quiet, own, job->mean, order, n);
        if (st == ST_OK && n) st = prune_blocks_take_out(&quiet, own);
    }
    if (st == ST_OK) st = cut(&quiet, job, own, select, loss);
    if (st == ST_OK) *reached = own->selection.reached;
    prune_close(own);
    return st == ST_OK ? ST_OK : ctx_fail(ctx, st, "%s", quiet.error);
}

enum status block_trials(struct ctx *ctx, const struct prune_job *job, const struct select_options *select, const int *order, int *n) {
    int best = 0, candidates = *n;
    double least = INFINITY;
    bool met = false;
    for (int count = 0; candidates && count <= candidates && count <= best + TRIAL_PATIENCE; ++count) {
        double loss;
        bool reached;
        TRY(trial(ctx, job, select, order, count, &loss, &reached));
        ctx_log(ctx, LOG_INFO, "-blocks auto: cut to the target with %d block%s taken out: loss %.4g%s", count, count == 1 ? "" : "s", loss,
                reached ? "" : ", but the target is out of reach");
        if (reached > met || (reached == met && loss < least)) met = reached, least = loss, best = count;
    }
    *n = best;
    return ST_OK;
}
