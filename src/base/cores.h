/* How many threads are worth starting: one per core (two threads of one core share its multipliers) that this process may use,
 * and no more than a container's share of processor time keeps busy. */
#ifndef BASE_CORES_H
#define BASE_CORES_H

#include <stdbool.h>

/* allowed[i]: processor i may be used.  `root` stands before /proc and /sys: "" but in tests.  At least 1; what the system does
 * not tell is no limit. */
int cores_usable(const char *root, const bool *allowed, int n);

/* Of this process; 0: the system does not tell which processors it may use.  *processors: how many those are. */
int cores_here(int *processors);

#endif
