/* Darknet reads the flags of all commands of a group before it looks which one was called, so scripts hand them to commands that
 * have no use for them. */
#include <string.h>

#include "cli/options.h"

struct shared_flag {
    const char *name;
    bool value;
};
static const struct shared_flag detector_flags[] = {
    { "thresh", true }, { "iou_thresh", true }, { "points", true }, { "hier", true }, { "out", true }, { "ext_output", false },
    { "save_labels", false }, { "dont_show", false }, { "show_imgs", false }, { "map", false }, { "mAP_epochs", true },
    { "clear", false }, { "chart", true }, { "letter_box", false }, { "benchmark", false }, { "benchmark_layers", false },
    { "mjpeg_port", true }, { "json_port", true }, { "http_post_host", true }, { "time_limit_sec", true },
    { "out_filename", true }, { "json_file_output", true }, { "prefix", true }, { "avgframes", true }, { "dontdraw_bbox", false },
    { "c", true }, { "s", true }, { "num_of_clusters", true }, { "width", true }, { "height", true }, { "show", false },
    { NULL, false }
};
static const struct shared_flag classifier_flags[] = {
    { "mjpeg_port", true }, { "dont_show", false }, { "benchmark", false }, { "benchmark_layers", false },
    { "dontuse_opencv", false }, { "show_imgs", false }, { "topk", false }, { "c", true }, { "t", true }, { "clear", false },
    { "chart", true }, { NULL, false }
};

static const struct {
    const char *group, *name;
    const struct shared_flag *flags;
} table[] = {
    { "detector", "test", detector_flags }, { "detector", "train", detector_flags }, { "detector", "valid", detector_flags },
    { "detector", "recall", detector_flags }, { "detector", "map", detector_flags }, { "detector", "calc_anchors", detector_flags },
    { "detector", "draw", detector_flags }, { "detector", "demo", detector_flags }, { "classifier", NULL, classifier_flags }
};

static bool own_flag(const struct command *c, const char *name) {
    for (const struct option *o = c->options; o && o->name; ++o)
        if (strcmp(o->name, name) == 0) return true;
    return false;
}

static const struct shared_flag *shared(const struct command *c, const char *name) {
    if (!c->group || own_flag(c, name)) return NULL;
    for (size_t i = 0; i < sizeof table / sizeof *table; ++i) {
        if (strcmp(table[i].group, c->group) != 0 || (table[i].name && strcmp(table[i].name, c->name) != 0)) continue;
        for (const struct shared_flag *f = table[i].flags; f->name; ++f)
            if (strcmp(f->name, name) == 0) return f;
    }
    return NULL;
}

int drop_shared_flags(struct ctx *ctx, const struct command *c, int n, char **word) {
    int kept = 0;
    for (int i = 0; i < n; ++i) {
        const struct shared_flag *f = word[i][0] == '-' ? shared(c, word[i] + 1) : NULL;
        if (!f) {
            word[kept++] = word[i];
            continue;
        }
        ctx_log(ctx, LOG_WARN, "%s has no effect on %s %s", word[i], c->group, c->name);
        if (f->value) ++i;
    }
    return kept;
}
