#include "backend/cpu/conv_onednn.h"

#ifdef HAVE_ONEDNN

#include <stdio.h>
#include <stdlib.h>

#include "backend/cpu/cpu.h"
#include "backend/cpu/onednn.h"
#include "backend/memory.h"

struct onednn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
};

enum pass { FORWARD, DATA, WEIGHTS };

/* The five tensors of a convolution; which of them a primitive calls source or gradient depends on the pass. */
enum operand { X, W, B, Y, OPERANDS };

/* A change of memory format; absent (NULL) where both sides agree. */
struct reorder {
    dnnl_primitive_t primitive;
    dnnl_memory_t from, to;
};

struct primitive {
    dnnl_primitive_t primitive;
    dnnl_memory_t operand[OPERANDS];
    struct reorder x, w, y; /* between our format and the primitive's own: operands into it, the result out of it */
    float *packed;          /* weights in the primitive's format */
    size_t x_bytes, y_bytes; /* of the copies in the primitive's format; 0: used as they are */
};

struct onednn_conv {
    struct onednn *dnn;
    struct backend *be;
    struct primitive pass[3];
    bool bias, backward;
};

/* A convolution in oneDNN's terms. */
struct problem {
    const struct conv_desc *desc;
    layout plain[OPERANDS], any[OPERANDS]; /* channels-last and Darknet's weight order; format left to the library */
    dnnl_dims_t strides, dilates, left, right;
};

static bool describe_pass(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const struct problem *p, enum pass pass, bool blocked,
                          dnnl_primitive_desc_t hint, dnnl_primitive_attr_t attr) {
    dnnl_prop_kind_t forward = p->desc->backward ? dnnl_forward_training : dnnl_forward_inference;
    struct onednn_conv_desc d = { .kind = pass == DATA ? dnnl_backward_data : pass == WEIGHTS ? dnnl_backward_weights : forward,
                                  .x = view_of(blocked ? &p->any[X] : &p->plain[X]),
                                  .y = view_of(blocked ? &p->any[Y] : &p->plain[Y]),
                                  .w = view_of(&p->any[W]),
                                  .bias = p->desc->bias && pass == FORWARD ? view_of(&p->plain[B]) : NULL,
                                  .strides = p->strides, .dilates = p->dilates, .before = p->left, .behind = p->right };
    return onednn_conv_describe(pd, engine, &d, hint, attr) == dnnl_success;
}

/* ---- problems ---- */

static void problem_free(struct problem *p) {
    for (int i = 0; i < OPERANDS; ++i) layout_free(&p->plain[i]), layout_free(&p->any[i]);
}

/* Padding behind the last row or column, as the output size implies; it may be less than in front, or negative. */
static dnnl_dim_t pad_behind(int in, int out, int stride, const struct conv_desc *d) {
    return (dnnl_dim_t)(out - 1) * stride + (d->size - 1) * d->dilation + 1 - in - d->pad;
}

static bool problem_new(struct problem *p, const struct conv_desc *d) {
    *p = (struct problem){.desc = d,
                          .strides = {d->stride_y, d->stride_x},
                          .dilates = {d->dilation - 1, d->dilation - 1},
                          .left = {d->pad, d->pad},
                          .right = {pad_behind(d->x.h, d->y.h, d->stride_y, d),
                                    pad_behind(d->x.w, d->y.w, d->stride_x, d)}};
    dnnl_dims_t x = {d->x.n, d->x.c, d->x.h, d->x.w}, y = {d->y.n, d->y.c, d->y.h, d->y.w}, b = {d->y.c};
    dnnl_dims_t w = {d->y.c, d->x.c, d->size, d->size};
    dnnl_dims_t grouped = {d->groups, d->y.c / d->groups, d->x.c / d->groups, d->size, d->size};
    bool g = d->groups > 1;
    return layout_new(&p->plain[X], 4, x, dnnl_nhwc) && layout_new(&p->any[X], 4, x, dnnl_format_tag_any) &&
           layout_new(&p->plain[Y], 4, y, dnnl_nhwc) && layout_new(&p->any[Y], 4, y, dnnl_format_tag_any) &&
           layout_new(&p->plain[B], 1, b, dnnl_x) &&
           layout_new(&p->plain[W], g ? 5 : 4, g ? grouped : w, g ? dnnl_goihw : dnnl_oihw) &&
           layout_new(&p->any[W], g ? 5 : 4, g ? grouped : w, dnnl_format_tag_any);
}

