/*
 * stress_block_locks.c - mutex, condition, semaphore, event under all kinds of threads.
 */
#include "block/cond.h"
#include "block/event.h"
#include "block/mutex.h"
#include "block/semaphore.h"
#include "crowd.h"

#define THREADS 8

static bool is_outcome(enum filar_status status, struct crowd_thread *self)
{
	(void)self;
	return status == FILAR_OK || status == FILAR_TIMED_OUT;
}

/* ---- mutex ---- */

struct guarded {
	struct mutex mutex;
	uint64_t left, right; /* equal whenever nobody is inside */
	_Atomic uint64_t locks;
	_Atomic uint32_t left_locked; /* whoever sees this unlocks it */
	_Atomic uint32_t lockers;     /* that have not ended */
};

static void lock_in_all_ways(struct crowd_thread *self)
{
	struct guarded *guarded = self->shared;

	while (stress_goes_on()) {
		enum filar_status status =
			random_below(&self->random, 4) == 0
				? mutex_trylock(&guarded->mutex)
				: mutex_lock_until(&guarded->mutex, crowd_deadline(self));

		CHECK(is_outcome(status, self) || status == FILAR_BUSY);
		if (status != FILAR_OK)
			continue;
		CHECK_EQ(guarded->left, guarded->right);
		guarded->left++;
		crowd_jitter(self);
		guarded->right++;
		fetch_add_relaxed(&guarded->locks, 1);
		CHECK_EQ(mutex_unlock(&guarded->mutex), FILAR_OK);
		crowd_jitter(self);
	}
}

/*
 * Hunts: an unlock that sees "one is on its way" while that one has just gone back to sleep; a
 * waiter whose deadline passes while it is being woken or given the mutex, which then belongs to
 * nobody; two inside at once.
 */
TEST(mutex_excludes_and_loses_nobody)
{
	void (*const bodies[])(struct crowd_thread *) = { lock_in_all_ways };

	for (int kind = 0; kind < CROWD_KINDS; kind++) {
		struct guarded guarded = { .left = 0 };

		mutex_init(&guarded.mutex, "m");
		crowd_run((enum crowd_kind)kind, bodies, 1, THREADS, &guarded, 0.08);
		CHECK_EQ(guarded.left, load_relaxed(&guarded.locks));
		CHECK_EQ(load_relaxed(&guarded.mutex.queue.word), 0);
	}
}

/* As above without an owner: half of those that lock leave the unlocking to somebody else. */
static void lock_for_others(struct crowd_thread *self)
{
	struct guarded *guarded = self->shared;

	while (stress_goes_on()) {
		enum filar_status status = FILAR_BUSY;

		if (random_below(&self->random, 4) != 0)
			status = mutex_lock_unowned_until(&guarded->mutex, crowd_deadline(self));
		else if (mutex_trylock_unowned(&guarded->mutex))
			status = FILAR_OK;
		CHECK(is_outcome(status, self) || status == FILAR_BUSY);
		if (status != FILAR_OK)
			continue;
		CHECK_EQ(guarded->left, guarded->right);
		guarded->left++;
		crowd_jitter(self);
		guarded->right++;
		fetch_add_relaxed(&guarded->locks, 1);
		if (random_below(&self->random, 2) == 0)
			CHECK_EQ(mutex_unlock_unowned(&guarded->mutex), FILAR_OK);
		else
			store_release(&guarded->left_locked, 1);
		crowd_jitter(self);
	}
	(void)fetch_sub_acq_rel(&guarded->lockers, 1);
}

static void unlock_for_others(struct crowd_thread *self)
{
	struct guarded *guarded = self->shared;

	while (load_acquire(&guarded->lockers) != 0) {
		if (exchange_acq_rel(&guarded->left_locked, 0) != 0)
			CHECK_EQ(mutex_unlock_unowned(&guarded->mutex), FILAR_OK);
		crowd_jitter(self);
	}
}

/* Hunts what the test before hunts, where the one that unlocks is not the one that locked. */
TEST(mutex_without_an_owner_excludes_and_loses_nobody)
{
	void (*const bodies[])(
		struct crowd_thread *) = { lock_for_others, lock_for_others, unlock_for_others };

	for (int kind = 0; kind < CROWD_KINDS; kind++) {
		struct guarded guarded = { .left = 0 };

		mutex_init(&guarded.mutex, "m");
		atomic_init(&guarded.lockers, THREADS - THREADS / 3);
		crowd_run((enum crowd_kind)kind, bodies, 3, THREADS, &guarded, 0.08);
		/* The last one that locked may have left it so. */
		if (load_relaxed(&guarded.left_locked) != 0)
			CHECK_EQ(mutex_unlock_unowned(&guarded.mutex), FILAR_OK);
		CHECK_EQ(guarded.left, load_relaxed(&guarded.locks));
		CHECK_EQ(load_relaxed(&guarded.mutex.queue.word), 0);
		CHECK_EQ(mutex_unlock_unowned(&guarded.mutex), FILAR_WRONG_STATE);
	}
}

