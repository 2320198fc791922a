#include "eval/map.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

static const float DETECTION_THRESH = .005f, NMS_THRESH = .45f;

/* One scored class of one box of one image. */
struct hit {
    float prob;
    int class_id, order;     /* order: in which it was found, for equal probabilities */
    int truth, truth_size;   /* number of the truth it overlaps best over all images, -1: none */
    int own_size;
};

struct map_tally {
    const struct map_options *opt;
    struct map_result *out;
    struct hit *hit;
    int n_hit;
    size_t cap_hit;
    int *truth_class, *truth_size; /* per truth over all images */
    size_t cap_class, cap_size;
    double iou_sum;                /* of the true positives at opt->thresh */
};

/* --- Reading: a few images at a time, one per processor --------------------------------------- */

enum { READ_AT_ONCE = 16 };

struct chunk {
    const struct net *net;
    const struct text_list *images;
    bool letter_box;
    int cap, first, n;             /* images first .. first+n-1 are read */
    float *x;
    int *w0, *h0;                  /* sizes of the pictures */
    struct ctx *ctx;               /* one per image: they are read in parallel */
};

static size_t image_size(const struct net *net) {
    return (size_t)net->opt.channels * (size_t)net->opt.height * (size_t)net->opt.width;
}

static enum status read_one(struct chunk *c, int i) {
    struct image im = { 0 }, input = { 0 };
    TRY(image_read(&c->ctx[i], c->images->item[c->first + i], c->net->opt.channels, &im));
    c->w0[i] = im.w;
    c->h0[i] = im.h;
    enum status s = detect_input(&c->ctx[i], c->net, &im, c->letter_box, &input);
    if (s == ST_OK)
        memcpy(c->x + (size_t)i * image_size(c->net), input.data, image_size(c->net) * sizeof *c->x);
    image_free(&input);
    image_free(&im);
    return s;
}

static enum status chunk_read(struct ctx *ctx, struct chunk *c, int first) {
    c->first = first;
    c->n = c->images->n - first;
    if (c->n > c->cap) c->n = c->cap;
    memset(c->ctx, 0, (size_t)c->cap * sizeof *c->ctx);
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < c->n; ++i) (void)read_one(c, i);
    for (int i = 0; i < c->n; ++i)
        if (c->ctx[i].code != ST_OK) return ctx_fail(ctx, c->ctx[i].code, "%s", c->ctx[i].error);
    return ST_OK;
}

static enum status chunk_open(struct ctx *ctx, struct chunk *c, const struct net *net,
                              const struct text_list *images) {
    int batches = (READ_AT_ONCE + net->batch - 1) / net->batch;
    size_t cap = (size_t)batches * (size_t)net->batch;
    *c = (struct chunk){ .net = net, .images = images, .letter_box = net->opt.letter_box, .cap = (int)cap };
    c->x = mem_zero(ctx, cap * image_size(net), sizeof *c->x);
    c->w0 = mem_zero(ctx, cap, sizeof *c->w0);
    c->h0 = mem_zero(ctx, cap, sizeof *c->h0);
    c->ctx = mem_zero(ctx, cap, sizeof *c->ctx);
    return c->x && c->w0 && c->h0 && c->ctx ? ST_OK : ST_MEMORY;
}

static void chunk_close(struct chunk *c) {
    free(c->x);
    free(c->w0);
    free(c->h0);
    free(c->ctx);
}

/* --- Matching of one image (darknet-compat 7.1, steps 1 to 3) --------------------------------- */

static int size_of(struct box b, double net_w, double net_h) {
    double area = b.w * net_w * b.h * net_h;
    return area < 32. * 32 ? MAP_SMALL : area < 96. * 96 ? MAP_MEDIUM : MAP_LARGE;
}

