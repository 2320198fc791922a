/* The cfg document, typed key tables, [net] and the learning rate. */
#include "base/io.h"
#include "base/rng.h"
#include "cfg/net_options.h"
#include "golden.h"

struct journal { int n; char last[1024]; };

static void note(void *user, enum log_level level, const char *line) {
    struct journal *j = user;
    if (level != LOG_WARN) return;
    ++j->n;
    snprintf(j->last, sizeof j->last, "%s", line);
}

static struct cfg_doc *parse(struct ctx *ctx, const char *text, bool sections) {
    struct cfg_doc *doc;
    return cfg_parse(ctx, "a.cfg", text, strlen(text), sections, &doc) == ST_OK ? doc : NULL;
}

static bool same_text(struct ctx *ctx, const struct cfg_doc *doc, const char *want, size_t size) {
    char *text;
    size_t n;
    if (cfg_text(ctx, doc, &text, &n) != ST_OK) return false;
    bool same = n == size && !memcmp(text, want, n);
    if (!same) printf("got:  %s\nwant: %s\n", text, want);
    free(text);
    return same;
}

/* --- Document ------------------------------------------------------------------------------------------- */

static void check_recorded(struct ctx *ctx, const char *path) {
    char *text;
    size_t size;
    struct cfg_doc *doc;
    struct net_options opt = { 0 };
    CHECK(io_read(ctx, path, &text, &size) == ST_OK, "%s", ctx->error);
    CHECK(cfg_read(ctx, path, true, &doc) == ST_OK, "%s", ctx->error);
    if (!doc) return;
    CHECK(same_text(ctx, doc, text, size), "%s: not written as read", path);
    CHECK(net_options_read(ctx, doc, false, &opt) == ST_OK, "%s", ctx->error);
    CHECK(opt.batch >= 1 && opt.inputs >= 1, "%s: batch %d inputs %d", path, opt.batch, opt.inputs);
    ctx_clear(ctx);
    net_options_free(&opt);
    cfg_free(doc);
    free(text);
}

static void test_recorded(void) {
    const char *root = test_data("round trip of published cfgs");
    const char *folders[] = { "cfg", "weights", "golden/loss" };
    for (size_t i = 0; root && i < 3; ++i) {
        struct text_list found = golden_all(root, folders[i], ".cfg");
        struct journal j = { 0 };
        struct ctx ctx = { .log = note, .log_user = &j };
        if (!found.n) SKIP("no cfg under %s/%s", root, folders[i]);
        for (int k = 0; k < found.n; ++k) {
            int before = j.n;
            check_recorded(&ctx, found.item[k]);
            bool known = strstr(j.last, "is repeated") || (i && strstr(j.last, "unknown key")); /* cfgs in the wild carry extras */
            CHECK(j.n == before || known, "%s: a warning about a published cfg: %s", found.item[k], j.last);
        }
        list_free(&found);
    }
}

static void test_grammar(void) {
    struct journal j = { 0 };
    struct ctx ctx = { .log = note, .log_user = &j };
    const char text[] =
        "\xEF\xBB\xBF[net]\r\n # note\r\n; note\r\n\r\n wid th = 6 4 # x\r\nname=a=b\r\nflag\r\n"
        "[ yolo ] \nwidth=1\nwidth=2\nempty = \n[yolo]#x\n[yolo\n\ta = 1\t";
    struct cfg_doc *doc = parse(&ctx, text, true);
    CHECK(doc, "%s", ctx.error);
    if (!doc) return;
    CHECK(same_text(&ctx, doc, text, sizeof text - 1), "not lossless");
    CHECK(doc->n == 4, "%d sections", doc->n);
    CHECK(!strcmp(doc->section[0].type, "net"), "%s", doc->section[0].type);
    CHECK(!strcmp(doc->section[1].type, "yolo"), "%s", doc->section[1].type);
    CHECK(!strcmp(doc->section[2].type, "[yolo]#x"), "%s", doc->section[2].type);
    CHECK(!strcmp(doc->section[3].type, "[yolo"), "%s", doc->section[3].type);
    CHECK(doc->section[1].line == 8 && doc->section[3].entry[0].line == 14, "lines");
    CHECK(!strcmp(cfg_value(&doc->section[0], "width"), "64#x"), "%s", cfg_value(&doc->section[0], "width"));
    CHECK(!strcmp(cfg_value(&doc->section[0], "name"), "a=b"), "split at the first '='");
    CHECK(!cfg_value(&doc->section[0], "flag") && cfg_entry(&doc->section[0], "flag"), "a key without '='");
    CHECK(!strcmp(cfg_value(&doc->section[1], "width"), "1"), "the first of two counts");
    CHECK(!cfg_entry(&doc->section[1], "empty"), "an empty value is dropped");
    CHECK(j.n == 2 && !strcmp(j.last, "a.cfg:11: [yolo] 'empty=' has no value, the line is ignored"), "%s",
          j.last);
    CHECK(!strcmp(cfg_value(&doc->section[3], "a"), "1"), "last line without an end");
    cfg_fail(&ctx, &doc->section[1], "width", "wrong by %d", 3);
    CHECK(ctx.code == ST_CFG && !strcmp(ctx.error, "a.cfg:9: [yolo] width: wrong by 3"), "%s", ctx.error);
    ctx_clear(&ctx);
    cfg_fail_as(&ctx, ST_UNSUPPORTED, &doc->section[2], "none", "no");
    CHECK(ctx.code == ST_UNSUPPORTED && !strcmp(ctx.error, "a.cfg:12: [yolo]#x none: no"), "%s", ctx.error);
    cfg_free(doc);
}

