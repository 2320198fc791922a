#include "backend/cpu/cpu.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "backend/cpu/conv_onednn.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/local.h"
#include "backend/cpu/narrow.h"
#include "backend/memory.h"

/* One instruction set that the kernels are compiled for. */
struct isa {
    const char *name;
    void (*norm)(struct backend_ops *), (*map)(struct backend_ops *), (*vector)(struct backend_ops *);
    const struct plain_conv_ops *conv;
    const struct winograd_ops *winograd, *winograd_strided;
    const struct direct_ops *direct;
};

struct cpu_state {
    struct backend_ops ops;
    const struct isa *isa;
    enum cpu_precision precision;
    const struct narrow_ops *bf16, *int8; /* what convolutions may use; NULL: not these */
    struct onednn *dnn;
    void *scratch[SCRATCH_USES];
    size_t scratch_bytes[SCRATCH_USES];
};

struct conv_plan {
    struct conv_desc desc;
    bool product;            /* a matrix product: maps of one cell */
    const float *matrix;     /* its weights, the caller's */
    struct onednn_conv *dnn; /* NULL and none of the others: plain */
    float *wide;             /* dnn takes spare elements for channels: bias and weights, the rest 0; NULL: it does not */
    int wide_channels;
    bool fused;              /* dnn applies the activation */
    struct plain_conv plain;
    const struct winograd_ops *winograd; /* NULL, or: forward and gradient of the map */
    bool winograd_weights;   /* and gradient of the weights */
    struct winograd win;
    bool direct;             /* forward only, by our own products */
    struct direct own;
    const struct narrow_ops *few_bits; /* forward only, with narrow operands */
    struct narrow narrow;
};

#define ISA(text, isa) {text, cpu_norm_kernels_##isa, cpu_map_kernels_##isa, cpu_vector_kernels_##isa, &plain_conv_##isa, &winograd_##isa, &winograd_strided_##isa, \
                        &direct_##isa}

#ifdef __aarch64__
static const struct isa isa_base = ISA("NEON", base);
#else
static const struct isa isa_base = ISA("baseline", base);
#endif
#ifdef __x86_64__
static const struct isa isa_avx2 = ISA("AVX2", avx2), isa_avx512 = ISA("AVX-512", avx512);
#endif

bool cpu_has_avx512(void) {
#ifdef __x86_64__
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw");
#else
    return false;
#endif
}

