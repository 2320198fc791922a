/* Training on several devices: what they compute together is what one computes alone. */
#include <pthread.h>

#include "backend/collective.h"
#include "net_harness.h"
#include "train_tiny.h"

/* --- Sums through host memory ------------------------------------------------------------------------------------------ */

enum { RANKS = 3, LENGTH = 1003 };
struct ranks {
    struct collective *c;
    struct backend *be[RANKS];
    float got[RANKS][LENGTH], shared[RANKS][LENGTH];
    enum status st[RANKS];
    bool first_stays_away;
};
struct one_rank { struct ranks *all; int rank; };

static float value_of(int rank, int i) { return (float)(rank + 1) * (float)(i % 17) - 3.25f * (float)(i % 5); }

static void *rank_main(void *arg) {
    const struct one_rank *me = arg;
    struct ranks *r = me->all;
    struct backend *be = r->be[me->rank];
    struct ctx ctx = { 0 };
    float v[LENGTH];
    real *x = be->ops->alloc(be, &ctx, LENGTH);
    for (int i = 0; i < LENGTH; ++i) v[i] = value_of(me->rank, i);
    be->ops->put(be, v, LENGTH, x);
    if (r->first_stays_away && me->rank == 0) r->c->ops->cancel(r->c);
    else {
        r->st[me->rank] = r->c->ops->sum(r->c, &ctx, me->rank, be->ops->at(be, x, 3), LENGTH - 3);
        if (r->st[me->rank] == ST_OK) r->st[me->rank] = r->c->ops->wait(r->c, &ctx, me->rank);
        be->ops->get(be, x, LENGTH, r->got[me->rank]);
        if (r->st[me->rank] == ST_OK) r->st[me->rank] = r->c->ops->broadcast(r->c, &ctx, me->rank, 1, x, 5);
        be->ops->get(be, x, LENGTH, r->shared[me->rank]);
    }
    be->ops->free(be, x);
    return NULL;
}

static void run_ranks(struct ranks *r) {
    pthread_t thread[RANKS];
    struct one_rank me[RANKS];
    for (int i = 0; i < RANKS; ++i) {
        me[i] = (struct one_rank){ r, i };
        if (pthread_create(&thread[i], NULL, rank_main, &me[i])) exit(1);
    }
    for (int i = 0; i < RANKS; ++i) pthread_join(thread[i], NULL);
}

static void check_collective(void) {
    static const char *const kinds[RANKS] = { "cpu", "ref64", "cuda-emulated" };
    static struct ranks r;
    struct ctx ctx = { 0 };
    for (int i = 0; i < RANKS; ++i) CHECK(backend_open(&ctx, kinds[i], &r.be[i]) == ST_OK, "%s", ctx.error);
    CHECK(collective_open(&ctx, r.be, RANKS, &r.c) == ST_OK && r.c->ranks == RANKS, "%s", ctx.error);
    run_ranks(&r);
    for (int k = 0; k < RANKS; ++k) {
        int wrong = 0;
        for (int i = 0; i < LENGTH; ++i) {
            float sum = value_of(0, i) + value_of(1, i) + value_of(2, i);
            wrong += r.got[k][i] != (i < 3 ? value_of(k, i) : sum);
            wrong += r.shared[k][i] != (i < 5 ? r.got[1][i] : r.got[k][i]);
        }
        CHECK(r.st[k] == ST_OK && wrong == 0, "rank %d: status %d, %d values are wrong", k, r.st[k], wrong);
    }
    r.first_stays_away = true;
    run_ranks(&r);
    CHECK(r.st[1] == ST_BACKEND && r.st[2] == ST_BACKEND, "the others wait for a rank that has given up: %d, %d", r.st[1], r.st[2]);
    collective_close(r.c);
    for (int i = 0; i < RANKS; ++i) backend_close(r.be[i]);
}

/* --- Training ------------------------------------------------------------------------------------------------------------ */

static const char PLAIN_LAYERS[] =
    "[convolutional]\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[dropout]\nprobability=0.2\n"
    "[convolutional]\nfilters=16\nsize=3\nstride=2\npad=1\nactivation=mish\n"
    "[dropout]\ndropblock=1\ndropblock_size_abs=2\nprobability=0.2\n"
    "[convolutional]\nfilters=24\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[convolutional]\nsize=1\nfilters=14\nactivation=linear\n"
    "[yolo]\nmask=0,1\nanchors=18,18,26,26\nclasses=2\nnum=2\njitter=.1\niou_loss=ciou\niou_normalizer=0.07\niou_thresh=0.4\nrandom=0\n";
