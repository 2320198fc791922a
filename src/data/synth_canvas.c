/* Canvas, camera and light of the scene generator: everything that turns metres into pixels. */
#include <math.h>
#include <string.h>

#include "data/synth_scene.h"
#include "vision/draw.h"

struct rgb rgb_any(struct rng *r, const struct rgb *list, int n, float jitter) {
    struct rgb c = list[rng_int(r, 0, n - 1)]; /* one draw per statement: the order of arguments is open */
    c = rgb_scale(c, (float)rng_between(r, 0.8, 1.2));
    float j = jitter;
    c.r += (float)rng_between(r, -j, j);
    c.g += (float)rng_between(r, -j, j);
    c.b += (float)rng_between(r, -j, j);
    return c;
}

static float lattice(unsigned seed, int x, int y) {
    unsigned h = seed + (unsigned)x * 0x9e3779b1u + (unsigned)y * 0x85ebca77u;
    h ^= h >> 15;
    h *= 0x2c1b3c6du;
    h ^= h >> 12;
    h *= 0x297a2d39u;
    h ^= h >> 15;
    return (float)(h & 0xffffff) / 16777215.0f;
}

static float corner(const struct noise_row *n, int x) {
    float top = lattice(n->seed, x, n->y);
    return top + (lattice(n->seed, x, n->y + 1) - top) * n->share;
}

struct noise_row noise_row(unsigned seed, float y) {
    float floor_y = floorf(y), b = y - floor_y;
    struct noise_row n = {seed, 0, (int)floor_y, b * b * (3 - 2 * b), 0, 0};
    n.left = corner(&n, 0);
    n.right = corner(&n, 1);
    return n;
}

float noise_at(struct noise_row *n, float x) {
    int cell = (int)x - (x < 0);
    if (cell != n->x) {
        n->left = cell == n->x + 1 ? n->right : corner(n, cell);
        n->right = corner(n, cell + 1);
        n->x = cell;
    }
    float a = x - (float)cell;
    return n->left + (n->right - n->left) * a * a * (3 - 2 * a);
}

float lattice_noise(unsigned seed, float x, float y) {
    struct noise_row n = noise_row(seed, y);
    return noise_at(&n, x);
}

void canvas_begin(struct canvas *cv, int object) {
    cv->current = object;
    cv->extent = (struct extent){1e9f, 1e9f, -1e9f, -1e9f};
}

struct fill { struct canvas *cv; struct rgb c; float alpha; };

static void fill_span(void *user, int y, int x, int n, const float *coverage) {
    const struct fill *f = user;
    struct canvas *cv = f->cv;
    size_t at = (size_t)y * (size_t)cv->px.w + (size_t)x;
    uint8_t *to = cv->px.data + 3 * at;
    uint8_t r = rgb_byte(f->c.r), g = rgb_byte(f->c.g), b = rgb_byte(f->c.b);
    for (int i = 0; i < n; ++i, to += 3) {
        float share = coverage[i] * f->alpha;
        if (share <= 0.004f) continue;
        if (share > 0.996f) {
            to[0] = r;
            to[1] = g;
            to[2] = b;
        } else {
            to[0] = rgb_byte((float)to[0] + ((float)r - (float)to[0]) * share);
            to[1] = rgb_byte((float)to[1] + ((float)g - (float)to[1]) * share);
            to[2] = rgb_byte((float)to[2] + ((float)b - (float)to[2]) * share);
        }
        if (share >= 0.4f) cv->id[at + (size_t)i] = cv->current;
    }
}

void canvas_fill(struct canvas *cv, const float *xy, int n, struct rgb c, float alpha) {
    if (alpha >= 0.4f) {
        struct extent *e = &cv->extent;
        for (int i = 0; i < n; ++i) {
            e->x0 = fminf(e->x0, xy[2 * i]);
            e->x1 = fmaxf(e->x1, xy[2 * i]);
            e->y0 = fminf(e->y0, xy[2 * i + 1]);
            e->y1 = fmaxf(e->y1, xy[2 * i + 1]);
        }
    }
    struct fill fill = {cv, c, alpha};
    draw_cover(cv->px.w, cv->px.h, xy, n, fill_span, &fill);
}

