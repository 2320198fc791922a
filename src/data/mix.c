#include "data/mix.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- Pictures ------------------------------------------------------------------------------------------- */

static int draw_number(struct rng *r, int n, struct frame frame, int attempt) {
    int first = rng_int(r, 0, n - 1);
    if (frame.augment_speed < 1) return first;
    int64_t speed = rng_int(r, 1, frame.augment_speed);
    return (int)((first + speed * frame.number + attempt) % n);
}

/* Files that cannot be read are passed over, the same ones in every run. */
enum status draw_picture(struct ctx *ctx, const struct picture_source *src, const struct image_key *key, int pass,
                         struct frame frame, int need_w, int need_h, struct sample *own, const struct sample **out,
                         const char **path) {
    enum { ATTEMPTS = 1000 };
    struct rng r = image_stream(key, DRAW_CHOICE, pass);
    struct ctx quiet = { 0 };
    for (int attempt = 0; attempt < ATTEMPTS; ++attempt) {
        struct rng again = r;
        int i = draw_number(frame.augment_speed ? &again : &r, src->images->n, frame, attempt);
        struct ctx one = { 0 };
        *path = src->images->item[i];
        enum status st = src->get(&one, src->user, i, need_w, need_h, own, out);
        if (st == ST_OK) return ST_OK;
        if (!quiet.code) quiet = one;
        if (src->strict || (st != ST_IO && st != ST_FORMAT && st != ST_UNSUPPORTED))
            return ctx_fail(ctx, st, "%s", one.error);
    }
    return ctx_fail(ctx, quiet.code, "%d images drawn in a row cannot be read; the first: %.900s", ATTEMPTS, quiet.error);
}

bool draw_mixed(const struct image_key *key) {
    struct rng r = image_stream(key, DRAW_CHOICE, 0);
    r = rng_stream(rng_u64(&r), 'm', 'x'); /* apart from the choice of pictures */
    return rng_uniform(&r) < 0.5;
}

/* One image in the making. */
struct making {
    const struct picture_source *src;
    const struct augment_options *a;
    const struct image_key *key;
    struct frame frame;
    struct image_out *out;
    float *other;                 /* room for one more view, and its boxes */
    struct truth_list boxes;
};
/* Which part of which picture; own: the picture itself, where it is not the cache's. */
struct shown { struct view view; const char *path; const struct sample *s; struct sample own; };

/* Draws picture `pass` of the image and its random view, which is to be let go. */
static enum status look(struct ctx *ctx, const struct making *m, int pass, int corner, struct shown *shown) {
    const struct image_out *o = m->out;
    memset(shown, 0, sizeof *shown);
    enum status st = draw_picture(ctx, m->src, m->key, pass, m->frame, o->w, o->h, &shown->own, &shown->s, &shown->path);
    if (pass == 0) m->out->path = shown->path;
    TRY(st);
    shown->view = view_random(m->key, pass, m->a, shown->s, o->w, o->h, corner);
    return ST_OK;
}

static enum status render(struct ctx *ctx, const struct making *m, int pass, const struct shown *v, float *x, struct truth_list *truth) {
    return view_render(ctx, &v->view, m->key, pass, m->a, v->s, m->out->w, m->out->h, x, truth);
}

static size_t image_size(const struct image_out *o) { return (size_t)o->w * (size_t)o->h * (size_t)o->c; }

/* Room for one view beside the image. */
static enum status room(struct ctx *ctx, struct making *m) {
    if (!m->other) m->other = mem_zero(ctx, image_size(m->out), sizeof *m->other);
    return m->other ? ST_OK : ST_MEMORY;
}

/* The view's part of an image that a device draws. */
static enum status add_part(struct ctx *ctx, struct making *m, int pass, const struct shown *v, const struct tile *t, float share,
                            struct truth_list *truth) {
    const struct image_out *o = m->out;
    struct rng own = image_stream(m->key, DRAW_OWN, pass);
    bool done;
    TRY(parts_view(ctx, o->parts, v->s, &v->view, o->w, o->h, t, share, &done));
    if (done) return view_truth(ctx, &v->view, &own, m->a, v->s, o->w, o->h, truth);
    TRY(room(ctx, m));
    TRY(render(ctx, m, pass, v, m->other, truth));
    return parts_values(ctx, o->parts, m->other, o->c, o->w, o->h, t, share);
}

