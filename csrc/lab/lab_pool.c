/*
 * lab_pool.c - opens and closes pools for the lab.
 */
#include "lab/lab_pool.h"

#include <unistd.h>

#include "base/check.h"
#include "os/clock.h"

enum filar_status lab_pool_let_loose_from(struct cpu_mask *kept)
{
	struct cpu_mask all;
	enum filar_status status = affinity_get(0, kept);

	/* The main thread's CPUs are the process's. */
	if (status == FILAR_OK)
		status = affinity_get((int32_t)getpid(), &all);
	return status == FILAR_OK ? affinity_set(0, &all) : status;
}

void lab_pool_let_loose(void)
{
	struct cpu_mask kept;

	(void)lab_pool_let_loose_from(&kept);
}

/* The driver's CPU last, so that helpers of a loop come first elsewhere. */
static uint32_t order_cpus(const struct way_run *run, const struct cpu_mask *all, int32_t *cpus)
{
	bool has_driver = run->driver_cpu >= 0 && cpu_mask_has(all, run->driver_cpu);
	uint32_t count = 0;

	for (int cpu = cpu_mask_next(all, 0); cpu >= 0 && count < LAB_POOL_WORKERS_MAX - 1;
		cpu = cpu_mask_next(all, cpu + 1)) {
		if (cpu != run->driver_cpu)
			cpus[count++] = cpu;
	}
	if (has_driver)
		cpus[count++] = run->driver_cpu;
	return count;
}

static enum filar_status open_loose(
	const struct way_run *run, int64_t threads, bool pinned, struct pool **pool)
{
	int32_t cpus[LAB_POOL_WORKERS_MAX];
	struct pool_options options;
	struct cpu_mask all;
	enum filar_status status = affinity_get(0, &all);

	if (status != FILAR_OK)
		return status;
	pool_options_init(&options);
	options.workers = options.workers_max = (uint32_t)threads;
	options.name = "lab-pool";
	if (pinned) {
		options.pin = WORKER_PIN_LIST;
		options.cpu_count = order_cpus(run, &all, cpus);
		options.cpus = cpus;
	}
	status = pool_create(pool, &options);
	if (status != FILAR_OK)
		return status;
	status = pool_start(*pool);
	if (status != FILAR_OK) {
		lab_pool_close(*pool);
		*pool = NULL;
	}
	return status;
}

enum filar_status lab_pool_open(
	const struct way_run *run, int64_t threads, bool pinned, struct pool **pool)
{
	struct cpu_mask kept;
	enum filar_status status = lab_pool_let_loose_from(&kept);

	if (status != FILAR_OK)
		return status;
	status = open_loose(run, threads, pinned, pool);
	(void)affinity_set(0, &kept);
	return status;
}

void lab_pool_close(struct pool *pool)
{
	if (pool == NULL)
		return;
	while (pool_shutdown_until(pool, false, DEADLINE_NEVER) == FILAR_INTERRUPTED)
		continue;
	FILAR_CHECK(pool_destroy(pool) == FILAR_OK);
}
