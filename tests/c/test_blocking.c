/*
 * test_blocking.c - a kernel thread that blocks holds up only what it runs: spares stand in, come
 * and go; and what happens where none is allowed, or none can be had.
 */
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/memory.h"
#include "check.h"
#include "cpus.h"
#include "green/runtime.h"
#include "greens.h"
#include "kthread/kthread.h"
#include "os/affinity.h"
#include "os/clock.h"
#include "os/futex.h"

static struct blocking *blocking(void)
{
	return &runtime->scheduler.blocking;
}

static struct green_ref spawn_named(const char *name, green_body *body, void *argument)
{
	struct green_options options = { .name = name };
	struct green_ref ref;

	CHECK_EQ(green_spawn(&ref, runtime, &options, body, argument), FILAR_OK);
	return ref;
}

static void dump(char *text, size_t bytes)
{
	int fds[2];
	ssize_t got;

	CHECK_EQ(pipe(fds), 0);
	runtime_dump(runtime, fds[1]);
	got = read(fds[0], text, bytes - 1);
	CHECK_GE(got, 1);
	text[got] = '\0';
	close(fds[0]);
	close(fds[1]);
}

/* Something that blocks the kernel thread until it is opened. */
struct gate {
	_Atomic uint32_t open;   /* futex */
	_Atomic uint32_t inside; /* how many block */
	bool marked;
	int32_t tid_before, tid_after;
	uint32_t ran_at_end; /* what `ran` was when it was let through */
};

static _Atomic uint32_t ran;

static void open_gate(struct gate *gate)
{
	store_release(&gate->open, 1);
	futex_wake(&gate->open, 100);
}

static void wait_at_gate(struct gate *gate)
{
	fetch_add_acq_rel(&gate->inside, 1);
	while (load_acquire(&gate->open) == 0)
		(void)futex_wait_until(&gate->open, 0, DEADLINE_NEVER);
}

static void block(void *argument)
{
	struct gate *gate = argument;

	gate->tid_before = (int32_t)syscall(SYS_gettid);
	if (gate->marked)
		blocking_begin();
	wait_at_gate(gate);
	if (gate->marked)
		blocking_end();
	gate->tid_after = (int32_t)syscall(SYS_gettid);
	gate->ran_at_end = load_acquire(&ran);
}

static void run(void *argument)
{
	(void)argument;
	fetch_add_acq_rel(&ran, 1);
}

static void spawn_run(void)
{
	CHECK_EQ(green_spawn(NULL, runtime, NULL, run, NULL), FILAR_OK);
}

static void run_then_open(void *argument)
{
	run(NULL);
	open_gate(argument);
}

/* ---- nobody stands in ---- */

TEST(with_one_worker_and_no_spares_one_that_blocks_stops_all)
{
	struct gate gate = { .marked = true };
	struct green_ref ref;

	start_watched(1, RUNTIME_SPARES_DEFAULT, RUNTIME_WATCH_NS_DEFAULT);
	ref = spawn(block, &gate);
	spawn_run();
	WAIT_UNTIL(load_acquire(&gate.inside) == 1);
	open_gate(&gate);
	join(ref);
	CHECK_EQ(gate.ran_at_end, 0);
	WAIT_UNTIL(load_acquire(&ran) == 1);
	CHECK_EQ(load_relaxed(&blocking()->relieved), 0);
	CHECK_EQ(load_relaxed(&blocking()->watch.mood), WATCH_NONE);
	stop();
}

/* ---- somebody does ---- */

TEST(what_is_queued_behind_a_blocked_one_runs_on_a_spare)
{
	for (uint32_t workers = 1; workers <= 3; workers++) {
		struct gate gates[3] = { { .marked = true }, { .marked = true },
			{ .marked = true } };
		struct green_ref refs[3];

		store_relaxed(&ran, 0);
		start_watched(workers, 4, 0);
		for (uint32_t i = 0; i < workers; i++)
			refs[i] = spawn(block, &gates[i]);
		for (uint32_t i = 0; i < workers; i++)
			WAIT_UNTIL(load_acquire(&gates[i].inside) == 1);
		spawn_run();
		WAIT_UNTIL(load_acquire(&ran) == 1);
		WAIT_UNTIL(load_relaxed(&blocking()->relieved) == workers);
		WAIT_UNTIL(load_relaxed(&blocking()->started) == workers);
		for (uint32_t i = 0; i < workers; i++) {
			open_gate(&gates[i]);
			join(refs[i]);
			CHECK_EQ(gates[i].ran_at_end, 1);
			/* It stayed where it was. */
			CHECK_EQ(gates[i].tid_after, gates[i].tid_before);
		}
		stop();
	}
}

