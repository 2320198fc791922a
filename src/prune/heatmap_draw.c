/* Heat maps over pictures. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "prune/heatmap.h"
#include "prune/utility.h"

enum { LEAST_SIDE = 640, MOST_SIDE = 1280, LEGEND = 76, MARGIN = 12, TEXT = 24 /* twice the font's own size: crisp */, BAR = 176 };

static const struct colour ground = { 24, 24, 28, 1 }, ink = { 240, 240, 240, 1 }, dim = { 170, 170, 178, 1 }, halo = { 0, 0, 0, .55f },
                           line = { 255, 255, 255, 1 }, faint = { 255, 255, 255, .45f };

struct colour heatmap_colour(double value) {
    /* Chosen for evenly rising lightness. */
    static const double stop[][3] = { { 8, 5, 30 },    { 52, 12, 92 },    { 106, 22, 110 },  { 160, 38, 92 },
                                      { 208, 66, 60 }, { 240, 112, 30 },  { 252, 166, 20 },  { 250, 216, 80 }, { 253, 252, 190 } };
    enum { PARTS = sizeof stop / sizeof *stop - 1 };
    double at = fmin(fmax(value, 0), 1) * PARTS;
    int i = at >= PARTS ? PARTS - 1 : (int)at;
    double f = at - i, c[3];
    for (int k = 0; k < 3; ++k) c[k] = stop[i][k] + f * (stop[i + 1][k] - stop[i][k]);
    return (struct colour){ (uint8_t)lround(c[0]), (uint8_t)lround(c[1]), (uint8_t)lround(c[2]), 1 };
}

struct box heatmap_part(const struct net *net, int w, int h, bool letter_box) {
    int net_w = net->opt.width, net_h = net->opt.height, nw = net_w, nh = net_h;
    if (!letter_box) return (struct box){ .5f, .5f, 1, 1 };
    if ((float)net_w / (float)w < (float)net_h / (float)h) nh = (int)((long long)h * net_w / w);
    else nw = (int)((long long)w * net_h / h);
    return (struct box){ ((float)((net_w - nw) / 2) + (float)nw / 2) / (float)net_w, ((float)((net_h - nh) / 2) + (float)nh / 2) / (float)net_h,
                         (float)nw / (float)net_w, (float)nh / (float)net_h };
}

static float sample(const struct heatmap *m, float x, float y) {
    x = fminf(fmaxf(x - .5f, 0), (float)(m->w - 1)), y = fminf(fmaxf(y - .5f, 0), (float)(m->h - 1));
    int x0 = (int)x, y0 = (int)y, x1 = x0 + 1 < m->w ? x0 + 1 : x0, y1 = y0 + 1 < m->h ? y0 + 1 : y0;
    float fx = x - (float)x0, fy = y - (float)y0;
    const float *a = m->map + (size_t)y0 * (size_t)m->w, *b = m->map + (size_t)y1 * (size_t)m->w;
    return (1 - fy) * ((1 - fx) * a[x0] + fx * a[x1]) + fy * ((1 - fx) * b[x0] + fx * b[x1]);
}

void heatmap_blend(struct pixels *px, const struct heatmap *m, struct box part, double top) {
    struct colour table[256];
    if (!(top > 0)) top = (double)m->peak > 0 ? (double)m->peak : 1;
    for (int i = 0; i < 256; ++i) table[i] = heatmap_colour(i / 255.0);
    for (int y = 0; y < px->h; ++y)
        for (int x = 0; x < px->w; ++x) {
            float u = (part.x - part.w / 2 + part.w * ((float)x + .5f) / (float)px->w) * (float)m->w;
            float v = (part.y - part.h / 2 + part.h * ((float)y + .5f) / (float)px->h) * (float)m->h;
            /* by the root, as areas are read: the weak parts show, too */
            double t = sqrt(fmin(1, (double)sample(m, u, v) / top)), alpha = .9 * t * t * (3 - 2 * t);
            uint8_t *p = px->data + ((size_t)y * (size_t)px->w + (size_t)x) * 3;
            double grey = .75 * (.299 * p[0] + .587 * p[1] + .114 * p[2]);
            const struct colour *c = &table[(int)(t * 255)];
            p[0] = (uint8_t)(grey + alpha * (c->r - grey));
            p[1] = (uint8_t)(grey + alpha * (c->g - grey));
            p[2] = (uint8_t)(grey + alpha * (c->b - grey));
        }
}

/* --- the finished overlay ---------------------------------------------------------------------------------------------- */

/* Means over blocks, so that thin things do not flicker away. */
static enum status shrink(struct ctx *ctx, const struct pixels *from, int by, struct pixels *to) {
    TRY(pixels_new(ctx, from->w / by, from->h / by, 3, to));
    for (int y = 0; y < to->h; ++y)
        for (int x = 0; x < to->w; ++x)
            for (int k = 0; k < 3; ++k) {
                int sum = 0;
                for (int j = 0; j < by; ++j)
                    for (int i = 0; i < by; ++i) sum += from->data[((size_t)(y * by + j) * (size_t)from->w + (size_t)(x * by + i)) * 3 + (size_t)k];
                to->data[((size_t)y * (size_t)to->w + (size_t)x) * 3 + (size_t)k] = (uint8_t)((sum + by * by / 2) / (by * by));
            }
    return ST_OK;
}

static enum status readable(struct ctx *ctx, const struct pixels *from, struct pixels *to) {
    int longer = from->w > from->h ? from->w : from->h;
    if (longer >= LEAST_SIDE) return shrink(ctx, from, (longer + MOST_SIDE - 1) / MOST_SIDE, to);
    struct image small, large;
    TRY(image_from_pixels(ctx, from, &small));
    double by = (double)LEAST_SIDE / longer;
    enum status st = image_resize(ctx, &small, (int)fmax(1, from->w * by), (int)fmax(1, from->h * by), &large);
    if (st == ST_OK) st = pixels_from_image(ctx, &large, to);
    if (st == ST_OK) image_free(&large);
    image_free(&small);
    return st;
}

