/*
 * test_plan.c - the driver of the lab: rounds, order, calibration, cancelling, set-up and teardown.
 *
 * The ways here are the test's own and record what was done to them; plan_add() takes any way, the
 * registry is only a table of names.
 */
#include "lab/plan.h"

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/atomic.h"
#include "check.h"
#include "kthread/kthread.h"
#include "lab/registry.h"
#include "os/affinity.h"
#include "os/clock.h"

#define WAYS   5
#define ROUNDS 24

/* What was done to a way, seen by the driver alone until the plan has ended. */
struct trail {
	int setups, samples, teardowns, teardowns_without_state;
	int fail_setup_at, fail_sample_at; /* 0: never; n: the n-th call */
	int half_made; /* a failing setup leaves a state behind, which teardown must see */
};

static struct trail trails[WAYS];
static _Atomic bool sampling;

static struct trail *trail_of(const struct way_run *run)
{
	return &trails[run->params[0]];
}

static enum filar_status setup_trail(struct way_run *run)
{
	struct trail *trail = trail_of(run);

	trail->setups++;
	if (trail->setups == trail->fail_setup_at) {
		run->state = trail->half_made ? trail : NULL;
		return status_detail(FILAR_LIMIT, "no more of these");
	}
	run->state = trail;
	return FILAR_OK;
}

static enum filar_status sample_trail(struct way_run *run)
{
	struct trail *trail = trail_of(run);

	CHECK(run->state == trail);
	if (++trail->samples == trail->fail_sample_at)
		return status_detail(FILAR_SYSTEM, "sample %d failed", trail->samples);
	run->values[0] = (double)run->batch;
	return FILAR_OK;
}

static void teardown_trail(struct way_run *run)
{
	struct trail *trail = trail_of(run);

	trail->teardowns++;
	trail->teardowns_without_state += run->state == NULL;
}

/* Busy for params[0] ns an operation; never shorter, on a busy machine longer. */
static enum filar_status sample_slow(struct way_run *run)
{
	int64_t until = clock_now_ns() + run->params[0] * run->batch;

	while (clock_now_ns() < until)
		;
	run->values[0] = (double)run->params[0];
	return FILAR_OK;
}

/* A sample that ends only when the plan is cancelled. */
static enum filar_status sample_endless(struct way_run *run)
{
	store_release(&sampling, true);
	while (!way_cancelled(run))
		usleep(100);
	return FILAR_CANCELLED;
}

static enum filar_status sample_points(struct way_run *run)
{
	for (int64_t i = 0; i < run->params[0]; i++)
		way_point(run, 7, (int32_t)i, (double)run->round, (double)i);
	return FILAR_OK;
}

/* Moves the driver wherever else it may run. */
static enum filar_status sample_wander(struct way_run *run)
{
	struct cpu_mask all;

	run->values[0] = affinity_current_cpu();
	CHECK_EQ(affinity_get((int32_t)getpid(), &all), FILAR_OK);
	CHECK_EQ(affinity_set(0, &all), FILAR_OK);
	return FILAR_OK;
}

static const struct way way_trail = { .name = "trail",
	.summary = "records what is done to it",
	.params = { { "number", 0 } },
	.metrics = { { "batch", "count" } },
	.setup = setup_trail,
	.sample = sample_trail,
	.teardown = teardown_trail };
static const struct way way_trail_each = { .name = "trail-each",
	.summary = "the same, set up for each sample",
	.params = { { "number", 0 } },
	.metrics = { { "batch", "count" } },
	.setup_each_round = true,
	.setup = setup_trail,
	.sample = sample_trail,
	.teardown = teardown_trail };
static const struct way way_slow = { .name = "slow",
	.summary = "busy for so long",
	.params = { { "each_ns", 1000 } },
	.metrics = { { "time", "ns" } },
	.sample = sample_slow };
static const struct way way_single = { .name = "single",
	.summary = "busy for so long, one operation a sample",
	.params = { { "each_ns", 1000 } },
	.metrics = { { "time", "ns" } },
	.batch_max = 1,
	.sample = sample_slow };
static const struct way way_endless = {
	.name = "endless", .summary = "until cancelled", .batch_max = 1, .sample = sample_endless
};
static const struct way way_points = { .name = "points",
	.summary = "records so many points",
	.params = { { "points", 3 } },
	.batch_max = 1,
	.sample = sample_points };
static const struct way way_wander = { .name = "wander",
	.summary = "leaves its CPU",
	.metrics = { { "cpu", "count" } },
	.batch_max = 1,
	.sample = sample_wander };