/* The one that blocks is let through by what is queued behind it. */
TEST(one_that_blocks_for_what_stands_behind_it_comes_to_an_end)
{
	for (int i = 0; i < 20; i++) {
		struct gate gate = { .marked = true };
		struct green_ref ref;

		start_watched(1, 1, 0);
		ref = spawn(block, &gate);
		CHECK_EQ(green_spawn(NULL, runtime, NULL, run_then_open, &gate), FILAR_OK);
		join(ref);
		stop();
	}
}

/* Who sleeps is told from who computes by the CPU time since the watcher's first look: until all
 * that the worker has ever computed is little beside the time that it has been in its body. */
static void wait_until_mostly_asleep(struct worker *worker)
{
	struct kthread *kthread = load_acquire(&worker->kthread);
	int64_t since_ns = clock_now_ns();

	WAIT_UNTIL(clock_now_ns() - since_ns > 16 * kthread_cpu_ns(kthread));
}

/* How many the dump must name.  A spare that gets no CPU for a millisecond is taken for stuck, too,
 * so there may be more than the one. */
static void dump_and_count(char *text, size_t bytes, char *counts, size_t counts_bytes)
{
	uint64_t relieved;

	do {
		spinlock_lock(&blocking()->lock);
		relieved = load_relaxed(&blocking()->relieved);
		snprintf(counts, counts_bytes, "%" PRIu64 " relieved (%" PRIu64 " of them stuck)",
			relieved, load_relaxed(&blocking()->stuck));
		spinlock_unlock(&blocking()->lock);
		dump(text, bytes);
	} while (load_relaxed(&blocking()->relieved) != relieved);
}

TEST(one_that_blocks_unmarked_is_noticed_and_named)
{
	struct gate gate = { .marked = false };
	static char text[8192];
	char counts[64];
	struct green_ref ref;

	start_watched(1, 2, NS_PER_MS);
	ref = spawn_named("sleeper", block, &gate);
	WAIT_UNTIL(load_acquire(&gate.inside) == 1);
	wait_until_mostly_asleep(&runtime->scheduler.workers[0]);
	spawn_run();
	WAIT_UNTIL(load_acquire(&ran) == 1);
	CHECK_GE(load_relaxed(&blocking()->stuck), 1);
	CHECK_EQ(load_relaxed(&runtime->scheduler.workers[0].relief), RELIEF_STUCK);
	dump_and_count(text, sizeof text, counts, sizeof counts);
	CHECK_TEXT_HAS(text, "\"sleeper\": running on worker 0, in one piece of work for ");
	CHECK_TEXT_HAS(text, counts);
	CHECK_TEXT_HAS(text, " (spare)");
	open_gate(&gate);
	join(ref);
	stop();
}

static void compute_until_open(void *argument)
{
	struct gate *gate = argument;

	fetch_add_acq_rel(&gate->inside, 1);
	while (load_acquire(&gate->open) == 0)
		;
	gate->ran_at_end = load_acquire(&ran);
}

TEST(one_that_computes_for_ever_is_noticed_when_others_wait)
{
	struct gate gate = { .marked = false };
	struct green_ref ref;

	start_watched(1, 2, NS_PER_MS);
	ref = spawn(compute_until_open, &gate);
	WAIT_UNTIL(load_acquire(&gate.inside) == 1);
	spawn_run();
	WAIT_UNTIL(load_acquire(&ran) == 1);
	open_gate(&gate);
	join(ref);
	CHECK_EQ(gate.ran_at_end, 1);
	stop();
}

TEST(a_watch_of_zero_notices_only_what_is_marked)
{
	struct gate unmarked = { .marked = false }, marked = { .marked = true };
	struct green_ref refs[2];

	start_watched(2, 4, 0);
	refs[0] = spawn(block, &unmarked);
	WAIT_UNTIL(load_acquire(&unmarked.inside) == 1);
	refs[1] = spawn(block, &marked);
	WAIT_UNTIL(load_acquire(&marked.inside) == 1);
	spawn_run();
	/* It runs in place of the marked one. */
	WAIT_UNTIL(load_acquire(&ran) == 1);
	CHECK_EQ(load_relaxed(&blocking()->stuck), 0);
	CHECK_EQ(load_relaxed(&blocking()->relieved), 1);
	open_gate(&unmarked);
	open_gate(&marked);
	join(refs[0]);
	join(refs[1]);
	stop();
}

