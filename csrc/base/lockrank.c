/*
 * lockrank.c - what each kernel thread holds, and whether it may take one more.
 */
#include "base/lockrank.h"

#if FILAR_LOCKRANK
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"

#define HELD_MAX 32

static const char *const rank_names[] = {
#define X(name, text) text,
	LOCK_RANKS(X)
#undef X
};

struct held {
	enum lock_rank rank;
	const void *lock;
};

/* Debug builds only: the library proper has one thread-local.  Nothing of it is kept over a switch:
 * none of these locks is. */
static __thread struct held held[HELD_MAX];
static __thread unsigned held_count;
/* Of a select of very many channels: a larger array is more than a library that is loaded later may
 * have in thread-locals. */
static __thread unsigned held_untold;

FILAR_NORETURN static void stop(const struct held *holds, enum lock_rank rank, const void *lock)
{
	fprintf(stderr, "filar: locks in the wrong order: holds \"%s\" (%p), wants \"%s\" (%p)\n",
		rank_names[holds->rank], holds->lock, rank_names[rank], lock);
	check_failed(__FILE__, __LINE__, "locks are taken in the order of lockrank.h");
}

FILAR_NOINLINE void lockrank_check(enum lock_rank rank, const void *lock)
{
	for (unsigned i = 0; i < held_count && rank != RANK_NONE; i++) {
		if (held[i].rank > rank || (held[i].rank == rank && held[i].lock >= lock))
			stop(&held[i], rank, lock);
	}
}

FILAR_NOINLINE void lockrank_push(enum lock_rank rank, const void *lock)
{
	if (rank == RANK_NONE)
		return;
	if (held_count < HELD_MAX)
		held[held_count++] = (struct held){ rank, lock };
	else
		held_untold++;
}

FILAR_NOINLINE void lockrank_pop(enum lock_rank rank, const void *lock)
{
	unsigned i = held_count;

	if (rank == RANK_NONE)
		return;
	while (i > 0 && held[i - 1].lock != lock)
		i--;
	FILAR_CHECK(i > 0 || held_untold > 0);
	if (i > 0)
		held[i - 1] = held[--held_count];
	else
		held_untold--;
}
#endif
