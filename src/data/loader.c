#include "data/loader.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"

/* The batch that the caller holds, and those prepared ahead of it. */
enum { RING = 4, MAX_THREADS = 64 };

struct slot {
    struct batch batch;
    size_t x_cap;
    int truth_cap;            /* lists in batch.truth, whose memory stays */
    float *target;            /* truth_cap vectors, for classifiers */
    struct parts *parts;      /* truth_cap images, for devices that draw them, and where their blocks are */
    const struct picture_block **block;
    int taken, done;          /* images handed to threads, and finished */
    int failed;               /* smallest index of an image that failed; batch.n: none */
    enum status code;
    char error[sizeof((struct ctx *)0)->error];
};

/* What is known of one picture.  Samples never change once there: one for each divisor that it was decoded with. */
enum { DIVISORS = 4 };
struct picture {
    int w, h;                 /* 0: not read yet */
    enum status code;         /* why it cannot be read */
    struct sample *sample[DIVISORS];
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
    struct picture *picture;  /* per image of the list */
    size_t cache_left;
    char *unread;             /* warnings about pictures that could not be read, not told yet */
    size_t unread_size, unread_cap;
    struct picture_source source;
};

/* --- Cache ---------------------------------------------------------------------------------------------- */

/* Decoded pictures stay until the budget is used; with uniform draws no other choice does better. */

static int divisor_index(int divisor) { return divisor == 8 ? 3 : divisor / 2; }

/* Under the lock: the sample that decoding for w x h would give, if it is there. */
static const struct sample *cached(const struct picture *p, int w, int h) {
    return p->w ? p->sample[divisor_index(sample_divisor(p->w, p->h, w, h))] : NULL;
}

/* Under the lock.  Without memory for the text there is no warning. */
static void note_unread(struct loader *l, const char *error) {
    struct ctx quiet = { 0 };
    size_t n = strlen(error);
    if (mem_grow(&quiet, &l->unread, &l->unread_cap, l->unread_size + n + 2, 1) != ST_OK) return;
    memcpy(l->unread + l->unread_size, error, n);
    memcpy(l->unread + l->unread_size + n, "\n", 2);
    l->unread_size += n + 1;
}

static enum status read_sample(struct ctx *ctx, const struct loader *l, const char *path, int w, int h, struct sample *out) {
    if (l->opt.classes) return sample_picture(ctx, path, l->opt.channels, w, h, out);
    return sample_load(ctx, path, l->opt.channels, l->opt.augment.classes, w, h, out);
}

/* A sample from the cache, or one read into `own`, which the caller frees. */
static enum status get_sample(struct ctx *ctx, void *user, int i, int w, int h, struct sample *own,
                              const struct sample **out) {
    struct loader *l = user;
    struct picture *p = &l->picture[i];
    pthread_mutex_lock(&l->lock);
    enum status known = p->code;
    *out = cached(p, w, h);
    pthread_mutex_unlock(&l->lock);
    if (*out) return ST_OK;
    if (known != ST_OK && !l->opt.strict) return ctx_fail(ctx, known, "%s: cannot be read", l->opt.images->item[i]);
    enum status st = read_sample(ctx, l, l->opt.images->item[i], w, h, own);
    size_t bytes = sample_bytes(own);
    struct sample *kept = NULL;
    pthread_mutex_lock(&l->lock);
    if (st != ST_OK) {
        if (p->code == ST_OK && st != ST_MEMORY) note_unread(l, ctx->error);
        if (st != ST_MEMORY) p->code = st;
    } else {
        struct sample **place = &p->sample[divisor_index(own->divisor)];
        p->w = own->w, p->h = own->h;
        bool fits = !*place && bytes <= l->cache_left && (kept = malloc(sizeof *kept)) != NULL;
        if (fits) {
            *kept = *own;
            memset(own, 0, sizeof *own);
            *place = kept;
            l->cache_left -= bytes;
        }
    }
    pthread_mutex_unlock(&l->lock);
    *out = kept ? kept : own;
    return st;
}

/* --- Threads -------------------------------------------------------------------------------------------- */

