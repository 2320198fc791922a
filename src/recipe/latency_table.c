#include "recipe/latency_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "recipe/audit.h"

enum { GRID = 5, TEXT = 512, TIMED_RUNS = 100, TIMED_SECONDS = 4 };

/* --- the file ------------------------------------------------------------------------------------------------------------- */

/* Rows "machine <tab> layer <tab> ms"; a row that is none is left out when the file is written anew. */
struct row { char *machine, *layer; double ms; };
struct cache { char path[1024]; struct row *row; size_t n, cap; bool changed; };

static void cpu_name(char *text, size_t size) {
    FILE *f = fopen("/proc/cpuinfo", "r");
    char line[256];
    snprintf(text, size, "unknown CPU");
    while (f && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon) continue;
        snprintf(text, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (f) fclose(f);
}

void latency_machine(const struct backend *be, char *text, size_t size) {
    char cpu[160], computes[160];
    cpu_name(cpu, sizeof cpu);
    backend_describe(be, computes, sizeof computes);
    snprintf(text, size, "%s; %s; version %s, compiler %s", cpu, computes, audit_version(), __VERSION__);
    for (char *c = text; *c; ++c)
        if (*c == '\t' || *c == '\n') *c = ' ';
}

static void cache_path(const char *asked, char *path, size_t size) {
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (asked) snprintf(path, size, "%s", asked);
    else if (base && base[0] == '/') snprintf(path, size, "%s/darknet/latency.tsv", base);
    else if (home && home[0]) snprintf(path, size, "%s/.cache/darknet/latency.tsv", home);
    else path[0] = '\0';
}

static enum status cache_add(struct ctx *ctx, struct cache *c, const char *machine, const char *layer, double ms) {
    TRY(mem_grow(ctx, &c->row, &c->cap, c->n + 1, sizeof *c->row));
    struct row r = { strdup(machine), strdup(layer), ms };
    if (!r.machine || !r.layer) {
        free(r.machine), free(r.layer);
        return ctx_fail(ctx, ST_MEMORY, "out of memory");
    }
    c->row[c->n++] = r;
    return ST_OK;
}

static enum status cache_open(struct ctx *ctx, const char *asked, struct cache *c) {
    char *bytes, *line, *save = NULL;
    size_t size;
    cache_path(asked, c->path, sizeof c->path);
    if (!c->path[0] || !io_exists(c->path)) return ST_OK;
    TRY(io_read(ctx, c->path, &bytes, &size));
    enum status st = ST_OK;
    for (line = strtok_r(bytes, "\n", &save); line && st == ST_OK; line = strtok_r(NULL, "\n", &save)) {
        char *layer = strchr(line, '\t'), *ms = layer ? strchr(layer + 1, '\t') : NULL;
        double value = ms ? strtod(ms + 1, NULL) : 0;
        if (!(value > 0) || !isfinite(value)) continue;
        *layer = *ms = '\0';
        st = cache_add(ctx, c, line, layer + 1, value);
    }
    free(bytes);
    return st;
}

static double *cache_find(struct cache *c, const char *machine, const char *layer) {
    for (size_t i = c->n; i-- > 0;)
        if (!strcmp(c->row[i].layer, layer) && !strcmp(c->row[i].machine, machine)) return &c->row[i].ms;
    return NULL;
}

/* A cache that cannot be written costs time, not the run. */
static void cache_save(struct ctx *ctx, const struct cache *c) {
    struct io_out out;
    struct ctx own = { .log = NULL };
    char folder[1024];
    if (!c->changed || !c->path[0]) return;
    const char *slash = strrchr(c->path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - c->path) : 1, slash ? c->path : ".");
    if ((slash == c->path || io_make_dirs(&own, folder) == ST_OK) && io_create(&own, c->path, &out) == ST_OK) {
        for (size_t i = 0; i < c->n; ++i) fprintf(out.file, "%s\t%s\t%.6g\n", c->row[i].machine, c->row[i].layer, c->row[i].ms);
        io_commit(&own, &out);
    }
    if (own.code != ST_OK) ctx_log(ctx, LOG_WARN, "the measured times are not kept: %s", own.error);
}

