#include "prune/slice.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool removed(const struct channels *ch, const uint8_t *keep, int layer, int k) { return !keep[channels_group(ch, layer, k)]; }

/* The array of a role that goes with the weights in row w: a map's arrays begin with its biases.  NULL: it has none. */
static const struct param *companion(const struct layer *l, int w, enum param_role role) {
    int first = w;
    while (first > 0 && l->param[first].role != PARAM_BIAS) --first;
    for (int k = first; k < l->n_param && (k == first || l->param[k].role != PARAM_BIAS); ++k)
        if (l->param[k].role == role) return &l->param[k];
    return NULL;
}

/* Adds to row's bias (or takes from its rolling mean) what its weights make of the constants a[k] in their input's channels;
 * with `keep` those of removed channels only. */
static void absorb_row(const struct net *net, const struct layer *l, int row, const double *a, const int *group, const uint8_t *keep,
                       float *param) {
    const struct param *w = &l->param[row], *m = companion(l, row, PARAM_MEAN), *b = companion(l, row, PARAM_BIAS);
    int filters = w->dim[0], per_in = w->dim[1], per_out = filters / (l->in_shape[0].c / per_in);
    for (int f = 0; f < filters; ++f) {
        const float *wf = net->param + w->offset + (size_t)f * (size_t)per_in * (size_t)w->dim[2];
        double left = 0;
        for (int c = 0; c < per_in; ++c) {
            int k = f / per_out * per_in + c;
            if (keep && keep[group[k]]) continue;
            for (int j = 0; j < w->dim[2]; ++j) left += (double)wf[c * w->dim[2] + j] * a[k];
        }
        if (left == 0) continue;
        if (m) param[m->offset + (size_t)f] = (float)(param[m->offset + (size_t)f] - left);
        else param[b->offset + (size_t)f] = (float)(param[b->offset + (size_t)f] + left);
    }
}

/* Weights that several layers share have one bias: their owner's input decides. */
static bool compensated(const struct param *p) { return p->role == PARAM_WEIGHT && p->in_axis >= 0 && param_owned(p); }

void slice_compensate(const struct net *net, const struct channels *ch, const uint8_t *keep, const double *mean, float *param) {
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        if (!l->ops->reads || !l->ops->reads(l) || l->ops->head || l->in[0] == LAYER_INPUT) continue;
        int first = ch->first_node[l->in[0]];
        for (int k = 0; k < l->n_param; ++k)
            if (compensated(&l->param[k])) absorb_row(net, l, k, mean + first, ch->group_of + first, keep, param);
    }
}

void slice_absorb(const struct net *net, const struct layer *l, const double *constant, float *param) {
    for (int k = 0; k < l->n_param; ++k)
        if (l->param[k].role == PARAM_WEIGHT) absorb_row(net, l, k, constant, NULL, NULL, param);
}

/* Is index i of this axis kept?  An input axis runs over the channels of one group; the coupling keeps the same local
 * indices in every group. */
static bool axis_keeps(const struct channels *ch, const uint8_t *keep, const struct layer *l, const struct param *p, int axis, int i) {
    if (axis == p->out_axis) return !removed(ch, keep, l->index, i);
    if (axis == p->in_axis && l->in[0] != LAYER_INPUT) return !removed(ch, keep, l->in[0], i);
    return true;
}

static size_t slice_param(const struct channels *ch, const uint8_t *keep, const struct layer *l, const struct param *p, const float *from,
                          float *to, size_t room) {
    size_t n = 0;
    const float *v = from + p->offset;
    for (int a = 0; a < p->dim[0]; ++a)
        for (int b = 0; b < p->dim[1]; ++b)
            for (int c = 0; c < p->dim[2]; ++c, ++v) {
                if (!axis_keeps(ch, keep, l, p, 0, a) || !axis_keeps(ch, keep, l, p, 1, b) || !axis_keeps(ch, keep, l, p, 2, c)) continue;
                if (n < room) to[n] = *v;
                ++n;
            }
    return n;
}

static enum status slice_params(struct ctx *ctx, const struct net *net, const struct channels *ch, const uint8_t *keep, const float *param,
                                struct net *small) {
    for (int i = 0; i < net->n; ++i)
        for (int k = 0; k < net->layer[i].n_param; ++k) {
            const struct param *to = &small->layer[i].param[k];
            if (!param_owned(to)) continue;
            size_t n = slice_param(ch, keep, &net->layer[i], &net->layer[i].param[k], param, small->param + to->offset, param_count(to));
            if (n != param_count(to))
                return layer_fail(ctx, &net->layer[i], NULL, "%s: %zu values are kept but the new cfg needs %zu (a fault of this program)",
                                  to->name, n, param_count(to));
        }
    return ST_OK;
}

