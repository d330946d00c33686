/*
 * ways_create.c - what it costs to create a kernel thread and to join it.
 *
 * Plain pthreads, not kthread.c: the claim is about the system's threads.  One operation is
 * create + first instruction + join, one after the other.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/memory.h"
#include "kthread/raw.h"
#include "lab/crew.h"
#include "lab/herd.h"
#include "lab/registry.h"
#include "os/affinity.h"
#include "os/calls.h"
#include "os/clock.h"
#include "os/memory.h"

enum { PARAM_STACK_BYTES, PARAM_OWN_STACK, PARAM_CHILD_CPU, PARAM_DRIVER_FREE };

#define SETTLE_COUNT 20

struct create_state {
	pthread_attr_t attributes;    /* I  after setup */
	void *stack;                  /* I  the reused stack, or NULL */
	size_t stack_bytes;           /* I */
	struct cpu_mask all;          /* I  every CPU the process may use */
	int64_t first_instruction_ns; /* S  the child's until joined */
	int32_t child_cpu;            /* S  likewise: where that was */
};

static void *child(void *pointer)
{
	struct create_state *state = pointer;

	state->first_instruction_ns = clock_now_ns();
	state->child_cpu = affinity_current_cpu();
	return NULL;
}

static void teardown_create(struct way_run *run)
{
	struct create_state *state = run->state;

	if (state == NULL)
		return;
	pthread_attr_destroy(&state->attributes);
	if (state->stack != NULL)
		(void)munmap(state->stack, state->stack_bytes);
	memory_release(state);
}

static enum filar_status setup_create(struct way_run *run)
{
	struct create_state *state = way_acquire_state(run, sizeof *state);
	int32_t child_cpu = (int32_t)run->params[PARAM_CHILD_CPU];
	struct cpu_mask mask;
	enum filar_status status;
	int error;

	if (state == NULL)
		return FILAR_NO_MEMORY;
	pthread_attr_init(&state->attributes);
	state->stack_bytes = (size_t)run->params[PARAM_STACK_BYTES];
	if (run->params[PARAM_OWN_STACK] != 0) {
		state->stack = call_mmap(NULL, state->stack_bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
		if (state->stack == MAP_FAILED) {
			state->stack = NULL;
			return status_from_errno(errno, "mmap of a stack");
		}
		error = pthread_attr_setstack(&state->attributes, state->stack, state->stack_bytes);
	} else {
		error = state->stack_bytes != 0
				? pthread_attr_setstacksize(&state->attributes, state->stack_bytes)
				: 0;
	}
	if (error != 0)
		return status_from_errno(error, "thread attributes");
	if (child_cpu >= 0) {
		status = cpu_mask_from_list(&mask, &child_cpu, 1);
		if (status != FILAR_OK)
			return status;
		pthread_attr_setaffinity_np(&state->attributes, mask.bytes, mask.bits);
	}
	/* The process's own CPUs, not the driver's one: what "unpinned" means. */
	return affinity_get((int32_t)getpid(), &state->all);
}

/*
 * Unpins the driver, and creates some threads that do not count.  A program that never pinned
 * settles with its children on one CPU or on two, as load has it; one just let loose is still on
 * its way there.  With none or four of these the default was a fifth dearer than in a plain program
 * on a busy machine; with twenty they agree (tests/agreement).
 */
static enum filar_status let_loose(struct create_state *state)
{
	pthread_t thread;

	(void)affinity_set(0, &state->all);
	for (int i = 0; i < SETTLE_COUNT; i++) {
		int error = call_thread_create(&thread, &state->attributes, child, state);

		if (error != 0)
			return status_from_errno(error, "pthread_create");
		pthread_join(thread, NULL);
	}
	return FILAR_OK;
}

static enum filar_status sample_create(struct way_run *run)
{
	struct create_state *state = run->state;
	double create_ns = 0, first_ns = 0;
	int64_t start, now, begun;
	enum filar_status status;
	uint32_t elsewhere = 0;
	pthread_t thread;
	int32_t cpu;
	int error;

