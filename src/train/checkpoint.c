#include "train/checkpoint.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"

static const char MAGIC[8] = { 'd', 'k', 't', 'r', 'a', 'i', 'n', '\n' };
enum { VERSION = 3, HEADER = 112, HEADER_2 = 96 /* of version 2 */, HAS_AVERAGE = 256, POINT = 24, BLOCK = 1 << 14 };

/* "DIR/BASE" and then `rest`; caller frees. */
static char *file_name(struct ctx *ctx, const struct checkpoint *c, const char *rest) {
    size_t n = strlen(c->dir) + strlen(c->base) + strlen(rest) + 2;
    char *path = mem_zero(ctx, n, 1);
    if (path) snprintf(path, n, "%s/%s%s", c->dir, c->base, rest);
    return path;
}

enum status checkpoint_open(struct ctx *ctx, const char *dir, const char *base, struct checkpoint *c) {
    c->dir = mem_text(ctx, dir && *dir ? dir : ".");
    c->base = mem_text(ctx, base);
    if (!c->dir || !c->base) return ST_MEMORY;
    size_t n = strlen(c->dir);
    while (n > 1 && c->dir[n - 1] == '/') c->dir[--n] = '\0';
    TRY(io_make_dirs(ctx, c->dir));
    char *probe = file_name(ctx, c, "_probe");
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

static enum status save(struct ctx *ctx, const struct checkpoint *c, const struct net *net, const char *rest) {
    char *path = file_name(ctx, c, rest);
    if (!path) return ST_MEMORY;
    enum status st = check_finite(ctx, net, path);
    if (st == ST_OK) st = net_save(ctx, net, path, -1);
    if (st == ST_OK) ctx_log(ctx, LOG_INFO, "Saving weights to %s", path);
    free(path);
    return st;
}

enum status checkpoint_save(struct ctx *ctx, const struct checkpoint *c, const struct net *net,
                            const char *name) {
    char rest[64];
    snprintf(rest, sizeof rest, "_%s.weights", name);
    return save(ctx, c, net, rest);
}

enum status checkpoint_save_bare(struct ctx *ctx, const struct checkpoint *c, const struct net *net, const char *suffix) {
    char rest[64];
    snprintf(rest, sizeof rest, ".%s", suffix);
    return save(ctx, c, net, rest);
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

/* The optimiser's arrays in file order; returns how many there are. */
static int arrays_of(const struct optimizer *o, real *array[3]) {
    int n = 0;
    array[n++] = o->momentum;
    if (o->second) array[n++] = o->second;
    if (o->average) array[n++] = o->average;
    return n;
}

static void write_array(FILE *f, const struct optimizer *o, real *array) {
    float value[BLOCK];
    unsigned char bytes[4 * BLOCK];
    for (size_t at = 0, n; at < o->n; at += n) {
        n = o->n - at < BLOCK ? o->n - at : BLOCK;
        o->be->ops->get(o->be, o->be->ops->at(o->be, array, at), n, value);
        for (size_t i = 0; i < n; ++i) put_le(bytes + 4 * i, float_bits(value[i]), 4);
        fwrite(bytes, 4, n, f);
    }
}

static void write_history(FILE *f, const struct history *h) {
    for (size_t i = 0; i < h->n; ++i) {
        unsigned char bytes[POINT];
        put_le(bytes, h->point[i].iteration, 8);
        put_le(bytes + 8, double_bits(h->point[i].loss), 8);
        put_le(bytes + 16, double_bits(h->point[i].map), 8);
        fwrite(bytes, 1, POINT, f);
    }
}

/* The layers' running numbers, gathered or set; returns how many there are.  values NULL: only counts. */
static size_t memory_of(const struct net *net, double *values, bool set) {
    size_t n = 0;
    for (int i = 0; i < net->n; ++i) {
        struct layer *l = &net->layer[i];
        double *own;
        int count = l->ops->memory ? l->ops->memory(l, &own) : 0;
        if (values && count && set) memcpy(own, values + n, (size_t)count * sizeof *own);
        if (values && count && !set) memcpy(values + n, own, (size_t)count * sizeof *own);
        n += (size_t)count;
    }
    return n;
}

static enum status write_memory(struct ctx *ctx, FILE *f, const struct net *net) {
    size_t n = memory_of(net, NULL, false);
    double *values = mem_zero(ctx, n, sizeof *values);
    if (!values) return ST_MEMORY;
    memory_of(net, values, false);
    for (size_t i = 0; i < n; ++i) {
        unsigned char bytes[8];
        put_le(bytes, double_bits(values[i]), 8);
        fwrite(bytes, 1, 8, f);
    }
    free(values);
    return ST_OK;
}

static bool read_memory(struct ctx *ctx, FILE *f, struct net *net, uint64_t count) {
    size_t n = memory_of(net, NULL, false);
    double *values = count == n ? mem_zero(ctx, n, sizeof *values) : NULL;
    if (!values) return false;
    bool ok = true;
    for (size_t i = 0; i < n && ok; ++i) {
        unsigned char bytes[8];
        ok = fread(bytes, 1, 8, f) == 8;
        values[i] = bits_double(get_le(bytes, 8));
    }
    ok = ok && fgetc(f) == EOF;
    if (ok) memory_of(net, values, true);
    free(values);
    return ok;
}

enum status checkpoint_forget(struct ctx *ctx, struct net *net) {
    double *values = mem_zero(ctx, memory_of(net, NULL, false), sizeof *values);
    if (!values) return ST_MEMORY;
    memory_of(net, values, true);
    free(values);
    return ST_OK;
}

static enum status write_state(struct ctx *ctx, FILE *f, const struct net *net, const struct train_state *s, const struct optimizer *o) {
    unsigned char head[HEADER] = { 0 };
    real *array[3];
    memcpy(head, MAGIC, sizeof MAGIC);
    put_le(head + 8, VERSION, 4);
    put_le(head + 12, (uint64_t)o->kind | (o->average ? HAS_AVERAGE : 0), 4);
    put_le(head + 16, s->iteration, 8);
    put_le(head + 24, param_hash(net), 8);
    put_le(head + 32, net->n_param, 8);
    put_le(head + 40, double_bits(s->avg_loss), 8);
    put_le(head + 48, double_bits(s->best_map), 8);
    put_le(head + 56, s->last_map, 8);
    put_le(head + 64, o->updates, 8);
    put_le(head + 72, s->history.n, 8);
    put_le(head + 80, s->history.stride, 8);
    put_le(head + 88, memory_of(net, NULL, false), 8);
    put_le(head + 96, double_bits(s->loss_scale), 8);
    put_le(head + 104, s->loss_good, 8);
    fwrite(head, 1, HEADER, f);
    for (int i = 0, n = arrays_of(o, array); i < n; ++i) write_array(f, o, array[i]);
    write_history(f, &s->history);
    return write_memory(ctx, f, net);
}

/* The state as one whole file beside the present one; what the disk cannot hold shows before the weights are replaced. */
static enum status save_next_state(struct ctx *ctx, const char *path, const struct net *net, const struct train_state *s,
                                   const struct optimizer *o) {
    struct io_out out;
    TRY(io_create(ctx, path, &out));
    enum status st = write_state(ctx, out.file, net, s, o);
    if (st == ST_OK) return io_commit(ctx, &out);
    io_abort(&out);
    return st;
}

enum status checkpoint_save_last(struct ctx *ctx, const struct checkpoint *c, const struct net *net,
                                 const struct train_state *s, const struct optimizer *o) {
    char *path = file_name(ctx, c, "_last.state"), *next = file_name(ctx, c, "_next.state");
    enum status st = path && next ? save_next_state(ctx, next, net, s, o) : ST_MEMORY;
    if (st == ST_OK) {
        st = checkpoint_save(ctx, c, net, "last");
        if (st != ST_OK) unlink(next);
        else if (rename(next, path) != 0) st = ctx_fail(ctx, ST_IO, "%s: not written: %s", path, strerror(errno));
    }
    free(path), free(next);
    return st;
}

static bool read_array(FILE *f, const struct optimizer *o, real *array) {
    float value[BLOCK];
    unsigned char bytes[4 * BLOCK];
    for (size_t at = 0, n; at < o->n; at += n) {
        n = o->n - at < BLOCK ? o->n - at : BLOCK;
        if (fread(bytes, 4, n, f) != n) return false;
        for (size_t i = 0; i < n; ++i) {
            uint32_t bits = (uint32_t)get_le(bytes + 4 * i, 4);
            memcpy(&value[i], &bits, sizeof bits);
            if (!isfinite(value[i])) return false;
        }
        o->be->ops->put(o->be, value, n, o->be->ops->at(o->be, array, at));
    }
    return true;
}

static bool read_history(struct ctx *ctx, FILE *f, uint64_t n, uint64_t stride, struct history *h) {
    *h = (struct history){ .stride = stride };
    for (uint64_t i = 0; i < n; ++i) {
        unsigned char bytes[POINT];
        if (fread(bytes, 1, POINT, f) != POINT) return false;
        if (mem_grow(ctx, &h->point, &h->cap, h->n + 1, sizeof *h->point) != ST_OK) return false;
        h->point[h->n++] = (struct train_point){ get_le(bytes, 8), bits_double(get_le(bytes + 8, 8)), bits_double(get_le(bytes + 16, 8)) };
    }
    return true;
}

/* What follows the header, into *s and *o. */
static bool read_body(struct ctx *ctx, FILE *f, const unsigned char *head, struct net *net, struct train_state *s,
                      struct optimizer *o) {
    real *array[3];
    if (get_le(head + 12, 4) & HAS_AVERAGE && optimizer_average(ctx, o, net, 0) != ST_OK) return false;
    for (int i = 0, n = arrays_of(o, array); i < n; ++i)
        if (!read_array(f, o, array[i])) return false;
    if (!read_history(ctx, f, get_le(head + 72, 8), get_le(head + 80, 8), &s->history)) return false;
    if (!read_memory(ctx, f, net, get_le(head + 88, 8))) return false;
    s->iteration = get_le(head + 16, 8);
    s->avg_loss = bits_double(get_le(head + 40, 8));
    s->best_map = bits_double(get_le(head + 48, 8));
    s->last_map = get_le(head + 56, 8);
    s->loss_scale = bits_double(get_le(head + 96, 8));
    s->loss_good = get_le(head + 104, 8);
    o->updates = get_le(head + 64, 8);
    return true;
}

static bool read_header(FILE *f, unsigned char head[HEADER]) {
    memset(head, 0, HEADER);
    if (fread(head, 1, HEADER_2, f) != HEADER_2 || memcmp(head, MAGIC, sizeof MAGIC) != 0) return false;
    uint64_t version = get_le(head + 8, 4);
    return version == 2 || (version == VERSION && fread(head + HEADER_2, 1, HEADER - HEADER_2, f) == HEADER - HEADER_2);
}

static enum status resume_from(struct ctx *ctx, const char *path, struct net *net, uint64_t iteration, struct train_state *s,
                               struct optimizer *o, bool *found) {
    FILE *f = fopen(path, "rb");
    if (!f) return ST_OK;
    unsigned char head[HEADER];
    bool whole = read_header(f, head);
    bool ours = whole && get_le(head + 16, 8) == iteration && get_le(head + 32, 8) == net->n_param &&
                get_le(head + 24, 8) == param_hash(net) && (get_le(head + 12, 4) & (HAS_AVERAGE - 1)) == (uint64_t)o->kind;
    if (ours) {
        struct train_state read = { 0 };
        whole = read_body(ctx, f, head, net, &read, o);
        *found = whole;
        if (whole) *s = read;
        else history_free(&read.history), optimizer_reset(o);
    }
    if (!whole && ctx->code == ST_OK) ctx_log(ctx, LOG_WARN, "%s: not a whole state file, it is ignored", path);
    fclose(f);
    return ctx->code;
}

enum status checkpoint_resume(struct ctx *ctx, const struct checkpoint *c, struct net *net,
                              uint64_t iteration, struct train_state *s, struct optimizer *o, bool *found) {
    static const char *const state[] = { "_last.state", "_next.state" };
    enum status st = ST_OK;
    *found = false;
    char *path[2] = { file_name(ctx, c, state[0]), file_name(ctx, c, state[1]) };
    if (!path[0] || !path[1]) st = ST_MEMORY;
    for (int i = 0; i < 2 && st == ST_OK && !*found; ++i) {
        st = resume_from(ctx, path[i], net, iteration, s, o, found);
        /* The next save writes over _next.state before it has new weights: what belongs to the present ones must not lie there. */
        if (i == 1 && *found && rename(path[1], path[0]) != 0) st = ctx_fail(ctx, ST_IO, "%s: not written: %s", path[0], strerror(errno));
    }
    free(path[0]), free(path[1]);
    return st;
}
