/*
 * interleave_idle.c - workers that go to sleep while work arrives: README.md of sched, "Going to
 * sleep" and "Deadlines".  The real scheduler with its workers, from their first look for work on.
 */
#include "interleave.h"
#include "sched/scheduler.h"

enum { TOKENS_MAX = 3 };

struct token {
	struct work work;
	struct cell cell; /* the submitter's, then the worker's that runs it */
	bool back;
};

static struct scheduler scheduler;
static struct token tokens[TOKENS_MAX];
static int made;

static void run_token(struct worker *worker, struct work *work)
{
	struct token *token = FILAR_CONTAINER_OF(work, struct token, work);

	(void)worker;
	touch(&token->cell);
	CHECK(!token->back);
	token->back = true;
	explorer.writes++;
}

static const struct work_class token_class = { .name = "token", .run = run_token };

static struct work *make_token(void)
{
	struct token *token = &tokens[made++];

	touch(&token->cell);
	token->work.class = &token_class;
	return &token->work;
}

static bool all_are_back(void *count)
{
	for (intptr_t i = 0; i < (intptr_t)count; i++) {
		if (!tokens[i].back)
			return false;
	}
	return true;
}

/* Workers are at their first look for work, or asleep already. */
enum workers_are { AT_WORK, ASLEEP };

static void begin(uint32_t workers, enum workers_are how)
{
	struct scheduler_options options = { .workers = workers };

	memset(tokens, 0, sizeof tokens);
	made = 0;
	if (how == AT_WORK)
		interleave_begin();
	CHECK_EQ(scheduler_init(&scheduler, &options, NULL), FILAR_OK);
	if (how == ASLEEP)
		interleave_begin();
}

/* Ends when all tokens were run: one that nobody wakes up for shows as "nobody can go on". */
static void finish(int count)
{
	interleave_until(all_are_back, (void *)(intptr_t)count);
	interleave_end();
	scheduler_deinit(&scheduler);
}

static void submit_one(void *unused)
{
	(void)unused;
	scheduler_submit(&scheduler, make_token());
}

/* "Going to sleep", all three cases, from outside. */
static void two_pieces_for_one_worker(void)
{
	begin(1, ASLEEP);
	submit_one(NULL);
	submit_one(NULL);
	finish(2);
}

static void a_piece_for_one_worker(void)
{
	begin(1, AT_WORK);
	submit_one(NULL);
	finish(1);
}

static void a_piece_for_two_workers(void)
{
	begin(2, AT_WORK);
	submit_one(NULL);
	finish(1);
}

static void two_submitters(void)
{
	struct kthread *other;

	begin(2, ASLEEP);
	CHECK_EQ(kthread_create(&other, NULL, submit_one, NULL), FILAR_OK);
	submit_one(NULL);
	interleave_join(other);
	finish(2);
}

/* Work that makes work and does not end before others have run it: I3, and the next slot. */
static struct work parent;

static bool children_are_back(void *unused)
{
	(void)unused;
	return tokens[0].back && tokens[1].back;
}

static void run_parent(struct worker *worker, struct work *work)
{
	(void)work;
	scheduler_ready(worker, make_token());
	scheduler_ready_next(worker, make_token());
	interleave_until(children_are_back, NULL);
}

static const struct work_class parent_class = { .name = "parent", .run = run_parent };

static void a_busy_worker(void)
{
	begin(2, ASLEEP);
	parent.class = &parent_class;
	scheduler_submit(&scheduler, &parent);
	finish(2);
}

/* The first cannot end before the second: both workers must come. */
static bool second_is_back(void *unused)
{
	(void)unused;
	return tokens[0].back;
}

static void run_first(struct worker *worker, struct work *work)
{
	(void)worker;
	(void)work;
	interleave_until(second_is_back, NULL);
}

static const struct work_class first_class = { .name = "first", .run = run_first };

static void two_that_need_two_workers(void)
{
	begin(2, ASLEEP);
	parent.class = &first_class;
	scheduler_submit(&scheduler, &parent);
	submit_one(NULL);
	finish(1);
}

/* "Waking aside": the one that is meant may be the busy one; then the other must come. */
static void submit_to_the_first(void)
{
	struct work_chain chain = { 0 };
	struct idle *idle = &scheduler.idle;
	uint64_t word;

	work_chain_push(&chain, make_token());
	inject_lock(&scheduler.inject);
	inject_push_locked(&scheduler.inject, &chain);
	word = fetch_add_seq_cst(&idle->word, 0);
	if (IDLE_SEARCHING(word) == 0 && IDLE_SLEEPING(word) > IDLE_GRANTED(word))
		idle_wake_this_slow(idle, word, 0);
	inject_unlock(&scheduler.inject);
}

static void a_piece_meant_for_the_first_of_two(void)
{
	begin(2, ASLEEP);
	parent.class = &first_class;
	scheduler_submit(&scheduler, &parent);
	submit_to_the_first();
	finish(1);
}

/* "Pinned work": sent to a worker that goes to sleep, while the other one is free. */
static struct worker *home;
static struct cell letter;
static int deliveries;

