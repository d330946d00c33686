/*
 * waitq.c - the queue, and the end of a wait.
 */
#include "block/waitq.h"

#include "base/check.h"
#include "os/clock.h"
#include "sync/backoff.h"

void waitq_init(struct waitq *queue, uint64_t value)
{
	atomic_init(&queue->word, WAITQ_WORD(value));
	list_init(&queue->entries);
}

void waitq_after_fork(struct waitq *queue)
{
	uint64_t word = load_relaxed(&queue->word);

	list_init(&queue->entries);
	store_relaxed(&queue->word, word & ~(WAITQ_LOCKED | WAITQ_WAITERS | WAITQ_WAKING));
}

uint64_t waitq_lock_slow(struct waitq *queue)
{
	struct backoff backoff;

	backoff_init(&backoff);
	for (;;) {
		uint64_t word = load_relaxed(&queue->word);

		/* B2, again. */
		if ((word & WAITQ_LOCKED) == 0 &&
			cas_acquire(&queue->word, &word, word | WAITQ_LOCKED)) {
			lockrank_push(RANK_OBJECT, queue);
			return word;
		}
		backoff_wait(&backoff);
	}
}

static void prepare(struct waitq_entry *entry)
{
	waiter_init(&entry->waiter);
	entry->queued = true;
	entry->granted = false;
}

void waitq_push(struct waitq *queue, struct waitq_entry *entry)
{
	prepare(entry);
	list_push_back(&queue->entries, &entry->link);
}

void waitq_push_front(struct waitq *queue, struct waitq_entry *entry)
{
	prepare(entry);
	list_push_back(queue->entries.next, &entry->link);
}

struct waitq_entry *waitq_pop(struct waitq *queue)
{
	struct waitq_entry *entry = waitq_first(queue);

	if (entry == NULL)
		return NULL;
	list_remove(&entry->link);
	entry->queued = false;
	return entry;
}

void waitq_pop_all(struct waitq *queue, struct list *claimed)
{
	struct waitq_entry *entry;

	list_init(claimed);
	while ((entry = waitq_pop(queue)) != NULL)
		list_push_back(claimed, &entry->link);
}

void waitq_pop_kind(struct waitq *queue, uint32_t kind, struct list *claimed)
{
	struct list *link = queue->entries.next, *next;

	list_init(claimed);
	for (; link != &queue->entries; link = next) {
		struct waitq_entry *entry = FILAR_CONTAINER_OF(link, struct waitq_entry, link);

		next = link->next;
		if (entry->kind != kind)
			continue;
		list_remove(link);
		entry->queued = false;
		list_push_back(claimed, link);
	}
}

void waitq_wake(struct waitq_entry *entry)
{
	waiter_wake(&entry->waiter);
}

void waitq_wake_all(struct list *claimed)
{
	struct list *link;

	/* Taken off first: once it is woken, the entry is gone. */
	while ((link = list_pop_front(claimed)) != NULL)
		waitq_wake(FILAR_CONTAINER_OF(link, struct waitq_entry, link));
}

bool waitq_take_back(
	struct waitq *queue, struct waitq_entry *entry, uint64_t *word, enum wait_reason reason)
{
	enum filar_status status;

	*word = waitq_lock(queue);
	if (entry->queued) {
		list_remove(&entry->link);
		entry->queued = false;
		waiter_abandon(&entry->waiter);
		return true;
	}
	waitq_unlock(queue, *word);
	status = waiter_wait_until(&entry->waiter, DEADLINE_NEVER, reason, WAIT_SHIELDED);
	FILAR_CHECK_EQ(status, FILAR_OK);
	return false;
}

enum filar_status waitq_wait_until(struct waitq *queue, struct waitq_entry *entry,
	int64_t deadline_ns, enum wait_reason reason, enum wait_shield shield)
{
	enum filar_status status = waiter_wait_until(&entry->waiter, deadline_ns, reason, shield);
	uint64_t word;

	if (status == FILAR_OK || !waitq_take_back(queue, entry, &word, reason))
		return FILAR_OK;
	waitq_unlock(queue, word);
	return status;
}