/* The truth of the same class that a box overlaps best by more than `limit`; -1: none. */
static int best_truth(const struct truth_list *truth, struct box b, int class_id, float limit, double *iou) {
    int best = -1;
    *iou = 0;
    for (int t = 0; t < truth->n; ++t) {
        if (truth->item[t].class_id != class_id) continue;
        double v = box_iou(b, truth->item[t].box);
        if (v > limit && v > *iou) *iou = v, best = t;
    }
    return best;
}

static enum status add_truth(struct ctx *ctx, struct map_tally *e, const struct truth_list *truth, double w,
                             double h) {
    struct map_result *out = e->out;
    size_t need = (size_t)out->unique_truths + (size_t)truth->n;
    TRY(mem_grow(ctx, &e->truth_class, &e->cap_class, need, sizeof *e->truth_class));
    TRY(mem_grow(ctx, &e->truth_size, &e->cap_size, need, sizeof *e->truth_size));
    for (int t = 0; t < truth->n; ++t) {
        int size = size_of(truth->item[t].box, w, h), k = truth->item[t].class_id;
        e->truth_class[out->unique_truths + t] = k;
        e->truth_size[out->unique_truths + t] = size;
        ++out->truths_size[size];
        ++out->of[k].truths;
    }
    return ST_OK;
}

enum status map_add(struct ctx *ctx, struct map_tally *e, const struct detection_list *list,
                    const struct truth_list *truth, const struct truth_list *difficult, double w, double h) {
    struct map_result *out = e->out;
    TRY(add_truth(ctx, e, truth, w, h));
    bool *claimed = mem_zero(ctx, (size_t)truth->n, sizeof *claimed);
    if (!claimed) return ST_MEMORY;
    for (int i = 0; i < list->n; ++i) {
        const struct detection *d = &list->item[i];
        for (int k = 0; k < out->classes && k < list->classes; ++k) {
            if (!(d->prob[k] > 0)) continue;
            double iou, unused;
            int t = best_truth(truth, d->box, k, e->opt->iou_thresh, &iou);
            /* COMPAT: a detection of a difficult object leaves the ranking, and still counts below. */
            if (t >= 0 || best_truth(difficult, d->box, k, e->opt->iou_thresh, &unused) < 0) {
                if (mem_grow(ctx, &e->hit, &e->cap_hit, (size_t)e->n_hit + 1, sizeof *e->hit) != ST_OK) break;
                e->hit[e->n_hit] = (struct hit){ .prob = d->prob[k],
                                                 .class_id = k,
                                                 .order = e->n_hit,
                                                 .truth = -1,
                                                 .own_size = size_of(d->box, w, h) };
                if (t >= 0) {
                    e->hit[e->n_hit].truth = out->unique_truths + t;
                    e->hit[e->n_hit].truth_size = e->truth_size[out->unique_truths + t];
                }
                ++e->n_hit;
            }
            /* COMPAT: "first" means first in the order after suppression, and below the threshold counts. */
            if (d->prob[k] > e->opt->thresh) {
                bool right = t >= 0 && !claimed[t];
                if (right) e->iou_sum += iou;
                out->tp += right, out->fp += !right;
                out->of[k].tp += right, out->of[k].fp += !right;
            }
            if (t >= 0) claimed[t] = true;
        }
    }
    free(claimed);
    out->unique_truths += truth->n;
    return ctx->code;
}

/* --- Average precision ------------------------------------------------------------------------ */

static int by_prob(const void *a, const void *b) {
    const struct hit *p = a, *q = b;
    if (p->prob != q->prob) return p->prob < q->prob ? 1 : -1;
    return p->order < q->order ? -1 : p->order > q->order;
}

struct point { double precision, recall; };

/* points 0: area under the envelope of the curve; else the mean over that many recall levels of the best
 * precision there. */
