/* The agreement of two saliency runs, layer by layer, as SVG. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "recipe/drift.h"

enum { WIDTH = 1000, LEFT = 64, RIGHT = 976, TOP = 176, BOTTOM = 520, HEIGHT = 640, LINE_CHARS = 118 };

static void put_text(FILE *f, const char *s) {
    for (; *s; ++s) {
        if (*s == '<') fputs("&lt;", f);
        else if (*s == '&') fputs("&amp;", f);
        else fputc((unsigned char)*s < 32 ? ' ' : *s, f);
    }
}

static void text_at(FILE *f, double x, double y, const char *class_name, const char *anchor, const char *s) {
    fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\" text-anchor=\"%s\">", x, y, class_name, anchor);
    put_text(f, s);
    fputs("</text>\n", f);
}

struct scale { double low; int n; };
static double y_of(const struct scale *s, double tau) { return BOTTOM - (BOTTOM - TOP) * (tau - s->low) / (1 - s->low); }
static double x_of(const struct scale *s, int i) { return LEFT + (RIGHT - LEFT) * (i + .5) / s->n; }

/* Colours and shapes both tell how a layer does, so that either is enough. */
static const char *mark_class(double tau, double expected) {
    double share = expected > 0 ? tau / expected : tau;
    return share >= .9 ? "holds" : share >= .7 ? "partly" : "differs";
}
static void put_mark(FILE *f, double x, double y, const char *class_name) {
    if (!strcmp(class_name, "holds")) fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4.5\" class=\"holds\"/>\n", x, y);
    else if (!strcmp(class_name, "partly"))
        fprintf(f, "<path d=\"M%.1f %.1fl6 6l-6 6l-6 -6z\" class=\"partly\"/>\n", x, y - 6);
    else fprintf(f, "<rect x=\"%.1f\" y=\"%.1f\" width=\"9\" height=\"9\" class=\"differs\"/>\n", x - 4.5, y - 4.5);
}

static double expected_of(const struct drift_layer *l) { return l->half[0] > 0 && l->half[1] > 0 ? sqrt(l->half[0] * l->half[1]) : NAN; }

static void put_style(FILE *f) {
    fputs("<style>\n"
          "svg{background:#fff;font-family:system-ui,-apple-system,'Segoe UI',sans-serif}\n"
          ".title{font-size:20px;font-weight:600;fill:#1d2129}.body{font-size:15px;fill:#1d2129}.small{font-size:13px;fill:#5a6270}\n"
          ".grid{stroke:#e3e6ea}.axis{stroke:#8b93a0}.stem{stroke:#b9c0ca;stroke-width:1.5}.half{stroke:#5a6270;stroke-width:2}\n"
          ".whole{stroke:#1d2129;stroke-dasharray:6 4}.expected{stroke:#5a6270;stroke-dasharray:2 4}\n"
          ".holds{fill:#0072b2}.partly{fill:#e69f00}.differs{fill:#b3261e}\n"
          "@media (prefers-color-scheme:dark){svg{background:#15171c}.title,.body{fill:#e8eaee}.small{fill:#a4acba}.grid{stroke:#2b2f37}\n"
          ".stem{stroke:#4a515d}.half{stroke:#a4acba}.whole{stroke:#e8eaee}.expected{stroke:#a4acba}.holds{fill:#56b4e9}.differs{fill:#f2705f}}\n"
          "</style>\n", f);
}

/* The verdict over lines of a length that fits; returns the y behind it. */
static double put_verdict(FILE *f, const struct drift *d, double y) {
    char line[LINE_CHARS + 1];
    for (const char *p = d->text; *p;) {
        size_t n = strlen(p);
        if (n > LINE_CHARS)
            for (n = LINE_CHARS; n > 1 && p[n] != ' ';) --n;
        snprintf(line, sizeof line, "%.*s", (int)n, p);
        text_at(f, LEFT - 40, y, "body", "start", line);
        y += 22;
        for (p += n; *p == ' ';) ++p;
    }
    return y;
}

static void put_head(FILE *f, const struct drift *d) {
    static const char *const title[] = { "The filters rank alike", "The filters rank alike in the main", "The filters rank differently",
                                         "Whether the filters rank alike cannot be told" };
    text_at(f, LEFT - 40, 34, "title", "start", title[d->verdict]);
    double y = put_verdict(f, d, 62);
    for (int r = 0; r < 2; ++r) {
        char text[700], own[64] = "";
        if (!isnan(d->run[r].tau)) snprintf(own, sizeof own, ", tau between its halves %.2f", d->run[r].tau);
        snprintf(text, sizeof text, "%s: %s, %d images%s%s%s", r ? "B" : "A", d->run[r].path, d->run[r].images, *d->run[r].list ? " of " : "",
                 d->run[r].list, own);
        text_at(f, LEFT - 40, y + 20 * r, "small", "start", text);
    }
}

