#include "prune/blocks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "prune/saliency_shards.h"
#include "prune/utility.h"

struct saliency_options saliency_defaults(void) {
    return (struct saliency_options){ .utility = UTILITY_DETECTION, .kappa = 4, .background_guard = 0.1, .context = 0.5,
                                      .background = 0.02, .form = FORM_ABS, .balance = BALANCE_SIZE, .normalize = NORMALIZE_NONE,
                                      .centred = true, .batch = 8, .seed = 1 };
}

enum { BIN_SMALL, BIN_MEDIUM, BIN_LARGE, BIN_GUARD, BINS };

/* One vote: the responses of all groups to one object (or to the background of one image). */
struct vote { float *t; double total; int bin, image; };

/* saliency_rows of one image at one resolution. */
struct grid { int image, w, h; float *rows; };

struct scoring {
    struct ctx *ctx;
    struct net *net;
    const struct channels *ch;
    const struct saliency_options *opt;
    const double *mean;
    int columns;                   /* groups, then blocks: what one vote is about */
    int *block_of, *column;        /* per layer: column of the block that ends here, or 0; the columns of a tensor's channels */
    size_t column_cap;
    /* the batch at work */
    int valid, first_image;
    struct truth_list *truth;      /* per image of the batch */
    float *target;                 /* target_size values per image of the batch; NULL: boxes are all there is */
    int target_size;
    double **t;                    /* per image: (objects + 1) rows of `columns` */
    double *dot, *sum;
    size_t dot_cap, sum_cap, grid_cap;
    struct grid *grid;             /* rows of weights at every resolution met in this batch */
    int n_grid;
    /* the backward pass at work */
    bool by_object, by_loss;
    struct loss_evidence *loss;    /* NULL: not wanted */
    double *loss_t;                /* per image of the batch: n_group responses to the loss */
    /* all votes so far */
    struct vote *vote;
    size_t n_vote, vote_cap;
};

static size_t image_floats(const struct net *net) {
    return (size_t)net->opt.channels * (size_t)net->opt.height * (size_t)net->opt.width;
}

/* --- reading images in batches ------------------------------------------------------------------------------------ */

static enum status fill_batch(struct ctx *ctx, const struct net *net, const struct score_source *src, int first, int valid,
                              float *x, struct truth_list *truth, float *target) {
    for (int b = 0; b < valid; ++b) {
        struct score_image im;
        if (src->stop && *src->stop) return ctx_fail(ctx, ST_INTERRUPTED, "interrupted; nothing was written");
        TRY(src->get(src->user, ctx, first + b, &im));
        memcpy(x + (size_t)b * image_floats(net), im.x, image_floats(net) * sizeof *x);
        if (target && im.target) memcpy(target + (size_t)b * (size_t)src->target_size, im.target, (size_t)src->target_size * sizeof *target);
        if (!truth) continue;
        size_t cap = (size_t)truth[b].cap;
        TRY(mem_grow(ctx, &truth[b].item, &cap, (size_t)im.truth.n, sizeof *truth[b].item));
        truth[b].cap = (int)cap;
        truth[b].n = 0;
        for (int k = 0; k < im.truth.n; ++k)
            if (im.truth.item[k].box.w > 0 && im.truth.item[k].box.h > 0) truth[b].item[truth[b].n++] = im.truth.item[k];
    }
    return ST_OK;
}

static void report(const struct score_source *src, const char *phase, int done) {
    if (src->progress) src->progress(src->progress_user, phase, done, src->count);
}

/* --- mean activations ----------------------------------------------------------------------------------------------- */

static enum status add_means(struct net *net, const struct channels *ch, const bool *wanted, int valid, double *mean) {
    for (int i = 0; i < net->n; ++i) {
        if (!wanted[i]) continue;
        struct tensor view = net->y[i];
        view.n = valid;
        net->be->ops->channel_sum(net->be, &view, mean + ch->first_node[i]);
    }
    return ST_OK;
}