static void lock_until_cancelled(void *argument)
{
	struct guarded *guarded = argument;
	enum filar_status status;

	do {
		status = mutex_lock_until(&guarded->mutex, DEADLINE_NEVER);
		if (status == FILAR_OK) {
			guarded->left++;
			green_yield();
			CHECK_EQ(mutex_unlock(&guarded->mutex), FILAR_OK);
		}
	} while (status == FILAR_OK && !green_is_cancelled(green_self()));
}

static void cancel_lockers(struct crowd_thread *self)
{
	struct guarded *guarded = self->shared;

	while (stress_goes_on()) {
		struct green_ref refs[3];

		for (int i = 0; i < 3; i++)
			refs[i] = crowd_spawn(lock_until_cancelled, guarded);
		for (int i = 0; i < 3; i++) {
			crowd_jitter(self);
			CHECK_EQ(green_cancel(refs[i]), FILAR_OK);
		}
		for (int i = 0; i < 3; i++)
			crowd_join(refs[i]);
	}
}

/* Hunts: a cancel that meets the wake of the same waiter: the wake is lost and all others hang. */
TEST(mutex_waiters_cancelled_at_any_moment_leave_it_usable)
{
	void (*const bodies[])(struct crowd_thread *) = { cancel_lockers };

	for (int kind = 0; kind < CROWD_KINDS; kind++) {
		struct guarded guarded = { .left = 0 };

		if (kind == CROWD_KERNEL)
			continue; /* kernel threads are not cancelled */
		mutex_init(&guarded.mutex, "m");
		crowd_run((enum crowd_kind)kind, bodies, 1, 2, &guarded, 0.06);
		CHECK_EQ(load_relaxed(&guarded.mutex.queue.word), 0);
	}
}

/* ---- condition ---- */

enum { SLOTS = 3 };

struct buffer {
	struct mutex mutex;
	struct cond not_full, not_empty;
	int used, producers;
	uint64_t put, taken;
	bool patient; /* nobody has a deadline: a signal that is lost shows as a hang */
};

static int64_t buffer_deadline(struct crowd_thread *self)
{
	return ((struct buffer *)self->shared)->patient ? DEADLINE_NEVER : crowd_deadline(self);
}

static void put_often(struct crowd_thread *self)
{
	struct buffer *buffer = self->shared;

	while (stress_goes_on()) {
		CHECK_EQ(mutex_lock_until(&buffer->mutex, DEADLINE_NEVER), FILAR_OK);
		while (buffer->used == SLOTS)
			CHECK(is_outcome(cond_wait_until(&buffer->not_full, &buffer->mutex,
						 buffer_deadline(self)),
				self));
		buffer->used++;
		buffer->put++;
		cond_signal(&buffer->not_empty);
		CHECK_EQ(mutex_unlock(&buffer->mutex), FILAR_OK);
		crowd_jitter(self);
	}
	CHECK_EQ(mutex_lock_until(&buffer->mutex, DEADLINE_NEVER), FILAR_OK);
	if (--buffer->producers == 0)
		cond_broadcast(&buffer->not_empty);
	CHECK_EQ(mutex_unlock(&buffer->mutex), FILAR_OK);
}

static void take_often(struct crowd_thread *self)
{
	struct buffer *buffer = self->shared;

	CHECK_EQ(mutex_lock_until(&buffer->mutex, DEADLINE_NEVER), FILAR_OK);
	for (;;) {
		while (buffer->used == 0 && buffer->producers > 0)
			CHECK(is_outcome(cond_wait_until(&buffer->not_empty, &buffer->mutex,
						 buffer_deadline(self)),
				self));
		if (buffer->used == 0)
			break;
		buffer->used--;
		buffer->taken++;
		CHECK_EQ(mutex_unlock(&buffer->mutex), FILAR_OK);
		/* After the unlock: the unlocked look at "does anybody wait" must do. */
		cond_signal(&buffer->not_full);
		crowd_jitter(self);
		CHECK_EQ(mutex_lock_until(&buffer->mutex, DEADLINE_NEVER), FILAR_OK);
	}
	CHECK_EQ(mutex_unlock(&buffer->mutex), FILAR_OK);
}

