/* The page that compares the networks of a proof of concept. */
#include "recipe/poc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "recipe/html.h"
#include "recipe/report_page.h"
#include "recipe/svg.h"

static const double MIB = 1024 * 1024;
enum { LARGEST_MARK = 15, SMALLEST_MARK = 5 };

struct poc_view { FILE *to; const cJSON *record, *poc, *points; const cJSON *uncut; int n; };

static double least(const struct poc_view *v, const char *name, int sign) {
    double best = (double)NAN;
    const cJSON *p;
    cJSON_ArrayForEach(p, v->points) {
        double x = page_number(p, name);
        if (!isfinite(best) || sign * x < sign * best) best = x;
    }
    return best;
}

static bool on_front(const cJSON *p) { return cJSON_IsTrue(page_item(p, "front")); }

/* --- Heading -------------------------------------------------------------------------------------------- */

static void advice(const struct poc_view *v) {
    static const double drop[] = { 1, 3, 6 };
    char map[40];
    snprintf(map, sizeof map, "mAP@%g", page_number(v->poc, "iou_thresh"));
    fputs("<div class=\"cards\" id=\"advice\">\n", v->to);
    for (size_t i = 0; i < sizeof drop / sizeof *drop; ++i) {
        const cJSON *p = poc_fastest_within(v->points, drop[i]);
        fprintf(v->to, "<div class=\"card\"><h2>Fastest within %g point%s of %s</h2>\n", drop[i], drop[i] == 1 ? "" : "s", map);
        if (!p) {
            fputs("<p class=\"big\">\xe2\x80\x93</p><p class=\"what\">nothing that is faster is as accurate as that</p></div>\n", v->to);
            continue;
        }
        double change = 100 * (page_number(p, "map") - page_number(v->uncut, "map"));
        fputs("<p class=\"big\">", v->to);
        html_text(v->to, page_text(p, "name"));
        fprintf(v->to, "</p>\n<p class=\"what\">of the %s</p>\n<table><tbody><tr><td>speed</td><td>%.2f\xc3\x97</td></tr><tr><td>weights</td><td>%.0f\xc2\xa0%%</td></tr>"
                "<tr><td>memory to run</td><td>%.0f\xc2\xa0%%</td></tr><tr><td>%s</td><td>%.1f\xc2\xa0%% (%s%.1f)</td></tr>", page_text(v->poc, "target"),
                1 / page_number(p, "time_share"), 100 * page_number(p, "weight_bytes") / page_number(v->uncut, "weight_bytes"),
                100 * page_number(p, "peak_bytes") / page_number(v->uncut, "peak_bytes"), map, 100 * page_number(p, "map"), change < 0 ? "\xe2\x88\x92" : "+", fabs(change));
        double small = page_number(p, "map_small"), whole = page_number(v->uncut, "map_small");
        if (small >= 0 && whole >= 0) fprintf(v->to, "<tr><td>small objects</td><td>%.1f\xc2\xa0%% (was %.1f)</td></tr>", 100 * small, 100 * whole);
        fputs("</tbody></table></div>\n", v->to);
    }
    fputs("</div>\n", v->to);
}

static void heading(const struct poc_view *v) {
    const char *cfg = page_text(v->uncut, "cfg"), *slash = strrchr(cfg, '/'), *name = slash ? slash + 1 : cfg;
    const cJSON *data = page_item(v->poc, "data");
    int front = 0;
    const cJSON *p;
    cJSON_ArrayForEach(p, v->points) front += on_front(p);
    fputs("<header>\n<p class=\"eyebrow\">Proof of concept</p>\n<h1>", v->to);
    html_text(v->to, name);
    fprintf(v->to, " at several sizes</h1>\n<p class=\"lead\">%d networks compared by accuracy, latency and size; %d of them are beaten by no other in all three.</p>\n</header>\n<main>\n",
            v->n, front);
    advice(v);
    fprintf(v->to, "<p class=\"note\">Judged on %.0f images with %.0f objects of ", page_number(data, "images_seen"), page_number(data, "objects"));
    html_text(v->to, page_text(data, "list"));
    fprintf(v->to, "; every cut was trained for %.0f iterations", page_number(v->poc, "finetune"));
    if (page_number(v->poc, "steps") > 1) fprintf(v->to, " after each of %.0f steps", page_number(v->poc, "steps"));
    fputs(". Times were taken beside the uncut network\xe2\x80\x99s, pass by pass (", v->to);
    html_text(v->to, page_text(v->poc, "device"));
    fputs("); the milliseconds are its own times the ratio.</p>\n", v->to);
}

