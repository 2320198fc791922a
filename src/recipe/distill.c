#include "recipe/distill.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum status distill_open(struct ctx *ctx, struct distill *d, struct backend *be, struct net *teacher, double weight, double context,
                         double background) {
    *d = (struct distill){ .be = be, .teacher = teacher, .weight = weight, .context = context, .background = background,
                           .w = teacher->opt.width, .h = teacher->opt.height };
    if (teacher->opt.time_steps > 1 || teacher->opt.track)
        return ctx_fail(ctx, ST_UNSUPPORTED, "%s: -distill teaches on single pictures, this network trains on sequences", teacher->doc->path);
    for (int i = 0; i < teacher->n; ++i) {
        const struct layer *l = &teacher->layer[i];
        if (l->ops->head && !l->ops->head->imitate)
            return layer_fail(ctx, l, NULL, "-distill has no measure for this head; leave it out");
    }
    return ST_OK;
}

static enum status bind_teacher(struct ctx *ctx, struct distill *d, const struct net *student) {
    struct net *t = d->teacher;
    int w = student->opt.width, h = student->opt.height;
    if (t->be && t->opt.width == w && t->opt.height == h && t->batch == student->batch) return ST_OK;
    if (!t->be) {
        TRY(net_resize(ctx, t, w, h));
        return net_bind(ctx, t, d->be, NET_INFER, student->batch);
    }
    return net_rebind(ctx, t, w, h, student->batch);
}

/* What each cell of a grid counts: the largest claim of any box, `background` elsewhere. */
static enum status weigh_cells(struct ctx *ctx, struct distill *d, const struct net *net, const struct truth_list *boxes, int w, int h) {
    size_t cells = (size_t)w * (size_t)h;
    TRY(mem_grow(ctx, &d->map, &d->map_cap, 2 * cells, sizeof *d->map));
    float *sum = d->map, *one = d->map + cells;
    for (size_t p = 0; p < cells; ++p) sum[p] = (float)d->background;
    for (int o = 0; boxes && o < boxes->n; ++o) {
        if (!(boxes->item[o].box.w > 0) || !(boxes->item[o].box.h > 0)) continue;
        saliency_map(boxes->item[o].box, w, h, net->opt.width, net->opt.height, d->context, d->background, one);
        for (size_t p = 0; p < cells; ++p) sum[p] = fmaxf(sum[p], one[p]);
    }
    return ST_OK;
}

static double weigh(const struct distill *d, int cell) { return d->weight * (double)d->map[cell]; }

/* The first head from layer *i on; *i: the layer after it. */
static const struct layer *head_from(const struct net *net, int *i) {
    while (!net->layer[*i].ops->head) ++*i;
    return &net->layer[(*i)++];
}

enum status distill_loss(struct ctx *ctx, void *user, struct net *net, const float *x, const struct truth_list *boxes, double *loss) {
    struct distill *d = user;
    TRY(bind_teacher(ctx, d, net));
    TRY(net_forward(ctx, d->teacher, x));
    for (int i = 0, t = 0; i < net->n; ++i) {
        struct layer *l = &net->layer[i];
        if (!l->ops->head) continue;
        const struct layer *master = head_from(d->teacher, &t); /* heads go in pairs, whatever was cut out between them */
        if (!l->head_delta) continue;
        struct head_info info;
        l->ops->head->info(l, &info);
        int w = l->in_shape[0].w, h = l->in_shape[0].h;
        for (int b = 0; b < net->batch; ++b) {
            TRY(weigh_cells(ctx, d, net, boxes ? &boxes[b] : NULL, w, h));
            for (int q = 0; q < info.predictions; ++q)
                *loss += weigh(d, q % (w * h)) * l->ops->head->imitate(l, master, b, q, weigh(d, q % (w * h)), net->opt.width, net->opt.height);
        }
    }
    return isfinite(*loss) ? ST_OK : ctx_fail(ctx, ST_NUMERIC, "the loss of -distill is not finite; lower it, or -finetune_lr");
}

void distill_close(struct distill *d) {
    struct ctx quiet = { 0 };
    if (d->teacher) {
        net_unbind(d->teacher);
        net_resize(&quiet, d->teacher, d->w, d->h);
    }
    free(d->map);
    memset(d, 0, sizeof *d);
}
