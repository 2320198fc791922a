/* Text as training data, and the rnn commands as their users see them.  DARKNET: path of the program (make test sets it). */
#include "data/text_source.h"
#include "test.h"

#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"

static char dir[64];
static const char *program;

static void spit(const char *path, const void *bytes, size_t n) {
    struct ctx ctx = { 0 };
    if (io_write(&ctx, path, bytes, n) != ST_OK) printf("%s\n", ctx.error), exit(1);
}
static void spit_text(const char *path, const char *text) { spit(path, text, strlen(text)); }

/* --- reading -------------------------------------------------------------------------------------------------------- */

static void check_refused(const char *what, const void *bytes, size_t n, int kinds, bool tokens, const char *want) {
    struct ctx ctx = { 0 };
    struct symbols s;
    spit("text", bytes, n);
    CHECK(symbols_read(&ctx, "text", kinds, tokens, &s) != ST_OK && strstr(ctx.error, want) && !s.v, "%s: \"%s\", not \"%s\"", what, ctx.error, want);
}

static void check_symbols(void) {
    struct ctx ctx = { 0 };
    struct symbols s;
    spit("text", "a\0\xff", 3);
    CHECK(symbols_read(&ctx, "text", 256, false, &s) == ST_OK && s.n == 3 && s.v[0] == 'a' && s.v[1] == 0 && s.v[2] == 255, "%s", ctx.error);
    symbols_free(&s);
    spit_text("text", " 3 0\n11\t2\n");
    CHECK(symbols_read(&ctx, "text", 12, true, &s) == ST_OK && s.n == 4 && s.v[0] == 3 && s.v[1] == 0 && s.v[2] == 11 && s.v[3] == 2, "%s", ctx.error);
    symbols_free(&s);
    CHECK(symbols_read(&ctx, "missing", 256, false, &s) == ST_IO && strstr(ctx.error, "missing"), "%s", ctx.error);
    check_refused("a byte too high", "abc\x80", 4, 128, false, "text: byte 4 is 128");
    check_refused("nothing", "", 0, 128, false, "text: 0 symbols");
    check_refused("one symbol", "a", 1, 128, false, "text: 1 symbols");
    check_refused("a token too high", "1 2 3 4", 7, 4, true, "text: token 4 is 4");
    check_refused("a token below 0", "1 -2", 4, 4, true, "text: token 2 is -2");
    check_refused("no token", "1 two", 5, 4, true, "text: token 2 is \"two\"");
    check_refused("half a token", "1 2x", 4, 4, true, "text: token 2 is \"2x\"");
    check_refused("a NUL among tokens", "1 2\0 3", 6, 4, true, "text: holds a NUL");
}

/* --- batches -------------------------------------------------------------------------------------------------------- */

enum { KINDS = 26, STEPS = 5, STREAMS = 3, GO_ON = 4 };

static void plan(void *user, uint64_t i, int *n, int *w, int *h) {
    (void)user, (void)i;
    *n = STEPS * STREAMS, *w = *h = 1;
}
static uint64_t anew(void *user, uint64_t i) { return (void)user, i; }
static uint64_t go_on(void *user, uint64_t i) { return (void)user, i / GO_ON * GO_ON; }

static int one_of(const float *row) {
    int found = -1, n = 0;
    for (int k = 0; k < KINDS; ++k)
        if (row[k] != 0) found = row[k] == 1 ? k : -2, ++n;
    return n == 1 ? found : -3;
}

/* Symbols of a batch: x of (step, stream), and the truth behind the last step. */
static void take(struct batch_source *source, int got[STREAMS][STEPS + 1]) {
    struct ctx ctx = { 0 };
    const struct batch *b;
    double wait;
    if (source->next(&ctx, source->self, &b, &wait) != ST_OK) {
        CHECK(false, "%s", ctx.error);
        return;
    }
    CHECK(b->n == STEPS * STREAMS && b->c == KINDS && b->w == 1 && b->h == 1 && b->target_size == KINDS && !b->truth && !b->path, "shape");
    for (int s = 0; s < STREAMS; ++s)
        for (int t = 0; t < STEPS; ++t) {
            got[s][t] = one_of(b->x + (t * STREAMS + s) * KINDS);
            int next = one_of(b->target + (t * STREAMS + s) * KINDS);
            if (t + 1 < STEPS) CHECK(next == one_of(b->x + ((t + 1) * STREAMS + s) * KINDS), "truth of stream %d step %d is the next symbol", s, t);
            else got[s][STEPS] = next;
        }
}

