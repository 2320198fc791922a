/* Convolutions by cuDNN, on NHWC maps: as operation graphs with bias, activation and residual fused where an engine can, else by the
 * older calls.  Engines are chosen by trial, once per shape; a store keeps what was found, and the plan itself, so that a later run neither
 * tries nor compiles. */
#include <cudnn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/gpu/gpu.h"
#include "backend/cuda/gpu/graph_cudnn.h"
#include "backend/cuda/gpu/legacy_cudnn.h"

enum { MOST_TRIALS = 8, COMPILED_TRIALS = 3 /* fused graphs are compiled, a second each */, ROUNDS = 3, MOST_FORMS = 2, KEY = 512 };

struct library { cudnnHandle_t handle; int trials; bool told; /* of a convolution without an engine */ };

/* data[1]: gradients added to what is there. */
struct conv {
    struct device_conv form;
    struct graph *forward, *data[2], *weights;
    struct legacy *legacy;
};

static struct library *library_of(struct device *d) { return ((struct gpu *)d->own)->conv; }

static bool failed(struct device *d, cudnnStatus_t st, const char *what) {
    if (st == CUDNN_STATUS_SUCCESS) return false;
    device_fault(d, ST_BACKEND, "GPU: cuDNN: %s: %s", what, cudnnGetErrorString(st));
    return true;
}

/* --- Memory to try on ------------------------------------------------------------------------------------------------------------- */

struct trial_space { char *block; void *operand[OPERANDS]; };

static size_t padded(size_t bytes) { return (bytes + 255) / 256 * 256; }

/* Every operand as floats, filled with small positive numbers in either width; false: there is no room for that. */
static bool space_open(struct device *d, const struct conv_shape *s, struct trial_space *space) {
    size_t x = (size_t)s->n * (size_t)s->c * (size_t)s->h * (size_t)s->w, y = (size_t)s->n * (size_t)s->filters * (size_t)s->oh * (size_t)s->ow;
    size_t w = (size_t)s->filters * (size_t)(s->c / s->groups) * (size_t)(s->size * s->size);
    size_t bytes[OPERANDS] = { 0, padded(4 * x), padded(4 * w), padded(4 * y), padded(4 * (size_t)s->filters), padded(4 * y) }, all = 0;
    void *block = NULL;
    for (int i = OPERAND_X; i < OPERANDS; ++i) all += bytes[i];
    if (cudaMalloc(&block, all) != cudaSuccess) {
        cudaGetLastError();
        return false;
    }
    ++d->allocations;
    space->block = block;
    cudaMemsetAsync(block, 0x3c, all, ((struct gpu *)d->own)->stream);
    for (int i = OPERAND_X; i < OPERANDS; ++i) space->operand[i] = block, block = (char *)block + bytes[i];
    return true;
}

static void space_close(struct trial_space *space) {
    if (space->block) cudaFree(space->block); /* waits for the work */
    space->block = NULL;
}

/* What the library leaves to our own kernel in this form. */
static void rest_of(struct device *d, const struct graph_spec *s, const struct conv_desc *desc, void *const operand[OPERANDS]) {
    const struct conv_shape *c = &s->shape;
    struct view y = { .data = operand[OPERAND_Y], .type = desc->y.type, .kind = VIEW_FLAT, .n = (uint32_t)c->n, .c = (uint32_t)c->filters,
                      .h = (uint32_t)c->oh, .w = (uint32_t)c->ow };
    struct finish_args a = { .conv = y, .y = y, .bias = operand[OPERAND_BIAS], .act = desc->act };
    a.conv.type = s->narrow ? precision_factor(d->precision) : ELEMENT_REAL;
    if (a.conv.type != y.type) a.conv.data = operand[OPERAND_SKIP];
    if (desc->skip) a.skip = y;
    d->ops->finish(d, &a, (size_t)c->n * (size_t)c->filters * (size_t)c->oh * (size_t)c->ow);
}

/* Whether a workspace of so many bytes can be had. */
static bool fits(const struct device *d, size_t bytes) {
    size_t there = 0, all = 0;
    if (bytes > WORKSPACE_LIMIT) return false;
    if (bytes <= ((const struct gpu *)d->own)->workspace_bytes) return true;
    return cudaMemGetInfo(&there, &all) == cudaSuccess && bytes < there;
}

