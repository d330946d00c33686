/*
 * ways_switch.c - what it costs to hand the CPU from one party to another: threads and processes,
 * on one core and on two, by each medium of turns.h, by sched_yield, and without the kernel's
 * scheduler (swapcontext).
 *
 * Driver and peer take turns; in its turn each may touch a buffer of its own, whose cost comes on
 * top ("switch-touch" measures the same work with and without the switch).  "one way" is half a
 * round trip.
 *
 * "switches per turn" counts what is claimed: context switches of the driver (ru_nvcsw + ru_nivcsw)
 * for each round trip, 1 when it slept or made room each time.  On two cores a quick answer may
 * come before the driver sleeps.  For sched_yield, which need not switch at all, "one way" is the
 * time per switch counted, and is not given where fewer than 0.9 of the yields switched.
 */
#include <sched.h>
#include <sys/resource.h>
#include <ucontext.h>
#include <unistd.h>

#include "lab/registry.h"
#include "lab/touch.h"
#include "lab/turns.h"
#include "os/affinity.h"
#include "os/clock.h"

enum {
	PARAM_PEER_CPU,
	PARAM_PROCESS,
	PARAM_SHARED,
	PARAM_TOUCH_BYTES,
	PARAM_STEP_BYTES,
	PARAM_DRIVER_FREE
};

#define PAGE_BYTES          4096u
#define TOUCH_BYTES_MAX     (INT64_C(1) << 28)
#define COUNTED_MIN         0.9
#define CONTEXT_STACK_BYTES (64u * 1024)
/* The peer's first turn, from the gate to the medium, is not measured. */
#define UNTIMED_TURNS 1

/* Shared by both parties; the two buffers follow it. */
struct switching {
	struct partners partners;
	size_t bytes;                   /* I  of this whole mapping */
	size_t touch_bytes, step_bytes; /* I */
	char *buffers[2];               /* I  by side */
	char *stack;                    /* I  of the second context */
	struct cpu_mask all;            /* I  every CPU the process may use */
	ucontext_t contexts[2];         /* W  driver: by side */
	FILAR_CACHELINE_BREAK
	_Atomic bool yielding; /* A  relaxed, like the next: a flag and nothing else */
	_Atomic bool finished; /* A  the driver has yielded enough */
};

