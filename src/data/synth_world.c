/* Scenery of the generator: sky, hills, road, buildings and street furniture.  None of it is labelled. */
#include <math.h>

#include "data/synth_scene.h"

static float smooth(float low, float high, float v) {
    float t = (v - low) / (high - low);
    t = t < 0 ? 0 : t > 1 ? 1 : t;
    return t * t * (3 - 2 * t);
}

static void put(struct scene *s, int x, int y, struct rgb c) {
    uint8_t *to = s->cv.px.data + 3 * ((size_t)y * (size_t)s->cv.px.w + (size_t)x);
    to[0] = rgb_byte(c.r);
    to[1] = rgb_byte(c.g);
    to[2] = rgb_byte(c.b);
}

struct sky { struct rgb zenith, horizon, cloud; float cover, sun_x, sun_y; };

static struct sky sky_any(struct scene *s) {
    static const struct sky kinds[] = {
        {{70, 122, 196}, {176, 204, 228}, {244, 246, 248}, 0.5f, 0, 0},
        {{150, 156, 164}, {196, 200, 204}, {214, 216, 220}, 0.3f, 0, 0},
        {{64, 74, 122}, {232, 158, 104}, {214, 132, 116}, 0.5f, 0, 0},
        {{10, 13, 24}, {40, 40, 52}, {30, 32, 42}, 0.55f, 0, 0},
    };
    struct sky sky = kinds[s->hour];
    float warm = (float)rng_between(&s->rng, 0.85, 1.12);
    sky.zenith = rgb_scale(sky.zenith, warm);
    sky.horizon = rgb_scale(sky.horizon, 2 - warm);
    sky.cover = (float)rng_between(&s->rng, sky.cover - 0.15, sky.cover + 0.25);
    sky.sun_x = s->cx + (float)rng_between(&s->rng, -0.6, 0.6) * (float)s->cv.px.w;
    sky.sun_y = s->horizon - (float)rng_between(&s->rng, 0.02, 0.2) * (float)s->cv.px.h;
    return sky;
}

static void draw_sky(struct scene *s) {
    struct sky sky = sky_any(s);
    int w = s->cv.px.w, rows = (int)ceilf(s->horizon);
    if (rows > s->cv.px.h) rows = s->cv.px.h;
    static const float scale[3] = {1, 2.3f, 5.1f}, weight[3] = {0.6f, 0.28f, 0.12f};
    float reach = (float)w * 0.55f, drift = (float)rng_between(&s->rng, 0, 900);
    for (int y = 0; y < rows; ++y) {
        float up = (s->horizon - (float)y) / s->horizon, far = 1 / (0.10f + up);
        struct rgb base = rgb_mix(sky.horizon, sky.zenith, powf(up, 0.65f));
        struct noise_row octave[3];
        for (unsigned k = 0; k < 3; ++k) octave[k] = noise_row(s->noise + k, far * 2.4f * scale[k]);
        for (int x = 0; x < w; ++x) {
            float u = ((float)x - s->cx) / (float)w * far * 1.6f + drift, n = 0;
            for (int k = 0; k < 3; ++k) n += weight[k] * noise_at(&octave[k], u * scale[k]);
            struct rgb c = rgb_mix(base, sky.cloud, 0.85f * smooth(sky.cover, sky.cover + 0.28f, n));
            if (s->hour == HOUR_DUSK) {
                float dx = ((float)x - sky.sun_x) / reach, dy = ((float)y - sky.sun_y) / reach * 1.4f;
                float k = 1 / (1 + 7 * (dx * dx + dy * dy));
                c = rgb_mix(c, rgb_of(255, 206, 140), 0.75f * k * k);
            }
            put(s, x, y, c);
        }
    }
}

static void draw_hills(struct scene *s) {
    int w = s->cv.px.w;
    for (int layer = 0; layer < 2; ++layer) {
        float high = (float)rng_between(&s->rng, 0.02, 0.10) * (float)s->cv.px.h / (float)(layer + 1);
        float wave = (float)rng_between(&s->rng, 2, 7) * (float)(layer + 1);
        struct rgb c = scene_lit(s, rgb_of(74, 92, 74), 60, s->fog_length * (layer ? 0.35f : 0.9f));
        float xy[2 * 44];
        for (int i = 0; i <= 40; ++i) {
            float at = (float)i / 40;
            xy[2 * i] = at * (float)w;
            xy[2 * i + 1] =
                s->horizon - high * lattice_noise(s->noise + 9 + (unsigned)layer, at * wave, 3.5f);
        }
        xy[82] = (float)w;
        xy[83] = s->horizon + 2;
        xy[84] = 0;
        xy[85] = s->horizon + 2;
        canvas_fill(&s->cv, xy, 43, c, 1);
    }
}

