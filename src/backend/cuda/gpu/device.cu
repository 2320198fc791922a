/* A device of NVIDIA's: memory, kernels, cuBLAS.  The only file that nvcc sees. */
#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern "C" {
#include "backend/cuda/gpu/gpu.h"
}

static bool failed(struct device *d, cudaError_t code, const char *what) {
    if (code == cudaSuccess) return false;
    device_fault(d, code == cudaErrorMemoryAllocation ? ST_MEMORY : ST_BACKEND, "GPU: %s: %s", what, cudaGetErrorString(code));
    return true;
}

static struct gpu *own(struct device *d) { return (struct gpu *)d->own; }

/* --- Memory --------------------------------------------------------------------------------------------------------------- */

/* Threads may have different devices current; every entry sets its own. */
static bool enter(struct device *d) { return !d->failed && !failed(d, cudaSetDevice(own(d)->number), "choosing it"); }

static void *gpu_alloc(struct device *d, size_t bytes) {
    void *block = NULL;
    if (!device_free_to(d) || !enter(d)) return NULL;
    ++d->allocations;
    cudaError_t code = cudaMalloc(&block, bytes ? bytes : 1);
    if (code == cudaErrorMemoryAllocation) {
        cudaGetLastError(); /* it would be told again */
        return NULL;
    }
    if (failed(d, code, "allocating memory")) return NULL;
    if (failed(d, cudaMemsetAsync(block, 0, bytes ? bytes : 1, own(d)->stream), "clearing memory")) {
        cudaFree(block);
        return NULL;
    }
    return block;
}

/* cudaFree waits for the work that may still use the block. */
static void gpu_free(struct device *d, void *block) {
    if (!block || !device_free_to(d)) return;
    cudaSetDevice(own(d)->number);
    failed(d, cudaFree(block), "freeing memory");
}

static void gpu_zero(struct device *d, void *block, size_t bytes) {
    if (enter(d)) failed(d, cudaMemsetAsync(block, 0, bytes, own(d)->stream), "clearing memory");
}

/* From pageable memory the call returns when the bytes have been taken over, in the stream's order. */
static void gpu_upload(struct device *d, const void *host, size_t bytes, void *to) {
    if (device_free_to(d) && enter(d)) failed(d, cudaMemcpyAsync(to, host, bytes, cudaMemcpyHostToDevice, own(d)->stream), "copying to it");
}

static void gpu_download(struct device *d, const void *from, size_t bytes, void *host) {
    if (!device_free_to(d) || !enter(d) || failed(d, cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, own(d)->stream), "copying from it") ||
        failed(d, cudaStreamSynchronize(own(d)->stream), "computing"))
        memset(host, 0, bytes); /* what a caller sees of a fault that it will only hear of later */
}

static void gpu_wait(struct device *d) {
    if (device_free_to(d) && enter(d)) failed(d, cudaStreamSynchronize(own(d)->stream), "computing");
}

/* --- Copies beside the queue ------------------------------------------------------------------------------------------------ */

static void gpu_send_begin(struct device *d) {
    struct gpu *g = own(d);
    if (!device_free_to(d) || !enter(d)) return;
    if (!failed(d, cudaEventRecord(g->begun, g->stream), "recording an event")) failed(d, cudaStreamWaitEvent(g->aside, g->begun, 0), "waiting for an event");
}

static void gpu_send(struct device *d, const void *host, size_t bytes, void *to) {
    if (device_free_to(d) && enter(d)) failed(d, cudaMemcpyAsync(to, host, bytes, cudaMemcpyHostToDevice, own(d)->aside), "copying to it");
}

static void gpu_send_end(struct device *d) {
    struct gpu *g = own(d);
    if (!device_free_to(d) || !enter(d)) return;
    if (!failed(d, cudaEventRecord(g->sent, g->aside), "recording an event")) failed(d, cudaStreamWaitEvent(g->stream, g->sent, 0), "waiting for an event");
}

