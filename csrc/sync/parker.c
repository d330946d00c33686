/*
 * parker.c - three states on a futex word.
 *
 *   park:    NOTIFIED -> EMPTY and return;  EMPTY -> PARKED, sleep, then NOTIFIED -> EMPTY
 *   unpark:  any -> NOTIFIED; if it was PARKED, wake
 *
 * No lost wake-up: the sleeper sleeps only while the word is PARKED (the kernel compares under its
 * own lock), and unpark changes the word before it wakes.  The proof, step by step, is in
 * README.md, "Parker".
 */
#include "sync/parker.h"

#include "base/check.h"
#include "base/tracepoint.h"
#include "os/clock.h"
#include "os/futex.h"

enum { EMPTY, PARKED, NOTIFIED };

void parker_init(struct parker *parker)
{
	atomic_init(&parker->word, EMPTY);
}

/* Sleeping is over without a permit: PARKED -> EMPTY, unless a permit came in the meantime. */
static enum filar_status give_up(struct parker *parker, enum filar_status reason)
{
	/* P2: as in parker_park_until(): a permit found here carries what happened before unpark.
	 */
	if (exchange_acquire(&parker->word, EMPTY) == NOTIFIED)
		return FILAR_OK;
	return reason;
}

enum filar_status parker_park_until(struct parker *parker, int64_t deadline_ns)
{
	uint32_t found = EMPTY;
	enum filar_status status;

	if (!cas_acquire(&parker->word, &found, PARKED)) {
		FILAR_CHECK_EQ(found, NOTIFIED);
		/* P2: pairs with P1: what happened before unpark is visible. */
		found = exchange_acquire(&parker->word, EMPTY);
		FILAR_CHECK_EQ(found, NOTIFIED);
		return FILAR_OK;
	}
	TRACE(TRACE_PARK, TRACE_ADDRESS(parker), 0, 0);
	for (;;) {
		status = futex_wait_until(&parker->word, PARKED, deadline_ns);
		found = NOTIFIED;
		/* P2, again. */
		if (cas_acquire(&parker->word, &found, EMPTY))
			status = FILAR_OK;
		else if (status != FILAR_OK)
			status = give_up(parker, status);
		else
			continue;
		TRACE(TRACE_PARK_END, TRACE_ADDRESS(parker), 0, status);
		return status;
	}
}

void parker_unpark(struct parker *parker)
{
	/* P1: release; pairs with P2. */
	if (exchange_release(&parker->word, NOTIFIED) != PARKED)
		return;
	TRACE(TRACE_UNPARK, TRACE_ADDRESS(parker), 0, 0);
	/* The owner may return and free the parker between the exchange and this wake.  That is
	 * harmless to the kernel: a wake on an address with no waiters does nothing. */
	futex_wake(&parker->word, 1);
}
