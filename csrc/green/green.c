/*
 * green.c - spawn, yield, join, end.
 */
#include "green/green.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "green/preempt.h"
#include "green/runtime.h"
#include "green/switch.h"
#include "green/waiter.h"
#include "os/clock.h"

_Static_assert(offsetof(struct green, slot) == 0, "a descriptor begins with its slot");
#if !FILAR_ASAN && !FILAR_TSAN
_Static_assert(offsetof(struct green, context) == FILAR_CACHELINE_BYTES &&
		       offsetof(struct green, deadline) <= (size_t)2 * FILAR_CACHELINE_BYTES,
	"what a spawn touches is two lines, what a switch touches one");
#endif

#define NUMBER_BLOCK 1024u

/* ---- who ---- */

struct green *green_self(void)
{
	struct worker *worker = worker_current();
	struct work *current = worker != NULL ? load_relaxed(&worker->current) : NULL;

	if (current == NULL || current->class != &green_work_class)
		return NULL;
	return GREEN_OF(current);
}

struct green_ref green_ref_of(struct green *green)
{
	return (struct green_ref){ green, load_relaxed(&green->number) };
}

static void set_name(struct green *green, const char *name)
{
	uint64_t words[FILAR_COUNT_OF(green->name)] = { 0 };

	store_relaxed(&green->has_name, name != NULL);
	if (name == NULL)
		return;
	memcpy(words, name, strnlen(name, GREEN_NAME_BYTES_MAX));
	for (size_t i = 0; i < FILAR_COUNT_OF(words); i++)
		store_relaxed(&green->name[i], words[i]);
}

void green_read_name(const struct green *green, char *text)
{
	struct green *atomics = (struct green *)green;
	uint64_t words[FILAR_COUNT_OF(green->name)] = { 0 };

	for (size_t i = 0; i < FILAR_COUNT_OF(words) && load_relaxed(&atomics->has_name) != 0; i++)
		words[i] = load_relaxed(&atomics->name[i]);
	memcpy(text, words, sizeof words);
	text[GREEN_NAME_BYTES_MAX] = '\0';
}

void green_describe(const struct green *green, char *text, size_t bytes)
{
	unsigned long long number = load_relaxed(&((struct green *)green)->number);
	char name[GREEN_NAME_BYTES_MAX + 1];

	green_read_name(green, name);
	if (name[0] != '\0')
		snprintf(text, bytes, "green thread %llu \"%s\"", number, name);
	else
		snprintf(text, bytes, "green thread %llu", number);
}

const char *green_state_name(uint32_t state)
{
	static const char *const names[] = { "none", "runnable", "running", "parked", "dead" };

	return state < FILAR_COUNT_OF(names) ? names[state] : "?";
}

const char *wait_reason_name(uint32_t reason)
{
	static const char *const names[] = {
#define X(name, text) text,
		WAIT_REASONS(X)
#undef X
	};

	return reason < WAIT_REASON_COUNT ? names[reason] : "?";
}

void green_pin(struct green *green, void *attended)
{
	green->attended = attended;
	worker_pin(worker_here(), &green->work);
}

void green_unpin(struct green *green)
{
	worker_unpin(worker_here(), &green->work);
}

/* ---- running and leaving ---- */

static void run_on_worker(struct worker *worker, struct work *work)
{
	struct context *to = switch_target(worker, work);

	worker = context_switch(&worker->loop, to, worker);
	switch_settle(worker);
}

const struct work_class green_work_class = { .name = "green", .run = run_on_worker };

void switch_away_attended(
	struct worker *worker, struct green *green, struct work *next, enum leaving how)
{
	const struct attendant *attendant = green->runtime->attendant;

	if (attendant != NULL)
		attendant->leave(green, next);
	switch_registers(worker, green, next, how);
	if (attendant != NULL)
		attendant->arrive(green);
}

void switch_wake_for_yielded(struct worker *worker)
{
	idle_wake_one(&worker->scheduler->idle);
}

/* RUNNING -> DEAD, and if nobody is to join it, the slot is free. */
static void settle_end(struct worker *worker, struct green *green);

