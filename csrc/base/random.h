/*
 * random.h - a small generator for victims, shuffles and tests; never for secrets.
 *
 * splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014):
 * one 64-bit word of state, any seed is good, the sequence is the same everywhere.
 */
#ifndef FILAR_BASE_RANDOM_H
#define FILAR_BASE_RANDOM_H

#include <stdint.h>

struct random {
	uint64_t state; /* W */
};

static inline uint64_t random_mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static inline void random_init(struct random *random, uint64_t seed)
{
	random->state = seed;
}

static inline uint64_t random_next(struct random *random)
{
	return random_mix(random->state += UINT64_C(0x9e3779b97f4a7c15));
}

/* Uniform in [0, bound), bound > 0.  Multiply-shift (Lemire 2019) without the rejection step: the
 * bias is below bound / 2^32, which no use here can notice. */
static inline uint32_t random_below(struct random *random, uint32_t bound)
{
	return (uint32_t)(((random_next(random) >> 32) * bound) >> 32);
}

#endif
