/* Pedestrians, cyclists and traffic lights of the scene generator: flat figures facing the camera. */
#include <math.h>

#include "data/synth_scene.h"

static const struct rgb skins[] = {
    {236, 196, 168}, {214, 166, 132}, {168, 116, 84}, {110, 74, 54}, {244, 210, 186}};
static const struct rgb hairs[] = {{28, 24, 22}, {70, 46, 30}, {150, 112, 64}, {120, 120, 122}, {44, 34, 30}};
static const struct rgb tops[] = {{186, 40, 44},  {36, 70, 150}, {226, 226, 222}, {40, 42, 48},
                                  {226, 186, 50}, {52, 120, 76}, {150, 84, 130},  {120, 126, 134},
                                  {220, 120, 50}, {96, 150, 190}};
static const struct rgb bottoms[] = {
    {40, 52, 84}, {34, 34, 38}, {96, 88, 76}, {70, 80, 104}, {150, 140, 120}};

struct look { struct rgb skin, hair, top, bottom, shoe; };

static struct look look_any(struct rng *r) {
    return (struct look){rgb_any(r, skins, 5, 4), rgb_any(r, hairs, 5, 4), rgb_any(r, tops, 10, 12),
                         rgb_any(r, bottoms, 5, 8), rgb_of(30, 28, 28)};
}

struct gait { float swing, lean, spread, turn; }; /* turn 0: seen from the side, 1: from front or back */

static void legs(struct figure *f, const struct look *look, struct gait g, float h, bool skirt) {
    struct rgb leg = skirt ? look->skin : look->bottom;
    for (int k = 1; k >= -1; k -= 2) { /* the far leg first, a little darker */
        float side = (float)k, hip = side * g.spread * h * 0.5f;
        float knee_x = hip + side * g.swing * h * 0.10f + fabsf(g.swing) * h * 0.03f;
        float foot_x = hip + side * g.swing * h * 0.19f, lift = k > 0 ? g.swing * 0.04f * h : 0;
        struct rgb c = rgb_scale(leg, k > 0 ? 0.8f : 1.0f);
        figure_limb(f, hip, 0.50f * h, knee_x, 0.27f * h, 0.088f * h, c);
        figure_limb(f, knee_x, 0.28f * h, foot_x, 0.03f * h + lift, 0.068f * h, c);
        figure_limb(f, foot_x - 0.01f * h, 0.018f * h + lift, foot_x + (0.07f - 0.03f * g.turn) * h,
                    0.018f * h + lift, 0.036f * h, look->shoe);
    }
}

static void arm(struct figure *f, const struct look *look, struct gait g, float h, float side) {
    float width = (0.085f + 0.055f * g.turn) * h, shoulder = side * width;
    float elbow = shoulder * 1.12f - side * g.swing * 0.08f * h,
          hand = elbow - side * g.swing * 0.07f * h + 0.015f * h;
    struct rgb c = rgb_scale(look->top, side > 0 ? 0.78f : 0.92f);
    figure_limb(f, shoulder, 0.80f * h, elbow, 0.63f * h, 0.062f * h, c);
    figure_limb(f, elbow, 0.635f * h, hand, 0.50f * h, 0.05f * h, c);
    figure_disc(f, hand, 0.485f * h, 0.024f * h, 0.028f * h, look->skin);
}

static void head(struct figure *f, const struct look *look, float x, float y, float h, bool away) {
    figure_rect(f, x - 0.025f * h, y - 0.09f * h, x + 0.025f * h, y, look->skin);
    figure_disc(f, x, y, 0.052f * h, 0.068f * h, look->hair);
    if (!away) figure_disc(f, x + 0.008f * h, y - 0.014f * h, 0.043f * h, 0.052f * h, look->skin);
}