static enum status means_of_batches(struct ctx *ctx, struct net *net, const struct channels *ch, const struct score_source *src,
                                    const bool *wanted, float *x, double *mean) {
    for (int first = 0; first < src->count; first += net->batch) {
        int valid = src->count - first < net->batch ? src->count - first : net->batch;
        TRY(fill_batch(ctx, net, src, first, valid, x, NULL, NULL));
        TRY(net_forward(ctx, net, x));
        TRY(add_means(net, ch, wanted, valid, mean));
        report(src, "mean activations", first + valid);
    }
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        double n = (double)src->count * l->out.h * l->out.w;
        for (int k = ch->first_node[i]; wanted[i] && k < ch->first_node[i + 1]; ++k) mean[k] /= n;
    }
    return ST_OK;
}

enum status saliency_means(struct ctx *ctx, struct net *net, struct backend *be, const struct channels *ch,
                           const struct score_source *src, int batch, double *mean) {
    if (src->count < 1) return ctx_fail(ctx, ST_USAGE, "no images to measure mean activations on");
    bool *wanted = mem_zero(ctx, (size_t)net->n, sizeof *wanted);
    if (!wanted) return ST_MEMORY;
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        if (l->ops->reads && l->ops->reads(l) && !l->ops->head && l->in[0] != LAYER_INPUT) wanted[l->in[0]] = true;
        for (int k = 0; k < l->n_in && !strcmp(l->ops->name, "shortcut"); ++k) wanted[l->in[k]] = true; /* of branches */
    }
    memset(mean, 0, (size_t)ch->n_node * sizeof *mean);
    enum status st = net_bind(ctx, net, be, NET_SCORE, batch < src->count ? batch : src->count);
    float *x = st == ST_OK ? mem_zero(ctx, (size_t)net->batch * image_floats(net), sizeof *x) : NULL;
    if (x) st = means_of_batches(ctx, net, ch, src, wanted, x, mean);
    net_unbind(net);
    free(x), free(wanted);
    return ctx->code != ST_OK ? ctx->code : st;
}

/* --- what is differentiated ---------------------------------------------------------------------------------------------- */

/* U = -loss: plain Taylor on what training minimises.  The places of the batch that hold no image give nothing. */
static enum status seed_loss(struct scoring *s) {
    double loss;
    struct net_truth truth = { .boxes = s->truth, .target = s->target, .target_size = s->target_size };
    TRY(net_loss(s->ctx, s->net, &truth, &loss, NULL));
    for (int i = 0; i < s->net->n; ++i) {
        struct layer *l = &s->net->layer[i];
        size_t per = l->head_delta ? shape_count(l->in_shape[0]) : 0, n = (size_t)s->valid * per;
        for (size_t k = 0; k < n; ++k) l->head_delta[k] = -l->head_delta[k];
        if (per) memset(l->head_delta + n, 0, ((size_t)s->net->batch * per - n) * sizeof *l->head_delta);
    }
    return ST_OK;
}

/* --- responses ------------------------------------------------------------------------------------------------------- */

static void forget_grids(struct scoring *s) {
    for (int i = 0; i < s->n_grid; ++i) free(s->grid[i].rows);
    s->n_grid = 0;
}

/* Layers of one resolution share the rows of an image. */
static enum status rows_at(struct scoring *s, const struct pass *p, int image, int w, int h, const float **rows) {
    int k = s->truth[image].n;
    for (int i = 0; i < s->n_grid; ++i)
        if (s->grid[i].image == image && s->grid[i].w == w && s->grid[i].h == h) return *rows = s->grid[i].rows, ST_OK;
    TRY(mem_grow(p->ctx, &s->grid, &s->grid_cap, (size_t)s->n_grid + 1, sizeof *s->grid));
    struct grid *g = &s->grid[s->n_grid];
    *g = (struct grid){ .image = image, .w = w, .h = h };
    g->rows = mem_zero(p->ctx, (size_t)(k + 2) * (size_t)w * (size_t)h, sizeof *g->rows);
    if (!g->rows) return ST_MEMORY;
    ++s->n_grid;
    saliency_rows(s->truth[image].item, k, w, h, p->net_w, p->net_h, s->opt->context, s->opt->background, g->rows);
    *rows = g->rows;
    return ST_OK;
}

