/*
 * test_clock.c - deadlines and stamps: what is exact, what is bounded, what falls back.
 */
#include <math.h>
#include <pthread.h>

#include "arch/cpu.h"
#include "check.h"
#include "faketree.h"
#include "filar.h"
#include "os/affinity.h"
#include "os/clock.h"

static int64_t system_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

TEST(clock_now_lies_between_two_readings_of_the_system_clock)
{
	for (int i = 0; i < 10000; i++) {
		int64_t before = system_now_ns(), now = filar_now_ns(), after = system_now_ns();

		CHECK_LE(before, now);
		CHECK_LE(now, after);
	}
}

TEST(the_coarse_clock_is_that_of_the_last_tick)
{
	int64_t first = clock_coarse_ns();

	CHECK_LE(first, clock_now_ns());
	WAIT_UNTIL(clock_coarse_ns() > first);
	CHECK_LE(clock_coarse_ns(), clock_now_ns());
}

TEST(clock_timespec_splits_and_clips)
{
	struct timespec time = clock_timespec(3 * NS_PER_S + 7);

	CHECK_EQ(time.tv_sec, 3);
	CHECK_EQ(time.tv_nsec, 7);
	time = clock_timespec(-5);
	CHECK_EQ(time.tv_sec, 0);
	CHECK_EQ(time.tv_nsec, 0);
}

TEST(clock_thread_cpu_time_grows_with_work)
{
	int64_t start = clock_thread_cpu_ns();

	WAIT_UNTIL(clock_thread_cpu_ns() > start);
}

TEST(ticks_never_go_back_on_one_thread)
{
	int64_t last;

	clock_calibrate();
	last = clock_ticks_ordered();
	for (int i = 0; i < 100000; i++) {
		int64_t now = clock_ticks_ordered();

		CHECK_LE(last, now);
		last = now;
	}
}

/* The length of an interval in ticks lies between the lengths of the intervals inside and around
 * it.  A preemption anywhere only loosens the bounds. */
TEST(ticks_measure_the_same_as_the_monotonic_clock)
{
	int64_t outer_start, outer_end, inner_start, inner_end, start, end;
	double ns, slack;

	clock_calibrate();
	outer_start = clock_now_ns();
	start = clock_ticks_ordered();
	inner_start = clock_now_ns();
	do
		inner_end = clock_now_ns();
	while (inner_end - inner_start < 20 * NS_PER_MS);
	end = clock_ticks_ordered();
	outer_end = clock_now_ns();
	ns = clock_ticks_to_ns(end - start);
	slack = ns * 300e-6 + 200; /* rate good to 300 ppm, a reading to 100 ns */
	CHECK(ns >= (double)(inner_end - inner_start) - slack);
	CHECK(ns <= (double)(outer_end - outer_start) + slack);
}

/* A ball with a stamp goes from CPU to CPU: what is received was stamped before. */
static _Atomic int64_t ball;
enum { THROWS = 20000, THROWS_AT_LEAST = 500 };
#define GAME_OVER INT64_MIN

/* On a busy machine a throw may have to wait for others' turns: then fewer do. */
static void catch_and_throw(int cpu, int64_t parity)
{
	int64_t seen, last = 0, end_ns = clock_now_ns() + NS_PER_S;

	(void)affinity_pin_self(cpu); /* where it is refused, one CPU passes the test as well */
	for (int i = 0; i < THROWS; i++) {
		while (((seen = load_acquire(&ball)) & 1) != parity && seen != GAME_OVER)
			cpu_pause();
		if (seen == GAME_OVER)
			return;
		CHECK_LE(seen >> 1, clock_ticks_ordered());
		CHECK_LE(last, seen >> 1);
		last = clock_ticks_ordered();
		if (parity == 0 && i >= THROWS_AT_LEAST && clock_now_ns() > end_ns) {
			store_release(&ball, GAME_OVER);
			return;
		}
		store_release(&ball, (last << 1) | !parity);
	}
}

static void *other_player(void *cpu)
{
	catch_and_throw(*(int *)cpu, 1);
	return NULL;
}

TEST(ticks_are_in_step_on_two_cpus)
{
	struct cpu_mask allowed;
	pthread_t thread;
	int first, second;

	clock_calibrate();
	CHECK_EQ(affinity_get(0, &allowed), FILAR_OK);
	first = cpu_mask_next(&allowed, 0);
	second = cpu_mask_next(&allowed, first + 1);
	if (second < 0) {
		puts("skipped: one CPU only");
		return;
	}
	CHECK_EQ(pthread_create(&thread, NULL, other_player, &second), 0);
	catch_and_throw(first, 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

TEST(describe_tells_source_cost_and_drift)
{
	filar_clock_info info;

	CHECK_EQ(filar_clock_describe(&info), FILAR_OK);
	CHECK(info.read_ns > 0 && info.tick_read_ns > 0);
	CHECK(info.source[0] != '\0');
	if (info.tsc_used != 0) {
		/* The kernel steers CLOCK_MONOTONIC by at most 500 ppm. */
		CHECK(fabs(info.drift_ppm) <= 600 + info.drift_error_ppm);
		CHECK(info.drift_error_ppm > 0);
	} else {
		CHECK_TEXT_HAS(info.source, "CLOCK_MONOTONIC");
		CHECK(info.tsc_ns_per_tick == 1);
	}
	CHECK_EQ(filar_clock_describe(NULL), FILAR_INVALID);
}

static void check_fallback(const char *path, const char *named)
{
	filar_clock_info info;

	clock_recalibrate_as(path);
	clock_describe(&info);
	CHECK_EQ(info.tsc_used, 0);
	CHECK(info.tsc_ns_per_tick == 1);
	CHECK_TEXT_HAS(info.source, "CLOCK_MONOTONIC");
	CHECK_TEXT_HAS(info.source, named);
	for (int i = 0; i < 1000; i++) {
		int64_t before = clock_now_ns(), ticks = clock_ticks(), after = clock_now_ns();

		CHECK_LE(before, ticks);
		CHECK_LE(ticks, after);
	}
}

TEST(ticks_fall_back_where_the_kernel_does_not_trust_the_counter)
{
	char path[128];

	tree_make();
	tree_file("hpet\n", "clocksource");
	snprintf(path, sizeof path, "%s/clocksource", tree_root);
	check_fallback(path, cpu_ticks_are_invariant() ? "hpet" : "rate");
}

TEST(ticks_fall_back_without_sys)
{
	check_fallback(
		"/nonexistent/clocksource", cpu_ticks_are_invariant() ? "not known" : "rate");
}

TEST_MAIN()