static void expect_parse_error(const char *text, size_t size, const char *want) {
    struct ctx ctx = { 0 };
    struct cfg_doc *doc;
    enum status st = cfg_parse(&ctx, "a.cfg", text, size, true, &doc);
    CHECK(st == ST_FORMAT && !doc && !strcmp(ctx.error, want), "%s", ctx.error);
    cfg_free(doc);
}

static void test_broken_documents(void) {
    expect_parse_error("# x\nbatch=1\n[net]\n", 18,
                       "a.cfg:2: 'batch=1' stands before the first section, a cfg starts with [net]");
    expect_parse_error("# only\n\n", 8, "a.cfg:2: no section up to the file's end, a cfg starts with [net]");
    expect_parse_error("", 0, "a.cfg:1: no section up to the file's end, a cfg starts with [net]");
    expect_parse_error("[net]\na=\0b\n", 11, "a.cfg:2: contains a NUL byte, so this is no text file");
    struct ctx ctx = { 0 };
    struct cfg_doc *doc;
    CHECK(cfg_read(&ctx, "/nonexistent/x.cfg", true, &doc) == ST_IO && !doc, "missing file");
    CHECK(strstr(ctx.error, "/nonexistent/x.cfg"), "%s", ctx.error);
}

static void expect_edit(const char *before, const char *key, const char *text, int number,
                        const char *after) {
    struct ctx ctx = { 0 };
    struct cfg_doc *doc = parse(&ctx, before, true);
    CHECK(doc, "%s", ctx.error);
    if (!doc) return;
    enum status st = text ? cfg_set_text(&ctx, doc, 0, key, text) : cfg_set_int(&ctx, doc, 0, key, number);
    CHECK(st == ST_OK, "%s", ctx.error);
    CHECK(same_text(&ctx, doc, after, strlen(after)), "%s", before);
    struct cfg_doc *again = parse(&ctx, after, true);
    const char *a = cfg_value(&doc->section[0], key), *b = cfg_value(&again->section[0], key);
    CHECK(a && b && !strcmp(a, b), "the document's value is not the file's: %s, %s", a ? a : "-",
          b ? b : "-");
    CHECK(cfg_entry(&doc->section[0], key)->line == cfg_entry(&again->section[0], key)->line, "line number");
    for (int i = 0; i < doc->n; ++i) {
        const struct cfg_section *x = &doc->section[i], *y = &again->section[i];
        CHECK(x->line == y->line && x->n == y->n,
              "%s: section %d at line %d, %d options", key, i, x->line, x->n);
        for (int k = 0; k < x->n && k < y->n; ++k)
            CHECK(x->entry[k].line == y->entry[k].line, "%s: line of %s", key, x->entry[k].key);
    }
    cfg_free(again);
    cfg_free(doc);
}

