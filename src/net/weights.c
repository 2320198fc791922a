/* .weights files (darknet-compat 4): a little-endian header, then every layer's arrays in network order. */
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/rng.h"
#include "net/internal.h"

void net_init_weights(struct net *net, uint64_t seed) {
    for (int i = 0; i < net->n; ++i)
        for (int k = 0; k < net->layer[i].n_param; ++k) {
            const struct param *p = &net->layer[i].param[k];
            if (!param_owned(p)) continue;
            struct rng r = rng_stream(seed, (uint64_t)i, (uint64_t)k);
            for (size_t j = 0, n = param_count(p); j < n; ++j)
                net->param[p->offset + j] = (float)(p->init_mean + p->init_span * rng_between(&r, -1, 1));
        }
    net->seen = 0;
}

enum { MOST_HEADER = 20 }; /* bytes */

/* Values go straight from the file to their place: at 250 MB a copy on the way takes longer than a good disk. */
struct reader {
    const char *path;
    FILE *file;
    char *bytes; /* what the file reads from, unless that is a regular file */
    size_t at, size;
    bool transposed; /* matrices are stored [inputs][outputs] */
};

static enum status reader_open(struct ctx *ctx, const char *path, struct reader *r) {
    struct stat info;
    *r = (struct reader){ .path = path, .file = fopen(path, "rb") };
    if (!r->file) return ctx_fail(ctx, ST_IO, "%s: %s", path, strerror(errno));
    if (fstat(fileno(r->file), &info) == 0 && S_ISREG(info.st_mode)) {
        r->size = (size_t)info.st_size;
        return ST_OK;
    }
    fclose(r->file); /* a pipe: its size shows at its end */
    r->file = NULL;
    TRY(io_read(ctx, path, &r->bytes, &r->size));
    r->file = fmemopen(r->bytes, r->size + 1, "rb");
    return r->file ? ST_OK : ctx_fail(ctx, ST_MEMORY, "%s: %s", path, strerror(errno));
}

static void reader_close(struct reader *r) {
    if (r->file) fclose(r->file);
    free(r->bytes);
}

static enum status take(struct ctx *ctx, struct reader *r, void *to, size_t n) {
    size_t got = fread(to, 1, n, r->file);
    r->at += got;
    if (got == n) return ST_OK;
    return ctx_fail(ctx, ST_IO, "%s: cannot be read: %s", r->path, ferror(r->file) ? strerror(errno) : "it became shorter meanwhile");
}

static uint64_t le(const unsigned char *from, int bytes) {
    uint64_t v = 0;
    for (int i = 0; i < bytes; ++i) v |= (uint64_t)from[i] << (8 * i);
    return v;
}

static enum status read_header(struct ctx *ctx, struct reader *r, struct weights_header *h, uint64_t *seen) {
    if (r->size < 16) return ctx_fail(ctx, ST_FORMAT, "%s: %zu bytes are too few for a weights file", r->path, r->size);
    unsigned char head[MOST_HEADER];
    TRY(take(ctx, r, head, 16));
    h->major = (int)(int32_t)le(head, 4);
    h->minor = (int)(int32_t)le(head + 4, 4);
    h->revision = (int)(int32_t)le(head + 8, 4);
    if (h->major < 0 || h->minor < 0 || h->major > 100000 || h->minor > 100000)
        return ctx_fail(ctx, ST_FORMAT, "%s: not a weights file, its version would be %d.%d", r->path, h->major, h->minor);
    h->wide_seen = h->major * 10 + h->minor >= 2;
    if (h->wide_seen && r->size < 20) return ctx_fail(ctx, ST_FORMAT, "%s: ends inside its header", r->path);
    if (h->wide_seen) TRY(take(ctx, r, head + 16, 4));
    *seen = le(head + 12, h->wide_seen ? 8 : 4);
    r->transposed = h->major > 1000 || h->minor > 1000;
    return ST_OK;
}

static bool plausible(const struct param *p, const float *v, size_t n) {
    float least = p->role == PARAM_VARIANCE ? 0 : -FLT_MAX;
    int bad = 0;
    for (size_t j = 0; j < n; ++j) bad |= !(v[j] >= least) | !(v[j] <= FLT_MAX);
    return !bad;
}

static bool skipped(const struct layer *l, const struct param *p) {
    if (!param_owned(p)) return true;
    bool batch_norm = p->role == PARAM_SCALE || p->role == PARAM_MEAN || p->role == PARAM_VARIANCE;
    return l->common.dontload || (l->common.dontloadscales && batch_norm);
}

static size_t stored_count_of(const struct layer *l) {
    size_t n = 0;
    for (int k = 0; k < l->n_param; ++k)
        if (!skipped(l, &l->param[k])) n += param_count(&l->param[k]);
    return n;
}

