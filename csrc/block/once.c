/*
 * once.c - NEW -> RUNNING -> DONE, or back to NEW when the body failed.
 */
#include "block/once.h"

enum once_state {
	ONCE_NEW,     /* nobody has succeeded, nobody tries */
	ONCE_RUNNING, /* `owner` is at it */
	ONCE_DONE
};

void once_init(struct once *once)
{
	waitq_init(&once->queue, ONCE_NEW);
	once->owner = (struct owner){ 0, 0 };
}

bool once_is_done(struct once *once)
{
	/* B2: acquire; pairs with B1: what the body did. */
	return WAITQ_VALUE(load_acquire(&once->queue.word)) == ONCE_DONE;
}

/* RUNNING by the caller -> DONE or NEW. */
static enum filar_status run(struct once *once, once_body *body, void *argument)
{
	enum filar_status status = body(argument);
	struct list claimed;

	(void)waitq_lock(&once->queue);
	once->owner = (struct owner){ 0, 0 };
	waitq_pop_all(&once->queue, &claimed);
	waitq_unlock(&once->queue, WAITQ_WORD(status == FILAR_OK ? ONCE_DONE : ONCE_NEW));
	waitq_wake_all(&claimed);
	return status;
}

/* Locked, RUNNING; unlocks.  FILAR_OK: look again. */
static enum filar_status wait(
	struct once *once, uint64_t word, struct owner self, int64_t deadline_ns)
{
	struct waitq_entry entry = { .kind = 0 };

	if (once->owner.token == self.token && once->owner.number == self.number) {
		waitq_unlock(&once->queue, word);
		return status_detail(
			FILAR_DEADLOCK, "what is to be done once waits for its own end");
	}
	waitq_push(&once->queue, &entry);
	waitq_unlock(&once->queue, word);
	return waitq_wait_until(&once->queue, &entry, deadline_ns, WAIT_ONCE, WAIT_CANCELLABLE);
}

enum filar_status once_run_until(
	struct once *once, once_body *body, void *argument, int64_t deadline_ns)
{
	struct owner self = owner_self();
	enum filar_status status = FILAR_OK;

	while (status == FILAR_OK && !once_is_done(once)) {
		uint64_t word = waitq_lock(&once->queue);

		if (WAITQ_VALUE(word) == ONCE_RUNNING) {
			status = wait(once, word, self, deadline_ns);
		} else if (WAITQ_VALUE(word) == ONCE_NEW) {
			once->owner = self;
			waitq_unlock(&once->queue, WAITQ_WORD(ONCE_RUNNING));
			return run(once, body, argument);
		} else {
			waitq_unlock(&once->queue, word);
		}
	}
	return status;
}
