#include "data/augment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

/* --- Samples -------------------------------------------------------------------------------------------- */

static void mean_colour(struct sample *s) {
    size_t pixels = (size_t)s->px.w * (size_t)s->px.h, c = (size_t)s->px.c;
    uint64_t sum[4] = { 0, 0, 0, 0 };
    for (size_t k = 0; k < c; ++k) {
        const uint8_t *p = s->px.data + k;
        for (size_t i = 0; i < pixels; ++i) sum[k] += p[i * c];
    }
    for (size_t k = 0; k < c; ++k) s->mean[k] = (double)sum[k] / (double)pixels;
}

enum status sample_load(struct ctx *ctx, const char *image_path, int channels, int classes,
                        struct sample *s) {
    memset(s, 0, sizeof *s);
    if (channels < 1 || channels > 4)
        return ctx_fail(ctx, ST_UNSUPPORTED, "%s: channels=%d, pictures have 1 or 3", image_path, channels);
    enum status st = pixels_read(ctx, image_path, channels, &s->px);
    if (st == ST_OK && s->px.c != channels)
        st = ctx_fail(ctx, ST_UNSUPPORTED, "%s: has %d channels, the network wants %d", image_path, s->px.c,
                      channels);
    if (st == ST_OK) st = labels_of(ctx, image_path, classes, &s->truth);
    if (st != ST_OK) {
        sample_free(s);
        return st;
    }
    mean_colour(s);
    return ST_OK;
}

void sample_free(struct sample *s) {
    pixels_free(&s->px);
    free(s->truth.item);
    memset(s, 0, sizeof *s);
}

size_t sample_bytes(const struct sample *s) {
    return sizeof *s + (size_t)s->px.w * (size_t)s->px.h * (size_t)s->px.c +
           (size_t)s->truth.cap * sizeof *s->truth.item;
}

/* --- Random view ---------------------------------------------------------------------------------------- */

/* The part of the source that becomes the network input; it may reach over the picture's edges. */
struct view {
    int left, top, w, h;
    bool flip;
    double hue, saturation, exposure;
};

/* A factor in [1, s] or its inverse, with equal chances. */
static double random_factor(struct rng *r, double s) {
    double v = rng_between(r, 1, s);
    bool invert = rng_uniform(r) < 0.5;
    if (s <= 0) return 1;
    return invert ? 1 / v : v;
}

/* Crop margins of one axis: `jitter` moves each edge by itself, `resize` moves both by shares of one range.
 * Whole pixels, cut towards zero after each addition, as Darknet computes them. */
static void random_margins(const struct augment_options *a, int size, double r_low, double r_high,
                           double q_low, double q_high, int *low, int *high) {
    int d = (int)(size * a->jitter);
    *low = (int)(-d + 2.0 * d * r_low);
    *high = (int)(-d + 2.0 * d * r_high);
    double down = a->resize > 1 ? 1 / a->resize : a->resize, up = 1 / down;
    int range_low = (int)(size * (1 - 1 / down) / 2), range_high = (int)(size * (1 - 1 / up) / 2);
    if (a->resize < 1) range_high = 0;
    *low = (int)(*low + range_low + (range_high - range_low) * q_low);
    *high = (int)(*high + range_low + (range_high - range_low) * q_high);
}

/* Every number is drawn whatever the options say: one option's change leaves the other draws alone. */
static struct view random_view(struct rng *r, const struct augment_options *a, int ow, int oh, int w, int h) {
    double u[6];
    for (int i = 0; i < 6; ++i) u[i] = rng_uniform(r);
    struct augment_options o = *a;
    if (!(o.resize > 0)) o.resize = 1;
    int left, right, top, bottom;
    random_margins(&o, ow, u[0], u[1], u[4], u[5], &left, &right);
    random_margins(&o, oh, u[2], u[3], u[4], u[5], &top, &bottom);
    if (a->letter_box) {
        double net_aspect = (double)w / h;
        if ((double)ow / oh > net_aspect) {
            int d = (int)((ow / net_aspect - oh) / 2);
            top -= d, bottom -= d;
        } else {
            int d = (int)((oh * net_aspect - ow) / 2);
            left -= d, right -= d;
        }
    }
    struct view v = { .left = left, .top = top, .w = ow - left - right, .h = oh - top - bottom };
    bool outside = v.left >= ow || v.top >= oh || v.left + v.w <= 0 || v.top + v.h <= 0;
    if (v.w < 1 || v.h < 1 || outside) v.left = v.top = 0, v.w = ow, v.h = oh;
    v.flip = rng_uniform(r) < 0.5 && a->flip;
    v.hue = rng_between(r, -a->hue, a->hue);
    v.saturation = random_factor(r, a->saturation);
    v.exposure = random_factor(r, a->exposure);
    return v;
}

