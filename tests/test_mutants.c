/* Damaged cfg files, a few thousand of them: each one opens and runs, or ends in one line that names file and line.
 *
 * Every cfg found is taken twice: as it is (opened only), and slim, an eighth of its filters on a small input, so that what
 * opens can also run and train a step.  Each cfg's mutants run in a process of their own, which a crash or a hang ends alone. */
#include <dirent.h>
#include <omp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/text.h"
#include "net/internal.h"
#include "test.h"

enum { MUTANT_SECONDS = 20, MAX_FILES = 200, WORKERS = 2 };
static const size_t RUN_WEIGHTS = 4000000, RUN_OUTPUTS = 6000000, INIT_WEIGHTS = 30000000;
static const double RUN_FLOPS = 4e8, MOST_MEMORY = 3e9;

/* What a child tells; `now` stands there even when it dies. */
struct report {
    int opened, refused, ran, trained, wrong;
    bool slim, done;
    int side;
    char now[400], fault[1600];
};

/* --- Lines of a cfg --------------------------------------------------------------------------------------------------- */

struct line { char text[400]; };
struct lines { struct line *at; int n, cap; };

static void insert_line(struct lines *l, int where, const char *text) {
    struct line fresh; /* text may be one of these lines */
    snprintf(fresh.text, sizeof fresh.text, "%s", text);
    if (l->n == l->cap) l->at = realloc(l->at, (size_t)(l->cap = l->cap ? 2 * l->cap : 256) * sizeof *l->at);
    memmove(l->at + where + 1, l->at + where, (size_t)(l->n - where) * sizeof *l->at);
    l->at[where] = fresh;
    ++l->n;
}

static void drop_line(struct lines *l, int where) {
    memmove(l->at + where, l->at + where + 1, (size_t)(l->n - where - 1) * sizeof *l->at);
    --l->n;
}

static struct lines split(const char *text) {
    struct lines l = { 0 };
    while (*text) {
        char one[400];
        size_t n = strcspn(text, "\n");
        snprintf(one, sizeof one, "%.*s", (int)n, text);
        insert_line(&l, l.n, one);
        text += n + (text[n] == '\n');
    }
    return l;
}

static char *join(const struct lines *l, size_t *size) {
    size_t n = 0;
    for (int i = 0; i < l->n; ++i) n += strlen(l->at[i].text) + 1;
    char *text = malloc(n + 1), *to = text;
    for (int i = 0; i < l->n; ++i) to += sprintf(to, "%s\n", l->at[i].text);
    *to = '\0';
    *size = n;
    return text;
}

static bool is_head(const struct lines *l, int i) { return l->at[i].text[strspn(l->at[i].text, " \t")] == '['; }
static bool is_option(const struct lines *l, int i) {
    const char *t = l->at[i].text + strspn(l->at[i].text, " \t");
    return *t && !strchr("#;[", *t) && strchr(t, '=');
}

/* A random line of one kind; -1 without one. */
static int pick_line(const struct lines *l, struct rng *r, bool (*kind)(const struct lines *, int)) {
    for (int t = 0; t < 200 && l->n; ++t) {
        int i = rng_int(r, 0, l->n - 1);
        if (kind(l, i)) return i;
    }
    return -1;
}

static int section_end(const struct lines *l, int from) {
    int end = from + 1;
    while (end < l->n && !is_head(l, end)) ++end;
    return end;
}

static int section_begin(const struct lines *l, int of) {
    while (of > 0 && !is_head(l, of)) --of;
    return of;
}

/* --- Mutations -------------------------------------------------------------------------------------------------------- */

static const char *const values[] = { "0", "-1", "1", "2", "3", "7", "-7", "100000000", "1048576", "65536", "1024", "999999999999999999999",
                                      "-2147483648", "2147483647", "1e30", "-1e-30", "0.5", "64.5", "nan", "inf", "", "abc", "#", "1,2,3",
                                      "-1,-4", "0,1", ",", "1,,2", "leaky", "mish", "normalize_channels_softmax" };

static const char *value_of(struct rng *r) { return values[rng_int(r, 0, (int)(sizeof values / sizeof values[0]) - 1)]; }

