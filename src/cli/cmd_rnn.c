/* rnn train, generate, valid: networks that read text symbol by symbol (darknet-compat 6.11).  A symbol is a byte, or with
 * -tokenized a number; the network's `inputs` says how many there are. */
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/rng.h"
#include "cli/console.h"
#include "cli/device.h"
#include "cli/options.h"
#include "cli/session.h"
#include "cli/train_show.h"
#include "data/text_source.h"
#include "train/trainer.h"

struct rnn_flags {
    const char *file, *seed, *tokens;
    int len, srand;
    double temp;
    bool clear, tokenized, strict;
};

/* One table for the group: Darknet reads all of them for each of its commands, and so do scripts. */
#define AT(field) offsetof(struct rnn_flags, field)
static const struct option options[] = {
    { "file", OPTION_TEXT, AT(file), "FILE", "the text: train (data/shakespeare.txt), valid (standard input)", NULL, 1, 0 },
    { "tokenized", OPTION_FLAG, AT(tokenized), NULL, "the text is numbers with blanks between them, not bytes", NULL, 1, 0 },
    { "clear", OPTION_FLAG, AT(clear), NULL, "train: start at iteration 0, whatever the weights have seen", NULL, 1, 0 },
    { "seed", OPTION_TEXT, AT(seed), "TEXT", "generate, valid: what is read first; \\n, \\t, \\\\ are known (\\n\\n)", NULL, 1, 0 },
    { "len", OPTION_INT, AT(len), "N", "generate: symbols to make (1000)", NULL, 0, INT_MAX },
    { "temp", OPTION_FLOAT, AT(temp), "T", "generate: temperature, smaller is safer (0.7)", NULL, 1e-3, 1e6 },
    { "tokens", OPTION_TEXT, AT(tokens), "FILE", "generate: names of the symbols, one per line; -seed is made of them, too", NULL, 1, 0 },
    { "srand", OPTION_INT, AT(srand), "N", "of all that is drawn at random (train: 1; generate: the time)", NULL, 0, INT_MAX },
    { "strict", OPTION_FLAG, AT(strict), NULL, "unknown cfg keys are errors", NULL, 1, 0 },
    OPTION_END
};

/* --- opening -------------------------------------------------------------------------------------------------------- */

/* The layer whose output is a weight for each symbol, or -1. */
static int symbol_layer(const struct net *net) {
    int layer = net_output_layer(net);
    return layer >= 0 && shape_count(net->layer[layer].out) == (size_t)net->opt.inputs ? layer : -1;
}

static enum status open_net(struct session *s, const struct rnn_flags *f, const struct arguments *words, enum load_policy policy) {
    struct ctx *ctx = &s->ctx;
    TRY(net_open(ctx, words->word[0], f->strict, &s->net));
    net_init_weights(s->net, (uint64_t)(f->srand < 0 ? 1 : f->srand));
    if (symbol_layer(s->net) < 0)
        return ctx_fail(ctx, ST_CFG, "%s: [net] inputs: there are %d symbols, but the network's output is not one value for each of them",
                        words->word[0], s->net->opt.inputs);
    if (words->n > 1) TRY(net_load(ctx, s->net, words->word[1], policy, &s->layers));
    return device_open(ctx, false, &s->be);
}

/* -seed as bytes: \n, \t and \\ in place of what a shell makes hard to type.  Caller frees. */
static enum status seed_bytes(struct ctx *ctx, const char *text, int kinds, struct symbols *s) {
    s->kinds = kinds;
    s->v = mem_zero(ctx, strlen(text), sizeof *s->v);
    if (!s->v) return ST_MEMORY;
    for (const char *p = text; *p; ++p) {
        int c = (unsigned char)*p;
        if (c == '\\' && p[1] == 'n') c = '\n', ++p;
        else if (c == '\\' && p[1] == 't') c = '\t', ++p;
        else if (c == '\\' && p[1] == '\\') ++p;
        if (c >= kinds) return ctx_fail(ctx, ST_USAGE, "-seed: byte %d, but the network knows the symbols 0 to %d", c, kinds - 1);
        s->v[s->n++] = c;
    }
    return ST_OK;
}

