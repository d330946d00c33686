/*
 * test_recording.c - what a thread is recorded to have done: the shape of the tree, to the last
 * fork; times only where the program itself has waited for the clock.
 */
#include <pthread.h>

#include "base/random.h"
#include "check.h"
#include "fail.h"
#include "filar.h"
#include "os/clock.h"

#define PARTS_MAX 20000u
#define SPIN_NS   (20 * NS_PER_US)
#define WHOLE     INT64_C(3600000000000)

static filar_recorded_part parts[PARTS_MAX];
static filar_recording_totals totals;
static size_t parts_count;
static filar_pool *pool;

static void open_pool(void)
{
	filar_pool_options options;

	filar_pool_options_init(&options);
	options.workers = 2;
	CHECK_EQ(filar_pool_create(&pool, &options), FILAR_OK);
}

static void close_pool(void)
{
	CHECK_EQ(filar_pool_shutdown_until(pool, false, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(filar_pool_destroy(pool), FILAR_OK);
}

static void spin(int64_t ns)
{
	int64_t end = clock_now_ns() + ns;

	while (clock_now_ns() < end)
		continue;
}

static void record(void (*program)(void), uint32_t parts_max, int64_t grain_ns)
{
	filar_recording_options options = { parts_max, grain_ns };
	filar_recording *recording;

	CHECK_EQ(filar_recording_start(&recording, &options), FILAR_OK);
	CHECK_EQ(filar_recording_copy(recording, parts, PARTS_MAX), 0);
	program();
	CHECK_EQ(filar_recording_stop(recording, &totals), FILAR_OK);
	parts_count = filar_recording_copy(recording, parts, PARTS_MAX);
	CHECK_EQ(parts_count, totals.parts);
	CHECK_LE(parts_count, PARTS_MAX);
	CHECK_EQ(filar_recording_destroy(recording), FILAR_OK);
}

/* The part after `index` and all that is below it.  Work is that of the children, and the steps of
 * a loop those of its pieces. */
static size_t check_part(size_t index)
{
	const filar_recorded_part *part = &parts[index];
	size_t at = index + 1;
	double work = 0;
	int64_t steps = 0;

	CHECK(part->work_ns >= 0);
	if (part->kind == FILAR_RECORDED_STRAND)
		CHECK_EQ(part->children, 0);
	if (part->kind == FILAR_RECORDED_FORK)
		CHECK_EQ(part->children, 2);
	for (uint32_t child = 0; child < part->children; child++) {
		CHECK(at < parts_count);
		work += parts[at].work_ns;
		steps += parts[at].steps;
		at = check_part(at);
	}
	if (part->children > 0)
		CHECK(work - part->work_ns < 1 && part->work_ns - work < 1);
	if (part->kind == FILAR_RECORDED_LOOP)
		CHECK_EQ(steps, part->steps);
	return at;
}

static uint64_t count_kind(int32_t kind)
{
	uint64_t count = 0;

	for (size_t i = 0; i < parts_count; i++)
		count += parts[i].kind == kind;
	return count;
}

static uint64_t count_forks(void)
{
	uint64_t count = count_kind(FILAR_RECORDED_FORK);

	for (size_t i = 0; i < parts_count; i++)
		count += parts[i].forks;
	return count;
}

/* ---- forks ---- */

static void spin_body(void *argument)
{
	spin(*(int64_t *)argument);
}

static void two_halves(void)
{
	int64_t short_ns = SPIN_NS, long_ns = 3 * SPIN_NS;

	spin(SPIN_NS);
	CHECK_EQ(filar_join(spin_body, &short_ns, spin_body, &long_ns), FILAR_OK);
	spin(SPIN_NS);
}

TEST(a_fork_between_two_strands_is_recorded_as_that)
{
	static const int32_t kinds[] = { FILAR_RECORDED_SEQUENCE, FILAR_RECORDED_STRAND,
		FILAR_RECORDED_FORK, FILAR_RECORDED_STRAND, FILAR_RECORDED_STRAND,
		FILAR_RECORDED_STRAND };

	record(two_halves, 0, 1);
	CHECK_EQ(parts_count, 6);
	CHECK_EQ(check_part(0), 6);
	for (size_t i = 0; i < 6; i++)
		CHECK_EQ(parts[i].kind, kinds[i]);
	CHECK_EQ(totals.forks, 1);
	/* The program has waited for these; only more can have been measured. */
	CHECK(parts[1].work_ns > 0.9 * SPIN_NS);
	CHECK(parts[3].work_ns > 0.9 * SPIN_NS);
	CHECK(parts[4].work_ns > 0.9 * 3 * SPIN_NS);
	CHECK(totals.work_ns <= totals.wall_ns);
}

struct tree {
	int32_t depth;
};

static void grow(void *argument)
{
	const struct tree *self = argument;
	struct tree half = { self->depth - 1 };

	spin(2 * NS_PER_US);
	if (self->depth > 0)
		CHECK_EQ(filar_join(grow, &half, grow, &half), FILAR_OK);
}

static void a_tree_of_seven(void)
{
	struct tree tree = { 7 };

	grow(&tree);
}

TEST(nested_forks_are_all_there)
{
	record(a_tree_of_seven, 0, 1);
	CHECK_EQ(check_part(0), parts_count);
	CHECK_EQ(count_kind(FILAR_RECORDED_FORK), 127);
	CHECK_EQ(totals.forks, 127);
	CHECK(totals.work_ns > 0.9 * 255 * 2 * NS_PER_US);
}

TEST(forks_below_the_grain_are_counted_in_one_strand)
{
	record(a_tree_of_seven, 0, WHOLE);
	CHECK_EQ(count_kind(FILAR_RECORDED_FORK), 0);
	CHECK_EQ(count_forks(), 127);
	CHECK_EQ(totals.forks, 127);
	CHECK(totals.work_ns > 0.9 * 255 * 2 * NS_PER_US);
}

TEST(a_full_tree_gets_coarser_and_loses_no_fork)
{
	record(a_tree_of_seven, 64, 1);
	CHECK_EQ(check_part(0), parts_count);
	CHECK_LE(parts_count, 64);
	CHECK(totals.grain_ns > 1);
	CHECK_EQ(count_forks(), 127);
	CHECK(totals.work_ns > 0.9 * 255 * 2 * NS_PER_US);
}

/* Deeper than any fork is recorded. */
static void descend(void *argument)
{
	const struct tree *self = argument;
	struct tree next = { self->depth - 1 };
	int64_t ns = 200;

	if (self->depth > 0)
		CHECK_EQ(filar_join(spin_body, &ns, descend, &next), FILAR_OK);
}

static void a_long_chain(void)
{
	struct tree tree = { 1500 };

	descend(&tree);
}

TEST(a_chain_of_forks_deeper_than_the_tree_may_be_is_recorded)
{
	record(a_long_chain, 0, 1);
	CHECK_EQ(check_part(0), parts_count);
	CHECK_EQ(count_forks(), 1500);
	record(a_long_chain, 64, 1);
	CHECK_LE(parts_count, 64);
	CHECK_EQ(count_forks(), 1500);
}

/* ---- loops ---- */

static int64_t steps_done;
static int64_t nested_every;

static void some_steps(int64_t begin, int64_t end, void *ctx)
{
	int64_t ns = 1000;

	(void)ctx;
	for (int64_t i = begin; i < end; i++) {
		CHECK_EQ(i, steps_done);
		steps_done++;
		spin(ns);
		if (nested_every > 0 && i % nested_every == 0)
			CHECK_EQ(filar_join(spin_body, &ns, spin_body, &ns), FILAR_OK);
	}
}

static void a_loop(void)
{
	filar_loop_options options;

	filar_loop_options_init(&options);
	options.grain = 25;
	options.threads = 7;
	steps_done = 0;
	CHECK_EQ(filar_parallel_for(pool, &options, 0, 1000, some_steps, NULL), FILAR_OK);
	CHECK_EQ(steps_done, 1000);
}

static const filar_recorded_part *find_loop(void)
{
	for (size_t i = 0; i < parts_count; i++) {
		if (parts[i].kind == FILAR_RECORDED_LOOP)
			return &parts[i];
	}
	CHECK(!"a loop");
	return NULL;
}

TEST(a_loop_runs_here_in_order_and_its_pieces_are_recorded)
{
	const filar_recorded_part *loop;

	open_pool();
	record(a_loop, 0, 1);
	CHECK_EQ(check_part(0), parts_count);
	loop = find_loop();
	CHECK_EQ(loop->steps, 1000);
	CHECK_EQ(loop->grain, 25);
	CHECK_EQ(loop->threads, 7);
	CHECK_GE(loop->children, 1000 / 25);
	CHECK(loop->work_ns > 0.9 * 1000 * 1000);
	CHECK_EQ(totals.loops, 1);
	close_pool();
}

TEST(forks_in_a_loop_in_a_fork_are_where_they_belong)
{
	open_pool();
	nested_every = 10;
	record(a_loop, 0, 1);
	CHECK_EQ(check_part(0), parts_count);
	CHECK_EQ(count_kind(FILAR_RECORDED_FORK), 100);
	CHECK_EQ(find_loop()->steps, 1000);
	record(a_loop, 64, 1);
	CHECK_EQ(check_part(0), parts_count);
	CHECK_LE(parts_count, 64);
	CHECK_EQ(count_forks(), 100);
	close_pool();
}

static void loop_in_a_half(void *argument)
{
	(void)argument;
	a_loop();
}

static void nested_in_a_call(void *argument)
{
	int64_t ns = SPIN_NS;

	(void)argument;
	CHECK(filar_pool_current() == NULL);
	CHECK_EQ(filar_join(loop_in_a_half, NULL, spin_body, &ns), FILAR_OK);
}

static void a_call(void)
{
	CHECK_EQ(filar_pool_call(pool, nested_in_a_call, NULL), FILAR_OK);
}

TEST(a_call_of_the_pool_runs_here_and_its_loops_are_below_its_forks)
{
	open_pool();
	record(a_call, 0, 1);
	CHECK_EQ(check_part(0), parts_count);
	CHECK_EQ(totals.calls, 1);
	CHECK_EQ(totals.forks, 1);
	CHECK_EQ(count_kind(FILAR_RECORDED_FORK), 1);
	CHECK_EQ(find_loop()->steps, 1000);
	close_pool();
}

static bool after_a_while(void *argument)
{
	return ++*(int32_t *)argument == 2;
}

TEST(a_recorded_loop_hears_its_token_and_its_caller)
{
	int32_t asked = 0;
	filar_loop_options options;
	filar_recording *recording;
	filar_token token;

	open_pool();
	filar_loop_options_init(&options);
	filar_token_init(&token, FILAR_FOREVER);
	filar_token_cancel(&token);
	options.token = &token;
	CHECK_EQ(filar_recording_start(&recording, NULL), FILAR_OK);
	steps_done = 0;
	CHECK_EQ(filar_parallel_for(pool, &options, 0, 1000, some_steps, NULL), FILAR_CANCELLED);
	CHECK_EQ(steps_done, 0);
	options.token = NULL;
	options.interrupted = after_a_while;
	options.interrupted_argument = &asked;
	/* Asked 25 times a second: it ends by itself before its hour is over. */
	CHECK_EQ(filar_parallel_for(pool, &options, 0, WHOLE / 1000, some_steps, NULL),
		FILAR_INTERRUPTED);
	CHECK_EQ(asked, 2);
	CHECK_EQ(filar_recording_stop(recording, NULL), FILAR_OK);
	CHECK_EQ(filar_recording_destroy(recording), FILAR_OK);
	close_pool();
}

static void a_reduction(void)
{
	static double values[100000];
	double sum = 1;

	CHECK_EQ(filar_sum(pool, NULL, values, 100000, &sum), FILAR_OK);
	CHECK(sum == 0);
}

TEST(a_reduction_is_a_loop_over_its_blocks)
{
	open_pool();
	record(a_reduction, 0, 1);
	CHECK_EQ(check_part(0), parts_count);
	CHECK_LE(find_loop()->steps, 256);
	close_pool();
}

/* ---- who is recorded ---- */

static void in_the_pool(void *argument)
{
	int64_t ns = 0;
	filar_recording *recording;

	(void)argument;
	CHECK(filar_pool_current() != NULL);
	CHECK_EQ(filar_recording_start(&recording, NULL), FILAR_WRONG_STATE);
	CHECK(recording == NULL);
	CHECK_EQ(filar_join(spin_body, &ns, spin_body, &ns), FILAR_OK);
}

static void submit_and_wait(void)
{
	filar_task task;

	filar_task_init(&task, in_the_pool, NULL);
	CHECK_EQ(filar_pool_submit_task(pool, NULL, &task), FILAR_OK);
	WAIT_UNTIL(filar_task_outcome(&task) != FILAR_BUSY);
	CHECK_EQ(filar_task_wait_until(&task, FILAR_FOREVER), FILAR_OK);
}

TEST(workers_are_not_recorded_and_cannot_be)
{
	open_pool();
	record(submit_and_wait, 0, 1);
	CHECK_EQ(totals.forks, 0);
	CHECK_EQ(parts_count, 2);
	close_pool();
}

static filar_recording *inner;

static void stop_inside(void *argument)
{
	(void)argument;
	CHECK_EQ(filar_recording_stop(inner, NULL), FILAR_WRONG_STATE);
	CHECK_EQ(filar_recording_destroy(inner), FILAR_BUSY);
}

static void *stop_elsewhere(void *argument)
{
	stop_inside(argument);
	return NULL;
}

TEST(a_recording_ends_on_its_thread_outside_of_its_forks)
{
	filar_recording *second;
	pthread_t thread;

	CHECK_EQ(filar_recording_start(&inner, NULL), FILAR_OK);
	CHECK_EQ(filar_recording_start(&second, NULL), FILAR_BUSY);
	CHECK_EQ(filar_join(stop_inside, NULL, stop_inside, NULL), FILAR_OK);
	CHECK_EQ(pthread_create(&thread, NULL, stop_elsewhere, NULL), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(filar_recording_stop(inner, &totals), FILAR_OK);
	CHECK_EQ(totals.forks, 1);
	CHECK_EQ(filar_recording_stop(inner, NULL), FILAR_WRONG_STATE);
	CHECK_EQ(filar_recording_destroy(inner), FILAR_OK);
	CHECK_EQ(filar_recording_start(&second, NULL), FILAR_OK);
	/* Stops it, too. */
	CHECK_EQ(filar_recording_destroy(second), FILAR_OK);
}

TEST(bad_options_are_refused_by_name)
{
	filar_recording_options options = { .parts_max = 5 };
	filar_recording *recording;

	CHECK_EQ(filar_recording_start(&recording, &options), FILAR_INVALID);
	CHECK_TEXT_HAS(filar_status_detail(), "parts_max");
	options = (filar_recording_options){ .grain_ns = -1 };
	CHECK_EQ(filar_recording_start(&recording, &options), FILAR_INVALID);
	CHECK_TEXT_HAS(filar_status_detail(), "grain_ns");
	CHECK_EQ(filar_recording_start(NULL, NULL), FILAR_INVALID);
	CHECK_EQ(filar_recording_stop(NULL, NULL), FILAR_INVALID);
	CHECK_EQ(filar_recording_copy(NULL, NULL, 0), 0);
	CHECK_EQ(filar_recording_destroy(NULL), FILAR_OK);
	CHECK_EQ(filar_measure_fork_costs(0, NULL), FILAR_INVALID);
	CHECK_EQ(filar_measure_fork_costs(-1, &(filar_fork_costs){ 0 }), FILAR_INVALID);
}

/* ---- trouble ---- */

/* A program drawn from the seed: what it did itself is what must have been recorded. */
static struct random dice;
static uint64_t drawn_forks, drawn_left;

static void draw(void *argument)
{
	(void)argument;
	spin((int64_t)random_below(&dice, 3) * 500);
	while (drawn_left > 0 && random_below(&dice, 3) > 0) {
		drawn_left--;
		drawn_forks++;
		CHECK_EQ(filar_join(draw, NULL, draw, NULL), FILAR_OK);
	}
}

static void a_drawn_program(void)
{
	drawn_left = 3000;
	while (drawn_left > 0)
		draw(NULL);
}

TEST(any_program_in_any_room_is_recorded_whole)
{
	random_init(&dice, check_seed());
	for (uint32_t i = 0; i < 12; i++) {
		drawn_forks = 0;
		record(a_drawn_program, 64u << random_below(&dice, 7),
			INT64_C(1) << random_below(&dice, 14));
		CHECK_EQ(check_part(0), parts_count);
		CHECK_EQ(count_forks(), drawn_forks);
		CHECK_EQ(totals.forks, drawn_forks);
	}
}

#if FILAR_FAIL
static int record_something(void)
{
	filar_recording *recording;
	int status = filar_recording_start(&recording, NULL);

	if (status != FILAR_OK)
		return status;
	two_halves();
	CHECK_EQ(filar_recording_stop(recording, NULL), FILAR_OK);
	CHECK_EQ(filar_recording_destroy(recording), FILAR_OK);
	return FILAR_OK;
}

TEST(a_recording_without_memory_is_refused_and_nothing_is_left)
{
	CHECK_GE(fail_each(record_something), 2);
}

static int measure_something(void)
{
	filar_fork_costs costs;

	return filar_measure_fork_costs(0, &costs);
}

TEST(costs_that_cannot_be_measured_leave_nothing)
{
	CHECK_GE(fail_each(measure_something), 2);
}
#endif

TEST(costs_are_measured_or_not_a_number)
{
	filar_fork_costs costs = { .call_ns = -1 };
	const double *figures = (const double *)&costs;

	CHECK_EQ(filar_measure_fork_costs(NS_PER_MS, &costs), FILAR_OK);
	/* fork_ns is a difference: noise may make it negative. */
	for (size_t i = 1; i < sizeof costs / sizeof *figures; i++)
		CHECK(!(figures[i] < 0));
}

TEST_MAIN()