static filar_plan_options plain_options(int rounds)
{
	filar_plan_options options;

	plan_options_init(&options);
	options.seed = check_seed();
	options.rounds_min = options.rounds_max = rounds;
	options.time_max_ns = 0;
	return options;
}

static struct plan *new_plan(const filar_plan_options *options)
{
	struct plan *plan;

	CHECK_EQ(plan_check_options(options), FILAR_OK);
	CHECK_EQ(plan_create(&plan, options), FILAR_OK);
	return plan;
}

static void add(struct plan *plan, const struct way *way, int64_t parameter, uint32_t batch)
{
	int32_t index;

	CHECK_EQ(plan_add(plan, way, &parameter, way->params[0].name != NULL, batch, &index),
		FILAR_OK);
}

static enum filar_status run(struct plan *plan)
{
	enum filar_status status;

	CHECK_EQ(plan_start(plan), FILAR_OK);
	do {
		status = plan_wait_until(plan, DEADLINE_NEVER);
	} while (status == FILAR_INTERRUPTED);
	return status;
}

static filar_sample *samples_of(struct plan *plan, size_t *count)
{
	filar_sample *samples;

	*count = plan_sample_count(plan);
	samples = calloc(*count + 1, sizeof *samples);
	CHECK(samples != NULL);
	CHECK_EQ(plan_copy_samples(plan, samples, *count), *count);
	return samples;
}

/* ---- rounds and order ---- */

TEST(every_way_runs_once_in_every_round_in_an_order_that_changes)
{
	filar_plan_options options = plain_options(ROUNDS);
	struct plan *plan = new_plan(&options);
	int seen[ROUNDS][WAYS] = { { 0 } }, at[ROUNDS][WAYS], different = 0;
	filar_sample *samples;
	size_t count;

	for (int64_t i = 0; i < WAYS; i++)
		add(plan, &way_trail, i, 1);
	CHECK_EQ(run(plan), FILAR_OK);
	samples = samples_of(plan, &count);
	CHECK_EQ(count, ROUNDS * WAYS);
	for (size_t i = 0; i < count; i++) {
		CHECK_LE(samples[i].way, WAYS - 1);
		CHECK_LE(samples[i].round, ROUNDS - 1);
		CHECK_EQ(samples[i].position, i % WAYS);
		CHECK_EQ(samples[i].round, i / WAYS);
		CHECK_EQ(samples[i].batch, 1);
		CHECK(samples[i].clock_before_ns > 0 && samples[i].clock_after_ns > 0);
		CHECK(isnan(samples[i].values[1]));
		seen[samples[i].round][samples[i].way]++;
		at[samples[i].round][samples[i].position] = (int)samples[i].way;
	}
	for (int round = 0; round < ROUNDS; round++) {
		for (int way = 0; way < WAYS; way++)
			CHECK_EQ(seen[round][way], 1);
		different += memcmp(at[round], at[0], sizeof at[0]) != 0;
	}
	/* 23 rounds in one and the same of 120 orders: 1 in 120^23. */
	CHECK_GE(different, 1);
	free(samples);
	plan_destroy(plan);
}

TEST(one_seed_gives_one_order)
{
	filar_plan_options options = plain_options(ROUNDS);
	filar_sample *samples[2];
	size_t count[2];

	for (int i = 0; i < 2; i++) {
		struct plan *plan = new_plan(&options);

		for (int64_t way = 0; way < WAYS; way++)
			add(plan, &way_trail, way, 1);
		CHECK_EQ(run(plan), FILAR_OK);
		samples[i] = samples_of(plan, &count[i]);
		plan_destroy(plan);
	}
	CHECK_EQ(count[0], count[1]);
	for (size_t i = 0; i < count[0]; i++)
		CHECK_EQ(samples[0][i].way, samples[1][i].way);
	free(samples[0]);
	free(samples[1]);
}

TEST(warm_up_rounds_run_and_leave_no_samples)
{
	filar_plan_options options = plain_options(4);
	struct plan *plan;
	size_t count;

	options.warmup_rounds = 3;
	plan = new_plan(&options);
	add(plan, &way_trail, 0, 1);
	CHECK_EQ(run(plan), FILAR_OK);
	free(samples_of(plan, &count));
	CHECK_EQ(count, 4);
	CHECK_EQ(trails[0].samples, 3 + 4);
	plan_destroy(plan);
}

TEST(the_time_limit_ends_a_plan_but_not_before_the_least_rounds)
{
	filar_plan_options options = plain_options(1000000);
	struct plan *plan;
	size_t count;

	options.rounds_min = 5;
	options.time_max_ns = 1;
	plan = new_plan(&options);
	add(plan, &way_slow, 1000, 1);
	CHECK_EQ(run(plan), FILAR_OK);
	free(samples_of(plan, &count));
	CHECK_EQ(count, 5);
	plan_destroy(plan);
}

