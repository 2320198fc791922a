/* A proof of concept in one run: cut one network to several budgets, train each cut, measure all of them side by side, and compare:
 * accuracy, latency, size, and which of them no other one beats.  Every budget is a pruning run of its own (loop.h) with a page of
 * its own; what they have in common is PREFIX.json and PREFIX.html.  A killed run goes on where it was. */
#ifndef RECIPE_POC_H
#define RECIPE_POC_H

#include "recipe/prune_job.h"

enum { POC_MOST = 16 };
struct poc_options {
    struct prune_options prune;   /* of each budget, but for out, flags, select.target value, loop.resume and loop.baseline */
    const char *out;              /* PREFIX */
    int n_budget;
    double budget[POC_MOST];      /* shares of the FLOPs (or what prune.select.target counts) to keep, falling */
    bool baseline;                /* the unpruned network gets the same training, too */
    void (*say)(void *user, const char *what); /* a new budget begins */
};
/* "0.9,0.7,0.5" */
enum status poc_budgets(struct ctx *, const char *text, struct poc_options *);
/* *record: what PREFIX.json holds (caller deletes).  ST_INTERRUPTED: saved, the same call goes on. */
enum status poc_run(struct ctx *, struct backend *, const struct poc_options *, cJSON **record);

/* Sets "front" of every point: no other is as accurate, as fast and as small and better in one of them. */
void poc_mark_front(cJSON *points);
/* The fastest point within `points` of mAP of the first one; NULL: none but itself. */
const cJSON *poc_fastest_within(const cJSON *points, double drop);
/* poc_page.c; caller frees. */
enum status poc_page(struct ctx *, const cJSON *record, char **html);

#endif
