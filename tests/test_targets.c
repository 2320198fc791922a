/* Targets at their corners, latency tables and their file, groups weighed together, recounted prices, and what leaving a
 * group out does. */
#include <unistd.h>

#include "base/io.h"
#include "prune/ablate.h"
#include "recipe/latency_table.h"
#include "recipe/validate.h"
#include "select_rig.h"

#define NET "[net]\nwidth=32\nheight=32\nchannels=3\nbatch=1\nsubdivisions=1\n"
#define CONV(f, k, s) "[convolutional]\nbatch_normalize=1\nfilters=" #f "\nsize=" #k "\nstride=" #s "\npad=1\nactivation=leaky\n"
#define HEAD "[convolutional]\nfilters=14\nsize=1\nactivation=linear\n[yolo]\nanchors=4,4, 9,9\nmask=0,1\nnum=2\nclasses=2\n"

static const char chain[] = NET CONV(24, 3, 2) CONV(32, 3, 1) CONV(40, 3, 2) "[convolutional]\nfilters=40\ngroups=40\nsize=3\npad=1\nactivation=leaky\n"
    CONV(48, 1, 1) HEAD;

/* --- corners --------------------------------------------------------------------------------------------------------------- */

static void check_whole(struct bench *b, const struct select_options *opt, bool reached, const char *what) {
    struct selection s = choose(b, opt);
    CHECK(s.reached == reached, "%s: reached %d", what, s.reached);
    CHECK(s.filters_after == s.filters_before && s.after.flops == s.before.flops, "%s: %d of %d filters stay", what, s.filters_after,
          s.filters_before);
    selection_free(&s);
}

static void check_corners(void) {
    static const enum target_kind kinds[] = { TARGET_FLOPS, TARGET_PARAMS, TARGET_MEMORY };
    struct bench b;
    uint8_t all[16];
    memset(all, 1, sizeof all);
    if (!bench_open(&b, chain, 7)) return;
    for (size_t k = 0; k < 3; ++k) {
        struct select_options opt = exact(kinds[k], 1);
        check_whole(&b, &opt, true, "a target of 1");
        opt.value = .5, opt.keep_layer = all;
        check_whole(&b, &opt, false, "every layer kept");
        opt = exact(kinds[k], .5), opt.min_filters = 1000;
        check_whole(&b, &opt, false, "a minimum above every width");
        opt = exact(kinds[k], .5), opt.max_layer_ratio = 0;
        check_whole(&b, &opt, false, "nothing may go of any layer");
        opt = exact(kinds[k], .5), opt.round = 64;
        check_whole(&b, &opt, false, "multiples wider than every layer");
    }
    struct select_options opt = exact(TARGET_RATIO, 0);
    check_whole(&b, &opt, true, "a ratio of 0");
    opt = exact(TARGET_THRESHOLD, 0);
    check_whole(&b, &opt, true, "a threshold of 0");
    opt = exact(TARGET_THRESHOLD, 1e30);
    struct selection s = choose(&b, &opt);
    for (int i = 0; i < 5; ++i) CHECK(b.kept[i] == (int)ceil(.05 * b.net->layer[i].out.c - 1e-9), "layer %d keeps %d", i, b.kept[i]);
    selection_free(&s);
    bench_close(&b);
}

/* --- prices ---------------------------------------------------------------------------------------------------------------- */

