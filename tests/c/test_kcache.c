/*
 * test_kcache.c - the cache of parked kernel threads.
 */
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/random.h"
#include "check.h"
#include "kthread/cache.h"
#include "os/clock.h"

/* TSan knows no new threads in the child of a fork of several: there the test ends earlier. */
#define CHILD_MAY_CREATE (!FILAR_TSAN)

static struct kcache *create(size_t threads_max, size_t threads_ready)
{
	struct kcache_options options = { .threads_max = threads_max,
		.threads_ready = threads_ready };
	struct kcache *cache = NULL;

	CHECK_EQ(kcache_create(&cache, &options), FILAR_OK);
	return cache;
}

static void check_count(struct kcache *cache, size_t threads, size_t parked)
{
	size_t found_threads, found_parked;

	kcache_count(cache, &found_threads, &found_parked);
	CHECK_EQ(found_threads, threads);
	CHECK_EQ(found_parked, parked);
}

static void body_tid(void *argument)
{
	*(pid_t *)argument = gettid();
}

struct gate {
	_Atomic bool open;
	_Atomic uint32_t entered;
};

static void body_wait(void *argument)
{
	struct gate *gate = argument;

	fetch_add_acq_rel(&gate->entered, 1);
	WAIT_UNTIL(load_acquire(&gate->open));
}

static pid_t run_job(struct kcache *cache)
{
	struct kcache_job job;
	pid_t tid = 0;

	CHECK_EQ(kcache_submit(cache, &job, body_tid, &tid), FILAR_OK);
	CHECK_EQ(kcache_join_until(&job, DEADLINE_NEVER), FILAR_OK);
	CHECK(tid != 0);
	return tid;
}

TEST(job_after_job_runs_on_one_and_the_same_thread)
{
	struct kcache *cache = create(8, 1);
	pid_t tid = run_job(cache);

	CHECK(tid != gettid());
	for (int i = 0; i < 2000; i++)
		CHECK_EQ(run_job(cache), tid);
	check_count(cache, 1, 1);
	kcache_destroy(cache);
}

TEST(a_thread_is_created_when_none_is_parked_and_kept)
{
	struct kcache *cache = create(3, 0);
	struct gate gate = { false, 0 };
	struct kcache_job jobs[3];

	check_count(cache, 0, 0);
	for (size_t i = 0; i < 3; i++) {
		CHECK_EQ(kcache_submit(cache, &jobs[i], body_wait, &gate), FILAR_OK);
		check_count(cache, i + 1, 0);
	}
	store_release(&gate.open, true);
	for (size_t i = 0; i < 3; i++)
		CHECK_EQ(kcache_join_until(&jobs[i], DEADLINE_NEVER), FILAR_OK);
	check_count(cache, 3, 3);
	kcache_destroy(cache);
}

