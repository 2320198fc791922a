/* What trials on a device found out, kept from one run to the next: a folder with one file per question.
 *
 * The folder is that of DARKNET_GPU_CACHE ("none": nothing is kept), else darknet/gpu in XDG_CACHE_HOME or ~/.cache.  A file's name is a
 * hash of the key, its contents: "darknet gpu 1\n", the key and "\n", the answer's FNV-1a sum (16 hex digits) and "\n", the answer.  Files
 * appear whole or not at all, so runs side by side do no harm. */
#ifndef BACKEND_CUDA_STORE_H
#define BACKEND_CUDA_STORE_H

#include "base/ctx.h"

struct store { char *dir; bool told; /* dir NULL: nothing is kept; told: its trouble was mentioned */ };

enum status store_open(struct ctx *, struct store *);
void store_close(struct store *);
/* The answer, with a NUL behind its *n bytes, to be freed by the caller; NULL: not known.  A damaged or foreign file counts as not
 * there, with one line. */
char *store_get(struct store *, struct ctx *, const char *key, size_t *n);
/* A folder that cannot be written to is no failure: one line, and nothing is kept. */
void store_put(struct store *, struct ctx *, const char *key, const char *answer, size_t n);

#endif