/* The rule word for word: the lowest score per power of what it saves now goes, until the target holds. */
static void by_the_rule(struct bench *b, const struct select_options *opt, uint8_t *keep) {
    int n = b->net->n, full[16], now[16];
    for (int i = 0; i < n; ++i) full[i] = now[i] = b->net->layer[i].out.c;
    double whole = cost_at(b->net, full).flops;
    memset(keep, 1, (size_t)b->ch->n_group);
    while (cost_at(b->net, now).flops > opt->value * whole) {
        int best = -1;
        double lowest = INFINITY;
        for (int g = 0; g < b->ch->n_group; ++g) {
            int less[16];
            bool allowed = keep[g] && !b->ch->group[g].frozen;
            for (int i = 0; i < n && allowed; ++i) {
                less[i] = now[i] - channels_in_layer(b->ch, g, i);
                allowed = less[i] == now[i] || less[i] >= ceil(full[i] * (1 - opt->max_layer_ratio) - 1e-9);
            }
            if (!allowed) continue;
            double rank = b->score[g] / pow((cost_at(b->net, now).flops - cost_at(b->net, less).flops) / whole, opt->cost_power);
            if (rank < lowest) lowest = rank, best = g;
        }
        if (best < 0) return;
        keep[best] = 0;
        for (int i = 0; i < n; ++i) now[i] -= channels_in_layer(b->ch, best, i);
    }
}

static void check_recount(void) {
    struct bench b;
    if (!bench_open(&b, chain, 7)) return;
    uint8_t *keep = malloc((size_t)b.ch->n_group);
    int differ = 0;
    for (double share = .9; share > .15; share -= .2) {
        struct select_options opt = exact(TARGET_FLOPS, share);
        opt.cost_power = 1;
        struct selection s = choose(&b, &opt);
        by_the_rule(&b, &opt, keep);
        CHECK(s.reached && !memcmp(keep, s.keep, (size_t)b.ch->n_group), "%g of the FLOPs", share);
        opt.recount = false;
        struct selection once = choose(&b, &opt);
        differ += memcmp(once.keep, s.keep, (size_t)b.ch->n_group) != 0;
        selection_free(&s);
        selection_free(&once);
    }
    CHECK(differ > 0, "prices counted once choose the same");
    free(keep);
    bench_close(&b);
}

/* --- together -------------------------------------------------------------------------------------------------------------- */

static double moved(const struct bench *b, const struct selection *s, const float *r, int n) {
    double sum = 0;
    for (int k = 0; k < n; ++k) {
        double t = 0;
        for (int g = 0; g < b->ch->n_group; ++g) t += s->keep[g] ? 0 : (double)r[g * n + k];
        sum += t * t;
    }
    return sum;
}

static void check_together(void) {
    enum { N = 20 };
    struct bench b;
    if (!bench_open(&b, chain, 7)) return;
    struct rng r = rng_stream(1, 2, 3);
    float *response = calloc((size_t)b.ch->n_group * N, sizeof *response);
    for (int g = 0; g < b.ch->n_group; ++g) { /* half of the groups lean on the same objects */
        double size = exp(rng_uniform(&r)), square = 0;
        for (int k = 0; k < N; ++k)
            response[g * N + k] = (float)(size * (g % 2 ? 1 + .2 * rng_uniform(&r) : 2 * rng_uniform(&r) - 1));
        for (int k = 0; k < N; ++k) square += (double)response[g * N + k] * (double)response[g * N + k];
        for (int k = 0; k < N; ++k) response[g * N + k] = (float)(size * (double)response[g * N + k] / sqrt(square));
        b.score[g] = size;
    }
    for (int k = 0; k < 3; ++k) {
        struct select_options opt = exact(TARGET_FLOPS, .9 - .2 * k);
        struct selection alone = choose(&b, &opt);
        opt.response = response, opt.n_response = N;
        struct selection together = choose(&b, &opt);
        int odd[2] = { 0, 0 };
        for (int g = 0; g < b.ch->n_group; ++g) odd[0] += g % 2 && !alone.keep[g], odd[1] += g % 2 && !together.keep[g];
        CHECK(alone.reached && together.reached && together.after.flops <= opt.value * together.before.flops * (1 + 1e-9), "%g", opt.value);
        CHECK(moved(&b, &together, response, N) < .5 * moved(&b, &alone, response, N) && odd[1] < odd[0],
              "%g: together %g with %d alike, alone %g with %d", opt.value, moved(&b, &together, response, N), odd[1],
              moved(&b, &alone, response, N), odd[0]);
        opt.interaction = 0; /* turns it off */
        struct selection off = choose(&b, &opt);
        CHECK(!memcmp(off.keep, alone.keep, (size_t)b.ch->n_group), "interaction 0 is each group alone");
        selection_free(&alone), selection_free(&together), selection_free(&off);
    }
    free(response);
    bench_close(&b);
}

