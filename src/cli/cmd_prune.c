/* detector saliency, detector prune */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/io.h"
#include "cli/console.h"
#include "cli/device.h"
#include "cli/options.h"
#include "cli/prune_show.h"
#include "cli/saliency_drift.h"
#include "recipe/compare.h"
#include "recipe/validate.h"
#include "recipe/heat_pictures.h"
#include "recipe/report.h"
#include "recipe/prune_blocks.h"

struct prune_flags {
    struct prune_options opt;
    double ratio, flops, params, memory, threshold;  /* < 0: not given */
    const char *set, *compensate, *backend, *latency, *blocks;
    int utility, form, balance, normalize, cost, scope, seed, batch, schedule, training, train_seed;
};

static const struct option_choice utilities[] = {
    { "detection", UTILITY_DETECTION }, { "probability", UTILITY_PROBABILITY }, { "loss", UTILITY_LOSS }, { NULL, 0 } };
static const struct option_choice forms[] = {
    { "abs", FORM_ABS }, { "relu", FORM_RELU }, { "asymmetric", FORM_ASYMMETRIC }, { "elementwise", FORM_ELEMENTWISE },
    { "square", FORM_SQUARE }, { NULL, 0 } };
static const struct option_choice balances[] = {
    { "size", BALANCE_SIZE }, { "object", BALANCE_OBJECT }, { "none", BALANCE_NONE }, { NULL, 0 } };
static const struct option_choice normalizations[] = {
    { "none", NORMALIZE_NONE }, { "mean", NORMALIZE_MEAN }, { "l2", NORMALIZE_L2 }, { "rank", NORMALIZE_RANK }, { NULL, 0 } };
static const struct option_choice costs[] = {
    { "flops", COST_FLOPS }, { "memory", COST_MEMORY }, { "params", COST_PARAMS }, { "latency", COST_LATENCY }, { "none", COST_NONE }, { NULL, 0 } };
static const struct option_choice scopes[] = { { "global", 0 }, { "layer", 1 }, { NULL, 0 } };
static const struct option_choice sets[] = { { "train", 0 }, { "valid", 1 }, { NULL, 0 } };
static const struct option_choice schedules[] = {
    { "linear", SCHEDULE_LINEAR }, { "cubic", SCHEDULE_CUBIC }, { "oneshot", SCHEDULE_ONESHOT }, { NULL, 0 } };
static const struct option_choice trainings[] = { { "all", 0 }, { "each", 1 }, { NULL, 0 } };
static const struct option_choice compensations[] = { { "zero", 0 }, { "mean", 1 }, { NULL, 0 } };

/* Booleans behind a choice are read as ints, then copied. */
struct all_flags { struct prune_flags f; struct heat_options heat; int use_valid, compensate, eval_images; bool no_report, sensitivity; const char *ratios; };

#define CRITERIA \
    "saliency | taylor | taylor-weight | group-fisher | hrank | chip | l1 | l2 | bn | fpgm | lamp | random (saliency)"
#define AT(field) offsetof(struct all_flags, field)
#define SENSITIVITY \
    { "sensitivity", OPTION_FLAG, AT(sensitivity), NULL, "how loss and mAP change when one layer at a time loses its lowest filters, with -blocks also without each residual block: PREFIX.sensitivity.*", NULL, 1, 0 }, \
    { "ratios", OPTION_TEXT, AT(ratios), "LIST", "of -sensitivity: shares of a layer to remove (0.25,0.5,0.75)", NULL, 1, 0 }, \
    { "eval_images", OPTION_INT, AT(eval_images), "N", "of -sensitivity: images of each list to measure on; 0: all (128)", NULL, 0, 1e9 }
#define SCORING                                                                                                        \
    { "images", OPTION_INT, AT(f.opt.images), "N", "images to score on, chosen evenly; 0: all (1000)", NULL, 0, 1e9 }, \
    { "set", OPTION_CHOICE, AT(use_valid), "LIST", "which list of the .data file: train | valid (train)", sets, 1, 0 }, \
    { "utility", OPTION_CHOICE, AT(f.utility), "KIND", "detection | probability | loss (detection)", utilities, 1, 0 }, \
    { "context", OPTION_FLOAT, AT(f.opt.saliency.context), "C", "ring around a box, share of its side; 0: hard box (0.5)", NULL, 0, 10 }, \
    { "background", OPTION_FLOAT, AT(f.opt.saliency.background), "E", "weight far from every box (0.02)", NULL, 0, 1 }, \
    { "background_guard", OPTION_FLOAT, AT(f.opt.saliency.background_guard), "L", "weight of the hardest false alarms; 0: off (0.1)", NULL, 0, 100 }, \
    { "kappa", OPTION_FLOAT, AT(f.opt.saliency.kappa), "K", "weight of the overlap in the utility (4)", NULL, 0, 1000 }, \
    { "form", OPTION_CHOICE, AT(f.form), "FORM", "abs | relu | asymmetric | elementwise | square (abs)", forms, 1, 0 }, \
    { "balance", OPTION_CHOICE, AT(f.balance), "BY", "size | object | none (size)", balances, 1, 0 }, \
    { "normalize", OPTION_CHOICE, AT(f.normalize), "BY", "none | mean | l2 | rank, per layer (none; the others ruin a global ranking)", normalizations, 1, 0 }, \
    { "compensate", OPTION_CHOICE, AT(compensate), "WITH", "mean | zero: what a removed channel leaves behind (mean)", compensations, 1, 0 }, \
    { "criterion", OPTION_TEXT, AT(f.opt.criterion), "NAME", CRITERIA, NULL, 1, 0 }, \
    { "seed", OPTION_INT, AT(f.seed), "N", "of the draw of images and of -criterion random (1)", NULL, 0, 2e9 }, \
    { "score_batch", OPTION_INT, AT(f.batch), "N", "images per pass while scoring; does not change the result (8)", NULL, 1, 4096 }, \
    { "backend", OPTION_TEXT, AT(f.backend), "NAME", "cpu | cuda | ref (the first GPU, else cpu)", NULL, 1, 0 }, \
    { "strict", OPTION_FLAG, AT(f.opt.strict), NULL, "unknown cfg keys are errors", NULL, 1, 0 }

