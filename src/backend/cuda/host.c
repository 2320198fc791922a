/* The host in the place of a device: kernels as loops, in the order of sums that gpu/device.cu has.  For tests. */
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/device.h"

void device_fault(struct device *d, enum status code, const char *fmt, ...) {
    if (d->failed) return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(d->error, sizeof d->error, fmt, args);
    va_end(args);
    d->failed = true;
    d->code = code;
}

/* Blocks stand alone, so that a sanitizer sees every step beyond one. */
static void *host_alloc(struct device *d, size_t bytes) {
    size_t whole = bytes ? (bytes + 63) / 64 * 64 : 64;
    void *block = NULL;
    double *used = d->own;
    if (!mem_fits((double)bytes) || (d->memory > 0 && *used + (double)whole > d->memory)) return NULL;
    if (posix_memalign(&block, 64, whole)) return NULL;
    *used += (double)malloc_usable_size(block);
    memset(block, 0, whole);
    return block;
}
static void host_free(struct device *d, void *block) {
    double *used = d->own;
    if (block) *used -= (double)malloc_usable_size(block);
    free(block);
}
static void host_room(struct device *d, double *left, double *total) {
    double *used = d->own;
    *total = d->memory;
    *left = d->memory - *used > 0 ? d->memory - *used : 0;
}
static void host_zero(struct device *d, void *block, size_t bytes) { (void)d, memset(block, 0, bytes); }
static void host_upload(struct device *d, const void *host, size_t bytes, void *to) { (void)d, memcpy(to, host, bytes); }
static void host_download(struct device *d, const void *from, size_t bytes, void *host) { (void)d, memcpy(host, from, bytes); }
static void host_wait(struct device *d) { (void)d; }
static void host_close(struct device *d) { free(d->own), free(d); }
static void host_describe(const struct device *d, char *text, size_t size) {
    (void)d;
    snprintf(text, size, "CUDA kernels run by the CPU, 1 thread");
}

static void host_product(struct device *d, const struct product *p) {
    (void)d;
    for (int i = 0; i < p->m; ++i)
        for (int j = 0; j < p->n; ++j) {
            double sum = 0;
            for (int l = 0; l < p->k; ++l) {
                float a = p->ta ? p->a[l * p->lda + i] : p->a[i * p->lda + l], b = p->tb ? p->b[j * p->ldb + l] : p->b[l * p->ldb + j];
                sum += (double)a * (double)b;
            }
            float *c = &p->c[i * p->ldc + j];
            *c = (float)(sum + (p->beta != 0 ? (double)(p->beta * *c) : 0));
        }
}

/* As on a device: lanes take every LANES-th row of a chunk. */
enum { LANES = 8, CHUNKS = 3 };

static void add_float(float *sum, float *lost, float term) { /* Kahan */
    float more = term - *lost, next = *sum + more;
    *lost = next - *sum - more;
    *sum = next;
}
static void add_double(double *sum, double *lost, double term) { (void)lost, *sum += term; }

#define EACH(name, args) \
    static void name##_run(struct device *d, const struct args *a, size_t n) { \
        (void)d; \
        for (size_t i = n; i-- > 0;) name##_each(a, i); /* backwards: no result may hang on the order */ \
    }
#define COLUMNS(name, args, terms, type) \
    static void name##_run(struct device *d, const struct args *a, size_t columns, size_t rows) { \
        (void)d; \
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

static const struct device_ops host_ops = {
    .alloc = host_alloc, .free = host_free, .zero = host_zero, .upload = host_upload, .download = host_download,
    .wait = host_wait, .room = host_room, .product = host_product, .describe = host_describe, .close = host_close,
#define EACH(name, args) .name = name##_run,
#define COLUMNS(name, args, terms, type) .name = name##_run,
#include "backend/cuda/kernels.inc"
#undef EACH
#undef COLUMNS
};

enum status device_host_open(struct ctx *ctx, double limit, struct device **out) {
    struct device *d = *out = mem_zero(ctx, 1, sizeof *d);
    if (!d || !(d->own = mem_zero(ctx, 1, sizeof(double)))) { /* own: bytes given out */
        free(d);
        *out = NULL;
        return ST_MEMORY;
    }
    d->ops = &host_ops;
    d->memory = limit;
    return ST_OK;
}
