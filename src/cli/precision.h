/* -precision int8 needs to know what the inputs of convolutions hold: from the file beside the weights, or from the user's pictures.
 * -calibrate LIST and -images N may stand anywhere on the command line beside it. */
#ifndef CLI_PRECISION_H
#define CLI_PRECISION_H

#include "cli/options.h"
#include "net/net.h"

/* Takes -calibrate and, where 8 bits are asked for, -images out of the words. */
enum status precision_flags(struct ctx *, int *n, char **word);
/* Refuses bf16 and int8 for commands that do more than run a network, and -calibrate without int8. */
enum status precision_check(struct ctx *, const struct command *);

/* Sets net->range where the precision is int8, before the network is bound: reads NAME.int8.json beside the weights, or, where that is
 * missing or -calibrate is given, looks at pictures and writes it.  list: of the .data file, used where -calibrate names none; NULL: none. */
enum status precision_prepare(struct ctx *, struct net *, const char *cfg, const char *weights, const char *list);

#endif