/* ---- coming back, retiring ---- */

static void nothing(void *argument)
{
	(void)argument;
}

/* The watcher's look is old when it acts: it may relieve one that is back already, which notices
 * when it looks for work the next time (sched/README.md, "Blocking": wrong guesses).  So how often
 * somebody came back or retired cannot be told, but what it comes to. */
static bool all_are_back(void)
{
	if (load_relaxed(&blocking()->resumed) == load_relaxed(&blocking()->relieved))
		return true;
	join(spawn(nothing, NULL));
	return false;
}

TEST(when_the_blocked_one_is_back_the_spare_retires_and_is_used_again)
{
	start_watched(1, 3, 0);
	for (int i = 0; i < 5; i++) {
		struct gate gate = { .marked = true };
		struct green_ref ref = spawn(block, &gate);

		WAIT_UNTIL(load_acquire(&gate.inside) == 1);
		spawn_run();
		WAIT_UNTIL(load_acquire(&ran) == (uint32_t)i + 1);
		open_gate(&gate);
		join(ref);
		CHECK_GE(load_relaxed(&blocking()->resumed), i + 1);
		/* A surplus spare that sleeps is woken for that. */
		WAIT_UNTIL(all_are_back() &&
			   load_relaxed(&runtime->scheduler.workers[1].doing) == WORKER_RETIRED &&
			   load_relaxed(&blocking()->active) == 1 &&
			   load_relaxed(&blocking()->retired_count) > (uint64_t)i);
	}
	CHECK_EQ(load_relaxed(&blocking()->started), 1);
	stop();
}

static void yield_until_ran(void *argument)
{
	while (load_acquire(&ran) < *(uint32_t *)argument)
		green_yield();
}

/* The one that blocks first has many behind it, of which each waits for all others, by yields. */
static void count_then_yield(void *argument)
{
	run(NULL);
	yield_until_ran(argument);
}

static void spawn_many_then_block(void *argument)
{
	uint32_t *many = argument;

	for (uint32_t i = 0; i < *many; i++)
		CHECK_EQ(green_spawn(NULL, runtime, NULL, count_then_yield, many), FILAR_OK);
	blocking_begin();
	while (load_acquire(&ran) < *many)
		usleep(100);
	blocking_end();
}

TEST(all_that_is_queued_behind_a_blocked_one_runs_not_half_of_it)
{
	uint32_t many = 20;

	start_watched(1, 1, 0);
	join(spawn(spawn_many_then_block, &many));
	stop();
}

static void block_often(void *argument)
{
	struct worker *worker = worker_here();

	(void)argument;
	for (int i = 0; i < 50; i++) {
		blocking_begin();
		/* Twice for as long as it takes somebody to notice. */
		while (i < 2 && load_relaxed(&worker->relief) == RELIEF_NONE)
			usleep(100);
		usleep(100);
		blocking_end();
	}
	run(NULL);
}

TEST(one_that_blocks_again_and_again_is_relieved_again_and_again)
{
	uint32_t wanted = 1;
	struct green_ref refs[3];

	start_watched(1, 2, 0);
	refs[0] = spawn(block_often, NULL);
	for (int i = 1; i < 3; i++)
		refs[i] = spawn(yield_until_ran, &wanted);
	for (int i = 0; i < 3; i++)
		join(refs[i]);
	CHECK_GE(load_relaxed(&blocking()->relieved), 2);
	CHECK_LE(load_relaxed(&blocking()->started), 2);
	stop();
}

/* ---- sections that are expected to be long ---- */

/* A section that the watcher has relieved is a long one.  Afterwards the spare is retired. */
static void block_once_for_long(void)
{
	struct gate gate = { .marked = true };
	struct green_ref ref = spawn(block, &gate);

	WAIT_UNTIL(load_acquire(&gate.inside) == 1);
	WAIT_UNTIL(load_relaxed(&blocking()->relieved) > 0 &&
		   scheduler_made(&runtime->scheduler) > 1 &&
		   load_relaxed(&runtime->scheduler.workers[1].doing) != WORKER_STARTING);
	open_gate(&gate);
	join(ref);
	WAIT_UNTIL(all_are_back() &&
		   load_relaxed(&runtime->scheduler.workers[1].doing) == WORKER_RETIRED);
}

