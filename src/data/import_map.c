/* From the source's class names to classes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/io.h"
#include "base/text.h"
#include "data/import_set.h"

/* target "": dropped; DontCare: a region.  excused: a box that neither counts nor harms, as a crowd. */
struct rule { char *source, *target; bool excused; };
struct rules { int n; size_t cap; struct rule *rule; };

static const char REGION[] = "DontCare";
static const char *const coco_traffic = "person,bicycle,car,motorcycle,bus,truck,traffic light,stop sign";

/* KITTI: the benchmark's three classes with their neighbours.  BDD100K: the ten classes of its detection benchmark, the names of
 * the first release, and the ones that benchmark excuses. */
static const struct rule kitti_rules[] = { { "Car", "car", 0 },
                                           { "Van", "car", 0 },
                                           { "Pedestrian", "pedestrian", 0 },
                                           { "Person_sitting", "pedestrian", 0 },
                                           { "Cyclist", "cyclist", 0 },
                                           { "DontCare", "DontCare", 0 },
                                           { "Truck", "", 0 },
                                           { "Tram", "", 0 },
                                           { "Misc", "", 0 } };
static const struct rule bdd_rules[] = { { "pedestrian", "pedestrian", 0 },
                                         { "person", "pedestrian", 0 },
                                         { "other person", "pedestrian", 1 },
                                         { "rider", "rider", 0 },
                                         { "car", "car", 0 },
                                         { "van", "car", 0 },
                                         { "caravan", "car", 0 },
                                         { "other vehicle", "car", 1 },
                                         { "truck", "truck", 0 },
                                         { "trailer", "truck", 1 },
                                         { "bus", "bus", 0 },
                                         { "train", "train", 0 },
                                         { "motorcycle", "motorcycle", 0 },
                                         { "motor", "motorcycle", 0 },
                                         { "bicycle", "bicycle", 0 },
                                         { "bike", "bicycle", 0 },
                                         { "traffic light", "traffic light", 0 },
                                         { "traffic sign", "traffic sign", 0 } };

static void rules_free(struct rules *r) {
    for (int i = 0; i < r->n; ++i) free(r->rule[i].source), free(r->rule[i].target);
    free(r->rule);
}

static const struct rule *find_rule(const struct rules *r, const char *source) {
    for (int i = 0; i < r->n; ++i)
        if (!strcasecmp(r->rule[i].source, source)) return &r->rule[i];
    return NULL;
}

static enum status add_rule(struct ctx *ctx, struct rules *r, const char *source, const char *target, bool excused) {
    TRY(mem_grow(ctx, &r->rule, &r->cap, (size_t)r->n + 1, sizeof *r->rule));
    r->rule[r->n++] = (struct rule){ mem_text(ctx, source), mem_text(ctx, target), excused };
    return r->rule[r->n - 1].source && r->rule[r->n - 1].target ? ST_OK : ST_MEMORY;
}

static char *trim(char *s) {
    s += strspn(s, " \t\r");
    size_t n = strlen(s);
    while (n && strchr(" \t\r", s[n - 1])) s[--n] = '\0';
    return s;
}

static enum status read_rule(struct ctx *ctx, const char *path, int number, char *line, struct rules *r) {
    line[strcspn(line, "#")] = '\0';
    char *equals = strchr(line, '='), *source = line, *target;
    if (!*trim(line)) return ST_OK;
    if (!equals) return ctx_fail(ctx, ST_FORMAT, "%s:%d: no class map line: 'source name = target name' is needed, or nothing behind the = to drop", path, number);
    *equals = '\0';
    source = trim(source), target = trim(equals + 1);
    if (!*source) return ctx_fail(ctx, ST_FORMAT, "%s:%d: no name in front of the =", path, number);
    if (find_rule(r, source)) return ctx_fail(ctx, ST_FORMAT, "%s:%d: '%s' stands there for the second time", path, number, source);
    return add_rule(ctx, r, source, target, false);
}

static enum status read_rules(struct ctx *ctx, const char *path, struct rules *r) {
    char *bytes;
    size_t size;
    int number = 0;
    TRY(io_read(ctx, path, &bytes, &size));
    enum status st = ST_OK;
    for (char *next = bytes, *line; st == ST_OK && (line = next);) {
        next = strchr(line, '\n');
        if (next) *next++ = '\0';
        st = read_rule(ctx, path, ++number, line, r);
    }
    free(bytes);
    if (st == ST_OK && !r->n) st = ctx_fail(ctx, ST_FORMAT, "%s: the class map is empty", path);
    return st;
}

static enum status fixed_rules(struct ctx *ctx, const struct rule *from, size_t n, struct rules *r) {
    for (size_t i = 0; i < n; ++i) TRY(add_rule(ctx, r, from[i].source, from[i].target, from[i].excused));
    return ST_OK;
}

static int by_name(const void *a, const void *b) { return strcmp(((const struct import_type *)a)->name, ((const struct import_type *)b)->name); }