/* oneDNN's name of an activation, where it computes exactly the same function. */
static bool eltwise_of(enum activation act, dnnl_alg_kind_t *kind, float *alpha, float *beta) {
    *alpha = *beta = 0;
    switch (act) {
    case ACT_RELU: *kind = dnnl_eltwise_relu; return true;
    case ACT_LEAKY:
    case ACT_REVLEAKY: *kind = dnnl_eltwise_relu, *alpha = .1f; return true;
    case ACT_RELIE: *kind = dnnl_eltwise_relu, *alpha = .01f; return true;
    case ACT_RELU6: *kind = dnnl_eltwise_clip, *beta = 6; return true;
    case ACT_LOGISTIC: *kind = dnnl_eltwise_logistic; return true;
    case ACT_TANH: *kind = dnnl_eltwise_tanh; return true;
    case ACT_SWISH: *kind = dnnl_eltwise_swish, *alpha = 1; return true;
    case ACT_MISH: *kind = dnnl_eltwise_mish; return true;
    default: return false;
    }
}

static dnnl_primitive_attr_t attributes(enum activation act) {
    dnnl_alg_kind_t kind;
    float alpha, beta;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t ops = NULL;
    if (!eltwise_of(act, &kind, &alpha, &beta) || dnnl_primitive_attr_create(&attr) != dnnl_success) return NULL;
    bool made = dnnl_post_ops_create(&ops) == dnnl_success && append_eltwise(ops, kind, alpha, beta) == dnnl_success &&
                dnnl_primitive_attr_set_post_ops(attr, ops) == dnnl_success;
    if (ops) dnnl_post_ops_destroy(ops);
    if (made) return attr;
    dnnl_primitive_attr_destroy(attr);
    return NULL;
}

/* ---- primitives ---- */

static void reorder_free(struct reorder *r) {
    if (r->primitive) dnnl_primitive_destroy(r->primitive);
    if (r->from) dnnl_memory_destroy(r->from);
    if (r->to) dnnl_memory_destroy(r->to);
}

static bool reorder_new(struct onednn *dnn, struct reorder *r, layout_view from, layout_view to, bool add) {
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t ops = NULL;
    dnnl_primitive_desc_t pd = NULL;
    bool made = true;
    if (add)
        made = dnnl_primitive_attr_create(&attr) == dnnl_success && dnnl_post_ops_create(&ops) == dnnl_success &&
               append_sum(ops) == dnnl_success && dnnl_primitive_attr_set_post_ops(attr, ops) == dnnl_success;
    made = made &&
           dnnl_reorder_primitive_desc_create(&pd, from, dnn->engine, to, dnn->engine, attr) == dnnl_success &&
           dnnl_primitive_create(&r->primitive, pd) == dnnl_success &&
           dnnl_memory_create(&r->from, from, dnn->engine, DNNL_MEMORY_NONE) == dnnl_success &&
           dnnl_memory_create(&r->to, to, dnn->engine, DNNL_MEMORY_NONE) == dnnl_success;
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (ops) dnnl_post_ops_destroy(ops);
    if (attr) dnnl_primitive_attr_destroy(attr);
    return made;
}

static bool set(dnnl_memory_t memory, const float *data) {
    return dnnl_memory_set_data_handle(memory, (void *)(uintptr_t)data) == dnnl_success;
}

static bool reorder_run(struct onednn *dnn, struct reorder *r, const float *from, float *to) {
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, r->from}, {DNNL_ARG_TO, r->to}};
    return set(r->from, from) && set(r->to, to) &&
           dnnl_primitive_execute(r->primitive, dnn->stream, 2, args) == dnnl_success;
}

