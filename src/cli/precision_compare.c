#include "cli/precision_compare.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/console.h"
#include "cli/device.h"
#include "eval/speed.h"

enum { SIDES = 2, ROUNDS = 3, BATCH = 8 };
static const char *const size_name[MAP_SIZES] = { "small", "medium", "large" };

/* Rounds of one side after the other; the fastest pass of each counts, as it does on machines that others use, too. */
static enum status time_sides(struct ctx *ctx, struct net *net, const char *const *kind, struct precision_side *side) {
    struct speed_plan plan = { .batch = 1, .warmup = 2, .runs = 100, .seconds = 1, .stop = console_stop() };
    for (int round = 0; round < ROUNDS; ++round)
        for (int i = 0; i < SIDES; ++i) {
            struct backend *be;
            struct speed_record r;
            struct speed_figures f;
            TRY(backend_open(ctx, kind[i], &be));
            enum status st = speed_measure(ctx, be, &net, 1, &plan, &r);
            if (st == ST_OK) {
                st = speed_figures(ctx, r.ms[0], r.runs, &f);
                speed_record_free(&r);
                side[i].bytes = (double)be->peak_bytes;
            }
            backend_close(be);
            TRY(st);
            if (round == 0 || f.best < side[i].ms) side[i].ms = f.best;
        }
    return ST_OK;
}

static void show(void *user, int done, int total) { progress_show(user, done, total); }

enum status precision_compare(struct ctx *ctx, struct net *net, const struct text_list *images, const struct text_list *difficult,
                              const struct map_options *options, struct precision_side side[SIDES]) {
    struct progress progress = { 0 };
    struct map_options opt = *options;
    struct backend *be;
    const char *kind[SIDES] = { "cpu", NULL };
    TRY(device_cpu_kind(ctx, &kind[1]));
    TRY(backend_open(ctx, kind[0], &be));
    opt.progress = show, opt.user = &progress;
    side[0].name = "f32";
    side[1].name = strchr(kind[1], ':') + 1;
    enum status st = net_bind(ctx, net, be, NET_INFER, images->n < BATCH ? images->n : BATCH);
    if (st == ST_OK) {
        progress_start(&progress, "mAP in f32", "images");
        st = map_evaluate(ctx, net, images, difficult, &opt, &side[0].map);
        progress_end(&progress);
    }
    net_unbind(net);
    backend_close(be);
    return st == ST_OK ? time_sides(ctx, net, kind, side) : st;
}

/* --- Showing ---------------------------------------------------------------------------------------------------------- */

static bool sized(const struct precision_side *side, int k) { return side[0].map.map_size[k] >= 0; }

void precision_print(const struct precision_side side[SIDES], double iou_thresh) {
    const struct map_result *a = &side[0].map, *b = &side[1].map;
    printf("\n %-12s mAP@%0.2f", "precision", iou_thresh);
    for (int k = 0; k < MAP_SIZES; ++k)
        if (sized(side, k)) printf(" %9s", size_name[k]);
    printf(" %12s %12s\n", "ms/picture", "memory, MB");
    for (int i = 0; i < SIDES; ++i) {
        printf(" %-12s %8.2f", side[i].name, 100 * side[i].map.map);
        for (int k = 0; k < MAP_SIZES; ++k)
            if (sized(side, k)) printf(" %9.2f", 100 * side[i].map.map_size[k]);
        printf(" %12.2f %12.1f\n", side[i].ms, side[i].bytes / 1e6);
    }
    printf(" %-12s %+8.2f", "change", 100 * (b->map - a->map));
    for (int k = 0; k < MAP_SIZES; ++k)
        if (sized(side, k)) printf(" %+9.2f", 100 * (b->map_size[k] - a->map_size[k]));
    printf(" %11.2fx %11.2fx\n", side[1].ms / side[0].ms, side[1].bytes / side[0].bytes);
    fflush(stdout);
}

cJSON *precision_json(const struct precision_side *side) {
    cJSON *o = cJSON_CreateObject(), *size;
    cJSON_AddNumberToObject(o, "map", side->map.map);
    cJSON_AddNumberToObject(o, "map_present", side->map.map_present);
    size = cJSON_AddObjectToObject(o, "size");
    for (int k = 0; k < MAP_SIZES; ++k)
        if (side->map.map_size[k] >= 0) cJSON_AddNumberToObject(size, size_name[k], side->map.map_size[k]);
    cJSON_AddNumberToObject(o, "ms", side->ms);
    cJSON_AddNumberToObject(o, "bytes", side->bytes);
    return o;
}
