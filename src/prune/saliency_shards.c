#include "prune/saliency_shards.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "prune/blocks.h"

/* Where the devices hand their votes to the first one. */
struct score_meeting {
    pthread_mutex_t lock;
    pthread_cond_t come;
    int n, there;
    bool failed;
    struct { void *votes; size_t n; } *brought; /* per rank; the first device owns them once all are there */
};

struct shard {
    struct score_meeting *meeting;
    const struct score_team *team;
    int rank, first, count, total;
    struct ctx own, *ctx;
    struct net *net;
    struct score_source source;
    const struct channels *ch;
    const struct saliency_options *opt;
    int batch;
    const double *mean_in;
    double *mean;                 /* saliency_means: this shard's */
    struct saliency *out;         /* NULL: not wanted */
    struct saliency none;         /* in its place, of devices that conclude nothing */
    struct loss_evidence *loss, evidence;
    enum status st;
};

static void tell_failure(struct score_meeting *m) {
    pthread_mutex_lock(&m->lock);
    m->failed = true;
    pthread_cond_broadcast(&m->come);
    pthread_mutex_unlock(&m->lock);
}

enum status saliency_meet(struct ctx *ctx, struct score_meeting *m, int rank, void *votes, size_t *n, size_t *cap, size_t size) {
    char *mine;
    memcpy(&mine, votes, sizeof mine);
    if (rank) { /* hands them over */
        pthread_mutex_lock(&m->lock);
        m->brought[rank].votes = mine;
        m->brought[rank].n = *n;
        ++m->there;
        pthread_cond_broadcast(&m->come);
        pthread_mutex_unlock(&m->lock);
        mine = NULL, *n = *cap = 0;
        memcpy(votes, &mine, sizeof mine);
        return ST_OK;
    }
    pthread_mutex_lock(&m->lock);
    while (m->there < m->n - 1 && !m->failed) pthread_cond_wait(&m->come, &m->lock);
    bool failed = m->failed;
    pthread_mutex_unlock(&m->lock);
    if (failed) return ST_INTERRUPTED;
    size_t all = *n;
    for (int i = 1; i < m->n; ++i) all += m->brought[i].n;
    TRY(mem_grow(ctx, votes, cap, all, size));
    memcpy(&mine, votes, sizeof mine);
    for (int i = 1; i < m->n; ++i) {
        if (m->brought[i].n) memcpy(mine + *n * size, m->brought[i].votes, m->brought[i].n * size);
        *n += m->brought[i].n;
        free(m->brought[i].votes);
        m->brought[i].votes = NULL, m->brought[i].n = 0;
    }
    return ST_OK;
}

/* --- Shards ------------------------------------------------------------------------------------------------------------- */

static enum status get(void *user, struct ctx *ctx, int i, struct score_image *im) {
    const struct shard *s = user;
    const struct score_source *all = &s->team->source[s->rank];
    return all->get(all->user, ctx, s->first + i, im);
}

/* The first shard's steps stand for those of all. */
static void progress(void *user, const char *phase, int done, int total) {
    const struct shard *s = user;
    const struct score_source *all = s->team->source;
    (void)total;
    all->progress(all->progress_user, phase, done == s->count ? s->total : done * s->team->n, s->total);
}

static enum status open_shard(struct ctx *ctx, struct shard *s, const struct score_team *t, struct net *net, int rank) {
    int total = t->source->count;
    *s = (struct shard){ .team = t, .rank = rank, .total = total, .net = rank ? NULL : net };
    s->ctx = rank ? &s->own : ctx;
    s->first = (int)((long long)total * rank / t->n);
    s->count = (int)((long long)total * (rank + 1) / t->n) - s->first;
    s->source = (struct score_source){ .count = s->count, .target_size = t->source->target_size, .get = get, .user = s,
                                       .stop = t->source->stop, .first = s->first };
    if (!rank && t->source->progress) s->source.progress = progress, s->source.progress_user = s;
    return rank ? net_open_twin(ctx, net, &s->net) : ST_OK;
}

static void close_shards(struct shard *shard, int n) {
    for (int i = 1; shard && i < n; ++i) {
        net_close(shard[i].net);
        free(shard[i].mean);
        loss_evidence_free(&shard[i].evidence);
        saliency_free(&shard[i].none);
    }
    free(shard);
}

/* More devices than images would leave some without work. */
static int devices_for(const struct score_team *t) { return t->n < t->source->count ? t->n : t->source->count > 0 ? t->source->count : 1; }

static enum status open_shards(struct ctx *ctx, struct net *net, const struct score_team *t, struct shard **out) {
    struct shard *shard = mem_zero(ctx, (size_t)t->n, sizeof *shard);
    for (int i = 0; shard && i < t->n && ctx->code == ST_OK; ++i) open_shard(ctx, &shard[i], t, net, i);
    if (ctx->code == ST_OK) return *out = shard, ST_OK;
    close_shards(shard, t->n);
    return ctx->code;
}

