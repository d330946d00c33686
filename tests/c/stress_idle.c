/*
 * stress_idle.c - work that arrives just when workers go to sleep.  A lost wake-up shows as a hang.
 */
#include "sched/scheduler.h"
#include "stress.h"

struct token {
	struct work work;
	_Atomic bool back; /* it has been run */
};

static struct scheduler scheduler;
static _Atomic int runs;

static void run_token(struct worker *worker, struct work *work)
{
	struct token *token = FILAR_CONTAINER_OF(work, struct token, work);

	(void)worker;
	fetch_add_relaxed(&runs, 1);
	store_release(&token->back, true);
}

static const struct work_class token_class = { .name = "token", .run = run_token };

static void quiet(struct scheduler *unused)
{
	(void)unused;
}

static void start(uint32_t workers)
{
	struct scheduler_options options = { .workers = workers, .quiet = quiet };

	CHECK_EQ(scheduler_init(&scheduler, &options, NULL), FILAR_OK);
}

static void submit_and_wait(struct stress_thread *self)
{
	do {
		struct token token = { .work.class = &token_class };

		scheduler_submit(&scheduler, &token.work);
		while (!load_acquire(&token.back))
			sched_yield();
		/* The worker is about to search, or to sleep, or asleep. */
		stress_jitter(&self->random);
	} while (stress_goes_on());
}

/*
 * Hunts: the worker has looked at the inject queue and found nothing; the submitter publishes, sees
 * a searcher, and wakes nobody; the worker stops being a searcher and sleeps (README.md, "Going to
 * sleep", first case).  With several submitters: one grant that nobody takes, or two.
 */
TEST(no_work_is_left_while_workers_sleep)
{
	for (uint32_t workers = 1; workers <= 4; workers++) {
		start(workers);
		stress_run(submit_and_wait, (int)(workers % 3) + 1, NULL, 0.1);
		scheduler_deinit(&scheduler);
	}
	CHECK_GE(load_relaxed(&runs), 4);
}

/* ---- work that makes work, and one that sits in the next slot ---- */

struct seed {
	struct work work;
	struct token children[6];
	_Atomic bool back;
};

static void run_seed(struct worker *worker, struct work *work)
{
	struct seed *seed = FILAR_CONTAINER_OF(work, struct seed, work);

	for (int i = 0; i < 6; i++) {
		seed->children[i].work.class = &token_class;
		if (i % 2 == 0)
			scheduler_ready(worker, &seed->children[i].work);
		else
			scheduler_ready_next(worker, &seed->children[i].work);
	}
	/* Goes on until all of them have been run, by others: nothing of it is left to us. */
	if (worker->runq.shared) {
		for (int i = 0; i < 6; i++)
			while (!load_acquire(&seed->children[i].back))
				sched_yield();
	}
	store_release(&seed->back, true);
}

static const struct work_class seed_class = { .name = "seed", .run = run_seed };

static void seed_and_wait(struct stress_thread *self)
{
	while (stress_goes_on()) {
		struct seed seed = { .work.class = &seed_class };

		scheduler_submit(&scheduler, &seed.work);
		while (!load_acquire(&seed.back))
			sched_yield();
		stress_jitter(&self->random);
	}
}

/*
 * Hunts: a searcher finds one piece and stops searching; the next piece was published while it
 * still counted as a searcher, so nobody was woken; the second worker sleeps (I3).  And: the piece
 * in the next slot of a worker that never comes back to its loop.
 */
TEST(a_worker_that_is_busy_holds_up_nothing_it_has_made)
{
	for (uint32_t workers = 2; workers <= 4; workers++) {
		start(workers);
		stress_run(seed_and_wait, 1, NULL, 0.1);
		scheduler_deinit(&scheduler);
	}
}

/* ---- work that can only end together ---- */

struct party {
	struct guest {
		struct work work;
		struct party *party;
	} guests[4];
	uint32_t size;
	_Atomic uint32_t arrived;
	_Atomic uint32_t left;
};

static void run_guest(struct worker *worker, struct work *work)
{
	struct guest *guest = FILAR_CONTAINER_OF(work, struct guest, work);
	struct party *party = guest->party;

	/* The first one brings the others. */
	if (guest == &party->guests[0]) {
		for (uint32_t i = 1; i < party->size; i++)
			scheduler_ready(worker, &party->guests[i].work);
	}
	fetch_add_relaxed(&party->arrived, 1);
	while (load_acquire(&party->arrived) < party->size)
		sched_yield();
	fetch_add_acq_rel(&party->left, 1);
}

static const struct work_class guest_class = { .name = "guest", .run = run_guest };

static void give_parties(struct stress_thread *self)
{
	while (stress_goes_on()) {
		struct party party = { .size = scheduler.worker_count };

		for (uint32_t i = 0; i < party.size; i++) {
			party.guests[i].work.class = &guest_class;
			party.guests[i].party = &party;
		}
		scheduler_submit(&scheduler, &party.guests[0].work);
		while (load_acquire(&party.left) < party.size)
			sched_yield();
		stress_jitter(&self->random);
	}
}

/*
 * Hunts: as many pieces as workers, each of which waits for all others, so every worker must come.
 * A searcher takes one piece and stops searching; for the other pieces nobody was woken, because
 * there was a searcher when they were published (I3: the last searcher must look and wake the
 * next).
 */
TEST(as_many_pieces_as_workers_run_at_the_same_time)
{
	for (uint32_t workers = 2; workers <= 4; workers++) {
		start(workers);
		stress_run(give_parties, 1, NULL, 0.1);
		scheduler_deinit(&scheduler);
	}
}

/* ---- deadlines against sleep ---- */

struct bell {
	struct deadline deadline;
	_Atomic bool rung;
};

static void ring(struct deadline *deadline)
{
	store_release(&FILAR_CONTAINER_OF(deadline, struct bell, deadline)->rung, true);
}

static void wait_for_bells(struct stress_thread *self)
{
	while (stress_goes_on()) {
		struct bell bell = { .deadline.fire = ring };

		bell.deadline.at_ns = clock_now_ns() + random_below(&self->random, 300000);
		scheduler_add_deadline(&scheduler, &bell.deadline);
		if (random_below(&self->random, 4) != 0) {
			while (!load_acquire(&bell.rung))
				sched_yield();
		}
		deadlines_cancel(&scheduler.deadlines, &bell.deadline);
	}
}

/* Hunts: the keeper has read the earliest deadline; an earlier one is added, sees no keeper yet,
 * and tells nobody; the keeper sleeps past it (D1, D2).  And: the keeper gets up for work, and
 * nobody keeps the time. */
TEST(no_deadline_is_slept_through)
{
	static void (*const bodies[])(struct stress_thread *) = { wait_for_bells, submit_and_wait };

	for (uint32_t workers = 1; workers <= 3; workers++) {
		start(workers);
		stress_run_kinds(bodies, 2, 3, NULL, 0.1);
		scheduler_deinit(&scheduler);
	}
}

TEST_MAIN()
