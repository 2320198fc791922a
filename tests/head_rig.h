/* A head without a network: its section as text, its input as an array. */
#ifndef TESTS_HEAD_RIG_H
#define TESTS_HEAD_RIG_H

#include "layers/layer.h"
#include "test.h"

static struct ctx ctx;

struct rig { struct cfg_doc *doc; struct layer l; struct shape in; int batch; };

static inline bool rig_open(struct rig *r, const char *text, int c, int h, int w, int batch, enum net_mode mode) {
    *r = (struct rig){ .in = { 1, c, h, w }, .batch = batch };
    ctx_clear(&ctx);
    if (cfg_parse(&ctx, "test.cfg", text, strlen(text), true, &r->doc) != ST_OK) return false;
    struct layer *l = &r->l;
    l->section = &r->doc->section[0];
    l->ops = layer_find(l->section->type);
    l->index = 7;
    l->in_shape = &r->in;
    l->state = calloc(1, l->ops->state_size);
    if (keys_read(&ctx, l->section, l->ops->keys, l->state) != ST_OK) return false;
    if (l->ops->shape(&ctx, l, NULL, NULL) != ST_OK) return false;
    struct pass p = { .ctx = &ctx, .mode = mode, .batch = batch, .host_heads = true };
    return l->ops->prepare(l, &p) == ST_OK;
}

static inline void rig_close(struct rig *r) {
    if (r->l.ops) {
        r->l.ops->release(&r->l, NULL);
        keys_free(r->l.ops->keys, r->l.state);
    }
    free(r->l.state);
    if (r->doc) cfg_free(r->doc);
}

#define OPEN(r, ...) if (!rig_open(r, __VA_ARGS__)) { CHECK(false, "%s", ctx.error); rig_close(r); return; }

static inline size_t rig_count(const struct rig *r) {
    return (size_t)r->batch * (size_t)r->in.c * (size_t)r->in.h * (size_t)r->in.w;
}

/* Entry e of a prediction of `per` entries (5 + classes, with uncertainties 9 + classes). */
static inline size_t at(const struct rig *r, int per, int image, int anchor, int row, int col, int e) {
    return (((size_t)image * (size_t)r->in.c + (size_t)(anchor * per + e)) * (size_t)r->in.h + (size_t)row) *
               (size_t)r->in.w +
           (size_t)col;
}

static inline void fill_random(struct rig *r, uint64_t seed, double low, double high) {
    struct rng g = rng_stream(seed, 0, 0);
    for (size_t i = 0; i < rig_count(r); ++i) r->l.head_x[i] = (float)rng_between(&g, low, high);
}

static inline double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static inline double logit(double p) { return log(p / (1 - p)); }

/* A file with this text; `path` ends in XXXXXX.  False after a visible skip. */
static inline bool rig_file(char *path, const char *text) {
    int fd = mkstemp(path);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!f) {
        SKIP("no temporary file");
        return false;
    }
    fputs(text, f);
    fclose(f);
    return true;
}

static inline double rig_squares(const struct rig *r) {
    double s = 0;
    for (size_t i = 0; i < rig_count(r); ++i) s += (double)r->l.head_delta[i] * r->l.head_delta[i];
    return s;
}

#endif
