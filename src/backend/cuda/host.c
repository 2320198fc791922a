/* The host in the place of a device: kernels as loops, in the order of sums that gpu/device.cu has.  For tests. */
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/device.h"

void device_fault(struct device *d, enum status code, const char *fmt, ...) {
    d->spoilt = d->spoilt || d->recording;
    if (d->failed || d->recording) return; /* what cannot be noted will be done, and then be told of if need be */
    va_list args;
    va_start(args, fmt);
    vsnprintf(d->error, sizeof d->error, fmt, args);
    va_end(args);
    d->failed = true;
    d->code = code;
}

/* --- Notes of what is to be done: calls with copies of their arguments ----------------------------------------------------- */

struct call { void (*run)(struct device *, const struct call *); void *copy; size_t a, b; };
struct note { struct call *call; size_t n, cap; };
struct sent { const void *host; size_t bytes; void *to; };
struct host {
    struct note *note;    /* being made */
    double used;          /* bytes given out */
    struct sent *sent;    /* copies that are on their way */
    size_t n_sent, cap_sent;
};

static void note_call(struct device *d, void (*run)(struct device *, const struct call *), const void *args, size_t size, size_t a, size_t b) {
    struct ctx quiet = { 0 };
    struct note *note = ((struct host *)d->own)->note;
    void *copy = note ? mem_zero(&quiet, 1, size ? size : 1) : NULL;
    if (!copy || mem_grow(&quiet, &note->call, &note->cap, note->n + 1, sizeof *note->call) != ST_OK) {
        free(copy);
        d->spoilt = true;
        return;
    }
    if (size) memcpy(copy, args, size);
    note->call[note->n++] = (struct call){ run, copy, a, b };
}

static bool host_record(struct device *d) {
    struct ctx quiet = { 0 };
    struct host *h = d->own;
    h->note = mem_zero(&quiet, 1, sizeof(struct note));
    return h->note != NULL;
}
static void *host_recorded(struct device *d) {
    struct host *h = d->own;
    struct note *note = h->note;
    h->note = NULL;
    return note;
}
static void host_replay(struct device *d, void *own) {
    const struct note *note = own;
    for (size_t i = 0; i < note->n; ++i) note->call[i].run(d, &note->call[i]);
}
static void host_forget(struct device *d, void *own) {
    struct note *note = own;
    (void)d;
    for (size_t i = 0; i < note->n; ++i) free(note->call[i].copy);
    free(note->call);
    free(note);
}

/* --- Memory ------------------------------------------------------------------------------------------------------------------- */

/* Blocks stand alone, so that a sanitizer sees every step beyond one. */
static void *host_alloc(struct device *d, size_t bytes) {
    size_t whole = bytes ? (bytes + 63) / 64 * 64 : 64;
    void *block = NULL;
    struct host *h = d->own;
    if (!mem_fits((double)bytes) || (d->memory > 0 && h->used + (double)whole > d->memory)) return NULL;
    if (posix_memalign(&block, 64, whole)) return NULL;
    h->used += (double)malloc_usable_size(block);
    memset(block, 0, whole);
    ++d->allocations;
    return block;
}
static void host_free(struct device *d, void *block) {
    struct host *h = d->own;
    if (!block || !device_free_to(d)) return;
    h->used -= (double)malloc_usable_size(block);
    free(block);
}
static void host_room(struct device *d, double *left, double *total) {
    const struct host *h = d->own;
    *total = d->memory;
    *left = d->memory - h->used > 0 ? d->memory - h->used : 0;
}
static void zero_call(struct device *d, const struct call *c) {
    (void)d;
    memset((void *)c->a, 0, c->b);
}
static void host_zero(struct device *d, void *block, size_t bytes) {
    if (d->recording) note_call(d, zero_call, NULL, 0, (size_t)block, bytes);
    else memset(block, 0, bytes);
}
static void host_upload(struct device *d, const void *host, size_t bytes, void *to) {
    if (device_free_to(d)) memcpy(to, host, bytes);
}
static void host_download(struct device *d, const void *from, size_t bytes, void *host) {
    if (device_free_to(d)) memcpy(host, from, bytes);
    else memset(host, 0, bytes);
}
static void host_wait(struct device *d) { device_free_to(d); }
/* As late as a device may do it, so that tests see memory that changes too early. */
static void host_send_begin(struct device *d) { device_free_to(d); }
static void host_send(struct device *d, const void *host, size_t bytes, void *to) {
    struct host *h = d->own;
    struct ctx why = { 0 };
    if (!device_free_to(d)) return;
    if (mem_grow(&why, &h->sent, &h->cap_sent, h->n_sent + 1, sizeof *h->sent) != ST_OK) device_fault(d, why.code, "%s", why.error);
    else h->sent[h->n_sent++] = (struct sent){ host, bytes, to };
}
static void host_send_end(struct device *d) {
    struct host *h = d->own;
    if (!device_free_to(d)) return;
    for (size_t i = 0; i < h->n_sent; ++i) memcpy(h->sent[i].to, h->sent[i].host, h->sent[i].bytes);
    h->n_sent = 0;
}
static void *host_memory(struct device *d, size_t bytes) {
    (void)d;
    return malloc(bytes ? bytes : 1);
}
static void host_release(struct device *d, void *at) {
    (void)d;
    free(at);
}
static void host_close(struct device *d) {
    free(((struct host *)d->own)->sent);
    free(d->own);
    free(d);
}
static void host_describe(const struct device *d, char *text, size_t size) {
    snprintf(text, size, "CUDA kernels run by the CPU, %s, 1 thread", precision_name(d->precision));
}