static void primitive_free(struct backend *be, struct primitive *p) {
    if (p->primitive) dnnl_primitive_destroy(p->primitive);
    for (int i = 0; i < OPERANDS; ++i)
        if (p->operand[i]) dnnl_memory_destroy(p->operand[i]);
    reorder_free(&p->x), reorder_free(&p->w), reorder_free(&p->y);
    block_free(be, p->packed);
}

static bool operand_new(struct onednn *dnn, dnnl_memory_t *memory, layout_view l) {
    return dnnl_memory_create(memory, l, dnn->engine, DNNL_MEMORY_NONE) == dnnl_success;
}

/* A map in the primitive's own format is a copy: its reorder and size. */
static bool copy_new(struct onednn *dnn, struct reorder *r, layout_view plain, layout_view own, bool result, size_t *bytes) {
    *bytes = 0;
    if (dnnl_memory_desc_equal(plain, own)) return true;
    *bytes = (dnnl_memory_desc_get_size(own) + 63) / 64 * 64;
    return result ? reorder_new(dnn, r, own, plain, false) : reorder_new(dnn, r, plain, own, false);
}

static layout_view query(dnnl_primitive_desc_t pd, enum pass pass, enum operand o) {
    dnnl_query_t what = o == X ? (pass == DATA ? dnnl_query_diff_src_md : dnnl_query_src_md)
                        : o == W ? (pass == WEIGHTS ? dnnl_query_diff_weights_md : dnnl_query_weights_md)
                                 : (pass == FORWARD ? dnnl_query_dst_md : dnnl_query_diff_dst_md);
    return dnnl_primitive_desc_query_md(pd, what, 0);
}

static bool primitive_new(struct onednn_conv *c, struct primitive *p, const struct problem *problem, enum pass pass,
                          dnnl_primitive_desc_t pd) {
    struct onednn *dnn = c->dnn;
    layout_view x = query(pd, pass, X), w = query(pd, pass, W), y = query(pd, pass, Y);
    layout_view plain = view_of(&problem->plain[W]);
    if (dnnl_primitive_create(&p->primitive, pd) != dnnl_success) return false;
    if (!operand_new(dnn, &p->operand[X], x) || !operand_new(dnn, &p->operand[W], w) ||
        !operand_new(dnn, &p->operand[Y], y))
        return false;
    if (c->bias && pass == FORWARD && !operand_new(dnn, &p->operand[B], view_of(&problem->plain[B]))) return false;
    if (!copy_new(dnn, &p->x, view_of(&problem->plain[X]), x, pass == DATA, &p->x_bytes)) return false;
    if (!copy_new(dnn, &p->y, view_of(&problem->plain[Y]), y, pass == FORWARD, &p->y_bytes)) return false;
    struct ctx quiet = {0};
    p->packed = block_alloc(c->be, &quiet, dnnl_memory_desc_get_size(w), 1);
    return p->packed && (pass == WEIGHTS ? reorder_new(dnn, &p->w, w, plain, true)
                                         : reorder_new(dnn, &p->w, plain, w, false));
}

/* Convolutions may run faster on maps in the library's blocked formats; copying into them pays where each element takes part
 * in enough products.  Measured on AVX2: gradients of weights 1.1 to 4 times, 3x3 forward and gradients of maps 1.1 to 1.7
 * times from 32 channels on; with AVX-512 channels-last is as fast.  A rule, not a trial: results stay reproducible. */
static bool prefers_blocked(const struct conv_desc *d, enum pass pass) {
    if (d->groups > 1 || d->dilation > 1) return false;
    if (pass != WEIGHTS) return d->size > 1 && d->x.c >= 32 && d->y.c >= 32 && !cpu_has_avx512();
    if (d->size > 1) return d->x.c >= 16;
    return d->x.c * d->y.c >= 100 * (d->x.c + d->y.c);
}

static bool describe_best(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const struct problem *p, enum pass pass,
                          dnnl_primitive_desc_t hint, dnnl_primitive_attr_t attr) {
    if (prefers_blocked(p->desc, pass) && describe_pass(pd, engine, p, pass, true, hint, attr)) return true;
    return describe_pass(pd, engine, p, pass, false, hint, attr);
}

