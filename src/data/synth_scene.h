/* Inside of the scene generator: canvas, camera, light, and who draws what.  World: metres, X right, Y up, Z
 * ahead; the ground is Y = 0, the camera stands at X = Z = 0. */
#ifndef DATA_SYNTH_SCENE_H
#define DATA_SYNTH_SCENE_H

#include "base/rng.h"
#include "data/synth.h"

struct rgb { float r, g, b; }; /* 0..255 */

static inline struct rgb rgb_of(float r, float g, float b) { return (struct rgb){r, g, b}; }

static inline struct rgb rgb_scale(struct rgb c, float k) { return (struct rgb){c.r * k, c.g * k, c.b * k}; }

static inline struct rgb rgb_mix(struct rgb a, struct rgb b, float share) {
    return (struct rgb){a.r + (b.r - a.r) * share, a.g + (b.g - a.g) * share, a.b + (b.b - a.b) * share};
}

static inline uint8_t rgb_byte(float v) { return (uint8_t)(v <= 0 ? 0 : v >= 255 ? 255 : (int)(v + 0.5f)); }

struct extent { float x0, y0, x1, y1; };

struct canvas {
    struct pixels px;
    int *id;              /* w * h: number of the object last drawn there, 0 none */
    int current;          /* the object now drawn, 0: scenery */
    struct extent extent; /* of everything drawn for it, unclipped */
};

enum hour { HOUR_DAY, HOUR_OVERCAST, HOUR_DUSK, HOUR_NIGHT };
enum place { PLACE_CITY, PLACE_SUBURB, PLACE_COUNTRY };

struct scene {
    struct canvas cv;
    struct rgb *line;                 /* scratch, one row of the picture */
    struct rng rng;
    enum hour hour;
    enum place place;
    float focal, cx, horizon, camera; /* pixels, pixels, row, metres above ground */
    float bend;                       /* the road's curvature: X grows by bend * Z^2 */
    float road_left, road_right, lane; /* edges and lane width */
    int lanes_left, lanes_right;       /* oncoming and own */
    float walk;                        /* pavement width, 0: none */
    float cross_z, cross_w;            /* crossing road; cross_z > 200: none */
    bool zebra;
    float sun;                         /* -1..1: lit from the left .. right */
    struct rgb ambient;                /* multiplies colours; 1 = full daylight */
    struct rgb fog;
    float fog_length;
    float lamp_z, lamp_step;           /* street lamps lit at night */
    unsigned noise;                    /* lattice seed */
};

/* synth_canvas.c */
struct rgb rgb_any(struct rng *r, const struct rgb *list, int n, float jitter); /* one, slightly varied */
float lattice_noise(unsigned seed, float x, float y); /* smooth, 0..1 */
/* The same along one row of constant y: neighbouring x share the hashed corners. */
struct noise_row { unsigned seed; int x, y; float share, left, right; };
struct noise_row noise_row(unsigned seed, float y);
float noise_at(struct noise_row *n, float x);
void canvas_begin(struct canvas *cv, int object);
void canvas_fill(struct canvas *cv, const float *xy, int n, struct rgb c, float alpha);
void canvas_glow(struct canvas *cv, float x, float y, float radius, struct rgb c, float strength); /* adds */
void canvas_finish(struct scene *s); /* blur, vignette, sensor noise */

/* Camera and light. */
float scene_scale(const struct scene *s, float z);  /* pixels per metre */
void scene_project(const struct scene *s, const float p[3], float xy[2]);
struct rgb scene_light(const struct scene *s, float x, float z);
struct rgb scene_lit(const struct scene *s, struct rgb c, float x, float z); /* light, then haze */
void scene_fill3(struct scene *s, const float (*p)[3], int n, struct rgb c, float alpha);
bool scene_is_dark(const struct scene *s);

/* A quadrilateral in space: corners bottom left, bottom right, top right, top left as seen from outside. */
struct face { float p[4][3]; };
bool face_visible(const struct scene *s, const struct face *f);
void face_patch(struct scene *s, const struct face *f, float u0, float v0, float u1, float v1, struct rgb c,
                float alpha);
void face_disc(struct scene *s, const struct face *f, float u, float v, float ru, float rv, struct rgb c);
void face_point(const struct face *f, float u, float v, float out[3]);

/* A box with tapered top standing on a posed ground frame: u ahead, v right of the thing itself. */
struct pose { float x, z, yaw; }; /* yaw 0: looks away from the camera */
struct block { float u0, u1, v0, v1, y0, y1, rear_in, front_in, side_in; };
enum block_face { FACE_REAR, FACE_FRONT, FACE_LEFT, FACE_RIGHT, FACE_TOP, FACE_COUNT };
void block_faces(const struct pose *pose, const struct block *b, struct face out[FACE_COUNT]);
float face_shade(const struct scene *s, enum block_face side, float yaw);

/* A flat figure facing the camera: metres right of and above a point of the ground. */
struct figure { struct scene *s; float x, z, px, py, scale; };
struct figure figure_at(struct scene *s, float x, float z);
void figure_polygon(struct figure *f, const float *xy, int n, struct rgb c);
void figure_limb(struct figure *f, float x0, float y0, float x1, float y1, float thick, struct rgb c);
void figure_disc(struct figure *f, float x, float y, float rx, float ry, struct rgb c);
void figure_ring(struct figure *f, float x, float y, float rx, float ry, float thick, struct rgb c);
void figure_rect(struct figure *f, float x0, float y0, float x1, float y1, struct rgb c);
void figure_shadow(struct figure *f, float rx);

/* synth_world.c: sky, ground, buildings, and the things beside the road. */
void world_draw(struct scene *s);
enum prop {
    PROP_TREE, PROP_LAMP, PROP_SIGN, PROP_BIN, PROP_BOLLARD, PROP_CONE, PROP_BUSH, PROP_BOARD, PROP_COUNT
};
void prop_draw(struct scene *s, struct rng *r, enum prop kind, float x, float z);

/* synth_vehicles.c, synth_people.c */
struct vehicle { float length, width, height; };
struct vehicle vehicle_size(enum synth_class kind, struct rng *r);
void vehicle_draw(struct scene *s, struct rng *r, enum synth_class kind, struct vehicle size,
                  struct pose pose);
void pedestrian_draw(struct scene *s, struct rng *r, float x, float z);
/* side 0: along the road, 1: across */
void cyclist_draw(struct scene *s, struct rng *r, float x, float z, float side);
void signal_draw(struct scene *s, struct rng *r, int object, float x, float z, bool overhead);

#endif
