/* The dropout mask: a uniform number in [0, 1) that depends on (seed, element index) alone, so that every backend, layout
 * and thread count drops the same elements.  Mixing constants: splitmix64 (Steele, Lea, Flood 2014). */
#ifndef BACKEND_HASH_H
#define BACKEND_HASH_H

#include <stdint.h>

#include "base/element_fn.h"

/* The seed whose element 0 is this one's element `first`. */
ELEMENT_FN uint64_t hash_seed_from(uint64_t seed, uint64_t first) { return seed + first * UINT64_C(0x9e3779b97f4a7c15); }

ELEMENT_FN float hash_uniform(uint64_t seed, uint64_t index) {
    uint64_t z = seed + (index + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return (float)(z >> 40) * 0x1p-24f;
}

#endif
