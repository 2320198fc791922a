/* Whole files in, atomic files out, hashes. */
#ifndef BASE_IO_H
#define BASE_IO_H

#include <stdio.h>

#include "base/ctx.h"

/* The whole file, with a NUL behind its *size bytes.  Caller frees. */
enum status io_read(struct ctx *ctx, const char *path, char **bytes, size_t *size);

/* A file that appears under its name only when complete: written to "<path>.tmp.<pid>", flushed, synced and renamed by
 * io_commit; io_abort removes it.  Write through out->file; a write error (a full disk) is reported by io_commit and
 * whatever stood under `path` stays. */
struct io_out { FILE *file; char *path, *temp; };
enum status io_create(struct ctx *ctx, const char *path, struct io_out *out);
enum status io_commit(struct ctx *ctx, struct io_out *out);
void io_abort(struct io_out *out);
enum status io_write(struct ctx *ctx, const char *path, const void *bytes, size_t size); /* all of the above at once */

/* Removes what writers that are no more left behind: temporary files whose path begins with `prefix` ("dir/" for all of a folder). */
void io_sweep(const char *prefix);

bool io_exists(const char *path);
/* Whether a file of that name could be made: the folder is there and may be written to. */
enum status io_writable(struct ctx *ctx, const char *path);
enum status io_make_dirs(struct ctx *ctx, const char *path); /* like mkdir -p */

/* Lowercase hex SHA-256 of a file's bytes. */
enum status io_sha256(struct ctx *ctx, const char *path, char hex[65]);

/* Seconds on a clock that never goes back. */
double io_seconds(void);

#endif
