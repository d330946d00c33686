/*
 * lab_pool.h - a pool of filar's for a way of the lab, on the process's CPUs instead of the
 * driver's.
 *
 * Threads inherit the CPUs of whoever creates them, and filar's scheduler looks at its creator's to
 * decide whether spinning can pay; the plan's driver is pinned.  So the opener is let loose while
 * it opens, and is where it was before lab_pool_open() returns.
 */
#ifndef FILAR_LAB_LAB_POOL_H
#define FILAR_LAB_LAB_POOL_H

#include "lab/way.h"
#include "os/affinity.h"
#include "pool/pool.h"

#define LAB_POOL_WORKERS_MAX 256

/* `threads` workers: each pinned to a CPU of the process, the driver's last, or free.  NULL in
 * *pool after a failure. */
enum filar_status lab_pool_open(
	const struct way_run *run, int64_t threads, bool pinned, struct pool **pool);
/* Nothing of it is left to run.  NULL is allowed. */
void lab_pool_close(struct pool *pool);

/* The caller may run where the process may, from now on. */
void lab_pool_let_loose(void);
/* The same, with the CPUs it had in *kept, for affinity_set(). */
enum filar_status lab_pool_let_loose_from(struct cpu_mask *kept);

#endif
