#include "recipe/prune_blocks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/rng.h"
#include "recipe/latency_table.h"
#include "recipe/score_devices.h"

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

/* Whatever the criterion of the filters, blocks go by what their branches' outputs are worth where they join the sum: the
 * response of the objects, or in a classifier of the loss.  Weights know nothing of that.  Random stays random. */
static enum status score_blocks(struct ctx *ctx, struct prune_job *job) {
    struct blocks *b = &job->blocks;
    struct score_devices by;
    struct saliency_options opt = job->opt.saliency;
    struct saliency objects = { 0 };
    struct loss_evidence loss = { 0 };
    struct rng r = rng_stream(opt.seed, 0x626c6b73, 0);
    opt.blocks = b;
    opt.centred = job->opt.compensate;
    enum status st = score_devices_open(ctx, job, &by);
    if (st == ST_OK && job->opt.compensate) st = saliency_means_by(ctx, job->net, &by.team, job->channels, opt.batch, job->mean);
    bool random = !strcmp(job->opt.criterion, "random");
    if (st == ST_OK && !random)
        st = saliency_collect_by(ctx, job->net, &by.team, job->channels, &opt, job->mean, job->opt.classifier ? NULL : &objects,
                                 job->opt.classifier ? &loss : NULL);
    score_devices_close(&by);
    TRY(st);
    for (int k = 0; k < b->n; ++k) b->item[k].score = random ? rng_uniform(&r) : job->opt.classifier ? loss.block[k] : objects.block[k];
    saliency_free(&job->detail);
    job->detail = objects;
    loss_evidence_free(&loss);
    return ST_OK;
}

static enum status choose(struct ctx *ctx, struct prune_job *job) {
    const struct select_options *opt = &job->opt.select;
    double power = opt->cost_power >= 0 ? opt->cost_power : 0.5;
    TRY(score_blocks(ctx, job));
    int done = blocks_select(&job->blocks, job->opt.blocks, opt->cost, power);
    if (done < job->opt.blocks) ctx_log(ctx, LOG_WARN, "-blocks %d: only %d residual blocks can be removed", job->opt.blocks, done);
    for (int k = 0; k < job->blocks.n && job->opt.compensate; ++k) {
        const struct block *block = &job->blocks.item[k];
        size_t n = (size_t)job->net->layer[block->branch].out.c;
        if (!block->gone) continue;
        job->left_behind[k] = mem_zero(ctx, n, sizeof **job->left_behind);
        if (!job->left_behind[k]) return ST_MEMORY;
        memcpy(job->left_behind[k], job->mean + job->channels->first_node[block->branch], n * sizeof **job->left_behind);
    }
    return ST_OK;
}

/* --- the record --------------------------------------------------------------------------------------------------------------- */

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
        if (!job->opt.from_plan) cJSON_AddNumberToObject(o, "score", block->score);
        if (block->compensated && job->left_behind[k])
            cJSON_AddItemToObject(o, "mean", cJSON_CreateDoubleArray(job->left_behind[k], job->whole->layer[block->branch].out.c));
    }
    cJSON *gone = cJSON_AddArrayToObject(to, "removed_layers");
    for (int i = 0; i < job->whole->n; ++i)
        if (job->blocks.place[i] == PLACE_GONE) cJSON_AddItemToArray(gone, cJSON_CreateNumber(i));
}

static enum status read_block(struct ctx *ctx, struct prune_job *job, const cJSON *o) {
    const cJSON *at = cJSON_GetObjectItem(o, "shortcut"), *mean = cJSON_GetObjectItem(o, "mean"), *value;
    int k = 0, c = 0;
    while (k < job->blocks.n && !(cJSON_IsNumber(at) && job->blocks.item[k].shortcut == at->valueint)) ++k;
    if (k == job->blocks.n || !blocks_remove(&job->blocks, k))
        return ctx_fail(ctx, ST_FORMAT, "%s: a block's 'shortcut' is no layer of this network that can be removed", job->opt.from_plan);
    if (!cJSON_IsArray(mean)) return ST_OK;
    int width = job->net->layer[job->blocks.item[k].branch].out.c;
    job->left_behind[k] = mem_zero(ctx, (size_t)width, sizeof **job->left_behind);
    if (!job->left_behind[k]) return ST_MEMORY;
    cJSON_ArrayForEach(value, mean) {
        if (c == width || !cJSON_IsNumber(value)) break;
        job->left_behind[k][c++] = value->valuedouble;
    }
    if (value || c < width)
        return ctx_fail(ctx, ST_FORMAT, "%s: 'mean' of the block at layer %d should have %d numbers", job->opt.from_plan,
                        job->blocks.item[k].shortcut, width);
    return ST_OK;
}

static enum status read_plan(struct ctx *ctx, struct prune_job *job) {
    char *bytes;
    size_t size;
    const cJSON *o;
    TRY(io_read(ctx, job->opt.from_plan, &bytes, &size));
    cJSON *root = cJSON_Parse(bytes);
    free(bytes);
    if (!root) return ctx_fail(ctx, ST_FORMAT, "%s: is not JSON; it should be the .prune.json of an earlier run", job->opt.from_plan);
    const cJSON *list = cJSON_GetObjectItem(root, "blocks");
    enum status st = ST_OK;
    job->opt.blocks = 0;
    cJSON_ArrayForEach(o, list) {
        if (st == ST_OK) st = read_block(ctx, job, o);
        ++job->opt.blocks;
    }
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
    if (!mean || !score) {
        free(keep), free(mean), free(score);
        channels_drop(ch);
        return st != ST_OK ? st : ST_MEMORY;
    }
    for (int i = 0; i < job->net->n; ++i)
        if (job->blocks.place[i] == PLACE_KEPT) keep[job->blocks.number[i]] = job->keep_layer[i];
    channels_drop(job->channels);
    free(job->mean), free(job->score), free(job->keep_layer);
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

static enum status take_out(struct ctx *ctx, struct prune_job *job) {
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

enum status prune_blocks(struct ctx *ctx, struct prune_job *job) {
    if (!job->opt.from_plan && job->opt.blocks < 1) return ST_OK;
    TRY(blocks_find(ctx, job->net, job->keep_layer, &job->blocks));
    job->left_behind = mem_zero(ctx, (size_t)job->blocks.n + 1, sizeof *job->left_behind);
    if (!job->left_behind) return ST_MEMORY;
    TRY(job->opt.from_plan ? read_plan(ctx, job) : choose(ctx, job));
    bool any = false;
    for (int k = 0; k < job->blocks.n; ++k) any |= job->blocks.item[k].gone;
    return any ? take_out(ctx, job) : ST_OK;
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
    if (opt->target == TARGET_LATENCY) {
        if (job->opt.target_ms > 0) return ST_OK;
        TRY(latency_time(ctx, job->be, &job->whole, 1, &job->opt.target_ms, NULL));
        job->opt.target_ms *= opt->value;
        return ST_OK;
    }
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
