/*
 * waiter.h - one wait of one thread, green or kernel; everything that waits, waits through this.
 *
 * To wait:  waiter_init(&waiter); publish it where the waker looks (a queue under a lock, an atomic
 *           word); waiter_wait_until().  If that ends without FILAR_OK, take the waiter back from
 *           there; if it is gone, a waker has claimed it: wait once more, without deadline, with
 *           WAIT_SHIELDED; that wait ends soon, with FILAR_OK.
 * To wake:  take the waiter from where it was published (so that only one waker does), then
 *           waiter_wake().  It may be gone as soon as that has begun.
 *
 * A waiter lives on the stack of the thread that waits.  The wake may come at any moment after
 * waiter_init(), also before the wait.
 *
 * The word of a green thread's wait (green->park) is  ticket << 4 | shielded << 3 | state.  The
 * ticket grows with each waiter, so that a late cancel or deadline cannot hit the next wait.
 *
 * Always: only workers of the green thread's runtime change it.  Whoever wakes or cancels from
 * elsewhere posts a piece of work that does so.  With one worker no change is a read-modify-write.
 *
 *   RUNNING  -> WAITING                   waiter_init, owner, plain store
 *   WAITING  -> PARKED                    on the next stack, registers saved
 *   WAITING | PARKED -> WOKEN             waiter_wake
 *   WAITING | PARKED -> TIMED_OUT         the deadline
 *   WAITING | PARKED -> CANCELLED         green_cancel, unless shielded
 *   TIMED_OUT | CANCELLED -> WOKEN        waiter_wake: the waker was late, but it had claimed us
 *   TIMED_OUT | CANCELLED -> WAITING      owner waits once more
 *   WOKEN    -> RUNNING                   owner
 *
 * Whoever takes it out of PARKED owns the green thread and makes it runnable.
 */
#ifndef FILAR_GREEN_WAITER_H
#define FILAR_GREEN_WAITER_H

#include "green/green.h"

enum park_state {
	PARK_RUNNING,
	PARK_WAITING,
	PARK_PARKED,
	PARK_WOKEN,
	PARK_TIMED_OUT,
	PARK_CANCELLED
};

#define PARK_STATE_MASK          UINT64_C(7)
#define PARK_STATE(word)         ((uint32_t)((word)&PARK_STATE_MASK))
#define PARK_SHIELDED            UINT64_C(8)
#define PARK_TICKET(word)        ((word) >> 4)
#define PARK_WORD(ticket, state) ((ticket) << 4 | (uint64_t)(state))

struct waiter {
	struct green *green; /* I  NULL: a kernel thread */
	union {
		uint64_t ticket;       /* I  of a green thread's wait */
		_Atomic uint32_t word; /* A  of a kernel thread's: futex */
	};
	struct work work; /* S  a wake from elsewhere, on its way to a worker */
};

enum wait_shield { WAIT_CANCELLABLE, WAIT_SHIELDED };

/*
 * What goes on around the waits of a kernel thread: for a caller that must let go of something
 * while it sleeps, and look at its signals now and then (py/park.c and the interpreter lock). Every
 * wait calls leave(), sleeps, and calls come_back(), between wait_around_set() and the next one; so
 * an operation needs not know whether it will have to wait.  (Green threads have attendants for
 * that.)
 *
 * A wait that is not shielded is cut into slices; after each, and after a signal, look() says
 * whether the wait ends with FILAR_INTERRUPTED.  It may call anything, also wait, but with another
 * `around`.
 */
struct wait_around {
	void (*leave)(struct wait_around *around);
	void (*come_back)(struct wait_around *around);
	bool (*look)(struct wait_around *around, bool signalled);
	int64_t slice_ns; /* DEADLINE_NEVER: one slice */
};

/* For the calling kernel thread, NULL: nothing more; *before is the one before.  False: no memory
 * for it. */
bool wait_around_set(struct wait_around *around, struct wait_around **before);

/*
 * One sleep of a kernel thread with what goes on around it: sleep() until the time it is given (or
 * less long), as one slice.  is_over(): whether what is waited for has come.  FILAR_INTERRUPTED
 * only if the wait is to end.
 */
struct wait_sleep {
	enum filar_status (*sleep)(struct wait_sleep *sleep, int64_t until_ns);
	bool (*is_over)(struct wait_sleep *sleep);
};
enum filar_status wait_sleep_once(
	struct wait_sleep *sleep, int64_t deadline_ns, enum wait_shield shield);

/* Whether the caller holds something that it lets go of only while it waits, and that others may
 * need in order to wake it: then spinning is in vain. */
bool waiter_holds_something(void);

/* For the calling thread. */
void waiter_init(struct waiter *waiter);
/* For the caller that knows already who it is: green_self(). */
void waiter_init_for(struct waiter *waiter, struct green *self);
/* When it was never published, or taken back before any wait: forgets it. */
void waiter_abandon(struct waiter *waiter);
/* FILAR_OK: woken.  FILAR_TIMED_OUT, FILAR_CANCELLED (green threads), FILAR_INTERRUPTED (kernel
 * threads, by a signal; not when shielded): see the head of this file. */
enum filar_status waiter_wait_until(struct waiter *waiter, int64_t deadline_ns,
	enum wait_reason reason, enum wait_shield shield);
void waiter_wake(struct waiter *waiter);

/* For a waiter that was claimed: if it is a green thread that this worker, the caller's, may run,
 * and parked, it is woken and now the caller's, RUNNABLE on no queue; else NULL, and nothing has
 * changed. */
struct green *waiter_take_parked(struct waiter *waiter, struct worker *worker);

/* For switch.h: the registers are saved. WAITING -> PARKED, or runnable again. */
void waiter_commit(struct worker *worker, struct green *green);
/* For green_cancel(), after cancel_number was stored. */
void waiter_cancel_green(struct green *green);
void waiter_fire_deadline(struct deadline *deadline);

#endif
