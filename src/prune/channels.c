#include "prune/channels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int find(const struct channels *c, int i) {
    while (c->parent[i] != i) i = c->parent[i] = c->parent[c->parent[i]];
    return i;
}

static void freeze_node(struct channels *c, int node, int layer, const char *why) {
    if (!c->why[node]) c->why[node] = why, c->why_layer[node] = layer;
}

void channels_tie(struct channels *c, int a, int ka, int b, int kb) {
    if (a == LAYER_INPUT || b == LAYER_INPUT) {
        if (a != LAYER_INPUT) freeze_node(c, c->first_node[a] + ka, a, "carries a channel of the network's input");
        if (b != LAYER_INPUT) freeze_node(c, c->first_node[b] + kb, b, "carries a channel of the network's input");
        return;
    }
    int x = find(c, c->first_node[a] + ka), y = find(c, c->first_node[b] + kb);
    if (x < y) c->parent[y] = x; /* the lowest node leads: groups come out in network order */
    else c->parent[x] = y;
}

void channels_tie_all(struct channels *c, const struct layer *l, int input) {
    for (int k = 0; k < l->out.c && k < l->in_shape[input].c; ++k) channels_tie(c, l->index, k, l->in[input], k);
}

void channels_freeze(struct channels *c, int layer, const char *reason) {
    if (layer == LAYER_INPUT) return;
    for (int node = c->first_node[layer]; node < c->first_node[layer + 1]; ++node) freeze_node(c, node, layer, reason);
}

static enum status nodes_new(struct ctx *ctx, const struct net *net, struct channels *c) {
    c->net = net;
    c->first_node = mem_zero(ctx, (size_t)net->n + 1, sizeof *c->first_node);
    if (!c->first_node) return ST_MEMORY;
    for (int i = 0; i < net->n; ++i) c->first_node[i + 1] = c->first_node[i] + net->layer[i].out.c;
    size_t n = (size_t)(c->n_node = c->first_node[net->n]);
    c->parent = mem_zero(ctx, n, sizeof *c->parent);
    c->why = mem_zero(ctx, n, sizeof *c->why);
    c->why_layer = mem_zero(ctx, n, sizeof *c->why_layer);
    c->group_of = mem_zero(ctx, n, sizeof *c->group_of);
    c->node_of_group = mem_zero(ctx, n, sizeof *c->node_of_group);
    c->layer_of = mem_zero(ctx, n, sizeof *c->layer_of);
    c->unit_of_layer = mem_zero(ctx, (size_t)net->n, sizeof *c->unit_of_layer);
    if (ctx->code != ST_OK) return ctx->code;
    for (int i = 0; i < c->n_node; ++i) c->parent[i] = i;
    for (int i = 0; i < net->n; ++i)
        for (int k = c->first_node[i]; k < c->first_node[i + 1]; ++k) c->layer_of[k] = i;
    return ST_OK;
}

static enum status couple_all(struct ctx *ctx, const struct net *net, struct channels *c) {
    bool *consumed = mem_zero(ctx, (size_t)net->n, sizeof *consumed);
    if (!consumed) return ST_MEMORY;
    enum status st = ST_OK;
    for (int i = 0; i < net->n && st == ST_OK; ++i) {
        const struct layer *l = &net->layer[i];
        for (int k = 0; k < l->n_in; ++k)
            if (l->in[k] != LAYER_INPUT) consumed[l->in[k]] = true;
        if (l->ops->couple) l->ops->couple(l, net->layer, c);
        else st = layer_fail(ctx, l, NULL, "layer %d: pruning has no rule for this type", i);
    }
    for (int i = 0; i < net->n && st == ST_OK; ++i)
        if (!consumed[i]) channels_freeze(c, i, "leaves the network");
    free(consumed);
    return st;
}

static enum status collect_groups(struct ctx *ctx, struct channels *c) {
    for (int i = 0; i < c->n_node; ++i)
        if (find(c, i) == i) c->group_of[i] = c->n_group++;
    c->group = mem_zero(ctx, (size_t)c->n_group, sizeof *c->group);
    if (!c->group) return ST_MEMORY;
    for (int i = 0; i < c->n_node; ++i) {
        struct channel_group *g = &c->group[c->group_of[i] = c->group_of[find(c, i)]];
        ++g->size;
        if (!g->frozen && c->why[i]) g->frozen = c->why[i], g->frozen_by = c->why_layer[i];
    }
    for (int i = 1; i < c->n_group; ++i) c->group[i].first = c->group[i - 1].first + c->group[i - 1].size;
    for (int i = 0; i < c->n_group; ++i) c->group[i].size = 0;
    for (int i = 0; i < c->n_node; ++i) {
        struct channel_group *g = &c->group[c->group_of[i]];
        c->node_of_group[g->first + g->size++] = i;
    }
    return ST_OK;
}

/* Units: a smaller union-find, over layers with filters of their own that share a group.  (A route shares groups with all
 * that it concatenates, which does not make those belong together.) */
static enum status collect_units(struct ctx *ctx, struct channels *c) {
    int n = c->net->n, *up = mem_zero(ctx, (size_t)n, sizeof *up);
    int *leader = mem_zero(ctx, (size_t)c->n_group, sizeof *leader); /* first layer with filters in each group */
    if (!up || !leader) {
        free(up), free(leader);
        return ST_MEMORY;
    }
    for (int i = 0; i < n; ++i) up[i] = i;
    for (int g = 0; g < c->n_group; ++g) {
        leader[g] = -1;
        for (int k = 0; k < c->group[g].size; ++k) {
            int layer = c->layer_of[c->node_of_group[c->group[g].first + k]];
            if (!layer_has_filters(&c->net->layer[layer])) continue;
            if (leader[g] < 0) leader[g] = layer;
            int a = leader[g], b = layer;
            while (up[a] != a) a = up[a];
            while (up[b] != b) b = up[b];
            if (a < b) up[b] = a;
            else up[a] = b;
        }
        if (leader[g] < 0) leader[g] = c->layer_of[c->node_of_group[c->group[g].first]];
    }
    for (int i = 0; i < n; ++i) {
        int root = i;
        while (up[root] != root) root = up[root];
        c->unit_of_layer[i] = root == i ? c->n_unit++ : c->unit_of_layer[root];
    }
    for (int g = 0; g < c->n_group; ++g) c->group[g].unit = c->unit_of_layer[leader[g]];
    free(up), free(leader);
    return ST_OK;
}

