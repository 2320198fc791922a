#include "cli/saliency_drift.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/console.h"
#include "recipe/drift.h"

struct drift_flags { bool compare; const char *out; };
static const struct option drift_options[] = {
    { "compare", OPTION_FLAG, offsetof(struct drift_flags, compare), NULL, "", NULL, 1, 0 },
    { "out", OPTION_TEXT, offsetof(struct drift_flags, out), "PREFIX", "", NULL, 1, 0 },
    OPTION_END
};

bool drift_asked(int argc, char **argv) {
    for (int i = 0; i < argc; ++i)
        if (strcmp(argv[i], "-compare") == 0) return true;
    return false;
}

static void print_tau(double tau) {
    if (isnan(tau)) printf(" %8s", "-");
    else printf(" %8.2f", tau);
}

static void print_drift(const struct drift *d) {
    for (int r = 0; r < 2; ++r) {
        const struct drift_run *run = &d->run[r];
        printf("%s: %s, %d images%s%s (%d small, %d medium, %d large objects)\n", r ? "B" : "A", run->path, run->images, *run->list ? " of " : "",
               run->list, run->objects[0], run->objects[1], run->objects[2]);
    }
    printf("\n layer  type            groups   A to B  halves A  halves B   (Kendall's tau)\n");
    for (int i = 0; i < d->n_layer; ++i) {
        const struct drift_layer *l = &d->layer[i];
        printf("%6d  %-14s %7d", l->layer, l->type, l->groups);
        print_tau(l->tau);
        printf(" ");
        print_tau(l->half[0]);
        printf(" ");
        print_tau(l->half[1]);
        printf("\n");
    }
    printf("   all                  %7d", d->groups);
    print_tau(d->tau);
    printf(" ");
    print_tau(d->run[0].tau);
    printf(" ");
    print_tau(d->run[1].tau);
    printf("\n\nif the lowest groups by A went:     also among B's lowest   share of B's score   (B's own choice)\n");
    for (int i = 0; i < DRIFT_CUTS; ++i) {
        const struct drift_cut *c = &d->cut[i];
        printf("%34.0f %% %21.0f %% %18.1f %% %17.1f %%\n", 100 * c->share, 100 * c->common, 100 * c->lost, 100 * c->own);
    }
    printf("\n%s\n", d->text);
}

int drift_run_command(int argc, char **argv) {
    struct ctx ctx = console_ctx();
    struct drift_flags flags = { .out = "saliency" };
    struct arguments words;
    struct drift d = { 0 };
    char json[1100], svg[1100];
    enum status st = options_parse(&ctx, argc, argv, drift_options, &flags, &words, 2);
    if (st == ST_OK && words.n != 2) st = ctx_fail(&ctx, ST_USAGE, "detector saliency -compare: needs two files of earlier runs: A.json B.json");
    snprintf(json, sizeof json, "%s.drift.json", flags.out);
    snprintf(svg, sizeof svg, "%s.drift.svg", flags.out);
    if (st == ST_OK) st = drift_compare(&ctx, words.word[0], words.word[1], &d);
    if (st == ST_OK) st = drift_write_json(&ctx, &d, json);
    if (st == ST_OK) st = drift_write_svg(&ctx, &d, svg);
    if (st == ST_OK) {
        print_drift(&d);
        printf("written: %s, %s\n", json, svg);
    }
    drift_free(&d);
    return st == ST_OK ? 0 : console_fail(&ctx);
}
