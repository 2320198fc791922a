/* [contrastive]: draws embeddings of one label together and pushes those of others apart (darknet-compat 2.13).
 * With yolo_layer: an embedding per anchor and cell, x (N, n*E, H, W); labels are the tracks that the [yolo] assigned in this
 * batch, and only objects of one class meet.  Without: one embedding per image, x (N, E, 1, 1); labels are its classes, or
 * without any the pair of images it belongs to.  No output tensor. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layers/head.h"

extern const struct layer_ops yolo_ops;

struct contrastive {
    int classes, yolo_layer, contrastive_neg_max;
    double temperature, cls_normalizer, max_delta;
    double threshold;          /* [net] label_smooth_eps: a class counts when its truth is above */
    const struct layer *yolo;  /* or NULL */
    int n;                     /* embeddings per cell */
};

static const struct cfg_key keys[] = {
    CFG_INT(struct contrastive, classes, 1000, 1, 1 << 20),
    CFG_INT(struct contrastive, yolo_layer, 0, -(1 << 20), 1 << 20),
    CFG_FLOAT_IN(struct contrastive, temperature, 1, 1e-3, 1e9),
    CFG_FLOAT(struct contrastive, cls_normalizer, 1),
    CFG_FLOAT(struct contrastive, max_delta, FLT_MAX),
    CFG_INT(struct contrastive, contrastive_neg_max, 3, 1, 1 << 20),
    CFG_END
};

/* --- Layer -------------------------------------------------------------------------------------------------------------- */

static enum status find_yolo(struct ctx *ctx, struct layer *l, const struct layer *all) {
    struct contrastive *c = l->state;
    int at = c->yolo_layer < 0 ? l->index + c->yolo_layer : c->yolo_layer;
    struct head_info info;
    c->yolo = NULL;
    c->n = 1;
    if (at == 0) return ST_OK;
    if (at < 0 || at >= l->index || all[at].ops != &yolo_ops)
        return layer_fail(ctx, l, "yolo_layer", "%d names layer %d, which is no [yolo] before this one", c->yolo_layer, at);
    const struct layer *yolo = &all[at];
    struct shape in = l->in_shape[0], grid = yolo->in_shape[0];
    yolo->ops->head->info(yolo, &info);
    if (in.w != grid.w || in.h != grid.h)
        return layer_fail(ctx, l, "yolo_layer", "layer %d is %d x %d, but the embeddings are %d x %d", at, grid.w, grid.h, in.w, in.h);
    c->n = info.predictions / (grid.w * grid.h);
    if (info.embedding * c->n != in.c)
        return layer_fail(ctx, l, "yolo_layer", "layer %d has %d x %d values of embedding per cell, the layer before has %d; both must "
                          "read the layer that embedding_layer names", at, c->n, info.embedding, in.c);
    c->yolo = yolo;
    return ST_OK;
}

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    struct contrastive *c = l->state;
    struct shape in = l->in_shape[0];
    c->threshold = net ? net->label_smooth_eps : 0;
    TRY(find_yolo(ctx, l, all));
    if (!c->yolo && (in.w != 1 || in.h != 1))
        return layer_fail(ctx, l, NULL, "the layer before is %d x %d; one embedding per image is 1 x 1 (or give yolo_layer=)", in.w, in.h);
    l->out = (struct shape){ 1, 0, in.h, in.w };
    l->flops = 0;
    return ST_OK;
}

static enum status prepare(struct layer *l, struct pass *p) { return head_prepare(l, p, 0, NULL); }

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    channels_freeze(ch, l->in[0], "read by [contrastive]");
}

static void describe(const struct layer *l, char *text, size_t size) {
    const struct contrastive *c = l->state;
    struct shape in = l->in_shape[0];
    snprintf(text, size, "contrastive %4d x%4d x%4d x emb_size %4d  classes = %4d", in.w, in.h, c->n, in.c / c->n, c->classes);
}

/* --- Samples --------------------------------------------------------------------------------------------------------------- */

/* One labelled embedding: z[0], z[plane], ... */
struct sample { int label, class_id, step; size_t at; double length, same, other; /* largest similarity to either kind */ };