static size_t round_to_pages(size_t bytes)
{
	return (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

static void work(struct switching *state, enum side side)
{
	touch(state->buffers[side], state->touch_bytes, state->step_bytes);
}

/* ---- set up and tear down, the same for all but swapcontext ---- */

static enum filar_status check_params(const int64_t *params)
{
	if (params[PARAM_TOUCH_BYTES] < 0 || params[PARAM_TOUCH_BYTES] > TOUCH_BYTES_MAX ||
		params[PARAM_STEP_BYTES] < 8)
		return status_detail(FILAR_INVALID,
			"a turn touches 0 to %lld bytes in steps of at least 8, not %lld in steps of %lld",
			(long long)TOUCH_BYTES_MAX, (long long)params[PARAM_TOUCH_BYTES],
			(long long)params[PARAM_STEP_BYTES]);
	return FILAR_OK;
}

/* The state, two buffers and a stack, which costs nothing where it is not used. */
static enum filar_status acquire(struct way_run *run)
{
	size_t touch_bytes = (size_t)run->params[PARAM_TOUCH_BYTES];
	size_t head = round_to_pages(sizeof(struct switching)), room = round_to_pages(touch_bytes);
	size_t bytes = head + 2 * room + CONTEXT_STACK_BYTES;
	enum filar_status status = check_params(run->params);
	struct switching *state;

	if (status != FILAR_OK)
		return status;
	state = shared_acquire(bytes);
	if (state == NULL)
		return status_detail(
			FILAR_NO_MEMORY, "no memory for two buffers of %zu bytes", touch_bytes);
	run->state = state;
	state->bytes = bytes;
	state->touch_bytes = touch_bytes;
	state->step_bytes = (size_t)run->params[PARAM_STEP_BYTES];
	state->buffers[SIDE_DRIVER] = (char *)state + head;
	state->buffers[SIDE_PEER] = state->buffers[SIDE_DRIVER] + room;
	state->stack = state->buffers[SIDE_PEER] + room;
	return FILAR_OK;
}

static void hang_up(void *pointer)
{
	struct switching *state = pointer;

	store_relaxed(&state->finished, true);
	turns_hang_up(&state->partners.turns);
}

/* The plan pins the driver again before the next sample. */
static enum filar_status free_driver(struct way_run *run)
{
	struct switching *state = run->state;

	return run->params[PARAM_DRIVER_FREE] != 0 ? affinity_set(0, &state->all) : FILAR_OK;
}

static enum filar_status setup(struct way_run *run, enum medium medium, peer_body *body)
{
	bool process = run->params[PARAM_PROCESS] != 0;
	enum filar_status status = acquire(run);
	struct switching *state = run->state;

	if (status != FILAR_OK)
		return status;
	/* The process's own CPUs, not the driver's one: what "unpinned" means. */
	status = affinity_get((int32_t)getpid(), &state->all);
	if (status == FILAR_OK)
		status = free_driver(run);
	if (status != FILAR_OK)
		return status;
	return partners_open(&state->partners, run, medium,
		process || run->params[PARAM_SHARED] != 0,
		&(struct peer_options){ .process = process,
			.cpu = (int32_t)run->params[PARAM_PEER_CPU],
			.body = body,
			.argument = state,
			.on_stuck = hang_up });
}

static void teardown(struct way_run *run)
{
	struct switching *state = run->state;

	if (state == NULL)
		return;
	partners_close(&state->partners);
	shared_release(state, state->bytes);
}

static int64_t own_switches(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nvcsw + usage.ru_nivcsw;
}

/* ---- taking turns ---- */

static enum filar_status take_turns(struct switching *state, uint32_t turns)
{
	enum filar_status status = FILAR_OK;

	for (uint32_t i = 0; i < turns && status == FILAR_OK; i++) {
		status = turns_take(&state->partners.turns, SIDE_PEER);
		work(state, SIDE_PEER);
		if (status == FILAR_OK)
			status = turns_give(&state->partners.turns, SIDE_DRIVER);
	}
	return status;
}

static enum filar_status peer_takes_turns(void *pointer, uint32_t turns)
{
	struct switching *state = pointer;
	enum filar_status status = take_turns(state, turns);

	if (status != FILAR_OK)
		turns_hang_up(&state->partners.turns);
	return status;
}

static enum filar_status give_turns(struct switching *state, uint32_t turns)
{
	enum filar_status status = FILAR_OK;

	for (uint32_t i = 0; i < turns && status == FILAR_OK; i++) {
		work(state, SIDE_DRIVER);
		status = turns_give(&state->partners.turns, SIDE_PEER);
		if (status == FILAR_OK)
			status = turns_take(&state->partners.turns, SIDE_DRIVER);
	}
	return status;
}

static enum filar_status end_order(struct switching *state, enum filar_status status)
{
	if (status != FILAR_OK)
		hang_up(state);
	return partners_end(&state->partners, status);
}

/* Time and switches of the driver for so many round trips. */
static enum filar_status measure_turns(
	struct switching *state, uint32_t count, double *spent_ns, int64_t *switches)
{
	int64_t start = 0, end = 0;
	enum filar_status status;

	peer_begin(state->partners.peer, count + UNTIMED_TURNS);
	status = give_turns(state, UNTIMED_TURNS);
	*switches = own_switches();
	if (status == FILAR_OK) {
		start = clock_now_ns();
		status = give_turns(state, count);
		end = clock_now_ns();
	}
	*switches = own_switches() - *switches;
	*spent_ns = (double)(end - start);
	return end_order(state, status);
}

static enum filar_status sample_turns(struct way_run *run)
{
	int64_t switches;
	double spent_ns;
	enum filar_status status = free_driver(run);

	if (status == FILAR_OK)
		status = measure_turns(run->state, run->batch, &spent_ns, &switches);
	if (status != FILAR_OK)
		return status;
	run->values[0] = spent_ns / run->batch / 2;
	run->values[1] = spent_ns / run->batch;
	run->values[2] = (double)switches / run->batch;
	return FILAR_OK;
}

static enum filar_status setup_futex(struct way_run *run)
{
	return setup(run, MEDIUM_FUTEX, peer_takes_turns);
}

static enum filar_status setup_pipe(struct way_run *run)
{
	return setup(run, MEDIUM_PIPE, peer_takes_turns);
}

static enum filar_status setup_eventfd(struct way_run *run)
{
	return setup(run, MEDIUM_EVENTFD, peer_takes_turns);
}

static enum filar_status setup_socket(struct way_run *run)
{
	return setup(run, MEDIUM_SOCKET, peer_takes_turns);
}

static enum filar_status setup_semaphore(struct way_run *run)
{
	return setup(run, MEDIUM_SEMAPHORE, peer_takes_turns);
}

static enum filar_status setup_condvar(struct way_run *run)
{
	return setup(run, MEDIUM_CONDVAR, peer_takes_turns);
}

/* ---- sched_yield ---- */

static enum filar_status peer_yields(void *pointer, uint32_t turns)
{
	struct switching *state = pointer;

	(void)turns; /* for as long as the driver measures */
	store_relaxed(&state->yielding, true);
	while (!load_relaxed(&state->finished)) {
		work(state, SIDE_PEER);
		(void)sched_yield();
	}
	return FILAR_OK;
}

static enum filar_status setup_yield(struct way_run *run)
{
	return setup(run, MEDIUM_FUTEX, peer_yields);
}

static enum filar_status sample_yield(struct way_run *run)
{
	struct switching *state = run->state;
	int64_t start, end, switches;
	enum filar_status status;
	bool hung_up;

	store_relaxed(&state->finished, false);
	store_relaxed(&state->yielding, false);
	peer_begin(state->partners.peer, run->batch);
	/* The watch sets `finished` when the peer never comes. */
	while (!load_relaxed(&state->yielding) && !load_relaxed(&state->finished))
		(void)sched_yield();
	switches = own_switches();
	start = clock_now_ns();
	for (uint32_t i = 0; i < run->batch && !load_relaxed(&state->finished); i++) {
		work(state, SIDE_DRIVER);
		(void)sched_yield();
	}
	end = clock_now_ns();
	switches = own_switches() - switches;
	hung_up = load_relaxed(&state->finished);
	store_relaxed(&state->finished, true);
	status = peer_end(state->partners.peer);
	if (status == FILAR_OK && hung_up)
		status = way_cancelled(run)
				 ? FILAR_CANCELLED
				 : status_detail(FILAR_TIMED_OUT, "the yields did not end in time");
	if (status != FILAR_OK)
		return status;
	run->values[2] = (double)switches / run->batch;
	if (run->values[2] >= COUNTED_MIN) {
		run->values[0] = (double)(end - start) / (double)switches / 2;
		run->values[1] = (double)(end - start) / (double)switches;
	}
	return FILAR_OK;
}

/* ---- swapcontext: the same thread, two stacks ---- */

/* makecontext() passes ints only. */
static void second_context(unsigned high, unsigned low)
{
	struct switching *state = (struct switching *)(uintptr_t)((uint64_t)high << 32 | low);

	while (!load_relaxed(&state->finished)) {
		work(state, SIDE_PEER);
		swapcontext(&state->contexts[SIDE_PEER], &state->contexts[SIDE_DRIVER]);
	}
}

/* The second context begins and ends in here: the sanitizers' shadow stacks stay level. */
static double measure_contexts(struct switching *state, uint32_t count)
{
	ucontext_t *peer = &state->contexts[SIDE_PEER], *driver = &state->contexts[SIDE_DRIVER];
	uint64_t address = (uint64_t)(uintptr_t)state;
	int64_t start, end;

	getcontext(peer);
	peer->uc_stack.ss_sp = state->stack;
	peer->uc_stack.ss_size = CONTEXT_STACK_BYTES;
	peer->uc_link = driver;
	makecontext(peer, (void (*)(void))second_context, 2, (unsigned)(address >> 32),
		(unsigned)address);
	store_relaxed(&state->finished, false);
	work(state, SIDE_DRIVER);
	swapcontext(driver, peer);
	start = clock_now_ns();
	for (uint32_t i = 0; i < count; i++) {
		work(state, SIDE_DRIVER);
		swapcontext(driver, peer);
	}
	end = clock_now_ns();
	store_relaxed(&state->finished, true);
	swapcontext(driver, peer);
	return (double)(end - start);
}

static enum filar_status sample_context(struct way_run *run)
{
	double spent_ns = measure_contexts(run->state, run->batch);

	run->values[0] = spent_ns / run->batch / 2;
	run->values[1] = spent_ns / run->batch;
	return FILAR_OK;
}

/* ---- the same work with and without a switch ---- */

/*
 * All of them in the same two buffers: which lines push one another out of a cache depends on the
 * physical pages, and between two pairs of buffers that differs by more than a switch costs.
 */
enum part { PART_ALONE, PART_TWO_BUFFERS, PART_CONTEXTS, PART_TURNS, PART_COUNT };

/* One buffer again and again, then the other. */
static double measure_alone(struct switching *state, uint32_t count)
{
	int64_t start, spent_ns = 0;

	for (int side = SIDE_DRIVER; side <= SIDE_PEER; side++) {
		work(state, side);
		start = clock_now_ns();
		for (uint32_t i = 0; i < count; i++)
			work(state, side);
		spent_ns += clock_now_ns() - start;
	}
	return (double)spent_ns;
}

/* One buffer after the other, by turns. */
static double measure_two_buffers(struct switching *state, uint32_t count)
{
	int64_t start;

	work(state, SIDE_DRIVER);
	work(state, SIDE_PEER);
	start = clock_now_ns();
	for (uint32_t i = 0; i < count; i++) {
		work(state, SIDE_DRIVER);
		work(state, SIDE_PEER);
	}
	return (double)(clock_now_ns() - start);
}

static enum filar_status measure_part(
	struct switching *state, enum part part, uint32_t count, double *spent_ns)
{
	int64_t switches;

	switch (part) {
	case PART_ALONE:
		*spent_ns = measure_alone(state, count);
		return FILAR_OK;
	case PART_TWO_BUFFERS:
		*spent_ns = measure_two_buffers(state, count);
		return FILAR_OK;
	case PART_CONTEXTS:
		*spent_ns = measure_contexts(state, count);
		return FILAR_OK;
	default:
		return measure_turns(state, count, spent_ns, &switches);
	}
}

static enum filar_status sample_touch(struct way_run *run)
{
	enum part order[PART_COUNT] = { PART_ALONE, PART_TWO_BUFFERS, PART_CONTEXTS, PART_TURNS };
	enum filar_status status = FILAR_OK;
	double spent_ns;

	for (uint32_t left = PART_COUNT; left > 0 && status == FILAR_OK; left--) {
		uint32_t drawn = random_below(run->random, left);
		enum part part = order[drawn];

		order[drawn] = order[left - 1];
		status = measure_part(run->state, part, run->batch, &spent_ns);
		run->values[part] = spent_ns / run->batch / 2;
	}
	return status;
}

/* ---- the table ---- */

#define TURN_PARAMS                                                                                \
	{                                                                                          \
		{ "peer_cpu", -1 }, { "process", 0 }, { "shared", 0 }, { "touch_bytes", 0 },       \
			{ "step_bytes", TOUCH_LINES },                                             \
		{                                                                                  \
			"driver_free", 0                                                           \
		}                                                                                  \
	}
#define TURN_METRICS                                                                               \
	{                                                                                          \
		{ "one way", "ns" }, { "round trip", "ns" },                                       \
		{                                                                                  \
			"switches per turn", "ratio"                                               \
		}                                                                                  \
	}

const struct way ways_switch[] = {
	{ .name = "switch-futex",
		.summary = "a round trip between two parties by a futex word",
		.params = TURN_PARAMS,
		.metrics = TURN_METRICS,
		.setup = setup_futex,
		.sample = sample_turns,
		.teardown = teardown },
	{ .name = "switch-pipe",
		.summary = "a round trip of one byte through two pipes",
		.params = TURN_PARAMS,
		.metrics = TURN_METRICS,
		.setup = setup_pipe,
		.sample = sample_turns,
		.teardown = teardown },
	{ .name = "switch-eventfd",
		.summary = "a round trip through two eventfds",
		.params = TURN_PARAMS,
		.metrics = TURN_METRICS,
		.setup = setup_eventfd,
		.sample = sample_turns,
		.teardown = teardown },
	{ .name = "switch-socket",
		.summary = "a round trip of one byte through a pair of unix sockets",
		.params = TURN_PARAMS,
		.metrics = TURN_METRICS,
		.setup = setup_socket,
		.sample = sample_turns,
		.teardown = teardown },
	{ .name = "switch-semaphore",
		.summary = "a round trip by two POSIX semaphores",
		.params = TURN_PARAMS,
		.metrics = TURN_METRICS,
		.setup = setup_semaphore,
		.sample = sample_turns,
		.teardown = teardown },
	{ .name = "switch-condvar",
		.summary = "a round trip by one mutex and one condition variable",
		.params = TURN_PARAMS,
		.metrics = TURN_METRICS,
		.setup = setup_condvar,
		.sample = sample_turns,
		.teardown = teardown },
	{ .name = "switch-yield",
		.summary = "sched_yield to the other party and back, both on one core",
		.params = TURN_PARAMS,
		.metrics = TURN_METRICS,
		.setup = setup_yield,
		.sample = sample_yield,
		.teardown = teardown },
	{ .name = "switch-touch",
		.summary = "a turn in each of two buffers, without and with a switch in between",
		.params = TURN_PARAMS,
		.metrics = { { "alone, warm", "ns" }, { "two buffers, no switch", "ns" },
			{ "swapcontext", "ns" }, { "futex", "ns" } },
		.setup = setup_futex,
		.sample = sample_touch,
		.teardown = teardown },
	{ .name = "switch-context",
		.summary = "swapcontext to a second stack of the same thread and back",
		.params = TURN_PARAMS,
		.metrics = TURN_METRICS,
		.setup = acquire,
		.sample = sample_context,
		.teardown = teardown },
	{ .name = NULL },
};
