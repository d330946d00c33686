/*
 * sleeper.c - a place on a list, and the wait that goes with it; how a thread waits stands in
 * park.h.
 */
#include "py/sleeper.h"

#include "py/internal.h"
#include "py/park.h"

void sleeper_push(struct sleeper **list, struct sleeper *sleeper)
{
	sleeper->next = *list;
	*list = sleeper;
}

/* False: a waker has taken it. */
static bool take_back(struct sleeper **list, struct sleeper *sleeper, struct guard *guard)
{
	bool found;

	guard_lock(guard);
	while (*list != NULL && *list != sleeper)
		list = &(*list)->next;
	found = *list != NULL;
	if (found)
		*list = sleeper->next;
	guard_unlock(guard);
	return found;
}

void sleepers_wake(struct sleeper *list)
{
	while (list != NULL) {
		struct sleeper *next = list->next;

		waiter_wake(&list->waiter);
		list = next;
	}
}

static enum filar_status wait_once(void *argument, int64_t deadline_ns)
{
	struct sleeper *sleeper = argument;

	return waiter_wait_until(&sleeper->waiter, deadline_ns, WAIT_JOIN, WAIT_CANCELLABLE);
}

/* A waker has claimed it: soon over. */
static void wait_for_waker(void *argument)
{
	struct sleeper *sleeper = argument;

	(void)waiter_wait_until(&sleeper->waiter, DEADLINE_NEVER, WAIT_JOIN, WAIT_SHIELDED);
}

enum sleep_end sleeper_wait(struct sleeper *sleeper, struct sleeper **list, struct guard *guard,
	int64_t deadline_ns, bool *was_woken)
{
	enum filar_status status = py_wait_leaving(wait_once, sleeper, deadline_ns);
	enum sleep_end end = status == FILAR_TIMED_OUT ? SLEEP_TIMED_OUT : SLEEP_RAISED;

	if (status == FILAR_OK)
		return SLEEP_WOKEN;
	if (end == SLEEP_RAISED && status != FILAR_INTERRUPTED)
		border_raise(status);
	*was_woken = !take_back(list, sleeper, guard);
	if (*was_woken)
		py_wait_shielded(wait_for_waker, sleeper);
	else
		waiter_abandon(&sleeper->waiter);
	return *was_woken && end == SLEEP_TIMED_OUT ? SLEEP_WOKEN : end;
}