/* ---- batches ---- */

TEST(calibration_grows_a_batch_towards_the_target)
{
	filar_plan_options options = plain_options(3);
	struct plan *plan;
	filar_sample *samples;
	size_t count;

	options.sample_target_ns = 2 * NS_PER_MS;
	plan = new_plan(&options);
	add(plan, &way_slow, 1000, 0);
	add(plan, &way_slow, 1000, 17);
	add(plan, &way_single, 1000, 0);
	add(plan, &way_single, 1000, 17);
	CHECK_EQ(run(plan), FILAR_OK);
	samples = samples_of(plan, &count);
	CHECK_EQ(count, 4 * 3);
	for (size_t i = 0; i < count; i++) {
		/* 2,000 on an idle machine.  Whoever is interrupted looks slow and gets less, never
		 * more: a sample never ends early.  One doubling is always possible unless a
		 * millisecond passed in each of two tries. */
		static const uint32_t most[] = { 2000, 17, 1, 1 };

		CHECK_GE(samples[i].batch, 1);
		CHECK_LE(samples[i].batch, most[samples[i].way]);
		if (samples[i].way == 1)
			CHECK_EQ(samples[i].batch, 17);
		CHECK_GE(samples[i].wall_ns, 1000 * (int64_t)samples[i].batch);
	}
	free(samples);
	plan_destroy(plan);
}

/* ---- set-up, failure, teardown ---- */

TEST(set_up_once_or_for_each_sample_and_always_torn_down)
{
	filar_plan_options options = plain_options(6);
	struct plan *plan = new_plan(&options);

	options.warmup_rounds = 1;
	add(plan, &way_trail, 0, 1);
	add(plan, &way_trail_each, 1, 1);
	CHECK_EQ(run(plan), FILAR_OK);
	CHECK_EQ(trails[0].setups, 1);
	CHECK_EQ(trails[0].teardowns, 1);
	CHECK_EQ(trails[0].samples, 7);
	CHECK_EQ(trails[1].setups, 7);
	CHECK_EQ(trails[1].teardowns, 7);
	CHECK_EQ(trails[1].samples, 7);
	CHECK_EQ(trails[0].teardowns_without_state + trails[1].teardowns_without_state, 0);
	plan_destroy(plan);
}

/* Whatever fails, the others go on, and every setup, also a failed one, has its one teardown. */
TEST(a_way_that_fails_stops_alone)
{
	filar_plan_options options = plain_options(6);
	struct plan *plan = new_plan(&options);
	const char *detail = NULL;
	filar_sample *samples;
	size_t count;
	int of_way[WAYS] = { 0 };

	trails[0] = (struct trail){ .fail_setup_at = 1 };
	trails[1] = (struct trail){ .fail_setup_at = 1, .half_made = 1 };
	trails[2] = (struct trail){ .fail_sample_at = 4 };
	trails[3] = (struct trail){ .fail_setup_at = 3, .half_made = 1 };
	add(plan, &way_trail, 0, 1);
	add(plan, &way_trail, 1, 1);
	add(plan, &way_trail, 2, 1);
	add(plan, &way_trail_each, 3, 1);
	add(plan, &way_trail, 4, 1);
	CHECK_EQ(run(plan), FILAR_OK);
	CHECK_EQ(plan_way_status(plan, 0, &detail), FILAR_LIMIT);
	CHECK_TEXT_HAS(detail, "no more of these");
	CHECK_EQ(plan_way_status(plan, 1, &detail), FILAR_LIMIT);
	CHECK_EQ(plan_way_status(plan, 2, &detail), FILAR_SYSTEM);
	CHECK_TEXT_HAS(detail, "sample 4 failed");
	CHECK_EQ(plan_way_status(plan, 3, &detail), FILAR_LIMIT);
	CHECK_EQ(plan_way_status(plan, 4, &detail), FILAR_OK);
	for (int i = 0; i < WAYS; i++)
		CHECK_EQ(trails[i].setups, trails[i].teardowns);
	CHECK_EQ(trails[1].teardowns_without_state, 0);
	CHECK_EQ(trails[2].samples, 4);
	CHECK_EQ(trails[4].samples, 7);
	samples = samples_of(plan, &count);
	for (size_t i = 0; i < count; i++)
		of_way[samples[i].way]++;
	CHECK_EQ(of_way[0] + of_way[1], 0);
	CHECK_EQ(of_way[2],
		2); /* the first of its four samples was the warm-up's, the last failed */
	CHECK_EQ(of_way[3], 1); /* likewise the third of its setups */
	CHECK_EQ(of_way[4], 6);
	free(samples);
	plan_destroy(plan);
}

