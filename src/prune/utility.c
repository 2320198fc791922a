#include "prune/utility.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The heads of the network at work on one image of the batch, and which predictions objects have claimed. */
struct seeding {
    struct ctx *ctx;
    struct net *net;
    const struct saliency_options *opt;
    int only_head, image, n_head, head[UTILITY_MAX_HEADS];
    uint8_t *assigned[UTILITY_MAX_HEADS]; /* per head and prediction */
};

int utility_matches(const struct net *net, const int *head, int n_head, int image, struct box b, struct utility_match m[UTILITY_MAX_MATCHES]) {
    int n = 0, q[UTILITY_MAX_MATCHES];
    for (int h = 0; h < n_head; ++h) {
        const struct layer *l = &net->layer[head[h]];
        int found = l->ops->head->assign(l, image, b, net->opt.width, net->opt.height, q, UTILITY_MAX_MATCHES - n);
        for (int i = 0; i < found; ++i) m[n++] = (struct utility_match){ head[h], q[i] };
    }
    return n;
}

static bool counts(const struct seeding *s, int head) { return s->only_head == UTILITY_ALL_HEADS || s->only_head == head; }

struct hard { double z; struct utility_match at; };

/* The k unassigned predictions that the network is surest about, kept in falling order. */
static void keep_hardest(struct hard *best, int *n, int k, struct hard candidate) {
    if (*n == k && candidate.z <= best[k - 1].z) return;
    int i = *n < k ? (*n)++ : k - 1;
    for (; i > 0 && best[i - 1].z < candidate.z; --i) best[i] = best[i - 1];
    best[i] = candidate;
}

static enum status seed_guard(const struct seeding *s, int objects) {
    int k = objects > 0 ? objects : 1, n = 0;
    struct hard *best = mem_zero(s->ctx, (size_t)k, sizeof *best);
    if (!best) return ST_MEMORY;
    for (int h = 0; h < s->n_head; ++h) {
        struct layer *l = &s->net->layer[s->head[h]];
        struct head_info info;
        l->ops->head->info(l, &info);
        for (int q = 0; q < info.predictions; ++q)
            if (!s->assigned[h][q])
                keep_hardest(best, &n, k, (struct hard){ l->ops->head->objectness(l, s->image, q, 0), { s->head[h], q } });
    }
    for (int i = 0; i < n; ++i) { /* d(-lambda * softplus(z))/dz */
        struct layer *l = &s->net->layer[best[i].at.head];
        if (counts(s, best[i].at.head))
            l->ops->head->objectness(l, s->image, best[i].at.prediction, -s->opt->background_guard / (1 + exp(-best[i].z)));
    }
    free(best);
    return ST_OK;
}

static enum status seed_image(const struct seeding *s, const struct truth_list *truth) {
    struct net *net = s->net;
    struct utility_weights w = { 1, 1, s->opt->kappa, s->opt->utility == UTILITY_PROBABILITY };
    for (int o = 0; o < truth->n; ++o) {
        struct utility_match m[UTILITY_MAX_MATCHES];
        int n = utility_matches(net, s->head, s->n_head, s->image, truth->item[o].box, m);
        for (int i = 0; i < n; ++i) {
            struct layer *l = &net->layer[m[i].head];
            if (counts(s, m[i].head))
                l->ops->head->utility(l, s->image, m[i].prediction, &truth->item[o], &w, 1.0 / n, net->opt.width, net->opt.height);
            for (int h = 0; h < s->n_head; ++h)
                if (s->head[h] == m[i].head) s->assigned[h][m[i].prediction] = 1;
        }
    }
    return s->opt->background_guard > 0 ? seed_guard(s, truth->n) : ST_OK;
}

enum status utility_seed(struct ctx *ctx, struct net *net, const struct saliency_options *opt, const struct truth_list *truth, int valid,
                         int only_head) {
    struct seeding s = { .ctx = ctx, .net = net, .opt = opt, .only_head = only_head };
    int predictions[UTILITY_MAX_HEADS];
    s.n_head = net_heads(net, s.head, UTILITY_MAX_HEADS);
    if (s.n_head < 1 || s.n_head > UTILITY_MAX_HEADS)
        return ctx_fail(ctx, ST_UNSUPPORTED, "%s: %d detection heads; saliency needs 1 to %d", net->doc->path, s.n_head, UTILITY_MAX_HEADS);
    for (int h = 0; h < s.n_head; ++h) {
        struct layer *l = &net->layer[s.head[h]];
        struct head_info info;
        l->ops->head->info(l, &info);
        predictions[h] = info.predictions;
        memset(l->head_delta, 0, (size_t)net->batch * shape_count(l->in_shape[0]) * sizeof *l->head_delta);
        s.assigned[h] = mem_zero(ctx, (size_t)info.predictions, 1);
    }
    enum status st = ctx->code;
    for (s.image = 0; s.image < valid && st == ST_OK; ++s.image) {
        for (int h = 0; h < s.n_head; ++h) memset(s.assigned[h], 0, (size_t)predictions[h]);
        st = seed_image(&s, &truth[s.image]);
    }
    for (int h = 0; h < s.n_head; ++h) free(s.assigned[h]);
    return st;
}
