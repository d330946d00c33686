/*
 * eventcount.c - two counters and a futex.  The labels are those of README.md, "Eventcount".
 */
#include "sync/eventcount.h"

#include <limits.h>

#include "base/check.h"
#include "os/futex.h"

void eventcount_init(struct eventcount *eventcount)
{
	atomic_init(&eventcount->epoch, 0);
	atomic_init(&eventcount->waiters, 0);
}

uint32_t eventcount_prepare_wait(struct eventcount *eventcount)
{
	/* E1: seq_cst, before the caller's second look at its state.  Pairs with E3. */
	fetch_add_seq_cst(&eventcount->waiters, 1);
	return load_seq_cst(&eventcount->epoch);
}

void eventcount_cancel_wait(struct eventcount *eventcount)
{
	uint32_t before = fetch_sub_seq_cst(&eventcount->waiters, 1);

	FILAR_CHECK(before > 0);
}

#define EVERYBODY UINT32_MAX

enum filar_status eventcount_commit_wait_masked_until(
	struct eventcount *eventcount, uint32_t ticket, int64_t deadline_ns, uint32_t mask)
{
	enum filar_status status = FILAR_OK;

	/* E2: acquire; pairs with E4: what was done before the notify is visible. */
	while (load_acquire(&eventcount->epoch) == ticket && status == FILAR_OK)
		status = futex_wait_masked_until(&eventcount->epoch, ticket, deadline_ns, mask);
	if (load_acquire(&eventcount->epoch) != ticket)
		status = FILAR_OK;
	eventcount_cancel_wait(eventcount);
	return status;
}

enum filar_status eventcount_commit_wait_until(
	struct eventcount *eventcount, uint32_t ticket, int64_t deadline_ns)
{
	return eventcount_commit_wait_masked_until(eventcount, ticket, deadline_ns, EVERYBODY);
}

bool eventcount_announce(struct eventcount *eventcount)
{
	/* E3: an RMW, not a load: it orders the caller's change (any order, even a plain store
	 * under a release) before the look at `waiters`.  Pairs with E1. */
	if (FILAR_LIKELY(fetch_add_seq_cst(&eventcount->waiters, 0) == 0))
		return false;
	/* E4: release; pairs with E2. */
	fetch_add_seq_cst(&eventcount->epoch, 1);
	return true;
}

void eventcount_wake_announced(struct eventcount *eventcount, bool all)
{
	(void)futex_wake_masked(&eventcount->epoch, all ? INT_MAX : 1, EVERYBODY);
}

/* Who sleeps already and is not meant sleeps on with an old ticket; the next notify may wake it. */
static int notify(struct eventcount *eventcount, int count, uint32_t mask)
{
	return eventcount_announce(eventcount) ? futex_wake_masked(&eventcount->epoch, count, mask)
					       : 0;
}

bool eventcount_notify_one(struct eventcount *eventcount)
{
	return notify(eventcount, 1, EVERYBODY) > 0;
}

bool eventcount_notify_one_of(struct eventcount *eventcount, uint32_t mask)
{
	if (!eventcount_announce(eventcount))
		return false;
	return futex_wake_masked(&eventcount->epoch, 1, mask) > 0 ||
	       futex_wake_masked(&eventcount->epoch, 1, EVERYBODY) > 0;
}

void eventcount_notify_all(struct eventcount *eventcount)
{
	(void)notify(eventcount, INT_MAX, EVERYBODY);
}

void eventcount_notify_masked(struct eventcount *eventcount, uint32_t mask)
{
	(void)notify(eventcount, INT_MAX, mask);
}
