/* Heat maps: the gradient they look at is whole, they sit where the receptive field is, each head has its own, and the command
 * draws them. */
#include "cli_rig.h"

#include "backend/backend.h"
#include "prune/heatmap.h"
#include "prune/utility.h"
#include "prune_nets.h"

/* Layer 2 is read by a convolution and, through a route that passes it on, by an upsampling. */
static const char two_heads[] =
    "[net]\nwidth=64\nheight=64\nchannels=3\n"
    "[convolutional]\nfilters=6\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[convolutional]\nfilters=6\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[convolutional]\nfilters=5\nsize=3\nstride=2\npad=1\nactivation=linear\n"
    "[convolutional]\nfilters=14\nsize=1\nactivation=linear\n"
    "[yolo]\nmask=2,3\nanchors=6,6, 10,8, 30,30, 50,40\nclasses=2\nnum=4\n"
    "[route]\nlayers=-3\n"
    "[upsample]\nstride=2\n"
    "[route]\nlayers=-1,1\n"
    "[convolutional]\nfilters=14\nsize=1\nactivation=linear\n"
    "[yolo]\nmask=0,1\nanchors=6,6, 10,8, 30,30, 50,40\nclasses=2\nnum=4\n";

enum { HEAD_COARSE = 4, HEAD_FINE = 9 };

static struct net *open_bound(struct ctx *ctx, const char *kind, struct backend **be) {
    struct net *net = nets_open(ctx, "two heads", two_heads, 5);
    if (!net || backend_open(ctx, kind, be) != ST_OK || net_bind(ctx, net, *be, NET_SCORE, 1) != ST_OK) {
        CHECK(false, "%s", ctx->error);
        exit(1);
    }
    return net;
}

/* --- the gradient -------------------------------------------------------------------------------------------------- */

struct seen {
    int layer, calls;
    double sum[8]; /* per channel: of dU/dy */
};
static enum status sum_gradient(void *user, struct pass *p, const struct layer *l, const struct tensor *y, const struct tensor *dy) {
    struct seen *s = user;
    (void)y;
    if (l->index != s->layer) return ST_OK;
    ++s->calls;
    p->be->ops->channel_sum(p->be, dy, s->sum);
    return ST_OK;
}

static double utility_now(struct net *net, const struct truth_list *truth, const struct saliency_options *opt) {
    int head[2], n = net_heads(net, head, 2);
    double sum = 0;
    struct utility_weights w = { 1, 1, opt->kappa, false };
    for (int o = 0; o < truth->n; ++o) {
        struct utility_match m[UTILITY_MAX_MATCHES];
        int found = utility_matches(net, head, n, 0, truth->item[o].box, m);
        for (int i = 0; i < found; ++i) {
            struct layer *l = &net->layer[m[i].head];
            sum += l->ops->head->utility(l, 0, m[i].prediction, &truth->item[o], &w, 0, 64, 64) / found;
        }
    }
    return sum;
}

static void test_gradient_is_whole(void) {
    struct ctx ctx = { 0 };
    struct backend *be;
    struct net *net = open_bound(&ctx, "ref64", &be);
    float *x = nets_input(net, 1, 3);
    struct truth object[2] = { { { .3f, .4f, .5f, .5f }, 1, -1 }, { { .7f, .6f, .1f, .1f }, 0, -1 } };
    struct truth_list truth = { 2, 2, object };
    struct saliency_options opt = saliency_defaults();
    struct seen seen = { .layer = 2 };
    struct net_hook hook = { .user = &seen, .output = sum_gradient };
    opt.background_guard = 0;
    CHECK(net_forward(&ctx, net, x) == ST_OK && utility_seed(&ctx, net, &opt, &truth, 1, UTILITY_ALL_HEADS) == ST_OK, "%s", ctx.error);
    net->hook = &hook;
    CHECK(net_backward(&ctx, net) == ST_OK, "%s", ctx.error);
    net->hook = NULL;
    CHECK(seen.calls == 1, "seen once, not %d times", seen.calls);
    const struct param *bias = &net->layer[2].param[0];
    CHECK(bias->role == PARAM_BIAS, "the first array is the bias");
    for (int c = 0; c < 5; ++c) { /* linear activation: the bias moves every cell alike */
        double u[2], step = 1e-3;
        float before = net->param[bias->offset + (size_t)c];
        for (int side = 0; side < 2; ++side) {
            net->param[bias->offset + (size_t)c] = before + (float)(side ? step : -step);
            CHECK(net_push(&ctx, net) == ST_OK && net_forward(&ctx, net, x) == ST_OK, "%s", ctx.error);
            u[side] = utility_now(net, &truth, &opt);
        }
        net->param[bias->offset + (size_t)c] = before;
        double want = (u[1] - u[0]) / (2 * step);
        CHECK(fabs(want) > 1e-6, "channel %d matters", c);
        CHECK(fabs(seen.sum[c] - want) <= 2e-3 * fmax(1, fabs(want)), "channel %d: sum of gradients %.8g, by differences %.8g", c, seen.sum[c], want);
    }
    free(x);
    net_close(net);
    backend_close(be);
}