static const struct option saliency_options[] = {
    { "out", OPTION_TEXT, AT(f.opt.out), "PREFIX", "writes PREFIX.json and PREFIX.csv (saliency)", NULL, 1, 0 },
    { "validate", OPTION_INT, AT(f.opt.validate), "N", "remove N groups one at a time and report how each of -criterion A,B,C (or all) foresaw it", NULL, 2, 1e6 },
    { "heatmap", OPTION_TEXT, AT(heat.folder), "DIR", "draws where the network looks, per image and head, as PNG into DIR", NULL, 1, 0 },
    { "heatmap_layers", OPTION_TEXT, AT(heat.layers), "LIST", "with -heatmap: also at these layers, e.g. 10,20, from all heads", NULL, 1, 0 },
    { "heatmap_class", OPTION_TEXT, AT(heat.class_name), "NAME", "with -heatmap: the objects of one class, by name or number", NULL, 1, 0 },
    { "heatmap_images", OPTION_INT, AT(heat.images), "N", "with -heatmap: so many of the images scored on; 0: all (8)", NULL, 0, 1e9 },
    { "compare", OPTION_FLAG, 0, NULL, "instead: A.json B.json of two such runs; do they rank the filters alike?  PREFIX.drift.json and .svg", NULL, 1, 0 },
    SENSITIVITY,
    { "resume", OPTION_FLAG, AT(f.opt.loop.resume), NULL, "go on with a -sensitivity that was interrupted", NULL, 1, 0 },
    SCORING,
    OPTION_END
};

