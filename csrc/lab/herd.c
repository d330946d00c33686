/*
 * herd.c - threads on a gate.
 *
 * Always: threads[0 .. count) are alive and unjoined.
 */
#include "lab/herd.h"

#include <limits.h>

#include "base/memory.h"
#include "os/calls.h"
#include "os/clock.h"
#include "os/futex.h"

static void *herd_member(void *pointer)
{
	struct herd *herd = pointer;

	fetch_add_relaxed(&herd->asleep, 1);
	futex_wake(&herd->asleep, 1);
	while (load_acquire(&herd->gate) == 0)
		(void)futex_wait_until(&herd->gate, 0, DEADLINE_NEVER);
	return NULL;
}

static enum filar_status create_members(struct herd *herd, uint32_t count,
	const pthread_attr_t *attributes, const struct way_run *run)
{
	uint32_t last_tenth = count - count / 10;
	int64_t since = 0;

	while (herd->count < count) {
		int error;

		if (herd->count % 64 == 0 && way_cancelled(run))
			return FILAR_CANCELLED;
		if (herd->count == last_tenth)
			since = clock_now_ns();
		error = call_thread_create(
			&herd->threads[herd->count], attributes, herd_member, herd);
		if (error != 0)
			return status_detail(FILAR_LIMIT, "thread %u of %u was refused (errno %d)",
				herd->count + 1, count, error);
		herd->count++;
	}
	if (count > last_tenth)
		herd->last_create_ns = (double)(clock_now_ns() - since) / (count - last_tenth);
	return FILAR_OK;
}

enum filar_status herd_create(
	struct herd *herd, uint32_t count, size_t stack_bytes, const struct way_run *run)
{
	pthread_attr_t attributes;
	enum filar_status status = FILAR_OK;
	uint32_t asleep;
	int error;

	*herd = (struct herd){ .threads = memory_acquire(
				       count > 0 ? count : 1, sizeof *herd->threads) };
	if (herd->threads == NULL)
		return status_detail(
			FILAR_NO_MEMORY, "no memory for the handles of %u threads", count);
	pthread_attr_init(&attributes);
	error = stack_bytes != 0 ? pthread_attr_setstacksize(&attributes, stack_bytes) : 0;
	status = error == 0 ? create_members(herd, count, &attributes, run)
			    : status_from_errno(error, "stack size");
	pthread_attr_destroy(&attributes);
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
	if (herd->threads == NULL)
		return;
	store_release(&herd->gate, 1);
	futex_wake(&herd->gate, INT_MAX);
	for (uint32_t i = 0; i < herd->count; i++)
		pthread_join(herd->threads[i], NULL);
	memory_release(herd->threads);
	*herd = (struct herd){ .threads = NULL };
}