TEST(a_plan_of_which_nothing_works_ends_at_once)
{
	filar_plan_options options = plain_options(1000000);
	struct plan *plan = new_plan(&options);

	trails[0].fail_setup_at = 1;
	add(plan, &way_trail, 0, 1);
	CHECK_EQ(run(plan), FILAR_OK);
	CHECK_EQ(plan_sample_count(plan), 0);
	plan_destroy(plan);
}

/* ---- cancelling and waiting ---- */

TEST(cancelling_ends_an_endless_sample_and_keeps_what_was_measured)
{
	filar_plan_options options = plain_options(10);
	struct plan *plan = new_plan(&options);

	add(plan, &way_trail, 0, 1);
	add(plan, &way_endless, 0, 1);
	CHECK_EQ(plan_start(plan), FILAR_OK);
	WAIT_UNTIL(load_acquire(&sampling));
	CHECK_EQ(plan_wait_until(plan, clock_now_ns() + NS_PER_MS), FILAR_TIMED_OUT);
	CHECK_EQ(plan_sample_count(plan), 0); /* nothing to be had while it runs */
	CHECK_EQ(plan_way_status(plan, 0, NULL), FILAR_BUSY);
	plan_cancel(plan);
	CHECK_EQ(plan_wait_until(plan, DEADLINE_NEVER), FILAR_CANCELLED);
	CHECK_EQ(trails[0].setups, trails[0].teardowns);
	plan_destroy(plan);
}

TEST(destroying_a_running_plan_cancels_it)
{
	filar_plan_options options = plain_options(10);
	struct plan *plan = new_plan(&options);

	add(plan, &way_endless, 0, 1);
	CHECK_EQ(plan_start(plan), FILAR_OK);
	plan_destroy(plan);
}

