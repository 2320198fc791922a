/* [softmax]: p = softmax(x / temperature) over rows of its input, and cross-entropy with dense truth (darknet-compat 2.13).
 * A row is a run of the flattened input (one of `groups`, or a group of siblings of `tree`), or with spatial=1 the channels
 * of one cell.  x (N, C, H, W) -> y (N, C*H*W, 1, 1); spatial: as x. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/head.h"
#include "vision/word_tree.h"

struct softmax { int groups, spatial, noloss; double temperature; const char *tree; };

struct softmax_run {
    struct word_tree *tree; /* or NULL */
    float *p, *grad;        /* (batch, inputs): the output; room for the gradient */
};

static const struct cfg_key keys[] = {
    CFG_INT(struct softmax, groups, 1, 1, 1 << 20),
    CFG_FLOAT_IN(struct softmax, temperature, 1, 1e-6, 1e9),
    CFG_TEXT(struct softmax, tree),
    CFG_BOOL(struct softmax, spatial, 0),
    CFG_BOOL(struct softmax, noloss, 0),
    CFG_END
};

static int inputs_of(const struct layer *l) { return (int)shape_count(l->in_shape[0]); }

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)all, (void)net;
    const struct softmax *s = l->state;
    int n = inputs_of(l);
    if (s->tree && (s->spatial || s->groups != 1))
        return layer_fail(ctx, l, "tree", "a word tree has groups of its own, remove groups and spatial");
    if (!s->spatial && n % s->groups)
        return layer_fail(ctx, l, "groups", "%d does not divide the %d values of the layer before", s->groups, n);
    l->out = s->spatial ? l->in_shape[0] : (struct shape){ 1, n, 1, 1 };
    l->flops = 0;
    return ST_OK;
}

static enum status prepare(struct layer *l, struct pass *p) {
    const struct softmax *s = l->state;
    size_t n = (size_t)p->batch * (size_t)inputs_of(l);
    struct softmax_run *run = l->run = mem_zero(p->ctx, 1, sizeof *run);
    l->head_x = mem_zero(p->ctx, n, sizeof *l->head_x);
    if (!run || !l->head_x || !(run->p = mem_zero(p->ctx, n, sizeof *run->p))) return ST_MEMORY;
    if (p->mode != NET_INFER) {
        l->head_delta = mem_zero(p->ctx, n, sizeof *l->head_delta);
        run->grad = mem_zero(p->ctx, n, sizeof *run->grad);
        if (!l->head_delta || !run->grad) return ST_MEMORY;
    }
    return s->tree ? head_tree(p->ctx, l, s->tree, inputs_of(l), &run->tree) : ST_OK;
}

static void release(struct layer *l, struct backend *be) {
    (void)be;
    struct softmax_run *run = l->run;
    if (run) {
        word_tree_free(run->tree);
        free(run->p);
        free(run->grad);
    }
    free(run), free(l->head_x), free(l->head_delta);
    l->run = NULL;
    l->head_x = l->head_delta = NULL;
}

/* Row i of one image: n elements, `stride` apart, from `at` on. */
struct row { size_t at, stride; int n; };

static int rows_of(const struct layer *l) {
    const struct softmax *s = l->state;
    const struct softmax_run *run = l->run;
    if (run->tree) return run->tree->groups;
    return s->spatial ? l->in_shape[0].h * l->in_shape[0].w : s->groups;
}

static struct row row_of(const struct layer *l, int i) {
    const struct softmax *s = l->state;
    const struct softmax_run *run = l->run;
    struct shape in = l->in_shape[0];
    if (run->tree) return (struct row){ (size_t)run->tree->group_offset[i], 1, run->tree->group_size[i] };
    if (s->spatial) return (struct row){ (size_t)i, (size_t)in.h * (size_t)in.w, in.c };
    int n = inputs_of(l) / s->groups;
    return (struct row){ (size_t)i * (size_t)n, 1, n };
}

