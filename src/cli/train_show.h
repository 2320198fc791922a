/* What a training command shows: Darknet's lines on stdout, a live progress line, chart.png, and JSON lines in a file. */
#ifndef CLI_TRAIN_SHOW_H
#define CLI_TRAIN_SHOW_H

#include <stdio.h>

#include "cli/console.h"
#include "train/trainer.h"

struct train_show {
    /* set by the command */
    struct ctx *ctx;              /* warnings about files that cannot be written */
    const char *base;             /* of the run: chart_BASE.png */
    const char *chart;            /* the chart's other file; NULL: chart.png */
    const char *log;              /* JSON lines are appended here; NULL: no */
    const char *score;            /* e.g. "mAP@0.50"; NULL: none is measured */
    const char *score_line;       /* Darknet's name of it in front of the value: "mean_average_precision (mAP@0.50)" */
    bool quiet;                   /* no lines per iteration */
    int epoch_images;             /* > 0: the lines of the classifier, with epochs */
    double top_loss;              /* of the chart; 0: chosen to fit */
    int mjpeg_port;               /* > 0: browsers that connect there see the chart grow */
    bool window;                  /* a window does, in builds that have windows */
    /* its own */
    struct progress progress;
    char what[160];
    bool started, chart_failed;
    FILE *file;
    struct stream *mjpeg;
    double live_at;               /* when the chart was last drawn for those who watch */
};
/* Opens the log, with a first line about the run, and the port. */
enum status train_show_open(struct train_show *, const struct net *, uint64_t seed);
/* For train_options.news. */
void train_show_news(void *show, const struct train_news *);
void train_show_close(struct train_show *);

/* CFG's name without folder, up to its first dot: what Darknet calls its checkpoints.  Caller frees. */
char *train_base_name(struct ctx *, const char *cfg);
/* The top of the chart that the cfg asks for; 0: the chart finds one. */
double train_chart_top(const struct net *);

#endif
