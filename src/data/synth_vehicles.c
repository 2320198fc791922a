/* Cars and trucks of the scene generator: tapered boxes in space with windows, wheels, lights and plates. */
#include <math.h>

#include "data/synth_scene.h"

enum { WHITE_LIGHT, RED_LIGHT };

struct view { struct scene *s; struct rng *r; struct pose pose; bool lights_on; };

struct vehicle vehicle_size(enum synth_class kind, struct rng *r) {
    if (kind == SYNTH_CAR)
        return (struct vehicle){(float)rng_between(r, 3.7, 4.9), (float)rng_between(r, 1.70, 1.95),
                                (float)rng_between(r, 1.38, 1.75)};
    return (struct vehicle){(float)rng_between(r, 6.0, 10.0), (float)rng_between(r, 2.3, 2.6),
                            (float)rng_between(r, 3.0, 3.9)};
}

static struct rgb at_pose(const struct view *v, struct rgb c) {
    return scene_lit(v->s, c, v->pose.x, v->pose.z);
}

static void shadow(const struct view *v, struct vehicle size) {
    struct block ground = {-size.length / 2 - 0.15f, size.length / 2 + 0.15f, -size.width / 2 - 0.2f,
                           size.width / 2 + 0.2f, 0, 0.01f, 0, 0, 0};
    struct face face[FACE_COUNT];
    float lean = v->s->hour == HOUR_DAY ? -v->s->sun * 0.5f : 0;
    struct pose pose = v->pose;
    pose.x += lean;
    block_faces(&pose, &ground, face);
    scene_fill3(v->s, (const float(*)[3])face[FACE_TOP].p, 4, rgb_of(8, 8, 12), 0.39f);
}

/* A plain box, each visible side in its own shade; faces are handed back for details. */
static void solid(const struct view *v, const struct block *b, struct rgb c, struct face face[FACE_COUNT]) {
    block_faces(&v->pose, b, face);
    for (int k = 0; k < FACE_COUNT; ++k) {
        if (!face_visible(v->s, &face[k])) continue;
        struct rgb shade = at_pose(v, rgb_scale(c, face_shade(v->s, (enum block_face)k, v->pose.yaw)));
        scene_fill3(v->s, (const float(*)[3])face[k].p, 4, shade, 1);
    }
}

static void lamp(const struct view *v, const struct face *f, float u0, float v0, float u1, float v1,
                 int kind) {
    struct rgb off = kind == RED_LIGHT ? rgb_of(150, 22, 24) : rgb_of(205, 210, 215);
    struct rgb on = kind == RED_LIGHT ? rgb_of(255, 56, 48) : rgb_of(255, 250, 232);
    face_patch(v->s, f, u0, v0, u1, v1, v->lights_on ? on : at_pose(v, off), 1);
    if (!v->lights_on) return;
    float centre[3], xy[2];
    face_point(f, (u0 + u1) / 2, (v0 + v1) / 2, centre);
    scene_project(v->s, centre, xy);
    float k = scene_scale(v->s, centre[2]), dark = v->s->hour == HOUR_NIGHT ? 1 : 0.5f;
    if (kind == RED_LIGHT)
        canvas_glow(&v->s->cv, xy[0], xy[1], 0.45f * k + 1.5f, rgb_of(200, 30, 24), 0.7f * dark);
    else
        canvas_glow(&v->s->cv, xy[0], xy[1], 0.9f * k + 2.5f, rgb_of(255, 240, 210), 1.0f * dark);
}

static void wheel_blocks(const struct view *v, const float *at, int axles, float radius, float width) {
    for (int i = 0; i < axles; ++i)
        for (int side = -1; side <= 1; side += 2) {
            float outer = (float)side * (width / 2 - 0.03f), inner = (float)side * (width / 2 - 0.25f);
            struct block b = {at[i] - radius * 0.8f, at[i] + radius * 0.8f, fminf(outer, inner),
                              fmaxf(outer, inner), 0, radius * 1.7f, 0.04f, 0.04f, 0};
            struct face face[FACE_COUNT];
            solid(v, &b, rgb_of(24, 24, 26), face);
        }
}

