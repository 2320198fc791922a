/* Word trees: reading, probabilities down the hierarchy, top predictions. */
#include "test.h"
#include "vision/word_tree.h"

#include <unistd.h>

static struct ctx ctx;

static struct word_tree *read_text(const char *text) {
    char path[] = "/tmp/test_tree_XXXXXX";
    int fd = mkstemp(path);
    struct word_tree *t = NULL;
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
        SKIP("no temporary file");
        return NULL;
    }
    close(fd);
    ctx_clear(&ctx);
    word_tree_read(&ctx, path, &t);
    unlink(path);
    return t;
}

static void expect_error(const char *text, const char *part) {
    struct word_tree *t = read_text(text);
    CHECK(!t && strstr(ctx.error, part) && !strchr(ctx.error, '\n'), "'%s' has no '%s'", ctx.error, part);
    word_tree_free(t);
}

int main(void) {
    struct word_tree *t = read_text("animal -1\nthing -1\r\n\ncat 0\ndog 0\npoodle 3\nbeagle\t3 \nfish 0");
    if (!t) {
        CHECK(false, "%s", ctx.error);
        return test_end("tree");
    }
    CHECK(t->n == 7 && t->groups == 4, "%d classes in %d groups", t->n, t->groups);
    const int parent[] = { -1, -1, 0, 0, 3, 3, 0 }, group[] = { 0, 0, 1, 1, 2, 2, 3 }, child[] = { 3, -1, -1, 2, -1, -1, -1 };
    for (int i = 0; i < t->n; ++i)
        CHECK(t->parent[i] == parent[i] && t->group[i] == group[i] && t->child[i] == child[i], "class %d: %d %d %d", i, t->parent[i],
              t->group[i], t->child[i]);
    CHECK(!strcmp(t->name[1], "thing") && !strcmp(t->name[5], "beagle"), "%s %s", t->name[1], t->name[5]);
    CHECK(t->group_offset[2] == 4 && t->group_size[2] == 2, "group 2");
    word_tree_free(t);

    t = read_text("animal -1\nthing -1\ncat 0\ndog 0\npoodle 3\nbeagle 3\n");
    const float p[] = { .8f, .2f, .25f, .75f, .6f, .4f }, product[] = { .8f, .2f, .2f, .6f, .36f, .24f };
    float apart[12], all[6], leaves[6];
    for (int i = 0; i < 6; ++i) apart[2 * i] = p[i], apart[2 * i + 1] = 99, leaves[i] = all[i] = p[i];
    word_tree_hierarchy(t, all, 1, false);
    word_tree_hierarchy(t, leaves, 1, true);
    for (int i = 0; i < 6; ++i) {
        CHECK_NEAR(word_tree_probability(t, p, 1, i), product[i], 1e-6, "class %d", i);
        CHECK_NEAR(word_tree_probability(t, apart, 2, i), product[i], 1e-6, "class %d, two apart", i);
        CHECK_NEAR(all[i], product[i], 1e-6, "class %d", i);
        CHECK_NEAR(leaves[i], i == 0 || i == 3 ? 0 : product[i], 1e-6, "leaf %d", i);
    }
    word_tree_hierarchy(t, apart, 2, false);
    CHECK(apart[1] == 99 && fabsf(apart[10] - .24f) < 1e-6f, "strides are kept to");
    CHECK(word_tree_top(t, p, 1, .3) == 4 && word_tree_top(t, p, 1, .5) == 3 && word_tree_top(t, p, 1, .7) == 0, "top");
    CHECK(word_tree_top(t, p, 1, .9) == -1, "nothing is sure enough");
    word_tree_free(t);

    expect_error("", "no classes");
    expect_error("animal\n", ":1: must be 'name parent'");
    expect_error("animal -1\ncat x\n", ":2: must be 'name parent'");
    expect_error("animal -1\ncat 0 7\n", ":2: must be");
    expect_error("animal -1\ncat 1\n", ":2: parent 1");
    expect_error("animal 0\n", ":1: parent 0");
    expect_error("animal -2\n", ":1: parent -2");
    word_tree_free(NULL);
    CHECK(word_tree_read(&ctx, "/no/such/tree", &t) == ST_IO || ctx.code != ST_OK, "missing file");
    return test_end("tree");
}
