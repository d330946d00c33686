/*
 * team.c - the gate, and threads on both sides of it.
 *
 * Gate:  CLOSED -(last member arrives)-> OPEN;  CLOSED -(a creation failed)-> ABANDONED.
 */
#include "lab/team.h"

#include <errno.h>
#include <unistd.h>

#include "os/calls.h"
#include "os/clock.h"
#include "sync/backoff.h"

enum { GATE_CLOSED, GATE_OPEN, GATE_ABANDONED };

struct team_gate {
	uint32_t count;            /* I */
	struct cpu_mask all;       /* I  what the process may use */
	_Atomic uint32_t arrived;  /* A */
	_Atomic uint32_t position; /* A  GATE_* */
};

/* True when the body is to run. */
static bool pass_gate(struct team_gate *gate)
{
	struct backoff backoff;
	uint32_t position;

	if (fetch_add_acq_rel(&gate->arrived, 1) + 1 == gate->count)
		/* G1: release; pairs with G2: a member that passes sees all others arrived. */
		store_release(&gate->position, GATE_OPEN);
	backoff_init(&backoff);
	/* G2: acquire; pairs with G1. */
	while ((position = load_acquire(&gate->position)) == GATE_CLOSED)
		backoff_wait(&backoff);
	return position == GATE_OPEN;
}

static void *member_main(void *pointer)
{
	struct team_member *member = pointer;

	if (!pass_gate(member->gate))
		return NULL;
	member->start_ns = clock_now_ns();
	member->body(member);
	member->end_ns = clock_now_ns();
	return NULL;
}

/* Pinned by attribute: a thread that moves itself first would arrive late. */
static enum filar_status start_member(struct team_member *member)
{
	struct cpu_mask mask = member->gate->all;
	enum filar_status status = FILAR_OK;
	pthread_attr_t attributes;
	int error;

	if (member->cpu >= 0)
		status = cpu_mask_from_list(&mask, &member->cpu, 1);
	if (status != FILAR_OK)
		return status;
	error = pthread_attr_init(&attributes);
	if (error != 0)
		return status_from_errno(error, "pthread_attr_init");
	error = pthread_attr_setaffinity_np(&attributes, mask.bytes, mask.bits);
	if (error == 0)
		error = call_thread_create(&member->pthread, &attributes, member_main, member);
	pthread_attr_destroy(&attributes);
	if (error == EINVAL) /* the only argument that can be wrong is the mask */
		return status_detail(
			FILAR_NO_CPU, "CPU %d is not online or not allowed", member->cpu);
	return error == 0 ? FILAR_OK : status_from_errno(error, "pthread_create");
}

void team_init(struct team_member *members, uint32_t count,
	void (*body)(struct team_member *member), void *shared, const int32_t *cpus)
{
	for (uint32_t i = 0; i < count; i++)
		members[i] = (struct team_member){ .body = body,
			.shared = shared,
			.index = i,
			.cpu = cpus != NULL ? cpus[i] : -1 };
}

enum filar_status team_run(struct team_member *members, uint32_t count)
{
	struct team_gate gate = { .count = count };
	/* The process's own CPUs: the driver, whose child a member is, has only one. */
	enum filar_status status = affinity_get((int32_t)getpid(), &gate.all);
	uint32_t started = 0;

	while (status == FILAR_OK && started < count) {
		members[started].gate = &gate;
		status = start_member(&members[started]);
		if (status == FILAR_OK)
			started++;
	}
	if (status != FILAR_OK)
		store_release(&gate.position, GATE_ABANDONED);
	for (uint32_t i = 0; i < started; i++)
		pthread_join(members[i].pthread, NULL);
	return status;
}

int64_t team_wall_ns(const struct team_member *members, uint32_t count)
{
	int64_t start = members[0].start_ns, end = members[0].end_ns;

	for (uint32_t i = 1; i < count; i++) {
		if (members[i].start_ns < start)
			start = members[i].start_ns;
		if (members[i].end_ns > end)
			end = members[i].end_ns;
	}
	return end - start;
}

static int other_cpu(const struct cpu_mask *all, int cpu)
{
	int next = cpu_mask_next(all, cpu + 1);

	if (next < 0)
		next = cpu_mask_next(all, 0);
	return next == cpu ? -1 : next;
}

enum filar_status team_place(const struct way_run *run, int first, int64_t cores, int32_t cpus[2])
{
	struct cpu_mask all;
	enum filar_status status = affinity_get((int32_t)getpid(), &all);

	if (status != FILAR_OK)
		return status;
	cpus[0] = (int32_t)run->params[first];
	if (cpus[0] < 0)
		cpus[0] = run->driver_cpu >= 0 ? run->driver_cpu : cpu_mask_next(&all, 0);
	cpus[1] = cpus[0];
	if (cores < 2)
		return FILAR_OK;
	cpus[1] = (int32_t)run->params[first + 1];
	if (cpus[1] < 0)
		cpus[1] = other_cpu(&all, cpus[0]);
	if (cpus[1] < 0 || cpus[1] == cpus[0])
		return status_detail(FILAR_NO_CPU,
			"this needs two CPUs, and the process may use only CPU %d", cpus[0]);
	return FILAR_OK;
}