static void cache_drop(struct cache *c) {
    for (size_t i = 0; i < c->n; ++i) free(c->row[i].machine), free(c->row[i].layer);
    free(c->row);
}

/* --- one convolution alone -------------------------------------------------------------------------------------------------- */

/* Keys that make a convolution another computation; one with any other key that is set goes by its FLOPs. */
static const char *const kept_keys[] = { "batch_normalize", "size", "stride", "stride_x", "stride_y", "dilation", "pad", "padding", "activation" };
static const char *const plain_keys[] = { "filters", "groups", "stopbackward", "dontload", "dontloadscales", "dontsave", "learning_rate" };

static bool among(const char *key, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; ++i)
        if (!strcmp(key, list[i])) return true;
    return false;
}

static int grouping(const struct layer *l) { /* 1; channels when depthwise; else 0: not timed alone */
    const struct param *w = layer_filters(l);
    if (!w || l->n_in != 1 || w->dim[1] == l->in_shape[0].c) return w && l->n_in == 1;
    return w->dim[1] == 1 && l->in_shape[0].c == l->out.c ? l->out.c : 0;
}

/* The cfg of this layer alone at other widths.  False: it has keys that say more than that. */
static bool alone(const struct layer *l, int in, int out, char *text, size_t size) {
    int n = snprintf(text, size, "[net]\nbatch=1\nsubdivisions=1\nwidth=%d\nheight=%d\nchannels=%d\n[convolutional]\nfilters=%d\n", l->in_shape[0].w,
                     l->in_shape[0].h, in, out);
    if (grouping(l) > 1) n += snprintf(text + n, size - (size_t)n, "groups=%d\n", out);
    for (int i = 0; i < l->section->n; ++i) {
        const struct cfg_entry *e = &l->section->entry[i];
        if (among(e->key, plain_keys, sizeof plain_keys / sizeof plain_keys[0])) continue;
        if (!e->value || !among(e->key, kept_keys, sizeof kept_keys / sizeof kept_keys[0])) return false;
        bool repeated = false; /* the first of two equal keys wins */
        for (int k = 0; k < i; ++k) repeated |= !strcmp(l->section->entry[k].key, e->key);
        if (repeated) continue;
        n += snprintf(text + n, size - (size_t)n, "%s=%s\n", e->key, e->value);
        if ((size_t)n >= size) return false;
    }
    return true;
}

/* The fastest of some passes: what else runs on the machine only adds. */
static enum status time_alone(struct ctx *ctx, struct backend *be, const char *text, double *ms) {
    struct cfg_doc *doc;
    struct net *net;
    double seconds, started;
    TRY(cfg_parse(ctx, "a layer alone", text, strlen(text), true, &doc));
    TRY(net_open_doc(ctx, doc, false, &net));
    net_init_weights(net, 1);
    size_t n = (size_t)net->opt.channels * (size_t)net->opt.height * (size_t)net->opt.width;
    float *x = mem_zero(ctx, n, sizeof *x);
    enum status st = x ? net_bind(ctx, net, be, NET_INFER, 1) : ST_MEMORY;
    for (size_t i = 0; x && i < n; ++i) x[i] = (float)(i % 251) / 251;
    *ms = INFINITY;
    net->layer_seconds = &seconds;
    started = io_seconds();
    for (int i = 0; i < 200 && st == ST_OK && (i < 5 || io_seconds() - started < 0.01); ++i) {
        seconds = 0;
        st = net_forward(ctx, net, x);
        if (i > 1 && seconds > 0) *ms = fmin(*ms, seconds * 1e3);
    }
    net->layer_seconds = NULL;
    net_unbind(net);
    net_close(net);
    free(x);
    return st;
}

static double layers_sum(const double *ms, int n) {
    double sum = 0;
    for (int i = 0; i < n; ++i) sum += ms[i];
    return sum;
}

