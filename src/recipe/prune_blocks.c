#include "recipe/prune_blocks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/json.h"
#include "recipe/block_trials.h"
#include "recipe/latency_target.h"

struct net *prune_before(const struct prune_job *job) { return job->whole ? job->whole : job->net; }

void prune_blocks_free(struct prune_job *job) {
    for (int k = 0; k < job->blocks.n && job->left_behind; ++k) free(job->left_behind[k]);
    free(job->left_behind);
    blocks_free(&job->blocks);
    net_close(job->whole);
    job->left_behind = NULL;
    job->whole = NULL;
}

/* --- choosing ------------------------------------------------------------------------------------------------------------- */

static const struct criterion *ranking(const struct prune_job *job) {
    return criterion_of_blocks(criterion_find(job->opt.criterion), job->opt.classifier);
}

static double power_of(const struct prune_job *job) {
    return job->opt.select.cost_power >= 0 ? job->opt.select.cost_power : ranking(job)->cost_power;
}

/* By the filters' criterion, or, where that has no word on blocks, by what saliency makes of their branches; groups: the filters, too. */
static enum status score_blocks(struct ctx *ctx, struct prune_job *job, bool groups) {
    const struct criterion *own = criterion_find(job->opt.criterion);
    struct blocks *b = &job->blocks;
    struct score_source src = prune_source(job);
    struct saliency_options opt = job->opt.saliency;
    double *block = mem_zero(ctx, (size_t)b->n + 1, sizeof *block);
    if (!block) return ST_MEMORY;
    opt.blocks = b;
    opt.centred = job->opt.compensate;
    saliency_free(&job->detail);
    struct criterion_input in = { job->net, job->be, job->channels, &src, &opt, job->mean, &job->detail, NULL, b };
    enum status st = job->opt.compensate ? saliency_means(ctx, job->net, job->be, job->channels, &src, opt.batch, job->mean) : ST_OK;
    if (st == ST_OK) st = criteria_score_blocks(ctx, &in, &own, groups, &job->score, ranking(job), block);
    for (int k = 0; k < b->n; ++k) b->item[k].score = block[k];
    free(block);
    return st;
}

enum status prune_blocks_score(struct ctx *ctx, struct prune_job *job) {
    TRY(blocks_find(ctx, job->net, job->keep_layer, &job->blocks));
    return score_blocks(ctx, job, false);
}

static enum status leave_means(struct ctx *ctx, struct prune_job *job, const double *mean) {
    for (int k = 0; k < job->blocks.n && job->opt.compensate; ++k) {
        const struct block *block = &job->blocks.item[k];
        size_t width = (size_t)job->net->layer[block->branch].out.c;
        if (!block->gone) continue;
        double *left = job->left_behind[k] = mem_zero(ctx, width, sizeof *left);
        if (!left) return ST_MEMORY;
        memcpy(left, mean + job->channels->first_node[block->branch], width * sizeof *left);
    }
    return ST_OK;
}

enum status prune_blocks_mark(struct ctx *ctx, struct prune_job *job, const double *mean, const int *order, int n) {
    for (int i = 0; i < n; ++i) blocks_remove(&job->blocks, order[i]);
    return leave_means(ctx, job, mean);
}

static enum status choose_lowest(struct ctx *ctx, struct prune_job *job) {
    TRY(score_blocks(ctx, job, false));
    int done = blocks_select(&job->blocks, job->opt.blocks, job->opt.select.cost, power_of(job));
    if (done < job->opt.blocks) ctx_log(ctx, LOG_WARN, "-blocks %d: only %d residual blocks can be removed", job->opt.blocks, done);
    return leave_means(ctx, job, job->mean);
}

/* Behind the losers of the contest all others that can go, by their rank: trials may find that they should. */
static enum status add_others(struct ctx *ctx, struct blocks *b, int *order, int *n) {
    uint8_t *tried = mem_zero(ctx, (size_t)b->n + 1, 1);
    if (!tried) return ST_MEMORY;
    for (int i = 0; i < *n; ++i) tried[order[i]] = 1, blocks_remove(b, order[i]);
    for (;;) {
        int best = -1;
        for (int k = 0; k < b->n; ++k)
            if (!tried[k] && !b->item[k].stays && (best < 0 || b->item[k].rank < b->item[best].rank)) best = k;
        if (best < 0) break;
        tried[best] = 1;
        if (blocks_remove(b, best)) order[(*n)++] = best;
    }
    for (int i = *n; i-- > 0;) blocks_restore(b, order[i]);
    free(tried);
    return ST_OK;
}

