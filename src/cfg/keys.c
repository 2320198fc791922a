#include "cfg/keys.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static void *field(const struct cfg_key *key, void *target) { return (char *)target + key->offset; }

static bool limited(const struct cfg_key *key) { return key->min <= key->max; }

/* Darknet's number readers stop at the first character that does not fit, which hides slips. */
static void check_rest(struct ctx *ctx, const struct cfg_section *s, const char *name, const char *text,
                       const char *rest, const char *end) {
    if (rest == end || *rest == '#' || *rest == ';') return;
    cfg_warn(ctx, s, 0, name, "only '%.*s' of '%.*s' is read", (int)(rest - text), text, (int)(end - text),
             text);
}

static enum status check_range(struct ctx *ctx, const struct cfg_section *s, const struct cfg_key *key,
                               double v) {
    if (!limited(key) || (v >= key->min && v <= key->max)) return ST_OK;
    if (key->max >= INT_MAX && v < key->min)
        return cfg_fail(ctx, s, key->name, "%.10g is too small, at least %.10g is needed", v, key->min);
    return cfg_fail(ctx, s, key->name, "%.10g is out of range, %.10g to %.10g is allowed", v, key->min,
                    key->max);
}

/* The number at the head of [text, end). */
static enum status read_number(struct ctx *ctx, const struct cfg_section *s, const struct cfg_key *key,
                               bool whole, const char *text, const char *end, double *v) {
    const char *rest;
    int i = 0;
    bool ok = text < end && (whole ? text_int(text, &i, &rest) : text_double(text, v, &rest));
    if (!ok)
        return cfg_fail(ctx, s, key->name, "'%.*s' is not a %s%s", (int)(end - text < 60 ? end - text : 60),
                        text, whole ? "whole number" : "number", whole ? " that fits" : "");
    if (whole) *v = i;
    check_rest(ctx, s, key->name, text, rest, end);
    return check_range(ctx, s, key, *v);
}

/* --- Lists ---------------------------------------------------------------------------------------------- */

static void list_store(const struct cfg_key *key, void *to, void *block, int n) {
    if (key->type == CFG_T_INTS)
        *(struct cfg_ints *)to = (struct cfg_ints){ n, block };
    else
        *(struct cfg_floats *)to = (struct cfg_floats){ n, block };
}

static enum status read_list(struct ctx *ctx, const struct cfg_section *s, const struct cfg_key *key,
                             const char *text, void *to) {
    size_t length = strcspn(text, "#;");
    const char *end = text + length;
    bool whole = key->type == CFG_T_INTS;
    int n = 1;
    if (length > 1 && end[-1] == ',') {
        cfg_warn(ctx, s, 0, key->name, "the comma at the end is ignored");
        --end;
    }
    for (const char *p = text; p < end; ++p) n += *p == ',';
    void *block = mem_zero(ctx, (size_t)n, whole ? sizeof(int) : sizeof(double));
    if (!block) return ST_MEMORY;
    list_store(key, to, block, n);
    for (int i = 0; i < n; ++i) {
        const char *comma = memchr(text, ',', (size_t)(end - text));
        if (!comma) comma = end;
        double v = 0;
        TRY(read_number(ctx, s, key, whole, text, comma, &v));
        if (whole)
            ((int *)block)[i] = (int)v;
        else
            ((double *)block)[i] = v;
        text = comma + 1;
    }
    return ST_OK;
}

/* --- Names ---------------------------------------------------------------------------------------------- */

enum { MAX_NAMES = 256 };

static enum status unknown_choice(struct ctx *ctx, const struct cfg_section *s, const struct cfg_key *key,
                                  const char *value) {
    const char *names[MAX_NAMES];
    size_t n = 0;
    char all[400] = "";
    size_t used = 0;
    for (const struct cfg_choice *c = key->choices; c->name && n < MAX_NAMES; ++c) {
        names[n++] = c->name;
        if (used < sizeof all)
            used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", n > 1 ? ", " : "", c->name);
    }
    const char *near = text_nearest(value, names, n);
    if (near) return cfg_fail(ctx, s, key->name, "'%.60s' is not known, did you mean '%s'?", value, near);
    return cfg_fail(ctx, s, key->name, "'%.60s' is not known, it must be one of %s", value, all);
}

static enum status read_choice(struct ctx *ctx, const struct cfg_section *s, const struct cfg_key *key,
                               const char *value, int *to) {
    const struct cfg_choice *fallback = NULL;
    for (const struct cfg_choice *c = key->choices; c->name; ++c) {
        if (!strcmp(c->name, value)) {
            *to = c->value;
            return ST_OK;
        }
        if (!fallback && c->value == *to) fallback = c;
    }
    if (!key->lenient) return unknown_choice(ctx, s, key, value);
    cfg_warn(ctx, s, 0, key->name, "'%.60s' is not known, %s is used", value,
             fallback ? fallback->name : "the default");
    return ST_OK;
}

/* --- Effects that are not built ------------------------------------------------------------------------- */

static bool neutral(const struct cfg_key *key, const char *value) {
    double v;
    return text_double(value, &v, NULL) && v == key->def;
}

