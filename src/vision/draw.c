#include "vision/draw.h"

#include <math.h>
#include <stdlib.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb/stb_easy_font.h>
#pragma GCC diagnostic pop

enum { MAX_POINTS = 256, CHUNK = 1024, SUBROWS = 4 };

static float clampf(float v, float low, float high) { return v < low ? low : v > high ? high : v; }

static void sort_floats(float *v, int n) {
    for (int i = 1; i < n; ++i) {
        float key = v[i];
        int j = i - 1;
        for (; j >= 0 && v[j] > key; --j) v[j + 1] = v[j];
        v[j + 1] = key;
    }
}

/* Where the polygon's outline crosses the line y, from left to right. */
static int crossings(const float *xy, int n, float y, float *x) {
    int found = 0;
    for (int i = 0, j = n - 1; i < n; j = i++) {
        float ya = xy[2 * j + 1], yb = xy[2 * i + 1];
        if ((ya <= y) == (yb <= y)) continue;
        x[found++] = xy[2 * j] + (y - ya) * (xy[2 * i] - xy[2 * j]) / (yb - ya);
    }
    sort_floats(x, found);
    return found & ~1;
}

/* A step at x, as the derivative of coverage: its running sum is the share of each pixel right of x. */
static void add_step(float *step, float x, float weight) {
    int i = (int)x;
    float inside = x - (float)i;
    step[i] += weight * (1 - inside);
    step[i + 1] += weight * inside;
}

static void cover_row(const float *xy, int n_points, int y, int left, int n, draw_span span, void *user) {
    float step[CHUNK + 2], x[MAX_POINTS];
    for (int i = 0; i < n + 2; ++i) step[i] = 0;
    for (int s = 0; s < SUBROWS; ++s) {
        int found = crossings(xy, n_points, (float)y + ((float)s + 0.5f) / SUBROWS, x);
        for (int i = 0; i < found; i += 2) {
            float a = clampf(x[i] - (float)left, 0, (float)n);
            float b = clampf(x[i + 1] - (float)left, 0, (float)n);
            if (b <= a) continue;
            add_step(step, a, 1.0f / SUBROWS);
            add_step(step, b, -1.0f / SUBROWS);
        }
    }
    float sum = 0;
    for (int i = 0; i < n; ++i) {
        sum += step[i];
        step[i] = clampf(sum, 0, 1);
    }
    span(user, y, left, n, step);
}

void draw_cover(int w, int h, const float *xy, int n_points, draw_span span, void *user) {
    if (n_points < 3 || n_points > MAX_POINTS) return;
    float low_x = xy[0], high_x = xy[0], low_y = xy[1], high_y = xy[1];
    for (int i = 0; i < n_points; ++i) {
        if (!isfinite(xy[2 * i]) || !isfinite(xy[2 * i + 1])) return;
        low_x = fminf(low_x, xy[2 * i]);
        high_x = fmaxf(high_x, xy[2 * i]);
        low_y = fminf(low_y, xy[2 * i + 1]);
        high_y = fmaxf(high_y, xy[2 * i + 1]);
    }
    int x0 = (int)clampf(floorf(low_x), 0, (float)w), x1 = (int)clampf(ceilf(high_x), 0, (float)w);
    int y0 = (int)clampf(floorf(low_y), 0, (float)h), y1 = (int)clampf(ceilf(high_y), 0, (float)h);
    for (int y = y0; y < y1; ++y)
        for (int x = x0; x < x1; x += CHUNK)
            cover_row(xy, n_points, y, x, x1 - x < CHUNK ? x1 - x : CHUNK, span, user);
}

struct paint { struct pixels *px; struct colour colour; };

static uint8_t blend(uint8_t under, uint8_t over, float share) {
    return (uint8_t)((float)under + ((float)over - (float)under) * share + 0.5f);
}

static void paint_span(void *user, int y, int x, int n, const float *coverage) {
    const struct paint *p = user;
    int c = p->px->c;
    uint8_t *at = p->px->data + ((size_t)y * (size_t)p->px->w + (size_t)x) * (size_t)c;
    uint8_t grey = (uint8_t)((299 * p->colour.r + 587 * p->colour.g + 114 * p->colour.b) / 1000);
    for (int i = 0; i < n; ++i, at += c) {
        float share = coverage[i] * p->colour.alpha;
        if (share <= 0) continue;
        if (c < 3) {
            at[0] = blend(at[0], grey, share);
            continue;
        }
        at[0] = blend(at[0], p->colour.r, share);
        at[1] = blend(at[1], p->colour.g, share);
        at[2] = blend(at[2], p->colour.b, share);
    }
}