/* --- Plots ---------------------------------------------------------------------------------------------- */

static int by_x(const void *a, const void *b) {
    const double *p = a, *q = b;
    return p[0] != q[0] ? (p[0] > q[0]) - (p[0] < q[0]) : (p[1] < q[1]) - (p[1] > q[1]);
}

/* Through the points that no other beats in these two. */
static void front_line(const struct svg_plot *plot, const struct poc_view *v, const char *name) {
    double at[POC_MOST + 2][2], x[POC_MOST + 2], y[POC_MOST + 2], best = -1;
    int n = 0, kept = 0;
    const cJSON *p;
    cJSON_ArrayForEach(p, v->points)
        if (n < POC_MOST + 2) at[n][0] = page_number(p, name), at[n][1] = page_number(p, "map"), ++n;
    qsort(at, (size_t)n, sizeof *at, by_x);
    for (int i = 0; i < n; ++i)
        if (at[i][1] > best) best = y[kept] = at[i][1], x[kept++] = at[i][0];
    svg_plot_line(plot, "s1", x, y, kept);
}

/* Accuracy over one cost; the area of a mark is the size of the weights. */
static void plot(const struct poc_view *v, const char *name, const char *label, double scale, int digits, const char *title) {
    struct svg_plot plot = { title, 560, 400, { label, 0, 0, scale, digits }, { "mAP, %", 0, 0, 100, 0 }, v->to };
    double x0 = least(v, name, 1), x1 = least(v, name, -1), y0 = least(v, "map", 1), y1 = least(v, "map", -1), heavy = least(v, "weight_bytes", -1);
    double mx = fmax((x1 - x0) * .12, x1 * .02), my = fmax((y1 - y0) * .15, .005);
    svg_axis_fit(&plot.x, fmax(x0 - mx, 0), x1 + mx);
    svg_axis_fit(&plot.y, fmax(y0 - my, 0), y1 + my);
    fprintf(v->to, "<figure><figcaption><b>%s</b></figcaption>\n", title);
    svg_plot_begin(&plot);
    front_line(&plot, v, name);
    const cJSON *p;
    cJSON_ArrayForEach(p, v->points) {
        char tip[200];
        double x = page_number(p, name), y = page_number(p, "map"), radius = fmax(LARGEST_MARK * sqrt(page_number(p, "weight_bytes") / heavy), SMALLEST_MARK);
        snprintf(tip, sizeof tip, "%.60s: %.2f ms, %.2f MiB, mAP %.1f %%", page_text(p, "name"), page_number(p, "ms"), page_number(p, "weight_bytes") / MIB, 100 * y);
        svg_plot_mark(&plot, on_front(p) ? "s1" : "s0", x, y, radius, page_text(p, "name"), x > (plot.x.min + plot.x.max) / 2, tip);
    }
    svg_plot_end(&plot);
    fputs("</figure>\n", v->to);
}

static void plots(const struct poc_view *v) {
    fputs("<section id=\"plots\">\n<h2>Accuracy against latency and size</h2>\n<p class=\"note\">Up and to the left is better. Blue marks: the Pareto front, networks that "
          "no other beats in accuracy, latency and size at once; the line joins those that none beats in the two that a plot shows. The area of a mark is the size of its weights.</p>\n", v->to);
    fputs("<ul class=\"legend\"><li><i class=\"s1\"></i>on the front</li><li><i class=\"s0\"></i>beaten by another</li></ul>\n<div class=\"two\">\n", v->to);
    plot(v, "ms", "ms per image", 1, 1, "Latency");
    plot(v, "weight_bytes", "weights, MiB", 1 / MIB, 2, "Size");
    fputs("</div>\n</section>\n", v->to);
}

