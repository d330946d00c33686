/*
 * ways_green_wait.c - one task that blocks or never yields, and how long the others wait; many
 * tasks that sleep; the share of a core that tasks get.  Green threads and kernel threads do the
 * same work.
 *
 * Waits are seen from inside: each task reads the clock after each unit of work, and what lies
 * between two readings, it did not run (its own unit, some microseconds, included).
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "base/check.h"
#include "base/memory.h"
#include "lab/crew.h"
#include "lab/grove.h"
#include "green/preempt.h"
#include "lab/procfile.h"
#include "lab/registry.h"
#include "os/calls.h"
#include "os/clock.h"

/* ---- green-gaps ---- */

enum {
	GAPS_TASKS,
	GAPS_KERNEL,
	GAPS_TROUBLE,
	GAPS_YIELDS,
	GAPS_WORKERS,
	GAPS_OTHER_CPU,
	GAPS_WINDOW_NS,
	GAPS_BLOCK_NS,
	GAPS_BLOCKERS,
	GAPS_SPARES,
	GAPS_MARKED,
	GAPS_PREEMPT_NS
};
enum trouble { TROUBLE_NONE, TROUBLE_BLOCKS, TROUBLE_HOGS };
enum { VALUE_WORST, VALUE_TYPICAL, VALUE_WORK, VALUE_WORK_FIRST, VALUE_BLOCKED, VALUE_RELIEVED };
enum { POINT_RAN, POINT_BLOCKED, POINT_WORST };

#define GAPS_WATCH_NS (10 * NS_PER_MS)
#define TASKS_MAX     256
#define UNIT_STEPS    3000              /* a few microseconds */
#define GAP_NS        (500 * NS_PER_US) /* that ends a stretch of running in the picture */
#define STRETCHES_MAX 512u

struct stretch {
	int64_t start_ns, end_ns;
	int32_t kind;
};

struct task {
	struct stretch stretches[STRETCHES_MAX]; /* W  its task, until joined */
	uint32_t count;                          /* W */
	uint32_t blocked;                        /* W  times */
	uint64_t units;                          /* W */
	int64_t worst_ns;                        /* W  longest time between two units */
};

struct gaps {
	struct grove grove;
	struct crew crew;
	struct way_run *run;      /* I */
	struct task *tasks;       /* I  array; see struct task */
	uint32_t count;           /* I */
	enum trouble trouble;     /* I  what the first `blockers` tasks do */
	uint32_t blockers;        /* I */
	bool kernel, yields;      /* I */
	bool marked;              /* I  what blocks stands between blocking_begin() and _end() */
	int64_t block_ns;         /* I */
	_Atomic int64_t begin_ns; /* A  0 until all are there; B1 publishes it */
	int64_t window_ns;        /* I */
	double worst[TASKS_MAX];  /* W  driver: scratch */
};

static void note(struct task *task, int32_t kind, int64_t start_ns, int64_t end_ns)
{
	if (task->count < STRETCHES_MAX)
		task->stretches[task->count++] = (struct stretch){ start_ns, end_ns, kind };
}

/* A task may be preemptible, and this is an inner function. */
static void yield_guarded(void)
{
	PREEMPT_GUARD();

	green_yield();
}

static void let_others_run(const struct gaps *state)
{
	if (!state->yields)
		return;
	if (state->kernel)
		(void)sched_yield();
	else
		yield_guarded();
}