/* --- latency --------------------------------------------------------------------------------------------------------------- */

static void check_lines(void) {
    struct ctx ctx = { 0 };
    struct bench b;
    struct latency_model *m;
    if (!bench_open(&b, chain, 7) || latency_new(&ctx, b.net->n, &m) != ST_OK) return;
    struct latency_layer *l = &m->layer[1];
    l->full_ms = 8, l->n_in = 2, l->n_out = 3;
    l->in = malloc(2 * sizeof *l->in), l->out = malloc(3 * sizeof *l->out), l->ms = malloc(6 * sizeof *l->ms);
    memcpy(l->in, (int[]){ 12, 24 }, 2 * sizeof(int));
    memcpy(l->out, (int[]){ 8, 16, 32 }, 3 * sizeof(int));
    memcpy(l->ms, (double[]){ 1, 2, 1.5, 1, 3, 4 }, 6 * sizeof(double)); /* a dip at 12, 32 */
    int pairs = 0, falling = 0;
    latency_doubt(l, &pairs, &falling);
    CHECK(pairs == 7 && falling == 1, "%d pairs, %d fall", pairs, falling); /* 2 -> 1.5; 1 -> 1 does not */
    latency_settle(l);
    const struct layer *conv = &b.net->layer[1];
    CHECK_NEAR(latency_of_layer(m, conv, 24, 32), 8, 1e-12, "the full width is what the network took");
    CHECK_NEAR(latency_of_layer(m, conv, 12, 32), 4, 1e-12, "fewer filters are not slower");
    CHECK_NEAR(latency_of_layer(m, conv, 24, 24), 7, 1e-12, "between two widths");
    CHECK_NEAR(latency_of_layer(m, conv, 18, 16), 5, 1e-12, "between two inputs");
    CHECK_NEAR(latency_of_layer(m, conv, 18, 24), 5.5, 1e-12, "between four");
    CHECK_NEAR(latency_of_layer(m, conv, 2, 2), 2, 1e-12, "below the table: its edge");
    CHECK_NEAR(latency_of_layer(m, conv, 24, 0), 0, 1e-12, "no filter, no time");
    m->layer[2].full_ms = 6;
    CHECK_NEAR(latency_of_layer(m, &b.net->layer[2], 16, 20), 1.5, 1e-12, "without a table by FLOPs");
    for (int i = 0; i < b.net->n; ++i) m->layer[i].full_ms = fmax(m->layer[i].full_ms, 1);
    for (double share = .9; share > .4; share -= .2) {
        struct select_options opt = exact(TARGET_LATENCY, share);
        opt.latency = m, opt.cost = COST_LATENCY;
        struct selection s = choose(&b, &opt);
        double got = s.after.ms / s.before.ms;
        CHECK(s.reached && got <= share && got > share - .05, "latency %g of %g", got, share);
        selection_free(&s);
    }
    latency_drop(m);
    bench_close(&b);
}

static int measured(struct bench *b, struct backend *be, const char *cache) {
    struct ctx ctx = { 0 };
    struct latency_options opt = { .cache = cache, .round = 8 };
    struct latency_model *m = NULL;
    struct latency_report report;
    CHECK(latency_measure(&ctx, be, b->net, b->ch, &opt, &m, &report) == ST_OK, "%s", ctx.error);
    if (!m) return -1;
    int full[16], half[16];
    double whole = 0, less = 0;
    for (int i = 0; i < b->net->n; ++i) full[i] = b->net->layer[i].out.c, half[i] = (full[i] + 1) / 2;
    for (int i = 0; i < b->net->n; ++i) {
        const struct layer *l = &b->net->layer[i];
        int first = l->in[0] == LAYER_INPUT;
        whole += latency_of_layer(m, l, first ? 3 : full[l->in[0]], full[i]);
        less += latency_of_layer(m, l, first ? 3 : half[l->in[0]], half[i]);
        if (i < 5) CHECK(m->layer[i].n_out > 1 && m->layer[i].out[m->layer[i].n_out - 1] == full[i], "layer %d: %d widths", i, m->layer[i].n_out);
    }
    CHECK(m->layer[3].n_in == 1 && m->layer[2].n_in == 4, "a depthwise layer has one width: %d, %d", m->layer[3].n_in, m->layer[2].n_in);
    CHECK(m->layer[0].n_in == 1 && m->layer[5].n_out == 1, "the input and the head stay");
    CHECK(whole > 0 && less > 0 && less <= whole, "%g ms, at half the widths %g", whole, less);
    latency_drop(m);
    return report.measured;
}

