#include "data/import_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct counts { long long images, empty, boxes, *of_class; };

static enum status count(struct ctx *ctx, const struct import_set *s, enum import_part part, struct counts *c) {
    int *boxes = mem_zero(ctx, (size_t)s->n_image, sizeof *boxes);
    *c = (struct counts){ .of_class = mem_zero(ctx, (size_t)s->classes.n, sizeof *c->of_class) };
    for (int i = 0; i < s->n_box && boxes && c->of_class; ++i) {
        const struct import_box *b = &s->box[i];
        if (!b->kept || s->image[b->image].part != part) continue;
        ++boxes[b->image];
        ++c->boxes;
        ++c->of_class[s->type[b->type].class_id];
    }
    for (int i = 0; i < s->n_image && boxes; ++i) {
        bool in = s->image[i].part == part && !s->image[i].left_out;
        c->images += in;
        c->empty += in && !boxes[i];
    }
    bool ok = boxes && c->of_class;
    free(boxes);
    return ok ? ST_OK : ST_MEMORY;
}

/* The names a class came from, unless it is just its own. */
static void print_origin(FILE *f, const struct import_set *s, int class_id) {
    const char *between = "   from ";
    int n = 0, own = 0;
    for (int i = 0; i < s->n_type; ++i) {
        n += s->type[i].class_id == class_id;
        own += s->type[i].class_id == class_id && !strcmp(s->type[i].name, s->classes.item[class_id]);
    }
    for (int i = 0; i < s->n_type && (n != 1 || !own); ++i) {
        if (s->type[i].class_id != class_id) continue;
        fprintf(f, "%s%s", between, s->type[i].name);
        between = ", ";
    }
}

static void print_table(FILE *f, const struct import_set *s, const struct counts *train, const struct counts *valid) {
    int width = 16;
    for (int c = 0; c < s->classes.n; ++c) width = (int)strlen(s->classes.item[c]) > width ? (int)strlen(s->classes.item[c]) : width;
    fprintf(f, "\n%-*s %9s %9s\n%-*s %9lld %9lld\n", width, "", "train", "valid", width, "pictures", train->images, valid->images);
    fprintf(f, "%-*s %9lld %9lld\n", width, " without objects", train->empty, valid->empty);
    fprintf(f, "%-*s %9lld %9lld\n", width, "boxes", train->boxes, valid->boxes);
    int absent = 0;
    for (int c = 0; c < s->classes.n; ++c) {
        if (!train->of_class[c] && !valid->of_class[c]) {
            ++absent;
            continue;
        }
        fprintf(f, " %-*s %9lld %9lld", width - 1, s->classes.item[c], train->of_class[c], valid->of_class[c]);
        print_origin(f, s, c);
        fprintf(f, "\n");
    }
    if (absent) fprintf(f, "no box at all of:");
    for (int c = 0, n = 0; c < s->classes.n; ++c)
        if (!train->of_class[c] && !valid->of_class[c]) fprintf(f, "%s %s", n++ ? "," : "", s->classes.item[c]);
    if (absent) fprintf(f, "\n");
}

/* Boxes under names that are no class, the most frequent names first. */
static void print_names(FILE *f, const struct import_set *s, int as, const char *why, bool short_form) {
    enum { SHORT = 8 };
    long long boxes = 0, below = -1;
    int names = 0, shown = 0;
    for (int i = 0; i < s->n_type; ++i) {
        if (s->type[i].class_id != as || !s->type[i].boxes) continue;
        boxes += s->type[i].boxes;
        ++names;
    }
    if (!names) return;
    fprintf(f, "%8lld boxes under %s: ", boxes, why);
    for (int pass = 0; shown < names && (!short_form || shown < SHORT); ++pass) {
        long long most = 0;
        for (int i = 0; i < s->n_type; ++i) {
            long long n = s->type[i].boxes;
            if (s->type[i].class_id == as && n > most && (pass == 0 || n < below)) most = n;
        }
        for (int i = 0; i < s->n_type && (!short_form || shown < SHORT); ++i)
            if (s->type[i].class_id == as && s->type[i].boxes == most) fprintf(f, "%s%s %lld", shown++ ? ", " : "", s->type[i].name, most);
        below = most;
    }
    if (shown < names) fprintf(f, " and %d more names", names - shown);
    fprintf(f, "\n");
}

