/*
 * runtime.c - starting, looking into and ending a runtime.
 */
#include "green/runtime.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/memory.h"
#include "green/preempt.h"
#include "green/waiter.h"
#include "os/affinity.h"
#include "os/calls.h"
#include "os/clock.h"
#include "os/topology.h"

void runtime_options_init(struct runtime_options *options)
{
	*options = (struct runtime_options){ .guard = STACK_GUARD_BEST,
		.spares_max = RUNTIME_SPARES_DEFAULT,
		.watch_ns = RUNTIME_WATCH_NS_DEFAULT };
}

static struct runtime *runtime_of_scheduler(struct scheduler *scheduler)
{
	return FILAR_CONTAINER_OF(scheduler, struct runtime, scheduler);
}

struct runtime *runtime_of_worker(struct worker *worker)
{
	return worker != NULL ? runtime_of_scheduler(worker->scheduler) : NULL;
}

bool runtime_is_forked(const struct runtime *runtime)
{
	return scheduler_is_forked(&runtime->scheduler);
}

/* ---- hooks of the scheduler ---- */

/* Worker threads have all signals blocked; a fault must reach the handler that names the green
 * thread, which cannot run on the stack that has overflowed. */
static enum filar_status worker_begins(struct worker *worker)
{
	const struct attendant *attendant = runtime_of_scheduler(worker->scheduler)->attendant;
	struct green_local *local = worker->local;
	enum filar_status status;
	sigset_t faults;
	int error;

	if (local == NULL) {
		/* A spare, on its first start or on another try; freed with the runtime. */
		local = memory_acquire_aligned(1, sizeof *local);
		if (local == NULL)
			return status_detail(FILAR_NO_MEMORY, "no memory for a spare worker");
		worker->local = local;
		runtime_of_worker(worker)->local_pointers[worker->index] = local;
	}
	sigemptyset(&faults);
	sigaddset(&faults, SIGSEGV);
	sigaddset(&faults, SIGBUS);
	sigaddset(&faults, SIGFPE);
	sigaddset(&faults, SIGILL);
	if (worker->scheduler->preempt_signal != 0)
		sigaddset(&faults, worker->scheduler->preempt_signal);
	error = call_sigmask(SIG_UNBLOCK, &faults, NULL);
	if (error != 0)
		return status_from_errno(error, "pthread_sigmask");
	status = signal_stack_install(&local->signal_stack);
	if (status != FILAR_OK || attendant == NULL)
		return status;
	status = attendant->begins(worker);
	if (status != FILAR_OK)
		signal_stack_remove(&local->signal_stack);
	return status;
}

static void worker_ends(struct worker *worker)
{
	const struct attendant *attendant = runtime_of_scheduler(worker->scheduler)->attendant;
	struct green_local *local = worker->local;

	if (attendant != NULL)
		attendant->ends(worker);
	signal_stack_remove(&local->signal_stack);
}

/* Ends first, spawns second: if they are equal, nothing was alive in between ("Shutdown"). */
static uint64_t count_live(struct runtime *runtime)
{
	struct scheduler *scheduler = &runtime->scheduler;
	uint64_t ends = 0, spawns = 0;

	/* R3: acquire; pairs with R2: the spawn of whatever ended is visible. */
	for (uint32_t i = 0; i < scheduler_made(scheduler); i++)
		ends += load_acquire(&scheduler->workers[i].counters.ends);
	for (uint32_t i = 0; i < scheduler_made(scheduler); i++)
		spawns += load_relaxed(&scheduler->workers[i].counters.spawns);
	spawns += load_relaxed(&runtime->outside_spawns);
	return spawns - ends;
}

static void check_drained(struct scheduler *scheduler)
{
	struct runtime *runtime = runtime_of_scheduler(scheduler);

	if (count_live(runtime) > 0)
		return;
	/* R1: release; pairs with R4. */
	store_release(&runtime->drained, true);
	eventcount_notify_all(&runtime->drained_event);
}

/* ---- create ---- */

