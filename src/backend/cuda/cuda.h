/* The CUDA backend: float, channels-last, all memory and work on one device. */
#ifndef BACKEND_CUDA_CUDA_H
#define BACKEND_CUDA_CUDA_H

#include "backend/collective.h"

/* Whether a kind, well-formed or not, means this backend. */
bool cuda_names(const char *kind);
/* kind: "cuda", "cuda:N" for device number N (0), "cuda:N:PRECISION" with fp32, tf32, bf16, fp16 or fast (what the build prefers).  ST_UNSUPPORTED, with the reason, where there is none or this build has no CUDA. */
enum status cuda_open(struct ctx *ctx, struct backend *be, const char *kind);
/* The same code with the host in the device's place: for tests.  kind: "cuda-emulated", or "cuda-emulated:PRECISION", which also has
 * convolutions of a library's kind, or "cuda-emulated@N" with N MB of memory. */
enum status cuda_open_emulated(struct ctx *ctx, struct backend *be, const char *kind);
void cuda_close(struct backend *be);
void cuda_describe(const struct backend *be, char *text, size_t size);
/* How many devices can be used; 0: `why` says in one line what is wrong. */
int cuda_count(char *why, size_t size);
/* A collective of these backends' devices; *out stays NULL where they are not all devices of their own or the build has none. */
enum status cuda_collective(struct ctx *ctx, struct backend *const *be, int ranks, struct collective **out);

#endif