/* s->dot and s->sum of n rows of weights, each value of dot less the mean times that of sum where responses are centred. */
static enum status respond_to_rows(struct scoring *s, struct pass *p, int image, const float *rows, int n, bool elementwise, const double *mean,
                                   const struct tensor *x, const struct tensor *dx) {
    size_t c = (size_t)x->c, all = (size_t)n * c;
    TRY(mem_grow(p->ctx, &s->dot, &s->dot_cap, all, sizeof *s->dot));
    TRY(mem_grow(p->ctx, &s->sum, &s->sum_cap, all, sizeof *s->sum));
    memset(s->dot, 0, all * sizeof *s->dot);
    memset(s->sum, 0, all * sizeof *s->sum);
    if (elementwise) {
        p->be->ops->channel_abs_dot(p->be, x, dx, image, n, rows, s->opt->centred ? mean : NULL, s->dot);
        return ST_OK;
    }
    p->be->ops->channel_dot(p->be, x, dx, image, n, rows, s->dot, s->sum);
    for (size_t o = 0; s->opt->centred && o < (size_t)n; ++o)
        for (size_t i = 0; i < c; ++i) s->dot[o * c + i] -= mean[i] * s->sum[o * c + i];
    return ST_OK;
}

/* Adds to every object's responses: channel i of x, with gradient dx, belongs to column[i]. */
static enum status respond_to_objects(struct scoring *s, struct pass *p, const int *column, const double *mean, const struct tensor *x,
                                      const struct tensor *dx) {
    int c = x->c;
    for (int b = 0; b < s->valid; ++b) {
        int k = s->truth[b].n;
        const float *rows;
        TRY(rows_at(s, p, b, x->w, x->h, &rows));
        TRY(respond_to_rows(s, p, b, rows, k + 2, s->opt->form == FORM_ELEMENTWISE, mean, x, dx));
        const double *everywhere = s->dot + (size_t)(k + 1) * (size_t)c;
        for (int o = 0; o <= k; ++o) {
            double *t = s->t[b] + (size_t)o * (size_t)s->columns, share = o < k ? (double)(float)s->opt->background : 1;
            const double *dot = s->dot + (size_t)o * (size_t)c;
            for (int i = 0; i < c; ++i) t[column[i]] += dot[i] + share * everywhere[i];
        }
    }
    return ST_OK;
}

static enum status respond_to_loss(struct scoring *s, struct pass *p, const int *column, const double *mean, const struct tensor *x,
                                   const struct tensor *dx) {
    for (int b = 0; b < s->valid; ++b) {
        const float *rows;
        TRY(rows_at(s, p, b, x->w, x->h, &rows));
        TRY(respond_to_rows(s, p, b, rows + (size_t)(s->truth[b].n + 1) * (size_t)x->h * (size_t)x->w, 1, false, mean, x, dx));
        double *t = s->loss_t + (size_t)b * (size_t)s->columns;
        for (int i = 0; i < x->c; ++i) t[column[i]] += s->dot[i];
    }
    return ST_OK;
}