static const struct option prune_options[] = {
    { "out", OPTION_TEXT, AT(f.opt.out), "PREFIX", "writes PREFIX.cfg, PREFIX.weights, PREFIX.prune.json, PREFIX.html (CFG's name + _pruned)", NULL, 1, 0 },
    { "ratio", OPTION_FLOAT, AT(f.ratio), "R", "share of the filters to remove (0.3 when no target is given)", NULL, 0, 1 },
    { "target_flops", OPTION_FLOAT, AT(f.flops), "S", "share of the FLOPs to keep", NULL, 0, 1 },
    { "target_params", OPTION_FLOAT, AT(f.params), "S", "share of the parameters to keep", NULL, 0, 1 },
    { "target_memory", OPTION_FLOAT, AT(f.memory), "S", "share of the activations to keep", NULL, 0, 1 },
    { "target_latency", OPTION_TEXT, AT(f.latency), "T", "time to keep, measured on this machine: a share up to 1, or milliseconds (0.7, 12, 0.8ms)", NULL, 1, 0 },
    { "latency_cache", OPTION_TEXT, AT(f.opt.latency_cache), "FILE", "measured layer times; none: keep none (~/.cache/darknet/latency.tsv)", NULL, 1, 0 },
    { "threshold", OPTION_FLOAT, AT(f.threshold), "T", "remove every group that ranks below T", NULL, 0, 1e30 },
    { "blocks", OPTION_TEXT, AT(f.blocks), "N", "first remove N whole residual blocks, those whose branch matters least by -criterion (saliency in place of hrank, chip, fpgm, lamp); without a target nothing else; auto: blocks compete with filters on the way to the target, trial cuts decide how many go (0)", NULL, 1, 0 },
    { "scope", OPTION_CHOICE, AT(f.scope), "SCOPE", "global | layer (global)", scopes, 1, 0 },
    { "max_layer_ratio", OPTION_FLOAT, AT(f.opt.select.max_layer_ratio), "R", "at most this share of any layer (0.9)", NULL, 0, 1 },
    { "min_filters", OPTION_INT, AT(f.opt.select.min_filters), "N", "at least this many per layer (8)", NULL, 1, 1e6 },
    { "round", OPTION_INT, AT(f.opt.select.round), "N", "kept widths are multiples of N; 1: exact (8)", NULL, 1, 1024 },
    { "keep_layers", OPTION_TEXT, AT(f.opt.keep_layers), "LIST", "layers that stay whole, e.g. 0,5-9", NULL, 1, 0 },
    { "cost", OPTION_CHOICE, AT(f.cost), "KIND", "flops | memory | params | latency | none: the price of a group (flops; with -target_latency latency)", costs, 1, 0 },
    { "cost_power", OPTION_FLOAT, AT(f.opt.select.cost_power), "G", "rank by score / cost^G (saliency, taylor, taylor-weight 0.5; group-fisher 1; else 0)", NULL, 0, 4 },
    { "interaction", OPTION_FLOAT, AT(f.opt.select.interaction), "B", "how much filters count together that the same objects need; 0: each alone (1; saliency only)", NULL, 0, 100 },
    { "dry_run", OPTION_FLAG, AT(f.opt.dry_run), NULL, "print the plan and why layers are frozen, write nothing", NULL, 1, 0 },
    { "report_images", OPTION_INT, AT(f.opt.report_images), "N", "example pictures on the page PREFIX.html (8)", NULL, 0, 200 },
    { "no_report", OPTION_FLAG, AT(no_report), NULL, "write no page", NULL, 1, 0 },
    { "force", OPTION_FLAG, AT(f.opt.force), NULL, "overwrite existing files", NULL, 1, 0 },
    { "keep_seen", OPTION_FLAG, AT(f.opt.keep_seen), NULL, "keep the count of images seen (`detector train` then goes on with the old schedule; without it, it begins anew, the first 12800 images of a [region] network with its warm-up; -finetune never warms up again)", NULL, 1, 0 },
    { "from_plan", OPTION_TEXT, AT(f.opt.from_plan), "FILE", "cut exactly as the record of an earlier run", NULL, 1, 0 },
    { "map", OPTION_FLAG, AT(f.opt.calc_map), NULL, "measure mAP on the valid list before and after the cut", NULL, 1, 0 },
    { "steps", OPTION_INT, AT(f.opt.loop.steps), "N", "reach the target in N cuts, scoring anew before each (1)", NULL, 1, 1000 },
    { "schedule", OPTION_CHOICE, AT(f.schedule), "KIND", "linear | cubic (most of it early) | oneshot (one cut, all training behind it) (linear)", schedules, 1, 0 },
    { "finetune", OPTION_INT, AT(f.opt.loop.finetune), "ITER", "train so many iterations after each cut, with the cfg's own settings (0)", NULL, 0, 1e9 },
    { "final_finetune", OPTION_INT, AT(f.opt.loop.final_finetune), "ITER", "after the last cut, in place of -finetune", NULL, 0, 1e9 },
    { "finetune_schedule", OPTION_CHOICE, AT(f.training), "KIND", "the cfg's schedule of rates is squeezed into: all iterations together | each step's (all; with -max_map_drop each: a step is judged at a low rate)", trainings, 1, 0 },
    { "finetune_lr", OPTION_FLOAT, AT(f.opt.loop.rate_factor), "F", "times the cfg's learning rate (1)", NULL, 1e-9, 1e6 },
    { "distill", OPTION_FLOAT, AT(f.opt.loop.distill), "L", "the unpruned network teaches, too, with this weight (0)", NULL, 0, 1e6 },
    { "max_map_drop", OPTION_FLOAT, AT(f.opt.loop.max_map_drop), "P", "stop at a step that lies more than P points of mAP below the unpruned network, keep the one before", NULL, 0, 100 },
    { "baseline", OPTION_FLAG, AT(f.opt.loop.baseline), NULL, "give the unpruned network the same training and report it beside", NULL, 1, 0 },
    { "resume", OPTION_FLAG, AT(f.opt.loop.resume), NULL, "go on with a run in steps that was interrupted or killed (a step that was not cut yet is scored again)", NULL, 1, 0 },
    { "train_seed", OPTION_INT, AT(f.train_seed), "N", "of the images and augmentation of the training (that of -seed)", NULL, 0, 2e9 },
    { "compare", OPTION_FLAG, AT(f.opt.compare), NULL, "cut, and with -finetune train, by each of -criterion A,B,C alike: one table, PREFIX.compare.json, .png", NULL, 1, 0 },
    { "seeds", OPTION_INT, AT(f.opt.seeds), "N", "with -compare: runs with draws of their own: all criteria where there is training, else random alone (3)", NULL, 1, 1000 },
    SENSITIVITY,
    { "thresh", OPTION_FLOAT, AT(f.opt.map_thresh), "T", "confidence threshold of -map (0.25)", NULL, 0, 1 },
    { "iou_thresh", OPTION_FLOAT, AT(f.opt.map_iou), "T", "overlap threshold of -map (0.5)", NULL, 0, 1 },
    SCORING,
    OPTION_END
};