static void test_edits(void) {
    expect_edit("[c]\r\nfilters = 64#note\r\nsize=3\r\n", "filters", NULL, 33,
                "[c]\r\nfilters = 33#note\r\nsize=3\r\n");
    expect_edit("[c]\n filters\t=\t 6 4  # 7 notes \n", "filters", NULL, 128,
                "[c]\n filters\t=\t 128  # 7 notes \n");
    expect_edit("[c]\nfilters=-12", "filters", NULL, 5, "[c]\nfilters=5");
    expect_edit("[c]\nfilters=64.5\n", "filters", NULL, 32, "[c]\nfilters=32\n");
    expect_edit("[c]\nfilters=abc # x\n", "filters", NULL, 32, "[c]\nfilters=32 # x\n");
    expect_edit("[c]\nfilters \nfilters=3\n", "filters", NULL, 32, "[c]\nfilters=32 \nfilters=3\n");
    expect_edit("[c]\nfilters=4\nfilters=3\n", "filters", NULL, 9, "[c]\nfilters=9\nfilters=3\n");
    expect_edit("[c]\nlayers = -1, -4  # why\n", "layers", "-1,8", 0, "[c]\nlayers = -1,8  # why\n");
    expect_edit("[c]\na=1\n\n# end\n[d]\nb=2\n", "groups", NULL, 7,
                "[c]\na=1\ngroups=7\n\n# end\n[d]\nb=2\n");
    expect_edit("[c]\r\n[d]\r\nb=2", "groups", NULL, 7, "[c]\r\ngroups=7\r\n[d]\r\nb=2");
    expect_edit("[c]\r\na=1", "groups", NULL, 7, "[c]\r\na=1\r\ngroups=7");
    expect_edit("[c]", "groups", "x y", 0, "[c]\ngroups=x y");
    struct ctx ctx = { 0 };
    struct cfg_doc *doc = parse(&ctx, "[c]\na=1\n", true);
    CHECK(cfg_set_text(&ctx, doc, 0, "a", "1\n2") == ST_USAGE, "a line end in a value");
    CHECK(cfg_set_text(&ctx, doc, 0, "a", " ") == ST_USAGE, "an empty value");
    CHECK(cfg_set_int(&ctx, doc, 1, "a", 1) == ST_USAGE, "no such section");
    CHECK(same_text(&ctx, doc, "[c]\na=1\n", 8), "refused edits change nothing");
    cfg_free(doc);
}

/* --- Keys ----------------------------------------------------------------------------------------------- */

struct sample {
    int filters, pad, kind;
    double rate;
    struct cfg_ints layers;
    struct cfg_floats anchors;
    const char *map;
    int soft;
};

static const struct cfg_choice kinds[] = { { "linear", 4 }, { "leaky", 7 }, { NULL, 0 } };
static const struct cfg_key sample_keys[] = {
    CFG_INT(struct sample, filters, 5, 1, 1000), CFG_BOOL(struct sample, pad, 0),
    CFG_CHOICE(struct sample, kind, 4, kinds),
    { .name = "soft", .type = CFG_T_CHOICE, .offset = offsetof(struct sample, soft), .def = 7,
      .choices = kinds, .lenient = true },
    CFG_FLOAT_IN(struct sample, rate, .5, 0, 1), CFG_INTS(struct sample, layers),
    CFG_FLOATS(struct sample, anchors), CFG_TEXT(struct sample, map), CFG_IGNORED("stream"),
    CFG_MISSING("xnor", 0), CFG_MISSING("share_index", -1000000000),
    CFG_END
};

static void test_values(void) {
    struct journal j = { 0 };
    struct ctx ctx = { .log = note, .log_user = &j };
    struct sample s = { 0 };
    struct cfg_doc *doc = parse(&ctx,
                                "[c]\nfilters=64#n\npad=3;n\nkind=leaky\nrate=1e-1 # x\nlayers=-1, 61 ,2#,3\n"
                                "anchors=1.5,2,.25\nmap=data/x.map\nstream=7\nxnor=0\n",
                                true);
    CHECK(keys_read(&ctx, &doc->section[0], sample_keys, &s) == ST_OK, "%s", ctx.error);
    CHECK(s.filters == 64 && s.pad == 1 && s.kind == 7 && s.rate == .1, "%d %d %d %g", s.filters, s.pad,
          s.kind, s.rate);
    CHECK(s.layers.n == 3 && s.layers.v[0] == -1 && s.layers.v[1] == 61 && s.layers.v[2] == 2, "%d layers",
          s.layers.n);
    CHECK(s.anchors.n == 3 && s.anchors.v[0] == 1.5 && s.anchors.v[2] == .25, "%d anchors", s.anchors.n);
    CHECK(s.map && !strcmp(s.map, "data/x.map"), "text");
    CHECK(s.soft == 7, "lenient default %d", s.soft);
    const struct cfg_key *tables[] = { sample_keys };
    CHECK(keys_check_unused(&ctx, &doc->section[0], tables, 1, true) == ST_OK, "%s", ctx.error);
    CHECK(j.n == 0, "no warning expected: %s", j.last);
    keys_free(sample_keys, &s);
    CHECK(!s.layers.v && !s.anchors.v, "freed");
    cfg_free(doc);
}