void switch_settle_slow(struct worker *worker, struct green *green, uint32_t how)
{
	switch (how) {
	case LEAVING_YIELD:
#if FILAR_HARD
		/* The rare case always: whoever yields goes on elsewhere. */
		if (worker->runq.shared) {
			store_relaxed(&green->state, GREEN_RUNNABLE);
			TRACE(TRACE_GREEN_YIELD, trace_green(worker->scheduler, green), 0,
				worker->place);
			scheduler_submit(worker->scheduler, &green->work);
			return;
		}
#endif
		switch_settle_yield(worker, green);
		return;
	case LEAVING_FORK:
		/* RUNNING -> RUNNABLE: comes back as from a call, unless a thief is faster. */
		store_relaxed(&green->state, GREEN_RUNNABLE);
		TRACE(TRACE_GREEN_YIELD, trace_green(worker->scheduler, green), 0, worker->place);
		scheduler_ready_spawner(worker, &green->work);
		return;
	default:
		FILAR_ASSERT(how == LEAVING_END);
		settle_end(worker, green);
	}
}

void green_yield(void)
{
	struct worker *worker = worker_current();
	struct work *current = worker != NULL ? load_relaxed(&worker->current) : NULL, *next;

	if (current == NULL || current->class != &green_work_class) {
		sched_yield();
		return;
	}
	next = worker_pick(worker);
	if (next == NULL)
		return;
	COUNTER_ADD(worker, yields, 1);
	switch_away(worker, GREEN_OF(current), next, LEAVING_YIELD);
}

/* ---- the life of a green thread ---- */

/*
 * The joiner of a green thread that is about to end, if it is parked here: it runs next, and does
 * the rest of the end (settle_end) as its first thing.  That saves the way through the worker's
 * loop. Claiming it first keeps a joiner whose deadline passes from leaving.
 */
static struct work *take_joiner(struct worker *worker, struct green *green)
{
	struct waiter *waiter = load_acquire(&green->joiner);
	struct green *joiner;

	if (waiter == NULL || waiter == JOINER_DETACHED ||
		!cas_acq_rel(&green->joiner, &waiter, JOINER_WOKEN))
		return NULL;
	joiner = waiter_take_parked(waiter, worker);
	if (joiner != NULL)
		return &joiner->work;
	/* Elsewhere, or still on its way: settle_end() wakes it. */
	store_release(&green->joiner, waiter);
	return NULL;
}

static void entry(void *transfer, void *argument)
{
	struct green *green = argument;
	struct worker *worker = transfer;
	struct work *next;

	switch_settle(worker);
	if (FILAR_UNLIKELY(green->preemptible))
		preempt_body_begins(green);
	green->body(green->argument);
	if (FILAR_UNLIKELY(green->preemptible))
		preempt_body_ends(green);
	worker = worker_here(); /* the body may have moved */
	if (worker == NULL)
		exit(0); /* the child of a fork: its only kernel thread has come to its end */
	next = take_joiner(worker, green);
	if (next == NULL)
		next = worker_pick(worker);
	worker->leaving = &green->work;
	worker->leaving_how = LEAVING_END;
	context_switch_last(&green->context, switch_target(worker, next), worker);
}

static uint64_t take_number(struct runtime *runtime, struct green_local *local)
{
	if (local->number == local->number_end) {
		local->number = fetch_add_relaxed(&runtime->next_number, NUMBER_BLOCK);
		local->number_end = local->number + NUMBER_BLOCK;
	}
	return local->number++;
}

/* A runnable green thread that is on no queue yet. */
static enum filar_status make(struct green **result, struct runtime *runtime,
	struct green_local *local, const struct green_options *options, green_body *body,
	void *argument)
{
	uint32_t class_index = options->stack_bytes == 0 ? runtime->class_index
							 : stack_class_index(options->stack_bytes);
	struct stack_slot *slot;
	struct green *green;
	enum filar_status status = stack_acquire(&slot, &runtime->pool, &local->cache, class_index);

	if (status != FILAR_OK)
		return status;
	green = (struct green *)slot;
	green->work.class = &green_work_class;
	green->work.home = NULL;
	/* Whoever has an old handle may be looking. */
	if (green->runtime != runtime)
		green->runtime = runtime;
	green->body = body;
	green->argument = argument;
	store_relaxed(&green->state, GREEN_RUNNABLE);
	store_relaxed(&green->joiner, options->detached ? JOINER_DETACHED : NULL);
	set_name(green, options->name);
	preempt_init(green, options->preemptible && runtime->preempts);
	context_init(&green->context, slot->low, (size_t)((char *)green - (char *)slot->low), entry,
		green);
	/* N1: release: a handle's holder sees the above.  Pairs with N2. */
	store_release(&green->number, take_number(runtime, local));
	*result = green;
	return FILAR_OK;
}

