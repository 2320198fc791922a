#include "cfg/document.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"

static const char BOM[] = "\xEF\xBB\xBF";

/* --- Reading -------------------------------------------------------------------------------------------- */

/* Room for `need` elements where the capacity is an int. */
static enum status grow(struct ctx *ctx, void *block, int *cap, int need, size_t size) {
    size_t c = (size_t)*cap;
    TRY(mem_grow(ctx, block, &c, (size_t)need, size));
    *cap = (int)c;
    return ST_OK;
}

static enum status reserve_lines(struct ctx *ctx, struct cfg_doc *doc, int need) {
    int cap = doc->line_cap;
    TRY(grow(ctx, &doc->text, &cap, need, sizeof *doc->text));
    return grow(ctx, &doc->eol, &doc->line_cap, need, sizeof *doc->eol);
}

static char *text_slice(struct ctx *ctx, const char *from, size_t n) {
    char *s = mem_zero(ctx, n + 1, 1);
    if (s) memcpy(s, from, n);
    return s;
}

static enum status split_lines(struct ctx *ctx, struct cfg_doc *doc, const char *text, size_t size) {
    for (size_t at = 0; at < size;) {
        const char *line = text + at, *lf = memchr(line, '\n', size - at);
        size_t n = lf ? (size_t)(lf - line) : size - at;
        const char *eol = lf ? "\n" : "";
        at += n + (lf != NULL);
        if (doc->n_line == INT_MAX / 4) return ctx_fail(ctx, ST_FORMAT, "%s: too many lines", doc->path);
        if (memchr(line, '\0', n))
            return ctx_fail(ctx, ST_FORMAT, "%s:%d: contains a NUL byte, so this is no text file", doc->path,
                            doc->n_line + 1);
        if (lf && n && line[n - 1] == '\r') {
            --n;
            eol = "\r\n";
        }
        TRY(reserve_lines(ctx, doc, doc->n_line + 1));
        char *copy = text_slice(ctx, line, n);
        if (!copy) return ST_MEMORY;
        doc->text[doc->n_line] = copy;
        doc->eol[doc->n_line++] = eol;
    }
    return ST_OK;
}

static enum status add_section(struct ctx *ctx, struct cfg_doc *doc, const char *type, size_t n, int line) {
    TRY(grow(ctx, &doc->section, &doc->cap, doc->n + 1, sizeof *doc->section));
    struct cfg_section *s = &doc->section[doc->n];
    *s = (struct cfg_section){ .type = text_slice(ctx, type, n), .line = line, .doc = doc };
    if (!s->type) return ST_MEMORY;
    ++doc->n;
    return ST_OK;
}

static enum status add_header(struct ctx *ctx, struct cfg_doc *doc, const char *s, int line) {
    size_t n = strlen(s), inner = strcspn(s + 1, "[]");
    if (inner && n == inner + 2 && s[n - 1] == ']') return add_section(ctx, doc, s + 1, inner, line);
    return add_section(ctx, doc, s, n, line);
}

static enum status add_entry(struct ctx *ctx, struct cfg_section *s, const char *stripped, int line) {
    const char *equals = strchr(stripped, '=');
    size_t n = equals ? (size_t)(equals - stripped) : strlen(stripped);
    if (equals && equals[1] == '\0') {
        cfg_warn(ctx, s, line, NULL, "'%s' has no value, the line is ignored", stripped);
        return ST_OK;
    }
    if (!equals) cfg_warn(ctx, s, line, NULL, "'%s' has no '=value', the default is used", stripped);
    TRY(grow(ctx, &s->entry, &s->cap, s->n + 1, sizeof *s->entry));
    struct cfg_entry *e = &s->entry[s->n];
    *e = (struct cfg_entry){ .key = text_slice(ctx, stripped, n), .line = line };
    if (!e->key) return ST_MEMORY;
    ++s->n;
    if (!equals) return ST_OK;
    e->value = mem_text(ctx, equals + 1);
    return e->value ? ST_OK : ST_MEMORY;
}

static enum status read_line(struct ctx *ctx, struct cfg_doc *doc, int i, char *stripped, bool sections) {
    const char *text = doc->text[i];
    if (i == 0 && !strncmp(text, BOM, 3)) text += 3;
    memcpy(stripped, text, strlen(text) + 1);
    text_strip_blanks(stripped);
    if (*stripped == '\0' || *stripped == '#' || *stripped == ';') return ST_OK;
    if (sections && *stripped == '[') return add_header(ctx, doc, stripped, i + 1);
    if (doc->n == 0)
        return ctx_fail(ctx, ST_FORMAT,
                        "%s:%d: '%.80s' stands before the first section, a cfg starts with [net]", doc->path,
                        i + 1, stripped);
    return add_entry(ctx, &doc->section[doc->n - 1], stripped, i + 1);
}