static enum status slot_reserve(struct ctx *ctx, struct slot *s, int n, int w, int h, int c, int target_size,
                                const struct block_memory *blocks) {
    size_t need = (size_t)n * (size_t)w * (size_t)h * (size_t)c;
    if (!blocks && need > s->x_cap) {
        free(s->batch.x);
        s->x_cap = 0;
        s->batch.x = mem_zero(ctx, need, sizeof *s->batch.x);
        if (!s->batch.x) return ST_MEMORY;
        s->x_cap = need;
    }
    if (n <= s->truth_cap) return ST_OK;
    struct truth_list *truth = mem_zero(ctx, (size_t)n, sizeof *truth);
    const char **path = mem_zero(ctx, (size_t)n, sizeof *path);
    float *target = mem_zero(ctx, (size_t)n * (size_t)target_size, sizeof *target);
    struct parts *parts = mem_zero(ctx, (size_t)n, sizeof *parts);
    const struct picture_block **block = mem_zero(ctx, (size_t)n, sizeof *block);
    if (!truth || !path || !target || !parts || !block) {
        free(truth);
        free(path);
        free(target);
        free(parts);
        free(block);
        return ST_MEMORY;
    }
    for (int i = 0; i < n; ++i) parts[i].memory = blocks;
    if (s->truth_cap) memcpy(parts, s->parts, (size_t)s->truth_cap * sizeof *parts);
    if (s->truth_cap) memcpy(truth, s->batch.truth, (size_t)s->truth_cap * sizeof *truth);
    free(s->batch.truth);
    free(s->batch.path);
    free(s->target);
    free(s->parts);
    free(s->block);
    s->parts = parts;
    s->block = block;
    s->batch.block = blocks ? block : NULL;
    s->batch.truth = truth;
    s->batch.path = path;
    s->target = target;
    s->batch.target = target_size ? target : NULL;
    s->batch.target_size = target_size;
    s->truth_cap = n;
    return ST_OK;
}

/* Under the lock: makes the ring's next slot ready to be filled. */
static void slot_setup(struct loader *l) {
    struct slot *s = &l->slot[l->filled % RING];
    struct ctx ctx = { 0 };
    int n = 0, w = 0, h = 0;
    l->opt.plan(l->opt.user, l->filled, &n, &w, &h);
    s->code = slot_reserve(&ctx, s, n, w, h, l->opt.channels, l->opt.classes ? l->opt.classes->names->n : 0, l->opt.blocks);
    if (s->code != ST_OK) {
        memcpy(s->error, ctx.error, sizeof s->error);
        n = 0;
    }
    s->batch.n = n, s->batch.w = w, s->batch.h = h, s->batch.c = l->opt.channels;
    s->taken = s->done = 0;
    s->failed = n;
    ++l->filled;
}

static bool in_pairs(const struct loader *l) { return l->opt.augment.contrastive != 0; }

/* Which random numbers image `index` of batch `number` shares with others: see enum draw_kind. */
static struct image_key key_of(const struct loader *l, uint64_t number, int index, int n, struct frame *frame) {
    const struct augment_options *a = &l->opt.augment;
    struct image_key key = image_key(l->opt.seed, number, (uint64_t)index);
    uint64_t row = (uint64_t)index;
    *frame = (struct frame){ 0, 0 };
    if (l->opt.sequence) {
        uint64_t streams = (uint64_t)(n / l->opt.steps), begun = l->opt.sequence(l->opt.user, number);
        frame->number = (int)((number - begun) * (uint64_t)l->opt.steps + (uint64_t)index / streams);
        frame->augment_speed = l->opt.augment_speed < 1 ? 1 : l->opt.augment_speed;
        row = (uint64_t)index % streams;
        for (int k = 0; k < DRAW_OWN; ++k) key.of[k].batch = begun, key.of[k].index = row;
    }
    if (in_pairs(l)) {
        key.of[DRAW_CHOICE].index = row / 2;
        if (!l->opt.classes && !a->contrastive_jit_flip) key.of[DRAW_GEOMETRY].index = row / 2;
        if (!l->opt.classes && !a->contrastive_color) key.of[DRAW_COLOUR].index = row / 2;
    }
    return key;
}