uint64_t trace_runner(struct worker *worker)
{
	struct work *current = worker != NULL ? load_relaxed(&worker->current) : NULL;

	if (current == NULL || current->class != &green_work_class)
		return 0;
	return trace_green(worker->scheduler, GREEN_OF(current));
}

static FILAR_NOINLINE void trace_spawn(struct green *green, struct runtime *runtime,
	struct worker *worker, uint64_t spawner, const char *name)
{
	uint64_t id = trace_green(&runtime->scheduler, green);

	tracepoint_emit_slow(TRACE_GREEN_SPAWN, id, spawner, worker != NULL ? worker->place : 0);
	if (name != NULL)
		tracepoint_emit_text_slow(TRACE_GREEN_NAME, id, name);
}

static void give_ref(struct green_ref *ref, struct green *green)
{
	if (ref != NULL)
		*ref = green_ref_of(green);
}

static enum filar_status spawn_inside(struct green_ref *ref, struct worker *worker,
	struct runtime *runtime, const struct green_options *options, green_body *body,
	void *argument)
{
	struct work *current = load_relaxed(&worker->current);
	struct green *green;
	enum filar_status status = make(&green, runtime, worker->local, options, body, argument);

	if (status != FILAR_OK)
		return status;
	give_ref(ref, green);
	if (tracepoint_is_on())
		trace_spawn(green, runtime, worker, trace_runner(worker), options->name);
	COUNTER_ADD(worker, spawns, 1);
	if (options->run_first && current != NULL && current->class == &green_work_class)
		switch_away(worker, GREEN_OF(current), &green->work, LEAVING_FORK);
	else
		scheduler_ready(worker, &green->work);
	return FILAR_OK;
}

static enum filar_status check_open_locked(const struct runtime *runtime)
{
	return runtime->closed ? status_detail(FILAR_WRONG_STATE, "the runtime is shut down")
			       : FILAR_OK;
}

static enum filar_status spawn_outside(struct green_ref *ref, struct runtime *runtime,
	const struct green_options *options, green_body *body, void *argument)
{
	struct green *green;
	enum filar_status status;

	spinlock_lock(&runtime->outside_lock);
	status = check_open_locked(runtime);
	if (status != FILAR_OK)
		goto unlock;
	status = make(&green, runtime, &runtime->outside, options, body, argument);
	if (status != FILAR_OK)
		goto unlock;
	give_ref(ref, green);
	if (tracepoint_is_on())
		trace_spawn(green, runtime, NULL, trace_runner(worker_current()), options->name);
	fetch_add_relaxed(&runtime->outside_spawns, 1);
	scheduler_submit(&runtime->scheduler, &green->work);
unlock:
	spinlock_unlock(&runtime->outside_lock);
	return status;
}

static enum filar_status too_large(size_t stack_bytes)
{
	return status_detail(FILAR_INVALID,
		"a stack of %zu bytes is too large: a green thread has at most %zu", stack_bytes,
		STACK_BYTES_LARGEST);
}

enum filar_status green_spawn(struct green_ref *ref, struct runtime *runtime,
	const struct green_options *options, green_body *body, void *argument)
{
	struct green_options plain = { .detached = ref == NULL };
	struct worker *worker = worker_current();

	FILAR_ASSERT(body != NULL);
	if (options != NULL)
		plain = *options;
	plain.detached |= ref == NULL;
	if (plain.stack_bytes > STACK_BYTES_LARGEST)
		return too_large(plain.stack_bytes);
	if (worker != NULL && worker->scheduler == &runtime->scheduler)
		return spawn_inside(ref, worker, runtime, &plain, body, argument);
	if (runtime_is_forked(runtime))
		return status_detail(FILAR_FORKED, "the runtime runs in the parent process");
	return spawn_outside(ref, runtime, &plain, body, argument);
}