/* -seed as names of tokens, blanks between them; none given: symbol 0. */
static enum status seed_tokens(struct ctx *ctx, const char *text, const struct text_list *names, struct symbols *s) {
    s->v = mem_zero(ctx, strlen(text) + 1, sizeof *s->v);
    if (!s->v) return ST_MEMORY;
    for (const char *p = text + strspn(text, " "); *p; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        int k = 0;
        while (k < names->n && (strlen(names->item[k]) != n || strncmp(names->item[k], p, n))) ++k;
        if (k == names->n) return ctx_fail(ctx, ST_USAGE, "-seed: \"%.*s\" is none of the names in -tokens", (int)n, p);
        s->v[s->n++] = k;
        p += n;
    }
    if (s->n == 0) s->n = 1;
    return ST_OK;
}

/* --- reading with a network ----------------------------------------------------------------------------------------- */

struct reader { struct session *s; float *x, *p; int kinds, layer; };

static enum status reader_open(struct session *s, struct reader *r) {
    *r = (struct reader){ .s = s, .kinds = s->net->opt.inputs, .layer = symbol_layer(s->net) };
    r->x = mem_zero(&s->ctx, (size_t)r->kinds, sizeof *r->x);
    r->p = mem_zero(&s->ctx, (size_t)r->kinds, sizeof *r->p);
    if (!r->x || !r->p) return ST_MEMORY;
    return net_bind(&s->ctx, s->net, s->be, NET_INFER, 1);
}

static void reader_close(struct reader *r) { free(r->x), free(r->p); }

/* What may follow this symbol: r->p. */
static enum status read_on(struct reader *r, int symbol) {
    r->x[symbol] = 1;
    enum status st = net_forward(&r->s->ctx, r->s->net, r->x);
    r->x[symbol] = 0;
    if (st == ST_OK) net_output(r->s->net, r->layer, r->p);
    return st;
}

/* One of the symbols by its probability, sharpened by the temperature; what is then below 0.0001 is not drawn, as upstream. */
static int draw(const float *p, int kinds, double temperature, struct rng *random, double *weight) {
    double sum = 0, most = 0, kept = 0;
    int best = 0;
    for (int k = 0; k < kinds; ++k)
        if (p[k] > p[best]) best = k;
    most = p[best] > 0 ? p[best] : 1;
    for (int k = 0; k < kinds; ++k) sum += weight[k] = p[k] > 0 ? pow(p[k] / most, 1 / temperature) : 0;
    for (int k = 0; k < kinds; ++k) kept += weight[k] = weight[k] < 1e-4 * sum ? 0 : weight[k];
    double left = rng_uniform(random) * kept;
    for (int k = 0; k < kinds; ++k) {
        left -= weight[k];
        if (weight[k] > 0 && left < 0) return k;
    }
    return best;
}

static void print_symbol(int symbol, const struct text_list *names) {
    if (names->n == 0) putchar(symbol);
    else if (symbol < names->n) printf("%s ", names->item[symbol]);
    else printf("%d ", symbol);
}

static enum status generate(struct session *s, const struct rnn_flags *f, const struct symbols *seed, const struct text_list *names) {
    struct reader r;
    enum status st = reader_open(s, &r);
    double *weight = mem_zero(&s->ctx, (size_t)r.kinds, sizeof *weight);
    if (st == ST_OK && !weight) st = ST_MEMORY;
    int number = f->srand < 0 ? (int)(time(NULL) & INT_MAX) : f->srand, last = seed->n ? seed->v[seed->n - 1] : 0;
    struct rng random = rng_stream((uint64_t)number, 0, 0);
    fprintf(stderr, "-srand %d\n", number);
    for (int i = 0; i < seed->n && st == ST_OK; ++i) {
        print_symbol(seed->v[i], names);
        if (i + 1 < seed->n) st = read_on(&r, seed->v[i]);
    }
    for (int i = 0; i < f->len && st == ST_OK && !*console_stop(); ++i) {
        st = read_on(&r, last);
        if (st == ST_OK) print_symbol(last = draw(r.p, r.kinds, f->temp, &random, weight), names);
    }
    if (st == ST_OK) printf("\n");
    free(weight);
    reader_close(&r);
    return st;
}

