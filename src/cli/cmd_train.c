/* detector train: the loop itself is train/trainer.c; here are its flags and what it shows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "cli/console.h"
#include "cli/layer_times.h"
#include "cli/options.h"
#include "cli/session.h"
#include "cli/show_imgs.h"
#include "cli/train_show.h"
#include "train/sparsity.h"
#include "train/trainer.h"

struct train_flags {
    bool map, clear, dont_show, quiet, strict, show_imgs, benchmark_layers, checkpoint_activations;
    int map_epochs, seed, threads, mjpeg_port;
    double thresh, iou_thresh, sparsity;
    const char *chart, *log;
};

#define AT(field) offsetof(struct train_flags, field)
static const struct option train_options_table[] = {
    { "map", OPTION_FLAG, AT(map), NULL, "measure mAP on the valid= list on the way, keep the best weights",
      NULL, 1, 0 },
    { "mAP_epochs", OPTION_INT, AT(map_epochs), "N",
      "passes over the training images between two measurements (4)", NULL, 1, 1000000 },
    { "thresh", OPTION_FLOAT, AT(thresh), "T", "confidence threshold of -map (0.25)", NULL, 0, 1 },
    { "iou_thresh", OPTION_FLOAT, AT(iou_thresh), "T", "overlap threshold of -map (0.5)", NULL, 0, 1 },
    { "clear", OPTION_FLAG, AT(clear), NULL, "start at iteration 0, whatever the weights have seen", NULL, 1,
      0 },
    { "seed", OPTION_INT, AT(seed), "N", "of fresh weights, the draw of images and augmentation (1)", NULL, 0,
      2147483647 },
    { "threads", OPTION_INT, AT(threads), "N",
      "threads that read images; does not change the result (all processors)", NULL, 1, 1024 },
    { "checkpoint_activations", OPTION_FLAG, AT(checkpoint_activations), NULL,
      "compute activations a second time rather than keep them: less memory, more time, the same result", NULL, 1, 0 },
    { "sparsity", OPTION_FLOAT, AT(sparsity), "L",
      "pull of the L1 norm on the scales of batch norm, for prune -criterion bn; tells how far it can pull (0)", NULL, 0, 1000 },
    { "quiet", OPTION_FLAG, AT(quiet), NULL, "only the progress line, no lines per iteration", NULL, 1, 0 },
    { "strict", OPTION_FLAG, AT(strict), NULL, "unknown cfg keys, bad labels and unreadable images are errors",
      NULL, 1, 0 },
    { "dont_show", OPTION_FLAG, AT(dont_show), NULL, "no window with the chart (builds with OPENCV=1 open one)", NULL, 1, 0 },
    { "chart", OPTION_TEXT, AT(chart), "FILE", "the chart's file beside chart_BASE.png; a resumed run goes on drawing (chart.png)", NULL, 1, 0 },
    { "log", OPTION_TEXT, AT(log), "FILE", "append every iteration's numbers as a JSON line", NULL, 1, 0 },
    { "mjpeg_port", OPTION_INT, AT(mjpeg_port), "PORT", "serve the chart to browsers while it grows", NULL, 1, 65535 },
    { "show_imgs", OPTION_FLAG, AT(show_imgs), NULL,
      "write the first images, augmented, with their boxes as aug_*.png", NULL, 1, 0 },
    { "benchmark_layers", OPTION_FLAG, AT(benchmark_layers), NULL,
      "print how long each layer took in every iteration, the slowest first", NULL, 1, 0 },
    OPTION_END
};

static void print_start(const struct session *s, const struct train_flags *flags, const char *base,
                        const char *weights) {
    const struct net_options *o = &s->net->opt;
    int every = s->data.save_weights > 0 ? s->data.save_weights : o->max_batches < 10000 ? 1000 : 10000;
    int last = s->data.save_last > 0 ? s->data.save_last : 100;
    if (flags->map) printf(" Prepare additional network for mAP calculation...\n");
    printf("%s\n", base);
    session_print(s, weights);
    if (!weights)
        fprintf(stderr, "No weights given: training starts from random ones (-seed %d)\n", flags->seed);
    else if (s->layers < s->net->n)
        fprintf(stderr, "%s holds the first %d of %d layers, the others start at random (-seed %d)\n",
                weights, s->layers, s->net->n, flags->seed);
    printf(
        "Weights are saved after: %d iterations. Last weights (*_last.weight) are stored every %d iterations. \n",
        every, last);
    printf("Learning Rate: %g, Momentum: %g, Decay: %g\n", o->learning_rate, o->momentum, o->decay);
    session_print_heads(s);
    fflush(stdout);
}

/* What -sparsity is about: how many channels are on their way out. */
static void print_scales(const struct net *net, const char *when) {
    static const double small[] = { .1, .01 };
    struct sparsity s = sparsity_of(net, 0);
    printf("Scales of batch norm %s: %zu, mean size %.4f", when, s.n, s.mean);
    for (size_t i = 0; i < sizeof small / sizeof *small; ++i)
        printf(", %.1f %% below %g", 100 * sparsity_of(net, small[i]).share_small, small[i]);
    printf("\n");
}

