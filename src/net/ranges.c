#include "net/ranges.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "data/json.h"

#define FORMAT "darknet int8 ranges"
enum { VERSION = 1 };

static bool head_reads(const struct net *net, int layer) {
    for (int i = layer + 1; i < net->n; ++i)
        for (int k = 0; k < net->layer[i].n_in; ++k)
            if (net->layer[i].ops->head && net->layer[i].in[k] == layer) return true;
    return false;
}

bool ranges_wanted(const struct net *net, int layer) {
    const struct layer *l = &net->layer[layer];
    return l->ops == layer_find("convolutional") && l->ops->reads(l) && l->in[0] != LAYER_INPUT && !head_reads(net, layer);
}

void ranges_free(struct net *net) {
    for (int i = 0; net->range && i < net->n; ++i) free(net->range[i].low), free(net->range[i].high);
    free(net->range);
    net->range = NULL;
}

enum status ranges_new(struct ctx *ctx, struct net *net) {
    ranges_free(net);
    net->range = mem_zero(ctx, (size_t)net->n, sizeof *net->range);
    for (int i = 0; net->range && i < net->n; ++i) {
        size_t c = (size_t)net->layer[i].in_shape[0].c;
        if (!ranges_wanted(net, i)) continue;
        net->range[i].low = mem_zero(ctx, c, sizeof *net->range[i].low);
        net->range[i].high = mem_zero(ctx, c, sizeof *net->range[i].high);
    }
    return ctx->code;
}

enum status ranges_guess(struct ctx *ctx, struct net *net) {
    TRY(ranges_new(ctx, net));
    for (int i = 0; i < net->n; ++i)
        for (int c = 0; net->range[i].low && c < net->layer[i].in_shape[0].c; ++c) net->range[i].low[c] = -1, net->range[i].high[c] = 1;
    return ST_OK;
}

/* --- The file --------------------------------------------------------------------------------------------------------- */

enum status ranges_path(struct ctx *ctx, const char *weights, char **path) {
    size_t n = strlen(weights), end = n, size;
    if (text_ends_with(weights, ".weights")) end -= strlen(".weights");
    size = end + sizeof ".int8.json";
    *path = mem_zero(ctx, size, 1);
    if (*path) snprintf(*path, size, "%.*s.int8.json", (int)end, weights);
    return ctx->code;
}

static void write_values(FILE *f, const char *name, const float *v, int n) {
    fprintf(f, ", \"%s\": [", name);
    for (int i = 0; i < n; ++i) fprintf(f, "%s%.9g", i ? ", " : "", (double)v[i]);
    fputc(']', f);
}

enum status ranges_save(struct ctx *ctx, const struct net *net, const char *path, const char *cfg, const char *weights, int images) {
    struct io_out out;
    char of_cfg[65], of_weights[65];
    const char *comma = "";
    TRY(io_sha256(ctx, cfg, of_cfg));
    TRY(io_sha256(ctx, weights, of_weights));
    TRY(io_create(ctx, path, &out));
    fprintf(out.file, "{\"format\": \"%s\", \"version\": %d,\n \"cfg_sha256\": \"%s\",\n \"weights_sha256\": \"%s\",\n \"images\": %d,\n \"layers\": [",
            FORMAT, VERSION, of_cfg, of_weights, images);
    for (int i = 0; i < net->n; ++i) {
        if (!net->range[i].low) continue;
        fprintf(out.file, "%s\n  {\"layer\": %d", comma, i);
        write_values(out.file, "low", net->range[i].low, net->layer[i].in_shape[0].c);
        write_values(out.file, "high", net->range[i].high, net->layer[i].in_shape[0].c);
        fputc('}', out.file);
        comma = ",";
    }
    fputs("\n ]}\n", out.file);
    return io_commit(ctx, &out);
}

