/*
 * test_ways_pool.c - the ways about pools: whoever serves, every call is served once; results are
 * those of one thread; trouble leaves nothing behind.
 */
#include "base/memory.h"
#include "lab/staff.h"
#include "once.h"

#define RUN(name, batch, ...)                                                                      \
	({                                                                                         \
		static const int64_t params_[] = { __VA_ARGS__ };                                  \
		once_run(name, params_, FILAR_COUNT_OF(params_), batch, first_cpu());              \
	})

/* ---- staff ---- */

struct counted {
	_Atomic uint32_t calls; /* A */
};

static void count_call(void *pointer)
{
	struct counted *counted = pointer;

	fetch_add_relaxed(&counted->calls, 1);
}

TEST(every_kind_of_staff_serves_every_call_once)
{
	for (int kind = 0; kind < STAFF_KINDS; kind++) {
		struct staff_options options = {
			.kind = (enum staff_kind)kind, .workers = 3, .calls_max = 100
		};
		struct counted counted = { 0 };
		struct staff *staff;

		CHECK_EQ(staff_open(&staff, &options), FILAR_OK);
		for (int round = 0; round < 3; round++) {
			for (int i = 0; i < 100; i++)
				CHECK_EQ(staff_submit(staff, count_call, &counted), FILAR_OK);
			CHECK_EQ(staff_wait(staff), FILAR_OK);
			CHECK_EQ(load_relaxed(&counted.calls), 100u * (uint32_t)(round + 1));
		}
		staff_close(staff);
	}
}

TEST(a_staff_that_served_nobody_goes_home)
{
	for (int kind = 0; kind < STAFF_KINDS; kind++) {
		struct staff *staff;

		CHECK_EQ(staff_open(&staff, &(struct staff_options){ .kind = (enum staff_kind)kind,
						    .workers = 2,
						    .calls_max = 1 }),
			FILAR_OK);
		CHECK_EQ(staff_wait(staff), FILAR_OK);
		staff_close(staff);
	}
	staff_close(NULL);
}

TEST(workers_may_be_pinned_and_the_opener_stays_where_it_was)
{
	int32_t cpu = first_cpu();
	struct cpu_mask before, after;
	struct staff *staff;
	enum staff_kind kinds[] = { STAFF_TEXTBOOK, STAFF_DISPATCHER, STAFF_STEALING, STAFF_GREEN };

	CHECK_EQ(affinity_pin_self(cpu), FILAR_OK);
	CHECK_EQ(affinity_get(0, &before), FILAR_OK);
	for (size_t i = 0; i < FILAR_COUNT_OF(kinds); i++) {
		struct counted counted = { 0 };

		CHECK_EQ(staff_open(&staff, &(struct staff_options){ .kind = kinds[i],
						    .workers = 2,
						    .calls_max = 4,
						    .cpus = &cpu,
						    .cpu_count = 1 }),
			FILAR_OK);
		CHECK_EQ(affinity_get(0, &after), FILAR_OK);
		CHECK(CPU_EQUAL_S(before.bytes, before.bits, after.bits));
		CHECK_EQ(staff_submit(staff, count_call, &counted), FILAR_OK);
		CHECK_EQ(staff_wait(staff), FILAR_OK);
		CHECK_EQ(load_relaxed(&counted.calls), 1u);
		staff_close(staff);
	}
}

static _Atomic uint32_t shut;

static void wait_for_opening(void *pointer)
{
	(void)pointer;
	while (load_acquire(&shut) != 0)
		(void)sched_yield();
}

TEST(a_full_textbook_queue_says_so_and_loses_nothing)
{
	struct counted counted = { 0 };
	struct staff *staff;
	int taken = 0;

	store_relaxed(&shut, 1);
	CHECK_EQ(staff_open(&staff,
			 &(struct staff_options){
				 .kind = STAFF_TEXTBOOK, .workers = 1, .calls_max = 2 }),
		FILAR_OK);
	CHECK_EQ(staff_submit(staff, wait_for_opening, NULL), FILAR_OK);
	while (staff_submit(staff, count_call, &counted) == FILAR_OK)
		taken++;
	CHECK(taken >= 1);
	CHECK_TEXT_HAS(filar_status_detail(), "full");
	store_release(&shut, 0);
	CHECK_EQ(staff_wait(staff), FILAR_OK);
	CHECK_EQ(load_relaxed(&counted.calls), (uint32_t)taken);
	staff_close(staff);
}