static const char SEQUENCES[] =
    "[convolutional]\nfilters=6\nsize=3\nstride=4\npad=1\nactivation=leaky\n"
    "[crnn]\noutput=5\nhidden=4\nactivation=leaky\nsize=3\npad=1\n"
    "[convolutional]\nsize=1\nstride=2\nfilters=14\nactivation=linear\n"
    "[yolo]\nmask=0,1\nanchors=18,18,26,26\nclasses=2\nnum=2\njitter=.1\nrandom=0\n";

static struct net *open_text(const char *keys, const char *layers) {
    static char text[4096];
    struct ctx ctx = { 0 };
    snprintf(text, sizeof text, "[net]\nwidth=64\nheight=64\nchannels=3\nlearning_rate=0.005\n%s\n%s", keys, layers);
    return nets_open(&ctx, "team", text, 5);
}

/* A run on `n` devices of one kind; keeps the loss in r->watch. */
static enum status train_on(struct run *r, const char *kind, int n, struct net *net, const char *backup) {
    r->opt.sum_piece = 100; /* so that sums begin in the middle of the backward pass */
    struct backend *others[8] = { NULL };
    struct ctx ctx = { 0 };
    for (int i = 0; i < n - 1; ++i) CHECK(backend_open(&ctx, kind, &others[i]) == ST_OK, "%s", ctx.error);
    r->opt.others = others;
    r->opt.n_other = n - 1;
    enum status st = train(r, kind, net, backup);
    for (int i = 0; i < n - 1; ++i) {
        CHECK(strcmp(kind, "ref") || others[i]->bytes == 0, "%zu bytes stay on device %d", others[i]->bytes, i + 1);
        backend_close(others[i]);
    }
    return st;
}

static void check_equal(const char *kind, int n, const char *keys, const char *layers) {
    static struct run alone, together;
    memset(&alone, 0, sizeof alone), memset(&together, 0, sizeof together);
    struct net *a = open_text(keys, layers), *b = open_text(keys, layers);
    CHECK(train_on(&alone, kind, 1, a, "none") == ST_OK, "%s, %s: %s", kind, keys, alone.ctx.error);
    CHECK(train_on(&together, kind, n, b, "none") == ST_OK, "%s x %d, %s: %s", kind, n, keys, together.ctx.error);
    double worst = rig_worst(a->param, b->param, a->n_param);
    CHECK(worst <= 1e-6, "%s x %d, %s: weights are %g apart", kind, n, keys, worst);
    CHECK_NEAR(alone.watch.first, together.watch.first, 1e-6, "%s x %d, %s: first loss", kind, n, keys);
    CHECK_NEAR(alone.watch.last, together.watch.last, 1e-6, "%s x %d, %s: average loss", kind, n, keys);
    CHECK(together.watch.news.mini_batch == alone.watch.news.mini_batch, "a mini-batch counts all devices' images");
    CHECK(strstr(together.log, "mean on one device"), "what is told: %s", together.log);
    net_close(a), net_close(b);
}

/* Means over images of one number are the same however they are shared; their spread is not. */
static void check_rolling(const char *kind) {
    static struct run alone, together;
    memset(&alone, 0, sizeof alone), memset(&together, 0, sizeof together);
    const char keys[] = "batch=8\nsubdivisions=1\nlearning_rate=0.001\nmax_batches=1\n";
    struct net *a = open_net(keys, "", 0), *b = open_net(keys, "", 0);
    CHECK(train_on(&alone, kind, 1, a, "none") == ST_OK && train_on(&together, kind, 2, b, "none") == ST_OK, "%s%s", alone.ctx.error,
          together.ctx.error);
    const struct layer *l = &a->layer[0];
    for (int k = 0; k < l->n_param; ++k) {
        const struct param *p = &l->param[k];
        if (p->role != PARAM_MEAN) continue;
        double worst = rig_worst(a->param + p->offset, b->param + p->offset, param_count(p));
        CHECK(worst <= 1e-5 && b->param[p->offset] != 0, "%s: rolling means are %g apart", kind, worst);
    }
    net_close(a), net_close(b);
}

