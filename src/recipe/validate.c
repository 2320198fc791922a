#include "recipe/validate.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/rng.h"
#include "prune/ablate.h"
#include "recipe/audit.h"

/* --- rank correlation ------------------------------------------------------------------------------------------------------ */

struct item { double value; int at; };
static int by_value(const void *a, const void *b) {
    const struct item *x = a, *y = b;
    return (x->value > y->value) - (x->value < y->value);
}

static void ranks(const double *value, int n, struct item *item, double *rank) {
    for (int i = 0; i < n; ++i) item[i] = (struct item){ value[i], i };
    qsort(item, (size_t)n, sizeof *item, by_value);
    for (int i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && item[end].value <= item[i].value;) ++end;
        for (int k = i; k < end; ++k) rank[item[k].at] = (i + end - 1) / 2.0;
    }
}

enum status spearman(struct ctx *ctx, const double *a, const double *b, int n, double *rho) {
    struct item *item = mem_zero(ctx, (size_t)n, sizeof *item);
    double *x = mem_zero(ctx, (size_t)n, sizeof *x), *y = mem_zero(ctx, (size_t)n, sizeof *y), xy = 0, xx = 0, yy = 0;
    *rho = 0;
    if (ctx->code == ST_OK && n > 0) {
        ranks(a, n, item, x);
        ranks(b, n, item, y);
        for (int i = 0; i < n; ++i) {
            double u = x[i] - (n - 1) / 2.0, v = y[i] - (n - 1) / 2.0;
            xy += u * v, xx += u * u, yy += v * v;
        }
        if (xx > 0 && yy > 0) *rho = xy / sqrt(xx * yy);
    }
    free(item), free(x), free(y);
    return ctx->code;
}

/* --- the samples ------------------------------------------------------------------------------------------------------------ */

/* One group from every layer in turn, drawn by seed, until there are enough: a draw from all would see the wide layers only. */
static enum status draw(struct ctx *ctx, const struct channels *ch, uint64_t seed, int want, struct validation *v) {
    struct rng r = rng_stream(seed, 0x76616c69, 0);
    int *pool = mem_zero(ctx, (size_t)ch->n_group, sizeof *pool), *left = mem_zero(ctx, (size_t)ch->n_unit + 1, sizeof *left);
    int *first = mem_zero(ctx, (size_t)ch->n_unit + 1, sizeof *first), free_ = 0;
    v->group = mem_zero(ctx, (size_t)want, sizeof *v->group);
    v->change = mem_zero(ctx, (size_t)want, sizeof *v->change);
    for (int u = 0; u < ch->n_unit && ctx->code == ST_OK; ++u) {
        first[u] = free_;
        for (int g = 0; g < ch->n_group; ++g)
            if (ch->group[g].unit == u && !ch->group[g].frozen) pool[free_++] = g;
        left[u] = free_ - first[u];
    }
    if (want > free_) want = free_;
    while (ctx->code == ST_OK && v->n < want)
        for (int u = 0; u < ch->n_unit && v->n < want; ++u) {
            if (!left[u]) continue;
            int k = first[u] + rng_int(&r, 0, left[u] - 1), last = first[u] + --left[u];
            v->group[v->n++] = pool[k];
            pool[k] = pool[last];
        }
    free(pool), free(left), free(first);
    if (ctx->code == ST_OK && free_ == 0) return ctx_fail(ctx, ST_USAGE, "-validate: this network has no filter that may be removed");
    return ctx->code;
}

static enum status remove_each(struct ctx *ctx, struct prune_job *job, struct validation *v) {
    struct ablation *a = NULL;
    struct score_source src = score_images_source(job->images);
    uint8_t *keep = mem_zero(ctx, (size_t)job->channels->n_group, 1);
    if (!keep) return ST_MEMORY;
    src.stop = job->opt.stop;
    memset(keep, 1, (size_t)job->channels->n_group);
    enum status st = ablation_open(ctx, job->net, job->be, job->channels, &src, VALIDATE_IMAGES, job->opt.saliency.batch,
                                   job->opt.compensate ? job->mean : NULL, &a);
    if (st == ST_OK) st = ablation_loss(ctx, a, NULL, &v->loss);
    for (int i = 0; i < v->n && st == ST_OK; ++i) {
        keep[v->group[i]] = 0;
        st = ablation_loss(ctx, a, keep, &v->change[i]);
        v->change[i] -= v->loss;
        keep[v->group[i]] = 1;
        if (job->opt.progress) job->opt.progress(job->opt.user, "leaving one out", i + 1, v->n);
    }
    if (a) v->images = ablation_images(a);
    ablation_close(a);
    free(keep);
    return st;
}

