/* Pieces of a page that is well-formed XML, too, and needs nothing from outside: text, figures, data in place of links. */
#ifndef RECIPE_HTML_H
#define RECIPE_HTML_H

#include <stdio.h>

#include "base/ctx.h"

/* s as text or between the quotes of an attribute: markup escaped, what is no UTF-8 or no XML character replaced by U+FFFD. */
void html_text(FILE *, const char *s);
/* At most `most` characters of it, an ellipsis behind them when there are more. */
void html_short(FILE *, const char *s, int most);
/* printf whose result is escaped. */
void html_textf(FILE *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* "data:MIME;base64,..." */
void html_data_uri(FILE *, const char *mime, const void *bytes, size_t size);
/* value * scale with so many digits, the value itself in full behind it: <data value="...">; NaN: a dash.  id: or NULL. */
void html_figure(FILE *, const char *id, double value, double scale, int digits, const char *unit);

#endif
