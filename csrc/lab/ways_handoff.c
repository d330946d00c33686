/*
 * ways_handoff.c - giving work to a thread that exists, beside creating one; and when a split pays.
 *
 * The helper is one pthread per way, pinned, that waits either on a futex (parked) or by looking
 * (spinning).  Turn taking is one word: DRIVER may give, HELPER may run, STOP ends.
 */
#include <errno.h>
#include <pthread.h>

#include "arch/cpu.h"
#include "base/atomic.h"
#include "base/memory.h"
#include "lab/registry.h"
#include "os/affinity.h"
#include "os/calls.h"
#include "os/clock.h"
#include "os/futex.h"

enum turn { TURN_DRIVER, TURN_HELPER, TURN_STOP };

struct helper {
	pthread_t thread;   /* I */
	_Atomic bool spins; /* A  relaxed: how to wait; changes between turns */
	uint64_t steps;     /* S  work of this turn; the giver's until TURN_HELPER */
	int64_t started_ns; /* S  the helper's until TURN_DRIVER */
	FILAR_CACHELINE_BREAK
	_Atomic uint32_t turn; /* A  enum turn, futex */
};

/* The work: dependent additions, so that time is proportional to steps on any CPU. */
FILAR_NOINLINE static void work(uint64_t steps)
{
	uint64_t value = 1;

	for (uint64_t i = 0; i < steps; i++) {
		value += i;
		FILAR_KEEP(value);
	}
}

static void give_turn(struct helper *helper, enum turn to)
{
	/* H1: release; pairs with H2: what was written for the other side is visible to it. */
	store_release(&helper->turn, to);
	if (!load_relaxed(&helper->spins))
		futex_wake(&helper->turn, 1);
}

/* The first turn other than `turn`. */
static enum turn await_turn(struct helper *helper, enum turn turn)
{
	uint32_t now;

	/* H2: acquire; pairs with H1. */
	while ((now = load_acquire(&helper->turn)) == turn) {
		if (load_relaxed(&helper->spins))
			cpu_pause();
		else
			(void)futex_wait_until(&helper->turn, turn, DEADLINE_NEVER);
	}
	return (enum turn)now;
}

static void *helper_main(void *pointer)
{
	struct helper *helper = pointer;

	while (await_turn(helper, TURN_DRIVER) != TURN_STOP) {
		helper->started_ns = clock_now_ns();
		work(helper->steps);
		give_turn(helper, TURN_DRIVER);
	}
	return NULL;
}

/* Pinned by attribute: a CPU that is not there makes the creation fail, instead of a helper that
 * roams. */
static int create_helper_thread(struct helper *helper, const struct cpu_mask *mask)
{
	pthread_attr_t attributes;
	int error;

	pthread_attr_init(&attributes);
	pthread_attr_setaffinity_np(&attributes, mask->bytes, mask->bits);
	error = call_thread_create(&helper->thread, &attributes, helper_main, helper);
	pthread_attr_destroy(&attributes);
	return error;
}

static enum filar_status helper_create(struct way_run *run, int32_t cpu)
{
	struct helper *helper;
	struct cpu_mask mask;
	enum filar_status status = cpu_mask_from_list(&mask, &cpu, 1);
	int error;

	if (status != FILAR_OK)
		return status;
	helper = memory_acquire_aligned(1, sizeof *helper);
	if (helper == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a helper thread's record");
	error = create_helper_thread(helper, &mask);
	if (error != 0) {
		memory_release(helper);
		return error == EINVAL ? status_detail(FILAR_NO_CPU,
						 "CPU %d is not there or not allowed", cpu)
				       : status_from_errno(error, "pthread_create");
	}
	run->state = helper;
	return FILAR_OK;
}

static void helper_destroy(struct way_run *run)
{
	struct helper *helper = run->state;

	if (helper == NULL)
		return;
	give_turn(helper, TURN_STOP);
	futex_wake(&helper->turn, 1);
	pthread_join(helper->thread, NULL);
	memory_release(helper);
}

/* Nothing runs for `ns`: long sleeps in slices, so that a cancelled plan stops. */
static void idle(const struct way_run *run, int64_t ns)
{
	int64_t end = clock_now_ns() + ns;

	while (clock_now_ns() < end && !way_cancelled(run)) {
		int64_t left = end - clock_now_ns();
		struct timespec slice =
			clock_timespec(left < 50 * NS_PER_MS ? left : 50 * NS_PER_MS);

		(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &slice, NULL);
	}
}

/* ---- thread-reuse ---- */

enum { REUSE_IDLE_NS, REUSE_CPU };

static enum filar_status setup_reuse(struct way_run *run)
{
	return helper_create(run, (int32_t)run->params[REUSE_CPU]);
}

static enum filar_status sample_reuse(struct way_run *run)
{
	struct helper *helper = run->state;
	double total_ns = 0, first_ns = 0;

	helper->steps = 0;
	for (uint32_t i = 0; i < run->batch; i++) {
		int64_t start;

		if (run->params[REUSE_IDLE_NS] > 0)
			idle(run, run->params[REUSE_IDLE_NS]);
		start = clock_now_ns();
		give_turn(helper, TURN_HELPER);
		(void)await_turn(helper, TURN_HELPER);
		total_ns += (double)(clock_now_ns() - start);
		first_ns += (double)(helper->started_ns - start);
	}
	run->values[0] = total_ns / run->batch;
	run->values[1] = first_ns / run->batch;
	return FILAR_OK;
}

/* ---- create-after-idle: what the hand-off is compared with ---- */

static void *created(void *pointer)
{
	*(int64_t *)pointer = clock_now_ns();
	return NULL;
}

static enum filar_status sample_create_after_idle(struct way_run *run)
{
	double total_ns = 0, first_ns = 0;