static void set_value(struct lines *l, int i, const char *value) {
    char *t = l->at[i].text, *eq = strchr(t, '=');
    snprintf(eq + 1, sizeof l->at[i].text - (size_t)(eq + 1 - t), "%s", value);
}

/* One number of a value, more or less by one. */
static void off_by_one(struct lines *l, int i, struct rng *r) {
    char old[400], fresh[512];
    snprintf(old, sizeof old, "%s", strchr(l->at[i].text, '=') + 1);
    size_t n = strlen(old), at = n ? (size_t)rng_int(r, 0, (int)n - 1) : 0;
    while (at > 0 && old[at - 1] >= '0' && old[at - 1] <= '9') --at;
    if (at > 0 && old[at - 1] == '-') --at;
    int v = atoi(old + at) + (rng_int(r, 0, 1) ? 1 : -1);
    const char *rest = old + at + (old[at] == '-');
    rest += strspn(rest, "0123456789");
    snprintf(fresh, sizeof fresh, "%.*s%d%s", (int)at, old, v, rest);
    set_value(l, i, fresh);
}

static void copy_section(struct lines *l, int from, int to) {
    int n = section_end(l, from) - from;
    struct line *copy = malloc((size_t)n * sizeof *copy);
    memcpy(copy, l->at + from, (size_t)n * sizeof *copy);
    for (int k = 0; k < n; ++k) insert_line(l, to + k, copy[k].text);
    free(copy);
}

static void cut_section(struct lines *l, int from) {
    for (int n = section_end(l, from) - from; n > 0; --n) drop_line(l, from);
}

static void swap_sections(struct lines *l, int a, int b) {
    if (a == b) return;
    int first = a < b ? a : b, second = a < b ? b : a, size = section_end(l, second) - second;
    copy_section(l, second, first);
    cut_section(l, second + size);
    int moved = first + size; /* what stood first */
    copy_section(l, moved, second + size);
    cut_section(l, moved);
}

static void misspell(char *t, struct rng *r) {
    size_t n = strcspn(t, "=");
    if (!n) return;
    size_t at = (size_t)rng_int(r, 0, (int)n - 1);
    if (rng_int(r, 0, 1)) memmove(t + at, t + at + 1, strlen(t + at));
    else t[at] = (char)rng_int(r, 'a', 'z');
}

/* An option that this kind of section knows. */
static bool add_known_key(struct lines *l, struct rng *r, char *what, size_t size) {
    int i = pick_line(l, r, is_head);
    if (i < 0) return false;
    char type[64];
    snprintf(type, sizeof type, "%.*s", (int)strcspn(strchr(l->at[i].text, '[') + 1, "]"), strchr(l->at[i].text, '[') + 1);
    const struct layer_ops *ops = layer_find(type);
    const struct cfg_key *keys = !ops || rng_int(r, 0, 4) == 0 ? layer_common_keys : ops->keys;
    if (!strcmp(type, "net") || !strcmp(type, "network")) keys = net_option_keys;
    int n = 0;
    while (keys && keys[n].name) ++n;
    if (!n) return false;
    const struct cfg_key *key = &keys[rng_int(r, 0, n - 1)];
    char text[400];
    snprintf(text, sizeof text, "%s=%s", key->name,
             key->type == CFG_T_CHOICE && rng_int(r, 0, 3) ? key->choices[rng_int(r, 0, 2) % (key->choices[1].name ? 2 : 1)].name : value_of(r));
    insert_line(l, i + 1, text);
    snprintf(what, size, "line %d added: %.200s", i + 2, text);
    return true;
}

enum kind { DROP_LINE, NEW_VALUE, OFF_BY_ONE, OTHER_VALUE, COPY_SECTION, DROP_SECTION, SWAP_SECTIONS, REPEAT_KEY, MISSPELL, KNOWN_KEY, CUT_FILE, BYTE, KINDS };

