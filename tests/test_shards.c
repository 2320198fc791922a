/* Scoring on several devices: votes, means and evidence come together as if one had seen all images. */
#include "prune/blocks.h"
#include "prune/saliency_shards.h"
#include "prune_nets.h"
#include "test.h"

enum { IMAGES = 11 };
struct images { size_t floats; float *x; struct truth item[IMAGES][2]; int bad; int asked; };
static enum status get_image(void *user, struct ctx *ctx, int i, struct score_image *out) {
    struct images *im = user;
    if (i == im->bad) return ctx_fail(ctx, ST_IO, "picture %d is gone", i);
    out->x = im->x + (size_t)i * im->floats;
    out->truth = (struct truth_list){ i % 3, 2, im->item[i] };
    ++im->asked;
    return ST_OK;
}

static const char TEXT[] =
    "[net]\nwidth=32\nheight=32\nchannels=3\nbatch=1\nsubdivisions=1\n"
    "[convolutional]\nbatch_normalize=1\nfilters=6\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[convolutional]\nbatch_normalize=1\nfilters=6\nsize=3\nstride=1\npad=1\nactivation=mish\n"
    "[shortcut]\nfrom=-2\nactivation=linear\n"
    "[convolutional]\nbatch_normalize=1\nfilters=9\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[convolutional]\nsize=1\nfilters=14\nactivation=linear\n"
    "[yolo]\nmask=0,1\nanchors=6,8, 18,14\nclasses=2\nnum=2\niou_loss=giou\niou_thresh=.2\n";

static double apart(const double *a, const double *b, int n) {
    double most = 1e-12, worst = 0;
    for (int i = 0; i < n; ++i) most = fmax(most, fabs(a[i])), worst = test_worse(worst, fabs(a[i] - b[i]));
    return worst / most;
}

static int progress_done, progress_total;
static void progress(void *user, const char *phase, int done, int total) {
    (void)user, (void)phase;
    progress_done = done, progress_total = total;
}

struct outcome { double *mean; struct saliency s; struct loss_evidence loss; enum status st; };
static struct outcome score(struct ctx *ctx, const char *const *kinds, int n, int images, int bad, bool weights) {
    struct outcome o = { .loss.wants_weights = weights };
    struct net *net = nets_open(ctx, "shards", TEXT, 5);
    struct channels *ch = NULL;
    struct blocks blocks = { 0 };
    struct backend *be[8];
    struct score_source source[8];
    struct images im[8];
    float *x = nets_input(net, IMAGES, 9);
    struct rng r = rng_stream(3, 1, 1);
    struct truth item[IMAGES][2];
    for (int i = 0; i < IMAGES; ++i)
        for (int k = 0; k < 2; ++k)
            item[i][k] = (struct truth){ { (float)rng_between(&r, .3, .7), (float)rng_between(&r, .3, .7), (float)rng_between(&r, .1, k ? .6 : .2),
                                           (float)rng_between(&r, .1, .4) }, rng_int(&r, 0, 1), -1 };
    for (int i = 0; i < n; ++i) {
        CHECK(backend_open(ctx, kinds[i % 2], &be[i]) == ST_OK, "%s", ctx->error);
        im[i] = (struct images){ .floats = nets_image(net), .x = x, .bad = bad };
        memcpy(im[i].item, item, sizeof item);
        source[i] = (struct score_source){ .count = images, .get = get_image, .user = &im[i], .progress = progress };
    }
    struct score_team team = { n, be, source };
    struct saliency_options opt = saliency_defaults();
    opt.batch = 2;
    CHECK(channels_build(ctx, net, &ch) == ST_OK && blocks_find(ctx, net, NULL, &blocks) == ST_OK, "%s", ctx->error);
    opt.blocks = &blocks;
    o.mean = calloc((size_t)ch->n_node, sizeof *o.mean);
    o.st = saliency_means_by(ctx, net, &team, ch, 2, o.mean);
    if (o.st == ST_OK) o.st = saliency_collect_by(ctx, net, &team, ch, &opt, o.mean, &o.s, &o.loss);
    for (int i = 0; i < n; ++i) {
        int fair = images / (n < images ? n : images);
        if (bad < 0 && !weights) CHECK(im[i].asked >= (i < images ? 2 * fair : 0) && im[i].asked <= 2 * (fair + 1), "device %d of %d has seen %d", i, n, im[i].asked);
        backend_close(be[i]);
    }
    CHECK(net->be == NULL, "the net comes back unbound");
    blocks_free(&blocks);
    channels_drop(ch);
    free(x);
    net_close(net);
    return o;
}

