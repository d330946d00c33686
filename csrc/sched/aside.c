/*
 * aside.c - one CPU out of a sleeping worker's set, for as long as a wake-up takes.
 *
 * The system calls are made without affinity.h's sentences: nobody is told of a failure here, and
 * the caller's last sentence is another's.
 *
 * Always: a worker whose `moving` is not set may run where it was meant to.
 */
#include "sched/aside.h"

#include <sched.h>

#include "os/affinity.h"
#include "os/calls.h"

/* One that may run elsewhere than on this CPU; a guess. */
static struct worker *find_sleeper(struct scheduler *scheduler, int cpu)
{
	uint32_t started = load_acquire(&scheduler->started);

	for (uint32_t i = 0; i < started; i++) {
		struct worker *worker = &scheduler->workers[i];

		if (load_relaxed(&worker->doing) == WORKER_SLEEPING && worker->cpu != cpu)
			return worker;
	}
	return NULL;
}

static bool set_cpus(struct worker *worker, const struct cpu_mask *mask)
{
	return call_sched_setaffinity(load_relaxed(&worker->tid), mask->bytes, mask->bits) == 0;
}

/* *mask: where it may run but for this CPU.  False: it stays as it is. */
static bool take_cpu(struct worker *worker, int cpu, struct cpu_mask *mask)
{
	int32_t tid = load_relaxed(&worker->tid);

	/* X1: acquire; pairs with X2: its CPUs are what they were meant to be. */
	if (exchange_acquire(&worker->moving, true))
		return false;
	cpu_mask_clear(mask);
	if (tid != 0 && call_sched_getaffinity(tid, mask->bytes, mask->bits) == 0 &&
		cpu_mask_has(mask, cpu) && cpu_mask_count(mask) > 1) {
		cpu_mask_remove(mask, cpu);
		if (set_cpus(worker, mask))
			return true;
	}
	store_release(&worker->moving, false);
	return false;
}

/* If this fails, none of these CPUs is allowed any more, and the kernel has found others. */
static void put_cpu_back(struct worker *worker, int cpu, struct cpu_mask *mask)
{
	cpu_mask_add(mask, cpu);
	(void)set_cpus(worker, mask);
	/* X2: release; pairs with X1. */
	store_release(&worker->moving, false);
}

void aside_end(struct worker *worker)
{
	/* X1, for good.  Whoever holds it is between two system calls. */
	while (exchange_acquire(&worker->moving, true))
		sched_yield();
}

FILAR_NOINLINE void aside_wake_one_slow(struct scheduler *scheduler, uint64_t word)
{
	int cpu = affinity_current_cpu();
	struct worker *worker = scheduler->spin ? find_sleeper(scheduler, cpu) : NULL;
	bool is_pinned = worker != NULL && worker->cpu >= 0;
	struct cpu_mask mask;

	if (worker == NULL || (!is_pinned && !take_cpu(worker, cpu, &mask))) {
		idle_wake_one_slow(&scheduler->idle, word);
		return;
	}
	fetch_add_relaxed(&scheduler->asides, 1);
	idle_wake_this_slow(&scheduler->idle, word, worker->index);
	if (!is_pinned)
		put_cpu_back(worker, cpu, &mask);
}
