/* Host memory of the CPU backends: 64-byte aligned, zeroed, counted in the backend. */
#ifndef BACKEND_MEMORY_H
#define BACKEND_MEMORY_H

#include "backend/backend.h"

/* NULL and ST_MEMORY in ctx when there is none; n = 0 gives a valid, empty block. */
void *block_alloc(struct backend *be, struct ctx *ctx, size_t n, size_t size);
void block_free(struct backend *be, void *block); /* NULL is fine */

#endif