/* One row of ground, in pixels of that row: spans are laid over each other, then lit. */
struct row {
    struct rgb *c;
    int w;
    float z, metre, origin; /* distance, pixels per metre, column of X = 0 */
};

static void row_span(struct row *r, float x0, float x1, struct rgb c, float alpha) {
    float a = r->origin + x0 * r->metre, b = r->origin + x1 * r->metre;
    if (b <= 0 || a >= (float)r->w) return;
    int from = a > 0 ? (int)a : 0, to = b < (float)r->w ? (int)b : r->w - 1;
    for (int i = from; i <= to; ++i) {
        float share = (b < (float)i + 1 ? b : (float)i + 1) - (a > (float)i ? a : (float)i);
        if (share > 0) r->c[i] = rgb_mix(r->c[i], c, share * alpha);
    }
}

/* Share of [z, z + depth) that a dash pattern covers. */
static float dash(float z, float depth, float on, float period) {
    if (depth > period) return on / period;
    float at = fmodf(z + 1000 * period, period), covered = 0;
    covered += fmaxf(0, fminf(at + depth, on) - at);
    covered += fmaxf(0, fminf(at + depth - period, on));
    return fminf(covered / depth, 1);
}

struct surface {
    struct rgb asphalt, walk, kerb, verge, paint, middle;
    float worn, dash_on, dash_period;
    int centre;
};

static void row_markings(struct scene *s, struct row *r, const struct surface *g, float depth) {
    float half = 0.07f, a = g->worn;
    for (int i = 1; i < s->lanes_left + s->lanes_right; ++i) {
        float x = s->road_left + (float)i * s->lane;
        if (i == s->lanes_left && s->lanes_left > 0) {
            float gap = g->centre == 2 ? 0.13f : 0;
            float share = g->centre == 0 ? dash(r->z, depth, g->dash_on, g->dash_period) : 1;
            row_span(r, x - gap - half, x - gap + half, g->middle, a * share);
            if (g->centre == 2) row_span(r, x + gap - half, x + gap + half, g->middle, a);
        } else {
            row_span(r, x - half, x + half, g->paint, a * dash(r->z, depth, g->dash_on, g->dash_period));
        }
    }
    row_span(r, s->road_left + 0.25f, s->road_left + 0.38f, g->paint, a);
    row_span(r, s->road_right - 0.38f, s->road_right - 0.25f, g->paint, a);
}

static void row_crossing(struct scene *s, struct row *r, const struct surface *g, float depth) {
    float zebra = s->cross_z - 4.5f, stop = s->cross_z - 6.2f;
    if (s->zebra && r->z + depth > zebra && r->z < zebra + 3) {
        float share = (fminf(r->z + depth, zebra + 3) - fmaxf(r->z, zebra)) / depth;
        for (float x = s->road_left + 0.4f; x < s->road_right - 0.6f; x += 1.1f)
            row_span(r, x, x + 0.55f, g->paint, 0.9f * share);
    }
    float middle = s->road_left + (float)s->lanes_left * s->lane;
    if (r->z + depth > stop && r->z < stop + 0.45f)
        row_span(r, middle, s->road_right - 0.3f, g->paint,
                 (fminf(r->z + depth, stop + 0.45f) - fmaxf(r->z, stop)) / depth);
}