/* --- Products ------------------------------------------------------------------------------------------------------------------- */

/* A factor as the precision has it. */
static float rounded(enum precision p, float x) {
    switch (p) {
    case PRECISION_FP16: return of_half(half_of(x));
    case PRECISION_BF16: return of_brain(brain_of(x));
    case PRECISION_TF32: return of_bits((bits_of(x) + 0xfff + (bits_of(x) >> 13 & 1)) & 0xffffe000u);
    case PRECISION_FP32: break;
    }
    return x;
}

static void product_call(struct device *d, const struct call *c) {
    const struct product *p = c->copy;
    for (int i = 0; i < p->m; ++i)
        for (int j = 0; j < p->n; ++j) {
            double sum = 0;
            for (int l = 0; l < p->k; ++l) {
                float a = load(p->a, p->factor, p->ta ? l * p->lda + i : i * p->lda + l), b = load(p->b, p->factor, p->tb ? j * p->ldb + l : l * p->ldb + j);
                sum += (double)rounded(d->precision, a) * (double)rounded(d->precision, b);
            }
            ptrdiff_t to = i * p->ldc + j;
            store(p->c, p->result, to, (float)(sum + (p->beta != 0 ? (double)(p->beta * load(p->c, p->result, to)) : 0)));
        }
}

static void host_product(struct device *d, const struct product *p) {
    struct call now = { .copy = (void *)p };
    if (d->recording) note_call(d, product_call, p, sizeof *p, 0, 0);
    else product_call(d, &now);
}

/* --- Kernels ---------------------------------------------------------------------------------------------------------------------- */

/* As on a device: lanes take every LANES-th row of a chunk. */
enum { LANES = 8, CHUNKS = 3 };

static void add_float(float *sum, float *lost, float term) { /* Kahan */
    float more = term - *lost, next = *sum + more;
    *lost = next - *sum - more;
    *sum = next;
}
static void add_double(double *sum, double *lost, double term) { (void)lost, *sum += term; }

#define EACH(name, args) \
    static void name##_run(struct device *, const struct args *, size_t); \
    static void name##_call(struct device *d, const struct call *c) { name##_run(d, c->copy, c->a); } \
    static void name##_run(struct device *d, const struct args *a, size_t n) { \
        if (d->recording) { \
            note_call(d, name##_call, a, sizeof *a, n, 0); \
            return; \
        } \
        for (size_t i = n; i-- > 0;) name##_each(a, i); /* backwards: no result may hang on the order */ \
    }
#define COLUMNS(name, args, terms, type) \
    static void name##_run(struct device *, const struct args *, size_t, size_t); \
    static void name##_call(struct device *d, const struct call *c) { name##_run(d, c->copy, c->a, c->b); } \
    static void name##_run(struct device *d, const struct args *a, size_t columns, size_t rows) { \
        if (d->recording) { \
            note_call(d, name##_call, a, sizeof *a, columns, rows); \
            return; \
        } \
        size_t per = (rows + CHUNKS - 1) / CHUNKS; \
        for (size_t column = 0; column < columns; ++column) { \
            double total[terms] = { 0 }; \
            for (int chunk = 0; chunk < CHUNKS; ++chunk) \
                for (size_t lane = 0; lane < LANES; ++lane) { \
                    type sum[terms] = { 0 }, lost[terms] = { 0 }, t[terms]; \
                    size_t end = ((size_t)chunk + 1) * per < rows ? ((size_t)chunk + 1) * per : rows; \
                    for (size_t row = (size_t)chunk * per + lane; row < end; row += LANES) { \
                        name##_term(a, column, row, t); \
                        for (int k = 0; k < terms; ++k) add_##type(&sum[k], &lost[k], t[k]); \
                    } \
                    for (int k = 0; k < terms; ++k) total[k] += (double)sum[k]; \
                } \
            name##_finish(a, column, total); \
        } \
    }
#include "backend/cuda/kernels.inc"
#undef EACH
#undef COLUMNS

#define HOST_OPS \
    .alloc = host_alloc, .free = host_free, .zero = host_zero, .upload = host_upload, .download = host_download, .wait = host_wait, .room = host_room, \
    .send_begin = host_send_begin, .send = host_send, .send_end = host_send_end, .host_alloc = host_memory, .host_free = host_release, \
    .product = host_product, .record = host_record, .recorded = host_recorded, .replay = host_replay, .forget = host_forget, \
    .describe = host_describe, .close = host_close,
#define EACH(name, args) .name = name##_run,
#define COLUMNS(name, args, terms, type) .name = name##_run,
static const struct device_ops host_ops = {
    HOST_OPS
#include "backend/cuda/kernels.inc"
};
static const struct device_ops library_ops = {
    HOST_OPS .conv = &device_host_conv,
#include "backend/cuda/kernels.inc"
};
#undef EACH
#undef COLUMNS

enum status device_host_open(struct ctx *ctx, enum precision precision, bool library, double limit, struct device **out) {
    struct device *d = *out = mem_zero(ctx, 1, sizeof *d);
    if (!d || !(d->own = mem_zero(ctx, 1, sizeof(struct host)))) {
        free(d);
        *out = NULL;
        return ST_MEMORY;
    }
    d->ops = library ? &library_ops : &host_ops;
    d->precision = precision;
    d->memory = limit;
    return ST_OK;
}
