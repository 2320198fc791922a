/* The course of a run in steps: accuracy falls with every cut and comes back with training. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "recipe/html.h"
#include "recipe/report_page.h"
#include "recipe/svg.h"

struct course { int n, cap; double *iteration, *map, *small, *flops; };

static void add(struct course *c, double iteration, const cJSON *map, double flops) {
    if (c->n == c->cap) return;
    c->iteration[c->n] = iteration;
    c->map[c->n] = page_number(map, "map");
    c->small[c->n] = page_number(map, "map_small");
    if (c->small[c->n] < 0) c->small[c->n] = (double)NAN; /* no such object */
    c->flops[c->n++] = flops;
}

/* Two points per step: right after the cut, and after its training. */
static bool read_course(const struct page *p, const cJSON *loop, struct course *c) {
    const cJSON *steps = page_item(loop, "steps"), *o, *final = page_item(loop, "final");
    double at = 0, whole = page_number(page_item(p->record, "before"), "flops");
    *c = (struct course){ .cap = 2 * cJSON_GetArraySize(steps) + 2 };
    size_t cap = (size_t)c->cap;
    c->iteration = calloc(cap, sizeof *c->iteration), c->map = calloc(cap, sizeof *c->map);
    c->small = calloc(cap, sizeof *c->small), c->flops = calloc(cap, sizeof *c->flops);
    if (!c->iteration || !c->map || !c->small || !c->flops) return false;
    add(c, 0, page_item(p->record, "map_before"), 1);
    cJSON_ArrayForEach(o, steps) {
        double flops = page_number(o, "flops") / whole;
        add(c, at, page_item(o, "map_after_cut"), flops);
        if (!page_item(o, "map_after_finetune")) continue;
        at += page_number(o, "iterations");
        add(c, at, page_item(o, "map_after_finetune"), flops);
    }
    if (final) add(c, at + page_number(final, "iterations"), page_item(final, "map_after_finetune"), (double)NAN);
    return true;
}

static void chart(const struct page *p, const struct course *c, const cJSON *loop) {
    double top = 0, right = c->iteration[c->n - 1];
    for (int i = 0; i < c->n; ++i) top = fmax(top, fmax(c->map[i], isfinite(c->small[i]) ? c->small[i] : 0));
    const cJSON *base = page_item(loop, "baseline"), *o;
    cJSON_ArrayForEach(o, base) top = fmax(top, page_number(page_item(o, "map_after_finetune"), "map"));
    struct svg_plot plot = { "Accuracy over the iterations of training, with a fall at every cut", 960, 320, { "iterations of fine-tuning", 0, 0, 1, 0 },
                             { "mAP, %", 0, 0, 100, 0 }, p->to };
    svg_axis_fit(&plot.x, 0, right > 0 ? right : 1);
    svg_axis_fit(&plot.y, 0, top > 0 ? top : 1);
    svg_plot_begin(&plot);
    svg_plot_line(&plot, "s2", c->iteration, c->small, c->n);
    svg_plot_line(&plot, "s1", c->iteration, c->map, c->n);
    if (cJSON_GetArraySize(base)) {
        double at = 0, x[2] = { 0, 0 }, y[2] = { c->map[0], 0 };
        cJSON_ArrayForEach(o, base) {
            x[1] = at += page_number(o, "iterations"), y[1] = page_number(page_item(o, "map_after_finetune"), "map");
            svg_plot_line(&plot, "s0", x, y, 2);
            svg_plot_mark(&plot, "s0", x[1], y[1], 3.5, NULL, 0, "the unpruned network with the same training");
            x[0] = x[1], y[0] = y[1];
        }
    }
    for (int i = 0; i < c->n; ++i) {
        char tip[120];
        snprintf(tip, sizeof tip, "%.0f %% of the FLOPs, iteration %.0f: mAP %.1f %%", 100 * c->flops[i], c->iteration[i], 100 * c->map[i]);
        svg_plot_mark(&plot, "s1", c->iteration[i], c->map[i], 4, NULL, 0, tip);
    }
    svg_plot_end(&plot);
}

