/*
 * waiter.c - the transitions of waiter.h.  Labels G1 to G3 are those of sched/README.md,
 * "Park and unpark".
 */
#include "green/waiter.h"

#include "base/check.h"
#include "base/self.h"
#include "green/runtime.h"
#include "green/switch.h"
#include "os/clock.h"
#include "os/futex.h"

/* ---- kernel threads ---- */

enum { KERNEL_WAITING, KERNEL_SLEEPING, KERNEL_WOKEN };

static struct wait_around *around_here(void)
{
	struct self *self = self_get();

	return self != NULL ? self->around : NULL;
}

enum filar_status wait_sleep_once(
	struct wait_sleep *sleep, int64_t deadline_ns, enum wait_shield shield)
{
	struct wait_around *around = around_here();
	int64_t until_ns = deadline_ns;
	enum filar_status status;

	if (around == NULL)
		return sleep->sleep(sleep, deadline_ns);
	if (around->slice_ns != DEADLINE_NEVER && shield == WAIT_CANCELLABLE) {
		until_ns = clock_now_ns() + around->slice_ns;
		if (until_ns > deadline_ns)
			until_ns = deadline_ns;
	}
	around->leave(around);
	status = sleep->sleep(sleep, until_ns);
	around->come_back(around);
	if (sleep->is_over(sleep) || shield == WAIT_SHIELDED)
		return status;
	if (status == FILAR_INTERRUPTED || (status == FILAR_TIMED_OUT && until_ns < deadline_ns))
		return around->look(around, status == FILAR_INTERRUPTED) ? FILAR_INTERRUPTED
									 : FILAR_OK;
	return status;
}

struct futex_sleep {
	struct wait_sleep sleep;
	struct waiter *waiter;
};

static enum filar_status sleep_on_futex(struct wait_sleep *sleep, int64_t until_ns)
{
	struct waiter *waiter = FILAR_CONTAINER_OF(sleep, struct futex_sleep, sleep)->waiter;

	return futex_wait_until(&waiter->word, KERNEL_SLEEPING, until_ns);
}

static bool was_woken(struct wait_sleep *sleep)
{
	struct waiter *waiter = FILAR_CONTAINER_OF(sleep, struct futex_sleep, sleep)->waiter;

	return load_relaxed(&waiter->word) == KERNEL_WOKEN;
}

static enum filar_status kernel_wait_until(struct waiter *waiter, int64_t deadline_ns,
	enum wait_reason reason, enum wait_shield shield)
{
	struct futex_sleep sleep = { { sleep_on_futex, was_woken }, waiter };
	enum filar_status status = FILAR_OK;
	uint32_t found = KERNEL_WAITING;

	/* G5, on failure. */
	if (!cas_acq_rel(&waiter->word, &found, KERNEL_SLEEPING))
		return FILAR_OK;
	TRACE(TRACE_PARK, TRACE_ADDRESS(waiter), 0, reason);
	do {
		status = wait_sleep_once(&sleep.sleep, deadline_ns, shield);
		/* G5: acquire; pairs with G4. */
		found = load_acquire(&waiter->word);
	} while (found != KERNEL_WOKEN &&
		 (status == FILAR_OK || (status == FILAR_INTERRUPTED && shield == WAIT_SHIELDED)));
	if (found == KERNEL_WOKEN || !cas_acq_rel(&waiter->word, &found, KERNEL_WAITING))
		status = FILAR_OK;
	TRACE(TRACE_PARK_END, TRACE_ADDRESS(waiter), 0, status);
	return status;
}

static void kernel_wake(struct waiter *waiter)
{
	/* G4: release; pairs with G5.  The waiter may be gone after this; waking an address nobody
	 * sleeps on is harmless. */
	if (exchange_acq_rel(&waiter->word, KERNEL_WOKEN) != KERNEL_SLEEPING)
		return;
	TRACE(TRACE_UNPARK, TRACE_ADDRESS(waiter), 0, 0);
	futex_wake(&waiter->word, 1);
}

/* ---- green threads ---- */

/* The worker of the green thread's runtime that the caller stands on, or NULL. */
static struct worker *worker_of(struct green *green)
{
	struct worker *worker = worker_current();

	return worker != NULL && worker->scheduler == &green->runtime->scheduler ? worker : NULL;
}

