/* Upstream's layer tables as golden values: every recorded cfg that this version can build. */
#include <dirent.h>
#include <unistd.h>

#include "base/text.h"
#include "net/net.h"
#include "test.h"

struct row { int index, w, h, c, outputs; char type[32]; double bflops; };

static void compare_row(const char *name, const struct net *net, const struct row *r) {
    CHECK(r->index < net->n, "%s: layer %d is missing", name, r->index);
    if (r->index >= net->n) return;
    const struct layer *l = &net->layer[r->index];
    struct shape s = l->out.c ? l->out : l->in_shape[0];
    bool recorded = l->out.c && r->c; /* upstream gives heads and [softmax] no shape */
    if (recorded) CHECK(s.w == r->w && s.h == r->h && s.c == r->c, "%s layer %d: %d x %d x %d, recorded %d x %d x %d", name, r->index,
                             s.w, s.h, s.c, r->w, r->h, r->c);
    CHECK(s.w * s.h * s.c == r->outputs, "%s layer %d: %d outputs, recorded %d", name, r->index, s.w * s.h * s.c, r->outputs);
    CHECK(fabs(l->flops / 1e9 - r->bflops) < 1e-4 * fmax(1, r->bflops), "%s layer %d: %.5f BFLOPs, recorded %.5f", name, r->index,
          l->flops / 1e9, r->bflops);
}

static void one_cfg(const char *folder, const char *name) {
    char path[2048], line[256];
    snprintf(path, sizeof path, "%s/%s.cfg", folder, name);
    struct ctx ctx = { 0 };
    struct net *net;
    if (net_open(&ctx, path, false, &net) != ST_OK) {
        bool later = strstr(ctx.error, "unknown layer type") || strstr(ctx.error, "not supported");
        snprintf(path, sizeof path, "%s/%s.layers", folder, name);
        later = later || access(path, R_OK) != 0; /* upstream cannot build it either */
        if (later) SKIP("%s", ctx.error);
        else CHECK(false, "%s", ctx.error);
        return;
    }
    snprintf(path, sizeof path, "%s/%s.layers", folder, name);
    FILE *f = fopen(path, "r");
    if (!f) SKIP("%s: upstream has no table for it", name);
    int rows = 0;
    while (f && fgets(line, sizeof line, f)) {
        struct row r;
        if (sscanf(line, "%d %31s %d %d %d %d %lf", &r.index, r.type, &r.w, &r.h, &r.c, &r.outputs, &r.bflops) != 7) continue;
        compare_row(name, net, &r);
        ++rows;
    }
    if (f) {
        CHECK(rows == net->n, "%s: %d layers, recorded %d", name, net->n, rows);
        fclose(f);
    }
    net_close(net);
}

int main(void) {
    const char *root = test_data("layer tables");
    char folder[1000];
    if (!root) return test_end("layers_table");
    snprintf(folder, sizeof folder, "%s/cfg", root);
    DIR *dir = opendir(folder);
    if (!dir) SKIP("no cfg/ under %s", root);
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (text_ends_with(e->d_name, ".cfg")) {
            char name[256];
            snprintf(name, sizeof name, "%.*s", (int)strlen(e->d_name) - 4, e->d_name);
            one_cfg(folder, name);
        }
    if (dir) closedir(dir);
    return test_end("layers_table");
}
