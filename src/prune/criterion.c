#include "prune/criterion.h"

#include <stdio.h>
#include <string.h>

#define CRITERION(name) extern const struct criterion name##_criterion;
#include "prune/criteria.inc"
#undef CRITERION

static const struct criterion *const all[] = {
#define CRITERION(name) &name##_criterion,
#include "prune/criteria.inc"
#undef CRITERION
};

int criterion_count(void) { return (int)(sizeof all / sizeof all[0]); }
const struct criterion *criterion_at(int i) { return all[i]; }

const struct criterion *criterion_find(const char *name) {
    for (int i = 0; i < criterion_count(); ++i)
        if (!strcmp(all[i]->name, name)) return all[i];
    return NULL;
}

const struct criterion *criterion_of_blocks(const struct criterion *c, bool classifier) {
    return c->blocks ? c : classifier ? &taylor_criterion : &saliency_criterion;
}

enum status criteria_score_blocks(struct ctx *ctx, const struct criterion_input *in, const struct criterion *const *list, int n,
                                  double *const *score, const struct criterion *by, double *block) {
    struct criterion_input own = *in;
    struct saliency objects = { 0 };
    struct loss_evidence loss = { 0 };
    unsigned needs = 0;
    for (int i = 0; i < n; ++i) needs |= list[i]->needs;
    if (by) needs |= by->needs;
    loss.wants_weights = needs & NEEDS_WEIGHT_GRADIENTS;
    own.detail = !(needs & NEEDS_OBJECTS) ? NULL : in->detail ? in->detail : &objects;
    own.loss = needs & (NEEDS_LOSS | NEEDS_WEIGHT_GRADIENTS) ? &loss : NULL;
    enum status st = needs && !in->images ? ctx_fail(ctx, ST_USAGE, "this criterion needs images") : ST_OK;
    if (st == ST_OK && (own.detail || own.loss))
        st = saliency_collect(ctx, in->net, in->be, in->channels, in->images, in->options, in->mean, own.detail, own.loss);
    for (int i = 0; i < n && st == ST_OK; ++i) st = list[i]->score(ctx, &own, score[i]);
    if (by && st == ST_OK) st = by->blocks(ctx, &own, block);
    saliency_free(&objects);
    loss_evidence_free(&loss);
    return st;
}

enum status criteria_score(struct ctx *ctx, const struct criterion_input *in, const struct criterion *const *list, int n,
                           double *const *score) {
    return criteria_score_blocks(ctx, in, list, n, score, NULL, NULL);
}

static enum status unknown(struct ctx *ctx, const char *text, int length) {
    char known[256] = "";
    for (int i = 0; i < criterion_count(); ++i) {
        size_t n = strlen(known);
        snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", all[i]->name);
    }
    return ctx_fail(ctx, ST_USAGE, "-criterion %.*s: unknown, there are %s", length, text, known);
}

enum status criteria_parse(struct ctx *ctx, const char *text, const struct criterion *list[CRITERIA_MAX], int *n) {
    if (!strcmp(text, "all")) {
        for (*n = 0; *n < criterion_count(); ++*n) list[*n] = all[*n];
        return ST_OK;
    }
    for (*n = 0;; ++*n) {
        char name[64];
        size_t length = strcspn(text, ",");
        snprintf(name, sizeof name, "%.*s", (int)length, text);
        const struct criterion *c = length < sizeof name ? criterion_find(name) : NULL;
        if (!c) return unknown(ctx, text, (int)length);
        for (int i = 0; i < *n; ++i)
            if (list[i] == c) return ctx_fail(ctx, ST_USAGE, "-criterion names %s twice", name);
        if (*n == CRITERIA_MAX) return ctx_fail(ctx, ST_USAGE, "-criterion: at most %d", CRITERIA_MAX);
        list[*n] = c;
        text += length;
        if (!*text++) return ++*n, ST_OK;
    }
}