static int generate_run(const struct command *self, int argc, char **argv) {
    struct rnn_flags f = { .seed = NULL, .len = 1000, .temp = .7, .srand = -1 };
    struct arguments words;
    struct session s = { .ctx = console_ctx() };
    struct text_list names = { 0 };
    struct symbols seed = { 0 };
    enum status st = options_parse(&s.ctx, argc, argv, self->options, &f, &words, 2);
    if (st == ST_OK && words.n < 1) st = ctx_fail(&s.ctx, ST_USAGE, "rnn generate: needs %s", self->words);
    if (st == ST_OK) st = open_net(&s, &f, &words, LOAD_WHOLE);
    if (st == ST_OK && f.tokens) st = list_read(&s.ctx, f.tokens, &names);
    if (st == ST_OK && names.n > s.net->opt.inputs)
        st = ctx_fail(&s.ctx, ST_FORMAT, "%s: %d names, but inputs=%d in %s", f.tokens, names.n, s.net->opt.inputs, s.net->doc->path);
    if (st == ST_OK && f.tokens) st = seed_tokens(&s.ctx, f.seed ? f.seed : "", &names, &seed);
    else if (st == ST_OK) st = seed_bytes(&s.ctx, f.seed ? f.seed : "\n\n", s.net->opt.inputs, &seed);
    if (st == ST_OK && words.n < 2) fprintf(stderr, "No weights given: the text comes from random ones\n");
    if (st == ST_OK) st = generate(&s, &f, &seed, &names);
    symbols_free(&seed);
    list_free(&names);
    int status = st == ST_OK ? 0 : console_fail(&s.ctx);
    session_close(&s);
    return status;
}

/* Perplexity per symbol and per word of a text, after each symbol, as upstream prints it. */
static enum status valid(struct session *s, const struct symbols *seed, FILE *text, const char *name) {
    struct reader r;
    double bits = 0;
    long long count = 0, words = 1, at = 1;
    enum status st = reader_open(s, &r);
    for (int i = 0; i < seed->n && st == ST_OK; ++i) st = read_on(&r, seed->v[i]);
    int c = st == ST_OK ? getc(text) : EOF, following;
    for (; c != EOF && st == ST_OK && !*console_stop(); c = following, ++at) {
        following = getc(text);
        int most = following > c ? following : c;
        if (most >= r.kinds)
            st = ctx_fail(&s->ctx, ST_FORMAT, "%s: byte %lld or the one behind it is %d, but the network knows the symbols 0 to %d", name, at,
                          most, r.kinds - 1);
        if (following == EOF || st != ST_OK) break;
        st = read_on(&r, c);
        if (st != ST_OK) break;
        ++count;
        words += following == ' ' || following == '\n' || following == '\t';
        bits -= log2(fmax((double)r.p[following], (double)FLT_MIN)); /* a probability of 0 would hide all that follows */
        printf("%lld Perplexity: %4.4f    Word Perplexity: %4.4f\n", count, exp2(bits / (double)count), exp2(bits / (double)words));
    }
    if (st == ST_OK && !count) st = ctx_fail(&s->ctx, ST_FORMAT, "%s: needs two symbols or more", name);
    reader_close(&r);
    return st;
}

static int valid_run(const struct command *self, int argc, char **argv) {
    struct rnn_flags f = { .seed = "\n\n", .srand = -1 };
    struct arguments words;
    struct session s = { .ctx = console_ctx() };
    struct symbols seed = { 0 };
    FILE *text = stdin;
    enum status st = options_parse(&s.ctx, argc, argv, self->options, &f, &words, 2);
    if (st == ST_OK && words.n < 1) st = ctx_fail(&s.ctx, ST_USAGE, "rnn valid: needs %s", self->words);
    if (st == ST_OK) st = open_net(&s, &f, &words, LOAD_WHOLE);
    if (st == ST_OK) st = seed_bytes(&s.ctx, f.seed, s.net->opt.inputs, &seed);
    if (st == ST_OK && f.file && !(text = fopen(f.file, "rb"))) st = ctx_fail(&s.ctx, ST_IO, "%s: cannot be opened", f.file);
    if (st == ST_OK) st = valid(&s, &seed, text, f.file ? f.file : "standard input");
    if (text && text != stdin) fclose(text);
    symbols_free(&seed);
    int status = st == ST_OK ? 0 : console_fail(&s.ctx);
    session_close(&s);
    return status;
}

