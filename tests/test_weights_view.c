/* Networks that only run look at their weights in the file. */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/backend.h"
#include "base/io.h"
#include "net/net.h"
#include "test.h"

static const char cfg[] = "[net]\nwidth=32\nheight=32\nchannels=3\nbatch=1\n\n"
                          "[convolutional]\nbatch_normalize=1\nfilters=128\nsize=3\nstride=1\npad=1\nactivation=leaky\n\n"
                          "[convolutional]\nbatch_normalize=1\nfilters=136\nsize=3\nstride=2\npad=1\nactivation=mish\n%s\n"
                          "[convolutional]\nfilters=18\nsize=1\nstride=1\npad=1\nactivation=linear\n\n"
                          "[yolo]\nmask=0,1,2\nanchors=1,2,3,4,5,6\nclasses=1\nnum=3\n";

static char folder[] = "/tmp/test_weights_view.XXXXXX";
static char cfg_path[64], odd_path[64], path[64];

static void write_text(const char *to, const char *more) {
    struct ctx ctx = { 0 };
    char text[2048];
    int n = snprintf(text, sizeof text, cfg, more);
    CHECK(io_write(&ctx, to, text, (size_t)n) == ST_OK, "%s", ctx.error);
}

static struct net *open_cfg(struct ctx *ctx, const char *from) {
    struct net *net = NULL;
    CHECK(net_open(ctx, from, true, &net) == ST_OK, "%s", ctx->error);
    return net;
}

/* A network with fresh weights, saved. */
static void save_weights(uint64_t seed) {
    struct ctx ctx = { 0 };
    struct net *net = open_cfg(&ctx, cfg_path);
    net_init_weights(net, seed);
    CHECK(net_save(&ctx, net, path, -1) == ST_OK, "%s", ctx.error);
    net_close(net);
}

/* The outputs of one pass; caller frees. */
static float *outputs(struct ctx *ctx, struct net *net, struct backend *be, size_t *n) {
    int size = net->opt.width;
    float *x = malloc((size_t)(3 * size * size) * sizeof *x), *y;
    for (int i = 0; i < 3 * size * size; ++i) x[i] = (float)(i * 37 % 101) / 101;
    CHECK(net_forward(ctx, net, x) == ST_OK, "%s", ctx->error);
    free(x);
    const struct tensor *t = &net->y[2];
    *n = (size_t)t->c * (size_t)t->h * (size_t)t->w;
    y = malloc(*n * sizeof *y);
    be->ops->get(be, t->data, *n, y);
    return y;
}

static void same_as_loaded(const char *device) {
    struct ctx ctx = { 0 };
    struct backend *be = NULL;
    CHECK(backend_open(&ctx, device, &be) == ST_OK, "%s", ctx.error);
    float *y[2][3];
    size_t n[2][3];
    for (int view = 0; view < 2; ++view) {
        struct net *net = open_cfg(&ctx, cfg_path);
        int layers = 0;
        enum status st = view ? net_load_to_run(&ctx, net, path, 7, &layers) : net_load(&ctx, net, path, LOAD_WHOLE, &layers);
        CHECK(st == ST_OK, "%s", ctx.error);
        CHECK(layers == 4 && !net->view == !view, "%s: %d layers, view %d", device, layers, net->view != NULL);
        CHECK(net_bind(&ctx, net, be, NET_INFER, 1) == ST_OK, "%s", ctx.error);
        y[view][0] = outputs(&ctx, net, be, &n[view][0]);
        CHECK(net_resize(&ctx, net, 64, 64) == ST_OK, "%s", ctx.error);
        y[view][1] = outputs(&ctx, net, be, &n[view][1]);
        CHECK(net_resize(&ctx, net, 32, 32) == ST_OK, "%s", ctx.error);
        y[view][2] = outputs(&ctx, net, be, &n[view][2]);
        net_close(net);
    }
    for (int k = 0; k < 3; ++k) {
        CHECK(n[0][k] == n[1][k] && memcmp(y[0][k], y[1][k], n[0][k] * sizeof(float)) == 0, "%s: outputs of run %d differ", device, k);
        free(y[0][k]), free(y[1][k]);
    }
    backend_close(be);
}

static void twins_and_files_are_copies(void) {
    struct ctx ctx = { 0 };
    struct net *net = open_cfg(&ctx, cfg_path), *twin = NULL;
    char again[80], *bytes[2];
    size_t size[2];
    snprintf(again, sizeof again, "%s/again.weights", folder);
    CHECK(net_load_to_run(&ctx, net, path, 7, NULL) == ST_OK && net->view, "%s", ctx.error);
    CHECK(net_open_twin(&ctx, net, &twin) == ST_OK && !twin->view, "%s", ctx.error);
    CHECK(memcmp(twin->param, net->param, net->n_param * sizeof *net->param) == 0, "a twin's parameters differ");
    CHECK(net_save(&ctx, net, again, -1) == ST_OK, "%s", ctx.error);
    CHECK(io_read(&ctx, path, &bytes[0], &size[0]) == ST_OK && io_read(&ctx, again, &bytes[1], &size[1]) == ST_OK, "%s", ctx.error);
    CHECK(size[0] == size[1] && memcmp(bytes[0], bytes[1], size[0]) == 0, "what was saved differs from what was looked at");
    free(bytes[0]), free(bytes[1]);
    /* a view gives way to values in memory */
    CHECK(net_load(&ctx, net, path, LOAD_WHOLE, NULL) == ST_OK && !net->view, "%s", ctx.error);
    net->param[0] = 1;
    net_close(net);
    net_close(twin);
}