static double average_precision(const struct point *p, int n, int points) {
    double sum = 0, best = 0;
    if (n == 0) return 0;
    if (points == 0) {
        for (int i = n - 1; i >= 0; --i) {
            if (p[i].precision > best) best = p[i].precision;
            sum += (p[i].recall - (i ? p[i - 1].recall : 0)) * best;
        }
        return sum;
    }
    int rank = n - 1;
    for (int i = points - 1; i >= 0; --i) { /* levels from high to low: every rank is looked at once */
        double level = points > 1 ? (double)i / (points - 1) : 0;
        for (; rank >= 0 && p[rank].recall >= level; --rank)
            if (p[rank].precision > best) best = p[rank].precision;
        sum += best;
    }
    return sum / points;
}

/* What the precision is worth from each recall on. */
static void sample_curve(const struct point *p, int n, float *curve) {
    double best = 0;
    int rank = n - 1;
    for (int i = MAP_CURVE - 1; i >= 0; --i) {
        double level = (double)i / (MAP_CURVE - 1);
        for (; rank >= 0 && p[rank].recall >= level; --rank) best = fmax(best, p[rank].precision);
        curve[i] = (float)best;
    }
}

/* AP of one class over hits in falling probability; size < 0: all.  *truths: how many truths were to be
 * found.  sampled: the curve at MAP_CURVE recalls, or NULL. */
static double class_ap(const struct map_tally *e, int class_id, int size, struct point *curve, bool *claimed,
                       int *truths, float *sampled) {
    int tp = 0, fp = 0, n = 0;
    *truths = 0;
    for (int t = 0; t < e->out->unique_truths; ++t) {
        claimed[t] = false;
        *truths += e->truth_class[t] == class_id && (size < 0 || e->truth_size[t] == size);
    }
    for (int i = 0; i < e->n_hit; ++i) {
        const struct hit *h = &e->hit[i];
        if (h->class_id != class_id) continue;
        if (size >= 0 && (h->truth >= 0 ? h->truth_size : h->own_size) != size) continue;
        bool right = h->truth >= 0 && !claimed[h->truth];
        if (right) claimed[h->truth] = true;
        tp += right, fp += !right;
        curve[n++] = (struct point){ (double)tp / (tp + fp), *truths ? (double)tp / *truths : 0 };
    }
    if (sampled) sample_curve(curve, n, sampled);
    return average_precision(curve, n, e->opt->points);
}

static int by_class(const void *a, const void *b) {
    const struct hit *p = a, *q = b;
    if (p->class_id != q->class_id) return p->class_id < q->class_id ? -1 : 1;
    return by_prob(a, b);
}

static enum status average_all(struct ctx *ctx, struct map_tally *e) {
    struct map_result *out = e->out;
    struct point *curve = mem_zero(ctx, (size_t)e->n_hit, sizeof *curve);
    bool *claimed = mem_zero(ctx, (size_t)out->unique_truths, sizeof *claimed);
    int present = 0, with_size[MAP_SIZES] = { 0 }, truths;
    if (curve && claimed) {
        if (e->n_hit) qsort(e->hit, (size_t)e->n_hit, sizeof *e->hit, by_class);
        struct map_tally one = *e; /* the hits of one class at a time: they lie together now */
        for (int k = 0; k < out->classes; ++k) {
            one.hit += k ? one.n_hit : 0;
            long left = e->n_hit - (one.hit - e->hit);
            for (one.n_hit = 0; one.n_hit < left && one.hit[one.n_hit].class_id == k;) ++one.n_hit;
            out->of[k].ap = class_ap(&one, k, -1, curve, claimed, &truths, out->curve ? out->curve[k] : NULL);
            out->map += out->of[k].ap / out->classes;
            if (truths) out->map_present += out->of[k].ap, ++present;
            for (int s = 0; s < MAP_SIZES; ++s) {
                double ap = class_ap(&one, k, s, curve, claimed, &truths, NULL);
                if (truths) out->map_size[s] += ap, ++with_size[s];
            }
        }
        if (present) out->map_present /= present;
        for (int s = 0; s < MAP_SIZES; ++s)
            out->map_size[s] = with_size[s] ? out->map_size[s] / with_size[s] : -1;
    }
    free(curve);
    free(claimed);
    return ctx->code;
}

