#include "recipe/drift.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "data/json.h"
#include "prune/saliency.h"

/* --- reading ----------------------------------------------------------------------------------------------------------- */

static char *text_of(struct ctx *ctx, const cJSON *root, const char *key) {
    const char *s = json_text(root, key);
    return mem_text(ctx, s ? s : "");
}

static enum status read_run(struct ctx *ctx, const char *path, cJSON **root, struct drift_run *run) {
    static const char *const size[] = { "objects_small", "objects_medium", "objects_large" };
    TRY(json_read(ctx, path, root));
    const cJSON *layers = cJSON_GetObjectItem(*root, "layers");
    if (!cJSON_IsArray(layers) || !layers->child || !json_text(*root, "criterion") ||
        !cJSON_IsArray(cJSON_GetObjectItem(layers->child, "score")) || !cJSON_IsArray(cJSON_GetObjectItem(layers->child, "group")))
        return ctx_fail(ctx, ST_FORMAT, "%s: is no file of 'detector saliency' (criterion, layers with score and group)", path);
    run->path = mem_text(ctx, path);
    run->criterion = text_of(ctx, *root, "criterion");
    run->cfg = text_of(ctx, *root, "cfg");
    run->weights = text_of(ctx, *root, "weights");
    run->list = text_of(ctx, *root, "image_list");
    run->images = (int)json_number(*root, "images", 0);
    for (int i = 0; i < 3; ++i) run->objects[i] = (int)json_number(*root, size[i], 0);
    run->tau = json_number(*root, "votes", 0) > 0 ? json_number(*root, "kendall_tau_halves", NAN) : NAN;
    return ctx->code;
}

/* Keys that make scores comparable; a key that one file lacks (of an older version) is not looked at. */
static enum status same_kind(struct ctx *ctx, const struct drift *d, cJSON *const root[2]) {
    static const struct { const char *key, *what; } must[] = {
        { "cfg_sha256", "networks: the cfg files differ" }, { "criterion", "criteria" }, { "utility", "utilities" }, { "form", "forms" },
        { "balance", "balances" }, { "normalize", "normalizations" } };
    for (size_t i = 0; i < sizeof must / sizeof *must; ++i) {
        const char *a = json_text(root[0], must[i].key), *b = json_text(root[1], must[i].key);
        if (!a || !b || strcmp(a, b) == 0) continue;
        if (i == 0) a = d->run[0].cfg, b = d->run[1].cfg;
        return ctx_fail(ctx, ST_USAGE, "%s and %s cannot be compared: other %s (%s, %s)", d->run[0].path, d->run[1].path, must[i].what, a, b);
    }
    const char *a = json_text(root[0], "weights_sha256"), *b = json_text(root[1], "weights_sha256");
    if (a && b && strcmp(a, b) != 0)
        ctx_log(ctx, LOG_WARN, "the runs used other weights (%s, %s): filters that training moved count as drift, too", d->run[0].weights,
                d->run[1].weights);
    return ST_OK;
}

/* --- matching layer by layer ------------------------------------------------------------------------------------------- */

/* Both runs' scores by group; a group may span several layers and is counted once. */
struct scores { int cap; double *value[2]; uint8_t *use; };

static enum status mismatch(struct ctx *ctx, const struct drift *d, int layer, const char *what) {
    return ctx_fail(ctx, ST_USAGE, "%s and %s cannot be compared: layer %d has other %s", d->run[0].path, d->run[1].path, layer, what);
}

static enum status grow(struct ctx *ctx, struct scores *s, int need) {
    if (need <= s->cap) return ST_OK;
    int cap = need * 2 + 64;
    for (int r = 0; r < 2; ++r) {
        size_t had = (size_t)s->cap;
        TRY(mem_grow(ctx, &s->value[r], &had, (size_t)cap, sizeof *s->value[r]));
    }
    size_t had = (size_t)s->cap;
    TRY(mem_grow(ctx, &s->use, &had, (size_t)cap, 1));
    s->cap = cap;
    return ST_OK;
}