void canvas_glow(struct canvas *cv, float x, float y, float radius, struct rgb c, float strength) {
    if (!(radius > 0.3f) || !(radius < 4000)) return;
    int x0 = (int)fmaxf(0, x - radius), x1 = (int)fminf((float)cv->px.w - 1, x + radius);
    int y0 = (int)fmaxf(0, y - radius), y1 = (int)fminf((float)cv->px.h - 1, y + radius);
    for (int j = y0; j <= y1; ++j)
        for (int i = x0; i <= x1; ++i) {
            float dx = ((float)i + 0.5f - x) / radius, dy = ((float)j + 0.5f - y) / radius;
            float k = 1 - (dx * dx + dy * dy);
            if (k <= 0) continue;
            k *= k * k * strength;
            uint8_t *to = cv->px.data + 3 * ((size_t)j * (size_t)cv->px.w + (size_t)i);
            to[0] = rgb_byte((float)to[0] + c.r * k);
            to[1] = rgb_byte((float)to[1] + c.g * k);
            to[2] = rgb_byte((float)to[2] + c.b * k);
        }
}

/* [side centre side] along one direction: `count` samples `step` bytes apart. */
static void blur_line(uint8_t *data, int count, int step, int side) {
    int centre = 256 - 2 * side, before = data[0];
    for (int i = 0; i < count; ++i) {
        int here = data[(size_t)i * (size_t)step];
        int after = i + 1 < count ? data[(size_t)(i + 1) * (size_t)step] : here;
        data[(size_t)i * (size_t)step] = (uint8_t)((here * centre + (before + after) * side + 128) >> 8);
        before = here;
    }
}

static void blur(struct pixels *px, int side) {
    for (int y = 0; y < px->h; ++y)
        for (int c = 0; c < 3; ++c) blur_line(px->data + (size_t)y * (size_t)px->w * 3 + c, px->w, 3, side);
    for (int x = 0; x < px->w * 3; ++x) blur_line(px->data + x, px->h, px->w * 3, side);
}

void canvas_finish(struct scene *s) {
    struct pixels *px = &s->cv.px;
    blur(px, rng_int(&s->rng, 4, 44));
    float sigma = (float)rng_between(&s->rng, 1.0, 3.5) * (s->hour == HOUR_NIGHT ? 1.6f : 1.0f);
    float edge = (float)rng_between(&s->rng, 0, 0.25) * 0.5f;
    int level = (int)(sigma * 256); /* fixed point: 1/256 for the gain, 1/32768 for the noise */
    for (int y = 0; y < px->h; ++y) {
        float dy = 2 * (float)y / (float)px->h - 1;
        uint8_t *row = px->data + (size_t)y * (size_t)px->w * 3;
        for (int x = 0; x < px->w; ++x, row += 3) {
            float dx = 2 * (float)x / (float)px->w - 1;
            int gain = (int)(256 * (1 - edge * (dx * dx + dy * dy)));
            uint64_t bits = rng_u64(&s->rng);
            int grey = (int)((bits & 255) + ((bits >> 8) & 255) + ((bits >> 16) & 255)) - 384;
            for (int c = 0; c < 3; ++c) {
                int own = (int)((bits >> (24 + 8 * c)) & 255) - 128;
                int v = (row[c] * gain + ((level * (2 * grey + own)) >> 8) + 128) >> 8;
                row[c] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
            }
        }
    }
}

float scene_scale(const struct scene *s, float z) { return s->focal / z; }

void scene_project(const struct scene *s, const float p[3], float xy[2]) {
    float z = p[2] > 0.4f ? p[2] : 0.4f, k = s->focal / z;
    xy[0] = s->cx + (p[0] + s->bend * z * z) * k;
    xy[1] = s->horizon + (s->camera - p[1]) * k;
}

bool scene_is_dark(const struct scene *s) { return s->hour == HOUR_NIGHT || s->hour == HOUR_DUSK; }