/* --- Crop, resize and mirror in one pass ---------------------------------------------------------------- */

/* Where one output row or column comes from: two source positions with their weights, and the weight of the
 * colour outside the picture.  wa + wb + outside = 1. */
struct taps { int a, b; float wa, wb, outside; };

/* Pixel centres lie at +0.5; the view's edge is replicated, as when it is cut out first and resized then. */
static void make_taps(struct taps *t, int n, int start, int length, int limit, bool mirror) {
    for (int i = 0; i < n; ++i) {
        double u = (i + 0.5) * length / n - 0.5, base = floor(u);
        float part = (float)(u - base);
        int a = (int)base, b = a + 1;
        a = start + (a < 0 ? 0 : a);
        b = start + (b >= length ? length - 1 : b);
        struct taps *out = &t[mirror ? n - 1 - i : i];
        *out = (struct taps){ .a = a, .b = b, .wa = 1 - part, .wb = part };
        if (a < 0 || a >= limit) out->outside += out->wa, out->wa = 0, out->a = 0;
        if (b < 0 || b >= limit) out->outside += out->wb, out->wb = 0, out->b = 0;
    }
}

/* One source row at the output's columns, planar: out[channel*w + x]. */
static void sample_row(const uint8_t *row, int c, const struct taps *tx, int w, const float *mean,
                       float *restrict out) {
    if (c == 3) {
        float *red = out, *green = out + w, *blue = out + 2 * w;
        for (int x = 0; x < w; ++x) {
            const uint8_t *a = row + 3 * tx[x].a, *b = row + 3 * tx[x].b;
            float wa = tx[x].wa, wb = tx[x].wb, o = tx[x].outside;
            red[x] = wa * a[0] + wb * b[0] + o * mean[0];
            green[x] = wa * a[1] + wb * b[1] + o * mean[1];
            blue[x] = wa * a[2] + wb * b[2] + o * mean[2];
        }
        return;
    }
    for (int k = 0; k < c; ++k)
        for (int x = 0; x < w; ++x)
            out[k * w + x] =
                tx[x].wa * row[c * tx[x].a + k] + tx[x].wb * row[c * tx[x].b + k] + tx[x].outside * mean[k];
}

/* The last two resampled source rows: neighbouring output rows share them when the picture is enlarged. */
struct row_cache { int y[2]; float *row[2]; };

static const float *cached_row(struct row_cache *cache, const struct pixels *px, int y, int keep,
                               const struct taps *tx, int w, const float *mean) {
    for (int i = 0; i < 2; ++i)
        if (cache->y[i] == y) return cache->row[i];
    int slot = cache->y[0] == keep ? 1 : 0;
    sample_row(px->data + (size_t)y * (size_t)px->w * (size_t)px->c, px->c, tx, w, mean, cache->row[slot]);
    cache->y[slot] = y;
    return cache->row[slot];
}

static enum status sample_view(struct ctx *ctx, const struct sample *s, const struct view *v, int w, int h,
                               float *x) {
    int c = s->px.c;
    size_t row = (size_t)w * (size_t)c, plane = (size_t)w * (size_t)h;
    struct taps *tx = mem_zero(ctx, (size_t)w + (size_t)h, sizeof *tx), *ty = tx ? tx + w : NULL;
    float *rows = mem_zero(ctx, 2 * row, sizeof *rows);
    if (!tx || !rows) {
        free(tx);
        free(rows);
        return ST_MEMORY;
    }
    float mean[4];
    for (int k = 0; k < c; ++k) mean[k] = (float)s->mean[k];
    make_taps(tx, w, v->left, v->w, s->px.w, v->flip);
    make_taps(ty, h, v->top, v->h, s->px.h, false);
    struct row_cache cache = { { -1, -1 }, { rows, rows + row } };
    for (int y = 0; y < h; ++y) {
        const float *a = cached_row(&cache, &s->px, ty[y].a, ty[y].b, tx, w, mean);
        const float *b = cached_row(&cache, &s->px, ty[y].b, ty[y].a, tx, w, mean);
        float wa = ty[y].wa / 255, wb = ty[y].wb / 255;
        for (int k = 0; k < c; ++k) {
            const float *restrict pa = a + k * w, *restrict pb = b + k * w;
            float *restrict to = x + (size_t)k * plane + (size_t)y * (size_t)w;
            float outside = ty[y].outside * mean[k] / 255;
            for (int i = 0; i < w; ++i) to[i] = wa * pa[i] + wb * pb[i] + outside;
        }
    }
    free(tx);
    free(rows);
    return ST_OK;
}

