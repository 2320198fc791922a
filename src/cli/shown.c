#include "cli/shown.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* Names that begin so are never shown, as in Darknet. */
static bool hidden(const char *name) { return strncmp(name, "dont_show", 9) == 0; }

int shown_select(const struct session *s, const struct detection_list *list, float thresh, struct shown *shown) {
    int n = 0;
    char number[16];
    for (int i = 0; i < list->n; ++i) {
        const struct detection *d = &list->item[i];
        float best = thresh;
        int k = -1;
        for (int j = 0; j < list->classes; ++j)
            if (d->prob[j] > best && !hidden(session_name(s, j, number))) best = d->prob[j], k = j;
        if (k < 0) continue;
        shown[n] = (struct shown){ d, k, n, 0 };
        ++n;
    }
    return n;
}

static int by_left(const void *a, const void *b) {
    const struct shown *p = a, *q = b;
    float l = p->d->box.x - p->d->box.w / 2, r = q->d->box.x - q->d->box.w / 2;
    return l < r ? -1 : l > r ? 1 : p->order - q->order;
}

static int by_confidence(const void *a, const void *b) {
    const struct shown *p = a, *q = b;
    float l = p->d->prob[p->best], r = q->d->prob[q->best];
    return l < r ? -1 : l > r ? 1 : p->order - q->order;
}

/* --- Text ----------------------------------------------------------------------------------------------- */

static void print_class(const struct session *s, const struct detection *d, int k, bool boxes, int w, int h) {
    char number[16];
    printf("%s: %.0f%%", session_name(s, k, number), (double)(d->prob[k] * 100));
    if (boxes)
        printf("\t(left_x: %4.0f   top_y: %4.0f   width: %4.0f   height: %4.0f)",
               (double)roundf((d->box.x - d->box.w / 2) * (float)w),
               (double)roundf((d->box.y - d->box.h / 2) * (float)h), (double)roundf(d->box.w * (float)w),
               (double)roundf(d->box.h * (float)h));
    putchar('\n');
}

void shown_print(const struct session *s, int classes, struct shown *shown, int n, float thresh, bool boxes, int w, int h) {
    qsort(shown, (size_t)n, sizeof *shown, by_left);
    for (int i = 0; i < n; ++i) {
        const struct detection *d = shown[i].d;
        print_class(s, d, shown[i].best, boxes, w, h);
        for (int k = 0; k < classes; ++k)
            if (d->prob[k] > thresh && k != shown[i].best) print_class(s, d, k, boxes, w, h);
    }
}

/* --- Picture -------------------------------------------------------------------------------------------- */

static void label_text(const struct session *s, int classes, const struct shown *b, float thresh, size_t cap, char *text) {
    char number[16];
    size_t at = (size_t)snprintf(text, cap, "%s: %.2f", session_name(s, b->best, number), (double)b->d->prob[b->best]);
    for (int k = 0; k < classes && at < cap; ++k)
        if (b->d->prob[k] > thresh && k != b->best) at += (size_t)snprintf(text + at, cap - at, ", %s", session_name(s, k, number));
    if (b->track && at < cap) snprintf(text + at, cap - at, " (id: %d)", b->track);
}

static void draw_label(struct pixels *px, const char *text, struct colour tile, float left, float top) {
    int step = (int)((float)px->h * 0.002f); /* Darknet's letters come in eight sizes */
    float size = 12.0f * (float)((step > 7 ? 7 : step) + 1), margin = size / 4, height = size + 2 * margin;
    struct colour ink = { 0, 0, 0, 1 };
    tile.alpha = 0.7f;
    float y = top >= height ? top - height : top;
    draw_rect(px, left, y, draw_text(NULL, 0, 0, size, text, ink) + 2 * margin, height, tile);
    draw_text(px, left + margin, y + margin, size, text, ink);
}

void shown_draw(const struct session *s, int classes, struct shown *shown, int n, float thresh, struct pixels *px) {
    int thick = (int)((float)px->h * 0.002f);
    if (thick < 1) thick = 1;
    qsort(shown, (size_t)n, sizeof *shown, by_confidence);
    for (int i = 0; i < n; ++i) {
        struct box b = shown[i].d->box;
        float left = fmaxf(truncf((b.x - b.w / 2) * (float)px->w), 0),
              top = fmaxf(truncf((b.y - b.h / 2) * (float)px->h), 0);
        float right = fminf(truncf((b.x + b.w / 2) * (float)px->w), (float)(px->w - 1));
        float bottom = fminf(truncf((b.y + b.h / 2) * (float)px->h), (float)(px->h - 1));
        if (right < left || bottom < top) continue;
        char text[512];
        struct colour colour = draw_class_colour(shown[i].best, classes);
        label_text(s, classes, &shown[i], thresh, sizeof text, text);
        draw_frame(px, left, top, right - left + 1, bottom - top + 1, (float)thick, colour);
        draw_label(px, text, colour, left, top + (float)thick);
    }
}

/* --- JSON ----------------------------------------------------------------------------------------------- */

void shown_json(const struct session *s, const struct detection_list *list, long long frame, const char *filename, FILE *f) {
    fprintf(f, "{\n \"frame_id\":%lld, \n ", frame);
    if (filename) {
        fprintf(f, "\"filename\":\"");
        text_write_json(f, filename);
        fprintf(f, "\", \n ");
    }
    fprintf(f, "\"objects\": [ \n");
    bool first = true;
    for (int i = 0; i < list->n; ++i)
        for (int k = 0; k < list->classes; ++k) {
            const struct detection *d = &list->item[i];
            char number[16];
            const char *name = session_name(s, k, number);
            if (!(d->prob[k] > 0.005f) || hidden(name)) continue;
            fprintf(f, "%s  {\"class_id\":%d, \"name\":\"", first ? "" : ", \n", k);
            text_write_json(f, name);
            fprintf(f,
                    "\", \"relative_coordinates\":{\"center_x\":%f, \"center_y\":%f, \"width\":%f, "
                    "\"height\":%f}, \"confidence\":%f}",
                    (double)d->box.x, (double)d->box.y, (double)d->box.w, (double)d->box.h, (double)d->prob[k]);
            first = false;
        }
    fprintf(f, "\n ] \n}");
}
