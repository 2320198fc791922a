#include "net/convert.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double EPSILON = 1e-5; /* of batch norm, inside the root */
enum { MAX_SETS = 16 };

/* --- Average -------------------------------------------------------------------------------------------- */

enum status convert_average(struct ctx *ctx, struct net *net, const char *const *weights, int n) {
    double *sum = mem_zero(ctx, net->n_param, sizeof *sum);
    uint64_t seen = 0;
    enum status st = sum ? ST_OK : ST_MEMORY;
    for (int i = 0; i < n && st == ST_OK; ++i) {
        st = net_load(ctx, net, weights[i], LOAD_WHOLE, NULL);
        if (i == 0) seen = net->seen;
        for (size_t k = 0; k < net->n_param && st == ST_OK; ++k) sum[k] += (double)net->param[k];
    }
    for (size_t k = 0; k < net->n_param && st == ST_OK; ++k) net->param[k] = (float)(sum[k] / n);
    net->seen = seen;
    free(sum);
    return st;
}

/* --- Batch norm ----------------------------------------------------------------------------------------- */

/* A layer's rows are sets that begin with their biases: (bias, scale, mean, variance, weights) of a convolution, (bias,
 * weights, scale, mean, variance) of a matrix; cells of recurrent layers follow one another. */
int convert_rows(const struct layer *l, struct norm_rows *rows, int cap) {
    int n = 0;
    for (int k = 0; k < l->n_param; ++k) {
        const struct param *p = &l->param[k];
        if (p->role == PARAM_BIAS && param_owned(p)) {
            if (n == cap) break;
            rows[n++] = (struct norm_rows){ k, -1, -1, -1, -1 };
        }
        if (n == 0 || !param_owned(p)) continue;
        struct norm_rows *r = &rows[n - 1];
        if (p->role == PARAM_WEIGHT && p->out_axis == 0 && r->weight < 0) r->weight = k;
        if (p->role == PARAM_SCALE) r->scale = k;
        if (p->role == PARAM_MEAN) r->mean = k;
        if (p->role == PARAM_VARIANCE) r->variance = k;
    }
    return n;
}

static bool foldable(const struct norm_rows *r) {
    return r->weight >= 0 && r->scale >= 0 && r->mean >= 0 && r->variance >= 0;
}

static float *row(const struct net *net, const struct layer *l, int k) { return net->param + l->param[k].offset; }

static void fill(float *x, size_t n, float value) {
    for (size_t i = 0; i < n; ++i) x[i] = value;
}

static void no_effect(const struct net *net, const struct layer *l, const struct norm_rows *r) {
    size_t n = param_count(&l->param[r->bias]);
    fill(row(net, l, r->scale), n, 1);
    fill(row(net, l, r->mean), n, 0);
    fill(row(net, l, r->variance), n, (float)(1 - EPSILON));
}

static void fold(const struct net *net, const struct layer *l, const struct norm_rows *r) {
    float *bias = row(net, l, r->bias), *weight = row(net, l, r->weight);
    const float *scale = row(net, l, r->scale), *mean = row(net, l, r->mean), *variance = row(net, l, r->variance);
    size_t n = param_count(&l->param[r->bias]), per = param_count(&l->param[r->weight]) / n;
    for (size_t i = 0; i < n; ++i) {
        double gain = (double)scale[i] / sqrt((double)variance[i] + EPSILON);
        for (size_t j = 0; j < per; ++j) weight[i * per + j] = (float)((double)weight[i * per + j] * gain);
        bias[i] = (float)((double)bias[i] - gain * (double)mean[i]);
    }
}

void convert_reset(struct net *net, int *folded) {
    struct norm_rows rows[MAX_SETS];
    *folded = 0;
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        for (int k = 0, n = convert_rows(l, rows, MAX_SETS); k < n; ++k) {
            if (!foldable(&rows[k])) continue;
            fold(net, l, &rows[k]);
            no_effect(net, l, &rows[k]);
            ++*folded;
        }
    }
}

static bool has_key(const struct layer_ops *ops, const char *name) {
    for (const struct cfg_key *k = ops->keys; k && k->name; ++k)
        if (strcmp(k->name, name) == 0) return k->type == CFG_T_BOOL || k->type == CFG_T_INT;
    return false;
}

