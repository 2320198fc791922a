/* One scene: its place and hour, what stands where, drawing far to near, and the labels of what is seen. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/synth_scene.h"

enum { MAX_THINGS = 48, MAX_OBJECTS = 12 };

struct thing {
    float x, z, half_x, half_z;  /* place and footprint */
    int object;                  /* 1..: labelled, 0: a prop */
    int kind;                    /* enum synth_class or enum prop */
    struct vehicle size;
    float yaw;                   /* vehicles; cyclists: 1 across, 0 along */
    bool overhead;
    struct rng rng;
};

struct seen {
    int first, visible; /* pixels when drawn, pixels left at the end */
    float inside;       /* share of the drawn extent within the frame */
    int x0, y0, x1, y1; /* of the visible pixels */
};

struct plan { struct thing thing[MAX_THINGS]; int n, objects; struct seen seen[MAX_OBJECTS + 1]; };

static void choose_light(struct scene *s) {
    struct rng *r = &s->rng;
    double pick = rng_uniform(r);
    s->hour = pick < 0.42 ? HOUR_DAY : pick < 0.64 ? HOUR_OVERCAST : pick < 0.82 ? HOUR_DUSK : HOUR_NIGHT;
    float power = (float)rng_between(r, 0.85, 1.12);
    static const struct rgb ambient[] = {{1.0f, 0.98f, 0.93f}, {0.80f, 0.83f, 0.87f}, {0.66f, 0.57f, 0.56f},
                                         {0.17f, 0.19f, 0.27f}};
    static const struct rgb fog[] = {{184, 202, 220}, {190, 194, 198}, {196, 146, 120}, {26, 28, 38}};
    s->ambient = rgb_scale(ambient[s->hour], power);
    s->fog = fog[s->hour];
    s->fog_length =
        (float)rng_between(r, s->hour == HOUR_OVERCAST ? 90 : 200, s->hour == HOUR_OVERCAST ? 300 : 700);
    s->sun = (float)rng_between(r, -1, 1);
    s->lamp_z = (float)rng_between(r, 0, 25);
    s->lamp_step = (float)rng_between(r, 20, 32);
}

static void choose_camera(struct scene *s) {
    struct rng *r = &s->rng;
    float w = (float)s->cv.px.w, h = (float)s->cv.px.h;
    s->focal = w * (float)rng_between(r, 0.86, 1.15);
    s->cx = w * (float)rng_between(r, 0.42, 0.58);
    s->horizon = h * (float)rng_between(r, 0.38, 0.52);
    s->camera = (float)rng_between(r, 1.35, 2.5);
    s->bend = rng_uniform(r) < 0.5 ? (float)rng_between(r, -0.0016, 0.0016) : 0;
    s->noise = (unsigned)rng_u64(r);
}

static void choose_road(struct scene *s) {
    struct rng *r = &s->rng;
    double pick = rng_uniform(r);
    s->place = pick < 0.5 ? PLACE_CITY : pick < 0.85 ? PLACE_SUBURB : PLACE_COUNTRY;
    s->lane = (float)rng_between(r, 3.1, 3.7);
    s->lanes_right = rng_int(r, 1, 2);
    s->lanes_left = rng_int(r, 1, 2);
    float own = (float)rng_int(r, 0, s->lanes_right - 1) + 0.5f; /* lanes between the centre line and us */
    own += (float)rng_between(r, -0.08, 0.08);
    s->road_left = -((float)s->lanes_left + own) * s->lane;
    s->road_right = ((float)s->lanes_right - own) * s->lane;
    s->walk = s->place == PLACE_COUNTRY ? 0 : (float)rng_between(r, 1.8, 4);
    s->cross_z = rng_uniform(r) < 0.65 ? (float)rng_between(r, 14, 45) : 1000;
    s->cross_w = (float)rng_between(r, 7, 12);
    s->zebra = rng_uniform(r) < 0.7;
}

