/* classifier train: pictures whose classes stand in their paths. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/classifier.h"
#include "cli/console.h"
#include "cli/show_imgs.h"
#include "cli/train_show.h"
#include "data/loader.h"
#include "vision/word_tree.h"

struct train_flags {
    int top, seed, threads, mjpeg_port;
    bool topk, clear, dont_show, dontuse_opencv, quiet, strict, show_imgs;
    const char *chart, *log;
};

#define AT(field) offsetof(struct train_flags, field)
static const struct option train_options_table[] = {
    { "topk", OPTION_FLAG, AT(topk), NULL, "measure top-k accuracy on the valid= list on the way, keep the best weights", NULL, 1, 0 },
    { "t", OPTION_INT, AT(top), "N", "k of -topk (top= of the .data file, else 5)", NULL, 0, 1 << 24 },
    { "clear", OPTION_FLAG, AT(clear), NULL, "start at iteration 0, whatever the weights have seen", NULL, 1, 0 },
    { "seed", OPTION_INT, AT(seed), "N", "of fresh weights, the draw of images and augmentation (1)", NULL, 0, 2147483647 },
    { "threads", OPTION_INT, AT(threads), "N", "threads that read images; does not change the result (all processors)", NULL, 1, 1024 },
    { "chart", OPTION_TEXT, AT(chart), "FILE", "the chart's file beside chart_BASE.png (chart.png)", NULL, 1, 0 },
    { "log", OPTION_TEXT, AT(log), "FILE", "append every iteration's numbers as a JSON line", NULL, 1, 0 },
    { "quiet", OPTION_FLAG, AT(quiet), NULL, "only the progress line, no lines per iteration", NULL, 1, 0 },
    { "strict", OPTION_FLAG, AT(strict), NULL, "unknown cfg keys, pictures without one class and unreadable ones are errors", NULL, 1, 0 },
    { "show_imgs", OPTION_FLAG, AT(show_imgs), NULL, "write the first images, augmented, with their classes as aug_*.png", NULL, 1, 0 },
    { "mjpeg_port", OPTION_INT, AT(mjpeg_port), "PORT", "serve the chart to browsers while it grows", NULL, 1, 65535 },
    { "dont_show", OPTION_FLAG, AT(dont_show), NULL, "no window with the chart (builds with OPENCV=1 open one)", NULL, 1, 0 },
    { "dontuse_opencv", OPTION_FLAG, AT(dontuse_opencv), NULL, "accepted: pictures are never read by OpenCV", NULL, 1, 0 },
    OPTION_END
};

struct job {
    struct classifier c;
    struct train_flags flags;
    const char *cfg, *weights;
    struct text_list images, valid;
    struct word_tree *tree;
    bool *others;                  /* with leaves=: classes that do not count; NULL: the tree says */
    struct class_options classes;
    int top;
};

/* --- Data ----------------------------------------------------------------------------------------------- */

static enum status open_batches(struct ctx *ctx, void *user, const struct batch_request *r, struct batch_source *out) {
    const struct job *j = user;
    const struct net_options *o = &j->c.net->opt;
    struct loader *loader;
    struct loader_options lo = { .images = &j->images, .classes = &j->classes, .channels = o->channels, .seed = r->seed,
                                 .threads = r->threads, .plan = r->plan, .sequence = o->track ? r->sequence : NULL,
                                 .steps = r->steps, .augment_speed = o->augment_speed, .user = r->user, .first = r->first,
                                 .strict = j->flags.strict, .blocks = r->blocks };
    augment_from_net(o, &lo.augment);
    TRY(loader_open(ctx, &lo, &loader));
    *out = loader_source(loader);
    return ST_OK;
}

static enum status measure(struct ctx *ctx, void *user, struct net *eval, double *score) {
    const struct job *j = user;
    struct classify_score s;
    if (eval->batch != 1) TRY(net_bind(ctx, eval, eval->be, NET_INFER, 1));
    TRY(classify_evaluate(ctx, eval, &j->valid, &j->c.labels, VIEW_CENTRE, j->top, j->others, NULL, NULL, &s));
    *score = (double)s.topk / s.images;
    return ST_OK;
}

/* The tree of the last [softmax] that has one: classes above a picture's class count as well. */
static enum status read_tree(struct job *j) {
    const struct net *net = j->c.net;
    const char *path = NULL;
    for (int i = 0; i < net->n; ++i)
        if (strcmp(net->layer[i].ops->name, "softmax") == 0 && cfg_value(net->layer[i].section, "tree"))
            path = cfg_value(net->layer[i].section, "tree");
    if (!path) return ST_OK;
    TRY(word_tree_read(&j->c.ctx, path, &j->tree));
    if (j->tree->n != j->c.labels.n)
        return ctx_fail(&j->c.ctx, ST_FORMAT, "%s: %d classes, but there are %d labels", path, j->tree->n, j->c.labels.n);
    j->classes.parent = j->tree->parent;
    return j->c.data.leaves ? word_tree_leaves(&j->c.ctx, j->tree, j->c.data.leaves, &j->others) : ST_OK;
}

static enum status read_list(struct ctx *ctx, const char *path, struct text_list *list) {
    TRY(list_read(ctx, path, list));
    return list->n ? ST_OK : ctx_fail(ctx, ST_FORMAT, "%s: the list of images is empty", path);
}