/* Mutates the text; `what` says how.  Caller frees. */
static char *mutate(const char *source, struct rng *r, size_t *size, char *what, size_t what_size) {
    struct lines l = split(source);
    enum kind kind = (enum kind)rng_int(r, 0, KINDS + 1);
    if (kind >= KINDS) kind = kind == KINDS ? NEW_VALUE : KNOWN_KEY; /* the richest ones twice */
    int i = pick_line(&l, r, kind == COPY_SECTION || kind == DROP_SECTION || kind == SWAP_SECTIONS ? is_head : is_option);
    int j = pick_line(&l, r, kind == OTHER_VALUE ? is_option : is_head);
    snprintf(what, what_size, "nothing");
    if (i < 0 || j < 0) kind = BYTE;
    else snprintf(what, what_size, "kind %d at line %d: %.100s (and line %d)", kind, i + 1, l.at[i].text, j + 1);
    switch (kind) {
    case DROP_LINE: drop_line(&l, i); break;
    case NEW_VALUE: set_value(&l, i, value_of(r)); break;
    case OFF_BY_ONE: off_by_one(&l, i, r); break;
    case OTHER_VALUE:
        if (i != j) set_value(&l, i, strchr(l.at[j].text, '=') + 1);
        break;
    case COPY_SECTION: copy_section(&l, i, rng_int(r, 0, 1) ? section_end(&l, i) : j); break;
    case DROP_SECTION: cut_section(&l, i); break;
    case SWAP_SECTIONS: swap_sections(&l, i, j); break;
    case REPEAT_KEY:
        insert_line(&l, section_begin(&l, i) + 1, l.at[i].text);
        set_value(&l, section_begin(&l, i) + 1, value_of(r));
        break;
    case MISSPELL: misspell(l.at[i].text, r); break;
    case KNOWN_KEY: add_known_key(&l, r, what, what_size); break;
    case CUT_FILE:
    case BYTE:
    case KINDS: break;
    }
    if (kind == NEW_VALUE || kind == OFF_BY_ONE || kind == OTHER_VALUE || kind == MISSPELL)
        snprintf(what + strlen(what), what_size - strlen(what), " -> %.100s", l.at[i].text);
    char *text = join(&l, size);
    free(l.at);
    if (!*size) return text;
    int at = rng_int(r, 0, (int)*size - 1);
    if (kind == CUT_FILE) text[*size = (size_t)at] = '\0';
    if (kind == BYTE) text[at] = (char)rng_int(r, 0, 255);
    if (kind == CUT_FILE || kind == BYTE) snprintf(what, what_size, "kind %d at byte %d", kind, at);
    return text;
}

/* --- One mutant ------------------------------------------------------------------------------------------------------- */

/* "FILE:LINE: ..." in one line. */
static bool well_told(const struct ctx *ctx, const char *path) {
    size_t n = strlen(path);
    const char *e = ctx->error;
    return ctx->code != ST_OK && !strncmp(e, path, n) && e[n] == ':' && e[n + 1] >= '0' && e[n + 1] <= '9' && !strchr(e, '\n');
}

static void wrong(struct report *rep, const char *what) {
    if (rep->wrong++ == 0) snprintf(rep->fault, sizeof rep->fault, "%.300s: %.1000s", rep->now, what);
}

static bool small(const struct net *net) {
    double flops = net_flops(net);
    for (int i = 0; i < net->n; ++i) flops += 100. * (double)shape_count(net->layer[i].out);
    return net->n_param <= RUN_WEIGHTS && net_activation_count(net) <= RUN_OUTPUTS && flops <= RUN_FLOPS && net->opt.inputs <= 1 << 20;
}

/* Two images with a box each, and values for whoever wants some. */
static bool learns(struct ctx *ctx, struct net *net, struct backend *be) {
    struct truth box = { .box = { .5f, .4f, .3f, .6f }, .class_id = 0 };
    int steps = net->opt.time_steps, batch = 2 * steps, n_target = 1;
    if (steps > 4 || net_bind(ctx, net, be, NET_TRAIN, batch) != ST_OK) return ctx->code == ST_OK;
    struct truth_list *list = calloc((size_t)batch, sizeof *list);
    for (int i = 0; i < batch; ++i) list[i] = (struct truth_list){ .n = 1, .cap = 1, .item = &box };
    for (int i = 0; i < net->n; ++i)
        if (net->layer[i].ops->loss && !net->layer[i].ops->head) n_target = (int)shape_count(net->layer[i].in_shape[0]);
    float *target = calloc((size_t)batch * (size_t)n_target, sizeof *target), *x = calloc((size_t)batch * shape_count((struct shape){ 1, net->opt.channels, net->opt.height, net->opt.width }), sizeof *x);
    struct net_truth truth = { .boxes = list, .target = target, .target_size = n_target };
    double loss;
    net->boxes = list;
    bool ok = net_forward(ctx, net, x) == ST_OK && net_loss(ctx, net, &truth, &loss, NULL) == ST_OK && net_backward(ctx, net) == ST_OK;
    net->boxes = NULL;
    free(list), free(target), free(x);
    return ok;
}

