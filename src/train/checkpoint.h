/* Files of a training run: DIR/BASE_NAME.weights, and DIR/BASE_last.state with what a weights file cannot hold.
 *
 * The state file belongs to one weights file, known by iteration and a hash of the parameters; any other weights start with
 * zero moments.  Format, little-endian: 8 bytes "dktrain\n", uint32 version 3, uint32 optimiser (enum optimizer_kind) + 256
 * with an average, uint64 iteration, uint64 hash of the parameters (FNV-1a over their 32-bit words), uint64 n, float64 average
 * loss, float64 best mAP (-1: none), uint64 iteration of the last mAP, uint64 updates since the moments were zero, uint64
 * points and uint64 stride of the history, uint64 count of the layers' running numbers (layer_ops.memory), float64 loss scale (0: none)
 * and uint64 good steps with it (version 2 has neither); then float32[n] of momentum, second moment (Adam) and average, each when there is
 * one; then per point uint64 iteration, float64 loss, float64 mAP; then the
 * running numbers as float64, layer by layer. */
#ifndef TRAIN_CHECKPOINT_H
#define TRAIN_CHECKPOINT_H

#include "net/net.h"
#include "train/history.h"
#include "train/optimizer.h"

struct train_state {
    uint64_t iteration, last_map;
    double avg_loss, best_map;
    double loss_scale; uint64_t loss_good; /* struct loss_scale; 0: none */
    struct history history;
};

struct checkpoint { char *dir, *base; };
/* Makes the folder where it is missing and proves that files can be written there. */
enum status checkpoint_open(struct ctx *, const char *dir, const char *base, struct checkpoint *);
void checkpoint_close(struct checkpoint *);
/* The host copy of net as DIR/BASE_NAME.weights, or as DIR/BASE.SUFFIX.  Parameters that are not finite are refused
 * (ST_NUMERIC). */
enum status checkpoint_save(struct ctx *, const struct checkpoint *, const struct net *, const char *name);
enum status checkpoint_save_bare(struct ctx *, const struct checkpoint *, const struct net *, const char *suffix);
/* DIR/BASE_last.weights with its state file; a failure of either leaves both old files.  Between the two a run may be killed: until
 * both are in place the new state lies in BASE_next.state, so that one of the two states belongs to the weights at any moment. */
enum status checkpoint_save_last(struct ctx *, const struct checkpoint *, const struct net *,
                                 const struct train_state *, const struct optimizer *);
/* The layers' running numbers as at the start of a run. */
enum status checkpoint_forget(struct ctx *, struct net *);
/* Reads the state file when it is there and belongs to net's host copy at `iteration` and to this kind of optimiser; *found
 * tells.  A damaged file counts as not there, with a warning. */
enum status checkpoint_resume(struct ctx *, const struct checkpoint *, struct net *, uint64_t iteration,
                              struct train_state *, struct optimizer *, bool *found);

#endif
