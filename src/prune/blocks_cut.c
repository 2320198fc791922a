/* The network without its removed blocks: compensation, the edited cfg, the parameters, the proof. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "prune/blocks.h"
#include "prune/slice.h"

/* --- what the branch leaves behind ------------------------------------------------------------------------------------ */

static bool is(const struct layer *l, const char *type) { return !strcmp(l->ops->name, type); }
static const char *option(const struct layer *l, const char *key) { return cfg_value(l->section, key); }
static bool linear(const struct layer *l) { return !option(l, "activation") || !strcmp(option(l, "activation"), "linear"); }

/* Cells keep a constant: every cell of the output is a mean or a maximum of cells of the input. */
static bool keeps_constants(const struct layer *l) {
    static const char *const types[] = { "maxpool", "avgpool", "local_avgpool", "upsample", "dropout", "empty" };
    if (option(l, "maxpool_depth") || option(l, "maxpool_zero_nonmax") || option(l, "antialiasing") || option(l, "scale")) return false;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; ++i)
        if (is(l, types[i])) return true;
    return false;
}

static bool owns_shared(const struct net *net, const struct layer *l) {
    for (int i = l->index + 1; i < net->n; ++i)
        for (int k = 0; k < net->layer[i].n_param; ++k)
            if (!param_owned(&net->layer[i].param[k]) && net->layer[i].param[k].owner == l->index) return true;
    return false;
}

static bool absorbs(const struct net *net, const struct layer *l) {
    if (!is(l, "convolutional") && !is(l, "connected")) return false;
    if (option(l, "xnor") || option(l, "binary") || owns_shared(net, l)) return false;
    for (int k = 0; k < l->n_param; ++k)
        if (!param_owned(&l->param[k])) return false;
    return true;
}

static void through_route(const struct layer *l, double *const *constant, double *out) {
    int sum = 0, to = 0;
    const char *id = option(l, "group_id");
    for (int i = 0; i < l->n_in; ++i) sum += l->in_shape[i].c;
    int groups = sum / l->out.c;
    for (int i = 0; i < l->n_in; ++i) {
        int block = l->in_shape[i].c / groups, first = block * (id ? atoi(id) : 0);
        for (int k = 0; k < block; ++k, ++to) out[to] = constant[l->in[i]] ? constant[l->in[i]][first + k] : 0;
    }
}

static bool carries(const struct layer *l, double *const *constant) {
    for (int i = 0; i < l->n_in; ++i)
        if (l->in[i] != LAYER_INPUT && constant[l->in[i]]) return true;
    return false;
}

/* What layer l makes of the constants in its inputs; *out stays NULL where they end.  False: something else than a constant. */
static bool pass_on(struct ctx *ctx, const struct blocks *b, const struct layer *l, double *const *constant, float *param, double **out) {
    if (absorbs(b->net, l)) {
        if (param) slice_absorb(b->net, l, constant[l->in[0]], param);
        return true;
    }
    bool sum = is(l, "shortcut") && !l->n_param && linear(l);
    if (!sum && !is(l, "route") && !keeps_constants(l)) return false;
    double *y = *out = mem_zero(ctx, (size_t)l->out.c, sizeof *y);
    if (!y) return false;
    if (is(l, "route")) {
        through_route(l, constant, y);
        return true;
    }
    for (int i = 0; i < l->n_in; ++i)
        for (int k = 0; l->in[i] != LAYER_INPUT && constant[l->in[i]] && k < l->out.c && k < l->in_shape[i].c; ++k) y[k] += constant[l->in[i]][k];
    return true;
}

/* With param NULL: can it be done? */
static bool spread(struct ctx *ctx, const struct blocks *b, const struct block *block, const double *mean, float *param) {
    const struct net *net = b->net;
    double **constant = mem_zero(ctx, (size_t)net->n, sizeof *constant);
    bool fine = constant && linear(&net->layer[block->shortcut]);
    if (fine) constant[block->shortcut] = mem_zero(ctx, (size_t)net->layer[block->shortcut].out.c, sizeof **constant);
    fine = fine && constant[block->shortcut];
    for (int k = 0; fine && k < net->layer[block->shortcut].out.c && k < net->layer[block->branch].out.c; ++k)
        constant[block->shortcut][k] = mean[k];
    for (int i = block->shortcut + 1; i < net->n && fine; ++i)
        if (b->live[i] && carries(&net->layer[i], constant)) fine = pass_on(ctx, b, &net->layer[i], constant, param, &constant[i]);
    for (int i = 0; i < net->n && constant; ++i) free(constant[i]);
    free(constant);
    return fine;
}

