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

/* Where kernel threads that are no regular workers may run: not only where their starter is pinned.
 */
static enum filar_status remember_home(struct scheduler *scheduler)
{
	struct cpu_mask mask;
	int count, cpu = -1;

	if (affinity_get(0, &mask) != FILAR_OK)
		return FILAR_OK; /* they inherit */
	count = cpu_mask_count(&mask);
	scheduler->home = memory_acquire((size_t)count, sizeof *scheduler->home);
	if (scheduler->home == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a list of CPUs");
	while ((cpu = cpu_mask_next(&mask, cpu + 1)) >= 0)
		scheduler->home[scheduler->home_count++] = cpu;
	return FILAR_OK;
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
	status = remember_home(scheduler);
	if (status != FILAR_OK)
		return status;
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
static bool several_cpus(const struct scheduler *scheduler)
{
	struct cpu_mask mask;

	for (uint32_t i = 1; i < scheduler->worker_count; i++) {
		if (scheduler->workers[i].cpu != scheduler->workers[0].cpu)
			return true;
	}
	return affinity_get(0, &mask) == FILAR_OK && cpu_mask_count(&mask) > 1;
}

/* ---- start and end ---- */

void scheduler_thread_options(const struct scheduler *scheduler, filar_kthread_options *options,
	char *name, const char *role)
{
	kthread_options_init(options);
	snprintf(name, FILAR_NAME_BYTES_MAX + 1, "%.9s-%.5s", scheduler->name, role);
	options->name = name;
	options->cpus = scheduler->home;
	options->cpu_count = scheduler->home_count;
}

/* A pinned worker on its CPU; a spare, where workers are pinned, on any of theirs. */
static size_t cpus_of_worker(const struct worker *worker, int32_t *cpus)
{
	const struct scheduler *scheduler = worker->scheduler;
	uint32_t first = worker->spare ? 0 : worker->index;
	uint32_t end = worker->spare ? scheduler->worker_count : worker->index + 1;

	for (uint32_t i = first; i < end; i++) {
		cpus[i - first] = scheduler->workers[i].cpu;
		if (cpus[i - first] < 0)
			return 0;
	}
	return end - first;
}

static enum filar_status start_worker(struct worker *worker)
{
	filar_kthread_options options;
	int32_t cpus[WORKERS_MAX];
	char name[FILAR_NAME_BYTES_MAX + 1], role[12];
	struct kthread *kthread;
	enum filar_status status;

	snprintf(role, sizeof role, "%u", worker->index);
	scheduler_thread_options(worker->scheduler, &options, name, role);
	options.cpu_count = cpus_of_worker(worker, cpus);
	options.cpus = options.cpu_count > 0 ? cpus : NULL;
	options.stack_bytes = worker->scheduler->stack_bytes;
	status = kthread_check_options(&options);
	store_relaxed(&worker->up, 0);
	store_relaxed(&worker->moving, false);
	if (status == FILAR_OK)
		status = kthread_create(&kthread, &options, worker_main, worker);
	/* K10: release; pairs with K11.  The worker may have been running for long. */
	if (status == FILAR_OK)
		store_release(&worker->kthread, kthread);
	return status;
}

void scheduler_worker_is_up(struct worker *worker)
{
	/* B1: release, the worker's status; pairs with B2. */
	store_release(&worker->up, 1);
	futex_wake(&worker->up, 1);
}

/* Each for itself: the watcher starts spares while others start workers. */
static void wait_until_up(struct worker *worker)
{
	/* B2: acquire; pairs with B1. */
	while (load_acquire(&worker->up) == 0)
		(void)futex_wait_until(&worker->up, 0, DEADLINE_NEVER);
}

/* Those from scheduler->started on, up to `count`. */
static enum filar_status start_workers(struct scheduler *scheduler, uint32_t count)
{
	enum filar_status status = FILAR_OK;
	uint32_t first = load_relaxed(&scheduler->started), started = first;

	while (started < count && status == FILAR_OK) {
		status = start_worker(&scheduler->workers[started]);
		started += status == FILAR_OK;
	}
	for (uint32_t i = first; i < started; i++)
		wait_until_up(&scheduler->workers[i]);
	/* Others look into their queues from now on. */
	store_release(&scheduler->started, started);
	for (uint32_t i = first; i < started && status == FILAR_OK; i++) {
		if (scheduler->workers[i].status != FILAR_OK)
			status = status_detail(scheduler->workers[i].status,
				"worker %u could not set itself up: %s", i,
				filar_status_sentence(scheduler->workers[i].status));
	}
	return status;
}

static void wait_for_end(struct kthread *kthread)
{
	while (kthread != NULL && kthread_join_until(kthread, DEADLINE_NEVER) == FILAR_INTERRUPTED)
		;
}

void scheduler_join_kthread(struct kthread *kthread)
{
	wait_for_end(kthread);
	if (kthread != NULL)
		kthread_release(kthread);
}

void scheduler_join_worker(struct worker *worker)
{
	struct kthread *kthread = load_relaxed(&worker->kthread);

	store_relaxed(&worker->kthread, NULL);
	scheduler_join_kthread(kthread);
}

/* The regular workers first: they alone start the watcher, and it alone starts spares.  Their
 * kthreads are released last: the watcher may be looking at one that has ended. */
static void stop_workers(struct scheduler *scheduler)
{
	store_seq_cst(&scheduler->stopping, true);
	idle_wake_all(&scheduler->idle);
	/* K7: those that rest sleep on this word.  Release, `stopping`; pairs with K6. */
	store_seq_cst(&scheduler->working, UINT32_MAX);
	futex_wake(&scheduler->working, INT_MAX);
	for (uint32_t i = 0; i < scheduler->worker_count; i++)
		wait_for_end(load_relaxed(&scheduler->workers[i].kthread));
	blocking_stop(scheduler);
	for (uint32_t i = 0; i < scheduler->worker_count; i++)
		scheduler_join_worker(&scheduler->workers[i]);
}

static void free_workers(struct scheduler *scheduler)
{
	for (uint32_t i = 0; i < scheduler_made(scheduler); i++)
		worker_deinit(&scheduler->workers[i]);
	memory_release(scheduler->workers);
	memory_release(scheduler->home);
}

/* ---- spares ---- */

enum filar_status scheduler_make_worker(struct scheduler *scheduler)
{
	uint32_t index = load_relaxed(&scheduler->made);
	enum filar_status status = worker_init(&scheduler->workers[index], scheduler, index);

	if (status == FILAR_OK)
		/* K1: release; pairs with K2. */
		store_seq_cst(&scheduler->made, index + 1);
	return status;
}

enum filar_status scheduler_start_spare(struct worker *worker)
{
	enum filar_status status = start_worker(worker);

	if (status != FILAR_OK)
		return status;
	wait_until_up(worker);
	if (worker->status == FILAR_OK)
		return FILAR_OK;
	scheduler_join_worker(worker);
	return worker->status;
}

/* ---- start and end, the whole ---- */

/* They repeat after 32,767 schedulers: a trace says less then, and nothing else. */
static uint32_t take_serial(void)
{
	static _Atomic uint32_t taken;

	return fetch_add_relaxed(&taken, 1) % 0x7fff + 1;
}

static void init_parts(struct scheduler *scheduler, const struct scheduler_options *options)
{
	memset(scheduler, 0, sizeof *scheduler);
	scheduler->serial = take_serial();
	scheduler->worker_count = options->workers;
	scheduler->worker_limit = options->workers + options->spares_max;
	scheduler->worker_begins = options->worker_begins;
	scheduler->worker_ends = options->worker_ends;
	scheduler->quiet = options->quiet;
	scheduler->preempt_signal = options->preempt_ns > 0 ? options->preempt_signal : 0;
	scheduler->preempt = options->preempt_ns > 0 ? options->preempt : NULL;
	scheduler->find = options->find;
	scheduler->has_more = options->has_more;
	scheduler->peek = options->peek;
	scheduler->rests = options->rests;
	scheduler->stack_bytes = options->stack_bytes;
	store_relaxed(
		&scheduler->working, options->working > 0 ? options->working : options->workers);
	snprintf(scheduler->name, sizeof scheduler->name, "%s",
		options->name != NULL ? options->name : "filar");
	inject_init(&scheduler->inject);
	deadlines_init(&scheduler->deadlines);
	idle_init(&scheduler->idle);
	blocking_init(scheduler, options);
}

enum filar_status scheduler_init(
	struct scheduler *scheduler, const struct scheduler_options *options, void *const *locals)
{
	enum filar_status status = FILAR_OK;

	FILAR_ASSERT(options->workers >= 1 && options->workers <= WORKERS_MAX);
	FILAR_ASSERT(options->spares_max <= SPARES_MAX);
	init_parts(scheduler, options);
	scheduler->workers = memory_acquire_aligned(scheduler->worker_limit, sizeof(struct worker));
	if (scheduler->workers == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for %u workers", options->workers);
	for (uint32_t i = 0; i < options->workers && status == FILAR_OK; i++) {
		status = scheduler_make_worker(scheduler);
		scheduler->workers[i].local = locals != NULL ? locals[i] : NULL;
	}
	if (status == FILAR_OK)
		status = assign_cpus(scheduler, options);
	if (status == FILAR_OK) {
		scheduler->spin = several_cpus(scheduler);
		status = start_workers(scheduler, load_relaxed(&scheduler->working));
		if (status == FILAR_OK)
			return FILAR_OK;
		stop_workers(scheduler);
	}
	free_workers(scheduler);
	return status;
}

/* ---- more and fewer ---- */

static enum filar_status start_one_more(struct scheduler *scheduler)
{
	uint32_t index = load_relaxed(&scheduler->started);
	struct worker *worker = &scheduler->workers[index];
	enum filar_status status = start_workers(scheduler, index + 1);

	if (status == FILAR_OK)
		return status;
	/* If it has begun, it could not set itself up, and ends. */
	store_release(&scheduler->started, index);
	scheduler_join_worker(worker);
	return status;
}

enum filar_status scheduler_set_working(struct scheduler *scheduler, uint32_t working)
{
	enum filar_status status = FILAR_OK;

	FILAR_ASSERT(working >= 1 && working <= scheduler->worker_count);
	/* One by one: those before the one that cannot be started rest, until the next attempt. */
	while (load_relaxed(&scheduler->started) < working && status == FILAR_OK)
		status = start_one_more(scheduler);
	if (status != FILAR_OK)
		return status;
	blocking_set_working(scheduler, working);
	futex_wake(&scheduler->working, INT_MAX);
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
	return kthread_is_forked(load_relaxed(&scheduler->workers[0].kthread));
}

void scheduler_deinit(struct scheduler *scheduler)
{
	struct idle_source *source;

	if (!scheduler_is_forked(scheduler)) {
		stop_workers(scheduler);
	} else {
		for (uint32_t i = 0; i < scheduler_made(scheduler); i++) {
			struct kthread *kthread = load_relaxed(&scheduler->workers[i].kthread);

			if (kthread != NULL)
				kthread_release(kthread);
		}
		if (scheduler->blocking.watch.kthread != NULL)
			kthread_release(scheduler->blocking.watch.kthread);
	}
	source = load_relaxed(&scheduler->idle.source);
	if (source != NULL && source->destroy != NULL)
		source->destroy(source);
	free_workers(scheduler);
}

/* ---- work from outside, deadlines ---- */

void scheduler_ready_pinned(struct worker *worker, struct work *work)
{
	struct worker *home = work->home;

	if (home == worker) {
		pinned_push_next(&home->pinned, work);
		return;
	}
	pinned_lock(&home->pinned);
	if (pinned_send_locked(&home->pinned, work))
		idle_wake_worker(&home->scheduler->idle, home->index);
	/* Nothing of the scheduler is touched after this. */
	pinned_unlock(&home->pinned);
}

void scheduler_submit(struct scheduler *scheduler, struct work *work)
{
	struct work_chain chain = { 0 };

	if (work->home != NULL) {
		scheduler_ready_pinned(NULL, work);
		return;
	}
	/* Not past what is in the queue: one that submits two finds the second behind the first. */
	if (inject_count(&scheduler->inject) == 0 && mailbox_post(&scheduler->mailbox, work))
		return;
	work_chain_push(&chain, work);
	inject_lock(&scheduler->inject);
	inject_push_locked(&scheduler->inject, &chain);
	idle_wake_one(&scheduler->idle);
	/* Nothing of the scheduler is touched after this. */
	inject_unlock(&scheduler->inject);
}

/* The own queue is full. */
void scheduler_ready_slow(struct worker *worker, struct work *work)
{
	worker_push(worker, work);
	idle_wake_one(&worker->scheduler->idle);
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
		"resting", "retired", "ended" };

	return doing < FILAR_COUNT_OF(names) ? names[doing] : "?";
}

void scheduler_read_counters(struct scheduler *scheduler, struct counters *sum)
{
	memset(sum, 0, sizeof *sum);
	for (uint32_t i = 0; i < scheduler_made(scheduler); i++) {
		struct counters *one = &scheduler->workers[i].counters;

#define X(name) store_relaxed(&sum->name, load_relaxed(&sum->name) + load_relaxed(&one->name));
		WORKER_COUNTERS(X)
#undef X
	}
}

static void dump_blocking(struct blocking *blocking, int fd)
{
	enum filar_status refusal = (enum filar_status)load_relaxed(&blocking->refusal);

	dprintf(fd,
		"blocking: %u workers active, %llu relieved (%llu of them stuck), %llu came back, "
		"%llu spares started, %llu retired",
		load_relaxed(&blocking->active),
		(unsigned long long)load_relaxed(&blocking->relieved),
		(unsigned long long)load_relaxed(&blocking->stuck),
		(unsigned long long)load_relaxed(&blocking->resumed),
		(unsigned long long)load_relaxed(&blocking->started),
		(unsigned long long)load_relaxed(&blocking->retired_count));
	if (refusal != FILAR_OK)
		dprintf(fd, ", none to be had %llu times (the last: %s)",
			(unsigned long long)load_relaxed(&blocking->refused),
			filar_status_sentence(refusal));
	dprintf(fd, "%s\n",
		load_relaxed(&blocking->watch.mood) == WATCH_OFF ? ", no watcher runs" : "");
}

int scheduler_describe_piece(struct worker *worker, char *text, size_t bytes)
{
	int64_t since_ns = load_relaxed(&worker->seen_since_ns);
	bool section = (load_relaxed(&worker->section) & 1) != 0;
	bool relieved = load_relaxed(&worker->relief) != RELIEF_NONE;

	text[0] = '\0';
	if (load_relaxed(&worker->doing) != WORKER_RUNNING || (since_ns == 0 && !section))
		return 0;
	return snprintf(text, bytes, ", %s for %lld ms%s",
		section ? "in a blocking call" : "in one piece of work",
		since_ns == 0 ? 0LL : (long long)((clock_now_ns() - since_ns) / NS_PER_MS),
		relieved ? ", relieved" : "");
}

static void dump_worker(struct worker *worker, int fd)
{
	char piece[80];

	(void)scheduler_describe_piece(worker, piece, sizeof piece);
	dprintf(fd, "worker %u: %s%s%s, %llu queued%s", worker->index,
		worker_doing_name(load_relaxed(&worker->doing)), worker->spare ? " (spare)" : "",
		piece,
		(unsigned long long)runq_length(&worker->runq) +
			(unsigned long long)deque_length(&worker->spawners),
		load_relaxed(&worker->next) != NULL ? " and one next" : "");
	if (load_relaxed(&worker->pinned.count) > 0)
		dprintf(fd, ", %llu in its inbox",
			(unsigned long long)load_relaxed(&worker->pinned.count));
	if (worker->cpu >= 0)
		dprintf(fd, ", pinned to CPU %d", worker->cpu);
#define X(name)                                                                                    \
	dprintf(fd, ", %llu " #name, (unsigned long long)load_relaxed(&worker->counters.name));
	WORKER_COUNTERS(X)
#undef X
	dprintf(fd, "\n");
}

void scheduler_dump(struct scheduler *scheduler, int fd)
{
	uint64_t word = load_relaxed(&scheduler->idle.word);
	int64_t earliest = deadlines_earliest(&scheduler->deadlines);

	dprintf(fd, "scheduler: %u workers, %u searching, %u sleeping, %llu in the inject queue",
		scheduler->worker_count, IDLE_SEARCHING(word), IDLE_SLEEPING(word),
		(unsigned long long)inject_count(&scheduler->inject));
	if (load_relaxed(&scheduler->asides) > 0)
		dprintf(fd, ", %llu woken aside",
			(unsigned long long)load_relaxed(&scheduler->asides));
	if (earliest != DEADLINE_NEVER)
		dprintf(fd, ", next deadline in %lld us",
			(long long)((earliest - clock_now_ns()) / NS_PER_US));
	dprintf(fd, "%s%s\n", load_relaxed(&scheduler->closing) ? ", closing" : "",
		load_relaxed(&scheduler->stopping) ? ", stopping" : "");
	if (scheduler_has_spares(scheduler))
		dump_blocking(&scheduler->blocking, fd);
	for (uint32_t i = 0; i < scheduler_made(scheduler); i++)
		dump_worker(&scheduler->workers[i], fd);
}
