/* Example pictures with what the two networks see in them. */
#include <math.h>
#include <string.h>

#include "recipe/html.h"
#include "recipe/report_page.h"

enum { WIDTH = 640, TALLEST = 430, TAG_HEIGHT = 17, MOST_TAGS = 64, CROWD = 10 /* so many boxes: those that did not change get no tags */ };
static const double TAG_LETTER = 7.4; /* of a tag's text, on average */

struct frame { double x, y, w, h; };
static struct frame frame_of(const cJSON *o, double w, double h) {
    const cJSON *box = page_item(o, "box");
    double v[4] = { 0 };
    for (int i = 0; i < 4; ++i) {
        const cJSON *item = cJSON_GetArrayItem(box, i);
        v[i] = cJSON_IsNumber(item) ? item->valuedouble : 0;
    }
    double x0 = fmax((v[0] - v[2] / 2) * w, 1), y0 = fmax((v[1] - v[3] / 2) * h, 1), x1 = fmin((v[0] + v[2] / 2) * w, w - 1),
           y1 = fmin((v[1] + v[3] / 2) * h, h - 1);
    return (struct frame){ x0, y0, fmax(x1 - x0, 0), fmax(y1 - y0, 0) };
}

static void draw_box(FILE *to, const cJSON *o, const char *style, double w, double h) {
    struct frame f = frame_of(o, w, h);
    double score = page_number(o, "score");
    fprintf(to, "<g><title>");
    html_text(to, page_text(o, "name"));
    if (isfinite(score)) fprintf(to, " %.0f %%", 100 * score);
    fprintf(to, "</title>");
    for (int halo = 1; halo >= 0; --halo)
        fprintf(to, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>", halo ? "halo" : style, f.x, f.y, f.w, f.h);
    fputs("</g>", to);
}

/* Tags that are drawn already: no other goes over them. */
struct tags { int n; struct frame at[MOST_TAGS]; };

static bool is_free(const struct tags *tags, struct frame f, double h) {
    if (f.y < 0 || f.y + f.h > h) return false;
    for (int i = 0; i < tags->n; ++i) {
        const struct frame *o = &tags->at[i];
        if (f.x < o->x + o->w && o->x < f.x + f.w && f.y < o->y + o->h && o->y < f.y + f.h) return false;
    }
    return true;
}

/* Above the box, inside it, below it, in its lower part: where there is room first; nowhere when there is none (names stand in the
 * boxes' tooltips, too). */
static void draw_tag(FILE *to, struct tags *tags, const cJSON *o, const char *style, const char *before, double w, double h) {
    struct frame f = frame_of(o, w, h), at;
    char text[96];
    double score = page_number(o, "score");
    if (isfinite(score)) snprintf(text, sizeof text, "%s%.40s %.0f", before, page_text(o, "name"), 100 * score);
    else snprintf(text, sizeof text, "%s%.40s", before, page_text(o, "name"));
    const double place[] = { f.y - TAG_HEIGHT, f.y, f.y + f.h, f.y + f.h - TAG_HEIGHT };
    double length = TAG_LETTER * (double)strlen(text);
    size_t i = 0;
    at = (struct frame){ fmax(fmin(f.x, w - length - 8), 0), 0, length + 8, TAG_HEIGHT };
    for (; i < sizeof place / sizeof *place; ++i) {
        at.y = place[i];
        if (is_free(tags, at, h)) break;
    }
    if (i == sizeof place / sizeof *place || tags->n == MOST_TAGS) return;
    tags->at[tags->n++] = at;
    fprintf(to, "<rect class=\"tag\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\"/><text class=\"t%s\" x=\"%.1f\" y=\"%.1f\" textLength=\"%.1f\" "
            "lengthAdjust=\"spacingAndGlyphs\">", at.x, at.y, at.w, TAG_HEIGHT, style, at.x + 4, at.y + TAG_HEIGHT - 4.5, length);
    html_text(to, text);
    fputs("</text>\n", to);
}

static bool is(const cJSON *o, const char *state) { return strcmp(page_text(o, "state"), state) == 0; }

/* Right boxes, wrong ones, and objects that this network does not find; then tags, so that no box covers them. */
static void draw_side(FILE *to, const cJSON *example, int side, double w, double h) {
    const cJSON *truth = page_item(example, "truth"), *seen = page_item(example, side ? "after" : "before"), *o;
    struct tags tags = { 0 };
    bool crowd = cJSON_GetArraySize(seen) > CROWD;
    cJSON_ArrayForEach(o, truth)
        if (is(o, "missed") || (side ? is(o, "lost") : is(o, "gained"))) draw_box(to, o, side && is(o, "lost") ? "lost" : "missed", w, h);
    cJSON_ArrayForEach(o, seen)
        draw_box(to, o, is(o, "both") ? "both" : is(o, "lost") ? "lost" : is(o, "gained") ? "gained" : "wrong", w, h);
    cJSON_ArrayForEach(o, truth)
        if (side && is(o, "lost")) draw_tag(to, &tags, o, "lost", "lost: ", w, h);
    cJSON_ArrayForEach(o, seen) {
        if (is(o, "lost")) draw_tag(to, &tags, o, "lost", "", w, h);
        else if (is(o, "gained")) draw_tag(to, &tags, o, "gained", "new: ", w, h);
    }
    cJSON_ArrayForEach(o, seen) {
        if (is(o, "wrong")) draw_tag(to, &tags, o, "wrong", "", w, h);
        else if (is(o, "both") && !crowd) draw_tag(to, &tags, o, "both", "", w, h);
    }
}

static int count(const cJSON *list, const char *state) {
    int n = 0;
    const cJSON *o;
    cJSON_ArrayForEach(o, list) n += is(o, state);
    return n;
}

static void caption(const struct page *p, const cJSON *e) {
    const cJSON *truth = page_item(e, "truth"), *before = page_item(e, "before"), *after = page_item(e, "after");
    const char *path = page_text(e, "image"), *slash = strrchr(path, '/');
    fputs("<figcaption><b>", p->to);
    html_text(p->to, slash ? slash + 1 : path);
    fputs("</b>: ", p->to);
    if (cJSON_GetArraySize(truth))
        fprintf(p->to, "%d labelled objects, %d found by both, %d lost, %d gained, %d found by neither; %d wrong boxes before, %d after", cJSON_GetArraySize(truth),
                count(truth, "both"), count(truth, "lost"), count(truth, "gained"), count(truth, "missed"), count(before, "wrong"), count(after, "wrong"));
    else
        fprintf(p->to, "no labelled objects; %d boxes before, %d after", cJSON_GetArraySize(before), cJSON_GetArraySize(after));
    fprintf(p->to, " <span class=\"soft\">(chosen %s)</span></figcaption>\n", !strcmp(page_text(e, "chosen"), "evenly") ? "evenly from the list" : "for its changes");
}

static void picture(const struct page *p, const cJSON *e, int index) {
    const struct report_picture *pic = p->pictures && index < p->pictures->n_picture ? &p->pictures->picture[index] : NULL;
    double w = WIDTH, h = WIDTH * page_number(e, "height") / page_number(e, "width");
    char room[48] = "";
    if (h > TALLEST) snprintf(room, sizeof room, " style=\"max-width:%.0fpx\"", TALLEST * w / h);
    fputs("<figure>", p->to);
    caption(p, e);
    fputs("<div class=\"pictures\">\n", p->to);
    for (int s = 0; s < REPORT_SIDES; ++s) {
        fprintf(p->to, "<div%s><span>%s</span><svg class=\"picture\" viewBox=\"0 0 %g %.1f\" role=\"img\" aria-label=\"detections %s\">", room, s ? "after" : "before", w, h,
                s ? "after" : "before");
        if (pic && s == 0) { /* once in the file, shown twice */
            fprintf(p->to, "<image id=\"picture%d\" width=\"%g\" height=\"%.1f\" preserveAspectRatio=\"none\" href=\"", index, w, h);
            html_data_uri(p->to, "image/jpeg", pic->jpeg, pic->size);
            fputs("\"/>\n", p->to);
        } else if (pic) {
            fprintf(p->to, "<use href=\"#picture%d\"/>\n", index);
        }
        draw_side(p->to, e, s, w, h);
        fputs("</svg></div>\n", p->to);
    }
    for (int s = 0; s < REPORT_SIDES && pic; ++s) {
        const cJSON *heat = page_item(e, s ? "heat_after" : "heat_before");
        if (!pic->heat[s]) continue;
        fprintf(p->to, "<div%s><span>where it looks, %s <span class=\"soft\">(%.0f %% inside the boxes)</span></span><svg class=\"picture\" viewBox=\"0 0 %g %.1f\" "
                "role=\"img\" aria-label=\"heat map\"><image width=\"%g\" height=\"%.1f\" preserveAspectRatio=\"none\" href=\"", room, s ? "after" : "before",
                100 * page_number(heat, "inside"), w, h, w, h);
        html_data_uri(p->to, "image/jpeg", pic->heat[s], pic->heat_size[s]);
        fputs("\"/></svg></div>\n", p->to);
    }
    fputs("</div></figure>\n", p->to);
}

static void legend(const struct page *p, bool judged) {
    const struct { const char *style, *text; bool with_truth; } key[] = {
        { "both", judged ? "right in both" : "seen by both", false }, { "lost", judged ? "lost: found before, not after" : "only before", false },
        { "gained", judged ? "gained: found only after" : "only after", false }, { "wrong", "wrong: no such object there", true },
        { "missed", "labelled, not found", true } };
    fputs("<ul class=\"legend\">", p->to);
    for (size_t i = 0; i < sizeof key / sizeof *key; ++i)
        if (judged || !key[i].with_truth)
            fprintf(p->to, "<li><svg viewBox=\"0 0 30 14\" aria-hidden=\"true\"><rect class=\"%s\" x=\"2\" y=\"2\" width=\"26\" height=\"10\"/></svg>%s</li>", key[i].style,
                    key[i].text);
    fputs("</ul>\n", p->to);
}

void page_examples(const struct page *p) {
    const cJSON *list = page_item(p->report, "examples"), *e;
    int index = 0, n = cJSON_GetArraySize(list);
    bool judged = !*page_text(p->report, "accuracy_missing");
    fputs("<section id=\"pictures\">\n<h2>In the pictures</h2>\n", p->to);
    if (n == 0) {
        fputs("<p class=\"missing\">No pictures: none were asked for, or there are none to show.</p>\n</section>\n", p->to);
        return;
    }
    fprintf(p->to, "<p class=\"note\">Boxes from confidence %g on%s; figures beside names are confidences in %%.", page_number(p->report, "thresh"),
            judged ? ", right where they overlap a labelled object of their class enough" : "");
    if (!judged) fputs(" There are no labels, so the two networks are held to each other: what only one of them sees may be right or wrong.", p->to);
    fputs("</p>\n", p->to);
    legend(p, judged);
    if (p->pictures && p->pictures->n_picture)
        fprintf(p->to, "<p class=\"note\">Heat maps: how much the scores of the %s depend on each place (gradient times activation at layer %.0f, all heads; pale is much, "
                "each picture by its own peak).</p>\n", judged ? "labelled objects" : "boxes seen before", page_number(page_item(list->child, "heat_before"), "layer"));
    fputs("<div class=\"examples\">\n", p->to);
    cJSON_ArrayForEach(e, list) picture(p, e, index++);
    fputs("</div>\n</section>\n", p->to);
}
