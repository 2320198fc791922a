#include "train/team.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Gradients travel in pieces of at least so many elements: large enough for the links, small enough to start early. */
enum { PIECE = 4 << 20 };

struct team_threads {
    pthread_t *thread;
    struct ctx *ctx;         /* per member */
    int n_thread;
    pthread_mutex_t lock;
    pthread_cond_t begin, end;
    team_task *task;
    void *user;
    unsigned round;
    int left, failed;        /* members still at work; whose failure is told, -1: none has failed */
    bool closing;
};

/* --- Threads ---------------------------------------------------------------------------------------------------------- */

static void done(struct team *t, int rank, enum status st) {
    struct team_threads *h = t->threads;
    pthread_mutex_lock(&h->lock);
    bool first = st != ST_OK && h->failed < 0;
    if (first || (st != ST_OK && st != ST_BACKEND && rank < h->failed)) h->failed = rank; /* ST_BACKEND: perhaps for want of the others */
    pthread_mutex_unlock(&h->lock);
    if (first && t->sums) t->sums->ops->cancel(t->sums);
}

static void *thread_main(void *arg) {
    struct member *m = arg;
    struct team *t = m->team;
    struct team_threads *h = t->threads;
    unsigned seen = 0;
    pthread_mutex_lock(&h->lock);
    for (;;) {
        while (h->round == seen && !h->closing) pthread_cond_wait(&h->begin, &h->lock);
        if (h->closing) break;
        seen = h->round;
        pthread_mutex_unlock(&h->lock);
        done(t, m->rank, h->task(&h->ctx[m->rank], h->user, m));
        pthread_mutex_lock(&h->lock);
        if (--h->left == 0) pthread_cond_signal(&h->end);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

enum status team_each(struct ctx *ctx, struct team *t, team_task *task, void *user) {
    struct team_threads *h = t->threads;
    if (!h) return task(ctx, user, &t->member[0]);
    pthread_mutex_lock(&h->lock);
    h->task = task;
    h->user = user;
    h->left = t->n - 1;
    h->failed = -1;
    ++h->round;
    pthread_cond_broadcast(&h->begin);
    pthread_mutex_unlock(&h->lock);
    done(t, 0, task(ctx, user, &t->member[0]));
    pthread_mutex_lock(&h->lock);
    while (h->left) pthread_cond_wait(&h->end, &h->lock);
    pthread_mutex_unlock(&h->lock);
    if (h->failed < 0) return ST_OK;
    collective_close(t->sums); /* before anybody waits for work that waits for the one that failed */
    t->sums = NULL;
    if (h->failed == 0) return ctx->code;
    const struct ctx *own = &h->ctx[h->failed];
    ctx_clear(ctx);
    return ctx_fail(ctx, own->code, "device %d of %d: %s", h->failed + 1, t->n, own->error);
}

static enum status threads_open(struct ctx *ctx, struct team *t) {
    struct team_threads *h = mem_zero(ctx, 1, sizeof *h);
    if (!h) return ST_MEMORY;
    t->threads = h;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->begin, NULL);
    pthread_cond_init(&h->end, NULL);
    h->thread = mem_zero(ctx, (size_t)t->n, sizeof *h->thread);
    h->ctx = mem_zero(ctx, (size_t)t->n, sizeof *h->ctx);
    if (ctx->code != ST_OK) return ctx->code;
    for (; h->n_thread < t->n - 1; ++h->n_thread)
        if (pthread_create(&h->thread[h->n_thread], NULL, thread_main, &t->member[h->n_thread + 1]))
            return ctx_fail(ctx, ST_MEMORY, "no thread could be started for device %d of %d", h->n_thread + 2, t->n);
    return ST_OK;
}

static void threads_close(struct team_threads *h) {
    pthread_mutex_lock(&h->lock);
    h->closing = true;
    pthread_cond_broadcast(&h->begin);
    pthread_mutex_unlock(&h->lock);
    for (int i = 0; i < h->n_thread; ++i) pthread_join(h->thread[i], NULL);
    pthread_cond_destroy(&h->begin);
    pthread_cond_destroy(&h->end);
    pthread_mutex_destroy(&h->lock);
    free(h->thread), free(h->ctx);
    free(h);
}

/* --- Members ---------------------------------------------------------------------------------------------------------- */

enum status team_open(struct ctx *ctx, struct backend *be, struct net *net, struct backend *const *others, int n_other, struct team *t) {
    *t = (struct team){ .n = 1 + n_other, .piece = PIECE, .member = mem_zero(ctx, 1 + (size_t)n_other, sizeof *t->member) };
    struct backend **all = mem_zero(ctx, (size_t)t->n, sizeof *all);
    for (int i = 0; i < t->n && ctx->code == ST_OK; ++i) {
        struct member *m = &t->member[i];
        *m = (struct member){ .team = t, .rank = i, .be = i ? others[i - 1] : be, .net = i ? NULL : net };
        m->stats = mem_zero(ctx, (size_t)net->n, sizeof *m->stats);
        all[i] = m->be;
        if (i && ctx->code == ST_OK) net_open_twin(ctx, net, &m->net);
    }
    if (ctx->code == ST_OK && n_other) {
        collective_open(ctx, all, t->n, &t->sums);
        if (ctx->code == ST_OK) threads_open(ctx, t);
    }
    free(all);
    return ctx->code;
}

void team_close(struct team *t) {
    if (t->threads) threads_close(t->threads);
    collective_close(t->sums);
    team_stop_pictures(t);
    for (int i = 0; t->member && i < t->n; ++i) {
        struct member *m = &t->member[i];
        optimizer_close(&m->optimizer);
        if (i && m->net) net_close(m->net);
        free(m->stats), free(m->x), free(m->target), free(m->boxes), free(m->block);
    }
    free(t->member);
    memset(t, 0, sizeof *t);
}

void team_copy_memory(struct team *t) {
    for (int i = 1; i < t->n; ++i)
        for (int k = 0; k < t->member[0].net->n; ++k) {
            struct layer *from = &t->member[0].net->layer[k], *to = &t->member[i].net->layer[k];
            double *source, *target;
            if (!from->ops->memory) continue;
            int n = from->ops->memory(from, &source);
            to->ops->memory(to, &target);
            memcpy(target, source, (size_t)n * sizeof *target);
        }
}

double team_loss(const struct team *t) {
    double sum = 0;
    int losses = 0;
    if (t->n == 1) return t->member[0].loss;
    for (int k = 0; k < t->member[0].net->n; ++k) {
        double own = 0, mean = 0;
        long long count = 0;
        if (!t->member[0].net->layer[k].ops->loss || t->member[0].stats[k].none) continue;
        for (int i = 0; i < t->n; ++i) {
            const struct loss_stats *s = &t->member[i].stats[k];
            own += s->loss - s->averaged;
            mean += s->averaged * s->count;
            count += s->count;
        }
        sum += own + (count ? mean / (double)count : 0);
        ++losses;
    }
    return losses ? sum / losses : 0;
}

/* --- Shares ----------------------------------------------------------------------------------------------------------- */

/* Frame f of a batch's sequences lies behind frame f - 1 of all of them: a share of sequences is a piece of every frame. */
static enum status gather(struct ctx *ctx, struct member *m, const struct batch *b, const float *x, int images, struct team_share *s) {
    size_t per = (size_t)m->net->opt.channels * (size_t)m->net->opt.height * (size_t)m->net->opt.width, target = (size_t)b->target_size;
    size_t frames = (size_t)m->net->steps, streams = (size_t)images / frames, share = streams / (size_t)m->team->n, all = share * frames;
    if (x) TRY(mem_grow(ctx, &m->x, &m->x_cap, all * per, sizeof *m->x));
    if (b->truth) TRY(mem_grow(ctx, &m->boxes, &m->boxes_cap, all, sizeof *m->boxes));
    if (b->target) TRY(mem_grow(ctx, &m->target, &m->target_cap, all * target, sizeof *m->target));
    for (size_t f = 0; f < frames; ++f) {
        size_t from = f * streams + (size_t)m->rank * share, to = f * share;
        if (x) memcpy(m->x + to * per, x + from * per, share * per * sizeof *x);
        if (b->truth) memcpy(m->boxes + to, b->truth + from, share * sizeof *b->truth);
        if (b->target) memcpy(m->target + to * target, b->target + from * target, share * target * sizeof *b->target);
    }
    *s = (struct team_share){ x ? m->x : NULL, b->truth ? m->boxes : NULL, b->target ? m->target : NULL };
    return ST_OK;
}

enum status team_share(struct ctx *ctx, struct member *m, const struct batch *b, const float *x, int images, struct team_share *s) {
    int first = images / m->team->n * m->rank;
    size_t per = (size_t)m->net->opt.channels * (size_t)m->net->opt.height * (size_t)m->net->opt.width;
    if (m->team->n > 1 && m->net->steps > 1) return gather(ctx, m, b, x, images, s);
    *s = (struct team_share){ x ? x + (size_t)first * per : NULL, b->truth ? b->truth + first : NULL,
                              b->target ? b->target + (size_t)first * (size_t)b->target_size : NULL };
    return ST_OK;
}

/* --- Pictures ------------------------------------------------------------------------------------------------------------ */

/* The member's share of any batch, also of one that comes later. */
static enum status send_pictures(struct ctx *ctx, struct member *m, const struct batch *b) {
    int frames = m->net->steps, streams = b->n / frames, share = streams / m->team->n, all = share * frames;
    if (!m->stage) TRY(m->be->pictures->open(m->be, ctx, &m->stage));
    TRY(mem_grow(ctx, &m->block, &m->block_cap, (size_t)all, sizeof *m->block));
    for (int i = 0; i < all; ++i) m->block[i] = b->block[i / share * streams + m->rank * share + i % share];
    return m->be->pictures->send(m->be, ctx, m->stage, m->block, all);
}

enum status team_draw(struct ctx *ctx, struct member *m, const struct batch *b, const struct batch *next) {
    if (!m->ahead) TRY(send_pictures(ctx, m, b));
    m->ahead = false;
    TRY(m->be->pictures->draw(m->be, ctx, m->stage, &m->net->input));
    if (next) TRY(send_pictures(ctx, m, next));
    m->ahead = next != NULL;
    return ST_OK;
}

void team_stop_pictures(struct team *t) {
    for (int i = 0; t->member && i < t->n; ++i) {
        struct member *m = &t->member[i];
        if (m->stage) m->be->pictures->close(m->be, m->stage);
        m->stage = NULL;
        m->ahead = false;
    }
}

/* --- Sums ------------------------------------------------------------------------------------------------------------- */

static bool is_rolling(const struct layer *l, const struct param *p) {
    return (p->role == PARAM_MEAN || p->role == PARAM_VARIANCE) && !(p->flags & PARAM_TRAIN) && param_owned(p) && !l->frozen;
}

/* Rolling statistics have no gradient: they travel in its place. */
static void put_rolling(const struct net *net) {
    const struct backend_ops *ops = net->be->ops;
    for (int i = 0; i < net->n; ++i)
        for (int k = 0; k < net->layer[i].n_param; ++k) {
            const struct param *p = &net->layer[i].param[k];
            if (is_rolling(&net->layer[i], p))
                ops->blend(net->be, param_count(p), 0, ops->at(net->be, net->dev_param, p->offset), ops->at(net->be, net->dev_grad, p->offset));
        }
}

static void take_rolling(const struct net *net, int members) {
    const struct backend_ops *ops = net->be->ops;
    for (int i = 0; i < net->n; ++i)
        for (int k = 0; k < net->layer[i].n_param; ++k) {
            const struct param *p = &net->layer[i].param[k];
            if (!is_rolling(&net->layer[i], p)) continue;
            real *sum = ops->at(net->be, net->dev_grad, p->offset);
            ops->scale(net->be, param_count(p), 1. / members, sum);
            ops->blend(net->be, param_count(p), 0, sum, ops->at(net->be, net->dev_param, p->offset));
            ops->scale(net->be, param_count(p), 0, sum);
        }
}

static enum status send_from(struct ctx *ctx, struct member *m, size_t from) {
    struct collective *sums = m->team->sums;
    size_t n = m->sent - from;
    if (!n) return ST_OK;
    m->sent = from;
    return sums->ops->sum(sums, ctx, m->rank, m->be->ops->at(m->be, m->net->dev_grad, from), n);
}

static void gradients_done(void *user, size_t from) {
    struct member *m = user;
    if (m->sent >= from + m->team->piece) send_from(m->ctx, m, from); /* its failure stands in ctx */
}

void team_send_gradients(struct ctx *ctx, struct member *m) {
    if (m->team->n == 1) return;
    put_rolling(m->net);
    m->sent = m->net->n_param;
    m->sending = true;
    m->ctx = ctx;
    /* Growing memory while sums are under way could wait for them, and they for the device that grows its memory. */
    m->net->gradients_done = m->settled ? gradients_done : NULL;
    m->net->gradients_user = m;
}

enum status team_sum_gradients(struct ctx *ctx, void *user, struct member *m) {
    (void)user;
    if (!m->sending) return ST_OK;
    m->sending = false;
    m->net->gradients_done = NULL;
    TRY(send_from(ctx, m, 0));
    TRY(m->team->sums->ops->wait(m->team->sums, ctx, m->rank));
    take_rolling(m->net, m->team->n);
    m->squares = m->be->ops->sum_squares(m->be, m->net->n_param, m->net->dev_grad);
    return ST_OK;
}

enum status team_follow(struct ctx *ctx, void *user, struct member *m) {
    struct collective *sums = m->team->sums;
    const struct optimizer *lead = &m->team->member[0].optimizer;
    (void)user;
    if (!sums) return ST_OK;
    TRY(sums->ops->broadcast(sums, ctx, m->rank, 0, m->net->dev_param, m->net->n_param));
    TRY(sums->ops->broadcast(sums, ctx, m->rank, 0, m->optimizer.momentum, m->optimizer.n));
    if (m->optimizer.second) TRY(sums->ops->broadcast(sums, ctx, m->rank, 0, m->optimizer.second, m->optimizer.n));
    if (m->rank) m->optimizer.updates = lead->updates;
    TRY(sums->ops->wait(sums, ctx, m->rank));
    return m->rank ? net_refresh(ctx, m->net) : ST_OK;
}
