/*
 * pool.h - the lines of the pools (P1 to P10), measured in the same way for every peer: a program
 * says how its library submits, waits, loops and forks, and calls pool_main().
 *
 * Threads: lines with submissions (P1, P2, P7, P8) have `threads` workers besides the one that
 * submits; loops and forks (P3 to P6, P9) have `threads` threads in all.
 */
#ifndef PEER_POOL_H
#define PEER_POOL_H

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "peer.h"

enum {
	POOL_TASKS = 200000,
	POOL_FIB = 27,
	POOL_FIB_FORKS = 832039, /* inner nodes of fib(27) */
	POOL_ROUND_TRIPS = 20000,
	POOL_WAKES_FIRST = 5, /* of a new pool: where its thread runs is not settled */
	POOL_WAKES = 400,
	POOL_WAKE_PAUSE_US = 5000,
	POOL_LOOPS = 3000,    /* P4 */
	POOL_SHORT = 1000,    /* steps of P4 */
	POOL_LONG = 1000000,  /* steps of P5 */
	POOL_PICTURE = 1024,  /* P6: rows and columns */
	POOL_ITERATIONS = 200 /* P6 */
};

enum pool_loop { POOL_LOOP_STATIC, POOL_LOOP_DYNAMIC, POOL_LOOP_BEST };

typedef void pool_body(void *argument);
typedef void pool_range(int64_t begin, int64_t end, void *ctx);

struct pool_peer {
	/* submitting: so many workers besides the caller; loops: so many threads in all. */
	void (*start)(int threads, bool submitting);
	void (*stop)(void);
	void (*submit)(pool_body *body, void *argument); /* NULL: cannot */
	void (*submit_many)(pool_body *body, int count); /* NULL: cannot */
	void (*wait)(void);                              /* for all that was submitted */
	/* NULL: cannot; names[kind] NULL: has no such schedule. */
	void (*loop)(enum pool_loop kind, int64_t count, pool_range *body, void *ctx);
	const char *names[3];
	void (*fib)(int n, int64_t *result); /* a fork per call; NULL: cannot */
};

static const struct pool_peer *pool_peer;

/* ---- P1, P2, P8: submit ---- */

static int64_t pool_ran;

static void pool_empty(void *argument)
{
	(void)argument;
}

static void pool_count(void *argument)
{
	(void)argument;
	__atomic_fetch_add(&pool_ran, 1, __ATOMIC_RELAXED);
}

static void pool_name(char *name, size_t bytes, const char *what, const char *how, int threads)
{
	snprintf(name, bytes, "%s%s%s_%d", what, how[0] != 0 ? "_" : "", how, threads);
}

static void *pool_producer(void *argument)
{
	long count = (long)(intptr_t)argument;

	for (long i = 0; i < count; i++)
		pool_peer->submit(pool_empty, NULL);
	return NULL;
}

static void pool_p1(void)
{
	for (int threads = 1; threads <= 2; threads++) {
		char name[40];

		for (int sample = 0; sample < PEER_SAMPLES; sample++) {
			struct peer_watch watch;

			pool_peer->start(threads, true);
			pool_producer((void *)(intptr_t)1000); /* warm */
			pool_peer->wait();
			watch = peer_begin();
			pool_producer((void *)(intptr_t)POOL_TASKS);
			pool_peer->wait();
			pool_name(name, sizeof name, "submit", "", threads);
			peer_end(watch, "P1", name, POOL_TASKS, "ns");
			if (pool_peer->submit_many != NULL) {
				watch = peer_begin();
				pool_peer->submit_many(pool_empty, POOL_TASKS);
				pool_peer->wait();
				pool_name(name, sizeof name, "batch", "", threads);
				peer_end(watch, "P1", name, POOL_TASKS, "ns");
			}
			pool_peer->stop();
		}
	}
}

static void pool_p2(void)
{
	for (int threads = 1; threads <= 2; threads++) {
		char name[40];

		for (int sample = 0; sample < PEER_SAMPLES; sample++) {
			struct peer_watch watch;
			pthread_t other;

			pool_peer->start(threads, true);
			pool_producer((void *)(intptr_t)1000);
			pool_peer->wait();
			watch = peer_begin();
			pthread_create(
				&other, NULL, pool_producer, (void *)(intptr_t)(POOL_TASKS / 2));
			pool_producer((void *)(intptr_t)(POOL_TASKS / 2));
			pthread_join(other, NULL);
			pool_peer->wait();
			pool_name(name, sizeof name, "producers", "", threads);
			peer_end(watch, "P2", name, POOL_TASKS, "ns");
			pool_peer->stop();
		}
	}
}