enum status latency_time(struct ctx *ctx, struct backend *be, struct net **net, int nets, double *ms, double *const *layer_ms) {
    size_t n = (size_t)net[0]->opt.channels * (size_t)net[0]->opt.height * (size_t)net[0]->opt.width;
    float *x = mem_zero(ctx, n, sizeof *x);
    double *best[2] = { NULL, NULL }, *now[2] = { NULL, NULL }, started = io_seconds();
    enum status st = ctx->code;
    for (size_t i = 0; x && i < n; ++i) x[i] = (float)(i % 251) / 251;
    for (int k = 0; k < nets && st == ST_OK; ++k) {
        best[k] = mem_zero(ctx, (size_t)net[k]->n, sizeof(double));
        now[k] = mem_zero(ctx, (size_t)net[k]->n, sizeof(double));
        st = ctx->code == ST_OK ? net_bind(ctx, net[k], be, NET_INFER, 1) : ctx->code;
        for (int i = 0; st == ST_OK && i < net[k]->n; ++i) best[k][i] = INFINITY;
        net[k]->layer_seconds = now[k];
    }
    for (int run = 0; run < TIMED_RUNS && st == ST_OK && (run < 5 || io_seconds() - started < TIMED_SECONDS); ++run)
        for (int k = 0; k < nets && st == ST_OK; ++k) {
            memset(now[k], 0, (size_t)net[k]->n * sizeof(double));
            st = net_forward(ctx, net[k], x);
            for (int i = 0; i < net[k]->n && run > 1; ++i) best[k][i] = fmin(best[k][i], now[k][i] * 1e3);
        }
    for (int k = 0; k < nets; ++k) {
        net[k]->layer_seconds = NULL;
        net_unbind(net[k]);
        if (st == ST_OK) ms[k] = layers_sum(best[k], net[k]->n);
        if (st == ST_OK && layer_ms) memcpy(layer_ms[k], best[k], (size_t)net[k]->n * sizeof(double));
        free(best[k]), free(now[k]);
    }
    free(x);
    return st;
}

/* --- the grid --------------------------------------------------------------------------------------------------------------- */

/* Quarters of the width, rounded up to the multiple that selection will land on, and the width itself. */
static int candidates(int width, bool free_, int round, int *at) {
    int n = 0;
    for (int quarter = 1; quarter < 4 && free_; ++quarter) {
        int w = (width * quarter / 4 + round - 1) / round * round;
        if (w > 0 && w < width && (n == 0 || w > at[n - 1])) at[n++] = w;
    }
    at[n++] = width;
    return n;
}

static bool may_shrink(const struct channels *ch, int layer) {
    for (int k = 0; layer != LAYER_INPUT && k < ch->net->layer[layer].out.c; ++k)
        if (!ch->group[channels_group(ch, layer, k)].frozen) return true;
    return false;
}

static enum status plan_layer(struct ctx *ctx, const struct channels *ch, const struct layer *l, int round, struct latency_layer *out) {
    char text[TEXT];
    int in[GRID], to[GRID];
    if (strcmp(l->section->type, "convolutional") || !grouping(l) || !alone(l, l->in_shape[0].c, l->out.c, text, sizeof text)) return ST_OK;
    out->n_in = grouping(l) > 1 ? 1 : candidates(l->in_shape[0].c, may_shrink(ch, l->in[0]), round, in);
    if (grouping(l) > 1) in[0] = l->in_shape[0].c;
    out->n_out = candidates(l->out.c, may_shrink(ch, l->index), round, to);
    out->in = mem_zero(ctx, (size_t)out->n_in, sizeof *out->in);
    out->out = mem_zero(ctx, (size_t)out->n_out, sizeof *out->out);
    out->ms = mem_zero(ctx, (size_t)(out->n_in * out->n_out), sizeof *out->ms);
    if (ctx->code != ST_OK) return ctx->code;
    memcpy(out->in, in, (size_t)out->n_in * sizeof *in);
    memcpy(out->out, to, (size_t)out->n_out * sizeof *to);
    return ST_OK;
}