/* How far the pull can move a scale in the whole run: the choice of L is a guess without it.  Adam's steps have another length. */
static void print_pull(const struct net *net, double sparsity) {
    double sum = 0;
    for (int n = 1; n <= net->opt.max_batches; ++n) sum += net_learning_rate(&net->opt, n, .5);
    if (!net->opt.adam && !net->opt.adamw && net->opt.momentum < 1)
        printf("-sparsity %g pulls a scale towards 0 by up to %.3g in max_batches=%d iterations\n", sparsity,
               sparsity * sum / (1 - net->opt.momentum), net->opt.max_batches);
}

/* What is shown of each iteration. */
struct shown {
    struct train_show show;
    struct layer_times times;
    struct session *s;
};

static void news(void *user, const struct train_news *n) {
    struct shown *shown = user;
    train_show_news(&shown->show, n);
    layer_times_print(&shown->s->ctx, shown->s->net, &shown->times);
}

static enum status train(struct session *s, const struct train_flags *flags, const char *base,
                         const struct text_list *images, const struct text_list *valid) {
    char score[32], line[64];
    snprintf(score, sizeof score, "mAP@%0.2f", flags->iou_thresh);
    snprintf(line, sizeof line, "mean_average_precision (%s)", score);
    struct shown shown = { .s = s,
                           .show = { .ctx = &s->ctx,
                                     .base = base,
                                     .chart = flags->chart,
                                     .log = flags->log,
                                     .score = flags->map ? score : NULL,
                                     .score_line = line,
                                     .quiet = flags->quiet,
                                     .mjpeg_port = flags->mjpeg_port,
                                     .window = !flags->dont_show,
                                     .top_loss = train_chart_top(s->net) } };
    TRY(train_show_open(&shown.show, s->net, (uint64_t)flags->seed));
    struct train_options opt = { .base = base,
                                 .clear = flags->clear,
                                 .calc_map = flags->map,
                                 .map_epochs = flags->map_epochs,
                                 .map_thresh = (float)flags->thresh,
                                 .map_iou = (float)flags->iou_thresh,
                                 .seed = (uint64_t)flags->seed,
                                 .save = true,
                                 .sparsity = flags->sparsity,
                                 .checkpoint_activations = flags->checkpoint_activations,
                                 .loader_threads = flags->threads,
                                 .others = s->others.be,
                                 .n_other = s->others.n,
                                 .news = news,
                                 .user = &shown,
                                 .stop = console_stop() };
    struct train_result result = { 0 };
    if (flags->sparsity > 0) print_scales(s->net, "before"), print_pull(s->net, flags->sparsity);
    enum status st = flags->benchmark_layers ? layer_times_open(&s->ctx, s->net, &shown.times) : ST_OK;
    if (st == ST_OK) st = train_run(&s->ctx, s->be, s->net, &s->data, images, valid, &opt, &result);
    train_show_close(&shown.show);
    layer_times_close(&shown.times);
    if (st != ST_OK) return st;
    if (flags->sparsity > 0) print_scales(s->net, "after");
    printf("Trained to iteration %llu in %.0f s (%.0f s of them waiting for images): avg loss %f",
           (unsigned long long)result.iteration, result.seconds, result.wait_seconds, result.avg_loss);
    if (result.best_map >= 0) printf(", best mAP@%0.2f = %2.2f %%", flags->iou_thresh, result.best_map * 100);
    printf("\nWeights: %s/%s_final.weights\n", s->data.backup ? s->data.backup : "backup", base);
    printf(
        "If you want to train from the beginning, then use flag in the end of training command: -clear \n");
    return ST_OK;
}