static enum filar_status check_options(const struct runtime_options *options)
{
	if (options->workers > WORKERS_MAX)
		return status_detail(FILAR_INVALID, "a runtime has at most %d workers, not %u",
			WORKERS_MAX, options->workers);
	if (options->stack_bytes > STACK_BYTES_LARGEST)
		return status_detail(FILAR_INVALID,
			"a stack of %zu bytes is too large: a green thread has at most %zu",
			options->stack_bytes, STACK_BYTES_LARGEST);
	if (options->spares_max < RUNTIME_SPARES_DEFAULT || options->spares_max > SPARES_MAX)
		return status_detail(FILAR_INVALID,
			"a runtime has at most %d spare workers, not %d", SPARES_MAX,
			options->spares_max);
	if (options->watch_ns < 0)
		return status_detail(FILAR_INVALID, "a watch of %lld ns is negative",
			(long long)options->watch_ns);
	if (options->preempt_ns < 0 ||
		(options->preempt_ns > 0 && options->preempt_ns < RUNTIME_PREEMPT_NS_MIN))
		return status_detail(FILAR_INVALID,
			"preemption after %lld ns is too often: at least %d",
			(long long)options->preempt_ns, RUNTIME_PREEMPT_NS_MIN);
	if (options->pin == WORKER_PIN_LIST && (options->cpus == NULL || options->cpu_count == 0))
		return status_detail(FILAR_INVALID, "a list of CPUs to pin to needs CPUs");
	if (options->pin == WORKER_PIN_LIST)
		return topology_check_list(options->cpus, options->cpu_count);
	return FILAR_OK;
}

static uint32_t default_workers(void)
{
	struct cpu_mask mask;
	int count = affinity_get(0, &mask) == FILAR_OK ? cpu_mask_count(&mask) : 1;

	return count < 1 ? 1 : count > WORKERS_MAX ? WORKERS_MAX : (uint32_t)count;
}

static uint32_t spares_of(const struct runtime_options *options, uint32_t workers)
{
	if (options->spares_max != RUNTIME_SPARES_DEFAULT)
		return (uint32_t)options->spares_max;
	return workers > 1 ? RUNTIME_SPARES : 0;
}

static enum filar_status allocate_locals(struct runtime *runtime, uint32_t workers, uint32_t spares)
{
	runtime->locals = memory_acquire_aligned(workers, sizeof *runtime->locals);
	runtime->local_pointers = memory_acquire(workers + spares, sizeof *runtime->local_pointers);
	if (runtime->locals == NULL || runtime->local_pointers == NULL) {
		memory_release(runtime->locals);
		memory_release(runtime->local_pointers);
		return status_detail(FILAR_NO_MEMORY, "no memory for %u workers", workers);
	}
	for (uint32_t i = 0; i < workers; i++)
		runtime->local_pointers[i] = &runtime->locals[i];
	return FILAR_OK;
}

/* With those that spares have made for themselves, after the kernel threads have ended. */
static void free_locals(struct runtime *runtime)
{
	const struct scheduler *scheduler = &runtime->scheduler;

	for (uint32_t i = scheduler->worker_count; i < scheduler->worker_limit; i++)
		memory_release(runtime->local_pointers[i]);
	memory_release(runtime->locals);
	memory_release(runtime->local_pointers);
}

static void describe_slot(const struct stack_slot *slot, char *text, size_t bytes)
{
	green_describe((const struct green *)slot, text, bytes);
}

enum filar_status runtime_create(struct runtime **result, const struct runtime_options *options)
{
	struct scheduler_options scheduler_options = { .workers = options->workers,
		.pin = options->pin,
		.cpus = options->cpus,
		.cpu_count = options->cpu_count,
		.name = options->name,
		.watch_ns = options->watch_ns,
		.preempt_ns = options->preempt_ns,
		.preempt_signal = options->preempt_signal,
		.preempt = options->preempt,
		.worker_begins = worker_begins,
		.worker_ends = worker_ends,
		.quiet = check_drained };
	struct runtime *runtime;
	enum filar_status status = check_options(options);