static enum status load_one(struct ctx *ctx, struct loader *l, struct slot *s, uint64_t number, int index) {
    struct batch *b = &s->batch;
    struct image_out out = { .w = b->w, .h = b->h, .c = b->c };
    struct frame frame;
    struct image_key key = key_of(l, number, index, b->n, &frame);
    if (l->opt.blocks) out.parts = &s->parts[index];
    else out.x = b->x + (size_t)index * (size_t)b->w * (size_t)b->h * (size_t)b->c;
    enum status st;
    if (l->opt.classes)
        st = compose_class(ctx, &l->source, &l->opt.augment, l->opt.classes, &key, &out,
                           s->target + (size_t)index * (size_t)b->target_size);
    else
        st = compose_boxes(ctx, &l->source, &l->opt.augment, &key, frame, &out, &b->truth[index]);
    b->path[index] = out.path;
    if (out.parts) s->block[index] = out.parts->block;
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
    if (l->opt.steps < 1) l->opt.steps = 1;
    l->next = l->filled = opt->first;
    l->cache_left = opt->cache_bytes ? opt->cache_bytes : (size_t)512 << 20;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->ready, NULL);
    int threads = thread_count(opt->threads);
    l->picture = mem_zero(ctx, (size_t)opt->images->n, sizeof *l->picture);
    l->source = (struct picture_source){ .images = opt->images, .get = get_sample, .user = l, .strict = opt->strict };
    l->thread = mem_zero(ctx, (size_t)threads, sizeof *l->thread);
    if (!l->picture || !l->thread) {
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

/* Under the lock: what the threads could not read, told by the thread whose log it is. */
static void tell_unread(struct ctx *ctx, struct loader *l) {
    for (char *line = l->unread, *end; line && *line; line = end + 1) {
        end = strchr(line, '\n');
        *end = '\0';
        ctx_log(ctx, LOG_WARN, "left out: %s", line);
    }
    l->unread_size = 0;
    if (l->unread) *l->unread = '\0';
}

enum status loader_next(struct ctx *ctx, struct loader *l, const struct batch **out, double *wait) {
    double start = io_seconds();
    pthread_mutex_lock(&l->lock);
    uint64_t number = l->next++;
    pthread_cond_broadcast(&l->work);
    struct slot *s = &l->slot[number % RING];
    while (number >= l->filled || s->done < s->batch.n) pthread_cond_wait(&l->ready, &l->lock);
    if (!l->opt.strict) tell_unread(ctx, l);
    pthread_mutex_unlock(&l->lock);
    if (wait) *wait = io_seconds() - start;
    *out = &s->batch;
    if (s->code != ST_OK) return ctx_fail(ctx, s->code, "%s", s->error);
    return ST_OK;
}

const struct batch *loader_ahead(struct loader *l) {
    pthread_mutex_lock(&l->lock);
    struct slot *s = &l->slot[l->next % RING];
    bool there = l->next < l->filled && s->code == ST_OK && s->done == s->batch.n;
    pthread_mutex_unlock(&l->lock);
    return there ? &s->batch : NULL;
}

static void slot_free(struct slot *s) {
    for (int i = 0; i < s->truth_cap; ++i) parts_free(&s->parts[i]);
    free(s->parts);
    free(s->block);
    for (int i = 0; i < s->truth_cap; ++i) free(s->batch.truth[i].item);
    free(s->batch.truth);
    free(s->batch.path);
    free(s->batch.x);
    free(s->target);
}

void loader_close(struct loader *l) {
    if (!l) return;
    pthread_mutex_lock(&l->lock);
    l->closing = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->n_thread; ++i) pthread_join(l->thread[i], NULL);
    for (int i = 0; i < RING; ++i) slot_free(&l->slot[i]);
    for (int i = 0; l->picture && i < l->opt.images->n; ++i)
        for (int k = 0; k < DIVISORS; ++k) {
            if (!l->picture[i].sample[k]) continue;
            sample_free(l->picture[i].sample[k]);
            free(l->picture[i].sample[k]);
        }
    free(l->picture);
    free(l->unread);
    free(l->thread);
    pthread_cond_destroy(&l->ready);
    pthread_cond_destroy(&l->work);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static enum status source_next(struct ctx *ctx, void *self, const struct batch **batch, double *wait) {
    return loader_next(ctx, self, batch, wait);
}

static const struct batch *source_ahead(void *self) { return loader_ahead(self); }

static void source_close(void *self) { loader_close(self); }

struct batch_source loader_source(struct loader *l) {
    return (struct batch_source){ .self = l, .next = source_next, .ahead = source_ahead, .close = source_close };
}