static enum status take_layer(struct ctx *ctx, const struct drift *d, const cJSON *a, const cJSON *b, struct scores *all, struct drift_layer *out) {
    int layer = out->layer = (int)json_number(a, "layer", -1);
    const char *type_a = json_text(a, "type"), *type_b = json_text(b, "type");
    if ((int)json_number(b, "layer", -1) != layer || !type_a || !type_b || strcmp(type_a, type_b) != 0) return mismatch(ctx, d, layer, "types");
    snprintf(out->type, sizeof out->type, "%s", type_a);
    out->half[0] = json_number(a, "kendall_tau_halves", NAN), out->half[1] = json_number(b, "kendall_tau_halves", NAN);
    const cJSON *score[2] = { cJSON_GetObjectItem(a, "score"), cJSON_GetObjectItem(b, "score") }, *ga = cJSON_GetObjectItem(a, "group"),
                *gb = cJSON_GetObjectItem(b, "group");
    int n = cJSON_GetArraySize(score[0]);
    if (cJSON_GetArraySize(score[1]) != n || cJSON_GetArraySize(ga) != n || cJSON_GetArraySize(gb) != n)
        return mismatch(ctx, d, layer, "numbers of filters");
    bool frozen = cJSON_GetObjectItem(a, "frozen") != NULL;
    struct scores own = { 0 };
    const cJSON *x = score[0] ? score[0]->child : NULL, *y = score[1] ? score[1]->child : NULL, *g = ga ? ga->child : NULL,
                *h = gb ? gb->child : NULL;
    enum status st = ST_OK;
    for (; x && y && g && h && st == ST_OK; x = x->next, y = y->next, g = g->next, h = h->next) {
        if (!cJSON_IsNumber(x) || !cJSON_IsNumber(y) || !cJSON_IsNumber(g) || g->valueint < 0 || g->valueint > 1 << 24) {
            st = ctx_fail(ctx, ST_FORMAT, "%s and %s: layer %d has scores or groups that are no numbers", d->run[0].path, d->run[1].path, layer);
        } else if (h->valueint != g->valueint) {
            st = mismatch(ctx, d, layer, "coupling of filters");
        } else if (!frozen) {
            st = grow(ctx, all, g->valueint + 1);
            if (st == ST_OK) st = grow(ctx, &own, g->valueint + 1);
            if (st != ST_OK) break;
            out->groups += !own.use[g->valueint];
            own.use[g->valueint] = all->use[g->valueint] = 1;
            own.value[0][g->valueint] = all->value[0][g->valueint] = x->valuedouble;
            own.value[1][g->valueint] = all->value[1][g->valueint] = y->valuedouble;
        }
    }
    if (st == ST_OK && out->groups > 1) out->tau = kendall_tau(own.value[0], own.value[1], own.use, own.cap);
    free(own.value[0]), free(own.value[1]), free(own.use);
    return st;
}

static enum status take_layers(struct ctx *ctx, struct drift *d, cJSON *const root[2], struct scores *all) {
    const cJSON *la = cJSON_GetObjectItem(root[0], "layers"), *lb = cJSON_GetObjectItem(root[1], "layers");
    int n = cJSON_GetArraySize(la);
    if (cJSON_GetArraySize(lb) != n)
        return ctx_fail(ctx, ST_USAGE, "%s and %s cannot be compared: %d layers with filters against %d", d->run[0].path, d->run[1].path, n,
                        cJSON_GetArraySize(lb));
    d->layer = mem_zero(ctx, (size_t)n, sizeof *d->layer);
    if (!d->layer) return ST_MEMORY;
    for (const cJSON *a = la->child, *b = lb->child; a && b; a = a->next, b = b->next) {
        struct drift_layer one = { 0 };
        TRY(take_layer(ctx, d, a, b, all, &one));
        if (one.groups > 1) d->layer[d->n_layer++] = one;
    }
    for (int g = 0; g < all->cap; ++g) d->groups += all->use[g];
    if (d->groups < 2) return ctx_fail(ctx, ST_USAGE, "%s and %s: no filter may be removed, nothing to compare", d->run[0].path, d->run[1].path);
    d->tau = kendall_tau(all->value[0], all->value[1], all->use, all->cap);
    return ST_OK;
}

