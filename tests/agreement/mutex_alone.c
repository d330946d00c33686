/*
 * mutex_alone.c - an independent measurement of an uncontended pthread mutex, for test_agreement.py.
 *
 *     mutex_alone CPU BATCH ROUNDS
 *
 * One thread, pinned: lock, add one to a counter, unlock, in a process that has a second thread (a
 * single-threaded one may skip the atomic instruction).  No header of filar.  Prints the median,
 * over rounds, of ns per operation in a batch of so many.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static volatile long counter;

static void *asleep(void *unused)
{
	for (;;)
		pause();
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
		pthread_mutex_lock(&mutex);
		counter = counter + 1;
		pthread_mutex_unlock(&mutex);
	}
	return (now_ns() - start) / batch;
}

static int by_size(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
	int batch = argc == 4 ? atoi(argv[2]) : 0, rounds = batch > 0 ? atoi(argv[3]) : 0;
	double *times = rounds > 0 ? calloc((size_t)rounds, sizeof *times) : NULL;
	pthread_t thread;
	cpu_set_t set;

	if (times == NULL)
		return 2;
	CPU_ZERO(&set);
	CPU_SET(atoi(argv[1]), &set);
	if (sched_setaffinity(0, sizeof set, &set) != 0 ||
		pthread_create(&thread, NULL, asleep, NULL) != 0) {
		perror("mutex_alone");
		return 1;
	}
	one_batch(batch);
	for (int i = 0; i < rounds; i++)
		times[i] = one_batch(batch);
	qsort(times, (size_t)rounds, sizeof *times, by_size);
	printf("%.2f\n", times[rounds / 2]);
	free(times);
	return counter == (long)(rounds + 1) * batch ? 0 : 1;
}
