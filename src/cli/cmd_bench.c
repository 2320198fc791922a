/* detector bench: how long a network takes, what it needs, and whether another one is faster. */
#include <cjson/cJSON.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/device.h"
#include "cli/options.h"
#include "eval/ceiling.h"
#include "eval/speed.h"

struct bench_flags {
    int runs, warmup, batch, width, height, threads;
    double seconds;
    const char *vs, *json, *backend;
    bool strict, no_layers, ceiling;
};
#define AT(field) offsetof(struct bench_flags, field)
static const struct option bench_options[] = {
    { "vs", OPTION_TEXT, AT(vs), "CFG [WEIGHTS]", "another network beside it, pass by pass: their ratio, its spread, and whether it is noise", NULL, 1, 0 },
    { "runs", OPTION_INT, AT(runs), "N", "timed passes of each network (200)", NULL, 10, 1e7 },
    { "seconds", OPTION_FLOAT, AT(seconds), "S", "stop earlier, after so many; 0: no limit (30)", NULL, 0, 1e6 },
    { "warmup", OPTION_INT, AT(warmup), "N", "passes before that, not counted (5)", NULL, 0, 1e6 },
    { "batch", OPTION_INT, AT(batch), "N", "images per pass (1)", NULL, 1, 65536 },
    { "width", OPTION_INT, AT(width), "W", "of the input, in place of the cfg's", NULL, 1, 65536 },
    { "height", OPTION_INT, AT(height), "H", "of the input, in place of the cfg's", NULL, 1, 65536 },
    { "threads", OPTION_INT, AT(threads), "N", "threads to compute with (OMP_NUM_THREADS, or as many as there are cores)", NULL, 1, 4096 },
    { "backend", OPTION_TEXT, AT(backend), "NAME", "cpu | ref | cuda:N:PRECISION (cpu)", NULL, 1, 0 },
    { "no_layers", OPTION_FLAG, AT(no_layers), NULL, "leave the table of layers out", NULL, 1, 0 },
    { "ceiling", OPTION_FLAG, AT(ceiling), NULL, "measure what the device multiplies and moves at most, and each layer's share of it", NULL, 1, 0 },
    { "json", OPTION_TEXT, AT(json), "FILE", "write everything as JSON; -: to stdout, in place of the text", NULL, 1, 0 },
    { "strict", OPTION_FLAG, AT(strict), NULL, "unknown cfg keys are errors", NULL, 1, 0 },
    OPTION_END
};

struct contestant {
    struct footprint_request request;
    struct net *net;
    struct footprint memory;
    struct speed_figures time; /* of a pass */
    double parameters;
};
struct bench_run {
    struct ctx ctx;
    struct bench_flags flags;
    int n;
    struct contestant of[2];
    struct backend *be;
    struct speed_record record;
    struct speed_ratio ratio;
    struct ceiling ceiling;    /* with -ceiling */
    double load;               /* of the machine in the last minute, before this began; 0: not known */
    int cores;
    char device[128];
};

/* "-vs CFG WEIGHTS": the weights are taken out of the words, as they would be taken for those of the first network. */
static const char *take_other_weights(int *argc, char **argv) {
    const char *found = NULL;
    for (int i = 0; i + 2 < *argc && !found; ++i) {
        if (strcmp(argv[i], "-vs") != 0 || argv[i + 2][0] == '-' || text_ends_with(argv[i + 2], ".cfg")) continue;
        found = argv[i + 2];
        for (int k = i + 2; k + 1 < *argc; ++k) argv[k] = argv[k + 1];
        --*argc;
    }
    return found;
}

struct display { struct progress line; double limit; };

static void show(void *user, int done, int total) {
    struct display *d = user;
    double spent = io_seconds() - d->line.started, left = (total - done) * spent / done;
    if (d->limit > 0 && left > d->limit - spent) left = d->limit > spent ? d->limit - spent : 0;
    progress_eta(&d->line, done, total, left);
}