static void test_defaults(void) {
    struct ctx ctx = { 0 };
    struct sample s = { 0 };
    struct cfg_doc *doc = parse(&ctx, "[c]\nfilters\n", true);
    CHECK(keys_read(&ctx, &doc->section[0], sample_keys, &s) == ST_OK, "%s", ctx.error);
    CHECK(s.filters == 5 && s.pad == 0 && s.kind == 4 && s.rate == .5 && !s.layers.n && !s.map, "defaults");
    keys_free(sample_keys, &s);
    cfg_free(doc);
}

static void expect_bad(const char *options, const char *want) {
    char text[256];
    struct ctx ctx = { 0 };
    struct sample s = { 0 };
    snprintf(text, sizeof text, "[c]\n%s\n", options);
    struct cfg_doc *doc = parse(&ctx, text, true);
    enum status st = keys_read(&ctx, &doc->section[0], sample_keys, &s);
    CHECK(st != ST_OK && !strcmp(ctx.error, want), "%s: %s", options, ctx.error);
    keys_free(sample_keys, &s);
    cfg_free(doc);
}

static void expect_warning(const char *options, const char *want) {
    char text[256];
    struct journal j = { 0 };
    struct ctx ctx = { .log = note, .log_user = &j };
    struct sample s = { 0 };
    const struct cfg_key *tables[] = { sample_keys };
    snprintf(text, sizeof text, "[c]\n%s\n", options);
    struct cfg_doc *doc = parse(&ctx, text, true);
    CHECK(keys_read(&ctx, &doc->section[0], sample_keys, &s) == ST_OK, "%s", ctx.error);
    CHECK(keys_check_unused(&ctx, &doc->section[0], tables, 1, false) == ST_OK, "%s", ctx.error);
    CHECK(j.n == 1 && !strcmp(j.last, want), "%s: %d warnings, %s", options, j.n, j.last);
    keys_free(sample_keys, &s);
    cfg_free(doc);
}

static void test_bad_values(void) {
    expect_bad("filters=abc", "a.cfg:2: [c] filters: 'abc' is not a whole number that fits");
    expect_bad("pad=1\nfilters=-1", "a.cfg:3: [c] filters: -1 is out of range, 1 to 1000 is allowed");
    expect_bad("filters=99999999999", "a.cfg:2: [c] filters: '99999999999' is not a whole number that fits");
    expect_bad("filters=#64", "a.cfg:2: [c] filters: '#64' is not a whole number that fits");
    expect_bad("rate=nan", "a.cfg:2: [c] rate: 'nan' is not a number");
    expect_bad("rate=1.5", "a.cfg:2: [c] rate: 1.5 is out of range, 0 to 1 is allowed");
    expect_bad("layers=1,x,3", "a.cfg:2: [c] layers: 'x' is not a whole number that fits");
    expect_bad("layers=1,,3", "a.cfg:2: [c] layers: '' is not a whole number that fits");
    expect_bad("layers=#", "a.cfg:2: [c] layers: '' is not a whole number that fits");
    expect_bad("layers=,", "a.cfg:2: [c] layers: '' is not a whole number that fits");
    expect_bad("anchors=1;,2\nlayers=a", "a.cfg:3: [c] layers: 'a' is not a whole number that fits");
    expect_bad("kind=leeky", "a.cfg:2: [c] kind: 'leeky' is not known, did you mean 'leaky'?");
    expect_bad("kind=q", "a.cfg:2: [c] kind: 'q' is not known, it must be one of linear, leaky");
    expect_bad("xnor=1", "a.cfg:2: [c] xnor: not supported in this version, remove it or set it to 0");
    expect_bad("share_index=4", "a.cfg:2: [c] share_index: not supported in this version, remove it");
    expect_warning("filters=64.5", "a.cfg:2: [c] filters: only '64' of '64.5' is read");
    expect_warning("layers=1,2x,3", "a.cfg:2: [c] layers: only '2' of '2x' is read");
    expect_warning("layers=1,2,", "a.cfg:2: [c] layers: the comma at the end is ignored");
    expect_warning("soft=q", "a.cfg:2: [c] soft: 'q' is not known, leaky is used");
    expect_warning("fliters=3", "a.cfg:2: [c] unknown key 'fliters', did you mean 'filters'?");
    expect_warning("zzzzzzzz=3", "a.cfg:2: [c] unknown key 'zzzzzzzz'");
    expect_warning("pad=1\nfilters=3\npad=1", "a.cfg:4: [c] key 'pad' is repeated, line 2 counts");
    expect_warning("filters=", "a.cfg:2: [c] 'filters=' has no value, the line is ignored");
}