/* *word -> desired, by a worker of the green thread's runtime: "Park and unpark", One writer. */
static FILAR_ALWAYS_INLINE bool change(
	struct worker *worker, struct green *green, uint64_t *word, uint64_t desired)
{
	if (worker->runq.shared)
		return cas_seq_cst(&green->park, word, desired);
	store_relaxed(&green->park, desired);
	return true;
}

/* Before it can run. */
static FILAR_ALWAYS_INLINE void trace_wake(
	struct worker *worker, struct green *green, enum trace_wake how)
{
	TRACE(TRACE_GREEN_WAKE, trace_green(worker->scheduler, green),
		how == TRACE_WAKE_WOKEN ? trace_runner(worker) : 0, how);
}

static enum trace_wake trace_outcome(enum park_state outcome)
{
	return outcome == PARK_TIMED_OUT   ? TRACE_WAKE_TIMED_OUT
	       : outcome == PARK_CANCELLED ? TRACE_WAKE_CANCELLED
					   : TRACE_WAKE_WOKEN;
}

/* PARKED -> RUNNABLE, by whoever took it out of PARKED. */
static void make_runnable(struct worker *worker, struct green *green)
{
	store_relaxed(&green->state, GREEN_RUNNABLE);
	scheduler_ready_next(worker, &green->work);
}

/* Ends the wait with that ticket.  False: it has another outcome already, or is over. */
static bool settle_wait(
	struct worker *worker, struct green *green, uint64_t ticket, enum park_state outcome)
{
	uint64_t word = load_acquire(&green->park);
	uint32_t state;

	FILAR_ASSERT(worker->scheduler == &green->runtime->scheduler);
	do {
		state = PARK_STATE(word);
		if (PARK_TICKET(word) != ticket || state == PARK_RUNNING || state == PARK_WOKEN)
			return false;
		if (outcome != PARK_WOKEN && state != PARK_WAITING && state != PARK_PARKED)
			return false;
		if (outcome == PARK_CANCELLED && (word & PARK_SHIELDED) != 0)
			return false;
		/* G2: acquire, the saved registers; pairs with G1.  Release, what the waker did;
		 * pairs with G3. */
	} while (!change(worker, green, &word, PARK_WORD(ticket, outcome)));
	trace_wake(worker, green, trace_outcome(outcome));
	if (state == PARK_PARKED)
		make_runnable(worker, green);
	return true;
}

struct green *waiter_take_parked(struct waiter *waiter, struct worker *worker)
{
	struct green *green = waiter->green;
	uint64_t word;

	if (green == NULL || &green->runtime->scheduler != worker->scheduler)
		return NULL;
	if (green->work.home != NULL && green->work.home != worker)
		return NULL;
	word = load_relaxed(&green->park);
	if (PARK_STATE(word) != PARK_PARKED)
		return NULL;
	FILAR_ASSERT(PARK_TICKET(word) == waiter->ticket);
	/* G2, again. */
	if (!change(worker, green, &word, PARK_WORD(PARK_TICKET(word), PARK_WOKEN)))
		return NULL;
	store_relaxed(&green->state, GREEN_RUNNABLE);
	trace_wake(worker, green, TRACE_WAKE_WOKEN);
	return green;
}

void waiter_fire_deadline(struct deadline *deadline)
{
	struct green *green = FILAR_CONTAINER_OF(deadline, struct green, deadline);

	(void)settle_wait(worker_here(), green, green->deadline_ticket, PARK_TIMED_OUT);
}

/* ---- wakes and cancels from elsewhere ---- */

static void run_wake(struct worker *worker, struct work *work)
{
	struct waiter *waiter = FILAR_CONTAINER_OF(work, struct waiter, work);

	FILAR_CHECK(settle_wait(worker, waiter->green, waiter->ticket, PARK_WOKEN));
}

static const struct work_class wake_class = { .name = "wake", .run = run_wake };

static void cancel_here(struct worker *worker, struct green *green)
{
	/* A read-modify-write after cancel_number was stored: "Park and unpark", Cancelling. */
	uint64_t word = worker->runq.shared ? fetch_add_seq_cst(&green->park, 0)
					    : load_relaxed(&green->park);

	(void)settle_wait(worker, green, PARK_TICKET(word), PARK_CANCELLED);
}

static void run_cancel(struct worker *worker, struct work *work)
{
	struct green *green = FILAR_CONTAINER_OF(work, struct green, cancel_work);

	/* G7: acquire; pairs with G6: the number of whoever relied on this post is visible. */
	exchange_acq_rel(&green->cancel_posted, 0);
	if (green_is_cancelled(green))
		cancel_here(worker, green);
}

