#include "backend/cuda/gpu/graph_cudnn.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_PARTS = 48, MOST_OPERATIONS = 8, MOST_CONFIGS = 16, ALIGNMENT = 16 };
/* Attributes by number: newer versions no longer need handles, their headers warn of them; older ones do not have the others. */
enum { GRAPH_HANDLE = 800, PLAN_HANDLE = 400, HEURISTIC_DEVICE = 204, PLAN_DEVICE = 407, DEVICE_KIND = 38, DEVICE_JSON = 2702,
       PLAN_JSON = 405, TYPE_CHAR = 24 };

struct graph {
    struct graph_spec spec;
    cudnnHandle_t handle;
    cudnnBackendDescriptor_t device;
    cudnnBackendDescriptor_t part[MOST_PARTS]; /* all descriptors, in the order of making */
    int n_part;
    cudnnBackendDescriptor_t operation[MOST_OPERATIONS];
    int n_operation;
    int64_t next_virtual;
    bool broken;                               /* something was refused: the graph cannot be had */
    cudnnBackendDescriptor_t whole, plan, config;
    bool used[OPERANDS];
};

/* --- Descriptors ------------------------------------------------------------------------------------------------------------ */

static cudnnBackendDescriptor_t part_new(struct graph *g, cudnnBackendDescriptorType_t type) {
    cudnnBackendDescriptor_t d = NULL;
    if (g->broken || g->n_part == MOST_PARTS || cudnnBackendCreateDescriptor(type, &d) != CUDNN_STATUS_SUCCESS) {
        g->broken = true;
        return NULL;
    }
    return g->part[g->n_part++] = d;
}

