/* One operation on two backends, in three memory layouts, overwriting and adding, and on maps of 16 bits; what it gives is compared. */
#ifndef TESTS_BACKEND_RIG_H
#define TESTS_BACKEND_RIG_H

#include <float.h>

#include "backend/backend.h"
#include "base/rng.h"
#include "test.h"

/* How a test tensor lies in memory: the backend's own layout, channels 2.. of a wider map, or the other order. */
enum layout { OWN, SLICE, OTHER, LAYOUTS };
static const char *const layout_names[] = {"own", "slice", "other"};

enum { MAX_BLOCKS = 16, GAP_BEFORE = 2, GAP_AFTER = 3 };
#define SENTINEL 1232.f /* a number in 16 bits, too */

struct run;
struct parity_case {
    const char *name;
    void (*body)(struct run *);
    struct shape x;
    int a, b, c, d, e; /* what they mean is the body's business */
    enum activation act;
};

/* One execution of a case on one backend; what it emits is compared. */
struct run {
    struct backend *be;
    struct ctx ctx;
    struct rng rng;
    const struct parity_case *k;
    enum layout layout;
    bool add;
    bool coarse;     /* random maps hold numbers that 16 bits hold exactly */
    unsigned narrow; /* bit k: tensor number k is of the backend's narrow_maps */
    real *blocks[MAX_BLOCKS];
    struct tensor maps[MAX_BLOCKS];
    int n_blocks, n_maps;
    float *out, *size; /* emitted values; the root mean square of the array that each belongs to */
    size_t n_out, cap_out, cap_size;
};

static inline float *host(size_t n) {
    float *values = malloc((n + 1) * sizeof *values);
    if (!values) exit(2);
    return values;
}

static inline real *block(struct run *r, size_t n) {
    real *data = r->be->ops->alloc(r->be, &r->ctx, n);
    if (!data || r->n_blocks == MAX_BLOCKS) exit(2);
    return r->blocks[r->n_blocks++] = data;
}

static inline void emit(struct run *r, const float *values, size_t n) {
    if (mem_grow(&r->ctx, &r->out, &r->cap_out, r->n_out + n, sizeof *r->out) != ST_OK) exit(2);
    if (mem_grow(&r->ctx, &r->size, &r->cap_size, r->n_out + n, sizeof *r->size) != ST_OK) exit(2);
    double squares = 0;
    for (size_t i = 0; i < n; ++i) squares += (double)values[i] * (double)values[i];
    for (size_t i = 0; i < n; ++i) r->size[r->n_out + i] = (float)sqrt(squares / (double)n);
    memcpy(r->out + r->n_out, values, n * sizeof *values);
    r->n_out += n;
}

static inline void emit_map(struct run *r, const struct tensor *t) {
    size_t n = shape_count((struct shape){t->n, t->c, t->h, t->w});
    float *values = host(n);
    r->be->ops->to_nchw(r->be, t, values);
    emit(r, values, n);
    free(values);
}

static inline void emit_vector(struct run *r, const real *v, size_t n) {
    float *values = host(n);
    r->be->ops->get(r->be, v, n, values);
    emit(r, values, n);
    free(values);
}

static inline void emit_doubles(struct run *r, const double *v, size_t n) {
    float *values = host(n);
    for (size_t i = 0; i < n; ++i) values[i] = (float)v[i];
    emit(r, values, n);
    free(values);
}

/* A tensor in the run's layout, everything around it set to the sentinel. */
static inline struct tensor bare(struct run *r, struct shape s) {
    struct shape wide = s;
    if (r->layout == SLICE) wide.c += GAP_BEFORE + GAP_AFTER;
    size_t n = shape_count(wide);
    bool narrow = r->narrow >> r->n_maps & 1;
    real *data = block(r, narrow ? (n + 1) / 2 : n);
    struct tensor t = tensor_of(r->be, wide, data);
    if (narrow) t.type = r->be->narrow_maps;
    r->be->ops->fill(r->be, &t, (double)SENTINEL);
    if (r->layout == SLICE) {
        t = tensor_channels(r->be, &t, GAP_BEFORE, s.c);
    } else if (r->layout == OTHER) {
        struct backend other = *r->be;
        other.channels_last = !other.channels_last;
        enum element type = t.type;
        t = tensor_of(&other, s, data);
        t.type = type;
    }
    return r->maps[r->n_maps++] = t;
}

static inline void set_values(struct run *r, struct tensor *t, float *values) {
    r->be->ops->from_nchw(r->be, values, t, false);
}

static inline struct tensor random_map(struct run *r, struct shape s) {
    struct tensor t = bare(r, s);
    size_t n = shape_count(s);
    float *values = host(n);
    for (size_t i = 0; i < n; ++i) values[i] = (float)rng_normal(&r->rng);
    for (size_t i = 0; i < n && r->coarse; ++i) values[i] = roundf(8 * values[i]) / 8;
    set_values(r, &t, values);
    free(values);
    return t;
}

/* A target: random when the operation adds to it, NaN when it must overwrite. */
static inline struct tensor target(struct run *r, struct shape s) {
    if (r->add) return random_map(r, s);
    struct tensor t = bare(r, s);
    r->be->ops->fill(r->be, &t, (double)NAN);
    return t;
}

static inline real *random_vector(struct run *r, size_t n, double low, double high) {
    float *values = host(n);
    for (size_t i = 0; i < n; ++i) values[i] = (float)rng_between(&r->rng, low, high);
    real *v = block(r, n);
    r->be->ops->put(r->be, values, n, v);
    free(values);
    return v;
}