/* Tyres with hubs on the long sides that are seen. */
static void wheel_discs(const struct view *v, const float *at, int axles, float radius, struct vehicle size,
                        struct rgb hub) {
    struct block hull = {-size.length / 2, size.length / 2, -size.width / 2 - 0.01f, size.width / 2 + 0.01f,
                         0, size.height, 0, 0, 0};
    struct face face[FACE_COUNT];
    block_faces(&v->pose, &hull, face);
    for (int k = FACE_LEFT; k <= FACE_RIGHT; ++k) {
        if (!face_visible(v->s, &face[k])) continue;
        for (int i = 0; i < axles; ++i) {
            float along = (k == FACE_RIGHT ? at[i] : -at[i]) / size.length + 0.5f;
            float ru = radius / size.length, rv = radius / size.height;
            face_disc(v->s, &face[k], along, rv, ru, rv, at_pose(v, rgb_of(22, 22, 24)));
            face_disc(v->s, &face[k], along, rv, ru * 0.6f, rv * 0.6f, at_pose(v, hub));
        }
    }
}

static struct rgb glass(const struct view *v, float tint) {
    struct rgb sky = v->s->hour == HOUR_NIGHT ? rgb_of(60, 66, 84) : rgb_of(142, 160, 176);
    return at_pose(v, rgb_mix(rgb_of(26, 32, 40), sky, tint));
}

static void car_ends(const struct view *v, const struct face face[FACE_COUNT], float height_of_lights) {
    struct rgb dark = at_pose(v, rgb_of(30, 30, 33)), plate = at_pose(v, rgb_of(228, 226, 208));
    float t = height_of_lights;
    if (face_visible(v->s, &face[FACE_REAR])) {
        const struct face *f = &face[FACE_REAR];
        face_patch(v->s, f, 0.02f, 0, 0.98f, 0.2f, dark, 1);
        face_patch(v->s, f, 0.36f, 0.36f, 0.64f, 0.56f, plate, 1);
        lamp(v, f, 0.02f, t, 0.19f, t + 0.26f, RED_LIGHT);
        lamp(v, f, 0.81f, t, 0.98f, t + 0.26f, RED_LIGHT);
    }
    if (face_visible(v->s, &face[FACE_FRONT])) {
        const struct face *f = &face[FACE_FRONT];
        face_patch(v->s, f, 0.05f, 0.02f, 0.95f, 0.24f, dark, 1);
        face_patch(v->s, f, 0.27f, 0.42f, 0.73f, 0.76f, dark, 1);
        face_patch(v->s, f, 0.38f, 0.22f, 0.62f, 0.38f, plate, 1);
        lamp(v, f, 0.03f, t - 0.02f, 0.22f, t + 0.22f, WHITE_LIGHT);
        lamp(v, f, 0.78f, t - 0.02f, 0.97f, t + 0.22f, WHITE_LIGHT);
    }
}

static void car_windows(const struct view *v, const struct face face[FACE_COUNT]) {
    float tint = (float)rng_between(v->r, 0.05, 0.6);
    for (int k = 0; k < FACE_TOP; ++k) {
        const struct face *f = &face[k];
        if (!face_visible(v->s, f)) continue;
        struct rgb c = glass(v, k == FACE_FRONT ? fminf(1, tint + 0.15f) : tint * 0.8f);
        if (k == FACE_REAR || k == FACE_FRONT) {
            face_patch(v->s, f, 0.07f, 0.08f, 0.93f, 0.86f, c, 1);
            face_patch(v->s, f, 0.07f, 0.62f, 0.93f, 0.86f, rgb_of(220, 230, 240), 0.10f);
        } else {
            face_patch(v->s, f, 0.07f, 0.10f, 0.48f, 0.86f, c, 1);
            face_patch(v->s, f, 0.53f, 0.10f, 0.93f, 0.86f, c, 1);
        }
    }
}