/* Milliseconds of one run; < 0: it cannot be run. */
static double time_of(struct device *d, struct graph *g, const struct graph_spec *s, const struct conv_desc *desc, bool rest, size_t bytes,
                      struct trial_space *space) {
    struct gpu *gpu = d->own;
    cudaEvent_t from = NULL, to = NULL;
    float ms = -1;
    void *work = gpu_workspace(d, bytes ? bytes : 1);
    bool ok = work && graph_run(g, library_of(d)->handle, space->operand, work) == CUDNN_STATUS_SUCCESS;
    ok = ok && cudaEventCreate(&from) == cudaSuccess && cudaEventCreate(&to) == cudaSuccess && cudaEventRecord(from, gpu->stream) == cudaSuccess;
    for (int i = 0; i < ROUNDS && ok; ++i) {
        ok = graph_run(g, library_of(d)->handle, space->operand, work) == CUDNN_STATUS_SUCCESS;
        if (rest) rest_of(d, s, desc, space->operand);
    }
    ok = ok && cudaEventRecord(to, gpu->stream) == cudaSuccess && cudaEventSynchronize(to) == cudaSuccess && cudaEventElapsedTime(&ms, from, to) == cudaSuccess;
    if (from) cudaEventDestroy(from);
    if (to) cudaEventDestroy(to);
    return ok && !d->failed ? (double)ms / ROUNDS : -1;
}

/* --- Choosing ----------------------------------------------------------------------------------------------------------------------- */

/* One pass: the forms it may have, best wish first, and what was chosen. */
struct question {
    struct graph_spec form[MOST_FORMS];
    int n;
    const struct conv_desc *desc;
    struct graph *graph; /* with its plan */
    int chosen;
    size_t bytes;
};

static void key_of(struct device *d, const struct question *q, char key[KEY]) {
    const struct conv_shape *s = &q->form->shape;
    const struct conv_desc *c = q->desc;
    snprintf(key, KEY, "%s|cuDNN %zu|%s|%d trials|pass %d%s|x %d %d %d %d|filters %d groups %d size %d stride %d %d dilation %d pad %d|bias %d skip %d %s|y %d skip %d",
             ((struct gpu *)d->own)->name, cudnnGetVersion(), precision_name(d->precision), library_of(d)->trials, (int)q->form->pass, q->form->add ? " add" : "", s->n, s->c,
             s->h, s->w, s->filters, s->groups, s->size, s->stride_x, s->stride_y, s->dilation, s->pad, c->bias, c->skip, activation_name(c->act), (int)c->y.type, (int)c->skip_type);
}

static void take(struct question *q, struct graph *g, int form, size_t bytes) {
    graph_free(q->graph);
    q->graph = g, q->chosen = form, q->bytes = bytes;
}

/* An earlier run's answer: "FORM\n", then cuDNN's plan. */
static bool recall(struct device *d, struct ctx *ctx, struct question *q, const char *key) {
    size_t n, bytes;
    char *answer = store_get(&((struct gpu *)d->own)->store, ctx, key, &n);
    if (!answer) return false;
    int form = n > 2 && answer[1] == '\n' ? answer[0] - '0' : -1;
    struct graph *g = form >= 0 && form < q->n ? graph_new(&q->form[form], library_of(d)->handle, NULL) : NULL;
    bool known = g && graph_restore(g, answer + 2, n - 2, &bytes) && fits(d, bytes);
    if (known) take(q, g, form, bytes);
    else graph_free(g);
    free(answer);
    return known;
}

static void keep(struct device *d, struct ctx *ctx, const struct question *q, const char *key) {
    size_t n;
    char *plan = graph_text(q->graph, 2, &n);
    if (!plan) return;
    plan[0] = (char)('0' + q->chosen), plan[1] = '\n';
    store_put(&((struct gpu *)d->own)->store, ctx, key, plan, n);
    free(plan);
}

/* Tries the engines of one form; *best: milliseconds of the best so far, < 0: none yet. */
static void try_form(struct device *d, struct question *q, int form, struct trial_space *space, double *best) {
    const struct graph_spec *s = &q->form[form];
    bool fused = s->pass == CONV_FORWARD && (s->act != ACT_LINEAR || s->bias || s->skip);
    bool rest = s->pass == CONV_FORWARD && !fused &&
                (q->desc->bias || q->desc->act != ACT_LINEAR || q->desc->skip || s->narrow != (q->desc->y.type != ELEMENT_REAL));
    int trials = library_of(d)->trials, most = fused && trials > COMPILED_TRIALS ? COMPILED_TRIALS : trials;
    struct graph_engine list[MOST_TRIALS];
    struct graph *g = graph_new(s, library_of(d)->handle, NULL);
    int n = g ? graph_engines(g, list, space->block ? most : MOST_TRIALS) : 0;
    for (int i = 0; i < n && !d->failed; ++i) {
        size_t bytes;
        if (!g) g = graph_new(s, library_of(d)->handle, NULL);
        if (!g || !graph_plan(g, &list[i], &bytes) || !fits(d, bytes)) continue;
        double ms = space->block ? time_of(d, g, s, q->desc, rest, bytes, space) : 0;
        if (ms < 0 || (*best >= 0 && ms >= *best)) continue;
        *best = ms;
        take(q, g, form, bytes);
        g = NULL;
        if (!space->block) break; /* cuDNN's expectation is all there is */
    }
    graph_free(g);
}