static void test_strict(void) {
    struct ctx ctx = { 0 };
    struct sample s = { 0 };
    const struct cfg_key *tables[] = { sample_keys };
    struct cfg_doc *doc = parse(&ctx, "[c]\nfilters=3\nfliters=3\n", true);
    CHECK(keys_read(&ctx, &doc->section[0], sample_keys, &s) == ST_OK, "%s", ctx.error);
    CHECK(keys_check_unused(&ctx, &doc->section[0], tables, 1, true) == ST_CFG, "strict");
    CHECK(!strcmp(ctx.error, "a.cfg:3: [c] unknown key 'fliters', did you mean 'filters'?"), "%s", ctx.error);
    cfg_free(doc);
}

/* --- [net] ---------------------------------------------------------------------------------------------- */

static void expect_net(const char *text, const char *want) {
    struct ctx ctx = { 0 };
    struct net_options o = { 0 };
    struct cfg_doc *doc = parse(&ctx, text, true);
    enum status st = net_options_read(&ctx, doc, false, &o);
    CHECK(st == ST_CFG && !strcmp(ctx.error, want), "%s: %s", text, ctx.error);
    net_options_free(&o);
    cfg_free(doc);
}

static void test_net_errors(void) {
    expect_net("[conv]\nwidth=1\n", "a.cfg:1: [conv] the first section must be [net] or [network]");
    expect_net("[net]\nbatch=0\nwidth=8\n",
               "a.cfg:2: [net] batch: 0 is out of range, 1 to 16777216 is allowed");
    expect_net(
        "[net]\nwidth=8\nheight=8\nchannels=3\nbatch=2\nsubdivisions=4\n",
        "a.cfg:5: [net] batch: 2 images cannot be split in subdivisions=4 parts, batch must be at least "
               "as large");
    expect_net("[net]\nsubdivisions=0\n",
               "a.cfg:2: [net] subdivisions: 0 is out of range, 1 to 16777216 is allowed");
    expect_net("\n[net]\nheight=8\nchannels=3\n",
               "a.cfg:2: [net] width: must be at least 1 (or give inputs=)");
    expect_net("[net]\nwidth=8\nheight=0\nchannels=3\n",
               "a.cfg:3: [net] height: must be at least 1 (or give inputs=)");
    expect_net("[net]\nwidth=8\nheight=8\n", "a.cfg:1: [net] channels: must be at least 1 (or give inputs=)");
    expect_net("[net]\nwidth=-8\n", "a.cfg:2: [net] width: -8 is out of range, 0 to 65536 is allowed");
    expect_net("[net]\nwidth=60000\nheight=60000\nchannels=3\n",
               "a.cfg:2: [net] width: 60000 x 60000 x 3 is too large an input");
    expect_net("[net]\ninputs=9\npolicy=steps\nsteps=1,2\n",
               "a.cfg:3: [net] policy: steps needs steps= and scales=, scales= is missing");
    expect_net("[net]\ninputs=9\npolicy=steps\nsteps=1,2\nscales=.1\n",
               "a.cfg:5: [net] scales: 1 values for 2 steps, one for each is needed");
}

