#include "data/classify.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- Targets -------------------------------------------------------------------------------------------- */

static void target_tree(const int *parent, int n, float *target) {
    for (int i = 0; i < n; ++i) {
        if (target[i] <= 0) continue;
        for (int up = parent[i]; up >= 0; up = parent[up]) target[up] = 1;
    }
    for (int from = 0, to; from < n; from = to) {
        bool any = false;
        for (to = from; to < n && parent[to] == parent[from]; ++to) any |= target[to] > 0;
        for (int i = from; i < to && !any; ++i) target[i] = TRUTH_IGNORED;
    }
}

int class_target(const char *path, const struct class_options *o, double smooth, float *target) {
    int n = o->names->n, found = 0;
    memset(target, 0, (size_t)n * sizeof *target);
    if (o->unlabelled) return 0;
    float other = o->parent || n < 2 ? 0 : (float)(smooth / (n - 1));
    for (int i = 0; i < n; ++i) {
        bool is = strstr(path, o->names->item[i]) != NULL;
        target[i] = is ? (float)(1 - smooth) : other;
        found += is;
    }
    if (o->parent) target_tree(o->parent, n, target);
    return found;
}

enum status class_check(struct ctx *ctx, const struct text_list *images, const struct class_options *o,
                        struct class_report *report) {
    enum { SHOWN = 3 };
    *report = (struct class_report){ 0, 0 };
    if (o->unlabelled) return ST_OK;
    if (o->names->n < 1) return ctx_fail(ctx, ST_USAGE, "a classifier needs the names of its classes (labels=)");
    for (int i = 0; i < images->n; ++i) {
        int found = 0;
        for (int k = 0; k < o->names->n && found < 2; ++k) found += strstr(images->item[i], o->names->item[k]) != NULL;
        if (found == 1) continue;
        int *count = found ? &report->several : &report->none;
        if (++*count <= SHOWN)
            ctx_log(ctx, LOG_WARN, "%s: %s", images->item[i],
                    found ? "its path holds the names of several classes" : "its path holds no class's name");
    }
    if (report->none == images->n)
        return ctx_fail(ctx, ST_FORMAT, "no path of the %d images holds the name of a class, as '%s'; the first is %s",
                        images->n, o->names->item[0], images->item[0]);
    if (report->none || report->several)
        ctx_log(ctx, LOG_WARN, "%d of %d images have no class in their path, %d have several", report->none, images->n,
                report->several);
    return ST_OK;
}

/* --- View ----------------------------------------------------------------------------------------------- */

/* COMPAT: the crop is measured against min(h, w * aspect), though the stretch divides w by aspect. */
static struct turn random_turn(struct rng *r, const struct augment_options *a, const struct sample *s, int w, int h) {
    double side = w > h ? w : h, aspect = random_factor(r, a->aspect);
    int crop = rng_int(r, a->min_crop, a->max_crop > a->min_crop ? a->max_crop : a->min_crop);
    double scale = crop / fmin(s->h, s->w * aspect), angle = rng_between(r, -a->angle, a->angle) * acos(-1) / 180;
    double free_x = fmax((s->w * scale / aspect - side) / 2, 0), free_y = fmax((s->h * scale - side) / 2, 0);
    double dx = rng_between(r, -free_x, free_x), dy = rng_between(r, -free_y, free_y);
    bool flip = rng_uniform(r) < 0.5 && a->flip;
    /* Output pixel (i, j) stands at (side * i / w, side * j / h) of the square. */
    double ux = side / w * aspect / scale, uy = side / h / scale;
    double from_x = (dx - side / 2) * aspect / scale, from_y = (dy - side / 2) / scale;
    struct turn t = { .xx = cos(angle) * ux, .xy = -sin(angle) * uy, .yx = sin(angle) * ux, .yy = cos(angle) * uy };
    t.x0 = s->w / 2.0 + cos(angle) * from_x - sin(angle) * from_y;
    t.y0 = s->h / 2.0 + sin(angle) * from_x + cos(angle) * from_y;
    if (flip) {
        t.x0 += t.xx * w, t.y0 += t.yx * w;
        t.xx = -t.xx, t.yx = -t.yx;
    }
    return t;
}