static enum status measure(struct bench_run *b) {
    struct ctx *ctx = &b->ctx;
    struct display display = { .limit = b->flags.seconds };
    struct net *net[2];
    for (int i = 0; i < b->n; ++i) TRY(speed_footprint(ctx, &b->of[i].request, &b->of[i].memory)); /* before any thread begins */
    for (int i = 0; i < b->n; ++i) {
        TRY(speed_open(ctx, &b->of[i].request, &b->of[i].net, NULL));
        net[i] = b->of[i].net;
        b->of[i].parameters = (double)net[i]->n_param;
    }
    TRY(backend_open(ctx, b->flags.backend, &b->be));
    backend_describe(b->be, b->device, sizeof b->device);
    struct speed_plan plan = { .batch = b->flags.batch, .warmup = b->flags.warmup, .runs = b->flags.runs, .seconds = b->flags.seconds,
                               .stop = console_stop(), .progress = show, .user = &display };
    progress_start(&display.line, "bench", b->n == 2 ? "pairs" : "passes");
    enum status st = speed_measure(ctx, b->be, net, b->n, &plan, &b->record);
    progress_end(&display.line);
    TRY(st);
    if (b->flags.ceiling) TRY(ceiling_measure(ctx, b->be, &b->ceiling));
    for (int i = 0; i < b->n; ++i) TRY(speed_figures(ctx, b->record.ms[i], b->record.runs, &b->of[i].time));
    return b->n == 2 ? speed_ratio_of(ctx, b->record.ms[0], b->record.ms[1], b->record.runs, &b->ratio) : ST_OK;
}

/* --- text --------------------------------------------------------------------------------------------------------------- */

static double per_image(const struct bench_run *b, double pass_ms) { return pass_ms / b->flags.batch; }
static double images_per_second(const struct bench_run *b, int i) { return 1e3 * b->flags.batch / b->of[i].time.mean; }
static double gflops(double flops, double ms) { return ms > 0 ? flops / ms / 1e6 : 0; }
static double outside_layers(const struct bench_run *b, int i) {
    double rest = b->of[i].time.mean;
    for (int k = 0; k < b->of[i].net->n; ++k) rest -= b->record.layer_ms[i][k];
    return rest > 0 ? rest : 0;
}

/* The share of the ceiling that layer k reaches, and which of the two it is; returns the least milliseconds that it takes. */
static double print_ceiling(const struct bench_run *b, int i, int k) {
    bool moves;
    double ms = b->record.layer_ms[i][k], least = ceiling_ms(&b->ceiling, b->of[i].net, k, b->flags.batch, b->record.layer_bytes[i][k], &moves);
    if (ms > 0) printf(" %6.1f%% %s", 100 * least / ms, moves ? "memory" : "compute");
    return least;
}

static void print_layers(const struct bench_run *b, int i) {
    const struct net *net = b->of[i].net;
    double total = b->of[i].time.mean;
    double least = 0;
    printf("\n layer  type             out              MFLOPs        ms   share   GFLOP/s%s\n", b->flags.ceiling ? "   ceiling" : "");
    for (int k = 0; k < net->n; ++k) {
        const struct layer *l = &net->layer[k];
        struct shape s = l->out.c ? l->out : l->in_shape[0];
        char size[48];
        double ms = per_image(b, b->record.layer_ms[i][k]);
        snprintf(size, sizeof size, "%dx%dx%d", s.w, s.h, s.c);
        printf("%6d  %-16s %-14s %8.2f %9.4f %6.1f%%", k, l->section->type, size, l->flops / 1e6, ms, 100 * b->record.layer_ms[i][k] / total);
        if (l->flops > 0) printf(" %9.1f", gflops(l->flops, ms));
        else if (b->flags.ceiling) printf("          ");
        if (b->flags.ceiling) least += print_ceiling(b, i, k);
        printf("\n");
    }
    if (b->flags.ceiling)
        printf("        all of them at what the device does at most (%.1f GFLOP/s, %.1f GB/s): %.4f ms, %.1f%% of the time\n", b->ceiling.flops / 1e9,
               b->ceiling.bytes / 1e9, per_image(b, least), 100 * least / total);
    printf("        outside the layers (input)            %9.4f %6.1f%%\n", per_image(b, outside_layers(b, i)), 100 * outside_layers(b, i) / total);
}

