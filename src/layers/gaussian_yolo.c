/* [Gaussian_yolo]: [yolo] that gives each of x, y, w, h an uncertainty (darknet-compat 3.5).
 * Input (N, n*(9+C), H, W), planes of an anchor: x, sigma x, y, sigma y, w, sigma w, h, sigma h, objectness, classes. */
#include <math.h>
#include <stdio.h>

#include "layers/yolo.h"

#define PI 3.14159265358979323846

static const struct cfg_choice nms_kinds[] = { { "default", NMS_DEFAULT }, { "greedynms", NMS_GREEDY }, { "diounms", NMS_DIOU },
                                               { "cornersnms", NMS_CORNERS }, { NULL, 0 } };
static const struct cfg_choice points[] = { { "center", POINT_CENTER }, { "left_top", POINT_LEFT_TOP },
                                            { "right_bottom", POINT_RIGHT_BOTTOM }, { NULL, 0 } };

static const struct cfg_key keys[] = {
    YOLO_KEYS,
    { .name = "nms_kind", .type = CFG_T_CHOICE, .offset = offsetof(struct yolo, nms_kind), .def = NMS_DEFAULT,
      .choices = nms_kinds, .lenient = true },
    { .name = "yolo_point", .type = CFG_T_CHOICE, .offset = offsetof(struct yolo, yolo_point), .def = POINT_CENTER,
      .choices = points, .lenient = true },
    CFG_FLOAT(struct yolo, uc_normalizer, 1),
    CFG_END
};

/* Deltas of one coordinate and of its uncertainty s, from the distance d to its target; f: weight of the box. */
static void normal_delta(double d, double s, double f, double *coord, double *sigma) {
    double e = d / s, wide = s + .3, density = exp(-e * e / 2) / (sqrt(2 * PI) * wide);
    double k = f * density / (density + 1e-9) / 2;
    *coord = k * e / s;
    *sigma = k * (e * e / s - 1 / wide);
}

static void box_delta(const struct yolo_job *j, const struct head_cell *c, struct box pred, struct box t, double factor, float *d) {
    const struct yolo *y = j->y;
    int number = yolo_anchor_number(y, c->anchor), side = y->yolo_point == POINT_LEFT_TOP ? -1 : y->yolo_point == POINT_RIGHT_BOTTOM;
    const double target[4] = {
        (t.x + (double)side * t.w / 2) * j->g.w - c->col, (t.y + (double)side * t.h / 2) * j->g.h - c->row,
        log((double)t.w * j->net_w / head_anchor(&y->anchors, 2 * number)),
        log((double)t.h * j->net_h / head_anchor(&y->anchors, 2 * number + 1))
    };
    double coord[4], sigma[4];
    for (int e = HEAD_X; e <= HEAD_H; ++e)
        normal_delta(target[e] - yolo_value(y, j->x, c, yolo_coord(y, e)), yolo_value(y, j->x, c, yolo_sigma(y, e)),
                     2 - (double)t.w * t.h, &coord[e], &sigma[e]);
    if (y->iou_loss != IOU_MSE) {
        struct box_grad g = box_iou_darknet_grad((enum iou_kind)y->iou_loss, pred, t);
        yolo_overlap_delta(y, c, j->x, pred, t, coord);
        coord[HEAD_X] += side * g.w / 2;
        coord[HEAD_Y] += side * g.h / 2;
    }
    for (int e = HEAD_X; e <= HEAD_H; ++e) {
        d[yolo_coord(y, e)] = yolo_clipped(y, coord[e] * y->iou_normalizer * factor);
        d[yolo_sigma(y, e)] = yolo_clipped(y, sigma[e] * y->uc_normalizer);
    }
}

/* Upstream's uc_loss takes the planes of w and h for those of the uncertainties; here it is theirs. */
static void summarise(const struct yolo_job *j, int batch) {
    struct loss_stats *s = j->stats;
    double all = j->all, box = j->box, sigma = j->sigma;
    s->loss = all;
    s->class_loss = (all - box) / batch;
    s->iou_loss = (box - sigma) / batch;
    snprintf(s->line, sizeof s->line,
             "Region %d Avg IOU: %f, Class: %f, Obj: %f, No Obj: %f, .5R: %f, .75R: %f,  count: %d, class_loss = %.2f, "
             "iou_loss = %.2f, uc_loss = %.2f, total_loss = %.2f ",
             j->l->index, head_ratio(j->overlap, s->count), head_ratio(j->own_class, s->count), head_ratio(j->object, s->count),
             j->any_object / ((double)head_predictions(&j->g) * batch), head_ratio(j->over50, s->count),
             head_ratio(j->over75, s->count), s->count, s->class_loss, s->iou_loss, sigma / batch, all / batch);
}

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    static const struct yolo_form form = { .box_entries = 8, .first_class_decides = true, .averages_always = true,
                                           .box_delta = box_delta, .summarise = summarise };
    (void)all;
    return yolo_shape(ctx, l, &form, net);
}

static void couple(const struct layer *l, const struct layer *all, struct channels *ch) {
    (void)all;
    channels_freeze(ch, l->in[0], "read by [Gaussian_yolo]");
}

static void describe(const struct layer *l, char *text, size_t size) {
    const struct yolo *y = l->state;
    snprintf(text, size,
             "[Gaussian_yolo] iou loss: %s (%d), iou_norm: %2.2f, obj_norm: %2.2f, cls_norm: %2.2f, delta_norm: %2.2f, "
             "scale: %2.2f, point: %d",
             yolo_iou_name(y), y->iou_loss, y->iou_normalizer, y->obj_normalizer, y->cls_normalizer, y->delta_normalizer,
             y->scale_x_y, y->yolo_point);
}

static void info(const struct layer *l, struct head_info *i) {
    yolo_info(l, 29, i);
    i->point = ((const struct yolo *)l->state)->yolo_point;
}

static void uncertainty(const struct layer *l, int image, int prediction, float *uc) {
    struct head_grid g = yolo_grid(l);
    struct head_cell c = head_cell(&g, image, prediction);
    for (int e = HEAD_X; e <= HEAD_H; ++e) uc[e] = yolo_value(l->state, l->head_x, &c, yolo_sigma(l->state, e));
}

static const struct head_ops head = { .info = info, .decode = yolo_decode, .assign = yolo_assign, .utility = yolo_utility,
                                      .objectness = yolo_objectness, .imitate = yolo_imitate, .activate = yolo_activate, .uncertainty = uncertainty };

const struct layer_ops gaussian_yolo_ops = {
    .name = "Gaussian_yolo", .state_size = sizeof(struct yolo), .keys = keys, .shape = shape, .prepare = yolo_prepare,
    .views = layer_views, .forward = yolo_forward, .backward = yolo_backward, .release = head_release, .couple = couple, .reads = head_reads,
    .describe = describe, .loss = yolo_loss, .loss_queued = yolo_loss_queued, .loss_end = yolo_loss_end, .head = &head
};
