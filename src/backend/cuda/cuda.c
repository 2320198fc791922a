#include "backend/cuda/cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/internal.h"
#include "base/text.h"

struct device *cuda_device(struct backend *be) { return ((struct cuda_state *)be->state)->dev; }

enum status cuda_fault(struct backend *be, struct ctx *ctx) {
    const struct device *dev = cuda_device(be);
    return dev->failed ? ctx_fail(ctx, dev->code, "%s", dev->error) : ST_OK;
}

/* --- Memory ------------------------------------------------------------------------------------------------------------ */

/* Says what there is beside what was asked for; after a fault nothing is given out. */
static void *no_memory(struct backend *be, struct ctx *ctx, double bytes) {
    struct device *dev = cuda_device(be);
    double left, total;
    be->refused = bytes;
    dev->ops->room(dev, &left, &total);
    if (dev->failed) cuda_fault(be, ctx);
    else if (total > 0)
        ctx_fail(ctx, ST_MEMORY, "the GPU is out of memory: %.2f MB asked for, %.2f MB free of %.2f MB, %.2f MB of them in use here", bytes / 1e6,
                 left / 1e6, total / 1e6, (double)be->bytes / 1e6);
    else ctx_fail(ctx, ST_MEMORY, "out of memory: %.0f bytes", bytes);
    return NULL;
}

static void *block_new(struct backend *be, struct ctx *ctx, size_t n, size_t size) {
    struct cuda_state *state = be->state;
    if ((double)n * (double)size > 1e15) return no_memory(be, ctx, (double)n * (double)size);
    if (mem_grow(ctx, &state->block, &state->cap_block, state->n_block + 1, sizeof *state->block) != ST_OK) return NULL;
    if (!device_free_to(state->dev)) return ctx_fail(ctx, ST_BACKEND, "memory was asked for in the middle of a recorded pass"), NULL;
    void *at = state->dev->ops->alloc(state->dev, n * size);
    if (!at) return no_memory(be, ctx, (double)n * (double)size);
    state->block[state->n_block++] = (struct cuda_block){ at, n * size };
    be->bytes += n * size;
    if (be->bytes > be->peak_bytes) be->peak_bytes = be->bytes;
    return at;
}

static void block_drop(struct backend *be, void *at) {
    struct cuda_state *state = be->state;
    for (size_t i = state->n_block; at && i-- > 0;) {
        if (state->block[i].at != at) continue;
        be->bytes -= state->block[i].bytes;
        state->block[i] = state->block[--state->n_block];
        state->dev->ops->free(state->dev, at);
        return;
    }
}

static void cuda_room(struct backend *be, double *left, double *total) {
    struct device *dev = cuda_device(be);
    dev->ops->room(dev, left, total);
}

static real *cuda_alloc(struct backend *be, struct ctx *ctx, size_t n) { return block_new(be, ctx, n, sizeof(float)); }
static void cuda_free(struct backend *be, real *block) { block_drop(be, block); }
static int32_t *cuda_alloc_index(struct backend *be, struct ctx *ctx, size_t n) { return block_new(be, ctx, n, sizeof(int32_t)); }
static void cuda_free_index(struct backend *be, int32_t *block) { block_drop(be, block); }

void *cuda_scratch(struct backend *be, enum cuda_scratch use, size_t bytes) {
    struct cuda_state *state = be->state;
    struct ctx why = { 0 };
    if (bytes <= state->scratch_bytes[use] && state->scratch[use]) return state->scratch[use];
    if (!device_free_to(state->dev)) return NULL;
    ++state->dev->generation;
    block_drop(be, state->scratch[use]);
    state->scratch[use] = block_new(be, &why, bytes, 1);
    state->scratch_bytes[use] = state->scratch[use] ? bytes : 0;
    if (!state->scratch[use]) device_fault(state->dev, ST_MEMORY, "%s", why.error);
    return state->scratch[use];
}

