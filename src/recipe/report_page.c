#include "recipe/report_page.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval/map.h"
#include "eval/speed.h"
#include "recipe/html.h"
#include "recipe/report_style.h"
#include "recipe/svg.h"

enum { MOST_CLASS_BARS = 24, MOST_CURVES = 8 };
static const double KIB = 1024;
static const char *const size_name[MAP_SIZES] = { "small", "medium", "large" };

const cJSON *page_item(const cJSON *o, const char *name) { return o ? cJSON_GetObjectItemCaseSensitive(o, name) : NULL; }
double page_number(const cJSON *o, const char *name) {
    const cJSON *v = page_item(o, name);
    return cJSON_IsNumber(v) ? v->valuedouble : (double)NAN;
}
const char *page_text(const cJSON *o, const char *name) {
    const char *s = cJSON_GetStringValue(page_item(o, name));
    return s ? s : "";
}

/* --- The frame ------------------------------------------------------------------------------------------ */

void page_begin(FILE *to, const char *title) {
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"/>\n<title>",
          to);
    html_text(to, title);
    fprintf(to, "</title>\n<style>\n%s</style>\n</head>\n<body>\n", report_style);
}

void page_end(FILE *to) { fputs("</body>\n</html>\n", to); }

void page_legend(FILE *to, const char *const *name, int n) {
    fputs("<ul class=\"legend\">", to);
    for (int i = 0; i < n; ++i) {
        if (!name[i]) continue;
        fprintf(to, "<li><i class=\"s%d\"></i>", i);
        html_text(to, name[i]);
        fputs("</li>", to);
    }
    fputs("</ul>\n", to);
}

/* --- The three figures ---------------------------------------------------------------------------------- */

static void pair(const struct page *p, const double *value, double scale, int digits, const char *unit, const char *id) {
    static const char *const name[REPORT_SIDES] = { "before", "after" };
    double most = fmax(value[0], value[1]);
    fputs("<div class=\"pair\">\n", p->to);
    for (int s = 0; s < REPORT_SIDES; ++s) {
        char full[64];
        snprintf(full, sizeof full, "%s_%s", id, name[s]);
        fprintf(p->to, "<div><span>%s</span><i class=\"s%d\" style=\"width:%.1f%%\"></i><span>", name[s], s,
                most > 0 && isfinite(value[s]) ? 100 * value[s] / most : 0);
        html_figure(p->to, full, value[s], scale, digits, unit);
        fputs("</span></div>\n", p->to);
    }
    fputs("</div>\n", p->to);
}

static void row(const struct page *p, const char *what, const double *value, double scale, int digits) {
    fputs("<tr><td>", p->to);
    html_text(p->to, what);
    for (int s = 0; s < REPORT_SIDES; ++s) {
        fputs("</td><td>", p->to);
        html_figure(p->to, NULL, value[s], scale, digits, NULL);
    }
    fputs("</td></tr>\n", p->to);
}

static void both(const struct page *p, const char *name, double *value) {
    for (int s = 0; s < REPORT_SIDES; ++s) value[s] = page_number(p->side[s], name);
}

static void rows_begin(const struct page *p) { fputs("<table><thead><tr><th></th><th>before</th><th>after</th></tr></thead><tbody>\n", p->to); }

static void speed_card(const struct page *p) {
    double ms[REPORT_SIDES], v[REPORT_SIDES];
    const cJSON *ratio = page_item(p->report, "time_ratio");
    both(p, "ms", ms);
    fprintf(p->to, "<div class=\"card\" id=\"speed\"><h2>Speed</h2>\n<p class=\"big\">%.2f\xc3\x97</p>\n<p class=\"what\">", 1 / page_number(ratio, "median"));
    if (cJSON_IsTrue(page_item(ratio, "noise"))) fputs("the speed: a difference within the noise", p->to);
    else fprintf(p->to, "the speed (%.0f %%: %.2f to %.2f)", 100 * SPEED_CONFIDENCE, 1 / page_number(ratio, "high"), 1 / page_number(ratio, "low"));
    fputs("</p>\n", p->to);
    pair(p, ms, 1, 2, "ms", "ms");
    rows_begin(p);
    for (int s = 0; s < REPORT_SIDES; ++s) v[s] = 1e3 / ms[s];
    row(p, "images per second", v, 1, 1);
    both(p, "ms_p90", v);
    if (isfinite(v[0]) || isfinite(v[1])) row(p, "ms, 90th percentile", v, 1, 2);
    both(p, "load_ms", v);
    if (isfinite(v[0]) || isfinite(v[1])) row(p, "ms from files to first result", v, 1, 0);
    both(p, "flops", v);
    row(p, "BFLOPs per image", v, 1e-9, 3);
    fputs("</tbody></table></div>\n", p->to);
}

