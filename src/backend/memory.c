#include "backend/memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Each block is preceded by one aligned line that holds its size, so that freeing can subtract it. */
enum { LINE = 64 };

/* Large blocks are mapped: fresh pages are zero without being touched, and huge pages, where the system has some, keep address
 * translation out of loops over maps and weights.  Address sanitizers watch the heap only. */
enum { HUGE = 1 << 21 };
#ifdef __SANITIZE_ADDRESS__
static bool mapped(size_t bytes) { return (void)bytes, false; }
#else
static bool mapped(size_t bytes) { return bytes >= HUGE; }
#endif

static char *map_new(size_t bytes) {
    char *raw = mmap(NULL, bytes + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED) return NULL;
    size_t front = (HUGE - (uintptr_t)raw % HUGE) % HUGE;
    if (front) munmap(raw, front);
    if (HUGE - front) munmap(raw + front + bytes, HUGE - front);
#ifdef MADV_HUGEPAGE
    madvise(raw + front, bytes, MADV_HUGEPAGE);
#endif
    return raw + front;
}

void *block_alloc(struct backend *be, struct ctx *ctx, size_t n, size_t size) {
    char *line = NULL;
    size_t bytes = 0;
    if (mem_fits((double)be->bytes + (double)n * (double)size)) {
        bytes = (n * size + LINE - 1) / LINE * LINE + LINE;
        if (mapped(bytes)) {
            bytes = (bytes + 4095) / 4096 * 4096;
            line = map_new(bytes);
        } else if ((line = aligned_alloc(LINE, bytes)) != NULL) {
            memset(line, 0, bytes);
        }
    }
    if (!line) {
        ctx_fail(ctx, ST_MEMORY, "out of memory: %zu elements of %zu bytes", n, size);
        return NULL;
    }
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
    if (mapped(bytes)) munmap(line, bytes);
    else free(line);
}