/* Blocks and filters compete; only the blocks' part of the outcome is kept, as what they leave is another network. */
static enum status compete(struct ctx *ctx, struct prune_job *job) {
    struct select_options opt = job->opt.select;
    const struct criterion *own = criterion_find(job->opt.criterion);
    if (!own->blocks_alike)
        return ctx_fail(ctx, ST_USAGE, "-blocks auto: %s has no common measure for blocks and filters; saliency, taylor, taylor-weight and group-fisher have",
                        own->name);
    if (opt.target == TARGET_THRESHOLD) return ctx_fail(ctx, ST_USAGE, "-blocks auto is about a target; -threshold is none");
    TRY(score_blocks(ctx, job, true));
    opt.cost_power = power_of(job);
    opt.keep_layer = job->keep_layer;
    if (opt.target == TARGET_LATENCY || opt.cost == COST_LATENCY) TRY(latency_prepare(ctx, job));
    if (opt.target == TARGET_LATENCY && job->opt.target_ms > 0) {
        double ms;
        TRY(latency_time(ctx, job->be, &job->net, 1, &ms, NULL));
        opt.value = job->opt.target_ms / ms;
    }
    opt.latency = job->latency;
    int n = 0, *order = mem_zero(ctx, (size_t)job->blocks.n + 1, sizeof *order);
    enum status st = order ? select_blocks(ctx, job->channels, job->score, &opt, &job->blocks, order, &n) : ST_MEMORY;
    if (st == ST_OK) st = add_others(ctx, &job->blocks, order, &n);
    if (st == ST_OK) st = block_trials(ctx, job, &opt, order, &n);
    if (st == ST_OK) st = prune_blocks_mark(ctx, job, job->mean, order, n);
    free(order);
    return st;
}

/* --- the record --------------------------------------------------------------------------------------------------------------- */

static void add_score(cJSON *o, const struct block *block) {
    cJSON_AddNumberToObject(o, "score", block->score);
    cJSON_AddNumberToObject(o, "rank", block->rank);
}

void prune_blocks_record(const struct prune_job *job, cJSON *to) {
    if (!job->whole) return;
    cJSON *list = cJSON_AddArrayToObject(to, "blocks");
    for (int k = 0; k < job->blocks.n; ++k) {
        const struct block *block = &job->blocks.item[k];
        if (!block->gone) continue;
        cJSON *o = cJSON_CreateObject();
        cJSON_AddItemToArray(list, o);
        cJSON_AddNumberToObject(o, "shortcut", block->shortcut);
        cJSON_AddNumberToObject(o, "branch", block->branch);
        if (!job->opt.from_plan) add_score(o, block);
        if (block->compensated && job->left_behind[k])
            cJSON_AddItemToObject(o, "mean", cJSON_CreateDoubleArray(job->left_behind[k], job->whole->layer[block->branch].out.c));
    }
    if (!job->opt.from_plan) {
        cJSON *left = cJSON_AddArrayToObject(to, "blocks_left");
        for (int k = 0; k < job->blocks.n; ++k) {
            const struct block *block = &job->blocks.item[k];
            if (block->gone || block->stays) continue;
            cJSON *o = cJSON_CreateObject();
            cJSON_AddItemToArray(left, o);
            cJSON_AddNumberToObject(o, "shortcut", block->shortcut);
            add_score(o, block);
        }
    }
    cJSON_AddNumberToObject(to, "zero_vs_removed_blocks", job->worst_blocks);
    cJSON *gone = cJSON_AddArrayToObject(to, "removed_layers");
    for (int i = 0; i < job->whole->n; ++i)
        if (job->blocks.place[i] == PLACE_GONE) cJSON_AddItemToArray(gone, cJSON_CreateNumber(i));
}

