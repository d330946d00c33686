/*
 * herd.c - threads on a gate.
 *
 * Always: members[0 .. count) are alive and unjoined, and own their stacks.
 */
#include "lab/herd.h"

#include <limits.h>

#include "base/memory.h"
#include "os/calls.h"
#include "os/clock.h"
#include "os/futex.h"

static void *stand_at_gate(void *pointer)
{
	struct herd *herd = pointer;

	fetch_add_relaxed(&herd->asleep, 1);
	futex_wake(&herd->asleep, 1);
	while (load_acquire(&herd->gate) == 0)
		(void)futex_wait_until(&herd->gate, 0, DEADLINE_NEVER);
	return NULL;
}

static enum filar_status create_member(struct herd *herd, size_t stack_bytes)
{
	struct herd_member *member = &herd->members[herd->count];
	pthread_attr_t attributes;
	enum filar_status status =
		stack_reserve(&member->stack, stack_bytes, page_bytes(), STACK_GUARD_MPROTECT);
	int error;

	if (status != FILAR_OK)
		return status;
	pthread_attr_init(&attributes);
	error = pthread_attr_setstack(&attributes, member->stack.low, member->stack.bytes);
	if (error == 0)
		error = call_thread_create(&member->thread, &attributes, stand_at_gate, herd);
	pthread_attr_destroy(&attributes);
	if (error != 0) {
		stack_release(&member->stack);
		return status_from_errno(error, "pthread_create");
	}
	herd->count++;
	return FILAR_OK;
}

static enum filar_status create_members(
	struct herd *herd, uint32_t count, size_t stack_bytes, const struct way_run *run)
{
	uint32_t last_tenth = count - count / 10;
	enum filar_status status = FILAR_OK;
	int64_t since = 0;

	while (herd->count < count && status == FILAR_OK) {
		if (herd->count % 64 == 0 && way_cancelled(run))
			return FILAR_CANCELLED;
		if (herd->count == last_tenth)
			since = clock_now_ns();
		status = create_member(herd, stack_bytes);
	}
	if (status == FILAR_OK && count > last_tenth)
		herd->last_create_ns = (double)(clock_now_ns() - since) / (count - last_tenth);
	return status;
}

static size_t default_stack_bytes(void)
{
	pthread_attr_t attributes;
	size_t bytes = 0;

	pthread_attr_init(&attributes);
	pthread_attr_getstacksize(&attributes, &bytes);
	pthread_attr_destroy(&attributes);
	return bytes;
}

enum filar_status herd_create(
	struct herd *herd, uint32_t count, size_t stack_bytes, const struct way_run *run)
{
	enum filar_status status;
	uint32_t asleep;

	*herd = (struct herd){ .members = memory_acquire(
				       count > 0 ? count : 1, sizeof *herd->members) };
	if (herd->members == NULL)
		return status_detail(
			FILAR_NO_MEMORY, "no memory for the handles of %u threads", count);
	status = create_members(
		herd, count, stack_bytes != 0 ? stack_bytes : default_stack_bytes(), run);
	if (status != FILAR_OK) {
		herd_destroy(herd);
		return status;
	}
	while ((asleep = load_acquire(&herd->asleep)) < count)
		(void)futex_wait_until(&herd->asleep, asleep, DEADLINE_NEVER);
	return FILAR_OK;
}

void herd_destroy(struct herd *herd)
{
	if (herd->members == NULL)
		return;
	store_release(&herd->gate, 1);
	futex_wake(&herd->gate, INT_MAX);
	for (uint32_t i = 0; i < herd->count; i++) {
		pthread_join(herd->members[i].thread, NULL);
		stack_release(&herd->members[i].stack);
	}
	memory_release(herd->members);
	*herd = (struct herd){ .members = NULL };
}
