/* Files of a training run: DIR/BASE_NAME.weights, and DIR/BASE_last.state with what a weights file cannot
 * hold.
 *
 * The state file belongs to one weights file, known by iteration and a hash of the parameters; any other
 * weights start with zero momentum.  Format, little-endian: 8 bytes "dktrain\n", uint32 version 1, uint32 0,
 * uint64 iteration, uint64 hash of the parameters (FNV-1a over their 32-bit words), uint64 n, float64 average
 * loss, float64 best mAP (-1: none), uint64 iteration of the last mAP, n float32 of momentum. */
#ifndef TRAIN_CHECKPOINT_H
#define TRAIN_CHECKPOINT_H

#include "net/net.h"

struct train_state { uint64_t iteration, last_map; double avg_loss, best_map; };

struct checkpoint { char *dir, *base; };
/* Makes the folder where it is missing and proves that files can be written there. */
enum status checkpoint_open(struct ctx *, const char *dir, const char *base, struct checkpoint *);
void checkpoint_close(struct checkpoint *);
/* The host copy of net as DIR/BASE_NAME.weights.  Parameters that are not finite are refused (ST_NUMERIC). */
enum status checkpoint_save(struct ctx *, const struct checkpoint *, const struct net *, const char *name);
/* DIR/BASE_last.weights with its state file; a failure of either leaves both old files. */
enum status checkpoint_save_last(struct ctx *, const struct checkpoint *, const struct net *,
                                 const struct train_state *, const float *momentum);
/* Reads the state into momentum (net->n_param floats) when the file is there and belongs to net's host copy
 * at `iteration`; *found tells.  A damaged file counts as not there, with a warning. */
enum status checkpoint_resume(struct ctx *, const struct checkpoint *, const struct net *, uint64_t iteration,
                              struct train_state *, float *momentum, bool *found);

#endif
