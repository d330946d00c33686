/*
 * ping_pong.c - an independent measurement of switching between two threads, for test_agreement.py.
 *
 *     ping_pong futex|pipe CPU CPU BATCH ROUNDS
 *
 * Two threads, each pinned to its CPU, wake each other in turn.  No header of filar.  Prints the
 * median, over rounds, of ns one way (half a round trip) in a batch of so many round trips.
 *
 * On one CPU it pauses between batches, where the lab does other things: beside another program a
 * batch that begins then takes a fifth longer than one in the middle of a time slice.
 */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAUSE_US 2000

static atomic_int turn; /* 0: the main thread's, 1: the other's */
static int there[2], back[2];
static int by_pipe, cpus[2];
static long turns_of_other;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof set, &set) != 0)
		fail("sched_setaffinity");
}

static void give(int whom, int fd)
{
	char byte = 0;

	if (by_pipe) {
		if (write(fd, &byte, 1) != 1)
			fail("write");
		return;
	}
	atomic_store(&turn, whom);
	syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void take(int who, int fd)
{
	char byte;

	if (by_pipe) {
		if (read(fd, &byte, 1) != 1)
			fail("read");
		return;
	}
	while (atomic_load(&turn) != who)
		syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, 1 - who, NULL, NULL, 0);
}

static void *other(void *unused)
{
	pin(cpus[1]);
	for (long i = 0; i < turns_of_other; i++) {
		take(1, there[0]);
		give(0, back[1]);
	}
	return unused;
}

static double now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static double one_batch(int batch)
{
	double start = now_ns();

	for (int i = 0; i < batch; i++) {
		give(1, there[1]);
		take(0, back[0]);
	}
	return (now_ns() - start) / batch / 2;
}

static int by_size(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
	int batch = argc == 6 ? atoi(argv[4]) : 0, rounds = batch > 0 ? atoi(argv[5]) : 0;
	double *times = rounds > 0 ? calloc((size_t)rounds, sizeof *times) : NULL;
	pthread_t thread;

	if (times == NULL)
		return 2;
	by_pipe = strcmp(argv[1], "pipe") == 0;
	cpus[0] = atoi(argv[2]);
	cpus[1] = atoi(argv[3]);
	if (pipe(there) != 0 || pipe(back) != 0)
		fail("pipe");
	turns_of_other = (long)(rounds + 1) * batch;
	pin(cpus[0]);
	if (pthread_create(&thread, NULL, other, NULL) != 0)
		fail("pthread_create");
	one_batch(batch);
	for (int i = 0; i < rounds; i++) {
		if (cpus[0] == cpus[1])
			usleep(PAUSE_US);
		times[i] = one_batch(batch);
	}
	pthread_join(thread, NULL);
	qsort(times, (size_t)rounds, sizeof *times, by_size);
	printf("%.1f\n", times[rounds / 2]);
	free(times);
	return 0;
}
