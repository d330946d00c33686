/*
 * stress_kthread.c - handles used from many sides at once, with seeds.
 *
 * FILAR_STRESS_SECONDS (default 1) says how long each test goes on; the seed is that of check.h.
 */
#include <pthread.h>
#include <sched.h>

#include "base/atomic.h"
#include "base/random.h"
#include "check.h"
#include "filar.h"
#include "os/clock.h"

static int64_t stress_until_ns(void)
{
	const char *text = getenv("FILAR_STRESS_SECONDS");

	return clock_now_ns() + (int64_t)((text != NULL ? strtod(text, NULL) : 1.0) * 1e9);
}

struct shared {
	filar_kthread *thread;
	_Atomic uint32_t users; /* of the handle; the last one releases it */
	_Atomic uint32_t ran;
	uint64_t seed;
};

static void body_short(void *argument)
{
	struct shared *shared = argument;
	struct random random;

	random_init(&random, shared->seed);
	for (uint64_t spins = random_next(&random) % 3000; spins > 0; spins--)
		FILAR_KEEP(spins);
	fetch_add_relaxed(&shared->ran, 1);
}

static void use_once(struct shared *shared, struct random *random)
{
	int32_t cpu = 0;
	int status;

	switch (random_next(random) % 7) {
	case 0:
		status = filar_kthread_set_nice(shared->thread, 1);
		CHECK(status == FILAR_OK || status == FILAR_WRONG_STATE ||
			status == FILAR_NO_PERMISSION);
		break;
	case 1:
		status = filar_kthread_set_cpus(shared->thread, &cpu, 1);
		CHECK(status == FILAR_OK || status == FILAR_WRONG_STATE || status == FILAR_NO_CPU);
		break;
	case 2:
		status = filar_kthread_set_policy(shared->thread, FILAR_POLICY_BATCH, 0);
		CHECK(status == FILAR_OK || status == FILAR_WRONG_STATE);
		break;
	case 3:
		CHECK_GE(filar_kthread_cpu_ns(shared->thread), 0);
		break;
	case 4:
		CHECK(filar_kthread_tid(shared->thread) > 0);
		break;
	case 5:
		status = filar_kthread_join_until(
			shared->thread, clock_now_ns() + (int64_t)(random_next(random) % 100000));
		CHECK(status == FILAR_OK || status == FILAR_TIMED_OUT);
		break;
	default:
		(void)filar_kthread_is_alive(shared->thread);
	}
}

static void *use_and_drop(void *pointer)
{
	struct shared *shared = pointer;
	struct random random;

	random_init(&random, shared->seed ^ (uint64_t)gettid());
	for (uint64_t uses = random_next(&random) % 8; uses > 0; uses--)
		use_once(shared, &random);
	if (random_next(&random) % 4 != 0)
		CHECK_EQ(filar_kthread_join_until(shared->thread, FILAR_FOREVER), FILAR_OK);
	if (fetch_sub_acq_rel(&shared->users, 1) == 1)
		filar_kthread_release(shared->thread);
	return NULL;
}

/* Hunts: a setter that reaches the tid of a thread that has gone (it would be ours: the check at
 * the end), two joiners that both reap, a record freed under a joiner, a release beside the end. */
TEST(settings_joins_and_release_race_with_the_end)
{
	enum { USERS = 3 };
	int64_t until_ns = stress_until_ns();
	uint64_t seed = check_seed();
	uint32_t rounds = 0;
	cpu_set_t before, after;

	CHECK_EQ(sched_getaffinity(0, sizeof before, &before), 0);
	while (clock_now_ns() < until_ns || rounds < 10) {
		struct shared shared = { .users = USERS, .seed = seed + rounds };
		pthread_t users[USERS];

		CHECK_EQ(filar_kthread_create(&shared.thread, NULL, body_short, &shared), FILAR_OK);
		for (int i = 0; i < USERS; i++)
			CHECK_EQ(pthread_create(&users[i], NULL, use_and_drop, &shared), 0);
		for (int i = 0; i < USERS; i++)
			CHECK_EQ(pthread_join(users[i], NULL), 0);
		/* Released unjoined, it may not have run yet. */
		WAIT_UNTIL(load_acquire(&shared.ran) == 1);
		rounds++;
	}
	CHECK_EQ(sched_getaffinity(0, sizeof after, &after), 0);
	CHECK(CPU_EQUAL(&before, &after));
	CHECK_EQ(sched_getscheduler(0), SCHED_OTHER);
}

struct creator {
	int64_t until_ns;
	uint64_t seed;
	uint32_t created;
	_Atomic uint32_t ran;
};

static void body_count(void *argument)
{
	fetch_add_relaxed(&((struct creator *)argument)->ran, 1);
}

static void choose_options(filar_kthread_options *options, struct random *random)
{
	static int32_t cpu = 0;
	uint64_t bits = random_next(random);

	filar_kthread_options_init(options);
	if (bits & 1)
		options->nice = 10;
	if (bits & 2)
		options->policy = FILAR_POLICY_BATCH;
	if (bits & 4)
		options->stack_bytes = 2 * filar_kthread_stack_bytes_min();
	if (bits & 8) {
		options->cpus = &cpu;
		options->cpu_count = 1;
		options->pin_by = (int32_t)((bits >> 4) % 3);
	}
}

static void *create_many(void *pointer)
{
	struct creator *creator = pointer;
	struct random random;

	random_init(&random, creator->seed);
	while (clock_now_ns() < creator->until_ns || creator->created < 10) {
		filar_kthread_options options;
		filar_kthread *thread;
		int status;

		choose_options(&options, &random);
		status = filar_kthread_create(&thread, &options, body_count, creator);
		if (status == FILAR_NO_CPU) /* CPU 0 is not for everyone */
			continue;
		CHECK_EQ(status, FILAR_OK);
		creator->created++;
		if (random_next(&random) % 2 == 0)
			CHECK_EQ(filar_kthread_join_until(thread, FILAR_FOREVER), FILAR_OK);
		filar_kthread_release(thread);
	}
	return NULL;
}

/* Hunts: a handshake that sees another thread's, a plan used after its creator has left. */
TEST(creators_with_all_kinds_of_options_do_not_disturb_each_other)
{
	enum { CREATORS = 4 };
	struct creator creators[CREATORS];
	pthread_t pthreads[CREATORS];

	for (uint64_t i = 0; i < CREATORS; i++) {
		creators[i] =
			(struct creator){ .until_ns = stress_until_ns(), .seed = check_seed() + i };
		CHECK_EQ(pthread_create(&pthreads[i], NULL, create_many, &creators[i]), 0);
	}
	for (int i = 0; i < CREATORS; i++) {
		CHECK_EQ(pthread_join(pthreads[i], NULL), 0);
		WAIT_UNTIL(load_acquire(&creators[i].ran) == creators[i].created);
	}
}

TEST_MAIN()