/* Every name its own class: as COCO's file lists them, else by name (the order of VOC's twenty). */
static enum status own_rules(struct ctx *ctx, const struct import_options *o, const struct import_set *s, struct rules *r) {
    struct import_type *sorted = mem_zero(ctx, (size_t)s->n_type, sizeof *sorted);
    if (!sorted) return ST_MEMORY;
    if (s->n_type) memcpy(sorted, s->type, (size_t)s->n_type * sizeof *sorted);
    if (o->kind != IMPORT_COCO) qsort(sorted, (size_t)s->n_type, sizeof *sorted, by_name);
    enum status st = ST_OK;
    for (int i = 0; i < s->n_type && st == ST_OK; ++i) st = add_rule(ctx, r, sorted[i].name, sorted[i].name, false);
    free(sorted);
    return st;
}

static enum status make_rules(struct ctx *ctx, const struct import_options *o, const struct import_set *s, bool all, struct rules *r) {
    if (o->map) return read_rules(ctx, o->map, r);
    if (o->kind == IMPORT_KITTI && !all) return fixed_rules(ctx, kitti_rules, sizeof kitti_rules / sizeof *kitti_rules, r);
    if (o->kind == IMPORT_BDD && !all) return fixed_rules(ctx, bdd_rules, sizeof bdd_rules / sizeof *bdd_rules, r);
    return own_rules(ctx, o, s, r);
}

static int class_of(const struct import_set *s, const char *name) {
    for (int i = 0; i < s->classes.n; ++i)
        if (!strcasecmp(s->classes.item[i], name)) return i;
    return -1;
}

static enum status add_class(struct ctx *ctx, struct import_set *s, const char *name) {
    size_t cap = (size_t)s->classes.cap;
    TRY(mem_grow(ctx, &s->classes.item, &cap, (size_t)s->classes.n + 1, sizeof *s->classes.item));
    s->classes.cap = (int)cap;
    s->classes.item[s->classes.n] = mem_text(ctx, name);
    if (!s->classes.item[s->classes.n]) return ST_MEMORY;
    ++s->classes.n;
    return ST_OK;
}

static enum status targets_as_classes(struct ctx *ctx, const struct rules *r, struct import_set *s) {
    for (int i = 0; i < r->n; ++i) {
        const char *target = r->rule[i].target;
        if (*target && strcasecmp(target, REGION) != 0 && class_of(s, target) < 0) TRY(add_class(ctx, s, target));
    }
    return ST_OK;
}

/* The names of a comma list, which must be among the targets where it is the user's. */
static enum status listed_classes(struct ctx *ctx, const struct rules *r, const char *list, bool fixed, struct import_set *s) {
    enum { MOST = 4096 };
    const char *known[MOST];
    size_t n = 0;
    for (int i = 0; i < r->n && n < MOST; ++i)
        if (*r->rule[i].target) known[n++] = r->rule[i].target;
    char *copy = mem_text(ctx, list);
    enum status st = copy ? ST_OK : ST_MEMORY;
    for (char *next = copy, *name; st == ST_OK && (name = next);) {
        next = strchr(name, ',');
        if (next) *next++ = '\0';
        name = trim(name);
        if (!*name) continue;
        const char *found = NULL, *near = text_nearest(name, known, n);
        for (size_t i = 0; i < n && !found; ++i)
            if (!strcasecmp(known[i], name)) found = known[i];
        if (!found && fixed) found = name;
        if (!found) st = ctx_fail(ctx, ST_USAGE, "-classes: '%s' is no class here%s%s%s", name, near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
        else if (class_of(s, found) < 0) st = add_class(ctx, s, found);
    }
    free(copy);
    return st;
}

static void excuse(struct import_set *s, int type) {
    for (int i = 0; i < s->n_box; ++i)
        if (s->box[i].type == type) s->box[i].crowd = true;
}

static void set_types(const struct rules *r, struct import_set *s) {
    for (int i = 0; i < s->n_type; ++i) {
        const struct rule *rule = find_rule(r, s->type[i].name);
        if (!rule) s->type[i].class_id = IMPORT_UNKNOWN;
        else if (!strcasecmp(rule->target, REGION)) s->type[i].class_id = IMPORT_REGION;
        else {
            int class_id = *rule->target ? class_of(s, rule->target) : -1;
            s->type[i].class_id = class_id < 0 ? IMPORT_DROP : class_id;
            if (class_id >= 0 && rule->excused) excuse(s, i);
        }
    }
}

enum status import_map_classes(struct ctx *ctx, const struct import_options *o, struct import_set *s) {
    bool all = o->classes && !strcmp(o->classes, "all"), traffic = o->classes && !strcmp(o->classes, "traffic");
    struct rules r = { 0 };
    if (traffic && o->kind != IMPORT_COCO) return ctx_fail(ctx, ST_USAGE, "-classes traffic: is a choice of COCO's classes; name them: -classes a,b,c");
    enum status st = make_rules(ctx, o, s, all, &r);
    if (st == ST_OK && o->classes && !all) st = listed_classes(ctx, &r, traffic ? coco_traffic : o->classes, traffic, s);
    else if (st == ST_OK) st = targets_as_classes(ctx, &r, s);
    if (st == ST_OK && !s->classes.n) st = ctx_fail(ctx, ST_FORMAT, "%s: no class is left", o->map ? o->map : o->source);
    if (st == ST_OK) set_types(&r, s);
    rules_free(&r);
    return st;
}
