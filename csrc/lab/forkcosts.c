/*
 * forkcosts.c - forks and loops of nothing, with the other worker asleep, searching, or absent.
 */
#include "lab/forkcosts.h"

#include <math.h>
#include <sched.h>

#include "arch/cpu.h"
#include "base/memory.h"
#include "lab/crew.h"
#include "lab/lab_pool.h"
#include "os/clock.h"
#include "pool/loop.h"
#include "pool/task.h"

/* Nobody waits longer for the other worker: it may have lost its CPU. */
#define PATIENCE_NS (2 * NS_PER_MS)
/* A stolen half that lasts so long finds its forker asleep (forks.c, JOIN_LOOKS). */
#define LONG_HALF_NS (60 * NS_PER_US)
/* So long after its last find a worker still searches. */
#define SHORT_REST_NS 500
#define STEALS        4u
#define CHAIN_LENGTH  200
#define CHAINS        8
#define SPEED_STEPS   20000u
#define SAMPLES_MIN   8u
#define SAMPLES_MAX   200u

/* ---- a fork that nobody steals ---- */

static void nothing(void *argument)
{
	FILAR_KEEP(argument);
}

/* Forks inside of first halves: all but the first few are private, as they are in any deep tree. */
struct chain {
	int32_t length;
	enum filar_status status;
};

static void fork_chain(void *argument)
{
	struct chain *self = argument, rest = { self->length - 1, FILAR_OK };
	struct pool_worker *worker = pool_worker_current();

	if (self->length > 0)
		self->status = forks_join(&worker->forks, fork_chain, &rest, nothing, NULL);
}

static void call_chain(void *argument)
{
	struct chain *self = argument, rest = { self->length - 1, FILAR_OK };
	call_body *volatile body = call_chain, *volatile other = nothing;
	/* As the other chain: finding out where one is belongs to the program. */
	struct pool_worker *worker = pool_worker_current();

	FILAR_KEEP(worker);
	if (self->length == 0)
		return;
	body(&rest);
	other(NULL);
}

static double time_chain(call_body *body)
{
	struct chain chain = { CHAIN_LENGTH, FILAR_OK };
	int64_t least = INT64_MAX;

	/* The first one finds nothing in the caches. */
	for (int i = 0; i < CHAINS; i++) {
		int64_t start = clock_ticks(), ticks;

		body(&chain);
		ticks = clock_ticks() - start;
		least = ticks < least ? ticks : least;
	}
	return clock_ticks_to_ns(least);
}

static void time_chains(void *argument)
{
	double *ns = argument;

	*ns = (time_chain(fork_chain) - time_chain(call_chain)) / CHAIN_LENGTH;
}

/* ---- a fork that the other worker takes ---- */

struct handover {
	struct pool *pool;            /* I */
	_Atomic int64_t began, ended; /* A  ticks; 0: not yet */
	int64_t lasts_ns;             /* I  the stolen half, that long */
	filar_fork_costs *costs;      /* W  by whoever measures */
	enum filar_status status;     /* W  of a loop */
};

static bool is_late(int64_t since)
{
	return clock_ticks_to_ns(clock_ticks() - since) > PATIENCE_NS;
}

static void rest(int64_t ns)
{
	for (int64_t start = clock_ticks(); clock_ticks_to_ns(clock_ticks() - start) < (double)ns;)
		cpu_pause();
}

/* `count` workers of the pool. */
static bool wait_until_asleep(struct pool *pool, uint32_t count)
{
	int64_t start = clock_ticks();

	while (IDLE_SLEEPING(load_relaxed(&pool->scheduler.idle.word)) < count) {
		if (is_late(start))
			return false;
		/* On its CPU, perhaps. */
		(void)sched_yield();
	}
	/* It counts itself before it is in the kernel. */
	rest(20 * NS_PER_US);
	return true;
}

static void stolen_half(void *argument)
{
	struct handover *self = argument;

	/* Relaxed: stamps; the join orders the rest. */
	store_relaxed(&self->began, clock_ticks());
	rest(self->lasts_ns);
	store_relaxed(&self->ended, clock_ticks());
}