static const struct work_class cancel_class = { .name = "cancel", .run = run_cancel };

void waiter_cancel_green(struct green *green)
{
	struct worker *worker = worker_of(green);

	if (worker != NULL) {
		cancel_here(worker, green);
		return;
	}
	/* G6: release, cancel_number; pairs with G7. One that is posted already will see it. */
	if (exchange_acq_rel(&green->cancel_posted, 1) != 0)
		return;
	green->cancel_work.class = &cancel_class;
	green->cancel_work.home = NULL;
	scheduler_submit(&green->runtime->scheduler, &green->cancel_work);
}

/* ---- waiting ---- */

void waiter_commit(struct worker *worker, struct green *green)
{
	uint64_t word = load_relaxed(&green->park);
	uint64_t parked = (word & ~PARK_STATE_MASK) | PARK_PARKED;

	store_relaxed(&green->state, GREEN_PARKED);
	TRACE(TRACE_GREEN_PARK, trace_green(worker->scheduler, green), 0,
		load_relaxed(&green->reason));
	/* G1: release, the saved registers; pairs with G2. */
	if (FILAR_LIKELY(PARK_STATE(word) == PARK_WAITING) &&
		change(worker, green, &word, parked)) {
		/* From here on the green thread may be running elsewhere, or be gone; its
		 * descriptor is still there, and the ticket tells. */
		if (worker->runq.shared && FILAR_UNLIKELY(green_is_cancelled(green)))
			(void)settle_wait(worker, green, PARK_TICKET(parked), PARK_CANCELLED);
		return;
	}
	/* The wake came first: RUNNING -> RUNNABLE. */
	store_relaxed(&green->state, GREEN_RUNNABLE);
	trace_wake(worker, green, TRACE_WAKE_EARLY);
	if (green->work.home != NULL)
		pinned_push(&worker->pinned, &green->work);
	else
		worker_push(worker, &green->work);
}

/* Ends a wait that is not parked, by its owner; false when somebody else was faster. */
static bool settle_own(struct green *green, uint64_t ticket, enum park_state outcome)
{
	uint64_t word = load_relaxed(&green->park);

	do {
		if (PARK_STATE(word) == PARK_WOKEN)
			return false;
	} while (!change(worker_here(), green, &word, PARK_WORD(ticket, outcome)));
	return true;
}

static enum filar_status may_wait(struct green *green)
{
	const struct attendant *attendant = green->runtime->attendant;

	return attendant != NULL && attendant->may_wait != NULL ? attendant->may_wait(green)
								: FILAR_OK;
}

static void park(struct green *green, const struct waiter *waiter, int64_t deadline_ns)
{
	struct worker *worker = worker_here();
	bool timed = deadline_ns != DEADLINE_NEVER;

	if (timed) {
		green->deadline.at_ns = deadline_ns;
		green->deadline.fire = waiter_fire_deadline;
		green->deadline_ticket = waiter->ticket;
		scheduler_add_deadline(worker->scheduler, &green->deadline);
	}
	COUNTER_ADD(worker, parks, 1);
	switch_away(worker, green, worker_pick(worker), LEAVING_PARK);
	if (timed)
		deadlines_cancel(&green->runtime->scheduler.deadlines, &green->deadline);
}

/* What a wait that was ended means, or FILAR_BUSY: it goes on. */
static FILAR_ALWAYS_INLINE enum filar_status outcome_of(struct green *green, uint64_t word)
{
	if (FILAR_LIKELY(PARK_STATE(word) == PARK_WOKEN)) {
		store_relaxed(&green->park, PARK_WORD(PARK_TICKET(word), PARK_RUNNING));
		return FILAR_OK;
	}
	switch (PARK_STATE(word)) {
	case PARK_TIMED_OUT:
		return FILAR_TIMED_OUT;
	case PARK_CANCELLED:
		/* A cancel meant for whoever had the slot before us is no cancel. */
		return green_is_cancelled(green) ? FILAR_CANCELLED : FILAR_BUSY;
	default:
		return FILAR_BUSY;
	}
}