/* "0.7" and "1": a share; "12" and "0.8ms": milliseconds. */
static enum status pick_latency(struct ctx *ctx, struct all_flags *a) {
    const char *rest;
    double value;
    bool number = text_double(a->f.latency, &value, &rest), ms = number && !strcmp(rest, "ms");
    if (!number || (*rest && !ms) || !(value > 0) || value > 1e9)
        return ctx_fail(ctx, ST_USAGE, "-target_latency %s: a share up to 1 or milliseconds, e.g. 0.7, 12, 0.8ms", a->f.latency);
    a->f.opt.select.target = TARGET_LATENCY;
    a->f.opt.select.value = ms || value > 1 ? 1 : value;
    a->f.opt.target_ms = ms || value > 1 ? value : 0;
    if (a->f.cost < 0) a->f.opt.select.cost = COST_LATENCY;
    return ST_OK;
}

static enum status pick_target(struct ctx *ctx, struct all_flags *a) {
    struct { double value; enum target_kind kind; } given[] = {
        { a->f.ratio, TARGET_RATIO }, { a->f.flops, TARGET_FLOPS }, { a->f.params, TARGET_PARAMS }, { a->f.memory, TARGET_MEMORY },
        { a->f.threshold, TARGET_THRESHOLD } };
    int n = 0;
    for (size_t i = 0; i < sizeof given / sizeof given[0]; ++i)
        if (given[i].value >= 0) a->f.opt.select.target = given[i].kind, a->f.opt.select.value = given[i].value, ++n;
    if (a->f.latency) {
        TRY(pick_latency(ctx, a));
        ++n;
    }
    if (a->f.opt.blocks == BLOCKS_AUTO && n == 0 && !a->sensitivity)
        return ctx_fail(ctx, ST_USAGE, "-blocks auto lets blocks compete with filters on the way to a target: give one, e.g. -target_latency 0.7");
    if (a->f.opt.blocks && n == 0) a->f.opt.select.value = 0, a->f.opt.blocks_only = true;
    if (a->f.opt.blocks_only && a->f.opt.loop.steps > 1)
        return ctx_fail(ctx, ST_USAGE, "-blocks without a target is one cut, there is nothing to divide into -steps; give a target, too");
    if (n > 1)
        return ctx_fail(ctx, ST_USAGE, "give one of -ratio, -target_flops, -target_params, -target_memory, -target_latency, -threshold, not %d", n);
    if (n && a->f.opt.from_plan) return ctx_fail(ctx, ST_USAGE, "-from_plan cuts as its record says: no other target with it");
    return ST_OK;
}

/* "3", "auto" */
static enum status pick_blocks(struct ctx *ctx, struct all_flags *a) {
    const char *text = a->f.blocks, *rest;
    double value = 0;
    if (!text) return ST_OK;
    bool whole = text_double(text, &value, &rest) && !*rest && value >= 0 && value <= 10000 && value == floor(value);
    if (!whole && strcmp(text, "auto")) return ctx_fail(ctx, ST_USAGE, "-blocks %s: a number of residual blocks, or auto", text);
    a->f.opt.blocks = whole ? (int)value : BLOCKS_AUTO;
    return ST_OK;
}

/* Flags that mean nothing without others. */
static enum status check_loop(struct ctx *ctx, const struct all_flags *a) {
    const struct loop_options *o = &a->f.opt.loop;
    bool trains = o->finetune > 0 || o->final_finetune > 0;
    if (o->resume && !loop_wanted(o) && !a->sensitivity)
        return ctx_fail(ctx, ST_USAGE, "-resume goes on with a run in steps or a -sensitivity: give the command that began it and -resume");
    if ((o->distill > 0 || o->baseline || o->rate_factor != 1) && !trains)
        return ctx_fail(ctx, ST_USAGE, "-distill, -baseline and -finetune_lr are about training: give -finetune or -final_finetune, too");
    if (a->ratios && !a->sensitivity) return ctx_fail(ctx, ST_USAGE, "-ratios is of -sensitivity: give that, too");
    return ST_OK;
}

/* What goes with blocks, and with classifiers. */
static enum status check_kind(struct ctx *ctx, const struct all_flags *a) {
    const struct prune_options *o = &a->f.opt;
    bool steps = loop_wanted(&o->loop);
    if (o->blocks && o->from_plan) return ctx_fail(ctx, ST_USAGE, "-from_plan takes the blocks from the plan: no -blocks");
    if (o->classifier && (o->compare || a->sensitivity || steps))
        return ctx_fail(ctx, ST_USAGE, "steps, training, -compare and -sensitivity go by mAP and need a detector; `classifier train` trains what this writes");
    return ST_OK;
}

