#include "data/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

struct text { const char *path, *bytes, *end, *at, *counted; int line; };

static enum status text_open(struct ctx *ctx, const char *path, char **bytes, struct text *t) {
    size_t size;
    TRY(io_read(ctx, path, bytes, &size));
    *t = (struct text){ path, *bytes, *bytes + size, *bytes, *bytes, 1 };
    if (size >= 3 && !memcmp(*bytes, "\xEF\xBB\xBF", 3)) t->at += 3;
    return ST_OK;
}

static int line_of(struct text *t, const char *at) {
    while (t->counted < at) t->line += *t->counted++ == '\n';
    return t->line;
}

static enum status broken(struct ctx *ctx, struct text *t, const char *at) {
    return ctx_fail(ctx, ST_FORMAT, "%s:%d: broken JSON near byte %zu of %zu", t->path, line_of(t, at), (size_t)(at - t->bytes),
                    (size_t)(t->end - t->bytes));
}

/* The next character that is no blank; the NUL behind the file's end. */
static char peek(struct text *t) {
    while (t->at < t->end && strchr(" \t\r\n", *t->at)) ++t->at;
    return *t->at;
}

static enum status parse(struct ctx *ctx, struct text *t, cJSON **out) {
    const char *end = t->at;
    peek(t);
    *out = cJSON_ParseWithLengthOpts(t->at, (size_t)(t->end - t->at) + 1, &end, false);
    if (!*out) return broken(ctx, t, end >= t->at && end <= t->end ? end : t->at);
    t->at = end;
    return ST_OK;
}

enum status json_read(struct ctx *ctx, const char *path, cJSON **out) {
    char *bytes;
    struct text t;
    TRY(text_open(ctx, path, &bytes, &t));
    enum status st = parse(ctx, &t, out);
    if (st == ST_OK && t.at < t.end && peek(&t)) {
        cJSON_Delete(*out);
        *out = NULL;
        st = broken(ctx, &t, t.at);
    }
    free(bytes);
    return st;
}

static enum status expect(struct ctx *ctx, struct text *t, char c) {
    if (peek(t) != c) return broken(ctx, t, t->at);
    ++t->at;
    return ST_OK;
}

static enum status visit_value(struct ctx *ctx, struct text *t, const char *key, int index, json_visit visit, void *user) {
    cJSON *value;
    peek(t);
    int line = line_of(t, t->at);
    TRY(parse(ctx, t, &value));
    enum status st = visit(ctx, user, &(struct json_item){ t->path, key, index, line, value });
    cJSON_Delete(value);
    return st;
}

static enum status each_element(struct ctx *ctx, struct text *t, const char *key, json_visit visit, void *user) {
    TRY(expect(ctx, t, '['));
    TRY(visit(ctx, user, &(struct json_item){ t->path, key, -1, line_of(t, t->at), NULL }));
    for (int i = 0; peek(t) != ']'; ++i) {
        if (i) TRY(expect(ctx, t, ','));
        TRY(visit_value(ctx, t, key, i, visit, user));
    }
    ++t->at;
    return ST_OK;
}

static enum status each_member(struct ctx *ctx, struct text *t, json_visit visit, void *user) {
    TRY(expect(ctx, t, '{'));
    for (int i = 0; peek(t) != '}'; ++i) {
        cJSON *key;
        if (i) TRY(expect(ctx, t, ','));
        if (peek(t) != '"') return broken(ctx, t, t->at);
        TRY(parse(ctx, t, &key));
        enum status st = expect(ctx, t, ':');
        if (st == ST_OK && peek(t) == '[') st = each_element(ctx, t, key->valuestring, visit, user);
        else if (st == ST_OK) st = visit_value(ctx, t, key->valuestring, -1, visit, user);
        cJSON_Delete(key);
        TRY(st);
    }
    ++t->at;
    return ST_OK;
}

enum status json_each(struct ctx *ctx, const char *path, json_visit visit, void *user) {
    char *bytes;
    struct text t;
    TRY(text_open(ctx, path, &bytes, &t));
    enum status st = peek(&t) == '[' ? each_element(ctx, &t, "", visit, user) : each_member(ctx, &t, visit, user);
    if (st == ST_OK && (peek(&t) || t.at < t.end)) st = broken(ctx, &t, t.at);
    free(bytes);
    return st;
}

double json_number(const cJSON *object, const char *name, double otherwise) {
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNumber(v) ? v->valuedouble : otherwise;
}

bool json_whole(const cJSON *object, const char *name, long long *value) {
    double v = json_number(object, name, NAN);
    if (!(fabs(v) <= 0x1p53)) return false;
    *value = (long long)v;
    return true;
}

const char *json_text(const cJSON *object, const char *name) {
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsString(v) ? v->valuestring : NULL;
}

bool json_true(const cJSON *object, const char *name) {
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, name)) || json_number(object, name, 0) != 0;
}