/* --- The whole -------------------------------------------------------------------------------- */

/* COMPAT: "-nan" is printed where nothing was counted. */
static double ratio(double a, double b) { return b != 0 ? a / b : -NAN; }

/* Images `at` .. at+n-1 of the chunk, whose outputs the network holds. */
static enum status evaluate_batch(struct ctx *ctx, struct net *net, struct map_tally *e,
                                  const struct chunk *c, int at, int n, const struct text_list *difficult,
                                  struct detection_list *list) {
    struct detect_options options = { .thresh = DETECTION_THRESH, .nms = NMS_THRESH, .letter_box = c->letter_box, .class_map = e->opt->class_map, .n_map = e->opt->n_map };
    struct truth_list truth = { 0 }, hard = { 0 };
    enum status s = ST_OK;
    for (int b = 0; b < n && s == ST_OK; ++b) {
        int w0 = c->w0[at + b], h0 = c->h0[at + b], image = c->first + at + b;
        double w = net->opt.width, h = net->opt.height;
        if (c->letter_box) { /* one scale for both axes: the smaller one */
            double scale = fmin(w / w0, h / h0);
            w = w0 * scale, h = h0 * scale;
        }
        s = detect_collect(ctx, net, b, w0, h0, &options, list);
        /* What is wrong with them dataset_survey tells. */
        if (s == ST_OK) s = labels_of(ctx, c->images->item[image], e->out->classes, false, &truth);
        if (s == ST_OK && difficult) s = labels_of(ctx, difficult->item[image], 0, false, &hard);
        if (s == ST_OK) s = map_add(ctx, e, list, &truth, &hard, w, h);
        if (s == ST_OK && e->opt->each) s = e->opt->each(ctx, e->opt->each_user, image, list, &truth);
    }
    free(truth.item);
    free(hard.item);
    return s;
}

static enum status evaluate_images(struct ctx *ctx, struct net *net, struct map_tally *e,
                                   const struct text_list *images, const struct text_list *difficult) {
    struct chunk c;
    struct detection_list list = { 0 };
    enum status s = chunk_open(ctx, &c, net, images);
    for (int first = 0; s == ST_OK && first < images->n; first += c.cap) {
        s = e->opt->stop && *e->opt->stop ? ctx_fail(ctx, ST_INTERRUPTED, "interrupted") : chunk_read(ctx, &c, first);
        for (int at = 0; s == ST_OK && at < c.n; at += net->batch) {
            int n = c.n - at < net->batch ? c.n - at : net->batch;
            s = net_forward(ctx, net, c.x + (size_t)at * image_size(net));
            if (s == ST_OK) s = evaluate_batch(ctx, net, e, &c, at, n, difficult, &list);
            if (s == ST_OK && e->opt->progress) e->opt->progress(e->opt->user, first + at + n, images->n);
        }
    }
    chunk_close(&c);
    detections_free(&list);
    return s;
}

enum status map_begin(struct ctx *ctx, int classes, const struct map_options *opt, struct map_result *out,
                      struct map_tally **tally) {
    *out = (struct map_result){ .classes = classes };
    struct map_tally *e = *tally = mem_zero(ctx, 1, sizeof *e);
    out->of = mem_zero(ctx, (size_t)classes, sizeof *out->of);
    if (opt->curves) out->curve = mem_zero(ctx, (size_t)classes, sizeof *out->curve);
    if (e) *e = (struct map_tally){ .opt = opt, .out = out };
    return e && out->of && (out->curve || !opt->curves) ? ST_OK : ST_MEMORY;
}

