#include "backend/backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "backend/cuda/cuda.h"
#include "backend/ref/ref.h"

static bool is_cpu(const struct backend *be) {
    return be->ops && strcmp(be->ops->name, "cpu") == 0;
}

static bool is_cuda(const struct backend *be) {
    return be->ops && strncmp(be->ops->name, "cuda", 4) == 0;
}

int backend_gpus(char *why, size_t size) { return cuda_count(why, size); }

static enum status open_best(struct ctx *ctx, struct backend *be) {
    char why[256];
    int n = backend_gpus(why, sizeof why);
    if (n > 0) return cuda_open(ctx, be, "cuda");
    if (n == 0) ctx_log(ctx, LOG_WARN, "%s: computing on the CPU", why);
    return cpu_open(ctx, be, false, CPU_F32);
}

static void set_up(struct backend *be, const struct backend_ops *ops, size_t elem_size) {
    be->ops = ops;
    be->elem_size = elem_size;
}

enum status backend_open(struct ctx *ctx, const char *kind, struct backend **out) {
    *out = NULL;
    struct backend *be = mem_zero(ctx, 1, sizeof *be);
    if (!be) return ST_MEMORY;
    enum status status = ST_OK;
    if (strcmp(kind, "auto") == 0) status = open_best(ctx, be);
    else if (cuda_names(kind)) status = cuda_open(ctx, be, kind);
    else if (strncmp(kind, "cuda-emulated", strlen("cuda-emulated")) == 0) status = cuda_open_emulated(ctx, be, kind);
    else if (strcmp(kind, "cpu") == 0) status = cpu_open(ctx, be, false, CPU_F32);
    else if (strcmp(kind, "cpu:bf16") == 0) status = cpu_open(ctx, be, false, CPU_BF16);
    else if (strcmp(kind, "cpu:int8") == 0) status = cpu_open(ctx, be, false, CPU_INT8);
    else if (strcmp(kind, "cpu-plain") == 0) status = cpu_open(ctx, be, true, CPU_F32);
    else if (strcmp(kind, "ref") == 0) set_up(be, &ref_f32_ops, sizeof(float));
    else if (strcmp(kind, "ref64") == 0) set_up(be, &ref_f64_ops, sizeof(double));
    else status = ctx_fail(ctx, ST_UNSUPPORTED, "backend '%s' is not built in: use auto, cpu, cuda, cuda:N, ref or ref64", kind);
    if (status != ST_OK) {
        free(be);
        return status;
    }
    *out = be;
    return ST_OK;
}

void backend_close(struct backend *be) {
    if (!be) return;
    if (is_cpu(be)) cpu_close(be);
    else if (is_cuda(be)) cuda_close(be);
    free(be);
}

void backend_describe(const struct backend *be, char *text, size_t size) {
    if (is_cpu(be)) cpu_describe(be, text, size);
    else if (is_cuda(be)) cuda_describe(be, text, size);
    else snprintf(text, size, "reference: plain loops, %zu-bit elements, 1 thread", 8 * be->elem_size);
}

struct tensor tensor_of(const struct backend *be, struct shape s, real *data) {
    struct tensor t = {.n = s.n, .c = s.c, .h = s.h, .w = s.w, .data = data};
    if (be->channels_last) {
        t.sc = 1;
        t.sw = s.c;
        t.sh = (ptrdiff_t)s.w * t.sw;
        t.sn = s.h * t.sh;
    } else {
        t.sw = 1;
        t.sh = s.w;
        t.sc = s.h * t.sh;
        t.sn = s.c * t.sc;
    }
    return t;
}

size_t shape_count(struct shape s) {
    return (size_t)s.n * (size_t)s.c * (size_t)s.h * (size_t)s.w;
}

size_t element_size(const struct backend *be, enum element type) { return type == ELEMENT_REAL ? be->elem_size : sizeof(uint16_t); }

/* `offset` elements on. */
static real *moved(struct backend *be, const struct tensor *t, ptrdiff_t offset) {
    if (t->type == ELEMENT_REAL) return be->ops->at(be, t->data, (size_t)offset);
    return (uint16_t *)t->data + offset;
}

struct tensor tensor_images(struct backend *be, const struct tensor *t, int first, int count) {
    struct tensor part = *t;
    part.n = count;
    part.data = moved(be, t, first * t->sn);
    return part;
}

struct tensor tensor_channels(struct backend *be, const struct tensor *t, int first, int count) {
    struct tensor part = *t;
    part.spare = t->c == count ? t->spare : 0;
    part.c = count;
    if (t->data) part.data = moved(be, t, first * t->sc);
    return part;
}

bool tensor_planar(const struct tensor *t) {
    return (t->w == 1 || t->sw == 1) && (t->h == 1 || t->sh == t->w) && (t->c == 1 || t->sc == (ptrdiff_t)t->h * t->w);
}