static void sizes(const struct poc_view *v) {
    static const struct { const char *name, *style; } line[] = { { "map_large", "s0" }, { "map", "s1" }, { "map_small", "s2" }, { "map_medium", "s3" } };
    struct svg_plot plot = { "Accuracy over what is kept, by object size", 960, 340, { "FLOPs kept, %", 0, 0, 100, 0 }, { "mAP, %", 0, 0, 100, 0 }, v->to };
    double x[POC_MOST + 2], y[POC_MOST + 2], whole = page_number(v->uncut, "flops"), top = 0;
    for (int i = 0; i < 4; ++i) top = fmax(top, least(v, line[i].name, -1));
    svg_axis_fit(&plot.x, fmax(least(v, "flops", 1) / whole - .05, 0), 1.0);
    svg_axis_fit(&plot.y, 0, top);
    fputs("<section id=\"sizes\">\n<h2>What happens to small objects</h2>\n<p class=\"note\">Accuracy by object size over the share of the computation that is kept, after training.</p>\n", v->to);
    page_legend(v->to, (const char *const[]){ "large", "all objects", "small", "medium" }, 4);
    fputs("<figure><div class=\"wide\">", v->to);
    svg_plot_begin(&plot);
    for (int i = 0; i < 4; ++i) {
        int n = 0;
        const cJSON *p;
        cJSON_ArrayForEach(p, v->points) {
            if (!strcmp(page_text(p, "name"), "uncut, trained on") || !(page_number(p, line[i].name) >= 0) || n == POC_MOST + 2) continue;
            x[n] = page_number(p, "flops") / whole, y[n] = page_number(p, line[i].name), ++n;
        }
        if (n == 0) continue;
        svg_plot_line(&plot, line[i].style, x, y, n);
        for (int k = 0; k < n; ++k) svg_plot_mark(&plot, line[i].style, x[k], y[k], 4, NULL, 0, NULL);
    }
    svg_plot_end(&plot);
    fputs("</div></figure>\n</section>\n", v->to);
}

/* --- Tables --------------------------------------------------------------------------------------------- */

static void cell(const struct poc_view *v, const char *id, double value, double scale, int digits) {
    fputs("<td>", v->to);
    html_figure(v->to, id, value < 0 ? (double)NAN : value, scale, digits, NULL);
    fputs("</td>", v->to);
}

static void table(const struct poc_view *v) {
    const cJSON *p;
    int i = 0;
    fputs("<section id=\"table\">\n<h2>All figures</h2>\n<div class=\"wide\"><table><thead><tr><th>network</th><th>FLOPs, %</th><th>params (k)</th><th>weights, MiB</th>"
          "<th>memory, MiB</th><th>ms</th><th>speed</th><th>mAP after the cut</th><th>mAP</th><th>small</th><th>medium</th><th>large</th><th class=\"left\">front</th></tr></thead><tbody>\n", v->to);
    cJSON_ArrayForEach(p, v->points) {
        char id[32];
        snprintf(id, sizeof id, "map_%d", i++);
        fprintf(v->to, "<tr%s><td>", on_front(p) ? " class=\"front\"" : "");
        html_text(v->to, page_text(p, "name"));
        fputs("</td>", v->to);
        cell(v, NULL, page_number(p, "flops") / page_number(v->uncut, "flops"), 100, 1);
        cell(v, NULL, page_number(p, "params"), 1e-3, 1);
        cell(v, NULL, page_number(p, "weight_bytes"), 1 / MIB, 2);
        cell(v, NULL, page_number(p, "peak_bytes"), 1 / MIB, 2);
        cell(v, NULL, page_number(p, "ms"), 1, 2);
        fprintf(v->to, "<td>%.2f\xc3\x97</td>", 1 / page_number(p, "time_share"));
        cell(v, NULL, page_number(p, "map_after_cut"), 100, 1);
        cell(v, id, page_number(p, "map"), 100, 1);
        cell(v, NULL, page_number(p, "map_small"), 100, 1);
        cell(v, NULL, page_number(p, "map_medium"), 100, 1);
        cell(v, NULL, page_number(p, "map_large"), 100, 1);
        fprintf(v->to, "<td class=\"left\">%s</td></tr>\n", on_front(p) ? "\xe2\x97\x8f yes" : "");
    }
    fputs("</tbody></table></div>\n", v->to);
    if (v->uncut->next && !strcmp(page_text(v->uncut->next, "name"), "uncut, trained on"))
        fputs("<p class=\"note\">\xe2\x80\x9cUncut, trained on\xe2\x80\x9d is the uncut network with the training that the cuts had: what training alone gains.</p>\n", v->to);
    fputs("</section>\n", v->to);
}