static void row_layers(struct scene *s, struct row *r, const struct surface *g, float depth) {
    for (int i = 0; i < r->w; ++i) r->c[i] = g->verge;
    bool crossing = r->z > s->cross_z && r->z < s->cross_z + s->cross_w;
    if (crossing) {
        row_span(r, -400, 400, g->asphalt, 1);
        return;
    }
    if (s->walk > 0) {
        row_span(r, s->road_left - s->walk, s->road_right + s->walk, g->walk, 1);
        float joint = dash(r->z, depth, 0.08f, 1.5f);
        row_span(r, s->road_left - s->walk, s->road_right + s->walk, rgb_scale(g->walk, 0.8f), joint * 0.7f);
        row_span(r, s->road_left - 0.25f, s->road_right + 0.25f, g->kerb, 1);
        row_span(r, s->road_left - 0.06f, s->road_right + 0.06f, rgb_scale(g->asphalt, 0.62f), 1);
    }
    row_span(r, s->road_left, s->road_right, g->asphalt, 1);
    for (int i = 0; i < s->lanes_left + s->lanes_right; ++i) { /* tyre tracks */
        float x = s->road_left + ((float)i + 0.5f) * s->lane;
        row_span(r, x - 1.0f, x - 0.5f, rgb_of(0, 0, 0), 0.07f);
        row_span(r, x + 0.5f, x + 1.0f, rgb_of(0, 0, 0), 0.07f);
    }
    row_markings(s, r, g, depth);
    if (s->cross_z < 200) row_crossing(s, r, g, depth);
}

static struct surface surface_any(struct scene *s) {
    struct rng *r = &s->rng;
    float grey = (float)rng_between(r, 74, 122);
    struct rgb walks[] = {{150, 146, 140}, {168, 160, 150}, {136, 130, 128}, {164, 138, 122}};
    struct rgb verges[] = {{92, 116, 62}, {110, 122, 74}, {138, 128, 96}, {72, 102, 58}};
    struct surface g = {rgb_of(grey, grey, grey * 1.03f), rgb_any(r, walks, 4, 5), rgb_of(178, 176, 170),
                        rgb_any(r, verges, 4, 6), rgb_of(226, 226, 222), rgb_of(226, 226, 222),
                        (float)rng_between(r, 0.45, 0.95), (float)rng_between(r, 2, 4), 0, rng_int(r, 0, 2)};
    if (s->place == PLACE_CITY && rng_uniform(r) < 0.7) g.verge = rgb_scale(g.walk, 0.92f);
    if (rng_uniform(r) < 0.4) g.middle = rgb_of(222, 180, 60);
    g.dash_period = g.dash_on * (float)rng_between(r, 2, 3);
    return g;
}

static void draw_ground(struct scene *s) {
    struct rgb *line = s->line;
    struct surface g = surface_any(s);
    int w = s->cv.px.w, h = s->cv.px.h, first = (int)floorf(s->horizon) + 1;
    float shadow_side = s->hour == HOUR_DAY && s->place != PLACE_COUNTRY ? -s->sun : 0;
    for (int y = first > 0 ? first : 0; y < h; ++y) {
        float z = s->focal * s->camera / ((float)y + 1 - s->horizon), k = s->focal / z;
        float beyond = fmaxf((float)y - s->horizon, 0.2f), depth = s->focal * s->camera / beyond - z;
        struct row row = {line, w, z, k, s->cx + s->bend * z * z * k};
        row_layers(s, &row, &g, fminf(depth, 400));
        if (fabsf(shadow_side) > 0.3f) { /* buildings on the sunny side darken that half of the road */
            float house = floorf(z / 9), block = house + smooth(0.85f, 1, z / 9 - house); /* stepped */
            float deep = 1.5f + 5.5f * lattice_noise(s->noise + 40, block, 0.5f) * fabsf(shadow_side);
            if (shadow_side < 0)
                row_span(&row, s->road_right - deep + 1, 300, rgb_of(10, 12, 22), 0.42f);
            else
                row_span(&row, -300, s->road_left + deep - 1, rgb_of(10, 12, 22), 0.42f);
        }
        float coarse = 0.16f / (1 + 0.05f * z), fine = 0.22f / (1 + 9 / k + 0.1f * z),
              haze = expf(-z / s->fog_length);
        struct noise_row patches = noise_row(s->noise + 20, z * 0.35f),
                         grain = noise_row(s->noise + 21, z * 9);
        for (int x = 0; x < w; ++x) {
            float gx = ((float)x + 0.5f - row.origin) / k;
            float n =
                coarse * (noise_at(&patches, gx * 0.8f) - 0.5f) + fine * (noise_at(&grain, gx * 9) - 0.5f);
            struct rgb light = s->hour == HOUR_NIGHT ? scene_light(s, gx, z) : s->ambient;
            struct rgb c = rgb_scale(line[x], 1 + n);
            c = rgb_of(c.r * light.r, c.g * light.g, c.b * light.b);
            put(s, x, y, rgb_mix(s->fog, c, haze));
        }
    }
}

