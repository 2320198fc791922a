#include "train/checkpoint.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

static const char MAGIC[8] = { 'd', 'k', 't', 'r', 'a', 'i', 'n', '\n' };
enum { VERSION = 1, HEADER = 64 };

/* "DIR/BASE_NAME"; caller frees. */
static char *file_name(struct ctx *ctx, const struct checkpoint *c, const char *name) {
    size_t n = strlen(c->dir) + strlen(c->base) + strlen(name) + 3;
    char *path = mem_zero(ctx, n, 1);
    if (path) snprintf(path, n, "%s/%s_%s", c->dir, c->base, name);
    return path;
}

enum status checkpoint_open(struct ctx *ctx, const char *dir, const char *base, struct checkpoint *c) {
    c->dir = mem_text(ctx, dir && *dir ? dir : ".");
    c->base = mem_text(ctx, base);
    if (!c->dir || !c->base) return ST_MEMORY;
    size_t n = strlen(c->dir);
    while (n > 1 && c->dir[n - 1] == '/') c->dir[--n] = '\0';
    TRY(io_make_dirs(ctx, c->dir));
    char *probe = file_name(ctx, c, "probe");
    if (!probe) return ST_MEMORY;
    struct io_out out;
    enum status st = io_create(ctx, probe, &out);
    if (st == ST_OK) io_abort(&out);
    free(probe);
    return st;
}

void checkpoint_close(struct checkpoint *c) {
    free(c->dir);
    free(c->base);
    memset(c, 0, sizeof *c);
}

static enum status check_finite(struct ctx *ctx, const struct net *net, const char *path) {
    for (size_t i = 0; i < net->n_param; ++i)
        if (!isfinite(net->param[i]))
            return ctx_fail(
                ctx, ST_NUMERIC,
                "%s: not written, the weights are no longer finite numbers; lower the learning rate", path);
    return ST_OK;
}

enum status checkpoint_save(struct ctx *ctx, const struct checkpoint *c, const struct net *net,
                            const char *name) {
    char file[64];
    snprintf(file, sizeof file, "%s.weights", name);
    char *path = file_name(ctx, c, file);
    if (!path) return ST_MEMORY;
    enum status st = check_finite(ctx, net, path);
    if (st == ST_OK) st = net_save(ctx, net, path, -1);
    if (st == ST_OK) ctx_log(ctx, LOG_INFO, "Saving weights to %s", path);
    free(path);
    return st;
}

/* --- State file ----------------------------------------------------------------------------------------- */

static uint32_t float_bits(float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static uint64_t param_hash(const struct net *net) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < net->n_param; ++i) h = (h ^ float_bits(net->param[i])) * 0x100000001b3u;
    return h;
}

static void put_le(unsigned char *to, uint64_t v, int bytes) {
    for (int i = 0; i < bytes; ++i) to[i] = (unsigned char)(v >> (8 * i));
}

static uint64_t get_le(const unsigned char *from, int bytes) {
    uint64_t v = 0;
    for (int i = 0; i < bytes; ++i) v |= (uint64_t)from[i] << (8 * i);
    return v;
}

static uint64_t double_bits(double v) {
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static double bits_double(uint64_t bits) {
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static void write_state(FILE *f, const struct net *net, const struct train_state *s, const float *momentum) {
    unsigned char head[HEADER] = { 0 }, block[4096];
    memcpy(head, MAGIC, sizeof MAGIC);
    put_le(head + 8, VERSION, 4);
    put_le(head + 16, s->iteration, 8);
    put_le(head + 24, param_hash(net), 8);
    put_le(head + 32, net->n_param, 8);
    put_le(head + 40, double_bits(s->avg_loss), 8);
    put_le(head + 48, double_bits(s->best_map), 8);
    put_le(head + 56, s->last_map, 8);
    fwrite(head, 1, HEADER, f);
    for (size_t i = 0; i < net->n_param;) {
        size_t n = 0;
        for (; n < sizeof block && i < net->n_param; n += 4, ++i)
            put_le(block + n, float_bits(momentum[i]), 4);
        fwrite(block, 1, n, f);
    }
}

enum status checkpoint_save_last(struct ctx *ctx, const struct checkpoint *c, const struct net *net,
                                 const struct train_state *s, const float *momentum) {
    char *path = file_name(ctx, c, "last.state");
    if (!path) return ST_MEMORY;
    struct io_out out;
    enum status st = io_create(ctx, path, &out);
    if (st == ST_OK) {
        write_state(out.file, net, s, momentum);
        /* The disk may be full: find out before the weights are replaced. */
        if (fflush(out.file) != 0 || ferror(out.file))
            st = ctx_fail(ctx, ST_IO, "%s: not written, the previous file is untouched: %s", path,
                          strerror(errno));
        if (st == ST_OK) st = checkpoint_save(ctx, c, net, "last");
        if (st == ST_OK)
            st = io_commit(ctx, &out);
        else
            io_abort(&out);
    }
    free(path);
    return st;
}

static bool read_momentum(FILE *f, size_t n, float *momentum) {
    unsigned char block[4096];
    for (size_t i = 0; i < n;) {
        size_t want = (n - i) * 4 < sizeof block ? (n - i) * 4 : sizeof block;
        if (fread(block, 1, want, f) != want) return false;
        for (size_t k = 0; k < want; k += 4, ++i) {
            uint32_t bits = (uint32_t)get_le(block + k, 4);
            memcpy(&momentum[i], &bits, sizeof bits);
            if (!isfinite(momentum[i])) return false;
        }
    }
    return fgetc(f) == EOF;
}

enum status checkpoint_resume(struct ctx *ctx, const struct checkpoint *c, const struct net *net,
                              uint64_t iteration, struct train_state *s, float *momentum, bool *found) {
    *found = false;
    char *path = file_name(ctx, c, "last.state");
    if (!path) return ST_MEMORY;
    FILE *f = fopen(path, "rb");
    if (f) {
        unsigned char head[HEADER];
        bool whole = fread(head, 1, HEADER, f) == HEADER && memcmp(head, MAGIC, sizeof MAGIC) == 0 &&
                     get_le(head + 8, 4) == VERSION;
        bool ours = whole && get_le(head + 16, 8) == iteration && get_le(head + 32, 8) == net->n_param &&
                    get_le(head + 24, 8) == param_hash(net);
        if (ours) whole = read_momentum(f, net->n_param, momentum);
        if (ours && whole) {
            *s = (struct train_state){ .iteration = iteration,
                                       .avg_loss = bits_double(get_le(head + 40, 8)),
                                       .best_map = bits_double(get_le(head + 48, 8)),
                                       .last_map = get_le(head + 56, 8) };
            *found = true;
        }
        if (!whole) ctx_log(ctx, LOG_WARN, "%s: not a whole state file, it is ignored", path);
        fclose(f);
    }
    free(path);
    return ST_OK;
}