static void car_draw(const struct view *v, struct vehicle size) {
    static const struct rgb paints[] = {{225, 225, 228}, {170, 174, 180}, {96, 100, 108}, {34, 35, 40},
                                        {168, 28, 32},   {36, 66, 140},   {30, 90, 66},   {196, 150, 40},
                                        {120, 70, 44},   {60, 120, 168},  {214, 206, 188}};
    struct rgb paint = rgb_any(v->r, paints, 11, 8);
    float half = size.length / 2, wide = size.width / 2,
          belt = size.height * (float)rng_between(v->r, 0.56, 0.63);
    float radius = (float)rng_between(v->r, 0.30, 0.36);
    const float axle[2] = {-size.length * 0.30f, size.length * 0.31f};
    bool sedan = rng_uniform(v->r) < 0.45;
    struct face face[FACE_COUNT];
    shadow(v, size);
    wheel_blocks(v, axle, 2, radius, size.width);
    struct block lower = {-half, half, -wide, wide, 0.20f, belt, 0.06f, 0.10f, 0.05f};
    solid(v, &lower, paint, face);
    for (int k = FACE_LEFT; k <= FACE_RIGHT; ++k) {
        if (!face_visible(v->s, &face[k])) continue;
        face_patch(v->s, &face[k], 0.03f, 0, 0.97f, 0.13f, at_pose(v, rgb_of(28, 28, 30)), 1);
        face_patch(v->s, &face[k], 0.52f, 0.15f, 0.53f, 0.95f, rgb_of(0, 0, 0), 0.3f);
        face_patch(v->s, &face[k], 0.10f, 0.70f, 0.90f, 0.74f, rgb_of(255, 255, 255), 0.12f);
    }
    car_ends(v, face, (float)rng_between(v->r, 0.52, 0.64));
    float tail = sedan ? half * 0.36f : half * 0.06f;
    struct block cabin = {-half + tail, half * 0.42f, -wide + 0.05f, wide - 0.05f, belt - 0.01f, size.height,
                          sedan ? 0.45f : 0.22f, 0.55f, 0.14f};
    solid(v, &cabin, paint, face);
    car_windows(v, face);
    wheel_discs(v, axle, 2, radius, (struct vehicle){size.length, size.width, size.height},
                rgb_of(150, 152, 156));
}

static void truck_cargo(const struct view *v, const struct block *b, struct rgb paint) {
    static const struct rgb inks[] = {
        {180, 34, 34}, {28, 70, 150}, {24, 110, 60}, {230, 160, 30}, {60, 60, 66}};
    struct face face[FACE_COUNT];
    solid(v, b, paint, face);
    struct rgb ink = at_pose(v, rgb_any(v->r, inks, 5, 10));
    bool logo = rng_uniform(v->r) < 0.6;
    float from = (float)rng_between(v->r, 0.15, 0.4), to = (float)rng_between(v->r, 0.55, 0.85);
    for (int k = FACE_LEFT; k <= FACE_RIGHT; ++k) {
        if (!face_visible(v->s, &face[k])) continue;
        if (logo) face_patch(v->s, &face[k], from, 0.3f, to, 0.72f, ink, 0.9f);
        for (int i = 1; i < 7; ++i)
            face_patch(v->s, &face[k], (float)i / 7, 0, (float)i / 7 + 0.008f, 1, rgb_of(0, 0, 0), 0.18f);
        face_patch(v->s, &face[k], 0, 0, 1, 0.05f, rgb_of(0, 0, 0), 0.38f);
    }
    if (!face_visible(v->s, &face[FACE_REAR])) return;
    const struct face *f = &face[FACE_REAR];
    face_patch(v->s, f, 0, 0, 1, 1, rgb_of(0, 0, 0), 0.12f);
    face_patch(v->s, f, 0.05f, 0.04f, 0.95f, 0.95f, at_pose(v, rgb_scale(paint, 0.84f)), 1);
    face_patch(v->s, f, 0.485f, 0.04f, 0.515f, 0.95f, at_pose(v, rgb_of(40, 40, 42)), 1);
    if (logo) face_patch(v->s, f, 0.14f, 0.56f, 0.86f, 0.78f, ink, 0.7f);
    for (int i = 0; i < 8; ++i) /* reflecting strips */
        face_patch(v->s, f, (float)i / 8, 0, (float)i / 8 + 0.125f, 0.045f,
                   at_pose(v, i % 2 ? rgb_of(235, 235, 230) : rgb_of(200, 30, 30)), 1);
}

