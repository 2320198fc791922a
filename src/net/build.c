/* Sections to layers: keys, inputs, shapes, parameter offsets. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "net/net.h"
#include "net/internal.h"
#include "net/ranges.h"

static enum status unknown_section(struct ctx *ctx, const struct cfg_section *s) {
    const char *names[128];
    size_t n = 0;
    for (int i = 0; i < layer_type_count() && n < 126; ++i) {
        names[n++] = layer_type(i)->name;
        if (layer_type(i)->alias) names[n++] = layer_type(i)->alias;
    }
    const char *near = text_nearest(s->type, names, n);
    return cfg_fail(ctx, s, NULL, "unknown layer type%s%s%s", near ? ", did you mean [" : "", near ? near : "", near ? "]?" : "");
}

static struct shape shape_of(const struct net *net, int layer) {
    if (layer == LAYER_INPUT) return (struct shape){ 1, net->opt.channels, net->opt.height, net->opt.width };
    return net->layer[layer].out;
}

/* Sizes that no machine holds end here, before somebody multiplies them further. */
static enum status check_size(struct ctx *ctx, struct layer *l, size_t values_before) {
    double values = (double)values_before;
    TRY(layer_out(ctx, l, l->out.c, l->out.h, l->out.w));
    for (int k = 0; k < l->n_param; ++k) values += (double)l->param[k].dim[0] * l->param[k].dim[1] * l->param[k].dim[2];
    if (values > INT_MAX) return layer_fail(ctx, l, NULL, "with it the network has %.3g weights, %d are possible", values, INT_MAX);
    return ST_OK;
}

/* Shapes and parameter offsets for the options' input size. */
enum status net_shapes(struct ctx *ctx, struct net *net) {
    size_t offset = 0;
    for (int i = 0; i < net->n; ++i) {
        struct layer *l = &net->layer[i];
        for (int k = 0; k < l->n_in; ++k) {
            l->in_shape[k] = shape_of(net, l->in[k]);
            if (l->in_shape[k].c == 0 && strcmp(l->ops->name, "route"))
                return layer_fail(ctx, l, NULL, "reads layer %d, a detection head, which has no output", l->in[k]);
        }
        l->n_param = 0;
        TRY(l->ops->shape(ctx, l, net->layer, &net->opt));
        TRY(check_size(ctx, l, offset));
        for (int k = 0; k < l->n_param; ++k) {
            struct param *p = &l->param[k];
            if (!param_owned(p)) {
                p->offset = net->layer[p->owner].param[p->owner_row].offset;
                continue;
            }
            p->offset = offset;
            offset += param_count(p);
        }
    }
    net->n_param = offset;
    return ST_OK;
}

static enum status default_input(struct ctx *ctx, struct layer *l) {
    if (l->index > 0) return layer_inputs(ctx, l, NULL, (int[]){ -1 }, 1);
    l->in = mem_zero(ctx, 1, sizeof *l->in);
    l->in_shape = mem_zero(ctx, 1, sizeof *l->in_shape);
    if (!l->in || !l->in_shape) return ST_MEMORY;
    l->in[0] = LAYER_INPUT;
    l->n_in = 1;
    return ST_OK;
}

static enum status build_layer(struct ctx *ctx, struct net *net, int i, bool strict) {
    struct layer *l = &net->layer[i];
    const struct cfg_section *s = l->section = &net->doc->section[i + 1];
    l->index = i;
    l->ops = layer_find(s->type);
    if (!l->ops) return unknown_section(ctx, s);
    l->state = mem_zero(ctx, 1, l->ops->state_size);
    if (!l->state) return ST_MEMORY;
    TRY(keys_read(ctx, s, layer_common_keys, &l->common));
    TRY(keys_read(ctx, s, l->ops->keys, l->state));
    const struct cfg_key *tables[] = { l->ops->keys, layer_common_keys };
    TRY(keys_check_unused(ctx, s, tables, 2, strict));
    return l->ops->inputs ? l->ops->inputs(ctx, l) : default_input(ctx, l);
}

