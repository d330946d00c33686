/*
 * affinity.h - which CPUs a kernel thread may run on.
 *
 * CPU numbers are the kernel's.  Sets are sized at run time: cpu_set_t stops at 1,024.
 */
#ifndef FILAR_OS_AFFINITY_H
#define FILAR_OS_AFFINITY_H

#include <sched.h>
#include <stdbool.h>

#include "base/status.h"

#define CPUS_MAX 8192

struct cpu_mask {
	size_t bytes; /* I  as the kernel wants it */
	cpu_set_t bits[CPUS_MAX / CPU_SETSIZE];
};

void cpu_mask_clear(struct cpu_mask *mask);
void cpu_mask_add(struct cpu_mask *mask, int cpu);
void cpu_mask_remove(struct cpu_mask *mask, int cpu);
bool cpu_mask_has(const struct cpu_mask *mask, int cpu);
int cpu_mask_count(const struct cpu_mask *mask);
/* The lowest CPU >= from in the mask, or -1. */
int cpu_mask_next(const struct cpu_mask *mask, int from);

/* From a caller's list; FILAR_NO_CPU (and which) when one is negative or too large, FILAR_INVALID
 * when empty. */
enum filar_status cpu_mask_from_list(struct cpu_mask *mask, const int32_t *cpus, size_t count);

/* tid 0 is the caller.  FILAR_NO_CPU when no CPU of the mask exists or is allowed. */
enum filar_status affinity_set(int32_t tid, const struct cpu_mask *mask);
enum filar_status affinity_get(int32_t tid, struct cpu_mask *mask);
/* The calling kernel thread to one CPU. */
enum filar_status affinity_pin_self(int cpu);
/* The CPU the caller runs on now. */
int affinity_current_cpu(void);

#endif
