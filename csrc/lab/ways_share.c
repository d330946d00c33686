/*
 * ways_share.c - how two processes share one core: A with k busy threads, nice and policy of its
 * own, against B with one plain thread.
 *
 * Both are forked children (child.h) and so make only raw calls and pthreads, and are ended by the
 * parent's kill, by the parent's death or by their own deadline.  They use none of the failure
 * points of os/calls.h: an armed failure is the parent's.
 *
 * Parent and children talk through one shared page:
 *   child: pins itself, waits for `go` (by then it is in its control group), starts its threads;
 *          each adds one to `spinning` and takes its priority
 *   parent: lets A go, then B; at k + 1 spinning threads reads both CPU clocks, sleeps for the
 * window, reads again
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "lab/child.h"
#include "lab/cpugroup.h"
#include "lab/crew.h"
#include "lab/registry.h"
#include "os/calls.h"
#include "os/clock.h"

/* Two windows, both starts and a second: by then a child has ended itself. */
#define CHILD_SECONDS_MAX 110
#define START_NS_MAX      (20 * NS_PER_S) /* for a child to run, on a busy machine */
#define SETTLE_NS         (10 * NS_PER_MS)
#define SHARE_THREADS_MAX 256

enum share_apart { APART_NOT, APART_SESSIONS, APART_GROUPS };
enum share_trouble { TROUBLE_NONE, TROUBLE_CPU, TROUBLE_NICE, TROUBLE_POLICY, TROUBLE_THREAD };
enum { SHARE_THREADS, SHARE_NICE, SHARE_POLICY, SHARE_APART, SHARE_CPU, SHARE_WINDOW_NS };

struct share_page {
	_Atomic uint32_t go;       /* A  relaxed: how many sides may start their threads */
	_Atomic uint32_t spinning; /* A  relaxed: busy threads of both */
	_Atomic uint32_t trouble;  /* A  relaxed: enum share_trouble of whoever failed */
};

struct share_side {
	struct share_state *state; /* I */
	pid_t pid;                 /* W  0: no child */
	struct cpugroup group;     /* W */
	uint32_t threads;          /* I */
	int32_t nice, policy;      /* I */
};

struct share_state {
	struct share_page *page;   /* I  shared with the children */
	struct cpu_mask cpu;       /* I */
	enum share_apart apart;    /* I */
	int64_t deadline_ns;       /* W  before fork: children end at this time */
	struct share_side side[2]; /* W  A and B */
};

static _Atomic uint32_t group_number; /* A  relaxed: only for names that differ */

/* ---- the child ---- */

FILAR_NORETURN static void give_up(struct share_state *state, enum share_trouble trouble)
{
	store_relaxed(&state->page->trouble, trouble);
	_exit(1);
}

/* Of the calling thread only: both are a thread's own on Linux, and glibc passes pid 0 on. */
static enum share_trouble apply_priority(const struct share_side *side)
{
	static const struct sched_param plain;

	if (side->policy != SCHED_OTHER && sched_setscheduler(0, side->policy, &plain) != 0)
		return TROUBLE_POLICY;
	if (side->nice != 0 && setpriority(PRIO_PROCESS, 0, side->nice) != 0)
		return TROUBLE_NICE;
	return TROUBLE_NONE;
}

/* Priority comes after all that the parent waits for: an IDLE thread may get no turn for seconds.
 */
static void *spin_to_deadline(void *pointer)
{
	struct share_side *side = pointer;
	struct share_state *state = side->state;
	enum share_trouble trouble;

	fetch_add_relaxed(&state->page->spinning, 1);
	trouble = apply_priority(side);
	if (trouble != TROUBLE_NONE)
		give_up(state, trouble);
	while (clock_now_ns() < state->deadline_ns)
		spin_steps(1000);
	_exit(0);
}