/* False: there is no engine for any form. */
static bool answer(struct device *d, struct ctx *ctx, struct question *q) {
    char key[KEY];
    struct trial_space space = { 0 };
    double best = -1;
    key_of(d, q, key);
    if (recall(d, ctx, q, key)) return true;
    bool wanted = library_of(d)->trials > 1, tried = wanted && space_open(d, &q->form->shape, &space);
    for (int form = 0; form < q->n && (tried || !q->graph); ++form) try_form(d, q, form, &space, &best);
    space_close(&space);
    if (q->graph && tried == wanted) keep(d, ctx, q, key);
    return q->graph != NULL;
}

/* --- Plans --------------------------------------------------------------------------------------------------------------------------- */

static struct conv_shape shape_of(const struct conv_desc *c) {
    return (struct conv_shape){ c->x.n, c->x.c, c->x.h, c->x.w, c->y.c, c->y.h, c->y.w, c->groups, c->size, c->stride_x, c->stride_y, c->dilation, c->pad };
}

/* Engines of graphs that are compiled take functions of the device's fast kind; where digits count, only what comes with cuDNN fuses. */
static bool may_fuse(const struct device *d, const struct conv_desc *c) {
    return graph_fuses(c->act) && (d->precision != PRECISION_FP32 || ((c->act == ACT_LINEAR || c->act == ACT_RELU) && !c->skip));
}

static bool forward_graph(struct device *d, struct ctx *ctx, struct conv *c, const struct conv_desc *desc, size_t *bytes) {
    struct graph_spec plain = { .pass = CONV_FORWARD, .shape = shape_of(desc), .precision = d->precision, .act = ACT_LINEAR,
                                .narrow = precision_factor(d->precision) != ELEMENT_REAL }, fused = plain;
    struct question q = { .desc = desc };
    fused.narrow = desc->y.type != ELEMENT_REAL, fused.narrow_skip = desc->skip_type != ELEMENT_REAL;
    fused.bias = desc->bias, fused.skip = desc->skip, fused.act = desc->act;
    bool more = may_fuse(d, desc) && (desc->bias || desc->skip || desc->act != ACT_LINEAR);
    if (more) q.form[q.n++] = fused;
    q.form[q.n++] = plain;
    if (!answer(d, ctx, &q)) return false;
    c->forward = q.graph;
    c->form.fused = more && q.chosen == 0;
    c->form.result[CONV_FORWARD] = q.form[q.chosen].narrow ? c->form.factor : ELEMENT_REAL;
    if (q.bytes > *bytes) *bytes = q.bytes;
    return true;
}

static bool backward_graph(struct device *d, struct ctx *ctx, struct conv *c, const struct conv_desc *desc, enum conv_pass pass, bool add,
                           struct graph **out, size_t *bytes) {
    bool narrow = c->form.factor != ELEMENT_REAL;
    struct graph_spec s = { .pass = pass, .shape = shape_of(desc), .precision = d->precision, .act = ACT_LINEAR, .narrow = narrow, .add = add };
    struct question q = { .form = { s }, .n = 1, .desc = desc };
    if (!answer(d, ctx, &q)) return false;
    *out = q.graph;
    c->form.result[pass] = c->form.factor;
    if (q.bytes > *bytes) *bytes = q.bytes;
    return true;
}

static bool graphs(struct device *d, struct ctx *ctx, struct conv *c, const struct conv_desc *desc, size_t *bytes) {
    c->form.factor = precision_factor(d->precision);
    if (!forward_graph(d, ctx, c, desc, bytes)) return false;
    if (!desc->backward) return true;
    if (!backward_graph(d, ctx, c, desc, CONV_DATA, false, &c->data[0], bytes) || !backward_graph(d, ctx, c, desc, CONV_WEIGHTS, false, &c->weights, bytes))
        return false;
    return c->form.factor != ELEMENT_REAL || backward_graph(d, ctx, c, desc, CONV_DATA, true, &c->data[1], bytes);
}

static void drop_graphs(struct conv *c) {
    graph_free(c->forward), graph_free(c->data[0]), graph_free(c->data[1]), graph_free(c->weights);
    c->forward = c->data[0] = c->data[1] = c->weights = NULL;
}

static void conv_close(struct device *d, struct device_conv *conv) {
    struct conv *c = (struct conv *)conv;
    cudaSetDevice(((struct gpu *)d->own)->number);
    drop_graphs(c);
    legacy_close(c->legacy);
    free(c);
}

