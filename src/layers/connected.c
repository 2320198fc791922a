/* [connected]: a matrix over all values of an image in the order c, h, w (darknet-compat 2.2).
 * x (N, C, H, W), weights (output, C, H*W) -> y (N, output, 1, 1). */
#include <stdio.h>
#include <stdlib.h>

#include "layers/affine.h"

struct connected {
    int output, batch_normalize, activation;
    struct affine_rows rows;
};

static const struct cfg_key keys[] = {
    CFG_INT(struct connected, output, 1, 1, 1 << 20),
    CFG_BOOL(struct connected, batch_normalize, 0),
    { .name = "activation", .type = CFG_T_CHOICE, .offset = offsetof(struct connected, activation), .def = ACT_LOGISTIC,
      .choices = activation_choices },
    CFG_END
};

static struct affine_desc map_of(const struct layer *l) {
    const struct connected *c = l->state;
    return affine_matrix(l->in_shape[0], c->output, c->batch_normalize, (enum activation)c->activation);
}

static enum status shape(struct ctx *ctx, struct layer *l, const struct layer *all, const struct net_options *net) {
    (void)all, (void)net;
    struct shape in = l->in_shape[0];
    struct connected *c = l->state;
    if ((double)in.c * in.h * in.w * c->output > 0x7fffffff)
        return layer_fail(ctx, l, "output", "%d outputs of %d x %d x %d values are more weights than can be", c->output, in.w, in.h, in.c);
    struct affine_desc map = map_of(l);
    l->out = map.y;
    c->rows = affine_params(l, &map, AFFINE_IN | AFFINE_OUT);
    return ST_OK;
}

static enum status prepare(struct layer *l, struct pass *p) {
    struct affine_desc map = map_of(l);
    l->run = mem_zero(p->ctx, 1, sizeof(struct affine));
    return l->run ? affine_open(l->run, p, &map, ((const struct connected *)l->state)->rows, p->batch, 1) : ST_MEMORY;
}

static void release(struct layer *l, struct backend *be) {
    if (l->run) affine_close(l->run, be);
    free(l->run);
    l->run = NULL;
}

static enum status refresh(struct layer *l, struct pass *p) { return affine_refresh(l->run, p); }

static enum status forward(struct layer *l, struct pass *p) { return affine_forward(l->run, p, 0, p->x[0], p->y); }

static enum status backward(struct layer *l, struct pass *p) {
    if (!p->dx[0]) return affine_backward(l->run, p, 0, p->x[0], p->y, p->dy, NULL, false);
    bool add;
    struct tensor edge = edge_begin(l, p, &add);
    TRY(affine_backward(l->run, p, 0, p->x[0], p->y, p->dy, &edge, add));
    return edge_end(l, p, &edge);
}

static bool reads(const struct layer *l) { (void)l; return true; }

/* Outputs are free, and input channel k owns its block of h*w columns: the arrays' axes say it all. */
static void couple(const struct layer *l, const struct layer *all, struct channels *ch) { (void)l, (void)all, (void)ch; }

static enum status rewrite(struct ctx *ctx, const struct layer *l, int kept_in, int kept_out, struct cfg_doc *doc) {
    (void)kept_in;
    return kept_out != l->out.c ? cfg_set_int(ctx, doc, l->index + 1, "output", kept_out) : ST_OK;
}

/* For the pruner only: Darknet's table counts none, l->flops stays 0. */
static double flops_at(const struct layer *l, int in_c, int out_c) {
    return 2.0 * out_c * in_c * l->in_shape[0].h * l->in_shape[0].w;
}

static void describe(const struct layer *l, char *text, size_t size) {
    snprintf(text, size, "connected                            %4zu  ->  %4d", shape_count(l->in_shape[0]), l->out.c);
}

const struct layer_ops connected_ops = {
    .name = "connected", .alias = "conn", .state_size = sizeof(struct connected), .keys = keys, .shape = shape, .prepare = prepare,
    .refresh = refresh, .forward = forward, .backward = backward, .release = release, .couple = couple, .rewrite = rewrite,
    .flops_at = flops_at, .reads = reads, .describe = describe, .uncounted = true
};