void *cuda_table(struct backend *be, enum cuda_scratch use, const void *host, size_t bytes) {
    struct device *dev = cuda_device(be);
    void *at = cuda_scratch(be, use, bytes);
    if (at) dev->ops->upload(dev, host, bytes, at);
    return at;
}

static void cuda_get(struct backend *be, const real *src, size_t n, float *dst) {
    struct device *dev = cuda_device(be);
    if (n) dev->ops->download(dev, src, n * sizeof *dst, dst);
}

static void cuda_put(struct backend *be, const float *src, size_t n, real *dst) {
    struct device *dev = cuda_device(be);
    if (n) dev->ops->upload(dev, src, n * sizeof *src, dst);
}

static real *cuda_at(struct backend *be, real *block, size_t offset) {
    (void)be;
    return (float *)block + offset;
}

static enum status cuda_sync(struct backend *be, struct ctx *ctx) {
    struct device *dev = cuda_device(be);
    dev->ops->wait(dev);
    return cuda_fault(be, ctx);
}

/* --- Views --------------------------------------------------------------------------------------------------------------- */

size_t elements_of(const struct tensor *t) { return (size_t)t->n * (size_t)t->c * (size_t)t->h * (size_t)t->w; }
size_t cells_of(const struct tensor *t) { return (size_t)t->n * (size_t)t->h * (size_t)t->w; }

struct view view_of(const struct tensor *t) {
    if (!t) return (struct view){ .n = 1, .c = 1, .h = 1, .w = 1 };
    struct view v = { .data = t->data, .type = t->type, .kind = VIEW_ANY, .n = (uint32_t)t->n, .c = (uint32_t)t->c, .h = (uint32_t)t->h,
                      .w = (uint32_t)t->w, .sn = t->sn, .sc = t->sc, .sh = t->sh, .sw = t->sw };
    /* The stride of an axis of one element says nothing. */
    ptrdiff_t step = t->w > 1 ? t->sw : t->h > 1 ? t->sh : t->n > 1 ? t->sn : t->c;
    bool even = (t->h == 1 || t->sh == t->w * step) && (t->n == 1 || t->sn == (ptrdiff_t)t->h * t->w * step);
    if (!even || (t->c > 1 && t->sc != 1)) return v;
    v.sw = step;
    v.kind = step == t->c ? VIEW_FLAT : VIEW_ROWS;
    return v;
}

/* --- Opening --------------------------------------------------------------------------------------------------------------- */

enum { USUAL_SCRATCH = 1 << 20 };

/* Takes the device over; after a failure with a state cuda_close is due. */
static enum status open_on(struct ctx *ctx, struct backend *be, struct device *dev, const char *name) {
    struct cuda_state *state = mem_zero(ctx, 1, sizeof *state);
    if (!state) {
        dev->ops->close(dev);
        return ST_MEMORY;
    }
    state->dev = dev;
    state->ops = (struct backend_ops){ .name = name, .alloc = cuda_alloc, .free = cuda_free, .get = cuda_get, .put = cuda_put, .at = cuda_at,
                                       .alloc_index = cuda_alloc_index, .free_index = cuda_free_index, .sync = cuda_sync };
    cuda_map_ops(&state->ops);
    cuda_norm_ops(&state->ops);
    cuda_vector_ops(&state->ops);
    cuda_conv_ops(&state->ops);
    be->ops = &state->ops;
    be->yolo = &cuda_yolo_ops;
    be->passes = &cuda_pass_ops;
    be->pictures = &cuda_picture_ops;
    be->elem_size = sizeof(float);
    be->channels_last = be->sums = true;
    be->narrow_maps = precision_factor(dev->precision);
    be->narrow_gradients = dev->precision == PRECISION_FP16;
    be->memory = dev->memory;
    if (dev->memory > 0) be->room = cuda_room;
    be->state = state;
    /* What batch norm's sums and the optimiser's tables take at most in common networks; scratch of layers is taken with them. */
    cuda_scratch(be, SCRATCH_SUMS, USUAL_SCRATCH);
    cuda_scratch(be, SCRATCH_TABLE, USUAL_SCRATCH);
    return cuda_fault(be, ctx);
}

