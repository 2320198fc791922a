/* The report's tables, and its audit record. */
#include <math.h>

#include "recipe/html.h"
#include "recipe/report_page.h"

static void cell(const struct page *p, double value, double scale, int digits) {
    fputs("<td>", p->to);
    html_figure(p->to, NULL, value, scale, digits, NULL);
    fputs("</td>", p->to);
}

static void change(const struct page *p, double before, double after) {
    double points = 100 * (after - before);
    if (!isfinite(points)) fputs("<td class=\"none\">\xe2\x80\x93</td>", p->to);
    else fprintf(p->to, "<td class=\"%s\">%s%.1f</td>", points < 0 ? "bad" : "good", points < 0 ? "\xe2\x88\x92" : "+", fabs(points));
}

void page_class_table(const struct page *p) {
    const cJSON *a = page_item(p->accuracy[0], "classes"), *b = page_item(p->accuracy[1], "classes");
    if (!a || !b) return;
    fputs("<h3>Average precision by class, %</h3>\n<div class=\"wide\"><table><thead><tr><th>class</th><th>objects</th><th>before</th><th>after</th>"
          "<th>change</th><th>right / wrong before</th><th>right / wrong after</th></tr></thead><tbody>\n", p->to);
    for (a = a->child, b = b->child; a && b; a = a->next, b = b->next) {
        if (!(page_number(a, "truths") > 0)) continue;
        fputs("<tr><td>", p->to);
        html_text(p->to, page_text(a, "name"));
        fputs("</td>", p->to);
        cell(p, page_number(a, "truths"), 1, 0);
        cell(p, page_number(a, "ap"), 100, 1);
        cell(p, page_number(b, "ap"), 100, 1);
        change(p, page_number(a, "ap"), page_number(b, "ap"));
        fprintf(p->to, "<td>%.0f / %.0f</td><td>%.0f / %.0f</td></tr>\n", page_number(a, "tp"), page_number(a, "fp"), page_number(b, "tp"), page_number(b, "fp"));
    }
    fprintf(p->to, "</tbody></table></div>\n<p class=\"note\">Right and wrong: detections from confidence %g on.</p>\n", page_number(p->report, "thresh"));
}

/* Why the record says that a layer stays whole; "": it does not. */
static const char *frozen(const struct page *p, double layer) {
    const cJSON *o;
    cJSON_ArrayForEach(o, page_item(p->record, "layers"))
        if (page_number(o, "layer") == layer) return page_text(o, "frozen");
    return "";
}

static void layer_row(const struct page *p, const cJSON *a, const cJSON *b, bool reasons) {
    fprintf(p->to, "<tr><td>%.0f ", page_number(a, "layer"));
    html_text(p->to, page_text(a, "type"));
    fputs("</td>", p->to);
    const struct { const char *name; double scale; int digits; } column[] = { { "filters", 1, 0 }, { "params", 1e-3, 1 }, { "flops", 1e-6, 2 }, { "ms", 1, 3 } };
    for (size_t i = 0; i < sizeof column / sizeof *column; ++i) {
        cell(p, page_number(a, column[i].name), column[i].scale, column[i].digits);
        if (b) cell(p, page_number(b, column[i].name), column[i].scale, column[i].digits);
    }
    if (reasons) {
        fputs("<td class=\"left soft\">", p->to);
        html_text(p->to, frozen(p, page_number(a, "layer")));
        fputs("</td>", p->to);
    }
    fputs("</tr>\n", p->to);
}

static void layer_table(const struct page *p, const cJSON *a, const cJSON *b) {
    bool reasons = b && page_item(p->record, "layers");
    if (!a) return;
    fputs("<div class=\"wide\"><table><thead><tr><th>layer</th>", p->to);
    static const char *const name[] = { "filters", "params (k)", "MFLOPs", "ms" };
    for (int i = 0; i < 4; ++i) fprintf(p->to, b ? "<th>%s before</th><th>after</th>" : "<th>%s</th>", name[i]);
    fputs(reasons ? "<th class=\"left\">stays because of</th></tr></thead><tbody>\n" : "</tr></thead><tbody>\n", p->to);
    for (a = a->child, b = b ? b->child : NULL; a; a = a->next, b = b ? b->next : NULL)
        if (page_number(a, "params") > 0) layer_row(p, a, b, reasons);
    fputs("</tbody></table></div>\n", p->to);
}

