/* The devices of a training run.  Each member has the whole network and an equal share of every mini-batch; gradients are summed
 * over all of them, so every member makes the same update and the parameters stay the same everywhere.
 *
 * Batch norm takes its statistics over a member's own images, as Darknet and every framework does unless told otherwise; the rolling
 * ones are averaged over the members after each step.  Everything else is what one device would compute from the whole mini-batch,
 * but for the order of sums.  Draws (dropout, crops) go by an image's place in the mini-batch.
 *
 * Member 0 works in the caller's thread, with the caller's net and backend; the others have threads of their own. */
#ifndef TRAIN_TEAM_H
#define TRAIN_TEAM_H

#include "backend/collective.h"
#include "data/loader.h"
#include "train/optimizer.h"

struct team;
struct member {
    struct team *team;
    int rank;
    struct backend *be;
    struct net *net;
    struct optimizer optimizer;
    struct loss_stats *stats;    /* per layer, of its images of the present mini-batch */
    double loss, squares;
    bool settled;                /* a whole pass has run since the net was bound: all memory is there */
    /* the gradients of this pass: those from `sent` on are on their way */
    bool sending;
    size_t sent;
    struct ctx *ctx;             /* while sending */
    /* a share of sequences, gathered */
    float *x, *target;
    struct truth_list *boxes;
    const struct picture_block **block;
    size_t x_cap, target_cap, boxes_cap, block_cap;
    /* pictures for the device to draw; NULL: it has not been given any */
    struct picture_stage *stage;
    bool ahead;                  /* those of the next mini-batch are on their way */
};

typedef enum status team_task(struct ctx *, void *user, struct member *);
struct team {
    int n;
    struct member *member;
    size_t piece;                /* elements of gradients that are sent at a time, at least */
    struct collective *sums;     /* NULL with one member, and after a failure */
    struct team_threads *threads;
};

/* others: backends of members 1..n-1, open until team_close; their nets are opened from net's cfg with its parameters. */
enum status team_open(struct ctx *, struct backend *, struct net *, struct backend *const *others, int n_other, struct team *);
void team_close(struct team *); /* unbinds and frees what is not the caller's; a zeroed team is fine */

/* The task on all members at once.  Fails with the first failure of any member, after all have returned; further sums are then no
 * longer possible. */
enum status team_each(struct ctx *, struct team *, team_task *, void *user);

/* What of a batch of `images` images is this member's; x NULL: without it. */
struct team_share { const float *x; const struct truth_list *boxes; const float *target; };
enum status team_share(struct ctx *, struct member *, const struct batch *, const float *x, int images, struct team_share *);

/* The member's input from its share of a batch of blocks, and then begins to send that of the next batch, where it is there (not NULL). */
enum status team_draw(struct ctx *, struct member *, const struct batch *, const struct batch *next);
/* Lets go of blocks that are on their way; their source may be closed then. */
void team_stop_pictures(struct team *);

/* Between forward and backward pass of a step's last mini-batch: sums begin as layers finish. */
void team_send_gradients(struct ctx *, struct member *);
/* After the backward pass: the rest, and then the sums of all members are in dev_grad, and the mean of the rolling statistics in
 * their place.  A task of its own: every member must have come so far. */
team_task team_sum_gradients;
/* Parameters and moments of member 0 for all; then the others' parameters are folded and packed anew. */
team_task team_follow;
/* The layers' running numbers of member 0 for all. */
void team_copy_memory(struct team *);
/* The loss of the whole mini-batch from the members' parts, as one device would count it. */
double team_loss(const struct team *);

#endif