static enum status correlate(struct ctx *ctx, const struct channels *ch, const struct validation *v, struct validate_row *row) {
    double *score = mem_zero(ctx, (size_t)v->n, sizeof *score), *x = mem_zero(ctx, (size_t)v->n, sizeof *x);
    double *y = mem_zero(ctx, (size_t)v->n, sizeof *y), sum = 0, rho;
    row->layers = 0;
    for (int i = 0; i < v->n && ctx->code == ST_OK; ++i) score[i] = row->score[v->group[i]];
    if (ctx->code == ST_OK) spearman(ctx, score, v->change, v->n, &row->rho);
    for (int u = 0; u < ch->n_unit && ctx->code == ST_OK; ++u) {
        int n = 0;
        for (int i = 0; i < v->n; ++i)
            if (ch->group[v->group[i]].unit == u) x[n] = score[i], y[n++] = v->change[i];
        if (n < VALIDATE_LEAST || spearman(ctx, x, y, n, &rho) != ST_OK) continue;
        sum += rho;
        ++row->layers;
    }
    row->rho_within = row->layers ? sum / row->layers : NAN;
    free(score), free(x), free(y);
    return ctx->code;
}

enum status prune_validate(struct ctx *ctx, struct prune_job *job, int samples, struct validation *v) {
    const struct criterion *list[CRITERIA_MAX];
    double *score[CRITERIA_MAX] = { NULL };
    memset(v, 0, sizeof *v);
    TRY(criteria_parse(ctx, job->opt.criterion, list, &v->n_row));
    TRY(draw(ctx, job->channels, job->opt.saliency.seed, samples, v));
    for (int i = 0; i < v->n_row; ++i) {
        v->row[i].criterion = list[i];
        score[i] = v->row[i].score = mem_zero(ctx, (size_t)job->channels->n_group, sizeof *score[i]);
    }
    TRY(ctx->code);
    TRY(prune_score_all(ctx, job, list, v->n_row, score));
    memcpy(job->score, score[0], (size_t)job->channels->n_group * sizeof *job->score);
    TRY(remove_each(ctx, job, v));
    for (int i = 0; i < v->n_row; ++i) TRY(correlate(ctx, job->channels, v, &v->row[i]));
    return ST_OK;
}

enum status validation_write(struct ctx *ctx, const struct prune_job *job, const struct validation *v, const char *path) {
    cJSON *root = cJSON_CreateObject(), *rows, *groups;
    cJSON_AddStringToObject(root, "version", audit_version());
    cJSON_AddStringToObject(root, "cfg", job->opt.cfg);
    cJSON_AddStringToObject(root, "weights", job->opt.weights);
    cJSON_AddNumberToObject(root, "seed", (double)job->opt.saliency.seed);
    cJSON_AddNumberToObject(root, "images_scored", score_images_count(job->images));
    cJSON_AddNumberToObject(root, "images_of_loss", v->images);
    cJSON_AddBoolToObject(root, "compensated", job->opt.compensate);
    cJSON_AddNumberToObject(root, "loss", v->loss);
    rows = cJSON_AddArrayToObject(root, "criteria");
    for (int i = 0; i < v->n_row; ++i) {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddItemToArray(rows, o);
        cJSON_AddStringToObject(o, "criterion", v->row[i].criterion->name);
        cJSON_AddNumberToObject(o, "spearman", v->row[i].rho);
        cJSON_AddNumberToObject(o, "spearman_within_layers", v->row[i].rho_within); /* NaN: null */
        cJSON_AddNumberToObject(o, "layers_counted", v->row[i].layers);
    }
    groups = cJSON_AddArrayToObject(root, "groups");
    for (int i = 0; i < v->n; ++i) {
        const struct channels *ch = job->channels;
        const struct channel_group *g = &ch->group[v->group[i]];
        int node = ch->node_of_group[g->first], layer = ch->layer_of[node];
        cJSON *o = cJSON_CreateObject(), *scores;
        cJSON_AddItemToArray(groups, o);
        cJSON_AddNumberToObject(o, "layer", layer);
        cJSON_AddNumberToObject(o, "filter", node - ch->first_node[layer]);
        cJSON_AddNumberToObject(o, "loss_change", v->change[i]);
        scores = cJSON_AddObjectToObject(o, "score");
        for (int k = 0; k < v->n_row; ++k) cJSON_AddNumberToObject(scores, v->row[k].criterion->name, v->row[k].score[v->group[i]]);
    }
    char *text = cJSON_Print(root);
    cJSON_Delete(root);
    enum status st = text ? io_write(ctx, path, text, strlen(text)) : ctx_fail(ctx, ST_MEMORY, "out of memory writing the record");
    free(text);
    return st;
}

void validation_free(struct validation *v) {
    for (int i = 0; i < v->n_row; ++i) free(v->row[i].score);
    free(v->group), free(v->change);
    memset(v, 0, sizeof *v);
}
