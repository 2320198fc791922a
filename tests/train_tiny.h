/* A small detector, its images and a watched training run, for the tests of training. */
#ifndef TESTS_TRAIN_TINY_H
#define TESTS_TRAIN_TINY_H

#include <unistd.h>

#include "base/io.h"
#include "base/rng.h"
#include "test.h"
#include "train/trainer.h"
#include "vision/image.h"

static char dir[64];

static char *path_of(char *to, const char *name) {
    snprintf(to, 256, "%s/%s", dir, name);
    return to;
}

enum { IMAGES = 8 };
static char image_path[IMAGES][256];
static char *image_item[IMAGES];
static struct text_list images = { IMAGES, IMAGES, image_item };

/* A bright square on dark noise. */
static void make_images(void) {
    for (int i = 0; i < IMAGES; ++i) {
        struct ctx ctx = { 0 };
        struct rng r = rng_stream(11, (uint64_t)i, 0);
        struct pixels px = { 0 };
        char name[64], label[128], path[256];
        int size = 64, side = rng_int(&r, 18, 26), x = rng_int(&r, 2, size - side - 2),
            y = rng_int(&r, 2, size - side - 2);
        CHECK(pixels_new(&ctx, size, size, 3, &px) == ST_OK, "%s", ctx.error);
        for (int k = 0; k < size * size * 3; ++k) px.data[k] = (uint8_t)(rng_u64(&r) & 63);
        for (int v = y; v < y + side; ++v)
            for (int u = x; u < x + side; ++u) px.data[(v * size + u) * 3 + i % 2] = 250;
        snprintf(name, sizeof name, "train%d.png", i);
        image_item[i] = path_of(image_path[i], name);
        CHECK(pixels_write(&ctx, image_item[i], &px, 90) == ST_OK, "%s", ctx.error);
        pixels_free(&px);
        snprintf(label, sizeof label, "%d %.6f %.6f %.6f %.6f\n", i % 2, (x + side / 2.0) / size,
                 (y + side / 2.0) / size, (double)side / size, (double)side / size);
        snprintf(name, sizeof name, "train%d.txt", i);
        CHECK(io_write(&ctx, path_of(path, name), label, strlen(label)) == ST_OK, "%s", ctx.error);
    }
}

static const char LAYERS[] =
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[dropout]\nprobability=0.1\n"
    "[convolutional]\nbatch_normalize=1\nfilters=24\nsize=3\nstride=2\npad=1\nactivation=leaky%s\n"
    "[convolutional]\nsize=1\nfilters=14\nactivation=linear\n"
    "[yolo]\nmask=0,1\nanchors=18,18,26,26\nclasses=2\nnum=2\njitter=.1\nrandom=%d\n";

static inline struct net *open_net(const char *net_keys, const char *extra, int random) {
    struct ctx ctx = { 0 };
    char text[2048], layers[1500];
    struct cfg_doc *doc;
    struct net *net = NULL;
    snprintf(layers, sizeof layers, LAYERS, extra, random);
    snprintf(text, sizeof text, "[net]\nwidth=64\nheight=64\nchannels=3\n%s\n%s", net_keys, layers);
    CHECK(cfg_parse(&ctx, "tiny.cfg", text, strlen(text), true, &doc) == ST_OK, "%s", ctx.error);
    CHECK(net_open_doc(&ctx, doc, true, &net) == ST_OK, "%s", ctx.error);
    if (!net) exit(test_end("train"));
    net_init_weights(net, 5);
    return net;
}

struct watch {
    int calls, stop_at, maps;
    size_t points;
    volatile int stop;
    double first, last, rate[64], first_map;
    struct train_news news;
};
static inline void watch_news(void *user, const struct train_news *n) {
    struct watch *w = user;
    if (w->calls == 0) w->first = n->loss;
    if (n->iteration == 1) CHECK_NEAR(n->avg_loss, n->loss, 1e-12, "the average begins with the first loss");
    if (w->calls) CHECK_NEAR(n->avg_loss, 0.9 * w->last + 0.1 * n->loss, 1e-12, "then takes a tenth of each");
    if (n->iteration < 64) w->rate[n->iteration] = n->rate;
    w->last = n->avg_loss;
    w->news = *n;
    w->maps += n->new_map;
    w->points = n->history->n;
    CHECK(n->head_lines && strstr(n->head_lines, "class_loss"), "the heads' lines come along: %s",
          n->head_lines);
    if (++w->calls == w->stop_at) w->stop = 1;
}

struct run {
    struct watch watch;
    struct train_options opt;
    struct data_options data;
    struct train_result result;
    struct ctx ctx;
    char log[4096];
};
static inline void keep_log(void *user, enum log_level level, const char *line) {
    struct run *r = user;
    (void)level;
    size_t n = strlen(r->log);
    snprintf(r->log + n, sizeof r->log - n, "%s\n", line);
}

static inline enum status train(struct run *r, const char *kind, struct net *net, const char *backup) {
    char folder[256];
    struct backend *be;
    memset(&r->ctx, 0, sizeof r->ctx);
    memset(&r->watch.news, 0, sizeof r->watch.news);
    r->watch.calls = r->watch.maps = 0;
    r->watch.stop = 0;
    r->log[0] = '\0';
    r->ctx.log = keep_log;
    r->ctx.log_user = r;
    CHECK(backend_open(&r->ctx, kind, &be) == ST_OK, "%s", r->ctx.error);
    r->data.backup = path_of(folder, backup);
    r->opt.base = "tiny";
    r->opt.seed = 21;
    r->opt.news = watch_news;
    r->opt.user = &r->watch;
    r->opt.stop = &r->watch.stop;
    r->opt.loader_threads = 2;
    enum status st = train_run(&r->ctx, be, net, &r->data, &images, &images, &r->opt, &r->result);
    CHECK(net->be == NULL && net->opt.width == 64 && net->opt.height == 64,
          "the net comes back unbound, in its own size");
    CHECK(strcmp(kind, "ref") || be->bytes == 0, "%zu bytes are still allocated on the backend", be->bytes);
    backend_close(be);
    return st;
}

static inline bool there(const char *name) {
    char path[256];
    return io_exists(path_of(path, name));
}

/* Makes the folder and the images in it. */
static void tiny_start(const char *name) {
    snprintf(dir, sizeof dir, "/tmp/test_%s.XXXXXX", name);
    if (!mkdtemp(dir)) exit(1);
    make_images();
}

static int tiny_end(const char *name) {
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    if (system(command) != 0) printf("skip: %s was not removed\n", dir);
    return test_end(name);
}

#endif