static void other_layouts_are_loaded(void) {
    struct ctx ctx = { 0 };
    struct net *net = open_cfg(&ctx, odd_path), *whole = open_cfg(&ctx, cfg_path);
    CHECK(net_load(&ctx, whole, path, LOAD_WHOLE, NULL) == ST_OK, "%s", ctx.error);
    /* a layer with dontload keeps fresh values, so the file is too long for this cfg: refused, as by net_load */
    CHECK(net_load_to_run(&ctx, net, path, 7, NULL) != ST_OK && strstr(ctx.error, "belongs to another cfg"), "%s", ctx.error);
    CHECK(!net->view, "a view of a file that does not fit");
    net_close(net);
    net_close(whole);
}

/* What can be read once only is loaded. */
static void pipes_are_loaded(void) {
    struct ctx ctx = { 0 };
    char *bytes, name[32];
    size_t size;
    int ends[2];
    CHECK(io_read(&ctx, path, &bytes, &size) == ST_OK && pipe(ends) == 0, "%s", ctx.error);
    pid_t child = fork();
    if (child == 0) {
        for (size_t at = 0; at < size;) {
            ssize_t n = write(ends[1], bytes + at, size - at);
            if (n <= 0) break;
            at += (size_t)n;
        }
        _exit(0);
    }
    close(ends[1]);
    snprintf(name, sizeof name, "/dev/fd/%d", ends[0]);
    struct net *net = open_cfg(&ctx, cfg_path);
    CHECK(net_load_to_run(&ctx, net, name, 7, NULL) == ST_OK && !net->view, "%s", ctx.error);
    CHECK(memcmp(net->param, bytes + size - 4 * net->n_param, 4 * net->n_param) == 0, "other values through a pipe");
    net_close(net);
    close(ends[0]);
    waitpid(child, NULL, 0);
    free(bytes);
}

static void damage_is_told(void) {
    struct ctx ctx = { 0 };
    char *bytes;
    size_t size;
    CHECK(io_read(&ctx, path, &bytes, &size) == ST_OK, "%s", ctx.error);
    memcpy(bytes + size - 8, "\0\0\300\177", 4); /* NaN */
    char bad[80];
    snprintf(bad, sizeof bad, "%s/bad.weights", folder);
    CHECK(io_write(&ctx, bad, bytes, size) == ST_OK, "%s", ctx.error);
    struct net *net = open_cfg(&ctx, cfg_path);
    CHECK(net_load_to_run(&ctx, net, bad, 7, NULL) != ST_OK && strstr(ctx.error, "bad.weights: layer 2 [convolutional] has impossible weights"),
          "%s", ctx.error);
    ctx_clear(&ctx);
    CHECK(io_write(&ctx, bad, bytes, size - 4) == ST_OK, "%s", ctx.error);
    CHECK(net_load_to_run(&ctx, net, bad, 7, NULL) != ST_OK && strstr(ctx.error, "bad.weights: ends inside layer 2"), "%s", ctx.error);
    net_close(net);
    free(bytes);
}

/* Somebody writes into the file, rather than putting another in its place. */
static void changes_are_noticed(void) {
    struct ctx ctx = { 0 };
    struct backend *be = NULL;
    CHECK(backend_open(&ctx, "cpu", &be) == ST_OK, "%s", ctx.error);
    struct net *net = open_cfg(&ctx, cfg_path);
    CHECK(net_load_to_run(&ctx, net, path, 7, NULL) == ST_OK, "%s", ctx.error);
    save_weights(5); /* a new file under the old name: the view keeps the old one */
    CHECK(net_bind(&ctx, net, be, NET_INFER, 1) == ST_OK, "%s", ctx.error);
    net_close(net);
    net = open_cfg(&ctx, cfg_path);
    CHECK(net_load_to_run(&ctx, net, path, 7, NULL) == ST_OK, "%s", ctx.error);
    FILE *file = fopen(path, "ab");
    fputc(0, file);
    fclose(file);
    CHECK(net_bind(&ctx, net, be, NET_INFER, 1) != ST_OK && strstr(ctx.error, "was changed while"), "%s", ctx.error);
    ctx_clear(&ctx);
    net_close(net);
    /* one that is bound runs on, whatever becomes of the file */
    save_weights(3);
    net = open_cfg(&ctx, cfg_path);
    CHECK(net_load_to_run(&ctx, net, path, 7, NULL) == ST_OK && net_bind(&ctx, net, be, NET_INFER, 1) == ST_OK, "%s", ctx.error);
    size_t n[2];
    float *y[2];
    y[0] = outputs(&ctx, net, be, &n[0]);
    CHECK(truncate(path, 0) == 0, "cannot empty %s", path);
    y[1] = outputs(&ctx, net, be, &n[1]);
    CHECK(memcmp(y[0], y[1], n[0] * sizeof *y[0]) == 0, "other outputs when the file is empty");
    free(y[0]), free(y[1]);
    CHECK(net_resize(&ctx, net, 64, 64) != ST_OK && strstr(ctx.error, "was changed while"), "%s", ctx.error);
    net_close(net);
    backend_close(be);
}

int main(void) {
    CHECK(mkdtemp(folder) != NULL, "no temporary folder");
    snprintf(cfg_path, sizeof cfg_path, "%s/net.cfg", folder);
    snprintf(odd_path, sizeof odd_path, "%s/odd.cfg", folder);
    snprintf(path, sizeof path, "%s/net.weights", folder);
    write_text(cfg_path, "");
    write_text(odd_path, "dontload=1\n");
    save_weights(3);
    same_as_loaded("cpu");
    same_as_loaded("ref");
    same_as_loaded("cuda-emulated");
    twins_and_files_are_copies();
    other_layouts_are_loaded();
    pipes_are_loaded();
    damage_is_told();
    changes_are_noticed();
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    CHECK(system(command) == 0, "cannot remove %s", folder);
    return test_end("weights_view");
}
