/* The loss of [yolo] and [Gaussian_yolo] where the network computes: no copy of the head's input to the host and none of its
 * gradient back.  What is trained stands in yolo_loss.c; backends that offer it are held to that. */
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "layers/yolo.h"

/* What stays on the host: filtering of deltas late in training, which looks at all of them several times. */
static bool needs_host(const struct yolo *y) {
    const struct yolo_rejection *r = &y->rejection;
    return r->percentage != 0 || r->sigmas != 0 || r->equidistant_point != 0;
}

static struct yolo_desc description(const struct yolo *y, const struct pass *p) {
    return (struct yolo_desc){
        .anchors = yolo_anchors(y), .num = y->num, .classes = y->classes, .box = y->form->box_entries, .net_w = p->net_w, .net_h = p->net_h,
        .iou_loss = (enum iou_kind)y->iou_loss, .iou_thresh_kind = (enum iou_kind)y->iou_thresh_kind, .new_coords = y->new_coords,
        .smooth = y->objectness_smooth, .focal = y->focal_loss, .first_class_decides = y->form->first_class_decides,
        .averages = y->iou_thresh < 1 || y->form->averages_always, .averages_always = y->form->averages_always,
        .side = y->yolo_point == POINT_LEFT_TOP ? -1 : y->yolo_point == POINT_RIGHT_BOTTOM, .ignore_thresh = y->ignore_thresh,
        .truth_thresh = y->truth_thresh, .iou_thresh = y->iou_thresh, .iou_normalizer = y->iou_normalizer,
        .obj_normalizer = y->obj_normalizer, .cls_normalizer = y->cls_normalizer, .uc_normalizer = y->uc_normalizer,
        .delta_normalizer = y->delta_normalizer, .max_delta = y->max_delta, .scale_x_y = y->scale_x_y, .label_smooth_eps = y->label_smooth_eps
    };
}

enum status yolo_device_prepare(struct layer *l, struct pass *p) {
    const struct yolo *y = l->state;
    struct head_run *run = l->run;
    if (p->mode != NET_TRAIN || p->host_heads || !p->be->yolo || needs_host(y)) return ST_OK;
    struct yolo_desc desc = description(y, p);
    double *size = mem_zero(p->ctx, 2 * (size_t)y->num, sizeof *size);
    int32_t *number = mem_zero(p->ctx, (size_t)desc.anchors, sizeof *number);
    if (size && number) {
        for (int i = 0; i < 2 * y->num; ++i) size[i] = head_anchor(&y->anchors, i);
        for (int i = 0; i < desc.anchors; ++i) number[i] = yolo_anchor_number(y, i);
        struct yolo_tables tables = { size, number, run->multiplier };
        struct shape in = l->in_shape[0];
        in.n = p->batch;
        if (p->be->yolo->open(p->be, p->ctx, &desc, &tables, &run->plan) == ST_OK) run->delta = p->be->ops->alloc(p->be, p->ctx, shape_count(in));
    }
    free(size), free(number);
    free(l->head_x), free(l->head_delta);
    l->head_x = l->head_delta = NULL;
    return p->ctx->code;
}

bool yolo_loss_queued(const struct layer *l) {
    const struct head_run *run = l->run;
    return run && run->plan;
}

/* The batch's objects in one list.  Classes that the head does not know are left out, those that map= drops only train nothing. */
static enum status list_objects(struct ctx *ctx, const struct layer *l, const struct loss_args *args, struct yolo_object **out, int *n) {
    const struct yolo *y = l->state;
    size_t all = 0;
    *n = 0;
    for (int i = 0; i < args->batch; ++i) all += (size_t)args->truth[i].n;
    struct yolo_object *object = *out = mem_zero(ctx, all, sizeof *object);
    for (int i = 0; object && i < args->batch; ++i) {
        const struct truth_list *list = &args->truth[i];
        for (int k = 0; k < list->n && k < y->max; ++k) {
            const struct truth *t = &list->item[k];
            if (t->class_id < 0 || t->class_id >= y->classes) continue;
            object[(*n)++] = (struct yolo_object){ t->box, head_class(l, t->class_id, y->classes), i };
        }
    }
    return ctx->code;
}

enum status yolo_device_loss(struct ctx *ctx, struct layer *l, const struct loss_args *args) {
    struct head_run *run = l->run;
    struct yolo_object *object;
    int n;
    TRY(head_boxes(ctx, l, args));
    TRY(list_objects(ctx, l, args, &object, &n));
    struct tensor delta = shape_tensor(args->be, l->in_shape[0], args->batch, run->delta);
    enum status st = args->be->yolo->loss(args->be, ctx, run->plan, object, n, args->x, &delta);
    free(object);
    return st;
}

enum status yolo_loss_end(struct ctx *ctx, struct layer *l, const struct loss_args *args, struct loss_stats *stats) {
    const struct yolo *y = l->state;
    const struct head_run *run = l->run;
    struct yolo_sums s;
    TRY(args->be->yolo->sums(args->be, ctx, run->plan, &s));
    *stats = (struct loss_stats){ .iou_sum = s.iou, .count = (int)s.count, .boxes = s.boxes, .rewritten = s.rewritten };
    struct yolo_job j = { .l = l, .y = y, .g = yolo_grid(l), .stats = stats, .iou_error = s.iou_error, .giou_error = s.giou_error,
                          .own_class = s.own_class, .object = s.object, .any_object = s.any_object, .over50 = s.over50,
                          .over75 = s.over75, .overlap = s.overlap, .all = s.all, .box = s.box, .sigma = s.sigma };
    y->form->summarise(&j, args->batch);
    return ST_OK;
}
