#include "base/io.h"

#include <dirent.h>
#include <errno.h>
#include <nettle/sha2.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum status io_read(struct ctx *ctx, const char *path, char **bytes, size_t *size) {
    *bytes = NULL;
    FILE *f = fopen(path, "rb");
    if (!f) return ctx_fail(ctx, ST_IO, "%s: %s", path, strerror(errno));
    size_t cap = 0, n = 0;
    char *data = NULL;
    struct stat info;
    if (fstat(fileno(f), &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0 && mem_fits((double)info.st_size)) {
        size_t whole = (size_t)info.st_size + 2; /* as a rule one block and one read */
        if ((data = malloc(whole)) != NULL) cap = whole;
    }
    for (;;) {
        enum status st = cap > n + 1 ? ST_OK : mem_grow(ctx, &data, &cap, n + 65536 + 1, 1);
        if (st != ST_OK) {
            fclose(f);
            free(data);
            return st;
        }
        size_t got = fread(data + n, 1, cap - n - 1, f);
        n += got;
        if (got == 0) break;
    }
    bool failed = ferror(f);
    fclose(f);
    if (failed) {
        free(data);
        return ctx_fail(ctx, ST_IO, "%s: cannot be read: %s", path, strerror(errno));
    }
    data[n] = '\0';
    *bytes = data;
    *size = n;
    return ST_OK;
}

enum status io_create(struct ctx *ctx, const char *path, struct io_out *out) {
    size_t n = strlen(path) + 32;
    out->file = NULL;
    out->path = mem_text(ctx, path);
    out->temp = mem_zero(ctx, n, 1);
    if (!out->path || !out->temp) {
        io_abort(out);
        return ST_MEMORY;
    }
    snprintf(out->temp, n, "%s.tmp.%ld", path, (long)getpid());
    out->file = fopen(out->temp, "wb");
    if (!out->file) {
        ctx_fail(ctx, ST_IO, "%s: cannot be written: %s", path, strerror(errno));
        io_abort(out);
        return ST_IO;
    }
    return ST_OK;
}

enum status io_commit(struct ctx *ctx, struct io_out *out) {
    errno = 0;
    bool ok = !ferror(out->file) && fflush(out->file) == 0 && fsync(fileno(out->file)) == 0;
    ok = fclose(out->file) == 0 && ok;
    out->file = NULL;
    ok = ok && rename(out->temp, out->path) == 0;
    if (!ok) {
        ctx_fail(ctx, ST_IO, "%s: not written, the previous file is untouched: %s", out->path,
                 errno ? strerror(errno) : "write error");
        io_abort(out);
        return ST_IO;
    }
    free(out->path);
    free(out->temp);
    out->path = out->temp = NULL;
    return ST_OK;
}

void io_abort(struct io_out *out) {
    if (out->file) fclose(out->file);
    if (out->temp) unlink(out->temp);
    free(out->path);
    free(out->temp);
    out->file = NULL;
    out->path = out->temp = NULL;
}

enum status io_write(struct ctx *ctx, const char *path, const void *bytes, size_t size) {
    struct io_out out;
    TRY(io_create(ctx, path, &out));
    fwrite(bytes, 1, size, out.file);
    return io_commit(ctx, &out);
}

void io_sweep(const char *prefix) {
    char folder[4096], path[4096 + 300];
    const char *slash = strrchr(prefix, '/'), *stem = slash ? slash + 1 : prefix;
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - prefix) + 1 : 2, slash ? prefix : "./");
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        const char *temp = strstr(e->d_name, ".tmp.");
        long writer = temp ? strtol(temp + 5, NULL, 10) : 0;
        if (strncmp(e->d_name, stem, strlen(stem)) || writer <= 0 || kill((pid_t)writer, 0) == 0 || errno != ESRCH) continue;
        snprintf(path, sizeof path, "%s%s", folder, e->d_name);
        unlink(path);
    }
    if (dir) closedir(dir);
}

bool io_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

enum status io_make_dirs(struct ctx *ctx, const char *path) {
    char *copy = mem_text(ctx, path);
    if (!copy) return ST_MEMORY;
    for (char *p = copy + 1;; ++p) {
        if (*p != '/' && *p != '\0') continue;
        char keep = *p;
        *p = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST) {
            enum status st = ctx_fail(ctx, ST_IO, "%s: folder cannot be made: %s", copy, strerror(errno));
            free(copy);
            return st;
        }
        *p = keep;
        if (keep == '\0') break;
    }
    free(copy);
    return ST_OK;
}

enum status io_sha256(struct ctx *ctx, const char *path, char hex[65]) {
    FILE *f = fopen(path, "rb");
    if (!f) return ctx_fail(ctx, ST_IO, "%s: %s", path, strerror(errno));
    struct sha256_ctx hash;
    sha256_init(&hash);
    uint8_t block[65536], digest[SHA256_DIGEST_SIZE];
    size_t got;
    while ((got = fread(block, 1, sizeof block, f)) > 0) sha256_update(&hash, got, block);
    bool failed = ferror(f);
    fclose(f);
    if (failed) return ctx_fail(ctx, ST_IO, "%s: cannot be read", path);
    sha256_digest(&hash, sizeof digest, digest);
    for (int i = 0; i < SHA256_DIGEST_SIZE; ++i) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return ST_OK;
}

double io_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

enum status io_writable(struct ctx *ctx, const char *path) {
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    if (!folder) return ctx_fail(ctx, ST_MEMORY, "out of memory");
    int denied = access(folder, W_OK) ? errno : 0;
    free(folder);
    return denied ? ctx_fail(ctx, ST_IO, "%s: cannot be written: %s", path, strerror(denied)) : ST_OK;
}