/* A system call that sleeps: the kernel thread below does nothing meanwhile. */
static int64_t block(const struct gaps *state, struct task *task, int64_t now)
{
	struct timespec until = clock_timespec(now + state->block_ns);
	int64_t end;

	if (state->marked)
		blocking_begin();
	(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
	if (state->marked)
		blocking_end();
	end = clock_now_ns();
	note(task, POINT_BLOCKED, now, end);
	task->blocked++;
	return end;
}

static void run_task(struct gaps *state, uint32_t number, int64_t begin_ns)
{
	struct task *task = &state->tasks[number];
	enum trouble trouble = number < state->blockers ? state->trouble : TROUBLE_NONE;
	int64_t deadline = begin_ns + state->window_ns, last = begin_ns, since = begin_ns, now;

	do {
		now = clock_now_ns();
		if (now - last > task->worst_ns)
			task->worst_ns = now - last;
		if (now - last > GAP_NS) {
			if (last > since)
				note(task, POINT_RAN, since, last);
			since = now;
		}
		spin_steps(UNIT_STEPS);
		task->units++;
		last = clock_now_ns();
		/* Preempted in the middle of the unit: a wait as any other. */
		if (last - now > task->worst_ns)
			task->worst_ns = last - now;
		if (last - now > GAP_NS) {
			note(task, POINT_RAN, since, now);
			since = last;
		}
		if (trouble == TROUBLE_BLOCKS) {
			note(task, POINT_RAN, since, last);
			since = last = block(state, task, last);
		}
		if (trouble != TROUBLE_HOGS)
			let_others_run(state);
	} while (last < deadline && !way_cancelled(state->run));
	note(task, POINT_RAN, since, last);
}

static void gaps_green(struct grove_member *member)
{
	struct gaps *state = member->grove->shared;
	int64_t begin_ns;

	/* B2: acquire; pairs with B1. */
	while ((begin_ns = load_acquire(&state->begin_ns)) == 0)
		yield_guarded();
	if (begin_ns > 0)
		run_task(state, member->number, begin_ns);
}

static enum filar_status gaps_errand(void *pointer)
{
	struct gaps *state = pointer;
	enum filar_status status = grove_spawn(&state->grove, state->count, gaps_green);

	/* B1: release; pairs with B2.  Below zero: go home, some were refused. */
	store_release(&state->begin_ns, status == FILAR_OK ? clock_now_ns() : -1);
	grove_join(&state->grove);
	return status;
}

static void gaps_thread(struct crew_member *member)
{
	run_task(member->crew->shared, member->number, member->crew->opened_ns);
}

static enum filar_status gaps_with_threads(struct gaps *state)
{
	struct way_run *run = state->run;
	int32_t cpus[] = { run->driver_cpu, (int32_t)run->params[GAPS_OTHER_CPU] };
	enum filar_status status;
	struct cpu_mask mask;

	status = cpus[0] < 0 ? crew_mask(&mask, -1)
			     : cpu_mask_from_list(&mask, cpus, cpus[1] < 0 ? 1 : 2);
	if (status == FILAR_OK)
		status = crew_create(&state->crew, state->count, &mask, gaps_thread, state);
	if (status != FILAR_OK)
		return status;
	crew_open(&state->crew);
	store_relaxed(&state->begin_ns, state->crew.opened_ns);
	crew_join(&state->crew);
	return FILAR_OK;
}

static enum filar_status check_gaps_params(const int64_t *params)
{
	enum filar_status status = param_check("tasks", params[GAPS_TASKS], 2, TASKS_MAX);

	if (status == FILAR_OK)
		status = param_check("trouble", params[GAPS_TROUBLE], 0, TROUBLE_HOGS);
	if (status == FILAR_OK)
		status = param_check(
			"window_ns", params[GAPS_WINDOW_NS], 100 * NS_PER_US, 10 * NS_PER_S);
	if (status == FILAR_OK)
		status = param_check("block_ns", params[GAPS_BLOCK_NS], 1, NS_PER_S);
	return status == FILAR_OK
		       ? param_check("blockers", params[GAPS_BLOCKERS], 0, params[GAPS_TASKS] - 1)
		       : status;
}

static enum filar_status setup_gaps(struct way_run *run)
{
	const int64_t *params = run->params;
	struct grove_extras extras = { .spares = params[GAPS_SPARES],
		.watch_ns = GAPS_WATCH_NS,
		.preempt_ns = params[GAPS_PREEMPT_NS] };
	enum filar_status status = check_gaps_params(params);
	struct gaps *state;

	if (status != FILAR_OK)
		return status;
	state = way_acquire_state(run, sizeof *state);
	if (state == NULL)
		return FILAR_NO_MEMORY;
	state->run = run;
	state->count = (uint32_t)params[GAPS_TASKS];
	state->kernel = params[GAPS_KERNEL] != 0;
	state->yields = params[GAPS_YIELDS] != 0;
	state->marked = params[GAPS_MARKED] != 0 && !state->kernel;
	state->blockers = (uint32_t)params[GAPS_BLOCKERS];
	state->trouble = (enum trouble)params[GAPS_TROUBLE];
	state->window_ns = params[GAPS_WINDOW_NS];
	state->block_ns = params[GAPS_BLOCK_NS];
	state->tasks = memory_acquire(state->count, sizeof *state->tasks);
	if (state->tasks == NULL)
		return status_detail(
			FILAR_NO_MEMORY, "no memory for what %u tasks see", state->count);
	if (state->kernel)
		return FILAR_OK;
	return grove_open_with(&state->grove, run, params[GAPS_WORKERS], params[GAPS_OTHER_CPU],
		state->count, state, &extras);
}

/* kind as above; subject: the task; x, y: begin and end in ns since the beginning, or the worst
 * wait. */
static void record_gaps(struct way_run *run)
{
	struct gaps *state = run->state;
	int64_t begin_ns = load_relaxed(&state->begin_ns);

	for (uint32_t i = 0; i < state->count; i++) {
		const struct task *task = &state->tasks[i];

		for (uint32_t j = 0; j < task->count; j++)
			way_point(run, task->stretches[j].kind, (int32_t)i,
				(double)(task->stretches[j].start_ns - begin_ns),
				(double)(task->stretches[j].end_ns - begin_ns));
		way_point(
			run, POINT_WORST, (int32_t)i, (double)task->units, (double)task->worst_ns);
	}
}

static uint64_t relieved_so_far(const struct gaps *state)
{
	struct runtime *runtime = state->grove.runtime;

	return runtime != NULL ? load_relaxed(&runtime->scheduler.blocking.relieved) : 0;
}

static enum filar_status sample_gaps(struct way_run *run)
{
	struct gaps *state = run->state;
	double seconds = (double)state->window_ns / (double)NS_PER_S, units = 0;
	/* The others are those that cause no trouble; without any, all but the first. */
	uint32_t first =
		state->trouble == TROUBLE_NONE || state->blockers == 0 ? 1 : state->blockers;
	uint64_t relieved = relieved_so_far(state);
	enum filar_status status;

	for (uint32_t i = 0; i < state->count; i++) {
		struct task *task = &state->tasks[i];

		task->count = task->blocked = 0;
		task->units = 0;
		task->worst_ns = 0;
	}
	store_relaxed(&state->begin_ns, 0);
	status = state->kernel ? gaps_with_threads(state)
			       : grove_run(&state->grove, gaps_errand, state);
	if (status != FILAR_OK)
		return status;
	if (way_cancelled(run))
		return FILAR_CANCELLED;
	for (uint32_t i = first; i < state->count; i++) {
		state->worst[i - first] = (double)state->tasks[i].worst_ns;
		units += (double)state->tasks[i].units;
	}
	run->values[VALUE_TYPICAL] = median_of(state->worst, state->count - first);
	run->values[VALUE_WORST] = state->worst[state->count - first - 1]; /* sorted now */
	run->values[VALUE_WORK] = units / seconds;
	run->values[VALUE_WORK_FIRST] = (double)state->tasks[0].units / seconds;
	run->values[VALUE_BLOCKED] = state->tasks[0].blocked;
	run->values[VALUE_RELIEVED] = (double)(relieved_so_far(state) - relieved);
	record_gaps(run);
	return FILAR_OK;
}

static void teardown_gaps(struct way_run *run)
{
	struct gaps *state = run->state;

	if (state == NULL)
		return;
	grove_close(&state->grove);
	memory_release(state->tasks);
	memory_release(state);
}

/* ---- waiters ---- */

enum {
	WAIT_TASKS,
	WAIT_KERNEL,
	WAIT_SLEEPS,
	WAIT_SLEEP_NS,
	WAIT_WORKERS,
	WAIT_OTHER_CPU,
	WAIT_MACHINES
};
enum { VALUE_WALL, VALUE_CPU, VALUE_MEMORY, VALUE_LATE, VALUE_LATE_P99, VALUE_LATE_WORST };

#define WAITERS_MAX 200000
#define SLEEPS_MAX  1000
#define LATE_POINTS 500u /* of a round, evenly taken from the sorted ones */

struct waiters {
	struct grove grove;
	struct way_run *run;      /* I */
	struct sleeper *sleepers; /* I  kernel threads; array */
	double *late_ns;          /* W  each task its own stretch of `sleeps`, until joined */
	uint32_t count, sleeps;   /* I */
	int64_t sleep_ns;         /* I */
	_Atomic uint32_t begun;   /* A  relaxed: tasks that have run */
	_Atomic uint32_t ended;   /* A  relaxed: of these, those that will not sleep again */
	double memory_bytes;      /* W  whoever created them: growth for each */
};

struct sleeper {
	struct waiters *waiters; /* I */
	uint32_t number;         /* I */
	pthread_t thread;        /* W  the driver */
};

/* What is resident, and kernel stacks (the whole machine's, so others add noise). */
static double memory_now(void)
{
	double resident, stacks;

	if (procfile_read_bytes("/proc/self/status", "VmRSS", &resident) != FILAR_OK ||
		procfile_read_bytes("/proc/meminfo", "KernelStack", &stacks) != FILAR_OK)
		return NAN;
	return resident + stacks;
}

static double cpu_now_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (double)used.tv_sec * (double)NS_PER_S + (double)used.tv_nsec;
}