/* Until the other half runs elsewhere. */
static void patient_half(void *argument)
{
	struct handover *self = argument;
	int64_t start = clock_ticks();

	while (load_relaxed(&self->began) == 0 && !is_late(start))
		cpu_pause();
}

/* From the fork to the first step of the stolen half; NaN: it was not stolen. */
static double fork_once(struct handover *self, int64_t lasts_ns, double *back_ns)
{
	struct pool_worker *worker = pool_worker_current();
	int64_t start, end;

	store_relaxed(&self->began, 0);
	self->lasts_ns = lasts_ns;
	start = clock_ticks();
	if (forks_join(&worker->forks, patient_half, self, stolen_half, self) != FILAR_OK ||
		is_late(start))
		return NAN;
	end = clock_ticks();
	if (back_ns != NULL)
		*back_ns = clock_ticks_to_ns(end - load_relaxed(&self->ended));
	return clock_ticks_to_ns(load_relaxed(&self->began) - start);
}

static void time_handovers(void *argument)
{
	struct handover *self = argument;
	filar_fork_costs *costs = self->costs;

	costs->steal_ns = costs->return_ns = costs->wake_ns = NAN;
	if (!wait_until_asleep(self->pool, 1))
		return;
	costs->wake_ns = fork_once(self, 0, NULL);
	for (uint32_t i = 0; i < STEALS; i++) {
		double ns;

		rest(SHORT_REST_NS);
		ns = fork_once(self, 0, NULL);
		costs->steal_ns = fmin(costs->steal_ns, ns);
	}
	(void)fork_once(self, LONG_HALF_NS, &costs->return_ns);
}

/* ---- a loop that the other worker helps with ---- */

struct meeting {
	int64_t start;
	_Atomic uint32_t arrived; /* A  relaxed, as all here: the loop orders the rest */
	_Atomic int64_t last;     /* A  ticks, when the second one came */
	_Atomic bool given_up;    /* A */
	double together_ns[2];    /* S  each its own */
};

/* Four chains of multiplications: they want the units of the core, not only their turn. */
static void compute(uint32_t steps)
{
	uint64_t a = 1, b = 2, c = 3, d = 4;

	for (uint32_t i = 0; i < steps; i++) {
		a = a * 0x9e3779b97f4a7c15u + i;
		b = b * 0xbf58476d1ce4e5b9u + i;
		c = c * 0x94d049bb133111ebu + i;
		d = d * 0xd6e8feb86659fd93u + i;
		FILAR_KEEP_IN_REGISTER(a);
		FILAR_KEEP_IN_REGISTER(b);
	}
	FILAR_KEEP(a + b + c + d);
}

static double time_compute(void)
{
	int64_t start = clock_ticks();

	compute(SPEED_STEPS);
	return clock_ticks_to_ns(clock_ticks() - start);
}

static void meet(int64_t begin, int64_t end, void *ctx)
{
	struct meeting *self = ctx;

	for (int64_t i = begin; i < end; i++) {
		int64_t now = clock_ticks();

		if (load_relaxed(&self->given_up))
			continue;
		if (fetch_add_relaxed(&self->arrived, 1) == 1)
			store_relaxed(&self->last, now);
		while (load_relaxed(&self->arrived) < 2 && !load_relaxed(&self->given_up)) {
			cpu_pause();
			if (is_late(now))
				store_relaxed(&self->given_up, true);
		}
		self->together_ns[i] = time_compute();
	}
}

/* By a worker, so that caller and helper have a CPU each. */
static void time_loop(void *argument)
{
	struct handover *self = argument;
	filar_fork_costs *costs = self->costs;
	struct loop_options options = { .schedule = LOOP_STATIC };
	struct meeting meeting = { 0 };
	double alone_ns = time_compute();

	costs->loop_ns = costs->pair_speed = NAN;
	if (!wait_until_asleep(self->pool, 1))
		return;
	meeting.start = clock_ticks();
	self->status = pool_parallel_for(self->pool, &options, 0, 2, meet, &meeting);
	if (self->status != FILAR_OK || load_relaxed(&meeting.given_up))
		return;
	costs->loop_ns = clock_ticks_to_ns(load_relaxed(&meeting.last) - meeting.start);
	alone_ns = fmin(alone_ns, time_compute());
	costs->pair_speed = alone_ns / fmax(meeting.together_ns[0], meeting.together_ns[1]);
}

