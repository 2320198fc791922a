/* detector test: boxes of one picture, or of every picture that a list on stdin names. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/layer_times.h"
#include "cli/options.h"
#include "cli/session.h"
#include "eval/detect.h"
#include "vision/draw.h"

struct test_flags {
    double thresh, iou_thresh, hier;
    const char *out;
    bool ext_output, save_labels, dont_show, letter_box, strict, benchmark_layers;
};

static const struct option test_options[] = {
    { "thresh", OPTION_FLOAT, offsetof(struct test_flags, thresh), "T", "least confidence shown (0.25)", NULL,
      0, 1 },
    { "ext_output", OPTION_FLAG, offsetof(struct test_flags, ext_output), NULL,
      "print the boxes in pixels, too", NULL, 1, 0 },
    { "out", OPTION_TEXT, offsetof(struct test_flags, out), "FILE", "write the detections as JSON", NULL, 1,
      0 },
    { "save_labels", OPTION_FLAG, offsetof(struct test_flags, save_labels), NULL,
      "write them as label files beside the pictures (replaces existing ones)", NULL, 1, 0 },
    { "letter_box", OPTION_FLAG, offsetof(struct test_flags, letter_box), NULL, "keep the picture's aspect",
      NULL, 1, 0 },
    { "dont_show", OPTION_FLAG, offsetof(struct test_flags, dont_show), NULL,
      "no window; there never is one here", NULL, 1, 0 },
    { "benchmark_layers", OPTION_FLAG, offsetof(struct test_flags, benchmark_layers), NULL,
      "print how long each layer took, the slowest first", NULL, 1, 0 },
    { "strict", OPTION_FLAG, offsetof(struct test_flags, strict), NULL, "unknown cfg keys are errors", NULL,
      1, 0 },
    { "iou_thresh", OPTION_FLOAT, offsetof(struct test_flags, iou_thresh), "T",
      "accepted, without effect as in Darknet", NULL, 0, 1 },
    { "hier", OPTION_FLOAT, offsetof(struct test_flags, hier), "T", "accepted, without effect as in Darknet",
      NULL, 0, 1 },
    OPTION_END
};

struct tester {
    struct session s;
    struct test_flags flags;
    struct detection_list list;
    struct io_out json;
    struct layer_times times; /* -benchmark_layers */
    long long frames; /* pictures in the JSON so far */
    int failed;
};

/* --- What counts as seen -------------------------------------------------------------------------------- */

/* One box with its best class; `order` keeps sorting stable. */
struct shown {
    const struct detection *d;
    int best, order;
};

/* Names that begin so are never shown, as in Darknet. */
static bool hidden(const char *name) { return strncmp(name, "dont_show", 9) == 0; }

