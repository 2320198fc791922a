#include "data/loader.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/rng.h"
#include "data/augment.h"

/* The batch that the caller holds, and those prepared ahead of it. */
enum { RING = 4, MAX_THREADS = 64 };
/* Keeps the choice of images apart from their augmentation. */
static const uint64_t CHOICE_STREAM = 0x63686f696365;

struct slot {
    struct batch batch;
    size_t x_cap;
    int truth_cap;            /* lists in batch.truth, whose memory stays */
    int taken, done;          /* images handed to threads, and finished */
    int failed;               /* smallest index of an image that failed; batch.n: none */
    enum status code;
    char error[sizeof((struct ctx *)0)->error];
};

struct loader {
    struct loader_options opt;
    pthread_t *thread;
    int n_thread;
    pthread_mutex_t lock;
    pthread_cond_t work, ready;
    bool closing;
    uint64_t next;            /* number of the batch that loader_next will deliver */
    uint64_t filled;          /* batches below this number are set up in the ring */
    struct slot slot[RING];
    struct sample **cache;    /* per image; entries never change once there */
    size_t cache_left;
};

/* --- Cache ---------------------------------------------------------------------------------------------- */

/* Decoded pictures stay until the budget is used; with uniform draws no other choice does better. */

/* A sample from the cache, or one read into `own`, which the caller frees. */
static enum status get_sample(struct ctx *ctx, struct loader *l, int image, struct sample *own,
                              const struct sample **out) {
    pthread_mutex_lock(&l->lock);
    *out = l->cache[image];
    pthread_mutex_unlock(&l->lock);
    if (*out) return ST_OK;
    TRY(sample_load(ctx, l->opt.images->item[image], l->opt.channels, l->opt.augment.classes, own));
    size_t bytes = sample_bytes(own);
    struct sample *kept = NULL;
    pthread_mutex_lock(&l->lock);
    bool fits = !l->cache[image] && bytes <= l->cache_left && (kept = malloc(sizeof *kept)) != NULL;
    if (fits) {
        *kept = *own;
        memset(own, 0, sizeof *own);
        l->cache[image] = kept;
        l->cache_left -= bytes;
    }
    pthread_mutex_unlock(&l->lock);
    *out = kept ? kept : own;
    return ST_OK;
}

/* --- Threads -------------------------------------------------------------------------------------------- */

static enum status slot_reserve(struct ctx *ctx, struct slot *s, int n, int w, int h, int c) {
    size_t need = (size_t)n * (size_t)w * (size_t)h * (size_t)c;
    if (need > s->x_cap) {
        free(s->batch.x);
        s->x_cap = 0;
        s->batch.x = mem_zero(ctx, need, sizeof *s->batch.x);
        if (!s->batch.x) return ST_MEMORY;
        s->x_cap = need;
    }
    if (n > s->truth_cap) {
        struct truth_list *truth = mem_zero(ctx, (size_t)n, sizeof *truth);
        const char **path = mem_zero(ctx, (size_t)n, sizeof *path);
        if (!truth || !path) {
            free(truth);
            free(path);
            return ST_MEMORY;
        }
        if (s->truth_cap) memcpy(truth, s->batch.truth, (size_t)s->truth_cap * sizeof *truth);
        free(s->batch.truth);
        free(s->batch.path);
        s->batch.truth = truth;
        s->batch.path = path;
        s->truth_cap = n;
    }
    return ST_OK;
}

/* Under the lock: makes the ring's next slot ready to be filled. */
static void slot_setup(struct loader *l) {
    struct slot *s = &l->slot[l->filled % RING];
    struct ctx ctx = { 0 };
    int n = 0, w = 0, h = 0;
    l->opt.plan(l->opt.user, l->filled, &n, &w, &h);
    s->code = slot_reserve(&ctx, s, n, w, h, l->opt.channels);
    if (s->code != ST_OK) {
        memcpy(s->error, ctx.error, sizeof s->error);
        n = 0;
    }
    s->batch.n = n, s->batch.w = w, s->batch.h = h, s->batch.c = l->opt.channels;
    s->taken = s->done = 0;
    s->failed = n;
    ++l->filled;
}

static enum status load_one(struct ctx *ctx, struct loader *l, struct slot *s, uint64_t number, int index) {
    struct batch *b = &s->batch;
    size_t image_size = (size_t)b->w * (size_t)b->h * (size_t)b->c;
    struct rng r = rng_stream(l->opt.seed ^ CHOICE_STREAM, number, (uint64_t)index);
    int image = rng_int(&r, 0, l->opt.images->n - 1);
    b->path[index] = l->opt.images->item[image];
    struct sample own = { 0 };
    const struct sample *sample;
    enum status st = get_sample(ctx, l, image, &own, &sample);
    if (st == ST_OK)
        st = sample_augment(ctx, sample, &l->opt.augment, l->opt.seed, number, index, b->w, b->h,
                            b->x + (size_t)index * image_size, &b->truth[index]);
    sample_free(&own);
    return st;
}

