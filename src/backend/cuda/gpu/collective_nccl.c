/* Sums over the GPUs of this machine by NCCL.  Every rank has a stream for it beside the one it computes on, so that sums travel
 * while later work computes; two events per call keep the order between them.  Ranks are threads of one process. */
#include <nccl.h>
#include <pthread.h>
#include <stdlib.h>

#include "backend/cuda/gpu/gpu.h"

struct rank {
    struct device *dev;
    ncclComm_t comm;
    cudaStream_t stream;
    cudaEvent_t ready, done; /* on the computing stream: what is summed is there; on this one: it is summed */
};

struct nccl_collective {
    struct collective base;
    pthread_mutex_t lock;    /* of cancelled */
    bool cancelled;
    struct rank *rank;
};

static struct gpu *gpu_of(const struct rank *r) { return r->dev->own; }

static enum status cuda_ok(struct ctx *ctx, const struct rank *r, cudaError_t code, const char *what) {
    if (code == cudaSuccess) return ST_OK;
    return ctx_fail(ctx, ST_BACKEND, "GPU %d: %s: %s", gpu_of(r)->number, what, cudaGetErrorString(code));
}

static enum status nccl_ok(struct ctx *ctx, const struct rank *r, ncclResult_t code) {
    if (code == ncclSuccess) return ST_OK;
    return ctx_fail(ctx, ST_BACKEND, "GPU %d: NCCL: %s", gpu_of(r)->number, ncclGetErrorString(code));
}

static bool is_cancelled(struct nccl_collective *c) {
    pthread_mutex_lock(&c->lock);
    bool cancelled = c->cancelled;
    pthread_mutex_unlock(&c->lock);
    return cancelled;
}

/* This stream goes on where the computing one is now. */
static enum status follow(struct nccl_collective *c, struct ctx *ctx, struct rank *r) {
    if (is_cancelled(c)) return ctx_fail(ctx, ST_BACKEND, "another device could not go on");
    if (r->dev->failed) return ctx_fail(ctx, r->dev->code, "%s", r->dev->error);
    TRY(cuda_ok(ctx, r, cudaSetDevice(gpu_of(r)->number), "choosing it"));
    TRY(cuda_ok(ctx, r, cudaEventRecord(r->ready, gpu_of(r)->stream), "recording an event"));
    return cuda_ok(ctx, r, cudaStreamWaitEvent(r->stream, r->ready, 0), "waiting for an event");
}

static enum status nccl_sum(struct collective *base, struct ctx *ctx, int rank, real *x, size_t n) {
    struct nccl_collective *c = (struct nccl_collective *)base;
    struct rank *r = &c->rank[rank];
    TRY(follow(c, ctx, r));
    return nccl_ok(ctx, r, ncclAllReduce(x, x, n, ncclFloat, ncclSum, r->comm, r->stream));
}

static enum status nccl_broadcast(struct collective *base, struct ctx *ctx, int rank, int root, real *x, size_t n) {
    struct nccl_collective *c = (struct nccl_collective *)base;
    struct rank *r = &c->rank[rank];
    TRY(follow(c, ctx, r));
    return nccl_ok(ctx, r, ncclBroadcast(x, x, n, ncclFloat, root, r->comm, r->stream));
}

static enum status nccl_wait(struct collective *base, struct ctx *ctx, int rank) {
    struct nccl_collective *c = (struct nccl_collective *)base;
    struct rank *r = &c->rank[rank];
    ncclResult_t state = ncclSuccess;
    if (is_cancelled(c)) return ctx_fail(ctx, ST_BACKEND, "another device could not go on");
    TRY(nccl_ok(ctx, r, ncclCommGetAsyncError(r->comm, &state)));
    TRY(nccl_ok(ctx, r, state));
    TRY(cuda_ok(ctx, r, cudaSetDevice(gpu_of(r)->number), "choosing it"));
    TRY(cuda_ok(ctx, r, cudaEventRecord(r->done, r->stream), "recording an event"));
    return cuda_ok(ctx, r, cudaStreamWaitEvent(gpu_of(r)->stream, r->done, 0), "waiting for an event");
}

/* Calls only queue work, so no thread waits inside one; kernels that wait for the rank that is missing end in nccl_close. */
static void nccl_cancel(struct collective *base) {
    struct nccl_collective *c = (struct nccl_collective *)base;
    pthread_mutex_lock(&c->lock);
    c->cancelled = true;
    pthread_mutex_unlock(&c->lock);
}

static void nccl_close(struct collective *base) {
    struct nccl_collective *c = (struct nccl_collective *)base;
    for (int i = 0; c->rank && i < base->ranks; ++i) {
        struct rank *r = &c->rank[i];
        cudaSetDevice(gpu_of(r)->number);
        if (r->comm && c->cancelled) ncclCommAbort(r->comm);
        if (r->stream) cudaStreamSynchronize(r->stream);
        if (r->comm && !c->cancelled) ncclCommDestroy(r->comm);
        if (r->ready) cudaEventDestroy(r->ready);
        if (r->done) cudaEventDestroy(r->done);
        if (r->stream) cudaStreamDestroy(r->stream);
    }
    pthread_mutex_destroy(&c->lock);
    free(c->rank);
    free(c);
}

static const struct collective_ops nccl_ops = { .sum = nccl_sum, .broadcast = nccl_broadcast, .wait = nccl_wait, .cancel = nccl_cancel,
                                                .close = nccl_close };

static bool all_apart(struct device *const *dev, int n) {
    for (int i = 0; i < n; ++i)
        for (int k = 0; k < i; ++k)
            if (((struct gpu *)dev[i]->own)->number == ((struct gpu *)dev[k]->own)->number) return false;
    return true;
}

static enum status set_up(struct ctx *ctx, struct nccl_collective *c) {
    int n = c->base.ranks, number[64] = { 0 };
    ncclComm_t comm[64] = { 0 };
    for (int i = 0; i < n; ++i) number[i] = gpu_of(&c->rank[i])->number;
    TRY(nccl_ok(ctx, c->rank, ncclCommInitAll(comm, n, number)));
    for (int i = 0; i < n; ++i) c->rank[i].comm = comm[i];
    for (int i = 0; i < n; ++i) {
        struct rank *r = &c->rank[i];
        TRY(cuda_ok(ctx, r, cudaSetDevice(number[i]), "choosing it"));
        TRY(cuda_ok(ctx, r, cudaStreamCreateWithFlags(&r->stream, cudaStreamNonBlocking), "opening a stream"));
        TRY(cuda_ok(ctx, r, cudaEventCreateWithFlags(&r->ready, cudaEventDisableTiming), "making an event"));
        TRY(cuda_ok(ctx, r, cudaEventCreateWithFlags(&r->done, cudaEventDisableTiming), "making an event"));
    }
    return ST_OK;
}

enum status device_cuda_collective(struct ctx *ctx, struct device *const *dev, int n, struct collective **out) {
    *out = NULL;
    if (n > 64 || !all_apart(dev, n)) return ST_OK;
    struct nccl_collective *c = mem_zero(ctx, 1, sizeof *c);
    if (!c) return ST_MEMORY;
    c->base = (struct collective){ &nccl_ops, "NCCL", n };
    pthread_mutex_init(&c->lock, NULL);
    c->rank = mem_zero(ctx, (size_t)n, sizeof *c->rank);
    for (int i = 0; c->rank && i < n; ++i) c->rank[i].dev = dev[i];
    if (!c->rank || set_up(ctx, c) != ST_OK) {
        nccl_close(&c->base);
        return ctx->code;
    }
    *out = &c->base;
    return ST_OK;
}
