/* detector calc_anchors: anchors that fit the boxes of the training list. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "cli/console.h"
#include "cli/options.h"
#include "data/anchors.h"

struct anchors_flags {
    int clusters, width, height, seed;
    bool show, dont_show;
};

#define AT(field) offsetof(struct anchors_flags, field)
static const struct option anchors_options[] = {
    { "num_of_clusters", OPTION_INT, AT(clusters), "N", "anchors wanted (5)", NULL, 1, 1000 },
    { "width", OPTION_INT, AT(width), "N", "of the network's input, needed", NULL, 1, 100000 },
    { "height", OPTION_INT, AT(height), "N", "of the network's input, needed", NULL, 1, 100000 },
    { "seed", OPTION_INT, AT(seed), "N", "the same seed gives the same anchors (1)", NULL, 0, 2147483647 },
    { "show", OPTION_FLAG, AT(show), NULL, "no window; cloud.png is always written", NULL, 1, 0 },
    { "dont_show", OPTION_FLAG, AT(dont_show), NULL, "no window; there never is one here", NULL, 1, 0 },
    OPTION_END
};

struct job {
    struct ctx ctx;
    struct anchors_flags flags;
    struct data_options data;
    struct text_list images;
    struct anchor_boxes boxes;
    struct anchor *anchor;
    int *cluster;
};

/* Small sizes are cells of a [region] grid, which has fractions. */
static void print_anchors(const struct job *j, FILE *to) {
    const char *format = j->flags.width <= 32 ? "%s%2.4f,%2.4f" : "%s%3.0f,%3.0f";
    for (int i = 0; i < j->flags.clusters; ++i) fprintf(to, format, i ? ", " : "", j->anchor[i].w, j->anchor[i].h);
}

static void print_counters(const struct job *j, FILE *to) {
    fprintf(to, "counters_per_class = ");
    for (int k = 0; k < j->boxes.classes; ++k) fprintf(to, "%s%lld", k ? ", " : "", j->boxes.per_class[k]);
}

static enum status write_text(struct job *j, const char *path, void (*print)(const struct job *, FILE *)) {
    struct io_out out;
    TRY(io_create(&j->ctx, path, &out));
    print(j, out.file);
    fputc('\n', out.file);
    return io_commit(&j->ctx, &out);
}

static enum status write_files(struct job *j) {
    struct pixels px = { 0 };
    TRY(write_text(j, "counters_per_class.txt", print_counters));
    enum status st = anchors_draw(&j->ctx, j->boxes.size, j->cluster, j->boxes.n, j->anchor, j->flags.clusters, j->flags.width,
                                  j->flags.height, &px);
    if (st == ST_OK) st = pixels_write(&j->ctx, "cloud.png", &px, 90);
    pixels_free(&px);
    TRY(st);
    printf("\nSaving anchors to the file: anchors.txt \n");
    return write_text(j, "anchors.txt", print_anchors);
}

static enum status work(struct job *j, const char *data) {
    struct ctx *ctx = &j->ctx;
    const struct anchors_flags *f = &j->flags;
    struct anchor_result result;
    if (f->width < 1 || f->height < 1)
        return ctx_fail(ctx, ST_USAGE, "detector calc_anchors: needs -width and -height of the network's input");
    TRY(data_read(ctx, data, &j->data));
    const char *list = j->data.train ? j->data.train : "data/train.list";
    TRY(list_read(ctx, list, &j->images));
    TRY(anchors_read(ctx, &j->images, j->data.classes, f->width, f->height, &j->boxes));
    if (j->boxes.n < f->clusters)
        return ctx_fail(ctx, ST_FORMAT, "%s: %d boxes are too few for %d anchors", list, j->boxes.n, f->clusters);
    j->anchor = mem_zero(ctx, (size_t)f->clusters, sizeof *j->anchor);
    j->cluster = mem_zero(ctx, (size_t)j->boxes.n, sizeof *j->cluster);
    if (!j->anchor || !j->cluster) return ST_MEMORY;
    printf("\n num_of_clusters = %d, width = %d, height = %d \n", f->clusters, f->width, f->height);
    printf(" read labels from %d images \n loaded \t image: %d \t box: %d\n all loaded. \n", j->images.n, j->boxes.images, j->boxes.n);
    printf("\n calculating k-means++ ...\n");
    fflush(stdout);
    TRY(anchors_cluster(ctx, j->boxes.size, j->boxes.n, f->clusters, (uint64_t)f->seed, j->anchor, j->cluster, &result));
    printf("\n iterations = %d \n", result.rounds);
    print_counters(j, stdout);
    printf("\n\n avg IoU = %2.2f %% \n", result.iou * 100);
    TRY(write_files(j));
    printf("anchors = ");
    print_anchors(j, stdout);
    printf(" \n");
    return ST_OK;
}

static int anchors_run(const struct command *self, int argc, char **argv) {
    struct job j = { .ctx = console_ctx(), .flags = { .clusters = 5, .width = -1, .height = -1, .seed = 1 } };
    struct arguments words;
    enum status st = options_parse(&j.ctx, argc, argv, self->options, &j.flags, &words, 1);
    if (st == ST_OK && words.n < 1) st = ctx_fail(&j.ctx, ST_USAGE, "detector calc_anchors: needs %s", self->words);
    if (st == ST_OK) st = work(&j, words.word[0]);
    free(j.anchor);
    free(j.cluster);
    anchors_free(&j.boxes);
    list_free(&j.images);
    data_free(&j.data);
    return st == ST_OK ? 0 : console_fail(&j.ctx);
}

const struct command detector_calc_anchors_command = {
    .group = "detector",
    .name = "calc_anchors",
    .words = "DATA",
    .summary = "clusters the training boxes: anchors.txt, counters_per_class.txt, cloud.png",
    .options = anchors_options,
    .run = anchors_run
};