static bool set_in(const struct cfg_section *s, const char *key) {
    const char *value = cfg_value(s, key);
    return value && strtol(value, NULL, 10) != 0;
}

/* The same cfg with batch_normalize=`value` where a section can have it. */
static enum status rewritten(struct ctx *ctx, const struct net *net, int value, struct net **out) {
    struct cfg_doc *doc;
    char *text;
    size_t size;
    TRY(cfg_text(ctx, net->doc, &text, &size));
    enum status st = cfg_parse(ctx, net->doc->path, text, size, true, &doc);
    free(text);
    TRY(st);
    for (int i = 0; i < net->n && st == ST_OK; ++i) {
        const struct cfg_section *section = net->layer[i].section;
        bool blended = set_in(section, "cbn"), on = blended || set_in(section, "batch_normalize");
        if (!has_key(net->layer[i].ops, "batch_normalize") || on == (value != 0)) continue;
        st = cfg_set_int(ctx, doc, i + 1, "batch_normalize", value);
        if (st == ST_OK && blended) st = cfg_set_int(ctx, doc, i + 1, "cbn", 0);
    }
    if (st == ST_OK) return net_open_doc(ctx, doc, false, out);
    cfg_free(doc);
    return st;
}

static void copy_row(const struct net *from, const struct layer *a, int k, const struct net *to, const struct layer *b, int j) {
    memcpy(row(to, b, j), row(from, a, k), param_count(&a->param[k]) * sizeof(float));
}

/* Arrays that belong to no set (a shortcut's weights, say) have the same rows in both. */
static void copy_other_rows(const struct net *from, const struct layer *a, const struct net *to, const struct layer *b) {
    for (int k = 0; k < a->n_param && a->n_param == b->n_param; ++k)
        if (param_owned(&a->param[k])) copy_row(from, a, k, to, b, k);
}

static void copy_layer(const struct net *from, const struct net *to, int i, int *changed) {
    const struct layer *a = &from->layer[i], *b = &to->layer[i];
    struct norm_rows x[MAX_SETS], y[MAX_SETS];
    int n = convert_rows(a, x, MAX_SETS);
    copy_other_rows(from, a, to, b);
    if (a->n_param == b->n_param || n != convert_rows(b, y, MAX_SETS)) return;
    for (int k = 0; k < n; ++k) {
        copy_row(from, a, x[k].bias, to, b, y[k].bias);
        if (x[k].weight >= 0 && y[k].weight >= 0) copy_row(from, a, x[k].weight, to, b, y[k].weight);
        if (foldable(&y[k])) no_effect(to, b, &y[k]);
        ++*changed;
    }
}

static enum status renormalized(struct ctx *ctx, const struct net *net, int value, struct net **out, int *changed) {
    *changed = 0;
    TRY(rewritten(ctx, net, value, out));
    for (int i = 0; i < net->n; ++i) copy_layer(net, *out, i, changed);
    (*out)->seen = net->seen;
    return ST_OK;
}

enum status convert_denormalize(struct ctx *ctx, struct net *net, struct net **out, int *folded) {
    int changed;
    convert_reset(net, folded);
    return renormalized(ctx, net, 0, out, &changed);
}

enum status convert_normalize(struct ctx *ctx, const struct net *net, struct net **out, int *added) {
    return renormalized(ctx, net, 1, out, added);
}

/* --- Input ---------------------------------------------------------------------------------------------- */

static enum status first_convolution(struct ctx *ctx, const struct net *net, const struct layer **l, struct norm_rows *rows) {
    *l = &net->layer[0];
    bool colour = strcmp((*l)->ops->name, "convolutional") == 0 && (*l)->in_shape[0].c == 3 &&
                  convert_rows(*l, rows, 1) == 1 && rows->weight >= 0 && (*l)->param[rows->weight].in_axis == 1 &&
                  (*l)->param[rows->weight].dim[1] == 3;
    if (colour) return ST_OK;
    return ctx_fail(ctx, ST_UNSUPPORTED, "%s: the first layer must be a [convolutional] over 3 channels", net->doc->path);
}

/* w(2x - 1) = 2w x - sum(w): twice the weights, and the sum goes to where the constant stands: the mean under batch norm (to
 * the bias, as Darknet has it, would be wrong by the gain), else the bias. */
