/* One arena for outputs, what layers keep for backward, and gradients, each placed by the steps in which it is in use.
 *
 * Steps: the n layers forward; then, for training and scoring, the segments from last to first, each first computed again
 * (not the last one, whose values are still there) and then backward.  Without checkpoint_activations there is one segment.
 * Of a segment that will be computed again, only what later segments read outlives the forward pass. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/internal.h"

enum { MOST_SEGMENTS = 40 };

static int segment_of(const struct net_buffers *b, int i) {
    int s = 0;
    while (b->segment[s + 1] <= i) ++s;
    return s;
}

static int begin_of(const struct net *net, const struct net_buffers *b, int s) { return net->n + 2 * (net->n - b->segment[s + 1]); }
static int step_again(const struct net *net, const struct net_buffers *b, int i) {
    int s = segment_of(b, i);
    return begin_of(net, b, s) + i - b->segment[s];
}
static int step_backward(const struct net *net, const struct net_buffers *b, int i) {
    int s = segment_of(b, i), size = b->segment[s + 1] - b->segment[s];
    return begin_of(net, b, s) + size + b->segment[s + 1] - 1 - i;
}
static int step_count(const struct net *net) { return 3 * net->n; }

/* Sizes are those of reals. */
static size_t out_size(const struct net *net, int i) {
    struct shape s = net->layer[i].out;
    s.n = net->batch;
    s.c += net->buffers->spare[i];
    return net->buffers->owner[i] == i ? net_reals(net, i, shape_count(s)) : 0;
}

static size_t kept_size(const struct net *net, int i) {
    const struct layer *l = &net->layer[i];
    if (!l->ops->kept || net->buffers->owner[i] != i) return 0;
    return net_reals(net, i, l->ops->kept(l, net_layer_mode(net, i), net->batch));
}

static bool repeats(const struct net *net, int i) {
    const struct layer *l = &net->layer[i];
    return net->buffers->owner[i] == i && l->ops->repeats && l->ops->repeats(l);
}

/* Layers whose output somebody in another segment reads, or that cannot be computed twice. */
static void mark_held(const struct net *net, const struct net_buffers *b, bool *held) {
    int output = net_output_layer(net);
    for (int i = 0; i < net->n; ++i) held[i] = !repeats(net, i);
    if (output >= 0 && b->owner[output] >= 0) held[b->owner[output]] = true;
    for (int i = 0; i < net->n; ++i)
        for (int k = 0; k < net->layer[i].n_in; ++k) {
            int from = net->layer[i].in[k], owner = from == LAYER_INPUT ? -1 : b->owner[from];
            if (owner >= 0 && segment_of(b, owner) != segment_of(b, i)) held[owner] = true;
        }
}

static int last_reader(const struct net *net, const struct net_buffers *b, int i) {
    int last = i;
    for (int j = i + 1; j < net->n; ++j)
        for (int k = 0; k < net->layer[j].n_in; ++k) {
            int from = net->layer[j].in[k];
            if (from != LAYER_INPUT && b->owner[from] == i) last = j;
        }
    return last;
}

/* When y and what is kept of layer i are in use. */
static void forward_spans(const struct net *net, const struct net_buffers *b, int i, bool held, int reader, struct span *y,
                          struct span *kept) {
    int output = net_output_layer(net), s = segment_of(b, i);
    *y = (struct span){ .size = out_size(net, i), .first = i, .again_first = 1 };
    *kept = (struct span){ .size = kept_size(net, i), .first = i, .again_first = 1 };
    if (net->mode == NET_INFER) {
        y->last = output >= 0 && b->owner[output] == i ? step_count(net) - 1 : reader;
        kept->last = i;
    } else if (net->mode == NET_SCORE) { /* the pruner looks at outputs after the pass */
        y->last = kept->last = step_count(net) - 1;
    } else {
        bool twice = s < b->n_segment - 1 && repeats(net, i);
        y->last = kept->last = step_backward(net, b, i);
        if (twice) kept->last = i, kept->again_first = step_again(net, b, i), kept->again_last = step_backward(net, b, i);
        if (twice && !held)
            y->last = reader, y->again_first = step_again(net, b, i), y->again_last = step_backward(net, b, i);
    }
}

/* Spans of y, kept and dy, n of each. */
static void list_spans(const struct net *net, const int *reader, const bool *held, struct span *span) {
    const struct net_buffers *b = net->buffers;
    int n = net->n;
    for (int i = 0; i < n; ++i) {
        int last = step_backward(net, b, i), writer = b->first_writer[i];
        forward_spans(net, b, i, held[i], reader[i], &span[i], &span[n + i]);
        span[2 * n + i] = (struct span){ .size = b->differentiable[i] ? out_size(net, i) : 0, .again_first = 1,
                                         .first = writer >= 0 ? step_backward(net, b, writer) : last, .last = last };
    }
}