static enum status parse(struct ctx *ctx, struct cfg_doc *doc, const char *text, size_t size, bool sections) {
    TRY(split_lines(ctx, doc, text, size));
    if (!sections) TRY(add_section(ctx, doc, "", 0, 1));
    size_t longest = 0;
    for (int i = 0; i < doc->n_line; ++i) {
        size_t n = strlen(doc->text[i]);
        if (n > longest) longest = n;
    }
    char *stripped = mem_zero(ctx, longest + 1, 1);
    if (!stripped) return ST_MEMORY;
    enum status st = ST_OK;
    for (int i = 0; i < doc->n_line && st == ST_OK; ++i) st = read_line(ctx, doc, i, stripped, sections);
    free(stripped);
    if (st == ST_OK && doc->n == 0)
        st = ctx_fail(ctx, ST_FORMAT, "%s:%d: no section up to the file's end, a cfg starts with [net]", doc->path,
                      doc->n_line ? doc->n_line : 1);
    return st;
}

enum status cfg_parse(struct ctx *ctx, const char *name, const char *text, size_t size, bool sections,
                      struct cfg_doc **out) {
    *out = NULL;
    struct cfg_doc *doc = mem_zero(ctx, 1, sizeof *doc);
    if (!doc) return ST_MEMORY;
    doc->path = mem_text(ctx, name);
    enum status st = doc->path ? parse(ctx, doc, text, size, sections) : ST_MEMORY;
    if (st != ST_OK) {
        cfg_free(doc);
        return st;
    }
    *out = doc;
    return ST_OK;
}

enum status cfg_read(struct ctx *ctx, const char *path, bool sections, struct cfg_doc **out) {
    char *text;
    size_t size;
    *out = NULL;
    TRY(io_read(ctx, path, &text, &size));
    enum status st = cfg_parse(ctx, path, text, size, sections, out);
    free(text);
    return st;
}

void cfg_free(struct cfg_doc *doc) {
    if (!doc) return;
    for (int i = 0; i < doc->n_line; ++i) free(doc->text[i]);
    for (int i = 0; i < doc->n; ++i) {
        struct cfg_section *s = &doc->section[i];
        for (int k = 0; k < s->n; ++k) {
            free(s->entry[k].key);
            free(s->entry[k].value);
        }
        free(s->entry);
        free(s->type);
    }
    free(doc->section);
    free(doc->text);
    free(doc->eol);
    free(doc->path);
    free(doc);
}

/* --- Looking up and complaining ------------------------------------------------------------------------- */

static struct cfg_entry *find(const struct cfg_section *s, const char *key) {
    for (int i = 0; i < s->n; ++i)
        if (!strcmp(s->entry[i].key, key)) return &s->entry[i];
    return NULL;
}

const struct cfg_entry *cfg_entry(const struct cfg_section *s, const char *key) {
    struct cfg_entry *e = find(s, key);
    if (e) e->used = true;
    return e;
}

const char *cfg_value(const struct cfg_section *s, const char *key) {
    const struct cfg_entry *e = cfg_entry(s, key);
    return e ? e->value : NULL;
}

static void describe(char *to, size_t size, const struct cfg_section *s, int line, const char *key,
                     const char *fmt, va_list args) {
    char text[768];
    vsnprintf(text, sizeof text, fmt, args);
    const struct cfg_entry *e = key ? find(s, key) : NULL;
    if (!line) line = e ? e->line : s->line;
    bool bare = *s->type == '\0' || *s->type == '[';
    snprintf(to, size, "%s:%d: %s%.80s%s%s%s%s%s", s->doc->path, line, bare ? "" : "[", s->type,
             bare ? "" : "]", *s->type ? " " : "", key ? key : "", key ? ": " : "", text);
}

enum status cfg_fail(struct ctx *ctx, const struct cfg_section *s, const char *key, const char *fmt, ...) {
    char text[1024];
    va_list args;
    va_start(args, fmt);
    describe(text, sizeof text, s, 0, key, fmt, args);
    va_end(args);
    return ctx_fail(ctx, ST_CFG, "%s", text);
}