/* Bilinear; black outside. */
static void sample_at(const struct pixels *px, double x, double y, float *out, size_t plane) {
    double bx = floor(x), by = floor(y);
    float fx = (float)(x - bx), fy = (float)(y - by);
    for (int k = 0; k < px->c; ++k) out[(size_t)k * plane] = 0;
    if (bx < -1 || by < -1 || bx >= px->w || by >= px->h) return;
    for (int n = 0; n < 4; ++n) {
        int ix = (int)bx + (n & 1), iy = (int)by + (n >> 1);
        if (ix < 0 || iy < 0 || ix >= px->w || iy >= px->h) continue;
        float weight = ((n & 1) ? fx : 1 - fx) * ((n >> 1) ? fy : 1 - fy) / 255;
        const uint8_t *p = px->data + ((size_t)iy * (size_t)px->w + (size_t)ix) * (size_t)px->c;
        for (int k = 0; k < px->c; ++k) out[(size_t)k * plane] += weight * p[k];
    }
}

static struct turned draw_view(const struct sample *s, const struct augment_options *a, const struct image_key *key, int pass, int w, int h) {
    enum { KERNEL = 15 };
    struct rng geometry = image_stream(key, DRAW_GEOMETRY, pass), colour = image_stream(key, DRAW_COLOUR, pass);
    struct turned d = { .turn = random_turn(&geometry, a, s, w, h) };
    d.hue = rng_between(&colour, -a->hue, a->hue), d.saturation = random_factor(&colour, a->saturation);
    d.exposure = random_factor(&colour, a->exposure);
    bool blurred = rng_uniform(&colour) < 0.25 && a->blur;
    if (blurred) d.kernel = a->blur == 1 ? KERNEL : a->blur / 2 * 2 + 1;
    return d;
}

enum status class_view(struct ctx *ctx, const struct sample *s, const struct augment_options *a,
                       const struct image_key *key, int pass, int w, int h, float *x) {
    struct turned d = draw_view(s, a, key, pass, w, h);
    const struct turn *t = &d.turn;
    size_t plane = (size_t)w * (size_t)h;
    for (int j = 0; j < h; ++j)
        for (int i = 0; i < w; ++i) {
            double u = t->x0 + t->xx * (i + 0.5) + t->xy * (j + 0.5), v = t->y0 + t->yx * (i + 0.5) + t->yy * (j + 0.5);
            sample_at(&s->px, u / s->divisor - 0.5, v / s->divisor - 0.5, x + (size_t)j * (size_t)w + (size_t)i, plane);
        }
    struct image im = { .w = w, .h = h, .c = s->px.c, .data = x };
    colour_shift(d.hue, d.saturation, d.exposure, &im);
    return d.kernel ? image_blur(ctx, &im, d.kernel) : ST_OK;
}

/* --- Mixing --------------------------------------------------------------------------------------------- */

struct making {
    const struct picture_source *src;
    const struct augment_options *a;
    const struct class_options *classes;
    const struct image_key *key;
    struct image_out *out;
    float *other, *other_target;  /* room for one more view, and its target */
};

static size_t image_size(const struct image_out *o) { return (size_t)o->w * (size_t)o->h * (size_t)o->c; }

static enum status room(struct ctx *ctx, struct making *m) {
    if (!m->other) m->other = mem_zero(ctx, image_size(m->out), sizeof *m->other);
    return m->other ? ST_OK : ST_MEMORY;
}

/* The view's rectangle as a part of an image that a device draws. */
static enum status add_part(struct ctx *ctx, struct making *m, int pass, const struct sample *s, const struct tile *t, float share) {
    const struct image_out *o = m->out;
    struct turned d = draw_view(s, m->a, m->key, pass, o->w, o->h);
    bool done;
    TRY(parts_turn(ctx, o->parts, s, &d, o->w, o->h, t, share, &done));
    if (done) return ST_OK;
    TRY(room(ctx, m));
    TRY(class_view(ctx, s, m->a, m->key, pass, o->w, o->h, m->other));
    return parts_values(ctx, o->parts, m->other, o->c, o->w, o->h, t, share);
}

/* The rectangle of the view lies over the image; share .5: half of it and half of what is there, but of the first picture all, for the
 * time being. */
static enum status put(struct ctx *ctx, struct making *m, int pass, const struct sample *s, const struct tile *t, float share) {
    const struct image_out *o = m->out;
    if (o->parts) return add_part(ctx, m, pass, s, t, share);
    if (pass == 0) return class_view(ctx, s, m->a, m->key, pass, o->w, o->h, o->x);
    TRY(room(ctx, m));
    TRY(class_view(ctx, s, m->a, m->key, pass, o->w, o->h, m->other));
    if (share >= 1) copy_rect(o, m->other, t->x, t->y, o->x, t->x, t->y, t->w, t->h);
    for (size_t i = 0; share < 1 && i < image_size(o); ++i) o->x[i] = 0.5f * (o->x[i] + m->other[i]);
    return ST_OK;
}

