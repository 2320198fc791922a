#include "backend/cuda/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

static const char HEAD[] = "darknet gpu 1\n";

static uint64_t sum_of(const char *bytes, size_t n) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; ++i) h = (h ^ (unsigned char)bytes[i]) * 0x100000001b3u;
    return h;
}

static char *joined(struct ctx *ctx, const char *a, const char *b) {
    size_t n = strlen(a) + strlen(b) + 1;
    char *text = mem_zero(ctx, n, 1);
    if (text) snprintf(text, n, "%s%s", a, b);
    return text;
}

enum status store_open(struct ctx *ctx, struct store *s) {
    const char *own = getenv("DARKNET_GPU_CACHE"), *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    *s = (struct store){ 0 };
    if (own && strcmp(own, "none") == 0) return ST_OK;
    if (own && *own) s->dir = joined(ctx, own, "");
    else if (cache && *cache) s->dir = joined(ctx, cache, "/darknet/gpu");
    else if (home && *home) s->dir = joined(ctx, home, "/.cache/darknet/gpu");
    return ctx->code;
}

void store_close(struct store *s) {
    free(s->dir);
    *s = (struct store){ 0 };
}

static char *path_of(const struct store *s, struct ctx *ctx, const char *key) {
    char name[32];
    snprintf(name, sizeof name, "/%016llx", (unsigned long long)sum_of(key, strlen(key)));
    return joined(ctx, s->dir, name);
}

static void tell(struct store *s, struct ctx *ctx, const char *path, const char *what) {
    if (!s->told) ctx_log(ctx, LOG_WARN, "%s: %s", path, what);
    s->told = true;
}

/* Where the answer begins in a whole file; NULL: it is not what `key` asks for. */
static const char *answer_in(const char *bytes, size_t size, const char *key, size_t *n) {
    size_t head = strlen(HEAD), length = strlen(key), at = head + length + 1;
    char sum[17];
    if (size < at + 17 || memcmp(bytes, HEAD, head) != 0 || memcmp(bytes + head, key, length) != 0 || bytes[at - 1] != '\n') return NULL;
    *n = size - at - 17;
    snprintf(sum, sizeof sum, "%016llx", (unsigned long long)sum_of(bytes + at + 17, *n));
    return memcmp(bytes + at, sum, 16) == 0 && bytes[at + 16] == '\n' ? bytes + at + 17 : NULL;
}

char *store_get(struct store *s, struct ctx *ctx, const char *key, size_t *n) {
    struct ctx quiet = { 0 };
    char *path = s->dir ? path_of(s, &quiet, key) : NULL, *bytes = NULL;
    size_t size = 0;
    if (path && io_exists(path) && io_read(&quiet, path, &bytes, &size) == ST_OK) {
        const char *answer = answer_in(bytes, size, key, n);
        if (answer) memmove(bytes, answer, *n + 1);
        else {
            tell(s, ctx, path, "not the GPU's notes on this question, or damaged: ignored");
            free(bytes);
            bytes = NULL;
        }
    }
    free(path);
    return bytes;
}

void store_put(struct store *s, struct ctx *ctx, const char *key, const char *answer, size_t n) {
    struct ctx quiet = { 0 };
    char *path = s->dir && !strchr(key, '\n') ? path_of(s, &quiet, key) : NULL;
    struct io_out out;
    if (!path) return;
    if (io_make_dirs(&quiet, s->dir) != ST_OK || io_create(&quiet, path, &out) != ST_OK) {
        tell(s, ctx, s->dir, "cannot be written to: what the GPU's trials found is not kept");
    } else {
        fprintf(out.file, "%s%s\n%016llx\n", HEAD, key, (unsigned long long)sum_of(answer, n));
        fwrite(answer, 1, n, out.file);
        if (io_commit(&quiet, &out) != ST_OK) tell(s, ctx, path, "not written: what the GPU's trials found is not kept");
    }
    free(path);
}