	if (run->params[PARAM_DRIVER_FREE] != 0) {
		status = let_loose(state);
		if (status != FILAR_OK)
			return status;
	}
	start = clock_now_ns();
	for (uint32_t i = 0; i < run->batch; i++) {
		begun = clock_now_ns();
		error = call_thread_create(&thread, &state->attributes, child, state);
		if (error != 0)
			return status_from_errno(error, "pthread_create");
		now = clock_now_ns();
		cpu = affinity_current_cpu();
		pthread_join(thread, NULL);
		elsewhere += state->child_cpu != cpu;
		create_ns += (double)(now - begun);
		first_ns += (double)(state->first_instruction_ns - begun);
	}
	run->values[0] = (double)(clock_now_ns() - start) / run->batch;
	run->values[1] = create_ns / run->batch;
	run->values[2] = first_ns / run->batch;
	run->values[3] = 100.0 * elsewhere / run->batch;
	return FILAR_OK;
}

/* ---- clone-create: what a pthread is made of, without glibc's share ---- */

static enum filar_status setup_clone(struct way_run *run)
{
	struct stack *stack = way_acquire_state(run, sizeof *stack);

	if (stack == NULL)
		return FILAR_NO_MEMORY;
	return stack_reserve(stack, (size_t)run->params[0], page_bytes(), STACK_GUARD_MPROTECT);
}

static void teardown_clone(struct way_run *run)
{
	struct stack *stack = run->state;

	if (stack != NULL && stack->low != NULL)
		stack_release(stack);
	memory_release(stack);
}

static enum filar_status sample_clone(struct way_run *run)
{
	const struct stack *stack = run->state;
	double create_ns = 0;
	int64_t start = clock_now_ns(), begun;
	enum filar_status status;

	for (uint32_t i = 0; i < run->batch; i++) {
		struct raw_thread thread;

		begun = clock_now_ns();
		status = raw_thread_start(&thread, stack->low, stack->bytes, RAW_EXIT);
		if (status != FILAR_OK)
			return status;
		create_ns += (double)(clock_now_ns() - begun);
		do
			status = raw_thread_wait_until(&thread, DEADLINE_NEVER);
		while (status == FILAR_INTERRUPTED);
	}
	run->values[0] = (double)(clock_now_ns() - start) / run->batch;
	run->values[1] = create_ns / run->batch;
	return FILAR_OK;
}

/* ---- kthread-alive: the same with many others asleep ---- */

static enum filar_status setup_alive(struct way_run *run)
{
	enum filar_status status = param_check("alive", run->params[0], 0, CREW_MAX);
	struct herd *herd;

	if (status != FILAR_OK)
		return status;
	herd = way_acquire_state(run, sizeof *herd);
	if (herd == NULL)
		return FILAR_NO_MEMORY;
	return herd_create(herd, (uint32_t)run->params[0], (size_t)run->params[1], run);
}

static void teardown_alive(struct way_run *run)
{
	if (run->state != NULL)
		herd_destroy(run->state);
	memory_release(run->state);
}

static void *empty_child(void *unused)
{
	return unused;
}

/* values[1] is for threads on new stacks: those of the herd; the others reuse the stack of the one
 * before. */
static enum filar_status sample_alive(struct way_run *run)
{
	const struct herd *herd = run->state;
	int64_t start = clock_now_ns();

	for (uint32_t i = 0; i < run->batch; i++) {
		pthread_t thread;
		int error = call_thread_create(&thread, NULL, empty_child, NULL);

		if (error != 0)
			return status_from_errno(error, "pthread_create");
		pthread_join(thread, NULL);
	}
	run->values[0] = (double)(clock_now_ns() - start) / run->batch;
	if (herd->count >= 10)
		run->values[1] = herd->last_create_ns;
	return FILAR_OK;
}

const struct way ways_create[] = {
	{ .name = "kthread-create",
		.summary = "pthread_create, first instruction, pthread_join",
		.params = { { "stack_bytes", 0 }, { "own_stack", 0 }, { "child_cpu", -1 },
			{ "driver_free", 0 } },
		.metrics = { { "create+join", "ns" }, { "create call", "ns" },
			{ "first instruction", "ns" }, { "on another core", "percent" } },
		.setup = setup_create,
		.sample = sample_create,
		.teardown = teardown_create },
	{ .name = "clone-create",
		.summary =
			"clone(2) with the flags of a thread, on one reused stack, and its end; no libc",
		.params = { { "stack_bytes", 64 << 10 } },
		.metrics = { { "create+join", "ns" }, { "create call", "ns" } },
		.setup = setup_clone,
		.sample = sample_clone,
		.teardown = teardown_clone },
	{ .name = "kthread-alive",
		.summary = "pthread_create and pthread_join while `alive` other threads sleep",
		.params = { { "alive", 0 }, { "stack_bytes", 64 << 10 } },
		.metrics = { { "create+join", "ns" }, { "create call, new stack", "ns" } },
		.setup_each_round = true,
		.setup = setup_alive,
		.sample = sample_alive,
		.teardown = teardown_alive },
	{ .name = NULL },
};
