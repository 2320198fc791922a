#include "backend/memory.h"

#include <stdlib.h>
#include <string.h>

/* Each block is preceded by one aligned line that holds its size, so that freeing can subtract it. */
enum { LINE = 64 };

void *block_alloc(struct backend *be, struct ctx *ctx, size_t n, size_t size) {
    char *line = NULL;
    size_t bytes = 0;
    if (mem_fits((double)be->bytes + (double)n * (double)size)) {
        bytes = (n * size + LINE - 1) / LINE * LINE + LINE;
        line = aligned_alloc(LINE, bytes);
    }
    if (!line) {
        ctx_fail(ctx, ST_MEMORY, "out of memory: %zu elements of %zu bytes", n, size);
        return NULL;
    }
    memset(line, 0, bytes);
    memcpy(line, &bytes, sizeof bytes);
    be->bytes += bytes;
    if (be->bytes > be->peak_bytes) be->peak_bytes = be->bytes;
    return line + LINE;
}

void block_free(struct backend *be, void *block) {
    if (!block) return;
    char *line = (char *)block - LINE;
    size_t bytes;
    memcpy(&bytes, line, sizeof bytes);
    be->bytes -= bytes;
    free(line);
}