void pedestrian_draw(struct scene *s, struct rng *r, float x, float z) {
    struct figure f = figure_at(s, x, z);
    float h = (float)(rng_uniform(r) < 0.15 ? rng_between(r, 1.15, 1.45) : rng_between(r, 1.55, 1.92));
    struct look look = look_any(r);
    struct gait g = {(float)rng_between(r, 0, 1), (float)rng_between(r, -0.02, 0.03) * h, 0.06f,
                     rng_uniform(r) < 0.5 ? 1.0f : (float)rng_between(r, 0, 0.4)};
    if (rng_uniform(r) < 0.2) g.swing *= 0.1f; /* standing */
    if (g.turn > 0.5f) {
        g.swing *= 0.35f;
        g.spread = 0.11f;
    }
    bool skirt = rng_uniform(r) < 0.18, coat = rng_uniform(r) < 0.3, away = rng_uniform(r) < 0.45;
    bool pack = rng_uniform(r) < 0.25;
    float mirror = rng_uniform(r) < 0.5 ? -1.0f : 1.0f;
    figure_shadow(&f, 0.45f);
    legs(&f, &look, g, h, skirt);
    arm(&f, &look, g, h, 1);
    if (pack && g.turn < 0.5f)
        figure_disc(&f, -0.11f * h, 0.70f * h, 0.07f * h, 0.12f * h, rgb_scale(look.bottom, 0.8f));
    float top = (0.085f + 0.05f * g.turn) * h, waist = (0.07f + 0.03f * g.turn) * h,
          low = coat ? 0.36f : 0.47f;
    float flare = coat ? 1.25f : 1.05f, l = g.lean;
    const float torso[] = {-waist * flare, low * h,       -waist, 0.58f * h,      -top + l, 0.78f * h,
                           -top * 0.6f + l, 0.835f * h,   top * 0.6f + l, 0.835f * h, top + l, 0.78f * h,
                           waist, 0.58f * h,              waist * flare, low * h};
    figure_polygon(&f, torso, 8, look.top);
    const float fold[] = {0.2f * waist * mirror, low * h, 0.25f * top * mirror + l, 0.82f * h,
                          top * mirror + l, 0.78f * h, waist * flare * mirror, low * h};
    figure_polygon(&f, fold, 4, rgb_scale(look.top, 0.8f)); /* the side in shade */
    if (skirt) {
        const float cloth[] = {-waist,       0.52f * h, waist,         0.52f * h,
                               waist * 1.7f, 0.30f * h, -waist * 1.7f, 0.30f * h};
        figure_polygon(&f, cloth, 4, look.bottom);
    }
    if (pack && g.turn > 0.5f && away)
        figure_rect(&f, -0.08f * h, 0.56f * h, 0.08f * h, 0.79f * h, rgb_scale(look.bottom, 0.85f));
    arm(&f, &look, g, h, -1);
    head(&f, &look, g.lean * 1.4f, 0.925f * h, h, away);
}

static void bicycle(struct figure *f, float turn, float m, struct rgb frame) {
    float base = 0.53f * turn * m, wheel = 0.34f, flat = wheel * fmaxf(turn, 0.12f);
    struct rgb tyre = rgb_of(26, 26, 28), metal = rgb_of(150, 152, 156);
    for (int k = -1; k <= 1; k += 2) {
        figure_ring(f, (float)k * base, wheel, flat, wheel, 0.055f, tyre);
        figure_disc(f, (float)k * base, wheel, 0.04f * fmaxf(turn, 0.3f), 0.04f, metal);
        if (turn > 0.5f)
            for (int i = 0; i < 3; ++i) {
                float angle = 0.5f + 1.047f * (float)i, dx = flat * 0.85f * cosf(angle),
                      dy = wheel * 0.85f * sinf(angle);
                figure_limb(f, (float)k * base - dx, wheel - dy, (float)k * base + dx, wheel + dy, 0.008f,
                            metal);
            }
    }
    float seat = -0.16f * turn * m, crank = -0.05f * turn * m, bar = 0.40f * turn * m;
    figure_limb(f, -base, wheel, crank, 0.29f, 0.035f, frame);
    figure_limb(f, crank, 0.29f, seat, 0.88f, 0.04f, frame);
    figure_limb(f, -base, wheel, seat * 0.95f, 0.78f, 0.03f, frame);
    figure_limb(f, crank, 0.29f, bar, 0.80f, 0.045f, frame);
    figure_limb(f, seat * 0.95f, 0.80f, bar, 0.86f, 0.04f, frame);
    figure_limb(f, base, wheel, bar, 0.98f, 0.04f, frame);
    figure_limb(f, seat - 0.12f * turn, 0.91f, seat + 0.12f * turn, 0.91f, 0.06f, tyre);
    float grip = 0.27f * (1 - turn) + 0.05f;
    figure_limb(f, bar - grip, 1.0f, bar + grip, 1.0f, 0.035f, tyre);
}