struct rgb scene_light(const struct scene *s, float x, float z) {
    struct rgb light = s->ambient;
    if (s->hour != HOUR_NIGHT) return light;
    float wide = 2.2f + z * 0.22f, a = x / wide, far = z / 26;
    float beam = 0.75f / ((1 + a * a * a * a) * (1 + far * far)); /* own headlights */
    light.r += beam;
    light.g += beam * 0.97f;
    light.b += beam * 0.86f;
    float dz = fmodf(z - s->lamp_z + s->lamp_step * 8.5f, s->lamp_step) - s->lamp_step * 0.5f;
    for (int side = 0; side < 2; ++side) {
        float dx = x - (side ? s->road_right : s->road_left), d = (dx * dx + dz * dz) / 49.0f;
        float pool = 0.55f / ((1 + d) * (1 + d));
        light.r += pool;
        light.g += pool * 0.82f;
        light.b += pool * 0.55f;
    }
    return light;
}

struct rgb scene_lit(const struct scene *s, struct rgb c, float x, float z) {
    struct rgb light = scene_light(s, x, z);
    c = rgb_of(c.r * light.r, c.g * light.g, c.b * light.b);
    return rgb_mix(s->fog, c, expf(-z / s->fog_length));
}

void scene_fill3(struct scene *s, const float (*p)[3], int n, struct rgb c, float alpha) {
    float xy[64];
    if (n > 32) n = 32;
    for (int i = 0; i < n; ++i) scene_project(s, p[i], xy + 2 * i);
    canvas_fill(&s->cv, xy, n, c, alpha);
}

void face_point(const struct face *f, float u, float v, float out[3]) {
    for (int k = 0; k < 3; ++k) {
        float low = f->p[0][k] + (f->p[1][k] - f->p[0][k]) * u;
        float top = f->p[3][k] + (f->p[2][k] - f->p[3][k]) * u;
        out[k] = low + (top - low) * v;
    }
}

bool face_visible(const struct scene *s, const struct face *f) {
    float area = 0, xy[4][2];
    for (int i = 0; i < 4; ++i) scene_project(s, f->p[i], xy[i]);
    for (int i = 0, j = 3; i < 4; j = i++) area += xy[j][0] * xy[i][1] - xy[i][0] * xy[j][1];
    return area < 0; /* counter-clockwise with rows growing downwards */
}

void face_patch(struct scene *s, const struct face *f, float u0, float v0, float u1, float v1, struct rgb c,
                float alpha) {
    float p[4][3];
    face_point(f, u0, v0, p[0]);
    face_point(f, u1, v0, p[1]);
    face_point(f, u1, v1, p[2]);
    face_point(f, u0, v1, p[3]);
    scene_fill3(s, (const float(*)[3])p, 4, c, alpha);
}

void face_disc(struct scene *s, const struct face *f, float u, float v, float ru, float rv, struct rgb c) {
    float p[16][3];
    for (int i = 0; i < 16; ++i) {
        float angle = 6.2831853f * (float)i / 16;
        face_point(f, u + ru * cosf(angle), v + rv * sinf(angle), p[i]);
    }
    scene_fill3(s, (const float(*)[3])p, 16, c, 1);
}

static void place(const struct pose *pose, float u, float v, float y, float out[3]) {
    float a = sinf(pose->yaw), b = cosf(pose->yaw);
    out[0] = pose->x + u * a + v * b;
    out[1] = y;
    out[2] = pose->z + u * b - v * a;
}

void block_faces(const struct pose *pose, const struct block *b, struct face out[FACE_COUNT]) {
    float low[4][3], top[4][3]; /* rear left, rear right, front right, front left */
    float tu0 = b->u0 + b->rear_in, tu1 = b->u1 - b->front_in;
    float tv0 = b->v0 + b->side_in, tv1 = b->v1 - b->side_in;
    place(pose, b->u0, b->v0, b->y0, low[0]);
    place(pose, b->u0, b->v1, b->y0, low[1]);
    place(pose, b->u1, b->v1, b->y0, low[2]);
    place(pose, b->u1, b->v0, b->y0, low[3]);
    place(pose, tu0, tv0, b->y1, top[0]);
    place(pose, tu0, tv1, b->y1, top[1]);
    place(pose, tu1, tv1, b->y1, top[2]);
    place(pose, tu1, tv0, b->y1, top[3]);
    static const int edge[4][2] = {{0, 1}, {2, 3}, {3, 0}, {1, 2}}; /* rear, front, left, right */
    for (int k = 0; k < 4; ++k) {
        memcpy(out[k].p[0], low[edge[k][0]], sizeof low[0]);
        memcpy(out[k].p[1], low[edge[k][1]], sizeof low[0]);
        memcpy(out[k].p[2], top[edge[k][1]], sizeof low[0]);
        memcpy(out[k].p[3], top[edge[k][0]], sizeof low[0]);
    }
    for (int k = 0; k < 4; ++k) memcpy(out[FACE_TOP].p[k], top[k], sizeof top[0]);
}

