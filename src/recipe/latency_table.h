/* Measures how long a network's layers take at candidate widths, on this machine with this build, and keeps the figures in a
 * file: a second run measures nothing.  A line of it is keyed by CPU, library version, build, threads and layer shape. */
#ifndef RECIPE_LATENCY_TABLE_H
#define RECIPE_LATENCY_TABLE_H

#include "prune/channels.h"
#include "prune/latency.h"

struct latency_options {
    const char *cache;      /* the file; NULL: latency.tsv in $XDG_CACHE_HOME/darknet or ~/.cache/darknet; "": none */
    int round;              /* candidate widths are multiples of this */
    void (*progress)(void *user, const char *what, int done, int total);
    void *user;
    const volatile int *stop;
};
struct latency_report {
    int shapes, measured;
    int pairs, falling; /* see latency_doubt */
    char path[1024];    /* the file, or "" */
};

/* Convolutions are timed alone at a grid of widths, everything else by the whole network, whose layers' times at full width
 * scale all.  Batch 1.  What an interrupted run had measured is kept; where a quarter of the times fall with the width, that is told
 * (a warning) and nothing is kept. */
enum status latency_measure(struct ctx *, struct backend *, struct net *, const struct channels *, const struct latency_options *,
                            struct latency_model **, struct latency_report *);

/* Milliseconds of one or two networks at batch 1, run alternately: the sum over the layers of each one's fastest pass, which
 * stays the same on a busy machine, where a whole pass is rarely left alone.  layer_ms (may be NULL): the layers' own. */
enum status latency_time(struct ctx *, struct backend *, struct net **net, int nets, double *ms, double *const *layer_ms);

/* What identifies machine and build in the file, in one line without tabs. */
void latency_machine(const struct backend *, char *text, size_t size);

#endif
