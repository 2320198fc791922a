/* detector recall: how many objects of the validation list the proposals cover. */
#include <stdio.h>

#include "cli/console.h"
#include "cli/options.h"
#include "cli/session.h"
#include "eval/recall.h"

struct recall_flags {
    bool dont_show, strict;
};

static const struct option recall_options[] = {
    { "dont_show", OPTION_FLAG, offsetof(struct recall_flags, dont_show), NULL, "no window; there never is one here", NULL, 1, 0 },
    { "strict", OPTION_FLAG, offsetof(struct recall_flags, strict), NULL, "unknown cfg keys and bad labels are errors", NULL, 1, 0 }, OPTION_END
};

/* Darknet's line per picture; its first number is the picture's, from 0. */
static void show(void *user, const struct recall *r) {
    (void)user;
    double truths = r->truths ? r->truths : 1;
    fprintf(stderr, "%5d %5d %5d\tRPs/Img: %.2f\tIOU: %.2f%%\tRecall:%.2f%%\n", r->images - 1, r->correct, r->truths,
            (double)r->proposals / r->images, r->iou_sum * 100 / truths, 100. * r->correct / truths);
}

static enum status work(struct session *s, const struct recall_flags *flags, const struct arguments *words) {
    struct text_list images = { 0 };
    struct recall result;
    struct session_request request = {
        .data = words->word[0], .cfg = words->word[1], .weights = words->word[2], .strict = flags->strict, .no_names = true
    };
    enum status st = session_open(s, &request);
    if (st == ST_OK) st = session_valid(s, &images);
    if (st == ST_OK) st = session_check_set(s, &images, flags->strict ? DATASET_STRICT : DATASET_SCORE, NULL);
    if (st == ST_OK) st = net_bind(&s->ctx, s->net, s->be, NET_INFER, 1);
    if (st == ST_OK) {
        session_print(s, words->word[2]);
        session_print_heads(s);
        fflush(stdout);
        st = recall_evaluate(&s->ctx, s->net, &images, show, NULL, &result);
    }
    list_free(&images);
    return st;
}

static int recall_run(const struct command *self, int argc, char **argv) {
    struct recall_flags flags = { 0 };
    struct arguments words;
    struct session s = { .ctx = console_ctx() };
    enum status st = options_parse(&s.ctx, argc, argv, self->options, &flags, &words, 3);
    if (st == ST_OK && words.n < 3) st = ctx_fail(&s.ctx, ST_USAGE, "detector recall: needs %s", self->words);
    if (st == ST_OK) st = work(&s, &flags, &words);
    int status = st == ST_OK ? 0 : console_fail(&s.ctx);
    session_close(&s);
    return status;
}

const struct command detector_recall_command = { .group = "detector",
                                                 .name = "recall",
                                                 .words = "DATA CFG WEIGHTS",
                                                 .summary = "how many objects of the valid= list some box covers, whatever its class",
                                                 .options = recall_options,
                                                 .run = recall_run };
