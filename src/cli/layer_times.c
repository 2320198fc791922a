#include "cli/layer_times.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum status layer_times_open(struct ctx *ctx, struct net *net, struct layer_times *t) {
    t->forward = mem_zero(ctx, (size_t)net->n, sizeof *t->forward);
    t->backward = mem_zero(ctx, (size_t)net->n, sizeof *t->backward);
    net->layer_seconds = t->forward;
    net->backward_seconds = t->backward;
    return t->forward && t->backward ? ST_OK : ST_MEMORY;
}

void layer_times_close(struct layer_times *t) {
    free(t->forward), free(t->backward);
    *t = (struct layer_times){ 0 };
}

struct layer_time { int layer; double seconds; };

static int by_time(const void *a, const void *b) {
    const struct layer_time *p = a, *q = b;
    return p->seconds < q->seconds ? 1 : p->seconds > q->seconds ? -1 : p->layer - q->layer;
}

static double sum(const double *seconds, int n) {
    double all = 0;
    for (int i = 0; i < n; ++i) all += seconds[i];
    return all;
}

/* pass: "forward" or "backward", Darknet's "fw" and "bw". */
static void print_pass(const struct net *net, const char *pass, double *seconds, struct layer_time *time) {
    double all = sum(seconds, net->n);
    for (int i = 0; i < net->n; ++i) time[i] = (struct layer_time){ i, seconds[i] };
    qsort(time, (size_t)net->n, sizeof *time, by_time);
    printf("\n Sorted by time (%s):\n", pass);
    for (int i = 0; i < net->n; ++i)
        printf("%4d - %cw-sort-layer %4d - type: %-16s - avg_time %f ms (%.1f %%) \n", i, *pass, time[i].layer,
               net->layer[time[i].layer].ops->name, time[i].seconds * 1e3, all > 0 ? time[i].seconds / all * 100 : 0);
    printf(" Total time: %f ms \n\n", all * 1e3);
    memset(seconds, 0, (size_t)net->n * sizeof *seconds);
}

enum status layer_times_print(struct ctx *ctx, const struct net *net, struct layer_times *t) {
    if (!t->forward) return ST_OK;
    struct layer_time *time = mem_zero(ctx, (size_t)net->n, sizeof *time);
    if (!time) return ST_MEMORY;
    print_pass(net, "forward", t->forward, time);
    if (sum(t->backward, net->n) > 0) print_pass(net, "backward", t->backward, time);
    free(time);
    return ST_OK;
}
