/* From scores to a keep flag per group (pruning.md 7). */
#ifndef PRUNE_SELECT_H
#define PRUNE_SELECT_H

#include "prune/blocks.h"
#include "prune/channels.h"
#include "prune/latency.h"
#include "prune/saliency.h"

enum target_kind { TARGET_RATIO, TARGET_FLOPS, TARGET_PARAMS, TARGET_MEMORY, TARGET_THRESHOLD, TARGET_LATENCY };
struct select_options {
    enum target_kind target;
    double value;               /* RATIO: share of filters to remove; FLOPS, PARAMS, MEMORY, LATENCY: share to keep; THRESHOLD: rank below */
    bool by_layer;              /* the same share from every unit instead of one global ranking */
    double max_layer_ratio;     /* 0.9 */
    int min_filters;            /* 8 */
    int round;                  /* kept widths are multiples of this; 1: exact */
    enum cost_kind cost;
    double cost_power;          /* gamma; 0: rank by score alone */
    bool recount;               /* price a group by what it would save now, not by what it saves from the full network */
    const uint8_t *keep_layer;  /* per layer, or NULL: whole layers that stay */
    double interaction;         /* beta of docs/saliency.md: how much groups count together that move the same objects; 0: each alone */
    const float *response;      /* per group n_response values, as struct saliency has them; NULL: none, each group alone */
    int n_response;
    const struct latency_model *latency; /* for TARGET_LATENCY and COST_LATENCY */
    const int *whole;           /* per layer: the width that max_layer_ratio and min_filters go by; NULL: its own.  A network that was
                                 * cut before gives what it had at first. */
};
struct select_options select_defaults(void);

struct selection {
    uint8_t *keep;              /* per group */
    double *rank;               /* score / cost^gamma per group: of the full network */
    struct cost before, after;
    int filters_before, filters_after;
    bool reached;               /* the target could be met within the limits */
};
enum status select_groups(struct ctx *, const struct channels *, const double *score, const struct select_options *, struct selection *);
void selection_free(struct selection *);

/* Residual blocks against groups on the way to a target (not a threshold): in turn goes what has the lowest score per power of what it
 * saves now, each judged alone, and of a block's saving only what the target still asks for counts.  `b`: none gone, scores in the
 * groups' unit; afterwards none gone, ranks set, and the n that would go in order[] (room for all), first to last. */
enum status select_blocks(struct ctx *, const struct channels *, const double *score, const struct select_options *, struct blocks *b, int *order,
                          int *n);

/* What a choice by `kind` goes by: 1 for COST_NONE. */
double cost_price(const struct cost *, enum cost_kind);

#endif