static enum share_trouble start_threads(struct share_side *side)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	(void)pthread_attr_setstacksize(&attributes, CREW_STACK_BYTES);
	for (uint32_t i = 1; i < side->threads; i++) {
		if (pthread_create(&thread, &attributes, spin_to_deadline, side) != 0)
			return TROUBLE_THREAD;
	}
	return TROUBLE_NONE;
}

FILAR_NORETURN static void child_main(struct share_state *state, uint32_t number)
{
	struct timespec pause = { .tv_nsec = 200 * NS_PER_US };
	enum share_trouble trouble;

	if (state->apart == APART_SESSIONS)
		(void)setsid();
	if (sched_setaffinity(0, state->cpu.bytes, state->cpu.bits) != 0)
		give_up(state, TROUBLE_CPU);
	while (load_relaxed(&state->page->go) <= number && clock_now_ns() < state->deadline_ns)
		(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	trouble = start_threads(&state->side[number]);
	if (trouble != TROUBLE_NONE)
		give_up(state, trouble);
	spin_to_deadline(&state->side[number]);
	child_exit(0);
}

/* ---- the parent ---- */

static enum filar_status ended_early(void)
{
	return status_detail(FILAR_SYSTEM, "a child ended before its time");
}

static enum filar_status status_of_trouble(
	const struct share_state *state, enum share_trouble trouble)
{
	const struct share_side *a = &state->side[0];

	switch (trouble) {
	case TROUBLE_CPU:
		return status_detail(FILAR_NO_CPU, "this process may not use CPU %d",
			cpu_mask_next(&state->cpu, 0));
	case TROUBLE_NICE:
		return status_detail(FILAR_NO_PERMISSION,
			"nice %d needs CAP_SYS_NICE or a higher RLIMIT_NICE", a->nice);
	case TROUBLE_POLICY:
		return status_detail(FILAR_NO_PERMISSION,
			"the scheduling policy number %d was refused", a->policy);
	default:
		return status_detail(
			FILAR_LIMIT, "a child could not create its %u threads", a->threads);
	}
}

static enum filar_status start_side(struct share_state *state, uint32_t side)
{
	struct share_side *this = &state->side[side];
	char name[48];
	enum filar_status status = FILAR_OK;

	if (state->apart == APART_GROUPS) {
		snprintf(name, sizeof name, "filar-share-%d-%u", (int)getpid(),
			fetch_add_relaxed(&group_number, 1));
		status = cpugroup_create(&this->group, name);
		if (status != FILAR_OK)
			return status;
	}
	status = child_fork(&this->pid, CHILD_SECONDS_MAX);
	if (status != FILAR_OK) {
		this->pid = 0;
		return status;
	}
	if (this->pid == 0)
		child_main(state, side);
	if (state->apart == APART_GROUPS)
		status = cpugroup_add(&this->group, this->pid);
	/* The only thing that can be missing: the group is there. */
	return status == FILAR_NOT_FOUND ? ended_early() : status;
}

/* Both are killed before either is reaped: an IDLE thread may not even get the turn to die while
 * the other one is busy.  For the same reason A is given back its priority, where that is
 * permitted. */
static void end_sides(struct share_state *state)
{
	static const struct sched_param plain;

	for (int i = 1; i >= 0; i--) {
		pid_t pid = state->side[i].pid;

		if (pid <= 0)
			continue;
		(void)sched_setscheduler(pid, SCHED_OTHER, &plain);
		(void)setpriority(PRIO_PROCESS, (id_t)pid, 0);
		(void)kill(pid, SIGKILL);
	}
	for (int i = 0; i < 2; i++) {
		if (state->side[i].pid > 0)
			child_kill(state->side[i].pid);
		state->side[i].pid = 0;
		cpugroup_remove(&state->side[i].group);
	}
}

/* Whether a child has ended, which it may only when it had trouble. */
static bool any_ended(struct share_state *state)
{
	for (int side = 0; side < 2; side++) {
		if (state->side[side].pid > 0 &&
			call_waitpid(state->side[side].pid, NULL, WNOHANG) > 0) {
			state->side[side].pid = 0; /* reaped */
			return true;
		}
	}
	return false;
}

static enum filar_status look_after_children(struct share_state *state)
{
	bool ended = any_ended(state);
	uint32_t trouble = load_relaxed(&state->page->trouble);

	if (trouble != TROUBLE_NONE)
		return status_of_trouble(state, (enum share_trouble)trouble);
	return ended ? ended_early() : FILAR_OK;
}

static enum filar_status wait_for_threads(
	struct way_run *run, struct share_state *state, uint32_t wanted)
{
	int64_t end = clock_now_ns() + START_NS_MAX;
	enum filar_status status = FILAR_OK;

	while (load_relaxed(&state->page->spinning) < wanted && status == FILAR_OK) {
		status = look_after_children(state);
		if (status == FILAR_OK && clock_now_ns() > end)
			status = status_detail(
				FILAR_TIMED_OUT, "the children got no turn to start their threads");
		if (status == FILAR_OK)
			status = sleep_until(run, clock_now_ns() + 200 * NS_PER_US);
	}
	return status;
}

/* A before B: beside a busy B a nice A would wait long for the turns it needs to begin. */
static enum filar_status let_go(struct way_run *run, struct share_state *state)
{
	uint32_t wanted = 0;
	enum filar_status status = FILAR_OK;

	for (uint32_t side = 0; side < 2 && status == FILAR_OK; side++) {
		wanted += state->side[side].threads;
		store_relaxed(&state->page->go, side + 1);
		status = wait_for_threads(run, state, wanted);
	}
	if (status == FILAR_OK)
		status = sleep_until(run, clock_now_ns() + SETTLE_NS);
	return status == FILAR_OK ? look_after_children(state) : status; /* a refused priority */
}

/* CPU time of a child so far, ns; negative if it is gone. */
static int64_t cpu_ns(pid_t pid)
{
	struct timespec time;
	clockid_t id;

	if (clock_getcpuclockid(pid, &id) != 0 || clock_gettime(id, &time) != 0)
		return -1;
	return (int64_t)time.tv_sec * NS_PER_S + time.tv_nsec;
}

/* What both have used since; negative if one is gone. */
static int64_t used_since(const struct share_state *state, const int64_t before[2])
{
	int64_t a = cpu_ns(state->side[0].pid), b = cpu_ns(state->side[1].pid);

	return a < 0 || b < 0 ? -1 : a + b - before[0] - before[1];
}

/* A wall-clock window, doubled at most when other programs left A and B less than its length.  If
 * they left them nothing, there is no share to speak of: then until one of the two has had a turn.
 */
static bool window_is_over(
	const struct share_state *state, int64_t start, int64_t window, const int64_t before[2])
{
	int64_t now = clock_now_ns(), used;

	if (now < start + window)
		return false;
	used = used_since(state, before);
	return used < 0 || used >= window - window / 10 || now >= state->deadline_ns ||
	       (now >= start + 2 * window && used > 0);
}

static enum filar_status sit_out_window(
	struct way_run *run, struct share_state *state, const int64_t before[2])
{
	int64_t window = run->params[SHARE_WINDOW_NS], start = clock_now_ns();
	enum filar_status status = FILAR_OK;

	while (status == FILAR_OK && !window_is_over(state, start, window, before)) {
		int64_t now = clock_now_ns(), next = now + window / 10;

		if (now < start + window && next > start + window)
			next = start + window;
		status = sleep_until(run, next);
		if (status == FILAR_OK)
			status = look_after_children(state);
	}
	return status;
}

static enum filar_status measure_shares(struct way_run *run, struct share_state *state)
{
	int64_t before[2], after[2];
	enum filar_status status;

	for (int side = 0; side < 2; side++)
		before[side] = cpu_ns(state->side[side].pid);
	status = sit_out_window(run, state, before);
	for (int side = 0; side < 2; side++)
		after[side] = cpu_ns(state->side[side].pid);
	if (status != FILAR_OK)
		return status;
	for (int side = 0; side < 2; side++) {
		if (before[side] < 0 || after[side] < 0)
			return ended_early();
		run->values[1 + side] = (double)(after[side] - before[side]);
	}
	if (run->values[1] + run->values[2] > 0)
		run->values[0] = 100 * run->values[1] / (run->values[1] + run->values[2]);
	return FILAR_OK;
}

static enum filar_status sample_share(struct way_run *run)
{
	struct share_state *state = run->state;
	enum filar_status status;

	*state->page = (struct share_page){ 0 };
	state->deadline_ns =
		clock_now_ns() + 2 * START_NS_MAX + 2 * run->params[SHARE_WINDOW_NS] + NS_PER_S;
	status = start_side(state, 0);
	if (status == FILAR_OK)
		status = start_side(state, 1);
	if (status == FILAR_OK)
		status = let_go(run, state);
	if (status == FILAR_OK)
		status = measure_shares(run, state);
	end_sides(state);
	return status;
}

static void teardown_share(struct way_run *run)
{
	struct share_state *state = run->state;

	if (state == NULL)
		return;
	shared_release(state->page, sizeof *state->page);
	memory_release(state);
}

static enum filar_status check_share_params(const int64_t *params)
{
	enum filar_status status =
		param_check("threads", params[SHARE_THREADS], 1, SHARE_THREADS_MAX);

	if (status == FILAR_OK)
		status = param_check("nice", params[SHARE_NICE], -20, 19);
	if (status == FILAR_OK && params[SHARE_POLICY] != SCHED_OTHER &&
		params[SHARE_POLICY] != SCHED_BATCH && params[SHARE_POLICY] != SCHED_IDLE)
		status = status_detail(FILAR_INVALID,
			"the policy is OTHER (0), BATCH (3) or IDLE (5), not %lld",
			(long long)params[SHARE_POLICY]);
	if (status == FILAR_OK)
		status = param_check("apart", params[SHARE_APART], APART_NOT, APART_GROUPS);
	return status == FILAR_OK
		       ? param_check("window_ns", params[SHARE_WINDOW_NS], NS_PER_MS, 30 * NS_PER_S)
		       : status;
}

static enum filar_status setup_share(struct way_run *run)
{
	enum filar_status status = check_share_params(run->params);
	struct share_state *state;

	if (status != FILAR_OK)
		return status;
	state = way_acquire_state(run, sizeof *state);
	if (state == NULL)
		return FILAR_NO_MEMORY;
	state->apart = (enum share_apart)run->params[SHARE_APART];
	state->side[0] = (struct share_side){ .state = state,
		.threads = (uint32_t)run->params[SHARE_THREADS],
		.nice = (int32_t)run->params[SHARE_NICE],
		.policy = (int32_t)run->params[SHARE_POLICY] };
	state->side[1] = (struct share_side){ .state = state, .threads = 1 };
	state->page = shared_acquire(sizeof *state->page);
	if (state->page == NULL)
		return FILAR_NO_MEMORY;
	/* Both on one core: a set of several would let them avoid each other. */
	if (run->params[SHARE_CPU] >= 0)
		return crew_mask(&state->cpu, run->params[SHARE_CPU]);
	return crew_mask(&state->cpu, run->driver_cpu >= 0 ? run->driver_cpu : sched_getcpu());
}

const struct way ways_share[] = {
	{ .name = "share",
		.summary = "process A (threads, nice, policy) and process B (one plain thread) "
			   "busy on one core for a window; apart 0 same session, 1 a session each, "
			   "2 a control group each; policy as in sched(7)",
		.params = { { "threads", 1 }, { "nice", 0 }, { "policy", SCHED_OTHER },
			{ "apart", APART_NOT }, { "cpu", -1 }, { "window_ns", 200 * NS_PER_MS } },
		.metrics = { { "share of A", "percent" }, { "CPU of A", "ns" },
			{ "CPU of B", "ns" } },
		.batch_max = 1,
		.setup = setup_share,
		.sample = sample_share,
		.teardown = teardown_share },
	{ .name = NULL },
};
