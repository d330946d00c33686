/*
 * test_trouble.c - what users do to a runtime that they should not, and what the machine does to
 * it.
 *
 * Each trouble ends in a status or a message that names the culprit; nothing hangs, crashes or
 * leaks.  The rest of the list stands elsewhere:
 *   stack overflow, join twice, join itself, spawn after shutdown, fork, two runtimes, a runtime in
 *   a green thread of another, a body that never yields:                          test_green.c
 *   unlock by a stranger: test_block_locks.c (mutex, condition), test_block_groups.c (rwlock)
 *   send on a closed channel: test_block_chan.c
 *   a signal in the middle of a bare switch: test_context.c
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "base/memory.h"
#include "block/event.h"
#include "block/recursive.h"
#include "check.h"
#include "green/runtime.h"
#include "greens.h"
#include "kthread/kthread.h"
#include "os/clock.h"
#include "os/textfile.h"

static void start_with(uint32_t workers, enum stack_guard guard)
{
	struct runtime_options options;

	runtime_options_init(&options);
	options.workers = workers;
	options.guard = guard;
	CHECK_EQ(runtime_create(&runtime, &options), FILAR_OK);
}

static void start(uint32_t workers)
{
	start_with(workers, STACK_GUARD_BEST);
}

static int64_t count_maps(void)
{
	int64_t lines = 0;

	CHECK_EQ(textfile_count_lines(&lines, "/proc/self/maps"), FILAR_OK);
	return lines;
}

/* What the C library may keep of threads that have ended: stacks and an arena for each. */
#define MAPS_KEPT 16

/* ---- too many ---- */

static struct event gate;
static _Atomic int64_t through;

static void pass_gate(void *unused)
{
	(void)unused;
	CHECK_EQ(event_wait_until(&gate, DEADLINE_NEVER), FILAR_OK);
	fetch_add_relaxed(&through, 1);
}

/* Spawns until that is refused; what was spawned before must end as if nothing had happened, and
 * then there is room again. */
static int64_t spawn_until_refused(int64_t most, enum filar_status *status)
{
	int64_t count = 0;

	event_init(&gate, false);
	store_relaxed(&through, 0);
	*status = FILAR_OK;
	while (*status == FILAR_OK && count < most) {
		*status = green_spawn(NULL, runtime, NULL, pass_gate, NULL);
		count += *status == FILAR_OK;
	}
	return count;
}

static void let_all_through(int64_t count)
{
	event_set(&gate);
	WAIT_UNTIL(load_relaxed(&through) == count);
	join(spawn(pass_gate, NULL));
}

TEST(a_million_spawns_with_little_address_space_end_in_a_status_that_names_the_limit)
{
	struct rlimit before, limit;
	enum filar_status status;
	int64_t count, maps;

	if (FILAR_ASAN || FILAR_TSAN)
		return; /* they reserve terabytes of their own */
	start(2);
	maps = count_maps();
	CHECK_EQ(getrlimit(RLIMIT_AS, &before), 0);
	limit = before;
	limit.rlim_cur = (rlim_t)1 << 30;
	CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
	count = spawn_until_refused(1000000, &status);
	CHECK_EQ(status, FILAR_LIMIT);
	CHECK_TEXT_HAS(filar_status_detail(), "RLIMIT_AS");
	CHECK_GE(count, 1000);
	CHECK_EQ(setrlimit(RLIMIT_AS, &before), 0);
	let_all_through(count);
	stop();
	CHECK_LE(count_maps(), maps + MAPS_KEPT);
}

TEST(without_guard_install_spawns_end_at_max_map_count_and_nothing_is_left)
{
	enum filar_status status;
	int64_t count, maps, maps_max = 0;

	CHECK_EQ(textfile_read_number(&maps_max, "/proc/sys/vm/max_map_count"), FILAR_OK);
	if (maps_max > 200000 || FILAR_ASAN || FILAR_TSAN)
		return; /* would take too long to reach; sanitizers need maps themselves */
	start_with(2, STACK_GUARD_MPROTECT);
	maps = count_maps();
	count = spawn_until_refused(maps_max, &status);
	CHECK_EQ(status, FILAR_LIMIT);
	CHECK_TEXT_HAS(filar_status_detail(), "max_map_count");
	CHECK_GE(count, maps_max / 2 - 2000);
	let_all_through(count);
	stop();
	CHECK_LE(count_maps(), maps + MAPS_KEPT);
}

/* ---- bodies that do not let others run ---- */

struct pipe_ends {
	int ends[2];
};

static void read_one_byte(void *argument)
{
	const struct pipe_ends *pipe_ends = argument;
	char byte;

	CHECK_EQ(read(pipe_ends->ends[0], &byte, 1), 1);
}

static void sleep_a_little(void *unused)
{
	(void)unused;
	CHECK_EQ(green_sleep_until(clock_now_ns() + NS_PER_MS), FILAR_OK);
}