static void sample_colour(const struct view *v, int w, int h, int c, float *x) {
    if (v->hue == 0 && v->saturation == 1 && v->exposure == 1) return;
    if (c == 3) {
        struct image im = { .w = w, .h = h, .c = c, .data = x };
        image_distort(&im, (float)v->hue, (float)v->saturation, (float)v->exposure);
        return;
    }
    size_t n = (size_t)w * (size_t)h * (size_t)c;
    for (size_t i = 0; i < n; ++i) {
        float value = x[i] * (float)v->exposure;
        x[i] = value > 1 ? 1 : value;
    }
}

/* --- Boxes ---------------------------------------------------------------------------------------------- */

static double clip01(double v) { return v < 0 ? 0 : v > 1 ? 1 : v; }

/* From the picture to the view, clipped; false when nothing of it is left. */
static bool move_box(const struct box *from, const struct view *v, int ow, int oh, struct box *to) {
    if (from->x == 0 && from->y == 0) return false; /* COMPAT: Darknet marks such a box as invalid */
    double left = ((from->x - from->w / 2.0) * ow - v->left) / v->w,
           right = ((from->x + from->w / 2.0) * ow - v->left) / v->w;
    double top = ((from->y - from->h / 2.0) * oh - v->top) / v->h,
           bottom = ((from->y + from->h / 2.0) * oh - v->top) / v->h;
    if (v->flip) {
        double swap = left;
        left = 1 - right, right = 1 - swap;
    }
    left = clip01(left), right = clip01(right), top = clip01(top), bottom = clip01(bottom);
    to->x = (float)((left + right) / 2);
    to->y = (float)((top + bottom) / 2);
    to->w = (float)(right - left);
    to->h = (float)(bottom - top);
    return true;
}

/* COMPAT: the limit on the number of boxes counts before those too small for the network are dropped. */
static enum status move_truth(struct ctx *ctx, struct rng *r, const struct sample *s,
                              const struct augment_options *a, const struct view *v, int w, int h,
                              struct truth_list *out) {
    const struct truth_list *in = &s->truth;
    out->n = 0;
    if (out->cap < in->n || !out->item) {
        size_t cap = (size_t)out->cap;
        TRY(mem_grow(ctx, &out->item, &cap, (size_t)in->n, sizeof *out->item));
        out->cap = (int)cap;
    }
    memcpy(out->item, in->item ? in->item : out->item, (size_t)in->n * sizeof *out->item);
    for (int i = in->n - 1; i > 0; --i) {
        int j = rng_int(r, 0, i);
        struct truth swap = out->item[i];
        out->item[i] = out->item[j];
        out->item[j] = swap;
    }
    int limit = a->max_boxes > 0 && in->n > a->max_boxes ? a->max_boxes : in->n;
    for (int i = 0; i < limit; ++i) {
        struct truth t = out->item[i];
        if (a->classes > 0 && (t.class_id < 0 || t.class_id >= a->classes)) continue;
        if (!move_box(&out->item[i].box, v, s->px.w, s->px.h, &t.box)) continue;
        if (t.box.w < 1.0 / w || t.box.h < 1.0 / h) continue;
        if (t.box.x <= 0 || t.box.x > 1 || t.box.y <= 0 || t.box.y > 1) continue;
        out->item[out->n++] = t;
    }
    return ST_OK;
}

enum status sample_augment(struct ctx *ctx, const struct sample *s, const struct augment_options *a,
                           uint64_t seed, uint64_t batch, int index, int w, int h, float *x,
                           struct truth_list *truth) {
    struct rng r = rng_stream(seed, batch, (uint64_t)index);
    struct view v = random_view(&r, a, s->px.w, s->px.h, w, h);
    TRY(sample_view(ctx, s, &v, w, h, x));
    sample_colour(&v, w, h, s->px.c, x);
    return move_truth(ctx, &r, s, a, &v, w, h, truth);
}

enum status augment_sample(struct ctx *ctx, const char *image_path, const struct augment_options *a,
                           uint64_t seed, uint64_t batch, int index, int w, int h, int c, float *x,
                           struct truth_list *truth) {
    struct sample s;
    TRY(sample_load(ctx, image_path, c, a->classes, &s));
    enum status st = sample_augment(ctx, &s, a, seed, batch, index, w, h, x, truth);
    sample_free(&s);
    return st;
}
