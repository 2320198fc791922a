/* Loops in the place of a library's convolutions: for tests of everything around them.  Every form that device_conv has occurs,
 * as the shape has it, and none at all. */
#include <stdlib.h>

#include "backend/cuda/device.h"

struct host_conv { struct device_conv form; struct conv_desc d; };

static struct device_conv *conv_open(struct device *d, struct ctx *ctx, const struct conv_desc *desc) {
    struct host_conv *c = mem_zero(ctx, 1, sizeof *c);
    if (!c) return NULL;
    int pick = desc->x.c + desc->y.c + desc->size;
    enum element factor = precision_factor(d->precision);
    if (pick % 5 == 2) { /* nothing for this one: matrix products */
        free(c);
        return NULL;
    }
    c->d = *desc;
    c->form = (struct device_conv){ .factor = factor, .fused = pick % 2,
                                    .result = { pick % 2 ? desc->y.type : factor, pick % 3 ? factor : ELEMENT_REAL, pick % 3 != 1 ? factor : ELEMENT_REAL } };
    return &c->form;
}

static void conv_close(struct device *d, struct device_conv *c) { (void)d, free(c); }

static double number(enum element type, const void *x, size_t i) { return (double)load(x, type, (ptrdiff_t)i); }
static void put_number(const struct host_conv *c, enum conv_pass pass, void *x, size_t i, double value) {
    store(x, c->form.result[pass], (ptrdiff_t)i, (float)value);
}

/* Calls `each` for every product that a convolution is made of, with places of x, w and y. */
struct walk { const struct host_conv *c; void (*each)(void *, size_t, size_t, size_t); void *user; };
static void walk_taps(const struct walk *w, int n, int f, int oy, int ox) {
    const struct conv_desc *d = &w->c->d;
    int per = d->x.c / d->groups, first = f / (d->y.c / d->groups) * per;
    size_t y = (((size_t)n * (size_t)d->y.h + (size_t)oy) * (size_t)d->y.w + (size_t)ox) * (size_t)d->y.c + (size_t)f;
    for (int tap = 0; tap < d->size * d->size; ++tap) {
        int iy = oy * d->stride_y - d->pad + tap / d->size * d->dilation, ix = ox * d->stride_x - d->pad + tap % d->size * d->dilation;
        if (iy < 0 || iy >= d->x.h || ix < 0 || ix >= d->x.w) continue;
        size_t x = (((size_t)n * (size_t)d->x.h + (size_t)iy) * (size_t)d->x.w + (size_t)ix) * (size_t)d->x.c + (size_t)first;
        size_t k = ((size_t)f * (size_t)(d->size * d->size) + (size_t)tap) * (size_t)per;
        for (int c = 0; c < per; ++c) w->each(w->user, x + (size_t)c, k + (size_t)c, y);
    }
}
static void walk_all(const struct walk *w) {
    const struct conv_desc *d = &w->c->d;
    for (int n = 0; n < d->y.n; ++n)
        for (int oy = 0; oy < d->y.h; ++oy)
            for (int ox = 0; ox < d->y.w; ++ox)
                for (int f = 0; f < d->y.c; ++f) walk_taps(w, n, f, oy, ox);
}

struct sums { enum element factor; enum conv_pass pass; const void *a, *b; double *sum; };
static void add_product(void *user, size_t x, size_t w, size_t y) {
    const struct sums *s = user;
    size_t a = s->pass == CONV_DATA ? w : x, b = s->pass == CONV_FORWARD ? w : y, to = s->pass == CONV_FORWARD ? y : s->pass == CONV_DATA ? x : w;
    s->sum[to] += number(s->factor, s->a, a) * number(s->factor, s->b, b);
}

/* Sums of n results; NULL: a fault was kept. */
static double *sums_of(struct device *dev, const struct host_conv *c, enum conv_pass pass, const void *a, const void *b, size_t n) {
    struct sums s = { c->form.factor, pass, a, b, calloc(n ? n : 1, sizeof(double)) };
    if (!s.sum) device_fault(dev, ST_MEMORY, "out of memory");
    else walk_all(&(struct walk){ c, add_product, &s });
    return s.sum;
}

static size_t count(const struct tensor *t) { return (size_t)t->n * (size_t)t->c * (size_t)t->h * (size_t)t->w; }

static void conv_forward(struct device *dev, struct device_conv *conv, const void *x, const void *w, const float *bias, const void *skip, void *y) {
    const struct host_conv *c = (const struct host_conv *)conv;
    size_t n = count(&c->d.y);
    double *sum = device_free_to(dev) ? sums_of(dev, c, CONV_FORWARD, x, w, n) : NULL;
    for (size_t i = 0; sum && i < n; ++i) {
        if (conv->fused && bias) sum[i] += (double)bias[i % (size_t)c->d.y.c];
        if (conv->fused) sum[i] = activation_value(c->d.act, sum[i]) + (skip ? number(c->d.skip_type, skip, i) : 0);
        put_number(c, CONV_FORWARD, y, i, sum[i]);
    }
    free(sum);
}

static void conv_backward_data(struct device *dev, struct device_conv *conv, const void *w, const void *dy, void *dx, bool add) {
    const struct host_conv *c = (const struct host_conv *)conv;
    size_t n = count(&c->d.x);
    double *sum = device_free_to(dev) ? sums_of(dev, c, CONV_DATA, w, dy, n) : NULL;
    for (size_t i = 0; sum && i < n; ++i) put_number(c, CONV_DATA, dx, i, sum[i] + (add ? number(c->form.result[CONV_DATA], dx, i) : 0));
    free(sum);
}

static void conv_backward_weights(struct device *dev, struct device_conv *conv, const void *x, const void *dy, void *dw) {
    const struct host_conv *c = (const struct host_conv *)conv;
    size_t n = (size_t)c->d.y.c * (size_t)(c->d.x.c / c->d.groups) * (size_t)(c->d.size * c->d.size);
    double *sum = device_free_to(dev) ? sums_of(dev, c, CONV_WEIGHTS, x, dy, n) : NULL;
    for (size_t i = 0; sum && i < n; ++i) put_number(c, CONV_WEIGHTS, dw, i, sum[i]);
    free(sum);
}

const struct device_conv_ops device_host_conv = { .open = conv_open, .close = conv_close, .forward = conv_forward,
                                                  .backward_data = conv_backward_data, .backward_weights = conv_backward_weights };