static enum status parse(struct ctx *ctx, const struct command *self, int argc, char **argv, struct all_flags *a) {
    struct arguments words;
    memset(a, 0, sizeof *a);
    a->f.opt = prune_defaults();
    a->f.opt.select.cost_power = -1;
    a->f.ratio = a->f.flops = a->f.params = a->f.memory = a->f.threshold = -1;
    a->f.seed = 1;
    a->f.batch = a->f.opt.saliency.batch;
    a->f.cost = -1;
    a->heat.images = 8;
    a->f.opt.classifier = !strcmp(self->group, "classifier");
    if (a->f.opt.classifier) a->f.opt.criterion = "taylor";
    a->compensate = 1;
    a->f.opt.report_images = report_defaults().images;
    a->eval_images = 128;
    a->f.train_seed = a->f.training = -1;
    TRY(options_parse(ctx, argc, argv, self->options, a, &words, 3));
    if (!a->heat.folder && (a->heat.layers || a->heat.class_name))
        return ctx_fail(ctx, ST_USAGE, "-heatmap_layers and -heatmap_class are for -heatmap DIR");
    if (words.n < 3) return ctx_fail(ctx, ST_USAGE, "needs %s", self->words);
    a->f.opt.data = words.word[0];
    a->f.opt.cfg = words.word[1];
    a->f.opt.weights = words.word[2];
    a->f.opt.saliency.utility = (enum utility_kind)a->f.utility;
    a->f.opt.saliency.form = (enum score_form)a->f.form;
    a->f.opt.saliency.balance = (enum score_balance)a->f.balance;
    a->f.opt.saliency.normalize = (enum score_normalize)a->f.normalize;
    a->f.opt.saliency.seed = (uint64_t)a->f.seed;
    a->f.opt.saliency.batch = a->f.batch;
    a->f.opt.select.cost = a->f.cost < 0 ? COST_FLOPS : (enum cost_kind)a->f.cost;
    if (a->f.opt.latency_cache && !strcmp(a->f.opt.latency_cache, "none")) a->f.opt.latency_cache = "";
    a->f.opt.select.by_layer = a->f.scope == 1;
    a->f.opt.use_valid = a->use_valid == 1;
    a->f.opt.compensate = a->compensate == 1;
    a->f.opt.loop.schedule = (enum loop_schedule)a->f.schedule;
    a->f.opt.loop.each_schedule = a->f.training >= 0 ? a->f.training == 1 : a->f.opt.loop.max_map_drop >= 0;
    a->f.opt.loop.seed = (uint64_t)(a->f.train_seed >= 0 ? a->f.train_seed : a->f.seed);
    a->f.opt.stop = console_stop();
    if (a->no_report || a->f.opt.classifier) a->f.opt.report_images = -1; /* the page is about detections */
    if (a->f.opt.compare && (a->f.opt.from_plan || a->f.opt.dry_run))
        return ctx_fail(ctx, ST_USAGE, "-compare measures cuts by criteria: no -from_plan, no -dry_run");
    TRY(pick_blocks(ctx, a));
    TRY(check_loop(ctx, a));
    TRY(check_kind(ctx, a));
    return pick_target(ctx, a);
}

static void print_scoring(const struct prune_job *job) {
    const struct saliency *s = &job->detail;
    if (!s->n_object) return;
    printf("scored on %d images: %d small, %d medium, %d large objects", score_images_count(job->images), s->bin_count[0],
           s->bin_count[1], s->bin_count[2]);
    if (s->bin_count[3]) printf(", %d background votes", s->bin_count[3]);
    printf("\nagreement of the two halves of the images: Kendall's tau = %.2f%s\n", s->tau,
           s->tau < 0.7 ? "; more images would make the ranking firmer" : "");
}

static enum status validate(struct ctx *ctx, struct prune_job *job, const char *prefix) {
    struct validation v;
    char path[1100];
    snprintf(path, sizeof path, "%s.validate.json", prefix);
    enum status st = prune_validate(ctx, job, job->opt.validate, &v);
    if (st == ST_OK) st = validation_write(ctx, job, &v, path);
    if (st == ST_OK) {
        printf("%d groups removed one at a time; loss of %d images: %.4g\n", v.n, v.images, v.loss);
        printf("Spearman's rho of score and change of the loss; within layers: mean over the %d that have %d or more of these groups\n", v.row[0].layers,
               VALIDATE_LEAST);
        printf("%-16s %8s %14s\n", "criterion", "all", "within layers");
        for (int i = 0; i < v.n_row; ++i) {
            printf("%-16s %8.2f", v.row[i].criterion->name, v.row[i].rho);
            if (v.row[i].layers) printf(" %14.2f\n", v.row[i].rho_within);
            else printf(" %14s\n", "-");
        }
        printf("written: %s\n", path);
    }
    validation_free(&v);
    return st;
}

static enum status heatmaps_ready(struct ctx *ctx, struct prune_job *job, const struct heat_options *opt) {
    if (job->data.names) TRY(list_read(ctx, job->data.names, &job->names));
    return heat_pictures_ready(ctx, job, opt);
}

