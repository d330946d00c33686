/*
 * cpus.h - the first two CPUs that the caller may run on, by the kernel's numbers.
 */
#ifndef FILAR_TESTS_CPUS_H
#define FILAR_TESTS_CPUS_H

#include "check.h"
#include "os/affinity.h"

__attribute__((unused)) static int32_t first_cpu(void)
{
	struct cpu_mask mask;

	CHECK_EQ(affinity_get(0, &mask), FILAR_OK);
	return cpu_mask_next(&mask, 0);
}

/* Or -1. */
__attribute__((unused)) static int32_t second_cpu(void)
{
	struct cpu_mask mask;

	CHECK_EQ(affinity_get(0, &mask), FILAR_OK);
	return cpu_mask_next(&mask, cpu_mask_next(&mask, 0) + 1);
}

#endif