enum status slice_apply(struct ctx *ctx, const struct net *net, const struct channels *ch, const uint8_t *keep, const float *param,
                        struct net **out) {
    char *text = NULL;
    size_t size;
    struct cfg_doc *doc = NULL;
    int *kept = mem_zero(ctx, (size_t)net->n, sizeof *kept);
    *out = NULL;
    if (!kept) return ST_MEMORY;
    channels_widths(ch, keep, kept);
    enum status st = cfg_text(ctx, net->doc, &text, &size);
    if (st == ST_OK) st = cfg_parse(ctx, net->doc->path, text, size, true, &doc);
    for (int i = 0; i < net->n && st == ST_OK; ++i) {
        const struct layer *l = &net->layer[i];
        int in = l->in[0] == LAYER_INPUT ? net->opt.channels : kept[l->in[0]];
        if (l->ops->rewrite) st = l->ops->rewrite(ctx, l, in, kept[i], doc);
    }
    free(text), free(kept);
    if (st != ST_OK) {
        cfg_free(doc);
        return st;
    }
    st = net_open_doc(ctx, doc, false, out);
    if (st == ST_OK) {
        (*out)->seen = net->seen;
        st = slice_params(ctx, net, ch, keep, param, *out);
    }
    if (st != ST_OK) {
        net_close(*out);
        *out = NULL;
    }
    return st;
}

/* --- masked = pruned ------------------------------------------------------------------------------------------------ */

static size_t result_size(const struct net *net, int layer) {
    const struct layer *l = &net->layer[layer];
    return shape_count(l->ops->head ? l->in_shape[0] : l->out);
}

static void compare(const float *a, const float *b, size_t n, double *worst) {
    double most = 1e-12, difference = 0;
    for (size_t i = 0; i < n; ++i) {
        most = fmax(most, fabs((double)a[i]));
        difference = fmax(difference, fabs((double)a[i] - (double)b[i]));
        if (!isfinite(a[i]) || !isfinite(b[i])) difference = INFINITY;
    }
    *worst = fmax(*worst, difference / most);
}

enum status slice_compare(struct ctx *ctx, struct net *full, struct net *small, const int *number, const float *x, int count,
                          double *worst) {
    size_t image = (size_t)full->opt.channels * (size_t)full->opt.height * (size_t)full->opt.width;
    for (int i = 0; i < count; ++i) {
        TRY(net_forward(ctx, full, x + (size_t)i * image));
        TRY(net_forward(ctx, small, x + (size_t)i * image));
        int heads = 0;
        for (int h = 0; h < full->n; ++h) {
            if (!full->layer[h].ops->head) continue;
            compare(full->layer[h].head_x, small->layer[number ? number[h] : h].head_x, result_size(full, h), worst);
            ++heads;
        }
        if (heads) continue;
        int last = net_output_layer(full);
        size_t n = result_size(full, last);
        float *a = mem_zero(ctx, n, sizeof *a), *b = mem_zero(ctx, n, sizeof *b);
        if (a && b) {
            net_output(full, last, a);
            net_output(small, number ? number[last] : last, b);
            compare(a, b, n, worst);
        }
        free(a), free(b);
    }
    return ctx->code;
}

enum status slice_check(struct ctx *ctx, struct backend *be, struct net *full, const struct channels *ch, const uint8_t *keep,
                        const float *param, struct net *small, const float *x, int count, double *worst) {
    uint8_t *flags = mem_zero(ctx, (size_t)ch->n_node, 1);
    const uint8_t **mask = mem_zero(ctx, (size_t)full->n, sizeof *mask);
    float *own = mem_zero(ctx, full->n_param, sizeof *own);
    enum status st = ctx->code;
    *worst = 0;
    if (st == ST_OK) {
        for (int i = 0; i < ch->n_node; ++i) flags[i] = keep[ch->group_of[i]];
        for (int i = 0; i < full->n; ++i) mask[i] = full->layer[i].out.c ? flags + ch->first_node[i] : NULL;
        memcpy(own, full->param, full->n_param * sizeof *own);
        memcpy(full->param, param, full->n_param * sizeof *own);
        st = net_bind(ctx, full, be, NET_INFER, 1);
        full->mask = mask;
        if (st == ST_OK) st = net_bind(ctx, small, be, NET_INFER, 1);
        if (st == ST_OK) st = slice_compare(ctx, full, small, NULL, x, count, worst);
        net_unbind(full);
        net_unbind(small);
        full->mask = NULL;
        memcpy(full->param, own, full->n_param * sizeof *own);
    }
    free(flags), free(mask), free(own);
    return st;
}
