/*
 * cpugroup.h - control groups made for a measurement: siblings that share the CPU by weight.
 *
 * They are made inside this process's own group of the CPU controller, version 1 or 2, and removed
 * again.  Where the system does not allow that (no permission, no controller) creation says so.
 */
#ifndef FILAR_LAB_CPUGROUP_H
#define FILAR_LAB_CPUGROUP_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/status.h"

#define CPUGROUP_PATH_BYTES 512

struct cpugroup {
	char path[CPUGROUP_PATH_BYTES]; /* W  "" while there is none */
};

/* FILAR_NO_PERMISSION or FILAR_NOT_SUPPORTED with the reason; nothing is left behind then. */
enum filar_status cpugroup_create(struct cpugroup *group, const char *name);
enum filar_status cpugroup_add(const struct cpugroup *group, pid_t pid);
/* Its processes must have been reaped.  An empty one is allowed. */
void cpugroup_remove(struct cpugroup *group);

#endif
