/*
 * cond.c - README.md, "Condition", says why no signal is lost.
 */
#include "block/cond.h"

#include "base/check.h"

void cond_init(struct cond *cond)
{
	waitq_init(&cond->queue, 0);
}

enum filar_status cond_wait_until(struct cond *cond, struct mutex *mutex, int64_t deadline_ns)
{
	struct waitq_entry entry = { .kind = 0 };
	enum filar_status status;
	uint64_t word;

	if (!mutex_is_mine(mutex)) {
		char object[OBJECT_TEXT_BYTES], holder[OWNER_TEXT_BYTES], self[OWNER_TEXT_BYTES];

		object_describe("mutex", mutex->name, mutex, object, sizeof object);
		owner_describe(mutex_owner(mutex), holder, sizeof holder);
		owner_describe_self(self, sizeof self);
		return status_detail(FILAR_WRONG_STATE,
			"a wait for a condition needs %s to be held by the caller, %s; it is held by %s",
			object, self, holder);
	}
	word = waitq_lock(&cond->queue);
	waitq_push(&cond->queue, &entry);
	waitq_unlock(&cond->queue, word);
	status = mutex_unlock(mutex);
	FILAR_CHECK_EQ(status, FILAR_OK);
	status = waitq_wait_until(&cond->queue, &entry, deadline_ns, WAIT_COND, WAIT_CANCELLABLE);
	mutex_lock_shielded(mutex);
	return status;
}

/* Relaxed is enough: who changed the state under the mutex after a waiter had looked at it has
 * taken the mutex after that waiter was queued. */
static bool nobody_waits(struct cond *cond)
{
	return (load_relaxed(&cond->queue.word) & WAITQ_WAITERS) == 0;
}

void cond_signal(struct cond *cond)
{
	struct waitq_entry *entry;
	uint64_t word;

	if (nobody_waits(cond))
		return;
	word = waitq_lock(&cond->queue);
	entry = waitq_pop(&cond->queue);
	waitq_unlock(&cond->queue, word);
	if (entry != NULL)
		waitq_wake(entry);
}

void cond_broadcast(struct cond *cond)
{
	struct list claimed;
	uint64_t word;

	if (nobody_waits(cond))
		return;
	word = waitq_lock(&cond->queue);
	waitq_pop_all(&cond->queue, &claimed);
	waitq_unlock(&cond->queue, word);
	waitq_wake_all(&claimed);
}