float face_shade(const struct scene *s, enum block_face side, float yaw) {
    static const float turn[4] = {3.14159265f, 0, -1.5707963f, 1.5707963f};
    if (side == FACE_TOP) return 1.12f;
    float angle = yaw + turn[side], contrast = s->hour == HOUR_DAY ? 0.24f : 0.10f;
    return 0.86f + contrast * sinf(angle) * s->sun - 0.04f * cosf(angle);
}

struct figure figure_at(struct scene *s, float x, float z) {
    float xy[2], p[3] = {x, 0, z};
    scene_project(s, p, xy);
    return (struct figure){s, x, z, xy[0], xy[1], scene_scale(s, z)};
}

void figure_polygon(struct figure *f, const float *xy, int n, struct rgb c) {
    float at[128];
    if (n > 64) n = 64;
    for (int i = 0; i < n; ++i) {
        at[2 * i] = f->px + xy[2 * i] * f->scale;
        at[2 * i + 1] = f->py - xy[2 * i + 1] * f->scale;
    }
    canvas_fill(&f->s->cv, at, n, scene_lit(f->s, c, f->x, f->z), 1);
}

void figure_limb(struct figure *f, float x0, float y0, float x1, float y1, float thick, struct rgb c) {
    float dx = x1 - x0, dy = y1 - y0, length = sqrtf(dx * dx + dy * dy) + 1e-6f;
    float half = fmaxf(thick, 0.9f / f->scale) / 2, ax = -dy / length * half, ay = dx / length * half;
    float ex = dx / length * half * 0.7f, ey = dy / length * half * 0.7f; /* rounded ends */
    const float xy[] = {x0 + ax, y0 + ay, x1 + ax, y1 + ay, x1 + ex, y1 + ey,
                        x1 - ax, y1 - ay, x0 - ax, y0 - ay, x0 - ex, y0 - ey};
    figure_polygon(f, xy, 6, c);
}

void figure_disc(struct figure *f, float x, float y, float rx, float ry, struct rgb c) {
    float xy[40];
    for (int i = 0; i < 20; ++i) {
        float angle = 6.2831853f * (float)i / 20;
        xy[2 * i] = x + rx * cosf(angle);
        xy[2 * i + 1] = y + ry * sinf(angle);
    }
    figure_polygon(f, xy, 20, c);
}

void figure_ring(struct figure *f, float x, float y, float rx, float ry, float thick, struct rgb c) {
    float xy[4 * 25], t = fmaxf(thick, 1.0f / f->scale), ix = fmaxf(rx - t, 0), iy = fmaxf(ry - t, 0);
    for (int i = 0; i <= 24; ++i) { /* outside forth, inside back: one polygon with a seam */
        float angle = 6.2831853f * (float)i / 24, co = cosf(angle), si = sinf(angle);
        xy[2 * i] = x + rx * co;
        xy[2 * i + 1] = y + ry * si;
        xy[2 * (49 - i)] = x + ix * co;
        xy[2 * (49 - i) + 1] = y + iy * si;
    }
    figure_polygon(f, xy, 50, c);
}

void figure_rect(struct figure *f, float x0, float y0, float x1, float y1, struct rgb c) {
    const float xy[] = {x0, y0, x1, y0, x1, y1, x0, y1};
    figure_polygon(f, xy, 4, c);
}

void figure_shadow(struct figure *f, float rx) {
    float xy[32], ry = rx * 0.35f;
    for (int i = 0; i < 16; ++i) {
        float angle = 6.2831853f * (float)i / 16;
        float p[3] = {f->x + rx * cosf(angle), 0, f->z + ry * sinf(angle)};
        scene_project(f->s, p, xy + 2 * i);
    }
    canvas_fill(&f->s->cv, xy, 16, rgb_of(12, 12, 16), 0.36f);
}
