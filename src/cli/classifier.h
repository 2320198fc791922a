/* What the classifier commands open before they begin.  Everything is read and checked before the first line is printed. */
#ifndef CLI_CLASSIFIER_H
#define CLI_CLASSIFIER_H

#include "cli/device.h"
#include "cli/options.h"
#include "data/dataset.h"
#include "eval/classify.h"

struct classifier_flags {
    int top, crops;             /* -t, -c */
    const char *chart, *mjpeg_port;
    bool topk, clear, dont_show, benchmark, benchmark_layers, dontuse_opencv, show_imgs, strict;
};
struct classifier {
    struct ctx ctx;
    struct data_options data;
    struct text_list names;     /* to show: names=, else labels= */
    struct text_list labels;    /* as they stand in paths: labels=, else data/labels.list */
    struct net *net;
    bool several;               /* set by the caller: the command can use all of -gpus */
    struct backend *be;
    struct devices others;
    int layers, outputs;
};
enum { CLASSIFIER_NAMES = 1, CLASSIFIER_LABELS = 2 };
/* c->ctx is set up by the caller.  weights NULL: fresh ones from `seed`.  want: which lists are needed. */
enum status classifier_open(struct classifier *, const char *data, const char *cfg, const char *weights, bool prefix, bool strict,
                            int want, uint64_t seed);
void classifier_close(struct classifier *);
void classifier_print(const struct classifier *, const char *weights); /* Darknet's opening lines */

#endif
