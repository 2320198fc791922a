/* Status codes, the error text and the log of one caller.
 *
 * Every fallible library function takes a `struct ctx *` first and returns `enum status`; ST_OK is 0.
 * On failure exactly one human line stands in ctx->error: "file:line: [section] key: what, what would be right".
 * Library code never prints and never exits: messages go to ctx->log.  A ctx belongs to one thread. */
#ifndef BASE_CTX_H
#define BASE_CTX_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum status {
    ST_OK = 0,
    ST_USAGE,        /* the caller asked for something that cannot be */
    ST_IO,           /* a file could not be opened, read or written */
    ST_FORMAT,       /* a file's content is not what its format says */
    ST_CFG,          /* a network description is inconsistent */
    ST_MEMORY,       /* an allocation failed */
    ST_UNSUPPORTED,  /* valid, but not available in this build or version */
    ST_NUMERIC,      /* NaN or infinity where a number was needed */
    ST_INTERRUPTED,  /* the caller asked to stop; everything was saved */
    ST_BACKEND       /* the compute library or device failed */
};

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN };

struct ctx {
    enum status code;
    char error[1024];
    void (*log)(void *user, enum log_level level, const char *line); /* NULL: silent */
    void *log_user;
};

/* Records the message (once: the first failure wins until ctx_clear) and returns `code`. */
enum status ctx_fail(struct ctx *ctx, enum status code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void ctx_log(struct ctx *ctx, enum log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void ctx_clear(struct ctx *ctx);

#define TRY(call)                                                                                  \
    do {                                                                                           \
        enum status try_status_ = (call);                                                          \
        if (try_status_ != ST_OK) return try_status_;                                              \
    } while (0)

/* Zeroed memory; NULL and ST_MEMORY in ctx when there is none.  n = 0 gives a valid, empty block.  Free with free(). */
void *mem_zero(struct ctx *ctx, size_t n, size_t size);
/* The same with contents undefined: large blocks lie in huge pages where the system has them, and are touched in a fifth of the time. */
void *mem_big(struct ctx *ctx, size_t n, size_t size);
/* Grows `*block` (elements of `size`) so that it holds at least `need`; *cap is the current capacity. */
enum status mem_grow(struct ctx *ctx, void *block, size_t *cap, size_t need, size_t size);
/* False for blocks beyond the machine's memory, which the system might promise all the same. */
bool mem_fits(double bytes);
double mem_physical(void); /* bytes */
char *mem_text(struct ctx *ctx, const char *s); /* a copy of s */

#endif
