/* One convolution pass as an operation graph of cuDNN, with what is fused into it: building, engines, plans, running.
 * Nothing here needs a device until graph_run; a described one (graph_device) stands in for it in tests. */
#ifndef BACKEND_CUDA_GPU_GRAPH_CUDNN_H
#define BACKEND_CUDA_GPU_GRAPH_CUDNN_H

#include <cudnn.h>

#include "backend/cuda/device.h"

/* Maps are NHWC, dense: x (n, c, h, w), y (n, filters, oh, ow); weights (filters, size, size, c/groups). */
struct conv_shape { int n, c, h, w, filters, oh, ow, groups, size, stride_x, stride_y, dilation, pad; };

struct graph_spec {
    enum conv_pass pass;
    struct conv_shape shape;
    enum precision precision;
    bool narrow, narrow_skip; /* the result, and skip, are as narrow as the factors; else floats */
    bool add;                 /* gradients are added to what is there */
    bool bias, skip;          /* forward: y = act(conv + bias) + skip */
    enum activation act;
};
/* What flows in and out: x, w, y or their gradients, bias (floats) and skip. */
enum graph_operand { OPERAND_X = 1, OPERAND_W, OPERAND_Y, OPERAND_BIAS, OPERAND_SKIP, OPERANDS };

/* One way to compute a graph: number `index` of the list that heuristic `mode` gives; `id` tells whether it is still the same. */
struct graph_engine { int mode, index; int64_t id; };

struct graph;
bool graph_fuses(enum activation); /* cuDNN has it */
/* NULL: cuDNN cannot express it.  device: a described device, or NULL for handle's. */
struct graph *graph_new(const struct graph_spec *, cudnnHandle_t handle, cudnnBackendDescriptor_t device);
void graph_free(struct graph *);
/* Engines whose results repeat and whose arithmetic the precision permits, best first; returns how many. */
int graph_engines(struct graph *, struct graph_engine *list, int cap);
/* The plan of an engine of this graph, in place of an earlier one; false: it cannot be had.  *bytes: of workspace. */
bool graph_plan(struct graph *, const struct graph_engine *, size_t *bytes);
/* The plan as text, behind `room` bytes of the caller's, to be freed by it; NULL: this cuDNN cannot.  *n: bytes in all. */
char *graph_text(const struct graph *, size_t room, size_t *n);
/* The plan from such text (ended by a NUL behind its n bytes), in place of an earlier one; false: it is none for this graph and device. */
bool graph_restore(struct graph *, const char *text, size_t n, size_t *bytes);
cudnnStatus_t graph_run(struct graph *, cudnnHandle_t, void *const operand[OPERANDS], void *workspace);

/* A device described in cuDNN's JSON; NULL: this cuDNN knows no such descriptions.  Freed by cudnnBackendDestroyDescriptor. */
cudnnBackendDescriptor_t graph_device(const char *json);

#endif