static void run_pinned(struct worker *worker, struct work *work)
{
	touch(&letter);
	if (deliveries++ == 0) {
		home = worker;
		worker_pin(worker, work);
	} else {
		CHECK(worker == home);
		worker_unpin(worker, work);
	}
	explorer.writes++;
}

static const struct work_class pinned_class = { .name = "pinned", .run = run_pinned };

static bool is_delivered(void *times)
{
	return deliveries == (int)(intptr_t)times;
}

static void a_letter_for_one_of_two_workers(void)
{
	deliveries = 0;
	begin(2, ASLEEP);
	parent = (struct work){ .class = &pinned_class };
	touch(&letter);
	scheduler_submit(&scheduler, &parent);
	interleave_until(is_delivered, (void *)1);
	scheduler_submit(&scheduler, &parent);
	interleave_until(is_delivered, (void *)2);
	finish(0);
}

/* The eventcount alone: sync/README.md. */
static struct eventcount eventcount;
static _Atomic bool flag;

static void wait_for_flag(void *unused)
{
	bool there = false;

	(void)unused;
	while (!there) {
		uint32_t ticket = eventcount_prepare_wait(&eventcount);

		there = load_relaxed(&flag);
		if (there)
			eventcount_cancel_wait(&eventcount);
		else
			(void)eventcount_commit_wait_until(&eventcount, ticket, DEADLINE_NEVER);
	}
}

static void a_flag_and_a_notify(void)
{
	struct kthread *waiter;

	eventcount_init(&eventcount);
	atomic_init(&flag, false);
	CHECK_EQ(kthread_create(&waiter, NULL, wait_for_flag, NULL), FILAR_OK);
	interleave_begin();
	store_relaxed(&flag, true);
	eventcount_notify_one(&eventcount);
	interleave_join(waiter);
	interleave_end();
}

/* The lock of the queues alone: in the inject queue other edges carry the work as well (M3). */
static struct spinlock lock;
static struct cell guarded;

static void touch_under_lock(void *unused)
{
	(void)unused;
	spinlock_lock(&lock);
	touch(&guarded);
	spinlock_unlock(&lock);
}

static void two_under_a_lock(void)
{
	struct kthread *other;

	spinlock_init(&lock);
	CHECK_EQ(kthread_create(&other, NULL, touch_under_lock, NULL), FILAR_OK);
	interleave_begin();
	touch_under_lock(NULL);
	interleave_join(other);
	interleave_end();
}

/* D1 and D2: a deadline that is added while a worker becomes the keeper. */
static struct deadline bells[2];
static bool rung[2];

static void ring(struct deadline *deadline)
{
	rung[deadline - bells] = true;
	explorer.writes++;
}

static bool bell_has_rung(void *index)
{
	return rung[(intptr_t)index];
}

static void add_later_bell(void *unused)
{
	(void)unused;
	scheduler_add_deadline(&scheduler, &bells[1]);
}

/* The keeper must not sleep for the later one, whichever comes first. */
static void two_deadlines(void)
{
	struct kthread *other;

	memset(rung, 0, sizeof rung);
	bells[0] = (struct deadline){ .at_ns = 100, .fire = ring };
	bells[1] = (struct deadline){ .at_ns = 200, .fire = ring };
	begin(1, AT_WORK);
	CHECK_EQ(kthread_create(&other, NULL, add_later_bell, NULL), FILAR_OK);
	scheduler_add_deadline(&scheduler, &bells[0]);
	interleave_join(other);
	interleave_set_time(150);
	interleave_until(bell_has_rung, (void *)0);
	interleave_set_time(250);
	interleave_until(bell_has_rung, (void *)1);
	finish(0);
}

/* A keeper there is, or is about to be: it must hear of the earlier one, not only the other. */
static void an_earlier_deadline(void)
{
	memset(rung, 0, sizeof rung);
	bells[0] = (struct deadline){ .at_ns = 100, .fire = ring };
	bells[1] = (struct deadline){ .at_ns = 200, .fire = ring };
	begin(2, ASLEEP);
	scheduler_add_deadline(&scheduler, &bells[1]);
	scheduler_add_deadline(&scheduler, &bells[0]);
	interleave_set_time(150);
	interleave_until(bell_has_rung, (void *)0);
	deadlines_cancel(&scheduler.deadlines, &bells[1]);
	finish(0);
}

/* One of the two keeps the time; which one, they settle while they go to sleep. */
static void a_deadline_for_two_workers(void)
{
	memset(rung, 0, sizeof rung);
	bells[0] = (struct deadline){ .at_ns = 100, .fire = ring };
	begin(2, AT_WORK);
	scheduler_add_deadline(&scheduler, &bells[0]);
	interleave_set_time(150);
	interleave_until(bell_has_rung, (void *)0);
	finish(0);
}

