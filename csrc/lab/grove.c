/*
 * grove.c - a runtime, an errand, members.
 *
 * Always: members[0 .. count) are spawned and not joined; only the errand changes `count`.
 */
#include "lab/grove.h"

#include <string.h>

#include "base/check.h"
#include "base/memory.h"
#include "lab/crew.h"
#include "os/clock.h"

static enum filar_status start_runtime(struct grove *grove, const struct way_run *run,
	uint32_t workers, int32_t other_cpu, const struct grove_extras *extras)
{
	int32_t cpus[] = { run->driver_cpu, other_cpu < 0 ? run->driver_cpu : other_cpu };
	struct runtime_options options;

	runtime_options_init(&options);
	options.workers = workers;
	options.name = "lab-green";
	options.spares_max = (int32_t)extras->spares;
	options.watch_ns = extras->watch_ns;
	options.preempt_ns = extras->preempt_ns;
	if (run->driver_cpu >= 0) {
		options.pin = WORKER_PIN_LIST;
		options.cpus = cpus;
		options.cpu_count = FILAR_COUNT_OF(cpus);
	}
	return runtime_create(&grove->runtime, &options);
}

enum filar_status grove_open(struct grove *grove, const struct way_run *run, int64_t workers,
	int64_t other_cpu, int64_t members_max, void *shared)
{
	static const struct grove_extras none;

	return grove_open_with(grove, run, workers, other_cpu, members_max, shared, &none);
}

enum filar_status grove_open_with(struct grove *grove, const struct way_run *run, int64_t workers,
	int64_t other_cpu, int64_t members_max, void *shared, const struct grove_extras *extras)
{
	enum filar_status status = param_check("workers", workers, 1, 64);

	*grove = (struct grove){ .shared = shared, .preemptible = extras->preempt_ns > 0 };
	if (status == FILAR_OK)
		status = param_check("spares", extras->spares, 0, SPARES_MAX);
	if (status == FILAR_OK)
		status = param_check(
			"the number of green threads", members_max, 0, GROVE_MEMBERS_MAX);
	if (status == FILAR_OK && other_cpu >= CPUS_MAX)
		status = status_detail(FILAR_NO_CPU, "there is no CPU %lld", (long long)other_cpu);
	if (status != FILAR_OK)
		return status;
	grove->members_max = (uint32_t)members_max;
	grove->members = memory_acquire((size_t)members_max + 1, sizeof *grove->members);
	if (grove->members == NULL)
		return status_detail(
			FILAR_NO_MEMORY, "no memory for %u handles", grove->members_max);
	/* Other values than zero: the pages are then there before anything is measured. */
	for (uint32_t i = 0; i < grove->members_max; i++)
		grove->members[i] = (struct grove_member){ .grove = grove, .number = i };
	return start_runtime(grove, run, (uint32_t)workers, (int32_t)other_cpu, extras);
}

void grove_close(struct grove *grove)
{
	FILAR_ASSERT(grove->count == 0);
	if (grove->runtime != NULL) {
		/* Nobody is left, so only a signal can interrupt it. */
		while (runtime_shutdown_until(grove->runtime, DEADLINE_NEVER) != FILAR_OK)
			continue;
		FILAR_CHECK(runtime_destroy(grove->runtime) == FILAR_OK);
	}
	memory_release(grove->members);
	*grove = (struct grove){ .runtime = NULL };
}

/* ---- errands ---- */

struct errand {
	grove_errand *errand;     /* I */
	void *argument;           /* I */
	enum filar_status status; /* S  the errand's until joined */
	char detail[240];         /* S  likewise: the worker's words, for the driver */
};

static void run_errand(void *pointer)
{
	struct errand *errand = pointer;

	errand->status = errand->errand(errand->argument);
	if (errand->status != FILAR_OK)
		strncpy(errand->detail, filar_status_detail(), sizeof errand->detail - 1);
}

static void join(struct green_ref ref)
{
	enum filar_status status;

	do {
		status = green_join_until(ref, DEADLINE_NEVER);
	} while (status == FILAR_INTERRUPTED);
	FILAR_CHECK(status == FILAR_OK);
}

enum filar_status grove_run(struct grove *grove, grove_errand *body, void *argument)
{
	struct errand errand = { .errand = body, .argument = argument };
	struct green_ref ref;
	enum filar_status status = green_spawn(&ref, grove->runtime, NULL, run_errand, &errand);

	if (status != FILAR_OK)
		return status;
	join(ref);
	if (errand.status != FILAR_OK)
		return status_detail(errand.status, "%s", errand.detail);
	return FILAR_OK;
}

/* ---- on a green thread ---- */

static void member_main(void *pointer)
{
	struct grove_member *member = pointer;

	member->grove->body(member);
}

enum filar_status grove_spawn(struct grove *grove, uint32_t count, grove_body *body)
{
	struct green_options options = { .preemptible = grove->preemptible };

	FILAR_ASSERT(grove->count == 0 && count <= grove->members_max);
	grove->body = body;
	store_relaxed(&grove->asleep, 0);
	for (; grove->count < count; grove->count++) {
		struct grove_member *member = &grove->members[grove->count];
		enum filar_status status =
			green_spawn(&member->ref, grove->runtime, &options, member_main, member);

		if (status != FILAR_OK)
			return status;
	}
	return FILAR_OK;
}

void grove_await_sleepers(struct grove *grove)
{
	while (load_relaxed(&grove->asleep) < grove->count)
		green_yield();
}

void grove_cancel(struct grove *grove)
{
	for (uint32_t i = 0; i < grove->count; i++)
		(void)green_cancel(grove->members[i].ref);
}

void grove_join(struct grove *grove)
{
	for (uint32_t i = 0; i < grove->count; i++)
		join(grove->members[i].ref);
	grove->count = 0;
}

void grove_sleep(struct grove_member *member)
{
	fetch_add_relaxed(&member->grove->asleep, 1);
	(void)green_sleep_until(DEADLINE_NEVER);
}