/* What lies in another layer's tensor needs no memory of its own, but that one from the first to the last use of all its parts. */
static void merge_spans(const struct net *net, struct span *span) {
    for (int i = 0, channel; i < net->n; ++i) {
        int home = net->buffers->owner[i] == i ? net_home(net->buffers, i, &channel) : i;
        if (home == i) continue;
        if (span[i].first < span[home].first) span[home].first = span[i].first;
        if (span[i].last > span[home].last) span[home].last = span[i].last;
        span[i].size = 0;
    }
}

/* --- Segments ------------------------------------------------------------------------------------------------------- */

/* What must outlive a cut in front of layer i. */
static size_t crossing(const struct net *net, const int *reader, int cut) {
    size_t sum = 0;
    for (int i = 0; i < cut; ++i)
        if (reader[i] >= cut) sum += out_size(net, i);
    return sum;
}

/* `count` segments of about equal memory, cut where little crosses. */
static void cut_evenly(const struct net *net, const int *reader, int count, struct net_buffers *b) {
    double total = 0, sum = 0;
    int n = net->n, made = 0;
    for (int i = 0; i < n; ++i) total += (double)(out_size(net, i) + kept_size(net, i));
    size_t best = 0;
    int at = 0;
    b->segment[0] = 0;
    for (int i = 1; i < n && made < count - 1; ++i) {
        sum += (double)(out_size(net, i - 1) + kept_size(net, i - 1));
        double place = sum / total * count - made; /* 1: exactly where the next cut would be even */
        if (place < .75) continue;
        size_t size = crossing(net, reader, i);
        if (!at || size <= best) best = size, at = i;
        if (place < 1.25 && i + 1 < n) continue;
        b->segment[++made] = at;
        at = 0;
    }
    b->n_segment = made + 1;
    b->segment[b->n_segment] = n;
}

static enum status choose_segments(struct ctx *ctx, struct net *net, const int *reader, bool *held, struct span *span) {
    struct net_buffers *b = net->buffers;
    ptrdiff_t *change = mem_zero(ctx, (size_t)step_count(net) + 2, sizeof *change);
    size_t least = SIZE_MAX;
    int chosen = 1;
    if (!change) return ST_MEMORY;
    for (int count = 1; count <= MOST_SEGMENTS && count <= net->n; ++count) {
        cut_evenly(net, reader, count, b);
        mark_held(net, b, held);
        list_spans(net, reader, held, span);
        size_t peak = plan_peak(3 * net->n, span, step_count(net), change);
        if (peak < least) least = peak, chosen = count;
    }
    cut_evenly(net, reader, chosen, b);
    free(change);
    return ST_OK;
}

static const struct layer *largest_layer(const struct net *net) {
    const struct layer *most = net->layer;
    double largest = 0;
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        double size = (double)shape_count(l->out);
        for (int k = 0; k < l->n_param; ++k) size += (double)param_count(&l->param[k]);
        if (size > largest) largest = size, most = l;
    }
    return most;
}

enum status net_check_memory(struct ctx *ctx, const struct net *net, const char *what, double bytes) {
    double there = mem_physical();
    if (net->be && net->be->room) { /* no backend: not bound yet */
        double left, total;
        net->be->room(net->be, &left, &total);
        if (bytes <= left) return ST_OK;
        net->be->refused = bytes;
        return ctx_fail(ctx, ST_MEMORY, "the network's %s", what);
    }
    if (mem_fits(bytes)) return ST_OK;
    return cfg_fail_as(ctx, ST_MEMORY, largest_layer(net)->section, NULL, "the network's %s need %.0f GB, this machine has %.0f GB; this is its largest layer",
                       what, bytes / 1e9, there / 1e9);
}

/* Reals that one image takes: the arena's share, the picture and its copy on the way, what a backward pass writes beside, gradients
 * that heads keep. */
static double elements_of_image(const struct net *net) {
    const struct net_options *o = &net->opt;
    size_t picture = (size_t)o->channels * (size_t)o->height * (size_t)o->width;
    double widest = 0, heads = 0;
    for (int i = 0; i < net->n && net->mode != NET_INFER; ++i) {
        const struct layer *l = &net->layer[i];
        widest = fmax(widest, (double)shape_count(l->out));
        if (l->ops->loss) heads += (double)shape_count(l->in_shape[0]);
    }
    return (double)net->buffers->arena_size / net->batch + (double)(net_reals(net, LAYER_INPUT, picture) + picture) + widest + heads;
}

/* What would fit: parameters and what goes with them are there whatever the batch; outputs and gradients grow with it and with the
 * pictures' area. */