static void print_one(const struct bench_run *b, int i) {
    const struct contestant *c = &b->of[i];
    const struct footprint *m = &c->memory;
    const double mib = 1 << 20;
    printf("%s%s%s\n", c->request.cfg, c->request.weights ? " " : ", random weights", c->request.weights ? c->request.weights : "");
    printf("  input        %dx%dx%d, batch %d; %.3f BFLOPs, %.0f parameters\n", c->net->opt.width, c->net->opt.height, c->net->opt.channels,
           b->flags.batch, net_flops(c->net) / 1e9, c->parameters);
    printf("  per image    p50 %.3f ms, p90 %.3f, p99 %.3f (best %.3f, mean %.3f, %d passes)\n", per_image(b, c->time.p50), per_image(b, c->time.p90),
           per_image(b, c->time.p99), per_image(b, c->time.best), per_image(b, c->time.mean), b->record.runs);
    printf("  throughput   %.1f images/s, %.1f GFLOP/s\n", images_per_second(b, i), gflops(net_flops(c->net), per_image(b, c->time.mean)));
    printf("  memory       peak %.1f MiB of the process (network's buffers %.1f MiB)\n", m->resident / mib, m->buffers / mib);
    printf("  load         %.1f ms (cfg %.1f, weights %.1f, buffers and packing %.1f); first image %.1f ms\n", m->read_ms + m->weights_ms + m->bind_ms,
           m->read_ms, m->weights_ms, m->bind_ms, m->first_ms);
    if (!b->flags.no_layers) print_layers(b, i);
    printf("\n");
}

static void print_ratio(const struct bench_run *b) {
    const struct speed_ratio *r = &b->ratio;
    printf("%s beside %s, %d pairs run alternately: %.3f of its time\n", b->of[1].request.cfg, b->of[0].request.cfg, b->record.runs, r->median);
    printf("  %.0f %% interval %.3f to %.3f, half of the pairs between %.3f and %.3f; sign test p = %.2g\n", 100 * SPEED_CONFIDENCE, r->low, r->high,
           r->quartile[0], r->quartile[1], r->p);
    if (r->noise && r->p <= 1 - SPEED_CONFIDENCE) printf("  a difference below %.0f %%: it may come from where the memory lies\n", 100 * SPEED_FLOOR);
    else if (r->noise) printf("  the difference is within the noise of this run: neither is shown to be faster%s\n", b->record.runs < 100 ? "; more -runs may tell" : "");
    else if (r->median < 1) printf("  the second is %.2f times as fast\n", 1 / r->median);
    else printf("  the second takes %.2f times as long\n", r->median);
}

static bool busy(const struct bench_run *b) { return b->load > b->cores + .5; }

static void print_all(const struct bench_run *b) {
    printf("%s; forward passes alone: reading pictures and suppressing boxes come on top\n\n", b->device);
    for (int i = 0; i < b->n; ++i) print_one(b, i);
    if (b->n == 2) print_ratio(b);
    if (busy(b)) printf("the machine is busy (load %.1f on %d cores): times are longer than on an idle one, and ratios nearer to 1 than they are\n", b->load, b->cores);
}

/* --- JSON --------------------------------------------------------------------------------------------------------------- */

