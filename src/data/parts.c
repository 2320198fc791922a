#include "data/parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 16, SPARE = 1 << 16 };
/* The host draws what has more source pixels than so many for each of the image's: floats take four bytes, so the device's memory for a
 * batch is bounded by four times its input. */
enum { MOST_PIXELS = 16 };

enum status parts_clear(struct ctx *ctx, struct parts *p) {
    if (!p->block) {
        p->cap = sizeof *p->block + SPARE;
        p->block = p->memory->get(p->memory->user, p->cap);
        if (!p->block) return ctx_fail(ctx, ST_MEMORY, "out of memory for an image of %zu bytes", p->cap);
    }
    p->block->size = (sizeof *p->block + ALIGN - 1) / ALIGN * ALIGN;
    p->block->parts = 0;
    return ST_OK;
}

void parts_free(struct parts *p) {
    if (p->memory) p->memory->put(p->memory->user, p->block);
    p->block = NULL;
    p->cap = 0;
}

/* Makes the block `bytes` longer; *at: the offset of those. */
static enum status extend(struct ctx *ctx, struct parts *p, size_t bytes, size_t *at) {
    size_t size = p->block->size + (bytes + ALIGN - 1) / ALIGN * ALIGN;
    *at = p->block->size;
    if (size > p->cap) {
        size_t cap = size + size / 8 + SPARE;
        struct picture_block *more = p->memory->get(p->memory->user, cap);
        if (!more) return ctx_fail(ctx, ST_MEMORY, "out of memory for an image of %zu bytes", cap);
        memcpy(more, p->block, p->block->size);
        p->memory->put(p->memory->user, p->block);
        p->block = more;
        p->cap = cap;
    }
    p->block->size = size;
    return ST_OK;
}

static void *in_block(const struct parts *p, size_t offset) { return (char *)p->block + offset; }

static void add(struct parts *p, struct picture_part part, const struct tile *t, float share) {
    part.x = t->x, part.y = t->y, part.w = t->w, part.h = t->h;
    part.share = share;
    p->block->part[p->block->parts++] = part;
}

static void set_colour(struct picture_part *p, int channels, double hue, double saturation, double exposure) {
    if (hue == 0 && saturation == 1 && exposure == 1) return;
    p->colour = channels == 3 ? COLOUR_TURNED : COLOUR_SCALED;
    p->hue = 6 * ((float)hue - floorf((float)hue));
    p->chroma = (float)saturation * (float)exposure;
    p->exposure = (float)exposure;
}

/* --- Views ---------------------------------------------------------------------------------------------- */

/* The source positions that taps read; the taps count from the first of them on. */
struct span { int first, n; };

static struct span span_of(struct tap *t, int n) {
    int first = INT32_MAX, last = -1;
    for (int i = 0; i < n; ++i) {
        if (t[i].wa > 0) first = t[i].a < first ? t[i].a : first, last = t[i].a > last ? t[i].a : last;
        if (t[i].wb > 0) first = t[i].b < first ? t[i].b : first, last = t[i].b > last ? t[i].b : last;
    }
    if (last < 0) first = last = 0; /* outside altogether; there is no picture without a pixel */
    for (int i = 0; i < n; ++i) {
        t[i].a = t[i].wa > 0 ? t[i].a - first : 0;
        t[i].b = t[i].wb > 0 ? t[i].b - first : 0;
    }
    return (struct span){ first, last - first + 1 };
}

static void copy_pixels(const struct pixels *px, struct span columns, struct span rows, uint8_t *to) {
    size_t c = (size_t)px->c, row = (size_t)columns.n * c;
    for (int y = 0; y < rows.n; ++y)
        memcpy(to + (size_t)y * row, px->data + ((size_t)(rows.first + y) * (size_t)px->w + (size_t)columns.first) * c, row);
}

/* Which views a device draws: the one place that says so.  Blurs, noise and pictures that are far larger than what shows of them are
 * rare, and the host's. */
static bool device_draws(bool blurred, double noise, size_t pixels, size_t shown) {
    return !blurred && !(noise > 0) && pixels <= MOST_PIXELS * shown;
}

enum status parts_view(struct ctx *ctx, struct parts *p, const struct sample *s, const struct view *v, int w, int h,
                       const struct tile *t, float share, bool *done) {
    *done = true;
    if (t->w < 1 || t->h < 1) return ST_OK;
    struct tap *all = mem_zero(ctx, (size_t)w + (size_t)h, sizeof *all);
    if (!all) return ST_MEMORY;
    struct picture_part part = { .kind = PART_VIEW, .divisor = s->divisor };
    view_taps(v, s, w, h, all, all + w);
    struct tap *tx = all + t->from_x, *ty = all + w + t->from_y;
    struct span columns = span_of(tx, t->w), rows = span_of(ty, t->h);
    size_t pixels = (size_t)columns.n * (size_t)rows.n, nx = (size_t)t->w, ny = (size_t)t->h;
    enum status st = ST_OK;
    *done = device_draws(v->blur != BLUR_NONE, v->noise, pixels, nx * ny);
    if (*done) st = extend(ctx, p, pixels * (size_t)s->px.c, &part.pixels);
    if (*done && st == ST_OK) st = extend(ctx, p, (nx + ny) * sizeof *tx, &part.taps);
    if (*done && st == ST_OK) {
        part.columns = columns.n, part.rows = rows.n;
        copy_pixels(&s->px, columns, rows, in_block(p, part.pixels));
        memcpy(in_block(p, part.taps), tx, nx * sizeof *tx);
        memcpy((struct tap *)in_block(p, part.taps) + nx, ty, ny * sizeof *ty);
        for (int k = 0; k < s->px.c; ++k) part.outside[k] = (float)s->mean[k];
        set_colour(&part, s->px.c, v->hue, v->saturation, v->exposure);
        add(p, part, t, share);
    }
    free(all);
    return st;
}

enum status parts_turn(struct ctx *ctx, struct parts *p, const struct sample *s, const struct turned *v, int w, int h,
                       const struct tile *t, float share, bool *done) {
    struct picture_part part = { .kind = PART_TURN, .divisor = s->divisor, .turn = v->turn, .columns = s->px.w, .rows = s->px.h };
    size_t pixels = (size_t)s->px.w * (size_t)s->px.h;
    *done = device_draws(v->kernel > 0, 0, pixels, (size_t)w * (size_t)h);
    if (!*done || t->w < 1 || t->h < 1) return ST_OK;
    TRY(extend(ctx, p, pixels * (size_t)s->px.c, &part.pixels));
    copy_pixels(&s->px, (struct span){ 0, s->px.w }, (struct span){ 0, s->px.h }, in_block(p, part.pixels));
    set_colour(&part, s->px.c, v->hue, v->saturation, v->exposure);
    add(p, part, t, share);
    return ST_OK;
}

enum status parts_values(struct ctx *ctx, struct parts *p, const float *x, int c, int w, int h, const struct tile *t, float share) {
    struct picture_part part = { .kind = PART_VALUES };
    size_t row = (size_t)t->w;
    if (t->w < 1 || t->h < 1) return ST_OK;
    TRY(extend(ctx, p, row * (size_t)t->h * (size_t)c * sizeof *x, &part.pixels));
    float *to = in_block(p, part.pixels);
    for (int k = 0; k < c; ++k)
        for (int y = 0; y < t->h; ++y, to += row)
            memcpy(to, x + ((size_t)k * (size_t)h + (size_t)(t->from_y + y)) * (size_t)w + (size_t)t->from_x, row * sizeof *x);
    add(p, part, t, share);
    return ST_OK;
}
