/* classifier predict, try, test, label and the valid family. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "cli/classifier.h"
#include "cli/console.h"
#include "cli/layer_times.h"
#include "vision/word_tree.h"

#define AT(field) offsetof(struct classifier_flags, field)
#define QUIET(name, help) { #name, OPTION_FLAG, AT(name), NULL, help, NULL, 1, 0 }
static const struct option predict_options[] = {
    { "t", OPTION_INT, AT(top), "N", "how many of the best classes to show or to count (top= of the .data file, else 1)", NULL, 0, 1 << 24 },
    QUIET(dont_show, "no window; there never is one here"),
    QUIET(benchmark, "accepted, without effect on single pictures"),
    QUIET(benchmark_layers, "print how long each layer took, the slowest first"),
    QUIET(dontuse_opencv, "accepted, there is no OpenCV here"),
    QUIET(strict, "unknown cfg keys are errors"),
    OPTION_END
};
static const struct option list_options[] = { QUIET(dont_show, "no window; there never is one here"),
                                              QUIET(strict, "unknown cfg keys are errors"), OPTION_END };

struct job {
    struct classifier c;
    struct classifier_flags flags;
    struct arguments words;
    enum classify_view view;
    struct layer_times times; /* -benchmark_layers */
    bool *others;             /* with leaves=: classes that do not count; NULL: the tree says */
    float *p;
    int *best, top, failed;
};

static int run(const struct command *self, int argc, char **argv, int least, int most, enum classify_view view,
               enum status (*work)(struct job *)) {
    struct job j = { .c.ctx = console_ctx(), .view = view };
    struct ctx *ctx = &j.c.ctx;
    enum status st = options_parse(ctx, argc, argv, self->options, &j.flags, &j.words, most);
    if (st == ST_OK && j.words.n < least) st = ctx_fail(ctx, ST_USAGE, "classifier %s: needs %s", self->name, self->words);
    if (st == ST_OK) st = work(&j);
    classifier_close(&j.c);
    layer_times_close(&j.times);
    free(j.p);
    free(j.best);
    free(j.others);
    return st == ST_OK ? j.failed != 0 : console_fail(ctx);
}

static enum status start(struct job *j, int want, enum net_mode mode) {
    struct classifier *c = &j->c;
    TRY(classifier_open(c, j->words.word[0], j->words.word[1], j->words.word[2], false, j->flags.strict, want, 1));
    j->top = j->flags.top > 0 ? j->flags.top : c->data.top > 0 ? c->data.top : 1;
    if (j->top > c->outputs) j->top = c->outputs;
    j->p = mem_zero(&c->ctx, (size_t)c->outputs, sizeof *j->p);
    j->best = mem_zero(&c->ctx, (size_t)j->top, sizeof *j->best);
    if (!j->p || !j->best) return ST_MEMORY;
    TRY(net_bind(&c->ctx, c->net, c->be, mode, 1));
    if (j->flags.benchmark_layers) TRY(layer_times_open(&c->ctx, c->net, &j->times));
    const struct word_tree *tree = classify_tree(c->net);
    return tree && c->data.leaves ? word_tree_leaves(&c->ctx, tree, c->data.leaves, &j->others) : ST_OK;
}

static enum status classify(struct job *j, const struct image *im, bool only_leaves) {
    const struct net *net = j->c.net;
    struct classify_options opt = { .view = j->view, .w = net->opt.width, .h = net->opt.height, .only_leaves = only_leaves, .others = j->others };
    return classify_image(&j->c.ctx, j->c.net, im, &opt, j->p);
}

/* --- predict, try --------------------------------------------------------------------------------------- */

static void print_best(const struct job *j) {
    const struct word_tree *tree = classify_tree(j->c.net);
    const struct text_list *names = &j->c.names;
    for (int i = 0; i < j->top; ++i) {
        int k = j->best[i], parent = tree ? tree->parent[k] : -1;
        if (!tree) printf("%s: %f\n", names->item[k], (double)j->p[k]);
        else printf("%d, %s: %f, parent: %s \n", k, names->item[k], (double)j->p[k], parent < 0 ? "Root" : names->item[parent]);
    }
    fflush(stdout);
}

