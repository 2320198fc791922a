/* detector test: boxes of one picture, or of every picture that a list on stdin names. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/layer_times.h"
#include "cli/options.h"
#include "cli/session.h"
#include "cli/shown.h"
#include "eval/detect.h"
#include "vision/video.h"

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
      "no window (OPENCV=1 builds open one)", NULL, 1, 0 },
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

/* --- Files ---------------------------------------------------------------------------------------------- */

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
    float thresh = (float)t->flags.thresh;
    int n = shown_select(&t->s, &t->list, thresh, shown);
    shown_print(&t->s, t->list.classes, shown, n, thresh, t->flags.ext_output, px->w, px->h);
    fflush(stdout);
    shown_draw(&t->s, t->list.classes, shown, n, thresh, px);
    free(shown);
    TRY(pixels_write(ctx, "predictions.jpg", px, 80));
    if (t->json.file) {
        if (t->frames++) fprintf(t->json.file, ", \n");
        shown_json(&t->s, &t->list, t->frames, path, t->json.file);
    }
    if (t->flags.save_labels) TRY(save_labels(t, path));
    return ST_OK;
}

/* Until a key is pressed, where there is a screen. */
static void show_window(struct tester *t, const struct pixels *px) {
    if (t->flags.dont_show || !video_built()) return;
    if (window_show(&t->s.ctx, "predictions", px, 0, 0) == ST_OK) {
        window_key(0);
        window_close_all();
        return;
    }
    ctx_log(&t->s.ctx, LOG_WARN, "%s", t->s.ctx.error);
    ctx_clear(&t->s.ctx);
    t->flags.dont_show = true;
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
            if (st == ST_OK) show_window(t, &px);
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
    if (st == ST_OK && image) show_window(t, &px);
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