static cJSON *json_one(const struct bench_run *b, int i) {
    const struct contestant *c = &b->of[i];
    cJSON *o = cJSON_CreateObject(), *time, *memory, *load, *layers;
    cJSON_AddStringToObject(o, "cfg", c->request.cfg);
    if (c->request.weights) cJSON_AddStringToObject(o, "weights", c->request.weights);
    cJSON_AddNumberToObject(o, "width", c->net->opt.width);
    cJSON_AddNumberToObject(o, "height", c->net->opt.height);
    cJSON_AddNumberToObject(o, "channels", c->net->opt.channels);
    cJSON_AddNumberToObject(o, "bflops", net_flops(c->net) / 1e9);
    cJSON_AddNumberToObject(o, "parameters", c->parameters);
    time = cJSON_AddObjectToObject(o, "ms_per_image");
    cJSON_AddNumberToObject(time, "best", per_image(b, c->time.best));
    cJSON_AddNumberToObject(time, "p50", per_image(b, c->time.p50));
    cJSON_AddNumberToObject(time, "p90", per_image(b, c->time.p90));
    cJSON_AddNumberToObject(time, "p99", per_image(b, c->time.p99));
    cJSON_AddNumberToObject(time, "mean", per_image(b, c->time.mean));
    cJSON_AddNumberToObject(o, "images_per_second", images_per_second(b, i));
    memory = cJSON_AddObjectToObject(o, "memory");
    cJSON_AddNumberToObject(memory, "peak_bytes", c->memory.resident);
    cJSON_AddNumberToObject(memory, "buffer_bytes", c->memory.buffers);
    load = cJSON_AddObjectToObject(o, "load_ms");
    cJSON_AddNumberToObject(load, "cfg", c->memory.read_ms);
    cJSON_AddNumberToObject(load, "weights", c->memory.weights_ms);
    cJSON_AddNumberToObject(load, "buffers", c->memory.bind_ms);
    cJSON_AddNumberToObject(load, "first_pass", c->memory.first_ms);
    layers = cJSON_AddArrayToObject(o, "layers");
    for (int k = 0; k < c->net->n; ++k) {
        const struct layer *l = &c->net->layer[k];
        double ms = per_image(b, b->record.layer_ms[i][k]);
        cJSON *row = cJSON_CreateObject();
        cJSON_AddItemToArray(layers, row);
        cJSON_AddNumberToObject(row, "layer", k);
        cJSON_AddStringToObject(row, "type", l->section->type);
        cJSON_AddNumberToObject(row, "ms", ms);
        cJSON_AddNumberToObject(row, "share", b->record.layer_ms[i][k] / c->time.mean);
        cJSON_AddNumberToObject(row, "bflops", l->flops / 1e9);
        cJSON_AddNumberToObject(row, "gflops_per_second", gflops(l->flops, ms));
        if (!b->flags.ceiling) continue;
        bool moves;
        double least = ceiling_ms(&b->ceiling, c->net, k, b->flags.batch, b->record.layer_bytes[i][k], &moves);
        cJSON_AddNumberToObject(row, "ceiling_share", b->record.layer_ms[i][k] > 0 ? least / b->record.layer_ms[i][k] : 0);
        cJSON_AddStringToObject(row, "bound_by", moves ? "memory" : "compute");
    }
    return o;
}

