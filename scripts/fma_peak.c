/* Prints the GFLOP/s that independent fused multiply-adds reach on all threads together, the best of some tries of each: the peak against
 * which scripts/bench sets a network's rate.  Built there for the machine it runs on. */
#include <stdio.h>
#include <time.h>

#if defined(__AVX512F__)
enum { WIDTH = 16 };
#elif defined(__AVX__)
enum { WIDTH = 8 };
#else
enum { WIDTH = 4 };
#endif
enum { CHAINS = 12, STEPS = 100000, TRIES = 40 };
typedef float vec __attribute__((vector_size(4 * WIDTH)));

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float chains(void) {
    vec a, b, v[CHAINS];
    volatile float start = 1; /* chains that begin apart stay apart: equal ones would be computed once */
    for (int i = 0; i < WIDTH; ++i) a[i] = .999f, b[i] = .001f;
#pragma GCC unroll 16
    for (int c = 0; c < CHAINS; ++c) v[c] = b * start, start = start + 1;
    for (int s = 0; s < STEPS; ++s) {
#pragma GCC unroll 16
        for (int c = 0; c < CHAINS; ++c) v[c] = v[c] * a + b;
    }
    float sum = 0;
#pragma GCC unroll 16
    for (int c = 0; c < CHAINS; ++c) sum += v[c][0];
    return sum;
}

int main(void) {
    double rate = 0; /* each thread by its own clock: waiting for others does not count */
#pragma omp parallel reduction(+ : rate)
    {
        double best = 0;
        for (int t = 0; t < TRIES; ++t) {
            double start = seconds();
            if (chains() == 0) continue;
            double own = 2. * WIDTH * CHAINS * STEPS / (seconds() - start) / 1e9;
            if (own > best) best = own;
        }
        rate += best;
    }
    printf("%.0f\n", rate);
    return 0;
}