struct set {
    const struct contrastive *c;
    const float *x;
    size_t plane;
    int size, n;              /* values per embedding; samples */
    struct sample *s;
    double *sim, *p;          /* (n, n): cosine; probability that the pair belongs together; sim > 1: no pair */
};

enum { NO_PAIR = 2 };

static int image_label(const struct contrastive *c, const struct loss_args *a, int image) {
    int label = a->adversarial ? image % 2 : image / 2;
    for (int k = 0; a->target && k < c->classes; ++k)
        if (a->target[image * a->target_size + k] > c->threshold) label = k;
    return label;
}

static void collect(struct set *set, const struct layer *l, const struct loss_args *a) {
    const struct contrastive *c = l->state;
    const struct head_run *yolo = c->yolo ? c->yolo->run : NULL;
    struct shape in = l->in_shape[0];
    int cells = c->n * in.h * in.w, frames = a->batch / (a->steps > 1 ? a->steps : 1);
    for (int i = 0; i < a->batch * cells; ++i) {
        int image = i / cells, anchor = i % cells / (in.h * in.w);
        struct sample s = { .label = c->yolo ? yolo->label[i] : image_label(c, a, image), .class_id = c->yolo ? yolo->label_class[i] : 0,
                            .step = image / frames, .same = -NO_PAIR, .other = -NO_PAIR };
        if (s.label < 0) continue;
        s.at = (size_t)image * shape_count(in) + (size_t)(anchor * set->size) * set->plane + (size_t)(i % (in.h * in.w));
        for (int k = 0; k < set->size; ++k) s.length += pow(set->x[s.at + (size_t)k * set->plane], 2);
        s.length = sqrt(s.length);
        if (set->s) set->s[set->n] = s;
        ++set->n;
    }
}

static double cosine(const struct set *set, const struct sample *a, const struct sample *b) {
    double dot = 0;
    for (size_t k = 0; k < (size_t)set->size; ++k) dot += (double)set->x[a->at + k * set->plane] * set->x[b->at + k * set->plane];
    return a->length > 0 && b->length > 0 ? dot / (a->length * b->length) : 0;
}

static double weight(const struct set *set, double sim) { return sim > 1.5 ? 0 : exp(sim / set->c->temperature); }

/* p(i, j) = e_ij / sum over k != i, j of e_kj, e = exp(sim / temperature).  Upstream does not bound it for classifiers, where it
 * then drives near pairs apart. */
static void compare(struct set *set) {
    int n = set->n;
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < n; ++j) {
            struct sample *a = &set->s[i], *b = &set->s[j];
            double *sim = &set->sim[(size_t)i * (size_t)n + (size_t)j];
            *sim = NO_PAIR;
            if (i == j || a->class_id != b->class_id || a->step != b->step) continue;
            *sim = fmin(1, cosine(set, a, b));
            if (a->label == b->label) a->same = fmax(a->same, *sim);
            else a->other = fmax(a->other, *sim);
        }
    for (int j = 0; j < n; ++j) {
        double sum = 0;
        for (int k = 0; k < n; ++k) sum += weight(set, set->sim[(size_t)k * (size_t)n + (size_t)j]);
        for (int i = 0; i < n; ++i) {
            size_t at = (size_t)i * (size_t)n + (size_t)j;
            double own = weight(set, set->sim[at]), rest = sum - own;
            set->p[at] = rest > 1e-12 * sum && own <= rest ? own / rest : own > 0 ? .9999 : 0;
        }
    }
}

/* --- Loss -------------------------------------------------------------------------------------------------------------------- */

/* delta of i += f * (z_j - sim * z_i).  COMPAT: the derivative of the cosine only for embeddings of one length. */
static void pull(const struct set *set, int i, int j, double f, float *delta) {
    const struct sample *a = &set->s[i], *b = &set->s[j];
    double sim = set->sim[(size_t)i * (size_t)set->n + (size_t)j];
    for (size_t k = 0; k < (size_t)set->size; ++k)
        delta[a->at + k * set->plane] += (float)(f * (set->x[b->at + k * set->plane] - sim * set->x[a->at + k * set->plane]));
}