static void print_dropped(FILE *f, const struct import_options *o, const struct import_set *s, const char *out, bool short_form) {
    static const char *const why[ISSUES] = {
        [ISSUE_NO_PICTURE] = "labelled pictures, or lists with names, that are not there",
        [ISSUE_BAD_PICTURE] = "pictures that cannot be used",
        [ISSUE_BAD_FILE] = "label files or frames that are broken",
        [ISSUE_NAME_TAKEN] = "pictures that share another one's name",
        [ISSUE_NO_LABELS] = "pictures without a label file",
        [ISSUE_EMPTY] = "pictures without an object (-with_objects)",
        [ISSUE_NOT_LISTED] = "pictures that are in neither part",
        [ISSUE_BAD_BOX] = "boxes or lines that are broken",
        [ISSUE_NO_EXTENT] = "boxes without extent",
        [ISSUE_OUTSIDE] = "boxes outside their picture",
    };
    fprintf(f, "\nleft out\n");
    for (int i = 0; i < ISSUES; ++i)
        if (why[i] && s->issue[i]) fprintf(f, "%8lld %s\n", s->issue[i], why[i]);
    if (s->issue[ISSUE_SMALL]) fprintf(f, "%8lld boxes with a side under %g pixels (-min_size)\n", s->issue[ISSUE_SMALL], o->min_size);
    if (s->issue[ISSUE_CROWD])
        fprintf(f, "%8lld boxes around crowds or excused objects; in %s/annotations.json, as COCO's rules want them\n", s->issue[ISSUE_CROWD], out);
    if (s->issue[ISSUE_DIFFICULT])
        fprintf(f, "%8lld boxes marked difficult; those to validate with are in %s/difficult, as VOC's rules want them\n", s->issue[ISSUE_DIFFICULT], out);
    if (s->issue[ISSUE_REGION])
        fprintf(f, "%8lld regions to be ignored%s%s%s\n", s->issue[ISSUE_REGION], o->kind == IMPORT_KITTI ? "; those to validate with are in " : "",
                o->kind == IMPORT_KITTI ? out : "", o->kind == IMPORT_KITTI ? "/label_2 as DontCare" : "");
    print_names(f, s, IMPORT_UNKNOWN, "names that the class map does not know", short_form);
    print_names(f, s, IMPORT_DROP, "names that no class takes", short_form);
    if (s->issue[ISSUE_CLIPPED] || s->issue[ISSUE_SIZE]) fprintf(f, "\nchanged\n");
    if (s->issue[ISSUE_CLIPPED]) fprintf(f, "%8lld boxes cut at their picture's border\n", s->issue[ISSUE_CLIPPED]);
    if (s->issue[ISSUE_SIZE]) fprintf(f, "%8lld pictures of another size than their labels say: boxes scaled to the picture\n", s->issue[ISSUE_SIZE]);
}

static void print_notes(FILE *f, const struct import_set *s, int most) {
    if (!s->n_notes) return;
    fprintf(f, "\nin detail\n");
    long long shown = 0;
    for (const char *line = s->note, *end = s->note + s->note_size; line < end && (most < 0 || shown < most); ++shown) {
        const char *next = (const char *)memchr(line, '\n', (size_t)(end - line)) + 1;
        fprintf(f, "  %.*s", (int)(next - line), line);
        line = next;
    }
    if (shown < s->n_notes) fprintf(f, "  ... and %lld more, all of them in import.txt\n", s->n_notes - shown);
}

enum status import_report(struct ctx *ctx, const struct import_options *o, const struct import_set *s, const char *out, int most_notes, char **text) {
    size_t size;
    struct counts train = { 0 }, valid = { 0 };
    *text = NULL;
    enum status st = count(ctx, s, PART_TRAIN, &train);
    if (st == ST_OK) st = count(ctx, s, PART_VALID, &valid);
    FILE *f = st == ST_OK ? open_memstream(text, &size) : NULL;
    if (f) {
        fprintf(f, "%s -> %s/%s.data\nsplit: %s; pictures %s\n", o->source, out, import_kind_name[o->kind], s->split, o->copy ? "copied" : "linked");
        print_table(f, s, &train, &valid);
        print_dropped(f, o, s, out, most_notes >= 0);
        print_notes(f, s, most_notes);
        if (fclose(f) != 0) st = ctx_fail(ctx, ST_MEMORY, "out of memory for the report");
    } else if (st == ST_OK) {
        st = ctx_fail(ctx, ST_MEMORY, "out of memory for the report");
    }
    free(train.of_class), free(valid.of_class);
    return st;
}