/* ---- the ways ---- */

TEST(calls_of_every_kind_cost_something)
{
	for (int64_t kind = 0; kind < STAFF_KINDS; kind++) {
		int64_t params[] = { kind, 2, 10 };
		struct once once = once_run("calls", params, 3, 20, first_cpu());

		CHECK_EQ(once.status, FILAR_OK);
		CHECK(once.values[0] > 0);
		CHECK(once.values[1] > 0 && once.values[1] <= once.values[0]);
	}
}

TEST(a_call_begins_after_its_submission_and_before_its_end)
{
	for (int64_t kind = 0; kind < STAFF_KINDS; kind++) {
		int64_t params[] = { kind, 2, 10000 };
		struct once once = once_run("call-latency", params, 3, 4, first_cpu());

		CHECK_EQ(once.status, FILAR_OK);
		CHECK(once.values[0] >= 0 && once.values[0] <= once.values[1]);
	}
}

TEST(a_closed_loop_serves_its_clients_on_every_pool)
{
	for (int64_t kind = STAFF_TEXTBOOK; kind < STAFF_KINDS; kind++) {
		int64_t params[] = { kind, 2, 6, 1000, 50 * NS_PER_US, 40 * NS_PER_MS, 0 };
		struct once once;

		/* On a machine with much to do nobody may have been served in a short window. */
		do {
			once = once_run("serve-closed", params, 7, 1, first_cpu());
			CHECK_EQ(once.status, FILAR_OK);
			params[5] *= 4;
		} while (!(once.values[0] > 0) && params[5] <= 60 * NS_PER_S);
		CHECK(once.values[1] > 0 && once.values[1] <= once.values[2]);
		/* Nobody is in the system twice. */
		CHECK(once.values[3] > 0 && once.values[3] <= 6.0);
	}
}

TEST(a_pool_whose_only_worker_is_blocked_serves_nobody)
{
	struct once once = RUN("serve-closed", 1, STAFF_TEXTBOOK, 1, 3, 0, 1000, 10 * NS_PER_MS, 1);

	CHECK_EQ(once.status, FILAR_OK);
	CHECK_EQ((int)once.values[0], 0);
}

TEST(answers_before_the_pool_has_settled_are_not_counted)
{
	/* One client, whose answers are a millisecond apart at least: six fit into the window. */
	struct once once = RUN("serve-closed", 1, STAFF_SHARED, 1, 1, 0, NS_PER_MS, 5 * NS_PER_MS,
		0, 0, 30 * NS_PER_MS);

	CHECK_EQ(once.status, FILAR_OK);
	CHECK(once.values[0] <= 6.0 * (double)NS_PER_S / (5.0 * (double)NS_PER_MS));
}

TEST(an_open_loop_counts_what_arrived)
{
	struct once once =
		RUN("serve-open", 1, STAFF_SHARED, 4, 2000, 100 * NS_PER_US, 0, 60 * NS_PER_MS);

	CHECK_EQ(once.status, FILAR_OK);
	/* The mean may be above the 99th percentile: one that lost its CPU outweighs all others. */
	CHECK(once.values[0] >= 0 && once.values[1] >= 0);
	CHECK(once.values[2] > 0);
	CHECK(once.values[3] > 0);
	CHECK(once.values[4] > 0);
}

TEST(every_loop_and_schedule_gives_the_result_of_one_thread)
{
	for (int64_t work = 0; work < 2; work++) {
		for (int64_t schedule = -1; schedule <= 3; schedule++) {
			for (int64_t shape = 0; shape < (work == 0 ? 3 : 1); shape++) {
				int64_t params[] = { work, shape, 100, 2000, 3, schedule, 7, 1,
					-1 };
				struct once once = once_run("loop", params, 9, 2, first_cpu());

				CHECK_EQ(once.status, FILAR_OK);
				CHECK(once.values[0] > 0);
			}
		}
	}
}

static const int64_t kernel_sizes[] = { 50, 20, 24, 24, 3000, 5, 10, 500, 3000, 3000, 3000, 3000 };

