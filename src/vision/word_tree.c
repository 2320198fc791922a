#include "vision/word_tree.h"

#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/text.h"

static const char blanks[] = " \t\r";

/* "name parent" -> name (a piece of `line`, ended with NUL) and parent; false when it is something else. */
static bool split_line(char *line, char **name, int *parent) {
    const char *rest;
    *name = line + strspn(line, blanks);
    char *end = *name + strcspn(*name, blanks);
    if (!*end) return false;
    *end = '\0';
    char *number = end + 1 + strspn(end + 1, blanks);
    return text_int(number, parent, &rest) && rest[strspn(rest, blanks)] == '\0';
}

struct caps { size_t name, parent, group, child, size, offset; };

static enum status add_class(struct ctx *ctx, struct word_tree *t, struct caps *cap, const char *name, int parent) {
    size_t n = (size_t)t->n + 1, groups = (size_t)t->groups + 1;
    TRY(mem_grow(ctx, &t->name, &cap->name, n, sizeof *t->name));
    TRY(mem_grow(ctx, &t->parent, &cap->parent, n, sizeof *t->parent));
    TRY(mem_grow(ctx, &t->group, &cap->group, n, sizeof *t->group));
    TRY(mem_grow(ctx, &t->child, &cap->child, n, sizeof *t->child));
    TRY(mem_grow(ctx, &t->group_size, &cap->size, groups, sizeof *t->group_size));
    TRY(mem_grow(ctx, &t->group_offset, &cap->offset, groups, sizeof *t->group_offset));
    if (t->n == 0 || parent != t->parent[t->n - 1]) {
        t->group_offset[t->groups] = t->n;
        t->group_size[t->groups] = 0;
        if (parent >= 0) t->child[parent] = t->groups;
        ++t->groups;
    }
    ++t->group_size[t->groups - 1];
    t->name[t->n] = mem_text(ctx, name);
    t->parent[t->n] = parent;
    t->group[t->n] = t->groups - 1;
    t->child[t->n] = -1;
    ++t->n;
    return t->name[t->n - 1] ? ST_OK : ST_MEMORY;
}

static enum status parse(struct ctx *ctx, const char *path, char *text, struct word_tree *t) {
    struct caps cap = { 0 };
    int line = 0;
    for (char *next = text; *next;) {
        char *at = next, *end = strchr(next, '\n'), *name;
        int parent;
        next = end ? end + 1 : next + strlen(next);
        if (end) *end = '\0';
        ++line;
        if (at[strspn(at, blanks)] == '\0') continue;
        if (!split_line(at, &name, &parent))
            return ctx_fail(ctx, ST_FORMAT, "%s:%d: must be 'name parent', as in 'n00002137 -1'", path, line);
        if (parent < -1 || parent >= t->n)
            return ctx_fail(ctx, ST_FORMAT, "%s:%d: parent %d: must be -1 or one of the %d classes above this line", path, line,
                            parent, t->n);
        TRY(add_class(ctx, t, &cap, name, parent));
    }
    return t->n ? ST_OK : ctx_fail(ctx, ST_FORMAT, "%s: no classes in this tree", path);
}

enum status word_tree_read(struct ctx *ctx, const char *path, struct word_tree **out) {
    char *bytes;
    size_t size;
    *out = NULL;
    TRY(io_read(ctx, path, &bytes, &size));
    struct word_tree *t = mem_zero(ctx, 1, sizeof *t);
    enum status st = t ? parse(ctx, path, bytes, t) : ST_MEMORY;
    free(bytes);
    if (st == ST_OK) *out = t;
    else word_tree_free(t);
    return st;
}

void word_tree_free(struct word_tree *t) {
    if (!t) return;
    for (int i = 0; i < t->n; ++i) free(t->name[i]);
    free(t->name), free(t->parent), free(t->group), free(t->child), free(t->group_size), free(t->group_offset), free(t);
}

double word_tree_probability(const struct word_tree *t, const float *p, size_t stride, int class_id) {
    double product = 1;
    for (; class_id >= 0; class_id = t->parent[class_id]) product *= p[(size_t)class_id * stride];
    return product;
}

void word_tree_hierarchy(const struct word_tree *t, float *p, size_t stride, bool only_leaves) {
    for (int i = 0; i < t->n; ++i) /* parents stand before their children */
        if (t->parent[i] >= 0) p[(size_t)i * stride] *= p[(size_t)t->parent[i] * stride];
    for (int i = 0; only_leaves && i < t->n; ++i)
        if (t->child[i] >= 0) p[(size_t)i * stride] = 0;
}

enum status word_tree_leaves(struct ctx *ctx, const struct word_tree *t, const char *path, bool **others) {
    char *bytes, *rest;
    size_t size;
    int found = 0;
    bool *other = *others = mem_zero(ctx, (size_t)t->n, sizeof *other);
    if (!other) return ST_MEMORY;
    TRY(io_read(ctx, path, &bytes, &size));
    for (int i = 0; i < t->n; ++i) other[i] = true;
    for (char *line = strtok_r(bytes, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        line += strspn(line, blanks);
        line[strcspn(line, blanks)] = '\0';
        for (int i = 0; i < t->n; ++i)
            if (other[i] && strcmp(t->name[i], line) == 0) other[i] = false, ++found;
    }
    free(bytes);
    return found ? ST_OK : ctx_fail(ctx, ST_FORMAT, "%s: names no class of the tree; one name per line is needed", path);
}

int word_tree_top(const struct word_tree *t, const float *p, size_t stride, double thresh) {
    double reached = 1;
    int top = -1;
    for (int g = 0; g >= 0;) {
        int best = t->group_offset[g];
        for (int k = best + 1; k < t->group_offset[g] + t->group_size[g]; ++k)
            if (p[(size_t)k * stride] > p[(size_t)best * stride]) best = k;
        reached *= p[(size_t)best * stride];
        if (!(reached > thresh)) break;
        top = best;
        g = t->child[best];
    }
    return top;
}
