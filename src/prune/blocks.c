/* Which residual blocks there are, which can go, and which go first. */
#include "prune/blocks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "prune/select.h"

static const char *option(const struct layer *l, const char *key) { return cfg_value(l->section, key); }

static bool linear(const struct layer *l) {
    const char *activation = option(l, "activation");
    return !activation || !strcmp(activation, "linear");
}

/* Does the shortcut's activation change nothing on what this layer puts out? */
static bool activates_again(const struct layer *shortcut, const struct layer *source) {
    const char *own = option(shortcut, "activation"), *before = option(source, "activation");
    if (linear(shortcut)) return false;
    return !(before && !strcmp(own, "relu") && !strcmp(before, "relu") && source->ops != layer_find("crnn"));
}

/* --- what goes with a set of blocks ---------------------------------------------------------------------------------- */

static struct block *block_of(const struct blocks *b, int shortcut) {
    for (int k = 0; k < b->n; ++k)
        if (b->item[k].shortcut == shortcut) return &b->item[k];
    return NULL;
}

static const struct block *removed_at(const struct blocks *b, int layer) {
    const struct block *k = b->net->layer[layer].n_in == 2 ? block_of(b, layer) : NULL;
    return k && k->gone ? k : NULL;
}

static void mark_input(struct blocks *b, int layer) {
    if (layer != LAYER_INPUT) b->live[layer] = 1;
}

static void mark_live(struct blocks *b) {
    memcpy(b->live, b->root, (size_t)b->net->n);
    for (int i = b->net->n - 1; i >= 0; --i) {
        const struct layer *l = &b->net->layer[i];
        const struct block *removed = removed_at(b, i);
        if (!b->live[i]) continue;
        for (int k = 0; k < l->n_in && !removed; ++k) mark_input(b, l->in[k]);
        if (removed) mark_input(b, removed->skip);
        for (int k = 0; k < l->n_param; ++k)
            if (!param_owned(&l->param[k])) b->live[l->param[k].owner] = 1;
    }
}

/* A removed shortcut vanishes where the layer before it in the cut network is the one that it now stands for; else a
 * [route] or, where its activation still does something, an [activation] takes its place. */
static void mark(struct blocks *b) {
    int last = LAYER_INPUT;
    mark_live(b);
    b->n_left = 0;
    for (int i = 0; i < b->net->n; ++i) {
        const struct block *removed = removed_at(b, i);
        b->place[i] = PLACE_KEPT;
        b->source[i] = i;
        if (!b->live[i]) {
            b->place[i] = PLACE_GONE;
            b->source[i] = b->number[i] = -1;
            continue;
        }
        if (removed) {
            int from = b->source[removed->skip];
            bool activation = activates_again(&b->net->layer[i], &b->net->layer[from]);
            b->place[i] = activation ? PLACE_ACTIVATION : from == last ? PLACE_GONE : PLACE_ROUTE;
            if (b->place[i] == PLACE_GONE) {
                b->source[i] = from;
                b->number[i] = b->number[from];
                continue;
            }
        }
        b->number[i] = b->n_left++;
        last = i;
    }
}

static bool stays(struct block *k, int by, const char *why) {
    k->stays = why;
    k->stays_by = by;
    return false;
}

/* The layer before a kept one in the cut network. */
static int kept_before(const struct blocks *b, int i) {
    while (--i >= 0 && b->place[i] == PLACE_GONE) continue;
    return i;
}

/* With the marks of a set that holds block k: is the cut one that we can make? */
static bool possible(struct blocks *b, struct block *k) {
    const struct net *net = b->net;
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        bool needed = b->root[i];
        if (!b->live[i] && (l->common.stopbackward || l->common.train_only_bn))
            return stays(k, i, "a layer of its branch says which layers before it train");
        if (!b->live[i]) continue;
        for (int j = i + 1; j < net->n && !needed; ++j) {
            const struct block *removed = removed_at(b, j);
            for (int m = 0; m < net->layer[j].n_in && b->live[j] && !removed; ++m) needed |= net->layer[j].in[m] == i;
            if (removed && b->live[j]) needed |= removed->skip == i;
        }
        if (!needed) return stays(k, i, "a layer elsewhere shares weights with its branch");
        if (b->place[i] == PLACE_ACTIVATION && kept_before(b, i) != b->source[removed_at(b, i)->skip])
            return stays(k, i, "its activation would no longer stand behind what it activates");
    }
    if (!b->live[k->branch]) return true;
    for (int j = k->branch + 1; j < net->n; ++j)
        for (int m = 0; m < net->layer[j].n_in; ++m)
            if (j != k->shortcut && b->live[j] && net->layer[j].in[m] == k->branch) return stays(k, j, "its branch is read elsewhere, too");
    return stays(k, k->shortcut, "its branch is needed elsewhere");
}

bool blocks_remove(struct blocks *b, int i) {
    struct block *k = &b->item[i];
    if (k->stays || k->gone || !b->live[k->shortcut]) return false;
    k->gone = true;
    mark(b);
    if (possible(b, k)) return true;
    blocks_restore(b, i);
    return false;
}

void blocks_restore(struct blocks *b, int i) {
    b->item[i].gone = false;
    mark(b);
}

