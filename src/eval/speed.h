/* How long a forward pass takes, side by side: machines are shared, so only figures from one run compare. */
#ifndef EVAL_SPEED_H
#define EVAL_SPEED_H

#include "net/net.h"

struct speed { double ms; double *layer_ms; /* per layer, or NULL; caller frees */ };
/* Median milliseconds per image at batch 1 of one or two networks (b may be NULL), run alternately `runs` times after a warm-up,
 * or until `seconds` have passed.  The networks are bound for INFER inside and unbound after. */
enum status speed_compare(struct ctx *, struct backend *, struct net *a, struct net *b, int runs, double seconds,
                          struct speed *of_a, struct speed *of_b);

#endif