void draw_polygon(struct pixels *px, const float *xy, int n_points, struct colour c) {
    struct paint paint = {px, c};
    draw_cover(px->w, px->h, xy, n_points, paint_span, &paint);
}

void draw_rect(struct pixels *px, float x, float y, float w, float h, struct colour c) {
    const float xy[] = {x, y, x + w, y, x + w, y + h, x, y + h};
    draw_polygon(px, xy, 4, c);
}

void draw_ellipse(struct pixels *px, float cx, float cy, float rx, float ry, struct colour c) {
    float xy[2 * 64];
    int n = (int)clampf(8 + 4 * sqrtf(fmaxf(fabsf(rx), fabsf(ry))), 8, 64);
    for (int i = 0; i < n; ++i) {
        float angle = 6.2831853f * (float)i / (float)n;
        xy[2 * i] = cx + rx * cosf(angle);
        xy[2 * i + 1] = cy + ry * sinf(angle);
    }
    draw_polygon(px, xy, n, c);
}

void draw_line(struct pixels *px, float x0, float y0, float x1, float y1, float thickness, struct colour c) {
    float dx = x1 - x0, dy = y1 - y0, length = sqrtf(dx * dx + dy * dy);
    if (!(length > 0)) return;
    float ax = -dy / length * thickness / 2, ay = dx / length * thickness / 2;
    const float xy[] = {x0 + ax, y0 + ay, x1 + ax, y1 + ay, x1 - ax, y1 - ay, x0 - ax, y0 - ay};
    draw_polygon(px, xy, 4, c);
}

void draw_frame(struct pixels *px, float x, float y, float w, float h, float thickness, struct colour c) {
    float t = fminf(thickness, fminf(w, h) / 2); /* the outline grows inwards */
    draw_rect(px, x, y, w, t, c);
    draw_rect(px, x, y + h - t, w, t, c);
    draw_rect(px, x, y + t, t, h - 2 * t, c);
    draw_rect(px, x + w - t, y + t, t, h - 2 * t, c);
}

/* The strokes of a glyph are rectangles; their edges snap to whole pixels, so they stay crisp and joined. */
static void draw_glyph(struct pixels *px, float x, float y, float scale, char *glyph, struct colour c) {
    struct { float x, y, z; unsigned char rgba[4]; } corner[4 * 64];
    int quads = stb_easy_font_print(0, 0, glyph, NULL, corner, sizeof corner);
    for (int q = 0; q < quads; ++q) {
        float x0 = roundf(x + corner[4 * q].x * scale), x1 = roundf(x + corner[4 * q + 2].x * scale);
        float y0 = roundf(y + corner[4 * q].y * scale), y1 = roundf(y + corner[4 * q + 2].y * scale);
        draw_rect(px, x0, y0, fmaxf(x1 - x0, 1), fmaxf(y1 - y0, 1), c);
    }
}

float draw_text(struct pixels *px, float x, float y, float size, const char *text, struct colour c) {
    const float line = 12; /* height of the font's line */
    float scale = size / line, width = 0;
    for (; *text; ++text) {
        unsigned char code = (unsigned char)*text;
        if (code >= 128 && code < 192) continue; /* inside a UTF-8 sequence: one mark for all of it */
        char glyph[2] = {code >= 32 && code < 127 ? (char)code : '?', '\0'};
        if (px) draw_glyph(px, x + width, y, scale, glyph, c);
        width += (float)stb_easy_font_width(glyph) * scale;
    }
    return width;
}

static uint8_t ramp(int component, float position) {
    static const float colours[6][3] = {{1, 0, 1}, {0, 0, 1}, {0, 1, 1}, {0, 1, 0}, {1, 1, 0}, {1, 0, 0}};
    int low = (int)floorf(position), high = (int)ceilf(position);
    float share = position - (float)low;
    return (uint8_t)(255 * ((1 - share) * colours[low][component] + share * colours[high][component]) + 0.5f);
}

struct colour draw_class_colour(int k, int n) {
    if (n < 1) n = 1;
    int offset = (int)((long long)abs(k) * 123457 % n);
    float position = (float)offset / (float)n * 5;
    return (struct colour){ramp(2, position), ramp(1, position), ramp(0, position), 1.0f};
}