static void memory_card(const struct page *p) {
    double v[REPORT_SIDES], peak[REPORT_SIDES];
    both(p, "peak_bytes", peak);
    bool known = isfinite(peak[0]) && isfinite(peak[1]);
    both(p, "weight_bytes", v);
    const double *lead = known ? peak : v;
    double share = 100 * (lead[1] / lead[0] - 1);
    fprintf(p->to, "<div class=\"card\" id=\"memory\"><h2>Memory</h2>\n<p class=\"big\">%s%.0f\xc2\xa0%%</p>\n<p class=\"what\">%s</p>\n",
            share < 0 ? "\xe2\x88\x92" : "+", fabs(share), known ? "memory to run, one image at a time" : "size of the weights");
    pair(p, lead, 1 / (KIB * KIB), 2, "MiB", known ? "peak" : "weights");
    rows_begin(p);
    if (known) row(p, "weights, MiB", v, 1 / (KIB * KIB), 2);
    both(p, "activation_bytes", v);
    row(p, "activations, MiB", v, 1 / (KIB * KIB), 2);
    both(p, "params", v);
    row(p, "parameters, million", v, 1e-6, 3);
    fputs("</tbody></table></div>\n", p->to);
}

static void map_name(const struct page *p, char *text, size_t size) { snprintf(text, size, "mAP@%g", page_number(p->report, "iou_thresh")); }

static void accuracy_card(const struct page *p) {
    double map[REPORT_SIDES], v[REPORT_SIDES];
    char name[40];
    fputs("<div class=\"card\" id=\"accuracy\"><h2>Accuracy</h2>\n", p->to);
    if (!p->accuracy[0] || !p->accuracy[1]) {
        fputs("<p class=\"big\">\xe2\x80\x93</p>\n<p class=\"what\">not measured</p>\n<p class=\"missing\">", p->to);
        html_text(p->to, page_text(p->report, "accuracy_missing"));
        fputs("</p></div>\n", p->to);
        return;
    }
    for (int s = 0; s < REPORT_SIDES; ++s) map[s] = page_number(p->accuracy[s], "map");
    map_name(p, name, sizeof name);
    double change = 100 * (map[1] - map[0]);
    fprintf(p->to, "<p class=\"big\">%s%.1f</p>\n<p class=\"what\">points of %s</p>\n", change < 0 ? "\xe2\x88\x92" : "+", fabs(change), name);
    pair(p, map, 100, 1, "%", "map");
    rows_begin(p);
    for (int i = 0; i < MAP_SIZES; ++i) {
        char what[64];
        const cJSON *size[REPORT_SIDES];
        for (int s = 0; s < REPORT_SIDES; ++s) {
            size[s] = page_item(page_item(p->accuracy[s], "size"), size_name[i]);
            v[s] = page_number(size[s], "map");
        }
        snprintf(what, sizeof what, "%s objects (%.0f)", size_name[i], page_number(size[0], "truths"));
        row(p, what, v, 100, 1);
    }
    for (int s = 0; s < REPORT_SIDES; ++s) v[s] = page_number(p->accuracy[s], "precision");
    row(p, "precision", v, 100, 1);
    for (int s = 0; s < REPORT_SIDES; ++s) v[s] = page_number(p->accuracy[s], "recall");
    row(p, "recall", v, 100, 1);
    fputs("</tbody></table></div>\n", p->to);
}

/* --- Heading -------------------------------------------------------------------------------------------- */

static void lead(const struct page *p) {
    double weights[REPORT_SIDES];
    char name[40];
    both(p, "weight_bytes", weights);
    const cJSON *ratio = page_item(p->report, "time_ratio");
    if (cJSON_IsTrue(page_item(ratio, "noise"))) fprintf(p->to, "<p class=\"lead\">No faster that could be measured, with %.0f\xc2\xa0%% of the weights", 100 * weights[1] / weights[0]);
    else fprintf(p->to, "<p class=\"lead\">%.2f times as fast with %.0f\xc2\xa0%% of the weights", 1 / page_number(ratio, "median"), 100 * weights[1] / weights[0]);
    if (p->accuracy[0] && p->accuracy[1]) {
        double a = page_number(p->accuracy[0], "map"), b = page_number(p->accuracy[1], "map");
        double sa = page_number(page_item(page_item(p->accuracy[0], "size"), "small"), "map");
        double sb = page_number(page_item(page_item(p->accuracy[1], "size"), "small"), "map");
        map_name(p, name, sizeof name);
        fprintf(p->to, "; %s %s from %.1f to %.1f\xc2\xa0%%", name, b < a ? "falls" : "rises", 100 * a, 100 * b);
        if (isfinite(sa) && isfinite(sb)) fprintf(p->to, ", that of small objects from %.1f to %.1f\xc2\xa0%%", 100 * sa, 100 * sb);
    } else {
        fputs("; what that does to accuracy could not be measured", p->to);
    }
    fputs(".</p>\n", p->to);
}