/* A block's branch, where it joins the sum: all its channels are one variable. */
static enum status respond_joint(void *user, struct pass *p, const struct layer *l, const struct tensor *dsum) {
    struct scoring *s = user;
    int column = s->block_of[l->index];
    if (!column) return ST_OK;
    int branch = s->opt->blocks->item[column - s->ch->n_group].branch;
    struct tensor x = *p->x[l->in[1] == branch], dx = *dsum;
    x.c = dx.c = x.c < dx.c ? x.c : dx.c;
    TRY(mem_grow(p->ctx, &s->column, &s->column_cap, (size_t)x.c, sizeof *s->column));
    for (int k = 0; k < x.c; ++k) s->column[k] = column;
    const double *mean = s->mean + s->ch->first_node[branch];
    if (s->by_object) TRY(respond_to_objects(s, p, s->column, mean, &x, &dx));
    return s->by_loss ? respond_to_loss(s, p, s->column, mean, &x, &dx) : ST_OK;
}

static enum status respond(void *user, struct pass *p, const struct layer *l, const struct tensor *x, const struct tensor *dx) {
    struct scoring *s = user;
    int first = s->ch->first_node[l->in[0]];
    if (s->by_object) TRY(respond_to_objects(s, p, s->ch->group_of + first, s->mean + first, x, dx));
    return s->by_loss ? respond_to_loss(s, p, s->ch->group_of + first, s->mean + first, x, dx) : ST_OK;
}

static int bin_of(const struct net *net, struct box b) {
    double area = (double)b.w * net->opt.width * (double)b.h * net->opt.height;
    return area < 32 * 32 ? BIN_SMALL : area < 96 * 96 ? BIN_MEDIUM : BIN_LARGE;
}

static enum status cast_votes(struct scoring *s) {
    int n = s->columns;
    for (int b = 0; b < s->valid; ++b)
        for (int o = 0; o <= s->truth[b].n; ++o) {
            bool guard = o == s->truth[b].n;
            if (guard && (s->opt->background_guard <= 0 || s->opt->utility == UTILITY_LOSS)) continue;
            TRY(mem_grow(s->ctx, &s->vote, &s->vote_cap, s->n_vote + 1, sizeof *s->vote));
            struct vote *v = &s->vote[s->n_vote++];
            const double *t = s->t[b] + (size_t)o * (size_t)n;
            v->image = s->first_image + b;
            v->bin = guard ? BIN_GUARD : bin_of(s->net, s->truth[b].item[o].box);
            v->total = 0;
            v->t = mem_zero(s->ctx, (size_t)n, sizeof *v->t);
            if (!v->t) return ST_MEMORY;
            for (int g = 0; g < n; ++g) {
                v->t[g] = (float)t[g];
                v->total += g < s->ch->n_group ? fabs(t[g]) : 0;
            }
            if (!isfinite(v->total)) return ctx_fail(s->ctx, ST_NUMERIC, "image %d of the list: its gradients are not finite", v->image);
        }
    return ST_OK;
}

static enum status add_to_evidence(struct scoring *s) {
    int n = s->columns;
    for (int b = 0; b < s->valid; ++b)
        for (int g = 0; g < n; ++g) {
            double t = s->loss_t[(size_t)b * (size_t)n + (size_t)g];
            if (!isfinite(t)) return ctx_fail(s->ctx, ST_NUMERIC, "image %d of the list: its gradients are not finite", s->first_image + b);
            s->loss->magnitude[g] += fabs(t);
            s->loss->square[g] += t * t;
        }
    return ST_OK;
}

/* The gradients that are wanted, one after the other where they differ: the outputs stay between passes in SCORE. */
static enum status look_back(struct scoring *s, bool objects) {
    bool loss = s->loss != NULL, shared = loss && objects && s->opt->utility == UTILITY_LOSS;
    if (loss) memset(s->loss_t, 0, (size_t)s->net->batch * (size_t)s->columns * sizeof *s->loss_t);
    if (objects) {
        s->by_object = true, s->by_loss = shared;
        TRY(s->opt->utility == UTILITY_LOSS ? seed_loss(s) : utility_seed(s->ctx, s->net, s->opt, s->truth, s->valid, UTILITY_ALL_HEADS));
        real *grad = s->net->dev_grad; /* of the loss only */
        if (!shared) s->net->dev_grad = NULL;
        enum status st = net_backward(s->ctx, s->net);
        s->net->dev_grad = grad;
        TRY(st);
        TRY(cast_votes(s));
    }
    if (loss && !shared) {
        s->by_object = false, s->by_loss = true;
        TRY(seed_loss(s));
        TRY(net_backward(s->ctx, s->net));
    }
    return loss ? add_to_evidence(s) : ST_OK;
}