static void classes(const struct poc_view *v) {
    const cJSON *c, *p;
    int k = 0;
    fputs("<section id=\"classes\">\n<h2>Average precision by class, %</h2>\n<div class=\"wide\"><table><thead><tr><th>class</th><th>objects</th>", v->to);
    cJSON_ArrayForEach(p, v->points) fputs("<th>", v->to), html_text(v->to, page_text(p, "name")), fputs("</th>", v->to);
    fputs("</tr></thead><tbody>\n", v->to);
    cJSON_ArrayForEach(c, page_item(v->poc, "classes")) {
        int index = k++;
        if (!(page_number(c, "truths") > 0)) continue;
        fputs("<tr><td>", v->to);
        html_text(v->to, page_text(c, "name"));
        fprintf(v->to, "</td><td>%.0f</td>", page_number(c, "truths"));
        cJSON_ArrayForEach(p, v->points) {
            const cJSON *ap = cJSON_GetArrayItem(page_item(p, "ap"), index);
            cell(v, NULL, cJSON_IsNumber(ap) ? ap->valuedouble : (double)NAN, 100, 1);
        }
        fputs("</tr>\n", v->to);
    }
    fputs("</tbody></table></div>\n</section>\n", v->to);
}

static void audit(const struct poc_view *v) {
    const cJSON *p, *o;
    fputs("<section id=\"audit\">\n<h2>Audit record</h2>\n<dl><dt>command</dt><dd>", v->to);
    html_text(v->to, page_text(v->record, "command"));
    fputs("</dd>\n", v->to);
    cJSON_ArrayForEach(p, v->points) {
        if (!*page_text(p, "command")) continue;
        fputs("<dt>", v->to);
        html_text(v->to, page_text(p, "name"));
        fputs("</dt><dd>", v->to);
        html_text(v->to, page_text(p, "command"));
        fputs("; its own page: ", v->to);
        html_text(v->to, page_text(p, "page"));
        fputs("</dd>\n", v->to);
    }
    fputs("</dl>\n<table><thead><tr><th>file</th><th class=\"left\">path</th><th class=\"left\">SHA-256</th></tr></thead><tbody>\n", v->to);
    cJSON_ArrayForEach(o, page_item(v->record, "inputs")) {
        if (!*page_text(o, "sha256")) continue;
        fputs("<tr><td>", v->to);
        html_text(v->to, o->string);
        fputs("</td><td class=\"left\" style=\"overflow-wrap:anywhere\">", v->to);
        html_text(v->to, page_text(o, "path"));
        fputs("</td><td class=\"left hash\">", v->to);
        html_text(v->to, page_text(o, "sha256"));
        fputs("</td></tr>\n", v->to);
    }
    fputs("</tbody></table>\n</section>\n</main>\n<footer>Every figure of this page stands in the JSON file beside it.</footer>\n", v->to);
}

enum status poc_page(struct ctx *ctx, const cJSON *record, char **html) {
    size_t size;
    struct poc_view v = { .record = record, .poc = page_item(record, "poc") };
    v.points = page_item(v.poc, "points");
    v.uncut = v.points ? v.points->child : NULL;
    v.n = cJSON_GetArraySize(v.points);
    *html = NULL;
    if (!v.uncut) return ctx_fail(ctx, ST_FORMAT, "the record compares no networks");
    if (!(v.to = open_memstream(html, &size))) return ctx_fail(ctx, ST_MEMORY, "out of memory for the page");
    page_begin(v.to, "Proof of concept");
    heading(&v);
    plots(&v);
    table(&v);
    sizes(&v);
    classes(&v);
    audit(&v);
    page_end(v.to);
    if (fclose(v.to) == 0) return ST_OK;
    free(*html);
    *html = NULL;
    return ctx_fail(ctx, ST_MEMORY, "out of memory for the page");
}
