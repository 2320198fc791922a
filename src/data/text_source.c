#include "data/text_source.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/rng.h"
#include "base/text.h"

/* --- the text ------------------------------------------------------------------------------------------------------- */

static enum status read_bytes(struct ctx *ctx, const char *path, const char *bytes, size_t size, struct symbols *s) {
    s->v = mem_zero(ctx, size, sizeof *s->v);
    if (!s->v) return ST_MEMORY;
    for (size_t i = 0; i < size; ++i) {
        int symbol = (unsigned char)bytes[i];
        if (symbol >= s->kinds)
            return ctx_fail(ctx, ST_FORMAT, "%s: byte %zu is %d, but the network knows the symbols 0 to %d", path, i + 1, symbol, s->kinds - 1);
        s->v[s->n++] = symbol;
    }
    return ST_OK;
}

static enum status read_numbers(struct ctx *ctx, const char *path, const char *at, struct symbols *s) {
    static const char blanks[] = " \t\r\n";
    size_t cap = 0;
    for (at += strspn(at, blanks); *at; at += strspn(at, blanks)) {
        const char *rest;
        int symbol;
        if (!text_int(at, &symbol, &rest) || (*rest && !strchr(blanks, *rest)))
            return ctx_fail(ctx, ST_FORMAT, "%s: token %d is \"%.*s\", which is no number", path, s->n + 1, (int)strcspn(at, blanks), at);
        if (symbol < 0 || symbol >= s->kinds)
            return ctx_fail(ctx, ST_FORMAT, "%s: token %d is %d, but the network knows the symbols 0 to %d", path, s->n + 1, symbol, s->kinds - 1);
        TRY(mem_grow(ctx, &s->v, &cap, (size_t)s->n + 1, sizeof *s->v));
        s->v[s->n++] = symbol;
        at = rest;
    }
    return ST_OK;
}

enum status symbols_read(struct ctx *ctx, const char *path, int kinds, bool tokens, struct symbols *s) {
    char *bytes;
    size_t size;
    *s = (struct symbols){ .kinds = kinds };
    TRY(io_read(ctx, path, &bytes, &size));
    enum status st = ST_OK;
    if (size > INT_MAX) st = ctx_fail(ctx, ST_UNSUPPORTED, "%s: texts of 2 GiB and more are not supported", path);
    else if (tokens && strlen(bytes) != size) st = ctx_fail(ctx, ST_FORMAT, "%s: holds a NUL byte, this is no list of numbers", path);
    else st = tokens ? read_numbers(ctx, path, bytes, s) : read_bytes(ctx, path, bytes, size, s);
    free(bytes);
    if (st == ST_OK && s->n < 2) st = ctx_fail(ctx, ST_FORMAT, "%s: %d symbols are no text to learn from", path, s->n);
    if (st != ST_OK) symbols_free(s);
    return st;
}

void symbols_free(struct symbols *s) {
    free(s->v);
    s->v = NULL;
    s->n = 0;
}

/* --- batches -------------------------------------------------------------------------------------------------------- */

struct text_source {
    const struct symbols *text;
    struct batch_request request;
    uint64_t number;       /* of the next batch */
    struct batch batch;
    float *target;
    size_t cap;            /* values in x and in target */
};

enum { PLACE_STREAM = 0x74657874 };

/* Where sequence `s` of batch `number` begins. */
static int place_of(const struct text_source *t, uint64_t number, int s) {
    const struct batch_request *r = &t->request;
    uint64_t begun = r->sequence(r->user, number), n = (uint64_t)t->text->n;
    struct rng random = rng_stream(r->seed + PLACE_STREAM, begun, (uint64_t)s);
    return (int)((rng_u64(&random) % n + (number - begun) * (uint64_t)r->steps) % n);
}

static enum status next(struct ctx *ctx, void *self, const struct batch **batch, double *wait) {
    struct text_source *t = self;
    struct batch *b = &t->batch;
    const struct symbols *text = t->text;
    t->request.plan(t->request.user, t->number, &b->n, &b->w, &b->h);
    b->c = text->kinds / (b->w * b->h);
    b->target_size = text->kinds;
    int sequences = b->n / t->request.steps;
    size_t values = (size_t)b->n * (size_t)text->kinds, had = t->cap;
    TRY(mem_grow(ctx, &b->x, &t->cap, values, sizeof *b->x));
    TRY(mem_grow(ctx, &t->target, &had, values, sizeof *t->target));
    memset(b->x, 0, values * sizeof *b->x);
    memset(t->target, 0, values * sizeof *t->target);
    for (int s = 0; s < sequences; ++s) {
        int at = place_of(t, t->number, s);
        for (int step = 0; step < t->request.steps; ++step) {
            size_t row = (size_t)(step * sequences + s) * (size_t)text->kinds;
            b->x[row + (size_t)text->v[at]] = 1;
            at = at + 1 < text->n ? at + 1 : 0;
            t->target[row + (size_t)text->v[at]] = 1;
        }
    }
    b->target = t->target;
    ++t->number;
    *batch = b;
    *wait = 0;
    return ST_OK;
}

static void close_source(void *self) {
    struct text_source *t = self;
    free(t->batch.x);
    free(t->target);
    free(t);
}

enum status text_source_open(struct ctx *ctx, const struct symbols *text, const struct batch_request *request, struct batch_source *out) {
    struct text_source *t = mem_zero(ctx, 1, sizeof *t);
    if (!t) return ST_MEMORY;
    t->text = text;
    t->request = *request;
    t->number = request->first;
    *out = (struct batch_source){ .self = t, .next = next, .close = close_source };
    return ST_OK;
}