static void what_fits(const struct net *net, double left, char *text, size_t size) {
    const struct net_options *o = &net->opt;
    double element = (double)net->be->elem_size, arrays = net->mode == NET_TRAIN ? o->adam || o->adamw ? 4 : 3 : 1;
    double fixed = arrays * (double)net->n_param * element;
    double each = elements_of_image(net) * element;
    int images = left > fixed ? (int)fmin((left - fixed) / each * .9, 1e6) : 0, per = o->subdivisions > 0 ? o->batch / o->subdivisions : 1;
    *text = '\0';
    if (!net->buffers->arena_size) return;
    if (images >= net->batch) images = net->batch - 1; /* what was tried did not fit, whatever the arithmetic says */
    if (images >= 1 && net->mode == NET_TRAIN && images < per) {
        int parts = o->subdivisions;
        while (parts < o->batch && (o->batch % parts || o->batch / parts > images)) ++parts;
        snprintf(text, size, "; batch=%d subdivisions=%d, %d at a time, would fit", o->batch, parts, o->batch / parts);
    } else if (images >= 1 && images < net->batch) {
        snprintf(text, size, "; %d images at a time would fit", images);
    } else if (left > fixed) { /* a share of one image */
        double side = sqrt((left - fixed) / each * .9);
        int w = (int)(o->width * fmin(side, 1)) / 32 * 32, h = (int)(o->height * fmin(side, 1)) / 32 * 32;
        if (w >= 32 && h >= 32) snprintf(text, size, "; width=%d height=%d, one image at a time, would fit", w, h);
    } else {
        snprintf(text, size, "; its parameters alone take %.1f MB", fixed / 1e6);
    }
}

enum status net_explain_memory(struct ctx *ctx, const struct net *net, int layer, double left) {
    const struct layer *l = layer < 0 ? largest_layer(net) : &net->layer[layer];
    char fits[160], why[64] = "";
    double now, total;
    net->be->room(net->be, &now, &total);
    what_fits(net, layer < 0 ? left : left - net->be->refused, fits, sizeof fits); /* a layer's own memory is not in the plan */
    if (layer < 0) snprintf(why, sizeof why, " for what all layers share (this is the largest of them)");
    ctx_clear(ctx);
    return cfg_fail_as(ctx, ST_MEMORY, l->section, NULL, "layer %d: the GPU is out of memory: %.2f MB asked for%s, %.2f MB free of %.2f MB%s", l->index,
                       net->be->refused / 1e6, why, now / 1e6, total / 1e6, fits);
}

/* --- Placing -------------------------------------------------------------------------------------------------------- */

static void set_pointers(struct net *net, const struct span *span, const size_t *offset) {
    const struct backend_ops *ops = net->be->ops;
    struct net_buffers *b = net->buffers;
    int n = net->n;
    for (int i = 0; i < n; ++i) {
        real *at[3];
        for (int k = 0; k < 3; ++k)
            at[k] = span[k * n + i].size ? ops->at(net->be, b->arena, offset[k * n + i]) : NULL;
        struct shape s = net->layer[i].out;
        s.c += b->spare[i];
        net->y[i] = shape_tensor(net->be, s, net->batch, at[0]);
        net->y[i].c -= net->y[i].spare = b->spare[i];
        net->dy[i] = shape_tensor(net->be, net->layer[i].out, net->batch, at[2]);
        net->y[i].type = net->dy[i].type = net_element(net, i);
        b->kept[i] = at[1];
    }
}

enum status net_place(struct ctx *ctx, struct net *net) {
    struct net_buffers *b = net->buffers;
    size_t n = (size_t)net->n, total;
    b->segment = mem_zero(ctx, MOST_SEGMENTS + 1, sizeof *b->segment);
    b->kept = mem_zero(ctx, n, sizeof *b->kept);
    int *reader = mem_zero(ctx, n, sizeof *reader);
    bool *held = mem_zero(ctx, n, sizeof *held);
    struct span *span = mem_zero(ctx, 3 * n, sizeof *span);
    size_t *offset = mem_zero(ctx, 3 * n, sizeof *offset);
    if (ctx->code == ST_OK) {
        for (int i = 0; i < net->n; ++i) reader[i] = last_reader(net, b, i);
        b->n_segment = 1;
        b->segment[1] = net->n;
        if (net->checkpoint_activations && net->mode == NET_TRAIN) choose_segments(ctx, net, reader, held, span);
    }
    if (ctx->code == ST_OK) {
        mark_held(net, b, held);
        list_spans(net, reader, held, span);
        merge_spans(net, span);
        for (int i = 0; i < net->n; ++i)
            b->again[i] = repeats(net, i) && segment_of(b, i) < b->n_segment - 1 && (!held[i] || span[net->n + i].size);
        bool planned = plan_offsets(ctx, 3 * net->n, span, offset, &total) == ST_OK;
        if (planned) b->arena_size = total;
        if (planned &&
            net_check_memory(ctx, net, "outputs", (double)total * (double)net->be->elem_size) == ST_OK)
            b->arena = net->be->ops->alloc(net->be, ctx, total);
        if (b->arena) set_pointers(net, span, offset);
    }
    free(reader), free(held), free(span), free(offset);
    return ctx->code;
}