enum status convert_rescale(struct ctx *ctx, struct net *net) {
    const struct layer *l;
    struct norm_rows r;
    TRY(first_convolution(ctx, net, &l, &r));
    float *weight = row(net, l, r.weight), *constant = row(net, l, r.mean >= 0 ? r.mean : r.bias);
    size_t n = param_count(&l->param[r.bias]), per = param_count(&l->param[r.weight]) / n;
    for (size_t i = 0; i < n; ++i) {
        double sum = 0;
        for (size_t j = 0; j < per; ++j) {
            sum += (double)weight[i * per + j];
            weight[i * per + j] *= 2;
        }
        constant[i] = (float)((double)constant[i] + (r.mean >= 0 ? sum : -sum));
    }
    return ST_OK;
}

enum status convert_swap_channels(struct ctx *ctx, struct net *net) {
    const struct layer *l;
    struct norm_rows r;
    TRY(first_convolution(ctx, net, &l, &r));
    const struct param *p = &l->param[r.weight];
    size_t cells = (size_t)p->dim[2];
    float *w = row(net, l, r.weight);
    for (int i = 0; i < p->dim[0]; ++i, w += 3 * cells)
        for (size_t j = 0; j < cells; ++j) {
            float red = w[j];
            w[j] = w[2 * cells + j];
            w[2 * cells + j] = red;
        }
    return ST_OK;
}

/* --- A classifier's last layer in a detector ------------------------------------------------------------ */

/* The cfg up to layer `last`, whose filters become `filters`. */
static enum status cut_cfg(struct ctx *ctx, const struct net *net, int last, int filters, struct net **out) {
    struct cfg_doc *doc;
    char *text;
    size_t size, keep = 0;
    TRY(cfg_text(ctx, net->doc, &text, &size));
    for (int line = 1; line < net->layer[last + 1].section->line; ++line)
        keep += strlen(net->doc->text[line - 1]) + strlen(net->doc->eol[line - 1]);
    enum status st = cfg_parse(ctx, net->doc->path, text, keep, true, &doc);
    free(text);
    TRY(st);
    st = cfg_set_int(ctx, doc, last + 1, "filters", filters);
    if (st == ST_OK) return net_open_doc(ctx, doc, false, out);
    cfg_free(doc);
    return st;
}

static void spread(const struct net *from, const struct net *to, int layer, int anchors, int classes) {
    enum { BEFORE_CLASSES = 5 };
    const struct layer *a = &from->layer[layer], *b = &to->layer[layer];
    for (int k = 0; k < a->n_param; ++k) {
        size_t per = param_count(&a->param[k]) / (size_t)classes;
        for (int i = 0; i < anchors; ++i)
            memcpy(row(to, b, k) + (size_t)(i * (BEFORE_CLASSES + classes) + BEFORE_CLASSES) * per, row(from, a, k),
                   (size_t)classes * per * sizeof(float));
    }
}

enum status convert_classifier(struct ctx *ctx, struct net *net, const char *weights, int *classes) {
    struct head_info info = { 0 };
    int head = net->n - 1, anchors;
    while (head >= 0 && !net->layer[head].ops->head) --head;
    if (head < 1 || net->layer[head].in[0] != head - 1 || strcmp(net->layer[head - 1].ops->name, "convolutional") != 0)
        return ctx_fail(ctx, ST_UNSUPPORTED, "%s: needs a detection head right behind a [convolutional]", net->doc->path);
    const struct layer *conv = &net->layer[head - 1];
    net->layer[head].ops->head->info(&net->layer[head], &info);
    *classes = info.classes;
    anchors = conv->out.c / (info.classes + 5);
    if (anchors * (info.classes + 5) != conv->out.c)
        return layer_fail(ctx, conv, "filters", "%d is no multiple of 5 + the %d classes of the head behind", conv->out.c,
                          info.classes);
    struct net *classifier;
    TRY(cut_cfg(ctx, net, head - 1, info.classes, &classifier));
    enum status st = net_load(ctx, classifier, weights, LOAD_WHOLE, NULL);
    for (int i = 0; i < head - 1 && st == ST_OK; ++i)
        for (int k = 0; k < net->layer[i].n_param; ++k)
            if (param_owned(&net->layer[i].param[k])) copy_row(classifier, &classifier->layer[i], k, net, &net->layer[i], k);
    if (st == ST_OK) spread(classifier, net, head - 1, anchors, info.classes);
    net->seen = 0;
    net_close(classifier);
    return st;
}