static void check_batches(uint64_t (*sequence)(void *, uint64_t)) {
    struct ctx ctx = { 0 };
    int v[KINDS + 3], all[12][STREAMS][STEPS + 1], again[STREAMS][STEPS + 1], fresh = 0;
    struct symbols text = { KINDS, KINDS, v };
    for (int i = 0; i < KINDS; ++i) v[i] = i;
    struct batch_request r = { .plan = plan, .sequence = sequence, .steps = STEPS, .seed = 4 };
    struct batch_source source;
    CHECK(text_source_open(&ctx, &text, &r, &source) == ST_OK, "%s", ctx.error);
    for (int i = 0; i < 12; ++i) {
        take(&source, all[i]);
        for (int s = 0; s < STREAMS; ++s) {
            for (int t = 0; t < STEPS; ++t) CHECK(all[i][s][t + 1] == (all[i][s][t] + 1) % KINDS, "batch %d stream %d step %d", i, s, t);
            if (i == 0) continue;
            if (sequence(NULL, (uint64_t)i) != (uint64_t)i) CHECK(all[i][s][0] == all[i - 1][s][STEPS], "batch %d stream %d does not go on", i, s);
            else fresh += all[i][s][0] != all[i - 1][s][STEPS];
        }
    }
    CHECK(fresh > 3, "sequences begin at places of their own: %d", fresh);
    source.close(source.self);
    r.first = 7; /* taken up again in the middle: the same */
    CHECK(text_source_open(&ctx, &text, &r, &source) == ST_OK, "%s", ctx.error);
    take(&source, again);
    CHECK(!memcmp(again, all[7], sizeof again), "batch 7 depends on those before it");
    source.close(source.self);
    r.seed = 5;
    CHECK(text_source_open(&ctx, &text, &r, &source) == ST_OK, "%s", ctx.error);
    take(&source, again);
    CHECK(memcmp(again, all[7], sizeof again) != 0, "the seed changes nothing");
    source.close(source.self);
}

/* --- the commands --------------------------------------------------------------------------------------------------- */

static struct { int status; char *out, *err; } run_;

static char *slurp(const char *path) {
    struct ctx ctx = { 0 };
    char *bytes = NULL;
    size_t size = 0;
    if (io_read(&ctx, path, &bytes, &size) != ST_OK) bytes = calloc(1, 1);
    return bytes;
}

static void run(const char *words) {
    char line[1024];
    snprintf(line, sizeof line, "'%s' %s >out 2>err", program, words);
    int status = system(line);
    free(run_.out), free(run_.err);
    run_.status = WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
    run_.out = slurp("out"), run_.err = slurp("err");
}

static void check_fails(const char *words, const char *want) {
    run(words);
    CHECK(run_.status == 1 && strstr(run_.err, want) && !*run_.out, "%s: status %d, \"%s\"", words, run_.status, run_.err);
}

static const char cfg[] = "[net]\ninputs=128\nbatch=8\ntime_steps=8\nmomentum=.9\ndecay=0\nmax_batches=60\nlearning_rate=1\n"
                          "[lstm]\noutput=24\n[connected]\noutput=128\nactivation=linear\n[softmax]\n[cost]\ntype=sse\n";

static double last_number(const char *text, const char *label) {
    double v = NAN;
    for (const char *p = text; (p = strstr(p, label)); p += strlen(label)) v = atof(p + strlen(label));
    return v;
}