static size_t stored_count(const struct net *net, int layers) {
    size_t n = 0;
    for (int i = 0; i < layers; ++i) n += stored_count_of(&net->layer[i]);
    return n;
}

/* Where value j of an array stands in the file, which may hold it as [dim[1]*dim[2]][dim[0]]. */
static size_t place_in_file(const struct param *p, bool transposed, size_t j) {
    size_t rows = (size_t)p->dim[0], per = param_count(p) / rows;
    bool flipped = p->flags & PARAM_FLIPPED || (transposed && p->flags & PARAM_MATRIX);
    return flipped ? j % per * rows + j / per : j;
}

/* The values of one array, all of which the file should hold. */
static enum status read_values(struct ctx *ctx, struct reader *r, const struct param *p, float *to, bool *good) {
    enum { PIECE = 1 << 15 }; /* looked at while it is in the cache */
    size_t n = param_count(p);
    bool straight = !(p->flags & PARAM_FLIPPED) && !(r->transposed && p->flags & PARAM_MATRIX);
    *good = true;
    if (straight && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__) {
        for (size_t j = 0, piece; j < n; j += piece) {
            piece = n - j < PIECE ? n - j : PIECE;
            TRY(take(ctx, r, to + j, 4 * piece));
            *good = *good && plausible(p, to + j, piece);
        }
        return ST_OK;
    }
    unsigned char *stored = mem_zero(ctx, n, 4);
    enum status st = stored ? take(ctx, r, stored, 4 * n) : ST_MEMORY;
    for (size_t j = 0; st == ST_OK && j < n; ++j) {
        uint32_t bits = (uint32_t)le(stored + 4 * place_in_file(p, r->transposed, j), 4);
        memcpy(&to[j], &bits, 4);
    }
    free(stored);
    *good = st == ST_OK && plausible(p, to, n);
    return st;
}

static enum status impossible(struct ctx *ctx, const struct net *net, const char *path, int i, const struct param *p) {
    return ctx_fail(ctx, ST_FORMAT, "%s: layer %d [%s] has impossible %s; the file is damaged or belongs to another cfg than %s", path, i,
                    net->layer[i].section->type, p->name, net->doc->path);
}

/* All arrays of one layer; false in *whole when the file ended before its first value. */
static enum status read_layer(struct ctx *ctx, const struct net *net, int i, struct reader *r, float *to, bool *whole) {
    const struct layer *l = &net->layer[i];
    size_t start = r->at;
    *whole = true;
    for (int k = 0; k < l->n_param; ++k) {
        const struct param *p = &l->param[k];
        size_t n = param_count(p);
        if (skipped(l, p)) continue;
        if (r->size - r->at < 4 * n) {
            *whole = false;
            if (r->at == start && r->at == r->size) return ST_OK;
            return ctx_fail(ctx, ST_FORMAT,
                            "%s: ends inside layer %d [%s] (%s: %zu of %zu values are there); it is cut off or belongs to another "
                            "cfg than %s", r->path, i, l->section->type, p->name, (r->size - r->at) / 4, n, net->doc->path);
        }
        bool good;
        TRY(read_values(ctx, r, p, to + p->offset, &good));
        if (!good) return impossible(ctx, net, r->path, i, p);
    }
    return ST_OK;
}

static enum status read_body(struct ctx *ctx, const struct net *net, struct reader *r, enum load_policy policy, float *to, int *layers) {
    for (int i = 0; i < net->n; ++i) {
        bool whole;
        TRY(read_layer(ctx, net, i, r, to, &whole));
        if (whole) {
            if (net->layer[i].n_param) *layers = i + 1;
            continue;
        }
        if (policy == LOAD_PREFIX) return ST_OK;
        return ctx_fail(ctx, ST_FORMAT, "%s: ends before layer %d [%s] of %s; it is cut off or only a pre-trained prefix", r->path, i,
                        net->layer[i].section->type, net->doc->path);
    }
    *layers = net->n;
    if (r->at == r->size) return ST_OK;
    size_t expected = stored_count(net, net->n);
    return ctx_fail(ctx, ST_FORMAT, "%s: holds %zu values, %s takes %zu; it belongs to another cfg", r->path,
                    expected + (r->size - r->at) / 4, net->doc->path, expected);
}

/* Values that a file of this size will not replace: all of them, unless it holds everything. */
static void keep_values(const struct net *net, size_t size, float *to) {
    if (size < MOST_HEADER + 4 * net->n_param || stored_count(net, net->n) < net->n_param) memcpy(to, net->param, net->n_param * sizeof *to);
}

/* ---- in the file itself ---- */