static void check_cache(void) {
    struct ctx ctx = { 0 };
    struct bench b;
    struct backend *be;
    char folder[] = "/tmp/test_targets_XXXXXX", path[64], *text = NULL, *other;
    size_t size;
    if (!mkdtemp(folder) || !bench_open(&b, chain, 7) || backend_open(&ctx, "cpu", &be) != ST_OK) return;
    snprintf(path, sizeof path, "%s/sub/times.tsv", folder);
    int first = measured(&b, be, path);
    CHECK(first > 20, "%d measured", first);
    CHECK(measured(&b, be, path) == 0, "the second run knows");
    CHECK(io_read(&ctx, path, &text, &size) == ST_OK, "%s", ctx.error);
    /* another machine's figures do not count, and lines that are none do not hurt */
    if ((other = strstr(text, "\t")) && other > text) other[-1] ^= 1;
    char *cut = strrchr(text, '\t');
    memcpy(cut + 1, "what", 4);
    CHECK(io_write(&ctx, path, text, strlen(text)) == ST_OK, "%s", ctx.error);
    CHECK(measured(&b, be, path) == 2, "one line of another machine and one broken one");
    CHECK(measured(&b, be, path) == 0, "and they are there again");
    CHECK(measured(&b, be, "") == first, "no file: measured anew");
    CHECK(measured(&b, be, "/proc/none/times.tsv") == first, "a file that cannot be written does not stop the run");
    free(text);
    unlink(path);
    path[strlen(path) - strlen("/times.tsv")] = '\0';
    rmdir(path), rmdir(folder);
    bench_close(&b);
    backend_close(be);
}

/* --- leaving one out -------------------------------------------------------------------------------------------------------- */

enum { IMAGES = 6 };
struct pictures { size_t floats; float *x; struct truth item[2]; };

static enum status get(void *user, struct ctx *ctx, int i, struct score_image *out) {
    struct pictures *p = user;
    (void)ctx;
    out->x = p->x + (size_t)i * p->floats;
    out->truth = (struct truth_list){ 1 + i % 2, 2, p->item };
    return ST_OK;
}

static double own_loss(struct ctx *ctx, struct backend *be, struct net *net, struct pictures *p) {
    double sum = 0, one;
    CHECK(net_bind(ctx, net, be, NET_SCORE, 1) == ST_OK, "%s", ctx->error);
    for (int i = 0; i < IMAGES; ++i) {
        struct truth_list list = { 1 + i % 2, 2, p->item };
        struct net_truth truth = { .boxes = &list };
        CHECK(net_forward(ctx, net, p->x + (size_t)i * p->floats) == ST_OK && net_loss(ctx, net, &truth, &one, NULL) == ST_OK, "%s", ctx->error);
        sum += one;
    }
    net_unbind(net);
    return sum / IMAGES;
}