static void test_heads_add_up(void) {
    struct ctx ctx = { 0 };
    struct backend *be;
    struct net *net = open_bound(&ctx, "ref", &be);
    float *x = nets_input(net, 1, 3);
    struct truth object[2] = { { { .3f, .4f, .5f, .5f }, 1, -1 }, { { .7f, .6f, .1f, .1f }, 0, -1 } };
    struct truth_list truth = { 2, 2, object };
    struct saliency_options opt = saliency_defaults();
    CHECK(net_forward(&ctx, net, x) == ST_OK && utility_seed(&ctx, net, &opt, &truth, 1, UTILITY_ALL_HEADS) == ST_OK, "%s", ctx.error);
    size_t n = shape_count(net->layer[HEAD_COARSE].in_shape[0]);
    float *whole = malloc(n * sizeof *whole);
    memcpy(whole, net->layer[HEAD_COARSE].head_delta, n * sizeof *whole);
    utility_seed(&ctx, net, &opt, &truth, 1, HEAD_COARSE);
    double other = 0, most = 0;
    for (size_t i = 0; i < shape_count(net->layer[HEAD_FINE].in_shape[0]); ++i) other += fabs((double)net->layer[HEAD_FINE].head_delta[i]);
    for (size_t i = 0; i < n; ++i) most = fmax(most, fabs((double)whole[i]));
    CHECK(!memcmp(whole, net->layer[HEAD_COARSE].head_delta, n * sizeof *whole) && most > 0 && other == 0,
          "one head alone has its part of the whole, the other nothing (%g)", other);
    free(whole), free(x);
    net_close(net);
    backend_close(be);
}

/* --- maps ------------------------------------------------------------------------------------------------------------ */

static void test_maps(const char *kind) {
    struct ctx ctx = { 0 };
    struct backend *be;
    struct net *net = open_bound(&ctx, kind, &be);
    float *x = nets_input(net, 1, 3);
    struct heatmap_site site[4] = { 0 };
    struct heatmap map[4];
    CHECK(heatmap_sites(net, site, 4) == 2, "a site per head");
    CHECK(site[0].head == HEAD_COARSE && site[0].layer == 1, "the coarse head is seen at layer 1, not %d", site[0].layer);
    CHECK(site[1].head == HEAD_FINE && site[1].layer == 0, "the fine head is seen at layer 0, not %d", site[1].layer);
    site[2] = (struct heatmap_site){ HEATMAP_ALL_HEADS, 1 };
    site[3] = (struct heatmap_site){ HEAD_FINE, 5 }; /* passes layer 2 on */
    struct truth small = { { .2f, .25f, .1f, .1f }, 0, -1 };
    struct truth_list truth = { 1, 1, &small };
    CHECK(heatmap_compute(&ctx, net, x, &truth, site, 4, map) == ST_OK, "%s", ctx.error);
    CHECK(map[0].objects == 0 && !(map[0].peak > 0), "a small object is nothing to the coarse head (%d, %g)", map[0].objects, (double)map[0].peak);
    CHECK(map[1].objects == 1 && map[1].peak > 0, "but to the fine one");
    CHECK(map[2].objects == 1 && map[2].peak > 0 && map[2].grid_w == 16 && map[2].w == 64, "all heads see it");
    CHECK(map[3].peak > 0 && map[3].grid_w == 8, "a layer that passes its input on is that input");
    for (int m = 1; m < 4; ++m) {
        double inside = 0, most = 0;
        int at = 0;
        for (int i = 0; i < 64 * 64; ++i) {
            CHECK(map[m].map[i] >= 0, "map %d: %g at %d", m, (double)map[m].map[i], i);
            if (map[m].map[i] > most) most = map[m].map[i], at = i;
            if (i % 64 < 48 && i / 64 < 48) inside += map[m].map[i];
            else CHECK(!(map[m].map[i] > 0), "map %d: %g beyond the receptive field at %d,%d", m, (double)map[m].map[i], i % 64, i / 64);
        }
        CHECK(inside > 0 && fabs(at % 64 - .2 * 64) < 16 && fabs(at / 64 - .25 * 64) < 16, "map %d: the peak is near the object, not at %d,%d", m, at % 64,
              at / 64);
        CHECK_NEAR(most, (double)map[m].peak, 1e-6, "peak");
    }
    for (int m = 0; m < 4; ++m) heatmap_free(&map[m]);
    CHECK(heatmap_check(&ctx, net, (struct heatmap_site){ HEATMAP_ALL_HEADS, 10 }) == ST_USAGE, "there is no layer 10");
    ctx_clear(&ctx);
    CHECK(heatmap_check(&ctx, net, (struct heatmap_site){ HEATMAP_ALL_HEADS, HEAD_FINE }) == ST_USAGE, "a head has no map");
    ctx_clear(&ctx);
    CHECK(heatmap_check(&ctx, net, (struct heatmap_site){ 3, 1 }) == ST_USAGE, "layer 3 is no head");
    free(x);
    net_close(net);
    backend_close(be);
}