/* Whether the file's values lie as the network wants them: then `param` can be a view of the file. */
static bool lies_alike(const struct net *net, const struct reader *r) {
    size_t at = 0;
    if (__BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__ || r->bytes || r->transposed || net->be) return false;
    for (int i = 0; i < net->n; ++i)
        for (int k = 0; k < net->layer[i].n_param; ++k) {
            const struct param *p = &net->layer[i].param[k];
            if (!param_owned(p)) continue;
            if (skipped(&net->layer[i], p) || p->flags & PARAM_FLIPPED || p->offset != at) return false;
            at += param_count(p);
        }
    return at == net->n_param && r->size == r->at + 4 * at;
}

/* A copy of the file in which the pages inside large arrays of weights are the file's own: those are read when a network is bound, and
 * not while it runs (but for matrices that products read in place), so that somebody who writes over the file does not disturb that. */
struct weights_view { char *base; size_t size, start /* of the values */; FILE *file; struct stat as_it_was; char path[]; };

enum { VIEW_LEAST = 1 << 16 }; /* bytes */

/* Those pages of an array: bytes from..end of the file. */
static bool own_pages(const struct weights_view *v, const struct param *p, size_t *from, size_t *end) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), first = v->start + 4 * p->offset;
    *from = (first + page - 1) / page * page;
    *end = (first + 4 * param_count(p)) / page * page;
    return p->role == PARAM_WEIGHT && param_owned(p) && *end >= *from + VIEW_LEAST;
}

static bool read_part(struct weights_view *v, size_t from, size_t end) {
    while (from < end) {
        ssize_t got = pread(fileno(v->file), v->base + from, end - from, (off_t)from);
        if (got <= 0) return false;
        from += (size_t)got;
    }
    return true;
}

static bool view_fill(struct weights_view *v, const struct net *net) {
    size_t done = 0, from, end;
    for (int i = 0; i < net->n; ++i)
        for (int k = 0; k < net->layer[i].n_param; ++k) {
            if (!own_pages(v, &net->layer[i].param[k], &from, &end)) continue;
            void *at = mmap(v->base + from, end - from, PROT_READ, MAP_PRIVATE | MAP_FIXED, fileno(v->file), (off_t)from);
            if (at == MAP_FAILED || !read_part(v, done, from)) return false;
            done = end;
        }
    return read_part(v, done, v->size);
}

static void view_free(struct weights_view *v) {
    munmap(v->base, v->size);
    if (v->file) fclose(v->file);
    free(v);
}