TEST(a_full_cache_is_busy_and_not_a_queue)
{
	struct kcache *cache = create(1, 1);
	struct gate gate = { false, 0 };
	struct kcache_job working, refused;

	CHECK_EQ(kcache_submit(cache, &working, body_wait, &gate), FILAR_OK);
	CHECK_EQ(kcache_submit(cache, &refused, body_wait, &gate), FILAR_BUSY);
	CHECK_TEXT_HAS(filar_status_detail(), "all 1 threads of the cache are working");
	CHECK_EQ(kcache_join_until(&working, clock_now_ns() + NS_PER_MS), FILAR_TIMED_OUT);
	store_release(&gate.open, true);
	CHECK_EQ(kcache_join_until(&working, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(load_acquire(&gate.entered), 1);
	kcache_destroy(cache);
}

static void body_cpu(void *argument)
{
	*(int *)argument = sched_getcpu();
}

TEST(all_threads_of_a_cache_run_on_its_cpu)
{
	struct kcache_options options = { .threads_max = 2, .threads_ready = 1, .cpu_count = 1 };
	struct kcache *cache;
	cpu_set_t allowed;

	CHECK_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
	for (int32_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		struct gate gate = { false, 0 };
		struct kcache_job job, blocked;
		int found = -1;

		if (!CPU_ISSET(cpu, &allowed))
			continue;
		options.cpus = &cpu;
		CHECK_EQ(kcache_create(&cache, &options), FILAR_OK);
		CHECK_EQ(kcache_submit(cache, &blocked, body_wait, &gate), FILAR_OK);
		CHECK_EQ(kcache_submit(cache, &job, body_cpu, &found), FILAR_OK);
		CHECK_EQ(kcache_join_until(&job, DEADLINE_NEVER), FILAR_OK);
		CHECK_EQ(found, cpu);
		store_release(&gate.open, true);
		kcache_destroy(cache); /* waits for the other one */
		CHECK_EQ(load_acquire(&blocked.done), 1);
	}
}

TEST(bad_options_and_a_cpu_that_does_not_exist_are_refused)
{
	struct kcache_options options = { 0 };
	struct kcache *cache = NULL;
	int32_t cpu = 8000;

	CHECK_EQ(kcache_create(&cache, &options), FILAR_INVALID);
	options.threads_max = 1;
	options.threads_ready = 2;
	CHECK_EQ(kcache_create(&cache, &options), FILAR_INVALID);
	options.threads_ready = 1;
	options.stack_bytes = 100;
	CHECK_EQ(kcache_create(&cache, &options), FILAR_INVALID);
	options.stack_bytes = 0;
	options.cpus = &cpu;
	CHECK_EQ(kcache_create(&cache, &options), FILAR_INVALID);
	options.cpu_count = 1;
	CHECK_EQ(kcache_create(&cache, &options), FILAR_NO_CPU);
	options.threads_max = SIZE_MAX / 2;
	options.threads_ready = 0;
	CHECK_EQ(kcache_create(&cache, &options), FILAR_NO_MEMORY);
	CHECK(cache == NULL);
}

TEST(in_the_child_of_a_fork_a_cache_refuses_and_can_be_destroyed)
{
	struct kcache *cache = create(2, 2);
	struct gate gate = { false, 0 };
	struct kcache_job job, jobs[2];
	pid_t child;
	int status;

	/* Both have begun: a sanitizer's locks, held on the way, would stay so in the child. */
	for (int i = 0; i < 2; i++)
		CHECK_EQ(kcache_submit(cache, &jobs[i], body_wait, &gate), FILAR_OK);
	WAIT_UNTIL(load_acquire(&gate.entered) == 2);
	store_release(&gate.open, true);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(kcache_join_until(&jobs[i], DEADLINE_NEVER), FILAR_OK);
	child = fork();
	if (child == 0) {
		alarm(30);
		CHECK_EQ(kcache_submit(cache, &job, body_wait, NULL), FILAR_FORKED);
		kcache_destroy(cache);
		if (CHILD_MAY_CREATE) {
			cache = create(1, 1);
			(void)run_job(cache);
			kcache_destroy(cache);
		}
		_exit(0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	(void)run_job(cache);
	kcache_destroy(cache);
}

/* Hunts a job that is handed to a thread between its return to the list and its "done" for the job
 * before, and submitters that race for the last slot. */
struct submitter {
	struct kcache *cache;
	uint64_t seed;
	uint32_t done;
};

static void body_add(void *argument)
{
	(*(uint32_t *)argument)++;
}

static void *submit_many(void *pointer)
{
	struct submitter *submitter = pointer;
	struct random random;
	int submitted = 0;

	random_init(&random, submitter->seed);
	while (submitted < 1000) {
		struct kcache_job job;
		int status = kcache_submit(submitter->cache, &job, body_add, &submitter->done);

		if (status == FILAR_BUSY) {
			sched_yield();
			continue;
		}
		CHECK_EQ(status, FILAR_OK);
		/* One after the other: body_add is not atomic, so the hand-off must order it. */
		CHECK_EQ(kcache_join_until(&job, DEADLINE_NEVER), FILAR_OK);
		CHECK_EQ(submitter->done, ++submitted);
		for (uint64_t spins = random_next(&random) % 200; spins > 0; spins--)
			FILAR_KEEP(spins);
	}
	return NULL;
}

TEST(racing_submitters_lose_no_job)
{
	enum { SUBMITTERS = 4 };
	struct submitter submitters[SUBMITTERS];
	pthread_t pthreads[SUBMITTERS];
	struct kcache *cache = create(3, 1);

	for (uint64_t i = 0; i < SUBMITTERS; i++) {
		submitters[i] = (struct submitter){ cache, check_seed() + i, 0 };
		CHECK_EQ(pthread_create(&pthreads[i], NULL, submit_many, &submitters[i]), 0);
	}
	for (int i = 0; i < SUBMITTERS; i++) {
		CHECK_EQ(pthread_join(pthreads[i], NULL), 0);
		CHECK_EQ(submitters[i].done, 1000);
	}
	kcache_destroy(cache);
}

TEST_MAIN()
