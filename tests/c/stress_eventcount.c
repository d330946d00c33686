/*
 * stress_eventcount.c - hunts sleepers that nobody wakes although there is something to do.
 */
#include "stress.h"
#include "sync/eventcount.h"

struct shop {
	struct eventcount eventcount;
	_Atomic int64_t stock;  /* what the eventcount is about */
	_Atomic int32_t makers; /* still at work */
	_Atomic int64_t made, taken, slept;
	bool with_deadlines, notify_all;
};

static bool take_one(struct shop *shop)
{
	int64_t found = load_relaxed(&shop->stock);

	while (found > 0) {
		if (cas_acquire(&shop->stock, &found, found - 1)) {
			fetch_add_relaxed(&shop->taken, 1);
			return true;
		}
	}
	return false;
}

static bool closed(struct shop *shop)
{
	return load_acquire(&shop->makers) == 0;
}

static void make(struct shop *shop, struct stress_thread *self)
{
	do {
		fetch_add_relaxed(&shop->made, 1);
		/* Relaxed on purpose: E3 alone must order this before the look at `waiters`. */
		fetch_add_relaxed(&shop->stock, 1);
		if (shop->notify_all)
			eventcount_notify_all(&shop->eventcount);
		else
			eventcount_notify_one(&shop->eventcount);
		stress_jitter(&self->random);
	} while (stress_goes_on());
	fetch_sub_acq_rel(&shop->makers, 1);
	eventcount_notify_all(&shop->eventcount);
}

static void consume(struct shop *shop, struct stress_thread *self)
{
	for (;;) {
		uint32_t ticket;
		int64_t deadline_ns = DEADLINE_NEVER;
		enum filar_status status;

		if (take_one(shop))
			continue;
		ticket = eventcount_prepare_wait(&shop->eventcount);
		if (take_one(shop)) {
			eventcount_cancel_wait(&shop->eventcount);
			continue;
		}
		if (closed(shop)) {
			eventcount_cancel_wait(&shop->eventcount);
			if (!take_one(shop))
				return;
			continue;
		}
		if (shop->with_deadlines && random_below(&self->random, 2) == 0)
			deadline_ns = clock_now_ns() + random_below(&self->random, 20000);
		stress_jitter(&self->random);
		status = eventcount_commit_wait_until(&shop->eventcount, ticket, deadline_ns);
		CHECK(status == FILAR_OK ||
			(status == FILAR_TIMED_OUT && deadline_ns != DEADLINE_NEVER));
		fetch_add_relaxed(&shop->slept, 1);
	}
}

static void make_or_consume(struct stress_thread *self)
{
	struct shop *shop = self->shared;

	if (self->index % 3 == 0)
		make(shop, self);
	else
		consume(shop, self);
}

static void run_shop(bool with_deadlines, bool notify_all, double share)
{
	static struct shop shop;
	int count = stress_thread_count();

	memset(&shop, 0, sizeof shop);
	eventcount_init(&shop.eventcount);
	shop.with_deadlines = with_deadlines;
	shop.notify_all = notify_all;
	atomic_init(&shop.makers, (count + 2) / 3);
	stress_run(make_or_consume, count, &shop, share);
	CHECK_EQ(load_relaxed(&shop.taken), load_relaxed(&shop.made));
	CHECK_EQ(load_relaxed(&shop.stock), 0);
	CHECK_EQ(load_relaxed(&shop.eventcount.waiters), 0);
}

/*
 * Hunts: a consumer looks (nothing), announces itself; the maker adds, looks at `waiters`, sees
 * none of it; the consumer's second look misses the addition; it sleeps for ever on stock 1. Nobody
 * but notify_one ever wakes anybody here, so one lost wake-up at the end hangs the test.
 */
TEST(no_consumer_sleeps_through_a_notify_one)
{
	run_shop(false, false, 0.35);
}

TEST(no_consumer_sleeps_through_a_notify_all)
{
	run_shop(false, true, 0.25);
}

/* Hunts: the wake of notify_one goes to a consumer that is just timing out and reports TIMED_OUT,
 * while another one sleeps on; and `waiters` counted down twice or not at all. */
TEST(a_deadline_eats_no_notify_and_keeps_the_count)
{
	run_shop(true, false, 0.25);
}

/* ---- two threads that hand one item to and fro, each side asleep for each turn ---- */

struct relay {
	struct eventcount eventcounts[2];
	_Atomic int64_t turn; /* whose turn: its parity */
	int64_t laps;         /* plain; ordered by the eventcounts' edges and `turn` */
	_Atomic bool over;
};