/* Takes the reader's file; NULL: it has to be read in the usual way. */
static struct weights_view *view_new(struct reader *r, const struct net *net) {
    struct weights_view *v = malloc(sizeof *v + strlen(r->path) + 1);
    if (!v) return NULL;
    *v = (struct weights_view){ .size = r->size, .start = r->at, .file = r->file };
    strcpy(v->path, r->path);
    v->base = mmap(NULL, v->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (v->base == MAP_FAILED) {
        free(v);
        return NULL;
    }
    bool filled = fstat(fileno(v->file), &v->as_it_was) == 0 && view_fill(v, net);
    if (filled) {
        r->file = NULL;
        return v;
    }
    v->file = NULL; /* stays the reader's */
    view_free(v);
    return NULL;
}

void net_drop_param(struct net *net) {
    if (net->view) view_free(net->view);
    else free(net->param);
    net->view = NULL;
    net->param = NULL;
}

static void leave(const struct weights_view *v, const struct param *p) {
    size_t from, end;
    if (own_pages(v, p, &from, &end)) madvise(v->base + from, end - from, MADV_DONTNEED); /* they can be read again */
}

void net_leave_param(const struct net *net, const struct layer *l) {
    for (int k = 0; net->view && k < l->n_param; ++k) leave(net->view, &l->param[k]);
}

enum status net_check_param(struct ctx *ctx, const struct net *net) {
    struct stat now;
    const struct weights_view *v = net->view;
    if (!v) return ST_OK;
    if (fstat(fileno(v->file), &now) == 0 && now.st_size == v->as_it_was.st_size && now.st_mtim.tv_sec == v->as_it_was.st_mtim.tv_sec &&
        now.st_mtim.tv_nsec == v->as_it_was.st_mtim.tv_nsec)
        return ST_OK;
    return ctx_fail(ctx, ST_IO, "%s: was changed while a network that runs was reading it; start again", v->path);
}

static enum status look_at(struct ctx *ctx, const struct net *net, const struct weights_view *v, const float *values) {
    for (int i = 0; i < net->n; ++i)
        for (int k = 0; k < net->layer[i].n_param; ++k) {
            const struct param *p = &net->layer[i].param[k];
            if (!param_owned(p)) continue;
            if (!plausible(p, values + p->offset, param_count(p))) return impossible(ctx, net, v->path, i, p);
            leave(v, p);
        }
    return ST_OK;
}

/* ---- into memory ---- */

/* What follows the header. */
static enum status load_values(struct ctx *ctx, struct net *net, struct reader *r, enum load_policy policy, int *layers) {
    int loaded = 0;
    float *fresh = mem_big(ctx, net->n_param, sizeof *fresh);
    if (!fresh) return ST_MEMORY;
    keep_values(net, r->size, fresh);
    enum status st = read_body(ctx, net, r, policy, fresh, &loaded);
    if (st == ST_OK && net->be) {
        memcpy(net->param, fresh, net->n_param * sizeof *fresh); /* the backend may look at the old place */
    } else if (st == ST_OK) {
        net_drop_param(net);
        net->param = fresh;
        fresh = NULL;
    }
    free(fresh);
    if (st == ST_OK && layers) *layers = loaded;
    return st;
}

/* ---- either ---- */

static enum status fresh_values(struct ctx *ctx, struct net *net, uint64_t seed) {
    if (net->view) net_drop_param(net);
    if (!net->param && !(net->param = mem_zero(ctx, net->n_param, sizeof *net->param))) return ctx->code;
    net_init_weights(net, seed);
    return ST_OK;
}

static enum status adopt(struct ctx *ctx, struct net *net, struct weights_view *view, int *layers) {
    float *values = (float *)(void *)(view->base + view->start);
    enum status st = look_at(ctx, net, view, values);
    if (st != ST_OK) {
        view_free(view);
        return st;
    }
    net_drop_param(net);
    net->view = view;
    net->param = values;
    if (layers) *layers = net->n;
    return ST_OK;
}

/* seed NULL: into memory. */
static enum status load(struct ctx *ctx, struct net *net, const char *path, enum load_policy policy, const uint64_t *seed, int *layers) {
    struct reader r;
    struct weights_header header;
    struct weights_view *view = NULL;
    uint64_t seen = 0;
    enum status st = reader_open(ctx, path, &r);
    if (st == ST_OK) st = read_header(ctx, &r, &header, &seen);
    if (st == ST_OK && seed && lies_alike(net, &r)) view = view_new(&r, net);
    if (st == ST_OK && view) {
        st = adopt(ctx, net, view, layers);
    } else {
        if (st == ST_OK && seed) st = fresh_values(ctx, net, *seed);
        if (st == ST_OK) st = load_values(ctx, net, &r, policy, layers);
    }
    reader_close(&r);
    if (st != ST_OK) return st;
    net->header = header;
    net->seen = seen;
    return ST_OK;
}

enum status net_load(struct ctx *ctx, struct net *net, const char *path, enum load_policy policy, int *layers) {
    return load(ctx, net, path, policy, NULL, layers);
}

enum status net_load_to_run(struct ctx *ctx, struct net *net, const char *path, uint64_t seed, int *layers) {
    return load(ctx, net, path, LOAD_WHOLE, &seed, layers);
}

static char *write_le(char *to, uint64_t v, int bytes) {
    for (int i = 0; i < bytes; ++i) *to++ = (char)(v >> (8 * i) & 255);
    return to;
}

enum status net_save_bytes(struct ctx *ctx, const struct net *net, int layers, char **bytes, size_t *size) {
    if (layers < 0 || layers > net->n) layers = net->n;
    size_t n = 0;
    for (int i = 0; i < layers; ++i)
        for (int k = 0; k < net->layer[i].n_param; ++k)
            if (param_owned(&net->layer[i].param[k])) n += param_count(&net->layer[i].param[k]);
    *size = 20 + 4 * n;
    char *to = *bytes = mem_zero(ctx, *size, 1);
    if (!to) return ST_MEMORY;
    to = write_le(to, 0, 4);
    to = write_le(to, 2, 4);
    to = write_le(to, 5, 4);
    to = write_le(to, net->seen, 8);
    for (int i = 0; i < layers; ++i)
        for (int k = 0; k < net->layer[i].n_param; ++k) {
            const struct param *p = &net->layer[i].param[k];
            if (!param_owned(p)) continue;
            for (size_t j = 0, count = param_count(p); j < count; ++j) {
                uint32_t bits;
                memcpy(&bits, &net->param[p->offset + j], 4);
                write_le(to + 4 * place_in_file(p, false, j), bits, 4);
            }
            to += 4 * param_count(p);
        }
    return ST_OK;
}

enum status net_save(struct ctx *ctx, const struct net *net, const char *path, int layers) {
    char *bytes;
    size_t size;
    TRY(net_save_bytes(ctx, net, layers, &bytes, &size));
    enum status st = io_write(ctx, path, bytes, size);
    free(bytes);
    return st;
}