/* Keys of a layer that speak about those before it.  The last stopbackward=1 counts; later thaws rule over earlier ones. */
static void mark_prefixes(struct net *net) {
    uint64_t thaw = 0;
    bool only_bn = false;
    for (int i = net->n - 1; i >= 0; --i) {
        struct layer *l = &net->layer[i];
        uint64_t stop = (uint64_t)l->common.stopbackward;
        l->thaw = thaw;
        if (stop == 1) thaw = UINT64_MAX;
        else if (stop > thaw) thaw = stop;
        l->only_bn = only_bn |= l->common.train_only_bn != 0;
    }
}

static enum status build(struct ctx *ctx, struct net *net, bool strict) {
    TRY(net_options_read(ctx, net->doc, strict, &net->opt));
    int n = net->doc->n - 1;
    if (n == 0) return cfg_fail(ctx, &net->doc->section[0], NULL, "no layer follows");
    net->layer = mem_zero(ctx, (size_t)n, sizeof *net->layer);
    if (!net->layer) return ST_MEMORY;
    net->n = n;
    for (int i = 0; i < n; ++i) TRY(build_layer(ctx, net, i, strict));
    mark_prefixes(net);
    TRY(net_shapes(ctx, net));
    TRY(net_check_memory(ctx, net, "weights", (double)net->n_param * sizeof *net->param));
    net->param = mem_zero(ctx, net->n_param, sizeof *net->param);
    return net->param ? ST_OK : ST_MEMORY;
}

enum status net_open_doc(struct ctx *ctx, struct cfg_doc *doc, bool strict, struct net **out) {
    struct net *net = mem_zero(ctx, 1, sizeof *net);
    *out = NULL;
    if (!net) {
        cfg_free(doc);
        return ST_MEMORY;
    }
    net->doc = doc;
    net->header = (struct weights_header){ 0, 2, 5, true };
    enum status st = build(ctx, net, strict);
    if (st != ST_OK) {
        net_close(net);
        return st;
    }
    *out = net;
    return ST_OK;
}

enum status net_open(struct ctx *ctx, const char *cfg_path, bool strict, struct net **out) {
    struct cfg_doc *doc;
    *out = NULL;
    TRY(cfg_read(ctx, cfg_path, true, &doc));
    return net_open_doc(ctx, doc, strict, out);
}

enum status net_open_twin(struct ctx *ctx, const struct net *net, struct net **out) {
    char *text;
    size_t size;
    struct cfg_doc *doc;
    struct ctx quiet = { 0 }; /* what there is to say about this cfg was said when net was opened */
    *out = NULL;
    TRY(cfg_text(ctx, net->doc, &text, &size));
    enum status st = cfg_parse(ctx, net->doc->path, text, size, true, &doc);
    free(text);
    TRY(st);
    struct net *twin;
    st = net_open_doc(&quiet, doc, false, &twin);
    if (st == ST_OK) st = net_resize(&quiet, twin, net->opt.width, net->opt.height);
    if (st != ST_OK) ctx_fail(ctx, st, "%s", quiet.error);
    else if (twin->n_param != net->n_param) ctx_fail(ctx, ST_CFG, "%s: read a second time it is another network", net->doc->path);
    if (ctx->code != ST_OK) {
        net_close(twin);
        return ctx->code;
    }
    twin->opt.max_batches = net->opt.max_batches;
    twin->iteration = net->iteration;
    twin->checkpoint_activations = net->checkpoint_activations;
    twin->host_heads = net->host_heads;
    memcpy(twin->param, net->param, net->n_param * sizeof *net->param);
    *out = twin;
    return ST_OK;
}

void net_close(struct net *net) {
    if (!net) return;
    net_unbind(net);
    ranges_free(net);
    for (int i = 0; i < net->n; ++i) {
        struct layer *l = &net->layer[i];
        if (l->state) keys_free(l->ops->keys, l->state);
        free(l->state);
        free(l->in);
        free(l->in_shape);
    }
    free(net->layer);
    net_drop_param(net);
    net_options_free(&net->opt);
    cfg_free(net->doc);
    free(net);
}
