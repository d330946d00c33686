/*
 * stress_locks.c - hunts two holders at once, lost turns and lines that are read too early.
 */
#include "stress.h"
#include "sync/mcslock.h"
#include "sync/spinlock.h"
#include "sync/ticketlock.h"

struct guarded {
	struct spinlock spin;
	struct ticketlock ticket;
	struct mcslock mcs;
	/* Plain on purpose: only the lock orders them; ThreadSanitizer reports what it does not. */
	int64_t low, high;
	int holder;
	_Atomic int64_t done;
};

/* Three stores with a look in between: another holder would be seen, or would see us. */
static void section(struct guarded *guarded, struct stress_thread *self)
{
	CHECK_EQ(guarded->holder, -1);
	guarded->holder = self->index;
	CHECK_EQ(guarded->low, guarded->high);
	guarded->low++;
	if (random_below(&self->random, 64) == 0)
		sched_yield(); /* the holder loses its CPU: the case locks without sleep fear */
	guarded->high++;
	CHECK_EQ(guarded->holder, self->index);
	guarded->holder = -1;
}

static void use_spin(struct stress_thread *self)
{
	struct guarded *guarded = self->shared;
	int64_t done = 0;

	do {
		if (random_below(&self->random, 4) == 0) {
			if (!spinlock_trylock(&guarded->spin))
				continue;
		} else {
			spinlock_lock(&guarded->spin);
		}
		section(guarded, self);
		spinlock_unlock(&guarded->spin);
		done++;
	} while (stress_goes_on());
	fetch_add_relaxed(&guarded->done, done);
}

static void use_ticket(struct stress_thread *self)
{
	struct guarded *guarded = self->shared;
	int64_t done = 0;

	do {
		if (random_below(&self->random, 4) == 0) {
			if (!ticketlock_trylock(&guarded->ticket))
				continue;
		} else {
			ticketlock_lock(&guarded->ticket);
		}
		section(guarded, self);
		ticketlock_unlock(&guarded->ticket);
		done++;
	} while (stress_goes_on());
	fetch_add_relaxed(&guarded->done, done);
}

static void use_mcs(struct stress_thread *self)
{
	struct guarded *guarded = self->shared;
	int64_t done = 0;

	do {
		struct mcsnode node; /* new each time: a node used after unlock would be seen */

		if (random_below(&self->random, 4) == 0) {
			if (!mcslock_trylock(&guarded->mcs, &node))
				continue;
		} else {
			mcslock_lock(&guarded->mcs, &node);
		}
		section(guarded, self);
		mcslock_unlock(&guarded->mcs, &node);
		memset((void *)&node, 0x5a, sizeof node);
		done++;
	} while (stress_goes_on());
	fetch_add_relaxed(&guarded->done, done);
}

static void crowd(void (*body)(struct stress_thread *), double share)
{
	static struct guarded guarded;

	memset((void *)&guarded, 0, sizeof guarded);
	spinlock_init(&guarded.spin);
	ticketlock_init(&guarded.ticket);
	mcslock_init(&guarded.mcs);
	guarded.holder = -1;
	stress_run(body, stress_thread_count(), &guarded, share);
	CHECK_EQ(guarded.low, load_relaxed(&guarded.done));
	CHECK_EQ(guarded.high, load_relaxed(&guarded.done));
	CHECK_GE(guarded.low, 1);
}

/* Hunts: a waiter sees the word free and exchanges at the same moment as a trylock does; both hold
 * it.  And: the section's plain stores seen late, after the next holder has begun. */
TEST(a_spinlock_has_one_holder)
{
	crowd(use_spin, 0.35);
}

/* Hunts: a trylock reads `serving`, the holder lets go and others pass, `next` comes back to where
 * the trylock's CAS takes a turn that is not its own. */
TEST(a_ticketlock_has_one_holder_and_loses_no_turn)
{
	crowd(use_ticket, 0.35);
}

/* Hunts: the holder finds no successor, and while its CAS to NULL is under way one joins the queue;
 * the holder must wait for it to say so.  And: a node reused while the one before still writes to
 * it. */
TEST(an_mcslock_has_one_holder_and_loses_no_waiter)
{
	crowd(use_mcs, 0.35);
}

/* An empty section, and a pause of random length before the next try. */
static void meet_at_the_door(struct stress_thread *self)
{
	struct guarded *guarded = self->shared;
	int64_t done = 0;

	do {
		for (int i = 0; i < 64; i++, done++) {
			struct mcsnode node;

			mcslock_lock(&guarded->mcs, &node);
			guarded->low++;
			mcslock_unlock(&guarded->mcs, &node);
			for (uint32_t pause = random_below(&self->random, 128); pause > 0; pause--)
				FILAR_COMPILER_BARRIER();
		}
	} while (stress_goes_on());
	fetch_add_relaxed(&guarded->done, done);
}

/* Hunts the same, with the holder leaving within nanoseconds of the other one's arrival, some
 * million times: two threads only, so that neither waits long. */
TEST(an_mcslock_sees_the_one_who_joins_as_it_lets_go)
{
	static struct guarded guarded;

	mcslock_init(&guarded.mcs);
	stress_run(meet_at_the_door, 2, &guarded, 0.3);
	CHECK_EQ(guarded.low, load_relaxed(&guarded.done));
}

TEST_MAIN()