TEST(every_kernel_gives_the_result_of_one_thread)
{
	for (int64_t kernel = 0; kernel < (int64_t)FILAR_COUNT_OF(kernel_sizes); kernel++) {
		for (int64_t threads = 0; threads <= 3; threads++) {
			int64_t params[] = { kernel, threads, kernel_sizes[kernel], threads != 3 };
			struct once once = once_run("kernel", params, 4, 2, first_cpu());

			CHECK_EQ(once.status, FILAR_OK);
			CHECK(once.values[0] > 0);
		}
	}
}

TEST(every_kernel_is_recorded_with_the_same_result)
{
	for (int64_t kernel = 0; kernel < (int64_t)FILAR_COUNT_OF(kernel_sizes); kernel++) {
		int64_t params[] = { kernel, 2, kernel_sizes[kernel] };
		struct once once = once_run("kernel-recorded", params, 3, 1, first_cpu());

		CHECK_EQ(once.status, FILAR_OK);
		CHECK(once.values[0] >= 0 && once.values[0] <= once.values[1]);
	}
}

TEST(what_forks_cost_is_measured_or_left_out)
{
	struct once once = once_run("fork-costs", NULL, 0, 1, first_cpu());

	CHECK_EQ(once.status, FILAR_OK);
	for (int metric = 1; metric < 7; metric++)
		CHECK(!(once.values[metric] < 0));
}

TEST(a_loop_runs_beside_a_hog_and_on_free_workers)
{
	int64_t params[] = { 0, 0, 64, 2000, 2, 0, 0, 0, first_cpu() };
	struct once once = once_run("loop", params, 9, 2, first_cpu());

	CHECK_EQ(once.status, FILAR_OK);
	CHECK(once.values[0] > 0);
}

TEST(a_film_is_the_same_however_its_frames_are_divided)
{
	for (int64_t locked = 0; locked < 2; locked++) {
		for (int64_t threads = 0; threads < 4; threads++) {
			int64_t params[] = { threads, 200, locked, 3, 17, 11 };
			struct once once = once_run("frames", params, 6, 2, first_cpu());

			CHECK_EQ(once.status, FILAR_OK);
			CHECK(once.values[0] > 0);
		}
	}
}

TEST(halves_done_by_any_party_are_those_of_one)
{
	int fds = fds_open();

	for (int64_t party = 0; party < 4; party++) {
		int64_t params[] = { party, 4096, 3, first_cpu() };
		struct once once = once_run("share-work", params, 4, 3, first_cpu());

		CHECK_EQ(once.status, FILAR_OK);
		CHECK(once.values[0] > 0);
		check_nothing_left(fds, 0);
	}
}

TEST(a_killed_party_fails_the_way_and_nothing_else)
{
	for (int64_t party = 2; party < 4; party++) {
		int64_t params[] = { party, 4096, 3, first_cpu() };
		int fds = fds_open();
		struct plan *plan =
			once_plan("share-work", params, 4, 3, ONCE_FOR_EVER, first_cpu());
		const char *detail;

		once_start_and_hit(plan, SIGKILL);
		CHECK_EQ(once_wait(plan, &detail), FILAR_SYSTEM);
		CHECK_TEXT_HAS(detail, "the second process died");
		plan_destroy(plan);
		check_nothing_left(fds, 0);
	}
}