/* Under the lock: an image of the oldest batch that has one left; sets up batches while the ring has room. */
static bool take_work(struct loader *l, uint64_t *number, int *index) {
    for (uint64_t i = l->next ? l->next - 1 : 0;; ++i) {
        if (i < l->opt.first) continue;
        if (i == l->filled) {
            /* The batch before `next` is the caller's; its slot becomes free with the next call. */
            uint64_t held = l->next > l->opt.first ? l->next - 1 : l->next;
            if (i >= held + RING) return false;
            slot_setup(l);
            if (l->slot[i % RING].batch.n == 0) pthread_cond_broadcast(&l->ready);
        }
        struct slot *s = &l->slot[i % RING];
        if (s->taken == s->batch.n) continue;
        *number = i;
        *index = s->taken++;
        return true;
    }
}

static void *thread_main(void *arg) {
    struct loader *l = arg;
    pthread_mutex_lock(&l->lock);
    while (!l->closing) {
        uint64_t number;
        int index;
        if (!take_work(l, &number, &index)) {
            pthread_cond_wait(&l->work, &l->lock);
            continue;
        }
        struct slot *s = &l->slot[number % RING];
        pthread_mutex_unlock(&l->lock);
        struct ctx ctx = { 0 };
        enum status st = load_one(&ctx, l, s, number, index);
        pthread_mutex_lock(&l->lock);
        if (st != ST_OK && index < s->failed) {
            s->failed = index;
            s->code = st;
            memcpy(s->error, ctx.error, sizeof s->error);
        }
        if (++s->done == s->batch.n) pthread_cond_broadcast(&l->ready);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* --- Interface ------------------------------------------------------------------------------------------ */

static int thread_count(int wanted) {
    if (wanted < 1) wanted = (int)sysconf(_SC_NPROCESSORS_ONLN);
    return wanted < 1 ? 1 : wanted > MAX_THREADS ? MAX_THREADS : wanted;
}

enum status loader_open(struct ctx *ctx, const struct loader_options *opt, struct loader **out) {
    *out = NULL;
    if (opt->images->n < 1) return ctx_fail(ctx, ST_USAGE, "the list of training images is empty");
    struct loader *l = mem_zero(ctx, 1, sizeof *l);
    if (!l) return ST_MEMORY;
    l->opt = *opt;
    l->next = l->filled = opt->first;
    l->cache_left = opt->cache_bytes ? opt->cache_bytes : (size_t)512 << 20;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->ready, NULL);
    int threads = thread_count(opt->threads);
    l->cache = mem_zero(ctx, (size_t)opt->images->n, sizeof(struct sample *));
    l->thread = mem_zero(ctx, (size_t)threads, sizeof *l->thread);
    if (!l->cache || !l->thread) {
        loader_close(l);
        return ST_MEMORY;
    }
    while (l->n_thread < threads && pthread_create(&l->thread[l->n_thread], NULL, thread_main, l) == 0)
        ++l->n_thread;
    if (l->n_thread == 0) {
        loader_close(l);
        return ctx_fail(ctx, ST_MEMORY, "no thread could be started to load images");
    }
    *out = l;
    return ST_OK;
}

enum status loader_next(struct ctx *ctx, struct loader *l, const struct batch **out, double *wait) {
    double start = io_seconds();
    pthread_mutex_lock(&l->lock);
    uint64_t number = l->next++;
    pthread_cond_broadcast(&l->work);
    struct slot *s = &l->slot[number % RING];
    while (number >= l->filled || s->done < s->batch.n) pthread_cond_wait(&l->ready, &l->lock);
    pthread_mutex_unlock(&l->lock);
    if (wait) *wait = io_seconds() - start;
    *out = &s->batch;
    if (s->code != ST_OK) return ctx_fail(ctx, s->code, "%s", s->error);
    return ST_OK;
}

static void slot_free(struct slot *s) {
    for (int i = 0; i < s->truth_cap; ++i) free(s->batch.truth[i].item);
    free(s->batch.truth);
    free(s->batch.path);
    free(s->batch.x);
}

void loader_close(struct loader *l) {
    if (!l) return;
    pthread_mutex_lock(&l->lock);
    l->closing = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->n_thread; ++i) pthread_join(l->thread[i], NULL);
    for (int i = 0; i < RING; ++i) slot_free(&l->slot[i]);
    for (int i = 0; l->cache && i < l->opt.images->n; ++i) {
        if (!l->cache[i]) continue;
        sample_free(l->cache[i]);
        free(l->cache[i]);
    }
    free(l->cache);
    free(l->thread);
    pthread_cond_destroy(&l->ready);
    pthread_cond_destroy(&l->work);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static enum status source_next(struct ctx *ctx, void *self, const struct batch **batch, double *wait) {
    return loader_next(ctx, self, batch, wait);
}

static void source_close(void *self) { loader_close(self); }

struct batch_source loader_source(struct loader *l) {
    return (struct batch_source){ .self = l, .next = source_next, .close = source_close };
}
