/* Several ranks, each with a backend and a thread of its own, that add up and share vectors of backend memory.
 *
 * All ranks make the same calls in the same order with the same n, each on its own backend's memory; every rank ends with the
 * same bits.  A call takes its place in the order of the backend's work: it sees what was queued before, and after `wait` what
 * is queued sees the result.  Between the call and `wait` the vector is not to be touched, everything else may be worked on.
 * Two kinds: by NCCL between the GPUs of this machine, each on a stream beside the backend's; through host memory between any
 * backends, at once, sums in double in the order of ranks. */
#ifndef BACKEND_COLLECTIVE_H
#define BACKEND_COLLECTIVE_H

#include "backend/backend.h"

struct collective;
struct collective_ops {
    enum status (*sum)(struct collective *, struct ctx *, int rank, real *x, size_t n);                /* x = sum of all ranks' x */
    enum status (*broadcast)(struct collective *, struct ctx *, int rank, int root, real *x, size_t n); /* x = that of rank root */
    enum status (*wait)(struct collective *, struct ctx *, int rank);
    /* A rank cannot go on: the others' calls, present and later, end with ST_BACKEND instead of waiting for it.  From any thread.
     * What is queued may never end: close it before anything waits for the devices. */
    void (*cancel)(struct collective *);
    void (*close)(struct collective *);
};
struct collective {
    const struct collective_ops *ops;
    const char *name;
    int ranks;
};

/* Rank i computes on be[i], which outlives the collective.  NCCL where all are GPUs of their own and this build has it. */
enum status collective_open(struct ctx *, struct backend *const *be, int ranks, struct collective **);
void collective_close(struct collective *); /* when no rank is in a call any more; NULL is fine */

#endif
