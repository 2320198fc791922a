/* A device without enough memory says in one line which layer wanted how much, what there is, and what would fit; and that does fit. */
#include "net/internal.h"
#include "prune_nets.h"
#include "test.h"

static const char LAYERS_OF[] =
    "[convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
    "[convolutional]\nbatch_normalize=1\nfilters=32\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[convolutional]\nsize=1\nfilters=14\nactivation=linear\n"
    "[yolo]\nmask=0,1\nanchors=18,18,26,26\nclasses=2\nnum=2\n";

static struct net *open_at(const char *keys) {
    static char text[2048];
    struct ctx ctx = { 0 };
    snprintf(text, sizeof text, "[net]\nchannels=3\nmax_batches=2\n%s\n%s", keys, LAYERS_OF);
    return nets_open(&ctx, "memory", text, 3);
}

/* Binds for training with so many MB; the line that it fails with, or "". */
static void bind_with(struct net *net, double megabytes, int batch, enum net_mode mode, char line[1024]) {
    struct ctx ctx = { 0 };
    struct backend *be;
    char kind[64];
    snprintf(kind, sizeof kind, "cuda-emulated@%.3f", megabytes);
    CHECK(backend_open(&ctx, kind, &be) == ST_OK, "%s", ctx.error); /* takes 2 MB itself */
    if (!be) return;
    enum status st = net_bind(&ctx, net, be, mode, batch);
    CHECK(st == ST_OK || st == ST_MEMORY, "status %d: %s", st, ctx.error);
    CHECK((st == ST_OK) == (net->be != NULL), "bound or not");
    snprintf(line, 1024, "%s", ctx.error);
    net_unbind(net);
    backend_close(be);
}

static void check_training(void) {
    struct net *net = open_at("width=96\nheight=64\nbatch=16\nsubdivisions=1\n");
    char line[1024];
    int b, s, each, tried = 0, bound = 0;
    bind_with(net, 1000, 16, NET_TRAIN, line);
    CHECK(!*line, "there is enough: %s", line);
    for (double mb = 3; mb < 20; mb *= 1.4, ++tried) {
        bind_with(net, mb, 16, NET_TRAIN, line);
        if (!*line) continue;
        CHECK(strstr(line, "MB asked for") && strstr(line, " MB free of ") && strstr(line, "layer ") && strstr(line, "[convolutional]") && !strchr(line, '\n'), "%g MB: '%s'", mb, line);
        const char *fits = strstr(line, "batch=");
        if (!fits) continue;
        CHECK(sscanf(fits, "batch=%d subdivisions=%d, %d at a time", &b, &s, &each) == 3 && b == 16 && b % s == 0 && b / s == each && each < 16, "%s", line);
        for (int most = 16; *line && each < most;) { /* what a layer takes for itself comes to light when the rest is there */
            most = each;
            bind_with(net, mb, each, NET_TRAIN, line);
            fits = strstr(line, "batch=");
            if (fits) sscanf(fits, "batch=%*d subdivisions=%*d, %d at a time", &each);
            CHECK(!*line || strstr(line, "width=") || each < most, "%g MB: %d images, then %s", mb, most, line);
        }
        bound += !*line;
    }
    CHECK(tried > 3 && bound > 1, "%d sizes, %d of them bound", tried, bound);
    net_close(net);
}

/* Not even one image: another size. */
static void check_size(void) {
    struct net *net = open_at("width=256\nheight=256\nbatch=4\nsubdivisions=4\n");
    char line[1024];
    int w = 0, h = 0;
    bind_with(net, 8, 1, NET_TRAIN, line);
    const char *fits = strstr(line, "width=");
    CHECK(fits && sscanf(fits, "width=%d height=%d, one image", &w, &h) == 2 && w % 32 == 0 && w < 256 && w == h, "%s", line);
    net_close(net);
    if (!fits) return;
    char keys[128];
    snprintf(keys, sizeof keys, "width=%d\nheight=%d\nbatch=4\nsubdivisions=4\n", w, h);
    net = open_at(keys);
    bind_with(net, 8, 1, NET_TRAIN, line);
    CHECK(!*line, "said to fit %d x %d, but: %s", w, h, line);
    net_close(net);
}

/* Inference counts images at a time, and parameters that are too many are named. */
static void check_others(void) {
    struct net *net = open_at("width=256\nheight=256\nbatch=1\nsubdivisions=1\n");
    char line[1024];
    int images = 0;
    bind_with(net, 30, 32, NET_INFER, line);
    const char *fits = strstr(line, "; ");
    CHECK(fits && sscanf(fits, "; %d images at a time would fit", &images) == 1 && images >= 1 && images < 32, "%s", line);
    bind_with(net, 2.2, 1, NET_TRAIN, line);
    CHECK(strstr(line, "out of memory"), "%s", line);
    net_close(net);
}

int main(void) {
    check_training();
    check_size();
    check_others();
    return test_end("gpu_memory");
}