/* Once, as it is worth knowing where speed is missed. */
static void tell(struct device *d, struct ctx *ctx, const struct conv_desc *c) {
    if (!library_of(d)->told)
        ctx_log(ctx, LOG_INFO, "cuDNN has no engine in %s for %dx%d convolutions of %dx%dx%d to %d channels (and perhaps others): its older calls serve",
                precision_name(d->precision), c->size, c->size, c->x.w, c->x.h, c->x.c, c->y.c);
    library_of(d)->told = true;
}

static struct device_conv *conv_open(struct device *d, struct ctx *ctx, const struct conv_desc *desc) {
    struct conv *c = mem_zero(ctx, 1, sizeof *c);
    size_t bytes = 0;
    if (!c || cudaSetDevice(((struct gpu *)d->own)->number) != cudaSuccess) {
        free(c);
        return NULL;
    }
    if (!graphs(d, ctx, c, desc, &bytes)) {
        drop_graphs(c);
        c->form = (struct device_conv){ .factor = ELEMENT_REAL };
        c->legacy = legacy_open(library_of(d)->handle, d->precision, desc, &bytes);
        tell(d, ctx, desc);
    }
    if (!c->forward && !c->legacy) {
        free(c);
        return NULL;
    }
    gpu_workspace(d, bytes ? bytes : 1);
    return &c->form;
}

/* --- Passes ---------------------------------------------------------------------------------------------------------------------------- */

static void conv_forward(struct device *d, struct device_conv *conv, const void *x, const void *w, const float *bias, const void *skip, void *y) {
    struct conv *c = (struct conv *)conv;
    struct gpu *g = d->own;
    void *const operand[OPERANDS] = { NULL, (void *)x, (void *)w, y, (void *)bias, (void *)skip };
    cudaSetDevice(g->number);
    if (c->legacy) failed(d, legacy_forward(c->legacy, library_of(d)->handle, x, w, y, g->workspace), "forward pass");
    else failed(d, graph_run(c->forward, library_of(d)->handle, operand, g->workspace), "forward pass");
}

static void conv_backward_data(struct device *d, struct device_conv *conv, const void *w, const void *dy, void *dx, bool add) {
    struct conv *c = (struct conv *)conv;
    struct gpu *g = d->own;
    void *const operand[OPERANDS] = { NULL, dx, (void *)w, (void *)dy, NULL, NULL };
    cudaSetDevice(g->number);
    if (c->legacy) failed(d, legacy_data(c->legacy, library_of(d)->handle, w, dy, dx, add, g->workspace), "backward pass");
    else failed(d, graph_run(c->data[add], library_of(d)->handle, operand, g->workspace), "backward pass");
}

static void conv_backward_weights(struct device *d, struct device_conv *conv, const void *x, const void *dy, void *dw) {
    struct conv *c = (struct conv *)conv;
    struct gpu *g = d->own;
    void *const operand[OPERANDS] = { NULL, (void *)x, dw, (void *)dy, NULL, NULL };
    cudaSetDevice(g->number);
    if (c->legacy) failed(d, legacy_weights(c->legacy, library_of(d)->handle, x, dy, dw, g->workspace), "weight gradients");
    else failed(d, graph_run(c->weights, library_of(d)->handle, operand, g->workspace), "weight gradients");
}

static const struct device_conv_ops conv_ops = { .open = conv_open, .close = conv_close, .forward = conv_forward,
                                                 .backward_data = conv_backward_data, .backward_weights = conv_backward_weights };

/* DARKNET_GPU_TRIALS: engines tried per convolution; 1: cuDNN's first choice, untried. */
static int trials(void) {
    const char *value = getenv("DARKNET_GPU_TRIALS");
    int n = value ? atoi(value) : MOST_TRIALS;
    return n < 1 ? 1 : n > MOST_TRIALS ? MOST_TRIALS : n;
}

enum status gpu_conv_open(struct ctx *ctx, struct device *d) {
    struct gpu *g = d->own;
    struct library *lib = g->conv = mem_zero(ctx, 1, sizeof *lib);
    if (!lib) return ST_MEMORY;
    cudnnStatus_t st = cudnnCreate(&lib->handle);
    if (st == CUDNN_STATUS_SUCCESS) st = cudnnSetStream(lib->handle, g->stream);
    if (st != CUDNN_STATUS_SUCCESS) return ctx_fail(ctx, ST_BACKEND, "GPU %d: cuDNN: %s", g->number, cudnnGetErrorString(st));
    lib->trials = trials();
    size_t version = cudnnGetVersion();
    snprintf(g->library, sizeof g->library, "cuDNN %zu.%zu.%zu", version / 10000, version / 100 % 100, version % 100);
    g->ops.conv = &conv_ops;
    return ST_OK;
}

void gpu_conv_close(struct device *d) {
    struct library *lib = library_of(d);
    if (!lib) return;
    if (lib->handle) cudnnDestroy(lib->handle);
    free(lib);
}