/* ---- all of it ---- */

enum filar_status fork_costs_open(struct fork_costs_bench *bench, int32_t driver_cpu)
{
	struct way_run run = { .driver_cpu = driver_cpu };
	struct cpu_mask cpus;
	enum filar_status status = crew_mask(&cpus, -1);

	*bench = (struct fork_costs_bench){ 0 };
	if (status != FILAR_OK)
		return status;
	clock_calibrate();
	status = lab_pool_open(&run, 1, true, &bench->alone);
	if (status == FILAR_OK && cpu_mask_count(&cpus) > 1)
		status = lab_pool_open(&run, 2, true, &bench->pair);
	if (status != FILAR_OK)
		fork_costs_close(bench);
	return status;
}

void fork_costs_close(struct fork_costs_bench *bench)
{
	lab_pool_close(bench->alone);
	lab_pool_close(bench->pair);
	*bench = (struct fork_costs_bench){ 0 };
}

enum filar_status fork_costs_sample(struct fork_costs_bench *bench, filar_fork_costs *costs)
{
	struct handover handover = { .pool = bench->pair, .costs = costs };
	struct pool *called = bench->pair != NULL ? bench->pair : bench->alone;
	enum filar_status status;
	int64_t start;

	*costs = (filar_fork_costs){ NAN, NAN, NAN, NAN, NAN, NAN, NAN };
	status = pool_call(bench->alone, time_chains, &costs->fork_ns);
	if (status == FILAR_OK && bench->pair != NULL)
		status = pool_call(bench->pair, time_handovers, &handover);
	if (status == FILAR_OK && bench->pair != NULL)
		status = pool_call(bench->pair, time_loop, &handover);
	if (status == FILAR_OK)
		status = handover.status;
	if (status != FILAR_OK)
		return status;
	if (wait_until_asleep(called, bench->pair != NULL ? 2 : 1)) {
		start = clock_ticks();
		status = pool_call(called, nothing, NULL);
		costs->call_ns = clock_ticks_to_ns(clock_ticks() - start);
	}
	return status;
}

enum { FIGURES = sizeof(filar_fork_costs) / sizeof(double) };

/* What else runs on the machine makes times longer, never shorter: a tenth from the good end. */
static void take_tenths(double (*samples)[SAMPLES_MAX], uint32_t count, filar_fork_costs *costs)
{
	double *figures = (double *)costs;

	for (int figure = 0; figure < FIGURES; figure++) {
		uint32_t measured = 0;

		for (uint32_t i = 0; i < count; i++) {
			if (!isnan(samples[figure][i]))
				samples[figure][measured++] = samples[figure][i];
		}
		/* Sorts them, too. */
		figures[figure] = median_of(samples[figure], measured);
		if (measured > 0)
			figures[figure] = samples[figure][measured / 10];
	}
	/* Of a speed the good end is the upper one. */
	if (!isnan(costs->pair_speed))
		costs->pair_speed = 1 / costs->pair_speed;
}

enum filar_status fork_costs_measure(int64_t time_ns, filar_fork_costs *costs)
{
	double(*samples)[SAMPLES_MAX] = memory_acquire(FIGURES, sizeof *samples);
	struct fork_costs_bench bench;
	int64_t end = clock_now_ns() + time_ns;
	enum filar_status status;
	uint32_t count = 0;

	if (samples == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for measuring");
	status = fork_costs_open(&bench, -1);
	while (status == FILAR_OK && count < SAMPLES_MAX &&
		(count < SAMPLES_MIN || clock_now_ns() < end)) {
		filar_fork_costs sample;

		status = fork_costs_sample(&bench, &sample);
		for (int figure = 0; figure < FIGURES; figure++)
			samples[figure][count] = ((double *)&sample)[figure];
		samples[FIGURES - 1][count] = 1 / sample.pair_speed;
		count++;
	}
	if (status == FILAR_OK)
		take_tenths(samples, count, costs);
	fork_costs_close(&bench);
	memory_release(samples);
	return status;
}