/* Picture `pass` at its place, and its target. */
static enum status one_view(struct ctx *ctx, struct making *m, int pass, int x, int y, int w, int h, float share, float *target) {
    struct sample own = { 0 };
    struct tile t = { x, y, x, y, w, h };
    const struct sample *s;
    const char *path;
    /* Pixels in the middle of the largest crop lie as close as those of a picture of this size. */
    int need = m->a->max_crop > m->out->w ? m->a->max_crop : m->out->w;
    TRY(draw_picture(ctx, m->src, m->key, pass, (struct frame){ 0, 0 }, need, need, &own, &s, &path));
    enum status st = put(ctx, m, pass, s, &t, share);
    sample_free(&own);
    class_target(path, m->classes, m->a->label_smooth_eps, target);
    if (pass == 0) m->out->path = path;
    return st;
}

/* target = keep * target + share * other; values to be ignored stay so where both agree, and else count as 0. */
static void blend_targets(const struct making *m, float keep, float share, float *target) {
    for (int i = 0; i < m->classes->names->n; ++i) {
        bool ignored = target[i] == TRUTH_IGNORED, other = m->other_target[i] == TRUTH_IGNORED;
        if (ignored && other) continue;
        target[i] = keep * (ignored ? 0 : target[i]) + share * (other ? 0 : m->other_target[i]);
    }
}

static enum status mix_up(struct ctx *ctx, struct making *m, float *target) {
    TRY(one_view(ctx, m, 1, 0, 0, m->out->w, m->out->h, 0.5f, m->other_target));
    blend_targets(m, 0.5f, 0.5f, target);
    return ST_OK;
}

static enum status cut_mix(struct ctx *ctx, struct making *m, struct rng *r, float *target) {
    int w = m->out->w, h = m->out->h;
    int cut_w = rng_int(r, (int)(w * 0.3), (int)(w * 0.8)), cut_h = rng_int(r, (int)(h * 0.3), (int)(h * 0.8));
    int x = rng_int(r, 0, w - cut_w), y = rng_int(r, 0, h - cut_h);
    float share = (float)cut_w * (float)cut_h / ((float)w * (float)h);
    TRY(one_view(ctx, m, 1, x, y, cut_w, cut_h, 1, m->other_target));
    blend_targets(m, 1 - share, share, target);
    return ST_OK;
}

/* Every picture keeps its place, and shows one corner. */
static enum status mosaic(struct ctx *ctx, struct making *m, struct rng *r, float *target) {
    int w = m->out->w, h = m->out->h, cut_x, cut_y;
    draw_cut(r, w, h, &cut_x, &cut_y);
    for (int k = 1; k < 4; ++k) {
        int x = k % 2 ? cut_x : 0, y = k > 1 ? cut_y : 0, tile_w = k % 2 ? w - cut_x : cut_x, tile_h = k > 1 ? h - cut_y : cut_y;
        float area = (float)w * (float)h, share = (float)tile_w * (float)tile_h / area;
        TRY(one_view(ctx, m, k, x, y, tile_w, tile_h, 1, m->other_target));
        blend_targets(m, k > 1 ? 1 : (float)cut_x * (float)cut_y / area, share, target);
    }
    return ST_OK;
}

enum status compose_class(struct ctx *ctx, const struct picture_source *src, const struct augment_options *a,
                          const struct class_options *classes, const struct image_key *key, struct image_out *out,
                          float *target) {
    struct making m = { .src = src, .a = a, .classes = classes, .key = key, .out = out };
    struct rng r = image_stream(key, DRAW_LAYOUT, 0);
    enum mix_kind mix = a->mix;
    if (mix == MIX_CUT_OR_MOSAIC) mix = rng_uniform(&r) < 0.5 ? MIX_CUT : MIX_MOSAIC;
    if (mix != MIX_NONE && !draw_mixed(key)) mix = MIX_NONE;
    if (out->parts) TRY(parts_clear(ctx, out->parts));
    m.other_target = mem_zero(ctx, (size_t)classes->names->n + 1, sizeof *m.other_target);
    if (!m.other_target) return ST_MEMORY;
    enum status st = one_view(ctx, &m, 0, 0, 0, out->w, out->h, mix == MIX_UP ? 0.5f : 1, target);
    if (st == ST_OK && mix == MIX_UP) st = mix_up(ctx, &m, target);
    if (st == ST_OK && mix == MIX_CUT) st = cut_mix(ctx, &m, &r, target);
    if (st == ST_OK && mix == MIX_MOSAIC) st = mosaic(ctx, &m, &r, target);
    free(m.other);
    free(m.other_target);
    return st;
}