/* And not by the watcher, which leaves 0. */
static bool relieved_itself(struct worker *worker)
{
	bool itself;

	spinlock_lock(&blocking()->lock);
	itself = load_relaxed(&worker->relief) == RELIEF_SECTION && worker->relieved_ns > 0;
	spinlock_unlock(&blocking()->lock);
	return itself;
}

/* Begins a section while the spare is retired, until it is this worker that has relieved itself: on
 * a busy machine the watcher may have been faster. */
static void see_who_relieves(void *argument)
{
	struct worker *worker = worker_here(), *spare = &worker->scheduler->workers[1];
	uint64_t resumed;

	(void)argument;
	CHECK((load_relaxed(&worker->watch->hints) & WATCH_EXPECTANT) != 0);
	for (;;) {
		while (load_relaxed(&spare->doing) != WORKER_RETIRED)
			usleep(100);
		blocking_begin();
		if (relieved_itself(worker))
			break;
		blocking_end();
	}
	/* And not in name only. */
	spawn_run();
	while (load_acquire(&ran) == 0)
		usleep(100);
	resumed = load_relaxed(&blocking()->resumed);
	blocking_end();
	/* Though an old look of the watcher may relieve it once more. */
	CHECK_EQ(load_relaxed(&blocking()->resumed), resumed + 1);
}

TEST(where_sections_are_long_one_that_begins_is_relieved_at_once)
{
	start_watched(1, 1, 0);
	block_once_for_long();
	join(spawn(see_who_relieves, NULL));
	WAIT_UNTIL(all_are_back() && load_relaxed(&blocking()->active) == 1);
	CHECK_EQ(load_relaxed(&blocking()->started), 1);
	stop();
}

#if !FILAR_HARD /* there every section is long */
static void begin_and_end_until_nobody_expects_more(void *argument)
{
	struct watch *watch = worker_here()->watch;

	(void)argument;
	/* Whoever is kept from its CPU for long has had a long section. */
	while ((load_relaxed(&watch->hints) & WATCH_EXPECTANT) != 0) {
		blocking_begin();
		blocking_end();
	}
}

TEST(a_short_section_ends_the_expectation)
{
	start_watched(1, 1, 0);
	block_once_for_long();
	join(spawn(begin_and_end_until_nobody_expects_more, NULL));
	stop();
}
#endif

static void leave_the_section_by_waiting(void *argument)
{
	(void)argument;
	blocking_begin();
	(void)green_sleep_until(clock_now_ns() + NS_PER_MS);
	blocking_end();
	run(NULL);
}

static void nest(void *argument)
{
	struct worker *worker = worker_here();

	(void)argument;
	blocking_end();
	CHECK_EQ(load_relaxed(&worker->section) & 1, 0);
	blocking_begin();
	blocking_begin();
	blocking_end();
	CHECK_EQ(load_relaxed(&worker->section) & 1, 1);
	blocking_end();
	CHECK_EQ(load_relaxed(&worker->section) & 1, 0);
	blocking_end();
	CHECK_EQ(load_relaxed(&worker->section) & 1, 0);
	CHECK_EQ(worker->section_depth, 0);
}

TEST(sections_nest_and_one_end_too_many_does_nothing)
{
	blocking_begin(); /* no worker: nothing */
	blocking_end();
	start_watched(1, 0, 0);
	join(spawn(nest, NULL));
	CHECK_EQ(load_relaxed(&runtime->scheduler.workers[0].counters.sections), 1);
	stop();
}

TEST(a_wait_inside_ends_the_section)
{
	start_watched(2, 2, 0);
	for (int i = 0; i < 50; i++)
		join(spawn(leave_the_section_by_waiting, NULL));
	CHECK_EQ(load_relaxed(&ran), 50);
	stop();
}

/* ---- limits ---- */

