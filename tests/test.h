/* The whole test framework: counters, checks that go on after a failure, visible skips, one closing line. */
#ifndef TESTS_TEST_H
#define TESTS_TEST_H

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int test_passed_, test_failed_, test_skipped_;

#define CHECK(cond, ...)                                                                           \
    do {                                                                                           \
        if (cond) {                                                                                \
            ++test_passed_;                                                                        \
        } else {                                                                                   \
            ++test_failed_;                                                                        \
            printf("FAIL %s:%d: %s: ", __FILE__, __LINE__, #cond);                                 \
            printf(__VA_ARGS__);                                                                   \
            printf("\n");                                                                          \
        }                                                                                          \
    } while (0)

/* |a - b| <= tol * max(|a|, |b|, 1) */
#define CHECK_NEAR(a, b, tol, ...)                                                                 \
    do {                                                                                           \
        double a_ = (a), b_ = (b), m_ = fmax(fmax(fabs(a_), fabs(b_)), 1.0);                       \
        if (fabs(a_ - b_) <= (tol)*m_) {                                                           \
            ++test_passed_;                                                                        \
        } else {                                                                                   \
            ++test_failed_;                                                                        \
            printf("FAIL %s:%d: %s = %.9g, %s = %.9g: ", __FILE__, __LINE__, #a, a_, #b, b_);      \
            printf(__VA_ARGS__);                                                                   \
            printf("\n");                                                                          \
        }                                                                                          \
    } while (0)

#define SKIP(...)                                                                                  \
    do {                                                                                           \
        ++test_skipped_;                                                                           \
        printf("skip: ");                                                                          \
        printf(__VA_ARGS__);                                                                       \
        printf("\n");                                                                              \
    } while (0)

/* The larger of the two; no number is larger than any. */
static inline double test_worse(double worst, double off) { return isnan(off) ? INFINITY : fmax(worst, off); }

/* Root of the recorded data, or NULL (after a visible skip) when it is not there. */
static inline const char *test_data(const char *what) {
    const char *root = getenv("DARKNET_TEST_DATA");
    struct stat st;
    if (!root || !*root) root = "../shared/data";
    if (stat(root, &st) == 0) return root;
    SKIP("%s: no recorded data under %s (set DARKNET_TEST_DATA)", what, root);
    return NULL;
}

static inline int test_end(const char *name) {
    printf("%s: %d passed, %d failed, %d skipped\n", name, test_passed_, test_failed_, test_skipped_);
    return test_failed_ != 0;
}

#endif