	if (status != FILAR_OK)
		return status;
	if (scheduler_options.workers == 0)
		scheduler_options.workers = default_workers();
	scheduler_options.spares_max = spares_of(options, scheduler_options.workers);
	runtime = memory_acquire_aligned(1, sizeof *runtime);
	if (runtime == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a runtime");
	spinlock_init_ranked(&runtime->outside_lock, RANK_OUTSIDE);
	eventcount_init(&runtime->drained_event);
	runtime->attendant = options->attendant;
	runtime->attended = options->attended;
	atomic_init(&runtime->next_number, 1);
	runtime->class_index = stack_class_index(
		options->stack_bytes > 0 ? options->stack_bytes : GREEN_STACK_BYTES_DEFAULT);
	status = allocate_locals(runtime, scheduler_options.workers, scheduler_options.spares_max);
	if (status != FILAR_OK)
		goto free_runtime;
	status = stack_pool_init(
		&runtime->pool, sizeof(struct green), options->guard, describe_slot);
	if (status != FILAR_OK)
		goto free_locals;
	runtime->preempts = options->preempt_ns > 0 && options->preempt == NULL;
	if (runtime->preempts) {
		status = preempt_begin(&scheduler_options.preempt_signal);
		if (status != FILAR_OK)
			goto deinit_pool;
	}
	status = scheduler_init(&runtime->scheduler, &scheduler_options, runtime->local_pointers);
	if (status != FILAR_OK)
		goto end_preemption;
	*result = runtime;
	return FILAR_OK;
end_preemption:
	if (runtime->preempts)
		preempt_end();
deinit_pool:
	stack_pool_deinit(&runtime->pool);
free_locals:
	free_locals(runtime); /* spares may have run already, for workers that came up */
free_runtime:
	memory_release(runtime);
	return status;
}

/* ---- who is there ---- */

struct census {
	uint32_t state; /* those in it, or GREEN_NONE: all that are neither free nor dead */
	uint64_t count;
	char names[160];
	size_t used;
};

static void take_census(struct stack_slot *slot, void *argument)
{
	struct census *census = argument;
	struct green *green = (struct green *)slot;
	uint32_t state;
	char one[64];
	int length;

	if (load_acquire(&green->number) == 0)
		return;
	state = load_relaxed(&green->state);
	if (census->state == GREEN_DEAD ? state != GREEN_DEAD : state == GREEN_DEAD)
		return;
	census->count++;
	if (census->count > 4)
		return;
	green_describe(green, one, sizeof one);
	length = snprintf(census->names + census->used, sizeof census->names - census->used, "%s%s",
		census->count > 1 ? ", " : "", census->count > 3 ? "..." : one);
	census->used += (size_t)length < sizeof census->names - census->used
				? (size_t)length
				: sizeof census->names - census->used - 1;
}

static struct census census_of(struct runtime *runtime, uint32_t state)
{
	struct census census = { .state = state };

	stack_pool_for_each(&runtime->pool, take_census, &census);
	return census;
}

static void cancel_one(struct stack_slot *slot, void *argument)
{
	struct green *green = (struct green *)slot;
	uint64_t number = load_acquire(&green->number);

	(void)argument;
	if (number != 0 && load_relaxed(&green->state) != GREEN_DEAD)
		(void)green_cancel((struct green_ref){ green, number });
}

void runtime_cancel_all(struct runtime *runtime)
{
	stack_pool_for_each(&runtime->pool, cancel_one, NULL);
}

/* ---- shutdown ---- */

static enum filar_status wait_until_drained(struct runtime *runtime, int64_t deadline_ns)
{
	enum filar_status status = FILAR_OK;

	while (status == FILAR_OK) {
		uint32_t ticket = eventcount_prepare_wait(&runtime->drained_event);

		/* R4: acquire; pairs with R1. */
		if (load_acquire(&runtime->drained)) {
			eventcount_cancel_wait(&runtime->drained_event);
			return FILAR_OK;
		}
		status = eventcount_commit_wait_until(&runtime->drained_event, ticket, deadline_ns);
	}
	return load_acquire(&runtime->drained) ? FILAR_OK : status;
}

enum filar_status runtime_shutdown_until(struct runtime *runtime, int64_t deadline_ns)
{
	struct census census;
	enum filar_status status;

