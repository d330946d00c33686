/*
 * hard.c - what FILAR_HARD builds do at every atomic: now and then, give the CPU away.
 *
 * The choice is a hash of a seed and a per-thread step count, so a seed replays the same *choices*
 * (not the same interleaving: the kernel has its say).  FILAR_HARD_SEED in the environment sets it.
 */
#include "base/atomic.h"

#if FILAR_HARD
#include <sched.h>
#include <stdlib.h>

#include "base/random.h"

static _Atomic uint64_t hard_seed;
static __thread uint64_t hard_steps; /* test builds only: the library proper has one thread-local */

__attribute__((constructor)) static void hard_read_seed(void)
{
	const char *text = getenv("FILAR_HARD_SEED");

	atomic_store(&hard_seed, text != NULL ? strtoull(text, NULL, 0) : 1);
}

void hard_point(void)
{
	uint64_t mixed = random_mix(atomic_load_explicit(&hard_seed, memory_order_relaxed) +
				    (uint64_t)(uintptr_t)&hard_steps + hard_steps++);

	if ((mixed & 63) == 0)
		sched_yield();
}
#endif
