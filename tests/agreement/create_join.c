/*
 * create_join.c - an independent measurement of pthread_create + pthread_join, for test_agreement.py.
 *
 * Plain attributes, no pinning, no header of filar.  Prints the median, over rounds, of ns per
 * create+join in batches of twenty.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BATCH 20

static void *nothing(void *unused)
{
	return unused;
}

static double now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static double one_batch(void)
{
	double start = now_ns();

	for (int i = 0; i < BATCH; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, nothing, NULL) != 0) {
			perror("pthread_create");
			exit(1);
		}
		pthread_join(thread, NULL);
	}
	return (now_ns() - start) / BATCH;
}

static int by_size(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 200;
	double *times = calloc((size_t)rounds, sizeof *times);

	if (rounds < 1 || times == NULL)
		return 1;
	one_batch();
	for (int i = 0; i < rounds; i++)
		times[i] = one_batch();
	qsort(times, (size_t)rounds, sizeof *times, by_size);
	printf("%.1f\n", times[rounds / 2]);
	free(times);
	return 0;
}