/* The task must run on a worker: its submitter looks for its end without helping. */
static void pool_round_trip(void)
{
	int64_t before = __atomic_load_n(&pool_ran, __ATOMIC_RELAXED);

	pool_peer->submit(pool_count, NULL);
	for (int looks = 0; __atomic_load_n(&pool_ran, __ATOMIC_ACQUIRE) == before; looks++) {
		if (looks > 2000)
			sched_yield();
	}
	pool_peer->wait();
}

static void pool_p8(void)
{
	for (int threads = 1; threads <= 2; threads++) {
		struct peer_watch watch;
		char name[40];

		pool_peer->start(threads, true);
		for (int sample = 0; sample < PEER_SAMPLES; sample++) {
			watch = peer_begin();
			for (int i = 0; i < POOL_ROUND_TRIPS; i++)
				pool_round_trip();
			pool_name(name, sizeof name, "round_trip", "", threads);
			peer_end(watch, "P8", name, POOL_ROUND_TRIPS * 1e3, "us");
		}
		pool_peer->stop();
	}
}

/* ---- P7: from silence to the first instruction ---- */

static double pool_began_ns;

static void pool_stamp(void *argument)
{
	(void)argument;
	pool_began_ns = peer_now_ns();
}

static int pool_compare(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

/* From 5 ms of silence, ns. */
static double pool_wake_ns(void)
{
	double sent_ns;

	pool_peer->submit(pool_count, NULL);
	pool_peer->wait();
	peer_sleep_us(POOL_WAKE_PAUSE_US);
	sent_ns = peer_now_ns();
	pool_peer->submit(pool_stamp, NULL);
	/* The submitter must not help, nor hold the CPU: it looks again in a while. */
	peer_sleep_us(1000);
	pool_peer->wait();
	return pool_began_ns - sent_ns;
}

static void pool_p7(void)
{
	static double delays[POOL_WAKES];

	pool_peer->start(1, true);
	for (int i = 0; i < POOL_WAKES_FIRST; i++)
		delays[i] = pool_wake_ns();
	qsort(delays, POOL_WAKES_FIRST, sizeof delays[0], pool_compare);
	peer_value("P7", "wake_first", delays[POOL_WAKES_FIRST / 2] / 1e3, "us");
	for (int i = 0; i < POOL_WAKES; i++)
		delays[i] = pool_wake_ns();
	pool_peer->stop();
	qsort(delays, POOL_WAKES, sizeof delays[0], pool_compare);
	peer_value("P7", "wake_p50", delays[POOL_WAKES / 2] / 1e3, "us");
	peer_value("P7", "wake_p99", delays[POOL_WAKES * 99 / 100] / 1e3, "us");
}

/* ---- P3: fork and join ---- */

static void pool_p3(void)
{
	for (int threads = 1; threads <= 2; threads++) {
		pool_peer->start(threads, false);
		for (int sample = 0; sample < PEER_SAMPLES; sample++) {
			struct peer_watch watch;
			int64_t result = 0;
			char name[40];

			watch = peer_begin();
			pool_peer->fib(POOL_FIB, &result);
			pool_name(name, sizeof name, "fork", "", threads);
			peer_end(watch, "P3", name, POOL_FIB_FORKS, "ns");
			if (result != 196418) {
				fprintf(stderr, "fib is %ld\n", (long)result);
				exit(1);
			}
		}
		pool_peer->stop();
	}
}

/* ---- P4 to P6, P9: loops ---- */

/* Small enough to stay in the cache, and each thread's own: the loop is to be measured, not the
 * memory, nor how two CPUs take lines from each other. */
enum { POOL_DATA = 2048 };
static __thread float pool_data[POOL_DATA];

static void pool_trivial(int64_t begin, int64_t end, void *ctx)
{
	float *data = pool_data;

	(void)ctx;
	for (int64_t i = begin; i < end; i++)
		data[i & (POOL_DATA - 1)] = data[i & (POOL_DATA - 1)] * 1.0000001F + 0.5F;
}

/* Rows differ by a factor of a hundred. */
static uint16_t pool_picture[POOL_PICTURE][POOL_PICTURE];

static void pool_mandelbrot(int64_t begin, int64_t end, void *ctx)
{
	(void)ctx;
	for (int64_t row = begin; row < end; row++) {
		double ci = -1.25 + 2.5 * (double)row / POOL_PICTURE;

		for (int column = 0; column < POOL_PICTURE; column++) {
			double cr = -2.0 + 2.5 * column / POOL_PICTURE, zr = 0, zi = 0;
			int steps = 0;

			while (steps < POOL_ITERATIONS && zr * zr + zi * zi < 4) {
				double next = zr * zr - zi * zi + cr;

				zi = 2 * zr * zi + ci;
				zr = next;
				steps++;
			}
			pool_picture[row][column] = (uint16_t)steps;
		}
		/* Somebody looks at it. */
		__asm__ volatile("" : : "r"(pool_picture) : "memory");
	}
}

static void pool_loops(const char *line, int64_t steps, int repeats, double divisor,
	const char *unit, pool_range *body)
{
	char name[40];

	pool_peer->start(2, false);
	for (int kind = 0; kind < 3; kind++) {
		if (pool_peer->names[kind] == NULL)
			continue;
		pool_peer->loop((enum pool_loop)kind, steps, body, NULL);
		for (int sample = 0; sample < PEER_SAMPLES; sample++) {
			struct peer_watch watch = peer_begin();

			for (int i = 0; i < repeats; i++)
				pool_peer->loop((enum pool_loop)kind, steps, body, NULL);
			pool_name(name, sizeof name, pool_peer->names[kind], "", 2);
			peer_end(watch, line, name, repeats * divisor, unit);
		}
	}
	pool_peer->stop();
}

static void pool_p4(void)
{
	pool_loops("P4", POOL_SHORT, POOL_LOOPS, 1e3, "us", pool_trivial);
}

static void pool_p5(void)
{
	pool_loops("P5", POOL_LONG, 20, 1e3, "us", pool_trivial);
}

static void pool_p6(void)
{
	pool_loops("P6", POOL_PICTURE, 1, 1e6, "ms", pool_mandelbrot);
}

/* A child that computes on the second CPU until it is told, or its parent is gone. */
static pid_t pool_start_neighbour(void)
{
	pid_t child = fork();
	cpu_set_t set;

	if (child != 0)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	CPU_ZERO(&set);
	CPU_SET(1, &set);
	sched_setaffinity(0, sizeof set, &set);
	alarm(60);
	for (volatile uint64_t i = 0;; i++)
		continue;
}

static void pool_p9(void)
{
	pid_t child = pool_start_neighbour();

	if (child < 0) {
		printf("skip P9 no process\n");
		return;
	}
	peer_sleep_us(20000);
	pool_loops("P9", POOL_PICTURE, 1, 1e6, "ms", pool_mandelbrot);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

/* ---- P10: CPU time after a burst ---- */

static void pool_burst(void)
{
	if (pool_peer->submit != NULL) {
		pool_producer((void *)(intptr_t)20000);
		pool_peer->wait();
	} else {
		for (int i = 0; i < 200; i++)
			pool_peer->loop(POOL_LOOP_STATIC, POOL_LONG / 10, pool_trivial, NULL);
	}
}

static void pool_p10(void)
{
	pool_peer->start(2, pool_peer->submit != NULL);
	pool_burst();
	peer_know_threads();
	pool_burst();
	peer_report_idle_burn("P10");
	pool_peer->stop();
}

/* ---- which ---- */

static inline int pool_main(const struct pool_peer *peer, int argc, char **argv)
{
	struct peer_line lines[11] = { { NULL, NULL } };
	int count = 0;

	pool_peer = peer;
	if (peer->submit != NULL) {
		lines[count++] = (struct peer_line){ "P1", pool_p1 };
		lines[count++] = (struct peer_line){ "P2", pool_p2 };
		lines[count++] = (struct peer_line){ "P7", pool_p7 };
		lines[count++] = (struct peer_line){ "P8", pool_p8 };
	}
	if (peer->fib != NULL)
		lines[count++] = (struct peer_line){ "P3", pool_p3 };
	if (peer->loop != NULL) {
		lines[count++] = (struct peer_line){ "P4", pool_p4 };
		lines[count++] = (struct peer_line){ "P5", pool_p5 };
		lines[count++] = (struct peer_line){ "P6", pool_p6 };
		lines[count++] = (struct peer_line){ "P9", pool_p9 };
	}
	lines[count++] = (struct peer_line){ "P10", pool_p10 };
	return peer_main(lines, argc, argv);
}

#endif
