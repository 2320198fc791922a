/* The scaled loss of training in half precision. */
#include "train/loss_scale.h"
#include "train_tiny.h"

static void check_rules(void) {
    struct ctx ctx = { 0 };
    struct backend *half, *plain;
    struct loss_scale s;
    CHECK(backend_open(&ctx, "cuda-emulated:fp16", &half) == ST_OK && backend_open(&ctx, "cuda-emulated:bf16", &plain) == ST_OK, "%s", ctx.error);
    loss_scale_open(&s, plain, 4096, 3);
    double squares = INFINITY;
    CHECK(!s.on && s.scale == 1 && !loss_scale_seen(&s, &squares), "bf16 has the range of floats: no scale, and an overflow is a failure");
    struct net *net = open_net("batch=2\nmax_batches=3\n", "", 0);
    CHECK(net_bind(&ctx, net, half, NET_TRAIN, 2) == ST_OK, "%s", ctx.error);
    float *g = calloc(net->n_param, sizeof *g);

    loss_scale_open(&s, half, 0, 0);
    CHECK(s.on && s.scale == 65536, "begins at %g", s.scale);
    squares = 65536. * 65536. * 9;
    CHECK(loss_scale_seen(&s, &squares) && squares == 9, "the gradient's own size: %g", squares);
    for (size_t i = 0; i < net->n_param; ++i) g[i] = 65536.f * 3;
    half->ops->put(half, g, net->n_param, net->dev_grad);
    CHECK(loss_scale_ready(&s, net), "a good step");
    half->ops->get(half, net->dev_grad, net->n_param, g);
    CHECK(g[0] == 3 && g[net->n_param - 1] == 3, "gradients without the scale: %g", (double)g[0]);

    squares = NAN;
    CHECK(loss_scale_seen(&s, &squares), "an overflow is no failure yet");
    for (size_t i = 0; i < net->n_param; ++i) g[i] = i % 2 ? NAN : INFINITY;
    half->ops->put(half, g, net->n_param, net->dev_grad);
    CHECK(!loss_scale_ready(&s, net) && s.scale == 32768 && s.good == 0 && !s.overflow, "the step is left out, the scale halved: %g", s.scale);
    half->ops->get(half, net->dev_grad, net->n_param, g);
    double sum = 0;
    for (size_t i = 0; i < net->n_param; ++i) sum += fabs((double)g[i]);
    CHECK(sum == 0, "nothing is left of the gradients: %g", sum);

    for (int i = 0; i < LOSS_SCALE_PATIENCE - 1; ++i) loss_scale_ready(&s, net);
    CHECK(s.scale == 32768 && s.good == LOSS_SCALE_PATIENCE - 1, "%g", s.scale);
    CHECK(loss_scale_ready(&s, net) && s.scale == 65536 && s.good == 0, "after enough good steps it is doubled: %g", s.scale);
    s.scale = 1, squares = NAN;
    CHECK(!loss_scale_seen(&s, &squares), "with the least scale it is a failure");
    loss_scale_open(&s, half, 128, 7);
    CHECK(s.scale == 128 && s.good == 7, "an earlier run's: %g", s.scale);
    loss_scale_open(&s, half, NAN, 7);
    CHECK(s.scale == 65536 && s.good == 0, "no such number: %g", s.scale);
    free(g);
    net_close(net);
    backend_close(half), backend_close(plain);
}

static struct run r;

static struct net *trained(const char *kind, struct net *net, const char *folder, int stop_at) {
    memset(&r, 0, sizeof r);
    r.opt.save = folder[0] != 'x';
    r.opt.last_every = 1;
    r.watch.stop_at = stop_at;
    enum status st = train(&r, kind, net, folder);
    CHECK(st == (stop_at ? ST_INTERRUPTED : ST_OK), "%s: %s", kind, r.ctx.error);
    return net;
}

#define KEYS "batch=4\nsubdivisions=2\nlearning_rate=0.005\nmax_batches=10\n"

/* The scale begins too high for this network, so steps are left out until it fits; then it trains as on the CPU. */
static void check_training(void) {
    struct net *half = trained("cuda-emulated:fp16", open_net(KEYS, "", 0), "x", 0);
    const char *skip = strstr(r.log, "no update");
    CHECK(skip && strstr(r.log, "loss scale 32768"), "steps were left out: %s", r.log);
    double loss = r.watch.last, first = r.watch.first;
    struct net *cpu = trained("cpu", open_net(KEYS, "", 0), "x", 0);
    double full = r.watch.last;
    CHECK(isfinite(loss) && loss > full && loss < .8 * first, "loss %g with fewer steps, on the cpu %g, both from %g", loss, full, first);
    CHECK(!strstr(r.log, "no update"), "the cpu needs no scale");
    struct net *brain = trained("cuda-emulated:bf16", open_net(KEYS, "", 0), "x", 0);
    CHECK(!strstr(r.log, "no update") && fabs(full - r.watch.last) < .05 * full, "bf16: loss %g, on the cpu %g", r.watch.last, full);
    net_close(half), net_close(cpu), net_close(brain);
}

/* A run that is stopped and goes on equals one that does not, the scale and its count included. */
static void check_resume(void) {
    struct net *whole = trained("cuda-emulated:fp16", open_net(KEYS, "", 0), "whole", 0);
    struct net *parts = trained("cuda-emulated:fp16", open_net(KEYS, "", 0), "parts", 6);
    trained("cuda-emulated:fp16", parts, "parts", 0);
    CHECK(!strstr(r.log, "momentum starts at 0"), "the state was found: %s", r.log);
    CHECK(!memcmp(whole->param, parts->param, whole->n_param * sizeof *whole->param), "resumed training differs");
    char a[256], b[256], command[600];
    snprintf(command, sizeof command, "cmp '%s' '%s'", path_of(a, "whole/tiny_last.state"), path_of(b, "parts/tiny_last.state"));
    CHECK(system(command) == 0, "the states differ");
    net_close(whole), net_close(parts);
}

/* Numbers beyond fp16's in the forward pass end training, by the loss or by gradients that no scale helps, and what was there before stays;
 * in bf16 they are numbers like others. */
static void check_beyond(void) {
    static const char *const kinds[] = { "cuda-emulated:fp16", "cuda-emulated:bf16" };
    for (int k = 0; k < 2; ++k) {
        struct net *net = open_net("batch=2\nlearning_rate=0.001\nmax_batches=30\n", "", 0);
        const struct layer *l = &net->layer[0];
        const struct param *w = &l->param[l->n_param - 1], *mean = &l->param[2];
        for (size_t i = 0; i < param_count(w); ++i) net->param[w->offset + i] *= 1e7f;
        memset(&r, 0, sizeof r);
        enum status st = train(&r, kinds[k], net, "none");
        CHECK(st == (k ? ST_OK : ST_NUMERIC), "%s: status %d: %s", kinds[k], st, r.ctx.error);
        CHECK(k || (strstr(r.ctx.error, "layer 0") && strstr(r.ctx.error, "-precision bf16")), "%s", r.ctx.error);
        for (size_t i = 0; i < net->n_param; ++i)
            if (!isfinite(net->param[i])) {
                CHECK(false, "%s: parameter %zu is %g", kinds[k], i, (double)net->param[i]);
                break;
            }
        CHECK(k || net->param[mean->offset] == 0, "%s: a mean of %g", kinds[k], (double)net->param[mean->offset]);
        net_close(net);
    }
}

int main(void) {
    tiny_start("loss_scale");
    check_rules();
    check_training();
    check_resume();
    check_beyond();
    return tiny_end("loss_scale");
}