static enum status predict_one(struct job *j, const char *path, const struct image *im) {
    double started = io_seconds();
    TRY(classify(j, im, false));
    TRY(layer_times_print(&j->c.ctx, j->c.net, &j->times));
    printf("%d %d\n%s: Predicted in %f milli-seconds.\n", j->c.net->opt.width, j->c.net->opt.height, path,
           (io_seconds() - started) * 1e3);
    classify_top(j->p, j->c.outputs, j->top, j->best);
    print_best(j);
    return ST_OK;
}

static enum status predict_list(struct job *j) {
    struct ctx *ctx = &j->c.ctx;
    const volatile int *stop = console_stop();
    char *line = NULL;
    size_t cap = 0;
    enum status st = ST_OK;
    while (st == ST_OK && !*stop) {
        struct image im = { 0 };
        printf("Enter Image Path: ");
        fflush(stdout);
        if (getline(&line, &cap, stdin) < 0) break;
        text_chomp(line);
        if (!*line) continue;
        if (image_read(ctx, line, j->c.net->opt.channels, &im) == ST_OK) {
            st = predict_one(j, line, &im);
        } else {
            console_fail(ctx); /* the others of the list may be fine */
            ctx_clear(ctx);
            ++j->failed;
        }
        image_free(&im);
    }
    free(line);
    return st;
}

static enum status predict(struct job *j) {
    struct classifier *c = &j->c;
    struct image im = { 0 };
    const char *path = j->words.n > 3 ? j->words.word[3] : NULL;
    TRY(start(j, CLASSIFIER_NAMES, NET_INFER));
    if (path) TRY(image_read(&c->ctx, path, c->net->opt.channels, &im));
    classifier_print(c, j->words.word[2]);
    printf(" classes = %d, output in cfg = %d \n", c->names.n, c->outputs);
    enum status st = path ? predict_one(j, path, &im) : predict_list(j);
    image_free(&im);
    return st;
}

static enum status print_layer(struct job *j, int layer) {
    struct shape s = j->c.net->layer[layer].out;
    size_t n = (size_t)s.c * (size_t)s.h * (size_t)s.w;
    float *y = mem_zero(&j->c.ctx, n, sizeof *y);
    if (!y) return ST_MEMORY;
    net_output(j->c.net, layer, y);
    for (size_t i = 0; i < n; ++i) printf("%f\n", (double)y[i]);
    free(y);
    return ST_OK;
}

/* What one layer answers, value by value; NET_SCORE keeps the outputs of all layers. */
static enum status try_layer(struct job *j) {
    struct classifier *c = &j->c;
    struct image im = { 0 };
    const char *rest = "";
    int layer;
    if (!text_int(j->words.word[4], &layer, &rest) || *rest)
        return ctx_fail(&c->ctx, ST_USAGE, "classifier try: '%s' is no number of a layer", j->words.word[4]);
    TRY(start(j, CLASSIFIER_NAMES, NET_SCORE));
    if (layer < 0 || layer >= c->net->n || c->net->layer[layer].out.c == 0)
        return ctx_fail(&c->ctx, ST_USAGE, "classifier try: %s has layers 0 to %d, and layer %d has no output", c->net->doc->path,
                        c->net->n - 1, layer);
    TRY(image_read(&c->ctx, j->words.word[3], c->net->opt.channels, &im));
    enum status st = classify(j, &im, false);
    image_free(&im);
    TRY(st);
    TRY(print_layer(j, layer));
    classify_top(j->p, c->outputs, j->top, j->best);
    print_best(j);
    return ST_OK;
}

/* --- test, label ---------------------------------------------------------------------------------------- */

static enum status each_picture(struct job *j, const char *otherwise, void (*show)(const struct job *, const char *path)) {
    struct classifier *c = &j->c;
    struct text_list images = { 0 };
    TRY(start(j, CLASSIFIER_NAMES, NET_INFER));
    enum status st = list_read(&c->ctx, c->data.test ? c->data.test : otherwise, &images);
    for (int i = 0; i < images.n && st == ST_OK; ++i) {
        struct image im = { 0 };
        st = image_read(&c->ctx, images.item[i], c->net->opt.channels, &im);
        if (st == ST_OK) st = classify(j, &im, true);
        if (st == ST_OK) show(j, images.item[i]);
        image_free(&im);
    }
    list_free(&images);
    return st;
}

