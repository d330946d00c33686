/*
 * affinity.c - CPU masks and sched_setaffinity.
 *
 * Pinning goes by tid, never by pthread_t: on glibc 2.36 pthread_setaffinity_np() on a thread that
 * has ended but is not joined returns 0 and re-pins the *caller* (its tid reads 0, and 0 means
 * "me").
 */
#include "os/affinity.h"

#include <errno.h>
#include <string.h>

#include "os/calls.h"

void cpu_mask_clear(struct cpu_mask *mask)
{
	memset(mask, 0, sizeof *mask);
	mask->bytes = sizeof mask->bits;
}

void cpu_mask_add(struct cpu_mask *mask, int cpu)
{
	CPU_SET_S((size_t)cpu, mask->bytes, mask->bits);
}

void cpu_mask_remove(struct cpu_mask *mask, int cpu)
{
	CPU_CLR_S((size_t)cpu, mask->bytes, mask->bits);
}

bool cpu_mask_has(const struct cpu_mask *mask, int cpu)
{
	return cpu >= 0 && cpu < CPUS_MAX && CPU_ISSET_S((size_t)cpu, mask->bytes, mask->bits);
}

int cpu_mask_count(const struct cpu_mask *mask)
{
	return CPU_COUNT_S(mask->bytes, mask->bits);
}

int cpu_mask_next(const struct cpu_mask *mask, int from)
{
	for (int cpu = from; cpu < CPUS_MAX; cpu++) {
		if (cpu_mask_has(mask, cpu))
			return cpu;
	}
	return -1;
}

enum filar_status cpu_mask_from_list(struct cpu_mask *mask, const int32_t *cpus, size_t count)
{
	cpu_mask_clear(mask);
	if (count == 0)
		return status_detail(FILAR_INVALID, "the list of CPUs is empty");
	for (size_t i = 0; i < count; i++) {
		if (cpus[i] < 0 || cpus[i] >= CPUS_MAX)
			return status_detail(FILAR_NO_CPU, "there is no CPU %d", cpus[i]);
		cpu_mask_add(mask, cpus[i]);
	}
	return FILAR_OK;
}

enum filar_status affinity_set(int32_t tid, const struct cpu_mask *mask)
{
	if (call_sched_setaffinity(tid, mask->bytes, mask->bits) == 0)
		return FILAR_OK;
	if (errno == EINVAL)
		return status_detail(FILAR_NO_CPU,
			"none of the CPUs asked for (first: %d) is online and allowed",
			cpu_mask_next(mask, 0));
	return status_from_errno(errno, "sched_setaffinity");
}

enum filar_status affinity_get(int32_t tid, struct cpu_mask *mask)
{
	cpu_mask_clear(mask);
	if (call_sched_getaffinity(tid, mask->bytes, mask->bits) == 0)
		return FILAR_OK;
	return status_from_errno(errno, "sched_getaffinity");
}

enum filar_status affinity_pin_self(int cpu)
{
	struct cpu_mask mask;
	int32_t list[] = { cpu };
	enum filar_status status = cpu_mask_from_list(&mask, list, 1);

	return status == FILAR_OK ? affinity_set(0, &mask) : status;
}

int affinity_current_cpu(void)
{
	return sched_getcpu();
}