/* Hunts: the signal between the unlock of the mutex and the sleep; a signal taken by a waiter
 * whose deadline passes at that moment, so that another one sleeps on. */
TEST(cond_signals_reach_somebody_who_waits)
{
	void (*const bodies[])(struct crowd_thread *) = { put_often, take_often };

	for (int kind = 0; kind < 2 * CROWD_KINDS; kind++) {
		struct buffer buffer = { .producers = THREADS / 2, .patient = kind % 2 == 1 };

		mutex_init(&buffer.mutex, "m");
		cond_init(&buffer.not_full);
		cond_init(&buffer.not_empty);
		crowd_run((enum crowd_kind)(kind / 2), bodies, 2, THREADS, &buffer, 0.04);
		CHECK_EQ(buffer.put, buffer.taken);
	}
}

/* ---- semaphore ---- */

enum { UNITS = 3 };

struct units {
	struct semaphore semaphore;
	_Atomic int out;
};

static void take_units(struct crowd_thread *self)
{
	struct units *units = self->shared;

	while (stress_goes_on()) {
		enum filar_status status =
			semaphore_acquire_until(&units->semaphore, crowd_deadline(self));

		CHECK(is_outcome(status, self));
		if (status != FILAR_OK)
			continue;
		CHECK_LE(fetch_add_relaxed(&units->out, 1), UNITS - 1);
		crowd_jitter(self);
		fetch_sub_relaxed(&units->out, 1);
		CHECK_EQ(semaphore_release(&units->semaphore, 1), FILAR_OK);
	}
}

/* Hunts: a unit given to a waiter whose deadline passes at that moment, and lost. */
TEST(semaphore_keeps_all_its_units)
{
	void (*const bodies[])(struct crowd_thread *) = { take_units };

	for (int kind = 0; kind < CROWD_KINDS; kind++) {
		struct units units = { .out = 0 };

		semaphore_init(&units.semaphore, UNITS, UNITS, "s");
		crowd_run((enum crowd_kind)kind, bodies, 1, THREADS, &units, 0.06);
		CHECK_EQ(semaphore_value(&units.semaphore), UNITS);
	}
}

/* ---- event ---- */

/* Two that set each other's event and wait for their own, without deadline. */
struct pair {
	struct event events[2];
	uint64_t turns; /* written by turns */
};

static void play(struct crowd_thread *self, int side)
{
	struct pair *pair = self->shared;

	for (bool on = true; on;) {
		CHECK_EQ(event_wait_until(&pair->events[side], DEADLINE_NEVER), FILAR_OK);
		event_reset(&pair->events[side]);
		on = stress_goes_on() && pair->turns != UINT64_MAX;
		if (on)
			pair->turns++;
		else
			pair->turns = UINT64_MAX;
		crowd_jitter(self);
		event_set(&pair->events[1 - side]);
	}
}

static void play_left(struct crowd_thread *self)
{
	play(self, 0);
}

static void play_right(struct crowd_thread *self)
{
	play(self, 1);
}

/* Hunts: the set between the look and the sleep; a reset that takes a later set away. */
TEST(event_sets_are_never_lost)
{
	void (*const bodies[])(struct crowd_thread *) = { play_left, play_right };

	for (int kind = 0; kind < CROWD_KINDS; kind++) {
		struct pair pair = { .turns = 0 };

		event_init(&pair.events[0], true);
		event_init(&pair.events[1], false);
		crowd_run((enum crowd_kind)kind, bodies, 2, 2, &pair, 0.05);
		CHECK(pair.turns == UINT64_MAX);
	}
}

/* An object on the stack of the one that waits, gone as soon as its wait ends. */
static void set_it(void *event_on_a_stack)
{
	event_set(event_on_a_stack);
}

static void wait_and_forget(struct crowd_thread *self)
{
	while (stress_goes_on()) {
		struct event *local = malloc(sizeof *local);
		struct green_ref ref;

		event_init(local, false);
		ref = crowd_spawn(set_it, local);
		crowd_jitter(self);
		CHECK_EQ(event_wait_until(local, DEADLINE_NEVER), FILAR_OK);
		free(local);
		crowd_join(ref);
	}
}

/* Hunts: a set that still touches the event after the one that waited has gone on (ASan sees it).
 */
TEST(event_may_be_freed_as_soon_as_the_wait_for_it_ends)
{
	void (*const bodies[])(struct crowd_thread *) = { wait_and_forget };

	crowd_run(CROWD_GREEN_TWO, bodies, 1, 2, NULL, 0.05);
	crowd_run(CROWD_MIXED, bodies, 1, 2, NULL, 0.05);
}

TEST_MAIN()