enum status map_end(struct ctx *ctx, struct map_tally *e, enum status so_far) {
    if (!e) return so_far;
    struct map_result *out = e->out;
    enum status s = so_far == ST_OK ? average_all(ctx, e) : so_far;
    if (s == ST_OK) {
        out->detections = e->n_hit;
        out->fn = out->unique_truths - out->tp;
        out->precision = ratio(out->tp, out->tp + out->fp);
        out->recall = ratio(out->tp, out->unique_truths);
        out->f1 = ratio(2 * out->precision * out->recall, out->precision + out->recall);
        out->avg_iou = out->tp + out->fp ? e->iou_sum / (out->tp + out->fp) : 0;
    } else {
        map_free(out);
    }
    free(e->hit);
    free(e->truth_class);
    free(e->truth_size);
    free(e);
    return s;
}

enum status map_evaluate(struct ctx *ctx, struct net *net, const struct text_list *images,
                         const struct text_list *difficult, const struct map_options *opt,
                         struct map_result *out) {
    double start = io_seconds();
    int last = 0, heads = net_heads(net, NULL, 0);
    *out = (struct map_result){ 0 };
    if (heads == 0)
        return ctx_fail(ctx, ST_UNSUPPORTED, "the network has no detection head ([yolo], [Gaussian_yolo], [region] or [detection])");
    if (difficult && difficult->n != images->n)
        return ctx_fail(ctx, ST_FORMAT,
                        "difficult: the list has %d entries, valid has %d; they must go line by line",
                        difficult->n, images->n);
    for (int i = 0; i < net->n; ++i)
        if (net->layer[i].ops->head) last = i;
    struct head_info info;
    net->layer[last].ops->head->info(&net->layer[last], &info);
    struct map_tally *e = NULL;
    enum status s = map_begin(ctx, opt->class_map ? opt->n_map : info.classes, opt, out, &e);
    if (s == ST_OK) s = evaluate_images(ctx, net, e, images, difficult);
    s = map_end(ctx, e, s);
    out->seconds = io_seconds() - start;
    return s;
}

void map_free(struct map_result *r) {
    free(r->of);
    free(r->curve);
    r->of = NULL;
    r->curve = NULL;
}

enum status map_print(struct ctx *ctx, const struct map_result *r, const struct text_list *names,
                      const struct map_options *opt, char **text) {
    size_t size = 0;
    *text = NULL;
    FILE *f = open_memstream(text, &size);
    if (!f) return ctx_fail(ctx, ST_MEMORY, "out of memory for the mAP report");
    fprintf(f, "\n detections_count = %d, unique_truth_count = %d  \n", r->detections, r->unique_truths);
    for (int k = 0; k < r->classes; ++k)
        fprintf(f, "class_id = %d, name = %s, ap = %2.2f%%   \t (TP = %d, FP = %d) \n", k,
                names && k < names->n ? names->item[k] : "", r->of[k].ap * 100, r->of[k].tp, r->of[k].fp);
    fprintf(f, "\n for conf_thresh = %1.2f, precision = %1.2f, recall = %1.2f, F1-score = %1.2f \n",
            (double)opt->thresh, r->precision, r->recall, r->f1);
    fprintf(f, " for conf_thresh = %0.2f, TP = %d, FP = %d, FN = %d, average IoU = %2.2f %% \n",
            (double)opt->thresh, r->tp, r->fp, r->fn, r->avg_iou * 100);
    fprintf(f, "\n IoU threshold = %2.0f %%, ", (double)opt->iou_thresh * 100);
    if (opt->points) fprintf(f, "used %d Recall-points \n", opt->points);
    else fprintf(f, "used Area-Under-Curve for each unique Recall \n");
    fprintf(f, " mean average precision (mAP@%0.2f) = %f, or %2.2f %% \n", (double)opt->iou_thresh, r->map,
            r->map * 100);
    if (fclose(f)) return ctx_fail(ctx, ST_MEMORY, "out of memory for the mAP report");
    return ST_OK;
}
