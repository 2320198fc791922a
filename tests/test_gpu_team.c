/* Several ranks where there is a device: NCCL with one rank, two ranks of one device through host memory, training by two. */
#include "backend/collective.h"
#include "kinds.h"
#include "net_harness.h"
#include "train_tiny.h"

enum { LENGTH = 4099 };

/* Alone, a sum is what it was; the calls and the order of the streams are those of many. */
static void check_alone(const char *kind) {
    struct ctx ctx = { 0 };
    struct backend *be;
    struct collective *c = NULL;
    static float v[LENGTH], got[LENGTH];
    CHECK(backend_open(&ctx, kind, &be) == ST_OK && collective_open(&ctx, &be, 1, &c) == ST_OK, "%s: %s", kind, ctx.error);
    if (!c) return;
    printf("%s: one rank meets by %s\n", kind, c->name);
    real *x = be->ops->alloc(be, &ctx, LENGTH);
    for (int i = 0; i < LENGTH; ++i) v[i] = (float)(i % 31) - 7;
    be->ops->put(be, v, LENGTH, x);
    for (int k = 0; k < 3; ++k) {
        be->ops->scale(be, LENGTH, 2, x); /* queued before */
        CHECK(c->ops->sum(c, &ctx, 0, x, LENGTH) == ST_OK && c->ops->broadcast(c, &ctx, 0, 0, x, LENGTH) == ST_OK && c->ops->wait(c, &ctx, 0) == ST_OK, "%s", ctx.error);
        be->ops->scale(be, LENGTH, .5, x); /* and behind */
    }
    be->ops->get(be, x, LENGTH, got);
    CHECK(!memcmp(v, got, sizeof v), "%s: the sum of one rank is another", kind);
    c->ops->cancel(c);
    CHECK(c->ops->sum(c, &ctx, 0, x, 1) == ST_BACKEND, "%s: goes on after the end", kind);
    ctx_clear(&ctx);
    be->ops->free(be, x);
    collective_close(c);
    CHECK(be->ops->sync(be, &ctx) == ST_OK, "%s", ctx.error);
    backend_close(be);
}

static float *trained(const char *kind, int devices) {
    static struct run r;
    struct backend *other = NULL;
    struct ctx ctx = { 0 };
    struct net *net = open_net("batch=8\nsubdivisions=2\nlearning_rate=0.002\nmax_batches=4\n", "", 0);
    memset(&r, 0, sizeof r);
    if (devices == 2) CHECK(backend_open(&ctx, kind, &other) == ST_OK, "%s", ctx.error);
    r.opt.others = &other, r.opt.n_other = devices - 1;
    CHECK(train(&r, kind, net, "none") == ST_OK, "%s: %s", kind, r.ctx.error);
    backend_close(other);
    float *w = malloc((net->n_param + 1) * sizeof *w);
    memcpy(w, net->param, net->n_param * sizeof *w);
    net_close(net);
    return w;
}

/* Two ranks repeat bit for bit, and go where two of the CPU go. */
static void check_two(const char *kind) {
    float *cpu = trained("cpu", 2), *gpu = trained(kind, 2), *again = trained(kind, 2);
    struct net *net = open_net("", "", 0);
    double worst = rig_worst(cpu, gpu, net->n_param);
    CHECK(worst <= 2e-3, "%s: weights are %g apart", kind, worst);
    CHECK(!memcmp(gpu, again, net->n_param * sizeof *gpu), "%s: training on two devices does not repeat", kind);
    net_close(net);
    free(cpu), free(gpu), free(again);
}

int main(void) {
    const char *kinds[MAX_KINDS];
    int n = fast_kinds(kinds);
    tiny_start("gpu_team");
    check_alone("cpu");
    for (int i = 1; i < n; ++i) {
        check_alone(kinds[i]);
        check_two(kinds[i]);
    }
    return tiny_end("gpu_team");
}
