/*
 * test_aside.c - "Waking aside": who is woken, and that its CPUs are as they were.
 *
 * Where the woken one then runs is the kernel's business, and no test's.
 */
#include "check.h"
#include "cpus.h"
#include "fail.h"
#include "filar.h"
#include "os/affinity.h"
#include "os/clock.h"
#include "pool/loop.h"
#include "pool/task.h"

enum { WORKERS = 2 };

static struct pool *pool;

static void start(enum worker_pin pin, const int32_t *cpus)
{
	struct pool_options options;

	pool_options_init(&options);
	options.workers = options.workers_max = WORKERS;
	options.pin = pin;
	options.cpus = cpus;
	options.cpu_count = cpus != NULL ? WORKERS : 0;
	CHECK_EQ(pool_create(&pool, &options), FILAR_OK);
	CHECK_EQ(pool_start(pool), FILAR_OK);
}

static void stop(void)
{
	CHECK_EQ(pool_shutdown_until(pool, false, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(pool_destroy(pool), FILAR_OK);
}

static bool all_sleep(void)
{
	uint64_t word = load_relaxed(&pool->scheduler.idle.word);

	for (uint32_t i = 0; i < WORKERS; i++)
		if (load_relaxed(&pool->scheduler.workers[i].doing) != WORKER_SLEEPING)
			return false;
	return IDLE_SLEEPING(word) == WORKERS && IDLE_SEARCHING(word) == 0;
}

static uint64_t asides(void)
{
	return load_relaxed(&pool->scheduler.asides);
}

static struct cpu_mask cpus_of(uint32_t worker)
{
	struct cpu_mask mask;

	CHECK_EQ(affinity_get(load_relaxed(&pool->scheduler.workers[worker].tid), &mask), FILAR_OK);
	return mask;
}

static void set_cpus_of(uint32_t worker, const struct cpu_mask *mask)
{
	CHECK_EQ(affinity_set(load_relaxed(&pool->scheduler.workers[worker].tid), mask), FILAR_OK);
}

static void check_cpus_of(uint32_t worker, const struct cpu_mask *expected)
{
	struct cpu_mask mask = cpus_of(worker);

	CHECK(memcmp(mask.bits, expected->bits, sizeof mask.bits) == 0);
}

/* ---- what calls for company ---- */

static _Atomic uint32_t together;

/* No step ends before a helper has come. */
static void meet(int64_t begin, int64_t end, void *ctx)
{
	(void)begin;
	(void)end;
	(void)ctx;
	fetch_add_relaxed(&together, 1);
	while (load_relaxed(&together) < 2)
		sched_yield();
}

static void loop_from_rest(void)
{
	struct loop_options how = { .schedule = LOOP_STATIC };

	WAIT_UNTIL(all_sleep());
	store_relaxed(&together, 0);
	CHECK_EQ(pool_parallel_for(pool, &how, 0, 2, meet, NULL), FILAR_OK);
}

static void meet_once(void *unused)
{
	meet(0, 1, unused);
}

static void fork_once(void *unused)
{
	CHECK_EQ(filar_join(meet_once, unused, meet_once, unused), FILAR_OK);
}

static void fork_from_rest(void)
{
	WAIT_UNTIL(all_sleep());
	store_relaxed(&together, 0);
	CHECK_EQ(pool_call(pool, fork_once, NULL), FILAR_OK);
}

/* ---- claims ---- */

static void check_cpus_are_put_back(void (*from_rest)(void))
{
	struct cpu_mask before[WORKERS];

	start(WORKER_PIN_NONE, NULL);
	for (uint32_t i = 0; i < WORKERS; i++)
		before[i] = cpus_of(i);
	do
		from_rest();
	while (second_cpu() >= 0 && asides() == 0);
	WAIT_UNTIL(all_sleep());
	for (uint32_t i = 0; i < WORKERS; i++)
		check_cpus_of(i, &before[i]);
	stop();
}

TEST(a_loop_wakes_a_helper_aside_whose_cpus_are_then_as_they_were)
{
	check_cpus_are_put_back(loop_from_rest);
}

TEST(a_fork_wakes_a_thief_aside_whose_cpus_are_then_as_they_were)
{
	check_cpus_are_put_back(fork_from_rest);
}

/* The CPUs that somebody has given a worker meanwhile are those that count. */
TEST(a_worker_with_one_cpu_is_woken_there)
{
	int32_t cpu = first_cpu();
	struct cpu_mask one;

	start(WORKER_PIN_NONE, NULL);
	CHECK_EQ(cpu_mask_from_list(&one, &cpu, 1), FILAR_OK);
	for (uint32_t i = 0; i < WORKERS; i++)
		set_cpus_of(i, &one);
	for (int i = 0; i < 20; i++)
		loop_from_rest();
	CHECK_EQ(asides(), 0);
	WAIT_UNTIL(all_sleep());
	for (uint32_t i = 0; i < WORKERS; i++)
		check_cpus_of(i, &one);
	stop();
}

TEST(of_pinned_workers_one_on_another_cpu_is_woken)
{
	int32_t cpus[WORKERS] = { first_cpu(), second_cpu() };
	uint64_t before;

	if (cpus[1] < 0)
		return;
	start(WORKER_PIN_LIST, cpus);
	CHECK_EQ(affinity_pin_self(cpus[0]), FILAR_OK);
	do {
		before = load_relaxed(&pool->locals[1].counters.helpers);
		loop_from_rest();
	} while (asides() == 0);
	CHECK_EQ(load_relaxed(&pool->locals[1].counters.helpers), before + 1);
	stop();
}

TEST(on_one_cpu_nobody_is_woken_aside)
{
	CHECK_EQ(affinity_pin_self(first_cpu()), FILAR_OK);
	start(WORKER_PIN_NONE, NULL);
	for (int i = 0; i < 20; i++)
		loop_from_rest();
	fork_from_rest();
	CHECK_EQ(asides(), 0);
	stop();
}

#if FILAR_FAIL
static int attempt_aside(void)
{
	loop_from_rest();
	return FILAR_OK;
}

/* A helper whose CPUs the system does not let us change is woken as ever. */
TEST(a_loop_has_company_whatever_fails)
{
	start(WORKER_PIN_NONE, NULL);
	(void)fail_each(attempt_aside);
	stop();
}
#endif

TEST_MAIN()
