#include "cli/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

enum { MAX_OPTIONS = 64, HELP_COLUMN = 26 };

static const struct option *find(const struct option *table, const char *name) {
    for (; table && table->name; ++table)
        if (strcmp(table->name, name) == 0) return table;
    return NULL;
}

static enum status unknown(struct ctx *ctx, const struct option *table, const char *word) {
    const char *names[MAX_OPTIONS];
    size_t n = 0;
    for (; table && table->name && n < MAX_OPTIONS; ++table) names[n++] = table->name;
    const char *bare = word + strspn(word, "-"), *near = text_nearest(bare, names, n);
    if (near) return ctx_fail(ctx, ST_USAGE, "%s: unknown flag, did you mean -%s?", word, near);
    return ctx_fail(ctx, ST_USAGE, "%s: unknown flag; -h lists the known ones", word);
}

static enum status set_number(struct ctx *ctx, const struct option *o, const char *value, void *target) {
    bool limited = o->min <= o->max;
    const char *rest = "";
    double number = 0;
    int whole = 0;
    bool ok;
    if (o->type == OPTION_INT) {
        ok = text_int(value, &whole, &rest);
        number = whole;
    } else {
        ok = text_double(value, &number, &rest);
    }
    if (!ok || *rest)
        return ctx_fail(ctx, ST_USAGE, "-%s: '%s' is no %s", o->name, value,
                        o->type == OPTION_INT ? "whole number" : "number");
    if (limited && (number < o->min || number > o->max))
        return ctx_fail(ctx, ST_USAGE, "-%s: %s is outside %g to %g", o->name, value, o->min, o->max);
    if (o->type == OPTION_INT) memcpy(target, &whole, sizeof whole);
    else memcpy(target, &number, sizeof number);
    return ST_OK;
}

static enum status set_choice(struct ctx *ctx, const struct option *o, const char *value, void *target) {
    char known[256] = "";
    size_t at = 0;
    for (const struct option_choice *c = o->choices; c->name; ++c) {
        if (strcmp(c->name, value) == 0) {
            memcpy(target, &c->value, sizeof c->value);
            return ST_OK;
        }
        if (at < sizeof known)
            at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", at ? ", " : "", c->name);
    }
    return ctx_fail(ctx, ST_USAGE, "-%s: '%s' is none of %s", o->name, value, known);
}

static enum status set(struct ctx *ctx, const struct option *o, const char *value, void *target) {
    const bool yes = true;
    switch (o->type) {
    case OPTION_FLAG: memcpy(target, &yes, sizeof yes); return ST_OK;
    case OPTION_TEXT:
        if (!*value) return ctx_fail(ctx, ST_USAGE, "-%s: the value is empty", o->name);
        memcpy(target, &value, sizeof value);
        return ST_OK;
    case OPTION_CHOICE: return set_choice(ctx, o, value, target);
    case OPTION_INT:
    case OPTION_FLOAT: break;
    }
    return set_number(ctx, o, value, target);
}

enum status options_parse(struct ctx *ctx, int argc, char **argv, const struct option *table, void *target,
                          struct arguments *words, int max_words) {
    const int cap = (int)(sizeof words->word / sizeof *words->word);
    *words = (struct arguments){ 0 };
    for (int i = 0; i < argc; ++i) {
        const char *word = argv[i];
        if (word[0] != '-' || !word[1]) {
            if (words->n >= max_words || words->n >= cap)
                return ctx_fail(ctx, ST_USAGE, "'%s': one argument too many; -h shows what is expected",
                                word);
            words->word[words->n++] = word;
            continue;
        }
        const struct option *o = find(table, word + 1);
        if (!o) return unknown(ctx, table, word);
        const char *value = NULL;
        if (o->type != OPTION_FLAG) {
            if (i + 1 >= argc)
                return ctx_fail(ctx, ST_USAGE, "%s: needs a value: %s %s", word, word,
                                o->value ? o->value : "N");
            value = argv[++i];
        }
        TRY(set(ctx, o, value, (char *)target + o->offset));
    }
    return ST_OK;
}

static void help_row(const struct option *o) {
    char left[128];
    size_t at = (size_t)snprintf(left, sizeof left, "  -%s", o->name);
    if (o->type == OPTION_CHOICE && !o->value) {
        for (const struct option_choice *c = o->choices; c->name && at < sizeof left; ++c)
            at += (size_t)snprintf(left + at, sizeof left - at, "%s%s", c == o->choices ? " " : "|", c->name);
    } else if (o->type != OPTION_FLAG) {
        snprintf(left + at, sizeof left - at, " %s", o->value ? o->value : "N");
    }
    if (strlen(left) < HELP_COLUMN) printf("%-*s%s\n", HELP_COLUMN, left, o->help);
    else printf("%s\n%*s%s\n", left, HELP_COLUMN, "", o->help);
}

void options_help(const char *command, const char *words, const char *summary, const struct option *table) {
    printf("darknet %s%s%s\n%s\n", command, words && *words ? " " : "", words ? words : "", summary);
    if (table && table->name) printf("\n");
    for (; table && table->name; ++table) help_row(table);
}

char *options_line(int argc, char **argv, const char *name) {
    size_t n = strlen(name) + 1;
    for (int i = 0; i < argc; ++i) n += strlen(argv[i]) + 1;
    char *text = calloc(n, 1);
    if (text) strcpy(text, name);
    for (int i = 0; text && i < argc; ++i) {
        strcat(text, " ");
        strcat(text, argv[i]);
    }
    return text;
}