static bool in_view(const struct scene *s, float x, float y, float z, float margin) {
    float p[3] = {x, y, z}, xy[2], w = (float)s->cv.px.w;
    scene_project(s, p, xy);
    return xy[0] > margin * w && xy[0] < (1 - margin) * w && xy[1] > 0;
}

static bool is_free(const struct plan *plan, const struct thing *t) {
    for (int i = 0; i < plan->n; ++i) {
        const struct thing *o = &plan->thing[i];
        if (o->overhead != t->overhead) continue;
        if (fabsf(o->x - t->x) < o->half_x + t->half_x + 0.25f &&
            fabsf(o->z - t->z) < o->half_z + t->half_z + 0.4f)
            return false;
    }
    return true;
}

static float log_between(struct rng *r, double low, double high) {
    return (float)exp(rng_between(r, log(low), log(high)));
}

static float lane_centre(const struct scene *s, int i) { return s->road_left + ((float)i + 0.5f) * s->lane; }

static bool crosses(const struct scene *s) { return s->cross_z < 200; }

/* Footprint of a vehicle turned by yaw, as an upright rectangle. */
static void set_footprint(struct thing *t) {
    float a = fabsf(sinf(t->yaw)), b = fabsf(cosf(t->yaw));
    t->half_x = (t->size.length * a + t->size.width * b) / 2;
    t->half_z = (t->size.length * b + t->size.width * a) / 2;
}

static void propose_vehicle(struct scene *s, struct rng *r, struct thing *t) {
    bool car = t->kind == SYNTH_CAR;
    t->size = vehicle_size((enum synth_class)t->kind, r);
    double how = rng_uniform(r);
    float half = t->size.length / 2, jitter = (float)rng_between(r, -0.05, 0.05);
    t->z = log_between(r, car ? 7 : 11, car ? 58 : 72) + half;
    if (how < 0.26) { /* across: on the crossing road, or leaving a driveway */
        t->yaw = (rng_uniform(r) < 0.5 ? 1.0f : -1.0f) * 1.5708f + jitter * 4;
        if (crosses(s) && rng_uniform(r) < 0.8)
            t->z = s->cross_z + s->cross_w * (float)rng_between(r, 0.15, 0.85);
        float reach = 0.55f * (float)s->cv.px.w / s->focal * t->z;
        bool open = t->z > s->cross_z && t->z < s->cross_z + s->cross_w;
        t->x = (float)rng_between(r, open ? -reach : fmaxf(-reach, s->road_left - 1),
                                  open ? reach : fminf(reach, s->road_right + 1));
    } else if (how < 0.42) { /* parked at the kerb */
        bool left = rng_uniform(r) < 0.5;
        t->x = left ? s->road_left + t->size.width / 2 - 0.5f : s->road_right - t->size.width / 2 + 0.5f;
        t->yaw = (left ? 3.1416f : 0) + jitter;
    } else {
        int lane = rng_int(r, 0, s->lanes_left + s->lanes_right - 1);
        t->x = lane_centre(s, lane) + (float)rng_between(r, -0.35, 0.35);
        t->yaw = (lane < s->lanes_left ? 3.1416f : 0) + jitter;
        if (how > 0.92) t->yaw += (float)rng_between(r, -0.8, 0.8); /* turning */
    }
    set_footprint(t);
}

static void propose_walker(struct scene *s, struct rng *r, struct thing *t) {
    bool cyclist = t->kind == SYNTH_CYCLIST;
    t->z = log_between(r, cyclist ? 4.8 : 4.2, cyclist ? 34 : 28);
    double how = rng_uniform(r);
    float edge = rng_uniform(r) < 0.5 ? s->road_left : s->road_right, out = edge < 0 ? -1.0f : 1.0f;
    if (how < 0.35) { /* across the road */
        t->x = (float)rng_between(r, s->road_left, s->road_right);
        if (crosses(s) && rng_uniform(r) < 0.6) t->z = s->cross_z - (float)rng_between(r, 1.8, 4.2);
        t->yaw = 1;
    } else if (cyclist) {
        t->x = edge - out * (float)rng_between(r, 0.3, 1.0);
        t->yaw = rng_uniform(r) < 0.3 ? 1 : 0;
    } else {
        t->x = edge + out * (float)rng_between(r, 0.4, fmaxf(s->walk, 1.5f));
    }
    t->half_x = cyclist && t->yaw > 0.5f ? 0.9f : 0.35f;
    t->half_z = cyclist && t->yaw < 0.5f ? 0.9f : 0.35f;
}

