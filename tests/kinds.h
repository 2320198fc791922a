/* The backends that are held to the reference: those that this build and this machine have. */
#ifndef TESTS_KINDS_H
#define TESTS_KINDS_H

#include "backend/backend.h"
#include "test.h"

enum { MAX_KINDS = 3 };

/* Their names, the cpu first; says once per program when a GPU is missing. */
static inline int fast_kinds(const char **kinds) {
    static bool said;
    char why[256];
    int n = 0, gpus = backend_gpus(why, sizeof why);
    kinds[n++] = "cpu";
    kinds[n++] = "cuda-emulated";
    if (gpus > 0) kinds[n++] = "cuda";
    if (gpus == 0 && !said) SKIP("no CUDA device (%s)", why);
    said = true;
    return n;
}

/* Those of them that are fast enough for recorded networks. */
static inline int golden_kinds(const char **kinds) {
    int n = fast_kinds(kinds), kept = 0;
    for (int i = 0; i < n; ++i)
        if (strcmp(kinds[i], "cuda-emulated") != 0) kinds[kept++] = kinds[i];
    return kept;
}

#endif