TEST(wrong_parameters_are_refused_by_name)
{
	static const struct {
		const char *way, *word;
		int64_t params[9];
		size_t count;
	} wrong[] = {
		{ "calls", "kind", { STAFF_KINDS }, 1 },
		{ "calls", "workers", { STAFF_SHARED, 0 }, 2 },
		{ "call-latency", "idle_ns", { STAFF_SHARED, 2, -1 }, 3 },
		{ "serve-closed", "pool", { STAFF_THREADS }, 1 },
		{ "serve-closed", "blocked", { STAFF_SHARED, 2, 4, 0, 0, 1000, 3 }, 7 },
		{ "serve-closed", "settle_ns", { STAFF_SHARED, 2, 4, 0, 0, 1000, 0, 0, -1 }, 9 },
		{ "serve-open", "kind", { STAFF_ALONE }, 1 },
		{ "serve-open", "per_s", { STAFF_SHARED, 2, 0 }, 3 },
		{ "loop", "work", { 9 }, 1 },
		{ "loop", "length", { 0, 0, 1 }, 3 },
		{ "loop", "threads", { 0, 0, 8, 8, 100000 }, 5 },
		{ "frames", "serial_permille", { 2, 1000 }, 2 },
		{ "share-work", "multiple of 16", { 1, 24 }, 2 },
		{ "kernel", "kernel", { 12 }, 1 },
		{ "kernel", "threads", { 0, 1000 }, 2 },
		{ "kernel", "size", { 5, 2, 17 }, 3 },
		{ "kernel-recorded", "without a pool", { 0, 0 }, 2 },
		{ "share-work", "party", { 4 }, 1 },
	};

	for (size_t i = 0; i < FILAR_COUNT_OF(wrong); i++) {
		struct once once =
			once_run(wrong[i].way, wrong[i].params, wrong[i].count, 1, first_cpu());

		CHECK_EQ(once.status, FILAR_INVALID);
		CHECK_TEXT_HAS(once.detail, wrong[i].word);
	}
}

TEST(a_cancelled_plan_ends_a_long_window_soon)
{
	static const int64_t closed[] = { STAFF_SHARED, 2, 4, 0, 1000, 60 * NS_PER_S, 1 };
	static const int64_t open_loop[] = { STAFF_SHARED, 2, 100, 1000, 0, 60 * NS_PER_S };
	static const struct {
		const char *way;
		const int64_t *params;
		size_t count;
	} loops[] = { { "serve-closed", closed, 7 }, { "serve-open", open_loop, 6 } };

	for (size_t i = 0; i < FILAR_COUNT_OF(loops); i++) {
		struct plan *plan =
			once_plan(loops[i].way, loops[i].params, loops[i].count, 1, 1, first_cpu());

		CHECK_EQ(plan_start(plan), FILAR_OK);
		plan_cancel(plan);
		CHECK_EQ(end_of(plan), FILAR_CANCELLED);
	}
}

#if FILAR_FAIL
TEST(the_nth_failure_of_a_staff_leaves_nothing_behind)
{
	for (int64_t kind = 0; kind < STAFF_KINDS; kind++) {
		int64_t params[] = { kind, 2, 10 };

		CHECK(fail_way_each("calls", params, 3, 2) > 0);
	}
	CHECK(fail_way_each("call-latency", (int64_t[]){ STAFF_STEALING, 1, 0 }, 3, 2) > 0);
}

TEST(the_nth_failure_of_a_server_leaves_nothing_behind)
{
	CHECK(fail_way_each("serve-closed",
		      (int64_t[]){ STAFF_SHARED, 2, 2, 0, 1000, NS_PER_MS, 0 }, 7, 1) > 0);
	CHECK(fail_way_each("serve-open",
		      (int64_t[]){ STAFF_SHARED, 2, 1000, 1000, 0, 2 * NS_PER_MS }, 6, 1) > 0);
}

TEST(the_nth_failure_of_a_loop_leaves_nothing_behind)
{
	CHECK(fail_way_each("loop", (int64_t[]){ 1, 0, 64, 10, 2, 0, 0, 1, -1 }, 9, 1) > 0);
	for (int64_t kernel = 0; kernel < (int64_t)FILAR_COUNT_OF(kernel_sizes); kernel++)
		CHECK(fail_way_each("kernel", (int64_t[]){ kernel, 2, kernel_sizes[kernel], 1 }, 4,
			      1) > 0);
	CHECK(fail_way_each("kernel-recorded", (int64_t[]){ 7, 2, kernel_sizes[7] }, 3, 1) > 0);
	CHECK(fail_way_each("fork-costs", NULL, 0, 1) > 0);
	CHECK(fail_way_each("frames", (int64_t[]){ 2, 100, 0, 2, 9, 7 }, 6, 1) > 0);
}

TEST(the_nth_failure_of_two_parties_leaves_nothing_behind)
{
	for (int64_t party = 0; party < 4; party++)
		CHECK(fail_way_each(
			      "share-work", (int64_t[]){ party, 4096, 1, first_cpu() }, 4, 2) > 0);
}
#endif

TEST_MAIN()