static enum status score_batches(struct scoring *s, const struct score_source *src, float *x, bool objects) {
    struct net *net = s->net;
    for (int first = 0; first < src->count; first += net->batch) {
        s->valid = src->count - first < net->batch ? src->count - first : net->batch;
        s->first_image = src->first + first;
        forget_grids(s);
        for (int b = s->valid; b < net->batch; ++b) s->truth[b].n = 0;
        TRY(fill_batch(s->ctx, net, src, first, s->valid, x, s->truth, s->target));
        for (int b = 0; b < s->valid; ++b) {
            free(s->t[b]);
            s->t[b] = mem_zero(s->ctx, (size_t)(s->truth[b].n + 1) * (size_t)s->columns, sizeof **s->t);
            if (!s->t[b]) return ST_MEMORY;
        }
        TRY(net_forward(s->ctx, net, x));
        TRY(look_back(s, objects));
        report(src, "saliency", first + s->valid);
    }
    return ST_OK;
}

/* --- votes to scores --------------------------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median of T_o over the objects; the guard's votes are of another size and do not count unless they are all there is. */
static double median_total(struct ctx *ctx, const struct scoring *s) {
    double *total = mem_zero(ctx, s->n_vote, sizeof *total), median = 0;
    size_t n = 0;
    for (size_t i = 0; total && i < s->n_vote; ++i)
        if (s->vote[i].bin != BIN_GUARD) total[n++] = s->vote[i].total;
    for (size_t i = 0; total && n == 0 && i < s->n_vote; ++i) total[i] = s->vote[i].total;
    if (total && n == 0) n = s->n_vote;
    if (n) {
        qsort(total, n, sizeof *total, ascending);
        median = n % 2 ? total[n / 2] : (total[n / 2 - 1] + total[n / 2]) / 2;
    }
    free(total);
    return median;
}

static double shaped(enum score_form form, double t) {
    switch (form) {
    case FORM_RELU: return t > 0 ? t : 0;
    case FORM_ASYMMETRIC: return t > 0 ? t : -t / 4;
    case FORM_SQUARE: return t * t;
    case FORM_ABS:
    case FORM_ELEMENTWISE: break;
    }
    return fabs(t);
}

/* half: 0 or 1 takes even or odd images, -1 all. */
static void aggregate(const struct scoring *s, double median, int half, double *score, int *counts) {
    int n = s->columns, bins = 0, votes = 0, count[BINS] = { 0 };
    memset(score, 0, (size_t)n * sizeof *score);
    for (size_t i = 0; i < s->n_vote; ++i)
        if (half < 0 || s->vote[i].image % 2 == half) ++count[s->vote[i].bin];
    if (counts) memcpy(counts, count, sizeof count);
    for (int b = 0; b < BINS; ++b) bins += count[b] > 0, votes += count[b];
    if (s->opt->balance != BALANCE_SIZE) { /* every vote counts alike */
        bins = 1;
        for (int b = 0; b < BINS; ++b) count[b] = votes;
    }
    for (size_t i = 0; i < s->n_vote; ++i) {
        const struct vote *v = &s->vote[i];
        if (half >= 0 && v->image % 2 != half) continue;
        double norm = s->opt->balance == BALANCE_NONE ? 1 : v->total + 0.05 * median;
        if (norm <= 0) continue;
        double weight = 1.0 / (count[v->bin] * (double)bins);
        for (int g = 0; g < n; ++g) score[g] += weight * shaped(s->opt->form, v->t[g] / norm);
    }
}