static void rider_legs(struct figure *f, const struct look *look, float turn, float m, float phase) {
    float crank = -0.05f * turn * m, hip_x = -0.16f * turn * m;
    for (int k = 0; k < 2; ++k) {
        float angle = phase + 3.14159f * (float)k, wide = (k ? 0.10f : -0.10f) * (1 - turn);
        float foot_x = crank + 0.16f * cosf(angle) * turn * m + wide, foot_y = 0.29f + 0.16f * sinf(angle);
        float knee_x = (hip_x + foot_x) / 2 + 0.19f * turn * m + wide * 0.8f,
              knee_y = (0.95f + foot_y) / 2 + 0.07f;
        struct rgb c = rgb_scale(look->bottom, k ? 1.0f : 0.78f);
        figure_limb(f, hip_x + wide * 0.6f, 0.97f, knee_x, knee_y, 0.15f, c);
        figure_limb(f, knee_x, knee_y, foot_x, foot_y + 0.03f, 0.11f, c);
        figure_limb(f, foot_x - 0.05f, foot_y, foot_x + 0.10f * turn * m + 0.03f, foot_y, 0.07f, look->shoe);
    }
}

void cyclist_draw(struct scene *s, struct rng *r, float x, float z, float side) {
    static const struct rgb frames[] = {
        {190, 36, 36}, {30, 30, 34}, {40, 90, 170}, {220, 220, 220}, {40, 140, 90}};
    struct figure f = figure_at(s, x, z);
    float turn = side > 0.5f ? (float)rng_between(r, 0.8, 1.0) : (float)rng_between(r, 0.1, 0.35);
    float m = rng_uniform(r) < 0.5 ? -1.0f : 1.0f; /* heading right or left */
    struct look look = look_any(r);
    struct rgb frame = rgb_any(r, frames, 5, 8), helmet = rgb_any(r, tops, 10, 10);
    bool away = rng_uniform(r) < 0.6;
    figure_shadow(&f, 0.3f + 0.5f * turn);
    bicycle(&f, turn, m, frame);
    rider_legs(&f, &look, turn, m, (float)rng_between(r, 0, 6.28));
    float hip = -0.16f * turn * m, reach = 0.26f * turn * m, bar = 0.40f * turn * m,
          wide = 0.21f - 0.09f * turn;
    float top = (float)rng_between(r, 1.38, 1.50);
    const float torso[] = {hip - 0.12f, 0.90f, hip + 0.12f, 0.90f, hip + reach + wide, top - 0.06f,
                           hip + reach + wide * 0.5f, top, hip + reach - wide * 0.5f, top + 0.01f,
                           hip + reach - wide, top - 0.08f};
    figure_polygon(&f, torso, 6, look.top);
    for (int k = -1; k <= 1; k += 2) {
        float grip = (float)k * (0.25f * (1 - turn)),
              from = hip + reach + (float)k * wide * 0.85f * (1 - turn * 0.6f);
        struct rgb c = rgb_scale(look.top, k < 0 ? 0.75f : 0.9f);
        figure_limb(&f, from, top - 0.06f, (from + bar + grip) / 2 - 0.02f * m, 1.18f, 0.095f, c);
        figure_limb(&f, (from + bar + grip) / 2 - 0.02f * m, 1.18f, bar + grip, 1.02f, 0.075f, look.skin);
    }
    float hx = hip + reach * 1.3f, hy = top + 0.16f;
    head(&f, &look, hx, hy, 1.72f, away && turn < 0.5f);
    if (rng_uniform(r) < 0.75) {
        const float shell[] = {hx - 0.12f, hy + 0.02f, hx - 0.10f, hy + 0.10f, hx, hy + 0.15f,
                               hx + 0.10f, hy + 0.10f, hx + 0.12f, hy + 0.02f};
        figure_polygon(&f, shell, 5, helmet);
    }
    if (!scene_is_dark(s) || turn > 0.5f) return;
    canvas_glow(&s->cv, f.px, f.py - 0.8f * f.scale, 0.25f * f.scale + 1.5f,
                away ? rgb_of(255, 40, 30) : rgb_of(255, 245, 220), 0.8f);
}

