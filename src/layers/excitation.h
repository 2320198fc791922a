/* assisted_excitation (darknet-compat 2.1): while training starts, cells inside labelled boxes get more activation. */
#ifndef LAYERS_EXCITATION_H
#define LAYERS_EXCITATION_H

#include "layers/layer.h"

/* How strong it is at this iteration; `until`: the key's value, 1: all of max_batches. */
double excitation_alpha(int until, uint64_t iteration, int max_batches);
/* map (N, 1, H, W): 1 inside any box, else 0. */
enum status excitation_map(struct pass *, struct tensor *map);

#endif