static bool is_of_head(const struct heatmap_picture *p, struct box b, int head) {
    struct utility_match m[UTILITY_MAX_MATCHES];
    int heads[UTILITY_MAX_HEADS], n = net_heads(p->net, heads, UTILITY_MAX_HEADS);
    if (head == HEATMAP_ALL_HEADS) return true;
    int found = utility_matches(p->net, heads, n < UTILITY_MAX_HEADS ? n : UTILITY_MAX_HEADS, 0, b, m);
    for (int i = 0; i < found; ++i)
        if (m[i].head == head) return true;
    return false;
}

struct frame { float x, y, w, h; };
static bool overlaps(struct frame a, struct frame b) { return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h; }

/* Names already there; a name that would cover one of them is left out. */
enum { MOST_NAMES = 64 };
struct names { int n; struct frame at[MOST_NAMES]; };

static void draw_name(struct pixels *px, struct names *done, struct frame box, const char *name) {
    const float size = TEXT / 2;
    struct frame f = { box.x - 3, box.y - 4 >= size ? box.y - 4 - size : box.y + 2, draw_text(NULL, 0, 0, size, name, line) + 6, size + 1 };
    for (int i = 0; i < done->n; ++i)
        if (overlaps(f, done->at[i])) return;
    if (done->n == MOST_NAMES) return;
    done->at[done->n++] = f;
    draw_rect(px, f.x, f.y, f.w, f.h, halo);
    draw_text(px, f.x + 3, f.y + 2, size, name, line);
}

static struct frame on_picture(const struct pixels *px, struct box part, struct box b) {
    float sx = (float)px->w / part.w, sy = (float)px->h / part.h;
    return (struct frame){ (b.x - b.w / 2 - part.x + part.w / 2) * sx, (b.y - b.h / 2 - part.y + part.h / 2) * sy, b.w * sx, b.h * sy };
}

static void draw_objects(struct pixels *px, const struct heatmap *m, const struct heatmap_picture *p) {
    struct names names = { 0 };
    for (int pass = 0; pass < 3; ++pass) /* those of other heads, then this head's, then their names */
        for (int o = 0; p->objects && o < p->objects->n; ++o) {
            const struct truth *t = &p->objects->item[o];
            struct frame f = on_picture(px, p->part, t->box);
            if (is_of_head(p, t->box, m->site.head) != (pass > 0)) continue;
            if (pass == 1) draw_frame(px, f.x - 3, f.y - 3, f.w + 6, f.h + 6, 4, halo);
            if (pass < 2) draw_frame(px, f.x - 2, f.y - 2, f.w + 4, f.h + 4, (float)(1 + pass), pass ? line : faint);
            else if (p->name && t->class_id >= 0 && t->class_id < p->n_name) draw_name(px, &names, f, p->name[t->class_id]);
        }
}

/* The caption's two lines, in the large size where both fit. */
static void draw_caption(struct pixels *px, float y, float room, const char *caption) {
    char row[2][256] = { "", "" };
    const char *end = strchr(caption, '\n');
    snprintf(row[0], sizeof row[0], "%.*s", end ? (int)(end - caption) : (int)strlen(caption), caption);
    if (end) snprintf(row[1], sizeof row[1], "%s", end + 1);
    float widest = fmaxf(draw_text(NULL, 0, 0, TEXT, row[0], ink), draw_text(NULL, 0, 0, TEXT, row[1], ink));
    float size = widest <= room ? TEXT : TEXT / 2;
    for (int i = 0; i < 2; ++i) draw_text(px, MARGIN, y + (size < TEXT ? 8 + (float)i * 20 : (float)i * 28), size, row[i], i ? dim : ink);
}

static void draw_legend(struct pixels *px, int top, const struct heatmap *m, const char *caption) {
    char text[64];
    draw_rect(px, 0, (float)top, (float)px->w, LEGEND, ground);
    float right = (float)px->w - MARGIN, left = right - BAR, y = (float)top + MARGIN;
    for (int i = 0; i < BAR; ++i) draw_rect(px, left + (float)i, y, 1, 20, heatmap_colour((i + .5) / BAR));
    draw_text(px, left, y + 26, TEXT / 2, "0", dim);
    snprintf(text, sizeof text, "%.2g", (double)m->peak);
    draw_text(px, right - draw_text(NULL, 0, 0, TEXT / 2, text, dim), y + 26, TEXT / 2, text, dim);
    draw_text(px, left, y + 42, TEXT / 2, "gradient x activation (root)", dim);
    draw_caption(px, y, left - 2 * MARGIN, caption);
}

enum status heatmap_draw(struct ctx *ctx, const struct heatmap *m, const struct heatmap_picture *p, struct pixels *out) {
    struct pixels px;
    if (p->picture->c != 3) return ctx_fail(ctx, ST_USAGE, "heat maps are drawn on pictures of three colours, not %d", p->picture->c);
    TRY(readable(ctx, p->picture, &px));
    heatmap_blend(&px, m, p->part, 0);
    draw_objects(&px, m, p);
    enum status st = pixels_new(ctx, px.w, px.h + LEGEND, 3, out);
    if (st == ST_OK) {
        memcpy(out->data, px.data, (size_t)px.w * (size_t)px.h * 3);
        draw_legend(out, px.h, m, p->caption ? p->caption : "");
    }
    pixels_free(&px);
    return st;
}
