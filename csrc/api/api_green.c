/*
 * api_green.c - the public runtimes and green threads: check the arguments, call down.
 */
#include "filar.h"
#include "green/preempt.h"
#include "green/runtime.h"

static struct runtime *inner(filar_runtime *runtime)
{
	return (struct runtime *)runtime;
}

static struct green_ref inner_ref(filar_green green)
{
	return (struct green_ref){ green.green, green.green != NULL ? green.number : 0 };
}

static enum filar_status no_runtime(void)
{
	return status_detail(FILAR_INVALID, "no runtime");
}

_Static_assert((int)FILAR_WORKERS_NOT_PINNED == WORKER_PIN_NONE, "one meaning");
_Static_assert((int)FILAR_WORKERS_COMPACT == WORKER_PIN_COMPACT, "one meaning");
_Static_assert((int)FILAR_WORKERS_SCATTER == WORKER_PIN_SCATTER, "one meaning");
_Static_assert((int)FILAR_SPARES_DEFAULT == RUNTIME_SPARES_DEFAULT, "one meaning");
_Static_assert((int)FILAR_WORKERS_LIST == WORKER_PIN_LIST, "one meaning");

void filar_runtime_options_init(filar_runtime_options *options)
{
	if (options != NULL)
		*options = (filar_runtime_options){ .spare_workers_max = FILAR_SPARES_DEFAULT,
			.watch_ns = RUNTIME_WATCH_NS_DEFAULT };
}

int filar_runtime_create(filar_runtime **runtime, const filar_runtime_options *options)
{
	PREEMPT_GUARD();
	struct runtime_options inside;

	if (runtime == NULL)
		return status_detail(FILAR_INVALID, "a runtime needs a place for its handle");
	runtime_options_init(&inside);
	if (options != NULL) {
		if (options->pin < FILAR_WORKERS_NOT_PINNED || options->pin > FILAR_WORKERS_LIST)
			return status_detail(
				FILAR_INVALID, "unknown way to pin workers: %d", options->pin);
		inside.workers = options->workers;
		inside.pin = (enum worker_pin)options->pin;
		inside.cpus = options->cpus;
		inside.cpu_count = options->cpu_count;
		inside.stack_bytes = options->stack_bytes;
		inside.name = options->name;
		inside.spares_max = options->spare_workers_max;
		inside.watch_ns = options->watch_ns;
		inside.preempt_ns = options->preempt_ns;
		inside.preempt_signal = options->preempt_signal;
	}
	return runtime_create((struct runtime **)runtime, &inside);
}

int filar_runtime_shutdown_until(filar_runtime *runtime, int64_t deadline_ns)
{
	PREEMPT_GUARD();

	return runtime != NULL ? runtime_shutdown_until(inner(runtime), deadline_ns) : no_runtime();
}

int filar_runtime_destroy(filar_runtime *runtime)
{
	PREEMPT_GUARD();

	return runtime != NULL ? runtime_destroy(inner(runtime)) : no_runtime();
}

int filar_runtime_cancel_all(filar_runtime *runtime)
{
	PREEMPT_GUARD();

	if (runtime == NULL)
		return no_runtime();
	if (runtime_is_forked(inner(runtime)))
		return status_detail(FILAR_FORKED, "the runtime runs in the parent process");
	runtime_cancel_all(inner(runtime));
	return FILAR_OK;
}

int filar_runtime_read_stats(filar_runtime *runtime, filar_runtime_stats *stats)
{
	PREEMPT_GUARD();
	struct runtime_stats inside;

	if (runtime == NULL || stats == NULL)
		return status_detail(FILAR_INVALID, "statistics need a runtime and a place");
	runtime_read_stats(inner(runtime), &inside);
	*stats = (filar_runtime_stats){ .workers = inner(runtime)->scheduler.worker_count,
		.live = inside.live,
		.unjoined = inside.unjoined,
		.stacks = inside.stacks,
		.spawned = load_relaxed(&inside.counters.spawns) + inside.outside_spawns,
		.ended = load_relaxed(&inside.counters.ends),
		.yields = load_relaxed(&inside.counters.yields),
		.parks = load_relaxed(&inside.counters.parks),
		.steals = load_relaxed(&inside.counters.steals),
		.stolen = load_relaxed(&inside.counters.stolen),
		.worker_sleeps = load_relaxed(&inside.counters.sleeps),
		.worker_wakes = inside.wakes,
		.deadlines_fired = inside.deadlines_fired,
		.blocking_calls = load_relaxed(&inside.counters.sections),
		.workers_relieved = inside.relieved,
		.workers_stuck = inside.stuck,
		.spares_started = inside.spares_started,
		.spares_refused = inside.spares_refused,
		.preemptions = load_relaxed(&inside.counters.preemptions) };
	return FILAR_OK;
}

int filar_runtime_dump(filar_runtime *runtime, int fd)
{
	PREEMPT_GUARD();

	if (runtime == NULL || fd < 0)
		return status_detail(FILAR_INVALID, "a dump needs a runtime and a file descriptor");
	runtime_dump(inner(runtime), fd);
	return FILAR_OK;
}

int filar_green_spawn(filar_green *green, filar_runtime *runtime,
	const filar_green_options *options, filar_green_body body, void *argument)
{
	PREEMPT_GUARD();
	struct green_options inside = { 0 };
	struct green_ref ref = { 0 };
	enum filar_status status;

	if (runtime == NULL)
		return no_runtime();
	if (body == NULL)
		return status_detail(FILAR_INVALID, "a green thread needs a body");
	if (options != NULL)
		inside = (struct green_options){ .name = options->name,
			.stack_bytes = options->stack_bytes,
			.detached = options->detached,
			.preemptible = options->preemptible };
	status = green_spawn(green != NULL ? &ref : NULL, inner(runtime), &inside, body, argument);
	if (green != NULL)
		*green = (filar_green){ ref.green, ref.number };
	return status;
}

int filar_green_join_until(filar_green green, int64_t deadline_ns)
{
	PREEMPT_GUARD();

	return green_join_until(inner_ref(green), deadline_ns);
}

int filar_green_detach(filar_green green)
{
	PREEMPT_GUARD();

	return green_detach(inner_ref(green));
}

int filar_green_cancel(filar_green green)
{
	PREEMPT_GUARD();

	return green_cancel(inner_ref(green));
}

void filar_green_yield(void)
{
	PREEMPT_GUARD();

	green_yield();
}

int filar_green_sleep_until(int64_t deadline_ns)
{
	PREEMPT_GUARD();

	return green_sleep_until(deadline_ns);
}

filar_green filar_green_self(void)
{
	PREEMPT_GUARD();
	struct green *self = green_self();

	if (self == NULL)
		return (filar_green){ 0 };
	return (filar_green){ self, green_ref_of(self).number };
}

bool filar_green_is_cancelled(void)
{
	PREEMPT_GUARD();
	struct green *self = green_self();

	return self != NULL && green_is_cancelled(self);
}

void filar_blocking_begin(void)
{
	PREEMPT_GUARD();

	blocking_begin();
}

void filar_blocking_end(void)
{
	PREEMPT_GUARD();

	blocking_end();
}

void filar_preempt_disable(void)
{
	(void)preempt_disable();
}

void filar_preempt_enable(void)
{
	struct green *self = preempt_disable();

	/* Once for our own disable; once for the caller's, unless that is one too many. */
	if (self != NULL && load_relaxed(&self->preempt_off) > 1)
		preempt_enable(self);
	preempt_enable(self);
}