static void test_net(void) {
    struct journal j = { 0 };
    struct ctx ctx = { .log = note, .log_user = &j };
    struct net_options o = { 0 };
    struct cfg_doc *doc =
        parse(&ctx, "[network]\nwidth=8\nheight=4\nchannels=3\nmax_batches=70\nequidistant_point=1\nseen=3\n", true);
    CHECK(net_options_read(&ctx, doc, true, &o) == ST_OK, "%s", ctx.error);
    CHECK(o.inputs == 96 && o.batch == 1 && o.subdivisions == 1 && o.sgdr_cycle == 70, "%d %d", o.inputs,
          o.sgdr_cycle);
    CHECK(o.max_crop == 16 && o.min_crop == 8 && o.flip == 1 && o.resize_step == 32, "defaults");
    CHECK(o.learning_rate == .001 && o.momentum == .9 && o.decay == .0001 && o.power == 4, "defaults");
    CHECK(o.policy == POLICY_CONSTANT && o.saturation == 1 && o.exposure == 1 && o.hue == 0, "defaults");
    CHECK(j.n == 0, "%s", j.last);
    CHECK(net_options_check_training(&ctx, doc, &o) == ST_OK && o.equidistant_point == 1, "%s", ctx.error);
    net_options_free(&o);
    cfg_free(doc);
    const char *refused[] = { "policy=poly", "contrastive=1" };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; ++i) {
        char text[80], at[40];
        snprintf(text, sizeof text, "[net]\ninputs=4\n%s\n", refused[i]);
        snprintf(at, sizeof at, "a.cfg:3: [net] %.*s: ", (int)strcspn(refused[i], "="), refused[i]);
        ctx_clear(&ctx);
        doc = parse(&ctx, text, true);
        CHECK(net_options_read(&ctx, doc, true, &o) == ST_OK, "%s", ctx.error);
        CHECK(net_options_check_training(&ctx, doc, &o) != ST_OK && strstr(ctx.error, at), "%s", ctx.error);
        net_options_free(&o);
        cfg_free(doc);
    }
}

static double rate_of(const char *options, long long n, double uniform) {
    char text[256];
    struct ctx ctx = { 0 };
    struct net_options o = { 0 };
    snprintf(text, sizeof text, "[net]\ninputs=4\nlearning_rate=0.5\n%s\n", options);
    struct cfg_doc *doc = parse(&ctx, text, true);
    CHECK(net_options_read(&ctx, doc, true, &o) == ST_OK, "%s", ctx.error);
    double rate = net_learning_rate(&o, n, uniform);
    net_options_free(&o);
    cfg_free(doc);
    return rate;
}

static void test_rates(void) {
    CHECK_NEAR(rate_of("policy=constant", 7, 0), .5, 1e-12, "constant");
    CHECK_NEAR(rate_of("policy=step\nscale=.1\nstep=10", 9, 0), .5, 1e-12, "before the first step");
    CHECK_NEAR(rate_of("policy=step\nscale=.1\nstep=10", 29, 0), .005, 1e-12, "two whole steps of 10 in 29");
    CHECK_NEAR(rate_of("policy=exp\ngamma=.5", 3, 0), .0625, 1e-12, "0.5 * 0.5^3");
    CHECK_NEAR(rate_of("policy=poly\nmax_batches=100\npower=2", 50, 0), .125, 1e-12, "0.5 * 0.5^2");
    CHECK_NEAR(rate_of("policy=poly\nmax_batches=100", 50, 0), .03125, 1e-12, "power is 4 by default");
    const char *steps = "policy=steps\nsteps=10,20,30\nscales=.1,10,.5\nburn_in=4";
    CHECK_NEAR(rate_of(steps, 9, 0), .5, 1e-12, "before the first");
    CHECK_NEAR(rate_of(steps, 10, 0), .05, 1e-12, "a step counts from its own iteration on");
    CHECK_NEAR(rate_of(steps, 25, 0), .5, 1e-12, "two passed");
    CHECK_NEAR(rate_of(steps, 1000, 0), .25, 1e-12, "all passed");
    CHECK_NEAR(rate_of(steps, 1, 0), .5 / 256, 1e-12, "burn-in (1/4)^4");
    CHECK_NEAR(rate_of(steps, 4, 0), .5, 1e-12, "burn-in is over");
    CHECK_NEAR(rate_of("policy=steps\nsteps=10,5,20\nscales=.1,.1,.1\nburn_in=100", 50, 0), .5 / 16, 1e-12,
               "in burn-in the steps do not count");
    CHECK_NEAR(rate_of("policy=steps\nsteps=30,10\nscales=.1,.1", 20, 0), .5, 1e-12,
               "stops at the first step ahead");
    CHECK_NEAR(rate_of("policy=random\npower=2", 1, .5), .125, 1e-12, "0.5 * 0.5^2");
    CHECK_NEAR(rate_of("policy=sigmoid\ngamma=0.1\nstep=10", 10, 0), .25, 1e-12, "half at the step");
    CHECK_NEAR(rate_of("policy=sigmoid\ngamma=0.1\nstep=10", 20, 0), .134470710684998, 1e-12,
               "0.5 / (1 + e)");
    const char *sgdr = "policy=sgdr\nsgdr_cycle=10\nlearning_rate_min=.1";
    CHECK_NEAR(rate_of(sgdr, 0, 0), .5, 1e-12, "top of the first cycle");
    CHECK_NEAR(rate_of(sgdr, 5, 0), .3, 1e-12, "half of the first cycle");
    CHECK_NEAR(rate_of(sgdr, 10, 0), .1, 1e-12, "bottom of the first cycle");
    CHECK_NEAR(rate_of(sgdr, 20, 0), .3, 1e-12, "half of the second, 10 to 30");
    CHECK_NEAR(rate_of("policy=sgdr\nmax_batches=8\nlearning_rate_min=.1", 4, 0), .3, 1e-12,
               "cycle = max_batches");
}