struct house { float x, z0, z1, depth, height; struct rgb wall, trim; int floors, bays; float lit; };

static void windows(struct scene *s, struct rng *r, const struct face *f, const struct house *b, int bays,
                    float z) {
    float wide = (float)rng_between(r, 0.45, 0.75) / (float)bays, tall = 0.55f / (float)b->floors;
    struct rgb pane = s->hour == HOUR_NIGHT ? rgb_of(34, 38, 50) : rgb_of(70, 84, 100);
    if (scene_scale(s, z) * 1.2f < 1.0f) return; /* too far to be seen */
    for (int j = 0; j < b->floors; ++j)
        for (int i = 0; i < bays; ++i) {
            float u = ((float)i + 0.5f) / (float)bays - wide / 2, v = ((float)j + 0.28f) / (float)b->floors;
            bool lit = rng_uniform(r) < (double)b->lit;
            struct rgb c = lit ? rgb_mix(rgb_of(250, 214, 140), rgb_of(220, 224, 236), (float)rng_uniform(r))
                               : scene_lit(s, rgb_scale(pane, (float)rng_between(r, 0.7, 1.4)), b->x, z);
            if (lit) c = rgb_scale(c, (float)rng_between(r, 0.55, 1.0));
            face_patch(s, f, u, v, u + wide, v + tall, c, 1);
        }
}

static void draw_house(struct scene *s, struct rng *r, const struct house *b) {
    float side = b->x < 0 ? -1.0f : 1.0f, middle = (b->z0 + b->z1) / 2;
    struct pose pose = {b->x + side * b->depth / 2, middle, 0};
    struct block body = {b->z0 - middle, b->z1 - middle, -b->depth / 2, b->depth / 2, 0, b->height, 0, 0, 0};
    struct face face[FACE_COUNT];
    block_faces(&pose, &body, face);
    enum block_face street = side < 0 ? FACE_RIGHT : FACE_LEFT;
    for (int k = 0; k < 2; ++k) {
        enum block_face which = k ? FACE_REAR : street;
        const struct face *f = &face[which];
        if (!face_visible(s, f)) continue;
        float z = which == FACE_REAR ? b->z0 : b->z0 * 0.6f + b->z1 * 0.4f;
        struct rgb wall = scene_lit(s, rgb_scale(b->wall, face_shade(s, which, 0)), b->x, z);
        scene_fill3(s, (const float(*)[3])f->p, 4, wall, 1);
        face_patch(s, f, 0, 0.96f, 1, 1, scene_lit(s, b->trim, b->x, z), 1);
        face_patch(s, f, 0, 0, 1, 0.75f / (float)b->floors, scene_lit(s, rgb_scale(b->trim, 0.7f), b->x, z),
                   0.5f);
        windows(s, r, f, b, which == FACE_REAR ? 3 : b->bays, z);
    }
}

static void house_row(struct scene *s, struct rng *r, float side) {
    static const struct rgb walls[] = {{176, 150, 126}, {150, 84, 66},   {198, 190, 176}, {134, 136, 142},
                                       {206, 180, 134}, {112, 100, 96},  {170, 176, 182}, {190, 140, 112}};
    struct house list[24];
    int n = 0;
    bool town = s->place == PLACE_CITY;
    float edge = (side < 0 ? -s->road_left : s->road_right) + s->walk;
    for (float z = (float)rng_between(r, -6, 2); z < 170 && n < 24;) {
        float length = (float)rng_between(r, 7, town ? 24 : 14),
              gap = (float)rng_between(r, 0, town ? 3 : 14);
        struct house b = {.z0 = fmaxf(z, 1.2f), .z1 = z + length, .depth = (float)rng_between(r, 8, 16)};
        b.wall = rgb_any(r, walls, 8, 6);
        b.floors = rng_int(r, town ? 3 : 1, town ? 9 : 3);
        float back = town ? (float)rng_between(r, 0.3, 2.5) : (float)rng_between(r, 3, 9);
        b.x = side * (edge + back);
        b.height = (float)b.floors * (float)rng_between(r, 2.8, 3.4) + 0.8f;
        b.trim = rgb_scale(b.wall, (float)rng_between(r, 0.6, 1.2));
        b.bays = 1 + (int)(length / 3.2f);
        b.lit = s->hour == HOUR_NIGHT ? 0.34f : s->hour == HOUR_DUSK ? 0.2f : 0.02f;
        bool blocked = b.z1 > s->cross_z - 3 && b.z0 < s->cross_z + s->cross_w + 3;
        if (!blocked && b.z1 > 2.5f) list[n++] = b;
        z += length + gap;
        if (s->place == PLACE_COUNTRY) z += (float)rng_between(r, 20, 80);
    }
    while (n--) draw_house(s, r, &list[n]);
}