static void basis(const struct page *p) {
    const cJSON *data = page_item(p->report, "data");
    double seen = page_number(data, "images_seen"), gone = page_number(data, "images_unreadable"), bare = page_number(data, "label_files_missing"),
           lines = page_number(data, "label_lines_left_out");
    fputs("<p class=\"note\">", p->to);
    if (isfinite(seen) && !*page_text(p->report, "accuracy_missing")) {
        fprintf(p->to, "Measured on %.0f images with %.0f objects of ", seen, page_number(data, "objects"));
        html_text(p->to, page_text(data, "list"));
        fputs(". ", p->to);
        if (gone > 0) fprintf(p->to, "%.0f of %.0f listed images could not be read and are left out. ", gone, page_number(data, "images_listed"));
        if (bare > 0) fprintf(p->to, "%.0f images have no label file and count as empty. ", bare);
        if (lines > 0) fprintf(p->to, "%.0f bad label lines are left out. ", lines);
    }
    fputs("Times: medians of passes of both networks, alternately on one machine (", p->to);
    html_text(p->to, page_text(p->report, "device"));
    fputs("); their ratio carries over better than the milliseconds do. Memory: weights, outputs and workspace while it runs.</p>\n", p->to);
}

static void contents(const struct page *p) {
    static const struct { const char *id, *name; } section[] = { { "sizes", "By size and class" }, { "curves", "Precision and recall" },
        { "pictures", "Pictures" }, { "schedule", "Course" }, { "layers", "Layers" }, { "tables", "Tables" }, { "audit", "Audit record" } };
    fputs("<nav aria-label=\"Contents\"><ul>", p->to);
    for (size_t i = 0; i < sizeof section / sizeof *section; ++i)
        if (strcmp(section[i].id, "schedule") || cJSON_GetArraySize(page_item(page_item(p->record, "loop"), "steps")))
            fprintf(p->to, "<li><a href=\"#%s\">%s</a></li>", section[i].id, section[i].name);
    fputs("</ul></nav>\n", p->to);
}

static void heading(const struct page *p) {
    fputs("<header>\n<p class=\"eyebrow\">Before and after</p>\n<h1>", p->to);
    html_text(p->to, page_text(p->report, "title"));
    fputs("</h1>\n", p->to);
    lead(p);
    fputs("</header>\n", p->to);
    contents(p);
    fputs("<main>\n<div class=\"cards\" id=\"figures\">\n", p->to);
    speed_card(p);
    memory_card(p);
    accuracy_card(p);
    fputs("</div>\n", p->to);
    basis(p);
}

/* --- Accuracy ------------------------------------------------------------------------------------------- */

static void section(const struct page *p, const char *id, const char *title) {
    fprintf(p->to, "<section id=\"%s\">\n<h2>%s</h2>\n", id, title);
}

static bool told_missing(const struct page *p) {
    if (p->accuracy[0] && p->accuracy[1]) return false;
    fputs("<p class=\"missing\">Not measured: ", p->to);
    html_text(p->to, page_text(p->report, "accuracy_missing"));
    fputs(".</p>\n", p->to);
    return true;
}

/* Accuracy right after the last cut, where training followed it; else NULL. */
static const cJSON *page_cut(const struct page *p) { return page_item(p->record, "map_after_finetune") ? page_item(p->record, "map_after_cut") : NULL; }