static bool runs(struct ctx *ctx, struct net *net, struct backend *be) {
    if (net_bind(ctx, net, be, NET_INFER, 1) != ST_OK) return false;
    float *x = calloc(shape_count((struct shape){ 1, net->opt.channels, net->opt.height, net->opt.width }), sizeof *x);
    bool ok = net_forward(ctx, net, x) == ST_OK;
    free(x);
    return ok;
}

static void one_mutant(struct report *rep, const char *path, const char *text, size_t size, struct backend *be, bool train) {
    struct ctx ctx = { 0 };
    struct cfg_doc *doc;
    struct net *net = NULL;
    alarm(MUTANT_SECONDS);
    if (cfg_parse(&ctx, path, text, size, true, &doc) == ST_OK) net_open_doc(&ctx, doc, false, &net);
    if (!net) {
        ++rep->refused;
        if (!well_told(&ctx, path)) wrong(rep, ctx.error);
        return;
    }
    ++rep->opened;
    if (net->n_param <= (be ? RUN_WEIGHTS : INIT_WEIGHTS / 30)) net_init_weights(net, 1);
    if (be && small(net)) {
        bool ok = runs(&ctx, net, be);
        rep->ran += ok;
        if (ok && train) {
            ok = learns(&ctx, net, be);
            rep->trained += ok;
            ok = ok || ctx.code == ST_NUMERIC || strstr(ctx.error, "no layer of this network has a loss");
        }
        if (!ok && !well_told(&ctx, path)) wrong(rep, ctx.error);
    }
    net_close(net);
    alarm(0);
}

/* --- One cfg ---------------------------------------------------------------------------------------------------------- */

/* Fewer filters, and a smaller input where the layers allow it. */
static char *slim(const char *path, const char *text, int side, int part, size_t *size) {
    struct ctx ctx = { 0 };
    struct cfg_doc *doc;
    char *out = NULL;
    if (cfg_parse(&ctx, path, text, strlen(text), true, &doc) != ST_OK) return NULL;
    const char *w = cfg_value(&doc->section[0], "width"), *steps = cfg_value(&doc->section[0], "time_steps");
    if (w && atoi(w) > side) cfg_set_int(&ctx, doc, 0, "width", side), cfg_set_int(&ctx, doc, 0, "height", side);
    if (steps && atoi(steps) > 3) cfg_set_int(&ctx, doc, 0, "time_steps", 3);
    for (int i = 1; i < doc->n; ++i) {
        static const char *const keys[] = { "filters", "output", "hidden", "groups" };
        const char *next = i + 1 < doc->n ? doc->section[i + 1].type : "cost";
        bool fixed = strstr(next, "yolo") || strstr(next, "region") || strstr(next, "detection");
        if (!strcmp(doc->section[i].type, "route")) continue;
        for (size_t k = 0; k < sizeof keys / sizeof keys[0]; ++k) {
            const char *v = cfg_value(&doc->section[i], keys[k]);
            if (v && !fixed && atoi(v) > part) cfg_set_int(&ctx, doc, i, keys[k], (atoi(v) + part - 1) / part);
        }
    }
    if (cfg_text(&ctx, doc, &out, size) != ST_OK) out = NULL;
    cfg_free(doc);
    struct net *net = NULL;
    if (out && cfg_parse(&ctx, path, out, *size, true, &doc) == ST_OK) net_open_doc(&ctx, doc, false, &net);
    if (net && small(net)) {
        net_close(net);
        return out;
    }
    net_close(net);
    free(out);
    return NULL;
}

