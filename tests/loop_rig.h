/* A small set of pictures, a network trained on it by the program, and runs in steps that are killed. */
#ifndef TESTS_LOOP_RIG_H
#define TESTS_LOOP_RIG_H

#include "cli_rig.h"

#include <cjson/cJSON.h>
#include <signal.h>
#include <time.h>

#include "base/rng.h"

enum { IMAGES = 6 };

/* A bright square on dark noise: red ones and green ones. */
static void make_set(const char *cfg) {
    char list[512] = "", name[64], label[128];
    for (int i = 0; i < IMAGES; ++i) {
        struct ctx ctx = { 0 };
        struct rng r = rng_stream(5, (uint64_t)i, 0);
        struct pixels px = { 0 };
        int side = rng_int(&r, 9, 14), x = rng_int(&r, 1, 31 - side), y = rng_int(&r, 1, 31 - side);
        CHECK(pixels_new(&ctx, 32, 32, 3, &px) == ST_OK, "%s", ctx.error);
        for (int k = 0; k < 32 * 32 * 3; ++k) px.data[k] = (uint8_t)(rng_u64(&r) & 63);
        for (int v = y; v < y + side; ++v)
            for (int u = x; u < x + side; ++u) px.data[(v * 32 + u) * 3 + i % 2] = 250;
        snprintf(name, sizeof name, "im%d.png", i);
        CHECK(pixels_write(&ctx, name, &px, 90) == ST_OK, "%s", ctx.error);
        pixels_free(&px);
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s\n", name);
        snprintf(label, sizeof label, "%d %.6f %.6f %.6f %.6f\n", i % 2, (x + side / 2.) / 32, (y + side / 2.) / 32, side / 32., side / 32.);
        snprintf(name, sizeof name, "im%d.txt", i);
        spit(name, label);
    }
    spit("list.txt", list);
    spit("n.names", "red\ngreen\n");
    spit("t.data", "classes=2\ntrain=list.txt\nvalid=list.txt\nnames=n.names\nbackup=saved\n");
    spit("t.cfg", cfg);
    run("detector train t.data t.cfg -quiet -dont_show");
    CHECK(run_.status == 0, "the network is trained: %s", run_.err);
}

static bool same(const char *a, const char *b) {
    struct ctx ctx = { 0 };
    char *x = NULL, *y = NULL;
    size_t n = 0, m = 1;
    bool equal = io_read(&ctx, a, &x, &n) == ST_OK && io_read(&ctx, b, &y, &m) == ST_OK && n == m && memcmp(x, y, n) == 0;
    free(x), free(y);
    return equal;
}

static cJSON *parse_file(const char *path) {
    char *text = slurp(path);
    cJSON *o = cJSON_Parse(text);
    free(text);
    return o;
}

/* The run `words` wrote s.sensitivity.json, which is o; cut short within `rows` and resumed, it goes on where it was. */
static inline void check_taken_up(const cJSON *o, const char *rows, const char *words) {
    cJSON *cut = cJSON_Duplicate(o, true);
    cJSON_DeleteItemFromArray(cJSON_GetObjectItem(cut, rows), 2);
    char *text = cJSON_Print(cut), line[1024];
    spit("s.sensitivity.json", text);
    free(text);
    snprintf(line, sizeof line, "%s -resume", words);
    run(line);
    cJSON *again = parse_file("s.sensitivity.json");
    CHECK(run_.status == 0 && cJSON_Compare(o, again, true), "a resumed one has the same figures: %s", run_.err);
    cJSON_Delete(cut), cJSON_Delete(again);
}

static void drop(cJSON *o, const char *name) { /* at any depth */
    cJSON_DeleteItemFromObject(o, name);
    for (cJSON *child = o->child; child; child = child->next) drop(child, name);
}

/* Records of two runs, but for times and the prefix in the command. */
static bool same_record(const char *a, const char *b) {
    static const char *const own[] = { "ms", "command" };
    cJSON *x = parse_file(a), *y = parse_file(b);
    for (int i = 0; x && y && i < 2; ++i) drop(x, own[i]), drop(y, own[i]);
    bool equal = x && y && cJSON_Compare(x, y, true);
    cJSON_Delete(x), cJSON_Delete(y);
    return equal;
}

static pid_t start(const char *words) {
    char line[2048];
    snprintf(line, sizeof line, "exec '%s' %s >out 2>err", program, words);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static void pause_for(double seconds) {
    struct timespec t = { (time_t)seconds, (long)((seconds - floor(seconds)) * 1e9) };
    nanosleep(&t, NULL);
}

/* The command is killed again and again, each time a little later after its start, until a run gets to its end; `whole`: seconds that
 * an undisturbed one takes.  Returns how often. */
static int run_through_kills(const char *words, double whole) {
    int kills = 0, status = -1;
    struct rng r = rng_stream(3, 1, 4);
    for (; kills < 60; ++kills) {
        pid_t pid = start(words);
        /* The first ones early: the machine may have been busy while the whole run was timed. */
        pause_for(kills < 3 ? .02 + .02 * kills : whole * (.02 + .2 * rng_uniform(&r)));
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        if (WIFEXITED(status)) break;
    }
    if (!WIFEXITED(status)) {
        run(words);
        status = run_.status << 8;
    }
    char *err = slurp("err");
    CHECK(status == 0, "the run ends after %d kills: %s", kills, err);
    free(err);
    CHECK(kills >= 3, "%d kills are no test", kills);
    return kills;
}

#endif