/* Called by threads that load pictures, while another one computes: looks at nothing of the device that changes.  Where no memory can
 * be pinned, plain memory does, more slowly. */
static void *gpu_host_alloc(struct device *d, size_t bytes) {
    void *block = NULL;
    if (!bytes) bytes = 1;
    if (cudaSetDevice(own(d)->number) == cudaSuccess && cudaHostAlloc(&block, bytes, cudaHostAllocPortable) == cudaSuccess) return block;
    cudaGetLastError();
    return malloc(bytes);
}

static void gpu_host_free(struct device *d, void *block) {
    cudaPointerAttributes kind;
    bool pinned = cudaSetDevice(own(d)->number) == cudaSuccess && cudaPointerGetAttributes(&kind, block) == cudaSuccess && kind.type == cudaMemoryTypeHost;
    if (pinned) cudaFreeHost(block);
    cudaGetLastError();
    if (!pinned) free(block);
}

static void gpu_room(struct device *d, double *left, double *total) {
    size_t bytes = 0, all = 0;
    if (enter(d)) failed(d, cudaMemGetInfo(&bytes, &all), "asking for its memory");
    *left = (double)bytes, *total = (double)all;
}

extern "C" void *gpu_workspace(struct device *d, size_t bytes) {
    struct gpu *g = own(d);
    if (bytes <= g->workspace_bytes) return g->workspace;
    if (!device_free_to(d)) return NULL;
    ++d->generation;
    gpu_free(d, g->workspace);
    g->workspace_bytes = 0;
    g->workspace = gpu_alloc(d, bytes);
    if (!g->workspace) device_fault(d, ST_MEMORY, "the GPU is out of memory: %.0f MB of workspace", (double)bytes / 1e6);
    else g->workspace_bytes = bytes;
    return g->workspace;
}

/* --- Notes: CUDA graphs ----------------------------------------------------------------------------------------------------- */

