/* What the commands compute on.  -i N, -gpus LIST, -nogpu and -precision KIND may stand anywhere on a command line, as in Darknet.
 * The environment's DARKNET_DEVICE=cpu stands for -nogpu where none of them chooses. */
#ifndef CLI_DEVICE_H
#define CLI_DEVICE_H

#include "backend/backend.h"

/* -precision: what convolutions multiply by.  DEVICE_USUAL: not asked for. */
enum device_precision { DEVICE_USUAL, DEVICE_F32, DEVICE_TF32, DEVICE_FP16, DEVICE_BF16, DEVICE_INT8 };
enum device_precision device_precision(void);

/* Takes the flags out of the words and remembers what they say. */
enum status device_flags(struct ctx *, int *n, char **word);
/* Says, once a command is known, that there is no GPU of those that were asked for. */
void device_tell(struct ctx *);
/* The GPU that was named, else the first one, else the CPU.  exact: results count to the last digits, so tf32, bf16 and fp16 are for
 * those who ask for them.  ST_UNSUPPORTED where it has not the precision that was asked for. */
enum status device_open(struct ctx *, bool exact, struct backend **);

/* backend_open's name of the CPU in the precision that was asked for. */
enum status device_cpu_kind(struct ctx *, const char **kind);

#endif