	if (runtime_is_forked(runtime))
		return status_detail(FILAR_FORKED, "the runtime runs in the parent process");
	if (runtime_of_worker(worker_current()) == runtime)
		return status_detail(
			FILAR_DEADLOCK, "a green thread cannot shut down its own runtime");
	spinlock_lock(&runtime->outside_lock);
	runtime->closed = true;
	spinlock_unlock(&runtime->outside_lock);
	scheduler_close(&runtime->scheduler);
	status = wait_until_drained(runtime, deadline_ns);
	census = census_of(runtime, status == FILAR_OK ? GREEN_DEAD : GREEN_NONE);
	if (status == FILAR_OK && census.count > 0)
		return status_detail(FILAR_OK, "%llu ended and were never joined or detached: %s",
			(unsigned long long)census.count, census.names);
	if (status != FILAR_OK)
		return status_detail(status, "%llu have not ended: %s",
			(unsigned long long)census.count, census.names);
	filar_status_detail_clear();
	return FILAR_OK;
}

enum filar_status runtime_destroy(struct runtime *runtime)
{
	if (!runtime_is_forked(runtime) && !load_acquire(&runtime->drained)) {
		struct census census = census_of(runtime, GREEN_NONE);

		return status_detail(FILAR_BUSY,
			"the runtime was not shut down; %llu green threads are alive: %s",
			(unsigned long long)census.count, census.names);
	}
	scheduler_deinit(&runtime->scheduler);
	if (runtime->preempts)
		preempt_end();
	stack_pool_deinit(&runtime->pool);
	free_locals(runtime);
	memory_release(runtime);
	return FILAR_OK;
}

/* ---- looking ---- */

void runtime_read_stats(struct runtime *runtime, struct runtime_stats *stats)
{
	memset(stats, 0, sizeof *stats);
	stats->live = count_live(runtime);
	stats->unjoined = census_of(runtime, GREEN_DEAD).count;
	stats->stacks = stack_pool_carved(&runtime->pool);
	stats->outside_spawns = load_relaxed(&runtime->outside_spawns);
	stats->deadlines_fired = load_relaxed(&runtime->scheduler.deadlines.fired);
	stats->wakes = load_relaxed(&runtime->scheduler.idle.wakes);
	stats->relieved = load_relaxed(&runtime->scheduler.blocking.relieved);
	stats->stuck = load_relaxed(&runtime->scheduler.blocking.stuck);
	stats->spares_started = load_relaxed(&runtime->scheduler.blocking.started);
	stats->spares_refused = load_relaxed(&runtime->scheduler.blocking.refused);
	stats->active = load_relaxed(&runtime->scheduler.blocking.active);
	scheduler_read_counters(&runtime->scheduler, &stats->counters);
}

struct dump {
	struct runtime *runtime;
	int fd;
};

/* Where it runs, and for how long already. */
static void dump_running(struct scheduler *scheduler, struct green *green, int fd)
{
	char piece[80];

	for (uint32_t i = 0; i < scheduler_made(scheduler); i++) {
		struct worker *worker = &scheduler->workers[i];

		if (load_relaxed(&worker->current) != &green->work)
			continue;
		(void)scheduler_describe_piece(worker, piece, sizeof piece);
		dprintf(fd, " on worker %u%s", i, piece);
		return;
	}
}

static void dump_one(struct stack_slot *slot, void *argument)
{
	const struct dump *dump = argument;
	struct green *green = (struct green *)slot;
	uint32_t state = load_relaxed(&green->state);
	char who[64];

	if (load_acquire(&green->number) == 0)
		return;
	green_describe(green, who, sizeof who);
	dprintf(dump->fd, "%s: %s", who, green_state_name(state));
	if (state == GREEN_PARKED)
		dprintf(dump->fd, " (%s)", wait_reason_name(load_relaxed(&green->reason)));
	if (state == GREEN_RUNNING)
		dump_running(&dump->runtime->scheduler, green, dump->fd);
	dprintf(dump->fd, "%s\n", green_is_cancelled(green) ? ", cancelled" : "");
}

void runtime_dump(struct runtime *runtime, int fd)
{
	struct dump dump = { runtime, fd };

	scheduler_dump(&runtime->scheduler, fd);
	stack_pool_for_each(&runtime->pool, dump_one, &dump);
}