/* --- Damage --------------------------------------------------------------------------------------------- */

static size_t mutate(struct rng *r, char *text, size_t n, size_t cap) {
    static const char bytes[] = "[]=#;,. \t\r\n-0919eaxX";
    int changes = rng_int(r, 1, 6);
    for (int i = 0; i < changes && n > 1; ++i) {
        size_t at = (size_t)rng_int(r, 0, (int)n - 1), rest = n - at - 1;
        char c = bytes[rng_int(r, 0, (int)sizeof bytes - 2)];
        int kind = rng_int(r, 0, 3);
        if (kind == 0) text[at] = c;
        if (kind == 1) text[at] = (char)rng_int(r, 0, 255);
        if (kind == 2) memmove(text + at, text + at + 1, rest), --n;
        if (kind == 3 && n + 1 < cap) memmove(text + at + 1, text + at, n - at), text[at] = c, ++n;
    }
    return n;
}

/* Nothing may crash or leak, and whatever parses is written back as read, also after an edit that is undone.
 */
static void test_damage(void) {
    static const char start[] =
        "[net]\r\nbatch=4\nsubdivisions = 2 # x\nwidth=8\nheight=8\nchannels=3\npolicy=steps\n"
        "steps=1,2\nscales=.1,.2\n\n[c]\nfilters=3\nlayers=-1,2\nanchors=1,2\nkind=leaky\nrate=.1";
    struct rng r = rng_stream(7, 0, 0);
    int read = 0, lossless = 0, edited = 0, edits = 0;
    for (int i = 0; i < 5000; ++i) {
        struct ctx ctx = { 0 };
        char text[512];
        memcpy(text, start, sizeof start);
        size_t n = mutate(&r, text, sizeof start - 1, sizeof text);
        struct cfg_doc *doc;
        if (cfg_parse(&ctx, "f.cfg", text, n, true, &doc) != ST_OK) {
            if (!ctx.error[0]) CHECK(false, "an error without a text");
            continue;
        }
        ++read;
        text[n] = '\0';
        lossless += same_text(&ctx, doc, text, n);
        struct net_options o = { 0 };
        struct sample s = { 0 };
        const struct cfg_key *tables[] = { sample_keys };
        net_options_read(&ctx, doc, i % 2, &o);
        net_options_check_training(&ctx, doc, &o);
        const struct cfg_section *last = &doc->section[doc->n - 1];
        keys_read(&ctx, last, sample_keys, &s);
        keys_check_unused(&ctx, last, tables, 1, i % 3);
        ++edits;
        ctx_clear(&ctx);
        if (cfg_set_int(&ctx, doc, doc->n - 1, i % 2 ? "filters" : "fresh", 77) == ST_OK) {
            const char *v = cfg_value(&doc->section[doc->n - 1], i % 2 ? "filters" : "fresh");
            edited += v && atoi(v) == 77;
        }
        keys_free(sample_keys, &s);
        net_options_free(&o);
        cfg_free(doc);
    }
    CHECK(read > 2000, "only %d of 5000 damaged texts still parse, too few to mean much", read);
    CHECK(lossless == read, "%d of %d written as read", lossless, read);
    CHECK(edited == edits, "%d of %d edits took", edited, edits);
}

int main(void) {
    test_recorded();
    test_grammar();
    test_broken_documents();
    test_edits();
    test_values();
    test_defaults();
    test_bad_values();
    test_strict();
    test_net_errors();
    test_net();
    test_rates();
    test_damage();
    return test_end("cfg");
}