/* --- finding them ------------------------------------------------------------------------------------------------------ */

static bool reaches(struct blocks *b, int from, int to) {
    memset(b->live, 0, (size_t)b->net->n);
    b->live[from] = 1;
    for (int i = from; i > to; --i)
        for (int k = 0; k < b->net->layer[i].n_in && b->live[i]; ++k) mark_input(b, b->net->layer[i].in[k]);
    return b->live[to];
}

static struct cost cost_of(const struct layer *l) { return cost_of_layer(l, l->in_shape[0].c, l->out.c); }

static void measure(struct blocks *b, struct block *k, const uint8_t *keep_layer) {
    k->first = k->shortcut;
    for (int i = b->net->n - 1; i >= 0; --i) {
        if (b->place[i] == PLACE_KEPT) continue;
        struct cost c = cost_of(&b->net->layer[i]);
        k->cost = cost_add(k->cost, c, 1);
        ++k->n_gone;
        k->first = i;
        if (keep_layer && keep_layer[i]) stays(k, i, "-keep_layers names a layer of it");
    }
}

static void examine(struct blocks *b, int index, const uint8_t *keep_layer) {
    struct block *k = &b->item[index];
    const struct layer *l = &b->net->layer[k->shortcut];
    int x = l->in[0], y = l->in[1];
    bool x_first = reaches(b, y, x), y_first = reaches(b, x, y);
    k->skip = x_first ? x : y;
    k->branch = x_first ? y : x;
    struct shape s = b->net->layer[k->skip].out;
    mark(b);
    if (x_first == y_first) stays(k, k->shortcut, "adds two paths, neither of which begins with the other");
    else if (l->n_param) stays(k, k->shortcut, "weighs its inputs");
    else if (b->root[k->shortcut]) stays(k, k->shortcut, "leaves the network");
    else if (s.c != l->out.c || s.h != l->out.h || s.w != l->out.w) stays(k, k->skip, "its input has another shape than its output");
    else if (blocks_remove(b, index)) measure(b, k, keep_layer);
    if (!k->stays && k->cost.params == 0) stays(k, k->branch, "nothing with weights would go with it");
    k->gone = false;
    mark(b);
}

enum status blocks_find(struct ctx *ctx, const struct net *net, const uint8_t *keep_layer, struct blocks *b) {
    size_t n = (size_t)net->n;
    *b = (struct blocks){ .net = net };
    b->item = mem_zero(ctx, n, sizeof *b->item);
    b->place = mem_zero(ctx, n, 1);
    b->source = mem_zero(ctx, n, sizeof *b->source);
    b->number = mem_zero(ctx, n, sizeof *b->number);
    b->live = mem_zero(ctx, n, 1);
    b->root = mem_zero(ctx, n, 1);
    if (ctx->code != ST_OK) {
        blocks_free(b);
        return ctx->code;
    }
    memset(b->root, 1, n);
    for (int i = 0; i < net->n; ++i) {
        for (int k = 0; k < net->layer[i].n_in; ++k)
            if (net->layer[i].in[k] != LAYER_INPUT) b->root[net->layer[i].in[k]] = 0;
        if (!strcmp(net->layer[i].ops->name, "shortcut") && net->layer[i].n_in == 2) b->item[b->n++].shortcut = i;
    }
    mark(b);
    for (int k = 0; k < b->n; ++k) examine(b, k, keep_layer);
    return ST_OK;
}

void blocks_free(struct blocks *b) {
    free(b->item), free(b->place), free(b->source), free(b->number), free(b->live), free(b->root);
    *b = (struct blocks){ 0 };
}

/* --- choosing -------------------------------------------------------------------------------------------------------------- */

int blocks_last_filters(const struct blocks *b, int i) {
    int at = b->item[i].branch;
    while (at > b->item[i].skip && !layer_has_filters(&b->net->layer[at])) at = b->net->layer[at].n_in ? b->net->layer[at].in[0] : -1;
    return at > b->item[i].skip ? at : -1;
}

void blocks_rank(struct blocks *b, enum cost_kind kind, double cost_power) {
    struct cost full = { 0 };
    if (kind == COST_LATENCY) kind = COST_FLOPS; /* nobody has timed single layers here */
    for (int i = 0; i < b->net->n; ++i) {
        struct cost c = cost_of(&b->net->layer[i]);
        full = cost_add(full, c, 1);
    }
    for (int k = 0; k < b->n; ++k) {
        double share = cost_price(&b->item[k].cost, kind) / fmax(cost_price(&full, kind), 1e-300);
        b->item[k].rank = b->item[k].score / (cost_power == 0 ? 1 : pow(fmax(share, 1e-12), cost_power));
    }
}

int blocks_select(struct blocks *b, int count, enum cost_kind kind, double cost_power) {
    int done = 0;
    blocks_rank(b, kind, cost_power);
    uint8_t *tried = calloc((size_t)b->n + 1, 1);
    while (tried && done < count) {
        int best = -1;
        for (int k = 0; k < b->n; ++k)
            if (!tried[k] && !b->item[k].stays && (best < 0 || b->item[k].rank < b->item[best].rank)) best = k;
        if (best < 0) break;
        tried[best] = 1;
        done += blocks_remove(b, best);
    }
    free(tried);
    return done;
}