	for (uint32_t i = 0; i < run->batch; i++) {
		int64_t start, started_ns = 0;
		pthread_t thread;
		int error;

		if (run->params[REUSE_IDLE_NS] > 0)
			idle(run, run->params[REUSE_IDLE_NS]);
		start = clock_now_ns();
		error = call_thread_create(&thread, NULL, created, &started_ns);
		if (error != 0)
			return status_from_errno(error, "pthread_create");
		pthread_join(thread, NULL);
		total_ns += (double)(clock_now_ns() - start);
		first_ns += (double)(started_ns - start);
	}
	run->values[0] = total_ns / run->batch;
	run->values[1] = first_ns / run->batch;
	return FILAR_OK;
}

/* ---- split: a piece of work done by one thread, or half of it by another ---- */

enum split_kind { SPLIT_SERIAL, SPLIT_CREATE, SPLIT_PARKED, SPLIT_SPINNING };
enum { SPLIT_KIND, SPLIT_WORK_NS, SPLIT_IDLE_NS, SPLIT_CPU };

/* Steps that take about work_ns on this CPU now: the fastest of a few probes. */
static uint64_t steps_for(int64_t work_ns)
{
	const uint64_t probe = 20000;
	int64_t best = INT64_MAX;

	for (int i = 0; i < 5; i++) {
		int64_t start = clock_now_ns();

		work(probe);
		if (clock_now_ns() - start < best)
			best = clock_now_ns() - start;
	}
	return probe * (uint64_t)work_ns / (uint64_t)(best > 0 ? best : 1) + 1;
}

static enum filar_status setup_split(struct way_run *run)
{
	enum split_kind kind = (enum split_kind)run->params[SPLIT_KIND];

	if (kind == SPLIT_PARKED || kind == SPLIT_SPINNING)
		return helper_create(run, (int32_t)run->params[SPLIT_CPU]);
	return FILAR_OK;
}

static void *half_by_new_thread(void *steps)
{
	work(*(uint64_t *)steps);
	return NULL;
}

static enum filar_status split_with_new_thread(struct way_run *run, uint64_t half)
{
	int32_t cpu = (int32_t)run->params[SPLIT_CPU];
	pthread_attr_t attributes;
	struct cpu_mask mask;
	pthread_t thread;
	enum filar_status status = cpu_mask_from_list(&mask, &cpu, 1);
	int error;

	if (status != FILAR_OK)
		return status;
	pthread_attr_init(&attributes);
	pthread_attr_setaffinity_np(&attributes, mask.bytes, mask.bits);
	error = call_thread_create(&thread, &attributes, half_by_new_thread, &half);
	pthread_attr_destroy(&attributes);
	if (error != 0)
		return status_from_errno(error, "pthread_create");
	work(half);
	pthread_join(thread, NULL);
	return FILAR_OK;
}

/*
 * A spinning helper would burn the other ways' CPU between its samples, so it spins only inside its
 * own: woken from its park before the clock starts, back to the park after it stops.
 */
static void set_spinning(struct helper *helper, bool spins)
{
	store_relaxed(&helper->spins, spins);
	helper->steps = 0;
	store_release(&helper->turn, TURN_HELPER);
	futex_wake(&helper->turn, 1);
	while (load_acquire(&helper->turn) == TURN_HELPER)
		cpu_pause();
}

static enum filar_status sample_split(struct way_run *run)
{
	enum split_kind kind = (enum split_kind)run->params[SPLIT_KIND];
	struct helper *helper = run->state;
	uint64_t steps = steps_for(run->params[SPLIT_WORK_NS]), half = steps / 2;
	enum filar_status status = FILAR_OK;
	double total_ns = 0;

	if (kind == SPLIT_SPINNING)
		set_spinning(helper, true);
	for (uint32_t i = 0; i < run->batch && status == FILAR_OK; i++) {
		int64_t start;

		if (run->params[SPLIT_IDLE_NS] > 0)
			idle(run, run->params[SPLIT_IDLE_NS]);
		start = clock_now_ns();
		if (kind == SPLIT_SERIAL) {
			work(steps);
		} else if (kind == SPLIT_CREATE) {
			status = split_with_new_thread(run, half);
		} else {
			helper->steps = half;
			give_turn(helper, TURN_HELPER);
			work(half);
			(void)await_turn(helper, TURN_HELPER);
		}
		total_ns += (double)(clock_now_ns() - start);
	}
	if (kind == SPLIT_SPINNING)
		set_spinning(helper, false);
	run->values[0] = total_ns / run->batch;
	return status;
}

const struct way ways_handoff[] = {
	{ .name = "thread-reuse",
		.summary =
			"after idle_ns, hands empty work to a parked thread on `cpu` and waits for it",
		.params = { { "idle_ns", 0 }, { "cpu", 0 } },
		.metrics = { { "round trip", "ns" }, { "first instruction", "ns" } },
		.setup = setup_reuse,
		.sample = sample_reuse,
		.teardown = helper_destroy },
	{ .name = "create-after-idle",
		.summary = "after idle_ns, creates a thread and joins it",
		.params = { { "idle_ns", 0 } },
		.metrics = { { "round trip", "ns" }, { "first instruction", "ns" } },
		.sample = sample_create_after_idle },
	{ .name = "split",
		.summary =
			"work of about work_ns; kind 0: alone, 1: half by a new thread on `cpu`, 2: half by a "
			"parked one, 3: half by a spinning one",
		.params = { { "kind", SPLIT_SERIAL }, { "work_ns", 100000 }, { "idle_ns", 0 },
			{ "cpu", 0 } },
		.metrics = { { "time", "ns" } },
		.setup = setup_split,
		.sample = sample_split,
		.teardown = helper_destroy },
	{ .name = NULL },
};
