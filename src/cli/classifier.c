#include "cli/classifier.h"

#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "cli/console.h"
#include "cli/device.h"
#include "cli/precision.h"

static enum status check_count(struct ctx *ctx, const char *what, int n, const struct classifier *c) {
    if (n == c->outputs) return ST_OK;
    return ctx_fail(ctx, ST_FORMAT, "%s: %d classes, but the network %s has %d outputs", what, n, c->net->doc->path, c->outputs);
}

static enum status open_lists(struct classifier *c, int want) {
    struct ctx *ctx = &c->ctx;
    const char *labels = c->data.labels ? c->data.labels : "data/labels.list", *names = c->data.names ? c->data.names : labels;
    if (c->data.classes) TRY(check_count(ctx, c->data.path, c->data.classes, c));
    if (want & CLASSIFIER_NAMES) {
        TRY(list_read(ctx, names, &c->names));
        TRY(check_count(ctx, names, c->names.n, c));
    }
    if (want & CLASSIFIER_LABELS) {
        TRY(list_read(ctx, labels, &c->labels));
        TRY(check_count(ctx, labels, c->labels.n, c));
    }
    return ST_OK;
}

enum status classifier_open(struct classifier *c, const char *data, const char *cfg, const char *weights, bool prefix, bool strict,
                            int want, uint64_t seed) {
    struct ctx *ctx = &c->ctx;
    TRY(data_read(ctx, data, &c->data));
    TRY(net_open(ctx, cfg, strict, &c->net));
    TRY(classify_outputs(ctx, c->net, &c->outputs));
    TRY(open_lists(c, want));
    if (weights && !prefix) {
        TRY(net_load_to_run(ctx, c->net, weights, seed, &c->layers));
    } else {
        net_init_weights(c->net, seed);
        if (weights) TRY(net_load(ctx, c->net, weights, LOAD_PREFIX, &c->layers));
    }
    TRY(c->several ? device_open_all(ctx, false, &c->be, &c->others) : device_open(ctx, false, &c->be));
    return precision_prepare(ctx, c->net, cfg, weights, c->data.train ? c->data.train : c->data.valid);
}

void classifier_close(struct classifier *c) {
    net_close(c->net);
    backend_close(c->be);
    device_close_all(&c->others);
    list_free(&c->names);
    list_free(&c->labels);
    data_free(&c->data);
    c->net = NULL;
    c->be = NULL;
}

static void print_row(void *user, const char *text) {
    (void)user;
    fprintf(stderr, "%s\n", text);
}

void classifier_print(const struct classifier *c, const char *weights) {
    net_describe(c->net, print_row, NULL);
    if (weights) {
        unsigned long long seen = c->net->seen;
        fprintf(stderr, "Loading weights from %s...", weights);
        printf("\n seen %d, trained: %.0f K-images (%.0f Kilo-batches_64) \n", c->net->header.wide_seen ? 64 : 32,
               (double)(seen / 1000), (double)(seen / 64000));
        fprintf(stderr, "Done! Loaded %d layers from weights-file \n", c->layers);
    }
    fflush(stdout);
}