/* The sum over the channels of |g a|, enlarged so that a constant stays what it is. */
static void test_values(void) {
    struct ctx ctx = { 0 };
    struct backend *be;
    struct net *net = open_bound(&ctx, "ref", &be);
    float *x = nets_input(net, 1, 3);
    struct heatmap one[2], both;
    struct truth object[2] = { { { .3f, .4f, .5f, .5f }, 1, -1 }, { { .7f, .6f, .1f, .1f }, 0, -1 } };
    struct truth_list all = { 2, 2, object }, first = { 1, 1, object }, second = { 1, 1, object + 1 };
    struct heatmap_site coarse = { HEAD_COARSE, 1 };
    CHECK(heatmap_compute(&ctx, net, x, &first, &coarse, 1, &one[0]) == ST_OK && heatmap_compute(&ctx, net, x, &second, &coarse, 1, &one[1]) == ST_OK &&
              heatmap_compute(&ctx, net, x, &all, &coarse, 1, &both) == ST_OK,
          "%s", ctx.error);
    CHECK(both.objects == 1 && one[1].objects == 0, "one of the two is for the coarse head");
    for (int i = 0; i < 64 * 64; ++i) CHECK_NEAR((double)both.map[i], (double)one[0].map[i], 1e-6, "at %d", i);
    heatmap_free(&one[0]), heatmap_free(&one[1]), heatmap_free(&both);
    free(x);
    net_close(net);
    backend_close(be);
}

/* --- showing --------------------------------------------------------------------------------------------------------- */

static double lightness(struct colour c) { return .2126 * pow(c.r / 255., 2.2) + .7152 * pow(c.g / 255., 2.2) + .0722 * pow(c.b / 255., 2.2); }

static void test_colours(void) {
    for (int i = 1; i <= 64; ++i)
        CHECK(lightness(heatmap_colour(i / 64.)) > lightness(heatmap_colour((i - 1) / 64.)), "lighter at %d of 64", i);
    CHECK(lightness(heatmap_colour(1)) > .8 && lightness(heatmap_colour(0)) < .02, "from dark to light");
    CHECK(heatmap_colour(7).r == heatmap_colour(1).r && heatmap_colour(-7).b == heatmap_colour(0).b, "values outside are held");
}

