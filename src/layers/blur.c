#include "layers/blur.h"

#include <stdio.h>
#include <stdlib.h>

static int side(int kind) { return kind == BLUR_BOX ? 2 : 3; }
static int padding(int kind) { return kind == BLUR_BOX ? 0 : 1; }

static int steps(int kind, int n, int stride) {
    int span = n + 2 * padding(kind) - side(kind);
    return span < 0 ? 0 : span / stride + 1;
}

struct shape blur_out(int kind, struct shape inner, int stride_x, int stride_y) {
    return (struct shape){ 1, inner.c, steps(kind, inner.h, stride_y), steps(kind, inner.w, stride_x) };
}

/* They must stay as long as the plan is used. */
static enum status set_weights(struct pass *p, int kind, int channels, struct blur *b) {
    static const float box[] = { .25f, .25f, .25f, .25f };
    static const float binomial[] = { .0625f, .125f, .0625f, .125f, .25f, .125f, .0625f, .125f, .0625f };
    size_t cells = (size_t)(side(kind) * side(kind)), n = cells * (size_t)channels;
    const float *one = kind == BLUR_BOX ? box : binomial;
    float *all = mem_zero(p->ctx, n, sizeof *all);
    if (all) b->weights = p->be->ops->alloc(p->be, p->ctx, n);
    if (b->weights) {
        for (size_t i = 0; i < n; ++i) all[i] = one[i % cells];
        p->be->ops->put(p->be, all, n, b->weights);
        p->be->ops->conv_weights(p->be, p->ctx, b->plan, b->weights);
    }
    free(all);
    return p->ctx->code;
}

enum status blur_new(struct pass *p, int kind, struct shape inner, int stride_x, int stride_y, struct blur *b) {
    const struct backend_ops *ops = p->be->ops;
    size_t n = shape_count((struct shape){ p->batch, inner.c, inner.h, inner.w });
    bool backward = p->mode != NET_INFER;
    b->inner = shape_tensor(p->be, inner, p->batch, ops->alloc(p->be, p->ctx, n));
    if (backward) b->dinner = shape_tensor(p->be, inner, p->batch, ops->alloc(p->be, p->ctx, n));
    struct conv_desc d = { .x = b->inner, .y = *p->y, .groups = inner.c, .size = side(kind), .stride_x = stride_x,
                           .stride_y = stride_y, .dilation = 1, .pad = padding(kind), .act = ACT_LINEAR, .backward = backward };
    if (p->ctx->code == ST_OK) TRY(ops->conv_new(p->be, p->ctx, &d, &b->plan));
    return p->ctx->code == ST_OK ? set_weights(p, kind, inner.c, b) : p->ctx->code;
}

void blur_free(struct backend *be, struct blur *b) {
    if (b->plan) be->ops->conv_free(be, b->plan);
    be->ops->free(be, b->weights);
    be->ops->free(be, b->inner.data);
    be->ops->free(be, b->dinner.data);
    *b = (struct blur){ 0 };
}

enum status blur_forward(struct pass *p, struct blur *b) {
    return p->be->ops->conv_forward(p->be, p->ctx, b->plan, &b->inner, NULL, p->y);
}

enum status blur_backward(struct pass *p, struct blur *b) {
    return p->be->ops->conv_backward_data(p->be, p->ctx, b->plan, p->dy, &b->dinner, false);
}

void blur_describe(int kind, struct shape inner, struct shape out, int stride_x, int stride_y, char *text, size_t size) {
    char kernel[64];
    int k = side(kind);
    if (stride_x != stride_y) snprintf(kernel, sizeof kernel, "%2dx%2d/%2dx%2d ", k, k, stride_x, stride_y);
    else snprintf(kernel, sizeof kernel, "%2d x%2d/%2d   ", k, k, stride_x);
    snprintf(text, size, "\nAA:  conv  %5d/%4d %s%4d x%4d x%4d -> %4d x%4d x%4d %5.3f BF", inner.c, inner.c, kernel, inner.w, inner.h,
             inner.c, out.w, out.h, out.c, 2. * inner.c * k * k * out.w * out.h / 1e9);
}