static enum status heatmaps(struct ctx *ctx, struct prune_job *job, const struct heat_options *opt) {
    struct heat_tally t;
    TRY(heat_pictures_write(ctx, job, opt, &t));
    printf("heat maps: %d pictures of %d images in %s\n", t.files, t.images, opt->folder);
    if (t.empty) printf("  %d maps left out: no object of that image is for that head\n", t.empty);
    if (t.detected) printf("  %d images have no labels: their maps are of the network's own detections\n", t.detected);
    if (t.without) printf("  %d images left out: no %s in them\n", t.without, opt->class_name ? opt->class_name : "object");
    return ST_OK;
}

/* --- what prune prints --------------------------------------------------------------------------------------------------- */

static void print_layers(const struct prune_job *job) {
    const struct net *net = prune_before(job), *small = job->small;
    bool timed = job->speed_before.layer_ms && job->speed_after.layer_ms;
    int *kept = calloc((size_t)net->n, sizeof *kept);
    if (!kept) return;
    channels_widths(job->channels, job->selection.keep, kept);
    printf("\n layer  type             filters          params (k)          MFLOPs%s\n", timed ? "               ms" : "");
    for (int i = 0; i < net->n; ++i) {
        int at = job->whole ? job->blocks.number[i] : i; /* its number behind the cut */
        const struct layer *l = &net->layer[i], *s = small && at >= 0 ? &small->layer[at] : NULL;
        if (l->n_param == 0) continue;
        if (at < 0) {
            printf("%6d  %-14s %5d ->     -  goes with its block\n", i, l->section->type, l->out.c);
            continue;
        }
        double before = 0, after = 0;
        for (int k = 0; k < l->n_param; ++k) before += (double)param_count(&l->param[k]);
        for (int k = 0; s && k < s->n_param; ++k) after += (double)param_count(&s->param[k]);
        printf("%6d  %-14s %5d -> %5d", i, l->section->type, l->out.c, kept[at]);
        if (s) printf(" %8.1f -> %7.1f %8.2f -> %7.2f", before / 1e3, after / 1e3, l->flops / 1e6, s->flops / 1e6);
        if (timed) printf(" %7.3f -> %6.3f", job->speed_before.layer_ms[i], job->speed_after.layer_ms[at]);
        const struct channel_group *g = &job->channels->group[channels_group(job->channels, at, 0)];
        if (g->frozen) printf("  stays: %s", g->frozen);
        printf("\n");
    }
    free(kept);
}

static void print_blocks(const struct prune_job *job) {
    const struct blocks *b = &job->blocks;
    if (!job->opt.blocks && !job->whole) return;
    printf("\n block  layers        score      rank  params (k)   MFLOPs\n");
    for (int k = 0; k < b->n; ++k) {
        const struct block *block = &b->item[k];
        if (block->stays && !block->n_gone) {
            printf("%6d  %-10s stays: %s (layer %d)\n", block->shortcut, "", block->stays, block->stays_by);
            continue;
        }
        char span[32];
        snprintf(span, sizeof span, "%d-%d", block->first, block->shortcut);
        printf("%6d  %-8s %10.3g %9.3g %11.1f %8.2f  %s\n", block->shortcut, span, block->score, block->rank, block->cost.params / 1e3,
               block->cost.flops / 1e6,
               block->gone ? !job->opt.compensate ? "goes" : block->compensated ? "goes, its mean stays" : "goes; its mean cannot stay behind, zero does"
                           : block->stays ? block->stays : "");
    }
    if (job->whole) printf("branches at zero = without them: largest relative difference %.2g (limit 1e-4)\n", job->worst_blocks);
}

static void print_row(const char *what, double before, double after, const char *format) {
    char a[32], b[32];
    snprintf(a, sizeof a, format, before);
    snprintf(b, sizeof b, format, after);
    printf("  %-26s %12s -> %12s   %6.1f %%\n", what, a, b, before > 0 ? 100 * after / before : 0);
}

static void print_totals(const struct prune_job *job) {
    const struct selection *s = &job->selection;
    printf("\n                                     before         after     kept\n");
    print_row("filters", s->filters_before, s->filters_after, "%.0f");
    print_row("parameters", s->before.params, s->after.params, "%.0f");
    print_row("BFLOPs", s->before.flops / 1e9, s->after.flops / 1e9, "%.3f");
    print_row("weights file, KiB", (20 + 4 * s->before.params) / 1024, (20 + 4 * s->after.params) / 1024, "%.0f");
    print_row("activations, KiB", 4 * s->before.activations / 1024, 4 * s->after.activations / 1024, "%.0f");
    if (job->speed_before.ms > 0) print_row("ms per image", job->speed_before.ms, job->speed_after.ms, "%.2f");
}

/* What -target_latency asked for, and how near the last measurement came. */
static void print_latency(const struct prune_job *job) {
    const struct latency_outcome *l = &job->latency_outcome;
    const struct latency_report *r = &job->latency_report;
    if (job->latency)
        printf("\nlayer times: %d at candidate widths, %d of them measured now%s%s\n", r->shapes, r->measured, r->path[0] ? ", kept in " : "", r->path);
    if (!l->asked) return;
    if (l->target_ms > 0) printf("latency: target %.2f ms, measured %.2f ms", l->target_ms, l->ms);
    else printf("latency: target %.1f %% of the uncut network's, measured %.1f %%", 100 * l->target_share, 100 * l->share);
    printf(" after %d cut%s, %.1f %% %s the target: %s%s\n", l->rounds, l->rounds == 1 ? "" : "s", 100 * fabs(l->off), l->off < 0 ? "under" : "over",
           l->met ? "within 5 %" : "not within 5 %: ", l->met ? "" : l->why);
}