/* The keeper gets up for work; somebody must keep the time after it. */
static void a_deadline_and_a_piece(void)
{
	memset(rung, 0, sizeof rung);
	bells[0] = (struct deadline){ .at_ns = 100, .fire = ring };
	begin(2, ASLEEP);
	scheduler_add_deadline(&scheduler, &bells[0]);
	parent.class = &parent_class;
	submit_one(NULL);
	interleave_until(all_are_back, (void *)1);
	interleave_set_time(150);
	interleave_until(bell_has_rung, (void *)0);
	finish(1);
}

TEST(one_worker_sleeps_through_nothing)
{
	CHECK(explore("a piece, one worker", a_piece_for_one_worker, interleave_seconds())
			.finished);
	CHECK(explore("two pieces, one worker", two_pieces_for_one_worker, interleave_seconds())
			.finished);
}

TEST(of_two_workers_one_comes)
{
	CHECK(explore("a piece, two workers", a_piece_for_two_workers, interleave_seconds())
			.finished);
}

TEST(two_submitters_both_have_their_work_run)
{
	CHECK(explore("two submitters, two workers", two_submitters, interleave_seconds())
			.finished);
}

TEST(what_a_busy_worker_makes_is_run_by_the_other)
{
	CHECK(explore("a busy worker", a_busy_worker, interleave_seconds()).finished);
}

TEST(the_last_searcher_wakes_the_next)
{
	CHECK(explore("two that need two workers", two_that_need_two_workers, interleave_seconds())
			.finished);
}

TEST(a_wake_that_is_meant_for_one_who_is_up_reaches_another)
{
	CHECK(explore(
		"a piece meant for one", a_piece_meant_for_the_first_of_two, interleave_seconds())
			.finished);
}

TEST(pinned_work_reaches_its_worker)
{
	CHECK(explore("a letter", a_letter_for_one_of_two_workers, interleave_seconds()).finished);
}

TEST(what_was_done_under_a_lock_is_seen_under_it)
{
	CHECK(explore("two under a lock", two_under_a_lock, interleave_seconds()).finished);
}

TEST(nobody_sleeps_through_a_notify)
{
	CHECK(explore("a flag and a notify", a_flag_and_a_notify, interleave_seconds()).finished);
}

TEST(no_deadline_is_slept_through)
{
	CHECK(explore("two deadlines", two_deadlines, interleave_seconds()).finished);
	CHECK(explore("an earlier deadline", an_earlier_deadline, interleave_seconds()).finished);
	CHECK(explore("a deadline, two workers", a_deadline_for_two_workers, interleave_seconds())
			.finished);
	CHECK(explore("a deadline and a piece", a_deadline_and_a_piece, interleave_seconds())
			.finished);
}

TEST(a_look_or_an_order_that_is_missing_is_found)
{
	static const struct mutant mutants[] = {
		{ "idle_wake_one", WEAKEN_FENCE, "I2 is a load", a_piece_for_one_worker },
		{ "idle_wake_one", WEAKEN_ORDER, "I2 orders nothing", a_piece_for_one_worker },
		{ "idle_prepare_sleep", WEAKEN_ORDER, "I1", a_piece_for_one_worker },
		{ "inject_count", WEAKEN_BLIND, "no look at the inject queue",
			a_piece_for_one_worker },
		{ "idle_end_search", WEAKEN_ORDER, "I3", two_that_need_two_workers },
		{ "runq_length", WEAKEN_BLIND, "no look at queues", two_that_need_two_workers },
		{ "scheduler_add_deadline", WEAKEN_FENCE, "D1", an_earlier_deadline },
		{ "idle_wake_one_announced", WEAKEN_ORDER, "I2, announced", a_busy_worker },
		{ "mailbox_close", WEAKEN_BLIND, "no look into the mailbox at the end",
			a_piece_for_one_worker },
		{ "spinlock_unlock", WEAKEN_ORDER, "S1", two_under_a_lock },
		{ "exchange_next", WEAKEN_ORDER, "W1", a_busy_worker },
		{ "pinned_send_locked", WEAKEN_ORDER, "P1, P2", a_letter_for_one_of_two_workers },
		{ "pinned_was_sent", WEAKEN_BLIND, "P4", a_letter_for_one_of_two_workers },
		{ "pinned_begin_sleep", WEAKEN_ORDER, "P3", a_letter_for_one_of_two_workers },
		{ "eventcount_prepare_wait", WEAKEN_ORDER, "E1", a_flag_and_a_notify },
		{ "eventcount_announce", WEAKEN_FENCE, "E3", a_flag_and_a_notify },
		{ "eventcount_announce", WEAKEN_ORDER, "E4", a_flag_and_a_notify },
	};

	check_mutants(mutants, FILAR_COUNT_OF(mutants));
}

/* Three preemptions and a stale value, among four million runs with fewer. */
TEST(an_order_that_only_a_long_search_misses_is_found)
{
	static const struct mutant mutants[] = {
		{ "become_keeper", WEAKEN_ORDER, "D2", a_deadline_for_two_workers },
	};

	if (interleave_seconds() < 20)
		puts("  D2: left out, needs FILAR_INTERLEAVE_SECONDS=20 or more");
	else
		check_mutants(mutants, FILAR_COUNT_OF(mutants));
}

TEST_MAIN()