static char *smallest(const char *path, const char *text, size_t *size, int *side) {
    static const int sides[] = { 32, 64, 96, 128, 256, 100000 }, parts[] = { 8, 16, 2 };
    for (size_t i = 0; i < sizeof sides / sizeof sides[0]; ++i)
        for (size_t k = 0; k < sizeof parts / sizeof parts[0]; ++k) {
            char *out = slim(path, text, *side = sides[i], parts[k], size);
            if (out) return out;
        }
    return NULL;
}

static void mutate_cfg(struct report *rep, const char *path, int mutants) {
    struct ctx ctx = { 0 };
    struct backend *be;
    char *text, *small_text;
    size_t size, small_size;
    const char *name = strrchr(path, '/') + 1;
    uint64_t seed = 7;
    for (const char *c = name; *c; ++c) seed = seed * 31 + (unsigned char)*c;
    struct rng r = rng_stream(seed, 0, 0);
    snprintf(rep->now, sizeof rep->now, "%s: as it is", name);
    if (io_read(&ctx, path, &text, &size) != ST_OK || backend_open(&ctx, seed % 4 ? "cpu-plain" : "cpu", &be) != ST_OK) {
        wrong(rep, ctx.error);
        return;
    }
    small_text = smallest(path, text, &small_size, &rep->side);
    rep->slim = small_text != NULL;
    for (int i = 0; i < mutants; ++i) {
        bool run = small_text && i % 3; /* a third as it is, opened only */
        char what[300];
        char *mutant = mutate(run ? small_text : text, &r, &size, what, sizeof what);
        snprintf(rep->now, sizeof rep->now, "%s, mutant %d%s: %s", name, i, run ? " (slim)" : "", what);
        one_mutant(rep, name, mutant, size, run ? be : NULL, i % 6 == 5);
        free(mutant);
    }
    free(text), free(small_text);
    backend_close(be);
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    snprintf(rep->now, sizeof rep->now, "%s: memory", name);
    if (!getenv("SANITIZE") && (double)used.ru_maxrss * 1024 > MOST_MEMORY) wrong(rep, "took gigabytes");
}

/* --- All of them ------------------------------------------------------------------------------------------------------ */

static int list_folder(const char *folder, char path[][1200], int n) {
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && n < MAX_FILES && (e = readdir(dir));)
        if (text_ends_with(e->d_name, ".cfg")) snprintf(path[n++], sizeof path[0], "%.900s/%s", folder, e->d_name);
    if (dir) closedir(dir);
    return n;
}

static pid_t start(struct report *rep, const char *path, int mutants) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        omp_set_num_threads(1); /* the processes share the cores */
        mutate_cfg(rep, path, mutants);
        rep->done = true;
        _exit(0);
    }
    return pid;
}