static void set(struct graph *g, cudnnBackendDescriptor_t d, int attribute, cudnnBackendAttributeType_t type, int64_t n, const void *value) {
    if (!g->broken && cudnnBackendSetAttribute(d, (cudnnBackendAttributeName_t)attribute, type, n, value) != CUDNN_STATUS_SUCCESS)
        g->broken = true;
}
static void set_part(struct graph *g, cudnnBackendDescriptor_t d, int attribute, cudnnBackendDescriptor_t value) {
    set(g, d, attribute, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}
static void set_double(struct graph *g, cudnnBackendDescriptor_t d, int attribute, double value) {
    set(g, d, attribute, CUDNN_TYPE_DOUBLE, 1, &value);
}
static void set_type(struct graph *g, cudnnBackendDescriptor_t d, int attribute, cudnnDataType_t value) {
    set(g, d, attribute, CUDNN_TYPE_DATA_TYPE, 1, &value);
}
static cudnnBackendDescriptor_t finished(struct graph *g, cudnnBackendDescriptor_t d) {
    if (!g->broken && cudnnBackendFinalize(d) != CUDNN_STATUS_SUCCESS) g->broken = true;
    return d;
}

static cudnnDataType_t factor_type(const struct graph_spec *s) {
    return s->precision == PRECISION_FP16 ? CUDNN_DATA_HALF : s->precision == PRECISION_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
}

/* A dense NHWC map, or weights as one.  uid 0: between two operations, in no memory. */
static cudnnBackendDescriptor_t map_new(struct graph *g, enum graph_operand uid, cudnnDataType_t type, int n, int c, int h, int w) {
    int64_t size[4] = { n, c, h, w }, stride[4] = { (int64_t)h * w * c, 1, (int64_t)w * c, c }, alignment = ALIGNMENT, id = uid;
    cudnnBackendDescriptor_t d = part_new(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    bool inside = !uid;
    if (inside) id = OPERANDS + g->next_virtual++;
    else g->used[uid] = true;
    if (uid == OPERAND_BIAS) alignment = sizeof(float); /* biases lie anywhere in the parameters */
    set_type(g, d, CUDNN_ATTR_TENSOR_DATA_TYPE, type);
    set(g, d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, size);
    set(g, d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, stride);
    set(g, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
    set(g, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    set(g, d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &inside);
    return finished(g, d);
}

static cudnnBackendDescriptor_t output_map(struct graph *g, enum graph_operand uid, cudnnDataType_t type) {
    const struct conv_shape *s = &g->spec.shape;
    return map_new(g, uid, type, s->n, s->filters, s->oh, s->ow);
}

static void add_operation(struct graph *g, cudnnBackendDescriptor_t d) {
    finished(g, d);
    if (g->n_operation == MOST_OPERATIONS) g->broken = true;
    else g->operation[g->n_operation++] = d;
}

/* --- Operations -------------------------------------------------------------------------------------------------------------- */

/* y = mode(a, b); b NULL: of one argument. */
static void pointwise(struct graph *g, cudnnPointwiseMode_t mode, cudnnBackendDescriptor_t a, cudnnBackendDescriptor_t b, cudnnBackendDescriptor_t y,
                      enum activation act) {
    cudnnBackendDescriptor_t how = part_new(g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    set(g, how, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    set_type(g, how, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
    if (act == ACT_LEAKY || act == ACT_REVLEAKY) set_double(g, how, CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, .1);
    if (act == ACT_RELIE) set_double(g, how, CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, .01);
    if (act == ACT_RELU6) set_double(g, how, CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, 6);
    finished(g, how);
    cudnnBackendDescriptor_t d = part_new(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    set_part(g, d, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how);
    set_part(g, d, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, a);
    if (b) set_part(g, d, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
    set_part(g, d, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    add_operation(g, d);
}

bool graph_fuses(enum activation act) {
    switch (act) {
    case ACT_LINEAR: case ACT_RELU: case ACT_RELU6: case ACT_RELIE: case ACT_LEAKY: case ACT_REVLEAKY: case ACT_LOGISTIC: case ACT_TANH:
    case ACT_ELU: case ACT_SWISH: case ACT_MISH: return true;
    default: return false;
    }
}

static void activate(struct graph *g, enum activation act, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t y) {
    cudnnPointwiseMode_t mode = act == ACT_LOGISTIC ? CUDNN_POINTWISE_SIGMOID_FWD
                                : act == ACT_TANH   ? CUDNN_POINTWISE_TANH_FWD
                                : act == ACT_ELU    ? CUDNN_POINTWISE_ELU_FWD
                                : act == ACT_SWISH  ? CUDNN_POINTWISE_SWISH_FWD
                                                    : CUDNN_POINTWISE_RELU_FWD;
    if (act != ACT_MISH) {
        pointwise(g, mode, x, NULL, y, act);
        return;
    }
    cudnnBackendDescriptor_t soft = output_map(g, 0, CUDNN_DATA_FLOAT), gate = output_map(g, 0, CUDNN_DATA_FLOAT);
    pointwise(g, CUDNN_POINTWISE_SOFTPLUS_FWD, x, NULL, soft, ACT_LINEAR);
    pointwise(g, CUDNN_POINTWISE_TANH_FWD, soft, NULL, gate, ACT_LINEAR);
    pointwise(g, CUDNN_POINTWISE_MUL, x, gate, y, ACT_LINEAR);
}

static cudnnBackendDescriptor_t convolution(struct graph *g) {
    const struct conv_shape *s = &g->spec.shape;
    int64_t axes = 2, pad[2] = { s->pad, s->pad }, stride[2] = { s->stride_y, s->stride_x }, dilation[2] = { s->dilation, s->dilation };
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    cudnnBackendDescriptor_t d = part_new(g, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    set_type(g, d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT);
    set(g, d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    set(g, d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &axes);
    set(g, d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, pad);
    set(g, d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, pad);
    set(g, d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, stride);
    set(g, d, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilation);
    return finished(g, d);
}

/* Attributes of the three kinds of convolution: descriptor, weights, input, output, alpha, beta. */
static const int names[CONV_PASSES][6] = {
    { CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
      CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA },
    { CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA },
    { CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA },
};

static void convolve(struct graph *g, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t w, cudnnBackendDescriptor_t y) {
    static const cudnnBackendDescriptorType_t kind[CONV_PASSES] = { CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                                                                    CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                                                                    CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR };
    const int *name = names[g->spec.pass];
    cudnnBackendDescriptor_t how = convolution(g), d = part_new(g, kind[g->spec.pass]);
    set_part(g, d, name[0], how);
    set_part(g, d, name[1], w);
    set_part(g, d, name[2], x);
    set_part(g, d, name[3], y);
    set_double(g, d, name[4], 1);
    set_double(g, d, name[5], g->spec.add ? 1 : 0);
    add_operation(g, d);
}

/* --- The graph ---------------------------------------------------------------------------------------------------------------- */

/* conv, bias, activation, skip: each that is there writes a map of its own, the last one the result. */
static void build_forward(struct graph *g, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t w, cudnnDataType_t result) {
    const struct graph_spec *s = &g->spec;
    int left = (s->bias ? 1 : 0) + (s->act != ACT_LINEAR ? 1 : 0) + (s->skip ? 1 : 0);
    cudnnBackendDescriptor_t at = output_map(g, left ? 0 : OPERAND_Y, left ? CUDNN_DATA_FLOAT : result);
    convolve(g, x, w, at);
    for (int step = 0; step < 3; ++step) {
        if (step == 0 ? !s->bias : step == 1 ? s->act == ACT_LINEAR : !s->skip) continue;
        --left;
        cudnnBackendDescriptor_t to = output_map(g, left ? 0 : OPERAND_Y, left ? CUDNN_DATA_FLOAT : result);
        if (step == 1) activate(g, s->act, at, to);
        else
            pointwise(g, CUDNN_POINTWISE_ADD, at,
                      step == 0 ? map_new(g, OPERAND_BIAS, CUDNN_DATA_FLOAT, 1, s->shape.filters, 1, 1) : output_map(g, OPERAND_SKIP, s->narrow_skip ? factor_type(s) : CUDNN_DATA_FLOAT),
                      to, ACT_LINEAR);
        at = to;
    }
}

static void build(struct graph *g) {
    const struct graph_spec *s = &g->spec;
    const struct conv_shape *c = &s->shape;
    cudnnDataType_t factor = factor_type(s), result = s->narrow ? factor : CUDNN_DATA_FLOAT;
    cudnnBackendDescriptor_t x = map_new(g, OPERAND_X, s->pass == CONV_DATA ? result : factor, c->n, c->c, c->h, c->w);
    cudnnBackendDescriptor_t w = map_new(g, OPERAND_W, s->pass == CONV_WEIGHTS ? result : factor, c->filters, c->c / c->groups, c->size, c->size);
    if (s->pass == CONV_FORWARD) build_forward(g, x, w, result);
    else convolve(g, x, w, output_map(g, OPERAND_Y, factor));
    g->whole = part_new(g, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    set(g, g->whole, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, g->n_operation, g->operation);
    if (g->handle) cudnnBackendSetAttribute(g->whole, (cudnnBackendAttributeName_t)GRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &g->handle); /* if it is wanted */
    finished(g, g->whole);
}

struct graph *graph_new(const struct graph_spec *s, cudnnHandle_t handle, cudnnBackendDescriptor_t device) {
    struct graph *g = graph_fuses(s->act) ? calloc(1, sizeof *g) : NULL;
    if (!g) return NULL;
    g->spec = *s;
    g->handle = handle;
    g->device = device;
    build(g);
    if (!g->broken) return g;
    graph_free(g);
    return NULL;
}

static void drop(cudnnBackendDescriptor_t *d) {
    if (*d) cudnnBackendDestroyDescriptor(*d);
    *d = NULL;
}

void graph_free(struct graph *g) {
    if (!g) return;
    drop(&g->plan);
    drop(&g->config);
    while (g->n_part > 0) drop(&g->part[--g->n_part]);
    free(g);
}

/* --- Engines ------------------------------------------------------------------------------------------------------------------- */

/* What this graph may not be computed by: results that do not repeat; in fp32 anything that multiplies by less. */
static bool permitted(const struct graph_spec *s, const cudnnBackendNumericalNote_t *note, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        bool narrower = note[i] == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS || note[i] == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION;
        bool coarse = note[i] == CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13 || note[i] == CUDNN_NUMERICAL_NOTE_TENSOR_CORE;
        if (note[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC || narrower || (s->precision == PRECISION_FP32 && coarse)) return false;
    }
    return true;
}

/* Compiled engines take the device's fast functions, which in fp32 are too coarse. */
static bool compiled(cudnnBackendDescriptor_t engine) {
    cudnnBackendBehaviorNote_t note[CUDNN_BEHAVIOR_NOTE_TYPE_COUNT];
    int64_t n = 0;
    if (cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE, CUDNN_BEHAVIOR_NOTE_TYPE_COUNT, &n, note) !=
        CUDNN_STATUS_SUCCESS)
        return true;
    for (int64_t i = 0; i < n; ++i)
        if (note[i] == CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION) return true;
    return false;
}

/* The engine's number when it may be used, else -1. */
static int64_t engine_of(const struct graph_spec *s, cudnnBackendDescriptor_t config) {
    cudnnBackendDescriptor_t engine = NULL;
    cudnnBackendNumericalNote_t note[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    int64_t n = 0, id = -1;
    if (cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) != CUDNN_STATUS_SUCCESS) return -1;
    bool known = cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n, &engine) == CUDNN_STATUS_SUCCESS &&
                 cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &n, &id) == CUDNN_STATUS_SUCCESS &&
                 cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &n,
                                          note) == CUDNN_STATUS_SUCCESS;
    if (!known || !permitted(s, note, n) || (s->precision == PRECISION_FP32 && compiled(engine))) id = -1;
    cudnnBackendDestroyDescriptor(engine);
    return id;
}

/* The configurations of one heuristic, to be dropped by the caller; returns how many. */
static int configs_of(struct graph *g, cudnnBackendHeurMode_t mode, cudnnBackendDescriptor_t config[MOST_CONFIGS]) {
    cudnnBackendDescriptor_t heuristic = NULL;
    int64_t n = 0;
    memset(config, 0, MOST_CONFIGS * sizeof *config);
    if (cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &heuristic) != CUDNN_STATUS_SUCCESS) return 0;
    bool ok = cudnnBackendSetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g->whole) == CUDNN_STATUS_SUCCESS &&
              cudnnBackendSetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode) == CUDNN_STATUS_SUCCESS &&
              (!g->device || cudnnBackendSetAttribute(heuristic, (cudnnBackendAttributeName_t)HEURISTIC_DEVICE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                                                      &g->device) == CUDNN_STATUS_SUCCESS) &&
              cudnnBackendFinalize(heuristic) == CUDNN_STATUS_SUCCESS;
    for (int i = 0; i < MOST_CONFIGS && ok; ++i)
        ok = cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &config[i]) == CUDNN_STATUS_SUCCESS;
    ok = ok && cudnnBackendGetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, MOST_CONFIGS, &n, config) == CUDNN_STATUS_SUCCESS;
    cudnnBackendDestroyDescriptor(heuristic);
    return ok ? (int)(n < MOST_CONFIGS ? n : MOST_CONFIGS) : 0;
}

int graph_engines(struct graph *g, struct graph_engine *list, int cap) {
    static const cudnnBackendHeurMode_t mode[] = { CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B, CUDNN_HEUR_MODE_FALLBACK };
    int n = 0;
    for (int m = 0; m < 3 && n < cap; ++m) {
        cudnnBackendDescriptor_t config[MOST_CONFIGS];
        if (m == 2 && n > 0) break; /* engines that always work, and slowly */
        int configs = configs_of(g, mode[m], config), most = m == 0 ? (cap + 1) * 2 / 3 : cap;
        for (int i = 0; i < configs && n < most; ++i) {
            int64_t id = engine_of(&g->spec, config[i]);
            if (id >= 0) list[n++] = (struct graph_engine){ (int)mode[m], i, id };
        }
        for (int i = 0; i < MOST_CONFIGS; ++i) drop(&config[i]);
    }
    return n;
}

/* An empty plan in place of an earlier one, with its device; false: there is none. */
static bool plan_new(struct graph *g) {
    drop(&g->plan);
    drop(&g->config);
    if (cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &g->plan) != CUDNN_STATUS_SUCCESS) return false;
    if (g->handle) cudnnBackendSetAttribute(g->plan, (cudnnBackendAttributeName_t)PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &g->handle); /* if it is wanted */
    return !g->device || cudnnBackendSetAttribute(g->plan, (cudnnBackendAttributeName_t)PLAN_DEVICE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g->device) ==
                             CUDNN_STATUS_SUCCESS;
}

/* The plan is complete, and its workspace known. */
static bool plan_done(struct graph *g, bool ok, size_t *bytes) {
    int64_t n = 0, size = 0;
    ok = ok && cudnnBackendFinalize(g->plan) == CUDNN_STATUS_SUCCESS &&
         cudnnBackendGetAttribute(g->plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &n, &size) == CUDNN_STATUS_SUCCESS;
    if (!ok) drop(&g->plan);
    *bytes = ok ? (size_t)size : 0;
    return ok;
}

bool graph_plan(struct graph *g, const struct graph_engine *e, size_t *bytes) {
    cudnnBackendDescriptor_t config[MOST_CONFIGS];
    bool ok = plan_new(g);
    int configs = configs_of(g, (cudnnBackendHeurMode_t)e->mode, config);
    if (e->index >= 0 && e->index < configs && engine_of(&g->spec, config[e->index]) == e->id) {
        g->config = config[e->index];
        config[e->index] = NULL;
    }
    for (int i = 0; i < MOST_CONFIGS; ++i) drop(&config[i]);
    ok = ok && g->config && cudnnBackendSetAttribute(g->plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g->config) ==
                                CUDNN_STATUS_SUCCESS;
    return plan_done(g, ok, bytes);
}

char *graph_text(const struct graph *g, size_t room, size_t *n) {
    int64_t size = 0, got = 0;
    cudnnBackendAttributeName_t json = (cudnnBackendAttributeName_t)PLAN_JSON;
    cudnnBackendAttributeType_t type = (cudnnBackendAttributeType_t)TYPE_CHAR;
    if (!g->plan || cudnnBackendGetAttribute(g->plan, json, type, 0, &size, NULL) != CUDNN_STATUS_SUCCESS || size <= 0) return NULL;
    char *text = calloc(room + (size_t)size + 1, 1);
    if (!text) return NULL;
    if (cudnnBackendGetAttribute(g->plan, json, type, size, &got, text + room) != CUDNN_STATUS_SUCCESS || got > size) {
        free(text);
        return NULL;
    }
    *n = room + strlen(text + room); /* cuDNN counts the NUL */
    return text;
}

bool graph_restore(struct graph *g, const char *text, size_t n, size_t *bytes) {
    bool ok = plan_new(g) && cudnnBackendSetAttribute(g->plan, (cudnnBackendAttributeName_t)PLAN_JSON, (cudnnBackendAttributeType_t)TYPE_CHAR, (int64_t)n + 1,
                                                      text) == CUDNN_STATUS_SUCCESS;
    return plan_done(g, ok, bytes);
}

cudnnStatus_t graph_run(struct graph *g, cudnnHandle_t handle, void *const operand[OPERANDS], void *workspace) {
    cudnnBackendDescriptor_t pack = NULL;
    int64_t id[OPERANDS], n = 0;
    void *at[OPERANDS];
    for (int i = OPERAND_X; i < OPERANDS; ++i)
        if (g->used[i]) id[n] = i, at[n++] = operand[i];
    cudnnStatus_t st = cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack);
    if (st != CUDNN_STATUS_SUCCESS) return st;
    st = cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, n, at);
    if (st == CUDNN_STATUS_SUCCESS) st = cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, n, id);
    if (st == CUDNN_STATUS_SUCCESS) st = cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
    if (st == CUDNN_STATUS_SUCCESS) st = cudnnBackendFinalize(pack);
    if (st == CUDNN_STATUS_SUCCESS) st = cudnnBackendExecute(handle, g->plan, pack);
    cudnnBackendDestroyDescriptor(pack);
    return st;
}

cudnnBackendDescriptor_t graph_device(const char *json) {
    cudnnBackendDescriptor_t d = NULL;
    if (cudnnBackendCreateDescriptor((cudnnBackendDescriptorType_t)DEVICE_KIND, &d) != CUDNN_STATUS_SUCCESS) return NULL;
    if (cudnnBackendSetAttribute(d, (cudnnBackendAttributeName_t)DEVICE_JSON, (cudnnBackendAttributeType_t)TYPE_CHAR, (int64_t)strlen(json), json) == CUDNN_STATUS_SUCCESS &&
        cudnnBackendFinalize(d) == CUDNN_STATUS_SUCCESS)
        return d;
    cudnnBackendDestroyDescriptor(d);
    return NULL;
}
