/*
 * test_pool.c - pools through filar.h alone, as a C program uses them.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "check.h"
#include "fail.h"
#include "filar.h"

static const int32_t all_queues[] = { FILAR_POOL_STEALING, FILAR_POOL_SHARED, FILAR_POOL_PINNED };

static filar_pool *start_with(uint32_t workers, int32_t queues)
{
	filar_pool_options options;
	filar_pool *pool;

	filar_pool_options_init(&options);
	options.workers = workers;
	options.queues = queues;
	CHECK_EQ(filar_pool_create(&pool, &options), FILAR_OK);
	return pool;
}

static void stop(filar_pool *pool)
{
	CHECK_EQ(filar_pool_shutdown_until(pool, false, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(filar_pool_destroy(pool), FILAR_OK);
}

static filar_waitgroup *new_group(void)
{
	filar_waitgroup *group;

	CHECK_EQ(filar_waitgroup_create(&group, "calls"), FILAR_OK);
	return group;
}

static filar_submit_options in_group(filar_waitgroup *group)
{
	filar_submit_options how;

	filar_submit_options_init(&how);
	how.group = group;
	return how;
}

/* ---- submitting ---- */

static atomic_int count;

static void add_one(void *argument)
{
	(void)argument;
	atomic_fetch_add(&count, 1);
}

static void for_each_kind(void (*body)(filar_pool *pool))
{
	for (uint32_t workers = 1; workers <= 4; workers++) {
		for (int i = 0; i < 3; i++) {
			filar_pool *pool = start_with(workers, all_queues[i]);

			atomic_store(&count, 0);
			body(pool);
			stop(pool);
		}
	}
}

