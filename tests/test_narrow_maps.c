/* Networks with maps of 16 bits: which maps those are, what comes out, what the plan's memory is, numbers beyond the range, cut against
 * masked networks.  (Operations: test_backend*; every layer type: test_every_layer; recorded detections:
 * test_golden_detect.) */
#include "net_harness.h"

static const struct { const char *kind; double tol; } forms[] = { { "cuda-emulated:fp16", 1e-2 }, { "cuda-emulated:bf16", 8e-2 },
                                                                  { "cuda:0:fp16", 1e-2 }, { "cuda:0:bf16", 8e-2 } };
static int n_forms = 2; /* 4 with a GPU */

/* Random networks over every layer type.  On their small maps one other choice of a maximum is a good part of the gradient. */
static void check_random(int seeds) {
    static struct nets_gen gen;
    int narrow = 0;
    for (int seed = 1; seed <= seeds; ++seed)
        for (int f = 0; f < n_forms; ++f) {
            char name[64];
            nets_write(&gen, (uint64_t)seed, NETS_GROUPED);
            snprintf(name, sizeof name, "network %d", seed);
            narrow += check_narrow_net(forms[f].kind, name, gen.text, NET_INFER, forms[f].tol, 0);
            narrow += check_narrow_net(forms[f].kind, name, gen.text, NET_TRAIN, 2 * forms[f].tol, .3);
        }
    CHECK(narrow > 6 * seeds * n_forms / 2, "%d narrow maps", narrow);
}

/* A letter per map, the input's first: n narrow, f floats. */
static void check_types(const char *kind, const char *name, const char *text, enum net_mode mode, const char *want) {
    struct rig r;
    char got[64] = "";
    if (!rig_open(&r, name, text, kind, mode, NULL)) return;
    for (int i = -1; i < r.net->n && i < 62; ++i) got[i + 1] = (i < 0 ? r.net->input.type : r.net->y[i].type) == ELEMENT_REAL ? 'f' : 'n';
    CHECK(!strcmp(got, want), "%s: maps %s, not %s", name, got, want);
    rig_close(&r);
}

#define YOLO "[yolo]\nmask=0,1\nnum=2\nclasses=2\nanchors=4,4, 8,8\n"
static const char heads[] = NET CONV(8, 3, 1, "leaky") CONV(9, 3, 1, "mish") PLAIN(14, 1, 1, "linear") YOLO "[route]\nlayers=-3\n" CONV(5, 1, 1, "leaky")
    "[route]\nlayers=-1,2\n" CONV(7, 3, 1, "leaky") PLAIN(14, 1, 1, "linear") YOLO;

static const char residual[] = NET CONV(8, 3, 1, "leaky") CONV(8, 3, 1, "mish") "[shortcut]\nfrom=-2\nactivation=linear\n" "[empty]\n"
    CONV(8, 1, 1, "leaky") CONV(8, 3, 1, "linear") "[shortcut]\nfrom=-3\nactivation=linear\n";

static void check_planning(void) {
    for (int f = 0; f < n_forms; ++f) {
        const char *kind = forms[f].kind;
        check_types(kind, "chain", NET CONV(8, 3, 1, "leaky") CONV(9, 3, 1, "mish") PLAIN(4, 1, 1, "linear"), NET_INFER, "nnnf");
        /* What a head reads is floats, also where others read it; a head has no map of its own. */
        check_types(kind, "heads", heads, NET_INFER, "nnnffnnnnff");
        check_types(kind, "signs", NET CONV(8, 3, 1, "leaky") "[convolutional]\nxnor=1\nfilters=6\nsize=3\npad=1\nactivation=leaky\n" CONV(4, 3, 1, "leaky") PLAIN(4, 1, 1, "linear"),
                    NET_INFER, "nffnf");
        check_types(kind, "residual", residual, NET_INFER, "nnnnnnff"); /* the last sum is made by the convolution before it */
        check_types(kind, "trained", heads, NET_TRAIN, "nnnffnnnnff");
        check_types(kind, "excited", NET CONV(8, 3, 1, "leaky") "[convolutional]\nassisted_excitation=1\nfilters=6\nsize=3\npad=1\nactivation=leaky\n" CONV(4, 3, 1, "leaky") PLAIN(4, 1, 1, "linear"),
                    NET_TRAIN, "nffnf");
        check_types(kind, "scored", heads, NET_SCORE, "fffffffffff");
        check_narrow_net(kind, "heads", heads, NET_INFER, forms[f].tol, 0);
        check_narrow_net(kind, "residual", residual, NET_INFER, forms[f].tol, 0);
    }
    check_types("cuda-emulated:tf32", "heads in tf32", heads, NET_INFER, "fffffffffff");
}

/* --- Memory ------------------------------------------------------------------------------------------------------------ */

