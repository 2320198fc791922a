#include "data/augment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/dataset.h"

void augment_from_net(const struct net_options *o, struct augment_options *a) {
    a->hue = o->hue, a->saturation = o->saturation, a->exposure = o->exposure;
    a->flip = o->flip, a->letter_box = o->letter_box;
    a->blur = o->blur, a->gaussian_noise = o->gaussian_noise;
    a->mix = net_mix(o), a->mosaic_bound = o->mosaic_bound;
    a->contrastive = o->contrastive;
    a->contrastive_jit_flip = o->contrastive_jit_flip, a->contrastive_color = o->contrastive_color;
    a->angle = o->angle, a->aspect = o->aspect, a->label_smooth_eps = o->label_smooth_eps;
    a->min_crop = o->min_crop, a->max_crop = o->max_crop;
}

/* --- Samples -------------------------------------------------------------------------------------------- */

/* Many sums side by side keep vector units busy; a step holds whole pixels of 1 to 4 channels, a run of 8-bit values fits 16 bits. */
enum { MEAN_STEP = 48, MEAN_RUN = 256 };

static void mean_colour(struct sample *s) {
    size_t pixels = (size_t)s->px.w * (size_t)s->px.h, c = (size_t)s->px.c, n = pixels * c, i = 0;
    uint64_t sum[4] = { 0, 0, 0, 0 };
    const uint8_t *p = s->px.data;
    while (n - i >= (size_t)MEAN_STEP * MEAN_RUN) {
        uint16_t part[MEAN_STEP] = { 0 };
        for (int run = 0; run < MEAN_RUN; ++run, i += MEAN_STEP)
            for (int k = 0; k < MEAN_STEP; ++k) part[k] = (uint16_t)(part[k] + p[i + (size_t)k]);
        for (size_t k = 0; k < MEAN_STEP; ++k) sum[k % c] += part[k];
    }
    for (; i < n; ++i) sum[i % c] += p[i];
    for (size_t k = 0; k < c; ++k) s->mean[k] = (double)sum[k] / (double)pixels;
}

/* Crops show less than the whole picture, and still should not have to enlarge it. */
static int with_margin(int need) { return need + need / 4; }

int sample_divisor(int w, int h, int need_w, int need_h) {
    return pixels_divisor(w, h, with_margin(need_w), with_margin(need_h));
}

enum status sample_picture(struct ctx *ctx, const char *image_path, int channels, int need_w, int need_h,
                           struct sample *s) {
    memset(s, 0, sizeof *s);
    if (channels < 1 || channels > 4)
        return ctx_fail(ctx, ST_UNSUPPORTED, "%s: channels=%d, pictures have 1 or 3", image_path, channels);
    struct pixels_small small = { .need_w = with_margin(need_w), .need_h = with_margin(need_h) };
    TRY(pixels_read_small(ctx, image_path, channels, &small, &s->px));
    s->w = small.w, s->h = small.h, s->divisor = small.divisor;
    mean_colour(s);
    return ST_OK;
}

/* FNV-1a. */
static uint32_t name_hash(const char *s) {
    uint32_t h = 2166136261u;
    for (; *s; ++s) h = (h ^ (uint8_t)*s) * 16777619u;
    return h;
}