/* A run that was stopped and goes on ends where an uninterrupted one does, batch norm and all. */
static void check_resume(const char *kind, const char *keys) {
    static struct run whole, part;
    char path[256], text[256];
    struct ctx ctx = { 0 };
    snprintf(text, sizeof text, "batch=8\nsubdivisions=2\nlearning_rate=0.005\nmax_batches=6\n%s", keys);
    memset(&whole, 0, sizeof whole), memset(&part, 0, sizeof part);
    whole.opt.save = part.opt.save = true;
    struct net *a = open_net(text, "", 0), *b = open_net(text, "", 0), *c = open_net(text, "", 0);
    CHECK(train_on(&whole, kind, 2, a, "whole") == ST_OK, "%s", whole.ctx.error);
    part.watch.stop_at = 3;
    CHECK(train_on(&part, kind, 2, b, "part") == ST_INTERRUPTED && there("part/tiny_last.weights"), "%s", part.ctx.error);
    part.watch.stop_at = 0;
    CHECK(net_load(&ctx, c, path_of(path, "part/tiny_last.weights"), LOAD_WHOLE, NULL) == ST_OK, "%s", ctx.error);
    CHECK(train_on(&part, kind, 2, c, "part") == ST_OK && part.watch.calls == 3, "%s", part.ctx.error);
    CHECK(!memcmp(a->param, c->param, a->n_param * sizeof *a->param), "%s, %s: the resumed run ends elsewhere", kind, keys);
    CHECK(there("part/tiny_final.weights"), "the files of the first device");
    /* and one device goes on where two were */
    struct net *d = open_net(text, "", 0);
    CHECK(net_load(&ctx, d, path_of(path, "whole/tiny_last.weights"), LOAD_WHOLE, NULL) == ST_OK && d->seen == 48, "%s", ctx.error);
    net_close(a), net_close(b), net_close(c), net_close(d);
    remove(path_of(path, "part/tiny_last.state")), remove(path_of(path, "whole/tiny_last.state"));
}

static void check_said(const char *keys, int n, const char *part) {
    static struct run r;
    memset(&r, 0, sizeof r);
    struct net *net = open_text(keys, PLAIN_LAYERS);
    enum status st = train_on(&r, "cpu", n, net, "none");
    CHECK(st != ST_OK && strstr(r.ctx.error, part) && !strchr(r.ctx.error, '\n'), "'%s' should say '%s'", r.ctx.error, part);
    net_close(net);
}

/* Numbers that are none end all devices with the line that one alone would give. */
static void check_numbers(void) {
    static struct run r[2];
    memset(r, 0, sizeof r);
    for (int i = 0; i < 2; ++i) {
        struct net *net = open_text("batch=4\nsubdivisions=1\nmax_batches=3\n", PLAIN_LAYERS);
        net->param[net->layer[0].param[0].offset] = NAN;
        CHECK(train_on(&r[i], "cpu", 1 + i, net, "none") == ST_NUMERIC, "%s", r[i].ctx.error);
        net_close(net);
    }
    CHECK(!strcmp(r[0].ctx.error, r[1].ctx.error), "'%s' against '%s'", r[1].ctx.error, r[0].ctx.error);
}

int main(void) {
    static const char base[] = "batch=8\nsubdivisions=2\nmax_batches=5\n";
    tiny_start("team");
    check_collective();
    check_equal("cpu", 2, base, PLAIN_LAYERS);
    check_equal("cpu", 4, base, PLAIN_LAYERS);
    check_equal("cpu", 2, "batch=8\nsubdivisions=1\nmax_batches=4\nadam=1\nmax_grad_norm=1\n", PLAIN_LAYERS);
    check_equal("cuda-emulated", 2, base, PLAIN_LAYERS);
    check_equal("cpu", 2, "batch=8\nsubdivisions=2\nmax_batches=4\ntime_steps=2\ntrack=1\nsequential_subdivisions=2\n", SEQUENCES);
    check_rolling("cpu");
    check_rolling("cuda-emulated");
    check_resume("cpu", "");
    check_resume("cuda-emulated", "adam=1\n");
    check_resume("cpu", "ema_alpha=0.9\nmomentum=0.8\n");
    check_said("batch=8\nsubdivisions=4\nmax_batches=4\n", 4, "4 devices cannot share equally; subdivisions=2 would do");
    check_said("batch=6\nsubdivisions=2\nmax_batches=4\n", 4, "make it a multiple of 4");
    check_said("batch=8\nsubdivisions=2\nmax_batches=4\nadversarial_lr=0.1\n", 2, "with one device only");
    check_numbers();
    return tiny_end("team");
}