bool blocks_compensate(struct ctx *ctx, const struct blocks *b, int i, const double *mean, float *param) {
    return spread(ctx, b, &b->item[i], mean, NULL) && spread(ctx, b, &b->item[i], mean, param);
}

/* --- the cfg -------------------------------------------------------------------------------------------------------------- */

static int renumbered(const struct blocks *b, int layer, long index) {
    long at = index < 0 ? layer + index : index;
    if (at < 0 || at >= layer || b->source[at] < 0) return (int)index; /* no index, after all: what says "none" */
    return index < 0 ? b->number[at] - b->number[layer] : b->number[at];
}

/* The list with new numbers; what stands between them stays. */
static enum status renumber_value(struct ctx *ctx, const struct blocks *b, int layer, struct cfg_doc *doc, const char *key) {
    const struct cfg_entry *e = cfg_entry(&doc->section[layer + 1], key);
    if (!e || !e->value) return ST_OK;
    const char *raw = cfg_raw_value(doc, e);
    size_t n = strcspn(raw, "#;"), at = 0;
    char *text = mem_zero(ctx, 12 * n + 16, 1), *end;
    bool changed = false;
    if (!text) return ST_MEMORY;
    raw += strspn(raw, " \t");
    n = strcspn(raw, "#;");
    while (n && strchr(" \t", raw[n - 1])) --n;
    for (const char *p = raw; p < raw + n;) {
        long index = strtol(p, &end, 10);
        if (end == p || strchr(" \t", *p)) {
            text[at++] = *p++;
            continue;
        }
        int fresh = index > INT_MIN && index < INT_MAX ? renumbered(b, layer, index) : 0;
        changed |= fresh != index;
        at += fresh != index ? (size_t)sprintf(text + at, "%d", fresh) : (size_t)sprintf(text + at, "%.*s", (int)(end - p), p);
        p = end;
    }
    enum status st = changed ? cfg_set_text(ctx, doc, layer + 1, key, text) : ST_OK;
    free(text);
    return st;
}

static bool has_key(const struct layer *l, const char *key) {
    for (const struct cfg_key *k = l->ops->keys; k && k->name; ++k)
        if (!strcmp(k->name, key)) return true;
    return false;
}

/* Every key of any layer type that names layers. */
static enum status renumber(struct ctx *ctx, const struct blocks *b, struct cfg_doc *doc) {
    static const char *const keys[] = { "from", "layers", "share_index", "embedding_layer", "yolo_layer" };
    for (int i = 0; i < b->net->n; ++i)
        for (size_t k = 0; k < sizeof keys / sizeof keys[0]; ++k)
            if (b->place[i] == PLACE_KEPT && has_key(&b->net->layer[i], keys[k])) TRY(renumber_value(ctx, b, i, doc, keys[k]));
    return ST_OK;
}

static int skip_of(const struct blocks *b, int shortcut) {
    for (int k = 0; k < b->n; ++k)
        if (b->item[k].shortcut == shortcut) return b->item[k].skip;
    return shortcut;
}

static enum status without(struct ctx *ctx, const struct blocks *b, const struct cfg_doc *doc, char **text, size_t *size) {
    enum { LINES = 96 };
    const char **instead = mem_zero(ctx, (size_t)doc->n, sizeof *instead);
    char (*lines)[LINES] = mem_zero(ctx, (size_t)b->net->n, sizeof *lines);
    enum status st = ctx->code;
    for (int i = 0; i < b->net->n && st == ST_OK; ++i) {
        if (b->place[i] == PLACE_KEPT) continue;
        if (b->place[i] == PLACE_ROUTE)
            snprintf(lines[i], LINES, "[route]\nlayers=%d\n", b->number[skip_of(b, i)] - b->number[i]);
        if (b->place[i] == PLACE_ACTIVATION)
            snprintf(lines[i], LINES, "[activation]\nactivation=%.60s\n", cfg_value(b->net->layer[i].section, "activation"));
        instead[i + 1] = lines[i];
    }
    if (st == ST_OK) st = cfg_text_instead(ctx, doc, instead, text, size);
    free(instead), free(lines);
    return st;
}