static enum status write_json(struct bench_run *b) {
    cJSON *root = cJSON_CreateObject(), *list, *o;
    cJSON_AddStringToObject(root, "device", b->device);
    cJSON_AddNumberToObject(root, "threads", omp_get_max_threads());
    cJSON_AddNumberToObject(root, "cores", b->cores);
    cJSON_AddNumberToObject(root, "load_average", b->load);
    cJSON_AddNumberToObject(root, "batch", b->flags.batch);
    cJSON_AddNumberToObject(root, "runs", b->record.runs);
    cJSON_AddNumberToObject(root, "warmup", b->flags.warmup);
    if (b->flags.ceiling) cJSON_AddNumberToObject(root, "ceiling_gflops_per_second", b->ceiling.flops / 1e9);
    if (b->flags.ceiling) cJSON_AddNumberToObject(root, "ceiling_gb_per_second", b->ceiling.bytes / 1e9);
    list = cJSON_AddArrayToObject(root, "networks");
    for (int i = 0; i < b->n; ++i) cJSON_AddItemToArray(list, json_one(b, i));
    if (b->n == 2) {
        o = cJSON_AddObjectToObject(root, "ratio"); /* second / first */
        cJSON_AddNumberToObject(o, "median", b->ratio.median);
        cJSON_AddNumberToObject(o, "confidence", SPEED_CONFIDENCE);
        cJSON_AddNumberToObject(o, "low", b->ratio.low);
        cJSON_AddNumberToObject(o, "high", b->ratio.high);
        cJSON_AddNumberToObject(o, "quartile1", b->ratio.quartile[0]);
        cJSON_AddNumberToObject(o, "quartile3", b->ratio.quartile[1]);
        cJSON_AddNumberToObject(o, "p", b->ratio.p);
        cJSON_AddBoolToObject(o, "within_noise", b->ratio.noise);
    }
    char *text = cJSON_Print(root);
    cJSON_Delete(root);
    if (!text) return ctx_fail(&b->ctx, ST_MEMORY, "out of memory writing the figures");
    enum status st = ST_OK;
    if (strcmp(b->flags.json, "-") == 0) puts(text);
    else st = io_write(&b->ctx, b->flags.json, text, strlen(text));
    free(text);
    return st;
}

static enum status prepare(struct bench_run *b, const struct command *self, int argc, char **argv) {
    struct arguments words;
    const char *other = take_other_weights(&argc, argv);
    TRY(options_parse(&b->ctx, argc, argv, self->options, &b->flags, &words, 2));
    if (words.n < 1) return ctx_fail(&b->ctx, ST_USAGE, "detector bench: needs %s", self->words);
    if (device_precision() != DEVICE_USUAL && strcmp(b->flags.backend, "cpu"))
        return ctx_fail(&b->ctx, ST_USAGE, "-precision: -backend %s has none to choose", b->flags.backend);
    if (device_precision() != DEVICE_USUAL) TRY(device_cpu_kind(&b->ctx, &b->flags.backend));
    struct footprint_request r = { .cfg = words.word[0], .weights = words.n > 1 ? words.word[1] : NULL, .backend = b->flags.backend,
                                   .width = b->flags.width, .height = b->flags.height, .batch = b->flags.batch, .strict = b->flags.strict };
    b->of[b->n++].request = r;
    r.cfg = b->flags.vs, r.weights = other;
    if (b->flags.vs) b->of[b->n++].request = r;
    if (b->flags.threads) omp_set_num_threads(b->flags.threads); /* the processes that memory is measured in inherit it */
    return ST_OK;
}

static int bench_run(const struct command *self, int argc, char **argv) {
    struct bench_run b = { .ctx = console_ctx(), .cores = omp_get_num_procs(),
                           .flags = { .runs = 200, .warmup = 5, .batch = 1, .seconds = 30, .backend = "cpu" } };
    if (getloadavg(&b.load, 1) != 1) b.load = 0;
    enum status st = prepare(&b, self, argc, argv);
    if (st == ST_OK) st = measure(&b);
    if (st == ST_OK && !(b.flags.json && strcmp(b.flags.json, "-") == 0)) print_all(&b);
    if (st == ST_OK && b.flags.json) st = write_json(&b);
    int status = st == ST_OK ? 0 : console_fail(&b.ctx);
    speed_record_free(&b.record);
    for (int i = 0; i < 2; ++i) net_close(b.of[i].net);
    backend_close(b.be);
    return status;
}

const struct command detector_bench_command = { "detector", "bench", "CFG [WEIGHTS]",
                                                "speed and memory: percentiles, layers, load time; -vs another network", bench_options, bench_run };