static int block_at(const struct prune_job *job, const cJSON *o) {
    const cJSON *at = cJSON_GetObjectItem(o, "shortcut");
    for (int k = 0; k < job->blocks.n; ++k)
        if (cJSON_IsNumber(at) && job->blocks.item[k].shortcut == at->valueint) return k;
    return -1;
}

static void read_score(struct prune_job *job, const cJSON *o) {
    int k = block_at(job, o);
    if (k < 0) return;
    job->blocks.item[k].score = json_number(o, "score", 0);
    job->blocks.item[k].rank = json_number(o, "rank", 0);
}

static enum status read_block(struct ctx *ctx, struct prune_job *job, const char *path, const cJSON *o) {
    const cJSON *mean = cJSON_GetObjectItem(o, "mean"), *value;
    int k = block_at(job, o), c = 0;
    if (k < 0 || !blocks_remove(&job->blocks, k))
        return ctx_fail(ctx, ST_FORMAT, "%s: a block's 'shortcut' is no layer of this network that can be removed", path);
    if (!cJSON_IsArray(mean)) return ST_OK;
    int width = job->net->layer[job->blocks.item[k].branch].out.c;
    job->left_behind[k] = mem_zero(ctx, (size_t)width, sizeof **job->left_behind);
    if (!job->left_behind[k]) return ST_MEMORY;
    cJSON_ArrayForEach(value, mean) {
        if (c == width || !cJSON_IsNumber(value)) break;
        job->left_behind[k][c++] = value->valuedouble;
    }
    if (value || c < width)
        return ctx_fail(ctx, ST_FORMAT, "%s: 'mean' of the block at layer %d should have %d numbers", path, job->blocks.item[k].shortcut, width);
    return ST_OK;
}

/* The blocks of an earlier run's record; of this run's own, when it goes on, with their scores. */
static enum status read_blocks(struct ctx *ctx, struct prune_job *job, const char *path) {
    cJSON *root;
    const cJSON *o;
    TRY(json_read(ctx, path, &root));
    const cJSON *list = cJSON_GetObjectItem(root, "blocks");
    enum status st = ST_OK;
    cJSON_ArrayForEach(o, cJSON_GetObjectItem(root, "blocks_left")) read_score(job, o);
    cJSON_ArrayForEach(o, list) {
        read_score(job, o);
        if (st == ST_OK) st = read_block(ctx, job, path, o);
    }
    if (job->opt.from_plan) job->opt.blocks = cJSON_GetArraySize(list);
    cJSON_Delete(root);
    return st;
}

/* --- taking them out ------------------------------------------------------------------------------------------------------------ */

static enum status prove(struct ctx *ctx, struct prune_job *job, const float *param, struct net *small) {
    int count;
    float *x;
    TRY(prune_proof_images(ctx, job, &x, &count));
    enum status st = blocks_check(ctx, job->be, job->net, &job->blocks, param, small, x, count, &job->worst_blocks);
    free(x);
    TRY(st);
    if (job->worst_blocks <= 1e-4) return ST_OK;
    return ctx_fail(ctx, ST_NUMERIC, "the network without blocks differs from the one with their branches at zero by %g, more than 1e-4; "
                    "nothing was written", job->worst_blocks);
}

/* The rest of the run is about the network that is left. */
static enum status go_on_with(struct ctx *ctx, struct prune_job *job, struct net *small) {
    struct channels *ch = NULL;
    uint8_t *keep = mem_zero(ctx, (size_t)small->n, 1);
    enum status st = keep ? channels_build(ctx, small, &ch) : ST_MEMORY;
    double *mean = st == ST_OK ? mem_zero(ctx, (size_t)ch->n_node, sizeof *mean) : NULL;
    double *score = st == ST_OK ? mem_zero(ctx, (size_t)ch->n_group, sizeof *score) : NULL;
    struct latency_model *latency = NULL;
    if (mean && score && job->latency) st = latency_without(ctx, job->latency, &job->blocks, &latency);
    if (!mean || !score || st != ST_OK) {
        free(keep), free(mean), free(score);
        channels_drop(ch);
        return st != ST_OK ? st : ST_MEMORY;
    }
    for (int i = 0; i < job->net->n; ++i)
        if (job->blocks.place[i] == PLACE_KEPT) keep[job->blocks.number[i]] = job->keep_layer[i];
    channels_drop(job->channels);
    free(job->mean), free(job->score), free(job->keep_layer);
    latency_drop(job->latency);
    job->latency = latency; /* of the layers by their new numbers */
    free(job->detail.response); /* of groups that are no longer there */
    job->detail.response = NULL;
    job->detail.n_response = 0;
    job->whole = job->net;
    job->net = small;
    job->channels = ch;
    job->mean = mean;
    job->score = score;
    job->keep_layer = keep;
    return ST_OK;
}