/* Pushes i away from the others, once per partner j; of a [yolo]'s samples from the first few of other labels. */
static void push(const struct set *set, int i, double f, float *delta) {
    int pushed = 0;
    for (int j = 0; j < set->n; ++j) {
        if (j == i || set->s[j].label != set->s[i].label) continue;
        for (int k = 0; k < set->n; ++k) {
            size_t at = (size_t)i * (size_t)set->n + (size_t)k;
            if (k == i || k == j || set->sim[at] > 1.5) continue;
            if (set->c->yolo && (set->s[k].label == set->s[i].label || set->s[k].class_id != set->s[j].class_id)) continue;
            pull(set, i, k, -f * set->p[at], delta);
            if (set->c->yolo && ++pushed >= set->c->contrastive_neg_max) return;
        }
    }
}

static void deltas_of(const struct set *set, int i, float *delta) {
    int partners = 0;
    for (int j = 0; j < set->n; ++j) partners += j != i && set->s[j].label == set->s[i].label;
    if (!partners || !(set->s[i].length > 0)) return;
    double f = 1 / (partners * set->c->temperature * set->s[i].length);
    for (int j = 0; j < set->n; ++j) {
        size_t at = (size_t)i * (size_t)set->n + (size_t)j;
        if (j != i && set->s[j].label == set->s[i].label && set->sim[at] < 1.5) pull(set, i, j, f * (1 - set->p[at]), delta);
    }
    push(set, i, f, delta);
}

static void summarise(const struct set *set, bool adversarial, struct loss_stats *stats) {
    int all = 0, good = 0;
    for (int i = 0; i < set->n; ++i) {
        if (set->s[i].same < -1 || set->s[i].other < -1) continue;
        ++all;
        good += set->s[i].other < set->s[i].same;
    }
    snprintf(stats->line, sizeof stats->line,
             " Contrast accuracy = %f %%, all = %d, good = %d, same = %d, diff = %d \n %scontrastive loss = %f \n",
             all ? 100. * good / all : -1., all, good, all, all, adversarial ? "adversarial " : "", stats->loss);
}

static enum status loss(struct ctx *ctx, struct layer *l, const struct loss_args *args, struct loss_stats *stats) {
    const struct contrastive *c = l->state;
    const struct head_run *yolo = c->yolo ? c->yolo->run : NULL;
    struct shape in = l->in_shape[0];
    size_t count = (size_t)args->batch * shape_count(in);
    *stats = (struct loss_stats){ .none = !l->head_delta || (c->yolo && !yolo->label) };
    if (stats->none) return ST_OK;
    if (!c->yolo && args->target) TRY(head_target(ctx, l, args, c->classes));
    struct set set = { .c = c, .x = l->head_x, .plane = (size_t)in.h * (size_t)in.w, .size = in.c / c->n };
    collect(&set, l, args); /* counts */
    size_t n = (size_t)set.n;
    set.s = mem_zero(ctx, n, sizeof *set.s);
    set.sim = mem_zero(ctx, n * n, sizeof *set.sim);
    set.p = mem_zero(ctx, n * n, sizeof *set.p);
    memset(l->head_delta, 0, count * sizeof *l->head_delta);
    if (ctx->code == ST_OK) {
        set.n = 0;
        collect(&set, l, args);
        compare(&set);
        for (int i = 0; i < set.n; ++i) deltas_of(&set, i, l->head_delta);
        for (size_t i = 0; i < count; ++i) {
            double d = fmax(-c->max_delta, fmin(c->max_delta, c->cls_normalizer * l->head_delta[i]));
            stats->loss += d * d;
            l->head_delta[i] = (float)-d;
        }
        summarise(&set, args->adversarial, stats);
    }
    free(set.s), free(set.sim), free(set.p);
    return ctx->code;
}

const struct layer_ops contrastive_ops = {
    .name = "contrastive", .state_size = sizeof(struct contrastive), .keys = keys, .shape = shape, .prepare = prepare,
    .forward = head_forward, .backward = head_backward, .release = head_release, .loss = loss, .only_loss = true, .couple = couple,
    .describe = describe
};
