/* -benchmark_layers: how long each layer took, the slowest first. */
#ifndef CLI_LAYER_TIMES_H
#define CLI_LAYER_TIMES_H

#include "net/net.h"

struct layer_times { double *forward, *backward; /* seconds since the last print, per layer */ };
/* Has the net measure; close after the net's last pass. */
enum status layer_times_open(struct ctx *, struct net *, struct layer_times *);
void layer_times_close(struct layer_times *);
/* Prints and starts anew; backward passes only where there were any.  Nothing before layer_times_open. */
enum status layer_times_print(struct ctx *, const struct net *, struct layer_times *);

#endif
