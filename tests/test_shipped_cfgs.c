/* The cfg files that come with the program: tables, stored values and FLOPs are the published ones; their .data and .names
 * files fit them. */
#include <dirent.h>
#include <stdlib.h>

#include "base/text.h"
#include "data/dataset.h"
#include "net/net.h"
#include "test.h"

/* Published: as Darknet builds the cfg of that name (layers, values in the .weights file, what its table ends with). */
static const struct { const char *name; int layers; size_t values; const char *bflops; int avg_outputs; } published[] = {
    { "yolov3", 107, 62001757, "65.879", 532444 },       { "yolov3-tiny", 24, 8858734, "5.571", 341534 },
    { "yolov3-spp", 114, 63052381, "141.531", 1083728 }, { "yolov4", 162, 64429405, "128.459", 1068395 },
    { "yolov4-tiny", 38, 6062814, "6.910", 310203 },     { "yolov4-tiny-3l", 45, 6334045, "17.741", 684568 },
    { "yolov4-csp", 175, 52986205, "77.003", 556058 },   { "yolov7", 143, 36974557, "104.580", 1053958 },
    { "yolov7-tiny", 99, 6241885, "5.802", 182380 },     { "enet-coco", 146, 4808270, "3.731", 338156 },
};

struct totals { char bflops[64]; int avg_outputs; };

static void last_lines(void *user, const char *text) {
    struct totals *t = user;
    sscanf(text, "Total BFLOPS %63s", t->bflops);
    sscanf(text, "avg_outputs = %d", &t->avg_outputs);
}

static struct net *shipped(const char *file) {
    char path[512];
    struct ctx ctx = { 0 };
    struct net *net = NULL;
    snprintf(path, sizeof path, "cfg/%s", file);
    CHECK(net_open(&ctx, path, true, &net) == ST_OK, "%s", ctx.error);
    return net;
}

static void check_published(void) {
    for (size_t i = 0; i < sizeof published / sizeof published[0]; ++i) {
        char file[64];
        struct totals t = { "", 0 };
        snprintf(file, sizeof file, "%s.cfg", published[i].name);
        struct net *net = shipped(file);
        if (!net) continue;
        net_describe(net, last_lines, &t);
        CHECK(net->n == published[i].layers, "%s: %d layers, published %d", file, net->n, published[i].layers);
        CHECK(net->n_param == published[i].values, "%s: %zu values, published %zu", file, net->n_param, published[i].values);
        CHECK(!strcmp(t.bflops, published[i].bflops), "%s: %s BFLOPs, published %s", file, t.bflops, published[i].bflops);
        CHECK(t.avg_outputs == published[i].avg_outputs, "%s: %d outputs on average, published %d", file, t.avg_outputs,
              published[i].avg_outputs);
        net_close(net);
    }
}

/* Row by row against the recorded table of the same name, and its heads' keys against the recorded cfg. */
static void check_recorded(const char *root, const char *file) {
    char path[1200], line[256];
    int n = (int)strlen(file) - 4, index, w, h, c, outputs;
    double bflops;
    snprintf(path, sizeof path, "%s/cfg/%.*s.layers", root, n, file);
    FILE *f = fopen(path, "r");
    if (!f) return;
    struct net *net = shipped(file);
    while (net && fgets(line, sizeof line, f)) {
        char type[32];
        if (sscanf(line, "%d %31s %d %d %d %d %lf", &index, type, &w, &h, &c, &outputs, &bflops) != 7) continue;
        CHECK(index < net->n, "%s: layer %d is missing", file, index);
        if (index >= net->n) break;
        const struct layer *l = &net->layer[index];
        struct shape s = l->ops->head ? l->in_shape[0] : l->out;
        CHECK(!strcmp(l->ops->name, type) && s.w == w && s.h == h && s.c == c, "%s layer %d: [%s] %d x %d x %d, recorded [%s] %d x %d x %d",
              file, index, l->ops->name, s.w, s.h, s.c, type, w, h, c);
        CHECK(fabs(l->flops / 1e9 - bflops) < 1e-4 * fmax(1, bflops), "%s layer %d: %.5f BFLOPs, recorded %.5f", file, index, l->flops / 1e9,
              bflops);
    }
    fclose(f);
    net_close(net);
}

static void check_data(const char *file) {
    char path[512];
    struct ctx ctx = { 0 };
    struct data_options data;
    struct text_list names = { 0 };
    snprintf(path, sizeof path, "cfg/%s", file);
    CHECK(data_read(&ctx, path, &data) == ST_OK && data.names && data.train && data.valid, "%s: %s", file, ctx.error);
    CHECK(list_read(&ctx, data.names, &names) == ST_OK && names.n == data.classes, "%s: %d names for %d classes %s", file, names.n,
          data.classes, ctx.error);
    list_free(&names);
    data_free(&data);
}

static int classes_of(const char *file) {
    struct net *net = shipped(file);
    struct head_info info = { 0 };
    int head[8], n = net ? net_heads(net, head, 8) : 0, classes = 0;
    for (int i = 0; i < n; ++i) {
        net->layer[head[i]].ops->head->info(&net->layer[head[i]], &info);
        CHECK(i == 0 || info.classes == classes, "%s: heads of %d and %d classes", file, classes, info.classes);
        classes = info.classes;
    }
    net_close(net);
    return classes;
}

int main(void) {
    const char *root = test_data("recorded tables of the shipped cfg files");
    DIR *dir = opendir("cfg");
    int cfgs = 0;
    CHECK(dir != NULL, "no folder cfg here");
    check_published();
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (text_ends_with(e->d_name, ".data")) check_data(e->d_name);
        if (!text_ends_with(e->d_name, ".cfg")) continue;
        ++cfgs;
        CHECK(classes_of(e->d_name) > 0, "%s: no detection head", e->d_name);
        if (root) check_recorded(root, e->d_name);
    }
    if (dir) closedir(dir);
    CHECK(cfgs >= 13, "only %d cfg files", cfgs);
    CHECK(classes_of("yolov4-tiny-3l-kitti.cfg") == 3 && classes_of("yolov4-tiny-traffic.cfg") == 8, "classes of the variants");
    return test_end("shipped_cfgs");
}