static void open_pipe(struct pipe_ends *pipe_ends)
{
	CHECK_EQ(pipe2(pipe_ends->ends, O_CLOEXEC), 0);
}

static void close_pipe(const struct pipe_ends *pipe_ends)
{
	close(pipe_ends->ends[0]);
	close(pipe_ends->ends[1]);
}

TEST(a_body_that_blocks_its_kernel_thread_does_not_hold_up_the_other_worker)
{
	struct pipe_ends pipe_ends;
	struct green_options options = { .name = "blocker" };
	struct green_ref blocker;

	open_pipe(&pipe_ends);
	start(2);
	CHECK_EQ(green_spawn(&blocker, runtime, &options, read_one_byte, &pipe_ends), FILAR_OK);
	for (int i = 0; i < 100; i++)
		join(spawn(sleep_a_little, NULL));
	/* It is named when it keeps the runtime from ending. */
	CHECK_EQ(runtime_shutdown_until(runtime, clock_now_ns() + 10 * NS_PER_MS), FILAR_TIMED_OUT);
	CHECK_TEXT_HAS(filar_status_detail(), "\"blocker\"");
	CHECK_EQ(runtime_destroy(runtime), FILAR_BUSY);
	CHECK_TEXT_HAS(filar_status_detail(), "\"blocker\"");
	CHECK_EQ(write(pipe_ends.ends[1], "x", 1), 1);
	join(blocker);
	stop();
	close_pipe(&pipe_ends);
}

static _Atomic bool stop_spinning;

static void spin(void *unused)
{
	(void)unused;
	while (!load_relaxed(&stop_spinning))
		cpu_pause();
}

TEST(with_one_worker_a_body_that_never_yields_is_named_when_the_runtime_does_not_end)
{
	struct green_options options = { .name = "spinner" };
	struct green_ref spinner;

	start(1);
	CHECK_EQ(green_spawn(&spinner, runtime, &options, spin, NULL), FILAR_OK);
	CHECK_EQ(runtime_shutdown_until(runtime, clock_now_ns() + 10 * NS_PER_MS), FILAR_TIMED_OUT);
	CHECK_TEXT_HAS(filar_status_detail(), "\"spinner\"");
	/* A cancel asks; it cannot make a body that does not look. */
	CHECK_EQ(green_cancel(spinner), FILAR_OK);
	store_relaxed(&stop_spinning, true);
	join(spinner);
	stop();
}

/* ---- ending ---- */

static _Atomic int begun;

static enum filar_status count_begin(struct worker *worker)
{
	(void)worker;
	fetch_add_relaxed(&begun, 1);
	return FILAR_OK;
}

/* Longer than the watcher's longest period: it looks at least once while workers end. */
static void end_slowly(struct worker *worker)
{
	(void)worker;
	usleep(30000);
}

static _Atomic bool piece_ran;

static void run_piece(struct worker *worker, struct work *work)
{
	(void)worker;
	(void)work;
	store_release(&piece_ran, true);
}

/* The watcher looks on while the workers end: it must not take them for missing. */
TEST(an_ending_scheduler_starts_no_spares)
{
	static const struct work_class class = { .name = "piece", .run = run_piece };
	struct scheduler_options options = { .workers = 2,
		.spares_max = 4,
		.worker_begins = count_begin,
		.worker_ends = end_slowly };
	static struct scheduler scheduler;

	for (int round = 1; round <= 3; round++) {
		struct work work = { .class = &class };

		CHECK_EQ(scheduler_init(&scheduler, &options, NULL), FILAR_OK);
		store_relaxed(&piece_ran, false);
		scheduler_submit(&scheduler, &work); /* who runs it sees to a watcher */
		WAIT_UNTIL(load_acquire(&piece_ran));
		scheduler_deinit(&scheduler);
		CHECK_EQ(load_relaxed(&begun), 2 * round);
	}
}

/* ---- signals among switches ---- */

struct target {
	_Atomic int32_t tid;
	_Atomic int64_t handled, switches;
	_Atomic bool over;
};
static struct target target;

static void count_signal(int signal)
{
	int before = errno;

	(void)signal;
	fetch_add_relaxed(&target.handled, 1);
	errno = before;
}

/* Workers block all signals; a body may let one through, as a profiler does. */
static void let_signals_in(void *unused)
{
	sigset_t set;

	(void)unused;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &set, NULL), 0);
	store_release(&target.tid, (int32_t)syscall(SYS_gettid));
}

static void switch_for_long(void *argument)
{
	uint64_t sum = (uint64_t)(uintptr_t)argument, start_sum = sum;

	while (!load_acquire(&target.over)) {
		sum += 7;
		green_yield();
		sum -= 7;
		fetch_add_relaxed(&target.switches, 1);
	}
	CHECK_EQ(sum, start_sum);
}

