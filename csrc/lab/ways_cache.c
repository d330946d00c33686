/*
 * ways_cache.c - what follows the work from core to core: a thread that moves itself, and one cache
 * line between two cores.
 */
#include <sched.h>
#include <sys/resource.h>

#include "base/atomic.h"
#include "base/memory.h"
#include "lab/peer.h"
#include "lab/registry.h"
#include "lab/touch.h"
#include "os/affinity.h"
#include "os/clock.h"

#define TOUCH_BYTES_MAX (INT64_C(1) << 28)

static enum filar_status check_touch(int64_t bytes, int64_t step_bytes)
{
	if (bytes >= 0 && bytes <= TOUCH_BYTES_MAX && step_bytes >= 8)
		return FILAR_OK;
	return status_detail(FILAR_INVALID,
		"a turn touches 0 to %lld bytes in steps of at least 8, not %lld in steps of %lld",
		(long long)TOUCH_BYTES_MAX, (long long)bytes, (long long)step_bytes);
}

/* ---- move: pin oneself somewhere in each turn, then work ---- */

enum { MOVE_OTHER_CPU, MOVE_TOUCH_BYTES, MOVE_STEP_BYTES };

struct move {
	char *buffer;             /* I */
	size_t bytes;             /* I  mapped */
	struct cpu_mask masks[2]; /* I  where the even and the odd turns run */
	int32_t cpus[2];          /* I */
};

static void teardown_move(struct way_run *run)
{
	struct move *move = run->state;

	if (move == NULL)
		return;
	shared_release(move->buffer, move->bytes);
	memory_release(move);
}

static enum filar_status setup_move(struct way_run *run)
{
	int32_t here = run->driver_cpu >= 0 ? run->driver_cpu : affinity_current_cpu();
	int64_t asked = run->params[MOVE_OTHER_CPU];
	int32_t other = asked < 0 ? -1 : asked < CPUS_MAX ? (int32_t)asked : CPUS_MAX;
	enum filar_status status =
		check_touch(run->params[MOVE_TOUCH_BYTES], run->params[MOVE_STEP_BYTES]);
	struct move *move;

	if (status != FILAR_OK)
		return status;
	move = way_acquire_state(run, sizeof *move);
	if (move == NULL)
		return FILAR_NO_MEMORY;
	move->cpus[0] = here;
	move->cpus[1] = other >= 0 ? other : here;
	for (int i = 0; i < 2; i++) {
		status = cpu_mask_from_list(&move->masks[i], &move->cpus[i], 1);
		if (status != FILAR_OK)
			return status;
	}
	/* A byte more: nothing to touch is still a mapping. */
	move->bytes = (size_t)run->params[MOVE_TOUCH_BYTES] + 1;
	move->buffer = shared_acquire(move->bytes);
	if (move->buffer == NULL)
		return status_detail(
			FILAR_NO_MEMORY, "no memory for a buffer of %zu bytes", move->bytes);
	return FILAR_OK;
}

/* The plan pins the driver back after each sample. */
static enum filar_status sample_move(struct way_run *run)
{
	struct move *move = run->state;
	size_t bytes = (size_t)run->params[MOVE_TOUCH_BYTES];
	size_t step_bytes = (size_t)run->params[MOVE_STEP_BYTES];
	uint32_t arrived = 0;
	enum filar_status status = affinity_set(0, &move->masks[1]);
	int64_t start;

	if (status != FILAR_OK)
		return status;
	touch(move->buffer, bytes, step_bytes);
	start = clock_now_ns();
	for (uint32_t i = 0; i < run->batch; i++) {
		status = affinity_set(0, &move->masks[i % 2]);
		if (status != FILAR_OK)
			return status;
		arrived += affinity_current_cpu() == move->cpus[i % 2];
		touch(move->buffer, bytes, step_bytes);
	}
	run->values[0] = (double)(clock_now_ns() - start) / run->batch;
	run->values[1] = (double)arrived / run->batch;
	return FILAR_OK;
}

/* ---- core-latency: a value in one cache line, there and back in another ---- */

enum { LATENCY_CPU, LATENCY_PEER_CPU };

/* Loads of a line that is in the own cache take some nanoseconds: about 50 us until one looks up.
 */
#define SPINS_MAX 20000u
/* One burst is short enough to fit between two interruptions, and one clock reading in it is lost
 * among its trips. */
#define TRIPS_PER_BURST 64u
#define BURSTS_MAX      4096u

/* The two lines are in a fresh page each sample: where the page lies decides, on many machines, how
 * far the line travels. */
struct latency {
	const struct way_run *run; /* I */
	struct peer *peer;         /* W  driver */
	struct lines *lines;       /* S  set by the driver before each order */
	_Atomic bool broken;       /* A  relaxed: a flag and nothing else */
};

struct lines {
	FILAR_CACHELINE_BREAK
	_Atomic uint32_t ping; /* A  written by the driver only: number of the trip */
	FILAR_CACHELINE_BREAK
	_Atomic uint32_t pong; /* A  written by the peer only: number of the last trip answered */
};

static void break_off(void *pointer)
{
	struct latency *latency = pointer;

	store_relaxed(&latency->broken, true);
}