static void truck_cab(const struct view *v, const struct block *b, struct rgb paint) {
    struct face face[FACE_COUNT];
    solid(v, b, paint, face);
    struct rgb dark = at_pose(v, rgb_of(30, 30, 33)), pane = glass(v, (float)rng_between(v->r, 0.1, 0.55));
    for (int k = FACE_LEFT; k <= FACE_RIGHT; ++k) {
        if (!face_visible(v->s, &face[k])) continue;
        float u0 = k == FACE_RIGHT ? 0.35f : 0.08f, u1 = k == FACE_RIGHT ? 0.92f : 0.65f;
        face_patch(v->s, &face[k], u0, 0.5f, u1, 0.86f, pane, 1);
        face_patch(v->s, &face[k], 0, 0, 1, 0.1f, dark, 1);
    }
    if (!face_visible(v->s, &face[FACE_FRONT])) return;
    const struct face *f = &face[FACE_FRONT];
    face_patch(v->s, f, 0.06f, 0.5f, 0.94f, 0.87f, pane, 1);
    face_patch(v->s, f, 0.18f, 0.17f, 0.82f, 0.42f, dark, 1);
    face_patch(v->s, f, 0.02f, 0, 0.98f, 0.14f, dark, 1);
    lamp(v, f, 0.03f, 0.15f, 0.16f, 0.27f, WHITE_LIGHT);
    lamp(v, f, 0.84f, 0.15f, 0.97f, 0.27f, WHITE_LIGHT);
}

static void truck_frame(const struct view *v, struct vehicle size) {
    struct block frame = {
        -size.length / 2, size.length / 2, -size.width * 0.42f, size.width * 0.42f, 0.45f, 1.0f, 0, 0, 0};
    struct face face[FACE_COUNT];
    solid(v, &frame, rgb_of(40, 41, 44), face);
    if (!face_visible(v->s, &face[FACE_REAR])) return;
    const struct face *f = &face[FACE_REAR];
    lamp(v, f, 0.0f, 0.35f, 0.17f, 0.8f, RED_LIGHT);
    lamp(v, f, 0.83f, 0.35f, 1.0f, 0.8f, RED_LIGHT);
    face_patch(v->s, f, 0.38f, 0.3f, 0.62f, 0.65f, at_pose(v, rgb_of(225, 224, 205)), 1);
}

static void truck_draw(const struct view *v, struct vehicle size) {
    static const struct rgb boxes[] = {{232, 232, 230}, {206, 208, 210}, {190, 60, 44}, {44, 92, 150},
                                       {226, 190, 70},  {70, 120, 84},   {150, 154, 160}};
    static const struct rgb cabs[] = {
        {226, 226, 226}, {180, 34, 34}, {36, 72, 150}, {230, 176, 40}, {60, 64, 70}};
    struct rgb box = rgb_any(v->r, boxes, 7, 6), cab_paint = rgb_any(v->r, cabs, 5, 6);
    float half = size.length / 2, wide = size.width / 2, radius = 0.48f;
    float cab_length = (float)rng_between(v->r, 1.7, 2.2),
          cab_height = fminf(size.height - 0.1f, (float)rng_between(v->r, 2.3, 2.9));
    const float axle[4] = {half - cab_length * 0.55f, -half + 1.2f, -half + 2.3f, -half + 3.4f};
    int axles = size.length > 8.4f ? 4 : size.length > 7 ? 3 : 2;
    struct block cargo = {-half, half - cab_length - 0.15f, -wide, wide, 0.95f, size.height, 0, 0, 0};
    struct block cab = {half - cab_length, half, -wide + 0.08f, wide - 0.08f, 0.5f, cab_height,
                        0, 0.18f, 0.04f};
    shadow(v, size);
    wheel_blocks(v, axle, axles, radius, size.width);
    truck_frame(v, size);
    if (cosf(v->pose.yaw) > 0) { /* the cab is the far end */
        truck_cab(v, &cab, cab_paint);
        truck_cargo(v, &cargo, box);
    } else {
        truck_cargo(v, &cargo, box);
        truck_cab(v, &cab, cab_paint);
    }
    wheel_discs(v, axle, axles, radius, size, rgb_of(120, 122, 126));
}

void vehicle_draw(struct scene *s, struct rng *r, enum synth_class kind, struct vehicle size,
                  struct pose pose) {
    struct view v = {s, r, pose, scene_is_dark(s) || rng_uniform(r) < 0.15};
    if (kind == SYNTH_CAR)
        car_draw(&v, size);
    else
        truck_draw(&v, size);
}
