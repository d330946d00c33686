/*
 * ways_process.c - processes beside threads: creation, crash isolation, and what they share.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/memory.h"
#include "base/tid.h"
#include "kthread/raw.h"
#include "lab/child.h"
#include "lab/registry.h"
#include "os/calls.h"
#include "os/clock.h"
#include "os/memory.h"

/* ---- process-create ---- */

enum create_call {
	CALL_FORK,
	CALL_VFORK,
	CALL_SPAWN,
	CALL_THREAD,
	CALL_CLONE,
	CALL_SPAWN_TRUE,
	CREATE_CALLS
};
enum { PARAM_CALL, PARAM_EXTRA_BYTES };

#define CLONE_STACK_BYTES (64 << 10)

struct creator {
	struct process_options options;        /* I  after setup; unused by CALL_THREAD */
	bool thread;                           /* I */
	char *ballast;                         /* I  extra resident memory, or NULL */
	size_t ballast_bytes;                  /* I */
	struct stack stack;                    /* I  CALL_CLONE */
	int program_fd;                        /* I  CALL_SPAWN, else -1 */
	char program[TINY_PROGRAM_PATH_BYTES]; /* I  CALL_SPAWN */
};

/* Extra resident memory, in 4 KiB pages: what fork has to copy the page tables of. */
static enum filar_status acquire_ballast(struct creator *creator, const struct way_run *run)
{
	if (creator->ballast_bytes == 0)
		return FILAR_OK;
	creator->ballast = call_mmap(NULL, creator->ballast_bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (creator->ballast == MAP_FAILED) {
		creator->ballast = NULL;
		return status_from_errno(errno, "mmap");
	}
	(void)call_madvise(creator->ballast, creator->ballast_bytes, MADV_NOHUGEPAGE);
	for (size_t at = 0; at < creator->ballast_bytes; at += page_bytes()) {
		creator->ballast[at] = 1;
		if (at % (16 << 20) == 0 && way_cancelled(run))
			return FILAR_CANCELLED;
	}
	return FILAR_OK;
}

static enum filar_status choose_call(struct creator *creator, enum create_call call)
{
	static const enum process_by by[] = { [CALL_FORK] = PROCESS_BY_FORK,
		[CALL_VFORK] = PROCESS_BY_VFORK,
		[CALL_SPAWN] = PROCESS_BY_SPAWN,
		[CALL_CLONE] = PROCESS_BY_CLONE,
		[CALL_SPAWN_TRUE] = PROCESS_BY_SPAWN };
	enum filar_status status;

	creator->thread = call == CALL_THREAD;
	if (creator->thread)
		return FILAR_OK;
	creator->options.by = by[call];
	switch (call) {
	case CALL_CLONE:
		status = stack_reserve(
			&creator->stack, CLONE_STACK_BYTES, page_bytes(), STACK_GUARD_MPROTECT);
		creator->options.stack = creator->stack.low;
		creator->options.stack_bytes = creator->stack.bytes;
		return status;
	case CALL_SPAWN:
		creator->options.program = creator->program;
		return tiny_program_create(&creator->program_fd, creator->program);
	case CALL_SPAWN_TRUE:
		creator->options.program = "/bin/true";
		return FILAR_OK;
	default:
		return FILAR_OK;
	}
}

static enum filar_status setup_process_create(struct way_run *run)
{
	int64_t call = run->params[PARAM_CALL];
	struct creator *creator;
	enum filar_status status;

	if (call < 0 || call >= CREATE_CALLS)
		return status_detail(FILAR_INVALID, "call is 0 to %d, not %lld", CREATE_CALLS - 1,
			(long long)call);
	if (run->params[PARAM_EXTRA_BYTES] < 0)
		return status_detail(FILAR_INVALID, "extra_bytes cannot be negative");
	creator = way_acquire_state(run, sizeof *creator);
	if (creator == NULL)
		return FILAR_NO_MEMORY;
	creator->program_fd = -1;
	creator->ballast_bytes = (size_t)run->params[PARAM_EXTRA_BYTES];
	status = choose_call(creator, (enum create_call)call);
	return status == FILAR_OK ? acquire_ballast(creator, run) : status;
}

static void teardown_process_create(struct way_run *run)
{
	struct creator *creator = run->state;

	if (creator == NULL)
		return;
	if (creator->ballast != NULL)
		(void)munmap(creator->ballast, creator->ballast_bytes);
	if (creator->stack.low != NULL)
		stack_release(&creator->stack);
	if (creator->program_fd >= 0)
		close(creator->program_fd);
	memory_release(creator);
}

static void *empty_thread(void *unused)
{
	return unused;
}

static enum filar_status create_and_end(const struct creator *creator)
{
	enum filar_status status;
	pthread_t thread;
	int ignored, error;
	pid_t child;