static void check_ablation(bool compensate) {
    struct ctx ctx = { 0 };
    struct bench b;
    struct backend *be;
    struct ablation *a = NULL;
    if (!bench_open(&b, chain, 7) || backend_open(&ctx, "ref", &be) != ST_OK) return;
    struct pictures p = { nets_image(b.net), NULL, { { .box = { .3f, .4f, .2f, .3f } }, { .box = { .6f, .6f, .3f, .2f } } } };
    p.x = nets_input(b.net, IMAGES, 5);
    p.item[1].class_id = 1;
    struct score_source src = { .count = IMAGES, .get = get, .user = &p };
    double *mean = calloc((size_t)b.ch->n_node, sizeof *mean), loss = 0;
    float *param = malloc(b.net->n_param * sizeof *param), *before = malloc(b.net->n_param * sizeof *before);
    uint8_t *keep = malloc((size_t)b.ch->n_group);
    memcpy(before, b.net->param, b.net->n_param * sizeof *before);
    CHECK(saliency_means(&ctx, b.net, be, b.ch, &src, 2, mean) == ST_OK, "%s", ctx.error);
    double whole = own_loss(&ctx, be, b.net, &p);
    CHECK(ablation_open(&ctx, b.net, be, b.ch, &src, 64, 4, compensate ? mean : NULL, &a) == ST_OK && ablation_images(a) == IMAGES, "%s", ctx.error);
    CHECK(ablation_loss(&ctx, a, NULL, &loss) == ST_OK, "%s", ctx.error);
    CHECK_NEAR(loss, whole, 1e-5, "nothing removed");
    double losses[3];
    for (int k = 0; k < 3; ++k) {
        memset(keep, 1, (size_t)b.ch->n_group);
        for (int g = k; g < 60; g += 5) keep[g] = b.ch->group[g].frozen != NULL;
        CHECK(ablation_loss(&ctx, a, keep, &losses[k]) == ST_OK, "%s", ctx.error);
    }
    CHECK(ablation_loss(&ctx, a, NULL, &loss) == ST_OK && fabs(loss - whole) <= 1e-5 * whole, "back to %g from %g", whole, loss);
    ablation_close(a);
    CHECK(!memcmp(before, b.net->param, b.net->n_param * sizeof *before) && !b.net->mask, "the network is not as it was");
    for (int k = 0; k < 3; ++k) { /* the same as the loss of the network that is cut */
        struct net *small = NULL;
        memset(keep, 1, (size_t)b.ch->n_group);
        for (int g = k; g < 60; g += 5) keep[g] = b.ch->group[g].frozen != NULL;
        memcpy(param, b.net->param, b.net->n_param * sizeof *param);
        if (compensate) slice_compensate(b.net, b.ch, keep, mean, param);
        CHECK(slice_apply(&ctx, b.net, b.ch, keep, param, &small) == ST_OK, "%s", ctx.error);
        double cut = own_loss(&ctx, be, small, &p);
        CHECK_NEAR(losses[k], cut, 2e-6, "removal %d, compensated %d", k, compensate);
        CHECK(fabs(cut - whole) > 2e-5 * whole, "removal %d does nothing: %g, %g", k, cut, whole);
        net_close(small);
    }
    free(mean), free(param), free(before), free(keep), free(p.x);
    bench_close(&b);
    backend_close(be);
}

static void check_spearman(void) {
    struct ctx ctx = { 0 };
    double rho;
    spearman(&ctx, (double[]){ 1, 2, 3, 4 }, (double[]){ 10, 20, 30, 1e9 }, 4, &rho);
    CHECK_NEAR(rho, 1, 1e-12, "same order");
    spearman(&ctx, (double[]){ 1, 2, 3, 4 }, (double[]){ 4, 3, 2, 1 }, 4, &rho);
    CHECK_NEAR(rho, -1, 1e-12, "turned round");
    spearman(&ctx, (double[]){ 1, 2, 3, 4, 5 }, (double[]){ 5, 6, 7, 8, 7 }, 5, &rho);
    CHECK_NEAR(rho, 0.82078268, 1e-7, "a tie");
    spearman(&ctx, (double[]){ 1, 1, 1 }, (double[]){ 1, 2, 3 }, 3, &rho);
    CHECK_NEAR(rho, 0, 1e-12, "a constant");
}

int main(void) {
    check_corners();
    check_recount();
    check_together();
    check_lines();
    check_cache();
    check_ablation(false);
    check_ablation(true);
    check_spearman();
    return test_end("targets");
}