/* A rectangle of the view becomes one of the image; share .5: half of it and half of what is there, but of the first picture all, for
 * the time being.  truth: the boxes of the whole view. */
static enum status put(struct ctx *ctx, struct making *m, int pass, const struct shown *v, const struct tile *t, float share,
                       struct truth_list *truth) {
    const struct image_out *o = m->out;
    if (o->parts) return add_part(ctx, m, pass, v, t, share, truth);
    bool whole = t->w == o->w && t->h == o->h;
    if (whole && pass == 0) return render(ctx, m, pass, v, o->x, truth);
    TRY(room(ctx, m));
    TRY(render(ctx, m, pass, v, m->other, truth));
    if (share >= 1) copy_rect(o, m->other, t->from_x, t->from_y, o->x, t->x, t->y, t->w, t->h);
    for (size_t i = 0; share < 1 && i < image_size(o); ++i) o->x[i] = 0.5f * (o->x[i] + m->other[i]);
    return ST_OK;
}

/* Picture `pass`, as it is, all over the image. */
static enum status put_whole(struct ctx *ctx, struct making *m, int pass, float share, struct truth_list *truth) {
    struct tile whole = { .w = m->out->w, .h = m->out->h };
    struct shown shown;
    TRY(look(ctx, m, pass, -1, &shown));
    enum status st = put(ctx, m, pass, &shown, &whole, share, truth);
    sample_free(&shown.own);
    return st;
}

/* --- Mixup ---------------------------------------------------------------------------------------------- */

static enum status append(struct ctx *ctx, const struct augment_options *a, const struct truth_list *more,
                          struct truth_list *truth) {
    TRY(truth_reserve(ctx, truth, truth->n + more->n));
    for (int i = 0; i < more->n && (a->max_boxes <= 0 || truth->n < a->max_boxes); ++i)
        truth->item[truth->n++] = more->item[i];
    return ST_OK;
}

/* Half of each picture everywhere, the boxes of both, the first one's before the other's. */
static enum status mix_up(struct ctx *ctx, struct making *m, struct truth_list *truth) {
    TRY(put_whole(ctx, m, 0, 0.5f, truth));
    TRY(put_whole(ctx, m, 1, 0.5f, &m->boxes));
    return append(ctx, m->a, &m->boxes, truth);
}

/* --- Mosaic --------------------------------------------------------------------------------------------- */

void draw_cut(struct rng *r, int w, int h, int *cut_x, int *cut_y) {
    *cut_x = rng_int(r, (int)(w * 0.2), (int)(w * 0.8));
    *cut_y = rng_int(r, (int)(h * 0.2), (int)(h * 0.8));
}

void copy_rect(const struct image_out *size, const float *from, int from_x, int from_y, float *to, int x, int y, int w, int h) {
    for (int k = 0; k < size->c; ++k)
        for (int row = 0; row < h; ++row) {
            size_t source = ((size_t)k * (size_t)size->h + (size_t)(from_y + row)) * (size_t)size->w + (size_t)from_x;
            size_t target = ((size_t)k * (size_t)size->h + (size_t)(y + row)) * (size_t)size->w + (size_t)x;
            memcpy(to + target, from + source, (size_t)w * sizeof *to);
        }
}

/* How much of a margin outside the picture a tile skips: in output pixels, no more than `most`. */
static int skipped(int margin, int size, int view, int picture, bool letter_box, int most) {
    /* COMPAT: upstream measures in the picture's size instead of the view's, and so skips some of a shrunk picture, too.
     * Letterboxes, which it does not allow here, would lose most of what they show. */
    int v = (int)((double)-margin * size / (letter_box ? view : picture));
    return v < 0 ? 0 : v > most ? most : v;
}

