/*
 * mcslock.c - join at the tail, spin at home.  The labels are those of README.md, "Locks".
 *
 *   lock:     tail -> my node; if there was a node before, it->next = mine, wait until it wakes me
 *   unlock:   no successor and tail still mine: tail -> NULL;  else wake the successor
 */
#include "sync/mcslock.h"

#include "base/check.h"
#include "sync/backoff.h"

void mcslock_init(struct mcslock *lock)
{
	atomic_init(&lock->tail, NULL);
}

static void node_init(struct mcsnode *node)
{
	store_relaxed(&node->next, NULL);
	store_relaxed(&node->waiting, true);
}

void mcslock_lock(struct mcslock *lock, struct mcsnode *node)
{
	struct mcsnode *before;
	struct backoff backoff;

	node_init(node);
	/* M2: acquire half; pairs with M1: the section before is visible if the lock was free.
	 * M3: release half: a successor that finds this node finds it initialised.  Pairs with M2,
	 * the successor's. */
	before = exchange_acq_rel(&lock->tail, node);
	if (before == NULL)
		return;
	/* M4: release: the one before finds this node initialised (waiting is true).  Pairs with
	 * M5. */
	store_release(&before->next, node);
	backoff_init(&backoff);
	/* M7: acquire; pairs with M6: the section before is visible. */
	while (load_acquire(&node->waiting))
		backoff_wait(&backoff);
}

bool mcslock_trylock(struct mcslock *lock, struct mcsnode *node)
{
	struct mcsnode *found = NULL;

	if (load_relaxed(&lock->tail) != NULL)
		return false;
	node_init(node);
	/* M2 and M3, again. */
	return cas_acq_rel(&lock->tail, &found, node);
}

/* Our successor, or NULL when the queue is empty behind us and the lock has been let go. */
static struct mcsnode *successor_or_release(struct mcslock *lock, struct mcsnode *node)
{
	struct mcsnode *found = node, *next;
	struct backoff backoff;

	/* M5: acquire; pairs with M4. */
	next = load_acquire(&node->next);
	if (next != NULL)
		return next;
	/* M1: release; pairs with M2. */
	if (cas_release(&lock->tail, &found, NULL))
		return NULL;
	/* Somebody stands behind us (tail moved on) and is about to say so. */
	backoff_init(&backoff);
	while ((next = load_acquire(&node->next)) == NULL) /* M5, again */
		backoff_wait(&backoff);
	return next;
}

void mcslock_unlock(struct mcslock *lock, struct mcsnode *node)
{
	struct mcsnode *next;

	FILAR_ASSERT(load_relaxed(&lock->tail) != NULL);
	next = successor_or_release(lock, node);
	/* M6: release; pairs with M7.  From here on `next` may be gone: it is its owner's again. */
	if (next != NULL)
		store_release(&next->waiting, false);
}
