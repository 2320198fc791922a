#include "base/ctx.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum status ctx_fail(struct ctx *ctx, enum status code, const char *fmt, ...) {
    if (ctx->code == ST_OK) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(ctx->error, sizeof ctx->error, fmt, args);
        va_end(args);
        ctx->code = code;
    }
    return code;
}

void ctx_log(struct ctx *ctx, enum log_level level, const char *fmt, ...) {
    if (!ctx->log) return;
    char line[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    ctx->log(ctx->log_user, level, line);
}

void ctx_clear(struct ctx *ctx) {
    ctx->code = ST_OK;
    ctx->error[0] = '\0';
}

double mem_physical(void) {
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (double)pages * (double)page : INFINITY;
}

bool mem_fits(double bytes) { return bytes < 1e9 || bytes <= mem_physical(); }

void *mem_zero(struct ctx *ctx, size_t n, size_t size) {
    void *block = mem_fits((double)n * (double)size) ? calloc(n ? n : 1, size ? size : 1) : NULL;
    if (!block) ctx_fail(ctx, ST_MEMORY, "out of memory: %zu elements of %zu bytes", n, size);
    return block;
}

void *mem_big(struct ctx *ctx, size_t n, size_t size) {
    enum { HUGE_PAGE = 2 << 20 };
    if (!mem_fits((double)n * (double)size + HUGE_PAGE) || n * size < 4 * HUGE_PAGE) return mem_zero(ctx, n, size);
    size_t bytes = (n * size + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    void *block = aligned_alloc(HUGE_PAGE, bytes);
    if (!block) return mem_zero(ctx, n, size); /* may still fit, or says so */
#ifdef MADV_HUGEPAGE
    madvise(block, bytes, MADV_HUGEPAGE);
#endif
    return block;
}

enum status mem_grow(struct ctx *ctx, void *block, size_t *cap, size_t need, size_t size) {
    void *old;
    memcpy(&old, block, sizeof old);
    if (need <= *cap && old) return ST_OK;
    size_t next = *cap ? *cap * 2 : 16;
    while (next < need) next *= 2;
    void *fresh = mem_fits((double)next * (double)size) ? realloc(old, next * size) : NULL;
    if (!fresh) return ctx_fail(ctx, ST_MEMORY, "out of memory: %zu elements of %zu bytes", next, size);
    memset((char *)fresh + *cap * size, 0, (next - *cap) * size);
    memcpy(block, &fresh, sizeof fresh);
    *cap = next;
    return ST_OK;
}

char *mem_text(struct ctx *ctx, const char *s) {
    size_t n = strlen(s) + 1;
    char *copy = mem_zero(ctx, n, 1);
    if (copy) memcpy(copy, s, n);
    return copy;
}
