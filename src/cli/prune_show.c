#include "cli/prune_show.h"

#include <stdio.h>
#include <string.h>

#include "train/trainer.h"

void display_end(struct display *d) {
    if (d->open) progress_end(&d->progress);
    d->open = false;
    d->what[0] = '\0';
}

/* What a phase counts. */
static const char *counted(const char *what) {
    static const char *const units[][2] = { { "sensitivity", "networks" }, { "layer times", "widths" }, { "latency", "cuts" }, { "leaving one out", "groups" } };
    for (size_t i = 0; i < sizeof units / sizeof units[0]; ++i)
        if (!strcmp(units[i][0], what)) return units[i][1];
    return "images";
}

void display_phase(void *user, const char *what, int done, int total) {
    struct display *d = user;
    if (!d->open || strcmp(d->what, what)) {
        display_end(d);
        snprintf(d->what, sizeof d->what, "%s", what);
        progress_start(&d->progress, d->what, counted(what));
        d->open = true;
    }
    progress_show(&d->progress, done, total);
    if (done == total) display_end(d);
}

static void duration(char text[32], double seconds) {
    if (seconds >= 3600) snprintf(text, 32, "%d:%02d h", (int)seconds / 3600, (int)seconds / 60 % 60);
    else snprintf(text, 32, "%d:%02d", (int)seconds / 60, (int)seconds % 60);
}

void display_training(void *user, const char *what, const struct train_news *n, double left) {
    struct display *d = user;
    char whole[32] = "?";
    if (!d->open || strncmp(d->what, what, strlen(what)) || !strstr(d->what, "fine-tuning")) {
        display_end(d);
        progress_start(&d->progress, d->what, "iterations");
        d->progress.started -= n->seconds + n->load_seconds;
        d->progress.first = (int)n->iteration - 1;
        d->open = true;
    }
    if (left >= 0) duration(whole, left);
    snprintf(d->what, sizeof d->what, "%sfine-tuning (loss %.3f, avg %.3f, rate %.5f, %.1f images/s, whole run %s left)", what, n->loss, n->avg_loss,
             n->rate, n->images_per_second, whole);
    progress_eta(&d->progress, (int)n->iteration, n->max_iterations, n->eta_seconds);
    if (n->stopping) display_end(d);
}

static void print_maps(double map, const double *size) {
    printf(" %8.2f", 100 * map);
    for (int i = 0; i < MAP_SIZES; ++i)
        if (size[i] >= 0) printf(" %6.2f", 100 * size[i]);
        else printf(" %6s", "-");
}

void print_loop(const struct prune_job *job) {
    struct loop_step whole, step;
    int last = loop_final_step(job);
    loop_step_at(job, 0, &whole);
    printf("\n  mAP@%.2f, %%                                 after the cut                     after training\n", job->opt.map_iou);
    printf("  step  filters  params (k)   FLOPs %%      all  small medium  large  iterations      all  small medium  large\n");
    for (int s = 0; s < loop_step_count(job); ++s) {
        loop_step_at(job, s, &step);
        printf("  %4d %8d %11.1f %9.1f", s, step.filters, step.cost.params / 1e3, 100 * step.cost.flops / whole.cost.flops);
        print_maps(step.map_cut, step.map_cut_size);
        if (s) printf(" %11d", step.iterations), print_maps(step.map, step.map_size);
        printf("%s\n", s == 0 ? "  unpruned" : !step.held ? "  given up" : s == last ? "  final" : "");
    }
    const cJSON *final = cJSON_GetObjectItem(job->loop, "final");
    if (final) printf("  step %d after %.0f more iterations: mAP %.2f %%\n", last, cJSON_GetNumberValue(cJSON_GetObjectItem(final, "iterations")), 100 * job->map_tuned.map);
    if (loop_stopped(job)) printf("  ended early: %s\n", loop_stopped(job));
    if (loop_baseline(job, &step)) {
        printf("  the unpruned network after the same %d iterations:            ", step.iterations);
        print_maps(step.map, step.map_size);
        printf("\n");
    }
}

static void print_figure(const struct compare_row *row, const struct compare_figure *f, double scale, int digits) {
    char text[48] = "-";
    if (f->mean >= 0 && row->runs > 1) snprintf(text, sizeof text, "%.*f+-%.*f", digits, scale * f->mean, digits, scale * f->spread);
    else if (f->mean >= 0) snprintf(text, sizeof text, "%.*f", digits, scale * f->mean);
    printf(" %12s", text);
}

void print_comparison(const struct prune_job *job, const struct comparison *c) {
    bool trained = loop_wanted(&job->opt.loop);
    printf("\n%-14s", "criterion");
    if (trained) printf(" %12s", "mAP when cut");
    printf(" %12s %12s %12s %12s %12s %12s %12s %12s\n", "mAP, %", "small", "medium", "large", "params (k)", "BFLOPs", "ms",
           "time, %");
    for (int i = 0; i < c->n; ++i) {
        const struct compare_row *row = &c->row[i];
        printf("%-14s", row->criterion ? row->criterion->name : row->trained ? "(uncut+train)" : "(uncut)");
        if (trained) print_figure(row, &row->cut, 100, 2);
        print_figure(row, &row->map, 100, 2);
        for (int k = 0; k < MAP_SIZES; ++k) print_figure(row, &row->map_size[k], 100, 2);
        print_figure(row, &row->params, 1e-3, 1);
        print_figure(row, &row->flops, 1e-9, 4);
        print_figure(row, &row->ms, 1, 2);
        print_figure(row, &row->time, 100, 1);
        printf("%s\n", row->reached ? "" : "  target out of reach");
    }
    printf("%s, mAP@%.2f; time: share of the uncut network's, run side by side; written: %.*s.json, .png\n",
           trained ? "after the same training" : "right after the cut", job->opt.map_iou, (int)strlen(job->compare_out) - 5, job->compare_out);
}

void print_sensitivity(const struct sensitivity *s) {
    printf("\nchange of the loss (%d images) and of mAP in points (%d images) when a layer's lowest filters go; uncut: loss %.3f, mAP %.2f %%\n", s->images,
           s->valid, s->whole.loss, 100 * s->whole.map);
    printf(" layer  layers  groups");
    for (int r = 0; r < s->n_ratio; ++r) printf("   %3.0f %%: loss    mAP", 100 * s->ratio[r]);
    printf("\n");
    for (int i = 0; i < s->n; ++i) {
        const struct sensitivity_row *row = &s->row[i];
        printf("%6d %7d %7d", row->layer, row->layers, row->groups);
        for (int r = 0; r < s->n_ratio; ++r)
            printf("   %+11.3f %+6.2f", row->at[r].loss - s->whole.loss, 100 * (row->at[r].map - s->whole.map));
        printf("\n");
    }
    if (s->n_block) printf("\n block  layers         score         loss    mAP   without this residual block\n");
    for (int i = 0; i < s->n_block; ++i) {
        const struct sensitivity_block *b = &s->block[i];
        char span[32];
        snprintf(span, sizeof span, "%d-%d", b->first, b->shortcut);
        printf("%6d  %-8s %11.3g  %+11.3f %+6.2f\n", b->shortcut, span, b->score, b->at.loss - s->whole.loss, 100 * (b->at.map - s->whole.map));
    }
}