TEST(at_the_limit_others_wait_and_the_dump_says_so)
{
	struct gate gates[2] = { { .marked = true }, { .marked = true } };
	static char text[8192];
	struct green_ref refs[2];

	start_watched(1, 1, 0);
	for (int i = 0; i < 2; i++) {
		refs[i] = spawn(block, &gates[i]);
		WAIT_UNTIL(load_acquire(&gates[i].inside) == 1);
	}
	WAIT_UNTIL(load_relaxed(&blocking()->refused) == 1);
	spawn_run();
	CHECK_EQ(load_relaxed(&blocking()->active), 0);
	dump(text, sizeof text);
	CHECK_TEXT_HAS(text, "blocking: 0 workers active");
	CHECK_TEXT_HAS(text, "none to be had 1 times");
	CHECK_TEXT_HAS(text, "in a blocking call for");
	open_gate(&gates[0]);
	WAIT_UNTIL(load_acquire(&ran) == 1);
	open_gate(&gates[1]);
	join(refs[0]);
	join(refs[1]);
	stop();
}

static void read_affinity(void *argument)
{
	CHECK_EQ(affinity_get(0, argument), FILAR_OK);
	run(NULL);
}

TEST(spares_of_pinned_workers_stay_on_their_cpus)
{
	struct gate gate = { .marked = true };
	struct runtime_options options;
	struct cpu_mask mask;
	struct green_ref ref;
	int32_t cpu = first_cpu();

	runtime_options_init(&options);
	options.workers = 1;
	options.spares_max = 1;
	options.pin = WORKER_PIN_LIST;
	options.cpus = &cpu;
	options.cpu_count = 1;
	CHECK_EQ(runtime_create(&runtime, &options), FILAR_OK);
	ref = spawn(block, &gate);
	WAIT_UNTIL(load_acquire(&gate.inside) == 1);
	CHECK_EQ(green_spawn(NULL, runtime, NULL, read_affinity, &mask), FILAR_OK);
	WAIT_UNTIL(load_acquire(&ran) == 1);
	CHECK_EQ(cpu_mask_count(&mask), 1);
	CHECK(cpu_mask_has(&mask, cpu));
	open_gate(&gate);
	join(ref);
	stop();
}

TEST(bad_options_are_refused)
{
	struct runtime_options options;

	runtime_options_init(&options);
	options.spares_max = SPARES_MAX + 1;
	CHECK_EQ(runtime_create(&runtime, &options), FILAR_INVALID);
	CHECK_TEXT_HAS(filar_status_detail(), "spare");
	runtime_options_init(&options);
	options.watch_ns = -1;
	CHECK_EQ(runtime_create(&runtime, &options), FILAR_INVALID);
}

/* ---- the watcher ---- */

static bool watcher_sleeps_deeply(void)
{
	return load_relaxed(&blocking()->watch.mood) == WATCH_DEEP;
}

TEST(the_watcher_sleeps_while_nobody_runs_and_wakes_when_somebody_does)
{
	struct gate gate = { .marked = true };
	struct green_ref ref;

	start_watched(2, 4, NS_PER_MS);
	for (uint32_t i = 1; i <= 10; i++) {
		spawn_run();
		WAIT_UNTIL(load_acquire(&ran) == i);
		WAIT_UNTIL(watcher_sleeps_deeply());
	}
	/* One blocked for ever does not keep it awake either. */
	ref = spawn(block, &gate);
	WAIT_UNTIL(load_relaxed(&blocking()->relieved) >= 1);
	WAIT_UNTIL(watcher_sleeps_deeply());
	spawn_run();
	WAIT_UNTIL(load_acquire(&ran) == 11);
	open_gate(&gate);
	join(ref);
	stop();
}

/* ---- shutdown, fork ---- */

TEST(a_shutdown_names_who_blocks_and_goes_through_later)
{
	struct gate gate = { .marked = true };
	struct green_ref ref;

	start_watched(2, 4, 0);
	ref = spawn_named("stubborn", block, &gate);
	WAIT_UNTIL(load_relaxed(&blocking()->relieved) == 1);
	CHECK_EQ(runtime_shutdown_until(runtime, clock_now_ns() + NS_PER_MS), FILAR_TIMED_OUT);
	CHECK_TEXT_HAS(filar_status_detail(), "stubborn");
	CHECK_EQ(runtime_destroy(runtime), FILAR_BUSY);
	open_gate(&gate);
	join(ref);
	stop();
}

/* The last green thread ends on a spare that retires, the regular worker sleeps. */
TEST(a_shutdown_notices_the_end_wherever_it_comes)
{
	for (int i = 0; i < 30; i++) {
		struct gate gate = { .marked = true }, other = { .marked = true };
		struct green_ref refs[2];

		start_watched(1, 3, 0);
		refs[0] = spawn(block, &gate);
		WAIT_UNTIL(load_acquire(&gate.inside) == 1);
		refs[1] = spawn(block, &other);
		WAIT_UNTIL(load_acquire(&other.inside) == 1);
		CHECK_EQ(green_detach(refs[0]), FILAR_OK);
		CHECK_EQ(green_detach(refs[1]), FILAR_OK);
		open_gate(&gate);
		open_gate(&other);
		stop();
	}
}