enum status cfg_fail_as(struct ctx *ctx, enum status code, const struct cfg_section *s, const char *key,
                        const char *fmt, ...) {
    char text[1024];
    va_list args;
    va_start(args, fmt);
    describe(text, sizeof text, s, 0, key, fmt, args);
    va_end(args);
    return ctx_fail(ctx, code, "%s", text);
}

void cfg_warn(struct ctx *ctx, const struct cfg_section *s, int line, const char *key, const char *fmt, ...) {
    char text[1024];
    va_list args;
    va_start(args, fmt);
    describe(text, sizeof text, s, line, key, fmt, args);
    va_end(args);
    ctx_log(ctx, LOG_WARN, "%s", text);
}

/* --- Writing and editing -------------------------------------------------------------------------------- */

enum status cfg_text(struct ctx *ctx, const struct cfg_doc *doc, char **text, size_t *size) {
    size_t n = 0;
    for (int i = 0; i < doc->n_line; ++i) n += strlen(doc->text[i]) + strlen(doc->eol[i]);
    char *out = *text = mem_zero(ctx, n + 1, 1);
    *size = n;
    if (!out) return ST_MEMORY;
    for (int i = 0; i < doc->n_line; ++i) {
        size_t line = strlen(doc->text[i]), end = strlen(doc->eol[i]);
        memcpy(out, doc->text[i], line);
        memcpy(out + line, doc->eol[i], end);
        out += line + end;
    }
    return ST_OK;
}

static char first_mark(const struct cfg_doc *doc, int line) { return doc->text[line][strspn(doc->text[line], " \t\r")]; }

/* Lines [*from, *to) of a section, counted from 0: its header to its last option; `gone`: with what is only about it. */
static void section_span(const struct cfg_doc *doc, int section, bool gone, int *from, int *to) {
    const struct cfg_section *s = &doc->section[section];
    *from = s->line - 1;
    *to = s->n ? s->entry[s->n - 1].line : s->line;
    if (!gone) return;
    int comment = *from;
    while (comment > 0 && (first_mark(doc, comment - 1) == '#' || first_mark(doc, comment - 1) == ';')) --comment;
    if (comment > 0 && !first_mark(doc, comment - 1)) *from = comment; /* below a blank line: not an option commented out */
    while (*to < doc->n_line && !first_mark(doc, *to)) ++*to;
}

static char *append(char *to, const char *text, size_t n) { return (char *)memcpy(to, text, n) + n; }

enum status cfg_text_instead(struct ctx *ctx, const struct cfg_doc *doc, const char *const *instead, char **text, size_t *size) {
    size_t n = 0, lines = (size_t)doc->n_line + 1;
    const char *eol = doc->n_line && *doc->eol[0] ? doc->eol[0] : "\n";
    const char **put = mem_zero(ctx, lines, sizeof *put);
    char *gone = mem_zero(ctx, lines, 1);
    for (int i = 0; i < doc->n_line; ++i) n += strlen(doc->text[i]) + strlen(doc->eol[i]);
    for (int i = 0, from, to; i < doc->n && put && gone; ++i) {
        if (!instead[i]) continue;
        n += 2 * strlen(instead[i]);
        section_span(doc, i, !*instead[i], &from, &to);
        put[from] = instead[i];
        memset(gone + from, 1, (size_t)(to - from));
    }
    char *out = *text = ctx->code == ST_OK ? mem_zero(ctx, n + 1, 1) : NULL;
    for (int i = 0; i < doc->n_line && out; ++i) {
        for (const char *at = put[i]; at && *at; at += strcspn(at, "\n") + 1) {
            out = append(out, at, strcspn(at, "\n"));
            out = append(out, eol, strlen(eol));
        }
        if (gone[i]) continue;
        out = append(out, doc->text[i], strlen(doc->text[i]));
        out = append(out, doc->eol[i], strlen(doc->eol[i]));
    }
    *size = out ? (size_t)(out - *text) : 0;
    free(put), free(gone);
    return ctx->code;
}

const char *cfg_raw_value(const struct cfg_doc *doc, const struct cfg_entry *e) {
    const char *equals = strchr(doc->text[e->line - 1], '=');
    return equals ? equals + 1 : "";
}

/* Where the value lies in a raw line: [*from, *to).  A number ends with its last digit (upstream drops the
 * blanks inside "6 4", so they belong to it); other text ends before a note or the trailing blanks. */
