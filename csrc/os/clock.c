/*
 * clock.c - reading time, and how many nanoseconds a tick of the CPU's counter lasts.
 *
 * Calibration: a *pair* is a reading of CLOCK_MONOTONIC between two readings of the counter; its
 * error is at most half the distance of those two.  Of several tries the tightest is kept, so an
 * interrupt in between does no harm.  Two pairs CALIBRATION_NS apart give the rate; with pairs good
 * to 50 ns the rate is good to 20 ppm, which is 20 ns in a stamp of a millisecond.  The first pair
 * is kept: the longer the process lives, the better clock_describe() can say how the rate has held.
 */
#include "os/clock.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "os/textfile.h"

#define CALIBRATION_NS   (5 * NS_PER_MS)
#define PAIR_TRIES       32
#define READ_BATCHES     8
#define READS_PER_BATCH  256
#define CLOCKSOURCE_PATH "/sys/devices/system/clocksource/clocksource0/current_clocksource"

struct clock_state clock_state;

/* One moment on both clocks. */
struct pair {
	uint64_t ticks;
	int64_t ns;
	uint64_t error_ticks; /* the true tick of `ns` is at most this far from `ticks` */
};

static struct pair first_pair; /* I  after C1 */
static pthread_once_t calibrate_once = PTHREAD_ONCE_INIT;

/* ---- the clocks ---- */

static int64_t read_clock(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

int64_t clock_now_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

int64_t clock_coarse_ns(void)
{
	return read_clock(CLOCK_MONOTONIC_COARSE);
}

int64_t clock_thread_cpu_ns(void)
{
	return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

struct timespec clock_timespec(int64_t ns)
{
	if (ns < 0)
		ns = 0;
	return (struct timespec){ .tv_sec = (time_t)(ns / NS_PER_S),
		.tv_nsec = (long)(ns % NS_PER_S) };
}

/* ---- calibration ---- */

static struct pair take_pair(void)
{
	struct pair best = { .error_ticks = UINT64_MAX };

	for (int i = 0; i < PAIR_TRIES; i++) {
		uint64_t before = cpu_ticks_ordered();
		int64_t ns = clock_now_ns();
		uint64_t error = (cpu_ticks_ordered() - before + 1) / 2;

		if (error < best.error_ticks)
			best = (struct pair){ before + error, ns, error };
	}
	return best;
}

static double rate_between(const struct pair *from, const struct pair *to)
{
	return (double)(to->ns - from->ns) / (double)(to->ticks - from->ticks);
}

static double measure_rate(void)
{
	struct pair last;

	first_pair = take_pair();
	do {
		cpu_pause();
		last = take_pair();
	} while (last.ns - first_pair.ns < CALIBRATION_NS);
	return rate_between(&first_pair, &last);
}

/* True when the kernel's own clock source is the counter; writes what it is. */
static bool kernel_uses_counter(const char *path, char name[32])
{
	char *text;

	snprintf(name, 32, "not known");
	if (path[0] == '\0' || textfile_read(&text, "%s", path) != FILAR_OK)
		return false;
	snprintf(name, 32, "%.*s", (int)strcspn(text, "\n"), text);
	memory_release(text);
	return strcmp(name, CPU_TICKS_CLOCKSOURCE) == 0;
}

static void publish(enum clock_tick_source source, double ns_per_tick)
{
	clock_state.ns_per_tick = ns_per_tick;
	/* C1: release; pairs with C2 in clock_describe().  Other threads may see the source early
	 * and call clock_ticks(); only those that called clock_calibrate() convert. */
	store_release(&clock_state.source, source);
}

static void decide(const char *clocksource_path)
{
	char kernel[32];
	double rate;

	if (!cpu_ticks_are_invariant()) {
		snprintf(clock_state.text, sizeof clock_state.text,
			"CLOCK_MONOTONIC: the counter of this CPU does not keep one rate");
		publish(CLOCK_TICKS_MONOTONIC, 1);
		return;
	}
	if (!kernel_uses_counter(clocksource_path, kernel)) {
		snprintf(clock_state.text, sizeof clock_state.text,
			"CLOCK_MONOTONIC: the kernel's clock source is %s, not %s", kernel,
			CPU_TICKS_CLOCKSOURCE);
		publish(CLOCK_TICKS_MONOTONIC, 1);
		return;
	}
	rate = measure_rate();
	/* 1 MHz to 100 GHz; anything else is an emulator's joke. */
	if (!(rate > 0.01 && rate < 1000)) {
		snprintf(clock_state.text, sizeof clock_state.text,
			"CLOCK_MONOTONIC: the CPU's counter gave %g ns a tick", rate);
		publish(CLOCK_TICKS_MONOTONIC, 1);
		return;
	}
	snprintf(clock_state.text, sizeof clock_state.text,
		"the CPU's counter (%s, invariant, %.3f GHz, also the kernel's clock source)",
		CPU_TICKS_CLOCKSOURCE, 1 / rate);
	publish(CLOCK_TICKS_COUNTER, rate);
}

static void decide_for_this_machine(void)
{
	decide(CLOCKSOURCE_PATH);
}

void clock_calibrate(void)
{
	pthread_once(&calibrate_once, decide_for_this_machine);
}

void clock_recalibrate_as(const char *clocksource_path)
{
	clock_calibrate();
	decide(clocksource_path);
}

/* ---- the public facts ---- */

static int64_t least(int64_t left, int64_t right)
{
	return left < right ? left : right;
}

static double cost_of_now(void)
{
	int64_t best = INT64_MAX;

	for (int batch = 0; batch < READ_BATCHES; batch++) {
		int64_t start = clock_now_ns();

		for (int i = 0; i < READS_PER_BATCH; i++)
			FILAR_KEEP(clock_now_ns());
		best = least(best, clock_now_ns() - start);
	}
	return (double)best / READS_PER_BATCH;
}

static double cost_of_ticks(void)
{
	int64_t best = INT64_MAX;

	for (int batch = 0; batch < READ_BATCHES; batch++) {
		int64_t start = clock_now_ns();

		for (int i = 0; i < READS_PER_BATCH; i++)
			FILAR_KEEP(clock_ticks());
		best = least(best, clock_now_ns() - start);
	}
	return (double)best / READS_PER_BATCH;
}

/* How the rate since the first pair differs from the calibrated one. */
static void read_drift(filar_clock_info *info)
{
	struct pair now = take_pair();

	info->drift_ppm = (rate_between(&first_pair, &now) / info->tsc_ns_per_tick - 1) * 1e6;
	info->drift_error_ppm = (double)(first_pair.error_ticks + now.error_ticks) /
				(double)(now.ticks - first_pair.ticks) * 1e6;
}

void clock_describe(filar_clock_info *info)
{
	clock_calibrate();
	*info = (filar_clock_info){ .source = clock_state.text };
	/* C2: acquire; pairs with C1. */
	info->tsc_used = load_acquire(&clock_state.source) == CLOCK_TICKS_COUNTER;
	info->tsc_ns_per_tick = clock_state.ns_per_tick;
	info->read_ns = cost_of_now();
	info->tick_read_ns = cost_of_ticks();
	if (info->tsc_used)
		read_drift(info);
}