static bool passes_new(struct onednn_conv *c, const struct problem *p, bool weights_only, bool *fused) {
    const struct conv_desc *d = p->desc;
    dnnl_engine_t engine = c->dnn->engine;
    dnnl_primitive_desc_t pd[3] = {NULL};
    dnnl_primitive_attr_t attr = attributes(d->act);
    *fused = d->act == ACT_LINEAR || attr;
    bool made = describe_best(&pd[FORWARD], engine, p, FORWARD, NULL, attr);
    if (!made && attr) {
        *fused = false;
        made = describe_best(&pd[FORWARD], engine, p, FORWARD, NULL, NULL);
    }
    if (d->backward)
        made = made && describe_best(&pd[DATA], engine, p, DATA, pd[FORWARD], NULL) &&
               describe_best(&pd[WEIGHTS], engine, p, WEIGHTS, pd[FORWARD], NULL);
    for (int i = FORWARD; i <= WEIGHTS; ++i) {
        made = made && (!pd[i] || (weights_only && i != WEIGHTS) || primitive_new(c, &c->pass[i], p, (enum pass)i, pd[i]));
        if (pd[i]) dnnl_primitive_desc_destroy(pd[i]);
    }
    if (attr) dnnl_primitive_attr_destroy(attr);
    return made;
}

struct onednn_conv *onednn_conv_new(struct onednn *dnn, struct backend *be, const struct conv_desc *desc, bool weights_only, bool *fused) {
    struct onednn_conv *c = dnn ? calloc(1, sizeof *c) : NULL;
    if (!c) return NULL;
    *c = (struct onednn_conv){.dnn = dnn, .be = be, .bias = desc->bias, .backward = desc->backward};
    struct problem problem;
    bool made = problem_new(&problem, desc) && passes_new(c, &problem, weights_only, fused);
    problem_free(&problem);
    if (made) return c;
    onednn_conv_free(c);
    return NULL;
}

void onednn_conv_free(struct onednn_conv *c) {
    if (!c) return;
    for (int i = FORWARD; i <= WEIGHTS; ++i) primitive_free(c->be, &c->pass[i]);
    free(c);
}

bool onednn_conv_weights(struct onednn_conv *c, const float *w) {
    struct primitive *f = &c->pass[FORWARD], *d = &c->pass[DATA];
    return reorder_run(c->dnn, &f->w, w, f->packed) && (!c->backward || reorder_run(c->dnn, &d->w, w, d->packed));
}

/* Runs one pass on plain maps: operands are copied into the primitive's format and the result out of it where they differ. */
static bool run(struct onednn_conv *c, enum pass pass, const float *x, const float *y, const float *bias) {
    struct primitive *p = &c->pass[pass];
    char *copies = NULL;
    bool x_result = pass == DATA, y_result = pass == FORWARD;
    if (p->x_bytes + p->y_bytes && !(copies = cpu_scratch(c->be, SCRATCH_FORMAT, p->x_bytes + p->y_bytes))) return false;
    const float *own_x = p->x_bytes ? (const float *)(const void *)copies : x;
    const float *own_y = p->y_bytes ? (const float *)(const void *)(copies + p->x_bytes) : y;
    if (p->x_bytes && !x_result && !reorder_run(c->dnn, &p->x, x, (float *)(uintptr_t)own_x)) return false;
    if (p->y_bytes && !y_result && !reorder_run(c->dnn, &p->y, y, (float *)(uintptr_t)own_y)) return false;
    dnnl_exec_arg_t args[] = {{pass == DATA ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, p->operand[X]},
                              {pass == WEIGHTS ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS, p->operand[W]},
                              {pass == FORWARD ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, p->operand[Y]},
                              {DNNL_ARG_BIAS, p->operand[B]}};
    if (!set(p->operand[X], own_x) || !set(p->operand[W], p->packed) || !set(p->operand[Y], own_y)) return false;
    if (bias && !set(p->operand[B], bias)) return false;
    if (dnnl_primitive_execute(p->primitive, c->dnn->stream, bias ? 4 : 3, args) != dnnl_success) return false;
    if (p->x_bytes && x_result) return reorder_run(c->dnn, &p->x, own_x, (float *)(uintptr_t)x);
    return !p->y_bytes || !y_result || reorder_run(c->dnn, &p->y, own_y, (float *)(uintptr_t)y);
}

