/*
 * scheduler.c - starting and ending the workers together.
 *
 * Start: everything is initialised, then the kernel threads are created, then all of them must say
 * that they are up; if one cannot be created or begun, those that run are stopped again.
 */
#include "sched/scheduler.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/memory.h"
#include "kthread/kthread.h"
#include "os/affinity.h"
#include "os/clock.h"
#include "os/futex.h"
#include "os/topology.h"

/* ---- where the workers run ---- */

static enum filar_status place(
	const struct scheduler_options *options, int32_t *cpus, size_t *count)
{
	enum filar_placement order =
		options->pin == WORKER_PIN_COMPACT ? FILAR_PLACE_COMPACT : FILAR_PLACE_SCATTER;
	const filar_topology *topology;
	enum filar_status status = topology_read(&topology, "");

	if (status != FILAR_OK)
		return status;
	status = topology_place(topology, order, cpus, WORKERS_MAX, count);
	topology_release(topology);
	if (status == FILAR_OK && *count == 0)
		status = status_detail(FILAR_NO_CPU, "no CPU is online and allowed");
	return status;
}

static enum filar_status assign_cpus(
	struct scheduler *scheduler, const struct scheduler_options *options)
{
	int32_t *placed = NULL;
	const int32_t *cpus = options->cpus;
	size_t count = options->cpu_count;
	enum filar_status status;

	if (options->pin == WORKER_PIN_NONE)
		return FILAR_OK;
	if (options->pin != WORKER_PIN_LIST) {
		placed = memory_acquire(WORKERS_MAX, sizeof *placed);
		if (placed == NULL)
			return status_detail(FILAR_NO_MEMORY, "no memory to order the CPUs");
		status = place(options, placed, &count);
		if (status != FILAR_OK) {
			memory_release(placed);
			return status;
		}
		cpus = placed;
	}
	for (uint32_t i = 0; i < scheduler->worker_count; i++)
		scheduler->workers[i].cpu = cpus[i % count];
	memory_release(placed);
	return FILAR_OK;
}

/* Spinning for work pays only if whoever makes it can run at the same time. */
static bool several_cpus(void)
{
	struct cpu_mask mask;

	return affinity_get(0, &mask) == FILAR_OK && cpu_mask_count(&mask) > 1;
}

/* ---- start and end ---- */

static enum filar_status start_worker(
	struct worker *worker, const struct scheduler_options *options_of_all)
{
	const char *name = options_of_all->name;
	filar_kthread_options options;
	char full_name[FILAR_NAME_BYTES_MAX + 1];
	enum filar_status status;

	kthread_options_init(&options);
	snprintf(full_name, sizeof full_name, "%.10s-%u", name != NULL ? name : "filar",
		worker->index);
	options.name = full_name;
	options.stack_bytes = options_of_all->stack_bytes;
	if (worker->cpu >= 0) {
		options.cpus = &worker->cpu;
		options.cpu_count = 1;
	}
	status = kthread_check_options(&options);
	return status == FILAR_OK ? kthread_create(&worker->kthread, &options, worker_main, worker)
				  : status;
}

void scheduler_worker_is_up(struct scheduler *scheduler)
{
	/* B1: release, the worker's status; pairs with B2. */
	fetch_add_acq_rel(&scheduler->workers_up, 1);
	futex_wake(&scheduler->workers_up, 1);
}

static void wait_until_up(struct scheduler *scheduler, uint32_t count)
{
	uint32_t up;

	/* B2: acquire; pairs with B1. */
	while ((up = load_acquire(&scheduler->workers_up)) < count)
		(void)futex_wait_until(&scheduler->workers_up, up, DEADLINE_NEVER);
}

/* Those from scheduler->started on, up to `count`. */
static enum filar_status start_workers(
	struct scheduler *scheduler, const struct scheduler_options *options, uint32_t count)
{
	enum filar_status status = FILAR_OK;
	uint32_t first = load_relaxed(&scheduler->started), started = first;

	while (started < count && status == FILAR_OK) {
		status = start_worker(&scheduler->workers[started], options);
		started += status == FILAR_OK;
	}
	wait_until_up(scheduler, started);
	/* They look at each other's queues only from now on. */
	store_release(&scheduler->started, started);
	for (uint32_t i = first; i < started && status == FILAR_OK; i++) {
		if (scheduler->workers[i].status != FILAR_OK)
			status = status_detail(scheduler->workers[i].status,
				"worker %u could not set itself up: %s", i,
				filar_status_sentence(scheduler->workers[i].status));
	}
	return status;
}