static inline void run_done(struct run *r) {
    for (int i = 0; i < r->n_blocks; ++i) r->be->ops->free(r->be, r->blocks[i]);
    free(r->out);
    free(r->size);
}

static inline struct run run_with(struct backend *be, const struct parity_case *k, enum layout layout, bool add, bool coarse, unsigned narrow) {
    struct run r = {.be = be, .rng = rng_stream(7, (uint64_t)layout, add), .k = k, .layout = layout, .add = add, .coarse = coarse, .narrow = narrow};
    k->body(&r);
    /* Nothing around a slice may have changed. */
    for (int i = 0; i < r.n_maps && layout == SLICE; ++i) {
        struct tensor gap = r.maps[i];
        gap.data = (char *)gap.data - (ptrdiff_t)element_size(be, gap.type) * GAP_BEFORE * gap.sc;
        int c = gap.c;
        gap.c += GAP_BEFORE + GAP_AFTER;
        float *all = host(shape_count((struct shape){gap.n, gap.c, gap.h, gap.w}));
        be->ops->to_nchw(be, &gap, all);
        int changed = 0;
        for (int j = 0; j < gap.n * gap.c * gap.h * gap.w; ++j) {
            int channel = j / (gap.h * gap.w) % gap.c;
            bool inside = channel >= GAP_BEFORE && channel < GAP_BEFORE + c;
            changed += !inside && all[j] != SENTINEL;
        }
        CHECK(changed == 0, "%s on %s: %d elements outside tensor %d were written", k->name, be->ops->name, changed, i);
        free(all);
    }
    return r;
}

static inline struct run run_case(struct backend *be, const struct parity_case *k, enum layout layout, bool add) {
    return run_with(be, k, layout, add, false, 0);
}

/* Sums of many terms of both signs are exact relative to their usual size, not to what happened to remain. */
static inline void compare(const struct run *a, const struct run *b, double tol) {
    CHECK(a->n_out == b->n_out, "%s: sizes differ", a->k->name);
    double worst = 0;
    size_t at = 0;
    for (size_t i = 0; i < a->n_out && i < b->n_out; ++i) {
        double u = a->out[i], v = b->out[i], usual = fmax(a->size[i], 1);
        double e = fabs(u - v) / fmax(fmax(fabs(u), fabs(v)), usual);
        if (b->narrow && b->be->narrow_maps == ELEMENT_HALF && fabs(u) >= 65504 && isinf(v) && (u > 0) == (v > 0)) e = 0; /* beyond its range */
        if (isnan(e)) e = DBL_MAX;
        if (e > worst) worst = e, at = i;
    }
    CHECK(worst <= tol, "%s, layout %s, add %d: value %zu is %g on %s, %g on %s", a->k->name, layout_names[a->layout],
          a->add, at, (double)a->out[at], a->be->ops->name, (double)b->out[at], b->be->ops->name);
}

static inline bool is_conv(const struct parity_case *k) { return !strncmp(k->name, "conv ", 5) || !strncmp(k->name, "run conv ", 9); }

static inline void check_case(struct backend *ref, struct backend *be, const struct parity_case *k) {
    for (int layout = OWN; layout < LAYOUTS; ++layout) {
        /* Convolutions on the cpu need channels side by side. */
        if (is_conv(k) && layout == OTHER && strcmp(be->ops->name, "cpu") == 0) continue;
        for (int add = 0; add < 2; ++add) {
            struct run a = run_case(ref, k, (enum layout)layout, add), b = run_case(be, k, (enum layout)layout, add);
            compare(&a, &b, is_conv(k) ? 5e-5 : 1e-5); /* Winograd's sums cancel more */
            run_done(&a), run_done(&b);
        }
    }
}

/* Maps of 16 bits, all of them and every other one, as exact as their numbers are: operations compute in float. */
static inline void check_narrow_case(struct backend *ref, struct backend *be, const struct parity_case *k) {
    static const unsigned masks[] = { ~0u, 0x55555555, 0xaaaaaaaa };
    bool half = be->narrow_maps == ELEMENT_HALF;
    double tol = is_conv(k) ? (half ? 4e-3 : 3e-2) : half ? 2e-3 : 1.2e-2;
    for (int layout = OWN; layout < LAYOUTS && shape_count(k->x) < 20000; ++layout)
        for (int add = 0; add < 2; ++add) {
            struct run a = run_with(ref, k, (enum layout)layout, add, true, 0);
            for (int m = 0; m < (layout == OWN ? 3 : 1); ++m) {
                struct run b = run_with(be, k, (enum layout)layout, add, true, masks[m]);
                compare(&a, &b, tol);
                run_done(&b);
            }
            run_done(&a);
        }
}

/* The backends that have such maps, or fewer where a GPU is missing. */
static inline void check_narrow(struct backend *ref, void (*check)(struct backend *ref, struct backend *be)) {
    static const char *const kinds[] = { "cuda-emulated:fp16", "cuda-emulated:bf16", "cuda:0:fp16", "cuda:0:bf16" };
    char why[256];
    int n = backend_gpus(why, sizeof why) > 0 ? 4 : 2;
    for (int i = 0; i < n; ++i) {
        struct ctx ctx = { 0 };
        struct backend *be = NULL;
        CHECK(backend_open(&ctx, kinds[i], &be) == ST_OK, "%s: %s", kinds[i], ctx.error);
        if (!be) continue;
        CHECK(be->narrow_maps == (i % 2 ? ELEMENT_BRAIN : ELEMENT_HALF), "%s: narrow maps", kinds[i]);
        check(ref, be);
        CHECK(be->ops->sync(be, &ctx) == ST_OK, "%s: %s", kinds[i], ctx.error);
        backend_close(be);
    }
}

#endif