static void propose_signal(struct scene *s, struct rng *r, struct thing *t) {
    t->overhead = rng_uniform(r) < 0.4;
    float near = t->overhead ? 16 : 6;
    t->z = log_between(r, near, t->overhead ? 34 : 28);
    if (crosses(s) && s->cross_z > near && s->cross_z < 38 && rng_uniform(r) < 0.7)
        t->z = s->cross_z - 1.0f + (rng_uniform(r) < 0.4 ? s->cross_w + 2 : 0);
    if (t->overhead)
        t->x = (float)rng_between(r, s->road_left * 0.5, s->road_right);
    else
        t->x = rng_uniform(r) < 0.5 ? s->road_left - 0.7f : s->road_right + 0.7f;
    t->x += (float)rng_between(r, -0.2, 0.4);
    t->half_x = t->half_z = 0.4f;
}

static bool place_object(struct scene *s, struct plan *plan, int kind) {
    struct rng *r = &s->rng;
    for (int attempt = 0; attempt < 30 && plan->n < MAX_THINGS; ++attempt) {
        struct thing t = {.object = plan->objects + 1, .kind = kind};
        if (kind == SYNTH_CAR || kind == SYNTH_TRUCK)
            propose_vehicle(s, r, &t);
        else if (kind == SYNTH_LIGHT)
            propose_signal(s, r, &t);
        else
            propose_walker(s, r, &t);
        float y = kind == SYNTH_LIGHT && t.overhead ? 5.8f : 1;
        if (t.z - t.half_z < 3.5f || !in_view(s, t.x, y, t.z, 0.015f) || !is_free(plan, &t)) continue;
        t.rng = rng_stream(rng_u64(r), (uint64_t)t.object, 7);
        plan->thing[plan->n++] = t;
        ++plan->objects;
        return true;
    }
    return false;
}

static void place_props(struct scene *s, struct plan *plan) {
    static const int weight[PROP_COUNT] = {5, 0, 4, 3, 3, 1, 4, 2};
    struct rng *r = &s->rng;
    int wanted = rng_int(r, 5, 16);
    for (int i = 0; i < wanted && plan->n < MAX_THINGS; ++i) {
        int pick = rng_int(r, 0, 21), kind = 0;
        while (kind < PROP_COUNT - 1 && (pick -= weight[kind]) >= 0) ++kind;
        struct thing t = {.kind = kind, .half_x = 0.4f, .half_z = 0.4f};
        float edge = rng_uniform(r) < 0.5 ? s->road_left : s->road_right, out = edge < 0 ? -1.0f : 1.0f;
        bool wide = kind == PROP_TREE || kind == PROP_BUSH || kind == PROP_BOARD;
        t.z = log_between(r, wide ? 9 : 5, 80);
        t.x = edge + out * (float)(wide ? rng_between(r, s->walk * 0.6 + 0.8, s->walk + 5)
                                        : rng_between(r, 0.3, 1.6));
        if (kind == PROP_CONE) t.x = edge - out * (float)rng_between(r, 0.1, 0.8);
        if (!in_view(s, t.x, 1, t.z, 0) || !is_free(plan, &t)) continue;
        t.rng = rng_stream(rng_u64(r), (uint64_t)i, 8);
        plan->thing[plan->n++] = t;
    }
    for (float z = s->lamp_z; z < 90 && plan->n < MAX_THINGS; z += s->lamp_step) {
        if (z < 5) continue;
        bool left = ((int)(z / s->lamp_step)) % 2 == 0;
        struct thing t = {.kind = PROP_LAMP, .x = left ? s->road_left - 0.9f : s->road_right + 0.9f, .z = z,
                          .half_x = 0.2f, .half_z = 0.2f};
        t.rng = rng_stream(rng_u64(r), 0, 9);
        if (is_free(plan, &t)) plan->thing[plan->n++] = t;
    }
}