/* As if a green thread were pinned here. */
static void anchor_here(void *argument)
{
	store_relaxed(&worker_here()->anchored, 1);
	run(argument);
}

/* A spare that has retired comes back for the end, and another one is still one too many. */
TEST(the_end_may_come_while_a_spare_is_surplus)
{
	struct gate gates[2] = { { .marked = true }, { .marked = true } };
	struct green_ref refs[2];

	start_watched(1, 2, 0);
	for (int i = 0; i < 2; i++) {
		refs[i] = spawn(block, &gates[i]);
		WAIT_UNTIL(load_acquire(&gates[i].inside) == 1);
	}
	join(spawn(anchor_here, NULL));
	for (int i = 0; i < 2; i++) {
		open_gate(&gates[i]);
		join(refs[i]);
	}
	WAIT_UNTIL(all_are_back() && load_relaxed(&blocking()->retired_count) >= 1 &&
		   load_relaxed(&blocking()->active) == 2);
	stop();
}

/* qemu's user mode does not survive a fork with several threads. */
static bool under_qemu(void)
{
	return getenv("FILAR_UNDER_QEMU") != NULL;
}

static void fork_inside(void *argument)
{
	int status;
	pid_t child;

	(void)argument;
	blocking_begin();
	child = fork();
	if (child == 0) {
		blocking_end();
		blocking_begin();
		blocking_end();
		_exit(green_self() == NULL ? 0 : 1);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	blocking_end();
	CHECK_EQ(status, 0);
}

TEST(the_child_of_a_fork_in_a_section_goes_on)
{
	if (under_qemu())
		return;
	start_watched(1, 1, 0);
	join(spawn(fork_inside, NULL));
	stop();
}

TEST(a_child_can_destroy_a_runtime_with_a_relieved_worker)
{
	struct gate gate = { .marked = true };
	struct green_ref ref;
	int status;
	pid_t child;

	if (under_qemu())
		return;
	start_watched(1, 2, 0);
	ref = spawn(block, &gate);
	WAIT_UNTIL(load_relaxed(&blocking()->started) == 1);
	child = fork();
	if (child == 0) {
		CHECK_EQ(green_detach(ref), FILAR_FORKED);
		CHECK_EQ(runtime_destroy(runtime), FILAR_OK);
		_exit(0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	open_gate(&gate);
	join(ref);
	stop();
}

/* ---- failures ---- */

#if FILAR_FAIL
/* The n-th call fails while a worker blocks: thread, memory, signal stack, futex, affinity. */
TEST(a_spare_that_cannot_be_had_is_tried_again)
{
	for (uint64_t nth = 1; nth <= 12; nth++) {
		struct gate gate = { .marked = true };
		int64_t live = memory_live();
		struct green_ref ref;

		store_relaxed(&ran, 0);
		start_watched(1, 2, 0);
		ref = spawn(block, &gate);
		failpoint_arm(FAILPOINT_ANY, nth);
		WAIT_UNTIL(load_acquire(&gate.inside) == 1);
		spawn_run();
		WAIT_UNTIL(load_acquire(&ran) == 1);
		failpoint_arm(FAILPOINT_ANY, 0);
		open_gate(&gate);
		join(ref);
		stop();
		CHECK_EQ(memory_live(), live);
	}
}

TEST(threads_that_fail_are_counted_and_shown)
{
	struct gate gate = { .marked = true };
	static char text[8192];
	struct green_ref ref;

	start_watched(1, 2, 0);
	join(spawn(run, NULL)); /* the watcher is up */
	failpoint_arm(FAILPOINT_THREAD_CREATE, 1);
	ref = spawn(block, &gate);
	WAIT_UNTIL(failpoint_fired());
	WAIT_UNTIL(load_relaxed(&blocking()->started) == 1);
	CHECK_GE(load_relaxed(&blocking()->refused), 1);
	dump(text, sizeof text);
	CHECK_TEXT_HAS(text, "none to be had 1 times");
	open_gate(&gate);
	join(ref);
	stop();
}
#endif

TEST_MAIN()
