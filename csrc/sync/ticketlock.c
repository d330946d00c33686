/*
 * ticketlock.c - draw a number, wait for it.  The labels are those of README.md, "Locks".
 */
#include "sync/ticketlock.h"

#include "base/check.h"
#include "sync/backoff.h"

/* Pauses for each thread ahead of us: about what one short section takes. */
#define PAUSES_EACH 4u
#define AHEAD_MAX   16u

void ticketlock_init(struct ticketlock *lock)
{
	atomic_init(&lock->next, 0);
	atomic_init(&lock->serving, 0);
}

/* Waits in proportion to the queue; a doubling backoff could sleep through its own turn, which
 * nobody else can take. */
static void wait_for_turn(struct backoff *backoff, uint32_t ahead)
{
	backoff->pauses = (ahead < AHEAD_MAX ? ahead : AHEAD_MAX) * PAUSES_EACH;
	backoff_wait(backoff);
}

void ticketlock_lock(struct ticketlock *lock)
{
	/* Relaxed: the number carries nothing; what the holder before us wrote comes with T2. */
	uint32_t mine = fetch_add_relaxed(&lock->next, 1), now;
	struct backoff backoff;

	backoff_init(&backoff);
	/* T2: acquire; pairs with T1 in ticketlock_unlock(): the section before is visible. */
	while ((now = load_acquire(&lock->serving)) != mine)
		wait_for_turn(&backoff, mine - now);
}

bool ticketlock_trylock(struct ticketlock *lock)
{
	/* T2, again.  An old value is harmless: the CAS then finds a larger `next`. */
	uint32_t serving = load_acquire(&lock->serving);

	return cas_relaxed(&lock->next, &serving, serving + 1);
}

void ticketlock_unlock(struct ticketlock *lock)
{
	uint32_t mine = load_relaxed(&lock->serving);

	FILAR_ASSERT(load_relaxed(&lock->next) != mine);
	/* T1: release; pairs with T2. */
	store_release(&lock->serving, mine + 1);
}