static void make_plan(struct scene *s, struct plan *plan) {
    static const double share[SYNTH_CLASSES] = {0.29, 0.18, 0.19, 0.17, 0.17};
    struct rng *r = &s->rng;
    int wanted = (int)lrint(5.6 + 2.3 * rng_normal(r));
    wanted = wanted < 1 ? 1 : wanted > MAX_OBJECTS ? MAX_OBJECTS : wanted;
    for (int i = 0; i < wanted; ++i) {
        double pick = rng_uniform(r);
        int kind = 0;
        while (kind < SYNTH_CLASSES - 1 && (pick -= share[kind]) >= 0) ++kind;
        place_object(s, plan, kind);
    }
    place_props(s, plan);
}

static int farther_first(const void *a, const void *b) {
    const struct thing *p = a, *q = b;
    if (p->z > q->z || p->z < q->z) return p->z > q->z ? -1 : 1;
    return p->x < q->x ? -1 : p->x > q->x;
}

/* Counts the pixels just drawn for an object and the share of its drawn extent that lies inside the frame. */
static void note_drawn(struct scene *s, struct seen *seen, int object) {
    const struct extent *e = &s->cv.extent;
    float w = (float)s->cv.px.w, h = (float)s->cv.px.h;
    float x0 = fmaxf(e->x0, 0), x1 = fminf(e->x1, w), y0 = fmaxf(e->y0, 0), y1 = fminf(e->y1, h);
    if (x1 <= x0 || y1 <= y0) return;
    seen->inside = (x1 - x0) * (y1 - y0) / ((e->x1 - e->x0) * (e->y1 - e->y0));
    for (int y = (int)y0; y < (int)ceilf(y1); ++y)
        for (int x = (int)x0; x < (int)ceilf(x1); ++x) seen->first += s->cv.id[y * s->cv.px.w + x] == object;
}

static void draw_things(struct scene *s, struct plan *plan) {
    qsort(plan->thing, (size_t)plan->n, sizeof *plan->thing, farther_first);
    for (int i = 0; i < plan->n; ++i) {
        struct thing *t = &plan->thing[i];
        canvas_begin(&s->cv, t->object);
        if (!t->object) {
            prop_draw(s, &t->rng, (enum prop)t->kind, t->x, t->z);
            continue;
        }
        if (t->kind == SYNTH_CAR || t->kind == SYNTH_TRUCK)
            vehicle_draw(s, &t->rng, (enum synth_class)t->kind, t->size, (struct pose){t->x, t->z, t->yaw});
        else if (t->kind == SYNTH_PEDESTRIAN)
            pedestrian_draw(s, &t->rng, t->x, t->z);
        else if (t->kind == SYNTH_CYCLIST)
            cyclist_draw(s, &t->rng, t->x, t->z, t->yaw);
        else
            signal_draw(s, &t->rng, t->object, t->x, t->z, t->overhead);
        note_drawn(s, &plan->seen[t->object], t->object);
    }
}

static void note_visible(const struct scene *s, struct plan *plan) {
    int w = s->cv.px.w, h = s->cv.px.h;
    for (int k = 1; k <= plan->objects; ++k) {
        plan->seen[k].x0 = w;
        plan->seen[k].y0 = h;
    }
    for (int y = 0; y < h; ++y)
        for (int x = 0; x < w; ++x) {
            int id = s->cv.id[y * w + x];
            if (!id) continue;
            struct seen *v = &plan->seen[id];
            ++v->visible;
            if (x < v->x0) v->x0 = x;
            if (x >= v->x1) v->x1 = x + 1;
            if (y < v->y0) v->y0 = y;
            if (y >= v->y1) v->y1 = y + 1;
        }
}