static bool my_turn(struct relay *relay, int me)
{
	return load_acquire(&relay->over) || load_acquire(&relay->turn) % 2 == me;
}

static void run_relay(struct stress_thread *self)
{
	struct relay *relay = self->shared;
	int me = self->index;

	while (!load_acquire(&relay->over)) {
		while (!my_turn(relay, me)) {
			uint32_t ticket = eventcount_prepare_wait(&relay->eventcounts[me]);

			if (my_turn(relay, me))
				eventcount_cancel_wait(&relay->eventcounts[me]);
			else
				(void)eventcount_commit_wait_until(
					&relay->eventcounts[me], ticket, DEADLINE_NEVER);
		}
		if (load_acquire(&relay->over))
			break;
		relay->laps++;
		if (!stress_goes_on())
			store_release(&relay->over, true);
		stress_jitter(&self->random);
		store_release(&relay->turn, load_relaxed(&relay->turn) + 1);
		eventcount_notify_one(&relay->eventcounts[!me]);
	}
	eventcount_notify_all(&relay->eventcounts[!me]);
}

/* Hunts the same with a plain release store as the change: a store may pass a later load on every
 * CPU, so the order must come from E3. */
TEST(a_plain_store_before_notify_is_seen)
{
	static struct relay relay;

	eventcount_init(&relay.eventcounts[0]);
	eventcount_init(&relay.eventcounts[1]);
	stress_run(run_relay, 2, &relay, 0.25);
	CHECK_GE(relay.laps, 1);
}

/* ---- without sleeping: millions of rounds of the one step that matters ---- */

struct litmus {
	struct eventcount eventcount;
	_Atomic uint32_t state;  /* what the eventcount is about */
	_Atomic uint32_t round;  /* both sides go when it changes */
	_Atomic uint32_t played; /* sides that have played this round */
	_Atomic bool over;
	uint32_t ticket, seen; /* the waiter's, read when both have played */
};

static void play_notifier(struct litmus *litmus)
{
	/* The weakest store a caller may use. */
	store_relaxed(&litmus->state, 1);
	eventcount_notify_one(&litmus->eventcount);
}

static void play_waiter(struct litmus *litmus)
{
	litmus->ticket = eventcount_prepare_wait(&litmus->eventcount);
	litmus->seen = load_relaxed(&litmus->state);
}

/* Between two rounds only: the waiter sleeps only if it saw nothing and the ticket is still good.
 */
static void check_round(struct litmus *litmus)
{
	CHECK(litmus->seen == 1 || load_relaxed(&litmus->eventcount.epoch) != litmus->ticket);
	eventcount_cancel_wait(&litmus->eventcount);
	store_relaxed(&litmus->state, 0);
}

/* Spins, with a yield now and then: the two sides must start within nanoseconds of each other. */
static void await(_Atomic uint32_t *word, uint32_t value)
{
	for (uint32_t looks = 0; load_acquire(word) != value; looks++) {
		if (looks % 4096 == 4095)
			sched_yield();
	}
}

static void run_litmus(struct stress_thread *self)
{
	struct litmus *litmus = self->shared;

	for (uint32_t round = 1;; round++) {
		if (self->index == 0) {
			if (round % 64 == 0 && !stress_goes_on())
				store_relaxed(&litmus->over, true);
			store_release(&litmus->round, round);
		} else {
			await(&litmus->round, round);
		}
		if (load_relaxed(&litmus->over))
			return;
		for (uint32_t i = random_below(&self->random, 8); i > 0; i--)
			FILAR_COMPILER_BARRIER();
		if (self->index == 0)
			play_waiter(litmus);
		else
			play_notifier(litmus);
		fetch_add_acq_rel(&litmus->played, 1);
		if (self->index == 0) {
			await(&litmus->played, 2);
			check_round(litmus);
			store_relaxed(&litmus->played, 0);
		}
	}
}

/*
 * Hunts: the notifier's store waits in its store buffer while its look at `waiters` finds none; the
 * waiter announces itself and does not see the store either.  (Sleepers would make this too slow to
 * hunt: here a round takes some hundred nanoseconds, and what is checked is whether the waiter
 * *would* sleep.)
 */
TEST(notifier_and_waiter_never_miss_each_other)
{
	static struct litmus litmus;

	eventcount_init(&litmus.eventcount);
	stress_run(run_litmus, 2, &litmus, 0.3);
}

TEST_MAIN()
