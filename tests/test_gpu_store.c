/* Kept answers of a device's trials: there and back, damage, foreign files, folders that are none. */
#include <unistd.h>

#include "backend/cuda/store.h"
#include "base/io.h"
#include "test.h"

static int lines;
static char last[512];
static void keep(void *user, enum log_level level, const char *line) {
    (void)user, (void)level;
    snprintf(last, sizeof last, "%s", line);
    ++lines;
}

static char *only_file(const char *dir, char *to, size_t size) {
    char command[300];
    snprintf(command, sizeof command, "ls %s/* | head -n 1", dir);
    FILE *f = popen(command, "r");
    if (!fgets(to, (int)size, f)) *to = '\0';
    to[strcspn(to, "\n")] = '\0';
    pclose(f);
    return to;
}

static void check_answer(struct store *s, struct ctx *ctx, const char *key, const char *want) {
    size_t n = 99;
    char *got = store_get(s, ctx, key, &n);
    if (!want) CHECK(!got, "'%s' gives '%s'", key, got);
    else CHECK(got && n == strlen(want) && !strcmp(got, want), "'%s' gives '%s', not '%s'", key, got ? got : "nothing", want);
    free(got);
}

static void damage(const char *path, long at, int with) {
    FILE *f = fopen(path, "r+b");
    fseek(f, at, SEEK_SET);
    fputc(with, f);
    fclose(f);
}

int main(void) {
    char dir[] = "/tmp/test_gpu_store.XXXXXX", path[256], command[300];
    struct ctx ctx = { .log = keep };
    struct store s;
    if (!mkdtemp(dir)) return 1;
    setenv("XDG_CACHE_HOME", dir, 1);
    unsetenv("DARKNET_GPU_CACHE");
    CHECK(store_open(&ctx, &s) == ST_OK && s.dir && strstr(s.dir, "/darknet/gpu"), "%s", s.dir);
    check_answer(&s, &ctx, "card 1|conv 3x3", NULL);
    store_put(&s, &ctx, "card 1|conv 3x3", "0 3 7\n{json}", 12);
    check_answer(&s, &ctx, "card 1|conv 3x3", "0 3 7\n{json}");
    check_answer(&s, &ctx, "card 2|conv 3x3", NULL);
    CHECK(lines == 0, "nothing to say yet: %s", last);
    only_file(s.dir, path, sizeof path);

    damage(path, 50, 'X'); /* in the answer */
    check_answer(&s, &ctx, "card 1|conv 3x3", NULL);
    CHECK(lines == 1 && strstr(last, "ignored"), "one line tells of it: %d, %s", lines, last);
    check_answer(&s, &ctx, "card 1|conv 3x3", NULL);
    CHECK(lines == 1, "and no second one");
    store_put(&s, &ctx, "card 1|conv 3x3", "1 3 8\n", 6);
    check_answer(&s, &ctx, "card 1|conv 3x3", "1 3 8\n");

    s.told = false;
    damage(path, 19, '9'); /* in the key: as if two keys had one hash */
    check_answer(&s, &ctx, "card 1|conv 3x3", NULL);
    CHECK(lines == 2, "another key is foreign");
    CHECK(truncate(path, 20) == 0, "truncate");
    check_answer(&s, &ctx, "card 1|conv 3x3", NULL);
    CHECK(io_write(&ctx, path, "", 0) == ST_OK, "%s", ctx.error);
    check_answer(&s, &ctx, "card 1|conv 3x3", NULL);
    store_close(&s);

    setenv("DARKNET_GPU_CACHE", path, 1); /* a file where the folder should be */
    CHECK(store_open(&ctx, &s) == ST_OK, "%s", ctx.error);
    lines = 0;
    store_put(&s, &ctx, "k", "v", 1), store_put(&s, &ctx, "k", "v", 1);
    CHECK(lines == 1 && strstr(last, "not kept") && ctx.code == ST_OK, "told once, no failure: %d %s", lines, last);
    check_answer(&s, &ctx, "k", NULL);
    store_close(&s);

    setenv("DARKNET_GPU_CACHE", "none", 1);
    CHECK(store_open(&ctx, &s) == ST_OK && !s.dir, "none keeps nothing");
    store_put(&s, &ctx, "k", "v", 1);
    check_answer(&s, &ctx, "k", NULL);
    store_close(&s);
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    CHECK(system(command) == 0, "%s", command);
    return test_end("gpu_store");
}