static struct tile tile_of(int k, const struct shown *s, bool letter_box, int cut_x, int cut_y, int w, int h) {
    const struct view *v = &s->view;
    int right = s->s->w - v->left - v->w, bottom = s->s->h - v->top - v->h, left = v->left;
    if (v->flip) left = right, right = v->left;
    struct tile t = { .w = cut_x, .h = cut_y };
    if (k % 2 == 0) {
        t.from_x = w - cut_x - skipped(right, w, v->w, s->s->w, letter_box, w - cut_x);
    } else {
        t.from_x = skipped(left, w, v->w, s->s->w, letter_box, cut_x);
        t.x = cut_x, t.w = w - cut_x;
    }
    if (k < 2) {
        t.from_y = h - cut_y - skipped(bottom, h, v->h, s->s->h, letter_box, h - cut_y);
    } else {
        t.from_y = skipped(v->top, h, v->h, s->s->h, letter_box, cut_y);
        t.y = cut_y, t.h = h - cut_y;
    }
    return t;
}

/* Moves and clips the tile's boxes; those left with more than a pixel each way are kept. */
static void tile_boxes(const struct tile *t, bool bound, int w, int h, struct truth_list *list) {
    double x0 = bound ? t->x : 0, x1 = bound ? t->x + t->w : w, y0 = bound ? t->y : 0, y1 = bound ? t->y + t->h : h;
    int n = 0;
    for (int i = 0; i < list->n; ++i) {
        struct truth b = list->item[i];
        double cx = (double)b.box.x * w + t->x - t->from_x, cy = (double)b.box.y * h + t->y - t->from_y;
        double bw = (double)b.box.w * w / 2, bh = (double)b.box.h * h / 2;
        double left = fmax(cx - bw, x0), right = fmin(cx + bw, x1), top = fmax(cy - bh, y0), bottom = fmin(cy + bh, y1);
        if (right - left <= 1 || bottom - top <= 1 || right - left >= w || bottom - top >= h) continue;
        b.box = (struct box){ (float)((left + right) / 2 / w), (float)((top + bottom) / 2 / h), (float)((right - left) / w),
                              (float)((bottom - top) / h) };
        list->item[n++] = b;
    }
    list->n = n;
}

static enum status mosaic(struct ctx *ctx, struct making *m, struct truth_list *truth) {
    struct rng r = image_stream(m->key, DRAW_LAYOUT, 0);
    struct image_out *out = m->out;
    int cut_x, cut_y;
    draw_cut(&r, out->w, out->h, &cut_x, &cut_y);
    truth->n = 0;
    for (int k = 0; k < 4; ++k) {
        struct shown shown;
        TRY(look(ctx, m, k, k, &shown));
        struct tile t = tile_of(k, &shown, m->a->letter_box, cut_x, cut_y, out->w, out->h);
        enum status st = put(ctx, m, k, &shown, &t, 1, &m->boxes);
        sample_free(&shown.own);
        TRY(st);
        tile_boxes(&t, m->a->mosaic_bound, out->w, out->h, &m->boxes);
        TRY(append(ctx, m->a, &m->boxes, truth));
    }
    return ST_OK;
}

/* --- Interface ------------------------------------------------------------------------------------------ */

enum status compose_boxes(struct ctx *ctx, const struct picture_source *src, const struct augment_options *a,
                          const struct image_key *key, struct frame frame, struct image_out *out,
                          struct truth_list *truth) {
    struct making m = { .src = src, .a = a, .key = key, .frame = frame, .out = out };
    bool tiles = a->mix == MIX_MOSAIC || a->mix == MIX_CUT_OR_MOSAIC; /* cutmix has no meaning for boxes */
    bool mixed = (tiles || a->mix == MIX_UP) && draw_mixed(key);
    enum status st = out->parts ? parts_clear(ctx, out->parts) : ST_OK;
    if (st == ST_OK) st = !mixed ? put_whole(ctx, &m, 0, 1, truth) : tiles ? mosaic(ctx, &m, truth) : mix_up(ctx, &m, truth);
    free(m.other);
    free(m.boxes.item);
    return st;
}
