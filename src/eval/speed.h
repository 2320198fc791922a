/* How long a forward pass takes, side by side: machines are shared, so only figures from one run compare. */
#ifndef EVAL_SPEED_H
#define EVAL_SPEED_H

#include "net/net.h"

struct speed { double ms; double *layer_ms; /* per layer, or NULL; caller frees */ };
/* Median milliseconds per image at batch 1 of one or two networks (b may be NULL), run alternately `runs` times after a warm-up,
 * or until `seconds` have passed.  The networks are bound for INFER inside and unbound after. */
enum status speed_compare(struct ctx *, struct backend *, struct net *a, struct net *b, int runs, double seconds,
                          struct speed *of_a, struct speed *of_b);

/* The same in full. */
struct speed_plan {
    int batch, warmup, runs;
    double seconds;                /* stop after so many, with at least 3 passes; <= 0: no limit */
    const volatile int *stop;      /* may be NULL */
    void (*progress)(void *user, int done, int total);
    void *user;
};
/* Pass k of every network: milliseconds of the whole batch, in the order of running.  Pass k of one network is next to pass k of the
 * other in time, and every second pair runs in the other order. */
struct speed_record { int runs; double *ms[2]; double *layer_ms[2]; /* means per pass */ double *layer_bytes[2]; /* net_layer_bytes */ };
enum status speed_measure(struct ctx *, struct backend *, struct net *const *net, int nets, const struct speed_plan *, struct speed_record *);
void speed_record_free(struct speed_record *);

struct speed_figures { double best, p50, p90, p99, mean; };
enum status speed_figures(struct ctx *, const double *ms, int n, struct speed_figures *);

/* How b relates to a, pair by pair, without assuming how times are distributed. */
struct speed_ratio {
    double median, quartile[2];    /* of b / a */
    double low, high;              /* interval that holds the true median with at least SPEED_CONFIDENCE (order statistics) */
    double p;                      /* sign test: such an imbalance by chance, were neither faster */
    bool noise;                    /* p > 1 - SPEED_CONFIDENCE, or a difference below SPEED_FLOOR, which memory placement alone can cause */
};
#define SPEED_FLOOR .01
#define SPEED_CONFIDENCE .99 /* a wrong verdict in a hundred runs; it takes 8 pairs at least */
enum status speed_ratio_of(struct ctx *, const double *a, const double *b, int n, struct speed_ratio *);

/* What it takes to load and run a network once, in a process of its own, so that nothing else counts.  Call it before this process
 * computes anything: threads do not survive fork(). */
struct footprint {
    double read_ms, weights_ms, bind_ms, first_ms; /* cfg; weights (0 without); memory, plans and packing; the first pass */
    double resident;               /* bytes: the process's peak, program and libraries among them */
    double buffers;                /* bytes the backend held for the network at most: outputs, parameters, workspace */
};
struct footprint_request { const char *cfg, *weights, *backend; int width, height /* 0: the cfg's */, batch; bool strict; };
enum status speed_footprint(struct ctx *, const struct footprint_request *, struct footprint *);

/* The network of a request, open, loaded or with fresh weights, and of the wanted size; *seconds: reading, loading (may be NULL). */
enum status speed_open(struct ctx *, const struct footprint_request *, struct net **, double seconds[2]);

#endif