static enum status forward(struct layer *l, struct pass *p) {
    const struct softmax *s = l->state;
    struct softmax_run *run = l->run;
    p->be->ops->to_nchw(p->be, p->x[0], l->head_x);
    for (int b = 0, rows = rows_of(l); b < p->batch; ++b)
        for (int i = 0; i < rows; ++i) {
            struct row r = row_of(l, i);
            size_t at = (size_t)b * (size_t)inputs_of(l) + r.at;
            head_softmax(l->head_x + at, r.stride, r.n, s->temperature, run->p + at);
        }
    p->be->ops->from_nchw(p->be, run->p, p->y, false);
    return ST_OK;
}

/* grad += the gradient that readers of the output sent. */
static void add_readers(const struct layer *l, const struct pass *p, const float *dy, float *grad) {
    const struct softmax *s = l->state;
    const struct softmax_run *run = l->run;
    size_t inputs = (size_t)inputs_of(l);
    /* COMPAT: in training it is taken as the gradient of the input: [cost] behind [softmax] trains with p - t. */
    for (size_t i = 0; p->mode == NET_TRAIN && i < inputs * (size_t)p->batch; ++i) grad[i] += dy[i];
    if (p->mode == NET_TRAIN) return;
    for (int b = 0, rows = rows_of(l); b < p->batch; ++b)
        for (int i = 0; i < rows; ++i) {
            struct row r = row_of(l, i);
            size_t first = (size_t)b * inputs + r.at;
            double mean = 0;
            for (int k = 0; k < r.n; ++k) mean += (double)run->p[first + (size_t)k * r.stride] * dy[first + (size_t)k * r.stride];
            for (int k = 0; k < r.n; ++k) {
                size_t at = first + (size_t)k * r.stride;
                grad[at] += (float)(run->p[at] * (dy[at] - mean) / s->temperature);
            }
        }
}

static enum status backward(struct layer *l, struct pass *p) {
    struct softmax_run *run = l->run;
    size_t n = (size_t)p->batch * (size_t)inputs_of(l);
    if (!p->dx[0]) return ST_OK;
    float *dy = mem_zero(p->ctx, n, sizeof *dy);
    if (!dy) return ST_MEMORY;
    p->be->ops->to_nchw(p->be, p->dy, dy);
    memcpy(run->grad, l->head_delta, n * sizeof *dy);
    add_readers(l, p, dy, run->grad);
    p->be->ops->from_nchw(p->be, run->grad, p->dx[0], p->add[0]);
    free(dy);
    return ST_OK;
}

/* COMPAT: p - t, the derivative where a row's truth sums to 1 and temperature is 1; upstream leaves 1/temperature out. */
static enum status loss(struct ctx *ctx, struct layer *l, const struct loss_args *args, struct loss_stats *stats) {
    const struct softmax *s = l->state;
    const struct softmax_run *run = l->run;
    int n = inputs_of(l);
    *stats = (struct loss_stats){ .none = s->noloss || !l->head_delta };
    if (stats->none) return ST_OK;
    TRY(head_target(ctx, l, args, n));
    for (size_t i = 0; i < (size_t)n * (size_t)args->batch; ++i) {
        float t = args->target[i];
        l->head_delta[i] = t == TRUTH_IGNORED ? 0 : run->p[i] - t;
        if (t != 0 && t != TRUTH_IGNORED) stats->loss -= t * log(fmax(run->p[i], FLT_MIN));
    }
    return ST_OK;
}

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    channels_freeze(ch, l->in[0], "read by [softmax]");
    channels_freeze(ch, l->index, "probabilities");
}

static const struct word_tree *tree(const struct layer *l) {
    const struct softmax_run *run = l->run;
    return run ? run->tree : NULL;
}

static void describe(const struct layer *l, char *text, size_t size) {
    snprintf(text, size, "softmax                                        %4d", inputs_of(l));
}

const struct layer_ops softmax_ops = {
    .name = "softmax", .alias = "soft", .state_size = sizeof(struct softmax), .keys = keys, .shape = shape, .prepare = prepare,
    .forward = forward, .backward = backward, .release = release, .loss = loss, .couple = couple, .describe = describe, .tree = tree
};