	if (creator->thread) {
		error = call_thread_create(&thread, NULL, empty_thread, NULL);
		if (error != 0)
			return status_from_errno(error, "pthread_create");
		pthread_join(thread, NULL);
		return FILAR_OK;
	}
	status = process_start(&child, &creator->options);
	return status == FILAR_OK ? child_reap(child, &ignored) : status;
}

static enum filar_status sample_process_create(struct way_run *run)
{
	enum filar_status status = FILAR_OK;
	int64_t start = clock_now_ns();

	for (uint32_t i = 0; i < run->batch && status == FILAR_OK; i++)
		status = create_and_end(run->state);
	run->values[0] = (double)(clock_now_ns() - start) / run->batch;
	return status;
}

/* ---- isolation: one of eight parties crashes; who is left? ---- */

enum { PARTIES = 8 };
#define PARTY_SECONDS 30 /* of one whose end is waited for */

/* Shared with the children, since the way one has ended does not say how far it had come. */
struct crash_site {
	_Atomic bool crashed; /* A  relaxed: somebody is about to */
};

static void crash(struct crash_site *site)
{
	store_relaxed(&site->crashed, true);
	(void)raise(SIGSEGV);
	_exit(1);
}

static void *party_thread(void *site)
{
	if (site != NULL)
		crash(site);
	for (;;)
		pause();
	return NULL;
}

FILAR_NORETURN static void run_party_threads(struct crash_site *site)
{
	pthread_t thread;

	for (int i = 1; i < PARTIES; i++) {
		if (pthread_create(&thread, NULL, party_thread, i == PARTIES - 1 ? site : NULL) !=
			0)
			child_exit(2);
	}
	for (;;)
		pause();
}

/* Waits for the end of one that is to crash; FILAR_SYSTEM if it has ended before. */
static enum filar_status reap_crash(pid_t pid, struct crash_site *site, int *wait_status)
{
	enum filar_status status = child_reap(pid, wait_status);

	if (status == FILAR_OK && !load_relaxed(&site->crashed))
		status = status_detail(FILAR_SYSTEM,
			"a child process ended before its crash (wait status %#x)",
			(unsigned)*wait_status);
	return status;
}

/* A child process of eight threads, one of which crashes: the survivors are counted by looking at
 * whether the process lives. */
static enum filar_status crash_in_thread(struct crash_site *site, double *survivors)
{
	enum filar_status status;
	int wait_status;
	pid_t pid;

	status = child_fork(&pid, PARTY_SECONDS);
	if (status != FILAR_OK)
		return status;
	if (pid == 0)
		run_party_threads(site);
	status = reap_crash(pid, site, &wait_status);
	/* Ended by SIGALRM: the crash did not end it, and the seven others lived on. */
	*survivors = wait_status == -1                                              ? NAN
		     : WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGALRM ? PARTIES - 1
										    : 0;
	return status;
}

static enum filar_status crash_in_process(struct crash_site *site, double *survivors)
{
	pid_t pids[PARTIES];
	enum filar_status status = FILAR_OK;
	int started = 0, wait_status = 0;

	*survivors = 0;
	while (started < PARTIES && status == FILAR_OK) {
		bool crashes = started == PARTIES - 1;

		/* Without an alarm of their own: the others may only die of the crash. */
		status = child_fork(&pids[started], crashes ? PARTY_SECONDS : 0);
		if (status == FILAR_OK && pids[started] == 0)
			(void)party_thread(crashes ? site : NULL);
		started += status == FILAR_OK;
	}
	if (status == FILAR_OK) {
		status = reap_crash(pids[--started], site, &wait_status);
		for (int i = 0; i < started; i++)
			*survivors += !child_has_ended(pids[i]);
	}
	while (started > 0)
		child_kill(pids[--started]);
	return status;
}

static enum filar_status sample_isolation(struct way_run *run)
{
	struct crash_site *site = shared_acquire(sizeof *site);
	enum filar_status status;