/* Spins until *word is at least `value`; the number of times the CPU was given away meanwhile. */
static uint32_t spin_until(struct latency *latency, _Atomic uint32_t *word, uint32_t value)
{
	uint32_t yields = 0, spins = 0;
	int64_t late_ns = 0;

	/* L2: acquire; pairs with L1, the other party's store of its line. */
	while (load_acquire(word) < value) {
		if (++spins < SPINS_MAX)
			continue;
		if (yields++ == 0)
			late_ns = clock_now_ns() + PEER_PATIENCE_NS;
		if (clock_now_ns() > late_ns || way_cancelled(latency->run))
			break_off(latency);
		if (load_relaxed(&latency->broken))
			return UINT32_MAX;
		(void)sched_yield();
		spins = 0;
	}
	return yields;
}

static enum filar_status peer_answers(void *pointer, uint32_t turns)
{
	struct latency *latency = pointer;
	struct lines *lines = latency->lines;

	for (uint32_t trip = 1; trip <= turns; trip++) {
		if (spin_until(latency, &lines->ping, trip) == UINT32_MAX)
			return FILAR_CANCELLED;
		/* L1: release; pairs with L2 in spin_until(). */
		store_release(&lines->pong, trip);
	}
	return FILAR_OK;
}

static void teardown_latency(struct way_run *run)
{
	struct latency *latency = run->state;

	if (latency == NULL)
		return;
	peer_destroy(latency->peer);
	memory_release(latency);
}

static enum filar_status setup_latency(struct way_run *run)
{
	struct latency *latency = way_acquire_state(run, sizeof *latency);

	if (latency == NULL)
		return FILAR_NO_MEMORY;
	latency->run = run;
	return peer_create(&latency->peer, run,
		&(struct peer_options){ .cpu = (int32_t)run->params[LATENCY_PEER_CPU],
			.body = peer_answers,
			.argument = latency,
			.on_stuck = break_off,
			.unwatched = true,
			.fds = { -1, -1 } });
}

static int64_t times_preempted(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nivcsw;
}

/* One burst of trips that end with number `last`; whether neither party lost its CPU in it. */
static bool burst(struct latency *latency, uint32_t last, int64_t *spent_ns)
{
	struct lines *lines = latency->lines;
	uint32_t yields = 0;
	int64_t preempted = times_preempted(), start = clock_now_ns();

	for (uint32_t trip = last - TRIPS_PER_BURST + 1; trip <= last; trip++) {
		store_release(&lines->ping, trip);
		yields |= spin_until(latency, &lines->pong, trip);
	}
	*spent_ns = clock_now_ns() - start;
	return yields == 0 && times_preempted() == preempted;
}

static enum filar_status sample_latency(struct way_run *run)
{
	struct latency *latency = run->state;
	uint32_t bursts = run->batch < BURSTS_MAX ? run->batch : BURSTS_MAX, calm = 0;
	int32_t cpu = (int32_t)run->params[LATENCY_CPU];
	int64_t total_ns = 0, spent_ns;
	enum filar_status status = cpu >= 0 ? affinity_pin_self(cpu) : FILAR_OK;

	if (status != FILAR_OK)
		return status;
	latency->lines = shared_acquire(sizeof *latency->lines);
	if (latency->lines == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for two cache lines");
	store_relaxed(&latency->lines->ping, 0); /* first touch: the page is this core's */
	peer_begin(latency->peer, (bursts + 1) * TRIPS_PER_BURST);
	(void)burst(latency, TRIPS_PER_BURST, &spent_ns); /* until the peer has come */
	for (uint32_t i = 0; i < bursts && !load_relaxed(&latency->broken); i++) {
		if (!burst(latency, (i + 2) * TRIPS_PER_BURST, &spent_ns))
			continue;
		total_ns += spent_ns;
		calm++;
	}
	status = peer_end(latency->peer);
	if (status == FILAR_OK && load_relaxed(&latency->broken))
		status = way_cancelled(run) ? FILAR_CANCELLED
					    : status_detail(FILAR_TIMED_OUT,
						      "the other core did not answer in time");
	shared_release(latency->lines, sizeof *latency->lines);
	if (status != FILAR_OK)
		return status;
	if (calm > 0)
		run->values[0] = (double)total_ns / calm / TRIPS_PER_BURST / 2;
	run->values[1] = (double)(bursts - calm) / bursts;
	return FILAR_OK;
}

const struct way ways_cache[] = {
	{ .name = "move",
		.summary =
			"pins itself to the other CPU (-1: to the same) and does the work of a turn",
		.params = { { "other_cpu", -1 }, { "touch_bytes", 0 },
			{ "step_bytes", TOUCH_LINES } },
		.metrics = { { "per turn", "ns" }, { "turns on the CPU asked for", "ratio" } },
		.setup = setup_move,
		.sample = sample_move,
		.teardown = teardown_move },
	{ .name = "core-latency",
		.summary =
			"64 trips of a value from cache to cache and back, both parties spinning",
		.params = { { "cpu", -1 }, { "peer_cpu", -1 } },
		.metrics = { { "one way", "ns" }, { "bursts interrupted", "ratio" } },
		.batch_max = BURSTS_MAX,
		.setup = setup_latency,
		.sample = sample_latency,
		.teardown = teardown_latency },
	{ .name = NULL },
};