static void size_bars(const struct page *p) {
    double v[3][MAP_SIZES];
    char count[MAP_SIZES][32], member[32];
    const char *note[MAP_SIZES];
    const cJSON *cut = page_cut(p);
    for (int i = 0; i < MAP_SIZES; ++i) {
        for (int s = 0; s < REPORT_SIDES; ++s) v[s][i] = page_number(page_item(page_item(p->accuracy[s], "size"), size_name[i]), "map");
        snprintf(member, sizeof member, "map_%s", size_name[i]);
        v[2][i] = page_number(cut, member);
        if (v[2][i] < 0) v[2][i] = (double)NAN;
        snprintf(count[i], sizeof count[i], "%.0f", page_number(page_item(page_item(p->accuracy[0], "size"), size_name[i]), "truths"));
        note[i] = count[i];
    }
    struct svg_series series[] = { { "before", "s0", v[0] }, { "after", "s1", v[1] }, { "right after the cut", "s2", v[2] } };
    fputs("<figure><figcaption><b>By object size</b>, with the number of objects</figcaption>\n", p->to);
    svg_rows(p->to, &(struct svg_bars){ "Average precision by object size, before and after", MAP_SIZES, size_name, note, cut ? 3 : 2, series, 1, 100, 1 });
    fputs("</figure>\n", p->to);
}

struct class_row { const char *name; double truths, ap[REPORT_SIDES]; const cJSON *curve[REPORT_SIDES]; };
static int by_truths(const void *a, const void *b) {
    const struct class_row *p = a, *q = b;
    return (p->truths < q->truths) - (p->truths > q->truths);
}

/* Classes that have objects, most of them first. */
static struct class_row *class_rows(const struct page *p, int *n) {
    const cJSON *list[REPORT_SIDES], *a, *b;
    *n = 0;
    for (int s = 0; s < REPORT_SIDES; ++s) list[s] = page_item(p->accuracy[s], "classes");
    struct class_row *rows = calloc((size_t)cJSON_GetArraySize(list[0]) + 1, sizeof *rows);
    if (!rows || !list[0] || !list[1]) return rows;
    for (a = list[0]->child, b = list[1]->child; a && b; a = a->next, b = b->next) {
        if (!(page_number(a, "truths") > 0)) continue;
        rows[(*n)++] = (struct class_row){ page_text(a, "name"), page_number(a, "truths"), { page_number(a, "ap"), page_number(b, "ap") },
                                           { page_item(a, "curve"), page_item(b, "curve") } };
    }
    qsort(rows, (size_t)*n, sizeof *rows, by_truths);
    return rows;
}

static void class_bars(const struct page *p, const struct class_row *rows, int n) {
    const char *label[MOST_CLASS_BARS], *note[MOST_CLASS_BARS];
    double v[REPORT_SIDES][MOST_CLASS_BARS];
    char count[MOST_CLASS_BARS][32];
    for (int i = 0; i < n; ++i) {
        label[i] = rows[i].name;
        for (int s = 0; s < REPORT_SIDES; ++s) v[s][i] = rows[i].ap[s];
        snprintf(count[i], sizeof count[i], "%.0f", rows[i].truths);
        note[i] = count[i];
    }
    struct svg_series series[] = { { "before", "s0", v[0] }, { "after", "s1", v[1] } };
    svg_rows(p->to, &(struct svg_bars){ "Average precision by class, before and after", n, label, note, 2, series, 1, 100, 1 });
}

static void accuracy(const struct page *p) {
    section(p, "sizes", "Accuracy by object size and by class");
    if (!told_missing(p)) {
        int n, shown;
        double present = page_number(p->accuracy[0], "classes_present"), all = cJSON_GetArraySize(page_item(p->accuracy[0], "classes"));
        struct class_row *rows = class_rows(p, &n);
        shown = n < MOST_CLASS_BARS ? n : MOST_CLASS_BARS;
        fprintf(p->to, "<p class=\"note\">Average precision in %%, overlap at least %g. Sizes by area at the network\xe2\x80\x99s input (%.0f\xc3\x97%.0f): small below "
                "32\xc3\x97""32, large from 96\xc3\x97""96. A class or size with few objects says little.", page_number(p->report, "iou_thresh"),
                page_number(p->side[0], "width"), page_number(p->side[0], "height"));
        if (present < all)
            fprintf(p->to, " %.0f of the %.0f classes have objects here; over them alone mAP is %.1f before and %.1f after.", present, all,
                    100 * page_number(p->accuracy[0], "map_present"), 100 * page_number(p->accuracy[1], "map_present"));
        fputs("</p>\n", p->to);
        const char *const series[] = { "before", page_cut(p) ? "after (cut and trained)" : "after", page_cut(p) ? "right after the last cut" : NULL };
        page_legend(p->to, series, 3);
        fputs("<div class=\"two\">\n<div>\n", p->to);
        size_bars(p);
        bool split = shown > 8; /* the left column has the sizes above */
        int first = split ? (shown - 3) / 2 : shown;
        if (!split) fputs("</div>\n<div>", p->to);
        fprintf(p->to, "<figure%s><figcaption><b>By class</b>", split ? " style=\"margin-top:18px\"" : "");
        if (shown < n) fprintf(p->to, ", the %d with the most objects (all of them stand in the tables)", shown);
        fputs("</figcaption>\n", p->to);
        class_bars(p, rows, first);
        fputs("</figure>", p->to);
        if (split) {
            fputs("</div>\n<div><figure>", p->to);
            class_bars(p, rows + first, shown - first);
            fputs("</figure>", p->to);
        }
        fputs("</div>\n</div>\n", p->to);
        free(rows);
    }
    fputs("</section>\n", p->to);
}