static void judge(const struct report *rep, int status) {
    CHECK(rep->done && WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: %s %d", rep->now, WIFSIGNALED(status) ? "ended by signal" : "status",
          WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    CHECK(!rep->wrong, "%d times, first %s", rep->wrong, rep->fault);
}

/* What nobody means is refused in one line, without asking the machine for the memory. */
static void check_absurd(void) {
    static const struct { const char *net, *layers, *part; } cases[] = {
        { "width=64\nheight=64", "[convolutional]\nfilters=100000000\n", "bad.cfg:6: [convolutional] filters: 100000000 is out of range" },
        { "width=65536\nheight=65536", "[convolutional]\nfilters=4\n", "width" },
        { "width=8192\nheight=8192", "[convolutional]\nfilters=1048576\nstride=1\n", "bad.cfg:5: [convolutional] its output" },
        { "width=8\nheight=8", "[convolutional]\nfilters=65536\n[convolutional]\nfilters=65536\nsize=1\n", "bad.cfg:7: [convolutional] with it the network" },
        { "width=64\nheight=64", "[upsample]\nstride=64\n[upsample]\nstride=64\n", "bad.cfg:7: [upsample] its output" },
        { "width=64\nheight=64", "[reorg3d]\nstride=64\n[reorg3d]\nreverse=1\nstride=64\n[upsample]\nstride=64\n[route]\nlayers=2,2,2\n[upsample]\nstride=64\n", "bad.cfg:14: [upsample] its output" },
        { "width=4\nheight=4", "[connected]\noutput=1000000\n[connected]\noutput=1000000\n", "bad.cfg:8: [connected] output: 1000000 outputs" },
        { "width=1\nheight=1", "[lstm]\noutput=1048576\n", "bad.cfg:6: [lstm] output: " },
        { "width=64\nheight=64", "[convolutional]\nfilters=8\n[region]\nnum=65535\nclasses=1048570\n", "num" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        char text[1024];
        struct ctx ctx = { 0 };
        struct cfg_doc *doc;
        struct net *net = NULL;
        snprintf(text, sizeof text, "[net]\n%s\nchannels=3\n%s", cases[i].net, cases[i].layers);
        if (cfg_parse(&ctx, "bad.cfg", text, strlen(text), true, &doc) == ST_OK) net_open_doc(&ctx, doc, false, &net);
        CHECK(!net && well_told(&ctx, "bad.cfg") && strstr(ctx.error, cases[i].part), "'%s' should say '%s'", ctx.error, cases[i].part);
        net_close(net);
    }
    /* A network can be listed that no machine could run. */
    struct ctx ctx = { 0 };
    struct cfg_doc *doc;
    struct net *net = NULL;
    struct backend *be = NULL;
    const char *text = "[net]\nwidth=8192\nheight=8192\nchannels=3\n[convolutional]\nfilters=31\n[activation]\n[reorg3d]\nstride=4\n";
    CHECK(cfg_parse(&ctx, "bad.cfg", text, strlen(text), true, &doc) == ST_OK && net_open_doc(&ctx, doc, false, &net) == ST_OK &&
              backend_open(&ctx, "ref64", &be) == ST_OK, "%s", ctx.error);
    enum status st = net ? net_bind(&ctx, net, be, NET_INFER, 1 << 16) : ST_OK;
    CHECK(st == ST_MEMORY && well_told(&ctx, "bad.cfg"), "%s", ctx.error);
    net_close(net);
    if (be) backend_close(be);
}

int main(int argc, char **argv) {
    if (argc > 2) { /* one cfg, in this process: for a debugger */
        static struct report one;
        mutate_cfg(&one, argv[2], atoi(argv[1]));
        printf("%s\n%d opened, %d refused, %d ran, %d trained, %d wrong %s\n", one.now, one.opened, one.refused, one.ran, one.trained, one.wrong, one.fault);
        return 0;
    }
    static char path[MAX_FILES][1200];
    const char *root = test_data("mutants of the recorded cfg files"), *sanitize = getenv("SANITIZE");
    int mutants = argc > 1 ? atoi(argv[1]) : sanitize && *sanitize ? 24 : 60, n = list_folder("cfg", path, 0), busy = 0, next = 0;
    pid_t child[MAX_FILES];
    char folder[1000];
    if (root) {
        snprintf(folder, sizeof folder, "%s/cfg", root);
        n = list_folder(folder, path, n);
    }
    struct report *rep = mmap(NULL, sizeof *rep * MAX_FILES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    while (next < n || busy) {
        while (busy < WORKERS && next < n) child[next] = start(&rep[next], path[next], mutants), ++next, ++busy;
        int status;
        pid_t pid = wait(&status);
        for (int i = 0; i < next; ++i)
            if (child[i] == pid) judge(&rep[i], status), --busy;
    }
    struct report all = { 0 };
    int slims = 0;
    for (int i = 0; i < n; ++i) {
        all.opened += rep[i].opened, all.refused += rep[i].refused, all.ran += rep[i].ran, all.trained += rep[i].trained;
        slims += rep[i].slim;
        if (argc > 1) printf("%-40s side %6d %s: %d opened, %d refused, %d ran, %d trained\n", strrchr(path[i], '/') + 1, rep[i].side, rep[i].slim ? "slim" : "    ", rep[i].opened, rep[i].refused, rep[i].ran, rep[i].trained);
    }
    printf("%d mutants of %d cfg files, %d of them small enough to run: %d opened, %d ran, %d trained, %d refused\n", all.opened + all.refused, n,
           slims, all.opened, all.ran, all.trained, all.refused);
    CHECK(all.opened > n && all.refused > n && all.ran > n && all.trained > n / 4, "the mutations do too little or too much");
    CHECK(slims * 10 >= n * 9, "only %d of %d cfg files can be made small", slims, n);
    check_absurd();
    return test_end("mutants");
}
