/*
 * create_join.c - an independent measurement of pthread_create + pthread_join, for test_agreement.py.
 *
 *     create_join [CREATOR_CPU CHILD_CPU] BATCH ROUNDS
 *
 * No header of filar.  Without CPUs plain attributes and no pinning; with them the creator is
 * pinned to the first and the child, by its attributes, to the second.  Prints the median, over
 * rounds, of ns per create+join in a batch of so many.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static pthread_attr_t attributes;

static cpu_set_t only(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return set;
}

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

static double one_batch(int batch)
{
	double start = now_ns();

	for (int i = 0; i < batch; i++) {
		pthread_t thread;

		if (pthread_create(&thread, &attributes, nothing, NULL) != 0) {
			perror("pthread_create");
			exit(1);
		}
		pthread_join(thread, NULL);
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
	int pinned = argc == 5, batch = argc == 3 || pinned ? atoi(argv[argc - 2]) : 0;
	int rounds = batch > 0 ? atoi(argv[argc - 1]) : 0;
	double *times = calloc(rounds > 0 ? (size_t)rounds : 1, sizeof *times);

	if (rounds < 1 || times == NULL) {
		fprintf(stderr, "usage: create_join [CREATOR_CPU CHILD_CPU] BATCH ROUNDS\n");
		return 1;
	}
	pthread_attr_init(&attributes);
	if (pinned) {
		cpu_set_t creator = only(atoi(argv[1])), child = only(atoi(argv[2]));

		if (sched_setaffinity(0, sizeof creator, &creator) != 0) {
			perror("sched_setaffinity");
			return 1;
		}
		pthread_attr_setaffinity_np(&attributes, sizeof child, &child);
	}
	one_batch(batch);
	for (int i = 0; i < rounds; i++)
		times[i] = one_batch(batch);
	qsort(times, (size_t)rounds, sizeof *times, by_size);
	printf("%.1f\n", times[rounds / 2]);
	free(times);
	return 0;
}
