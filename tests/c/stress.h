/*
 * stress.h - a crowd of threads that starts at once and goes on for a while.
 *
 * A stress test runs for stress_seconds() (default 1 in all for a test, FILAR_STRESS_SECONDS
 * lengthens it).  The time decides only how often the interleaving gets a chance; whether the test
 * passes never depends on it.  A lost wake-up shows as a hang, which check.h reports.
 */
#ifndef FILAR_TESTS_STRESS_H
#define FILAR_TESTS_STRESS_H

#include <pthread.h>
#include <sched.h>

#include "arch/cpu.h"
#include "base/atomic.h"
#include "base/random.h"
#include "check.h"
#include "os/clock.h"

#define STRESS_THREADS_MAX 64

struct stress_thread {
	void (*body)(struct stress_thread *self);
	void *shared;
	int index;
	struct random random;
	pthread_t pthread;
};

static pthread_barrier_t stress_barrier;
static int64_t stress_end_ns;

__attribute__((unused)) static double stress_seconds(void)
{
	const char *text = getenv("FILAR_STRESS_SECONDS");
	double seconds = text != NULL ? strtod(text, NULL) : 1;

	return seconds > 0 ? seconds : 1;
}

/* More than the CPUs, so that holders and sleepers lose theirs. */
__attribute__((unused)) static int stress_thread_count(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	return cpus < 1 ? 6 : cpus > 10 ? STRESS_THREADS_MAX / 2 : (int)cpus * 3;
}

/* Call in loops: true until the time of this part is over, which may be before it has begun.  Where
 * something must have happened it stands at the loop's end. */
__attribute__((unused)) static bool stress_goes_on(void)
{
	return clock_now_ns() < stress_end_ns;
}

/* A pause of random length, most often none: moves one thread's steps against another's. */
__attribute__((unused)) static void stress_jitter(struct random *random)
{
	uint32_t draw = random_below(random, 16);

	if (draw == 0)
		sched_yield();
	for (uint32_t i = random_below(random, 1 << draw / 2); i > 0; i--)
		cpu_pause();
}

__attribute__((unused)) static void *stress_thread_main(void *pointer)
{
	struct stress_thread *self = pointer;

	pthread_barrier_wait(&stress_barrier);
	self->body(self);
	return NULL;
}

/* Runs `count` threads to their end; thread i runs bodies[i % kinds].  `share` is the part of
 * stress_seconds() this run may take. */
__attribute__((unused)) static void stress_run_kinds(void (*const bodies[])(struct stress_thread *),
	int kinds, int count, void *shared, double share)
{
	static struct stress_thread threads[STRESS_THREADS_MAX];

	CHECK_LE(count, STRESS_THREADS_MAX);
	alarm((unsigned)(stress_seconds() * share) + test_seconds_max());
	stress_end_ns = clock_now_ns() + (int64_t)(stress_seconds() * share * 1e9);
	CHECK_EQ(pthread_barrier_init(&stress_barrier, NULL, (unsigned)count), 0);
	for (int i = 0; i < count; i++) {
		threads[i] = (struct stress_thread){
			.body = bodies[i % kinds], .shared = shared, .index = i
		};
		random_init(&threads[i].random, random_mix(check_seed() + (uint64_t)i));
		CHECK_EQ(pthread_create(&threads[i].pthread, NULL, stress_thread_main, &threads[i]),
			0);
	}
	for (int i = 0; i < count; i++)
		CHECK_EQ(pthread_join(threads[i].pthread, NULL), 0);
	pthread_barrier_destroy(&stress_barrier);
}

__attribute__((unused)) static void stress_run(
	void (*body)(struct stress_thread *), int count, void *shared, double share)
{
	stress_run_kinds(&body, 1, count, shared, share);
}

#endif
