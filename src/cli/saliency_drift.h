/* detector saliency -compare A.json B.json */
#ifndef CLI_SALIENCY_DRIFT_H
#define CLI_SALIENCY_DRIFT_H

#include "cli/options.h"

/* True when the words ask for it. */
bool drift_asked(int argc, char **argv);
int drift_run_command(int argc, char **argv);

#endif