static void test_blend(void) {
    struct ctx ctx = { 0 };
    struct pixels px, out;
    float map[16] = { 0 };
    struct heatmap m = { .w = 4, .h = 4, .grid_w = 4, .grid_h = 4, .map = map, .peak = 2, .objects = 1 };
    struct net *net = nets_open(&ctx, "two heads", two_heads, 5);
    map[5] = 2; /* column 1, row 1 */
    if (!net || pixels_new(&ctx, 80, 40, 3, &px) != ST_OK) {
        CHECK(false, "%s", ctx.error);
        return;
    }
    memset(px.data, 200, 80 * 40 * 3);
    struct box whole = heatmap_part(net, 80, 40, false), letter = heatmap_part(net, 80, 40, true);
    CHECK_NEAR((double)whole.h, 1, 1e-6, "stretched, the picture fills the input");
    CHECK_NEAR((double)letter.h, .5, 1e-6, "letterboxed, half of it");
    CHECK_NEAR((double)letter.y, .5, 1e-6, "in the middle");
    heatmap_blend(&px, &m, whole, 0);
    const uint8_t *hot = px.data + (15 * 80 + 30) * 3, *cold = px.data + (35 * 80 + 70) * 3;
    CHECK(hot[0] > 230 && hot[2] < hot[0], "the peak has the last colour: %d %d %d", hot[0], hot[1], hot[2]);
    CHECK(cold[0] == 150 && cold[1] == 150 && cold[2] == 150, "nothing: the picture in grey: %d %d %d", cold[0], cold[1], cold[2]);
    struct truth object = { { .5f, .5f, .5f, .5f }, 0, -1 };
    struct truth_list truth = { 1, 1, &object };
    const char *name[] = { "cat" };
    struct heatmap_picture p = { &px, whole, &truth, net, name, 1, "a\nb" };
    m.site = (struct heatmap_site){ HEATMAP_ALL_HEADS, 1 };
    CHECK(heatmap_draw(&ctx, &m, &p, &out) == ST_OK && out.w == 640 && out.h > 320, "enlarged to 640, with a legend: %d x %d", out.w, out.h);
    pixels_free(&out);
    pixels_free(&px);
    net_close(net);
}

/* --- the command ------------------------------------------------------------------------------------------------------- */

static void random_weights(const char *cfg, const char *path) {
    struct ctx ctx = { 0 };
    struct net *net = NULL;
    bool ok = net_open(&ctx, cfg, false, &net) == ST_OK;
    if (ok) net_init_weights(net, 3);
    CHECK(ok && net_save(&ctx, net, path, -1) == ST_OK, "%s", ctx.error);
    net_close(net);
}

static void test_command(void) {
    make_files();
    random_weights("t.cfg", "r.weights");
    run("detector saliency t.data t.cfg r.weights -heatmap maps -heatmap_layers 0");
    CHECK(run_.status == 0 && has(run_.out, "heat maps: 4 pictures of 2 images"), "%s%s", run_.out, run_.err);
    CHECK(io_exists("maps/000_a.yolo2.png") && io_exists("maps/001_b.layer0.png") && io_exists("saliency.json"), "files");
    run("detector saliency t.data t.cfg r.weights -heatmap dogs -heatmap_class dog");
    CHECK(run_.status == 0 && io_exists("dogs/001_b.yolo2.dog.png") && !io_exists("dogs/000_a.yolo2.dog.png") && has(run_.out, "no dog in them"),
          "%s%s", run_.out, run_.err);
    run("detector saliency t.data t.cfg r.weights -heatmap one -heatmap_class 0 -heatmap_images 1");
    CHECK(run_.status == 0 && io_exists("one/000_a.yolo2.cat.png") && !io_exists("one/001_b.yolo2.cat.png"), "%s%s", run_.out, run_.err);
    run("detector saliency t.data t.cfg r.weights -heatmap maps -heatmap_class cta");
    check_refused("a class that is not there", "cta", "did you mean cat");
    run("detector saliency t.data t.cfg r.weights -heatmap maps -heatmap_layers 0,7");
    check_refused("a layer that is not there", "layer 7", "0 to 2");
    run("detector saliency t.data t.cfg r.weights -heatmap maps -heatmap_layers 0x");
    check_refused("no list", "0x", "e.g. 10,20");
    run("detector saliency t.data t.cfg r.weights -heatmap_class cat");
    check_refused("no folder", "-heatmap_class", "-heatmap DIR");
    run("detector saliency t.data t.cfg r.weights -heatmap t.cfg");
    check_refused("a file where the folder should be", "t.cfg", "");
}

int main(void) {
    test_gradient_is_whole();
    test_heads_add_up();
    test_maps("ref");
    test_maps("cpu");
    test_values();
    test_colours();
    test_blend();
    if (cli_start()) {
        test_command();
        cli_end();
    }
    return test_end("heatmap");
}