/* ---- the end ---- */

/* DEAD -> NONE.  The slot goes to the cache of whoever gives it back. */
static void release(struct green *green)
{
	struct runtime *runtime = green->runtime;
	struct worker *worker = worker_current();

	store_relaxed(&green->state, GREEN_NONE);
	store_release(&green->number, 0);
	if (worker != NULL && worker->scheduler == &runtime->scheduler) {
		struct green_local *local = worker->local;

		stack_release_slot(&runtime->pool, &local->cache, &green->slot);
		return;
	}
	spinlock_lock(&runtime->outside_lock);
	stack_release_slot(&runtime->pool, &runtime->outside.cache, &green->slot);
	spinlock_unlock(&runtime->outside_lock);
}

/* R2: release; pairs with R3 in runtime.c.  The last thing: see "Shutdown". */
static void count_end(struct worker *worker)
{
	store_release(&worker->counters.ends, load_relaxed(&worker->counters.ends) + 1);
}

static void settle_end(struct worker *worker, struct green *green)
{
	struct waiter *joiner;

	context_deinit(&green->context);
	TRACE(TRACE_GREEN_END, trace_green(worker->scheduler, green), 0, worker->place);
	store_relaxed(&green->state, GREEN_DEAD);
	/* J1: release, all that the body did; pairs with J2.  A joiner that is there has waited for
	 * this; one that comes later finds ENDED, and then the green thread is the joiner's. */
	if (load_relaxed(&green->joiner) == JOINER_WOKEN) {
		/* Only we leave this state; we stand on the joiner's stack. */
		store_release(&green->joiner, JOINER_ENDED);
	} else {
		joiner = exchange_acq_rel(&green->joiner, JOINER_ENDED);
		if (joiner == JOINER_DETACHED)
			release(green);
		else if (joiner != NULL)
			waiter_wake(joiner);
	}
	count_end(worker);
}

/* ---- those that get their stack when they begin ---- */

/* On the worker's own stack. */
static void run_late(struct worker *worker, struct work *work)
{
	struct green_late *late = FILAR_CONTAINER_OF(work, struct green_late, work);
	struct runtime *runtime = late->runtime;
	struct green_options options = { .stack_bytes = late->stack_bytes, .detached = true };
	struct green *green;
	enum filar_status status =
		make(&green, runtime, worker->local, &options, runtime->attendant->late_body, late);

	if (FILAR_UNLIKELY(status != FILAR_OK)) {
		runtime->attendant->late_failed(late, status);
		count_end(worker);
		return;
	}
	if (tracepoint_is_on())
		trace_spawn(green, runtime, worker, late->spawner, NULL);
	run_on_worker(worker, &green->work);
}

static const struct work_class late_class = { .name = "green to be", .run = run_late };

static enum filar_status spawn_late_outside(struct green_late *late)
{
	struct runtime *runtime = late->runtime;
	enum filar_status status;

	if (runtime_is_forked(runtime))
		return status_detail(FILAR_FORKED, "the runtime runs in the parent process");
	spinlock_lock(&runtime->outside_lock);
	status = check_open_locked(runtime);
	if (status == FILAR_OK) {
		fetch_add_relaxed(&runtime->outside_spawns, 1);
		scheduler_submit(&runtime->scheduler, &late->work);
	}
	spinlock_unlock(&runtime->outside_lock);
	return status;
}

enum filar_status green_spawn_late(struct green_late *late)
{
	struct worker *worker = worker_current();

	FILAR_ASSERT(late->runtime->attendant != NULL);
	if (late->stack_bytes > STACK_BYTES_LARGEST)
		return too_large(late->stack_bytes);
	late->work = (struct work){ .class = &late_class };
	late->spawner = tracepoint_is_on() ? trace_runner(worker) : 0;
	if (worker == NULL || worker->scheduler != &late->runtime->scheduler)
		return spawn_late_outside(late);
	COUNTER_ADD(worker, spawns, 1);
	scheduler_ready(worker, &late->work);
	return FILAR_OK;
}

