/*
 * event.c - one bit and those who wait for it.
 */
#include "block/event.h"

#include "base/check.h"
#include "os/clock.h"

void event_init(struct event *event, bool set)
{
	waitq_init(&event->queue, set);
}

bool event_is_set(struct event *event)
{
	/* B2: acquire; pairs with B1. */
	return WAITQ_VALUE(load_acquire(&event->queue.word)) != 0;
}

static enum filar_status wait_until(
	struct event *event, int64_t deadline_ns, enum wait_shield shield)
{
	struct waitq_entry entry = { .kind = 0 };
	uint64_t word;

	if (FILAR_LIKELY(event_is_set(event)))
		return FILAR_OK;
	word = waitq_lock(&event->queue);
	if (WAITQ_VALUE(word) != 0) {
		waitq_unlock(&event->queue, word);
		return FILAR_OK;
	}
	waitq_push(&event->queue, &entry);
	waitq_unlock(&event->queue, word);
	return waitq_wait_until(&event->queue, &entry, deadline_ns, WAIT_EVENT, shield);
}

enum filar_status event_wait_until(struct event *event, int64_t deadline_ns)
{
	return wait_until(event, deadline_ns, WAIT_CANCELLABLE);
}

void event_wait_shielded(struct event *event)
{
	enum filar_status status = wait_until(event, DEADLINE_NEVER, WAIT_SHIELDED);

	FILAR_CHECK_EQ(status, FILAR_OK);
}

/* Changes the value and wakes whoever waits. */
static void change(struct event *event, uint64_t value)
{
	struct list claimed;
	uint64_t word = load_relaxed(&event->queue.word);

	while ((word & (WAITQ_LOCKED | WAITQ_WAITERS)) == 0) {
		/* B1, by a compare-and-swap; also if it was set before, so that the caller's
		 * deeds are published. */
		if (cas_release(&event->queue.word, &word, WAITQ_WORD(value)))
			return;
	}
	word = waitq_lock(&event->queue);
	list_init(&claimed);
	if (value != 0)
		waitq_pop_all(&event->queue, &claimed);
	waitq_unlock(&event->queue, WAITQ_WORD(value));
	waitq_wake_all(&claimed);
}

void event_set(struct event *event)
{
	change(event, 1);
}

void event_reset(struct event *event)
{
	change(event, 0);
}
