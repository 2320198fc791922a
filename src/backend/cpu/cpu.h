/* The CPU backend: float, channels-last, oneDNN convolutions where built in, own kernels compiled per instruction set. */
#ifndef BACKEND_CPU_CPU_H
#define BACKEND_CPU_CPU_H

#include "backend/backend.h"

/* What convolutions that only run multiply by, where it is faster than float; sums are exact or float.  Int8 is for those whose
 * input has a range; the others are as in bf16 where the CPU has it. */
enum cpu_precision { CPU_F32, CPU_BF16, CPU_INT8 };

/* Fills ops and state of a zeroed backend.  plain: baseline instructions and no oneDNN, as on a machine without either.
 * ST_UNSUPPORTED where the CPU lacks the precision. */
enum status cpu_open(struct ctx *ctx, struct backend *be, bool plain, enum cpu_precision precision);
void cpu_close(struct backend *be);
void cpu_describe(const struct backend *be, char *text, size_t size);

/* Scratch of the backend, 64-byte aligned, contents undefined, valid until the next call for the same purpose; NULL when there
 * is no memory. */
enum scratch_use { SCRATCH_FORMAT, SCRATCH_SUM, SCRATCH_WINOGRAD, SCRATCH_USES };
void *cpu_scratch(struct backend *be, enum scratch_use use, size_t bytes);
bool cpu_has_avx512(void);

#endif