static enum filar_status green_wait_until(struct green *green, struct waiter *waiter,
	int64_t deadline_ns, enum wait_reason reason, enum wait_shield shield)
{
	uint64_t waiting = PARK_WORD(waiter->ticket, PARK_WAITING) |
			   (shield == WAIT_SHIELDED ? PARK_SHIELDED : 0);
	enum filar_status status = FILAR_BUSY;

	store_relaxed(&green->reason, reason);
	while (status == FILAR_BUSY) {
		uint64_t word = load_acquire(&green->park);

		/* Whatever it was (a first wait, or once more after a deadline): WAITING, unless
		 * woken. */
		if (PARK_STATE(word) == PARK_WOKEN)
			return outcome_of(green, word);
		if (word != waiting && !change(worker_here(), green, &word, waiting))
			continue;
		if (shield == WAIT_CANCELLABLE && green_is_cancelled(green)) {
			if (settle_own(green, waiter->ticket, PARK_CANCELLED))
				return FILAR_CANCELLED;
			continue;
		}
		if (deadline_ns != DEADLINE_NEVER && deadline_ns <= clock_now_ns()) {
			if (settle_own(green, waiter->ticket, PARK_TIMED_OUT))
				return FILAR_TIMED_OUT;
			continue;
		}
		if (shield == WAIT_CANCELLABLE && green->work.home != NULL) {
			enum filar_status allowed = may_wait(green);

			if (allowed != FILAR_OK &&
				settle_own(green, waiter->ticket, PARK_CANCELLED))
				return allowed;
			if (allowed != FILAR_OK)
				continue;
		}
		park(green, waiter, deadline_ns);
		/* G3: acquire; pairs with G2. */
		status = outcome_of(green, load_acquire(&green->park));
	}
	store_relaxed(&green->reason, WAIT_NONE);
	return status;
}

/* ---- green and kernel threads ---- */

bool wait_around_set(struct wait_around *around, struct wait_around **before)
{
	struct self *self = self_get_or_create();

	if (self == NULL)
		return false;
	*before = self->around;
	self->around = around;
	return true;
}

bool waiter_holds_something(void)
{
	struct green *green = green_self();

	return green != NULL ? green->work.home != NULL : around_here() != NULL;
}

void waiter_init(struct waiter *waiter)
{
	waiter_init_for(waiter, green_self());
}

void waiter_init_for(struct waiter *waiter, struct green *green)
{
	waiter->green = green;
	if (green == NULL) {
		atomic_init(&waiter->word, KERNEL_WAITING);
		return;
	}
	/* A plain store: in RUNNING nobody else writes, and whoever still has an old ticket
	 * compares first. */
	waiter->ticket = PARK_TICKET(load_relaxed(&green->park)) + 1;
	store_relaxed(&green->park, PARK_WORD(waiter->ticket, PARK_WAITING));
	/* Here and not by the waker: one line less for one on another CPU to write. */
	waiter->work.class = &wake_class;
	waiter->work.home = green->work.home;
}

void waiter_abandon(struct waiter *waiter)
{
	if (waiter->green != NULL)
		store_relaxed(&waiter->green->park, PARK_WORD(waiter->ticket, PARK_RUNNING));
}

enum filar_status waiter_wait_until(struct waiter *waiter, int64_t deadline_ns,
	enum wait_reason reason, enum wait_shield shield)
{
	if (waiter->green == NULL)
		return kernel_wait_until(waiter, deadline_ns, reason, shield);
	return green_wait_until(waiter->green, waiter, deadline_ns, reason, shield);
}

void waiter_wake(struct waiter *waiter)
{
	struct green *green = waiter->green;
	struct worker *worker;
	uint64_t word;

	if (green == NULL) {
		kernel_wake(waiter);
		return;
	}
	worker = worker_of(green);
	if (worker == NULL) {
		TRACE(TRACE_GREEN_WAKE, trace_green(&green->runtime->scheduler, green),
			trace_runner(worker_current()), TRACE_WAKE_POSTED);
		scheduler_submit(&green->runtime->scheduler, &waiter->work);
		return;
	}
	word = load_relaxed(&green->park);
	/* What is mostly found; G2, again. */
	if (FILAR_LIKELY((word & ~PARK_SHIELDED) == PARK_WORD(waiter->ticket, PARK_PARKED)) &&
		change(worker, green, &word, PARK_WORD(waiter->ticket, PARK_WOKEN))) {
		trace_wake(worker, green, TRACE_WAKE_WOKEN);
		make_runnable(worker, green);
		return;
	}
	FILAR_CHECK(settle_wait(worker, green, waiter->ticket, PARK_WOKEN));
}