static void curve(const struct page *p, const char *title, const cJSON *const *list, int w, int h) {
    struct svg_plot plot = { title, w, h, { "recall, %", 0, 1, 100, 0 }, { "precision, %", 0, 1, 100, 0 }, p->to };
    svg_plot_begin(&plot);
    for (int s = 0; s < REPORT_SIDES; ++s) {
        double x[MAP_CURVE], y[MAP_CURVE];
        int n = 0;
        const cJSON *v;
        cJSON_ArrayForEach(v, list[s]) {
            if (n == MAP_CURVE) break;
            x[n] = (double)n / (MAP_CURVE - 1), y[n] = v->valuedouble;
            ++n;
        }
        svg_plot_line(&plot, s ? "s1" : "s0", x, y, n);
    }
    svg_plot_end(&plot);
}

static void curves(const struct page *p) {
    section(p, "curves", "Precision and recall");
    if (!told_missing(p)) {
        int n;
        struct class_row *rows = class_rows(p, &n);
        const cJSON *mean[REPORT_SIDES] = { page_item(p->accuracy[0], "curve"), page_item(p->accuracy[1], "curve") };
        fputs("<p class=\"note\">How many of the detections are right, when so many of the objects are to be found. The area under a curve is the average "
              "precision.</p>\n", p->to);
        page_legend(p->to, (const char *const[]){ "before (dashed)", "after" }, 2);
        fputs("<figure><figcaption><b>Mean over the classes</b></figcaption>\n<div style=\"max-width:560px\">", p->to);
        curve(p, "Precision over recall, mean of the classes, before and after", mean, 560, 330);
        fputs("</div></figure>\n<div class=\"four\" style=\"margin-top:20px\">\n", p->to);
        for (int i = 0; i < n && i < MOST_CURVES; ++i) {
            fputs("<figure><figcaption><b>", p->to);
            html_text(p->to, rows[i].name);
            fprintf(p->to, "</b>, %.0f objects</figcaption>\n", rows[i].truths);
            curve(p, "Precision over recall of one class, before and after", rows[i].curve, 250, 200);
            fputs("</figure>\n", p->to);
        }
        fputs("</div>\n", p->to);
        if (n > MOST_CURVES) fprintf(p->to, "<p class=\"note\">The %d classes with the most objects; the JSON has the curves of all %d.</p>\n", MOST_CURVES, n);
        free(rows);
    }
    fputs("</section>\n", p->to);
}

/* --- Layers --------------------------------------------------------------------------------------------- */

/* Of the layers with parameters: `name` of each, and what a tooltip says. */
struct columns { int n; double *value[REPORT_SIDES]; char (*label)[16], (*tip)[160]; const char **label_of, **tip_of; };

static void columns_free(struct columns *c) {
    free(c->value[0]), free(c->value[1]), free(c->label), free(c->tip), free(c->label_of), free(c->tip_of);
}

