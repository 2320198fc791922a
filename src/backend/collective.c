/* Ranks that meet in host memory. */
#include "backend/collective.h"

#include <pthread.h>
#include <stdlib.h>

#include "backend/cuda/cuda.h"

/* What a rank shows to the others, and the sums that it makes of theirs. */
struct place { struct backend *be; float *own, *total; size_t own_cap, total_cap; };

struct host_collective {
    struct collective base;
    pthread_mutex_t lock;
    pthread_cond_t all;
    int arrived;
    unsigned meetings;
    bool cancelled;
    struct place *place;
};

static enum status ended(struct ctx *ctx) { return ctx_fail(ctx, ST_BACKEND, "another device could not go on"); }

/* Returns when every rank is here. */
static enum status meet(struct host_collective *h, struct ctx *ctx) {
    pthread_mutex_lock(&h->lock);
    unsigned now = h->meetings;
    if (++h->arrived == h->base.ranks) {
        h->arrived = 0;
        ++h->meetings;
        pthread_cond_broadcast(&h->all);
    }
    while (now == h->meetings && !h->cancelled) pthread_cond_wait(&h->all, &h->lock);
    bool met = now != h->meetings && !h->cancelled;
    pthread_mutex_unlock(&h->lock);
    return met ? ST_OK : ended(ctx);
}

static void host_cancel(struct collective *c) {
    struct host_collective *h = (struct host_collective *)c;
    pthread_mutex_lock(&h->lock);
    h->cancelled = true;
    pthread_cond_broadcast(&h->all);
    pthread_mutex_unlock(&h->lock);
}

/* A rank without memory must not leave the others waiting. */
static enum status room(struct collective *c, struct ctx *ctx, float **block, size_t *cap, size_t n) {
    enum status st = mem_grow(ctx, block, cap, n, sizeof **block);
    if (st != ST_OK) host_cancel(c);
    return st;
}

static enum status host_sum(struct collective *c, struct ctx *ctx, int rank, real *x, size_t n) {
    struct host_collective *h = (struct host_collective *)c;
    struct place *p = &h->place[rank];
    TRY(room(c, ctx, &p->own, &p->own_cap, n));
    TRY(room(c, ctx, &p->total, &p->total_cap, n));
    p->be->ops->get(p->be, x, n, p->own);
    TRY(meet(h, ctx));
    for (size_t i = 0; i < n; ++i) {
        double sum = 0;
        for (int r = 0; r < c->ranks; ++r) sum += (double)h->place[r].own[i];
        p->total[i] = (float)sum;
    }
    TRY(meet(h, ctx)); /* nobody looks at p->own any more */
    p->be->ops->put(p->be, p->total, n, x);
    return ST_OK;
}

static enum status host_broadcast(struct collective *c, struct ctx *ctx, int rank, int root, real *x, size_t n) {
    struct host_collective *h = (struct host_collective *)c;
    struct place *p = &h->place[rank], *from = &h->place[root];
    if (rank == root) {
        TRY(room(c, ctx, &p->own, &p->own_cap, n));
        p->be->ops->get(p->be, x, n, p->own);
    }
    TRY(meet(h, ctx));
    if (rank != root) p->be->ops->put(p->be, from->own, n, x);
    return meet(h, ctx);
}

static enum status host_wait(struct collective *c, struct ctx *ctx, int rank) {
    (void)c, (void)ctx, (void)rank;
    return ST_OK;
}

static void host_close(struct collective *c) {
    struct host_collective *h = (struct host_collective *)c;
    for (int i = 0; h->place && i < c->ranks; ++i) free(h->place[i].own), free(h->place[i].total);
    free(h->place);
    pthread_cond_destroy(&h->all);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

static const struct collective_ops host_ops = { .sum = host_sum, .broadcast = host_broadcast, .wait = host_wait, .cancel = host_cancel,
                                                .close = host_close };

static enum status host_open(struct ctx *ctx, struct backend *const *be, int ranks, struct collective **out) {
    struct host_collective *h = mem_zero(ctx, 1, sizeof *h);
    if (!h) return ST_MEMORY;
    h->base = (struct collective){ &host_ops, "host memory", ranks };
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->all, NULL);
    h->place = mem_zero(ctx, (size_t)ranks, sizeof *h->place);
    if (!h->place) {
        host_close(&h->base);
        return ST_MEMORY;
    }
    for (int i = 0; i < ranks; ++i) h->place[i].be = be[i];
    *out = &h->base;
    return ST_OK;
}

enum status collective_open(struct ctx *ctx, struct backend *const *be, int ranks, struct collective **out) {
    *out = NULL;
    TRY(cuda_collective(ctx, be, ranks, out));
    return *out ? ST_OK : host_open(ctx, be, ranks, out);
}

void collective_close(struct collective *c) {
    if (c) c->ops->close(c);
}