/* The largest maps come early, so floats at the end take no part in the peak. */
#define PYRAMID CONV(17, 3, 1, "leaky") CONV(15, 3, 1, "leaky") CONV(16, 3, 2, "leaky") "[maxpool]\nsize=2\nstride=2\n" PLAIN(4, 1, 1, "linear")

static void check_halves(enum net_mode mode, double least) {
    static const char *const kinds[] = { "cuda-emulated:tf32", "cuda-emulated:fp16", "cuda-emulated:bf16" };
    size_t arena[3];
    double bytes[3];
    for (int i = 0; i < 3; ++i) {
        struct rig r;
        if (!rig_open(&r, "pyramid", "[net]\nwidth=32\nheight=32\nchannels=3\n" PYRAMID, kinds[i], mode, NULL)) return;
        arena[i] = r.net->buffers->arena_size;
        bytes[i] = net_layer_bytes(r.net, 1);
        rig_close(&r);
    }
    CHECK(bytes[0] == 2 * bytes[1] && bytes[1] == bytes[2] && bytes[2] == 2 * (32 * 32 * (17 + 15) * 2 + 17 * 15 * 9 + 4 * 15), "a layer moves %g, %g and %g bytes",
          bytes[0], bytes[1], bytes[2]);
    double times = (double)arena[0] / (double)arena[1];
    CHECK(times >= least && times <= 2 && arena[1] == arena[2], "mode %d: plans of %zu, %zu and %zu", mode, arena[0], arena[1], arena[2]);
}

/* How many images at a time are said to fit; -1: all of them did. */
static int images_that_fit(const char *kind, int batch) {
    struct ctx ctx = { 0 };
    struct backend *be = NULL;
    struct net *net = nets_open(&ctx, "memory", "[net]\nwidth=256\nheight=256\nchannels=3\n" PYRAMID, 3);
    int images = -1;
    CHECK(net && backend_open(&ctx, kind, &be) == ST_OK, "%s: %s", kind, ctx.error);
    enum status st = net_bind(&ctx, net, be, NET_INFER, batch);
    const char *fits = strstr(ctx.error, "; ");
    CHECK(st == ST_OK || (st == ST_MEMORY && fits && sscanf(fits, "; %d images at a time would fit", &images) == 1), "%s: %s", kind, ctx.error);
    net_close(net);
    backend_close(be);
    return images;
}

static void check_short(void) {
    int wide = images_that_fit("cuda-emulated@60", 64), narrow = images_that_fit("cuda-emulated@60:fp16", 64);
    CHECK(wide > 1 && narrow >= 1.6 * wide, "%d images of floats, %d of halves", wide, narrow);
    CHECK(images_that_fit("cuda-emulated@60:fp16", wide + 1) == -1, "what does not fit as floats does as halves");
}

/* --- Numbers ----------------------------------------------------------------------------------------------------------- */

/* 1e6 is infinite in fp16, and stays so; the range of bf16 is that of floats.  Floats that a head reads hold it in any case. */
static void check_beyond(void) {
    static const char text[] = "[net]\nwidth=4\nheight=4\nchannels=1\n" PLAIN(1, 1, 1, "linear") PLAIN(1, 1, 1, "linear");
    static const double want[2][2] = { { INFINITY, 1e5 }, { 1e6, 1e5 } };
    for (int f = 0; f < n_forms; ++f)
        for (int last = 0; last < 2; ++last) {
            struct rig r;
            float y[64];
            if (!rig_open(&r, "beyond", text, forms[f].kind, NET_INFER, NULL)) return;
            for (int i = 0; i < 2; ++i) {
                const struct layer *l = &r.net->layer[i];
                r.net->param[l->param[0].offset] = 0;
                r.net->param[l->param[1].offset] = last ? (i ? 1e4f : 10) : (i ? 1 : 1e6f);
            }
            for (int i = 0; i < 16 * r.net->batch; ++i) r.x[i] = 1;
            CHECK(net_push(&r.ctx, r.net) == ST_OK && net_forward(&r.ctx, r.net, r.x) == ST_OK, "%s", r.ctx.error);
            net_output(r.net, 1, y);
            double got = (double)y[5];
            CHECK(got == want[f % 2][last] || fabs(got / want[f % 2][last] - 1) < 1e-2, "%s: %g, not %g", forms[f].kind, got, want[f % 2][last]);
            rig_close(&r);
        }
}

int main(void) {
    char why[256];
    if (backend_gpus(why, sizeof why) > 0) n_forms = 4;
    check_random(12);
    check_planning();
    check_halves(NET_INFER, 2);
    check_halves(NET_TRAIN, 1.95); /* the end stays as it is */
    check_short();
    check_beyond();
    /* as closely as factors of 16 bits permit, whatever maps are made of */
    for (int f = 0; f < n_forms; ++f) check_cuts(forms[f].kind, f % 2 ? 1.5e-2 : 2e-3, 8);
    return test_end("narrow_maps");
}
