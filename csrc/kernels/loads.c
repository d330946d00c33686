/*
 * loads.c - bodies that do nothing useful, in a known amount: computing, and waiting for memory.
 */
#include "kernels/kernels.h"

void kernel_spin(int64_t begin, int64_t end, void *ctx)
{
	const filar_spin *spin = ctx;
	uint64_t sum = 0;

	for (int64_t i = begin; i < end; i++) {
		uint64_t value = (uint64_t)i | 1;

		for (int64_t step = 0; step < spin->steps; step++) {
			value *= UINT64_C(6364136223846793005);
			FILAR_KEEP_IN_REGISTER(value);
		}
		sum += value;
	}
	if (spin->sink != NULL)
		fetch_add_relaxed((_Atomic uint64_t *)spin->sink, sum);
}

void kernel_chase(int64_t begin, int64_t end, void *ctx)
{
	const filar_chase *chase = ctx;

	for (int64_t i = begin; i < end; i++) {
		int64_t at = i;

		for (int64_t step = 0; step < chase->steps; step++)
			at = chase->next[at];
		chase->ends[i] = at;
	}
}