static bool is_labelled(const struct seen *v) {
    if (v->first == 0 || v->x1 - v->x0 < 3 || v->y1 - v->y0 < 3) return false;
    return (float)v->visible / (float)v->first * v->inside >= 0.25f;
}

/* Boxes of what is left to see; ids of the canvas become places in the list. */
static enum status make_labels(struct ctx *ctx, struct scene *s, struct plan *plan,
                               struct truth_list *truth) {
    float w = (float)s->cv.px.w, h = (float)s->cv.px.h;
    int number[MAX_OBJECTS + 1] = {0};
    truth->item = mem_zero(ctx, MAX_OBJECTS, sizeof *truth->item);
    if (!truth->item) return ST_MEMORY;
    truth->cap = MAX_OBJECTS;
    note_visible(s, plan);
    for (int i = plan->n - 1; i >= 0; --i) { /* near ones first */
        const struct thing *t = &plan->thing[i];
        const struct seen *v = &plan->seen[t->object];
        if (!t->object || !is_labelled(v)) continue;
        struct box box = {(float)(v->x0 + v->x1) / 2 / w, (float)(v->y0 + v->y1) / 2 / h,
                          (float)(v->x1 - v->x0) / w, (float)(v->y1 - v->y0) / h};
        truth->item[truth->n++] = (struct truth){box, t->kind, -1};
        number[t->object] = truth->n;
    }
    size_t total = (size_t)s->cv.px.w * (size_t)s->cv.px.h;
    for (size_t i = 0; i < total; ++i) s->cv.id[i] = number[s->cv.id[i]];
    return ST_OK;
}

static void draw_scene(struct scene *s, struct plan *plan) {
    choose_light(s);
    choose_camera(s);
    choose_road(s);
    make_plan(s, plan);
    world_draw(s);
    draw_things(s, plan);
    canvas_finish(s);
}

enum status synth_render(struct ctx *ctx, uint64_t seed, enum synth_split split, int index, int w, int h,
                         struct synth_picture *out) {
    memset(out, 0, sizeof *out);
    if (w < 96 || h < 64 || w > 4096 || h > 4096)
        return ctx_fail(ctx, ST_USAGE, "scene of %d x %d: from 96 x 64 to 4096 x 4096 can be drawn", w, h);
    struct scene s = {0};
    enum status st = pixels_new(ctx, w, h, 3, &s.cv.px);
    s.cv.id = mem_zero(ctx, (size_t)w * (size_t)h, sizeof *s.cv.id);
    s.line = mem_zero(ctx, (size_t)w, sizeof *s.line);
    if (!s.cv.id || !s.line) st = ST_MEMORY;
    for (uint64_t attempt = 0; st == ST_OK && out->truth.n == 0; ++attempt) { /* no picture stays empty */
        struct plan plan = {0};
        free(out->truth.item);
        memset(&out->truth, 0, sizeof out->truth);
        memset(s.cv.id, 0, (size_t)w * (size_t)h * sizeof *s.cv.id);
        s.rng = rng_stream(seed, 2 * attempt + (uint64_t)split, (uint64_t)index);
        draw_scene(&s, &plan);
        st = make_labels(ctx, &s, &plan, &out->truth);
    }
    free(s.line);
    out->px = s.cv.px;
    out->owner = s.cv.id;
    if (st != ST_OK) synth_picture_free(out);
    return st;
}

void synth_picture_free(struct synth_picture *picture) {
    pixels_free(&picture->px);
    free(picture->truth.item);
    free(picture->owner);
    memset(picture, 0, sizeof *picture);
}