/* Runs `main` for every shard, the first in this thread; the first failure in the order of devices is told. */
static enum status run_shards(struct ctx *ctx, struct shard *shard, int n, void *(*main)(void *)) {
    pthread_t *thread = mem_zero(ctx, (size_t)n, sizeof *thread);
    int started = 1;
    if (!thread) return ST_MEMORY;
    for (; started < n; ++started)
        if (pthread_create(&thread[started], NULL, main, &shard[started])) break;
    if (started < n) {
        shard[0].st = ctx_fail(ctx, ST_MEMORY, "no thread could be started for device %d of %d", started + 1, n);
        if (shard[0].meeting) tell_failure(shard[0].meeting);
    } else {
        main(&shard[0]);
    }
    for (int i = 1; i < started; ++i) pthread_join(thread[i], NULL);
    free(thread);
    for (int i = 1; i < started; ++i)
        if (shard[i].st != ST_OK && (shard[0].st == ST_OK || ctx->code == ST_OK)) {
            ctx_clear(ctx);
            return ctx_fail(ctx, shard[i].st, "device %d of %d: %s", i + 1, n, shard[i].own.error);
        }
    return ctx->code != ST_OK ? ctx->code : shard[0].st;
}

/* --- Means -------------------------------------------------------------------------------------------------------------- */

static void *means_main(void *arg) {
    struct shard *s = arg;
    s->st = saliency_means(s->ctx, s->net, s->team->be[s->rank], s->ch, &s->source, s->batch, s->mean);
    return NULL;
}

enum status saliency_means_by(struct ctx *ctx, struct net *net, const struct score_team *team, const struct channels *ch, int batch,
                              double *mean) {
    struct score_team t = *team;
    struct shard *shard;
    t.n = devices_for(team);
    if (t.n == 1) return saliency_means(ctx, net, t.be[0], ch, t.source, batch, mean);
    TRY(open_shards(ctx, net, &t, &shard));
    size_t nodes = (size_t)ch->n_node;
    for (int i = 0; i < t.n; ++i) {
        shard[i].ch = ch, shard[i].batch = batch;
        shard[i].mean = i ? mem_zero(ctx, nodes, sizeof *mean) : mean;
    }
    if (ctx->code == ST_OK && run_shards(ctx, shard, t.n, means_main) == ST_OK)
        for (size_t k = 0; k < nodes; ++k) {
            double sum = 0;
            for (int i = 0; i < t.n; ++i) sum += shard[i].mean[k] * shard[i].count;
            mean[k] = sum / t.source->count;
        }
    close_shards(shard, t.n);
    return ctx->code;
}

/* --- Scores ------------------------------------------------------------------------------------------------------------- */

static void *collect_main(void *arg) {
    struct shard *s = arg;
    struct saliency *out = s->rank && s->out ? &s->none : s->out;
    s->source.meeting = s->meeting;
    s->source.rank = s->rank;
    s->st = saliency_collect(s->ctx, s->net, s->team->be[s->rank], s->ch, &s->source, s->opt, s->mean_in, out,
                             s->rank && s->loss ? &s->evidence : s->loss);
    if (s->st != ST_OK) tell_failure(s->meeting);
    return NULL;
}

/* Means over all images from the means over each shard's. */
static void join_evidence(const struct shard *shard, int n, int columns) {
    struct loss_evidence *all = shard[0].loss;
    double total = shard[0].total;
    for (int g = 0; g < columns; ++g) {
        double magnitude = all->magnitude[g] * shard[0].count, square = all->square[g] * shard[0].count;
        for (int i = 1; i < n; ++i) {
            magnitude += shard[i].evidence.magnitude[g] * shard[i].count;
            square += shard[i].evidence.square[g] * shard[i].count;
        }
        all->magnitude[g] = magnitude / total, all->square[g] = square / total;
    }
}

enum status saliency_collect_by(struct ctx *ctx, struct net *net, const struct score_team *team, const struct channels *ch,
                                const struct saliency_options *opt, const double *mean, struct saliency *out, struct loss_evidence *loss) {
    struct score_team t = *team;
    struct shard *shard;
    struct score_meeting meeting = { .n = 0 };
    t.n = devices_for(team);
    if (t.n == 1 || (loss && loss->wants_weights)) return saliency_collect(ctx, net, t.be[0], ch, t.source, opt, mean, out, loss);
    TRY(open_shards(ctx, net, &t, &shard));
    meeting.n = t.n;
    meeting.brought = mem_zero(ctx, (size_t)t.n, sizeof *meeting.brought);
    pthread_mutex_init(&meeting.lock, NULL);
    pthread_cond_init(&meeting.come, NULL);
    for (int i = 0; i < t.n; ++i)
        shard[i].meeting = &meeting, shard[i].ch = ch, shard[i].opt = opt, shard[i].mean_in = mean, shard[i].out = out, shard[i].loss = loss;
    enum status st = meeting.brought ? run_shards(ctx, shard, t.n, collect_main) : ST_MEMORY;
    if (st == ST_OK && loss) join_evidence(shard, t.n, ch->n_group + (opt->blocks ? opt->blocks->n : 0));
    if (st != ST_OK && out) saliency_free(out);
    if (st != ST_OK && loss) loss_evidence_free(loss);
    for (int i = 1; meeting.brought && i < t.n; ++i) saliency_free_votes(meeting.brought[i].votes, meeting.brought[i].n);
    free(meeting.brought);
    pthread_cond_destroy(&meeting.come);
    pthread_mutex_destroy(&meeting.lock);
    close_shards(shard, t.n);
    return st;
}