/* Work of other threads on other devices may go on meanwhile. */
static bool gpu_record(struct device *d) {
    bool begun = enter(d) && cudaStreamBeginCapture(own(d)->stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess;
    cudaGetLastError();
    return begun;
}

/* A capture that did not come about is no fault: the work is done without. */
static void *gpu_recorded(struct device *d) {
    cudaGraph_t graph = NULL;
    cudaGraphExec_t note = NULL;
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    cudaSetDevice(own(d)->number);
    if (cudaStreamIsCapturing(own(d)->stream, &status) != cudaSuccess || status != cudaStreamCaptureStatusNone) {
        cudaError_t code = cudaStreamEndCapture(own(d)->stream, &graph);
        if (code != cudaSuccess || !graph || d->spoilt || cudaGraphInstantiate(&note, graph, 0) != cudaSuccess) note = NULL;
    }
    if (graph) cudaGraphDestroy(graph);
    cudaGetLastError();
    return note;
}

static void gpu_replay(struct device *d, void *note) {
    if (enter(d)) failed(d, cudaGraphLaunch((cudaGraphExec_t)note, own(d)->stream), "playing a pass");
}

/* Launches of it may still be at work. */
static void gpu_forget(struct device *d, void *note) {
    cudaSetDevice(own(d)->number);
    cudaStreamSynchronize(own(d)->stream);
    cudaGraphExecDestroy((cudaGraphExec_t)note);
}

/* --- Kernels --------------------------------------------------------------------------------------------------------------- */

enum { EACH_THREADS = 256, LANES = 8, TILE = 32, FINISH_THREADS = 128, LEAST_ROWS = 64, BLOCKS_PER_UNIT = 8 };

/* Sums of floats keep what their rounding lost (Kahan); sums of doubles need not. */
__device__ static inline void add_term(float *sum, float *lost, float term) {
    float more = __fsub_rn(term, *lost), next = __fadd_rn(*sum, more);
    *lost = __fsub_rn(__fsub_rn(next, *sum), more);
    *sum = next;
}
__device__ static inline void add_term(double *sum, double *, double term) { *sum += term; }

static unsigned blocks_for(const struct gpu *g, size_t n) {
    size_t all = (n + EACH_THREADS - 1) / EACH_THREADS, most = (size_t)g->units * 32;
    return (unsigned)(all < most ? all : most);
}

/* A chunk is a run of rows that one block sums up. */
struct chunks { size_t n, rows; };

static struct chunks chunks_for(const struct gpu *g, size_t columns, size_t rows) {
    size_t tiles = (columns + TILE - 1) / TILE, wanted = ((size_t)g->units * BLOCKS_PER_UNIT + tiles - 1) / tiles;
    size_t most = (rows + LEAST_ROWS - 1) / LEAST_ROWS;
    struct chunks c;
    if (wanted > most) wanted = most;
    if (wanted > 65535) wanted = 65535; /* what a grid has in y */
    if (wanted < 1) wanted = 1;
    c.rows = (rows + wanted - 1) / wanted;
    if (c.rows < 1) c.rows = 1;
    c.n = rows ? (rows + c.rows - 1) / c.rows : 1;
    return c;
}

/* sum[column][term] over one chunk of rows: threadIdx.x counts columns, so that neighbours read neighbours; threadIdx.y lanes of
 * rows, whose sums are added in their order.  part (chunks, columns, terms). */
template <class Args, int TERMS, class Term, void (*TERM)(const Args *, size_t, size_t, Term *)>
__device__ static void sum_rows(const Args *a, size_t columns, size_t rows, size_t chunk_rows, double *part) {
    __shared__ double shared[LANES][TILE][TERMS];
    size_t column = (size_t)blockIdx.x * TILE + threadIdx.x, first = blockIdx.y * chunk_rows, end = first + chunk_rows;
    Term sum[TERMS], lost[TERMS], t[TERMS];
    for (int k = 0; k < TERMS; ++k) sum[k] = lost[k] = 0;
    if (end > rows) end = rows;
    if (column < columns)
        for (size_t row = first + threadIdx.y; row < end; row += LANES) {
            TERM(a, column, row, t);
            for (int k = 0; k < TERMS; ++k) add_term(&sum[k], &lost[k], t[k]);
        }
    for (int k = 0; k < TERMS; ++k) shared[threadIdx.y][threadIdx.x][k] = sum[k];
    __syncthreads();
    if (threadIdx.y != 0 || column >= columns) return;
    for (int k = 0; k < TERMS; ++k) {
        double total = 0;
        for (int lane = 0; lane < LANES; ++lane) total += shared[lane][threadIdx.x][k];
        part[(blockIdx.y * columns + column) * TERMS + k] = total;
    }
}

template <class Args, int TERMS, void (*FINISH)(const Args *, size_t, const double *)>
__device__ static void finish_columns(const Args *a, size_t columns, size_t chunks, const double *part) {
    size_t column = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    double sum[TERMS];
    if (column >= columns) return;
    for (int k = 0; k < TERMS; ++k) sum[k] = 0;
    for (size_t chunk = 0; chunk < chunks; ++chunk)
        for (int k = 0; k < TERMS; ++k) sum[k] += part[(chunk * columns + column) * TERMS + k];
    FINISH(a, column, sum);
}

/* What the sums of batch norm take on the largest card there is; direct convolutions may want more, once. */
enum { USUAL_PARTS = 8 << 20 };

/* Room for the chunks' sums; NULL: a fault was kept. */
static double *parts(struct device *d, size_t bytes) {
    struct gpu *g = own(d);
    if (bytes <= g->part_bytes) return g->part;
    if (!device_free_to(d)) return NULL;
    ++d->generation;
    gpu_free(d, g->part);
    g->part_bytes = 0;
    g->part = (double *)gpu_alloc(d, bytes);
    if (!g->part) device_fault(d, ST_MEMORY, "the GPU is out of memory: %.0f MB of sums", (double)bytes / 1e6);
    else g->part_bytes = bytes;
    return g->part;
}

#define EACH(name, args)                                                                                          \
    __global__ static void __launch_bounds__(EACH_THREADS) name##_kernel(const __grid_constant__ struct args a, size_t n) { \
        for (size_t i = (size_t)blockIdx.x * EACH_THREADS + threadIdx.x; i < n; i += (size_t)gridDim.x * EACH_THREADS) \
            name##_each(&a, i);                                                                                   \
    }                                                                                                             \
    static void name##_run(struct device *d, const struct args *a, size_t n) {                                    \
        if (!enter(d)) return;                                                                                    \
        name##_kernel<<<blocks_for(own(d), n), EACH_THREADS, 0, own(d)->stream>>>(*a, n);                         \
        failed(d, cudaGetLastError(), #name);                                                                     \
    }