/* --- training ------------------------------------------------------------------------------------------------------- */

static enum status open_text(struct ctx *ctx, void *user, const struct batch_request *request, struct batch_source *out) {
    return text_source_open(ctx, user, request, out);
}

/* Darknet's line; an epoch is as many symbols as the text has. */
static void show(void *user, const struct train_news *n) {
    const struct symbols *text = user;
    fprintf(stderr, "%llu: %f, %f avg, %f rate, %f seconds, %f epochs\n", (unsigned long long)n->iteration, n->loss, n->avg_loss, n->rate,
            n->seconds, (double)n->images / text->n);
}

static void print_start(const struct session *s, const struct arguments *words, const char *base, const struct symbols *text, int number) {
    const struct net_options *o = &s->net->opt;
    int streams = o->batch / o->subdivisions, batch = streams * o->time_steps;
    fprintf(stderr, "%s\n", base);
    session_print(s, words->n > 1 ? words->word[1] : NULL);
    if (words->n < 2) fprintf(stderr, "No weights given: training starts from random ones (-srand %d)\n", number);
    fprintf(stderr, "Learning Rate: %g, Momentum: %g, Decay: %g\n", o->learning_rate, o->momentum, o->decay);
    printf("\n batch = %d, steps = %d, streams = %d, subdivisions = %d, text_size = %d \n", batch, o->time_steps, streams, o->subdivisions,
           text->n);
    printf(" global_batch = %d \n", batch * o->subdivisions);
    fflush(stdout);
}

static enum status train(struct session *s, const struct rnn_flags *f, const struct arguments *words, const char *base, struct symbols *text) {
    int number = f->srand < 0 ? 1 : f->srand;
    struct train_options opt = { .open_source = open_text,
                                 .source_user = text,
                                 .epoch_images = text->n,
                                 .base = base,
                                 .clear = f->clear,
                                 .seed = (uint64_t)number,
                                 .save = true,
                                 .save_every = 1000,
                                 .last_every = 10, /* beside Darknet's BASE.backup: with the state that lets a run go on */
                                 .backup_every = 10,
                                 .news = show,
                                 .user = text,
                                 .stop = console_stop() };
    struct train_result result;
    print_start(s, words, base, text, number);
    TRY(train_run(&s->ctx, s->be, s->net, &s->data, NULL, NULL, &opt, &result));
    printf("Trained to iteration %llu in %.0f s: avg loss %f\nWeights: backup/%s_final.weights\n", (unsigned long long)result.iteration,
           result.seconds, result.avg_loss, base);
    return ST_OK;
}

static int train_main(const struct command *self, int argc, char **argv) {
    struct rnn_flags f = { .file = "data/shakespeare.txt", .srand = -1 };
    struct arguments words;
    struct session s = { .ctx = console_ctx() };
    struct symbols text = { 0 };
    char *base = NULL;
    enum status st = options_parse(&s.ctx, argc, argv, self->options, &f, &words, 2);
    if (st == ST_OK && words.n < 1) st = ctx_fail(&s.ctx, ST_USAGE, "rnn train: needs %s", self->words);
    if (st == ST_OK) st = open_net(&s, &f, &words, LOAD_PREFIX);
    if (st == ST_OK) st = symbols_read(&s.ctx, f.file, s.net->opt.inputs, f.tokenized, &text);
    if (st == ST_OK && !(base = train_base_name(&s.ctx, words.word[0]))) st = ST_MEMORY;
    if (st == ST_OK) st = train(&s, &f, &words, base, &text);
    free(base);
    symbols_free(&text);
    int status = st == ST_OK ? 0 : console_fail(&s.ctx);
    session_close(&s);
    return status;
}

const struct command rnn_train_command = {
    "rnn", "train", "CFG [WEIGHTS]", "trains a network on a text, to say which symbol comes next", options, train_main
};
const struct command rnn_generate_command = { "rnn", "generate", "CFG [WEIGHTS]", "writes a text", options, generate_run };
const struct command rnn_valid_command = { "rnn", "valid", "CFG [WEIGHTS]", "perplexity of a text", options, valid_run };