	if (site == NULL)
		return FILAR_NO_MEMORY;
	status = run->params[0] != 0 ? crash_in_process(site, &run->values[0])
				     : crash_in_thread(site, &run->values[0]);
	shared_release(site, sizeof *site);
	return status;
}

/* ---- address-map: where things are, seen from two threads and a child process ---- */

enum map_kind {
	MAP_STACK_ADDRESS,
	MAP_HEAP_ADDRESS,
	MAP_STATIC_ADDRESS,
	MAP_PID,
	MAP_TID,
	MAP_SEEN,
	MAP_KINDS
};

struct map_view {
	double facts[MAP_KINDS];
	_Atomic int *heap;           /* I  the same pointer for all parties; relaxed */
	pthread_barrier_t *together; /* I  NULL for a party that is alone */
};

static int map_static;

#define LAST_FACT MAP_TID /* that look_around() writes */

/* Writes 1 to the heap cell; MAP_SEEN then says what the party reads there. */
static void look_around(struct map_view *view)
{
	int on_stack = 0;

	store_relaxed(view->heap, 1);
	view->facts[MAP_STACK_ADDRESS] = (double)(uintptr_t)&on_stack;
	view->facts[MAP_HEAP_ADDRESS] = (double)(uintptr_t)view->heap;
	view->facts[MAP_STATIC_ADDRESS] = (double)(uintptr_t)&map_static;
	view->facts[MAP_PID] = getpid();
	view->facts[MAP_TID] = tid_self();
}

/* Ends only when all threads have looked: a thread that follows another gets its stack. */
static void *map_thread(void *pointer)
{
	struct map_view *view = pointer;

	look_around(view);
	(void)pthread_barrier_wait(view->together);
	return NULL;
}

static void report_view(struct way_run *run, int subject, const struct map_view *view, int seen)
{
	for (int kind = 0; kind < MAP_SEEN; kind++)
		way_point(run, kind, subject, view->facts[kind], 0);
	way_point(run, MAP_SEEN, subject, seen, 0);
}

/* The views of two threads alive at once, and whether the driver sees what they wrote. */
static enum filar_status view_of_threads(struct way_run *run, _Atomic int *heap)
{
	pthread_barrier_t together;
	struct map_view views[] = { { .heap = heap, .together = &together },
		{ .heap = heap, .together = &together } };
	pthread_t threads[FILAR_COUNT_OF(views)];
	int error;

	store_relaxed(heap, 0);
	pthread_barrier_init(&together, NULL, FILAR_COUNT_OF(views));
	error = call_thread_create(&threads[0], NULL, map_thread, &views[0]);
	if (error == 0) {
		error = call_thread_create(&threads[1], NULL, map_thread, &views[1]);
		if (error == 0)
			pthread_join(threads[1], NULL);
		else /* in place of the second thread, so that the first one ends */
			(void)pthread_barrier_wait(&together);
		pthread_join(threads[0], NULL);
	}
	pthread_barrier_destroy(&together);
	if (error != 0)
		return status_from_errno(error, "pthread_create");
	for (int i = 0; i < (int)FILAR_COUNT_OF(views); i++)
		report_view(run, i + 1, &views[i], load_relaxed(heap));
	run->values[0] = load_relaxed(heap);
	return FILAR_OK;
}

static enum filar_status view_of_child(struct way_run *run, int subject, _Atomic int *heap)
{
	struct map_view *view = shared_acquire(sizeof *view);
	enum filar_status status;
	int wait_status;
	pid_t pid;

	if (view == NULL)
		return FILAR_NO_MEMORY;
	store_relaxed(heap, 0);
	view->heap = heap;
	status = child_fork(&pid, PARTY_SECONDS);
	if (status == FILAR_OK && pid == 0) {
		look_around(view);
		child_exit(0);
	}
	if (status == FILAR_OK)
		status = child_reap(pid, &wait_status);
	if (status == FILAR_OK && view->facts[LAST_FACT] == 0)
		status = status_detail(FILAR_SYSTEM,
			"the child process ended before it had looked (wait status %#x)",
			(unsigned)wait_status);
	if (status == FILAR_OK) {
		report_view(run, subject, view, load_relaxed(heap));
		run->values[1] = load_relaxed(heap);
	}
	shared_release(view, sizeof *view);
	return status;
}

static enum filar_status sample_address_map(struct way_run *run)
{
	_Atomic int *heap = memory_acquire(1, sizeof *heap);
	struct map_view own = { .heap = heap };
	enum filar_status status;

	if (heap == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory");
	look_around(&own);
	report_view(run, 0, &own, 1);
	status = view_of_threads(run, heap);
	if (status == FILAR_OK)
		status = view_of_child(run, 3, heap);
	memory_release(heap);
	return status;
}

const struct way ways_process[] = {
	{ .name = "process-create",
		.summary =
			"creates and reaps; call 0: fork, 1: vfork, 2: posix_spawn of a program that only "
			"exits, 3: thread, 4: clone(VM|VFORK), 5: posix_spawn of /bin/true; with extra_bytes "
			"more resident memory",
		.params = { { "call", CALL_FORK }, { "extra_bytes", 0 } },
		.metrics = { { "create+join", "ns" } },
		.setup_each_round = true,
		.setup = setup_process_create,
		.sample = sample_process_create,
		.teardown = teardown_process_create },
	{ .name = "isolation",
		.summary =
			"one of eight parties crashes: how many of the other seven live on; processes 0: "
			"threads of one child, 1: processes",
		.params = { { "processes", 0 } },
		.metrics = { { "survivors", "count" } },
		.batch_max = 1,
		.sample = sample_isolation },
	{ .name = "address-map",
		.summary =
			"what a driver thread, two threads and a forked child see; points of kind 0 stack, "
			"1 heap, 2 static address, 3 pid, 4 tid, 5 write seen by the driver; subject: who",
		.metrics = { { "thread's write seen", "count" },
			{ "child's write seen", "count" } },
		.batch_max = 1,
		.sample = sample_address_map },
	{ .name = NULL },
};