/* Its kernel thread ends, or has ended. */
static void end_worker(struct worker *worker)
{
	while (kthread_join_until(worker->kthread, DEADLINE_NEVER) == FILAR_INTERRUPTED)
		;
	kthread_release(worker->kthread);
	worker->kthread = NULL;
}

static void stop_workers(struct scheduler *scheduler)
{
	store_seq_cst(&scheduler->stopping, true);
	idle_wake_all(&scheduler->idle);
	/* Those that rest sleep on this word. */
	store_seq_cst(&scheduler->active, UINT32_MAX);
	futex_wake(&scheduler->active, INT_MAX);
	for (uint32_t i = 0; i < load_relaxed(&scheduler->started); i++)
		end_worker(&scheduler->workers[i]);
}

static void free_workers(struct scheduler *scheduler, uint32_t initialised)
{
	for (uint32_t i = 0; i < initialised; i++)
		worker_deinit(&scheduler->workers[i]);
	memory_release(scheduler->workers);
}

enum filar_status scheduler_init(
	struct scheduler *scheduler, const struct scheduler_options *options, void *const *locals)
{
	enum filar_status status = FILAR_OK;
	uint32_t initialised = 0;

	FILAR_ASSERT(options->workers >= 1 && options->workers <= WORKERS_MAX);
	memset(scheduler, 0, sizeof *scheduler);
	scheduler->worker_count = options->workers;
	scheduler->spin = several_cpus();
	scheduler->worker_begins = options->worker_begins;
	scheduler->worker_ends = options->worker_ends;
	scheduler->quiet = options->quiet;
	scheduler->find = options->find;
	scheduler->has_more = options->has_more;
	scheduler->rests = options->rests;
	store_relaxed(&scheduler->active, options->active > 0 ? options->active : options->workers);
	inject_init(&scheduler->inject);
	deadlines_init(&scheduler->deadlines);
	idle_init(&scheduler->idle);
	scheduler->workers = memory_acquire_aligned(options->workers, sizeof(struct worker));
	if (scheduler->workers == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for %u workers", options->workers);
	while (initialised < options->workers && status == FILAR_OK) {
		struct worker *worker = &scheduler->workers[initialised];

		status = worker_init(worker, scheduler, initialised);
		worker->local = locals != NULL ? locals[initialised] : NULL;
		initialised += status == FILAR_OK;
	}
	if (status == FILAR_OK)
		status = assign_cpus(scheduler, options);
	if (status == FILAR_OK) {
		status = start_workers(scheduler, options, load_relaxed(&scheduler->active));
		if (status == FILAR_OK)
			return FILAR_OK;
		stop_workers(scheduler);
	}
	free_workers(scheduler, initialised);
	return status;
}

static enum filar_status start_one_more(
	struct scheduler *scheduler, const struct scheduler_options *options)
{
	uint32_t index = load_relaxed(&scheduler->started);
	struct worker *worker = &scheduler->workers[index];
	enum filar_status status = start_workers(scheduler, options, index + 1);

	if (status == FILAR_OK || worker->kthread == NULL)
		return status;
	/* It has begun, could not set itself up, and ends. */
	store_release(&scheduler->started, index);
	fetch_sub_acq_rel(&scheduler->workers_up, 1);
	end_worker(worker);
	return status;
}

enum filar_status scheduler_set_active(
	struct scheduler *scheduler, const struct scheduler_options *options, uint32_t active)
{
	enum filar_status status = FILAR_OK;

