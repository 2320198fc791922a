/* Passes that are noted and replayed give what plain ones give; no pass takes memory. */
#include "backend/cuda/internal.h"
#include "net/internal.h"
#include "net_harness.h"

/* One network twice: replayed, and plain. */
struct pair { struct ctx ctx; struct backend *be[2]; struct net *net[2]; };

static bool pair_open(struct pair *p, const char *kind, const char *name, const char *text, enum net_mode mode) {
    bool ok = true;
    memset(p, 0, sizeof *p);
    for (int i = 0; i < 2; ++i) {
        p->net[i] = nets_open(&p->ctx, name, text, 7);
        ok = ok && p->net[i] && backend_open(&p->ctx, kind, &p->be[i]) == ST_OK;
        if (ok && i == 1) p->be[i]->passes = NULL;
        ok = ok && net_bind(&p->ctx, p->net[i], p->be[i], mode, images_of(p->net[i], mode)) == ST_OK;
    }
    CHECK(ok, "%s: %s", name, p->ctx.error);
    return ok;
}

static void pair_close(struct pair *p) {
    for (int i = 0; i < 2; ++i) {
        net_close(p->net[i]);
        if (p->be[i]) backend_close(p->be[i]);
    }
}

static float *outputs(struct net *net, size_t *n) {
    size_t all = 0, at = 0;
    for (int i = 0; i < net->n; ++i) all += (size_t)net->batch * shape_count(net->layer[i].out);
    float *values = calloc(all + net->n_param + 1, sizeof *values);
    int last = net_output_layer(net);
    at = (size_t)net->batch * shape_count(net->layer[last].out);
    net_output(net, last, values); /* others have given up their memory */
    *n = at;
    return values;
}

/* A pass on each; what comes out is the same to the bit. */
static void pair_pass(struct pair *p, const char *name, int number, bool backward) {
    float *y[2], *g[2];
    size_t n[2];
    float *x = nets_input(p->net[0], p->net[0]->batch, 50 + (uint64_t)number);
    for (int i = 0; i < 2; ++i) {
        struct net *net = p->net[i];
        size_t before = cuda_device(p->be[i])->allocations;
        net->seed = 100 + (uint64_t)number, net->iteration = (uint64_t)number;
        CHECK(net_forward(&p->ctx, net, x) == ST_OK, "%s: %s", name, p->ctx.error);
        size_t after = cuda_device(p->be[i])->allocations;
        y[i] = outputs(net, &n[i]);
        g[i] = calloc(net->n_param + 1, sizeof **g);
        size_t between = cuda_device(p->be[i])->allocations;
        if (backward) {
            CHECK(backward_from_last(&p->ctx, net) == ST_OK, "%s: %s", name, p->ctx.error);
            size_t end = cuda_device(p->be[i])->allocations;
            CHECK(end == between || i == 1, "%s: backward pass %d took memory %zu times", name, number, end - between);
            if (net->dev_grad) net->be->ops->get(net->be, net->dev_grad, net->n_param, g[i]);
        }
        CHECK(after == before || i == 1, "%s: forward pass %d took memory %zu times", name, number, after - before);
    }
    CHECK(n[0] == n[1] && !memcmp(y[0], y[1], n[0] * sizeof *y[0]), "%s: pass %d: replayed outputs differ", name, number);
    CHECK(!memcmp(g[0], g[1], p->net[0]->n_param * sizeof **g), "%s: pass %d: replayed gradients differ", name, number);
    for (int i = 0; i < 2; ++i) free(y[i]), free(g[i]);
    free(x);
}

static size_t notes_of(const struct pair *p) { return cuda_device(p->be[0])->notes; }
static size_t replays_of(const struct pair *p) { return cuda_device(p->be[0])->replays; }

static bool any_spoilt(const struct pair *p) { return cuda_device(p->be[0])->spoilt; }

static void check_random(int seeds) {
    static struct nets_gen gen;
    static const enum net_mode modes[] = { NET_INFER, NET_TRAIN, NET_SCORE };
    size_t replays = 0;
    for (int seed = 1; seed <= seeds; ++seed)
        for (int m = 0; m < 3; ++m) {
            struct pair p;
            char name[64];
            nets_write(&gen, (uint64_t)seed, NETS_GROUPED);
            snprintf(name, sizeof name, "network %d, mode %d", seed, m);
            if (pair_open(&p, "cuda-emulated", name, gen.text, modes[m]))
                for (int pass = 0; pass < 4; ++pass) pair_pass(&p, name, pass, modes[m] != NET_INFER);
            replays += p.be[0] ? replays_of(&p) : 0;
            CHECK(!any_spoilt(&p), "%s: a stretch of steady layers could not be noted", name);
            pair_close(&p);
        }
    CHECK(replays > (size_t)seeds * 3, "%zu replays", replays);
}