static enum status check_hash(struct ctx *ctx, const char *path, const cJSON *root, const char *key, const char *file) {
    const char *wanted = json_text(root, key);
    char found[65];
    TRY(io_sha256(ctx, file, found));
    if (wanted && strcmp(wanted, found) == 0) return ST_OK;
    return ctx_fail(ctx, ST_FORMAT, "%s: was made for another %s than %s (its %s differs): -calibrate LIST makes it anew", path,
                    strcmp(key, "cfg_sha256") ? "weights file" : "cfg", file, key);
}

static enum status read_values(struct ctx *ctx, const char *path, const cJSON *layer, const char *key, int index, int n, float *v) {
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(layer, key), *item = list ? list->child : NULL;
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != n)
        return ctx_fail(ctx, ST_FORMAT, "%s: layer %d: \"%s\" must be a list of %d numbers, one per input channel", path, index, key, n);
    for (int i = 0; i < n; ++i, item = item->next) {
        if (!cJSON_IsNumber(item) || !isfinite((float)item->valuedouble))
            return ctx_fail(ctx, ST_FORMAT, "%s: layer %d: \"%s\": value %d is no number", path, index, key, i);
        v[i] = (float)item->valuedouble;
    }
    return ST_OK;
}

static enum status read_layer(struct ctx *ctx, struct net *net, const char *path, const cJSON *layer) {
    long long index = -1;
    if (!json_whole(layer, "layer", &index) || index < 0 || index >= net->n || !net->range[index].low)
        return ctx_fail(ctx, ST_FORMAT, "%s: \"layer\": %lld is no convolution of %s that can be computed in 8 bits", path, index, net->doc->path);
    int n = net->layer[index].in_shape[0].c;
    TRY(read_values(ctx, path, layer, "low", (int)index, n, net->range[index].low));
    TRY(read_values(ctx, path, layer, "high", (int)index, n, net->range[index].high));
    for (int i = 0; i < n; ++i)
        if (net->range[index].low[i] > net->range[index].high[i])
            return ctx_fail(ctx, ST_FORMAT, "%s: layer %lld: channel %d has a low of %g above its high of %g", path, index, i,
                            (double)net->range[index].low[i], (double)net->range[index].high[i]);
    return ST_OK;
}

static enum status read_all(struct ctx *ctx, struct net *net, const char *path, const cJSON *root, const char *cfg, const char *weights) {
    const char *format = json_text(root, "format");
    const cJSON *layers = cJSON_GetObjectItemCaseSensitive(root, "layers");
    bool *seen = NULL;
    enum status st = ST_OK;
    if (!format || strcmp(format, FORMAT) || json_number(root, "version", 0) != VERSION || !cJSON_IsArray(layers))
        return ctx_fail(ctx, ST_FORMAT, "%s: is no file of \"format\": \"%s\", \"version\": %d", path, FORMAT, VERSION);
    TRY(check_hash(ctx, path, root, "cfg_sha256", cfg));
    TRY(check_hash(ctx, path, root, "weights_sha256", weights));
    TRY(ranges_new(ctx, net));
    seen = mem_zero(ctx, (size_t)net->n, sizeof *seen);
    if (!seen) return ST_MEMORY;
    for (const cJSON *l = layers->child; l && st == ST_OK; l = l->next) {
        st = read_layer(ctx, net, path, l);
        if (st == ST_OK) seen[(int)json_number(l, "layer", 0)] = true;
    }
    for (int i = 0; i < net->n && st == ST_OK; ++i) {
        if (seen[i]) continue;
        free(net->range[i].low), free(net->range[i].high);
        net->range[i] = (struct conv_range){ NULL, NULL };
    }
    free(seen);
    return st;
}

enum status ranges_load(struct ctx *ctx, struct net *net, const char *path, const char *cfg, const char *weights, int *images) {
    cJSON *root;
    TRY(json_read(ctx, path, &root));
    enum status st = read_all(ctx, net, path, root, cfg, weights);
    if (images) *images = (int)json_number(root, "images", 0);
    cJSON_Delete(root);
    if (st != ST_OK) ranges_free(net);
    return st;
}