/* ---- joining ---- */

static enum filar_status check_ref(struct green_ref ref)
{
	/* N2: acquire; pairs with N1. */
	if (ref.number != 0 && load_acquire(&ref.green->number) == ref.number) {
		if (runtime_is_forked(ref.green->runtime))
			return status_detail(
				FILAR_FORKED, "the green thread runs in the parent process");
		return FILAR_OK;
	}
	return status_detail(FILAR_WRONG_STATE, "green thread %llu was joined or detached before",
		(unsigned long long)ref.number);
}

/* The green thread has not ended yet: waits for it.  FILAR_OK: it has. */
static enum filar_status wait_for_end(struct green *green, struct green *self, int64_t deadline_ns)
{
	struct waiter waiter, *found = NULL;
	enum filar_status status;

	waiter_init_for(&waiter, self);
	if (!cas_acq_rel(&green->joiner, &found, &waiter)) {
		waiter_abandon(&waiter);
		if (found == JOINER_ENDED)
			return FILAR_OK;
		if (found == JOINER_DETACHED)
			return status_detail(FILAR_WRONG_STATE, "the green thread is detached");
		return status_detail(FILAR_BUSY, "another thread is joining this green thread");
	}
	status = waiter_wait_until(&waiter, deadline_ns, WAIT_JOIN, WAIT_CANCELLABLE);
	if (status == FILAR_OK)
		return FILAR_OK;
	found = &waiter;
	if (cas_acq_rel(&green->joiner, &found, NULL))
		return status;
	/* It ended just now and is about to wake us. */
	return waiter_wait_until(&waiter, DEADLINE_NEVER, WAIT_JOIN, WAIT_SHIELDED);
}

enum filar_status green_join_until(struct green_ref ref, int64_t deadline_ns)
{
	enum filar_status status = check_ref(ref);
	struct green *self = green_self();

	if (status != FILAR_OK)
		return status;
	if (ref.green == self)
		return status_detail(FILAR_DEADLOCK, "a green thread cannot join itself");
	/* J2: acquire; pairs with J1. */
	if (load_acquire(&ref.green->joiner) != JOINER_ENDED) {
		status = wait_for_end(ref.green, self, deadline_ns);
		if (status != FILAR_OK)
			return status;
	}
	release(ref.green);
	return FILAR_OK;
}

enum filar_status green_detach(struct green_ref ref)
{
	enum filar_status status = check_ref(ref);
	struct waiter *found = NULL;

	if (status != FILAR_OK)
		return status;
	if (cas_acq_rel(&ref.green->joiner, &found, JOINER_DETACHED))
		return FILAR_OK;
	if (found == JOINER_ENDED)
		release(ref.green);
	else if (found == JOINER_DETACHED)
		return status_detail(FILAR_WRONG_STATE, "the green thread is detached already");
	else
		return status_detail(FILAR_BUSY, "another thread is joining this green thread");
	return FILAR_OK;
}

/* ---- cancelling, sleeping ---- */

enum filar_status green_cancel(struct green_ref ref)
{
	enum filar_status status = check_ref(ref);

	if (status != FILAR_OK)
		return status;
	/* With its number: should the slot be another's by now, that one is not cancelled. */
	store_seq_cst(&ref.green->cancel_number, ref.number);
	waiter_cancel_green(ref.green);
	return FILAR_OK;
}

bool green_is_cancelled(const struct green *green)
{
	struct green *atomics = (struct green *)green;

	return load_seq_cst(&atomics->cancel_number) == load_relaxed(&atomics->number);
}

enum filar_status green_sleep_until(int64_t deadline_ns)
{
	struct waiter waiter;
	enum filar_status status;

	waiter_init(&waiter);
	status = waiter_wait_until(&waiter, deadline_ns, WAIT_SLEEP, WAIT_CANCELLABLE);
	FILAR_CHECK(status != FILAR_OK); /* nobody knows the waiter */
	waiter_abandon(&waiter);
	return status == FILAR_TIMED_OUT ? FILAR_OK : status;
}
