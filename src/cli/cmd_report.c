/* detector report: two networks side by side on one page. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/options.h"
#include "cli/prune_show.h"
#include "cli/report_show.h"

struct report_flags { struct report_options opt; const char *out; bool force; };

#define AT(field) offsetof(struct report_flags, field)
static const struct option report_options_table[] = {
    { "out", OPTION_TEXT, AT(out), "FILE", "the page; FILE.json beside it has all of its figures (report.html)", NULL, 1, 0 },
    { "title", OPTION_TEXT, AT(opt.title), "TEXT", "heading (the names of the two cfgs)", NULL, 1, 0 },
    { "report_images", OPTION_INT, AT(opt.images), "N", "example pictures (8)", NULL, 0, 200 },
    { "thresh", OPTION_FLOAT, AT(opt.thresh), "T", "confidence from which boxes are shown and count (0.25)", NULL, 0.005, 1 },
    { "iou_thresh", OPTION_FLOAT, AT(opt.iou_thresh), "T", "overlap from which a detection is right (0.5)", NULL, 0, 1 },
    { "force", OPTION_FLAG, AT(force), NULL, "overwrite existing files", NULL, 1, 0 },
    { "strict", OPTION_FLAG, AT(opt.strict), NULL, "unknown cfg keys are errors", NULL, 1, 0 },
    OPTION_END
};

/* FILE.html -> FILE.json; refused when the page's name does not end so, or something is there already. */
static enum status names(struct ctx *ctx, const struct report_flags *f, char *json, size_t size) {
    const char *out = f->out;
    if (!text_ends_with(out, ".html") || strlen(out) >= size) return ctx_fail(ctx, ST_USAGE, "-out %s: the page's name must end in .html", out);
    snprintf(json, size, "%.*s.json", (int)(strlen(out) - strlen(".html")), out);
    const char *const file[] = { out, json };
    for (int i = 0; i < 2 && !f->force; ++i)
        if (io_exists(file[i])) return ctx_fail(ctx, ST_USAGE, "%s: exists already; -force overwrites it, -out FILE writes elsewhere", file[i]);
    return ST_OK;
}

static enum status work(struct ctx *ctx, struct report_flags *f, const char *line) {
    struct display display = { .what = "" };
    struct backend *be = NULL;
    struct report report = { 0 };
    char json[1100];
    TRY(names(ctx, f, json, sizeof json));
    TRY(io_writable(ctx, f->out));
    f->opt.progress = display_phase;
    f->opt.user = &display;
    f->opt.stop = console_stop();
    TRY(backend_open(ctx, "cpu", &be));
    enum status st = report_measure(ctx, be, &f->opt, &report);
    display_end(&display);
    if (st == ST_OK) {
        cJSON *record = cJSON_CreateObject();
        cJSON_AddStringToObject(record, "version", "1.0");
        cJSON_AddStringToObject(record, "command", line);
        st = report_write(ctx, &report, record, json, f->out);
        if (st == ST_OK) report_print(record);
        cJSON_Delete(record);
    }
    if (st == ST_OK) printf("written: %s, %s\n", f->out, json);
    report_free(&report);
    backend_close(be);
    return st;
}

static int report_run(const struct command *self, int argc, char **argv) {
    struct ctx ctx = console_ctx();
    struct report_flags f = { .opt = report_defaults(), .out = "report.html" };
    struct arguments words;
    char *line = options_line(argc, argv, "detector report");
    enum status st = options_parse(&ctx, argc, argv, self->options, &f, &words, 5);
    if (st == ST_OK && words.n < 5) st = ctx_fail(&ctx, ST_USAGE, "detector report: needs %s", self->words);
    if (st == ST_OK) {
        f.opt.data = words.word[0];
        for (int s = 0; s < REPORT_SIDES; ++s) f.opt.cfg[s] = words.word[1 + 2 * s], f.opt.weights[s] = words.word[2 + 2 * s];
        st = work(&ctx, &f, line ? line : "");
    }
    free(line);
    return st == ST_OK ? 0 : console_fail(&ctx);
}

const struct command detector_report_command = { "detector", "report", "DATA CFG WEIGHTS CFG2 WEIGHTS2", "two networks on one page: speed, memory, accuracy, pictures",
                                                 report_options_table, report_run };