/* What became of the network: right after the cut, or after its last training. */
static const struct map_result *outcome(const struct prune_job *job) { return job->have_tuned ? &job->map_tuned : &job->map_after; }

static void print_map(const struct prune_job *job) {
    static const char *const size[] = { "small", "medium", "large" };
    if (!job->have_map) return;
    char what[64];
    snprintf(what, sizeof what, "mAP@%.2f, %%", job->opt.map_iou);
    print_row(what, 100 * job->map_before.map, 100 * outcome(job)->map, "%.2f");
    for (int i = 0; i < MAP_SIZES; ++i) {
        if (job->map_before.map_size[i] < 0) continue;
        snprintf(what, sizeof what, "  %s objects (%d)", size[i], job->map_before.truths_size[i]);
        print_row(what, 100 * job->map_before.map_size[i], 100 * outcome(job)->map_size[i], "%.2f");
    }
}

static void print_accuracy(const struct prune_job *job) {
    const struct classify_score *a = &job->classes_before, *b = &job->classes_after;
    char what[64];
    if (!a->images) return;
    print_row("top-1, %", 100. * a->top1 / a->images, 100. * b->top1 / b->images, "%.2f");
    snprintf(what, sizeof what, "top-%d, %% (%d images)", job->top, a->images);
    if (job->top > 1) print_row(what, 100. * a->topk / a->images, 100. * b->topk / b->images, "%.2f");
}

static void print_classes(const struct prune_job *job, const struct text_list *names) {
    if (!job->have_map) return;
    printf("\n  AP by class, %%               before   after   objects\n");
    for (int i = 0; i < job->map_before.classes; ++i)
        if (job->map_before.of[i].truths)
            printf("  %-26s %8.2f %7.2f %9d\n", i < names->n ? names->item[i] : "", 100 * job->map_before.of[i].ap,
                   100 * outcome(job)->of[i].ap, job->map_before.of[i].truths);
}

static enum status prune_steps(struct ctx *ctx, struct prune_job *job) {
    TRY(prune_ready(ctx, job));
    if (loop_wanted(&job->opt.loop) && !job->opt.dry_run) {
        TRY(loop_run(ctx, job));
        print_scoring(job);
        return ST_OK;
    }
    TRY(prune_blocks(ctx, job, NULL));
    if (!job->opt.from_plan && !job->opt.blocks_only) TRY(prune_score(ctx, job));
    print_scoring(job);
    TRY(prune_select(ctx, job));
    TRY(prune_cut(ctx, job));
    if (job->opt.dry_run) return ST_OK;
    TRY(prune_measure(ctx, job));
    return prune_write(ctx, job);
}

/* --- -compare, -sensitivity ---------------------------------------------------------------------------------------------- */

static enum status compare_steps(struct ctx *ctx, struct prune_job *job) {
    struct comparison table;
    if (job->opt.loop.max_map_drop >= 0)
        return ctx_fail(ctx, ST_USAGE, "-compare gives all criteria one budget; with -max_map_drop each would end at another one, leave it out");
    TRY(prune_ready(ctx, job));
    TRY(prune_compare(ctx, job, &table));
    TRY(compare_write(ctx, job, &table));
    print_scoring(job);
    print_comparison(job, &table);
    return ST_OK;
}

/* Where it lies beside a cut it is refused like one; `detector saliency` overwrites its files. */
static enum status sensitivity_steps(struct ctx *ctx, struct prune_job *job, const struct all_flags *a, const char *prefix, bool refuse) {
    struct sensitivity s = { 0 };
    char path[1200];
    snprintf(path, sizeof path, "%s.sensitivity.json", prefix);
    if (refuse && io_exists(path) && !job->opt.force && !job->opt.loop.resume)
        return ctx_fail(ctx, ST_USAGE, "%s: exists already; -force overwrites it, -resume goes on with it, -out PREFIX writes elsewhere", path);
    enum status st = sensitivity_ratios(ctx, a->ratios, &s);
    if (st == ST_OK) st = sensitivity_run(ctx, job, prefix, a->eval_images, &s);
    if (st == ST_OK) print_sensitivity(&s);
    if (st == ST_OK) printf("written: %s.sensitivity.json, .csv, .png\n", prefix);
    sensitivity_free(&s);
    return st;
}

