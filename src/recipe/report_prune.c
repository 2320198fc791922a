/* The page of a pruning run. */
#include "recipe/report.h"

#include <stdio.h>
#include <string.h>

#include "recipe/prune_job.h"

enum status prune_report(struct ctx *ctx, struct prune_job *job) {
    const struct prune_options *o = &job->opt;
    struct report report = { 0 };
    struct report_options opt = report_defaults();
    char title[700];
    const char *slash = strrchr(o->cfg, '/'), *name = slash ? slash + 1 : o->cfg, *dot = strrchr(name, '.');
    int length = dot ? (int)(dot - name) : (int)strlen(name);
    snprintf(title, sizeof title, "%.*s, pruned to %.0f %% of its FLOPs", length > 500 ? 500 : length, name, 100 * job->selection.after.flops / job->selection.before.flops);
    opt.data = o->data;
    opt.cfg[REPORT_BEFORE] = o->cfg, opt.weights[REPORT_BEFORE] = o->weights;
    opt.cfg[REPORT_AFTER] = job->cfg_out, opt.weights[REPORT_AFTER] = job->weights_out;
    opt.title = title;
    opt.images = o->report_images;
    opt.thresh = o->map_thresh, opt.iou_thresh = o->map_iou;
    opt.strict = o->strict;
    opt.progress = o->progress, opt.user = o->user, opt.stop = o->stop;
    enum status st = report_measure(ctx, job->be, &opt, &report);
    if (st == ST_OK) st = report_add(ctx, &report, job->plan_out, job->html_out);
    report_free(&report);
    return st;
}