	FILAR_ASSERT(active >= 1 && active <= scheduler->worker_count);
	/* One by one: those before the one that cannot be started rest, until the next attempt. */
	while (load_relaxed(&scheduler->started) < active && status == FILAR_OK)
		status = start_one_more(scheduler, options);
	if (status != FILAR_OK)
		return status;
	store_seq_cst(&scheduler->active, active);
	futex_wake(&scheduler->active, INT_MAX);
	/* Those that sleep and are too many now go to rest. */
	idle_wake_all(&scheduler->idle);
	return FILAR_OK;
}

void scheduler_close(struct scheduler *scheduler)
{
	/* seq_cst, and then a notify: README.md, "Shutdown". */
	store_seq_cst(&scheduler->closing, true);
	idle_wake_all(&scheduler->idle);
}

bool scheduler_is_forked(const struct scheduler *scheduler)
{
	return kthread_is_forked(scheduler->workers[0].kthread);
}

void scheduler_deinit(struct scheduler *scheduler)
{
	if (!scheduler_is_forked(scheduler)) {
		stop_workers(scheduler);
	} else {
		for (uint32_t i = 0; i < load_relaxed(&scheduler->started); i++)
			kthread_release(scheduler->workers[i].kthread);
	}
	free_workers(scheduler, scheduler->worker_count);
}

/* ---- work from outside, deadlines ---- */

void scheduler_submit(struct scheduler *scheduler, struct work *work)
{
	struct work_chain chain = { 0 };

	work_chain_push(&chain, work);
	inject_lock(&scheduler->inject);
	inject_push_locked(&scheduler->inject, &chain);
	idle_wake_one(&scheduler->idle);
	/* Nothing of the scheduler is touched after this. */
	inject_unlock(&scheduler->inject);
}

void scheduler_add_deadline(struct scheduler *scheduler, struct deadline *deadline)
{
	if (!deadlines_add(&scheduler->deadlines, deadline))
		return;
	/* D1: a read-modify-write, after `earliest` was stored.  Pairs with D2. */
	if (fetch_add_seq_cst(&scheduler->idle.keeper, 0) != 0)
		idle_wake_all(&scheduler->idle);
	else
		idle_wake_one(&scheduler->idle); /* a sleeper, if any, gets up and keeps the time */
}

void scheduler_fire_deadlines_slow(struct scheduler *scheduler)
{
	int64_t now_ns = clock_now_ns();

	if (deadlines_earliest(&scheduler->deadlines) <= now_ns)
		(void)deadlines_fire(&scheduler->deadlines, now_ns);
}

/* ---- looking ---- */

const char *worker_doing_name(uint32_t doing)
{
	static const char *const names[] = { "starting", "running", "searching", "sleeping",
		"resting", "ended" };

	return doing < FILAR_COUNT_OF(names) ? names[doing] : "?";
}

void scheduler_read_counters(struct scheduler *scheduler, struct counters *sum)
{
	memset(sum, 0, sizeof *sum);
	for (uint32_t i = 0; i < scheduler->worker_count; i++) {
		struct counters *one = &scheduler->workers[i].counters;

#define X(name) store_relaxed(&sum->name, load_relaxed(&sum->name) + load_relaxed(&one->name));
		WORKER_COUNTERS(X)
#undef X
	}
}

void scheduler_dump(struct scheduler *scheduler, int fd)
{
	uint64_t word = load_relaxed(&scheduler->idle.word);
	int64_t earliest = deadlines_earliest(&scheduler->deadlines);

	dprintf(fd, "scheduler: %u workers, %u searching, %u sleeping, %llu in the inject queue",
		scheduler->worker_count, IDLE_SEARCHING(word), IDLE_SLEEPING(word),
		(unsigned long long)inject_count(&scheduler->inject));
	if (earliest != DEADLINE_NEVER)
		dprintf(fd, ", next deadline in %lld us",
			(long long)((earliest - clock_now_ns()) / NS_PER_US));
	dprintf(fd, "%s%s\n", load_relaxed(&scheduler->closing) ? ", closing" : "",
		load_relaxed(&scheduler->stopping) ? ", stopping" : "");
	for (uint32_t i = 0; i < scheduler->worker_count; i++) {
		struct worker *worker = &scheduler->workers[i];

		dprintf(fd, "worker %u: %s, %llu queued%s", i,
			worker_doing_name(load_relaxed(&worker->doing)),
			(unsigned long long)runq_length(&worker->runq),
			load_relaxed(&worker->next) != NULL ? " and one next" : "");
		if (worker->cpu >= 0)
			dprintf(fd, ", pinned to CPU %d", worker->cpu);
#define X(name)                                                                                    \
	dprintf(fd, ", %llu " #name, (unsigned long long)load_relaxed(&worker->counters.name));
		WORKER_COUNTERS(X)
#undef X
		dprintf(fd, "\n");
	}
}