static bool columns_read(const cJSON *a, const cJSON *b, const char *name, double scale, const char *unit, struct columns *c) {
    size_t most = (size_t)cJSON_GetArraySize(a) + 1;
    *c = (struct columns){ 0, { calloc(most, sizeof **c->value), calloc(most, sizeof **c->value) }, calloc(most, sizeof *c->label),
                           calloc(most, sizeof *c->tip), calloc(most, sizeof *c->label_of), calloc(most, sizeof *c->tip_of) };
    if (!c->value[0] || !c->value[1] || !c->label || !c->tip || !c->label_of || !c->tip_of) return false;
    const cJSON *o = a ? a->child : NULL, *q = b ? b->child : NULL;
    for (; o; o = o->next, q = q ? q->next : NULL) {
        if (!(page_number(o, "params") > 0)) continue;
        double before = page_number(o, name), after = q ? page_number(q, name) : (double)NAN;
        c->value[0][c->n] = before, c->value[1][c->n] = after;
        snprintf(c->label[c->n], sizeof *c->label, "%.0f", page_number(o, "layer"));
        if (q) snprintf(c->tip[c->n], sizeof *c->tip, "layer %.0f, %.60s: %.4g to %.4g %s", page_number(o, "layer"), page_text(o, "type"), before * scale, after * scale, unit);
        else snprintf(c->tip[c->n], sizeof *c->tip, "layer %.0f, %.60s: %.4g %s", page_number(o, "layer"), page_text(o, "type"), before * scale, unit);
        c->label_of[c->n] = c->label[c->n];
        c->tip_of[c->n] = c->tip[c->n];
        ++c->n;
    }
    return true;
}

static void layer_chart(const struct page *p, const cJSON *a, const cJSON *b, const char *name, double scale, const char *unit, const char *title) {
    struct columns c;
    fprintf(p->to, "<figure style=\"margin-bottom:18px\"><figcaption><b>%s</b></figcaption>\n<div class=\"wide\">", title);
    if (columns_read(a, b, name, scale, unit, &c)) {
        struct svg_series series[] = { { "before", "s0", c.value[0] }, { "after", "s1", c.value[1] } };
        svg_columns(p->to, &(struct svg_bars){ title, c.n, c.label_of, c.tip_of, b ? 2 : 1, series, 0, scale, 0 }, "layer", unit);
    }
    columns_free(&c);
    fputs("</div></figure>\n", p->to);
}

static void layers(const struct page *p) {
    const cJSON *list[REPORT_SIDES] = { page_item(p->side[0], "layers"), page_item(p->side[1], "layers") };
    section(p, "layers", "Layer by layer");
    if (cJSON_IsTrue(page_item(p->report, "layers_paired"))) {
        fputs("<p class=\"note\">Layers with weights, in the network\xe2\x80\x99s order.</p>\n", p->to);
        page_legend(p->to, (const char *const[]){ "before", "after" }, 2);
        layer_chart(p, list[0], list[1], "filters", 1, "filters", "Width: filters per layer");
        layer_chart(p, list[0], list[1], "flops", 1e-6, "MFLOPs", "Computation per image");
        if (isfinite(page_number(list[0] ? list[0]->child : NULL, "ms"))) layer_chart(p, list[0], list[1], "ms", 1, "ms", "Time per image");
    } else {
        fputs("<p class=\"note\">The two networks are built of different layers, so each is shown by itself.</p>\n", p->to);
        layer_chart(p, list[0], NULL, "filters", 1, "filters", "Before: filters per layer");
        layer_chart(p, list[1], NULL, "filters", 1, "filters", "After: filters per layer");
    }
    fputs("</section>\n", p->to);
}

/* --- All of it ------------------------------------------------------------------------------------------ */

static void whole(const struct page *p) {
    page_begin(p->to, page_text(p->report, "title"));
    heading(p);
    accuracy(p);
    curves(p);
    page_examples(p);
    page_schedule(p);
    layers(p);
    section(p, "tables", "Tables");
    page_class_table(p);
    page_layer_table(p);
    fputs("</section>\n", p->to);
    section(p, "audit", "Audit record");
    page_audit(p);
    fputs("</section>\n</main>\n<footer>Every figure of this page stands in the JSON file beside it.</footer>\n", p->to);
    page_end(p->to);
}

enum status report_page(struct ctx *ctx, const cJSON *record, const struct report *pictures, char **html) {
    size_t size;
    struct page p = { .record = record, .report = page_item(record, "report"), .pictures = pictures };
    *html = NULL;
    p.side[REPORT_BEFORE] = page_item(p.report, "before");
    p.side[REPORT_AFTER] = page_item(p.report, "after");
    for (int s = 0; s < REPORT_SIDES; ++s) p.accuracy[s] = page_item(p.side[s], "accuracy");
    if (!p.side[0] || !p.side[1]) return ctx_fail(ctx, ST_FORMAT, "the record has no figures of two networks");
    if (!(p.to = open_memstream(html, &size))) return ctx_fail(ctx, ST_MEMORY, "out of memory for the page");
    whole(&p);
    if (fclose(p.to) == 0) return ST_OK;
    free(*html);
    *html = NULL;
    return ctx_fail(ctx, ST_MEMORY, "out of memory for the page");
}