/* Everything that can be wrong is looked at before the first line is printed and the first file written. */
static enum status check_sets(struct session *s, const struct train_flags *flags, struct text_list *images,
                              struct text_list *valid) {
    struct ctx *ctx = &s->ctx;
    const char *path = s->data.train ? s->data.train : "data/train.txt";
    TRY(list_read(ctx, path, images));
    if (images->n == 0) return ctx_fail(ctx, ST_FORMAT, "%s: the list of images is empty", path);
    TRY(session_check_set(s, images, flags->strict ? DATASET_STRICT : DATASET_TRAIN, "bad_labels.txt"));
    if (!flags->map) return ST_OK;
    TRY(session_valid(s, valid));
    return session_check_set(s, valid, flags->strict ? DATASET_STRICT : DATASET_SCORE, NULL);
}

struct sample_run { struct session *s; const struct text_list *images; };

static enum status open_samples(struct ctx *ctx, void *user, const struct batch_request *r, struct batch_source *out) {
    const struct sample_run *run = user;
    const struct net *net = run->s->net;
    const struct net_options *o = &net->opt;
    const struct layer *last = &net->layer[run->s->last_head];
    struct head_info head = { 0 };
    struct loader *loader;
    last->ops->head->info(last, &head);
    struct loader_options lo = { .images = run->images, .channels = o->channels, .seed = r->seed, .plan = r->plan,
                                 .sequence = o->track ? r->sequence : NULL, .steps = r->steps, .augment_speed = o->augment_speed,
                                 .user = r->user, .blocks = r->blocks, .augment = { .jitter = head.jitter, .resize = head.resize,
                                                               .max_boxes = head.max_boxes, .classes = head.classes } };
    augment_from_net(o, &lo.augment);
    TRY(loader_open(ctx, &lo, &loader));
    *out = loader_source(loader);
    return ST_OK;
}

static enum status write_samples(struct session *s, const struct train_flags *flags, const struct text_list *images) {
    struct sample_run sample = { s, images };
    struct shown_run run = { .open = open_samples, .user = &sample, .names = &s->names, .classes = s->classes,
                             .seed = (uint64_t)flags->seed };
    int written;
    TRY(show_imgs(&s->ctx, &s->net->opt, &run, &written));
    printf("Wrote the first %d training images with their boxes: aug_*.png\n", written);
    return ST_OK;
}

static enum status work(struct session *s, const struct train_flags *flags, const struct arguments *words) {
    struct text_list images = { 0 }, valid = { 0 };
    const char *weights = words->n > 2 ? words->word[2] : NULL;
    struct session_request request = { .data = words->word[0],
                                       .cfg = words->word[1],
                                       .weights = weights,
                                       .strict = flags->strict,
                                       .no_names = true,
                                       .several = true,
                                       .policy = LOAD_PREFIX,
                                       .seed = (uint64_t)flags->seed };
    enum status st = session_open(s, &request);
    if (st == ST_OK) st = check_sets(s, flags, &images, &valid);
    char *base = st == ST_OK ? train_base_name(&s->ctx, words->word[1]) : NULL;
    if (base) {
        print_start(s, flags, base, weights);
        if (flags->show_imgs) st = write_samples(s, flags, &images);
    }
    if (base && st == ST_OK) {
        st = train(s, flags, base, &images, &valid);
    }
    if (st == ST_OK && !base) st = s->ctx.code;
    free(base);
    list_free(&images);
    list_free(&valid);
    return st;
}

static int train_main(const struct command *self, int argc, char **argv) {
    struct train_flags flags = { .map_epochs = 4, .seed = 1, .thresh = .25, .iou_thresh = .5 };
    struct arguments words;
    struct session s = { .ctx = console_ctx() };
    enum status st = options_parse(&s.ctx, argc, argv, self->options, &flags, &words, 3);
    if (st == ST_OK && words.n < 2) st = ctx_fail(&s.ctx, ST_USAGE, "detector train: needs %s", self->words);
    if (st == ST_OK) st = work(&s, &flags, &words);
    int status = st == ST_OK ? 0 : console_fail(&s.ctx);
    session_close(&s);
    return status;
}

const struct command detector_train_command = {
    "detector",           "train",
    "DATA CFG [WEIGHTS]", "trains; Ctrl-C saves and ends, giving the _last weights goes on",
    train_options_table,  train_main
};