/* What belonged together in the network before still does, and what had to stay stays. */
static enum status couple_as_before(struct ctx *ctx, struct channels *c, const struct channels *whole, const uint8_t *alive) {
    int *first = mem_zero(ctx, (size_t)whole->n_group, sizeof *first); /* per group before: 1 + a node of this network */
    if (!first) return ST_MEMORY;
    for (int k = 0, node = 0; k < whole->n_node; ++k) {
        if (!alive[k]) continue;
        int g = whole->group_of[k], layer = c->layer_of[node], channel = node - c->first_node[layer];
        if (whole->group[g].frozen) freeze_node(c, node, layer, whole->group[g].frozen);
        if (!first[g]) first[g] = node + 1;
        int other = c->layer_of[first[g] - 1];
        channels_tie(c, other, first[g] - 1 - c->first_node[other], layer, channel);
        ++node;
    }
    free(first);
    return ST_OK;
}

enum status channels_build(struct ctx *ctx, const struct net *net, struct channels **out) {
    return channels_build_within(ctx, net, NULL, NULL, out);
}

enum status channels_build_within(struct ctx *ctx, const struct net *net, const struct channels *whole, const uint8_t *alive,
                                  struct channels **out) {
    struct channels *c = *out = mem_zero(ctx, 1, sizeof *c);
    if (!c) return ST_MEMORY;
    enum status st = nodes_new(ctx, net, c);
    if (st == ST_OK) st = couple_all(ctx, net, c);
    if (st == ST_OK && whole) st = couple_as_before(ctx, c, whole, alive);
    if (st == ST_OK) st = collect_groups(ctx, c);
    if (st == ST_OK) st = collect_units(ctx, c);
    if (st != ST_OK) {
        channels_drop(c);
        *out = NULL;
    }
    return st;
}

void channels_drop(struct channels *c) {
    if (!c) return;
    free(c->first_node), free(c->parent), free(c->why), free(c->why_layer), free(c->group_of), free(c->node_of_group);
    free(c->layer_of), free(c->group), free(c->unit_of_layer), free(c);
}

void channels_widths(const struct channels *c, const uint8_t *keep, int *kept) {
    for (int i = 0; i < c->net->n; ++i) {
        kept[i] = 0;
        for (int k = c->first_node[i]; k < c->first_node[i + 1]; ++k) kept[i] += keep[c->group_of[k]] != 0;
    }
}

static int width_in(const struct net *net, const struct layer *l, const int *kept) {
    return l->in[0] == LAYER_INPUT ? net->opt.channels : kept[l->in[0]];
}

struct cost cost_of_layer(const struct layer *l, int in, int out) {
    struct cost cost = { 0, 0, 0, 0 };
    if (l->ops->flops_at) cost.flops = l->ops->flops_at(l, in, out);
    else if (l->out.c) cost.flops = l->flops * out / l->out.c;
    for (int k = 0; k < l->n_param; ++k) {
        const struct param *p = &l->param[k];
        if (!param_owned(p)) continue;
        double n = (double)param_count(p);
        if (p->out_axis >= 0) n *= (double)out / l->out.c;
        if (p->in_axis >= 0) n *= (double)in / l->in_shape[0].c;
        cost.params += n;
    }
    cost.activations = (double)out * l->out.h * l->out.w;
    return cost;
}

struct cost cost_add(struct cost a, struct cost b, double sign) {
    return (struct cost){ a.flops + sign * b.flops, a.params + sign * b.params, a.activations + sign * b.activations, a.ms + sign * b.ms };
}

struct cost cost_at(const struct net *net, const int *kept) {
    struct cost sum = { 0, 0, 0, 0 };
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        sum = cost_add(sum, cost_of_layer(l, width_in(net, l, kept), l->out.c ? kept[i] : 0), 1);
    }
    return sum;
}

/* A group's nodes are in network order. */
int channels_in_layer(const struct channels *c, int group, int layer) {
    const struct channel_group *g = &c->group[group];
    int n = 0, low = 0, high = g->size, end = c->first_node[layer + 1];
    const int *node = c->node_of_group + g->first;
    while (low < high) {
        int middle = (low + high) / 2;
        if (node[middle] < c->first_node[layer]) low = middle + 1;
        else high = middle;
    }
    while (low + n < g->size && node[low + n] < end) ++n;
    return n;
}

struct cost cost_of_group(const struct channels *c, int group) {
    struct cost saved = { 0, 0, 0, 0 };
    for (int i = 0; i < c->net->n; ++i) {
        const struct layer *l = &c->net->layer[i];
        bool first = l->in[0] == LAYER_INPUT;
        int in = first ? c->net->opt.channels : c->net->layer[l->in[0]].out.c, out = l->out.c;
        int less_in = first ? 0 : channels_in_layer(c, group, l->in[0]), less_out = channels_in_layer(c, group, i);
        if (!less_in && !less_out) continue;
        saved = cost_add(cost_add(saved, cost_of_layer(l, in, out), 1), cost_of_layer(l, in - less_in, out - less_out), -1);
    }
    return saved;
}