static char *command_line(int argc, char **argv, const char *name) {
    size_t n = strlen(name) + 1;
    for (int i = 0; i < argc; ++i) n += strlen(argv[i]) + 1;
    char *text = calloc(n + 1, 1);
    if (!text) return NULL;
    strcpy(text, name);
    for (int i = 0; i < argc; ++i) {
        if (!strcmp(argv[i], "-resume")) continue; /* the record of a run that was interrupted is that of one that was not */
        strcat(text, " ");
        strcat(text, argv[i]);
    }
    return text;
}

static int saliency_run(const struct command *self, int argc, char **argv) {
    if (drift_asked(argc, argv)) return drift_run_command(argc, argv);
    struct ctx ctx = console_ctx();
    struct all_flags a;
    struct backend *be = NULL;
    struct prune_job *job = NULL;
    struct display display = { .what = "" };
    char *line = command_line(argc, argv, "detector saliency");
    enum status st = parse(&ctx, self, argc, argv, &a);
    if (st == ST_OK) {
        a.f.opt.progress = display_phase;
        a.f.opt.user = &display;
        a.f.opt.flags = line;
        st = a.f.backend ? backend_open(&ctx, a.f.backend, &be) : device_open(&ctx, true, &be);
    }
    if (st == ST_OK) st = prune_open(&ctx, be, &a.f.opt, &job);
    if (st == ST_OK && a.heat.folder) st = heatmaps_ready(&ctx, job, &a.heat);
    const char *prefix = a.f.opt.out ? a.f.opt.out : "saliency";
    if (st == ST_OK && a.sensitivity) st = sensitivity_steps(&ctx, job, &a, prefix, false);
    else if (st == ST_OK) st = a.f.opt.validate ? validate(&ctx, job, prefix) : prune_score(&ctx, job);
    if (st == ST_OK && !a.sensitivity) st = saliency_write(&ctx, job, prefix);
    if (st == ST_OK && !a.sensitivity) {
        print_scoring(job);
        printf("written: %s.json, %s.csv\n", prefix, prefix);
    }
    if (st == ST_OK && a.heat.folder) st = heatmaps(&ctx, job, &a.heat);
    prune_close(job);
    backend_close(be);
    free(line);
    return st == ST_OK ? 0 : console_fail(&ctx);
}

static int prune_run(const struct command *self, int argc, char **argv) {
    struct ctx ctx = console_ctx();
    struct all_flags a;
    struct backend *be = NULL;
    struct prune_job *job = NULL;
    struct display display = { .what = "" };
    char *line = command_line(argc, argv, !strcmp(self->group, "classifier") ? "classifier prune" : "detector prune");
    enum status st = parse(&ctx, self, argc, argv, &a);
    if (st == ST_OK) {
        a.f.opt.progress = display_phase;
        a.f.opt.training = display_training;
        a.f.opt.user = &display;
        a.f.opt.flags = line;
        st = a.f.backend ? backend_open(&ctx, a.f.backend, &be) : device_open(&ctx, true, &be);
    }
    if (st == ST_OK) st = prune_open(&ctx, be, &a.f.opt, &job);
    if (st == ST_OK && job->data.names) st = list_read(&ctx, job->data.names, &job->names);
    char prefix[1100] = "";
    if (st == ST_OK) snprintf(prefix, sizeof prefix, "%.*s", (int)strlen(job->cfg_out) - 4, job->cfg_out);
    if (st == ST_OK && a.sensitivity) st = sensitivity_steps(&ctx, job, &a, prefix, true);
    else if (st == ST_OK) st = a.f.opt.compare ? compare_steps(&ctx, job) : prune_steps(&ctx, job);
    if (st == ST_OK && !a.f.opt.compare && !a.sensitivity) {
        print_blocks(job);
        print_layers(job);
        if (job->loop) print_loop(job);
        print_totals(job);
        print_latency(job);
        print_map(job);
        print_accuracy(job);
        print_classes(job, &job->names);
        if (job->opt.dry_run) printf("\ndry run: nothing was written\n");
        else printf("\nwritten: %s, %s, %s\n", job->cfg_out, job->weights_out, job->plan_out);
        printf("masked network = pruned network: largest relative difference %.2g (limit 1e-4)\n", job->worst);
        fflush(stdout);
        if (!job->opt.dry_run && job->opt.report_images >= 0) {
            st = prune_report(&ctx, job);
            display_end(&display);
            if (st == ST_OK) printf("the page to decide by: %s\n", job->html_out);
        }
    }
    prune_close(job);
    backend_close(be);
    free(line);
    return st == ST_OK ? 0 : console_fail(&ctx);
}

const struct command detector_saliency_command = {
    "detector", "saliency", "DATA CFG WEIGHTS", "how much the labelled objects depend on each filter, as JSON and CSV", saliency_options,
    saliency_run };
const struct command detector_prune_command = {
    "detector", "prune", "DATA CFG WEIGHTS", "removes the filters that the detections need least, and writes a smaller cfg and weights",
    prune_options, prune_run };
const struct command classifier_prune_command = {
    "classifier", "prune", "DATA CFG WEIGHTS", "the same for a classifier, by the loss (taylor) or criteria that need no labels", prune_options,
    prune_run };