/* --- what it means for a cut ------------------------------------------------------------------------------------------- */

struct entry { double score[2]; bool gone[2]; };
static int by_first(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    return (x->score[0] > y->score[0]) - (x->score[0] < y->score[0]);
}
static int by_second(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    return (x->score[1] > y->score[1]) - (x->score[1] < y->score[1]);
}

static enum status measure_cuts(struct ctx *ctx, struct drift *d, const struct scores *all) {
    static const double share[DRIFT_CUTS] = { .1, .3, .5 };
    struct entry *e = mem_zero(ctx, (size_t)d->groups, sizeof *e);
    int n = 0;
    double total = 0;
    if (!e) return ST_MEMORY;
    for (int g = 0; g < all->cap; ++g)
        if (all->use[g]) e[n++] = (struct entry){ .score = { all->value[0][g], all->value[1][g] } }, total += all->value[1][g];
    for (int c = 0; c < DRIFT_CUTS; ++c) {
        int count = (int)ceil(share[c] * n);
        struct drift_cut *cut = &d->cut[c];
        cut->share = share[c];
        qsort(e, (size_t)n, sizeof *e, by_first);
        for (int i = 0; i < n; ++i) e[i].gone[0] = i < count;
        qsort(e, (size_t)n, sizeof *e, by_second);
        for (int i = 0; i < n; ++i) e[i].gone[1] = i < count;
        for (int i = 0; i < n; ++i) {
            cut->common += (double)(e[i].gone[0] && e[i].gone[1]) / count;
            if (total > 0 && e[i].gone[0]) cut->lost += e[i].score[1] / total;
            if (total > 0 && e[i].gone[1]) cut->own += e[i].score[1] / total;
        }
    }
    free(e);
    return ST_OK;
}

static void judge(struct drift *d) {
    const double firm = .5, alike = .9, related = .7;
    d->expected = d->run[0].tau > 0 && d->run[1].tau > 0 ? sqrt(d->run[0].tau * d->run[1].tau) : NAN;
    bool known = d->expected >= firm;
    double share = d->tau / (known ? d->expected : 1);
    d->verdict = share >= alike ? DRIFT_HOLDS : !known ? DRIFT_UNKNOWN : share >= related ? DRIFT_PARTLY : DRIFT_DIFFERS;
    switch (d->verdict) {
    case DRIFT_HOLDS:
        snprintf(d->text, sizeof d->text, "A pruning made on one holds on the other: the runs agree%s.",
                 known ? " as well as the halves of one run do" : "");
        break;
    case DRIFT_PARTLY:
        snprintf(d->text, sizeof d->text, "A pruning made on one holds on the other in the main: the runs' agreement is %.0f %% of what the halves of "
                 "one run reach. Measure it on the other's images before it is relied on; scoring on both together is safer.", 100 * share);
        break;
    case DRIFT_DIFFERS:
        snprintf(d->text, sizeof d->text, "A pruning made on one does not hold on the other: the runs' agreement is only %.0f %% of what the halves of "
                 "one run reach. Score again on images of where the network will work.", 100 * fmax(share, 0));
        break;
    case DRIFT_UNKNOWN:
        snprintf(d->text, sizeof d->text, "It cannot be told: %s.", isnan(d->expected)
                 ? "the runs do not say how well their own halves agree, so there is nothing to measure their difference by"
                 : "the halves of the runs themselves hardly agree; score on more images first");
        break;
    }
}