static void value_span(const char *line, bool number, size_t *from, size_t *to) {
    const char *blanks = " \t\r";
    size_t at = (size_t)(strchr(line, '=') - line) + 1;
    at += strspn(line + at, blanks);
    size_t end = at;
    size_t sign = number && (line[at] == '-' || line[at] == '+');
    for (size_t i = at + sign; number && line[i] && strchr("0123456789. \t", line[i]); ++i)
        if (!strchr(blanks, line[i])) end = i + 1;
    if (end == at) {
        end = at + strcspn(line + at, "#;");
        while (end > at && strchr(blanks, line[end - 1])) --end;
    }
    *from = at;
    *to = end;
}

static enum status replace_value(struct ctx *ctx, struct cfg_doc *doc, struct cfg_entry *e, const char *value,
                                 bool number) {
    char *old = doc->text[e->line - 1];
    size_t n = strlen(old), from = n, to = n, m = strlen(value);
    bool equals = strchr(old, '=') != NULL;
    if (equals) {
        value_span(old, number, &from, &to);
    } else {
        while (from && strchr(" \t\r", old[from - 1])) --from;
        to = from;
    }
    char *fresh = mem_zero(ctx, n + m + 2, 1), *known = mem_zero(ctx, n + m + 2, 1);
    if (!fresh || !known) {
        free(fresh);
        free(known);
        return ST_MEMORY;
    }
    memcpy(fresh, old, from);
    snprintf(fresh + from, n + m + 2 - from, "%s%s%s", equals ? "" : "=", value, old + to);
    strcpy(known, strchr(fresh, '=') + 1);
    text_strip_blanks(known);
    free(old);
    free(e->value);
    doc->text[e->line - 1] = fresh;
    e->value = known;
    return ST_OK;
}

/* A new line behind line number `after` (1-based). */
static enum status insert_line(struct ctx *ctx, struct cfg_doc *doc, int after, char *text) {
    TRY(reserve_lines(ctx, doc, doc->n_line + 1));
    size_t rest = (size_t)(doc->n_line - after);
    memmove(doc->text + after + 1, doc->text + after, rest * sizeof *doc->text);
    memmove(doc->eol + after + 1, doc->eol + after, rest * sizeof *doc->eol);
    doc->text[after] = text;
    doc->eol[after] = after > 0 ? doc->eol[after - 1] : "\n";
    if (after > 0 && !*doc->eol[after - 1]) doc->eol[after - 1] = *doc->eol[0] ? doc->eol[0] : "\n";
    ++doc->n_line;
    for (int i = 0; i < doc->n; ++i) {
        struct cfg_section *s = &doc->section[i];
        if (s->line > after) ++s->line;
        for (int k = 0; k < s->n; ++k) s->entry[k].line += s->entry[k].line > after;
    }
    return ST_OK;
}

static enum status append_option(struct ctx *ctx, struct cfg_doc *doc, struct cfg_section *s, const char *key,
                                 const char *value) {
    int after = s->n ? s->entry[s->n - 1].line : *s->type ? s->line : doc->n_line;
    size_t n = strlen(key) + strlen(value) + 2;
    char *line = mem_zero(ctx, n, 1), *stripped = mem_zero(ctx, n, 1);
    enum status st = line && stripped ? ST_OK : ST_MEMORY;
    if (st == ST_OK) {
        snprintf(line, n, "%s=%s", key, value);
        memcpy(stripped, line, n);
        text_strip_blanks(stripped);
        st = insert_line(ctx, doc, after, line);
    }
    if (st == ST_OK)
        st = add_entry(ctx, s, stripped, after + 1);
    else
        free(line);
    free(stripped);
    return st;
}

static enum status set(struct ctx *ctx, struct cfg_doc *doc, int section, const char *key, const char *value,
                       bool number) {
    if (section < 0 || section >= doc->n || strpbrk(value, "\r\n") || !value[strspn(value, " \t")])
        return ctx_fail(ctx, ST_USAGE, "%s: %s cannot be set to '%s' in section %d of %d", doc->path, key,
                        value, section, doc->n);
    struct cfg_section *s = &doc->section[section];
    struct cfg_entry *e = find(s, key);
    return e ? replace_value(ctx, doc, e, value, number) : append_option(ctx, doc, s, key, value);
}

enum status cfg_set_int(struct ctx *ctx, struct cfg_doc *doc, int section, const char *key, int value) {
    char text[16];
    snprintf(text, sizeof text, "%d", value);
    return set(ctx, doc, section, key, text, true);
}

enum status cfg_set_text(struct ctx *ctx, struct cfg_doc *doc, int section, const char *key,
                         const char *value) {
    return set(ctx, doc, section, key, value, false);
}