enum status sample_load(struct ctx *ctx, const char *image_path, int channels, int classes, int need_w, int need_h,
                        struct sample *s) {
    enum { TRACKS_PER_FILE = 4000 };
    TRY(sample_picture(ctx, image_path, channels, need_w, need_h, s));
    enum status st = labels_of(ctx, image_path, classes, false, &s->truth);
    if (st != ST_OK) sample_free(s);
    int first = (int)(name_hash(image_path) % TRACKS_PER_FILE) * TRACKS_PER_FILE;
    for (int i = 0; i < s->truth.n; ++i) s->truth.item[i].track = first + i;
    return st;
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

/* --- Random numbers ------------------------------------------------------------------------------------- */

enum { PASSES = 4 };

struct image_key image_key(uint64_t seed, uint64_t batch, uint64_t index) {
    struct image_key key = { .seed = seed };
    for (int k = 0; k < DRAW_KINDS; ++k) key.of[k].batch = batch, key.of[k].index = index;
    return key;
}

struct rng image_stream(const struct image_key *key, enum draw_kind kind, int pass) {
    static const uint64_t tag[DRAW_KINDS] = { 0x63686f696365, 0x67656f6d65747279, 0x636f6c6f7572, 0x6c61796f7574, 0x6f776e };
    return rng_stream(key->seed ^ tag[kind], key->of[kind].batch, key->of[kind].index * PASSES + (uint64_t)pass);
}

double random_factor(struct rng *r, double s) {
    double v = rng_between(r, 1, s);
    bool invert = rng_uniform(r) < 0.5;
    if (s <= 0) return 1;
    return invert ? 1 / v : v;
}

/* --- Random view ---------------------------------------------------------------------------------------- */

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

enum { BACKGROUND_KERNEL = 17, MAX_NOISE = 127 };

/* All of one margin goes to the other side. */
static void push(int *from, int *to) {
    *to += *from;
    *from = 0;
}

static void random_colour(struct rng r, const struct augment_options *a, struct view *v) {
    v->hue = rng_between(&r, -a->hue, a->hue);
    v->saturation = random_factor(&r, a->saturation);
    v->exposure = random_factor(&r, a->exposure);
    enum blur_kind blur = (enum blur_kind)rng_int(&r, BLUR_NONE, BLUR_WHOLE);
    v->kernel = a->blur / 2 * 2 + 1;
    if (a->blur) v->blur = blur;
    if (a->blur == 1 && blur == BLUR_WHOLE) v->blur = BLUR_BACKGROUND;
    if (v->blur == BLUR_BACKGROUND) v->kernel = BACKGROUND_KERNEL;
    if (rng_uniform(&r) < 0.5) v->noise = a->gaussian_noise < MAX_NOISE ? a->gaussian_noise : MAX_NOISE;
}

/* Every number is drawn whatever the options say: one option's change leaves the other draws alone. */
struct view view_random(const struct image_key *key, int pass, const struct augment_options *a, const struct sample *s,
                        int w, int h, int corner) {
    struct rng r = image_stream(key, DRAW_GEOMETRY, pass);
    double u[6];
    int ow = s->w, oh = s->h, left, right, top, bottom;
    for (int i = 0; i < 6; ++i) u[i] = rng_uniform(&r);
    struct augment_options o = *a;
    if (!(o.resize > 0)) o.resize = 1;
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
    struct view v = { .flip = rng_uniform(&r) < 0.5 && a->flip };
    if (rng_uniform(&r) < 0.5 && corner >= 0) {
        bool to_left = corner % 2 == 0;
        if (to_left == v.flip)
            push(&right, &left); /* a mirrored picture's right edge is on the left */
        else
            push(&left, &right);
        if (corner < 2)
            push(&top, &bottom);
        else
            push(&bottom, &top);
    }
    v.left = left, v.top = top, v.w = ow - left - right, v.h = oh - top - bottom;
    bool outside = v.left >= ow || v.top >= oh || v.left + v.w <= 0 || v.top + v.h <= 0;
    if (v.w < 1 || v.h < 1 || outside) v.left = v.top = 0, v.w = ow, v.h = oh;
    random_colour(image_stream(key, DRAW_COLOUR, pass), a, &v);
    return v;
}

/* --- Crop, resize and mirror in one pass ---------------------------------------------------------------- */

static int floor_div(int a, int d) { return a / d - (a % d < 0); }

static int between(int v, int low, int high) { return v < low ? low : v > high ? high : v; }

/* Pixel centres lie at +0.5; the view's edge is replicated, as when it is cut out first and resized then.  start and
 * length count the picture's pixels, taps and limit those that were decoded, one for `divisor` of them. */
static void make_taps(struct tap *t, int n, int start, int length, int divisor, int limit, bool mirror) {
    int low = floor_div(start, divisor), high = floor_div(start + length - 1, divisor);
    for (int i = 0; i < n; ++i) {
        double u = (start + (i + 0.5) * length / n) / divisor - 0.5, base = floor(u);
        float part = (float)(u - base);
        int a = between((int)base, low, high), b = between((int)base + 1, low, high);
        struct tap *out = &t[mirror ? n - 1 - i : i];
        *out = (struct tap){ .a = a, .b = b, .wa = 1 - part, .wb = part };
        if (a < 0 || a >= limit) out->outside += out->wa, out->wa = 0, out->a = 0;
        if (b < 0 || b >= limit) out->outside += out->wb, out->wb = 0, out->b = 0;
    }
}

void view_taps(const struct view *v, const struct sample *s, int w, int h, struct tap *columns, struct tap *rows) {
    make_taps(columns, w, v->left, v->w, s->divisor, s->px.w, v->flip);
    make_taps(rows, h, v->top, v->h, s->divisor, s->px.h, false);
}

/* One source row at the output's columns, planar: out[channel*w + x]. */
static void sample_row(const uint8_t *row, int c, const struct tap *tx, int w, const float *mean,
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
                               const struct tap *tx, int w, const float *mean) {
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
    struct tap *tx = mem_zero(ctx, (size_t)w + (size_t)h, sizeof *tx), *ty = tx ? tx + w : NULL;
    float *rows = mem_zero(ctx, 2 * row, sizeof *rows);
    if (!tx || !rows) {
        free(tx);
        free(rows);
        return ST_MEMORY;
    }
    float mean[4];
    for (int k = 0; k < c; ++k) mean[k] = (float)s->mean[k];
    view_taps(v, s, w, h, tx, ty);
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

/* --- Colour, blur, noise -------------------------------------------------------------------------------- */

void colour_shift(double hue, double saturation, double exposure, struct image *im) {
    if (hue == 0 && saturation == 1 && exposure == 1) return;
    if (im->c == 3) {
        image_distort(im, (float)hue, (float)saturation, (float)exposure);
        return;
    }
    size_t n = (size_t)im->w * (size_t)im->h * (size_t)im->c;
    for (size_t i = 0; i < n; ++i) {
        float value = im->data[i] * (float)exposure;
        im->data[i] = value > 1 ? 1 : value;
    }
}

static void paste(const struct image *from, struct box b, struct image *to) {
    int w = to->w, h = to->h;
    int left = between((int)((b.x - b.w / 2) * (float)w), 0, w), top = between((int)((b.y - b.h / 2) * (float)h), 0, h);
    int right = between(left + (int)(b.w * (float)w), 0, w), bottom = between(top + (int)(b.h * (float)h), 0, h);
    for (int k = 0; k < to->c; ++k)
        for (int y = top; y < bottom && left < right; ++y) {
            size_t at = ((size_t)k * (size_t)h + (size_t)y) * (size_t)w + (size_t)left;
            memcpy(to->data + at, from->data + at, (size_t)(right - left) * sizeof *to->data);
        }
}

/* Objects stay sharp before a blurred background. */
static enum status blur_background(struct ctx *ctx, struct image *im, int kernel, const struct truth_list *truth) {
    struct image sharp;
    TRY(image_new(ctx, im->w, im->h, im->c, &sharp));
    memcpy(sharp.data, im->data, (size_t)im->w * (size_t)im->h * (size_t)im->c * sizeof *im->data);
    enum status st = image_blur(ctx, im, kernel);
    for (int i = 0; st == ST_OK && i < truth->n; ++i) paste(&sharp, truth->item[i].box, im);
    image_free(&sharp);
    return st;
}

/* A blur of the whole image must leave small objects recognisable: at most an eighth of the smallest side. */
static int kernel_for(int kernel, const struct truth_list *truth, int w, int h) {
    for (int i = 0; i < truth->n; ++i) {
        const struct box *b = &truth->item[i].box;
        float side = fminf(b->w * (float)w, b->h * (float)h) / 8;
        if (side < (float)kernel) kernel = (int)side / 2 * 2 + 1;
    }
    return kernel;
}

static enum status view_blur(struct ctx *ctx, const struct view *v, const struct truth_list *truth, struct image *im) {
    if (v->blur == BLUR_BACKGROUND) return blur_background(ctx, im, v->kernel, truth);
    if (v->blur == BLUR_WHOLE) return image_blur(ctx, im, kernel_for(v->kernel, truth, im->w, im->h));
    return ST_OK;
}

/* Upstream's noise is stored unsigned and can only brighten; this one goes both ways. */
static void add_noise(struct rng *r, double deviation, struct image *im) {
    size_t n = (size_t)im->w * (size_t)im->h * (size_t)im->c;
    if (deviation <= 0) return;
    for (size_t i = 0; i < n; ++i) {
        float v = im->data[i] + (float)(rng_normal(r) * deviation / 255);
        im->data[i] = v < 0 ? 0 : v > 1 ? 1 : v;
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

enum status truth_reserve(struct ctx *ctx, struct truth_list *list, int n) {
    size_t cap = (size_t)list->cap;
    if (list->item && list->cap >= n) return ST_OK;
    TRY(mem_grow(ctx, &list->item, &cap, (size_t)n, sizeof *list->item));
    list->cap = (int)cap;
    return ST_OK;
}

/* COMPAT: the limit on the number of boxes counts before those too small for the network are dropped. */
enum status view_truth(struct ctx *ctx, const struct view *v, struct rng *r, const struct augment_options *a, const struct sample *s,
                       int w, int h, struct truth_list *out) {
    const struct truth_list *in = &s->truth;
    out->n = 0;
    TRY(truth_reserve(ctx, out, in->n));
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
        if (!move_box(&out->item[i].box, v, s->w, s->h, &t.box)) continue;
        if (t.box.w < 1.0 / w || t.box.h < 1.0 / h) continue;
        if (t.box.x <= 0 || t.box.x > 1 || t.box.y <= 0 || t.box.y > 1) continue;
        out->item[out->n++] = t;
    }
    return ST_OK;
}

enum status view_render(struct ctx *ctx, const struct view *v, const struct image_key *key, int pass,
                        const struct augment_options *a, const struct sample *s, int w, int h, float *x,
                        struct truth_list *truth) {
    struct rng own = image_stream(key, DRAW_OWN, pass);
    struct image im = { .w = w, .h = h, .c = s->px.c, .data = x };
    TRY(sample_view(ctx, s, v, w, h, x));
    TRY(view_truth(ctx, v, &own, a, s, w, h, truth));
    colour_shift(v->hue, v->saturation, v->exposure, &im);
    TRY(view_blur(ctx, v, truth, &im));
    add_noise(&own, v->noise, &im);
    return ST_OK;
}

enum status sample_augment(struct ctx *ctx, const struct sample *s, const struct augment_options *a,
                           uint64_t seed, uint64_t batch, int index, int w, int h, float *x,
                           struct truth_list *truth) {
    struct image_key key = image_key(seed, batch, (uint64_t)index);
    struct view v = view_random(&key, 0, a, s, w, h, -1);
    return view_render(ctx, &v, &key, 0, a, s, w, h, x, truth);
}
