/* Explicit pseudo-random streams: xoshiro256** seeded through splitmix64 (Blackman & Vigna 2018).
 * A stream is a pure function of its key, so work split over threads stays reproducible. */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdint.h>

struct rng { uint64_t s[4]; };

/* The stream of (seed, a, b): e.g. seed, iteration, image in the batch. */
struct rng rng_stream(uint64_t seed, uint64_t a, uint64_t b);
uint64_t rng_u64(struct rng *r);
double rng_uniform(struct rng *r);                         /* [0, 1) */
double rng_between(struct rng *r, double low, double high);  /* [low, high) */
int rng_int(struct rng *r, int low, int high);             /* low..high inclusive */
double rng_normal(struct rng *r);                          /* mean 0, deviation 1 */

#endif
