/* Strict numbers, slices and the nearest known name for an unknown one. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Leading number of s as C's strtol/strtod read it; *rest is what follows it.  False when there is no number, or it
 * does not fit.  A Darknet cfg may have text behind a number ("64#note"): the caller decides whether that is allowed. */
bool text_int(const char *s, int *value, const char **rest);
bool text_double(const char *s, double *value, const char **rest);

/* The candidate closest to `name` by edit distance, or NULL when none is near enough to be a typing slip. */
const char *text_nearest(const char *name, const char *const *candidates, size_t n);

/* Removes every space, tab, CR and LF anywhere in s, as Darknet's option reader does. */
void text_strip_blanks(char *s);
/* Removes trailing CR and LF. */
void text_chomp(char *s);
bool text_ends_with(const char *s, const char *suffix);
/* s as it stands between the quotes of a JSON string. */
void text_write_json(FILE *to, const char *s);

#endif