/* "remove it", and the value that would do when a user could have meant it. */
static const char *way_out(const struct cfg_key *key, char to[64]) {
    if (fabs(key->def) < 1e6)
        snprintf(to, 64, "remove it or set it to %g", key->def);
    else
        snprintf(to, 64, "remove it");
    return to;
}

static enum status check_missing(struct ctx *ctx, const struct cfg_section *s, const struct cfg_key *key,
                                 const char *value) {
    char way[64];
    if (neutral(key, value)) return ST_OK;
    return cfg_fail_as(ctx, ST_UNSUPPORTED, s, key->name, "not supported in this version, %s",
                       way_out(key, way));
}

/* --- Tables --------------------------------------------------------------------------------------------- */

static void set_default(const struct cfg_key *key, void *target) {
    void *to = field(key, target);
    switch (key->type) {
    case CFG_T_INT:
    case CFG_T_BOOL:
    case CFG_T_CHOICE: *(int *)to = (int)key->def; break;
    case CFG_T_FLOAT: *(double *)to = key->def; break;
    case CFG_T_INTS:
    case CFG_T_FLOATS: list_store(key, to, NULL, 0); break;
    case CFG_T_TEXT: *(const char **)to = NULL; break;
    case CFG_T_IGNORED:
    case CFG_T_MISSING: break;
    }
}

static enum status read_key(struct ctx *ctx, const struct cfg_section *s, const struct cfg_key *key,
                            const char *value, void *target) {
    void *to = field(key, target);
    const char *end = value + strlen(value);
    double v = 0;
    switch (key->type) {
    case CFG_T_INT:
    case CFG_T_BOOL:
        TRY(read_number(ctx, s, key, true, value, end, &v));
        *(int *)to = key->type == CFG_T_INT ? (int)v : v != 0;
        return ST_OK;
    case CFG_T_FLOAT:
        TRY(read_number(ctx, s, key, false, value, end, &v));
        *(double *)to = v;
        return ST_OK;
    case CFG_T_CHOICE: return read_choice(ctx, s, key, value, to);
    case CFG_T_INTS:
    case CFG_T_FLOATS: return read_list(ctx, s, key, value, to);
    case CFG_T_TEXT: *(const char **)to = value; return ST_OK;
    case CFG_T_MISSING: return check_missing(ctx, s, key, value);
    case CFG_T_IGNORED: break;
    }
    return ST_OK;
}

enum status keys_read(struct ctx *ctx, const struct cfg_section *s, const struct cfg_key *table,
                      void *target) {
    for (const struct cfg_key *key = table; key && key->name; ++key) set_default(key, target);
    for (const struct cfg_key *key = table; key && key->name; ++key) {
        const char *value = cfg_value(s, key->name);
        if (value) TRY(read_key(ctx, s, key, value, target));
    }
    return ST_OK;
}

void keys_free(const struct cfg_key *table, void *target) {
    for (const struct cfg_key *key = table; key && key->name; ++key) {
        void *to = field(key, target);
        if (key->type == CFG_T_INTS) free(((struct cfg_ints *)to)->v);
        if (key->type == CFG_T_FLOATS) free(((struct cfg_floats *)to)->v);
        if (key->type == CFG_T_INTS || key->type == CFG_T_FLOATS) list_store(key, to, NULL, 0);
    }
}

static const struct cfg_entry *first_of(const struct cfg_section *s, const char *key) {
    for (int i = 0; i < s->n; ++i)
        if (!strcmp(s->entry[i].key, key)) return &s->entry[i];
    return NULL;
}

/* What is wrong with an entry that nobody read. */
static void explain(const struct cfg_section *s, const struct cfg_entry *e, const char *const *names,
                    size_t n, char *to, size_t size) {
    for (size_t i = 0; i < n; ++i) {
        if (strcmp(names[i], e->key)) continue;
        snprintf(to, size, "key '%.60s' is repeated, line %d counts", e->key, first_of(s, e->key)->line);
        return;
    }
    const char *near = text_nearest(e->key, names, n);
    snprintf(to, size, "unknown key '%.60s'%s%s%s", e->key, near ? ", did you mean '" : "", near ? near : "",
             near ? "'?" : "");
}

enum status keys_check_unused(struct ctx *ctx, const struct cfg_section *s,
                              const struct cfg_key *const *tables, int n, bool strict) {
    const char *names[MAX_NAMES];
    size_t count = 0;
    for (int i = 0; i < n; ++i)
        for (const struct cfg_key *key = tables[i]; key && key->name && count < MAX_NAMES; ++key)
            names[count++] = key->name;
    for (int i = 0; i < s->n; ++i) {
        const struct cfg_entry *e = &s->entry[i];
        if (e->used) continue;
        char text[256];
        explain(s, e, names, count, text, sizeof text);
        const char *section = s->type;
        if (!strict)
            cfg_warn(ctx, s, e->line, NULL, "%s", text);
        else if (*section)
            return ctx_fail(ctx, ST_CFG, "%s:%d: [%s] %s", s->doc->path, e->line, section, text);
        else
            return ctx_fail(ctx, ST_CFG, "%s:%d: %s", s->doc->path, e->line, text);
    }
    return ST_OK;
}
