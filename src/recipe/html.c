#include "recipe/html.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Length of the UTF-8 character at s that XML allows; 0: there is none. */
static int character(const unsigned char *s) {
    int n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
    uint32_t code = n == 1 ? s[0] : s[0] & (0xffu >> (n + 1));
    for (int i = 1; i < n; ++i) {
        if ((s[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (s[i] & 0x3f);
    }
    if (n == 1 && code < 0x20 && code != '\t' && code != '\n') return 0;
    if ((n == 3 && code < 0x800) || (n == 4 && (code < 0x10000 || code > 0x10ffff))) return 0;
    if ((code >= 0xd800 && code < 0xe000) || code == 0xfffe || code == 0xffff) return 0;
    return n;
}

void html_short(FILE *to, const char *s, int most) {
    const unsigned char *p = (const unsigned char *)s;
    for (int count = 0; *p; ++count) {
        int n = character(p);
        if (count == most) {
            fputs("\xe2\x80\xa6", to);
            return;
        }
        if (n == 0) fputs("\xef\xbf\xbd", to), n = 1;
        else if (*p == '&') fputs("&amp;", to);
        else if (*p == '<') fputs("&lt;", to);
        else if (*p == '>') fputs("&gt;", to);
        else if (*p == '"') fputs("&quot;", to);
        else if (*p == '\'') fputs("&#39;", to);
        else fwrite(p, 1, (size_t)n, to);
        p += n;
    }
}

void html_text(FILE *to, const char *s) { html_short(to, s, -1); }

void html_textf(FILE *to, const char *fmt, ...) {
    char text[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    html_text(to, text);
}

void html_data_uri(FILE *to, const char *mime, const void *bytes, size_t size) {
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *p = bytes;
    fprintf(to, "data:%s;base64,", mime);
    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0u);
        putc(digit[v >> 18], to);
        putc(digit[v >> 12 & 63], to);
        putc(left > 1 ? digit[v >> 6 & 63] : '=', to);
        putc(left > 2 ? digit[v & 63] : '=', to);
    }
}

void html_figure(FILE *to, const char *id, double value, double scale, int digits, const char *unit) {
    if (!isfinite(value)) {
        fputs("<span class=\"none\">\xe2\x80\x93</span>", to);
        return;
    }
    fputs("<data", to);
    if (id) fprintf(to, " id=\"%s\"", id);
    fprintf(to, " value=\"%.17g\">%.*f</data>", value, digits, value * scale);
    if (unit && *unit) fputs("\xc2\xa0", to), html_text(to, unit);
}
