/* detector draw: changes a picture until the network sees an object where there is none.  Darknet has a window for this, in
 * which the box is drawn by mouse; here it is given as flags. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cli/console.h"
#include "cli/options.h"
#include "cli/session.h"
#include "eval/provoke.h"

struct draw_flags {
    double thresh, step, limit;
    int rounds;
    const char *box, *class_name, *out;
    bool letter_box, dont_show, strict;
};

#define AT(field) offsetof(struct draw_flags, field)
static const struct option draw_options[] = {
    { "box", OPTION_TEXT, AT(box), "X,Y,W,H", "where the object is to be seen: centre and size, relative to the picture (0.5,0.5,0.5,0.5)", NULL, 1, 0 },
    { "class", OPTION_TEXT, AT(class_name), "NAME", "its class, by name or number (0)", NULL, 1, 0 },
    { "thresh", OPTION_FLOAT, AT(thresh), "T", "how sure the network has to be (0.5)", NULL, 0, 1 },
    { "it_num", OPTION_INT, AT(rounds), "N", "rounds at most (100)", NULL, 1, 1000000 },
    { "rate", OPTION_FLOAT, AT(step), "R", "change of a value per round, of 0..1 (0.004)", NULL, 1e-6, 1 },
    { "limit", OPTION_FLOAT, AT(limit), "R", "change of a value in all (0.1)", NULL, 1e-6, 1 },
    { "out", OPTION_TEXT, AT(out), "FILE", "the changed picture in the network's size (drawn.png)", NULL, 1, 0 },
    { "letter_box", OPTION_FLAG, AT(letter_box), NULL, "keep the picture's aspect; the box is relative to the network's input then", NULL, 1, 0 },
    { "dont_show", OPTION_FLAG, AT(dont_show), NULL, "no window; there never is one here", NULL, 1, 0 },
    { "strict", OPTION_FLAG, AT(strict), NULL, "unknown cfg keys are errors", NULL, 1, 0 },
    OPTION_END
};

static enum status parse_box(struct ctx *ctx, const char *text, struct box *b) {
    double v[4] = { .5, .5, .5, .5 };
    const char *at = text;
    for (int i = 0; text && i < 4; ++i) {
        if (!text_double(at, &v[i], &at) || *at != (i < 3 ? ',' : '\0') || v[i] < 0 || v[i] > 1 || (i > 1 && v[i] == 0))
            return ctx_fail(ctx, ST_USAGE, "-box: '%s' must be X,Y,W,H, four numbers from 0 to 1", text);
        ++at;
    }
    *b = (struct box){ (float)v[0], (float)v[1], (float)v[2], (float)v[3] };
    return ST_OK;
}

static enum status find_class(struct session *s, const char *name, int *k) {
    const char *rest = "";
    *k = 0;
    if (!name) return ST_OK;
    for (int i = 0; i < s->names.n; ++i)
        if (strcmp(s->names.item[i], name) == 0) {
            *k = i;
            return ST_OK;
        }
    if (text_int(name, k, &rest) && !*rest && *k >= 0 && *k < s->classes) return ST_OK;
    return ctx_fail(&s->ctx, ST_USAGE, "-class: '%s' is no name of a class, nor a number from 0 to %d", name, s->classes - 1);
}

static void show(void *user, const struct provoke_result *r) {
    (void)user;
    printf("%d: confidence %.1f%%, IOU %.1f%%, largest change %.3f\n", r->rounds, (double)r->confidence * 100, (double)r->iou * 100,
           (double)r->change);
    fflush(stdout);
}

static enum status draw(struct session *s, const struct draw_flags *f, const struct provoke_options *o, const char *path) {
    struct image im = { 0 }, x = { 0 };
    struct pixels px = { 0 };
    struct provoke_result r;
    struct ctx *ctx = &s->ctx;
    const char *out = f->out ? f->out : "drawn.png";
    enum status st = image_read(ctx, path, s->net->opt.channels, &im);
    if (st == ST_OK) st = detect_input(ctx, s->net, &im, f->letter_box || s->net->opt.letter_box, &x);
    if (st == ST_OK) st = provoke(ctx, s->net, o, &x, show, NULL, &r);
    if (st == ST_OK) st = pixels_from_image(ctx, &x, &px);
    if (st == ST_OK) st = pixels_write(ctx, out, &px, 95);
    if (st == ST_OK)
        printf("%s: %s after %d rounds\n", out, r.confidence > o->thresh ? "the object is seen" : "the object is not seen", r.rounds);
    image_free(&im);
    image_free(&x);
    pixels_free(&px);
    return st;
}

static enum status work(struct session *s, const struct draw_flags *f, const struct arguments *words) {
    struct session_request request = {
        .data = words->word[0], .cfg = words->word[1], .weights = words->word[2], .strict = f->strict
    };
    struct provoke_options o = { .rounds = f->rounds, .step = (float)f->step, .limit = (float)f->limit, .thresh = (float)f->thresh };
    TRY(parse_box(&s->ctx, f->box, &o.object.box));
    TRY(session_open(s, &request));
    TRY(find_class(s, f->class_name, &o.object.class_id));
    s->net->wants_dinput = true;
    TRY(net_bind(&s->ctx, s->net, s->be, NET_SCORE, 1));
    return draw(s, f, &o, words->word[3]);
}

static int draw_run(const struct command *self, int argc, char **argv) {
    struct draw_flags flags = { .thresh = .5, .step = .004, .limit = .1, .rounds = 100 };
    struct arguments words;
    struct session s = { .ctx = console_ctx() };
    enum status st = options_parse(&s.ctx, argc, argv, self->options, &flags, &words, 4);
    if (st == ST_OK && words.n < 4) st = ctx_fail(&s.ctx, ST_USAGE, "detector draw: needs %s", self->words);
    if (st == ST_OK) st = work(&s, &flags, &words);
    int status = st == ST_OK ? 0 : console_fail(&s.ctx);
    session_close(&s);
    return status;
}

const struct command detector_draw_command = { .group = "detector",
                                               .name = "draw",
                                               .words = "DATA CFG WEIGHTS IMAGE",
                                               .summary = "changes a picture until an object is seen where there is none",
                                               .options = draw_options,
                                               .run = draw_run };