enum status drift_compare(struct ctx *ctx, const char *a, const char *b, struct drift *d) {
    cJSON *root[2] = { NULL, NULL };
    struct scores all = { 0 };
    memset(d, 0, sizeof *d);
    enum status st = read_run(ctx, a, &root[0], &d->run[0]);
    if (st == ST_OK) st = read_run(ctx, b, &root[1], &d->run[1]);
    if (st == ST_OK) st = same_kind(ctx, d, root);
    if (st == ST_OK) st = take_layers(ctx, d, root, &all);
    if (st == ST_OK) st = measure_cuts(ctx, d, &all);
    if (st == ST_OK) judge(d);
    cJSON_Delete(root[0]), cJSON_Delete(root[1]);
    free(all.value[0]), free(all.value[1]), free(all.use);
    if (st != ST_OK) drift_free(d);
    return st;
}

void drift_free(struct drift *d) {
    for (int r = 0; r < 2; ++r) {
        struct drift_run *run = &d->run[r];
        free(run->path), free(run->criterion), free(run->cfg), free(run->weights), free(run->list);
    }
    free(d->layer);
    memset(d, 0, sizeof *d);
}

/* --- JSON -------------------------------------------------------------------------------------------------------------- */

static void add_number(cJSON *o, const char *name, double v) {
    if (isnan(v)) cJSON_AddNullToObject(o, name);
    else cJSON_AddNumberToObject(o, name, v);
}

enum status drift_write_json(struct ctx *ctx, const struct drift *d, const char *path) {
    static const char *const verdict[] = { "holds", "partly", "differs", "unknown" };
    cJSON *root = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(root, "runs");
    for (int r = 0; r < 2; ++r) {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddItemToArray(list, o);
        cJSON_AddStringToObject(o, "file", d->run[r].path);
        cJSON_AddStringToObject(o, "criterion", d->run[r].criterion);
        cJSON_AddStringToObject(o, "cfg", d->run[r].cfg);
        cJSON_AddStringToObject(o, "weights", d->run[r].weights);
        cJSON_AddStringToObject(o, "image_list", d->run[r].list);
        cJSON_AddNumberToObject(o, "images", d->run[r].images);
        add_number(o, "kendall_tau_halves", d->run[r].tau);
    }
    cJSON_AddNumberToObject(root, "groups", d->groups);
    cJSON_AddNumberToObject(root, "kendall_tau", d->tau);
    add_number(root, "kendall_tau_expected", d->expected);
    cJSON_AddStringToObject(root, "verdict", verdict[d->verdict]);
    cJSON_AddStringToObject(root, "verdict_text", d->text);
    list = cJSON_AddArrayToObject(root, "cuts");
    for (int c = 0; c < DRIFT_CUTS; ++c) {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddItemToArray(list, o);
        cJSON_AddNumberToObject(o, "share", d->cut[c].share);
        cJSON_AddNumberToObject(o, "common", d->cut[c].common);
        cJSON_AddNumberToObject(o, "lost_by_first", d->cut[c].lost);
        cJSON_AddNumberToObject(o, "lost_by_own", d->cut[c].own);
    }
    list = cJSON_AddArrayToObject(root, "layers");
    for (int i = 0; i < d->n_layer; ++i) {
        const struct drift_layer *l = &d->layer[i];
        cJSON *o = cJSON_CreateObject();
        cJSON_AddItemToArray(list, o);
        cJSON_AddNumberToObject(o, "layer", l->layer);
        cJSON_AddStringToObject(o, "type", l->type);
        cJSON_AddNumberToObject(o, "groups", l->groups);
        cJSON_AddNumberToObject(o, "kendall_tau", l->tau);
        add_number(o, "kendall_tau_halves_first", l->half[0]);
        add_number(o, "kendall_tau_halves_second", l->half[1]);
    }
    char *text = cJSON_Print(root);
    cJSON_Delete(root);
    enum status st = text ? io_write(ctx, path, text, strlen(text)) : ctx_fail(ctx, ST_MEMORY, "out of memory writing the comparison");
    free(text);
    return st;
}