/* The votes that selection weighs groups against each other with: at most so many of each bin, evenly chosen. */
enum { RESPONSES_PER_BIN = 512 };

static enum status keep_responses(const struct scoring *s, double median, struct saliency *out) {
    int n = s->ch->n_group, bins = 0, kept[BINS], seen[BINS] = { 0 }, at = 0;
    for (int b = 0; b < BINS; ++b) {
        kept[b] = out->bin_count[b] < RESPONSES_PER_BIN ? out->bin_count[b] : RESPONSES_PER_BIN;
        bins += kept[b] > 0;
        out->n_response += kept[b];
    }
    size_t width = (size_t)out->n_response;
    out->response = mem_zero(s->ctx, (size_t)n * width, sizeof *out->response);
    if (!out->response) return ST_MEMORY;
    for (size_t i = 0; i < s->n_vote; ++i) {
        const struct vote *v = &s->vote[i];
        long long k = seen[v->bin]++, all = out->bin_count[v->bin]; /* taken where the share of those seen passes a whole number */
        double norm = s->opt->balance == BALANCE_NONE ? 1 : v->total + 0.05 * median;
        if ((k + 1) * kept[v->bin] / all == k * kept[v->bin] / all) continue;
        double weight = s->opt->balance == BALANCE_SIZE ? 1.0 / ((double)kept[v->bin] * bins) : 1.0 / (double)width;
        for (int g = 0; norm > 0 && g < n; ++g) out->response[(size_t)g * width + (size_t)at] = (float)(sqrt(weight) * v->t[g] / norm);
        ++at;
    }
    return ST_OK;
}

static void normalize(const struct channels *ch, enum score_normalize kind, double *score) {
    if (kind == NORMALIZE_NONE) return;
    for (int u = 0; u < ch->n_unit; ++u) {
        double sum = 0, squares = 0;
        int n = 0;
        for (int g = 0; g < ch->n_group; ++g)
            if (ch->group[g].unit == u) sum += score[g], squares += score[g] * score[g], ++n;
        if (n == 0 || sum <= 0) continue;
        if (kind == NORMALIZE_RANK) {
            double *copy = malloc((size_t)n * sizeof *copy);
            int k = 0;
            for (int g = 0; copy && g < ch->n_group; ++g)
                if (ch->group[g].unit == u) copy[k++] = score[g];
            for (int g = 0; copy && g < ch->n_group; ++g) {
                int below = 0;
                if (ch->group[g].unit != u) continue;
                for (int i = 0; i < n; ++i) below += copy[i] < score[g];
                score[g] = (below + 1.0) / n;
            }
            free(copy);
            continue;
        }
        double by = kind == NORMALIZE_MEAN ? sum / n : sqrt(squares / n);
        for (int g = 0; g < ch->n_group; ++g)
            if (ch->group[g].unit == u) score[g] /= by;
    }
}

static enum status conclude(struct scoring *s, struct saliency *out) {
    int n = s->ch->n_group;
    if (s->n_vote == 0)
        return ctx_fail(s->ctx, ST_USAGE, "the images have no labelled object and the background guard is off: nothing to score by");
    double median = median_total(s->ctx, s);
    out->n_group = n;
    out->n_object = (int)s->n_vote;
    out->score = mem_zero(s->ctx, (size_t)s->columns, sizeof *out->score);
    out->block = out->score ? out->score + n : NULL;
    for (int h = 0; h < 2; ++h) out->half[h] = mem_zero(s->ctx, (size_t)s->columns, sizeof **out->half);
    uint8_t *use = mem_zero(s->ctx, (size_t)n, 1);
    if (s->ctx->code == ST_OK) {
        aggregate(s, median, -1, out->score, out->bin_count);
        for (int h = 0; h < 2; ++h) aggregate(s, median, h, out->half[h], NULL);
        for (int g = 0; g < n; ++g) use[g] = s->ch->group[g].frozen == NULL;
        out->tau = kendall_tau(out->half[0], out->half[1], use, n);
        normalize(s->ch, s->opt->normalize, out->score);
        keep_responses(s, median, out);
    }
    free(use);
    return s->ctx->code;
}