static enum status fill_cell(struct ctx *ctx, struct backend *be, const struct layer *l, const char *machine, struct cache *cache, int in, int out,
                             double *ms, struct latency_report *report) {
    char text[TEXT];
    alone(l, grouping(l) > 1 ? out : in, out, text, sizeof text);
    char key[TEXT];
    snprintf(key, sizeof key, "%s", text);
    for (char *c = key; *c; ++c)
        if (*c == '\n' || *c == '\t') *c = ' ';
    double *known = cache_find(cache, machine, key);
    if (known) return *ms = *known, ST_OK;
    TRY(time_alone(ctx, be, text, ms));
    ++report->measured;
    cache->changed = true;
    return cache_add(ctx, cache, machine, key, *ms);
}

static enum status fill_layer(struct ctx *ctx, struct backend *be, const struct layer *l, const struct latency_options *opt, const char *machine,
                              struct cache *cache, struct latency_layer *to, struct latency_report *report) {
    for (int a = 0; a < to->n_in; ++a)
        for (int b = 0; b < to->n_out; ++b) {
            if (opt->stop && *opt->stop) return ctx_fail(ctx, ST_INTERRUPTED, "interrupted; the times measured so far are kept");
            TRY(fill_cell(ctx, be, l, machine, cache, to->in[a], to->out[b], &to->ms[a * to->n_out + b], report));
            ++report->shapes;
        }
    latency_doubt(to, &report->pairs, &report->falling);
    latency_settle(to);
    return ST_OK;
}

static enum status fill_model(struct ctx *ctx, struct backend *be, struct net *net, const struct channels *ch, const struct latency_options *opt,
                              struct cache *cache, struct latency_model *model, struct latency_report *report) {
    char machine[TEXT];
    int total = 0;
    latency_machine(be, machine, sizeof machine);
    double ms, *layer_ms = mem_zero(ctx, (size_t)net->n, sizeof *layer_ms);
    enum status st = layer_ms ? latency_time(ctx, be, &net, 1, &ms, &layer_ms) : ST_MEMORY;
    for (int i = 0; i < net->n && st == ST_OK; ++i) model->layer[i].full_ms = layer_ms[i];
    free(layer_ms);
    TRY(st);
    for (int i = 0; i < net->n; ++i) {
        TRY(plan_layer(ctx, ch, &net->layer[i], opt->round, &model->layer[i]));
        total += model->layer[i].n_in * model->layer[i].n_out;
    }
    for (int i = 0; i < net->n; ++i) {
        if (!model->layer[i].n_in) continue;
        TRY(fill_layer(ctx, be, &net->layer[i], opt, machine, cache, &model->layer[i], report));
        if (opt->progress) opt->progress(opt->user, "layer times", report->shapes, total);
    }
    return ST_OK;
}

enum status latency_measure(struct ctx *ctx, struct backend *be, struct net *net, const struct channels *ch, const struct latency_options *opt,
                            struct latency_model **out, struct latency_report *report) {
    struct cache cache = { .path = "" };
    *report = (struct latency_report){ .path = "" };
    TRY(latency_new(ctx, net->n, out));
    enum status st = cache_open(ctx, opt->cache, &cache);
    if (st == ST_OK) st = fill_model(ctx, be, net, ch, opt, &cache, *out, report);
    if (st == ST_OK && report->falling * 4 > report->pairs) {
        ctx_log(ctx, LOG_WARN, "layer times: %d of %d fall where the layer gets wider, so the machine was busy with something else and a cut to a "
                "latency would go by chance%s%s; repeat it when the machine is quiet",
                report->falling, report->pairs, report->measured || !cache.path[0] ? "" : "; they come from ", report->measured ? "" : cache.path);
        cache.changed = false;
    }
    cache_save(ctx, &cache);
    snprintf(report->path, sizeof report->path, "%s", cache.path);
    cache_drop(&cache);
    if (st == ST_OK) return ST_OK;
    latency_drop(*out);
    *out = NULL;
    return st;
}
