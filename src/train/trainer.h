/* Training: batches from a source, forward, loss, backward, update; checkpoints; resume; a score on the way. */
#ifndef TRAIN_TRAINER_H
#define TRAIN_TRAINER_H

#include "data/loader.h"
#include "eval/map.h"
#include "net/net.h"
#include "train/history.h"

/* One line of news per iteration, for whoever shows it. */
struct train_news {
    uint64_t iteration, images;      /* images = iteration * batch */
    int max_iterations;
    double loss, avg_loss, rate;
    double seconds, load_seconds;    /* of this iteration: computing, and waiting for data */
    double images_per_second, eta_seconds;
    int net_w, net_h, mini_batch;    /* of this iteration */
    double random_coef;              /* > 0: this iteration drew a new size, at most so many times the cfg's */
    const char *head_lines;          /* the heads' log lines of the iteration, '\n' separated */
    double map, best_map;            /* -1: not known */
    bool new_map;                    /* mAP was computed after this iteration */
    uint64_t next_map;               /* iteration after which it is due again; 0: never */
    const struct history *history;   /* of the whole run */
    bool stopping;                   /* the flag is up: this was the last iteration for now */
};
struct train_options {
    /* Where batches come from; NULL: the images of the list and their label files.  Called once, when everything else is
     * known to be right; the source is closed by the trainer. */
    enum status (*open_source)(struct ctx *, void *user, const struct batch_request *, struct batch_source *);
    void *source_user;
    int epoch_images;                /* images of one pass over the data; 0: as many as the list has */
    /* The score to measure with calc_map, larger is better; NULL: mAP on the valid list.  `eval` is bound for inference. */
    enum status (*measure)(struct ctx *, void *user, struct net *eval, double *score);
    void *measure_user;
    const char *base;                /* stem of checkpoint names; DIR = data->backup */
    bool clear;                      /* start at iteration 0 whatever the weights have seen */
    bool calc_map;
    int map_epochs;                  /* 4 */
    float map_thresh, map_iou;
    uint64_t seed;
    int max_iterations;              /* > 0: instead of max_batches (fine-tuning inside a pruning run) */
    int end;                         /* > 0: ends after this iteration, as if max_iterations were reached, which rates and sizes go by */
    double rate_factor;              /* multiplies the cfg's rate; 0 counts as 1 */
    bool save;                       /* write checkpoints into data->backup */
    bool checkpoint_activations;     /* less memory for more time, the same result */
    int save_every, last_every;      /* 0: from .data, else upstream's defaults */
    int backup_every;                /* > 0: BASE.backup every so many iterations, as Darknet's rnn command */
    int loader_threads;              /* 0: as many as processors */
    struct backend *const *others;   /* further devices; each takes an equal share of every mini-batch (train/team.h) */
    int n_other;
    size_t sum_piece;                /* gradients that devices sum at a time, in elements; 0: 4 Mi */
    double sparsity;                 /* > 0: pull of the L1 norm on the scales of batch norm (sparsity.h) */
    /* Between loss and backward pass of every mini-batch x (the net's batch, planar), NULL: nothing.  Adds to head_delta, and what
     * it adds to the loss to *loss (over the whole mini-batch, as the heads' losses). */
    enum status (*second_loss)(struct ctx *, void *user, struct net *, const float *x, const struct truth_list *boxes, double *loss);
    void *second_user;
    void (*news)(void *user, const struct train_news *);
    void *user;
    const volatile int *stop;        /* becomes non-zero: finish the step, save, return ST_INTERRUPTED */
};
struct train_result { uint64_t iteration; double avg_loss, map, best_map; double seconds, wait_seconds; };

/* net: opened, weights loaded (host copy); it is bound and rebound here and comes back unbound, in its cfg's size, with the
 * trained host copy and its `seen`.  images/valid: paths; not looked at with a source and a measure of the caller's.  Everything that can be wrong with lists, labels, options and the
 * backup folder is found before the first iteration.  A run that goes on from BASE_last.weights, or other weights of that
 * iteration, with BASE_last.state beside it equals an uninterrupted one; otherwise momentum starts at 0, with a note.
 * ST_INTERRUPTED: stopped by the flag, saved.  ST_NUMERIC: loss or gradient is not finite; names iteration and images;
 * files of earlier iterations stay.  Any other failure later on: what was trained is saved as BASE_last first. */
enum status train_run(struct ctx *, struct backend *, struct net *, const struct data_options *data,
                      const struct text_list *images, const struct text_list *valid, const struct train_options *,
                      struct train_result *);

#endif