void page_layer_table(const struct page *p) {
    const cJSON *a = page_item(p->side[0], "layers"), *b = page_item(p->side[1], "layers");
    if (cJSON_IsTrue(page_item(p->report, "layers_paired"))) {
        fputs("<h3 style=\"margin-top:22px\">Layers</h3>\n", p->to);
        layer_table(p, a, b);
        return;
    }
    fputs("<h3 style=\"margin-top:22px\">Layers before</h3>\n", p->to);
    layer_table(p, a, NULL);
    fputs("<h3 style=\"margin-top:22px\">Layers after</h3>\n", p->to);
    layer_table(p, b, NULL);
}

/* --- Audit ---------------------------------------------------------------------------------------------- */

static void entry(const struct page *p, const char *name, const char *label) {
    const cJSON *v = page_item(p->record, name);
    if (!v || cJSON_IsObject(v) || cJSON_IsArray(v)) return;
    fprintf(p->to, "<dt>%s</dt><dd>", label);
    if (cJSON_IsString(v)) html_text(p->to, v->valuestring);
    else if (cJSON_IsBool(v)) fputs(cJSON_IsTrue(v) ? "yes" : "no", p->to);
    else fprintf(p->to, "%.10g", v->valuedouble);
    fputs("</dd>\n", p->to);
}

static void file_row(const struct page *p, const char *what, const cJSON *file) {
    if (!file || !*page_text(file, "sha256")) return;
    fputs("<tr><td>", p->to);
    html_text(p->to, what);
    fputs("</td><td class=\"left\" style=\"overflow-wrap:anywhere\">", p->to);
    html_text(p->to, page_text(file, "path"));
    fputs("</td><td class=\"left hash\">", p->to);
    html_text(p->to, page_text(file, "sha256"));
    fputs("</td></tr>\n", p->to);
}

void page_audit(const struct page *p) {
    static const struct { const char *name, *label; } known[] = { { "command", "command" }, { "version", "version" }, { "criterion", "criterion" },
        { "target", "target" }, { "target_value", "target value" }, { "cost_power", "power of the cost" }, { "seed", "seed" }, { "images", "images scored on" },
        { "compensated", "means of removed channels made up for" }, { "kendall_tau_halves", "agreement of the two halves of the images (Kendall\xe2\x80\x99s tau)" },
        { "masked_vs_pruned", "masked against pruned network, largest relative difference (limit 1e-4)" } };
    const cJSON *inputs = page_item(p->record, "inputs"), *o;
    fputs("<dl>\n", p->to);
    for (size_t i = 0; i < sizeof known / sizeof *known; ++i) entry(p, known[i].name, known[i].label);
    fputs("</dl>\n<table><thead><tr><th>file</th><th class=\"left\">path</th><th class=\"left\">SHA-256</th></tr></thead><tbody>\n", p->to);
    cJSON_ArrayForEach(o, inputs) file_row(p, o->string ? o->string : "", o);
    if (!page_item(inputs, "cfg")) {
        file_row(p, "cfg before", page_item(p->side[0], "cfg"));
        file_row(p, "weights before", page_item(p->side[0], "weights"));
    }
    file_row(p, "cfg after", page_item(p->side[1], "cfg"));
    file_row(p, "weights after", page_item(p->side[1], "weights"));
    fputs("</tbody></table>\n", p->to);
    int labels = cJSON_GetArraySize(page_item(inputs, "labels"));
    if (labels) fprintf(p->to, "<p class=\"note\">The hashes of the %d label files that were scored on stand in the JSON.</p>\n", labels);
}
