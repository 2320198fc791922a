#include "cli/session.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"
#include "cli/console.h"
#include "cli/precision.h"
#include "layers/head.h"

/* From the names of all classes those that map= chooses. */
static enum status choose_names(struct session *s) {
    struct text_list all = s->names, chosen = { .item = mem_zero(&s->ctx, (size_t)s->n_map, sizeof *chosen.item) };
    if (!chosen.item) return ST_MEMORY;
    for (; chosen.n < s->n_map && s->ctx.code == ST_OK; ++chosen.n) chosen.item[chosen.n] = mem_text(&s->ctx, all.item[s->map[chosen.n]]);
    chosen.cap = chosen.n;
    s->names = chosen;
    list_free(&all);
    return s->ctx.code;
}

static enum status read_names(struct session *s, const char *data_path, bool exact) {
    struct ctx *ctx = &s->ctx;
    const char *path = s->data.names ? s->data.names : "data/names.list";
    if (!s->data.names && !io_exists(path)) {
        ctx_log(ctx, LOG_WARN, "%s: has no names=, classes are shown by number", data_path);
        return ST_OK;
    }
    TRY(list_read(ctx, path, &s->names));
    if (s->map && s->names.n == s->tree_classes) return choose_names(s);
    if (s->names.n == s->classes) return ST_OK;
    if (exact)
        return ctx_fail(ctx, ST_FORMAT, "%s: %d names, but classes=%d in %s; one name per line is needed",
                        path, s->names.n, s->classes, s->net->doc->path);
    ctx_log(ctx, LOG_WARN, "%s: %d names, but classes=%d in %s", path, s->names.n, s->classes,
            s->net->doc->path);
    return ST_OK;
}

static enum status find_head(struct session *s) {
    struct head_info info = { 0 };
    s->last_head = -1;
    for (int i = 0; i < s->net->n; ++i) {
        const struct layer *l = &s->net->layer[i];
        if (!l->ops->head) continue;
        l->ops->head->info(l, &info);
        s->last_head = i;
    }
    s->classes = info.classes;
    if (s->last_head >= 0) return ST_OK;
    return ctx_fail(&s->ctx, ST_CFG, "%s: has no detection head ([yolo], [Gaussian_yolo], [region] or [detection])", s->net->doc->path);
}

/* The classes of a head with a word tree that the data set knows, in its order.  Names may be those of either. */
static enum status read_map(struct session *s) {
    const struct layer *head = &s->net->layer[s->last_head];
    if (!s->data.map) return ST_OK;
    if (!cfg_value(head->section, "tree")) {
        ctx_log(&s->ctx, LOG_WARN, "%s: map= is for a [region] with a tree=, which %s does not have: not used", s->data.path,
                s->net->doc->path);
        return ST_OK;
    }
    TRY(head_map_read(&s->ctx, s->data.map, s->classes, &s->map, &s->n_map));
    s->tree_classes = s->classes;
    s->classes = s->n_map;
    return ST_OK;
}

static enum status open_all(struct session *s, const struct session_request *r) {
    struct ctx *ctx = &s->ctx;
    TRY(data_read(ctx, r->data, &s->data));
    TRY(net_open(ctx, r->cfg, r->strict, &s->net));
    TRY(find_head(s));
    if (r->weights && r->policy == LOAD_WHOLE) {
        TRY(net_load_to_run(ctx, s->net, r->weights, r->seed, &s->layers));
    } else {
        net_init_weights(s->net, r->seed);
        if (r->weights) TRY(net_load(ctx, s->net, r->weights, r->policy, &s->layers));
    }
    if (r->class_map) TRY(read_map(s));
    if (!r->no_names) TRY(read_names(s, r->data, r->exact_names));
    TRY(r->several ? device_open_all(ctx, false, &s->be, &s->others) : device_open(ctx, false, &s->be));
    return precision_prepare(ctx, s->net, r->cfg, r->weights, s->data.train ? s->data.train : s->data.valid);
}

enum status session_open(struct session *s, const struct session_request *r) {
    *s = (struct session){ .ctx = console_ctx() };
    return open_all(s, r);
}

void session_close(struct session *s) {
    net_close(s->net);
    backend_close(s->be);
    device_close_all(&s->others);
    list_free(&s->names);
    data_free(&s->data);
    free(s->map);
    s->net = NULL;
    s->map = NULL;
    s->be = NULL;
}

static void print_row(void *user, const char *text) {
    (void)user;
    fprintf(stderr, "%s\n", text);
}

static void print_nms(const struct session *s) {
    static const char *const name[] = { "default", "greedynms", "diounms", "cornersnms" };
    for (int i = 0; i < s->net->n; ++i) {
        const struct layer *l = &s->net->layer[i];
        struct head_info info = { 0 };
        if (!l->ops->head) continue;
        l->ops->head->info(l, &info);
        if (info.nms_kind != NMS_DEFAULT)
            printf("nms_kind: %s (%d), beta = %f \n", name[info.nms_kind], (int)info.nms_kind, info.beta_nms);
    }
}

void session_print(const struct session *s, const char *weights) {
    net_describe(s->net, print_row, NULL);
    print_nms(s);
    if (weights) {
        unsigned long long seen = s->net->seen;
        fprintf(stderr, "Loading weights from %s...", weights);
        printf("\n seen %d, trained: %.0f K-images (%.0f Kilo-batches_64) \n",
               s->net->header.wide_seen ? 64 : 32, (double)(seen / 1000), (double)(seen / 64000));
        fprintf(stderr, "Done! Loaded %d layers from weights-file \n", s->layers);
    }
    fflush(stdout);
}

void session_print_heads(const struct session *s) {
    for (int i = 0; i < s->net->n; ++i) {
        const struct layer *l = &s->net->layer[i];
        struct head_info info = { 0 };
        if (!l->ops->head) continue;
        l->ops->head->info(l, &info);
        printf(" Detection layer: %d - type = %d \n", i, info.type_number);
    }
}

const char *session_name(const struct session *s, int k, char number[16]) {
    if (k < s->names.n) return s->names.item[k];
    snprintf(number, 16, "%d", k);
    return number;
}

enum status session_valid(struct session *s, struct text_list *list) {
    const char *path = s->data.valid ? s->data.valid : s->data.train ? s->data.train : "data/train.txt";
    TRY(list_read(&s->ctx, path, list));
    if (list->n) return ST_OK;
    return ctx_fail(&s->ctx, ST_FORMAT, "%s: the list of images is empty", path);
}

enum status session_check_set(struct session *s, const struct text_list *images, enum dataset_use use, const char *list) {
    struct ctx *ctx = &s->ctx;
    struct dataset_report report;
    TRY(dataset_survey(ctx, images, s->classes, &report));
    enum status st = dataset_usable(ctx, &report, use);
    if (st == ST_OK) st = dataset_tell(ctx, &report, list);
    if (st == ST_OK && list) dataset_describe(ctx, &report, s->classes, s->names.n ? &s->names : NULL);
    dataset_report_free(&report);
    return st;
}
