/*
 * stress_parker.c - hunts lost permits, permits taken twice, and parkers used after their end.
 */
#include "base/memory.h"
#include "stress.h"
#include "sync/parker.h"

/* ---- 1: ping-pong ---- */

struct table {
	struct parker parkers[2];
	int64_t ball; /* plain: only P1 and P2 order its writes; ThreadSanitizer sees it if they do
			 not */
	bool over;    /* plain, likewise */
};

static void park(struct parker *parker)
{
	while (parker_park_until(parker, DEADLINE_NEVER) != FILAR_OK)
		;
}

static void play(struct stress_thread *self)
{
	struct table *table = self->shared;
	int me = self->index;
	int64_t turns = 0;
	bool last;

	for (;;) {
		if (me == 1 || turns > 0)
			park(&table->parkers[me]);
		if (table->over)
			break;
		CHECK_EQ(table->ball, 2 * turns + me);
		table->ball++;
		turns++;
		last = me == 0 && !stress_goes_on();
		if (last)
			table->over = true;
		stress_jitter(&self->random);
		parker_unpark(&table->parkers[!me]);
		if (last)
			return;
		stress_jitter(&self->random);
	}
	/* Only player 1 leaves here: player 0 said so and returned. */
	CHECK_EQ(me, 1);
}

/*
 * Hunts: the owner has set PARKED and not yet slept; unpark exchanges, sees PARKED, wakes nobody;
 * the owner sleeps on NOTIFIED.  (The kernel's comparison forbids it.)  And: unpark just before
 * EMPTY -> PARKED, whose permit must be found by the failed CAS.
 */
TEST(a_permit_given_at_any_moment_ends_the_park)
{
	struct table table = { 0 };

	parker_init(&table.parkers[0]);
	parker_init(&table.parkers[1]);
	stress_run(play, 2, &table, 0.3);
	CHECK_GE(table.ball, 1);
}

/* ---- 2: deadlines against permits ---- */

struct inbox {
	struct parker parker;
	_Atomic int64_t
		letters[STRESS_THREADS_MAX]; /* put there by thread i, emptied by thread 0 */
	_Atomic int64_t sent;
	_Atomic int32_t senders;
	int64_t received, timeouts; /* thread 0 */
};

static void send(struct inbox *inbox, struct stress_thread *self)
{
	do {
		fetch_add_relaxed(&inbox->letters[self->index], 1);
		fetch_add_relaxed(&inbox->sent, 1);
		parker_unpark(&inbox->parker);
		stress_jitter(&self->random);
	} while (stress_goes_on());
	fetch_sub_acq_rel(&inbox->senders, 1);
	parker_unpark(&inbox->parker);
}

static int64_t empty(struct inbox *inbox)
{
	int64_t found = 0;

	for (int i = 0; i < STRESS_THREADS_MAX; i++)
		found += exchange_acquire(&inbox->letters[i], 0);
	return found;
}

/* A sweep after each permit only: a permit that is lost leaves letters behind, or hangs the end. */
static void receive(struct inbox *inbox, struct stress_thread *self)
{
	while (load_acquire(&inbox->senders) > 0) {
		int64_t wait_ns = random_below(&self->random, 30000);
		enum filar_status status =
			parker_park_until(&inbox->parker, clock_now_ns() + wait_ns);

		if (status == FILAR_OK)
			inbox->received += empty(inbox);
		else
			inbox->timeouts++;
		CHECK(status == FILAR_OK || status == FILAR_TIMED_OUT);
	}
	/* The last unpark of all came after the last letter; its permit is still there or was taken
	 * above, together with the letters. */
	(void)parker_park_until(&inbox->parker, 0);
	inbox->received += empty(inbox);
}

static void send_or_receive(struct stress_thread *self)
{
	struct inbox *inbox = self->shared;

	if (self->index == 0)
		receive(inbox, self);
	else
		send(inbox, self);
}

/*
 * Hunts: the deadline passes; before the owner's exchange to EMPTY, an unpark exchanges to NOTIFIED
 * and sees PARKED.  If the owner reported a time-out and cleared the word, the permit would be
 * gone.
 */
