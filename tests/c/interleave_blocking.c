/*
 * interleave_blocking.c - a worker that blocks for good while work arrives: README.md of sched,
 * "Blocking".  The real watcher, which starts a spare; time passes when nobody can go on without.
 */
#include "interleave.h"
#include "sched/scheduler.h"

static struct scheduler scheduler;
static struct work blocker, token;
static struct cell token_cell;
static bool token_is_back;

static bool is_token_back(void *unused)
{
	(void)unused;
	return token_is_back;
}

/* The one that had blocked is back, so the spare is one too many. */
static bool is_spare_retired(void *unused)
{
	(void)unused;
	return token_is_back && scheduler.workers[1].retired;
}

static void run_token(struct worker *worker, struct work *work)
{
	(void)worker;
	(void)work;
	touch(&token_cell);
	CHECK(!token_is_back);
	token_is_back = true;
	explorer.writes++;
}

/* Blocks its kernel thread until another worker has run the token. */
static void run_marked_blocker(struct worker *worker, struct work *work)
{
	(void)worker;
	(void)work;
	blocking_begin();
	interleave_until(is_token_back, NULL);
	blocking_end();
}

static void run_unmarked_blocker(struct worker *worker, struct work *work)
{
	(void)worker;
	(void)work;
	interleave_until(is_token_back, NULL);
}

/* What it has made itself is held up as well, in its next slot. */
static void run_blocker_with_child(struct worker *worker, struct work *work)
{
	touch(&token_cell);
	scheduler_ready_next(worker, &token);
	run_marked_blocker(worker, work);
}

/* The same again, with data of its own: nothing orders it after the first. */
static struct work second_blocker, second_token;
static struct cell second_cell;
static bool second_is_back;

static bool is_second_back(void *unused)
{
	(void)unused;
	return second_is_back;
}

static void run_second_token(struct worker *worker, struct work *work)
{
	(void)worker;
	(void)work;
	touch(&second_cell);
	CHECK(!second_is_back);
	second_is_back = true;
	explorer.writes++;
}

static void run_second_blocker(struct worker *worker, struct work *work)
{
	(void)worker;
	(void)work;
	blocking_begin();
	interleave_until(is_second_back, NULL);
	blocking_end();
}

static const struct work_class second_token_class = { .name = "token 2", .run = run_second_token };
static const struct work_class second_class = { .name = "second", .run = run_second_blocker };
static const struct work_class token_class = { .name = "token", .run = run_token };
static const struct work_class marked_class = { .name = "marked", .run = run_marked_blocker };
static const struct work_class unmarked_class = { .name = "unmarked", .run = run_unmarked_blocker };
static const struct work_class parent_class = { .name = "parent", .run = run_blocker_with_child };

static void quiet(struct scheduler *unused)
{
	(void)unused;
}

static void begin(const struct work_class *class)
{
	struct scheduler_options options = {
		.workers = 1, .spares_max = 1, .watch_ns = 1000000, .quiet = quiet
	};

	explorer.now_ns = 1; /* 0 means "not seen" */
	token_is_back = false;
	blocker.class = class;
	token.class = &token_class;
	CHECK_EQ(scheduler_init(&scheduler, &options, NULL), FILAR_OK);
	explorer.time_passes = true;
	interleave_begin();
	scheduler_submit(&scheduler, &blocker);
}

static void submit_token(void)
{
	touch(&token_cell);
	scheduler_submit(&scheduler, &token);
}

static void finish(void)
{
	interleave_until(is_token_back, NULL);
	interleave_end();
	scheduler_deinit(&scheduler);
}

static void a_marked_call(void)
{
	begin(&marked_class);
	submit_token();
	finish();
}

static void an_unmarked_call(void)
{
	begin(&unmarked_class);
	submit_token();
	finish();
}

static void a_child_in_the_next_slot(void)
{
	begin(&parent_class);
	finish();
}

static void the_spare_retires(void)
{
	begin(&marked_class);
	submit_token();
	interleave_until(is_spare_retired, NULL);
	interleave_end();
	scheduler_deinit(&scheduler);
}

/* Expected to be long, and a retired spare is there: who begins a section wakes it, in the place of
 * the watcher.  (Nothing is expected where the watcher took the first one for stuck, before its
 * mark.) */
static void a_section_that_is_expected_to_be_long(void)
{
	begin(&marked_class);
	submit_token();
	interleave_until(is_spare_retired, NULL);
	second_is_back = false;
	second_blocker.class = &second_class;
	second_token.class = &second_token_class;
	scheduler_submit(&scheduler, &second_blocker);
	touch(&second_cell);
	scheduler_submit(&scheduler, &second_token);
	interleave_until(is_second_back, NULL);
	interleave_end();
	scheduler_deinit(&scheduler);
}

#define EXPLORE(scenario) CHECK(explore(#scenario, scenario, interleave_seconds()).finished)

TEST(nothing_is_left_behind_when_a_worker_blocks_for_good)
{
	EXPLORE(a_marked_call);
	EXPLORE(an_unmarked_call);
	EXPLORE(a_child_in_the_next_slot);
}

TEST(a_spare_that_is_one_too_many_hears_of_it)
{
	EXPLORE(the_spare_retires);
}

TEST(whoever_expects_a_long_section_wakes_a_spare)
{
	EXPLORE(a_section_that_is_expected_to_be_long);
}

TEST(a_look_or_an_order_that_is_missing_is_found)
{
	static const struct mutant mutants[] = {
		{ "watch_wake", WEAKEN_BLIND, "no look at the watcher", an_unmarked_call },
		{ "scheduler_made", WEAKEN_BLIND, "K2", a_child_in_the_next_slot },
		{ "idle_surplus", WEAKEN_BLIND, "no look at a surplus", the_spare_retires },
	};

	check_mutants(mutants, FILAR_COUNT_OF(mutants));
}

TEST_MAIN()
