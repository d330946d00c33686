/*
 * test_fail_kthread.c - the n-th call to the outside fails while threads are made, changed, joined.
 *
 * Does something in FAIL builds only (make fail).
 */
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/atomic.h"
#include "check.h"
#include "fail.h"
#include "kthread/cache.h"
#include "kthread/kthread.h"
#include "kthread/raw.h"
#include "os/clock.h"

#if FILAR_FAIL
static int32_t all_cpus[64];
static size_t all_cpus_count;
static filar_kthread_options options;
static _Atomic uint32_t ran;

static void find_cpus(void)
{
	cpu_set_t set;

	all_cpus_count = 0;
	CHECK_EQ(sched_getaffinity(0, sizeof set, &set), 0);
	for (int cpu = 0; cpu < CPU_SETSIZE && all_cpus_count < 64; cpu++) {
		if (CPU_ISSET(cpu, &set))
			all_cpus[all_cpus_count++] = cpu;
	}
}

static void body_run(void *argument)
{
	(void)argument;
	fetch_add_relaxed(&ran, 1);
}

/* Created, run and joined, or no body at all. */
static int create_and_join(void)
{
	uint32_t before = load_relaxed(&ran);
	filar_kthread *thread = NULL;
	int status = filar_kthread_create(&thread, &options, body_run, NULL);

	if (status != FILAR_OK) {
		CHECK(thread == NULL);
		CHECK_EQ(load_relaxed(&ran), before);
		CHECK(filar_status_detail()[0] != '\0');
		return status;
	}
	while ((status = filar_kthread_join_until(thread, FILAR_FOREVER)) == FILAR_INTERRUPTED)
		;
	CHECK_EQ(status, FILAR_OK);
	CHECK_EQ(load_relaxed(&ran), before + 1);
	filar_kthread_release(thread);
	return FILAR_OK;
}

TEST(any_failure_during_creation_leaves_a_whole_thread_or_none)
{
	static const int32_t nices[] = { FILAR_NICE_INHERIT, 19 };
	static const int32_t policies[] = { FILAR_POLICY_INHERIT, FILAR_POLICY_BATCH };
	static const size_t stacks[] = { 0, 1 << 20 };

	find_cpus();
	for (int bits = 0; bits < 8; bits++) {
		filar_kthread_options_init(&options);
		options.nice = nices[bits & 1];
		options.policy = policies[(bits >> 1) & 1];
		options.stack_bytes = stacks[(bits >> 2) & 1];
		CHECK_GE(fail_each(create_and_join), 3);
		for (int32_t by = FILAR_PIN_BY_ATTRIBUTE; by <= FILAR_PIN_BY_SELF; by++) {
			options.pin_by = by;
			options.cpus = all_cpus;
			options.cpu_count = 1;
			CHECK_GE(fail_each(create_and_join), 3);
			options.cpu_count = all_cpus_count;
			CHECK_GE(fail_each(create_and_join), 3);
		}
	}
}

TEST(a_refused_creation_whose_diagnosis_fails_too_still_has_a_sentence)
{
	filar_kthread_options_init(&options);
	for (uint64_t nth = 1; nth <= 3; nth++) {
		filar_kthread *thread = NULL;

		/* A stack beyond any address space: pthread_create fails by itself. */
		options.stack_bytes = (size_t)1 << 50;
		failpoint_arm(FAILPOINT_MMAP, nth);
		CHECK_EQ(filar_kthread_create(&thread, &options, body_run, NULL), FILAR_LIMIT);
		failpoint_arm(FAILPOINT_ANY, 0);
		CHECK_TEXT_HAS(filar_status_detail(), "1125899906842624 bytes");
	}
	failpoint_arm(FAILPOINT_THREAD_CREATE, 1);
	options.stack_bytes = 0;
	CHECK_EQ(create_and_join(), FILAR_LIMIT);
	CHECK_TEXT_HAS(filar_status_detail(), "the kernel refused a new thread");
}

static _Atomic bool stop;

static void body_wait(void *argument)
{
	(void)argument;
	WAIT_UNTIL(load_acquire(&stop));
}

static filar_kthread *running;

static int set_all(void)
{
	int status = filar_kthread_set_cpus(running, all_cpus, all_cpus_count);

	if (status == FILAR_OK)
		status = filar_kthread_set_nice(running, 3);
	if (status == FILAR_OK)
		status = filar_kthread_set_policy(running, FILAR_POLICY_BATCH, 0);
	return status;
}

TEST(any_failure_of_a_setting_is_a_status)
{
	find_cpus();
	CHECK_EQ(filar_kthread_create(&running, NULL, body_wait, NULL), FILAR_OK);
	/* Whether all CPUs were taken is asked only where there are several. */
	CHECK_GE(fail_each(set_all), all_cpus_count > 1 ? 5 : 4);
	store_release(&stop, true);
	CHECK_EQ(filar_kthread_join_until(running, FILAR_FOREVER), FILAR_OK);
	filar_kthread_release(running);
}

static int join_job(struct kcache_job *job)
{
	int status;

	while ((status = kcache_join_until(job, DEADLINE_NEVER)) == FILAR_INTERRUPTED)
		;
	return status;
}

static int use_cache(void)
{
	struct kcache_options cache_options = {
		.threads_max = 3, .threads_ready = 2, .cpus = all_cpus, .cpu_count = all_cpus_count
	};
	struct kcache_job jobs[3];
	struct kcache *cache = NULL;
	int started = 0, status = kcache_create(&cache, &cache_options);

	if (status != FILAR_OK)
		return status;
	for (; status == FILAR_OK && started < 3; started += status == FILAR_OK)
		status = kcache_submit(cache, &jobs[started], body_run, NULL);
	for (int i = 0; i < started; i++)
		CHECK_EQ(join_job(&jobs[i]), FILAR_OK);
	kcache_destroy(cache);
	return status;
}

TEST(any_failure_in_a_cache_of_threads_leaves_nothing)
{
	find_cpus();
	CHECK_GE(fail_each(use_cache), 8);
}

static int use_raw(void)
{
	static char stack[65536];
	struct process_options process = { .stack = stack, .stack_bytes = sizeof stack };
	char path[TINY_PROGRAM_PATH_BYTES];
	struct raw_thread thread;
	int status, waited, fd = -1;
	pid_t child;

	status = raw_thread_start(&thread, stack, sizeof stack, RAW_WAIT);
	if (status != FILAR_OK)
		return status;
	raw_thread_let_go(&thread);
	while ((waited = raw_thread_wait_until(&thread, DEADLINE_NEVER)) == FILAR_INTERRUPTED)
		;
	CHECK_EQ(waited, FILAR_OK);
	status = tiny_program_create(&fd, path);
	if (status != FILAR_OK)
		return status;
	process.program = path;
	for (int by = PROCESS_BY_FORK; status == FILAR_OK && by <= PROCESS_BY_SPAWN; by++) {
		process.by = (enum process_by)by;
		status = process_start(&child, &process);
		if (status == FILAR_OK)
			status = process_wait(child);
	}
	close(fd);
	CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
	return status;
}

TEST(any_failure_with_raw_threads_and_processes_leaves_none)
{
	CHECK_GE(fail_each(use_raw), 10);
}
#else
TEST(failures_are_compiled_in_by_make_fail_only)
{
	CHECK(!failpoint_hit(FAILPOINT_THREAD_CREATE));
}
#endif

TEST_MAIN()
