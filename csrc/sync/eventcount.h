/*
 * eventcount.h - "sleep unless something changed": a condition variable for lock-free state.
 *
 * To wait:    ticket = eventcount_prepare_wait(); look again; then eventcount_cancel_wait() if
 * there is something to do after all, else eventcount_commit_wait_until(ticket, deadline). To
 * notify:  change the state, then eventcount_notify_one() or _all().
 *
 * Guarantee (proof in sync/README.md, "Eventcount"): if the change came after the waiter's last
 * look, the waiter does not sleep through the notify.  After D. Vyukov's eventcount.
 */
#ifndef FILAR_SYNC_EVENTCOUNT_H
#define FILAR_SYNC_EVENTCOUNT_H

#include "base/atomic.h"
#include "base/status.h"

struct eventcount {
	_Atomic uint32_t epoch;   /* A  grows with each notify that found a waiter */
	_Atomic uint32_t waiters; /* A  threads between prepare and the end of their wait */
};

void eventcount_init(struct eventcount *eventcount);
FILAR_MUST_USE uint32_t eventcount_prepare_wait(struct eventcount *eventcount);
void eventcount_cancel_wait(struct eventcount *eventcount);
/* FILAR_OK (notified since the ticket), FILAR_TIMED_OUT or FILAR_INTERRUPTED. */
enum filar_status eventcount_commit_wait_until(
	struct eventcount *eventcount, uint32_t ticket, int64_t deadline_ns);
/* Whether nobody has notified since the ticket.  For those who sleep elsewhere than in commit, and
 * whom the notifier knows how to wake there; they end their wait by eventcount_cancel_wait(). */
static inline bool eventcount_is_current(struct eventcount *eventcount, uint32_t ticket)
{
	/* E2, with seq_cst: the notifier looks for such sleepers after E4. */
	return load_seq_cst(&eventcount->epoch) == ticket;
}
/* True: one that slept in commit was woken. */
bool eventcount_notify_one(struct eventcount *eventcount);
/* The same, for one that eventcount_notify_masked() wakes only if the masks have a bit in common.
 */
enum filar_status eventcount_commit_wait_masked_until(
	struct eventcount *eventcount, uint32_t ticket, int64_t deadline_ns, uint32_t mask);
/* As eventcount_notify_one(): one whose mask has a bit in common, if such a one sleeps. */
bool eventcount_notify_one_of(struct eventcount *eventcount, uint32_t mask);
void eventcount_notify_masked(struct eventcount *eventcount, uint32_t mask);
void eventcount_notify_all(struct eventcount *eventcount);
/* A notify in two halves, for those who change the state under a lock and let go of it in between,
 * so that who is woken does not run into it.  announce: true if the second half is to follow; it
 * only wakes an address, so the eventcount may be gone by then. */
FILAR_MUST_USE bool eventcount_announce(struct eventcount *eventcount);
void eventcount_wake_announced(struct eventcount *eventcount, bool all);

#endif
