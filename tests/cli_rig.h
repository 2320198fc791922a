/* Running the program as its users do, in a folder of the test's own: what it prints, how it ends. */
#ifndef TESTS_CLI_RIG_H
#define TESTS_CLI_RIG_H

#include "test.h"

#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "net/net.h"
#include "vision/image.h"

static char dir[64];
static char program[1200], start_dir[1024];

/* What a run left behind. */
static struct {
    int status;
    char *out, *err;
} run_;

static char *slurp(const char *path) {
    struct ctx ctx = { 0 };
    char *bytes = NULL;
    size_t size = 0;
    if (io_read(&ctx, path, &bytes, &size) != ST_OK) bytes = calloc(1, 1);
    return bytes;
}

static void spit(const char *path, const char *text) {
    struct ctx ctx = { 0 };
    if (io_write(&ctx, path, text, strlen(text)) != ST_OK) printf("%s\n", ctx.error), exit(1);
}

/* Runs the program with these words, in the test's folder. */
static void run_input(const char *input, const char *words) {
    char line[2048];
    spit("in", input);
    snprintf(line, sizeof line, "'%s' %s <in >out 2>err", program, words);
    int status = system(line);
    free(run_.out);
    free(run_.err);
    run_.status = WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
    run_.out = slurp("out");
    run_.err = slurp("err");
}
static void run(const char *words) { run_input("", words); }

static bool has(const char *text, const char *part) { return strstr(text, part) != NULL; }

static int count(const char *text, const char *part) {
    int n = 0;
    for (const char *p = text; (p = strstr(p, part)); p += strlen(part)) ++n;
    return n;
}

/* The run failed with one line on stderr that names all these things, and printed nothing else. */
static void check_refused(const char *what, const char *a, const char *b) {
    size_t n = strlen(run_.err);
    CHECK(run_.status == 1, "%s: exit status %d", what, run_.status);
    CHECK(n && run_.err[n - 1] == '\n' && count(run_.err, "\n") == 1, "%s: one line on stderr, not: %s", what,
          run_.err);
    CHECK(strncmp(run_.err, "darknet: ", 9) == 0 && has(run_.err, a) && has(run_.err, b),
          "%s: '%s' and '%s' in: %s", what, a, b, run_.err);
    CHECK(!*run_.out, "%s: nothing on stdout, not: %s", what, run_.out);
}

/* The test's folder becomes the current one; false: there is no program (DARKNET names it). */
static bool cli_start(void) {
    const char *given = getenv("DARKNET");
    snprintf(dir, sizeof dir, "/tmp/test_cli.XXXXXX");
    if (!getcwd(start_dir, sizeof start_dir)) return false;
    snprintf(program, sizeof program, "%s%s%s", given && *given == '/' ? "" : start_dir, given && *given == '/' ? "" : "/",
             given ? given : "darknet");
    if (!io_exists(program)) {
        SKIP("no program %s (set DARKNET)", program);
        return false;
    }
    return mkdtemp(dir) && chdir(dir) == 0;
}

static void cli_end(void) {
    char line[128];
    free(run_.out);
    free(run_.err);
    snprintf(line, sizeof line, "rm -rf '%s'", dir);
    if (!getenv("KEEP") && (chdir(start_dir) != 0 || system(line) != 0)) printf("%s is left behind\n", dir);
}

/* --- A network whose answer is known -------------------------------------------------------------------
 * All weights are 0, so the head sees the last biases: a "cat" in the middle, half as wide and high as the
 * picture, and a "dog", a quarter wide and three quarters high, right of it. */
static const char base_cfg[] =
    "[net]\nbatch=4\nsubdivisions=2\nwidth=32\nheight=32\nchannels=3\n"
    "max_batches=6\nlearning_rate=0.001\nburn_in=1\n"
    "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\nstride=8\npad=1\nactivation=leaky\n"
    "[convolutional]\nfilters=14\nsize=1\nstride=4\nactivation=linear\n"
    "[yolo]\nmask=0,1\nanchors=16,16, 8,24\nclasses=2\nnum=2\n";

static void make_weights(const char *cfg, const char *path) {
    static const float head[14] = { 0, 0, 0, 0, 3.5f, 3, -9, 1, 0, 0, 0, 1, -9, 2 };
    struct ctx ctx = { 0 };
    struct net *net = NULL;
    bool ok = net_open(&ctx, cfg, false, &net) == ST_OK;
    for (size_t i = 0; ok && i < net->n_param; ++i) net->param[i] = 0;
    for (int k = 0; ok && k < net->layer[0].n_param; ++k) {
        const struct param *p = &net->layer[0].param[k];
        if (p->role != PARAM_SCALE && p->role != PARAM_VARIANCE) continue;
        for (size_t i = 0; i < param_count(p); ++i) net->param[p->offset + i] = 1;
    }
    if (ok) memcpy(net->param + net->layer[1].param[0].offset, head, sizeof head);
    ok = ok && net_save(&ctx, net, path, -1) == ST_OK;
    CHECK(ok, "%s", ctx.error);
    net_close(net);
}

static void make_picture(const char *path, int w, int h) {
    struct ctx ctx = { 0 };
    struct pixels px;
    if (pixels_new(&ctx, w, h, 3, &px) != ST_OK) return;
    for (int i = 0; i < w * h * 3; ++i) px.data[i] = (uint8_t)(i * 7 % 251);
    CHECK(pixels_write(&ctx, path, &px, 90) == ST_OK, "%s", ctx.error);
    pixels_free(&px);
}

static inline void make_files(void) {
    spit("t.cfg", base_cfg);
    spit("t.names", "cat\ndog\n");
    spit("list.txt", "a.png\nb.png\n");
    spit(
        "t.data",
        "classes=2\ntrain=list.txt\nvalid=list.txt\nnames=t.names\nbackup=saved\nresults=results\neval=coco\n");
    make_picture("a.png", 64, 48);
    make_picture("b.png", 40, 40);
    spit("a.txt", "0 0.5 0.5 0.5 0.5\n");
    spit("b.txt", "1 0.73 0.5 0.25 0.75\n0 0.2 0.2 0.1 0.1\n");
    make_weights("t.cfg", "t.weights");
}

#endif