static void signal_pole(struct figure *f, float head_y, bool overhead, float arm) {
    struct rgb metal = rgb_of(88, 92, 96);
    if (!overhead) {
        figure_limb(f, 0, 0, 0, head_y, 0.11f, metal);
        return;
    }
    figure_limb(f, arm, 0, arm, head_y + 0.75f, 0.18f, metal);
    figure_limb(f, arm, head_y + 0.7f, 0, head_y + 0.7f, 0.11f, metal);
    figure_limb(f, 0, head_y + 0.7f, 0, head_y + 0.4f, 0.06f, metal);
}

/* The head is the object; pole and arm are scenery. */
void signal_draw(struct scene *s, struct rng *r, int object, float x, float z, bool overhead) {
    static const struct rgb bodies[] = {{26, 28, 28}, {34, 46, 38}, {40, 42, 44}, {206, 160, 40}};
    static const struct rgb lit[3] = {{255, 46, 36}, {255, 190, 40}, {50, 240, 130}};
    static const struct rgb dim[3] = {{70, 16, 14}, {74, 54, 14}, {12, 58, 36}};
    struct figure f = figure_at(s, x, z);
    struct rgb body = rgb_any(r, bodies, 4, 4);
    float size = (float)rng_between(r, 1.15, 1.4), tall = 1.0f * size, wide = 0.38f * size;
    float y = overhead ? (float)rng_between(r, 4.9, 5.6) : (float)rng_between(r, 2.3, 3.1);
    canvas_begin(&s->cv, 0);
    signal_pole(&f, y, overhead, x > 0 ? s->road_right + 1.0f - x : s->road_left - 1.0f - x);
    canvas_begin(&s->cv, object);
    if (rng_uniform(r) < 0.35) {
        float m = 0.13f * size;
        figure_rect(&f, -wide / 2 - m, y - tall / 2 - m, wide / 2 + m, y + tall / 2 + m,
                    rgb_of(225, 225, 220));
        m *= 0.75f;
        figure_rect(&f, -wide / 2 - m, y - tall / 2 - m, wide / 2 + m, y + tall / 2 + m, rgb_of(22, 22, 24));
    }
    figure_rect(&f, -wide / 2, y - tall / 2, wide / 2, y + tall / 2, body);
    figure_rect(&f, wide * 0.30f, y - tall / 2, wide / 2, y + tall / 2, rgb_scale(body, 0.75f));
    double pick = rng_uniform(r);
    int on = pick < 0.42 ? 0 : pick < 0.55 ? 1 : 2;
    float px = f.px, radius = 0.125f * size;
    for (int i = 0; i < 3; ++i) {
        float cy = y + (1 - (float)i) * 0.31f * size;
        figure_disc(&f, 0, cy, radius * 1.15f, radius * 1.15f, rgb_of(14, 14, 15));
        if (i != on) {
            figure_disc(&f, 0, cy, radius, radius, dim[i]);
            continue;
        }
        float xy[32], rad = fmaxf(radius * f.scale, 0.8f), py = f.py - cy * f.scale;
        for (int k = 0; k < 16; ++k) {
            xy[2 * k] = px + rad * cosf(0.3927f * (float)k);
            xy[2 * k + 1] = py + rad * sinf(0.3927f * (float)k);
        }
        canvas_fill(&s->cv, xy, 16, lit[i], 1);
        canvas_glow(&s->cv, px, py, rad * 0.9f, rgb_of(160, 160, 120), 0.8f);
        canvas_glow(&s->cv, px, py, rad * (scene_is_dark(s) ? 4.5f : 2.2f), lit[i],
                    scene_is_dark(s) ? 0.6f : 0.3f);
    }
}