TEST(what_comes_in_the_wrong_order_is_refused)
{
	filar_plan_options options = plain_options(2);
	struct plan *plan = new_plan(&options);
	int64_t parameters[FILAR_PARAMS_MAX] = { 0 };
	int32_t index;

	CHECK_EQ(plan_wait_until(plan, 0), FILAR_WRONG_STATE);
	CHECK_EQ(plan_start(plan), FILAR_WRONG_STATE);
	CHECK_TEXT_HAS(filar_status_detail(), "no ways");
	CHECK_EQ(plan_way_status(plan, 0, NULL), FILAR_NOT_FOUND);
	CHECK_EQ(plan_add(plan, &way_trail, parameters, 2, 1, &index), FILAR_INVALID);
	CHECK_TEXT_HAS(filar_status_detail(), "takes 1 parameters, not 2");
	add(plan, &way_trail, 0, 1);
	CHECK_EQ(plan_start(plan), FILAR_OK);
	CHECK_EQ(plan_start(plan), FILAR_WRONG_STATE);
	CHECK_EQ(plan_add(plan, &way_trail, NULL, 0, 1, &index), FILAR_WRONG_STATE);
	CHECK_EQ(plan_wait_until(plan, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(plan_wait_until(plan, DEADLINE_NEVER), FILAR_OK);
	plan_destroy(plan);
}

TEST(bad_options_are_refused_with_a_sentence)
{
	filar_plan_options options, bad[6];

	plan_options_init(&options);
	CHECK_EQ(plan_check_options(&options), FILAR_OK);
	for (size_t i = 0; i < FILAR_COUNT_OF(bad); i++)
		bad[i] = options;
	bad[0].rounds_min = 0;
	bad[1].rounds_max = bad[1].rounds_min - 1;
	bad[2].time_max_ns = -1;
	bad[3].sample_target_ns = -1;
	bad[4].warmup_rounds = -1;
	bad[5].driver_cpu = CPUS_MAX;
	for (size_t i = 0; i < FILAR_COUNT_OF(bad); i++) {
		filar_status_detail_clear();
		CHECK_EQ(plan_check_options(&bad[i]), i == 5 ? FILAR_NO_CPU : FILAR_INVALID);
		CHECK(filar_status_detail()[0] != '\0');
	}
}

TEST(a_driver_on_a_cpu_that_is_not_there_is_refused_and_leaves_the_plan_as_it_was)
{
	filar_plan_options options = plain_options(2);
	struct plan *plan;

	options.driver_cpu = CPUS_MAX - 1;
	plan = new_plan(&options);
	add(plan, &way_trail, 0, 1);
	CHECK_EQ(plan_start(plan), FILAR_NO_CPU);
	CHECK_EQ(plan_wait_until(plan, 0), FILAR_WRONG_STATE);
	CHECK_EQ(trails[0].setups, 0);
	plan_destroy(plan);
}

/* ---- what a way leaves behind ---- */

TEST(points_are_kept_from_counted_rounds_only)
{
	filar_plan_options options = plain_options(4);
	struct plan *plan;
	filar_point points[16];

	options.warmup_rounds = 2;
	plan = new_plan(&options);
	add(plan, &way_points, 3, 1);
	CHECK_EQ(run(plan), FILAR_OK);
	CHECK_EQ(plan_point_count(plan), 4 * 3);
	CHECK_EQ(plan_copy_points(plan, points, 16), 12);
	CHECK_EQ(plan_points_lost(plan), 0);
	for (int i = 0; i < 12; i++) {
		CHECK_EQ(points[i].kind, 7);
		CHECK_EQ(points[i].round, i / 3);
		CHECK_EQ(points[i].subject, i % 3);
	}
	CHECK_EQ(plan_copy_points(plan, points, 5), 5);
	plan_destroy(plan);
}

TEST(points_beyond_the_limit_are_counted_as_lost)
{
	filar_plan_options options = plain_options(1);
	struct plan *plan;

	options.warmup_rounds = 0;
	plan = new_plan(&options);
	add(plan, &way_points, 2000000 + 11, 1);
	CHECK_EQ(run(plan), FILAR_OK);
	CHECK_EQ(plan_point_count(plan), 2000000);
	CHECK_EQ(plan_points_lost(plan), 11);
	plan_destroy(plan);
}

TEST(a_way_that_moves_the_driver_is_brought_back_and_the_caller_stays_where_it_was)
{
	filar_plan_options options = plain_options(ROUNDS);
	struct cpu_mask before, after;
	struct plan *plan;
	filar_sample *samples;
	size_t count;
	int32_t cpu;

	CHECK_EQ(affinity_get(0, &before), FILAR_OK);
	cpu = cpu_mask_next(&before, 0);
	options.driver_cpu = cpu;
	plan = new_plan(&options);
	add(plan, &way_wander, 0, 1);
	CHECK_EQ(run(plan), FILAR_OK);
	samples = samples_of(plan, &count);
	CHECK_EQ(count, ROUNDS);
	for (size_t i = 0; i < count; i++) {
		CHECK_EQ((int)samples[i].values[0], cpu);
		CHECK_EQ(samples[i].cpu_before, cpu);
	}
	free(samples);
	plan_destroy(plan);
	CHECK_EQ(affinity_get(0, &after), FILAR_OK);
	CHECK(memcmp(&before.bits, &after.bits, before.bytes) == 0);
}

TEST(progress_goes_from_setting_up_to_ended)
{
	filar_plan_options options = plain_options(3);
	struct plan *plan = new_plan(&options);
	filar_plan_progress progress;

	plan_read_progress(plan, &progress);
	CHECK_EQ(progress.phase, 0);
	CHECK_EQ(progress.current_way, -1);
	add(plan, &way_trail, 0, 1);
	CHECK_EQ(run(plan), FILAR_OK);
	plan_read_progress(plan, &progress);
	CHECK_EQ(progress.phase, 4);
	CHECK_EQ(progress.rounds_done, 3);
	CHECK_EQ(progress.rounds_planned, 3);
	CHECK_EQ(progress.current_way, -1);
	CHECK_GE(progress.elapsed_ns, 1);
	plan_destroy(plan);
}

TEST(no_name_stands_twice_in_the_registry)
{
	for (int32_t i = 0; i < way_count(); i++) {
		CHECK(way_find(way_at(i)->name) == way_at(i));
		CHECK(way_at(i)->sample != NULL && way_at(i)->summary[0] != '\0');
	}
	CHECK(way_at(way_count()) == NULL);
	CHECK(way_find("no such way") == NULL);
}

TEST(the_floor_ways_run_and_cost_something)
{
	filar_plan_options options = plain_options(2);
	struct plan *plan = new_plan(&options);
	filar_sample *samples;
	int32_t index;
	size_t count, ways = 0;

	for (const struct way *way = ways_floor; way->name != NULL; way++, ways++)
		CHECK_EQ(plan_add(plan, way, NULL, 0, 16, &index), FILAR_OK);
	CHECK_EQ(run(plan), FILAR_OK);
	samples = samples_of(plan, &count);
	CHECK_EQ(count, 2 * ways);
	for (size_t i = 0; i < count; i++)
		CHECK(samples[i].values[0] > 0);
	free(samples);
	plan_destroy(plan);
}

TEST_MAIN()