/* Everything that can be wrong is looked at before the first line is printed and the first file written. */
static enum status prepare(struct job *j) {
    struct ctx *ctx = &j->c.ctx;
    const struct data_options *data = &j->c.data;
    struct class_report report;
    const char *train = data->train ? data->train : "data/train.list";
    j->classes = (struct class_options){ .names = &j->c.labels, .unlabelled = j->c.net->opt.unsupervised };
    j->top = j->flags.top > 0 ? j->flags.top : data->top > 0 ? data->top : 5;
    if (j->top > j->c.outputs) j->top = j->c.outputs;
    TRY(read_tree(j));
    TRY(read_list(ctx, train, &j->images));
    TRY(class_check(ctx, &j->images, &j->classes, &report));
    if (j->flags.strict && report.none + report.several)
        return ctx_fail(ctx, ST_FORMAT, "%s: %d paths hold no class, %d several", train, report.none, report.several);
    if (!j->flags.topk) return ST_OK;
    TRY(read_list(ctx, data->valid ? data->valid : train, &j->valid));
    return classify_check(ctx, &j->valid, &j->c.labels);
}

/* --- The command ---------------------------------------------------------------------------------------- */

static void print_start(const struct job *j, const char *base) {
    const struct net_options *o = &j->c.net->opt;
    printf("%s\n%d classes, %d training images\n", base, j->c.outputs, j->images.n);
    classifier_print(&j->c, j->weights);
    if (!j->weights) fprintf(stderr, "No weights given: training starts from random ones (-seed %d)\n", j->flags.seed);
    else if (j->c.layers < j->c.net->n)
        fprintf(stderr, "%s holds the first %d of %d layers, the others start at random (-seed %d)\n", j->weights, j->c.layers,
                j->c.net->n, j->flags.seed);
    printf("Learning Rate: %g, Momentum: %g, Decay: %g\n", o->learning_rate, o->momentum, o->decay);
    fflush(stdout);
}

static enum status train(struct job *j, const char *base) {
    enum { SAVE_EVERY = 1000, TOPK_EPOCHS = 2 };
    struct classifier *c = &j->c;
    char score[32], line[64];
    snprintf(score, sizeof score, "top%d", j->top);
    snprintf(line, sizeof line, "accuracy %s", score);
    struct train_show show = { .ctx = &c->ctx, .base = base, .chart = j->flags.chart, .log = j->flags.log,
                               .score = j->flags.topk ? score : NULL, .score_line = line, .quiet = j->flags.quiet,
                               .mjpeg_port = j->flags.mjpeg_port, .window = !j->flags.dont_show,
                               .epoch_images = j->images.n, .top_loss = train_chart_top(c->net) };
    TRY(train_show_open(&show, c->net, (uint64_t)j->flags.seed));
    struct train_options opt = { .open_source = open_batches, .source_user = j, .epoch_images = j->images.n, .measure = measure,
                                 .measure_user = j, .base = base, .clear = j->flags.clear, .calc_map = j->flags.topk,
                                 .map_epochs = TOPK_EPOCHS, .seed = (uint64_t)j->flags.seed, .save = true,
                                 .save_every = c->data.save_weights > 0 ? c->data.save_weights : SAVE_EVERY,
                                 .loader_threads = j->flags.threads, .others = c->others.be, .n_other = c->others.n, .news = train_show_news, .user = &show,
                                 .stop = console_stop() };
    struct train_result result = { 0 };
    enum status st = train_run(&c->ctx, c->be, c->net, &c->data, &j->images, &j->valid, &opt, &result);
    train_show_close(&show);
    TRY(st);
    printf("Trained to iteration %llu in %.0f s (%.0f s of them waiting for images): avg loss %f",
           (unsigned long long)result.iteration, result.seconds, result.wait_seconds, result.avg_loss);
    if (result.best_map >= 0) printf(", best %s = %2.2f %%", score, result.best_map * 100);
    printf("\nWeights: %s/%s_final.weights\n", c->data.backup ? c->data.backup : "backup", base);
    return ST_OK;
}

static enum status write_samples(struct job *j) {
    struct shown_run run = { .open = open_batches, .user = j, .names = &j->c.labels, .classes = j->c.outputs, .seed = (uint64_t)j->flags.seed };
    int written;
    TRY(show_imgs(&j->c.ctx, &j->c.net->opt, &run, &written));
    printf("Wrote the first %d training images with their classes: aug_*.png\n", written);
    return ST_OK;
}

static enum status work(struct job *j, const char *data) {
    TRY(classifier_open(&j->c, data, j->cfg, j->weights, true, j->flags.strict, CLASSIFIER_LABELS, (uint64_t)j->flags.seed));
    TRY(prepare(j));
    char *base = train_base_name(&j->c.ctx, j->cfg);
    if (!base) return ST_MEMORY;
    print_start(j, base);
    enum status st = j->flags.show_imgs ? write_samples(j) : ST_OK;
    if (st == ST_OK) st = train(j, base);
    free(base);
    return st;
}

static int train_main(const struct command *self, int argc, char **argv) {
    struct job j = { .c.ctx = console_ctx(), .c.several = true, .flags = { .seed = 1 } };
    struct arguments words;
    enum status st = options_parse(&j.c.ctx, argc, argv, self->options, &j.flags, &words, 3);
    if (st == ST_OK && words.n < 2) st = ctx_fail(&j.c.ctx, ST_USAGE, "classifier train: needs %s", self->words);
    if (st == ST_OK) {
        j.cfg = words.word[1];
        j.weights = words.n > 2 ? words.word[2] : NULL;
        st = work(&j, words.word[0]);
    }
    word_tree_free(j.tree);
    free(j.others);
    list_free(&j.images);
    list_free(&j.valid);
    classifier_close(&j.c);
    return st == ST_OK ? 0 : console_fail(&j.c.ctx);
}

const struct command classifier_train_command = { .group = "classifier",
                                                  .name = "train",
                                                  .words = "DATA CFG [WEIGHTS]",
                                                  .summary = "trains on pictures whose classes stand in their paths",
                                                  .options = train_options_table,
                                                  .run = train_main };
