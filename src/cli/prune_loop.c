#include "cli/prune_loop.h"

#include <stdio.h>
#include <string.h>

#include "train/trainer.h"

void display_end(struct display *d) {
    if (d->open) progress_end(&d->progress);
    d->open = false;
    d->what[0] = '\0';
}

void display_phase(void *user, const char *what, int done, int total) {
    struct display *d = user;
    if (!d->open || strcmp(d->what, what)) {
        display_end(d);
        snprintf(d->what, sizeof d->what, "%s", what);
        progress_start(&d->progress, d->what, "images");
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
    if (n->iteration == (uint64_t)n->max_iterations || n->stopping) display_end(d);
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