static void put_axes(FILE *f, const struct drift *d, const struct scale *s) {
    char text[64];
    for (double v = ceil(s->low * 5 - 1e-9) / 5; v <= 1 + 1e-9; v += .2) {
        double y = y_of(s, v);
        fprintf(f, "<path d=\"M%d %.1fH%d\" class=\"%s\"/>\n", LEFT, y, RIGHT, fabs(v) < 1e-9 ? "axis" : "grid");
        snprintf(text, sizeof text, "%.1f", fabs(v) < 1e-9 ? 0 : v);
        text_at(f, LEFT - 8, y + 4, "small", "end", text);
    }
    text_at(f, LEFT, TOP - 10, "small", "start", "Kendall's tau per layer");
    int step = d->n_layer > 24 ? (d->n_layer + 23) / 24 : 1;
    for (int i = 0; i < d->n_layer; i += step) {
        snprintf(text, sizeof text, "%d", d->layer[i].layer);
        text_at(f, x_of(s, i), BOTTOM + 20, "small", "middle", text);
    }
    text_at(f, (LEFT + RIGHT) / 2.0, BOTTOM + 42, "small", "middle", "layer");
    fprintf(f, "<path d=\"M%d %.1fH%d\" class=\"whole\"/>\n", LEFT, y_of(s, d->tau), RIGHT);
    if (!isnan(d->expected)) fprintf(f, "<path d=\"M%d %.1fH%d\" class=\"expected\"/>\n", LEFT, y_of(s, d->expected), RIGHT);
}

static void put_layers(FILE *f, const struct drift *d, const struct scale *s) {
    for (int i = 0; i < d->n_layer; ++i) {
        const struct drift_layer *l = &d->layer[i];
        double x = x_of(s, i), e = expected_of(l);
        fprintf(f, "<g><title>layer %d [%s], %d groups: A to B %.2f; halves of A %.2f, of B %.2f</title>\n", l->layer, l->type, l->groups, l->tau,
                l->half[0], l->half[1]);
        if (!isnan(e)) {
            fprintf(f, "<path d=\"M%.1f %.1fV%.1f\" class=\"stem\"/>\n", x, y_of(s, e), y_of(s, l->tau));
            fprintf(f, "<path d=\"M%.1f %.1fh10\" class=\"half\"/>\n", x - 5, y_of(s, e));
        }
        put_mark(f, x, y_of(s, l->tau), mark_class(l->tau, e));
        fputs("</g>\n", f);
    }
}

static void put_legend(FILE *f, const struct drift *d) {
    static const struct { const char *class_name, *text; } mark[] = {
        { "holds", "as alike as the halves (90 % or more)" }, { "partly", "70 to 90 %" }, { "differs", "less" } };
    char text[200];
    double x = LEFT;
    for (int i = 0; i < 3; ++i) {
        put_mark(f, x + 6, HEIGHT - 44, mark[i].class_name);
        text_at(f, x + 18, HEIGHT - 39, "small", "start", mark[i].text);
        x += 44 + 7.0 * (double)strlen(mark[i].text);
    }
    fprintf(f, "<path d=\"M%.1f %dh12\" class=\"half\"/>\n", x, HEIGHT - 44);
    text_at(f, x + 18, HEIGHT - 39, "small", "start", "what the halves reach");
    snprintf(text, sizeof text, "all %d groups: A to B %.2f (dashed)", d->groups, d->tau);
    if (!isnan(d->expected)) snprintf(text, sizeof text, "all %d groups: A to B %.2f (dashed), halves %.2f (dotted)", d->groups, d->tau, d->expected);
    text_at(f, RIGHT, TOP - 10, "small", "end", text);
    const struct drift_cut *c = &d->cut[1];
    snprintf(text, sizeof text, "The lowest %.0f %% by A: %.0f %% of them are among B's lowest %.0f %%; they carry %.1f %% of B's score, B's own choice %.1f %%.",
             100 * c->share, 100 * c->common, 100 * c->share, 100 * c->lost, 100 * c->own);
    text_at(f, LEFT, HEIGHT - 14, "small", "start", text);
}

enum status drift_write_svg(struct ctx *ctx, const struct drift *d, const char *path) {
    struct io_out out;
    struct scale s = { 0, d->n_layer };
    for (int i = 0; i < d->n_layer; ++i) s.low = fmin(s.low, floor(d->layer[i].tau * 5) / 5);
    s.low = fmin(s.low, floor(d->tau * 5) / 5);
    TRY(io_create(ctx, path, &out));
    fprintf(out.file, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\">\n", WIDTH, HEIGHT, WIDTH,
            HEIGHT);
    put_style(out.file);
    fprintf(out.file, "<title>agreement of two saliency runs</title>\n");
    put_head(out.file, d);
    put_axes(out.file, d, &s);
    put_layers(out.file, d, &s);
    put_legend(out.file, d);
    fputs("</svg>\n", out.file);
    return io_commit(ctx, &out);
}