#define COLUMNS(name, args, terms, type)                                                                          \
    __global__ static void __launch_bounds__(TILE *LANES)                                                         \
        name##_kernel(const __grid_constant__ struct args a, size_t columns, size_t rows, size_t chunk_rows, double *part) { \
        sum_rows<struct args, terms, type, name##_term>(&a, columns, rows, chunk_rows, part);                     \
    }                                                                                                             \
    __global__ static void name##_end(const __grid_constant__ struct args a, size_t columns, size_t chunks, const double *part) { \
        finish_columns<struct args, terms, name##_finish>(&a, columns, chunks, part);                             \
    }                                                                                                             \
    static void name##_run(struct device *d, const struct args *a, size_t columns, size_t rows) {                 \
        if (!enter(d)) return;                                                                                    \
        struct chunks c = chunks_for(own(d), columns, rows);                                                      \
        double *part = parts(d, c.n *columns *terms * sizeof(double));                                            \
        dim3 grid((unsigned)((columns + TILE - 1) / TILE), (unsigned)c.n), block(TILE, LANES);                    \
        if (!part) return;                                                                                        \
        name##_kernel<<<grid, block, 0, own(d)->stream>>>(*a, columns, rows, c.rows, part);                       \
        name##_end<<<(unsigned)((columns + FINISH_THREADS - 1) / FINISH_THREADS), FINISH_THREADS, 0, own(d)->stream>>>(*a, columns, c.n, part); \
        failed(d, cudaGetLastError(), #name);                                                                     \
    }
#include "backend/cuda/kernels.inc"
#undef EACH
#undef COLUMNS

/* --- Opening --------------------------------------------------------------------------------------------------------------- */

static void gpu_describe(const struct device *d, char *text, size_t size) {
    const struct gpu *g = (const struct gpu *)d->own;
    snprintf(text, size, "GPU %d: %s, %.0f GB, CUDA %d.%d, %s, %s", g->number, g->name, d->memory / 1e9, CUDART_VERSION / 1000,
             CUDART_VERSION % 1000 / 10, g->library[0] ? g->library : "matrix products of cuBLAS", precision_name(d->precision));
}

static void gpu_close(struct device *d) {
    struct gpu *g = own(d);
    cudaSetDevice(g->number);
    gpu_conv_close(d);
    gpu_products_close(d);
    store_close(&g->store);
    gpu_free(d, g->workspace);
    gpu_free(d, g->part);
    if (g->begun) cudaEventDestroy(g->begun);
    if (g->sent) cudaEventDestroy(g->sent);
    if (g->aside) cudaStreamDestroy(g->aside);
    if (g->stream) cudaStreamDestroy(g->stream);
    free(g);
    free(d);
}