/* --- what the loss says ---------------------------------------------------------------------------------------------- */

/* By what batch norm multiplies the weights of filter f once it is folded into them (see bn_fold). */
static double fold_factor(const struct net *net, const struct layer *l, int f) {
    const struct param *scale = NULL, *variance = NULL;
    for (int k = 0; k < l->n_param; ++k) {
        if (l->param[k].role == PARAM_SCALE) scale = &l->param[k];
        if (l->param[k].role == PARAM_VARIANCE) variance = &l->param[k];
    }
    if (!scale || !variance) return 1;
    return (double)net->param[scale->offset + (size_t)f] / sqrt((double)net->param[variance->offset + (size_t)f] + 1e-5);
}

/* w * dL/dw is the same whether w is the stored or the folded weight; dev_grad is of the folded one, summed over images. */
static enum status weigh_filters(struct scoring *s, int images) {
    const struct net *net = s->net;
    const struct channels *ch = s->ch;
    float *grad = mem_zero(s->ctx, net->n_param, sizeof *grad);
    if (!grad) return ST_MEMORY;
    net->be->ops->get(net->be, net->dev_grad, net->n_param, grad);
    for (int k = 0; k < ch->n_node; ++k) s->loss->weight[k] = -1;
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        const struct param *w = layer_filters(l);
        size_t per = w ? param_count(w) / (size_t)w->dim[0] : 0;
        for (int f = 0; w && param_owned(w) && f < w->dim[0]; ++f) {
            double sum = 0, factor = fold_factor(net, l, f);
            for (size_t j = w->offset + (size_t)f * per; j < w->offset + (size_t)(f + 1) * per; ++j)
                sum += fabs((double)net->param[j] * (double)grad[j]);
            s->loss->weight[ch->first_node[i] + f] = sum * fabs(factor) / images;
        }
    }
    free(grad);
    return ST_OK;
}

static enum status evidence_new(struct scoring *s) {
    size_t groups = (size_t)s->columns;
    s->loss_t = mem_zero(s->ctx, (size_t)s->net->batch * groups, sizeof *s->loss_t);
    s->loss->magnitude = mem_zero(s->ctx, groups, sizeof *s->loss->magnitude);
    s->loss->block = s->loss->magnitude ? s->loss->magnitude + s->ch->n_group : NULL;
    s->loss->square = mem_zero(s->ctx, groups, sizeof *s->loss->square);
    s->loss->weight = s->loss->wants_weights ? mem_zero(s->ctx, (size_t)s->ch->n_node, sizeof *s->loss->weight) : NULL;
    return s->ctx->code;
}

static enum status evidence_conclude(struct scoring *s, int images) {
    for (int g = 0; g < s->columns; ++g) s->loss->magnitude[g] /= images, s->loss->square[g] /= images;
    return s->loss->weight ? weigh_filters(s, images) : ST_OK;
}

void loss_evidence_free(struct loss_evidence *e) {
    free(e->magnitude), free(e->square), free(e->weight);
    *e = (struct loss_evidence){ .wants_weights = e->wants_weights };
}

void saliency_free_votes(void *votes, size_t n) {
    struct vote *v = votes;
    for (size_t i = 0; i < n; ++i) free(v[i].t);
    free(v);
}

enum status saliency_score(struct ctx *ctx, struct net *net, struct backend *be, const struct channels *ch,
                           const struct score_source *src, const struct saliency_options *opt, const double *mean,
                           struct saliency *out) {
    return saliency_collect(ctx, net, be, ch, src, opt, mean, out, NULL);
}