/* A text that repeats is learnt, read with little surprise, and written. */
static void check_commands(void) {
    char text[512] = "";
    for (int i = 0; i < 40; ++i) strcat(text, "abc def\n");
    spit_text("t.txt", text);
    spit_text("net.v1.cfg", cfg);
    run("rnn train net.v1.cfg -file t.txt");
    CHECK(run_.status == 0 && strstr(run_.out, " batch = 64, steps = 8, streams = 8, subdivisions = 1, text_size = 320"), "%s%s", run_.out, run_.err);
    CHECK(strstr(run_.err, "LSTM Layer: 128 inputs, 24 outputs") && strstr(run_.err, "\n60: ") && strstr(run_.err, " epochs\n"), "%s", run_.err);
    CHECK(io_exists("backup/net_final.weights") && io_exists("backup/net_last.weights") && io_exists("backup/net.backup"), "no weights");
    run("rnn generate net.v1.cfg backup/net_final.weights -len 24 -srand 3 -seed 'abc def\\n'");
    CHECK(run_.status == 0 && !strcmp(run_.out, "abc def\nabc def\nabc def\nabc def\n\n"), "\"%s\" %s", run_.out, run_.err);
    run("rnn valid net.v1.cfg backup/net_final.weights < t.txt");
    double learnt = last_number(run_.out, "\n319 Perplexity: ");
    CHECK(run_.status == 0 && learnt < 1.3, "%g", learnt);
    run("rnn valid net.v1.cfg -file t.txt");
    double guessed = last_number(run_.out, "\n319 Perplexity: ");
    CHECK(run_.status == 0 && guessed > 50 && guessed < 300, "%g by random weights", guessed);
    CHECK(last_number(run_.out, "\n319 Perplexity: ") < last_number(run_.out, "Word Perplexity: "), "words are longer than symbols");
    run("rnn generate net.v1.cfg -len 40 -srand 3");
    char *first = strdup(run_.out);
    run("rnn generate net.v1.cfg -len 40 -srand 3");
    CHECK(!strcmp(first, run_.out), "the same numbers give the same text");
    run("rnn generate net.v1.cfg -len 40 -srand 4");
    CHECK(strcmp(first, run_.out), "-srand changes nothing");
    free(first);
    run("rnn train net.v1.cfg backup/net_final.weights -file t.txt");
    CHECK(run_.status == 1 && strstr(run_.err, "give -clear"), "%s", run_.err);
}

/* Tokens are numbers for training and names for writing. */
static void check_tokens(void) {
    char text[512] = "";
    for (int i = 0; i < 40; ++i) strcat(text, "0 2 1\n");
    spit_text("t.tok", text);
    spit_text("names", "one\ntwo\nthree\n");
    spit_text("tok.cfg", "[net]\ninputs=3\nbatch=8\ntime_steps=6\nmomentum=.9\ndecay=0\nmax_batches=60\nlearning_rate=1\n"
              "[rnn]\noutput=12\nhidden=12\nactivation=tanh\n[connected]\noutput=3\nactivation=linear\n[softmax]\n");
    run("rnn train tok.cfg -file t.tok -tokenized");
    CHECK(run_.status == 0, "%s", run_.err);
    run("rnn generate tok.cfg backup/tok_final.weights -tokens names -seed 'one three' -len 4");
    CHECK(run_.status == 0 && !strcmp(run_.out, "one three two one three two \n"), "\"%s\" %s", run_.out, run_.err);
    check_fails("rnn generate tok.cfg backup/tok_final.weights -tokens names -seed four", "-seed: \"four\"");
    check_fails("rnn generate tok.cfg backup/tok_final.weights -seed a", "-seed: byte 97");
}

static void check_bad(void) {
    spit_text("wrong.cfg", "[net]\ninputs=128\nmax_batches=5\n[lstm]\noutput=24\n[softmax]\n");
    check_fails("rnn train wrong.cfg -file t.txt", "wrong.cfg: [net] inputs");
    check_fails("rnn train net.v1.cfg -file nothing.txt", "nothing.txt");
    check_fails("rnn train", "rnn train: needs CFG");
    check_fails("rnn generate net.v1.cfg -tmep 3", "-tmep");
    check_fails("rnn generate net.v1.cfg -temp 0", "-temp");
    spit("high", "ab\x90 c", 5);
    run("rnn valid net.v1.cfg -file high");
    CHECK(run_.status == 1 && strstr(run_.err, "high: byte 2 or the one behind it is 144"), "%s", run_.err);
}

int main(void) {
    strcpy(dir, "/tmp/test_text_XXXXXX");
    program = getenv("DARKNET");
    if (!mkdtemp(dir) || chdir(dir)) return printf("no temporary folder\n"), 1;
    check_symbols();
    check_batches(anew), check_batches(go_on);
    if (program && *program) check_commands(), check_tokens(), check_bad();
    else SKIP("the commands: DARKNET names no program");
    free(run_.out), free(run_.err);
    if (chdir("/")) return 1;
    char line[128];
    snprintf(line, sizeof line, "rm -rf '%s'", dir);
    if (system(line)) printf("%s stays\n", dir);
    return test_end("text");
}