static void fill_ops(struct device_ops *ops) {
    memset(ops, 0, sizeof *ops);
    ops->alloc = gpu_alloc;
    ops->free = gpu_free;
    ops->zero = gpu_zero;
    ops->upload = gpu_upload;
    ops->download = gpu_download;
    ops->wait = gpu_wait;
    ops->room = gpu_room;
    ops->send_begin = gpu_send_begin;
    ops->send = gpu_send;
    ops->send_end = gpu_send_end;
    ops->host_alloc = gpu_host_alloc;
    ops->host_free = gpu_host_free;
    ops->product = gpu_product;
    ops->product_plan = gpu_product_plan;
    ops->record = gpu_record;
    ops->recorded = gpu_recorded;
    ops->replay = gpu_replay;
    ops->forget = gpu_forget;
    ops->describe = gpu_describe;
    ops->close = gpu_close;
#define EACH(name, args) ops->name = name##_run;
#define COLUMNS(name, args, terms, type) ops->name = name##_run;
#include "backend/cuda/kernels.inc"
#undef EACH
#undef COLUMNS
}

extern "C" enum precision device_fast_precision(void) {
#ifdef CUDNN_HALF
    return PRECISION_FP16;
#else
    return PRECISION_TF32;
#endif
}

extern "C" int device_cuda_count(char *why, size_t size) {
    int n = 0;
    cudaError_t code = cudaGetDeviceCount(&n);
    if (code == cudaErrorInsufficientDriver) snprintf(why, size, "no GPU can be used: NVIDIA's driver is missing or older than CUDA %d", CUDART_VERSION / 1000);
    else if (code != cudaSuccess) snprintf(why, size, "no GPU can be used: %s", cudaGetErrorString(code));
    else if (n == 0) snprintf(why, size, "no GPU can be used: there is none");
    cudaGetLastError();
    return code == cudaSuccess ? n : 0;
}

static enum status set_up(struct ctx *ctx, struct device *d) {
    struct gpu *g = own(d);
    cudaDeviceProp properties;
    if (!enter(d) || failed(d, cudaGetDeviceProperties(&properties, g->number), "asking for its properties") ||
        failed(d, cudaStreamCreateWithFlags(&g->stream, cudaStreamNonBlocking), "opening a stream") ||
        failed(d, cudaStreamCreateWithFlags(&g->aside, cudaStreamNonBlocking), "opening a stream") ||
        failed(d, cudaEventCreateWithFlags(&g->begun, cudaEventDisableTiming), "making an event") ||
        failed(d, cudaEventCreateWithFlags(&g->sent, cudaEventDisableTiming), "making an event"))
        return ctx_fail(ctx, d->code, "%s", d->error);
    snprintf(g->name, sizeof g->name, "%s", properties.name);
    g->units = properties.multiProcessorCount;
    d->memory = (double)properties.totalGlobalMem;
    if (store_open(ctx, &g->store) != ST_OK || gpu_products_open(ctx, d) != ST_OK) return ctx->code;
    if (!parts(d, USUAL_PARTS)) return ctx_fail(ctx, d->code, "%s", d->error);
    return gpu_conv_open(ctx, d);
}

extern "C" enum status device_cuda_open(struct ctx *ctx, int n, enum precision precision, struct device **out) {
    char why[256];
    int count = device_cuda_count(why, sizeof why);
    *out = NULL;
    if (count <= 0) return ctx_fail(ctx, ST_UNSUPPORTED, "%s", why);
    if (n >= count) return ctx_fail(ctx, ST_USAGE, "GPU %d: there %s %d here, counted from 0", n, count == 1 ? "is" : "are", count);
    struct device *d = (struct device *)mem_zero(ctx, 1, sizeof *d);
    struct gpu *g = (struct gpu *)mem_zero(ctx, 1, sizeof *g);
    if (!d || !g) {
        free(d), free(g);
        return ST_MEMORY;
    }
    d->own = g;
    fill_ops(&g->ops);
    d->ops = &g->ops;
    g->number = n;
    d->precision = precision;
    enum status status = set_up(ctx, d);
    if (status == ST_OK) *out = d;
    else gpu_close(d);
    return status;
}