static void tree(struct scene *s, struct rng *r, float x, float z, bool bush) {
    static const struct rgb leaves[] = {
        {62, 92, 44}, {84, 112, 52}, {50, 78, 50}, {118, 118, 54}, {150, 104, 48}};
    struct figure f = figure_at(s, x, z);
    struct rgb leaf = rgb_any(r, leaves, bush ? 3 : 5, 6);
    float h = (float)(bush ? rng_between(r, 0.8, 1.6) : rng_between(r, 4.5, 9)),
          crown = h * (bush ? 0.5f : 0.30f);
    float base = bush ? 0.5f * h : h - crown;
    figure_shadow(&f, crown);
    if (!bush) figure_limb(&f, 0, 0, (float)rng_between(r, -0.2, 0.2), base, 0.05f * h, rgb_of(84, 66, 50));
    for (int i = 0; i < 30; ++i) { /* dark large clumps first, light small ones on top */
        float late = (float)i / 30, a = (float)rng_between(r, 0, 6.28),
              d = (float)rng_between(r, 0, 0.65 + 0.25 * late);
        float up = sinf(a) * d * crown, size = (float)rng_between(r, 0.5, 0.75) * (1 - 0.75f * late);
        struct rgb c = rgb_scale(leaf, 0.62f + 0.5f * late + 0.18f * up / crown);
        figure_disc(&f, cosf(a) * d * crown * 0.9f, base + up, size * crown, size * crown * 0.85f, c);
    }
}

static void street_lamp(struct scene *s, float x, float z) {
    struct figure f = figure_at(s, x, z);
    float reach = x > 0 ? -1.6f : 1.6f, top = 7.2f;
    struct rgb metal = rgb_of(92, 94, 98);
    figure_limb(&f, 0, 0, 0, top, 0.14f, metal);
    figure_limb(&f, 0, top, reach, top + 0.25f, 0.09f, metal);
    figure_rect(&f, reach - 0.4f, top + 0.18f, reach + 0.4f, top + 0.34f, metal);
    if (!scene_is_dark(s)) return;
    float px = f.px + reach * f.scale, py = f.py - (top + 0.15f) * f.scale;
    figure_rect(&f, reach - 0.35f, top + 0.1f, reach + 0.35f, top + 0.2f, rgb_of(255, 255, 255));
    canvas_glow(&s->cv, px, py, 0.6f * f.scale + 1, rgb_of(255, 230, 180), 0.9f);
    canvas_glow(&s->cv, px, py, 2.6f * f.scale + 2, rgb_of(255, 190, 110), 0.35f);
}

static void road_sign(struct figure *f, struct rng *r) {
    static const struct rgb plain[] = {{36, 84, 170}, {40, 130, 80}, {220, 170, 40}, {226, 226, 224}};
    float y = (float)rng_between(r, 2.0, 2.7), q = 0.32f;
    figure_limb(f, 0, 0, 0, y, 0.07f, rgb_of(120, 122, 126));
    switch (rng_int(r, 0, 3)) {
    case 0:
        figure_disc(f, 0, y, q, q, rgb_of(196, 30, 34));
        figure_disc(f, 0, y, q * 0.72f, q * 0.72f, rgb_of(230, 230, 228));
        break;
    case 1: {
        const float outer[] = {-q * 1.15f, y - q * 0.8f, q * 1.15f, y - q * 0.8f, 0, y + q * 1.15f};
        const float inner[] = {-q * 0.7f, y - q * 0.5f, q * 0.7f, y - q * 0.5f, 0, y + q * 0.7f};
        figure_polygon(f, outer, 3, rgb_of(196, 30, 34));
        figure_polygon(f, inner, 3, rgb_of(230, 230, 226));
        break;
    }
    case 2: figure_disc(f, 0, y, q, q, rgb_any(r, plain, 2, 6)); break;
    default: figure_rect(f, -q * 1.6f, y - q, q * 1.6f, y + q, rgb_any(r, plain, 4, 6)); break;
    }
}