static const char plain_text[] = NET CONV(8, 3, 1, "mish") CONV(8, 3, 1, "leaky") "[shortcut]\nfrom=-2\nactivation=linear\n"
    "[maxpool]\nsize=2\nstride=2\n" "[dropout]\nprobability=0.3\n" CONV(12, 3, 1, "swish") CONV(6, 1, 1, "logistic")
    "[upsample]\nstride=2\n" PLAIN(5, 3, 1, "linear");

/* Another size, and memory that moves because another network wants more: replays never see what is gone. */
static void check_changes(void) {
    struct pair p;
    if (!pair_open(&p, "cuda-emulated", "changes", plain_text, NET_TRAIN)) return;
    for (int pass = 0; pass < 3; ++pass) pair_pass(&p, "changes", pass, true);
    size_t noted = notes_of(&p);
    CHECK(noted == 4, "two stretches around dropout, each way: %zu notes", noted);
    for (int i = 0; i < 2; ++i) CHECK(net_resize(&p.ctx, p.net[i], 20, 16) == ST_OK, "%s", p.ctx.error);
    for (int pass = 0; pass < 3; ++pass) pair_pass(&p, "another size", pass, true);
    CHECK(notes_of(&p) == noted + 4, "after a resize all is noted anew: %zu", notes_of(&p) - noted);
    noted = notes_of(&p);
    size_t replays = replays_of(&p);
    struct net *other = nets_open(&p.ctx, "other", NET PLAIN(64, 5, 1, "linear") PLAIN(64, 5, 1, "linear"), 3);
    unsigned generation = cuda_device(p.be[0])->generation;
    CHECK(net_bind(&p.ctx, other, p.be[0], NET_TRAIN, 8) == ST_OK, "%s", p.ctx.error);
    CHECK(cuda_device(p.be[0])->generation != generation, "the other network makes scratch memory move");
    pair_pass(&p, "memory has moved", 1, true);
    CHECK(replays_of(&p) == replays, "a stale note was played");
    net_close(other);
    for (int pass = 2; pass < 5; ++pass) pair_pass(&p, "memory has moved", pass, true);
    CHECK(notes_of(&p) == noted + 4 && replays_of(&p) > replays, "it is noted anew: %zu", notes_of(&p) - noted);
    pair_close(&p);
}

/* What cannot be noted is not, and then nothing is done; the pass goes on without. */
static void check_spoilt(void) {
    struct ctx ctx = { 0 };
    struct backend *be;
    float three[3] = { 3, 3, 3 }, seen[3] = { 9, 9, 9 };
    CHECK(backend_open(&ctx, "cuda-emulated", &be) == ST_OK, "%s", ctx.error);
    real *a = be->ops->alloc(be, &ctx, 3), *b = be->ops->alloc(be, &ctx, 3);
    be->ops->put(be, three, 3, a);
    CHECK(be->passes->record(be), "recording begins");
    be->ops->axpy(be, 3, 1, a, b);
    be->ops->get(be, b, 3, seen);
    CHECK(!be->passes->recorded(be, &ctx) && seen[0] == 0, "waiting for the host cannot be noted");
    be->ops->get(be, b, 3, seen);
    CHECK(seen[0] == 0, "and nothing was done: %g", (double)seen[0]);
    CHECK(be->passes->record(be), "and once more");
    be->ops->axpy(be, 3, 1, a, b);
    struct recording *note = be->passes->recorded(be, &ctx);
    CHECK(note && be->passes->replay(be, note) && be->passes->replay(be, note), "a sum can be");
    be->ops->get(be, b, 3, seen);
    CHECK(seen[2] == 6, "played twice: %g", (double)seen[2]);
    be->passes->drop(be, note);
    be->ops->free(be, a), be->ops->free(be, b);
    CHECK(be->ops->sync(be, &ctx) == ST_OK, "%s", ctx.error);
    backend_close(be);
    struct pair p;
    if (pair_open(&p, "cuda-emulated:fp16", "stand-in library", plain_text, NET_TRAIN)) /* its loops cannot be noted */
        for (int pass = 0; pass < 4; ++pass) pair_pass(&p, "stand-in library", pass, true);
    CHECK(replays_of(&p) == 0, "%zu replays", replays_of(&p));
    pair_close(&p);
}

int main(void) {
    check_random(12);
    check_changes();
    check_spoilt();
    return test_end("gpu_replay");
}