static enum status cut_doc(struct ctx *ctx, const struct blocks *b, struct cfg_doc **out) {
    const char *path = b->net->doc->path;
    struct cfg_doc *copy = NULL;
    char *text = NULL;
    size_t size;
    enum status st = cfg_text(ctx, b->net->doc, &text, &size);
    if (st == ST_OK) st = cfg_parse(ctx, path, text, size, true, &copy);
    free(text);
    text = NULL;
    if (st == ST_OK) st = renumber(ctx, b, copy);
    if (st == ST_OK) st = without(ctx, b, copy, &text, &size);
    if (st == ST_OK) st = cfg_parse(ctx, path, text, size, true, out);
    cfg_free(copy);
    free(text);
    return st;
}

/* --- the network ------------------------------------------------------------------------------------------------------------ */

static enum status copy_params(struct ctx *ctx, const struct blocks *b, const float *param, struct net *small) {
    for (int i = 0; i < b->net->n; ++i) {
        const struct layer *from = &b->net->layer[i];
        if (b->place[i] != PLACE_KEPT) continue;
        const struct layer *to = &small->layer[b->number[i]];
        if (to->ops != from->ops || to->n_param != from->n_param)
            return layer_fail(ctx, from, NULL, "layer %d became another layer (a fault of this program)", i);
        for (int k = 0; k < from->n_param; ++k) {
            if (param_count(&from->param[k]) != param_count(&to->param[k]))
                return layer_fail(ctx, from, NULL, "layer %d became wider or narrower (a fault of this program)", i);
            memcpy(small->param + to->param[k].offset, param + from->param[k].offset, param_count(&to->param[k]) * sizeof *param);
        }
    }
    return ST_OK;
}

enum status blocks_apply(struct ctx *ctx, const struct blocks *b, const float *param, struct net **out) {
    struct cfg_doc *doc = NULL;
    *out = NULL;
    TRY(cut_doc(ctx, b, &doc));
    TRY(net_open_doc(ctx, doc, false, out));
    (*out)->seen = b->net->seen;
    (*out)->header = b->net->header;
    enum status st = (*out)->n == b->n_left ? copy_params(ctx, b, param, *out)
                                            : ctx_fail(ctx, ST_FORMAT, "%s: %d layers are left but the new cfg has %d (a fault of this program)",
                                                       b->net->doc->path, b->n_left, (*out)->n);
    if (st == ST_OK) return ST_OK;
    net_close(*out);
    *out = NULL;
    return st;
}

enum status blocks_check(struct ctx *ctx, struct backend *be, struct net *full, const struct blocks *b, const float *param, struct net *small,
                         const float *x, int count, double *worst) {
    const uint8_t **mask = mem_zero(ctx, (size_t)full->n, sizeof *mask);
    float *own = mem_zero(ctx, full->n_param, sizeof *own);
    int widest = 0;
    for (int i = 0; i < full->n; ++i) widest = full->layer[i].out.c > widest ? full->layer[i].out.c : widest;
    uint8_t *none = mem_zero(ctx, (size_t)widest + 1, 1);
    enum status st = ctx->code;
    if (st == ST_OK) {
        for (int k = 0; k < b->n; ++k)
            if (b->item[k].gone) mask[b->item[k].branch] = none;
        memcpy(own, full->param, full->n_param * sizeof *own);
        memcpy(full->param, param, full->n_param * sizeof *own);
        /* SCORE: every layer has an output of its own, also the branch that a network which only runs sums in place */
        st = net_bind(ctx, full, be, NET_SCORE, 1);
        full->mask = mask;
        if (st == ST_OK) st = net_bind(ctx, small, be, NET_SCORE, 1);
        if (st == ST_OK) st = slice_compare(ctx, full, small, b->number, x, count, worst);
        net_unbind(full);
        net_unbind(small);
        full->mask = NULL;
        memcpy(full->param, own, full->n_param * sizeof *own);
    }
    free(mask), free(own), free(none);
    return st;
}