enum status prune_blocks_take_out(struct ctx *ctx, struct prune_job *job) {
    struct net *small = NULL;
    float *param = mem_zero(ctx, job->net->n_param, sizeof *param);
    if (!param) return ST_MEMORY;
    memcpy(param, job->net->param, job->net->n_param * sizeof *param);
    for (int k = 0; k < job->blocks.n; ++k)
        if (job->left_behind[k]) job->blocks.item[k].compensated = blocks_compensate(ctx, &job->blocks, k, job->left_behind[k], param);
    enum status st = ctx->code == ST_OK ? blocks_apply(ctx, &job->blocks, param, &small) : ctx->code;
    if (st == ST_OK) st = prove(ctx, job, param, small);
    if (st == ST_OK) st = go_on_with(ctx, job, small);
    if (st != ST_OK) net_close(small);
    free(param);
    return st;
}

enum status prune_blocks(struct ctx *ctx, struct prune_job *job, const char *record) {
    if (job->opt.from_plan) record = job->opt.from_plan;
    else if (!job->opt.blocks) return ST_OK;
    TRY(blocks_find(ctx, job->net, job->keep_layer, &job->blocks));
    job->left_behind = mem_zero(ctx, (size_t)job->blocks.n + 1, sizeof *job->left_behind);
    if (!job->left_behind) return ST_MEMORY;
    TRY(record ? read_blocks(ctx, job, record) : job->opt.blocks == BLOCKS_AUTO ? compete(ctx, job) : choose_lowest(ctx, job));
    bool any = false;
    for (int k = 0; k < job->blocks.n; ++k) any |= job->blocks.item[k].gone;
    return any ? prune_blocks_take_out(ctx, job) : ST_OK;
}

enum status prune_blocks_before(struct ctx *ctx, const struct prune_job *job, struct selection *s) {
    const struct net *net = job->whole;
    if (!net) return ST_OK;
    int *width = mem_zero(ctx, (size_t)net->n, sizeof *width);
    if (!width) return ST_MEMORY;
    s->filters_before = 0;
    for (int i = 0; i < net->n; ++i) {
        width[i] = net->layer[i].out.c;
        if (layer_has_filters(&net->layer[i])) s->filters_before += width[i];
    }
    s->before = cost_at(net, width);
    free(width);
    return ST_OK;
}

enum status prune_blocks_share(struct ctx *ctx, struct prune_job *job, struct select_options *opt) {
    struct selection whole = { 0 };
    struct cost left = { 0 };
    if (!job->whole) return ST_OK;
    TRY(prune_blocks_before(ctx, job, &whole));
    int *width = mem_zero(ctx, (size_t)job->net->n, sizeof *width);
    if (!width) return ST_MEMORY;
    for (int i = 0; i < job->net->n; ++i) width[i] = job->net->layer[i].out.c;
    left = cost_at(job->net, width);
    free(width);
    if (opt->target == TARGET_FLOPS) opt->value *= whole.before.flops / left.flops;
    if (opt->target == TARGET_PARAMS) opt->value *= whole.before.params / left.params;
    if (opt->target == TARGET_MEMORY) opt->value *= whole.before.activations / left.activations;
    if (opt->target == TARGET_FLOPS || opt->target == TARGET_PARAMS || opt->target == TARGET_MEMORY) opt->value = fmin(opt->value, 1);
    return ST_OK;
}