TEST(signals_among_the_switches_of_a_runtime_harm_nothing)
{
	struct sigaction action = { .sa_handler = count_signal, .sa_flags = SA_RESTART };
	struct green_ref refs[3];

	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	start(1);
	join(spawn(let_signals_in, NULL));
	for (uintptr_t i = 0; i < 3; i++)
		refs[i] = spawn(switch_for_long, (void *)(i << 32));
	while (load_relaxed(&target.handled) < 500) {
		CHECK_EQ(syscall(SYS_tgkill, getpid(), load_acquire(&target.tid), SIGUSR1), 0);
		sched_yield();
	}
	store_release(&target.over, true);
	for (int i = 0; i < 3; i++)
		join(refs[i]);
	CHECK_GE(load_relaxed(&target.switches), 1);
	stop();
}

/* ---- strangers ---- */

static void unlock_it(void *recursive)
{
	CHECK_EQ(recursive_unlock(recursive), FILAR_WRONG_STATE);
	CHECK_TEXT_HAS(filar_status_detail(), "held by kernel thread");
}

TEST(a_recursive_lock_is_not_unlocked_by_a_stranger)
{
	struct recursive recursive;

	recursive_init(&recursive, NULL);
	start(1);
	CHECK_EQ(recursive_lock_until(&recursive, DEADLINE_NEVER), FILAR_OK);
	join(spawn(unlock_it, &recursive));
	CHECK_EQ(recursive_unlock(&recursive), FILAR_OK);
	stop();
}

/* ---- idle ---- */

/* Of the workers and the watcher: each sleep and each wake is a switch. */
struct activity {
	int64_t switches, cpu_ns, threads, asleep;
};

static void add_activity(struct activity *sum, struct kthread *kthread)
{
	char path[64], text[8192];
	int64_t voluntary = 0, forced = 0;

	snprintf(path, sizeof path, "/proc/self/task/%d/status", kthread_tid(kthread));
	CHECK_EQ(textfile_read_into(text, sizeof text, path), FILAR_OK);
	CHECK(text_number_after(text, "\nvoluntary_ctxt_switches:", &voluntary));
	CHECK(text_number_after(text, "nonvoluntary_ctxt_switches:", &forced));
	sum->switches += voluntary + forced;
	sum->cpu_ns += kthread_cpu_ns(kthread);
	sum->threads++;
	sum->asleep += strstr(text, "State:\tS") != NULL; /* and not waiting for a CPU */
}

static struct activity activity_of_others(void)
{
	struct scheduler *scheduler = &runtime->scheduler;
	struct activity sum = { 0, 0, 0, 0 };

	for (uint32_t i = 0; i < scheduler_made(scheduler); i++) {
		if (scheduler->workers[i].kthread != NULL)
			add_activity(&sum, scheduler->workers[i].kthread);
	}
	if (load_seq_cst(&scheduler->blocking.watch.mood) == WATCH_DEEP)
		add_activity(&sum, scheduler->blocking.watch.kthread);
	return sum;
}

/* With one worker there is none. */
static bool watcher_sleeps_or_is_not_there(void)
{
	uint32_t mood = load_relaxed(&runtime->scheduler.blocking.watch.mood);

	return mood == WATCH_DEEP || mood == WATCH_NONE;
}

static void wait_until_all_sleep(void)
{
	struct scheduler *scheduler = &runtime->scheduler;
	struct activity before, after;

	/* In the idle word and the watcher's mood first, then in the kernel as well: nothing
	 * changes between two looks. */
	WAIT_UNTIL(IDLE_SLEEPING(load_relaxed(&scheduler->idle.word)) ==
			   load_relaxed(&scheduler->blocking.active) &&
		   watcher_sleeps_or_is_not_there());
	after = activity_of_others();
	do {
		before = after;
		usleep(1000);
		after = activity_of_others();
	} while (after.asleep != after.threads || after.switches != before.switches ||
		 after.cpu_ns != before.cpu_ns);
}

static void sleep_for_an_hour(void *unused)
{
	(void)unused;
	CHECK_EQ(green_sleep_until(clock_now_ns() + 3600 * NS_PER_S), FILAR_CANCELLED);
}

/* The time is what is measured here: in it, an idle runtime must do nothing at all. */
TEST(an_idle_runtime_does_nothing_and_wakes_after_it)
{
	struct green_ref sleeper;
	struct activity before, after;

	for (uint32_t workers = 1; workers <= 3; workers++) {
		start(workers);
		sleeper = spawn(sleep_for_an_hour, NULL); /* a keeper: it has a deadline to keep */
		for (int i = 0; i < 100; i++)
			join(spawn(sleep_a_little, NULL));
		wait_until_all_sleep();
		before = activity_of_others();
		usleep(300 * 1000);
		after = activity_of_others();
		CHECK_EQ(after.threads, before.threads);
		CHECK_GE(after.threads, workers + (workers > 1));
		CHECK_EQ(after.switches, before.switches);
		CHECK_EQ(after.cpu_ns, before.cpu_ns);
		join(spawn(sleep_a_little, NULL));
		CHECK_EQ(green_cancel(sleeper), FILAR_OK);
		join(sleeper);
		stop();
	}
}

TEST_MAIN()