static enum status open_or_close(struct ctx *ctx, struct backend *be, struct device *dev, const char *name) {
    enum status status = open_on(ctx, be, dev, name);
    if (status != ST_OK && be->state) cuda_close(be);
    return status;
}

bool cuda_names(const char *kind) { return strcmp(kind, "cuda") == 0 || strncmp(kind, "cuda:", 5) == 0; }

static const char *const names[] = { "fp32", "tf32", "bf16", "fp16" }; /* by number */
const char *precision_name(enum precision p) { return names[p]; }
enum element precision_factor(enum precision p) {
    return p == PRECISION_FP16 ? ELEMENT_HALF : p == PRECISION_BF16 ? ELEMENT_BRAIN : ELEMENT_REAL;
}

static bool read_precision(const char *name, enum precision *precision) {
    for (int i = 0; i < 4; ++i)
        if (strcmp(name, names[i]) == 0) return *precision = (enum precision)i, true;
    *precision = device_fast_precision();
    return strcmp(name, "fast") == 0;
}

/* "", ":N" or ":N:precision". */
static bool read_kind(const char *rest, int *number, enum precision *precision) {
    *number = 0;
    *precision = PRECISION_FP32;
    if (!*rest) return true;
    if (*rest++ != ':' || !text_int(rest, number, &rest) || *number < 0) return false;
    return !*rest || (*rest == ':' && read_precision(rest + 1, precision));
}

enum status cuda_open(struct ctx *ctx, struct backend *be, const char *kind) {
    struct device *dev;
    int number;
    enum precision precision;
    if (!read_kind(kind + strlen("cuda"), &number, &precision))
        return ctx_fail(ctx, ST_USAGE, "backend '%s': cuda:N or cuda:N:PRECISION with fp32, tf32, bf16, fp16 or fast is meant", kind);
    TRY(device_cuda_open(ctx, number, precision, &dev));
    return open_or_close(ctx, be, dev, "cuda");
}

enum status cuda_open_emulated(struct ctx *ctx, struct backend *be, const char *kind) {
    struct device *dev;
    enum precision precision = PRECISION_FP32;
    const char *rest = kind + strlen("cuda-emulated");
    double limit = 0;
    if (*rest == '@') {
        char *end;
        limit = 1e6 * strtod(rest + 1, &end);
        rest = end;
    }
    if (*rest && (*rest != ':' || !read_precision(rest + 1, &precision)))
        return ctx_fail(ctx, ST_USAGE, "backend '%s': cuda-emulated, cuda-emulated:PRECISION or cuda-emulated@MEGABYTES is meant", kind);
    TRY(device_host_open(ctx, precision, *rest != '\0', limit, &dev));
    return open_or_close(ctx, be, dev, "cuda-emulated");
}

void cuda_close(struct backend *be) {
    struct cuda_state *state = be->state;
    for (int i = 0; i < SCRATCH_USES; ++i) block_drop(be, state->scratch[i]);
    state->dev->ops->close(state->dev);
    free(state->block);
    free(state);
}

void cuda_describe(const struct backend *be, char *text, size_t size) {
    const struct cuda_state *state = be->state;
    state->dev->ops->describe(state->dev, text, size);
}

int cuda_count(char *why, size_t size) { return device_cuda_count(why, size); }

enum status cuda_collective(struct ctx *ctx, struct backend *const *be, int ranks, struct collective **out) {
    struct device **dev = mem_zero(ctx, (size_t)ranks, sizeof *dev);
    bool all = dev != NULL;
    *out = NULL;
    for (int i = 0; i < ranks && all; ++i) {
        all = strcmp(be[i]->ops->name, "cuda") == 0;
        if (all) dev[i] = cuda_device(be[i]);
    }
    enum status st = all ? device_cuda_collective(ctx, dev, ranks, out) : ctx->code;
    free(dev);
    return st;
}
