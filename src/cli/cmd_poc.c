/* detector poc: one network cut to several budgets, each trained, all compared on one page. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "cli/console.h"
#include "cli/options.h"
#include "cli/prune_show.h"
#include "data/json.h"
#include "recipe/poc.h"
#include "recipe/report.h"

struct poc_flags { struct poc_options poc; const char *budgets; int target, seed; bool no_baseline; };

static const struct option_choice targets[] = { { "flops", TARGET_FLOPS }, { "params", TARGET_PARAMS }, { "memory", TARGET_MEMORY }, { NULL, 0 } };
#define AT(field) offsetof(struct poc_flags, field)
static const struct option poc_options_table[] = {
    { "budgets", OPTION_TEXT, AT(budgets), "LIST", "shares to keep, one network each (0.9,0.7,0.5)", NULL, 1, 0 },
    { "target", OPTION_CHOICE, AT(target), "OF", "flops | params | memory: of what (flops)", targets, 1, 0 },
    { "out", OPTION_TEXT, AT(poc.out), "PREFIX", "writes PREFIX.html, PREFIX.json, and per budget PREFIX_70.cfg, .weights, .prune.json, .html (poc)", NULL, 1, 0 },
    { "finetune", OPTION_INT, AT(poc.prune.loop.finetune), "ITER", "train each cut for so many iterations (3 passes over the training images, 100 at least)", NULL, 0, 1e9 },
    { "finetune_lr", OPTION_FLOAT, AT(poc.prune.loop.rate_factor), "F", "times the cfg's learning rate: a trained network wants less (0.2)", NULL, 1e-9, 1e6 },
    { "steps", OPTION_INT, AT(poc.prune.loop.steps), "N", "reach each budget in N cuts, training after each (1)", NULL, 1, 1000 },
    { "distill", OPTION_FLOAT, AT(poc.prune.loop.distill), "L", "the uncut network teaches, too, with this weight (0)", NULL, 0, 1e6 },
    { "no_baseline", OPTION_FLAG, AT(no_baseline), NULL, "do not train the uncut network alike to see what training alone gains", NULL, 1, 0 },
    { "images", OPTION_INT, AT(poc.prune.images), "N", "images to score on, chosen evenly; 0: all (1000)", NULL, 0, 1e9 },
    { "criterion", OPTION_TEXT, AT(poc.prune.criterion), "NAME", "as in detector prune (saliency)", NULL, 1, 0 },
    { "round", OPTION_INT, AT(poc.prune.select.round), "N", "kept widths are multiples of N; 1: exact (8)", NULL, 1, 1024 },
    { "seed", OPTION_INT, AT(seed), "N", "of the draws of images, here and in training (1)", NULL, 0, 2e9 },
    { "report_images", OPTION_INT, AT(poc.prune.report_images), "N", "example pictures on the page of each budget (8)", NULL, 0, 200 },
    { "force", OPTION_FLAG, AT(poc.prune.force), NULL, "begin anew and overwrite; else a run that was interrupted or killed goes on", NULL, 1, 0 },
    { "strict", OPTION_FLAG, AT(poc.prune.strict), NULL, "unknown cfg keys are errors", NULL, 1, 0 },
    OPTION_END
};

static void say(void *user, const char *what) {
    display_end(user);
    fflush(stdout);
    fprintf(stderr, "%s\n", what);
}

static void print_points(const struct poc_flags *f, const cJSON *record) {
    const cJSON *points = cJSON_GetObjectItem(cJSON_GetObjectItem(record, "poc"), "points"), *p;
    double flops = json_number(points->child, "flops", 1);
    printf("\n%-20s %8s %11s %9s %8s %7s %8s %7s  %s\n", "network", "FLOPs, %", "weights KiB", "ms", "speed", "mAP, %", "small, %", "points", "front");
    cJSON_ArrayForEach(p, points) {
        double map = json_number(p, "map", 0), small = json_number(p, "map_small", -1);
        char text[32] = "-";
        if (small >= 0) snprintf(text, sizeof text, "%.2f", 100 * small);
        printf("%-20s %8.1f %11.0f %9.2f %7.2fx %7.2f %8s %+7.2f  %s\n", json_text(p, "name"), 100 * json_number(p, "flops", 0) / flops,
               json_number(p, "weight_bytes", 0) / 1024, json_number(p, "ms", 0), 1 / json_number(p, "time_share", 1), 100 * map, text,
               100 * (map - json_number(points->child, "map", 0)), json_true(p, "front") ? "*" : "");
    }
    printf("* no other network is as accurate, as fast and as small\nwritten: %s.html, %s.json\n", f->poc.out, f->poc.out);
}

static enum status work(struct ctx *ctx, struct poc_flags *f) {
    struct display display = { .what = "" };
    struct backend *be = NULL;
    cJSON *record = NULL;
    TRY(poc_budgets(ctx, f->budgets, &f->poc));
    TRY(io_writable(ctx, f->poc.out));
    f->poc.say = say;
    f->poc.baseline = !f->no_baseline;
    f->poc.prune.select.target = (enum target_kind)f->target;
    f->poc.prune.saliency.seed = f->poc.prune.loop.seed = (uint64_t)f->seed;
    f->poc.prune.progress = display_phase;
    f->poc.prune.training = display_training;
    f->poc.prune.user = &display;
    f->poc.prune.stop = console_stop();
    TRY(backend_open(ctx, "cpu", &be));
    enum status st = poc_run(ctx, be, &f->poc, &record);
    display_end(&display);
    if (st == ST_OK) print_points(f, record);
    cJSON_Delete(record);
    backend_close(be);
    return st;
}

static int poc_main(const struct command *self, int argc, char **argv) {
    struct ctx ctx = console_ctx();
    struct poc_flags f = { .poc = { .prune = prune_defaults(), .out = "poc" }, .budgets = "0.9,0.7,0.5", .target = TARGET_FLOPS, .seed = 1 };
    struct arguments words;
    char *line = options_line(argc, argv, "detector poc");
    f.poc.prune.select.cost_power = -1;
    f.poc.prune.report_images = report_defaults().images;
    f.poc.prune.loop.finetune = -1;
    f.poc.prune.loop.rate_factor = 0.2;
    f.poc.prune.flags = line;
    enum status st = options_parse(&ctx, argc, argv, self->options, &f, &words, 3);
    if (st == ST_OK && words.n < 3) st = ctx_fail(&ctx, ST_USAGE, "detector poc: needs %s", self->words);
    if (st == ST_OK) {
        f.poc.prune.data = words.word[0], f.poc.prune.cfg = words.word[1], f.poc.prune.weights = words.word[2];
        st = work(&ctx, &f);
    }
    free(line);
    return st == ST_OK ? 0 : console_fail(&ctx);
}

const struct command detector_poc_command = { "detector", "poc", "DATA CFG WEIGHTS", "cuts to several budgets, trains and measures each, compares them on one page",
                                              poc_options_table, poc_main };