static void show_outputs(const struct job *j, const char *path) {
    printf("%s", path);
    for (int k = 0; k < j->c.outputs; ++k) printf("\t%g", (double)j->p[k]);
    putchar('\n');
}

static void show_label(const struct job *j, const char *path) {
    (void)path;
    classify_top(j->p, j->c.outputs, 1, j->best);
    printf("%s\n", j->c.names.item[j->best[0]]);
}

static enum status test(struct job *j) { return each_picture(j, "data/test.list", show_outputs); }
static enum status label(struct job *j) { return each_picture(j, "data/train.list", show_label); }

/* --- valid ---------------------------------------------------------------------------------------------- */

static void show_score(void *user, const struct classify_score *s) {
    const struct job *j = user;
    printf("%d: top 1: %f, top %d: %f\n", s->images - 1, (double)s->top1 / s->images, j->top, (double)s->topk / s->images);
    fflush(stdout);
}

static enum status valid(struct job *j) {
    struct classifier *c = &j->c;
    struct text_list images = { 0 };
    struct classify_score score;
    TRY(start(j, CLASSIFIER_LABELS, NET_INFER));
    const char *path = c->data.valid ? c->data.valid : "data/train.list";
    TRY(list_read(&c->ctx, path, &images));
    enum status st = images.n ? ST_OK : ctx_fail(&c->ctx, ST_FORMAT, "%s: the list of images is empty", path);
    if (st == ST_OK) st = classify_check(&c->ctx, &images, &c->labels);
    if (st == ST_OK) {
        classifier_print(c, j->words.word[2]);
        st = classify_evaluate(&c->ctx, c->net, &images, &c->labels, j->view, j->top, j->others, show_score, j, &score);
    }
    list_free(&images);
    return st;
}

/* --- The commands --------------------------------------------------------------------------------------- */

#define RUN(name_, least, most, view, work)                                                                                \
    static int name_##_run(const struct command *self, int argc, char **argv) {                                            \
        return run(self, argc, argv, least, most, view, work);                                                             \
    }
#define COMMAND(name_, words_, options_, summary_)                                                                         \
    const struct command classifier_##name_##_command = { .group = "classifier", .name = #name_, .words = (words_),         \
                                                          .summary = (summary_), .options = (options_), .run = name_##_run };
RUN(predict, 3, 4, VIEW_CENTRE, predict)
RUN(try, 5, 5, VIEW_CENTRE, try_layer)
RUN(test, 3, 3, VIEW_CENTRE, test)
RUN(label, 3, 3, VIEW_CENTRE, label)
RUN(valid, 3, 3, VIEW_CENTRE, valid)
RUN(valid10, 3, 3, VIEW_TEN, valid)
RUN(validmulti, 3, 3, VIEW_MULTI, valid)
RUN(validfull, 3, 3, VIEW_FULL, valid)
RUN(validcrop, 3, 3, VIEW_CROP, valid)
#define LISTED "DATA CFG WEIGHTS"
COMMAND(predict, LISTED " [IMAGE]", predict_options, "the best classes of IMAGE, or of each picture named on stdin")
COMMAND(try, LISTED " IMAGE LAYER", predict_options, "what a layer answers to a picture, value by value")
COMMAND(test, LISTED, list_options, "all outputs for each picture of the test= list")
COMMAND(label, LISTED, list_options, "the best class for each picture of the test= list")
COMMAND(valid, LISTED, predict_options, "top-1 and top-k accuracy on the valid= list, middle crop")
COMMAND(valid10, LISTED, predict_options, "the same, mean of ten crops")
COMMAND(validmulti, LISTED, predict_options, "the same, mean of five sizes and their mirror images")
COMMAND(validfull, LISTED, predict_options, "the same, whole pictures in their own shape")
COMMAND(validcrop, LISTED, predict_options, "the same, one crop at a random place")