static int select_shown(const struct tester *t, struct shown *shown) {
    int n = 0;
    char number[16];
    for (int i = 0; i < t->list.n; ++i) {
        const struct detection *d = &t->list.item[i];
        float best = (float)t->flags.thresh;
        int k = -1;
        for (int j = 0; j < t->list.classes; ++j)
            if (d->prob[j] > best && !hidden(session_name(&t->s, j, number))) best = d->prob[j], k = j;
        if (k < 0) continue;
        shown[n] = (struct shown){ d, k, n };
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

static void print_class(const struct tester *t, const struct detection *d, int k, int w, int h) {
    char number[16];
    printf("%s: %.0f%%", session_name(&t->s, k, number), (double)(d->prob[k] * 100));
    if (t->flags.ext_output)
        printf("\t(left_x: %4.0f   top_y: %4.0f   width: %4.0f   height: %4.0f)",
               (double)roundf((d->box.x - d->box.w / 2) * (float)w),
               (double)roundf((d->box.y - d->box.h / 2) * (float)h), (double)roundf(d->box.w * (float)w),
               (double)roundf(d->box.h * (float)h));
    putchar('\n');
}

static void print_shown(const struct tester *t, const struct shown *shown, int n, int w, int h) {
    for (int i = 0; i < n; ++i) {
        const struct detection *d = shown[i].d;
        print_class(t, d, shown[i].best, w, h);
        for (int k = 0; k < t->list.classes; ++k)
            if (d->prob[k] > (float)t->flags.thresh && k != shown[i].best) print_class(t, d, k, w, h);
    }
}

/* --- Picture -------------------------------------------------------------------------------------------- */

static void draw_label(const struct tester *t, struct pixels *px, const struct shown *s, float left,
                       float top) {
    char text[512], number[16];
    size_t at = (size_t)snprintf(text, sizeof text, "%s: %.2f", session_name(&t->s, s->best, number),
                                 (double)s->d->prob[s->best]);
    for (int k = 0; k < t->list.classes && at < sizeof text; ++k)
        if (s->d->prob[k] > (float)t->flags.thresh && k != s->best)
            at += (size_t)snprintf(text + at, sizeof text - at, ", %s", session_name(&t->s, k, number));
    int step = (int)((float)px->h * 0.002f); /* Darknet's letters come in eight sizes */
    float size = 12.0f * (float)((step > 7 ? 7 : step) + 1), margin = size / 4, height = size + 2 * margin;
    struct colour tile = draw_class_colour(s->best, t->list.classes), ink = { 0, 0, 0, 1 };
    tile.alpha = 0.7f;
    float y = top >= height ? top - height : top;
    draw_rect(px, left, y, draw_text(NULL, 0, 0, size, text, ink) + 2 * margin, height, tile);
    draw_text(px, left + margin, y + margin, size, text, ink);
}

static void draw_shown(const struct tester *t, struct pixels *px, const struct shown *shown, int n) {
    int thick = (int)((float)px->h * 0.002f);
    if (thick < 1) thick = 1;
    for (int i = 0; i < n; ++i) {
        struct box b = shown[i].d->box;
        float left = fmaxf(truncf((b.x - b.w / 2) * (float)px->w), 0),
              top = fmaxf(truncf((b.y - b.h / 2) * (float)px->h), 0);
        float right = fminf(truncf((b.x + b.w / 2) * (float)px->w), (float)(px->w - 1));
        float bottom = fminf(truncf((b.y + b.h / 2) * (float)px->h), (float)(px->h - 1));
        if (right < left || bottom < top) continue;
        draw_frame(px, left, top, right - left + 1, bottom - top + 1, (float)thick,
                   draw_class_colour(shown[i].best, t->list.classes));
        draw_label(t, px, &shown[i], left, top + (float)thick);
    }
}

/* --- Files ---------------------------------------------------------------------------------------------- */

/* Darknet's layout to the byte, blanks before line ends included; only names and paths are escaped. */
static void json_image(struct tester *t, const char *path) {
    FILE *f = t->json.file;
    if (t->frames) fprintf(f, ", \n");
    fprintf(f, "{\n \"frame_id\":%lld, \n \"filename\":\"", ++t->frames);
    text_write_json(f, path);
    fprintf(f, "\", \n \"objects\": [ \n");
    bool first = true;
    for (int i = 0; i < t->list.n; ++i)
        for (int k = 0; k < t->list.classes; ++k) {
            const struct detection *d = &t->list.item[i];
            char number[16];
            const char *name = session_name(&t->s, k, number);
            if (!(d->prob[k] > 0.005f) || hidden(name)) continue;
            fprintf(f, "%s  {\"class_id\":%d, \"name\":\"", first ? "" : ", \n", k);
            text_write_json(f, name);
            fprintf(
                f,
                "\", \"relative_coordinates\":{\"center_x\":%f, \"center_y\":%f, \"width\":%f, "
                    "\"height\":%f}, \"confidence\":%f}",
                (double)d->box.x, (double)d->box.y, (double)d->box.w, (double)d->box.h, (double)d->prob[k]);
            first = false;
        }
    fprintf(f, "\n ] \n}");
}

static enum status save_labels(struct tester *t, const char *image) {
    struct ctx *ctx = &t->s.ctx;
    char *path = label_path(ctx, image);
    struct io_out out;
    if (!path) return ctx->code;
    enum status st = io_create(ctx, path, &out);
    free(path);
    TRY(st);
    for (int i = 0; i < t->list.n; ++i) {
        const struct detection *d = &t->list.item[i];
        float best = (float)t->flags.thresh;
        int k = -1;
        for (int j = 0; j < t->list.classes; ++j)
            if (d->prob[j] > best) best = d->prob[j], k = j;
        if (k >= 0)
            fprintf(out.file, "%d %2.4f %2.4f %2.4f %2.4f\n", k, (double)d->box.x, (double)d->box.y,
                    (double)d->box.w, (double)d->box.h);
    }
    return io_commit(ctx, &out);
}

/* --- One picture ---------------------------------------------------------------------------------------- */

static enum status detect(struct tester *t, const struct pixels *px, double *seconds) {
    struct ctx *ctx = &t->s.ctx;
    struct net *net = t->s.net;
    struct detect_options opt = { .thresh = (float)t->flags.thresh,
                                  .nms = 0.45f,
                                  .letter_box = t->flags.letter_box || net->opt.letter_box,
                                  .class_map = t->s.map,
                                  .n_map = t->s.n_map };
    struct image im = { 0 }, input = { 0 };
    enum status st = image_from_pixels(ctx, px, &im);
    if (st == ST_OK) st = detect_input(ctx, net, &im, opt.letter_box, &input);
    image_free(&im);
    double start = io_seconds();
    if (st == ST_OK) st = net_forward(ctx, net, input.data);
    *seconds = io_seconds() - start;
    image_free(&input);
    TRY(st);
    return detect_collect(ctx, net, 0, px->w, px->h, &opt, &t->list);
}

static enum status show_picture(struct tester *t, const char *path, struct pixels *px) {
    struct ctx *ctx = &t->s.ctx;
    double seconds = 0;
    session_print_heads(&t->s);
    TRY(detect(t, px, &seconds));
    TRY(layer_times_print(ctx, t->s.net, &t->times));
    printf("%s: Predicted in %f milli-seconds.\n", path, seconds * 1e3);
    struct shown *shown = mem_zero(ctx, (size_t)t->list.n, sizeof *shown);
    if (!shown) return ST_MEMORY;
    int n = select_shown(t, shown);
    qsort(shown, (size_t)n, sizeof *shown, by_left);
    print_shown(t, shown, n, px->w, px->h);
    fflush(stdout);
    qsort(shown, (size_t)n, sizeof *shown, by_confidence);
    draw_shown(t, px, shown, n);
    free(shown);
    TRY(pixels_write(ctx, "predictions.jpg", px, 80));
    if (t->json.file) json_image(t, path);
    return t->flags.save_labels ? save_labels(t, path) : ST_OK;
}

/* --- The pictures --------------------------------------------------------------------------------------- */

static enum status run_list(struct tester *t) {
    struct ctx *ctx = &t->s.ctx;
    const volatile int *stop = console_stop();
    char *line = NULL;
    size_t cap = 0;
    enum status st = ST_OK;
    while (st == ST_OK && !*stop) {
        printf("Enter Image Path: ");
        fflush(stdout);
        ssize_t n = getline(&line, &cap, stdin);
        if (n < 0) break;
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) line[--n] = '\0';
        if (n == 0) continue;
        struct pixels px = { 0 };
        if (pixels_read(ctx, line, t->s.net->opt.channels, &px) == ST_OK) {
            st = show_picture(t, line, &px);
        } else {
            console_fail(ctx); /* the others of the list may be fine */
            ctx_clear(ctx);
            ++t->failed;
        }
        pixels_free(&px);
    }
    free(line);
    return st;
}

static enum status start(struct tester *t, const struct arguments *words) {
    struct session_request request = {
        .data = words->word[0], .cfg = words->word[1], .weights = words->word[2], .strict = t->flags.strict,
        .class_map = true
    };
    TRY(session_open(&t->s, &request));
    if (t->flags.iou_thresh >= 0 || t->flags.hier >= 0)
        ctx_log(&t->s.ctx, LOG_INFO,
                "-iou_thresh and -hier do nothing here: overlapping boxes are always dropped at 0.45");
    TRY(net_bind(&t->s.ctx, t->s.net, t->s.be, NET_INFER, 1));
    return t->flags.benchmark_layers ? layer_times_open(&t->s.ctx, t->s.net, &t->times) : ST_OK;
}

static enum status work(struct tester *t, const struct arguments *words) {
    struct ctx *ctx = &t->s.ctx;
    const char *image = words->n > 3 ? words->word[3] : NULL;
    struct pixels px = { 0 };
    TRY(start(t, words));
    if (image) TRY(pixels_read(ctx, image, t->s.net->opt.channels, &px));
    enum status st = t->flags.out ? io_create(ctx, t->flags.out, &t->json) : ST_OK;
    if (st == ST_OK) {
        session_print(&t->s, words->word[2]);
        if (t->json.file) fprintf(t->json.file, "[\n");
        st = image ? show_picture(t, image, &px) : run_list(t);
    }
    pixels_free(&px);
    if (!t->json.file) return st;
    if (st != ST_OK) {
        io_abort(&t->json);
        return st;
    }
    fprintf(t->json.file, "\n]");
    return io_commit(ctx, &t->json);
}

static int test_run(const struct command *self, int argc, char **argv) {
    struct tester t = { .s.ctx = console_ctx(), .flags = { .thresh = .25, .iou_thresh = -1, .hier = -1 } };
    struct arguments words;
    enum status st = options_parse(&t.s.ctx, argc, argv, self->options, &t.flags, &words, 4);
    if (st == ST_OK && words.n < 3) st = ctx_fail(&t.s.ctx, ST_USAGE, "detector test: needs %s", self->words);
    if (st == ST_OK) st = work(&t, &words);
    int status = st == ST_OK ? t.failed != 0 : console_fail(&t.s.ctx);
    detections_free(&t.list);
    session_close(&t.s);
    layer_times_close(&t.times);
    return status;
}

const struct command detector_test_command = {
    "detector",
    "test",
    "DATA CFG WEIGHTS [IMAGE]",
    "finds objects in IMAGE, or in each picture named on stdin; draws predictions.jpg",
    test_options,
    test_run
};