TEST(a_deadline_never_eats_a_permit)
{
	static struct inbox inbox;
	int count = stress_thread_count();

	parker_init(&inbox.parker);
	atomic_init(&inbox.senders, count - 1);
	stress_run(send_or_receive, count, &inbox, 0.4);
	CHECK_EQ(inbox.received, load_relaxed(&inbox.sent));
}

/* Hunts the same, seen from one permit: exactly one unpark, one park with a deadline that passes at
 * the same moment.  Either the park has the permit or the word keeps it; never both, never neither.
 */
struct duel {
	struct parker parker;
	_Atomic uint32_t round; /* odd: the unparker may fire; even: it has */
	_Atomic bool over;
};

static void fire(struct duel *duel, struct stress_thread *self)
{
	uint32_t round;

	while (!load_acquire(&duel->over)) {
		round = load_acquire(&duel->round);
		if (round % 2 == 0) {
			sched_yield();
			continue;
		}
		stress_jitter(&self->random);
		parker_unpark(&duel->parker);
		store_release(&duel->round, round + 1);
	}
}

static void dodge(struct duel *duel, struct stress_thread *self)
{
	while (stress_goes_on()) {
		uint32_t round = load_relaxed(&duel->round);
		/* Most often past already: then the time-out is not late by a timer's slack, and
		 * meets the unpark within the same microsecond. */
		int64_t deadline_ns = random_below(&self->random, 8) != 0
					      ? 0
					      : clock_now_ns() + random_below(&self->random, 20000);
		int taken;

		stress_jitter(&self->random);
		store_release(&duel->round, round + 1);
		taken = parker_park_until(&duel->parker, deadline_ns) == FILAR_OK;
		while (load_acquire(&duel->round) != round + 2)
			sched_yield();
		taken += parker_park_until(&duel->parker, 0) == FILAR_OK;
		CHECK_EQ(taken, 1);
	}
	store_release(&duel->over, true);
}

static void duel_body(struct stress_thread *self)
{
	if (self->index == 0)
		dodge(self->shared, self);
	else
		fire(self->shared, self);
}

TEST(one_permit_is_taken_once_whatever_the_deadline)
{
	static struct duel duel;

	parker_init(&duel.parker);
	stress_run(duel_body, 2, &duel, 0.2);
}

/* ---- 3: parkers that end as soon as the permit is taken ---- */

struct exchange {
	_Atomic(struct parker *) offered;
	_Atomic int32_t owners;
};

static void wait_once_and_free(struct exchange *exchange, struct stress_thread *self)
{
	while (stress_goes_on()) {
		struct parker *mine = memory_acquire(1, sizeof *mine), *nobody = NULL;

		CHECK(mine != NULL);
		parker_init(mine);
		while (!cas_acq_rel(&exchange->offered, &nobody, mine)) {
			nobody = NULL;
			sched_yield();
		}
		stress_jitter(&self->random);
		park(mine);
		memory_release(mine);
	}
	fetch_sub_acq_rel(&exchange->owners, 1);
}

static void wake_what_is_offered(struct exchange *exchange, struct stress_thread *self)
{
	while (load_acquire(&exchange->owners) > 0) {
		struct parker *found = exchange_acq_rel(&exchange->offered, NULL);

		stress_jitter(&self->random);
		if (found != NULL)
			parker_unpark(found);
		else
			sched_yield();
	}
}

static void exchange_body(struct stress_thread *self)
{
	if (self->index % 2 == 0)
		wait_once_and_free(self->shared, self);
	else
		wake_what_is_offered(self->shared, self);
}

/*
 * Hunts: the unparker has exchanged; the owner takes the permit, returns and frees the parker; the
 * unparker then touches it.  It may only give its address to futex_wake (AddressSanitizer watches).
 * Also: that late wake reaches a new parker at the same address, which must sleep on.
 */
TEST(a_parker_may_end_when_its_park_returns)
{
	static struct exchange exchange;
	int count = stress_thread_count() & ~1;

	atomic_init(&exchange.owners, count / 2);
	stress_run(exchange_body, count, &exchange, 0.3);
}

TEST_MAIN()