static void bin(struct figure *f, struct rng *r) {
    static const struct rgb paints[] = {{44, 92, 60}, {60, 62, 66}, {120, 90, 50}, {40, 70, 120}};
    struct rgb c = rgb_any(r, paints, 4, 8);
    float h = (float)rng_between(r, 0.9, 1.3), w = 0.32f;
    const float body[] = {-w * 0.85f, 0, w * 0.85f, 0, w, h, -w, h};
    figure_shadow(f, 0.4f);
    figure_polygon(f, body, 4, c);
    figure_rect(f, -w * 1.1f, h, w * 1.1f, h + 0.1f, rgb_scale(c, 0.7f));
}

static void board(struct scene *s, struct rng *r, float x, float z) {
    struct figure f = figure_at(s, x, z);
    static const struct rgb inks[] = {
        {210, 60, 50}, {50, 110, 180}, {230, 200, 80}, {90, 160, 100}, {230, 230, 230}};
    float w = (float)rng_between(r, 0.6, 1.5), y = (float)rng_between(r, 0.4, 2.5),
          h = (float)rng_between(r, 1.0, 1.9);
    figure_limb(&f, -w * 0.8f, 0, -w * 0.8f, y, 0.1f, rgb_of(70, 72, 76));
    figure_limb(&f, w * 0.8f, 0, w * 0.8f, y, 0.1f, rgb_of(70, 72, 76));
    figure_rect(&f, -w - 0.08f, y - 0.08f, w + 0.08f, y + h + 0.08f, rgb_of(60, 62, 66));
    figure_rect(&f, -w, y, w, y + h, rgb_any(r, inks, 5, 10));
    for (int i = 0; i < 3; ++i) {
        float at = y + h * (0.15f + 0.25f * (float)i);
        float end = w * (float)rng_between(r, -0.2, 0.8);
        figure_rect(&f, -w * 0.8f, at, end, at + h * 0.13f, rgb_any(r, inks, 5, 10));
    }
}

void prop_draw(struct scene *s, struct rng *r, enum prop kind, float x, float z) {
    struct figure f = figure_at(s, x, z);
    switch (kind) {
    case PROP_TREE: tree(s, r, x, z, false); break;
    case PROP_BUSH: tree(s, r, x, z, true); break;
    case PROP_LAMP: street_lamp(s, x, z); break;
    case PROP_SIGN: road_sign(&f, r); break;
    case PROP_BIN: bin(&f, r); break;
    case PROP_BOARD: board(s, r, x, z); break;
    case PROP_BOLLARD:
        figure_limb(&f, 0, 0, 0, 0.95f, 0.16f, rgb_of(70, 72, 76));
        figure_limb(&f, 0, 0.7f, 0, 0.85f, 0.17f, rgb_of(220, 220, 216));
        break;
    case PROP_CONE: {
        const float cone[] = {-0.2f, 0.05f, 0.2f, 0.05f, 0.04f, 0.75f, -0.04f, 0.75f};
        const float band[] = {-0.14f, 0.28f, 0.14f, 0.28f, 0.1f, 0.46f, -0.1f, 0.46f};
        figure_rect(&f, -0.28f, 0, 0.28f, 0.06f, rgb_of(210, 80, 30));
        figure_polygon(&f, cone, 4, rgb_of(232, 92, 34));
        figure_polygon(&f, band, 4, rgb_of(235, 235, 232));
        break;
    }
    case PROP_COUNT: break;
    }
}

void world_draw(struct scene *s) {
    canvas_begin(&s->cv, 0);
    draw_sky(s);
    draw_hills(s);
    draw_ground(s);
    house_row(s, &s->rng, -1);
    house_row(s, &s->rng, 1);
}