/* The best instruction set that the machine has; DARKNET_ISA=avx2 or base in the environment asks for less, to compare. */
static const struct isa *best_isa(void) {
#ifdef __x86_64__
    const char *most = getenv("DARKNET_ISA");
    bool base = most && strcmp(most, "base") == 0, avx2 = most && strcmp(most, "avx2") == 0;
    __builtin_cpu_init();
    if (!base && !avx2 && cpu_has_avx512()) return &isa_avx512;
    if (!base && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &isa_avx2;
#endif
    return &isa_base;
}

static int threads(void) {
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

void *cpu_scratch(struct backend *be, enum scratch_use use, size_t bytes) {
    struct cpu_state *state = be->state;
    if (bytes <= state->scratch_bytes[use]) return state->scratch[use];
    struct ctx quiet = {0};
    block_free(be, state->scratch[use]);
    state->scratch[use] = block_alloc(be, &quiet, bytes, 1);
    state->scratch_bytes[use] = state->scratch[use] ? bytes : 0;
    return state->scratch[use];
}

static bool dense(const struct tensor *t) {
    struct rows r;
    return rows_of(t, &r) && r.step == r.c;
}

/* Where Winograd wins (measured): a rule, not a trial, so that results stay reproducible.  The gradient of the weights sums over
 * tiles and needs enough of them. */
static bool winograd_fits(const struct conv_desc *d) {
    int least = d->backward ? 16 : 8; /* channels */
    return d->size == 3 && d->stride_x == 1 && d->stride_y == 1 && d->dilation == 1 && d->groups == 1 && d->pad <= 2 && d->x.c >= least &&
           d->y.c >= least && d->y.h >= 3 && d->y.w >= 3;
}

/* Stride 2, forward only.  At least a third of the multiplications must go after the tiles at the border have been filled up, and
 * there must be enough tiles for each of the weights, which are nine times as many. */
static bool winograd_strided_fits(const struct conv_desc *d) {
    double tiles = (double)d->y.n * ((d->y.h + 3) / 4) * ((d->y.w + 3) / 4), cells = (double)d->y.n * d->y.h * d->y.w;
    return !d->backward && d->size == 3 && d->stride_x == 2 && d->stride_y == 2 && d->dilation == 1 && d->groups == 1 && d->pad <= 2 &&
           d->x.c >= 16 && d->y.c >= 16 && tiles >= 36 && 81 * tiles < 6 * cells;
}

static const struct winograd_ops *winograd_for(const struct isa *isa, const struct conv_desc *d) {
    if (!unit(&d->x) || !unit(&d->y)) return NULL;
    return winograd_fits(d) ? isa->winograd : winograd_strided_fits(d) ? isa->winograd_strided : NULL;
}

static bool winograd_weights_fit(const struct conv_desc *d) {
    return d->backward && winograd_fits(d) && d->x.c >= 24 && d->y.c >= 24 && d->y.n * ((d->y.h + 3) / 4) * ((d->y.w + 3) / 4) >= 48;
}

static bool winograd_new(const struct winograd_ops *ops, struct backend *be, struct ctx *ctx, struct winograd *w, const struct conv_desc *d) {
    w->desc = *d;
    w->forward = block_alloc(be, ctx, ops->weights_size(d->x.c, d->y.c), sizeof(float));
    if (d->backward) w->backward = block_alloc(be, ctx, ops->weights_size(d->y.c, d->x.c), sizeof(float));
    return w->forward && (w->backward || !d->backward);
}

static float *winograd_scratch(struct backend *be, struct ctx *ctx, const struct conv_plan *plan) {
    float *scratch = cpu_scratch(be, SCRATCH_WINOGRAD, plan->winograd->scratch_size(&plan->win, threads()) * sizeof *scratch);
    if (!scratch) ctx_fail(ctx, ST_MEMORY, "out of memory for a convolution's transformed maps");
    return scratch;
}

static bool unit_strides(const struct conv_desc *d) {
    return unit(&d->x) && unit(&d->y);
}

/* Maps of one cell are rows of a matrix.  Products on the stored weights beat convolution primitives there: 5 to 20 times in
 * the weights' gradient, 2 to 4 times forward from 8 images on, and they need no packed copies of what may be 100 million
 * weights. */
static bool is_product(const struct cpu_state *state, const struct conv_desc *d) {
    bool cells = d->x.h == 1 && d->x.w == 1 && d->y.h == 1 && d->y.w == 1;
    return state->dnn && cells && d->groups == 1 && d->size == 1 && d->pad == 0 && dense(&d->x) && dense(&d->y);
}

static bool product_forward(const struct conv_plan *p, const struct tensor *x, const float *bias, struct tensor *y) {
    float *to = y->data;
    for (int n = 0; bias && n < y->n; ++n) memcpy(to + (size_t)n * (size_t)y->c, bias, (size_t)y->c * sizeof *to);
    return onednn_product(false, true, x->n, y->c, x->c, x->data, p->matrix, bias ? 1 : 0, to);
}

static bool plain_new(struct backend *be, struct ctx *ctx, struct plain_conv *p, const struct conv_desc *d) {
    p->desc = *d;
    p->count = (size_t)d->y.c * (size_t)(d->x.c / d->groups) * (size_t)(d->size * d->size);
    p->forward = block_alloc(be, ctx, p->count, sizeof(float));
    if (!d->backward) return p->forward;
    p->backward = block_alloc(be, ctx, p->count, sizeof(float));
    p->slopes = block_alloc(be, ctx, p->count, sizeof(float));
    return p->forward && p->backward && p->slopes;
}

/* Passes forward only: our own products take maps whose pixels lie apart, and fuse what follows. */
static bool direct_fits(const struct conv_desc *d) {
    struct rows r;
    return !d->backward && d->groups == 1 && d->dilation == 1 && rows_of(&d->x, &r) && rows_of(&d->y, &r);
}

/* Where narrow products win (measured; docs/performance.md): 8 bits, four times the products of float, from 16 channels on; bf16, twice
 * of them, not where Winograd needs a quarter.  In int8, bf16 takes what no range is known of. */
static const struct narrow_ops *narrow_fits(const struct cpu_state *state, const struct conv_desc *d) {
    const int most = INT32_MAX / (127 * 255); /* products whose sum 32 bits hold */
    if (!direct_fits(d) || d->x.c < 16) return NULL;
    if (state->int8 && d->range && d->x.c <= most / (d->size * d->size)) return state->int8;
    return winograd_fits(d) ? NULL : state->bf16;
}

/* Depthwise, on maps that are dense with their spare elements. */
static bool spares(const struct conv_desc *d) {
    struct tensor x = d->x, y = d->y;
    x.c += x.spare, y.c += y.spare;
    return !d->backward && d->groups == d->x.c && d->groups == d->y.c && x.spare && x.spare == y.spare && dense(&x) && dense(&y);
}

/* Spare elements count as channels. */
static enum status widen(struct backend *be, struct ctx *ctx, struct conv_plan *plan, struct conv_desc *d) {
    if (!spares(d)) return ST_OK;
    d->groups = plan->wide_channels = d->x.c += d->x.spare, d->y.c += d->y.spare;
    plan->wide = block_alloc(be, ctx, (size_t)plan->wide_channels * (size_t)(1 + d->size * d->size), sizeof(float));
    if (plan->wide) memset(plan->wide, 0, (size_t)plan->wide_channels * sizeof(float));
    return ctx->code;
}

static bool wide_weights(struct conv_plan *plan, const float *w) {
    size_t n = (size_t)plan->desc.size * (size_t)plan->desc.size, used = (size_t)plan->desc.x.c * n;
    float *to = plan->wide + plan->wide_channels;
    memset(to, 0, (size_t)plan->wide_channels * n * sizeof *to);
    memcpy(to, w, used * sizeof *to);
    return onednn_conv_weights(plan->dnn, to);
}

static const float *wide_bias(struct conv_plan *plan, const float *bias) {
    if (plan->wide && bias) memcpy(plan->wide, bias, (size_t)plan->desc.x.c * sizeof *bias);
    return plan->wide && bias ? plan->wide : bias;
}

static void cpu_conv_free(struct backend *be, struct conv_plan *plan) {
    if (!plan) return;
    onednn_conv_free(plan->dnn);
    block_free(be, plan->wide);
    block_free(be, plan->win.forward);
    block_free(be, plan->win.backward);
    block_free(be, plan->own.weights);
    narrow_free(be, &plan->narrow);
    block_free(be, plan->plain.forward);
    block_free(be, plan->plain.backward);
    block_free(be, plan->plain.slopes);
    free(plan);
}

/* oneDNN (2.6; its tracker says later versions, too): the weights' gradient of a strided 1x1 convolution writes past its
 * workspace when a block of input channels (8, with AVX-512 16) is not full. */
static bool onednn_overruns(const struct conv_desc *d) {
    return d->backward && d->size == 1 && (d->stride_x > 1 || d->stride_y > 1) && d->x.c / d->groups < 16;
}

static enum status cpu_conv_new(struct backend *be, struct ctx *ctx, const struct conv_desc *desc,
                                struct conv_plan **out) {
    struct cpu_state *state = be->state;
    struct conv_plan *plan = mem_zero(ctx, 1, sizeof *plan);
    *out = NULL;
    if (!plan) return ST_MEMORY;
    plan->desc = *desc;
    plan->product = is_product(state, desc);
    if (plan->product) {
        *out = plan;
        return ST_OK;
    }
    plan->few_bits = narrow_fits(state, desc);
    if (plan->few_bits) {
        if (narrow_new(be, ctx, plan->few_bits, &plan->narrow, desc, plan->few_bits == state->int8)) *out = plan;
        else cpu_conv_free(be, plan);
        return ctx->code;
    }
    plan->winograd = winograd_for(state->isa, desc);
    plan->winograd_weights = plan->winograd && winograd_weights_fit(desc);
    plan->direct = !plan->winograd && direct_fits(desc);
    if (plan->direct) {
        plan->own.desc = *desc;
        plan->own.weights = block_alloc(be, ctx, state->isa->direct->weights_size(desc), sizeof(float));
        if (plan->own.weights) *out = plan;
        else cpu_conv_free(be, plan);
        return ctx->code;
    }
    bool rest = !plan->winograd || (desc->backward && !plan->winograd_weights); /* something is left for another algorithm */
    struct conv_desc wide = *desc;
    enum status status = state->dnn ? widen(be, ctx, plan, &wide) : ST_OK;
    if (status == ST_OK && rest && dense(&wide.x) && dense(&wide.y) && !onednn_overruns(desc))
        plan->dnn = onednn_conv_new(state->dnn, be, &wide, plan->winograd != NULL, &plan->fused);
    if (status != ST_OK)
        ;
    else if (plan->winograd && !winograd_new(plan->winograd, be, ctx, &plan->win, desc))
        status = ST_MEMORY;
    else if (!plan->dnn && !unit_strides(desc))
        status = ctx_fail(ctx, ST_UNSUPPORTED, "convolution: the cpu backend wants channels next to each other in memory");
    else if (rest && !plan->dnn && !plain_new(be, ctx, &plan->plain, desc))
        status = ST_MEMORY;
    if (status == ST_OK) *out = plan;
    else cpu_conv_free(be, plan);
    return status;
}

static enum status outcome(struct ctx *ctx, bool done, const char *what) {
    return done ? ST_OK : ctx_fail(ctx, ST_BACKEND, "oneDNN failed in a convolution's %s (out of memory?)", what);
}

static enum status cpu_conv_weights(struct backend *be, struct ctx *ctx, struct conv_plan *plan, const real *w) {
    struct cpu_state *state = be->state;
    plan->matrix = w;
    if (plan->product) return ST_OK;
    if (plan->few_bits) plan->few_bits->pack(&plan->narrow, w);
    else if (plan->winograd) plan->winograd->pack(&plan->win, w);
    else if (plan->direct) state->isa->direct->pack(&plan->own, w);
    else if (plan->dnn) return outcome(ctx, plan->wide ? wide_weights(plan, w) : onednn_conv_weights(plan->dnn, w), "weights");
    else state->isa->conv->pack(&plan->plain, w);
    return ST_OK;
}

static bool cpu_conv_borrows(const struct conv_plan *plan) { return plan->product; }

static float *direct_scratch(struct backend *be, struct ctx *ctx, const struct conv_plan *plan) {
    struct cpu_state *state = be->state;
    size_t bytes = (state->isa->direct->scratch_size(&plan->desc, threads()) + 1) * sizeof(float);
    float *scratch = cpu_scratch(be, SCRATCH_WINOGRAD, bytes);
    if (!scratch) ctx_fail(ctx, ST_MEMORY, "out of memory for a convolution's padded maps");
    return scratch;
}

static uint32_t *narrow_scratch(struct backend *be, struct ctx *ctx, const struct conv_plan *plan) {
    uint32_t *scratch = cpu_scratch(be, SCRATCH_WINOGRAD, plan->few_bits->scratch_size(&plan->desc, threads()) * sizeof *scratch);
    if (!scratch) ctx_fail(ctx, ST_MEMORY, "out of memory for a convolution's input in few bits");
    return scratch;
}

static enum status cpu_conv_forward_add(struct backend *be, struct ctx *ctx, struct conv_plan *plan, const struct tensor *x,
                                        const real *bias, const struct tensor *skip, struct tensor *y) {
    struct cpu_state *state = be->state;
    if (!plan->desc.bias) bias = NULL;
    if (plan->few_bits) {
        uint32_t *scratch = narrow_scratch(be, ctx, plan);
        if (scratch) plan->few_bits->forward(&plan->narrow, threads(), scratch, x, bias, skip, y);
        return ctx->code;
    }
    if (plan->winograd) {
        float *scratch = winograd_scratch(be, ctx, plan);
        if (scratch) plan->winograd->forward(&plan->win, threads(), scratch, x, bias, skip, y);
        return ctx->code;
    }
    if (plan->direct) {
        float *scratch = direct_scratch(be, ctx, plan);
        if (scratch) state->isa->direct->forward(&plan->own, threads(), scratch, x, bias, skip, y);
        return ctx->code;
    }
    bool fused = false;
    if (plan->product) {
        assert(dense(x) && dense(y));
        TRY(outcome(ctx, product_forward(plan, x, bias, y), "forward pass"));
    } else if (plan->dnn) {
        assert(plan->wide || (dense(x) && dense(y)));
        TRY(outcome(ctx, onednn_conv_forward(plan->dnn, x->data, wide_bias(plan, bias), y->data), "forward pass"));
        fused = plan->fused;
    } else {
        state->isa->conv->forward(&plan->plain, x, bias, y);
    }
    if (!fused && plan->desc.act != ACT_LINEAR) be->ops->act_forward(be, plan->desc.act, y, y);
    if (skip) be->ops->copy_channels(be, skip, 0, y, 0, y->c, 1, true);
    return ST_OK;
}

static enum status cpu_conv_forward(struct backend *be, struct ctx *ctx, struct conv_plan *plan, const struct tensor *x, const real *bias,
                                    struct tensor *y) {
    return cpu_conv_forward_add(be, ctx, plan, x, bias, NULL, y);
}

static enum status cpu_conv_backward_data(struct backend *be, struct ctx *ctx, struct conv_plan *plan,
                                          const struct tensor *dy, struct tensor *dx, bool add) {
    struct cpu_state *state = be->state;
    if (plan->winograd) {
        float *scratch = winograd_scratch(be, ctx, plan);
        if (scratch) plan->winograd->backward_data(&plan->win, threads(), scratch, dy, dx, add);
        return ctx->code;
    }
    if (plan->product) {
        assert(dense(dy) && dense(dx));
        bool done = onednn_product(false, false, dy->n, dx->c, dy->c, dy->data, plan->matrix, add ? 1 : 0, dx->data);
        return outcome(ctx, done, "backward pass");
    }
    if (!plan->dnn) {
        state->isa->conv->backward_data(&plan->plain, dy, dx, add);
        return ST_OK;
    }
    assert(dense(dy) && dense(dx));
    if (!add) return outcome(ctx, onednn_conv_backward_data(plan->dnn, dy->data, dx->data), "backward pass");
    size_t n = (size_t)elements(dx);
    float *part = cpu_scratch(be, SCRATCH_SUM, n * sizeof *part);
    if (!part) return ctx_fail(ctx, ST_MEMORY, "out of memory: %zu elements of a gradient", n);
    TRY(outcome(ctx, onednn_conv_backward_data(plan->dnn, dy->data, part), "backward pass"));
    be->ops->axpy(be, n, 1, part, dx->data);
    return ST_OK;
}

static enum status cpu_conv_backward_weights(struct backend *be, struct ctx *ctx, struct conv_plan *plan,
                                             const struct tensor *x, const struct tensor *dy, real *dw) {
    struct cpu_state *state = be->state;
    if (plan->winograd_weights) {
        float *scratch = winograd_scratch(be, ctx, plan);
        if (scratch) plan->winograd->backward_weights(&plan->win, threads(), scratch, x, dy, dw);
        return ctx->code;
    }
    if (plan->product)
        return outcome(ctx, onednn_product(true, false, dy->c, x->c, x->n, dy->data, x->data, 1, dw), "weight gradients");
    if (plan->dnn)
        return outcome(ctx, onednn_conv_backward_weights(plan->dnn, x->data, dy->data, dw), "weight gradients");
    state->isa->conv->backward_weights(&plan->plain, x, dy, dw);
    return ST_OK;
}

/* NULL where the CPU, the build or DARKNET_ISA has no instructions for it. */
static const struct narrow_ops *narrow_of(enum cpu_precision precision) {
    bool has = false;
#ifdef __x86_64__
    if (precision == CPU_BF16) has = __builtin_cpu_supports("avx512bf16");
    if (precision == CPU_INT8) has = __builtin_cpu_supports("avx512vnni");
    has = has && best_isa() == &isa_avx512;
#endif
    return !has ? NULL : precision == CPU_BF16 ? narrow_bf16() : narrow_int8();
}

static enum status check_precision(struct ctx *ctx, enum cpu_precision precision) {
    if (precision == CPU_F32 || narrow_of(precision)) return ST_OK;
    const char *most = getenv("DARKNET_ISA");
    return ctx_fail(ctx, ST_UNSUPPORTED, "precision %s: %s has no %s; use f32", precision == CPU_BF16 ? "bf16" : "int8",
                    most ? "what DARKNET_ISA leaves of this CPU" : "this CPU (or this build)",
                    precision == CPU_BF16 ? "products of bf16 (AVX512_BF16)" : "products of 8 bits (AVX512_VNNI)");
}

enum status cpu_open(struct ctx *ctx, struct backend *be, bool plain, enum cpu_precision precision) {
    TRY(check_precision(ctx, precision));
    struct cpu_state *state = mem_zero(ctx, 1, sizeof *state);
    if (!state) return ST_MEMORY;
    enum status status = plain ? ST_OK : onednn_open(ctx, &state->dnn);
    if (status != ST_OK) {
        free(state);
        return status;
    }
    state->isa = plain ? &isa_base : best_isa();
    state->precision = precision;
    if (precision != CPU_F32) state->bf16 = narrow_of(CPU_BF16);
    if (precision == CPU_INT8) state->int8 = narrow_of(CPU_INT8);
    state->ops = ref_f32_ops;
    state->ops.name = "cpu";
    state->isa->norm(&state->ops);
    state->isa->map(&state->ops);
    state->isa->vector(&state->ops);
    state->ops.conv_new = cpu_conv_new;
    state->ops.conv_free = cpu_conv_free;
    state->ops.conv_weights = cpu_conv_weights;
    state->ops.conv_borrows = cpu_conv_borrows;
    state->ops.conv_forward = cpu_conv_forward;
    state->ops.conv_forward_add = cpu_conv_forward_add;
    state->ops.conv_backward_data = cpu_conv_backward_data;
    state->ops.conv_backward_weights = cpu_conv_backward_weights;
    if (state->dnn) cpu_local_products(&state->ops);
    be->ops = &state->ops;
    be->elem_size = sizeof(float);
    be->channels_last = be->views = be->sums = be->host = true;
    be->lanes = state->dnn ? 8 : 0;
    be->state = state;
    return ST_OK;
}

void cpu_close(struct backend *be) {
    struct cpu_state *state = be->state;
    for (int i = 0; i < SCRATCH_USES; ++i) block_free(be, state->scratch[i]);
    onednn_close(state->dnn);
    free(state);
}

void cpu_describe(const struct backend *be, char *text, size_t size) {
    const struct cpu_state *state = be->state;
    char library[64];
    onednn_describe(library, sizeof library);
    int n = threads();
    static const char *const bits[] = { [CPU_F32] = "", [CPU_BF16] = ", bf16", [CPU_INT8] = ", int8" };
    snprintf(text, size, "CPU: %s, %s%s, %d thread%s", state->dnn ? library : "plain convolutions", state->isa->name,
             bits[state->precision], n, n == 1 ? "" : "s");
}
