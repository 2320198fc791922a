/* Inputs drawn on the device: memory and order of kernels_picture.h. */
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/internal.h"

enum { BLOCK_ALIGN = 64 };

/* Blocks as they lie on the device: their stride is that of the largest. */
struct picture_stage { void *at; size_t bytes, stride; int n; };

static void *picture_memory(struct backend *be, size_t bytes) {
    struct device *dev = cuda_device(be);
    return dev->ops->host_alloc(dev, bytes);
}

static void picture_release(struct backend *be, void *at) {
    struct device *dev = cuda_device(be);
    if (at) dev->ops->host_free(dev, at);
}

static enum status stage_open(struct backend *be, struct ctx *ctx, struct picture_stage **out) {
    (void)be;
    *out = mem_zero(ctx, 1, sizeof **out);
    return *out ? ST_OK : ST_MEMORY;
}

static void stage_close(struct backend *be, struct picture_stage *s) {
    struct device *dev = cuda_device(be);
    if (!s) return;
    dev->ops->send_end(dev);
    dev->ops->wait(dev);
    be->ops->free(be, s->at);
    free(s);
}

static enum status no_room(struct ctx *ctx, const struct picture_stage *s) {
    char why[sizeof ctx->error];
    if (ctx->code != ST_MEMORY) return ctx->code;
    memcpy(why, ctx->error, sizeof why);
    ctx_clear(ctx);
    return ctx_fail(ctx, ST_MEMORY, "pictures of %d images: %.900s; a smaller batch or more subdivisions need less", s->n, why);
}

static enum status stage_reserve(struct backend *be, struct ctx *ctx, struct picture_stage *s, size_t bytes) {
    if (bytes <= s->bytes) return ST_OK;
    cuda_device(be)->ops->send_end(cuda_device(be)); /* should copies to it have been sent in vain */
    be->ops->free(be, s->at);
    s->bytes = 0;
    s->at = be->ops->alloc(be, ctx, bytes / sizeof(float));
    if (!s->at) return no_room(ctx, s);
    s->bytes = bytes;
    return ST_OK;
}

static enum status stage_send(struct backend *be, struct ctx *ctx, struct picture_stage *s, const struct picture_block *const *block, int n) {
    struct device *dev = cuda_device(be);
    s->stride = BLOCK_ALIGN;
    for (int i = 0; i < n; ++i)
        if (block[i]->size > s->stride) s->stride = (block[i]->size + BLOCK_ALIGN - 1) / BLOCK_ALIGN * BLOCK_ALIGN;
    s->n = n;
    TRY(stage_reserve(be, ctx, s, s->stride * (size_t)n));
    dev->ops->send_begin(dev);
    for (int i = 0; i < n; ++i) dev->ops->send(dev, block[i], block[i]->size, (char *)s->at + s->stride * (size_t)i);
    return cuda_fault(be, ctx);
}

static enum status stage_draw(struct backend *be, struct ctx *ctx, struct picture_stage *s, struct tensor *x) {
    struct device *dev = cuda_device(be);
    struct draw_args a = { s->at, s->stride, view_of(x) };
    dev->ops->send_end(dev);
    if (x->c > PICTURE_CHANNELS || x->n != s->n)
        return ctx_fail(ctx, ST_BACKEND, "%d pictures were sent for an input of %d images, %d channels", s->n, x->n, x->c);
    RUN_EACH(be, draw, &a, cells_of(x));
    return cuda_fault(be, ctx);
}

const struct picture_ops cuda_picture_ops = { .memory = picture_memory, .release = picture_release, .open = stage_open, .close = stage_close,
                                              .send = stage_send, .draw = stage_draw };