static void drop(struct outcome *o) {
    free(o->mean);
    saliency_free(&o->s);
    loss_evidence_free(&o->loss);
}

static void check_equal(const char *const *kinds, int n, int images, double limit) {
    static const char *const one[] = { "cpu", "cpu" };
    struct ctx ctx = { 0 };
    struct outcome a = score(&ctx, one, 1, images, -1, false), b = score(&ctx, kinds, n, images, -1, false);
    CHECK(a.st == ST_OK && b.st == ST_OK, "%s", ctx.error);
    if (a.st != ST_OK || b.st != ST_OK) return;
    int groups = a.s.n_group;
    CHECK(a.s.n_object == b.s.n_object && !memcmp(a.s.bin_count, b.s.bin_count, sizeof a.s.bin_count), "%d and %d votes", a.s.n_object, b.s.n_object);
    CHECK(apart(a.s.score, b.s.score, groups) <= limit, "%d devices: scores are %g apart", n, apart(a.s.score, b.s.score, groups));
    for (int h = 0; h < 2; ++h) CHECK(apart(a.s.half[h], b.s.half[h], groups) <= limit, "half %d: %g", h, apart(a.s.half[h], b.s.half[h], groups));
    CHECK(apart(a.s.block, b.s.block, 1) <= limit && a.s.block[0] > 0, "blocks: %g", apart(a.s.block, b.s.block, 1));
    CHECK(apart(a.loss.magnitude, b.loss.magnitude, groups + 1) <= limit, "evidence: %g", apart(a.loss.magnitude, b.loss.magnitude, groups + 1));
    CHECK(apart(a.loss.square, b.loss.square, groups + 1) <= limit, "evidence: %g", apart(a.loss.square, b.loss.square, groups + 1));
    CHECK(progress_done == images && progress_total == images, "progress ends with %d of %d", progress_done, progress_total);
    drop(&a), drop(&b);
}

/* One device's failure ends all, with its line. */
static void check_failure(int bad) {
    static const char *const kinds[] = { "cpu", "ref" };
    struct ctx ctx = { 0 };
    struct outcome o = score(&ctx, kinds, 3, IMAGES, bad, false);
    char line[32];
    snprintf(line, sizeof line, "picture %d is gone", bad);
    CHECK(o.st == ST_IO && strstr(ctx.error, line) && !o.s.score && !o.loss.magnitude, "%d: %s", o.st, ctx.error);
    drop(&o);
}

static void check_weights(void) {
    static const char *const kinds[] = { "cpu", "cpu" };
    struct ctx ctx = { 0 };
    struct outcome a = score(&ctx, kinds, 1, 6, -1, true), b = score(&ctx, kinds, 2, 6, -1, true);
    CHECK(a.st == ST_OK && b.st == ST_OK && a.loss.weight[0] == b.loss.weight[0] && a.loss.weight[0] > 0, "%s", ctx.error);
    drop(&a), drop(&b);
}

int main(void) {
    static const char *const cpus[] = { "cpu", "cpu" }, *const mixed[] = { "cuda-emulated", "ref" };
    check_equal(cpus, 1, IMAGES, 0);
    check_equal(cpus, 2, IMAGES, 1e-5);
    check_equal(cpus, 5, IMAGES, 1e-5);
    check_equal(cpus, 4, 3, 1e-5); /* more devices than images */
    check_equal(mixed, 3, IMAGES, 1e-4);
    check_failure(0);
    check_failure(5);
    check_failure(IMAGES - 1);
    check_weights();
    return test_end("shards");
}
