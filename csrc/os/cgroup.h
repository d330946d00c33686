/*
 * cgroup.h - what the control groups of this process allow: CPU time, memory, threads.
 *
 * Version 1, version 2 and both at once (hybrid).  A limit of any ancestor counts, so each
 * controller is followed from the process's own group up to the root of what is mounted; of several
 * limits the tightest wins.  Above the mount (a container's own view) nothing can be seen.
 */
#ifndef FILAR_OS_CGROUP_H
#define FILAR_OS_CGROUP_H

#include "base/status.h"

#define CGROUP_FILE_BYTES 512

/* One limit that counts. */
struct cgroup_limit {
	int64_t max;                  /* -1: none */
	int64_t used;                 /* -1: not known */
	char file[CGROUP_FILE_BYTES]; /* where it is set; "" without one */
};

struct cgroup_facts {
	int version;       /* of the CPU controller: 0 none seen, 1, 2 */
	double quota_cpus; /* 0: none */
	char quota_file[CGROUP_FILE_BYTES];
	struct cgroup_limit memory;     /* bytes */
	struct cgroup_limit pids;       /* threads and processes */
	char cpuset[CGROUP_FILE_BYTES]; /* list of CPUs, "" when none is set */
};

/* `root` is put in front of every path ("" for the real system).  Never fails for what is missing:
 * a limit that cannot be seen is reported as none.  FILAR_NO_MEMORY. */
enum filar_status cgroup_read(struct cgroup_facts *facts, const char *root);

#endif