static void sleep_once(bool kernel, int64_t due_ns)
{
	struct timespec until = clock_timespec(due_ns);

	if (kernel)
		(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
	else
		(void)green_sleep_until(due_ns);
}

static void sleep_often(struct waiters *state, uint32_t number, bool kernel)
{
	double *late_ns = state->late_ns + (size_t)number * state->sleeps;

	fetch_add_relaxed(&state->begun, 1);
	for (uint32_t i = 0; i < state->sleeps && !way_cancelled(state->run); i++) {
		int64_t due = clock_now_ns() + state->sleep_ns;

		sleep_once(kernel, due);
		late_ns[i] = (double)(clock_now_ns() - due);
	}
	fetch_add_relaxed(&state->ended, 1);
}

static void green_sleeper(struct grove_member *member)
{
	sleep_often(member->grove->shared, member->number, false);
}

static void *kernel_sleeper(void *pointer)
{
	struct sleeper *sleeper = pointer;

	sleep_often(sleeper->waiters, sleeper->number, true);
	return NULL;
}

#define LOOKS_EVERY 500u

/* As long as nobody has ended: the first may have slept enough before the last is created. */
static void look_at_memory(struct waiters *state, double before, uint32_t created)
{
	if (load_relaxed(&state->ended) == 0)
		state->memory_bytes = (memory_now() - before) / created;
}

static enum filar_status waiters_errand(void *pointer)
{
	struct waiters *state = pointer;
	double before = memory_now();
	enum filar_status status = grove_spawn(&state->grove, state->count, green_sleeper);

	while (load_relaxed(&state->begun) < state->grove.count)
		green_yield();
	/* The stacks of those that have ended are not given back before they are joined. */
	if (state->grove.count > 0)
		state->memory_bytes = (memory_now() - before) / state->grove.count;
	grove_join(&state->grove);
	return status;
}

static enum filar_status wait_with_threads(struct waiters *state)
{
	double before = memory_now();
	pthread_attr_t attributes;
	uint32_t created = 0;
	struct cpu_mask mask;
	int error = 0;

	pthread_attr_init(&attributes);
	(void)pthread_attr_setstacksize(&attributes, CREW_STACK_BYTES);
	if (state->run->params[WAIT_OTHER_CPU] >= 0 && crew_mask(&mask, -1) == FILAR_OK)
		(void)pthread_attr_setaffinity_np(&attributes, mask.bytes, mask.bits);
	while (created < state->count && error == 0) {
		struct sleeper *sleeper = &state->sleepers[created];

		*sleeper = (struct sleeper){ .waiters = state, .number = created };
		error = call_thread_create(&sleeper->thread, &attributes, kernel_sleeper, sleeper);
		created += error == 0;
		if (error == 0 && (created == state->count || created % LOOKS_EVERY == 0))
			look_at_memory(state, before, created);
	}
	pthread_attr_destroy(&attributes);
	for (uint32_t i = 0; i < created; i++)
		pthread_join(state->sleepers[i].thread, NULL);
	return error == 0 ? FILAR_OK
			  : status_detail(error == EAGAIN ? FILAR_LIMIT : FILAR_SYSTEM,
				    "creation of thread %u of %u was refused (errno %d)",
				    created + 1, state->count, error);
}

/*
 * The same as state machines: a task is the number of its sleep and the time when that is over, in
 * a heap by time; one loop takes the earliest, sleeps until then, and makes its next step.  What
 * async/await compiles to, without a language around it.
 */
struct machine {
	int64_t due_ns;
	uint32_t number, step;
};

static void machine_sift_down(struct machine *heap, uint32_t count, struct machine moving)
{
	uint32_t place = 0, child;

	while ((child = 2 * place + 1) < count) {
		if (child + 1 < count && heap[child + 1].due_ns < heap[child].due_ns)
			child++;
		if (moving.due_ns <= heap[child].due_ns)
			break;
		heap[place] = heap[child];
		place = child;
	}
	heap[place] = moving;
}

static void run_machines(struct waiters *state, struct machine *heap, uint32_t count)
{
	while (count > 0 && !way_cancelled(state->run)) {
		struct machine first = heap[0];
		int64_t now = clock_now_ns();

		if (now < first.due_ns) {
			sleep_once(true, first.due_ns);
			now = clock_now_ns();
		}
		state->late_ns[(size_t)first.number * state->sleeps + first.step] =
			(double)(now - first.due_ns);
		first.due_ns = now + state->sleep_ns;
		if (++first.step == state->sleeps)
			first = heap[--count];
		if (count > 0)
			machine_sift_down(heap, count, first);
	}
}

static enum filar_status wait_with_machines(struct waiters *state)
{
	struct machine *heap = memory_acquire(state->count, sizeof *heap);

	if (heap == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for %u machines", state->count);
	/* All begin one after the other, so the array is a heap as it stands. */
	for (uint32_t i = 0; i < state->count; i++)
		heap[i] = (struct machine){ clock_now_ns() + state->sleep_ns, i, 0 };
	/* Exactly: what is resident grows by whole pages, and perhaps by none. */
	state->memory_bytes = (double)sizeof *heap;
	run_machines(state, heap, state->count);
	memory_release(heap);
	return FILAR_OK;
}

static enum filar_status check_waiters_params(const int64_t *params)
{
	enum filar_status status = param_check("tasks", params[WAIT_TASKS], 1, WAITERS_MAX);

	if (status == FILAR_OK)
		status = param_check("sleeps", params[WAIT_SLEEPS], 1, SLEEPS_MAX);
	return status == FILAR_OK ? param_check("sleep_ns", params[WAIT_SLEEP_NS], 1, NS_PER_S)
				  : status;
}

static enum filar_status setup_waiters(struct way_run *run)
{
	const int64_t *params = run->params;
	enum filar_status status = check_waiters_params(params);
	struct waiters *state;

	if (status != FILAR_OK)
		return status;
	state = way_acquire_state(run, sizeof *state);
	if (state == NULL)
		return FILAR_NO_MEMORY;
	state->run = run;
	state->count = (uint32_t)params[WAIT_TASKS];
	state->sleeps = (uint32_t)params[WAIT_SLEEPS];
	state->sleep_ns = params[WAIT_SLEEP_NS];
	state->late_ns =
		memory_acquire((size_t)state->count * state->sleeps, sizeof *state->late_ns);
	state->sleepers = memory_acquire(state->count, sizeof *state->sleepers);
	if (state->late_ns == NULL || state->sleepers == NULL)
		return status_detail(
			FILAR_NO_MEMORY, "no memory for what %u tasks see", state->count);
	return FILAR_OK;
}

/* x: how many of the round lie below; y: how late. */
static void record_lateness(struct way_run *run, const double *sorted, size_t count)
{
	size_t step = count / LATE_POINTS + 1;

	for (size_t i = count - 1; i < count; i -= step)
		way_point(run, 0, 0, (double)i, sorted[i]);
}

/* A runtime of its own, so that both kinds begin with nothing. */
static enum filar_status run_waiters(struct way_run *run, struct waiters *state)
{
	enum filar_status status;

	if (run->params[WAIT_KERNEL] != 0)
		return wait_with_threads(state);
	if (run->params[WAIT_MACHINES] != 0)
		return wait_with_machines(state);
	status = grove_open(&state->grove, run, run->params[WAIT_WORKERS],
		run->params[WAIT_OTHER_CPU], state->count, state);
	if (status == FILAR_OK)
		status = grove_run(&state->grove, waiters_errand, state);
	grove_close(&state->grove);
	return status;
}

static enum filar_status sample_waiters(struct way_run *run)
{
	struct waiters *state = run->state;
	size_t sleeps = (size_t)state->count * state->sleeps;
	double start_cpu_ns = cpu_now_ns();
	int64_t start = clock_now_ns();
	enum filar_status status;

	store_relaxed(&state->begun, 0);
	store_relaxed(&state->ended, 0);
	state->memory_bytes = NAN;
	status = run_waiters(run, state);
	run->values[VALUE_WALL] = (double)(clock_now_ns() - start);
	run->values[VALUE_CPU] = cpu_now_ns() - start_cpu_ns;
	if (status != FILAR_OK)
		return status;
	if (way_cancelled(run))
		return FILAR_CANCELLED;
	run->values[VALUE_MEMORY] = state->memory_bytes;
	run->values[VALUE_LATE] = median_of(state->late_ns, sleeps);
	run->values[VALUE_LATE_P99] = state->late_ns[sleeps - 1 - sleeps / 100]; /* sorted now */
	run->values[VALUE_LATE_WORST] = state->late_ns[sleeps - 1];
	record_lateness(run, state->late_ns, sleeps);
	return FILAR_OK;
}

static void teardown_waiters(struct way_run *run)
{
	struct waiters *state = run->state;

	if (state == NULL)
		return;
	memory_release(state->late_ns);
	memory_release(state->sleepers);
	memory_release(state);
}

/* ---- n1-share: so many tasks against one kernel thread on the same core ---- */

enum { SHARE_TASKS, SHARE_KERNEL, SHARE_WINDOW_NS };
enum { VALUE_SHARE, VALUE_CPU_A, VALUE_CPU_B };

struct sharing {
	struct grove grove;
	struct crew tasks, rival; /* W  driver */
	struct way_run *run;      /* I */
	uint32_t count;           /* I */
	_Atomic int64_t until_ns; /* A  the end of the window; 0: it has not begun */
	_Atomic bool home;        /* A  relaxed: end at once */
	_Atomic int64_t cpu_a_ns; /* A  of the kernel threads that carry the tasks */
	_Atomic int64_t cpu_b_ns; /* A */
};

static int64_t thread_cpu_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (int64_t)used.tv_sec * NS_PER_S + used.tv_nsec;
}

static bool share_goes_on(struct sharing *state)
{
	return clock_now_ns() < load_relaxed(&state->until_ns) && !load_relaxed(&state->home) &&
	       !way_cancelled(state->run);
}

static void share_body(struct crew_member *member)
{
	struct sharing *state = member->crew->shared;
	int64_t used = thread_cpu_ns();

	while (share_goes_on(state))
		spin_steps(UNIT_STEPS);
	used = thread_cpu_ns() - used;
	if (member->crew == &state->tasks)
		fetch_add_relaxed(&state->cpu_a_ns, used);
	else
		store_relaxed(&state->cpu_b_ns, used);
}

static void share_green(struct grove_member *member)
{
	struct sharing *state = member->grove->shared;

	while (share_goes_on(state)) {
		spin_steps(UNIT_STEPS);
		green_yield();
	}
}

/* One worker carries them all: its CPU time is theirs. */
static enum filar_status share_errand(void *pointer)
{
	struct sharing *state = pointer;
	int64_t used = thread_cpu_ns();
	enum filar_status status = grove_spawn(&state->grove, state->count, share_green);

	if (status != FILAR_OK)
		store_relaxed(&state->home, true);
	grove_join(&state->grove);
	store_relaxed(&state->cpu_a_ns, thread_cpu_ns() - used);
	return status;
}

static enum filar_status share_out(struct sharing *state, const struct cpu_mask *cpu)
{
	struct way_run *run = state->run;
	bool kernel = run->params[SHARE_KERNEL] != 0;
	enum filar_status status = crew_create(&state->rival, 1, cpu, share_body, state);

	if (status == FILAR_OK && kernel)
		status = crew_create(&state->tasks, state->count, cpu, share_body, state);
	if (status == FILAR_OK) {
		store_relaxed(&state->until_ns, clock_now_ns() + run->params[SHARE_WINDOW_NS]);
		crew_open(&state->rival);
		if (kernel)
			crew_open(&state->tasks);
		else
			status = grove_run(&state->grove, share_errand, state);
	}
	if (status != FILAR_OK)
		store_relaxed(&state->home, true);
	crew_join(&state->tasks);
	crew_join(&state->rival);
	return status;
}

static enum filar_status sample_share(struct way_run *run)
{
	struct sharing *state = run->state;
	struct cpu_mask cpu;
	enum filar_status status = crew_mask(&cpu, run->driver_cpu);
	double a, b;

	store_relaxed(&state->home, false);
	store_relaxed(&state->cpu_a_ns, 0);
	store_relaxed(&state->cpu_b_ns, 0);
	if (status == FILAR_OK)
		status = share_out(state, &cpu);
	if (status != FILAR_OK)
		return status;
	if (way_cancelled(run))
		return FILAR_CANCELLED;
	a = (double)load_relaxed(&state->cpu_a_ns);
	b = (double)load_relaxed(&state->cpu_b_ns);
	run->values[VALUE_SHARE] = 100 * a / (a + b);
	run->values[VALUE_CPU_A] = a;
	run->values[VALUE_CPU_B] = b;
	return FILAR_OK;
}

static enum filar_status setup_share(struct way_run *run)
{
	enum filar_status status = param_check("tasks", run->params[SHARE_TASKS], 1, TASKS_MAX);
	struct sharing *state;

	if (status == FILAR_OK)
		status = param_check(
			"window_ns", run->params[SHARE_WINDOW_NS], 100 * NS_PER_US, 10 * NS_PER_S);
	if (status != FILAR_OK)
		return status;
	state = way_acquire_state(run, sizeof *state);
	if (state == NULL)
		return FILAR_NO_MEMORY;
	state->run = run;
	state->count = (uint32_t)run->params[SHARE_TASKS];
	if (run->params[SHARE_KERNEL] != 0)
		return FILAR_OK;
	return grove_open(&state->grove, run, 1, -1, state->count, state);
}

static void teardown_share(struct way_run *run)
{
	struct sharing *state = run->state;

	if (state == NULL)
		return;
	grove_close(&state->grove);
	memory_release(state);
}

const struct way ways_green_wait[] = {
	{ .name = "green-gaps",
		.summary =
			"`tasks` tasks work in small units for a window, the first `blockers` cause trouble (0: "
			"none, 1: block in a system call again and again, 2: never yield); points 0: task ran "
			"from x to y, 1: blocked from x to y, 2: x units done, longest wait y",
		.params = { { "tasks", 8 }, { "kernel", 0 }, { "trouble", 0 }, { "yields", 1 },
			{ "workers", 1 }, { "other_cpu", -1 }, { "window_ns", 100 * NS_PER_MS },
			{ "block_ns", 20 * NS_PER_MS }, { "blockers", 1 }, { "spares", 0 },
			{ "marked", 1 }, { "preempt_ns", 0 } },
		.metrics = { { "worst wait", "ns" }, { "typical worst wait", "ns" },
			{ "work of the others", "1/s" }, { "work of the first", "1/s" },
			{ "times blocked", "count" }, { "times relieved", "count" } },
		.batch_max = 1,
		.setup = setup_gaps,
		.sample = sample_gaps,
		.teardown = teardown_gaps },
	{ .name = "waiters",
		.summary =
			"`tasks` tasks, created, asleep `sleeps` times, and joined; points: x sleeps "
			"of the round were less late than y",
		.params = { { "tasks", 1000 }, { "kernel", 0 }, { "sleeps", 5 },
			{ "sleep_ns", 50 * NS_PER_MS }, { "workers", 1 }, { "other_cpu", -1 },
			{ "machines", 0 } },
		.metrics = { { "wall", "ns" }, { "CPU time", "ns" }, { "memory", "B" },
			{ "late", "ns" }, { "late, p99", "ns" }, { "late, worst", "ns" } },
		.batch_max = 1,
		.setup = setup_waiters,
		.sample = sample_waiters,
		.teardown = teardown_waiters },
	{ .name = "n1-share",
		.summary =
			"`tasks` busy tasks (A) and one busy kernel thread (B) on one core for a window",
		.params = { { "tasks", 8 }, { "kernel", 0 }, { "window_ns", 100 * NS_PER_MS } },
		.metrics = { { "share of A", "percent" }, { "CPU of A", "ns" },
			{ "CPU of B", "ns" } },
		.batch_max = 1,
		.setup = setup_share,
		.sample = sample_share,
		.teardown = teardown_share },
	{ .name = NULL },
};
