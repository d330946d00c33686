/*
 * waitq.h - a word with a value, and the queue of those who wait for it to change.
 *
 * Every object of this folder is one of these with a meaning for the value.  Where nobody waits,
 * the value is changed by one compare-and-swap.  Else whoever changes anything first sets
 * WAITQ_LOCKED in the word: then nobody else changes word or queue, and waitq_unlock() stores the
 * new value and lets go in one store, which is also its last touch of the object.  So an object may
 * be freed as soon as its last use has taken effect.  README.md, "Word and queue".
 *
 * The lock bit is held for a few dozen instructions, never over a wait, an allocation or a call
 * out.
 */
#ifndef FILAR_BLOCK_WAITQ_H
#define FILAR_BLOCK_WAITQ_H

#include "base/atomic.h"
#include "base/list.h"
#include "base/lockrank.h"
#include "block/owner.h"
#include "green/waiter.h"

#define WAITQ_LOCKED  UINT64_C(1) /* somebody is changing word and queue */
#define WAITQ_WAITERS UINT64_C(2) /* the queue is not empty */
#define WAITQ_WAKING  UINT64_C(4) /* mutex: one that was woken is on its way to take it */
#define WAITQ_ONE     UINT64_C(64)

#define WAITQ_VALUE_MAX   ((UINT64_C(1) << 58) - 1)
#define WAITQ_VALUE(word) ((word) >> OWNER_FLAG_BITS)
#define WAITQ_WORD(value) ((uint64_t)(value) << OWNER_FLAG_BITS)

struct waitq {
	_Atomic uint64_t word; /* A  B1, B2 */
	struct list entries;   /* L  first come, first served */
};

/* One wait of one thread, on its stack. */
struct waitq_entry {
	struct list link;     /* L */
	struct waiter waiter; /* I */
	bool queued;          /* L  nobody has claimed it */
	/* For the object, set by the one that waits before it is queued, or by its waker. */
	bool granted;       /* what it waited for was given to it by the waker */
	uint32_t kind;      /* I */
	uint32_t losses;    /* I  mutex: times it was woken in vain */
	struct owner owner; /* I */
};

void waitq_init(struct waitq *queue, uint64_t value);
/* In the child of a fork: forgets the threads that waited in the parent; the value is kept.  Only
 * where no other thread was inside a call at the moment of the fork, except to wait. */
void waitq_after_fork(struct waitq *queue);

uint64_t waitq_lock_slow(struct waitq *queue);
/* The word as it was found, without WAITQ_LOCKED. */
static inline uint64_t waitq_lock(struct waitq *queue)
{
	uint64_t word = load_relaxed(&queue->word);

	lockrank_check(RANK_OBJECT, queue);
	/* B2: acquire; pairs with B1: what others did under the lock or before a fast change. */
	if (FILAR_LIKELY((word & WAITQ_LOCKED) == 0) &&
		cas_acquire(&queue->word, &word, word | WAITQ_LOCKED)) {
		lockrank_push(RANK_OBJECT, queue);
		return word;
	}
	return waitq_lock_slow(queue);
}
/* Publishes the word (its WAITQ_WAITERS is put right here) and lets go. */
static inline void waitq_unlock(struct waitq *queue, uint64_t word)
{
	word &= ~(WAITQ_LOCKED | WAITQ_WAITERS);
	if (!list_is_empty(&queue->entries))
		word |= WAITQ_WAITERS;
	lockrank_pop(RANK_OBJECT, queue);
	/* B1: release; pairs with B2 and with the acquiring loads of the fast paths. */
	store_release(&queue->word, word);
}

/* Locked.  For the calling thread, which then unlocks and waits. */
void waitq_push(struct waitq *queue, struct waitq_entry *entry);
void waitq_push_front(struct waitq *queue, struct waitq_entry *entry);
/* Locked.  The first one, or NULL; the caller has claimed it and must wake it. */
struct waitq_entry *waitq_pop(struct waitq *queue);
static inline struct waitq_entry *waitq_first(struct waitq *queue)
{
	return list_is_empty(&queue->entries)
		       ? NULL
		       : FILAR_CONTAINER_OF(queue->entries.next, struct waitq_entry, link);
}
/* Locked.  Claims all of them onto a list of the caller's. */
void waitq_pop_all(struct waitq *queue, struct list *claimed);
/* Locked.  Claims those of one kind. */
void waitq_pop_kind(struct waitq *queue, uint32_t kind, struct list *claimed);

/* Not locked.  The entries may be gone afterwards. */
void waitq_wake(struct waitq_entry *entry);
void waitq_wake_all(struct list *claimed);

/*
 * Not locked.  Waits until the entry was claimed and woken: FILAR_OK.  Else it is off the queue.
 */
enum filar_status waitq_wait_until(struct waitq *queue, struct waitq_entry *entry,
	int64_t deadline_ns, enum wait_reason reason, enum wait_shield shield);
/*
 * The same in two halves, for objects that must put something right when an entry leaves: after
 * waiter_wait_until() without FILAR_OK.  True: the entry is off the queue, which is locked, *word
 * as by waitq_lock().  False: a waker has claimed it and has now woken it; not locked.
 */
FILAR_MUST_USE bool waitq_take_back(
	struct waitq *queue, struct waitq_entry *entry, uint64_t *word, enum wait_reason reason);

#endif