bool onednn_conv_forward(struct onednn_conv *c, const float *x, const float *bias, float *y) {
    return run(c, FORWARD, x, y, c->bias ? bias : NULL);
}

bool onednn_conv_backward_data(struct onednn_conv *c, const float *dy, float *dx) {
    return c->backward && run(c, DATA, dx, dy, NULL);
}

bool onednn_conv_backward_weights(struct onednn_conv *c, const float *x, const float *dy, float *dw) {
    return c->backward && run(c, WEIGHTS, x, dy, NULL) && reorder_run(c->dnn, &c->pass[WEIGHTS].w, c->pass[WEIGHTS].packed, dw);
}

bool onednn_product(bool a_turned, bool b_turned, int m, int n, int k, const float *a, const float *b, float beta, float *c) {
    return dnnl_sgemm(a_turned ? 'T' : 'N', b_turned ? 'T' : 'N', m, n, k, 1, a, a_turned ? m : k, b, b_turned ? k : n, beta, c, n) ==
           dnnl_success;
}

enum status onednn_open(struct ctx *ctx, struct onednn **out) {
    struct onednn *dnn = mem_zero(ctx, 1, sizeof *dnn);
    *out = dnn;
    if (!dnn) return ST_MEMORY;
    if (dnnl_engine_create(&dnn->engine, dnnl_cpu, 0) == dnnl_success &&
        dnnl_stream_create(&dnn->stream, dnn->engine, dnnl_stream_default_flags) == dnnl_success)
        return ST_OK;
    onednn_close(dnn);
    *out = NULL;
    return ctx_fail(ctx, ST_BACKEND, "oneDNN gives no CPU engine on this machine");
}

void onednn_close(struct onednn *dnn) {
    if (!dnn) return;
    if (dnn->stream) dnnl_stream_destroy(dnn->stream);
    if (dnn->engine) dnnl_engine_destroy(dnn->engine);
    free(dnn);
}

void onednn_describe(char *text, size_t size) {
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, size, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
}

#else

enum status onednn_open(struct ctx *ctx, struct onednn **out) {
    (void)ctx;
    *out = NULL;
    return ST_OK;
}

void onednn_close(struct onednn *dnn) {
    (void)dnn;
}

void onednn_describe(char *text, size_t size) {
    if (size) text[0] = '\0';
}

struct onednn_conv *onednn_conv_new(struct onednn *dnn, struct backend *be, const struct conv_desc *desc, bool weights_only, bool *fused) {
    (void)dnn, (void)be, (void)desc, (void)weights_only, (void)fused;
    return NULL;
}

void onednn_conv_free(struct onednn_conv *c) {
    (void)c;
}

bool onednn_conv_weights(struct onednn_conv *c, const float *w) {
    (void)c, (void)w;
    return false;
}

bool onednn_conv_forward(struct onednn_conv *c, const float *x, const float *bias, float *y) {
    (void)c, (void)x, (void)bias, (void)y;
    return false;
}

bool onednn_conv_backward_data(struct onednn_conv *c, const float *dy, float *dx) {
    (void)c, (void)dy, (void)dx;
    return false;
}

bool onednn_conv_backward_weights(struct onednn_conv *c, const float *x, const float *dy, float *dw) {
    (void)c, (void)x, (void)dy, (void)dw;
    return false;
}

bool onednn_product(bool a_turned, bool b_turned, int m, int n, int k, const float *a, const float *b, float beta, float *c) {
    (void)a_turned, (void)b_turned, (void)m, (void)n, (void)k, (void)a, (void)b, (void)beta, (void)c;
    return false;
}

#endif
