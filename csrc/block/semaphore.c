/*
 * semaphore.c - units, handed from the one that releases to the one that waits.
 */
#include "block/semaphore.h"

#include "base/check.h"

void semaphore_init(struct semaphore *semaphore, uint64_t value, uint64_t max, const char *name)
{
	FILAR_ASSERT(value <= max && max <= WAITQ_VALUE_MAX);
	waitq_init(&semaphore->queue, value);
	semaphore->max = max;
	semaphore->name = name;
}

uint64_t semaphore_value(struct semaphore *semaphore)
{
	return WAITQ_VALUE(load_relaxed(&semaphore->queue.word));
}

/* Without a lock: true if it took one. */
static bool take_fast(struct semaphore *semaphore)
{
	uint64_t word = load_relaxed(&semaphore->queue.word);

	while (WAITQ_VALUE(word) > 0 && (word & WAITQ_LOCKED) == 0) {
		/* B2; pairs with B1. */
		if (cas_acquire(&semaphore->queue.word, &word, word - WAITQ_ONE))
			return true;
	}
	return false;
}

/* Locked by this, which also unlocks if it returns true. */
static bool take_locked(struct semaphore *semaphore, uint64_t *word)
{
	*word = waitq_lock(&semaphore->queue);
	if (WAITQ_VALUE(*word) == 0)
		return false;
	waitq_unlock(&semaphore->queue, *word - WAITQ_ONE);
	return true;
}

enum filar_status semaphore_acquire_until(struct semaphore *semaphore, int64_t deadline_ns)
{
	struct waitq_entry entry = { .kind = 0 };
	uint64_t word;

	if (FILAR_LIKELY(take_fast(semaphore)) || take_locked(semaphore, &word))
		return FILAR_OK;
	waitq_push(&semaphore->queue, &entry);
	waitq_unlock(&semaphore->queue, word);
	return waitq_wait_until(
		&semaphore->queue, &entry, deadline_ns, WAIT_SEMAPHORE, WAIT_CANCELLABLE);
}

enum filar_status semaphore_try_acquire(struct semaphore *semaphore)
{
	uint64_t word;

	if (take_fast(semaphore) || take_locked(semaphore, &word))
		return FILAR_OK;
	waitq_unlock(&semaphore->queue, word);
	return FILAR_BUSY;
}

static enum filar_status too_many(struct semaphore *semaphore, uint64_t value, uint64_t n)
{
	char object[OBJECT_TEXT_BYTES];

	object_describe("semaphore", semaphore->name, semaphore, object, sizeof object);
	return status_detail(FILAR_WRONG_STATE,
		"releasing %llu of %s, which has %llu, would make more than its maximum of %llu",
		(unsigned long long)n, object, (unsigned long long)value,
		(unsigned long long)semaphore->max);
}

enum filar_status semaphore_release(struct semaphore *semaphore, uint64_t n)
{
	uint64_t word = load_relaxed(&semaphore->queue.word);
	struct waitq_entry *entry;
	struct list claimed;

	while ((word & (WAITQ_LOCKED | WAITQ_WAITERS)) == 0) {
		if (n > semaphore->max - WAITQ_VALUE(word))
			return too_many(semaphore, WAITQ_VALUE(word), n);
		/* B1, by a compare-and-swap. */
		if (cas_release(&semaphore->queue.word, &word, word + WAITQ_WORD(n)))
			return FILAR_OK;
	}
	word = waitq_lock(&semaphore->queue);
	if (n > semaphore->max - WAITQ_VALUE(word)) {
		waitq_unlock(&semaphore->queue, word);
		return too_many(semaphore, WAITQ_VALUE(word), n);
	}
	list_init(&claimed);
	for (; n > 0 && (entry = waitq_pop(&semaphore->queue)) != NULL; n--)
		list_push_back(&claimed, &entry->link);
	waitq_unlock(&semaphore->queue, word + WAITQ_WORD(n));
	waitq_wake_all(&claimed);
	return FILAR_OK;
}
