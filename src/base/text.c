#include "base/text.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool text_int(const char *s, int *value, const char **rest) {
    char *end;
    errno = 0;
    long v = strtol(s, &end, 10);
    if (end == s || errno || v < INT_MIN || v > INT_MAX) return false;
    *value = (int)v;
    if (rest) *rest = end;
    return true;
}

bool text_double(const char *s, double *value, const char **rest) {
    char *end;
    errno = 0;
    double v = strtod(s, &end);
    if (end == s || (errno && fabs(v) > 1) || !isfinite(v)) return false;
    *value = v;
    if (rest) *rest = end;
    return true;
}

/* Levenshtein distance with one row; names are short, longer ones are cut. */
static size_t distance(const char *a, const char *b) {
    size_t row[65], n = strlen(b);
    if (n > 64) n = 64;
    for (size_t j = 0; j <= n; ++j) row[j] = j;
    for (size_t i = 1; a[i - 1] && i <= 64; ++i) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; ++j) {
            size_t up = row[j], best = diagonal + (a[i - 1] != b[j - 1]);
            if (up + 1 < best) best = up + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
            diagonal = up;
        }
    }
    return row[n];
}

const char *text_nearest(const char *name, const char *const *candidates, size_t n) {
    const char *best = NULL;
    size_t best_distance = strlen(name) / 3 + 2;
    for (size_t i = 0; i < n; ++i) {
        size_t d = distance(name, candidates[i]);
        if (d < best_distance) best_distance = d, best = candidates[i];
    }
    return best;
}

void text_strip_blanks(char *s) {
    char *to = s;
    for (; *s; ++s)
        if (*s != ' ' && *s != '\t' && *s != '\r' && *s != '\n') *to++ = *s;
    *to = '\0';
}

void text_chomp(char *s) {
    size_t n = strlen(s);
    while (n && (s[n - 1] == '\n' || s[n - 1] == '\r')) s[--n] = '\0';
}

bool text_ends_with(const char *s, const char *suffix) {
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && strcmp(s + n - m, suffix) == 0;
}

void text_write_json(FILE *to, const char *s) {
    for (; *s; ++s) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\') fprintf(to, "\\%c", c);
        else if (c < 32) fprintf(to, "\\u%04x", c);
        else fputc(c, to);
    }
}
