/*
 * latch.c - a number that falls to zero; the waitgroup's as well.
 */
#include "block/latch.h"

#include "base/check.h"
#include "os/clock.h"

void latch_init(struct latch *latch, uint64_t count, const char *name)
{
	FILAR_ASSERT(count <= WAITQ_VALUE_MAX);
	waitq_init(&latch->queue, count);
	latch->reason = WAIT_LATCH;
	latch->name = name;
}

uint64_t latch_missing(struct latch *latch)
{
	/* B2: acquire; pairs with B1: what those did that arrived. */
	return WAITQ_VALUE(load_acquire(&latch->queue.word));
}

static enum filar_status too_many(struct latch *latch, uint64_t missing, uint64_t n)
{
	char object[OBJECT_TEXT_BYTES];

	object_describe(wait_reason_name(latch->reason), latch->name, latch, object, sizeof object);
	return status_detail(FILAR_WRONG_STATE, "%llu cannot arrive at %s, where %llu are missing",
		(unsigned long long)n, object, (unsigned long long)missing);
}

enum filar_status latch_count_down(struct latch *latch, uint64_t n)
{
	uint64_t word = load_relaxed(&latch->queue.word);
	struct list claimed;

	/* Only the last one has to look at the queue. */
	while ((word & WAITQ_LOCKED) == 0 &&
		((word & WAITQ_WAITERS) == 0 || n < WAITQ_VALUE(word))) {
		if (n > WAITQ_VALUE(word))
			return too_many(latch, WAITQ_VALUE(word), n);
		/* B1, by a compare-and-swap. */
		if (cas_release(&latch->queue.word, &word, word - WAITQ_WORD(n)))
			return FILAR_OK;
	}
	word = waitq_lock(&latch->queue);
	if (n > WAITQ_VALUE(word)) {
		waitq_unlock(&latch->queue, word);
		return too_many(latch, WAITQ_VALUE(word), n);
	}
	list_init(&claimed);
	if (n == WAITQ_VALUE(word))
		waitq_pop_all(&latch->queue, &claimed);
	waitq_unlock(&latch->queue, word - WAITQ_WORD(n));
	waitq_wake_all(&claimed);
	return FILAR_OK;
}

static enum filar_status wait_until(
	struct latch *latch, int64_t deadline_ns, enum wait_shield shield)
{
	struct waitq_entry entry = { .kind = 0 };
	uint64_t word;

	if (latch_missing(latch) == 0)
		return FILAR_OK;
	word = waitq_lock(&latch->queue);
	if (WAITQ_VALUE(word) == 0) {
		waitq_unlock(&latch->queue, word);
		return FILAR_OK;
	}
	waitq_push(&latch->queue, &entry);
	waitq_unlock(&latch->queue, word);
	return waitq_wait_until(&latch->queue, &entry, deadline_ns, latch->reason, shield);
}

enum filar_status latch_wait_until(struct latch *latch, int64_t deadline_ns)
{
	return wait_until(latch, deadline_ns, WAIT_CANCELLABLE);
}

void latch_wait_shielded(struct latch *latch)
{
	(void)wait_until(latch, DEADLINE_NEVER, WAIT_SHIELDED);
}
