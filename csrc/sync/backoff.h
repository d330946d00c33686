/*
 * backoff.h - what a thread does between two looks at a lock that is taken.
 *
 * First pauses, doubling up to BACKOFF_PAUSES_MAX: the holder is most likely running on another CPU
 * and about to let go.  After BACKOFF_ROUNDS looks it gives the CPU away at each look: then there
 * are more threads than CPUs, and the holder may be waiting for this very CPU.  All of it is
 * bounded and none of it sleeps, so a lock that uses this never needs a wake-up.
 */
#ifndef FILAR_SYNC_BACKOFF_H
#define FILAR_SYNC_BACKOFF_H

#include <sched.h>

#include "arch/cpu.h"
#include "base/compiler.h"

/* Sum of all pauses before the first yield: 1 + 2 + ... + 64 + 64 ... = some 300, about 2 to 13 us
 * on x86; a yield costs some 0.2 us, a time slice lost by not yielding 4,000. */
#if FILAR_HARD || FILAR_INTERLEAVE
#define BACKOFF_PAUSES_MAX 1u
#define BACKOFF_ROUNDS     1u
#else
#define BACKOFF_PAUSES_MAX 64u
#define BACKOFF_ROUNDS     10u
#endif

struct backoff {
	uint32_t pauses; /* W  before the next look */
	uint32_t rounds; /* W  looks so far, at most BACKOFF_ROUNDS */
};

static inline void backoff_init(struct backoff *backoff)
{
	backoff->pauses = 1;
	backoff->rounds = 0;
}

static inline void backoff_wait(struct backoff *backoff)
{
	if (backoff->rounds == BACKOFF_ROUNDS) {
		sched_yield();
		return;
	}
	backoff->rounds++;
	for (uint32_t i = 0; i < backoff->pauses; i++)
		cpu_pause();
	if (backoff->pauses < BACKOFF_PAUSES_MAX)
		backoff->pauses *= 2;
}

#endif