static void cell(const struct page *p, double value, double scale, int digits) {
    fputs("<td>", p->to);
    html_figure(p->to, NULL, value < 0 ? (double)NAN : value, scale, digits, NULL);
    fputs("</td>", p->to);
}

static void table(const struct page *p, const cJSON *loop) {
    const cJSON *o;
    double whole = page_number(page_item(p->record, "before"), "flops");
    fputs("<div class=\"wide\"><table><thead><tr><th>step</th><th>FLOPs kept, %</th><th>params (k)</th><th>mAP after the cut</th><th>small</th><th>iterations</th>"
          "<th>mAP after training</th><th>small</th><th class=\"left\"></th></tr></thead><tbody>\n", p->to);
    cJSON_ArrayForEach(o, page_item(loop, "steps")) {
        const cJSON *cut = page_item(o, "map_after_cut"), *tuned = page_item(o, "map_after_finetune");
        fprintf(p->to, "<tr><td>%.0f</td>", page_number(o, "step"));
        cell(p, page_number(o, "flops") / whole, 100, 1);
        cell(p, page_number(o, "params"), 1e-3, 1);
        cell(p, page_number(cut, "map"), 100, 1);
        cell(p, page_number(cut, "map_small"), 100, 1);
        cell(p, page_number(o, "iterations"), 1, 0);
        cell(p, page_number(tuned, "map"), 100, 1);
        cell(p, page_number(tuned, "map_small"), 100, 1);
        fprintf(p->to, "<td class=\"left\">%s</td></tr>\n", cJSON_IsFalse(page_item(o, "held")) ? "given up" : "");
    }
    fputs("</tbody></table></div>\n", p->to);
}

static void settings(const struct page *p, const cJSON *loop) {
    const cJSON *base = page_item(loop, "baseline"), *last = cJSON_GetArrayItem(base, cJSON_GetArraySize(base) - 1);
    fprintf(p->to, "<p class=\"note\">%d of %.0f planned steps (", cJSON_GetArraySize(page_item(loop, "steps")), page_number(loop, "steps_planned"));
    html_text(p->to, page_text(loop, "schedule"));
    fprintf(p->to, "); learning rate times %g", page_number(loop, "finetune_lr"));
    if (page_number(loop, "distill") > 0) fprintf(p->to, "; taught by the unpruned network with weight %g", page_number(loop, "distill"));
    fputs(". Every fall is a cut, every rise a training.", p->to);
    if (last) fprintf(p->to, " With the same training alone the unpruned network comes to %.1f\xc2\xa0%%.", 100 * page_number(page_item(last, "map_after_finetune"), "map"));
    if (*page_text(loop, "stopped")) fputs(" Ended early: ", p->to), html_text(p->to, page_text(loop, "stopped")), fputs(".", p->to);
    fputs("</p>\n", p->to);
}

void page_schedule(const struct page *p) {
    const cJSON *loop = page_item(p->record, "loop");
    struct course c;
    if (!cJSON_GetArraySize(page_item(loop, "steps"))) return;
    fputs("<section id=\"schedule\">\n<h2>The course of pruning</h2>\n", p->to);
    settings(p, loop);
    const char *const series[] = { cJSON_GetArraySize(page_item(loop, "baseline")) ? "unpruned, same training (dashed)" : NULL, "all objects",
                                  "small objects (dotted)" };
    page_legend(p->to, series, 3);
    if (read_course(p, loop, &c)) {
        fputs("<figure><div class=\"wide\">", p->to);
        chart(p, &c, loop);
        fputs("</div></figure>\n", p->to);
    }
    free(c.iteration), free(c.map), free(c.small), free(c.flops);
    table(p, loop);
    fputs("</section>\n", p->to);
}