enum status saliency_collect(struct ctx *ctx, struct net *net, struct backend *be, const struct channels *ch,
                             const struct score_source *src, const struct saliency_options *opt, const double *mean,
                             struct saliency *out, struct loss_evidence *loss) {
    if (out) memset(out, 0, sizeof *out);
    if (src->count < 1) return ctx_fail(ctx, ST_USAGE, "no images to score on");
    struct scoring s = { .ctx = ctx, .net = net, .ch = ch, .opt = opt, .mean = mean, .loss = loss };
    struct net_hook hook = { .user = &s, .reader = respond, .joint = respond_joint };
    s.columns = ch->n_group + (opt->blocks ? opt->blocks->n : 0);
    s.block_of = mem_zero(ctx, (size_t)net->n, sizeof *s.block_of);
    for (int k = 0; opt->blocks && s.block_of && k < opt->blocks->n; ++k)
        if (!opt->blocks->item[k].stays) s.block_of[opt->blocks->item[k].shortcut] = ch->n_group + k;
    net->wants_dweights = loss && loss->wants_weights;
    enum status st = net_bind(ctx, net, be, NET_SCORE, opt->batch < src->count ? opt->batch : src->count);
    net->wants_dweights = false;
    size_t batch = st == ST_OK ? (size_t)net->batch : 0;
    float *x = mem_zero(ctx, batch * image_floats(net), sizeof *x);
    s.truth = mem_zero(ctx, batch, sizeof *s.truth);
    s.target_size = src->target_size;
    if (src->target_size) s.target = mem_zero(ctx, batch * (size_t)src->target_size, sizeof *s.target);
    s.t = mem_zero(ctx, batch, sizeof *s.t);
    if (st == ST_OK && loss) st = evidence_new(&s);
    if (st == ST_OK && ctx->code == ST_OK) {
        net->hook = &hook;
        st = score_batches(&s, src, x, out != NULL);
        if (st == ST_OK && src->meeting) st = saliency_meet(ctx, src->meeting, src->rank, &s.vote, &s.n_vote, &s.vote_cap, sizeof *s.vote);
        if (st == ST_OK && out && !src->rank) st = conclude(&s, out);
        if (st == ST_OK && loss) st = evidence_conclude(&s, src->count);
        net->hook = NULL;
    }
    net_unbind(net);
    for (size_t b = 0; b < batch; ++b) {
        if (s.t) free(s.t[b]);
        if (s.truth) free(s.truth[b].item);
    }
    saliency_free_votes(s.vote, s.n_vote);
    free(s.t), free(s.truth), free(s.dot), free(s.sum), forget_grids(&s), free(s.grid), free(s.loss_t), free(s.block_of), free(s.column), free(s.target), free(x);
    if (ctx->code != ST_OK && out) saliency_free(out);
    if (ctx->code != ST_OK && loss) loss_evidence_free(loss);
    return ctx->code != ST_OK ? ctx->code : st;
}

void saliency_free(struct saliency *s) {
    free(s->score);
    free(s->half[0]);
    free(s->half[1]);
    free(s->response);
    memset(s, 0, sizeof *s);
}

double kendall_tau(const double *a, const double *b, const uint8_t *use, int n) {
    double agree = 0, pairs_a = 0, pairs_b = 0;
    for (int i = 0; i < n; ++i) {
        if (!use[i]) continue;
        for (int k = i + 1; k < n; ++k) {
            if (!use[k]) continue;
            int x = (a[i] > a[k]) - (a[i] < a[k]), y = (b[i] > b[k]) - (b[i] < b[k]);
            agree += x * y;
            pairs_a += x != 0;
            pairs_b += y != 0;
        }
    }
    return pairs_a > 0 && pairs_b > 0 ? agree / sqrt(pairs_a * pairs_b) : 0;
}