static void submit_each(filar_pool *pool)
{
	enum { CALLS = 3000 };
	filar_waitgroup *group = new_group();
	filar_submit_options how = in_group(group);
	filar_pool_stats stats;

	for (int i = 0; i < CALLS; i++)
		CHECK_EQ(filar_pool_submit(pool, &how, add_one, NULL), FILAR_OK);
	CHECK_EQ(filar_pool_wait_until(pool, group, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(atomic_load(&count), CALLS);
	CHECK_EQ(filar_pool_read_stats(pool, &stats), FILAR_OK);
	CHECK_EQ(stats.submitted, CALLS);
	CHECK_EQ(stats.queued, 0);
	CHECK_EQ(filar_waitgroup_destroy(group), FILAR_OK);
}

enum { PRODUCERS = 3, PRODUCED = 2000 };

struct producer {
	filar_pool *pool;
	filar_waitgroup *group;
	struct produced {
		struct producer *by;
		int runs;
	} calls[PRODUCED];
	int begun; /* by the only worker */
};

static void run_produced(void *argument)
{
	struct produced *call = argument;

	CHECK_EQ(++call->runs, 1);
	call->by->begun++;
}

static void *produce(void *argument)
{
	struct producer *self = argument;
	filar_submit_options how = in_group(self->group);

	for (int i = 0; i < PRODUCED; i++) {
		self->calls[i] = (struct produced){ self, 0 };
		CHECK_EQ(filar_pool_submit(self->pool, &how, run_produced, &self->calls[i]),
			FILAR_OK);
	}
	return NULL;
}

static atomic_bool gate_is_open;

static void wait_at_the_gate(void *unused)
{
	(void)unused;
	while (!atomic_load(&gate_is_open))
		sched_yield();
}

/* Once while the worker is busy, so that the calls stand in many blocks, and once while it runs. */
TEST(one_worker_runs_all_calls_of_several_threads_once)
{
	static struct producer producers[PRODUCERS];
	filar_pool *pool = start_with(1, FILAR_POOL_STEALING);
	filar_waitgroup *group = new_group();
	filar_submit_options how = in_group(group);

	for (int round = 0; round < 2; round++) {
		pthread_t threads[PRODUCERS];

		atomic_store(&gate_is_open, round > 0);
		CHECK_EQ(filar_pool_submit(pool, &how, wait_at_the_gate, NULL), FILAR_OK);
		for (int i = 0; i < PRODUCERS; i++) {
			producers[i].pool = pool;
			producers[i].group = group;
			producers[i].begun = 0;
			CHECK_EQ(pthread_create(&threads[i], NULL, produce, &producers[i]), 0);
		}
		for (int i = 0; i < PRODUCERS; i++)
			CHECK_EQ(pthread_join(threads[i], NULL), 0);
		atomic_store(&gate_is_open, true);
		CHECK_EQ(filar_pool_wait_until(pool, group, FILAR_FOREVER), FILAR_OK);
		for (int i = 0; i < PRODUCERS; i++)
			CHECK_EQ(producers[i].begun, PRODUCED);
	}
	CHECK_EQ(filar_waitgroup_destroy(group), FILAR_OK);
	stop(pool);
}

TEST(every_call_is_run_once_in_every_kind_of_pool)
{
	for_each_kind(submit_each);
}

static void submit_batches(filar_pool *pool)
{
	enum { CALLS = 1000, BATCHES = 5 };
	static filar_call calls[CALLS];
	filar_waitgroup *group = new_group();
	filar_submit_options how = in_group(group);
	size_t submitted;

	for (int i = 0; i < CALLS; i++)
		calls[i] = (filar_call){ add_one, NULL };
	for (int i = 0; i < BATCHES; i++) {
		CHECK_EQ(filar_pool_submit_many(pool, &how, calls, CALLS, &submitted), FILAR_OK);
		CHECK_EQ(submitted, CALLS);
	}
	CHECK_EQ(filar_pool_wait_until(pool, group, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(atomic_load(&count), CALLS * BATCHES);
	CHECK_EQ(filar_waitgroup_destroy(group), FILAR_OK);
}

TEST(many_calls_go_in_at_once)
{
	for_each_kind(submit_batches);
}

/* A tree of calls, each of which waits for its children. */
struct node {
	filar_pool *pool;
	int depth;
};

static void grow_tree(void *argument)
{
	struct node *node = argument, children[3];
	filar_waitgroup *group;
	filar_submit_options how;

	atomic_fetch_add(&count, 1);
	if (node->depth == 0)
		return;
	group = new_group();
	how = in_group(group);
	for (int i = 0; i < 3; i++) {
		children[i] = (struct node){ node->pool, node->depth - 1 };
		CHECK_EQ(filar_pool_submit(node->pool, &how, grow_tree, &children[i]), FILAR_OK);
	}
	CHECK_EQ(filar_pool_wait_until(node->pool, group, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(filar_waitgroup_destroy(group), FILAR_OK);
}

static void run_tree(filar_pool *pool)
{
	struct node root = { pool, 6 };

	CHECK_EQ(filar_pool_call(pool, grow_tree, &root), FILAR_OK);
	CHECK_EQ(atomic_load(&count), 1093);
}

TEST(calls_that_wait_for_calls_do_not_deadlock)
{
	for_each_kind(run_tree);
}

/* ---- tasks ---- */

static void tasks(filar_pool *pool)
{
	enum { TASKS = 500 };
	static filar_task list[TASKS];

	for (int i = 0; i < TASKS; i++) {
		filar_task_init(&list[i], add_one, NULL);
		CHECK_EQ(filar_task_outcome(&list[i]), FILAR_WRONG_STATE);
		CHECK_EQ(filar_pool_submit_task(pool, NULL, &list[i]), FILAR_OK);
		CHECK_EQ(filar_pool_submit_task(pool, NULL, &list[i]), FILAR_WRONG_STATE);
	}
	for (int i = 0; i < TASKS; i++) {
		CHECK_EQ(filar_task_wait_until(&list[i], FILAR_FOREVER), FILAR_OK);
		CHECK_EQ(filar_task_outcome(&list[i]), FILAR_OK);
		CHECK_EQ(filar_task_cancel(&list[i]), FILAR_WRONG_STATE);
	}
	CHECK_EQ(atomic_load(&count), TASKS);
}

TEST(a_task_is_run_once_and_says_how_it_ended)
{
	for_each_kind(tasks);
}

static atomic_bool gate;

static void wait_for_gate(void *argument)
{
	(void)argument;
	atomic_fetch_add(&count, 1);
	while (!atomic_load(&gate) && !filar_call_cancelled())
		usleep(100);
}

/* Keeps every worker busy until open_gate(). */
static filar_waitgroup *close_gate(filar_pool *pool, int workers)
{
	filar_waitgroup *group = new_group();
	filar_submit_options how = in_group(group);

	atomic_store(&gate, false);
	atomic_store(&count, 0);
	for (int i = 0; i < workers; i++)
		CHECK_EQ(filar_pool_submit(pool, &how, wait_for_gate, NULL), FILAR_OK);
	WAIT_UNTIL(atomic_load(&count) == workers);
	atomic_store(&count, 0);
	return group;
}

static void open_gate(filar_pool *pool, filar_waitgroup *group)
{
	atomic_store(&gate, true);
	CHECK_EQ(filar_pool_wait_until(pool, group, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(filar_waitgroup_destroy(group), FILAR_OK);
}

TEST(a_queued_task_can_be_cancelled_and_its_memory_is_free_at_once)
{
	for (int i = 0; i < 3; i++) {
		filar_pool *pool = start_with(1, all_queues[i]);
		filar_waitgroup *busy = close_gate(pool, 1), *group = new_group();
		filar_submit_options how = in_group(group);
		filar_task task;
		filar_pool_stats stats;

		filar_task_init(&task, add_one, NULL);
		CHECK_EQ(filar_pool_submit_task(pool, &how, &task), FILAR_OK);
		CHECK_EQ(filar_task_outcome(&task), FILAR_BUSY);
		CHECK_EQ(filar_task_cancel(&task), FILAR_OK);
		CHECK_EQ(filar_task_wait_until(&task, 0), FILAR_OK);
		CHECK_EQ(filar_task_outcome(&task), FILAR_CANCELLED);
		CHECK_EQ(filar_waitgroup_wait_until(group, 0), FILAR_OK);
		memset(&task, 0x55, sizeof task);
		open_gate(pool, busy);
		CHECK_EQ(atomic_load(&count), 0);
		CHECK_EQ(filar_pool_read_stats(pool, &stats), FILAR_OK);
		CHECK_EQ(stats.dropped, 1);
		CHECK_EQ(filar_waitgroup_destroy(group), FILAR_OK);
		stop(pool);
	}
}

TEST(a_token_drops_what_waits_and_tells_what_runs)
{
	filar_pool *pool = start_with(1, FILAR_POOL_STEALING);
	filar_waitgroup *group = new_group();
	filar_submit_options how = in_group(group);
	filar_token token, late;
	filar_task task;

	filar_token_init(&token, FILAR_FOREVER);
	how.token = &token;
	atomic_store(&gate, false);
	atomic_store(&count, 0);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(filar_pool_submit(pool, &how, wait_for_gate, NULL), FILAR_OK);
	WAIT_UNTIL(atomic_load(&count) == 1);
	CHECK(!filar_token_is_cancelled(&token));
	filar_token_cancel(&token);
	CHECK_EQ(filar_pool_wait_until(pool, group, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(atomic_load(&count), 1);
	CHECK(!filar_call_cancelled());
	filar_token_init(&late, filar_now_ns() - 1);
	how.token = &late;
	filar_task_init(&task, add_one, NULL);
	CHECK_EQ(filar_pool_submit_task(pool, &how, &task), FILAR_OK);
	CHECK_EQ(filar_task_wait_until(&task, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(filar_task_outcome(&task), FILAR_TIMED_OUT);
	CHECK_EQ(filar_pool_wait_until(pool, group, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(filar_waitgroup_destroy(group), FILAR_OK);
	stop(pool);
}

/* ---- order ---- */

static int order[64];
static atomic_int noted;

static void note(void *argument)
{
	order[atomic_fetch_add(&noted, 1)] = (int)(intptr_t)argument;
}

TEST(high_goes_before_normal_before_low)
{
	filar_pool *pool = start_with(1, FILAR_POOL_STEALING);
	filar_waitgroup *busy = close_gate(pool, 1), *group = new_group();
	filar_submit_options how = in_group(group);

	for (int i = 0; i < 9; i++) {
		how.priority = i % 3 - 1;
		CHECK_EQ(filar_pool_submit(pool, &how, note, (void *)(intptr_t)(1 - i % 3)),
			FILAR_OK);
	}
	open_gate(pool, busy);
	CHECK_EQ(filar_pool_wait_until(pool, group, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(filar_waitgroup_destroy(group), FILAR_OK);
	for (int i = 0; i < 9; i++)
		CHECK_EQ(order[i], i / 3 - 1);
	stop(pool);
}

static void note_worker(void *argument)
{
	*(int32_t *)argument = filar_pool_worker_index();
}

TEST(a_pinned_call_runs_on_its_worker)
{
	filar_pool *pool = start_with(3, FILAR_POOL_PINNED);
	filar_waitgroup *group = new_group();
	filar_submit_options how = in_group(group);
	int32_t ran_on[30];

	CHECK_EQ(filar_pool_worker_index(), -1);
	for (int i = 0; i < 30; i++) {
		how.worker = i % 3;
		CHECK_EQ(filar_pool_submit(pool, &how, note_worker, &ran_on[i]), FILAR_OK);
	}
	CHECK_EQ(filar_pool_wait_until(pool, group, FILAR_FOREVER), FILAR_OK);
	for (int i = 0; i < 30; i++)
		CHECK_EQ(ran_on[i], i % 3);
	CHECK_EQ(filar_waitgroup_destroy(group), FILAR_OK);
	stop(pool);
}

/* ---- fork and join ---- */

struct fib {
	int n;
	int64_t result;
};

static void fib(void *argument)
{
	struct fib *self = argument, left, right;

	if (self->n < 2) {
		self->result = self->n;
		return;
	}
	left.n = self->n - 1;
	right.n = self->n - 2;
	CHECK_EQ(filar_join(fib, &left, fib, &right), FILAR_OK);
	self->result = left.result + right.result;
}

static void run_fib(filar_pool *pool)
{
	for (int i = 0; i < 20; i++) {
		struct fib root = { 17, 0 };

		CHECK_EQ(filar_pool_call(pool, fib, &root), FILAR_OK);
		CHECK_EQ(root.result, 1597);
	}
}

TEST(fork_and_join_gives_the_same_as_calls)
{
	struct fib serial = { 17, 0 };

	fib(&serial);
	CHECK_EQ(serial.result, 1597);
	for_each_kind(run_fib);
}

/* ---- loops ---- */

enum { STEPS = 100000 };
static atomic_uchar seen[STEPS];

static void see(int64_t begin, int64_t end, void *ctx)
{
	CHECK_GE(end, begin);
	for (int64_t i = begin; i < end; i++)
		atomic_fetch_add(&seen[i - *(int64_t *)ctx], 1);
}

static void loops(filar_pool *pool)
{
	static const int64_t lengths[] = { 0, 1, 2, 3, 7, 64, 65, 1000, 30000 };
	static const int64_t grains[] = { 0, 1, 3, 1000, INT64_MAX };
	static unsigned char expected[STEPS];
	filar_loop_options how;
	int64_t offset = -500;

	filar_loop_options_init(&how);
	for (int schedule = 0; schedule < 3; schedule++) {
		for (size_t g = 0; g < 5; g++) {
			for (size_t l = 0; l < 9; l++) {
				how.schedule = schedule;
				how.grain = grains[g];
				memset(seen, 0, sizeof seen);
				memset(expected, 0, sizeof expected);
				memset(expected, 1, (size_t)lengths[l]);
				CHECK_EQ(filar_parallel_for(pool, &how, offset, offset + lengths[l],
						 see, &offset),
					FILAR_OK);
				CHECK(memcmp((void *)seen, expected, sizeof expected) == 0);
			}
		}
	}
}

TEST(every_step_of_a_loop_is_done_once)
{
	for (uint32_t workers = 1; workers <= 4; workers++) {
		filar_pool *pool = start_with(workers, FILAR_POOL_STEALING);

		loops(pool);
		stop(pool);
	}
}

struct nested {
	filar_pool *pool;
	int depth;
};

static void nest(int64_t begin, int64_t end, void *ctx)
{
	struct nested *outer = ctx, inner = { outer->pool, outer->depth - 1 };

	for (int64_t i = begin; i < end; i++) {
		if (outer->depth == 0)
			atomic_fetch_add(&count, 1);
		else
			CHECK_EQ(filar_parallel_for(outer->pool, NULL, 0, 10, nest, &inner),
				FILAR_OK);
	}
}

static void nested_loops(filar_pool *pool)
{
	struct nested root = { pool, 3 };

	nest(0, 1, &root);
	CHECK_EQ(atomic_load(&count), 1000);
}

TEST(loops_in_loops_do_not_deadlock)
{
	for_each_kind(nested_loops);
}

static void add_up(int64_t begin, int64_t end, void *ctx, void *partial)
{
	const double *values = ctx;

	for (int64_t i = begin; i < end; i++)
		*(double *)partial += values[i];
}

static void add(void *into, const void *from, void *ctx)
{
	(void)ctx;
	*(double *)into += *(const double *)from;
}

static double values[50001];

TEST(a_reduction_is_the_same_to_the_last_bit_for_all_pools)
{
	filar_reduction sum = { add_up, add, NULL, sizeof(double) };
	double expected = 0, got;
	double ten = 10, nothing;

	for (int i = 0; i < 50001; i++)
		values[i] = 1.0 / (i + 1);
	for (uint32_t workers = 1; workers <= 4; workers++) {
		filar_pool *pool = start_with(workers, FILAR_POOL_STEALING);

		CHECK_EQ(filar_parallel_reduce(pool, NULL, 0, 50001, &sum, values, &got), FILAR_OK);
		if (workers == 1)
			expected = got;
		CHECK(got == expected && got > 11.3 && got < 11.5);
		sum.identity = &ten;
		CHECK_EQ(filar_parallel_reduce(pool, NULL, 5, 5, &sum, values, &nothing), FILAR_OK);
		CHECK(nothing == 10);
		sum.identity = NULL;
		stop(pool);
	}
}

TEST(a_cancelled_loop_stops)
{
	filar_pool *pool = start_with(2, FILAR_POOL_STEALING);
	filar_loop_options how;
	filar_token token;
	int64_t zero = 0;

	filar_loop_options_init(&how);
	how.token = &token;
	how.grain = 1;
	filar_token_init(&token, FILAR_FOREVER);
	filar_token_cancel(&token);
	CHECK_EQ(filar_parallel_for(pool, &how, 0, 1000, see, &zero), FILAR_CANCELLED);
	filar_token_init(&token, filar_now_ns() + 2000000);
	for (;;) {
		int status = filar_parallel_for(pool, &how, 0, STEPS, see, &zero);

		if (status == FILAR_TIMED_OUT)
			break;
		CHECK_EQ(status, FILAR_OK);
	}
	stop(pool);
}

struct busy {
	pthread_t caller;
	atomic_bool asked; /* the caller was asked whether it was interrupted */
	atomic_int done;
	bool answer;
};

static bool ask(void *argument)
{
	struct busy *busy = argument;

	atomic_store(&busy->asked, true);
	return busy->answer;
}

/* Until the caller was asked one of its steps lasts some time, and one of a helper's until then:
 * helpers do not end the loop, whoever gets a CPU.  After that none takes time. */
static void be_busy(int64_t begin, int64_t end, void *ctx)
{
	struct busy *busy = ctx;
	bool helps = !pthread_equal(pthread_self(), busy->caller);

	for (int64_t i = begin; i < end; i++) {
		int64_t until_ns = filar_now_ns() + 100000;

		while (!atomic_load(&busy->asked) && (helps || filar_now_ns() < until_ns))
			sched_yield();
		atomic_fetch_add(&busy->done, 1);
	}
}

/* By the caller only, between pieces: with steps that take time until it is asked, no loop of
 * these lengths ends before. */
TEST(a_loop_asks_whether_its_caller_was_interrupted)
{
	enum { MANY = 20000 };

	for (uint32_t workers = 1; workers <= 2; workers++) {
		filar_pool *pool = start_with(workers, FILAR_POOL_STEALING);

		for (int32_t schedule = 0; schedule <= FILAR_SCHEDULE_DYNAMIC; schedule++) {
			struct busy busy = { .caller = pthread_self(), .answer = true };
			filar_loop_options how;

			filar_loop_options_init(&how);
			how.schedule = schedule;
			how.grain = schedule == FILAR_SCHEDULE_STATIC ? 8 : 0;
			how.interrupted = ask;
			how.interrupted_argument = &busy;
			CHECK_EQ(filar_parallel_for(pool, &how, 0, MANY, be_busy, &busy),
				FILAR_INTERRUPTED);
			CHECK(atomic_load(&busy.done) < MANY);
			busy.answer = false;
			atomic_store(&busy.asked, false);
			atomic_store(&busy.done, 0);
			CHECK_EQ(filar_parallel_for(pool, &how, 0, MANY, be_busy, &busy), FILAR_OK);
			CHECK(atomic_load(&busy.asked));
			CHECK_EQ(atomic_load(&busy.done), MANY);
		}
		stop(pool);
	}
}

static atomic_bool helper_waits, may_end;

/* One half, whichever, runs on a helper, and lasts until the caller, which waits for it with its
 * own half done, has been asked. */
static bool ask_and_let_go(void *argument)
{
	atomic_store(&may_end, true);
	return ask(argument);
}

static void wait_in_a_helper(int64_t begin, int64_t end, void *caller)
{
	(void)begin;
	(void)end;
	if (pthread_equal(pthread_self(), *(pthread_t *)caller)) {
		while (!atomic_load(&helper_waits))
			sched_yield();
		return;
	}
	atomic_store(&helper_waits, true);
	while (!atomic_load(&may_end))
		sched_yield();
}

TEST(a_caller_that_waits_for_helpers_is_asked_too)
{
	filar_pool *pool = start_with(2, FILAR_POOL_STEALING);
	struct busy busy = { .answer = true };
	pthread_t caller = pthread_self();
	filar_loop_options how;

	filar_loop_options_init(&how);
	how.schedule = FILAR_SCHEDULE_STATIC;
	how.interrupted = ask_and_let_go;
	how.interrupted_argument = &busy;
	CHECK_EQ(
		filar_parallel_for(pool, &how, 0, 2, wait_in_a_helper, &caller), FILAR_INTERRUPTED);
	stop(pool);
}

static uint64_t loops_that_called(filar_pool *pool)
{
	filar_pool_stats stats;

	CHECK_EQ(filar_pool_read_stats(pool, &stats), FILAR_OK);
	return stats.loops;
}

static void do_nothing(int64_t begin, int64_t end, void *ctx)
{
	(void)begin;
	(void)end;
	(void)ctx;
}

/* The first one calls for help, since nothing is known of it.  One that was interrupted for long
 * may call once more; not for ever. */
TEST(a_loop_of_few_steps_that_was_short_stays_with_its_caller)
{
	filar_pool *pool = start_with(2, FILAR_POOL_STEALING);
	uint64_t before;
	int tries = 0, alone = 0;

	while (alone < 10 && tries++ < 10000) {
		before = loops_that_called(pool);
		CHECK_EQ(filar_parallel_for(pool, NULL, 0, 16, do_nothing, &count), FILAR_OK);
		alone = loops_that_called(pool) == before ? alone + 1 : 0;
	}
	CHECK_EQ(alone, 10);
	/* Another context is another loop. */
	before = loops_that_called(pool);
	CHECK_EQ(filar_parallel_for(pool, NULL, 0, 16, do_nothing, &before), FILAR_OK);
	CHECK_EQ(loops_that_called(pool), before + 1);
	stop(pool);
}

/* ---- full ---- */

static filar_pool *start_bounded(int32_t when_full, uint64_t queue_max)
{
	filar_pool_options options;
	filar_pool *pool;

	filar_pool_options_init(&options);
	options.workers = 1;
	options.queue_max = queue_max;
	options.when_full = when_full;
	CHECK_EQ(filar_pool_create(&pool, &options), FILAR_OK);
	return pool;
}

TEST(a_full_queue_rejects_or_lets_the_submitter_run_it)
{
	for (int32_t when = FILAR_FULL_REJECT; when <= FILAR_FULL_RUN; when++) {
		filar_pool *pool = start_bounded(when, 5);
		filar_waitgroup *busy = close_gate(pool, 1), *group = new_group();
		filar_submit_options how = in_group(group);
		filar_pool_stats stats;

		for (int i = 0; i < 5; i++)
			CHECK_EQ(filar_pool_submit(pool, &how, add_one, NULL), FILAR_OK);
		CHECK_EQ(filar_pool_submit(pool, &how, add_one, NULL),
			when == FILAR_FULL_REJECT ? FILAR_BUSY : FILAR_OK);
		CHECK_EQ(atomic_load(&count), when == FILAR_FULL_RUN);
		open_gate(pool, busy);
		CHECK_EQ(filar_pool_wait_until(pool, group, FILAR_FOREVER), FILAR_OK);
		CHECK_EQ(atomic_load(&count), 5 + (when == FILAR_FULL_RUN));
		CHECK_EQ(filar_pool_read_stats(pool, &stats), FILAR_OK);
		CHECK_EQ(stats.rejected, when == FILAR_FULL_REJECT);
		CHECK_EQ(stats.inlined, when == FILAR_FULL_RUN);
		CHECK_EQ(filar_waitgroup_destroy(group), FILAR_OK);
		stop(pool);
	}
}

static void *submit_hundred(void *pool)
{
	for (int i = 0; i < 100; i++)
		CHECK_EQ(filar_pool_submit(pool, NULL, add_one, NULL), FILAR_OK);
	return NULL;
}

TEST(a_full_queue_makes_submitters_wait)
{
	filar_pool *pool = start_bounded(FILAR_FULL_BLOCK, 3);
	filar_waitgroup *busy = close_gate(pool, 1);
	filar_submit_options how;
	filar_pool_stats stats;
	pthread_t threads[3];

	for (int i = 0; i < 3; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, submit_hundred, pool), 0);
	do
		CHECK_EQ(filar_pool_read_stats(pool, &stats), FILAR_OK);
	while (stats.queued < 3);
	filar_submit_options_init(&how);
	how.deadline_ns = filar_now_ns() + 1000000;
	CHECK_EQ(filar_pool_submit(pool, &how, add_one, NULL), FILAR_TIMED_OUT);
	open_gate(pool, busy);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	WAIT_UNTIL(atomic_load(&count) == 300);
	stop(pool);
}

/* ---- life ---- */

TEST(a_pool_grows_and_shrinks_while_it_works)
{
	for (int i = 0; i < 3; i++) {
		filar_pool *pool = start_with(2, all_queues[i]);
		filar_waitgroup *group = new_group();
		filar_submit_options how = in_group(group);
		uint64_t seed = check_seed() | 1;
		filar_pool_stats stats;

		atomic_store(&count, 0);
		for (int round = 0; round < 60; round++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			for (int j = 0; j < 100; j++)
				CHECK_EQ(filar_pool_submit(pool, &how, add_one, NULL), FILAR_OK);
			CHECK_EQ(filar_pool_resize(pool, 1 + (uint32_t)(seed >> 33) % 6), FILAR_OK);
		}
		CHECK_EQ(filar_pool_wait_until(pool, group, FILAR_FOREVER), FILAR_OK);
		CHECK_EQ(atomic_load(&count), 6000);
		CHECK_EQ(filar_pool_resize(pool, 1), FILAR_OK);
		CHECK_EQ(filar_pool_read_stats(pool, &stats), FILAR_OK);
		CHECK_EQ(stats.workers, 1);
		CHECK_EQ(filar_pool_resize(pool, 0), FILAR_INVALID);
		CHECK_EQ(filar_pool_resize(pool, 65), FILAR_INVALID);
		CHECK_EQ(filar_waitgroup_destroy(group), FILAR_OK);
		stop(pool);
	}
}

TEST(a_call_that_never_ends_is_named_at_the_shutdown)
{
	filar_pool *pool = start_with(2, FILAR_POOL_STEALING);
	filar_waitgroup *busy = close_gate(pool, 1);
	filar_pool_worker worker;
	int found = 0;

	CHECK_EQ(filar_pool_destroy(pool), FILAR_BUSY);
	CHECK_EQ(filar_pool_shutdown_until(pool, false, filar_now_ns() + 2000000), FILAR_TIMED_OUT);
	CHECK_TEXT_HAS(filar_status_detail(), "1 calls have not ended: worker ");
	CHECK_TEXT_HAS(filar_status_detail(), "test_pool");
	CHECK_EQ(filar_pool_destroy(pool), FILAR_BUSY);
	CHECK_EQ(filar_pool_submit(pool, NULL, add_one, NULL), FILAR_WRONG_STATE);
	for (uint32_t i = 0; i < 2; i++) {
		CHECK_EQ(filar_pool_describe_worker(pool, i, &worker), FILAR_OK);
		found += worker.body == wait_for_gate;
	}
	CHECK_EQ(found, 1);
	CHECK_EQ(filar_pool_describe_worker(pool, 64, &worker), FILAR_NOT_FOUND);
	/* Its cooperation is asked for. */
	CHECK_EQ(filar_pool_shutdown_until(pool, true, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(filar_waitgroup_wait_until(busy, 0), FILAR_OK);
	CHECK_EQ(filar_waitgroup_destroy(busy), FILAR_OK);
	CHECK_EQ(filar_pool_destroy(pool), FILAR_OK);
}

static void block_at_gate(void *argument)
{
	(void)argument;
	filar_blocking_begin();
	atomic_fetch_add(&count, 1);
	while (!atomic_load(&gate))
		usleep(100);
	filar_blocking_end();
}

TEST(a_spare_stands_in_for_calls_that_block)
{
	filar_pool_options options;
	filar_pool *pool;
	filar_waitgroup *blocked = new_group(), *others = new_group();
	filar_submit_options how = in_group(blocked);

	filar_pool_options_init(&options);
	options.workers = 2;
	options.spare_workers_max = 4;
	CHECK_EQ(filar_pool_create(&pool, &options), FILAR_OK);
	for (int round = 0; round < 3; round++) {
		atomic_store(&gate, false);
		atomic_store(&count, 0);
		how.group = blocked;
		for (int i = 0; i < 4; i++)
			CHECK_EQ(filar_pool_submit(pool, &how, block_at_gate, NULL), FILAR_OK);
		WAIT_UNTIL(atomic_load(&count) == 4);
		how.group = others;
		for (int i = 0; i < 100; i++)
			CHECK_EQ(filar_pool_submit(pool, &how, add_one, NULL), FILAR_OK);
		CHECK_EQ(filar_pool_wait_until(pool, others, FILAR_FOREVER), FILAR_OK);
		atomic_store(&gate, true);
		CHECK_EQ(filar_pool_wait_until(pool, blocked, FILAR_FOREVER), FILAR_OK);
		CHECK_EQ(filar_pool_resize(pool, 1 + (uint32_t)round % 2), FILAR_OK);
	}
	CHECK_EQ(filar_waitgroup_destroy(blocked), FILAR_OK);
	CHECK_EQ(filar_waitgroup_destroy(others), FILAR_OK);
	stop(pool);
}

static void shut_down_from_inside(void *pool)
{
	CHECK_EQ(filar_pool_shutdown_until(pool, false, 0), FILAR_DEADLOCK);
}

TEST(bad_arguments_are_refused_with_a_sentence)
{
	filar_pool_options options;
	filar_submit_options how;
	filar_loop_options loop;
	filar_reduction reduction = { add_up, add, NULL, 0 };
	filar_pool *pool = start_with(1, FILAR_POOL_STEALING), *none;
	double result;

	filar_pool_options_init(&options);
	options.queues = 9;
	CHECK_EQ(filar_pool_create(&none, &options), FILAR_INVALID);
	CHECK_TEXT_HAS(filar_status_detail(), "9");
	CHECK(none == NULL);
	filar_pool_options_init(&options);
	options.workers = 2000;
	CHECK_EQ(filar_pool_create(&none, &options), FILAR_INVALID);
	options.workers = 5;
	options.workers_max = 4;
	CHECK_EQ(filar_pool_create(&none, &options), FILAR_INVALID);
	CHECK_EQ(filar_pool_create(NULL, NULL), FILAR_INVALID);
	CHECK_EQ(filar_pool_submit(pool, NULL, NULL, NULL), FILAR_INVALID);
	CHECK_TEXT_HAS(filar_status_detail(), "address");
	CHECK_EQ(filar_pool_submit(NULL, NULL, add_one, NULL), FILAR_INVALID);
	filar_submit_options_init(&how);
	how.priority = 2;
	CHECK_EQ(filar_pool_submit(pool, &how, add_one, NULL), FILAR_INVALID);
	CHECK_EQ(filar_pool_submit_many(pool, NULL, NULL, 1, NULL), FILAR_INVALID);
	CHECK_EQ(filar_pool_submit_many(pool, NULL, NULL, 0, NULL), FILAR_OK);
	CHECK_EQ(filar_pool_submit_many(pool, NULL, &(filar_call){ 0 }, 1, NULL), FILAR_INVALID);
	CHECK_EQ(filar_parallel_for(pool, NULL, 0, 10, NULL, NULL), FILAR_INVALID);
	filar_loop_options_init(&loop);
	loop.grain = -1;
	CHECK_EQ(filar_parallel_for(pool, &loop, 0, 10, see, NULL), FILAR_INVALID);
	CHECK_EQ(filar_parallel_for(pool, NULL, 10, -10, see, NULL), FILAR_OK);
	CHECK_EQ(filar_parallel_reduce(pool, NULL, 0, 1, &reduction, NULL, &result), FILAR_INVALID);
	CHECK_EQ(filar_join(NULL, NULL, add_one, NULL), FILAR_INVALID);
	CHECK_EQ(filar_pool_call(pool, shut_down_from_inside, pool), FILAR_OK);
	CHECK_EQ(filar_pool_dump(pool, -1), FILAR_INVALID);
	CHECK_EQ(filar_task_cancel(NULL), FILAR_INVALID);
	stop(pool);
}

static int refuse_the_second(void *argument, uint32_t worker)
{
	(void)argument;
	return worker == 1 ? FILAR_NO_PERMISSION : FILAR_OK;
}

TEST(a_worker_that_cannot_begin_fails_the_submission_and_nothing_stays)
{
	filar_pool_options options;
	filar_pool *pool;

	filar_pool_options_init(&options);
	options.workers = 3;
	options.worker_begins = refuse_the_second;
	CHECK_EQ(filar_pool_create(&pool, &options), FILAR_OK);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(filar_pool_submit(pool, NULL, add_one, NULL), FILAR_NO_PERMISSION);
	CHECK_TEXT_HAS(filar_status_detail(), "worker 1");
	CHECK_EQ(filar_pool_resize(pool, 1), FILAR_OK);
	CHECK_EQ(filar_pool_submit(pool, NULL, add_one, NULL), FILAR_OK);
	CHECK_EQ(filar_pool_resize(pool, 2), FILAR_NO_PERMISSION);
	CHECK_EQ(filar_pool_submit(pool, NULL, add_one, NULL), FILAR_OK);
	stop(pool);
}

TEST(a_hundred_thousand_pools_leave_nothing)
{
	int count_of_pools = FILAR_HARD || FILAR_TSAN || FILAR_ASAN || FILAR_FAIL ? 5000 : 100000;

	for (int i = 0; i < count_of_pools; i++) {
		filar_pool *pool = start_with(2, FILAR_POOL_STEALING);

		if (i % 100 == 0)
			CHECK_EQ(filar_pool_submit(pool, NULL, add_one, NULL), FILAR_OK);
		stop(pool);
	}
	CHECK_EQ(atomic_load(&count), count_of_pools / 100);
}

static filar_pool *outer_pool;

static void use_another_pool(void *argument)
{
	filar_pool *inner_pool = start_with(2, FILAR_POOL_STEALING);
	struct node root = { inner_pool, 3 };

	(void)argument;
	CHECK(filar_pool_current() == outer_pool);
	CHECK_EQ(filar_pool_call(inner_pool, grow_tree, &root), FILAR_OK);
	stop(inner_pool);
}

TEST(a_pool_in_a_pool)
{
	filar_waitgroup *group = new_group();
	filar_submit_options how = in_group(group);

	outer_pool = start_with(2, FILAR_POOL_STEALING);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(filar_pool_submit(outer_pool, &how, use_another_pool, NULL), FILAR_OK);
	CHECK_EQ(filar_pool_wait_until(outer_pool, group, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(atomic_load(&count), 400);
	CHECK_EQ(filar_waitgroup_destroy(group), FILAR_OK);
	stop(outer_pool);
}

/* ThreadSanitizer cannot follow new threads in such a child. */
#if !FILAR_TSAN
TEST(in_a_forked_child_a_pool_says_so)
{
	filar_pool *pool = start_with(2, FILAR_POOL_STEALING);
	int64_t zero = 0;
	pid_t child;
	int status;

	CHECK_EQ(filar_pool_submit(pool, NULL, add_one, NULL), FILAR_OK);
	child = fork();
	CHECK_GE(child, 0);
	if (child == 0) {
		CHECK_EQ(filar_pool_submit(pool, NULL, add_one, NULL), FILAR_FORKED);
		CHECK_EQ(filar_parallel_for(pool, NULL, 0, 10, see, &zero), FILAR_FORKED);
		CHECK_EQ(filar_pool_shutdown_until(pool, false, 0), FILAR_FORKED);
		CHECK_EQ(filar_pool_resize(pool, 1), FILAR_FORKED);
		CHECK_EQ(filar_pool_destroy(pool), FILAR_OK);
		pool = start_with(2, FILAR_POOL_STEALING);
		run_fib(pool);
		stop(pool);
		_exit(0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	stop(pool);
}

#endif

/* ---- a million deep ---- */

struct deep {
	int left;
	int status;
};

static void nothing_to_do(void *argument)
{
	(void)argument;
}

static void go_down(void *argument)
{
	struct deep *self = argument, next = { self->left - 1, FILAR_OK };

	if (self->left == 0)
		return;
	self->status = filar_join(go_down, &next, nothing_to_do, NULL);
	if (self->status == FILAR_OK)
		self->status = next.status;
}

TEST(forks_a_million_deep_end_with_a_sentence_or_on_a_large_stack)
{
	filar_pool_options options;
	filar_pool *pool;
	struct deep root = { 1000000, FILAR_OK };

	filar_pool_options_init(&options);
	options.workers = 2;
	options.stack_bytes = 1 << 20;
	CHECK_EQ(filar_pool_create(&pool, &options), FILAR_OK);
	CHECK_EQ(filar_pool_call(pool, go_down, &root), FILAR_OK);
	CHECK_EQ(root.status, FILAR_LIMIT);
	stop(pool);
	if (FILAR_TSAN || FILAR_ASAN || FILAR_FAIL)
		return; /* frames several times as large */
	options.stack_bytes = (size_t)1 << 30;
	CHECK_EQ(filar_pool_create(&pool, &options), FILAR_OK);
	CHECK_EQ(filar_pool_call(pool, go_down, &root), FILAR_OK);
	CHECK_EQ(root.status, FILAR_OK);
	stop(pool);
}

#if FILAR_FAIL
static int attempt_pool(void)
{
	filar_pool_options options;
	filar_pool *pool;
	int status, result;
	struct fib root = { 10, 0 };

	filar_pool_options_init(&options);
	options.workers = 2;
	options.pin = FILAR_WORKERS_SCATTER;
	status = filar_pool_create(&pool, &options);
	if (status != FILAR_OK)
		return status;
	result = filar_pool_call(pool, nothing_to_do, &root);
	/* A futex call that fails ends a wait as a signal does. */
	do
		status = filar_pool_shutdown_until(pool, false, FILAR_FOREVER);
	while (status == FILAR_INTERRUPTED);
	CHECK_EQ(status, FILAR_OK);
	CHECK_EQ(filar_pool_destroy(pool), FILAR_OK);
	return result;
}

TEST(each_call_may_fail_and_nothing_stays)
{
	CHECK_GE(fail_each(attempt_pool), 8);
}
#endif

TEST_MAIN()
